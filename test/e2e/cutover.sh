#!/bin/bash
# The standard path of a restore that takes the place of a live server: a busy client, failing checks, who gets round the freeze, and
# what must be undone.
. "${SOURCE_ROOT:?the project}/test/e2e/lib/tap.sh"
. "$SOURCE_ROOT/test/e2e/lib/pg.sh"
pg_needed
. "$SOURCE_ROOT/test/e2e/lib/cutover.sh"

# ---- plans, and what cannot take over
plan --into "$F/new0" && w restore lab/pg --cutover --port $PORT --into "$F/new0" --dry-run && grep -q '^  step 1 *standby ' out && grep -q '^  step 10 *live ' out &&
  grep -q '^  step 4 *restore .*(time unknown)' out && grep -q '^  warning   the old server stays read-only' out && grep -q '^  warning   pg_amcheck looks only into databases' out && grep -q '^  proofkeep restore --plan cut-[0-9a-f]*$' out && [ ! -e "$F/new0" ] && ! frozen
claim 'a plan has every step, says what is not known of their times, and changes nothing'
w restore lab/pg --cutover --port $PORT --into "$F/new0"
[ $? = 5 ] && says '^error PK-CUT-010: ' && ! frozen
claim 'it is carried out by the name of its plan only'
w restore lab/pg --cutover --into "$F/new0" --dry-run
[ $? = 2 ] && says '^error PK-CUT-007: ' && says 'name a port of the new server with --port'
claim 'a port must be named'
grep -v '^      switch: ' "$F/proofkeep.yaml" | put none.yaml
in_f "$F/proofkeep" restore lab/pg --cutover --port $PORT --into "$F/new0" --dry-run --config "$F/none.yaml" >"$T/out" 2>"$T/err"
[ $? = 2 ] && says 'the surface has no hooks.switch'
claim '... and a switch hook'
rm -f "$F/hooks"
in_f "$F/proofkeep" restore lab/pg --cutover --rehearse --port $PORT --into "$F/new0" --json --config "$F/none.yaml" >"$T/out" 2>"$T/err" && [ "$(steps done)" = 'restore start recover checks stop' ] &&
  [ "$(check connections)$(check amcheck)$(check 'query migration')" = passednot_checkedpassed ] && [ "$(cat "$F/hooks")" = smoke ] && ! frozen && ! new 'SELECT 1' 2>"$T/null" && [ -e "$F/new0/PG_VERSION" ]
claim 'a rehearsal needs none: the new server is restored, started, checked and stopped, and the live one goes on'
[ "$(cluster_as "$F" "$PG_BIN/postgres" -D "$F/new0" -C max_logical_replication_workers)" = 0 ]
claim '... and what its subscriptions would have taken from their publishers is left to the live one'
id=$(result plan) && w restore --plan "$id" && grep -q 'was carried out before' out && w restore --plan "$id" --abort && grep -q 'was left to be undone' out && rm -rf "${F:?}/new0" && plan --into "$F/new0" && tail -n 2 "$T/out" | head -n 1 | python3 -c '
import json, sys
t = {s["name"]: s["estimated_seconds"] for s in json.load(sys.stdin)["steps"]}
sys.exit(t["recover"] is None or t["checks"] is None or t["switch"] is not None)'
claim '... once, and the next plan knows from it how long that takes'

w restore lab/pg --port $PORT --into "$F/new0" --dry-run
[ $? = 2 ] && says 'are of --cutover, which is not given'
claim 'its options are its own'

# ---- a client that writes all the time: n is acknowledged once it is in the file
put client.py <<'END'
import subprocess, sys, os
f, bin = sys.argv[1:]
n = 0
seen = open(f + "/client.log", "w", buffering=1)
acked = open(f + "/acked", "w", buffering=1)
while not os.path.exists(f + "/end"):
    n += 1
    port = open(f + "/port").read().strip()
    done = subprocess.run([bin + "/psql", "-X", "-q", "-A", "-t", "-v", "ON_ERROR_STOP=1", "-h", f + "/socket", "-p", port, "-U", "postgres", "-d", "postgres",
                           "-c", f"INSERT INTO public.done VALUES ({n}, 'x')"], stdin=subprocess.DEVNULL, capture_output=True, text=True)
    if done.returncode == 0:
        acked.write(f"{n} {port}\n")
    seen.write(f"{port} {'ok' if done.returncode == 0 else done.stderr.strip()}\n")
