# Two commands do all the set-up: "make demo" and "make test". Everything else is a part of them or takes longer.
VENV ?= .venv
BIN := $(VENV)/bin
# the OpenStack release that tests and demo run with: a file of constraints/
RELEASE ?= 2026.2
CONSTRAINTS := constraints/$(RELEASE).txt
PYTEST_ARGS ?=

.DEFAULT_GOAL := help
.PHONY: help venv demo demo-down test lint types check bench sweep clients crash fuzz features docs clean

help: ## this list
	@awk -F ':.*## ' '/^[a-z0-9-]+:.*## / {printf "  make %-10s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

venv: $(VENV)/.ready ## the Python environment in .venv (made by the other commands when needed)

$(VENV)/.ready: pyproject.toml $(CONSTRAINTS) tools/bootstrap packaging/nova-xapi-alias.pth
	@VENV=$(VENV) CONSTRAINTS=$(CONSTRAINTS) tools/bootstrap
	@touch $@

demo: venv ## bring up a real OpenStack on an embedded pool, boot two guests, prove it end to end
	@$(BIN)/nova-xapi demo up
	@$(BIN)/nova-xapi demo check

demo-down: venv ## stop everything the demo started
	@$(BIN)/nova-xapi demo down

test: venv ## all tests that take minutes together (about 6 on 2 cores)
	@VENV=$(VENV) tools/run-tests $(PYTEST_ARGS)

lint: venv ## style
	@$(BIN)/ruff format --check src tests bench sweep
	@$(BIN)/ruff check src tests bench sweep

types: venv ## strict types of src
	@$(BIN)/mypy

check: lint types test ## what CI runs

bench: venv ## measure: one JSON line per figure, then a table
	@$(BIN)/python -m bench

sweep: venv ## fail each call of spawn and destroy in turn, kill the service in their middle; look for what is left behind
	@$(BIN)/python -m sweep
	@$(BIN)/python -m pytest -q -m slow tests/driver

clients: venv ## clients of others from their registries against the embedded host (the first run installs them)
	@$(BIN)/python -m pytest -q -m slow tests/clients

# how often a server is killed, and how much it is sent, in the long forms of tests that "make test" runs shortly
CRASH_ROUNDS ?= 100
FUZZ_REQUESTS ?= 10000

crash: venv ## kill the embedded host 100 times under load, for rows, disks, power and moves of VMs, timed and real guests
	@XAPI_CRASH_ROUNDS=$(CRASH_ROUNDS) $(BIN)/python -m pytest -q -s -m "slow or not slow" tests/host/test_crash.py \
		tests/host/test_crash_guests.py tests/host/storage/test_disk_crash.py
	@XAPI_MOVE_ROUNDS=$$(($(CRASH_ROUNDS) / 5)) $(BIN)/python -m pytest -q -s -m "slow or not slow" \
		tests/host/test_vm_migration_kills.py
	@XAPI_JOIN_ROUNDS=$$(($(CRASH_ROUNDS) / 5)) $(BIN)/python -m pytest -q -s -m "slow or not slow" \
		tests/host/pools/test_half_way.py

fuzz: venv ## hostile requests, disk images and archives by the thousand, and clients that follow events of random changes
	@XAPI_HOSTILE_REQUESTS=$(FUZZ_REQUESTS) XVA_FUZZ_ROUNDS=$$(($(FUZZ_REQUESTS) / 20)) $(BIN)/python -m pytest -q -s \
		tests/host/test_hostile.py tests/host/storage/test_hostile_transfers.py tests/host/handlers/test_hostile_archives.py \
		tests/host/test_event_property.py tests/host/dom0/test_hostile_xenstore.py

features: venv ## run the tests and write the feature table, docs/features.rst, from what they prove
	@rm -f .feature-outcomes
	@VENV=$(VENV) tools/run-tests --feature-outcomes .feature-outcomes
	@$(BIN)/python tests/feature_table.py .feature-outcomes docs/features.rst

docs: venv ## build the documentation into docs/_build/html
	@$(BIN)/uv pip install --quiet --python $(BIN)/python sphinx reno
	@$(BIN)/sphinx-build -W -q -b html docs docs/_build/html
	@echo docs/_build/html/index.html

clean: ## remove what the commands made here (not the demo's state: make demo-down first)
	rm -rf $(VENV) build dist docs/_build .mypy_cache .ruff_cache .pytest_cache .hypothesis
	find . -name __pycache__ -prune -exec rm -rf {} +
