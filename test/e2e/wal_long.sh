#!/bin/bash
# Long segments (initdb --wal-segsize=64): archived, received and given back in pieces, within the memory that everything has. A real
# server, whose own files are compared with what comes back, and a recovery of it.
. "${SOURCE_ROOT:?the project}/test/e2e/lib/tap.sh"
. "$SOURCE_ROOT/test/e2e/lib/pg.sh"
pg_needed
[ -x "$PG_BIN/pg_basebackup" ] || { echo '1..0 # skip no pg_basebackup is installed' && exit 0; }
COPY=$T/copy
trap 'cluster_stop "$C"; cluster_stop "$COPY"' EXIT
keeper "$C" "$C/socket" "$COPY" "$COPY/socket"
cat >"$K/pk.yaml" <<YAML
version: 1
platform: test
secrets:
  k: { file: $K/key }
repositories:
  main: { url: $K/repo, encrypt: { key: k, kind: key_file } }
  second: { url: $K/received, encrypt: { key: k, kind: key_file } }
surfaces:
  db:
    kind: postgres
    class: runtime
    connect: { host: $C/socket, user: postgres, dbname: postgres }
    wal: { mode: archive }
environments:
  prod: { repository: main }
YAML
W="env HOME=$K TMPDIR=$K XDG_CACHE_HOME=$K/cache"
# measured ARGUMENT...: the program as the server's user; it must stay below 256 MiB
measured() {
  tap_last="proofkeep $*"
  # shellcheck disable=SC2086
  cluster_as "$C" $W python3 -c '
import resource, subprocess, sys
status = subprocess.run(sys.argv[1:]).returncode
kib = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss
print("# %d MiB: %s" % (kib >> 10, " ".join(sys.argv[2:4])))
sys.exit(status or (kib >> 10 >= 256) * 99)' "$K/proofkeep" "$@" >"$T/out" 2>"$T/err" </dev/null
}
measured init --config "$K/pk.yaml" -r main --key-file "$K/key" && measured init --config "$K/pk.yaml" -r second --key-file "$K/key2"
sed "s,file: $K/key },file: $K/key2 }," "$K/pk.yaml" | cluster_as "$C" tee "$K/second.yaml" >/dev/null
cluster_as "$C" "$PG_BIN/initdb" -D "$C/data" -U postgres -A trust -E UTF8 --locale=C.UTF-8 --no-sync --wal-segsize=64 >"$T/initdb.log" 2>&1
{
  printf '%s\n' "listen_addresses = ''" "unix_socket_directories = '$C/socket'" 'fsync = off' 'shared_buffers = 32MB' 'wal_level = replica' \
    'archive_mode = on' "archive_command = '$W $K/proofkeep wal push prod/db %p --config $K/pk.yaml'" 'min_wal_size = 128MB' 'max_wal_size = 1GB'
} | cluster_as "$C" tee -a "$C/data/postgresql.conf" >/dev/null
cluster_start "$C"
claim 'a server has segments of 64 MiB'
cluster_as "$C" "$PG_BIN/pg_basebackup" -D "$COPY/data" -X none -c fast --no-sync >/dev/null 2>&1
cluster_as "$C" "$K/proofkeep" --version >/dev/null
measured wal receive prod/db --config "$K/second.yaml" -r second --create-slot --once
claim 'its WAL is received'
sql -c 'CREATE TABLE word (i int PRIMARY KEY, said text)' -c "INSERT INTO word SELECT i, repeat(md5(i::text), 30) FROM generate_series(1, 60000) i"
a=$(sql -c 'SELECT pg_walfile_name(pg_switch_wal())')
sql -c "INSERT INTO word VALUES (0, 'second segment')"
b=$(sql -c 'SELECT pg_walfile_name(pg_switch_wal())')
sql -c "INSERT INTO word VALUES (-1, 'third segment')"
for i in $(seq 300); do [ -f "$C/data/pg_wal/archive_status/$b.done" ] && break; sleep 0.2; done
[ -f "$C/data/pg_wal/archive_status/$b.done" ] && [ -d "$(echo "$K"/repo/wal/*/00000001/"$a".pieces)" ]
claim 'the server archives by proofkeep, which stores pieces'
measured wal push prod/db "$C/data/pg_wal/$a" --config "$K/pk.yaml"
claim 'the same file again is fine, and needs little memory'
grep '^#' "$T/out"
measured wal get prod/db "$a" "$K/got" --config "$K/pk.yaml" && cmp "$C/data/pg_wal/$a" "$K/got"
claim 'it comes back as it was, with little memory'
grep '^#' "$T/out"
cluster_as "$C" cp "$C/data/pg_wal/$a" "$K/$a" && cluster_as "$C" python3 -c 'import sys
f = open(sys.argv[1], "r+b"); f.seek(40 << 20); b = f.read(1); f.seek(40 << 20); f.write(bytes([b[0] ^ 1]))' "$K/$a"
! measured wal push prod/db "$K/$a" --config "$K/pk.yaml" && says 'with other bytes'
claim 'other bytes under its name are refused'
cluster_as "$C" truncate -s 50000000 "$K/$a"
! measured wal push prod/db "$K/$a" --config "$K/pk.yaml" && says '50000000 bytes'
claim 'so is a truncated one'
measured wal receive prod/db --config "$K/second.yaml" -r second --once && measured wal get prod/db "$a" "$K/got" --config "$K/second.yaml" -r second && cmp "$C/data/pg_wal/$a" "$K/got" &&
  measured wal get prod/db "$b" "$K/got" --config "$K/second.yaml" -r second && cmp "$C/data/pg_wal/$b" "$K/got"
