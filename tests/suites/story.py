"""The story of personal data across devices: `story.py PROGRAM WORK STORE FORM`, below `story.sh`.

One custodian serves three consumers, each on a device of its own (a home and a passphrase of its own), over one store, and one of
them on its own machine, too. What each mount must hold, what must be on record and what was opened is worked out here from what was
said and done, never asked of the program. $SUITE_PEOPLE and $SUITE_TRIALS say how many; $STORY_FILER is where a bucket can be seen
from behind. Prints lines as the suites do; ends with 1 if anything failed.
"""

import errno
import hashlib
import io
import json
import os
import subprocess
import sys
import tarfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from story_bytes import Bucket, Folder, Search
from story_machine import Agent, Api, Mount, Place, Wire, demand, until
from story_people import CHANCE, EVIDENCE, JOBS, NOTICE, ORDER, PROFILE, Person
from story_reads import DISK, Load, Reader, Spans

IS_LONG = sys.argv[4] == "long"
COUNT = int(os.environ.get("SUITE_PEOPLE") or (1000 if IS_LONG else 24))
TRIALS = int(os.environ.get("SUITE_TRIALS") or (100 if IS_LONG else 6))
# From an act to the end of the last read that goes well, in seconds: on a device elsewhere, and on the custodian's machine, where
# all of it is on that machine. An act itself takes a few requests to a bucket.
# In the short form, which runs an unoptimised program beside other suites: an act waits five seconds for devices at most, and a
# lease is two.
LIMITS = {"device": 3.0, "machine": 3.0 if "://" in sys.argv[3] else 1.0} if IS_LONG else {"device": 8.0, "machine": 8.0}
LEASE = 2
CLASS_NUMBERS = {"identifiable": 1, "owned": 2}
FAILED, PASSED = [], []


def say(text):
    print(text, flush=True)


def step(what, act, *arguments):
    began = time.monotonic()
    try:
        said = act(*arguments)
    except Exception as error:  # noqa: BLE001: whatever went wrong is told, and the story goes on where it can
        FAILED.append(what)
        say(f"FAILED  {what}: {type(error).__name__}: {error}; the longest sync of another file in the last 10 s {DISK.lately():.2f} s")
        return False
    PASSED.append(what)
    say(f"ok      {what}{': ' + said if said else ''} ({time.monotonic() - began:.0f} s)")
    return True


