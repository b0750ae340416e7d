#!/usr/bin/env python3
"""Reads a Strongroom store (format 1) from docs/format.md alone: a second implementation that proves the document.

    strongroom_reader.py STORE --passphrase-file FILE list
    strongroom_reader.py STORE --passphrase-file FILE extract FOLDER
    strongroom_reader.py STORE --passphrase-file FILE verify

`list` prints kind, mode, links, uid, gid, size, mtime and path of everything, `extract` writes it out byte for byte, `verify`
opens every byte and writes nothing. Exit status 0, or 1 with one line when something does not verify. Section numbers
below are those of docs/format.md. It only reads.
"""

import argparse
import hashlib
import os
import re
import stat
import struct
import sys
from pathlib import Path

import cbor2
from argon2.low_level import Type, hash_secret_raw
from blake3 import blake3
from cryptography.exceptions import InvalidSignature, InvalidTag
from cryptography.hazmat.primitives import hpke
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.asymmetric.mlkem import MLKEM768PrivateKey
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA512
from cryptography.hazmat.primitives.kdf.hkdf import HKDFExpand
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

ORDINARY = bytes(16)
ROOT_INO = 1
FILE, FOLDER, SYMLINK, FIFO, SOCKET, CHAR, BLOCK = range(1, 8)
KIND_LETTERS = "?-dlpscb"
EMPTY, INLINE, TARGET, EXTENTS, MAPPED, PURGED = range(6)


class Damage(Exception):
    """Something does not verify, or is not what the format says."""


def need(condition, what):
    if not condition:
        raise Damage(what)


# Section 1: records.


def uint(bits):
    def check(value):
        need(type(value) is int and 0 <= value < 1 << bits, "number out of range")
        return value

    return check


def i64(value):
    need(type(value) is int and -(1 << 63) <= value < 1 << 63, "number out of range")
    return value


def text(value):
    need(type(value) is str, "not a text")
    return value


def bytes_of(*lengths):
    def check(value):
        need(type(value) is bytes and (not lengths or len(value) in lengths), "byte string expected")
        return value

    return check


U8, U16, U32, U64 = uint(8), uint(16), uint(32), uint(64)
ID, HASH, BYTES = bytes_of(16), bytes_of(32), bytes_of()


def optional(inner):
    def check(value):
        return None if value is None else inner(value)

    check.optional = True
    return check


def many(inner):
    def check(value):
        need(type(value) is list, "array expected")
        return [inner(item) for item in value]

    return check


def record(*fields):
    def check(value):
        need(type(value) is list and len(value) <= len(fields), "record of another length")
        missing = fields[len(value):]
        need(all(hasattr(field, "optional") for field in missing), "record cut short")
        # Absent fields at the end are left out, so the last one written is there.
        need(not value or value[-1] is not None, "absent field written at the end")
        return [field(item) for field, item in zip(fields, value)] + [None] * len(missing)

    return check


def variant(cases):
    def check(value):
        need(type(value) is list and len(value) == 2 and value[0] in cases, "unknown variant")
        return (value[0], *cases[value[0]](value[1]))

    return check


def decode(data, shape):
    """A record that takes up all of `data`, in its one allowed spelling."""
    try:
        value = cbor2.loads(data)
        again = cbor2.dumps(value, canonical=True)
    except Exception as error:  # cbor2 raises many kinds on malformed input
        raise Damage("record does not decode") from error
    need(again == data, "record is not canonical")
    return shape(value)


def decode_prefix(data, shape):
    """A record at the front of `data`, and the rest."""
    end = item_end(data, 0)
    return decode(data[:end], shape), data[end:]


def item_end(data, at, depth=0):
    """Where the CBOR item at `at` ends."""
    need(at < len(data) and depth < 16, "record cut short")
    major, low = data[at] >> 5, data[at] & 31
    at += 1
    need(low < 28, "not canonical")
    if low >= 24:
        width = 1 << (low - 24)
        need(at + width <= len(data), "record cut short")
        low = int.from_bytes(data[at:at + width], "big")
        at += width
    if major in (0, 1, 7):
        return at
    if major in (2, 3):
        need(at + low <= len(data), "record cut short")
        return at + low
    need(major == 4, "only arrays are used")
    for _ in range(low):
        at = item_end(data, at, depth + 1)
    return at


# Section 2: constructions.


def context(usage, organisation, *fields):
    return cbor2.dumps(["strongroom/1", usage, organisation, *fields], canonical=True)


class Opener:
    """Derived key, nonce and commitment of one sealed message (2.1)."""

    def __init__(self, input_key, salt, context_bytes):
        info = b"c2sp.org/chunked-encryption@v1+AEAD_AES_256_GCM\0" + salt + context_bytes
        derived = HKDFExpand(algorithm=SHA512(), length=76, info=info).derive(input_key)
        self.aead = AESGCM(derived[:32])
        self.nonce = int.from_bytes(derived[32:44], "big")
        self.commitment = derived[44:]

    def chunk(self, number, sealed):
        nonce = (self.nonce ^ number).to_bytes(12, "big")
        try:
            return self.aead.decrypt(nonce, sealed, None)
        except InvalidTag as error:
            raise Damage("sealed bytes do not open") from error

    def chunks(self, first, sealed):
        parts = []
        for index, at in enumerate(range(0, len(sealed), 16_400)):
            parts.append(self.chunk(first + index, sealed[at:at + 16_400]))
        return b"".join(parts)


def open_message(input_key, context_bytes, message):
    need(len(message) >= 72, "sealed message cut short")
    opener = Opener(input_key, message[:24], context_bytes)
    need(opener.commitment == message[24:56], "sealed bytes do not open")
    body = message[56:]
    # The last chunk is always short: one more full chunk would have another behind it.
    need(16 <= len(body) % 16_400, "sealed message cut short")
    return opener.chunks(0, body)


SMALL_ORDER = {
    bytes.fromhex(point)
    for point in (
        "01" + "00" * 31,
        "01" + "00" * 30 + "80",
        "ec" + "ff" * 30 + "7f",
        "ec" + "ff" * 31,
        "00" * 32,
        "00" * 31 + "80",
        "26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc05",
        "26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc85",
        "c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac037a",
        "c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac03fa",
    )
}


