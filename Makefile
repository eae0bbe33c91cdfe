# Entrepost: two commands matter, `make run` and `make test`.
SHELL := bash
.SHELLFLAGS := -euo pipefail -c
.ONESHELL:
.SILENT:
.DEFAULT_GOAL := help

TARGET := $(or $(CARGO_TARGET_DIR),target)
ENV := . .tools/env.sh

.PHONY: help setup build run dev test test-one lint rust-tests browser-tests bench bench-quick sizes

help: ## List the targets
	grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | awk -F':.*## ' '{printf "  make %-15s %s\n", $$1, $$2}'

setup: ## Bring this machine to the point where everything builds and runs
	.tools/setup.sh test

build: ## Build target/release/entrepost and the site
	.tools/setup.sh build
	$(ENV)
	.tools/build.sh

run: build ## Everything from a bare machine to the demo running
	$(TARGET)/release/entrepost demo $(DEMO)

dev: ## Rebuild and restart at each change
	.tools/setup.sh build
	$(ENV)
	cargo leptos watch -- demo

test: ## Everything from a bare machine to all tests passed
	.tools/setup.sh test
	.tools/test.sh

lint: ## Formats, unused dependencies, clippy with warnings denied
	.tools/setup.sh lint
	.tools/test.sh lint

test-one: ## One Rust test or browser spec: make test-one T=retry, make test-one T=specs/inbox.spec.ts
	.tools/test.sh one "$(T)"

rust-tests: ## Rust tests, on SQLite and on a PostgreSQL server of their own
	.tools/test.sh rust

browser-tests: ## Browser tests against the release build
	.tools/test.sh browser

bench: ## Compare with what people would use instead; writes end2end/bench/RESULTS.md (takes the machine for itself)
	.tools/setup.sh test
	$(ENV)
	.tools/build.sh frontend
	node end2end/bench/run.mjs

bench-quick: ## The same with fewer messages, printed (two minutes once it is built)
	.tools/setup.sh test
	$(ENV)
	node end2end/bench/run.mjs --quick

sizes: ## What a browser loads, brotli, and the size of the program; fails above the limits
	$(ENV)
	.tools/sizes.sh
