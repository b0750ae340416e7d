#!/bin/bash
# Two processes append to one log: no line is lost, torn or out of its writer's order.
. "$(dirname "$0")/lib.sh"
needs python3
if is_long; then lines=50000; else lines=5000; fi

cat >"$WORK/append.py" <<'PYTHON'
import os, sys
path, writer, lines = sys.argv[1], sys.argv[2], int(sys.argv[3])
log = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
for number in range(lines):
    line = f"{writer} {number} {'x' * (number * 13 % 180)}\n".encode()
    assert os.write(log, line) == len(line)
PYTHON
cat >"$WORK/verify.py" <<'PYTHON'
import sys
path, lines = sys.argv[1], int(sys.argv[2])
seen = {"alice": 0, "bob": 0}
with open(path) as log:
    for line in log:
        writer, number, filler = line.rstrip("\n").split(" ")
        assert int(number) == seen[writer], (writer, number, seen[writer])
        assert filler == "x" * (int(number) * 13 % 180), (writer, number)
        seen[writer] += 1
assert seen == {"alice": lines, "bob": lines}, seen
PYTHON
both() {
    python3 "$WORK/append.py" "$DRIVE/log" alice "$lines" & local first=$!
    python3 "$WORK/append.py" "$DRIVE/log" bob "$lines" & local second=$!
    wait $first && wait $second
}

make_store
step "mount" start
try "two writers, $lines lines each" both
try "every line is there, whole and in order" python3 "$WORK/verify.py" "$DRIVE/log" "$lines"
step "remount" remount
try "and after remount" python3 "$WORK/verify.py" "$DRIVE/log" "$lines"
finish
