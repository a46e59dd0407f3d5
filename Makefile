# Everything sets itself up in .venv; beside Python, git and make nothing is needed.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed

.PHONY: demo test unit lint types docs ci clean setup

setup: $(STAMP)

# torch and torchvision first and together, so that the two fit each other
$(STAMP): pyproject.toml
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade "pip>=25"
	$(BIN)/python -m pip install --quiet torch torchvision open_clip_torch
	$(BIN)/python -m pip install --quiet --editable ".[dev]"
	@touch $@

demo: $(STAMP)
	$(BIN)/ants demo examples/emoji_world

test: $(STAMP)
	$(BIN)/python -m pytest

unit: $(STAMP)
	$(BIN)/python -m pytest tests/unit

lint: $(STAMP)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: $(STAMP)
	$(BIN)/mypy
	MYPYPATH=. $(BIN)/mypy --explicit-package-bases backends
	$(BIN)/mypy tools benchmarks
	MYPYPATH=examples/emoji_world/make $(BIN)/mypy --explicit-package-bases examples/emoji_world/make

# offline, warnings are errors, and every link has to lead somewhere
docs: $(STAMP)
	NO_MKDOCS_2_WARNING=1 $(BIN)/python -m mkdocs build --quiet --strict
	$(BIN)/python -m tools.site.check build/site

ci: test lint types docs

clean:
	rm -rf $(VENV) build dist *.egg-info .mypy_cache .ruff_cache .pytest_cache .hypothesis
