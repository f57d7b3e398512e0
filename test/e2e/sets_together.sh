#!/bin/bash
# Sets: what does not depend on each other is restored at the same time, and a kill, an undo, a failure with several on their way is
# as sure as with one. Each is held where it is: Redis by a pause of writes, PostgreSQL in the middle of a table by a check of its own.
. "${SOURCE_ROOT:?the project}/test/e2e/lib/tap.sh"
. "$SOURCE_ROOT/test/e2e/lib/redis.sh"
. "$SOURCE_ROOT/test/e2e/lib/pg.sh"
redis_needed
if [ -z "$PG_BIN" ]; then
  echo '1..0 # skip PostgreSQL is not installed'
  exit 0
fi
A=$T/a B=$T/b
job=
trap '[ -z "$job" ] || kill -9 $job 2>/dev/null; redis_stop "$A"; redis_stop "$B"; cluster_stop "$C"' EXIT
cluster_start "$C" && redis_start "$A" && redis_start "$B" || exit 1
sql -c 'CREATE DATABASE shop'
sql -d shop -c "CREATE FUNCTION held() RETURNS boolean LANGUAGE plpgsql AS \$\$ BEGIN
    WHILE (pg_catalog.pg_stat_file('$T/hold', true)).size IS NOT NULL LOOP PERFORM pg_catalog.pg_sleep(0.05); END LOOP; RETURN true; END \$\$" \
  -c 'CREATE TABLE ballast AS SELECT i FROM generate_series(1, 1000) i' -c 'CREATE TABLE last (n int CHECK (held()))' -c 'INSERT INTO last VALUES (7)'
mkdir artifacts && head -c 100000 /dev/urandom >artifacts/blob && sum=$(sha256sum artifacts/blob)
for s in "$A" "$B"; do redis_in "$s" eval "for i = 1, 2000 do redis.call('set', 'k' .. i, i) end" 0 >/dev/null; done
{
  config_head
  cat <<YAML
surfaces:
  cache: { kind: redis, class: runtime, server: { host: $A/s, conflicts: replace } }
  sessions: { kind: redis, class: runtime, server: { host: $B/s, conflicts: replace } }
  pg:
    kind: postgres
    class: runtime
$([ "$(id -u)" != 0 ] || echo '    run_as: postgres')
    connect: { host: $C/socket, user: postgres, dbname: shop }
    databases: [shop]
  artifacts: { kind: files, class: cache, paths: [$T/artifacts], depends_on: [cache] }
environments:
  lab: { repository: main }
YAML
} >proofkeep.yaml
pk init --repository main && pk backup lab/all || exit 1
wipe() {
  rm -f hold
  for s in "$A" "$B"; do redis_in "$s" client unpause >/dev/null && redis_in "$s" flushall >/dev/null; done
  sql -c 'DROP DATABASE IF EXISTS shop WITH (FORCE)' && rm -rf "$T"/artifacts*
}
pause() { for s; do redis_in "$s" client pause 600000 write >/dev/null; done; }
go_on() {
  rm -f hold
  for s in "$A" "$B"; do redis_in "$s" client unpause >/dev/null; done
}
back() {
  [ "$(sql -d shop -c 'SELECT (SELECT count(*) FROM ballast), n FROM last')" = '1000|7' ] && [ "$(redis_in "$A" dbsize)" = 2000 ] &&
    [ "$(redis_in "$B" get k2000)" = 2000 ] && [ "$(redis_in "$B" dbsize)" = 2000 ] && [ "$(sha256sum artifacts/blob)" = "$sum" ]
}
plan() { pk restore lab/all@latest --swap --dry-run --json && p=$(result plan); }
begin() {
  "$P" restore --plan "$p" --jobs 4 "$@" >out 2>err </dev/null &
  job=$!
}
# What the journal of the plan says, "surface=state" in the order of names.
states() {
  python3 - "$XDG_CACHE_HOME/proofkeep/plans/$p.journal" <<'PY'
import json, sys
try:
    print(" ".join(f"{k}={v['state']}" for k, v in sorted(json.load(open(sys.argv[1]))["members"].items())))
except OSError:
    print()
PY
}
are() { [ "$(states)" = "$1" ]; }
half() { sql -c "SELECT datname FROM pg_database WHERE shobj_description(oid, 'pg_database') LIKE '%half restored by proofkeep%'"; }
in_table() { # the restore of PostgreSQL waits in its table
  [ "$(sql -c "SELECT count(*) FROM pg_stat_activity WHERE query LIKE 'COPY%last%' AND wait_event = 'PgSleep'")" = 1 ]
}
killed() {
  kill -KILL $job
  wait $job 2>/dev/null
  [ $? = 137 ]
}

