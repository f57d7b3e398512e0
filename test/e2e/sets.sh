#!/bin/bash
# Sets: PostgreSQL, Redis and files of one platform backed up and restored as one, while an application writes to all of them. What
# comes back is judged by psql, redis-cli and the files themselves.
. "${SOURCE_ROOT:?the project}/test/e2e/lib/tap.sh"
. "$SOURCE_ROOT/test/e2e/lib/redis.sh"
. "$SOURCE_ROOT/test/e2e/lib/pg.sh"
if [ -z "$PG_BIN" ] || [ -z "$REDIS_SERVER" ] || [ -z "$REDIS_CLI" ]; then
  echo '1..0 # skip PostgreSQL or Redis is not installed'
  exit 0
fi
R=$T/redis
writer=
trap '[ -z "$writer" ] || kill $writer; redis_stop "$R"; cluster_stop "$C"' EXIT
cluster_start "$C" && redis_start "$R" || exit 1
sql -c 'CREATE DATABASE shop'
sql -d shop -c 'CREATE TABLE tick (n bigint PRIMARY KEY)' -c "CREATE TABLE ballast AS SELECT i, repeat(md5(i::text), 8) AS t FROM generate_series(1, 60000) i"
# While $T/hold is there, a restore stands in the middle of this table.
sql -d shop -c "CREATE FUNCTION held() RETURNS boolean LANGUAGE plpgsql AS \$\$ BEGIN
    WHILE (pg_catalog.pg_stat_file('$T/hold', true)).size IS NOT NULL LOOP PERFORM pg_catalog.pg_sleep(0.05); END LOOP; RETURN true; END \$\$" \
  -c 'CREATE TABLE last (n int CHECK (held()))' -c 'INSERT INTO last VALUES (7)'
mkdir -p artifacts uploads settings
head -c 300000 /dev/urandom >artifacts/blob
echo one >uploads/a && echo 'port: 1' >settings/app.yaml

# The application: number after number into all three, one store after the other; it stands still while $T/frozen is there.
cat >app.sh <<'APP'
#!/bin/bash
for ((n = 1; ; n++)); do
  while [ -e "$1/frozen" ]; do
    : >"$1/still"
    sleep 0.02
  done
  rm -f "$1/still"
  echo "INSERT INTO tick VALUES ($n);"
  echo "set n $n" >&3
  echo $n >"$1/artifacts/n.new" && mv "$1/artifacts/n.new" "$1/artifacts/n"
  sleep 0.01
done
APP
# Whether its last number has come to all three.
cat >arrived.sh <<ARRIVED
#!/bin/bash
. "$SOURCE_ROOT/tools/demo/cluster.sh"
n=\$(cat "$T/artifacts/n") && [ "\$("$REDIS_CLI" -s "$R/s" get n 2>&1)" = "\$n" ] && [ "\$(cluster_psql "$C" -d shop -c 'SELECT max(n) FROM tick' 2>&1)" = "\$n" ]
ARRIVED
# A hook says that it ran, does its part, and fails when it is told to.
cat >hook.sh <<HOOK
#!/bin/bash
cat >>$T/told
echo "\$1" >>$T/ran
while [ -e $T/slow.\$1 ]; do sleep 0.05; done
if [ -e $T/end.\$1 ]; then kill -\$(cat $T/end.\$1) \$(cat $T/pid); sleep 0.3; fi
case \$1 in
freeze)
  : >$T/frozen
  for i in \$(seq 200); do [ -e $T/still ] || [ ! -e $T/writing ] && break; sleep 0.02; done
  for i in \$(seq 20); do [ ! -e $T/writing ] || $T/arrived.sh && break; sleep 0.1; done
  ;;