def verify(public_key, usage, signed, signature):
    need(public_key not in SMALL_ORDER and signature[:32] not in SMALL_ORDER, "weak signature")
    message = b"strongroom/1 sig\0" + struct.pack("<H", usage) + hashlib.sha256(signed).digest()
    try:
        Ed25519PublicKey.from_public_bytes(public_key).verify(signature, message)
    except (InvalidSignature, ValueError) as error:
        raise Damage("signature does not verify") from error


# Section 4: workspace, organisation, device file.

CERTIFICATE = record(ID, ID, HASH, bytes_of(1216))
GENESIS = record(U16, U16, ID, HASH, many(CERTIFICATE), U16, BYTES, i64)
RECIPIENT = record(ID, bytes_of(1200), bytes_of(136))
SHARE = record(ID, ID, U64, RECIPIENT)
ROTATION = record(ID, ID, U64, HASH, HASH, many(RECIPIENT), optional(bytes_of(136)))
NAMING = record(U64, bytes_of(136), bytes_of(136))
ADD, REVOKE, ROTATE, ADD_CONSUMER = 1, 2, 3, 4
ACT = variant({
    ADD: record(CERTIFICATE, SHARE),
    REVOKE: record(ID, ROTATION),
    ROTATE: record(ROTATION),
    ADD_CONSUMER: record(CERTIFICATE, NAMING),
})
ORGANISATION_RECORD = record(U16, HASH, U64, HASH, ID, ACT, i64)
REQUEST = record(U16, HASH, ID, ID, HASH, bytes_of(1216), i64, i64)
DEVICE_CLEAR = record(U16, HASH, ID, U64, ID, record(U16, U32, U32, U32, ID))
SECRETS = record(ID, ID, HASH, HASH, HASH, HASH, optional(HASH))


def split_frame(data, magic, limit):
    need(len(data) >= 8 and data[:4] == magic, "not the kind of file expected, or of a newer format")
    (length,) = struct.unpack_from("<I", data, 4)
    need(length <= limit and 8 + length <= len(data), "file cut short")
    return data[8:8 + length], data[8 + length:]


def split_signed(data, magic, limit):
    signed, rest = split_frame(data, magic, limit)
    need(len(rest) >= 64, "file cut short")
    return signed, rest[:64], rest[64:]


def split_parts(data, lengths):
    parts, at = [], 0
    for length in lengths:
        need(at + length <= len(data), "sealed parts do not fill the file")
        parts.append(data[at:at + length])
        at += length
    need(at == len(data), "sealed parts do not fill the file")
    return parts


def rising(keys):
    keys = list(keys)
    return all(a < b for a, b in zip(keys, keys[1:]))


def parse_workspace(data):
    need(len(data) <= 1024, "workspace file too long")
    fields = decode(data, record(text, U32, U16, HASH, ID))
    need(fields[:3] == ["strongroom", 1, 1], "store of a newer format")
    return fields[3:]


def parse_device(data):
    clear, sealed = split_frame(data, b"SRd1", 4096)
    need(len(sealed) <= 1 << 20, "device file too long")
    fields = decode(clear, DEVICE_CLEAR)
    need(fields[3] == 1, "unknown provider")
    return fields, sealed


class Device:
    """An unlocked device file (4.4)."""

    def __init__(self, data, passphrase):
        clear, sealed = parse_device(data)
        suite, self.organisation, self.id, provider, key_id, kdf = clear
        number, memory, passes, lanes, salt = kdf
        need((suite, provider, number) == (1, 1, 1), "device file of a newer format")
        within = 65_536 <= memory <= 1 << 21 and 3 <= passes <= 16 and lanes == 1
        need(within, "passphrase cost out of bounds")
        key = hash_secret_raw(passphrase, salt, passes, memory, lanes, 32, Type.ID, 0x13)
        fields = (self.id, number, memory, passes, lanes, salt, provider, key_id)
        try:
            plain = open_message(key, context(10, self.organisation, *fields), sealed)
        except Damage as error:
            raise Damage("the passphrase does not open the device file") from error
        device, self.workspace, seed, _store, _hedge, kem_seed, _root = decode(plain, SECRETS)
        need(device == self.id, "device file holds something else")
        self.keys = {}
        public = Ed25519PrivateKey.from_private_bytes(seed).public_key()
        self.public_key = public.public_bytes(Encoding.Raw, PublicFormat.Raw)
        self.kem, self.kem_key = kem_pair(kem_seed)

    def place(self, epoch):
        return self.workspace, ORDINARY, epoch

    def learn(self, log):
        """The keys that the organisation log gives this device: 4.3."""
        certificate = log.devices.get(self.id)
        need(certificate and log.counts(self.id, log.position), "the organisation does not certify this device")
        need(certificate[2:4] == [self.public_key, self.kem_key], "the organisation certifies other keys")
        need(log.epochs and log.workspace == self.workspace, "the organisation has another workspace")
        epoch = len(log.epochs)
        position, sharer, wrap = log.shares[self.id]
        key_id = hashlib.sha256(self.kem_key).digest()[:16]
        info = context(7, self.organisation, *self.place(epoch), self.id, key_id, sharer, position)
        try:
            keys = WRAPPING.decrypt(wrap, self.kem, info)
        except (InvalidTag, ValueError) as error:
            raise Damage("a wrapped key does not open") from error
        for epoch in range(epoch, 0, -1):
            need(len(keys) == 64, "keys of another length")
            pair = keys[:32], keys[32:]
            commitments, back_link, _since = log.epochs[epoch - 1]
            for key, usage, expected in zip(pair, (67, 68), commitments):
                made = derive(key, usage, context(usage, self.organisation, *self.place(epoch)))
                need(made == expected, "not the key that the log commits to")
            self.keys[ORDINARY, epoch] = pair[0]
            if back_link:
                fields = (self.workspace, ORDINARY, epoch - 1, epoch)
                keys = open_message(pair[1], context(6, self.organisation, *fields), back_link)

    def key(self, compartment, epoch):
        need((compartment, epoch) in self.keys, "the device has no key of this epoch")
        return self.keys[compartment, epoch]


WRAPPING = hpke.Suite(hpke.KEM.MLKEM768_X25519, hpke.KDF.HKDF_SHA256, hpke.AEAD.AES_256_GCM)


def derive(key, usage, context_bytes):
    info = b"strongroom/1 kdf\0" + struct.pack("<H", usage) + context_bytes
    return HKDFExpand(algorithm=SHA512(), length=32, info=info).derive(key)


