"""Check that everything committed agrees with the notebooks; changes nothing.

    python tools/check.py [name ...]

Prints one line per problem and exits 1 if there is any; a line that starts with `warning:` is only a warning. Names of
single checks: generated, executed, skips, pictures, sidebar, titles, spine, references, links, numbers, machine_paths, beside,
installs, registries, pythons, rooms.
"""
import base64
import re
import shutil
import subprocess
import sys
import tempfile
from configparser import ConfigParser
from pathlib import Path

import yaml
from execnb.nbio import read_nb
from nbdev.config import get_config

from nblib import data_fingerprint, fingerprint, notebooks, pages, project_files, run_flags, source
from rooms import rooms

PNG_WARN, PNG_MAX = 50_000, 100_000  # bytes

def generated(root):
    "Modules, tests, README, sidebar and clean notebooks are what tools/sync.py writes, seen on a copy."
    with tempfile.TemporaryDirectory() as d:
        copy = Path(d).resolve()/"project"
        for f in project_files(root):
            (copy/f.relative_to(root)).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(f, copy/f.relative_to(root))
        run = subprocess.run([sys.executable, "tools/sync.py"], cwd=copy, capture_output=True, text=True)
        if run.returncode:
            yield f"tools/sync.py fails: {run.stderr.strip().splitlines()[-1]}"
            return
        old = {f.relative_to(root): f.read_bytes() for f in project_files(root)}
        new = {f.relative_to(copy): f.read_bytes() for f in copy.rglob("*") if f.is_file() and "__pycache__" not in f.parts}
        for f in sorted(old.keys() | new.keys()):
            if old.get(f) != new.get(f): yield f"{f.as_posix()}: not what the notebooks give; run python tools/sync.py"

def executed(root):
    "Stored outputs belong to the code beside them, and none is an error."
    flags = run_flags(get_config(path=root))
    for f in pages(root):
        name, nb = f.relative_to(root).as_posix(), read_nb(f)
        if nb.metadata.get("executed") != fingerprint(f, flags):
            yield f"{name}: code changed since outputs were stored; run python tools/run_nbs.py {name}"
        if nb.metadata.get("executed_data") != data_fingerprint(f, flags):
            yield f"{name}: code that needs data changed since outputs were stored; run python tools/run_nbs.py {name} where `soka data` finds it"
        for c in nb.cells:
            if any(o["output_type"] == "error" for o in c.get("outputs", [])): yield f"{name}: cell {c['id']} stores an error"

def skips(root):
    "A cell is marked with what it needs: a skip inside it would be a failure where notebooks run."
    for f in notebooks(root):
        for c in read_nb(f).cells:
            if c.cell_type == "code" and re.search(r"pytest\.(skip|importorskip)\(", source(c)):
                yield f"{f.relative_to(root).as_posix()}: cell {c['id']} skips itself; mark it with what it needs, as `#| needs module`"

def stored_pngs(root):
    for f in notebooks(root):
        for c in read_nb(f).cells:
            for o in c.get("outputs", []):
                if png := o.get("data", {}).get("image/png"): yield f"{f.relative_to(root).as_posix()}: cell {c['id']}", len(base64.b64decode("".join(png)))
    for f in project_files(root):
        if f.suffix == ".png": yield f.relative_to(root).as_posix(), f.stat().st_size

def pictures(root):
    "Every stored picture is small."
    for where, size in stored_pngs(root):
        if size > PNG_MAX: yield f"{where}: a picture must be at most {PNG_MAX} bytes, got {size}"
        elif size > PNG_WARN: yield f"warning: {where}: a picture should be at most {PNG_WARN} bytes, got {size}"

def leaves(x):
    "Every page named in a sidebar's contents."
    if isinstance(x, str): yield x
    elif isinstance(x, list):
        for o in x: yield from leaves(o)
    elif isinstance(x, dict): yield from leaves([x[k] for k in ("href", "contents") if k in x])

def sidebar(root):
    "The sidebar lists every notebook that teaches, and nothing else."
    yml = root/"nbs"/"sidebar.yml"
    listed = set(leaves(yaml.safe_load(yml.read_text(encoding="utf-8"))["website"]["sidebar"])) if yml.exists() else set()
    there = {f.relative_to(root/"nbs").as_posix() for f in pages(root)}
    for f in sorted(there - listed): yield f"nbs/sidebar.yml: does not list {f}"
    for f in sorted(listed - there): yield f"nbs/sidebar.yml: lists {f}, which does not exist"