resume) rm -f $T/frozen ;;
health) [ -e $T/started ] ;;
start) : >$T/started ;;
esac
[ ! -e $T/fail.\$1 ]
HOOK
chmod +x app.sh arrived.sh hook.sh
hook() { echo "$1: { run: [$T/hook.sh, ${2:-$1}] }"; }
{
  config_head
  cat <<YAML
surfaces:
  cache:
    kind: redis
    class: runtime
    depends_on: [pg]
    rebuilt_from: [artifacts]
    server: { host: $R/s, conflicts: replace }
  pg:
    kind: postgres
    class: runtime
$([ "$(id -u)" != 0 ] || echo '    run_as: postgres')
    connect: { host: $C/socket, user: postgres, dbname: shop }
    databases: [shop]
  artifacts: { kind: files, class: truth, paths: [$T/artifacts] }
  uploads: { kind: files, class: truth, paths: [$T/uploads] }
  settings: { kind: files, class: config, paths: [$T/settings] }
sets:
  platform:
    surfaces: [cache, pg, artifacts]
    rpo: 1h
    rto: 10m
    hooks:
      $(hook freeze)
      $(hook resume)
      $(hook start)
      $(hook health)
      checks: { $(hook smoke) }
  brief: { surfaces: [pg, cache], freeze_max: 1s, hooks: { $(hook freeze), $(hook resume) } }
  disaster_recovery: { surfaces: [pg, cache, artifacts, uploads, settings] }
environments:
  lab: { repository: main }
  prod: { repository: main, protected: true }
YAML
} >proofkeep.yaml
pk init --repository main || exit 1
: >writing
./app.sh "$T" 3> >("$REDIS_CLI" -s "$R/s" >/dev/null 2>&1) > >(PGOPTIONS='-c synchronous_commit=off' cluster_psql "$C" -d shop >/dev/null) &
writer=$!
sleep 0.5
receipts() { "$P" ledger list --json | python3 -c "import json, sys; print(sum('$1' in json.dumps(e) for e in json.load(sys.stdin)['entries']))"; }
shown() { "$P" show "$1" --json 2>err | python3 -c "
import json, sys
d = json.load(sys.stdin)
$2"; }

# ---- backup ----
pk backup lab/platform --json && [ "$(result sets.0.consistency)" = quiesced ] && [ "$(result sets.0.stored)" = 3 ] && [ "$(result sets.0.frozen_held)" = True ]
claim 'a set whose hooks froze writes for all captures is quiesced'
[ "$(cat ran)" = "$(printf 'freeze\nresume')" ] && [ ! -e frozen ]
claim 'its hooks ran once each'
set1=$(result sets.0.set_id) was=$(cat artifacts/n)
await 60 eval '[ "$(cat artifacts/n)" -gt "$was" ]'
claim 'and writes go on'
pk restore "lab/platform@$set1" --into "pg=shop_then,artifacts=$T/then/a,cache=$T/then/r" && redis_start "$T/then/r" --appendonly no &&
  then=$(cat then/a/n) && [ "$(redis_in "$T/then/r" get n)" = "$then" ] && [ "$(sql -d shop_then -c 'SELECT max(n) FROM tick')" = "$then" ]
claim 'restored beside the live ones, all three end with the same write'
redis_stop "$T/then/r"
sql -c 'DROP DATABASE shop_then' && rm -rf then
: >ran
[ "$(receipts backup-receipt/v1)" = 3 ] && [ "$(receipts set/v1)" = 1 ]
claim 'there is a receipt of each surface and one of the set'
shown lab/platform@latest 'r = d["receipt"]
assert [m["surface"] for m in r["members"]] == ["artifacts", "pg", "cache"], r
assert r["status"] == "success" and not r["missing"] and r["freeze"]["held"], r
assert r["members"][2]["depends_on"] == ["pg"], r'
claim 'which names the others by digest, in the order of restoring'
pk backup lab/pg lab/cache --json && [ "$(result sets.0.consistency)" = per-surface ] && [ "$(result sets.0.set)" = pg,cache ]
claim 'several targets are a set; where each is exact at its own instant, per surface'
pk backup lab/pg,artifacts --json && [ "$(result sets.0.consistency)" = fuzzy ]
claim 'and fuzzy where one cannot give an instant'
pk backup lab/@truth --json && [ "$(result sets.0.set)" = @truth ] && [ "$(result sets.0.stored)" = 2 ] && pk show lab/@truth@latest
claim 'a class is one'
pk backup lab/all --json && [ "$(result sets.0.stored)" = 5 ] && pk backup lab/disaster_recovery --json && [ "$(result sets.0.stored)" = 5 ]
claim 'so is everything, and a set of stores, configuration and uploads'
pk backup lab/uploads --json && [ "$(result sets)" = '[]' ]
claim 'one surface is none'

# ---- what goes wrong ----
: >fail.freeze
before=$(receipts backup-receipt/v1)
: >ran
fails 1 PK-HOK-001 backup lab/platform && says "'resume' was run" && [ "$(receipts backup-receipt/v1)" = "$before" ] && [ "$(tail -n1 ran)" = resume ] && [ ! -e frozen ]
claim 'when writes cannot be frozen nothing is captured, and resume is run all the same'
rm fail.freeze
# as a cutover leaves it that was killed
mkdir -p "$T/cache/proofkeep/plans" && echo '{"v":1,"state":"running","kept":{"environment":"lab"}}' >"$T/cache/proofkeep/plans/cut-0123456789abcdef.journal"
: >ran
fails 11 PK-SET-001 backup lab/platform && says 'cut-0123456789abcdef' && [ ! -s ran ]
claim 'what a cutover froze that has not come to its end is not resumed by a set'
rm "$T/cache/proofkeep/plans/cut-0123456789abcdef.journal"
: >slow.freeze
: >ran
"$P" backup lab/platform >one.out 2>one.err </dev/null &
one=$!
await 60 grep -q freeze ran
fails 11 PK-SET-001 backup lab/platform && rm slow.freeze && wait $one
claim 'two runs do not freeze one environment at a time'
rm -f slow.freeze
sql -d shop -c 'BEGIN; LOCK TABLE ballast; SELECT pg_sleep(12)' >/dev/null &
locker=$!
locked() { [ "$(sql -d shop -c "SELECT count(*) FROM pg_locks WHERE granted AND relation = 'ballast'::regclass")" = 1 ]; }
await 60 locked
pk backup lab/brief --json && [ "$(result sets.0.consistency)" = per-surface ] && [ "$(result sets.0.frozen_held)" = False ] && [ "$(result sets.0.frozen_ms)" -lt 6000 ] && grep -q 'take longer than freeze_max' out
claim 'captures that take longer than freeze_max do not keep writes frozen, and are not called quiesced'
wait $locker
stopped() { # SIGNAL: ... in the middle of freezing
  echo "$1" >end.freeze
  : >ran
  "$P" backup lab/platform >out 2>err </dev/null &
  echo $! >pid.new && mv pid.new pid
  wait $!
  local status=$?
  rm -f end.freeze
  return $status
}
stopped TERM
[ $? = 143 ] && [ "$(tail -n1 ran)" = resume ] && [ ! -e frozen ]
claim 'SIGTERM: resume is run'
stopped KILL 2>/dev/null
[ $? = 137 ] && ! grep -q resume ran
claim 'SIGKILL: it cannot be'
await 60 test -e frozen
pk status lab && says "ran 'freeze' of lab/platform at .* was killed or failed before that was undone"
claim 'status says so'
: >ran
pk backup lab/platform --json && grep -q "'resume' is run now" out && [ "$(cat ran)" = "$(printf 'resume\nfreeze\nresume')" ] && [ "$(result sets.0.consistency)" = quiesced ]
claim 'and so does the next run, which undoes it first'
pk backup lab/platform && ! says 'was killed' && pk status lab && ! says 'was killed'
claim 'once'
whole=$("$P" list lab/platform@latest --json | python3 -c 'import json, sys; print(json.load(sys.stdin)["sets"][0]["id"])')
redis_stop "$R"
pk backup lab/platform --json
[ $? = 3 ] && [ "$(result error.code)" = PK-SRC-005 ] && [ "$(result sets.0.stored)" = 2 ] && [ ! -e frozen ]
claim 'one surface that fails makes the set partial: exit 3'
partial=$(result sets.0.set_id)
shown "lab/platform@$partial" 'r = d["receipt"]
assert r["status"] == "partial" and [m["surface"] for m in r["missing"]] == ["cache"] and r["missing"][0]["code"].startswith("PK-"), r'
claim 'and its receipt says what is missing'
shown "lab/platform@$partial" 'assert d["receipt"]["missing"][0]["rebuilt_from"] == ["artifacts"] and not any("rebuilt_from" in m for m in d["receipt"]["members"]), d' &&
  shown "lab/platform@$whole" 'assert [m.get("rebuilt_from") for m in d["receipt"]["members"] if m["surface"] == "cache"] == [["artifacts"]], d' &&
  pk restore "lab/platform@$partial" --into "$T/partial" --dry-run && grep -q 'the set has nothing of cache: .*; it is rebuilt from artifacts' out &&
  fails 2 PK-USE-002 restore prod/cache && says 'cache is rebuilt from artifacts: restore that, and make cache anew from it'
claim '... and what that is rebuilt from, as a restore does'
"$P" list lab/platform@latest --json | grep -q "$whole"
claim 'the latest set is the last whole one'
redis_start "$R" || exit 1
pk backup lab/pg,artifacts --export "$T/exported" --timestamp 20250201_101500 && python3 - <<PY
import json, os
m = json.load(open("exported/backup-manifest.json"))
assert m["timestamp"] == "20250201_101500", m
assert m["services"] == {"pg": "pg_20250201_101500", "artifacts": "artifacts_20250201_101500"}, m
for name in m["services"].values():
    assert os.path.exists(f"exported/{name}/CHECKSUMS"), name
PY
claim 'an export has names that are known beforehand and a backup-manifest.json'
fails 2 PK-USE-001 backup lab/pg --timestamp now && fails 2 PK-USE-001 backup lab/pg --export "$T/exported" --timestamp ../up
claim 'names that lead elsewhere, or are of no export, are refused'

# ---- restore ----
: >frozen
while [ ! -e still ]; do sleep 0.02; done
kill $writer && wait $writer 2>/dev/null
writer=
rm -f writing frozen
await 60 ./arrived.sh
redis_in "$R" set k v >/dev/null
pk backup lab/platform || exit 1
ticks=$(sql -d shop -c 'SELECT max(n), count(*) FROM tick') sums=$(sha256sum artifacts/*)
n=$(cat artifacts/n)
[ "$(redis_in "$R" get n)" = "$n" ] && [ "${ticks%%|*}" = "$n" ]
claim 'the application wrote the same to all three'
wipe() {
  sql -c 'DROP DATABASE IF EXISTS shop WITH (FORCE)' && redis_in "$R" flushall >/dev/null && rm -rf "$T"/artifacts* && rm -f "$T/started"
}
back() {
  [ "$(sql -d shop -c 'SELECT max(n), count(*) FROM tick')" = "$ticks" ] && [ "$(sql -d shop -c 'SELECT count(*) FROM ballast')" = 60000 ] &&
    [ "$(redis_in "$R" get n)" = "$n" ] && [ "$(redis_in "$R" get k)" = v ] && [ "$(sha256sum artifacts/*)" = "$sums" ]
}
plan() { # ADDRESS [OPTION...]
  pk restore "$@" --dry-run --json && result plan
}
wipe
: >ran
p=$(plan lab/platform@latest --swap) && [ ! -e artifacts ] && pk restore --plan "$p" --json && back
claim 'a wiped platform is restored as one'
[ "$(cat ran)" = "$(printf 'start\nhealth\nsmoke')" ] && [ "$(result restored)" = 3 ] && [ "$(result checks_failed)" = 0 ] && grep -q '"check":"integrity","duration_ms":[0-9]*,"how":"every table' out
claim 'what was restored is measured, then services are started and asked, and the checks are run'
[ "$(receipts set-restore/v1)" = 2 ] && pk status lab --json && python3 - <<'PY'
import json
s = [s for s in json.load(open("out"))["sets"] if s["set"] == "platform"][0]
assert s["state"] == "good" and s["rpo_s"] == 3600 and s["rto_s"] == 600, s
assert 0 < s["last_restore"]["took_ms"] < 600000 and s["last_good"]["consistency"] == "quiesced", s
PY
claim 'it has a receipt, and status holds its time against the RTO'
oid=$(sql -c "SELECT oid FROM pg_database WHERE datname = 'shop'")
: >ran
pk restore --plan "$p" --json && [ "$(result already)" = 3 ] && [ "$(result restored)" = 0 ] && [ "$oid" = "$(sql -c "SELECT oid FROM pg_database WHERE datname = 'shop'")" ] && grep -q smoke ran
claim 'the same plan again does nothing again, and checks again'
wipe
p=$(plan lab/platform@latest --swap)
: >hold
"$P" restore --plan "$p" >out 2>err </dev/null &
pid=$!
await 60 grep -qs '"state": "done"' "$XDG_CACHE_HOME/proofkeep/plans/$p.journal"
kill -KILL $pid
wait $pid 2>/dev/null
[ -e artifacts/blob ] && [ -z "$(sql -c "SELECT 1 FROM pg_database WHERE datname = 'shop'")" ]
claim 'killed after its first surface'
inode=$(stat -c %i artifacts)
rm hold
pk restore --plan "$p" --json && [ "$(result already)" = 1 ] && [ "$(result restored)" = 2 ] && back && [ "$inode" = "$(stat -c %i artifacts)" ]
claim 'it goes on where it was, and restores nothing twice'
# killed in the middle of the second, which goes beside the live one
databases() { sql -c "SELECT count(*) FROM pg_database WHERE datname NOT IN ('postgres', 'template0', 'template1')"; }
killed_in_pg() { # waits until the half of it has a table, so that it is past being made, and artifacts are there
  : >hold
  "$P" restore --plan "$p" >out 2>err </dev/null &
  pid=$!
  has_table() { [ -n "$(cluster_psql "$C" -d "$1" -c "SELECT 1 FROM pg_class WHERE relname = 'ballast'" 2>/dev/null)" ]; }
  await 60 has_table "$1" && await 60 grep -qs '"state": "done"' "$XDG_CACHE_HOME/proofkeep/plans/$p.journal" && kill -KILL $pid
  rm hold
  wait $pid 2>/dev/null
  [ $? = 137 ]
}
rm -rf side && wipe && redis_in "$R" set k v >/dev/null
p=$(plan lab/platform@latest --into "pg=shop_half,artifacts=$T/side/h,cache=$T/side/hr") && killed_in_pg shop_half && [ "$(databases)" = 1 ] &&
  sql -c "SELECT shobj_description(oid, 'pg_database') FROM pg_database WHERE datname = 'shop_half'" | grep -q 'half restored by proofkeep' && [ -e side/h/blob ] && [ ! -e side/hr ]
claim 'killed in the middle of a database that goes beside the live one, it leaves half of it, which says so'
pk restore --plan "$p" --abort --json && [ "$(result undone)" = 1 ] && [ "$(result members.0.result)" = 'already restored' ] && [ "$(databases)" = 0 ] && [ -e side/h/blob ]
claim '--abort drops that, and nothing that was restored whole'
pk restore --plan "$p" --abort && grep -q 'nothing was left to be undone' out
claim 'once'
killed_in_pg shop_half && pk restore --plan "$p" --json && [ "$(result already)" = 1 ] && [ "$(result restored)" = 2 ] && [ "$(databases)" = 1 ] && [ "$(sql -d shop_half -c 'SELECT count(*) FROM ballast')" = 60000 ] &&
  [ -z "$(sql -c "SELECT shobj_description(oid, 'pg_database') FROM pg_database WHERE datname = 'shop_half'")" ]
claim 'the same plan again drops the half and restores it anew'
sql -c 'DROP DATABASE shop_half' && rm -rf side
# the server goes on with CREATE DATABASE when the client that said it is killed
p=$(plan lab/platform@latest --into "pg=shop_half,artifacts=$T/side/h,cache=$T/side/hr") || exit 1
: >hold
"$P" restore --plan "$p" >out 2>err </dev/null &
pid=$!
making() { [ "$(sql -c "SELECT (SELECT count(*) FROM pg_stat_activity WHERE query LIKE 'CREATE DATABASE%' AND pid <> pg_backend_pid()) + (SELECT count(*) FROM pg_database WHERE datname = 'shop_half')")" != 0 ]; }
halted $pid making && kill -KILL $pid && rm hold && ! wait $pid 2>/dev/null && await 60 eval '[ "$(databases)" = 1 ]' && pk restore --plan "$p" --abort && [ "$(databases)" = 0 ]
claim 'so does the half of a run that was killed while its database was being made'
rm -rf side
p=$(plan lab/platform@latest --into "pg=shop_half,artifacts=$T/side/h,cache=$T/side/hr") && killed_in_pg shop_half && sql -c 'DROP DATABASE shop_half WITH (FORCE)' -c 'CREATE DATABASE shop_half' -c "COMMENT ON DATABASE shop_half IS 'of somebody else'"
pk restore --plan "$p" --abort && [ "$(databases)" = 1 ] && { pk restore --plan "$p"; [ $? = 5 ]; } && [ "$(databases)" = 1 ] && [ "$(sql -c "SELECT shobj_description(oid, 'pg_database') FROM pg_database WHERE datname = 'shop_half'")" = 'of somebody else' ]
claim 'what somebody else has put there since is not taken for the half of it'
sql -c 'DROP DATABASE shop_half' && rm -rf side
wipe
sql -c 'CREATE DATABASE shop'
(cluster_psql "$C" -d shop -c 'SELECT pg_sleep(600)' >/dev/null 2>&1) &
held=$!
is_held() { [ -n "$(sql -c "SELECT 1 FROM pg_stat_activity WHERE query LIKE 'SELECT pg_sleep%'")" ]; }
await 60 is_held
p=$(plan lab/platform@latest --swap)
: >ran
fails 1 PK-SET-002 restore --plan "$p" && says 'pg: ' && says 'cache: NOT BEGUN' && [ -e artifacts/blob ] && [ "$(redis_in "$R" dbsize)" = 0 ] && [ "$(cat ran)" = start ]
claim 'what depends on a surface that failed is not begun; what was restored stays'
sql -c "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = 'shop'" >/dev/null
wait $held 2>/dev/null
: >fail.smoke
fails 1 PK-SET-003 restore --plan "$p" && says 'smoke' && back
claim 'a smoke check that fails fails the restore'
rm fail.smoke
pk restore --plan "$p" --json && [ "$(result already)" = 3 ] && [ "$(result checks_failed)" = 0 ]
claim 'until it passes'
rm -rf side
pk restore lab/platform@latest --into "pg=shop_copy,artifacts=$T/side/a,cache=$T/side/r" --dry-run --json && p=$(result plan) && : >fail.smoke
fails 1 PK-SET-003 restore --plan "$p" && [ "$(sql -d shop_copy -c 'SELECT count(*) FROM ballast')" = 60000 ] && [ -e side/r/dump.rdb ] && cmp -s side/a/blob artifacts/blob
claim 'each surface goes beside the live one where it is told to'
grep -q '^PASSED *pg: integrity, every table' out && grep -q '^PASSED *cache: integrity, every key in dump.rdb' out && ! grep -q '^NOT CHECKED' out
claim 'and is measured where it lies: a database by its other name, keys in their folder'
sql -d shop_copy -c 'DELETE FROM ballast WHERE i = 7'
fails 4 PK-RST-005 restore --plan "$p" && says 'pg: .*ballast'
claim 'which tells that a row is gone from what an earlier run restored'
sql -d shop_copy -c "INSERT INTO ballast VALUES (7, repeat(md5('7'), 8))" && flip side/r/dump.rdb 40
pk restore --plan "$p"
[ $? != 0 ] && says 'cache: .*dump.rdb'
claim 'or that a bit of the keys is another'
rm fail.smoke
pk restore lab/disaster_recovery@latest --into "$T/side/all" && cmp -s side/all/settings/app.yaml settings/app.yaml && cmp -s side/all/uploads/a uploads/a
claim 'or all that can be folders below one'
fails 2 PK-USE-001 restore lab/platform@latest --into "nothing=here" && fails 2 PK-USE-001 restore lab/platform@latest --path x
claim 'what names no surface of it, or is of one surface, is refused'
fails 2 PK-USE-001 restore lab/platform@latest --into "pg=shop_two,artifacts=$T/side/two,cache=$T/side/two" && says "would both be restored to $T/side/two" && [ ! -e side/two ]
claim 'and so are two that would go to one folder, before anything is restored'
pk verify lab/platform@latest --level full && says 'VERIFIED  level full: 3 recovery points'
claim 'a set is verified as one'

# ---- guards and configuration ----
mkdir elsewhere
(cd elsewhere && "$P" restore lab/@truth@latest --into "$T/side/bare" --repository "$T/repo" --key-file "$T/key" >"$T/out" 2>"$T/err") && cmp -s side/bare/uploads/a uploads/a
claim 'the repository and its key are enough to restore a set, without a configuration'
pk backup prod/platform || exit 1
p=$(plan prod/platform@latest --into "pg=prod_copy,artifacts=$T/side/p,cache=$T/side/q")
id=$("$P" list prod/platform@latest --json | python3 -c 'import json, sys; print(json.load(sys.stdin)["sets"][0]["id"])')
fails 5 PK-RST-003 restore --plan "$p" && [ ! -e side/p ] && pk restore --plan "$p" --confirm "restore prod/platform to $id" && [ -e side/p/blob ]
claim 'a protected environment wants the phrase, once for all of the set'
sed 's/^  brief:/  pg:/' proofkeep.yaml >other.yaml
fails 2 PK-CFG-003 status --config other.yaml && says "the set 'pg' has the name of a surface"
claim 'a set cannot have the name of a surface'
sed 's/^    kind: postgres/    depends_on: [cache]\n&/' proofkeep.yaml >other.yaml
fails 2 PK-CFG-003 status --config other.yaml && says 'depends on itself'
claim 'nor can surfaces depend on each other in a circle'
finish
