#!/bin/bash
# Collecting beside others: with a key that may only prune, two at once, and under a backup that sleeps. In a folder, and in a
# bucket of a real server, where scrub and repair are tried as well.
. "${SOURCE_ROOT:?the project}/test/e2e/lib/tap.sh"
. "$SOURCE_ROOT/test/harness/s3_server.sh"
stopped=
trap '[ -z "$stopped" ] || kill -CONT "$stopped"; s3_stop' EXIT

config() { # URL
  cat >proofkeep.yaml <<YAML
version: 1
platform: test
secrets:
  k: { file: $T/key }
  bucket: { file: $T/credentials }
repositories:
  main:
    url: $1
$2
    encrypt: { key: k, kind: key_file }
surfaces:
  one: { kind: files, class: truth, paths: [$T/one] }
  two: { kind: files, class: truth, paths: [$T/two] }
environments:
  lab:
    repository: main
    policy: { rpo: 24h, rto: 1h, verify: checksum, retention: { keep: { last: 1 }, min_copies: 1 } }
YAML
}
# What the store itself lists, in a folder or a bucket.
objects() {
  if [ "$where" = folder ]; then
    (cd "$T/repo" && find packs -type f | sort)
  else
    s3 ls backups team/packs/ | awk '{ print $1 }' | sort
  fi
}
restores() { # SURFACE TREE
  rm -rf "$T/back"
  pk restore "lab/$1@latest" --into "$T/back" && diff -r --no-dereference "$2" "$T/back" >"$T/diff"
}

round() {
  where=$1
  rm -rf one two back cache key prune.key
  mkdir one two
  head -c 9000000 /dev/urandom >one/kept
  pk init --repository main --key-file "$T/key"
  pk key add --repository main --role prune --key-file-out "$T/prune.key" --label collector && pk backup lab/one
  claim "$where: a repository, and a key that may only prune"
  head -c 6000000 /dev/urandom >two/a
  cp two/a one/shared && pk backup lab/one && pk verify lab/one --level checksum && rm one/shared && pk backup lab/one && pk verify lab/one --level checksum
  claim "$where: what the second of three points added is in packs of its own"

  # the backup of the other surface finds what the first point has, and sleeps over its removal
  head -c 300000000 /dev/urandom >two/big
  sed 's/region: /bandwidth: 25MiB, &/' proofkeep.yaml >slow.yaml # to be stopped in the middle, also on a busy machine
  : >backup.out # of a former round
  "$P" backup lab/two --jobs 1 --json --config slow.yaml >backup.out 2>backup.err </dev/null &
  stopped=$!
  for _ in $(seq 2000); do
    grep -q '"phase":"reading"' backup.out && break
    sleep 0.005
  done
  kill -STOP "$stopped"
  ! grep -q '"type":"receipt"' backup.out
  claim "$where: a backup is stopped while it reads"
  before=$(objects | wc -l)
  XDG_CACHE_HOME=$T/cache.prune pk prune lab/one --grace 0s --key-file "$T/prune.key" --json && [ "$(result forgotten)" = 2 ] && [ "$(result freed_bytes)" -gt 6000000 ]
  claim "$where: the key that may only prune forgets two points and frees the packs of the second"
  [ "$(objects | wc -l)" -lt "$before" ]
  claim "$where: which the store does not list any more"
  XDG_CACHE_HOME=$T/cache.prune fails 5 PK-KEY-002 verify lab/one --level decode --key-file "$T/prune.key"
  claim "$where: that key reads nothing"
  kill -CONT "$stopped"
  wait "$stopped"
  [ $? = 0 ] && grep -q 'relied on; it is taken again' backup.out
  claim "$where: the backup goes on, sees what is gone, is taken again and ends well"
  stopped=
  pk verify --all --repository main --level decode && restores two two && restores one one
  claim "$where: everything that has a receipt is whole, and restores"

  # two collectors at once
  rm two/big && head -c 5000000 /dev/urandom >two/other && pk backup lab/two && pk verify lab/two --level checksum
  pk prune lab/two --grace 0s --key-file "$T/prune.key" --dry-run
  for i in 1 2; do
    XDG_CACHE_HOME=$T/cache.$i "$P" prune lab/two --collect-only --grace 0s --key-file "$T/prune.key" --json >"prune.$i" 2>&1 </dev/null &
    pids[$i]=$!
  done
  pk backup lab/one
  status=$?
  wait "${pids[1]}" || tail -n 1 "$T/prune.1" | sed 's/^/# first: /'
  wait "${pids[2]}" || tail -n 1 "$T/prune.2" | sed 's/^/# second: /'
  [ $status = 0 ] && tail -q -n 1 "$T/prune.1" "$T/prune.2" | grep -c '"status":"OK"' | grep -qx 2
  claim "$where: two collectors and a backup at once all end well"
  pk verify --all --repository main --level decode && restores two two && restores one one
  claim "$where: and everything is whole"
  pk scrub --repository main
  claim "$where: also for scrub, which has no key"
}

