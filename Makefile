# PropMubi's commands. `make` alone lists them. Each works in a fresh clone: .venv is made and kept up to date on the way.
BIN := .venv/bin
# Modules are compiled once and not at each of a hundred starts, whatever our caller's environment says.
unexport PYTHONDONTWRITEBYTECODE
# Every member's tests, or those of one: make test svc=crm
SERVICES := auth agents crm projects
TESTS := $(if $(svc),$(if $(filter $(svc),$(SERVICES)),services/$(svc),$(svc)))
CODE := chassis gateway devstack services protos/generate.py $(wildcard tests bench deploy)
PACKAGES := chassis gateway devstack $(SERVICES:=_service)
LOCK := UV_CUSTOM_COMPILE_COMMAND="make lock" $(BIN)/uv pip compile --quiet --universal --python-version 3.11 \
	--generate-hashes --annotation-style line --no-emit-package propmubi-protos --no-emit-package propmubi-chassis \
	protos/pyproject.toml chassis/pyproject.toml gateway/pyproject.toml $(SERVICES:%=services/%/pyproject.toml)

.DEFAULT_GOAL := help
.PHONY: help setup up demo deploy test check check-python check-protos check-contract check-answers check-deploy check-alerts check-dashboards check-typescript fmt protos manifests dashboards rotate-keys migrate bench bench-search bench-alerts bench-files bench-faults compose-env compose-up compose-smoke drill-restore drill-pgbouncer lock hooks clean

##@ Run
up: setup ## Start everything: Postgres, Valkey, the four services and the gateway
	@exec $(BIN)/python -m devstack up

demo: setup ## Drive the journey from sign-in to a booked flat against the running platform
	@exec $(BIN)/python -m devstack demo

rotate-keys: setup ## Replace the keys that the running platform signs access tokens with [leaked=1]
	@exec $(BIN)/python -m devstack rotate-keys $(if $(leaked),--leaked)

migrate: setup ## Migrate the running platform's database, or DATABASE_URL's [svc=crm] [down=-1]
	@exec $(BIN)/python -m devstack migrate $(svc) $(if $(down),--down=$(down))

bench: setup ## Measure the platform beside the monolith it replaces, and GETs in a login storm
	@exec $(BIN)/python -m bench $(args)

bench-search: setup ## Measure search at 200,000 and 1,200,000 listings [size=200000]
	@exec $(BIN)/python -m bench.search $(if $(size),--size $(size))

bench-alerts: setup ## Measure how soon a listing reaches those whose saved searches want it, among 100,000 of them
	@exec $(BIN)/python -m bench.alerts

bench-files: setup ## Measure imports and exports of listings, and what they cost in memory [args=--quick]
	@exec $(BIN)/python -m bench.files $(args)

deploy: ## Migrate and roll out in the cluster that kubectl reaches [overlay=staging|production]
	@exec deploy/k8s/deploy $(overlay)

compose-env: setup ## Make the secrets of deploy/compose, once
	@exec $(BIN)/python -m devstack compose-env

compose-up: setup ## Build and start deploy/compose, and wait until it serves (needs Docker)
	@exec $(BIN)/python -m devstack compose-up

##@ Prove
test: setup ## Every test, or those of one member [svc=auth|agents|crm|projects|gateway|chassis|devstack|tests] [args="-k lead"]
	@exec $(BIN)/pytest -n 3 $(TESTS) $(args)

bench-faults: setup ## Replace every process and restart Postgres at 200 requests a second, and say what callers noticed
	@exec env CHAOS_PER_SECOND=200 CHAOS_ROLLS=4 CHAOS_AT_ONCE=1 $(BIN)/pytest -q -s -o faulthandler_timeout=600 tests/chaos/test_rolling.py tests/chaos/test_postgres.py

drill-restore: setup ## Take a running platform's Postgres back to a moment before now, then to a dump, and see that it goes on
	@$(BIN)/python -m deploy.drills.restore
	@exec $(BIN)/python -m deploy.drills.dump

drill-pgbouncer: setup ## Run the platform behind PgBouncer in transaction mode, with a crowd (needs PgBouncer)
	@exec $(BIN)/python -m deploy.drills.pgbouncer

compose-smoke: setup ## Build the images, run deploy/compose, break it and see that nothing is lost (needs Docker) [args="prometheus alertmanager"]
	@exec $(BIN)/python -m deploy.compose.smoke $(args)

check: check-python check-protos check-contract check-typescript check-answers ## Everything CI checks besides the tests
	@echo "All checks passed."

