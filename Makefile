# Two commands for a fresh machine with Python, pip and make:
#   make quickstart   a plain and a distilled recommender side by side, with pictures
#   make test         lint, types, doctests, README snippets and tests
# `make check` is `make test` without installing again. For the documentation:
#   make docs         docs/_build/html, warnings are errors, the examples are run
#   make docs-check   the same, looked at in a headless Chromium (Debian: apt-get install chromium)
# Speed and memory beside the straightforward way, a few minutes on a quiet machine:
#   make bench        runs/bench; make bench ARGS=--full takes longer
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
# 1 thread: what is tested is small, and more threads only get in each other's way.
export OMP_NUM_THREADS ?= 1

.PHONY: quickstart test check bench docs docs-check dist clean

$(VENV)/quickstart: pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install -q -c constraints.txt -e ".[train,viz]"
	touch $@

$(VENV)/all: pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install -q -c constraints.txt -e ".[all]"
	touch $@ $(VENV)/quickstart

quickstart: $(VENV)/quickstart
	$(BIN)/python examples/quickstart.py

test: $(VENV)/all
	$(MAKE) check

check:
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/pytest -q

bench: $(VENV)/all
	$(BIN)/python -m benchmarks.bench $(ARGS)

docs: $(VENV)/all
	$(BIN)/sphinx-build -q -W --keep-going docs docs/_build/html

docs-check: docs
	$(BIN)/python docs/check_site.py docs/_build/html --shots docs/_build/shots

dist: $(VENV)/all
	rm -rf dist
	$(BIN)/python -m build -q
	$(BIN)/twine check --strict dist/*

clean:
	rm -rf $(VENV) dist runs docs/_build docs/gallery .mypy_cache .pytest_cache .ruff_cache .hypothesis
