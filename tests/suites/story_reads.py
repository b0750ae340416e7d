"""Who reads while something happens: readers that keep a file open, and load. Each is a process of its own.

Times are of the clock that all processes share. A read counts as before or after something by when it began, and a withdrawal has
taken as long as until the last read has ended that went well.
"""

import collections
import ctypes
import errno
import mmap
import multiprocessing
import os
import random
import resource
import signal
import statistics
import threading
import time

from story_machine import demand, ends_with_parent, until

FORK = multiprocessing.get_context("fork")
GOOD, GOOD_BEGAN, GOOD_ENDED, TRIED, BAD, BAD_ENDED, ERRNO, WRONG, STOP = range(9)
# What a program is told whose data was taken away: on a descriptor, and by the kernel that copies from a mapping.
# Who reads past the end asks for the length first, of a file that is not there any more.
TAKEN = {"pread": {errno.EACCES, errno.ENOENT, errno.ESTALE, errno.EHOSTUNREACH, errno.EIO}, "mmap": {errno.EFAULT}}
# Reads that begin after something is acknowledged, of each reader. Enough for every page of the longest file.
TRIES = 25
# How long before an act the last read may lie of somebody who reads all the time.
PAUSE_MAX = 0.5


class Disk:
    """How long a small file takes to be durable, all the time: what is late because the machine stood still is told from the rest."""

    def __init__(self):
        self.syncs, self.running = collections.deque(maxlen=10_000), None

    def watch(self, folder):
        path = os.path.join(folder, "disk-watch")

        def work():
            with open(path, "wb", buffering=0) as file:
                while True:
                    self.running = began = time.monotonic_ns()
                    file.write(b"x")
                    file.seek(0)
                    os.fsync(file.fileno())
                    self.syncs.append((began, time.monotonic_ns()))
                    self.running = None
                    time.sleep(0.1)

        threading.Thread(target=work, daemon=True).start()

    def lately(self):
        now = time.monotonic_ns()
        return self.longest(now - 10 * 10**9, now)

    def longest(self, began, ended):
        syncs, running = list(self.syncs), self.running
        if running is not None:
            syncs.append((running, time.monotonic_ns()))
        return max(((till - at) / 1e9 for at, till in syncs if till >= began and at <= ended), default=0.0)


DISK = Disk()


def read_on(path, content, way, note):
    """Reads one place of the file after the other until told to stop. A mapping is then touched as programs do: SIGBUS ends us."""
    ends_with_parent()
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    descriptor = os.open(path, os.O_RDONLY)
    if way == "mmap":
        # The kernel copies out of the mapping, so that a page that is gone is an error here, and the next one is tried.
        pages, copy = mmap.mmap(descriptor, len(content), prot=mmap.PROT_READ), os.memfd_create("copy")
        view = memoryview(pages)
    at = 0
    while not note[STOP]:
        at = (at + 4096) % len(content)
        expected = content[at:at + 64]
        note[TRIED] += 1
        began = time.monotonic_ns()
        try:
            if way == "mmap":
                os.pwrite(copy, view[at:at + 64], 0)
                ended, got = time.monotonic_ns(), os.pread(copy, len(expected), 0)
            else:
                got = os.pread(descriptor, 64, at)
                ended = time.monotonic_ns()
            note[GOOD_BEGAN], note[GOOD_ENDED] = began, ended
            note[GOOD] += 1
            note[WRONG] += got != expected
        except OSError as error:
            note[BAD_ENDED], note[ERRNO] = time.monotonic_ns(), error.errno
            note[BAD] += 1
        time.sleep(0.001)
    if way == "mmap":
        pages[at]
    os._exit(0)


