#!/bin/bash
# What a processing job sees of people's data, on a real mount: exactly what was agreed, a record of everything it opened,
# and nothing any more once it is withdrawn, under open descriptors and mappings too. Nothing personal outside.
. "$(dirname "$0")/lib.sh"
needs python3

people=3
if is_long; then trials=100; else trials=2; fi
cd "$WORK"
common=(--workspace "$STORE" --passphrase-file "$PASSPHRASE" --app shop)
echo 'We write to you once a month.' >notice.md

do_as() { "$PROGRAM" "$@" "${common[@]}"; }
# expect CODE COMMAND...: it ends with that code.
expect() { local code=$1 ended=0; shift; "$@" || ended=$?; [ "$ended" = "$code" ] || { echo "ended with $ended"; return 1; }; }
subject() { sed -n "$1p" "$WORK/subjects"; }
consent() { do_as consent "$1" --subject "$(subject "$2")" --activity newsletter >/dev/null; }

prepare() {
    make_store
    "$PROGRAM" app create "${common[@]:0:4}" shop >/dev/null
    for number in $(seq $people); do
        echo "{\"email\": \"canary-$number@example.com\"}" | do_as subject create --lookup-from - >>subjects
        printf '{"email": "canary-%s@example.com", "name": "Canary %s"}' "$number" "$number" >"profile$number"
        do_as subject put "$(subject "$number")" --class identifiable --name profile.json --from "profile$number"
        python3 -c "import random, sys; sys.stdout.buffer.write(random.Random($number).randbytes(250000))" >"order$number"
        do_as subject put "$(subject "$number")" --class owned --name order-canary.bin --from "order$number"
    done
    do_as consumer register newsletter --purpose marketing.email --basis consent --class identifiable --class owned \
        --notice notice.md >/dev/null
    do_as consumer approve newsletter >/dev/null
    consent grant 1; consent grant 2; consent deny 3
}

start_view() { start --app shop --activity newsletter "$@"; }

# seen WHO...: the view under $1 holds exactly these people's profiles and orders, and nothing else.
seen() {
    local root=$1; shift
    find "$root" -type f -exec sha256sum {} + | sed 's/ .*//' | sort >found
    for number in "$@"; do sha256sum "profile$number" "order$number"; done | sed 's/ .*//' | sort >expected
    cmp found expected
    [ "$(ls "$root/subjects" | wc -l)" = "$#" ]
}

nothing_but_names_of_its_own() {
    for number in $(seq $people); do
        [ ! -e "$DRIVE/subjects/$(subject "$number")" ] || return 1
    done
    [ ! -e "$DRIVE/subjects/$(printf 'ab%.0s' {1..16})" ] && expect 1 touch "$DRIVE/x" 2>/dev/null
}

# What was opened is on record for those people, with the number of files, and for nobody else.
on_record() {
    for number in $(seq $people); do
        do_as subject report "$(subject "$number")" --json >report
        python3 - "$number" report <<'PYTHON'
import json, sys
number, report = int(sys.argv[1]), json.load(open(sys.argv[2]))
opened = {file for line in report["entries"] for file in line["files"] if line["activity"] == "newsletter" and line["action"] == "open"}
expected = {"identifiable/profile.json", "owned/order-canary.bin"} if number <= 2 else set()
assert report["complete"] and opened == expected, (number, opened)
PYTHON
    done
}

cat >reader.py <<'PYTHON'
"""Reads WAY PATH as fast as it can; prints a line once it does, then when the last read began that went well."""
import mmap, os, sys, time
way, path = sys.argv[1:]
descriptor = os.open(path, os.O_RDONLY)
pages = mmap.mmap(descriptor, 250000, prot=mmap.PROT_READ) if way == "mmap" else None
last = open(f"last.{way}", "wb", buffering=0)
while True:
    began = time.time_ns()
    if pages is not None:
        pages[200000]
    else:
        try:
            os.pread(descriptor, 4096, 100000)
        except OSError as error:
            sys.exit(error.errno)
    last.seek(0)
    last.write(b"%20d" % began)
PYTHON

# shown_as WHAT FILE...: which of the files holds the same.
shown_as() {
    local what=$1 file; shift
    for file in "$@"; do
        if cmp -s "$file" "$what"; then echo "$file"; return; fi
    done
    return 1
}

withdrawn() {
    local began ended
    for trial in $(seq $trials); do
        path=$(shown_as order2 "$DRIVE"/subjects/*/owned/*)
        rm -f last.pread last.mmap
        python3 reader.py pread "$path" & local first=$!
        python3 reader.py mmap "$path" & local second=$!
        until [ -s last.pread ] && [ -s last.mmap ]; do
            kill -0 $first && kill -0 $second || { echo "a reader did not start"; return 1; }
        done
        consent withdraw 2
        ended=$(date +%s%N)
        expect 13 wait $first
        expect 135 wait $second 2>/dev/null
        for way in pread mmap; do
            began=$(cat last.$way)
            [ "$began" -le "$ended" ] || { echo "$way: a read that began $((began - ended)) ns after the command went well"; return 1; }
        done
        [ ! -e "$path" ] || return 1
        seen "$DRIVE" 1
        consent grant 2
        seen "$DRIVE" 1 2
    done
}

runs() {
    expect 3 "$PROGRAM" run "$STORE" --passphrase-file "$PASSPHRASE" --app shop --activity newsletter -- \
        bash -c '[ "$(ls "$STRONGROOM_MOUNT/subjects" | wc -l)" = 2 ] && echo "$STRONGROOM_MOUNT" >where && exit 3'
    [ ! -e "$(cat where)" ]
    expect 143 "$PROGRAM" run "$STORE" --passphrase-file "$PASSPHRASE" --app shop --activity newsletter -- bash -c 'kill -TERM $$'
    expect 4 "$PROGRAM" run "$STORE" --passphrase-file "$PASSPHRASE" --app shop --activity nobody -- true 2>/dev/null
    [ -z "$(ls -d "$STRONGROOM_HOME"/run/view-* 2>/dev/null)" ]
}

erased() {
    exec 9<"$(shown_as profile1 "$DRIVE"/subjects/*/identifiable/*)"
    do_as subject erase "$(subject 1)" --yes >/dev/null
    expect 1 cat <&9 2>/dev/null
    exec 9<&-
    seen "$DRIVE" 2
}

outside() {
    ! grep -rlaE 'canary|Canary|example\.com|newsletter|marketing' "$STORE" "$STRONGROOM_HOME" "$WORK/mount.log" || return 1
}

try "people, an activity, answers" prepare
all_well
step "the view comes up" start_view || all_well
try "exactly those who agreed, byte for byte" seen "$DRIVE" 1 2
try "nobody else, under no name" nothing_but_names_of_its_own
try "what was opened is on record, file by file" on_record
try "a withdrawal reaches open descriptors and mappings, $trials times" withdrawn
try "a command runs with the view and ends as it did" runs
try "an erasure reaches the view" erased
try "nothing personal in store, state and log" outside
step "unmount" stop || true
try "the register is sound" do_as audit verify
finish
