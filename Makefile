# Everything a user or CI runs. The environment lives in .venv; a stamp keeps set-up to once.
.DEFAULT_GOAL := help
SHELL := /bin/bash
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
export MPLBACKEND := Agg
export DAGSTER_DISABLE_TELEMETRY := yes

.PHONY: help setup setup-dev demo up test coverage test-tools test-browser lint docs docs-reference docs-pictures bench stress audit clean

help: ## Show this list
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed 's/:.*##/\t/' | expand -t 16

$(VENV)/.installed: pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade pip
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable .
	@touch $@

$(VENV)/.installed-dev: $(VENV)/.installed
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[dev,docs]'
	@touch $@

setup: $(VENV)/.installed ## Install the platform into .venv

setup-dev: $(VENV)/.installed-dev ## Install the tools of developers as well

demo: setup ## Everything once, on simulated data: data, models, scores, pictures
	$(BIN)/anomaly demo

up: setup ## PostgreSQL, Dagster's UI and daemon, the API, until Ctrl-C
	$(BIN)/anomaly up

lint: setup-dev ## Lint, format, types and import contracts
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

docs-reference: setup-dev ## Reference of commands, settings and tables, from the code
	$(BIN)/python -m docgen

docs-pictures: setup-dev ## Pictures of Dagster's pages, of a demo that it runs
	$(BIN)/python -m docgen.pictures

docs: setup-dev ## The docs as a site, in site/
	$(BIN)/zensical build --strict --clean

test: setup-dev ## The whole suite
	$(BIN)/pytest -m 'not stress and not e2e and not browser' -n 3
	$(BIN)/pytest -m 'e2e and not stress and not tools' -n 2

coverage: setup-dev ## The whole suite with line coverage, a third slower
	$(BIN)/pytest -m 'not stress and not e2e and not browser' -n 2 --cov --cov-fail-under=0 --cov-report=
	$(BIN)/pytest -m 'e2e and not stress and not tools' --cov --cov-append --cov-report=term:skip-covered

test-tools: setup-dev ## Command lines on a clone, in an installed home and in the image
	$(BIN)/pytest -m 'tools and not stress'

test-browser: setup-dev ## The console in real browsers (Debian's chromium and firefox-esr)
	$(BIN)/pytest -m browser

stress: setup-dev ## Long trials: kills, floods of files
	$(BIN)/pytest -m stress -s

audit: setup ## Known vulnerabilities of what is installed; asks api.osv.dev
	$(PYTHON) -m venv .cache/audit
	.cache/audit/bin/python -m pip install --quiet 'pip-audit>=2.10,<3'
	.cache/audit/bin/pip-audit --vulnerability-service osv --progress-spinner off --skip-editable \
		--path "$$($(BIN)/python -c 'import sysconfig; print(sysconfig.get_path("purelib"))')"

bench: setup-dev ## Speed and quality figures into docs/
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[bench]'
	$(BIN)/python benchmarks/speed.py
	$(BIN)/python benchmarks/quality.py
	$(BIN)/python benchmarks/simulated.py
	$(BIN)/python benchmarks/upkeep.py
	$(BIN)/python benchmarks/serving.py
	$(BIN)/python benchmarks/console.py --out docs/measured/speed_console.md

clean: ## Remove the environment, the demo's data, the built docs and compiled kernels
	rm -rf $(VENV) .anomaly .cache site anomaly_platform/ml/__pycache__
