#!/bin/bash
# Snapshots that the cluster makes in a bucket, carried into our repository by our own reading of the bucket: OpenSearch with its
# repository-s3, and versitygw. (Elasticsearch's is part of whole distributions alone, which no registry has.)
. "${SOURCE_ROOT:?the project}/test/e2e/lib/tap.sh"
. "$SOURCE_ROOT/test/e2e/lib/search.sh"
. "$SOURCE_ROOT/test/e2e/lib/s3.sh"
W=$T/search
trap 's3_stop; search_stop "$W"' EXIT
search_wanted opensearch:3.6.0-s3
s3_needed versitygw
chmod a+x "$T"
s3 mb snapshots || { echo 'Bail out! no bucket' && exit 1; }
( # the plug-in's description cannot be written where a folder has its name
  mkdir -p "$T/stub" "$T/had/opensearch-1/bin" "$T/had/opensearch-1/lib" && printf '#!/bin/sh\n' >"$T/had/opensearch-1/bin/opensearch"
  printf '%s\n' '#!/bin/sh' 'for a; do case $a in -DoutputDirectory=*) mkdir -p "${a#*=}/plugin-descriptor.properties" ;; esac; done' >"$T/stub/mvn"
  chmod +x "$T/stub/mvn" "$T/had/opensearch-1/bin/opensearch"
  PATH=$T/stub:$PATH SEARCH_CACHE=$T/had
  ! search_fetch_s3 1 2>"$T/err" && grep -q plugin-descriptor "$T/err" && [ ! -e "$T/had/opensearch-1-s3" ]
)
claim "a plug-in that could not be put together whole is no server"
SEARCH_HEAP=512m SEARCH_JVM=-Dopensearch.allow_insecure_settings=true SEARCH_YML="s3.client.default.endpoint: ${S3_ENDPOINT#http://}
s3.client.default.protocol: http
s3.client.default.path_style_access: true
s3.client.default.region: $S3_REGION" search_start opensearch 3.6.0-s3 "$W" || { echo "# $SEARCH_WHY"; false; }
claim "a server with repository-s3 starts"
U=$SEARCH_URL
python3 "$SOURCE_ROOT/test/harness/search_fill.py" "$U"
claim "it is filled"
# which the small distributions of other tests take none of
script() { web GET /_scripts/total | grep -q 'params.f' && web GET /_scripts/ask | grep -q mustache; }
web PUT /_scripts/total '{"script":{"lang":"painless","source":"doc[\"n\"].value * params.f"}}' >out &&
  web PUT /_scripts/ask '{"script":{"lang":"mustache","source":{"query":{"term":{"status":"{{s}}"}}}}}' >out && script
claim "it has stored scripts"
kept="'orders', 'logs-a', 'family', 'empty'"
keys="\"bucket\":\"snapshots\",\"access_key\":\"$S3_ACCESS\",\"secret_key\":\"$S3_SECRET\""
web PUT /_snapshot/mine "{\"type\":\"s3\",\"settings\":{$keys}}" >out && web PUT /_snapshot/base "{\"type\":\"s3\",\"settings\":{$keys,\"base_path\":\"of/one/cluster\"}}" >out
claim "two repositories in the bucket are registered with it"
s3_login
address="s3://snapshots?endpoint=$S3_ENDPOINT&region=$S3_REGION"
config proofkeep.yaml "$U" "indices: [$kept]" 'method: snapshot' "snapshot: { repository: base, carry: true, bucket: '$address' }"
config root.yaml "$U" "indices: [$kept]" 'method: snapshot' "snapshot: { repository: mine, carry: true, bucket: '$address' }"
config none.yaml "$U" "indices: [$kept]" 'method: snapshot' 'snapshot: { repository: base, carry: true }'
config other.yaml "$U" "indices: [$kept]" 'method: snapshot' "snapshot: { repository: base, carry: true, bucket: 's3://another?endpoint=$S3_ENDPOINT' }"
pk init --repository main
fails 1 PK-ENG-004 --config none.yaml backup lab/s && says 'set cluster.snapshot.bucket'
claim "where this host reaches the bucket has to be said"
fails 1 PK-ENG-004 --config other.yaml backup lab/s && says 'is in the bucket snapshots, and not in another'
claim "and it has to be the one that the cluster writes"
pk backup lab/s --json
claim "a snapshot in a bucket is made and carried, below a path of the repository's own"
[ "$(shown 'v["facts"]["snapshot"]["type"], v["facts"]["snapshot"]["carried"], v["consistency"]')" = "('s3', True, 'exact')" ] &&
  [ "$(shown 'sum(i["documents"] for i in v["facts"]["indices"])')" = 3706 ] || { shown 'v["facts"]["indices"]'; false; }
claim "all of it, at one moment"
web PUT '/orders/_doc/o-new?refresh=true' '{"n":1,"status":"new"}' >/dev/null
pk backup lab/s --json && [ "$(shown 'v["facts"]["snapshot"]["kept_files"]')" -gt 5 ]
claim "a second one reads from the bucket what is new"
[ "$(web GET /_snapshot/base/_all | grep -o '"snapshot":"[^"]*"' | wc -l)" = 1 ]
claim "the cluster keeps the newest alone"
stamp=$(shown 'v["facts"]["stamp"]')
web DELETE "/_snapshot/base/$(shown 'v["facts"]["snapshot"]["name"]')" >/dev/null && web DELETE /_snapshot/base >/dev/null
claim "the cluster's snapshot and its repository are removed"
for i in total ask; do web DELETE /_scripts/$i >/dev/null; done
pk restore lab/s@latest --json
for i in orders logs-a family empty; do same $i "$i-restored-$stamp" || { echo "# $i"; false; } || break; done
claim "restored beside from ours alone: every index has the same ids, routings and documents"
restored --path cluster/scripts && script
claim "stored scripts that were gone are back"
web PUT /_scripts/total '{"script":{"lang":"painless","source":"1"}}' >out && restored --path cluster/scripts --in-place && script && restored --path cluster/scripts --in-place && script
claim "in place, also one that is another now; and once more it is known again"
! web GET /_snapshot | grep -q restoring && ! ls "$W/repo" | grep -q restoring
claim "nothing of the restore is left"
for i in orders logs-a family empty; do web DELETE "/$i-restored-$stamp" >/dev/null; done
pk --config root.yaml backup lab/s && pk --config root.yaml restore lab/s@latest --path index/family --into family-again && same family family-again
claim "without a path in the bucket too, one index of it"
down
pk --config root.yaml backup lab/s
[ $? != 0 ] && says '^error PK-'
claim "with the bucket out of reach no backup is made"
finish
