#!/bin/bash
# A physical backup that is stopped, or fails, while the server answers a long query of the declared invariants: it ends at once, and so
# does the query.
. "${SOURCE_ROOT:?the project}/test/e2e/lib/tap.sh"
. "$SOURCE_ROOT/test/e2e/lib/pg.sh"
pg_needed
B=
trap '[ -z "$B" ] || kill -9 $B 2>/dev/null; cluster_stop "$C"' EXIT
cluster_start "$C" 'wal_level = replica' 'max_wal_senders = 4' || exit 1
config() { # WAY
  config_head
  printf '%s\n' 'surfaces:' '  pg:' '    kind: postgres' '    class: runtime' '    method: physical' "    through: $1" \
    "    connect: { host: $C/socket, user: postgres }" '    invariants:' "      - { name: slow, sql: 'SELECT (pg_sleep(3600) IS NULL)::int', expect: equal }"
  [ "$1" != host ] || echo "    data_directory: $C/data"
  ! as_root || echo '    run_as: postgres'
  printf '%s\n' 'environments:' '  lab: { repository: main }'
}
config host >host.yaml && config replication >replication.yaml
pk init --repository main --config host.yaml
claim 'a repository'
asked() { [ "$(sql -c "SELECT count(*) FROM pg_stat_activity WHERE state = 'active' AND query LIKE '%pg_sleep(3600)%' AND pid <> pg_backend_pid()")" = "$1" ]; }
begin() { # WAY
  "$P" backup lab/pg --config "$1.yaml" >"$T/out" 2>"$T/err" </dev/null &
  B=$!
  tap_last="proofkeep backup lab/pg --config $1.yaml"
}
ended() { ! kill -0 $B 2>/dev/null || grep -q '^State:.Z' "/proc/$B/status"; }
is_over() { # STATUS: it ends with it, and the server has nothing more to do
  await 120 ended || return
  wait $B
  local status=$?
  B=
  echo "# status $status"
  [ $status = "$1" ] && await 60 asked 0
}
for way in host replication; do
  for signal in TERM=143 INT=130; do
    begin $way
    await 60 asked 1 && kill "-${signal%=*}" $B && is_over "${signal#*=}"
    claim "$way: SIG${signal%=*} ends a backup that waits for a query, and the query"
  done
done
deep=$(printf 'd/%.0s' {1..70})
cluster_as "$C" mkdir -p "$C/data/$deep"
begin host
is_over 1 && says 'folders are nested too deeply'
claim 'a failure of the reading beside it ends both, and is what is told'
! "$P" list lab/pg --config host.yaml --json 2>"$T/err" | grep -q '"id"'
claim 'there is no backup'
finish
