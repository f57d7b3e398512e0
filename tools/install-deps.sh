#!/bin/sh
# Installs the Debian packages that building, the demonstration and testing need, and only those that are missing.
#   install-deps.sh [GROUP]            install; GROUP is build, demo or test, which is all
#   install-deps.sh --check [GROUP]    print what is missing; exit 1 when something is
# Elsewhere than on Debian it leaves the matter to the build, which says what it cannot find.
set -eu

build='libc6-dev meson ninja-build pkg-config libssl-dev libsodium-dev libzstd-dev libpq-dev libjansson-dev libyaml-dev libcurl4-openssl-dev libfuse3-dev libisal-dev libmicrohttpd-dev libcmocka-dev python3'
# redis-tools has the server's program too, and starts no server of its own.
demo='make attr acl util-linux redis-tools'
# Maven, unzip and a JDK are for servers that come from Maven Central: Neo4j, OpenSearch and Elasticsearch.
tools='fuse3 python3-cryptography python3-zstandard python3-prometheus-client mandoc zsh fish jq zstd git clang libclang-rt-dev clang-format gcovr e2fsprogs maven unzip'

installed() { [ "$(dpkg-query -W -f '${db:Status-Status}' "$1" 2>/dev/null)" = installed ]; }

missing_of() {
  for p in "$@"; do installed "$p" || printf '%s ' "$p"; done
}

# Any C compiler will do, any Java, and any PostgreSQL that this Debian has.
compiler() { command -v cc >/dev/null 2>&1 || command -v gcc >/dev/null 2>&1 || printf 'gcc '; }
jdk() { command -v java >/dev/null 2>&1 || printf 'default-jdk-headless '; }
postgres() {
  case $(. /etc/os-release && printf %s "${VERSION_ID:-}") in
  12) v=15 ;;
  13) v=17 ;;
  *) v= ;;
  esac
  [ -z "$v" ] || missing_of "postgresql-$v" "postgresql-client-$v" "postgresql-$v-postgis-3"
}

# As redis-tools.
valkey() { [ "$(. /etc/os-release && printf %s "${VERSION_ID:-}")" != 13 ] || missing_of valkey-tools; }

command -v dpkg-query >/dev/null 2>&1 || exit 0

mode=install
if [ "${1:-}" = --check ]; then
  mode=check
  shift
fi
group=${1:-test}
# shellcheck disable=SC2086
want="$(compiler)$(missing_of $build)"
# shellcheck disable=SC2086
[ "$group" = build ] || want="$want$(missing_of $demo)$(postgres)"
# shellcheck disable=SC2086
[ "$group" != test ] || want="$want$(missing_of $tools)$(jdk)$(valkey)"
[ -n "$want" ] || exit 0

if [ "$mode" = check ]; then
  echo "missing packages: $want" >&2
  echo "install them with 'make deps'" >&2
  # Tests that lack a tool skip and say so; without these there is nothing to run.
  [ "$group" = test ] && [ -z "$(compiler)$(missing_of $build)" ] && exit 0
  exit 1
fi

as_root() { if [ "$(id -u)" = 0 ]; then "$@"; else sudo "$@"; fi; }

# Debian's PostgreSQL would make and start a cluster of its own; the tests make theirs and stop them.
case $want in
*postgresql*)
  if [ ! -e /etc/postgresql-common/createcluster.conf ]; then
    as_root mkdir -p /etc/postgresql-common
    echo 'create_main_cluster = false' | as_root tee /etc/postgresql-common/createcluster.conf >/dev/null
  fi
  ;;
esac
apt() { as_root env DEBIAN_FRONTEND=noninteractive apt-get -q -o DPkg::Lock::Timeout=300 "$@"; }
apt update
# shellcheck disable=SC2086
apt install -y --no-install-recommends -o Dpkg::Options::=--force-confold $want
