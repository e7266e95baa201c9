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
	@awk -F':.*## ' '/^[a-z][a-z-]*:.*## / {printf "  make %-9s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

# what running needs; the tests need ten times as much
$(VENV)/run-ready: pyproject.toml
	@echo "setting up $(VENV) ..."
	@$(PYTHON) -m venv $(VENV)
	@$(PIP) install --upgrade 'pip>=25.1'
	@$(PIP) install --group build
	@$(PIP) install --no-build-isolation --editable .
	@touch $@

$(VENV)/ready: $(VENV)/run-ready
	@echo "adding what the tests need to $(VENV) ..."
	@$(PIP) install --group dev
	@touch $@

# setup.py compiles what differs from what was compiled, whatever the times of the files
COMPILE = $(BIN)/python setup.py --quiet build_ext --inplace
PXDS := $(wildcard udpprobe/core/*.pxd)
$(VENV)/compiled: $(VENV)/run-ready setup.py udpprobe/_twins.py $(PXDS) $(wildcard $(PXDS:.pxd=.py))
	@$(COMPILE)
	@touch $@

.PHONY: compile
compile: $(VENV)/run-ready ## compile the core where it changed; the other verbs do so, too
	@$(COMPILE)
	@touch $(VENV)/compiled

.PHONY: demo
demo: $(VENV)/compiled ## see what udpprobe finds in small internets: visits them where this user may, else analyses captures
	@$(BIN)/udpprobe demo

.PHONY: test
# two more than the usual two cores: many tests wait for clocks
JOBS ?= 4
# in an order of our own: tests/conftest.py
PARALLEL := -n $(JOBS) --dist loadfile --no-loadscope-reorder
test: $(VENV)/ready $(VENV)/compiled ## run the tests (ARGS='-k name' for some; JOBS=0 one by one; as root also those with real kernels)
	$(BIN)/pytest $(PARALLEL) $(ARGS)
	@$(MAKE) --no-print-directory test-pure

.PHONY: test-pure
# some of the core is best seen in what is written of it
CORE_TESTS := tests/core tests/reports/test_rows_alike.py tests/reports/test_explain.py
ifdef COVERAGE
# what is compiled is measured interpreted; and since we measure, what icmpd decides, too
PURE_ICMPD := protocol registry
PURE_TESTS := $(CORE_TESTS) tests/icmpd
MEASURED := $(patsubst %,--cov=udpprobe.%,core $(PURE_ICMPD:%=icmpd.%)) --cov-branch --cov-report=
else
PURE_TESTS := $(CORE_TESTS)
endif
# 5: ARGS chose none of these
test-pure: $(VENV)/ready $(VENV)/compiled ## run the core's tests on its interpreted twin (COVERAGE=1: and fail where too little of it is tested)
	UDPPROBE_PURE=1 $(BIN)/pytest $(PARALLEL) $(MEASURED) $(PURE_TESTS) $(ARGS) || [ $$? = 5 ]
ifdef COVERAGE
	$(BIN)/coverage report --format=total --fail-under=95 --include='udpprobe/core/*'
	$(BIN)/coverage report --format=total --fail-under=100 --include='udpprobe/icmpd/*'
endif

.PHONY: fuzz
fuzz: SECONDS := 60
fuzz: export UDPPROBE_FUZZ := 1
fuzz: export UDPPROBE_FORGERIES ?= 1000000
fuzz: $(VENV)/ready $(VENV)/compiled ## test properties with random examples, ten times as many (SECONDS=60 of them spoilt captures; ARGS as above), and a million forged errors of each kind
	UDPPROBE_FUZZ_S=$(SECONDS) $(BIN)/pytest -n $(JOBS) --timeout 3600 -m 'hypothesis or forgery' $(ARGS)

.PHONY: sanitize
# A read outside of its memory, or a signed overflow (where the twins would differ), ends the process with a report, which
# -s shows. Python's own allocator would hide the former; what leaks at the end is Python's.
sanitize: SECONDS := 120
sanitize: SANITIZED := $(CURDIR)/build/sanitized
sanitize: $(VENV)/ready ## fuzz the core under AddressSanitizer and UndefinedBehaviorSanitizer (SECONDS=120)
	CFLAGS='-O1 -g -w -fno-omit-frame-pointer -fsanitize=address,undefined -fno-sanitize-recover=undefined -fno-wrapv' \
		UDPPROBE_REQUIRE_COMPILED=1 \
		$(BIN)/python setup.py --quiet build --build-base $(SANITIZED) --build-lib $(SANITIZED)/lib
	LD_PRELOAD="$$($(CC) -print-file-name=libasan.so)" ASAN_OPTIONS=detect_leaks=0 UBSAN_OPTIONS=print_stacktrace=1 \
		PYTHONMALLOC=malloc PYTHONPATH=$(SANITIZED)/lib UDPPROBE_REQUIRE_COMPILED=1 UDPPROBE_FUZZ_S=$(SECONDS) \
		UDPPROBE_PATIENCE=10 $(BIN)/pytest -q -s -p no:cacheprovider --timeout 0 tests/core tests/test_fuzz.py $(ARGS)

.PHONY: check
# pip's check comes first: the tests' packages were installed after those that run with us, maybe in their place
check: $(VENV)/ready $(VENV)/compiled ## lint, format, types, directions of imports
	$(PIP) check
	$(BIN)/ruff check
	$(BIN)/ruff format --check --quiet
	$(BIN)/mypy
	$(BIN)/mypy examples/python/*.py
	$(BIN)/lint-imports

.PHONY: bench
bench: $(VENV)/ready $(VENV)/compiled ## print the speed table: against tcpdump, tshark and others on made captures (ARGS=--quick, ARGS=--help)
	$(BIN)/python -m tests.bench $(ARGS)

.PHONY: golden
golden: $(VENV)/ready $(VENV)/compiled ## write tests/golden anew; the diff is the review
	$(BIN)/python tests/write_golden.py

.PHONY: docs
docs: man ## write schemas, options and sessions of docs and README anew, and man (as root also those in the lab)
	$(BIN)/python tests/write_docs.py

.PHONY: pictures
pictures: $(VENV)/ready $(VENV)/compiled ## draw the pictures of README anew, from the program in the lab (as root, with tmux)
	$(BIN)/python tests/write_pictures.py

.PHONY: man
man: $(VENV)/ready $(VENV)/compiled ## write the manual pages (docs/man) anew, from the texts of help; the wheel has them
	@$(BIN)/python tests/write_man.py

.PHONY: dist
dist: $(VENV)/run-ready ## build the sdist, and the wheel from it
	@rm -rf dist
	@$(BIN)/python setup.py --quiet sdist
	@$(PIP) wheel --no-build-isolation --no-deps --wheel-dir dist dist/*.tar.gz
	@ls dist

.PHONY: clean
clean: ## remove what the other verbs made
	rm -rf $(VENV) build dist udpprobe.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis .import_linter_cache .coverage htmlcov
	rm -f udpprobe/core/*.so
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