check-python: setup ## Format, lint, types and layers
	$(BIN)/black --quiet --check --diff $(CODE)
	$(BIN)/ruff check --quiet $(CODE)
	$(BIN)/mypy $(PACKAGES:%=--package %)
	$(BIN)/mypy protos/generate.py $(shell find $(wildcard */tests services/*/tests tests bench deploy) -name '*.py' -not -path '*/node_modules/*')
	$(BIN)/lint-imports

check-protos: setup ## The protos' style, and that protos/gen is what they say
	$(BIN)/buf format --diff --exit-code protos
	$(BIN)/python protos/generate.py --describe | $(BIN)/buf lint --config protos/buf.yaml "-#format=binpb"
	$(BIN)/python protos/generate.py --check

check-contract: setup ## The committed OpenAPI is what the protos say, and is valid
	$(BIN)/python -m gateway.openapi --check
	$(BIN)/openapi-spec-validator --subschema-errors all tests/contract/openapi.json

check-breaking: setup ## Nothing since another commit breaks clients, unless a commit says `Breaking: why` [base=origin/main]
	@exec $(BIN)/python tests/contract/breaking.py $(or $(base),origin/main)

check-answers: setup ## Whatever is sent, a running platform answers as OpenAPI says it may
	$(BIN)/pytest -q tests/contract/fuzz.py

check-deploy: setup ## The Kubernetes manifests, rendered and checked, and the workflows (needs kubectl 1.21 or newer, Node)
	@command -v npm >/dev/null || { echo "make check-deploy needs Node 20 or newer with npm, whose packages know the custom resources."; exit 1; }
	$(BIN)/pytest deploy $(args)
	cd deploy/check && npm ci --silent --no-audit --no-fund && npm run --silent check
	$(BIN)/zizmor --offline --quiet --no-progress .github

check-alerts: ## The alert rules and their routes, checked and unit-tested (needs Prometheus and Alertmanager)
	@command -v promtool >/dev/null || { echo "make check-alerts needs promtool, which comes with Prometheus (Debian: apt-get install prometheus)."; exit 1; }
	@command -v amtool >/dev/null || { echo "make check-alerts needs amtool, which comes with Alertmanager (Debian: apt-get install prometheus-alertmanager)."; exit 1; }
	promtool check config deploy/observability/prometheus/prometheus.yml
	amtool check-config deploy/observability/alertmanager/alertmanager.yml
	promtool test rules deploy/observability/prometheus/tests/*.yml

check-dashboards: setup ## Each query of dashboards and alerts has an answer from a live platform under load (needs Prometheus)
	@exec $(BIN)/python deploy/observability/prove.py

check-typescript: ## `tsc --strict` accepts OpenAPI's types, and the page in docs/signing-in.md that uses them (needs Node)
	@command -v npm >/dev/null || { echo "make check needs Node 20 or newer with npm, to compile the types a frontend would use."; exit 1; }
	cd tests/contract/typescript && npm ci --silent --no-audit --no-fund && npm run --silent check

##@ Write
fmt: setup ## Format Python and protos, and mend what Ruff can mend
	$(BIN)/ruff check --fix --quiet $(CODE) || true
	$(BIN)/black --quiet $(CODE)
	$(BIN)/buf format --write protos

protos: setup ## Generate protos/gen from the protos, and the gateway's snapshots from both
	$(BIN)/python protos/generate.py
	$(BIN)/python -m gateway.contract --write
	$(BIN)/python -m gateway.openapi --write
	$(BIN)/python -m gateway.contract --write

dashboards: setup ## Write the Grafana dashboards from their short source
	$(BIN)/python deploy/observability/grafana/dashboards.py

manifests: setup ## Generate the manifest of Prometheus' rules from deploy/observability
	$(BIN)/python deploy/k8s/manifests.py rules

lock: setup ## Compile both lock files from the members' pyproject.toml [args="--upgrade-package grpcio"]
	$(LOCK) -o requirements.lock $(args)
	$(LOCK) -o requirements-dev.lock -c requirements.lock devstack/pyproject.toml --group pyproject.toml:dev $(args)
	@$(MAKE) --no-print-directory setup

hooks: setup ## Check each commit's files before it is made
	$(BIN)/pre-commit install

##@ Keep house
setup: ## Make .venv hold exactly what the lock says (every target does this first)
	@for python in "$${PYTHON:-python3}" python3.14 python3.13 python3.12 python3.11; do \
		"$$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && exec "$$python" devstack/bootstrap.py; \
	done; exec "$${PYTHON:-python3}" devstack/bootstrap.py

clean: ## Remove caches and, with var/, all local data and secrets
	@if [ -x $(BIN)/python ]; then $(BIN)/python -m devstack clean; fi
	rm -rf .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache tests/contract/typescript/node_modules deploy/check/node_modules

help: ## List these commands
	@awk 'BEGIN { FS = ":.*## " } /^##@/ { printf "\n\033[1m%s\033[0m\n", substr($$0, 5) } \
		/^[a-z-]+:.*## / { printf "  \033[36m%-17s\033[0m %s\n", $$1, $$2 }' Makefile
