#!/bin/bash
# Bad input of the files surface and of a repository in a folder, from outside: each is refused with its own error, says what
# state things are in, and leaves what was there as it was. What other tests of this folder claim is not repeated here.
. "${SOURCE_ROOT:?the project}/test/e2e/lib/tap.sh"

config() { # FILE [SED-EXPRESSION]
  cat >"$1" <<YAML
$(config_head)
surfaces:
  tree:
    kind: files
    class: truth
    paths: [$T/tree]
  gone:
    kind: files
    class: cache
    paths: [$T/not-there]
environments:
  lab:
    repository: main
    policy: { rpo: 24h, rto: 1h }
YAML
  [ -z "${2:-}" ] || sed -i "$2" "$1"
}
config proofkeep.yaml
mkdir -p tree/sub && echo one >tree/one && echo two >tree/sub/two && head -c 3M /dev/urandom >tree/large
pk init --repository main && pk backup lab/tree --json && first=$(result surfaces.0.backup_id) && echo three >tree/three && pk backup lab/tree && pk verify lab/tree --level checksum
claim 'there is a repository with two good backups'
points() { "$P" list lab/tree --json 2>/dev/null | grep -c '"id"'; }
# A copy is another repository to this machine's memory of logs, so each has a cache of its own; SEEN is a cache that knows the log.
copies=0
copy() {
  copies=$((copies + 1)) R=$T/copy$copies
  cp -a repo "$R"
  at=(-r "$R" --key-file "$T/key" --cache-dir "$T/cache$copies")
}
# closed STATUS CODE: of the copy, whatever is tried; nothing is restored, and nothing is added to its log.
closed() {
  local entries
  entries=$(ls "$R/log" | wc -l)
  fails "$1" "$2" list "${at[@]}" && fails "$1" "$2" restore "${at[@]}" "lab/tree@$first" --into "$T/never" && [ ! -e never ] &&
    fails "$1" "$2" backup "${at[@]}" --files "$T/tree" && fails "$1" "$2" prune "${at[@]}" lab && [ "$(ls "$R/log" | wc -l)" = "$entries" ]
}

# ---- addresses
fails 2 PK-USE-001 restore 'lab/tree@2026-02-30T00:00:00Z' --into "$T/never" && says '2026-02-30'
claim 'a day that is not is no point'
fails 2 PK-USE-002 restore 'lab/tree@2001-01-01T00:00:00Z' --into "$T/never" && [ ! -e never ]
claim 'nor is a time before the first backup'
fails 2 PK-USE-001 backup "lab/tree@$first" && says 'a backup makes one'
claim 'a backup takes no point'
fails 2 PK-USE-002 restore lab/all --into "$T/never" && says 'no set of lab/all was taken'
claim 'a set that was never taken is none to restore'
fails 2 PK-USE-002 backup lab/three && says three
claim 'a surface that is not configured is named'
fails 2 PK-USE-001 backup lab/tree --jobs 0 && says -- '--jobs'
claim 'no threads is a mistake'

# ---- sources
fails 3 PK-SRC-005 backup lab/all && says '1 of 2 surfaces failed' && says not-there
claim 'a surface of two that fails is 3, and is named'
n=$(points)
head -c 256M /dev/zero >tree/grows # long enough that the writer has its turn on a busy machine while it is read
python3 -c 'while True: open("tree/grows", "r+b", 0).write(b"x")' &
writer=$!
until head -c 1 tree/grows | grep -q x; do sleep 0.1; done
fails 3 PK-SRC-001 backup lab/tree
truth=$?
kill $writer && wait $writer 2>/dev/null
[ $truth = 0 ] && says 'warning.*changed during each of' && says 'tree/grows' && pk list lab/tree && grep -q 'partial' out && [ "$(points)" = $((n + 1)) ]
claim 'a file that keeps changing makes the backup partial, with its own code, and is named'
rm tree/grows
pk status lab --check --json
[ $? = 6 ]
claim 'a partial backup does not meet a target'
config bad.yaml 's|paths: \[.*/tree\]|paths: [tree]|'
fails 2 PK-CFG-003 backup lab/tree --config bad.yaml && says 'bad.yaml:[0-9]*:[0-9]*: .*paths'
claim 'a path that is not absolute is refused with its line'
config bad.yaml '/paths: .*tree/d'
fails 2 PK-CFG-002 backup lab/tree --config bad.yaml && says 'paths'
claim 'no path at all is refused'

