"""What the story does things with: the command, the agent and its API, mounts of consumers."""

import asyncio
import ctypes
import http.client
import json
import multiprocessing
import os
import signal
import socket
import subprocess
import time
from pathlib import Path


class Place:
    """Where a story happens."""

    def __init__(self, program, work, store):
        self.program, self.work, self.store = program, Path(work), store

    def environment(self, home, more=None):
        return dict(os.environ, STRONGROOM_HOME=str(self.work / home), **(more or {}))

    def passphrase(self, home):
        return ["--passphrase-file", self.work / f"{home}.pass"]

    def ended(self, home, *words):
        command = [self.program, *map(str, words)]
        return subprocess.run(command, env=self.environment(home), capture_output=True, text=True, check=False)

    def run(self, home, *words):
        ended = self.ended(home, *words)
        if ended.returncode != 0:
            raise RuntimeError(f"{words[:3]} ended with {ended.returncode}: {ended.stderr.strip()}")
        return ended.stdout.strip()


def until(what, is_so, limit=60, pause=0.05):
    """Waits until nothing is wrong any more."""
    end = time.monotonic() + limit
    while wrong := is_so():
        if time.monotonic() > end:
            raise RuntimeError(f"{what}: {wrong}")
        time.sleep(pause)


def demand(is_so, otherwise):
    if not is_so:
        raise RuntimeError(otherwise)


class Api:
    """The agent's API over its socket, with one token."""

    def __init__(self, place, token, app="shop"):
        self.socket, self.token, self.app = str(place.work / "agent.sock"), token, app

    def raw(self, method, path, body=None):
        connection = http.client.HTTPConnection("localhost", timeout=600)
        connection.sock = socket.socket(socket.AF_UNIX)
        connection.sock.settimeout(600)
        connection.sock.connect(self.socket)
        if body is not None and not isinstance(body, bytes):
            body = json.dumps(body, ensure_ascii=False, separators=(",", ":")).encode()
        connection.request(method, f"/v1/apps/{self.app}/{path}", body, {"Authorization": f"Bearer {self.token}"})
        answer = connection.getresponse()
        content = answer.read()
        connection.close()
        return answer.status, content

    def __call__(self, method, path, body=None):
        status, content = self.raw(method, path, body)
        if status >= 300:
            raise RuntimeError(f"{method} {path.split('/')[0]}: {status} {content[:200]!r}")
        return json.loads(content)

    def refused(self, method, path, body=None):
        """What must not be answered: 403 or 404, nothing else."""
        status, content = self.raw(method, path, body)
        demand(status in (403, 404), f"{method} {path.split('/')[0]} was answered with {status} {content[:80]!r}")


class Running:
    """A process that can be made to stand still."""

    process = None

    def silence(self):
        os.kill(self.process.pid, signal.SIGSTOP)

    def speak(self):
        os.kill(self.process.pid, signal.SIGCONT)


class Agent(Running):
    def __init__(self, place):
        self.place, self.process = place, None

    def start(self):
        words = ["agent", self.place.store, "--socket", self.place.work / "agent.sock", "--consumers"]
        words += ["--tokens", self.place.work / "tokens.json", *self.place.passphrase("home")]
        with open(self.place.work / "agent.log", "ab") as log:
            self.process = subprocess.Popen(
                [self.place.program, *map(str, words)], env=self.place.environment("home"), stdout=subprocess.PIPE, stderr=log
            )
        if b"serves consumers" not in self.process.stdout.readline() + self.process.stdout.readline():
            raise RuntimeError(f"no agent: {(self.place.work / 'agent.log').read_text()[-400:]}")

    def refuses(self):
        """Does not start, with nobody to serve; returns with what it said."""
        said = (self.place.work / "agent.log").stat().st_size
        try:
            self.start()
        except RuntimeError:
            demand(self.process.wait(60) not in (0, 70), "it ended as if nothing was wrong, or by a fault of its own")
            return (self.place.work / "agent.log").read_text()[said:].splitlines()[0]
        raise RuntimeError("it serves")

    def closed(self, api):
        """Starts, and does not serve one application of several; returns with what it says of that."""
        self.start()
        status, content = api.raw("GET", "subjects?count=1")
        self.stop()
        demand(status >= 400, "it is served")
        return json.loads(content)["error"]["message"]

    def stop(self):
        if self.process and self.process.poll() is None:
            self.process.terminate()
            self.process.wait(60)


