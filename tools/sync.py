"""Write everything that is made from the notebooks: modules, tests, README.md, sidebar; and clean the notebooks.

    python tools/sync.py

Runs no notebook: outputs are stored by tools/run_nbs.py.
"""
from pathlib import Path

from nbdev.clean import nbdev_clean
from nbdev.config import get_config
from nbdev.doclinks import nbdev_export
from nbdev.quarto import refresh_quarto_yml

import export_tests
import readme
import rooms
from nblib import flagged, notebooks

def orphans(root, lib):
    "Generated modules that no notebook names in its `default_exp`."
    made = {" ".join(c.directives_["default_exp"]) for f in notebooks(root) for c in flagged(f) if "default_exp" in c.directives_}
    for p in sorted(lib.rglob("*.py")):
        mod = ".".join(p.relative_to(lib).with_suffix("").parts)
        if mod not in made and export_tests.MARK in p.read_text(encoding="utf-8"): yield p

def main(root):
    cfg = get_config(path=root)
    for p in orphans(root, Path(cfg.lib_path)): p.unlink()
    nbdev_export.__wrapped__()
    nbdev_clean.__wrapped__()
    refresh_quarto_yml()
    rooms.write_sidebar(root)
    export_tests.main(root)
    readme.main(root)

if __name__ == "__main__": main(get_config().config_path)
