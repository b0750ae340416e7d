"""Makes tests/fixtures/device/: a device file and the genesis file that certifies it, written a second time.

Needs what make_crypto.py needs. The passphrase is `correct horse`, at the floor of the cost. Knows nothing of the
Rust code.
"""

import hashlib
import pathlib
import struct

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.kdf.argon2 import Argon2id

from make_crypto import head, seal

TARGET = pathlib.Path(__file__).parent.parent / "fixtures" / "device"
GENESIS, DEVICE_FILE = 128, 10


def item(value):
    """Deterministic CBOR of integers, byte strings, text, lists and None."""
    if value is None:
        return b"\xf6"
    if isinstance(value, int):
        return head(0, value)
    if isinstance(value, bytes):
        return head(2, len(value)) + value
    if isinstance(value, str):
        return head(3, len(value.encode())) + value.encode()
    return head(4, len(value)) + b"".join(item(part) for part in value)


def public(seed):
    return Ed25519PrivateKey.from_private_bytes(seed).public_key().public_bytes_raw()


def sign(seed, usage, record):
    message = b"strongroom/1 sig\x00" + struct.pack("<H", usage) + hashlib.sha256(record).digest()
    return Ed25519PrivateKey.from_private_bytes(seed).sign(message)


def framed(magic, record):
    return magic + struct.pack("<I", len(record)) + record


def main():
    device, root_seed, signing_seed = b"\x10" * 16, b"\x14" * 32, b"\x11" * 32
    record = item([1, 1, b"\x18" * 16, public(root_seed), [[device, public(signing_seed)]], 1, b"", 1_700_000_000_000_000_000])
    organisation = hashlib.sha256(record).digest()
    genesis = framed(b"SRg1", record) + sign(root_seed, GENESIS, record)

    memory, passes, lanes, salt, key_id = 65536, 3, 1, b"\x19" * 16, b"\x1a" * 16
    clear = item([1, organisation, device, 1, key_id, [1, memory, passes, lanes, salt]])
    held = [b"\x15" * 16, bytes(16), 1, b"\x16" * 32, b"\x17" * 32]
    secrets = item([device, signing_seed, b"\x12" * 32, b"\x13" * 32, root_seed, [held]])
    context = item(["strongroom/1", DEVICE_FILE, organisation, device, 1, memory, passes, lanes, salt, 1, key_id])
    key = Argon2id(salt=salt, length=32, iterations=passes, lanes=lanes, memory_cost=memory).derive(b"correct horse")
    sealed = seal(key, context, b"\x1b" * 24, secrets)

    (TARGET / "genesis").write_bytes(genesis)
    (TARGET / "device").write_bytes(framed(b"SRd1", clear) + sealed)


main()
