#!/bin/bash
# What `status` says of checks with a budget: how much of the stored bytes was read again, when, and what never was; from this
# host's cache, and from the log on a host that has none. The amounts are held against the files of the repository.
. "${SOURCE_ROOT:?the project}/test/e2e/lib/tap.sh"
{
  config_head
  cat <<YAML
surfaces:
  artifacts: { kind: files, class: truth, paths: [$T/tree] }
environments:
  lab: { repository: main, policy: { rpo: none, rto: none } }
YAML
} >proofkeep.yaml
covered() { # FIELD of coverage, of the status
  "$P" status --json "${@:2}" 2>/dev/null | python3 -c '
import json, sys
v = json.load(sys.stdin)["repositories"][0]["coverage"]
for k in sys.argv[1].split("."):
    v = v[k] if v is not None and k else v
print(v)' "$1"
}
metric() { "$P" status --metrics 2>/dev/null | sed -n "s/^proofkeep_coverage_$1 //p"; }
stored() { find "$T/repo/packs" -type f -printf '%s\n' | awk '{ n += $1 } END { print n + 0 }'; }
mkdir tree && head -c 60000000 /dev/urandom >tree/one
pk init --repository main --key-file "$T/key" && pk backup lab/all && pk verify lab/all --level checksum
[ "$(covered '')" = None ] && [ -z "$(metric 'bytes{repo="main",within="7d"}')" ] && pk status && ! grep -q budget "$T/out"
claim 'without a check with a budget nothing is said'
pk verify --all --level checksum --budget 20MB --json && left=$(result bytes_left)
[ "$left" -gt 0 ] && [ "$(covered bytes)" = "$(stored)" ] && [ "$(covered never_bytes)" = "$left" ] &&
  [ "$(covered within_bytes.7d)" = $(($(stored) - left)) ] && [ "$(covered within_bytes.90d)" = $(($(stored) - left)) ] && [ "$(covered oldest)" = None ]
claim 'after a part, what was read and what never was add up to the bytes of the packs'
pk status && says "main: read again by checks with a budget: .* within 7 d, .* never; the oldest check of a pack: never"
claim 'in words'
[ "$(metric 'bytes{repo="main",within="7d"}')" = $(($(stored) - left)) ] && [ "$(metric 'stored_bytes{repo="main"}')" = "$(stored)" ] &&
  [ -z "$(metric 'oldest_timestamp_seconds{repo="main"}')" ]
claim 'in metrics, where an age that is not known is absent'
before=$(date +%s)
pk verify --all --level checksum --budget 1GB --json && [ "$(result bytes_left)" -ge 0 ] && [ "$(covered never_bytes)" = 0 ] && [ "$(covered within_bytes.7d)" = "$(stored)" ]
claim 'after all of it nothing is left'
age=$(covered oldest_age_s) && [ "$age" -ge 0 ] && [ "$age" -le $(($(date +%s) - before + 60)) ] && [ -n "$(metric 'oldest_timestamp_seconds{repo="main"}')" ]
claim 'and the oldest evidence has its age'
[ "$(covered '' --cache-dir "$T/other-host")" = None ]
claim 'a host without this cache does not take the word of the log for packs that may be younger than it'
find "$T/repo/packs" -type f -exec touch -d '1 hour ago' {} +
[ "$(covered within_bytes.7d --cache-dir "$T/other-host")" = "$(stored)" ] && [ "$(covered never_bytes --cache-dir "$T/other-host")" = 0 ]
claim 'and does for those that are older'
seq 3000000 >tree/two && pk backup lab/all && [ "$(covered bytes)" = "$(stored)" ] && [ "$(covered never_bytes)" -gt 0 ] && [ "$(covered oldest)" = None ]
claim 'what was stored since was never read again'
big=$(find "$T/repo/packs/d" -type f -size +1M | sort | head -n 1)
flip "$big" 5000
pk verify --all --level checksum --budget 1GB >/dev/null
[ "$(covered never_bytes)" -ge "$(stat -c %s "$big")" ]
claim 'a pack that turned out damaged does not count as read whole'
finish
