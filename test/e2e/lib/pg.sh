# What the end-to-end tests with a PostgreSQL server share. To be sourced after tap.sh.
#   pg_needed              ends the test, as skipped, where this machine has no server of its own packages
#   $C, sql PSQL...        the test's cluster, which is stopped at the end (a test with more than that sets a trap of its own), and its psql
#   as_root                whether it runs as root, whose servers run as postgres
#   pg_streamed SLOT       a configuration down to its surface pg, which is that cluster, physically, its WAL by that slot; more of it may
#                          follow
#   owned FOLDER...        makes folders that belong to the server's user
#   keeper [FOLDER...]     makes $K, which is all that the server's user may have of ours: the program, its cache and its scratch folder;
#                          and such folders besides
#   kept ARGUMENT...       the program there, as that user; streams are in $T/out and $T/err
. "$SOURCE_ROOT/tools/demo/cluster.sh"
C=$T/pg
trap 'cluster_stop "$C"' EXIT

pg_needed() {
  [ -z "$PG_BIN" ] || return 0
  echo '1..0 # skip no PostgreSQL server is installed'
  exit 0
}
pg_streamed() {
  config_head
  cat <<YAML
surfaces:
  pg:
    kind: postgres
    class: runtime
    method: physical
    through: replication
    connect: { host: $C/socket, user: postgres }
    wal: { mode: stream, slot: $1, every: 1s }
$(! as_root || echo '    run_as: postgres')
YAML
}
sql() { cluster_psql "$C" "$@"; }
as_root() { [ "$(id -u)" = 0 ]; }
owned() {
  local d
  for d in "$@"; do mkdir -p "$d" && { ! as_root || chown postgres "$d"; } || return; done
}
keeper() {
  K=$T/keeper
  chmod 755 "$T" && owned "$K" "$@" && cp "$P" "$K/proofkeep" && chmod 755 "$K/proofkeep"
}
as_keeper() { cluster_as "$K" env HOME="$K" TMPDIR="$K" XDG_CACHE_HOME="$K/cache" "$@"; }
kept() {
  tap_last="proofkeep $*"
  as_keeper "$K/proofkeep" "$@" >"$T/out" 2>"$T/err" </dev/null
}
