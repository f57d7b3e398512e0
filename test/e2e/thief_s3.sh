#!/bin/bash
# Thieves of a shared store. One has all that a host has which only backs up: its user of the object store and its key. He
# tries every call there is; what he gets through is noticed, and undone from the bucket's versions. The other has the
# bucket's own admin credentials, where neither versions nor object lock are kept: he can destroy, and everybody notices.
. "${SOURCE_ROOT:?the project}/test/e2e/lib/tap.sh"
. "$SOURCE_ROOT/test/e2e/lib/s3.sh"
python3 -c 'import cryptography' 2>/dev/null || { echo "1..0 # SKIP python's module cryptography is not installed"; exit 0; }
export PYTHONDONTWRITEBYTECODE=1
KIND=${S3_KIND:-minio}
export S3_SIDECAR=$T/sidecar && mkdir "$S3_SIDECAR"
s3_needed "$KIND"
s3 mb kept && s3 versioning kept && s3 mb bare || { echo 'Bail out! no buckets' && exit 1; }
credentials() { (umask 077 && printf '[default]\naws_access_key_id = %s\naws_secret_access_key = %s\n' "$2" "$3" >"$T/$1.aws"); }
credentials admin $S3_ACCESS $S3_SECRET
s3_user host host-secret "$T/server" && credentials host host host-secret
at() { echo "s3://$1/a?endpoint=$S3_ENDPOINT&credentials_file=$T/$2.aws&timeout=5s"; }
admin=(-r "$(at kept admin)" --key-file "$T/admin.key" --cache-dir "$T/cache-admin")
host=(-r "$(at kept host)" --key-file "$T/host.key" --cache-dir "$T/cache-host")
mkdir src && for i in $(seq 1 40); do head -c 200000 /dev/urandom >"src/f$i"; done

# ---- a host that only writes
pk init "${admin[@]:0:4}" && pk key add "${admin[@]}" --role writer --key-file-out "$T/host.key"
claim 'a repository is made, and a key for a host'
if [ "$KIND" = minio ]; then
  "$P" store policy --role writer -r "$(at kept host)" 2>/dev/null | s3_minio policy host
else
  "$P" store policy --role writer --style bucket --principal host -r "$(at kept host)" 2>/dev/null | s3 policy kept
fi
pk backup "${host[@]}" --files "$T/src" --name data && head -c 300000 /dev/urandom >src/f1 && pk backup "${host[@]}" --files "$T/src" --name data
claim "with its user's policy it backs up"
s3 put kept a/sess/other <<<other
objects() { s3 versions kept a/ | grep -v '^a/\(checkpoint\|tile/\)' | sort; }
objects >"$T/before"
UPLOAD_KEY=a/packs/d/zz/other
UPLOAD=$(s3 begin kept $UPLOAD_KEY)
VERSION=$(s3 versions kept a/packs/d/ | awk '{ print $2; exit }')
export UPLOAD UPLOAD_KEY VERSION

# ---- stolen
S3_ACCESS=host S3_SECRET=host-secret s3_calls thief kept a/ >"$T/out" 2>"$T/err"
[ "$(grep -c . "$T/out")" -ge 35 ] && [ ! -s "$T/err" ]
claim 'the thief tries every call'
awk -F'\t' '$2 ~ /^2/ { print $1 }' "$T/out" >"$T/through"
[ "$KIND" = minio ] && echo 'list versions' >"$T/wanted" || : >"$T/wanted" # MinIO lets who may list names list versions
cat >>"$T/wanted" <<'LINES'
abort another's upload
overwrite pack
overwrite index
overwrite entry
overwrite checkpoint
copy over a pack
LINES
diff "$T/wanted" "$T/through"
claim 'what is let through is what no policy but that of AWS can refuse: names that the host may create'
objects >"$T/after"
[ -z "$(comm -23 "$T/before" "$T/after")" ]
claim 'no version of anything is gone'
S3_ACCESS=host S3_SECRET=host-secret s3 get kept "$(awk '/packs/ { print $1; exit }' "$T/before")" >/dev/null 2>"$T/err"
[ $? != 0 ] && grep -q AccessDenied "$T/err"
claim 'he reads no pack, not even as ciphertext'

# ---- noticed
pk verify "${admin[@]}" --all --level checksum && says '0 objects of the repository were deleted and [3-9] overwritten by somebody'
claim 'admin, who may look at versions, sees through all that he wrote over, and is told'
fails 4 PK-LOG-002 backup "${host[@]}" --files "$T/src" --name data
claim 'the host, who may not, notices the entry that is not what it was, and adds nothing'
pk list "${admin[@]:0:4}" --cache-dir "$T/cache-new" && [ "$(grep -c '^local/data@' "$T/out")" = 2 ]
claim 'whoever sees the repository for the first time sees through it too'

# ---- undone
s3 undo kept a/log/ && pk verify "${admin[@]}" --all --level checksum && says 'overwritten by somebody (first seen: index/'
claim 'without the versions that he stored over the log the index object that he wrote over is named'
s3 undo kept a/index/ && pk verify "${admin[@]}" --all --level checksum && says 'overwritten by somebody (first seen: packs/'
claim 'then the pack'
s3 undo kept a/packs/ && pk verify "${admin[@]:0:4}" --cache-dir "$T/cache-newer" --all --level decode
claim 'without his versions of those, every byte is there'
pk restore "${admin[@]}" local/data@latest --into "$T/back" && diff -r src back >/dev/null
claim 'what was backed up comes back'
pk backup "${host[@]}" --files "$T/src" --name data && pk verify "${admin[@]}" --all --level present && [ "$(s3 get kept a/checkpoint | wc -l)" -ge 5 ]
claim 'and the next backup publishes a checkpoint again'

