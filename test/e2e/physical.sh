#!/bin/bash
# Physical backup through the host, from outside: what is restored is judged by pg_verifybackup, pg_checksums, pg_amcheck,
# pg_basebackup's own choice of files, and by servers that start from it.
. "${SOURCE_ROOT:?the project}/test/e2e/lib/tap.sh"
. "$SOURCE_ROOT/test/e2e/lib/pg.sh"
. "$SOURCE_ROOT/test/e2e/lib/browse.sh"
pg_needed
N=$T/new
trap 'cluster_stop "$C"; cluster_stop "$N"; cluster_stop "$T/standby"' EXIT
server() { if as_root; then (cd / && runuser -u postgres -- "$@"); else "$@"; fi; }
chmod 755 "$T"

# A cluster with checksums, a tablespace elsewhere, one within the data folder, and configuration of its own.
owned "$C" "$C/socket" "$T/far" "$N" "$N/socket"
server "$PG_BIN/initdb" -D "$C/data" -U postgres -A trust -E UTF8 --locale=C.UTF-8 --data-checksums --no-sync >out 2>&1 || exit 1
settings() { # FOLDER [LINE...]
  local folder=$1
  shift
  printf '%s\n' "listen_addresses = ''" "unix_socket_directories = '$folder/socket'" 'fsync = off' 'autovacuum = off' "timezone = UTC" "$@"
}
settings "$C" "include '$C/more.conf'" "wal_keep_size = '1GB'" | server tee -a "$C/data/postgresql.conf" >/dev/null
echo "max_connections = 60" | server tee "$C/more.conf" >/dev/null
cluster_start "$C" || exit 1
server mkdir "$C/data/inside"
sql -c 'CREATE DATABASE shop' -c "CREATE TABLESPACE far LOCATION '$T/far'" -c "CREATE TABLESPACE inside LOCATION '$C/data/inside'" 2>err || exit 1
sql -c 'SET allow_in_place_tablespaces = on' -c "CREATE TABLESPACE here LOCATION ''" || exit 1
sql -d shop <<'SQL'
CREATE TABLE item AS SELECT i AS id, repeat(md5(i::text), 6) AS note FROM generate_series(1, 120000) i;
ALTER TABLE item ADD PRIMARY KEY (id);
CREATE TABLE far_item TABLESPACE far AS SELECT i AS id FROM generate_series(1, 30000) i;
CREATE TABLE inside_item TABLESPACE inside AS SELECT i AS id FROM generate_series(1, 20000) i;
CREATE TABLE here_item TABLESPACE here AS SELECT i AS id FROM generate_series(1, 10000) i;
CREATE UNLOGGED TABLE cache AS SELECT i AS id FROM generate_series(1, 5000) i;
SQL
facts() { # COMMAND...: what a server says of the data
  "$@" -d shop -c "SELECT count(*), sum(id), md5(string_agg(note, '' ORDER BY id)) FROM item" -c 'SELECT count(*), sum(id) FROM far_item' \
    -c 'SELECT count(*), sum(id) FROM inside_item' -c 'SELECT count(*), sum(id) FROM here_item'
}
facts sql >want
config() { # FILE [LINE...]
  local file=$1 line
  shift
  cat >"$file" <<YAML
$(config_head)
surfaces:
  pg:
    kind: postgres
    class: truth
    method: physical
YAML
  as_root && echo '    run_as: postgres' >>"$file"
  for line in "$@"; do printf '    %s\n' "$line" >>"$file"; done
  printf 'environments:\n  lab: { repository: main }\n' >>"$file"
}
connect="connect: { host: $C/socket, user: postgres }"
config proofkeep.yaml 'through: host' "$connect" 'invariants: [{ name: items, database: shop, sql: "SELECT count(*) FROM public.item", expect: not_shrunk }]' 'wal: { mode: stream }'
pk init --repository main
pk wal receive lab/pg --once --create-slot
claim 'its WAL is stored from here on'

