#!/bin/bash
# Someone deleted rows: found, shown, put back, and nothing else is touched. Judged by psql.
. "${SOURCE_ROOT:?the project}/test/e2e/lib/tap.sh"
. "$SOURCE_ROOT/test/e2e/lib/pg.sh"
pg_needed
shop() { sql -d shop "$@"; }

cluster_start "$C" || exit 1
sql -c 'CREATE DATABASE shop' -c 'CREATE DATABASE billing'
sql -d billing -c 'CREATE TABLE public.invoice AS SELECT i AS id FROM generate_series(1, 10) i'
shop <<'SQL'
CREATE SCHEMA "Sales Dept";
CREATE TABLE customer (id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, name text NOT NULL, chief bigint REFERENCES customer);
CREATE TABLE orders (id serial PRIMARY KEY, customer bigint NOT NULL REFERENCES customer, note text, total numeric, twice numeric GENERATED ALWAYS AS (total * 2) STORED);
CREATE TABLE "Sales Dept"."Line" ("Order" int REFERENCES orders, "No" int, what jsonb, PRIMARY KEY ("Order", "No"));
CREATE TABLE audit (at timestamptz DEFAULT now(), what text);
CREATE TABLE keyless (a int, b text);
INSERT INTO customer (name, chief) SELECT 'customer ' || i, CASE WHEN i > 10 THEN 1 + i % 10 END FROM generate_series(1, 500) i;
INSERT INTO orders (customer, note, total) SELECT 1 + i % 500, CASE WHEN i % 7 > 0 THEN E'note\t\\ "' || i || E'"\n' END, i / 7.0 FROM generate_series(1, 3000) i;
INSERT INTO "Sales Dept"."Line" SELECT 1 + i / 3, i % 3, jsonb_build_object('i', i) FROM generate_series(0, 2999) i;
INSERT INTO keyless SELECT i, 'x' FROM generate_series(1, 5) i;
SQL
config_head >proofkeep.yaml
cat >>proofkeep.yaml <<YAML
surfaces:
  pg:
    kind: postgres
    class: runtime
    connect: { host: $C/socket, user: postgres }
    databases: [billing, shop]
$([ "$(id -u)" != 0 ] || echo '    run_as: postgres')
environments:
  lab: { repository: main }
  prod: { repository: main, protected: true }
YAML
# every table of the shop, counted and digested by the server itself
digests() {
  shop <<'SQL'
SELECT format('SELECT %L, count(*), md5(string_agg(t::text, E''\n'' ORDER BY t::text)) FROM %s t', c.oid::regclass, c.oid::regclass)
  FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace WHERE relkind = 'r' AND nspname !~ '^(pg_|information)' ORDER BY 1 \gexec
SQL
}
plan_of() { sed -n 's/.*--plan \(rows-[0-9a-f]*\).*/\1/p' out; }
rows() { local point=$1; shift; pk restore "lab/pg@$point" --database shop "$@"; }

pk init --repository main && pk backup lab/pg --json
claim 'a shop is backed up'
first=$(result surfaces.0.backup_id)
digests >before

# ---- deleted by accident, while life goes on
shop -c 'DELETE FROM "Sales Dept"."Line" WHERE "Order" BETWEEN 100 AND 140' -c 'DELETE FROM orders WHERE id BETWEEN 100 AND 140' \
  -c "UPDATE orders SET note = 'changed since' WHERE id = 1000" -c "INSERT INTO orders (customer, note) VALUES (7, 'new since')"
