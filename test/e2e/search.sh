#!/bin/bash
# The search surface from outside, against real servers: what comes back is judged by their own counts, searches and documents, asked
# by Python's HTTP. With PROOFKEEP_TEST_ALL=1, every version that is known and can be had.
. "${SOURCE_ROOT:?the project}/test/e2e/lib/tap.sh"
. "$SOURCE_ROOT/test/e2e/lib/search.sh"
. "$SOURCE_ROOT/test/e2e/lib/browse.sh"
servers=${SEARCH_SERVERS:-opensearch:2.19.6 elasticsearch:8.19.21}
[ -z "${PROOFKEEP_TEST_ALL:-}" ] || servers="$servers elasticsearch:7.10.2 elasticsearch:7.17.29 opensearch:3.6.0"
proxy='' tls=''
trap 'for s in $proxy $tls; do kill "$s" 2>/dev/null; done; for s in "$T"/*/pid; do search_stop "$(dirname "$s")"; done' EXIT
search_wanted $servers
chmod a+x "$T"

harm() { echo "$*" >"$W/rule"; }
calm() { rm -f "$W/rule"; }

# life-cycle policies: the distributions for tests have none, so the proxy keeps them
policies_of() { # KIND
  local path=/_ilm/policy/roll place='' of='"phases":{"delete":{"min_age":"30d","actions":{"delete":{}}}},"_meta":{"of":"ours"}' was
  [ "$1" = elasticsearch ] || {
    path=/_plugins/_ism/policies/roll place='?if_seq_no=1&if_primary_term=1'
    of='"description":"ours","default_state":"hot","states":[{"name":"hot","actions":[],"transitions":[]}],"ism_template":[{"index_patterns":["x-*"],"priority":1}]'
  }
  again() { pk --config policies.yaml restore lab/s@latest --in-place --path cluster/policies --dry-run --json && pk --config policies.yaml restore --plan "$(result plan)"; }
  policy() { # but for what the cluster counts
    U=$X web GET $path | python3 -c 'import json, re, sys; print(re.sub(r"\"(_seq_no|version|last_updated_time)\": \d+", "", json.dumps(json.load(sys.stdin), sort_keys=True)))'
  }
  harm policies empty
  config policies.yaml "$X" 'indices: [empty]'
  U=$X web PUT $path "{\"policy\":{$of}}" >/dev/null && was=$(policy)
  pk --config policies.yaml backup lab/s && { [ "$1" = elasticsearch ] || says 'empty: the life-cycle policy roll has it in hand'; }
  claim "$is: life-cycle policies are backed up, and which indices one has in hand is said"
  U=$X web PUT "$path$place" "{\"policy\":{${of/ours/another}}}" >/dev/null
  pk --config policies.yaml restore lab/s@latest --path cluster/policies --dry-run --json && pk --config policies.yaml restore --plan "$(result plan)"
  [ $? = 5 ] && says 'only --in-place replaces' && policy | grep -q another
  claim "$is: one that is another now stays, beside"
  again && [ "$(policy)" = "$was" ] && again && [ "$(policy)" = "$was" ]
  claim "$is: in place it is what it was, and once more it is known again"
}

