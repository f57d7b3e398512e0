#!/usr/bin/env python3
"""Wrote the first inputs of the targets pack, index, manifest, log, summary, envelope, json and slot under corpus/, from the golden
repository and the vectors of doc/format/keys.md: seeds.py [FOLDER]."""

import base64
import json
import os
import re
import struct
import sys

HERE = os.path.dirname(os.path.abspath(__file__))
ROOT = os.path.dirname(os.path.dirname(HERE))
sys.path.insert(0, os.path.join(ROOT, "test/format"))
import objects
import reader

OUT = sys.argv[1] if len(sys.argv) > 1 else os.path.join(HERE, "corpus")


def put(target, name, data):
    os.makedirs(os.path.join(OUT, target), exist_ok=True)
    with open(os.path.join(OUT, target, name), "wb") as f:
        f.write(data)


golden = os.path.join(ROOT, "test/golden/v1")
repo = reader.Repository(golden + "/repo", golden + "/key")
with open(os.path.join(ROOT, "doc/format/keys.md")) as f:
    block = f.read().split("```vectors")[1].split("```")[0].replace("\n    ", "")
vectors = {m[1]: bytes.fromhex(m[2]) for m in re.finditer(r"^(\w+) = ([0-9a-f]+)$", block, re.M)}

# packs: one as it is (of another repository), and directories with their frames' payloads
packs = list(repo.all_packs())
put("pack", "stored", b"\0" + repo.pack(*packs[0]).data[:700])
for i, (digest, meta) in enumerate(packs):
    pack = repo.pack(digest, meta)
    directory = b"PKDIR01\n" + b"".join(f.record for f in pack.frames)
    payloads = b"".join(pack.payload(k)[1] for k in range(len(pack.frames)))
    if len(payloads) < 1500:
        put("pack", f"frames-{i}", b"\1" + struct.pack("<II", len(pack.frames), len(directory)) + directory + payloads)
put("pack", "no-frames", b"\1" + struct.pack("<II", 0, 8) + b"PKDIR01\n")
put("pack", "too-many-frames", b"\1" + struct.pack("<II", 0xFFFFFFFF, 8) + b"PKDIR01\n")
record = struct.pack("<IIBBH", 30, 13, 0, 1, 1) + bytes(32) + struct.pack("<I", 14)
put("pack", "does-not-add-up", b"\1" + struct.pack("<II", 1, 8 + len(record)) + b"PKDIR01\n" + record + bytes(14))

# index
for i, run in enumerate(repo.state.runs):
    body, n, rows, _ = objects.index_object(repo, run, 1)
    put("index", f"run-{i}", b"\1\1" + struct.pack("<QI", n, rows) + body)
some = next(iter(repo.state.snapshots.values()))
body, n, _, _ = objects.index_object(repo, some.packs, 2)
put("index", "list", b"\1\2" + struct.pack("<QI", n, 0) + body)
put("index", "empty", b"\1\1" + struct.pack("<QI", 0, 0))
put("index", "stored", b"\0" + repo.read(f"index/{some.packs.hex()}"))
put("index", "huge-counts", b"\1\1" + struct.pack("<QI", 1 << 59, 1 << 31) + bytes(64))
put("index", "delta-at-the-end", b"\1\1" + struct.pack("<QI", 1, 1) + bytes(40) + b"i" * 16 + struct.pack("<IIII", 0, 0, 1, 257))

# manifests
for i, s in enumerate(repo.state.snapshots.values()):
    root = b"".join(repo.chunk(d, 4) for d in s.root)
    put("manifest", f"root-{i}", b"\2" + root)
    c = reader.Cursor(root, "root")
    c.take(8), c.take(c.number(4)), c.take(20)
    put("manifest", f"items-{i}", b"\0" + repo.chunk(c.take(32), 2))
put("manifest", "references", b"\1" + b"\x04" + bytes(32) + b"\x81\x40" + b"\x83\x80\x01" + bytes(40) + b"\x02" + bytes(32))
put("manifest", "overlong", b"\1" + b"\x80" * 9 + b"\x01")

# log
for seq in (0, 4, 7):
    put("log", f"entry-{seq}", b"\0" + repo.read(f"log/{seq:016d}"))
lines = []
for seq in range(len(repo.state.leaves)):
    statement, signer = objects.envelope_open(repo.read(f"log/{seq:016d}"), "entry")
    if seq < 3:
        put("log", f"statement-{seq}", b"\1" + json.dumps(statement).encode())
    p = statement["predicate"]
    if "repository" in p and seq == 0:
        p["repository"] = "000102030405060708090a0b0c0d0e0f"
    if seq in (9, 10):
        p["seq"] = 4
    if seq == 9:
        p["receipt"] = "04" + "00" * 31
    entry = {"predicateType": statement["predicateType"], "predicate": p}
    if signer != repo.keys.admin:
        entry["signer"] = signer.hex()
    lines.append(json.dumps(entry))
