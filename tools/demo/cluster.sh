# A throw-away PostgreSQL of this machine's own packages, for the demonstration and the end-to-end tests. To be sourced.
#
# It listens on a unix socket only, never runs as root (root lends it the user postgres), and lives in one folder:
#   cluster_start FOLDER [LINE...]   initdb and start; each LINE is added to postgresql.conf
#   cluster_stop FOLDER              stop it by the process id in its own folder; fine when it does not run
#   cluster_psql FOLDER [PSQL...]    its own psql, as superuser postgres, stopping at the first error
#   cluster_leads FOLDER             whether it answers, and is not in recovery (any more)
#   cluster_as FOLDER PROGRAM...     one of its own programs, as the user that the server runs as
# PG_BIN is the folder of the server's programs, PG_MAJOR its major version; both are empty when there is no server.

PG_BIN=
for bin in /usr/lib/postgresql/*/bin; do
  [ -x "$bin/initdb" ] && [ -x "$bin/postgres" ] && [ -x "$bin/pg_dump" ] && PG_BIN=$bin
done
PG_MAJOR=$(basename "$(dirname "${PG_BIN:-/x}")")
[ -n "$PG_BIN" ] || PG_MAJOR=

# The owner of the server: postgres for root, else whoever runs this.
cluster_user() { if [ "$(id -u)" = 0 ]; then echo postgres; else id -un; fi; }

cluster_as() {
  local folder=$1
  shift
  if [ "$(id -u)" = 0 ]; then
    (cd "$folder" && exec runuser -u postgres -- env LC_ALL=C.UTF-8 PGHOST="$folder/socket" PGUSER=postgres "$@")
  else
    (cd "$folder" && exec env LC_ALL=C.UTF-8 PGHOST="$folder/socket" PGUSER=postgres "$@")
  fi
}

cluster_psql() {
  local folder=$1
  shift
  cluster_as "$folder" "$PG_BIN/psql" -X -q -A -t -v ON_ERROR_STOP=1 "$@"
}

# It answers, and its recovery is over.
cluster_leads() {
  [ "$(cluster_psql "$1" -c 'SELECT pg_is_in_recovery()' 2>/dev/null)" = f ]
}

cluster_start() {
  local folder=$1
  shift
  # The address of a unix socket has 107 bytes at most.
  if [ ${#folder} -gt 80 ]; then
    echo "cluster: $folder is too long a name for a socket's folder" >&2
    return 1
  fi
  mkdir -p "$folder/socket" || return 1
  if [ "$(id -u)" = 0 ]; then chown postgres "$folder" "$folder/socket" || return 1; fi
  if [ ! -d "$folder/data" ]; then
    cluster_as "$folder" "$PG_BIN/initdb" -D "$folder/data" -U postgres -A trust -E UTF8 --locale=C.UTF-8 --no-sync \
      >"$folder/initdb.log" 2>&1 || { cat "$folder/initdb.log" >&2; return 1; }
    # Whatever it holds can be made again, so it need not survive a power cut.
    {
      printf '%s\n' "listen_addresses = ''" "unix_socket_directories = '$folder/socket'" "unix_socket_permissions = 0700" \
        'fsync = off' 'synchronous_commit = off' 'full_page_writes = off' 'autovacuum = off' 'max_wal_size = 2GB' \
        'shared_buffers = 128MB' 'timezone = UTC'
      for line in "$@"; do printf '%s\n' "$line"; done
    } | cluster_as "$folder" tee -a "$folder/data/postgresql.conf" >/dev/null
  fi
  cluster_as "$folder" "$PG_BIN/pg_ctl" -D "$folder/data" -l "$folder/server.log" -w -t 180 -s start ||
    { tail -n 20 "$folder/server.log" >&2; return 1; }
}

cluster_stop() {
  [ -f "$1/data/postmaster.pid" ] || return 0
  cluster_as "$1" "$PG_BIN/pg_ctl" -D "$1/data" -w -t 180 -s -m fast stop
}
