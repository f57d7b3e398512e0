#!/bin/sh
# `make bench`: installs the peers, then measures everything side by side. BENCH_DIR says where (default /var/tmp/proofkeep-bench).
exec python3 "$(dirname "$0")/run.py" "$@"
