# Two commands do everything: `make reproduce` and `make test`. Both make .venv from the locks first.
PYTHON ?= python3
CORES ?= all
RESULTS ?= results
PORT ?= 5000
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
DEVELOPMENT := $(VENV)/.development
SITE := $(VENV)/.site
PACKAGE := $(VENV)/.package
SNAKEFILES := Snakefile workflow/Snakefile $(wildcard rules/*.smk)
export PATH := $(CURDIR)/$(BIN):$(PATH)
SHELL := /bin/bash
# Modules are compiled as they are first imported (see INSTALL): Python must be let keep them.
export PYTHONDONTWRITEBYTECODE :=
UV := uv pip compile --universal --python-version 3.11 --generate-hashes --no-emit-index-url --quiet \
	--custom-compile-command "make lock" $(UPGRADE)

EXTRA = $(PYTHON) -c 'import tomllib; print(*tomllib.load(open("pyproject.toml", "rb"))["project"]["optional-dependencies"]["$(1)"], sep="\n")'

.PHONY: reproduce smoke test unit lint format ui report docs site lock clean help

help: ## list these targets
	@grep -hE '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 12

reproduce: $(PACKAGE) ## the whole study of config.yaml: table, report and MLflow store in results/
	snakemake --cores $(CORES)

smoke: $(PACKAGE) ## the same on a tiny study, in under two minutes
	snakemake --cores $(CORES) --configfile configs/smoke.yaml

test: lint unit ## every check and every test
	pytest --numprocesses 2 --dist loadscope -m workflow --durations 5

# Side by side, one thread each.
unit: $(PACKAGE) $(DEVELOPMENT) ## the tests that run no workflow
	OMP_NUM_THREADS=1 pytest --numprocesses 2 -m "not workflow"

lint: $(PACKAGE) $(DEVELOPMENT) ## formatting, style, types and Snakemake's own linter
	ruff check .
	ruff format --check .
	snakefmt --check $(SNAKEFILES)
	snakemake --lint
	mypy

format: $(PACKAGE) $(DEVELOPMENT) ## rewrite the code in its format
	ruff check --fix .
	ruff format .
	snakefmt $(SNAKEFILES)

ui: $(PACKAGE) ## MLflow's pages on the results of RESULTS
	camground ui --results $(RESULTS) --port $(PORT)

report: $(PACKAGE) ## Snakemake's own report of a finished study, with the run times of its jobs
	snakemake --report $(RESULTS)/snakemake-report.html

docs: $(PACKAGE) ## what is made from the config's models: the schema for editors and docs/config.md
	camground config schema --output workflow/schemas/config.schema.json
	camground config docs --output docs/config.md

site: $(SITE) ## the documentation as pages in build/site; a link that leads nowhere fails
	NO_MKDOCS_2_WARNING=1 mkdocs build --strict --quiet

lock: ## resolve the files of envs/*.lock anew; needs uv. UPGRADE=--upgrade takes newer versions
	$(UV) pyproject.toml --extra workflow --extra report --extra spacy --output-file envs/requirements.lock
	$(call EXTRA,dev) | $(UV) - --constraint envs/requirements.lock --output-file envs/requirements-dev.lock
	$(call EXTRA,docs) | $(UV) - --constraint envs/requirements.lock --constraint envs/requirements-dev.lock \
		--output-file envs/requirements-docs.lock

clean: ## remove caches and build output; results and .venv stay
	rm -rf build .mypy_cache .ruff_cache .pytest_cache src/*.egg-info
	find src tests -name __pycache__ -type d -prune -exec rm -rf {} +

# --no-deps: the locks are complete, and grad-cam's own opencv wheel must stay out (see pyproject.toml).
# --no-compile: of 22,000 modules, compiled one by one in a minute and a half, few are ever imported.
INSTALL := $(BIN)/python -m pip install --progress-bar off --disable-pip-version-check --no-deps --no-compile
$(STAMP): envs/requirements.lock
	@$(PYTHON) -c 'import sys; assert sys.version_info >= (3, 11), "camground needs Python 3.11 or later; set PYTHON=..."'
	$(PYTHON) -m venv --clear $(VENV)
	$(INSTALL) --requirement envs/requirements.lock
	touch $@

$(DEVELOPMENT): $(STAMP) envs/requirements-dev.lock
	$(INSTALL) --requirement envs/requirements-dev.lock
	touch $@

$(SITE): $(STAMP) envs/requirements-docs.lock
	$(INSTALL) --requirement envs/requirements-docs.lock
	touch $@

# Apart from the lock's, so that an edit of pyproject.toml does not download everything again.
$(PACKAGE): $(STAMP) pyproject.toml
	$(INSTALL) --no-build-isolation --editable .
	touch $@