class Reader:
    """Keeps a file open, or mapped, and reads on."""

    def __init__(self, kind, path, content, way):
        self.kind, self.way = f"{kind} {'mapping' if way == 'mmap' else 'descriptor'}", way
        self.note = FORK.RawArray(ctypes.c_longlong, 9)
        self.process = FORK.Process(target=read_on, args=(path, content, way, self.note))
        self.process.start()

    def tries(self, count, limit=60):
        """Waits until that many more reads have begun and ended."""
        enough = self.note[TRIED] + count + 1

        def missing():
            demand(self.process.exitcode is None, f"{self.kind}: ended with {self.process.exitcode}")
            return None if self.note[TRIED] >= enough else f"{self.kind} does not read"
        until("reads", missing, limit)

    def begin(self):
        self.tries(3)
        demand(self.note[GOOD] > 0 and self.note[BAD] == 0, f"{self.kind} cannot read to begin with: errno {self.note[ERRNO]}")

    def reads_on(self):
        """Nothing was taken from it."""
        before = self.note[GOOD]
        self.tries(TRIES)
        demand(self.note[BAD] == 0, f"{self.kind} of another file failed with errno {self.note[ERRNO]}")
        demand(self.note[GOOD] > before and self.note[WRONG] == 0, f"{self.kind} of another file reads nothing, or not what is in it")

    def taken(self, began, acknowledged, limit):
        """Seconds from an act to the end of the last read that went well; none began after the act was acknowledged."""
        note, last = self.note, self.note[GOOD_BEGAN]
        demand(note[WRONG] == 0, f"{self.kind}: {note[WRONG]} reads brought other bytes")
        demand(last > began - PAUSE_MAX * 1e9, f"{self.kind} did not read when the act began")
        late = (last - acknowledged) / 1e6
        demand(last <= acknowledged, f"{self.kind}: a read that began {late:.1f} ms after it was acknowledged went well")
        demand(note[BAD] > 0 and note[BAD_ENDED] > acknowledged, f"{self.kind}: nothing was tried after it was acknowledged")
        demand(note[ERRNO] in TAKEN[self.way], f"{self.kind} was told errno {note[ERRNO]}")
        span = max(0, note[GOOD_ENDED] - began) / 1e9
        took = (acknowledged - began) / 1e9
        demand(span <= limit, f"{self.kind}: the last read went well {span:.2f} s after the act began, acknowledged after {took:.2f} s; "
               f"the longest sync of another file meanwhile {DISK.longest(began, acknowledged):.2f} s")
        return span

    def silenced(self, stopped, lease):
        """Seconds from silence to the beginning of the last read that went well: no more than a lease. Whoever asks now waits."""
        note, last = self.note, self.note[GOOD_BEGAN]
        demand(note[WRONG] == 0 and last > stopped - PAUSE_MAX * 1e9, f"{self.kind} did not read when it fell silent")
        span = (last - stopped) / 1e9
        demand(span <= lease, f"{self.kind}: a read that began {span:.2f} s after went well")
        demand((note[GOOD_ENDED] - stopped) / 1e9 <= lease + 1, f"{self.kind}: a read ended well long after")
        demand(note[TRIED] > note[GOOD], f"{self.kind} tried nothing more")
        return span

    def end(self):
        """Touches a mapping once more. What ends it may be of no use to whoever waits for a silent custodian."""
        self.note[STOP] = 1
        self.process.join(60)
        expected = -signal.SIGBUS if self.way == "mmap" else 0
        ended = self.process.exitcode
        self.kill()
        demand(ended == expected, f"{self.kind} ended with {ended}")

    def kill(self):
        if self.process.exitcode is None:
            self.process.kill()
            self.process.join(60)


