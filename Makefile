# Each target prepares what it needs; on a bare Debian 12, `make demo` or `make test` is all there is to type.

PYTHON_BIN := .venv/bin
ROOT := $(filter 0,$(shell id -u))

.DEFAULT_GOAL := help
.PHONY: help setup setup-dev compile compiled demo stop-demo test lint format images bench bench-gateway bench-telemetry
.PHONY: soak clean

help:  ## This list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-15s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

setup:  ## Install what is missing, into the system (apt-get) and into .venv
	@scripts/setup

setup-dev:
	@scripts/setup --dev

compile: setup  ## Compile the gateway's hot path, if its sources have changed since
	@$(PYTHON_BIN)/python -m sampan.serve.compiling

compiled: setup  # or not, and then it has said why
	@$(PYTHON_BIN)/python -m sampan.serve.compiling || true

demo: compiled  ## See it work, in about a minute: two images become functions
	@$(PYTHON_BIN)/python -m examples.demo $(DEMO)

stop-demo:  ## Stop the platform that the demo left running, and remove its state
	@$(PYTHON_BIN)/python -m examples.demo --stop

test: setup-dev lint  ## Format, lint, types, floors, then all tests
	@$(if $(ROOT),,echo "NOT RUN: the tests marked 'root' (containers, real processes); become root to run them.")
	@$(PYTHON_BIN)/python -m pytest --numprocesses 2 --dist loadgroup $(if $(ROOT),,-m "not root")

lint: setup-dev  ## Format, lint, types and floors alone
	@$(PYTHON_BIN)/ruff format --check --quiet .
	@$(PYTHON_BIN)/ruff check --quiet .
	@$(PYTHON_BIN)/mypy -p sampan -p bench -m examples.images -m examples.demo
	@said=$$($(PYTHON_BIN)/lint-imports --no-cache) || { echo "$$said"; exit 1; }

format: setup-dev  ## Let ruff put the sources into shape
	@$(PYTHON_BIN)/ruff format --quiet .
	@$(PYTHON_BIN)/ruff check --quiet --fix .

images: setup  ## Build the example images, and say where they are
	@$(PYTHON_BIN)/python -m examples.images

bench: setup-dev compiled  ## Measure the platform beside its floors (needs root, takes minutes)
	@$(PYTHON_BIN)/python -m bench.report

bench-gateway: setup-dev compiled  ## Measure the gateway beside nginx (BENCH="--quick" for minutes instead of half an hour)
	@$(PYTHON_BIN)/python -m bench.gateway $(BENCH)

bench-telemetry: setup-dev compiled  ## Measure what telemetry costs and carries (needs root, takes minutes)
	@$(PYTHON_BIN)/python -m bench.telemetry

soak: setup-dev compiled  ## Mixed traffic while processes are killed and functions deployed (needs root; SOAK="--minutes N")
	@$(PYTHON_BIN)/python -m bench.soak $(SOAK)

clean:  ## Remove what tools and benchmarks left in the checkout
	@rm -rf .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache bench/results dist build
	@find . -name __pycache__ -not -path './.venv/*' -prune -exec rm -rf {} +
