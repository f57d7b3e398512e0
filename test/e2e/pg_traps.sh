#!/bin/bash
# Traps of archiving, with real servers: the disk under pg_wal fills, a test copy is promoted while it has the archive command of the
# server that it was copied from, a clone of a data folder archives beside its original, WAL of wal_level minimal lies between. (Recycled, truncated and other clusters'
# segments: wal.sh. A slot that is invalidated: wal_receive.sh. Pages that rot: physical.sh.)
. "${SOURCE_ROOT:?the project}/test/e2e/lib/tap.sh"
. "$SOURCE_ROOT/test/e2e/lib/pg.sh"
pg_needed
N=$T/copy L=$T/clone K=$T/keeper
trap 'for c in "$C" "$N" "$L"; do cluster_stop "$c" >/dev/null 2>&1; done; umount "$T/small" 2>/dev/null' EXIT
export HOME=$K TMPDIR=$K XDG_CACHE_HOME=$K/cache
keeper "$C" "$C/socket" "$N" "$L" "$T/small"
w() { kept "$@" --config "$K/pk.yaml"; }
stored() { [ -n "$(find "$K/repo/wal" -name "$1" 2>/dev/null)" ]; }
archived() { await 60 stored "$1"; } # SEGMENT: it is in the repository
cat >"$K/pk.yaml" <<YAML
version: 1
platform: test
secrets:
  k: { file: $K/key }
repositories:
  main: { url: $K/repo, encrypt: { key: k, kind: key_file } }
surfaces:
  pg: { kind: postgres, class: truth, method: physical, through: host, connect: { host: $C/socket, user: postgres }, wal: { mode: archive } }
environments:
  lab: { repository: main }
YAML
w init --repository "$K/repo" --key-file "$K/key" || exit 1
small=
if as_root && mount -t tmpfs -o size=20m,mode=0700 none "$T/small" 2>/dev/null; then
  small=$T/small
  chown postgres "$small" && cluster_as "$C" mkdir "$small/wal"
fi
cluster_as "$C" "$PG_BIN/initdb" -D "$C/data" -U postgres -A trust -E UTF8 --locale=C.UTF-8 --wal-segsize=1 --no-sync ${small:+-X "$small/wal"} >out 2>&1 || exit 1
printf '%s\n' "listen_addresses = ''" "unix_socket_directories = '$C/socket'" 'autovacuum = off' 'timezone = UTC' 'archive_mode = on' 'max_prepared_transactions = 2' \
  "archive_command = '$K/proofkeep wal push lab/pg %p --config $K/pk.yaml'" 'max_wal_size = 8MB' 'min_wal_size = 2MB' 'wal_buffers = 256kB' \
  'hot_standby = off' "recovery_target_xid = '3'" "recovery_target_timeline = '7'" 'recovery_target_inclusive = off' "recovery_min_apply_delay = '7d'" \
  "recovery_end_command = 'touch $C/end-command'" "archive_cleanup_command = 'touch $C/cleanup-command'" |
  cluster_as "$C" tee -a "$C/data/postgresql.conf" >/dev/null
cluster_start "$C" || exit 1
sql -c 'CREATE TABLE said (i int PRIMARY KEY, text text)' -c 'CREATE TABLE pending (i int)'
sql -c "SELECT pg_create_physical_replication_slot('follower')" -c "CREATE SUBSCRIPTION news CONNECTION 'host=$T/none' PUBLICATION p WITH (connect = false, slot_name = 'news')" -c 'ALTER SUBSCRIPTION news ENABLE' >/dev/null 2>&1
sql -c BEGIN -c 'INSERT INTO pending VALUES (1)' -c "PREPARE TRANSACTION 'half'"
w backup lab/pg
claim 'a server archives, and a base backup is taken'
w restore lab/pg --into "$N/data" --dry-run && grep -q 'warning .*replication slots are in no backup (follower)' out && grep -q 'warning .*subscriptions are in the backup, and enabled (news)' out && grep -q 'warning .*prepared transactions that had not ended when the backup began: 1;' out
claim 'what a copy has otherwise than its original is said: slots, subscriptions, prepared transactions'
sql -c 'ALTER SUBSCRIPTION news DISABLE' -c "SELECT pg_drop_replication_slot('follower')" >/dev/null

