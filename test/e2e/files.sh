#!/bin/bash
# The files surface from outside: what comes back is judged by diff, sha256sum, find and stat, never by proofkeep itself.
. "${SOURCE_ROOT:?the project}/test/e2e/lib/tap.sh"
. "$SOURCE_ROOT/tools/demo/tree.sh"
mounted=
trap '[ -z "$mounted" ] || umount "$mounted"' EXIT

config() { # FILE [INSTEAD-OF WITH]
  cat >"$1" <<YAML
$(config_head)
surfaces:
  artifacts:
    kind: files
    class: truth
    paths: [$T/tree]
    exclude: ["*.tmp", "**/cache/"]
environments:
  lab:
    repository: main
    policy: { rpo: 24h, rto: 1h }
  prod:
    repository: main
    protected: true
YAML
  [ -z "${2:-}" ] || sed -i "s|$2|$3|" "$1"
}

# ---- what is wrong with a configuration, and where
config bad.yaml 'class: truth' 'clas: truth'
fails 2 PK-CFG-002 backup lab/all --config bad.yaml && says 'bad.yaml:12:5' && says "class"
claim 'an unknown key is refused with its line and column, and what was meant'
config bad.yaml 'rpo: 24h' 'rpo: soon'
fails 2 PK-CFG-003 backup lab/all --config bad.yaml && says 'bad.yaml:18:20' && says soon
claim 'a wrong value is refused with its line and column'
config bad.yaml 'platform: test' 'platform: [test'
fails 2 PK-CFG-001 backup lab/all --config bad.yaml && says 'bad.yaml:[0-9]*:[0-9]*'
claim 'what is not YAML is refused with its line and column'
config bad.yaml 'repository: main' 'repository: mian'
fails 2 PK-CFG-003 backup lab/all --config bad.yaml && says mian && says 'bad.yaml:[0-9]*:[0-9]*'
claim 'a repository that is not there by name is refused'
fails 2 PK-CFG-004 backup lab/all --config none.yaml
claim 'a configuration that is not there is an error'
fails 2 PK-CFG-004 backup lab/all
claim 'and so is none at all'

# diff, which cannot compare pipes
trees() { diff -r --no-dereference -x pipe "$@" >out; }

# ---- no repository, a new one, another key
config proofkeep.yaml
mkdir tree && tree_make tree
mkdir -p tree/deep/cache && echo x >tree/deep/cache/left-out && echo x >tree/left-out.tmp
pk init --repository "$T/other" --key-file "$T/otherkey" && pk init --repository "$T/third" --key-file "$T/key"
claim 'init makes repositories and keys'
fails 10 PK-REP-001 backup lab/all && says "$T/repo"
claim 'without a repository the status is 10'
pk init --repository main && [ -f repo/format ]
claim 'init makes the one that the configuration names, with the key that it names'
fails 5 PK-REP-002 init --repository main
claim 'init leaves a repository that is there'
fails 12 PK-KEY-001 backup -r "$T/other" --key-file "$T/key" --files "$T/tree/odd names" && [ "$("$P" list -r "$T/other" --key-file "$T/otherkey" --json | grep -c '"id"')" = 0 ]
claim 'a wrong key is refused with 12'
mv key aside && fails 2 PK-CFG-005 backup lab/all && says "$T/key"
claim 'a key file that is not there is named'
install -m 600 /dev/null key && fails 2 PK-CFG-005 backup lab/all && says "$T/key"
claim 'an empty key file opens nothing, and says so'
mv aside key && chmod 644 key && fails 2 PK-CFG-005 backup lab/all && says 0644
claim 'a key that others may read is refused'
chmod 600 key
fails 2 PK-USE-002 restore lab/artifacts@latest --into "$T/x" && [ ! -e x ]
claim 'there is nothing to restore before a backup'

