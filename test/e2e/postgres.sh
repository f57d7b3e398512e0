#!/bin/bash
# The postgres surface from outside, against a real server: what comes back is judged by psql, pg_dump and pg_restore.
. "${SOURCE_ROOT:?the project}/test/e2e/lib/tap.sh"
. "$SOURCE_ROOT/test/e2e/lib/pg.sh"
pg_needed

cluster_start "$C" || exit 1
sql <<'SQL'
CREATE ROLE shop_owner;
CREATE ROLE shop_app LOGIN PASSWORD 'app secret' IN ROLE shop_owner;
CREATE ROLE keeper LOGIN PASSWORD 'keeper secret';
GRANT pg_read_all_data TO keeper;
CREATE DATABASE shop OWNER shop_owner;
CREATE DATABASE billing;
ALTER DATABASE shop SET work_mem = '8MB';
SQL
sql -d shop <<'SQL'
CREATE TABLE customer (id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, name text NOT NULL);
CREATE TABLE orders (id serial PRIMARY KEY, customer bigint NOT NULL REFERENCES customer, note text);
INSERT INTO customer (name) SELECT 'customer ' || i FROM generate_series(1, 2000) i;
INSERT INTO orders (customer, note) SELECT 1 + i % 2000, repeat(md5(i::text), 3) FROM generate_series(1, 20000) i;
CREATE INDEX ON orders (customer);
SELECT lo_from_bytea(0, decode(repeat(md5('a'), 20000), 'hex'));
ALTER TABLE orders OWNER TO shop_owner;
SQL
sql -d billing -c 'CREATE TABLE invoice AS SELECT i AS id, i * 3.5 AS amount FROM generate_series(1, 3000) i' -c 'ALTER TABLE invoice ADD PRIMARY KEY (id)'

config() { # FILE [LINE-OF-THE-SURFACE...]
  local file=$1 line
  shift
  cat >"$file" <<YAML
$(config_head "right: { file: $T/right }" "wrong: { file: $T/wrong }")
surfaces:
  pg:
    kind: postgres
    class: runtime
YAML
  as_root && echo '    run_as: postgres' >>"$file"
  for line in "$@"; do printf '    %s\n' "$line" >>"$file"; done
  printf 'environments:\n  lab: { repository: main }\n' >>"$file"
}
socket="host: $C/socket"
both='databases: [billing, shop]'
config proofkeep.yaml "connect: { $socket, user: postgres }" "$both"
config keeper.yaml "connect: { $socket, user: keeper, password: right }" "$both"
config wrong.yaml "connect: { $socket, user: keeper, password: wrong }" "$both"
(umask 077 && echo 'keeper secret' >right && echo 'not the keeper secret' >wrong)
pk init --repository main

# What stock tools say of database $2 as file $1. pg_dump's \restrict lines are random.
facts() {
  {
    sql -d "$2" <<'SQL'
SELECT format('SELECT %L, count(*), md5(string_agg(t::text, E''\n'' ORDER BY t::text)) FROM %I t', relname, relname)
  FROM pg_class WHERE relkind = 'r' AND relnamespace = 'public'::regnamespace ORDER BY relname \gexec
SELECT format('SELECT %L, last_value, is_called FROM %I', relname, relname)
  FROM pg_class WHERE relkind = 'S' AND relnamespace = 'public'::regnamespace ORDER BY relname \gexec
SELECT oid, md5(lo_get(oid)) FROM pg_largeobject_metadata ORDER BY 1;
SQL
    cluster_as "$C" "$PG_BIN/pg_dump" -s "$2" | grep -v '^\\\(un\)\?restrict '
    sql -c "SELECT pg_get_userbyid(datdba), datcollate, pg_encoding_to_char(encoding), datconnlimit, datallowconn,
      (SELECT setconfig FROM pg_db_role_setting WHERE setdatabase = d.oid AND setrole = 0) FROM pg_database d WHERE datname = '$2'"
  } >"$1"
}
facts shop.facts shop && facts billing.facts billing
databases() { sql -c "SELECT string_agg(datname, ' ' ORDER BY datname) FROM pg_database WHERE NOT datistemplate AND datname <> 'postgres'"; }
drop() { for d in "$@"; do sql -c "DROP DATABASE \"$d\" WITH (FORCE)"; done; }
# planned ARGUMENT...: makes a plan and carries it out
planned() { pk restore "$@" --dry-run --json && pk restore --plan "$(result plan)"; }
# The first backup still restores, and is what was backed up.
still() {
  pk restore "lab/pg@$first" --path db/shop/contents --into still && facts still.facts still && diff shop.facts still.facts >out && drop still
}
points() { "$P" list lab/pg --json 2>/dev/null | grep -c '"id"'; }