class Mount(Running):
    """What a job sees: of a consumer's device of its own, or on the custodian's machine."""

    def __init__(self, place, job, consumer, home=None):
        self.place, self.job, self.consumer = place, job, consumer
        self.home = home or f"job-{job}"
        self.path = place.work / f"mount-{job}-{self.home}"
        self.path.mkdir()
        self.process = None

    def request(self):
        return self.place.run(self.home, "device", "request", self.place.store, "--little-memory", *self.place.passphrase(self.home))

    def add(self, code):
        words = ["device", "add", self.place.store, "--code", code, "--name", f"{self.consumer}-1", "--consumer", self.consumer]
        self.place.run("home", *words, *self.place.passphrase("home"))

    def command(self):
        words = ["mount", self.place.store, self.path, "--app", "shop", "--activity", self.job]
        return [*words, *self.place.passphrase(self.home)]

    def log(self):
        return self.place.work / f"mount-{self.job}-{self.home}.log"

    def start(self, environment=None):
        with open(self.log(), "ab") as log:
            self.process = subprocess.Popen(
                [self.place.program, *map(str, self.command())],
                env=self.place.environment(self.home, environment), stdout=log, stderr=log,
            )
        end = time.monotonic() + 120
        while not os.path.ismount(self.path):
            if self.process.poll() is not None or time.monotonic() > end:
                raise RuntimeError(f"no mount: {self.log().read_text()[-400:]}")
            time.sleep(0.02)

    def stop(self):
        if self.process and self.process.poll() is None:
            self.place.ended(self.home, "unmount", self.path)
            self.process.wait(60)

    def end(self):
        """Ends whatever state it is in."""
        if self.process is None or self.process.poll() is not None:
            return
        subprocess.run(["umount", "-l", self.path], capture_output=True, check=False)
        self.process.terminate()
        try:
            self.process.wait(30)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()

    def names(self):
        """Whom it shows, and which classes of them."""
        people = self.path / "subjects"
        return {name: frozenset(os.listdir(people / name)) for name in os.listdir(people)}

    def files(self, name):
        """Files of somebody who is shown, by class and name."""
        root = self.path / "subjects" / name
        return [f"{folder}/{file}" for folder in sorted(os.listdir(root)) for file in sorted(os.listdir(root / folder))]

    def read(self, name, file):
        return (self.path / "subjects" / name / file).read_bytes()


class Wire:
    """A way to a server that can be cut: nothing goes through, and nobody is told."""

    def __init__(self, server):
        host, port = server.removeprefix("http://").split(":")
        listener = socket.create_server(("127.0.0.1", 0))
        self.address = f"http://127.0.0.1:{listener.getsockname()[1]}"
        self.process = multiprocessing.get_context("fork").Process(target=carry, args=(listener, host, int(port)), daemon=True)
        self.process.start()
        listener.close()

    def cut(self):
        os.kill(self.process.pid, signal.SIGSTOP)

    def mend(self):
        os.kill(self.process.pid, signal.SIGCONT)


def carry(listener, host, port):
    ends_with_parent()

    async def pass_on(reader, writer):
        while some := await reader.read(1 << 16):
            writer.write(some)
            await writer.drain()
        writer.close()

    async def meet(reader, writer):
        there, back = await asyncio.open_connection(host, port)
        await asyncio.gather(pass_on(reader, back), pass_on(there, writer), return_exceptions=True)

    async def serve():
        async with await asyncio.start_server(meet, sock=listener) as server:
            await server.serve_forever()

    asyncio.run(serve())


def ends_with_parent():
    """Has the kernel end this process when the one that made it ends."""
    ctypes.CDLL(None).prctl(1, signal.SIGKILL)
