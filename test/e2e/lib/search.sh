# What tests of the search surface share: which servers can be had, and questions asked of one by Python's HTTP. To be sourced after
# tap.sh. $U is the server's URL, $P the program, the surface is lab/s.
. "$SOURCE_ROOT/tools/servers/search.sh"

# search_wanted KIND:VERSION...: those that can be had, in $wanted, with why the others cannot in $skipped; ends the test when there is none
search_wanted() {
  local s
  for s in "$@"; do
    SEARCH_WHY="no JDK new enough"
    search_java "${s%:*}" "${s#*:}" >/dev/null && search_get "${s%:*}" "${s#*:}" || {
      skipped="${skipped:-}$s: $SEARCH_WHY; "
      continue
    }
    SEARCH_WHY='' wanted="${wanted:-} $s"
  done
  if [ -z "${wanted:-}" ]; then
    echo "1..0 # skip $skipped"
    exit 0
  fi
}
# web METHOD PATH [BODY]: prints the answer
web() {
  python3 - "$U" "$@" <<'PY'
import sys, urllib.request, urllib.error
q = urllib.request.Request(sys.argv[1] + sys.argv[3], data=sys.argv[4].encode() if len(sys.argv) > 4 else None, method=sys.argv[2], headers={"content-type": "application/json"})
try:
    print(urllib.request.urlopen(q, timeout=60).read().decode())
except urllib.error.HTTPError as e:
    print(e.read().decode())
    sys.exit(1)
PY
}
# same A B: two indices have the same documents, by id, routing and source, as the server gives them
same() {
  python3 - "$U" "$1" "$2" <<'PY'
import json, sys, urllib.request
def all_of(i):
    u = sys.argv[1]
    urllib.request.urlopen(urllib.request.Request(f"{u}/{i}/_refresh", method="POST"))
    def ask(path, body): return urllib.request.urlopen(urllib.request.Request(u + path, data=json.dumps(body).encode(), headers={"content-type": "application/json"})).read()
    a, out = json.loads(ask(f"/{i}/_search?scroll=1m", {"size": 500, "sort": ["_doc"]}), parse_float=str, parse_int=str), {}
    while a["hits"]["hits"]:
        for h in a["hits"]["hits"]: out[h["_id"], h.get("_routing")] = json.dumps(h["_source"])
        a = json.loads(ask("/_search/scroll", {"scroll": "1m", "scroll_id": a["_scroll_id"]}), parse_float=str, parse_int=str)
    return out
a, b = all_of(sys.argv[2]), all_of(sys.argv[3])
sys.exit(0 if a == b and (a or sys.argv[2] == "empty") else 1)
PY
}
restored() { # WORD...: a restore whose target is not empty, carried out by its plan
  pk restore lab/s@latest "$@" --dry-run --json && pk restore --plan "$(result plan)"
}
shown() { # EXPRESSION [POINT]
  "$P" show "lab/s@${2:-latest}" --json | python3 -c 'import json, sys; v = json.load(sys.stdin)["snapshot"]; print(eval(sys.argv[1], {"v": v}))' "$1"
}
config() { # FILE URL [CLUSTER-LINE...]
  local file=$1 url=$2
  shift 2
  {
    config_head "right: { file: $T/right }"
    printf '%s\n' 'surfaces:' '  s:' '    kind: search' '    class: runtime' '    cluster:' "      url: $url"
    [ $# = 0 ] || printf '      %s\n' "$@"
    printf 'environments:\n  lab: { repository: main }\n'
  } >"$file"
}
facet='facets: [{ name: by_status, index: orders, query: "{\"aggs\":{\"s\":{\"terms\":{\"field\":\"status\"}},\"p\":{\"sum\":{\"field\":\"price\"}}}}" }]'
