#!/bin/bash
# Rows, tables and when they went, out of physical backups and WAL, while a busy writer goes on. The truth is what psql saw at the time.
. "${SOURCE_ROOT:?the project}/test/e2e/lib/tap.sh"
. "$SOURCE_ROOT/test/e2e/lib/pg.sh"
pg_needed
W=
trap '[ -z "$W" ] || kill $W 2>/dev/null; cluster_stop "$C"' EXIT
shop() { sql -d shop "$@"; }
now() { sql -c "SELECT to_char(clock_timestamp() AT TIME ZONE 'UTC', 'YYYY-MM-DD\"T\"HH24:MI:SS.US\"Z\"')"; }

cluster_start "$C" || exit 1
sql -c 'CREATE DATABASE shop'
shop <<'SQL'
CREATE TABLE customer (id int PRIMARY KEY, name text NOT NULL);
CREATE TABLE orders (id int PRIMARY KEY, customer int NOT NULL REFERENCES customer ON DELETE CASCADE, note text);
CREATE TABLE line (orders int REFERENCES orders ON DELETE CASCADE, no int, what text, PRIMARY KEY (orders, no));
CREATE TABLE account (id int PRIMARY KEY, balance numeric);
CREATE TABLE price (id int PRIMARY KEY, cents int);
CREATE TABLE journal (id bigserial PRIMARY KEY, at timestamptz DEFAULT clock_timestamp(), filler text);
INSERT INTO customer SELECT i, 'customer ' || i FROM generate_series(1, 100) i;
INSERT INTO orders SELECT i, 1 + i % 100, 'order ' || i FROM generate_series(1, 1000) i;
INSERT INTO line SELECT 1 + i / 3, i % 3, 'line ' || i FROM generate_series(0, 2999) i;
INSERT INTO account SELECT i, 100 FROM generate_series(1, 20) i;
INSERT INTO price SELECT i, i * 10 FROM generate_series(1, 200) i;
CREATE TABLE "we""ird|na.me ($x" AS SELECT md5(i::text) || md5(i::text) AS t FROM generate_series(1, 10000) i;
CREATE VIEW dear AS SELECT o.id, p.cents FROM orders o JOIN price p USING (id) WHERE p.cents > 1000;
SQL
pg_streamed rows_physical >proofkeep.yaml
cat >>proofkeep.yaml <<YAML
    consistent: # the other is not asked for when one is taken out
      - { name: pair, database: shop, sql: SELECT 1, other: postgres, other_sql: SELECT 1 }
environments:
  lab: { repository: main }
  prod: { repository: main, protected: true }
