#!/usr/bin/env python3
"""Cost per file as a folder grows, memory of the daemon, time to mount; sparse files and appends at size.

    cargo xtask bench scale [--counts 10000,100000,1000000] [--base FOLDER] [--out FILE]

Uses FOLDER for a store, a home and a mount of its own, and writes Markdown tables. Standard library only, Linux.
"""
import argparse
import ctypes
import datetime
import os
import platform
import random
import shutil
import subprocess
import sys
import time

now = time.perf_counter


class Drive:
    """A store of its own, mounted through the command."""

    def __init__(self, binary, base):
        self.binary, self.base = binary, base
        self.store, self.mnt = f"{base}/store", f"{base}/mnt"
        self.passphrase = f"{base}/passphrase"
        self.peak_mib = 0.0
        self.env = dict(os.environ, STRONGROOM_HOME=f"{base}/home")
        os.makedirs(self.mnt, exist_ok=True)
        with open(self.passphrase, "w") as file:
            file.write("scale\n")
        self.run("init", self.store, "--passphrase-file", self.passphrase)

    def run(self, *args):
        subprocess.run([self.binary, *args], env=self.env, check=True, stdout=subprocess.DEVNULL)

    def mount(self):
        begin = now()
        self.run("mount", self.store, self.mnt, "--background", "--passphrase-file", self.passphrase)
        os.stat(self.mnt)
        return now() - begin

    def unmount(self):
        self.note_peak()
        self.run("unmount", self.mnt)

    def note_peak(self):
        """The most that any of the daemons so far has had in memory."""
        self.peak_mib = max(self.peak_mib, self.memory_mib("VmHWM"))

    def pid(self):
        for entry in os.listdir("/proc"):
            if entry.isdigit():
                try:
                    with open(f"/proc/{entry}/cmdline") as file:
                        words = file.read().split("\0")
                except OSError:
                    continue
                if self.store in words and "mount" in words:
                    return int(entry)
        raise SystemExit("the daemon is gone")

    def memory_mib(self, key):
        with open(f"/proc/{self.pid()}/status") as file:
            for line in file:
                if line.startswith(key):
                    return int(line.split()[1]) / 1024
        return 0.0


def each(count, act):
    begin = now()
    for index in range(count):
        act(index)
    return (now() - begin) / count * 1e6


def cold(drive):
    """A daemon that begins with nothing in memory, and a kernel that knows no name: each is asked of the daemon. Needs root."""
    drive.unmount()
    with open("/proc/sys/vm/drop_caches", "w") as file:
        file.write("2")
    return drive.mount()


def lookups(drive, names):
    """µs for each of these names, once, by a daemon that begins with nothing in memory."""
    cold(drive)
    return each(len(names), lambda index: os.lstat(names[index]))


def folder(drive, count):
    """One folder of `count` empty files; µs per file of each act."""
    path = f"{drive.mnt}/n{count}"
    os.mkdir(path)
    names = [f"{path}/file-{index:08d}" for index in range(count)]
    row = {"files": count}
    flags = os.O_CREAT | os.O_EXCL | os.O_WRONLY
    row["create"] = each(count, lambda index: os.close(os.open(names[index], flags)))
    drive.run("sync", "--wait", drive.mnt)
    row["mount_s"] = cold(drive)
    begin = now()
    listed = int(subprocess.run(f"ls -U {path} | wc -l", shell=True, capture_output=True, text=True).stdout)
    row["list_cold"] = (now() - begin) / count * 1e6
    assert listed == count, (listed, count)
    in_order = [f"{path}/{name}" for name in os.listdir(path)]
    row["lookup_listed"] = lookups(drive, in_order)
    row["lookup_random"] = lookups(drive, random.Random(count).sample(names, count))
    row["lookup_spread"] = lookups(drive, names[::100])
    cold(drive)
    begin = now()
    walked = sum(1 for _ in os.scandir(path) if os.lstat(_.path))
    row["walk"] = (now() - begin) / count * 1e6
    assert walked == count
    row["rss_walked_mib"] = drive.memory_mib("VmRSS")
    row["rename"] = each(count, lambda index: os.rename(names[index], names[index] + "r"))
    row["delete"] = each(count, lambda index: os.unlink(names[index] + "r"))
    os.rmdir(path)
    drive.note_peak()
    row["peak_mib"] = drive.peak_mib
    return row


def appends(drive, size):
    """4 KiB appends to a sparse file of `size`, each fsynced batch of 100; µs per append."""
    path = f"{drive.mnt}/append-{size}"
    file = os.open(path, os.O_CREAT | os.O_WRONLY)
    os.ftruncate(file, size)
    os.lseek(file, 0, os.SEEK_END)
    data = os.urandom(4096)
    cost = each(2000, lambda _: os.write(file, data))
    os.close(file)
    os.unlink(path)
    return {"size": size, "append": cost}