# ---- back up and restore
pk backup lab/artifacts --json && [ "$(result status)" = OK ] && [ "$(result exit)" = 0 ] && python3 -c '
import json, sys
lines = [json.loads(l) for l in open("out")]
assert [l["seq"] for l in lines] == list(range(len(lines)))
assert [l["type"] for l in lines].count("result") == 1 and lines[-1]["type"] == "result"
assert any(l["type"] == "receipt" for l in lines)' 2>err
claim 'a backup with --json is one object a line, numbered, and ends with its result'
first=$(result surfaces.0.backup_id)
pk restore lab/artifacts@latest --into "$T/whole"
claim 'it restores into a new folder'
rm -r tree/left-out.tmp tree/deep/cache
touch -r whole/deep tree/deep && touch -r whole tree
tree_facts "$T/tree" before && tree_facts "$T/whole" after && diff -r before after >out && trees tree whole
claim 'which is the tree to the bit, by sha256sum, find, getfattr, getfacl and diff -r, without what was excluded'
[ "$(stat -c %b whole/processed/sparse.img)" -le "$(stat -c %b tree/processed/sparse.img)" ]
claim 'holes stay holes'

fails 5 PK-RST-001 restore lab/artifacts@latest --into "$T/before" && [ ! -e before/processed ] && ! grep -q '^Plan' out
claim 'a folder that holds something is no target, which is said before there is a plan, and stays as it is'
n=$(find "$T/repo" | wc -l)
fails 5 PK-POL-001 restore lab/artifacts@latest --into "$T/repo/deep/back" && says "the repository's own folder" && ! grep -q '^Plan' out &&
  fails 5 PK-POL-001 export lab/artifacts@latest --to "$T/repo/out" && says "the repository's own folder" && [ "$(find "$T/repo" | wc -l)" = "$n" ]
claim 'nor is the folder of the repository, where it would lie in the clear, for an export either'
fails 2 PK-USE-001 list lab/@nothing && says '^  next:  proofkeep list --help$'
claim 'what is wrong with an address names the help of its verb'
pk restore lab/artifacts@latest --into "$T/one" --path "$T/tree/processed/points.csv" &&
  cmp one/processed/points.csv tree/processed/points.csv && [ "$(find one ! -type d | wc -l)" = 1 ]
claim 'one file can be restored'
grep -qx "  only      $T/tree/processed/points.csv" out && grep -q '^  size .*, with what is not wanted$' out
claim 'and the plan says that it is the only one'
fails 2 PK-USE-002 restore lab/artifacts@latest --into "$T/none" --path tree/processed/points.csv && [ ! -e none ] &&
  says "names are those in '$T/tree', with or without that"
claim 'a name that none has is told where names are'
fails 2 PK-USE-002 list lab/artefacts && says "did you mean 'artifacts'" &&
  fails 2 PK-USE-002 restore lab/artefacts@latest --dry-run && says "did you mean 'artifacts'"