pk backup lab/pg --json
claim 'a physical backup through the host is taken'
first=$(point lab/pg)
pk show lab/pg --json && python3 - "$C" >says 2>&1 <<'PY'
import json, sys
s = json.load(open("out"))["snapshot"]
f = s["facts"]
assert s["method"] == "physical_basebackup" and s["consistency"] == "exact"
assert f["way"] == "host" and f["checksums"] and f["pages_checked"] > 3000 and f["pages_unchecked"] < 1000 and "bad_pages" not in f
assert f["replica_settings"]["max_connections"] == 60
assert {t["name"] for t in f["tablespaces"]} == {"far", "inside", "here"}
assert [c["path"] for c in f["config_outside"]] == [sys.argv[1] + "/more.conf"] and f["config_outside"][0]["captured"]
assert len(f["wal_segments"]) >= 1 and f["start_lsn"] and f["stop_lsn"]
PY
claim 'its facts name the settings of a replica, tablespaces, configuration outside, and WAL'
browse lab/pg

pk verify lab/pg --level full
claim 'it is restored into a scratch server, which recovers, and is what was captured'
pk list lab/pg --json && grep -q '"verified":"full"' out
claim '... and the receipt says so'

pk restore lab/pg --into "$N/data" --json
claim 'it is restored into a new folder'
server "$PG_BIN/pg_verifybackup" --quiet "$N/data" >out 2>err
claim 'pg_verifybackup accepts it'
# What pg_basebackup takes of the same server is what is there, but for what a copy gets anew.
names() { (cd "$1" && find . \( -path ./pg_wal -o -path ./proofkeep_config \) -prune -o -type f -printf '%P\n' && find pg_tblspc/ -follow -type f) | LC_ALL=C sort -u; }
server "$PG_BIN/pg_basebackup" -h "$C/socket" -U postgres -D "$N/theirs" -X none --no-manifest -c fast -T "$T/far=$N/t1" -T "$C/data/inside=$N/t2" >out 2>err
names "$N/theirs" | grep -v '^backup_label$' >theirs && names "$N/data" | grep -v '^backup_manifest$\|^backup_label$' >ours && diff theirs ours >out
claim 'it has the files that pg_basebackup takes, and no others'
rm -rf "$N/theirs" "$N/t1" "$N/t2"
test "$(stat -c %a "$N/data")" = 700 && ! find "$N/data" "$N/data-tablespaces" -perm /077 -not -type l -not -path '*/proofkeep_config/*' | grep -q . && { ! as_root || ! find "$N/data" "$N/data-tablespaces" -not -user postgres | grep -q .; }
claim 'all of it belongs to the server and to nobody else'
cmp "$N/data/proofkeep_config$C/more.conf" "$C/more.conf"
claim 'configuration from outside the data folder is below proofkeep_config'
new_settings() { settings "$N" | server tee -a "$N/data/postgresql.conf" >/dev/null; server sed -i '/^include/d' "$N/data/postgresql.conf"; }
new() { cluster_psql "$N" "$@"; }
new_settings && cluster_start "$N" && facts new >got && diff want got >out
claim 'a server starts from it and has every row'
new -d shop -c 'SELECT count(*) FROM cache' | grep -qx 0 && new -c "SELECT pg_tablespace_location(oid) FROM pg_tablespace WHERE spcname = 'far'" | grep -qx "$N/data-tablespaces/[0-9]*"
claim 'an unlogged table is empty there, and a tablespace is beside the new folder'
new -c 'SHOW archive_mode' | grep -qx off
claim 'the copy does not archive'
cluster_as "$N" "$PG_BIN/pg_amcheck" --all --install-missing >out 2>err
claim 'pg_amcheck finds nothing'
cluster_stop "$N" && server "$PG_BIN/pg_checksums" --check -D "$N/data" >out 2>err
claim 'pg_checksums finds nothing'

