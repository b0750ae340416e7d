"""The story of personal data across devices: `story.py PROGRAM WORK STORE FORM PLACE...`

One custodian serves three consumers, each on a device of its own (a home and a passphrase of its own), over one store. What each
consumer's mount must hold is worked out here from what was said, never asked of the program. PLACEs are searched at the end.
Prints lines as the suites do; ends with 1 if anything failed.
"""

import errno
import http.client
import json
import os
import random
import re
import signal
import socket
import statistics
import subprocess
import sys
import threading
import time
from pathlib import Path

PROGRAM, WORK, STORE, FORM, *PLACES = sys.argv[1:]
WORK = Path(WORK)
IS_LONG = FORM == "long"
COUNT = 1000 if IS_LONG else 24
TRIALS = 100 if IS_LONG else 6
# From the act to the last read that goes well.
LIMIT = 3.0
LEASE = 2
JOBS = {
    "newsletter": ("mailer", "consent", ["identifiable"]),
    "research": ("lab", "consent", ["identifiable", "owned"]),
    "profiling": ("fraud", "legitimate-interest", ["identifiable"]),
}
CHANCE = random.Random(20261122)
GIVEN = "Ada Berta Cem Dora Emil Frida Gül Hugo Ines Jonas Klara Leyla Mika Nora Otto Paula Quentin Rosa Selim Tove".split()
FAMILY = "Achterberg Brandauer Castellanos Dvorzak Eskildsen Fahrenkrog Grabowska Hallgrimsson Ibarra Jurkiewicz".split()
FAILED, PASSED = [], []


def say(text):
    print(text, flush=True)


def step(what, act, *arguments):
    began = time.monotonic()
    try:
        said = act(*arguments)
    except Exception as error:  # noqa: BLE001: whatever went wrong is told, and the story goes on where it can
        FAILED.append(what)
        say(f"FAILED  {what}: {type(error).__name__}: {error}")
        return False
    PASSED.append(what)
    say(f"ok      {what}{': ' + said if said else ''} ({time.monotonic() - began:.0f} s)")
    return True


def run(home, *words, check=True, text=None):
    environment = dict(os.environ, STRONGROOM_HOME=str(WORK / home))
    ended = subprocess.run(
        [PROGRAM, *map(str, words)], env=environment, input=text, capture_output=True, text=True, check=False
    )
    if check and ended.returncode != 0:
        raise RuntimeError(f"{words[:3]} ended with {ended.returncode}: {ended.stderr.strip()}")
    return ended.stdout.strip()


def passphrase(home):
    return ["--passphrase-file", WORK / f"{home}.pass"]


class Api:
    """The agent's API over its socket."""

    def __init__(self, token, app="shop"):
        self.token, self.app = token, app

    def raw(self, method, path, body=None):
        connection = http.client.HTTPConnection("localhost", timeout=600)
        connection.sock = socket.socket(socket.AF_UNIX)
        connection.sock.settimeout(600)
        connection.sock.connect(str(WORK / "agent.sock"))
        if body is not None and not isinstance(body, bytes):
            body = json.dumps(body).encode()
        connection.request(method, f"/v1/apps/{self.app}/{path}", body, {"Authorization": f"Bearer {self.token}"})
        answer = connection.getresponse()
        content = answer.read()
        connection.close()
        return answer.status, content

    def __call__(self, method, path, body=None):
        status, content = self.raw(method, path, body)
        if status >= 300:
            raise RuntimeError(f"{method} {path}: {status} {content[:200]!r}")
        return json.loads(content) if content[:1] in b"{[" else content


