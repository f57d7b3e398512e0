# A PostgreSQL database with tables, partitions, sequences, large objects, PostGIS, roles and grants.
. "$here/cluster.sh"
postgres() { cluster_psql "$work/pg" "$@"; }

postgres_missing() { [ -n "$PG_BIN" ] || echo "no PostgreSQL server is installed; install it with 'make deps'"; }
postgres_start() {
  cluster_start "$work/pg" || give_up 'PostgreSQL would not start'
  postgres -c 'CREATE DATABASE atlas'
  postgres -d atlas <"$here/platform.sql"
}
postgres_describe() {
  printf '%s rows in %s tables, %s large objects, %s\n' \
    $(postgres -d atlas -c 'VACUUM (ANALYZE)' -c "SELECT sum(n_live_tup), count(*), (SELECT count(*) FROM pg_largeobject_metadata),
      replace(pg_size_pretty(pg_database_size('atlas')), ' ', '') FROM pg_stat_user_tables WHERE schemaname IN ('shop', 'archive')" | tr '|' ' ')
}
postgres_config() {
  cat <<YAML
    kind: postgres
    class: runtime
    depends_on: [artifacts]
    connect: { host: $work/pg/socket, user: postgres, dbname: atlas }
    databases: [atlas]
$([ "$(id -u)" != 0 ] || echo "    run_as: postgres")
    invariants:
      - { name: customers, sql: SELECT count(*) FROM shop.customer, expect: equal }
      - { name: turnover, sql: SELECT sum(total) FROM shop.orders, expect: equal }
YAML
}
postgres_target() { echo atlas; }
# Only new transactions are read-only then, and the demonstration has no others.
postgres_freeze() { postgres_setting on; }
postgres_resume() { postgres_setting off; }
postgres_setting() {
  printf '%q ' $([ "$(id -u)" != 0 ] || echo /usr/sbin/runuser -u postgres --) "$PG_BIN/psql" -X -q -h "$work/pg/socket" -U postgres -d postgres \
    -c "ALTER SYSTEM SET default_transaction_read_only = $1" -c 'SELECT pg_reload_conf()' -o /dev/null
}
# pg_dump's \restrict lines are random.
postgres_facts() {
  postgres -d atlas <"$here/facts.sql" >"$1/database"
  cluster_as "$work/pg" "$PG_BIN/pg_dump" --schema-only --create atlas | grep -v '^\\\(un\)\?restrict ' >"$1/schema"
  cluster_as "$work/pg" "$PG_BIN/pg_dumpall" --roles-only --no-role-passwords | grep -v '^\\\(un\)\?restrict ' >"$1/roles"
}
postgres_wipe() {
  postgres -c 'DROP DATABASE atlas' -c 'DROP ROLE atlas_app, atlas_reader'
  [ "$(postgres -c "SELECT count(*) FROM pg_database WHERE datname = 'atlas'")" = 0 ] || give_up 'the database was not wiped'
  echo '$ psql atlas'
  postgres -d atlas 2>&1 </dev/null | sed 's/.*FATAL/psql: FATAL/' || :
}
postgres_evidence() {
  same database 'table '
  evidence $? postgres 'rows of every table' 'psql: count, md5 of all rows' "$(awk -F'|' '/^table/ { n += $2; t++ } END { print n " rows, " t " tables" }' after/database)"
  same database 'sequence '
  evidence $? postgres 'sequences' 'psql: last_value, is_called' "$(number database 'sequence ') sequences"
  same database 'large object '
  evidence $? postgres 'large objects' 'psql: length, md5(lo_get)' "$(number database 'large object ') objects"
  same database 'partition '
  evidence $? postgres 'partitions' 'psql: bounds' "$(number database 'partition ') partitions"
  same database 'constraints' && same database 'indexes' && same database 'citations'
  evidence $? postgres 'constraints and indexes' 'psql: pg_constraint, pg_index' "$(sed -n 's/^constraints|//p' after/database)"
  same database 'place'
  evidence $? postgres 'PostGIS' 'psql: ST_Area, ST_AsEWKT, ST_DWithin' "$(sed -n 's/^places near 0,0|/near 0,0: /p' after/database) places"
  same database 'materialised view'
  evidence $? postgres 'materialised view' 'psql: rows, relispopulated' "$(sed -n 's/^materialised view|//p' after/database)"
  diff before/schema after/schema >&2
  evidence $? postgres 'schema, owners, grants' 'pg_dump --schema-only, diff' "$(wc -l <after/schema) lines"
  diff before/roles after/roles >&2 && same database 'role '
  evidence $? postgres 'roles, memberships' 'pg_dumpall --roles-only, diff' "$(grep -c '^CREATE ROLE' after/roles) roles"
}
postgres_counts() {
  python3 - after/database <<'PY'
import json, sys
tables, facts = {}, {}
for line in open(sys.argv[1]):
    name, _, value = line.rstrip("\n").rpartition("|")
    if name.startswith("table "):
        tables[name[6:]] = int(value.split()[0])
    else:
        facts[name] = value
print(json.dumps({"tables": tables, "rows": sum(tables.values()), "sequences": sum(n.startswith("sequence ") for n in facts),
                  "large_objects": sum(n.startswith("large object ") for n in facts)}))
PY
}
postgres_stop() { cluster_stop "$work/pg"; }
