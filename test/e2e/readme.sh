#!/bin/bash
# Runs what the documents tell people to type. Every fenced block marked ```sh is run, those of one document in one shell and
# in order, and each must succeed; a line "<!-- not run: why -->" before a block excuses it. The documents' /srv, /etc/proofkeep
# and /var/run/postgresql are folders of this test, and the configuration is found there. Links between documents must lead somewhere, too.
. "${SOURCE_ROOT:?the project}/test/e2e/lib/tap.sh"
. "$SOURCE_ROOT/test/e2e/lib/redis.sh"
. "$SOURCE_ROOT/tools/servers/neo4j.sh"
. "$SOURCE_ROOT/tools/demo/cluster.sh"
. "$SOURCE_ROOT/tools/servers/search.sh"
C=$T/pg
trap 'cluster_stop "$C"; search_stop "$T/search"' EXIT
mkdir bin && ln -s "$(realpath "$P")" bin/proofkeep
PATH=$T/bin:$PG_BIN:$PATH
export PATH PGUSER=postgres
if [ -n "$PG_BIN" ]; then
  cluster_start "$C" || exit 1
fi

# The blocks of a document, as one script that says which line it runs.
script_of() {
  awk '
    /^<!-- not run:/ { excused = 1; next }
    /^```sh$/ { if (excused) { excused = 0; skip = 1 } else { on = 1; print "here=" NR + 1 } ; next }
    /^```/ { on = skip = 0; excused = 0; next }
    on { print }
    NF && !skip { excused = 0 }' "$1"
}
documents() { (cd "$SOURCE_ROOT" && find README.md CONTRIBUTING.md doc -name '*.md' | LC_ALL=C sort); }

for d in $(documents); do
  script_of "$SOURCE_ROOT/$d" >script
  [ -s script ] || continue
  case $d in *mount*) if ! : 2>/dev/null <>/dev/fuse || ! command -v fusermount3 >/dev/null; then skip "$d" '/dev/fuse or fusermount3 is not there'; continue; fi ;; esac
  case $d in *postgres*) if [ -z "$PG_BIN" ]; then skip "$d" 'no PostgreSQL server is installed'; continue; fi ;; esac
  case $d in *howto/redis*) if [ -z "$REDIS_SERVER" ]; then skip "$d" 'no Redis server is installed'; continue; fi ;; esac
  case $d in *howto/search*) if ! search_start opensearch 2.19.6 "$T/search"; then skip "$d" "$SEARCH_WHY"; continue; fi ;; esac
  case $d in *howto/neo4j*) if ! neo4j_install; then skip "$d" "$NEO4J_WHY"; continue; fi; PATH=$NEO4J_INSTALL/bin:$PATH ;; esac
  box=$T/$(echo "$d" | tr / -)
  mkdir -p "$box/srv" "$box/etc" "$box/here"
  # The server's own user passes through to scratch servers.
  chmod 755 "$box" "$box/here"
  sed -e "s|/srv\b|$box/srv|g" -e "s|/etc/proofkeep|$box/etc/proofkeep|g" -e "s|/var/run/postgresql|$C/socket|g" \
    -e "s|http://127.0.0.1:9200|${SEARCH_URL:-&}|g" script >"$box/script"
  [ "$(id -u)" = 0 ] || sed -i '/run_as:/d' "$box/script"
  cat >"$box/start" <<START
proofkeep() {
  if [ ! -f proofkeep.yaml ] && [ -f $box/etc/proofkeep/proofkeep.yaml ]; then set -- --config $box/etc/proofkeep/proofkeep.yaml "\$@"; fi
  command proofkeep "\$@"
}
START
  (
    cd "$box/here" && export HOME=$box XDG_CACHE_HOME=$box/cache
    exec bash -c 'set -Ee; trap '\''echo "line $here or after: $BASH_COMMAND" >&2'\'' ERR; . "$1"; . "$2"' run "$box/start" "$box/script" >"$T/out" 2>"$T/err" </dev/null
  )
  truth=$?
  tap_last=$d
  [ $truth = 0 ]
  claim "the commands of $d work"
done

(
  cd "$SOURCE_ROOT" || exit 1
  for d in $(documents) ARCHITECTURE.md; do
    [ -f "$d" ] || { echo "$d is missing"; continue; }
    grep -o '](\([^)#]*\)' "$d" | sed 's/^](//' | grep -v '^[a-z]*:' | while read -r link; do
      [ -e "$(dirname "$d")/$link" ] || echo "$d: $link"
    done
  done
) >out 2>err
[ ! -s out ]
claim 'every link between documents leads somewhere'
finish
