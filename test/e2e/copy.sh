#!/bin/bash
# Copies: a second repository with keys of its own that takes what the first one has. The judges are diff, the independent
# reader of the formats, and the sizes of folders.
. "${SOURCE_ROOT:?the project}/test/e2e/lib/tap.sh"
. "$SOURCE_ROOT/test/harness/s3_server.sh"
trap 's3_stop' EXIT
A=$T/a B=$T/b
FROM=(-r "$A" --key-file "$T/a.key") TO=(--to "$B" --to-key-file "$T/b.key")
bytes() { find "$1" -path '*/packs/*' -type f -printf '%s\n' | awk '{ n += $1 } END { print n + 0 }'; }
points() { "$P" list "$@" --json 2>/dev/null | python3 -c 'import json, sys; print(len(json.load(sys.stdin)["points"]))'; }
id_of() { python3 -c 'import json, sys; print(json.load(open(sys.argv[1]))["id"])' "$1/format"; }

mkdir -p "$T/src/sub"
head -c 30000000 /dev/urandom >"$T/src/random"
seq 1 400000 >"$T/src/text"
for i in $(seq 1 200); do seq "$i" $((i + 300)) >"$T/src/sub/$i"; done
pk init -r "$A" --key-file "$T/a.key" --config none.yaml && pk backup "${FROM[@]}" --files "$T/src" --name data
claim 'there is a repository with a recovery point'
cp -a "$T/src" "$T/was"
sed -i 's/^200000$/changed/' "$T/src/text" && rm "$T/src/sub/7" && echo new >"$T/src/sub/new"
pk backup "${FROM[@]}" --files "$T/src" --name data && pk backup "${FROM[@]}" --files "$T/src/sub" --name other
claim 'and two more'

# ---- a repository that takes copies
pk init -r "$B" --key-file "$T/b.key" --copy-of "$A" --from-key-file "$T/a.key" && grep -q 'takes copies of' "$T/out" && [ ! -e proofkeep.yaml ]
claim 'init makes a repository that shares the content keys'
[ "$(id_of "$A")" != "$(id_of "$B")" ] && grep -q '"shared-content-keys"' "$B/format" && ! cmp -s "$T/a.key" "$T/b.key"
claim 'it has an id and a key of its own, and programs that do not know of copies refuse it'
fails 12 PK-KEY-001 list -r "$B" --key-file "$T/a.key"
claim "the source's key does not open it"
fails 5 PK-REP-002 init -r "$B" --key-file "$T/c.key" --copy-of "$A" --from-key-file "$T/a.key"
claim 'it is not made twice'
pk key add "${FROM[@]}" --role writer --key-file-out "$T/a.writer" && pk key add "${FROM[@]}" --role restore --key-file-out "$T/a.restore" &&
  pk key add "${FROM[@]}" --role prune --key-file-out "$T/a.prune"
pk key add -r "$B" --key-file "$T/b.key" --role writer --key-file-out "$T/b.writer" && pk key add -r "$B" --key-file "$T/b.key" --role restore --key-file-out "$T/b.restore"
claim 'both have keys of other roles'
fails 5 PK-KEY-002 init -r "$T/no" --key-file "$T/no.key" --copy-of "$A" --from-key-file "$T/a.prune" && says 'a prune key does not have' && [ ! -e "$T/no.key" ] && [ ! -e "$T/no/format" ]
claim 'a key without content keys makes none, and leaves nothing'
fails 2 PK-USE-001 init -r "$T/no" --key-file "$T/no.key" --from-key-file "$T/a.key" && says -- '--copy-of'
claim 'a key for nothing is a mistake'

