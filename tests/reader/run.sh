#!/bin/sh
# The independent reader against the vectors, against stores made by random operations, and against damage.
# STRONGROOM_READER_SEEDS and STRONGROOM_READER_STEPS make it longer.
set -eu
root=$(cd "$(dirname "$0")/../.." && pwd)
target=${CARGO_TARGET_DIR:-$root/target}
python=$target/reader-python/bin/python3
PYTHONDONTWRITEBYTECODE=1
export PYTHONDONTWRITEBYTECODE

if ! "$python" -c 'import argon2, blake3, cbor2, cryptography' 2>/dev/null; then
    python3 -m venv "$target/reader-python"
    "$python" -m pip install --quiet --disable-pip-version-check -r "$root/tests/reader/requirements.txt"
fi
cd "$root"
"$python" tests/reader/test_vectors.py

# What the tests are built with: for one program alone other features would be chosen, and all built again.
cargo build --quiet --workspace --bins --tests
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
for seed in ${STRONGROOM_READER_SEEDS:-1 2 3}; do
    "$target/debug/make_store" "$work/$seed" "$seed" "${STRONGROOM_READER_STEPS:-900}"
    "$python" tests/reader/test_store.py "$work/$seed"
    rm -rf "${work:?}/$seed"
done
