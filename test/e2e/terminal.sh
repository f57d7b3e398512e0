#!/bin/bash
# The phrase of a protected environment, typed at a terminal.
. "${SOURCE_ROOT:?the project}/test/e2e/lib/tap.sh"
mkdir -p src && echo one >src/a
cat >proofkeep.yaml <<EOF
$(config_head)
surfaces:
  files: { kind: files, class: truth, paths: [$T/src] }
environments:
  prod:
    protected: true
    repository: main
    surfaces: [files]
    policy: { retention: { keep: { last: 1 }, min_copies: 1 } }
EOF
# typed TEXT ARGUMENT...: run the program on a terminal of its own and answer its question; what it showed is in $T/out.
typed() {
  python3 - "$P" "$@" <<'PY'
import os, pty, select, sys, time
program, answer, arguments = sys.argv[1], sys.argv[2], sys.argv[3:]
pid, fd = pty.fork()
if pid == 0:
    os.execv(program, [program, *arguments])
shown, sent, end = b"", False, time.monotonic() + 300
while time.monotonic() < end:
    if not select.select([fd], [], [], 1)[0]:
        continue
    try:
        part = os.read(fd, 4096)
    except OSError:
        break
    if not part:
        break
    shown += part
    if not sent and b"' to go on: " in shown:
        os.write(fd, answer.encode() + b"\n")
        sent = True
status = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
with open("out", "wb") as f:
    f.write(shown.replace(b"\r\n", b"\n"))
sys.exit(status if sent else 99)
PY
}
pk init --repository main && pk backup prod/files && first=$(point prod/files) && pk verify prod/files
claim 'a first recovery point'
echo two >src/a && pk backup prod/files && pk verify prod/files
claim 'and a newer one'
points() { "$P" list prod/files --json 2>/dev/null | grep -c '"id"'; }
fails 5 PK-RST-003 prune prod/files && says 'cannot be asked here' && says "pass --confirm 'prune prod/files'" && [ "$(points)" = 2 ]
claim 'without a terminal it is refused, with the option to pass'
typed 'prune prod/all' prune prod/files
[ $? = 5 ] && grep -q "Type 'prune prod/files' to go on: " out && grep -q 'error PK-RST-003: ' out && [ "$(points)" = 2 ]
claim 'the wrong phrase is refused with 5 and forgets nothing'
typed '' prune prod/files
[ $? = 5 ] && grep -q 'error PK-RST-003: ' out && [ "$(points)" = 2 ]
claim 'so is an empty one'
typed 'prune prod/files' prune prod/files
[ $? = 0 ] && grep -q '1 forgotten' out && [ "$(points)" = 1 ]
claim 'the right phrase prunes'
echo three >src/a
pk restore prod/files@latest --path "$T/src/a" --in-place --dry-run --json && plan=$(result plan)
claim 'a plan to restore in place'
typed 'restore prod/filez' restore --plan "$plan"
[ $? = 5 ] && grep -q 'error PK-RST-003: ' out && [ "$(cat src/a)" = three ]
claim 'the wrong phrase restores nothing'
phrase=$(sed -n "s/.*Type '\(.*\)' to go on.*/\1/p" out)
typed "$phrase" restore --plan "$plan"
[ $? = 0 ] && grep -q 'RESTORED' out && [ "$(cat src/a)" = two ]
claim 'the right one does'
finish
