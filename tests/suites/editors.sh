#!/bin/bash
# How editors and office suites save: temporary file and rename, backup and rename, lock files, exchange, in place.
. "$(dirname "$0")/lib.sh"
needs python3
if is_long; then rounds=200; else rounds=20; fi

cat >"$WORK/save.py" <<'PYTHON'
import ctypes, fcntl, os, sys
drive, pattern, rounds = sys.argv[1], sys.argv[2], int(sys.argv[3])
path = os.path.join(drive, f"{pattern}.txt")
libc = ctypes.CDLL(None, use_errno=True)

def body(number):
    return (f"version {number} of {pattern}\n" * (1 + number * 37 % 900)).encode()

def write(name, data, flags=os.O_WRONLY | os.O_CREAT | os.O_TRUNC, mode=0o640):
    file = os.open(name, flags, mode)
    os.write(file, data)
    os.fsync(file)
    os.close(file)

def sync_folder():
    folder = os.open(drive, os.O_RDONLY | os.O_DIRECTORY)
    os.fsync(folder)
    os.close(folder)

def atomic(number):                      # gedit, VS Code with atomic save, most libraries
    write(path + ".tmp", body(number), os.O_WRONLY | os.O_CREAT | os.O_EXCL)
    os.rename(path + ".tmp", path)
    sync_folder()

def backup(number):                      # vim: backup aside, new file, backup removed
    if os.path.exists(path):
        os.rename(path, path + "~")
    write(path, body(number), os.O_WRONLY | os.O_CREAT | os.O_EXCL)
    if os.path.exists(path + "~"):
        os.chmod(path, os.stat(path + "~").st_mode & 0o7777)
        os.unlink(path + "~")

def link_backup(number):                 # emacs: hard link as backup, then replace
    if os.path.exists(path):
        if os.path.exists(path + "~"):
            os.unlink(path + "~")
        os.link(path, path + "~")
    write(path + "#", body(number))
    os.rename(path + "#", path)
    if number:
        with open(path + "~", "rb") as file:
            assert file.read() == body(number - 1)

def in_place(number):                    # nano, Notepad: truncate and write through the old inode
    before = os.stat(path).st_ino if os.path.exists(path) else None
    write(path, body(number))
    assert before in (None, os.stat(path).st_ino)

def office(number):                      # LibreOffice, Word: lock file, temporary, swap, delete
    lock = os.path.join(drive, f".~lock.{pattern}.txt#")
    file = os.open(lock, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600)
    fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    os.write(file, b"alice,device;")
    write(os.path.join(drive, f"~WRD{number:04}.tmp"), body(number))
    if os.path.exists(path):
        os.rename(path, os.path.join(drive, f"~WRL{number:04}.tmp"))
    os.rename(os.path.join(drive, f"~WRD{number:04}.tmp"), path)
    old = os.path.join(drive, f"~WRL{number:04}.tmp")
    if os.path.exists(old):
        os.unlink(old)
    os.close(file)
    os.unlink(lock)

def exchange(number):                    # renameat2(RENAME_EXCHANGE): swap, then remove the old one
    write(path + ".new", body(number))
    if not os.path.exists(path):
        os.rename(path + ".new", path)
        return
    done = libc.renameat2(-100, (path + ".new").encode(), -100, path.encode(), 2)
    assert done == 0, os.strerror(ctypes.get_errno())
    with open(path + ".new", "rb") as file:
        assert file.read() == body(number - 1)
    os.unlink(path + ".new")

def mapped(number):                      # editors that map the file
    import mmap
    data = body(number)
    file = os.open(path, os.O_RDWR | os.O_CREAT, 0o640)
    os.ftruncate(file, len(data))
    with mmap.mmap(file, len(data)) as view:
        view[:] = data
        view.flush()
    os.close(file)

save = {name: value for name, value in globals().items() if callable(value)}[pattern]
if sys.argv[4:] == ["verify"]:
    with open(path, "rb") as file:
        assert file.read() == body(rounds - 1)
    sys.exit()
for number in range(rounds):
    reader = os.open(path, os.O_RDONLY) if os.path.exists(path) else None
    save(number)
    with open(path, "rb") as file:
        assert file.read() == body(number), number
    if reader is not None:
        # A program that had the old version open sees that, or the new one if it was written in place.
        expected = body(number if pattern in ("in_place", "mapped") else number - 1)
        assert os.pread(reader, 1 << 20, 0) == expected, number
        os.close(reader)
assert not [name for name in os.listdir(drive) if name.startswith((".~", "~W")) or name.endswith((".tmp", ".new", "#"))]
PYTHON

make_store
step "mount" start
patterns='atomic backup link_backup in_place office exchange mapped'
for pattern in $patterns; do
    try "$pattern, $rounds saves" python3 "$WORK/save.py" "$DRIVE" $pattern $rounds
done
step "remount" remount
for pattern in $patterns; do
    try "$pattern: the last version is there after remount" python3 "$WORK/save.py" "$DRIVE" $pattern $rounds verify
done
finish
