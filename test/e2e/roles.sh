#!/bin/bash
# Trust zones on a shared store: every role with its own key and its own user of the object store, who may do what 'store
# policy' prints and no more. MinIO takes the policies for its users, versitygw for its bucket.
. "${SOURCE_ROOT:?the project}/test/e2e/lib/tap.sh"
. "$SOURCE_ROOT/test/e2e/lib/s3.sh"
python3 -c 'import cryptography' 2>/dev/null || { echo "1..0 # SKIP python's module cryptography is not installed"; exit 0; }
export PYTHONDONTWRITEBYTECODE=1
KIND=${S3_KIND:-minio}
export S3_SIDECAR=$T/sidecar && mkdir "$S3_SIDECAR"
s3_needed "$KIND"
U="s3://backups/team/a?endpoint=$S3_ENDPOINT"
s3 mb backups && echo other | s3 put backups other/secret || { echo 'Bail out! no bucket' && exit 1; }

# ---- users
roles='admin writer restore prune'
for name in admin writer writer2 restore prune; do
  s3_user "$name" "$name-secret" "$T/server" || { echo 'Bail out! no users' && exit 1; }
  (umask 077 && printf '[default]\naws_access_key_id = %s\naws_secret_access_key = %s-secret\n' "$name" "$name" >"$T/$name.aws")
  cat >"$T/$name.yaml" <<YAML
version: 1
platform: test
secrets:
  k: { file: $T/$name.key }
repositories:
  main:
    url: s3://backups/team/a
    s3: { endpoint: $S3_ENDPOINT, credentials_file: $T/$name.aws, timeout: 5s, connections: 4 }
    encrypt: { key: k, kind: key_file }
surfaces:
  artifacts: { kind: files, class: truth, paths: [$T/tree] }
environments:
  lab:
    repository: main
    policy: { rpo: 24h, rto: 1h, retention: { keep: { last: 1 }, min_copies: 1 } }
YAML
done
sed 's/timeout: 5s/&, bandwidth: 12MiB/' "$T/writer.yaml" >"$T/slow.yaml" # to be stopped in the middle
as() { # ROLE ARGUMENT...
  local role=$1
  shift
  pk "$@" --config "$T/$role.yaml" --cache-dir "$T/cache-$role"
}
denied() { # ACTION ROLE ARGUMENT...
  local action=$1 role=$2
  shift 2
  fails 1 PK-S3-007 "$@" --config "$T/$role.yaml" --key-file "$T/admin.key" --cache-dir "$T/cache-x$role" && says "$action"
}

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
  done | python3 -c '
import json, sys
d, text, all = json.JSONDecoder(), sys.stdin.read().strip(), []
while text:
    one, at = d.raw_decode(text)
    all += one["Statement"]
    text = text[at:].strip()
print(json.dumps({"Version": "2012-10-17", "Statement": all}))' | s3 policy backups
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
head -c 200000000 /dev/urandom >tree/large
before=$(s3 ls backups team/a/packs/ | wc -l)
"$P" backup lab/all --config "$T/slow.yaml" --cache-dir "$T/cache-writer" >"$T/out" 2>"$T/err" </dev/null &
run=$!
for _ in $(seq 600); do
  [ $(($(s3 ls backups team/a/packs/ | wc -l) - before)) -ge 3 ] && break
  kill -0 $run 2>/dev/null || break
done
kill -9 $run 2>/dev/null && killed=1 || killed=0
wait $run 2>/dev/null
[ $killed = 1 ] && as writer backup lab/all
claim 'a run that was killed is followed by one that succeeds'
head -c 200000000 /dev/urandom >tree/large2
before=$(s3 ls backups team/a/packs/ | wc -l)
"$P" backup lab/all --config "$T/slow.yaml" --cache-dir "$T/cache-writer" >"$T/out" 2>"$T/err" </dev/null &
run=$!
for _ in $(seq 600); do
  [ $(($(s3 ls backups team/a/packs/ | wc -l) - before)) -ge 3 ] && break
  kill -0 $run 2>/dev/null || break
done
kill -INT $run 2>/dev/null
wait $run
[ $? = 130 ] && as writer backup lab/all --json && [ "$(result surfaces.0.stored_bytes)" -lt 170000000 ]
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
id=$(s3 ls backups team/a/packs/ | awk '{ n += $2 } END { print n }')
as restore verify --all --level decode
sleep 1.1
as prune prune lab --grace 1s && ! says AccessDenied && [ $((id - $(s3 ls backups team/a/packs/ | awk '{ n += $2 } END { print n }'))) -gt 300000000 ]
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
for place in summary sess probe other; do echo x | s3 put backups team/a/$place/x; done
calls() { S3_ACCESS=$1 S3_SECRET=$1-secret s3_calls matrix backups team/a/; }
expect() { # ROLE LINES
  calls "$1" >"$T/calls"
  printf '%s\n' "$2" | sed 's/^ *//; /^$/d' >"$T/wanted"
  diff "$T/wanted" "$T/calls" >"$T/err"
}
expect writer '
  format gl
  checkpoint glp
  keys gl
  log glp
  tile glp
  summary gl
  index glp
  sess glp
  packs/d lp
  packs/m lp
  probe l
  other l'
claim 'writer may get, list, put and delete just what it should'
expect restore '
  format gl
  checkpoint gl
  keys gl
  log glp
  tile gl
  summary gl
  index gl
  sess l
  packs/d gl
  packs/m gl
  probe l
  other l'
claim 'restore too'
expect prune '
  format gl
  checkpoint glp
  keys gl
  log glp
  tile glpd
  summary gl
  index glpd
  sess ld
  packs/d ld
  packs/m ld
  probe l
  other l'
claim 'prune too'
expect admin '
  format glp
  checkpoint glp
  keys glpd
  log glp
  tile glpd
  summary glpd
  index glpd
  sess glpd
  packs/d glpd
  packs/m glpd
  probe glpd
  other l'
claim 'and admin'
finish
