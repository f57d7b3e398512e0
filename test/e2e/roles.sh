#!/bin/bash
# Trust zones on a shared store: every role with its own key and its own user of the object store, who may do what 'store
# policy' prints and no more. MinIO takes the policies for its users, versitygw for its bucket.
. "${SOURCE_ROOT:?the project}/test/e2e/lib/tap.sh"
. "$SOURCE_ROOT/test/e2e/lib/s3.sh"
. "$SOURCE_ROOT/test/e2e/lib/roles.sh"
python3 -c 'import cryptography' 2>/dev/null || { echo "1..0 # SKIP python's module cryptography is not installed"; exit 0; }
KIND=${S3_KIND:-minio}
export S3_SIDECAR=$T/sidecar && mkdir "$S3_SIDECAR"
s3_needed "$KIND"
U="s3://backups/team/a?endpoint=$S3_ENDPOINT"
s3 mb backups && echo other | s3 put backups other/secret || { echo 'Bail out! no bucket' && exit 1; }

# ---- users
roles='admin writer restore prune'
role_make "timeout: 5s, connections: 4" admin writer writer2 restore prune
sed 's/timeout: 5s/&, bandwidth: 12MiB/' "$T/writer.yaml" >"$T/slow.yaml" # to be stopped in the middle
# ---- policies
for role in $roles; do
  "$P" store policy --role $role --repository "$U" >"$T/$role.json" 2>"$T/$role.notes" && python3 -m json.tool "$T/$role.json" >/dev/null
  claim "a policy is printed for $role"
done
grep -q 'Keep versions in the bucket' "$T/writer.notes" && ! grep -q . "$T/restore.notes"
claim 'what a policy cannot do on this server is said'
if [ "$KIND" = minio ]; then
  s3_minio policy admin <"$T/admin.json" && s3_minio policy writer <"$T/writer.json" && s3_minio policy writer2 <"$T/writer.json" &&
    s3_minio policy restore <"$T/restore.json" && s3_minio policy prune <"$T/prune.json"
  claim 'MinIO takes them for its users'
else
  for role in $roles; do
    more=() && [ $role = writer ] && more=(--principal writer2)
    "$P" store policy --role $role --style bucket --principal $role "${more[@]}" --repository "$U" 2>/dev/null
  done | one_policy | s3 policy backups
  claim 'the server takes them as one policy of the bucket'
fi
pk store policy --role writer --repository s3://backups.example/prod && grep -q 's3:if-none-match' "$T/out" && ! says 'Only AWS' &&
  python3 -c '
import json, sys
n = len("".join(open(sys.argv[1]).read().split()))
assert n < 4096, n' "$T/out"
claim "for AWS it forces If-None-Match, and fits a managed policy, which may have 6144 characters"
pk store policy --role admin --repository 's3://backups.example/prod?region=cn-north-1&sse=aws:kms&kms_key=arn:aws-cn:kms:cn-north-1:1:key/x' &&
  grep -q 'arn:aws-cn:s3:::backups.example/prod/' "$T/out" && grep -q kms:GenerateDataKey "$T/out"
claim "and knows China's names, and the key that encrypts"
fails 2 PK-USE-001 store policy --role writer --repository "$T/folder" && says 'only buckets have policies'
claim 'a folder has no policy'
fails 2 PK-USE-001 store policy --role writer --repository "$U" --style bucket && says principal
claim 'a bucket policy wants a principal'
fails 2 PK-USE-001 store policy --role writer --repository s3://backups.example/prod --style bucket --principal bob && says 'no ARN'
claim 'for AWS by its ARN'
fails 2 PK-USE-001 store policy --role writer --repository "$U" --style bucket --principal '*' && says everybody
claim 'and not everybody'

# ---- what every role must be able to do
mkdir -p tree && seq 200000 >tree/numbers && head -c 30000000 /dev/urandom >tree/random
as admin init --repository main --key-file "$T/admin.key"
claim 'admin makes the repository'
as admin doctor && grep -q 'can remove objects: who steals them' "$T/out"
claim 'and tries out what the bucket does'
as admin key add --role writer --key-file-out "$T/writer.key" --label db-host && as admin key add --role writer --key-file-out "$T/writer2.key" &&
  as admin key add --role restore --key-file-out "$T/restore.key" && as admin key add --role prune --key-file-out "$T/prune.key"
