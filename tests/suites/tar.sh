#!/bin/bash
# tar: unpack a tree in the drive, pack it again, compare names, modes, times, links, holes and every byte.
. "$(dirname "$0")/lib.sh"
needs tar; needs python3
if is_long; then files=5000; else files=1000; fi

make_store
step "mount" start
make_tree "$PLAIN/tree" "$files"
ln "$PLAIN/tree/part00/module000/file00000.txt" "$PLAIN/tree/hard"
mkfifo "$PLAIN/tree/pipe"
truncate -s 300M "$PLAIN/tree/sparse" && printf end >>"$PLAIN/tree/sparse"
touch -d '1999-12-31 23:59:59.123456789' "$PLAIN/tree/old"
touch -d '1965-01-02 03:04:05.25' "$PLAIN/tree/older"
setfattr -n user.note -v hello "$PLAIN/tree/old" 2>/dev/null || true
tar -C "$PLAIN" --sort=name --xattrs --sparse -cf "$PLAIN/first.tar" tree

describe() { cd "$1" && find tree -printf '%p %y %#m %U %G %n %s %T@ %l\n' | grep -v ' d ' | sort; find tree -type d -printf '%p %#m %T@\n' | sort; }
same_description() { diff <(describe "$PLAIN") <(describe "$DRIVE"); }
same_xattr() { [ "$(getfattr --only-values -n user.note "$DRIVE/tree/old")" = hello ]; }
is_sparse() { [ "$(stat -c %b "$DRIVE/tree/sparse")" -lt 20000 ]; }

try "unpack" tar -C "$DRIVE" --xattrs -xpf "$PLAIN/first.tar"
try "names, modes, owners, links, sizes and times agree" same_description
try "every byte agrees" diff -r --no-dereference -x pipe "$PLAIN/tree" "$DRIVE/tree"
try "the hole stayed a hole" is_sparse
try "compare by tar itself" tar -C "$DRIVE" --xattrs -df "$PLAIN/first.tar"
step "remount" remount
try "all of it after remount" same_description
try "every byte after remount" diff -r --no-dereference -x pipe "$PLAIN/tree" "$DRIVE/tree"
if command -v getfattr >/dev/null && getfattr -n user.note "$PLAIN/tree/old" >/dev/null 2>&1; then
    try "extended attributes came along" same_xattr
else
    SKIPPED=$((SKIPPED + 1)); echo "skipped extended attributes: getfattr is missing or the temporary folder has none"
fi
try "pack in the drive" tar -C "$DRIVE" --sort=name --sparse -cf "$DRIVE/second.tar" tree
try "remove" rm -rf "$DRIVE/tree"
try "unpack what was packed in the drive" tar -C "$DRIVE" -xpf "$DRIVE/second.tar"
try "every byte the second time" diff -r --no-dereference -x pipe "$PLAIN/tree" "$DRIVE/tree"
finish
