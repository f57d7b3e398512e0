"""What a tree on disk is, told by another program than the one under test.

tree_facts.py DIR ROOT prints one line of JSON an item in name order ('/' sorts first), sockets left out, then the digest that
doc/format/files.md defines, with item names below ROOT. Goes by folder descriptors, so paths may be of any length."""
import hashlib, json, os, resource, stat, struct, sys

def xattrs_of(fd, name):
    at = f"/proc/self/fd/{fd}/".encode() + name
    try:
        keys = os.listxattr(at, follow_symlinks=False)
        return {k: os.getxattr(at, k, follow_symlinks=False).hex() for k in sorted(keys)}
    except OSError:
        return {}

def walk(fd, path, out):
    names = sorted(os.fsencode(n) for n in os.listdir(fd))
    for n in names:
        st = os.stat(n, dir_fd=fd, follow_symlinks=False)
        if stat.S_ISSOCK(st.st_mode):
            continue
        p = path + b"/" + n if path else n
        out.append((p, st, fd, n))
        item(out, p, st, fd, n)
        if stat.S_ISDIR(st.st_mode):
            sub = os.open(n, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW, dir_fd=fd)
            walk(sub, p, out)
            os.close(sub)

first, lines, tree = {}, [], hashlib.sha256()

def item(out, p, st, fd, n):
    d = {"name": p.hex() if any(c < 33 or c > 126 for c in p) else p.decode(), "mode": oct(st.st_mode), "uid": st.st_uid,
         "gid": st.st_gid, "mtime": st.st_mtime_ns, "xattrs": xattrs_of(fd, n)}
    kind, size, digest = "?", 0, bytes(32)
    full = root + b"/" + p if root and p else root or p
    if stat.S_ISREG(st.st_mode):
        key = (st.st_dev, st.st_ino)
        d["size"], d["sparse"] = st.st_size, st.st_blocks * 512 < st.st_size
        if key in first:
            kind, digest = "h", hashlib.sha256(first[key]).digest()
            d["first"] = first[key].hex()
        else:
            if st.st_nlink > 1:
                first[key] = full
            f = os.open(n, os.O_RDONLY | os.O_NOFOLLOW, dir_fd=fd)
            with os.fdopen(f, "rb") as data:
                digest = hashlib.file_digest(data, "sha256").digest() if hasattr(hashlib, "file_digest") else hashlib.sha256(data.read()).digest()
            kind, size = "f", st.st_size
            d["sha256"] = digest.hex()
    elif stat.S_ISDIR(st.st_mode):
        kind = "d"
    elif stat.S_ISLNK(st.st_mode):
        to = os.readlink(n, dir_fd=fd)
        kind, size, digest = "l", len(to), hashlib.sha256(to).digest()
        d["to"] = to.hex()
    elif stat.S_ISFIFO(st.st_mode):
        kind = "p"
    else:
        kind = "c" if stat.S_ISCHR(st.st_mode) else "b"
        digest = hashlib.sha256(struct.pack("<II", os.major(st.st_rdev), os.minor(st.st_rdev))).digest()
        d["rdev"] = st.st_rdev
    d["type"] = kind
    lines.append(json.dumps(d, sort_keys=True))
    tree.update(struct.pack("<I", len(full)) + full + kind.encode() + struct.pack("<Q", size) + digest)

soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
sys.setrecursionlimit(100000)
top, root = os.fsencode(sys.argv[1]), os.fsencode(sys.argv[2])
above, _, last = top.rpartition(b"/")
parent = os.open(above or b"/", os.O_RDONLY | os.O_DIRECTORY)
if root:
    item([], b"", os.stat(last, dir_fd=parent, follow_symlinks=False), parent, last)
base = os.open(top, os.O_RDONLY | os.O_DIRECTORY)
walk(base, b"", [])
print("\n".join(lines))
print("tree_sha256", tree.hexdigest())
