"""A script in a process of its own, at the price of a fork: a server that has imported what the tools import makes the process.

The script has its own folder, environment, arguments and modules, as if started by `python script`.
"""
import multiprocessing
import os
import runpy
import subprocess
import sys
import tempfile
from pathlib import Path

FORKS = multiprocessing.get_context("forkserver")
FORKS.set_forkserver_preload(["execnb.shell", "fastcore.all", "IPython.core.interactiveshell", "matplotlib.pyplot", "matplotlib_inline.backend_inline",
                              "nbconvert", "nbdev.clean", "nbdev.export", "nbdev.quarto", "nbdev.serve", "nbdev.test"])

def _script(folder, path, args, env, out, err):
    for fd, name in ((1, out), (2, err)): os.dup2(os.open(name, os.O_WRONLY | os.O_CREAT), fd)
    os.chdir(folder)
    os.environ.clear()
    os.environ.update(env)
    sys.argv = [path, *args]
    here = str(Path(__file__).parent)
    sys.path[:] = [str(Path(path).parent), *env.get("PYTHONPATH", "").split(os.pathsep), *(p for p in sys.path if p != here)]
    runpy.run_path(path, run_name="__main__")

def run_script(folder, path, *args, **env):
    "Run `folder/path` there, and give what `subprocess.run` gives with `text=True` and captured output."
    with tempfile.TemporaryDirectory() as d:
        out, err = Path(d, "out"), Path(d, "err")
        p = FORKS.Process(target=_script, args=(str(folder), str(Path(folder, path)), args, dict(os.environ) | env, str(out), str(err)))
        p.start()
        p.join()
        return subprocess.CompletedProcess([path, *args], p.exitcode, out.read_text(), err.read_text())