YAML
# every table but the writer's, counted and digested by the server itself
digests() {
  sql -d "${1:-shop}" <<'SQL'
SELECT format('SELECT %L, count(*), md5(string_agg(t::text, E''\n'' ORDER BY t::text)) FROM %s t', c.oid::regclass, c.oid::regclass)
  FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace WHERE relkind = 'r' AND nspname = 'public' AND relname <> 'journal' ORDER BY 1 \gexec
SQL
}
plan_of() { sed -n 's/.*--plan \(rows-[0-9a-f]*\).*/\1/p' out; }
# What was committed so far is flushed by a commit that waits for it.
stream() { sql -c 'SET synchronous_commit = on' -c "SELECT pg_logical_emit_message(true, 'x', 'y')" >/dev/null && "$P" wal receive lab/pg --once "$@" >"$T/receive.out" 2>&1 </dev/null; }
count() { python3 -c 'import json, sys
print(sum(json.loads(l)["type"] == "try" for l in open(sys.argv[1])))' out; }

pk init --repository main && stream --create-slot && pk backup lab/pg --json
claim 'a cluster is backed up, and its WAL from there'
first=$(result surfaces.0.backup_id)
echo "INSERT INTO journal (filler) VALUES (repeat('x', 300)); UPDATE account SET balance = balance WHERE id = 20;" >write.sql
chmod 755 "$T" && chmod 644 write.sql
cluster_as "$C" "$PG_BIN/pgbench" -n -f "$T/write.sql" -c 2 -R 50 -T 900 shop >writer.out 2>&1 &
W=$!

# ---- an accident: a customer goes, and by cascades all that was his
sleep 1
shop -c "UPDATE orders SET note = 'later' WHERE id = 6" -c "INSERT INTO orders VALUES (2001, 8, 'only in the WAL')"
shop -c 'BEGIN' -c 'DELETE FROM customer WHERE id = 9' -c 'ROLLBACK'
sleep 0.3
digests >before
before=$(now)
sleep 0.3
xid=$(shop -c 'BEGIN' -c 'SAVEPOINT s' -c 'DELETE FROM customer WHERE id IN (8, 7)' -c 'RELEASE s' -c 'SELECT pg_current_xact_id()' -c COMMIT)
after=$(now)
sleep 0.5
bad=$(shop -c BEGIN -c 'UPDATE price SET cents = -1 WHERE id = 77' -c 'SELECT pg_current_xact_id()' -c COMMIT)
shop -c 'VACUUM customer, orders, line'
shop -c "UPDATE orders SET note = 'after' WHERE id = 50" -c "UPDATE price SET cents = 5 WHERE id = 5"
digests >damaged
sleep 0.3
pk backup lab/pg --json
second=$(result surfaces.0.backup_id)
shop -c "INSERT INTO price VALUES (900, 1)" -c "UPDATE price SET cents = cents WHERE id = 3"
gone=$(shop -c BEGIN -c 'DELETE FROM price WHERE id = 900' -c 'SELECT pg_current_xact_id()' -c COMMIT)
shop -c "UPDATE price SET cents = cents WHERE id = 4"
sleep 0.3
stream
claim 'an accident, then another backup, then more WAL'

# ---- when
pk find-deletion lab/pg customer:7 --database shop --json && [ "$(result transaction.xid)" = "$xid" ] && [ "$(result last_there.snapshot)" = "$first" ] && [ "$(result first_not_there.snapshot)" = "$second" ]
claim 'the transaction that took a row away is found, though a subtransaction did it'
at=$(result transaction.time) lsn=$(result transaction.lsn) n=$(count)
[[ $before < $at && $at < $after ]] && [ "$(sql -c "SELECT '$lsn'::pg_lsn > '$(result transaction.lsn)'::pg_lsn - 1")" = t ] && [ "$n" -le 6 ] && [ "$(result transaction.commits_between)" -gt 20 ]
claim 'with its time and place, in few tries of many transactions'
while sleep 0.02; do ls -d "${TMPDIR:-/var/tmp}"/proofkeep-*/*/data; done >scratches 2>/dev/null &
watcher=$!
pk find-deletion lab/pg 'orders:where customer = 8' && grep -q "^transaction:  *$xid  committed ${at%.*}" out && grep -q "restore lab/pg@$first --rows 'orders:where customer = 8' --target-lsn $lsn --target-exclusive" out && grep -q 'instants between' out
claim 'also of one that came after the backup, and went by a cascade, and people can read it'
{ kill $watcher && wait $watcher; } 2>/dev/null
made=$(sort -u scratches | wc -l)
[ "$made" -ge 1 ] && [ "$made" -lt "$(grep -c 'there  .*s)$' out)" ]
claim 'and two tries from one backup were in one folder'
pk find-deletion lab/pg customer:7 --points-only --json && [ "$(result transaction)" = None ] && [ "$(count)" = 2 ]
claim 'without the WAL it lies between two backups'
fails 1 PK-ROW-008 find-deletion lab/pg customer:4711 && pk find-deletion lab/pg customer:9 --json && [ "$(result first_not_there)" = None ]
claim 'what never was is not found, and what a transaction took back is still there'
pk find-deletion lab/pg "price:where id = 900 AND 'a' = 'a'" && grep -q "^transaction:  *$gone  committed" out && grep -qF "where id = 900 AND '\''a'\'' = '\''a'\''' --target-lsn" out
claim 'a row that came and went since the newest backup is found'
pk bisect lab/pg --database shop --query 'SELECT count(*) FROM public.price WHERE cents < 0' --expect 0 --json && [ "$(result transaction.xid)" = "$bad" ] && [ "$(result last_clean.snapshot)" = "$first" ]
claim 'what corrupted a table is found by a query'
pk bisect lab/pg --query 'SELECT count(*) FROM public.price WHERE cents < 0' --expect 0 --until "$before" --json && [ "$(result first_not_clean)" = None ] && [ "$(result last_clean.recovered_to)" = end ]
claim 'not before it happened'

# ---- rows, as of an instant
pk restore lab/pg --rows customer --rows orders --rows line --database shop --target-time "$before" --json && [ "$(result rows)" = 83 ]
claim 'a customer, its orders and their lines are missing since a time between two backups'
pk restore lab/pg --rows customer --rows orders --rows line --target-lsn "$lsn" --target-exclusive && grep -q "^  rows of   lab/pg  from $first" out && grep -q "^  instant   just before LSN $lsn" out &&
  grep -q 'public.orders: since then 21 deleted, 1 changed' out && digests >now && diff damaged now >out2
claim '... and since just before the transaction; nothing is done yet'
plan=$(plan_of) && pk restore --plan "$plan" && grep -q 'APPLIED.*83 rows brought back' err && digests >now && diff <(grep -E '^(customer|line|account)' before) <(grep -E '^(customer|line|account)' now) >out &&
  diff <(grep -E '^price' damaged) <(grep -E '^price' now) >out && [ "$(shop -c "SELECT count(*), string_agg(note, '' ORDER BY id) FILTER (WHERE id IN (6, 50, 2001)) FROM orders")" = '1001|laterafteronly in the WAL' ]
claim 'carried out, what was deleted is as it was then, and what changed since stays'
pk ledger list --json && grep -q 'restore/v1' out
claim 'a receipt is in the log'
fails 2 PK-PG-016 restore "lab/pg@$second" --rows price:77 --take changed --target-xid "$bad" --target-exclusive
claim 'a backup that ended later leads to no earlier transaction'
pk restore lab/pg --rows price:77 --take changed --target-xid "$bad" --target-exclusive && pk restore --plan "$(plan_of)" && [ "$(shop -c 'SELECT cents FROM price WHERE id = 77')" = 770 ] && [ "$(shop -c 'SELECT cents FROM price WHERE id = 5')" = 5 ]
claim 'a row is reverted to before the transaction that spoilt it'
pk restore "lab/pg@$first" --rows orders:50 --take changed --json && [ "$(result rows)" = 1 ]
claim 'without a target it is the backup itself'
fails 2 PK-PG-016 restore lab/pg --rows orders --target-time 2100-01-01T00:00:00Z && says 'lies behind the newest WAL'
claim 'a time behind the WAL is refused before a byte is copied'
fails 2 PK-PG-016 restore lab/pg --rows orders --target-time 2001-01-01T00:00:00Z
claim 'and one before the first backup'
fails 2 PK-USE-001 restore lab/pg --rows orders --target-time "$before" --target-action pause && fails 2 PK-USE-001 restore lab/pg --rows orders --delta
claim 'what is of a whole cluster is refused'

# ---- a table that was dropped, and all of a database
shop -c 'DROP TABLE line'
fails 2 PK-ROW-001 restore lab/pg --rows line --target-time "$before"
claim 'a table that is gone is not a matter of rows'
pk restore lab/pg --path db/shop/public.line --target-time "$before" --into lines --json && [ "$(result target)" = lines ] &&
  [ "$(sql -d lines -c "SELECT count(*), md5(string_agg(t::text, E'\n' ORDER BY t::text)) FROM line t")" = "$(sed -n 's/^line|//p' before)" ] && [ "$(sql -d lines -c "SELECT count(*) FROM pg_tables WHERE schemaname = 'public'")" = 1 ]
claim 'one table comes out of the backup as of an instant, into a database of its own'
[ "$(result facts.databases.0.left_out)" = "['FK CONSTRAINT public.line line_orders_fkey']" ] && grep -q 'FK CONSTRAINT public.line line_orders_fkey: it was left out: what it refers to was not taken' out && [ "$(result facts.dumped_bytes)" -lt 200000 ]
claim '... what it refers to is left out, which is said, and no other table was dumped'
kill $W; wait $W 2>/dev/null; W=
pk restore lab/pg --path db/shop --target-time "$before" --into shop_then --dry-run && grep -q 'recover the whole cluster on a private scratch server' out && [ "$(sql -c "SELECT count(*) FROM pg_database WHERE datname LIKE 'shop%'")" = 1 ]
claim 'of a whole database there is a plan first'
pk restore --plan "$(sed -n 's/.*--plan \(pln-[0-9a-f]*\).*/\1/p' out)" --json && [ "$(result target)" = shop_then ] && digests shop_then >now && diff before now >out
claim 'and then the database as it was, beside the live one'
digests >damaged
pk restore lab/pg --path db/shop --target-lsn "$lsn" --target-exclusive --swap --terminate-connections
plan=$(sed -n 's/.*--plan \(pln-[0-9a-f]*\).*/\1/p' out) && pk restore --plan "$plan" --terminate-connections --json && digests >now && diff before now >out && digests "$(sql -c "SELECT datname FROM pg_database WHERE datname LIKE 'shop_before%'")" >now && diff damaged now >out
claim 'swapped in on demand, the live one being kept'
fails 2 PK-USE-002 restore lab/pg --path db/nothing --target-time "$before"
claim 'a database that was not there is an error'
fails 2 PK-USE-001 restore lab/pg --path 'db/*' --target-time "$before" && fails 2 PK-USE-001 restore lab/pg --path db/shop --delta && fails 2 PK-USE-001 restore lab/pg --path 'base/*' && says 'a physical backup is restored as a whole, or databases'
claim 'and what names none, or is of the whole'

# ---- across many segments and a promotion, without a backup since; a rewritten table is another file
for i in 1 2 3 4 5 6; do sql -c "SELECT pg_logical_emit_message(false, 'x', repeat('y', 1000)), pg_switch_wal()" >/dev/null; done
digests >before
shop -c 'VACUUM FULL account' -c 'DELETE FROM account WHERE id = 2'
for i in 1 2 3 4 5 6; do sql -c "SELECT pg_logical_emit_message(false, 'x', repeat('y', 1000)), pg_switch_wal()" >/dev/null; done
stream
cluster_stop "$C" && cluster_as "$C" touch "$C/data/standby.signal" && cluster_start "$C" && sql -c 'SELECT pg_promote()' >/dev/null
xid=$(shop -c BEGIN -c 'DELETE FROM account WHERE id = 1' -c 'SELECT pg_current_xact_id()' -c COMMIT)
shop -c 'INSERT INTO account VALUES (30, 3)'
stream
pk find-deletion lab/pg account:1 --json && [ "$(result transaction.xid)" = "$xid" ] && [ "$(result transaction.timeline)" = 2 ] && [ "$(result last_there.snapshot)" = "$second" ]
claim 'a transaction of another timeline is found'
pk find-deletion lab/pg account:2 && lsn=$(sed -n 's/.*--target-lsn \(.*\) --target-exclusive/\1/p' out) && grep -q 'timeline 1$' out && pk restore lab/pg --rows account --target-lsn "$lsn" --target-exclusive --json && [ "$(result rows)" = 2 ]
claim 'and one of a table that had been rewritten, many segments ago'
fails 2 PK-PG-016 restore lab/pg --rows account --target-xid 4000000 && left=$(find "$TMPDIR" -maxdepth 5 -name 'pg-*' -type d) && [ -z "$left" ]
claim 'a transaction that is not in the WAL is refused, and nothing is left'
pk restore lab/pg --path db/shop/public.dear --path db/shop/public.account --target-time "$before" --into views --json && [ "$(sql -d views -c 'SELECT count(*) FROM dear')" = 100 ] && [ "$(sql -d views -c 'SELECT count(*) FROM account')" = 20 ] &&
  [ "$(sql -d views -c "SELECT string_agg(tablename, ' ' ORDER BY tablename) FROM pg_tables WHERE schemaname = 'public'")" = 'account orders price' ]
claim 'a view comes with the rows that it shows'

# ---- stopped in the middle
"$P" find-deletion lab/pg account:1 >out 2>err </dev/null &
job=$!
until ls -d "$TMPDIR"/proofkeep-*/pg-*/data/postmaster.pid >/dev/null 2>&1 || ! kill -0 $job 2>/dev/null; do sleep 0.05; done
kill -TERM $job
wait $job
[ $? != 0 ] && left=$(find "$TMPDIR" -maxdepth 5 -name 'pg-*' -type d) && [ -z "$left" ]
claim 'a search that is stopped takes its scratch server with it'

# ---- a protected environment, and nothing left
pk backup prod/pg --json && third=$(result surfaces.0.backup_id) && shop -c 'DELETE FROM price WHERE id = 9' && fails 5 PK-RST-003 restore "prod/pg@$third" --path db/shop/public.price --into priced --no-input
claim 'a protected environment asks for the phrase'
pk restore "prod/pg@$third" --rows price --database shop && plan=$(plan_of) && fails 5 PK-RST-003 restore --plan "$plan" --no-input && pk restore --plan "$plan" --confirm "restore prod/pg to $third" && [ "$(shop -c 'SELECT count(*) FROM price')" = 200 ]
claim '... also for rows, and with it they come back'
left=$(find "$T/cache" "$TMPDIR" -maxdepth 5 -name 'pg-*' -type d) && [ -z "$left" ] && ! pgrep -f "$T/.*proofkeep-.*/pg-" >out
claim 'no scratch server is left'
finish