# ---- again, and back ----
sql -d shop -c 'UPDATE item SET note = reverse(note) WHERE id % 400 = 0' -c 'DELETE FROM far_item WHERE id > 25000' -c CHECKPOINT
facts sql >want2
pk backup lab/pg --json
stored=$(result surfaces.0.stored_bytes) bytes=$(result surfaces.0.bytes)
test "$stored" -lt $((bytes / 25))
claim "a second backup after scattered updates stores little: $stored of $bytes"
second=$(point lab/pg)
fails 5 PK-RST-001 restore lab/pg --into "$N/data" && says 'is not empty; --delta restores into an old data folder'
claim 'a folder that is not empty is refused'
planned() { pk restore "$@" --dry-run --json && pk restore --plan "$(result plan)" --json; }
echo leftover | server tee "$N/data/base/leftover" >/dev/null
others=$(echo "$N"/data-tablespaces/*)
others=${others%% *}/PG_14_1
owned "$others" && touch "$others/of-another-cluster"
planned lab/pg --into "$N/data" --delta
claim 'a delta restore into the old folder is carried out by its plan'
test "$(result facts.files_kept)" -gt 900 && test "$(result facts.files_written)" -lt 120 && [ ! -e "$N/data/base/leftover" ] && [ -e "$others/of-another-cluster" ]
claim 'it left what was the same, and removed what the backup does not have'
rm -r "$others"
server "$PG_BIN/pg_verifybackup" --quiet "$N/data" >out 2>err
claim 'pg_verifybackup accepts that'
new_settings && cluster_start "$N" && facts new >got && diff want2 got >out
claim 'the server that starts from it has the rows of the second backup'
fails 5 PK-PG-006 restore lab/pg --into "$N/data" --delta && says 'a server runs in .*postmaster.pid'
claim 'the folder of a running server is refused'
cluster_stop "$N"

# ---- restores that are killed in their middle ----
pk restore "lab/pg@$second" --into "$N/data" --delta --dry-run --json && plan=$(result plan)
"$P" restore --plan "$plan" >killed 2>&1 </dev/null &
job=$!
halted $job test ! -e "$N/data/global/pg_control" && kill -KILL $job
wait $job 2>/dev/null
[ $? = 137 ] && ! cluster_start "$N" >/dev/null 2>&1
claim 'from an old folder whose restore was killed no server starts'
planned "lab/pg@$second" --into "$N/data" --delta && server "$PG_BIN/pg_verifybackup" --quiet "$N/data" >out 2>err
claim '... and the same restore again completes it'
rm -rf "$N/data" "$N/data-tablespaces"
half_made() { [ -n "$(find "$N" -path '*.proofkeep-partial-*/base/*/*' -print -quit)" ]; }
"$P" restore "lab/pg@$second" --into "$N/data" >killed 2>&1 </dev/null &
job=$!
halted $job half_made && kill -KILL $job
wait $job 2>/dev/null
[ $? = 137 ] && [ ! -e "$N/data" ] && { pk doctor; grep -q 'data.proofkeep-partial-[0-9a-f]*: it is left of a run that was killed' out; }
claim 'what a killed restore made of a new folder does not bear its name, and doctor names it'
pk restore "lab/pg@$second" --into "$N/data" && server "$PG_BIN/pg_verifybackup" --quiet "$N/data" >out 2>err && ! half_made
claim '... and goes with the next one, which is whole'
rm -rf "$N/data" "$N/data-tablespaces"
owned "$N/t1" && pk restore "lab/pg@$second" --into "$N/data" --tablespace "$T/far=$N/t1" --dry-run --json && plan=$(result plan) && in_spaces() { [ -n "$(find "$N/t1" -path '*/PG_*/*/*' -print -quit)" ] && [ -e "$N/data-tablespaces" ]; }
"$P" restore --plan "$plan" >killed 2>&1 </dev/null &
job=$!
halted $job in_spaces && kill -KILL $job
wait $job 2>/dev/null
[ $? = 137 ] && in_spaces && pk restore --plan "$plan" --abort && grep -q 'had half restored was removed' out && [ -d "$N/t1" ] && [ -z "$(find "$N/t1" -mindepth 1)" ] && [ ! -e "$N/data-tablespaces" ] && ! half_made
claim 'it goes with --abort, too, and what it put into the folders of tablespaces'
pk restore --plan "$plan" --abort && grep -q 'nothing was left to be undone' out && rmdir "$N/t1"
claim '... once'
pk restore "lab/pg@$first" --into "$N/data" --tablespace "$T/far=$N/t1" --target immediate && new_settings && cluster_start "$N" && facts new >got && diff want got >out
claim 'the first is what it was, with a tablespace where it was told to be, recovered as far as it is consistent'
new -c 'SELECT pg_is_in_recovery()' | grep -qx f && [ -d "$N/t1" ] && readlink "$N"/data/pg_tblspc/* | grep -qx "$N/t1"
claim '... and it has been promoted'
cluster_stop "$N"
rm -rf "$N/data" "$N/data-tablespaces" "$N/t1"

pk export "lab/pg@$first" --to exported && "$PG_BIN/pg_verifybackup" --quiet exported/data >out 2>err && (cd exported && sha256sum --quiet -c CHECKSUMS)
claim 'an export is a data folder of plain files, which pg_verifybackup accepts'
mv exported/data "$N/data" && rm "$N/data/tablespace_map" && { ! as_root || chown -R postgres "$N/data"; } && new_settings &&
  echo 'allow_in_place_tablespaces = on' | server tee -a "$N/data/postgresql.conf" >/dev/null && cluster_start "$N" && facts new >got && diff want got >out
claim 'a server starts from that, too'
cluster_stop "$N"

# ---- a copy with keys of its own, of relations of many parts ----
sed -e "s|^secrets:|&\n  r: { file: $T/replica.key }|" -e "s|^  main:|  replica: { url: $T/replica, encrypt: { key: r, kind: key_file } }\n&|" \
  -e "s|^    url: $T/repo|&\n    copies: [replica]|" proofkeep.yaml >copies.yaml
rel=base/$(sql -c "SELECT oid FROM pg_database WHERE datname = 'shop'")/$(sql -d shop -c "SELECT pg_relation_filenode('item')")
pk diff "lab/pg@$first" "lab/pg@$second" && grep -q "$rel" out && pk show "lab/pg@$second" "$rel" --json && grep -q sha256_by_parts out
claim 'a table is told to differ between the two, by its digest by parts'
pk init -r replica --copy-of main --config copies.yaml && pk copy --all -r main --to replica --config copies.yaml && pk verify "lab/pg@$second" -r replica --level decode --config copies.yaml &&
  pk export "lab/pg@$second" --to of-main && pk export "lab/pg@$second" -r replica --to of-replica --config copies.yaml && cmp "of-main/data/$rel" "of-replica/data/$rel" && (cd of-replica && sha256sum --quiet -c CHECKSUMS)
claim 'a copy has the same in it'
rm -rf of-main of-replica "$N/data" "$N/data-tablespaces"
mv "$T/repo/packs/d" "$T/away" && fails 4 PK-REP-004 export "lab/pg@$second" --to of-main && pk restore "lab/pg@$second" --into "$N/data" --config copies.yaml --json && server "$PG_BIN/pg_verifybackup" --quiet "$N/data" && [ "$(result copies.0.label)" = replica ]
claim 'and gives what the repository has lost'
printf x | server dd of="$N/data/$rel" bs=1 seek=300000 conv=notrunc status=none
pk restore "lab/pg@$second" --into "$N/data" --delta --dry-run --json --config copies.yaml && pk restore --plan "$(result plan)" --json --config copies.yaml && server "$PG_BIN/pg_verifybackup" --quiet "$N/data" && [ "$(result facts.files_written)" -lt 10 ]
claim '... also over an old folder, part by part'
rm -rf "$N/data" "$N/data-tablespaces" "$T/repo/packs/d" && mv "$T/away" "$T/repo/packs/d"
rm -rf exported "$N/data"

# ---- refusals ----
fails 2 PK-PG-016 restore lab/pg --into "$N/data" --target-time 2001-01-01T00:00:00Z && says 'the time 2001-01-01T00:00:00Z lies before the end of this backup; the nearest that it reaches is 20'
claim 'an instant before the oldest backup is refused with the nearest'
sql -c "SELECT pg_create_restore_point('before \$it'), pg_switch_wal()" >/dev/null && pk wal receive lab/pg --once && pk wal receive lab/pg --drop-slot
claim 'WAL leads from both backups on'
end=$(pk show "lab/pg@$first" --json && python3 -c 'import json; print(json.load(open("out"))["snapshot"]["facts"]["stop_time"])')
pk restore lab/pg --into "$N/data" --target-time "$end" --dry-run --json && tail -n 2 out | head -n 1 | grep -q "\"snapshot\":\"$first\""
claim 'an instant between the two is reached from the first'
fails 2 PK-PG-016 restore "lab/pg@$second" --into "$N/data" --target-lsn 0/1000028 && says 'lies before the end of this backup'
claim 'a place in the WAL before the backup is refused'
fails 2 PK-USE-001 restore lab/pg --into "$N/data" --target-time 2030-01-01T00:00:00Z --target-xid 5 && says 'recovery has one target'
claim 'two targets are refused'
fails 2 PK-USE-001 restore lab/pg --into "$N/data" --path 'base/*' && says 'a physical backup is restored as a whole'
claim 'a part of a physical backup is refused'
fails 2 PK-USE-001 restore lab/pg --into "$N/data" --tablespace far=near && says 'two absolute paths'
claim 'a map of tablespaces that is none is refused'
pk restore lab/pg --into "$N/data" --target-name 'before $it' --target-action pause --target-timeline 1 && cat "$N/data/postgresql.auto.conf" >conf &&
  grep -qx "restore_command = '.* wal get lab/pg %f %p --system [0-9]*'" conf && grep -qx "recovery_target_name = 'before \$it'" conf && grep -qx "recovery_target_action = 'pause'" conf &&
  grep -qx "recovery_target_timeline = '1'" conf && grep -qx "archive_mode = 'off'" conf && [ -f "$N/data/recovery.signal" ]
claim 'a named target stands in the settings of the copy, with the command that fetches WAL'
rm -rf "$N/data" "$N/data-tablespaces"
config files.yaml 'through: host' "$connect" 'data_directory: /etc'
fails 4 PK-PG-014 --config files.yaml backup lab/pg
claim 'a folder that is no data folder is refused'
cluster_as "$C" "$PG_BIN/psql" -X -q -c "SELECT pg_advisory_lock(8102356718236491821), pg_sleep(100)" >/dev/null 2>&1 &
holder=$!
held() { [ "$(sql -c "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND granted")" = 1 ]; }
await 60 held
fails 1 PK-PG-015 backup lab/pg && says 'another physical backup of this server is running'
claim 'a second backup at the same time is refused'
sql -c "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE query LIKE '%pg_sleep(100)' AND pid <> pg_backend_pid()" >/dev/null
wait $holder 2>/dev/null

# ---- what happens between start and stop: its query waits there for a lock that the test holds
held='invariants: [{ name: held, database: postgres, sql: "SELECT count(*) FROM (SELECT pg_catalog.pg_advisory_lock_shared(7)) x", expect: equal }]'
holder=
lock_at() { # FOLDER
  cluster_as "$1" "$PG_BIN/psql" -X -q -h "$1/socket" -U postgres -c 'SELECT pg_advisory_lock(7), pg_sleep(600)' >/dev/null 2>&1 &
  holder=$!
  is_held() { [ "$(cluster_psql "$1" -c "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND objid = 7 AND granted")" = 1 ]; }
  await 60 is_held "$1"
}
waits_at() { [ "$(cluster_psql "$1" -c "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND objid = 7 AND NOT granted")" = 1 ]; }
end_at() { # FOLDER WHICH: sessions
  cluster_psql "$1" -c "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE pid <> pg_backend_pid() AND $2" >/dev/null
}
config held.yaml 'through: host' "$connect" "$held"
before=$("$P" list lab/pg --json 2>/dev/null | grep -c '"id"')
lock_at "$C"
"$P" --config held.yaml backup lab/pg >out 2>err </dev/null &
job=$!
await 120 waits_at "$C" && end_at "$C" "application_name = 'proofkeep' AND state = 'idle'" && end_at "$C" "query LIKE '%pg_sleep(600)'"
wait $holder 2>/dev/null
wait $job
[ $? = 7 ] && says PK-PG-001 && [ "$("$P" list lab/pg --json 2>/dev/null | grep -c '"id"')" = "$before" ]
claim 'a backup whose session the server ended is none'

# ---- beside other work ----
config paced.yaml 'through: host' "$connect" 'bandwidth: 1MiB'
tap_last='a backup at 1 MiB a second'
"$P" --config paced.yaml backup lab/pg >out 2>err </dev/null &
job=$!
policies() { cat /proc/$job/task/*/stat 2>/dev/null | sed 's/.*) //' | cut -d ' ' -f 39 | sort -u | tr '\n' ' '; }
await 120 eval '[ "$(policies)" = "0 3 " ]'
claim 'its threads give way to others, and it itself, whose children hooks are, does not'
kill -TERM $job
wait $job
[ $? = 143 ] && grep -q 'no snapshot was made' err
claim 'while it waits for its turn to read it can be stopped'
config paced.yaml 'through: replication' "$connect" 'bandwidth: 8MiB' 'priority: normal'
from=$EPOCHREALTIME && pk --config paced.yaml backup lab/pg --full-read --json && python3 -c '
import sys
sys.exit(float(sys.argv[2]) - float(sys.argv[1]) < int(sys.argv[3]) / 2**24)' "$from" "$EPOCHREALTIME" "$(result surfaces.0.bytes)"
claim 'and reads no more in a second than it may'

