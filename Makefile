# Two commands for a fresh machine with Python, pip and make:
#   make quickstart   a plain and a distilled recommender side by side, with pictures
#   make test         lint, types, doctests, README snippets and tests
# `make check` is `make test` without installing again.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
# 1 thread: what is tested is small, and more threads only get in each other's way.
export OMP_NUM_THREADS ?= 1

.PHONY: quickstart test check dist clean

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

dist: $(VENV)/all
	rm -rf dist
	$(BIN)/python -m build -q
	$(BIN)/twine check --strict dist/*

clean:
	rm -rf $(VENV) dist runs .mypy_cache .pytest_cache .ruff_cache .hypothesis
