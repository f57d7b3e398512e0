#!/bin/bash
# A Neo4j community server for tests and the demonstration, on 127.0.0.1 only.
# To be sourced by bash; the caller ends what it started with neo4j_stop:
#   neo4j_install                          the server in the test cache; sets NEO4J_INSTALL. 77, with the reason in NEO4J_WHY, when it
#                                          cannot be had
#   neo4j_start FOLDER [KEY=VALUE...]      a server whose home is FOLDER, made when it is not there, with these lines of neo4j.conf too;
#                                          sets NEO4J_HOME, NEO4J_HTTP (http://…), NEO4J_BOLT (host:port), NEO4J_PID; waits until both answer.
#                                          NEO4J_PASSWORD in the caller's shell turns passwords on (user neo4j); it is 8 characters or more
#   neo4j_stop [FOLDER]                    ends that server, or every one of this shell, by its process id
#   neo4j_ask [FOLDER] STATEMENT           its answer, by HTTP: rows of JSON, one a line, or the error and 1
# Or to be run: neo4j.sh install | start FOLDER [KEY=VALUE...] | stop FOLDER | ask FOLDER STATEMENT. What was started by start goes on.
# The installation has bin/neo4j-admin and bin/neo4j (console, start, stop, status), which take NEO4J_HOME and NEO4J_CONF as those of
# a distribution do. It is made once, of the jars of neo4j.pom.xml, by Maven, in PROOFKEEP_TEST_CACHE, beside what the tests keep there.
NEO4J_VERSION=5.26.30
NEO4J_HERE=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
. "$NEO4J_HERE/lib.sh"
NEO4J_WHY='' NEO4J_INSTALL='' NEO4J_STARTED=()

# A Java that this Neo4j runs on: 17 or 21
neo4j_java() {
  local j v
  for j in ${JAVA_HOME:+"$JAVA_HOME/bin/java"} "$(command -v java || true)" /usr/lib/jvm/*17*/bin/java /usr/lib/jvm/*21*/bin/java; do
    [ -x "$j" ] || continue
    v=$("$j" -version 2>&1 | sed -n 's/.*version "\([0-9]*\).*/\1/p' | head -n 1)
    if [ "$v" = 17 ] || [ "$v" = 21 ]; then
      echo "$j"
      return 0
    fi
  done
  return 1
}

