# Names commands; the logic is in what they call. `make` shows them.
# The first Python on the PATH that is new enough; `make PYTHON=…` names another.
PYTHON ?= $(shell for name in python3 python python3.14 python3.13 python3.12 python3.11; do \
	$$name -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && echo $$name && break; done)
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
REFEREES := .venv-referees
AUDIT := .venv-audit

# Every process that a test starts would compile all it imports: seconds each.
unexport PYTHONDONTWRITEBYTECODE

.DEFAULT_GOAL := help
.PHONY: help setup demo test test-simulator test-long referees check fmt soak simulator-coverage bench bench-load test-azure wheel audit sbom clean

help:  ## Show this
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-19s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

setup: $(STAMP)  ## Make .venv with everything pinned in requirements.txt

$(STAMP): requirements.txt pyproject.toml simulator/pyproject.toml
	@test -n "$(PYTHON)" || { echo "crdbmesh needs Python 3.11 or newer, and there is none on the PATH." >&2; exit 1; }
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --require-hashes --requirement requirements.txt
	$(BIN)/python -m pip install --quiet --no-deps --no-build-isolation --editable . --editable simulator
	@touch $@

demo: $(STAMP)  ## Three simulated regions: up, status, up again, down
	$(BIN)/crdbmesh demo

test: $(STAMP)  ## The default suite
	$(BIN)/pytest -n 4 --dist loadgroup --maxschedchunk 2

test-simulator: $(STAMP)  ## The simulator's own tests: each rule of the simulated world, both ways
	$(BIN)/pytest -n 4 --dist loadgroup --maxschedchunk 2 simulator/tests

test-long: $(STAMP)  ## The tests that take longer
	$(BIN)/pytest -n 3 --dist loadgroup --maxschedchunk 1 -m long

referees: $(STAMP) $(REFEREES)/.installed  ## Let azure-cli, kubectl, OpenSSH and a resolver judge the simulator
	PATH="$(CURDIR)/$(REFEREES)/bin:$$PATH" $(BIN)/pytest -m referee --timeout 900 tests/referees

$(REFEREES)/.installed: requirements-referees.txt
	$(PYTHON) -m venv $(REFEREES)
	$(REFEREES)/bin/python -m pip install --quiet --requirement requirements-referees.txt
	@touch $@

check: $(STAMP)  ## Lint, types, layers, spelling, docstrings
	$(BIN)/ruff check src simulator tests
	$(BIN)/ruff format --check src simulator tests
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/codespell src simulator tests docs examples README.md CONTRIBUTING.md CHANGELOG.md SECURITY.md
	$(BIN)/pytest tests/test_docstrings.py tests/test_layers.py

fmt: $(STAMP)  ## Format
	$(BIN)/ruff check --fix --quiet src simulator tests
	$(BIN)/ruff format src simulator tests

soak: $(STAMP)  ## Seeds of faults, kills and damage (SEEDS=200), then of other people beside the mesh (WORLD=100)
	$(BIN)/python -m tests.soak --seeds $(or $(SEEDS),200)
	$(BIN)/python -m tests.soak --world --seeds $(or $(WORLD),100)

simulator-coverage: $(STAMP)  ## How much of the simulator the demo, the product's tests and, where installed, the referees run
	@mkdir -p .coverage-simulator
	COVERAGE_RCFILE=$(CURDIR)/simulator/coverage.ini $(BIN)/coverage run -m crdbmesh demo
	-COVERAGE_RCFILE=$(CURDIR)/simulator/coverage.ini $(BIN)/coverage run -m pytest -n 2 --dist loadgroup tests
	-test ! -e $(REFEREES)/.installed || PATH="$(CURDIR)/$(REFEREES)/bin:$$PATH" COVERAGE_RCFILE=$(CURDIR)/simulator/coverage.ini $(BIN)/coverage run -m pytest -m referee --timeout 900 tests/referees
	$(BIN)/coverage combine --rcfile simulator/coverage.ini --keep --quiet
	$(BIN)/coverage report --rcfile simulator/coverage.ini

bench: $(STAMP)  ## How much `up` gains by running steps at once, in the simulator
	$(BIN)/python tests/bench.py

bench-load: $(STAMP)  ## How much load and pace change the simulated time of an `up` (TIMES=5)
	$(BIN)/python tests/bench.py --load --times $(or $(TIMES),5)

test-azure: $(STAMP)  ## The Azure contract tests against a real subscription (AZURE_SUBSCRIPTION_ID); costs a little
	CRDBMESH_TEST_AZURE=1 $(BIN)/pytest tests/contract/azure

wheel: $(STAMP)  ## Build the wheels of crdbmesh and its simulator
	$(BIN)/python -m pip wheel --quiet --no-deps --no-build-isolation --wheel-dir dist . ./simulator

audit: $(AUDIT)/.installed  ## Hold the pinned packages against the published advisories
	$(AUDIT)/bin/pip-audit --requirement requirements.txt --require-hashes --disable-pip

sbom: $(AUDIT)/.installed  ## Write the bill of materials of the pinned packages, in CycloneDX
	@mkdir -p dist
	$(AUDIT)/bin/cyclonedx-py requirements --output-reproducible --output-file dist/crdbmesh.cdx.json requirements.txt

$(AUDIT)/.installed: requirements-audit.txt
	$(PYTHON) -m venv $(AUDIT)
	$(AUDIT)/bin/python -m pip install --quiet --require-hashes --requirement requirements-audit.txt
	@touch $@

clean:  ## Remove the environment and caches
	rm -rf $(VENV) $(REFEREES) $(AUDIT) dist build .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache .coverage-simulator
