# The virtual environment is made when missing and renewed when an input of the install changes.
#   make demo PYTHON=python3.12      another interpreter
#   make test CONSTRAINTS=           newest versions that settings.ini allows, instead of the pinned ones
PYTHON ?= python3
CONSTRAINTS ?= constraints.txt

BIN := $(CURDIR)/.venv/bin
STAMP := .venv/.installed
export PATH := $(BIN):$(PATH)
export HF_HUB_OFFLINE := 1
export HF_DATASETS_OFFLINE := 1
export TOKENIZERS_PARALLELISM := false

.PHONY: demo test test-data slow docs docs-check dist bench bench-gpu bench-quant compare run sync constraints clean

$(STAMP): setup.py settings.ini $(CONSTRAINTS)
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	$(BIN)/python -m pip install -q --disable-pip-version-check $(if $(CONSTRAINTS),-c $(CONSTRAINTS)) -e '.[dev]'
	touch $@

# fine-tune the embedded base on a CPU and show what changed
demo: $(STAMP)
	soka demo

# Notebooks run their teaching cells in place, pytest runs the test cells. It comes last, so that its summary is the last line.
test: $(STAMP)
	python tools/check.py
	ruff check soka tools bench
	mypy
	OMP_NUM_THREADS=1 python tools/test_nbs.py
	OMP_NUM_THREADS=1 python -m pytest -q -n 2 tests

# only what needs data that `soka data get` gets: cells and tests
test-data: $(STAMP)
	OMP_NUM_THREADS=1 python tools/test_nbs.py --data
	OMP_NUM_THREADS=1 python -m pytest -q -n 2 -m data tests

# the cells and tests that take minutes: sweeps, runs that are killed, torchrun, FSDP, the package built and checked
slow: $(STAMP)
	OMP_NUM_THREADS=1 python tools/test_nbs.py --slow
	OMP_NUM_THREADS=1 python -m pytest -q --slow -m slow tests

# the site with Quarto where it is installed, else a plain preview
docs: $(STAMP)
	python tools/docs.py

# every page of it in headless Chromium, wide and as on a phone; skipped where there is none
docs-check: docs
	python tools/check_site.py

# the wheel and the source distribution in dist/, checked
dist: $(STAMP)
	python tools/dist.py

# step time, memory and start beside PEFT's methods on a CPU; writes nbs/records/bench-cpu.json
bench: $(STAMP)
	OMP_NUM_THREADS=1 python bench/cpu.py

# the same at LLaMA2-7B's shape on one GPU; writes nbs/records/bench-gpu.json
bench-gpu: $(STAMP)
	python bench/gpu.py

# SoKA beside every rival, what decides how it learns, ideas, and the cost of a step; resumes, and writes under nbs/records
compare: $(STAMP)
	OMP_NUM_THREADS=1 soka compare recipes/compare.yaml
	OMP_NUM_THREADS=1 soka compare recipes/ablation.yaml
	OMP_NUM_THREADS=1 soka compare recipes/start.yaml
	OMP_NUM_THREADS=1 python bench/ideas.py
	OMP_NUM_THREADS=1 python bench/methods.py

# what a 4-bit base misses with each start, beside LoftQ and QPiSSA; writes nbs/records/quant-error.json
bench-quant: $(STAMP)
	OMP_NUM_THREADS=1 python bench/quant_error.py

# run every notebook and store its outputs
run: $(STAMP)
	python tools/run_nbs.py

# write modules, tests, README.md and sidebar from the notebooks
sync: $(STAMP)
	python tools/sync.py

# pin what a fresh install with CONSTRAINTS= has, the extra `eval` included
constraints: $(STAMP)
	$(BIN)/python -m pip install -q --disable-pip-version-check -e '.[dev,eval]'
	python tools/constraints.py > constraints.txt

clean:
	rm -rf .venv _docs _proc build dist runs .hypothesis .pytest_cache .mypy_cache .ruff_cache *.egg-info
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