class Story:
    def __init__(self, program, work, store):
        self.place = Place(program, work, store)
        self.people = [Person(number) for number in range(COUNT)]
        self.by_content = {}
        for person in self.people:
            for file, content in person.files(["identifiable", "owned"]).items():
                self.by_content[content] = (person, file)
        demand(len(self.by_content) == 2 * COUNT, "two files are alike")
        self.devices = {job: Mount(self.place, job, JOBS[job][0]) for job in JOBS}
        # The same job once more, where the custodian is.
        self.here = Mount(self.place, "research", "lab", home="home")
        self.mounts = [*self.devices.values(), self.here]
        self.agent = Agent(self.place)
        self.patients = self.people[::6]
        # Names that jobs were seen to have for people: they never change hands.
        self.names = {job: {} for job in JOBS}
        # What was opened, by whom: people's numbers to jobs and files.
        self.opened = {person.number: set() for person in self.people}
        self.refused = {person.number: set() for person in self.people}

    # Who there is.

    def prepare(self):
        place = self.place
        for home in ["home", "spare", *(mount.home for mount in self.devices.values())]:
            (place.work / f"{home}.pass").write_text(f"the passphrase of {home}\n")
        place.run("home", "init", place.store, "--little-memory", *place.passphrase("home"))
        (place.work / "apart").mkdir()
        for app in ["shop", "clinic"]:
            place.run("home", "app", "create", app, "--custody", f"file:{place.work}/keys-{app}", "-w", place.store, *place.passphrase("home"))
        place.run("home", "app", "ledger", f"file:{place.work}/apart/erased", "-w", place.store, "--app", "shop", *place.passphrase("home"))
        with ThreadPoolExecutor() as pool:
            codes = list(pool.map(Mount.request, self.devices.values()))
        for mount, code in zip(self.devices.values(), codes, strict=True):
            mount.add(code)
        self.shop, self.clinic = Api(place, self.token("web", "shop")), Api(place, self.token("desk", "clinic"), "clinic")
        self.auditor = Api(place, self.token("audit", "shop", "--auditor"))
        self.jobs = {job: Api(place, self.token(f"job-{job}", "shop", "--activity", job)) for job in JOBS}
        self.study = Api(place, self.token("job-study", "clinic", "--activity", "study"), "clinic")
        self.agent.start()

    def token(self, name, app, *role):
        return self.place.run("home", "token", "create", name, "--app", app, *role, "--tokens", self.place.work / "tokens.json")

    def sign_up(self):
        email = {"type": "email", "required": True, "lookup": True}
        self.shop("PUT", "schema", {"email": email, "insured": {"type": "text", "lookup": True}, "name": {"type": "text"}})
        for first in range(0, COUNT, 250):
            some = self.people[first:first + 250]
            made = self.shop("POST", "subjects/import", {"subjects": [{"profile": json.loads(one.profile)} for one in some]})
            for person, subject in zip(some, made["subjects"], strict=True):
                person.id = subject
        demand(len({person.id for person in self.people}) == COUNT, "two people have one id")
        for person in self.people:
            self.shop("PUT", f"subjects/{person.id}/files/{ORDER}", person.order)
        for person in CHANCE.sample(self.people, min(COUNT, 24)):
            for attribute in ({"email": person.email}, {"insured": person.insured}):
                found = self.shop("POST", "subjects/find", attribute)["subjects"]
                demand(found == [person.id], f"{len(found)} people are found by what one is known by")

    def second_application(self):
        """Some of the same people, with data of another kind, and a job that may see it."""
        self.clinic("POST", "classes", {"name": "health", "special": True})
        self.clinic("POST", "activities", {
            "name": "study", "consumer": "ward", "purpose": "study.work", "basis": "consent", "classes": ["health"], "notice": NOTICE,
        })
        self.clinic("POST", "activities/study/approve")
        self.patient_ids, agreed = {}, set()
        for place, person in enumerate(self.patients):
            subject = self.clinic("POST", "subjects", {"lookups": {"email": person.email}})["subject"]
            self.clinic("PUT", f"subjects/{subject}/files/health/findings.txt", self.findings(person))
            # Without being explicit it is no ground for this class.
            body = {"status": "given", "explicit": place % 3 != 1, "evidence": EVIDENCE}
            if place % 3 != 2:
                self.clinic("PUT", f"subjects/{subject}/consents/study", body)
            if place % 3 == 0:
                agreed.add(self.findings(person))
            self.patient_ids[person.number] = subject
        demand(not {person.id for person in self.people} & set(self.patient_ids.values()), "an id is in both applications")
        self.study_holds(agreed)
        one = self.patients[0]
        self.shop.refused("GET", f"subjects/{self.patient_ids[one.number]}")
        other = Api(self.place, self.shop.token, "clinic")
        other.refused("GET", f"subjects/{self.patient_ids[one.number]}")
        return f"{len(self.patients)} of them are in the clinic, too, {len(agreed)} in its study"

    def findings(self, person):
        return b"findings: " + person.order[:100]

    def study_holds(self, expected):
        names, after = [], ""
        while after is not None:
            page = self.study("GET", f"jobs/study/subjects?count=256{after}")
            names += [line["subject"] for line in page["subjects"]]
            after = f"&from={page['next']}" if page["next"] else None
        held = {self.study.raw("GET", f"jobs/study/subjects/{name}/files/health/findings.txt")[1] for name in names}
        demand(expected and held == expected and len(names) == len(held), f"the study has {len(names)}, {len(expected)} agreed")

    def register(self):
        for job, (consumer, basis, classes) in JOBS.items():
            self.shop("POST", "activities", {
                "name": job, "consumer": consumer, "purpose": f"{job}.work", "basis": basis, "classes": classes, "notice": NOTICE,
            })
            self.shop("POST", f"activities/{job}/approve")
            for person in self.people:
                person.note(job, None, ())

    def answer(self, person, job, status, classes=()):
        body = {"status": status, "classes": sorted(classes), "evidence": {"who": EVIDENCE, "how": "form"}}
        answer = self.shop("PUT", f"subjects/{person.id}/consents/{job}", body)
        person.note(job, status, classes)
        return answer

    def answers(self):
        for person in self.people:
            if CHANCE.random() < 0.7:
                self.answer(person, "newsletter", CHANCE.choice(["given", "given", "refused"]))
            classes = CHANCE.choice([[], ["identifiable"], ["owned"], ["identifiable", "owned"], ["identifiable", "owned"]])
            if classes:
                self.answer(person, "research", "given", classes)
            if CHANCE.random() < 0.3:
                self.answer(person, "profiling", "objected")
        said = [status for person in self.people for status in person.said.values()]
        demand({"given", "refused", "objected"} <= set(said), "not every kind of answer was given")
        return f"{len(said)} answers"

    def mount_all(self):
        with ThreadPoolExecutor() as pool:
            list(pool.map(Mount.start, self.mounts))

    # What jobs see.

    def read(self, mount, name, file):
        """A file as a job reads it; whose it is shows in what is in it, and that they are called so."""
        person, own = self.by_content.get(mount.read(name, file), (None, None))
        demand(own == file, f"{mount.job} has a file that nobody put in")
        self.opened[person.number].add((mount.job, file))
        known = self.names[mount.job].setdefault(name, person)
        demand(known is person, f"a name that {mount.job} had for somebody is another one's now")
        return person

    def shown(self, job):
        return {person.number: person.may(job) for person in self.people if person.may(job)}

    def wrong_names(self, mount):
        """By names and folders alone: waits for nothing that is opened."""
        expected, seen = sorted(map(sorted, self.shown(mount.job).values())), sorted(map(sorted, mount.names().values()))
        if seen != expected:
            return f"{mount.job} shows {len(seen)}, {len(expected)} agreed"
        for person in self.people:
            person.listed[mount.job] |= person.may(mount.job)
        return None

    def compare(self):
        """Each mount is exactly what was agreed: people, classes, files, bytes; and so is what the agent tells a job."""
        files = shown = hidden = 0
        for mount in self.mounts:
            until("exactly who agreed", lambda mount=mount: self.wrong_names(mount))
            seen = {}
            for name, classes in mount.names().items():
                own = mount.files(name)
                owners = {self.read(mount, name, file).number for file in own}
                demand(len(owners) == 1, f"{mount.job} shows files of {len(owners)} people as those of one")
                number = owners.pop()
                demand(number not in seen, f"{mount.job} shows somebody twice")
                demand(set(own) == set(self.people[number].files(classes)), f"{mount.job} shows other files than there are")
                seen[number], files = classes, files + len(own)
            demand(seen == self.shown(mount.job), f"{mount.job} shows other people or classes than agreed")
            shown += sum(map(len, seen.values()))
            hidden += sum(len(JOBS[mount.job][2]) - len(seen.get(person.number, ())) for person in self.people)
            self.as_the_agent_says(mount.job)
        demand(shown and hidden, "everybody agreed, or nobody")
        names = [name for job in JOBS for name in self.names[job]]
        demand(len(set(names)) == len(names), "two jobs have one name for somebody")
        demand(not set(names) & {person.id for person in self.people}, "a job's name for somebody is their id")
        return f"{files} files of {len(self.mounts)} mounts compared; {shown} times a class may be seen, {hidden} times it may not"

    def as_the_agent_says(self, job):
        told, after = {}, ""
        while after is not None:
            page = self.jobs[job]("GET", f"jobs/{job}/subjects?count=256{after}")
            told.update({line["subject"]: frozenset(line["classes"]) for line in page["subjects"]})
            after = f"&from={page['next']}" if page["next"] else None
        names = {person.number: name for name, person in self.names[job].items()}
        expected = {names[number]: classes for number, classes in self.shown(job).items()}
        demand(told == expected, f"the agent tells {job} of {len(told)}, {len(expected)} agreed")

    def denials(self):
        """By the very name that a job has for somebody: what was not agreed is not there, and refused where it is asked for."""
        asked = {"accepted": 0, "denied": 0}
        for job, (_, _, classes) in JOBS.items():
            mount, api = self.devices[job], self.jobs[job]
            for person in CHANCE.sample(self.people, min(COUNT, 40 if IS_LONG else 12)):
                name = self.shop("POST", f"subjects/{person.id}/names/{job}")["subject"]
                demand(self.names[job].get(name, person) is person, "the agent tells another name than the mount shows")
                for path in (PROFILE, ORDER):
                    self.ask_for(mount, api, person, name, path, asked)
                demand((mount.path / "subjects" / name).exists() == bool(person.may(job)), "a name is there or is not, and should not be")
            for name in [self.people[0].id, "ab" * 16]:
                demand(not (mount.path / "subjects" / name).exists(), "somebody is there by a name that was never told")
        demand(min(asked.values()) > 6, f"too few of one kind: {asked}")
        return f"{asked['accepted']} accepted, {asked['denied']} denied, of {len(JOBS)} jobs"

    def ask_for(self, mount, api, person, name, path, asked):
        job, where = mount.job, f"jobs/{mount.job}/subjects/{name}/files/{path}"
        if path.split("/")[0] in person.may(job):
            asked["accepted"] += 1
            demand(self.read(mount, name, path) is person, "another one's file")
            status, content = api.raw("GET", where)
            demand((status, self.by_content.get(content)) == (200, (person, path)), f"the agent answers {status} where it should not")
            return
        asked["denied"] += 1
        api.refused("GET", where)
        self.refused[person.number].add((job, CLASS_NUMBERS[path.split("/")[0]]))
        try:
            mount.read(name, path)
        except FileNotFoundError:
            return
        raise RuntimeError(f"{job} reads what was not agreed")

    # What is on record.

    def open_some(self):
        """Some of what is shown is opened, and some is not."""
        opened = left = 0
        for mount in self.devices.values():
            until("exactly who agreed", lambda mount=mount: self.wrong_names(mount))
            for name in mount.names():
                for file in mount.files(name):
                    if CHANCE.random() < 0.5:
                        self.read(mount, name, file)
                        opened += 1
                    else:
                        left += 1
        demand(opened and left, "all were opened, or none")
        return f"{opened} opened, {left} left alone; " + self.reports()

    def reports(self):
        """What each person is told was listed and opened is what jobs were shown and what they opened."""
        self.compared = 0
        for person in self.people:
            # A device says what it opened within seconds; asking is on record, too.
            until("what was opened is on record", lambda person=person: self.wrong_report(person, by_name=True), 20, pause=0.5)
        demand(self.compared > COUNT, "nothing was opened")
        return f"reports of {len(self.people)} people, {self.compared} opened files in them"

    def wrong_report(self, person, *, by_name):
        report = self.shop("GET", f"subjects/{person.id}/report")
        demand(report["complete"], "a report is not complete")
        listed, opened, used, refused = set(), set(), set(), set()
        for entry in report["entries"]:
            what = (entry["activity"], entry["class"])
            if entry["activity"] is None or entry["class"] is None:
                continue
            if entry["allowed"] is False:
                refused.add(what)
                continue
            used.add(what)
            if entry["action"] == "list":
                listed.add(what)
            opened |= {(entry["activity"], file if by_name else entry["class"]) for file in entry["files"]}
        traced = self.opened[person.number]
        if not by_name:
            traced = {(job, CLASS_NUMBERS[file.split("/")[0]]) for job, file in traced}
        agreed, shown = ({(job, CLASS_NUMBERS[name]) for job in JOBS for name in of[job]} for of in (person.ever, person.listed))
        demand(used <= agreed, "somebody is on record as used for what they never agreed to")
        if opened != traced:
            return f"{len(opened)} opened on record, {len(traced)} opened, {len(opened ^ traced)} differ: {sorted(opened ^ traced)[:3]}"
        if not self.refused[person.number] <= refused:
            return f"{len(refused)} refusals on record, {len(self.refused[person.number])} were asked for in vain"
        if listed != shown:
            return f"{len(listed)} classes listed on record, {len(shown)} were shown: {sorted(listed ^ shown)}"
        self.compared += len(opened)
        return None

    # What is taken away.

    def path(self, mount, person, file):
        name = next(name for name, own in self.names[mount.job].items() if own is person)
        return mount.path / "subjects" / name / file

    def readers(self, mounts, person, file):
        content, readers = person.files([file.split("/")[0]])[file], []
        for mount in mounts:
            kind = "machine" if mount is self.here else "device"
            self.opened[person.number].add((mount.job, file))
            readers += [Reader(kind, self.path(mount, person, file), content, way) for way in ("pread", "mmap")]
        return readers

    def taken_away(self, readers, control, act, spans):
        """Does something that takes away what the readers have open, while somebody else reads on."""
        try:
            for reader in [*readers, control]:
                reader.begin()
            began = time.monotonic_ns()
            answer = act()
            acknowledged = time.monotonic_ns()
            is_told = answer["in_force"] is True and answer["silent"] == 0
            demand(is_told or not IS_LONG, f"it is not in force: {answer['silent']} are silent")
            if not is_told:
                # On a busy machine an act may say that somebody is silent; what it took is gone within the limit all the same.
                print(f"an act says after {(acknowledged - began) / 1e9:.1f} s that {answer['silent']} are silent", flush=True)
                time.sleep(max(0.0, LIMITS["device"] - (acknowledged - began) / 1e9))
                acknowledged = time.monotonic_ns()
            for reader in readers:
                reader.tries(25)
            for reader in readers:
                spans.add(reader, reader.taken(began, acknowledged, LIMITS[reader.kind.split()[0]]))
            control.reads_on()
            for reader in [*readers, control]:
                reader.end()
        finally:
            for reader in [*readers, control]:
                reader.kill()
        return answer

    def load(self, but=()):
        """Of all who are shown to research but some; written are orders of those whom research does not see."""
        still = {person.number for person in but}
        lists, self.loaded = [], []
        for mount in (self.devices["research"], self.here):
            some = []
            for name, person in self.names["research"].items():
                for file, content in person.files(person.may("research")).items():
                    if person.number not in still:
                        some.append((mount.path / "subjects" / name / file, content))
                        self.loaded.append((person.number, ("research", file)))
            lists.append(some)
        others = [one for one in self.people if not one.is_erased and not one.may("research") and one.number not in still][:20]
        puts = [(f"subjects/{one.id}/files/{ORDER}", one.order) for one in others]
        return Load(lists, self.shop, puts)

    def trace(self, load):
        for (number, what), opened in zip(self.loaded, load.was_opened(), strict=True):
            if opened:
                self.opened[number].add(what)

    def withdrawal(self):
        """The whole of it, or one class, in turns; nothing is read of it that begins after the answer."""
        spans, mounts = Spans(), (self.devices["research"], self.here)
        both = [one for one in self.people if one.may("research") == {"identifiable", "owned"}]
        victims, control = both[1:6], both[0]
        demand(victims, "nobody to withdraw")
        with self.load(but=victims) as load:
            for trial in range(TRIALS):
                victim = victims[trial % len(victims)]
                paths = [self.path(mount, victim, ORDER) for mount in mounts]
                until("who agreed again", lambda paths=paths: None if all(path.exists() for path in paths) else "not shown")
                status, classes = [("withdrawn", ()), ("given", ["identifiable"])][trial % 2]
                control_reader = self.readers(mounts[:1], control, ORDER)
                control_reader.pop().kill()
                readers = self.readers(mounts, victim, ORDER)
                read = load.read()
                self.taken_away(readers, control_reader[0], lambda: self.answer(victim, "research", status, classes), spans)
                demand(not any(path.exists() for path in paths), "a name is there that was taken away")
                for mount in mounts:
                    is_there = self.path(mount, victim, PROFILE).exists()
                    demand(is_there == bool(classes), "the other class is there, or is not, and should not be")
                demand(load.read() > read, "nobody else read meanwhile")
                self.answer(victim, "research", "given", ["identifiable", "owned"])
            load.goes_on("withdrawals")
        self.trace(load)
        return f"{TRIALS} trials of {len(victims)} people; {spans.text()}; {load.text()}"

    def objects(self):
        """Sealed files of people, as they lie in the store: those of the application that has most of them."""
        by_application = {}
        for name in self.store.names():
            match name.split("/"):
                case ["policy", application, "object", *_]:
                    by_application.setdefault(application, set()).add(name)
        return max(by_application.values(), key=len)

    def rotations(self):
        """New keys at each level while files are read and written; who has one open, or mapped, reads on."""
        owner = next(one for one in self.people if one.may("research") == {"identifiable", "owned"})
        deep = {"deep": True}
        # What is asked, and how many files it seals anew.
        levels = {
            "application key": ("rotate", {}, None),
            "subject key": (f"subjects/{owner.id}/rotate", {"deep": False}, 0),
            "subject key with its class keys": (f"subjects/{owner.id}/rotate", deep, 2),
            "class key": (f"subjects/{owner.id}/rotate", {**deep, "class": "owned"}, 1),
            "keys of everybody": ("rotate", {**deep, "everybody": True}, 2 * COUNT),
        }
        meanwhile, held = {}, self.readers((self.devices["research"], self.here), owner, ORDER)
        try:
            for reader in held:
                reader.begin()
            with self.load() as load:
                for level, what in levels.items():
                    read = load.read()
                    self.rotate(level, what, load.written_places)
                    meanwhile[level] = load.read() - read
                    load.goes_on(level)
                    load.answered(level)
                read = load.read()
                self.new_epoch()
                meanwhile["workspace key"] = load.read() - read
                load.goes_on("the workspace key")
            for reader in held:
                reader.reads_on()
        finally:
            for reader in held:
                reader.kill()
        self.trace(load)
        demand(meanwhile["keys of everybody"] > 0 and sum(meanwhile.values()) > 10, f"nobody read meanwhile: {meanwhile}")
        self.compare()
        during = ", ".join(f"{level} ({count} files read meanwhile)" for level, count in meanwhile.items())
        return f"{during}; {load.text()}"

    def rotate(self, level, what, written_count):
        path, body, files = what
        key_file = self.place.work / "keys-shop"
        # Each is written over while they are listed: what one list misses, since it is moved, is in the other.
        key, before = key_file.read_bytes(), self.objects() | self.objects()
        answer = self.shop("POST", path, body)
        demand(answer["old_key"]["refused_afterwards"] is True, f"{level}: the old key still opens")
        demand(key_file.read_bytes() != key, f"{level}: the application key is the same")
        gone, sealed = len(before - self.objects()), answer.get("files")
        if body.get("everybody"):
            # What is written while a class has two keys is under the new one already.
            demand(files - written_count <= sealed <= files, f"{level}: {sealed} files are sealed anew, not {files}")
            demand(answer["subjects"] == COUNT, f"{level}: {answer['subjects']} of {COUNT} people")
            demand(gone == len(before), f"{level}: {len(before) - gone} sealed files lie where they lay")
        else:
            demand(sealed == files, f"{level}: {sealed} files are sealed anew, not {files}")
        demand(gone >= (sealed or 0), f"{level}: {gone} sealed files are gone from the store, not {sealed}")

    def new_epoch(self):
        """Who is taken out of the workspace could open it before, and cannot after."""
        place = self.place
        code = place.run("spare", "device", "request", place.store, "--little-memory", *place.passphrase("spare"))
        place.run("home", "device", "add", place.store, "--code", code, "--name", "spare", *place.passphrase("home"))
        place.run("spare", "device", "list", place.store, *place.passphrase("spare"))
        records = {name for name in self.store.names() if name.startswith("organisation/")}
        place.run("home", "device", "revoke", place.store, "spare", "--yes", *place.passphrase("home"))
        now = {name for name in self.store.names() if name.startswith("organisation/")}
        demand(len(now - records) > 0, "no new epoch")
        place.run("home", "key", "rotate", "-w", place.store, "--workspace-key", *place.passphrase("home"))
        demand({name for name in self.store.names() if name.startswith("organisation/")} - now, "no newer epoch")
        ended = place.ended("spare", "device", "list", place.store, *place.passphrase("spare"))
        demand(ended.returncode in (4, 5), f"who was taken out goes on: {ended.returncode}")

    def export(self):
        some = [self.people[1], *[one for one in self.people if one.may("research") and "objected" in one.said.values()][:2]]
        for person in some:
            status, content = self.shop.raw("POST", f"subjects/{person.id}/export")
            demand(status == 200, f"an export was answered with {status}")
            with tarfile.open(fileobj=io.BytesIO(content)) as archive:
                files = {one.name.removeprefix("./"): archive.extractfile(one).read() for one in archive if one.isfile()}
            root = next(name for name in files if name.endswith("bagit.txt")).removesuffix("bagit.txt")
            files = {name.removeprefix(root): content for name, content in files.items()}
            data = {name.removeprefix("data/files/"): files[name] for name in files if name.startswith("data/files/")}
            demand(data == {PROFILE: person.profile, ORDER: person.order}, f"not what was put in: {sorted(data)}")
            for manifest, of in [("manifest-sha256.txt", "data/"), ("tagmanifest-sha256.txt", "")]:
                lines = dict(reversed(line.split("  ", 1)) for line in files[manifest].decode().splitlines())
                demand(lines and all(hashlib.sha256(files[name]).hexdigest() == lines[name] for name in lines), f"{manifest} is wrong")
                demand(bool(of) is False or set(lines) == {name for name in files if name.startswith(of)}, f"{manifest} is not whole")
            answers = {line["activity"]: line["status"] for line in json.loads(files["data/consents.json"])}
            demand({job: answers.get(job) for job in person.said} == person.said, f"other answers: {answers}, {person.said}")
            entries = json.loads(files["data/access-report.json"])
            report = self.shop("GET", f"subjects/{person.id}/report")["entries"]
            told = {entry["number"]: entry["what"] for entry in report}
            demand(len(entries) > 3 and all(told[entry["number"]] == entry["what"] for entry in entries), "another report")
        return f"{len(some)} people"

    # Yesterday, and the end of some.

    def back_up(self):
        """Store, home and key files as they are at one moment, of a custodian that serves."""
        self.yesterday = self.place.work / "yesterday"
        # The view beside it records as well, by itself: once a minute, that somebody asked for names that are not there.
        for one in (self.agent, self.here):
            one.silence()
        try:
            self.store.copy_to(self.yesterday / "store")
            subprocess.run(["cp", "-a", self.place.work / "home", self.yesterday / "home"], check=True)
            for app in ["shop", "clinic"]:
                subprocess.run(["cp", "-a", self.place.work / f"keys-{app}", self.yesterday], check=True)
        finally:
            for one in (self.agent, self.here):
                one.speak()
        self.records_yesterday = self.auditor("GET", "audit?count=1")["records"]
        return f"{len(Folder(self.yesterday).names())} files"

    def erasure(self):
        """Of some the files are held open, and mapped, on every mount that shows them."""
        spans, held = Spans(), 0
        control = next(one for one in self.people if one.may("research") == {"identifiable", "owned"} and one.number % 7)
        self.erased = [one for one in self.people[::7] if one is not control]
        for person in self.erased:
            act = lambda person=person: self.shop("POST", f"subjects/{person.id}/erase")  # noqa: E731
            shows = [(mount, file) for mount in self.mounts for file in person.files(person.may(mount.job))]
            if held < 3 and len(shows) > 2:
                readers = [reader for mount, file in shows for reader in self.readers([mount], person, file)]
                control_reader = self.readers([self.devices["research"]], control, ORDER)
                control_reader.pop().kill()
                answer = self.taken_away(readers, control_reader[0], act, spans)
                held += 1
            else:
                answer = act()
            person.is_erased = True
            demand(answer["objects_removed"] >= 2 and answer["objects_left"] == 0, f"{answer['objects_left']} objects are left")
            demand(answer["old_key"]["refused_afterwards"] is True, "the old key still opens")
            self.is_gone(person)
        demand(held, "nobody was held open")
        self.compare()
        for person in self.patients:
            status, content = self.clinic.raw("GET", f"subjects/{self.patient_ids[person.number]}/files/health/findings.txt")
            demand((status, content) == (200, self.findings(person)), "another application lost what is its own")
        return f"{len(self.erased)} people, of {held} of them all files open; {spans.text()}"

    def is_gone(self, person):
        demand(self.shop("GET", f"subjects/{person.id}")["state"] == "erased", "somebody is not erased")
        for path in (PROFILE, ORDER):
            self.shop.refused("GET", f"subjects/{person.id}/files/{path}")
        self.shop.refused("POST", f"subjects/{person.id}/export")
        for attribute in ({"email": person.email}, {"insured": person.insured}):
            demand(self.shop("POST", "subjects/find", attribute)["subjects"] == [], "somebody is found who was erased")

    def cut_off(self):
        """First the custodian falls silent, then, where there is one, the network: reads go well until leases are over."""
        for name in CLASS_NUMBERS:
            words = ["app", "lease", name, "--seconds", LEASE, "-w", self.place.store, "--app", "shop"]
            self.place.run("home", *words, *self.place.passphrase("home"))
        mount, said = self.devices["research"], []
        person = next(person for person in self.people if "owned" in person.may("research"))
        ways = [("the custodian", self.agent.silence, self.agent.speak, None)]
        if "AWS_ENDPOINT_URL" in os.environ:
            wire = Wire(os.environ["AWS_ENDPOINT_URL"])
            ways.append(("the network", wire.cut, wire.mend, {"AWS_ENDPOINT_URL": wire.address}))
        for what, stop, go_on, environment in ways:
            # Leases from before are longer: those of a mount made anew are not.
            mount.stop()
            mount.start(environment)
            until("it is shown", lambda: self.wrong_or_away(mount))
            said.append(f"{what} {self.cut(mount, person, stop, go_on):.2f} s")
        return f"the last read began, after silence of {', '.join(said)}; the lease is {LEASE} s"

    def cut(self, mount, person, stop, go_on):
        readers = self.readers([mount], person, ORDER)
        try:
            for reader in readers:
                reader.begin()
            # New keys in between: what was read under the old ones ends as well.
            self.shop("POST", f"subjects/{person.id}/rotate", {"deep": True})
            time.sleep(2.5 * LEASE)
            for reader in readers:
                reader.begin()
            stop()
            stopped = time.monotonic_ns()
            try:
                time.sleep(LEASE + 3)
                for reader in readers:
                    span = reader.silenced(stopped, LEASE)
            finally:
                # Whoever waits for an answer is gone before one can come.
                for reader in readers:
                    reader.process.kill()
                go_on()
            until("it comes back", lambda: self.wrong_or_away(mount))
        finally:
            for reader in readers:
                reader.kill()
        return span

    def wrong_or_away(self, mount):
        try:
            return self.wrong_names(mount)
        except OSError as error:
            # What was asked while the custodian was silent is answered so.
            if error.errno != errno.EHOSTUNREACH:
                raise
            return str(error)

    # What is left behind.

    def verify(self):
        """Everything is sound, and all that was opened is in it; names in reports are those of now, so classes are compared."""
        self.compared = 0
        for person in self.people:
            until("what was opened is on record", lambda person=person: self.wrong_report(person, by_name=False), 20, pause=0.5)
        verified = self.auditor("POST", "audit/verify")
        demand(not verified["findings"], verified["findings"])
        total = self.auditor("GET", "audit?count=1")["records"]
        demand(total - 50 <= verified["records"] <= total, f"{verified['records']} of {total} records were verified")
        demand(verified["entries"] > self.compared and verified["cells"] > COUNT, "little was verified")
        self.collect_what_is_told()
        return f"{verified['records']} records, {verified['entries']} entries, {verified['cells']} cells"

    def collect_what_is_told(self):
        """Audit log, status and metrics, and what the system shows of our processes, for the search."""
        lines, told, total = 0, [json.dumps(self.auditor("GET", "audit/head"))], 1
        while lines < total:
            page = self.auditor("GET", f"audit?from={lines}&count=200")
            total, lines = page["records"], lines + 200
            told.append(json.dumps(page["entries"]))
        demand(sum(map(len, told)) > 100 * COUNT, "an audit log of nothing")
        for mount in self.mounts:
            told.append(self.place.run(mount.home, "status", mount.path, "--json"))
        for process in [self.agent.process, *(mount.process for mount in self.mounts)]:
            told.append(Path(f"/proc/{process.pid}/cmdline").read_text())
        if isinstance(self.store, Bucket):
            told.append(self.store.metrics())
        self.told = "\n".join(told).encode()

    def search(self):
        """Every byte of store, state, keys, logs, metrics and audit log, in every form."""
        search = Search(self.people, self.place.work / "patterns")
        tried = search.sees_everything()
        search.look("what is told", self.told)
        for name, content in self.store.each():
            search.look(f"store/{name}", content)
        demand(search.count > COUNT, f"a store of {search.count}")
        # Our own: what was looked for, and a store's files are seen as they lie on the disk, too.
        search.look_below(self.place.work, but={search.patterns})
        if isinstance(self.store, Bucket):
            search.look_below(os.environ["STORY_SERVER"])
        search.finish()
        demand(search.size > 40_000 * COUNT, f"only {search.size} bytes")
        return f"{len(search.needles)} words in {search.count} files of {search.size >> 20} MiB; {tried}"

    def restore(self):
        """Yesterday's backup: the store alone is refused; all of it, with the ledger that lies apart, brings nobody back."""
        work = self.place.work
        self.store.put_back(self.yesterday / "store")
        said = self.agent.refuses()
        demand("older" in said, f"it says: {said}")
        for name in ["home", "keys-shop", "keys-clinic"]:
            subprocess.run(["rm", "-r", work / name], check=True)
            subprocess.run(["cp", "-a", self.yesterday / name, work / name], check=True)
        ledger = work / "apart/erased"
        ledger.rename(work / "apart/away")
        away = self.agent.closed(self.shop)
        demand("ledger" in away, f"it says: {away}")
        (work / "apart/away").rename(ledger)
        self.agent.start()
        total = self.shop("GET", "subjects?count=1")["total"]
        demand(total >= COUNT - len(self.erased), f"{total} people: that is no backup of yesterday")
        for person in self.erased:
            self.is_gone(person)
        living = [person for person in self.people if not person.is_erased]
        for person in CHANCE.sample(living, min(20, len(living))):
            status, content = self.shop.raw("GET", f"subjects/{person.id}/files/{ORDER}")
            demand((status, content) == (200, person.order), "somebody is gone who was not erased")
        for name in JOBS:
            self.as_the_agent_says(name)
        mount = self.devices["profiling"]
        mount.start()
        until("exactly who agreed", lambda: self.wrong_names(mount))
        for name in mount.names():
            demand(not self.read(mount, name, PROFILE).is_erased, "somebody is back")
        records = self.auditor("GET", "audit?count=1")["records"]
        demand(records > self.records_yesterday, "nothing happened since yesterday")
        return f"{len(self.erased)} erased since then are gone, {len(living)} are there; a store alone is refused: {said}; without the ledger: {away}"

    def end(self):
        for mount in self.mounts:
            mount.end()
        self.agent.stop()


