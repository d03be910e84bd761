# `make test` is what CI runs; everything else is a shortcut.

.PHONY: all ci test setup check demo doc bench bench-quick instructions conformance

all:
	cargo build --release

ci:
	.ci/run

setup:
	tests/setup

test: setup
	@tests/run

# The quick ones: what a commit should pass.
check:
	@tests/run format clippy tree

demo:
	cargo run --release -- demo

doc:
	cargo doc --no-deps --workspace --open

bench: all
	bench/run

bench-quick: all
	bench/run --quick

instructions: all
	bench/instructions

conformance: all
	cargo build --release -p mainstay-faults
	conformance/run --gateway all