def sparse(drive):
    """A 1 TiB file with 4,000 writes of 4 KiB spread over it, read back."""
    path = f"{drive.mnt}/sparse"
    file = os.open(path, os.O_CREAT | os.O_RDWR)
    os.ftruncate(file, 1 << 40)
    step = (1 << 40) // 4000
    marks = [os.urandom(4096) for _ in range(16)]
    write = each(4000, lambda index: os.pwrite(file, marks[index % 16], index * step))
    os.fsync(file)
    drive.run("sync", "--wait", drive.mnt)

    def read(index):
        assert os.pread(file, 4096, index * step) == marks[index % 16]

    cost = each(4000, read)
    blocks = os.fstat(file).st_blocks * 512
    os.close(file)
    os.unlink(path)
    return {"write": write, "read": cost, "allocated": blocks}


def table(columns, rows):
    lines = ["| " + " | ".join(columns.values()) + " |", "|" + " ---: |" * len(columns)]
    for row in rows:
        cells = [f"{row[key]:,}" if isinstance(row[key], int) else f"{row[key]:.3g}" for key in columns]
        lines.append("| " + " | ".join(cells) + " |")
    return lines


def document(results, command):
    folders = {
        "files": "files", "create": "create", "list_cold": "`ls -U`", "lookup_listed": "stat, listed order",
        "lookup_random": "stat, random order", "lookup_spread": "stat, every 100th", "walk": "list and stat",
        "rename": "rename", "delete": "delete", "mount_s": "mount, s", "rss_walked_mib": "memory walked, MiB",
        "peak_mib": "peak so far, MiB",
    }
    most, least = results["folders"][-1], results["folders"][0]
    acts = ("create", "list_cold", "lookup_listed", "lookup_random", "lookup_spread", "walk", "rename", "delete")
    flat = ", ".join(f"{folders[act]} {most[act] / least[act]:.2f}" for act in acts)
    sparse = results["sparse"]
    return "\n".join([
        "# Scale", "", f"Made by `{command}`; do not edit by hand.", "",
        f"{datetime.date.today()} · {os.cpu_count()} cores · Linux {platform.release()} · one run.", "",
        "## Files in one folder", "",
        "Microseconds per file, by system calls from Python. Before `ls -U` and before each column of stat the folder is unmounted and",
        "mounted and the kernel forgets all names, so that the daemon begins with nothing in memory and answers each stat itself (the",
        "store's own files may be in the machine's cache). \"stat, listed order\" and \"stat, random order\" look at every file once, which",
        "is the same work at every size. \"stat, every 100th\" looks at so few files that a page which is opened is hardly used again: it",
        "is the cost of a first look, and the larger the folder, the fewer looks share a page of the tree or the levels above it.",
        "\"list and stat\" is a walk, where the kernel has the first answers from the listing. Memory is the daemon's.", "",
        *table(folders, results["folders"]), "",
        f"Cost per file at {most['files']:,} as a multiple of that at {least['files']:,}: {flat}.", "",
        "## Appends of 4 KiB to a sparse file", "",
        *table({"size": "length, bytes", "append": "µs each"}, results["appends"]), "",
        "## A file of 1 TiB with 4,000 writes of 4 KiB spread over it", "",
        f"{sparse['write']:.0f} µs a write, {sparse['read']:.0f} µs a read, {sparse['allocated']:,} bytes allocated. "
        f"Peak memory of the daemon in all of this: {results['peak_mib']:.0f} MiB.", "",
    ])


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--base", default="target/bench", help="a folder on the disk to measure")
    parser.add_argument("--counts", default="10000,100000,1000000")
    parser.add_argument("--out", default="docs/scale.md")
    args = parser.parse_args()
    base = os.path.abspath(f"{args.base}/strongroom-scale")
    shutil.rmtree(base, ignore_errors=True)
    os.makedirs(base)
    drive = Drive(os.environ["STRONGROOM"], base)
    drive.mount()
    results = {"folders": [], "appends": []}
    try:
        for count in map(int, args.counts.split(",")):
            row = folder(drive, count)
            results["folders"].append(row)
            print({key: round(value, 2) for key, value in row.items()}, file=sys.stderr, flush=True)
        for size in (1 << 20, 1 << 30, 100 << 30):
            results["appends"].append(appends(drive, size))
        results["sparse"] = sparse(drive)
    finally:
        drive.unmount()
        results["peak_mib"] = drive.peak_mib
    counts = "" if args.counts == parser.get_default("counts") else f" --counts {args.counts}"
    with open(args.out, "w") as file:
        file.write(document(results, "cargo xtask bench scale" + counts))
    ctypes.CDLL(None).sync()
    shutil.rmtree(base)


if __name__ == "__main__":
    main()
