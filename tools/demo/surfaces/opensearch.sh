# An OpenSearch with indices, routing, aliases, templates and an ingest pipeline.
opensearch_version=2.19.6
opensearch_java() { (. "$servers/search.sh" && search_java opensearch $opensearch_version); }
opensearch_documents() { python3 "$here/documents.py" "$1" "$(cat "$work/opensearch/url")"; }

opensearch_missing() {
  opensearch_java >/dev/null || { echo 'no JDK 17 or newer is installed'; return 0; }
  fetched "$servers/search.sh" get opensearch $opensearch_version
}
# As root it runs as nobody, by itself.
opensearch_start() {
  "$servers/search.sh" start opensearch $opensearch_version "$work/opensearch" >/dev/null || give_up 'OpenSearch would not start'
  opensearch_documents fill
}
opensearch_describe() { opensearch_documents counts | python3 -c 'import json, sys; c = json.load(sys.stdin); print(c["documents"], "documents in", len(c["indices"]), "indices")'; }
opensearch_config() {
  cat <<YAML
    kind: search
    class: runtime
    cluster:
      url: $(cat "$work/opensearch/url")
      distribution: $("$servers/search.sh" get opensearch $opensearch_version)
      java_home: $(opensearch_java)
$([ "$(id -u)" != 0 ] || echo '      run_as: nobody')
      facets:
        - { name: letters_by_status, index: letters, query: '{"aggs": {"by": {"terms": {"field": "status"}}}}' }
YAML
}
opensearch_target() { echo in-place; }
# A block of writing would be part of what is backed up; nobody but the demonstration writes here.
opensearch_freeze() { :; }
opensearch_resume() { :; }
opensearch_facts() { opensearch_documents facts >"$1/documents"; }
opensearch_wipe() {
  opensearch_documents wipe
  echo '$ curl _cat/indices'
  python3 -c 'import sys, urllib.request; sys.stdout.write(urllib.request.urlopen(sys.argv[1] + "/_cat/indices", timeout=20).read().decode())' "$(cat "$work/opensearch/url")"
}
opensearch_evidence() {
  same documents 'documents '
  evidence $? opensearch 'every document, id, routing' '_count, _search: sha256 of all' "$(opensearch_counts | python3 -c 'import json, sys; print(json.load(sys.stdin)["documents"])') in $(number documents 'documents ') indices"
  same documents 'settings ' && same documents 'mapping ' && same documents 'aliases '
  evidence $? opensearch 'settings, mappings, aliases' '_settings, _mapping, _alias' "$(number documents 'mapping ') indices"
  same documents 'definition '
  evidence $? opensearch 'templates, pipelines' '_index_template, _ingest/pipeline' "$(number documents 'definition ') definitions"
  same documents 'search '
  evidence $? opensearch 'searches by alias' '_search: hits, aggregations' "$(value documents 'search harbour')"
}
opensearch_counts() { opensearch_documents counts; }
# The launcher's parent is gone, so that its end may leave a process without a parent that asks.
opensearch_stop() {
  local pid i
  pid=$(cat "$work/opensearch/pid" 2>/dev/null) || return 0
  kill "$pid" 2>/dev/null
  for i in $(seq 200); do
    grep -qs '^State:.[^Z]' "/proc/$pid/status" || break
    sleep 0.1
  done
  "$servers/search.sh" stop "$work/opensearch"
}
