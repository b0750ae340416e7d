#!/bin/bash
# A bucket that is slow, behind a slow line, refuses, stalls, loses answers, is cut off and goes away, and a full disk: what is here answers, what is
# not ends by a deadline with an errno that says so, nothing acknowledged is lost, nobody turns in circles, unmounting works.
# An outage of 20 seconds, 10 minutes in the long form ($FAULTS_OUTAGE).
. "$(dirname "$0")/lib.sh"
. "$(dirname "$0")/lib_servers.sh"
needs python3; needs curl
PORT=${SUITE_PORT:-19440}
if is_long; then files=600 outage=${FAULTS_OUTAGE:-600}; else files=60 outage=${FAULTS_OUTAGE:-20}; fi
start_s3 "$PORT"
start_proxy $((PORT + 5)) "$PORT"
export AWS_ENDPOINT_URL=http://127.0.0.1:$((PORT + 5))
STORE=s3://suite/faults
trouble >"$WORK/trouble.log"
make_store
make_tree "$PLAIN/tree" $files

cold() { stop && rm -rf "$STRONGROOM_HOME/cache" && start; }
sync_wait() { "$PROGRAM" sync --wait "$DRIVE"; }
same() { diff -r --no-dereference "$PLAIN/tree" "$DRIVE/$1"; }
cpu_ticks() { awk '{print $14 + $15}' "/proc/$DAEMON/stat"; }
# Of the processor, in thousandths.
idle_cost() {
    local before; before=$(cpu_ticks)
    sleep "$1"
    echo $((($(cpu_ticks) - before) * 1000 / $(getconf CLK_TCK) / $1))
}
# The kernel's own peak: no sample misses it. A process has one for each of its lives.
PEAK=0
note_peak() { local peak; peak=$(awk '/^VmHWM/ {print int($2 / 1024)}' "/proc/$DAEMON/status"); [ "$peak" -le $PEAK ] || PEAK=$peak; }

# How long answers take; what becomes of calls that need the store.
cat >"$WORK/calls.py" <<'PYTHON'
import errno, os, statistics, sys, threading, time
act = sys.argv[1]
if act == "quick":
    # Of a machine that others use as well, the median; no single one may hang.
    for name, call in (("stat", os.stat), ("df", os.statvfs)):
        times = []
        for _ in range(15):
            began = time.monotonic()
            call(sys.argv[2])
            times.append(time.monotonic() - began)
        print(f"{name}: {statistics.median(times) * 1000:.2f} ms, at most {max(times) * 1000:.1f} ms")
        assert statistics.median(times) < 0.1 and max(times) < 2, f"{name} waits"
else:
    limit, ended = float(sys.argv[2]), {}
    def call(path):
        began, code = time.monotonic(), 0
        try:
            with open(path, "rb") as file:
                file.read()
        except OSError as error:
            code = error.errno
        ended[path] = (code, time.monotonic() - began)
    threads = [threading.Thread(target=call, args=(path,), daemon=True) for path in sys.argv[3:]]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(limit)
    assert len(ended) == len(threads), f"{len(threads) - len(ended)} of {len(threads)} calls hang after {limit} s"
    codes = sorted({errno.errorcode.get(code, str(code)) for code, _ in ended.values()})
    print(f"{len(ended)} calls: {codes}, the longest {max(took for _, took in ended.values()):.1f} s")
    assert codes == ["EHOSTUNREACH"], codes
PYTHON

# met BEFORE TROUBLE...: every kind of trouble was met since the counts BEFORE; if chance has spared one, more is written.
met() {
    local before=$1 round; shift
    for round in {1..20}; do
        python3 - "$before" "$(trouble "$@")" "$@" <<'PYTHON' && return 0
import sys
before, now = (dict(zip(text.split()[::2], map(int, text.split()[1::2]))) for text in sys.argv[1:3])
spared = [name for name in sys.argv[3::2] if now.get(name, 0) <= before.get(name, 0)]
print("not met yet:", *spared)
sys.exit(bool(spared))
PYTHON
        cp -a "$PLAIN/tree" "$DRIVE/more" && rm -r "$DRIVE/more" && sync_wait && check_store >/dev/null
    done
    return 1
}

# One kind of trouble at a time.
through() {
    local name=$1 before; shift
    before=$(trouble "$@")
    try "$name: $files files are written" cp -a "$PLAIN/tree" "$DRIVE/$name"
    try "$name: sync --wait" sync_wait
    try "$name: it was met" met "$before" "$@"
    if is_long || [ "$name" = stall ] || [ "$name" = lose ]; then
        note_peak
        step "$name: mounted again without copies" cold
        try "$name: all is equal, read cold" same "$name"
    fi
}
step "mount" start
through delay delay 0.1
through error refuse 0.05
through burst burst 3
through stall stall 0.03
through reset reset 0.05
through lose lose 0.05
through all delay 0.05 refuse 0.05 lose 0.03 reset 0.03 stall 0.01
retried() { local retries; retries=$(counter store_retries); echo "$retries retries"; [ "$retries" -gt 0 ]; }
trouble refuse 0.3 >"$WORK/trouble.log"
try "files are written while every third request is refused" cp -a "$PLAIN/tree" "$DRIVE/refused"
try "sync --wait, and requests were tried again" eval 'sync_wait && retried'
trouble >"$WORK/trouble.log"
note_peak

