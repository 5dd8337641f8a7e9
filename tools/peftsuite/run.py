"""PEFT's own tests, with SoKA in the place of one of its methods.

    python tools/peftsuite/run.py FOLDER [--methods soka lokr lora miss] [--parts custom transformers derived quant compile]
                                         [--fast] [--record FILE]

FOLDER is a new or used folder outside the repository. It takes the tests of the PEFT that is installed, from its source
distribution, a hub of tiny random models, and an environment over this one with what only those tests need. Everything
that fails and is not in expected.txt is printed, and makes the exit status 1.
"""
import argparse
import collections
import importlib.metadata
import json
import os
import re
import subprocess
import sys
import tarfile
import xml.etree.ElementTree as ET
from pathlib import Path
from typing import NamedTuple

HERE = Path(__file__).resolve().parent
EXTRAS = ["pytest-xdist", "pytest-timeout", "diffusers", "parameterized", "scipy", "scikit-learn", "sentencepiece"]
PARTS = {
    "custom": ["test_custom_models"],
    "transformers": [f"test_{n}" for n in ("decoder_models", "encoder_decoder_models", "feature_extraction_models", "seq_classifier",
                                           "token_classification_qa", "config", "low_level_api")],
    "derived": ["test_soka_*"],
    "quant": ["test_quantization"],
    "compile": ["test_torch_compile"],
    "fast": ["test_custom_models", "test_config", "test_soka_custom_models"]}
WITH = {"derived": ("soka", "lora"), "quant": ("soka", "miss")}    # methods that a part is about; others: all

def version(package="peft"):
    try: return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError: return None

def fetch(folder):
    "PEFT's tests, of the installed version, out of its source distribution."
    to = folder/f"peft-{version()}"
    if (to/"tests/__init__.py").exists(): return to
    get = [sys.executable, "-m", "pip", "download", "-q", "--no-deps", "--no-binary", ":all:", "-d", str(folder/"dl")]
    subprocess.run([*get, f"peft=={version()}"], check=True)
    with tarfile.open(next((folder/"dl").glob("peft-*.tar.gz"))) as tar:
        for m in tar.getmembers():
            if m.isfile() and (inside := Path(*Path(m.name).parts[1:])).parts[0] == "tests" and inside.suffix == ".py":
                (to/inside).parent.mkdir(parents=True, exist_ok=True)
                (to/inside).write_bytes(tar.extractfile(m).read())
    (to/"tests/__init__.py").touch()
    return to

def environment(folder):
    "A Python that sees this one's packages and what the tests need beside them."
    python = folder/"venv/bin/python"
    if not python.exists():
        subprocess.run([sys.executable, "-m", "venv", str(folder/"venv")], check=True)
        paths = [p for p in sys.path if p.endswith("site-packages")]
        own = subprocess.run([python, "-c", "import site; print(site.getsitepackages()[0])"], check=True, capture_output=True, text=True)
        Path(own.stdout.strip(), "base.pth").write_text("".join(f"import site; site.addsitedir({p!r})\n" for p in paths))
        subprocess.run([python, "-m", "pip", "install", "-q", *EXTRAS], check=True)
        subprocess.run([python, "-m", "pip", "install", "-q", "--no-deps", "torchao"], check=True)
    return str(python)

def settings(folder, method, fast):
    "Environment variables of a run: nothing is downloaded, and the same on every machine."
    offline = dict(HF_HUB_OFFLINE="1", TRANSFORMERS_OFFLINE="1", TOKENIZERS_PARALLELISM="false", WANDB_MODE="disabled", TQDM_DISABLE="1")
    path = os.pathsep.join(filter(None, [str(HERE), str(HERE.parents[1]), os.environ.get("PYTHONPATH")]))
    return os.environ | offline | dict(HF_HOME=str(folder/"hf"), OMP_NUM_THREADS="1", PYTHONPATH=path, PEFT_METHOD=method,
                                       PEFTSUITE_FAST="1" if fast else "", PEFT_DEBUG_WITH_TORCH_COMPILE="1")

def files(tests, part, method):
    names = ["test_base_*"] if part == "derived" and method == "lora" else PARTS[part]
    return [str(f.relative_to(tests.parent)) for n in names for f in sorted(tests.glob(f"{n}.py"))]

def run(python, where, folder, method, part, workers):
    "One part with one method; its results as JUnit XML."
    out = folder/"out"/f"{method}-{part}.xml"
    out.unlink(missing_ok=True)
    many = ["-n", str(workers), "--timeout", "600"] if workers else []
    command = [python, "-m", "pytest", "-p", "peftsuite_plugin", "-c", os.devnull, "--rootdir", ".", "-o", "junit_family=xunit1",
               "-p", "no:cacheprovider", "-q", "--tb=short", "-W", "default", *many, "--junitxml", str(out)]
    with open(out.with_suffix(".log"), "w") as log:
        env = settings(folder, method, part == "fast")
        subprocess.run([*command, *files(where/"tests", part, method)], cwd=where, env=env, stdout=log, stderr=log)
    if not out.exists(): raise RuntimeError(f"pytest must end with results, got none; see {out.with_suffix('.log')}")
    return out

