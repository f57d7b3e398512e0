#!/bin/bash
# Keys over their life: a recovery kit on paper and its drill, new keys in the place of old ones, a key that was stolen.
. "${SOURCE_ROOT:?the project}/test/e2e/lib/tap.sh"
R=$T/repo
A=(-r "$R" --key-file "$T/admin.key")
field() { python3 -c 'import json,sys; d=json.load(open(sys.argv[1])); print(eval(sys.argv[2]))' "$T/out" "$1"; }
# typed FILE: what a person types of a kit, in his own way
typed() { grep -E '^(K[0-9]|check word)' "$1" | tr 'A-Z' 'a-z' | tr 0 o; }
entries() { find "$R/log" -type f | wc -l; }
slots() { find "$R/keys" -type f | wc -l; }

mkdir "$T/src" && echo precious >"$T/src/file"
pk init -r "$R" --key-file "$T/admin.key" && grep -q "proofkeep key recovery-kit" "$T/out"
claim 'init says how the key comes on paper'

# ---- making a kit
fails 2 PK-USE-001 key recovery-kit "${A[@]}" && says '--role'
claim 'a kit wants to know its role'
fails 2 PK-USE-001 key recovery-kit "${A[@]}" --role writer --allow-same-disk && says 'a writer key recovers nothing'
claim 'a kit of a key that cannot read is refused'
n=$(entries) s=$(slots)
fails 5 PK-POL-001 key recovery-kit "${A[@]}" --role admin --kit-out "$R/kit" && says "the repository's own folder" && [ ! -e "$R/kit" ]
claim 'a kit is not written into the repository'
fails 5 PK-POL-001 key recovery-kit "${A[@]}" --role admin --kit-out "$R/kit" --allow-same-disk && [ ! -e "$R/kit" ]
claim 'not even when its file system is allowed'
"$P" key recovery-kit "${A[@]}" --role admin --allow-same-disk >"$R/kit" 2>"$T/err" </dev/null
[ $? = 5 ] && says "the repository's own folder" && [ ! -s "$R/kit" ]
claim 'nor through standard output'
rm "$R/kit"
fails 5 PK-POL-001 key recovery-kit "${A[@]}" --role admin --kit-out "$T/kit" && says 'one failed disk would take both' && says 'state: no kit was made' && [ ! -e "$T/kit" ]
claim 'nor onto its file system'
fails 5 PK-POL-001 key recovery-kit "${A[@]}" --role admin && [ ! -s "$T/out" ]
claim 'nor there through standard output'
[ "$(entries) $(slots)" = "$n $s" ]
claim 'what was refused has left nothing in the repository'
"$P" key recovery-kit "${A[@]}" --role restore 2>"$T/err" </dev/null | cat >"$T/kit" && chmod 600 "$T/kit"
[ "$(slots)" = $((s + 1)) ] && grep -q '^repository:  [0-9a-f]\{32\}$' "$T/kit" && grep -q "^at:  *$R\$" "$T/kit" && grep -q '^key: .*(restore)$' "$T/kit" && grep -q '^made:  *20' "$T/kit" && grep -q '^check word:  [a-z]\{5\}-[a-z]\{5\}$' "$T/kit"
claim 'through a pipe it prints: repository, place, key, date, lines and a check word'
! grep -q '.\{81\}' "$T/kit" && ! LC_ALL=C grep -q '[^ -~]' "$T/kit"
claim 'it is plain text of 80 columns'
pk key recovery-kit "${A[@]}" --role admin --kit-out "$T/full.kit" --allow-same-disk && [ "$(stat -c %a "$T/full.kit")" = 600 ] && ! grep -q '^K1' "$T/out"
claim 'into a file of its own it goes when that is said, for its owner alone'
fails 1 PK-IO-006 key recovery-kit "${A[@]}" --role admin --kit-out "$T/full.kit" --allow-same-disk
claim 'which is never replaced'
pk key recovery-kit "${A[@]}" --role restore --allow-same-disk --json && [ "$(result role)" = restore ] && result text | grep -q '^K1   ' && result text | grep -q "^check word:  $(result check_word)\$"
claim 'as JSON it is the same text'
pk key remove "${A[@]}" "$(result id)"
claim 'a kit is taken away like any key'

