#!/bin/bash
# What status makes of WAL that is old: a server that writes nothing loses nothing; one whose WAL does not come does; and where the server
# cannot be asked, neither is said.
. "${SOURCE_ROOT:?the project}/test/e2e/lib/tap.sh"
. "$SOURCE_ROOT/test/e2e/lib/pg.sh"
pg_needed
R=
trap '[ -z "$R" ] || kill -9 $R 2>/dev/null; cluster_stop "$C"' EXIT
pg_streamed idle >proofkeep.yaml
echo 'environments: { lab: { repository: main, policy: { rpo: 1s, verify: checksum } } }' >>proofkeep.yaml
cluster_start "$C" 'wal_level = replica' 'max_wal_senders = 4' 'synchronous_commit = on' || exit 1
sql -c 'CREATE TABLE t (i int)'
pk init --repository main && pk wal receive lab/pg --once --create-slot && pk backup lab/pg && pk verify lab/pg --level checksum && pk wal receive lab/pg --once
claim 'there is a base backup, and WAL after it'
# is STATE SERVER [CONDITION]: what status says now; in the condition w is the WAL's part and r the whole
is() {
  pk status lab/pg --json
  python3 - "$T/out" "$@" <<'PY' 2>"$T/null"
import json, sys
r = json.load(open(sys.argv[1]))["surfaces"][0]
w = r["wal"]
assert (r["state"], w["server"]) == (sys.argv[2], sys.argv[3]) and eval((sys.argv[4:] or ["True"])[0]), r
PY
}
start() {
  "$P" wal receive lab/pg >"$T/receive.out" 2>"$T/receive.err" </dev/null &
  R=$!
}
stop() {
  kill -TERM $R
  wait $R
  R=
}

start
await 120 is good same 'w["age_s"] > 2 and w["sure"] > w["last"] and w["server_why"] == "the server has written nothing since"'
claim 'WAL that is older than the RPO is no breach while the server has written nothing since'
pk status lab/pg --check && grep -q 'recoverable to any instant from .* ago; the server has written nothing since' "$T/out" "$T/err" &&
  pk status lab/pg --metrics && python3 - "$T/out" <<'PY'
import re, sys, time
at = float(re.search(r'proofkeep_recovery_point_timestamp_seconds{[^}]*} (\S+)', open(sys.argv[1]).read())[1])
assert time.time() - at < 60, at
PY
claim '... which it tells, and the metric goes with it'
stop
sql -c 'INSERT INTO t VALUES (1)'
await 60 is breached ahead '"the server has since written" in r["why"] and w["sure"] is None'
claim 'a server whose WAL does not come is in breach'
! pk status lab/pg --check && says 'the newest WAL is .* old; the RPO is 1 s; the server has since written .* that is not stored'
claim '... and a check says how much is not stored'
sql -c "ALTER SYSTEM SET archive_timeout = '1h'" -c 'SELECT pg_reload_conf()' >"$T/null" && loaded() { [ "$(sql -c 'SHOW archive_timeout')" = 1h ]; } && await 60 loaded && is breached ahead
claim 'archive_timeout says nothing of what is older than the server'
sql -c "ALTER SYSTEM SET archive_timeout = '15s'" -c 'SELECT pg_reload_conf()' >"$T/null"
lately() { sql -c 'INSERT INTO t VALUES (2)' && pk wal receive lab/pg --once && sql -c 'INSERT INTO t VALUES (3)' && sleep 2 && is breached soon '"is less than 30 s old" in w["server_why"] and w["sure"]'; }
await 120 lately
claim 'else it bounds how old that can be, and does not make it any younger'
# What was in the segment when the server started is not what archive_timeout looks at.
sql -c "ALTER SYSTEM SET archive_timeout = '3s'" >"$T/null" && pk wal receive lab/pg --once && sql -c 'INSERT INTO t VALUES (4)' && cluster_as "$C" "$PG_BIN/pg_ctl" -D "$C/data" -w -s -m immediate stop && cluster_start "$C" && sleep 5 && is breached ahead 'w["sure"] is None'
claim '... nor of one that crashed, and does not end its segment'
sql -c 'ALTER SYSTEM RESET archive_timeout' -c 'SELECT pg_reload_conf()' >"$T/null"
start
await 120 is good same
claim 'once it comes, nothing is lost any more'
stop

cluster_stop "$C"
await 60 is unknown silent '"whether the server has written more is not known: it could not be asked" in r["why"] and w["sure"] is None'
claim 'where the server cannot be asked, neither loss nor safety is claimed'
! pk status lab/pg --check && says 'lab/pg is unknown: the newest WAL is .* old' && pk status lab/pg && grep -q 'ago; whether the server has written more is not known: ' "$T/out" "$T/err"
claim '... and a check fails, because unknown means no'
mv "$C/data" "$C/former" && cluster_start "$C" && is breached other '"the server is another cluster" in r["why"]'
claim 'another cluster in its place is no witness for it'
cluster_stop "$C" && rm -rf "$C/data" && mv "$C/former" "$C/data" && cluster_as "$C" touch "$C/data/standby.signal" && cluster_start "$C"
is unknown silent '"it is a standby" in r["why"]'
claim 'neither is a standby'
finish
