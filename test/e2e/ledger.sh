#!/bin/bash
# The log as people and auditors see it, proofs for those who have nothing, and a thief with every right over the store and a
# stolen writer's key, who rolls the log back, forks it, plays an old checkpoint, swaps tiles: who finds out.
. "${SOURCE_ROOT:?the project}/test/e2e/lib/tap.sh"
python3 -c 'import cryptography' 2>/dev/null || { echo "1..0 # SKIP python's module cryptography is not installed"; exit 0; }
export PYTHONDONTWRITEBYTECODE=1
R=$T/repo
admin=(-r "$R" --key-file "$T/admin.key" --cache-dir "$T/cache-admin")
writer=(-r "$R" --key-file "$T/writer.key" --cache-dir "$T/cache-writer")
forge() { python3 "$SOURCE_ROOT/test/e2e/lib/forge.py" "$R" "$T/writer.key" "$@" >/dev/null; }
check() { python3 "$SOURCE_ROOT/test/format/log_check.py" "$@" >"$T/out" 2>"$T/err"; }
backup() { date +%N >"$T/src/f" && pk backup "${writer[@]}" --files "$T/src" --name data --json; }
# The repository as it stands, to come back to.
save() { rm -rf "$T/saved-$1" && cp -a "$R" "$T/saved-$1"; }
back() { chmod -R u+w "$R" && rm -rf "$R" && cp -a "$T/saved-$1" "$R"; }
json() { python3 -c 'import json,sys; v=json.load(open(sys.argv[1]))
for k in sys.argv[2].split("."): v = v[int(k)] if isinstance(v, list) else v[k]
print(v)' "$T/out" "$1"; }

mkdir "$T/src" && pk init -r "$R" --key-file "$T/admin.key" && pk key add "${admin[@]}" --role writer --key-file-out "$T/writer.key" --label db-host &&
  backup && backup && pk backup "${admin[@]}" --files "$T/src" --name data
claim 'a repository, a writer, three backups'
log=$("$P" ledger verifier "${admin[@]}" 2>/dev/null)
id=${log%%+*}

# ---- reading it
pk ledger list "${admin[@]}" && [ "$(grep -c . "$T/out")" = 6 ] && grep -q '^  0 .*init/v1 .*admin' "$T/out" && grep -q '^  3 .*backup-receipt/v1 .*writer db-host' "$T/out"
claim 'list has every entry, with its signer by role and label'
pk ledger list "${admin[@]}" --json && [ "$(json entries.4.type)" = backup-receipt/v1 ] && [ "$(json entries.1.signer.role)" = admin ] && [ "$(json entries.2.void)" = False ]
claim 'and with --json'
pk ledger show 1 3 "${admin[@]}" && grep -q '^entry 1: key/v1' "$T/out" && grep -q '"backup_id": "bkp-' "$T/out"
claim 'show prints entries whole'
fails 2 PK-USE-002 ledger show 99 "${admin[@]}" && says 'there is no entry 99 in the log of 5 entries'
claim 'and refuses those that are not there'
pk ledger verify "${admin[@]}" --json && [ "$(result entries)" = 5 ] && [ "$(result checkpoint)" = 5 ] && [ "$(result problems)" = 0 ]
claim 'verify reads all of it anew'
pk ledger verify "${writer[@]}" && pk ledger list "${writer[@]}"
claim 'a writer may do so too'

# ---- proofs
point=$(point local 2>/dev/null)
point=$("$P" list "${admin[@]}" --json 2>/dev/null | python3 -c 'import json,sys; print(json.load(sys.stdin)["points"][1]["id"])')
pk ledger proof "$point" "${admin[@]}" --out receipt && [ -s receipt.tlog-proof ] && [ -s receipt.dsse.json ]
claim 'a proof of a backup by its id'
mkdir "$T/away" && cp receipt.* "$T/away"
(cd "$T/away" && HOME=/nonexistent pk ledger check-proof receipt.tlog-proof --log-key "$log") && grep -q "backup-receipt/v1, $point" "$T/out"
claim 'is checked offline, with the log'"'"'s key alone'
check proof receipt.tlog-proof receipt.dsse.json "$log"
claim 'and by somebody else'"'"'s code'
pk ledger proof 0 "${admin[@]}" --out zero.tlog-proof && pk ledger check-proof zero.tlog-proof --log-key "$log" && pk ledger proof local/data@latest "${admin[@]}" --out last && check proof last.tlog-proof last.dsse.json "$log"
claim 'likewise by number, and by address'
fails 1 PK-IO-006 ledger proof 1 "${admin[@]}" --out receipt
claim 'no proof is overwritten'
fails 2 PK-USE-002 ledger proof nobody "${admin[@]}" --out x && fails 2 PK-USE-002 ledger proof 77 "${admin[@]}" --out x && [ ! -e x.tlog-proof ]
claim 'nor made of what is not there'
fails 4 PK-LOG-001 ledger check-proof receipt.tlog-proof --envelope zero.dsse.json --log-key "$log" && says 'does not show that entry 3'
claim 'another receipt is refused'
sed 's/^index 3/index 2/' receipt.tlog-proof >"$T/bad.tlog-proof" && cp receipt.dsse.json "$T/bad.dsse.json"
fails 4 PK-LOG-001 ledger check-proof "$T/bad.tlog-proof" --log-key "$log"
claim 'another place is refused'
sed "s|^5\$|6|" receipt.tlog-proof >"$T/bad.tlog-proof"
fails 4 PK-LOG-001 ledger check-proof "$T/bad.tlog-proof" --log-key "$log" && says 'signature'
claim 'an altered checkpoint is refused'
fails 4 PK-LOG-001 ledger check-proof receipt.tlog-proof --log-key 'kfm.example/ledger/prod+ee41e9ea+AQOhB7/zzhC+HXDdGOdLwJln5NYwm6UNXx3chmQSVTG4' && says 'the proof is of the log'
claim 'so is the proof under another log'"'"'s key'
fails 2 PK-USE-001 ledger check-proof receipt.tlog-proof && fails 2 PK-USE-001 ledger check-proof receipt.tlog-proof --log-key nonsense
claim 'and none is believed without a key'

# ---- a copy
pk ledger export "${admin[@]}" --to "$T/copy" && check folder "$T/copy" "$log"
claim 'an export is whole by somebody else'"'"'s code'
grep -q "^admin admin in-force $log\$" "$T/copy/keys.txt" && grep -q 'fsck' "$T/copy/README.md"
claim 'it has the keys and tells what to do'
fails 5 PK-RST-001 ledger export "${admin[@]}" --to "$T/copy"
claim 'it is not written over something'

# ---- a witness, with no key of the repository
witness() { env -u HOME -u XDG_CACHE_HOME "$P" ledger witness --state "$T/w" "$@" >"$T/out" 2>"$T/err" </dev/null; }
pk ledger witness --init --state "$T/w" -r "$R" --log-key "$log" --name w1.example
claim 'a witness is made'
w1=$(cat "$T/out")
[ "${w1%%+*}" = w1.example ] && [ "$(stat -c %a "$T/w" "$T/w/witness.key" | tr '\n' ' ')" = '700 600 ' ]
claim 'its key is its own'
fails 1 PK-IO-006 ledger witness --init --state "$T/w" -r "$R" --log-key "$log"
claim 'it is not made twice'
fails 2 PK-USE-001 ledger witness --init --state "$T/w9" -r "$R" --log-key "${log%?}x" && [ ! -e "$T/w9" ]
claim 'nor with a mistyped key of the log'
witness && cp "$T/out" "$T/cosigned" && check cosigned "$T/cosigned" "$("$P" ledger verifier "${admin[@]}" --json 2>/dev/null | python3 -c 'import json,sys; print(json.load(sys.stdin)["keys"][0]["verifier"])')" "$w1"
claim 'it vouches for the checkpoint, and its cosignature holds by somebody else'"'"'s code'
rm -rf "$T/w2" && pk ledger witness --init --state "$T/w2" -r "$T/copy" --log-key "$log" --name w2.example && w2=$(cat "$T/out") && pk ledger witness --state "$T/w2" --all --out "$T/cosigned2" && check cosigned "$T/cosigned2" "$log" "$w2"
claim 'another one does so from the export alone'
backup && witness --json --publish "$R" && [ "$(result former)" = 5 ] && [ "$(result size)" = 6 ]
claim 'the log grew, and it vouches for the longer one'
sleep 1.1 && witness --publish "$R" && sleep 1.1 && witness --publish "$R" && [ "$(find "$R/witness" -type f | wc -l)" = 2 ]
claim 'it vouches again for the same, and keeps its newest two words in the store'
exec 9<"$T/w" && flock 9
witness
[ $? = 11 ] && says PK-REP-003
claim 'two runs of one witness do not cross'
exec 9<&-
: >"$T/out"
env -u HOME "$P" ledger witness --state "$T/w" --every 1s --json >"$T/out" 2>"$T/err" </dev/null &
run=$!
await 60 grep -q '"type": *"cosigned"' "$T/out" && date +%N >"$T/src/f" && "$P" backup "${writer[@]}" --files "$T/src" --name data -q 2>>"$T/err" && await 60 grep -q '"size": *7' "$T/out"
kill -TERM $run
wait $run
[ $? = 143 ] && grep -c '"type": *"cosigned"' "$T/out" >"$T/n" && [ "$(cat "$T/n")" -ge 2 ] && grep -q '"size": *7' "$T/out"
claim 'it keeps looking until it is told to stop'
id8=$("$P" key list "${admin[@]}" --json 2>/dev/null | python3 -c 'import json,sys; print(next(k["id"] for k in json.load(sys.stdin)["keys"] if k["role"]=="writer"))')
save whole

# ---- clients that know the witness
cat >"$T/conf.yaml" <<YAML
version: 1
platform: ledger
secrets: { key: { file: $T/admin.key } }
repositories:
  main:
    url: $R
    encrypt: { key: key, kind: key_file }
    witness: { keys: ["$w1"], quorum: 1, silent_after: 1h }
surfaces: { data: { kind: files, class: runtime, paths: [$T/src] } }
environments: { local: { repository: main, surfaces: [data], policy: { rpo: none } } }
YAML
known=(--config "$T/conf.yaml" --cache-dir "$T/cache-known")
fresh() { rm -rf "$T/cache-fresh"; }
new=(--config "$T/conf.yaml" --cache-dir "$T/cache-fresh")
blind=(-r "$R" --key-file "$T/admin.key" --cache-dir "$T/cache-fresh")
pk list "${known[@]}" && pk status --json "${known[@]}" && [ "$(json repositories.0.witness.silent)" = False ] && [ "$(json repositories.0.consistent)" = True ]
claim 'a client finds what the witness said, and nothing against it'
pk status --metrics "${known[@]}" && grep -q '^proofkeep_ledger_consistent{repo="main"} 1$' "$T/out" && grep -q '^proofkeep_witness_last_timestamp_seconds{repo="main"} [0-9]\{10\}' "$T/out" && grep -q '^proofkeep_ledger_entries{repo="main"} 7$' "$T/out"
claim 'the metrics say so'
pk doctor "${known[@]}"
grep -q '1 of 1 witnesses vouch for the log, last' "$T/out"
claim 'and doctor'
pk ledger proof 3 "${known[@]}" --out seen --json && [ "$(result witnesses)" = 1 ] && pk ledger check-proof seen.tlog-proof --log-key "$log" --witness-key "$w1" && grep -q '^witnessed' "$T/out"
claim 'a proof has the cosignature'
fails 4 PK-LOG-001 ledger check-proof seen.tlog-proof --log-key "$log" --witness-key "$w2"
claim 'and not that of another witness'
sed -i 's/silent_after: 1h/silent_after: 1s/' "$T/conf.yaml"
pk status --json "${known[@]}" && [ "$(json repositories.0.witness.silent)" = True ] && fails 6 PK-POL-003 status --check "${known[@]}" && says 'silent since'
claim 'a witness that is silent too long is a breach'
pk doctor "${known[@]}"
grep -q 'silent since' "$T/out" && grep -q 'why .proofkeep ledger witness. does not run' "$T/out" "$T/err"
claim 'which doctor warns of'
sed -i 's/silent_after: 1s/silent_after: 1h/' "$T/conf.yaml"
rm -rf "$R/witness" && fresh
fails 4 PK-LOG-004 list "${new[@]}" && says '0 of the 1 witnesses'
claim 'without the word of as many as the quorum wants nothing is opened'
back whole
w=$(find "$R/witness" -type f | sort | tail -n 1) && chmod u+w "$(dirname "$w")" && sed 's/^6$/7/' "$w" >"${w%/*}/0000000000009999-009999999999"
fresh && pk list "${new[@]}" && pk doctor "${new[@]}"
grep -q 'passed over' "$T/out" "$T/err"
claim 'what somebody else put beside the word of a witness is passed over, and told of'
back whole

# ---- a thief cuts the log
# cut N: as if there had never been more entries
cut() { for f in "$R"/log/*; do [ "$((10#${f##*/}))" -lt "$1" ] || rm -f "$f"; done; rm -rf "$R/summary"; }
witness && cut 5 && forge publish && fresh
pk list "${blind[@]}"
claim 'a client that has seen nothing and knows no witness cannot see that the log was cut'
fails 4 PK-LOG-002 list "${admin[@]}" && says 'has 5 entries, but this machine has already seen 7'
claim 'one that has seen it longer sees it'
fresh
fails 4 PK-LOG-002 list "${new[@]}" && says 'the log has 5 entries, but the witness w1.example vouched for 6'
claim 'so does one that has seen nothing, by the witness'
pk status --metrics "${new[@]}"
grep -q '^proofkeep_ledger_consistent{repo="main"} 0$' "$T/out"
claim 'its metrics say so'
witness
[ $? = 4 ] && says PK-LOG-002 && says 'already seen 7' && says 'Nothing was vouched for' && ls "$T"/w/evidence/*/entry-0000000000000005.seen.json "$T"/w/evidence/*/seen.checkpoint "$T"/w/evidence/*/found.checkpoint >/dev/null 2>&1 && grep -q 'entry 5 is the first that is missing' "$T"/w/evidence/*/why.txt
claim 'and the witness, who keeps both checkpoints and the first entry that is missing'
witness --every 1s
[ $? = 4 ]
claim 'a witness that watches ends then'

