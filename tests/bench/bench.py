#!/usr/bin/env python3
"""Measures a mount beside its peers and writes a Markdown table. Standard library only; Linux; as root, or caches stay warm.

    cargo xtask bench [--quick] [--rounds N] [--base FOLDER] [--only WORD] [--out FILE]

Peers: a plain folder (ext4 as a rule), gocryptfs, an unencrypted passthrough over FUSE, Strongroom; all on the disk of --base.
Each round runs every workload on every peer, interleaved, in an order that turns from round to round; the table shows
medians. Data is random bytes and compared when read back. "Cold" means: synced, unmounted, mounted, kernel caches dropped.
"""
import argparse, datetime, hashlib, os, platform, random, shutil, sqlite3, statistics, subprocess, sys, tarfile, time

MIB = 1 << 20
SIZES = {
    "std": dict(sequential=512, reads=2000, writes=1024, files=5000, small=2000, tree=5000, rows=500),
    "quick": dict(sequential=64, reads=300, writes=256, files=800, small=400, tree=800, rows=100),
}


class Peer:
    """A folder to work in, and how to make it cold."""

    def __init__(self, name, base):
        self.name = name
        self.backing = os.path.join(base, name + ".backing")
        self.mountpoint = os.path.join(base, name)

    def start(self):
        for folder in (self.backing, self.mountpoint):
            os.makedirs(folder)
        self.prepare()
        self.mount()

    def prepare(self):
        pass

    def mount(self):
        pass

    def unmount(self):
        subprocess.run(["fusermount3", "-u", self.mountpoint], check=True)

    def is_mounted(self):
        return os.path.ismount(self.mountpoint)

    def chill(self):
        """Everything out of memory: of the daemon, of the kernel."""
        os.sync()
        if self.is_mounted():
            self.unmount()
            self.mount()
        drop_caches()

    def stop(self):
        if self.is_mounted():
            self.unmount()
        for folder in (self.backing, self.mountpoint):
            shutil.rmtree(folder, ignore_errors=True)


class Plain(Peer):
    """The file system itself."""


class Gocryptfs(Peer):
    def prepare(self):
        self.passphrase = self.backing + ".pass"
        write_text(self.passphrase, "correct horse\n")
        run("gocryptfs", "-q", "-init", "-passfile", self.passphrase, self.backing)

    def mount(self):
        run("gocryptfs", "-q", "-nosyslog", "-passfile", self.passphrase, self.backing, self.mountpoint)


class Passthrough(Peer):
    def mount(self):
        self.process = subprocess.Popen([os.environ["PASSTHROUGH"], self.backing, self.mountpoint])
        wait_for(self.is_mounted)
        # As Strongroom does for itself.
        device = os.stat(self.mountpoint).st_dev
        write_text(f"/sys/class/bdi/{os.major(device)}:{os.minor(device)}/read_ahead_kb", "512")

    def unmount(self):
        super().unmount()
        self.process.wait()


class Strongroom(Peer):
    def prepare(self):
        self.passphrase = self.backing + ".pass"
        write_text(self.passphrase, "correct horse\n")
        os.environ["STRONGROOM_HOME"] = self.backing + ".home"
        os.rmdir(self.backing)
        self.call("init", self.backing, "--passphrase-file", self.passphrase)

    def mount(self):
        self.call("mount", self.backing, self.mountpoint, "--background", "--passphrase-file", self.passphrase)

    def unmount(self):
        self.call("unmount", self.mountpoint)

    def call(self, *words):
        run(os.environ["STRONGROOM"], *words)

    def stop(self):
        super().stop()
        shutil.rmtree(self.backing + ".home", ignore_errors=True)


def run(*words):
    subprocess.run(words, check=True, stdout=subprocess.DEVNULL)


def write_text(path, text):
    with open(path, "w") as file:
        file.write(text)


def wait_for(holds, seconds=5):
    for _ in range(seconds * 100):
        if holds():
            return
        time.sleep(0.01)
    raise SystemExit("a peer did not mount")


