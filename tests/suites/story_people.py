"""The people of the story: what they are called, what is kept about them, what they said. All of it made here."""

import json
import random

CHANCE = random.Random(20261122)
# Long enough that none of them comes up by chance in what is sealed: the search looks for each of them alone.
GIVEN = "Adalbertina Bartholomea Cvetanka Dagobertus Eustachius Friederun Güldeniz Hildegardis Jolantheia Kunigundis".split()
FAMILY = "Achterberg Brandauer Castellanos Dvorzakova Eskildsen Fahrenkrog Grabowska Hallgrimsson Ibarrondo Jurkiewicz".split()
DOMAIN = "canary.example"
INSURED = "KVNR7Q"
# In every line of every order: no 128 bytes of one are without it.
MARK = "goldcanary"
EVIDENCE = "canary-desk"
NOTICE = "We tell you what we canary-do."
PROFILE, ORDER = "identifiable/profile.json", "owned/order.txt"
# Job: consumer, legal basis, classes.
JOBS = {
    "newsletter": ("mailer", "consent", ["identifiable"]),
    "research": ("lab", "consent", ["identifiable", "owned"]),
    "profiling": ("fraud", "legitimate-interest", ["identifiable"]),
}
WORDS = [*GIVEN, *FAMILY, DOMAIN, INSURED, MARK, EVIDENCE, "canary-do", *(f"{job}.work" for job in JOBS), "profile.json", "order.txt"]


class Person:
    """What somebody is and said, as this story decided it."""

    def __init__(self, number):
        self.number = number
        given, family = CHANCE.choice(GIVEN), CHANCE.choice(FAMILY)
        self.name = f"{given} {family}-{number}"
        self.email = f"{given}.{family}.{number}@{DOMAIN}".lower()
        self.insured = f"{INSURED}{CHANCE.randrange(10**9):09}{number:05}"
        # As the program writes JSON, so that it may be compared byte for byte.
        profile = {"email": self.email, "insured": self.insured, "name": self.name}
        self.profile = json.dumps(profile, ensure_ascii=False, separators=(",", ":"), sort_keys=True).encode()
        size, lines = CHANCE.randrange(200, 80_000), []
        while size > 0:
            lines.append(f"{MARK} {len(lines)} {family}-{number} {CHANCE.randbytes(20).hex()}\n")
            size -= len(lines[-1])
        self.order = "".join(lines).encode()
        self.id, self.is_erased = None, False
        self.agreed = {job: frozenset() for job in JOBS}
        # What was ever agreed, what of it was ever shown, and what the person answered last.
        self.ever, self.listed = ({job: frozenset() for job in JOBS} for _ in range(2))
        self.said = {}

    def may(self, job):
        """Classes that a job may have."""
        return frozenset() if self.is_erased else self.agreed[job]

    def note(self, job, status, classes):
        _, basis, all_classes = JOBS[job]
        if basis == "consent":
            self.agreed[job] = frozenset(classes or all_classes) if status == "given" else frozenset()
        else:
            self.agreed[job] = frozenset() if status == "objected" else frozenset(all_classes)
        self.ever[job] |= self.agreed[job]
        if status:
            self.said[job] = status

    def files(self, classes):
        """What a mount shows of these classes: path to content."""
        own = {PROFILE: self.profile, ORDER: self.order}
        return {path: own[path] for path in own if path.split("/")[0] in classes}
