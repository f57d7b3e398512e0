"""Write-ahead log, by doc/format/wal.md."""

import hashlib
import hmac
import re
import struct

from objects import InvalidTag, aead, box_open, decompress, hkdf, need, padme, sha256, unseal, Refused

FRAME = 1 << 20


def registered(repo):
    """{name: (digest, length)} of every batch that counts."""
    return repo.state.wal


def read(repo, name):
    """The plain bytes of an object, all of it checked."""
    data = repo.read(name)
    h = data[:256]
    need(len(h) == 256 and h[:9] == b"PKWAL001\1" and h[16:32] == repo.id, f"{name} has another header")
    need(not any((*h[10:12], *h[14:16], *h[224:])), f"{name} has bytes that should be zero")
    plain_bytes, _, frame = struct.unpack("<QII", h[208:224])
    need(plain_bytes <= 1 << 30 and frame == FRAME, f"{name} has other sizes")
    need(repo.keys.read, "this key cannot read: its role has no read key")
    try:
        secret = box_open(repo.keys.read, h[96:176])
    except (InvalidTag, ValueError):
        raise Refused(f"{name}: its key does not open") from None
    okm = hkdf(secret, h[32:64], b"proofkeep/v1/wal" + repo.id, 64)
    need(okm[32:] == h[64:96], f"{name}: its key commitment does not hold")
    box = aead(h[9], okm[:32])

    def opened(ordinal, sealed):
        number = struct.pack("<I", ordinal)
        return unseal(box, number + bytes(8), sealed, h + number + name.encode(), f"{name}, message {ordinal:#x}")

    n = -(-plain_bytes // FRAME)
    at = 256 + 8 * n + 16
    table, out = opened(0xFFFFFFFF, data[256:at]), []
    for i in range(n):
        length, codec = struct.unpack("<IB", table[8 * i:8 * i + 5])
        want = min(FRAME, plain_bytes - i * FRAME)
        payload = opened(i, data[at:at + length])
        at += length
        need(codec <= 1 and not any(table[8 * i + 5:8 * i + 8]), f"{name}: a malformed row")
        out.append(payload if codec == 0 else decompress(payload, want, None))
        need(len(out[-1]) == want, f"{name}: a frame of another length")
    need(not any(opened(0xFFFFFFFD, data[at:])) and len(data) == padme(at + 16), f"{name}: it is not padded as it should be")
    plain = b"".join(out)
    keyed = hmac.new(repo.epochs.id_key(h[12:14]), b"proofkeep/v1/wal" + sha256(plain) + name.encode(), hashlib.sha256).digest()
    need(keyed == h[176:208], f"{name}: its bytes are not those of its keyed id")
    return plain


def gone(repo, name):
    """Whether it need not be there, by an entry that says which segment is the first."""
    folder, segment = name[:name.index("/", 4) + 10], re.match("[0-9A-F]{24}", name[name.index("/", 4) + 10:])
    return bool(segment) and segment[0] < repo.state.wal_first.get(folder, "")


def check(repo):
    """Every object; how many, and how many of them the log has."""
    names = sorted(repo.names("wal/"))
    known = registered(repo)
    for name in names:
        read(repo, name)
        if name in known:
            data = repo.read(name)
            need((sha256(data), len(data)) == known[name], f"{name} is not what the log registered")
    for name in set(known) - set(names):  # a piece gives way to its whole segment
        need(gone(repo, name) or ".pieces/" in name and name.partition(".pieces/")[0] in names, f"{name} is registered and missing")
    return len(names), len(known)
