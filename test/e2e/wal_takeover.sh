#!/bin/bash
# A cluster that is restored in its own place goes on to archive as a timeline of its own, again and again; a lost segment comes back from
# the live server; what a surface with WAL can be recovered to is told.
. "${SOURCE_ROOT:?the project}/test/e2e/lib/tap.sh"
. "$SOURCE_ROOT/test/e2e/lib/pg.sh"
pg_needed
keeper "$C"
w() { kept "$@"; }
cat >"$K/y.yaml" <<YAML
version: 1
platform: test
secrets:
  k: { file: $K/key }
repositories:
  main: { url: $K/repo, encrypt: { key: k, kind: key_file } }
surfaces:
  db:
    kind: postgres
    class: runtime
    method: physical
    through: host
    data_directory: $C/data
    connect: { host: $C/socket, user: postgres, dbname: postgres }
    wal: { mode: archive }
environments:
  prod: { repository: main }
YAML
Y="--config $K/y.yaml"
w init $Y --repository "$K/repo" --key-file "$K/key"
claim 'there is a repository'
cluster_start "$C" 'archive_mode = on' "archive_command = 'env HOME=$K TMPDIR=$K XDG_CACHE_HOME=$K/cache $K/proofkeep wal push prod/db %p $Y'" \
  'wal_level = replica' 'max_wal_senders = 4' 'synchronous_commit = on' || exit 1
timeline() { sql -c 'SELECT timeline_id FROM pg_control_checkpoint()'; }
# settled: all that is finished is archived, and nothing failed
settled() {
  local name
  name=$(sql -c 'SELECT pg_walfile_name(pg_switch_wal())') && await 120 archived_to "$name"
}
archived_to() {
  [ "$(sql -c "SELECT count(*) FROM pg_ls_dir('pg_wal/archive_status') d WHERE d LIKE '%.ready'")" = 0 ] && [ -f "$C/data/pg_wal/archive_status/$1.done" ]
}
came_up() { await 120 cluster_leads "$C"; }
sql -c 'CREATE TABLE word (i int PRIMARY KEY)' -c 'INSERT INTO word VALUES (1)'
w backup prod/db $Y
claim 'a base backup is taken'
sql -c 'INSERT INTO word VALUES (2)'
settled
claim 'and WAL follows it'

# ---- what can be recovered to
w restore prod/db --target latest --into "$C/copy" --dry-run --json $Y && tail -n 1 "$T/out" >/dev/null && grep -q "wal get prod/db %f %p --system $(sql -c 'SELECT system_identifier FROM pg_control_system()')" "$T/out"
claim 'a recovery asks for the WAL of the very cluster of its backup'
w restore prod/db --target latest --into "$K/pinned/data" --dry-run --json $Y && pinned=$(tail -n 1 "$T/out" | python3 -c 'import json, sys; print(json.loads(sys.stdin.readline())["plan"])')
claim '(a plan to recover to the end of the timeline that is the newest now)'
w list prod/db $Y && grep -q '^Recoverable on timeline 1 from 20.* to 20' "$T/out"
claim 'list says between which instants'
w status $Y --json && python3 - "$T/out" <<'PY'
import json, sys
s = [s for s in json.load(open(sys.argv[1]))["surfaces"] if s["surface"] == "db"][0]
r = s["wal"]["windows"]
assert len(r) == 1 and r[0]["timeline"] == 1 and r[0]["first"] <= r[0]["last"], s["wal"]
PY
claim 'and status'
w list prod/db $Y && grep '^Recoverable' "$T/out" | sed 's/ (.*//' >"$T/listed" && w wal verify prod/db $Y && grep '^Recoverable' "$T/out" | cmp - "$T/listed" && w wal verify prod/db $Y --json && python3 - "$T/out" <<'PY'
import json, sys
v = json.loads(open(sys.argv[1]).read().splitlines()[-1])
assert len(v["windows"]) == 1 and v["windows"][0]["timeline"] == 1 and v["windows"][0]["first"] <= v["windows"][0]["last"], v
PY
claim 'and wal verify'

