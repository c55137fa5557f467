# Everything needs only Rust and Node; what else is missing (Debian packages, npm packages) is installed on the way.

CARGO ?= cargo
FUZZ_SECONDS ?= 20
RUN_ARGS ?=
FLEET_ARGS ?=
BENCH_ARGS ?=
ATTACK_ARGS ?=
CROWD_ARGS ?=
AS_ROOT := $(if $(filter 0,$(shell id -u)),,sudo)
WEB_SOURCES := $(shell find web-client/src web-client/scripts web-client/public -type f 2>/dev/null) $(wildcard web-client/*.html web-client/*.ts web-client/*.json)

.PHONY: run fleet build test lint fmt test-rust test-attack test-web test-browser web fuzz attack crowd bench bench-forward bench-peers bench-path bench-sdp bench-weak-network test-weak-network setup-tools setup-tests setup-browser setup-peers setup-speech clean

## Start a meeting server; it prints the URL to open.
run: web setup-tools
	$(CARGO) run --release -p tianqiao --bin tianqiao -- serve $(RUN_ARGS)

## A fleet on this machine: NATS, two signaling instances, three media nodes and a proxy before them; it prints the URL
## to open and ends with Ctrl-C. FLEET_ARGS="--nodes 5" makes another.
fleet: build setup-tests
	target/release/tianqiao-loadtest fleet $(FLEET_ARGS)

## Release binaries: target/release/tianqiao and target/release/tianqiao-loadtest.
build: web setup-tools
	$(CARGO) build --release -p tianqiao -p tianqiao-loadtest --bins

## All tests: Rust, the web client's logic, real browsers, attacks in short, and three weak links in short.
test: test-rust test-web test-browser test-attack test-weak-network

test-rust: web setup-tools setup-tests
	$(CARGO) test --workspace --no-fail-fast

## Attacks in their short form, two seconds each, with debug builds: about a minute.
test-attack: web setup-tools
	# With the features of test-rust, whose build of server and tool this is.
	$(CARGO) test --workspace --no-run
	target/debug/tianqiao-loadtest attack --short $(ATTACK_ARGS)

test-web: web
	cd web-client && npm test

test-browser: web setup-tools setup-tests setup-browser
	# With the features of test-rust, whose build of the server this is.
	$(CARGO) test --workspace --no-run
	cd web-client && TIANQIAO_BIN=$(CURDIR)/target/debug/tianqiao npm run test:browser

## Real browsers behind three weak links in short, with bounds that only what is broken misses: two minutes. Skipped without root.
test-weak-network: web setup-tools setup-tests setup-browser setup-speech
	# With the features of test-rust, whose build of server and tool this is.
	$(CARGO) test --workspace --no-run
	target/debug/tianqiao-loadtest weak-network --short

lint: web setup-tools
	$(CARGO) fmt --all --check
	$(CARGO) clippy --workspace --all-targets -- -D warnings
	cd web-client && npm run check

fmt:
	$(CARGO) fmt --all

## The web client, which the server embeds.
web: web-client/dist/index.html

web-client/node_modules/.package-lock.json: web-client/package-lock.json
	cd web-client && npm ci --no-audit --no-fund
	touch $@

web-client/dist/index.html: web-client/node_modules/.package-lock.json $(WEB_SOURCES)
	cd web-client && npm run build
	touch $@

## A bounded run of every fuzz target (nightly Rust where it is installed).
fuzz: setup-tools
	FUZZ_SECONDS=$(FUZZ_SECONDS) sh sfu/core/fuzz/run.sh

## Every attack that docs/security.md names, on a server of its own. ATTACK_ARGS="--only chat,nacks" does some of them.
attack: build
	target/release/tianqiao-loadtest attack $(ATTACK_ARGS)

## 500 people behind one address, all of whom are cut off once, and 500 more during attacks.
crowd: build
	target/release/tianqiao-loadtest crowd $(CROWD_ARGS)

## Figures for docs/performance.md. BENCH_ARGS=--quick shows in a minute that it works.
bench: bench-forward

bench-forward: build
	target/release/tianqiao-loadtest bench forward $(BENCH_ARGS)

## The pure pieces of the packet path, by criterion.
bench-path:
	$(CARGO) bench -p tianqiao-sfu-core --bench packet_path

## The dearest offers that the limits admit: at most 2 ms each.
bench-sdp:
	$(CARGO) bench -p tianqiao-sfu-core --bench sdp

## Beside Janus, which is installed from Debian where it is missing; network namespaces need root.
bench-peers: build setup-peers
	$(AS_ROOT) target/release/tianqiao-loadtest bench peers $(BENCH_ARGS)

## What people behind weak links hear and see, in real browsers: half an hour. BENCH_ARGS="--only drop,village-bad"
## does some of it, --list says what there is. Needs root.
bench-weak-network: build setup-tests setup-browser setup-speech
	$(AS_ROOT) target/release/tianqiao-loadtest weak-network $(BENCH_ARGS)

setup-tools:
	@sh deploy/setup-debian.sh build-tools

## Network namespaces, for the tests that need root, and NATS.
setup-tests:
	@sh deploy/setup-debian.sh tests

setup-peers:
	@sh deploy/setup-debian.sh peers

## Somebody who speaks in weak-network, and a Python that scores what is heard of it.
setup-speech:
	@sh deploy/setup-debian.sh speech

setup-browser:
	@sh deploy/setup-debian.sh browser

clean:
	$(CARGO) clean
	rm -rf web-client/dist web-client/node_modules
