#!/bin/bash
# WAL that is received while the repository is out of reach: of a real server, into the fallback, by a receiver that is killed. The primary is
# a bucket of a server that is really killed, too.
. "${SOURCE_ROOT:?the project}/test/e2e/lib/tap.sh"
. "$SOURCE_ROOT/test/e2e/lib/pg.sh"
pg_needed
. "$SOURCE_ROOT/test/e2e/lib/s3.sh"
R=
trap '[ -z "$R" ] || kill -9 $R 2>/dev/null; cluster_stop "$C"; s3_stop' EXIT
s3_needed "${S3_KIND:-versitygw}"
s3_login
s3 mb prime
cluster_start "$C" 'synchronous_commit = on' || exit 1
F=$T/fallback
config() { # FILE ALSO
  (umask 077 && cat >"$1") <<YAML
version: 1
platform: test
secrets:
  m: { file: $T/m.key }
  f: { file: $T/f.key }
repositories:
  main: { url: 's3://prime/r', s3: { endpoint: '$S3_ENDPOINT' }, encrypt: { key: m, kind: key_file }, fallback: local }
  local: { url: $F, encrypt: { key: f, kind: key_file } }
surfaces:
  db:
    kind: postgres
    class: runtime
    connect: { host: $C/socket, user: postgres }
    $([ "$(id -u)" = 0 ] && echo 'run_as: postgres')
    wal: { mode: stream, every: 1s$2 }
environments:
  prod: { repository: main, surfaces: [db] }
YAML
}
config y.yaml ''
config twice.yaml ', also: [local]'
pk init -r main --key-file "$T/m.key" --config y.yaml && pk init -r local --key-file "$T/f.key" --copy-of main --config y.yaml
sql -c 'CREATE TABLE t (n bigint, t text)'
pk wal receive prod/db --once --create-slot --config y.yaml
claim 'WAL is received into the repository'
start() {
  : >"$T/receive.err"
  "$P" wal receive prod/db --config "$1" >"$T/receive.out" 2>"$T/receive.err" </dev/null &
  R=$!
}
killed() {
  kill -9 $R
  wait $R 2>/dev/null
  R=
}
row() { sql -c "INSERT INTO t SELECT i, repeat(md5(i::text), 10) FROM generate_series(1, 5000) i"; }
waiting() { # objects that wait in the fallback
  "$P" status --config y.yaml --json 2>/dev/null | python3 -c '
import json, sys
text, at = sys.stdin.read(), json.JSONDecoder()
while text.strip():
    d, n = at.raw_decode(text.lstrip())
    text = text.lstrip()[n:]
    for f in d.get("fallbacks", []): print(f["waiting_wal"])'
}
there() { find "$F" -path "$F/wal/*" -type f | wc -l; }
down
start y.yaml
await 90 grep -q receiving receive.err
more() { row && await 60 eval "[ \$(there) -gt $(there) ]"; }
more && more && more
all_wait() { [ "$(there)" = "$(waiting)" ]; }
await 60 all_wait
claim 'what it stores in the fallback waits there at once, also when it is killed'
killed
up
row
pk wal receive prod/db --once --config y.yaml && says 'receiving timeline'
claim 'it goes on in the repository'
pk copy --forward -r main --config y.yaml && pk wal verify prod/db --level decode --config y.yaml -r main
claim 'without a gap, when it is forwarded'
# ---- where the fallback must have the WAL anyway, it is ahead of a repository that is out of reach, and stands for none
start twice.yaml
await 60 grep -q receiving receive.err
down
row
segment=$(sql -c 'SELECT pg_walfile_name(pg_switch_wal())')
await 120 test -f "$(echo "$F"/wal/*)/00000001/$segment"
row
killed
up
pk wal receive prod/db --once --config twice.yaml && pk wal verify prod/db --level decode --config y.yaml -r main
claim 'its being ahead is not taken for what the repository has'
finish
