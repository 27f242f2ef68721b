# The four commands a person needs: lab, test, test-cluster, bench. Each sets itself up in .venv first.
SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
ARGS ?=
# Where it is set, as in many images, each of the thousand processes that the tests start would compile all of podvitals anew.
unexport PYTHONDONTWRITEBYTECODE

.PHONY: help lab test lint test-cluster chaos crash crash-cluster bench lock proto wheel recording conformance docs

help: ## this list
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 16

lab: $(VENV)/.installed ## see it work, no cluster needed: a device breaks, its pod says so (ARGS=--once: the story, then exit)
	@exec $(BIN)/podvitals lab $(ARGS)

test: $(VENV)/.installed-dev lint ## linters, types, layers and every test that needs no cluster
	@$(BIN)/python -m pytest -q -n auto --maxprocesses 4 --dist worksteal $(ARGS)

lint: $(VENV)/.installed-dev
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check --quiet . || { echo "not formatted: run $(BIN)/ruff format ." >&2; exit 1; }
	@$(BIN)/mypy
	@layers=$$($(BIN)/lint-imports --no-cache 2>&1) || { echo "$$layers"; exit 1; }

test-cluster: $(VENV)/.installed-dev ## the same claims on a real Kubernetes (needs root and Go; K8S=1.37.2 picks the release)
	@$(BIN)/python -m pytest -q tests/cluster $(ARGS)

conformance: $(VENV)/.installed-dev ## the table of docs/conformance.md, measured anew on lab, agent and real kubelet (needs root and Go; 10 min)
	@$(BIN)/python -m tests.conformance.table $(ARGS)

chaos: $(VENV)/.installed-dev ## the node side under simulated faults: SEEDS=10000 of them (FROM=0), or one again with SEED=n
	@$(BIN)/python -m tests.chaos $(if $(SEED),--seed $(SEED),--seeds $(or $(SEEDS),1000) --from $(or $(FROM),0)) $(ARGS)

crash: $(VENV)/.installed-dev ## real processes killed, stopped and cut off (ROUNDS=200); SEED=n repeats one, TWIN=name|all must be found
	@$(BIN)/python -m tests.crash $(if $(SEED),--seed $(SEED),--rounds $(or $(ROUNDS),200)) $(if $(TWIN),--twin $(TWIN)) $(ARGS)

crash-cluster: $(VENV)/.installed-dev ## the same on a real Kubernetes, relay included (ROUNDS=100; SEED=n, TWIN=name|all; needs root and Go; 15 min)
	@$(BIN)/python -m tests.crash_cluster $(if $(SEED),--seed $(SEED),--rounds $(or $(ROUNDS),100)) $(if $(TWIN),--twin $(TWIN)) $(ARGS)

bench: $(VENV)/.installed-dev ## one table of latencies and sizes (CLUSTER=1: on a real Kubernetes; ARGS="--only lease" one part, --help lists them)
	@$(BIN)/python -m tests.bench $(ARGS)

proto: ## write src/podvitals/wire/generated from the .proto files (downloads a compiler into a temporary environment)
	@PYTHON=$(PYTHON) src/podvitals/wire/proto/generate

wheel: $(VENV)/.installed ## dist/podvitals-*.whl
	@$(BIN)/python -m flit_core.wheel --outdir dist .

# pip cannot check hashes and install the project itself in one command: first the lock, then the project alone.
$(VENV)/bin/python:
	@command -v $(PYTHON) >/dev/null || { echo "podvitals needs Python 3.11 or newer: install python3, or say where it is with PYTHON=..." >&2; exit 1; }
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "podvitals needs Python 3.11 or newer, and $(PYTHON) is $$($(PYTHON) -V): say where a newer one is with PYTHON=..." >&2; exit 1; }
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null || { echo "$(PYTHON) cannot make virtual environments: install its venv module (Debian, Ubuntu: apt install python3-venv)" >&2; exit 1; }
	@$(PYTHON) -m venv $(VENV)

$(VENV)/.installed: requirements.lock pyproject.toml | $(VENV)/bin/python
	@echo "podvitals: setting up $(VENV) (once)" >&2
	@$(BIN)/python -m pip --disable-pip-version-check install -qq --require-hashes -r requirements.lock
	@$(BIN)/python -m pip --disable-pip-version-check install -qq --no-deps --no-build-isolation -e .
	@touch $@

# All of requirements.lock is in requirements-dev.lock.
$(VENV)/.installed-dev: requirements-dev.lock pyproject.toml | $(VENV)/bin/python
	@echo "podvitals: setting up $(VENV) with what its tests need (once)" >&2
	@$(BIN)/python -m pip --disable-pip-version-check install -qq --require-hashes -r requirements-dev.lock
	@$(BIN)/python -m pip --disable-pip-version-check install -qq --no-deps --no-build-isolation -e .
	@touch $(VENV)/.installed $@

lock: ## requirements*.lock from pyproject.toml (maintainers; needs uv)
	@tests/lock

recording: $(VENV)/.installed ## docs/lab.svg, from what the lab really prints
	@$(BIN)/python docs/record.py docs/lab.svg -- $(BIN)/podvitals lab --once

docs: $(VENV)/.installed ## docs/detectors.md, from the families and rules
	@$(BIN)/python docs/detectors.py
