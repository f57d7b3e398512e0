#!/bin/bash
# PostGIS of this machine's own packages, by dumps and by files: spatial data comes back with its own reference systems, rasters and
# topologies.
. "${SOURCE_ROOT:?the project}/test/e2e/lib/tap.sh"
. "$SOURCE_ROOT/test/e2e/lib/pg.sh"
. "$SOURCE_ROOT/test/e2e/lib/postgis.sh"
pg_needed
share=$("$PG_BIN/pg_config" --sharedir 2>/dev/null || echo "/usr/share/postgresql/$PG_MAJOR")
if [ ! -e "$share/extension/postgis_topology.control" ] || [ ! -e "$share/extension/postgis_raster.control" ]; then
  echo "1..0 # skip there is no PostGIS for PostgreSQL $PG_MAJOR"
  exit 0
fi
N=$T/new
trap 'cluster_stop "$C"; cluster_stop "$N"' EXIT
chmod 755 "$T"
cluster_start "$C" 'wal_level = replica' 'max_wal_senders = 6' 'full_page_writes = on' && sql -c 'CREATE DATABASE map' || exit 1
map_make
claim "spatial data of every kind is made (PostgreSQL $PG_MAJOR)"
map sql -d map >map.want && grep -q '^city|' map.want
claim 'what is there is written down'
cat >proofkeep.yaml <<YAML
$(config_head)
surfaces:
  dump: { kind: postgres, class: truth, databases: [map], connect: { host: $C/socket, user: postgres }$(as_root && echo ', run_as: postgres') }
  link: { kind: postgres, class: truth, method: physical, through: replication, connect: { host: $C/socket, user: postgres }$(as_root && echo ', run_as: postgres') }
  host: { kind: postgres, class: truth, method: physical, through: host, connect: { host: $C/socket, user: postgres }$(as_root && echo ', run_as: postgres') }
environments:
  lab: { repository: main }
YAML
pk init --repository main && pk backup lab/dump && pk restore lab/dump --into map_copy && map sql -d map_copy >got && diff map.want got >out
claim 'it is restored from a dump'
for surface in dump link host; do
  [ $surface = dump ] || pk backup "lab/$surface"
  pk verify "lab/$surface" --level full && says 'VERIFIED  level full'
  claim "$surface: it is verified in a scratch server"
done
owned "$N" && pk restore lab/host --into "$N/data" && owned "$N/socket" && echo "unix_socket_directories = '$N/socket'" | cluster_as "$N" tee -a "$N/data/postgresql.conf" >"$T/null" &&
  cluster_start "$N" && map cluster_psql "$N" -d map >got && diff map.want got >out && cluster_as "$N" "$PG_BIN/pg_amcheck" -d map --install-missing >out 2>err
claim 'a server that starts from a physical backup has every reference system, raster and topology, and pg_amcheck finds nothing'
finish
