#!/bin/bash
# Streaming WAL into a repository, against a real server: what comes back is the server's own, byte for byte, whoever is killed.
. "${SOURCE_ROOT:?the project}/test/e2e/lib/tap.sh"
. "$SOURCE_ROOT/test/e2e/lib/pg.sh"
pg_needed
R=
trap '[ -z "$R" ] || kill -9 $R 2>/dev/null; cluster_stop "$C"' EXIT
slot() { sql -c "SELECT $1 FROM pg_replication_slots WHERE slot_name = '${2:-proofkeep}'"; }
cluster_start "$C" 'fsync = on' 'synchronous_commit = on' || exit 1
{
  config_head
  printf '%s\n' 'surfaces:' '  db:' '    kind: postgres' '    class: runtime' "    connect: { host: $C/socket, user: postgres }"
  [ "$(id -u)" = 0 ] && echo '    run_as: postgres'
  printf '%s\n' '    wal: { mode: stream, every: 1s }' 'environments:' '  lab: { repository: main }'
} >proofkeep.yaml
pk init --repository main
claim 'a repository'

# fetched NAME: what 'wal get' gives is what the server has
fetched() {
  rm -f got
  "$P" wal get lab/db "$1" got >/dev/null 2>"$T/err" && cluster_as "$C" cat "$C/data/pg_wal/$1" | cmp - got
}
segments() { # all whole segments of the server that are stored, one a line
  "$P" wal list lab/db --json 2>/dev/null | python3 -c '
import json, sys
lsn = lambda t: int(t.split("/")[0], 16) << 32 | int(t.split("/")[1], 16)
for r in json.load(sys.stdin)["ranges"]:
    for at in range(lsn(r["from"]), lsn(r["to"]) >> 24 << 24, 1 << 24):
        print("%08X%08X%08X" % (r["timeline"], at >> 32, (at & 0xFFFFFFFF) >> 24))'
}
all_fetched() {
  local n=0
  for s in $(segments); do
    # Those that the server has recycled cannot be compared.
    cluster_as "$C" test -e "$C/data/pg_wal/$s" || continue
    fetched "$s" || return 1
    n=$((n + 1))
  done
  [ $n -gt 0 ]
}
stored() { # where what is stored ends
  "$P" wal list lab/db --json 2>/dev/null | python3 -c 'import json, sys; r = json.load(sys.stdin)["ranges"]; print(r[-1]["to"] if r else "0/0")'
}
is_stored() { [ "$(sql -c "SELECT '$(stored)'::pg_lsn >= '$1'::pg_lsn")" = t ]; }
start() {
  : >"$T/receive.err"
  "$P" wal receive lab/db "$@" >"$T/receive.out" 2>"$T/receive.err" </dev/null &
  R=$!
}
stop() {
  kill "-$1" $R
  wait $R
  local status=$?
  R=
  return $status
}

fails 1 PK-RCV-004 wal receive lab/db --once && says "there is no replication slot 'proofkeep'"
claim 'without a slot it says so'
fails 2 PK-USE-001 wal receive lab/db --until-lsn nowhere
claim 'a place that is none is refused'
sql -c 'CREATE TABLE t (n bigint, t text)' -c "INSERT INTO t SELECT i, repeat(md5(i::text), 10) FROM generate_series(1, 100000) i"
pk wal receive lab/db --once --create-slot --json && [ "$(result status)" = OK ] && [ "$(result segments)" -ge 1 ]
claim 'with --create-slot it is made, and all is stored that there was'
all_fetched
claim 'every segment comes back as the server has it'
[ "$(slot restart_lsn)" = "$(stored)" ]
claim 'the slot is confirmed just as far as is stored'
pk wal receive lab/db --once && grep -q '^lab/db: OK  0 segments' err
claim 'once more there is next to nothing to do'