put("log", "judged", b"\2" + "\n".join(lines).encode())
put("log", "judged-release", b"\2" + "\n".join(lines + [json.dumps(
    {"predicateType": objects.PREFIX + "hold/v1", "predicate": {"seq": 4, "action": "release"}})]).encode())
void = [{"predicateType": objects.PREFIX + "forget/v1", "predicate": {"seqs": [5, 99]}},
        {"predicateType": objects.PREFIX + "forget/v1", "predicate": {"seqs": [5, 4]}},
        {"predicateType": objects.PREFIX + "delete/v1", "predicate": {"packs": "00" * 32, "index_added": ["00"],
                                                                      "index_removed": [repo.state.runs[0].hex()]}},
        {"predicateType": objects.PREFIX + "key/v1", "predicate": {"action": "add"}, "signer": "11" * 32}]
put("log", "judged-void", b"\2" + "\n".join(lines + [json.dumps(v) for v in void]).encode())

# envelopes: of another repository, and payloads to sign and spoil
put("envelope", "entry", b"\0" + repo.read("log/%016d" % 0))
put("envelope", "two-signatures", b'\0{"payload":"","payloadType":"application/vnd.in-toto+json","signatures":[{"keyid":"","sig":""},{}]}')
put("envelope", "loose-base64", b'\0{"payload":"AB","payloadType":"application/vnd.in-toto+json","signatures":[{"keyid":"%s","sig":"AA=="}]}' % (b"00" * 32))
put("envelope", "unknown-member", b'\0{"payload":"","payloadType":"application/vnd.in-toto+json","signatures":[],"more":1}')
for bit in (0, 100, 1000):
    put("envelope", f"flip-{bit}", b"\1" + struct.pack("<I", bit) + b'{"a":"a statement?>"}')

# JSON
for i, text in enumerate((
        '{}', '[]', '1', '', '{"a":1,"a":2}', '{"b":[1,-2.5e300,true,null],"a":{"c":"\\ud83d\\ude00 \\u00e9"}}', '{"n":9223372036854775808}',
        '[' * 64 + ']' * 64, '[' * 65 + ']' * 65, '["\\ud800"]', '["\\u0000"]', '{"a":"}{\\"["}', '{"a":1} x', '[1e400]', '{"k":"s","i":7,"o":{},"l":[]}')):
    put("json", f"text-{i:02}", b"\0" + text.encode())
put("json", "not-utf8", b'\0["\xff"]')
put("json", "name", b"\1caf\xc3\xa9/100%/\x01\x7f\xc2\x85\xff\xed\xa0\x80")
put("json", "receipt", b"\0" + json.dumps(objects.envelope_open(repo.read("log/%016d" % 4), "entry")[0]).encode())

put("log", "checkpoint", b"\3" + repo.read("checkpoint"))

# summaries: the vector, its statement, the entries above, and a bundle of the golden repository's
with open(os.path.join(ROOT, "doc/format/log.md")) as f:
    summary = re.search(r"^log\.summary = (.*)$", f.read(), re.M)[1].encode()
put("summary", "stored", b"\0" + summary)
put("summary", "statement", b"\1" + base64.b64decode(json.loads(summary)["payload"]))
for name in ("judged", "judged-release", "judged-void"):
    with open(os.path.join(HERE, "corpus/log", name), "rb") as f:
        put("summary", name, b"\3" + f.read()[1:])
entries = [repo.read(f"log/{seq:016d}") for seq in range(3)]
put("summary", "bundle", b"\4" + b"".join(struct.pack(">H", len(e)) + e for e in entries))
put("summary", "bundle-short", b"\4" + struct.pack(">H", len(entries[0])) + entries[0][:-1])

# slots
for name in ("file_slot", "passphrase_slot", "recipient_slot"):
    put("slot", name, b"\0" + vectors[name])
put("slot", "bundle", b"\1" + vectors["admin_bundle"])
put("slot", "key-file", b"\2" + b"# a comment\n\n" + vectors["file_key_text"])

# epoch: role, epoch, whether boxes open, and what follows the header
for role in (2, 3, 4):
    put("epoch", f"opens-{role}", bytes([role - 2, 0, 1]) + bytes(range(256)) * 2)
    put("epoch", f"raw-{role}", bytes([role - 2, 1, 0]) + bytes(700))
before = bytes([0, 0, 0]) + bytes(32 + 16 + 4 * 32 + 48)
put("epoch", "short", bytes([0, 3, 0]) + bytes(10))
put("epoch", "no-row", before)
put("epoch", "row-beyond", before + bytes(32) + b"\xff" * 4 + bytes(9))
put("epoch", "row-cut", b"\2" + before[1:] + bytes(20))
