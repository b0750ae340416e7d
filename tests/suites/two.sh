#!/bin/bash
# Two homes on one store, both mounted and both writing: what one does is seen in the other within seconds, and in the end
# both are equal, nothing is lost and the store is sound. Some 10 seconds of writing, 30 in a bucket, 10 minutes in the long
# form ($TWO_SECONDS). `two.sh PROGRAM --store s3` starts a server with a bucket of its own.
. "$(dirname "$0")/lib.sh"
. "$(dirname "$0")/lib_servers.sh"
needs python3
if [ "${2:-}${3:-}" = --stores3 ]; then
    start_s3 "${SUITE_PORT:-19480}"
    STORE=s3://suite/two
fi
case $FORM:$STORE in
    long:*) seconds=${TWO_SECONDS:-600} ;;
    *:s3://*) seconds=${TWO_SECONDS:-30} ;;
    *) seconds=${TWO_SECONDS:-10} ;;
esac

FIRST=$DRIVE SECOND=$WORK/drive2 HOME2=$WORK/home2
mkdir "$SECOND"
SECOND_DAEMON=

# The functions of the library work on the first one.
start_second() {
    local mine=$DAEMON
    export STRONGROOM_HOME=$HOME2; DRIVE=$SECOND; DAEMON=
    start || return 1
    SECOND_DAEMON=$DAEMON; DAEMON=$mine DRIVE=$FIRST
    export STRONGROOM_HOME=$WORK/home
}
end_second() {
    [ -z "$SECOND_DAEMON" ] || kill "$SECOND_DAEMON" 2>/dev/null || true
    fusermount3 -uz "$SECOND" 2>/dev/null || true
}
also_at_end end_second
stop_second() {
    STRONGROOM_HOME=$HOME2 "$PROGRAM" unmount "$SECOND" || return 1
    wait "$SECOND_DAEMON" || { echo "the second daemon ended with $?"; return 1; }
    SECOND_DAEMON=
}
kill_second() {
    kill -9 "$SECOND_DAEMON"
    wait "$SECOND_DAEMON" 2>/dev/null || true
    fusermount3 -uz "$SECOND" 2>/dev/null || true
}

has() { [ "$(cat "$1")" = "$2" ]; }
gone() { ! [ -e "$1" ]; }
size_is() { [ "$(stat -c %s "$1")" = "$2" ]; }
same() { diff -r "$FIRST" "$SECOND"; }

names_and_bytes() {
    echo one >"$FIRST/a"; eventually has "$SECOND/a" one || return 1
    echo two >"$SECOND/a"; eventually has "$FIRST/a" two || return 1
    mkdir "$SECOND/folder" && mv "$SECOND/a" "$SECOND/folder/b"
    eventually has "$FIRST/folder/b" two && eventually gone "$FIRST/a" || return 1
    # Size and attributes that the other kernel has in its cache.
    head -c 300000 /dev/urandom >"$FIRST/large"
    eventually cmp "$FIRST/large" "$SECOND/large" || return 1
    head -c 5000 /dev/urandom >>"$FIRST/large"; chmod 600 "$FIRST/large"
    eventually size_is "$SECOND/large" 305000 && eventually cmp "$FIRST/large" "$SECOND/large" || return 1
    [ "$(stat -c %a "$SECOND/large")" = 600 ]
    rm "$SECOND/large"; eventually gone "$FIRST/large"
}

# A reader that keeps a file open goes on while the other side changes it.
open_handles() {
    echo before >"$FIRST/open"; eventually has "$SECOND/open" before || return 1
    exec 7<"$SECOND/open"
    echo "after, and longer" >"$FIRST/open"
    eventually has "$SECOND/open" "after, and longer" || { exec 7<&-; return 1; }
    cat <&7 >/dev/null; local read=$?
    exec 7<&-
    return $read
}

cat >"$WORK/load.py" <<'PYTHON'
import hashlib, os, random, sys, time
drive, who, seconds, seed = sys.argv[1], sys.argv[2], float(sys.argv[3]), int(sys.argv[4])
chance, end, number = random.Random(f"{who} {seed}"), time.monotonic() + seconds, 0
own = os.path.join(drive, who)
os.makedirs(own, exist_ok=True)
os.makedirs(os.path.join(drive, "both"), exist_ok=True)
sums = open(sys.argv[5], "a", buffering=1)
def attempt(act):
    # What the other side does in between may be in the way.
    try:
        act()
    except OSError as error:
        if error.errno not in (2, 17, 20, 21, 39, 116):
            raise
def write(path, data):
    with open(path, "wb") as file:
        file.write(data)
while time.monotonic() < end:
    number += 1
    data = f"{who} {seed} {number} ".encode() + chance.randbytes(chance.choice([0, 200, 5000, 90000]))
    act = chance.randrange(10)
    shared = os.path.join(drive, "both", f"s{chance.randrange(6)}.txt")
    if act < 5:
        # Nobody else touches these: each must be there in the end, on both sides.
        path = os.path.join(own, f"{seed}-{number}")
        write(path, data)
        sums.write(f"{hashlib.sha256(data).hexdigest()} {who}/{seed}-{number}\n")
    elif act < 7:
        attempt(lambda: write(shared, data))
    elif act == 7:
        def save():
            write(shared + f".{who}", data)
            os.rename(shared + f".{who}", shared)
        attempt(save)
    elif act == 8:
        attempt(lambda: os.unlink(shared))
    else:
        attempt(lambda: os.rename(shared, os.path.join(drive, "both", f"r{chance.randrange(6)}.txt")))
    time.sleep(chance.random() * 0.05)
sums.close()
PYTHON

both_write() {
    python3 "$WORK/load.py" "$FIRST" first "$1" "$2" "$WORK/sums" & local a=$!
    python3 "$WORK/load.py" "$SECOND" second "$1" "$2" "$WORK/sums2" & local b=$!
    local ended=0
    wait $a || ended=1
    wait $b || ended=1
    return $ended
}
killed_under_load() {
    python3 "$WORK/load.py" "$FIRST" first 4 2 "$WORK/sums" & local a=$!
    python3 "$WORK/load.py" "$SECOND" second 4 2 "$WORK/sums2" 2>/dev/null & local b=$!
    sleep 2
    kill_second
    wait $b || true
    wait $a
}
become_equal() { eventually same || { same | head -n 5; return 1; }; }
own_files_are_there() {
    local drive
    for drive in "$FIRST" "$SECOND"; do
        (cd "$drive" && cat "$WORK/sums" "$WORK/sums2" | sed 's/ /  /' | sha256sum --check --quiet) || return 1
    done
}

make_store
step "the first mounts" start
step "the second mounts beside it" start_second
try "names, bytes, sizes and modes get across, both ways" names_and_bytes
try "what is open goes on" open_handles
step "both write for $((seconds / 2)) seconds" both_write $((seconds / 2)) 1
try "both become equal" become_equal
try "what only one writes is all there" own_files_are_there
step "the second is killed while both write" killed_under_load
step "the second mounts again" start_second
step "both write for $((seconds / 2)) seconds" both_write $((seconds / 2)) 4
try "both become equal after the kill" become_equal
try "what only one writes is all there after the kill" own_files_are_there
step "the second unmounts" stop_second
step "the first unmounts" stop
finish
