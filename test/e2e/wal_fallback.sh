#!/bin/bash
# WAL while the repository is out of reach: into its fallback, out of it again in a recovery, and its way home. The primary is a bucket of
# a real server that is really killed; segments are made by hand, and the judge is cmp.
. "${SOURCE_ROOT:?the project}/test/e2e/lib/tap.sh"
. "$SOURCE_ROOT/test/e2e/lib/wal.sh"
. "$SOURCE_ROOT/test/e2e/lib/s3.sh"
s3_needed "${S3_KIND:-versitygw}"
s3_login
s3 mb prime
F=$T/fallback B=$T/second W=$T/pg_wal S=7351234567890123456
config() { # FILE ALSO FALLBACK MAIN-KEY FALLBACK-KEY
  (umask 077 && cat >"$1") <<YAML
version: 1
platform: test
secrets:
  m: { file: $T/${4:-m.key} }
  f: { file: $T/${5:-f.key} }
  b: { file: $T/b.key }
repositories:
  main: { url: 's3://prime/r', s3: { endpoint: '$S3_ENDPOINT' }, encrypt: { key: m, kind: key_file }$3 }
  local: { url: $F, encrypt: { key: f, kind: key_file } }
  second: { url: $B, encrypt: { key: b, kind: key_file } }
surfaces:
  db: { kind: postgres, class: runtime, wal: { mode: archive$2 } }
  data: { kind: files, class: truth, paths: [$T/src] }
environments:
  prod: { repository: main, surfaces: [db, data] }
YAML
}
config y.yaml '' ', fallback: local'
config both.yaml ', also: [second]' ', fallback: local'
config twice.yaml ', also: [local]' ', fallback: local'
config plain.yaml '' ''
mkdir -p "$W/archive_status" "$T/src"
seq 1000 >"$T/src/text"
for i in $(seq 1 12); do segment "$W/$(name 1 $i)" 1 $i; done
push() { pk wal push prod/db "$W/$(name 1 "$1")" --config "${2:-y.yaml}"; }
got() { rm -rf "$XDG_CACHE_HOME"/proofkeep/wal/*/get "$T/got"; pk wal get prod/db "$(name 1 "$1")" "$T/got" --config "${2:-y.yaml}" && cmp "$W/$(name 1 "$1")" "$T/got"; }
pk init -r main --key-file "$T/m.key" --config y.yaml && pk init -r local --key-file "$T/f.key" --copy-of main --config y.yaml && pk init -r second --key-file "$T/b.key" --config y.yaml
claim 'there are a repository, its fallback, and another one'
push 1 && [ ! -e "$F/wal" ] && [ ! -s "$T/err" ]
claim 'while the repository can be reached its fallback gets nothing'

# ---- out of reach
down
fails 7 PK-NET-002 wal push prod/db "$W/$(name 1 2)" --config plain.yaml
claim 'without a fallback the file is not stored, and the server keeps it'
touch "$W/archive_status/$(name 1 3).ready"
push 2 && says 'main: it is out of reach, and WAL goes to its fallback local' && [ -f "$F/wal/$S/00000001/$(name 1 2)" ]
claim 'with one it is stored there, with a warning, and the server may go on'
push 3 && [ -f "$F/wal/$S/00000001/$(name 1 3)" ]
claim 'so is what came next'

python3 - "$F" <<'PY'
import base64, glob, json, sys
entries = [json.loads(base64.b64decode(json.load(open(f))["payload"])) for f in glob.glob(sys.argv[1] + "/log/*")]
wal = [e["predicate"]["fallback"] for e in entries if "objects" in e["predicate"]]
assert wal and all(f["of"] == "main" and f["code"] == "PK-NET-002" and f["why"] for f in wal), wal
PY
claim 'the log of the fallback says in the place of what, and why'
got 2
claim 'it comes back from there'
find "$XDG_CACHE_HOME" -type d -name ok -execdir mkdir pending \;
fails 1 PK-IO-002 wal push prod/db "$W/$(name 1 4)" --config y.yaml && says 'pending'
claim 'what cannot be noted for its log is not taken: it would not wait to be forwarded'
find "$XDG_CACHE_HOME" -type d -name pending -exec rmdir {} +
mv "$F" "$F.away"
fails 7 PK-NET-002 wal push prod/db "$W/$(name 1 4)" --config y.yaml && says 'its fallback local cannot be used either'
claim 'with both away it is the failure that it was'
mv "$F.away" "$F"
push 4 both.yaml && [ -f "$B/wal/$S/00000001/$(name 1 4)" ] && [ -f "$F/wal/$S/00000001/$(name 1 4)" ]
claim 'the fallback stands for its repository where another must have the WAL too'
mv "$B" "$B.away"
fails 10 PK-REP-001 wal push prod/db "$W/$(name 1 5)" --config both.yaml && says 'not in second, which must have it too'
claim 'and not for that one'
mv "$B.away" "$B"
fails 7 PK-NET-002 wal push prod/db "$W/$(name 1 6)" --config twice.yaml && says 'stored in local, and not in main'
claim 'one that must have the WAL anyway cannot stand in: there would be one copy less'

# ---- both are there
noted() { find "$XDG_CACHE_HOME" -name away -exec sed -i "s/^[0-9]*/$1/" {} + -printf . | grep -q .; } # NANOSECONDS: when it was away
up
noted "$(date +%s%N)" && push 8 && says 'main: it is out of reach, and WAL goes to its fallback local' && [ -f "$F/wal/$S/00000001/$(name 1 8)" ]
claim 'a repository that was away is not asked again for each file'
noted "$(($(date +%s%N) - 61000000000))" && push 7 && [ ! -e "$F/wal/$S/00000001/$(name 1 7)" ] && [ ! -s "$T/err" ]
claim 'but after a minute, and when it is back it gets what comes'
for i in 1 2 3 4 7 8; do got $i || break; done
claim 'a recovery has all of it, from here and from there'
got 3 && says "local: $(name 1 3) came from it"
claim 'which is said'
fails 1 PK-WAL-002 wal get prod/db "$(name 1 9)" "$T/got" --config y.yaml
claim 'what neither has is absent'
mv "$F" "$F.away"
fails 200 PK-VER-002 wal get prod/db "$(name 1 3)" "$T/got" --config y.yaml && says 'its fallback local, which may have it, cannot be read'
claim 'but not while the fallback cannot be asked'
fails 1 PK-WAL-002 wal get prod/db "$(name 1 9)" "$T/got" --config y.yaml -r main
claim 'unless the repository is asked by name'
mv "$F.away" "$F"
fails 6 PK-POL-003 status --config y.yaml --check && says 'main: 6 of its WAL objects wait in local'
claim 'status --check fails until it is forwarded'

# ---- the way home
pk backup prod/data --config y.yaml && says 'WAL ([0-9]* objects) waits in local for .*: 0 forwarded, .*of WAL [0-9]* objects' && got 3 plain.yaml && got 4 plain.yaml
claim 'a backup that reaches the repository forwards it'
pk wal verify prod/db --level decode --config plain.yaml && grep -q 'read, 0 damaged' "$T/out"
claim 'where it is whole, and without a gap'
pk status --config y.yaml; grep -q 'main: nothing waits in its fallback local' "$T/err" "$T/out"
claim 'then nothing waits'

# ---- a repository that has WAL only
pk init -r "$T/copy" --key-file "$T/copy.key" --copy-of "$B" --from-key-file "$T/b.key" --config plain.yaml && pk copy --config plain.yaml -r second --to "$T/copy" --to-key-file "$T/copy.key" --all && grep -q '1 WAL object copied' "$T/out"
claim 'a repository without a recovery point is copied all the same, when it has WAL'
finish