# ---- while it is written to, and from a standby ----
sql -d shop -c 'CREATE TABLE ledger (id bigserial PRIMARY KEY, pair bigint, amount int, pad text DEFAULT repeat(md5(random()::text), 8))'
cat >load.sql <<'SQL'
BEGIN;
INSERT INTO ledger (pair, amount) VALUES (1, 7);
INSERT INTO ledger (pair, amount) VALUES (2, -7);
UPDATE ledger SET pad = reverse(pad) WHERE id IN (SELECT id FROM ledger ORDER BY random() LIMIT 3);
COMMIT;
SQL
chmod 755 "$T" && chmod 644 load.sql
writers() { # START|STOP
  if [ "$1" = start ]; then
    for i in 1 2; do (while [ ! -e "$T/stop" ]; do cat load.sql; done | cluster_psql "$C" -d shop >/dev/null 2>&1) & done
    (while [ ! -e "$T/stop" ]; do cluster_psql "$C" -d shop -c 'DROP TABLE IF EXISTS passing' -c 'CREATE TABLE passing AS SELECT i, repeat(md5(i::text), 4) m FROM generate_series(1, 20000) i' -c 'TRUNCATE passing' -c CHECKPOINT >/dev/null 2>&1; done) &
  else
    touch "$T/stop"
    wait
    rm -f "$T/stop"
  fi
}
whole() { # of the copy in $N: every transaction is there as a whole
  new -d shop -c 'SELECT count(*) > 0 AND sum(amount) = 0 AND count(*) FILTER (WHERE pair = 1) * 2 = count(*) FROM ledger' | grep -qx t &&
    cluster_as "$N" "$PG_BIN/pg_amcheck" --all --install-missing >out 2>err
}
writers start
sleep 1
pk backup lab/pg
status=$?
writers stop
[ $status = 0 ]
claim 'a backup is taken while rows, tables and checkpoints come and go'
pk restore lab/pg --into "$N/data" && server "$PG_BIN/pg_verifybackup" --quiet "$N/data" >out 2>err && new_settings && cluster_start "$N" && whole
claim 'its copy is verified, recovers, and has every transaction as a whole'
cluster_stop "$N"
rm -rf "$N/data" "$N/data-tablespaces"