claim 'what was received is the same'
cluster_as "$C" cp "$C/data/pg_wal/$a" "$K/$a.partial"
measured wal push prod/db "$K/$a.partial" --config "$K/pk.yaml" && [ -d "$(echo "$K"/repo/wal/*/00000001/"$a".partial.pieces)" ] && measured wal push prod/db "$K/$a.partial" --config "$K/pk.yaml" &&
  measured wal get prod/db "$a.partial" "$K/got" --config "$K/pk.yaml" && cmp "$K/$a.partial" "$K/got"
claim 'what is left of a long segment at the end of a timeline goes in pieces as well, and comes back'
cluster_as "$C" python3 -c 'import sys
f = open(sys.argv[1], "r+b"); f.seek(40 << 20); b = f.read(1); f.seek(40 << 20); f.write(bytes([b[0] ^ 1]))' "$K/$a.partial"
! measured wal push prod/db "$K/$a.partial" --config "$K/pk.yaml" && says 'with other bytes' && rm "$K"/repo/wal/*/00000001/"$a".partial.pieces/01000000-* && ! measured wal get prod/db "$a.partial" "$K/none" --config "$K/pk.yaml" && [ ! -e "$K/none" ]
claim 'with other bytes it is refused, and without all of its pieces there is none'
cluster_as "$C" cp "$C/data/pg_wal/$a" "$K/$a.partial" && measured wal push prod/db "$K/$a.partial" --config "$K/pk.yaml"
measured wal verify prod/db --level decode --config "$K/pk.yaml" && measured wal verify prod/db --level decode --config "$K/second.yaml" -r second
claim 'both are whole'
sed -e "s,^secrets:,&\n  s: { file: $K/key2 }," -e '/second:/s/key: k/key: s/' -e 's/mode: archive/&, also: [second]/' "$K/pk.yaml" | cluster_as "$C" tee "$K/both.yaml" >/dev/null
rm -r "$K"/repo/wal/*/00000001/"$a".pieces "$K/got"
! measured wal get prod/db "$a" "$K/got" --config "$K/pk.yaml" && says 'the log says that it was stored' && measured wal get prod/db "$a" "$K/got" --config "$K/both.yaml" &&
  cmp "$C/data/pg_wal/$a" "$K/got"
claim 'what the repository has lost of it comes from another that has all of it'
sed -e "/main:/s,encrypt,fallback: gone\, &,;/main:/a\  gone: { url: $K/gone\, encrypt: { key: k\, kind: key_file } }" "$K/pk.yaml" | cluster_as "$C" tee "$K/gone.yaml" >/dev/null
rm -rf "$K"/cache/proofkeep/wal/*/get
! measured wal get prod/db "$a" "$K/got" --config "$K/gone.yaml" && says 'its fallback gone, which may have it, cannot be read' && rm -f "$K/got" && measured wal get prod/db "$b" "$K/got" --config "$K/gone.yaml" &&
  cmp "$C/data/pg_wal/$b" "$K/got"
claim 'and what it has all of comes from it, though its fallback is out of reach'
cluster_as "$C" cp "$C/data/pg_wal/$b" "$K/$b.partial" && sed -e "s,{ file: $K/key },{ file: $K/key3 }," -e "s,url: $K/repo,url: $K/gone," "$K/pk.yaml" | cluster_as "$C" tee "$K/init.yaml" >/dev/null
sed -e "s,^secrets:,&\n  g: { file: $K/key3 }," -e '/  gone:/s/key: k/key: g/' "$K/gone.yaml" | cluster_as "$C" tee "$K/spare.yaml" >/dev/null
measured init --config "$K/init.yaml" -r main --key-file "$K/key3" && measured wal push prod/db "$K/$b.partial" --config "$K/init.yaml" && [ -d "$(echo "$K"/gone/wal/*/00000001/"$b".partial.pieces)" ] &&
  measured wal get prod/db "$b.partial" "$K/got" --config "$K/spare.yaml" && cmp "$K/$b.partial" "$K/got"
claim 'what only a fallback has in pieces comes from there'
sql -c "INSERT INTO word VALUES (-2, 'not archived')"
measured wal receive prod/db --config "$K/second.yaml" -r second --once
{
  printf '%s\n' "unix_socket_directories = '$COPY/socket'" 'archive_mode = off' "restore_command = '$W $K/proofkeep wal get prod/db %f %p --config $K/second.yaml -r second'" \
    'recovery_target_timeline = latest'
} | cluster_as "$COPY" tee -a "$COPY/data/postgresql.conf" >/dev/null
cluster_as "$COPY" touch "$COPY/data/recovery.signal"
cluster_start "$COPY"
for i in $(seq 300); do [ "$(cluster_psql "$COPY" -c 'SELECT pg_is_in_recovery()' 2>/dev/null)" = f ] && break; sleep 0.2; done
[ "$(cluster_psql "$COPY" -c 'SELECT count(*), min(i) FROM word')" = '60003|-2' ]
claim 'a recovery has every row, with the last ones out of a piece'
finish
