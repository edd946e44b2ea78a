# Every target sets up what it needs: `make demo` or `make test` on a fresh checkout is enough.
#
#   make demo    make a small shoot, tune to it, denoise it, show the gain
#   make test    run the tests
#   make check   ruff and mypy
#   make docs    build the documentation into site/
#   make bench   speed and quality against peers (installs the bench group); PHOTOS names a folder
#                of clean photographs in PNG for the last; kept figures of BM3D are used
#   make clean   remove what the above made
#
# PYTHON names the interpreter to start from: make test PYTHON=python3.12

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
# The environment is ready when the stamp is newer than what it was made from.
READY := $(VENV)/.ready
READY_BENCH := $(VENV)/.ready-bench
READY_DOCS := $(VENV)/.ready-docs
# torch goes first, at its exact version: then a CPU build at hand is taken. Left to the range in
# pyproject.toml, pip would download several GB of CUDA packages.
TORCH := $(shell sed -n '/^torch==/p' constraints.txt)
INSTALL := $(BIN)/python -m pip install -qq --disable-pip-version-check -c constraints.txt $(TORCH)

.PHONY: demo test check docs bench clean
.DEFAULT_GOAL := test
.DELETE_ON_ERROR:

demo: $(READY)
	$(BIN)/led demo

test: $(READY)
	$(BIN)/python -m pytest -n auto

check: $(READY)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

docs: $(READY_DOCS)
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict

bench: $(READY_BENCH)
	$(BIN)/python tests/benchmarks/speed.py
	$(BIN)/python tests/benchmarks/smooth.py
	$(BIN)/python tests/benchmarks/quality.py --no-bm3d $(if $(PHOTOS),--photos $(PHOTOS))

$(READY): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo "make: $(PYTHON) is missing or older than 3.11. Name another: make PYTHON=python3.12" >&2; exit 1; }
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null || \
		{ echo "make: $(PYTHON) cannot make virtual environments. Install python3-venv (Debian, Ubuntu), or name another: make PYTHON=..." >&2; exit 1; }
	@# Kept when it works: an environment that was moved or half made is made anew.
	@$(BIN)/python -m pip --version >/dev/null 2>&1 || \
		{ echo "making $(VENV)"; $(PYTHON) -m venv --clear $(VENV); }
	@echo "installing into $(VENV): the first time this takes some minutes"
	@$(INSTALL) -e '.[dev,backends]'
	@$(INSTALL) --only-binary ray -e '.[ray]' || \
		echo "Ray has no wheel for this Python: its tests are skipped"
	@# The hooks install themselves in a developer's checkout.
	@[ -n "$$CI" ] || [ ! -d .git ] || $(BIN)/pre-commit install >/dev/null
	@touch $@

$(READY_DOCS): $(READY)
	@echo "installing what only the documentation needs"
	@$(INSTALL) -e '.[dev,backends,docs]'
	@touch $@

$(READY_BENCH): $(READY)
	@echo "installing what only the benchmarks need"
	@$(INSTALL) -e '.[dev,backends,bench]'
	@touch $@

clean:
	rm -rf $(VENV) build dist site demo .pytest_cache .hypothesis .mypy_cache .ruff_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
