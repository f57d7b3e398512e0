#!/bin/bash
# Data streams as such, what is restored in place by the cluster's own words, and readings that lose what they read. What comes
# back is judged by what the server says of it.
. "${SOURCE_ROOT:?the project}/test/e2e/lib/tap.sh"
. "$SOURCE_ROOT/tools/servers/search.sh"
server=${SEARCH_SERVER:-opensearch:2.19.6}
kind=${server%:*} version=${server#*:}
search_get "$kind" "$version" && search_java "$kind" "$version" >/dev/null || {
  echo "1..0 # skip ${SEARCH_WHY:-no JDK for $server}"
  exit 0
}
proxy='' W=$T/server
trap '[ -z "$proxy" ] || kill "$proxy" 2>/dev/null; search_stop "$W"' EXIT
chmod a+x "$T"
web() { curl -s -m 60 -X "$1" "$U$2" -H "content-type: ${4:-application/json}" ${3:+--data-binary "$3"}; }
lines() { web POST "$1" "$2" application/x-ndjson | grep -q '"errors":false'; }
config() { # FILE URL CLUSTER-LINE...
  local file=$1 url=$2
  shift 2
  {
    config_head
    printf '%s\n' 'surfaces:' '  s:' '    kind: search' '    class: runtime' '    cluster:' "      url: $url"
    printf '      %s\n' "$@"
    printf 'environments:\n  lab: { repository: main }\n'
  } >"$file"
}
in_place() { # WORD...
  pk "$@" restore lab/s@latest --in-place --dry-run --json && pk "$@" restore --plan "$(result plan)"
}
# state INDEX...: how each is defined, but for what the cluster numbers; STREAM=1: of the indices of a data stream, in their order
state() {
  python3 - "$U" "$@" <<'PY'
import json, os, re, sys, urllib.request
u, own = sys.argv[1], re.compile(r"index\.(uuid|creation_date|provided_name|version\.|resize\.|routing_partition_size|routing\.allocation\.initial_recovery)")
def get(path, body=None):
    q = urllib.request.Request(u + path, data=body and json.dumps(body).encode(), headers={"content-type": "application/json"})
    return json.load(urllib.request.urlopen(q, timeout=60))
for name in sys.argv[2:]:
    streams = get("/_data_stream")["data_streams"]
    for s in streams:
        if s["name"] == name: print(name, s.get("timestamp_field"), s["template"])
    of = [i["index_name"] for s in streams if s["name"] == name for i in s["indices"]] or [name]
    for i in of:
        d = get(f"/{i}?flat_settings=true")[i]
        d["settings"] = {k: v for k, v in d["settings"].items() if not own.match(k)}
        print(json.dumps(d, sort_keys=True))
        urllib.request.urlopen(urllib.request.Request(f"{u}/{i}/_refresh", method="POST"))
        hits = get(f"/{i}/_search?size=9999")["hits"]["hits"]
        print(sorted((h["_id"], json.dumps(h["_source"])) for h in hits))
PY
}
SEARCH_HEAP=512m search_start "$kind" "$version" "$W" || { echo "# $SEARCH_WHY"; false; }
claim "a server starts"
U=$SEARCH_URL

web PUT /_component_template/base '{"template":{"settings":{"number_of_replicas":0}}}' >/dev/null
web PUT /_ingest/pipeline/p '{"processors":[]}' >/dev/null
template() { # SHARDS PROPERTIES
  web PUT /_index_template/events '{"index_patterns":["events*"],"data_stream":{},"composed_of":["base"],"priority":100,"template":{"settings":{"number_of_shards":'"$1"',"refresh_interval":"3s","default_pipeline":"p"},"mappings":{"properties":{'"$2"'}}}}'
}
documents() { # FROM TO
  local i
  for i in $(seq "$1" "$2"); do printf '{"create":{"_id":"e%s"}}\n{ "@timestamp" : "2019-03-0%sT00:00:00.%03dZ", "n": %s }\n' "$i" $((i % 9 + 1)) $((i % 1000)) "$i"; done
}
template 1 '"n":{"type":"integer"}' >/dev/null
lines /events/_bulk?refresh=true "$(documents 1 300)"$'\n'
template 2 '"n":{"type":"long"},"later":{"type":"keyword"}' >/dev/null
web POST /events/_rollover >/dev/null
lines /events/_bulk?refresh=true "$(documents 301 500)"$'\n' && web POST /events/_rollover >/dev/null
web PUT /plain '{"settings":{"number_of_shards":2,"number_of_replicas":0,"refresh_interval":"9s","analysis":{"analyzer":{"a":{"type":"custom","tokenizer":"standard"}}}},"mappings":{"_meta":{"of":"ours"},"properties":{"n":{"type":"integer"}}},"aliases":{"plain-live":{"filter":{"term":{"n":1}}}}}' >/dev/null
web PUT /bare '{}' >/dev/null
lines /plain/_bulk?refresh=true "$(documents 1 400 | sed 's/"create"/"index"/')"$'\n' && lines /bare/_bulk?refresh=true '{"index":{}}
{"a":1}
'
claim "some indices are there"
web PUT /many '{"settings":{"number_of_shards":1,"number_of_replicas":0},"mappings":{"properties":{"n":{"type":"integer"}}}}' >/dev/null
awk 'BEGIN { for (i = 0; i < 9000; i++) printf "{\"index\":{\"_id\":\"m%d\"}}\n{\"n\":%d}\n", i, i
  for (i = 0; i < 300; i++) printf "{\"index\":{\"_id\":\"m%d\"}}\n{\"n\":%d,\"again\":1}\n", i * 7, i
  for (i = 0; i < 200; i++) printf "{\"delete\":{\"_id\":\"m%d\"}}\n", i * 11 }' >many