S=$T/standby
owned "$S" "$S/socket"
pk restore lab/pg --into "$S/data" --standby
claim 'a standby is made of it'
settings "$S" | server tee -a "$S/data/postgresql.conf" >/dev/null
server sed -i '/^include/d; /^shared_preload/d' "$S/data/postgresql.conf"
printf '%s\n' "primary_conninfo = 'host=$C/socket user=postgres'" 'max_connections = 60' "restore_command = 'false'" | server tee -a "$S/data/postgresql.auto.conf" >/dev/null
sql -c "SELECT pg_switch_wal()" >/dev/null
cluster_start "$S" && follows() { cluster_psql "$S" -c 'SELECT pg_is_in_recovery(), count(*) FROM pg_stat_wal_receiver' | grep -qx 't|1'; } && await 60 follows
claim '... and follows the primary'
config standby.yaml 'through: host' "connect: { host: $S/socket, user: postgres }"
sed -i 's/^  pg:/  copy:/' standby.yaml
writers start
sleep 1
pk --config standby.yaml backup lab/copy
status=$?
writers stop
[ $status = 0 ] && pk --config standby.yaml show lab/copy --json && grep -q '"from_standby": true' out
claim 'a backup is taken from the standby while the primary is written to'
pk --config standby.yaml restore lab/copy --into "$N/data" --target immediate && server "$PG_BIN/pg_verifybackup" --quiet "$N/data" >out 2>err
claim 'pg_verifybackup accepts its copy'
new_settings && cluster_start "$N" && await 120 cluster_leads "$N"
whole
claim '... which recovers, and has every transaction as a whole'
cluster_stop "$N"
rm -rf "$N/data" "$N/data-tablespaces"
pk --config standby.yaml verify lab/copy --level full
claim '... and is verified in a scratch server'
config promoted.yaml 'through: host' "connect: { host: $S/socket, user: postgres }" "$held"
sed -i 's/^  pg:/  copy:/' promoted.yaml
before=$("$P" list lab/copy --json 2>/dev/null | grep -c '"id"')
lock_at "$S"
"$P" --config promoted.yaml backup lab/copy >out 2>err </dev/null &
job=$!
await 120 waits_at "$S" && cluster_psql "$S" -c 'SELECT pg_promote()' >/dev/null && end_at "$S" "query LIKE '%pg_sleep(600)'"
wait $holder 2>/dev/null
wait $job
[ $? = 1 ] && says PK-PG-015 && says 'promoted during online backup' && [ "$("$P" list lab/copy --json 2>/dev/null | grep -c '"id"')" = "$before" ]
claim 'a standby that is promoted meanwhile ends the backup'
cluster_stop "$S"

