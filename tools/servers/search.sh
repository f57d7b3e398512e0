#!/bin/bash
# Gets, starts and stops a real OpenSearch or Elasticsearch on 127.0.0.1, for tests and the demo. Run as a program:
#   search.sh get opensearch 2.19.6               prints the folder of the distribution; 77 when it cannot be had
#   search.sh start opensearch 2.19.6 FOLDER      starts a server in FOLDER (made, or a former one's), prints its URL
#   search.sh stop FOLDER                         ends it, by its process id
# A version of OpenSearch 3 with -s3 behind it (3.6.0-s3) has the plug-in repository-s3, put together from its parts.
# or sourced, for search_get, search_start and search_stop. Distributions come from Maven Central by its own client, once, into
# PROOFKEEP_TEST_CACHE (by default a folder of our own in /var/tmp). A JDK 17 is needed; OpenSearch 3 needs 21 (JAVA_HOME, or
# one in the cache's jdk-21). As root, the server runs as nobody. path.repo is FOLDER/repo; SEARCH_YML adds lines to the
# configuration (SEARCH_PEM, a client's certificate and key, says that it speaks TLS and asks for one; SEARCH_FILES are laid beside it), SEARCH_JVM lines to the JVM's options; SEARCH_PORT picks the port; SEARCH_JIT=full lets the JVM compile as it does by itself (tests start sooner without).
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"
SEARCH_CACHE=$SERVER_CACHE/search
SEARCH_WHY='' SEARCH_URL='' SEARCH_PID='' SEARCH_HOME=''

search_get() {
  local kind=$1 version=$2 status
  SEARCH_HOME=$SEARCH_CACHE/$kind-$version
  [ -x "$SEARCH_HOME/bin/$kind" ] && return 0
  command -v mvn >/dev/null && command -v unzip >/dev/null || {
    SEARCH_WHY='mvn or unzip is not installed'
    return 77
  }
  server_fetch search "$kind $version" "$SEARCH_HOME/bin/$kind" search_fetch "$kind" "$version" && return 0
  status=$?
  SEARCH_WHY=$SERVER_WHY
  return $status
}
search_fetch() {
  local kind=$1 version=$2
  umask 022
  case $version in *-s3) search_fetch_s3 "${version%-s3}" && return 0 || return 1 ;; esac
  mkdir -p "$SEARCH_CACHE" && cd "$SEARCH_CACHE" && rm -rf "new-$kind" && mkdir "new-$kind" &&
    nice -n 10 mvn -q -B "-Dmaven.repo.local=$SEARCH_CACHE/maven" org.apache.maven.plugins:maven-dependency-plugin:3.6.1:copy \
      "-Dartifact=org.$kind.distribution.integ-test-zip:$kind:$version:zip" "-DoutputDirectory=new-$kind" &&
    unzip -qo "new-$kind/$kind-$version.zip" -d "new-$kind" && chmod -R a+rX "new-$kind" &&
    mv "new-$kind/$kind-$version" "$SEARCH_HOME" && rm -rf "new-$kind"
}

# The plug-in is published as a library: its jars, but for those that the server has itself, and what a plug-in says of itself.
search_fetch_s3() {
  local version=$1 new=$SEARCH_CACHE/new-s3 plug jar
  [ -x "$SEARCH_CACHE/opensearch-$version/bin/opensearch" ] || (SEARCH_HOME=$SEARCH_CACHE/opensearch-$version && search_fetch opensearch "$version") || return 1
  plug=$new/opensearch-$version-s3/plugins/repository-s3
  rm -rf "$new" && mkdir -p "$new" && cp -al "$SEARCH_CACHE/opensearch-$version" "$new/opensearch-$version-s3" && mkdir -p "$plug" &&
    printf '%s\n' '<project xmlns="http://maven.apache.org/POM/4.0.0"><modelVersion>4.0.0</modelVersion>' \
      '<groupId>s3</groupId><artifactId>s3</artifactId><version>1</version><dependencies><dependency><groupId>org.opensearch.plugin</groupId>' \
      "<artifactId>repository-s3</artifactId><version>$version</version></dependency></dependencies></project>" >"$new/pom.xml" &&
    nice -n 10 mvn -q -B -f "$new/pom.xml" "-Dmaven.repo.local=$SEARCH_CACHE/maven" org.apache.maven.plugins:maven-dependency-plugin:3.6.1:copy-dependencies \
      "-DoutputDirectory=$plug" || return 1
  for jar in "$SEARCH_CACHE/opensearch-$version"/lib/*.jar; do rm -f "$plug/$(basename "$jar")"; done
  printf '%s\n' 'description=S3 repositories' "version=$version" name=repository-s3 classname=org.opensearch.repositories.s3.S3RepositoryPlugin \
    java.version=21 "opensearch.version=$version" has.native.controller=false >"$plug/plugin-descriptor.properties" &&
    printf '%s\n' 'grant {' '  permission java.net.SocketPermission "*", "connect,resolve";' '  permission java.net.NetPermission "accessUnixDomainSocket";' \
    '  permission java.lang.RuntimePermission "*";' '};' >"$plug/plugin-security.policy" &&
    chmod -R a+rX "$new" && mv "$new/opensearch-$version-s3" "$SEARCH_CACHE/opensearch-$version-s3" && rm -rf "$new"
}

search_java() {
  local kind=$1 version=$2 need=17 home
  [ "$kind" = opensearch ] && [ "${version%%.*}" -ge 3 ] && need=21
  for home in ${JAVA_HOME:-} "$SERVER_CACHE/jdk-$need" /usr/lib/jvm/java-$need-* /usr/lib/jvm/*; do
    [ -x "$home/bin/java" ] || continue
    "$home/bin/java" -version 2>&1 | grep -Eq "version \"($need|[2-9][0-9])\." && [ "$("$home/bin/java" -version 2>&1 | sed -n 's/.*version "\([0-9]*\).*/\1/p')" -ge $need ] || continue
    echo "$home"
    return 0
  done
  return 1
}

