"""Seconds until the command line refuses a wrong setting, beside the imports that it does without.

    python bench/door.py      # writes nbs/records/door.json
"""
import statistics
import subprocess
import sys
import time

from common import write

CASES = {"soka train --energy 7.": [sys.executable, "-m", "soka.cli", "train", "--energy", "7."],
         "soka --version": [sys.executable, "-m", "soka.cli", "--version"],
         "import torch, peft, datasets": [sys.executable, "-c", "import torch, peft, datasets"]}

def seconds(command):
    began = time.perf_counter()
    subprocess.run(command, capture_output=True)
    return time.perf_counter() - began

def main(rounds=7):
    for command in CASES.values(): seconds(command)                       # reads the files once
    took = [{name: seconds(command) for name, command in CASES.items()} for _ in range(rounds)]
    write("door", {"settings": {"rounds": rounds}, "seconds": {n: statistics.median(t[n] for t in took) for n in CASES}})

if __name__ == "__main__": main()