# ---- targets
echo mine >file
fails 1 PK-IO-006 restore "lab/tree@$first" --into "$T/file" && says "$T/file.* is not a folder" && [ "$(cat file)" = mine ]
claim 'a file is no target'
mkdir real && ln -s real link
fails 4 PK-IO-008 restore "lab/tree@$first" --into "$T/link" && says "$T/link.* symbolic link" && [ -z "$(ls real)" ]
claim 'nor is a link to a folder'
fails 1 'PK-IO-[0-9]*' restore "lab/tree@$first" --into /proc/new && [ ! -e /proc/new ]
claim 'nor a place where nothing can be made'
mkdir victim && echo safe >victim/two && mv tree/sub tree/aside && ln -s "$T/victim" tree/sub
pk restore "lab/tree@$first" --in-place --path sub/two --dry-run --json && plan=$(result plan) && fails 4 PK-IO-008 restore --plan "$plan" && says sub && [ "$(cat victim/two)" = safe ]
claim 'a restore in place does not follow a link that was planted'
rm tree/sub && mv tree/aside tree/sub

# ---- a repository that is none, or another program's
echo text >plain
fails 7 PK-REP-008 list -r "$T/plain" --key-file "$T/key" && says "$T/plain"
claim 'a file is no repository'
mkdir hollow
fails 10 PK-REP-001 list -r "$T/hollow" --key-file "$T/key" && fails 10 PK-REP-001 backup -r "$T/hollow" --key-file "$T/key" --files "$T/tree" && [ -z "$(ls hollow)" ]
claim 'an empty folder is none either, and nothing is put into it'
copy && rm "$R/format"
closed 10 PK-REP-001
claim 'without its format object it is none'
copy && chmod u+w "$R/format" && sed -i 's/"version": 1/"version": 2/' "$R/format"
closed 1 PK-FMT-002 && says '2'
claim 'a later format is not guessed at'
copy && chmod u+w "$R/format" && sed -i 's/"read": \[\]/"read": ["future"]/' "$R/format"
closed 1 PK-FMT-002
claim 'nor is a feature that readers must know'
copy && chmod u+w "$R/format" && truncate -s 40 "$R/format"
closed 4 PK-FMT-001 && says 'line [0-9]*, column [0-9]*'
claim 'half a format object is damage'
copy && chmod u+w "$R/format" && sed -i 's/"data_pack_bytes": [0-9]*/"data_pack_bytes": 1048576/' "$R/format"
closed 4 PK-REP-005 && says "is not the one that the log's first entry names"
claim 'one that was altered is not the one that the log names'

