#!/bin/bash
# Before a restore writes over something live, what is there is backed up: within the standby, by whoever may, as one thing before a set is begun,
# and never twice for a run that was killed. Judged by the files and by redis-cli.
. "${SOURCE_ROOT:?the project}/test/e2e/lib/tap.sh"
. "$SOURCE_ROOT/test/e2e/lib/redis.sh"
redis_needed
R=$T/redis Q=$T/queue
trap 'redis_stop "$R"; redis_stop "$Q"' EXIT
redis_start "$R" && redis_start "$Q" || exit 1
mkdir src && echo one >src/a && echo aside >src/b
cat >hook.sh <<HOOK
#!/bin/bash
cat >/dev/null
echo "\$1 \$(cat $T/src/a)" >>$T/ran
[ "\$1" != standby ] || [ ! -e $T/late ] || cat $T/late >$T/src/a
HOOK
chmod +x hook.sh
# a file that nobody may read, not even root
refused=$(find /sys/bus -name drivers_probe -perm 200 2>/dev/null | head -n 1)
hooks="standby: { run: [$T/hook.sh, standby] }, live: { run: [$T/hook.sh, live] }"
{
  config_head
  cat <<YAML
surfaces:
  f: { kind: files, class: truth, paths: [$T/src], hooks: { $hooks } }
  g: { kind: files, class: truth, paths: [$T/g, ${refused:-$T/g}] }
  cache: { kind: redis, class: runtime, server: { host: $R/s, conflicts: replace } }
  queue: { kind: redis, class: runtime, server: { host: $Q/s, conflicts: replace }, depends_on: [cache] }
sets:
  both: { surfaces: [cache, queue] }
environments:
  lab: { repository: main }
YAML
} >proofkeep.yaml
pk init --repository main && redis_in "$R" mset x 1 y 1 >/dev/null && redis_in "$Q" set q 1 >/dev/null && pk backup lab/f && pk backup lab/both --json && set=$(result sets.0.set_id)
claim '(a platform, backed up)' || finish
points() { "$P" list "$@" --json 2>/dev/null | python3 -c 'import json, sys; print(len(json.load(sys.stdin)["points"]))'; }
planned() { pk restore "$@" --dry-run --json && plan=$(result plan); } # ADDRESS WORD...
newest() { "$P" list "$1" --json 2>/dev/null | python3 -c 'import json, sys; print(json.load(sys.stdin)["points"][-1]["id"])'; }

# ---- when ----
echo two >src/a && echo 'three, written as the last thing before the standby' >late && planned lab/f --in-place --path a && pk restore --plan "$plan" --json && before=$(result before) && rm late &&
  [ "$(cat src/a)" = one ] && [ "$(cut -d ' ' -f 1 ran | tr '\n' ' ')" = 'standby live ' ] && pk restore "lab/f@$before" --into "$T/then" && grep -q three then/a
claim 'what is written until the standby is in the backup'
redis_in "$R" mset x 2 z 2 >/dev/null && planned lab/cache@latest --in-place && pk restore --plan "$plan" --json && before=$(result before) && [ "$(redis_in "$R" mget x z)" = "$(printf '1\n2')" ] &&
  pk restore "lab/cache@$before" --into "$T/were" && redis_start "$T/were" && [ "$(redis_in "$T/were" mget x y z)" = "$(printf '2\n1\n2')" ]
claim 'keys that are replaced are had back from it'
redis_stop "$T/were"
planned lab/cache@latest --in-place && pk restore --plan "$plan" && [ "$(redis_in "$R" get x)" = 1 ]
claim 'a second restore of the latest is of the same point, and not of what the first one wrote over'
pk backup lab/cache && pk verify lab/cache@latest --level checksum && pk status lab/cache --json && ! grep -q "$before" out
claim 'nor is it what the status goes by'
n=$(points lab/cache) && redis_in "$R" flushall >/dev/null && planned "lab/cache@$before" --in-place && ! grep -q backup_first out && pk restore --plan "$plan" --json && [ "$(result before)" = None ] &&
  [ "$(points lab/cache)" = "$n" ] && [ "$(redis_in "$R" get x)" = 2 ]
claim 'of a server that is empty none is taken, and such a point is restored by its id'

# ---- as much as is written over ----
redis_in "$R" -n 3 set far 1 >/dev/null && sed "s|host: $R/s, conflicts|host: $R/s, databases: [0], conflicts|" proofkeep.yaml >narrow.yaml && redis_in "$R" flushall >/dev/null && redis_in "$R" -n 3 set far 1 >/dev/null && pk backup lab/cache &&
  redis_in "$R" -n 3 set far 2 >/dev/null && pk --config narrow.yaml restore lab/cache@latest --in-place --dry-run --json && pk --config narrow.yaml restore --plan "$(result plan)" --json && before=$(result before) && [ "$(redis_in "$R" -n 3 get far)" = 1 ] &&
  pk restore "lab/cache@$before" --into "$T/far" && redis_start "$T/far" && [ "$(redis_in "$T/far" -n 3 get far)" = 2 ]