class Person:
    """What somebody said, as this story decided it."""

    def __init__(self, number):
        given, family = CHANCE.choice(GIVEN), CHANCE.choice(FAMILY)
        self.name = f"{given} {family}-{number}"
        self.email = f"{given}.{family}.{number}@canary.example".lower()
        self.order = f"order {number} of {self.name}: {CHANCE.randbytes(CHANCE.randrange(20, 40_000)).hex()}".encode()
        self.profile = json.dumps({"email": self.email, "name": self.name}).encode()
        self.id, self.agreed, self.is_erased = None, {}, False

    def may(self, job):
        """Classes that a job may have."""
        return frozenset() if self.is_erased else frozenset(self.agreed.get(job, ()))

    def content(self, job):
        files = {"identifiable": ("profile.json", self.profile), "owned": ("order.txt", self.order)}
        return frozenset((name, *files[name]) for name in self.may(job))


class Mount:
    """A consumer's device with its view mounted."""

    def __init__(self, job):
        self.job, self.home, self.path = job, f"job-{job}", WORK / f"mount-{job}"
        self.path.mkdir()
        self.process = None

    def enrol(self):
        consumer = JOBS[self.job][0]
        code = run(self.home, "device", "request", STORE, "--little-memory", *passphrase(self.home))
        run("home", "device", "add", STORE, "--code", code, "--name", f"{consumer}-1", "--consumer", consumer, *passphrase("home"))

    def start(self):
        environment = dict(os.environ, STRONGROOM_HOME=str(WORK / self.home))
        words = ["mount", STORE, self.path, "--app", "shop", "--activity", self.job, *passphrase(self.home)]
        log = open(WORK / f"{self.home}.log", "wb")
        self.process = subprocess.Popen([PROGRAM, *map(str, words)], env=environment, stdout=log, stderr=log)
        end = time.monotonic() + 120
        while not os.path.ismount(self.path):
            if self.process.poll() is not None or time.monotonic() > end:
                raise RuntimeError(f"no mount: {(WORK / f'{self.home}.log').read_text()}")
            time.sleep(0.05)

    def stop(self):
        if self.process and self.process.poll() is None:
            run(self.home, "unmount", self.path, check=False)
            self.process.wait(60)

    def seen(self):
        """What everybody who is shown has, by what the job calls them."""
        people = {}
        for person in os.scandir(self.path / "subjects"):
            held = set()
            for folder in os.scandir(person.path):
                for file in os.scandir(folder.path):
                    held.add((folder.name, file.name, Path(file.path).read_bytes()))
            people[person.name] = frozenset(held)
        return people

    def find(self, content):
        """Where somebody is; who has just agreed is shown within seconds."""
        found = []

        def missing():
            found[:] = [person for person, held in self.seen().items() if held == content]
            return None if found else f"{self.job} does not show whom it should"
        until("a person", missing)
        return self.path / "subjects" / found[0]


def until(what, is_so, limit=60):
    end = time.monotonic() + limit
    while True:
        wrong = is_so()
        if not wrong:
            return
        if time.monotonic() > end:
            raise RuntimeError(f"{what}: {wrong}")
        time.sleep(0.05)