def kem_pair(seed):
    """X-Wing's pair of keys: 2.5."""
    expanded = hashlib.shake_256(seed).digest(96)
    lattice = MLKEM768PrivateKey.from_seed_bytes(expanded[:64])
    curve = X25519PrivateKey.from_private_bytes(expanded[64:])
    public = lattice.public_key().public_bytes_raw() + curve.public_key().public_bytes_raw()
    return hpke.MLKEM768X25519PrivateKey(lattice, curve), public


def parse_genesis(data):
    signed, signature, rest = split_signed(data, b"SRg1", 128 << 10)
    fields = decode(signed, GENESIS)
    devices, quorum = fields[4:6]
    bounded = 1 <= quorum <= len(devices) <= 64 and rising(d[0] for d in devices)
    need(not rest and bounded, "genesis out of bounds")
    return fields, signed, signature


def read_genesis(data, organisation):
    fields, signed, signature = parse_genesis(data)
    need(hashlib.sha256(signed).digest() == organisation, "not the organisation's genesis")
    suite, floor, _nonce, root_key, devices, *_ = fields
    need(suite == 1 and floor <= 1, "organisation of a newer format")
    verify(root_key, 128, signed, signature)
    return devices


def parse_request(data):
    signed, signature, rest = split_signed(data, b"SRq1", 4096)
    fields = decode(signed, REQUEST)
    need(not rest and fields[7] >= fields[6], "request out of bounds")
    return fields, signed, signature


def parse_organisation(data):
    signed, signature, rest = split_signed(data, b"SRo1", 1 << 20)
    fields = decode(signed, ORGANISATION_RECORD)
    kind, *act = fields[5]
    if kind == ADD:
        fits = act[1][2] > 0
    elif kind == ADD_CONSUMER:
        fits = act[1][0] > 0
    else:
        _, _, epoch, _, _, recipients, back_link = act[-1]
        fits = epoch > 0 and (epoch == 1) == (back_link is None) and 1 <= len(recipients) <= 256
        fits = fits and rising(recipient[0] for recipient in recipients)
    need(fits and fields[2] > 0 and not rest, "organisation record out of bounds")
    return fields, signed, signature


class OrganisationLog:
    """Who counts from which record to which, and the epochs: 4.3."""

    def __init__(self, genesis, organisation):
        self.id, self.heads, self.epochs, self.shares = organisation, [organisation], [], {}
        self.workspace = None
        self.devices, self.added, self.revoked, self.consumers = {}, {}, {}, set()
        for certificate in read_genesis(genesis, organisation):
            self.add(certificate, 0)

    @property
    def position(self):
        return len(self.heads) - 1

    def add(self, certificate, position):
        for known in self.devices.values():
            need(all(known[at] != certificate[at] for at in (0, 2, 3)), "device or key twice")
        self.devices[certificate[0]] = certificate
        self.added[certificate[0]] = position

    def counts(self, device, position):
        begun = device in self.added and self.added[device] <= position <= self.position
        return begun and position < self.revoked.get(device, position + 1)

    def live(self):
        return sorted(device for device in self.devices if self.counts(device, self.position))

    def author(self, device, position, head):
        """The key of who signed something that is pinned to a position."""
        need(position <= self.position, "the organisation log is cut short")
        counts = self.counts(device, position) and device not in self.consumers
        need(self.heads[position] == head and counts, "author is not certified")
        return self.devices[device][2]

    def epoch_at(self, position):
        return sum(since <= position for _, _, since in self.epochs)

    def extend(self, data):
        fields, signed, signature = parse_organisation(data)
        suite, organisation, sequence, parent, author, (kind, *act), _time = fields
        here = (suite, organisation, sequence, parent)
        need(here == (1, self.id, self.position + 1, self.heads[-1]), "organisation record of another place")
        verify(self.author(author, self.position, self.heads[-1]), 130, signed, signature)
        member = self.devices[author][1]
        if kind == ADD:
            certificate, (workspace, compartment, epoch, recipient) = act
            here = (self.workspace, ORDINARY, len(self.epochs), certificate[0], member)
            there = (workspace, compartment, epoch, recipient[0], certificate[1])
            need(self.epochs and here == there and len(self.live()) < 256, "device that cannot be added")
            self.add(certificate, sequence)
            self.shares[recipient[0]] = (sequence, author, recipient[1])
        elif kind == ADD_CONSUMER:
            certificate, (epoch, _name, _consumer) = act
            here, there = (len(self.epochs), member), (epoch, certificate[1])
            need(self.epochs and here == there and len(self.live()) < 256, "device that cannot be added")
            self.add(certificate, sequence)
            self.consumers.add(certificate[0])
        else:
            gone = act[0] if kind == REVOKE else None
            if gone:
                known = gone != author and self.counts(gone, self.position)
                need(known and self.devices[gone][1] == member, "device that cannot be revoked")
            self.rotate(act[-1], sequence, author, gone)
        self.heads.append(hashlib.sha256(signed).digest())

    def rotate(self, rotation, sequence, author, gone):
        workspace, compartment, epoch, key, history, recipients, back_link = rotation
        stay = [device for device in self.live() if device != gone and device not in self.consumers]
        need([recipient[0] for recipient in recipients] == stay, "an epoch for others than those who count")
        place = (compartment, epoch) == (ORDINARY, len(self.epochs) + 1)
        need(place and self.workspace in (None, workspace), "epoch of another place")
        self.workspace = workspace
        if gone:
            self.revoked[gone] = sequence
        self.epochs.append(((key, history), back_link, sequence))
        self.shares = {device: (sequence, author, wrap) for device, wrap, _name in recipients}


# Sections 5 and 6: commits, checkpoints, pages.

BODY_REF = record(ID, U64, U64, HASH)
COMMIT = record(
    U16, HASH, ID, U64, HASH, ID, U64, U64, U64, HASH, many(BODY_REF), many(record(ID, U64, HASH)),
    many(ID), i64,
)
BODY_HEAD = record(ID, ID, U64, U64, U64, U64, U64)
CHECKPOINT = record(
    U16, HASH, ID, U64, HASH, ID, U64, HASH, many(record(ID, U64, U64, U64, HASH)),
    many(record(ID, U64, U32, HASH)), i64,
)
REFERENCE = record(ID, U32, U32, U8, U64, HASH)
PART = record(
    ID, U64, optional(REFERENCE), U8, U64, ID, BYTES, many(record(U32, ID, U64, U64)),
    many(record(ID, U64, U64, U64, U64)),
)



