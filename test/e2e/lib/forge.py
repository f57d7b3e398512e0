#!/usr/bin/env python3
"""What a thief does who has a key file and the repository's folder, without the program (from doc/format/ alone).

  forge.py REPOSITORY KEYFILE flags             the flags of the keys in the bundle that the key file opens, in hex
  forge.py REPOSITORY KEYFILE append TYPE JSON  sign an entry with the bundle's key and put it at the end of the log;
                                                prints its number. TYPE is such as forget/v1. With a number
                                                behind JSON, so many of them
  forge.py REPOSITORY KEYFILE garbage           put an entry there that nobody signed
  forge.py REPOSITORY KEYFILE publish           tiles, bundles and a checkpoint of what log/ has, signed with that key
  forge.py REPOSITORY KEYFILE receipt SEQ       the digest of an entry
  forge.py REPOSITORY KEYFILE chunks            try every key of the bundle on every pack's sealed session key
  forge.py REPOSITORY KEYFILE recognise FILE    compute the id of a file of one chunk, and look for it in every index run that the
                                                bundle's index key opens: prints how many it opens, and how many have it
  forge.py REPOSITORY KEYFILE recognise FILE K  the same, printing how many runs of later epochs say that a pack of a later epoch has
                                                it, opened with admin key file K (merged runs speak of older packs too)
With FORGE_KEYS the key slots are taken from that folder: whoever copied his keeps it when it is removed.
"""
import base64, hashlib, json, os, shutil, sys, time
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

TYPE = "application/vnd.in-toto+json"
repo, key_file, verb, *more = sys.argv[1:]


def hkdf(ikm, salt, info):
    return HKDF(hashes.SHA256(), 32, salt, info).derive(ikm)


def bundle():
    text = open(key_file).read()
    kek = base64.b64decode(next(l for l in text.splitlines() if l.startswith("PROOFKEEP-KEY-1 ")).split()[1])
    keys = os.environ.get("FORGE_KEYS", repo + "/keys")
    for name in os.listdir(keys):
        slot = open(f"{keys}/{name}", "rb").read()
        way = int.from_bytes(slot[12:14], "little")
        salt = slot[16:32] + slot[128:160]
        if hkdf(kek, salt, b"proofkeep/v1/slot-commit") == slot[160:192]:
            key = hkdf(kek, salt, b"proofkeep/v1/slot")
            return ChaCha20Poly1305(key).decrypt(bytes(12), slot[192 + way:], slot[:192 + way])
    raise SystemExit("no slot opens with that key file")


def entries():
    return sorted(os.listdir(repo + "/log"))


def entry(seq):
    return open(f"{repo}/log/{seq:016d}", "rb").read()


def put(seq, data):
    with open(f"{repo}/log/{seq:016d}", "xb") as f:
        f.write(data)
    print(seq)


if verb == "flags":
    print(f"{bundle()[1]:02x}")
elif verb == "receipt":
    print(hashlib.sha256(entry(int(more[0]))).hexdigest())
elif verb == "garbage":
    put(len(entries()), b'{"payload":"e30=","payloadType":"' + TYPE.encode() + b'","signatures":[{"keyid":"' + b"0" * 64 +
        b'","sig":"' + base64.b64encode(bytes(64)) + b'"}]}')
elif verb == "append":
    key = Ed25519PrivateKey.from_private_bytes(bundle()[18:50])
    pub = key.public_key().public_bytes(serialization.Encoding.Raw, serialization.PublicFormat.Raw).hex()
    first = len(entries())
    for seq in range(first, first + int(more[2] if len(more) > 2 else 1)):
        predicate = json.loads(more[1])
        predicate["ledger"] = {"seq": seq, "prev": hashlib.sha256(entry(seq - 1)).hexdigest(),
                               "time": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()), "key": pub}
        payload = json.dumps({"_type": "https://in-toto.io/Statement/v1",
                              "subject": [{"name": "x", "digest": {"sha256": "0" * 64}}],
                              "predicateType": "https://proofkeep.dev/" + more[0], "predicate": predicate},
                             sort_keys=True, separators=(",", ":")).encode()
        pae = b"DSSEv1 28 %s %d %s" % (TYPE.encode(), len(payload), payload)
        put(seq, json.dumps({"payload": base64.b64encode(payload).decode(), "payloadType": TYPE,
                             "signatures": [{"keyid": pub, "sig": base64.b64encode(key.sign(pae)).decode()}]},
                            separators=(",", ":")).encode())