def drop_caches():
    try:
        write_text("/proc/sys/vm/drop_caches", "3\n")
    except OSError:
        pass


# Each workload takes (folder, sizes, state) and returns the seconds that count. `state` lives for one peer and round.


def sequential_write(folder, sizes, state):
    """write {sequential} MiB in one file, 1 MiB at a time, then fsync"""
    source = [os.urandom(MIB) for _ in range(8)]
    state["sum"] = hashlib.blake2b()
    for index in range(sizes["sequential"]):
        state["sum"].update(source[index % 8])
    began = time.perf_counter()
    with open(folder + "/large", "wb", buffering=0) as file:
        for index in range(sizes["sequential"]):
            file.write(source[index % 8])
        os.fsync(file.fileno())
    return time.perf_counter() - began


def read_large(folder, state):
    seen = hashlib.blake2b()
    spent = 0.0
    with open(folder + "/large", "rb", buffering=0) as file:
        while True:
            began = time.perf_counter()
            data = file.read(MIB)
            spent += time.perf_counter() - began
            if not data:
                break
            seen.update(data)
    assert seen.digest() == state["sum"].digest(), "read back different"
    return spent


def cold_read(folder, sizes, state):
    """read that file, cold"""
    return read_large(folder, state)


def warm_read(folder, sizes, state):
    """read it twice, the second time counts"""
    # Here and not left to the workload before: making the next peer cold drops what the kernel kept of this one.
    read_large(folder, state)
    return read_large(folder, state)


