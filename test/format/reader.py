#!/usr/bin/env python3
"""Reads repositories of proofkeep. Written from doc/format/ alone: it shares nothing with the program, and so shows that
those pages are enough. Needs Python's `cryptography` and `zstandard`.

  reader.py [--from-packs] --key FILE REPOSITORY verify            the log: chain, signatures, checkpoint
  reader.py ...                                  check             every object: names, every frame, every chunk id
  reader.py ...                                  list              live snapshots
  reader.py ...                                  digests [SEQ...]  a line for each snapshot and each item, all checked
  reader.py ...                                  cat SEQ NAME      the content of an item, NAME in hex or as text
  reader.py ...                                  wal [NAME]        every object of the write-ahead log, or the bytes of one
  reader.py ...                                  restore SEQ DIR   a snapshot of kind `files` into DIR, which must not exist

REPOSITORY is a local folder. FILE is a key file, an identity or, with --passphrase, a file that holds a passphrase.
--from-packs finds chunks by the packs' own directories and never looks at the index."""

import argparse
import collections
import hashlib
import os
import stat
import struct
import sys

import wal
from objects import Cursor, Refused, Repository, envelope_open, index_object, merkle_root, need, parse_json, run_entries, sha256

# ---- snapshot.md ----

Item = collections.namedtuple("Item", "name kind attr bytes sha256 refs")


def name_key(name):
    return bytes(0 if b == 47 else b + 1 if b < 47 else b for b in name)


def references(data, what):
    c = Cursor(data, what)
    while not c.done():
        v = c.varint()
        chunk = c.take(32) if v & 3 != 1 else None
        if v & 3 == 3:
            c.take(8)
        yield v & 3, v >> 2, chunk


def snapshot_items(repo, s):
    """Yields the facts, then every item."""
    root = Cursor(b"".join(repo.chunk(d, 4) for d in s.root), "a root")
    need(root.take(8) == b"PKROOT01", "a root without magic")
    yield parse_json(root.take(root.number(4)), "facts")
    count, total, chunks = root.number(8), root.number(8), root.number(4)
    seen = summed = 0
    last = None
    for _ in range(chunks):
        chunk_id, length, items = root.take(32), root.number(4), root.number(4)
        first = root.take(root.varint())
        data = repo.chunk(chunk_id, 2)
        need(len(data) == length and items > 0, "a manifest chunk of another length")
        c, name = Cursor(data, "a manifest"), b""
        for i in range(items):
            shared = c.varint()
            need(shared <= len(name) and (i or not shared), "a name that begins with more than there is")
            name = name[:shared] + c.take(c.varint())
            kind = c.number(1)
            attr = c.take(c.varint())
            size, digest, refs = 0, None, []
            need(kind <= 5 and name and (i or name == first), "a malformed record of a manifest")
            if kind:
                size, digest, n = c.varint(), c.take(32), c.varint()
                refs = list(references(c.take(c.varint()), "references"))
                need(len(refs) == n, "an item with another number of references")
            need(last is None or name_key(last) < name_key(name), "names that are not in order")
            last = name
            seen += 1
            summed += size
            yield Item(name, kind, attr, size, digest, refs)
        need(c.done(), "a manifest chunk with more than its items")
    need(root.done() and seen == count and summed == total, "a root that does not add up")


def content(repo, item):
    """Pieces of an item's content: bytes, or a number for a hole. Checked when exhausted."""
    h, size = hashlib.sha256(), 0

    def unfold():
        for kind, length, chunk in item.refs:
            if kind != 2:
                yield kind, length, chunk
                continue
            covered = 0
            for inner in references(repo.chunk(chunk, 3), "a list of references"):
                need(inner[0] != 2, "a list that names a list")
                covered += inner[1]
                yield inner
            need(covered == length, "a list that covers another length")

    for kind, length, chunk in unfold():
        if item.kind == 5:
            need(kind != 1 and length == min(131072, item.bytes - size), "content that is not stored in the parts of its digest")
        size += length
        need(size <= item.bytes, "content longer than it should be")
        if kind == 1:
            for left in range(length, 0, -65536):
                h.update(bytes(min(left, 65536)))
            yield length
            continue
        data = repo.chunk(chunk, 1)
        need(len(data) == length, "a chunk of another length than its reference")
        h.update(sha256(data) if item.kind == 5 else data)
        yield data
    need(size == item.bytes, "content shorter than it should be")
    need(h.digest() == item.sha256, "content with another SHA-256 than recorded")


# ---- files.md ----

