#!/bin/bash
# `make bench`: measures everything beside its peers, one part after the other; what cannot be had for a part is said, and the others
# are measured. With arguments, they are run.py's, which alone is run. BENCH_DIR says where (default /var/tmp/proofkeep-bench).
set -u
here=$(cd "$(dirname "$0")" && pwd)
[ $# = 0 ] || exec python3 "$here/run.py" "$@"
work=${BENCH_DIR:-/var/tmp/proofkeep-bench} program=$(dirname "$here")/build/proofkeep failed=''
part() { # NAME COMMAND...
  local name=$1
  shift
  printf '\n==== %s\n' "$name"
  "$@" || failed="$failed $name"
}
neo4j() {
  . "$(dirname "$here")/tools/servers/neo4j.sh"
  [ -x "$work/driver/bin/python" ] || { python3 -m venv "$work/driver" && "$work/driver/bin/pip" -q install "neo4j>=5,<6"; } || return
  rm -rf "$work/neo4j" && neo4j_start "$work/neo4j" || { echo "$NEO4J_WHY" && return 1; }
  "$work/driver/bin/python" "$here/neo4j.py" --proofkeep "$program" --server "$NEO4J_BOLT"
  local rc=$?
  neo4j_stop "$work/neo4j"
  return $rc
}
mkdir -p "$work"
part 'files, streams, PostgreSQL dumps, growth, S3' python3 "$here/run.py"
part 'eight writers and a collector in one bucket' python3 "$here/s3_writers.py"
part 'PostgreSQL, physical, and WAL' python3 "$here/physical.py" --dir "$work"
rest=$("$here/pgbackrest13.sh" "$work") && part 'PostgreSQL, physical, beside the pgBackRest of Debian 13' \
  python3 "$here/physical.py" --dir "$work" --only base --only load --pgbackrest "$rest"
part Redis python3 "$here/redis.py" --proofkeep "$program"
part Neo4j neo4j
part OpenSearch python3 "$here/search.py" --proofkeep "$program"
[ -z "$failed" ] || echo "could not be measured:$failed"
[ -z "$failed" ]
