# Shared by the suites: a store in a temporary folder, its mount, and counting.
#
# A suite takes the program as its first argument or from $STRONGROOM, and $SUITE_FORM is `short` or `long`.
# It ends with 0 (all passed), 77 (cannot run here, said why) or 1, and prints `N passed, N failed, N skipped`.
# Nothing outside the temporary folder is touched; with $SUITE_STORE (an address like s3://BUCKET) the store is made below that.
set -euo pipefail
export LC_ALL=C TZ=UTC

PROGRAM=$(realpath "${1:-${STRONGROOM:?the program: first argument or \$STRONGROOM}}")
FORM=${SUITE_FORM:-short}
PASSED=0 FAILED=0 SKIPPED=0
DAEMON=

WORK=$(mktemp -d "${TMPDIR:-/tmp}/strongroom-suite.XXXXXX")
chmod 755 "$WORK"
STORE=${SUITE_STORE:+$SUITE_STORE/$(basename "$WORK")}
STORE=${STORE:-$WORK/store} DRIVE=$WORK/drive PLAIN=$WORK/plain
mkdir "$DRIVE" "$PLAIN"
export STRONGROOM_HOME=$WORK/home
PASSPHRASE=$WORK/passphrase
echo 'the passphrase of a suite' >"$PASSPHRASE"

skip_all() { echo "skipped: $*"; exit 77; }
needs() { command -v "$1" >/dev/null || skip_all "\`$1\` is not installed${2:+ ($2)}"; }
needs_root() { [ "$(id -u)" = 0 ] || skip_all "needs root"; }
is_long() { [ "$FORM" = long ]; }

make_store() { "$PROGRAM" init "$STORE" --little-memory --json --passphrase-file "$PASSPHRASE" >"$WORK/init.log" 2>&1 || { cat "$WORK/init.log"; return 1; }; }

is_mounted() { grep -q " $DRIVE " /proc/self/mountinfo; }

# Mounts in the foreground of a process of its own, so that $DAEMON is the one to kill.
start() {
    "$PROGRAM" mount "$STORE" "$DRIVE" --passphrase-file "$PASSPHRASE" "$@" >>"$WORK/mount.log" 2>&1 &
    DAEMON=$!
    local tries=0
    # statfs always asks the daemon; a dead mount may still answer stat from the kernel's memory.
    until stat -f "$DRIVE" >/dev/null 2>&1 && is_mounted; do
        if ! kill -0 "$DAEMON" 2>/dev/null || [ $((tries += 1)) -gt 600 ]; then
            echo "the mount did not come up:"; tail -n 5 "$WORK/mount.log"; return 1
        fi
        sleep 0.1
    done
}

stop() {
    "$PROGRAM" unmount "$DRIVE" || return 1
    wait "$DAEMON" || { echo "the daemon ended with $?"; tail -n 5 "$WORK/mount.log"; return 1; }
    DAEMON=
}

remount() { stop && start "$@"; }

counter() { "$PROGRAM" status "$DRIVE" --json | python3 -c "import json,sys; print(json.load(sys.stdin)['$1'])"; }

# Ends a mount that may be in a bad way, without a word.
unmount_hard() {
    [ -z "$DAEMON" ] || kill -9 "$DAEMON" 2>/dev/null || true
    [ -z "$DAEMON" ] || wait "$DAEMON" 2>/dev/null || true
    DAEMON=
    fusermount3 -uz "$DRIVE" 2>/dev/null || true
}

# Waits until a command is true, a minute at most, or five where there is much to look at.
eventually() {
    local end=$((SECONDS + 60))
    is_long && end=$((SECONDS + 300))
    until "$@" >/dev/null 2>&1; do
        [ $SECONDS -lt $end ] || { echo "still not: $*"; return 1; }
        sleep 0.2
    done
}

check_store() { "$PROGRAM" check "$STORE" --passphrase-file "$PASSPHRASE"; }

# pass/fail by the command's end; its output only shows when it failed. Every command of a function counts: it runs under
# `set -e`, which holds nowhere below a condition, so `try` must not stand in one.
try() {
    local what=$1; shift
    local ended began=$SECONDS
    set +e
    (set -e; "$@") >"$WORK/try.log" 2>&1
    ended=$?
    set -e
    count "$what" $ended "$began" "$WORK/try.log"
}

# As `try`, but in this shell, for what changes the mount, and returns how it ended. Only a function's last command counts,
# and what says `|| return 1`.
step() {
    local what=$1; shift
    local ended=0 began=$SECONDS
    "$@" >"$WORK/step.log" 2>&1 || ended=$?
    count "$what" $ended "$began" "$WORK/step.log"
    return $ended
}

# count WHAT ENDED BEGAN LOG
count() {
    if [ "$2" = 0 ]; then
        PASSED=$((PASSED + 1)); echo "ok      $1 ($((SECONDS - $3)) s)"
    else
        FAILED=$((FAILED + 1)); echo "FAILED  $1"; tail -n 25 "$4" | sed 's/^/        /'
    fi
}

# Nothing further makes sense if anything failed so far.
all_well() { [ "$FAILED" = 0 ] || { finish; exit 1; }; }

finish() {
    if [ -n "$DAEMON" ]; then step "unmount" stop || true; fi
    try "check finds nothing wrong" check_store
    echo "$PASSED passed, $FAILED failed, $SKIPPED skipped"
    [ "$FAILED" = 0 ]
}

# What a suite started beside the mount, to be ended after it, the last one first.
AT_END=()
also_at_end() { AT_END=("$*" "${AT_END[@]}"); }

clean_up() {
    local ended=$?
    trap - EXIT
    cd /
    if is_mounted; then
        umount -l "$DRIVE" 2>/dev/null || fusermount3 -uz "$DRIVE" 2>/dev/null || true
    fi
    if [ -n "$DAEMON" ]; then kill "$DAEMON" 2>/dev/null || true; fi
    local end
    for end in "${AT_END[@]}"; do $end || true; done
    if [ "$ended" != 0 ] && [ -n "${SUITE_KEEP:-}" ]; then
        echo "kept $WORK"
    else
        rm -rf --one-file-system "$WORK"
    fi
    exit $ended
}
trap clean_up EXIT

# make_tree FOLDER FILES: source-like files of mixed sizes in nested folders, the same at every call.
make_tree() {
    python3 - "$1" "$2" <<'PYTHON'
import os, random, sys
root, count = sys.argv[1], int(sys.argv[2])
chance = random.Random(7)
words = [bytes(chance.choices(b"abcdefghijklmnopqrstuvwxyz", k=chance.randint(2, 9))) for _ in range(500)]
for number in range(count):
    folder = os.path.join(root, f"part{number % 23:02}", f"module{number % 101:03}")
    os.makedirs(folder, exist_ok=True)
    size = chance.choice([0, 40, 300, 1000, 1024, 1025, 4000, 9000, 30000]) if number % 200 else 400000
    text = bytearray()
    while len(text) < size:
        text += b" ".join(chance.choices(words, k=12)) + b"\n"
    path = os.path.join(folder, f"file{number:05}.txt")
    with open(path, "wb") as file:
        file.write(text[:size])
    if number % 50 == 0:
        os.chmod(path, 0o755)
    if number % 97 == 0:
        os.symlink(f"file{number:05}.txt", os.path.join(folder, f"link{number:05}"))
PYTHON
}
