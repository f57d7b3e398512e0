#!/bin/bash
# Base backups that take from the server only what it says has changed (PostgreSQL 17 and 18), and the backups between that read everything
# and count what would have been missed. What comes back is judged by pg_verifybackup, pg_checksums, pg_amcheck, and by the rows.
. "${SOURCE_ROOT:?the project}/test/e2e/lib/tap.sh"
. "$SOURCE_ROOT/test/e2e/lib/pg.sh"
. "$SOURCE_ROOT/tools/servers/pg.sh"
N=$T/new
trap 'cluster_stop "$C"; cluster_stop "$N"' EXIT
chmod 755 "$T"
settings() { # FOLDER
  printf '%s\n' "listen_addresses = ''" "unix_socket_directories = '$1/socket'" 'fsync = off' 'autovacuum = off' 'timezone = UTC' 'shared_buffers = 64MB' |
    cluster_as "$1" tee -a "$1/data/postgresql.conf" >/dev/null
}
facts() { "$@" -d shop -c "SELECT count(*), sum(id), md5(string_agg(note, '' ORDER BY id)) FROM item" -c 'SELECT count(*), sum(id) FROM far_item' -c 'SELECT count(*) FROM gone' -c 'SELECT count(*), sum(i) FROM grown'; }
config() { # FILE [LINE...]
  local file=$1
  shift
  {
    config_head
    printf '%s\n' 'surfaces:' '  pg:' '    kind: postgres' '    class: truth' '    method: physical' '    through: replication' \
      "    tools_dir: $PG_BIN" "    connect: { host: $C/socket, user: postgres }"
    as_root && echo '    run_as: postgres'
    printf '    %s\n' "$@"
    printf 'environments:\n  lab: { repository: main }\n'
  } >"$file"
}
# fact FIELD: of facts.incremental of the newest point; nothing where there is none
fact() {
  "$P" show "lab/pg@$(point lab/pg)" --json 2>/dev/null | python3 -c '
import json, sys
print(json.load(sys.stdin)["snapshot"]["facts"].get("incremental", {}).get(sys.argv[1], ""))' "$1"
}
# whole POINT WANT: restored, it is whole by every tool, and has those rows
whole() {
  pk restore "lab/pg@$1" --into "$N/data" --target immediate || return
  { [ ! -x "$PG_BIN/pg_verifybackup" ] || cluster_as "$N" "$PG_BIN/pg_verifybackup" --quiet "$N/data" >out 2>err; } &&
    { settings "$N" && cluster_start "$N" && facts cluster_psql "$N" >got && diff "$2" got >out; } || return
  if cluster_psql "$N" -d shop -c 'CREATE EXTENSION amcheck' -c 'CREATE EXTENSION pg_visibility' 2>/dev/null; then
    cluster_as "$N" "$PG_BIN/pg_amcheck" --heapallindexed -d shop >out 2>err || return
    visible=$(cluster_psql "$N" -d shop -c "SELECT count(*) FROM pg_class c, pg_check_visible(c.oid) v WHERE c.relkind = 'r' AND c.relnamespace = 'public'::regnamespace")
  fi
  cluster_stop "$N" && cluster_as "$N" "$PG_BIN/pg_checksums" --check -D "$N/data" >out 2>err
  local status=$?
  rm -rf "$N" && owned "$N" "$N/socket"
  return $status
}
changes() {
  sql -d shop -c 'UPDATE item SET note = reverse(note) WHERE id % 997 = 0' -c 'INSERT INTO grown SELECT generate_series(1, 3000)' \
    -c 'TRUNCATE gone' -c 'INSERT INTO gone SELECT generate_series(1, 50)' -c 'SET client_min_messages = error' -c 'DROP TABLE IF EXISTS later' -c 'CREATE TABLE later AS SELECT 1 AS i'
}

# The server has summarised its WAL up to its last checkpoint.
summarized() {
  for _ in {1..300}; do
    [ "$(sql -c 'SELECT max(end_lsn) >= (SELECT redo_lsn FROM pg_control_checkpoint()) FROM pg_available_wal_summaries()')" = t ] && return
    sleep 0.2
  done
  return 1
}

