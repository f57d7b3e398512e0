#!/bin/bash
# A row is looked for, and a table taken, in a database that takes no connections at the time, or goes by another name there.
. "${SOURCE_ROOT:?the project}/test/e2e/lib/tap.sh"
. "$SOURCE_ROOT/test/e2e/lib/pg.sh"
pg_needed
shop() { sql -d shop "$@"; }
cluster_start "$C" || exit 1
sql -c 'CREATE DATABASE shop'
shop -c 'CREATE TABLE account (id int PRIMARY KEY, balance numeric)' -c 'INSERT INTO account SELECT i, 100 FROM generate_series(1, 20) i'
pg_streamed rows_database >proofkeep.yaml
cat >>proofkeep.yaml <<YAML
environments:
  lab: { repository: main }
YAML
stream() { sql -c 'SET synchronous_commit = on' -c "SELECT pg_logical_emit_message(true, 'x', 'y')" >/dev/null && "$P" wal receive lab/pg --once "$@" >"$T/receive.out" 2>&1 </dev/null; }
pk init --repository main && stream --create-slot && pk backup lab/pg
shop -c 'UPDATE account SET balance = 1 WHERE id = 4'
xid=$(shop -c BEGIN -c 'DELETE FROM account WHERE id = 3' -c 'SELECT pg_current_xact_id()' -c COMMIT)
shop -c 'UPDATE account SET balance = 2 WHERE id = 4'
sql -c 'ALTER DATABASE shop ALLOW_CONNECTIONS false' && stream
claim 'a row goes, and later its database is closed'
pk find-deletion lab/pg account:3 --database shop --json && [ "$(result transaction.xid)" = "$xid" ]
claim 'that it takes no connections is not taken for the deletion'
pk restore lab/pg --path db/shop/public.account --target latest --into closed --json && [ "$(sql -d closed -c 'SELECT count(*), sum(balance) FROM account')" = '19|1802' ]
claim 'and its tables come out of a copy'
[ "$(sql -c "SELECT datallowconn FROM pg_database WHERE datname = 'shop'")" = f ]
claim 'which is opened, and not the original'
sql -c 'ALTER DATABASE shop RENAME TO store' && stream
pk find-deletion lab/pg account:3 --database shop --json && [ "$(result transaction.xid)" = "$xid" ] && grep -q '"text": *"the database is called store there"' out
claim 'nor is that it was given another name'
pk find-deletion lab/pg account:3 && [ "$(sed -n 's/^transaction: *\([0-9]*\) .*/\1/p' out)" = "$xid" ] && grep -q 'there  0; the database is called store there' out
claim '... also where none is named, and people are told'
fails 1 PK-ROW-008 find-deletion lab/pg account:3 --database nothing --points-only && grep -q 'not there  there is no database nothing' out
claim 'one that never was is said not to be there'
# ---- prepared transactions and more connections, which the server was given after its backup
sql -c 'ALTER SYSTEM SET max_prepared_transactions = 5' -c 'ALTER SYSTEM SET max_connections = 140' && cluster_stop "$C" && cluster_start "$C" && sql -c 'CREATE TABLE pair (i int)' &&
  sql -c BEGIN -c 'INSERT INTO pair VALUES (7)' -c "PREPARE TRANSACTION 'half'" && sql -c "COMMIT PREPARED 'half'" && stream
pk restore lab/pg --path db/postgres/public.pair --target latest --into paired --json && [ "$(sql -d paired -c 'SELECT sum(i) FROM pair')" = 7 ]
claim 'a copy is recovered through what its own configuration does not allow yet'
left=$(find "$TMPDIR" -maxdepth 5 -name 'pg-*' -type d) && [ -z "$left" ]
claim 'no scratch server is left'
finish
