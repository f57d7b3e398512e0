#!/bin/bash
# A host that only writes, and whoever steals its key: what the key can do, what it cannot, and what becomes of a thief's
# work who has the key and the repository's folder, with every right to write there.
. "${SOURCE_ROOT:?the project}/test/e2e/lib/tap.sh"
python3 -c 'import cryptography' 2>/dev/null || { echo "1..0 # SKIP python's module cryptography is not installed"; exit 0; }
export PYTHONDONTWRITEBYTECODE=1
R=$T/repo
admin=(-r "$R" --key-file "$T/admin.key" --cache-dir "$T/cache-admin")
writer=(-r "$R" --key-file "$T/writer.key" --cache-dir "$T/cache-writer")
forge() { python3 "$SOURCE_ROOT/test/e2e/lib/forge.py" "$R" "$T/writer.key" "$@"; }
# The points that the admin sees, one id a line.
points() { "$P" list "${admin[@]}" --json 2>>"$T/err" | python3 -c 'import json,sys; [print(p["id"], p["verified"], p["holds"]) for p in json.load(sys.stdin)["points"]]'; }
refused() { fails 5 PK-KEY-002 "$@" && says "this one is a writer key\|a writer key cannot"; }

mkdir "$T/src" && for i in $(seq 1 200); do head -c 20000 /dev/urandom >"$T/src/f$i"; done
pk init -r "$R" --key-file "$T/admin.key"
claim 'a repository is made'
pk key add "${admin[@]}" --role writer --key-file-out "$T/writer.key" --label db-host && mv "$T/admin.key" "$T/away"
claim 'a host gets a key that only writes, and has no other'

# ---- what the key does
pk backup "${writer[@]}" --files "$T/src" --name data --json
claim 'it takes a backup'
first=$(result surfaces.0.stored_bytes)
rm -rf "$T/cache-writer"
pk backup "${writer[@]}" --files "$T/src" --name data --json && [ "$(result surfaces.0.new_bytes)" = 0 ] && [ "$(result surfaces.0.stored_bytes)" -lt $((first / 20)) ]
claim 'it stores nothing twice, even from a host that has lost its cache'
head -c 400M /dev/urandom >"$T/src/large"
"$P" backup "${writer[@]}" --files "$T/src" --name data -q >"$T/out" 2>"$T/err" &
run=$!
four_packs() { [ "$(find "$R" -type f -size +15M 2>/dev/null | wc -l)" -ge 4 ]; }
halted $run four_packs && kill -INT $run && kill -CONT $run
wait $run
[ $? = 130 ] && four_packs && pk backup "${writer[@]}" --files "$T/src" --name data --json && [ "$(result surfaces.0.stored_bytes)" -lt $((400 * 1024 * 1024 - 3 * 16 * 1024 * 1024)) ]
claim 'it resumes a run that was interrupted: what was stored is not stored again'
pk list "${writer[@]}" && grep -q 'local/data@' "$T/out"
claim 'it sees what there is, as the log says'

# ---- what the key does not do
address=local/data@latest
refused restore "${writer[@]}" $address --into "$T/stolen" && [ ! -e "$T/stolen" ]
claim 'it restores nothing'
refused show "${writer[@]}" $address / && refused diff "${writer[@]}" $address $address
claim 'it reads no name of a file'
refused export "${writer[@]}" $address --to "$T/stolen" && [ ! -e "$T/stolen/CHECKSUMS" ]
claim 'it exports nothing'
refused verify "${writer[@]}" --all --level decode && refused verify "${writer[@]}" --all --level full
claim 'it decodes nothing'
pk verify "${writer[@]}" --all --level checksum && says 'a writer key may not vouch for a backup' && ! points | grep -q checksum
claim 'it may look for damage, and vouch for nothing'
refused prune "${writer[@]}" local --collect-only
claim 'it frees nothing'
refused hold add "${writer[@]}" $address --reason x && refused hold release "${writer[@]}" $address --reason x
claim 'it neither holds nor releases'
mv "$T/away" "$T/admin.key"
id=$("$P" key list "${admin[@]}" --json 2>/dev/null | python3 -c 'import json,sys; print(next(k["id"] for k in json.load(sys.stdin)["keys"] if k["role"]=="admin"))')
mine=$("$P" key list "${admin[@]}" --json 2>/dev/null | python3 -c 'import json,sys; print(next(k["id"] for k in json.load(sys.stdin)["keys"] if k["role"]=="writer"))')
refused key add "${writer[@]}" --role admin --key-file-out "$T/evil" && [ ! -e "$T/evil" ]
claim 'it makes no key'
refused key remove "${writer[@]}" "$mine" && refused key revoke "${writer[@]}" "$mine" && refused key rotate "${writer[@]}" "$id" --key-file-out "$T/evil" && [ ! -e "$T/evil" ]
claim 'it removes, revokes and rotates no key'
pk key recovery-kit "${writer[@]}" --role restore --allow-same-disk
[ $? = 5 ] && says PK-KEY-002
claim 'it prints no recovery kit'
[ "$(forge flags)" = 0e ]
claim 'the bundle that its key file opens holds neither master nor read key'
[ "$(forge chunks)" = 'tried 0' ]
claim 'no key of the bundle opens the session key of a pack'

