#!/bin/bash
# Restores that take any healthy copy, chunk by chunk: lost and damaged packs, copies that are damaged in different places, and a
# server that is really killed while a restore runs. The judge is diff.
. "${SOURCE_ROOT:?the project}/test/e2e/lib/tap.sh"
. "$SOURCE_ROOT/test/harness/s3_server.sh"
trap 's3_stop' EXIT
A=$T/a B=$T/b C=$T/c
bytes() { find "$1" -path '*/packs/*' -type f -printf '%s\n' | awk '{ n += $1 } END { print n + 0 }'; }
receipt_of() { python3 -c '
import json, sys
print(eval(sys.argv[2], {"r": json.loads([l for l in open(sys.argv[1]) if "\"result\"" in l][-1])}))' "$T/out" "$1"; }
# newest restore entry of a log: its predicate
restored() { python3 - "$1" "$2" <<'PY'
import base64, glob, json, sys
newest = None
for p in sorted(glob.glob(sys.argv[1] + "/log/*")):
    s = json.loads(base64.b64decode(json.load(open(p))["payload"]))
    if s["predicateType"].endswith("/restore/v1"):
        newest = s["predicate"]
print(eval(sys.argv[2], {"p": newest}))
PY
}
cat >proofkeep.yaml <<YAML
version: 1
platform: test
secrets:
  a: { file: $T/a.key }
  b: { file: $T/b.key }
  c: { file: $T/c.key }
repositories:
  main: { url: $A, encrypt: { key: a, kind: key_file }, copies: [replica, third] }
  replica: { url: $B, encrypt: { key: b, kind: key_file } }
  third: { url: $C, encrypt: { key: c, kind: key_file } }
surfaces:
  data: { kind: files, class: truth, paths: [$T/src] }
environments:
  lab: { repository: main }
YAML
chmod 600 proofkeep.yaml
mkdir -p "$T/src"
head -c 20000000 /dev/urandom >"$T/src/one"
seq 1 50000 >"$T/src/text"
pk init -r main && pk init -r replica --copy-of main && pk init -r third --copy-of main && pk backup lab/data && pk copy --all -r main --to replica
claim 'there are a repository and its copy'
find "$A/packs" "$B/packs" -type f >"$T/first"
cp -a "$T/src" "$T/was"
head -c 20000000 /dev/urandom >"$T/src/two"
pk backup lab/data && pk copy --all -r main --to replica && pk restore lab/data@latest --into "$T/r0" --json && diff -r "$T/src" "$T/r0" && [ "$(receipt_of 'r["copies"], r["read_from"]')" = '([], None)' ]
claim 'while all is well nothing comes from a copy, and nothing is said of one'
for x in a b; do cp -a "$T/$x" "$T/$x.whole"; done
again() { # as they were, but for what the logs say
  for x in a b; do
    find "$T/$x/packs" -type f -delete
    cp -a "$T/$x.whole/packs" "$T/$x/"
  done
}
harm() { # FILE…: a bit in the middle
  local p
  for p in "$@"; do flip "$p" $(($(stat -c %s "$p") / 2)) || return 1; done
}

# ---- damage: a frame of each of two packs, of some forty and six hundred chunks
mapfile -t older < <(grep "^$A/packs/d" "$T/first")
harm "${older[@]}"
pk restore lab/data@latest --into "$T/r1" --json && diff -r "$T/src" "$T/r1" && [ "$(receipt_of 'r["copies"][0]["label"], 0 < r["copies"][0]["chunks"] < 100, r["read_from"]')" = "('replica', True, None)" ]
claim 'damaged chunks, and only they, come from the first copy that has them'
grep -q 'chunks\? (.*) came from replica, as the repository itself could not give them whole.*"type":"warning"' "$T/out"
claim 'which is said'
[ "$(restored "$A" 'p["copies"][0]["label"], p["copies"][0]["chunks"] > 0, p["result"] if "result" in p else p.get("status")' | cut -d, -f1,2)" = "('replica', True" ]
claim 'and stands in the receipt of the restore'
fails 4 PK-VER-001 verify lab/data@latest -r main --level checksum
claim 'a verification of the repository is not helped by its copy'
rm "${older[@]}"
pk restore lab/data@latest --into "$T/r2" && diff -r "$T/src" "$T/r2" && says 'came from replica'
claim 'packs that are gone do not matter either'
mapfile -t newer < <(find "$B/packs/d" -type f | grep -vxFf "$T/first")
rm "${newer[@]}"
pk restore lab/data@latest --into "$T/r3" && diff -r "$T/src" "$T/r3"
claim 'two copies that have lost different packs make one whole'
pk restore lab/data@latest --from replica --into "$T/r4" --json && diff -r "$T/src" "$T/r4" && [ "$(receipt_of 'r["copies"][0]["label"], r["read_from"]')" = "('main', 'replica')" ]
claim 'either way round'
pk export lab/data@latest --to "$T/x1" && (cd "$T/x1" && sha256sum --quiet -c CHECKSUMS) && says 'came from replica'
claim 'an export is helped as well'
mapfile -t both < <(find "$A/packs/d" -type f)
harm "${both[@]}"
status=0
pk restore lab/data@latest --into "$T/r5" || status=$?
[ $status = 4 ] && says 'state: .*no copy has it whole either: replica: .*third: ' && [ ! -e "$T/r5" ]
claim 'a chunk that no copy has whole is an error that says what each of them had, and nothing is put in place'
again
find "$A/packs/m" -type f -delete
pk restore lab/data@latest --into "$T/r6" && diff -r "$T/src" "$T/r6" && pk show lab/data@latest && pk diff "lab/data@latest" "lab/data@latest"
claim 'metadata that is lost comes from the copy too, for a restore, show and diff'
again

# ---- out of reach
mv "$A" "$A.away"
pk restore lab/data@latest --into "$T/r7" --json && diff -r "$T/src" "$T/r7" && [ "$(receipt_of 'r["read_from"]')" = replica ] && grep -q 'replica.*is read in the place of the repository, which is out of reach; its newest recovery point is of 20.*may have newer ones' "$T/out"
claim 'when the repository is not there at all, the copy with the newest point is read in its place, with a warning'
[ "$(restored "$B" 'p["read_from"]')" = replica ]
claim 'the receipt of that restore is in the log of the copy'
first=$("$P" list -r replica lab/data --json 2>/dev/null | python3 -c 'import json, sys; print(json.load(sys.stdin)["points"][0]["id"])')
pk restore "lab/data@$first" --into "$T/r8" && diff -r "$T/was" "$T/r8"
claim 'older points under their own names'
fails 10 PK-REP-001 backup lab/data
claim 'but nothing is written there'
mv "$B" "$B.away"
pk init -r "$T/dummy" --key-file "$T/d.key" --config none.yaml
fails 2 PK-USE-002 restore lab/data@latest --into "$T/r9" && says 'third'
claim 'a copy that has no point says so'
mv "$C" "$C.away"
fails 10 PK-REP-001 restore lab/data@latest --into "$T/r9" && says 'state: none of its copies can be used either: replica: .*third: '
claim 'when no copy is there, that is the failure'
for x in A B C; do mv "${!x}.away" "${!x}"; done
fails 2 PK-USE-001 restore lab/data@latest --from elsewhere --into "$T/r9" && says "'elsewhere' is no copy of the repository main"
claim '--from wants a copy that the configuration names'
sed 's/b: { file: [^ ]*/b: { file: '"${T//\//\\/}"'\/a.key/' proofkeep.yaml >wrong.yaml && chmod 600 wrong.yaml
rm "${older[@]}"
fails 4 PK-REP-004 restore lab/data@latest --into "$T/r9" --config wrong.yaml && says 'replica: .*opening the repository: none of the repository'
claim 'a copy that does not open helps nobody, and that is said'
again

# ---- a server that dies while a restore runs
KIND=${S3_KIND:-versitygw}
s3_start "$KIND" "$T/server"
case $? in
0)
  unset AWS_SESSION_TOKEN AWS_PROFILE AWS_REGION AWS_DEFAULT_REGION
  export AWS_EC2_METADATA_DISABLED=true no_proxy='*' AWS_ACCESS_KEY_ID=$S3_ACCESS AWS_SECRET_ACCESS_KEY=$S3_SECRET
  s3 mb prime
  sed "s#^  main: { url: $A,#  main: { url: 's3://prime/r', s3: { endpoint: '$S3_ENDPOINT', bandwidth: 8MiB },#; s#{ file: $T/a.key }#{ file: $T/s.key }#" proofkeep.yaml >s3.yaml && chmod 600 s3.yaml
  head -c 60000000 /dev/urandom >"$T/src/three"
  rm -rf "$B" && rm "$T/b.key"
  pk init -r main --config s3.yaml && pk init -r replica --copy-of main --config s3.yaml && pk backup lab/data --config s3.yaml && pk copy --all -r main --to replica --config s3.yaml
  claim 'there are a repository on a server and a copy in a folder'
  "$P" restore lab/data@latest --into "$T/r10" --config s3.yaml --json >"$T/out" 2>"$T/err" </dev/null &
  pid=$!
  for _ in $(seq 1 400); do
    [ "$(du -sb "$T"/*r10* 2>/dev/null | awk '{ n += $1 } END { print n + 0 }')" -gt 10000000 ] && break
    kill -0 $pid 2>/dev/null || break
    sleep 0.05
  done
  kill -0 $pid 2>/dev/null
  claim 'a restore from it runs'
  for p in "${S3_PIDS[@]}"; do kill -KILL "$p"; done
  wait $pid
  status=$?
  s3_stop
  [ $status = 0 ] && diff -r "$T/src" "$T/r10" && [ "$(receipt_of 'r["copies"][0]["label"], r["copies"][0]["bytes"] > 1000000, r["read_from"]')" = "('replica', True, None)" ]
  claim 'when the server is killed in the middle of it, the rest comes from the copy'
  pk restore lab/data@latest --into "$T/r11" --config s3.yaml && diff -r "$T/src" "$T/r11" && says 'replica: it is read in the place of the repository, which is out of reach'
  claim 'and the next one comes from it altogether'
  ;;
77) skip 'a server that dies' "$S3_WHY" ;;
*) false; claim "a server: $S3_WHY" ;;
esac
finish
