#!/bin/bash
# WAL in several places: repositories that must have it too, copies, what is brought back after damage, gaps that are known. No server:
# segments are made by hand, the judges are cmp and the independent reader of the formats.
. "${SOURCE_ROOT:?the project}/test/e2e/lib/tap.sh"
. "$SOURCE_ROOT/test/e2e/lib/wal.sh"
A=$T/a B=$T/b C=$T/c W=$T/pg_wal
S=7351234567890123456
export XDG_CACHE_HOME=$T/cache
python=
for p in python3 /usr/bin/python3; do
  "$p" -c 'import cryptography, zstandard' 2>/dev/null && python=$p && break
done
# reads KEY REPOSITORY COMMAND WORDS: the independent reader says so
reads() {
  if [ -z "$python" ]; then
    skip "the independent reader says '$4'" 'no Python with cryptography and zstandard'
    return
  fi
  tap_last="reader.py $3"
  PYTHONDONTWRITEBYTECODE=1 "$python" "$SOURCE_ROOT/test/format/reader.py" --key "$1" "$2" "$3" >"$T/out" 2>"$T/err" && grep -q "$4" "$T/out"
  claim "the independent reader says '$4'"
}
push() { pk wal push prod/db "$W/$1" --config y.yaml; }
config() { # FILE ALSO
  cat >"$1" <<YAML
version: 1
platform: test
secrets:
  a: { file: $T/a.key }
  b: { file: $T/b.key }
  c: { file: $T/c.key }
repositories:
  main: { url: $A, encrypt: { key: a, kind: key_file }, copies: [copy] }
  second: { url: $B, encrypt: { key: b, kind: key_file } }
  copy: { url: $C, encrypt: { key: c, kind: key_file } }
surfaces:
  db: { kind: postgres, class: runtime, wal: { mode: archive$2 } }
  files: { kind: files, class: truth, paths: [$T/data] }
environments:
  prod: { repository: main }
YAML
}
mkdir -p "$W/archive_status" "$T/data"
echo hello >"$T/data/file"
config y.yaml ', also: [second]'
config alone.yaml ''
pk init -r "$A" --key-file "$T/a.key" --config none.yaml && pk init -r "$B" --key-file "$T/b.key" --config none.yaml &&
  pk init -r "$C" --key-file "$T/c.key" --copy-of "$A" --from-key-file "$T/a.key"
claim 'there are two repositories and one that takes copies'
for i in 1 2 3 4 5 6; do segment "$W/$(name 1 $i)" 1 $i; done

# ---- every required repository
push "$(name 1 1)" && [ -f "$A/wal/$S/00000001/$(name 1 1)" ] && [ -f "$B/wal/$S/00000001/$(name 1 1)" ]
claim 'a pushed segment is in both repositories that must have it'
! cmp -s "$A/wal/$S/00000001/$(name 1 1)" "$B/wal/$S/00000001/$(name 1 1)" && pk wal get prod/db "$(name 1 1)" "$T/got" --config y.yaml -r second && cmp "$W/$(name 1 1)" "$T/got"
claim 'each under its own keys'
touch "$W/archive_status/$(name 1 3).ready"
mv "$B" "$B.away"
fails 10 PK-REP-001 wal push prod/db "$W/$(name 1 2)" --config y.yaml && says "$(name 1 2) is stored in main, and not in second, which must have it too" && [ -f "$A/wal/$S/00000001/$(name 1 2)" ]
claim 'one that is out of reach is a failure, which says who has it'
fails 10 PK-REP-001 wal push prod/db "$W/$(name 1 3)" --config y.yaml && [ -f "$A/wal/$S/00000001/$(name 1 3)" ]
claim 'what comes next is stored where it can be, and not answered for either'
mv "$B.away" "$B"
before=$(stat -c %Y.%i "$A/wal/$S/00000001/$(name 1 2)")
push "$(name 1 2)" && [ -f "$B/wal/$S/00000001/$(name 1 2)" ] && [ "$before" = "$(stat -c %Y.%i "$A/wal/$S/00000001/$(name 1 2)")" ] &&
  push "$(name 1 3)" && [ -f "$B/wal/$S/00000001/$(name 1 3)" ]
