#!/usr/bin/env python3
"""Stands between a program and an HTTP server on loopback and makes trouble.

    faults.py LISTEN TARGET CONTROL

The trouble is set by a line to port CONTROL, names and numbers: `delay 0.1 refuse 0.05 lose 0.02 reset 0.02 stall 0.01 hole 0`.
What is not named is off. Each request meets, by chance where the number is one:

    refuse  answered 503 without asking the server
    lose    done by the server, the answer thrown away and the connection cut
    reset   cut before it reaches the server
    stall   answered by half, then nothing more comes
    delay   seconds before it goes on, always
    burst   seconds out of every ten in which all are answered 503
    hole    1: nothing is answered at all any more, connections stay open; what was asked meanwhile goes on when that ends
    down    1: every connection is cut
    rate    bytes a second that all connections together carry, each way
"""
import random, socket, struct, sys, threading, time

NAMES = ("delay", "refuse", "lose", "reset", "stall", "burst", "hole", "down", "rate")
trouble = dict.fromkeys(NAMES, 0.0)
chance = random.Random(11)
counts = {}


def cut(connection):
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    connection.close()


class Line:
    """One way of a line that all connections share: who comes first goes first."""

    PIECE = 16384

    def __init__(self):
        self.lock, self.free_at = threading.Lock(), 0.0

    def piece(self, count):
        return min(count, self.PIECE) if trouble["rate"] else count

    def carry(self, count):
        if not trouble["rate"]:
            return
        with self.lock:
            self.free_at = max(self.free_at, time.monotonic()) + count / trouble["rate"]
            wait = self.free_at - time.monotonic()
        time.sleep(max(wait, 0))

    def send(self, connection, data):
        data = memoryview(data)
        while data:
            piece = data[: self.piece(len(data))]
            self.carry(len(piece))
            connection.sendall(piece)
            data = data[len(piece) :]


up, down = Line(), Line()


class Gone(Exception):
    pass


class Reader:
    """Bytes of one connection, by head and by count."""

    def __init__(self, connection, line=None):
        self.connection, self.kept, self.line = connection, b"", line

    def receive(self, count):
        got = self.connection.recv(self.line.piece(count) if self.line else count)
        if not got:
            raise Gone
        if self.line:
            self.line.carry(len(got))
        return got

    def more(self):
        self.kept += self.receive(65536)

    def head(self):
        while b"\r\n\r\n" not in self.kept:
            self.more()
        head, self.kept = self.kept.split(b"\r\n\r\n", 1)
        lines = head.split(b"\r\n")
        fields = {}
        for line in lines[1:]:
            name, _, value = line.partition(b":")
            fields[name.strip().lower()] = value.strip()
        return head + b"\r\n\r\n", lines[0], fields

    def take(self, count):
        parts, self.kept = [self.kept[:count]], self.kept[count:]
        left = count - len(parts[0])
        while left:
            got = self.receive(min(left, 1 << 20))
            parts.append(got)
            left -= len(got)
        return b"".join(parts)

    def line(self):
        while b"\r\n" not in self.kept:
            self.more()
        line, self.kept = self.kept.split(b"\r\n", 1)
        return line + b"\r\n"

    def body(self, fields):
        if fields.get(b"transfer-encoding", b"").lower() == b"chunked":
            out = b""
            while True:
                line = self.line()
                size = int(line.split(b";")[0], 16)
                out += line + (self.take(size + 2) if size else b"")
                if size == 0:
                    while True:
                        line = self.line()
                        out += line
                        if line == b"\r\n":
                            return out
        return self.take(int(fields.get(b"content-length", 0)))


def hits(name):
    hit = chance.random() < trouble[name]
    if hit:
        counts[name] = counts.get(name, 0) + 1
    return hit


def serve(client, target):
    server = None
    try:
        reading = Reader(client, up)
        while True:
            head, first, fields = reading.head()
            counts["requests"] = counts.get("requests", 0) + 1
            if fields.get(b"expect", b"").lower() == b"100-continue":
                client.sendall(b"HTTP/1.1 100 Continue\r\n\r\n")
                head = head.replace(b"Expect: 100-continue\r\n", b"").replace(b"expect: 100-continue\r\n", b"")
            body = reading.body(fields)
            while trouble["hole"]:
                time.sleep(0.2)
            time.sleep(trouble["delay"])
            counts["delay"] = counts.get("delay", 0) + bool(trouble["delay"])
            if trouble["down"] or hits("reset"):
                return cut(client)
            is_burst = time.monotonic() % 10 < trouble["burst"]
            counts["burst"] = counts.get("burst", 0) + is_burst
            if is_burst or hits("refuse"):
                client.sendall(b"HTTP/1.1 503 Trouble\r\nContent-Length: 0\r\n\r\n")
                continue
            if server is None:
                server = socket.create_connection(("127.0.0.1", target))
                server.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                answering = Reader(server)
            server.sendall(head + body)
            while True:
                answer, status, told = answering.head()
                if b" 100 " not in status:
                    break
            code = int(status.split()[1])
            silent = first.startswith(b"HEAD ") or code in (204, 304)
            content = b"" if silent else answering.body(told)
            if hits("lose"):
                return cut(client)
            if content and hits("stall"):
                client.sendall(answer + content[: len(content) // 2])
                time.sleep(600)
            down.send(client, answer + content)
    except (Gone, OSError):
        pass
    finally:
        client.close()
        if server:
            server.close()


def control(port):
    listening = socket.create_server(("127.0.0.1", port))
    while True:
        connection, _ = listening.accept()
        words = connection.makefile().readline().split()
        wanted = dict(zip(words[::2], map(float, words[1::2])))
        if not wanted.keys() <= set(NAMES):
            connection.close()  # The suite hears no answer, and fails.
            continue
        for name in NAMES:
            trouble[name] = wanted.get(name, 0.0)
        connection.sendall((" ".join(f"{name} {count}" for name, count in sorted(counts.items())) + "\n").encode())
        connection.close()


def main():
    listen, target, ruled = map(int, sys.argv[1:4])
    threading.Thread(target=control, args=(ruled,), daemon=True).start()
    listening = socket.create_server(("127.0.0.1", listen), backlog=256)
    # What lies in buffers on the way has not moved yet.
    listening.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 18)
    while True:
        client, _ = listening.accept()
        if trouble["down"]:
            cut(client)
            continue
        client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        threading.Thread(target=serve, args=(client, target), daemon=True).start()


main()
