"Settings for every test: no display, no network, one thread, and when tests with a mark run."
import importlib.util
import os

os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("HF_DATASETS_OFFLINE", "1")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")

import matplotlib
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

def why_no_sandbox():
    "The reason why programs cannot run isolated here, or None."
    from soka.sandbox import find_mode
    try: return find_mode() and None
    except RuntimeError as e: return str(e)

def pytest_collection_modifyitems(config, items):
    for item in items:
        if "slow" in item.keywords and not config.getoption("--slow"):
            item.add_marker(pytest.mark.skip(reason="slow: give --slow"))
        if "cuda" in item.keywords and not torch.cuda.is_available():
            item.add_marker(pytest.mark.skip(reason="no CUDA device"))
    missing = {"bwrap": why_no_sandbox, "lmeval": lambda: None if importlib.util.find_spec("lm_eval") else "needs the extra: pip install soka[eval]"}
    for mark, reason in missing.items():
        marked = [item for item in items if mark in item.keywords]
        if marked and (why := reason()):
            for item in marked: item.add_marker(pytest.mark.skip(reason=why))