def parse_commit(data):
    bare = data[:4] == b"SRd1"
    signed, signature, rest = split_signed(data, b"SRd1" if bare else b"SRc1", 4 << 20)
    fields = decode(signed, COMMIT)
    bodies = fields[10]
    bounded = fields[3] > 0 and len(bodies) <= 4096 and all(b[2] <= 32 << 20 for b in bodies)
    need(bounded and rising(body[0] for body in bodies), "commit header out of bounds")
    return fields, signed, signature, None if bare and not split_parts(rest, []) else split_parts(rest, [body[2] for body in bodies])


def parse_body(plain):
    head, rest = decode_prefix(plain, BODY_HEAD)
    operations = []
    for _ in range(head[6]):
        before = len(rest)
        operation, rest = decode_prefix(rest, OPERATION)
        need(before - len(rest) <= 2 << 20, "operation too long")
        operations.append(operation)
    need(not rest, "bytes behind the last operation")
    return head, operations


def parse_checkpoint(data):
    signed, signature, rest = split_signed(data, b"SRk1", 16 << 20)
    fields = decode(signed, CHECKPOINT)
    parts, objects = fields[8:10]
    bounded = all(p[2] <= fields[3] and p[3] <= 8 << 20 for p in parts)
    ordered = rising(p[0] for p in parts) and rising(o[0] for o in objects)
    need(bounded and ordered and all(o[2] > 0 for o in objects), "checkpoint out of bounds")
    return fields, signed, signature, split_parts(rest, [p[3] for p in parts])


def parse_part(plain):
    fields = decode(plain, PART)
    _, _, top, height, count, _, digest, slots, journals = fields
    if top:
        check_reference(top)
        need(height == top[3] + 1 and count > 0, "height of another tree")
    else:
        need(height == count == 0, "height without a tree")
    need(rising(s[0] for s in slots) and rising(j[:2] for j in journals), "part out of order")
    bounded = len(digest) <= 4096 and all(s[0] < 1 << 23 and s[2] < 1 << 40 for s in slots)
    need(bounded and len(journals) <= 1024 and all(j[4] <= fields[1] for j in journals), "part out of bounds")
    return fields


def check_reference(reference):
    need(73 <= reference[2] <= 16_384 and reference[3] <= 31, "malformed reference")


# Sections 7 and 8: extents and values of the map.

EXTENT = record(U64, U32, ID, U32, U32, U32, HASH, HASH)
ENTRY = record(BYTES, U64, U8)
CONTENT = variant({
    EMPTY: record(), INLINE: record(BYTES), TARGET: record(BYTES), EXTENTS: record(many(EXTENT)),
    MAPPED: record(), PURGED: record(),
})
INODE = record(
    U8, U16, U32, U32, U32, U64, U64, i64, i64, i64, i64, U32, U64, CONTENT,
    many(record(BYTES, BYTES)),
)
OBJECT_USE = record(U64, U64, U64)
SNAPSHOT = record(text, U64, HASH, i64, ID)

# Section 9: operations.

OPERATION = variant({
    1: record(U64, BYTES, U64, U8, U16, U32, U32, U32, BYTES, i64),
    2: record(U64, U64, BYTES, i64),
    3: record(U64, BYTES, U64, U8, i64),
    4: record(U64, BYTES, U64, BYTES, U64, U64, U8, i64),
    5: record(U64, BYTES, U64, BYTES, i64),
    6: record(U64, *map(optional, (U16, U32, U32, U64, i64, i64)), i64),
    7: record(U64, BYTES, optional(BYTES), i64),
    8: record(U64, U64, BYTES, U16, i64, i64),
    9: record(U64, U64, many(EXTENT), U16, i64, i64),
    10: record(U64, U64, U64, i64),
    11: record(U64, U64, U64, U64, U64, U64, i64),
    12: record(U64),
    13: record(ID, ID, many(U64), many(record(U32, U32))),
    16: record(U64, many(EXTENT)),
    17: record(ID, optional(SNAPSHOT)),
    18: record(many(U64)),
})


class Inode:
    """An inode with its content; extents wherever they lie in the map."""

    def __init__(self, fields):
        (self.kind, self.mode, self.uid, self.gid, self.links, self.size, self.allocated, self.mtime,
         self.ctime, self.atime, self.btime, self.rdev, self.parent, content, xattrs) = fields
        need(FILE <= self.kind <= BLOCK, "unknown kind of inode")
        need(rising(name for name, _ in xattrs), "extended attributes out of order")
        self.xattrs = dict(xattrs)
        self.tag = content[0]
        self.data = content[1] if self.tag in (INLINE, TARGET) else b""
        self.extents = list(content[1]) if self.tag == EXTENTS else []

    def clear(self, start, end):
        """Section 9: clear a range."""
        kept = []
        for extent in self.extents:
            offset, length = extent[0], extent[1]
            if offset >= end or offset + length <= start:
                kept.append(extent)
                continue
            if offset < start:
                kept.append(clip(extent, offset, start))
            if offset + length > end:
                kept.append(clip(extent, end, offset + length))
        self.extents = kept
        self.settle()

    def place(self, extent):
        self.clear(extent[0], extent[0] + extent[1])
        if self.tag not in (EXTENTS, MAPPED):
            self.tag, self.data = EXTENTS, b""
        self.extents.append(extent)
        self.extents.sort(key=lambda other: other[0])
        if len(self.extents) > 4:
            self.tag = MAPPED
        self.settle()

    def settle(self):
        self.allocated = sum(extent[1] for extent in self.extents)
        if not self.allocated and self.tag in (EXTENTS, MAPPED):
            self.tag = EMPTY

    def resize(self, size):
        if self.tag == INLINE:
            self.data = self.data[:size]
            if not self.data:
                self.tag = EMPTY
        elif size < self.size:
            self.clear(size, 1 << 64)
        self.size = size


def clip(extent, start, end):
    shift = start - extent[0]
    return [start, end - start, *extent[2:5], extent[5] + shift, *extent[6:]]


