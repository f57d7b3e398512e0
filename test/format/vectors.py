#!/usr/bin/env python3
"""The vectors in doc/format/{pack,index,snapshot}.md, made from those pages and doc/format/keys.md alone.

  vectors.py DOC           print them
  vectors.py --check DOC   the pages have just these
  vectors.py --write DOC   put them there"""

import hashlib
import hmac
import re
import struct
import sys
import textwrap

try:
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
    from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
    from cryptography.hazmat.primitives.ciphers.aead import AESGCM, ChaCha20Poly1305
    from cryptography.hazmat.primitives.kdf.hkdf import HKDF
except ImportError as e:
    sys.exit(f"vectors.py: {e}")


def hkdf(ikm, salt, info, n=32):
    return HKDF(hashes.SHA256(), n, salt, info).derive(ikm)


def sha256(b):
    return hashlib.sha256(b).digest()


def run(first):
    """32 bytes that count up."""
    return bytes((first + i) & 255 for i in range(32))


REPO_ID, MASTER = bytes(range(16)), run(0x40)
KEY = {name: hkdf(MASTER, REPO_ID, b"proofkeep/v1/" + name.encode()) for name in ("id", "index", "read", "id/1", "cut/1", "index/1")}


def chunk_id(kind, plain):
    return hmac.new(KEY["id"], bytes([kind]) + sha256(plain), hashlib.sha256).digest()


def padme(n):
    e = n.bit_length() - 1
    s = e.bit_length()
    unit = 1 << (e - s)
    return (n + unit - 1) // unit * unit


def varint(v):
    out = b""
    while v >= 128:
        out += bytes([v & 127 | 128])
        v >>= 7
    return out + bytes([v])


# ---- pack.md ----

FIRST = bytes(range(32, 128))                                          # 96 bytes, no two alike
SECOND = b"proofkeep\n"
THIRD = b"a" * 64
CHANGED = FIRST[:40] + b"*" + FIRST[41:]                               # FIRST with one byte changed
ZSTD_THIRD = bytes.fromhex("28b52ffd" "20" "40" "030200" "61")          # one segment, size 64, a last block: 64 times 'a'
ZSTD_CHANGED = bytes.fromhex("28b52ffd2060550000082a020084538e650002")  # made once by zstd 1.5.4 at level 1, with FIRST as prefix


def box(public, ephemeral, plain):
    esk = X25519PrivateKey.from_private_bytes(ephemeral)
    epk = esk.public_key().public_bytes(serialization.Encoding.Raw, serialization.PublicFormat.Raw)
    key = hkdf(esk.exchange(X25519PublicKey.from_public_bytes(public)), epk + public, b"proofkeep/v1/box")
    return epk + ChaCha20Poly1305(key).encrypt(bytes(12), plain, None)


def pack():
    read_public = X25519PrivateKey.from_private_bytes(KEY["read"]).public_key().public_bytes(
        serialization.Encoding.Raw, serialization.PublicFormat.Raw)
    session_id, session_key, ephemeral, salt = bytes(range(0x20, 0x30)), run(0x60), run(0x80), run(0xA0)
    okm = hkdf(session_key, salt, b"proofkeep/v1/pack" + REPO_ID, 64)
    header = (b"PKPACK01" + bytes([1, 1, 1]) + bytes(5) + REPO_ID + session_id + salt + okm[32:]
              + box(read_public, ephemeral, session_key) + bytes(64))
    seal = lambda ordinal, record, plain: AESGCM(okm[:32]).encrypt(
        struct.pack("<I", ordinal) + bytes(8), plain, header + struct.pack("<I", ordinal) + record)
    frames = [(0, [FIRST, SECOND], FIRST + SECOND, b""), (1, [THIRD], ZSTD_THIRD, b""),
              (2, [CHANGED], ZSTD_CHANGED, chunk_id(1, FIRST))]
    body, directory = b"", b"PKDIR01\n"
    for i, (codec, members, payload, base) in enumerate(frames):
        record = struct.pack("<IIBBH", len(payload) + 16, sum(map(len, members)), codec, 1, len(members)) + base
        record += b"".join(chunk_id(1, m) + struct.pack("<I", len(m)) for m in members)
        directory += record
        body += seal(i, record, payload)
    at = 256 + len(body)
    n = at + len(directory) + 16
    padding = bytes(padme(n + 80) - n - 80)
    foot = b"PKFOOT01" + struct.pack("<QII", at, len(directory), len(frames)) + bytes(24)
    whole = header + body + seal(0xFFFFFFFF, b"", directory) + seal(0xFFFFFFFD, b"", padding) + seal(0xFFFFFFFE, b"", foot)
    return whole, {
        "session_id": session_id, "session_key": session_key, "session_ephemeral": ephemeral, "pack_salt": salt,
        "pack_key": okm[:32], "pack_commitment": okm[32:], "first": FIRST, "second": SECOND, "third": THIRD, "changed": CHANGED,
        "first_id": chunk_id(1, FIRST), "second_id": chunk_id(1, SECOND), "third_id": chunk_id(1, THIRD),
        "changed_id": chunk_id(1, CHANGED), "third_payload": ZSTD_THIRD, "changed_payload": ZSTD_CHANGED,
        "directory": directory, "footer": foot, "pack": whole, "pack_name": sha256(whole)}


