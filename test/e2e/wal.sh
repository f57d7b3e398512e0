#!/bin/bash
# The write-ahead log from outside: a real server's archive_command and restore_command, with kills, clones and full disks between.
. "${SOURCE_ROOT:?the project}/test/e2e/lib/tap.sh"
. "$SOURCE_ROOT/test/e2e/lib/pg.sh"
[ -x "$PG_BIN/pgbench" ] || PG_BIN=
pg_needed
COPY=$T/copy
OTHER=$T/other
trap 'cluster_stop "$C"; cluster_stop "$COPY"; cluster_stop "$OTHER"; umount "$T/small" 2>/dev/null' EXIT
keeper "$C"
w() { kept "$@"; }
# w_fails STATUS CODE ARGUMENT...
w_fails() {
  local want=$1 code=$2 status
  shift 2
  w "$@"
  status=$?
  [ $status = "$want" ] || { echo "# exit status $status, not $want"; return 1; }
  grep -q "^error $code: " "$T/err"
}
config() { # FILE KEY REPOSITORY
  cat >"$K/$1" <<YAML
version: 1
platform: test
secrets:
  k: { file: $K/$2 }
repositories:
  main:
    url: $3
    encrypt: { key: k, kind: key_file }
surfaces:
  db: { kind: postgres, class: runtime, wal: { mode: archive } }
environments:
  prod: { repository: main }
YAML
}
config pk.yaml key "$K/repo"
config writer.yaml writer.key "$K/repo"
Y="--config $K/pk.yaml"
w init $Y --repository "$K/repo" --key-file "$K/key"
claim 'a repository of the server'\''s user is made'
w key add $Y --role writer --key-file-out "$K/writer.key" --label server
claim 'and a key that can add and not read'

archive="env HOME=$K TMPDIR=$K XDG_CACHE_HOME=$K/cache $K/proofkeep wal push prod/db %p --config $K/writer.yaml"
cluster_start "$C" 'archive_mode = on' "archive_command = '$archive'" 'wal_level = replica' 'full_page_writes = on' \
  'synchronous_commit = on' 'max_wal_senders = 4' 'max_wal_size = 64MB' 'min_wal_size = 64MB' || exit 1
printf 'local replication all trust\n' | cluster_as "$C" tee -a "$C/data/pg_hba.conf" >/dev/null
sql -c 'SELECT pg_reload_conf()' >/dev/null
archived() { sql -c "SELECT coalesce(max(last_archived_wal), '') FROM pg_stat_archiver"; }
# wait_archived SEGMENT: until the archiver has come so far
wait_archived() {
  came_to() { [ -f "$C/data/pg_wal/archive_status/$1.done" ] || [[ ! $(archived) < $1 ]]; }
  await 120 came_to "$1"
}
switch() { sql -c 'SELECT pg_walfile_name(pg_switch_wal())'; }

# ---- a base, load, kills ----
cluster_as "$C" "$PG_BIN/pgbench" -q -i -s 3 postgres >/dev/null 2>&1
mkdir -p "$COPY/socket"
[ "$(id -u)" = 0 ] && chown postgres "$COPY" "$COPY/socket"
cluster_as "$C" "$PG_BIN/pg_basebackup" -D "$COPY/data" -X none -c fast --no-sync >/dev/null 2>&1
claim 'a base is copied by pg_basebackup'
sql -c 'CREATE TABLE word (i int PRIMARY KEY, said text)'
load() { cluster_as "$C" "$PG_BIN/pgbench" -n -c 2 -T "$1" postgres >/dev/null 2>&1; }
load 6 &
# kill -9 of those that push, a few times
for i in $(seq 12); do
  sleep 0.4
  for pid in $(pgrep -f "^$K/proofkeep wal push" 2>/dev/null); do kill -9 "$pid" 2>/dev/null; done
done
wait $!
sql -c "INSERT INTO word VALUES (1, 'before the crash')"
load 4 &
sleep 2
pid=$(head -n 1 "$C/data/postmaster.pid")
kill -9 "$pid" $(ps -o pid= --ppid "$pid")
wait $!
await 60 eval '! kill -0 "$pid" 2>/dev/null'
cluster_start "$C" || exit 1
sql -c "INSERT INTO word VALUES (2, 'after the crash')"
load 3
last=$(switch)
wait_archived "$last"
claim 'under load, and with kill -9 of the server and of what pushes, everything is archived'
[ "$(sql -c "SELECT count(*) FROM pg_ls_dir('pg_wal/archive_status') d WHERE d LIKE '%.ready'")" = 0 ]
claim 'nothing is left to archive'
w wal verify prod/db --level decode $Y
claim 'no gap, and every object decodes'
grep -q 'read, 0 damaged' "$T/out"
claim 'and says so'
same=1 n=0
for f in "$C"/data/pg_wal/0???????????????????????; do
  [ -f "$C/data/pg_wal/archive_status/$(basename "$f").done" ] || continue
  rm -f "$K/got"
  w wal get prod/db "$(basename "$f")" "$K/got" $Y && cmp -s "$f" "$K/got" || same=0
  n=$((n + 1))