run() { # MAJOR
  local v=$1 first second third visible=unknown
  if ! pg_server "$v"; then
    skip "PostgreSQL $v" "$PG_WHY"
    return
  fi
  owned "$C" "$C/socket" "$T/far" "$N" "$N/socket"
  cluster_as "$C" "$PG_BIN/initdb" -D "$C/data" -U postgres -A trust -E UTF8 --locale=C.UTF-8 --data-checksums --no-sync >out 2>&1 || return
  settings "$C"
  printf '%s\n' 'summarize_wal = on' 'wal_keep_size = 512MB' | cluster_as "$C" tee -a "$C/data/postgresql.conf" >/dev/null
  cluster_start "$C" || return
  sql -c 'CREATE DATABASE shop' -c "CREATE TABLESPACE far LOCATION '$T/far'"
  sql -d shop -c "CREATE TABLE item AS SELECT i AS id, repeat(md5(i::text), 6) AS note FROM generate_series(1, 60000) i" -c 'ALTER TABLE item ADD PRIMARY KEY (id)' \
    -c 'CREATE TABLE far_item TABLESPACE far AS SELECT i AS id FROM generate_series(1, 60000) i' -c 'CREATE TABLE gone AS SELECT i FROM generate_series(1, 90000) i' \
    -c 'CREATE TABLE grown AS SELECT i FROM generate_series(1, 20000) i' -c 'CREATE UNLOGGED TABLE cache AS SELECT 1 AS i' -c VACUUM
  config proofkeep.yaml 'incremental: { full_every: 7d }'
  config due.yaml 'incremental: { full_every: 1s }'
  pk init --repository main && pk backup lab/pg && [ "$(fact read)" = all ] && [ "$(fact why)" = 'there is no earlier backup whose content can be read' ]
  claim "$v: the first backup reads everything, and says why"
  first=$(point lab/pg)
  facts sql >want1
  changes && facts sql >want2
  pk backup lab/pg --json && [ "$(fact read)" = changes ] && [ "$(fact blocks_sent)" -gt 100 ] && [ "$(fact blocks_sent)" -lt 2500 ] && [ "$(fact blocks_kept)" -gt 3000 ] && [ "$(fact files_unchanged)" -gt 500 ]
  claim "$v: the second takes what has changed: $(fact blocks_sent) blocks sent, $(fact blocks_kept) kept, $(fact files_unchanged) files as they were"
  second=$(point lab/pg)
  changes && sql -d shop -c 'DELETE FROM far_item WHERE id % 3 = 0' -c 'DELETE FROM grown WHERE i < 5000' -c 'DROP TABLE later' && facts sql >want3
  pk backup lab/pg && [ "$(fact read)" = changes ]
  claim "$v: and so does the third, on top of that"
  third=$(point lab/pg)
  whole "$second" want2
  claim "$v: the second is whole by itself, with every row"
  whole "$third" want3
  claim "$v: and so is the third"
  whole "$first" want1
  claim "$v: and the first is what it was"
  pk verify lab/pg --level full
  claim "$v: the newest is verified in a scratch server"

  # ---- none needs those before it ----
  sed 's/{ repository: main }/{ repository: main, policy: { verify: checksum, retention: { keep: { last: 1 }, min_copies: 1 } } }/' proofkeep.yaml >last.yaml
  pk prune lab --grace 0s --config last.yaml && pk list lab/pg --json && python3 -c 'import json; assert len(json.load(open("out"))["points"]) == 1' && whole "$third" want3 && pk verify lab/pg --level decode
  claim "$v: the third is whole when the two before it are gone, and what only they had"

  # ---- the pass that reads everything, and counts ----
  sql -d shop -c VACUUM && pk backup lab/pg && sql -d shop -c 'UPDATE item SET note = reverse(note) WHERE id % 499 = 0' -c 'DELETE FROM far_item WHERE id % 3 = 1 AND id < 9000' && sleep 1.1
  pk backup lab/pg --config due.yaml && [ "$(fact read)" = all_compared ] && [ "$(fact blocks_compared)" -gt 3000 ]
  claim "$v: when it is due, everything is read, and compared"
  echo "# $v: compared $(fact blocks_compared), missed $(fact missed) in $(fact missed_files) files"
  [ "$(fact missed)" = 0 ] && [ "$(fact summaries)" = compared ]
  claim "$v: the server would have missed nothing, by its own summaries of the WAL"
  # a page that changes behind its back: bytes of a row, and the checksum made right, as by a storage that lies
  rel=$(sql -d shop -c "SELECT pg_relation_filepath('far_item')") && sql -c CHECKPOINT && cluster_stop "$C" &&
    printf '\377' | dd of="$C/data/$rel" bs=1 seek=$((8192 * 3 + 8000)) conv=notrunc 2>/dev/null
  python3 - "$C/data/$rel" 3 <<'PY'
import struct, sys
# checksum_impl.h: FNV-1a in 32 lanes
BASE = [0x5B1F36E9,0xB8525960,0x02AB50AA,0x1DE66D2A,0x79FF467A,0x9BB9F8A3,0x217E7CD2,0x83E13D2C,0xF8D4474F,0xE39EB970,0x42C6AE16,0x993216FA,0x7B093B5D,0x98DAFF3C,0xF718902A,0x0B1C9CDB,0xE58F764B,0x187636BC,0x5D7B3BB1,0xE73DE7DE,0x92BEC979,0xCCA6C0B2,0x304A0979,0x85AA43D4,0x783125BB,0x6CA8EAA2,0xE407EAC6,0x4B5CFC3E,0x9FBF8C76,0x15CA20BE,0xF2CA9FD3,0x959BD756]
def mix(s, v):
    t = s ^ v
    return ((t * 16777619) & 0xFFFFFFFF) ^ (t >> 17)
path, block = sys.argv[1], int(sys.argv[2])
with open(path, "r+b") as f:
    f.seek(block * 8192)
    page = bytearray(f.read(8192))
    page[8:10] = b"\0\0"
    sums = list(BASE)
    words = struct.unpack("<2048I", page)
    for i in range(64):
        for j in range(32):
            sums[j] = mix(sums[j], words[i * 32 + j])
    for _ in range(2):
        sums = [mix(s, 0) for s in sums]
    r = 0
    for s in sums:
        r ^= s
    page[8:10] = struct.pack("<H", (r ^ block) % 65535 + 1)
    f.seek(block * 8192)
    f.write(page)
PY
  cluster_start "$C" && sleep 1.1 && pk backup lab/pg --config due.yaml && [ "$(fact missed)" = 1 ] && [ "$(fact missed_files)" = 1 ] && says 'would have left out 1 changed pages in 1 files, the first block 3 of pg_tblspc/'
  claim "$v: a page that changed without WAL is counted, and warned of"
  pk backup lab/pg && [ "$(fact read)" = all_compared ] && [ "$(fact why)" = 'the server has missed changes before' ]
  claim "$v: and the server is not asked for changes any more"

  # ---- a summary that has lost changes, which the server itself finds good: the least of them under the names of newer ones ----
  pk backup lab/pg --config due.yaml && [ "$(fact missed)" = 0 ] && ls "$C/data/pg_wal/summaries" >before &&
    sql -d shop -c 'UPDATE item SET note = reverse(note) WHERE id % 331 = 0' -c CHECKPOINT && summarized && newer=$(ls "$C/data/pg_wal/summaries" | grep -vxFf before) &&
    least=$(ls -S "$C/data/pg_wal/summaries" | tail -n 1) && cat "$C/data/pg_wal/summaries/$least" >"$T/least" && for file in $newer; do cat "$T/least" >"$C/data/pg_wal/summaries/$file"; done &&
    sleep 1.1 && pk backup lab/pg --config due.yaml && says 'would have left out [0-9]* changed pages in [0-9]* files, the first block [0-9]* of relation 1663/' &&
    [ "$(fact summaries)" = compared ] && [ "$(fact missed)" -gt 50 ]
  claim "$v: changes that a summary lost are counted: $(fact missed) pages"

  # ---- when it cannot be had ----
  sql -c 'ALTER SYSTEM SET summarize_wal = off' -c 'SELECT pg_reload_conf()' >/dev/null
  config plain.yaml
  pk backup lab/pg --config plain.yaml && [ -z "$(fact read)" ]
  claim "$v: where it is not asked for, nothing of it is done"
  pk backup lab/pg && [ "$(fact read)" = all_compared ] && [ "$(fact why)" = 'summarize_wal is off at the server' ]
  claim "$v: without summaries everything is read"
  sql -d shop -c 'UPDATE item SET note = note WHERE id < 100' -c CHECKPOINT
  sql -c 'ALTER SYSTEM SET summarize_wal = on' -c 'SELECT pg_reload_conf()' >/dev/null
  pk backup lab/pg
  echo "# $v: after a gap in the summaries: $(fact read) $(fact why)"
  [ "$(fact read)" = changes ] || { [ "$(fact read)" = all_compared ] && [ -n "$(fact why)" ]; }
  claim "$v: after a gap in the summaries a backup is taken all the same"
  sql -d shop -c VACUUM && pk backup lab/pg && sql -d shop -c 'DELETE FROM far_item WHERE id % 3 = 2 AND id < 9000' && pk backup lab/pg
  facts sql >want4 && whole "$(point lab/pg)" want4
  claim "$v: and it is whole"
  if [ "$visible" = unknown ]; then
    skip "$v: pg_visibility" 'it is not among the programs of that version'
  else
    [ "$visible" = 0 ]
    claim "$v: and no page is taken to be visible that is not"
  fi
  cluster_stop "$C"
  rm -rf "$C" "$T/far" "$T/repo" "$T/key" "$T/cache"
}
for major in 17 18; do run $major; done
finish