# ---- index.md ----

def index_object(kind, entries, packs, salt, body):
    header = (b"PKINDEX1" + bytes([1, 1, kind]) + bytes(5) + struct.pack("<QI", entries, packs) + bytes(4) + salt + REPO_ID + bytes(48))
    key = AESGCM(hkdf(KEY["index"], salt, b"proofkeep/v1/run"))
    blocks = [body[i:i + 65536] for i in range(0, len(body), 65536)]
    return header + b"".join(key.encrypt(struct.pack("<QI", i, 0), b, header) for i, b in enumerate(blocks))


def index(whole):
    entries = []
    for frame, plain, delta in ((0, FIRST, False), (0, SECOND, False), (1, THIRD, False), (2, CHANGED, True)):
        prefix = chunk_id(1, plain)[:16]
        e = prefix + struct.pack("<IIII", 0, frame, len(plain), 1 << 8 | delta)
        entries.append(e + (prefix + chunk_id(1, FIRST)[:16] if delta else b""))
    body = sha256(whole) + struct.pack("<Q", len(whole)) + b"".join(sorted(entries))
    made = index_object(1, 5, 1, run(0x10), body)
    names = sorted([sha256(whole), run(0)])
    listed = index_object(2, 2, 0, run(0x30), b"".join(names))
    parts = sha256(listed) + struct.pack("<II", 2, 1) + b"\1" + sha256(whole)
    joined = index_object(4, 1, 1, run(0x50), parts)
    return {"run_salt": run(0x10), "run_body": body, "run": made, "run_name": sha256(made),
            "list_salt": run(0x30), "list_body": b"".join(names), "list": listed, "list_name": sha256(listed),
            "parts_salt": run(0x50), "parts_body": parts, "parts": joined, "parts_name": sha256(joined)}


def epoch():
    """The object of epoch 1 in a repository with one writer."""
    raw = lambda key: key.public_key().public_bytes(serialization.Encoding.Raw, serialization.PublicFormat.Raw)
    seed, salt, row_ephemeral, readers_ephemeral = run(0xD0), run(0x50), run(0x70), run(0x90)
    public, p = raw(Ed25519PrivateKey.from_private_bytes(seed)), 2**255 - 19
    y = int.from_bytes(public, "little") & (1 << 255) - 1
    box_public = ((1 + y) * pow(1 - y, -1, p) % p).to_bytes(32, "little")
    assert raw(X25519PrivateKey.from_private_bytes(hashlib.sha512(seed).digest()[:32])) == box_public
    read_public = raw(X25519PrivateKey.from_private_bytes(KEY["read"]))
    header = (b"PKINDEX1" + bytes([1, 2, 3, 0]) + struct.pack("<HHQ", 1, 0, 1) + bytes(8) + salt + REPO_ID + bytes(48))
    chain = ChaCha20Poly1305(hkdf(KEY["index/1"], salt, b"proofkeep/v1/older-index")).encrypt(bytes(12), KEY["index"], header)
    readers = box(read_public, readers_ephemeral, KEY["index/1"] + KEY["cut/1"] + KEY["id"] + KEY["id/1"])
    row = box(box_public, row_ephemeral, KEY["index/1"] + KEY["id/1"] + KEY["cut/1"])
    whole = header + chain + readers + public + struct.pack("<I", len(row)) + row
    return {"id_key_1": KEY["id/1"], "cut_key_1": KEY["cut/1"], "index_key_1": KEY["index/1"], "writer_seed": seed, "writer_public": public,
            "writer_box_public": box_public, "epoch_salt": salt, "epoch_row_ephemeral": row_ephemeral,
            "epoch_readers_ephemeral": readers_ephemeral, "epoch_object": whole, "epoch_object_name": sha256(whole)}