done
[ $same = 1 ] && [ $n -gt 0 ]
claim 'what comes back is what the server still has'

# ---- what must not be stored ----
seg=$last
next=$(printf '%s%08X' "${seg:0:16}" $((16#${seg:16} + 40)))
cluster_as "$C" mkdir -p "$K/in"
w wal get prod/db "$seg" "$K/in/$seg" $Y
w wal push prod/db "$K/in/$seg" $Y
claim 'the same file again is fine'
python3 - "$K/in/$seg" <<'PY'
import sys
with open(sys.argv[1], "r+b") as f:
    f.seek(9000)
    b = f.read(1)
    f.seek(9000)
    f.write(bytes([b[0] ^ 1]))
PY
w_fails 4 PK-WAL-001 wal push prod/db "$K/in/$seg" $Y && says 'with other bytes' && says 'what is there was not touched'
claim 'other bytes under its name are refused'
w wal get prod/db "$seg" "$K/got" $Y && ! cmp -s "$K/got" "$K/in/$seg"
claim 'and what was there is there'
cluster_as "$C" cp "$K/in/$seg" "$K/in/$next"
w_fails 4 PK-PG-013 wal push prod/db "$K/in/$next" $Y && says 'by its first page'
claim 'a recycled file is refused by its address'
python3 -c 'import sys; open(sys.argv[2], "wb").write(open(sys.argv[1], "rb").read()[:5000000])' "$K/in/$seg" "$K/in/short"
mv "$K/in/short" "$K/in/$seg"
w_fails 4 PK-PG-013 wal push prod/db "$K/in/$seg" $Y && says '5000000 bytes'
claim 'a truncated file is refused'
w_fails 2 PK-PG-012 wal push prod/db "$K/in/$seg.bak" $Y
claim 'and a name that is none'
w_fails 1 PK-WAL-002 wal get prod/db "$next" "$K/got" $Y
claim 'what is not there is absent: status 1'
w wal get prod/db "$seg" "$K/in/whole" $Y
python3 - "$K/in/whole" "$K/in/$next.partial" "$next" <<'PY'
import struct, sys
b = bytearray(open(sys.argv[1], "rb").read())
name = sys.argv[3]
struct.pack_into("<Q", b, 8, (int(name[8:16], 16) << 32) + int(name[16:], 16) * (16 << 20))
open(sys.argv[2], "wb").write(b)
PY
w wal push prod/db "$K/in/$next.partial" $Y && w_fails 1 PK-WAL-002 wal get prod/db "$next" "$K/got" $Y
claim 'a .partial file never satisfies its segment'
cluster_start "$OTHER" 'wal_level = replica' || exit 1
cluster_psql "$OTHER" -c 'SELECT pg_switch_wal()' >/dev/null
w_fails 4 PK-PG-013 wal push prod/db "$OTHER/data/pg_wal/000000010000000000000001" $Y && says 'system identifier'
claim 'WAL of another cluster is refused'
cluster_stop "$OTHER"

# ---- keys, marks ----
w_fails 200 PK-KEY-002 wal get prod/db "$seg" "$K/got" --config "$K/writer.yaml"
claim 'the writer'\''s key gets nothing back, which is not the same as absent'
w wal list prod/db $Y --json && python3 - "$T/out" <<'PY'
import json, sys
v = json.load(open(sys.argv[1]))
assert v["registered"] >= 1 and v["objects"] > 5 and not v["gaps"], v
assert [r["timeline"] for r in v["ranges"]] == [1], v
PY
claim 'the list has one range, and batches are in the log'
cluster_as "$C" mkdir -p "$K/ahead/pg_wal/archive_status"
w wal get prod/db "$seg" "$K/ahead/pg_wal/$seg" $Y
prev=$(printf '%s%08X' "${seg:0:16}" $((16#${seg:16} - 1)))
w wal get prod/db "$prev" "$K/ahead/pg_wal/$prev" $Y
touch "$K/ahead/pg_wal/archive_status/$seg.ready" "$K/ahead/pg_wal/archive_status/$prev.ready"
w wal push prod/db "$K/ahead/pg_wal/$prev" $Y -v && ls "$K"/cache/proofkeep/wal/*/ok | grep -q "$seg"
claim 'what is ready next is stored too, and marked'
w init --config "$K/none.yaml" --repository "$K/other" --key-file "$K/other.key"
mv "$K/repo" "$K/away" && mv "$K/other" "$K/repo"
w_fails 12 PK-KEY-001 wal push prod/db "$K/ahead/pg_wal/$seg" $Y
claim 'a mark is not believed of another repository in the same place'
mv "$K/repo" "$K/other" && mv "$K/away" "$K/repo" && mv "$K/repo/log" "$K/log"
w wal push prod/db "$K/ahead/pg_wal/$seg" $Y -v && says 'stored by an earlier run'
claim 'whose turn then needs no more of the repository than to see which it is'
mv "$K/log" "$K/repo/log" && mv "$K/repo" "$K/away"
w_fails 10 PK-REP-001 wal push prod/db "$K/ahead/pg_wal/$seg" $Y
claim 'and only once; a repository that is not there is a failure'
w_fails 200 PK-REP-001 wal get prod/db "$next" "$K/got" $Y
claim 'for recovery it is one that cannot be told'
w wal gett prod/db "$next" "$K/got" $Y
[ $? = 2 ]
claim 'a word that is wrong is wrong'
w wal get prod/db "$next" $Y
[ $? = 200 ]
claim 'a restore_command that is wrong does not end recovery'
mv "$K/away" "$K/repo"
w wal push prod/db "$K/ahead/pg_wal/$prev" $Y && sleep 0.01 && touch "$K/ahead/pg_wal/$seg" &&
  python3 -c 'import sys; f = open(sys.argv[1], "r+b"); f.seek(9000); f.write(b"!")' "$K/ahead/pg_wal/$seg" &&
  w_fails 4 PK-WAL-001 wal push prod/db "$K/ahead/pg_wal/$seg" $Y
claim 'a mark is not believed of a file that was written to since'

# ---- recovery by the stock server ----
restore="env HOME=$K TMPDIR=$K XDG_CACHE_HOME=$K/cache $K/proofkeep wal get prod/db %f %p --config $K/pk.yaml"
{
  printf '%s\n' "unix_socket_directories = '$COPY/socket'" 'archive_mode = off' "restore_command = '$restore'" \
    'recovery_target_timeline = latest' 'recovery_target_action = promote'
} | cluster_as "$COPY" tee -a "$COPY/data/postgresql.conf" >/dev/null
cluster_as "$COPY" touch "$COPY/data/recovery.signal"
mv "$K/repo/wal" "$K/wal-hidden" && mv "$K/repo/format" "$K/format-hidden"
cluster_start "$COPY" >/dev/null 2>&1
[ $? != 0 ] && ! grep -q 'archive recovery complete' "$COPY/server.log"
claim 'recovery with the repository out of order stops, and does not end early'
grep -a 'could not restore file' "$COPY/server.log" | tail -n 1 | grep -q 'exit code 200'
claim 'by what wal get ended with'
mv "$K/wal-hidden" "$K/repo/wal" && mv "$K/format-hidden" "$K/repo/format"
cluster_start "$COPY"
claim 'the same copy recovers once the repository is back'
await 120 cluster_leads "$COPY"
facts='SELECT (SELECT count(*) FROM pgbench_history), (SELECT sum(abalance) FROM pgbench_accounts), (SELECT string_agg(said, $$,$$ ORDER BY i) FROM word)'
a=$(sql -c "$facts") b=$(cluster_psql "$COPY" -c "$facts")
echo "# $a / $b"
[ -n "$a" ] && [ "$a" = "$b" ]
claim 'it holds all that was committed before the last switch'
[ -z "$(ls "$COPY"/data/pg_wal/*.proofkeep-* 2>/dev/null)" ]
claim 'and no temporary file is left beside its WAL'
cluster_stop "$COPY"

# ---- a new timeline: history files, promotion ----
history=$(ls "$COPY/data/pg_wal/00000002.history")
w wal push prod/db "$history" $Y
claim 'a history file is stored, by the cluster of the segments beside it'
for f in "$COPY"/data/pg_wal/00000002????????????????; do w wal push prod/db "$f" $Y || break; done
w wal verify prod/db $Y && grep -q '^ *2 ' "$T/out"
claim 'the new timeline joins the old one'
stored=$(find "$K"/repo/wal/*/00000001 -type f ! -name '*.*' | sort | sed -n 2p) first=$(basename "$stored")
mv "$stored" "$K/$first"
w_fails 4 PK-VER-001 wal verify prod/db $Y && grep -q 'Missing on timeline 1' "$T/out"
claim 'a segment that is missing is a gap'
mv "$K/$first" "$stored" && flip "$stored" 5000
w_fails 4 PK-VER-001 wal verify prod/db --level decode $Y && says "$first is damaged"
claim 'and a damaged one is found'

w_fails 4 PK-VER-001 scrub $Y && grep -q "corrupt .*/$first" "$T/out"
claim 'also by a host that has no key'

# ---- full ----
mkdir -p "$T/small"
if [ "$(id -u)" = 0 ] && mount -t tmpfs -o size=8m,mode=0755 none "$T/small" 2>/dev/null; then
  chown postgres "$T/small"
  config full.yaml full.key "$T/small/repo"
  w init --config "$K/full.yaml" --repository "$T/small/repo" --key-file "$K/full.key"
  dd if=/dev/zero of="$T/small/ballast" bs=64k status=none 2>/dev/null
  truncate -s -65536 "$T/small/ballast"
  w_fails 1 PK-IO-003 wal push prod/db "$C/data/pg_wal/$(ls "$C"/data/pg_wal | grep '^0.*[0-9A-F]$' | head -n 1)" --config "$K/full.yaml"
  claim 'a full repository refuses with status 1, and the server keeps the file'
  rm "$T/small/ballast"
else
  skip 'a full repository refuses' 'no tmpfs can be mounted'
fi
finish