def run_all(folder, todo, fast, workers):
    "Parts with their methods, after what they need has been made."
    (folder/"out").mkdir(parents=True, exist_ok=True)
    python, where = sys.executable if fast else environment(folder), fetch(folder)
    subprocess.run([python, str(HERE/"hub.py"), str(folder/"hf")], check=True, env=settings(folder, "soka", False))
    subprocess.run([python, str(HERE/"derive.py"), str(where/"tests")], check=True)
    return [run(python, where, folder, m, part, 0 if fast else workers) for m, part in todo]

OTHER_BASE = "a base with other weights"    # there the plug-in looks away, so that a test's own subject is tested

class Rule(NamedTuple):
    "A line of expected.txt."
    pattern:re.Pattern    # on "test[case]: message"; "-" where no test of PEFT's meets it
    behaviour:str
    peft:str
    soka:str
    why:str

def rules(path=HERE/"expected.txt"):
    "In what SoKA is another on purpose."
    lines = [line for line in path.read_text(encoding="utf-8").splitlines() if line and not line.startswith("#")]
    parts = [(a.strip(), [w.strip() for w in b.split("|")]) for a, b in (line.split(" => ") for line in lines)]
    return [Rule(re.compile("(?!)" if a == "-" else a), *b) for a, b in parts]

class Summary(NamedTuple):
    "Results of some runs."
    counts:dict      # method -> file -> outcome -> number of tests
    expected:dict    # behaviour -> number of tests that fail on purpose
    unclaimed:dict   # behaviour -> number of tests that are not supported
    new:list         # (method, test, message) of the others

HUB = re.compile("couldn't connect to|not fully cached locally|Cannot find the requested files in the (disk|local) cache")   # no tiny model

def outcome(case):
    "passed, failed, skipped or not supported, with the message."
    failure = next((f for t in ("failure", "error") if (f := case.find(t)) is not None), None)
    text = lambda e: re.sub(r"/tmp/\S+|0x[0-9a-f]+", "…", (e.get("message") or "").split("\n")[0])
    if failure is not None: return "not supported" if HUB.search(failure.get("message") or "") else "failed", text(failure)
    if (skip := case.find("skipped")) is None: return "passed", ""
    return "not supported" if "not supported" in (skip.get("message") or "") else "skipped", text(skip)

def summarize(paths):
    "Counts by file, and failures beside what is expected."
    counts = collections.defaultdict(lambda: collections.defaultdict(collections.Counter))
    expected, unclaimed, new = collections.Counter(), collections.Counter(), []
    known = [r for r in rules() if r.behaviour != OTHER_BASE]      # those tests are to pass
    for path in map(Path, paths):
        method = path.name.split("-")[0]
        for case in ET.parse(path).iter("testcase"):
            what, text = outcome(case)
            file = next(iter(re.findall(r"test_\w+", case.get("classname") or "")), case.get("name"))
            counts[method][file.replace("test_base_", "test_soka_")][what] += 1
            rule = next((r for r in known if r.pattern.search(f"{case.get('name')}: {text}")), None) if method == "soka" else None
            if rule and what in ("failed", "not supported"): (expected if what == "failed" else unclaimed)[rule.behaviour] += 1
            elif what == "failed": new.append((method, case.get("name"), text[:200]))
    return Summary({m: {f: dict(n) for f, n in sorted(fs.items())} for m, fs in counts.items()}, dict(expected), dict(unclaimed), new)

def report(s):
    "The same in lines."
    outcomes = ("passed", "failed", "skipped", "not supported")
    for method, per in s.counts.items():
        for file, n in per.items(): yield f"{method:5} {file:36} " + "  ".join(f"{n.get(k, 0):5} {k}" for k in outcomes)
    for behaviour, n in s.expected.items(): yield f"expected {n:4}  {behaviour}"
    for behaviour, n in s.unclaimed.items(): yield f"not supported {n:4}  {behaviour}"
    for method, name, text in s.new: yield f"{'NEW' if method == 'soka' else method} {name}: {text}"

def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("folder", type=Path)
    p.add_argument("--methods", nargs="+", default=["soka"], choices=["soka", "lokr", "lora", "miss"])
    p.add_argument("--parts", nargs="+", default=["custom", "transformers", "derived", "quant"], choices=list(PARTS))
    p.add_argument("--fast", action="store_true", help="a few rows in this environment, a minute or two")
    p.add_argument("--count", action="store_true", help="count what FOLDER/out holds, run nothing")
    p.add_argument("--workers", type=int, default=2)
    p.add_argument("--record", type=Path, help="JSON file for the counts")
    args = p.parse_args()
    folder = args.folder.resolve()
    parts = ["fast"] if args.fast else args.parts
    todo = [(m, part) for m in args.methods for part in parts if m in WITH.get(part, (m,))]
    s = summarize([folder/"out"/f"{m}-{part}.xml" for m, part in todo] if args.count else run_all(folder, todo, args.fast, args.workers))
    print("\n".join(report(s)))
    if args.record:
        versions = {n: version(n) for n in ("peft", "transformers", "torch", "soka-peft", "soka")}
        kept = json.loads(args.record.read_text(encoding="utf-8"))["counts"] if args.record.exists() else {}     # of other methods
        record = {"versions": {n: v for n, v in versions.items() if v}, "parts": parts, "counts": kept | s.counts, "expected": s.expected,
                  "unclaimed": s.unclaimed}
        args.record.write_text(json.dumps(record, indent=1, sort_keys=True) + "\n", encoding="utf-8")
    return any(m == "soka" for m, *_ in s.new)

if __name__ == "__main__": sys.exit(main())
