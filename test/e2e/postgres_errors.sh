#!/bin/bash
# Bad input of the postgres surface from outside, beside what postgres.sh claims: invariants that are declared, places that are
# not there, and restores that must not begin. The server stays as it was.
. "${SOURCE_ROOT:?the project}/test/e2e/lib/tap.sh"
. "$SOURCE_ROOT/test/e2e/lib/pg.sh"
pg_needed
cluster_start "$C" || exit 1
sql -c 'CREATE ROLE shop_owner' -c 'CREATE DATABASE shop OWNER shop_owner' -c 'CREATE DATABASE closed ALLOW_CONNECTIONS false'
sql -d shop -c 'CREATE TABLE customer (id int PRIMARY KEY, name text)' -c "INSERT INTO customer SELECT i, 'c' || i FROM generate_series(1, 500) i" \
  -c 'ALTER TABLE customer OWNER TO shop_owner' -c 'CREATE SEQUENCE asked'

config() { # FILE [LINE-OF-THE-SURFACE...]
  local file=$1 line
  shift
  cat >"$file" <<YAML
$(config_head)
surfaces:
  pg:
    kind: postgres
    class: runtime
YAML
  for line in "$@"; do printf '    %s\n' "$line" >>"$file"; done
  printf 'environments:\n  lab: { repository: main }\n' >>"$file"
}
run_as='run_as: postgres'
[ "$(id -u)" = 0 ] || run_as=
to="connect: { host: $C/socket, user: postgres }"
one='databases: [shop]'
invariant() { echo "invariants: [{ name: $1, sql: \"$2\", expect: ${3:-equal} }]"; }
config proofkeep.yaml "$to" "$one" ${run_as:+"$run_as"} "$(invariant customers 'SELECT count(*) FROM public.customer' not_shrunk)"
pk init --repository main
databases() { sql -c "SELECT string_agg(datname, ' ' ORDER BY datname) FROM pg_database WHERE NOT datistemplate AND datname <> 'postgres'"; }
points() { "$P" list lab/pg --json 2>/dev/null | grep -c '"id"'; }
same() { [ "$(databases)" = 'closed shop' ] && [ "$(points)" = "$n" ] && [ "$(sql -d shop -c 'SELECT count(*) FROM customer')" = 500 ]; }

# ---- invariants that are declared
pk backup lab/pg --json && first=$(result surfaces.0.backup_id) && pk show "lab/pg@$first" --json && python3 -c '
import json
v = json.load(open("out"))["snapshot"]["invariants"]["db/shop/declared/customers"]
assert v == {"value": 500, "expect": "not_shrunk"}, v' 2>err
claim 'a declared invariant is asked at the backup, and kept with it'
n=$(points)
pk verify "lab/pg@$first" --level full
claim 'and holds in a scratch server'
config bad.yaml "$to" "$one" ${run_as:+"$run_as"} "$(invariant nothing 'SELECT count(*) FROM public.nothing')"
fails 1 PK-PG-004 backup lab/pg --config bad.yaml && says "invariant 'nothing'" && says 'relation "public.nothing" does not exist' && says 'state:' && same
claim 'one whose query fails makes the backup fail, with what the server said'
config bad.yaml "$to" "$one" ${run_as:+"$run_as"} "$(invariant many 'SELECT id FROM public.customer')"
fails 1 PK-PG-004 backup lab/pg --config bad.yaml && says "'many' answered 500 rows of 1 columns, not one value" && same
claim 'so does one that answers with more than a value'
config bad.yaml "$to" 'databases: [shop, postgres]' ${run_as:+"$run_as"} "$(invariant whose 'SELECT 1')"
fails 2 PK-CFG-003 backup lab/pg --config bad.yaml && says "'whose' must name its database" && same
claim 'of several databases, one has to be named'
config bad.yaml "$to" "$one" ${run_as:+"$run_as"} "$(invariant write 'DELETE FROM public.customer RETURNING 1')"
fails 1 PK-PG-004 backup lab/pg --config bad.yaml && says 'read-only' && same
claim 'one that writes is refused by its transaction'
config unlike.yaml "$to" "$one" ${run_as:+"$run_as"} "$(invariant here 'SELECT concat(pg_postmaster_start_time(), oid) FROM pg_database WHERE datname = current_database()')"
pk backup lab/pg --config unlike.yaml && n=$(points)
claim 'one that is of this very database can be backed up'
fails 4 PK-VER-001 verify lab/pg@latest --level full --config unlike.yaml && grep -q 'declared/here: another value' out err
claim 'but is a difference when it is proven'
fails 4 PK-PG-008 restore lab/pg@latest --path db/shop/contents --into unlike --config unlike.yaml && says '1 of [0-9]* invariants differ' && says 'declared/here' && says 'state:' && same
claim 'and a restore that differs leaves nothing behind'