config "$T/repo" ''
round folder

s3_start "${S3_KIND:-versitygw}" "$T/server"
case $? in
0) ;;
77) skip 'the same in a bucket' "$S3_WHY" && finish ;;
*) echo "Bail out! $S3_WHY" && exit 1 ;;
esac
s3 mb backups || { echo 'Bail out! no bucket' && exit 1; }
unset AWS_SESSION_TOKEN AWS_PROFILE AWS_REGION AWS_DEFAULT_REGION
export AWS_EC2_METADATA_DISABLED=true no_proxy='*'
(umask 077 && printf '[default]\naws_access_key_id = %s\naws_secret_access_key = %s\n' "$S3_ACCESS" "$S3_SECRET" >"$T/credentials")
config s3://backups/team "    s3: { endpoint: $S3_ENDPOINT, region: $S3_REGION, credentials: bucket }"
round bucket

# Eight hosts and a collector without grace: every backup ends well, though they lose races for entries and packs to each other.
mkdir -p hosts && {
  sed '/^surfaces:/,$d' proofkeep.yaml
  echo surfaces:
  for i in 1 2 3 4 5 6 7 8; do echo "  h$i: { kind: files, class: truth, paths: [$T/hosts/$i] }"; done
  sed -n '/^environments:/,$p' proofkeep.yaml
} >fleet.yaml
head -c 2000000 /dev/urandom >common
collections() { [ "$(wc -l <"$T/collections")" -ge "$1" ]; }
host() { # I: three rounds, in which all have something in common that the next round lets go
  local i=$1 round failed=0
  for round in 1 2 3; do
    mkdir -p "$T/hosts/$i" && { cat common && echo "$round"; } >"$T/hosts/$i/common" && head -c 900000 /dev/urandom >"$T/hosts/$i/own"
    for verb in backup 'verify --level checksum'; do
      # shellcheck disable=SC2086
      "$P" $verb "lab/h$i" --config fleet.yaml --cache-dir "$T/cache.h$i" --jobs 1 >"host.$i" 2>&1 </dev/null || { failed=1 && echo "# host $i, round $round, $verb: $(grep -a -A2 '^error' "host.$i" | tr '\n' ' ')"; }
    done
    [ "$round" = 3 ] || await 300 collections $(($(wc -l <"$T/collections") + 1 + i % 2)) # else the collector might not get through at all
  done
  return $failed
}
: >collections
pids=()
for i in 1 2 3 4 5 6 7 8; do host $i >"fleet.$i" & pids+=($!); done
while kill -0 "${pids[@]}" 2>/dev/null; do # any of them
  "$P" prune lab --config fleet.yaml --key-file "$T/prune.key" --cache-dir "$T/cache.c" --grace 0s --json >prune.fleet 2>&1 </dev/null
  status=$?
  case $status in
  0) cp prune.fleet "$T/out" && echo "forgotten $(result forgotten)" ;;
  5 | 10 | 11) echo "nothing: $status" ;; # held, no backup there yet, or others committed all the time
  *) echo "wrong: $status: $(tail -n 3 prune.fleet | tr '\n' ' ')" ;;
  esac >>collections
done
wrong=0
for p in "${pids[@]}"; do wait "$p" || wrong=$((wrong + 1)); done
cat fleet.[1-8] && sed 's/^/# collection: /' collections
[ $wrong = 0 ] && ! grep -q '^wrong' collections
claim 'bucket: eight hosts and a collector at once: each of 24 backups and of as many verifications ends well'
awk '/^forgotten/ { n += $2 } END { exit n < 1 }' collections
claim 'bucket: while points were forgotten'
pk verify --all --repository main --level decode --config fleet.yaml
claim 'bucket: everything that has a receipt is whole'
for i in 1 2 3 4 5 6 7 8; do rm -rf back && pk restore "lab/h$i@latest" --into "$T/back" --config fleet.yaml && diff -r "hosts/$i" back >"$T/diff" || break; done
claim 'bucket: and every host has its own back'

# a pack of the bucket is altered, and another is gone
pack=$(s3 ls backups team/packs/d/ | sort -k 2 -n | awk 'END { print $1 }')
s3 get backups "$pack" >pack.bytes && python3 - <<'PY'
b = bytearray(open("pack.bytes", "rb").read())
b[len(b) // 2] ^= 1
open("pack.bytes", "wb").write(b)
PY
s3 rm backups "$pack" && s3 put backups "$pack" <pack.bytes
claim 'bucket: a pack is altered'
fails 4 PK-VER-001 scrub --repository main && grep -q "DAMAGE  corrupt  ${pack#team/}" "$T/out"
claim 'bucket: scrub names it'
pk repair lab --json
[ $? = 4 ] && [ "$(result packs_retired)" = 1 ] && ! s3 ls backups "$pack" | grep -q .
claim 'bucket: repair saves what it can'
pk backup lab/all --full-read && pk verify lab/two@latest --level decode && restores two two
claim 'bucket: the next backup heals the rest'
finish