# ---- a copy of the folder is not the server's ----
cp -a "$C/data" "$T/clone"
config clone.yaml 'through: host' "$connect" "data_directory: $T/clone"
fails 1 PK-PG-015 --config clone.yaml backup lab/pg && says 'before the backup.s start at\|listens on port'
claim 'a copy of the data folder is found out'
rm -rf "$T/clone"

# ---- bad pages, in a file whose size and time of change are as they were; and configuration that cannot be had any more ----
echo "log_min_duration_statement = '11h'" | server tee "$C/gone.conf" >/dev/null && echo "include '$C/gone.conf'" | server tee -a "$C/data/postgresql.conf" >/dev/null
sql -c 'SELECT pg_reload_conf()' >/dev/null && loaded() { [ "$(sql -c 'SHOW log_min_duration_statement')" = 11h ]; } && await 60 loaded && rm "$C/gone.conf"
rel=$(sql -d shop -c "SELECT pg_relation_filepath('item')")
sql -c CHECKPOINT
pk backup lab/pg && whole_one=$(point lab/pg)
server touch -r "$C/data/$rel" "$C/time"
printf 'rot' | server dd of="$C/data/$rel" bs=1 seek=$((8192 * 7 + 4000)) conv=notrunc 2>/dev/null
server touch -r "$C/time" "$C/data/$rel"
pk backup lab/pg --json
status=$?
[ $status = 3 ] && tail -n 1 out | grep -q '"unreadable":1' && grep -q "pages whose checksum is wrong at every reading: 1; the first is block 7" out
claim "a page that has rotted is reported, and the backup marked as partial (status $status)"
pk show "lab/pg@$(point lab/pg)" "$rel" --json && grep -q '"bad_pages":true' out
claim '... and so is the file'
pk restore "lab/pg@$(point lab/pg)" --into "$N/data" --dry-run && grep -q 'warning *it is partial: something is missing from it' out && grep -q "warning .*$C/gone.conf was outside the data folder, and is not in the backup" out &&
  grep -q "warning .*$C/more.conf was outside the data folder; it is restored below proofkeep_config" out
claim '... and who restores it is told, also of configuration that could not be captured'
pk restore lab/pg --into "$N/data" --dry-run --json && tail -n 2 out | head -n 1 | grep -q "\"snapshot\":\"$whole_one\""
claim 'whoever names none gets the newest that is whole'

cluster_stop "$C"
fails 7 PK-PG-001 backup lab/pg
claim 'no backup is taken of a server that does not run'
finish
