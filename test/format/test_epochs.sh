#!/bin/sh
# The independent reader and a repository of several epochs: TAP. $1 is make_repo, $2 this folder.
set -u
make_repo=$1 here=$2
export PYTHONDONTWRITEBYTECODE=1
work=$(mktemp -d "${TMPDIR:-/tmp}/pk-epochs-XXXXXX") || exit 1
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
reads() { run "$python" "$here/reader.py" --key "$work/a/$key" "$@"; }
put() { # put KEY SURFACE SET GENERATION: a snapshot; what a reader must find is added to `expected`
  PK_KEY=$1 "$make_repo" put "$work/a" "$2" "$3" "$4" >>"$work/expected" 2>"$work/errors"
}
r=$work/a/repo key=key
: >"$work/expected"
cat >"$work/epochs.py" <<'PYTHON'
"""Which epochs the packs of a repository have, as a sorted list, and the epoch of each live run."""
import sys
sys.path.insert(0, sys.argv[1])
import objects
repo = objects.Repository(sys.argv[2] + "/a/repo", sys.argv[2] + "/a/key")
epoch = lambda h: int.from_bytes(h[12:14], "little")
packs = [epoch(repo.pack(d, meta).header) for d, meta in repo.all_packs()]
runs = [epoch(repo.read(f"index/{d.hex()}")) for d in repo.state.runs]
old = {m for d, meta in repo.all_packs() for f in repo.pack(d, meta).frames for m, _ in f.members if epoch(repo.pack(d, meta).header) == 0}
across = sum(f.base in old for d, meta in repo.all_packs() for f in repo.pack(d, meta).frames
             if f.codec == 2 and epoch(repo.pack(d, meta).header) > 0)
print(sorted(set(packs)), sorted(set(runs)), len(packs), "across" if across else "")
PYTHON

run "$make_repo" init "$work/a" && run "$make_repo" keys "$work/a"
claim 'a repository is made, with a host that only writes' $?
put writer.key log log 1 && put key mixed mixed 1 && put key mixed mixed 2
claim 'snapshots are stored by it and by the administrator' $?
run "$make_repo" epoch "$work/a" restore.key restore && grep -q 'epoch 1, 1 boxes' "$work/out"
claim 'an epoch begins, and a key that reads is added in it' $?
put writer.key log log 2 && put key mixed mixed 3
claim 'both go on by themselves' $?
run "$make_repo" epoch "$work/a" new.key writer && grep -q 'epoch 2, 1 boxes' "$work/out"
claim 'another begins, and a host is added' $?
put new.key tree tree 1 && put writer.key log log 1
claim 'which stores as well' $?
reads "$r" verify && ! grep -q void "$work/out"
claim 'no entry of the log is void' $?
run "$python" "$work/epochs.py" "$here" "$work" && grep -q '^\[0, 1, 2\] \[0, 1, 2\]' "$work/out"
claim 'packs and runs say of which epoch they are' $?
grep -q across "$work/out"
claim 'among them a delta whose base is of an older epoch' $?
for key in key restore.key identity.key; do
  reads "$r" digests
  diff "$work/expected" "$work/out" >"$work/errors" 2>&1
  claim "$key reads the items of all epochs" $?
  reads "$r" check
  claim "$key finds every chunk to have the id that its epoch gives it" $?
done
key=restore.key
reads --from-packs "$r" digests
diff "$work/expected" "$work/out" >"$work/errors" 2>&1
claim 'the same from the directories of packs alone' $?
for key in writer.key new.key; do
  reads "$r" verify
  claim "$key finds its keys of the newest epoch" $?
done

# ---- collecting and reindexing what has several epochs
run "$make_repo" forget "$work/a" 4 && run "$make_repo" collect "$work/a" 0.97 && grep -q 'rewrote [1-9]' "$work/out"
claim 'packs are rewritten' $?
sed -i '/^snapshot 4 /d; /^item 4 /d' "$work/expected"
key=restore.key
reads "$r" check && reads "$r" digests
diff "$work/expected" "$work/out" >"$work/errors" 2>&1
claim 'what lives is whole, each chunk under the id of its epoch' $?
run "$python" "$work/epochs.py" "$here" "$work" && grep -q '^\[0, 1, 2\] ' "$work/out"
claim 'a rewritten pack keeps the epoch of its chunks' $?
run "$make_repo" reindex "$work/a" && reads "$r" check && reads "$r" digests
diff "$work/expected" "$work/out" >"$work/errors" 2>&1
claim 'the rebuilt index serves all epochs' $?
run "$python" "$work/epochs.py" "$here" "$work" && grep -q '\[2\] [0-9]' "$work/out"
claim 'and is sealed with the newest key alone' $?
put writer.key log log 2
claim 'a host goes on after all of it' $?

# ---- what an old program wrote
for key in key identity.key; do
  run "$python" "$here/reader.py" --key "$here/../golden/v2/$key" "$here/../golden/v2/repo" digests
  diff "$here/../golden/v2/expected" "$work/out" >"$work/errors" 2>&1
  claim "golden/v2 is read with its $key" $?
done
run "$python" "$here/reader.py" --key "$here/../golden/v2/key" "$here/../golden/v2/repo" check
claim 'and is whole' $?
echo "1..$n"
