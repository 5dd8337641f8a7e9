"""Run the notebooks' cells with nbdev_test, those that need data included where it is on this machine.

    python tools/test_nbs.py [--data | --slow]

Test cells are left to pytest. `--data` runs only the notebooks that have a cell besides tests which needs data, where all that
a notebook needs is here, `--slow` only those with a slow one, those cells included.
"""
import os
import sys

from nbdev.config import get_config
from nbdev.test import nbdev_test

from nblib import data_here, flagged, needs, pages

def main(only_data=False, slow=False):
    cells = [(f, c) for f in pages(get_config().config_path) for c in flagged(f) if "test" not in c.directives_]
    want = set().union(*(needs(c) for _, c in cells))
    missing = sorted(want - data_here())
    print(f"cells that need data: {'left out, ' + ' '.join(missing) + ' not here' if missing else 'run'}", flush=True)
    wanting = {f.name for f, c in cells if needs(c) & set(missing)}
    names = sorted({f.name for f, c in cells if (needs(c) if only_data else "slow" in c.directives_)} - (wanting if only_data else set()))
    if only_data and not names: sys.exit("--data needs some of it")
    pick = {"file_re": "^(" + "|".join(n.replace(".", r"\.") for n in names) + ")$"} if only_data or slow else {}
    with_data = only_data or not missing
    nbdev_test.__wrapped__(flags=" ".join(["data"]*with_data + ["slow"]*slow), n_workers=2, timing=True, **pick)

if __name__ == "__main__":
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    main("--data" in sys.argv[1:], "--slow" in sys.argv[1:])
