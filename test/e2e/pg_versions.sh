#!/bin/bash
# PostgreSQL 16, 17 and 18, real servers of each: physical by both ways, WAL pushed and streamed, recovery to a time, a standby, dumps.
# What comes back is judged by that version's own programs. 15 has its own tests (physical.sh, wal.sh, postgres.sh …).
. "${SOURCE_ROOT:?the project}/test/e2e/lib/tap.sh"
. "$SOURCE_ROOT/test/e2e/lib/pg.sh"
. "$SOURCE_ROOT/tools/servers/pg.sh"
K=$T/keeper # all that the server's user may have
N=$K/new S=$T/standby
trap 'for c in "$C" "$N" "$S"; do cluster_stop "$c"; done' EXIT
# Servers run what is given to them with this.
export HOME=$K TMPDIR=$K XDG_CACHE_HOME=$K/cache
keeper
new() { cluster_psql "$N" "$@"; }
w() { kept "$@" --config "$K/pk.yaml"; }
tool() { local program=$1; shift; cluster_as "$K" "$PG_BIN/$program" "$@" >"$T/out" 2>"$T/err"; }
# verified FOLDER: by pg_verifybackup, or, where that cannot be had (18), file by file against the manifest.
verified() {
  if [ -x "$PG_BIN/pg_verifybackup" ]; then
    tool pg_verifybackup --quiet "$1"
    return
  fi
  python3 - "$1" >"$T/out" 2>&1 <<'PY'
import hashlib, json, os, sys
root = sys.argv[1]
text = open(root + "/backup_manifest", "rb").read()
m = json.loads(text)
assert hashlib.sha256(text[: text.rindex(b'"Manifest-Checksum"')]).hexdigest() == m["Manifest-Checksum"]
assert m["PostgreSQL-Backup-Manifest-Version"] == 2 and len(m["Files"]) > 500
def crc32c(data):
    table = [0] * 256
    for i in range(256):
        c = i
        for _ in range(8):
            c = c >> 1 ^ (0x82F63B78 if c & 1 else 0)
        table[i] = c
    c = 0xFFFFFFFF
    for b in data:
        c = c >> 8 ^ table[(c ^ b) & 255]
    return (c ^ 0xFFFFFFFF).to_bytes(4, "little").hex()
sums = {"SHA256": lambda data: hashlib.sha256(data).hexdigest(), "CRC32C": crc32c}
named = set()
ours = ("backup_manifest", "postgresql.auto.conf", "recovery.signal", "standby.signal") # which pg_verifybackup passes over, too
for f in m["Files"]:
    if f["Path"] in ours:
        continue
    data = open(os.path.join(root, f["Path"]), "rb").read()
    assert len(data) == f["Size"] and sums[f["Checksum-Algorithm"]](data) == f["Checksum"], f
    named.add(f["Path"])
for folder, _, files in os.walk(root, followlinks=True):
    for name in (os.path.relpath(os.path.join(folder, x), root) for x in files):
        assert name in named or name.startswith(("pg_wal/", "proofkeep_config/")) or name in ours, name
PY
}
planned() { w restore "$@" --dry-run --json && w restore --plan "$(result plan)"; }
settings() { # FOLDER
  printf '%s\n' "listen_addresses = ''" "unix_socket_directories = '$1/socket'" 'fsync = off' 'autovacuum = off' 'timezone = UTC' 'shared_buffers = 32MB' |
    cluster_as "$1" tee -a "$1/data/postgresql.conf" >/dev/null
}
newest() { # SURFACE: the id of its newest point
  w list "lab/$1" --json && python3 -c 'import json, sys; print(json.load(open(sys.argv[1]))["points"][-1]["id"])' "$T/out"
}
facts() { "$@" -d shop -c "SELECT count(*), sum(id), md5(string_agg(note, '' ORDER BY id)) FROM item" -c 'SELECT count(*), sum(id) FROM far_item'; }
# started FOLDER: its configuration, and a server from it that has come to the end of its recovery
started() {
  owned "$1/socket" && settings "$1" && cluster_start "$1" && await 120 cluster_leads "$1"
}
archived() { ! [ "$(sql -c 'SELECT last_archived_wal FROM pg_stat_archiver')" '<' "$1" ]; } # SEGMENT
follows() { [ "$(cluster_psql "$S" -c 'SELECT count(*) FROM pg_stat_wal_receiver' 2>/dev/null)" = 1 ]; }
gone() { cluster_stop "$N"; rm -rf "$N"; owned "$N"; }

