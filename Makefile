# make train: environment, example data, training. make test: environment, all tests.
PYTHON ?= python3
BIN := .venv/bin
INSTALL := $(BIN)/python -m pip install --quiet --disable-pip-version-check --editable

.PHONY: train test lint clean

train: .venv/.ready
	$(BIN)/python -m data_prep synthetic --raw raw/synthetic --out data
	# Huge pages save a quarter of a step, which allocates and frees gigabytes (benchmarks/README.md).
	GLIBC_TUNABLES=glibc.malloc.hugetlb=1 $(BIN)/python train.py --config configs/quickstart.py

test: .venv/.test-ready
	$(BIN)/python -m pytest

lint: .venv/.test-ready
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

.venv/.ready: setup.cfg pyproject.toml
	$(PYTHON) -c 'import sys; sys.exit(0 if (3, 11) <= sys.version_info < (3, 14) else f"Python 3.11, 3.12 or 3.13 is needed, this is {sys.version.split()[0]}; name one: make PYTHON=python3.13 …")'
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	$(INSTALL) .
	touch $@

.venv/.test-ready: .venv/.ready
	$(INSTALL) '.[test]'
	touch $@

clean:
	rm -rf .venv