elif verb == "publish":
    key = Ed25519PrivateKey.from_private_bytes(bundle()[18:50])
    pub = key.public_key().public_bytes(serialization.Encoding.Raw, serialization.PublicFormat.Raw)
    name = "proofkeep/" + json.load(open(repo + "/format"))["id"]
    shutil.rmtree(repo + "/tile", ignore_errors=True)
    all_of_them = [entry(i) for i in range(len(entries()))]
    sha256 = lambda b: hashlib.sha256(b).digest()

    def root(h):
        if len(h) == 1:
            return h[0]
        k = 1 << (len(h) - 1).bit_length() - 1
        return sha256(b"\1" + root(h[:k]) + root(h[k:]))

    def tile(level, index, width, data):
        path = f"{repo}/tile/{level}/{index:03d}" + ("" if width == 256 else f".p/{width}")
        os.makedirs(os.path.dirname(path), exist_ok=True)
        open(path, "wb").write(data)

    for at in range(0, len(all_of_them), 256):
        part = all_of_them[at:at + 256]
        tile("entries", at // 256, len(part), b"".join(len(e).to_bytes(2, "big") + e for e in part))
    level, n = [sha256(b"\0" + e) for e in all_of_them], 0
    top = root(level)
    while level:
        for at in range(0, len(level), 256):
            tile(n, at // 256, len(level[at:at + 256]), b"".join(level[at:at + 256]))
        level, n = [root(level[i:i + 256]) for i in range(0, len(level) // 256 * 256, 256)], n + 1
    text = f"{name}\n{len(all_of_them)}\n{base64.b64encode(top).decode()}\n"
    line = base64.b64encode(sha256(name.encode() + b"\n\1" + pub)[:4] + key.sign(text.encode())).decode()
    if os.path.exists(repo + "/checkpoint"):
        os.remove(repo + "/checkpoint")
    open(repo + "/checkpoint", "w").write(f"{text}\n— {name} {line}\n")
elif verb == "chunks":
    from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
    b, tried, opened = bundle(), 0, 0
    read_public = b[50:82]
    keys = [b[18:50]] + [b[i:i + 32] for i in range(114, len(b), 32)]
    for folder, _, names in os.walk(repo + "/packs"):
        for name in names:
            head = open(f"{folder}/{name}", "rb").read(256)
            # wherever in the header a sealed box may stand
            for at in range(0, 256 - 80 + 1):
                box = head[at:at + 80]
                for k in keys:
                    try:
                        shared = X25519PrivateKey.from_private_bytes(k).exchange(X25519PublicKey.from_public_bytes(box[:32]))
                        tried += 1
                        ChaCha20Poly1305(hkdf(shared, box[:32] + read_public, b"proofkeep/v1/box")).decrypt(bytes(12), box[32:], None)
                        opened += 1
                    except (InvalidTag, ValueError):
                        pass
    print("tried" if tried else "nothing to try", opened)
elif verb == "recognise":
    import hmac
    from cryptography.hazmat.primitives.ciphers.aead import AESGCM
    b = bundle()
    id_key, index_keys = b[114:146], {0: b[178:210]}
    plain = hashlib.sha256(open(more[0], "rb").read()).digest()
    wanted = hmac.new(id_key, b"\1" + plain, hashlib.sha256).digest()[:16]
    if len(more) > 1:
        key_file = more[1]
        master = bundle()[114:146]
        index_keys = {n: hkdf(master, b[2:18], b"proofkeep/v1/index/%d" % n) for n in range(1, 10)}

    def later_pack(row):
        name = row[:32].hex()
        return open(f"{repo}/packs/{'m' if row[39] >> 7 else 'd'}/{name[:2]}/{name}", "rb").read(14)[12:] != bytes(2)

    opened = having = 0
    for name in os.listdir(repo + "/index"):
        data = open(f"{repo}/index/{name}", "rb").read()
        h, body = data[:128], b""
        for n, key in index_keys.items():
            if h[10] != 1 or (len(more) > 1 and h[12] != n):
                continue
            cipher = (AESGCM if h[9] == 1 else ChaCha20Poly1305)(hkdf(key, h[32:64], b"proofkeep/v1/run"))
            try:
                for i, at in enumerate(range(128, len(data), 65552)):
                    body += cipher.decrypt(i.to_bytes(8, "little") + bytes(4), data[at:at + 65552], h)
            except InvalidTag:
                continue
            opened += 1
            first = 40 * int.from_bytes(h[24:28], "little")
            packs = {int.from_bytes(body[at + 16:at + 20], "little") for at in range(first, len(body), 32) if body[at:at + 16] == wanted}
            having += any(len(more) == 1 or later_pack(body[40 * i:40 * i + 40]) for i in packs)
    print(having if len(more) > 1 else f"{opened} {having}")