END
echo 5432 | put port
in_f python3 "$F/client.py" "$F" "$PG_BIN" &
client=$!
await 60 grep -q '^5432 ok' "$F/client.log"
plan --into "$F/new1" --watch 4s --amcheck install && ! grep -q 'pg_amcheck looks\|pg_amcheck is not run' out && rm -f "$F/hooks" && go && [ "$(steps done)" = "$ALL watch" ]
claim 'under a busy client the path leads through'
cp "$T/out" "$T/first"
await 60 grep -q "^$PORT ok" "$F/client.log"
touch "$F/end" && wait $client
client=
grep -q '^5432 ok' "$F/client.log" && grep -q '^5432 .*read-only transaction' "$F/client.log" && grep -q "^$PORT ok" "$F/client.log"
claim 'the client wrote, was refused while all was frozen, and wrote to the new server then'
new 'SELECT n FROM public.done' | sort >"$T/there" && cut -d' ' -f1 "$F/acked" | sort >"$T/acked" && [ -s "$T/acked" ] && [ -z "$(comm -13 "$T/there" "$T/acked")" ]
claim 'no row that was acknowledged is missing from the new server'
old 'SELECT n FROM public.done' | sort >"$T/old" && [ -s "$T/old" ] && [ "$(wc -l <"$T/old")" -lt "$(wc -l <"$T/there")" ] && [ -z "$(comm -23 "$T/old" "$T/there")" ] && frozen
claim 'the old one is kept, read-only, with all that it had'
cp "$T/first" "$T/out"
[ "$(check connections)" = passed ] && [ "$(check recovery)" = passed ] && [ "$(check indexes)" = passed ] && [ "$(check collations)" = passed ] && [ "$(check amcheck)" = passed ] &&
  [ "$(check 'query migration')" = passed ] && [ "$(check 'query highest')" = passed ] && [ "$(check 'query rows')" = passed ] && [ "$(check 'hook smoke')" = passed ]
claim 'every check ran and passed'
[ "$(new "SELECT count(*) FROM pg_extension WHERE extname = 'amcheck'")" = 0 ]
claim 'amcheck, which was installed for it, is gone'
[ "$(new 'SHOW archive_command' | cut -c1-4)" = 'env ' ] && [ "$(new 'SHOW archive_mode')" = on ] && new 'SELECT pg_switch_wal()' >"$T/null" && await 60 eval '[ -n "$(ls "$F"/repo/wal/*/00000002/ 2>/dev/null)" ]'
claim 'the new server archives, on a timeline of its own'
[ "$(tr '\n' ' ' <"$F/hooks" | sed 's/\(health \)*$/health/')" = 'standby smoke switch live health' ]
claim 'hooks ran in their order'
w restore --plan "$id" && grep -q 'was carried out before: nothing was done' out
claim 'a second run of a plan says that it was carried out'
w restore --plan "$id" --abort
[ $? = 5 ] && says '^error PK-CUT-004: ' && says 'the new server has taken over' && frozen
claim '... and it cannot be undone any more'
stop_new new1 && let_write && ! frozen && w restore lab/pg --cutover --port $PORT --into "$F/new2" --dry-run && grep -q '^  step 2 *freeze .*(about ' out &&
  grep -q '^  step 4 *restore .*(about ' out && grep -q '^  step 6 *recover .*(about ' out && grep -q '^  time      about ' out
claim 'the next plan knows from the receipts how long the steps took'