w doctor prod $Y
grep -q 'recoverable on timeline 1 from 20' "$T/out" && grep -q '^warning .*archive_timeout is 0: what can be lost when little is written has no bound' "$T/out"
claim 'and doctor, which misses a bound for what may be lost'
sql -c "ALTER SYSTEM SET archive_timeout = '5min'" -c 'SELECT pg_reload_conf()' >"$T/null"
bounded() { [ "$(sql -c 'SHOW archive_timeout')" = 5min ]; }
await 60 bounded && mv "$K/repo" "$K/away" && sql -c 'INSERT INTO word VALUES (-1)' -c 'DELETE FROM word WHERE i < 0' -c 'SELECT pg_switch_wal()' >"$T/null" &&
  failing() { [ "$(sql -c 'SELECT failed_count FROM pg_stat_archiver')" -ge 3 ]; } && await 60 failing
mv "$K/away" "$K/repo" && w doctor prod $Y && grep -q '^warning .*archiving fails, the last time with 0000000100000000[0-9A-F]*; [3-9] failures in all' "$T/out" && ! grep -q archive_timeout "$T/out"
claim 'and tells of archiving that fails, which it finds out at the server'
settled && sql -c "SELECT pg_stat_reset_shared('archiver')" >"$T/null"

# ---- in its own place
in_place() { # restore, carried out by its plan
  local plan
  cluster_stop "$C"
  w restore prod/db --in-place --delta --dry-run --json $Y || return 1
  plan=$(tail -n 1 "$T/out" | python3 -c 'import json, sys; print(json.loads(sys.stdin.readline())["plan"])')
  w restore --plan "$plan" $Y
}
in_place
claim 'the cluster is restored in its own place, without a target'
system=$("$PG_BIN/pg_controldata" "$C/data" | sed -n 's/^Database system identifier: *//p')
grep -q 'recovers as far as it is consistent, and goes on as a new timeline' "$T/out" && [ -f "$C/data/recovery.signal" ]
claim 'it is to recover until it is consistent, and then to leave its timeline'
cluster_start "$C" && came_up && [ "$(sql -c 'SELECT count(*) FROM word')" = 1 ]
claim 'it holds what the backup held'
sql -c 'INSERT INTO word VALUES (3)' && sql -c CHECKPOINT && [ "$(timeline)" = 2 ]
claim 'and goes on as a timeline of its own'
settled
claim 'whose WAL is archived'
w wal verify prod/db --level decode $Y && grep -q '^ *2 ' "$T/out"
claim 'beside that of the old one, without a gap'
in_place && [ -f "$C/data/pg_wal/00000002.history" ] && cluster_start "$C" && came_up && sql -c CHECKPOINT && [ "$(timeline)" = 3 ] && settled && w wal verify prod/db $Y && grep -q '^ *3 ' "$T/out" && [ "$(grep -c '^Recoverable on timeline [123] from' "$T/out")" = 3 ]
claim 'a second time it is the third'
[ "$(sql -c 'SELECT failed_count FROM pg_stat_archiver')" = 0 ]
claim 'and nothing was ever refused'

# ---- a plan that was made when timeline 1 was the newest
owned "$K/pinned" && w restore --plan "$pinned" $Y && grep -qx "recovery_target_timeline = 'current'" "$K/pinned/data/postgresql.auto.conf"
claim 'a plan that was made before is carried out along its timeline'
printf "unix_socket_directories = '%s'\n" "$K/pinned/socket" | cluster_as "$K/pinned" tee -a "$K/pinned/data/postgresql.conf" >"$T/null" && (export HOME="$K" TMPDIR="$K" XDG_CACHE_HOME="$K/cache" && cluster_start "$K/pinned") && await 120 cluster_leads "$K/pinned" && [ "$(cluster_psql "$K/pinned" -c 'SELECT string_agg(i::text, $$ $$ ORDER BY i) FROM word')" = '1 2' ]
claim '... and the server gets to its end, which the newer ones left out'
cluster_stop "$K/pinned"

