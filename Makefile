# Targets: setup demo test quick faults check fix docs bench fuzz audit. Another Python: make test PYTHON=python3.12
# A smaller torch without CUDA: make setup TORCH=cpu (or another build of download.pytorch.org/whl, such as cu126)
PYTHON ?= python3
TORCH ?=
TORCH_INDEX ?= https://download.pytorch.org/whl
BIN := .venv/bin
AUDIT := .venv/audit
DOCS := .venv/docs
READY := .venv/.ready
EXTENSION := $(wildcard fastreid/evaluation/scoring/rank_cy.pyx)

# The tests start many interpreters, each of which would compile the package again.
unexport PYTHONDONTWRITEBYTECODE

.PHONY: setup demo test quick faults check fix docs bench fuzz audit

setup: $(READY)

# Reinstall only when one of these files is newer than the stamp.
$(READY): setup.py pyproject.toml constraints.txt $(EXTENSION)
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 10) and "Python 3.10 or newer is needed: make $(MAKECMDGOALS) PYTHON=python3.12")'
	@echo "Installing into .venv; the first time downloads torch and takes some minutes."
	@test -x $(BIN)/python || $(PYTHON) -m venv .venv
	@$(if $(TORCH),$(BIN)/python -m pip install -q --disable-pip-version-check -c constraints.txt --no-deps --index-url $(TORCH_INDEX)/$(TORCH) torch torchvision)
	@$(BIN)/python -m pip install -qq --disable-pip-version-check -c constraints.txt -e ".[dev]"
	@touch $@
	@echo "Installed. Activate with: . .venv/bin/activate"

demo: setup
	@echo "1/5  Stage 1: generate drawings, then train on small images."
	@$(BIN)/fastreid train --config-file demo/stage1.yml
	@echo "2/5  Stage 2: continue on larger images."
	@$(BIN)/fastreid train --config-file demo/stage2.yml
	@echo "3/5  Test an untrained network, for comparison."
	@$(BIN)/fastreid test --config-file demo/test.yml --random-weights OUTPUT_DIR logs/demo/untrained
	@echo "4/5  Test: rank the gallery for every query."
	@$(BIN)/fastreid test --config-file demo/test.yml
	@echo "5/5  Make the test drawings searchable with the default model."
	@$(BIN)/fastreid index add logs/demo/patents.index datasets/generated-*/train_data/val_db_patent.txt
	@echo "Done: result.npy contains the ranking; logs/demo/test/ranks.png shows queries and their matches; scores.json there and in logs/demo/untrained contains the scores. Search the drawings on a page: $(BIN)/fastreid serve --demo"

test: check
	@$(BIN)/python -m pytest -n auto

quick: setup
	@$(BIN)/python -m pytest -n auto $$($(BIN)/python tests/changed_packages.py)

faults: setup
	@$(BIN)/python -m pytest -m faults -n auto -rP tests/faults tests/unit/service

check: setup
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check --quiet . || { echo "Run make fix to format the code."; exit 1; }
	@$(BIN)/mypy

fix: setup
	@$(BIN)/ruff check --quiet --fix-only .
	@$(BIN)/ruff format --quiet .
	@$(BIN)/python docs/generate.py

# The documentation tools have an environment of their own.
docs: setup
	@test -x $(DOCS)/bin/mkdocs || $(PYTHON) -m venv $(DOCS)
	@$(DOCS)/bin/python -m pip install -qq --disable-pip-version-check -r docs/requirements.txt
	@$(DOCS)/bin/mkdocs build --strict --quiet
	@echo "Done: open site/index.html"

bench: setup
	@$(BIN)/python -m pytest -m benchmark -s tests/benchmarks

fuzz: setup
	@$(BIN)/python -m pytest -m slow -s tests/faults/test_fuzz.py

# pip-audit has an environment of its own, so that only the pinned packages are audited.
audit: setup
	@test -x $(AUDIT)/bin/pip-audit || { $(PYTHON) -m venv $(AUDIT) && $(AUDIT)/bin/pip install -qq --disable-pip-version-check pip-audit; }
	@$(AUDIT)/bin/pip-audit --strict --no-deps --disable-pip -r constraints.txt