suite() {
  local kind=$1 version=$2 is="$1 $2" stamp i
  W=$T/$kind-$version
  SEARCH_HEAP=768m search_start "$kind" "$version" "$W" || { echo "# $SEARCH_WHY"; false; }
  claim "$is starts"
  U=$SEARCH_URL
  python3 "$SOURCE_ROOT/test/harness/search_fill.py" "$U"
  claim "$is is filled"
  rm -rf "$T/repo" "$T/key"
  config proofkeep.yaml "$U" "$facet"
  pk init --repository main && pk backup lab/s --json
  claim "$is: it is backed up"
  [ "$(shown 'v["facts"]["product"] + " " + v["facts"]["version"] + " " + v["consistency"]')" = "$is exact" ]
  claim "$is: what it is is known, and that nothing was written meanwhile"
  [ "$(shown 'sum(i["documents"] for i in v["facts"]["indices"])')" = 3907 ] || { shown 'v["facts"]["indices"]'; false; }
  claim "$is: every document of every index is there"
  browse lab/s
  stamp=$(shown 'v["facts"]["stamp"]')
  pk export lab/s@latest --to "$W/export" && grep -qF '{   "n" : 7,    "price" : 1.00e2,   "t" : "line\nbreak \"quoted\" {[}" }' "$W/export/data/index/orders/documents.ndjson"
  claim "$is: documents keep their bytes, but for line breaks between their tokens"
  pk backup lab/s --json && python3 - "$(result surfaces.0.stored_bytes)" <<'PY'
import sys
assert int(sys.argv[1]) < 100000, sys.argv[1]
PY
  claim "$is: a second backup stores next to nothing of 20 MB"
  stamp=$(shown 'v["facts"]["stamp"]')

  pk restore lab/s@latest --json
  claim "$is: restored beside what is live"
  for i in orders logs-a family wide empty; do same $i "$i-restored-$stamp" || { echo "# $i"; false; } || break; done
  claim "$is: every index has the same ids, routings and documents"
  web GET "/logs-a-restored-$stamp/_alias" | grep -q '"aliases":{}' && web GET "/orders-restored-$stamp/_settings" | grep -q '"refresh_interval":"7s"' &&
    ! web GET "/orders-restored-$stamp" | grep -qe proofkeep -e _meta
  claim "$is: settings are the former ones, no mark is left, and no template gave aliases"
  restored && grep -q ': 0 items' err
  claim "$is: restored again, nothing is sent: it is there"
  web POST "/logs-a-restored-$stamp/_doc?refresh=true" '{"other":1}' >/dev/null
  restored
  [ $? = 5 ] && says '^error PK-SCH-007: ' && says 'not what was backed up' && says 'was not changed'
  claim "$is: an index that has something else is left alone"
  web DELETE "/logs-a-restored-$stamp" >/dev/null
  web PUT "/logs-a-restored-$stamp" "{\"aliases\":{\"proofkeep-restoring-$stamp\":{}}}" >/dev/null
  restored && same logs-a "logs-a-restored-$stamp"
  claim "$is: one that a run left half made is made again"
  restored --path index/orders --swap && web GET /_alias/orders-live | grep -q "orders-restored-$stamp" && web GET /orders/_alias | grep -q '"aliases":{}'
  claim "$is: aliases are swapped to the restored index, and the live one stays"
  web GET /_alias/orders-paid | grep -q '"term"'
  claim "$is: with their filters"
  if [ "$first" ]; then
  restored --path index/empty --swap
  [ $? = 2 ] && says 'no alias'
  claim "$is: what has no alias is not swapped"
  pk restore lab/s@latest --path index/orders --into copy-of-orders && same orders copy-of-orders
  claim "$is: one index under a name of its own"
  fails 2 PK-USE-001 restore lab/s@latest --into copy && says 'put a \*'
  claim "$is: not all under one name"
  fails 2 PK-USE-001 restore lab/s@latest --path cluster/nothing && says 'names nothing'
  claim "$is: a name that is nothing of a snapshot is refused"
  fi
  web DELETE /orders/_doc/o-5?refresh=true >/dev/null
  web DELETE /family >/dev/null
  web DELETE /_ingest/pipeline/stamp >/dev/null
  web PUT /_template/old '{"index_patterns":["changed-*"]}' >/dev/null
  restored --path cluster/legacy_templates
  [ $? = 5 ] && says 'only --in-place replaces'
  claim "$is: a definition that is another now is not replaced beside"
  restored --path cluster/pipelines && web GET /_ingest/pipeline/stamp | grep -q '"d"'
  claim "$is: one that is gone comes back"
  # a shard that has just been made may not answer a search at once
  restored --in-place && await 30 same orders "orders-restored-$stamp" && await 30 same family "family-restored-$stamp" && web GET /orders/_doc/o-5 | grep -q '"found":true'
  claim "$is: in place, what was changed and removed is as it was"
  web GET /_template/old | grep -q 'old-\*' && web GET /orders/_alias | grep -q orders-live && ! web GET '/_cat/indices' | grep -q restoring
  claim "$is: definitions and aliases too, and nothing is left over"
  same empty "empty-restored-$stamp"
  claim "$is: an empty index is an index"
  for i in orders logs-a family wide empty; do web DELETE "/$i-restored-$stamp" >/dev/null; done
  web DELETE /copy-of-orders >/dev/null

  # ---- what is left out and refused ----
  web PUT /.hidden-one '{}' >/dev/null
  web PUT /nosource '{"mappings":{"_source":{"enabled":false}}}' >/dev/null
  fails 1 PK-SCH-006 backup lab/s && says 'nosource has its _source disabled'
  claim "$is: an index that does not keep its documents is refused"
  pk backup lab/s --dry-run
  [ $? != 0 ] && says 'nosource'
  claim "$is: and by a dry run"
  config some.yaml "$U" "indices: ['*', '.hidden-*']" 'exclude: [nosource, wide, nothing]'
  web POST /empty/_close >/dev/null
  pk --config some.yaml backup lab/s --json
  [ $? = 3 ] && [ "$(shown '[i["name"] for i in v["facts"]["indices"]]' "$(result surfaces.0.backup_id)")" = "['.hidden-one', 'family', 'logs-a', 'orders']" ]
  claim "$is: a closed index makes the backup partial; patterns and exclusions hold, dots by patterns that have them"
  web POST /empty/_open >/dev/null
  web DELETE /nosource >/dev/null
  web DELETE /.hidden-one >/dev/null

  # ---- faults ----
  sleep 100000 > >(exec python3 "$SOURCE_ROOT/test/harness/search_proxy.py" "${U#http://}" "$W/rule" >"$W/proxy" 2>"$W/proxy.log") &
  proxy=$!
  await 60 test -s "$W/proxy"
  X=http://127.0.0.1:$(cat "$W/proxy")
  config wide.yaml "$X" 'indices: [wide, empty]'
  for i in timed_out:'it timed out' shards:'some shards failed' lose:'of them came' twice:'different ones' error:'answered 500'; do
    harm page 3 "${i%%:*}"
    fails 1 PK-SCH-005 --config wide.yaml backup lab/s && says "${i#*:}"
    claim "$is: a page is ${i%%:*}: the backup fails (${i#*:})"
  done
  harm page 3 cut
  pk --config wide.yaml backup lab/s
  [ $? = 7 ] && says '^error PK-NET-005'
  claim "$is: a page that breaks off: the backup fails"
  policies_of "$kind"
  if [ "$kind" = opensearch ]; then
    harm pit shards
    fails 1 PK-SCH-005 --config wide.yaml backup lab/s && says 'could not be opened on all its shards'
    claim "$is: a point in time without one of the shards: the backup fails"
    harm fake /_plugins/_sm/policies '{"policies":[{"sm_policy":{"name":"nightly"}}]}'
  else
    harm fake /_slm/policy '{"nightly":{"policy":{}}}'
  fi
  config policies.yaml "$X" 'indices: [empty]'
  pk --config policies.yaml backup lab/s && [ "$(shown 'v["facts"]["snapshot_schedulers"]')" = "['nightly']" ]
  claim "$is: who else makes snapshots of the cluster is known"
  harm freeze write empty
  pk --config wide.yaml backup lab/s && [ "$(shown 'v["consistency"]')" = fuzzy ]
  claim "$is: with writes until all was frozen it is labelled fuzzy"
  if [ "$(shown '[i["way"] for i in v["facts"]["indices"] if i["name"] == "wide"][0]')" = point_in_time ]; then
    harm page 3 busy
    pk --config wide.yaml backup lab/s
    claim "$is: a page that found no room in the heap is asked for again"
  fi
  harm page 4 write wide
  was=$(web GET /wide/_count | sed 's/.*"count":\([0-9]*\).*/\1/')
  pk --config wide.yaml backup lab/s && [ "$(shown 'sum(i["documents"] for i in v["facts"]["indices"] if i["name"] == "wide")')" = "$was" ]
  claim "$is: what is written while it is read is not among it"
  if [ "$first" ]; then
  harm bulk 2 later
  pk --config wide.yaml restore lab/s@latest --into 'p1-*' --json && same p1-wide p1-wide
  claim "$is: documents that are put off are sent again"
  harm bulk 1 busy
  pk --config wide.yaml restore lab/s@latest --into 'p2-*' --json
  claim "$is: so is a whole request"
  harm bulk 2 refuse
  fails 1 PK-SCH-008 --config wide.yaml restore lab/s@latest --into 'p3-*' && says 'mapper_parsing_exception' && ! says 'private payload' && says 'half made'
  claim "$is: one that is refused fails the restore, without its payload"
  calm
  pk --config wide.yaml restore lab/s@latest --into 'p3-*' --dry-run --json && pk --config wide.yaml restore --plan "$(result plan)" && same p1-wide p3-wide
  claim "$is: and the next run makes it whole"
  harm bulk 1 drop
  fails 4 PK-RST-005 --config wide.yaml restore lab/s@latest --into 'p4-*'
  claim "$is: one that was lost in silence is found by comparing"
  (umask 077 && echo 'keeper secret' >right)
  harm auth "Basic $(printf 'keeper:keeper secret' | base64)"
  config auth.yaml "$X" 'user: keeper' 'password: right' 'indices: [orders]'
  pk --config auth.yaml backup lab/s
  claim "$is: a user logs in"
  harm auth 'ApiKey keeper secret'
  config key.yaml "$X" 'api_key: right' 'indices: [orders]'
  pk --config key.yaml backup lab/s
  claim "$is: and an API key"
  harm auth 'Basic other'
  fails 7 PK-SCH-001 --config auth.yaml backup lab/s && ! says 'keeper secret'
  claim "$is: who may not is told so"
  calm
  ! grep -rqa 'keeper secret' "$XDG_CACHE_HOME" "$T/repo"
  claim "$is: the password is nowhere on disk"
  openssl req -x509 -newkey rsa:2048 -nodes -keyout "$T/tls.key" -out "$T/tls.crt" -days 2 -subj /CN=localhost \
    -addext subjectAltName=DNS:localhost,IP:127.0.0.1 >/dev/null 2>&1
  sleep 100000 > >(exec python3 "$SOURCE_ROOT/test/harness/search_proxy.py" "${U#http://}" "$W/rule" "$T/tls.crt" "$T/tls.key" >"$W/tls" 2>"$W/tls.log") &
  tls=$!
  await 60 test -s "$W/tls"
  config tls.yaml "https://localhost:$(cat "$W/tls")" "ca: $T/tls.crt" 'indices: [orders]'
  pk --config tls.yaml backup lab/s && pk --config tls.yaml restore lab/s@latest --into 'tls-*' && same orders tls-orders
  claim "$is: backed up and restored over TLS"
  config tls.yaml "https://localhost:$(cat "$W/tls")" 'indices: [orders]'
  fails 7 PK-NET-003 --config tls.yaml backup lab/s
  claim "$is: a certificate that nobody vouches for is refused"
  kill "$tls" 2>/dev/null
  tls=''
  fi
  calm
  if [ "$kind" = opensearch ] && [ "${version%%.*}" = 2 ]; then
    web PUT /_cluster/settings '{"persistent":{"compatibility":{"override_main_response_version":true}}}' >/dev/null && web GET / | grep -q '"7\.10\.2"' &&
      pk --config wide.yaml backup lab/s && [ "$(shown 'v["facts"]["product"] + " " + v["facts"]["version"]')" = "$is" ]
    claim "$is: it is told from Elasticsearch, also where it gives the number of one"
    harm fake /_nodes/_local '{"nodes":{}}'
    pk --config wide.yaml backup lab/s && [ "$(shown 'v["facts"]["product"] + " " + v["facts"]["indices"][-1]["way"]')" = 'opensearch scroll' ]
    claim "$is: and no other may be had"
    calm
    web PUT /_cluster/settings '{"persistent":{"compatibility":{"override_main_response_version":null}}}' >/dev/null
  fi
  kill "$proxy" 2>/dev/null
  proxy=''
  if [ "$kind" = opensearch ] || [ -n "${PROOFKEEP_TEST_ALL:-}" ]; then
    config full.yaml "$U" "$facet" 'indices: [orders, logs-a, family]' "distribution: $SEARCH_HOME" "java_home: $(search_java "$kind" "$version")" 'run_as: nobody'
    pk --config full.yaml backup lab/s && pk --config full.yaml verify lab/s@latest --level full
    claim "$is: a scratch server of the same distribution has it all, and the facet answers alike"
    ! pgrep -f "$T/.*/search-" >/dev/null
    claim "$is: and is gone afterwards"
    sed 's/\\"field\\":\\"status\\"/\\"field\\":\\"n\\"/' full.yaml >other.yaml
    ! cmp -s full.yaml other.yaml && pk --config other.yaml verify lab/s@latest --level full
    [ $? = 4 ] && grep -q 'facet/by_status' out
    claim "$is: one that answers otherwise is found"
    config none.yaml "$U" 'indices: [orders]'
    fails 1 PK-SCH-011 --config none.yaml verify lab/s@latest --level full && says 'cluster.distribution is not set'
    claim "$is: without one it is said what is missing"
  fi
  search_stop "$W"
  fails 7 PK-NET-002 backup lab/s
  claim "$is: one that does not run is unreachable"
}
first=1
for s in $wanted; do
  suite "${s%:*}" "${s#*:}"
  first=''
done
finish