def main():
    program, work, store = sys.argv[1:4]
    story = Story(program, work, store)
    DISK.watch(work)
    story.store = Bucket(os.environ["STORY_FILER"], f"/buckets/{store.removeprefix('s3://')}") if "://" in store else Folder(store)
    try:
        goes = step(f"two applications, {len(JOBS)} devices of consumers, an agent that serves them", story.prepare)
        goes = goes and step(f"{COUNT} people signed up, each with a profile and an order", story.sign_up)
        goes = goes and step("another application has data of its own about some of them", story.second_application)
        goes = goes and step("three jobs registered", story.register) and step("everybody answers, or does not", story.answers)
        goes = goes and step("each job mounts on its own device, one on the custodian's as well", story.mount_all)
        if goes:
            step("an access report is what was opened, for everybody", story.open_some)
            goes = step("each mount is exactly what was agreed, byte for byte", story.compare)
        if goes:
            step("accepted and denied for each person and class, by name", story.denials)
            step("a withdrawal under load reaches open descriptors and mappings", story.withdrawal)
            step("access reports are still what was opened", story.reports)
            step("new keys at every level under load", story.rotations)
            step("an export is what was put in", story.export)
            goes = step("a backup of store, home and keys", story.back_up)
            goes = step("an erasure reaches open descriptors and mappings", story.erasure) and goes
            step("when all is silent nothing is read once leases are over", story.cut_off)
            goes = step("the register is sound, and all that was opened is in it", story.verify) and goes
    finally:
        story.end()
    if goes:
        step("nothing personal in any byte of store, state, logs, metrics and audit log", story.search)
        step("yesterday's backup brings nobody back", story.restore)
        story.end()
    say(f"{len(PASSED)} passed, {len(FAILED)} failed, 0 skipped")
    sys.exit(bool(FAILED))


if __name__ == "__main__":
    main()
