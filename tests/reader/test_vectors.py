#!/usr/bin/env python3
"""The reader against tests/fixtures/format: good vectors are accepted, bad ones refused, as in the Rust code."""

import json
import sys
from pathlib import Path

import strongroom_reader as reader

FIXTURES = Path(__file__).resolve().parent.parent / "fixtures" / "format"

# The operations that only journals hold.
WRITE = reader.record(reader.U64, reader.U64, reader.BYTES, reader.U16, reader.i64)


def boolean(value):
    reader.need(type(value) is bool, "boolean expected")
    return value


BASED = reader.record(reader.U64, reader.U64, boolean)


def parse_operation(data):
    if data[:2] in (b"\x82\x0e", b"\x82\x0f"):
        return reader.decode(data, reader.variant({14: WRITE, 15: BASED}))
    return reader.decode(data, reader.OPERATION)


PARSERS = {
    "op": parse_operation,
    "inode": lambda data: reader.Inode(reader.decode(data, reader.INODE)),
    "entry": lambda data: reader.decode(data, reader.ENTRY),
    "snapshot": lambda data: reader.decode(data, reader.SNAPSHOT),
    "object_use": lambda data: reader.decode(data, reader.OBJECT_USE),
    "page": reader.parse_page,
    "commit": reader.parse_commit,
    "body": reader.parse_body,
    "checkpoint": reader.parse_checkpoint,
    "part": reader.parse_part,
    "workspace": reader.parse_workspace,
    "genesis": reader.parse_genesis,
    "organisation": reader.parse_organisation,
    "request": reader.parse_request,
    "device": reader.parse_device,
    "device_secrets": lambda data: reader.decode(data, reader.SECRETS),
    "key": reader.parse_key,
    "name": reader.check_name,
}


def accepts(parse, data):
    try:
        parse(data)
    except reader.Damage:
        return False
    return True


def main():
    wrong = count = 0
    for name, parse in PARSERS.items():
        vectors = json.loads((FIXTURES / f"{name}.json").read_text())
        for kind, expected in (("good", True), ("bad", False)):
            for title, data in vectors[kind].items():
                count += 1
                if accepts(parse, bytes.fromhex(data)) != expected:
                    wrong += 1
                    print(f"{name}: {kind} vector `{title}` was {'refused' if expected else 'accepted'}")
    print(f"{count} vectors, {wrong} wrong")
    return 1 if wrong or count < 300 else 0


if __name__ == "__main__":
    sys.exit(main())
