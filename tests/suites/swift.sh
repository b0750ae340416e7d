#!/bin/bash
# A workspace in a container of a real OpenStack Swift: conformance, and a mount that is used, ended, and used again.
. "$(dirname "$0")/lib.sh"
. "$(dirname "$0")/lib_servers.sh"
needs python3; needs curl; needs cargo
start_swift "${SUITE_PORT:-19560}"

try "the server conforms" conformance swift://suite

STORE=swift://suite/own
make_store
one_writer() { cat "$WORK/init.log"; grep -qE "\"writers\": *\"one\"" "$WORK/init.log"; }
try "setting up says that this server cannot arbitrate between writers" one_writer
if is_long; then files=3000; else files=300; fi
make_tree "$PLAIN/tree" $files
head -c 20000000 /dev/urandom >"$PLAIN/large"
step "mount" start
began=$SECONDS
try "$files files and a large one are written" cp -a "$PLAIN/." "$DRIVE/"
try "sync --wait" "$PROGRAM" sync --wait "$DRIVE"
try "$files files and a large one cost few PUTs" few_puts $began
step "remount" remount
try "all is equal after a remount" diff -r --no-dereference "$PLAIN" "$DRIVE"
changes() {
    mv "$DRIVE/tree/part00" "$DRIVE/moved" && mv "$PLAIN/tree/part00" "$PLAIN/moved" \
        && rm -r "$DRIVE/tree/part01" "$PLAIN/tree/part01" \
        && for place in "$DRIVE" "$PLAIN"; do echo more >>"$place/large" && truncate -s 12345678 "$place/large"; done
}
try "names and contents are changed" changes
step "unmount" stop
second_home() {
    export STRONGROOM_HOME=$WORK/home2
    "$PROGRAM" mount "$STORE" "$DRIVE" --background --passphrase-file "$PASSPHRASE" "$@"
}
refused() { ! second_home && grep -q "another home writes to" "$WORK/try.log"; }
looks() { second_home -o ro && diff -r --no-dereference "$PLAIN" "$DRIVE" && "$PROGRAM" unmount "$DRIVE"; }
try "a second home that wants to write is refused" refused
try "a second home may look" looks
rm -rf "$STRONGROOM_HOME/cache"
step "mount without copies" start
try "all is equal when read cold" diff -r --no-dereference "$PLAIN" "$DRIVE"
finish
