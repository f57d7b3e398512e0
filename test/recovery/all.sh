#!/bin/bash
# 200 instants: 50 for each way of base backup and of WAL, with four lives of a server. BUILD names the folder of the program,
# INSTANTS and SECONDS_EACH say how many and how long each life is.
SOURCE_ROOT=$(cd "$(dirname "$0")/../.." && pwd)
cd "$SOURCE_ROOT" || exit 1
PROOFKEEP=$(realpath "${BUILD:-build}/proofkeep")
TMPDIR=$(mktemp -d /tmp/proofkeep-recovery.XXXXXX)
export SOURCE_ROOT PROOFKEEP TMPDIR
trap 'rm -rf "$TMPDIR"' EXIT
. "$SOURCE_ROOT/test/e2e/lib/tap.sh"
. "$SOURCE_ROOT/tools/demo/cluster.sh"
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
finish