# ---- a thief with the key and the folder: the log
pk hold add "${admin[@]}" $address --reason case && seq=$("$P" list "${admin[@]}" --json 2>/dev/null | python3 -c 'import json,sys; print(json.load(sys.stdin)["points"][-1]["log_seq"])')
claim 'the admin holds the newest point'
before=$(points)
forge append forget/v1 "{\"seqs\": [$seq], \"reason\": \"x\"}" >/dev/null &&
  forge append hold/v1 "{\"seq\": $seq, \"action\": \"release\", \"reason\": \"x\"}" >/dev/null &&
  forge append verification/v1 "{\"seq\": $seq, \"receipt\": \"$(forge receipt "$seq")\", \"level\": \"full\", \"result\": \"PASSED\"}" >/dev/null &&
  forge append key/v1 "{\"action\": \"add\", \"key\": \"$(printf '%064d' 7)\", \"role\": \"admin\", \"label\": \"evil\"}" >/dev/null &&
  forge append key/v1 "{\"action\": \"remove\", \"key\": \"$id\"}" >/dev/null &&
  forge append delete/v1 '{"packs": null, "index_removed": []}' >/dev/null &&
  forge append key-drill/v1 '{"role": "admin"}' >/dev/null
claim 'he signs entries that forget, release, vouch, make keys and remove them, delete and drill'
[ "$(points)" = "$before" ]
claim 'all of them are void: points, proofs and holds are as before'
pk key list "${admin[@]}" && ! grep -q evil "$T/out" && grep -q 'admin .*this one' "$T/out"
claim 'no key came or went'
pk doctor "${admin[@]}"
grep -q '7 entries of the log count for nothing' "$T/out" && grep -q 'no recovery kit was ever tried' "$T/out"
claim 'doctor counts his seven entries'
pk restore "${admin[@]}" $address --into "$T/back" && diff -r "$T/src" "$T/back" >/dev/null
claim 'what was backed up comes back'
n=$(forge garbage)
fails 4 PK-LOG-001 list "${admin[@]}" && fails 4 PK-LOG-001 backup "${writer[@]}" --files "$T/src" --name data
claim 'an entry that nobody signed breaks the log, for all to see'
rm "$R/log/$(printf %016d "$n")"
pk list "${admin[@]}"
claim 'and is gone with its object'
last=$(find "$R/log" -type f | sort | tail -n 1)
mv "$last" "$T/last"
fails 4 PK-LOG-002 list "${admin[@]}"
claim 'a log that was cut is told by whoever saw it longer'
fails 4 PK-LOG-002 list -r "$R" --key-file "$T/admin.key" --cache-dir "$T/cache-new"
claim 'and by the checkpoint, to whoever did not'
mv "$T/last" "$last"

# ---- the folder: objects
# alter OBJECT: one byte of it
alter() {
  chmod u+w "$1"
  python3 - "$1" <<'PY'
import sys
with open(sys.argv[1], "r+b") as f:
    f.seek(300)
    b = f.read(1)
    f.seek(300)
    f.write(bytes([b[0] ^ 1]))
PY
}
pack=$(find "$R/packs/d" -type f | head -n 1)
cp -p "$pack" "$T/pack"
rm -f "$pack"
fails 4 PK-VER-001 verify "${admin[@]}" --all --level present
claim 'a pack that he deletes is missed'
cp -p "$T/pack" "$pack" && alter "$pack"
fails 4 PK-VER-001 verify "${admin[@]}" --all --level checksum
claim 'a pack that he alters is found damaged, without a key that reads'
cp -pf "$T/pack" "$pack"
pk verify "${admin[@]}" --all --level decode
claim 'and all is well once it is back'
entry=$(find "$R/log" -type f | sort | sed -n 3p)
cp -p "$entry" "$T/entry" && alter "$entry"
fails 4 PK-VER-001 verify "${admin[@]}" --all --level present && grep -q "log/" "$T/out" "$T/err"
claim 'an entry of the log that he alters is named by verify'
cp -pf "$T/entry" "$entry"
rm -rf "$R/tile" && alter "$entry"
fails 4 PK-LOG-001 list -r "$R" --key-file "$T/admin.key" --cache-dir "$T/cache-newer"
claim 'and breaks the log for whoever must read it from its entries'
cp -pf "$T/entry" "$entry"
pk verify "${admin[@]}" --all --level present
claim 'which is whole again when the entry is'
pk init -r "$T/his" --key-file "$T/his.key" && cp "$T"/his/keys/* "$R/keys/"
claim 'he plants a key slot of a repository of his own'
fails 12 PK-KEY-001 list -r "$R" --key-file "$T/his.key" && pk key list "${admin[@]}" && grep -q 'unknown to the log' "$T/out"
claim 'it opens nothing, and key list shows it as what it is'
for f in "$T"/his/keys/*; do rm -f "$R/keys/${f##*/}"; done

# ---- the theft is noticed
sleep 1
since=$(date -u +%Y-%m-%dT%H:%M:%SZ)
sleep 1
pk backup "${writer[@]}" --files "$T/src/f1" --name data
claim 'he takes a backup of what he likes, which the key allows'
pk key revoke "${admin[@]}" "$mine" --since "$since" --json && [ "$(result suspect | grep -o bkp- | wc -l)" = 1 ]
claim 'the key is revoked, and his backup is suspect, the others are not'
fails 12 PK-KEY-001 backup "${writer[@]}" --files "$T/src" --name data
claim 'the key opens nothing any more'
pk list "${admin[@]}" && [ "$(grep -c suspect "$T/out")" = 1 ] && tail -n 1 "$T/out" | grep -q suspect
claim 'list marks what is suspect'
finish
