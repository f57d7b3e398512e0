# A live server with an archive, a base backup and hooks, for the tests of the standard path. To be sourced after tap.sh and cluster.sh.
#   plan ARGUMENT...   a plan, whose id is in $id; go carries it out
#   old SQL, new SQL   ask the live server and the new one; frozen: whether the live one refuses writes
#   steps, check       of the last result: steps in a state, what came of a check
# Hooks write their names into $F/hooks, and fail while $F/fail.NAME is there. $F/port is where clients are led to.
F=$T/f PORT=5511 client= id=none pid=
mkdir "$F" && chmod 755 "$T"
cp "$P" "$F/proofkeep" && chmod 755 "$F/proofkeep"
[ "$(id -u)" != 0 ] || chown postgres "$F"
ended() {
  [ -z "$client" ] || { touch "$F/end" && wait "$client"; }
  for d in "$F"/new*; do
    [ ! -f "$d/postmaster.pid" ] || cluster_as "$F" "$PG_BIN/pg_ctl" -D "$d" -w -t 180 -s -m immediate stop
  done
  cluster_stop "$F"
}
trap ended EXIT
# in_f COMMAND...: as the server's user
in_f() {
  if [ "$(id -u)" = 0 ]; then (cd "$F" && exec runuser -u postgres -- env "HOME=$F" "XDG_CACHE_HOME=$F/cache" "TMPDIR=$F" "$@"); else (cd "$F" && exec env "HOME=$F" "XDG_CACHE_HOME=$F/cache" "TMPDIR=$F" "$@"); fi
}
w() {
  tap_last="proofkeep $*"
  in_f "$F/proofkeep" "$@" --config "$F/proofkeep.yaml" >"$T/out" 2>"$T/err" </dev/null
}
put() { in_f tee "$F/$1" >/dev/null && chmod 755 "$F/$1"; }
old() { cluster_psql "$F" -d postgres -c "$1"; }
new() { cluster_psql "$F" -d postgres -p $PORT -c "$1"; }
frozen() { # a busy machine may not let a session in at once
  local is=
  is_asked() { is=$(old "SELECT reset_val FROM pg_settings WHERE name = 'default_transaction_read_only'"); }
  await 30 is_asked && [ "$is" = on ]
}
stop_new() { cluster_as "$F" "$PG_BIN/pg_ctl" -D "$F/$1" -w -t 180 -s -m fast stop && rm -rf "${F:?}/$1"; }
let_write() { old 'ALTER SYSTEM RESET default_transaction_read_only' && old 'ALTER SYSTEM RESET autovacuum' && old 'ALTER SYSTEM RESET proofkeep.frozen' && old 'SELECT pg_reload_conf()' >"$T/null" && await 60 eval '! frozen'; }
# plan ARGUMENT...: its id in $id
plan() {
  w restore lab/pg --cutover --port $PORT "$@" --dry-run --json && id=$(result plan)
}
go() { w restore --plan "$id" --json; }
# steps WORD: of the result, the names of steps in that state
steps() {
  tail -n 1 "$T/out" | python3 -c '
import json, sys
print(" ".join(s["name"] for s in json.load(sys.stdin)["steps"] if s["state"] == sys.argv[1]))' "$1"
}
# check NAME: what came of it
check() {
  python3 -c '
import json, sys
last = json.loads(open(sys.argv[1]).read().splitlines()[-1])
print([c["result"] for s in last["steps"] for c in (s.get("detail") or {}).get("checks", []) if c["name"] == sys.argv[2]][0])' "$T/out" "$1"
}
ALL='standby freeze last-wal restore start recover checks switch archive live'

# ---- the live server, its archive, and the hooks
put hook.sh <<END
#!/bin/sh
# NAME: writes down that it was called, and what it was told; fails when it is to.
cat >"$F/hook.\$1.json"
echo "\$1" >>"$F/hooks"
[ ! -e "$F/fail.\$1" ]
END
put switch.sh <<END
#!/bin/sh
"$F/hook.sh" switch || exit 1
python3 -c 'import json; print(json.load(open("$F/hook.switch.json"))["facts"]["connection"]["port"])' >"$F/port.new" && mv "$F/port.new" "$F/port"
while [ -e "$F/slow.switch" ]; do sleep 0.1; done
END
put proofkeep.yaml <<END
version: 1
platform: test
secrets:
  k: { file: $F/key }
repositories:
  main: { url: $F/repo, encrypt: { key: k, kind: key_file } }
surfaces:
  pg:
    kind: postgres
    class: truth
    method: physical
    connect: { host: $F/socket, user: postgres }
    wal: { mode: archive }
    invariants:
      - { name: rows, sql: 'SELECT count(*) FROM public.done', database: postgres, expect: not_shrunk }
    checks:
      - { name: migration, sql: 'SELECT max(version) FROM public.migrations', value: '7' }
      - { name: highest, sql: 'SELECT coalesce(max(n), 0) FROM public.done', live: true }
    hooks:
      standby: { run: [$F/hook.sh, standby] }
      live: { run: [$F/hook.sh, live] }
      switch: { run: [$F/switch.sh] }
      health: { run: [$F/hook.sh, health] }
      checks:
        smoke: { run: [$F/hook.sh, smoke] }
environments:
  lab: { repository: main }
END
in_f "$F/proofkeep" init --repository "$F/repo" --key-file "$F/key" --config "$F/proofkeep.yaml" >"$T/out" 2>"$T/err" &&
  chmod 755 "$F" && cluster_start "$F" 'wal_level = replica' 'archive_mode = on' "archive_command = 'env HOME=$F TMPDIR=$F XDG_CACHE_HOME=$F/cache $F/proofkeep wal push lab/pg %p --config $F/proofkeep.yaml'" 'synchronous_commit = on' &&
  old 'CREATE TABLE public.done (n bigint PRIMARY KEY, t text)' && old 'CREATE TABLE public.migrations (version int)' && old 'INSERT INTO public.migrations SELECT generate_series(1, 7)' &&
  old 'CREATE TABLE filler AS SELECT g, md5(g::text) AS t FROM generate_series(1, 50000) g' && old 'CREATE INDEX ON filler (t)' && w backup lab/pg
claim '(a server with an archive, and a base backup)' || finish

