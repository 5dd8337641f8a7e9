"""Rooms with walls: what each part of the package may use, how large it may grow, and what it shows to the others.

    python tools/rooms.py        # draw the rooms from the imports, and write the drawing into CONTRIBUTING.md

settings.ini lists the rooms from the top floor down (`floors`); a module without a folder is a room of its own.
"""
import ast
import re
from collections import Counter
from configparser import ConfigParser
from functools import cache
from pathlib import Path

import yaml
from execnb.nbio import read_nb
from nbdev.config import get_config

from nblib import notebooks, pages, source

def room(module):
    "The folder of a module, or the module itself."
    return module.partition(".")[0]

def settings(root):
    "What settings.ini says, and the folder of the package."
    ini = ConfigParser(delimiters=["="])
    ini.read(Path(root)/"settings.ini", encoding="utf-8")
    return ini["DEFAULT"], Path(root)/ini["DEFAULT"]["lib_path"]

def floors(said):
    "Number of the floor of each room, 0 at the bottom; None where the project has no rooms."
    text = said.get("floors")
    return None if text is None else {r: i for i, f in enumerate(reversed(text.split("|"))) for r in f.split()}

@cache
def modules(lib):
    "Syntax tree of each module of the package in the folder `lib`, by its name without the package's."
    found = {}
    for p in sorted(lib.rglob("*.py")):
        parts = p.relative_to(lib).with_suffix("").parts
        if parts[-1] != "_modidx" and parts != ("__init__",): found[".".join(parts)] = ast.parse(p.read_text(encoding="utf-8"))
    return found

def hinted(tree):
    "Imports for type hints alone."
    return {id(x) for n in ast.walk(tree) if isinstance(n, ast.If) and "TYPE_CHECKING" in ast.unparse(n.test) for x in n.body}

def imports(lib, hints=False):
    "Each import of one module by another: who, whom, which name (None for the module itself)."
    trees = modules(lib)
    for m, tree in trees.items():
        skip = set() if hints else hinted(tree)
        here = m.split(".")[:-1]
        for n in ast.walk(tree):
            if id(n) in skip: continue
            if isinstance(n, ast.ImportFrom):
                base = n.module.split(".") if n.module else []
                if n.level: base = here[:len(here) - n.level + 1] + base
                elif base[:1] == [lib.name]: base = base[1:]
                else: continue
                for a in n.names:
                    if ".".join([*base, a.name]) in trees: yield m, ".".join([*base, a.name]), None
                    elif ".".join(base) in trees: yield m, ".".join(base), a.name
                    elif ".".join([*base, "__init__"]) in trees: yield m, ".".join([*base, "__init__"]), a.name
            elif isinstance(n, ast.Import):
                for a in n.names:
                    name = a.name.removeprefix(f"{lib.name}.")
                    if name != a.name and name in trees: yield m, name, None

def reach(arrows, start):
    "What can be reached along arrows."
    seen, todo = set(), [start]
    while todo:
        for b in arrows.get(todo.pop(), ()):
            if b not in seen: seen.add(b); todo.append(b)
    return seen

def circles(lib):
    "One line for each module that imports itself by way of others."
    arrows = {}
    for a, b, _ in imports(lib): arrows.setdefault(a, set()).add(b)
    for a in sorted(arrows):
        if a in reach(arrows, a): yield f"{lib.name}/{a.replace('.', '/')}.py: a circle of imports, by way of {', '.join(sorted(b for b in arrows[a] if a in reach(arrows, b)))}"

def walls(lib, floor):
    "An arrow that goes up or sideways, and a private name that leaves its room."
    for a, b, name in sorted(set(imports(lib)), key=str):
        where = f"{lib.name}/{a.replace('.', '/')}.py"
        if room(a) == room(b): continue
        if floor[room(b)] >= floor[room(a)]: yield f"{where}: {room(a)} may use rooms below it, got {b} of {room(b)}"
        if name and name.startswith("_"): yield f"{where}: a private name is for its own room, got {name} of {b}"

def sizes(root, lib, said):
    "A module or a notebook that has grown too large."
    most = int(said.get("module_lines", "350")), int(said.get("notebook_lines", "600"))
    for p in sorted(lib.rglob("*.py")):
        n = len(p.read_text(encoding="utf-8").splitlines())
        if p.name != "_modidx.py" and n > most[0]: yield f"{p.relative_to(root).as_posix()}: a module must have at most {most[0]} lines, got {n}"
    for f in notebooks(root):
        n = sum(not s.startswith("#|") for c in read_nb(f).cells if c.cell_type == "code" for s in source(c).splitlines())
        if n > most[1]: yield f"{f.relative_to(root).as_posix()}: a notebook must have at most {most[1]} lines of code, got {n}"