def titles(root):
    "A title cell holds `# title` and one line `> claim`: nbdev makes a title block of it and drops anything else."
    for f in notebooks(root):
        cells = [source(c) for c in read_nb(f).cells if c.cell_type == "markdown"]
        lines = next((s.strip().splitlines() for s in cells if re.search(r"^# ", s, re.M)), [])
        rest = [s for s in lines if s.strip() and not re.match(r"# |> |- \S+:", s)]
        if not lines: rest = ["no `# title`"]
        elif sum(s.startswith("> ") for s in lines) > 1: rest.append("a second line of the claim")
        if rest: yield f"{f.relative_to(root).as_posix()}: a title cell must hold `# title` and one line `> claim` only, got: {rest[0][:60]}"

WORDS, PER_LINE = (1_500, 3_500), 3   # of a page that takes ten to fifteen minutes, prose and code; words of prose for each line of code

def code_lines(cell):
    "Lines of code that a reader may open, blocks in prose among them: no directives, no empty lines."
    text = source(cell) if cell.cell_type == "code" else "\n".join(FENCED.findall(source(cell)))
    return [s for s in text.splitlines() if s.strip() and not s.startswith(("#|", "```"))]

def prose_words(cell):
    "Words of a markdown cell without its code blocks."
    return len(FENCED.sub("", source(cell)).split()) if cell.cell_type == "markdown" else 0

def spine(root):
    "The pages that are read first, in order: each opens with a question and a picture, is mostly prose, takes its minutes, and leads on."
    folder = get_config(path=root).d.get("spine")
    found = [f for f in pages(root) if folder and f.parent == root/"nbs"/folder]
    for f, after in zip(found, [*found[1:], None]):
        name, cells = f.relative_to(root).as_posix(), read_nb(f).cells
        title, *rest = [source(c) for c in cells if c.cell_type == "markdown"]
        if not rest or "?" not in rest[0].split("\n\n")[0]: yield f"{name}: the first paragraph after the title must ask the page's question"
        drawn = [c for c in cells if any("image/png" in o.get("data", {}) for o in c.get("outputs", ()))]
        if next((c for c in cells if c.get("outputs")), None) not in drawn: yield f"{name}: the first output must be a picture"
        for c in drawn:
            if "#| fig-alt:" not in source(c): yield f"{name}: cell {c['id']}: a picture must say in `#| fig-alt:` what is seen"
        code, prose = [s for c in cells for s in code_lines(c)], sum(map(prose_words, cells))
        if prose < PER_LINE*len(code): yield f"{name}: at least {PER_LINE} words of prose for each line of code, got {prose} for {len(code)} lines"
        words = prose + sum(len(s.split()) for s in code)
        if not WORDS[0] <= words <= WORDS[1]: yield f"{name}: words of prose and code must be {WORDS[0]:,} to {WORDS[1]:,}, got {words:,}"
        if "## What to remember" not in (rest or [""])[-1]: yield f"{name}: the last cell of prose must be `## What to remember`"
        elif after and f"]({after.name})" not in rest[-1]: yield f"{name}: must end with a link to {after.name}"

def uncoded(text):
    "Markdown without code blocks, code spans and comments."
    return re.sub(r"^(```|~~~).*?^\1|<!--.*?-->|`[^`\n]+`", "", text, flags=re.M | re.S)

def references(root):
    "Each @fig-, @eq-, @sec-, @tbl- reference has its label in the same notebook, and each label is given once."
    kind = r"(?:fig|eq|sec|tbl)-[\w-]*\w"
    for f in notebooks(root):
        name, labels, refs = f.relative_to(root).as_posix(), [], set()
        for c in read_nb(f).cells:
            if c.cell_type == "code": labels += re.findall(rf"^#\|\s*label:\s*({kind})", source(c), re.M)
            else:
                labels += re.findall(rf"\{{#({kind})", uncoded(source(c)))
                refs.update(re.findall(rf"(?<!\w)@({kind})", uncoded(source(c))))
        for r in sorted(refs - set(labels)): yield f"{name}: @{r} has no label in this notebook"
        for r in sorted({r for r in labels if labels.count(r) > 1}): yield f"{name}: label {r} is given more than once"

