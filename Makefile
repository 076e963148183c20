# `make` alone lists what there is.

GO       ?= go
FUZZTIME ?= 20s
BENCH    ?= .

export CGO_ENABLED ?= 0

RUNNER := bin/runsc-lite

.DEFAULT_GOAL := help
.PHONY: help build run test quick race slow bench lint fuzz gazelle deps programs engine busybox clean

help: ## List the targets
	@echo 'runsc-lite: runs Linux programs on a kernel of their own. Targets:'
	@awk -F ':.*## ' '/^[a-z]+:.*## /{printf "  make %-8s  %s\n", $$1, $$2}' $(MAKEFILE_LIST)

build: ## Build bin/runsc-lite
	$(GO) build -trimpath -o $(RUNNER) ./runsc-lite

run: build busybox ## Build it and run a real program inside, showing what happens
	@sh tools/demo.sh $(RUNNER)

test: deps ## Everything: linters, Go tests, guest programs, Bazel (installs what it needs)
	@$(GO) run ./tools/testall

quick: busybox ## The Go tests alone, without linters and Bazel
	@$(GO) run ./tools/testall -stages unit,guest

race: ## The unit tests with the race detector
	CGO_ENABLED=1 $(GO) test -race $$($(GO) list ./... | grep -v /tests/)

slow: busybox ## The Go tests, those marked slow too
	RUNSC_LITE_SLOW=1 $(GO) run ./tools/testall -stages unit,guest

bench: ## Benchmarks: BENCH=regexp chooses; compares with native and with gVisor's runsc if it is installed
	$(GO) test -run '^$$' -bench '$(BENCH)' -benchmem $$($(GO) list ./... | grep -v /tests/bench)
	$(GO) test -run '^$$' -bench '$(BENCH)' -benchtime 1x -timeout 90m ./tests/bench

lint: ## vet, staticcheck, gofmt, BUILD files, import rules
	$(GO) test -count=1 .

fuzz: ## Run each fuzz target for FUZZTIME (20s)
	@grep -rlE '^func Fuzz' --include='*_test.go' . | while read -r file; do \
		for target in $$(sed -nE 's/^func (Fuzz[A-Za-z0-9_]*)\(.*/\1/p' "$$file"); do \
			echo "== $$(dirname $$file) $$target"; \
			$(GO) test -run '^$$' -fuzz "^$$target\$$" -fuzztime $(FUZZTIME) -fuzzminimizetime 100x "$$(dirname $$file)" || exit 1; \
		done || exit 1; \
	done

gazelle: ## Write the BUILD.bazel files anew
	$(GO) run ./tools/gazelle

deps: busybox ## Install what the tests need (Debian): gcc, Bazel
	@missing=; \
	command -v gcc >/dev/null || missing="$$missing gcc"; \
	[ -e /usr/include/stdio.h ] || missing="$$missing libc6-dev"; \
	command -v bazel >/dev/null || missing="$$missing bazel-bootstrap"; \
	[ -e /usr/share/bazel/tools/skylib ] || missing="$$missing bazel-skylib"; \
	if [ -n "$$CI" ]; then command -v dockerd >/dev/null || missing="$$missing docker.io"; command -v runc >/dev/null || missing="$$missing runc"; fi; \
	[ -z "$$missing" ] || sh tools/install.sh $$missing

programs: ## Install the Debian packages that tests/programs runs
	@sh tools/install.sh $$(sed -nE '/^===/s/.*package=([^ ]+).*/\1/p' tests/programs/testdata/*.txt | tr , '\n' | sort -u)

engine: busybox ## Install Docker's engine and runc, with which tests/oci compares (Debian starts the engine)
	@command -v dockerd >/dev/null && command -v runc >/dev/null || sh tools/install.sh docker.io runc

busybox:
	@[ -x /bin/busybox ] || sh tools/install.sh busybox-static

clean: ## Remove what was built
	rm -rf bin
	@if command -v bazel >/dev/null && [ -e bazel-out ]; then bazel clean; fi
