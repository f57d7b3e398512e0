#!/bin/bash
# Trust zones on Ceph's gateway: each role is a user of its own there, and may do what the bucket's policy, which 'store policy'
# printed, lets it, and no more. What the roles do for each other in full, roles.sh has.
. "${SOURCE_ROOT:?the project}/test/e2e/lib/tap.sh"
. "$SOURCE_ROOT/test/harness/s3_server.sh"
export PYTHONDONTWRITEBYTECODE=1 AWS_EC2_METADATA_DISABLED=true no_proxy='*'
unset AWS_ACCESS_KEY_ID AWS_SECRET_ACCESS_KEY AWS_SESSION_TOKEN AWS_PROFILE AWS_REGION AWS_DEFAULT_REGION
trap 's3_stop' EXIT
s3_start ceph "$T/server"
case $? in
0) ;;
77) echo "1..0 # SKIP $S3_WHY" && exit 0 ;;
*) echo "Bail out! $S3_WHY" && exit 1 ;;
esac
U="s3://backups/team/a?endpoint=$S3_ENDPOINT"
s3 mb backups && echo other | s3 put backups other/secret || { echo 'Bail out! no bucket' && exit 1; }

roles='admin writer restore prune'
for name in $roles; do
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
    s3: { endpoint: $S3_ENDPOINT, credentials_file: $T/$name.aws, timeout: 20s }
    encrypt: { key: k, kind: key_file }
surfaces:
  artifacts: { kind: files, class: truth, paths: [$T/tree] }
environments:
  lab:
    repository: main
    policy: { rpo: 24h, rto: 1h, retention: { keep: { last: 1 }, min_copies: 1 } }
YAML
done
as() { # ROLE ARGUMENT...
  local role=$1
  shift
  pk "$@" --config "$T/$role.yaml" --cache-dir "$T/cache-$role"
}
denied() { # ACTION ROLE ARGUMENT...: with the administrator's key and the role's user
  local action=$1 role=$2
  shift 2
  fails 1 PK-S3-007 "$@" --config "$T/$role.yaml" --key-file "$T/admin.key" --cache-dir "$T/cache-x$role" && says "$action"
}

for role in $roles; do
  "$P" store policy --role "$role" --style bucket --principal "arn:aws:iam:::user/$role" --repository "$U" 2>/dev/null
done | python3 -c '
import json, sys
d, text, all = json.JSONDecoder(), sys.stdin.read().strip(), []
while text:
    one, at = d.raw_decode(text)
    all += one["Statement"]
    text = text[at:].strip()
print(json.dumps({"Version": "2012-10-17", "Statement": all}))' >"$T/policy.json" && s3 policy backups <"$T/policy.json" >"$T/out" 2>"$T/err"
claim 'the gateway takes what is printed for four users as the policy of its bucket'

# ---- what each must be able to do
mkdir tree && head -c 3000000 /dev/urandom >tree/random
as admin init --repository main --key-file "$T/admin.key" && as admin key add --role writer --key-file-out "$T/writer.key" &&
  as admin key add --role restore --key-file-out "$T/restore.key" && as admin key add --role prune --key-file-out "$T/prune.key"
claim 'admin makes the repository and gives everybody a key'
as writer backup lab/all --json && ! says denied && ! grep -q '"warning"' "$T/out"
claim 'writer backs up, without a remark'
as restore restore lab/artifacts@latest --into "$T/back" && diff -r tree back >/dev/null && ! says AccessDenied
claim 'restore restores, without a remark'
rm tree/random && seq 500000 >tree/numbers && as writer backup lab/all && as restore verify --all --level decode && ! says AccessDenied
claim 'its proof is in the log'
packs() { s3 ls backups team/a/packs/ | awk '{ n += $2 } END { print n }'; }
before=$(packs)
sleep 1.1
as prune prune lab --grace 1s && ! says AccessDenied && [ $((before - $(packs))) -gt 2500000 ]
claim 'prune frees what was forgotten'
as admin verify --all --level decode
claim 'and what is left is whole'

# ---- and nothing else, though its key were the administrator's
denied s3:GetObject writer restore lab/artifacts@latest --into "$T/stolen" && denied s3:PutObject restore backup lab/all &&
  denied s3:GetObject prune restore lab/artifacts@latest --into "$T/stolen" && denied s3:PutObject writer key add --role writer --key-file-out "$T/evil.key"
claim "with the admin's key, another role's user still does no more than its own work"
for place in summary sess probe other; do echo x | s3 put backups team/a/$place/x; done
expect() { # ROLE LINES
  S3_ACCESS=$1 S3_SECRET=$1-secret s3_calls matrix backups team/a/ >"$T/calls"
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
claim 'and prune'
for role in writer restore prune; do
  S3_ACCESS=$role S3_SECRET=$role-secret s3 ls backups other/ >/dev/null 2>&1 && break
  S3_ACCESS=$role S3_SECRET=$role-secret s3 get backups other/secret >/dev/null 2>&1 && break
done
[ $? != 0 ] && [ "$role" = prune ]
claim 'and none of them sees what else lies in the bucket'
finish
