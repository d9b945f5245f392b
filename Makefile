# One command for everything; `make` alone lists the targets.
# Python packages live in .venv, system packages are installed only when missing.

SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DELETE_ON_ERROR:
VENV := .venv
BIN := $(VENV)/bin
# Installs and compiles what is missing or has changed; see there. CC and PYTHON name another
# compiler and another Python.
PREPARE := tools/prepare

.DEFAULT_GOAL := help
.PHONY: help install build run test lint format types check debug annotate bench bench-scale bench-micro \
	test-long test-cluster test-chart test-http2 test-sanitize fresh docs golden image clean

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-14s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

install: ## install what is missing: system packages by apt, Python packages in .venv
	@$(PREPARE) tools

build: ## compile what has changed, in place
	@$(PREPARE) test

run: ## start fastproxy on :8000 with the example routes and example backends
	@$(PREPARE) run
	@exec $(BIN)/python examples/run.py $(ARGS)

test: build ## run the default test suite
	tools/test $(BIN)/python -m pytest -q -- $(ARGS)

lint: install ## formatting, lint and import contracts
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/lint-imports --no-cache
	git ls-files '*.pyx' '*.pxd' | PATH="$(abspath $(BIN)):$$PATH" xargs --no-run-if-empty cython-lint

format: install ## format the source
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix --exit-zero .

types: install ## mypy --strict
	$(BIN)/mypy

check: lint types test ## what has to pass before a push

# The variants are built in a copy, so that the release build in place stays as it is.
build/debug/.copied build/sanitize/.copied: install FORCE
	rm -rf $(@D)/tests && mkdir -p $(@D)
	git ls-files --cached --others --exclude-standard | \
		tar --create --ignore-failed-read --files-from=- 2>/dev/null | tar --extract --directory $(@D)
FORCE:

debug: build/debug/.copied ## build with all checks and assertions on, run the suite with it
	cd build/debug && FASTPROXY_BUILD=debug FASTPROXY_PROBES=yes $(abspath $(BIN))/python setup.py --quiet \
		build_ext --inplace --parallel $(shell nproc)
	cd build/debug && tools/test $(abspath $(BIN))/python -m pytest -q -- $(ARGS)

# Python itself is not instrumented, so the runtime has to be loaded first; leaks are not looked
# for because the interpreter never frees everything at exit. Workers are started anew when they
# fail, which a test may not notice, so findings go to files.
SANITIZER = LD_PRELOAD="$$(gcc -print-file-name=libasan.so)" PYTHONMALLOC=malloc FASTPROXY_FUZZ=3 \
	ASAN_OPTIONS=detect_leaks=0:handle_sigill=1:allocator_may_return_null=1:log_path=$(REPORTS)/report
REPORTS = $(abspath build/sanitize-reports)

test-sanitize: build/sanitize/.copied ## run the suite under AddressSanitizer and UBSan
	cd build/sanitize && FASTPROXY_BUILD=sanitize FASTPROXY_PROBES=yes \
		$(abspath $(BIN))/python setup.py --quiet build_ext --inplace --parallel $(shell nproc)
	rm -rf $(REPORTS) && mkdir -p $(REPORTS)
	cd build/sanitize && tools/test env $(SANITIZER) $(abspath $(BIN))/python -m pytest -q --timeout 600 \
		-p no:faulthandler -- $(ARGS)
	@! grep -l . $(REPORTS)/* 2>/dev/null || { echo "findings of children, see above"; exit 1; }

test-long: build ## repeat the fault tests as often as http-safety.md 7 says; figures to build/long.json
	FASTPROXY_TEST_LONG=1 FASTPROXY_TEST_FIGURES=$(abspath build/long.json) \
		$(BIN)/python -m pytest -q -m long --durations=0 $(ARGS)

test-cluster: build ## run the tests that need a real kube-apiserver, built once if need be
	$(BIN)/python -m tests.support.kubernetes_binaries
	$(BIN)/python -m pytest -q -m cluster $(ARGS)

test-chart: build ## render the Helm chart; helm and kustomize are built once if need be
	$(BIN)/python -m tests.support.go_programs helm kustomize
	$(BIN)/python -m pytest -q -m chart $(ARGS)

test-http2: build ## h2spec against the proxy; it is built once if need be
	$(BIN)/python -m tests.support.go_programs h2spec
	$(BIN)/python -m pytest -q -m http2 $(ARGS)

fresh: ## both commands of the README in a fresh Debian 12 and 13 (root, debootstrap); about 40 minutes
	set -e; for suite in bookworm trixie; do \
		tools/fresh $$suite bash -ec 'tools/fresh-start; make test'; done

annotate: install ## annotated C of every compiled module, in build/annotate
	mkdir -p build/annotate
	for module in $$(git ls-files '*.pyx'); do \
		$(BIN)/cython -3 --annotate -o build/annotate/$$(basename $$module .pyx).c $$module; done
	@ls build/annotate/*.html

bench: build ## measure fastproxy beside nginx, HAProxy and Envoy (needs wrk and the proxies)
	$(BIN)/python -m bench.macro $(ARGS)

bench-scale: build ## measure the control path with 5,000 Ingresses (ARGS='--server real')
	$(BIN)/python -m bench.scale $(ARGS)

bench-micro: build ## time match, pick, head parse and head write
	$(BIN)/python -m pytest -q bench/micro --benchmark-only $(ARGS)

docs: build ## write the generated documentation anew
	$(BIN)/python -m fastproxy.features > docs/annotations.md
	$(BIN)/python -m fastproxy.model.findings > docs/findings.md
	$(BIN)/python -m fastproxy.settings.reference > docs/settings.md

golden: build ## rewrite what tests/cases expect; read the difference before you commit it
	$(BIN)/python -m pytest -q tests/controller/test_cases.py --golden

image: ## build the container image
	$(if $(shell command -v docker),docker build,buildah build) --tag fastproxy:latest .

clean: ## remove everything that was built or installed
	rm -rf $(VENV) build dist *.egg-info .cache .mypy_cache .pytest_cache .ruff_cache .hypothesis .benchmarks
	find fastproxy controller -name '*.so' -delete
	git ls-files '*.pyx' | sed 's/pyx$$/c/' | xargs rm -f
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
