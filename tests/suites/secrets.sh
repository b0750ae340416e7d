#!/bin/bash
# Secrets outside of the process: store, state, logs and status of a real mount hold no name, no content and no
# passphrase; the daemon leaves no core image, cannot be traced by its own user, and keeps its keys in memory that is
# locked and left out of dumps. The passphrase is nowhere in the daemon's memory once it serves.
#
# What is not claimed: plaintext of open files, names and attributes are in the daemon's memory while it serves, and in
# the kernel's page cache. They may be swapped (encrypt the swap), and root can read them.
. "$(dirname "$0")/lib.sh"
needs python3

SECRET=$WORK/secret
CANARIES=(canary-name-Vd7quince canary-folder-Hm2damson canary-target-Bn3tansy canary-attribute-Gf1borage
    canary-value-Ls8chervil canary-content-Rj6badger canary-removed-Jt5sorrel)
echo 'canary-passphrase-Zq8rhubarb Kx4' >"$PASSPHRASE"
printf '%s\n' "${CANARIES[@]}" canary-passphrase-Zq8rhubarb >"$SECRET"

# look FOLDER...: tells every file whose bytes or name hold ten characters or more of a canary, behind its first word.
cat >"$WORK/look.py" <<'PYTHON'
import os, sys
secrets = [line.strip().split("-", 2)[2].encode() for line in open(sys.argv[1])]
pieces = {secret[at:at + 9] for secret in secrets for at in range(len(secret) - 8)}
found = 0
def look(what, data):
    global found
    for piece in pieces:
        if piece in data:
            print(f"{piece.decode()} in {what}")
            found += 1
            return
for root in sys.argv[2:]:
    if os.path.isfile(root):
        look(root, open(root, "rb").read())
    for folder, folders, files in os.walk(root):
        for name in folders + files:
            look(f"the name of {os.path.join(folder, name)}", name.encode())
        for name in files:
            path = os.path.join(folder, name)
            if os.path.isfile(path) and not os.path.islink(path):
                look(path, open(path, "rb").read())
sys.exit(1 if found else 0)
PYTHON

# memory PID WORD...: tells which words are in the writable memory of a process. Needs root.
cat >"$WORK/memory.py" <<'PYTHON'
import sys
pid, words = sys.argv[1], [word.encode() for word in sys.argv[2:]]
found, regions = set(), 0
with open(f"/proc/{pid}/maps") as maps, open(f"/proc/{pid}/mem", "rb", 0) as memory:
    for line in maps:
        span, mode = line.split()[:2]
        if not mode.startswith("rw"):
            continue
        start, end = (int(part, 16) for part in span.split("-"))
        tail = b""
        regions += 1
        for at in range(start, end, 1 << 20):
            try:
                memory.seek(at)
                data = tail + memory.read(min(1 << 20, end - at))
            except OSError:
                break
            found |= {word for word in words if word in data}
            tail = data[-64:]
assert regions > 5, "no memory was read"
print(" ".join(sorted(word.decode() for word in found)))
PYTHON

use() {
    local folder=$DRIVE/canary-folder-Hm2damson
    mkdir "$folder"
    echo "canary-content-Rj6badger" >"$folder/canary-name-Vd7quince"
    head -c 3000000 < <(yes "canary-content-Rj6badger") >"$folder/large"
    head -c 9000 < <(yes "canary-content-Rj6badger") >"$folder/middle"
    ln -s canary-target-Bn3tansy "$folder/link"
    python3 - "$folder/middle" <<'PYTHON'
import os, sys
os.setxattr(sys.argv[1], "user.canary-attribute-Gf1borage", b"canary-value-Ls8chervil")
PYTHON
    echo "canary-content-Rj6badger" >"$folder/canary-removed-Jt5sorrel"
    sync -f "$folder"
    rm "$folder/canary-removed-Jt5sorrel"
    cat "$folder/large" "$folder/middle" "$folder/canary-name-Vd7quince" >/dev/null
    # Refusals, which may be logged.
    mkdir "$folder" 2>/dev/null && return 1
    rmdir "$folder" 2>/dev/null && return 1
    cat "$folder/canary-removed-Jt5sorrel" 2>/dev/null && return 1
    mv "$folder" "$folder/canary-name-Vd7quince/x" 2>/dev/null && return 1
    return 0
}

outside() { python3 "$WORK/look.py" "$SECRET" "$STORE" "$STRONGROOM_HOME" "$WORK/mount.log" "$WORK/init.log" "$WORK/status"; }

planted() {
    echo "xx canary-content-Rj6badger xx" >"$STORE/planted"
    local ended=0
    python3 "$WORK/look.py" "$SECRET" "$STORE" >/dev/null && ended=1
    rm "$STORE/planted"
    return $ended
}

status() {
    "$PROGRAM" status "$DRIVE" --json >"$WORK/status"
    "$PROGRAM" status >>"$WORK/status"
    outside
}

