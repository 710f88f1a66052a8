# What people and CI call. Everything runs from $(VENV), which is made from requirements-dev.lock with hashes checked.
#
#   make test                   lint, then every tier that can run here; tells what could not run and how to get it
#   make test REQUIRE_TIERS=1   the same, and a tier that cannot run fails (CI)
#   make test TIERS="unit model"   only these
#   make test WORKERS=1         one test after the other

SHELL := /bin/bash
PYTHON ?= python3
VENV ?= .venv
# An environment that somebody else prepared (tox) is used by setting BIN and READY, e.g. make lint BIN=/path/bin READY=
BIN ?= $(VENV)/bin
REQUIRE_TIERS ?= 0
# Much of the time is waiting for servers: two workers take little more memory and half the time.
WORKERS ?= 2
TIERS := unit model protocol contract sim integration e2e
MIN_COVERAGE := 90

# The stamp's name carries the content of the lock, so a changed lock means a new install and a touched one does not.
INPUTS := requirements-dev.lock pyproject.toml
READY ?= $(VENV)/.installed-$(shell cat $(INPUTS) | cksum | cut -d' ' -f1)
# A demo needs half of what the tests need; who sees it for the first time waits for no more than that.
DEMO_INPUTS := requirements-sandbox.lock pyproject.toml
DEMO_READY = $(if $(READY),$(or $(wildcard $(READY)),$(VENV)/.demo-$(shell cat $(DEMO_INPUTS) | cksum | cut -d' ' -f1)))

export REQUIRE_TIERS
COVERAGE := --cov --cov-report=term:skip-covered --cov-report=html:.work/coverage
ifeq ($(REQUIRE_TIERS),1)
COVERAGE += --cov-fail-under=$(MIN_COVERAGE)
endif

SHARED := $(if $(filter 1,$(WORKERS)),,-n $(WORKERS) --no-loadscope-reorder)

.DEFAULT_GOAL := help
.PHONY: help test lint format $(TIERS) cluster cluster-down servers node coverage crash recordings demo demo-real lock crds clean

help: ## this list
	@sed -n 's/^\([a-z0-9 $$()A-Z-]*\):.*## \(.*\)/\1|\2/p' $(MAKEFILE_LIST) | sed 's/$$(TIERS)/$(TIERS)/' | column -t -s'|'

# pip-compile leaves no registry or path in the locks; where packages come from is the business of pip's own configuration.
# setuptools tells at length that an editable install is one.
define ENVIRONMENT
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or newer is needed: make PYTHON=...")'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --require-hashes -r $<
	@PYTHONWARNINGS=ignore $(BIN)/python -m pip install --quiet --no-deps --no-build-isolation -e .
	@rm -f $(VENV)/$(firstword $(subst -, ,$(@F)))-* && touch $@
endef

$(READY): $(INPUTS)
	$(ENVIRONMENT)

$(VENV)/.demo-%: $(DEMO_INPUTS)
	$(ENVIRONMENT)

# One pytest for all tiers: one count and one closing line, which is what CI reads, and coverage of all tiers together.
test: lint servers node ## lint and every tier, with coverage; REQUIRE_TIERS=1: all must run
	TEST_TIERS="$(TIERS)" $(BIN)/python -m pytest $(TIERS:%=tests/%) -q $(SHARED) $(COVERAGE)

lint: $(READY) ## ruff, mypy --strict, import contracts
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

format: $(READY) ## let ruff format and fix
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

contract sim integration: servers
e2e: servers node # real pods on a real node, from our image and manifests (Linux and root; hack/kind with Docker)
$(TIERS): $(READY) ## one tier
	TEST_TIERS="$@" $(BIN)/python -m pytest tests/$@ -q --durations=5

cluster: ## that real node to play with; cluster-down takes it away. What is missing: python3 -m hack.cluster install
	$(PYTHON) -m hack.cluster up

cluster-down:
	$(PYTHON) -m hack.cluster down

coverage: $(READY) servers node ## every tier, and fail under the threshold
	TEST_TIERS="$(TIERS)" $(BIN)/python -m pytest $(TIERS:%=tests/%) -q $(SHARED) --cov --cov-report=term-missing:skip-covered \
	  --cov-report=html:.work/coverage --cov-fail-under=$(MIN_COVERAGE)

servers: $(READY) ## build etcd, kube-apiserver, Tekton ... once, into the cache (or take KUBEBUILDER_ASSETS)
	@$(BIN)/python -m hack.controlplane build $(if $(filter 1,$(REQUIRE_TIERS)),,--optional)

# Not for e2e on a cluster that is there already (E2E_KUBECONFIG, E2E_CLUSTER), nor for tiers that need no node.
NODE := $(if $(E2E_KUBECONFIG)$(E2E_CLUSTER),,$(filter e2e,$(TIERS)))
node: $(READY) servers ## build the kubelet and the rest of a real node, and our image, into the cache
	@$(if $(NODE),$(BIN)/python -m hack.cluster build $(if $(filter 1,$(REQUIRE_TIERS)),,--optional),true)

crash: $(READY) servers ## kill, freeze or lose the answer at every write, on real servers; table in .work/crash (half an hour)
	$(BIN)/python -m hack.crash $(CRASH)

demo: $(DEMO_READY) ## watch it work, without a cluster (only the controller is real); SANDBOX=--keep stays
	$(BIN)/wfe-controller sandbox $(SANDBOX)

demo-real: $(READY) ## the same story on a real control plane with real Tekton (the first time builds the servers)
	$(BIN)/python -m hack.demo

PIP_COMPILE = CUSTOM_COMPILE_COMMAND="make lock" $(BIN)/pip-compile --quiet --generate-hashes --allow-unsafe --strip-extras \
  --no-emit-index-url --no-emit-find-links --no-emit-trusted-host
recordings: $(READY) servers ## write tests/recordings anew on a real node (Linux and root): Tekton, pods, Jobs, Deployments; read the diff
	$(BIN)/python -m hack.recordings

lock: $(READY) ## pin again, with hashes; UPGRADE=1 takes newer versions
	$(PIP_COMPILE) $(if $(UPGRADE),--upgrade) -o requirements.lock pyproject.toml
	$(PIP_COMPILE) $(if $(UPGRADE),--upgrade) --extra dev -c requirements.lock -o requirements-dev.lock pyproject.toml
	$(PIP_COMPILE) $(if $(UPGRADE),--upgrade) --extra sandbox --build-deps-for editable -c requirements-dev.lock \
	  -o requirements-sandbox.lock pyproject.toml

crds: $(READY) ## write the generated files of manifests/ (CRDs, RBAC, namespaces) from the code
	$(BIN)/python -m hack.generate_crds

clean: ## remove what was built here; planes are stopped first
	-@if [ -d .work/planes ]; then for plane in .work/planes/*/; do $(PYTHON) -m hack.controlplane down --work-dir $$plane; done; fi
	rm -rf $(VENV) .work build dist *.egg-info .tox .coverage .coverage.* .mypy_cache .ruff_cache .pytest_cache \
	  .import_linter_cache .hypothesis