claim 'and gives everybody a key'
as writer backup lab/all --json && ! says denied && ! grep -q '"warning"' "$T/out"
claim 'writer backs up, without a remark'
as writer doctor && grep -q 'these credentials cannot remove a pack' "$T/out" && grep -q 'what it does was not tried' "$T/out"
claim 'writer knows by trying that it cannot remove'
as writer backup lab/all --json && [ "$(result surfaces.0.new_bytes)" = 0 ]
claim 'what is stored is not stored again'
rm -rf "$T/cache-writer"
as writer backup lab/all --json && [ "$(result surfaces.0.stored_bytes)" -lt 1000000 ]
claim 'nor by a host that lost its cache'
as writer2 backup lab/all --json && [ "$(result surfaces.0.stored_bytes)" -lt 1000000 ]
claim 'nor by another host'
half_stored() { # in the background, in $run: until the first of its packs is there, with most of the tree still to be read
  local before
  before=$(s3 ls backups team/a/packs/ | wc -l)
  "$P" backup lab/all --config "$T/slow.yaml" --cache-dir "$T/cache-writer" >"$T/out" 2>"$T/err" </dev/null &
  run=$!
  more() { [ "$(s3 ls backups team/a/packs/ | wc -l)" -gt "$before" ] || [ ! -e "/proc/$run" ]; }
  await 120 more
}
head -c 300000000 /dev/urandom >tree/large
half_stored
kill -9 $run
wait $run
[ $? = 137 ] && as writer backup lab/all
claim 'a run that was killed is followed by one that succeeds'
head -c 300000000 /dev/urandom >tree/large2
half_stored
kill -INT $run
wait $run
[ $? = 130 ] && as writer backup lab/all --json && [ "$(result surfaces.0.stored_bytes)" -lt 270000000 ]
claim 'one that was interrupted is taken up: what was stored is not stored again'
as writer list && grep -q 'lab/artifacts@' "$T/out" && as writer status
claim 'writer sees what there is'
as restore restore lab/artifacts@latest --into "$T/back" && diff -r tree back >/dev/null && ! says AccessDenied
claim 'restore restores, without a remark'
as restore verify lab/artifacts@latest --level decode && ! says AccessDenied && as writer list && grep -q 'decode' "$T/out"
claim 'its proof is in the log, for all to see'
as restore doctor && grep -q 'these credentials cannot remove a pack' "$T/out"
claim 'doctor is content with it'
as restore hold add lab/artifacts@latest --reason case && ! says AccessDenied && as admin hold release lab/artifacts@latest --reason case
claim 'restore holds, admin releases'
rm tree/large tree/large2
as writer backup lab/all
before=$(packed)
as restore verify --all --level decode
sleep 1.1
as prune prune lab --grace 1s && ! says AccessDenied && [ $((before - $(packed))) -gt 300000000 ]
claim 'prune frees what was forgotten, and can read no pack'
as prune doctor && grep -q 'these credentials can remove packs' "$T/out"
claim 'doctor is content with it too'
rm -rf "$T/cache-restore" "$T/back2"
as restore verify --all --level decode && as restore restore lab/artifacts@latest --into "$T/back2" && diff -r tree back2 >/dev/null
claim 'what is left restores on a host that knows nothing'
as admin verify --all --level full && as admin prune lab --collect-only --grace 1s && as writer backup lab/all && as admin key list
claim 'and admin does all of it'

# ---- and nothing else, though its key were the admin's
denied s3:GetObject writer restore lab/artifacts@latest --into "$T/stolen"
claim "with the admin's key, writer's user restores nothing"
denied s3:PutObject restore backup lab/all
claim "restore's user backs nothing up"
denied s3:GetObject prune restore lab/artifacts@latest --into "$T/stolen"
claim "prune's user restores nothing"
denied s3:PutObject writer key add --role writer --key-file-out "$T/evil.key"
claim "writer's user plants no key slot"
strangers
may writer
claim 'writer may get, list, put and delete just what it should'
may restore
claim 'restore too'
may prune
claim 'prune too'
may admin
claim 'and admin'
finish
