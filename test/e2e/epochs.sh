#!/bin/bash
# A writer's host is stolen, with its key, its slot and a copy of the repository. The ids change: the thief recognises nothing
# that is stored later, the other hosts go on by themselves, and all that was stored comes back.
. "${SOURCE_ROOT:?the project}/test/e2e/lib/tap.sh"
python3 -c 'import cryptography' 2>/dev/null || { echo "1..0 # SKIP python's module cryptography is not installed"; exit 0; }
export PYTHONDONTWRITEBYTECODE=1
R=$T/repo
A=(-r "$R" --key-file "$T/admin.key")
id() { "$P" key list "${A[@]}" --json 2>/dev/null | python3 -c 'import json,sys; print(next(k["id"] for k in json.load(sys.stdin)["keys"] if k["label"]==sys.argv[1] and not k["removed"]))' "$1"; }
# recognised REPOSITORY KEYFILE FILE: what the id and index keys of a key file tell of a file of one chunk: how many index
# runs they open, and in how many of these the file is
recognised() { python3 "$SOURCE_ROOT/test/e2e/lib/forge.py" "$1" "$2" recognise "$3"; }
entries() { find "$R/log" -type f | wc -l; }

mkdir "$T/src" "$T/later" && for i in 1 2 3 4; do head -c 9000 /dev/urandom >"$T/src/f$i"; done
head -c 3M /dev/urandom >"$T/src/large"
echo 'a letter that the thief has a copy of' >"$T/src/letter"
pk init -r "$R" --key-file "$T/admin.key" && pk key generate --key-file-out "$T/identity" && public=$(cat "$T/out") && (umask 077 && echo 'a long phrase' >"$T/phrase")
claim 'a repository is made'
pk key add "${A[@]}" --role writer --key-file-out "$T/stolen.key" --label stolen &&
  pk key add "${A[@]}" --role writer --key-file-out "$T/file.key" --label by-file &&
  pk key add "${A[@]}" --role writer --passphrase-file-new "$T/phrase" --label by-phrase &&
  pk key add "${A[@]}" --role writer --recipient "$public" --label by-recipient &&
  pk key add "${A[@]}" --role restore --key-file-out "$T/restore.key" --label reader &&
  pk key add "${A[@]}" --role prune --key-file-out "$T/prune.key" --label pruner
claim 'four hosts write, by key files, a passphrase and an identity; one reads and one prunes'
pk key recovery-kit "${A[@]}" --role admin --allow-same-disk --kit-out "$T/admin.kit" && pk key recovery-kit "${A[@]}" --role restore --allow-same-disk --kit-out "$T/restore.kit"
claim 'two recovery kits are printed'
declare -A host=([stolen]="--key-file $T/stolen.key" [by-file]="--key-file $T/file.key" [by-phrase]="--passphrase-file $T/phrase" [by-recipient]="--key-file $T/identity")
backup() { # backup HOST FOLDER...
  local h=$1 f=()
  shift
  for folder in "$@"; do f+=(--files "$folder"); done
  # shellcheck disable=SC2086
  pk backup -r "$R" ${host[$h]} --cache-dir "$T/cache-$h" "${f[@]}" --name "$h" --json
}
backup stolen "$T/src" && backup by-file "$T/src" && [ "$(result surfaces.0.new_bytes)" = 0 ] && backup by-phrase "$T/src" && backup by-recipient "$T/src"
claim 'all of them back up; what one has stored the others do not store again'
cp -r "$R" "$T/copy"
[ "$(recognised "$R" "$T/stolen.key" "$T/src/letter")" = '4 1' ]
claim 'whoever steals a host, with its key and the repository, finds a letter that he knows in it'

# ---- the theft is noticed
n=$(entries)
pk key revoke "${A[@]}" "$(id stolen)" && says 'proofkeep key rotate-ids'
claim 'revoke says what comes next'
pk doctor "${A[@]}"
grep -q 'a key was revoked as compromised, and chunk ids and the index are still made with keys of that time' "$T/out"
claim 'so does doctor, until it is done'
pk key revoke "${A[@]}" "$(id reader)" && says 'only a new repository ends that' && ! says rotate-ids
claim 'and that it would not help against a key that reads'
pk key add "${A[@]}" --role restore --key-file-out "$T/restore2.key" --label reader2
fails 5 PK-KEY-002 key rotate-ids -r "$R" --key-file "$T/restore2.key" && fails 5 PK-KEY-002 key rotate-ids -r "$R" --key-file "$T/file.key" && says 'begun with an admin key'
claim 'another key than the admin'"'"'s begins no epoch'
n=$(entries)
pk key rotate-ids "${A[@]}" --json && [ "$(result epoch) $(result keys)" = '1 4' ] && [ "$(entries)" = $((n + 1)) ]
claim 'the ids change, by one entry of the log'
pk key list "${A[@]}" --json && grep -q '"epoch": *1' "$T/out"
claim 'key list says of which epoch they are'
pk doctor "${A[@]}"
! grep -q 'keys of that time' "$T/out"
claim 'and doctor is content'

