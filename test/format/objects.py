"""The objects of a repository, by doc/format/{repository,keys,log,index,pack}.md: what reader.py stands on."""


import base64
import collections
import hashlib
import hmac
import json
import os
import re
import struct
import sys

try:
    import zstandard
    from cryptography.exceptions import InvalidSignature, InvalidTag
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
    from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
    from cryptography.hazmat.primitives.ciphers.aead import AESGCM, ChaCha20Poly1305
    from cryptography.hazmat.primitives.kdf.hkdf import HKDF
except ImportError as e:
    sys.exit(f"reader.py: {e}")


class Refused(Exception):
    """What is in the repository is not what the format allows, or not whole."""


def need(holds, text):
    if not holds:
        raise Refused(text)


def sha256(b):
    return hashlib.sha256(b).digest()


def hkdf(ikm, salt, info, length=32):
    return HKDF(hashes.SHA256(), length, salt, info).derive(ikm)


def raw_public(key):
    return key.public_key().public_bytes(serialization.Encoding.Raw, serialization.PublicFormat.Raw)


def aead(cipher, key):
    need(cipher in (1, 2), f"unknown cipher {cipher}")
    return AESGCM(key) if cipher == 1 else ChaCha20Poly1305(key)


def unseal(box, nonce, data, aad, what):
    try:
        return box.decrypt(nonce, data, aad)
    except (InvalidTag, ValueError):
        raise Refused(f"{what} does not open") from None


class Cursor:
    def __init__(self, data, what):
        self.data, self.at, self.what = data, 0, what

    def take(self, n):
        need(n <= len(self.data) - self.at, f"{self.what} ends too early")
        self.at += n
        return self.data[self.at - n:self.at]

    def number(self, n):
        return int.from_bytes(self.take(n), "little")

    def varint(self):
        value = shift = 0
        while True:
            b = self.take(1)[0]
            value |= (b & 0x7F) << shift
            shift += 7
            if not b & 0x80:
                need(value < 1 << 64 and (b or shift == 7), f"{self.what} has a malformed number")
                return value
            need(shift < 70, f"{self.what} has a malformed number")

    def done(self):
        return self.at == len(self.data)


# ---- keys.md ----

def box_open(secret, box):
    mine = X25519PrivateKey.from_private_bytes(secret)
    shared = mine.exchange(X25519PublicKey.from_public_bytes(box[:32]))
    key = hkdf(shared, box[:32] + raw_public(mine), b"proofkeep/v1/box")
    return ChaCha20Poly1305(key).decrypt(bytes(12), box[32:], None)


def box_secret(seed):
    """The X25519 secret that belongs to an Ed25519 seed."""
    return hashlib.sha512(seed).digest()[:32]


class Keys:
    """What a slot's bundle gives. Keys that the role lacks are None."""

    FLAGS = {1: 0x01, 2: 0x0E, 3: 0x1E, 4: 0x08}
    NAMES = ("master", "id", "cut", "index", "read")

    def __init__(self, bundle):
        c = Cursor(bundle, "a key bundle")
        self.role, flags = c.number(1), c.number(1)
        own = self.FLAGS.get(self.role)
        need(flags == own or (own == 1 and flags == 7), "a key bundle of an unknown role")
        self.repo_id, seed, self.read_public, self.admin = c.take(16), c.take(32), c.take(32), c.take(32)
        keys = {name: c.take(32) if flags >> i & 1 else None for i, name in enumerate(self.NAMES)}
        self.master, self.seed = keys["master"], seed
        need(c.done(), "a key bundle of another length than its role's")
        if keys["master"]:
            for name in ("id", "cut", "index", "read"):
                if keys[name] is None:  # those of a copy are its source's
                    keys[name] = hkdf(keys["master"], self.repo_id, b"proofkeep/v1/" + name.encode())
            need(hkdf(keys["master"], self.repo_id, b"proofkeep/v1/admin-sign") == seed, "an admin's seed is not the master key's")
        self.id, self.index, self.read = keys["id"], keys["index"], keys["read"]
        self.sign_public = raw_public(Ed25519PrivateKey.from_private_bytes(seed))
        if self.role == 1:
            need(self.admin == self.sign_public, "an admin bundle names another administrator")
        if self.read:
            need(raw_public(X25519PrivateKey.from_private_bytes(self.read)) == self.read_public, "a read key of another pair")