run() { # MAJOR
  local v=$1 at first segment surface
  if ! pg_server "$v"; then
    skip "PostgreSQL $v" "$PG_WHY"
    return
  fi
  owned "$C" "$C/socket" "$T/far" "$N"
  cluster_as "$C" "$PG_BIN/initdb" -D "$C/data" -U postgres -A trust -E UTF8 --locale=C.UTF-8 --data-checksums --no-sync >out 2>&1 || return
  settings "$C"
  printf '%s\n' 'archive_mode = on' 'wal_keep_size = 512MB' 'summarize_wal = on' \
    "archive_command = '$K/proofkeep wal push lab/host %p --config $K/pk.yaml'" |
    { [ "$v" = 16 ] && grep -v summarize_wal || cat; } | cluster_as "$C" tee -a "$C/data/postgresql.conf" >/dev/null
  cat >"$K/pk.yaml" <<YAML
version: 1
platform: test
secrets:
  k: { file: $K/key }
repositories:
  main: { url: $K/repo, encrypt: { key: k, kind: key_file } }
surfaces:
  host: { kind: postgres, class: truth, method: physical, through: host, tools_dir: $PG_BIN, connect: { host: $C/socket, user: postgres }, wal: { mode: archive } }
  link: { kind: postgres, class: truth, method: physical, through: replication, tools_dir: $PG_BIN, connect: { host: $C/socket, user: postgres }, wal: { mode: stream } }
  copy: { kind: postgres, class: truth, method: physical, through: replication, tools_dir: $PG_BIN, connect: { host: $S/socket, user: postgres } }
  dump: { kind: postgres, class: truth, databases: [shop], tools_dir: $PG_BIN, connect: { host: $C/socket, user: postgres } }
environments:
  lab: { repository: main }
YAML
  w init --repository "$K/repo" --key-file "$K/key" && cluster_start "$C" || { false; claim "$v: a server and a repository"; return; }
  sql -c 'CREATE DATABASE shop' -c "CREATE TABLESPACE far LOCATION '$T/far'"
  sql -d shop -c "CREATE TABLE item AS SELECT i AS id, repeat(md5(i::text), 6) AS note FROM generate_series(1, 40000) i" -c 'ALTER TABLE item ADD PRIMARY KEY (id)' \
    -c 'CREATE TABLE far_item TABLESPACE far AS SELECT i AS id FROM generate_series(1, 10000) i' -c 'CREATE TABLE word (i int PRIMARY KEY, said text)'
  w wal receive lab/link --once --create-slot
  claim "$v: a slot, and its WAL is streamed"
  for surface in host link; do
    w backup "lab/$surface" --json && [ "$(result surfaces.0.unreadable 2>/dev/null || echo 0)" = 0 ]
    claim "$v: a backup through $surface is taken"
  done
  first=$(newest host)
  sleep 1.1 # a backup's end is told in whole seconds
  sql -d shop -c "INSERT INTO word VALUES (1, 'before')" -c "UPDATE item SET note = reverse(note) WHERE id % 400 = 0"
  facts sql >want
  sleep 0.3
  at=$(sql -c "SELECT to_char(clock_timestamp(), 'YYYY-MM-DD\"T\"HH24:MI:SS.US\"Z\"')")
  sleep 0.3
  sql -d shop -c "INSERT INTO word VALUES (2, 'after')" -c 'DELETE FROM far_item'
  segment=$(sql -c 'SELECT pg_walfile_name(pg_switch_wal())')
  sql -d shop -c "INSERT INTO word VALUES (3, 'later')" -c 'SELECT pg_switch_wal()' >/dev/null
  await 60 archived "$segment"
  w wal receive lab/link --once && w wal verify lab/link --level decode && w wal get lab/host "$segment" "$K/$segment" && cmp "$K/$segment" "$C/data/pg_wal/$segment" >out &&
    tool pg_waldump --quiet "$K/$segment"
  claim "$v: what was pushed and streamed is the server's own, and pg_waldump reads it"
  for surface in host link; do
    w restore "lab/$surface" --into "$N/data" --target-time "$at" && verified "$N/data"
    claim "$v: $surface is restored to a time, and is what its manifest says"
    started "$N" && facts new >got && diff want got >out && [ "$(new -d shop -c 'SELECT string_agg(said, $$ $$) FROM word')" = before ]
    claim "$v: ... it has what was there, and not what came after"
    cluster_stop "$N" && tool pg_checksums --check -D "$N/data"
    claim "$v: ... and pg_checksums finds nothing"
    gone
    w verify "lab/$surface" --level full && says 'VERIFIED  level full' && grep -q "^$([ -x "$PG_BIN/pg_verifybackup" ] && echo PASSED || echo NOT CHECKED) .*: pg_verifybackup" out && grep -q '^[A-Z ]* .*: pg_amcheck' out
    claim "$v: $surface is restored into a scratch server, and is what was captured"
  done
  w backup lab/host lab/link
  claim "$v: both are taken again"
  w restore "lab/host@$first" --into "$N/data" --target immediate && planned lab/host --into "$N/data" --delta --target immediate && verified "$N/data" &&
    started "$N" && [ "$(new -d shop -c 'SELECT count(*) FROM far_item')" = 0 ] && [ "$(new -d shop -c 'SELECT count(*) FROM word')" = 3 ]
  claim "$v: the newer is restored over the older by what differs"
  gone

  owned "$S" && w restore lab/link --into "$S/data" --standby && owned "$S/socket" && settings "$S" &&
    printf '%s\n' "primary_conninfo = 'host=$C/socket user=postgres'" | cluster_as "$S" tee -a "$S/data/postgresql.auto.conf" >/dev/null && cluster_start "$S"
  claim "$v: a standby is made of the other"
  await 60 follows
  w backup lab/copy && w verify lab/copy --level full
  claim "$v: a backup is taken from the standby, and verified in a scratch server"
  cluster_stop "$S"
  rm -rf "$S"

  w backup lab/dump && w restore lab/dump --into shop_copy && w verify lab/dump --level full &&
    [ "$(sql -d shop -c 'SELECT md5(string_agg(t::text, $$$$ ORDER BY id)) FROM item t')" = "$(sql -d shop_copy -c 'SELECT md5(string_agg(t::text, $$$$ ORDER BY id)) FROM item t')" ]
  claim "$v: a dump is taken, restored beside and verified"

  sql -c 'SELECT pg_drop_replication_slot(slot_name) FROM pg_replication_slots' >/dev/null && cp "$C/data/postgresql.conf" "$T/conf" && cluster_stop "$C" &&
    printf '%s\n' 'wal_level = minimal' 'max_wal_senders = 0' 'archive_mode = off' $([ "$v" -lt 17 ] || echo "summarize_wal=off") | cluster_as "$C" tee -a "$C/data/postgresql.conf" >/dev/null && cluster_start "$C" &&
    sql -d shop -c "INSERT INTO word VALUES (4, 'barely logged')" && cluster_stop "$C" && cluster_as "$C" tee "$C/data/postgresql.conf" <"$T/conf" >/dev/null && cluster_start "$C" &&
    segment=$(sql -d shop -c "INSERT INTO word VALUES (5, 'logged')" -c 'SELECT pg_walfile_name(pg_switch_wal())') && await 60 archived "$segment"
  w wal verify lab/host --level decode
  [ $? = 4 ] && grep -q '^Written with wal_level=minimal on timeline 1: ' "$T/out" && says 'has 1 gap, 0 damaged objects and 0 missing'
  claim "$v: WAL of a time with wal_level=minimal is told"
  cluster_stop "$C"
  rm -rf "$C" "$T/far" "$K/repo" "$K/key" "$K/cache" "$K"/0*
}
for major in 16 17 18; do run $major; done
finish