# ---- back up, wipe, restore
pk backup lab/pg --json && [ "$(result status)" = OK ]
claim 'two databases are backed up'
first=$(result surfaces.0.backup_id)
pk verify "lab/pg@$first" --level full
claim 'and verify in full, in a scratch server'
hash="SELECT rolpassword FROM pg_authid WHERE rolname = 'shop_app'"
scram=$(sql -c "$hash")
drop shop billing && sql -c 'DROP ROLE shop_app, shop_owner'
planned "lab/pg@$first" --swap
claim 'both are restored to a server that has neither, nor their roles'
facts now shop && diff shop.facts now >out
claim 'the first is what it was: rows, sequences, large objects, schema, owner, settings'
facts now billing && diff billing.facts now >out
claim 'and the second'
[ "$(databases)" = 'billing shop' ] && [ "$(sql -c "$hash")" = "$scram" ] &&
  [ "$(sql -c "SELECT pg_has_role('shop_app', 'shop_owner', 'member')")" = t ]
claim 'the roles are back with their passwords and memberships, and nothing else is left'
pk backup lab/pg --json && [ "$(result surfaces.0.new_bytes)" -lt 20000 ]
claim 'backing up again stores next to nothing'

# ---- swap
sql -d shop -c 'DELETE FROM orders WHERE id > 100' -c "UPDATE customer SET name = 'gone'"
planned "lab/pg@$first" --path db/shop/contents --swap && facts now shop && diff shop.facts now >out
claim 'a damaged database is swapped for the restored one'
before=$(databases | tr ' ' '\n' | grep '^shop_before_') && [ "$(sql -d "$before" -c 'SELECT count(*) FROM orders')" = 100 ]
claim 'and kept beside it'
drop "$before"
sql -d shop -c 'SELECT pg_sleep(300)' >/dev/null 2>session.err &
session=$!
until [ "$(sql -c "SELECT count(*) FROM pg_stat_activity WHERE datname = 'shop'")" = 1 ]; do sleep 0.1; done
pk restore "lab/pg@$first" --path db/shop/contents --swap --dry-run && grep -q 'warning .*sessions of others on shop: 1 (' out
claim 'the plan warns of the session'
fails 2 PK-USE-001 restore "lab/pg@$first" --path db/shop/contents --swap --into other && says 'either restored into other, or swapped'
claim 'a swap has no target of its own'
fails 2 PK-USE-001 restore lab/pg --into other --target-time 2100-01-01T00:00:00Z && says 'is no physical backup: what it holds is of one instant' && says 'An instant takes physical backups and WAL .*; the newest that pg has of its own before that is bkp-' && [ "$(databases)" = 'billing shop' ]
claim 'nor is a dump asked for an instant'
pk restore "lab/pg@$first" --path db/shop/contents --swap --dry-run --json && plan=$(result plan) && fails 5 PK-PG-006 restore --plan "$plan" && says 'shop' && says 'state:'
claim 'a database in use is not swapped'
facts now shop && diff shop.facts now >out && kill -0 $session && [ "$(databases)" = 'billing shop' ]
claim 'the live one and its session are as they were, and nothing is left'
planned "lab/pg@$first" --path db/shop/contents --swap --terminate-connections && wait $session
[ $? != 0 ] && grep -q 'terminat' session.err && facts now shop && diff shop.facts now >out
claim 'unless the sessions may be ended'
drop "$(databases | tr ' ' '\n' | grep '^shop_before_')"

# ---- beside, and parts
pk restore "lab/pg@$first" --path db/shop/contents --into copy && facts now copy && diff <(sed '$d' shop.facts) <(sed '$d' now) >out && drop copy
claim 'a restore beside the live one is the same'
fails 5 PK-RST-001 restore "lab/pg@$first" --path db/shop/contents --into billing && plan=$(sed -n 's/.*--plan \(pln-[0-9a-f]*\).*/\1/p' out) &&
  fails 5 PK-PG-007 restore --plan "$plan" && facts now billing && diff billing.facts now >out
claim 'a database that is there is no target'
fails 2 PK-USE-001 restore "lab/pg@$first" --path public.customer --into part && says 'db/DATABASE/SCHEMA.TABLE' && [ "$(databases)" = 'billing shop' ]
claim 'a table of which database is a question'
pk restore "lab/pg@$first" --path db/shop/public.customer --into part && [ "$(sql -d part -c "SELECT string_agg(relname, ',') FROM pg_stat_user_tables")" = customer ] &&
  [ "$(sql -d part -c 'SELECT count(*) FROM customer')" = 2000 ] && [ "$(databases)" = 'billing part shop' ] && drop part