class Digest:
    """Section 10. Lanes of 16 bits are summed in slots of 32, even and odd ones apart."""

    EVEN = int.from_bytes(b"\xff\xff\0\0" * 512, "little")

    def __init__(self):
        self.even = self.odd = self.count = 0

    def add(self, key, value):
        hasher = blake3(derive_key_context="strongroom/1 map digest element")
        hasher.update(struct.pack("<Q", len(key)) + key + value)
        element = int.from_bytes(hasher.digest(length=2048), "little")
        self.even += element & self.EVEN
        self.odd += element >> 16 & self.EVEN
        self.count += 1
        if self.count % 60_000 == 0:
            self.even &= self.EVEN
            self.odd &= self.EVEN

    def state(self):
        return (self.even & self.EVEN | (self.odd & self.EVEN) << 16).to_bytes(2048, "little")


class Tree:
    """The map as the last commit leaves it: inodes, and names by folder."""

    def __init__(self):
        self.inodes, self.names, self.orphans, self.uses, self.snapshots = {}, {}, set(), {}, {}

    # Section 8: from the pages of a checkpoint.

    def load(self, key, value):
        tag, first, second = parse_key(key)
        if tag == 0x10:
            name, ino, kind = decode(value, ENTRY)
            check_name(name)
            entries = self.names.setdefault(first, {})
            need(name not in entries, "name twice")
            entries[name] = (ino, kind)
        elif tag == 0x20:
            self.inodes[first] = Inode(decode(value, INODE))
        elif tag == 0x30:
            extent = decode(value, EXTENT)
            need(extent[0] == second, "extent under another offset")
            inode = self.inode(first)  # inodes come before extents
            need(inode.tag == MAPPED, "extent of a file that is not mapped")
            inode.extents.append(extent)
        elif tag == 0x40:
            self.uses[first] = decode(value, OBJECT_USE)
        elif tag == 0x60:
            self.snapshots[first] = decode(value, SNAPSHOT)
        else:
            need(not value, "orphan with a value")
            self.orphans.add(first)

    def check(self):
        """Everything in the map must agree with everything else."""
        uses = {}
        names, folders = {}, {}
        for folder, entries in self.names.items():
            need(self.inode(folder).kind == FOLDER, "names in something that is no folder")
            for ino, kind in entries.values():
                need(self.inode(ino).kind == kind, "entry of another kind")
                names[ino] = names.get(ino, 0) + 1
                if kind == FOLDER:
                    folders[folder] = folders.get(folder, 0) + 1
                    need(self.inode(ino).parent == folder, "folder with another parent")
        for ino, inode in self.inodes.items():
            need(rising(e[0] for e in inode.extents), "extents out of order")
            end = 0
            for extent in inode.extents:
                need(extent[0] >= end and extent[1] > 0, "extents overlap")
                end = extent[0] + extent[1]
                need(extent[5] + extent[1] <= extent[4] <= 1 << 20, "extent outside its block")
                live = uses.setdefault(extent[2], [0, 0])
                live[0] += extent[1]
                live[1] += 1
            need(end <= inode.size and inode.allocated == sum(e[1] for e in inode.extents), "sizes differ")
            if ino in self.orphans:
                need(inode.links == 0 and ino not in names, "orphan with a name")
            elif inode.kind == FOLDER:
                need(inode.links == 2 + folders.get(ino, 0), "wrong link count of a folder")
                need(ino == ROOT_INO or names.get(ino) == 1, "folder without a name or with two")
            else:
                need(inode.links == names.get(ino, 0) > 0, "wrong link count")
        return uses

    def inode(self, ino):
        need(ino in self.inodes, "no such inode")
        return self.inodes[ino]

    # Section 9: replay.

    def apply(self, operation):
        number, *fields = operation
        getattr(self, "op_" + OPERATION_NAMES[number])(*fields)

    def op_create(self, folder, name, ino, kind, mode, uid, gid, rdev, target, time):
        need(ino not in self.inodes and 0 < ino < 1 << 63, "inode number used twice")
        content = [TARGET, [target]] if kind == SYMLINK else [EMPTY, []]
        is_folder = kind == FOLDER
        self.inodes[ino] = Inode([
            kind, mode, uid, gid, 2 if is_folder else 1, len(target), 0, time, time, time, time, rdev,
            folder, (content[0], *content[1]), [],
        ])
        self.add_name(folder, name, ino, kind)
        self.touch(folder, int(is_folder), time)

    def op_link(self, ino, folder, name, time):
        inode = self.inode(ino)
        if inode.links == 0:
            inode.parent = folder
            self.orphans.discard(ino)
        inode.links += 1
        inode.ctime = time
        self.add_name(folder, name, ino, inode.kind)
        self.touch(folder, 0, time)

    def op_unlink(self, folder, name, ino, fate, time):
        kind = self.remove_name(folder, name, ino)
        self.drop_name(ino, fate, time)
        self.touch(folder, -int(kind == FOLDER), time)

    def op_rename(self, source, source_name, target, target_name, ino, replaced, fate, time):
        kind = self.remove_name(source, source_name, ino)
        gained = int(kind == FOLDER)
        if replaced:
            gone = self.remove_name(target, target_name, replaced)
            gained -= int(gone == FOLDER)
            self.drop_name(replaced, fate, time)
        self.add_name(target, target_name, ino, kind)
        self.move(ino, target, time)
        self.touch(source, -int(kind == FOLDER), time)
        self.touch(target, gained, time)

    def op_exchange(self, first, first_name, second, second_name, time):
        a, a_kind = self.entry(first, first_name)
        b, b_kind = self.entry(second, second_name)
        self.names[first][first_name] = (b, b_kind)
        self.names[second][second_name] = (a, a_kind)
        self.move(a, second, time)
        self.move(b, first, time)
        gained = int(b_kind == FOLDER) - int(a_kind == FOLDER)
        self.touch(first, gained, time)
        self.touch(second, -gained, time)

    def op_set_attributes(self, ino, mode, uid, gid, size, atime, mtime, time):
        inode = self.inode(ino)
        inode.mode = inode.mode if mode is None else mode
        inode.uid = inode.uid if uid is None else uid
        inode.gid = inode.gid if gid is None else gid
        if size is not None:
            inode.resize(size)
        inode.atime = inode.atime if atime is None else atime
        inode.mtime = inode.mtime if mtime is None else mtime
        inode.ctime = time

    def op_set_xattr(self, ino, name, value, time):
        inode = self.inode(ino)
        inode.xattrs.pop(name, None)
        if value is not None:
            inode.xattrs[name] = value
        inode.ctime = time

    def op_set_inline(self, ino, size, data, mode, mtime, ctime):
        inode = self.inode(ino)
        inode.extents, inode.allocated = [], 0
        inode.tag, inode.data = (INLINE if data else EMPTY), data
        inode.size, inode.mode, inode.mtime, inode.ctime = size, mode, mtime, ctime

    def op_set_extents(self, ino, size, extents, mode, mtime, ctime):
        inode = self.inode(ino)
        if inode.tag == INLINE:
            inode.tag, inode.data = EMPTY, b""
        if size < inode.size:
            inode.clear(size, 1 << 64)
        for extent in extents:
            inode.place(extent)
        inode.size, inode.mode, inode.mtime, inode.ctime = size, mode, mtime, ctime

    def op_punch(self, ino, offset, length, time):
        inode = self.inode(ino)
        if inode.tag == INLINE:
            start, end = min(offset, len(inode.data)), min(offset + length, len(inode.data))
            inode.data = inode.data[:start] + bytes(end - start) + inode.data[end:]
        else:
            inode.clear(offset, offset + length)
        inode.mtime = inode.ctime = time

    def op_clone(self, source, source_offset, target, target_offset, length, size, time):
        origin, inode = self.inode(source), self.inode(target)
        need(INLINE not in (origin.tag, inode.tag), "clone of inline content")
        end = source_offset + length
        copies = []
        for extent in origin.extents:
            start, stop = max(extent[0], source_offset), min(extent[0] + extent[1], end)
            if start < stop:
                piece = clip(extent, start, stop)
                copies.append([start - source_offset + target_offset, *piece[1:]])
        inode.clear(target_offset, target_offset + length)
        for extent in copies:
            inode.place(extent)
        inode.size, inode.mtime, inode.ctime = size, time, time

    def op_purge(self, ino):
        need(self.inode(ino).links == 0, "purge of an inode with a name")
        del self.inodes[ino]
        self.orphans.discard(ino)

    def op_relocate(self, source, target, inos, places):
        moved = dict(places)
        for ino in inos:
            inode = self.inodes.get(ino)
            for index, extent in enumerate(inode.extents if inode else []):
                if extent[2] == source and extent[3] in moved:
                    place = moved[extent[3]]
                    inode.extents[index] = [*extent[:2], target, place, *extent[4:]]

    def op_rewrite(self, ino, extents):
        inode = self.inode(ino)
        need(inode.tag != INLINE, "rewrite of inline content")
        need(all(extent[0] + extent[1] <= inode.size for extent in extents), "rewrite past the end")
        for extent in extents:
            inode.place(extent)

    def op_set_snapshot(self, snapshot_id, snapshot):
        self.snapshots.pop(snapshot_id, None)
        if snapshot:
            self.snapshots[snapshot_id] = snapshot

    def op_expunge(self, inos):
        """Says something of the history; the map stays."""

    def entry(self, folder, name):
        found = self.names.get(folder, {}).get(name)
        need(found is not None, "no such name")
        return found

    def add_name(self, folder, name, ino, kind):
        check_name(name)
        entries = self.names.setdefault(folder, {})
        need(name not in entries, "name taken")
        entries[name] = (ino, kind)

    def remove_name(self, folder, name, ino):
        found, kind = self.entry(folder, name)
        need(found == ino, "another inode under the name")
        del self.names[folder][name]
        return kind

    def drop_name(self, ino, fate, time):
        inode = self.inode(ino)
        inode.ctime = time
        if inode.kind != FOLDER and inode.links > 1:
            inode.links -= 1
            return
        inode.links = 0
        if fate == 0:
            del self.inodes[ino]
        else:
            self.orphans.add(ino)

    def move(self, ino, folder, time):
        inode = self.inode(ino)
        inode.parent = folder
        inode.ctime = time

    def touch(self, folder, gained, time):
        inode = self.inode(folder)
        inode.links += gained
        inode.mtime = inode.ctime = time