digests >damaged
rows "$first" --rows public.orders
claim 'what was deleted since is shown'
grep -q 'public.orders: since then 41 deleted, 1 changed, 2958 the same' out && grep -q "bring back public.orders  ('100')" out && grep -q 'and 31 more of public.orders' out
claim 'counted, with rows that are named'
plan=$(plan_of) && [ -n "$plan" ] && digests >now && diff damaged now >out
claim 'and nothing is done yet'
changes=$(find "$T/cache" -name "$plan.changes") && [ "$(stat -c %a "$changes")" = 600 ]
claim 'the change set is for its owner only'
python3 "$SOURCE_ROOT/test/format/change_set.py" "$changes" >sums 2>&1 && grep -qx 'public.orders deleted 41' sums
claim 'and an independent reader finds it whole'
pk restore --plan "$plan" && grep -q 'APPLIED.*41 rows brought back' err
claim 'carried out, they are back'
[ "$(shop -c 'SELECT count(*), sum(twice) FROM orders WHERE id BETWEEN 100 AND 140')" = "$(shop -c 'SELECT 41, sum(i / 7.0 * 2) FROM generate_series(100, 140) i')" ] &&
  [ "$(shop -c "SELECT count(*) FROM orders WHERE note = 'changed since' OR note = 'new since'")" = 2 ]
claim 'what changed since stays as it is'
digests >now && diff <(grep -v '^orders' damaged) <(grep -v '^orders' now) >out
claim 'every other table is untouched'
fails 5 PK-ROW-004 restore --plan "$plan" && says "rows that were deleted are there again: lines [0-9]*, [0-9]*, [0-9]* and others of the change set" && says 'state: .*nothing was applied'
claim 'they are not put back twice'
pk ledger list --json && grep -q 'restore/v1' out && ! grep -rq 'changed since' "$T/repo/log"
claim 'a receipt is in the log, without payload'
rows "$first" --rows '"Sales Dept"."Line"' && pk restore --plan "$(plan_of)" &&
  shop -c "UPDATE orders SET note = (SELECT E'note\t\\\\ \"' || 1000 || E'\"\n') WHERE id = 1000" -c "DELETE FROM orders WHERE note = 'new since'" &&
  digests >now && diff before now >out
claim 'the lines with their odd names too: all is as it was'

# ---- reverted and removed, on demand
shop -c "UPDATE orders SET note = NULL, total = 'NaN' WHERE id IN (5, 6)" -c "INSERT INTO orders (customer, note) VALUES (7, 'new since')" -c 'DELETE FROM "Sales Dept"."Line" WHERE "Order" = 9'
rows "$first" --rows public.orders --take changed --take added && grep -q "revert public.orders  ('5')" out && grep -q 'remove public.orders' out && pk restore --plan "$(plan_of)" --json &&
  [ "$(result updated)$(result deleted)$(result inserted)" = 210 ]
claim 'changed rows are reverted and added ones removed where that is asked for'
rows "$first" --rows '"Sales Dept"."Line":where "Order" = 9' && pk restore --plan "$(plan_of)" && digests >now && diff before now >out
claim 'rows are chosen by a predicate'
shop -c 'DELETE FROM "Sales Dept"."Line" WHERE "Order" IN (20, 21)' -c 'DELETE FROM orders WHERE id IN (20, 21)'
rows "$first" --rows public.orders:20 && grep -q '1 deleted' out && pk restore --plan "$(plan_of)" && [ "$(shop -c 'SELECT string_agg(id::text, $$ $$) FROM orders WHERE id IN (20, 21)')" = 20 ]
claim 'and by their keys'

# ---- parents
shop -c 'DELETE FROM "Sales Dept"."Line" WHERE "Order" = 20' -c 'DELETE FROM orders WHERE customer = 21' -c 'DELETE FROM "Sales Dept"."Line" WHERE "Order" NOT IN (SELECT id FROM orders)' -c 'DELETE FROM customer WHERE id = 21' 2>out ||
  shop -c 'ALTER TABLE "Sales Dept"."Line" DROP CONSTRAINT "Line_Order_fkey"' -c 'DELETE FROM orders WHERE customer = 21' -c 'DELETE FROM "Sales Dept"."Line" l WHERE NOT EXISTS (SELECT 1 FROM orders o WHERE o.id = l."Order")' \
    -c 'ALTER TABLE "Sales Dept"."Line" ADD CONSTRAINT "Line_Order_fkey" FOREIGN KEY ("Order") REFERENCES orders' -c 'DELETE FROM customer WHERE id = 21'