claim 'one table can be restored alone'
fails 2 PK-USE-002 restore "lab/pg@$first" --path db/shop/public.nothing --into part && [ "$(databases)" = 'billing shop' ]
claim 'a table that is not in it is an error'
pk export "lab/pg@$first" --to "$T/export" && (cd export && sha256sum --quiet --strict -c CHECKSUMS) >out 2>&1
claim 'an export passes sha256sum -c'
chmod -R a+rX export && sql -c 'CREATE DATABASE stock OWNER shop_owner' && sql -c "ALTER DATABASE stock SET work_mem = '8MB'" &&
  cluster_as "$C" "$PG_BIN/pg_restore" -e -d stock "$(find "$T/export" -type d -path '*db/shop' | head -n 1)" >out 2>err && facts now stock && diff shop.facts now >out && drop stock
claim "and PostgreSQL's own pg_restore restores it"

# ---- a surface that connects to the very database that it backs up
config own.yaml "connect: { $socket, user: postgres, dbname: shop }"
pk backup lab/pg --config own.yaml && planned lab/pg@latest --swap --config own.yaml && facts now shop && diff shop.facts now >out &&
  drop "$(databases | tr ' ' '\n' | grep '^shop_before_')"
claim 'a database that is connected to is swapped'
drop shop && pk restore lab/pg@latest --into shop --config own.yaml && facts now shop && diff shop.facts now >out && [ "$(databases)" = 'billing shop' ]
claim 'and restored when it is gone'

# ---- a backup role with a password
sed -i '1i local all keeper scram-sha-256' "$C/data/pg_hba.conf" && sql -c 'SELECT pg_reload_conf()' >/dev/null
fails 1 PK-PG-003 backup lab/pg --config keeper.yaml && says 'keeper may not read large object' && says 'next:  grant SELECT on the large objects'
claim 'what pg_read_all_data does not cover is named, and what to grant'
sql -d shop -c 'DO $$ BEGIN EXECUTE (SELECT format($f$GRANT SELECT ON LARGE OBJECT %s TO keeper$f$, oid) FROM pg_largeobject_metadata); END $$'
pk backup lab/pg --config keeper.yaml
claim 'a role that may only read, with a password, can back up'
! grep -rq 'keeper secret' out err
claim 'and its password shows nowhere'
n=$(points)
fails 7 PK-PG-001 backup lab/pg --config wrong.yaml && says 'password authentication failed' && ! grep -q 'keeper secret' out err && [ "$(points)" = "$n" ]
claim 'a wrong password is 7, and is not repeated'
still
claim 'earlier backups still restore (wrong password)'
sql -c 'REVOKE pg_read_all_data FROM keeper'
fails 1 PK-PG-003 backup lab/pg --config keeper.yaml && says 'invoice\|customer\|orders\|schema\|large object' && [ "$(points)" = "$n" ]
claim 'a role that may not read everything fails, and what it may not read is named'
still
claim 'earlier backups still restore (dropped privilege)'
sql -c 'GRANT pg_read_all_data TO keeper'

