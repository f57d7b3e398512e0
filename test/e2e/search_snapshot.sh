#!/bin/bash
# Snapshots that OpenSearch and Elasticsearch make themselves, carried into our repository or left in theirs: what comes back is judged by
# the server's own counts and documents. With PROOFKEEP_TEST_ALL=1, every version that is known and can be had.
. "${SOURCE_ROOT:?the project}/test/e2e/lib/tap.sh"
. "$SOURCE_ROOT/test/e2e/lib/search.sh"
servers=${SEARCH_SERVERS:-opensearch:2.19.6}
[ -z "${PROOFKEEP_TEST_ALL:-}" ] || servers="$servers elasticsearch:8.19.21 elasticsearch:7.10.2 elasticsearch:7.17.29 opensearch:3.6.0"
writer=''
trap '[ -z "$writer" ] || kill "$writer" 2>/dev/null; for s in "$T"/*/pid; do search_stop "$(dirname "$s")"; done' EXIT
search_wanted $servers
chmod a+x "$T"
kept="'orders', 'logs-a', 'family', 'wide', 'empty'"
all_same() { # SUFFIX: every index is as its restored one
  local i
  for i in orders logs-a family wide empty; do same "$i" "$i$1" || { echo "# $i"; return 1; }; done
}
counted() { web GET "/$1/_count" | grep -q "\"count\":$2,"; } # INDEX NUMBER
left_over() { # what a restore from carried files uses, and has to take away
  web GET /_snapshot | grep -q restoring || ls "$W/repo" | grep -q restoring
}
snapshots() { # REPOSITORY: names, with an empty line at the end
  web GET "/_snapshot/$1/_all" | python3 -c 'import json, sys; print(*(x["snapshot"] for x in json.load(sys.stdin)["snapshots"]), sep="\n")'
}
# spoil INDEX: the last byte of its largest file; documents are still read, and a snapshot of the shard fails
spoil() {
  python3 - "$W/data" "$(web GET "/$1/_settings?flat_settings=true" | sed 's/.*"index.uuid":"\([^"]*\)".*/\1/')" <<'PY'
import os, pathlib, sys
files = [f for f in pathlib.Path(sys.argv[1]).glob(f"**/{sys.argv[2]}/*/index/_*.*") if f.suffix in (".cfs", ".fdt")]
f = max(files, key=lambda x: x.stat().st_size)
with open(f, "r+b") as o:
    o.seek(-1, os.SEEK_END)
    b = o.read(1)
    o.seek(-1, os.SEEK_END)
    o.write(bytes([b[0] ^ 255]))
PY
}

suite() {
  local kind=$1 version=$2 is="$1 $2" stamp name plan was i
  W=$T/$kind-$version
  SEARCH_HEAP=512m search_start "$kind" "$version" "$W" || { echo "# $SEARCH_WHY"; false; }
  claim "$is starts"
  U=$SEARCH_URL
  python3 "$SOURCE_ROOT/test/harness/search_fill.py" "$U"
  claim "$is is filled"
  rm -rf "$T/repo" "$T/key"
  local facet='facets: [{ name: by_status, index: orders, query: "{\"aggs\":{\"s\":{\"terms\":{\"field\":\"status\"}}}}" }]'
  config proofkeep.yaml "$U" "$facet" "indices: [$kept]" 'method: snapshot' \
    "snapshot: { repository: mine, carry: true, register: { type: fs, location: $W/repo/mine } }"
  config missing.yaml "$U" 'method: snapshot' 'snapshot: { repository: mine }'
  pk init --repository main
  fails 1 PK-ENG-001 --config missing.yaml backup lab/s && says 'has no snapshot repository mine'
  claim "$is: a repository that is not registered is refused"

  # ---- carried ----
  pk backup lab/s --json
  claim "$is: a snapshot is made in a repository that is registered for it, and carried"
  [ "$(shown 'v["facts"]["method"] + " " + v["facts"]["product"] + " " + v["consistency"]')" = "snapshot $kind exact" ] &&
    [ "$(shown 'sum(i["documents"] for i in v["facts"]["indices"])')" = 3907 ] && [ "$(shown 'v["facts"]["snapshot"]["shards"]["failed"]')" = 0 ] &&
    [ "$(shown 'v["facts"]["snapshot"]["uuid"]')" = "$(web GET /_snapshot/mine/_all | python3 -c 'import json, sys; print(json.load(sys.stdin)["snapshots"][0]["uuid"])')" ]
  claim "$is: its facts are those of the cluster's snapshot, and nothing was written meanwhile"
  web PUT '/orders/_doc/o-new?refresh=true' '{"n":1,"status":"new"}' >/dev/null
  pk backup lab/s --json && python3 - "$(result surfaces.0.stored_bytes)" "$(shown 'v["facts"]["snapshot"]["kept_files"]')" <<'PY'
import sys
assert int(sys.argv[1]) < 400000 and int(sys.argv[2]) > 5, sys.argv
PY
  claim "$is: a second backup of 20 MB reads and stores what is new"
  [ "$(snapshots mine | wc -l)" = 1 ] && [ "$(snapshots mine)" = "$(shown 'v["facts"]["snapshot"]["name"]')" ]
  claim "$is: the cluster keeps the newest alone"
  stamp=$(shown 'v["facts"]["stamp"]')
  if [ "$first" ]; then
    pk export lab/s@latest --to "$W/export" && mv "$W/export/data/snapshot" "$W/repo/exported" && chown -R --reference="$W/repo" "$W/repo/exported"
    web PUT /_snapshot/exported "{\"type\":\"fs\",\"settings\":{\"location\":\"$W/repo/exported\",\"readonly\":true}}" >/dev/null && [ "$(snapshots exported)" = "$(snapshots mine)" ]
    claim "$is: what is exported is a repository of one snapshot, to the cluster itself"
    web DELETE /_snapshot/exported >/dev/null
  fi
  web DELETE "/_snapshot/mine/$(snapshots mine)" >/dev/null && web DELETE /_snapshot/mine >/dev/null && rm -rf "$W/repo/mine" && pk restore lab/s@latest --json
  claim "$is: with the cluster's repository gone, it is restored beside what is live"
  all_same "-restored-$stamp"
  claim "$is: every index has the same ids, routings and documents"
  ! left_over
  claim "$is: nothing of the restore is left registered or on disk"
  name=$(shown 'v["facts"]["snapshot"]["name"]')
  name=proofkeep-restoring-$stamp-${name##*-}
  mkdir -p "$W/repo/$name" && chown --reference="$W/repo" "$W/repo/$name"
  web PUT "/_snapshot/$name?verify=false" "{\"type\":\"fs\",\"settings\":{\"location\":\"$W/repo/$name\",\"readonly\":true}}" >/dev/null && left_over
  claim "$is: a run that was killed at its very end left its folder and its registration"
  restored && grep -q ': 0 items' err && ! left_over
  claim "$is: restored again, nothing is done but to take that away: it is there"
  web POST "/logs-a-restored-$stamp/_doc?refresh=true" '{"other":1}' >/dev/null
  restored
  [ $? = 5 ] && says '^error PK-SCH-007: ' && says 'was not changed'
  claim "$is: an index that has something else is left alone"
  for i in orders logs-a family wide empty; do web DELETE "/$i-restored-$stamp" >/dev/null; done
  web DELETE /orders/_doc/o-5?refresh=true >/dev/null
  was=$(web GET /family/_count | sed 's/.*"count":\([0-9]*\).*/\1/')
  web DELETE /family >/dev/null
  restored --in-place && web GET /orders/_doc/o-5 | grep -q '"found":true' && await 30 counted family "$was" &&
    web GET /orders/_alias | grep -q orders-live && ! web GET /_cat/indices | grep -q restoring && ! left_over
  claim "$is: in place, what was changed and removed is as it was, aliases too"
  restored --path index/orders --swap && web GET /_alias/orders-live | grep -q "orders-restored-$stamp"
  claim "$is: aliases are swapped to one that is restored beside"
  web DELETE "/orders-restored-$stamp" >/dev/null

  # A run that is killed leaves a folder, perhaps a registration, perhaps a restore under way: the next takes it from there.
  pk restore lab/s@latest --into '*-again' --dry-run --json && plan=$(result plan)
  "$P" restore --plan "$plan" >killed 2>&1 </dev/null &
  name=$!
  for i in $(seq 600); do ls "$W/repo" | grep -q restoring && break; sleep 0.05; done
  kill -9 $name
  wait $name 2>/dev/null
  restored --into '*-again' && all_same -again && ! left_over
  claim "$is: after a kill the same restore comes to its end, and nothing is left over"
  for i in orders logs-a family wide empty; do web DELETE "/$i-again" >/dev/null; done

  # ---- what is not whole ----
  held=$(snapshots mine) # of before the restore in place
  web PUT /victim '{"settings":{"number_of_shards":1,"number_of_replicas":0}}' >/dev/null
  for i in 1 2 3; do web PUT "/victim/_doc/$i?refresh=true" '{"x":1}' >/dev/null; done
  web POST /victim/_flush >/dev/null && spoil victim
  config victim.yaml "$U" "indices: ['victim', 'empty']" 'method: snapshot' \
    "snapshot: { repository: mine, carry: true, register: { type: fs, location: $W/repo/mine } }"
  fails 1 PK-ENG-002 --config victim.yaml backup lab/s && says 'PARTIAL: [0-9]* of [0-9]* shards' && says 'of victim' && says 'was removed from the cluster'
  claim "$is: a snapshot that is PARTIAL is a failure, and is removed"
  [ "$(snapshots mine)" = "$held" ]
  claim "$is: nothing of it is left in the cluster's repository"
  web DELETE /victim >/dev/null
  web PUT '/victim?wait_for_active_shards=0' '{"settings":{"number_of_shards":1,"number_of_replicas":0,"index.routing.allocation.require._name":"nobody"}}' >/dev/null
  pk --config victim.yaml backup lab/s
  [ $? != 0 ] && says '^error PK-' && [ "$(snapshots mine)" = "$held" ]
  claim "$is: with a primary that is nowhere, no snapshot is made"
  web DELETE /victim >/dev/null
  python3 -c '
import sys, urllib.request
i = 0
while True:
    i += 1
    urllib.request.urlopen(urllib.request.Request(f"{sys.argv[1]}/logs-a/_doc/busy-{i}", data=b"{\"msg\":\"m\"}", headers={"content-type": "application/json"}, method="PUT")).read()
' "$U" >/dev/null 2>&1 &
  writer=$!
  config busy.yaml "$U" "indices: ['logs-a', 'empty']" 'method: snapshot' 'snapshot: { repository: mine, carry: true }'
  for i in $(seq 300); do web GET /logs-a/_doc/busy-1 | grep -q '"found":true' && break; sleep 0.1; done
  pk --config busy.yaml backup lab/s
  i=$?
  kill "$writer"
  wait "$writer" 2>/dev/null
  writer=''
  [ $i = 0 ] && [ "$(shown '[v["consistency"]] + sorted(i["name"] for i in v["facts"]["indices"] if i["written_meanwhile"])')" = "['fuzzy', 'logs-a']" ] &&
    [ "$(shown '"index/logs-a/documents" in v["invariants"], "index/empty/documents" in v["invariants"]')" = '(False, True)' ]
  claim "$is: of an index that is written to meanwhile nothing is promised but its shards"

  # ---- left where the cluster keeps it ----
  config theirs.yaml "$U" "$facet" "indices: [$kept]" 'method: snapshot' 'snapshot: { repository: mine }'
  pk --config theirs.yaml backup lab/s --json && [ "$(shown 'v["facts"]["snapshot"]["carried"]')" = False ] &&
    pk --config theirs.yaml show lab/s@latest --json && grep -q '"notes": *"the documents are not in this repository' out
  claim "$is: not carried, the receipt says where the documents are"
  stamp=$(shown 'v["facts"]["stamp"]')
  pk --config theirs.yaml verify lab/s@latest --level checksum && says 'recorded as present' &&
    [ "$("$P" list lab/s --json 2>/dev/null | python3 -c 'import json, sys; print(json.load(sys.stdin)["points"][-1]["verified"])')" = present ]
  claim "$is: a verification asks the cluster, and vouches for no bytes"
  pk --config theirs.yaml restore lab/s@latest --json && all_same "-restored-$stamp"
  claim "$is: it is restored from the cluster's repository"
  for i in orders logs-a family wide empty; do web DELETE "/$i-restored-$stamp" >/dev/null; done
  web PUT /_snapshot/mine "{\"type\":\"fs\",\"settings\":{\"location\":\"$W/repo/mine\",\"readonly\":true}}" >/dev/null
  fails 1 PK-ENG-001 --config theirs.yaml backup lab/s && says 'read-only'
  claim "$is: a repository that is read-only is refused"
  web PUT /_snapshot/mine "{\"type\":\"fs\",\"settings\":{\"location\":\"$W/repo/mine\"}}" >/dev/null
  web DELETE "/_snapshot/mine/$(shown 'v["facts"]["snapshot"]["name"]')" >/dev/null
  pk --config theirs.yaml verify lab/s@latest --level present
  [ $? = 4 ]
  claim "$is: one that was removed behind our back fails its verification"
  fails 4 PK-ENG-003 --config theirs.yaml restore lab/s@latest && says 'there is no snapshot'
  claim "$is: and its restore says so"

  if [ "$first" ] || [ -n "${PROOFKEEP_TEST_ALL:-}" ]; then
    # the distributions of Elasticsearch for tests know no data streams: an index stands in for one
    [ "$kind" = elasticsearch ] || web PUT /_index_template/stream '{"index_patterns":["stream"],"data_stream":{},"template":{"settings":{"number_of_replicas":0}}}' >/dev/null
    web POST '/stream/_doc?refresh=true' '{"@timestamp":"2026-01-01T00:00:00Z"}' >/dev/null
    config full.yaml "$U" "$facet" "indices: ['orders', 'family', 'stream']" 'method: snapshot' 'snapshot: { repository: mine, carry: true }' \
      "distribution: $SEARCH_HOME" "java_home: $(search_java "$kind" "$version")" 'run_as: nobody'
    pk --config full.yaml backup lab/s && pk --config full.yaml verify lab/s@latest --level full
    claim "$is: a scratch server restores the carried snapshot, and has it all, the index of a data stream too"
    pk --config full.yaml restore lab/s@latest --path index/stream --into '*-plain' && web GET '/*stream*-plain/_count?expand_wildcards=all' | grep -q '"count":1,'
    claim "$is: a data stream goes by its name, and its index comes back beside it"
    if [ "$kind" = elasticsearch ]; then
      skip "$is: in place it is refused when it is planned" 'this distribution has no data streams'
    else
      pk --config full.yaml restore lab/s@latest --path index/stream --in-place --dry-run
      [ $? = 2 ] && says 'part of the data stream stream'
      claim "$is: in place it is refused when it is planned"
    fi
    web PUT /bare '{"settings":{"number_of_replicas":0},"mappings":{"_source":{"enabled":false}}}' >/dev/null
    for i in 1 2 3; do web PUT "/bare/_doc/$i?refresh=true" '{"x":1}' >/dev/null; done
    config bare.yaml "$U" "indices: ['bare']" 'method: snapshot' 'snapshot: { repository: mine, carry: true }'
    bare() { pk --config bare.yaml restore lab/s@latest --into bare-copy --dry-run --json && pk --config bare.yaml restore --plan "$(result plan)"; }
    pk --config bare.yaml backup lab/s && bare && counted bare-copy 3 && bare && grep -q ': 0 items' err
    claim "$is: an index without documents to read comes back, and is known again by where its shards came from"
    web DELETE /bare-copy >/dev/null
    for i in 1 2 3; do web PUT "/bare-copy/_doc/$i?refresh=true" '{"x":2}' >/dev/null; done
    bare
    [ $? = 5 ] && says '^error PK-SCH-007: '
    claim "$is: another of as many documents is not taken for it"
    config nowhere.yaml "$U" "indices: ['empty']" 'method: snapshot' "snapshot: { repository: mine, carry: true, staging: $T }"
    fails 1 PK-ENG-006 --config nowhere.yaml restore lab/s@latest --into 'no-*' && says 'path.repo' && ! ls "$T" | grep -q restoring
    claim "$is: a folder that the server does not read from is refused, and nothing is left there"
    config elsewhere.yaml "$U" "indices: ['empty']" 'method: snapshot' "snapshot: { repository: mine, carry: true, folder: $W/logs }"
    fails 1 PK-ENG-004 --config elsewhere.yaml backup lab/s && says 'no index-N' && says 'was removed from the cluster'
    claim "$is: a folder that is no repository is told"
    config damaged.yaml "$U" "indices: [$kept]" 'method: snapshot' 'snapshot: { repository: mine, carry: true }'
    pk --config damaged.yaml backup lab/s # so that the next one names its files again, whatever was restored since
    python3 - "$W/repo/mine" <<'PY'
import pathlib, sys
for f in pathlib.Path(sys.argv[1]).rglob("__*"): # whichever of them the next snapshot names again
    b = bytearray(f.read_bytes())
    b[len(b) // 2] ^= 1
    f.write_bytes(b)
PY
    fails 1 PK-ENG-004 --config damaged.yaml backup lab/s --full-read && says 'is damaged: its checksum is another'
    claim "$is: a file that was damaged in the cluster's repository is not carried"
    pk --config theirs.yaml backup lab/s && stamp=$(shown 'v["facts"]["stamp"]')
    fails 1 PK-ENG-005 --config theirs.yaml restore lab/s@latest && says 'shards of' && says 'was removed again' && ! web GET /_cat/indices | grep -q "family-restored-$stamp"
    claim "$is: and what the cluster cannot restore from it is told, and goes again"
  fi
  search_stop "$W"
}
first=1
for s in $wanted; do
  suite "${s%:*}" "${s#*:}"
  first=''
done
finish
