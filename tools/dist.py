"""Build the wheel and the source distribution into dist/, and check them.

    python tools/dist.py

Both are built from a copy of the project's files, so that nothing left lying about gets in. Checked are the files of the
wheel, that the source distribution builds the same wheel, and what `twine check --strict` says. Prints one line per problem
and exits 1 if there is any.
"""
import hashlib
import shutil
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

from nbdev.config import get_config

from nblib import project_files

def run(*command, cwd=None):
    "Run a Python module; its output goes to the user, a failure ends this tool."
    if subprocess.run([sys.executable, "-m", *map(str, command)], cwd=cwd).returncode: sys.exit(f"failed: {' '.join(map(str, command))}")

def copied(root, to):
    "A copy of the project's files under `to`."
    for f in project_files(root):
        (to/f.relative_to(root)).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(f, to/f.relative_to(root))
    return to

def contents(wheel):
    "Hash of each file in a wheel, by name."
    with zipfile.ZipFile(wheel) as z: return {n: hashlib.sha256(z.read(n)).hexdigest() for n in z.namelist() if not n.endswith("/")}

def missing_or_extra(wheel, root, lib):
    "The wheel holds every file of the package and the licence, and beside its metadata nothing else."
    names, info = contents(wheel).keys(), "-".join(wheel.name.split("-")[:2]) + ".dist-info"
    wanted = {f.relative_to(root).as_posix() for f in project_files(root) if f.is_relative_to(root/lib)}
    if not any(n.startswith(f"{info}/") and n.endswith("/LICENSE") for n in names): yield f"{wheel.name}: LICENSE is missing"
    for n in sorted(wanted - names): yield f"{wheel.name}: {n} is missing"
    for n in sorted(names - wanted):
        if not n.startswith(f"{info}/"): yield f"{wheel.name}: {n} must not be there"

def differences(wheel, other):
    "Both wheels hold the same files."
    a, b = contents(wheel), contents(other)
    for n in sorted(a.keys() | b.keys()):
        if a.get(n) != b.get(n): yield f"{wheel.name}: {n} differs between the wheel of the project and that of the source distribution"

def build(root, out):
    "Build both into `out`; returns the wheel of the source distribution and the one of the project itself."
    with tempfile.TemporaryDirectory() as d:
        copy = copied(root, Path(d).resolve()/"project")
        run("build", "--outdir", out, copy)                    # the source distribution, and the wheel that it builds
        run("build", "--wheel", "--outdir", out/"direct", copied(root, Path(d).resolve()/"again"))
    return *out.glob("*.whl"), *(out/"direct").glob("*.whl")

def main(root):
    root, lib = Path(root).resolve(), get_config(path=root).lib_name
    out = root/"dist"
    shutil.rmtree(out, ignore_errors=True)
    wheel, direct = build(root, out)
    problems = [*missing_or_extra(wheel, root, lib), *differences(direct, wheel)]
    shutil.rmtree(out/"direct")
    for p in problems: print(p)
    if problems: sys.exit(f"{len(problems)} problem{'s' * (len(problems) > 1)}")
    run("twine", "check", "--strict", *sorted(out.iterdir()))

if __name__ == "__main__": main(get_config().config_path)
