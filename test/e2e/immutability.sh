#!/bin/bash
# Object lock, versions, and a thief who has the bucket's own admin credential. What he left is looked at with
# test/harness/s3_client.py, what came back is compared with diff.
. "${SOURCE_ROOT:?the project}/test/e2e/lib/tap.sh"
. "$SOURCE_ROOT/test/harness/s3_server.sh"
trap 's3_stop' EXIT
unset AWS_SESSION_TOKEN AWS_PROFILE AWS_REGION AWS_DEFAULT_REGION
export AWS_EC2_METADATA_DISABLED=true no_proxy='*'

config() { # FILE BUCKET/PREFIX IMMUTABILITY
  cat >"$1" <<YAML
version: 1
platform: test
secrets:
  k: { file: $T/key-$KIND-${2%%/*} }
  bucket: { file: $T/credentials }
repositories:
  main:
    url: s3://$2
    s3: { endpoint: "$S3_ENDPOINT", region: $S3_REGION, credentials: bucket, timeout: 5s, connections: 4 }
    encrypt: { key: k, kind: key_file }
    $3
surfaces:
  artifacts: { kind: files, class: truth, paths: [$T/tree] }
environments:
  lab:
    repository: main
    policy: { rpo: 24h, rto: 1h, retention: { keep: { last: 1 }, min_copies: 1 } }
YAML
}
stranger() { # CONFIG ARGUMENT…: the program on a host that knows nothing
  local c=$1 cache
  shift
  cache=$(mktemp -d "$T/stranger.XXXX")
  tap_last="stranger: proofkeep $* --config $c"
  XDG_CACHE_HOME=$cache "$P" "$@" --config "$c" >"$T/out" 2>"$T/err" </dev/null
}
comes_back() { # CONFIG NAME: restores on a fresh host what was backed up
  rm -rf "$T/$2"
  stranger "$1" restore lab/artifacts@latest --into "$T/$2" && diff -r --no-dereference tree "$T/$2" >"$T/diff"
}
made() { # CONFIG BUCKET/PREFIX IMMUTABILITY: a repository with two points
  config "$@"
  rm -rf tree && mkdir -p tree/deep
  seq 100000 >tree/numbers
  head -c 3000000 /dev/urandom >tree/random
  pk init --config "$1" --repository main --key-file "$T/key-$KIND-${2%%/*}" && pk backup lab/all --config "$1" || return 1
  head -c 3000000 /dev/urandom >tree/deep/more
  pk backup lab/all --config "$1"
}
drift_of() { # NAME: the state of one signal of the last run
  python3 -c '
import json, sys
d = json.JSONDecoder().raw_decode(open(sys.argv[1]).read())[0]
print(next(s["state"] for s in d["signals"] if s["signal"] == sys.argv[2]))' "$T/out" "$1"
}

# A bucket without either: a theft is found out, and that is all.
plain() {
  s3 mb "plain-$KIND" && made plain.yaml "plain-$KIND/a" ''
  claim "$KIND: a repository in a bucket without versions and lock"
  fails 1 PK-DOC-001 doctor --config plain.yaml
  pk store drift --config plain.yaml && grep -q 'object lock is off' "$T/out" && grep -q 'no versions are kept' "$T/out" && grep -q 'nothing is locked' "$T/out"
  claim "$KIND: drift tells what nobody asked for with its consequence, and that is no breach"
  s3 steal "plain-$KIND" a/packs/d/ overwrite >"$T/stolen"
  fails 4 PK-VER-001 verify lab/artifacts@latest --level checksum --config plain.yaml
  claim "$KIND: packs that were overwritten are found"
  fails 5 PK-IMM-002 repair --from-versions --config plain.yaml && says 'keeps no versions'
  claim "$KIND: without versions there is nothing to bring back"
  s3 steal "plain-$KIND" a/log/ delete >"$T/stolen"
  fails 4 PK-LOG-002 list lab/all --config plain.yaml
  claim "$KIND: a log that was deleted is a rollback to whoever saw it"
}

# Versions, no lock: what he deletes and overwrites is seen through at once, and brought back.
versions() {
  local b=versions-$KIND n
  s3 mb "$b" && s3 versioning "$b" && made versions.yaml "$b/a" ''
  claim "$KIND: a repository in a bucket that keeps versions"
  pk store drift --config versions.yaml --json && [ "$(drift_of versions)" = ok ] && [ "$(drift_of hidden)" = ok ] && [ "$(drift_of lock)" = told ]
  claim "$KIND: nothing is hidden in it yet"
  n=$(s3 ls "$b" | wc -l)
  s3 steal "$b" a/ delete >"$T/stolen" && [ -z "$(s3 ls "$b")" ]
  claim "$KIND: a thief deletes all $n objects"
  fails 6 PK-IMM-001 store drift --config versions.yaml && grep -q '^breached hidden .*deleted and 0 overwritten' "$T/out"
  claim "$KIND: drift counts what is hidden"
  comes_back versions.yaml back1 && says 'deleted and 0 overwritten by somebody'
  claim "$KIND: a host that knows nothing restores all the same, and says what it saw through"
  stranger versions.yaml verify --all --level decode && says 'deleted and'
  claim "$KIND: so does a verification"
  stranger versions.yaml doctor
  grep -q 'by somebody' "$T/out" && grep -q 'repair --from-versions' "$T/out"
  claim "$KIND: doctor tells of it"
  stranger versions.yaml init --repository main --key-file "$T/other-key"
  [ $? = 5 ] && says PK-REP-002 && [ ! -e "$T/other-key" ]
  claim "$KIND: no second repository is made over the first"
  n=$(s3 ls "$b" | wc -l)
  stranger versions.yaml repair --from-versions --dry-run && grep -q 'can be put back' "$T/out" && [ "$(s3 ls "$b" | wc -l)" = "$n" ]
  claim "$KIND: a dry run brings nothing back"
  stranger versions.yaml repair --from-versions --json && [ "$(result lost)" = 0 ] && [ "$(result revived)" -gt 5 ]
  claim "$KIND: everything in use is brought back"
  pk store drift --config versions.yaml --json && [ "$(drift_of hidden)" = ok ]
  claim "$KIND: and nothing is hidden any more"
  stranger versions.yaml verify --all --level decode && ! says 'by somebody'
  claim "$KIND: nor seen through"
  s3 steal "$b" a/ overwrite >"$T/stolen"
  comes_back versions.yaml back2 && says 'overwritten by somebody'
  claim "$KIND: what he overwrites is seen through as well"
  pk verify --all --level decode --config versions.yaml && says 'overwritten by somebody'
  claim "$KIND: also by who has seen the log before"
  pk repair --from-versions --json --config versions.yaml && [ "$(result lost)" = 0 ] && [ "$(result covered)" -gt 5 ]
  claim "$KIND: and brought back"
  stranger versions.yaml verify --all --level decode && ! says 'by somebody' && comes_back versions.yaml back3
  claim "$KIND: after which it is as before"
  before=$(s3 versions "$b" | wc -l)
  pk repair --from-versions --json --config versions.yaml && [ "$(result revived)" = 0 ] && [ "$(s3 versions "$b" | wc -l)" = "$before" ]
  claim "$KIND: a second run has nothing to do"
  pk backup lab/all --config versions.yaml && pk verify lab/artifacts@latest --config versions.yaml && pk prune lab --grace 1s --config versions.yaml && pk repair --from-versions --json --config versions.yaml && [ "$(result revived)" = 0 ]
  claim "$KIND: what retention removed is not brought back"
  rm -f "$T/reader"
  pk key add --role restore --key-file-out "$T/reader" --config versions.yaml && pk list lab/all --config versions.yaml --key-file "$T/reader"
  claim "$KIND: another key opens it"
  id=$("$P" key list --json --config versions.yaml 2>/dev/null | python3 -c '
import json, sys
print(next(k["id"] for k in json.load(sys.stdin)["keys"] if k["role"] == "restore"))')
  pk key remove "$id" --config versions.yaml && fails 12 PK-KEY-001 list lab/all --config versions.yaml --key-file "$T/reader"
  claim "$KIND: a key that was removed does not come back by its old version"
  pk repair --from-versions --json --config versions.yaml && [ "$(result revived)" = 0 ] && fails 12 PK-KEY-001 list lab/all --config versions.yaml --key-file "$T/reader"
  claim "$KIND: nor is its slot revived"
}

# Object lock: he cannot even erase.
locked() {
  local b=locked-$KIND
  s3 mb "$b" lock && made locked.yaml "$b/a" 'immutability: { mode: compliance, packs: 5m, index: 5m, log: 10m, keys: 10m }'
  claim "$KIND: a repository whose objects are locked"
  s3 retention "$b" a/format >"$T/r" && grep -q COMPLIANCE "$T/r" && s3 retention "$b" "a/log/0000000000000001" | grep -q COMPLIANCE && s3 retention "$b" "$(s3 ls "$b" a/packs/ | head -n 1 | cut -d' ' -f1)" | grep -q COMPLIANCE
  claim "$KIND: format, log and packs are"
  ! s3 retention "$b" a/checkpoint >"$T/r" 2>&1
  claim "$KIND: what is replaced is not"
  pk store drift --config locked.yaml --json && [ "$(drift_of retention)" = ok ] && [ "$(drift_of lock)" = ok ] && [ "$(drift_of removal)" = ok ]
  claim "$KIND: the bucket is as the policy asks"
  pk status --metrics --config locked.yaml && grep -q '^proofkeep_immutability_ok{repo="main"} 1$' "$T/out" && grep -q '^proofkeep_retention_drift{repo="main"} 0$' "$T/out"
  claim "$KIND: and the metrics say so"
  pk store renew --json --config locked.yaml && [ "$(result renewed)" = 0 ] && [ "$(result missing)" = 0 ]
  claim "$KIND: nothing has half run out"
  sed 's/packs: 5m/packs: 20m/; s/log: 10m/log: 1h/' locked.yaml >longer.yaml
  if [ "$KIND" = minio ]; then
    sed 's/mode: compliance/mode: governance/' locked.yaml >soft.yaml
    pk backup lab/all --config soft.yaml && fails 6 PK-IMM-001 store drift --config locked.yaml
    claim "$KIND: locks of a weaker mode than asked for are a breach"
    pk store renew --config locked.yaml --json && [ "$(result renewed)" -gt 0 ] && pk store drift --config locked.yaml
    claim "$KIND: and are made stronger by who may bypass them"
  fi
  fails 6 PK-IMM-001 store drift --config longer.yaml && grep -q 'not locked as the policy asks' "$T/out"
  claim "$KIND: locks that are shorter than a new policy asks are a breach"
  was=$(s3 retention "$b" "a/log/0000000000000001")
  pk store renew --json --config longer.yaml && [ "$(result renewed)" -gt 3 ] && [ "$(s3 retention "$b" "a/log/0000000000000001")" != "$was" ]
  claim "$KIND: and are renewed"
  pk store renew --json --config longer.yaml && [ "$(result renewed)" = 0 ] && [ "$(result looked_at)" = 0 ]
  claim "$KIND: a second run remembers and asks for nothing"
  rm -rf tree/random && head -c 3000000 /dev/urandom >tree/random && pk backup lab/all --config locked.yaml && pk verify lab/artifacts@latest --level checksum --config locked.yaml
  sleep 1.1
  pk prune lab --grace 1s --json --config locked.yaml && [ "$(result locked_objects)" -gt 0 ] && [ "$(result forgotten)" -gt 0 ]
  claim "$KIND: pruning leaves what is locked, and does not fail for it"
  entries=$(s3 ls "$b" a/log/ | wc -l)
  pk prune lab --grace 1s --config locked.yaml && says 'locked until 20'
  claim "$KIND: says until when, and tries again"
  [ "$(s3 ls "$b" a/log/ | wc -l)" = "$entries" ]
  claim "$KIND: the log does not grow by that"
  for key in "a/log/0000000000000001" "$(s3 ls "$b" a/packs/ | head -n 1 | cut -d' ' -f1)"; do
    until=$(s3 retention "$b" "$key")
    s3_calls shorten "$b" "$key" >"$T/calls" && [ "$(wc -l <"$T/calls")" = 5 ] && ! grep -q '	2' "$T/calls" && [ "$(s3 retention "$b" "$key")" = "$until" ]
    claim "$KIND: a thief with every right makes no lock shorter or weaker (${key%/*})"
  done
  s3_calls unlock "$b" a/ >"$T/calls" && ! grep -q '^\(suspend versioning\|disable lock\|delete bucket\|force delete bucket\)	2' "$T/calls"
  claim "$KIND: nor does he suspend versions, turn the lock off, or delete the bucket"
  s3 steal "$b" a/ erase >"$T/stolen" && [ "$(cut -d' ' -f2 "$T/stolen")" -gt 10 ]
  claim "$KIND: a thief with every right erases what he can: $(cat "$T/stolen") let through and refused"
  s3 steal "$b" a/ overwrite >"$T/stolen"
  s3 steal "$b" a/ delete >"$T/stolen" && [ -z "$(s3 ls "$b")" ]
  claim "$KIND: overwrites and hides the rest"
  comes_back locked.yaml back4
  claim "$KIND: nothing is lost"
  stranger locked.yaml repair --from-versions --json && [ "$(result lost)" = 0 ] && comes_back locked.yaml back5 && ! says 'by somebody'
  claim "$KIND: and all of it is brought back"
  s3 retention "$b" "$(s3 ls "$b" a/packs/ | head -n 1 | cut -d' ' -f1)" | grep -q COMPLIANCE
  claim "$KIND: locked as before"
  pk backup lab/all --config locked.yaml && comes_back locked.yaml back6
  claim "$KIND: backups go on"
}

# What the bucket's owner holds stays, whatever became of its recovery point, until he lets go of it.
held() {
  local b=held-$KIND held
  s3 mb "$b" lock && made held.yaml "$b/a" 'immutability: { mode: governance, packs: 6s, index: 6s, log: 6s, keys: 6s }' && pk verify --all --level checksum --config held.yaml
  claim "$KIND: a repository whose locks end soon"
  held=$(s3 ls "$b" a/packs/d/ | awk '{ print $1 }')
  for key in $held; do s3 hold "$b" "$key" ON || break; done && rm -rf tree/* && head -c 6000000 /dev/urandom >tree/other && pk backup lab/all --config held.yaml && pk verify --all --level checksum --config held.yaml
  claim "$KIND: the owner of the bucket puts a legal hold on its packs"
  sleep 7
  pk prune lab --grace 1s --config held.yaml && says 'locked by a legal hold' && [ "$(s3 ls "$b" a/packs/d/ | grep -c -F "$held")" = "$(wc -w <<<"$held")" ]
  claim "$KIND: prune leaves them, and says why"
  for key in $held; do s3 hold "$b" "$key" OFF; done
  pk prune lab --grace 1s --config held.yaml && ! s3 ls "$b" a/packs/d/ | grep -q -F "$held" && pk verify --all --level decode --config held.yaml
  claim "$KIND: once he has let go they are freed"
}

# Encryption at rest, as it is asked for and as it is. versitygw knows none.
at_rest() {
  local b=rest-$KIND kind pack
  s3 mb "$b" && made rest.yaml "$b/a" '' && pk store drift --config rest.yaml --json && [ "$(drift_of encryption)" = ok ]
  claim "$KIND: a repository that asks for no encryption at rest, which drift does not miss"
  for kind in 'sse: AES256' 'sse: "aws:kms", kms_key: k1'; do
    sed "s/connections: 4/&, $kind/" rest.yaml >asked.yaml
    fails 6 PK-IMM-001 store drift --config asked.yaml && grep -q '^breached encryption .* is asked for at rest, and what was stored last has' "$T/out"
    claim "$KIND: once $kind is asked for, what is stored without it is a breach"
    head -c 3000000 /dev/urandom >tree/random && s3 ls "$b" a/packs/d/ | sort >before && pk backup lab/all --config asked.yaml && pack=$(s3 ls "$b" a/packs/d/ | sort | comm -13 before - | awk 'NR == 1 { print $1 }')
    claim "$KIND: a backup that asks for it"
    s3 head "$b" "$pack" >"$T/head"
    if [ "$KIND" = minio ]; then
      word=${kind#sse: } word=${word%%,*} word=${word//\"/}
      grep -qix "x-amz-server-side-encryption: $word" "$T/head" && { [ "$word" = AES256 ] || grep -q 'key-id: .*k1' "$T/head"; } && pk store drift --config asked.yaml --json && [ "$(drift_of encryption)" = ok ]
      claim "$KIND: is encrypted so by the server, as it says itself, and drift is content"
    else
      ! grep -qi server-side-encryption "$T/head" && fails 6 PK-IMM-001 store drift --config asked.yaml
      claim "$KIND: is not encrypted by a server that cannot, and drift says so"
    fi
  done
  comes_back asked.yaml back-rest
  claim "$KIND: all of it comes back"
}

# What a bucket's owner changes by and by: each is a signal of its own, with what will come of it.
loosened() {
  local b=loose-$KIND
  s3 mb "$b" && s3 versioning "$b" && made loose.yaml "$b/a" '' && pk store drift --config loose.yaml --json && [ "$(drift_of public)" = ok ] && [ "$(drift_of expiry)" = ok ] && [ "$(drift_of removal)" = ok ]
  claim "$KIND: a repository in a bucket of which nothing is open or expires"
  s3 policy "$b" <<E
{"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Principal": {"AWS": ["*"]}, "Action": ["s3:GetObject"], "Resource": ["arn:aws:s3:::$b/*"]}]}
E
  fails 6 PK-IMM-001 store drift --config loose.yaml && grep -q '^breached public .*open to everyone' "$T/out" && ! grep -q '^breached [^p]' "$T/out"
  claim "$KIND: one that all the world may read is a breach"
  stranger loose.yaml doctor
  grep -q '^warning  drift .*open to everyone' "$T/out"
  claim "$KIND: which doctor tells as well"
  if [ "$KIND" = minio ]; then
    s3 lifecycle "$b" 30 7
    fails 6 PK-IMM-001 store drift --config loose.yaml && grep -q '^breached expiry .*removes objects after 30 d: backups will vanish' "$T/out" && grep -q '^told .*old-versions .*after 7 d' "$T/out"
    claim "$KIND: a rule that lets objects expire is a breach, one for old versions is told"
  fi
  pk status --metrics --config loose.yaml && grep -q '^proofkeep_retention_drift{repo="main"} [12]$' "$T/out"
  claim "$KIND: an alert can go by it"
  pk key add --role writer --key-file-out "$T/writer-$KIND" --config loose.yaml && fails 6 PK-IMM-001 store drift --config loose.yaml --key-file "$T/writer-$KIND" && grep -q '^breached removal .*only adds backups, and yet' "$T/out"
  claim "$KIND: a host that only adds backups and whose credentials can remove is a breach"
  config asked.yaml "$b/a" 'immutability: { mode: governance, packs: 5m, index: 5m, log: 10m, keys: 10m }'
  fails 6 PK-IMM-001 store drift --config asked.yaml && grep -q '^breached lock .*object lock is off' "$T/out"
  claim "$KIND: a bucket without object lock is one where locks are asked for"
}

for KIND in ${S3_KIND:-versitygw minio}; do
  mkdir -p "$T/server-$KIND"
  s3_start "$KIND" "$T/server-$KIND"
  case $? in
  0) ;;
  77)
    skip "$KIND: object lock and versions" "$S3_WHY"
    continue
    ;;
  *) echo "Bail out! $S3_WHY" && exit 1 ;;
  esac
  rm -f "$T/credentials"
  (umask 077 && printf '[default]\naws_access_key_id = %s\naws_secret_access_key = %s\n' "$S3_ACCESS" "$S3_SECRET" >"$T/credentials")
  rm -rf "$XDG_CACHE_HOME"
  plain
  versions
  locked
  held
  at_rest
  loosened
  s3_stop
done

# ---- without a server
config folder.yaml x/a 'immutability: { mode: compliance }'
sed -i 's|url: s3://.*|url: /srv/backup|; /s3: {/d' folder.yaml
fails 2 PK-CFG-002 list --config folder.yaml && says 'immutability wants a bucket'
claim 'a folder cannot be locked'
fails 2 PK-USE-001 repair --from-versions --from "$T/other" --repository "$T/nothing" && says 'takes no --plan and no --from'
claim 'versions are looked for in one place'
finish
