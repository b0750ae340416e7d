"""Makes tests/fixtures/crypto/vectors.json: every construction of keystore/crypto, written a second time.

Needs the packages `cryptography` (>= 44) and `blake3`. Knows nothing of the Rust code; usages, labels and
layouts are those of docs/format.md. Run it again after a new usage; the file must not change otherwise.
"""

import hashlib
import hmac
import json
import pathlib
import struct

import blake3
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.kdf.argon2 import Argon2id

CHUNK = 16384
SEGMENT = 16384
ID, HASH, UINT = 16, 32, 0

# number: (act, name, fields); a field is the length of a byte string, or 0 for an integer.
USAGES = {
    1: ("seal", "block", [ID, ID]),
    2: ("seal", "commit body", [ID, ID, UINT, ID, UINT, UINT]),
    3: ("seal", "checkpoint leaf", [ID, ID, UINT]),
    4: ("seal", "checkpoint inner page", [ID, ID, UINT]),
    5: ("seal", "checkpoint root", [ID, ID, UINT]),
    6: ("seal", "epoch back-link", [ID, ID, UINT, UINT]),
    7: ("wrap", "principal wrap", [ID, ID, UINT, ID, ID, ID, UINT]),
    8: ("wrap", "member generation", [ID, UINT, ID]),
    9: ("seal", "user manifest", [ID, UINT, UINT]),
    10: ("seal", "device file", [ID, UINT, UINT, UINT, UINT, ID, UINT, ID]),
    11: ("seal", "journal record", [ID, UINT, UINT, HASH]),
    12: ("seal", "journal file key", [ID, UINT, UINT]),
    13: ("seal", "local page", [ID, UINT]),
    14: ("seal", "keystore node", [ID, UINT, UINT]),
    15: ("seal", "subject key", [ID, UINT, UINT]),
    16: ("seal", "class key", [ID, UINT, UINT]),
    17: ("seal", "application key", [ID, UINT, UINT, ID]),
    18: ("seal", "register record", [ID, UINT]),
    19: ("seal", "register cell", [ID, ID, UINT]),
    20: ("seal", "subject record", [ID, ID, UINT]),
    21: ("seal", "audit detail", [ID, ID, UINT]),
    22: ("seal", "subject file", [ID, ID, UINT, ID]),
    23: ("seal", "subject folder", [ID, ID, UINT, UINT]),
    24: ("seal", "look-up bucket", [ID, UINT, UINT]),
    25: ("seal", "application directory", [ID, UINT, UINT]),
    26: ("seal", "ledger answer", [ID, ID, UINT]),
    27: ("seal", "joint file", [ID, HASH, UINT, ID]),
    32: ("seal", "device name", [ID, UINT, ID]),
    33: ("seal", "consumer name", [ID, UINT, ID]),
    34: ("wrap", "exchange ask", [ID, UINT, ID, ID]),
    35: ("wrap", "exchange answer", [ID, UINT, ID, ID]),
    36: ("wrap", "quorum share", [ID, ID, ID]),
    37: ("wrap", "quorum answer", [ID, ID, ID, ID]),
    64: ("derive", "user manifest key", [ID, UINT]),
    65: ("derive", "member kem seed", [ID, UINT]),
    66: ("derive", "local state key", [ID, ID, ID]),
    67: ("derive", "epoch key commitment", [ID, ID, UINT]),
    68: ("derive", "history key commitment", [ID, ID, UINT]),
    69: ("derive", "subject key commitment", [ID, UINT, UINT]),
    70: ("derive", "look-up key", [ID]),
    71: ("derive", "cell name", [ID, UINT, ID]),
    72: ("derive", "subject pseudonym", [ID, ID]),
    73: ("derive", "audit pseudonym", [ID]),
    74: ("derive", "look-up hash", [ID, HASH]),
    75: ("derive", "handed application key", [ID, ID]),
    76: ("derive", "subject request", [ID, HASH]),
    128: ("sign", "genesis", []),
    129: ("sign", "root change", []),
    130: ("sign", "organisation record", []),
    131: ("sign", "device certificate", []),
    132: ("sign", "commit", []),
    133: ("sign", "checkpoint", []),
    134: ("sign", "workspace", []),
    135: ("sign", "receipt", []),
    136: ("sign", "audit entry", []),
    137: ("sign", "server head", []),
    138: ("sign", "witness", []),
    139: ("sign", "register record", []),
    140: ("sign", "policy set", []),
    141: ("sign", "device request", []),
    144: ("sign", "ask", []),
    145: ("sign", "answer", []),
    146: ("sign", "counter", []),
    147: ("sign", "quorum request", []),
}

