#!/bin/bash
# Starts a real S3 server on 127.0.0.1 for tests. To be sourced by bash; the caller ends what it started with s3_stop.
#   s3_start versitygw|minio|ceph|moto FOLDER   sets S3_ENDPOINT; answers 77, with the reason in S3_WHY, when it cannot be had
#                                               with S3_PORT, at that port
#   s3_user NAME SECRET FOLDER             another user of versitygw, MinIO or Ceph, who may do what policies let them
# With S3_SIDECAR, a folder, versitygw keeps there what it else keeps in extended attributes, which hold 4 KiB: more policies.
#   s3_stop                                ends it, by its process ids
# Keys are S3_ACCESS and S3_SECRET. The servers are built once by `go install` into PROOFKEEP_TEST_CACHE (by default a folder
# of our own in /var/tmp), ceph comes from Debian's packages, when they are there. moto, which emulates AWS in memory (archive
# classes too, which the others do not have; it checks no signatures), comes from PyPI.
S3_ACCESS=testkey S3_SECRET=testsecret123 S3_REGION=us-east-1
S3_PIDS=() S3_ENDPOINT='' S3_WHY='' S3_STARTED=''
S3_HARNESS=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
. "$S3_HARNESS/../../tools/servers/lib.sh"
S3_CACHE=$SERVER_CACHE

# s3_build NAME MODULE@VERSION: the program in the cache
s3_build() {
  if [ ! -x "$S3_CACHE/bin/$1" ] && ! command -v go >/dev/null 2>&1; then
    S3_WHY="go is not installed, and $1 is built with it"
    return 77
  fi
  server_fetch go "$1" "$S3_CACHE/bin/$1" s3_install "$1" "$2" && return 0
  local status=$?
  S3_WHY=$SERVER_WHY
  return $status
}
s3_install() { # one at a time, as it takes all of a machine; HOME may be a test's own and empty
  GOBIN=$S3_CACHE/new GOFLAGS='-buildvcs=false -trimpath -p=2' GOPATH=$S3_CACHE/go GOCACHE=$S3_CACHE/go-build \
    nice -n 10 go install -ldflags='-s -w' "$2" && mkdir -p "$S3_CACHE/bin" && mv "$S3_CACHE/new/$1" "$S3_CACHE/bin/$1"
}

# moto in a Python environment of its own in the cache
s3_moto() {
  local home=$S3_CACHE/moto-5.2.5
  server_fetch moto moto "$home/bin/moto_server" s3_moto_install "$home" && return 0
  local status=$?
  S3_WHY=$SERVER_WHY
  return $status
}
s3_moto_install() {
  rm -rf "$1" && python3 -m venv "$1" && nice -n 10 "$1/bin/pip" -q --disable-pip-version-check install 'moto[server]==5.2.5' && return 0
  rm -rf "$1"
  return 1
}

# AWS's own command line in another one; sets S3_AWS
s3_aws() {
  local home=$S3_CACHE/awscli-1.46.3
  S3_AWS=$home/bin/aws
  server_fetch awscli 'the AWS CLI' "$S3_AWS" s3_aws_install "$home" && return 0
  local status=$?
  S3_WHY=$SERVER_WHY
  return $status
}
s3_aws_install() {
  rm -rf "$1" && python3 -m venv "$1" && nice -n 10 "$1/bin/pip" -q --disable-pip-version-check install 'awscli==1.46.3' && return 0
  rm -rf "$1"
  return 1
}

# s3_wait PID LOG: until it answers
s3_wait() {
  local i
  for i in $(seq 300); do
    python3 - "$S3_ENDPOINT" <<'PY' && return 0
import sys, http.client, urllib.parse
u = urllib.parse.urlparse(sys.argv[1])
try:
    c = http.client.HTTPConnection(u.hostname, u.port, timeout=2)
    c.request("GET", "/")
    sys.exit(0 if c.getresponse().status < 500 else 1)
except OSError:
    sys.exit(1)
PY
    kill -0 "$1" 2>/dev/null || break
    sleep 0.1
  done
  S3_WHY="the server did not start: $(tail -n 3 "$2" | tr '\n' ' ')"
  return 1
}

