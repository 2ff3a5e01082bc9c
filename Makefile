# From a fresh checkout: `make demo`, `make test`. Every target sets up what it
# needs (Debian packages, .venv, the build) and redoes no more than what changed.

PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
BUILD := $(CURDIR)/build
JOBS ?= $(shell nproc)
# Of the load-and-fault test, and of each fuzz target.
FAULTS_SECONDS ?= 60
FUZZ_SECONDS ?= 20
PYTEST_FLAGS ?=
SERVE_FLAGS ?=
BENCH_FLAGS ?=

SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.ONESHELL:
.SILENT:
.DEFAULT_GOAL := help
MAKEFLAGS += --no-print-directory

.PHONY: help
help: ## this list
	sed -n 's/^\([a-z-]*\):.*## /\1\t/p' $(MAKEFILE_LIST) | expand -t 14

# --- Set-up -----------------------------------------------------------------

# Python and Node may have come another way than through apt.
PYTHON_PACKAGES = $(shell $(PYTHON) -c 'import ensurepip' 2>/dev/null || echo python3-venv) \
    $(shell test -f "$$($(PYTHON) -c 'import sysconfig; print(sysconfig.get_path("include"))')/Python.h" || echo python3-dev)
NODE_PACKAGES = $(shell command -v node >/dev/null || echo nodejs) $(shell command -v npm >/dev/null || echo npm)
BUILD_PACKAGES = g++ make libnghttp2-dev libprotozero-dev libssl-dev zlib1g-dev $(PYTHON_PACKAGES)
TEST_PACKAGES = doctest-dev clang clang-format libclang-rt-14-dev nghttp2-client curl chromium prometheus \
                $(NODE_PACKAGES)

.PHONY: apt apt-test
apt: ## Debian packages that the build needs, those that are missing
	.ci/apt-install $(BUILD_PACKAGES)
apt-test: ## the same for the tests
	.ci/apt-install $(BUILD_PACKAGES) $(TEST_PACKAGES)

# What .venv holds follows from these files; the stamps carry their hash, so
# that neither a checkout nor a touch installs anything again.
DECLARED := $(shell cat pyproject.toml .ci/requirements.py .ci/constraints.txt | sha256sum | cut -c1-16)
DEMO_STAMP := $(VENV)/.demo-$(DECLARED)
DEV_STAMP := $(VENV)/.dev-$(DECLARED)

# $(call install,extra): .venv with what building and penstock[extra] need in
# one resolution, then penstock itself, editable.
define install
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or newer is needed, $(PYTHON) is " + sys.version)'
	test -x $(BIN)/pip || $(PYTHON) -m venv $(VENV)
	echo "==> installing penstock[$(1)] into $(VENV)"
	$(PYTHON) .ci/requirements.py develop $(1) | $(BIN)/pip install --quiet -c .ci/constraints.txt -r /dev/stdin
	echo "==> compiling the native core"
	$(BIN)/pip install --quiet --no-deps --no-build-isolation --editable .
	rm -f $(VENV)/.$(1)-*
	touch $@ $(if $(filter dev,$(1)),$(DEMO_STAMP))
endef
$(DEMO_STAMP): | apt
	$(call install,demo)
$(DEV_STAMP): | apt-test
	$(call install,dev)

.PHONY: build build-test
build: apt $(DEMO_STAMP) ## the environment and the native core, as the demo needs them
	$(BIN)/python setup.py --quiet build_ext --inplace
