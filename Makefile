# `make demo` shows the whole loop on real models; `make test` proves it. Both start from nothing.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
SEED ?=

.PHONY: demo test lint types clean help

help:
	@echo "make demo   measure, plan, compile, serve and report on real small models"
	@echo "make test   everything: lint, types, import order, all tests, coverage"

# Installed once, again when the project file changes.
$(VENV)/.demo: pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "inferbudget needs Python 3.11 or newer; found $$($(PYTHON) --version)"; exit 2; }
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[all]'
	@touch $@

$(VENV)/.test: $(VENV)/.demo
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --upgrade pip
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --group test --group lint
	@touch $@

demo: $(VENV)/.demo
	$(BIN)/python -m demo $(if $(SEED),--seed $(SEED))

lint: $(VENV)/.test
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/lint-imports

types: $(VENV)/.test
	$(BIN)/mypy

test: $(VENV)/.test
	PATH="$(CURDIR)/$(BIN):$$PATH" sh tests/tools.sh
	$(MAKE) lint types
	$(BIN)/inferbudget compile demo/policy/plan.json -o demo/policy/policy.yaml --check
	$(BIN)/pytest -n 2 --dist loadscope --cov --cov-report=term

clean:
	rm -rf $(VENV) demo/out examples/node-host/node_modules build dist .coverage .mypy_cache .ruff_cache .pytest_cache
