#!/bin/bash
# Configuration that is no file of the data folder, as Debian has it: it is in the backup, and a restored server starts from what is restored.
. "${SOURCE_ROOT:?the project}/test/e2e/lib/tap.sh"
. "$SOURCE_ROOT/test/e2e/lib/pg.sh"
pg_needed
N=$T/new
trap 'cluster_stop "$C"; cluster_stop "$N"' EXIT
cluster_start "$C" 'wal_level = replica' 'max_wal_senders = 4' || exit 1
cluster_stop "$C"
{
  config_head
  printf '%s\n' 'surfaces:' '  pg:' '    kind: postgres' '    class: runtime' '    method: physical' '    through: host' \
    "    data_directory: $C/data" "    connect: { host: $C/socket, user: postgres }"
  ! as_root || echo '    run_as: postgres'
  printf '%s\n' 'environments:' '  lab: { repository: main }'
} >proofkeep.yaml
pk init --repository main
claim 'a repository'

# ---- links in the data folder
server() { cluster_as "$C" "$@"; }
server mkdir "$C/etc" "$C/etc/conf.d" "$C/etc/more.d"
server mv "$C/data/pg_hba.conf" "$C/data/postgresql.conf" "$C/etc/" && server ln -s "$C/etc/postgresql.conf" "$C/etc/pg_hba.conf" "$C/data/" && server ln -s "$C/etc/nowhere" "$C/data/other"
cluster_start "$C" && sql -c 'CREATE TABLE t AS SELECT 7 AS n' && pk backup lab/pg --json && [ "$(result surfaces.0.status)" = ok ]
claim 'a backup is taken of a server whose configuration are links'
owned "$N" && pk restore lab/pg --into "$N/data" && [ ! -L "$N/data/postgresql.conf" ] && cmp "$N/data/postgresql.conf" "$C/etc/postgresql.conf" && cmp "$N/data/pg_hba.conf" "$C/etc/pg_hba.conf" && [ ! -e "$N/data/other" ]
claim 'a restore has what they lead to, in their place; other links are left out'
server "$PG_BIN/pg_verifybackup" --quiet --no-parse-wal "$N/data" >out 2>err
claim 'pg_verifybackup accepts it'
at() { echo "unix_socket_directories = '$N/socket'" | cluster_as "$N" tee -a "$N/data/postgresql.auto.conf" >"$T/null"; }
at && cluster_start "$N" && [ "$(cluster_psql "$N" -c 'SELECT n FROM t')" = 7 ]
claim 'and a server starts from it'
cluster_stop "$N" && rm -rf "$N/data"
pk verify lab/pg --level full
claim 'a scratch server, too'

# ---- outside, and named on the command line
cluster_stop "$C"
server rm "$C/data/postgresql.conf" "$C/data/pg_hba.conf" && server mv "$C/data/pg_ident.conf" "$C/etc/"
echo "work_mem = '5MB'" | server tee "$C/etc/conf.d/10.conf" >"$T/null" && printf '%s\n' "work_mem = 7MB" "search_path = '\"it''s\", public'" | server tee "$C/etc/conf.d/20.conf" >"$T/null"
printf '%s\n' "data_directory = '$C/data'" "hba_file = '$C/etc/pg_hba.conf'" "ident_file = '$C/etc/pg_ident.conf'" "external_pid_file = '$C/pid'" "include_dir 'conf.d'" "include_dir 'more.d'" | server tee -a "$C/etc/postgresql.conf" >"$T/null"
server "$PG_BIN/pg_ctl" -D "$C/etc" -l "$C/server.log" -w -t 180 -s start && [ "$(sql -c 'SHOW config_file')" = "$C/etc/postgresql.conf" ] && pk backup lab/pg
claim 'a backup is taken of a server whose configuration is elsewhere'
pk restore lab/pg --into "$N/data" && for f in postgresql.conf pg_hba.conf pg_ident.conf conf.d/10.conf conf.d/20.conf; do cmp "$C/etc/$f" "$N/data/proofkeep_config$C/etc/$f" || break; done
claim 'its files are below proofkeep_config'
cmp "$N/data/pg_hba.conf" "$C/etc/pg_hba.conf" && grep -q "^work_mem = '7MB'" "$N/data/postgresql.conf" && ! grep -q "^[a-z].*$C/\(data\|etc\|pid\)" "$N/data/postgresql.conf" && server "$PG_BIN/pg_verifybackup" --quiet --no-parse-wal "$N/data" >out 2>err
claim 'what a server starts with is in the folder, and names no place of the original'
at && cluster_start "$N" && [ "$(cluster_psql "$N" -c 'SHOW work_mem' -c 'SHOW search_path' -c 'SHOW data_directory' -c 'SELECT n FROM public.t' | tr '\n' ' ')" = "7MB \"it's\", public $N/data 7 " ]
claim 'and a server starts from it with the same settings'
cluster_stop "$N" && rm -rf "$N/data"
echo "work_mem = '1MB'" | server tee "$C/data/postgresql.conf" >"$T/null" && server sed -i 's/7MB/9MB/' "$C/etc/conf.d/20.conf" && pk backup lab/pg && pk restore lab/pg --into "$N/data" && grep -q "^work_mem = '9MB'" "$N/data/postgresql.conf"
claim 'a file of that name in the data folder, which the server does not read, is not taken for it'
rm -rf "$N/data"
pk verify lab/pg --level full
claim 'a scratch server, too, whatever its configuration was'
# ---- a connection alone does not give it
sed 's/through: host/through: replication/; /data_directory:/d' proofkeep.yaml >link.yaml
pk backup lab/pg --config link.yaml && pk show lab/pg --config link.yaml --json && python3 - "$C/etc" <<'PY'
import json, sys
outside = {f["path"]: f.get("captured", False) for f in json.load(open("out"))["snapshot"]["facts"]["config_outside"]}
want = ("postgresql.conf", "pg_hba.conf", "pg_ident.conf", "conf.d/10.conf", "conf.d/20.conf")
assert outside == {f"{sys.argv[1]}/{name}": False for name in want}, outside
PY
claim 'through replication it is not in the backup, whose facts say so of each file'
pk restore lab/pg --into "$N/data" --dry-run --config link.yaml && [ "$(grep -c "warning .*$C/etc/.* was outside the data folder, and is not in the backup" out)" = 5 ]
claim '... and by who is about to restore it'
if as_root; then
  echo 'nobody else reads this' >"$T/own" && chmod 600 "$T/own" && server ln -sf "$T/own" "$C/etc/pg_ident.conf"
  pk backup lab/pg --json
  pk restore lab/pg --into "$N/data" && [ ! -e "$N/data/pg_ident.conf" ] && ! grep -rq 'nobody else reads this' "$N/data" && [ -e "$N/data/pg_hba.conf" ]
  claim 'nothing is read for the server that its user may not read'
else
  skip 'nothing is read for the server that its user may not read' 'this is not root'
fi
finish
