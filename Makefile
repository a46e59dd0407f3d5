# Everything sets itself up in .venv; beside Python, git and make nothing is needed.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed

.PHONY: demo test unit lint types docs ci clean setup browser

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

# torch's idle threads sleep: spinning, they would take the cores from the other half of the tests
# compiled modules are kept: hundreds of processes that tests start would each compile the engine anew
PYTEST := OMP_WAIT_POLICY=PASSIVE PYTHONDONTWRITEBYTECODE= $(BIN)/python -m pytest --numprocesses 2 --dist worksteal

test: $(STAMP) browser
	$(PYTEST)

# the tests of pages need Chromium, and skip without it: installed where apt can and we may, and never in the way
browser:
	@for name in chromium chromium-browser google-chrome; do command -v $$name >/dev/null 2>&1 && exit 0; done; \
	get="timeout 300 env DEBIAN_FRONTEND=noninteractive apt-get -qq"; \
	if [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null 2>&1; then \
	    $$get install -y --no-install-recommends chromium >/dev/null 2>&1 && exit 0; \
	    $$get update >/dev/null 2>&1; \
	    $$get install -y --no-install-recommends chromium >/dev/null 2>&1 && exit 0; \
	fi; \
	echo "no Chromium: the tests of pages will be skipped (Debian: apt-get install chromium)"

unit: $(STAMP)
	$(PYTEST) tests/unit

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