# ---- and puts another in its place: two clients are shown two logs
back whole && rm -rf "$T/w/evidence"
cut 5 && forge append note/v1 '{"text": "another history"}' 4 && forge publish && fresh
pk list "${blind[@]}"
claim 'forked by a stolen writer'"'"'s key, the log looks well to who has seen nothing'
fails 4 PK-LOG-002 list "${admin[@]}" && says 'entry 6 of the log .* is missing or not the one that this machine has seen'
claim 'whoever saw the other one sees it'
fresh
fails 4 PK-LOG-002 list "${new[@]}" && says 'the log was forked: its first 6 entries are not those that the witness w1.example vouched for'
claim 'so does one that has seen nothing, by the witness'
fails 4 PK-LOG-002 restore local/data@latest "${new[@]}" --into "$T/never" && [ ! -e "$T/never" ]
claim 'who restores nothing of it'
witness
[ $? = 4 ] && says PK-LOG-002 && grep -q 'entry 5 is the first that is another' "$T"/w/evidence/*/why.txt && ! cmp -s "$T"/w/evidence/*/entry-0000000000000005.seen.json "$T"/w/evidence/*/entry-0000000000000005.found.json
claim 'and the witness, who keeps both entries, signed by one key'
mv "$T/w" "$T/w-real" && mkdir -m 700 "$T/w" && cp "$T/w-real/witness.json" "$T/w-real/witness.key" "$T/w-real/cosigned" "$T/w/"
witness
[ $? = 4 ] && says PK-LOG-002 && says 'forked: its first 7 entries are not those that were vouched for'
claim 'also one who has lost the entries and remembers its last word alone'
rm -rf "$T/w" && mv "$T/w-real" "$T/w"

# ---- an old checkpoint, other tiles
back whole && witness
cp "$T/saved-whole/checkpoint" "$T/now"
cut 5 && forge publish && cp "$R/checkpoint" "$T/old" && back whole && rm -f "$R/checkpoint" && cp "$T/old" "$R/checkpoint" && fresh
witness
[ $? = 4 ] && says PK-LOG-002 && says 'an old checkpoint is published again: it counts 5 entries, and 7 were vouched for'
claim 'an old checkpoint is told by the witness'
pk list "${admin[@]}" && pk list "${new[@]}"
claim 'it harms no client, as the entries decide'
backup && witness && pk ledger verify "${admin[@]}"
claim 'and the next run replaces it'
save grown
tile=$R/tile/0/000.p/8 && chmod u+w "$tile" && python3 - "$tile" <<'PY'
import sys
b = bytearray(open(sys.argv[1], "rb").read())
b[32:64], b[64:96] = b[64:96], b[32:64]
open(sys.argv[1], "wb").write(b)
PY
fails 4 PK-LOG-001 ledger verify "${admin[@]}" && grep -q 'tile/0/000.p/8: it is not what the log' "$T/out" && says '1 object of what is derived'
claim 'verify names a tile with two hashes swapped'
witness --all
[ $? = 4 ] && says PK-LOG-001 && says 'tile/0/000.p/8: it is not what the log'
claim 'and so does the witness'
pk list "${admin[@]}" && fresh && pk list "${new[@]}" && pk ledger export "${admin[@]}" --to "$T/copy2" && check folder "$T/copy2" "$log"
claim 'clients and exports do not depend on it'
back grown
f=$R/log/0000000000000003 && chmod u+w "$f" && sed -i 's/"payload":"./"payload":"f/' "$f"
fails 4 PK-LOG-001 ledger verify "${admin[@]}"
claim 'verify finds an altered entry that lies far below'
back grown
pk ledger witness --init --state "$T/w3" -r "$R" --log-key "$(grep ' db-host ' "$T/copy/keys.txt" | sed 's/.* //')" &&
  fails 4 PK-LOG-001 ledger witness --state "$T/w3" && says 'does not begin with an entry signed by the key given for it'
claim 'a witness that was given another key than the admin'"'"'s believes nothing'

# ---- a removed writer, and void entries
cp -a "$R/keys" "$T/keys" && pk key remove "${admin[@]}" "$id8" && export FORGE_KEYS=$T/keys && forge publish
witness
[ $? = 4 ] && says "signed by the key 'db-host', which was removed"
claim 'a checkpoint by a key that was removed is not vouched for'
forge append forget/v1 '{"seqs": [2], "reason": "x"}'
pk ledger list "${admin[@]}" && grep -q 'forget/v1 .*writer db-host .*VOID: log entry 9 is signed by a key that was removed' "$T/out"
claim 'what it signs stays in the list, as void'
pk backup "${admin[@]}" --files "$T/src" --name data && pk ledger verify "${admin[@]}" && grep -q '1 entry counts for nothing' "$T/out" && witness
claim 'the next run publishes anew, and verify and witness are content'

# ---- a log of which nobody reads the beginning
unset FORGE_KEYS
python3 "$SOURCE_ROOT/test/e2e/lib/forge.py" "$R" "$T/admin.key" append note/v1 '{"text": "to fill a bundle"}' 300 >/dev/null
pk backup "${admin[@]}" --files "$T/src" --name data && [ -e "$R/summary/0000000000000256" ] && fresh
claim 'a log of more than a bundle gets a summary'
pk ledger proof 3 "${blind[@]}" --out below && pk ledger check-proof below.tlog-proof --log-key "$log" && check proof below.tlog-proof below.dsse.json "$log"
claim 'a client that began at it proves an entry below it'
fresh && pk ledger list "${blind[@]}" && [ "$(grep -c . "$T/out")" = "$(($(find "$R/log" -type f | wc -l) + 1))" ]
claim 'and lists every entry'
save long
chmod -R u+w "$R/tile" && rm -rf "$R/tile/0/000" "$R/tile/entries/000" && fresh
pk ledger proof 4 "${blind[@]}" --out bare && check proof bare.tlog-proof bare.dsse.json "$log"
claim 'also when tiles and bundles are gone, by the entries'
back long
witness && [ "$(find "$T/w/evidence" -name why.txt | wc -l)" -ge 1 ] && fresh && pk ledger verify "${new[@]}" && pk ledger export "${blind[@]}" --to "$T/copy3" && check folder "$T/copy3" "$log"
claim 'the witness follows, verify and export hold'
finish
