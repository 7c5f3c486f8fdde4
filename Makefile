# Everything that a developer runs. `make help` lists the targets.

GO        ?= go
BIN       := $(CURDIR)/bin
TOOLS     := $(CURDIR)/.cache/bin
VERSITYGW := $(TOOLS)/versitygw
export PATH := $(BIN):$(TOOLS):$(PATH)
export SNAPFS_VERSITYGW ?= $(VERSITYGW)

VERSITYGW_VERSION := v1.8.0
GOLANGCI_VERSION  := v2.12.2
FUZZTIME          ?= 60s
SOAKTIME          ?= 1h

.PHONY: help build demo test race single fuzz soak bench plots lint ci clean prerequisites

help: ## list the targets
	@awk -F':.*## ' '/^[a-z]+:.*## / { printf "%-8s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

build: ## build ./bin/snapfs
	@mkdir -p $(BIN)
	$(GO) build -trimpath -o $(BIN)/snapfs ./cmd/snapfs

prerequisites:
	@.ci/prerequisites

$(VERSITYGW):
	@mkdir -p $(TOOLS)
	GOBIN=$(TOOLS) $(GO) install github.com/versity/versitygw/cmd/versitygw@$(VERSITYGW_VERSION)

demo: prerequisites build $(VERSITYGW) ## run the main job on real input, printing each command
	@integration/demo.sh

test: prerequisites $(VERSITYGW) ## unit tests, golden vectors, kernel mounts, a real S3 server
	$(GO) vet ./...
	$(GO) test -timeout 20m ./...

race: prerequisites $(VERSITYGW) ## the tests under the race detector
	$(GO) test -race -timeout 40m ./...

single: prerequisites $(VERSITYGW) ## the kernel tests on one processor, where other failures show
	GOMAXPROCS=1 $(GO) test -count=1 -timeout 20m ./fs/... ./integration/...

fuzz: ## run each fuzz target for FUZZTIME
	@.ci/fuzz $(FUZZTIME)

soak: prerequisites $(VERSITYGW) ## random operations, crashes and faults for SOAKTIME
	@.ci/soak $(SOAKTIME)

bench: build $(VERSITYGW) ## measure commands, then mounts (as root), and print tables with the limits
	$(GO) run ./integration/bench -snapfs $(BIN)/snapfs
	@if [ "$$(id -u)" = 0 ]; then $(GO) run ./integration/bench/mounts -snapfs $(BIN)/snapfs -versitygw $(VERSITYGW); \
	else echo "only root can empty the page cache: mounts are not compared"; fi

plots: build $(VERSITYGW) ## measure again what docs/performance.md plots (as root), and draw it with gnuplot
	@command -v gnuplot >/dev/null || { echo "install gnuplot (Debian: apt install gnuplot-nox)" >&2; exit 1; }
	$(GO) run ./integration/bench/mounts -snapfs $(BIN)/snapfs -versitygw $(VERSITYGW) -sweep requests > docs/throughput.tsv
	$(GO) run ./integration/bench/mounts -snapfs $(BIN)/snapfs -versitygw $(VERSITYGW) -sweep latency > docs/latency.tsv
	gnuplot integration/bench/mounts/plots.gp

lint: ## static analysis
	$(GO) vet ./...
	@test -z "$$(gofmt -l .)" || { gofmt -l .; echo "run gofmt -w on these files" >&2; exit 1; }
	$(TOOLS)/golangci-lint version >/dev/null 2>&1 || GOBIN=$(TOOLS) $(GO) install github.com/golangci/golangci-lint/v2/cmd/golangci-lint@$(GOLANGCI_VERSION)
	$(TOOLS)/golangci-lint run ./...

ci: ## what continuous integration runs
	.ci/run

clean: ## remove what was built
	rm -rf $(BIN)
