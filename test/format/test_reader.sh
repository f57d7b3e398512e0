#!/bin/sh
# The independent reader, test/format/reader.py, reads what the program wrote: TAP. $1 is make_repo, $2 this folder.
set -u
make_repo=$1 here=$2
export PYTHONDONTWRITEBYTECODE=1
work=$(mktemp -d "${TMPDIR:-/tmp}/pk-format-XXXXXX") || exit 1
trap 'chmod -R u+rwX "$work"; rm -rf "$work"' EXIT
trap 'exit 1' HUP INT TERM

python=
for p in python3 /usr/bin/python3; do
  "$p" -c 'import cryptography, zstandard' 2>/dev/null && python=$p && break
done
if [ -z "$python" ]; then
  echo "1..0 # SKIP python's modules cryptography and zstandard are not installed"
  exit 0
fi

n=0
claim() { # claim TEXT STATUS
  n=$((n + 1))
  if [ "$2" = 0 ]; then echo "ok $n - $1"; else echo "not ok $n - $1"; sed 's/^/# /' "$work/errors"; fi
}
run() { "$@" >"$work/out" 2>"$work/errors"; }
reads() { run "$python" "$here/reader.py" --key "$work/$key" "$@"; } # reads [--from-packs] REPOSITORY COMMAND...
refuses() { # refuses TEXT REPOSITORY COMMAND...
  text=$1; shift
  ! reads "$@" && grep -q "$text" "$work/errors"
}
r=$work/a/repo key=a/key

run "$python" "$here/vectors.py" --check "$here/../../doc/format" && [ ! -s "$work/out" ]
claim 'the vectors in the pages are those that follow from them' $?

# ---- items of every kind, in three generations, and many small snapshots ----
run "$make_repo" init "$work/a"
claim 'a repository is made' $?
: >"$work/expected"
for g in 1 2 3; do
  "$make_repo" put "$work/a" mixed mixed $g >"$work/generation$g" 2>"$work/errors"
  claim "generation $g is stored" $?
  cat "$work/generation$g" >>"$work/expected"
done
reads "$r" verify
claim 'the log holds' $?
reads "$r" check
claim 'every object is whole, every chunk is what its id says' $?
reads "$r" digests
diff "$work/expected" "$work/out" >"$work/errors" 2>&1
claim 'all items of all generations are there, with the bytes that were put in' $?
reads --from-packs "$r" digests 3
diff "$work/generation3" "$work/out" >"$work/errors" 2>&1
claim 'the same from the directories of packs alone' $?
run "$python" - "$here" "$work" <<'PYTHON'
import sys
sys.path.insert(0, sys.argv[1])
import reader, vectors
repo = reader.Repository(sys.argv[2] + "/a/repo", sys.argv[2] + "/a/key")
codecs = {f.codec for d, meta in repo.all_packs() for f in repo.pack(d, meta).frames}
assert codecs == {0, 1, 2}, codecs
roots = [len(s.root) for s in repo.state.snapshots.values()]
assert roots[0] == 1 and roots[1] > 1, roots
items = reader.snapshot_items(repo, repo.state.snapshots[3])
facts = next(items)
kinds, types = set(), set()
for item in items:
    kinds.add(item.kind)
    types |= {r[0] for r in item.refs}
    for r in item.refs:
        if r[0] == 2:
            types |= {10 + inner[0] for inner in reader.references(repo.chunk(r[2], 3), "list")}
    if item.name == b"lists":
        c, anchors = reader.Cursor(repo.chunk(item.refs[0][2], 3), "list"), 0
        while not c.done() and anchors < 100:
            if c.varint() & 3 == 3:
                anchors += 1
                assert vectors.anchor(repo.chunk(c.take(32), 1)) == c.number(8)
        assert anchors == 100
assert kinds == {0, 1, 2, 3, 4, 5} and types >= {0, 1, 2, 3, 11, 13}, (kinds, types)
PYTHON
claim 'raw, compressed and delta frames, lists, holes, anchors and a root of several pieces were among them' $?

