#!/bin/bash
# kill -9 of the daemon under load, again and again on one store. What a program was told is done must be there:
# files, renames, removals, database transactions, git commits. 5 rounds, 50 in the long form ($KILL9_ROUNDS).
. "$(dirname "$0")/lib.sh"
needs git; needs python3
if is_long; then rounds=${KILL9_ROUNDS:-50}; else rounds=${KILL9_ROUNDS:-5}; fi
export GIT_AUTHOR_NAME=alice GIT_AUTHOR_EMAIL=alice@example.com GIT_COMMITTER_NAME=alice GIT_COMMITTER_EMAIL=alice@example.com
export GIT_CONFIG_GLOBAL=/dev/null GIT_CONFIG_SYSTEM=/dev/null

# Load: each act is written to a record outside the drive right before (`try`) and right after (`done`).
# Verify: what is done must be so; the one act that was under way may be either.
cat >"$WORK/load.py" <<'PYTHON'
import hashlib, os, random, sqlite3, sys

mode, drive, record_path, seed = sys.argv[1], sys.argv[2], sys.argv[3], int(sys.argv[4])
folder = os.path.join(drive, "files")
base_path = os.path.join(drive, "base.db")

def body(name, version):
    chance = random.Random(f"{name} {version}")
    return chance.randbytes(chance.choice([0, 5, 900, 1024, 4096, 5000, 70000, 300000, 1500000][:7 + (version % 5 == 0) * 2]))

class Record:
    """One act a line; the page cache is enough, as only the daemon is killed."""
    def __init__(self, path):
        self.file = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
    def note(self, *words):
        os.write(self.file, (" ".join(map(str, words)) + "\n").encode())

