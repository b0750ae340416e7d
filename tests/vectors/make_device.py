"""Makes tests/fixtures/device/: a device file, the genesis file that certifies it, and the record of the organisation log
that gives it the keys of the first epoch, written a second time. The wrap is another one each time.

Needs what make_crypto.py needs. The passphrase is `correct horse`, at the floor of the cost. Knows nothing of the
Rust code.
"""

import hashlib
import pathlib
import struct

from cryptography.hazmat.primitives import hpke
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.mlkem import MLKEM768PrivateKey
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey
from cryptography.hazmat.primitives.kdf.argon2 import Argon2id

from make_crypto import expand, head, seal

TARGET = pathlib.Path(__file__).parent.parent / "fixtures" / "device"
GENESIS, ORGANISATION_RECORD, DEVICE_FILE, WRAP, NAME = 128, 130, 10, 7, 32
KEY_COMMITMENT, HISTORY_COMMITMENT = 67, 68
SUITE = hpke.Suite(hpke.KEM.MLKEM768_X25519, hpke.KDF.HKDF_SHA256, hpke.AEAD.AES_256_GCM)


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


def derive(key, usage, context):
    return expand(key, b"strongroom/1 kdf\x00" + struct.pack("<H", usage) + context, 32)


def kem(seed):
    """X-Wing's key pair of a seed, and the public key as it is stored."""
    expanded = hashlib.shake_256(seed).digest(96)
    lattice = MLKEM768PrivateKey.from_seed_bytes(expanded[:64])
    curve = X25519PrivateKey.from_private_bytes(expanded[64:])
    public = lattice.public_key().public_bytes_raw() + curve.public_key().public_bytes_raw()
    return hpke.MLKEM768X25519PrivateKey(lattice, curve), public


def main():
    device, root_seed, signing_seed, kem_seed = b"\x10" * 16, b"\x14" * 32, b"\x11" * 32, b"\x1c" * 32
    workspace, member, ordinary, time = b"\x15" * 16, b"\x1d" * 16, bytes(16), 1_700_000_000_000_000_000
    private, kem_key = kem(kem_seed)
    certificate = [device, member, public(signing_seed), kem_key]
    record = item([1, 1, b"\x18" * 16, public(root_seed), [certificate], 1, b"", time])
    organisation = hashlib.sha256(record).digest()
    genesis = framed(b"SRg1", record) + sign(root_seed, GENESIS, record)

    keys = b"\x16" * 32, b"\x17" * 32
    place = [workspace, ordinary, 1]
    key_id = hashlib.sha256(kem_key).digest()[:16]
    info = item(["strongroom/1", WRAP, organisation, *place, device, key_id, device, 1])
    wrap = SUITE.encrypt(keys[0] + keys[1], private.public_key(), info)
    name_context = item(["strongroom/1", NAME, organisation, workspace, 1, device])
    name = seal(keys[0], name_context, b"\x1e" * 24, b"first device".ljust(64, b"\x00"))
    commitments = [
        derive(key, usage, item(["strongroom/1", usage, organisation, *place]))
        for key, usage in zip(keys, (KEY_COMMITMENT, HISTORY_COMMITMENT))
    ]
    rotation = [*place, *commitments, [[device, wrap, name]]]
    record = item([1, organisation, 1, organisation, device, [3, [rotation]], time])
    epoch = framed(b"SRo1", record) + sign(signing_seed, ORGANISATION_RECORD, record)

    memory, passes, lanes, salt, device_key_id = 65536, 3, 1, b"\x19" * 16, b"\x1a" * 16
    clear = item([1, organisation, device, 1, device_key_id, [1, memory, passes, lanes, salt]])
    secrets = item([device, workspace, signing_seed, b"\x12" * 32, b"\x13" * 32, kem_seed, root_seed])
    context = item(["strongroom/1", DEVICE_FILE, organisation, device, 1, memory, passes, lanes, salt, 1, device_key_id])
    key = Argon2id(salt=salt, length=32, iterations=passes, lanes=lanes, memory_cost=memory).derive(b"correct horse")
    sealed = seal(key, context, b"\x1b" * 24, secrets)

    (TARGET / "genesis").write_bytes(genesis)
    (TARGET / "epoch").write_bytes(epoch)
    (TARGET / "device").write_bytes(framed(b"SRd1", clear) + sealed)


main()
