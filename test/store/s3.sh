#!/bin/bash
# s3.sh versitygw|minio|ceph PROGRAM: runs a test program beside a real server: S3_URL names an empty prefix of a bucket of
# it, S3_LOCKED_URL a bucket with object lock, S3_VERSIONED_URL one that keeps versions only, S3_LOOSE_URL one that all the
# world may read and whose lifecycle expires everything, S3_PROXY a proxy before it that harms by seed, S3_USER one who may not delete.
set -u
kind=$1 program=$2
. "$(dirname "$0")/../harness/s3_server.sh"
folder=$(mktemp -d) || exit 1
trap 's3_stop; rm -rf "$folder"' EXIT
s3_start "$kind" "$folder"
case $? in
0) ;;
77) echo "1..0 # SKIP $S3_WHY" && exit 0 ;;
*) echo "Bail out! $S3_WHY" && exit 1 ;;
esac
s3 mb pk-plain && s3 mb pk-locked lock && s3 mb pk-versions && s3 versioning pk-versions && s3 mb pk-loose && s3_proxy "$folder" --stall 30 || { echo 'Bail out! no buckets or no proxy' && exit 1; }
s3 policy pk-loose <<E || exit 1
{"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Principal": {"AWS": ["*"]},
 "Action": ["s3:GetObject"], "Resource": ["arn:aws:s3:::pk-loose/*"]}]}
E
if [ "$kind" != versitygw ]; then # it has none
  s3 lifecycle pk-loose 30 7 || exit 1
fi
if [ "$kind" = versitygw ]; then
  export S3_USER=writer S3_USER_SECRET=writersecret
  s3_user $S3_USER $S3_USER_SECRET "$folder" && s3 policy pk-plain <<E || { cat "$folder/user.log" >&2; exit 1; }
{"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Principal": {"AWS": ["$S3_USER"]},
 "Action": ["s3:GetObject", "s3:PutObject"], "Resource": ["arn:aws:s3:::pk-plain/*"]},
 {"Effect": "Allow", "Principal": {"AWS": ["$S3_USER"]}, "Action": ["s3:ListBucket"], "Resource": ["arn:aws:s3:::pk-plain"]}]}
E
fi
if [ "$kind" = minio ]; then
  session=$(s3 session -) || exit 1
  eval "export $(echo "$session" | tr '\n' ' ')"
  if python3 -c 'import cryptography' 2>/dev/null; then
    export S3_USER=writer S3_USER_SECRET=writersecret
    s3_user $S3_USER $S3_USER_SECRET "$folder" && s3_minio policy $S3_USER <<E || { cat "$folder/user.log" >&2; exit 1; }
{"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Action": ["s3:GetObject", "s3:PutObject"], "Resource": ["arn:aws:s3:::pk-plain/*"]},
 {"Effect": "Allow", "Action": ["s3:ListBucket"], "Resource": ["arn:aws:s3:::pk-plain"]}]}
E
  fi
fi
export AWS_ACCESS_KEY_ID=$S3_ACCESS AWS_SECRET_ACCESS_KEY=$S3_SECRET
unset AWS_SESSION_TOKEN AWS_PROFILE AWS_REGION AWS_DEFAULT_REGION
export S3_ENDPOINT S3_PROXY S3_KIND=$kind
export S3_URL="s3://pk-plain/a/b?endpoint=$S3_ENDPOINT&region=$S3_REGION"
[ "$kind" = ceph ] || export S3_VIRTUAL_URL="s3://pk-plain/v?endpoint=http://localhost:${S3_ENDPOINT##*:}&style=virtual&region=$S3_REGION"
export S3_VERSIONED_URL="s3://pk-versions/a?endpoint=$S3_ENDPOINT&region=$S3_REGION"
export S3_LOOSE_URL="s3://pk-loose?endpoint=$S3_ENDPOINT&region=$S3_REGION"
export S3_LOCKED_URL="s3://pk-locked?endpoint=$S3_ENDPOINT&region=$S3_REGION"
"$program"
