#!/bin/bash
# Retention of WAL, with a real server: prune removes what no base needs, and every instant after the kept base is still there.
. "${SOURCE_ROOT:?the project}/test/e2e/lib/tap.sh"
. "$SOURCE_ROOT/test/e2e/lib/pg.sh"
. "$SOURCE_ROOT/test/harness/s3_server.sh"
pg_needed
N=$T/new
trap 's3_stop; cluster_stop "$C"; cluster_stop "$N"' EXIT
keeper "$C" "$N" "$N/socket"
# Y: its configuration
Y=$K/pk.yaml
w() { kept "$@" --config "$Y"; }
config() { # FILE KEY
  cat >"$K/$1" <<YAML
version: 1
platform: test
secrets: { k: { file: $K/$2 } }
repositories: { main: { url: $K/repo, encrypt: { key: k, kind: key_file } } }
surfaces:
  db: { kind: postgres, class: truth, method: physical, through: replication, connect: { host: $C/socket, user: postgres },
        wal: { mode: stream, every: 1s } }
environments:
  lab: { repository: main, policy: { verify: checksum, retention: { keep: { last: 1 }, min_copies: 1 } } }
YAML
}
config pk.yaml key
config prune.yaml prune.key

cluster_start "$C" 'wal_level = replica' 'max_wal_senders = 4' 'full_page_writes = on' 'synchronous_commit = on' 'wal_keep_size = 512MB' || exit 1
w init --repository main && w key add --role prune --key-file-out "$K/prune.key" --label pruner
claim 'a repository, and a key that can prune and not read'
receive() { w wal receive lab/db --once "$@"; }
segments() { find "$K"/repo/wal/*/00000001 -type f | sed 's,.*/00000001/,,' | sort; }
history() { sql -c "INSERT INTO said SELECT g FROM generate_series(coalesce((SELECT max(i) FROM said), 0) + 1, coalesce((SELECT max(i) FROM said), 0) + $1) g"; }
switches() { for _ in $(seq "$1"); do history 1000 && sql -c 'SELECT pg_switch_wal()' >/dev/null; done; }
base() { w backup lab/db && w verify lab/db --level checksum; }
sql -c 'CREATE TABLE said (i int PRIMARY KEY)'
receive --create-slot && switches 3 && receive
claim 'WAL is received'
w prune lab --dry-run --grace 0s && ! grep -q 'remove .* of WAL' "$T/out" && grep -q 'stays: no physical backup of that cluster is kept' "$T/out"
claim 'while there is no base, none of it goes'

base
claim 'a base'
switches 3 && receive
was=$(segments | wc -l)
w prune lab --grace 0s && [ "$(segments | wc -l)" -lt "$was" ]
claim 'with one base, what lies before it goes'
w wal verify lab/db --level decode && w scrub
claim 'and nothing is amiss'
base && switches 3 && sleep 1.1
mark=$(sql -c 'SELECT max(i) FROM said')
at=$(sql -c "SELECT to_char(clock_timestamp() AT TIME ZONE 'UTC', 'YYYY-MM-DD\"T\"HH24:MI:SS.US\"Z\"')")
sleep 1.1
switches 3 && receive
claim 'a second base, an instant behind it, and more WAL'
all=$(segments | wc -l)
needed=$(w show lab/db --json && python3 - "$T/out" <<'PY'
import json, sys
at = int(json.load(open(sys.argv[1]))["snapshot"]["facts"]["start_lsn"].split("/")[1], 16)
print("0000000100000000%08X" % (at >> 24))
PY
)
w prune lab --dry-run --json --grace 1h && python3 - "$T/out" <<'PY'
import json, sys
plan = next(json.loads(l) for l in open(sys.argv[1]) if '"plan"' in l and '"digest"' in l)
assert plan["forgotten"] == 1 and plan["wal"][0]["objects"] == 0 and plan["wal"][0]["first"], plan["wal"]
PY
claim 'what is younger than the grace stays'
w prune lab --dry-run --grace 0s && grep -q 'forget 1 recovery point .*; remove [0-9]* files of WAL .* that no backup needs' "$T/out" && [ "$(segments | wc -l)" = "$all" ]
claim 'a plan counts what goes, and removes nothing'
plan=$(grep -o 'pln-[0-9a-f]*' "$T/out" | head -n 1)
count=$(grep -o 'remove [0-9]* files' "$T/out" | grep -o '[0-9]*')
Y=$K/prune.yaml
w prune lab --dry-run --collect-only --grace 0s && grep -q 'stays: this key reads no backup' "$T/out"
claim 'a key that reads nothing leaves WAL alone, and says so'
Y=$K/pk.yaml
w prune --plan "$plan" --json && [ "$(result wal_objects)" = "$count" ] && [ "$(segments | wc -l)" = $((all - count)) ]
claim 'the plan is carried out'
[[ $(segments | head -n 1) == "$needed"* ]]
claim 'the first segment left is the one that the kept base begins in'
w wal verify lab/db --level decode && grep -q 'read, 0 damaged' "$T/out"
claim 'no gap, nothing missing'
w scrub
claim 'the scrub finds nothing'
w verify lab/db --level decode
claim 'nor does verify'
python=
for p in python3 /usr/bin/python3; do
  "$p" -c 'import cryptography, zstandard' 2>/dev/null && python=$p && break
done
if [ -n "$python" ]; then
  PYTHONDONTWRITEBYTECODE=1 "$python" "$SOURCE_ROOT/test/format/reader.py" --key "$K/key" "$K/repo" wal >"$T/out" 2>"$T/err"
  claim 'the independent reader agrees'
else
  skip 'the independent reader agrees' 'its libraries are not installed'
fi
w prune lab --grace 0s --json && [ "$(result wal_objects)" = 0 ]
claim 'the next prune has nothing to do'
size=$(ls "$K/repo/log" | wc -l)
w prune lab --grace 0s && [ "$(ls "$K/repo/log" | wc -l)" = "$size" ]
claim 'and says nothing in the log'
history 500 && receive
claim 'receiving goes on'
rm -rf "$K/cache" && w wal verify lab/db && w status
claim 'a fresh cache reads the same of the log'

w restore lab/db --into "$N/data" --target-time "$at"
claim 'a restore to the instant is prepared'
printf '%s\n' "unix_socket_directories = '$N/socket'" 'archive_mode = off' | cluster_as "$N" tee -a "$N/data/postgresql.conf" >/dev/null
cluster_as "$N" env HOME="$K" TMPDIR="$K" XDG_CACHE_HOME="$K/cache" "$PG_BIN/pg_ctl" -D "$N/data" -l "$N/server.log" -w -t 180 -s start >out 2>err
await 120 cluster_leads "$N"
[ "$(cluster_psql "$N" -c 'SELECT max(i) FROM said')" = "$mark" ]
claim 'a server recovers to that instant from the kept base'
cluster_stop "$N"

w status lab/db && says 'lab/db: recoverable to any instant from .* to '
claim 'the status says between which instants'
w status lab/db --json && python3 - "$T/out" <<'PY'
import json, sys
r, = json.load(open(sys.argv[1]))["surfaces"]
assert r["wal"]["first"] < r["wal"]["last"] and 0 <= r["wal"]["age_s"] < 120 and not r["wal"]["broken"], r["wal"]
PY
claim 'as JSON too'
w status lab/db --metrics && python3 - "$T/out" <<'PY'
import sys
value = {l.split("{")[0]: float(l.split()[-1]) for l in open(sys.argv[1]) if l.startswith("proofkeep_") and "{" in l}
assert value["proofkeep_recovery_point_timestamp_seconds"] > value["proofkeep_backup_last_success_timestamp_seconds"] + 2, value
PY
claim 'and the newest instant as a metric, which WAL carries beyond the last backup'

# What is missing where it is needed is damage as ever.
victim=$(find "$K"/repo/wal/*/00000001 -type f -name "0???????????????????????" | sort | sed -n 3p)
mv "$victim" "$K/aside"
! w wal verify lab/db && grep -q 'Missing on timeline 1' "$T/out" "$T/err"
claim 'a segment that is needed and missing is a gap'
w status lab/db --json && python3 - "$T/out" <<'PY' && ! w status lab/db --check && says 'WAL from 0/.* to 0/.*, after the newest backup, is missing'
import json, sys
r, = json.load(open(sys.argv[1]))["surfaces"]
assert r["wal"]["broken"] and r["wal"]["first"] is None and r["state"] == "breached", r
PY
claim 'and a breach of what the status promises'
mv "$K/aside" "$victim"

# ---- what the store has locked ----
unset AWS_SESSION_TOKEN AWS_PROFILE AWS_REGION AWS_DEFAULT_REGION
export AWS_EC2_METADATA_DISABLED=true no_proxy='*'
mkdir -p "$T/server"
s3_start versitygw "$T/server"
case $? in
0)
  printf '[default]\naws_access_key_id = %s\naws_secret_access_key = %s\n' "$S3_ACCESS" "$S3_SECRET" >"$K/credentials"
  chmod 600 "$K/credentials"
  [ "$(id -u)" = 0 ] && chown postgres "$K/credentials"
  Y=$K/locked.yaml
  sed -e "s,^repositories:.*,repositories: { main: { url: 's3://walkeep/a' \, s3: { endpoint: '$S3_ENDPOINT'\, region: $S3_REGION\, credentials: bucket\, timeout: 5s }\, immutability: { mode: compliance\, packs: 5m\, index: 5m\, log: 10m\, keys: 10m\, wal: 5m }\, encrypt: { key: k\, kind: key_file } } }," \
    -e "s,$K/key },$K/key.s3 }\, bucket: { file: $K/credentials }," "$K/pk.yaml" >"$Y"
  s3 mb walkeep lock && w init --repository main && receive --slot s3 --create-slot && switches 2 && receive --slot s3 && base
  claim 'in a bucket with object lock, WAL and a base'
  w prune lab --grace 0s --json && [ "$(result wal_objects)" = 0 ] && n=$(grep -o '"wal":\[{[^]]*\],"objects":[0-9]*' "$T/out" | grep -o '[0-9]*$') &&
    [ "$n" -gt 0 ] && [ "$(result locked_objects)" -ge "$n" ]
  claim 'what is locked stays, and is counted'
  w wal verify lab/db --level decode && w scrub
  claim 'nothing is amiss'
  ;;
77) skip 'what is locked stays' "$S3_WHY" ;;
*) echo "Bail out! $S3_WHY" && exit 1 ;;
esac
finish