# ---- killed ----
wipe && : >hold && pause "$A" "$B" && plan && begin
await 120 are 'cache=begun pg=begun sessions=begun' && await 120 in_table && [ ! -e artifacts ]
claim 'three surfaces are restored at the same time, and what depends on one of them waits'
killed && are 'cache=begun pg=begun sessions=begun' && [ "$(half | wc -l)" = 1 ] && [ "$(redis_in "$A" dbsize)$(redis_in "$B" dbsize)" = 00 ]
claim 'killed, the journal has all three as begun'
go_on
pk restore --plan "$p" --jobs 4 --json && [ "$(result restored)" = 4 ] && [ "$(result already)" = 0 ] && back && [ -z "$(half)" ]
claim 'the same plan again restores all of them'
python3 - <<'PY'
import json
events = [json.loads(line) for line in open("out")]
all = {"lab/cache", "lab/sessions", "lab/pg", "lab/artifacts"}
ended = {e["surface"]: e["result"] for e in events if e["type"] == "member"}
assert set(ended) == all and set(ended.values()) == {"restored"}, ended
assert {e["surface"] for e in events if e["type"] in ("phase", "progress")} <= all, events
PY
claim 'events say of which surface they are'

# ---- one goes on while another stands, killed, undone ----
wipe && : >hold && pause "$B" && plan && begin
await 120 are 'artifacts=done cache=done pg=begun sessions=begun' && await 120 in_table && killed
claim 'what waited for a surface is restored once that is there, while others are on their way'
go_on
fails 1 PK-SET-002 restore --plan "$p" --abort && says 'sessions: .*in place' && [ -z "$(half)" ] && are 'artifacts=done cache=done sessions=begun'
claim '--abort drops the half database, and says that what goes in place may be half'
inode=$(stat -c %i artifacts)
pk restore --plan "$p" --json --jobs 4 && [ "$(result already)" = 2 ] && [ "$(result restored)" = 2 ] && back && [ "$inode" = "$(stat -c %i artifacts)" ]
claim 'the plan carried out again mends that, and restores nothing twice'

# ---- one fails, one is stopped ----
wipe && : >hold && plan && redis_in "$A" config set maxmemory 1 >/dev/null && begin
await 120 eval '[ "$(redis_in "$B" dbsize)" = 2000 ]' && await 120 in_table && await 120 grep -q 'artifacts: NOT BEGUN' err && rm hold
wait $job
[ $? = 1 ] && says 'PK-SET-002' && says 'lab/cache: FAILED' && says 'depends on cache' && says '2 of 4 surfaces are restored, 1 failed, 1 not begun' && [ ! -e artifacts ] &&
  [ "$(sql -d shop -c 'SELECT n FROM last')" = 7 ]
claim 'one that fails stops what depends on it, and none of the others'
redis_in "$A" config set maxmemory 0 >/dev/null
pk restore --plan "$p" --json --jobs 4 && [ "$(result already)" = 2 ] && [ "$(result restored)" = 2 ] && back
claim 'and is restored by the same plan'
wipe && pause "$A" "$B" && plan && begin
await 120 are 'cache=begun pg=done sessions=begun' && kill -TERM $job && go_on
wait $job
[ $? = 143 ] && [ ! -e artifacts ] && [ "$(redis_in "$A" dbsize)$(redis_in "$B" dbsize)" = 00 ] && pk restore --plan "$p" --jobs 4 --json && [ "$(result already)" = 1 ] && back
claim 'SIGTERM ends all that are on their way, and the plan goes on later'
wipe && plan && pk restore --plan "$p" --jobs 1 --json && [ "$(result restored)" = 4 ] && back
claim 'with one job they go one after the other'
job=
rm -rf side
pk restore lab/all@latest --into "cache=unix:$B/s?0=5,sessions=$T/side/s,pg=shop_side,artifacts=$T/side/a" --json && [ "$(result checks_not_made)" = 1 ] && [ "$(result checks_failed)" = 0 ] && [ "$(redis_in "$B" -n 5 dbsize)" = 2000 ] &&
  grep '"type":"receipt"' out | grep -q '"result":"NOT_CHECKED","surface":"cache"'
claim 'what cannot be measured where it was restored is counted, and stands in the receipt'
pk restore lab/all@latest --into "cache=unix:$B/s?0=6,sessions=$T/side/s2,pg=shop_side2,artifacts=$T/side/a2" &&
  grep -q '^NOT CHECKED *cache: integrity, cannot be measured there' out && grep -q 'checks passed, 1 could not be made' out && grep -q '^PASSED *pg: integrity' out
claim 'and said to people'
for i in $(seq 2 15); do redis_in "$B" -n $i set other key >/dev/null; done
pk restore lab/all@latest --into "sessions=swap,cache=$T/side/r,pg=shop_side3,artifacts=$T/side/a3" --dry-run --json && p=$(result plan) && pk restore --plan "$p" && [ "$(redis_in "$B" dbsize)" = 2000 ] && [ "$(redis_in "$B" -n 1 dbsize)" = 2000 ] &&
  pk restore --plan "$p" --json && [ "$(result already)" = 4 ]
claim 'a Redis that is swapped in with its last spare database is restored, and known for that again'
finish