# ---- from the live server
name=$(cd "$K/repo/wal/$system/00000003" && ls | grep -E '^[0-9A-F]{24}$' | tail -n 1)
w wal verify prod/db --level decode $Y # which registers what waits
before=$(cluster_as "$C" sha256sum <"$C/data/pg_wal/$name")
rm "$K/repo/wal/$system/00000003/$name"
w scrub prod $Y
grep -q "missing .*/$name" "$T/out" && grep -q 'no recovery leads to instants from about 20.* on: there is no base backup after it' "$T/out"
claim 'scrub says which instants a lost segment costs'
w repair prod $Y && grep -q 'the live server still has it' "$T/out" && w wal get prod/db "$name" "$K/got" $Y && [ "$(sha256sum <"$K/got")" = "$before" ]
claim 'a lost segment is brought back from the live server'
w scrub prod $Y
claim 'and scrub is content'

# ---- from a slot, into two repositories
printf 'local replication all trust\n' | cluster_as "$C" tee -a "$C/data/pg_hba.conf" >/dev/null
sql -c 'SELECT pg_reload_conf()' >/dev/null
w init --config none.yaml --repository "$K/second" --key-file "$K/second.key"
sed -e "s/k: { file/k2: { file: $(sed 's/[\/&]/\\&/g' <<<"$K/second.key") }\n  k: { file/" -e "s/^  main:.*/&\n  second: { url: $(sed 's/[\/&]/\\&/g' <<<"$K/second"), encrypt: { key: k2, kind: key_file } }/" \
  -e 's/mode: archive/mode: stream, slot: two, every: 1s, also: [second]/' "$K/y.yaml" >"$K/s.yaml"
S="--config $K/s.yaml"
w doctor prod $S && grep -q "^warning .*the server has no replication slot 'two': no WAL is received" "$T/out"
claim 'doctor misses the slot'
w wal receive prod/db --create-slot --once $S && [ -n "$(find "$K/second/wal/$system" -type f)" ]
claim 'what is received goes into both repositories'
w doctor prod $S && grep -q "^warning .*nobody receives through the replication slot 'two', for which the server keeps .*B of WAL" "$T/out" && grep -q '^warning .*max_slot_wal_keep_size is not set' "$T/out"
claim 'and then who reads it, and a limit for what it keeps'
mv "$K/second" "$K/away"
w wal receive prod/db --once $S
[ $? = 10 ] && says 'second, which must have the WAL'
claim 'it does not begin while one is out of reach'
mv "$K/away" "$K/second"
cluster_as "$C" env HOME="$K" TMPDIR="$K" XDG_CACHE_HOME="$K/cache" "$K/proofkeep" wal receive prod/db $S >"$T/stream.out" 2>"$T/stream.err" &
receiver=$!
flushed() { [ "$(sql -c "SELECT coalesce(bool_and(flush_lsn >= '$1'), false) FROM pg_stat_replication")" = t ]; }
here() { sql -c 'INSERT INTO word SELECT max(i) + 1 FROM word' -c 'SELECT pg_current_wal_flush_lsn()'; }
await 60 flushed "$(here)"
claim 'while both are there, the server hears that all is flushed'
w doctor prod $S && ! grep -q 'nobody receives through' "$T/out"
claim '... which doctor sees, too'
mv "$K/second/wal" "$K/away" && touch "$K/second/wal"
at=$(here)
await 60 grep -q 'and not in second, which must have it too' "$T/stream.err" && ! await 3 flushed "$at"
claim 'when one goes, nothing more is confirmed'
grep -q 'and not in second, which must have it too' "$T/stream.err"
claim 'and it is said which lacks it'
rm "$K/second/wal" && mv "$K/away" "$K/second/wal"
await 60 flushed "$at"
claim 'once it is back, it is'
pkill -TERM -P "$receiver" 2>/dev/null || kill "$receiver"
wait "$receiver"
w wal verify prod/db --level decode $S -r second && w wal verify prod/db --level decode $S
claim 'and both can be read'
finish