s3_start() {
  local kind=$1 folder=$2 port
  S3_STARTED=$kind
  mkdir -p "$folder/data" || return 1
  port=${S3_PORT:-$(server_port)}
  S3_ENDPOINT=http://127.0.0.1:$port
  case $kind in
  versitygw)
    s3_build versitygw github.com/versity/versitygw/cmd/versitygw@v1.8.0 || return
    mkdir -p "$folder/versions" "$folder/users"
    ROOT_ACCESS_KEY=$S3_ACCESS ROOT_SECRET_KEY=$S3_SECRET "$S3_CACHE/bin/versitygw" --port "127.0.0.1:$port" \
      --virtual-domain "localhost:$port" --iam-dir "$folder/users" posix ${S3_SIDECAR:+--sidecar "$S3_SIDECAR"} --versioning-dir "$folder/versions" "$folder/data" >"$folder/log" 2>&1 &
    ;;
  minio)
    s3_build minio github.com/minio/minio@v0.0.0-20260212201848-7aac2a2c5b7c || return
    MINIO_ROOT_USER=$S3_ACCESS MINIO_ROOT_PASSWORD=$S3_SECRET MINIO_UPDATE=off MINIO_BROWSER=off MINIO_DOMAIN=localhost GOMEMLIMIT=400MiB \
      MINIO_KMS_SECRET_KEY="k1:$(head -c 32 /dev/zero | base64)" HOME=$folder \
      "$S3_CACHE/bin/minio" server --quiet --address "127.0.0.1:$port" "$folder/data" >"$folder/log" 2>&1 &
    ;;
  moto)
    s3_moto || return
    "$S3_CACHE/moto-5.2.5/bin/moto_server" -H 127.0.0.1 -p "$port" >"$folder/log" 2>&1 &
    ;;
  ceph)
    command -v radosgw >/dev/null && command -v ceph-mon >/dev/null && command -v ceph-osd >/dev/null || {
      S3_WHY='ceph-mon, ceph-osd or radosgw is not installed'
      return 77
    }
    s3_start_ceph "$folder" "$port"
    return
    ;;
  esac
  S3_PIDS+=($!)
  s3_wait $! "$folder/log"
}

# One monitor, one store in memory, one gateway.
s3_start_ceph() {
  local w=$1 port=$2 mon key conf=$1/ceph.conf i
  mon=$(server_port)
  mkdir -p "$w"/{mon,osd,run,log}
  cat >"$conf" <<E
[global]
fsid=$(python3 -c 'import uuid; print(uuid.uuid4())')
mon_host=[v2:127.0.0.1:$mon]
mon_initial_members=a
public_addr=127.0.0.1
cluster_addr=127.0.0.1
ms_bind_ipv6=false
osd_pool_default_size=1
osd_pool_default_min_size=1
osd_pool_default_pg_num=8
osd_pool_default_pgp_num=8
osd_crush_chooseleaf_type=0
osd_pool_default_pg_autoscale_mode=off
mon_allow_pool_size_one=true
mon_max_pg_per_osd=1000
mon_data_avail_crit=1
mon_data_avail_warn=2
osd_memory_target=939524096
run_dir=$w/run
admin_socket=$w/run/\$name.\$pid.asok
log_file=$w/log/\$name.log
pid_file=$w/\$type.pid
keyring=$w/keyring
rgw_frontends=beast endpoint=127.0.0.1:$port
rgw_enable_usage_log=false
rgw_thread_pool_size=32
rgw_dns_name=
[mon.a]
mon_data=$w/mon
[osd.0]
osd_data=$w/osd
osd_objectstore=memstore
memstore_device_bytes=2147483648
[client.rgw]
rgw_data=$w
E
  export CEPH_CONF=$conf
  {
    ceph-authtool --create-keyring "$w/keyring" --gen-key -n mon. --cap mon 'allow *' &&
      ceph-authtool "$w/keyring" --gen-key -n client.admin --cap mon 'allow *' --cap osd 'allow *' --cap mgr 'allow *' &&
      ceph-authtool "$w/keyring" --gen-key -n osd.0 --cap mon 'allow profile osd' --cap osd 'allow *' --cap mgr 'allow *' &&
      ceph-authtool "$w/keyring" --gen-key -n client.rgw --cap mon 'allow *' --cap osd 'allow *' &&
      monmaptool --create --fsid "$(sed -n 's/^fsid=//p' "$conf")" --addv a "[v2:127.0.0.1:$mon]" "$w/monmap" &&
      ceph-mon -c "$conf" --mkfs -i a --monmap "$w/monmap" --keyring "$w/keyring"
  } >"$w/log/setup" 2>&1 || { S3_WHY="ceph could not be set up: $(tail -n 2 "$w/log/setup" | tr '\n' ' ')"; return 1; }
  ceph-mon -c "$conf" -i a -f >"$w/log/mon.out" 2>&1 &
  S3_PIDS+=($!)
  timeout 60 ceph -c "$conf" --connect-timeout 30 status >/dev/null 2>&1 || { S3_WHY='ceph-mon did not start'; return 1; }
  timeout 30 ceph -c "$conf" osd new "$(python3 -c 'import uuid; print(uuid.uuid4())')" >/dev/null 2>&1
  ceph-osd -c "$conf" -i 0 --mkfs --osd-uuid "$(timeout 20 ceph -c "$conf" osd dump 2>/dev/null |
    sed -n 's/^osd\.0 .* \([0-9a-f-]*\)$/\1/p')" --no-mon-config >"$w/log/mkfs" 2>&1
  ceph-osd -c "$conf" -i 0 -f >"$w/log/osd.out" 2>&1 &
  S3_PIDS+=($!)
  for i in $(seq 60); do
    timeout 20 ceph -c "$conf" osd stat 2>/dev/null | grep -q '1 up' && break
    sleep 0.5
  done
  timeout 20 ceph -c "$conf" osd crush add osd.0 1.0 root=default host=h >/dev/null 2>&1
  radosgw -c "$conf" -n client.rgw -f >"$w/log/rgw.out" 2>&1 &
  S3_PIDS+=($!)
  s3_wait $! "$w/log/client.rgw.log" || return 1
  timeout 60 radosgw-admin -c "$conf" user create --uid=t --display-name=t --access-key=$S3_ACCESS \
    --secret=$S3_SECRET >/dev/null 2>&1 || { S3_WHY='radosgw-admin could not make a user'; return 1; }
}

