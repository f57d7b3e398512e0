# Programs that stop themselves at a point (test/harness/hold_at.c), so that a signal meets them there and nowhere else. To be
# sourced after tap.sh.
#   program_of PID PROGRAM   that program, among what the process started
#   hold_lib                 what is to be preloaded, with HOLD_AT
#   held PID PROGRAM         waits until it stopped itself, and sets $program; 1 when it ended without
#   killed_held PID          kills $program where it stands, and waits for PID
# To let it go on: kill -CONT $program. Nothing between PID and it may stop when its child does, as runuser does; setpriv does not.
hold_lib() { echo "$(dirname "$P")/test/harness/libhold_at.so"; }
program_of() {
  local child
  if [ "$(readlink "/proc/$1/exe")" = "$2" ]; then
    echo "$1"
    return
  fi
  for child in $(cat "/proc/$1/task/$1/children" 2>/dev/null); do program_of "$child" "$2"; done
}
program=
held() {
  program=
  is_held() {
    program=$(program_of "$1" "$2")
    [ -n "$program" ] && grep -q '^State:.T' "/proc/$program/status" || [ ! -e "/proc/$1" ]
  } 2>/dev/null
  await 300 is_held "$1" "$2" && [ -n "$program" ]
}
killed_held() {
  kill -KILL "$program"
  wait "$1" 2>/dev/null
  [ $? = 137 ]
}
