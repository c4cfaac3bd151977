# Everything a developer does, one word each. `make` alone lists them.
# python3, unless the system's is a good deal faster; looked for only when the environment is made.
PYTHON ?= $(or $(shell python3 scripts/choose_python.py),python3)
VENV   ?= .venv
BIN    := $(VENV)/bin
PIP    := $(BIN)/pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable
RECIPE ?= configs/fashion-vae.toml
WORKER ?= 1
# Two busy threads on two busy cores are ten times slower than one (barriers of OpenMP).
ONE_THREAD := OMP_NUM_THREADS=1 MKL_NUM_THREADS=1 OPENBLAS_NUM_THREADS=1

.DEFAULT_GOAL := help
.PHONY: help serve train test test-slow lint format bench containers clean

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## /{printf "make %-11s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

serve: export GENSERVE_LOCAL_WORKER = $(WORKER)
serve: $(VENV)/.service ## serve models/ on port 8000; a training worker too where training is installed (WORKER=0: none)
	$(BIN)/python scripts/serve.py

train: $(VENV)/.training ## train RECIPE=configs/NAME.toml and publish it into models/; SET="--set table.key=value"
	$(BIN)/python -m training train $(RECIPE) $(SET)

test: $(VENV)/.dev ## install what tests need, then run them
	$(ONE_THREAD) $(BIN)/python -m pytest -m "not slow and not gpu"

test-slow: $(VENV)/.dev ## the slow tests alone
	$(ONE_THREAD) $(BIN)/python -m pytest -m "slow and not gpu"

lint: $(VENV)/.dev ## style and types
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

format: $(VENV)/.dev ## put the code into its one style
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

bench: $(VENV)/.dev ## the service against other servers and bare onnxruntime, in one run (needs wrk)
	$(BIN)/python -m benchmarks compare $(BENCH)

containers: ## build and start all of it, train over HTTP, kill its parts, check (needs a Docker engine)
	scripts/containers.sh

clean: ## remove environments and caches; runs/, models/ and data/ stay
	rm -rf $(VENV) build *.egg-info .mypy_cache .ruff_cache .pytest_cache .hypothesis
	find . -name __pycache__ -not -path './$(VENV)/*' -prune -exec rm -rf {} +

$(BIN)/python:
	$(PYTHON) -m venv $(VENV)

$(VENV)/.service $(VENV)/.training $(VENV)/.dev: $(VENV)/.%: pyproject.toml constraints.txt | $(BIN)/python
	$(PIP) '.[$*]'
	@touch $@