# ---- what is refused
pk init -r "$T/foreign" --key-file "$T/f.key" --config none.yaml
fails 5 PK-CPY-001 copy --all "${FROM[@]}" --to "$T/foreign" --to-key-file "$T/f.key" && says 'does not share the content keys' && says 'init --repository DEST --copy-of' && [ "$(bytes "$T/foreign")" = 0 ]
claim 'a repository of other content keys takes nothing, and it is said how to make one that does'
fails 12 PK-KEY-001 copy --all "${FROM[@]}" --to "$B" --to-key-file "$T/a.key"
claim 'a wrong key of the destination is told'
fails 12 PK-KEY-001 copy --all -r "$A" --key-file "$T/b.key" "${TO[@]}"
claim 'and one of the source'
fails 5 PK-KEY-002 copy --all -r "$A" --key-file "$T/a.writer" "${TO[@]}" && says 'needs a restore or admin key'
claim 'a key that only writes does not copy'
fails 5 PK-KEY-002 copy --all "${FROM[@]}" --to "$B" --to-key-file "$T/b.restore" && says 'needs a writer or admin key'
claim 'a key that only reads takes no copies'
fails 2 PK-USE-001 copy --all "${FROM[@]}" --to "$A" --to-key-file "$T/a.key" && says 'one repository'
claim 'a repository is not copied into itself'
fails 2 PK-USE-001 copy --all "${FROM[@]}" && says -- '--to'
claim 'where to must be said'
fails 2 PK-USE-002 copy "${FROM[@]}" "${TO[@]}" local/nothing
claim 'a surface that is not there is told'
fails 10 PK-REP-001 copy --all "${FROM[@]}" --to "$T/nowhere" --to-key-file "$T/b.key"
claim 'a destination that is not there is told'
[ "$(bytes "$B")" = 0 ] && [ "$(points -r "$B" --key-file "$T/b.key")" = 0 ]
claim 'and none of it has left anything'

# ---- copying
pk copy --all "${FROM[@]}" "${TO[@]}" --dry-run && [ "$(grep -c 'would be copied, ' "$T/out")" = 3 ] && [ "$(bytes "$B")" = 0 ]
claim 'a dry run says what would be copied'
pk copy -r "$A" --key-file "$T/a.restore" --to "$B" --to-key-file "$T/b.writer" --json local/data && [ "$(result copied)" = 2 ] && [ "$(result behind)" = 1 ]
claim 'with a restore key of the source and a writer key of the destination, the points of a surface are copied'
python3 - "$T/out" <<'PY'
import json, sys
rows = [json.loads(l) for l in open(sys.argv[1])]
points = rows[-1]["points"]
assert [p["outcome"] for p in points] == ["copied"] * 2 and points[0]["source_seq"] < points[1]["source_seq"], points
assert points[0]["stored_bytes"] > 30_000_000 and points[1]["stored_bytes"] < 1_000_000, points
assert sum(r["type"] == "receipt" and "copy" in r["receipt"] for r in rows) == 2
PY
claim 'oldest first, of the second only what is new, and each with a receipt'
pk copy --all "${FROM[@]}" "${TO[@]}" --json && [ "$(result copied)" = 1 ] && [ "$(result there)" = 2 ] && [ "$(result behind)" = 0 ]
claim 'the rest follows'
n=$(bytes "$B") entries=$(find "$A/log" -type f | wc -l)
pk copy --all "${FROM[@]}" "${TO[@]}" --json && [ "$(result copied)" = 0 ] && [ "$(result read_bytes)" = 0 ] && [ "$(bytes "$B")" = "$n" ] && [ "$(find "$A/log" -type f | wc -l)" = "$entries" ]
claim 'once more moves nothing, and leaves no entry in any log'
[ "$n" -lt $(($(bytes "$A") + 2000000)) ]
claim 'the copy is as large as the source'
"$P" restore -r "$B" --key-file "$T/b.restore" local/data@latest --into "$T/back" >"$T/out" 2>"$T/err" </dev/null && diff -r "$T/src" "$T/back"
claim 'it restores to what was backed up'
first=$("$P" list -r "$A" --key-file "$T/a.key" local/data --json 2>/dev/null | python3 -c 'import json, sys; print(json.load(sys.stdin)["points"][0]["id"])')
pk restore -r "$B" --key-file "$T/b.key" "local/data@$first" --into "$T/back1" && diff -r "$T/was" "$T/back1"
claim 'the older point too, under its old name'
pk verify -r "$B" --key-file "$T/b.key" --all --level decode
claim 'it verifies by its own keys alone'