def links(root):
    "Each relative link or picture in a notebook or *.md file leads to a file of the project."
    files = set(project_files(root))
    there = files | {p for f in files for p in f.parents}
    texts = {f: [source(c) for c in read_nb(f).cells if c.cell_type == "markdown"] for f in notebooks(root)}
    texts |= {f: [f.read_text(encoding="utf-8")] for f in files if f.suffix == ".md"}
    for f, parts in sorted(texts.items()):
        for part in parts:
            text = uncoded(part)
            found = re.findall(r"\]\(\s*<?([^)\s>]+)", text) + re.findall(r"^\[[^\]]+\]:\s*(\S+)", text, re.M)
            found += re.findall(r"\b(?:src|href)=[\"']([^\"']+)", text)
            for link in found:
                path = re.split("[#?]", link)[0]
                if not path or re.match(r"[a-z][a-z0-9+.-]*:", link): continue
                if (f.parent/path).resolve() not in there: yield f"{f.relative_to(root).as_posix()}: link {link} leads nowhere"

# a number that is measured or counted: with a decimal point, a thousands comma, a percent sign or a unit such as "thousand"
NUMBER = re.compile(r"(?<![\w.,/^{])(?<!\w-)(\d{1,3}(?:,\d{3})+(?:\.\d+)?|\d+(?:\.\d+)?)"
                    r"(?: ?(%|(?:percent|thousand|million|billion)\b|[kM](?![\w-]))|(?![\w-]|[.,]\d))")
SCALES = {"k": 1e3, "thousand": 1e3, "M": 1e6, "million": 1e6, "billion": 1e9}
NAMED = re.compile(r"\b(?:arXiv|Python|Linux|PEFT|YAML|CUDA|Quarto|[Bb]ubblewrap|[Vv]ersion) \d[\d.]*\d")  # numbers that are names

FENCED = re.compile(r"^```.*?^```", re.M | re.S)

def values(text):
    "Every number written in an output or in code; one with a k or an M counts with and without it."
    written = r"(?<![\w.])(\d{1,3}(?:,\d{3})+(?:\.\d+)?|(?:\d[\d_]*\.?\d*|\.\d+)(?:e[+-]?\d+)?)([kM]\b)?"
    for number, unit in re.findall(written, text):
        value = float(number.replace(",", "").replace("_", ""))
        yield from {value, value*SCALES.get(unit, 1)}

def shown(cell):
    "The text that a cell's stored outputs show."
    def text(output):
        data = output.get("data", {})
        return "".join(output.get("text") or data.get("text/markdown") or data.get("text/plain") or "")
    return "\n".join(map(text, cell.get("outputs", [])))

def claimed(text):
    """Numbers that prose states, each as what is written, its value, half a unit of its last digit, and whether it is a percentage.

    Maths, names, quotes and sentences that link a source do not count.
    """
    text = re.sub(r"\$\$.*?\$\$|\$[^$\n]+\$", " ", uncoded(text), flags=re.S)
    if not re.match("# ", text): text = re.sub(r"^>.*", "", text, flags=re.M)
    for sentence in re.split(r"(?<=[.;:!?])\s|\n(?=[-|\n])", NAMED.sub("", text)):
        if re.search(r"\]\(https?:", sentence): continue
        for m in NUMBER.finditer(re.sub(r"\]\([^)]*\)", "]", sentence)):
            number, unit = m[1], m[2] or ""
            if not (unit or "." in number or "," in number): continue
            scale = SCALES.get(unit, 1)
            yield m[0], float(number.replace(",", ""))*scale, 0.5*scale/10**len(number.partition(".")[2]), unit in ("%", "percent")

def numbers(root):
    "A number in prose is in a stored output, or in the code, of its `##` section; a section without outputs may cite the whole page."
    for f in notebooks(root):
        sections = [[]]
        for c in read_nb(f).cells:
            if c.cell_type == "markdown" and re.search("^## ", source(c), re.M): sections.append([])
            sections[-1].append(c)
        page = [v for s in sections for c in s for v in values(shown(c))]
        for cells in sections:
            found = [v for c in cells for v in values(shown(c))] or page
            found += [v for c in cells for v in values(source(c) if c.cell_type == "code" else "".join(FENCED.findall(source(c))))]
            for c in cells:
                if c.cell_type != "markdown": continue
                for written, value, half, percent in claimed(source(c)):
                    if not any(abs(x - value) <= half*(1 + 1e-9) for v in found for x in ((v, 100*v) if percent else (v,))):
                        yield f"{f.relative_to(root).as_posix()}: cell {c['id']}: no output near it shows {written}"

def lines(root):
    "Every line of every text file of the project, with its place."
    for f in project_files(root):
        try: text = f.read_text(encoding="utf-8")
        except UnicodeDecodeError: continue
        name = f.relative_to(root).as_posix()
        for i, line in enumerate(text.splitlines(), 1): yield name, f"{name}:{i}", line

