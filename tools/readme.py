"""Write README.md from nbs/index.ipynb, and its pictures into nbs/images/.

    python tools/readme.py [--check]

Prose stays as it is with relative links turned to the root, code and stored outputs become fenced blocks, a stored PNG
becomes nbs/images/index-<cell id>.png. Cells marked `#| hide` are left out, `#| echo: false` leaves out the code.
`--check` writes nothing and fails if a file is stale.
"""
import base64
import posixpath
import re
import sys
from pathlib import Path

from nbdev.config import get_config

from nblib import flagged

LINK = re.compile(r"(?<=\]\()(?![a-z]+:|#|/)[^)\s]+")
ATTRS = re.compile(r"[ \t]*\{[#.][^}]*\}(?=[ \t]*$)", re.M)

def prose(text):
    "Markdown as seen from the root of the repository, without Quarto's `{#label}` attributes."
    return ATTRS.sub("", LINK.sub(lambda m: posixpath.normpath("nbs/" + m[0]), text)).strip()

def fence(text, lang=""):
    return f"```{lang}\n{text.rstrip()}\n```"

def outputs(cell, pictures):
    "Markdown blocks for the stored outputs of `cell`; pictures are added to `pictures` by path."
    for i, o in enumerate(cell.outputs):
        data = o.get("data", {})
        if "image/png" in data:
            name = f"nbs/images/index-{cell['id']}{f'-{i}' * (i > 0)}.png"
            pictures[name] = base64.b64decode("".join(data["image/png"]))
            caption = " ".join(cell.directives_.get("fig-alt:") or cell.directives_.get("fig-cap:") or ["output of the code above"])
            yield f"![{caption.strip(chr(34))}]({name})"
        elif "text/markdown" in data: yield prose("".join(data["text/markdown"]))
        elif text := "".join(o.get("text") or data.get("text/plain") or ""): yield fence(text)

def readme(root):
    "What README.md and its pictures must hold: bytes by path from the root."
    blocks, pictures = [], {}
    for c in flagged(Path(root)/"nbs"/"index.ipynb"):
        if "hide" in c.directives_ or not c.source.strip(): continue
        if c.cell_type == "markdown": blocks.append(prose(c.source))
        elif c.cell_type == "code":
            code = "\n".join(s for s in c.source.split("\n") if not s.startswith("#|"))
            if c.directives_.get("echo:", [""])[0].lower() != "false": blocks.append(fence(code, "python"))
            blocks.extend(outputs(c, pictures))
    head = "<!-- Written by tools/readme.py from nbs/index.ipynb. Edit that notebook. -->"
    return {"README.md": ("\n\n".join([head, *blocks]) + "\n").encode(), **pictures}

def main(root, check=False):
    root, want = Path(root), readme(root)
    old = {f"nbs/images/{p.name}" for p in (root/"nbs"/"images").glob("index-*.png")}
    have = {f: (root/f).read_bytes() for f in want.keys() | old if (root/f).exists()}
    stale = sorted(f for f in want.keys() | have.keys() if want.get(f) != have.get(f))
    if check: return sys.exit(f"out of date: {' '.join(stale)}; run python tools/readme.py" if stale else 0)
    for f in stale:
        (root/f).parent.mkdir(parents=True, exist_ok=True)
        if f in want: (root/f).write_bytes(want[f])
        else: (root/f).unlink()

if __name__ == "__main__": main(get_config().config_path, "--check" in sys.argv[1:])
