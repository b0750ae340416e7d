#!/bin/bash
# cargo: build, test, change and rebuild a small crate whose sources and target folder are in the drive.
. "$(dirname "$0")/lib.sh"
needs cargo
unset CARGO_TARGET_DIR RUSTC_WRAPPER
export CARGO_NET_OFFLINE=true

make_store
step "mount" start -o exec
make_crate() {
    mkdir -p "$DRIVE/small/src"
    cd "$DRIVE/small"
    printf '[package]\nname = "small"\nversion = "0.1.0"\nedition = "2021"\n[workspace]\n' >Cargo.toml
    for number in $(seq 40); do
        printf 'pub fn value() -> u64 { %d }\n#[test]\nfn holds() { assert_eq!(value(), %d); }\n' "$number" "$number" >"src/part$number.rs"
        echo "pub mod part$number;"
    done >src/lib.rs
    echo 'fn main() { println!("{}", small::part1::value() + small::part40::value()); }' >src/main.rs
}
in_crate() { cd "$DRIVE/small" && "$@"; }
prints() { [ "$(cd "$DRIVE/small" && ./target/debug/small)" = "$1" ]; }
change() { echo 'pub fn value() -> u64 { 100 }' >"$DRIVE/small/src/part1.rs"; }
is_fresh() { cd "$DRIVE/small" && ! cargo build -v 2>&1 | grep -q 'Running'; }

try "sources" make_crate
try "build" in_crate cargo build -q
try "the program runs" prints 41
try "second build does nothing" is_fresh
try "tests" in_crate cargo test -q
change
try "rebuild after a change" in_crate cargo build -q
try "the changed program runs" prints 140
step "remount" remount -o exec
try "build after remount does nothing" is_fresh
try "release build" in_crate cargo build -q --release
try "clean" in_crate cargo clean -q
finish
