#!/bin/bash
# The local fallback: backups while the primary is out of reach, and their way home. The primary is a bucket of a real server that
# is really killed; the judges are diff, the receipts and the independent look at the folders.
. "${SOURCE_ROOT:?the project}/test/e2e/lib/tap.sh"
. "$SOURCE_ROOT/test/e2e/lib/s3.sh"
bytes() { find "$1" -path '*/packs/*' -type f -printf '%s\n' | awk '{ n += $1 } END { print n + 0 }'; }
field() { python3 -c '
import json, sys
rows = [json.loads(l) for l in open(sys.argv[1])]
print(eval(sys.argv[2]))' "$T/out" "$1"; }
ids() { "$P" list "$@" --json 2>/dev/null | python3 -c 'import json, sys; print(*[p["id"] for p in json.load(sys.stdin)["points"]])'; }

s3_needed "${S3_KIND:-versitygw}"
s3_login
s3 mb prime
U="s3://prime/r?endpoint=$S3_ENDPOINT" F=$T/fallback
# configuration MAIN-KEY FALLBACK-KEY [BANDWIDTH]
configuration() {
  cat <<YAML
version: 1
platform: test
secrets:
  m: { file: $1 }
  f: { file: $2 }
repositories:
  main: { url: 's3://prime/r', s3: { endpoint: '$S3_ENDPOINT'${3:+, bandwidth: $3} }, encrypt: { key: m, kind: key_file }, fallback: local }
  local: { url: $F, encrypt: { key: f, kind: key_file } }
surfaces:
  data: { kind: files, class: truth, paths: [$T/src] }
  big: { kind: files, class: truth, paths: [$T/large] }
environments:
  lab: { repository: main, surfaces: [data, big], policy: { retention: { keep: { last: 1 } } } }
YAML
}
mkdir -p "$T/src" "$T/large"
head -c 5000000 /dev/urandom >"$T/src/random"
seq 1 100000 >"$T/src/text"
head -c 150000000 /dev/urandom >"$T/large/x"
(umask 077 && configuration "$T/m.key" "$T/f.key" >admin.yaml)
pk init -r main --key-file "$T/m.key" --config admin.yaml && pk backup lab/data --config admin.yaml && says 'its fallback local could not be used'
claim 'a fallback that is not there is warned of while the primary can be reached'
pk init -r local --key-file "$T/f.key" --copy-of main --config admin.yaml
claim 'a fallback is made as a copy of its primary'
pk key add -r main --config admin.yaml --role writer --key-file-out "$T/m.writer" && pk key add -r local --config admin.yaml --role writer --key-file-out "$T/f.writer"
(umask 077 && configuration "$T/m.writer" "$T/f.writer" >proofkeep.yaml)
pk backup lab/data --json && [ "$(field '"fallback" in rows[-1]["surfaces"][0]')" = False ] && [ ! -s "$T/err" ] && [ "$(bytes "$F")" = 0 ]
claim 'while the primary can be reached its fallback is not written, and nothing is said of it'
(umask 077 && sed "s|^  big: .*|  big: { kind: search, class: truth, cluster: { url: 'http://127.0.0.1:1' } }|" proofkeep.yaml >away.yaml)
fails 7 PK-NET-002 backup lab/big --config away.yaml && says 'FAILED  search big: ' && ! says 'is out of reach' && [ "$(bytes "$F")" = 0 ]
claim 'nor when it is the surface that is out of reach'

# ---- out of reach
down
echo one >>"$T/src/text"
pk backup lab/data --json
[ $? = 3 ] && grep -q '"surface":"main".*it is out of reach, and backups go to its fallback local: .*Failed to connect' "$T/out"
claim 'when it cannot be reached, the backup goes to the fallback, is loud of it, and ends with 3'
[ "$(field 'rows[-1]["surfaces"][0]["status"]')" = ok ] && [ "$(field 'rows[-1]["surfaces"][0]["fallback"]["repository"]')" = local ] && [ "$(field 'rows[-1]["surfaces"][0]["fallback"]["of"]')" = main ]
claim 'its result says where it went and in the place of what'
[ "$(field '[r["receipt"]["fallback"]["of"] + " " + r["receipt"]["fallback"]["code"] for r in rows if r["type"] == "receipt"][0]')" = 'main PK-NET-002' ]
claim 'so does the receipt, with the reason'
one=$(field 'rows[-1]["surfaces"][0]["backup_id"]')
cp -a "$T/src" "$T/was1"
sleep 1
echo two >>"$T/src/text"
fails 3 PK-CPY-003 backup lab/data && says 'main: it is out of reach, and backups go to its fallback local' && grep -q 'OK, IN THE FALLBACK local' "$T/out" "$T/err"
claim 'and the next one'
two=$(ids -r local --config admin.yaml | cut -d' ' -f2)
cp -a "$T/src" "$T/was2"
pk status --config admin.yaml
cat "$T/err" >>"$T/out"
grep -q 'main: 2 recovery points in its fallback local wait to be forwarded, the oldest stored ' "$T/out"
claim 'status says how many wait, and since when, though the primary is out of reach'
pk restore lab/data@latest -r local --config admin.yaml --into "$T/back" && diff -r "$T/src" "$T/back"
claim 'the newest state can be restored from the fallback'
pk verify --all -r local --config admin.yaml
claim 'and the fallback verifies'
pk prune lab -r local --config admin.yaml --dry-run && grep -q 'waits to be forwarded to main' "$T/out" && pk prune lab -r local --config admin.yaml && [ "$(ids -r local --config admin.yaml | wc -w)" = 2 ]
claim 'retention does not take what waits'
mv "$F" "$F.away"
fails 7 PK-NET-002 backup lab/data && says 'state: its fallback local cannot be used either: .*there is no folder'
claim 'without the fallback it is the failure that it always was'
mv "$F.away" "$F"

# ---- what is no reason
sed 's/, fallback: local//' proofkeep.yaml >plain.yaml && chmod 600 plain.yaml
n=$(bytes "$F")
fails 7 PK-NET-002 backup lab/data --config plain.yaml && [ "$(bytes "$F")" = "$n" ]
claim 'without one in the configuration nothing goes anywhere'
up
(umask 077 && configuration "$T/f.writer" "$T/f.writer" >wrong.yaml)
fails 12 PK-KEY-001 backup lab/data --config wrong.yaml && [ "$(bytes "$F")" = "$n" ]
claim 'a wrong key of the primary is no reason to use the fallback'
AWS_SECRET_ACCESS_KEY=wrong fails 7 PK-S3-001 backup lab/data && [ "$(bytes "$F")" = "$n" ]
claim 'nor are credentials that it does not accept'

# ---- the way home
sleep 1
echo three >>"$T/src/text"
pk backup lab/data && says 'main: 2 recovery points wait in local for .*this key of it may not read; forward with one that does: proofkeep copy --forward -r main'
claim 'a client that only writes says that somebody else must forward'
fails 6 PK-POL-003 status --config admin.yaml --check && says 'main: 2 of its recovery points wait in local'
claim 'and status --check fails until somebody does'
pk status --config admin.yaml --json && [ "$(field 'rows[0]["fallbacks"][0]["waiting_points"], rows[0]["fallbacks"][0]["waiting_s"] > 0' 2>/dev/null || python3 -c '
import json, sys
d = json.load(open(sys.argv[1]))["fallbacks"][0]
print((d["waiting_points"], d["waiting_s"] > 0))' "$T/out")" = '(2, True)' ]
claim 'as JSON too'
pk status --config admin.yaml --metrics && grep -q '^proofkeep_fallback_waiting_points{repo="main",copy="local"} 2$' "$T/out"
claim 'and as a metric'
fails 2 PK-USE-001 copy --forward --all --to local --config admin.yaml
claim 'forwarding takes no addresses'
fails 5 PK-KEY-002 copy --forward -r main && says 'needs a restore or admin key'
claim 'nor is it for keys that only write'
pk copy --forward --config admin.yaml --dry-run && [ "$(grep -c 'would be copied, ' "$T/out")" = 2 ] && [ "$(ids -r main --config admin.yaml | wc -w)" = 3 ]
claim 'a dry run says what would be forwarded'
pk key add -r main --config admin.yaml --role writer --key-file-out "$T/m.forward" && pk key add -r local --config admin.yaml --role restore --key-file-out "$T/f.forward"
pk copy --forward -r main --key-file "$T/m.forward" --from-key-file "$T/f.forward" --json && [ "$(result copied)" = 2 ] && [ "$(result behind)" = 0 ]
claim 'a writer key of the primary and a restore key of the fallback forward'
[ "$(field 'sorted(set((r["receipt"]["fallback"]["of"], "copy" in r["receipt"]) for r in rows if r["type"] == "receipt"))')" = "[('main', True)]" ]
claim 'their receipts say that they were first stored elsewhere, and why'
entries=$(find "$T/server/data/prime/r/log" -type f | wc -l)
pk copy --forward --config admin.yaml --json && [ "$(result copied)" = 0 ] && [ "$(find "$T/server/data/prime/r/log" -type f | wc -l)" = "$entries" ]
claim 'once more forwards nothing and leaves no entry'
[ "$(ids -r main lab/data --config admin.yaml | tr ' ' '\n' | grep -c -e "^$one\$" -e "^$two\$")" = 2 ]
claim 'they are there under their own names'
pk show "lab/data@$one" -r main --config admin.yaml && grep -q 'whose signature by [0-9a-f]\{16\} holds' "$T/out" && grep -q '^fallback   .*main was out of reach' "$T/out"
claim 'show says so, and checks the receipt that the client signed'
pk restore "lab/data@$one" --config admin.yaml --into "$T/b1" && diff -r "$T/was1" "$T/b1" && pk restore "lab/data@$two" --config admin.yaml --into "$T/b2" && diff -r "$T/was2" "$T/b2"
claim 'they restore to what was backed up then'
pk restore lab/data@latest --config admin.yaml --into "$T/b3" && diff -r "$T/src" "$T/b3"
claim 'the latest is the newest that was taken, not the last that came'
pk status --config admin.yaml --check; ! says 'wait in local'
claim 'nothing waits any more'
pk verify --all -r local --config admin.yaml && pk prune lab -r local --config admin.yaml && [ "$(ids -r local --config admin.yaml | wc -w)" = 1 ]
claim 'and the fallback may be pruned like any other'

pk doctor --config admin.yaml --json
python3 - "$T/out" <<'PY'
import json, sys
f = [x for x in json.load(open(sys.argv[1]))["findings"] if x["check"] == "fallback"]
assert [(x["level"], x["text"]) for x in f] == [("fact", "it opens with an admin key; nothing waits to be forwarded to main")], f
PY
claim 'doctor looks at the fallback'

# ---- by itself
down
echo four >>"$T/src/text"
fails 3 PK-CPY-003 backup lab/data
four=$(ids -r local --config admin.yaml | awk '{ print $NF }')
up
sleep 1
echo five >>"$T/src/text"
pk backup lab/data --config admin.yaml && says 'main: 1 recovery point waits in local for .*: 1 forwarded'
claim 'the next backup that reaches the primary, with keys that may, forwards first'
[ "$(ids -r main lab/data --config admin.yaml | awk '{ print $(NF - 1) }')" = "$four" ]
claim 'so that the log has them in the order in which they were taken'

# ---- the primary dies in the middle
(umask 077 && configuration "$T/m.key" "$T/f.key" 8MiB >slow.yaml)
"$P" backup lab/big --config slow.yaml --json >"$T/out" 2>"$T/err" </dev/null &
pid=$!
for _ in $(seq 1 600); do
  [ "$(bytes "$T/server/data/prime/r")" -gt 30000000 ] && break
  kill -0 $pid 2>/dev/null || break
  sleep 0.05
done
kill -0 $pid 2>/dev/null
claim 'a long backup runs'
for p in "${S3_PIDS[@]}"; do kill -KILL "$p"; done
wait $pid
status=$?
down
[ $status = 3 ] && grep -q PK-CPY-003 "$T/out" && [ "$(field 'rows[-1]["surfaces"][0]["fallback"]["repository"]')" = local ]
claim 'when the server is killed in the middle of it, the fallback takes all of it'
pk restore lab/big@latest -r local --config admin.yaml --into "$T/b4" && diff -r "$T/large" "$T/b4" && pk verify --all -r local --config admin.yaml --level checksum
claim 'whole'

# ---- forwarding is killed, and repeated
up
"$P" copy --forward --config slow.yaml >"$T/out" 2>"$T/err" </dev/null &
pid=$!
before=$(bytes "$T/server/data/prime/r")
for _ in $(seq 1 600); do
  [ "$(bytes "$T/server/data/prime/r")" -gt $((before + 20000000)) ] && break
  kill -0 $pid 2>/dev/null || break
  sleep 0.05
done
kill -KILL $pid
wait $pid 2>/dev/null
[ "$(ids -r main lab/big --config admin.yaml | wc -w)" = 0 ]
claim 'forwarding that is killed leaves no half point'
pk copy --forward --config admin.yaml --json && [ "$(result copied)" = 1 ] && pk copy --forward --config admin.yaml --json && [ "$(result copied)" = 0 ]
claim 'and goes on, once'
pk restore lab/big@latest --config admin.yaml --into "$T/b5" && diff -r "$T/large" "$T/b5" && pk verify --all -r main --config admin.yaml --level checksum
claim 'to a whole point in the primary'
finish
