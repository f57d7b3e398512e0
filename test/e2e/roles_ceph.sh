#!/bin/bash
# Trust zones on Ceph's gateway: each role is a user of its own there, and may do what the bucket's policy, which 'store policy'
# printed, lets it, and no more. What the roles do for each other in full, roles.sh has.
. "${SOURCE_ROOT:?the project}/test/e2e/lib/tap.sh"
. "$SOURCE_ROOT/test/e2e/lib/s3.sh"
. "$SOURCE_ROOT/test/e2e/lib/roles.sh"
s3_needed ceph
U="s3://backups/team/a?endpoint=$S3_ENDPOINT"
s3 mb backups && echo other | s3 put backups other/secret || { echo 'Bail out! no bucket' && exit 1; }

roles='admin writer restore prune'
# shellcheck disable=SC2086
role_make "timeout: 20s" $roles

for role in $roles; do
  "$P" store policy --role "$role" --style bucket --principal "arn:aws:iam:::user/$role" --repository "$U" 2>/dev/null
done | one_policy >"$T/policy.json" && s3 policy backups <"$T/policy.json" >"$T/out" 2>"$T/err"
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
before=$(packed)
sleep 1.1
as prune prune lab --grace 1s && ! says AccessDenied && [ $((before - $(packed))) -gt 2500000 ]
claim 'prune frees what was forgotten'
as admin verify --all --level decode
claim 'and what is left is whole'

# ---- and nothing else, though its key were the administrator's
denied s3:GetObject writer restore lab/artifacts@latest --into "$T/stolen" && denied s3:PutObject restore backup lab/all &&
  denied s3:GetObject prune restore lab/artifacts@latest --into "$T/stolen" && denied s3:PutObject writer key add --role writer --key-file-out "$T/evil.key"
claim "with the admin's key, another role's user still does no more than its own work"
strangers
may writer
claim 'writer may get, list, put and delete just what it should'
may restore
claim 'restore too'
may prune
claim 'and prune'
for role in writer restore prune; do
  S3_ACCESS=$role S3_SECRET=$role-secret s3 ls backups other/ >/dev/null 2>&1 && break
  S3_ACCESS=$role S3_SECRET=$role-secret s3 get backups other/secret >/dev/null 2>&1 && break
done
[ $? != 0 ] && [ "$role" = prune ]
claim 'and none of them sees what else lies in the bucket'
finish
