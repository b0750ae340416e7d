#!/usr/bin/env python3
"""A longer way to a server on loopback: bytes arrive later, as many of them as before. Standard library only.

    delay.py LISTEN TARGET SECONDS      SECONDS there and back; serves until killed
"""
import asyncio, sys


class End(asyncio.Protocol):
    """One end of a way. What it gets goes to the other end after a while."""

    def __init__(self, seconds, other=None):
        self.seconds, self.other, self.transport, self.early = seconds, other, None, []

    def connection_made(self, transport):
        self.transport = transport
        if self.other is None:
            asyncio.ensure_future(self.go_on())

    async def go_on(self):
        loop = asyncio.get_running_loop()
        make = lambda: End(self.seconds, self)
        try:
            _, self.other = await loop.create_connection(make, "127.0.0.1", TARGET)
        except OSError:
            self.transport.close()
            return
        for act in self.early:
            loop.call_later(self.seconds, act, self.other)

    def send(self, act):
        if self.other is None:
            self.early.append(act)
        else:
            asyncio.get_running_loop().call_later(self.seconds, act, self.other)

    def data_received(self, data):
        self.send(lambda other: other.transport.is_closing() or other.transport.write(data))

    def eof_received(self):
        self.send(lambda other: other.transport.is_closing() or other.transport.write_eof())
        return True

    def connection_lost(self, error):
        self.send(lambda other: other.transport.close())

    def pause_writing(self):
        if self.other is not None and self.other.transport:
            self.other.transport.pause_reading()

    def resume_writing(self):
        if self.other is not None and self.other.transport:
            self.other.transport.resume_reading()


async def main():
    loop = asyncio.get_running_loop()
    server = await loop.create_server(lambda: End(SECONDS / 2), "127.0.0.1", LISTEN, backlog=256)
    await server.serve_forever()


LISTEN, TARGET, SECONDS = int(sys.argv[1]), int(sys.argv[2]), float(sys.argv[3])
asyncio.run(main())
