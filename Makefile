# Two commands set everything up on a fresh machine: `make demo` and `make test`.
GO       ?= go
VERSION  ?= $(shell git describe --tags --always --dirty 2>/dev/null || echo 0.1.0-dev)
LDFLAGS  := -s -w -X sluice.dev/sluice/internal/cli.version=$(VERSION)
MODULES  := . sdk sdk/openfeature

.PHONY: help build web ui demo test test-race test-browser test-clients test-peers proto proto-check postgres sim mutants model pictures bench soak lint fmt clean check-go check-cc check-node

help: ## list the targets
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 14

check-go:
	@command -v $(GO) >/dev/null || { echo "Go is missing: install Go 1.26 or newer (https://go.dev/dl)"; exit 1; }

check-cc:
	@command -v cc >/dev/null || { echo "a C compiler is missing (the race detector needs one): apt-get install gcc"; exit 1; }

check-node:
	@node -e 'const [a, b] = process.versions.node.split(".").map(Number); process.exit(a > 20 || (a === 20 && b >= 19) ? 0 : 1)' 2>/dev/null || { echo "Node 20.19 or newer is missing: the browser interface cannot be built (https://nodejs.org)"; exit 1; }

UI     := internal/webui/dist/index.html
UI_SRC := $(shell find web/src web/public -type f 2>/dev/null) web/index.html web/vite.config.ts web/tsconfig.json

web: check-node $(UI) ## build the browser interface into internal/webui/dist

web/node_modules/.package-lock.json: web/package-lock.json
	cd web && npm ci --no-fund --no-audit
	@touch $@

$(UI): web/node_modules/.package-lock.json $(UI_SRC)
	cd web && npm run --silent build
	@touch internal/webui/dist/.gitkeep

ui: # the interface where Node is there; a binary without it serves a page that says how to build it
	@if $(MAKE) -s check-node; then $(MAKE) -s web; else echo "continuing without it"; fi

build: check-go ui ## build bin/sluice, one static binary
	CGO_ENABLED=0 $(GO) build -trimpath -ldflags '$(LDFLAGS)' -o bin/sluice ./cmd/sluice

demo: build ## run the main job on real data: a bad feed is caught and taken back, with proof
	./bin/sluice demo

# Pure packages start no goroutine (arch_test.go), so there is nothing to race in them: they run without the detector, and with
# it the long simulations would take an hour. Everything else runs with it.
PURE := . $(addprefix ./internal/,audit stat profile anomaly judge bench plan tune policy revision fleet rollout engine report vtime sim dst demo/flights)