# ---- what is said of it
pk list -r "$B" --key-file "$T/b.key" && [ "$(grep -c "copy of $(id_of "$A" | cut -c1-8)" "$T/out")" = 3 ]
claim 'list says that a point is a copy, and of which repository'
pk show -r "$B" --key-file "$T/b.key" local/data@latest && grep -q "^copy of    repository $(id_of "$A"), log entry 2, " "$T/out" && grep -q 'whose signature by [0-9a-f]\{16\} holds' "$T/out"
claim 'show says of what entry, and that its signature holds'
"$P" show -r "$B" --key-file "$T/b.key" local/data@latest --source-receipt 2>"$T/err" >"$T/kept" && cmp "$T/kept" "$A/log/0000000000000002"
claim "the source's receipt is kept as it was signed"
fails 2 PK-USE-002 show "${FROM[@]}" local/data@latest --source-receipt && says 'is no copy'
claim 'what is no copy has none'
pk status "${FROM[@]}" && says "the copy $B has every recovery point"
claim "the source's status knows its copy"
pk backup "${FROM[@]}" --files "$T/src/sub" --name other && pk status "${FROM[@]}" && says "is 1 recovery point behind, for "
claim 'and how far it is behind'
"$P" status "${FROM[@]}" --metrics >"$T/out" 2>"$T/err" && grep -q "^proofkeep_copy_behind_points{repo=\"$(id_of "$A")\",copy=\"$(id_of "$B")\"} 1$" "$T/out" && grep -q '^proofkeep_copy_lag_seconds{' "$T/out"
claim 'as metrics too'
"$P" status "${FROM[@]}" --json 2>/dev/null | python3 -c '
import json, sys
c, = json.load(sys.stdin)["repositories"][0]["copies"]
assert c["behind_points"] == 1 and c["behind_s"] >= 0 and c["repository"] == sys.argv[1], c' "$(id_of "$B")"
claim 'and as JSON'
python=
for p in python3 /usr/bin/python3; do
  "$p" -c 'import cryptography, zstandard' 2>/dev/null && python=$p && break
done
if [ -n "$python" ]; then
  reader() { PYTHONDONTWRITEBYTECODE=1 "$python" "$SOURCE_ROOT/test/format/reader.py" --key "$T/b.key" "$B" "$@" >"$T/out" 2>"$T/err"; }
  seq=$("$P" list -r "$B" --key-file "$T/b.key" local/data --json 2>/dev/null | python3 -c 'import json, sys; print(json.load(sys.stdin)["points"][-1]["log_seq"])')
  pk export -r "$B" --key-file "$T/b.key" local/data@latest --to "$T/exported" && reader check && reader restore "$seq" "$T/read" && diff -r "$T/src" "$T/read"
  claim 'the independent reader restores from the copy, and finds the receipts of its source'
else
  skip 'the independent reader restores from the copy' 'python lacks cryptography or zstandard'
fi

# ---- its own life: forgetting, and copying back
pk copy --all "${FROM[@]}" "${TO[@]}" && pk copy --all -r "$B" --key-file "$T/b.key" --to "$A" --to-key-file "$T/a.key" --json && [ "$(result copied)" = 0 ] && [ "$(result there)" = 4 ]
claim 'copying back finds the originals'
cp -a "$A" "$T/lost" && rm -rf "$T/lost.key" && pk init -r "$T/new" --key-file "$T/new.key" --copy-of "$B" --from-key-file "$T/b.restore" &&
  pk copy --all -r "$B" --key-file "$T/b.restore" --to "$T/new" --to-key-file "$T/new.key" --json && [ "$(result copied)" = 4 ]