i=1
while [ $i -le 14 ]; do
  "$make_repo" put "$work/a" "small" small $i >"$work/last" 2>"$work/errors" || break
  i=$((i + 1))
done
reads "$r" digests 17
diff "$work/last" "$work/out" >"$work/errors" 2>&1
claim 'after the merging of small runs nothing is lost' $?
run "$make_repo" keys "$work/a" && PK_WRITER=1 "$make_repo" put "$work/a" log log 1 >"$work/log1" 2>"$work/errors"
claim 'a key that only writes adds a snapshot' $?
seq=$(sed -n '1s/snapshot \([0-9]*\) .*/\1/p' "$work/log1")
reads "$r" digests "$seq"
diff "$work/log1" "$work/out" >"$work/errors" 2>&1
claim 'which the administrator reads' $?
key=a/identity.key
reads "$r" list
claim "a recipient's identity opens it" $?
key=a/writer.key
reads "$r" verify && refuses 'cannot read' "$r" digests "$seq"
claim 'the key that only writes checks the log and cannot read' $?
key=a/key
run "$make_repo" vouch "$work/a" 3 && run "$make_repo" publish "$work/a" && reads "$r" verify && grep -q 'checkpoint over [0-9]' "$work/out"
claim 'verifications, holds, failed jobs and a checkpoint are understood' $?

# ---- forgetting, collecting, rewriting, reindexing ----
run "$make_repo" forget "$work/a" 1 2 4 5 6 7 8 9 && run "$make_repo" collect "$work/a" 0.95
claim 'snapshots are forgotten and packs rewritten' $?
grep -q 'rewrote [1-9]' "$work/out"
claim 'some packs were' $?
reads "$r" check && reads "$r" digests 3
diff "$work/generation3" "$work/out" >"$work/errors" 2>&1
claim 'what lives is whole, though its packs are others' $?
run "$make_repo" reindex "$work/a" && reads "$r" check && reads "$r" digests 17
diff "$work/last" "$work/out" >"$work/errors" 2>&1
claim 'the rebuilt index serves as well' $?

# ---- pack lists in parts ----
mkdir "$work/parts"
export PK_PART_NAMES=3
run "$make_repo" init "$work/parts"
key=parts/key
for g in 1 2 3; do
  "$make_repo" put "$work/parts" mixed mixed $g >"$work/parts/generation$g" 2>"$work/errors"
done
"$make_repo" put "$work/parts" mixed mixed 3 >/dev/null 2>>"$work/errors"
reads "$work/parts/repo" check && reads "$work/parts/repo" digests 1 2 3
cat "$work/parts/generation1" "$work/parts/generation2" "$work/parts/generation3" | diff - "$work/out" >"$work/errors" 2>&1
claim 'snapshots whose packs are listed in parts are whole' $?
run "$python" - "$here" "$work" <<'PYTHON'
import sys
sys.path.insert(0, sys.argv[1])
import objects, reader
repo = reader.Repository(sys.argv[2] + "/parts/repo", sys.argv[2] + "/parts/key")
kinds = {objects.index_object(repo, s.packs, 2, 4)[3] for s in repo.state.snapshots.values()}
assert kinds == {4}, kinds
PYTHON
claim 'and they are' $?
run "$make_repo" forget "$work/parts" 1 2 && run "$make_repo" collect "$work/parts" 0.95 && reads "$work/parts/repo" check && reads "$work/parts/repo" digests 3
diff "$work/parts/generation3" "$work/out" >"$work/errors" 2>&1
claim 'what lives is whole when others are forgotten and packs rewritten' $?
unset PK_PART_NAMES
key=a/key