def argon2id(passphrase, salt, passes, memory):
    try:
        from cryptography.hazmat.primitives.kdf.argon2 import Argon2id
    except ImportError:
        sys.exit("reader.py: this version of 'cryptography' has no Argon2id; use a key file")
    return Argon2id(salt=salt, length=32, iterations=passes, lanes=1, memory_cost=memory // 1024).derive(passphrase)


def slot_open(slot, secret, kind):
    """The keys in a slot, or None when it is another's."""
    need(len(slot) >= 192 and slot[:8] == b"PKSLOT1\n", "a key slot without magic")
    way_len, sealed_len = struct.unpack("<HH", slot[12:16])
    need(way_len == {1: 32, 2: 0, 3: 112}.get(slot[8]) and len(slot) == 192 + way_len + sealed_len, "a key slot of a wrong length")
    need(slot[10] <= 64 and slot[11] == 0 and not any(slot[64 + slot[10]:128]), "a key slot with a malformed label")
    if slot[8] != kind:
        return None
    header, way, sealed = slot[:192 + way_len], slot[192:192 + way_len], slot[192 + way_len:]
    if kind == 1:
        passes, memory = struct.unpack("<QQ", way[:16])
        need(1 <= passes <= 16 and 8192 <= memory <= 1 << 30 and memory % 1024 == 0, "Argon2id parameters outside the limits")
        kek = argon2id(secret, way[16:], passes, memory)
    elif kind == 2:
        kek = secret
    else:
        if raw_public(X25519PrivateKey.from_private_bytes(secret)) != way[:32]:
            return None
        kek = box_open(secret, way[32:])
    salt = slot[16:32] + slot[128:160]
    if hkdf(kek, salt, b"proofkeep/v1/slot-commit") != slot[160:192]:
        return None
    key = hkdf(kek, salt, b"proofkeep/v1/slot")
    keys = Keys(unseal(ChaCha20Poly1305(key), bytes(12), sealed, header, "a key slot"))
    need(keys.role == slot[9] and keys.repo_id == slot[16:32] and keys.sign_public == slot[32:64], "a key slot whose header lies")
    return keys


def key_file(path, passphrase):
    with open(path, "rb") as f:
        text = f.read()
    if passphrase:
        return text.rstrip(b"\r\n"), 1
    lines = [l.strip() for l in text.decode("ascii").split("\n")]
    lines = [l for l in lines if l and not l.startswith("#")]
    need(len(lines) == 1, "a key file holds one line with a key")
    word, _, value = lines[0].partition(" ")
    kinds = {"PROOFKEEP-KEY-1": 2, "PROOFKEEP-IDENTITY-1": 3}
    need(word in kinds, "not a key file")
    secret = base64.b64decode(value, validate=True)
    need(len(secret) == 32, "a key of another length than 32 bytes")
    return secret, kinds[word]


# ---- log.md ----

PAYLOAD_TYPE = "application/vnd.in-toto+json"
PREFIX = "https://proofkeep.dev/"
ROLES = {"admin": 1, "writer": 2, "restore": 3, "prune": 4}
MAY = {"key/v1": {1}, "backup-receipt/v1": {1, 2}, "verification/v1": {1, 3}, "forget/v1": {1, 4}, "delete/v1": {1, 4},
       "hold/v1": {1, 3, 4}, "restore/v1": {1, 3}, "coverage/v1": {1, 3}, "repair/v1": {1},
       "copy/v1": {1, 3}, "read/v1": {1, 3}, "wal/v1": {1, 2}, "wal-gap/v1": {1}}


def no_duplicates(pairs):
    d = dict(pairs)
    need(len(d) == len(pairs), "JSON with a key twice")
    return d


def parse_json(data, what):
    try:
        return json.loads(data.decode("utf-8"), object_pairs_hook=no_duplicates)
    except ValueError as e:
        raise Refused(f"{what}: {e}") from None


def base64_strict(text, what):
    """Either alphabet, with padding or without, but no stray bits."""
    plain = text.replace("-", "+").replace("_", "/").rstrip("=")
    try:
        data = base64.b64decode(plain + "=" * (-len(plain) % 4), validate=True)
    except ValueError as e:
        raise Refused(f"{what}: {e}") from None
    need(base64.b64encode(data).decode().rstrip("=") == plain, f"{what}: a second spelling of its bytes")
    return data


def signed_by(public, signature, message):
    try:
        Ed25519PublicKey.from_public_bytes(public).verify(signature, message)
        return True
    except (InvalidSignature, ValueError):
        return False


def envelope_open(data, what):
    """The statement in a signed envelope, and the key that signed it."""
    need(len(data) <= 48 * 1024, f"{what} is larger than 48 KiB")
    e = parse_json(data, what)
    need(set(e) == {"payload", "payloadType", "signatures"} and len(e["signatures"]) == 1, f"{what} has other members")
    s = e["signatures"][0]
    need(set(s) == {"keyid", "sig"} and e["payloadType"] == PAYLOAD_TYPE, f"{what} has other members")
    need(re.fullmatch("[0-9a-f]{64}", s["keyid"]), f"{what} names no key")
    public, payload = bytes.fromhex(s["keyid"]), base64_strict(e["payload"], what)
    message = b"DSSEv1 %d %s %d " % (len(PAYLOAD_TYPE), PAYLOAD_TYPE.encode(), len(payload)) + payload
    need(signed_by(public, base64_strict(s["sig"], what), message), f"{what}: its signature does not hold")
    return parse_json(payload, what), public


def merkle_root(leaves):
    if not leaves:
        return sha256(b"")
    if len(leaves) == 1:
        return leaves[0]
    split = 1 << (len(leaves) - 1).bit_length() - 1
    return sha256(b"\1" + merkle_root(leaves[:split]) + merkle_root(leaves[split:]))


def hex_digest(text, what):
    need(isinstance(text, str) and re.fullmatch("[0-9a-f]{64}", text), f"{what} is not a digest")
    return bytes.fromhex(text)


Snapshot = collections.namedtuple("Snapshot", "seq digest receipt root packs")


class State:
    """What the log's entries say, read in order. Entries that say what they may not are void: they change nothing."""

    def __init__(self, repo):
        self.repo = repo
        self.signers, self.all_snapshots, self.forgotten, self.holds = {}, {}, set(), collections.Counter()
        self.runs, self.collections, self.leaves, self.jobs, self.void = [], [], [], 0, []
        self.wal = {}  # registered objects: name, digest, length
        self.wal_gaps = []  # that are known: system, timeline, from, to
        self.wal_first = {}  # of a cluster's timeline, the first segment that must be there
        self.epochs, self.key_epochs = [], {}  # objects that hold the keys of epoch 1 and on; whose keys a bundle holds
        prev = bytes(32)
        while True:
            name = f"log/{len(self.leaves):016d}"
            if not repo.has(name):
                break
            data = repo.read(name)
            self.entry(len(self.leaves), data, prev, name)
            self.leaves.append(sha256(b"\0" + data))
            prev = sha256(data)
        numbers = [int(n[4:]) for n in repo.names("log/") if re.fullmatch("log/[0-9]{16}", n)]
        need(len(self.leaves) > 0 and max(numbers) == len(self.leaves) - 1, "an entry of the log is missing below others")
        self.checkpoint()

    @property
    def snapshots(self):
        return {seq: s for seq, s in self.all_snapshots.items() if seq not in self.forgotten}

    def entry(self, seq, data, prev, name):
        statement, signer = envelope_open(data, name)
        need(statement.get("_type") == "https://in-toto.io/Statement/v1" and statement.get("subject"), f"{name} is no statement")
        p, place = statement["predicate"], statement["predicate"]["ledger"]
        need(set(place) == {"seq", "prev", "time", "key"} and place["seq"] == seq, f"{name} says that it is another entry")
        need(place["prev"] == prev.hex(), f"{name} does not follow the entry before it")
        need(place["key"] == signer.hex(), f"{name} names another signer")
        word = statement["predicateType"]
        word = word[len(PREFIX):] if word.startswith(PREFIX) else None
        if seq == 0:
            need(word == "init/v1" and signer == self.repo.keys.admin, f"{name} is not the administrator's")
            need(p["repository"] == self.repo.id.hex(), f"{name} belongs to another repository")
            need(p["format"] == sha256(self.repo.read("format")).hex(), "the object 'format' is not the one that entry 0 names")
            self.signers[signer] = 1
            return
        try:
            need(signer in self.signers, f"{name} is signed by a key that may not sign")
            need(self.signers[signer] in MAY.get(word, {1, 2, 3, 4}), f"{name} says {word}, which its signer may not")
            handler = getattr(self, "entry_" + word.partition("/")[0].replace("-", "_"), None) if word in MAY else None
            if handler:
                handler(seq, p, name, sha256(data), self.signers[signer])
        except (Refused, KeyError, TypeError) as e:
            self.void.append((seq, str(e)))

    # Each checks all it needs before it changes anything.

    def runs_change(self, p, added, removed, name):
        """Reads both lists; what it answers makes the change."""
        gone = [hex_digest(d, name) for d in p.get(removed, [])]
        new = [hex_digest(d, name) for d in p.get(added, [])]

        def change():
            self.runs = [r for r in self.runs if r not in gone]
            self.runs += [r for r in dict.fromkeys(new) if r not in self.runs]
        return change

    def entry_key(self, seq, p, name, digest, role):
        key = hex_digest(p["key"], name)
        if p["action"] == "remove":
            self.signers.pop(key, None)
        else:
            need(p["role"] in ROLES, f"{name} names an unknown role")
            epoch = p.get("epoch", 0) if p["role"] != "admin" else len(self.epochs)
            need(epoch == len(self.epochs), f"{name} adds a key with the keys of another epoch")
            self.signers[key] = ROLES[p["role"]]
            self.key_epochs[key] = epoch

    def entry_backup_receipt(self, seq, p, name, digest, role):
        r = p.get("repository")
        if not isinstance(r, dict) or not r.get("root"):
            self.jobs += 1
            return
        root, packs = [hex_digest(d, name) for d in r["root"]], hex_digest(r["packs"], name)
        need(0 < len(p["backup_id"].encode()) < 64, f"{name} has no usable backup_id")
        for time in (p["started_at"], p["completed_at"]):
            need(re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?(Z|[+-]\d\d:\d\d)", time), f"{name} has no usable times")
        self.runs_change(r, "index", "index_removed", name)()
        self.all_snapshots[seq] = Snapshot(seq, digest, p, root, packs)

    def entry_verification(self, seq, p, name, digest, role):
        s = self.all_snapshots.get(p["seq"])
        need(s and s.digest.hex() == p["receipt"], f"{name} vouches for a snapshot that is not there")

    def entry_forget(self, seq, p, name, digest, role):
        for n in p["seqs"]:
            need(n in self.all_snapshots and not self.holds[n], f"{name} forgets a snapshot that is not there or on hold")
        self.forgotten.update(p["seqs"])

    def entry_delete(self, seq, p, name, digest, role):
        if "epoch" in p:
            need(role == 1 and p["epoch"] == len(self.epochs) + 1 <= 255, f"{name} begins an epoch that may not begin")
            keys = hex_digest(p["epoch_keys"], name)
            need(keys.hex() in p["index_added"], f"{name} does not name its keys among the live runs")
            self.epochs.append(keys)
            return
        if "wal_first" in p:
            need(re.fullmatch("[1-9][0-9]{0,19}", p["system"]) and 1 <= len(p["wal_first"]) <= 200, f"{name} does not say whose WAL is gone")
            need(all(re.fullmatch("(?!0{8})[0-9A-F]{24}", n) for n in p["wal_first"]), f"{name} names no segments")
            for n in p["wal_first"]:
                folder = f"wal/{p['system']}/{n[:8]}/"
                self.wal_first[folder] = max(n, self.wal_first.get(folder, n))
            return
        self.runs_change(p, "index_added", "index_removed", name)()
        self.collections.append((seq, p.get("packs"), p.get("replaced_by")))

    def entry_wal(self, seq, p, name, digest, role):
        need(p["environment"] and p["surface"] and re.fullmatch("[1-9][0-9]{0,19}", p["system"]), f"{name} does not say whose WAL it is")
        need(1 <= len(p["objects"]) <= 200, f"{name} registers no objects, or too many")
        need(p.get("mended") is not True or role == 1, f"{name} mends WAL without an admin key")
        rows = {f"wal/{p['system']}/{o[0]}": (hex_digest(o[1], name), int(o[2])) for o in p["objects"]}
        self.wal.update(rows)

    def entry_wal_gap(self, seq, p, name, digest, role):
        need(p["environment"] and p["surface"] and re.fullmatch("[1-9][0-9]{0,19}", p["system"]), f"{name} does not say whose WAL it is")
        places = [re.fullmatch("([0-9A-F]{1,8})/([0-9A-F]{1,8})", p[end]) for end in ("from", "to")]
        need(all(places) and 0 < p["timeline"] < 1 << 32, f"{name} does not say where the gap is")
        begin, end = [int(m[1], 16) << 32 | int(m[2], 16) for m in places]
        need(begin <= end and 1 <= len(p["reason"].encode()) <= 500, f"{name} gives no reason")
        self.wal_gaps.append((p["system"], p["timeline"], begin, end))

    def entry_hold(self, seq, p, name, digest, role):
        need(p["seq"] in self.all_snapshots, f"{name} holds a snapshot that is not there")
        if p.get("action") == "release":
            need(role == 1, f"{name} releases a hold without an admin key")
            self.holds.pop(p["seq"], None)
        else:
            self.holds[p["seq"]] += 1

    def checkpoint(self):
        """A checkpoint that somebody signed who may must be of this log."""
        self.published = None
        if not self.repo.has("checkpoint"):
            return
        text, _, lines = self.repo.read("checkpoint").decode().rpartition("\n\n")
        origin, size, root = (text + "\n").split("\n")[:3]
        need(origin == "proofkeep/" + self.repo.id.hex(), "the checkpoint is of another log")
        for line in lines.splitlines():
            mark, name, sig = line.split(" ")
            sig = base64.b64decode(sig)
            for key in self.signers:
                if sig[:4] == sha256(origin.encode() + b"\n\1" + key)[:4] and signed_by(key, sig[4:], (text + "\n").encode()):
                    self.published = int(size)
        if self.published is not None:
            need(self.published <= len(self.leaves), "the checkpoint counts more entries than there are")
            need(base64.b64decode(root) == merkle_root(self.leaves[:self.published]), "the checkpoint has another root than the log")


# ---- index.md ----

def index_object(repo, digest, *kinds):
    name = f"index/{digest.hex()}"
    data = repo.read(name)
    need(sha256(data) == digest, f"{name}: its bytes are not those of its name")
    h = data[:128]
    need(len(h) == 128 and h[:9] == b"PKINDEX1\1" and h[10] in kinds and h[64:80] == repo.id, f"{name} has another header")
    need(not any((h[11], *h[14:16], *h[28:32], *h[80:])), f"{name} has bytes that should be zero")
    entries, packs = struct.unpack("<QI", h[16:28])
    box = aead(h[9], hkdf(repo.epochs.index_key(h[12:14]), h[32:64], b"proofkeep/v1/run"))
    body = b"".join(unseal(box, struct.pack("<QI", i, 0), data[at:at + 65552], h, name)
                    for i, at in enumerate(range(128, len(data), 65552)))
    if h[10] != 4:
        need(len(body) == {1: entries * 32 + packs * 40, 5: entries}.get(h[10], entries * 32), f"{name}: its body does not add up")
    return body, entries, packs, h[10]


class Epochs:
    """The id and index keys of every epoch, as far as the key at hand has them."""

    def __init__(self, repo):
        keys, n = repo.keys, len(repo.state.epochs)
        own = repo.state.key_epochs.get(keys.sign_public, 0) if keys.role != 1 else 0
        self.ids, self.indexes = {own: keys.id}, {own: keys.index}
        if n == 0:
            return
        name = f"index/{repo.state.epochs[-1].hex()}"
        data = repo.read(name)
        need(sha256(data) == repo.state.epochs[-1], f"{name}: its bytes are not those of its name")
        c = Cursor(data, name)
        h = c.take(128)
        need(h[:11] == b"PKINDEX1\1\2\3" and h[12:14] == struct.pack("<H", n) and h[64:80] == repo.id, f"{name} has another header")
        need(not any((h[11], *h[14:16], *h[24:32], *h[80:])), f"{name} has bytes that should be zero")
        chain, readers, rows = c.take(32 * n + 16), c.take(32 * (n + 3) + 48), {}
        for _ in range(struct.unpack("<Q", h[16:24])[0]):
            key = c.take(32)
            rows[key] = c.take(c.number(4))
        need(c.done(), f"{name} has more than its boxes")
        try:
            if keys.read:
                plain = box_open(keys.read, readers)
                self.indexes[n] = plain[:32]
                self.ids.update({i: plain[32 * i + 64:32 * i + 96] for i in range(n + 1)})
            elif own != n:
                need(keys.sign_public in rows, f"{name} holds no keys for this key")
                plain = box_open(box_secret(keys.seed), rows[keys.sign_public])
                need(len(plain) == (96 if keys.role == 2 else 32), f"{name} has a box of another length")
                self.indexes[n] = plain[:32]
                if keys.role == 2:
                    self.ids[n] = plain[32:64]
        except InvalidTag:
            raise Refused(f"{name}: a box does not open") from None
        older = unseal(ChaCha20Poly1305(hkdf(self.indexes[n], h[32:64], b"proofkeep/v1/older-index")), bytes(12), chain, h, name)
        self.indexes.update({i: older[32 * i:32 * i + 32] for i in range(n)})
        for kind, got in (("id", self.ids), ("index", self.indexes)) if keys.master else ():
            for i in range(0 if kind == "id" and repo.shared_content else n + 1):
                label = f"proofkeep/v1/{kind}/{i}" if i else f"proofkeep/v1/{kind}"
                need(got[i] == hkdf(keys.master, keys.repo_id, label.encode()), f"{name} holds a key that is not the master key's")

    def id_key(self, epoch):
        need(struct.unpack("<H", epoch)[0] in self.ids, "an epoch whose id key is not there")
        return self.ids[struct.unpack("<H", epoch)[0]]

    def index_key(self, epoch):
        need(struct.unpack("<H", epoch)[0] in self.indexes, "an epoch whose index key is not there")
        return self.indexes[struct.unpack("<H", epoch)[0]]


def ascending(body, n):
    names = [body[i:i + 32] for i in range(0, 32 * n, 32)]
    need(all(a < b for a, b in zip(names, names[1:])), "a pack list that is not sorted")
    return names


def pack_list(repo, digest):
    body, n, own, kind = index_object(repo, digest, 2, 4)
    if kind == 2:
        return set(ascending(body, n))
    c, packs = Cursor(body, "a pack list in parts"), set()
    for _ in range(n):
        part, count, meant = c.take(32), c.number(4), c.number(4)
        need(0 < meant <= count, "a part of a pack list that means nothing")
        inner, m, _, _ = index_object(repo, part, 2)
        need(m == count, "a part of a pack list with another number of names")
        bits = c.take((count + 7) // 8) if meant < count else b"\xff" * ((count + 7) // 8)
        named = {name for i, name in enumerate(ascending(inner, m)) if bits[i // 8] >> i % 8 & 1}
        need(len(named) == meant, "a part of a pack list with another number of bits")
        packs |= named
    packs |= set(ascending(c.take(32 * own), own))
    need(c.done(), "a pack list in parts with more than its names")
    return packs


def run_entries(repo, digest):
    """(first half of the id, pack, is metadata, frame, length, kind, first half of the base or None)"""
    body, n, packs, _ = index_object(repo, digest, 1)
    rows, last, i = [], (b"", -1), 0
    for k in range(packs):
        size = struct.unpack_from("<Q", body, 40 * k + 32)[0]
        rows.append((body[40 * k:40 * k + 32], size & ~(1 << 63), bool(size >> 63)))
    while i < n:
        e = body[40 * packs + 32 * i:][:32]
        pack, frame, length, flags = struct.unpack("<IIII", e[16:])
        need(pack < packs and (e[:16], pack) > last, "an index run that is not in order")
        last, base = (e[:16], pack), None
        i += 1
        if flags & 1:
            second = body[40 * packs + 32 * i:][:32]
            need(i < n and second[:16] == e[:16], "an index run with a delta that lacks its base")
            base = second[16:]
            i += 1
        yield e[:16], rows[pack][0], rows[pack][2], frame, length, flags >> 8 & 255, base


# ---- pack.md ----

Frame = collections.namedtuple("Frame", "at stored plain codec kind base members record")


def padme(n):
    e = n.bit_length() - 1
    s = e.bit_length()
    unit = 1 << max(e - s, 0)
    return (n + unit - 1) // unit * unit


def gf_tables():
    exp, log, x = [0] * 510, [0] * 256, 1
    for i in range(255):
        exp[i] = exp[i + 255] = x
        log[x] = i
        x = x << 1 ^ (0x11D if x & 0x80 else 0)
    return exp, log


def parity_check(name, data, body):
    """The parity section between body and footer is what the document says."""
    magic, version, k, m, zero, size, zero4, at = struct.unpack("<8sHHHHIIQ", data[body:body + 32])
    need(magic == b"PKPARITY" and version == 1 and not zero and not zero4 and at == body, f"{name}: another parity block")
    protected = data[:body] + data[-64:]
    shard = max(512, -(-len(protected) // 200) + 63 & ~63)
    need(size == shard and k == -(-len(protected) // shard) and m >= 2, f"{name}: its parity is cut otherwise")
    block = data[body:body + 64 + 16 * (k + m)]
    need(len(data) == body + 2 * len(block) + m * size + 64, f"{name}: its parity has another length")
    need(data[-64 - len(block):-64] == block and sha256(block[:-32]) == block[-32:], f"{name}: a parity block differs")
    shards = [protected[i * size:(i + 1) * size].ljust(size, b"\0") for i in range(k)]
    exp, log = gf_tables()
    for r in range(m):
        row = 0
        for j in range(k):
            c = 255 - log[(k + r) ^ j]
            times = bytes([0] + [exp[(c + log[v]) % 255] for v in range(1, 256)])
            row ^= int.from_bytes(shards[j].translate(times), "little")
        shards.append(row.to_bytes(size, "little"))
    begin = body + len(block)
    need(b"".join(shards[k:]) == data[begin:begin + m * size], f"{name}: its parity is not that of its bytes")
    for i, s in enumerate(shards):
        need(block[32 + 16 * i:48 + 16 * i] == sha256(s)[:16], f"{name}: the sum of a shard differs")


class Pack:
    def __init__(self, repo, digest, meta):
        self.name = f"packs/{'m' if meta else 'd'}/{digest.hex()[:2]}/{digest.hex()}"
        self.data = repo.read(self.name)
        need(sha256(self.data) == digest, f"{self.name}: its bytes are not those of its name")
        h = self.header = self.data[:256]
        need(len(self.data) >= 320 and h[:9] == b"PKPACK01\1" and h[10] == (2 if meta else 1) and h[16:32] == repo.id,
             f"{self.name} has another header")
        need(not any((h[11], *h[14:16], *h[192:])), f"{self.name} has bytes that should be zero")
        self.id_key = repo.epochs.id_key(h[12:14])
        okm = hkdf(repo.session_key(h[32:48], h[112:192]), h[48:80], b"proofkeep/v1/pack" + repo.id, 64)
        need(okm[32:] == h[80:112], f"{self.name}: its key commitment does not hold")
        self.box = aead(h[9], okm[:32])
        foot = self.unseal(0xFFFFFFFE, b"", self.data[-64:])
        self.dir_at, dir_len, count = struct.unpack("<QII", foot[8:24])
        body, = struct.unpack("<Q", foot[24:32])
        need(foot[:8] == b"PKFOOT01" and not any(foot[32:]), f"{self.name} has another footer")
        end = self.dir_at + dir_len + 16
        need(end + 16 + 64 <= len(self.data), f"{self.name}: its directory lies outside")
        directory = self.unseal(0xFFFFFFFF, b"", self.data[self.dir_at:end])
        padding = self.unseal(0xFFFFFFFD, b"", self.data[end:body or -64])
        need(not any(padding), f"{self.name}: its padding is not zeros")
        if body:
            need(body == end + 16 + len(padding), f"{self.name}: its parity begins elsewhere")
            parity_check(self.name, self.data, body)
        need(body or len(self.data) in (padme(end + 80), repo.pack_bytes[meta]), f"{self.name}: it is not padded as it should be")
        need(not body or body + 64 == padme(end + 80) or len(self.data) > repo.pack_bytes[meta] * 0.98,
             f"{self.name}: it is not padded as it should be")
        self.parity = bool(body)
        self.frames = list(self.parse(directory, count))

    def unseal(self, ordinal, record, data):
        number = struct.pack("<I", ordinal)
        return unseal(self.box, number + bytes(8), data, self.header + number + record, f"{self.name}, message {ordinal:#x}")

    def parse(self, directory, count):
        c, at = Cursor(directory, self.name), 256
        need(c.take(8) == b"PKDIR01\n", f"{self.name}: its directory has no magic")
        for _ in range(count):
            begin = c.at
            stored, plain, codec, kind, n = struct.unpack("<IIBBH", c.take(12))
            base = c.take(32) if codec == 2 else None
            members = [(c.take(32), c.number(4)) for _ in range(n)]
            need(codec <= 2 and 1 <= kind <= 4 and n and stored >= 16 and plain <= 8 << 20, f"{self.name}: a malformed record")
            need(sum(m[1] for m in members) == plain, f"{self.name}: a record that does not add up")
            yield Frame(at, stored, plain, codec, kind, base, members, directory[begin:c.at])
            at += stored
        need(c.done() and at == self.dir_at, f"{self.name}: its directory does not cover it")

    def payload(self, ordinal):
        need(ordinal < len(self.frames), f"{self.name} has no frame {ordinal}")
        f = self.frames[ordinal]
        return f, self.unseal(ordinal, f.record, self.data[f.at:f.at + f.stored])


def decompress(payload, plain, base):
    if plain == 0 and not payload:
        return b""
    need(zstandard.frame_content_size(payload) in (plain, -1), "a zstd frame of another size")
    need(zstandard.get_frame_parameters(payload).window_size <= 8 << 20, "a zstd frame with too large a window")
    d = zstandard.ZstdCompressionDict(base, dict_type=zstandard.DICT_TYPE_RAWCONTENT) if base else None
    try:
        stream = zstandard.ZstdDecompressor(dict_data=d).decompressobj()
        out = stream.decompress(payload)
    except zstandard.ZstdError as e:
        raise Refused(f"a zstd frame: {e}") from None
    need(len(out) == plain and not stream.unused_data, "a zstd frame that decodes to another length")
    return out


def chunk_id(id_key, kind, data):
    return hmac.new(id_key, bytes([kind]) + sha256(data), hashlib.sha256).digest()


# ---- the repository ----

class Repository:
    def __init__(self, path, key_path, passphrase=False, from_packs=False):
        self.path = os.fsencode(path)
        f = parse_json(self.read("format"), "format")
        need(f["magic"] == "proofkeep repository" and f["version"] == 1, "not a repository of version 1")
        need(set(f["features"]["read"]) <= {"shared-content-keys"}, "the repository has features that this reader does not know")
        self.shared_content = "shared-content-keys" in f["features"]["read"]  # a copy: its ids are its source's
        self.id = bytes.fromhex(f["id"])
        self.pack_bytes = {False: f["data_pack_bytes"], True: f["meta_pack_bytes"]}
        secret, kind = key_file(key_path, passphrase)
        self.keys = None
        for name in sorted(self.names("keys/")):
            slot = self.read(name)
            need(sha256(slot).hex() == name[5:], f"{name}: its bytes are not those of its name")
            self.keys = self.keys or slot_open(slot, secret, kind)
        need(self.keys and self.keys.repo_id == self.id, "no key slot opens with this key")
        self.state = State(self)
        self.epochs = Epochs(self)
        self.sessions, self.packs, self.cache = {}, collections.OrderedDict(), collections.OrderedDict()
        self.from_packs, self.where = from_packs, None

    def has(self, name):
        return os.path.isfile(os.path.join(self.path, name.encode()))

    def read(self, name):
        try:
            with open(os.path.join(self.path, name.encode()), "rb") as f:
                return f.read()
        except OSError as e:
            raise Refused(f"{name}: {e.strerror}") from None

    def names(self, prefix):
        top = os.path.join(self.path, prefix.encode())
        for folder, _, files in os.walk(top):
            for name in files:
                yield os.path.relpath(os.path.join(folder, name), self.path).decode()

    def session_key(self, session, sealed):
        need(self.keys.read, "this key cannot read: its role has no read key")
        if session not in self.sessions:
            try:
                self.sessions[session] = box_open(self.keys.read, sealed)
            except (InvalidTag, ValueError):
                raise Refused("a session key does not open") from None
        return self.sessions[session]

    def pack(self, digest, meta):
        if digest not in self.packs:
            self.packs[digest] = Pack(self, digest, meta)
            if len(self.packs) > 8:
                self.packs.popitem(last=False)
        self.packs.move_to_end(digest)
        return self.packs[digest]

    def all_packs(self):
        for name in sorted(self.names("packs/")):
            m = re.fullmatch("packs/([dm])/([0-9a-f]{2})/([0-9a-f]{64})", name)
            if m and m[3].startswith(m[2]):
                yield bytes.fromhex(m[3]), m[1] == "m"

    def locate(self, prefix, as_base=False):
        if self.where is None:
            self.where = collections.defaultdict(list)
            if self.from_packs:
                for digest, meta in self.all_packs():
                    for i, f in enumerate(self.pack(digest, meta).frames):
                        for member, length in f.members:
                            self.where[member[:16]].append((digest, meta, i, length, f.kind, f.base and f.base[:16]))
            else:
                for run in self.state.runs:
                    for entry in run_entries(self, run):
                        self.where[entry[0]].append(entry[1:])
        # of several copies a plain one, else a delta whose base is there
        for place in self.where.get(prefix, []):
            if place[-1] is None:
                return place
        for place in [] if as_base else self.where.get(prefix, []):
            if any(base[-1] is None for base in self.where.get(place[-1], [])):
                return place
        raise Refused(f"no pack holds chunk {prefix.hex()}")

    def frame(self, digest, meta, ordinal, as_base=False):
        """The chunks of a frame, decoded and checked: {id: bytes}."""
        key = (digest, ordinal)
        if key not in self.cache:
            pack = self.pack(digest, meta)
            f, payload = pack.payload(ordinal)
            if f.codec == 0:
                need(len(payload) == f.plain, f"{pack.name}: a raw frame of another length")
                plain = payload
            else:
                need(not (as_base and f.codec == 2), "a delta whose base is a delta")
                base = self.chunk(f.base, 1, as_base=True) if f.codec == 2 else None
                plain = decompress(payload, f.plain, base)
            chunks, at = {}, 0
            for member, length in f.members:
                data = plain[at:at + length]
                at += length
                need(chunk_id(pack.id_key, f.kind, data) == member, f"{pack.name}: a chunk of frame {ordinal} is not what its id says")
                chunks[member] = data
            self.cache[key] = (f, chunks)
            if len(self.cache) > 64:
                self.cache.popitem(last=False)
        f, chunks = self.cache[key]
        need(not (as_base and f.codec == 2), "a delta whose base is a delta")
        self.cache.move_to_end(key)
        return f, chunks

    def chunk(self, chunk_id, kind, as_base=False):
        digest, meta, ordinal, length, located_kind, _ = self.locate(chunk_id[:16], as_base)
        f, chunks = self.frame(digest, meta, ordinal, as_base)
        need(chunk_id in chunks and f.kind == kind == located_kind, f"the index leads astray for chunk {chunk_id.hex()}")
        need(len(chunks[chunk_id]) == length, f"the index has another length for chunk {chunk_id.hex()}")
        return chunks[chunk_id]

    def snapshot_packs(self, s):
        packs = pack_list(self, s.packs)
        for seq, gone, instead in self.state.collections:
            if seq < s.seq or not instead:
                continue
            gone = pack_list(self, hex_digest(gone, "a collection"))
            if packs & gone:
                packs = (packs - gone) | pack_list(self, hex_digest(instead, "a collection"))
        return packs