class Story:
    def __init__(self):
        self.people = [Person(number) for number in range(COUNT)]
        self.mounts = {job: Mount(job) for job in JOBS}
        self.agent = self.shop = None

    def prepare(self):
        for home in ["home", "spare", *(mount.home for mount in self.mounts.values())]:
            (WORK / f"{home}.pass").write_text(f"the passphrase of {home}\n")
        run("home", "init", STORE, "--little-memory", *passphrase("home"))
        for app in ["shop", "clinic"]:
            run("home", "app", "create", app, "--custody", f"file:{WORK}/keys-{app}", "-w", STORE, *passphrase("home"))
        for mount in self.mounts.values():
            mount.enrol()
        tokens = ["--tokens", WORK / "tokens.json"]
        self.shop = Api(run("home", "token", "create", "web", "--app", "shop", *tokens))
        self.clinic = Api(run("home", "token", "create", "desk", "--app", "clinic", *tokens), "clinic")
        self.audit = Api(run("home", "token", "create", "audit", "--app", "shop", "--auditor", *tokens))
        self.start_agent()

    def start_agent(self):
        environment = dict(os.environ, STRONGROOM_HOME=str(WORK / "home"))
        words = ["agent", STORE, "--socket", WORK / "agent.sock", "--tokens", WORK / "tokens.json", "--consumers"]
        log = open(WORK / "agent.log", "ab")
        self.agent = subprocess.Popen(
            [PROGRAM, *map(str, words), *map(str, passphrase("home"))], env=environment, stdout=subprocess.PIPE, stderr=log
        )
        if b"serves consumers" not in self.agent.stdout.readline() + self.agent.stdout.readline():
            raise RuntimeError(f"no agent: {(WORK / 'agent.log').read_text()}")

    def sign_up(self):
        self.shop("PUT", "schema", {"email": {"type": "email", "required": True, "lookup": True}, "name": {"type": "text"}})
        for first in range(0, COUNT, 250):
            some = self.people[first:first + 250]
            new = [{"profile": json.loads(person.profile)} for person in some]
            for person, made in zip(some, self.shop("POST", "subjects/import", {"subjects": new})["subjects"], strict=True):
                person.id = made
        for person in self.people:
            # As it is stored, not as JSON may be written again.
            self.shop("PUT", f"subjects/{person.id}/files/identifiable/profile.json", person.profile)
            self.shop("PUT", f"subjects/{person.id}/files/owned/order.txt", person.order)
        self.clinic("POST", "subjects", {"lookups": {"email": self.people[0].email}})

    def register(self):
        for job, (consumer, basis, classes) in JOBS.items():
            self.shop("POST", "activities", {
                "name": job, "consumer": consumer, "purpose": f"{job}.work", "basis": basis, "classes": classes,
                "notice": "We tell you what we do.",
            })
            self.shop("POST", f"activities/{job}/approve")

    def answer(self, person, job, status, classes=()):
        body = {"status": status, "classes": list(classes), "evidence": {"who": "canary", "how": "form"}}
        self.shop("PUT", f"subjects/{person.id}/consents/{job}", body)
        if JOBS[job][1] == "consent":
            person.agreed[job] = (classes or JOBS[job][2]) if status == "given" else ()
        else:
            person.agreed[job] = () if status == "objected" else JOBS[job][2]

    def answers(self):
        for person in self.people:
            person.agreed["profiling"] = JOBS["profiling"][2]
            if CHANCE.random() < 0.7:
                self.answer(person, "newsletter", CHANCE.choice(["given", "given", "refused"]))
            for classes in CHANCE.choice([[], ["identifiable"], ["owned"], ["identifiable", "owned"]]), :
                if classes:
                    self.answer(person, "research", "given", classes)
            if CHANCE.random() < 0.3:
                self.answer(person, "profiling", "objected")

    def wrong(self, mount):
        expected = sorted((person.content(mount.job) for person in self.people if person.may(mount.job)), key=sorted)
        seen = sorted(mount.seen().values(), key=sorted)
        if seen == expected:
            return None
        return f"{mount.job} shows {len(seen)}, {len(expected)} agreed"

    def wrong_or_away(self, mount):
        try:
            return self.wrong(mount)
        except OSError as error:
            # What was asked while the custodian was silent is answered so.
            if error.errno != errno.EHOSTUNREACH:
                raise
            return str(error)

    def compare(self):
        names = []
        for mount in self.mounts.values():
            until("exactly who agreed", lambda mount=mount: self.wrong(mount))
            names += os.listdir(mount.path / "subjects")
            for name in [self.people[0].id, "ab" * 16]:
                if (mount.path / "subjects" / name).exists():
                    raise RuntimeError("somebody is there by a name that was never told")
        if len(set(names)) != len(names):
            raise RuntimeError("two jobs have one name for somebody")
        return f"{len(names)} people shown by {len(self.mounts)} mounts"

    def withdrawal(self):
        """Reads on a descriptor and a mapping in processes of their own; none goes well after the act has been answered."""
        spans = []
        mount = self.mounts["research"]
        person = next(person for person in self.people if "owned" in person.may("research"))
        # What a job calls somebody stays, whatever they say.
        path = mount.find(person.content("research")) / "owned/order.txt"
        for _ in range(TRIALS):
            until("who agreed again", lambda: None if path.exists() else "not shown")
            readers = [Reader(path, way) for way in ("pread", "mmap")]
            for reader in readers:
                reader.wait_for_first()
            classes = person.agreed["research"]
            began = time.time_ns()
            self.answer(person, "research", "withdrawn")
            ended = time.time_ns()
            for reader in readers:
                last = reader.last()
                if last > ended:
                    raise RuntimeError(f"{reader.way}: a read that began {(last - ended) / 1e6:.1f} ms after the answer went well")
                spans.append((last - began) / 1e9)
            if path.exists():
                raise RuntimeError("the name is still there")
            self.answer(person, "research", "given", classes)
        if max(spans) > LIMIT:
            raise RuntimeError(f"the last read went well {max(spans):.2f} s after the act began")
        spans.sort()
        return (f"{TRIALS} trials, from the act to the last good read p50 {statistics.median(spans):.2f} s, "
                f"max {max(spans):.2f} s")

    def rotations(self):
        owner = self.people[3]
        spare_code = run("spare", "device", "request", STORE, "--little-memory", *passphrase("spare"))
        run("home", "device", "add", STORE, "--code", spare_code, "--name", "spare", *passphrase("home"))
        levels = {
            "application": lambda: self.shop("POST", "rotate", {}),
            "subject": lambda: self.shop("POST", f"subjects/{owner.id}/rotate", {"deep": True}),
            "class": lambda: self.shop("POST", f"subjects/{owner.id}/rotate", {"deep": True, "class": "owned"}),
            "everybody": lambda: self.shop("POST", "rotate", {"everybody": True, "deep": True}),
            "workspace epoch": lambda: run("home", "device", "revoke", STORE, "spare", "--yes", *passphrase("home")),
        }
        with Load(self) as load:
            for level, act in levels.items():
                before = load.count
                act()
                until(f"reads after {level}", lambda before=before: load.count <= before + 2 and "no reads")
        if load.wrong:
            raise RuntimeError(load.wrong[0])
        self.compare()
        return f"{', '.join(levels)}; {load.count} reads of whole files meanwhile, all right, {load.unanswered} unanswered"

    def export(self):
        person = self.people[4]
        status, tar = self.shop.raw("POST", f"subjects/{person.id}/export")
        bag = WORK / "bag"
        bag.mkdir()
        unpacked = subprocess.run(["tar", "--extract", "--file=-"], cwd=bag, input=tar, check=False)
        checked = subprocess.run(["sha256sum", "--check", "--quiet", "manifest-sha256.txt"], cwd=bag, check=False)
        files = {path.relative_to(bag / "data/files").as_posix(): path.read_bytes()
                 for path in (bag / "data/files").rglob("*") if path.is_file()}
        expected = {"identifiable/profile.json": person.profile, "owned/order.txt": person.order}
        if (status, unpacked.returncode, checked.returncode) != (200, 0, 0) or files != expected:
            raise RuntimeError(f"{status}, {sorted(files)}")
        subprocess.run(["rm", "-r", bag], check=True)

    def erasure(self):
        for person in self.people[::7]:
            erased = self.shop("POST", f"subjects/{person.id}/erase")
            if erased["objects_left"]:
                raise RuntimeError("objects are left")
            person.is_erased = True
        return self.compare()

    def report(self):
        """What a job opened is on record for that person, by name, and nobody is on record who was not shown."""
        person = next(person for person in self.people if person.may("newsletter") == {"identifiable"})
        Path(self.mounts["newsletter"].find(person.content("newsletter")) / "identifiable/profile.json").read_bytes()

        def missing():
            entries = self.shop("GET", f"subjects/{person.id}/report")["entries"]
            opened = [entry for entry in entries if entry["activity"] == "newsletter" and entry.get("files")]
            return None if opened else "nothing was opened"
        until("opened files on record", missing)
        quiet = next(person for person in self.people if not person.is_erased and not person.may("research") and "research" not in person.agreed)
        entries = self.shop("GET", f"subjects/{quiet.id}/report")["entries"]
        if any(entry["activity"] == "research" for entry in entries):
            raise RuntimeError("somebody who never agreed is on record as used")

    def cut_off(self):
        """The custodian falls silent: reads go well until leases are over, and never after."""
        for name in ["identifiable", "owned"]:
            run("home", "app", "lease", name, "--seconds", LEASE, "-w", STORE, "--app", "shop", *passphrase("home"))
        mount = self.mounts["research"]
        person = next(person for person in self.people if "owned" in person.may("research"))
        path = mount.find(person.content("research")) / "owned/order.txt"
        # Leases from before are longer: those of a mount made anew are not.
        mount.stop()
        mount.start()
        path = mount.find(person.content("research")) / "owned/order.txt"
        readers = [Reader(path, way) for way in ("pread", "mmap")]
        for reader in readers:
            reader.wait_for_first()
        time.sleep(2 * LEASE)
        if any(reader.process.poll() is not None for reader in readers):
            raise RuntimeError("a lease in use was not renewed")
        os.kill(self.agent.pid, signal.SIGSTOP)
        stopped = time.time_ns()
        try:
            spans = [(reader.last() - stopped) / 1e9 for reader in readers]
        finally:
            os.kill(self.agent.pid, signal.SIGCONT)
        if max(spans) > LEASE:
            raise RuntimeError(f"a read went well {max(spans):.2f} s after the custodian fell silent")
        until("it comes back", lambda: self.wrong_or_away(mount))
        return f"the last read went well {max(spans):.2f} s after the custodian fell silent, the lease is {LEASE} s"

    def verify(self):
        findings = self.audit("POST", "audit/verify")["findings"]
        if findings:
            raise RuntimeError(findings)

    def search(self):
        """Every byte of bucket, local state and logs, for everything that was generated."""
        words = [person.email for person in self.people] + [person.name for person in self.people]
        words += ["canary.example", *FAMILY, *(f"{job}.work" for job in JOBS)]
        found = re.compile(b"|".join(re.escape(word.encode()) for word in words))
        count = size = 0
        for place in [*PLACES, str(WORK / "home"), *(str(WORK / mount.home) for mount in self.mounts.values())]:
            for folder, _, files in os.walk(place):
                for name in files:
                    path = Path(folder) / name
                    content = path.read_bytes()
                    count, size = count + 1, size + len(content)
                    hit = found.search(content) or found.search(str(path).encode())
                    if hit:
                        raise RuntimeError(f"`{hit[0].decode()}` in {path}")
        for log in WORK.glob("*.log"):
            if found.search(log.read_bytes()):
                raise RuntimeError(f"something personal in {log}")
        if size < 1 << 18:
            raise RuntimeError(f"only {size} bytes")
        return f"{len(words)} words, {count} files, {size >> 20} MiB"

    def end(self):
        for mount in self.mounts.values():
            if mount.process is None:
                continue
            subprocess.run(["umount", "-l", mount.path], capture_output=True, check=False)
            mount.process.terminate()
            try:
                mount.process.wait(30)
            except subprocess.TimeoutExpired:
                mount.process.kill()
        if self.agent and self.agent.poll() is None:
            self.agent.terminate()
            self.agent.wait(60)