claim 'a surface that there is not is told the nearest name'
pk restore lab/artifacts@latest --into "$T/glob" --path 'catalog/*.json' --path 'raw/scans/scan-000?' &&
  diff <(cd tree && printf '%s\n' catalog/*.json raw/scans/scan-000? | LC_ALL=C sort) <(cd glob && find . -type f -printf '%P\n' | LC_ALL=C sort) >out &&
  cmp glob/catalog/sheet-7.json tree/catalog/sheet-7.json && cmp glob/raw/scans/scan-0003 tree/raw/scans/scan-0003
claim 'and what patterns match, and nothing else'
fails 2 PK-USE-002 restore lab/artifacts@latest --into "$T/none" --path 'no/such/*' && [ ! -e none ]
claim 'a pattern that matches nothing is an error and leaves nothing'

# ---- again, and what has changed
pk backup lab/artifacts --json && [ "$(result surfaces.0.new_bytes)" = 0 ]
claim 'a second backup of the same tree stores no data'
cp -a tree kept
printf 'changed\n' >>tree/catalog/sheet-7.json && rm -r tree/processed/tiles && echo new >tree/new && mv tree/raw/scans tree/raw/moved
pk backup lab/artifacts && pk restore lab/artifacts@latest --into "$T/second" && trees tree second
claim 'a backup of a changed tree restores to the changed tree'
pk restore "lab/artifacts@$first" --into "$T/old" && trees kept old
claim 'and the first backup still to the first'
pk diff "lab/artifacts@$first" lab/artifacts@latest && grep -q sheet-7.json out && grep -q 'tree/new' out
claim 'diff names what has changed'
pk verify lab/artifacts@latest "lab/artifacts@$first" --level full
claim 'both verify in full'

# ---- over the live tree
echo damaged >tree/catalog/sheet-9.json
pk restore "lab/artifacts@$first" --in-place --path catalog/sheet-9.json --dry-run --json && plan=$(result plan) && pk restore --plan "$plan" &&
  cmp tree/catalog/sheet-9.json kept/catalog/sheet-9.json && [ -e tree/new ]
claim 'one file is restored in place, and its neighbours stay'
grep -q '"backup_first":"here"' out
pk restore "lab/artifacts@$first" --in-place --path catalog/sheet-9.json --dry-run && grep -q 'what lab/artifacts has now is backed up, before anything is written over it' out
claim 'the plan says that what is there now is backed up first'
facts_of() { "$P" show "lab/artifacts@$1" --json | python3 -c 'import json, sys; print(json.load(sys.stdin)["point"][sys.argv[1]])' "$2"; }
echo damaged again >tree/catalog/sheet-9.json
newest=$(facts_of latest id)
pk restore "lab/artifacts@$first" --in-place --path catalog/sheet-9.json --dry-run --json && pk restore --plan "$(result plan)" --json && before=$(result before) &&
  pk restore "lab/artifacts@$before" --path catalog/sheet-9.json --into "$T/was" && grep -q 'damaged again' was/catalog/sheet-9.json && ! grep -q damaged tree/catalog/sheet-9.json
claim '... and the run names it: what was written over is had back from it'
pk list lab/artifacts && grep "$before" out | grep -q 'before a restore' && pk show "lab/artifacts@$before" && grep -q '^taken .*before a restore' out &&
  [ "$(facts_of latest id)" = "$newest" ] && [ "$(facts_of "$before" before_restore)" = True ]
claim '... which is never the latest, and says why it was taken'
pk ledger show $(seq 0 "$(($("$P" ledger list | grep -c '^ *[0-9]') - 1))") && grep -q "\"before\": \"$before\"" out && grep -q '"before_restore": "pln-' out
claim '... and the log has it beside the restore'
echo worthless >tree/catalog/sheet-9.json
n=$("$P" list lab/artifacts | wc -l)
pk restore "lab/artifacts@$first" --in-place --path catalog/sheet-9.json --no-backup-first --dry-run && grep -q 'nothing: what lab/artifacts has now is lost' out &&
  pk restore "lab/artifacts@$first" --in-place --path catalog/sheet-9.json --dry-run --json && pk restore --plan "$(result plan)" --no-backup-first --json && [ "$(result before)" = None ] &&
  cmp tree/catalog/sheet-9.json kept/catalog/sheet-9.json && [ "$("$P" list lab/artifacts | wc -l)" = "$n" ]
claim 'none is taken where that is asked for, of the plan or of its run'
rm tree/catalog/sheet-9.json
pk restore "lab/artifacts@$first" --in-place --path catalog/sheet-9.json --dry-run --json && ! grep -q backup_first out && pk restore --plan "$(result plan)" --json && [ "$(result before)" = None ]
claim 'nor where nothing is written over'
pk restore "lab/artifacts@$first" --swap --dry-run --json && plan=$(result plan) && pk restore --plan "$plan" &&
  trees tree kept && [ "$(find . -maxdepth 2 -path './tree*/new' | wc -l)" = 1 ]
claim 'a whole tree is swapped in, and the old one kept beside it'
pk restore "lab/artifacts@$first" --into "$T/stale" --dry-run --json && plan=$(result plan) && [ ! -e stale ] && mkdir stale && echo x >stale/mine &&
  fails 5 PK-RST-002 restore --plan "$plan" && [ "$(ls stale)" = mine ]
claim 'a plan whose target has changed is refused'
rm -r stale
fails 5 PK-RST-002 restore --plan pln-0000000000000000
claim 'and so is one that nobody made'
plans=$(find cache -name "$plan.json") && [ -n "$plans" ] && sed -i 's|/stale|/other|' "$plans" && fails 5 PK-RST-002 restore --plan "$plan" && [ ! -e other/catalog ]
claim 'and one that was altered'

# ---- protected
pk backup prod/artifacts && fails 5 PK-RST-003 restore prod/artifacts@latest --into "$T/protected" && [ ! -e protected ]
claim 'a protected environment is not restored for the asking'
plan=$(sed -n 's/.*--plan \(pln-[0-9a-f]*\).*/\1/p' out) phrase=$(sed -n "s/.*--confirm '\(.*\)'.*/\1/p" out)
[ "$phrase" = "restore prod/artifacts to $(point prod/artifacts)" ]
claim 'but says which plan to carry out, with which phrase'
! pk restore prod/artifacts@latest --into "$T/protected" --json && [ "$(result error.code)" = PK-RST-003 ] && [ "$(result error.next)" = "Carry the plan out with --confirm '$phrase'." ]
claim 'with --json too'
fails 5 PK-RST-003 restore --plan "$plan" && fails 5 PK-RST-003 restore --plan "$plan" --confirm 'yes' &&
  fails 5 PK-RST-003 restore --plan "$plan" --confirm "${phrase/prod/lab}" && [ ! -e protected ]
claim 'no phrase and a wrong phrase are refused'
pk restore --plan "$plan" --confirm "$phrase" && trees tree protected
claim 'the phrase lets it through'

# ---- without a configuration
mkdir elsewhere && cd elsewhere && pk backup -r "$T/other" --key-file "$T/otherkey" --files "$T/tree/catalog" "$T/tree/odd names" --name mine
claim 'folders are backed up without a configuration'
pk restore -r "$T/other" --key-file "$T/otherkey" local/mine@latest --into "$T/adhoc" &&
  trees "$T/tree/catalog" "$T/adhoc$T/tree/catalog" && diff -r "$T/tree/odd names" "$T/adhoc$T/tree/odd names" >>"$T/out"
claim 'and restored'
fails 12 PK-KEY-001 restore -r "$T/other" --key-file "$T/key" local/mine@latest --into "$T/y" && [ ! -e "$T/y" ]
claim 'not with another key'
fails 12 PK-KEY-003 list -r "$T/other"
claim 'nor with none'
cd "$T" || exit 1

# ---- the way out without proofkeep
pk export "lab/artifacts@$first" --to "$T/export" && (cd export && sha256sum --quiet --strict -c CHECKSUMS) >out 2>&1
claim 'an export passes sha256sum -c'
mkdir there && (cd there && pk export "lab/artifacts@$first" --config ../proofkeep.yaml --to beside/) && diff -r --no-dereference -x pipe export/data there/beside/data >out && rm -r there
claim 'and may go into a folder that is named from where one is'
data=$(find export/data -type d -name catalog | head -n 1) && trees "$data/.." kept
claim 'and its files are the files'
python3 -c '
import json
receipt = json.load(open("export/receipt.json"))
assert receipt["schema"] == "io.kfm.backup-receipt.v1" and receipt["status"] == "success", receipt
assert "payloadType" in json.load(open("export/receipt.dsse.json"))' 2>err
claim 'its receipt lies beside it'
read -r one two more < <(readings)
[ -n "$two" ] && [ -z "$more" ] && pk ledger show "$one" --json && python3 - out "$T" "$first" <<'PY'
import json, os, socket, sys
out, top, first = sys.argv[1:]
entry, = json.load(open(out))["entries"]
p = entry["statement"]["predicate"]
files = [os.path.join(d, f) for d, _, names in os.walk(f"{top}/export/data") for f in names]
files = [f for f in files if os.path.isfile(f) and not os.path.islink(f)]
want = {"verb": "export", "snapshot": first, "environment": "lab", "surface": "artifacts", "target": f"{top}/export", "status": "success",
        "files": len(files), "bytes": sum(map(os.path.getsize, files))}
assert {k: p.get(k) for k in want} == want, p
assert p["principal"].endswith("@" + socket.gethostname()[:60]) and p["started_at"] <= p["completed_at"], p
assert set(p) == {*want, "seq", "receipt", "started_at", "completed_at", "principal", "ledger"}, p  # no names of items
assert entry["statement"]["subject"][0]["name"] == first and not entry.get("void"), entry
PY
claim 'each export is one entry of the log, which says what, where to, when, how much and by whom'
pk backup lab/artifacts --export "$T/exports" && (cd exports/*/ 2>/dev/null && sha256sum --quiet --strict -c CHECKSUMS || cd "$(dirname "$(find "$T/exports" -name CHECKSUMS)")" && sha256sum --quiet --strict -c CHECKSUMS) >out 2>&1
claim 'a backup writes its own export'
[ "$(readings | wc -w)" = 3 ] && fails 5 PK-RST-001 export "lab/artifacts@$first" --to "$T/export" && [ "$(readings | wc -w)" = 3 ]
claim 'that is an entry too; what was refused before anything was read is none'
mkdir ro
if mount --bind "$T/repo" "$T/ro" 2>/dev/null && mounted=$T/ro && mount -o remount,ro,bind "$T/ro" 2>/dev/null; then
  pk export -r "$T/ro" --key-file "$T/key" "lab/artifacts@$first" --to "$T/unsaid" && says 'the export is not recorded in the log: ' && diff -r --no-dereference -x pipe export/data unsaid/data >out && rm -r unsaid
  claim 'where the log cannot be written, that is said, and the export stands'
else
  skip 'where the log cannot be written, that is said, and the export stands' 'mounting is not permitted here'
fi
[ -z "$mounted" ] || umount "$mounted"
mounted=

# ---- damage
# A copy is another repository to this machine's memory of logs, so it gets a cache of its own.
cp -a repo damaged
elsewhere=(-r "$T/damaged" --key-file "$T/key" --cache-dir "$T/cache-damaged")
pack=$(find damaged/packs/d -type f -size +64k | head -n 1)
printf '\xff\xfe\xfd' | dd of="$pack" bs=1 seek=30000 conv=notrunc status=none
fails 4 PK-VER-001 verify "${elsewhere[@]}" --all --level checksum && grep -q "$(basename "$pack")" out && grep -q 'harms' out
claim 'a flipped byte is found, and whom it harms is named'
pk restore "${elsewhere[@]}" "lab/artifacts@$first" --into "$T/broken"
[ $? = 4 ] && [ ! -e broken ] && [ "$(find . -maxdepth 1 -name '.*broken*' -o -maxdepth 1 -name 'broken*' | wc -l)" = 0 ]
claim 'restoring from it fails closed and leaves nothing'
rm "$pack" && pk verify "${elsewhere[@]}" --all --level present
[ $? = 4 ] && grep -q '^DAMAGE  missing' out
claim 'a missing pack is found too'
rm -rf damaged

# ---- a source that cannot be read
mkdir -p part/src && echo a >part/src/good && echo b >part/src/bad && chmod 000 part/src/bad
if [ "$(id -u)" = 0 ]; then
  chmod 755 part part/src && mkdir -m 777 part/home
  mkdir -p part/home && chmod 755 "$T" && part() { TMPDIR=$T/part/home HOME=$T/part/home XDG_CACHE_HOME=$T/part/home setpriv --reuid 65534 --regid 65534 --clear-groups "$P" "$@" >"$T/out" 2>"$T/err" </dev/null; }
else
  mkdir -p part/home && part() { "$P" "$@" >"$T/out" 2>"$T/err" </dev/null; }
fi
if part --version; then
  tap_last='as a user who may not read all'
  part init -r "$T/part/home/repo" --key-file "$T/part/home/key" --config "$T/part/home/p.yaml"
  part backup -r "$T/part/home/repo" --key-file "$T/part/home/key" --files "$T/part/src"
  [ $? = 3 ] && says PK-SRC-002 && says 'bad' && part list -r "$T/part/home/repo" --key-file "$T/part/home/key" && grep -qi partial out
  claim 'what cannot be read makes a backup partial, with 3, and it is listed so'
else
  skip 'what cannot be read makes a backup partial' 'another user may not run the program where it lies'
fi
echo x >part/file && fails 1 PK-SRC-004 backup -r "$T/other" --key-file "$T/otherkey" --files "$T/no/such/folder" && says "$T/no/such/folder"
claim 'a source that is not there fails'

# ---- a full disk
mkdir small
if mount -t tmpfs -o size=24m none "$T/small" 2>/dev/null; then
  mounted=$T/small
  mkdir full && head -c 3M /dev/urandom >full/first
  pk init -r "$T/small/repo" --key-file "$T/smallkey" --config "$T/small.yaml"
  pk backup -r "$T/small/repo" --key-file "$T/smallkey" --files "$T/full" --name full
  claim 'a backup onto a small disk that has room'
  cp -a full full-first && head -c 60M /dev/urandom >full/second
  fails 1 PK-IO-003 backup -r "$T/small/repo" --key-file "$T/smallkey" --files "$T/full" --name full && says 'state:'
  claim 'one that has none fails and says that the disk is full'
  pk restore -r "$T/small/repo" --key-file "$T/smallkey" local/full@latest --into "$T/after-full" && diff -r full-first after-full >out
  claim 'the backup before it restores'
  pk verify -r "$T/small/repo" --key-file "$T/smallkey" --all
  claim 'and everything verifies'
  fails 1 PK-IO-003 restore lab/artifacts@latest --into "$T/small/restored" && [ ! -e small/restored ]
  claim 'a restore onto a full disk fails and leaves nothing under the name'
  rm full/second && echo little >full/third && rm -rf small/repo/tmp* 2>/dev/null
  umount "$mounted" && mounted=
else
  for what in 'a backup onto a small disk that has room' 'one that has none fails and says that the disk is full' 'the backup before it restores' \
    'and everything verifies' 'a restore onto a full disk fails and leaves nothing under the name'; do skip "$what" 'mounting is not permitted here'; done
fi

# ---- interrupted
mkdir big && for i in 1 2 3 4 5 6; do head -c 64M /dev/urandom >big/$i; done
pk init -r "$T/big-repo" --key-file "$T/bigkey" --config "$T/big.yaml"
big=(-r "$T/big-repo" --key-file "$T/bigkey")
# interrupt SIGNAL: starts a backup, and sends the signal once three packs have been written; answers the status
stored() { find big-repo -type f -size +4M 2>/dev/null | wc -l; }
interrupt() {
  local before pid
  before=$(stored) tap_last="a backup, with SIG$1"
  env --default-signal=INT "$P" backup "${big[@]}" --jobs 1 --files "$T/big" --name big --json >out 2>err </dev/null &
  pid=$!
  three_more() { [ "$(stored)" -ge $((before + 3)) ]; }
  halted $pid three_more && kill -s "$1" $pid && kill -CONT $pid
  wait $pid
}
interrupt INT
[ $? = 130 ] && tail -n 1 out | grep -q '"exit":130.*"type":"result"' && [ "$(point local/big 2>/dev/null)" = '' ]
claim 'SIGINT ends a backup with 130, and its last line is still the result'
interrupt KILL
[ $? = 137 ]
claim 'SIGKILL ends it as it must'
pk list "${big[@]}" --json && [ "$(grep -c '"id"' out)" = 0 ] && [ "$(stored)" -ge 3 ]
claim 'neither left a recovery point, though data was stored'
pk backup "${big[@]}" --files "$T/big" --name big --json && [ "$(result surfaces.0.stored_bytes)" -lt $(((384 - 8) * 1024 * 1024)) ]
claim 'the next run uses what they had stored'
pk restore "${big[@]}" local/big@latest --into "$T/big-restored" && diff -r big big-restored >out && pk verify "${big[@]}" --all
claim 'and its backup is whole'

finish