def random_read(folder, sizes, state):
    """{reads} reads of 4 KiB at random places of it, cold"""
    chance = random.Random(1)
    places = [chance.randrange(sizes["sequential"] * MIB // 4096) * 4096 for _ in range(sizes["reads"])]
    began = time.perf_counter()
    with open(folder + "/large", "rb", buffering=0) as file:
        for place in places:
            os.pread(file.fileno(), 4096, place)
    return time.perf_counter() - began


def random_write(folder, sizes, state):
    """{writes} writes of 4 KiB at random places of it, fsync after every 32"""
    chance = random.Random(2)
    data = os.urandom(4096)
    began = time.perf_counter()
    with open(folder + "/large", "r+b", buffering=0) as file:
        for index in range(sizes["writes"]):
            os.pwrite(file.fileno(), data, chance.randrange(sizes["sequential"] * MIB // 4096) * 4096)
            if index % 32 == 31:
                os.fsync(file.fileno())
        os.fsync(file.fileno())
    return time.perf_counter() - began


def create(folder, sizes, state):
    """create {files} empty files in one folder"""
    os.mkdir(folder + "/many")
    began = time.perf_counter()
    for index in range(sizes["files"]):
        os.close(os.open(f"{folder}/many/file-{index:06d}", os.O_CREAT | os.O_EXCL | os.O_WRONLY))
    return time.perf_counter() - began


def list_cold(folder, sizes, state):
    """list that folder, cold"""
    began = time.perf_counter()
    count = len(os.listdir(folder + "/many"))
    seconds = time.perf_counter() - began
    assert count == sizes["files"]
    return seconds


def stat_cold(folder, sizes, state):
    """stat each of them, cold"""
    began = time.perf_counter()
    for index in range(sizes["files"]):
        os.stat(f"{folder}/many/file-{index:06d}")
    return time.perf_counter() - began


def rename(folder, sizes, state):
    """rename each of them"""
    began = time.perf_counter()
    for index in range(sizes["files"]):
        os.rename(f"{folder}/many/file-{index:06d}", f"{folder}/many/moved-{index:06d}")
    return time.perf_counter() - began


def small_write(folder, sizes, state):
    """write {small} files of 1 to 16 KiB in 20 folders"""
    chance = random.Random(3)
    state["small"] = [(f"{folder}/small/{i % 20}/f{i}", os.urandom(chance.randrange(1024, 16384))) for i in range(sizes["small"])]
    for index in range(20):
        os.makedirs(f"{folder}/small/{index}")
    began = time.perf_counter()
    for path, data in state["small"]:
        with open(path, "wb", buffering=0) as file:
            file.write(data)
    return time.perf_counter() - began


def small_read(folder, sizes, state):
    """read them back, cold"""
    began = time.perf_counter()
    for path, data in state["small"]:
        with open(path, "rb", buffering=0) as file:
            assert file.read() == data, "read back different"
    return time.perf_counter() - began


def untar(folder, sizes, state):
    """untar {tree} source files"""
    os.mkdir(folder + "/tree")
    began = time.perf_counter()
    run("tar", "-xf", sizes["tar"], "-C", folder + "/tree")
    return time.perf_counter() - began


def git_add(folder, sizes, state):
    """git init and git add of them"""
    tree = folder + "/tree"
    run("git", "-C", tree, "init", "-q")
    began = time.perf_counter()
    run("git", "-C", tree, "-c", "core.fsync=none", "add", "-A")
    return time.perf_counter() - began


def copy_tree(folder, sizes, state):
    """cp -a of the tree"""
    began = time.perf_counter()
    run("cp", "-a", "--reflink=never", folder + "/tree", folder + "/copy")
    return time.perf_counter() - began


def remove_tree(folder, sizes, state):
    """rm -rf of the copy"""
    began = time.perf_counter()
    run("rm", "-rf", folder + "/copy")
    return time.perf_counter() - began


def sqlite(folder, sizes, state):
    """{rows} SQLite transactions, WAL, synchronous=FULL"""
    base = sqlite3.connect(folder + "/base.db", isolation_level=None)
    base.execute("PRAGMA journal_mode=WAL")
    base.execute("PRAGMA synchronous=FULL")
    base.execute("CREATE TABLE t (id INTEGER PRIMARY KEY, text TEXT)")
    began = time.perf_counter()
    for index in range(sizes["rows"]):
        base.execute("INSERT INTO t (text) VALUES (?)", (f"row {index} " + "x" * 200,))
    seconds = time.perf_counter() - began
    assert base.execute("PRAGMA integrity_check").fetchone() == ("ok",)
    base.close()
    return seconds


# In a group one peer does everything before the next begins: dropping the kernel's caches for one drops them for all.
GROUPS = [
    # (name, function, cold before it)
    [
        ("sequential write", sequential_write, False),
        ("cold read", cold_read, True),
        ("warm read", warm_read, False),
        ("random 4 KiB read, cold", random_read, True),
        ("random write, fsync every 32", random_write, False),
    ],
    [
        ("create", create, False),
        ("list, cold", list_cold, True),
        ("stat, cold", stat_cold, True),
        ("rename", rename, False),
    ],
    [
        ("small files, write", small_write, False),
        ("small files, cold read", small_read, True),
    ],
    [
        ("untar", untar, False),
        ("git add", git_add, False),
        ("cp -a", copy_tree, False),
        ("rm -rf", remove_tree, False),
    ],
    [("SQLite transactions", sqlite, False)],
]
WORKLOADS = [work for group in GROUPS for work in group]


def make_tar(base, count):
    """Real source files: those of the Rust packages that this repository was built from."""
    path = os.path.join(base, "tree.tar")
    registry = os.path.expanduser(os.environ.get("CARGO_HOME", "~/.cargo") + "/registry/src")
    found = []
    for folder, folders, files in os.walk(registry):
        folders.sort()
        found += [os.path.join(folder, name) for name in sorted(files)]
        if len(found) >= count:
            break
    with tarfile.open(path, "w") as archive:
        for name in found[:count]:
            archive.add(name, os.path.relpath(name, registry))
    return path, len(found[:count])


def measure(peers, sizes, rounds, only):
    times = {}
    for turn in range(rounds):
        order = peers[turn % len(peers):] + peers[:turn % len(peers)]
        states = {peer.name: {} for peer in order}
        for peer in order:
            peer.start()
        for group, peer in ((group, peer) for group in GROUPS for peer in order):
            for name, work, is_cold in group:
                if is_cold:
                    peer.chill()
                seconds = work(peer.mountpoint, sizes, states[peer.name])
                times.setdefault((name, peer.name), []).append(seconds)
                print(f"round {turn + 1}  {name:30} {peer.name:12} {seconds:9.3f} s", file=sys.stderr, flush=True)
                os.sync()
        for peer in order:
            peer.stop()
    return {key: statistics.median(values) for key, values in times.items()}


def table(peers, sizes, median, rounds, command, disk):
    others = [peer.name for peer in peers[1:]]
    lines = [
        "# Benchmarks",
        "",
        "Made by `" + command + "`; do not edit by hand.",
        "",
        f"{datetime.date.today()} · {os.cpu_count()} cores · Linux {platform.release()} · "
        f"median of {rounds} rounds, peers interleaved, one disk ({disk}).",
        "",
        "Columns of peers are speed as a multiple of the plain file system's: 0.50 takes twice its time, 2.00 half of it. The last",
        "column is Strongroom's speed as a multiple of gocryptfs's; below 1 is a loss and in bold. The passthrough is an unencrypted",
        "FUSE file system (`tests/src/bin/passthrough.rs`) with the same kernel settings: what FUSE itself costs. fsync is honest on",
        "all sides; where a workload has none, nobody syncs. \"Cold\" is after sync, unmount, mount and dropping the kernel's caches.",
        "",
        "| workload | " + peers[0].name + " | " + " | ".join(others) + " | vs gocryptfs |",
        "| --- | ---: |" + " ---: |" * (len(others) + 1),
    ]
    for name, work, _ in WORKLOADS:
        plain = median[(name, peers[0].name)]
        cells = [f"{plain:.3f} s"] + [f"{plain / median[(name, other)]:.2f}" for other in others]
        against = "–"
        if (name, "gocryptfs") in median and (name, "strongroom") in median:
            ratio = median[(name, "gocryptfs")] / median[(name, "strongroom")]
            against = f"{ratio:.2f}" if ratio >= 1 else f"**{ratio:.2f}**"
        lines.append(f"| {name}: {work.__doc__.format(**sizes)} | " + " | ".join(cells) + f" | {against} |")
    return "\n".join(lines) + "\n"


def file_system(base):
    found = subprocess.run(["stat", "-f", "-c", "%T", base], capture_output=True, text=True)
    return found.stdout.strip()


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--quick", action="store_true", help="small sizes")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--base", default="target/bench", help="a folder on the disk to measure")
    parser.add_argument("--only", help="run only the peer of this name beside the plain folder")
    parser.add_argument("--out", default="docs/benchmarks.md")
    arguments = parser.parse_args()
    base = os.path.abspath(arguments.base)
    shutil.rmtree(base, ignore_errors=True)
    os.makedirs(base)
    disk = file_system(base)
    sizes = dict(SIZES["quick" if arguments.quick else "std"])
    sizes["tar"], sizes["tree"] = make_tar(base, sizes["tree"])
    peers = [Plain("plain", base), Gocryptfs("gocryptfs", base), Passthrough("passthrough", base), Strongroom("strongroom", base)]
    peers = peers[:1] + [peer for peer in peers[1:] if arguments.only in (None, peer.name)]
    command = "cargo xtask bench" + " --quick" * arguments.quick + f" --rounds {arguments.rounds}"
    try:
        median = measure(peers, sizes, arguments.rounds, arguments.only)
    finally:
        for peer in peers:
            peer.stop()
        shutil.rmtree(base, ignore_errors=True)
    text = table(peers, sizes, median, arguments.rounds, command, disk)
    write_text(arguments.out, text)
    print(text)


if __name__ == "__main__":
    main()
