#!/usr/bin/env python3
"""The reader against a store written by `make_store FOLDER SEED COUNT`: everything comes out byte for byte, and no damage
to the store goes unseen. `test_store.py FOLDER`"""

import filecmp
import os
import random
import shutil
import subprocess
import sys
from pathlib import Path

READER = Path(__file__).resolve().parent / "strongroom_reader.py"


def read(folder, *command):
    options = ["--passphrase-file", folder / "passphrase", *command]
    run = [sys.executable, READER, folder / "store", *options]
    return subprocess.run(run, capture_output=True, text=True, check=False)


def describe(root):
    """Path, kind, links, size and note of everything below, mode of what has a note, and which paths are one file."""
    found, first = {}, {}
    for folder, folders, files in os.walk(os.fsencode(root)):
        folders.sort()
        for name in sorted(folders + files):
            path = os.path.join(folder, name)
            relative = os.path.relpath(path, os.fsencode(root))
            status = os.lstat(path)
            if os.path.islink(path):
                found[relative] = ("link", os.readlink(path))
            elif os.path.isdir(path):
                found[relative] = ("folder",)
            else:
                same = first.setdefault(status.st_ino, relative)
                try:
                    note = os.getxattr(path, "user.note")
                except OSError:
                    note = None
                found[relative] = (
                    "file", status.st_mode & 0o7777 if note is not None else None, status.st_nlink,
                    status.st_size, note, same,
                )
    return found


def compare(folder):
    expected, extracted = folder / "expected", folder / "extracted"
    shutil.rmtree(extracted, ignore_errors=True)
    outcome = read(folder, "extract", extracted)
    assert outcome.returncode == 0, outcome.stderr
    want, got = describe(expected), describe(extracted)
    assert want.keys() == got.keys(), sorted(want.keys() ^ got.keys())[:3]
    for path, facts in want.items():
        if facts[0] != "file":
            assert facts == got[path], (path, facts, got[path])
            continue
        assert facts == got[path], (path, facts, got[path])
        a, b = os.path.join(os.fsencode(expected), path), os.path.join(os.fsencode(extracted), path)
        assert filecmp.cmp(a, b, shallow=False), path
    return len(want)


def damage(folder):
    """One change to one stored file at a time; the reader must refuse each."""
    dice = random.Random(1)
    store = folder / "store"
    newest = max((store / "checkpoint").iterdir())
    logs = sorted(path for path in (store / "log").iterdir() if path.name > newest.name)
    objects = [path for path in (store / "object").rglob("*") if path.is_file()]
    targets = [
        store / "workspace", next((store / "device").iterdir()), newest, store / "organisation" / ("0" * 16),
        store / "organisation" / ("0" * 15 + "1"),
        *dice.sample(logs, min(3, len(logs))), *dice.sample(objects, min(4, len(objects))),
    ]
    seen = harmless = 0
    for path in targets:
        whole = path.read_bytes()
        at = dice.randrange(len(whole))
        flipped = bytearray(whole)
        flipped[at] ^= 1 << dice.randrange(8)
        cases = {"flipped": bytes(flipped), "cut": whole[:-1], "gone": None}
        others = [other for other in targets if other.parent == path.parent and other != path]
        if others:
            cases["swapped"] = others[0].read_bytes()
        if path == newest or path == logs[-1]:
            # A store without its newest commit or checkpoint is an older one: only a device that saw more can tell.
            del cases["gone"]
        for name, data in cases.items():
            path.unlink()
            if data is not None:
                path.write_bytes(data)
            outcome = read(folder, "verify")
            if outcome.returncode == 0:
                # Bytes of an object that no extent refers to any more may be anything, but what is read stays right.
                assert path in objects and name == "flipped", f"{path.name} {name} went unseen"
                compare(folder)
                harmless += 1
            else:
                assert outcome.returncode == 1 and outcome.stderr.startswith("error: "), outcome.stderr
                seen += 1
            path.write_bytes(whole)
    return seen, harmless


def main():
    folder = Path(sys.argv[1])
    names = compare(folder)
    outcome = read(folder, "verify")
    assert outcome.returncode == 0, outcome.stderr
    seen, harmless = damage(folder)
    log = len(list((folder / "store" / "log").iterdir()))
    newest = max(path.name for path in (folder / "store" / "checkpoint").iterdir())
    print(f"{names} names equal, {seen} damages seen, {harmless} harmless, checkpoint {int(newest, 16)}, {log} commits after it")


if __name__ == "__main__":
    main()
