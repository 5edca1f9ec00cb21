# Every target does its own set-up; the virtual environment is rebuilt only when the pins change.
.DEFAULT_GOAL := help
.PHONY: help run soak test peers infra snapshots preflight costs sbom pacing lint format lock clean bench ops
SHELL := /bin/bash

PYTHON ?= $(shell for p in python3.13 python3 python; do \
	"$$p" -c 'import sys; sys.exit(sys.version_info[:2] != (3, 13))' 2>/dev/null && { echo "$$p"; break; }; done)
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
ARGS ?=

help: ## what can be made
	@awk -F ':.*## ' '/^[a-z-]+:.*## /{printf "  make %-9s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

# Only one make sets up at a time: the lock is on the file of pins, and whoever waited finds the work done.
LOCK := import fcntl, os, sys; lock = os.open(sys.argv[1], os.O_RDONLY); os.set_inheritable(lock, True); \
	fcntl.flock(lock, fcntl.LOCK_EX); os.execvp("bash", ["bash", "-c", sys.argv[2]])
# $(1): the environment's folder, $(2): its pins
define SET_UP
set -euo pipefail; \
if [ $(1)/.ready -nt $(2) ]; then exit; fi; \
if [ -L $(1) ]; then echo "$(1) is a symbolic link, and setting it up would empty what it leads to: remove the link, then run make again"; exit 1; fi; \
count=$$(grep -c "==" $(2)); collected=0; \
"$(PYTHON)" -c "import signal, venv; signal.signal(2, signal.SIG_DFL); venv.main([\"--clear\", \"$(1)\"])"; \
$(1)/bin/python -m pip install --progress-bar off --disable-pip-version-check --require-hashes -r $(2) 2> >(grep -v "^WARNING" >&2) | while read -r line; do \
	case "$$line" in \
		Collecting*) collected=$$((collected + 1)); if ((collected % 10 == 0)); then echo "  $$SECONDS s: $$collected of $$count packages found"; fi;; \
		Installing*) echo "  $$SECONDS s: installing, for about a minute";; \
	esac; \
done; \
touch $(1)/.ready; echo "  $$SECONDS s: done"
endef

$(READY): requirements-dev.txt
	@"$(PYTHON)" -c "import sys; sys.exit(sys.version_info[:2] != (3, 13))" 2>/dev/null || { echo "Python 3.13 is needed and was not found: get it with 'uv python install 3.13', 'pyenv install 3.13' or from python.org, then run make again (or: make PYTHON=/path/to/python3.13)"; exit 1; }
	@echo "setting up $(VENV) (once)"
	@"$(PYTHON)" -c '$(LOCK)' $< '$(call SET_UP,$(VENV),$<)'

run: $(READY) ## the whole job on this machine: ARGS="--messages 200 --serve ..."
	@$(BIN)/python -m local.run $(ARGS)

soak: $(READY) ## every failure, played and checked: ARGS="--scenario NAME --json FILE --list ..."
	@$(BIN)/python -m local.soak $(ARGS)

bench: $(READY) ## how fast, cheap and small, next to the alternatives: ARGS=--quick
	@$(BIN)/python -m bench $(ARGS)

ops: $(READY) ## the operator's and publisher's command: ARGS="status", ARGS="--help"
	@$(BIN)/python -m revoker $(ARGS)

# The tests start hundreds of processes: each module is compiled once for all of them.
test: export PYTHONDONTWRITEBYTECODE :=
test: $(READY) ## every check: lint, types, tests, coverage; some of the tests: ARGS=tests/unit/test_x.py
	@mkdir -p build; set -m; $(MAKE) --no-print-directory lint >build/lint.txt 2>&1 & lint=$$!; \
	set +m; trap 'kill -- -$$lint 2>/dev/null; exit 130' INT; \
	$(BIN)/python -m pytest -n auto $(if $(ARGS),,--cov --cov-report=term) $(ARGS); tests=$$?; \
	wait $$lint; lint=$$?; cat build/lint.txt; exit $$((tests | lint))

peers: $(READY) ## the broker against clients and tests of others, downloaded: ARGS="--only javascript ..."
	@$(BIN)/python -m tests.peers $(ARGS)

# checkov lives apart: it is large, old libraries come with it, and nothing else needs it.
CHECKOV := .venv-checkov
CHECKOV_READY := $(CHECKOV)/.ready
$(CHECKOV_READY): infra/requirements-checkov.txt $(READY)
	@echo "setting up $(CHECKOV) (once)"
	@"$(PYTHON)" -c '$(LOCK)' $< '$(call SET_UP,$(CHECKOV),$<)'

infra: $(READY) $(CHECKOV_READY) ## every check of the infrastructure that needs no Azure account
	@$(BIN)/python -m pytest tests/infra $(ARGS)
	@$(BIN)/python -m infra.check_checkov $(CHECKOV)/bin/checkov
	@$(BIN)/python -m infra.check_bicep

snapshots: $(READY) ## what Azure would be told, for each way to deploy (needs the Bicep CLI)
	@$(BIN)/python -m infra.snapshot

preflight: ## what would stop a deployment, asked of Azure before it begins (needs the Azure CLI)
	@python3 infra/preflight.py $(ARGS)

costs: $(READY) ## what a month costs: ARGS="--revocations 1000000 --tier Premium ..."
	@$(BIN)/python -m infra.costs $(ARGS)

sbom: $(READY) ## what is deployed, as a CycloneDX bill of materials: build/sbom.json
	@mkdir -p build
	@PYTHONWARNINGS=ignore $(BIN)/cyclonedx-py requirements requirements.txt --pyproject pyproject.toml --output-reproducible --output-file build/sbom.json

pacing: $(READY) ## simulate how the rate limiter shares a quota, and draw a chart
	@$(BIN)/python -m bench.pacing $(ARGS)

lint: $(READY) ## format, lint, spelling and types
	@$(BIN)/ruff format --check --quiet . || { echo "run: make format"; exit 1; }
	@$(BIN)/ruff check --quiet .
	@$(BIN)/codespell
	@$(BIN)/mypy
	@said=$$($(BIN)/zizmor --quiet --offline --no-progress .github/workflows 2>&1) || { echo "$$said"; exit 1; }

format: $(READY) ## format the code
	@$(BIN)/ruff format .
	@$(BIN)/ruff check --fix --quiet .

# No index address and no annotation of who asked: the files say what is installed, nothing of this machine.
# With hashes: what is installed, here, in CI and in Azure, is what was locked, byte for byte.
COMPILE := $(BIN)/pip-compile --quiet --strip-extras --generate-hashes --allow-unsafe --no-emit-index-url --no-emit-find-links --no-emit-trusted-host --no-header --annotation-style=line
lock: $(READY) ## pin the dependencies named in pyproject.toml: ARGS=--upgrade for newer ones
	@$(COMPILE) $(ARGS) --output-file=requirements.txt pyproject.toml
	@$(COMPILE) $(ARGS) --extra=dev --extra=ops --constraint=requirements.txt --output-file=requirements-dev.txt pyproject.toml
	@echo checkov | $(COMPILE) $(ARGS) --output-file=infra/requirements-checkov.txt -

clean: ## remove all that make made
	rm -rf $(VENV) .venv-* .mypy_cache .pytest_cache .ruff_cache .hypothesis .coverage .coverage.* build *.egg-info
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