# ---- client tools that fail
tools() { # FOLDER PROGRAM SCRIPT: PostgreSQL's own, but for one program
  mkdir -p "$1" && for p in "$PG_BIN"/*; do ln -sf "$p" "$1/"; done
  rm "$1/$2" && printf '#!/bin/sh\nreal=%s/%s\n%s\n' "$PG_BIN" "$2" "$3" >"$1/$2" && chmod -R a+rX "$1" && chmod 755 "$1/$2"
  config "$(basename "$1").yaml" "connect: { $socket, user: postgres }" "$both" "tools_dir: $1"
}
chmod 755 "$T"
# failure CONFIG: of a backup whose event must be a receipt of failure, in the log, and no recovery point
failure() {
  local log
  log=$(find repo/log -type f | wc -l)
  pk backup lab/pg --config "$1" --json
  [ $? = 1 ] && grep '"type":"receipt"' out | tail -n 1 | grep -q '"status":"failure"' && [ "$(find repo/log -type f | wc -l)" -gt "$log" ] &&
    [ "$(points)" = "$n" ] && [ "$(result exit)" = 1 ]
}
tools "$T/killed" pg_dump 'case "$*" in *--version*) exec $real "$@" ;; esac
$real "$@" | head -c 20000
kill -KILL $$'
failure killed.yaml
claim 'a pg_dump that is killed fails the backup: exit 1, a receipt of the failure, no recovery point'
fails 1 PK-SYS-004 backup lab/pg --config killed.yaml && says 'pg_dump was ended by signal 9'
claim 'and says so'
still
claim 'earlier backups still restore (killed pg_dump)'
tools "$T/cut" pg_dump 'case "$*" in *--version*) exec $real "$@" ;; esac
$real "$@" | head -c 20000
exit 0'
failure cut.yaml
claim 'a dump that is cut short fails the backup although pg_dump exits with 0'
fails 1 PK-SRC-003 backup lab/pg --config cut.yaml
claim 'and says that it is not whole'
tools "$T/nothing" pg_dump 'case "$*" in *--version*) exec $real "$@" ;; esac
exit 0'
failure nothing.yaml
claim 'so does one that writes nothing and exits with 0'
tools "$T/late" pg_dump 'case "$*" in *--version*) exec $real "$@" ;; esac
$real "$@"
exit 3'
failure late.yaml
claim 'and one that writes everything and exits with 3'
still
claim 'earlier backups still restore (cut dump)'
tools "$T/old" pg_dump 'case "$*" in *--version*) echo "pg_dump (PostgreSQL) 11.4"; exit 0 ;; esac
exec $real "$@"'
fails 1 PK-PG-002 backup lab/pg --config old.yaml && says '11.4' && says "$PG_MAJOR"
claim 'client tools that are older than the server are refused, with both versions'
still
claim 'earlier backups still restore (old tools)'
tools "$T/talkative" pg_dump 'case "$*" in *--version*) exec $real "$@" ;; esac
echo "pg_dump: error: connection with password=$(sed "s/.*://" "$PGPASSFILE") failed, I repeat: keeper secret" >&2
exit 1'
sed -i "s/user: postgres }/user: keeper, password: right }/" talkative.yaml
failure talkative.yaml && ! grep -q 'keeper secret' out err && grep '"type":"receipt"' out | grep -q 'I repeat: \[redacted\]'
claim 'a pg_dump that repeats the password does not get it into --json or the receipt'
fails 1 PK-SYS-004 backup lab/pg --config talkative.yaml && says 'I repeat: \[redacted\]' && ! grep -q 'keeper secret' out err && ! grep -rq 'keeper secret' repo cache
claim 'nor into a message, the log or the cache'
tools "$T/unwilling" pg_restore 'case "$*" in *--version*) exec $real "$@" ;; esac
echo "pg_restore: error: no such luck" >&2
exit 1'
pk restore "lab/pg@$first" --path db/shop/contents --swap --config unwilling.yaml --dry-run --json && plan=$(result plan) &&
  fails 1 'PK-[A-Z]*-[0-9]*' restore --plan "$plan" --config unwilling.yaml && says 'no such luck' && facts now shop && diff shop.facts now >out && [ "$(databases)" = 'billing shop' ]
claim 'a restore that fails leaves the live database, and nothing of its own'

# ---- doctor
pk doctor lab/pg && grep -q 'lab/pg.*postgres, ready to be backed up' out && ! grep -q 'keeper secret' out err
claim 'doctor finds nothing to complain about'
pk doctor lab/pg --json && python3 -c '
import json
d = json.load(open("out"))
assert d["ok"] and d["problems"] == 0, d
f = [s for s in d["surfaces"] if s["surface"] == "pg"]
assert len(f) == 1 and f[0]["environment"] == "lab" and "version" in json.dumps(f[0]), f' 2>err
claim 'and says as JSON what server it found'
fails 1 PK-DOC-001 doctor lab/pg --config wrong.yaml && grep -q 'password authentication failed' out && ! grep -q 'keeper secret' out err
claim 'a wrong password is a problem that it names'
fails 1 PK-DOC-001 doctor lab/pg --config old.yaml && grep -q '11.4' out
claim 'so are client tools that are too old'

# ---- a database, and a server, that are not there
config missing.yaml "connect: { $socket, user: postgres }" 'databases: [shop, gone]'
pk backup lab/pg --config missing.yaml
[ $? != 0 ] && says 'gone' && [ "$(points)" = "$n" ]
claim 'a database that is not there fails the backup'
cluster_stop "$C"
fails 1 PK-DOC-001 doctor lab/pg && grep -q 'PK-PG-001' out
claim 'doctor says of a server that is stopped'
fails 7 PK-PG-001 backup lab/pg && [ "$(points)" = "$n" ]
claim 'a server that is stopped is 7, and no recovery point'
fails 7 PK-PG-001 restore "lab/pg@$first" --path db/shop/contents --into still
claim 'for a restore too'
pk verify "lab/pg@$first" --level full
claim 'a full verification needs no server of ours'
cluster_start "$C" && still
claim 'earlier backups still restore (server started again)'
pk backup lab/pg && [ "$(points)" = $((n + 1)) ]
claim 'and the next backup is good'
[ "$(databases)" = 'billing shop' ] && [ -z "$(find cache -path '*pg-*' -name postmaster.pid)" ]
claim 'no database and no scratch server is left'
finish
