"""Trims Wycheproof's vectors to what Strongroom uses. See tests/fixtures/wycheproof/README.md.

usage: trim_wycheproof.py FOLDER_OF_TESTVECTORS_V1
"""

import json
import pathlib
import re
import sys
import zlib

SOURCE = pathlib.Path(sys.argv[1])
TARGET = pathlib.Path(__file__).parent.parent / "fixtures" / "wycheproof"


def load(name):
    return json.loads((SOURCE / name).read_text())


def save(name, value):
    (TARGET / name).write_text(json.dumps(value, indent=1) + "\n")


def runs(data):
    """Bytes as a list of [hex, count]: the long messages are made of zeros."""
    out = []
    for match in re.finditer(rb"\x00{64,}|(?:(?!\x00{64}).)+", data, re.DOTALL):
        piece = match.group()
        zeros = len(piece) >= 64 and not any(piece)
        out.append(["00", len(piece)] if zeros else [piece.hex(), 1])
    assert b"".join(bytes.fromhex(h) * n for h, n in out) == data
    return out


def aes_gcm():
    tests = [
        {name: test[name] for name in ("tcId", "comment", "key", "iv", "msg", "ct", "tag", "result")}
        for group in load("aes_gcm_test.json")["testGroups"]
        if (group["keySize"], group["ivSize"], group["tagSize"]) == (256, 96, 128)
        for test in group["tests"]
        if test["aad"] == ""
    ]
    save("aes_256_gcm.json", tests)


def ed25519():
    tests = [
        {"pk": group["publicKey"]["pk"]}
        | {name: test[name] for name in ("tcId", "comment", "msg", "sig", "result")}
        for group in load("ed25519_test.json")["testGroups"]
        for test in group["tests"]
    ]
    save("ed25519.json", tests)


def chunked():
    tests = []
    for group in load("c2sp_chunked_encryption_aes_256_gcm_test.json")["testGroups"]:
        for test in group["tests"]:
            kept = {name: test[name] for name in ("tcId", "comment", "key", "ctx", "result")}
            kept["ct"] = runs(zlib.decompress(bytes.fromhex(test["ct"])))
            if test["result"] == "valid":
                kept |= {name: test[name] for name in ("msgLength", "msgSha512")}
            tests.append(kept)
    save("chunked_encryption_aes_256_gcm.json", tests)


aes_gcm()
ed25519()
chunked()
