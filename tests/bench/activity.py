#!/usr/bin/env python3
"""What policy costs an open: a file that somebody agreed to, in a view, beside the same bytes in the plain workspace.

    tests/bench/activity.py PROGRAM [--people N] [--size BYTES] [--rounds N] [--base FOLDER]

One store, two mounts at once: files and a view. Every round opens, reads and closes each person's file on both, in turn:
"first" is an open that has to be decided and recorded (the view is mounted anew for it), "again" one under a live lease,
both with the kernel's pages of before where there are any; "cold" drops them first. Prints p50 and p99 in microseconds, and
ratios of medians. Standard library only; as root, or "cold" stays warm.
"""
import argparse, json, os, random, shutil, statistics, subprocess, sys, tempfile, time

NOTICE = "We write to you once a month."


class Bench:
    def __init__(self, options):
        self.options = options
        self.work = tempfile.mkdtemp(prefix="strongroom-bench.", dir=options.base)
        self.environment = dict(os.environ, STRONGROOM_HOME=self.path("home"))
        self.write("passphrase", "the passphrase of a bench\n")
        self.write("notice", NOTICE)
        for name in ("files", "view"):
            os.mkdir(self.path(name))

    def path(self, *names):
        return os.path.join(self.work, *names)

    def write(self, name, data):
        with open(self.path(name), "w" if isinstance(data, str) else "wb") as file:
            file.write(data)

    def say(self, *words, stdin=None):
        command = [self.options.program, *words, "--passphrase-file", self.path("passphrase")]
        done = subprocess.run(command, env=self.environment, input=stdin, stdout=subprocess.PIPE, check=True)
        return done.stdout.decode().strip()

    def shop(self, *words, **more):
        return self.say(*words, "--workspace", self.path("store"), "--app", "shop", **more)

    def prepare(self):
        self.say("init", self.path("store"))
        self.say("app", "create", "shop", "--workspace", self.path("store"))
        self.shop("consumer", "register", "job", "--purpose", "bench", "--basis", "contract", "--class", "owned",
                  "--notice", self.path("notice"))
        self.shop("consumer", "approve", "job")
        chance = random.Random(1)
        self.contents = []
        for _ in range(self.options.people):
            subject = self.shop("subject", "create")
            content = chance.randbytes(self.options.size)
            self.shop("subject", "put", subject, "--class", "owned", "--name", "file", stdin=content)
            self.contents.append(content)
        self.mount("files")
        for number, content in enumerate(self.contents):
            self.write(os.path.join("files", f"file{number}"), content)
        os.sync()

    def mount(self, name, *more):
        self.say("mount", self.path("store"), self.path(name), "--background", *more)

    def mount_view(self):
        self.mount("view", "--app", "shop", "--activity", "job")
        root = self.path("view", "subjects")
        return [os.path.join(root, name, "owned", "file") for name in sorted(os.listdir(root))]

    def unmount(self, name):
        subprocess.run([self.options.program, "unmount", self.path(name)], env=self.environment, check=True)

    def run(self):
        self.prepare()
        plain = [self.path("files", f"file{number}") for number in range(self.options.people)]
        times = {}
        for _ in range(self.options.rounds):
            view = self.mount_view()
            for path in view:
                os.stat(path)
            pairs = [("files", plain), ("view", view)]
            for kind in ("first", "again", "cold"):
                for at in range(self.options.people):
                    for name, paths in pairs:
                        if kind == "cold":
                            drop_caches()
                            os.stat(paths[at])
                        took, content = timed(paths[at])
                        assert content in self.contents
                        times.setdefault((name, kind), []).append(took)
            self.unmount("view")
        self.unmount("files")
        return times


def timed(path):
    began = time.perf_counter_ns()
    with open(path, "rb", buffering=0) as file:
        content = file.readall()
    return (time.perf_counter_ns() - began) / 1000, content


def drop_caches():
    try:
        with open("/proc/sys/vm/drop_caches", "w") as file:
            file.write("1")
    except OSError:
        pass


def percentile(values, part):
    return sorted(values)[(len(values) - 1) * part // 100]


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("program")
    parser.add_argument("--people", type=int, default=20)
    parser.add_argument("--size", type=int, default=65536)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--base", default=None)
    options = parser.parse_args()
    options.program = os.path.realpath(options.program)
    bench = Bench(options)
    try:
        times = bench.run()
    finally:
        for name in ("view", "files"):
            if os.path.ismount(bench.path(name)):
                bench.unmount(name)
        shutil.rmtree(bench.work, ignore_errors=True)
    print(f"{options.people} people, {options.size} bytes each, {options.rounds} rounds; open, read, close in µs")
    print("| | files p50 | p99 | view p50 | p99 | ratio of p50 |\n| --- | --- | --- | --- | --- | --- |")
    for kind in ("first", "again", "cold"):
        files, view = times["files", kind], times["view", kind]
        ratio = statistics.median(view) / statistics.median(files)
        cells = [percentile(values, part) for values in (files, view) for part in (50, 99)]
        print(f"| {kind} | " + " | ".join(f"{cell:.0f}" for cell in cells) + f" | {ratio:.2f} |")


if __name__ == "__main__":
    main()