READER = """
import mmap, os, sys, time
path, way, note = sys.argv[1:]
descriptor = os.open(path, os.O_RDONLY)
size = os.fstat(descriptor).st_size
pages = mmap.mmap(descriptor, size, prot=mmap.PROT_READ) if way == "mmap" else None
last = open(note, "wb", buffering=0)
while True:
    began = time.time_ns()
    if pages is not None:
        pages[size // 2]
    else:
        try:
            os.pread(descriptor, 64, 0)
        except OSError as error:
            sys.exit(error.errno)
    last.seek(0)
    last.write(b"%20d" % began)
    time.sleep(0.0005)
"""


class Reader:
    """Reads as long as it may, in a process of its own, and notes when the last read began that went well."""

    def __init__(self, path, way):
        self.way, self.note = way, WORK / f"last-{way}"
        self.note.unlink(missing_ok=True)
        self.process = subprocess.Popen([sys.executable, "-c", READER, path, way, self.note])

    def wait_for_first(self):
        def missing():
            if self.process.poll() is not None:
                raise RuntimeError(f"{self.way} could not begin")
            return None if self.note.exists() and self.note.stat().st_size == 20 else "no read"
        until("a first read", missing)

    def last(self):
        """Waits until it can read no more."""
        try:
            # Whoever waits for a silent custodian is told after 20 s.
            ended = self.process.wait(90)
        except subprocess.TimeoutExpired:
            self.process.kill()
            raise RuntimeError(f"{self.way} reads on") from None
        expected = [-signal.SIGBUS] if self.way == "mmap" else [13, 113, 116]
        if ended not in expected:
            raise RuntimeError(f"{self.way} ended with {ended}")
        return int(self.note.read_bytes())


