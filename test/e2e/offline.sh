#!/bin/bash
# Copies on media that are attached at times: absent without failure, read again when that is due, and a medium that is rotten, rolled
# back or another is found. Attaching is a rename; time is faketime's business of no one: the intervals are short.
. "${SOURCE_ROOT:?the project}/test/e2e/lib/tap.sh"
A=$T/a B=$T/medium
configuration() { # REREAD
  cat <<YAML
version: 1
platform: test
secrets:
  a: { file: $T/a.key }
  b: { file: $T/b.key }
repositories:
  main: { url: $A, encrypt: { key: a, kind: key_file }, copies: [tape] }
  tape: { url: $B, encrypt: { key: b, kind: key_file }, offline: true, reread: $1 }
surfaces:
  data: { kind: files, class: truth, paths: [$T/src] }
environments:
  lab: { repository: main, policy: { rpo: 1h } }
YAML
}
status() { pk status --json; cp "$T/out" "$T/status"; python3 -c '
import json, sys
d = json.load(open(sys.argv[1]))
print(eval(sys.argv[2], {"d": d, "c": d["repositories"][0]["copies"]}))' "$T/status" "$1"; }
attach() { mv "$B.shelf" "$B"; }
detach() { mv "$B" "$B.shelf"; }
(umask 077 && configuration 90d >proofkeep.yaml)
mkdir -p "$T/src"
head -c 8000000 /dev/urandom >"$T/src/one"
pk init -r main && pk backup lab/data && pk verify --all -r main
pk status && says 'main: the offline copy tape was never written' || grep -q 'main: the offline copy tape was never written' "$T/out"
claim 'a medium that was never written is shown'
fails 6 PK-POL-003 status --check && says 'main: the offline copy tape was never written'
claim 'and fails a check'
pk init -r tape --copy-of main && pk copy --all -r main --to tape --reread --json && [ "$(result reread.result)" = PASSED ] && [ "$(result reread.objects)" -gt 3 ] && [ "$(result copied)" = 1 ]
claim 'it is written, and read again'
pk status --check
claim 'then a check passes'
[ "$(status 'c[0]["offline"], c[0]["behind_points"], c[0]["reread"]["overdue"], c[0]["reread"]["last"] is not None')" = '(True, 0, False, True)' ]
claim 'status says when that was, and when it is due again'

# ---- away
detach
head -c 3000000 /dev/urandom >"$T/src/two"
pk backup lab/data && pk status --check --json
claim 'that the medium is on its shelf fails nothing'
[ "$(status 'c[0]["behind_points"]')" = 1 ]
claim 'how far it is behind is known all the same'
pk copy --all -r main --to tape --json && [ "$(result absent)" = True ] && [ "$(result copied)" = 0 ] && grep -q 'it is offline, and not attached' "$T/out"
claim 'copying to it does nothing, says so, and is no failure'
pk doctor --json
python3 - "$T/out" <<'PY'
import json, sys
f = [x for x in json.load(open(sys.argv[1]))["findings"] if x["check"] == "copy"]
assert [(x["level"], x["subject"], x["text"]) for x in f] == [("fact", "tape", "it is offline, and not attached")], f
PY
claim 'nor is it a problem for doctor'
pk restore lab/data@latest --into "$T/r0" && diff -r "$T/src" "$T/r0"
claim 'nor for a restore'
attach
pk copy --all -r main --to tape --json && [ "$(result copied)" = 1 ] && [ "$(result absent)" = False ] && [ "$(result reread)" = None ]
claim 'when it is attached, what is new goes there'

# ---- due
(umask 077 && configuration 2s >proofkeep.yaml)
sleep 3
fails 6 PK-POL-003 status --check && says 'main: the offline copy tape is overdue for reading all of it again'
claim 'when its re-reading is overdue, a check fails'
"$P" status --metrics 2>/dev/null | grep -q '^proofkeep_copy_reread_due_timestamp_seconds{'
claim 'and alerts can know before'
pk copy --all -r main --to tape && says 'all of it is to be read again by now: proofkeep copy --reread --to tape'
claim 'copying reminds of it'
n=$(find "$A/log" -type f | wc -l)
pk copy -r main --reread --to tape --json && [ "$(result reread.result)" = PASSED ] && [ "$(find "$A/log" -type f | wc -l)" = $((n + 1)) ]
claim 'reading again alone copies nothing, and stands in the log'
(umask 077 && configuration 90d >proofkeep.yaml)
pk status --check
claim 'and is what status goes by'
pk key add -r main --role restore --key-file-out "$T/a.restore" && pk key add -r tape --role writer --key-file-out "$T/b.writer"
pk copy -r main --key-file "$T/a.restore" --reread --to tape --to-key-file "$T/b.writer" --json && [ "$(result reread.result)" = PASSED ]
claim 'it takes a restore key of the source and a writer key of the medium'

# ---- rotten, rolled back, another
cp -a "$B" "$T/whole"
python3 - "$B" <<'PY'
import glob, os, sys
largest = max(glob.glob(sys.argv[1] + "/packs/d/*/*"), key=os.path.getsize)
os.chmod(largest, 0o600)
with open(largest, "r+b") as f:
    f.seek(os.path.getsize(largest) // 2); b = f.read(1); f.seek(-1, 1); f.write(bytes([b[0] ^ 1]))
PY
fails 4 PK-CPY-004 copy -r main --reread --to tape && says 'tape: 1 object.* not what it was.*; the first: packs/d/'
claim 'a rotten medium is found'
[ "$(status 'c[0]["reread"]["failed"], c[0]["reread"]["overdue"], d["ok"]')" = '(True, True, False)' ]
claim 'and status knows it when it is on its shelf again'
rm -rf "$B" && cp -a "$T/whole" "$B"
pk copy -r main --reread --to tape && pk status --check
claim 'until it is whole again'
rm "$(find "$B/packs/d" -type f | head -1)"
fails 4 PK-CPY-004 copy -r main --reread --to tape
claim 'a pack that is gone is found'
rm -rf "$B" && mkdir "$T/other" && pk init -r "$T/other/r" --key-file "$T/b.key" --copy-of main --from-key-file "$T/a.key" && mv "$T/other/r" "$B"
fails 4 PK-CPY-004 copy --all -r main --to tape && says 'what is attached as tape is repository [0-9a-f]\{32\}, and the log knows [0-9a-f]\{32\} by that name' && says 'nothing was copied' && [ -z "$(find "$B/packs" -type f 2>/dev/null)" ]
claim 'another medium under its name is refused'
rm -rf "$B" && cp -a "$T/whole" "$B" && rm -rf "$T/cache"
rm "$B"/log/*"$(find "$B/log" -type f -printf '%f\n' | sort | tail -1)" 2>/dev/null
while [ "$(find "$B/log" -type f | wc -l)" -gt 2 ]; do rm "$B/log/$(find "$B/log" -type f -printf '%f\n' | sort | tail -1)"; done
rm -rf "$B/checkpoint" "$B/tile"
fails 4 PK-CPY-004 copy -r main --reread --to tape && says 'tape has not got 1 recovery point that the log says it had: it was rolled back, or is another'
claim 'a medium that was rolled back is found by what the log of the source knows'
finish