rows "$first" --rows '"Sales Dept"."Line"' && grep -q 'missing .* of "Sales Dept"."Line" refer to rows of public.orders that are gone too (Line_Order_fkey)' out && grep -q 'add --with-parents' out
claim 'rows that are referred to and gone are named'
changes=$(sed -n 's/^  changes  .*, \(.*\)/\1/p' out) && plan=$(basename "$changes" .changes) && digests >damaged && fails 5 PK-ROW-003 restore --plan "$plan" && digests >now && diff damaged now >out
claim 'without them nothing is put back'
rows "$first" --rows '"Sales Dept"."Line"' --with-parents && grep -q 'public.orders: [0-9]* that others refer to' out && grep -q 'public.customer: 1 that others refer to' out &&
  pk restore --plan "$(plan_of)" && rows "$first" --rows public.orders && pk restore --plan "$(plan_of)" && digests >now && diff before now >out
claim 'with them all that they stand on comes back as well'

# ---- refusals
shop -c 'DELETE FROM "Sales Dept"."Line" WHERE "Order" = 30' -c "UPDATE orders SET note = 'wrong' WHERE id = 31"
rows "$first" --rows public.orders --rows '"Sales Dept"."Line"' --take deleted --take changed && plan=$(plan_of) && shop -c "UPDATE orders SET note = 'changed again' WHERE id = 31" && digests >damaged &&
  fails 5 PK-ROW-004 restore --plan "$plan" && says 'public.orders: rows have changed again, or are gone: line [0-9]* of the change set' && sed -n "$(sed -n 's/.* are gone: line \([0-9]*\) .*/\1/p' err)p" "$(find "$T/cache" -name "$plan.changes")" | grep -q '"key":\["31"\]' && digests >now && diff damaged now >out
claim 'a row that changed again stops all of it'
shop -c "UPDATE orders SET note = 'wrong' WHERE id = 31" -c "CREATE FUNCTION slow() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN PERFORM pg_sleep(30); RETURN NEW; END'" \
  -c 'CREATE TRIGGER slow BEFORE INSERT ON "Sales Dept"."Line" FOR EACH ROW EXECUTE FUNCTION slow()'
digests >damaged
"$P" restore --plan "$plan" >out 2>err &
job=$!
until [ "$(sql -c "SELECT count(*) FROM pg_stat_activity WHERE datname = 'shop' AND wait_event = 'PgSleep'")" = 1 ] || ! kill -0 $job; do sleep 0.1; done
kill -9 $job
wait $job 2>/dev/null
sql -c "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = 'shop' AND wait_event = 'PgSleep'" >/dev/null
until [ "$(sql -c "SELECT count(*) FROM pg_stat_activity WHERE datname = 'shop'")" = 0 ]; do sleep 0.1; done
digests >now && diff damaged now >out
claim 'killed in the middle it leaves nothing behind'
rows "$first" --rows public.orders --rows '"Sales Dept"."Line"' --take deleted --take changed --no-triggers && pk restore --plan "$(plan_of)" &&
  [ "$(shop -c "SELECT tgenabled FROM pg_trigger WHERE tgname = 'slow'")" = O ] && shop -c 'DROP FUNCTION slow() CASCADE' 2>/dev/null && digests >now && diff before now >out
claim 'triggers can be left asleep, and are awake again'
shop -c "CREATE FUNCTION note() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN INSERT INTO public.audit (what) VALUES (TG_OP); RETURN NEW; END'" \
  -c 'CREATE TRIGGER note AFTER INSERT ON "Sales Dept"."Line" FOR EACH ROW EXECUTE FUNCTION note()' -c 'DELETE FROM "Sales Dept"."Line" WHERE "Order" = 30'
