# Every target does its own set-up; what it downloads and builds is cached outside the checkout.
SHELL := /bin/bash
VENV := .venv
WORKERS ?= 3
RUN := $(VENV)/bin
.DEFAULT_GOAL := help
# Without bytecode every process would compile Airflow again.
unexport PYTHONDONTWRITEBYTECODE

.PHONY: help
help: ## show the targets
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:[^#]*## /\t/' | expand -t 12

.PHONY: python
python: ## make .venv with everything that uv.lock names
	@scripts/python.sh

.PHONY: setup
setup: python ## .venv, command line tools, emulators and a Kubernetes control plane
	@$(RUN)/triplane sandbox install

.PHONY: setup-tests
setup-tests: python ## setup, and what only the tests need: chromium, a Docker Engine, Redis
	@$(RUN)/triplane sandbox install --tests

.PHONY: demo
demo: setup ## deploy the example to three clouds in the sandbox (APPROVE=ui, KEEP=1)
	@$(RUN)/python examples/demo

.PHONY: test
test: setup-tests ## all tests, with real tools against the sandbox (WORKERS=3)
	@$(RUN)/pytest -n $(WORKERS) --dist loadscope --no-loadscope-reorder $(ARGS)

.PHONY: unit
unit: python ## the tests that need no sandbox
	@$(RUN)/pytest tests/unit tests/dags $(ARGS)

.PHONY: test-versions
test-versions: python ## unit tests on Python 3.11-3.13, with the oldest and the newest versions that are allowed
	@scripts/versions.sh

.PHONY: check
check: python ## lint, format, types, layers
	@$(RUN)/ruff check .
	@$(RUN)/ruff format --check .
	@$(RUN)/mypy
	@$(RUN)/lint-imports

.PHONY: fix
fix: python ## mend what the linter can mend
	@$(RUN)/ruff check --fix .
	@$(RUN)/ruff format .

.PHONY: docs
docs: python ## write docs/reference anew, from the code
	@$(RUN)/python -m scripts.reference

.PHONY: bench
bench: setup ## ratios within one run: `bench NAME RATIO LIMIT`
	@$(RUN)/python scripts/bench.py

.PHONY: chaos
chaos: setup-tests ## kill campaigns: `chaos NAME KILLS BAD` (KILLS=50, BACKENDS, SEED), and campaigns of whole runs
	@$(RUN)/python scripts/chaos.py
	@$(RUN)/pytest -m campaign $(ARGS)

.PHONY: clean
clean: ## remove .venv and caches of the checkout (not the shared cache)
	@rm -rf $(VENV) .mypy_cache .ruff_cache .pytest_cache .import_linter_cache dist
