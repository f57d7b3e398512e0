# What the end-to-end tests share. To be sourced by bash first of all: claims as TAP, runs of the program, a home of their own.
set -u
P=${PROOFKEEP:?the program to test}
T=${TMPDIR:?an empty folder}
: "${SOURCE_ROOT:?the project}"
export HOME=$T/home XDG_CACHE_HOME=$T/cache LC_ALL=C.UTF-8
unset XDG_CONFIG_HOME
mkdir -p "$HOME"
cd "$T" || exit 1
tap_n=0 tap_failed=0 tap_last=

# The last command's truth, as a claim.
claim() {
  local truth=$?
  tap_n=$((tap_n + 1))
  if [ $truth = 0 ]; then
    echo "ok $tap_n - $1"
  else
    tap_failed=$((tap_failed + 1))
    echo "not ok $tap_n - $1"
    echo "# ${BASH_SOURCE[1]#"$SOURCE_ROOT/"}:${BASH_LINENO[0]}"
    [ -z "$tap_last" ] || echo "# the last run was: $tap_last"
    tail -n 25 "$T/out" 2>/dev/null | sed -e 's/^/# out: /' -e '$a\'
    tail -n 25 "$T/err" 2>/dev/null | sed -e 's/^/# err: /' -e '$a\'
  fi
  return $truth
}
skip() {
  tap_n=$((tap_n + 1))
  echo "ok $tap_n - $1 # SKIP $2"
}
# pk ARGUMENT...: run the program; its streams are in $T/out and $T/err, its status is answered.
pk() {
  tap_last="proofkeep $*"
  "$P" "$@" >"$T/out" 2>"$T/err" </dev/null
}
# readings [OPTION...]: the entries of the log that tell of an export or a mount, by number.
readings() { "$P" ledger list --json "$@" 2>/dev/null | python3 -c 'import json, sys; print(*[e["seq"] for e in json.load(sys.stdin)["entries"] if e["type"] == "read/v1"])'; }
# fails STATUS CODE ARGUMENT...: it must end with this exit status and say this error, with a reason, the rest as it is.
fails() {
  local want=$1 code=$2 status
  shift 2
  pk "$@"
  status=$?
  if [ $status != "$want" ]; then
    echo "# exit status $status, not $want"
    return 1
  fi
  grep -q "^error $code: " "$T/err" && grep -q '^  why: ' "$T/err"
}
# says TEXT: standard error has this text (a basic regular expression).
says() { grep -q -e "$1" "$T/err"; }
# result FIELD: of the result, the last line of a run with --json. surfaces.0.id reaches inside.
result() {
  tail -n 1 "$T/out" | python3 -c '
import json, sys
v = json.load(sys.stdin)
assert v["type"] == "result", v
for k in sys.argv[1].split("."):
    v = v[int(k)] if isinstance(v, list) else v[k]
print(v)' "$1"
}
# await SECONDS COMMAND...: until it is true, asked again and again; for what another process brings about
await() {
  local end=$((SECONDS + $1))
  shift
  until "$@"; do
    [ $SECONDS -lt $end ] || return 1
    sleep 0.1
  done
}
# halted PID COMMAND...: lets a process of ours run in short slices until the command is true, and leaves it stopped there, for a
# signal to meet it (and SIGCONT, when that is not SIGKILL); 1 when it ended before. A slice is as long as the asking took.
halted() {
  local pid=$1 end=$((SECONDS + 300)) asked
  shift
  while kill -STOP "$pid" 2>/dev/null && grep -q '^State:.[^Z]' "/proc/$pid/status" && [ $SECONDS -lt $end ]; do
    asked=${EPOCHREALTIME/./}
    "$@" && return 0
    asked=$((${EPOCHREALTIME/./} - asked))
    kill -CONT "$pid"
    sleep "$(printf '%d.%06d' $((asked / 1000000)) $((asked % 1000000)))"
  done
  kill -CONT "$pid" 2>/dev/null
  return 1
}
# flip FILE OFFSET: one bit there changes. A byte written over random ones would be the same in one run of 256.
flip() {
  chmod u+w "$1" && python3 -c '
import sys
with open(sys.argv[1], "r+b") as f:
    f.seek(int(sys.argv[2]))
    byte = f.read(1)[0]
    f.seek(-1, 1)
    f.write(bytes([byte ^ 4]))' "$1" "$2"
}
# point ENV/SURFACE: the id of the newest recovery point
point() {
  "$P" list "$1" --json 2>/dev/null | python3 -c '
import json, sys
print(json.load(sys.stdin)["points"][-1]["id"])'
}
# config_head [SECRET-LINE...]: a configuration down to its repositories: one in $T/repo, with its key in $T/key.
config_head() {
  printf '%s\n' 'version: 1' 'platform: test' 'secrets:' "  k: { file: $T/key }"
  [ $# = 0 ] || printf '  %s\n' "$@"
  printf '%s\n' 'repositories:' '  main:' "    url: $T/repo" '    encrypt: { key: k, kind: key_file }'
}
finish() {
  echo "1..$tap_n"
  [ $tap_failed = 0 ]
  exit
}
