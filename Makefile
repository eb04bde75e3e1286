# Everything runs in a virtual environment of its own, made on first use from any Python 3.10 to 3.13.
#   make test                                       all tests: those of the core with their coverage gate, then those
#                                                   that need a server, which are skipped where there is none, and
#                                                   the proofs in their small form
#   make demo                                       the whole job, live
#   make proof                                      that nothing is lost, in its full form: one table
#   make test PYTHON=python3.13 VENV=.venv-3.13     on another Python

PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin

.PHONY: test test-core test-services demo proof lint format bench bench-queues bench-relay adapters-table wheel mutation ci clean

# A suite of services waits more than it works: two processes, each class in one of them.
SIDE_BY_SIDE := -n 2 --dist loadscope

test: test-core test-services

test-core: $(VENV)/.test $(VENV)/.queues $(VENV)/.databases $(VENV)/.sinks
	$(BIN)/python -m coverage erase
	$(BIN)/python -m coverage run -m pytest -m "not services" -n 2 $(ARGS)
	$(BIN)/python -m coverage combine --quiet
	$(BIN)/python -m coverage report

test-services: $(VENV)/.test $(VENV)/.queues $(VENV)/.databases
	$(BIN)/python -m pytest -m services $(SIDE_BY_SIDE) $(ARGS)

demo: $(VENV)/.demo
	$(BIN)/python -m examples.demo $(ARGS)

# Kills, freezes and restarts real processes. `make test-services` has the same proofs in a small form, of minutes.
proof: $(VENV)/.test $(VENV)/.queues $(VENV)/.databases
	SIGRA_FORWARD_PROOF=full $(BIN)/python -m pytest tests/proof $(SIDE_BY_SIDE) $(ARGS)

lint: $(VENV)/.lint
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/pyright --pythonpath $(BIN)/python
	$(BIN)/lint-imports

format: $(VENV)/.lint
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

wheel: $(VENV)/.lint
	rm -rf dist
	$(BIN)/python -m build --quiet --wheel

bench: $(VENV)/.bench
	$(BIN)/python benchmarks/bench_core.py $(ARGS)

# Runs the suites of the queue adapters, and puts what they have measured into the README.
adapters-table: $(VENV)/.test $(VENV)/.queues $(VENV)/.databases
	rm -rf .report && mkdir .report
	SIGRA_FORWARD_REPORT=$(CURDIR)/.report $(BIN)/python -m pytest -m services $(SIDE_BY_SIDE) tests/adapters $(ARGS)
	$(BIN)/python tests/adapters/report.py .report

bench-queues: $(VENV)/.bench
	$(BIN)/python benchmarks/bench_queues.py $(ARGS)

bench-relay: $(VENV)/.bench $(VENV)/.databases
	$(BIN)/python benchmarks/bench_relay.py $(ARGS)

mutation: $(VENV)/.mutation
	CI=1 $(BIN)/mutmut run $(ARGS)
	$(BIN)/mutmut results

ci:
	.ci/run

clean:
	rm -rf .venv* .report dist build mutants .coverage* .pytest_cache .mypy_cache .ruff_cache .hypothesis

$(VENV)/bin/python:
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade 'pip>=25.1'

# One stamp per dependency group, so that a fresh clone installs no more than the command needs.
$(VENV)/.%: pyproject.toml | $(VENV)/bin/python
	$(BIN)/python -m pip install --quiet --editable . --group $*
	@touch $@
