#!/bin/bash
# Targets that have no place of their own, a transaction's number and a restore point's name: the backup that leads to one is found in the WAL.
. "${SOURCE_ROOT:?the project}/test/e2e/lib/tap.sh"
. "$SOURCE_ROOT/test/e2e/lib/pg.sh"
pg_needed
shop() { sql -d shop "$@"; }
cluster_start "$C" 'track_commit_timestamp = on' || exit 1
sql -c 'CREATE DATABASE shop'
shop -c 'CREATE TABLE t (id int PRIMARY KEY, what text)' -c "INSERT INTO t VALUES (1, 'one')"
pg_streamed targets >proofkeep.yaml
cat >>proofkeep.yaml <<YAML
environments:
  lab: { repository: main }
YAML
ids=()
stream() { sql -c 'SET synchronous_commit = on' -c "SELECT pg_logical_emit_message(true, 'x', 'y')" >/dev/null && "$P" wal receive lab/pg --once "$@" >"$T/receive.out" 2>&1 </dev/null; }
take() { pk backup lab/pg --json && ids+=("$(result surfaces.0.backup_id)"); }
mark() { shop -c "SELECT pg_create_restore_point('$1')"; }
# xid_of STATEMENT END: what that transaction's number is
xid_of() { shop -c BEGIN -c "$1" -c 'SELECT pg_current_xact_id()' -c "$2"; }
plan() { pk restore "$@" --into "$T/copy" --dry-run; }
refused() { fails 2 PK-PG-016 restore "$@" --into "$T/copy" --dry-run; }
base_is() { grep -qF "  base      $1, which ended at 20" out; }

pk init --repository main && stream --create-slot && take
one=$(xid_of "UPDATE t SET what = 'changed' WHERE id = 1" COMMIT)
at=$(mark early) && mark both >/dev/null && shop -c "INSERT INTO t VALUES (2, 'two')"
take
two=$(xid_of 'DELETE FROM t WHERE id = 1' COMMIT) back=$(xid_of "INSERT INTO t VALUES (9, 'no')" ROLLBACK)
mark both >/dev/null && shop -c "INSERT INTO t VALUES (3, 'three')"
take
shop -c "INSERT INTO t VALUES (4, 'four')" && first=$(mark double) && shop -c "INSERT INTO t VALUES (5, 'five')" && last=$(mark double) && stream
claim 'three backups, with transactions and restore points between them'

# ---- which backup
plan lab/pg --target-xid "$one" && base_is "${ids[0]}" && grep -q 'ended at 20.*Z: the newest that leads to the target$' out && grep -q "^  found     in the WAL at 0/[0-9A-F]* of timeline 1, committed at 20" out &&
  grep -q '^  you lose  everything written since: ' out
claim 'a transaction that two newer backups already have is reached from the one before it'
plan lab/pg --target-xid $((one + (1 << 32))) && base_is "${ids[0]}"
claim '... its number with an epoch, too'
plan lab/pg --target-xid "$two" --target-exclusive && base_is "${ids[1]}" && plan lab/pg --target-xid "$back" --json && tail -n 2 out | head -n 1 | grep -q "\"rolled_back\":true.*\"snapshot\":\"${ids[1]}\""
claim 'one between two others from the newer of these, also one that was rolled back'
plan lab/pg --target-name early && base_is "${ids[0]}" && grep -q '^  found     in the WAL at .*, behind the transaction of 20' out
claim 'a restore point as well'
plan lab/pg --target-name both && base_is "${ids[1]}"
claim 'of two by one name the newer is meant, where a backup lies between them'
plan lab/pg --target-lsn "$at" && base_is "${ids[0]}" && grep -q ': the newest that leads to the target$' out
claim 'and for a place it is said, too'

