#!/bin/bash
# TimescaleDB and PostGIS of Debian 13, by dumps and by files: hypertables are counted chunk by chunk, a restore that is killed in its
# middle is told of, and spatial data comes back with its own reference systems, rasters and topologies.
. "${SOURCE_ROOT:?the project}/test/e2e/lib/tap.sh"
. "$SOURCE_ROOT/test/e2e/lib/pg.sh"
. "$SOURCE_ROOT/tools/servers/pg.sh"
. "$SOURCE_ROOT/test/e2e/lib/postgis.sh"
if ! pg_debian13 || [ ! -e "$PG_DEBIAN13/usr/lib/postgresql/17/lib/timescaledb.so" ]; then
  echo "1..0 # skip ${PG_WHY:-there is no TimescaleDB in $PG_DEBIAN13}"
  exit 0
fi
N=$T/new
trap 'cluster_stop "$C"; cluster_stop "$N"' EXIT
chmod 755 "$T"
cluster_start "$C" "shared_preload_libraries = 'timescaledb'" 'timescaledb.telemetry_level = off' 'wal_level = replica' 'max_wal_senders = 6' 'full_page_writes = on' || exit 1
sql -c 'SET client_min_messages = error' -c 'CREATE DATABASE metrics' -c 'CREATE DATABASE map' || exit 1
sql -d metrics >out 2>err <<'SQL'
SET client_min_messages = error;
CREATE EXTENSION timescaledb;
CREATE TABLE reading (at timestamptz NOT NULL, sensor int NOT NULL, value double precision);
SELECT create_hypertable('reading', 'at', chunk_time_interval => interval '1 day');
INSERT INTO reading SELECT timestamptz '2026-01-01' + i * interval '4 minutes', i % 7, i FROM generate_series(1, 9000) i;
CREATE INDEX ON reading (sensor, at DESC);
CREATE TABLE plain AS SELECT i FROM generate_series(1, 1000) i;
SQL
claim 'a hypertable is made'
chunks=$(sql -d metrics -c "SELECT count(*) FROM show_chunks('reading')")
map_make
claim 'spatial data of every kind is made'
metrics() { "$@" -c "SELECT count(*), sum(value), count(DISTINCT tableoid) FROM reading" -c "SELECT count(*) FROM show_chunks('reading')" -c 'SELECT sensor, count(*) FROM reading GROUP BY 1 ORDER BY 1' -c 'SELECT count(*) FROM plain'; }
metrics sql -d metrics >metrics.want && map sql -d map >map.want
claim "what is there is written down ($chunks chunks)"
cat >proofkeep.yaml <<YAML
$(config_head)
surfaces:
  dump: { kind: postgres, class: truth, databases: [metrics, map], tools_dir: $PG_BIN, connect: { host: $C/socket, user: postgres }$(as_root && echo ', run_as: postgres') }
  link: { kind: postgres, class: truth, method: physical, through: replication, tools_dir: $PG_BIN, connect: { host: $C/socket, user: postgres }$(as_root && echo ', run_as: postgres') }
  host: { kind: postgres, class: truth, method: physical, through: host, tools_dir: $PG_BIN, connect: { host: $C/socket, user: postgres }$(as_root && echo ', run_as: postgres') }
environments:
  lab: { repository: main }
YAML
pk init --repository main
# says_chunks SURFACE PREFIX: its newest point's invariants have the hypertable with all of its chunks
said() {
  pk show "lab/$1@$(point "lab/$1")" --json && python3 - "$chunks" "$1" <<'PY'
import json, sys
n, surface = int(sys.argv[1]), sys.argv[2]
inv = json.load(open("out"))["snapshot"]["invariants"]
assert inv["db/metrics/hypertables"] == {"value": {"public.reading": {"chunks": n, "attached": n}}, "expect": "equal"}, inv.get("db/metrics/hypertables")
if surface == "dump":
    rows = [v["value"]["rows"] for k, v in inv.items() if k.startswith("db/metrics/_timescaledb_internal._hyper_")]
    assert len(rows) == n and sum(rows) == 9000, (len(rows), sum(rows))
assert "db/map/hypertables" not in inv
PY
}

# ---- dumps ----
pk backup lab/dump && said dump
claim 'a dump counts the hypertable chunk by chunk'
pk restore lab/dump --path db/metrics/contents --into metrics_copy && metrics sql -d metrics_copy >got && diff metrics.want got >out
claim 'a hypertable is restored'
[ "$(sql -c "SELECT count(*) FROM pg_db_role_setting WHERE 'timescaledb.restoring=on' = ANY (setconfig)")" = 0 ] && sql -d metrics_copy -c "INSERT INTO reading VALUES ('2026-03-01', 1, 1)" &&
  [ "$(sql -d metrics_copy -c "SELECT count(*) FROM show_chunks('reading')")" = $((chunks + 1)) ]
