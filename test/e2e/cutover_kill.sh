#!/bin/bash
# The standard path, killed with SIGKILL in every step: the same plan goes on where it was, or is undone.
. "${SOURCE_ROOT:?the project}/test/e2e/lib/tap.sh"
. "$SOURCE_ROOT/test/e2e/lib/pg.sh"
pg_needed
. "$SOURCE_ROOT/test/e2e/lib/hold.sh"
. "$SOURCE_ROOT/test/e2e/lib/cutover.sh"
cp "$(hold_lib)" "$F/hold_at.so"

# ---- killed at each step, and gone on with
straight_in_f() { # as in_f, with nobody in between who stops with the program
  local as=()
  if [ "$(id -u)" = 0 ]; then as=(setpriv --reuid postgres --regid postgres --init-groups); fi
  (cd "$F" && exec "${as[@]}" env "HOME=$F" "XDG_CACHE_HOME=$F/cache" "TMPDIR=$F" "$@")
}
begin_until() { # STEP: starts the plan, and holds it where that step has begun; pid and program are set
  tap_last="proofkeep restore --plan $id, until $1"
  : >"$T/begun" # what a former run said is not taken for this one's
  straight_in_f LD_PRELOAD="$F/hold_at.so" HOLD_AT="\"name\":\"$1\",\"seq\"" \
    "$F/proofkeep" restore --plan "$id" --json --config "$F/proofkeep.yaml" >"$T/begun" 2>"$T/err" </dev/null &
  pid=$!
  held $pid "$F/proofkeep"
}
kill_at() { # STEP [SECONDS]: and kills it there, or that much later
  begin_until "$1" && if [ -n "${2-}" ]; then kill -CONT "$program" && sleep "$2"; fi && killed_held $pid && ! grep -aq '"type":"result"' "$T/begun"
}
row=2000000
for step in $ALL watch; do
  row=$((row + 1))
  echo 5432 | put port
  within=
  case $step in last-wal | restore | start | recover) within=0.03 ;; esac # these take longer
  old "INSERT INTO public.done VALUES ($row, '$step')" && plan --into "$F/new3" --watch 2s && kill_at $step $within
  claim "(killed in step $step)"
  case $step in
    standby | freeze) true ;;
    *) frozen ;;
  esac
  claim '... what was frozen is so still'
  go && [ "$(steps done)" = "$ALL watch" ] && [ "$(new "SELECT t FROM public.done WHERE n = $row")" = "$step" ] &&
    [ "$(cat "$F/port")" = $PORT ] && [ "$(new 'SHOW archive_command' | cut -c1-4)" = 'env ' ] && [ "$(new 'SELECT count(*) FROM public.done')" = "$(old 'SELECT count(*) FROM public.done')" ]
  claim "... and the plan goes on at step $step, to its end"
  stop_new new3 && let_write
done

# ---- killed between letting the new server archive and writing that down: a setting that is in the backup as we hold it stays
echo 5432 | put port
kept_setting() { [ "$(new "SELECT DISTINCT setting = '' FROM pg_file_settings WHERE name = 'archive_library' AND sourcefile LIKE '%/postgresql.auto.conf'")" = t ] && [ "$(new 'SHOW archive_command' | cut -c1-4)" = 'env ' ]; }
old "ALTER SYSTEM SET archive_library = ''" && w backup lab/pg && plan --into "$F/new3" && kill_at archive && journal=$(find "$F" -name "$id.journal") && cp -p "$journal" "$F/journal" && go && kept_setting
claim '(a setting that stands in the backup with the value that holds archiving back is kept)'
cp -p "$F/journal" "$journal" && go && [ "$(steps done)" = "$ALL" ] && kept_setting
claim '... also when the step is done again'
old 'ALTER SYSTEM RESET archive_library' && stop_new new3 && let_write