# ---- as a service
start
await 60 grep -q receiving receive.err
sql -c "INSERT INTO t VALUES (0, 'one row')"
at=$(sql -c 'SELECT pg_current_wal_flush_lsn()')
await 60 is_stored "$at"
claim 'a row is stored within seconds, its segment is not whole'
"$P" wal receive lab/db --once --slot other --create-slot >out 2>err && await 60 sql -c "SELECT pg_drop_replication_slot('other')" 2>>err
claim 'another receiver with a slot of its own stores the same and is not in the way'
pk wal switch lab/db && grep -q '^[0-9A-F]\{24\}$' out && segment=$(cat out) && await 60 eval 'segments | grep -q "$segment"' && fetched "$segment"
claim 'a switch makes the segment whole, and it comes back'
switched_nothing() { pk wal switch lab/db && says 'Nothing was written'; }
await 60 switched_nothing # a server writes a little of its own now and then
claim 'a switch of an empty segment does nothing'
stop TERM
[ $? = 143 ] && grep -q 'STOPPED' receive.err
claim 'SIGTERM ends it with 143'

# ---- killed
for i in 1 2 3 4 5; do
  start
  cluster_as "$C" "$PG_BIN/psql" -X -q -c "INSERT INTO t SELECT i, repeat(md5(random()::text), 10) FROM generate_series(1, 30000) i" &
  sleep "0.$((RANDOM % 9 + 1))"
  stop KILL 2>/dev/null
  wait
  [ "$(sql -c "SELECT '$(slot restart_lsn)'::pg_lsn <= '$(stored)'::pg_lsn")" = t ] || break
done
[ $i = 5 ]
claim 'killed at any moment, no more is confirmed than is stored'
pk wal receive lab/db --once && all_fetched
claim 'and the next run goes on'
pk wal verify lab/db --level decode --json && [ "$(result status)" = OK ] && result gaps | grep -q '^\[\]$'
claim 'nothing is missing, and all of it can be read'

# ---- a repository that is out of reach for a while
start
await 60 grep -q receiving receive.err
mv "$T/repo/wal" "$T/away" && touch "$T/repo/wal"
sql -c "INSERT INTO t SELECT i, repeat(md5(random()::text), 10) FROM generate_series(1, 100000) i"
await 60 grep -q 'warning.*WAL cannot be stored' receive.err
claim 'a repository out of reach is a warning'
held=$(slot restart_lsn)
sleep 2
[ "$(slot restart_lsn)" = "$held" ]
claim 'and nothing is confirmed'
rm "$T/repo/wal" && mv "$T/away" "$T/repo/wal"
at=$(sql -c 'SELECT pg_current_wal_flush_lsn()')
await 60 is_stored "$at" && grep -q 'WAL is stored again' receive.err && all_fetched
claim 'when it is back, all is stored'
stop INT
[ $? = 130 ]
claim 'SIGINT ends it with 130'

# ---- a slot that was given up
sql -c "ALTER SYSTEM SET max_slot_wal_keep_size = '16MB'" -c "ALTER SYSTEM SET max_wal_size = '64MB'" -c 'SELECT pg_reload_conf()' >/dev/null
for i in 1 2 3 4; do
  sql -c "INSERT INTO t SELECT i, repeat(md5(random()::text), 10) FROM generate_series(1, 60000) i" -c 'SELECT pg_switch_wal()' -c 'CHECKPOINT' >/dev/null
done
[ "$(slot wal_status)" = lost ] && end=$(stored) && fails 4 PK-RCV-001 wal receive lab/db --once && says "WAL of timeline 1 from $end on is not stored"
claim 'WAL that the server no longer has is an error that names the place'
pk wal receive lab/db --once --accept-gap --json && grep -q '"what": *"gap"' out
claim 'it goes on behind the gap when it is told to'
fails 4 PK-VER-001 wal verify lab/db && grep -q "Missing on timeline 1: $end to " out
claim 'and verify shows the gap'
await 60 pk wal receive lab/db --drop-slot && [ -z "$(slot slot_name)" ]
claim 'the slot is dropped'

# ---- another cluster
cluster_stop "$C"
mv "$C/data" "$C/old"
cluster_start "$C" || exit 1
fails 5 PK-RCV-002 wal receive lab/db --once --create-slot && [ -z "$(slot slot_name)" ]
claim 'another cluster is refused, and nothing is made on it'
finish