web POST /many/_bulk?refresh=true @many application/x-ndjson | grep -q '"errors":false'
claim "a data stream of three indices, of two templates and one empty, and plain ones, of which one is read in ranges"
state events plain bare many >was
config proofkeep.yaml "$U" "indices: ['*']"
pk init --repository main && pk backup lab/s --json && pk export lab/s@latest --to "$T/export" &&
  grep -q '"indices":\[".ds-events-000001",".ds-events-000002",".ds-events-000003"\]' "$T/export/data/cluster/data_streams.json"
claim "they are backed up, and how the stream is made of them"

web DELETE /_data_stream/events >/dev/null
for i in /_index_template/events /_component_template/base /_ingest/pipeline/p /plain /bare /many; do web DELETE $i >/dev/null; done
in_place && state events plain bare many >now && cmp was now
claim "wiped and restored in place: the stream is one, and all is what it was, as the server tells it"
! web GET /_index_template | grep -q proofkeep && ! web GET '/_cat/indices?expand_wildcards=all' | grep -q restoring && ! web GET '/plain/_settings' | grep -qe resize -e initial_recovery -e partition
claim "nothing is left of the restore itself"
lines /events/_bulk?refresh=true '{"create":{}}
{"@timestamp":"2026-01-01T00:00:00Z","n":1}
' && web DELETE /plain/_doc/e7?refresh=true >/dev/null && [ "$(web GET /events/_count | sed 's/.*"count":\([0-9]*\).*/\1/')" = 501 ]
claim "it goes on to be written"
in_place && state events plain bare many >now && cmp was now && ! web GET '/_cat/indices?expand_wildcards=all' | grep -q restoring
claim "restored over what is live, it is as it was again"
pk restore lab/s@latest --in-place --path index/.ds-events-000002 --dry-run --json && fails 2 PK-USE-001 restore --plan "$(result plan)" && says 'restored as a whole'
claim "in place there is no part of a stream"
pk restore lab/s@latest --path index/events --into '*-copy' && [ "$(web GET /ds-events-000001-copy/_count | sed 's/.*"count":\([0-9]*\).*/\1/')" = 300 ]
claim "beside, its indices are plain ones"
web DELETE '/ds-events-00000*-copy' >/dev/null