TAGS = {1: "mode", 2: "uid", 3: "gid", 4: "user", 5: "group", 6: "mtime", 7: "ctime", 8: "ino", 9: "dev", 10: "size", 11: "nlink",
        12: "target", 13: "rdev", 14: "flags", 15: "since", 16: "xattrs"}


def attributes(record):
    c = Cursor(record, "an attribute record")
    need(c.number(1) == 1, "an attribute record of another version")
    a = dict.fromkeys(("mode", "uid", "gid", "ino", "dev", "size", "nlink", "rdev", "flags", "since"), 0)
    a.update(type=chr(c.number(1)), user=b"", group=b"", mtime=(0, 0), target=b"", xattrs=[])
    need(a["type"] in "fdlhpcb", "an attribute record of an unknown type")
    last = 0
    while not c.done():
        tag, value = c.number(1), None
        value = Cursor(c.take(c.varint()), "an attribute")
        need(tag > last, "attributes out of order")
        last, name = tag, TAGS.get(tag)
        need(name or tag >= 128, f"an attribute {tag} that this reader may not pass over")
        if name in ("user", "group", "target"):
            a[name] = value.data
        elif name in ("mtime", "ctime"):
            need(len(value.data) == 12, "a time of another length")
            a[name] = struct.unpack("<qI", value.data)
        elif name == "xattrs":
            while not value.done():
                key = value.take(value.varint())
                a[name].append((key, value.take(value.varint())))
        elif name:
            a[name] = value.varint()
            need(value.done(), "a number with bytes after it")
    return a


def restore(repo, s, target):
    """`target` is the root, when there is one and it is a folder; else items go below it by their whole names. Owners only as
    root; returns what could not be done."""
    need(s.receipt["repository"]["kind"] == "files", "only snapshots of files can be restored")
    target, later, notes = os.fsencode(target), [], []
    os.mkdir(target, 0o700)
    items = snapshot_items(repo, s)
    roots = next(items)["facts"]["roots"]
    only = os.fsencode(roots[0]["path"]).strip(b"/") if len(roots) == 1 and roots[0]["type"] == "folder" else None

    def place(name):
        if only is None or name == only:
            return os.path.join(target, b"" if name == only else name)
        need(not only or name.startswith(only + b"/"), "a name outside the only root")
        return os.path.join(target, name[len(only):].lstrip(b"/"))

    for item in items:
        need(not set(item.name.split(b"/")) & {b"", b".", b".."} and b"\0" not in item.name, "a name that leads elsewhere")
        a, path = attributes(item.attr), place(item.name).rstrip(b"/")
        os.makedirs(os.path.dirname(path), 0o700, exist_ok=True)
        need(stat.S_ISDIR(os.lstat(os.path.dirname(path)).st_mode), "a name below something that is no folder")
        if a["type"] == "f":
            with open(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600), "wb") as f:
                for piece in content(repo, item):
                    f.seek(piece, os.SEEK_CUR) if isinstance(piece, int) else f.write(piece)
                f.truncate(item.bytes)
        elif a["type"] == "d":
            if not os.path.isdir(path):
                os.mkdir(path, 0o700)
        elif a["type"] == "l":
            os.symlink(a["target"], path)
        elif a["type"] == "h":
            os.link(place(a["target"]), path, follow_symlinks=False)
            continue
        elif a["type"] == "p":
            os.mkfifo(path, 0o600)
        else:
            try:
                os.mknod(path, 0o600 | (stat.S_IFCHR if a["type"] == "c" else stat.S_IFBLK),
                         os.makedev(a["rdev"] >> 32, a["rdev"] & 0xFFFFFFFF))
            except PermissionError as e:
                notes.append((item.name, e.strerror))
                continue
        later.append((path, item.name, a))
    for path, name, a in reversed(later):
        if os.geteuid() == 0:
            os.chown(path, a["uid"], a["gid"], follow_symlinks=False)
        for key, value in a["xattrs"]:
            try:
                os.setxattr(path, key, value, follow_symlinks=False)
            except OSError as e:
                notes.append((name, f"{os.fsdecode(key)}: {e.strerror}"))
        if a["type"] != "l":
            os.chmod(path, a["mode"])
        mtime = a["mtime"][0] * 10**9 + a["mtime"][1]
        os.utime(path, ns=(mtime, mtime), follow_symlinks=False)
    return notes


# ---- commands ----

