#!/bin/bash
# Trust zones in a bucket with object lock: hosts that only write renew the locks of what is in use, who only prunes leaves
# what is locked and erases it for good afterwards, and neither makes a lock shorter; where the server lets them, doctor says so.
. "${SOURCE_ROOT:?the project}/test/e2e/lib/tap.sh"
. "$SOURCE_ROOT/test/e2e/lib/s3.sh"
. "$SOURCE_ROOT/test/e2e/lib/roles.sh"
export S3_SIDECAR=$T/sidecar && mkdir "$S3_SIDECAR"
locks() { # MODE TIME: for every host
  local name
  for name in admin writer prune; do
    sed -i '/immutability:/d' "$T/$name.yaml"
    sed -i "s/^    encrypt: .*/&\n    immutability: { mode: $1, log: 1h, keys: 1h, packs: $2, index: $2 }/" "$T/$name.yaml"
  done
}
policies() { # for each user what is printed
  local role
  if [ "$KIND" = minio ]; then
    for role in writer prune; do
      "$P" store policy --role $role --repository main --config "$T/admin.yaml" 2>/dev/null | s3_minio policy $role || return 1
    done
  else
    for role in writer prune; do
      "$P" store policy --role $role --style bucket --principal $role --repository main --config "$T/admin.yaml" 2>/dev/null
    done | one_policy | s3 policy backups
  fi
}
data() { s3 ls backups team/a/packs/d/ | awk '{ print $1 }' | sort; }
until_of() { s3 retention backups "$1" | awk '{ print $2 }'; }

for KIND in ${S3_KIND:-versitygw minio}; do
  rm -rf "$T/server" "$T"/cache-* "$T/tree" "$T"/*.key && mkdir "$T/server" "$T/tree"
  s3_start "$KIND" "$T/server"
  case $? in
  0) ;;
  77)
    skip "$KIND: roles and object lock" "$S3_WHY"
    continue
    ;;
  *) echo "Bail out! $S3_WHY" && exit 1 ;;
  esac
  s3 mb backups lock || { echo 'Bail out! no bucket' && exit 1; }
  role_make "timeout: 5s, connections: 4" admin writer prune
  (umask 077 && printf '[default]\naws_access_key_id = %s\naws_secret_access_key = %s\n' "$S3_ACCESS" "$S3_SECRET" >"$T/admin.aws")
  locks compliance 8s
  as admin init --repository main --key-file "$T/admin.key" && as admin key add --role writer --key-file-out "$T/writer.key" &&
    as admin key add --role prune --key-file-out "$T/prune.key" && policies
  claim "$KIND: a repository with locks, and users who may do what is printed for it"

  # ---- renewal
  head -c 2000000 /dev/urandom >"$T/tree/a" && as writer backup lab/all --json && ! says denied && ! grep -q '"warning"' "$T/out" && one=$(data)
  claim "$KIND: writer backs up, without a remark"
  rm "$T/tree/a" && head -c 2000000 /dev/urandom >"$T/tree/b" && as writer backup lab/all && as admin verify --all --level checksum && two=$(comm -13 <(echo "$one") <(data))
  claim "$KIND: and once more, other bytes"
  sleep 1.1
  as prune prune lab --grace 1s --json && [ "$(result locked_bytes)" -gt 2000000 ] && [ "$(result freed_bytes)" = 0 ] && [ "$(data)" = "$(sort <<<"$one"$'\n'"$two")" ]
  claim "$KIND: prune, who may read no pack, leaves what is locked, and counts none of it freed"
  as prune prune lab --grace 1s && says 'locked until 20'
  claim "$KIND: and says until when"
  old=$(head -n 1 <<<"$one") live=$(head -n 1 <<<"$two") old_until=$(until_of "$old") live_until=$(until_of "$live")
  sleep 5
  as writer backup lab/all --json && ! says denied && ! grep -q '"warning"' "$T/out" && [[ $(until_of "$live") > $live_until ]]
  claim "$KIND: a backup by who may not read packs makes the locks longer that are due"
  [ "$(until_of "$old")" = "$old_until" ]
  claim "$KIND: but not of a pack that no recovery point uses"
  as writer store drift --json
  ! says denied && python3 -c '
import json, sys
d = json.JSONDecoder().raw_decode(open(sys.argv[1]).read())[0]
assert next(s["state"] for s in d["signals"] if s["signal"] == "retention") == "ok"' "$T/out"
  claim "$KIND: and drift sees them locked"

  # ---- the end of the lock
  sleep 4
  as prune prune lab --grace 1s --json && [ -z "$(s3 versions backups "$old")" ]
  claim "$KIND: once the lock has ended prune erases it for good, by its own credentials"
  [ -n "$(s3 versions backups "$live")" ] && as admin verify --all --level decode
  claim "$KIND: and nothing that is in use"
  locks compliance 1h && as writer store renew && [[ $(until_of "$live") > $(date -u -d '50 minutes' +%FT%T) ]]
  claim "$KIND: writer makes locks longer as a new policy asks"
  for role in writer prune; do
    S3_ACCESS=$role S3_SECRET=$role-secret s3_calls shorten backups "$live" >"$T/calls" && ! grep -q '	2' "$T/calls"
    claim "$KIND: $role makes no lock of compliance shorter or weaker"
  done
  S3_ACCESS=prune S3_SECRET=prune-secret s3_calls erase backups "$live" >"$T/calls" && ! grep -q '	2' "$T/calls" && [ "$(s3 versions backups "$live" | grep -c version)" = 1 ]
  claim "$KIND: nor does prune, who may erase, erase what is locked"

  # ---- who may not even ask
  locks governance 1h && policies && as writer backup lab/all && rm "$T/tree/b" && head -c 2000000 /dev/urandom >"$T/tree/c" && as writer backup lab/all && as admin verify --all --level checksum
  claim "$KIND: in governance"
  as writer doctor
  if [ "$KIND" = minio ]; then
    grep -q '^warning  store .*can make a lock in governance shorter' "$T/out" && grep -q 'mode: compliance' "$T/out"
    claim "$KIND: holds no lock of governance, and doctor says so"
  else
    grep -q 'these credentials cannot make a lock shorter' "$T/out"
    claim "$KIND: writer cannot make a lock shorter, as doctor found by trying"
  fi
  "$P" store policy --role prune --repository main --config "$T/admin.yaml" 2>"$T/notes" >"$T/policy" && grep -q NeverErase "$T/policy" && ! grep -q ProofkeepPruneErase "$T/policy" && grep -q 'With the mode compliance' "$T/notes"
  claim "$KIND: so that there nobody is let erase"
  if [ "$KIND" = minio ]; then
    sed 's/"s3:GetObjectRetention"/"s3:GetObjectTagging"/' "$T/policy" | s3_minio policy prune && before=$(s3 versions backups team/a/packs/d/)
    sleep 1.1
    fails 1 PK-S3-007 prune lab --grace 1s --config "$T/prune.yaml" --cache-dir "$T/cache-prune" && says 's3:GetObjectRetention' && [ "$(s3 versions backups team/a/packs/d/)" = "$before" ]
    claim "$KIND: who may not ask for a lock takes nothing for unlocked, and says what is missing"
  fi
  s3_stop
done
finish
