"The GPU benchmark runs, at a tiny size on a CPU."
import json
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent

sys.path.insert(0, str(ROOT/"bench"))

import gpu  # noqa: E402

def test_gpu_benchmark_at_a_tiny_size(tmp_path):
    pytest.importorskip("bitsandbytes")
    out = tmp_path/"record.json"
    gpu.main(["--tiny", "--steps", "1", "--out", str(out)])
    record = json.loads(out.read_text())
    assert record.keys() == {"machine", "settings", "ceilings", "layer", "nf4", "bf16"}
    assert record["machine"]["gpu"] is None or record["settings"]["device"] == "cpu"
    methods = {f"{m}, {size}" for size, own in (("1M", "SoKA budget"), ("10M", "SoKA low-rank"))
               for m in ("LoRA", "SoKA", own, "PiSSA", "DoRA", "LoKr", "MiSS", "LoRA again")}
    for base in ("nf4", "bf16"): assert record[base].keys() == methods
    assert {m.split(",")[0] for m, a in record["nf4"].items() if "error" in a} <= {"PiSSA", "LoKr"}
    for m, a in record["bf16"].items():
        assert a.keys() >= {"start_seconds", "trainable", "step"} and a["step"]["peak_bytes"] > 0
        assert ("step_without_kernels" in a) == m.startswith("SoKA") and 0 < a["step"]["of_matrix_rate"]
    for ways in record["layer"].values():
        assert ways.keys() >= {"plain"} and all(0 < r["of_bandwidth"] for w in ways.values() for r in w.values())

def test_a_tiny_run_leaves_the_record_alone():
    with pytest.raises(SystemExit, match="give it an --out of its own"): gpu.main(["--tiny"])
