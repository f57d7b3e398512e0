#!/bin/bash
# The neo4j surface's offline method against a stand-in for neo4j-admin, which fails at will: what is kept, what is told, and that the
# service always comes back. neo4j_offline_server.sh has the real one.
. "${SOURCE_ROOT:?the project}/test/e2e/lib/tap.sh"
. "$SOURCE_ROOT/test/e2e/lib/neo4j_offline.sh"
. "$SOURCE_ROOT/test/e2e/lib/browse.sh"
S=$T/stand-in
if ! command -v zstd >/dev/null; then
  echo '1..0 # skip zstd is not installed'
  exit 0
fi

# ---- a stand-in: what neo4j-admin can do wrong ----
mkdir -p "$S/bin" "$S/home/conf"
cat >"$S/bin/neo4j-admin" <<'E'
#!/bin/sh
here=$(cd "$(dirname "$0")/.." && pwd)
echo "$*" >>"$here/asked"
case "$*" in
--version) echo 5.26.0 ;;
"database info --format=json") echo '[{"databaseName":"neo4j","inUse":"false","storeFormat":"record-aligned-1.1","lastCommittedTransaction":"7","recoveryRequired":"false"}]' ;;
"database dump --to-stdout neo4j")
  echo 'Files: 1/1, data: 100.0%' >&2
  [ ! -e "$here/wait" ] || { touch "$here/waiting"; exec sleep 120; }
  cat "$here/dump"
  [ ! -e "$here/words" ] || cat "$here/words" >&2
  exit "$(cat "$here/status")"
  ;;
"database load --from-stdin --overwrite-destination=true neo4j")
  [ ! -e "$here/fail-live" ] || [ "$NEO4J_CONF" != "$here/home/conf" ] || { echo "Failed to load database 'neo4j': no" >&2; exit 1; }
  [ ! -e "$here/wait-live" ] || [ "$NEO4J_CONF" != "$here/home/conf" ] || { touch "$here/waiting"; exec sleep 120; }
  id -un >"$NEO4J_CONF/../data/who"
  [ ! -e "$here/wait-load" ] || exec sleep 60
  cat >"$NEO4J_CONF/../data/loaded"
  ;;