# ---- the disk under pg_wal fills ----
if [ -n "$small" ]; then
  mv "$K/repo" "$K/away"
  i=0
  while [ $i -lt 80 ] && sql -c "INSERT INTO said SELECT $i * 1000 + n, repeat(md5(n::text), 20) FROM generate_series(0, 999) n" >/dev/null 2>&1; do
    i=$((i + 1))
  done
  echo "# $i transactions were committed while nothing could be archived"
  await 60 eval "! sql -c 'SELECT 1' >/dev/null 2>&1"
  [ $i -gt 3 ] && [ $i -lt 80 ] && grep -aq 'PANIC.*No space left on device' "$C/server.log"
  claim 'the repository is out of reach, the disk under pg_wal fills, and the server goes down'
  mv "$K/away" "$K/repo"
  w backup lab/pg
  [ $? = 7 ] && says PK-PG-001
  claim 'no backup is taken of it'
  await 60 eval '! [ -f "$C/data/postmaster.pid" ] || ! kill -0 "$(head -n 1 "$C/data/postmaster.pid")" 2>/dev/null'
  mount -o remount,size=80m "$small" && rm -f "$C/data/postmaster.pid" && cluster_start "$C" && await 60 eval "sql -c 'SELECT 1' >/dev/null 2>&1" && # of a server without hot_standby, pg_ctl does not wait for the end of its recovery
    [ "$(sql -c 'SELECT count(*) FROM said')" = $((i * 1000)) ]
  claim 'with room it starts, and has every transaction that was committed'
  last=$(sql -c 'SELECT pg_walfile_name(pg_switch_wal())') && archived "$last" && w wal verify lab/pg --level decode && ! grep -q 'Missing' out
  claim 'all of its WAL is archived then, without a gap'
  rows=$((i * 1000))
else
  for what in 'the repository is out of reach, the disk under pg_wal fills, and the server goes down' 'no backup is taken of it' \
    'with room it starts, and has every transaction that was committed' 'all of its WAL is archived then, without a gap'; do skip "$what" 'no tmpfs can be mounted'; done
  sql -c "INSERT INTO said SELECT n, repeat(md5(n::text), 20) FROM generate_series(0, 2999) n"
  last=$(sql -c 'SELECT pg_walfile_name(pg_switch_wal())') && archived "$last"
  rows=3000
fi

# ---- a test copy that is promoted ----
w restore lab/pg --into "$N/data" --target latest && owned "$N/socket" && echo "unix_socket_directories = '$N/socket'" | cluster_as "$N" tee -a "$N/data/postgresql.conf" >/dev/null && cluster_start "$N"
await 120 cluster_leads "$N"
[ "$(cluster_psql "$N" -c 'SELECT count(*) FROM said')" = "$rows" ] && grep -q 'wal push lab/pg' "$N/data/postgresql.conf"
claim 'a test copy has all rows, and the archive command of the original in its configuration'
[ "$(cluster_psql "$N" -c 'SHOW recovery_target_xid' -c 'SHOW recovery_end_command' -c 'SHOW archive_cleanup_command' | tr -d '\n')" = '' ] && [ -z "$(ls "$C" | grep command)" ]
claim '... and nothing of what the original was once told to recover to, and to run then'
[ "$(cluster_psql "$N" -c "SELECT string_agg(gid, '') FROM pg_prepared_xacts" -c 'SELECT count(*) FROM pg_replication_slots' | tr '\n' ' ')" = 'half 0 ' ]
claim '... and the prepared transaction, but no slot'
cluster_psql "$N" -c "INSERT INTO said VALUES (-1, 'only in the copy')" -c 'SELECT pg_switch_wal()' -c CHECKPOINT >/dev/null
sleep 1
[ "$(cluster_psql "$N" -c 'SHOW archive_mode')" = off ] && [ -z "$(find "$K/repo/wal" -name '00000002*')" ]
claim 'promoted, it archives nothing'
# archives FOLDER: it is told to, by hand, into a copy of the repository
archives() {
  printf '%s\n' 'archive_mode = on' "archive_command = 'env XDG_CACHE_HOME=$K/beside.cache $K/proofkeep wal push lab/pg %p --config $K/beside.yaml'" |
    cluster_as "$1" tee -a "$1/data/postgresql.auto.conf" >/dev/null
}
switched() { cluster_psql "$1" -c "INSERT INTO said VALUES ($2, 'of $1')" -c 'SELECT pg_walfile_name(pg_switch_wal())'; } # FOLDER NUMBER
beside() { [ -n "$(find "$K/beside/wal" -name "$1" 2>/dev/null)" ]; }
cp -a "$K/repo" "$K/beside" && sed "s,url: $K/repo,url: $K/beside," "$K/pk.yaml" | cluster_as "$K" tee "$K/beside.yaml" >/dev/null
archives "$N" && cluster_stop "$N" && cluster_start "$N" && mine=$(switched "$N" -10) && [ "${mine:0:8}" = 00000002 ] && await 60 beside "$mine" && before=$(sha256sum "$(find "$K/beside/wal" -name "$mine")")
claim '... until it is told to, by hand: then its own timeline'
w restore lab/pg --into "$L/data" --target latest && owned "$L/socket" && echo "unix_socket_directories = '$L/socket'" | cluster_as "$L" tee -a "$L/data/postgresql.conf" >/dev/null && archives "$L" && cluster_start "$L"
await 120 cluster_leads "$L"
theirs= i=-20
while [ "$theirs" '<' "$mine" ] && [ $i -gt -40 ]; do
  theirs=$(switched "$L" $i)
  i=$((i - 1))