# ---- keys
copy && for k in "$R"/keys/*; do flip "$k" 100; done
closed 12 PK-KEY-001 && says '1 damaged'
claim 'a key slot with a flipped byte opens nothing'
copy && rm "$R"/keys/*
fails 12 PK-KEY-001 list "${at[@]}"
claim 'nor does a repository without key slots'
head -c 31 /dev/urandom | base64 >short && chmod 600 short
fails 2 PK-CFG-005 list -r "$T/repo" --key-file "$T/short" && says 'line 1 of the key file does not begin with PROOFKEEP-KEY-1'
claim 'a key file that holds no key is refused'

# ---- the log
newest() { ls "$R/log" | tail -n 1; }
copy && pk list "${at[@]}" && chmod u+w "$R/log"/* && e=$R/log/$(newest) && sed -i 's/"payload":"./"payload":"A/' "$e"
closed 4 PK-LOG-002
claim 'an altered newest entry is not the one that this machine has seen'
spoil() { chmod u+w "$R/log"/* && sed -i 's/"sig":"..../"sig":"AAAA/' "$R/log/0000000000000001"; }
copy && rm -r "$R/tile" && spoil
closed 4 PK-LOG-001 && says 'entry 1'
claim 'a signature that does not hold ends the log for everybody'
# Bundles hold the entries once more, and whoever reads those goes on.
copy && spoil && pk verify "${at[@]}" --all --level checksum
[ $? = 4 ] && grep -q 'log/0000000000000001\|entry 1' out err
claim 'and is found by a verification where copies of the entries are left'
copy && rm "$R/log/0000000000000002"
closed 4 PK-LOG-001 && says 'entry 2'
claim 'an entry that is missing among others is not the end'
copy && rm -r "$R/tile" && mv "$R/log/0000000000000001" "$R/log/x" && mv "$R/log/0000000000000002" "$R/log/0000000000000001" && mv "$R/log/x" "$R/log/0000000000000002"
closed 4 PK-LOG-001 && says 'entry 1'
claim 'entries do not change places'
copy && pk list "${at[@]}" && rm "$R/log/$(newest)" "$R/checkpoint"
closed 4 PK-LOG-002 && says 'already seen'
claim 'a log that is shorter than what was seen was rolled back'
copy && rm "$R/log/$(newest)"
closed 4 PK-LOG-002 && says 'checkpoint'
claim 'a machine that has seen nothing holds it against the signed checkpoint'
copy && mkdir other-tree && echo x >other-tree/x && pk init -r "$T/foreign" --key-file "$T/foreign.key" --config "$T/foreign.yaml" &&
  pk backup -r "$T/foreign" --key-file "$T/foreign.key" --files "$T/other-tree" && next=$(printf %016d $((10#$(newest) + 1))) && cp foreign/log/0000000000000001 "$R/log/$next"
closed 4 PK-LOG-001 && says "entry $((10#$next))"
claim "another repository's entry is not taken for ours"

# ---- objects
copy && rm -f "$R"/index/*
fails 4 PK-REP-004 restore "${at[@]}" "lab/tree@$first" --into "$T/never" && says 'index/' && [ ! -e never ]
claim 'an index run that is missing is named'
copy && chmod u+w "$R"/index/* && for f in "$R"/index/*; do printf '\377\376' | dd of="$f" bs=1 seek=100 conv=notrunc status=none; done
fails 4 PK-REP-005 restore "${at[@]}" "lab/tree@$first" --into "$T/never" && says 'index/[0-9a-f]' && [ ! -e never ]
claim 'and so is one that was altered'
copy && pk show "${at[@]}" "lab/tree@$first" --receipt && read -r list run < <(python3 -c '
import base64, json
r = json.loads(base64.b64decode(json.load(open("out"))["payload"]))["predicate"]["repository"]
print(r["packs"], r["index"][0])') && flip "$R/index/$list" 100
fails 4 PK-VER-001 verify "${at[@]}" --all --level checksum && grep -q "^DAMAGE  corrupt  index/$list" out && [ "$(grep 'harms' out)" = "  harms snapshot $first" ] && pk list "${at[@]}" --json && [ "$(python3 -c '
import json
print(*[p["id"] for p in json.load(open("out"))["points"] if p["damaged"]])')" = "$first" ]
claim 'a damaged list of packs harms the recovery point whose it is, and no other'
copy && pk list "${at[@]}" && flip "$R/index/$run" 100
fails 4 PK-VER-001 verify "${at[@]}" --all --level checksum && grep -q "^DAMAGE  corrupt  index/$run" out && grep -q "every recovery point needs it, and 'proofkeep repair' makes it anew" out
claim 'a damaged run of the index is what every recovery point needs'
rm -r "$T/cache$copies" && fails 4 PK-REP-005 list "${at[@]}" && says "next:.*proofkeep repair"
claim 'a machine that does not have it yet can do nothing, and is told what to do'
pk repair "${at[@]}" && pk verify "${at[@]}" --all --level decode
claim 'and is made anew'
copy && f=$(find "$R/packs/m" -type f | head -n 1) && chmod u+w "$f" && truncate -s -100 "$f"
fails 4 PK-VER-001 verify "${at[@]}" --all --level checksum && grep -q "$(basename "$f")" out
claim 'a pack that was cut short is found, and named'
found=
for level in present checksum decode full; do
  copy && rm "$(find "$R/packs/d" -type f -size +64k | head -n 1)"
  fails 4 PK-VER-001 verify "${at[@]}" --all --level $level && grep -q '^DAMAGE  missing' out && found+=" $level"
done
[ "$found" = ' present checksum decode full' ]
claim 'a pack that is missing is found at every level'
copy && echo junk >"$R/packs/junk" && mkdir "$R/packs/d/zz" && echo junk >"$R/packs/d/zz/junk" && echo junk >"$R/log/junk" && echo junk >"$R/index/junk" && pk verify "${at[@]}" --all --level decode && pk restore "${at[@]}" "lab/tree@$first" --into "$T/among-junk"
claim "files that are nobody's do no harm"

# ---- a repository that may not be read or written
if [ "$(id -u)" = 0 ] && chmod 755 "$T" && mkdir -m 777 -p nobody && cp key nobody/key && chown 65534 nobody/key && cp -a repo nobody/repo && chown -R 65534 nobody/repo &&
  as() { tap_last="as nobody: $*"; GCOV_PREFIX=$T/nobody TMPDIR=$T/nobody HOME=$T/nobody XDG_CACHE_HOME=$T/nobody setpriv --reuid 65534 --regid 65534 --clear-groups "$P" "$@" >"$T/out" 2>"$T/err" </dev/null; } && as --version; then
  their=(-r "$T/nobody/repo" --key-file "$T/nobody/key")
  chmod 000 nobody/repo && as list "${their[@]}"
  [ $? = 1 ] && says PK-IO-007 && says "user 65534 may not list '$T/nobody/repo', which belongs to 65534:[0-9]* and has mode 0000"
  claim 'a folder that may not be opened is named, with its owner and its mode'
  chmod -R u=rX nobody/repo && as list "${their[@]}" && as restore "${their[@]}" "lab/tree@$first" --into "$T/nobody/back" && cmp nobody/back/sub/two tree/sub/two
  claim 'a repository that may only be read restores'
  as backup "${their[@]}" --files "$T/tree/sub"
  [ $? = 1 ] && says PK-IO-007 && says 'state:' && says "user 65534 may not write into '$T/nobody/repo[a-z/]*', which belongs to 65534:[0-9]* and has mode 0[45]"
  claim 'and takes no backup, and says which mode is missing'
  mkdir -m 711 closed closed/in && mkdir -m 700 closed/in/further
  as restore "${their[@]}" "lab/tree@$first" --into "$T/closed/x"
  [ $? = 1 ] && says PK-IO-007 && says "user 65534 may not [a-z ]* '$T/closed', which belongs to 0:0 and has mode 0711" && [ "$(ls closed)" = in ]
  claim 'a target in whose folder nothing may be made is refused, with whose it is'
  as restore "${their[@]}" "lab/tree@$first" --into "$T/closed/in/further/still/x"
  [ $? = 1 ] && says PK-IO-007 && says "user 65534 may not pass through '$T/closed/in/further', which belongs to 0:0 and has mode 0700"
  claim 'of a path, the folder that is in the way is named'
  install -m 600 key closed/in/key && as list -r "$T/nobody/repo" --key-file "$T/closed/in/key"
  [ $? = 2 ] && says PK-CFG-005 && says "user 65534 may not read '$T/closed/in/key', which belongs to 0:0 and has mode 0600"
  claim 'and a key that may not be read'
  # One process is all that this user may have; nobody else is that user, whatever runs beside.
  mkdir -m 777 lone && cp key lone/key && chown 64321 lone/key && cp -a repo lone/repo && chmod -R a+rX lone/repo
  tap_last='restore, with a process and no thread more'
  prlimit --nproc=1 setpriv --reuid 64321 --regid 64321 --clear-groups env HOME="$T/lone" TMPDIR="$T/lone" XDG_CACHE_HOME="$T/lone" GCOV_PREFIX="$T/lone" \
    "$P" restore -r "$T/lone/repo" --key-file "$T/lone/key" "lab/tree@$first" --into "$T/lone/never" >out 2>err </dev/null
  [ $? = 1 ] && says PK-SYS-005 && says 'start a thread: Resource temporarily unavailable' && [ "$(ls lone/never* 2>/dev/null | wc -l)" = 0 ]
  claim 'where no thread can be started nothing is restored'
  chmod -R u+w nobody/repo && chmod 000 "$(find nobody/repo/packs/d -type f -size +64k | head -n 1)" && as restore "${their[@]}" "lab/tree@$first" --into "$T/nobody/never"
  [ $? = 1 ] && says PK-IO-007 && says "user 65534 may not read '$T/nobody/repo/packs/d/.*', which belongs to 65534:[0-9]* and has mode 0000" && [ ! -e nobody/never ]
  claim 'a pack that may not be read is a matter of permission, not damage'
  as verify "${their[@]}" --all --level checksum
  [ $? != 0 ] && ! grep -q '^DAMAGE  \(missing\|corrupt\)' out
  claim 'for a verification, too'
else
  for what in 'a folder that may not be opened is named, with its owner and its mode' 'a repository that may only be read restores' \
    'and takes no backup, and says which mode is missing' 'a target in whose folder nothing may be made is refused, with whose it is' \
    'of a path, the folder that is in the way is named' 'and a key that may not be read' 'where no thread can be started nothing is restored' \
    'a pack that may not be read is a matter of permission, not damage' 'for a verification, too'; do skip "$what" 'this wants root, to become somebody else'; done
fi
pk verify --all --level full && [ "$(points)" = $((n + 2)) ] # one of a backup that went well, one of before the restore in place
claim 'the repository itself is whole after all of this'
finish
