# make train: environment, example data, training. make test: environment, all tests.
# PYTHON= chooses the interpreter of a new environment, VENV= its folder.
PYTHON ?= python3
VENV ?= .venv
GPU_VENV ?= .venv-gpu
TEST_PROCESSES ?= 2
DOCS_VENV ?= .venv-docs
BIN := $(VENV)/bin
PIP := -m pip install --quiet --disable-pip-version-check
SUPPORTED := import sys; sys.exit(None if (3, 11) <= sys.version_info < (3, 14) else \
  "Python 3.11, 3.12 or 3.13 is needed, this is %d.%d; set PYTHON=" % sys.version_info[:2])

.PHONY: train test lint docs gpu-check clean

train: $(VENV)/.ready
	$(BIN)/python -m data_prep synthetic --raw raw/synthetic --out data
	# Huge pages save a quarter of a step, which allocates and frees gigabytes (benchmarks/README.md).
	GLIBC_TUNABLES=glibc.malloc.hugetlb=1 $(BIN)/python train.py --config configs/quickstart.py

test: $(VENV)/.test-ready
	$(BIN)/python -m pytest --numprocesses $(TEST_PROCESSES) --dist loadfile --no-loadscope-reorder

lint: $(VENV)/.test-ready
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

# The site, in site/; a link that leads nowhere is an error.
docs: $(DOCS_VENV)/.ready
	NO_MKDOCS_2_WARNING=1 $(DOCS_VENV)/bin/mkdocs build --strict --quiet
	@echo "site/index.html"

# Compiles the steps for GPUs, without one, and compares their traffic with the committed figures.
gpu-check: $(GPU_VENV)/.ready
	cd benchmarks && PYTHONPATH=.. ../$(GPU_VENV)/bin/python gpu_program.py --check

$(VENV)/.ready: setup.cfg pyproject.toml
	$(PYTHON) -c '$(SUPPORTED)'
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python $(PIP) --editable .
	touch $@

$(VENV)/.test-ready: $(VENV)/.ready
	$(BIN)/python $(PIP) --editable '.[test]'
	touch $@

# Only the extra: the site reads the package without importing it.
$(DOCS_VENV)/.ready: setup.cfg
	$(PYTHON) -c '$(SUPPORTED)'
	test -x $(DOCS_VENV)/bin/python || $(PYTHON) -m venv $(DOCS_VENV)
	sed -nE '/^docs =/,/^[^ ]/s/^ +([a-z].*)/\1/p' setup.cfg > $(DOCS_VENV)/requirements.txt
	$(DOCS_VENV)/bin/python $(PIP) -r $(DOCS_VENV)/requirements.txt
	touch $@

# Only what compiling takes: no CUDA libraries but the assembler, no TensorFlow.
$(GPU_VENV)/.ready: setup.cfg
	$(PYTHON) -c '$(SUPPORTED)'
	test -x $(GPU_VENV)/bin/python || $(PYTHON) -m venv $(GPU_VENV)
	sed -nE 's/^ +((jax|jaxlib|flax|optax|numpy) >=.*)/\1/p' setup.cfg > $(GPU_VENV)/requirements.txt
	$(GPU_VENV)/bin/python $(PIP) -r $(GPU_VENV)/requirements.txt
	version=$$($(GPU_VENV)/bin/python -c 'import jaxlib; print(jaxlib.__version__)') && \
	$(GPU_VENV)/bin/python $(PIP) --no-deps \
	  jax-cuda12-plugin==$$version jax-cuda12-pjrt==$$version 'nvidia-cuda-nvcc-cu12 >=12.6,<13'
	touch $@

clean:
	rm -rf .venv .venv-gpu* .venv-docs site
