# Two commands do everything: `make reproduce` and `make test`. Both make .venv from the lock first.
PYTHON ?= python3
CORES ?= all
RESULTS ?= results
PORT ?= 5000
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
PACKAGE := $(VENV)/.package
SNAKEFILES := Snakefile workflow/Snakefile $(wildcard rules/*.smk)
export PATH := $(CURDIR)/$(BIN):$(PATH)
SHELL := /bin/bash

.PHONY: reproduce smoke test lint format ui report lock clean help

help: ## list these targets
	@grep -hE '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 12

reproduce: $(PACKAGE) ## the whole study of config.yaml: table, report and MLflow store in results/
	snakemake --cores $(CORES)

smoke: $(PACKAGE) ## the same on a tiny study, in under two minutes
	snakemake --cores $(CORES) --configfile configs/smoke.yaml

# The workflow's tests fill the cores by themselves; the others run side by side, one thread each.
test: lint ## every check and every test
	OMP_NUM_THREADS=1 pytest --numprocesses 2 -m "not workflow"
	pytest -m workflow --durations 5

lint: $(PACKAGE) ## formatting, style, types and Snakemake's own linter
	ruff check .
	ruff format --check .
	snakefmt --check $(SNAKEFILES)
	snakemake --lint
	mypy

format: $(PACKAGE) ## rewrite the code in its format
	ruff check --fix .
	ruff format .
	snakefmt $(SNAKEFILES)

ui: $(PACKAGE) ## MLflow's pages on the results of RESULTS
	python -m camground.stages.tracking ui --results $(RESULTS) --port $(PORT)

report: $(PACKAGE) ## Snakemake's own report of a finished study, with the run times of its jobs
	snakemake --report $(RESULTS)/snakemake-report.html

lock: ## resolve envs/requirements.lock anew; needs uv
	uv pip compile pyproject.toml --extra dev --extra spacy --universal --python-version 3.11 \
		--generate-hashes --no-emit-index-url --upgrade --quiet \
		--custom-compile-command "make lock" --output-file envs/requirements.lock

clean: ## remove caches and build output; results and .venv stay
	rm -rf build .mypy_cache .ruff_cache .pytest_cache src/*.egg-info
	find src tests -name __pycache__ -type d -prune -exec rm -rf {} +

# --no-deps: the lock is complete, and grad-cam's own opencv wheel must stay out (see pyproject.toml).
$(STAMP): envs/requirements.lock
	@$(PYTHON) -c 'import sys; assert sys.version_info >= (3, 11), "camground needs Python 3.11 or later; set PYTHON=..."'
	$(PYTHON) -m venv --clear $(VENV)
	$(BIN)/python -m pip install --progress-bar off --disable-pip-version-check --no-deps --requirement envs/requirements.lock
	touch $@

# Apart from the lock's, so that an edit of pyproject.toml does not download everything again.
$(PACKAGE): $(STAMP) pyproject.toml
	$(BIN)/python -m pip install --disable-pip-version-check --no-deps --no-build-isolation --editable .
	touch $@