# ---- refused before a byte is copied
refused "lab/pg@${ids[0]}" --target-name both && says "2 restore points behind ${ids[0]} are called 'both': the first at 0/[0-9A-F]* (behind the transaction of 20" && says 'target-lsn 0/[0-9A-F]* for the first, 0/'
claim 'one name twice behind a backup is refused, with both places'
refused lab/pg --target-name double && lsn=$(sed -n 's/.*--target-lsn \([0-9A-F/]*\) for the first, .*/\1/p' err) && [ "$(sql -c "SELECT '$lsn'::pg_lsn < '$first'::pg_lsn AND '$first'::pg_lsn < '$last'::pg_lsn")" = t ]
claim '... behind the newest as well'
refused "lab/pg@${ids[2]}" --target-xid "$one" && says "the transaction $one did not end in the WAL that leads from a backup"
claim 'a backup that ended later is refused when it is named'
refused lab/pg --target-xid 4000000 && says 'the transaction 4000000 did not end' && says "The nearest transactions in it: [0-9]* at 0/[0-9A-F]* (committed at 20"
claim 'a transaction that nobody knows is refused, with the nearest'
refused lab/pg --target-name nothing && says "no restore point 'nothing' is in the WAL" && says "The newest restore points in it: 'double' at 0/.*, 'double' at 0/.*, 'both' at 0/"
claim 'and a name that nobody gave, with the newest that there are'
# what is measured between start and stop of a backup through the host gives the name, and what is measured after it gives it again
sed -e 's/through: replication/through: host/' -e "s|^    kind: postgres|&\n    invariants: [{ name: point, database: shop, sql: \"SELECT pg_create_restore_point('during')\", expect: equal }]|" proofkeep.yaml >host.yaml
pk --config host.yaml backup lab/pg --json && stream && during=$(result surfaces.0.backup_id) && refused lab/pg --target-name during && says "one at 0/[0-9A-F]*.* given while $during was taken" &&
  at=$(sed -n 's/.*Name the one behind the backup by its place: --target-lsn \([0-9A-F/]*\).*/\1/p' err) && plan lab/pg --target-lsn "$at" && base_is "$during"
claim 'a name that was given while the backup was taken, and again behind it, is refused'
sed "s|^    kind: postgres|&\n    tools_dir: $T/none|" proofkeep.yaml >bare.yaml && mkdir none
fails 1 PK-PG-009 --config bare.yaml restore lab/pg --target-name early --into "$T/copy" --dry-run && says 'only the WAL tells which of them leads to the target' && says 'Name the backup'
claim 'where pg_waldump is not at hand, the backup has to be named'
plan "lab/pg@${ids[0]}" --config bare.yaml --target-name early && base_is "${ids[0]}" && grep -q '^  warning   whether the WAL behind this backup has the target is not known: ' out
claim '... and then it is said that it was not looked for'

# ---- and the server gets there
rows() { sql -d "$1" -c "SELECT string_agg(id || what, ' ' ORDER BY id) FROM t"; }
pk restore lab/pg --path db/shop --target-name early --into early --json && [ "$(rows early)" = 1changed ]
claim 'a cluster recovered to the restore point has what it had'
pk restore lab/pg --path db/shop --target-lsn "$lsn" --into double --json && [ "$(rows double)" = '2two 3three 4four' ]
claim '... and to the place that the refusal gave'
five=$(shop -c 'SELECT xmin FROM t WHERE id = 5') && when=$(shop -c "SELECT to_char(pg_xact_commit_timestamp(xmin), 'YYYY-MM-DD\"T\"HH24:MI:SS.US\"Z\"') FROM t WHERE id = 5")
pk restore lab/pg --path db/shop --target-xid "$five" --into with_xid && [ "$(rows with_xid)" = '2two 3three 4four 5five' ]
claim '... and to a transaction, with it'
pk restore lab/pg --path db/shop --target-time "$when" --into with_time && [ "$(rows with_time)" = '2two 3three 4four 5five' ] &&
  pk restore lab/pg --path db/shop --target-time "$when" --target-exclusive --into before_time && [ "$(rows before_time)" = '2two 3three 4four' ]
claim '... and to the microsecond of its commit, with it and without it'
pk status lab/pg --json && begin=$(python3 -c 'import json; print(json.load(open("out"))["surfaces"][0]["wal"]["first"])') && pk restore lab/pg --path db/shop --target-time "$begin" --into at_first && [ "$(rows at_first)" != '' ]
claim '... and to the first instant that status tells'
pk restore lab/pg --rows t --target-xid "$two" --target-exclusive && grep -q "^  rows of   lab/pg  from ${ids[1]}" out && grep -q '^  found     in the WAL at ' out && grep -q 'public.t: since then 1 deleted' out
claim 'rows of just before a transaction come from the right backup'
plan "lab/pg" --target-xid "$one" --path db/shop && base_is "${ids[0]}" && left=$(find "$TMPDIR" -maxdepth 5 -type d -name 'pg-*') && [ -z "$left" ]
claim 'one database, too, and nothing is left of the search'
finish