def load():
    record, chance = Record(record_path), random.Random(seed)
    os.makedirs(folder, exist_ok=True)
    base = sqlite3.connect(base_path, timeout=60, isolation_level=None)
    base.execute("PRAGMA journal_mode=WAL" if seed % 2 else "PRAGMA journal_mode=DELETE")
    base.execute("PRAGMA synchronous=FULL")
    base.execute("CREATE TABLE IF NOT EXISTS item (id INTEGER PRIMARY KEY, body BLOB)")
    names = {name for name in os.listdir(folder)}
    log = os.open(os.path.join(drive, "log"), os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
    number = 0
    while True:
        number += 1
        act = chance.choice(["write", "write", "write", "save", "rename", "remove", "append", "append", "insert"])
        name = f"f{seed}-{number}" if act in ("write", "rename") or not names else chance.choice(sorted(names))
        if act == "write" or act == "save":
            version = seed * 1000000 + number
            record.note("try", act, name, version)
            path = os.path.join(folder, name)
            data = body(name, version)
            if act == "save":
                with open(path + ".tmp", "wb") as file:
                    file.write(data)
                    if number % 3 == 0:
                        os.fsync(file.fileno())
                os.rename(path + ".tmp", path)
            else:
                with open(path, "wb") as file:
                    file.write(data)
            names.add(name)
            record.note("done", act, name, version)
        elif act == "rename" and names:
            old = chance.choice(sorted(names))
            record.note("try", act, old, name)
            os.rename(os.path.join(folder, old), os.path.join(folder, name))
            names.discard(old)
            names.add(name)
            record.note("done", act, old, name)
        elif act == "remove" and len(names) > 40:
            record.note("try", act, name)
            os.unlink(os.path.join(folder, name))
            names.discard(name)
            record.note("done", act, name)
        elif act == "append":
            line = f"{seed} {number} {'y' * chance.randint(0, 300)}\n".encode()
            record.note("try", act, seed, number)
            assert os.write(log, line) == len(line)
            record.note("done", act, seed, number, len(line))
        elif act == "insert":
            record.note("try", act, number)
            row = base.execute("INSERT INTO item (body) VALUES (randomblob(500)) RETURNING id").fetchall()[0][0]
            record.note("done", act, row)

class State:
    """What the record says: name -> (origin, version), where origin names the bytes."""
    def __init__(self):
        self.files, self.lines, self.rows, self.open = {}, [], [], None

    def apply(self, act, words):
        if act in ("write", "save"):
            self.files[words[0]] = (words[0], int(words[1]))
        elif act == "rename":
            self.files[words[1]] = self.files.pop(words[0])
        elif act == "remove":
            del self.files[words[0]]
        elif act == "append":
            self.lines.append((words[0], words[1], int(words[2])))
        elif act == "insert":
            self.rows.append(int(words[0]))

def read_record():
    state, pending = State(), None
    with open(record_path) as file:
        for line in file:
            phase, act, *words = line.split()
            if phase == "resolved":        # by the verification of an earlier round
                if act == "yes":
                    state.apply(words[0], words[1:])
                elif act == "torn":
                    state.files.pop(words[0], None)
                    if words[1] == "none":
                        pass
                pending = None
            elif phase == "try":
                pending = (act, words)
            else:
                state.apply(act, words)
                pending = None
    return state, pending

def same(name, origin):
    with open(os.path.join(folder, name), "rb") as file:
        return file.read() == body(*origin)

def verify():
    """Checks everything that was acknowledged, settles the act that was under way, and records how it went."""
    state, pending = read_record()
    record = Record(record_path)
    there = {name for name in os.listdir(folder)} if os.path.isdir(folder) else set()
    touched = set()
    if pending:
        act, words = pending
        if act in ("write", "save", "remove"):
            touched.add(words[0])
        elif act == "rename":
            touched.update(words)
    for name, origin in state.files.items():
        if name in touched:
            continue
        assert name in there, f"lost: {name}"
        assert same(name, origin), f"wrong bytes: {name}, version {origin}"
    for name in there - set(state.files) - touched:
        assert name.endswith(".tmp") and name[:-4] in touched, f"came back: {name}"
    settle(record, state, pending, there)
    verify_log(state, pending)
    verify_base(state)
    print(f"{len(state.files)} files, {len(state.lines)} lines, {len(state.rows)} rows")

def settle(record, state, pending, there):
    if not pending:
        return
    act, words = pending
    paths = [os.path.join(folder, word) for word in words]
    if act in ("write", "save"):
        name = words[0]
        origin = (name, int(words[1]))
        if os.path.exists(paths[0] + ".tmp"):
            os.unlink(paths[0] + ".tmp")
        before = state.files.get(name)
        if name in there and same(name, origin):
            record.note("resolved", "yes", act, *words)
        elif act == "save" or name not in there:
            assert before is None or same(name, before), f"neither old nor new after an unfinished save: {name}"
            assert before is not None or name not in there
            record.note("resolved", "no")
        else:
            # write(2) in several steps may have come part of the way: a prefix, never anything else.
            with open(paths[0], "rb") as file:
                found = file.read()
            assert body(*origin)[:len(found)] == found or (before and body(*before) == found), f"wrong bytes: {name}"
            os.unlink(paths[0])
            record.note("resolved", "torn", name, "none")
    elif act == "rename":
        old, new = words
        assert (old in there) != (new in there), f"a rename that is neither done nor not: {old} {new}"
        assert same(new if new in there else old, state.files[old])
        record.note("resolved", "yes" if new in there else "no", act, *words)
    elif act == "remove":
        record.note("resolved", "no" if words[0] in there else "yes", act, *words)
        assert words[0] not in there or same(words[0], state.files[words[0]])
    else:
        record.note("resolved", "no")

def verify_log(state, pending):
    path = os.path.join(drive, "log")
    if not state.lines and not os.path.exists(path):
        return
    with open(path, "rb") as file:
        lines = file.read().split(b"\n")
    assert lines.pop() == b"", "the log ends in a torn line"
    found = [(line.split(b" ")[0].decode(), line.split(b" ")[1].decode(), len(line) + 1) for line in lines]
    extra = [line for line in found if line not in set(state.lines)]
    assert [line for line in found if line in set(state.lines)] == state.lines, "the log lost lines or order"
    tries = {tuple(line.split()[2:4]) for line in open(record_path) if line.startswith("try append")}
    assert all(line[:2] in tries for line in extra), f"lines nobody wrote: {extra[:3]}"

def verify_base(state):
    if not os.path.exists(base_path):
        assert not state.rows
        return
    base = sqlite3.connect(base_path, timeout=60)
    assert base.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
    if state.rows:
        rows = {row[0] for row in base.execute("SELECT id FROM item")}
        lost = set(state.rows) - rows
        assert not lost, f"lost transactions: {sorted(lost)[:5]}"
    base.close()

load() if mode == "load" else verify()
PYTHON

# Commits in a repository of its own; the last acknowledged one must be an ancestor of what is there.
git_load() {
    cd "$DRIVE/repository" || exit 0
    local number=0
    while true; do
        number=$((number + 1))
        echo "$1 $number $RANDOM" >>"file$((number % 9))" || exit 0
        git add -A >/dev/null 2>&1 && git commit -q -m "$1 $number" >/dev/null 2>&1 || { sleep 0.01; [ -d "$DRIVE/repository/.git" ] || exit 0; continue; }
        git rev-parse HEAD >>"$WORK/commits" 2>/dev/null || exit 0
    done
}
git_is_whole() {
    cd "$DRIVE/repository" || return 1
    rm -f .git/*.lock .git/refs/heads/*.lock   # left by the killed git, as after any crash
    git fsck --full --strict || return 1
    [ -s "$WORK/commits" ] || return 0
    git merge-base --is-ancestor "$(grep -xE '[0-9a-f]{40}' "$WORK/commits" | tail -n 1)" HEAD
}

one_round() {
    local round=$1
    python3 "$WORK/load.py" load "$DRIVE" "$WORK/record" "$round" >"$WORK/load.log" 2>&1 & local files=$!
    git_load "$round" >/dev/null 2>&1 & local commits=$!
    # From a tenth of a second to three, so that every stage of the engine is hit.
    sleep "$(python3 -c "import random; print(random.Random($round).choice([0.1, 0.3, 0.7, 1.0, 1.3, 2.0, 3.0]))")"
    kill -9 "$DAEMON"
    wait "$DAEMON" 2>/dev/null || true
    DAEMON=
    kill "$commits" 2>/dev/null || true
    wait "$files" "$commits" 2>/dev/null || true
    if grep -q AssertionError "$WORK/load.log"; then cat "$WORK/load.log"; return 1; fi
}

make_store
step "mount" start
git -C "$DRIVE" init -q -b main repository
for round in $(seq "$rounds"); do
    step "round $round: killed under load" one_round "$round" || break
    step "round $round: mounts again over the dead mount" start || break
    try "round $round: everything acknowledged is there" python3 "$WORK/load.py" verify "$DRIVE" "$WORK/record" 0
    try "round $round: git fsck, and the last commit is there" git_is_whole
    if [ $((round % 5)) = 0 ]; then
        step "round $round: unmount" stop || break
        try "round $round: check finds nothing wrong" check_store
        step "round $round: mount" start || break
    fi
    [ "$FAILED" = 0 ] || [ -n "${KILL9_GO_ON:-}" ] || break
done
# A load that dies at once would lose nothing either.
much_was_done() {
    local acts commits
    acts=$(grep -c '^done' "$WORK/record") commits=$(grep -cxE '[0-9a-f]{40}' "$WORK/commits")
    echo "$acts acts, $commits commits"
    [ "$acts" -ge $((20 * rounds)) ] && [ "$commits" -ge "$rounds" ]
}
try "much was acknowledged before the kills" much_was_done
finish
