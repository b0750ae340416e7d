"""The bytes of the story: what lies in the store, copies of it as a backup makes them, and the search for anything personal."""

import base64
import hashlib
import http.client
import json
import os
import shutil
import subprocess
import urllib.parse
from pathlib import Path

from story_machine import demand
from story_people import WORDS


class Folder:
    """A store in a folder."""

    def __init__(self, root):
        self.root = Path(root)

    def names(self):
        return {path.relative_to(self.root).as_posix() for path in self.root.rglob("*") if path.is_file()}

    def each(self):
        for name in self.names():
            # Letters come and go.
            try:
                yield name, (self.root / name).read_bytes()
            except FileNotFoundError:
                pass

    def copy_to(self, folder):
        for name, content in self.each():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            (folder / name).write_bytes(content)

    def put_back(self, folder):
        shutil.rmtree(self.root)
        shutil.copytree(folder, self.root)


class Bucket:
    """A store in a bucket, seen from behind: through the server's own filer, as it is kept there, without our client."""

    def __init__(self, address, root):
        self.address, self.root = address, root

    def ask(self, method, path, body=None):
        connection = http.client.HTTPConnection(self.address, timeout=60)
        connection.request(method, urllib.parse.quote(path, safe="/?=&"), body, {"Accept": "application/json"})
        answer = connection.getresponse()
        content = answer.read()
        connection.close()
        return answer.status, content

    def listed(self, folder):
        last = ""
        while True:
            status, content = self.ask("GET", f"{folder}/?limit=1000&lastFileName={last}")
            if status == 404:
                return
            demand(status == 200, f"listing the bucket: {status}")
            entries = json.loads(content)["Entries"] or []
            yield from entries
            if len(entries) < 1000:
                return
            last = entries[-1]["FullPath"].rsplit("/", 1)[1]

    def names(self):
        names, folders = set(), [self.root]
        while folders:
            for entry in self.listed(folders.pop()):
                if entry["Mode"] & 1 << 31:
                    folders.append(entry["FullPath"])
                else:
                    names.add(entry["FullPath"].removeprefix(f"{self.root}/"))
        return names

    def each(self):
        for name in self.names():
            status, content = self.ask("GET", f"{self.root}/{name}")
            if status == 200:
                yield name, content
            else:
                demand(status == 404, f"reading the bucket: {status}")

    def metrics(self):
        """What the server counts and tells, beside the filer's port."""
        host, port = self.address.split(":")
        other = Bucket(f"{host}:{int(port) + 1}", "")
        status, content = other.ask("GET", "/metrics")
        demand(status == 200 and len(content) > 1000, f"no metrics: {status}")
        return content.decode()

    copy_to = Folder.copy_to

    def put_back(self, folder):
        for name in self.names():
            self.ask("DELETE", f"{self.root}/{name}")
        for path in sorted(folder.rglob("*")):
            if path.is_file():
                status, _ = self.ask("PUT", f"{self.root}/{path.relative_to(folder).as_posix()}", path.read_bytes())
                demand(status in (200, 201), f"writing the bucket: {status}")


def forms(word):
    """A word as programs write words."""
    found = set()
    for text in {word, word.lower(), word.upper(), json.dumps(word)[1:-1], json.dumps(word.lower())[1:-1]}:
        plain = text.encode()
        found |= {plain, urllib.parse.quote(text).encode(), plain.hex().encode(), plain.hex().upper().encode()}
        found |= {text.encode("utf-16-le"), text.encode("utf-16-be")}
        # In base64 a word looks one of three ways, by where it begins; what is beside it shows in the first and last letters.
        for before in range(3):
            letters = base64.b64encode(b"\0" * before + plain)[(0, 2, 3)[before]:(before + len(plain)) * 8 // 6]
            found |= {letters, letters.translate(bytes.maketrans(b"+/", b"-_"))}
    return found


def digests(text):
    """Of what may be looked up by who guesses it."""
    hashes = [hashlib.new(name, text.encode()).digest() for name in ("md5", "sha1", "sha256", "blake2s", "blake2b")]
    return {form for value in hashes for form in (value[:16], value.hex()[:32].encode(), base64.b64encode(value)[:20])}


class Search:
    """Looks for what was generated, in every form. `grep` looks for all of it at once, through many files at a time."""

    BATCH_LEN = 16 << 20

    def __init__(self, people, patterns):
        self.people, self.patterns = people, patterns
        self.needles = set().union(*(forms(word) for word in WORDS))
        for person in people[:10]:
            self.needles |= digests(person.email) | digests(person.email.split("@")[0]) | digests(person.insured)
        # To `grep` a line feed ends a word: of a digest with one in it the longest part is looked for.
        self.needles = {max(needle.split(b"\n"), key=len) for needle in self.needles}
        demand(min(map(len, self.needles)) >= 6, "a needle is so short that chance would find it")
        patterns.write_bytes(b"\n".join(self.needles))
        self.batch, self.batch_len, self.count, self.size = [], 0, 0, 0

    def lines(self, text):
        """How many lines have anything of it."""
        command = ["grep", "--count", "--text", "--fixed-strings", f"--file={self.patterns}"]
        ended = subprocess.run(command, input=text, capture_output=True, env={"LC_ALL": "C", "PATH": os.environ["PATH"]}, check=False)
        demand(ended.returncode in (0, 1), f"grep: {ended.stderr[:200]}")
        return int(ended.stdout)

    def look(self, name, content):
        self.batch.append((str(name), content))
        self.batch_len += len(content)
        self.count, self.size = self.count + 1, self.size + len(content)
        if self.batch_len > self.BATCH_LEN:
            self.finish()

    def finish(self):
        """Looks through what waits."""
        if self.lines(b"".join(name.encode() + b"\n" + content + b"\n" for name, content in self.batch)):
            for name, content in self.batch:
                found = next((needle for needle in self.needles if needle in content or needle in name.encode()), None)
                demand(found is None, f"`{found}` in {name}")
        self.batch, self.batch_len = [], 0

    def look_below(self, root, but=()):
        for folder, folders, files in os.walk(root):
            folders[:] = [name for name in folders if Path(folder) / name not in but]
            for name in files:
                path = Path(folder) / name
                if path not in but and path.is_file():
                    self.look(path, path.read_bytes())

    def sees_everything(self, piece=512):
        """The search itself is tried: it finds each piece of everything that was put in, and each value in every form."""
        pieces, values = [], []
        for person in self.people:
            for at in range(0, len(person.order), piece):
                end = min(at + piece, len(person.order))
                pieces.append(person.order[max(0, end - piece):end].replace(b"\n", b" "))
            for value in (person.name, person.email, person.insured, person.profile.decode()):
                values += [value.encode(), value.encode("utf-16-le"), value.encode().hex().encode()]
                values += [json.dumps(value).encode(), urllib.parse.quote(value).encode()]
                values += [base64.b64encode(b"?" * before + value.encode()) for before in range(3)]
        values += [b"..." + hashlib.sha256(person.email.encode()).hexdigest().encode() for person in self.people[:10]]
        for what, all_of_it in (("pieces of orders", pieces), ("values in other forms", values)):
            seen = self.lines(b"\n".join(all_of_it))
            demand(seen == len(all_of_it), f"{seen} of {len(all_of_it)} {what} would be found")
        return f"each of {len(pieces)} pieces of orders and of {len(values)} values in different forms would be found"
