"What the tools share: the project's files and how a notebook's cells are read."
import hashlib
import subprocess
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

def source(cell):
    return "".join(cell["source"])

def flagged(path):
    "Cells of the notebook at `path`, all of them in order, each with its `#|` lines taken off and kept in `directives_`."
    return NBProcessor(path).nb.cells

def skipped(path, flags):
    "For each cell of the notebook at `path`: is it left alone by a run that skips cells marked with one of `flags`?"
    meta = getattr(NBProcessor(path, procs=FrontmatterProc, process=True).nb, "frontmatter_", {})
    whole = str(meta.get("skip_exec", "")).lower() == "true"
    def skip(cell):
        d = cell.directives_
        return (whole or cell.cell_type != "code" or "nbdev_export(" in cell.source
                or d.get("eval:", [""])[0].lower() == "false" or bool(set(flags) & d.keys()))
    return [skip(c) for c in flagged(path)]

def fingerprint(path, flags):
    "Hash of the code of every cell that a run executes, in order; directives such as `#| export` do not count."
    cells = [c.source for c, s in zip(flagged(path), skipped(path, flags)) if not s]
    return hashlib.sha256("\n\0".join(cells).encode()).hexdigest()[:16]