def public(tree):
    "Names in `__all__`."
    for n in tree.body:
        if isinstance(n, ast.Assign) and getattr(n.targets[0], "id", "") == "__all__": return ast.literal_eval(n.value)
    return []

def told(root):
    "The words of all pages, and of what else uses the package: benchmarks, tools, task files, the command's entry."
    cells = [c for f in pages(root) for c in read_nb(f).cells]
    texts = [source(c) for c in cells if c.cell_type == "code" and not re.search(r"^#\|\s*(export|test|helper)", source(c), re.M)]
    texts += [s for c in cells if c.cell_type == "markdown" for s in re.findall(r"`[^`]+`", source(c))]
    files = [p for d in ("bench", "tools", "soka/evals") for p in (root/d).rglob("*") if p.suffix in (".py", ".yaml", ".txt")]
    return Counter(re.findall(r"[A-Za-z_]\w*", "\n".join(texts + [p.read_text(encoding="utf-8") for p in [*files, root/"setup.py"] if p.exists()])))

def shown(root, lib):
    "A public name that nothing outside its module uses and no page tells of."
    used, words = {(b, n) for _, b, n in imports(lib, hints=True)}, told(root)
    for m, tree in modules(lib).items():
        for n in public(tree):
            if (m, n) not in used and not words[n]: yield f"{lib.name}/{m.replace('.', '/')}.py: a public name must be of use to others or told on a page, got {n}; call it _{n}"

def rooms(root):
    "Imports go down, without circles; rooms keep their private names; modules and notebooks stay small; public names are used or told."
    said, lib = settings(root)
    floor = floors(said)
    modules.cache_clear()
    if floor is None: return
    if lost := sorted({room(m) for m in modules(lib)} - floor.keys()): yield f"settings.ini: floors must name every room, got none for {lost[0]}"; return
    yield from circles(lib)
    yield from walls(lib, floor)
    yield from sizes(root, lib, said)
    yield from shown(root, lib)
    yield from drawn(root)

def draw(root):
    "The rooms from the top floor down, as text: floor, name, and what each uses directly."
    said, lib = settings(root)
    floor = floors(said)
    uses = {}
    for a, b, _ in imports(lib):
        if room(a) != room(b): uses.setdefault(room(a), set()).add(room(b))
    for r in sorted(floor, key=lambda r: (-floor[r], r)):
        yield f"{floor[r]}  {r:9} {' '.join(sorted(uses.get(r, ()), key=lambda b: (-floor[b], b)))}".rstrip()

def drawn(root):
    "The drawing in CONTRIBUTING.md is that of the code."
    path = Path(root)/"CONTRIBUTING.md"
    found = re.search(r"^```rooms\n(.*?)^```", path.read_text(encoding="utf-8"), re.M | re.S) if path.exists() else None
    if found and found[1].rstrip("\n").split("\n") != list(draw(root)): yield "CONTRIBUTING.md: the drawing of the rooms is not that of the code; run python tools/rooms.py"

def groups(said):
    "Labels of the sidebar, with the pages and folders that each lists."
    lines = [s.split(":") for s in said.get("reading", "").splitlines() if s.strip()]
    return {label.strip(): entries.split() for label, entries in lines}

def entry_of(page, entries):
    "The entry that lists a page: the page itself, or the folder that it is in."
    return max((e for e in entries if page.removesuffix(".ipynb") == e or page.startswith(e + "/")), key=len, default=None)

def write_sidebar(root):
    "List the pages group by group, in the order of `reading` in settings.ini; a room with more than one page is a section of its own."
    said, _ = settings(root)
    labels, rooms_here = groups(said), floors(said) or {}
    every, listed = [e for entries in labels.values() for e in entries], {}
    for f in pages(root):
        page = f.relative_to(Path(root)/"nbs").as_posix()
        listed.setdefault(entry_of(page, every), []).append(page)
    def section(e):
        ps = sorted(listed.get(e, ()))
        return [{"section": e, "contents": ps}] if e in rooms_here and "/" in ps[0] else ps
    contents = {label: [p for e in entries if e in listed for p in section(e)] for label, entries in labels.items()}
    if None in listed: contents.setdefault("Reference", []).extend(sorted(listed[None]))
    bar = [{"section": label, "contents": found} for label, found in contents.items() if found]
    yml = Path(root)/"nbs"/"sidebar.yml"
    yml.write_text(yaml.safe_dump({"website": {"sidebar": {"contents": bar}}}, sort_keys=False), encoding="utf-8")

if __name__ == "__main__":
    here = get_config().config_path
    text = "\n".join(draw(here))
    print(text)
    path = here/"CONTRIBUTING.md"
    path.write_text(re.sub(r"(?<=^```rooms\n).*?(?=^```)", text + "\n", path.read_text(encoding="utf-8"), flags=re.M | re.S), encoding="utf-8")
