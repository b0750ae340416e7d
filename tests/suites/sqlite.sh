#!/bin/bash
# SQLite with a rollback journal and with a write-ahead log: transactions from two processes, integrity, remount.
. "$(dirname "$0")/lib.sh"
needs python3
if is_long; then rows=3000; else rows=300; fi

# One process sets the mode: of two that do so at once, SQLite refuses one without waiting, on every file system.
cat >"$WORK/create.py" <<'PYTHON'
import sqlite3, sys
path, mode = sys.argv[1], sys.argv[2]
base = sqlite3.connect(path, isolation_level=None)
assert base.execute(f"PRAGMA journal_mode={mode}").fetchone()[0] == mode.lower()
base.execute("CREATE TABLE item (writer INT, number INT, body BLOB, UNIQUE (writer, number))")
PYTHON
cat >"$WORK/writer.py" <<'PYTHON'
import sqlite3, sys
path, mode, writer, rows = sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4])
base = sqlite3.connect(path, timeout=120, isolation_level=None)
assert base.execute("PRAGMA journal_mode").fetchone()[0] == mode.lower()
base.execute("PRAGMA synchronous=FULL")
for number in range(rows):
    base.execute("BEGIN IMMEDIATE")
    base.execute("INSERT INTO item VALUES (?, ?, randomblob(700))", (writer, number))
    if number % 7 == 3:
        base.execute("UPDATE item SET body = randomblob(900) WHERE writer = ? AND number = ?", (writer, number // 2))
    base.execute("ROLLBACK" if number % 10 == 9 else "COMMIT")
PYTHON
cat >"$WORK/verify.py" <<'PYTHON'
import sqlite3, sys
path, rows = sys.argv[1], int(sys.argv[2])
base = sqlite3.connect(path, timeout=60)
assert base.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
kept = sum(1 for number in range(rows) if number % 10 != 9)
assert base.execute("SELECT writer, count(*) FROM item GROUP BY writer ORDER BY writer").fetchall() == [(1, kept), (2, kept)]
PYTHON
write_twice() {
    python3 "$WORK/writer.py" "$DRIVE/$1.db" "$1" 1 "$rows" & local first=$!
    python3 "$WORK/writer.py" "$DRIVE/$1.db" "$1" 2 "$rows" & local second=$!
    wait $first && wait $second
}

make_store
step "mount" start
for mode in DELETE WAL; do
    try "$mode: create" python3 "$WORK/create.py" "$DRIVE/$mode.db" "$mode"
    try "$mode: two writers, $rows transactions each" write_twice $mode
    try "$mode: integrity and counts" python3 "$WORK/verify.py" "$DRIVE/$mode.db" "$rows"
done
step "remount" remount
for mode in DELETE WAL; do
    try "$mode: integrity and counts after remount" python3 "$WORK/verify.py" "$DRIVE/$mode.db" "$rows"
    try "$mode: vacuum" python3 -c "import sqlite3; sqlite3.connect('$DRIVE/$mode.db').execute('VACUUM')"
done
finish
