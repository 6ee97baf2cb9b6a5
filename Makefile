# Each target does its own set-up: after a fresh clone, `make demo` or `make test` is all there is to type.
PYTHON ?= python3
VENV ?= .venv
VENV_OLDEST ?= .venv-oldest
# Tests run one per core; "logical" because the default counts physical cores and finds one on a two-thread machine.
WORKERS ?= logical
# How many times as many attempts `make attack` makes as `make test-all`.
ATTACK_FACTOR ?= 20

INSTALLED = $(VENV)/.installed
INSTALLED_OLDEST = $(VENV_OLDEST)/.installed
PARALLEL = -n $(WORKERS) --dist worksteal
FAST = -m "not slow and not distributed and not ray" $(PARALLEL)

.PHONY: help demo test test-all attack test-distributed test-oldest quality style clean
.DEFAULT_GOAL := help

help:  ## list the targets
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/\1: \2/p' $(MAKEFILE_LIST)

demo: $(INSTALLED)  ## train AdamW, SAM and VASSO on the built-in task and compare them
	$(VENV)/bin/hf-vasso demo

test: $(INSTALLED)  ## the fast tests
	$(VENV)/bin/pytest $(FAST)

test-all: $(INSTALLED)  ## all tests: fast, slow, two-process and cluster ones
	$(VENV)/bin/pytest -m "not distributed and not ray" $(PARALLEL)
	$(VENV)/bin/pytest -m "distributed or ray"

attack: $(INSTALLED)  ## the attacks below tests/attacks, many more of each: half an hour
	HF_VASSO_ATTACK_FACTOR=$(ATTACK_FACTOR) $(VENV)/bin/pytest tests/attacks --timeout 3600 $(PARALLEL)

test-distributed: $(INSTALLED)  ## the two-process tests, one after the other
	$(VENV)/bin/pytest -m distributed

test-oldest: $(INSTALLED_OLDEST)  ## the fast tests on the oldest supported releases
	$(VENV_OLDEST)/bin/pytest $(FAST)

quality: $(INSTALLED)  ## formatting, lint, types and the direction of imports
	$(VENV)/bin/ruff format --check .
	$(VENV)/bin/ruff check .
	$(VENV)/bin/pyright --pythonpath $(VENV)/bin/python
	$(VENV)/bin/pytest tests/test_layers.py

style: $(INSTALLED)  ## format and mend what can be mended
	$(VENV)/bin/ruff format .
	$(VENV)/bin/ruff check --fix .

clean:  ## remove the virtual environments and what was built
	rm -rf $(VENV) $(VENV_OLDEST) build dist *.egg-info .pytest_cache .ruff_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

# Nothing that is tested may reach for the hub.
test test-all attack test-distributed test-oldest: export HF_HUB_OFFLINE = 1

# A stamp is written last, so that an interrupted installation starts over.
$(INSTALLED): CONSTRAINTS = constraints.txt
$(INSTALLED_OLDEST): CONSTRAINTS = constraints-oldest.txt
$(INSTALLED): constraints.txt
$(INSTALLED_OLDEST): constraints-oldest.txt
$(INSTALLED) $(INSTALLED_OLDEST): setup.cfg pyproject.toml
	$(PYTHON) -m venv $(@D)
	$(@D)/bin/python -m pip install -c $(CONSTRAINTS) torch -e '.[dev]'
	touch $@