claim 'what the configuration selects no more is kept as well'
redis_stop "$T/far"
sed 's|, conflicts: replace||' proofkeep.yaml >abort.yaml && pk --config abort.yaml restore lab/cache@latest --in-place --dry-run --json && ! grep -q backup_first out && fails 5 PK-RST-002 restore --plan "$(result plan)" && says 'the target has changed'
claim 'a plan that would have written over nothing is not carried out where it would now'
fails 2 PK-USE-001 restore lab/f --in-place --path a --into "$T/other" && says 'has no other target'
claim 'nor is anything restored in place elsewhere'
redis_in "$R" flushall >/dev/null && redis_in "$R" mset x 1 y 1 >/dev/null && pk backup lab/cache
claim '(as it was)'

# ---- when it cannot be ----
echo four >src/a && redis_in "$R" set x 4 >/dev/null && redis_in "$R" replicaof 127.0.0.1 1 >/dev/null && planned lab/cache@latest --in-place &&
  fails 5 PK-RST-006 restore --plan "$plan" && says 'what lab/cache has now could not be backed up first: ' && says 'nothing that is live was touched' && says 'no-backup-first' && redis_in "$R" replicaof no one >/dev/null &&
  [ "$(redis_in "$R" get x)" = 4 ]
claim 'a store that cannot be backed up is not written over'
if [ -n "$refused" ]; then
  mkdir g && echo one >g/a && pk backup lab/g
  [ $? = 3 ] && id=$(newest lab/g) && echo two >g/a && planned "lab/g@$id" --in-place --path "$T/g/a" && fails 5 PK-RST-006 restore --plan "$plan" && says 'is partial: 1 unreadable' && [ "$(cat g/a)" = two ]
  claim 'nor one of which something could not be read'
  pk restore --plan "$plan" --no-backup-first && [ "$(cat g/a)" = one ]
  claim '... unless that is asked for'
else
  skip 'nor one of which something could not be read' 'every file here can be read'
  skip '... unless that is asked for' 'every file here can be read'
fi
pk key add --role restore --repository main --key-file-out "$T/restore.key" --label reader
claim '(a key that may restore and not write)'
echo five >src/a
pk restore lab/f --key-file "$T/restore.key" --in-place --path a --dry-run --json && plan=$(result plan) && grep -q '"backup_first":"elsewhere"' out &&
  fails 5 PK-RST-006 restore --key-file "$T/restore.key" --plan "$plan" && says "no whole backup of it was begun since plan $plan" && says "proofkeep backup lab/f --before-restore $plan" && [ "$(cat src/a)" = five ]
claim 'a key that may not write has somebody else take it: until then nothing is restored'
pk backup lab/f --before-restore "$plan" && pk restore --key-file "$T/restore.key" --plan "$plan" --json && [ "$(result before)" = "$(newest lab/f)" ] && [ "$(cat src/a)" = one ]
claim '... and with it, it is'
echo six >src/a && pk restore lab/f --key-file "$T/restore.key" --in-place --path a --dry-run --json && plan=$(result plan) && pk restore --key-file "$T/restore.key" --plan "$plan" --no-backup-first && [ "$(cat src/a)" = one ]
claim '... or without it, where that is asked for'
redis_in "$R" set x 5 >/dev/null && pk restore lab/cache@latest --key-file "$T/restore.key" --in-place --dry-run --json && plan=$(result plan) && pk --config narrow.yaml backup lab/cache --before-restore "$plan" &&
  fails 5 PK-RST-006 restore --key-file "$T/restore.key" --plan "$plan" && says "$(newest lab/cache) has not all that would be written over" && [ "$(redis_in "$R" get x)" = 5 ] &&
  pk backup lab/cache --before-restore "$plan" && pk restore --key-file "$T/restore.key" --plan "$plan" && [ "$(redis_in "$R" get x)" = 1 ]
claim '... and one of less than is written over does not serve'
fails 2 PK-USE-001 backup lab/f --before-restore yesterday && says "no plan's id"
claim 'what such a backup is before must be a plan'

mkdir own && echo one >own/a && sed "s|$T/repo|$T/own/repo|; s|paths: \\[$T/src\\], hooks: .*|paths: [$T/own] }|" proofkeep.yaml >own.yaml && pk --config own.yaml init --repository main && pk --config own.yaml backup lab/f &&
  fails 5 PK-POL-001 --config own.yaml restore lab/f@latest --swap --dry-run && says "$T/own/repo, lies in $T/own, and would be moved or removed" && pk --config own.yaml restore lab/f@latest --into "$T/own-beside" && [ "$(cat own-beside/a)" = one ]