s3_user() {
  if [ "$S3_STARTED" = minio ]; then
    s3_minio user "$1" "$2" >"$3/user.log" 2>&1
    return
  fi
  if [ "$S3_STARTED" = ceph ]; then
    timeout 60 radosgw-admin -c "$3/ceph.conf" user create --uid="$1" --display-name="$1" --access-key="$1" --secret="$2" >"$3/user.log" 2>&1
    return
  fi
  "$S3_CACHE/bin/versitygw" admin --access $S3_ACCESS --secret $S3_SECRET --endpoint-url "$S3_ENDPOINT" create-user \
    --access "$1" --secret "$2" --role user >"$3/user.log" 2>&1
}

s3_stop() {
  local p
  for ((p = ${#S3_PIDS[@]} - 1; p >= 0; p--)); do kill "${S3_PIDS[p]}" 2>/dev/null; done
  for p in "${S3_PIDS[@]}"; do
    for _ in $(seq 50); do
      kill -0 "$p" 2>/dev/null || break
      sleep 0.1
    done
    kill -9 "$p" 2>/dev/null
    wait "$p" 2>/dev/null
  done
  S3_PIDS=()
}

# s3 VERB …: our own small client in Python, which shares nothing with the program
s3() {
  S3_ENDPOINT=$S3_ENDPOINT S3_ACCESS=$S3_ACCESS S3_SECRET=$S3_SECRET S3_REGION=$S3_REGION python3 "$S3_HARNESS/s3_client.py" "$@"
}

# s3_minio VERB …: MinIO's admin API, for users, their policies and quotas
s3_minio() {
  S3_ENDPOINT=$S3_ENDPOINT S3_ACCESS=$S3_ACCESS S3_SECRET=$S3_SECRET S3_REGION=$S3_REGION python3 "$S3_HARNESS/minio_admin.py" "$@"
}

# s3_calls matrix|thief BUCKET PREFIX: what credentials may do, by doing it
s3_calls() {
  S3_ENDPOINT=$S3_ENDPOINT S3_ACCESS=$S3_ACCESS S3_SECRET=$S3_SECRET S3_REGION=$S3_REGION python3 "$S3_HARNESS/s3_calls.py" "$@"
}

# s3_proxy FOLDER ARGUMENT…: a proxy before the server that harms by seed (s3_proxy.py); sets S3_PROXY
s3_proxy() {
  local folder=$1 i
  shift
  rm -f "$folder/proxy"
  # Its standard input stays open as long as the sleeper lives.
  sleep 100000 > >(exec python3 "$S3_HARNESS/s3_proxy.py" "${S3_ENDPOINT#http://}" "$@" >"$folder/proxy" 2>"$folder/proxy.log") &
  S3_PIDS+=($!)
  for i in $(seq 600); do
    [ -s "$folder/proxy" ] && break
    sleep 0.1
  done
  S3_PROXY=http://127.0.0.1:$(cat "$folder/proxy")
  [ -s "$folder/proxy" ]
}
