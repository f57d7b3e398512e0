#!/bin/sh
# The frame of the program, from outside: exit statuses, streams that fail, help, and the one line that always comes last.
set -u
P=${PROOFKEEP:?the program to test}
T=${TMPDIR:-/tmp}
n=0
ok() { n=$((n + 1)); echo "ok $n - $1"; }
not_ok() { n=$((n + 1)); echo "not ok $n - $1"; }
# claim TEXT: the last command's truth
claim() { if [ "$?" = 0 ]; then ok "$1"; else not_ok "$1"; fi; }
status() { "$@" >"$T/out" 2>"$T/err"; echo $?; }

[ "$(status "$P" --version)" = 0 ] && grep -q '^proofkeep [0-9]' "$T/out" && [ ! -s "$T/err" ]
claim 'the version is printed'
[ "$(status "$P")" = 2 ] && grep -q '^error PK-USE-001: ' "$T/err" && [ ! -s "$T/out" ]
claim 'without a verb it is a usage error, on standard error alone'
[ "$(status "$P" resotre x)" = 2 ] && grep -q "did you mean 'restore'" "$T/err" && grep -q '^  next:  proofkeep --help$' "$T/err"
claim 'a mistyped verb is refused with a suggestion'
[ "$(status "$P" --json backup --swap x)" = 2 ] && tail -n 1 "$T/out" | grep -q '"exit":2.*"type":"result"' && [ ! -s "$T/err" ]
claim 'a usage error with --json ends with the result'
[ "$(status "$P" help PK-REP-001)" = 0 ] && grep -q 'exit:  10' "$T/out"
claim 'an error code is explained'
"$P" --help >"$T/help" && "$P" help >"$T/out" && cmp -s "$T/help" "$T/out"
claim 'help and --help are one'

"$P" --help >/dev/full 2>"$T/err"
[ $? = 1 ] && grep -q 'error PK-IO-003' "$T/err" && grep -q 'standard output' "$T/err"
claim 'a full disk under standard output is a failure'
(exec >&-; "$P" --help 2>"$T/err")
[ $? = 1 ] && grep -q 'standard output' "$T/err"
claim 'a closed standard output is a failure'
mkfifo "$T/pipe"
# Opened for reading and closed again, so that the writer meets a pipe that nobody reads.
(exec 3<>"$T/pipe" 4>"$T/pipe" 3>&-; "$P" help --json >&4 2>"$T/err")
[ $? = 1 ] && grep -q 'Broken pipe' "$T/err"
claim 'a pipe that nobody reads is a failure'
(exec <&- 2>&-; "$P" --version >"$T/out") && grep -q '^proofkeep' "$T/out"
claim 'closed standard input and error do no harm'

[ "$(status "$P" --color=always zebra)" = 2 ] && grep -q "$(printf '\033')" "$T/err"
claim 'colour is printed where it was asked for'
[ "$(status "$P" zebra)" = 2 ] && ! grep -q "$(printf '\033')" "$T/err"
claim 'a file gets no colour'

catches() { # PROCESS NUMBER: it has a handler for that signal
  mask=$(sed -n 's/^SigCgt:[[:space:]]*/0x/p' "/proc/$1/status") && [ $((mask >> ($2 - 1) & 1)) = 1 ]
}
delivered() { grep -Eq '^ShdPnd:[[:space:]]*0+$' "/proc/$1/status"; }
await() { for _ in $(seq 600); do "$@" && return; sleep 0.1; done; return 1; }
# A full pipe holds the program where it is: the first signal asks it to stop, the second ends it.
for signal in 'INT 2 130' 'TERM 15 143'; do
  set -- $signal
  rm -f "$T/pipe" && mkfifo "$T/pipe"
  exec 3<>"$T/pipe"
  head -c 65536 /dev/zero >&3
  # Shells give what they start in the background an ignored SIGINT.
  env --default-signal=INT "$P" --help >&3 2>"$T/err" &
  pid=$!
  await catches $pid "$2" && kill -s "$1" $pid && await delivered $pid
  kill -0 $pid 2>/dev/null
  claim "the first SIG$1 asks"
  kill -s "$1" $pid
  wait $pid
  [ $? = "$3" ]
  claim "the second SIG$1 ends it with $3"
  exec 3>&-
done
echo "1..$n"
