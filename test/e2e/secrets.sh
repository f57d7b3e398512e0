#!/bin/bash
# Where secrets must never be: while a backup runs with children, its and their arguments and environments; what it prints at
# its most talkative; receipts, cache and bucket; a core file, its own or a child's. The secrets are the object store's secret
# key and session token, the repository's key and a database's password.
. "${SOURCE_ROOT:?the project}/test/e2e/lib/tap.sh"
. "$SOURCE_ROOT/test/e2e/lib/s3.sh"
. "$SOURCE_ROOT/tools/demo/cluster.sh"
export PYTHONDONTWRITEBYTECODE=1
C=$T/pg
trap 's3_stop; [ -z "$PG_BIN" ] || cluster_stop "$C"' EXIT
s3_needed minio
s3 mb backups || { echo 'Bail out! no bucket' && exit 1; }
eval "$(s3 session -)"
mkdir "$T/private" && chmod 700 "$T/private"
umask 077
cat >"$T/private/token.json" <<JSON
{"Version": 1, "AccessKeyId": "$S3_SESSION_KEY", "SecretAccessKey": "$S3_SESSION_SECRET", "SessionToken": "$S3_SESSION_TOKEN"}
JSON
printf 'keeper-password-4711' >"$T/private/pg"
# It is a child, and stays long enough to be looked at.
printf '#!/bin/sh\nsleep 1\ncat "%s"\n' "$T/private/token.json" >"$T/private/token" && chmod 700 "$T/private/token"
umask 022
mkdir tree && head -c 40000000 /dev/urandom >tree/random
if [ -n "$PG_BIN" ]; then
  cluster_start "$C" || exit 1
  cluster_psql "$C" <<'SQL'
CREATE ROLE keeper LOGIN PASSWORD 'keeper-password-4711';
GRANT pg_read_all_data TO keeper;
CREATE DATABASE shop;
SQL
  cluster_psql "$C" -d shop -c 'CREATE TABLE wide AS SELECT i, repeat(md5(i::text), 20) FROM generate_series(1, 60000) i'
fi
cat >proofkeep.yaml <<YAML
version: 1
platform: test
secrets:
  k: { file: $T/private/key }
  bucket: { command: [$T/private/token] }
  pg: { file: $T/private/pg }
repositories:
  main:
    url: s3://backups/a
    s3: { endpoint: $S3_ENDPOINT, credentials: bucket, bandwidth: 8MiB }
    encrypt: { key: k, kind: key_file }
surfaces:
  artifacts: { kind: files, class: truth, paths: [$T/tree] }
YAML
[ -z "$PG_BIN" ] || cat >>proofkeep.yaml <<YAML
  pg: { kind: postgres, class: runtime, databases: [shop], connect: { host: $C/socket, user: keeper, password: pg } }
YAML
printf 'environments:\n  lab: { repository: main }\n' >>proofkeep.yaml
pk init --repository main --key-file "$T/private/key"
claim 'a repository is made, by credentials that a command prints'
grep '^PROOFKEEP-KEY-1 ' "$T/private/key" | cut -d' ' -f2 >"$T/private/key64"
printf '%s\n' "$S3_SESSION_SECRET" "$S3_SESSION_TOKEN" keeper-password-4711 "$S3_SECRET" >"$T/private/secrets"
cat "$T/private/key64" >>"$T/private/secrets"
base64 -d "$T/private/key64" >"$T/private/key.raw"
# holds FILE...: which secrets are in there, the key's raw bytes too
holds() {
  python3 - "$T/private/secrets" "$T/private/key.raw" "$@" <<'PY'
import mmap, sys
words = [l.encode() for l in open(sys.argv[1]).read().split()] + [open(sys.argv[2], "rb").read()]
found = 0
for name in sys.argv[3:]:
    try:
        text = open(name, "rb").read()
    except OSError:
        continue
    for w in words:
        if w in text:
            found += 1
            print(f"# {name} holds the secret that begins with {w[:4]!r}")
sys.exit(0 if found else 1)
PY
}
holds "$T/private/token.json" >/dev/null && holds "$T/private/key" >/dev/null
claim 'the search finds them where they are'