# Integers of every CBOR width, used in turn.
INTEGERS = [0, 23, 24, 255, 256, 65535, 65536, 2**32 - 1, 2**32, 2**64 - 1]
ORGANISATION = bytes(range(32))


def head(major, value):
    for limit, code, form in ((24, None, None), (2**8, 24, ">B"), (2**16, 25, ">H"), (2**32, 26, ">I")):
        if value < limit:
            break
    else:
        code, form = 27, ">Q"
    if code is None:
        return bytes([major << 5 | value])
    return bytes([major << 5 | code]) + struct.pack(form, value)


def context(number):
    fields = USAGES[number][2]
    label = b"strongroom/1"
    out = head(4, 3 + len(fields)) + head(3, len(label)) + label + head(0, number)
    out += head(2, 32) + ORGANISATION
    for index, field in enumerate(fields):
        if field == UINT:
            out += head(0, INTEGERS[(number + index) % len(INTEGERS)])
        else:
            out += head(2, field) + bytes([number ^ index]) * field
    return out


def expand(key, info, length):
    out, previous = b"", b""
    counter = 1
    while len(out) < length:
        previous = hmac.new(key, previous + info + bytes([counter]), hashlib.sha512).digest()
        out += previous
        counter += 1
    return out[:length]


def pattern(length):
    return bytes((i * 131 + (i >> 8) * 17) & 0xFF for i in range(length))