# ---- a real tree, by the files driver ----
tree=$work/tree
"$python" - "$tree" <<'PYTHON'
import os, sys, random
top = os.fsencode(sys.argv[1])
random.seed(7)
def put(name, data, mode=0o644, mtime=1700000000123456789):
    path = os.path.join(top, name)
    os.makedirs(os.path.dirname(path), exist_ok=True)
    with open(path, "wb") as f:
        f.write(data)
    os.chmod(path, mode)
    os.utime(path, ns=(mtime, mtime))
put(b"plain", b"text\n" * 5)
put(b"empty", b"", 0o400)
put(b"sub/large", random.randbytes(1 << 20) + b"pattern " * 200000, 0o640, -86400 * 10**9 + 5)
put(b"sub/medium", b"some lines of text, %d\n" % 5 * 9000, 0o4755)
put(b"caf\xe9 \xff", b"a name that is not UTF-8")
put("snowman \u2603".encode(), b"one that is")
put(b"a.b", b"sorts after a/x")
put(b"a/x", b"sorts before a.b")
with open(top + b"/sparse", "wb") as f:
    f.write(b"begin"); f.seek(5 << 20, os.SEEK_CUR); f.write(b"middle"); f.truncate(9 << 20)
os.link(top + b"/plain", top + b"/zz-hard")
os.link(top + b"/plain", top + b"/sub/hard")
os.symlink(b"../plain", top + b"/sub/link")
os.symlink(b"nowhere \xfe", top + b"/dangling")
os.mkfifo(top + b"/pipe", 0o622)
os.makedirs(top + b"/closed/inner")
os.chmod(top + b"/closed", 0o510)
try:
    os.setxattr(top + b"/plain", b"user.note", b"\0binary\xff")
except OSError:
    pass
os.utime(top + b"/sub", ns=(1600000000000000001,) * 2)
os.utime(top, ns=(1650000000000000001,) * 2)
PYTHON
describe() { # describe FOLDER: what a restore must bring back of it
  "$python" - "$1" <<'PYTHON'
import hashlib, os, stat, sys
top = os.fsencode(sys.argv[1])
inodes = {}
for folder, folders, files in sorted(os.walk(top)):
    for name in sorted(set(folders) | set(files)) + ([b""] if folder == top else []):
        path = os.path.join(folder, name)
        st = os.lstat(path)
        rel = os.path.relpath(path, top)
        what = [rel, oct(st.st_mode), st.st_mtime_ns, st.st_uid, st.st_gid]
        if stat.S_ISREG(st.st_mode):
            first = inodes.setdefault(st.st_ino, rel)
            with open(path, "rb") as f:
                what += [first, st.st_size, hashlib.sha256(f.read()).hexdigest()]
            what += ["sparse"] if st.st_blocks * 512 < st.st_size // 2 else []
            what += [(k, os.getxattr(path, k)) for k in sorted(os.listxattr(path))]
        elif stat.S_ISLNK(st.st_mode):
            what.append(os.readlink(path))
        print(what)
PYTHON
}
describe "$tree" >"$work/tree-1"
seq1=$("$make_repo" capture "$work/a" tree "$tree" 2>"$work/errors")
claim 'the files driver stores a tree' $?
"$python" - "$tree/sub/medium" <<'PYTHON'
import os, sys
with open(sys.argv[1], "r+b") as f:
    f.seek(70000); f.write(b"changed in place")
os.utime(sys.argv[1], ns=(1710000000000000009,) * 2)
PYTHON
describe "$tree" >"$work/tree-2"
seq2=$("$make_repo" capture "$work/a" tree "$tree" 2>"$work/errors")
claim 'and the changed tree' $?
for g in 1 2; do
  eval seq=\$seq$g
  reads "$r" restore "$seq" "$work/restored-$g" && describe "$work/restored-$g" >"$work/out"
  diff "$work/tree-$g" "$work/out" >"$work/errors" 2>&1
  claim "tree $g comes back: contents, modes, times, links, holes, names that are not UTF-8" $?
done
reads "$r" cat "$seq2" "${tree#/}/sub/medium" && cmp "$work/out" "$tree/sub/medium" >"$work/errors" 2>&1
claim 'one item is read alone' $?
reads "$r" check
claim 'everything is whole at the end' $?