# ---- opening with it
fails 1 PK-VER-002 key test-recovery -r "$R" --recovery-kit "$T/kit" && says 'there is no recovery point to decode'
claim 'without a recovery point nothing is proved'
pk backup "${A[@]}" --files "$T/src" --name data
claim 'a backup is made'
mv "$T/admin.key" "$T/away"
pk list -r "$R" --recovery-kit "$T/kit" && grep -q local/data "$T/out"
claim 'the kit opens the repository, with no key file anywhere'
typed "$T/kit" >"$T/typed" && chmod 600 "$T/typed" && pk restore -r "$R" --recovery-kit "$T/typed" local/data@latest --into "$T/back" && diff -r "$T/src" "$T/back"
claim 'and restores, when just its K lines are typed, in small letters and with O for 0'
typed "$T/kit" | "$P" list -r "$R" --recovery-kit - >"$T/out" 2>"$T/err" && grep -q local/data "$T/out"
claim 'it is read from standard input as well'
fails 5 PK-KEY-002 key add -r "$R" --recovery-kit "$T/kit" --role admin --key-file-out "$T/evil" && [ ! -e "$T/evil" ]
claim 'a kit of a restore key makes no keys'
chmod 644 "$T/typed"
fails 2 PK-CFG-005 list -r "$R" --recovery-kit "$T/typed"
claim 'a kit that others may read is refused'
chmod 600 "$T/typed"

# wrong LINE POSITION: the typed kit, with another character there (groups of five, blanks between them)
wrong() {
  python3 - "$T/kit" "$T/wrong" "$1" "$2" <<'PY'
import sys
source, to, line, at = sys.argv[1], sys.argv[2], sys.argv[3], int(sys.argv[4]) - 1
rows = [l for l in open(source).read().split("\n") if l[:2] in ("K1", "K2") or l.startswith("check")]
for i, l in enumerate(rows):
    if l.startswith(line):
        p = 5 + at + at // 5
        rows[i] = l[:p] + ("7" if l[p] != "7" else "W") + l[p + 1:]
open(to, "w").write("\n".join(rows) + "\n")
PY
  chmod 600 "$T/wrong"
}
wrong K2 13
fails 12 PK-KEY-005 list -r "$R" --recovery-kit "$T/wrong" && says 'line K2 of the recovery kit: character 13 (number 3 of group 3) is mistyped, most likely'
claim 'a mistyped character is named by its line and its place'
c=$(grep '^K2' "$T/kit" | cut -c 18)
! grep -q "'$c'" "$T/err" && ! grep -q "$(grep '^K2' "$T/kit" | cut -c 6-10)" "$T/err"
claim 'and nothing of the key is said'
sed 's/\(check word:  \)./\1x/' "$T/typed" >"$T/wrong"
fails 12 PK-KEY-005 list -r "$R" --recovery-kit "$T/wrong" && says 'the check word is not that of lines K1 and K2'
claim 'a wrong check word is told'
grep -v '^k2' "$T/typed" >"$T/wrong"
fails 12 PK-KEY-005 list -r "$R" --recovery-kit "$T/wrong" && says 'line K2 of the recovery kit is missing'
claim 'a missing line is named'
: >"$T/wrong"
fails 2 PK-CFG-005 list -r "$R" --recovery-kit "$T/wrong" && fails 12 PK-KEY-005 list -r "$R" --recovery-kit -
claim 'an empty kit is none'

# ---- the drill
mv "$T/away" "$T/admin.key"
pk doctor "${A[@]}"
grep -q '^warning  recovery .*no recovery kit was ever tried' "$T/out" && pk status "${A[@]}" && says 'key recovery drilled never'
claim 'doctor and status say that recovery was never drilled'
n=$(entries)
fails 2 PK-USE-001 key test-recovery "${A[@]}" && says 'recovery-kit'
claim 'a drill is with a kit, and with nothing else'
pk key test-recovery -r "$R" --recovery-kit "$T/kit" --json && [ "$(result role)" = restore ] && [ "$(result decoded_bytes)" = 9 ] && [ "$(result slot_stored)" = True ] && [ "$(entries)" = $((n + 1)) ]
claim 'a drill decodes something of the newest point, and is recorded in the log'
pk doctor "${A[@]}"
grep -q '^ok  *recovery .*a recovery kit (restore key) was last tried .* ago' "$T/out" && pk status "${A[@]}" && says 'key recovery drilled .* ago with restore kit'
claim 'doctor and status say when'
pk status "${A[@]}" --json && [ "$(field 'd["repositories"][0]["recovery_drill"]["role"]')" = restore ] && pk status "${A[@]}" --metrics && grep -q '^proofkeep_key_recovery_drill_timestamp_seconds{' "$T/out"
claim 'so do JSON and metrics'
pack=$(find "$R/packs/d" -type f)
cp -p "$pack" "$T/pack" && chmod u+w "$pack" && head -c 4000 /dev/zero | dd of="$pack" bs=1 seek=256 conv=notrunc status=none
n=$(entries)
pk key test-recovery -r "$R" --recovery-kit "$T/kit"
[ $? = 4 ] && [ "$(entries)" = "$n" ]
claim 'a drill that cannot decode fails, and records nothing'
cp -pf "$T/pack" "$pack"

