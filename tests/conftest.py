"Settings for every test: no display, no network, one thread, and when `slow` and `cuda` tests run."
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

def pytest_collection_modifyitems(config, items):
    for item in items:
        if "slow" in item.keywords and not config.getoption("--slow"):
            item.add_marker(pytest.mark.skip(reason="slow: give --slow"))
        if "cuda" in item.keywords and not torch.cuda.is_available():
            item.add_marker(pytest.mark.skip(reason="no CUDA device"))