# ---- snapshot.md ----

def anchor(data):
    tail = data[-64:]
    h = 0x9E3779B97F4A7C15 ^ len(tail)
    for i in range(0, len(tail) // 8 * 8, 8):
        h = (h ^ int.from_bytes(tail[i:i + 8], "little")) * 0xFF51AFD7ED558CCD & (1 << 64) - 1
        h ^= h >> 32
    for b in tail[len(tail) // 8 * 8:]:
        h = (h ^ b) * 0x100000001B3 & (1 << 64) - 1
    return h | 1


def snapshot():
    ref = lambda kind, length, data=b"": varint(length << 2 | kind) + data
    listed = (ref(3, len(FIRST), chunk_id(1, FIRST) + struct.pack("<Q", anchor(FIRST))) + ref(1, 4096)
              + ref(3, len(SECOND), chunk_id(1, SECOND) + struct.pack("<Q", anchor(SECOND))))
    content = FIRST + bytes(4096) + SECOND
    whole = ref(0, len(THIRD), chunk_id(1, THIRD))
    refs = ref(2, len(content), chunk_id(3, listed))
    manifest = varint(0) + varint(1) + b"a" + bytes([0]) + varint(4) + b"attr"
    manifest += varint(1) + varint(4) + b"/one" + bytes([1]) + varint(0) + varint(64) + sha256(THIRD) + varint(1) + varint(len(whole)) + whole
    manifest += (varint(2) + varint(3) + b"two" + bytes([2]) + varint(0) + varint(len(content)) + sha256(content) + varint(1)
                 + varint(len(refs)) + refs)
    manifest += (varint(0) + varint(5) + b"parts" + bytes([5]) + varint(0) + varint(64) + sha256(sha256(THIRD)) + varint(1)
                 + varint(len(whole)) + whole)
    facts = b"{}"
    root = (b"PKROOT01" + struct.pack("<I", len(facts)) + facts + struct.pack("<QQI", 4, 128 + len(content), 1)
            + chunk_id(2, manifest) + struct.pack("<II", len(manifest), 4) + varint(1) + b"a")
    return {"first_anchor": struct.pack("<Q", anchor(FIRST)), "second_anchor": struct.pack("<Q", anchor(SECOND)),
            "list_chunk": listed, "list_chunk_id": chunk_id(3, listed), "manifest": manifest,
            "manifest_id": chunk_id(2, manifest), "root": root, "root_id": chunk_id(4, root)}


def block(values):
    lines = []
    for name, value in values.items():
        text = f"{name} = {value.hex()}"
        lines += [text] if len(text) <= 140 else textwrap.wrap(text, 100, subsequent_indent="    ", break_on_hyphens=False)
    return "```vectors\n" + "\n".join(lines) + "\n```\n"


def blocks():
    whole, of_pack = pack()
    return {"pack": block(of_pack), "index": block({**index(whole), **epoch()}), "snapshot": block(snapshot())}


def main():
    check, write = "--check" in sys.argv, "--write" in sys.argv
    doc = sys.argv[-1]
    bad = 0
    for page, text in blocks().items():
        path = f"{doc}/{page}.md"
        if not check and not write:
            print(text)
            continue
        with open(path) as f:
            old = f.read()
        new = re.sub("```vectors\n.*?```\n", lambda m: text, old, flags=re.S)
        if check and (new != old or text not in old):
            print(f"{path}: its vectors are not those of vectors.py")
            bad = 1
        if write and new != old:
            with open(path, "w") as f:
                f.write(new)
    sys.exit(bad)


if __name__ == "__main__":
    main()