search_start() {
  local kind=$1 version=$2 w=$3 java port user=() i extra=() name
  search_get "$kind" "$version" || return
  java=$(search_java "$kind" "$version") || {
    SEARCH_WHY="no JDK new enough for $kind $version"
    return 77
  }
  mkdir -p "$w"/{data,logs,repo,conf,tmp} || return 1
  w=$(realpath "$w")
  port=${SEARCH_PORT:-$(server_port)}
  rm -rf "$w/conf" && cp -r "$SEARCH_HOME/config" "$w/conf" && rm -rf "$w/conf/jvm.options.d"
  # shellcheck disable=SC2086
  [ -z "${SEARCH_FILES:-}" ] || cp $SEARCH_FILES "$w/conf/" || return 1
  name=ES
  [ "$kind" = opensearch ] && name=OPENSEARCH
  printf '%s\n' "-Xms${SEARCH_HEAP:-384m}" "-Xmx${SEARCH_HEAP:-384m}" -XX:+UseSerialGC "-Djava.io.tmpdir=$w/tmp" \
    18-:-Djava.security.manager=allow >"$w/conf/jvm.options"
  [ -z "${SEARCH_JVM:-}" ] || printf '%s\n' "$SEARCH_JVM" >>"$w/conf/jvm.options"
  [ "${SEARCH_JIT:-}" = full ] || echo -XX:TieredStopAtLevel=1 >>"$w/conf/jvm.options"
  if [ "$kind" = opensearch ] && [ "${version%%.*}" -ge 3 ]; then
    sed -i /security.manager/d "$w/conf/jvm.options"
    echo "-javaagent:$SEARCH_HOME/agent/opensearch-agent.jar" >>"$w/conf/jvm.options"
  fi
  cat >>"$w/conf/$kind.yml" <<E
cluster.name: proofkeep-test
node.name: n1
path.data: $w/data
path.logs: $w/logs
path.repo: ["$w/repo"]
http.port: $port
transport.port: $(server_port)
network.host: 127.0.0.1
discovery.type: single-node
cluster.routing.allocation.disk.threshold_enabled: false
E
  case $kind-$version in elasticsearch-8* | elasticsearch-7.17*) echo "xpack.security.enabled: ${SEARCH_SECURITY:-false}" >>"$w/conf/$kind.yml" ;; esac
  case $kind-$version in elasticsearch-8*) echo "xpack.ml.enabled: false" >>"$w/conf/$kind.yml" ;; esac
  [ -z "${SEARCH_YML:-}" ] || printf '%s\n' "$SEARCH_YML" >>"$w/conf/$kind.yml"
  if [ "$(id -u)" = 0 ]; then
    chmod a+x "$w"
    chown -R nobody "$w"/{data,logs,repo,conf,tmp}
    user=(setpriv --reuid=nobody --regid=nogroup --clear-groups)
  fi
  # A process of its own, so that its id is the server's: the launcher ends in exec.
  (cd "$w/tmp" && exec "${user[@]}" env -i PATH=/usr/bin:/bin HOME="$w/tmp" JAVA_HOME="$java" ES_JAVA_HOME="$java" OPENSEARCH_JAVA_HOME="$java" \
    "${name}_PATH_CONF=$w/conf" "$SEARCH_HOME/bin/$kind") >"$w/console.log" 2>&1 </dev/null &
  SEARCH_PID=$!
  echo "$SEARCH_PID" >"$w/pid"
  SEARCH_URL=http${SEARCH_PEM:+s}://127.0.0.1:$port
  for i in $(seq 2000); do
    python3 - "$SEARCH_URL" ${SEARCH_PEM:+"$SEARCH_PEM"} <<'PY' && break
import ssl, sys, urllib.request, urllib.error
tls = ssl._create_unverified_context()
if len(sys.argv) > 2: tls.load_cert_chain(sys.argv[2])
try:
    urllib.request.urlopen(sys.argv[1] + "/_cluster/health", timeout=2, context=tls)
except urllib.error.HTTPError as e:
    sys.exit(0 if e.code == 401 else 1)
except OSError:
    sys.exit(1)
PY
    kill -0 "$SEARCH_PID" 2>/dev/null || {
      SEARCH_WHY="the server did not start: $(tail -n 3 "$w/console.log" | tr '\n' ' ')"
      return 1
    }
    sleep 0.2
  done
  echo "$SEARCH_URL" >"$w/url"
}

# The launcher of Elasticsearch 8 is a JVM of its own whose child is the server; it ends its child.
search_stop() {
  local pid i
  pid=$(cat "$1/pid" 2>/dev/null) || return 0
  kill "$pid" 2>/dev/null
  for i in $(seq 100); do
    kill -0 "$pid" 2>/dev/null || break
    sleep 0.1
  done
  kill -9 "$pid" 2>/dev/null
  wait "$pid" 2>/dev/null
  rm -f "$1/pid"
}

if [ "${BASH_SOURCE[0]}" = "$0" ]; then
  verb=${1:-}
  shift
  case $verb in
  get) search_get "$1" "$2" && echo "$SEARCH_HOME" ;;
  start) search_start "$1" "$2" "$3" && echo "$SEARCH_URL" ;;
  stop) search_stop "$1" ;;
  *)
    sed -n '2,5s/^# *//p' "$0" >&2
    exit 2
    ;;
  esac
  r=$?
  [ $r = 0 ] || echo "$SEARCH_WHY" >&2
  exit $r
fi