# ---- servers and databases that are not there
config bad.yaml "connect: { host: $T/nowhere, user: postgres }" "$one"
fails 7 PK-PG-001 backup lab/pg --config bad.yaml && says "$T/nowhere" && same
claim 'a socket that is not there is 7'
config bad.yaml "connect: { host: 127.0.0.1, port: 1, user: postgres, sslmode: disable }" "$one"
fails 7 PK-PG-001 backup lab/pg --config bad.yaml && says '127.0.0.1' && same
claim 'and so is a port where nobody listens'
config bad.yaml "connect: { host: $C/socket, user: stranger }" "$one"
fails 7 PK-PG-001 backup lab/pg --config bad.yaml && says 'role "stranger" does not exist' && same
claim 'a role that is not there is named'
config bad.yaml "$to" 'databases: [shop, absent]'
pk backup lab/pg --config bad.yaml
[ $? != 0 ] && says 'absent' && says '^error PK-\(SRC-004\|PG-001\)' && same
claim 'a database that is not there is named'
config bad.yaml "$to" 'databases: [closed]'
fails 7 PK-PG-001 backup lab/pg --config bad.yaml && says 'closed' && same
claim 'and one that takes no connections'

# ---- programs that are not there
mkdir empty
config bad.yaml "$to" "$one" "tools_dir: $T/empty"
fails 1 PK-PG-002 backup lab/pg --config bad.yaml && says "$T/empty" && says 'found: none' && same
claim 'a folder without client programs is named'
mkdir clients && for p in pg_dump pg_restore pg_dumpall psql; do ln -s "$PG_BIN/$p" clients/; done
chmod 755 "$T" clients
config bad.yaml "$to" "$one" ${run_as:+"$run_as"} "tools_dir: $T/clients"
pk verify "lab/pg@$first" --level full --config bad.yaml
[ $? = 1 ] && says PK-PG-009 && says "$T/clients" && pk list lab/pg --json && ! grep -q '"verified":"full".*"id":"x"' out
claim 'without server programs there is no full verification, and it says so'
if [ "$(id -u)" = 0 ]; then
  config bad.yaml "$to" "$one" 'run_as: no-such-user'
  fails 2 PK-CFG-003 verify "lab/pg@$first" --level full --config bad.yaml && says 'no-such-user'
  claim 'nor as somebody who is not there'
else
  skip 'nor as somebody who is not there' 'this is not root'
fi

# ---- restores that must not begin
fails 2 PK-USE-002 restore "lab/pg@2001-01-01T00:00:00Z" --into x && same
claim 'a time before the first backup is no point'
sql -c 'ALTER ROLE shop_owner RENAME TO other_owner'
fails 5 PK-PG-010 restore "lab/pg@$first" --path db/shop/contents --into x && says 'shop_owner' && same
claim 'without the roles that own what it holds nothing is restored'
pk restore "lab/pg@$first" --path db/shop/contents --into x --no-owner && [ "$(sql -d x -c "SELECT tableowner FROM pg_tables WHERE tablename = 'customer'")" = postgres ] && sql -c 'DROP DATABASE x' && same
claim 'unless owners are left out'
sql -c 'ALTER ROLE other_owner RENAME TO shop_owner'

# ---- damage
cp -a repo damaged
at=(-r "$T/damaged" --key-file "$T/key" --cache-dir "$T/cache-damaged")
for f in damaged/packs/d/*/*; do chmod u+w "$f" && for at_byte in 2000 9000 15000; do printf '\377\376\375' | dd of="$f" bs=1 seek=$at_byte conv=notrunc status=none; done; done
pk restore "${at[@]}" "lab/pg@$first" --path db/shop/contents --into x
[ $? = 4 ] && says 'PK-REP-005\|PK-RST-005' && same
claim 'a damaged repository restores no database'
fails 4 PK-VER-001 verify "${at[@]}" "lab/pg@$first" --level full
claim 'and a verification says so'
pk backup lab/pg && pk verify lab/pg@latest --level full && n=$((n + 1)) && same
claim 'the next backup is good, and nothing is left of all this'
finish
