#!/bin/bash
# The mount from outside: what it shows is judged by diff, find, stat, sha256sum, getfattr and the kernel's own words.
. "${SOURCE_ROOT:?the project}/test/e2e/lib/tap.sh"
. "$SOURCE_ROOT/tools/demo/tree.sh"
. "$SOURCE_ROOT/tools/demo/cluster.sh"
. "$SOURCE_ROOT/test/e2e/lib/redis.sh"
if ! [ -e /dev/fuse ] || ! : 2>/dev/null <>/dev/fuse || ! command -v fusermount3 >/dev/null; then
  echo '1..0 # skip /dev/fuse or fusermount3 is not there'
  exit 0
fi
C=$T/pg M=$T/mnt server=
ended() {
  [ -z "$server" ] || kill -KILL "$server" 2>/dev/null
  mountpoint -q "$M" && fusermount3 -u -z "$M"
  umount "$T/ro" 2>/dev/null
  [ -z "$PG_BIN" ] || cluster_stop "$C"
  redis_stop "$T/redis"
}
trap ended EXIT
# mounts ARGUMENT...: a mount of $M in the background, waited for; its streams are in $T/mount.out and $T/mount.err
mounts() {
  tap_last="proofkeep mount $*"
  "$P" mount "$M" "$@" >"$T/mount.out" 2>"$T/mount.err" </dev/null &
  server=$!
  await 120 eval 'mountpoint -q "$M" || ! kill -0 $server 2>/dev/null' && mountpoint -q "$M"
}
# gone: the mount's process has ended by itself, with this status, and the folder is as it was
gone() {
  local status
  wait "$server"
  status=$?
  server=
  [ $status = "$1" ] && ! mountpoint -q "$M" && [ -z "$(ls -A "$M")" ] && ! grep -q " $M " /proc/self/mounts
}
mkdir "$M" tree
tree_make tree
# So many pieces that their references are kept in lists: 7,000 times 4 KiB of data and 12 KiB of nothing.
python3 - tree/processed/pieces.img <<'PY'
import os, random, sys
dice, fd = random.Random(5), os.open(sys.argv[1], os.O_WRONLY | os.O_CREAT)
for i in range(7000):
    os.pwrite(fd, dice.randbytes(4096), i * 16384)
