#!/bin/bash
# Which recovery point is the last that is right, and when did a row disappear? The truth is what the test itself did when.
. "${SOURCE_ROOT:?the project}/test/e2e/lib/tap.sh"
. "$SOURCE_ROOT/test/e2e/lib/pg.sh"
pg_needed
cluster_start "$C" || exit 1
sql -c 'CREATE DATABASE shop'
sql -d shop -c 'CREATE TABLE big AS SELECT i AS id, md5(i::text) AS t FROM generate_series(1, 2000) i' \
  -c 'CREATE TABLE account (id int PRIMARY KEY, balance numeric)' -c 'INSERT INTO account SELECT i, i FROM generate_series(1, 20) i'
config_head >proofkeep.yaml
cat >>proofkeep.yaml <<YAML
surfaces:
  pg:
    kind: postgres
    class: runtime
    connect: { host: $C/socket, user: postgres }
    databases: [shop]
$([ "$(id -u)" != 0 ] || echo '    run_as: postgres')
environments:
  lab: { repository: main }
  other: { repository: main }
YAML
ids=()
take() { # STATEMENT...: do that, then take a point
  local s
  for s in "$@"; do sql -d shop -c "$s" || return 1; done
  pk backup lab/pg --json && ids+=("$(result surfaces.0.backup_id)")
}
count() { python3 -c 'import json, sys
print(sum(json.loads(l)["type"] == "try" for l in open(sys.argv[1])))' out; }
pk init --repository main
take && take 'INSERT INTO account VALUES (21, 21)' && take "UPDATE account SET balance = 4 WHERE id = 3" && take 'DELETE FROM account WHERE id = 7' &&
  take 'UPDATE account SET balance = -1 WHERE id = 5' && take 'UPDATE account SET balance = balance + 1 WHERE id = 9' && take 'UPDATE account SET balance = 1 WHERE id = 2'
claim 'seven recovery points'
bad='SELECT count(*) FROM public.account WHERE balance < 0'

# ---- the query
pk bisect lab/pg --query "$bad" --expect 0 --json && [ "$(result last_clean.snapshot)" = "${ids[3]}" ] && [ "$(result first_not_clean.snapshot)" = "${ids[4]}" ] &&
  [ "$(result monotonic)" = True ] && [ "$(result points)" = 7 ]
claim 'the last clean point and the first that is not are found'
[ "$(result first_not_clean.value)" = 1 ] && n=$(count) && [ "$n" -ge 4 ] && [ "$n" -lt 7 ] && [ "$(result tries | python3 -c 'import ast, sys
t = ast.literal_eval(sys.stdin.read())
print(all(x["duration_ms"] > 0 for x in t), t[0]["snapshot"])')" = "True ${ids[6]}" ]
claim 'with fewer tries than points, the newest first, each with its time'
pk bisect lab/pg --query "$bad" --expect 0 --path public.account && grep -q "^last clean: .*${ids[3]}" out && grep -q "^first not clean: .*${ids[4]}" out && grep -q "${ids[6]}  not clean  1 " out
claim 'one table is enough, and people can read it'
pk bisect lab/pg --query 'SELECT NOT EXISTS (SELECT 1 FROM public.account WHERE balance < 0)' --since "${ids[2]}" --until "${ids[5]}" --json && [ "$(result last_clean.snapshot)" = "${ids[3]}" ] && [ "$(result points)" = 4 ]
claim 'true is what is expected, within bounds'
pk bisect lab/pg --query 'SELECT count(*) > 0 FROM public.account' && grep -q 'The newest is clean' out
claim 'where the newest is clean there is nothing to find'
fails 1 PK-ROW-008 bisect lab/pg --query 'SELECT false' --since "${ids[5]}" && says 'those tried answers as expected'
claim 'where none is, that is an error'
fails 1 PK-ROW-008 bisect lab/pg --query 'SELECT nonsense FROM public.account' --since "${ids[6]}" --json || { grep -q '"answer": *"unknown"' out && grep -q 'PK-ROW-008' out; }
claim 'a query that fails is no answer'
pk bisect lab/pg --query "SELECT balance <> 4 OR (SELECT balance FROM public.account WHERE id = 9) > 9 FROM public.account WHERE id = 3" --all --json && [ "$(result monotonic)" = False ] && [ "$(count)" = 7 ] &&
  [ "$(result last_clean.snapshot)" = "${ids[6]}" ]
claim 'answers that go back and forth are said to'
fails 2 PK-USE-001 bisect lab/pg && says 'query'
claim 'a query is needed'
fails 2 PK-USE-002 bisect other/pg --query 'SELECT true'
claim 'so are recovery points'

# ---- the row
pk find-deletion lab/pg public.account:7 --json && [ "$(result last_there.snapshot)" = "${ids[2]}" ] && [ "$(result first_not_there.snapshot)" = "${ids[3]}" ]
claim 'when a row disappeared'
pk find-deletion lab/pg 'account:where balance = 3' && grep -q "^last there: .*${ids[1]}" out
claim 'by a predicate, too'
pk find-deletion lab/pg account:21 && grep -q 'It is still there' out && grep -q 'go back and forth' out
claim 'one that came later is still there'
take 'DELETE FROM account WHERE id = 21' && pk find-deletion lab/pg account:21 --json && [ "$(result last_there.snapshot)" = "${ids[6]}" ] && [ "$(result monotonic)" = False ]
claim 'one that came and went is found, although both ends lack it'
fails 1 PK-ROW-008 find-deletion lab/pg account:99 --since "${ids[5]}" && fails 1 PK-ROW-008 find-deletion lab/pg nothing:1 --since "${ids[7]}" && grep -q 'it has no such table' out
claim 'one that never was, is not'
cluster_stop "$C" && pk find-deletion lab/pg account:7 --until "${ids[6]}" && grep -q "^last there: .*${ids[2]}" out
claim 'no live server is needed'
left=$(find "$TMPDIR" -maxdepth 5 -type d -name 'pg-*') && [ -z "$left" ]
claim 'no scratch server is left'
finish