# ---- the repository has lost its keys
mkdir "$T/lost" && mv "$R"/keys/* "$T/lost/"
fails 12 PK-KEY-001 list "${A[@]}"
claim 'without its keys the repository opens with no key file'
fails 12 PK-KEY-001 list -r "$R" --recovery-kit "$T/typed" && says 'type the S lines of the kit too'
claim 'with the K lines alone neither, and it says what is missing'
pk key test-recovery -r "$R" --recovery-kit "$T/full.kit" && says 'has lost the slot of this kit'
claim 'the whole kit still opens it'
pk key add -r "$R" --recovery-kit "$T/full.kit" --role admin --key-file-out "$T/new.key" && pk list -r "$R" --key-file "$T/new.key" && grep -q local/data "$T/out"
claim 'and makes it a new key'
mv "$T"/lost/* "$R/keys/"
"$P" init -r "$T/other" --key-file "$T/other.key" >/dev/null 2>&1
fails 12 PK-KEY-001 list -r "$T/other" --recovery-kit "$T/kit" && says 'The kit says that it is of repository'
claim 'a kit of another repository is told'

# ---- rotation
id() { "$P" key list "${A[@]}" --json 2>/dev/null | python3 -c 'import json,sys; print([k["id"] for k in json.load(sys.stdin)["keys"] if k["role"]==sys.argv[1] and k["label"]==sys.argv[2] and not k["removed"]][0])' "$1" "$2"; }
pk key remove "${A[@]}" "$("$P" key list "${A[@]}" --json 2>/dev/null | python3 -c 'import json,sys; print([s["object"][5:] for k in json.load(sys.stdin)["keys"] for s in k["slots"] if k["role"]=="admin" and s["label"].startswith("recovery kit")][0])')"
claim 'the slot of a kit can go alone'
fails 5 PK-KEY-002 key rotate "${A[@]}" "$(id admin admin)" --key-file-out "$T/second.key" && says 'each is rotated by itself' && [ ! -e "$T/second.key" ]
claim 'an admin key of several slots is rotated slot by slot'
slot() { "$P" key list "${A[@]}" --json 2>/dev/null | python3 -c 'import json,sys; print([s["object"][5:] for k in json.load(sys.stdin)["keys"] for s in k["slots"] if k["role"]=="admin" and s["label"]==sys.argv[1]][0])' "$1"; }
packs=$(find "$R/packs" -type f | sort | sha256sum)
mine=$(slot admin)
fails 5 PK-POL-001 key generate --key-file-out "$R/identity" && fails 5 PK-POL-001 key generate -r "$R" --key-file-out "$R/identity" && [ ! -e "$R/identity" ]
claim 'an identity does not go into the repository, which the configuration or the command names'
pk key generate --key-file-out "$T/identity"
public=$(cat "$T/out")
fails 5 PK-KEY-002 key rotate "${A[@]}" "$mine" --recipient "$public" && says 'only he could show that it opens' && pk list "${A[@]}"
claim 'the slot in use does not give way to one that nobody here can try'
pk key rotate "${A[@]}" "$mine" --key-file-out "$T/second.key" && pk list -r "$R" --key-file "$T/second.key"
claim 'a slot is sealed to a new key file'
fails 12 PK-KEY-001 list "${A[@]}"
claim 'the old key file opens nothing then'
A=(-r "$R" --key-file "$T/second.key")
(umask 077 && echo 'a long phrase' >"$T/phrase")
pk key rotate "${A[@]}" "$(slot admin)" --passphrase-file-new "$T/phrase" && pk list -r "$R" --passphrase-file "$T/phrase"
claim 'or to a passphrase'
A=(-r "$R" --passphrase-file "$T/phrase")
[ "$(find "$R/packs" -type f | sort | sha256sum)" = "$packs" ] && pk restore "${A[@]}" local/data@latest --into "$T/after" && diff -r "$T/src" "$T/after"
claim 'no data was touched, and all of it comes back'
fails 5 PK-POL-001 key rotate "${A[@]}" "$(slot admin)" --key-file-out "$R/k" && [ ! -e "$R/k" ] && pk list "${A[@]}"
claim 'no new key file goes into the repository'
pk key add "${A[@]}" --role writer --key-file-out "$T/w1" --label host1 && says 'lie on one file system'
claim 'a key file on the repository'"'"'s disk is warned about'
old=$(id writer host1)
pk key rotate "${A[@]}" "$old" --key-file-out "$T/w2" && pk backup -r "$R" --key-file "$T/w2" --files "$T/src" --name data && fails 12 PK-KEY-001 backup -r "$R" --key-file "$T/w1" --files "$T/src" --name data
claim 'a host gets a new key, and the old one ends'
[ "$(id writer host1)" != "$old" ]
claim 'under the same label'
object=$(ls -t "$R/keys" | head -n 1)
fails 5 PK-KEY-002 key rotate "${A[@]}" "$object" --key-file-out "$T/w3" && says 'rotated as a whole' && [ ! -e "$T/w3" ]
claim 'a slot of such a key is not rotated alone'

# ---- revocation
fails 2 PK-USE-001 key revoke "${A[@]}" "$(id writer host1)" --since yesterday && says 'is no time'
claim 'a time is a time'
fails 5 PK-KEY-002 key revoke "${A[@]}" "$(id admin admin)"
claim 'the admin key is not revoked'
pk key revoke "${A[@]}" "$(id writer host1)" && grep -q '1 recovery point of it suspect' "$T/out" && grep -q 'local/data@bkp-' "$T/out"
claim 'without a time all that it ever wrote is suspect'
pk key list "${A[@]}" && grep -q 'host1.*revoked' "$T/out" && fails 12 PK-KEY-001 list -r "$R" --key-file "$T/w2"
claim 'it opens nothing any more'
pk list "${A[@]}" --json && [ "$(field '[p["suspect"] for p in d["points"]]')" = '[False, True]' ]
claim 'list says which points are suspect'
pk restore "${A[@]}" local/data@latest --into "$T/suspect" --dry-run && grep -q 'warning *it is suspect: the key that wrote it was revoked' "$T/out"
claim 'the plan of its restore warns of it'
pk status "${A[@]}" --json && [ "$(field 'd["surfaces"][-1]["last_good"]["id"]')" = "$("$P" list "${A[@]}" --json | python3 -c 'import json,sys; print(json.load(sys.stdin)["points"][0]["id"])')" ]
claim 'a suspect point is not the last good one'
pk doctor "${A[@]}"
grep -q '1 recovery point written with a key that was revoked' "$T/out"
claim 'doctor warns of it'
pk key revoke "${A[@]}" "$old" --json && [ "$(result suspect)" = '[]' ]
claim 'a key that was removed before can be revoked as well'
pk verify "${A[@]}" --all --level decode
claim 'the repository is whole after all of it'

# ---- a key is not stored with what it opens, though it lies in what is backed up
mkdir -p "$T/etc/keys" && echo setting >"$T/etc/conf" && "$P" key generate --key-file-out "$T/etc/keys/stranger" >/dev/null 2>&1
pk init -r "$T/own" --key-file "$T/etc/keys/own" && pk init -r "$T/second" --key-file "$T/etc/keys/second" --copy-of "$T/own" --from-key-file "$T/etc/keys/own" && ln "$T/etc/keys/own" "$T/etc/again"
pk backup -r "$T/own" --key-file "$T/etc/keys/own" --files "$T/etc" --name etc --json && [ "$(result surfaces.0.skipped)" = 2 ] && [ "$(result exit)" = 0 ]
claim 'a backup leaves out the key of its repository, under each of its names, and is whole'
pk backup -r "$T/own" --key-file "$T/etc/keys/own" --files "$T/etc" --name etc -v && says 'etc/keys/own.*not stored with what it opens'
claim 'and says so'
pk restore -r "$T/own" --key-file "$T/etc/keys/own" local/etc@latest --into "$T/etc.back" && [ "$(cd "$T/etc.back" && find . -type f | sort | tr '\n' ' ')" = './conf ./keys/second ./keys/stranger ' ]
claim 'the rest is there, the key of a repository that it knows nothing of too'
cat >own.yaml <<YAML
version: 1
platform: test
secrets:
  own: { file: $T/etc/keys/own }
  second: { file: "$T/etc/keys/{env}" }
  third: { file: $T/etc/keys/third }
repositories:
  main: { url: $T/own, encrypt: { key: own, kind: key_file }, copies: [away] }
  away: { url: $T/second, encrypt: { key: second, kind: key_file }, copies: [far] }
  far: { url: $T/third, encrypt: { key: third, kind: key_file } }
surfaces:
  etc: { kind: files, class: truth, paths: [$T/etc] }
environments:
  second: { repository: main }
YAML
"$P" key generate --key-file-out "$T/etc/keys/third" >/dev/null 2>&1 && pk backup second/etc --config own.yaml && pk restore second/etc@latest --config own.yaml --into "$T/etc.two" && [ "$(cd "$T/etc.two" && find . -type f | sort | tr '\n' ' ')" = './conf ./keys/stranger ' ]
claim 'nor are the keys of its copies stored, and of theirs, which will have it all'
pk doctor --config own.yaml
[ "$(grep -c "^warning  surface .*holds $T/etc/keys/[a-z]*, a key of the repository, which no backup there has" "$T/out")" = 3 ]
claim 'doctor says that no backup has them'
finish