claim 'the retry stores where it was lacking'
! ls "$T"/cache/proofkeep/wal/*/ok/* >/dev/null 2>&1
claim 'and leaves no marks'
mv "$A" "$A.away"
fails 10 PK-REP-001 wal push prod/db "$W/$(name 1 4)" --config y.yaml && says "stored in second, and not in main" && [ -f "$B/wal/$S/00000001/$(name 1 4)" ]
claim "the environment's own may be the one that is out of reach"
mv "$A.away" "$A"
segment "$T/other" 1 4 9 && cp "$T/other" "$W/$(name 1 4)"
fails 4 PK-WAL-001 wal push prod/db "$W/$(name 1 4)" --config y.yaml && says 'stored in main, and not in second'
claim 'other bytes are refused by the one that has them, and it is said which'
rm "$A/wal/$S/00000001/$(name 1 4)"
segment "$W/$(name 1 4)" 1 4
for i in 4 5 6; do push "$(name 1 $i)" || break; done
pk wal verify prod/db --level decode --config y.yaml && says '^No instant can be recovered by it' && pk wal verify prod/db --level decode --config y.yaml -r second
claim 'afterwards both are whole'
fails 2 PK-CFG-003 status --config <(config /dev/stdout ', also: [secnd]') && says "did you mean 'second'"
claim 'a repository that must have it is one of the configuration'

# ---- the cluster that is asked for
segment "$W/$(name 1 9)" 1 9 7 5
sed "s/mode: archive/mode: archive, system: \"5\"/" alone.yaml >five.yaml
pk wal push prod/db "$W/$(name 1 9)" --config five.yaml
claim 'the surface becomes another cluster'
fails 1 PK-WAL-002 wal get prod/db "$(name 1 2)" "$T/got" --config alone.yaml
claim 'whose WAL is asked for from then on'
pk wal get prod/db "$(name 1 2)" "$T/got" --config alone.yaml --system $S && cmp "$W/$(name 1 2)" "$T/got"
claim 'unless the cluster is named'
await 60 test -f "$(ls -d "$T"/cache/proofkeep/wal/*/get/$S)/$(name 1 3)"
ahead=$(ls "$T"/cache/proofkeep/wal/*/get/$S/"$(name 1 3)")
segment "$ahead" 1 3 7 5 && pk wal get prod/db "$(name 1 3)" "$T/got" --config alone.yaml --system $S && cmp "$W/$(name 1 3)" "$T/got"
claim 'what lies there for another cluster is not taken for its own'
fails 200 PK-USE-001 wal get prod/db "$(name 1 2)" "$T/got" --config alone.yaml --system 0x5
claim 'and a word that is none is refused'

# ---- copies
pk backup prod/files --config alone.yaml && pk copy --all --config alone.yaml -r main --to copy && grep -q '7 WAL objects copied' "$T/out"
claim 'copy takes the WAL along'
reads "$T/c.key" "$C" wal '^7 objects, 7 of them registered'
pk copy --all --config alone.yaml -r main --to copy && grep -q '0 WAL objects copied' "$T/out" && grep -q '7 there before' "$T/out"
claim 'and once'
pk status --config alone.yaml --json; python3 - "$T/out" <<'PY'
import json, sys
s = json.load(open(sys.argv[1]))
c = [c for r in s["repositories"] for c in r["copies"]]
assert len(c) == 1 and c[0]["behind_wal"] == 0, c
PY
claim 'the log of the source knows that nothing is behind'
segment "$W/$(name 1 7)" 1 7
sed "s/mode: archive/mode: archive, system: \"$S\"/" alone.yaml >first.yaml
pk wal push prod/db "$W/$(name 1 7)" --config first.yaml && pk status --config alone.yaml && grep -q 'and 1 WAL object behind' "$T/err"
claim 'what came since is counted'
pk wal verify prod/db --level decode --config first.yaml -r copy && grep -q 'read, 0 damaged' "$T/out"
claim 'wal verify reads the copy'
rm "$C/wal/$S/00000001/$(name 1 2)" && pk copy prod --config first.yaml --to copy && grep -q '2 WAL objects copied' "$T/out" && [ -f "$C/wal/$S/00000001/$(name 1 2)" ]
claim 'what the copy has lost comes again, and what is new'
pk wal get prod/db "$(name 1 5)" "$T/got" --config first.yaml --from copy && cmp "$W/$(name 1 5)" "$T/got"
claim 'a segment comes from the copy'
mv "$A" "$A.away"
rm -r "$T"/cache/proofkeep/wal/*/get
pk wal get prod/db "$(name 1 6)" "$T/got" --config first.yaml && cmp "$W/$(name 1 6)" "$T/got" && says 'in the place of the repository'
claim 'also by itself, when the repository is out of reach'
fails 200 PK-VER-002 wal get prod/db "$(name 1 40)" "$T/got" --config first.yaml && says 'which may have it, is out of reach'
claim 'but what a copy lacks is not absent for sure then'
fails 1 PK-WAL-002 wal get prod/db "$(name 1 40)" "$T/got" --config first.yaml --from copy
claim 'unless the copy was asked for'
mv "$A.away" "$A"
rm -r "$T"/cache/proofkeep/wal/*/get
flip "$A/wal/$S/00000001/$(name 1 6)" 3000
pk wal get prod/db "$(name 1 6)" "$T/got" --config first.yaml && cmp "$W/$(name 1 6)" "$T/got" && says "$(name 1 6) came from it"
claim 'or when what it has is damaged'
fails 1 PK-WAL-002 wal get prod/db "$(name 1 40)" "$T/got" --config first.yaml
claim 'absent is what neither has'

# ---- what is damaged or lost
rm "$A/wal/$S/00000001/$(name 1 3)"
fails 4 PK-VER-001 scrub --config first.yaml -r main && grep -q "corrupt .*/$(name 1 6)" "$T/out" && grep -q "missing .*/$(name 1 3)" "$T/out"
claim 'scrub finds a damaged and a lost segment'
pk repair prod --config first.yaml --dry-run && grep -q 'it is whole in copy' "$T/out" && grep -q 'what is there is whole' "$T/out" && grep -q '3 objects of WAL' "$T/out" && [ ! -f "$A/wal/$S/00000001/$(name 1 3)" ]
claim 'a repair knows where they are to be had'
pk repair prod --config first.yaml && grep -q '3 objects of WAL brought back' "$T/out" && pk wal verify prod/db --level decode --config first.yaml && pk scrub --config first.yaml -r main
claim 'and brings them back, so that scrub is content'
reads "$T/a.key" "$A" wal '^8 objects, 8 of them registered'
reads "$T/a.key" "$A" verify ''
pk repair prod --config first.yaml && grep -q 'nothing to repair' "$T/out"
claim 'then nothing is left to do'
mv "$C" "$C.away"
rm "$A/wal/$S/00000001/$(name 1 5)"
pk wal get prod/db "$(name 1 6)" "$T/got" --config first.yaml && cp "$W/$(name 1 5)" "$(ls -d "$T"/cache/proofkeep/wal/*/get/$S)/"
pk repair prod --config first.yaml && grep -q 'in the spool folder of this host' "$T/out" && pk wal get prod/db "$(name 1 5)" "$T/got" --config first.yaml && cmp "$W/$(name 1 5)" "$T/got"
claim 'a lost one is brought back from what a recovery fetched ahead'
rm -r "$T"/cache/proofkeep/wal/*/get/$S
rm "$A/wal/$S/00000001/$(name 1 4)"
fails 4 PK-REP-010 repair prod --config first.yaml && grep -q 'it is nowhere else' "$T/out" && says '1 object of WAL stay'
claim 'what is nowhere is named'

# ---- what the log knows is not absent
rm -rf "$T"/cache/proofkeep/wal/*/get
fails 200 PK-REP-004 wal get prod/db "$(name 1 4)" "$T/got" --config first.yaml && says "$(name 1 4) is not all there, and the log says that it was stored" && says "proofkeep wal acknowledge prod/db $(name 1 4) --reason"
claim 'WAL that the log knows and the store has lost is not absent: a recovery must not end there'
fails 200 PK-REP-004 wal get prod/db "$(name 1 4)" "$T/got" --config first.yaml && grep -q "$(name 1 4)" "$T"/cache/proofkeep/wal-names-*
claim 'nor the second time, when what each entry names is kept'
fails 1 PK-WAL-002 wal get prod/db "$(name 1 30)" "$T/got" --config first.yaml
claim 'and what nobody ever stored is'

# ---- a gap that is known
fails 4 PK-VER-001 wal verify prod/db --config first.yaml && says 'has 1 gap' && says '1 missing one'
claim 'it is a gap'
pk key add -r "$A" --key-file "$T/a.key" --role restore --key-file-out "$T/r.key"
fails 5 PK-KEY-002 wal acknowledge prod/db --reason mine --config first.yaml --key-file "$T/r.key"
claim 'which only an admin can acknowledge'
fails 2 PK-USE-001 wal acknowledge prod/db --config first.yaml && says -- '--reason'
claim 'with a reason'
pk wal acknowledge prod/db --reason 'disk lost in March' --config first.yaml && grep -q 'timeline 1, 0/400000 to 0/500000' "$T/out"
claim 'it is said in the log'
pk wal verify prod/db --config first.yaml && grep -q 'Missing on timeline 1: 0/400000 to 0/500000; acknowledged: disk lost in March' "$T/out"
claim 'after that it is shown, and no failure'
fails 2 PK-USE-001 wal acknowledge prod/db --reason again --config first.yaml && says 'no gap that is not known'
claim 'and acknowledged once'
fails 1 PK-WAL-002 wal get prod/db "$(name 1 4)" "$T/got" --config first.yaml
claim 'from then on it is the end of the WAL for a recovery'
reads "$T/a.key" "$A" check ''
pk ledger list --config first.yaml -r main && grep -q 'wal-gap' "$T/out" && pk ledger verify --config first.yaml -r main
claim 'the log lists it, and holds'
rm "$A/wal/$S/00000001/$(name 1 6)"
fails 4 PK-VER-001 wal verify prod/db --config first.yaml && says 'has 1 gap'
claim 'another gap is a failure as before'
pk wal acknowledge prod/db "$(name 1 6)" --reason 'that one too' --config first.yaml && pk wal verify prod/db --config first.yaml
claim 'and can be named by its segment'

# ---- histories
printf '1\t0/300000\tno reason\n' >"$W/00000002.history" && pk wal push prod/db "$W/00000002.history" --config first.yaml
segment "$W/$(name 2 3)" 2 3 && pk wal push prod/db "$W/$(name 2 3)" --config first.yaml && pk wal verify prod/db --config first.yaml
claim 'a timeline joins'
fails 1 PK-WAL-002 wal get prod/db 00000003.history "$T/got" --config first.yaml
claim 'the next one was never stored'
mv "$A/wal/$S/00000002/00000002.history" "$T/kept.history"
pk wal push prod/db "$W/00000002.history" --config first.yaml && pk wal verify prod/db --level decode --config first.yaml &&
  rm "$A/wal/$S/00000002/00000002.history" && fails 200 PK-REP-004 wal get prod/db 00000002.history "$T/got" --config first.yaml
claim 'a history that is lost is not absent either: the server would follow another branch'
mv "$T/kept.history" "$A/wal/$S/00000002/00000002.history"
flip "$A/wal/$S/00000002/00000002.history" 300
fails 4 PK-VER-001 wal verify prod/db --config first.yaml && grep -q 'The history of timeline 2 is damaged' "$T/out" && grep -q '^ *1 ' "$T/out"
claim 'a damaged history is told, and the rest is judged all the same'
finish
