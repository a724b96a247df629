# The few verbs of this project. `make quickstart` and `make test` set everything up themselves.
SHELL := /bin/bash
PYTHON ?= python3
BIN := .venv/bin
RUNTIME := .venv/runtime
DEV := .venv/dev
DOCS := .venv/docs
LOWEST := .venv-lowest
# uv, where it is there, installs several times as fast as pip.
UV := $(shell command -v uv)
# Neither compiles what may never be imported; Python does it on first use.
INSTALL = $(if $(UV),$(UV) pip install --python $(BIN)/python,$(BIN)/python -m pip install --no-compile \
	--disable-pip-version-check) --constraint constraints.txt

# The folder `datasets/` must not hide a package of that name when Python starts here.
export PYTHONSAFEPATH := 1
# Where it is set, every process compiles the whole package anew.
export PYTHONDONTWRITEBYTECODE :=
# One thread per process: two processes share two cores, and sums keep their order.
export OMP_NUM_THREADS ?= 1

.PHONY: help quickstart test test-slow test-lowest campaign lint format docs clean

help:
	@echo "make quickstart   set up, simulate, pretrain, fine-tune, evaluate, report (≤ 10 minutes)"
	@echo "make test         set up and run the tests"
	@echo "make test-slow    what repeats at length, and a test does quickly"
	@echo "make test-lowest  the tests with the lowest versions that are allowed (needs uv)"
	@echo "make campaign     kills, damage, bad disks, odd inputs, many times (some hours); prints a table"
	@echo "make lint         style, types, import layers"
	@echo "make format       rewrite the code in the project's style"
	@echo "make docs         set up, run the tutorials, build the site, check its links: site/index.html"
	@echo "make clean        remove the environment, caches, and quickstart's data and runs"

$(BIN)/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or newer is needed; set PYTHON=…")'
	$(PYTHON) -m venv .venv

$(RUNTIME): pyproject.toml constraints.txt | $(BIN)/python
	@echo "Installing into .venv (one to three minutes)"
	$(INSTALL) --editable .
	@touch $@

# What is needed in any case comes with it, in one go.
$(DEV): pyproject.toml constraints.txt | $(BIN)/python
	$(INSTALL) --editable '.[dev]'
	@touch $(RUNTIME) $@

$(DOCS): pyproject.toml constraints.txt | $(BIN)/python
	$(INSTALL) --editable '.[docs]'
	@touch $(RUNTIME) $@

test: $(DEV)
	$(BIN)/python -m pytest -n 2 --dist worksteal

test-slow: $(DEV)
	$(BIN)/python -m pytest -n 2 --dist worksteal -m slow

# Old libraries use what newer ones deprecate, so that warnings are no errors here.
test-lowest:
	@test -n "$(UV)" || { echo "make test-lowest needs uv: pip install uv"; exit 2; }
	$(UV) venv --clear --seed --python $(PYTHON) $(LOWEST)
	$(UV) pip install --python $(LOWEST)/bin/python --resolution lowest-direct --no-build \
		--requirements pyproject.toml --extra dev
	$(UV) pip install --python $(LOWEST)/bin/python --no-deps --editable .
	$(LOWEST)/bin/python -m pytest -n 2 --dist worksteal -W default

campaign: $(DEV)
	$(BIN)/python tests/campaigns/campaign.py $(CAMPAIGN)
	$(BIN)/python tests/campaigns/ranks.py $(RANKS)

lint: $(DEV)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/basedpyright --pythonpath $(BIN)/python
	$(BIN)/lint-imports

format: $(DEV)
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

# Tutorials are run again when they, or the code, have changed; each in an empty folder.
CODE := $(shell find datasets operators pretrain finetune -name '*.py')
NOTEBOOKS := $(patsubst docs/tutorials/%.py,build/tutorials/%.ipynb,$(wildcard docs/tutorials/*.py))

build/tutorials/%.ipynb: docs/tutorials/%.py $(CODE) | $(DOCS)
	@rm -rf build/tutorials/$* && mkdir -p build/tutorials/$*
	ACCELERATE_USE_CPU=1 $(BIN)/jupytext --quiet --to notebook --execute --set-kernel python3 \
		--run-path build/tutorials/$* --output $@ $<

docs: $(DOCS) $(NOTEBOOKS)
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict --quiet
	@echo "Site: site/index.html (open it in a browser)"

clean:
	rm -rf .venv $(LOWEST) build site *.egg-info .pytest_cache .ruff_cache .hypothesis .import_linter_cache runs/quickstart data/quickstart

include quickstart.mk