def chunks(key, ctx, salt, plaintext):
    info = b"c2sp.org/chunked-encryption@v1+AEAD_AES_256_GCM\x00" + salt + ctx
    derived = expand(key, info, 76)
    aead, base, commitment = AESGCM(derived[:32]), derived[32:44], derived[44:]
    pieces = []
    for number in range(len(plaintext) // CHUNK + 1):
        nonce = (int.from_bytes(base, "big") ^ number).to_bytes(12, "big")
        pieces.append(aead.encrypt(nonce, plaintext[number * CHUNK : (number + 1) * CHUNK], b""))
    return commitment, pieces


def seal(key, ctx, salt, plaintext):
    commitment, pieces = chunks(key, ctx, salt, plaintext)
    return salt + commitment + b"".join(pieces)


def seal_block(key, ctx, salt, plaintext):
    commitment, pieces = chunks(key, ctx, salt, plaintext)
    count = -(-len(plaintext) // SEGMENT)
    segments = pieces[: count - 1]
    segments.append(b"".join(pieces[count - 1 :]))
    header = salt + commitment + b"".join(blake3.blake3(s).digest() for s in segments)
    return header, b"".join(segments)


def short(data):
    return {"hex": data.hex()} if len(data) <= 256 else {"len": len(data), "sha256": hashlib.sha256(data).hexdigest()}


def material(label, length):
    return hashlib.sha512(label.encode()).digest()[:length]


def context_vectors():
    return [
        {"usage": n, "act": act, "name": name, "context": context(n).hex()} if act != "sign" else {"usage": n, "act": act, "name": name}
        for n, (act, name, _) in USAGES.items()
    ]


def seal_vectors():
    out = []
    for length in (0, 1, 16383, 16384, 16385, 100000):
        key, salt = material(f"seal key {length}", 32), material(f"seal salt {length}", 24)
        sealed = seal(key, context(2), salt, pattern(length))
        out.append({"len": length, "key": key.hex(), "salt": salt.hex(), "usage": 2, "sealed": short(sealed)})
    return out


def block_vectors():
    out = []
    for length in (1, 4096, 16384, 65535, 65536, 65537, 131072, 200000, 1048576):
        key, salt = material(f"block key {length}", 32), material(f"block salt {length}", 24)
        header, body = seal_block(key, context(1), salt, pattern(length))
        out.append(
            {
                "len": length,
                "key": key.hex(),
                "salt": salt.hex(),
                "header_hash": blake3.blake3(header).hexdigest(),
                "sealed": short(header + body),
            }
        )
    return out


def derive_vectors():
    key = material("derive key", 32)
    return [
        {"usage": n, "key": key.hex(), "secret": expand(key, b"strongroom/1 kdf\x00" + struct.pack("<H", n) + context(n), 32).hex()}
        for n, (act, _, _) in USAGES.items()
        if act == "derive"
    ]


def hedge_vectors():
    key, random, plaintext = material("hedge key", 32), material("hedge random", 32), material("hedge hash", 32)
    tag = hmac.new(key, random + plaintext + struct.pack("<Q", 2**40 + 5), hashlib.sha512).digest()
    return [{"key": key.hex(), "random": random.hex(), "hash": plaintext.hex(), "counter": 2**40 + 5, "salt": tag[:24].hex()}]


def sign_vectors():
    seed = material("sign seed", 32)
    key = Ed25519PrivateKey.from_private_bytes(seed)
    out = []
    for n, (act, _, _) in USAGES.items():
        if act == "sign":
            header = f"header of usage {n}".encode()
            message = b"strongroom/1 sig\x00" + struct.pack("<H", n) + hashlib.sha256(header).digest()
            out.append(
                {
                    "usage": n,
                    "seed": seed.hex(),
                    "public": key.public_key().public_bytes_raw().hex(),
                    "header": header.hex(),
                    "signature": key.sign(message).hex(),
                }
            )
    return out


def argon2id_vectors():
    out = []
    for memory, passes in ((64, 1), (65536, 3)):
        salt = material(f"argon2id salt {memory}", 16)
        key = Argon2id(salt=salt, length=32, iterations=passes, lanes=1, memory_cost=memory).derive(b"correct horse")
        out.append({"memory_kib": memory, "passes": passes, "passphrase": b"correct horse".hex(), "salt": salt.hex(), "key": key.hex()})
    return out


def lthash_vectors():
    state = [0] * 1024
    entries = [(b"", b""), (b"key", b"value"), (b"k", b"eyvalue"), (bytes(range(200)), bytes(1000))]
    for key, value in entries:
        data = struct.pack("<Q", len(key)) + key + value
        element = blake3.blake3(data, derive_key_context="strongroom/1 map digest element").digest(length=2048)
        state = [(lane + more) % 65536 for lane, more in zip(state, struct.unpack("<1024H", element))]
    digest = blake3.blake3(struct.pack("<1024H", *state), derive_key_context="strongroom/1 map digest").hexdigest()
    return [{"entries": [[k.hex(), v.hex()] for k, v in entries], "digest": digest}]


def main():
    vectors = {
        "context": context_vectors(),
        "seal": seal_vectors(),
        "block": block_vectors(),
        "derive": derive_vectors(),
        "hedge": hedge_vectors(),
        "sign": sign_vectors(),
        "argon2id": argon2id_vectors(),
        "lthash": lthash_vectors(),
    }
    target = pathlib.Path(__file__).parent.parent / "fixtures" / "crypto" / "vectors.json"
    target.write_text(json.dumps(vectors, indent=1) + "\n")


if __name__ == "__main__":
    main()
