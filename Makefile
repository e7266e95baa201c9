# `make` alone lists the verbs. Everything a verb needs, it sets up itself: Python 3.11+ and make suffice.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --quiet --disable-pip-version-check
ARGS ?=
.DEFAULT_GOAL := help
# the tests start hundreds of processes; where this is set, each compiles all that it imports anew
export PYTHONDONTWRITEBYTECODE :=

.PHONY: help
help: ## list the verbs
	@awk -F':.*## ' '/^[a-z][a-z-]*:.*## / {printf "  make %-8s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

# what running needs; the tests need ten times as much
$(VENV)/run-ready: pyproject.toml
	@echo "setting up $(VENV) ..."
	@$(PYTHON) -m venv $(VENV)
	@$(PIP) install --editable .
	@touch $@

$(VENV)/ready: $(VENV)/run-ready
	@echo "adding what the tests need to $(VENV) ..."
	@$(PIP) install --upgrade 'pip>=25.1'
	@$(PIP) install --group dev
	@touch $@

.PHONY: demo
demo: $(VENV)/run-ready ## see what udpprobe finds in small internets: visits them where this user may, else analyses captures
	@$(BIN)/udpprobe demo

.PHONY: test
# one more than the usual two cores: many tests wait for clocks
JOBS ?= 3
test: $(VENV)/ready ## run the tests (ARGS='-k name' for some; JOBS=0 one by one; as root also those with real kernels)
	$(BIN)/pytest -n $(JOBS) --dist loadfile $(ARGS)

.PHONY: fuzz
fuzz: SECONDS := 60
fuzz: export UDPPROBE_FUZZ := 1
fuzz: $(VENV)/ready ## test properties with random examples, ten times as many (SECONDS=60 of them spoilt captures; ARGS as above)
	UDPPROBE_FUZZ_S=$(SECONDS) $(BIN)/pytest -n $(JOBS) --timeout 3600 -m hypothesis $(ARGS)

.PHONY: check
ICMPD_PURE := lines outbox protocol records registry
# pip's check comes first: the tests' packages were installed after those that run with us, maybe in their place
check: $(VENV)/ready ## lint, types, directions of imports, every branch of the core tested
	$(PIP) check
	$(BIN)/ruff check
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/pytest -q --cov=udpprobe.core --cov-branch --cov-fail-under=100 --cov-report= tests/core
	$(BIN)/pytest -q $(ICMPD_PURE:%=--cov=udpprobe.icmpd.%) --cov-branch --cov-fail-under=100 --cov-report= tests/icmpd

.PHONY: bench
bench: $(VENV)/ready ## print the speed table: against tcpdump, tshark and others on made captures (ARGS=--quick, ARGS=--help)
	$(BIN)/python -m tests.bench $(ARGS)

.PHONY: golden
golden: $(VENV)/ready ## write tests/golden and the README's sessions anew; the diff is the review
	$(BIN)/python tests/write_golden.py

.PHONY: clean
clean: ## remove what the other verbs made
	rm -rf $(VENV) build dist .pytest_cache .mypy_cache .ruff_cache .hypothesis .import_linter_cache .coverage htmlcov
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
