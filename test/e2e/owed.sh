#!/bin/bash
# Jobs whose log went out of reach: a backup that finds it so, a restore and a verification on whose way it dies. Their receipts wait
# and enter the log with the next job. The server is real and really killed.
. "${SOURCE_ROOT:?the project}/test/e2e/lib/tap.sh"
. "$SOURCE_ROOT/test/e2e/lib/s3.sh"
s3_needed "${S3_KIND:-versitygw}"
s3_login
export XDG_CACHE_HOME=$T/cache
s3 mb box
configuration() {
  cat <<YAML
version: 1
platform: test
secrets: { m: { file: $T/m.key } }
repositories:
  main: { url: 's3://box/r', s3: { endpoint: '$S3_ENDPOINT', timeout: 3s${1:+, bandwidth: $1} }, encrypt: { key: m, kind: key_file } }
surfaces:
  data: { kind: files, class: truth, paths: [$T/src] }
environments:
  lab: { repository: main }
YAML
}
mkdir -p "$T/src"
for i in 1 2 3 4; do head -c 12000000 /dev/urandom >"$T/src/random$i"; done
configuration >proofkeep.yaml
pk init -r main --key-file "$T/m.key" && pk backup lab/data || { claim 'a first backup'; finish; }
owed() { find "$T/cache/proofkeep/owed" -name '*.json' 2>/dev/null | sort; }
entries() { pk ledger export --to "$T/log.$1" >/dev/null && python3 - "$T/log.$1" <<'PY'
import base64, json, pathlib, sys
for f in sorted(p for p in pathlib.Path(sys.argv[1]).rglob("*") if p.is_file()):
    try:
        s = json.loads(base64.b64decode(json.loads(f.read_bytes())["payload"]))
    except (ValueError, KeyError, TypeError):
        continue
    p = s.get("predicate", {})
    print(s["predicateType"].split("/")[-2], p.get("status", p.get("result", p.get("succeeded", ""))), p.get("notes", "")[:60])
PY
}

# ---- out of reach from the beginning
down
fails 7 PK-NET-002 backup lab/data && [ "$(owed | wc -l)" = 1 ] && [ "$(stat -c %a "$(owed)")" = 600 ]
claim 'a backup that finds its repository out of reach ends with 7, and leaves the receipt of its failure'
up
pk doctor
cat "$T/err" >>"$T/out"
grep -q '1 statement of jobs that found its log out of reach' "$T/out"
claim 'doctor says that it waits'
echo more >>"$T/src/text"
pk backup lab/data && says '1 statement of earlier jobs, which found the log out of reach, is in it now' && [ "$(owed | wc -l)" = 0 ]
claim 'the next backup puts it into the log'
pk ledger verify && entries 1 >"$T/entries" && [ "$(grep -c 'backup-receipt failure PK-NET-002' "$T/entries")" = 1 ]
claim 'where it stands once, as a failure with its reason, and the log is whole'

# ---- on the way
configuration 2MiB >proofkeep.yaml
rm -rf "$T/cache/proofkeep/objects"
"$P" restore lab/data --into "$T/back" >"$T/out" 2>"$T/err" &
job=$!
begun() { [ "$(du -sb "$T"/back.* 2>/dev/null | awk '{ n += $1 } END { print n + 0 }')" -gt 1000000 ]; }
await 60 begun
down
wait "$job"
[ $? = 7 ] && [ ! -e "$T/back" ] && [ "$(owed | wc -l)" = 1 ] && grep -q 'kept in the cache folder, and the next job puts it into the log' "$T/err"
claim 'a restore whose repository dies on the way ends with 7, leaves nothing, and its record waits'
cp "$(owed)" "$T/kept"
up
configuration >proofkeep.yaml
python3 - "$(owed)" <<'PY'
import base64, json, sys
d = json.load(open(sys.argv[1]))
p = d["envelope"]["payload"]
text = base64.b64decode(p).replace(b"false", b"true").replace(b"failure", b"success").replace(b"FAILED", b"PASSED")
d["envelope"]["payload"] = base64.b64encode(text).decode()
json.dump(d, open(sys.argv[1], "w"))
PY
! cmp -s "$(owed)" "$T/kept" && pk backup lab/data && says 'a statement that was owed to the log is refused' && [ "$(owed | wc -l)" = 0 ]
claim 'one that was altered meanwhile is refused, and put aside'
folder=$(dirname "$(find "$T/cache/proofkeep/owed" -name '*.refused')")
echo '{"v":1,"statement":{"predicateType":"https://proofkeep.dev/backup-receipt/v1","predicate":{"status":"success"}}}' >"$folder/00000000000000000001-aa.json"
pk backup lab/data && says 'not signed, and not the receipt of a failure' && [ "$(owed | wc -l)" = 0 ]
claim 'so is one that says without a signature that a backup went well'
s3 get box "$(s3 ls box | awk '$1 ~ /log\/[0-9]+$/ { print $1 }' | sort | tail -n 1)" >"$T/entry" && python3 - "$T/kept" "$T/entry" >"$folder/00000000000000000001-ab.json" <<'PY'
import json, sys
json.dump({"v": 1, "repository": json.load(open(sys.argv[1]))["repository"], "envelope": json.load(open(sys.argv[2]))}, sys.stdout)
PY
pk backup lab/data && says 'it is an entry of a log already' && [ "$(owed | wc -l)" = 0 ]
claim 'and an entry of the log, which its own key has signed, is not taken again'
cp "$T/kept" "$folder/00000000000000000002-bb.json"
pk verify lab/data --level checksum && says '1 statement of earlier jobs' && entries 2 >"$T/entries" && [ "$(grep -c '^restore' "$T/entries")" = 1 ]
claim 'as it was kept, it enters the log with a verification'
finish
