# The few verbs of this project. `make quickstart` and `make test` set everything up themselves.
SHELL := /bin/bash
PYTHON ?= python3
BIN := .venv/bin
RUNTIME := .venv/runtime
DEV := .venv/dev

# The folder `datasets/` must not hide a package of that name when Python starts here.
export PYTHONSAFEPATH := 1
# One thread per process: two processes share two cores, and sums keep their order.
export OMP_NUM_THREADS ?= 1

.PHONY: help quickstart test campaign lint format clean

help:
	@echo "make quickstart   set up, simulate, pretrain, fine-tune, evaluate, report (≤ 10 minutes)"
	@echo "make test         set up and run the tests"
	@echo "make campaign     kills, damage, bad disks, odd inputs, many times (some hours); prints a table"
	@echo "make lint         style, types, import layers"
	@echo "make format       rewrite the code in the project's style"
	@echo "make clean        remove the environment, caches, and quickstart's data and runs"

$(RUNTIME): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or newer is needed; set PYTHON=…")'
	@echo "Installing into .venv (one to three minutes)"
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --disable-pip-version-check --constraint constraints.txt --editable .
	@touch $@

$(DEV): $(RUNTIME)
	$(BIN)/python -m pip install --disable-pip-version-check --constraint constraints.txt --editable '.[dev]'
	@touch $@

test: $(DEV)
	$(BIN)/python -m pytest -n 2 --dist loadgroup

campaign: $(DEV)
	$(BIN)/python tests/campaigns/campaign.py $(CAMPAIGN)

lint: $(DEV)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/basedpyright --pythonpath $(BIN)/python
	$(BIN)/lint-imports

format: $(DEV)
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

clean:
	rm -rf .venv build *.egg-info .pytest_cache .ruff_cache .hypothesis .import_linter_cache runs/quickstart data/quickstart

include quickstart.mk