MACHINE = re.compile(r"(?<![\w.~-])/(?:(?:work|root)/|(?:home|Users)/\w[\w.-]*/|tmp/tmp\w{6}|var/folders/)")

def machine_paths(root):
    "No tracked text names a folder of somebody's machine."
    for _, place, line in lines(root):
        if m := MACHINE.search(line): yield f"{place}: machine path {m[0]}"

BESIDE = re.compile(r"""\.\./[s]hared\b|/\s*\\?["'][s]hared\b|["'][s]hared/(?:data|models)\b""")

def beside(root):
    "Only .ci/run names a folder beside the repository: a reader has none, and finds data by its name."
    for name, place, line in lines(root):
        if name != ".ci/run" and (m := BESIDE.search(line)): yield f"{place}: a folder beside the repository, {m[0]}"

INSTALL = re.compile(r"""pip install (?:-\S+ )*\\?["']?soka\b(?!(?:\[[\w,]+\])? @)""")
FROM_GIT = re.compile(r"""soka(?:\[[\w,]+\])? @ git\+([^\s"'\\]+)""")

def installs(root):
    "Nothing a user reads says `pip install` and the bare name: soka is not published, and anybody could take the name."
    address = get_config(path=root).git_url
    for name, place, line in lines(root):
        if not (name.endswith((".md", ".ipynb")) or name.startswith("soka/")): continue
        if m := INSTALL.search(line): yield f"{place}: {m[0]} finds nothing before soka is published; give the repository's address"
        for m in FROM_GIT.finditer(line):
            if m[1] != address: yield f"{place}: the repository is {address}, got {m[1]}"

REGISTRY = re.compile(r"""(?:index-url|find-links|INDEX_URL|FIND_LINKS|registry)(?:\s*=\s*|\s+)["']?(\w+:\S+|/\S+)"""
                      r"""|(\w+://[^\s"'<>]*/simple)\b""")
PUBLIC = ("https://pypi.org/", "https://test.pypi.org/", "https://download.pytorch.org/")

def registries(root):
    "No file sends an installer to a registry that only some can reach."
    for _, place, line in lines(root):
        for m in REGISTRY.finditer(line):
            if not m[m.lastindex].startswith(PUBLIC): yield f"{place}: a package registry that is not public, {m[m.lastindex]}"

def pythons(root):
    "settings.ini lists the versions of Python; its lowest, the linter's, those in prose and those in the hosted workflows agree with it."
    ini = ConfigParser(delimiters=["="])
    ini.read(root/"settings.ini", encoding="utf-8")
    oldest, listed = ini["DEFAULT"]["min_python"], ini["DEFAULT"]["pythons"].split()
    if oldest != listed[0]: yield f"settings.ini: min_python must be the first of pythons, {listed[0]}, got {oldest}"
    matrices = []
    for name, place, line in lines(root):
        if name == "ruff.toml" and (m := re.match(r'target-version = "py(\d)(\d+)"', line)) and f"{m[1]}.{m[2]}" != oldest:
            yield f"{place}: target-version must be that of min_python = {oldest}, got {m[1]}.{m[2]}"
        if name.startswith(".github/") and "python" in line:
            found = re.findall(r'"(3\.\d+)"', line)
            if len(found) > 1: matrices.append(found)
            for v in found:
                if v not in listed: yield f"{place}: Python {v} is not one of {' '.join(listed)}"
        if name.endswith((".md", ".ipynb")) and not name.startswith("CHANGELOG"):
            for v, newer in re.findall(r"Python (3\.\d+)( or (?:newer|later))?", line):
                if v not in listed or newer and v != oldest: yield f"{place}: Python {v}{newer}, where settings.ini says {' '.join(listed)}"
    if (root/".github").exists() and listed not in matrices:
        yield f".github/workflows: no matrix has the versions of settings.ini, {' '.join(listed)}"

CHECKS = [generated, executed, skips, pictures, sidebar, titles, spine, references, links, numbers, machine_paths, beside, installs,
          registries, pythons, rooms]

def main(root, names=()):
    if unknown := set(names) - {c.__name__ for c in CHECKS}: sys.exit(f"unknown check: {' '.join(sorted(unknown))}")
    problems = [p for c in CHECKS if not names or c.__name__ in names for p in c(Path(root).resolve())]
    for p in problems: print(p)
    bad = sum(not p.startswith("warning:") for p in problems)
    if bad: sys.exit(f"{bad} problem{'s' * (bad > 1)}")

if __name__ == "__main__": main(get_config().config_path, sys.argv[1:])