build-test: apt-test $(DEV_STAMP) ## the same, as the tests need them
	$(BIN)/python setup.py --quiet build_ext --inplace
	for package in $(wildcard tests/conformance/*/package.json tests/conformance/package.json); do
	  folder=$$(dirname $$package)
	  installed=$$folder/node_modules/.package-lock.json
	  [[ $$installed -nt $$package ]] || (cd $$folder && npm install --no-audit --no-fund --silent && touch node_modules/.package-lock.json)
	done

# --- Use --------------------------------------------------------------------

.PHONY: demo serve
demo: build ## train, export and serve a classifier, and check every answer
	$(BIN)/python examples/demo.py --repository .demo/repository
serve: build ## leave a server up on the demo's models
	$(BIN)/python examples/demo.py --repository .demo/repository --prepare-only
	exec $(BIN)/penstock serve .demo/repository $(SERVE_FLAGS)

# --- Checks -----------------------------------------------------------------

CXX_FILES = $(shell find csrc -name '*.h' -o -name '*.cc')
PYTHON_FILES := src tests examples benchmarks csrc .ci setup.py build_protos.py

.PHONY: test lint format typecheck unit pytest conformance
test: lint unit pytest ## lint, then the C++ and the Python tests
lint: build-test typecheck ## ruff, mypy --strict, clang-format
	$(BIN)/ruff check $(wildcard $(PYTHON_FILES))
	$(BIN)/ruff format --check $(wildcard $(PYTHON_FILES))
	clang-format --dry-run -Werror $(CXX_FILES)
typecheck: build-test ## mypy --strict src/penstock
	$(BIN)/mypy --strict src/penstock
format: build-test ## rewrite the sources as lint wants them
	$(BIN)/ruff check --fix $(wildcard $(PYTHON_FILES))
	$(BIN)/ruff format $(wildcard $(PYTHON_FILES))
	clang-format -i $(CXX_FILES)
unit: apt-test ## the C++ tests
	$(MAKE) -j$(JOBS) -C csrc test BUILD=$(BUILD)/csrc
pytest: build-test ## the Python tests; PYTEST_FLAGS="-k batching"
	$(BIN)/pytest --faults-seconds $(FAULTS_SECONDS) $(PYTEST_FLAGS)
conformance: build-test ## the wire tests alone; ADDRESS=host:port for another server
	$(BIN)/pytest tests/conformance $(if $(ADDRESS),--address $(ADDRESS)) $(PYTEST_FLAGS)

.PHONY: sanitize fuzz
# ThreadSanitizer knows no address space randomised as far as new kernels do.
sanitize: apt-test ## the C++ tests under ASan+UBSan, then TSan
	$(MAKE) -j$(JOBS) -C csrc test BUILD=$(BUILD)/csrc SANITIZE=address,undefined
	fixed=$$(setarch --addr-no-randomize true 2>/dev/null && echo setarch --addr-no-randomize || true)
	$$fixed $(MAKE) -j$(JOBS) -C csrc test BUILD=$(BUILD)/csrc SANITIZE=thread
fuzz: apt-test ## each fuzz target for FUZZ_SECONDS, from the corpus kept here
	$(MAKE) -j$(JOBS) -C csrc fuzz BUILD=$(BUILD)/csrc
	for source in csrc/fuzz/*.cc; do
	  name=$$(basename $$source .cc)
	  grown=$(BUILD)/fuzz/$$name
	  mkdir -p $$grown
	  echo "==> fuzzing $$name for $(FUZZ_SECONDS) s"
	  $(BUILD)/csrc/fuzz/$$name -max_total_time=$(FUZZ_SECONDS) -timeout=10 -rss_limit_mb=2048 \
	    -print_final_stats=1 -artifact_prefix=$$grown- $$grown csrc/fuzz/corpus/$${name%_fuzz} >$$grown.log 2>&1 \
	    || (cat $$grown.log; exit 1)
	  grep --max-count=1 stat::number_of_executed_units $$grown.log
	done

.PHONY: bench
bench: build-test ## the figures of benchmarks/README.md; BENCH="cost latency" for some
	$(MAKE) -j$(JOBS) -C csrc bench BUILD=$(BUILD)/csrc
	$(BIN)/python -m benchmarks $(BENCH)

# --- Packages ---------------------------------------------------------------

PACKAGED = $(shell find csrc protos src -type f -not -name '*.so' -not -name '*.pyc' -not -name '*.binpb') \
           setup.py build_protos.py pyproject.toml MANIFEST.in README.md
# The same source compiled in another folder is the same object.
export CCACHE_NOHASHDIR := 1

.PHONY: dist test-oldest test-newest
dist: dist/.stamp ## sdist and wheel
dist/.stamp: $(PACKAGED) | build-test
	rm -rf dist
	$(BIN)/python -m build --no-isolation
	touch $@

# Both run the suite against the installed package, not against this checkout.
test-oldest: dist/.stamp ## the sdist with every dependency at its lower bound
	venv=$(VENV)-oldest
	stamp=$$venv/.ready-$(DECLARED)
	if [[ ! -e $$stamp ]]; then
	  $(PYTHON) -m venv --clear $$venv
	  $(PYTHON) .ci/requirements.py oldest dev | $$venv/bin/pip install --quiet -r /dev/stdin
	  touch $$stamp
	fi
	$$venv/bin/pip install --quiet --force-reinstall --no-deps --no-build-isolation dist/penstock-*.tar.gz
	$$venv/bin/pytest --faults-seconds 5 $(PYTEST_FLAGS)
test-newest: dist/.stamp ## the wheel with the newest release of every dependency
	venv=$(VENV)-newest
	stamp=$$venv/.ready-$(DECLARED)
	if [[ ! -e $$stamp ]]; then
	  $(PYTHON) -m venv --clear $$venv
	  $(PYTHON) .ci/requirements.py develop dev | $$venv/bin/pip install --quiet -c .ci/constraints.txt -r /dev/stdin
	  # Where a client in dev holds a dependency of ours back, it must not.
	  $(PYTHON) .ci/requirements.py names cpu | $$venv/bin/pip install --quiet --upgrade --no-deps -r /dev/stdin
	  touch $$stamp
	fi
	$$venv/bin/pip install --quiet --force-reinstall --no-deps dist/penstock-*.whl
	$$venv/bin/pip list
	$$venv/bin/pytest --faults-seconds 5 $(PYTEST_FLAGS)

.PHONY: clean
clean: ## everything made here
	rm -rf build dist .demo $(VENV) $(VENV)-oldest $(VENV)-newest src/*.egg-info src/penstock/protos.binpb
	rm -f src/penstock/_native/*.so
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