os.ftruncate(fd, 7000 * 16384)
PY
here=${T#/}/tree
repository() { set -- "$@" -r "$T/repo" --key-file "$T/key"; pk "$@"; }
pk init --repository "$T/repo" --key-file "$T/key" && repository backup --files "$T/tree" --name tree
claim 'a tree with odd names is backed up'
point_of() { "$P" list "$1" -r "$T/repo" --key-file "$T/key" --json | python3 -c 'import json, sys; print(json.load(sys.stdin)["points"][-1]["id"])'; }
oldest=$(point_of local/tree)
cp -a tree before
seq 1 5000 >tree/added && rm tree/catalog/sheet-5.json
repository backup --files "$T/tree" --name tree
claim 'and again'
newest=$(point_of local/tree)

# ---- what is refused
fails 1 PK-MNT-001 mount "$T/nowhere" -r "$T/repo" --key-file "$T/key" && says nowhere
claim 'a folder that is not there is refused'
fails 1 PK-MNT-001 mount "$T/tree" -r "$T/repo" --key-file "$T/key" && says 'not empty'
claim 'a folder that is not empty is refused'
pk key add --role writer --key-file-out "$T/writer" -r "$T/repo" --key-file "$T/key" && ! pk mount "$M" -r "$T/repo" --key-file "$T/writer" && says PK-KEY-002
claim 'a key that cannot read is refused'

# ---- what is there
mounts -r "$T/repo" --key-file "$T/key"
claim 'it is mounted'
seq=$(readings -r "$T/repo" --key-file "$T/key")
repository ledger show "$seq" --json && python3 - "$T/out" "$M" "$seq" <<'PY'
import json, socket, sys
entry, = json.load(open(sys.argv[1]))["entries"]
p = entry["statement"]["predicate"]
want = {"verb": "mount", "status": "begun", "target": sys.argv[2], "points": 2, "log_size": int(sys.argv[3]), "allow_other": False}
assert {k: p.get(k) for k in want} == want and p["principal"].endswith("@" + socket.gethostname()[:60]), p
assert set(p) == {*want, "started_at", "principal", "ledger"} and not entry.get("void"), p
PY
claim 'which is an entry of the log: what may be read, where, since when and by whom'
S=$M/local/tree
[ "$(ls "$M")" = local ] && [ "$(ls "$M/local")" = tree ] && [ "$(ls "$S" | grep -c '^bkp-')" = 2 ]
claim 'environments, surfaces and points are folders'
[ "$(readlink "$S/latest")" = "$newest" ]
claim 'latest leads to the newest point'
first=$S/$oldest
tap_last='diff'
diff -r --no-dereference -x pipe tree "$S/latest/$here" >out 2>err
claim 'diff finds the newest point equal to the tree'
diff -r --no-dereference -x pipe before "$first/$here" >out 2>err
claim 'and the older one to what the tree was'
tree_facts tree facts.tree && tree_facts "$S/latest/$here" facts.mount && diff -r facts.tree facts.mount >out 2>err
claim 'names, types, modes, owners, times, links, digests, attributes, ACLs and sparse blocks are the same'
[ -p "$S/latest/$here/catalog/pipe" ]
claim 'a pipe is a pipe'
[ "$(stat -c '%a %F' "$S/latest/${here%%/*}")" = '755 directory' ]
claim 'folders above the roots are there'
[ "$(stat -c %i "$S/latest/$here/processed/points.csv")" = "$(stat -c %i "$S/latest/$here/catalog/points (the same file).csv")" ]
claim 'hard links have one inode'
! [ -e "$S/latest/$here/nothing" ] && ! [ -e "$S/latest/$here/added/x" ] && ! [ -e "$S/bkp-none" ] && ! [ -e "$M/x" ]
claim 'what is not there is not there'
# A listing that is read piece by piece, and names whose neighbours begin alike.
[ "$(find "$S/latest/$here/raw/scans" -type f | wc -l)" = 3072 ]
claim 'a folder of thousands is listed whole'

# ---- reading
sum() { sha256sum | cut -c 1-64; }
part() { dd if="$1" bs=1 skip="$2" count="$3" iflag=skip_bytes,count_bytes status=none bs=64K | sum; }
same=yes
size=$(stat -c %s tree/processed/model.bin)
for i in {1..60}; do
  at=$(((RANDOM * 32768 + RANDOM) % size)) n=$((RANDOM * 7 + 1))
  [ "$(part tree/processed/model.bin $at $n)" = "$(part "$first/$here/processed/model.bin" $at $n)" ] || same="no: $n bytes at $at"
done
[ "$same" = yes ] || echo "# $same"
[ "$same" = yes ]
claim 'parts read at any place are the same'
for i in 0 100 255; do [ "$(part tree/processed/sparse.img $((i * 1048576 + 65000)) 70000)" = "$(part "$first/$here/processed/sparse.img" $((i * 1048576 + 65000)) 70000)" ] || same=no; done
for i in {1..40}; do
  at=$(((RANDOM * 32768 + RANDOM) % 114688000))
  [ "$(part tree/processed/pieces.img $at 30000)" = "$(part "$first/$here/processed/pieces.img" $at 30000)" ] || same=no
done
[ "$same" = yes ]
claim 'so are those across the edges of holes'
python3 - tree/processed/pieces.img "$first/$here/processed/pieces.img" >out 2>err <<'PY'
import errno, os, sys
def extents(path):
    fd, at, found = os.open(path, os.O_RDONLY), 0, []
    while True:
        try:
            data = os.lseek(fd, at, os.SEEK_DATA)
        except OSError as e:
            assert e.errno == errno.ENXIO, e
            return found
        at = os.lseek(fd, data, os.SEEK_HOLE)
        found.append((data, at))
here, there = extents(sys.argv[1]), extents(sys.argv[2])
print(len(here), len(there))
assert len(here) == 7000 and here == there
PY
claim 'data and holes are found where they are'
cp --sparse=auto "$S/latest/$here/processed/sparse.img" copy.img && cmp copy.img tree/processed/sparse.img && [ "$(stat -c %b copy.img)" -lt 4096 ]
claim 'a copy of a sparse file stays sparse'
for i in 1 2 3; do (cat "$first/$here/processed/model.bin" "$S/latest/$here/processed/points.csv" | sum >"sum.$i") & readers="${readers:-} $!"; done
# shellcheck disable=SC2086
wait $readers
want=$(cat tree/processed/model.bin tree/processed/points.csv | sum)
[ "$(cat sum.1)" = "$want" ] && [ "$(cat sum.2)" = "$want" ] && [ "$(cat sum.3)" = "$want" ]
claim 'several readers at once read the same'

# ---- writing
refused() { ! "$@" 2>"$T/err" && grep -q 'Read-only file system' "$T/err"; }
refused touch "$S/latest/$here/new" && refused rm "$S/latest/$here/added" && refused mkdir "$M/x" && refused mv "$S/latest" "$S/other" &&
  refused sh -c ": >>'$S/latest/$here/added'" && refused setfattr -n user.x -v y "$S/latest/$here/added"
claim 'writing answers EROFS'

# ---- what comes and goes
rm -r tree/raw
repository backup --files "$T/tree" --name tree
await 60 eval '[ "$(ls "$S" | grep -c "^bkp-")" = 3 ]' && ! [ -e "$S/latest/$here/raw" ] && [ -e "$S/latest/$here/processed" ]
claim 'a new point shows up while it is mounted'
! [ -s "$T/mount.out" ] && [ "$(grep -c . "$T/mount.err")" -le 1 ]
claim 'nothing was there to warn of'
kill -TERM "$server"
gone 0
claim 'SIGTERM unmounts, and is a success'
[ "$(readings -r "$T/repo" --key-file "$T/key")" = "$seq" ]
claim 'one entry is all that the log has of it'
mkdir ro
if mount --bind "$T/repo" "$T/ro" 2>/dev/null && mount -o remount,ro,bind "$T/ro" 2>/dev/null; then
  mounts -r "$T/ro" --key-file "$T/key" && [ -e "$S/latest/$here/processed" ] && grep -q 'the mount is not recorded in the log: ' "$T/mount.err" && kill -TERM "$server" && gone 0
  claim 'where the log cannot be written, that is said, and the points are shown'
else
  skip 'where the log cannot be written, that is said, and the points are shown' 'mounting is not permitted here'
fi
umount "$T/ro" 2>/dev/null

# ---- more points than are kept open, all being read at once
for i in {1..8}; do
  echo "take $i" >tree/added
  repository backup --files "$T/tree/added" --files "$T/tree/processed/model.bin" --name many || break
done
mounts -r "$T/repo" --key-file "$T/key"
claim 'eight more points are mounted'
python3 - "$M/local/many" "${here#/}" >out 2>err <<'PY'
import hashlib, os, sys
root, here = sys.argv[1:]
points = [p for p in os.listdir(root) if p != "latest"]
assert len(points) == 8, points
files = [open(f"{root}/{p}/{here}/processed/model.bin", "rb", buffering=0) for p in points]
sums = [hashlib.sha256() for _ in files]
while any([s.update(b) or len(b) for f, s in zip(files, sums) for b in [f.read(300000)]]):
    pass
assert len({s.digest() for s in sums}) == 1
takes = sorted(open(f"{root}/{p}/{here}/added").read() for p in points)
assert takes == [f"take {i}\n" for i in range(1, 9)], takes
print(sums[0].hexdigest())
PY
grep -q "$(sum <tree/processed/model.bin)" out
claim 'files of all of them are read piece by piece, in turns'
[ "$(awk '/VmHWM/ { print $2 }' "/proc/$server/status")" -lt 262144 ] || [ -n "${ASAN_OPTIONS:-}${TSAN_OPTIONS:-}" ]
claim 'in less than 256 MiB of memory'
kill -TERM "$server"
gone 0
claim 'and unmounted'

# ---- points that are forgotten and collected meanwhile
cat >prune.yaml <<YAML
version: 1
platform: test
defaults:
  retention: { keep: { last: 2 }, min_copies: 2 }
secrets:
  k: { file: $T/key3 }
repositories:
  main: { url: $T/pruned, encrypt: { key: k, kind: key_file } }
surfaces:
  one: { kind: files, class: truth, paths: [$T/one] }
environments:
  lab: { repository: main, policy: { rpo: 24h, rto: 1h, verify: checksum } }
YAML
mkdir one && pk init --config prune.yaml --repository main
for i in 1 2 3 4; do
  { head -c 2000000 /dev/urandom; } >"one/mixed-$i"
  cat one/mixed-* >one/all
  [ $i = 4 ] || rm one/mixed-$i
  pk backup --config prune.yaml lab/one
done
pk verify --config prune.yaml --all --level checksum && mounts --config prune.yaml && ls -R "$M" >/dev/null && sleep 2
L=$M/lab/one/latest/${T#/}/one
exec 6<"$L/all" && head -c 100000 <&6 >head && pk prune --config prune.yaml lab --grace 1s --json && [ "$(result freed_bytes)" -gt 0 ]
claim 'a prune frees space under a mount'
{ cat head - <&6; } | cmp - one/all && [ "$(sum <"$L/mixed-4")" = "$(sum <one/mixed-4)" ] && await 60 eval '[ "$(ls "$M/lab/one" | grep -c "^bkp-")" = 2 ]' &&
  cat "$M/lab/one"/bkp-*/"${T#/}"/one/* >copy && ! grep -q PK- "$T/mount.err"
claim 'what is forgotten goes, what stays is read'
exec 6<&-
kill -TERM "$server"
gone 0
claim 'and unmounted again'

# ---- other users
if [ "$(id -u)" = 0 ] && chmod 755 "$T" "$T/tree" && runuser -u nobody -- test -d "$T/tree"; then
  other() { runuser -u nobody -- "$@" >"$T/out" 2>"$T/err"; }
  F=$S/latest/$here/processed/model.bin G=$S/latest/$here/catalog/sheet-1.json
  mounts -r "$T/repo" --key-file "$T/key" && ! other cat "$F" && says 'Permission denied' && kill -TERM "$server" && gone 0
  claim 'others cannot look in'
  chmod 755 tree/processed && repository backup --files "$T/tree" --name tree && mounts -r "$T/repo" --key-file "$T/key" --allow-other &&
    other cat "$F" && cmp "$T/out" tree/processed/model.bin && ! other cat "$G" && says 'Permission denied' && kill -TERM "$server" && gone 0
  claim 'with --allow-other they can, as far as modes allow'
else
  skip 'other users' 'only root can be another user'
fi
if unshare -m sh -c 'mount -t tmpfs none /dev' 2>/dev/null; then
  unshare -m sh -c 'mount -t tmpfs none /dev && exec "$@"' sh "$P" mount "$M" -r "$T/repo" --key-file "$T/key" >"$T/out" 2>"$T/err"
  [ $? = 1 ] && says 'PK-MNT-001' && says 'modprobe fuse' && says '--device /dev/fuse'
  claim 'without /dev/fuse it says what to do'
else
  skip 'without /dev/fuse' 'no mount namespace can be made'
fi

# ---- ends
mounts -r "$T/repo" --key-file "$T/key" --json && fusermount3 -u "$M" && gone 0 && tail -n 1 "$T/mount.out" | grep -q '"exit":0.*"type":"result"' && grep -q '"type":"mounted"' "$T/mount.out"
claim 'fusermount3 -u ends it, with a result'
mounts -r "$T/repo" --key-file "$T/key" && exec 5<"$S/latest/$here/processed/model.bin" && kill -INT "$server" && gone 0
claim 'an interrupt ends it, also while a file is open'
exec 5<&-
mounts -r "$T/repo" --key-file "$T/key" && kill -KILL "$server"
wait "$server" 2>/dev/null
server=
fails 1 PK-MNT-001 mount "$M" -r "$T/repo" --key-file "$T/key" && says "fusermount3 -u $M"
claim 'what a killed one leaves is named, with its cure'
fusermount3 -u "$M" && ! mountpoint -q "$M" && mounts -r "$T/repo" --key-file "$T/key" && kill -TERM "$server" && gone 0
claim 'and cured by it'

# ---- damage: of the first frame of a pack, which is the large file's; the small one goes with its end
mkdir hurt && head -c 3000000 /dev/urandom >hurt/file && echo whole >hurt/other
pk init --repository "$T/broken" --key-file "$T/key2" && pk backup -r "$T/broken" --key-file "$T/key2" --files "$T/hurt" --name hurt
pack=$(find broken -type f -size +1M | head -n 1)
chmod u+w "$pack" && printf 'damage' | dd of="$pack" bs=1 seek=700000 conv=notrunc status=none
pk verify --all --level decode -r "$T/broken" --key-file "$T/key2"
mounts -r "$T/broken" --key-file "$T/key2"
ls "$M/local/hurt" | grep -q '\.damaged$' && [ "$(cat "$M/local/hurt/latest/${T#/}/hurt/other")" = whole ] &&
  ! cat "$M/local/hurt/latest/${T#/}/hurt/file" >copy 2>err && grep -q 'Input/output error' err && cmp -n "$(stat -c %s copy)" copy hurt/file &&
  grep -q 'PK-REP-005' "$T/mount.err"
claim 'damage answers EIO and a warning, never other bytes; the point says so, and what is whole is read'
kill -TERM "$server"
gone 0
claim 'and that ends like any other'

# ---- databases
if [ -z "$PG_BIN" ]; then
  skip 'a point of databases' 'no PostgreSQL server is installed'
else
  cluster_start "$C" || exit 1
  cluster_psql "$C" -c 'CREATE DATABASE shop'
  cluster_psql "$C" -d shop -c "CREATE TABLE a AS SELECT i AS id, md5(i::text) AS t FROM generate_series(1, 50000) i" -c 'CREATE TABLE b AS SELECT 1 AS one'
  cat >pg.yaml <<YAML
$(config_head)
surfaces:
  pg:
    kind: postgres
    class: runtime
    connect: { host: $C/socket, user: postgres }
    databases: [shop]
$([ "$(id -u)" != 0 ] || echo '    run_as: postgres')
environments:
  lab: { repository: main }
YAML
  pk --config pg.yaml backup lab/pg && pk --config pg.yaml export lab/pg@latest --to "$T/export" && mounts --config pg.yaml
  claim 'a database is backed up, exported and mounted'
  D=$M/lab/pg/latest
  pk --config pg.yaml show lab/pg@latest globals/roles.sql --json && grep -q "$(sum <"$D/globals/roles.sql")" "$T/out" && grep -q 'CREATE ROLE postgres' "$D/globals/roles.sql"
  claim 'roles are a file, and what their digest says'
  (cd "$D/db/shop/data" && sha256sum -- * | cut -c 1-64 | sort) >of.mount
  (cd export/data/db/shop && sha256sum -- *.dat | grep -v ' toc.dat$' | cut -c 1-64 | sort) >of.export
  [ -s of.mount ] && cmp of.mount of.export
  claim 'the data of each table is the file that an export has'
  [ "$(stat -c %a "$D/db/shop/contents")" = 400 ]
  claim 'which is for nobody else to read'
  kill -TERM "$server"
  gone 0
  claim 'and that is unmounted'
fi
if [ -z "$REDIS_SERVER" ] || [ -z "$REDIS_CLI" ]; then
  skip 'a point of keys' 'no Redis server is installed'
else
  redis_start "$T/redis" && redis_in "$T/redis" eval 'for i = 1, 5000 do redis.call("set", "k:" .. i, redis.sha1hex(i)) end' 0 >/dev/null && redis_in "$T/redis" -n 3 set x y >/dev/null
  printf '%s\n' "$(config_head)" "surfaces: { cache: { kind: redis, class: runtime, server: { host: $T/redis/s } } }" 'environments: { lab: { repository: main } }' >redis.yaml
  pk --config redis.yaml backup lab/cache && mounts --config redis.yaml
  claim 'keys are backed up and mounted'
  pk --config redis.yaml show lab/cache@latest / --json && python3 - "$T/out" "$M/lab/cache/latest" <<'PY'
import hashlib, json, os, sys
items = {i["name"]: i["sha256"] for i in json.load(open(sys.argv[1]))["items"]}
files = {os.path.relpath(os.path.join(d, f), sys.argv[2]) for d, _, fs in os.walk(sys.argv[2] + "/") for f in fs}
assert files == set(items) and {"acl", "db/0/keys", "db/3/keys"} <= files, (files, items)
for name, want in items.items():
    assert hashlib.sha256(open(os.path.join(sys.argv[2], name), "rb").read()).hexdigest() == want, name
PY
  claim 'every item of theirs is a file, and what its digest says'
  kill -TERM "$server"
  gone 0
  claim 'and they are unmounted'
fi
finish
