# Everything runs in .venv, made from requirements.lock (pinned versions and hashes).
VENV := .venv
BIN := $(VENV)/bin
SEED ?= 1
export DAGSTER_HOME := $(CURDIR)/.dagster_home
export PATH := $(CURDIR)/$(BIN):$(PATH)

.PHONY: help demo dev test audit test-hostile test-faults test-long test-s3 test-cluster test-ui test-soak lint format bench bench-quick lock clean

help:  ## What there is
	@grep -E '^[a-z0-9-]+:.*##' $(MAKEFILE_LIST) | sed 's/:.*##/\t/'

$(VENV)/ready: requirements.lock requirements-uv.lock pyproject.toml
	@.ci/environment $(VENV) --require-hashes -r requirements.lock -- --no-deps --no-build-isolation -e .
	@# What every process imports is compiled once; all of it (UV_COMPILE_BYTECODE=1) takes longer than the rest together.
	@env -u PYTHONDONTWRITEBYTECODE $(BIN)/python -c 'import dagster._daemon.cli, dagster_webserver.cli, weather_backfill.definitions'
	@touch $@

demo: $(VENV)/ready  ## Simulate two tenants, backfill them, show the result
	$(BIN)/weather-backfill demo

dev: $(VENV)/ready  ## Webserver and daemon on the demo data
	$(BIN)/weather-backfill dev

test: $(VENV)/ready  ## The whole suite
	$(BIN)/python -m pytest -q -n 4 --maxschedchunk 1 --durations 20 weather_backfill_tests

test-long: $(VENV)/ready .policy-venv/ready  ## Minutes of a real daemon each: sixteen tenants by themselves, the next day on a faked clock (Debian, root)
	ls /usr/lib/*/faketime/libfaketime.so.1 > /dev/null 2>&1 || (apt-get update -qq && apt-get install -y -qq libfaketime) > /dev/null
	$(BIN)/python -m pytest -q -m long -n 2 --maxschedchunk 1 --ignore weather_backfill_tests/faults weather_backfill_tests

test-s3: $(VENV)/ready  ## The tests that use S3, against a throw-away Ceph object gateway (Debian, root)
	.ci/radosgw $(BIN)/python -m pytest -q -n 2 -k s3

test-cluster: $(VENV)/ready  ## Three Ray workers on hosts of their own, PostgreSQL and radosgw; hosts die (Debian, root; 46 minutes)
	command -v postgres /usr/lib/postgresql/*/bin/postgres > /dev/null || (apt-get update -qq && apt-get install -y -qq postgresql) > /dev/null
	RADOSGW_ADDRESS=10.77.0.1 .ci/namespaces 3 .ci/radosgw $(BIN)/python -m pytest -s -q weather_backfill_tests/cluster

test-ui: $(VENV)/ready  ## Dagster's pages clicked through in Chromium (Debian, root; WEATHER_UI_SCREENSHOTS=docs keeps pictures)
	command -v chromium > /dev/null || (apt-get update -qq && apt-get install -y -qq --no-install-recommends chromium) > /dev/null
	$(BIN)/python -m pytest -q -m ui weather_backfill_tests/ui

test-hostile: $(VENV)/ready  ## 100,000 damaged inputs for every parser, property tests at length, two writers of a day (15 minutes)
	$(BIN)/python -m weather_backfill_tests.hostile
	WEATHER_TEST_EXAMPLES=20 $(BIN)/python -m pytest -q -m hypothesis -n 2 --timeout 900 weather_backfill_tests
	WEATHER_TWO_WRITERS_ROUNDS=100 $(BIN)/python -m pytest -q --timeout 900 weather_backfill_tests/lake/test_two_writers.py

test-faults: $(VENV)/ready  ## Each fault at each point of the path, then ten minutes of random ones by SEED (Debian, root; 50 minutes)
	rm -rf build/faults
	failed=0; \
	$(BIN)/python -m pytest -q -m long -n 4 --maxschedchunk 1 weather_backfill_tests/faults || failed=1; \
	$(BIN)/python -m weather_backfill_tests.faults || failed=1; \
	$(BIN)/python -m weather_backfill_tests.faults --seconds 600 --seed $(SEED) || failed=1; \
	exit $$failed

audit: .audit-venv/ready  ## Known vulnerabilities of what the lock pins (needs the internet)
	.audit-venv/bin/pip-audit --strict --require-hashes --disable-pip --progress-spinner off -r requirements.lock

.policy-venv/ready:
	@.ci/environment .policy-venv 'checkov==3.3.30'
	@touch $@

.audit-venv/ready:
	@.ci/environment .audit-venv 'pip-audit>=2.9,<3'
	@touch $@

lint: $(VENV)/ready  ## Ruff, the type checker, and the directions of imports
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports --no-cache

test-soak: $(VENV)/ready  ## 24 days of operation on a faked clock: leaks, gaps, audit (Debian, root; 45 minutes, SOAK="--days 3" is quick)
	ls /usr/lib/*/faketime/libfaketime.so.1 > /dev/null 2>&1 || (apt-get update -qq && apt-get install -y -qq libfaketime) > /dev/null
	$(BIN)/python -m weather_backfill_tests.soak $(SOAK)

bench: $(VENV)/ready .bench-venv/ready  ## Speed and memory against the obvious ways (50 minutes on two idle cores; docs/benchmarks.md)
	-$(BIN)/python -m weather_backfill_tests.bench
	$(BIN)/python -m weather_backfill_tests.bench report

bench-quick: $(VENV)/ready .bench-venv/ready  ## The same with small inputs, to see that it works (minutes)
	-$(BIN)/python -m weather_backfill_tests.bench --quick

.bench-venv/ready: weather_backfill_tests/bench/peers.txt
	@UV_COMPILE_BYTECODE=1 .ci/environment .bench-venv -r $<
	@touch $@

format: $(VENV)/ready
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

COMPILE := .ci/uv $(VENV) pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-emit-index-url \
	--no-annotate --no-strip-extras

lock: $(VENV)/ready  ## Pin what pyproject.toml allows, with hashes and without host names; what is deployed in a lock of its own
	$(COMPILE) --all-extras --group dev pyproject.toml -o requirements.lock
	$(COMPILE) --all-extras --group build --constraints requirements.lock pyproject.toml -o requirements-deploy.lock
	$(COMPILE) --only-binary :all: --group uv -o requirements-uv.lock

clean:
	rm -rf $(VENV) .bench-venv .audit-venv .policy-venv .demo .dagster_home build