# ---- the bucket's own admin, and neither versions nor lock
unset UPLOAD UPLOAD_KEY VERSION
bare=(-r "$(at bare admin)" --key-file "$T/bare.key" --cache-dir "$T/cache-bare")
pk init "${bare[@]:0:4}"
keys='admin writer restore prune'
cp "$T/bare.key" "$T/bare-admin.key"
for role in writer restore prune; do pk key add "${bare[@]}" --role $role --key-file-out "$T/bare-$role.key" || break; done
[ -e "$T/bare-prune.key" ] && pk backup "${bare[@]}" --files "$T/src" --name data && head -c 300000 /dev/urandom >src/f2 && pk backup "${bare[@]}" --files "$T/src" --name data
claim 'another bucket keeps what only its owner guards'
with() { # ROLE ARGUMENT...
  local role=$1
  shift
  "$@" -r "$(at bare admin)" --key-file "$T/bare-$role.key" --cache-dir "$T/cache-bare-$role"
}
seen=1
for role in $keys; do with $role pk list || seen=0; done
[ $seen = 1 ]
claim 'every role has seen the log'
everybody_says() { # CODE
  local role
  for role in $keys; do
    with $role fails 4 "$1" list && says 'why: ' && says 'next: ' || return 1
  done
  with writer fails 4 "$1" backup --files "$T/src" --name data && with restore fails 4 "$1" restore local/data@latest --into "$T/none" &&
    with prune fails 4 "$1" prune local --collect-only && with restore fails 4 "$1" verify --all --level present
}
logs() { s3 ls bare a/log/ | awk '{ print $1 }' | sort; }
mkdir saved && s3 get bare a/checkpoint >saved/checkpoint
last=$(logs | tail -n 1) before_last=$(logs | tail -n 2 | head -n 1)
s3 get bare "$last" >saved/last && s3 get bare "$before_last" >saved/before_last
s3 rm bare "$last"
everybody_says PK-LOG-002
claim 'he cuts the end of the log: every role notices, whatever it is about to do'
with admin fails 4 PK-LOG-002 list && says 'has [0-9]* entries, but this machine has already seen [0-9]*' && says 'compare with a copy'
claim 'says how much was there, and what to do'
pk list "${bare[@]:0:4}" --cache-dir "$T/cache-first"
[ $? = 4 ] && says PK-LOG-002 && says checkpoint
claim 'the signed checkpoint tells whoever sees the log for the first time'
s3 put bare a/checkpoint <<<'garbage'
everybody_says PK-LOG-002
claim 'he writes over the checkpoint as well: who has seen the log still knows'
s3 put bare "$last" <saved/before_last
everybody_says PK-LOG-002
claim 'he stores another entry in the place of the last: they know'
s3 put bare "$last" <saved/last && s3 put bare a/checkpoint <saved/checkpoint
with restore pk verify --all --level decode
claim 'as it was, all is well'
s3 rm bare "$before_last"
with admin pk list
claim 'an entry in the middle is missed by whoever must read it'
pk list "${bare[@]:0:4}" --cache-dir "$T/cache-second"
cold=$?
with admin pk verify --all --level present
[ $? = 4 ] && says PK-VER-001 && [ $cold = 4 ]
claim 'verify and a new client name what is gone'
s3 put bare "$before_last" <saved/before_last
pack=$(s3 ls bare a/packs/d/ | awk '{ print $1; exit }')
s3 get bare "$pack" >saved/pack && s3 rm bare "$pack"
with restore fails 4 PK-VER-001 verify --all --level present && grep -q "${pack#a/}" "$T/out" "$T/err"
claim 'he deletes a pack: verify names it'
with restore pk restore local/data@latest --into "$T/lost"
[ $? = 4 ] && says PK-REP-004 && [ ! -e "$T/lost" ]
claim 'and a restore that needs it ends without leaving half'
{ head -c 5000 saved/pack && printf X && tail -c +5002 saved/pack; } | s3 put bare "$pack"
with prune fails 4 PK-VER-001 verify --all --level checksum
claim 'he changes a byte of it: found without a key that reads'
s3 put bare "$pack" <saved/pack
index=$(s3 ls bare a/index/ | awk '{ print $1; exit }')
s3 get bare "$index" >saved/index && s3 put bare "$index" <<<'garbage'
with restore pk verify --all --level checksum
[ $? = 4 ] && grep -q "${index#a/}" "$T/out" "$T/err"
claim 'he writes over an index object: verify names it'
s3 put bare "$index" <saved/index
for key in $(s3 ls bare a/keys/ | awk '{ print $1 }'); do s3 rm bare "$key"; done
with admin fails 12 PK-KEY-001 list
claim 'he deletes the key slots: nothing opens, and it is said; a recovery kit has its own slot'
s3 rm bare a/format
with admin fails 10 PK-REP-001 list
claim 'he deletes the format: no repository is there'
finish