sleep 100000 > >(exec python3 "$SOURCE_ROOT/test/harness/search_proxy.py" "${U#http://}" "$W/rule" >"$W/proxy" 2>"$W/proxy.log") &
proxy=$!
for i in $(seq 100); do [ -s "$W/proxy" ] && break; sleep 0.1; done
config through.yaml "http://127.0.0.1:$(cat "$W/proxy")" "indices: ['events']"
echo 'bulk 2 refuse' >"$W/rule"
pk --config through.yaml restore lab/s@latest --path index/events --in-place --dry-run --json && fails 1 PK-SCH-008 --config through.yaml restore --plan "$(result plan)" && ! says 'private payload'
claim "a refused document ends it"
rm -f "$W/rule"
state events >now && head -n 5 was | cmp - <(head -n 5 now)
claim "while what stands beside is not whole, the live stream stays"
web DELETE /_data_stream/events >/dev/null
echo 'bulk 2 refuse' >"$W/rule"
pk --config through.yaml restore lab/s@latest --path index/events --in-place --dry-run --json && fails 1 PK-SCH-008 --config through.yaml restore --plan "$(result plan)" && says 'the data stream events is half made'
claim "one that is half made is called so"
rm -f "$W/rule"
in_place && state events plain bare many >now && cmp was now && ! web GET /_index_template | grep -q proofkeep
claim "the next run makes it whole"

for i in $(seq 12); do head -c 900000 /dev/urandom | base64 -w 0 | sed 's/.*/{"index":{}}\n{"t":"&"}\n/'; done | sed '/^$/d' >wide
web PUT /wide '{"settings":{"number_of_shards":1,"number_of_replicas":0},"mappings":{"enabled":false}}' >/dev/null
curl -s -H 'content-type: application/x-ndjson' --data-binary @wide "$U/wide/_bulk?refresh=true" | grep -q '"errors":false'
claim "an index of several pages"
config through.yaml "http://127.0.0.1:$(cat "$W/proxy")" "indices: ['wide']"
echo 'fake /_nodes/_local {"nodes":{"n":{"version":"2.3.0"}}}' >"$W/rule"
pk --config through.yaml backup lab/s && [ "$("$P" show lab/s@latest --json | python3 -c 'import json, sys; print(json.load(sys.stdin)["snapshot"]["facts"]["indices"][0]["way"])')" = scroll ] &&
  pk restore lab/s@latest --into wide-scrolled && state wide-scrolled | tail -n 1 >now && cmp now <(state wide | tail -n 1)
claim "where there is no point in time that can be walked, a scroll of several pages reads all of it"
echo 'page 2 forget' >"$W/rule"
fails 1 PK-SCH-005 --config through.yaml backup lab/s && says 'the cluster dropped what it had frozen'
claim "what is frozen is dropped midway: the backup fails and says so"
echo 'page 2 gone wide' >"$W/rule"
fails 1 PK-SCH-005 --config through.yaml backup lab/s && says 'read the index wide'
claim "an index that is deleted midway: the backup fails"
pk list lab/s && [ "$(grep bkp- "$T/out" | grep -vc 'before a restore')" = 2 ]
claim "nothing of either is a snapshot"
echo 'fake /_plugins/_transform {"total_transforms":1,"transforms":[{"_id":"daily","transform":{}}]}' >"$W/rule"
config through.yaml "http://127.0.0.1:$(cat "$W/proxy")" "indices: ['bare']"
pk --config through.yaml backup lab/s && says 'daily: this transform is not part of the backup' && rm -f "$W/rule"
claim "a transform is named as missing"
finish
