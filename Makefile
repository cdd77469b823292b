# Two commands do everything: `make reproduce` and `make test`. Both make .venv from the lock first.
PYTHON ?= python3
CORES ?= all
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
# Several jobs share the cores, so no library may start one thread a core in each of them.
export PATH := $(CURDIR)/$(BIN):$(PATH)

.PHONY: reproduce smoke test lint format ui report lock clean help

help: ## list these targets
	@grep -hE '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 12

# --no-deps: the lock is complete, and grad-cam's own opencv wheel must stay out (see pyproject.toml).
$(STAMP): envs/requirements.lock pyproject.toml
	@$(PYTHON) -c 'import sys; assert sys.version_info >= (3, 11), "camground needs Python 3.11 or later; set PYTHON=..."'
	$(PYTHON) -m venv --clear $(VENV)
	$(BIN)/python -m pip install --progress-bar off --disable-pip-version-check --no-deps --requirement envs/requirements.lock
	$(BIN)/python -m pip install --disable-pip-version-check --no-deps --no-build-isolation --editable .
	touch $@