# A line of a megabyte a second: what is under way at once shares it, and all of it moves.
if is_long; then
    trouble rate 1000000 >"$WORK/trouble.log"
    head -c 67108864 /dev/urandom >"$PLAIN/large"
    try "slow line: 64 MiB are written" cp "$PLAIN/large" "$DRIVE/large"
    try "slow line: sync --wait" sync_wait
    never_retried() { local retries; retries=$(counter store_retries); echo "$retries retries"; [ "$retries" = 0 ]; }
    step "slow line: mounted again without copies" cold
    try "slow line: all is equal, read cold, and nothing was asked for again" eval 'cmp "$PLAIN/large" "$DRIVE/large" && never_retried'
    trouble >"$WORK/trouble.log"
fi

# A black hole: everything is taken and nothing answered.
unknown=
for number in 1 2 3 4 5 6 7 8; do
    unknown+="$DRIVE/unknown$number "
    head -c 1000000 /dev/urandom >"$DRIVE/unknown$number"
done
step "mount before the black hole" cold
warm=$(find "$DRIVE/delay" -name '*.txt' -size +0 | sort | sed -n 1p)
cat "$warm" >"$WORK/warm"
trouble hole 1 >"$WORK/trouble.log"
quickly() { timeout 5 "$@"; }
# shellcheck disable=SC2086
python3 "$WORK/calls.py" blocked 100 $unknown >"$WORK/blocked.log" 2>&1 &
BLOCKED=$!
try "black hole: stat of what is known, and df, answer at once" python3 "$WORK/calls.py" quick "$warm"
try "black hole: a file that was read before is read" quickly cmp "$warm" "$PLAIN/tree/${warm#"$DRIVE"/delay/}"
try "black hole: a write and its fsync succeed" quickly sh -c 'echo precious >"$1" && sync "$1"' - "$DRIVE/precious"
cost=$(idle_cost 20)
cheap() { echo "$1 thousandths of a processor"; [ "$1" -lt 50 ]; }
try "black hole: the daemon does not turn in circles" cheap "$cost"
try "black hole: still, stat and df answer at once" python3 "$WORK/calls.py" quick "$warm"
blocked() { local ended=0; wait $BLOCKED || ended=$?; cat "$WORK/blocked.log"; return $ended; }
step "black hole: calls that need the store end, and say EHOSTUNREACH" blocked || true
ends() { local began=$SECONDS ended=0; timeout 120 "$@" 2>&1 || ended=$?; echo "ended with $ended after $((SECONDS - began)) s"; [ $ended != 0 ] && [ $ended != 124 ]; }
try "black hole: sync --wait ends, and says why" ends sync_wait
note_peak
unmounts() { local ended=0; timeout 150 "$PROGRAM" unmount "$DRIVE" || ended=$?; echo "ended with $ended"; wait "$DAEMON" || true; DAEMON=; [ $ended = 3 ]; }
step "black hole: unmount ends and says that not all is in the store" unmounts || unmount_hard
refused() { local ended=0; STRONGROOM_HOME=$WORK/fresh timeout 60 "$PROGRAM" mount "$STORE" "$DRIVE" --background --passphrase-file "$PASSPHRASE" || ended=$?; echo "ended with $ended"; [ $ended = 6 ]; }
try "black hole: mounting where it was never open ends and says that the store is unreachable" refused
step "black hole: it mounts where it was open before" start
try "black hole: what was written is there, and what was read is read" sh -c 'grep -q precious "$1" && cmp "$2" "$3"' - "$DRIVE/precious" "$warm" "$PLAIN/tree/${warm#"$DRIVE"/delay/}"
try "black hole: more is written" quickly sh -c 'echo apart >"$1" && sync "$1"' - "$DRIVE/apart"
troubled() { "$PROGRAM" status "$DRIVE" --json | python3 -c "import json,sys; said=json.load(sys.stdin); print(said['trouble']); sys.exit(not (said['trouble'] and said['pending_ops']))"; }
try "black hole: status says what waits and why" troubled
step "black hole: calls that need the store still end, and say EHOSTUNREACH" python3 "$WORK/calls.py" blocked 100 "$DRIVE/unknown8"
step "black hole: unmount ends once more" unmounts || unmount_hard
trouble >"$WORK/trouble.log"
step "mount after the black hole" start
try "what was written meanwhile is there" sh -c 'grep -q precious "$1" && grep -q apart "$2"' - "$DRIVE/precious" "$DRIVE/apart"