OPERATION_NAMES = {
    1: "create", 2: "link", 3: "unlink", 4: "rename", 5: "exchange", 6: "set_attributes", 7: "set_xattr",
    8: "set_inline", 9: "set_extents", 10: "punch", 11: "clone", 12: "purge", 13: "relocate",
    16: "rewrite", 17: "set_snapshot", 18: "expunge",
}


def parse_page(plain):
    """Level and entries of a page (6.3); the values of inner pages are references."""
    need(4 <= len(plain) <= 16_312, "malformed page")
    kind, level, count = struct.unpack_from("<BBH", plain)
    need(kind == (1 if level == 0 else 2) and level <= 31 and count, "malformed page")
    begin = 4 + 2 * count
    need(begin <= len(plain), "malformed page")
    entries = []
    for end in struct.unpack_from(f"<{count}H", plain, 4):
        need(begin < end <= len(plain), "malformed page")
        key_end = begin + 1 + plain[begin]
        need(1 <= plain[begin] <= 32 and key_end <= end, "malformed page")
        entries.append((plain[begin + 1:key_end], plain[key_end:end]))
        begin = end
    need(begin == len(plain) and rising(key for key, _ in entries), "malformed page")
    if level == 0:
        return level, entries
    need(all(len(value) == 65 for _, value in entries), "malformed reference")
    children = [(key, struct.unpack("<16sIIBQ32s", value)) for key, value in entries]
    for _, child in children:
        check_reference(child)
        need(child[3] + 1 == level, "child of another level")
    return level, children


def parse_key(key):
    """Tag, inode or object, and offset or cookie (8)."""
    need(len(key) in (9, 17), "malformed key")
    tag, first, second = key[0], int.from_bytes(key[1:9], "big"), int.from_bytes(key[9:], "big")
    if tag in (0x40, 0x60) and len(key) == 17:
        return tag, key[1:], 0
    need(0 < first < 1 << 63, "malformed key")
    need((tag, len(key)) in ((0x10, 17), (0x20, 9), (0x30, 17), (0x50, 9)), "malformed key")
    need(tag != 0x10 or 128 <= second < 1 << 63, "malformed key")
    return tag, first, second


def check_name(name):
    bad = not 1 <= len(name) <= 255 or name in (b".", b"..") or b"/" in name or b"\0" in name
    need(not bad, "malformed name")