claim '... the mode of the restore is over, and it takes rows into a new chunk'
pk restore lab/dump --path db/map/contents --into map_copy && map sql -d map_copy >got && diff map.want got >out
claim 'spatial data is restored: reference systems of its own, rasters, a topology'
pk verify lab/dump --level full && says 'VERIFIED  level full'
claim 'both are verified in a scratch server'
sql -d metrics_copy -c "SELECT drop_chunks('reading', older_than => timestamptz '2026-01-05')" >/dev/null
# ---- a restore that is killed ----
restoring() { sql -c "SELECT count(*) FROM pg_db_role_setting WHERE 'timescaledb.restoring=on' = ANY (setconfig)"; }
of_killed() { [ "$(sql -c "SELECT count(*) FROM pg_db_role_setting s JOIN pg_database d ON d.oid = s.setdatabase WHERE datname = 'metrics_killed' AND 'timescaledb.restoring=on' = ANY (setconfig)")" = 1 ]; }
planned() { pk restore lab/dump --path db/metrics/contents --into metrics_killed --dry-run --json && plan=$(result plan); }
killed() { # the run of the plan, in the mode
  local pid children
  "$P" restore --plan "$plan" >killed.out 2>killed.err </dev/null &
  pid=$!
  halted $pid of_killed
  children=$(pgrep -P "$pid")
  kill -9 "$pid" $children
  wait "$pid" 2>/dev/null
  [ "$(restoring)" = 1 ]
}
planned && killed
claim 'a restore is killed in its middle'
pk doctor
status=$?
[ $status = 1 ] && grep -q "the database metrics_killed is in TimescaleDB's restoring mode.*PK-PG-025" out
claim "doctor tells of it (status $status)"
metrics sql -d metrics >got && diff metrics.want got >out
claim '... and the live database is as it was'
fails 5 PK-RST-001 restore lab/dump --path db/metrics/contents --into metrics_killed
claim 'the half of a database is not written into by another restore'
pk restore --plan "$plan" && metrics sql -d metrics_killed >got && diff metrics.want got >out && [ "$(restoring)" = 0 ] && pk doctor
claim 'the same plan again makes it whole, the mode is over, and doctor is content'
sql -d metrics_killed -c "INSERT INTO reading VALUES ('2026-03-01', 1, 1)" && [ "$(sql -d metrics_killed -c "SELECT count(*) FROM show_chunks('reading')")" = $((chunks + 1)) ]
claim '... and it takes rows into a new chunk'
sql -c 'DROP DATABASE metrics_killed WITH (FORCE)' && planned && killed && pk restore --plan "$plan" --abort && grep -q 'had half restored was removed' out && [ "$(restoring)" = 0 ] &&
  [ "$(sql -c "SELECT count(*) FROM pg_database WHERE datname = 'metrics_killed'")" = 0 ] && pk doctor
claim 'one that is killed and given up leaves neither database nor mode'
for d in metrics_copy map_copy; do sql -c "DROP DATABASE $d WITH (FORCE)"; done

# ---- files ----
for surface in link host; do
  pk backup "lab/$surface" && said "$surface"
  claim "$surface: a physical backup counts the hypertable's chunks"
  pk verify "lab/$surface" --level full && says 'VERIFIED  level full'
  claim "$surface: they are there in a scratch server"
  owned "$N" && pk restore "lab/$surface" --into "$N/data" && owned "$N/socket" && echo "unix_socket_directories = '$N/socket'" | cluster_as "$N" tee -a "$N/data/postgresql.conf" >/dev/null &&
    cluster_start "$N" && metrics cluster_psql "$N" -d metrics >got && diff metrics.want got >out && map cluster_psql "$N" -d map >got && diff map.want got >out
  claim "$surface: a server that starts from it has every chunk, reference system, raster and topology"
  cluster_psql "$N" -d metrics -c "INSERT INTO reading VALUES ('2026-03-01', 1, 1)" && cluster_as "$N" "$PG_BIN/pg_amcheck" -d metrics -d map --install-missing >out 2>err
  claim "$surface: ... it takes rows, and pg_amcheck finds nothing"
  cluster_stop "$N"
  rm -rf "$N"
done
finish