# ---- parity ----
key=p/key
run "$make_repo" init "$work/p" && PK_PARITY=7 "$make_repo" put "$work/p" mixed mixed 1 >"$work/generation1" 2>"$work/errors"
reads "$work/p/repo" check && reads "$work/p/repo" digests
diff "$work/generation1" "$work/out" >"$work/errors" 2>&1
claim 'packs with parity are read, and their parity is what follows from them' $?
run "$python" - "$here" "$work" <<'PYTHON'
import sys
sys.path.insert(0, sys.argv[1])
import reader
repo = reader.Repository(sys.argv[2] + "/p/repo", sys.argv[2] + "/p/key")
packs = [repo.pack(*p) for p in repo.all_packs()]
assert len(packs) > 3 and all(p.parity for p in packs)
assert any(len(p.data) == 1 << 20 or len(p.data) > 1000000 for p in packs), [len(p.data) for p in packs]
assert all(len(p.data) <= 1 << 20 for p in packs)
PYTHON
claim 'every pack has it, full ones too' $?
key=a/key

# ---- what must be refused ----
flip() { # flip FILE OFFSET
  chmod u+w "$1"
  "$python" -c 'import sys
with open(sys.argv[1], "r+b") as f:
    f.seek(int(sys.argv[2])); b = f.read(1); f.seek(-1, 1); f.write(bytes([b[0] ^ 4]))' "$1" "$2"
}
for what in format log/0000000000000002 "$(cd "$r" && ls -d keys/* | head -1)"; do
  flip "$r/$what" 100
  ! reads "$r" verify
  claim "a changed bit in $(dirname "$what/x" | cut -d/ -f1) is noticed" $?
  flip "$r/$what" 100
done
for what in $(cd "$r" && ls -d packs/d/*/* | head -1; cd "$r" && ls -d packs/m/*/* | head -1); do
  flip "$r/$what" 300
  ! reads "$r" check
  claim "a changed bit in $(echo "$what" | cut -d/ -f1,2) is noticed" $?
  flip "$r/$what" 300
done
mv "$r/log/0000000000000003" "$work/entry"
refuses 'missing below others' "$r" verify
claim 'a gap in the log is noticed' $?
mv "$work/entry" "$r/log/0000000000000003"
reads "$r" verify
claim 'and all is well again' $?

# ---- write-ahead log ----
"$python" -c '
import random, sys
random.seed(7)
open(sys.argv[1] + "/segment", "wb").write(b"".join(random.choice((b"text that repeats ", random.randbytes(40))) * 40 for _ in range(4000)))
open(sys.argv[1] + "/noise", "wb").write(random.randbytes(1500000))' "$work"
: >"$work/empty"
wal=wal/1/00000001/000000010000000000000001
run "$make_repo" wal "$work/a" 00000001/000000010000000000000001 "$work/segment"
claim 'a segment is stored' $?
PK_WRITER=1 run "$make_repo" wal "$work/a" 00000001/000000010000000000000002 "$work/noise" &&
  run "$make_repo" wal "$work/a" 00000002/empty "$work/empty" && run "$make_repo" wal "$work/a" 00000002/x "$work/noise"
claim 'and more of them, by a key that only writes, empty, and not registered' $?
reads "$r" wal && grep -qx '4 objects, 3 of them registered' "$work/out"
claim 'the reader checks all of them' $?
reads "$r" wal $wal && cmp -s "$work/out" "$work/segment"
claim 'and has the bytes' $?
flip "$r/$wal" 5000
refuses 'does not open' "$r" wal $wal
claim 'a changed bit in wal is noticed' $?
flip "$r/$wal" 5000
cp "$r/$wal" "$r/wal/1/00000001/000000010000000000000003"
refuses 'does not open' "$r" wal wal/1/00000001/000000010000000000000003
claim 'and an object under another name' $?
echo "1..$n"