# ---- the hosts
cp -r "$R" "$T/before" && cp -n "$T"/copy/keys/* "$T/before/keys/"
echo 'a secret of tomorrow' >"$T/src/tomorrow" && cp "$T/src/letter" "$T/later/letter"
backup by-file "$T/src" "$T/later" && backup by-phrase "$T/src" "$T/later" && backup by-recipient "$T/src" "$T/later"
claim 'the other hosts go on, with nothing given to them'
kept=$(result surfaces.0.stored_bytes)
[ "$kept" -lt 200000 ]
claim 'what they know to be unchanged is not stored again'
rm -rf "$T/cache-by-file" && backup by-file "$T/src" "$T/later" && [ "$(result surfaces.0.new_bytes)" -gt 3000000 ]
claim 'a host that has lost its memory stores all of it anew'
backup by-phrase "$T/src" "$T/later" && rm -rf "$T/cache-by-file" && backup by-file "$T/src" "$T/later" && [ "$(result surfaces.0.new_bytes)" = 0 ]
claim 'and once only'

# ---- the thief, who still gets hold of the repository, and has his slot
cp -n "$T"/copy/keys/* "$R/keys/"
fails 5 PK-KEY-002 backup -r "$R" --key-file "$T/stolen.key" --cache-dir "$T/cache-stolen" --files "$T/src" --name stolen && says 'was not given the keys of epoch 1'
claim 'with his slot put back he cannot write'
fails 5 PK-KEY-002 list -r "$R" --key-file "$T/stolen.key" --cache-dir "$T/cache-thief"
claim 'nor look'
forged=$(python3 "$SOURCE_ROOT/test/e2e/lib/forge.py" "$R" "$T/stolen.key" append delete/v1 '{"epoch": 2, "epoch_keys": "'"$(printf %064d 1)"'", "index_added": []}')
pk doctor "${A[@]}"
grep -q '1 entry of the log counts for nothing' "$T/out" && [ -n "$forged" ] && pk list "${A[@]}"
claim 'an epoch that he begins is none'
old=$(recognised "$T/before" "$T/stolen.key" "$T/src/letter") new=$(recognised "$R" "$T/stolen.key" "$T/src/letter")
[ "${new% *}" = "${old% *}" ] && [ "${new#* }" = 1 ]
claim 'he opens no index run that was stored later, and recognises in none the letter that was stored again'
python3 "$SOURCE_ROOT/test/e2e/lib/forge.py" "$R" "$T/stolen.key" recognise "$T/src/letter" "$T/admin.key" >"$T/seen" && [ "$(cat "$T/seen")" = 0 ]
claim 'not even if somebody opened them for him: the ids are others'

# ---- the past and the future
for key in admin.key restore2.key; do
  pk restore -r "$R" --key-file "$T/$key" local/stolen@latest --into "$T/old-$key" && diff "$T/src/large" "$T/old-$key/large" && pk restore -r "$R" --key-file "$T/$key" local/by-file@latest --into "$T/new-$key" && diff -r "$T/src" "$T/new-$key$T/src"
  claim "$key restores what was stored before and after"
done
for kit in admin restore; do
  pk restore -r "$R" --recovery-kit "$T/$kit.kit" local/by-file@latest --into "$T/kit-$kit" && diff -r "$T/src" "$T/kit-$kit$T/src" && pk restore -r "$R" --recovery-kit "$T/$kit.kit" local/stolen@latest --into "$T/kit-old-$kit"
  claim "the $kit kit of the time before opens all of it"
done
pk key add "${A[@]}" --role writer --key-file-out "$T/fresh.key" --label stolen && host[stolen]="--key-file $T/fresh.key" && rm -rf "$T/cache-stolen" && backup stolen "$T/src" "$T/later" && [ "$(result surfaces.0.new_bytes)" = 0 ]
claim 'the stolen host gets a new key, and stores nothing twice'
pk key rotate-ids "${A[@]}" && backup stolen "$T/src" "$T/later" && backup by-recipient "$T/src" "$T/later"
claim 'ids change again, and hosts of either time go on'
pk prune -r "$R" --key-file "$T/prune.key" local --collect-only && pk verify "${A[@]}" --all --level decode
claim 'a prune key collects, and every chunk of all epochs is what its id says'
pk verify -r "$R" --key-file "$T/restore2.key" local/by-recipient@latest --level full
claim 'a restore is proved'
finish
