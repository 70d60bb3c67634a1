# Python 3.11 or newer, make and git are all that this needs; `make` alone lists what there is.

PYTHON_VERSIONS := python3.11 python3.12 python3.13 python3.14 python3
IS_NEW_ENOUGH := import ensurepip, sys, venv; sys.exit(sys.version_info < (3, 11))
PYTHON ?= $(firstword $(foreach python,$(PYTHON_VERSIONS),\
	$(shell $(python) -c '$(IS_NEW_ENOUGH)' 2>/dev/null && echo $(python))))

PIP_OPTIONS ?=
PYTEST_OPTIONS ?=
SNAKEMAKE_OPTIONS ?=
SMOKE_OPTIONS ?=
LOCK_OPTIONS ?=
PUBLISH_OPTIONS ?=
REPRODUCE_OPTIONS ?=
MODEL ?= Prostate
PLUGINS := $(wildcard plugins/*/pyproject.toml)

INSTALL := .venv/bin/python -m pip install $(PIP_OPTIONS)
COMPILE := .venv/.uv/bin/uv pip compile --quiet --universal --python-version 3.11 \
	--fork-strategy fewest --no-header --no-annotate pyproject.toml
BEYOND_CORE := grep --invert-match --line-regexp --fixed-strings --file locks/core.txt

# Snakemake's jobs and hooks find the tools of .venv without its being activated.
export PATH := $(CURDIR)/.venv/bin:$(PATH)

.DEFAULT_GOAL := help
.PHONY: help setup setup-azureml setup-slurm setup-dicom setup-dev setup-azurite run view tensorboard publish pull verify reproduce track azureml-emulator azureml-smoke test lint bench lock clean

help: ## list these verbs
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/  make \1@\2/p' $(firstword $(MAKEFILE_LIST)) | tr '@' '\t' | expand -t 24

setup: .venv/.core .venv/bin/crossfold ## install what the pipeline needs into .venv

setup-azureml: .venv/.azureml ## … and what sends its GPU jobs to Azure Machine Learning

setup-slurm: .venv/.slurm ## … or as batch jobs to a SLURM cluster

setup-dicom: .venv/.dicom ## … and what reads and writes DICOM

setup-dev: .venv/.dev .venv/.roc-validator ## … and what tests and checks it

setup-azurite: .venv/.azurite ## … the blob storage of the tests with Azure (needs npm)

run: setup ## run the pipeline on this machine (MODEL=Prostate)
	.venv/bin/snakemake --cores all $(SNAKEMAKE_OPTIONS) results/$(MODEL)/ensemble_metrics.csv
	.venv/bin/python -m crossfold.paper.tables results/$(MODEL)/ensemble_metrics.csv

view: setup ## scroll through a model's test subjects in a browser (MODEL=Prostate)
	.venv/bin/python -m crossfold.paper.viewer results/$(MODEL)

publish: setup ## put a model under DVC and git, and upload it (MODEL=Prostate)
	.venv/bin/crossfold publish $(PUBLISH_OPTIONS) $(MODEL)

pull: setup ## download what is published, and check it
	.venv/bin/crossfold pull

verify: setup ## check a published model against its manifest (MODEL=Prostate)
	.venv/bin/crossfold verify $(MODEL)

reproduce: setup ## train a published model again from scratch, and compare (MODEL=Prostate)
	.venv/bin/crossfold reproduce $(REPRODUCE_OPTIONS) $(MODEL)

track: setup ## put an imported dataset under DVC, and its pointer into git (DATASET=…)
	.venv/bin/python -m crossfold track $(or $(DATASET),$(error name one: make track DATASET=…))

tensorboard: setup ## show a model's trainings in TensorBoard, also while they run (MODEL=Prostate)
	.venv/bin/crossfold monitor --local --model $(MODEL)

azureml-emulator: setup-azureml setup-azurite ## serve an Azure Machine Learning on this machine
	PYTHONPATH=tests .venv/bin/python -m azureml_emulator

azureml-smoke: setup-azureml ## check on your workspace what the emulator cannot show
	.venv/bin/python azureml/smoke.py $(SMOKE_OPTIONS)

test: setup-azureml setup-slurm setup-dicom setup-dev ## run the tests (PYTEST_OPTIONS="-n auto")
	.venv/bin/pytest $(PYTEST_OPTIONS)

CHECKS := check-code check-format check-rules check-workflow check-types check-layers
.PHONY: $(CHECKS)

lint: setup-azureml setup-slurm setup-dicom setup-dev ## run every check, also those after one that fails
	@$(MAKE) --no-print-directory --keep-going $(CHECKS)

check-code:
	.venv/bin/ruff check

check-format:
	.venv/bin/ruff format --check

check-rules:
	.venv/bin/snakefmt --check Snakefile rules azureml/predict.smk

check-workflow:
	.venv/bin/snakemake --lint

check-types:
	.venv/bin/mypy

check-layers:
	.venv/bin/lint-imports --no-logo

bench: setup ## measure Crossfold against its peers
	.venv/bin/python -m benchmarks

lock: .venv/.uv/bin/uv ## solve locks/ again, keeping versions (LOCK_OPTIONS=--upgrade to renew)
	@mkdir -p locks && touch locks/core.txt
	cat locks/*.txt > .venv/all.txt
	$(COMPILE) $(PLUGINS) $(LOCK_OPTIONS) --all-extras --output-file .venv/all.txt
	$(COMPILE) --constraint .venv/all.txt --output-file locks/core.txt
	$(COMPILE) $(PLUGINS) --constraint .venv/all.txt --extra azureml | $(BEYOND_CORE) > locks/azureml.txt
	for extra in slurm dicom dev; do \
		$(COMPILE) --constraint .venv/all.txt --extra $$extra | $(BEYOND_CORE) > locks/$$extra.txt || exit; \
	done

clean: ## remove caches; results, .state and .venv stay
	find . -name __pycache__ -type d -not -path './.venv/*' -prune -exec rm -rf {} +
	rm -rf .pytest_cache .hypothesis .mypy_cache .ruff_cache .import_linter_cache

.venv/bin/python:
	@$(or $(PYTHON),false) -c '$(IS_NEW_ENOUGH)' || { \
		echo "Crossfold needs Python 3.11 or newer with its venv module:" \
			"install it, or name it with make PYTHON=/path/to/python3" >&2; exit 1; }
	$(PYTHON) -m venv .venv || { rm -rf .venv; exit 1; }

# A stamp is older than its lock when the lock has changed: only then is anything installed.
.venv/.core: locks/core.txt | .venv/bin/python
	$(INSTALL) --requirement $<
	@touch $@

# Crossfold is not installed into .venv: its commands are those of this checkout.
.venv/bin/crossfold: Makefile | .venv/bin/python
	printf '%s\n' '#!/bin/sh' 'checkout=$$(cd "$$(dirname "$$0")/../.." && pwd)' \
		'PYTHONPATH="$$checkout$${PYTHONPATH:+:$$PYTHONPATH}" exec "$$checkout/.venv/bin/python" -m crossfold "$$@"' > $@
	chmod +x $@

.venv/.azureml: locks/azureml.txt $(PLUGINS) | .venv/.core
	$(INSTALL) --requirement $< $(PLUGINS:%/pyproject.toml=--editable ./%)
	@touch $@

.venv/.slurm .venv/.dicom .venv/.dev: .venv/.%: locks/%.txt | .venv/.core
	$(INSTALL) --requirement $<
	@touch $@

# It holds rich at an earlier release than others here: an environment of its own.
.venv/.roc-validator: | .venv/bin/python
	$(PYTHON) -m venv .venv/roc-validator
	.venv/roc-validator/bin/python -m pip install $(PIP_OPTIONS) roc-validator==0.13.0
	@touch $@

.venv/.azurite: | .venv/bin/python
	npm install --no-save --no-package-lock --no-fund --no-audit --loglevel error azurite@3.37.0
	# Apart from the rest: Snakemake would import it at every start.
	$(INSTALL) --no-deps --target .venv/.storage snakemake-storage-plugin-azure==0.4.4
	@touch $@

.venv/.uv/bin/uv: | .venv/bin/python
	$(INSTALL) --target .venv/.uv uv==0.13.9