claim 'when the source is lost, its copy is the source of the next'
pk restore -r "$T/new" --key-file "$T/new.key" "local/data@$first" --into "$T/back2" && diff -r "$T/was" "$T/back2"
claim 'and that restores as well'
pk copy --all "${FROM[@]}" --to "$T/new" --to-key-file "$T/new.key" --json && [ "$(result there)" = 4 ]
claim 'by whatever way a point came, it is there'
slot=$("$P" key list -r "$B" --key-file "$T/b.key" --json 2>/dev/null | python3 -c '
import json, sys
for k in json.load(sys.stdin)["keys"]:
    if k["role"] == "admin":
        print(k["slots"][0]["object"].split("/")[1][:16])')
pk key rotate -r "$B" --key-file "$T/b.key" "$slot" --key-file-out "$T/b2.key" && fails 12 PK-KEY-001 list -r "$B" --key-file "$T/b.key" &&
  pk key recovery-kit -r "$B" --key-file "$T/b2.key" --role admin --kit-out "$T/kit" --allow-same-disk && pk list -r "$B" --recovery-kit "$T/kit"
claim 'its key is changed, and put on paper, like any other'
TO=(--to "$B" --to-key-file "$T/b2.key")

# ---- damage, and what goes wrong on the way
mkdir "$T/src2" && head -c 3000000 /dev/urandom >"$T/src2/x"
pk init -r "$T/h" --key-file "$T/h.key" --config none.yaml && pk backup -r "$T/h" --key-file "$T/h.key" --files "$T/src" --name harmed &&
  pk backup -r "$T/h" --key-file "$T/h.key" --files "$T/src2" --name fine
pk init -r "$T/h2" --key-file "$T/h2.key" --copy-of "$T/h" --from-key-file "$T/h.key"
flip "$(ls -S "$T/h"/packs/d/*/* | head -n 1)" 1000000
fails 3 PK-CPY-002 copy --all -r "$T/h" --key-file "$T/h.key" --to "$T/h2" --to-key-file "$T/h2.key" && says 'FAILED' && says 'frame [0-9]* does not open'
claim 'a point that is damaged in the source is not copied, and that is said'
[ "$(points -r "$T/h2" --key-file "$T/h2.key")" = 1 ] && pk verify --all -r "$T/h2" --key-file "$T/h2.key"
claim 'the other is, and the copy is whole'
fails 4 PK-REP-005 copy -r "$T/h" --key-file "$T/h.key" --to "$T/h2" --to-key-file "$T/h2.key" local/harmed
claim 'alone it is damage'
pk status -r "$T/h" --key-file "$T/h.key" && says 'is 1 recovery point behind'
claim "and the source's status goes on to say that it is missing"

head -c 400000000 /dev/urandom >"$T/src2/large"
pk backup "${FROM[@]}" --files "$T/src2" --name large
claim 'there is a large point'
"$P" copy --all "${FROM[@]}" "${TO[@]}" >"$T/out" 2>"$T/err" </dev/null &
pid=$!
resumable() { [ -n "$(ls "$B/sess" 2>/dev/null)" ]; }
halted $pid resumable && kill -KILL $pid
wait $pid 2>/dev/null
[ $? = 137 ] && n=$(bytes "$B") && pk copy --all "${FROM[@]}" "${TO[@]}" --json && [ "$(result copied)" = 1 ] && [ "$(result read_bytes)" -lt 350000000 ]
claim 'a copy that was killed goes on where it was'
pk restore -r "$B" --key-file "$T/b2.key" local/large@latest --into "$T/back3" && diff -r "$T/src2" "$T/back3" && pk verify --all -r "$B" --key-file "$T/b2.key" --level checksum
claim 'and comes to a whole copy'
rm -rf "$T/back" "$T/back3" "$T/h" "$T/h2" "$T/lost"

# ---- by the configuration, and in a bucket
cat >proofkeep.yaml <<YAML
version: 1
platform: test
secrets:
  a: { file: $T/a.key }
  b: { file: $T/b2.key }
repositories:
  main: { url: $A, encrypt: { key: a, kind: key_file } }
  offsite: { url: $B, encrypt: { key: b, kind: key_file } }
surfaces:
  sub: { kind: files, class: truth, paths: [$T/src/sub] }
environments:
  lab: { repository: main }
YAML
chmod 600 proofkeep.yaml
pk backup lab/sub && pk copy lab/sub --to offsite --json && [ "$(result copied)" = 1 ] && [ "$(result destination)" = offsite ]
claim 'the configuration says where, and how each is opened'
pk status && says 'main: the copy offsite has every recovery point'
claim 'and status calls it by its name'
fails 2 PK-USE-001 copy lab/sub@latest,other --to offsite
claim 'an address that is none is told'
# ---- epochs of ids: the copy follows its source
cp -a "$T/src/sub" "$T/sub.then"
pk key rotate-ids -r main && echo more >"$T/src/sub/more" && sed -i 's/^100$/other/' "$T/src/sub/50" && pk backup lab/sub
claim 'an epoch of ids begins in the source, and a backup is taken in it'
fails 5 PK-POL-001 key rotate-ids -r offsite && says 'this repository is a copy, which has the ids of its source' && says 'key rotate-ids -r SOURCE'
claim 'in a copy none is begun by itself'
fails 5 PK-CPY-001 copy --all -r main --to offsite --to-key-file "$T/b.writer" && says 'into which its copy [0-9a-f]\{32\} has not followed' && says 'Copy once with an admin key of the destination'
claim 'a writer key cannot let it follow, and it is said who can'
pk copy --all -r main --to offsite --json && [ "$(result copied)" = 1 ] && grep -q 'the copy has followed its source into epoch 1' "$T/out"
claim 'with the admin key it follows, and copying goes on'
pk restore lab/sub@latest -r offsite --into "$T/epoch1" && diff -r "$T/src/sub" "$T/epoch1" && pk restore local/data@latest -r offsite --into "$T/epoch0" && diff -r "$T/src/text" "$T/epoch0/text"
claim 'what was copied before and after restores'
pk verify --all -r offsite --level decode && pk scrub -r "$B"
claim 'and the copy verifies'
if [ -n "$python" ]; then
  PYTHONDONTWRITEBYTECODE=1 "$python" "$SOURCE_ROOT/test/format/reader.py" --key "$T/b2.key" "$B" check >"$T/out" 2>"$T/err"
  claim 'so does it by the independent reader, with the admin key, which cannot derive these ids'
fi
echo again >"$T/src/sub/again" && pk backup lab/sub && pk copy lab/sub --to offsite --to-key-file "$T/b.writer" --json && [ "$(result copied)" = 1 ]
claim 'from then on a writer key of before that was given the new keys copies'
pk key add -r offsite --role restore --key-file-out "$T/b.restore1" && pk restore lab/sub@latest -r offsite --key-file "$T/b.restore1" --into "$T/epoch1b" && diff -r "$T/src/sub" "$T/epoch1b"
claim 'keys that are added to the copy have its epoch'
pk init -r "$T/late" --key-file "$T/late.key" --copy-of main --from-key-file "$T/a.restore" && pk copy --all -r main --to "$T/late" --to-key-file "$T/late.key" --json && [ "$(result failed)" = 0 ] && [ "$(result behind)" = 0 ]
claim 'a copy that is made after an epoch began takes the points of all epochs'
pk restore "local/data@$first" -r "$T/late" --key-file "$T/late.key" --into "$T/late0" && diff -r "$T/was" "$T/late0" && pk restore lab/sub@latest -r "$T/late" --key-file "$T/late.key" --into "$T/late1" && diff -r "$T/src/sub" "$T/late1" && pk verify --all -r "$T/late" --key-file "$T/late.key" --level decode
claim 'and restores them'
fails 5 PK-KEY-002 init -r "$T/never" --key-file "$T/never.key" --copy-of main --from-key-file "$T/a.writer" && says 'takes a restore or admin key'
claim 'for that the key of the source must read'
pk backup -r "$T/late" --key-file "$T/late.key" --files "$T/src/sub" --name came && pk copy -r "$T/late" --key-file "$T/late.key" local/came --to main --json && [ "$(result copied)" = 1 ] && pk restore local/came@latest -r main --into "$T/came" && diff -r "$T/src/sub" "$T/came"
claim 'and a point of the copy goes the other way'
pk key rotate-ids -r "$T/late" --key-file "$T/late.key" --leave-source && pk backup -r "$T/late" --key-file "$T/late.key" --files "$T/src/sub" --name own && pk restore local/own@latest -r "$T/late" --key-file "$T/late.key" --into "$T/own" && diff -r "$T/src/sub" "$T/own"
claim 'a copy whose source is gone may leave it, and have ids of its own'
pk key rotate-ids -r main && fails 5 PK-CPY-001 copy --all -r main --to "$T/late" --to-key-file "$T/late.key"
claim 'then nothing is copied between the two'
pk copy --all -r main --to offsite --json && [ "$(result failed)" = 0 ]
claim 'while another copy follows into the next epoch'
rm -rf "$T"/epoch* "$T"/late* "$T/came" "$T/own" "$T/src/sub" && mv "$T/sub.then" "$T/src/sub"

KIND=${S3_KIND:-versitygw}
s3_start "$KIND" "$T/server"
case $? in
0)
  unset AWS_SESSION_TOKEN AWS_PROFILE AWS_REGION AWS_DEFAULT_REGION
  export AWS_EC2_METADATA_DISABLED=true no_proxy='*' AWS_ACCESS_KEY_ID=$S3_ACCESS AWS_SECRET_ACCESS_KEY=$S3_SECRET
  s3 mb copies
  U="s3://copies/here?endpoint=$S3_ENDPOINT"
  pk init -r "$U" --key-file "$T/s3.key" --copy-of "$B" --from-key-file "$T/b2.key" --config none.yaml
  claim 'a bucket takes copies'
  pk copy -r "$B" --key-file "$T/b2.key" --to "$U" --to-key-file "$T/s3.key" --config none.yaml local/data --json && [ "$(result copied)" = 2 ] && [ "$(result destination)" = s3://copies/here ]
  claim 'from a folder into it'
  pk verify --all -r "$U" --key-file "$T/s3.key" --config none.yaml && pk restore -r "$U" --key-file "$T/s3.key" --config none.yaml local/data@latest --into "$T/back4" && diff -r "$T/src" "$T/back4"
  claim 'where it verifies and restores'
  pk copy -r "$B" --key-file "$T/b2.key" --to "$U" --to-key-file "$T/s3.key" --config none.yaml local/data --json && [ "$(result copied)" = 0 ] && [ "$(result read_bytes)" = 0 ]
  claim 'once more moves nothing'
  pk init -r "$T/home2" --key-file "$T/home2.key" --copy-of "$U" --from-key-file "$T/s3.key" --config none.yaml &&
    pk copy --all -r "$U" --key-file "$T/s3.key" --to "$T/home2" --to-key-file "$T/home2.key" --config none.yaml &&
    pk restore -r "$T/home2" --key-file "$T/home2.key" --config none.yaml "local/data@$first" --into "$T/back5" && diff -r "$T/was" "$T/back5"
  claim 'and back from it into a folder'
  ;;
77) skip 'copies in a bucket' "$S3_WHY" ;;
*) false; claim "a server: $S3_WHY" ;;
esac
finish
