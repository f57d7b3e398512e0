#!/bin/bash
# Where a logical restore puts things: tablespaces that a server has, or has not; how pg_restore is run; and what a logical backup cannot
# do, with what can. Judged by psql.
. "${SOURCE_ROOT:?the project}/test/e2e/lib/tap.sh"
. "$SOURCE_ROOT/test/e2e/lib/pg.sh"
pg_needed
chmod 755 "$T"
owned "$T/fast" "$T/slow"
cluster_start "$C" || exit 1
sql -c "CREATE TABLESPACE fast LOCATION '$T/fast'" -c "CREATE TABLESPACE slow LOCATION '$T/slow'" -c 'CREATE DATABASE shop TABLESPACE fast' -c "CREATE ROLE modest LOGIN CREATEDB PASSWORD 'modest secret'" || exit 1
sql -d shop -c 'CREATE TABLE item AS SELECT i AS id, md5(i::text) AS note FROM generate_series(1, 5000) i' -c 'ALTER TABLE item ADD PRIMARY KEY (id)' \
  -c 'CREATE TABLE old_item (id int PRIMARY KEY USING INDEX TABLESPACE slow, note text) TABLESPACE slow' -c "INSERT INTO old_item SELECT i, 'old ' || i FROM generate_series(1, 3000) i"

mkdir tools && for p in "$PG_BIN"/*; do ln -s "$p" tools/; done
rm tools/pg_restore && printf '#!/bin/sh\ncase "$*" in *--version*) ;; *) echo "$*" >>%s/ran ;; esac\nexec %s/pg_restore "$@"\n' "$T" "$PG_BIN" >tools/pg_restore && chmod 755 tools tools/pg_restore && install -m 666 /dev/null ran
cat >proofkeep.yaml <<YAML
$(config_head)
surfaces:
  pg:
    kind: postgres
    class: runtime
    databases: [shop]
    connect: { host: $C/socket, user: postgres }
    tools_dir: $T/tools
$(! as_root || echo '    run_as: postgres')
  whole:
    kind: postgres
    class: runtime
    method: physical
    through: replication
    connect: { host: $C/socket, user: postgres }
environments:
  lab: { repository: main }
  other: { repository: main }
YAML
pk init --repository main
spaces() { # DATABASE: the database's tablespace, then those of its tables and keys that are elsewhere
  sql -c "SELECT spcname FROM pg_database d JOIN pg_tablespace t ON t.oid = dattablespace WHERE datname = '$1'" &&
    sql -d "$1" -c "SELECT relname, spcname FROM pg_class c JOIN pg_tablespace t ON t.oid = reltablespace WHERE relnamespace = 'public'::regnamespace ORDER BY 1"
}
rows() { sql -d "$1" -c "SELECT count(*), sum(id), md5(string_agg(note, '' ORDER BY id)) FROM item" -c "SELECT count(*), sum(id), md5(string_agg(note, '' ORDER BY id)) FROM old_item"; }
spaces shop >spaces.shop && rows shop >rows.shop
pk backup lab/pg --json && first=$(result surfaces.0.backup_id) && pk export "lab/pg@$first" --to "$T/export" && grep -q "^CREATE TABLESPACE fast " export/data/globals/roles.sql && (cd export && sha256sum --quiet --strict -c CHECKSUMS)
claim 'an export has how the tablespaces were made'
grep -q '^CREATE ROLE modest;' export/data/globals/roles.sql && ! grep -q SCRAM export/data/globals/roles.sql && grep -q "^ALTER ROLE \"\?modest\"\? PASSWORD 'SCRAM-SHA-256" export/data/globals/passwords.sql && [ "$(stat -c %a export export/data/globals/passwords.sql | tr '\n' ' ')" = '700 600 ' ]
claim 'and the roles, with the hashes of their passwords apart, for its owner alone'
pk verify "lab/pg@$first" --level full && ! says tablespace
claim 'a scratch server needs none of them to prove it'

# ---- the server has them
pk restore "lab/pg@$first" --path db/shop/contents --into copy --jobs 3 && spaces copy >got && diff spaces.shop got >out && rows copy | diff rows.shop - >out && ! says tablespace
claim 'a database, its tables and its keys go into the tablespaces that they were in'
[ "$(grep -c -- '^--exit-on-error .*--format=directory --jobs=[0-9]* .* \.$' ran)" = "$(wc -l <ran)" ] && tail -n 1 ran | grep -q -- '--jobs=3 '
claim 'restores read the directory format, several jobs at once, and stop at the first error'
sql -c 'DROP DATABASE copy'
sed 's/user: postgres }/user: modest }/' proofkeep.yaml >modest.yaml
pk restore "lab/pg@$first" --path db/shop/contents --into copy --no-owner --config modest.yaml && says "warning.*'fast' that this role may use" && says "warning.*'slow' that this role may use" && rows copy | diff rows.shop - >out &&
  [ "$(spaces copy)" = pg_default ]
claim 'a role that may use none of them restores into the default one, and says so'
sql -c 'DROP DATABASE copy'

# ---- it lacks them
sql -c 'DROP DATABASE shop' -c 'DROP TABLESPACE slow'
pk restore "lab/pg@$first" --path db/shop/contents --into shop && says "warning.*no tablespace 'slow'.*all tables go where the database is" && ! says "'fast'" && [ "$(spaces shop)" = fast ] && rows shop | diff rows.shop - >out
claim 'without that of a table all tables go where the database is, with a warning that names it'
pk restore "lab/pg@$first" --path db/shop/public.item --into part && ! says "'slow'"
claim 'which a table that was not in it is spared'
sql -c 'DROP DATABASE part' -c 'DROP DATABASE shop' -c 'DROP TABLESPACE fast'
pk restore "lab/pg@$first" --path db/shop/contents --into shop && says "warning.*no tablespace 'fast'.*the database goes to the server's default one" && [ "$(spaces shop)" = pg_default ] && rows shop | diff rows.shop - >out
claim "without the database's own it goes to the server's default one, with a warning"

# ---- what a logical backup cannot do
fails 2 PK-USE-001 restore lab/pg --into x --target-time 2100-01-01T00:00:00Z && says 'is no physical backup: what it holds is of one instant, and there is no WAL that leads from it to another' && says 'next:.*method: physical, and wal: of the surface'
claim 'a logical backup leads to no other instant, and it says what would'
pk backup lab/whole --json && whole=$(result surfaces.0.backup_id)
fails 2 PK-USE-001 restore lab/pg --into x --target-time 2100-01-01T00:00:00Z && says "next:  *Recover from lab/whole, which has physical backups, the nearest $whole"
claim 'where there is a physical backup, it is named'
fails 2 PK-USE-001 restore lab/pg --into x --target-time 2001-01-01T00:00:00Z && says 'next:.*method: physical, and wal: of the surface' && fails 2 PK-USE-001 restore lab/pg --rows item --target latest && says "the nearest $whole"
claim '... but none that is too young, and for rows as well'
[ "$(sql -c "SELECT count(*) FROM pg_database WHERE datname = 'x'")" = 0 ]
claim 'and nothing was made'
finish
