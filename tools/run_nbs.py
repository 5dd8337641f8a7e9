"""Run notebooks from top to bottom and store their outputs.

    python tools/run_nbs.py [--all] [notebook ...]

Each notebook runs in a fresh process, without a display and offline. Cells marked `#| eval: false`, or with one of
`tst_flags` (slow, cuda; not test), keep the outputs they have; `--all` runs the flagged ones too. Cells marked `#| data name`
run where that data is on this machine (see `soka data`), those marked `#| needs module` where it is installed; elsewhere
they keep their outputs. What a test prints, and what changes from run to run or
from machine to machine (stderr, progress bars, widgets), is not stored, so a second run leaves no diff.
"""
import argparse
import os
import re
import subprocess
import sys
from pathlib import Path

from execnb.nbio import read_nb, write_nb
from execnb.shell import CaptureShell
from fastcore.xtras import working_directory
from nbdev.clean import clean_nb
from nbdev.config import get_config

from nblib import data_fingerprint, data_here, fingerprint, flagged, needs, pages, run_flags, skipped

ENV = dict(HF_HUB_OFFLINE="1", HF_DATASETS_OFFLINE="1", TRANSFORMERS_VERBOSITY="error", TQDM_DISABLE="1",
           TOKENIZERS_PARALLELISM="false", PYTHONHASHSEED="0", OMP_NUM_THREADS="1", NO_COLOR="1")

def stable(outputs):
    "The outputs worth storing: no stderr, no widgets, and of an overwritten line only what was left standing."
    kept = []
    for o in outputs:
        if o.get("name") == "stderr": continue
        if "application/vnd.jupyter.widget-view+json" in o.get("data", {}): continue
        if o["output_type"] == "stream":
            o["text"] = re.sub(r"[^\n]*\r(?!\n)", "", "".join(o["text"])).splitlines(True)
        kept.append(o)
    return kept

def run_nb(path, flags, every=False):
    "Run one notebook in this process, store outputs and a fingerprint of the code; raise if a cell fails."
    path, nb = Path(path).resolve(), read_nb(path)
    want = set().union(*map(needs, flagged(path)))
    have = data_here() if want else set()
    skip = skipped(path, ["data", "needs"] if every else flags, have, here=True)
    for c, s in zip(nb.cells, skip):
        if not s: c["outputs"] = []   # a cell that shows nothing would keep what it once showed
    shell = CaptureShell(path, mpl_format="png")
    with working_directory(path.parent):
        shell.run_all(nb, exc_stop=True, preproc=lambda c: skip[c.idx_])
    for c, s, f in zip(nb.cells, skip, flagged(path)):
        if not s: c["outputs"] = [] if "test" in f.directives_ else stable(c["outputs"])
    kept = nb.metadata.get("executed_data")
    clean_nb(nb)
    nb.metadata["executed"] = fingerprint(path, flags)
    made = data_fingerprint(path, flags) if want <= have else want and kept
    if made: nb.metadata["executed_data"] = made
    write_nb(nb, path)

def main():
    p = argparse.ArgumentParser(description="Run notebooks and store their outputs.")
    p.add_argument("notebooks", nargs="*", help="default: all under nbs/")
    p.add_argument("--all", action="store_true", help="also run cells marked with one of tst_flags")
    p.add_argument("--here", action="store_true", help=argparse.SUPPRESS)  # this process runs the notebook
    a = p.parse_args()
    cfg = get_config()
    if a.here:
        sys.path.insert(0, str(cfg.config_path))
        return run_nb(a.notebooks[0], run_flags(cfg), a.all)
    failed = []
    for f in a.notebooks or pages(cfg.config_path):
        print(f, flush=True)
        cmd = [sys.executable, __file__, "--here", *["--all"][:a.all], str(f)]
        if subprocess.run(cmd, env=os.environ | ENV, stdin=subprocess.DEVNULL).returncode: failed.append(str(f))
    if failed: sys.exit("failed: " + " ".join(failed))

if __name__ == "__main__": main()
