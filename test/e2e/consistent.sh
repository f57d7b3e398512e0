#!/bin/bash
# Two databases that belong together: captured in one range of instants while both are written to, agreeing, and held against each other
# again in every copy.
. "${SOURCE_ROOT:?the project}/test/e2e/lib/tap.sh"
. "$SOURCE_ROOT/test/e2e/lib/pg.sh"
pg_needed
writer=
trap '[ -z "$writer" ] || kill $writer 2>/dev/null; cluster_stop "$C"' EXIT
chmod 755 "$T"
cluster_start "$C" 'wal_level = replica' 'max_wal_senders = 4' 'full_page_writes = on' || exit 1
sql -c 'CREATE DATABASE store' -c 'CREATE DATABASE meta' -c 'CREATE DATABASE apart'
sql -d store -c 'CREATE TABLE snapshot (id int PRIMARY KEY, body text)' -c "INSERT INTO snapshot SELECT i, repeat(md5(i::text), 20) FROM generate_series(1, 4000) i"
sql -d meta -c 'CREATE TABLE entry (snapshot int PRIMARY KEY, at timestamptz DEFAULT now())' -c 'INSERT INTO entry SELECT generate_series(1, 4000)'
config() { # FILE OTHER-SQL [OTHER-DATABASE]
  cat >"$1" <<YAML
$(config_head)
surfaces:
  dump:
    kind: postgres
    class: truth
    databases: [apart, meta, store]
    connect: { host: $C/socket, user: postgres }
    $(as_root && echo 'run_as: postgres')
    consistent:
      - { name: newest, database: store, sql: SELECT max(id) FROM public.snapshot, other: ${3:-meta}, other_sql: $2 }
      - { name: count, database: store, sql: SELECT count(*) FROM public.snapshot, other: meta, other_sql: SELECT count(*) FROM public.entry }
  files:
    kind: postgres
    class: truth
    method: physical
    through: replication
    connect: { host: $C/socket, user: postgres }
    $(as_root && echo 'run_as: postgres')
    consistent:
      - { name: newest, database: store, sql: SELECT max(id) FROM public.snapshot, other: meta, other_sql: $2 }
environments:
  lab: { repository: main }
YAML
}
config proofkeep.yaml 'SELECT max(snapshot) FROM public.entry'
pk init --repository main
# A writer that says the same to both, one right after the other, and rests.
(
  i=4001
  while [ ! -e "$T/stop" ]; do
    { echo "INSERT INTO snapshot VALUES ($i, 'new');"; echo '\c meta'; echo "INSERT INTO entry VALUES ($i);"; } | sql -d store >/dev/null 2>&1
    i=$((i + 1))
    sleep 0.2
  done
) &
writer=$!
pk backup lab/dump --json
claim 'two databases that belong together are dumped while both are written to'
pk show "lab/dump@$(point lab/dump)" --json && python3 - <<'PY'
import json
s = json.load(open("out"))["snapshot"]
c = s["facts"]["consistent"]
assert c["from"] < c["to"] and c["from"][:4] == c["to"][:4], c
inv = s["invariants"]
for name in ("newest", "count"):
    v = inv["consistent/" + name]["value"]
    assert v["here"] == v["there"] >= 4000, v
said = inv["consistent/count"]["value"]["here"]
assert inv["db/store/public.snapshot"]["value"]["rows"] == said and inv["db/meta/public.entry"]["value"]["rows"] == said, (said, inv)
PY
claim 'the range of instants is recorded, and what was dumped is what was asked'
pk backup lab/files
claim 'so are the files of both'
touch stop
wait $writer
writer=
pk verify lab/dump --level full && says 'VERIFIED  level full'
claim 'the dumps are restored into a scratch server, and agree there'
pk verify lab/files --level full && says 'VERIFIED  level full'
claim 'and so do the files'

sql -d meta -c 'DELETE FROM entry WHERE snapshot > 3990'
pk backup lab/dump --json
status=$?
[ $status = 3 ] && grep -q '2 of 2 declared pairs do not agree' out
claim "databases that do not agree are dumped all the same, and the backup is marked as partial (status $status)"
pk show "lab/dump@$(point lab/dump)" --json && grep -q '"there": 3990' out
claim '... with what each of them said'
pk backup lab/files
[ $? = 3 ] && says 'consistent: 1 declared pairs do not agree'
claim '... and so is one of their files'
fails 2 PK-USE-001 restore lab/dump --into copy --target-time 2100-01-01T00:00:00Z && says 'is no physical backup: what it holds is of one instant' &&
  says 'Recover from lab/files, which has physical backups, the nearest bkp-[^ ]*; the newest that dump has of its own before that is bkp-[^ ]*, of 20' &&
  fails 2 PK-USE-001 restore lab/dump --rows public.entry --database meta --target-time 2100-01-01T00:00:00Z && says 'is no physical backup'
claim 'a dump is not asked for an instant: what can be is named'
config wrong.yaml 'SELECT max(snapshot) FROM public.entry' nowhere
fails 2 PK-CFG-003 --config wrong.yaml backup lab/dump && says "the pair 'newest' names the database nowhere, which this surface does not have"
claim 'a pair with a database that the surface does not have is refused'
finish