def source_receipt(repo, s):
    """Of a copied snapshot: the predicate that its source signed, and the signer."""
    c = s.receipt["copy"]
    data = index_object(repo, bytes.fromhex(c["envelope"]), 5)[0]
    need(sha256(data).hex() == c["receipt"], f"snapshot {s.seq} keeps another receipt of its source than it names")
    statement, signer = envelope_open(data, "the receipt of a copy's source")
    p = statement["predicate"]
    need(p["backup_id"] == s.receipt["backup_id"] and p["repository"]["root"] == s.receipt["repository"]["root"],
         f"snapshot {s.seq} keeps the receipt of another backup")
    need(p["ledger"]["seq"] == c["seq"], f"snapshot {s.seq} names another entry of its source")
    return p, signer


def check(repo):
    frames = chunks = packs = 0
    for digest, meta in repo.all_packs():
        pack = repo.pack(digest, meta)
        packs += 1
        for i, f in enumerate(pack.frames):
            repo.frame(digest, meta, i)
            frames += 1
            chunks += len(f.members)
    stored = {digest for digest, _ in repo.all_packs()}
    for s in repo.state.snapshots.values():
        need(repo.snapshot_packs(s) <= stored, f"snapshot {s.seq} lacks a pack")
        if "copy" in s.receipt:
            source_receipt(repo, s)
    for run in repo.state.runs:
        for prefix, pack, meta, frame, length, kind, base in run_entries(repo, run):
            f = repo.pack(pack, meta).frames[frame]
            need(f.kind == kind and (f.base or b"")[:16] == (base or b""), "an index entry that differs from its pack")
            need(any(m[0][:16] == prefix and m[1] == length for m in f.members), "an index entry that differs from its pack")
    print(f"{packs} packs, {frames} frames, {chunks} chunks, {len(repo.state.runs)} runs")


def digests(repo, s):
    items = snapshot_items(repo, s)
    next(items)
    lines, used = [], set()
    for item in items:
        if item.kind:
            for _ in content(repo, item):
                pass
        lines.append(f"item {s.seq} {item.name.hex()} {item.kind} {item.bytes} {item.sha256.hex() if item.kind else '-'} "
                     f"{sha256(item.attr).hex()}")
    r = s.receipt
    need(r["repository"]["items"] == len(lines), "a receipt with another number of items")
    print(f"snapshot {s.seq} {r['environment']}/{r['repository']['surface']} {r['repository']['kind']} {len(lines)}")
    print("\n".join(lines))


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--key", required=True)
    parser.add_argument("--passphrase", action="store_true")
    parser.add_argument("--from-packs", action="store_true")
    parser.add_argument("repository")
    parser.add_argument("command", choices=["verify", "check", "list", "digests", "cat", "wal", "restore"])
    parser.add_argument("rest", nargs="*")
    args = parser.parse_args()
    try:
        repo = Repository(args.repository, args.key, args.passphrase, args.from_packs)
        live = repo.state.snapshots
        if args.command == "verify":
            for seq, why in repo.state.void:
                print(f"entry {seq} is void: {why}")
            print(f"{len(repo.state.leaves)} entries, {len(live)} live snapshots, root {merkle_root(repo.state.leaves).hex()}, "
                  f"checkpoint over {repo.state.published or 'none'}")
        elif args.command == "check":
            check(repo)
        elif args.command == "list":
            for s in live.values():
                r = s.receipt["repository"]
                print(s.seq, s.receipt["environment"] + "/" + r["surface"], r["kind"], s.receipt["backup_id"], r["items"], r["bytes"])
        elif args.command == "digests":
            for s in list(live.values()) if not args.rest else [live[int(n)] for n in args.rest]:
                digests(repo, s)
        elif args.command == "wal" and args.rest:
            sys.stdout.buffer.write(wal.read(repo, args.rest[0]))
        elif args.command == "wal":
            print("{} objects, {} of them registered".format(*wal.check(repo)))
        elif args.command == "cat":
            items = snapshot_items(repo, live[int(args.rest[0])])
            next(items)
            for item in items:
                if args.rest[1] in (item.name.hex(), item.name.decode(errors="replace")):
                    for piece in content(repo, item):
                        sys.stdout.buffer.write(bytes(piece) if isinstance(piece, int) else piece)
        else:
            for name, why in restore(repo, live[int(args.rest[0])], args.rest[1]):
                print(f"{os.fsdecode(name)!r}: {why}", file=sys.stderr)
    except (Refused, KeyError, TypeError) as e:
        sys.exit(f"reader.py: {e if isinstance(e, Refused) else repr(e)}")


if __name__ == "__main__":
    main()