no_core_limit() { grep -Eq '^Max core file size +0 +0 ' "/proc/$DAEMON/limits"; }

# Regions of `/proc/PID/smaps` that are locked, left out of dumps and wiped in children.
guarded_memory() {
    awk '/^VmFlags:/ && / lo/ && / dd/ && / wf/ { found++ } END { exit !found }' "/proc/$DAEMON/smaps"
}

no_passphrase_in_memory() {
    # The scan works: content that was just written is there.
    cat "$DRIVE/canary-folder-Hm2damson/middle" >/dev/null
    local found
    found=$(python3 "$WORK/memory.py" "$DAEMON" passphrase-Zq8rhubarb canary-folder-Hm2damson content-Rj6badger)
    echo "in memory: $found"
    [[ $found == *Hm2damson* && $found != *Zq8rhubarb* ]]
}

# A program that crashes in this folder leaves its image there: where that is not so, its absence would prove nothing.
images_are_written() {
    (sleep 60 & kill -ABRT $! && wait $!) 2>/dev/null
    ls core* >/dev/null 2>&1 && rm core*
}

# A crash on purpose leaves nothing.
no_core_image() {
    kill -ABRT "$DAEMON"
    wait "$DAEMON" 2>/dev/null
    DAEMON=
    umount -l "$DRIVE" 2>/dev/null || fusermount3 -uz "$DRIVE"
    ls core* 2>/dev/null && return 1
    return 0
}

# As a normal user: the process belongs to root in /proc, and a debugger of the same user cannot attach.
hidden_from_its_user() {
    local user=65534 home=$WORK/nobody program=$WORK/program
    cp "$PROGRAM" "$program"
    mkdir -p "$home/drive"; cp "$PASSPHRASE" "$home/passphrase"; chown -R $user:$user "$home"
    local as=(setpriv --reuid $user --regid $user --clear-groups env "STRONGROOM_HOME=$home/home" "HOME=$home")
    "${as[@]}" "$program" init "$home/store" --passphrase-file "$home/passphrase" >/dev/null
    "${as[@]}" "$program" mount "$home/store" "$home/drive" --passphrase-file "$home/passphrase" >"$home/log" 2>&1 &
    local tries=0 pid ended=0
    until grep -q " $home/drive " /proc/self/mountinfo; do
        [ $((tries += 1)) -le 300 ] && kill -0 $! || { cat "$home/log"; return 77; }
        sleep 0.1
    done
    pid=$!
    [ "$(stat -c %u "/proc/$pid/environ")" = 0 ] || { echo "dumpable"; ended=1; }
    "${as[@]}" dd if="/proc/$pid/mem" of=/dev/null count=0 2>/dev/null && { echo "memory opens"; ended=1; }
    if command -v gcore >/dev/null; then
        "${as[@]}" gcore -o "$home/image" "$pid" >/dev/null 2>&1
        ls "$home"/image* 2>/dev/null && { echo "gcore made an image"; ended=1; }
    fi
    "${as[@]}" "$program" unmount "$home/drive" || ended=1
    wait "$pid" || ended=1
    return $ended
}

make_store
mkdir "$WORK/images" && cd "$WORK/images"
ulimit -c unlimited 2>/dev/null || true
start
try "use it" use
all_well
try "nothing secret in store, state, logs" outside
try "nothing secret in what status says" status
try "the search finds what is planted" planted
try "no core images: the limit is 0, hard" no_core_limit
try "keys lie in memory that is locked, not dumped, wiped in children" guarded_memory
if [ "$(id -u)" = 0 ]; then
    try "the passphrase is not in the daemon's memory" no_passphrase_in_memory
    if ! command -v setpriv >/dev/null || ! command -v fusermount3 >/dev/null; then
        SKIPPED=$((SKIPPED + 1)); echo "skipped a daemon is hidden from its own user: no setpriv or fusermount3"
    elif ! setpriv --reuid 65534 --regid 65534 --clear-groups test -w /dev/fuse; then
        SKIPPED=$((SKIPPED + 1)); echo "skipped a daemon is hidden from its own user: /dev/fuse is for root alone here (chmod 0666 /dev/fuse)"
    else
        step "a daemon is hidden from its own user" hidden_from_its_user || true
    fi
else
    SKIPPED=$((SKIPPED + 2)); echo "skipped two looks into memory: they need root"
fi
if images_are_written; then
    step "no core image after a crash, where another program leaves one" no_core_image || true
else
    SKIPPED=$((SKIPPED + 1)); echo "skipped no core image after a crash: this machine writes none into a crashed program's folder"
    unmount_hard
fi
try "nothing secret after the crash" outside
start
step "recovered" cmp "$DRIVE/canary-folder-Hm2damson/large" <(head -c 3000000 < <(yes "canary-content-Rj6badger")) || true
stop
try "nothing secret after the unmount" outside
finish
