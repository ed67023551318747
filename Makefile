# One word a job: setup demo test faults check fix bench fuzz audit. Python 3.10 or newer; another one by `make test PYTHON=python3.12`.
PYTHON ?= python3
BIN := .venv/bin
AUDIT := .venv/audit
READY := .venv/.ready
RANKER := $(wildcard fastreid/evaluation/scoring/rank_cy.pyx)

.PHONY: setup demo test faults check fix bench fuzz audit

setup: $(READY)

# The stamp is older than what it was made from only when the installation must be done again.
$(READY): setup.py pyproject.toml constraints.txt $(RANKER)
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 10) and "Python 3.10 or newer is needed: make $(MAKECMDGOALS) PYTHON=python3.12")'
	@echo "Installing into .venv; the first time fetches torch and takes some minutes."
	@test -x $(BIN)/python || $(PYTHON) -m venv .venv
	@$(BIN)/python -m pip install -qq --disable-pip-version-check -c constraints.txt -e ".[dev]"
	@touch $@
	@echo "Installed."

demo: setup
	@echo "1/3  Stage 1: makes the drawings, then trains on small ones."
	@$(BIN)/python tools/train_net.py --config-file configs/demo/stage1.yml
	@echo "2/3  Stage 2: goes on with larger ones."
	@$(BIN)/python tools/train_net.py --config-file configs/demo/stage2.yml
	@echo "3/3  Test: ranks the database for every query."
	@$(BIN)/python tools/test.py --config-file configs/demo/test.yml --eval-only
	@echo "Done: result.npy holds the ranks; logs/demo/test/ranks.png shows queries and what was found."

test: check
	@$(BIN)/python -m pytest -n auto

faults: setup
	@$(BIN)/python -m pytest -m faults -n auto -rP tests/faults

check: setup
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check --quiet . || { echo "make fix mends the format"; exit 1; }
	@$(BIN)/mypy

fix: setup
	@$(BIN)/ruff check --quiet --fix-only .
	@$(BIN)/ruff format --quiet .
	@$(BIN)/python tools/document_configs.py

bench: setup
	@$(BIN)/python -m pytest -m benchmark -s tests/benchmarks

fuzz: setup
	@$(BIN)/python -m pytest -m slow -s tests/faults/test_fuzz.py

# In an environment of its own, so that what is audited is what is installed.
audit: setup
	@test -x $(AUDIT)/bin/pip-audit || { $(PYTHON) -m venv $(AUDIT) && $(AUDIT)/bin/pip install -qq --disable-pip-version-check pip-audit; }
	@$(AUDIT)/bin/pip-audit --strict --no-deps --disable-pip -r constraints.txt
