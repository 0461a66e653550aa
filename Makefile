# Everything starts here: `make` lists the targets. GNU make 3.81 (macOS) and newer.

VENV ?= .venv
BIN := $(VENV)/bin
STAGE := ops.migration.dataops_v2
# Tried after $(PYTHON), if that is given; the first one at 3.11 or newer is used.
PYTHONS := $(PYTHON) python3.13 python3.12 python3.11 python3
PIP := $(BIN)/python -m pip --disable-pip-version-check --quiet
INSPECTOR_VERSION := 2.12.0
INSPECTOR := .cache/inspector/node_modules/.bin/mcp-inspector
# Extra arguments: make migrate ARGS="--dry-run", make test ARGS="-k lock"
ARGS ?=

.DEFAULT_GOAL := help
.PHONY: help migrate flow-data data-repair meta-ingest feature-ingest flow-production \
    test lint types bench chaos demo skill wheel smoke inspector clean-slate

help: ## List the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "%-16s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

migrate: $(VENV)/.run ## Move the legacy bars of data/manifest.json into the lakehouse
	$(BIN)/quant stage run $(STAGE) $(ARGS)

flow-data: $(VENV)/.data ## Keep the lakehouse fresh: the daily cycle
	@$(BIN)/quant stage run ops.flow_data $(ARGS)

data-repair: $(VENV)/.data ## Fill the gaps of the candidates
	@$(BIN)/quant stage run data.repair $(ARGS)

meta-ingest: $(VENV)/.data ## Record what the venues list, and how it trades
	@$(BIN)/quant stage run data.metadata $(ARGS)

feature-ingest: $(VENV)/.data ## Take in today's technicals, compute the history of features
	@$(BIN)/quant stage run data.features $(ARGS)

flow-production: $(VENV)/.data ## Hand on returns and candidates, without a network
	@$(BIN)/quant stage run ops.flow_production $(ARGS)

test: $(VENV)/.dev ## Run the tests
	$(BIN)/python -m pytest -n auto $(ARGS)

lint: $(VENV)/.dev ## Check style and formatting
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: $(VENV)/.dev ## Check types
	$(BIN)/mypy

bench: $(VENV)/.bench ## Run the benchmarks against their floors
	$(BIN)/python benchmarks/run.py $(ARGS)

chaos: $(VENV)/.dev ## Run the long versions of the tests that kill, tear and starve
	QUANT_CHAOS=long $(BIN)/python -m pytest -m chaos $(ARGS)

demo: $(VENV)/.dev ## Regenerate the synthetic inputs under data/demo
	$(BIN)/python scripts/make_demo.py

skill: $(VENV)/.dev ## Write SKILL.md from the docs, the tools and the commands
	$(BIN)/python -P scripts/make_skill.py

wheel: $(VENV)/.dev ## Build the wheel into dist/
	$(BIN)/python -m build --wheel

smoke: $(VENV)/.dev ## Build the wheel, install it elsewhere and run the main job from it
	$(BIN)/python scripts/smoke_wheel.py

inspector: $(INSPECTOR) ## Install MCP Inspector's command line into .cache (npm)

$(INSPECTOR):
	npm install --prefix .cache/inspector --no-audit --no-fund --ignore-scripts \
	    @modelcontextprotocol/inspector@$(INSPECTOR_VERSION)

clean-slate: $(VENV)/.run ## Wipe the lakehouse (refused beside a live run)
	$(BIN)/quant lakehouse wipe --yes

# The environment. A stamp stands for "installed for this pyproject.toml".

$(VENV)/.made:
	@for python in $(PYTHONS); do \
	    if "$$python" -c 'import ensurepip, sys, venv; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then \
	        echo "making $(VENV) with $$python"; \
	        "$$python" -m venv $(VENV) && touch $@; exit; \
	    fi; \
	done; \
	echo "No Python 3.11 or newer with venv found; install one or name it: make PYTHON=/path/to/python3" >&2; \
	exit 1

$(VENV)/.run: pyproject.toml $(VENV)/.made
	$(PIP) install --editable .
	@touch $@

$(VENV)/.data: pyproject.toml $(VENV)/.made
	$(PIP) install --editable '.[exchanges,features,calendars]'
	@touch $(VENV)/.run $@

# It holds those extras too.
$(VENV)/.bench: pyproject.toml $(VENV)/.dev
	$(PIP) install --editable '.[dev,bench]'
	@touch $@

$(VENV)/.dev: pyproject.toml $(VENV)/.made
	$(PIP) install --editable '.[dev]'
	@touch $(VENV)/.run $(VENV)/.data $@