class Spans:
    """How long it took, by kind of reader."""

    def __init__(self):
        self.kinds, self.tried = {}, 0

    def add(self, reader, span):
        self.kinds.setdefault(reader.kind, []).append(span)
        self.tried += TRIES

    def text(self):
        def one(kind):
            spans = sorted(self.kinds[kind])
            p99 = spans[min(len(spans) - 1, len(spans) * 99 // 100)]
            return f"{kind} p50 {statistics.median(spans):.3f} p99 {p99:.3f} max {spans[-1]:.3f} s"
        return "; ".join(one(kind) for kind in sorted(self.kinds)) + f"; {self.tried} reads tried after, none went well"


READ, OTHER, UNANSWERED, AGAIN, LONGEST, WRITTEN, REFUSED = range(7)


def read_all(items, opened, counts, fault):
    """Opens and reads whole files, over and over, and compares them with what was put in."""
    ends_with_parent()
    signal.signal(signal.SIGTERM, lambda *_: os._exit(0))
    order = list(range(len(items)))
    random.shuffle(order)
    again = 0
    while True:
        for place in order:
            path, content = items[place]
            began = time.monotonic_ns()
            try:
                with open(path, "rb") as file:
                    opened[place] = 1
                    is_it = file.read() == content
                counts[READ] += is_it
                again = 0
                if not is_it:
                    fault.value = b"a file is another one"
                    counts[OTHER] += 1
            except OSError as error:
                # A file whose bytes lie elsewhere now is another file to whoever had it open: it is opened again, once.
                again += 1
                if error.errno == errno.EHOSTUNREACH:
                    fault.value = f"{path.parents[3].name} after {(time.monotonic_ns() - began) / 1e9:.2f} s".encode()
                    counts[UNANSWERED] += 1
                elif error.errno == errno.ESTALE and again < 2:
                    counts[AGAIN] += 1
                else:
                    fault.value = f"a read failed: {error.strerror}".encode()
                    counts[OTHER] += 1
            counts[LONGEST] = max(counts[LONGEST], time.monotonic_ns() - began)


def write_all(api, puts, counts, fault):
    """Writes what is there already, over and over."""
    ends_with_parent()
    signal.signal(signal.SIGTERM, lambda *_: os._exit(0))
    while True:
        for path, content in puts:
            try:
                status, said = api.raw("PUT", path, content)
            except OSError as error:
                status, said = 0, str(error).encode()
            if status == 200:
                counts[WRITTEN] += 1
            else:
                fault.value = b"a write was answered with %d %s" % (status, said[:100])
                counts[REFUSED] += 1
            time.sleep(0.01)


class Load:
    """Reads through mounts, and writes through the agent, all the time; everything that it is told must be right."""

    def __init__(self, lists, api, puts):
        """`lists` of files and contents, one for each mount; what is written, and is there already."""
        demand(all(lists) and puts, "a load of nothing")
        self.fault, self.written_places = FORK.RawArray(ctypes.c_char, 400), len(puts)
        self.counts = [FORK.RawArray(ctypes.c_longlong, 7) for _ in [*lists, puts]]
        self.opened = [FORK.RawArray(ctypes.c_byte, len(items)) for items in lists]
        self.processes = [
            FORK.Process(target=read_all, args=(items, opened, counts, self.fault))
            for items, opened, counts in zip(lists, self.opened, self.counts)
        ]
        self.processes.append(FORK.Process(target=write_all, args=(api, puts, self.counts[-1], self.fault)))

    def __enter__(self):
        for process in self.processes:
            process.start()
        self.goes_on("it began")
        return self

    def __exit__(self, *_):
        self.is_alive = all(process.exitcode is None for process in self.processes)
        for process in self.processes:
            process.terminate()
        for process in self.processes:
            process.join(10)
            if process.exitcode is None:
                process.kill()

    def read(self):
        """Files that were read so far."""
        return sum(counts[READ] for counts in self.counts)

    def goes_on(self, what):
        """Waits until each of them has read, or written, more."""
        def done():
            return [counts[READ] + counts[WRITTEN] for counts in self.counts]
        before = done()
        until(f"load after {what}", lambda: None if all(now > then + 1 for now, then in zip(done(), before)) else "it stands")

    def answered(self, meanwhile):
        """Nobody was told that a custodian does not answer who is there."""
        lost = sum(counts[UNANSWERED] for counts in self.counts)
        demand(lost == 0, f"{meanwhile}: {lost} reads were told that the custodian does not answer: {self.fault.value.decode()}")

    def was_opened(self):
        return [bool(opened) for each in self.opened for opened in each]

    def text(self):
        """What there was of it; anything wrong is a fault."""
        total = [sum(column) for column in zip(*self.counts)]
        demand(self.is_alive, "the load ended before")
        demand(total[OTHER] + total[REFUSED] == 0, f"{total[OTHER]} reads and {total[REFUSED]} writes went wrong: {self.fault.value.decode()}")
        self.answered("load")
        longest = max(counts[LONGEST] for counts in self.counts) / 1e9
        return (f"load: {total[READ]} files read and right, {total[AGAIN]} opened again, the longest took {longest:.1f} s; "
                f"{total[WRITTEN]} written")