class Load:
    """Reads whole files of a mount all the time and compares them with what was put in."""

    def __init__(self, story):
        self.story, self.mount = story, story.mounts["research"]
        self.count, self.unanswered, self.wrong, self.ends = 0, 0, [], False
        self.thread = threading.Thread(target=self.run)

    def run(self):
        contents = {content for person in self.story.people for content in person.content("research")}
        while not self.ends:
            try:
                for held in self.mount.seen().values():
                    self.count += len(held)
                    self.wrong += [f"{name} of {folder} is another one" for folder, name, content in held
                                   if (folder, name, content) not in contents]
            except OSError as error:
                # A file whose bytes lie elsewhere now is another file to whoever had it open; while the custodian is busy
                # with many keys, who asks may be told that it does not answer.
                if error.errno == errno.EHOSTUNREACH:
                    self.unanswered += 1
                elif error.errno not in (2, 116):
                    self.wrong.append(f"a read failed: {error}")

    def __enter__(self):
        self.thread.start()
        return self

    def __exit__(self, *_):
        self.ends = True
        self.thread.join()


def main():
    story = Story()
    try:
        goes = step(f"two applications, {len(JOBS)} devices of consumers, an agent that serves them", story.prepare)
        goes = goes and step(f"{COUNT} people signed up, each with a profile and an order", story.sign_up)
        goes = goes and step("three jobs registered", story.register) and step("everybody answers, or does not", story.answers)
        for mount in story.mounts.values():
            goes = goes and step(f"{mount.job} mounts on its own device", mount.start)
        if goes:
            step("each mount is exactly what was agreed, byte for byte", story.compare)
            step("what was opened is on record", story.report)
            step("a withdrawal reaches open descriptors and mappings on another device", story.withdrawal)
            step("new keys at every level under load", story.rotations)
            step("an export is what was put in", story.export)
            step("erasure reaches the mounts", story.erasure)
            step("with the custodian silent nothing is read once leases are over", story.cut_off)
            step("the register is sound", story.verify)
    finally:
        story.end()
    if goes:
        step("nothing personal in any byte of store, state and logs", story.search)
    say(f"{len(PASSED)} passed, {len(FAILED)} failed, 0 skipped")
    sys.exit(bool(FAILED))


main()
