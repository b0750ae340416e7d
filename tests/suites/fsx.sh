#!/bin/bash
# fsx: random reads, writes, mappings, truncations and copies on one file, checked against a copy in memory.
# 10 seeds of 2,000 operations, 50 of 20,000 in the long form: many short runs, as fsx never gives its mappings back and
# the kernel visits each of them at every truncation. Install with `cargo install --locked fsx`.
. "$(dirname "$0")/lib.sh"
PATH=$PATH:$HOME/.cargo/bin
needs fsx "cargo install --locked fsx"

config() {
    cat <<TOML
flen = 1048576
[opsize]
max = 131072
[weights]
close_open = 1
read = 10
write = 10
mapread = 5
mapwrite = 5
invalidate = 1
truncate = 3
fsync = 1
fdatasync = 1
posix_fallocate = $1
punch_hole = $1
sendfile = 2
posix_fadvise = 1
copy_file_range = 2
TOML
}
config 0 >"$WORK/even.toml"
config 2 >"$WORK/odd.toml"

if is_long; then operations=20000 seeds=50; else operations=2000 seeds=10; fi
make_store
step "mount" start
for seed in $(seq "$seeds"); do
    if [ $((seed % 2)) = 0 ]; then kind=even; else kind=odd; fi
    try "seed $seed, $operations operations" \
        fsx -q -f "$WORK/$kind.toml" -N "$operations" -S "$seed" "$DRIVE/seed-$seed"
done
finish
