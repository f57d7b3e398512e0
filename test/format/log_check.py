#!/usr/bin/env python3
"""Checks a log of proofkeep, a proof or a cosignature without a key and without the program: what an auditor has. Written from
doc/format/log.md and the C2SP pages that it names; the standard library and Ed25519 of `cryptography` are all it uses.

  log_check.py folder DIR VKEY               an export (or a repository): entries, chain, signatures, tiles, checkpoint
  log_check.py proof FILE ENVELOPE VKEY      a tlog-proof of one receipt
  log_check.py cosigned FILE VKEY WITNESS    a checkpoint with the cosignature of a witness
"""
import base64
import hashlib
import json
import os
import sys

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

TYPE = "application/vnd.in-toto+json"


def fail(text):
    sys.exit("log_check.py: " + text)


def sha256(b):
    return hashlib.sha256(b).digest()


def leaf(entry):
    return sha256(b"\0" + entry)


def root(hashes):
    if not hashes:
        return sha256(b"")
    if len(hashes) == 1:
        return hashes[0]
    k = 1 << (len(hashes) - 1).bit_length() - 1
    return sha256(b"\1" + root(hashes[:k]) + root(hashes[k:]))


def path_root(index, size, hashes, node):
    """RFC 9162, 2.1.3.2"""
    fn, sn = index, size - 1
    for h in hashes:
        if sn == 0:
            fail("the proof is too long")
        if fn & 1 or fn == sn:
            node = sha256(b"\1" + h + node)
            while not fn & 1 and fn:
                fn, sn = fn >> 1, sn >> 1
        else:
            node = sha256(b"\1" + node + h)
        fn, sn = fn >> 1, sn >> 1
    if sn:
        fail("the proof is too short")
    return node


class Key:
    def __init__(self, vkey):
        self.name, id_, body = vkey.split("+", 2)
        raw = base64.b64decode(body, validate=True)
        self.kind, self.public = raw[0], raw[1:]
        self.id = sha256(self.name.encode() + b"\n" + raw)[:4]
        if self.id.hex() != id_ or self.kind not in (1, 4) or len(raw) != 33:
            fail("a malformed verifier key")
        self.ed = Ed25519PublicKey.from_public_bytes(self.public)

    def signed(self, text, lines):
        for line in lines:
            dash, name, b64 = line.split(" ", 2)
            raw = base64.b64decode(b64, validate=True)
            if dash != "—" or name != self.name or raw[:4] != self.id:
                continue
            if self.kind == 1:
                self.ed.verify(raw[4:], text)
                return 0
            when = int.from_bytes(raw[4:12], "big")
            self.ed.verify(raw[12:], b"cosignature/v1\ntime %d\n" % when + text)
            return when
        fail(f"{self.name} did not sign")


def note(raw):
    text, _, lines = raw.decode().rpartition("\n\n")
    origin, size, b64 = text.split("\n")[:3]
    return origin, int(size), base64.b64decode(b64, validate=True), (text + "\n").encode(), lines.splitlines()


def envelope(raw, seq, prev):
    doc = json.loads(raw)
    (one,) = doc["signatures"]
    payload = base64.b64decode(doc["payload"], validate=True)
    if doc["payloadType"] != TYPE or set(doc) != {"payload", "payloadType", "signatures"}:
        fail(f"entry {seq} is no envelope")
    Ed25519PublicKey.from_public_bytes(bytes.fromhex(one["keyid"])).verify(
        base64.b64decode(one["sig"], validate=True), b"DSSEv1 28 %s %d %s" % (TYPE.encode(), len(payload), payload))
    place = json.loads(payload)["predicate"]["ledger"]
    if place["seq"] != seq or place["key"] != one["keyid"] or prev is not None and place["prev"] != prev:
        fail(f"entry {seq} is not in its place")


def tile_name(level, index, width):
    groups = [f"{index % 1000:03d}"]
    while index := index // 1000:
        groups.insert(0, f"x{index % 1000:03d}")
    return f"tile/{level}/{'/'.join(groups)}" + ("" if width == 256 else f".p/{width}")


def folder(where, vkey):
    key = Key(vkey)
    read = lambda name: open(os.path.join(where, name), "rb").read()
    origin, size, want, text, lines = note(read("checkpoint"))
    key.signed(text, lines)
    if origin != key.name:
        fail("the checkpoint is of another log")
    names = sorted(os.listdir(os.path.join(where, "log")))
    if names != [f"{i:016d}" for i in range(len(names))] or len(names) < size:
        fail("the log has gaps, or fewer entries than its checkpoint")
    entries, prev = [], "0" * 64
    for seq, name in enumerate(names):
        entries.append(read("log/" + name))
        envelope(entries[-1], seq, prev)
        prev = sha256(entries[-1]).hex()
    level, n = [leaf(e) for e in entries[:size]], 0
    if root(level) != want:
        fail("the entries give another root than the checkpoint's")
    for at in range(0, size, 256):
        part = entries[at:min(at + 256, size)]
        if read(tile_name("entries", at // 256, len(part))) != b"".join(len(e).to_bytes(2, "big") + e for e in part):
            fail(f"bundle {at // 256} is not what the entries give")
    while level:
        for at in range(0, len(level), 256):
            part = level[at:at + 256]
            if read(tile_name(n, at // 256, len(part))) != b"".join(part):
                fail(f"tile {n}/{at // 256} is not what the entries give")
        level, n = [root(level[i:i + 256]) for i in range(0, len(level) // 256 * 256, 256)], n + 1
    print(f"{len(names)} entries, checkpoint over {size}, root {want.hex()}")


def proof(file, receipt, vkey):
    key = Key(vkey)
    head, _, rest = open(file, "rb").read().partition(b"\n\n")
    first, *more = head.decode().split("\n")
    if first != "c2sp.org/tlog-proof@v1":
        fail("not a proof")
    if more[0].startswith("extra "):
        more = more[1:]
    index = int(more[0].removeprefix("index "))
    origin, size, want, text, lines = note(rest)
    key.signed(text, lines)
    raw = open(receipt, "rb").read()
    if origin != key.name or path_root(index, size, [base64.b64decode(l, validate=True) for l in more[1:]], leaf(raw)) != want:
        fail("the receipt is not in that log")
    envelope(raw, index, None)
    print(f"entry {index} of {size}")


def cosigned(file, vkey, witness):
    origin, size, _, text, lines = note(open(file, "rb").read())
    Key(vkey).signed(text, lines)
    print(f"{size} entries at {Key(witness).signed(text, lines)}")


try:
    {"folder": folder, "proof": proof, "cosigned": cosigned}[sys.argv[1]](*sys.argv[2:])
except (InvalidSignature, ValueError, KeyError, OSError) as e:
    fail(f"{type(e).__name__} {e}")