neo4j_programs() { # FOLDER JAVA
  mkdir -p "$1/bin" || return 1
  cat >"$1/bin/env" <<E
here=\$(cd "\$(dirname "\$(readlink -f "\$0")")/.." && pwd)
export NEO4J_HOME=\${NEO4J_HOME:-\$here}
export NEO4J_CONF=\${NEO4J_CONF:-\$NEO4J_HOME/conf}
java=\${JAVA_HOME:+\$JAVA_HOME/bin/java}
java=\${java:-$2}
opens='--add-opens=java.base/java.nio=ALL-UNNAMED --add-opens=java.base/java.io=ALL-UNNAMED --add-opens=java.base/sun.nio.ch=ALL-UNNAMED --add-opens=java.base/java.util.concurrent=ALL-UNNAMED --enable-native-access=ALL-UNNAMED'
common="-XX:+UseSerialGC -XX:TieredStopAtLevel=1 -XX:-UsePerfData \$opens -Dfile.encoding=UTF-8"
E
  cat >"$1/bin/neo4j-admin" <<'E'
#!/bin/sh
. "$(dirname "$(readlink -f "$0")")/env"
exec "$java" -Xmx384m $common -cp "$here/lib/*" org.neo4j.cli.AdminTool "$@"
E
  cat >"$1/bin/neo4j" <<'E'
#!/bin/sh
. "$(dirname "$(readlink -f "$0")")/env"
# server.directories.run may be anywhere
run=$(sed -n 's/^server.directories.run=//p' "$NEO4J_CONF/neo4j.conf" | tail -n 1)
case $run in '') run=$NEO4J_HOME/run ;; /*) ;; *) run=$NEO4J_HOME/$run ;; esac
logs=$(sed -n 's/^server.directories.logs=//p' "$NEO4J_CONF/neo4j.conf" | tail -n 1)
case $logs in '') logs=$NEO4J_HOME/logs ;; /*) ;; *) logs=$NEO4J_HOME/$logs ;; esac
pid=$(cat "$run/neo4j.pid" 2>/dev/null)
alive() { [ -n "$pid" ] && kill -0 "$pid" 2>/dev/null && ! grep -q '^State:.Z' "/proc/$pid/status" 2>/dev/null; }
server() { exec "$java" -Xms192m -Xmx512m $common -cp "$here/lib/*" org.neo4j.server.CommunityEntryPoint --home-dir="$NEO4J_HOME" --config-dir="$NEO4J_CONF"; }
case ${1:-} in
console) server ;;
start)
  alive && { echo "Neo4j is already running (pid:$pid)."; exit 0; }
  mkdir -p "$run" "$logs"
  (trap '' HUP; exec setsid "$0" console >"$logs/neo4j.log" 2>&1 </dev/null & echo $! >"$run/neo4j.pid")
  echo "Started neo4j (pid:$(cat "$run/neo4j.pid"))."
  ;;
stop)
  alive || { echo "Neo4j is not running."; rm -f "$run/neo4j.pid"; exit 0; }
  kill "$pid"
  n=0
  while alive && [ $n -lt 600 ]; do sleep 0.1; n=$((n + 1)); done
  alive && { echo "Neo4j (pid:$pid) did not stop."; exit 1; }
  rm -f "$run/neo4j.pid"
  echo "Stopped."
  ;;
status) if alive; then echo "Neo4j is running at pid $pid"; else echo "Neo4j is not running."; exit 3; fi ;;
*) echo "neo4j: console, start, stop or status" >&2; exit 64 ;;
esac
E
  chmod 755 "$1/bin/neo4j" "$1/bin/neo4j-admin"
}

neo4j_install() {
  local to=$SERVER_CACHE/neo4j-$NEO4J_VERSION java status
  NEO4J_INSTALL=$to
  if ! java=$(neo4j_java); then
    NEO4J_WHY='no Java 17 or 21 is installed'
    return 77
  fi
  [ -x "$to/bin/neo4j" ] && return 0
  if ! command -v mvn >/dev/null 2>&1; then
    NEO4J_WHY='Maven is not installed, and Neo4j comes by it'
    return 77
  fi
  server_fetch neo4j Neo4j "$to/bin/neo4j" neo4j_fetch "$to" "$java" && return 0
  status=$?
  NEO4J_WHY=$SERVER_WHY
  return $status
}
neo4j_fetch() { # FOLDER JAVA
  local new=$SERVER_CACHE/new/neo4j-$NEO4J_VERSION
  rm -rf "$new" "$1" && mkdir -p "$new" &&
    nice -n 10 mvn -q -B -f "$NEO4J_HERE/neo4j.pom.xml" dependency:copy-dependencies -DincludeScope=runtime \
      -DoutputDirectory="$new/lib" -Dneo4j.version="$NEO4J_VERSION" &&
    neo4j_programs "$new" "$2" && chmod -R go+rX "$new" && mv "$new" "$1"
}

neo4j_setting() { # FOLDER KEY
  sed -n "s/^$2=//p" "$1/conf/neo4j.conf" | tail -n 1
}

# neo4j_configure FOLDER [KEY=VALUE...]: what a server needs before it is started for the first time
neo4j_configure() {
  local home=$1 line
  shift
  mkdir -p "$home"/{conf,data,logs,run,plugins,import} || return 1
  [ -e "$home/conf/neo4j.conf" ] || {
    cat >"$home/conf/neo4j.conf" <<E
server.default_listen_address=127.0.0.1
server.http.listen_address=127.0.0.1:$(server_port)
server.bolt.listen_address=127.0.0.1:$(server_port)
server.https.enabled=false
dbms.usage_report.enabled=false
server.memory.heap.initial_size=192m
server.memory.heap.max_size=512m
server.memory.pagecache.size=64m
db.tx_log.preallocate=false
dbms.security.auth_enabled=$([ -n "${NEO4J_PASSWORD:-}" ] && echo true || echo false)
E
    [ -z "${NEO4J_PASSWORD:-}" ] || NEO4J_HOME=$home NEO4J_CONF=$home/conf "$NEO4J_INSTALL/bin/neo4j-admin" dbms set-initial-password \
      "$NEO4J_PASSWORD" >"$home/logs/password.log" 2>&1 || return 1
  }
  for line in "$@"; do
    sed -i "/^${line%%=*}=/d" "$home/conf/neo4j.conf" && printf '%s\n' "$line" >>"$home/conf/neo4j.conf" || return 1
  done
}

neo4j_answers() { # HOST:PORT...
  python3 - "$@" <<'PY'
import socket, sys
for where in sys.argv[1:]:
    host, port = where.rsplit(":", 1)
    try:
        socket.create_connection((host, int(port)), 2).close()
    except OSError:
        sys.exit(1)
PY
}

neo4j_start() {
  neo4j_install || return
  neo4j_configure "$@" || { NEO4J_WHY="$1 could not be made a home of Neo4j"; return 1; }
  NEO4J_HOME=$(cd "$1" && pwd)
  NEO4J_HTTP=http://$(neo4j_setting "$NEO4J_HOME" server.http.listen_address)
  NEO4J_BOLT=$(neo4j_setting "$NEO4J_HOME" server.bolt.listen_address)
  NEO4J_HOME=$NEO4J_HOME NEO4J_CONF=$NEO4J_HOME/conf "$NEO4J_INSTALL/bin/neo4j" start >"$NEO4J_HOME/logs/start.log" 2>&1 || return 1
  NEO4J_PID=$(cat "$NEO4J_HOME/run/neo4j.pid")
  NEO4J_STARTED+=("$NEO4J_HOME")
  neo4j_wait "$NEO4J_HOME"
}

# neo4j_wait FOLDER: until its server answers
neo4j_wait() {
  local i pid
  for i in $(seq 2000); do
    if neo4j_answers "$(neo4j_setting "$1" server.http.listen_address)" "$(neo4j_setting "$1" server.bolt.listen_address)" &&
      neo4j_ask "$1" 'RETURN 1' >/dev/null 2>&1; then return 0; fi
    pid=$(cat "$1/run/neo4j.pid" 2>/dev/null)
    [ -n "$pid" ] && kill -0 "$pid" 2>/dev/null || break
    sleep 0.2
  done
  NEO4J_WHY="the server did not start: $(tail -n 3 "$1/logs/neo4j.log" | tr '\n' ' ')"
  return 1
}

neo4j_stop() {
  local h
  [ $# -gt 0 ] || set -- "${NEO4J_STARTED[@]}"
  for h in "$@"; do
    [ -d "$h/conf" ] || continue
    NEO4J_HOME=$h NEO4J_CONF=$h/conf "$NEO4J_INSTALL/bin/neo4j" stop >"$h/logs/stop.log" 2>&1
  done
}

neo4j_ask() {
  local home=$NEO4J_HOME
  [ $# -lt 2 ] || { home=$1; shift; }
  python3 - "$(neo4j_setting "$home" server.http.listen_address)" "${NEO4J_PASSWORD:-}" "${NEO4J_DATABASE:-neo4j}" "$1" <<'PY'
import base64, http.client, json, sys
where, password, database, statement = sys.argv[1:5]
c = http.client.HTTPConnection(where, timeout=600)
head = {"Content-Type": "application/json"}
if password:
    head["Authorization"] = "Basic " + base64.b64encode(("neo4j:" + password).encode()).decode()
c.request("POST", f"/db/{database}/tx/commit", json.dumps({"statements": [{"statement": statement}]}), head)
got = json.loads(c.getresponse().read())
for e in got.get("errors", []):
    print(e["code"], e["message"], file=sys.stderr)
for r in got.get("results", []):
    for row in r["data"]:
        print(json.dumps(row["row"], sort_keys=True))
sys.exit(1 if got.get("errors") else 0)
PY
}

if [ "${BASH_SOURCE[0]}" = "$0" ]; then
  case ${1:-} in
  install) neo4j_install ;;
  start) shift && neo4j_start "$@" && echo "$NEO4J_HTTP bolt://$NEO4J_BOLT pid $NEO4J_PID" ;;
  stop) neo4j_install && neo4j_stop "$2" ;;
  ask) neo4j_install && neo4j_ask "$2" "$3" ;;
  *)
    sed -n '2,/^NEO4J_VERSION/{/^# /s/^# //p}' "$0"
    exit 64
    ;;
  esac || {
    status=$?
    [ -z "$NEO4J_WHY" ] || echo "$NEO4J_WHY" >&2
    exit $status
  }
fi
