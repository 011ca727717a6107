# Names for what one types often. `./quickstart` and `./test` are the two commands; these only shorten.

export CARGO_TARGET_DIR := `bash -c 'root=$PWD; . .ci/tools.sh; printf %s "$CARGO_TARGET_DIR"'`
export CARGO_INCREMENTAL := "0"

default:
    @just --list

# Build the binary.
build:
    cargo build --workspace --locked

# Run the tests of one crate, for example `just unit syncline-dsl`.
unit crate:
    cargo test -p {{crate}}

# Run every test.
test *filter:
    ./test {{filter}}

# The kill and feed tests at full size.
soak:
    ./test --soak

# N seeds of the engine's simulation.
simulate seeds="10000" from="0":
    ./test --simulate {{seeds}} --seed {{from}}

# Form and lints, as ./test checks them.
lint:
    cargo fmt --all --check
    cargo clippy --workspace --all-targets -- -D warnings