class Store:
    """Section 3: a store folder, unlocked, with the whole map in memory."""

    def __init__(self, folder, passphrase):
        self.folder = Path(folder)
        organisation, workspace = parse_workspace(self.read("workspace"))
        self.organisation, self.workspace = organisation, workspace
        self.device = self.unlock(passphrase)
        here = (self.device.organisation, self.device.workspace)
        need(here == (organisation, workspace), "device file of another workspace")
        self.log, self.pinned = self.read_organisation(organisation), 0
        self.device.learn(self.log)
        self.tree = Tree()
        self.headers, self.lengths, self.digests = {}, {}, {}
        seq, head = self.read_checkpoint()
        self.replay(seq, head)
        for object_id in self.tree.check():
            self.check_object(object_id)

    def unlock(self, passphrase):
        """Whichever device file the passphrase opens."""
        refused = Damage("no device file")
        for name in self.numbered("device", 32):
            try:
                device = Device(self.read(f"device/{name}"), passphrase)
                need(device.id.hex() == name, "device file under another name")
                return device
            except Damage as error:
                refused = error
        raise refused

    def read_organisation(self, organisation):
        log = OrganisationLog(self.read("organisation/" + "0" * 16), organisation)
        for name in self.numbered("organisation", 16)[1:]:
            need(int(name, 16) == log.position + 1, "organisation record is missing")
            log.extend(self.read(f"organisation/{name}"))
        return log

    def author(self, device, position, head):
        """The author's key and the epoch at a pin, which never goes down."""
        key = self.log.author(device, position, head)
        need(position >= self.pinned, "pinned before an earlier one")
        self.pinned = position
        return key, self.log.epoch_at(position)

    def read(self, path):
        try:
            return (self.folder / path).read_bytes()
        except OSError as error:
            raise Damage(f"`{path}` is missing or cannot be read") from error

    def numbered(self, folder, digits):
        try:
            names = os.listdir(self.folder / folder)
        except OSError as error:
            raise Damage(f"`{folder}` cannot be read") from error
        return sorted(name for name in names if re.fullmatch(f"[0-9a-f]{{{digits}}}", name))

    def context(self, usage, *fields):
        return context(usage, self.organisation, self.workspace, *fields)

    def range(self, object_id, offset, length):
        name = object_id.hex()
        try:
            with open(self.folder / "object" / name[:2] / name, "rb") as file:
                file.seek(offset)
                data = file.read(length)
        except OSError as error:
            raise Damage(f"object {name} is missing") from error
        need(len(data) == length, f"object {name} is cut short")
        return data

    def check_object(self, object_id):
        """Length of a data object as the map or the commit that brought it says."""
        name = object_id.hex()
        path = self.folder / "object" / name[:2] / name
        need(path.is_file(), f"object {name} is missing")
        need(path.stat().st_size == self.lengths.get(object_id), f"object {name} has another length")

    def read_checkpoint(self):
        names = self.numbered("checkpoint", 16)
        need(names, "no checkpoint")
        data = self.read(f"checkpoint/{names[-1]}")
        fields, signed, signature, sealed_parts = parse_checkpoint(data)
        suite, organisation, workspace, seq, head, author, *pin, parts, objects, _ = fields
        author_key, sealing = self.author(author, *pin)
        verify(author_key, 133, signed, signature)
        here = (suite, organisation, workspace, f"{seq:016x}")
        need(here == (1, self.organisation, self.workspace, names[-1]), "checkpoint of another place")
        live = {}
        for (compartment, epoch, part_seq, _, sha256), sealed in zip(parts, sealed_parts):
            need(hashlib.sha256(sealed).digest() == sha256, "checkpoint part does not verify")
            if compartment != ORDINARY:
                continue
            need(epoch == sealing, "part of another epoch")
            key = self.device.key(compartment, epoch)
            plain = open_message(key, self.context(5, compartment, epoch), sealed)
            self.load_part(parse_part(plain), part_seq, live)
        for object_id, length, pages, digest in objects:
            path = self.folder / "object" / object_id.hex()[:2] / object_id.hex()
            need(path.is_file() and path.stat().st_size == length, "page object is missing or cut")
            need(blake3(path.read_bytes()).digest() == digest, "page object does not verify")
            need(live.get(object_id, 0) == pages > 0, "page object with another number of pages")
        need(set(live) == {o[0] for o in objects}, "pages in an object that is not listed")
        return seq, head

    def load_part(self, part, seq, live):
        compartment, part_seq, top, _, count, _, digest, _, _ = part
        need((compartment, part_seq) == (ORDINARY, seq), "part of another place")
        state, entries = Digest(), 0
        last = b""
        for key, value in self.leaves(top, None, live) if top else ():
            need(last < key, "keys do not rise across pages")
            last, entries = key, entries + 1
            state.add(key, value)
            self.tree.load(key, value)
        need(entries == count, "wrong number of entries")
        need(state.state() == digest, "the digest of the map differs")
        uses = {object_id: use[:2] for object_id, use in self.tree.uses.items()}
        self.lengths = {object_id: use[2] for object_id, use in self.tree.uses.items()}
        need(self.tree.check() == uses, "uses of objects differ")

    def leaves(self, reference, first_key, live):
        object_id, place, length, level, epoch, digest = reference
        sealed = self.range(object_id, place, length)
        need(blake3(sealed).digest() == digest, "page does not verify")
        live[object_id] = live.get(object_id, 0) + 1
        usage = 3 if level == 0 else 4
        key = self.device.key(ORDINARY, epoch)
        plain = open_message(key, self.context(usage, ORDINARY, epoch), sealed)
        page_level, entries = parse_page(plain)
        need(page_level == level, "page of another level")
        need(first_key is None or entries[0][0] == first_key, "child begins with another key")
        if level == 0:
            yield from entries
            return
        for key, child in entries:
            yield from self.leaves(child, key, live)

    def replay(self, seq, head):
        for name in self.numbered("log", 16):
            number = int(name, 16)
            if number <= seq:
                continue
            need(number == seq + 1, f"commit {seq + 1} is missing")
            seq, head = number, self.apply_commit(number, head, self.read(f"log/{name}"))

    def apply_commit(self, seq, parent, data):
        header, signed, signature, sealed_bodies = parse_commit(data)
        suite, organisation, workspace, number, its_parent, author, incarnation, counter = header[:8]
        author_key, sealing = self.author(author, *header[8:10])
        verify(author_key, 132, signed, signature)
        here = (suite, organisation, workspace, number, its_parent)
        need(here == (1, self.organisation, self.workspace, seq, parent), f"commit {seq} is not in the chain")
        need(sealed_bodies is not None or not header[10], f"what commit {seq} did was purged")
        for (compartment, epoch, _, sha256), sealed in zip(header[10], sealed_bodies or []):
            need(hashlib.sha256(sealed).digest() == sha256, "body does not verify")
            if compartment != ORDINARY:
                continue
            need(epoch == sealing, "body of another epoch")
            fields = (compartment, epoch, author, incarnation, counter)
            key = self.device.key(compartment, epoch)
            plain = open_message(key, self.context(2, *fields), sealed)
            head, operations = parse_body(plain)
            need(head[:4] == [compartment, author, incarnation, counter], "body of another commit")
            for operation in operations:
                self.tree.apply(operation)
        for object_id, length, digest in header[11]:
            self.lengths[object_id], self.digests[object_id] = length, digest
        return hashlib.sha256(signed).digest()

    # Section 7: content of files.

    def header(self, extent):
        _, _, object_id, place, block_len, _, key, header_hash = extent
        cached = self.headers.get(header_hash)
        if cached is None:
            need(1 <= block_len <= 1 << 20, "malformed block")
            count = -(-block_len // 16_384)
            header = self.range(object_id, place, 56 + 32 * count)
            need(blake3(header).digest() == header_hash, "block header does not verify")
            opener = Opener(key, header[:24], self.context(1, ORDINARY))
            need(opener.commitment == header[24:56], "block does not open")
            cached = (opener, header[56:])
            if len(self.headers) > 1000:
                self.headers.clear()
            self.headers[header_hash] = cached
        return cached

    def segment(self, extent, index):
        opener, hashes = self.header(extent)
        object_id, place, block_len = extent[2:5]
        count = len(hashes) // 32
        begin = 16_400 * index
        end = 16_400 * (index + 1)
        if index + 1 == count:
            end = block_len + 16 * (block_len // 16_384 + 1)
        sealed = self.range(object_id, place + 56 + 32 * count + begin, end - begin)
        need(blake3(sealed).digest() == hashes[32 * index:32 * index + 32], "segment does not verify")
        return opener.chunks(index, sealed)

    def pieces(self, inode):
        """Offset and bytes of everything that is not a hole."""
        if inode.tag == INLINE:
            yield 0, inode.data[:inode.size]
        for extent in inode.extents:
            at, left, position = extent[0], extent[1], extent[5]
            while left:
                index, inside = divmod(position, 16_384)
                data = self.segment(extent, index)[inside:inside + left]
                need(data, "extent outside its block")
                yield at, data
                at, left, position = at + len(data), left - len(data), position + len(data)

    def walk(self):
        """Path and inode of everything, parents first, names in byte order."""
        pending = [(b"", ROOT_INO)]
        seen = set()
        while pending:
            path, ino = pending.pop()
            inode = self.tree.inode(ino)
            yield path, ino, inode
            if inode.kind == FOLDER:
                need(ino not in seen, "folders in a circle")
                seen.add(ino)
                names = sorted(self.tree.names.get(ino, {}).items(), reverse=True)
                pending.extend((path + b"/" + name if path else name, child) for name, (child, _) in names)


# The command.


def show(path):
    text = path.decode("utf-8", "backslashreplace") if path else "."
    return text.replace("\\", "\\\\").replace("\n", "\\n").replace("\t", "\\t") if path else "."


def list_all(store):
    for path, _, inode in store.walk():
        fields = (
            KIND_LETTERS[inode.kind], f"{inode.mode:04o}", inode.links, inode.uid, inode.gid, inode.size,
            inode.mtime, show(path),
        )
        print(*fields, sep="\t")


def extract(store, destination):
    destination = os.fsencode(destination)
    os.makedirs(destination, exist_ok=True)
    need(not os.listdir(destination), "the destination is not empty")
    made, folders = {}, []
    for path, ino, inode in store.walk():
        target = os.path.join(destination, path) if path else destination
        if ino in made and inode.kind != FOLDER:
            os.link(made[ino], target, follow_symlinks=False)
            continue
        made[ino] = target
        if inode.kind == FOLDER:
            if path:
                os.mkdir(target, 0o700)
            folders.append((target, inode))
        elif inode.kind == FILE:
            with open(target, "wb") as file:
                for offset, data in store.pieces(inode):
                    file.seek(offset)
                    file.write(data)
                file.truncate(inode.size)
        elif inode.kind == SYMLINK:
            os.symlink(inode.data, target)
        elif inode.kind == FIFO:
            os.mkfifo(target)
        else:
            # Sockets and devices need privileges and carry no content.
            print(f"skipped: {show(path)}", file=sys.stderr)
            continue
        if inode.kind != FOLDER:
            restore(target, inode)
    for target, inode in reversed(folders):
        restore(target, inode)


def restore(target, inode):
    for name, value in inode.xattrs.items():
        try:
            os.setxattr(target, name, value, follow_symlinks=False)
        except OSError:
            print("an extended attribute could not be set", file=sys.stderr)
    if inode.kind != SYMLINK:
        os.chmod(target, stat.S_IMODE(inode.mode))
    os.utime(target, ns=(inode.atime, inode.mtime), follow_symlinks=False)


def verify_all(store):
    count = size = 0
    done = set()
    for _, ino, inode in store.walk():
        count += 1
        if ino not in done:
            done.add(ino)
            size += sum(len(data) for _, data in store.pieces(inode))
    for object_id in store.tree.check():
        if object_id in store.digests:
            whole = store.range(object_id, 0, store.lengths[object_id])
            need(blake3(whole).digest() == store.digests[object_id], "object does not verify")
    print(f"{count} names, {size} bytes of content, all verified")


def main():
    parser = argparse.ArgumentParser(description="Reads a Strongroom store, format 1.")
    parser.add_argument("store")
    parser.add_argument("--passphrase-file", required=True)
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("list")
    commands.add_parser("verify")
    commands.add_parser("extract").add_argument("destination")
    options = parser.parse_args()
    line = Path(options.passphrase_file).read_bytes().split(b"\n", 1)[0].removesuffix(b"\r")
    try:
        store = Store(options.store, line)
        if options.command == "list":
            list_all(store)
        elif options.command == "verify":
            verify_all(store)
        else:
            extract(store, options.destination)
    except Damage as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