# ---- failures before the switch: undone, nothing switched
echo 5432 | put port
touch "$F/fail.smoke" && plan --into "$F/new2"
go
[ $? = 4 ] && [ "$(result error.code)" = PK-CUT-001 ] && [ "$(check 'hook smoke')" = failed ] && ! frozen && [ "$(cat "$F/port")" = 5432 ] && [ "$(tail -n 1 "$F/hooks")" = live ] && [ ! -e "$F/new2/postmaster.pid" ] && [ -d "$F/new2" ]
claim 'a failing check stops before the switch: the freeze is undone, the new server stopped and kept'
old "INSERT INTO public.done VALUES (1000001, 'after')"
claim '... and the old one takes writes'
go
[ $? = 5 ] && [ "$(result error.code)" = PK-CUT-004 ]
claim '... and the plan is at its end'
rm -rf "$F/new2" && plan --into "$F/new2" --accept 'hook smoke' && go && [ "$(check 'hook smoke')" = failed ]
claim 'a check that may fail does not stop it'
rm "$F/fail.smoke" && stop_new new2 && let_write && echo 5432 | put port
touch "$F/fail.switch" && plan --into "$F/new2"
go
[ $? = 1 ] && [ "$(result error.code)" = PK-HOK-001 ] && ! frozen && [ ! -e "$F/new2/postmaster.pid" ]
claim 'a switch hook that fails has not switched: all is undone'
rm -rf "$F/fail.switch" "$F/new2"
old "DELETE FROM public.migrations WHERE version = 7" && plan --into "$F/new2"
go
[ $? = 4 ] && [ "$(check 'query migration')" = failed ] && ! frozen
claim 'another version of the schema than is declared stops it'
old "INSERT INTO public.migrations VALUES (7)" && rm -rf "$F/new2"

# ---- who gets round the freeze
(echo 'BEGIN; INSERT INTO public.done VALUES (1000002, 1);'; while [ ! -e "$T/commit" ]; do sleep 0.2; done; echo 'COMMIT;') | cluster_psql "$F" -d postgres >"$T/null" 2>&1 &
writer=$!
await 60 eval '[ "$(old "SELECT count(*) FROM pg_stat_activity WHERE backend_xid IS NOT NULL")" = 1 ]'
plan --into "$F/new2" --wait 2s
go
[ $? = 11 ] && [ "$(result error.code)" = PK-CUT-002 ] && result error.why | grep -q '1 session is still in a transaction that may write, after 2 s: process ' && ! frozen && [ ! -e "$F/new2" ]
claim 'a transaction that does not end stops it, before anything is restored'
plan --into "$F/new2" --wait 3s --terminate-connections && go && [ "$(new 'SELECT count(*) FROM public.done WHERE n = 1000002')" = 0 ]
claim '... unless its session may be ended'
touch "$T/commit" && wait $writer
stop_new new2 && let_write && echo 5432 | put port
put smoke.writes <<END
#!/bin/sh
cat >"$F/hook.smoke.json"
exec $PG_BIN/psql -X -q -h $F/socket -U postgres -d postgres -c "BEGIN READ WRITE; INSERT INTO public.done VALUES (1000003, 'sneaked in'); COMMIT"
END
sed -i "s|smoke: .*|smoke: { run: [$F/smoke.writes] }|" "$F/proofkeep.yaml"
plan --into "$F/new2"
go
[ $? = 1 ] && [ "$(result error.code)" = PK-CUT-003 ] && result error.why | grep -q 'transactions up to [0-9]* were begun on the live server' && ! frozen && [ "$(cat "$F/port")" = 5432 ]
claim 'a transaction that says itself that it writes is found out, and nothing is switched to lose it'
sed -i "s|smoke: .*|smoke: { run: [$F/hook.sh, smoke] }|" "$F/proofkeep.yaml" && rm -rf "$F/new2"

# ---- what it would take from publishers is the live one's while that runs
workers() { "$1" "SELECT setting || ' ' || pending_restart FROM pg_settings WHERE name = 'max_logical_replication_workers'"; }
old "CREATE SUBSCRIPTION news CONNECTION 'host=$T/none dbname=none' PUBLICATION p WITH (connect = false)" && old 'ALTER SUBSCRIPTION news ENABLE' && plan --into "$F/new2" && grep -q 'subscriptions rest in the new server' "$T/out" && go &&
  [ "$(workers old)/$(workers new)" = '4 false/0 true' ] && [ "$(new 'SELECT subname, subenabled FROM pg_subscription')" = 'news|t' ] && ! grep -q "^max_logical_replication_workers" "$F/new2/postgresql.auto.conf"
claim 'no subscription runs in the new server before it is restarted'
stop_new new2 && let_write && echo 5432 | put port && old 'ALTER SUBSCRIPTION news DISABLE' && old 'ALTER SUBSCRIPTION news SET (slot_name = NONE)' && old 'DROP SUBSCRIPTION news'

# ---- watched, and not well
touch "$F/fail.health" && plan --into "$F/new2" --watch 1s
go
[ $? = 6 ] && [ "$(result error.code)" = PK-CUT-006 ] && [ "$(cat "$F/port")" = $PORT ] && w restore --plan "$id" && grep -q 'carried out before' out
claim 'a new server that is not well is reported, and stays'
rm "$F/fail.health" && stop_new new2 && let_write