descendants() {
  local p
  for p in $(pgrep -P "$1"); do
    echo "$p"
    descendants "$p"
  done
}
"$P" backup lab/all -vv >"$T/out" 2>"$T/err" </dev/null &
run=$!
mkdir looked
seen=0 names=''
dumper=
if command -v gcore >/dev/null; then # beside the looking, which it would slow
  (
    while kill -0 $run 2>/dev/null && [ "$(s3 ls backups a/packs/ | wc -l)" -lt 1 ]; do sleep 0.1; done
    gcore -o looked/core $run >looked/gcore 2>&1
  ) &
  dumper=$!
fi
while kill -0 $run 2>/dev/null; do
  for p in $run $(descendants $run); do
    cat "/proc/$p/cmdline" >>"looked/cmdline" 2>/dev/null
    cat "/proc/$p/environ" >>"looked/environ" 2>/dev/null
    [ $p = $run ] || { seen=$((seen + 1)) && names="$names $(cat "/proc/$p/comm" 2>/dev/null)" && grep 'Max core' "/proc/$p/limits" >>looked/limits 2>/dev/null; }
    [ $p = $run ] && [ ! -e looked/status ] && grep -q '^Threads' "/proc/$p/status" && cp "/proc/$p/limits" looked/status
  done
done
wait $run
status=$?
[ -z "$dumper" ] || wait "$dumper"
[ $status = 0 ] && [ $seen -gt 0 ]
claim 'a backup runs, with children'
echo "# looked at $seen times:$(printf '%s\n' $names | sort | uniq -c | tr -s '\n ' ' ')"
if [ -n "$PG_BIN" ]; then
  grep -qz pg_dump looked/cmdline
  claim 'pg_dump among them'
else
  skip 'pg_dump among them' 'no PostgreSQL server is installed'
fi
! holds looked/cmdline looked/environ
claim 'no secret was in an argument or an environment of any of them'
! grep -aqz '^AWS_\(SECRET\|SESSION\|ACCESS\)\|^PGPASSWORD' looked/environ
claim 'nor a variable that is there for secrets'
! holds "$T/out" "$T/err"
claim 'nor in what it says with -vv'
pk show lab/artifacts@latest --receipt && cp "$T/out" looked/receipt
find "$XDG_CACHE_HOME" "$HOME" -type f >looked/files
[ -s looked/files ] && ! holds looked/receipt $(cat looked/files)
claim 'nor in the receipt or the cache'
for key in $(s3 ls backups | awk '$2 < 200000 { print $1 }'); do s3 get backups "$key"; done >looked/objects
[ -s looked/objects ] && ! holds looked/objects
claim 'nor in the bucket'

# ---- core files
if ls looked/core.* >/dev/null 2>&1; then
  # The token stands in every request that is under way, so libcurl has it where it likes; it is of no use for long, or
  # without the secret key. libpq keeps the password of a server for as long as it is connected.
  sed "\\|^$S3_SESSION_TOKEN\$|d; /^keeper-password-4711\$/d" "$T/private/secrets" >"$T/private/long" &&
    mv "$T/private/long" "$T/private/secrets"
  ! holds looked/core.*
  claim 'nor are the keys in a dump of its memory that a debugger takes as root: they lie on pages that are left out'
else
  skip 'nor in a dump of its memory' 'gcore is not installed, or may not be used here'
