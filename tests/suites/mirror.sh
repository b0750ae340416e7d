#!/bin/bash
# A mirror of a folder, a bucket and a Swift container. One of them is deleted whole under load, nobody notices, `scrub` fills
# a fresh one, and in the end each of the three is the whole workspace alone. In turn, all of them in the long form.
. "$(dirname "$0")/lib.sh"
. "$(dirname "$0")/lib_servers.sh"
needs python3; needs curl
PORT=${SUITE_PORT:-19500}
start_s3 "$PORT"
start_swift $((PORT + 40))
FOLDER=$WORK/member
STORE=mirror:$FOLDER,s3://suite/member,swift://suite/member
make_store
if is_long; then seconds=60 turns="s3 swift folder"; else seconds=8 turns=s3; fi

# Writes, overwrites, removes and reads, and stops for no reason but a failure.
cat >"$WORK/load.py" <<'PYTHON'
import hashlib, os, random, sys, time
folder, sums, seconds, seed = sys.argv[1], sys.argv[2], float(sys.argv[3]), sys.argv[4]
chance, end, number, held = random.Random(seed), time.monotonic() + seconds, 0, {}
os.makedirs(folder)
while time.monotonic() < end:
    number += 1
    name = chance.choice(sorted(held)) if held and chance.random() < 0.4 else f"f{number:05}"
    if name in held and chance.random() < 0.3:
        os.unlink(f"{folder}/{name}")
        del held[name]
    else:
        data = chance.randbytes(chance.choice([10, 3000, 40000, 700000]))
        with open(f"{folder}/{name}", "wb") as file:
            file.write(data)
        held[name] = hashlib.sha256(data).hexdigest()
    if held:
        name = chance.choice(sorted(held))
        with open(f"{folder}/{name}", "rb") as file:
            assert hashlib.sha256(file.read()).hexdigest() == held[name], f"wrong bytes: {name}"
    time.sleep(0.03)
with open(sums, "w") as file:
    for name, digest in sorted(held.items()):
        file.write(f"{digest}  {os.path.basename(folder)}/{name}\n")
print(f"{number} acts, {len(held)} files")
PYTHON
vanishes() {
    case $1 in
        folder) rm -rf "$FOLDER"/* ;;
        s3) "$SERVERS/s3.sh" stop "$WORK/s3" && rm -rf "$WORK/s3" ;;
        swift) "$SERVERS/swift.sh" stop "$WORK/swift" && rm -rf "$WORK/swift" ;;
    esac
}
comes_back_empty() {
    case $1 in
        folder) rm -rf "$FOLDER" ;;
        s3) "$SERVERS/s3.sh" start "$WORK/s3" "$PORT" >/dev/null ;;
        swift) "$SERVERS/swift.sh" start "$WORK/swift" $((PORT + 40)) >/dev/null ;;
    esac
}
under_load() {
    python3 "$WORK/load.py" "$DRIVE/$1" "$WORK/$1.sums" "$seconds" "$1" & local load=$!
    sleep 2
    vanishes "$1"
    wait $load
}
all_intact() { (cd "$DRIVE" && cat "$WORK"/*.sums | sha256sum --check --quiet && cat "$WORK"/*.sums | wc -l); }
scrub() { "$PROGRAM" scrub "$STORE"; }
# What a member holds, without the others: mounted by a home that knows nothing.
alone() {
    local mine=$STORE home=$STRONGROOM_HOME ended=0
    STORE=$1; export STRONGROOM_HOME=$WORK/home-$2
    { start -o ro && all_intact && "$PROGRAM" unmount "$DRIVE" && wait "$DAEMON" && check_store; } || ended=1
    unmount_hard
    STORE=$mine; export STRONGROOM_HOME=$home
    return $ended
}

make_tree "$PLAIN/tree" 200
step "mount" start
try "a tree is written" cp -a "$PLAIN/tree" "$DRIVE/tree"
try "sync --wait" "$PROGRAM" sync --wait "$DRIVE"
for turn in $turns; do
    step "$turn is deleted whole under load, and no program hears of it" under_load "$turn"
    try "without $turn: sync --wait" "$PROGRAM" sync --wait "$DRIVE"
    step "without $turn: mounted again without copies" eval 'stop; rm -rf "$STRONGROOM_HOME/cache"; start'
    try "without $turn: all is intact" all_intact
    try "without $turn: the tree is equal" diff -r --no-dereference "$PLAIN/tree" "$DRIVE/tree"
    step "unmount" stop
    step "$turn comes back, empty" comes_back_empty "$turn"
    try "scrub fills it" scrub
    nothing_to_do() { scrub >"$WORK/scrub.log" && cat "$WORK/scrub.log" && grep -q " 0 copies repaired" "$WORK/scrub.log"; }
    try "a second scrub finds nothing to repair" nothing_to_do
    step "mount" start
done
step "unmount" stop
step "the folder alone holds all of it, and check finds nothing" alone "$FOLDER" folder
step "the bucket alone holds all of it, and check finds nothing" alone s3://suite/member s3
step "the container alone holds all of it, and check finds nothing" alone swift://suite/member swift
finish
