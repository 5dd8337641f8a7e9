"The GPU benchmark and the session around it run, at a tiny size on a CPU."
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent

sys.path.insert(0, str(ROOT/"bench"))

import gpu  # noqa: E402

from soka.compare.settings import read_comparison  # noqa: E402

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

def session(out, python, *more, **env):
    "Parts of a session with their exit codes."
    done = subprocess.run(["bash", str(ROOT/"bench"/"gpu_session.sh"), str(out), *more], env=os.environ | {"PYTHON": str(python)} | env, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return {p["part"]: p["code"] for p in json.loads((out/"session.json").read_text())}

@pytest.mark.skipif(sys.platform != "linux", reason="needs Linux")
def test_gpu_session_goes_on_and_records(tmp_path):
    stub = tmp_path/"python"
    stub.write_text(f'#!/bin/sh\n[ "$1" = -c ] && exec {sys.executable} "$@"\necho "$@"\ncase "$*" in *compare*) exit 3;; esac\n')
    stub.chmod(0o755)
    for i, half in enumerate(("one ", "two")): (tmp_path/f"model.gguf.{i}").write_text(half)
    out = tmp_path/"out"
    assert session(out, stub, SMOLLM2=str(tmp_path/"model.gguf"), GSM8K="rows.jsonl") == {"kernels": "0", "step": "0", "recipe": "0", "compare": "3", "rest": "0"}
    assert (out/"base.gguf").read_text() == "one two" and "--data rows.jsonl" in (out/"recipe.log").read_text() and f"--model {out}/base.gguf" in (out/"recipe.log").read_text()
    c = read_comparison(out/"compare.yaml")
    assert c.bases == {"model": f"{out}/base.gguf"} and c.tasks["rows"].data == "rows.jsonl" and set(c.arms) == {"lora", "soka 75%", "soka 75% nf4", "lora nf4"}
    assert "machine" not in (out/"session.json").read_text() and session(out, stub).keys() == {"kernels", "step", "recipe", "compare", "rest"}

@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="needs Linux")
def test_gpu_session_at_a_tiny_size(tmp_path):
    assert set(session(tmp_path, sys.executable, "--tiny").values()) == {"0"}
    assert json.loads((tmp_path/"bench-gpu.json").read_text()).keys() >= {"ceilings", "nf4", "layer", "bf16"}
    assert json.loads((tmp_path/"recipe"/"run.json").read_text())["status"] == "finished" and list((tmp_path/"compare").glob("*.json"))
