#!/bin/bash
# 200 instants: 50 for each way of base backup and of WAL, with four lives of a server of this machine's own packages; and 20 in a life
# of each other version that is here. BUILD names the folder of the program, INSTANTS, INSTANTS_OTHERS and SECONDS_EACH say how many
# and how long each life is.
SOURCE_ROOT=$(cd "$(dirname "$0")/../.." && pwd)
cd "$SOURCE_ROOT" || exit 1
PROOFKEEP=$(realpath "${BUILD:-build}/proofkeep")
TMPDIR=$(mktemp -d /tmp/proofkeep-recovery.XXXXXX)
export SOURCE_ROOT PROOFKEEP TMPDIR
trap 'rm -rf "$TMPDIR"' EXIT
. "$SOURCE_ROOT/test/e2e/lib/tap.sh"
. "$SOURCE_ROOT/tools/demo/cluster.sh"
. "$SOURCE_ROOT/tools/servers/pg.sh"
. "$SOURCE_ROOT/test/recovery/run.sh"
if [ -z "$PG_BIN" ]; then
  echo '1..0 # skip no PostgreSQL server is installed'
  exit 0
fi
for through in replication host; do
  for wal in archive stream; do
    instants "$wal-$through" --through $through --wal $wal --instants "${INSTANTS:-50}" --seconds "${SECONDS_EACH:-60}"
    rm -rf "${T:?}/$wal-$through"
  done
done
own=$PG_MAJOR
life() { # MAJOR WAL THROUGH
  [ "$1" != "$own" ] || return 0
  if ! pg_server "$1"; then
    skip "PostgreSQL $1" "$PG_WHY"
    return
  fi
  instants "$1-$2-$3" --through "$3" --wal "$2" --instants "${INSTANTS_OTHERS:-20}" --seconds "${SECONDS_EACH:-60}"
  rm -rf "${T:?}/$1-$2-$3"
}
life 15 archive host
life 16 stream host
life 17 archive replication
life 18 stream replication
finish
