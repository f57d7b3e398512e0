#!/bin/bash
# Recovery to instants of a busy server's life, by both ways of base backup and of WAL, and what is refused before a byte is copied.
# All of 200 instants: make test-recovery.
. "${SOURCE_ROOT:?the project}/test/e2e/lib/tap.sh"
. "$SOURCE_ROOT/test/e2e/lib/pg.sh"
. "$SOURCE_ROOT/test/recovery/run.sh"
pg_needed
instants stream-host --through host --wal stream --instants 10 --seconds 14 --tools 4
# ---- a standby that has streamed more of a segment than is stored
F=$T/stream-host
half=$(find "$F"/repo/wal/*/00000003 -mindepth 1 -maxdepth 1 -printf '%f\n' | grep -o '^[0-9A-F]\{24\}' | sort | tail -n 1)
owned "$F/pg_wal" && as_server stream-host wal get lab/pg "$half" "$F/pg_wal/RECOVERYXLOG" && mv "$F/pg_wal/RECOVERYXLOG" "$F/half" && python3 - "$F/half" "$F/more" "$F/less" <<'PY'
import sys
data = open(sys.argv[1], "rb").read()
end = len(data.rstrip(b"\0"))
assert 100 < end < len(data) - 8192, end
open(sys.argv[2], "wb").write(data[:end] + b"more" * 1000 + data[end + 4000 :])
open(sys.argv[3], "wb").write(data[: end - 50] + b"old" * 1000 + data[end - 50 + 3000 :])
PY
claim '(a segment is stored in part)'
cp "$F/more" "$F/pg_wal/$half" && chmod a+r "$F/pg_wal/$half" && ! as_server stream-host wal get lab/pg "$half" "$F/pg_wal/RECOVERYXLOG" && says PK-WAL-002 && says "pg_wal/$half has more of it than is stored" && [ "$(ls "$F/pg_wal")" = "$half" ]
claim 'what a standby has streamed beyond it is not replaced'
cp "$F/less" "$F/pg_wal/$half" && as_server stream-host wal get lab/pg "$half" "$F/pg_wal/RECOVERYXLOG" && cmp "$F/half" "$F/pg_wal/RECOVERYXLOG"
claim '... but what it has less, or another of, is'
rm -rf "$F"
instants archive-replication --through replication --wal archive --instants 10 --seconds 14 --tools 4

# ---- plans, and what is refused: three backups, two of timeline 1 and one of 2, and WAL up to timeline 3
F=$T/archive-replication
w() { as_server archive-replication "$@"; }
# refused ARGUMENT...: by PK-PG-016, and nothing is there
refused() {
  w restore "$@" --into "$F/copy" --dry-run
  [ $? = 2 ] && grep -q '^error PK-PG-016: ' "$T/err" && [ ! -e "$F/copy" ]
}
plan() { w restore "$@" --into "$F/copy" --dry-run; }
# field FIELD: of the plan of a run with --json
field() {
  python3 -c '
import json, sys
v = [e for e in map(json.loads, open(sys.argv[1])) if e["type"] == "plan"][-1]
for k in sys.argv[2].split("."):
    v = v[k]
print(v)' "$T/out" "$1"
}
w list lab/pg --json
mapfile -t points < <(python3 -c '
import json, sys
for p in json.load(open(sys.argv[1]))["points"]:
    print(p["id"])' "$T/out")
second=${points[1]} third=${points[2]}
stored=$(echo "$F"/repo/wal/*)
newest=$(find "$stored/00000003" -type f -name '????????????????????????' -printf '%f\n' | sort | tail -n 1)
plan lab/pg --target latest && grep -q "along timeline 3, up to $newest, stored at about 20" out && grep -q "^  base      $third, which ended at 20" out
claim 'latest says up to which segment it leads'
plan lab/pg --target latest --json && end=$(field point) && [ "$(field recovery.wal.last)" = "$newest" ] && [ "$(field recovery.wal.newest)" = "$end" ] &&
  [ "$(field recovery.wal.segments)" -ge 1 ] && [ "$(field estimated_seconds)" -ge "$(field recovery.wal.replay_seconds)" ]
claim '... for programs too, and the estimate counts what is replayed'
at=$(date -u -d "$end - 1 second" +%Y-%m-%dT%H:%M:%S).25Z
plan lab/pg --target-time "$at" && grep -qx "  point     ${at%Z}0000Z" out && grep -q '^  you lose  everything written since: [1-9]' out && grep -q '^  replay    about ' out
claim 'the plan for a time speaks of that time'
lsn=$(plan lab/pg --target latest --json && field recovery.wal.from)
plan "lab/pg@$third" --target-lsn "$lsn" --target-exclusive && grep -qx "  point     $lsn, just before it" out && grep -qx '  you lose  everything written after it' out
claim '... and of what is named otherwise, when no time is known'
refused lab/pg --target-time 2100-01-01T00:00:00Z && says 'lies behind the newest WAL that leads from this backup, which was stored at about 20' && says 'so approximate), or --target latest. Stored: timeline 3 to '
claim 'a time behind the newest WAL is refused, with about the newest'
refused lab/pg --target-time 2001-01-01T00:00:00Z && says "oldest whole backup is ${points[0]}: the time .* lies before the end of this backup; the nearest that it reaches is 20"
claim 'one before the oldest backup is refused, with that'
refused lab/pg --target-lsn FF/0 && says 'the place FF/0 lies behind the WAL that leads from this backup, which ends at 0/[0-9A-F]* on timeline 3' && says 'Choose a place before 0/'
claim 'so is a place behind the newest WAL'
refused "lab/pg@$third" --target latest --target-timeline 9 && says 'no history of the timeline 9 is stored' && says 'Stored: timeline 3 to '
claim 'and a timeline that nobody knows'
refused "lab/pg@$third" --target latest --target-timeline 1 && says 'the timeline 1 did not come from the timeline 2 of this backup' && says 'target-timeline current'
claim 'and one that did not come from the backup'
mkdir "$F/made" && printf '1\t0/1000000\tby hand\n' >"$F/made/00000007.history"
last1=$(find "$stored/00000001" -type f -name '????????????????????????' -printf '%f\n' | sort | tail -n 1)
w wal get lab/pg "$last1" "$F/last1" && cp "$F/last1" "$F/made/$last1" && chmod -R a+rX "$F/made" && w wal push lab/pg "$F/made/00000007.history"
claim '(a history by hand is stored)'
refused "lab/pg@$second" --target latest --target-timeline 7 && says 'the timeline 7 left the timeline 1 at 0/1000000, before this backup of it ended at 0/'
claim 'and one that left before the backup ended'

# ---- gaps
lost() { mv "$stored/$1/$2" "$F/lost" && (shift 2 && "$@"); local status=$?; mv "$F/lost" "$stored/$1/$2"; return $status; }
first3=$(find "$stored/00000003" -type f -name '????????????????????????' -printf '%f\n' | sort | head -n 1)
lost 00000003 "$first3" refused lab/pg --target-time "$at" && says 'lies behind the newest WAL .*; the WAL of timeline 3 from 0/[0-9A-F]* to 0/[0-9A-F]* is missing'
claim 'a time behind a gap is refused, with the gap'
lost 00000003 "$first3" plan lab/pg --target latest && grep -q '^  warning   WAL is missing from 0/[0-9A-F]* on: recovery leads to there at most' out
claim 'latest leads to the gap, and says so'
w show "lab/pg@$third" --json
stop=$(python3 -c '
import json, sys
f = json.load(open(sys.argv[1]))["snapshot"]["facts"]
print("%08X00000000%08X" % (f["timeline"], int(f["stop_lsn"].split("/")[1], 16) >> 24))' "$T/out")
lost 00000002 "$stop" refused "lab/pg@$third" --target latest && says "the WAL of timeline 2 from this backup's end at 0/[0-9A-F]* to 0/[0-9A-F]* is not stored" && says 'with --target immediate, or from another backup'
claim 'a backup whose own end is not stored leads nowhere'
mv "$stored" "$F/lost" && refused lab/pg --target latest && says 'no WAL of the cluster [0-9]* is stored: this backup leads to its own end, 20'
claim 'nor does any when no WAL is stored'
sed 's/^ *wal: .*/ }/; s/user: postgres },$/user: postgres }/' "$F/proofkeep.yaml" >"$F/nowal.yaml"
CONFIG=$F/nowal.yaml refused lab/pg --target latest && says 'the surface pg has no wal: in the configuration' && says 'give the surface a wal: and store its WAL'
claim 'a surface without wal: is told so'
CONFIG=$F/nowal.yaml plan lab/pg --target immediate && grep -q "^  base      $third" out
claim 'but immediate needs none'
mv "$F/lost" "$stored"

# ---- a newer timeline that only the second backup leads to: timeline 4 left timeline 1 in its last segment
printf '1\t0/%s\tby hand\n' "${last1:22}FFFFF8" >"$F/made/00000004.history" && cp "$F/last1" "$F/made/00000004${last1:8}" && chmod -R a+rX "$F/made"
w wal push lab/pg "$F/made/00000004.history" && w wal push lab/pg "$F/made/00000004${last1:8}"
claim '(another timeline is stored)'
plan lab/pg --target-time "$(date -u -r "$stored/00000004/00000004${last1:8}" +%Y-%m-%dT%H:%M:%SZ)" --json && [ "$(field snapshot)" = "$second" ] && [ "$(field recovery.wal.timeline)" = 4 ]
claim 'the base for a time is the newest whose timeline leads to it'
plan lab/pg --target-time "$at" --target-timeline 3 --json && [ "$(field snapshot)" = "$third" ]
claim '... and the newest of all along the timeline that is asked for'
finish
