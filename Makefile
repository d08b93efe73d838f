# The words people use here. Everything installs by itself what a fresh machine lacks.
.PHONY: help demo test test-long check setup setup-tests build install bench sim fuzz clean

CARGO ?= cargo

help:
	@echo "make demo             raise a ledger and play the whole story on a real update"
	@echo "                      KEEP=1 leaves it running; PATCH_OLD=… PATCH_NEW=… take .deb files, or"
	@echo "                      directories of them, where packages cannot be had by name"
	@echo "make test             everything CI runs"
	@echo "make test-long        nodes, and every kind of installer, killed at 200 random moments (KILLS=…);"
	@echo "                      fails where a kind cannot be tried at all; drills that draw lots, ten"
	@echo "                      times as long (DRILL_TIMES=…)"
	@echo "make setup            install what building needs, and build RocksDB once (others do it first);"
	@echo "                      make setup-tests also what only tests need"
	@echo "make build            build all programs"
	@echo "make install          build, and copy the programs to PREFIX/bin (default: ~/.local)"
	@echo "make check            formatting, lints, the plan of the house"
	@echo "make bench            measure; figures in out/bench/results.jsonl"
	@echo "make sim SEEDS=1000   long simulation of consensus (FIRST_SEED=… to begin elsewhere)"
	@echo "make fuzz SECONDS=60  new inputs for every decoder and verifier, so long for each (TARGETS=… for some)"
	@echo "make clean            remove out/ and .build/ (what cargo built stays: cargo clean)"

setup:
	@scripts/setup

setup-tests:
	@scripts/setup tests

build: setup
	$(CARGO) build --workspace --bins

PREFIX ?= $(HOME)/.local
TARGET := $(or $(CARGO_TARGET_DIR),target)/debug
PROGRAMS := countersign countersign-node countersign-agent countersign-devnet countersign-attack
install: build
	install -D -t $(DESTDIR)$(PREFIX)/bin $(addprefix $(TARGET)/,$(PROGRAMS))

# What was asked is looked at before anything is built.
demo:
	@scripts/demo --check-wish
	@$(MAKE) --no-print-directory build
	@scripts/demo

test: setup-tests
	@scripts/test

KILLS ?= 200
DRILL_TIMES ?= 10
LONG_DRILLS := tampered-proofs check-and-use power-cut
test-long: setup-tests
	COUNTERSIGN_NOTHING_LEFT_OUT=1 COUNTERSIGN_KILLS=$(KILLS) $(CARGO) test -p agent --test it killed_at_random -- --nocapture
	$(CARGO) build --workspace --bins
	KILLS=$(KILLS) $(CARGO) test -p tests --test promises killing:: -- --nocapture
	$(TARGET)/countersign-attack $(addprefix --drill ,$(LONG_DRILLS)) --times $(DRILL_TIMES)

check: setup-tests
	$(CARGO) fmt --all --check
	$(CARGO) fmt --manifest-path fuzz/Cargo.toml --check
	$(CARGO) clippy --workspace --all-targets -- -D warnings
	$(CARGO) test -p tests --test architecture

bench: build
	@scripts/bench

SEEDS ?= 1000
FIRST_SEED ?= 0
sim: setup
	@SEEDS=$(SEEDS) FIRST_SEED=$(FIRST_SEED) scripts/sim

SECONDS ?= 60
TARGETS ?=
fuzz:
	@scripts/fuzz $(SECONDS) $(TARGETS)

clean:
	rm -rf out .build
