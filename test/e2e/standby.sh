#!/bin/bash
# The platform's standby mode around a restore that touches something live: standby before, live after, whatever happens between.
. "${SOURCE_ROOT:?the project}/test/e2e/lib/tap.sh"
put() { cat >"$T/$1" && chmod 755 "$T/$1"; }
mkdir src && echo one >src/a
put hook.sh <<END
#!/bin/sh
cat >"$T/\$1.json"
echo "\$1" >>"$T/hooks"
while [ -e "$T/hold.\$1" ]; do sleep 0.1; done
[ ! -e "$T/fail.\$1" ]
END
{
  config_head
  printf '%s\n' 'surfaces:' '  f:' '    kind: files' '    class: truth' "    paths: [$T/src]" '    hooks:' "      standby: { run: [$T/hook.sh, standby] }" "      live: { run: [$T/hook.sh, live] }" \
    'environments:' '  lab: { repository: main }'
} >proofkeep.yaml
pk init --repository main && pk backup lab/f
claim '(a backup)' || finish
hooks() { cat "$T/hooks" 2>/dev/null | tr '\n' ' '; }
plan() { rm -f hooks && pk restore lab/f "$@" --dry-run --json && id=$(result plan); }
id=none

pk restore lab/f --into "$T/beside" && [ -z "$(hooks)" ]
claim 'a restore beside the live thing puts nothing into standby'
echo two >src/a
plan --in-place --path a && pk restore --plan "$id" && [ "$(cat src/a)" = one ] && [ "$(hooks)" = 'standby live ' ] && grep -q '"action":"restore"' standby.json
claim 'one in place does, and brings it back into service'
echo two >src/a
touch fail.standby && plan --in-place --path a
fails 1 PK-HOK-001 restore --plan "$id" && [ "$(cat src/a)" = two ] && [ "$(hooks)" = 'standby live ' ]
claim 'when standby fails nothing is restored, and live runs'
rm fail.standby
plan --in-place --path nothing
fails 2 PK-USE-002 restore --plan "$id" && [ "$(hooks)" = 'standby live ' ]
claim 'when the restore fails live runs, too'
touch fail.live && plan --in-place --path a
fails 1 PK-HOK-001 restore --plan "$id" && says 'it is restored; the platform may still be in standby' && says "restore --plan $id --abort" && [ "$(cat src/a)" = one ]
claim 'when live fails that is said, with how to try again'
rm fail.live hooks && pk restore --plan "$id" --abort && grep -q 'the platform is back in service' out && [ "$(hooks)" = 'live ' ]
claim '... which runs it'
rm hooks && pk restore --plan "$id" --abort && grep -q 'nothing was left to be undone' out && [ -z "$(hooks)" ]
claim '... once'

echo two >src/a
touch hold.standby && plan --in-place --path a
"$P" restore --plan "$id" >killed 2>&1 </dev/null &
pid=$!
await 60 test -s hooks
kill -KILL $pid
wait $pid 2>/dev/null
rm hold.standby
[ "$(hooks)" = 'standby ' ] && pk restore --plan "$id" --abort && [ "$(hooks)" = 'standby live ' ] && [ "$(cat src/a)" = two ]
claim 'what a killed run left in standby is brought back'
fails 2 PK-USE-001 restore lab/f --abort && says 'name it with --plan'
claim 'a plan must be named for that'
fails 5 PK-RST-002 restore --plan rows-0123456789abcdef --abort && says "no plan's id"
claim '... and a plan of rows is not carried out by that'

# ---- sets, of surfaces with hooks of their own
mkdir other && echo one >other/a
of() { echo "hooks: { standby: { run: [$T/hook.sh, standby] }, live: { run: [$T/hook.sh, live] } }"; }
{
  config_head
  printf '%s\n' 'surfaces:' "  f: { kind: files, class: truth, paths: [$T/src], $(of) }" "  g: { kind: files, class: truth, paths: [$T/other], $(of) }" 'sets:' \
    "  both: { surfaces: [f, g], hooks: { checks: { smoke: { run: [$T/hook.sh, smoke] } } } }" '  single: { surfaces: [g] }' 'environments:' '  lab: { repository: main }'
} >proofkeep.yaml
set_plan() { rm -f hooks && pk restore "lab/$1" --swap --dry-run --json && id=$(result plan); }
pk backup lab/both && pk backup lab/single && set_plan both && pk restore --plan "$id" && [ "$(hooks)" = 'standby standby smoke live live ' ]
claim 'a set stays in standby until all of it is restored and checked'
touch hold.smoke && set_plan both
"$P" restore --plan "$id" >killed 2>&1 </dev/null &
pid=$!
await 60 grep -qs smoke hooks
kill -KILL $pid
wait $pid 2>/dev/null
rm hold.smoke
[ "$(hooks)" = 'standby standby smoke ' ] && pk status lab >"$T/said" 2>&1
cat out err | grep -q "a job that ran 'standby' of lab/both"
claim 'status says that a killed run left it in standby'
killed=$id
set_plan single && pk restore --plan "$id" && [ "$(hooks)" = 'live live standby live ' ]
claim 'the restore of another set brings that back first'
rm hooks && fails 5 PK-RST-002 restore --plan "$killed" && [ -z "$(hooks)" ]
claim 'and the killed plan does not take what the other put there for its own'
finish