# PostgreSQL for the tests that share a store between servers: Debian's, installed when absent and root. Without it they skip
# with one line each, and fail where CI is set.
postgres:
	@have() { ls /usr/lib/postgresql/*/bin/initdb >/dev/null 2>&1 || command -v initdb >/dev/null; }; \
	if ! have && test "$$(id -u)" = 0 && command -v apt-get >/dev/null; then { apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends postgresql; } >/dev/null 2>&1 || true; fi; \
	have || { echo "SKIPPED: tests on PostgreSQL, there is none here (apt-get install postgresql)"; test -z "$$CI"; }

test: check-go check-cc lint postgres ## every test; the race detector is on wherever there are goroutines
	cd sdk && $(GO) test -race -timeout 10m . ./evidence && $(GO) test -timeout 10m ./...
	cd sdk/openfeature && $(GO) test -race -timeout 10m ./...
	$(GO) test -timeout 15m $(PURE)
	$(GO) test -race -timeout 15m $$($(GO) list ./... | grep -vxF "$$($(GO) list $(PURE))")
	@if command -v python3 >/dev/null; then cd python && python3 -m unittest discover -s tests; else echo "python3 is missing: the Python vectors are not checked (apt-get install python3)"; exit 1; fi
	@$(MAKE) -s test-browser
	@$(MAKE) -s test-clients

CLIENTS := test/clients/node_modules/.package-lock.json

$(CLIENTS): test/clients/package-lock.json
	cd test/clients && npm ci --no-fund --no-audit --silent
	@touch $@

test-clients: build ## other people's clients, unmodified, against the binary: OFREP, flagd; and flagd's evaluator as the oracle
	@skip() { echo "SKIPPED: client tests, $$1"; test -z "$$CI"; exit; }; \
	$(MAKE) -s check-node || skip "no Node 20.19"; \
	set -e; $(MAKE) -s $(CLIENTS) proto-check; \
	SLUICE_CLIENTS=1 $(GO) test -count=1 ./test/clients; \
	cd test/clients && SLUICE_BIN=$(CURDIR)/bin/sluice node --test --test-concurrency=1 --test-reporter=spec *.test.mjs

proto: $(CLIENTS) ## generate the code of api/flagd
	cd api/flagd && ../../test/clients/node_modules/.bin/buf generate

proto-check: $(CLIENTS) # generated code must be fresh
	@set -e; dir=$$(mktemp -d); trap "rm -rf $$dir" EXIT; cp -r api/flagd/. $$dir; cd $$dir; \
	find . -name '*.pb.go' -delete; ln -s $(CURDIR)/go.mod $(CURDIR)/go.sum .; \
	sed -i 's#go, run#go, run, -C, $(CURDIR)#' buf.gen.yaml; $(CURDIR)/test/clients/node_modules/.bin/buf generate; \
	for f in $$(find . -name '*.pb.go'); do cmp $$f $(CURDIR)/api/flagd/$$f || { echo "run: make proto"; exit 1; }; done

test-browser: build ## the demo seen through a real browser (Debian's Chromium, installed when absent and root)
	@skip() { echo "SKIPPED: browser tests, $$1"; test -z "$$CI"; exit; }; have() { command -v chromium >/dev/null || command -v chromium-browser >/dev/null; }; \
	$(MAKE) -s check-node || skip "no Node 20.19"; \
	if ! have && test "$$(id -u)" = 0 && command -v apt-get >/dev/null; then { apt-get update -qq && apt-get install -y -qq chromium; } >/dev/null 2>&1 || true; fi; \
	have || skip "no Chromium here (apt-get install chromium)"; \
	set -e; \
	(cd web && npm run --silent api:check); \
	test -d test/browser/node_modules/playwright-core || (cd test/browser && npm ci --no-fund --no-audit); \
	cd test/browser && SLUICE_BIN=$(CURDIR)/bin/sluice node --test --test-concurrency=1 --test-reporter=spec *.test.mjs

PEERS_VENV := bin/peers-venv

test-peers: build check-go ## beside other engines and OpenFeature's own clients: peers from the Go proxy, openfeature-sdk from PyPI
	cd test/peers && $(GO) vet ./... && $(GO) test -count=1 -timeout 10m -v . | grep -v '^=== '
	@skip() { echo "SKIPPED: OpenFeature's Python clients, $$1"; test -z "$$CI"; exit; }; \
	command -v python3 >/dev/null || skip "no python3 here (apt-get install python3 python3-venv)"; \
	test -x $(PEERS_VENV)/bin/pip || python3 -m venv $(PEERS_VENV) >/dev/null 2>&1 || skip "python3 -m venv does not work (apt-get install python3-venv)"; \
	$(PEERS_VENV)/bin/pip install -q --disable-pip-version-check -r test/peers/python/requirements.txt || skip "PyPI does not answer"; \
	set -e; \
	SLUICE_BIN=$(CURDIR)/bin/sluice $(PEERS_VENV)/bin/python -m unittest discover -s test/peers/python; \
	cd python && ../$(PEERS_VENV)/bin/python -m unittest discover -s tests -p 'test_openfeature.py'

SEEDS ?= 2000
FROM  ?= 1

sim: check-go ## random lives of the control loop under virtual time: make sim SEEDS=2000 FROM=1
	@$(GO) run ./cmd/sluice bench sim --from $(FROM) --seeds $(SEEDS)

mutants: check-go ## one rule switched off at a time, each noticed by its seed (docs/verification.md)
	$(GO) test -tags mutant -timeout 20m -count=1 -run Mutant ./internal/dst
	cd sdk && $(GO) test -tags mutant -timeout 20m -count=1 -run Mutant ./slp

model: check-cc ## the protocol's models, exhaustive within small bounds (Spin, installed when absent and root)
	@have() { command -v spin >/dev/null; }; \
	if ! have && test "$$(id -u)" = 0 && command -v apt-get >/dev/null; then { apt-get update -qq && apt-get install -y -qq --no-install-recommends spin; } >/dev/null 2>&1 || true; fi; \
	have || { echo "spin is missing: apt-get install spin (https://spinroot.com)"; exit 1; }; \
	sh models/check.sh pins

pictures: build ## the README's pictures, made by the browser test
	cd test/browser && SLUICE_BIN=$(CURDIR)/bin/sluice SLUICE_SHOTS=$(CURDIR)/bin/shots node --test story.test.mjs
	mkdir -p docs/img && cp bin/shots/2-rollout-light.png docs/img/rollback-light.png && cp bin/shots/2-rollout-dark.png docs/img/rollback-dark.png

bench: check-go ## the benchmarks behind docs/benchmarks.md
	$(GO) test -run '^$$' -bench . -benchmem ./internal/... && cd sdk && $(GO) test -run '^$$' -bench . -benchmem ./...

soak: check-go postgres ## longer simulations (tag soak)
	cd sdk && $(GO) test -tags soak -timeout 30m -run Soak -v .
	$(GO) test -tags soak -timeout 3h -run Soak -v ./internal/...

lint: check-go ## formatting, vet, staticcheck
	@bad=$$(gofmt -l $$(git ls-files '*.go')); test -z "$$bad" || { echo "not formatted (make fmt):"; echo "$$bad"; exit 1; }
	@for m in $(MODULES); do (cd $$m && $(GO) vet ./...) || exit 1; done
	$(GO) tool -modfile=tools/lint/go.mod staticcheck ./...

fmt: check-go ## format
	gofmt -w $$(git ls-files '*.go')

clean: ## remove what was built
	rm -rf bin web/node_modules test/browser/node_modules test/clients/node_modules
	find internal/webui/dist -mindepth 1 ! -name .gitkeep -delete