row=2000001
old "INSERT INTO public.done VALUES ($row, 'last')"
echo 5432 | put port

# ---- damage that the checks must find
index=$(old "SELECT pg_relation_filepath('filler_t_idx')")
put start.sh <<END
#!/bin/sh
# Starts the new server like the built-in way does, on what it has damaged before: a page of zeros, as random ones may end a server.
cat >"$F/hook.start.json"
folder=\$(python3 -c 'import json; print(json.load(open("$F/hook.start.json"))["facts"]["folder"])')
dd if=/dev/zero of="\$folder/$index" bs=8192 seek=3 count=1 conv=notrunc 2>>"$F/start.log"
export HOME=$F XDG_CACHE_HOME=$F/cache TMPDIR=$F
exec $PG_BIN/pg_ctl -D "\$folder" -l "$F/start.log" -s -w -o '-c port=$PORT' start >>"$F/start.log" 2>&1
END
put stop.sh <<END
#!/bin/sh
cat >"$F/hook.stop.json"
exec $PG_BIN/pg_ctl -D \$(python3 -c 'import json; print(json.load(open("$F/hook.stop.json"))["facts"]["folder"])') -s -w -m fast stop >>"$F/start.log" 2>&1
END
sed -i "s|^      switch: |      start: { run: [$F/start.sh] }\n      stop: { run: [$F/stop.sh] }\n      switch: |" "$F/proofkeep.yaml"
rm -rf "$F/new3"
plan --into "$F/new3" --amcheck install
go
[ $? = 4 ] && [ "$(check amcheck)" = failed ] && result error.why | grep -q 'amcheck: postgres: .*filler_t_idx' && ! frozen && [ -e "$F/hook.stop.json" ] && [ ! -e "$F/new3/postmaster.pid" ]
claim 'pg_amcheck finds a damaged index in the new server, which hooks.start had started, and hooks.stop stops'
sed -i '/^      start: /d; /^      stop: /d' "$F/proofkeep.yaml"
rm -rf "$F/new3"
old "UPDATE pg_index SET indisvalid = false WHERE indexrelid = 'filler_t_idx'::regclass" && plan --into "$F/new3" --amcheck none && grep -q 'pg_amcheck is not run' out && go && [ "$(check indexes)" = passed ] && [ "$(check amcheck)" = not_checked ]
claim 'an index that is invalid on the live server, too, does not stop it, and what is not checked is not passed'
stop_new new3 && let_write && echo 5432 | put port
last=$(old 'SELECT pg_walfile_name(pg_switch_wal())') && await 60 test -f "$F/data/pg_wal/archive_status/$last.done" && old "UPDATE pg_index SET indisvalid = true WHERE indexrelid = 'filler_t_idx'::regclass" && plan --into "$F/new3" --target-timeline current --freeze none
sed -i 's/live: true/value: "0"/' "$F/proofkeep.yaml" && go
[ $? = 4 ] && [ "$(check indexes)" = failed ] && [ "$(check 'query highest')" = failed ] && result error.why | grep -q 'step checks: indexes: 1 invalid: postgres: public.filler_t_idx, and more'
claim 'one that is not does'
sed -i 's/value: "0"/live: true/' "$F/proofkeep.yaml" && rm -rf "$F/new3"
old "UPDATE pg_database SET datcollversion = '0.1' WHERE datname = 'postgres'" && plan --into "$F/new3"
go
[ $? = 4 ] && [ "$(check collations)" = failed ] && result error.why | grep -q 'collations: the libraries here sort by other versions than when indexes were made: postgres: its default collation' && ! frozen
claim 'nor does it pass when the collations are of another version'
old "UPDATE pg_database SET datcollversion = NULL WHERE datname = 'postgres'"; rm -rf "$F/new3"