done
[ "$theirs" = "$mine" ] && await 60 grep -aq PK-WAL-001 "$L/server.log" && [ "$(cluster_psql "$L" -c 'SELECT failed_count > 0 FROM pg_stat_archiver')" = t ]
claim 'another one with the same timeline, told likewise, is refused'
[ "$(sha256sum "$(find "$K/beside/wal" -name "$mine")")" = "$before" ] && [ -z "$(find "$K/repo/wal" -name '00000002*')" ] && as_keeper env XDG_CACHE_HOME="$K/beside.cache" "$K/proofkeep" wal get lab/pg "$mine" "$K/got" --config "$K/beside.yaml" >out 2>err && cmp "$K/got" "$N/data/pg_wal/$mine" >out
claim '... and what the first has stored stays'
cluster_stop "$N"
cluster_stop "$L"
rm -rf "$N/data" "$L/data" "$L/server.log" "$K/beside" "$K/beside.cache" "$K/beside.yaml" "$K/got"

# ---- what a copy does at its target ----
sql -c "SELECT pg_create_restore_point('here')" -c "INSERT INTO said VALUES (-9, 'behind it')" >/dev/null
last=$(sql -c 'SELECT pg_walfile_name(pg_switch_wal())') && archived "$last"
at_target() { # ACTION
  w restore lab/pg --into "$N/data" --target-name here --target-action "$1" && owned "$N/socket" && echo "unix_socket_directories = '$N/socket'" | cluster_as "$N" tee -a "$N/data/postgresql.conf" >/dev/null
}
at_target shutdown && { cluster_start "$N" >/dev/null 2>&1 || true; } && await 120 grep -aq 'shutdown at recovery target' "$N/server.log" && await 120 eval '[ ! -f "$N/data/postmaster.pid" ]'
claim 'a copy that is to shut down at its target does'
rm -rf "$N/data" "$N/server.log"
at_target pause && cluster_start "$N" && paused() { [ "$(cluster_psql "$N" -c 'SELECT pg_get_wal_replay_pause_state()' 2>/dev/null)" = paused ]; } && await 60 paused && [ "$(cluster_psql "$N" -c 'SELECT count(*) FROM said WHERE i < 0')" = 0 ] &&
  cluster_psql "$N" -c 'SELECT pg_wal_replay_resume()' >/dev/null && await 60 cluster_leads "$N" && [ "$(cluster_psql "$N" -c 'SELECT count(*) FROM said WHERE i < 0')" = 0 ]
claim '... and one that is to wait waits, can be looked at, and goes on from there'
cluster_stop "$N"
rm -rf "$N/data"
sql -c 'DELETE FROM said WHERE i = -9'