claim 'a repository is not moved away with the folder that it lies in'

# ---- killed ----
redis_in "$R" set x 7 >/dev/null && planned lab/cache@latest --in-place && n=$(points lab/cache) && redis_in "$R" client pause 60000 write >/dev/null
"$P" restore --plan "$plan" >killed 2>&1 </dev/null &
pid=$!
more() { [ "$(points lab/cache)" = $((n + 1)) ]; }
await 60 more && await 60 test -e "$XDG_CACHE_HOME/proofkeep/plans/$plan.before"
kill -KILL $pid
wait $pid 2>/dev/null
redis_in "$R" client unpause >/dev/null && redis_in "$R" set x half >/dev/null && kept=$(newest lab/cache) && pk restore --plan "$plan" --json && [ "$(result before_first)" = "$kept" ] && [ "$(redis_in "$R" get x)" = 1 ] &&
  before=$(result before) && [ "$before" != "$kept" ] && pk restore "lab/cache@$kept" --into "$T/kept" && redis_start "$T/kept" && [ "$(redis_in "$T/kept" get x)" = 7 ] &&
  pk restore "lab/cache@$before" --into "$T/half" && redis_start "$T/half" && [ "$(redis_in "$T/half" get x)" = half ]
claim 'a run that was killed, carried out again, names what was there before it, and what is there now'
redis_stop "$T/kept"
redis_stop "$T/half"
pk restore --plan "$plan" --json && [ "$(result before)" != None ] && [ "$(result before_first)" = None ]
claim '... and after it has ended well there is nothing first'
redis_in "$R" set x 7 >/dev/null && planned lab/cache@latest --in-place && redis_in "$R" config set maxmemory 1 >/dev/null && fails 1 'PK-RDS-[0-9]*' restore --plan "$plan" && says 'what was there before is backed up as' &&
  redis_in "$R" config set maxmemory 0 >/dev/null && pk restore --plan "$plan" --json && [ "$(result before_first)" != None ] && [ "$(redis_in "$R" get x)" = 1 ]
redis_in "$R" config set maxmemory 0 >/dev/null
[ "$(result before_first)" != None ]
claim 'the same of one that failed'

# ---- sets ----
redis_in "$R" del z >/dev/null && redis_in "$R" set x 8 >/dev/null && redis_in "$Q" set q 8 >/dev/null && pk restore "lab/both@$set" --in-place --dry-run --json && plan=$(result plan) && pk restore "lab/both@$set" --in-place --dry-run &&
  grep -q 'first: what lab/cache has now' out && grep -q 'first: what lab/queue has now' out
claim 'the plan of a set says it of each member'
redis_in "$Q" replicaof 127.0.0.1 1 >/dev/null
fails 5 PK-RST-006 restore --plan "$plan" && says 'what lab/queue has now' && says 'cache: NOT BEGUN' && says 'queue: NOT BEGUN' && redis_in "$Q" replicaof no one >/dev/null && [ "$(redis_in "$R" get x)" = 8 ] && [ "$(redis_in "$Q" get q)" = 8 ]
claim 'all members are backed up before the first is written over'
redis_in "$R" set x later >/dev/null && pk restore --plan "$plan" --json && [ "$(redis_in "$R" get x)" = 1 ] && [ "$(redis_in "$Q" get q)" = 1 ] && [ "$(result members.0.before)" = "$(newest lab/cache)" ] && [ "$(result members.1.before)" = "$(newest lab/queue)" ] &&
  redis_in "$R" flushall >/dev/null && pk restore "lab/cache@$(newest lab/cache)" --in-place --dry-run --json && pk restore --plan "$(result plan)" && [ "$(redis_in "$R" get x)" = later ]
claim '... and each is had back from what it was when the plan was carried out'
entry=$(($("$P" ledger list | grep -c '^ *[0-9]') - 2))
pk ledger show $(seq 0 "$entry") && python3 - out <<'PY'
import re, sys
text = open(sys.argv[1]).read()
at = text.index("set-restore/v1")
assert len(re.findall(r'"before": "bkp-', text[at:])) >= 2, text[at:]
PY
claim '... and the receipt of the set names them'
redis_in "$R" set x 9 >/dev/null && redis_in "$Q" set q 9 >/dev/null && n=$(points lab/queue) && pk restore "lab/both@$set" --in-place --no-backup-first --dry-run --json && pk restore --plan "$(result plan)" --json &&
  [ "$(result members.0.before)" = None ] && [ "$(points lab/queue)" = "$n" ] && [ "$(redis_in "$Q" get q)" = 1 ]
claim 'none is taken where that is asked for'
finish