# ---- the freeze that cannot be undone
put smoke.stops <<END
#!/bin/sh
cat >"$F/hook.smoke.json"
$PG_BIN/pg_ctl -D "$F/data" -s -w -m fast stop >"$F/stop.log" 2>&1
exit 1
END
sed -i "s|smoke: .*|smoke: { run: [$F/smoke.stops] }|" "$F/proofkeep.yaml"
plan --into "$F/new3"
go
[ $? = 1 ] && [ "$(result error.code)" = PK-CUT-005 ] && [ "$(result error.next)" = "Mend that, then run 'proofkeep restore --plan $id --abort'." ] && [ ! -e "$F/new3/postmaster.pid" ]
claim 'when the old server has gone and the freeze cannot be undone, that is what is said'
sed -i "s|smoke: .*|smoke: { run: [$F/hook.sh, smoke] }|" "$F/proofkeep.yaml"
printf 'max_connections = 130\nmax_worker_processes = 12\n' | in_f tee -a "$F/data/postgresql.conf" >/dev/null
cluster_start "$F" && frozen && w restore --plan "$id" --abort && ! frozen
claim '... and --abort undoes it when the server is there again'

# ---- a freeze by hooks
sed -i "s|^      switch: |      freeze: { run: [$F/hook.sh, freeze] }\n      resume: { run: [$F/hook.sh, resume] }\n      switch: |" "$F/proofkeep.yaml"
rm -rf "$F/hooks" "$F/new3"
plan --into "$F/new3" && go && ! frozen && [ "$(tr '\n' ' ' <"$F/hooks")" = 'standby freeze smoke switch resume live ' ]
claim 'with hooks.freeze the built-in switch is not used, and hooks.resume runs'
[ "$(old 'SHOW max_connections') $(new 'SHOW max_connections')" = '130 100' ] && new "SELECT reset_val || pending_restart FROM pg_settings WHERE name = 'hot_standby'" | grep -qx offtrue && ! grep -q '^hot_standby' "$F/new3/postgresql.auto.conf"
claim 'that the old server was given more connections after the backup does not stop the recovery of the new one'
touch "$F/fail.smoke" && stop_new new3 && plan --into "$F/new3" && rm -f "$F/hooks"
go
[ $? = 4 ] && [ "$(tr '\n' ' ' <"$F/hooks")" = 'standby freeze smoke resume live ' ]
claim '... also when a check fails'
rm -rf "$F/new3"
touch "$F/fail.live" && echo 5432 | put port && plan --into "$F/new3" && rm -f "$F/hooks"
go
[ $? = 1 ] && [ "$(result error.code)" = PK-HOK-001 ] && [ "$(tr '\n' ' ' <"$F/hooks")" = 'standby freeze smoke resume live ' ] && [ "$(cat "$F/port")" = 5432 ]
claim '... and when what undoes fails in the middle'
rm -f "$F/fail.smoke" && old "INSERT INTO public.done VALUES (1000004, 'after the undo')" && rm -f "$F/hooks"
go
[ $? = 1 ] && [ "$(tr '\n' ' ' <"$F/hooks")" = 'resume live ' ] && rm "$F/fail.live" && ! go && [ "$(result error.code)" = PK-CUT-004 ] && ! grep -q switch "$F/hooks" && [ "$(cat "$F/port")" = 5432 ] && [ ! -e "$F/new3/postmaster.pid" ]
claim '... after which the plan is undone to its end, and never switched to lose what was written since'
rm -rf "$F/new3"

# ---- the live server is lost
cluster_stop "$F" && mv "$F/data" "$F/lost"
w restore lab/pg --cutover --port $PORT --into "$F/new3" --dry-run
[ $? = 7 ] && says 'If it is lost, say --freeze none'
claim 'a live server that is lost cannot be frozen'
sed -i '/name: highest/d' "$F/proofkeep.yaml"
sed -i 's/lab: { repository: main }/lab: { repository: main, protected: true }/' "$F/proofkeep.yaml" && rm -f "$F/hooks"
plan --into "$F/new3" --target-timeline current --freeze none && snapshot=$(grep -ao '"snapshot":"bkp-[^"]*"' "$T/out" | head -n 1 | cut -d'"' -f4) && ! go && [ "$(result error.code)" = PK-RST-003 ] && [ ! -e "$F/hooks" ] && [ ! -e "$F/new3" ]
claim 'in a protected environment nothing begins without the phrase'
w restore --plan "$id" --confirm "restore lab/pg to $snapshot" --json && [ "$(steps done)" = 'standby restore start recover checks switch archive live' ] && [ "$(new "SELECT count(*) FROM public.done WHERE n = $row")" = 1 ]
claim 'and needs not be: a new one takes its place all the same'
mv "$F/lost" "$F/data"
finish