# ---- the switch hook is called again, and fails then
echo 5432 | put port
row=$((row + 1))
old "INSERT INTO public.done VALUES ($row, 'again')" && plan --into "$F/new3" && touch "$F/slow.switch" && begin_until switch && kill -CONT "$program"
await 60 grep -q "^$PORT" "$F/port"
killed_held $pid
rm "$F/slow.switch"
[ "$(cat "$F/port")" = $PORT ]
claim '(killed while the switch hook ran, which had led clients over)'
touch "$F/fail.switch"
go
[ $? = 1 ] && [ "$(result error.code)" = PK-HOK-001 ] && result error.state | grep -q 'it runs on, and the old one stays frozen' && frozen && new "INSERT INTO public.done VALUES (-$row, 'led over')"
claim 'a second call that fails leaves the new server running, and says so'
w restore --plan "$id" --abort --json
[ $? = 5 ] && [ "$(result error.code)" = PK-CUT-004 ] && frozen && new 'SELECT 1' >"$T/null"
claim '... which is not undone unasked'
rm "$F/fail.switch" && go && [ "$(steps done)" = "$ALL" ] && [ "$(new "SELECT t FROM public.done WHERE n = -$row")" = 'led over' ]
claim '... and goes on when the hook works again'
stop_new new3 && let_write
echo 5432 | put port
plan --into "$F/new3" && touch "$F/slow.switch" && begin_until switch && kill -CONT "$program"
await 60 grep -q "^$PORT" "$F/port"
kill -TERM "$program"
wait $pid
[ $? = 143 ] && rm "$F/slow.switch" && frozen && new 'SELECT 1' >"$T/null" && grep -aq 'it runs on, and the old one stays frozen' "$T/begun"
claim 'stopped by SIGTERM with its switch hook, which had led clients over, it leaves the new server running, too'
w restore --plan "$id" --abort --json
[ $? = 5 ] && [ "$(result error.code)" = PK-CUT-004 ] && frozen && go && [ "$(steps done)" = "$ALL" ]
claim '... is not undone unasked, and goes on'
stop_new new3 && let_write
echo 5432 | put port
sed -i 's|switch: { run: \[\(.*\)\] }|switch: { run: [\1], timeout: 2s }|' "$F/proofkeep.yaml" && plan --into "$F/new3" && touch "$F/slow.switch"
go
[ $? = 1 ] && [ "$(result error.code)" = PK-HOK-002 ] && result error.state | grep -q 'it runs on, and the old one stays frozen' && frozen && new 'SELECT 1' >"$T/null"
claim 'a switch hook that runs into its timeout may have led clients over: the new server is left running'
w restore --plan "$id" --abort --json
[ $? = 5 ] && [ "$(result error.code)" = PK-CUT-004 ] && frozen && rm "$F/slow.switch" && sed -i 's|, timeout: 2s }| }|' "$F/proofkeep.yaml" && go && [ "$(steps done)" = "$ALL" ]
claim '... is not undone unasked, and goes on'
stop_new new3 && let_write
echo 5432 | put port
plan --into "$F/new3" && kill_at switch && touch "$F/fail.switch" && ! go && w restore --plan "$id" --abort --confirm 'clients are at the old server' && ! frozen && [ ! -e "$F/new3/postmaster.pid" ]
claim 'whoever knows that no client was led over can have it undone'
w restore --plan "$id" --abort && ! frozen
claim '... once'
rm -rf "$F/fail.switch" "$F/new3"

# ---- the whole host went down
gone() { await 60 test ! -e "/proc/$1"; }
echo 5432 | put port
plan --into "$F/new3" && kill_at checks && pid=$(head -n 1 "$F/new3/postmaster.pid") && kill -KILL "$pid" && gone "$pid" && go && [ "$(steps done)" = "$ALL" ] && [ "$(new 'SELECT count(*) FROM public.done')" = "$(old 'SELECT count(*) FROM public.done')" ]
claim 'when the new server went down with it, it is started again'
stop_new new3 && let_write

# ---- killed, and not gone on with
echo 5432 | put port
plan --into "$F/new3" && kill_at restore && killed=$id && frozen && plan --into "$F/new4" && ! go && [ "$(result error.code)" = PK-CUT-002 ] && result error.why | grep -q 'read-only already' && frozen
claim 'another plan does not take the freeze of a killed one for what was before'
w backup lab/pg && during=$(cd "$F" && in_f "$F/proofkeep" list lab/pg --json --config "$F/proofkeep.yaml" 2>"$T/null" | python3 -c 'import json, sys; print(json.load(sys.stdin)["points"][-1]["id"])') && frozen
claim '(a base is taken of the frozen server)'
id=$killed && w restore --plan "$id" --abort && grep -q 'was undone' out && ! frozen && [ "$(tail -n 1 "$F/hooks")" = live ]
claim 'a killed run can be undone instead'
w restore --plan "$id" --abort && grep -q 'Nothing of .* was left' out && go && [ "$(steps done)" = "$ALL" ]
claim '... and, as nothing was started yet, carried out later'
stop_new new3 && let_write && echo 5432 | put port
[ "$(old "SELECT count(*) FROM pg_file_settings WHERE name LIKE 'proofkeep.%' AND name <> 'proofkeep.frozen'")" = 0 ] && w restore "lab/pg@$during" --into "$F/new4" && cluster_as "$F" grep -q '^#proofkeep.frozen' "$F/new4/postgresql.auto.conf" &&
  cluster_as "$F" "$PG_BIN/pg_ctl" -D "$F/new4" -l "$F/new4.log" -o "-p $PORT" -w -t 180 -s start && [ "$(new 'SHOW default_transaction_read_only')" = off ] && new "INSERT INTO public.done VALUES (-1, 'thawed')" && ! new 'SHOW proofkeep.frozen' 2>"$T/null"
claim 'a copy of the base that was taken of the frozen server takes writes'
stop_new new4
plan --into "$F/new3" && kill_at recover && w restore --plan "$id" --abort && ! frozen && [ ! -e "$F/new3/postmaster.pid" ]
claim 'so can one whose new server was started, which is stopped'
rm -rf "$F/new3"
plan --into "$F/new3" && begin_until restore && kill -TERM "$program" && kill -CONT "$program"
wait $pid
[ $? = 143 ] && ! frozen && grep -aq '"type":"result"' "$T/begun" && [ "$(tail -n 1 "$F/hooks")" = live ]
claim 'SIGTERM undoes by itself'

# ---- two at a time
rm -rf "$F/new3"
plan --into "$F/new3" --watch 1s && begin_until watch && ! go && [ "$(result error.code)" = PK-CUT-009 ]
claim 'a plan is carried out by one process at a time'
kill -CONT "$program"
wait $pid
stop_new new3 && let_write && echo 5432 | put port

finish