rows "$first" --rows '"Sales Dept"."Line"' && grep -q 'trigger   note on "Sales Dept"."Line"' out && pk restore --plan "$(plan_of)" && says 'triggers also wrote 3 rows of public.audit'
claim 'else what they write elsewhere is said'
shop -c 'DROP FUNCTION note() CASCADE' -c 'TRUNCATE audit' 2>/dev/null
shop -c "CREATE FUNCTION mind() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN IF NEW.\"No\" = 1 THEN RETURN NULL; END IF; RETURN NEW; END'" \
  -c 'DELETE FROM "Sales Dept"."Line" WHERE "Order" = 30' -c 'CREATE TRIGGER mind BEFORE INSERT ON "Sales Dept"."Line" FOR EACH ROW EXECUTE FUNCTION mind()'
digests >damaged
rows "$first" --rows '"Sales Dept"."Line"' && plan=$(plan_of) && fails 1 PK-ROW-006 restore --plan "$plan" && says 'of 3 rows to insert, .* 2, 0 and 0 were; a trigger keeps the others out' &&
  digests >now && diff damaged now >out
claim 'a trigger that keeps a row out stops all of it'
shop -c "CREATE OR REPLACE FUNCTION mind() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN NEW.what = NULL; RETURN NEW; END'"
pk restore --plan "$plan" && says 'triggers altered 3 rows as they were put back'
claim 'what a trigger makes of rows is said'
shop -c 'DROP FUNCTION mind() CASCADE' 2>/dev/null
rows "$first" --rows '"Sales Dept"."Line"' --take changed && pk restore --plan "$(plan_of)" && digests >now && diff before now >out
claim 'and can be mended without it'
fails 2 PK-ROW-002 restore "lab/pg@$first" --database shop --rows public.keyless && says 'neither a primary key nor a unique index' && says 'public.keyless(column,'
claim 'a table without a key is refused'
shop -c 'DELETE FROM keyless WHERE a = 3' && rows "$first" --rows 'keyless(a)' && pk restore --plan "$(plan_of)" && digests >now && diff before now >out
claim 'unless columns are named that tell its rows apart'
fails 2 PK-ROW-001 restore "lab/pg@$first" --database shop --rows public.nothing && says 'live has no table public.nothing'
claim 'a table that is not there is an error'
fails 2 PK-USE-001 restore "lab/pg@$first" --rows public.orders && says 'name one with --database'
claim 'which database is a question'
fails 2 PK-USE-001 restore "lab/pg@$first" --database shop --rows public.orders --into x && says '\-\-into is for restores of the whole'
claim 'rows have no other target than the live table'
shop -c 'DELETE FROM "Sales Dept"."Line" WHERE "Order" = 30' && rows "$first" --rows '"Sales Dept"."Line"' && plan=$(plan_of) && changes=$(find "$T/cache" -name "$plan.changes") &&
  sed -i 's/"table":0/"table": 0/' "$changes" && digests >damaged && fails 5 PK-RST-002 restore --plan "$plan" && says 'its change set was altered' && digests >now && diff damaged now >out
claim 'an altered change set is refused'
rows "$first" --rows "orders:where id = 1; DROP TABLE public.audit" >/dev/null
[ "$(shop -c 'SELECT count(*) FROM audit')" = 0 ] && grep -q 'PK-PG-004' err
claim 'a predicate is one, and no more'

# ---- a protected environment
pk backup prod/pg --json && second=$(result surfaces.0.backup_id) && shop -c 'DELETE FROM "Sales Dept"."Line" WHERE "Order" = 31' && digests >damaged &&
  pk restore "prod/pg@$second" --database shop --rows '"Sales Dept"."Line"' && plan=$(plan_of) && fails 5 PK-RST-003 restore --plan "$plan" --no-input && digests >now && diff damaged now >out
claim 'a protected environment asks for the phrase'
pk restore --plan "$plan" --confirm "restore prod/pg to $second" && [ "$(shop -c 'SELECT count(*) FROM "Sales Dept"."Line" WHERE "Order" = 31')" = 3 ]
claim 'and with it the rows come back'
left=$(find "$T/cache" "${TMPDIR}" -maxdepth 3 -name 'pg-*' -type d) && [ -z "$left" ]
claim 'no scratch server is left'
finish
