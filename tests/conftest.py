"Settings for every test: no display, no network, one thread, and when tests with a mark run."
import gc
import importlib.util
import os
import random
import subprocess
import sys
import tempfile

os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("HF_DATASETS_OFFLINE", "1")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")

import matplotlib
import numpy as np
import pytest
import torch

matplotlib.use("Agg")
if not torch.cuda.is_available(): os.environ.setdefault("TRITON_INTERPRET", "1")  # before Triton's first import: kernels run without a GPU
torch.set_num_threads(1)  # several times faster than the default for small models on a busy machine

def pytest_addoption(parser):
    parser.addoption("--slow", action="store_true", help="also run tests marked slow")

def pytest_configure(config):
    config.addinivalue_line("markers", "slow: runs only with --slow")
    config.addinivalue_line("markers", "cuda: runs only where torch sees a CUDA device")
    config.addinivalue_line("markers", "bwrap: runs only where bubblewrap can isolate a program")
    config.addinivalue_line("markers", "lmeval: runs only where the extra `eval` is installed")
    config.addinivalue_line("markers", "linux: runs only on Linux")
    config.addinivalue_line("markers", "mount: runs only where this user can mount a file system")
    config.addinivalue_line("markers", "needs(module, ...): runs only where these modules are installed")
    config.addinivalue_line("markers", "data(name, ...): runs only where that data is on this machine, see `soka data`")

def pytest_collection_finish(session): gc.freeze()   # all modules are imported: `gc.collect`, which every training run calls, need not look at them

def pytest_sessionfinish(session): gc.unfreeze()

@pytest.fixture(autouse=True)
def _seeded():
    "What a test draws depends neither on the tests before it nor on how they are spread over processes."
    random.seed(0)
    np.random.seed(0)
    torch.manual_seed(0)

def why_no_sandbox():
    "The reason why programs cannot run isolated here, or None."
    from soka.evaluate.walls import find_mode
    try: return find_mode() and None
    except RuntimeError as e: return str(e)

def why_no_data(item):
    "The names that a test marked data needs and does not find, or None."
    from soka.data.registry import find_data
    missing = [n for m in item.iter_markers("data") for n in m.args if not find_data(n)]
    return f"needs {', '.join(missing)}: soka data get {' '.join(missing)}" if missing else None

def why_no_mount():
    "The reason why no file system can be mounted here, or None."
    with tempfile.TemporaryDirectory() as d:
        try: run = subprocess.run(["mount", "-t", "tmpfs", "tmpfs", d], capture_output=True, text=True)
        except OSError as e: return str(e)
        if run.returncode: return f"a file system cannot be mounted here: {run.stderr.strip()}"
        subprocess.run(["umount", d], check=True)

def missing_modules(item):
    return [n for m in item.iter_markers("needs") for n in m.args if not importlib.util.find_spec(n)]

def pytest_collection_modifyitems(config, items):
    for item in items:
        if "slow" in item.keywords and not config.getoption("--slow"):
            item.add_marker(pytest.mark.skip(reason="slow: give --slow"))
        if "cuda" in item.keywords and not torch.cuda.is_available():
            item.add_marker(pytest.mark.skip(reason="no CUDA device"))
        if gone := missing_modules(item): item.add_marker(pytest.mark.skip(reason=f"needs {', '.join(gone)}"))
        if "linux" in item.keywords and sys.platform != "linux": item.add_marker(pytest.mark.skip(reason="needs Linux"))
        if "data" in item.keywords and (why := why_no_data(item)): item.add_marker(pytest.mark.skip(reason=why))
    missing = {"bwrap": why_no_sandbox, "mount": why_no_mount, "lmeval": lambda: None if importlib.util.find_spec("lm_eval") else "needs the extra: pip install -e '.[eval]'"}
    for mark, reason in missing.items():
        marked = [item for item in items if mark in item.keywords]
        if marked and (why := reason()):
            for item in marked: item.add_marker(pytest.mark.skip(reason=why))