# An outage: the server is gone, and programs go on.
cat >"$WORK/writer.py" <<'PYTHON'
import hashlib, os, random, sys, time
folder, sums, seconds = sys.argv[1], open(sys.argv[2], "w", buffering=1), float(sys.argv[3])
chance, end, number = random.Random(3), time.monotonic() + seconds, 0
os.makedirs(folder, exist_ok=True)
while time.monotonic() < end:
    number += 1
    data = chance.randbytes(chance.choice([10, 3000, 40000, 200000]))
    path = f"{folder}/f{number:05}"
    with open(path + ".new", "wb") as file:
        file.write(data)
        if number % 5 == 0:
            os.fsync(file.fileno())
    os.rename(path + ".new", path)
    sums.write(f"{hashlib.sha256(data).hexdigest()}  {os.path.basename(folder)}/f{number:05}\n")
    time.sleep(0.2 if seconds < 100 else 1)
PYTHON
writes() { python3 "$WORK/writer.py" "$DRIVE/$1" "$WORK/$1.sums" "$2"; }
intact() { (cd "$DRIVE" && sha256sum --check --quiet "$WORK/$1.sums") && wc -l <"$WORK/$1.sums"; }
trouble down 1 >"$WORK/trouble.log"
try "outage of $outage s: a program writes on" writes outage $((outage / 2))
waits() { local waiting; waiting=$(counter pending_ops); echo "$waiting operations"; [ "$waiting" -gt 0 ]; }
try "outage: status says that something waits" waits
cost=$(idle_cost $((outage / 2)))
try "outage: the daemon does not turn in circles" cheap "$cost"
try "outage: stat and df answer at once" python3 "$WORK/calls.py" quick "$DRIVE/precious"
try "outage: what was written is read" intact outage
note_peak
trouble >"$WORK/trouble.log"
try "after the outage all is sent" eventually sync_wait
step "mounted again without copies" cold
try "what was written in the outage is all there" intact outage
note_peak

# The process dies in an outage, and while answers are lost.
trouble down 1 >"$WORK/trouble.log"
try "a program writes in a second outage" writes dead 3
unmount_hard
trouble lose 0.3 >"$WORK/trouble.log"
step "mount after the process died in it" start
try "what was written is all there" intact dead
try "sync --wait while answers are lost" eventually sync_wait
trouble >"$WORK/trouble.log"
step "mounted again without copies" cold
try "it is all in the store" intact dead

# The disk of local state is full, and the store away.
if [ "$(id -u)" = 0 ]; then
    step "unmount" stop
    mkdir "$WORK/small"
    mount -t tmpfs -o size=200m none "$WORK/small"
    also_at_end umount -l "$WORK/small"
    export STRONGROOM_HOME=$WORK/small/home
    step "mount with little room for local state" start
    trouble down 1 >"$WORK/trouble.log"
    fills() { python3 - "$DRIVE/fill" "$WORK/fill.sums" <<'PYTHON'
import errno, hashlib, os, sys, time
os.makedirs(sys.argv[1])
began, data = time.monotonic(), os.urandom(1 << 20)
with open(sys.argv[2], "w") as sums:
    for number in range(1000):
        try:
            path = f"{sys.argv[1]}/f{number}"
            with open(path, "wb") as file:
                file.write(data)
                os.fsync(file.fileno())
            sums.write(f"{hashlib.sha256(data).hexdigest()}  fill/f{number}\n")
        except OSError as error:
            print(f"{number} MiB, then {error.strerror} after {time.monotonic() - began:.1f} s")
            assert error.errno == errno.ENOSPC, error
            sys.exit(0)
sys.exit("it was never full")
PYTHON
    }
    try "a full disk of local state is ENOSPC" fills
    try "full: stat and df answer at once" python3 "$WORK/calls.py" quick "$DRIVE/precious"
    try "full: what was written is read" intact fill
    trouble >"$WORK/trouble.log"
    try "with the store back, all is sent" eventually sync_wait
    try "there is room again" sh -c 'echo more >"$1" && sync "$1"' - "$DRIVE/more"
    step "mounted again" remount
    try "what was written before it was full is all there" intact fill
    note_peak
    # Its state goes with the small disk.
    step "unmount" stop
    export STRONGROOM_HOME=$WORK/home
    step "mount in the first home" start
    try "what the other home wrote is there" intact fill
else
    SKIPPED=$((SKIPPED + 1)); echo "skipped the full disk: needs root"
fi
small() { echo "peak $PEAK MiB"; [ $PEAK -lt 512 ]; }
note_peak
try "memory stayed below 512 MiB" small
small
finish
