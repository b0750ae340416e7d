#!/bin/bash
# git: clone of a local repository with over 5,000 files, commits, gc, fsck, and all of it again after a remount.
. "$(dirname "$0")/lib.sh"
needs git; needs python3
export GIT_AUTHOR_NAME=alice GIT_AUTHOR_EMAIL=alice@example.com GIT_COMMITTER_NAME=alice GIT_COMMITTER_EMAIL=alice@example.com
export GIT_CONFIG_GLOBAL=/dev/null GIT_CONFIG_SYSTEM=/dev/null

make_store
step "mount" start
make_tree "$PLAIN/source" 5200
git -C "$PLAIN/source" init -q -b main
git -C "$PLAIN/source" add -A
git -C "$PLAIN/source" commit -q -m 'first'

commit_more() {
    cd "$DRIVE/clone"
    for number in 1 2 3 4 5; do
        echo "change $number" >>part00/module000/file00000.txt
        mkdir -p new && echo "$number" >"new/file$number"
        git mv -k part01/module001/file00001.txt "moved$number.txt" || true
        git add -A && git commit -q -m "change $number"
    done
}
is_clean() { cd "$DRIVE/clone" && [ -z "$(git status --porcelain)" ]; }

try "clone of a local repository" git clone -q --no-hardlinks "$PLAIN/source" "$DRIVE/clone"
try "the clone has the same files" diff -r --no-dereference -x .git "$PLAIN/source" "$DRIVE/clone"
try "status is clean" is_clean
try "five commits" commit_more
try "branch, checkout and merge" bash -ec "cd '$DRIVE/clone' && git checkout -q -b side HEAD~2 && echo x >side.txt && \
    git add side.txt && git commit -q -m side && git checkout -q main && git merge -q -m merged side"
try "gc" git -C "$DRIVE/clone" gc -q --prune=now
try "fsck" git -C "$DRIVE/clone" fsck --full --strict
step "remount" remount
try "fsck after remount" git -C "$DRIVE/clone" fsck --full --strict
try "status is clean after remount" is_clean
try "clone inside the drive" git clone -q "$DRIVE/clone" "$DRIVE/again"
try "removal" rm -rf "$DRIVE/clone" "$DRIVE/again"
finish
