# Two commands set everything up on a fresh machine: `make demo` and `make test`.
GO       ?= go
VERSION  ?= $(shell git describe --tags --always --dirty 2>/dev/null || echo 0.1.0-dev)
LDFLAGS  := -s -w -X sluice.dev/sluice/internal/cli.version=$(VERSION)
MODULES  := . sdk

.PHONY: help build demo test test-race bench soak lint fmt clean check-go check-cc

help: ## list the targets
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 14

check-go:
	@command -v $(GO) >/dev/null || { echo "Go is missing: install Go 1.26 or newer (https://go.dev/dl)"; exit 1; }

check-cc:
	@command -v cc >/dev/null || { echo "a C compiler is missing (the race detector needs one): apt-get install gcc"; exit 1; }

build: check-go ## build bin/sluice, one static binary
	CGO_ENABLED=0 $(GO) build -trimpath -ldflags '$(LDFLAGS)' -o bin/sluice ./cmd/sluice

demo: build ## run the main job on real data: a bad feed is caught and taken back, with proof
	./bin/sluice demo

test: check-go check-cc lint ## every test, with the race detector
	cd sdk && $(GO) test -race -timeout 10m ./...
	$(GO) test -race -timeout 20m ./...
	$(GO) test -timeout 5m -run 'Alloc' ./... && cd sdk && $(GO) test -timeout 5m -run 'Alloc' ./...
	@if command -v python3 >/dev/null; then cd python && python3 -m unittest discover -s tests; else echo "python3 is missing: the Python vectors are not checked (apt-get install python3)"; exit 1; fi

bench: check-go ## the benchmarks behind docs/benchmarks.md
	$(GO) test -run '^$$' -bench . -benchmem ./internal/... && cd sdk && $(GO) test -run '^$$' -bench . -benchmem ./...

soak: check-go ## longer simulations (tag soak)
	$(GO) test -tags soak -timeout 60m -run Soak -v ./internal/...

lint: check-go ## formatting, vet, staticcheck
	@bad=$$(gofmt -l $$(git ls-files '*.go')); test -z "$$bad" || { echo "not formatted (make fmt):"; echo "$$bad"; exit 1; }
	@for m in $(MODULES); do (cd $$m && $(GO) vet ./...) || exit 1; done
	$(GO) tool -modfile=tools/lint/go.mod staticcheck ./...

fmt: check-go ## format
	gofmt -w $$(git ls-files '*.go')

clean: ## remove what was built
	rm -rf bin