"database load --from-path="*) ;;
"database dump --to-path="*) to=${3#--to-path=} && echo old >"$to/$4.dump" ;;
"database check --report-path="*" neo4j") exit "$(cat "$here/check")" ;;
*) exit 64 ;;
esac
E
printf '#!/bin/sh\necho stop >>%s\n' "$S/service" >"$S/bin/stop"
printf '#!/bin/sh\necho start >>%s\n[ ! -e %s ]\n' "$S/service" "$S/broken" >"$S/bin/start"
chmod +x "$S/bin"/*
python3 - "$S" <<'PY'
import io, struct, subprocess, sys, tarfile
out = io.BytesIO()
with tarfile.open(fileobj=out, mode="w", format=tarfile.PAX_FORMAT) as tar:
    for name, data in (("./neostore", b"n" * 8192), ("./schema/index/text-1.0/1/_0.cfs", b"l" * 3000), ("./empty", b"")):
        info = tarfile.TarInfo(name)
        info.size = len(data)
        tar.addfile(info, io.BytesIO(data))
plain = b"zstd" + struct.pack(">IQQ", 1, 3, 11192) + out.getvalue()
dump = b"DZV1" + subprocess.run(["zstd", "-q", "-c"], input=plain, capture_output=True, check=True).stdout
open(sys.argv[1] + "/whole", "wb").write(dump)
short = b"zstd" + struct.pack(">IQQ", 1, 4, 11192) + out.getvalue()
open(sys.argv[1] + "/fewer", "wb").write(b"DZV1" + subprocess.run(["zstd", "-q", "-c"], input=short, capture_output=True, check=True).stdout)
PY
service() { # the hooks that were called since it was last asked
  [ ! -e "$S/service" ] || tr '\n' ' ' <"$S/service"
  rm -f "$S/service"
}
config "$S/home" "$S/bin/neo4j-admin" "stop=$S/bin/stop" "start=$S/bin/start"
pk init --repository main
config "$S/home" "$S/bin/neo4j-admin" "stop=$S/bin/stop"
fails 2 PK-CFG-003 backup lab/graph && says "none 'start'" && [ -z "$(service)" ]
claim 'a hook that stops without one that starts is refused before anything is stopped'
config "$S/home" "$S/bin/neo4j-admin" "stop=$S/bin/stop" "start=$S/bin/start"
cp "$S/whole" "$S/dump" && echo 0 >"$S/status"
pk backup lab/graph && [ "$(service)" = 'stop start ' ] && [ ! -e "$S/home/.proofkeep-stopped" ]
claim 'a backup stops the service and starts it again'
browse lab/graph
echo 1 >"$S/status"
fails 1 PK-NEO-020 backup lab/graph && says 'status 1' && [ "$(service)" = 'stop start ' ]
claim 'a whole stream is no backup when neo4j-admin failed, and the service is started again'
echo "Failed to dump database 'neo4j': the disk is on fire" >"$S/words"
fails 1 PK-NEO-020 backup lab/graph && says "Failed to dump database 'neo4j': the disk is on fire" && [ "$(service)" = 'stop start ' ]
claim 'its words are told'
rm "$S/words"
echo 0 >"$S/status"
head -c 60 "$S/whole" >"$S/dump"
fails 1 PK-SRC-003 backup lab/graph && [ "$(service)" = 'stop start ' ]
claim 'a stream that is cut off is no backup, even when neo4j-admin says that all is well'
cp "$S/fewer" "$S/dump"
fails 1 PK-SRC-003 backup lab/graph && says 'says that it has 4' && [ "$(service)" = 'stop start ' ]
claim 'nor is one with fewer files than its head says'
: >"$S/dump"
fails 1 PK-SRC-003 backup lab/graph && says 'is empty' && [ "$(service)" = 'stop start ' ]
claim 'nor is nothing at all'
printf 'a container that nobody knows' >"$S/dump"
pk backup lab/graph && says 'not of the form that is known' && [ "$(service)" = 'stop start ' ]
claim 'an unknown container is kept as it came, and that is said'
pk export lab/graph@latest --to "$T/odd" && cmp "$S/dump" odd/data/neo4j.dump
claim 'and comes out as it came'
cp "$S/whole" "$S/dump"
touch "$S/broken"
fails 1 PK-NEO-022 backup lab/graph && says 'does not start' && [ -e "$S/home/.proofkeep-stopped" ]
claim 'a service that does not start again is an error of its own'
[ "$(service)" = 'stop start start ' ]
claim 'after a second attempt'
pk doctor --json
grep -q 'PK-NEO-022' out
claim 'doctor says that it was left stopped'
rm "$S/broken"
pk backup lab/graph && says 'never came to start it again' && [ "$(service)" = 'stop start ' ] && [ ! -e "$S/home/.proofkeep-stopped" ]
claim 'the next backup says so, too, and starts it'
touch "$S/wait"
"$P" backup lab/graph >out 2>err </dev/null &
job=$!
await 60 test -e "$S/waiting"
kill -9 $job
wait $job 2>/dev/null
[ "$(service)" = 'stop ' ] && [ -e "$S/home/.proofkeep-stopped" ]
claim 'a backup that was killed leaves word that the service is stopped'
rm -f "$S/wait" "$S/waiting"
pk backup lab/graph && says 'never came to start it again' && [ "$(service)" = 'stop start ' ]
claim 'and the next one starts it'
touch "$S/wait"
"$P" backup lab/graph >out 2>err </dev/null &
job=$!
await 60 test -e "$S/waiting"
kill -TERM $job
wait $job
[ $? = 143 ] && [ "$(service)" = 'stop start ' ] && [ ! -e "$S/home/.proofkeep-stopped" ]
claim 'one that is asked to end starts it before it does'
rm -f "$S/wait" "$S/waiting"
printf '#!/bin/sh\necho stop >>%s\nexit 1\n' "$S/service" >"$S/bin/stop"
fails 1 PK-HOK-001 backup lab/graph && [ "$(service)" = 'stop start ' ]
claim 'when stopping fails, it is started too: nobody knows how far it came'
printf '#!/bin/sh\necho stop >>%s\n' "$S/service" >"$S/bin/stop"

pk backup lab/graph
service >/dev/null
mkdir -p "$S/home/data"
echo 0 >"$S/check"
pk restore lab/graph@latest --into "$T/stood" && zstd -dqc <(tail -c +5 stood/data/loaded) >loaded.plain && zstd -dqc <(tail -c +5 "$S/whole") | cmp - loaded.plain
claim 'what is loaded has the content of the dump, byte for byte'
pk restore lab/graph@latest --into nearby && cmp stood/data/loaded nearby/data/loaded && [ "$(cat nearby/conf/neo4j.conf | grep -c "=$T/nearby/")" = 7 ]
claim 'a folder that is named from here is one from here'
echo 1 >"$S/check"
fails 4 PK-NEO-023 restore lab/graph@latest --into "$T/unsound" && [ -z "$(ls -d unsound* 2>/dev/null)" ]
claim 'what database check finds inconsistent does not get its name'
: >"$S/asked"
if restored --in-place; then false; else says '^error PK-NEO-023: ' && [ -z "$(service)" ] && ! grep -q 'to-path' "$S/asked"; fi
claim 'nor does it replace anything: the service was not even stopped'
echo 0 >"$S/check"
touch "$S/fail-live"
if restored --in-place; then false; else says '^error PK-NEO-020: ' && says 'the old databases were put back' && [ "$(service)" = 'stop start ' ]; fi
claim 'a load that fails in place has the old databases put back, and the service started'
grep -q "^database dump --to-path=$S/home.before-.* neo4j" "$S/asked" && grep -q "^database load --from-path=$S/home.before-.* --overwrite-destination=true neo4j" "$S/asked"
claim 'by neo4j-admin, from the dumps that were made before'
rm "$S/fail-live"
restored --in-place && [ "$(service)" = 'stop start ' ] && cmp stood/data/loaded "$S/home/data/loaded"
claim 'without a failure it is in place'
[ "$(ls -d "$S"/home.before-* | wc -l)" = 2 ]
claim 'and what each of both replaced is kept, though they were in one second'
touch "$S/wait-live"
pk restore lab/graph@latest --in-place --dry-run --json
plan=$(result plan)
"$P" restore --plan "$plan" >out 2>err </dev/null &
job=$!
await 60 test -e "$S/waiting"
kill -9 $job
wait $job 2>/dev/null
rm -f "$S/wait-live" "$S/waiting"
[ "$(service)" = 'stop ' ] && fails 1 PK-NEO-022 backup lab/graph && says 'half loaded; what they were is in' && [ -z "$(service)" ]
claim 'what a restore that was killed left half loaded is not backed up, and not started'
half=$(ls -d "$S"/home.proofkeep-partial-*) && [ -d "$half" ] && { pk doctor --json; grep -qF "$half" out && grep -q 'left of a run that was killed' out; }
claim 'doctor names the folder that it left beside the home'
mkdir "$S/home.proofkeep-partial-mine" "$S/other.proofkeep-partial-0123abcd"
: >"$S/asked"
touch "$S/fail-live"
if restored --in-place; then false; else [ "$(service)" = 'stop start ' ] && says 'the old databases were put back' && ! grep -q 'to-path' "$S/asked"; fi
claim 'the next one in place, when it fails, puts back what was live before both'
[ ! -e "$half" ] && says "removed $half, which a run that was killed had left" && [ -d "$S/home.proofkeep-partial-mine" ] && [ -d "$S/other.proofkeep-partial-0123abcd" ]
claim 'and has removed that folder, and nothing that only looks like it'
rmdir "$S"/*.proofkeep-partial-*
rm "$S/fail-live"
restored --in-place && [ "$(service)" = 'stop start ' ] && grep -q 'to-path' "$S/asked" && [ "$(ls -d "$S"/home.before-* | wc -l)" = 4 ]
claim 'after which all is as it was: the next one keeps what is there by itself'
[ ! -e "$S/home/.proofkeep-stopped" ] && pk backup lab/graph && [ "$(service)" = 'stop start ' ]
claim 'after which backups go on'
if [ "$(id -u)" = 0 ] && chmod 755 "$S" "$S/bin" && runuser -u nobody -- test -x "$S/bin/neo4j-admin"; then
  config "$S/home" "$S/bin/neo4j-admin" "stop=$S/bin/stop" "start=$S/bin/start"
  sed -i 's/      home:/      run_as: nobody\n      home:/' proofkeep.yaml
  chmod 666 "$S/asked"
  pk restore lab/graph@latest --into "$T/theirs" && [ "$(cat theirs/data/who)" = nobody ] && [ "$(stat -c %U theirs theirs/data theirs/conf/neo4j.conf | sort -u)" = nobody ]
  claim 'neo4j-admin runs as the user of the data, to whom what is restored belongs'
  touch "$S/wait-load"
  "$P" restore lab/graph@latest --into "$T/cut" >out 2>err </dev/null &
  job=$!
  for _ in $(seq 300); do ls cut.proofkeep-partial-*/data/who >/dev/null 2>&1 && break; sleep 0.1; done
  kill -9 $job
  wait $job 2>/dev/null
  rm "$S/wait-load"
  half=$(ls -d cut.proofkeep-partial-*) && [ "$(stat -c %U "$half")" = nobody ] && mkdir cut.proofkeep-partial-0123abcd && chown nobody cut.proofkeep-partial-0123abcd &&
    pk restore lab/graph@latest --into "$T/cut" && [ -d cut/data ] && [ ! -e "$half" ] && [ -d cut.proofkeep-partial-0123abcd ] && [ ! -e cut/.proofkeep-partial ]
  claim 'what a killed one left is removed, though it is theirs; a folder of theirs that is not ours stays'
else
  skip 'what a killed one left is removed, though it is theirs' 'not root, or the folder of the test is closed to others'
  skip 'neo4j-admin runs as the user of the data' 'not root, or the folder of the test is closed to others'
fi
config "$S/home" "$S/bin/neo4j-admin"
sed -i 's/      home:/      databases: [neo4j, nosuch]\n      home:/' proofkeep.yaml
fails 1 PK-NEO-024 backup lab/graph && says 'no database nosuch'
claim 'a database that is asked for and not there fails the backup'
config "$S/home" "$S/bin/nothing"
fails 1 PK-SYS-003 backup lab/graph && says 'dbms.admin'
claim 'a neo4j-admin that is not there is said to be that'
finish
