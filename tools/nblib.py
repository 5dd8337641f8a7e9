"What the tools share: the project's files and how a notebook's cells are read."
import hashlib
import subprocess
from importlib.util import find_spec
from pathlib import Path

from nbdev.frontmatter import FrontmatterProc
from nbdev.process import NBProcessor

def project_files(root):
    "Files of the project under `root`: tracked or new, never ignored ones."
    out = subprocess.run(["git", "ls-files", "-co", "--exclude-standard", "-z"], cwd=root, check=True, capture_output=True, text=True)
    return sorted(p for p in {Path(root)/f for f in out.stdout.split("\0") if f} if p.is_file())

def notebooks(root):
    "Notebooks under `nbs/`, in the order of their paths; nbdev skips names that start with `_` or `.`."
    nbs = Path(root)/"nbs"
    return sorted(f for f in nbs.rglob("*.ipynb") if not any(p[0] in "._" for p in f.relative_to(nbs).parts))

def companion(path):
    "Is it a notebook of tests beside one that teaches? The site does not list it, and pytest alone runs it."
    return Path(path).stem.endswith("_tests")

def pages(root):
    "The notebooks that a reader meets."
    return [f for f in notebooks(root) if not companion(f)]

def source(cell):
    return "".join(cell["source"])

def flagged(path):
    "Cells of the notebook at `path`, all of them in order, each with its `#|` lines taken off and kept in `directives_`."
    return NBProcessor(path).nb.cells

def data_here():
    "Names of registered data and bases on this machine."
    from soka.data.registry import REGISTRY, find_data  # imported here: most tools need no package
    return {n for n in REGISTRY if find_data(n)}

def needs(cell):
    "Names of the data that a cell marked `#| data name ...` needs."
    return set(cell.directives_.get("data", ()))

def skipped(path, flags, have=(), *, here=False):
    """For each cell of the notebook at `path`: is it left alone by a run that skips cells marked with one of `flags`?

    Cells marked data run where there is the data `have`; those marked needs if `here` and their modules are installed."""
    meta = getattr(NBProcessor(path, procs=FrontmatterProc, process=True).nb, "frontmatter_", {})
    whole = str(meta.get("skip_exec", "")).lower() == "true"
    def skip(cell):
        d = cell.directives_
        return (whole or cell.cell_type != "code" or "nbdev_export(" in cell.source
                or d.get("eval:", [""])[0].lower() == "false" or bool((set(flags) - {"data", "needs"}) & d.keys())
                or ("data" in flags and not needs(cell) <= set(have))
                or ("needs" in flags and "needs" in d and not (here and all(map(find_spec, d["needs"])))))
    return [skip(c) for c in flagged(path)]

def run_flags(cfg):
    "Flags of cells whose outputs an ordinary run of a notebook leaves as they are: all of `tst_flags` but `test`."
    return [f for f in cfg.tst_flags.split() if f != "test"]

def _hash(cells):
    return hashlib.sha256("\n\0".join(cells).encode()).hexdigest()[:16]

def fingerprint(path, flags):
    "Hash of the code of every cell that a run executes on any machine, in order; directives such as `#| export` do not count."
    return _hash(c.source for c, s in zip(flagged(path), skipped(path, flags)) if not s)

def data_fingerprint(path, flags):
    "The same of the cells that need data; None where there is none."
    every = {n for c in flagged(path) for n in needs(c)}
    cells = [c.source for c, s in zip(flagged(path), skipped(path, flags, every)) if not s and needs(c)]
    return _hash(cells) if cells else None
