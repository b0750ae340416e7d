#!/bin/bash
# rsync -a: the second run moves nothing, a small change moves one file, deletions follow.
. "$(dirname "$0")/lib.sh"
needs rsync; needs python3
if is_long; then files=5000; else files=1000; fi

make_store
step "mount" start
make_tree "$PLAIN/tree" "$files"
ln "$PLAIN/tree/part00/module000/file00000.txt" "$PLAIN/tree/hard"

moves_nothing() { local moved; moved=$(rsync -aHi --delete "$PLAIN/tree/" "$DRIVE/tree/"); echo "$moved"; [ -z "$moved" ]; }
moves_one() {
    echo more >>"$PLAIN/tree/part03/module003/file00003.txt"
    local moved; moved=$(rsync -aHi --delete "$PLAIN/tree/" "$DRIVE/tree/"); echo "$moved"
    [ "$(grep -c '^>f' <<<"$moved")" = 1 ]
}
try "first run" rsync -aH "$PLAIN/tree/" "$DRIVE/tree/"
try "second run moves nothing" moves_nothing
try "checksums agree" bash -c "[ -z \"\$(rsync -aHinc '$PLAIN/tree/' '$DRIVE/tree/')\" ]"
step "remount" remount
try "run after remount moves nothing" moves_nothing
try "one change moves one file" moves_one
try "in place and partial updates" rsync -aH --inplace --no-whole-file -I "$PLAIN/tree/" "$DRIVE/tree/"
rm -rf "$PLAIN/tree/part05"
try "deletions follow" bash -ec "rsync -aH --delete '$PLAIN/tree/' '$DRIVE/tree/'; [ ! -e '$DRIVE/tree/part05' ]"
try "every byte agrees" diff -r --no-dereference "$PLAIN/tree" "$DRIVE/tree"
try "back out of the drive" bash -ec "rsync -aH '$DRIVE/tree/' '$PLAIN/back/'; diff -r --no-dereference '$PLAIN/tree' '$PLAIN/back'"
finish