# ---- a clone with the same system identifier ----
sql -c CHECKPOINT && cluster_stop "$C"
cp -a "$C/data" "$L/data" && owned "$L/socket"
if [ -n "$small" ]; then rm "$L/data/pg_wal" && cp -a "$small/wal" "$L/data/pg_wal"; fi
echo "unix_socket_directories = '$L/socket'" | cluster_as "$L" tee -a "$L/data/postgresql.conf" >/dev/null
cluster_start "$C" && cluster_start "$L" || exit 1
sql -c "INSERT INTO said VALUES (-2, 'the original')"
mine=$(sql -c 'SELECT pg_walfile_name(pg_switch_wal())')
archived "$mine" && before=$(sha256sum "$(find "$K/repo/wal" -name "$mine")")
claim 'the original archives a segment'
cluster_psql "$L" -c "INSERT INTO said VALUES (-3, 'the clone')"
theirs=$(cluster_psql "$L" -c 'SELECT pg_walfile_name(pg_switch_wal())')
await 60 grep -aq 'PK-WAL-001' "$L/server.log" && [ "$mine" = "$theirs" ]
claim 'the clone has other WAL of the same name, and is refused'
[ "$(sha256sum "$(find "$K/repo/wal" -name "$mine")")" = "$before" ] && w wal get lab/pg "$mine" "$K/got" && cmp "$K/got" "$C/data/pg_wal/$mine" >out
claim 'what is stored is still that of the original'
more=$(sql -c "INSERT INTO said VALUES (-4, 'the original again')" -c 'SELECT pg_walfile_name(pg_switch_wal())') && archived "$more" && w wal verify lab/pg
claim 'which goes on archiving'
cluster_stop "$L"
w restore lab/pg --into "$N/data" --target latest && owned "$N/socket" && echo "unix_socket_directories = '$N/socket'" | cluster_as "$N" tee -a "$N/data/postgresql.conf" >/dev/null && cluster_start "$N"
await 120 cluster_leads "$N"
[ "$(cluster_psql "$N" -c "SELECT string_agg(i::text, ' ' ORDER BY i DESC) FROM said WHERE i < 0")" = '-2 -4' ]
claim 'a copy has what the original said, and nothing of the clone'
cluster_stop "$N"
rm -rf "$N/data" "$N/server.log"

# ---- WAL of a time in which the server said too little in it ----
cp "$C/data/postgresql.conf" "$T/conf" && printf '%s\n' 'wal_level = minimal' 'max_wal_senders = 0' 'archive_mode = off' | cluster_as "$C" tee -a "$C/data/postgresql.conf" >/dev/null
cluster_stop "$C" && cluster_start "$C" && sql -c "INSERT INTO said VALUES (-5, 'barely logged')" && cluster_stop "$C" && cluster_as "$C" tee "$C/data/postgresql.conf" <"$T/conf" >/dev/null && cluster_start "$C"
last=$(sql -c "INSERT INTO said VALUES (-6, 'logged')" -c 'SELECT pg_walfile_name(pg_switch_wal())') && archived "$last" && w restore lab/pg --into "$N/data" --target latest && owned "$N/socket" &&
  echo "unix_socket_directories = '$N/socket'" | cluster_as "$N" tee -a "$N/data/postgresql.conf" >/dev/null && { cluster_start "$N" >/dev/null 2>&1 || true; } && await 120 grep -aq 'FATAL: .*WAL was generated with "*wal_level=minimal' "$N/server.log" && await 120 test ! -f "$N/data/postmaster.pid"
claim 'no copy is led through it'
w wal verify lab/pg --level decode
[ $? = 4 ] && says PK-VER-001 && from=$(sed -n 's/^Written with wal_level=minimal on timeline 1: \([^ ]*\) to .*No recovery crosses it: later instants need a backup.*/\1/p' out) && [ -n "$from" ]
claim '... which reading it tells beforehand'
rm -rf "$N/data" && w backup lab/pg && w restore lab/pg --into "$N/data" --target latest && echo "unix_socket_directories = '$N/socket'" | cluster_as "$N" tee -a "$N/data/postgresql.conf" >/dev/null && cluster_start "$N" && await 120 cluster_leads "$N"
[ "$(cluster_psql "$N" -c "SELECT string_agg(i::text, ' ' ORDER BY i DESC) FROM said WHERE i < 0")" = '-2 -4 -5 -6' ]
claim 'but from a backup that was taken since'
w wal acknowledge lab/pg "$(sql -c "SELECT pg_walfile_name('$from')")" --reason 'loaded in a hurry' && w wal verify lab/pg --level decode && grep -q 'wal_level=minimal on timeline 1.*acknowledged: loaded in a hurry. No recovery crosses it' out
claim 'it is acknowledged as a gap is'
finish