fi
grep -q 'Max core file size *1 *1 ' looked/status && [ -s looked/limits ] && ! grep -qv 'Max core file size *1 *1 ' looked/limits
claim 'neither it nor a child may leave a core file'
mkdir cores && cd cores || exit 1
case $(cat /proc/sys/kernel/core_pattern) in
*/* | '|'*) plain=0 ;;
*) plain=1 ;;
esac
ulimit -c unlimited 2>/dev/null || plain=0
(trap - EXIT && exec sleep 100) &
sleep 0.5
kill -ABRT $! 2>/dev/null
wait $! 2>/dev/null
[ $plain = 1 ] && [ -n "$(ls)" ] || plain=0 # else nothing here leaves one
rm -f ./*
head -c 40000000 /dev/urandom >"$T/tree/random"
"$P" backup lab/artifacts --config "$T/proofkeep.yaml" >"$T/out" 2>"$T/err" </dev/null &
run=$!
sleep 2.5
kill -ABRT $run
wait $run 2>/dev/null
status=$?
if [ $plain = 1 ]; then
  [ $status = 134 ] && [ -z "$(ls)" ]
  claim 'killed by SIGABRT it leaves none, where another program does'
else
  skip 'killed by SIGABRT it leaves none' 'this system keeps no core files in the folder'
fi
cd "$T" || exit 1

# ---- variables
export AWS_ACCESS_KEY_ID=$S3_SESSION_KEY AWS_SECRET_ACCESS_KEY=$S3_SESSION_SECRET AWS_SESSION_TOKEN=$S3_SESSION_TOKEN
sed -i 's/credentials: bucket, //; s/bandwidth: 8MiB/bandwidth: 20MiB/' proofkeep.yaml
rm -f looked/cmdline looked/environ
: >looked/environ
[ -z "$PG_BIN" ] || cluster_psql "$C" -d shop -c 'UPDATE wide SET i = i + 1' >/dev/null
head -c 40000000 /dev/urandom >tree/random
"$P" backup lab/all -vv >"$T/out" 2>"$T/err" </dev/null &
run=$!
while kill -0 $run 2>/dev/null; do
  for p in $(descendants $run); do cat "/proc/$p/cmdline" "/proc/$p/environ" >>looked/environ 2>/dev/null; done
done
wait $run && ! holds looked/environ "$T/out" "$T/err" && ! grep -aqz '^AWS_\(SECRET\|SESSION\|ACCESS\)' looked/environ
claim "variables that it gets are not its children's"
if [ -n "$PG_BIN" ]; then
  grep -aq pg_dump looked/environ
  claim 'which there were'
fi
pk doctor lab
! grep -q AWS_SECRET_ACCESS_KEY "$T/out"
claim 'doctor says nothing of them where nothing is protected'
sed 's/^  lab: .*/  lab: { repository: main, protected: true }/' proofkeep.yaml >protected.yaml
pk doctor lab --config protected.yaml
grep -q "'lab' is protected, and its bucket's secret key comes from the variable AWS_SECRET_ACCESS_KEY" "$T/out" && ! holds "$T/out"
claim 'and warns where something is'

# ---- Secrets Manager and KMS, emulated by moto, asked by AWS's own program
unset AWS_ACCESS_KEY_ID AWS_SECRET_ACCESS_KEY AWS_SESSION_TOKEN
if ! s3_aws || ! s3_start moto "$T/aws"; then
  skip 'a passphrase in Secrets Manager' "$S3_WHY"
  finish
fi
(umask 077 && printf '[default]\naws_access_key_id = k\naws_secret_access_key = s\n' >"$T/private/aws")
ask=(env "AWS_SHARED_CREDENTIALS_FILE=$T/private/aws" "$S3_AWS" --region eu-central-1 --endpoint-url "$S3_ENDPOINT")
seal=$("${ask[@]}" kms create-key --query KeyMetadata.KeyId --output text)
for e in staging prod; do "${ask[@]}" secretsmanager create-secret --name "$e/proofkeep" --kms-key-id "$seal" --secret-string "the phrase of $e, 4712" >"$T/out" || break; done
claim "two environments' passphrases are in Secrets Manager, sealed by a key of KMS"
cat >aws.yaml <<YAML
version: 1
platform: test
secrets:
  k: { command: [$(printf '"%s", ' "${ask[@]}") secretsmanager, get-secret-value, --secret-id, "{env}/proofkeep", --query, SecretString, --output, text] }
repositories:
  main: { url: $T/of-staging, encrypt: { key: k } }
surfaces:
  artifacts: { kind: files, class: truth, paths: [$T/private] }
environments:
  staging: { repository: main }
  prod: { repository: main }
YAML
(umask 077 && printf 'the phrase of staging, 4712' >"$T/private/phrase")
pk init -r "$T/of-staging" --passphrase-file "$T/private/phrase" --config none.yaml && pk backup staging/artifacts --config aws.yaml
claim 'an environment opens its repository with what the manager has for it'
fails 12 PK-KEY-001 backup prod/artifacts --config aws.yaml && ! grep -q 4712 "$T/out" "$T/err"
claim 'another one is given its own, which does not open it and is not said'
"${ask[@]}" secretsmanager delete-secret --secret-id staging/proofkeep --force-delete-without-recovery >"$T/out"
fails 1 PK-SYS-004 backup staging/artifacts --config aws.yaml && says ResourceNotFoundException
claim 'when the manager has none, its own words are in the error'
finish
