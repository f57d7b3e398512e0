#!/bin/bash
# Populate, back up, wipe, restore, verify: a platform of several stores and a tree of files, taken as one set, and the proof that all of it
# came back, by the stores' own tools and the system's rather than by proofkeep's own word.
#
#   tools/demo/demo.sh          prints the evidence, and writes ./synthetic-validation.json
#
# PROOFKEEP      the program           (build/proofkeep)
# DEMO_DIR       where to work         (/var/tmp); a folder of its own is made there and removed again
# DEMO_KEEP      set: do not remove it, and say where it is
# DEMO_SURFACES  which surfaces        (all that can be had here; what cannot is said)
# Exits with 0 only if every line of the evidence is good. surfaces/README.md says what a surface is here.
set -Eeuo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
servers=$(cd "$here/../servers" && pwd)
started=$EPOCHREALTIME
output=$PWD/synthetic-validation.json
PROOFKEEP=$(realpath "${PROOFKEEP:-$here/../../build/proofkeep}")
all='artifacts postgres redis neo4j opensearch'

bold= plain= green= red=
if [ -t 1 ] && [ -z "${NO_COLOR:-}" ]; then bold=$'\e[1m' plain=$'\e[0m' green=$'\e[32m' red=$'\e[31m'; fi
since() { LC_ALL=C awk -v a="${2:-$EPOCHREALTIME}" -v b="$1" 'BEGIN { printf "%.1f", a - b }'; }
say() { printf '\n%s%s%s  (at %s s)\n' "$bold" "$*" "$plain" "$(since "$started")"; }
give_up() { printf 'demo: %s\n' "$*" >&2; exit 1; }
# What is run is shown, without the folder that it all is in.
run() {
  local shown="proofkeep $*"
  printf '$ %s\n' "${shown//$work\//}"
  "$PROOFKEEP" "$@"
}

rm -f "$output"
[ -x "$PROOFKEEP" ] || give_up "there is no program $PROOFKEEP; build it with 'make'"
for tool in setfattr setfacl python3 sha256sum; do command -v $tool >/dev/null || give_up "$tool is not installed; install it with 'make deps'"; done

# Jobs run side by side, each a process group, so that all of one can be ended. How it went is in the file go/JOB.
job() {
  local name=$1
  shift
  set -m
  (
    set +m
    "$@" >"go/$name.out"
    echo well >"go/$name"
  ) </dev/null &
  set +m
}
jobs_run() { [ -n "$(jobs -rp)" ]; }
end_jobs() {
  local p
  for p in $(jobs -rp); do kill -- "-$p" 2>/dev/null; done
  wait 2>/dev/null || :
}
# each WHAT [ARGUMENT...]: does so for every surface, side by side
each() {
  local what=$1 s
  shift
  for s in $surfaces; do
    rm -f "go/$what-$s"
    job "$what-$s" "${s}_$what" "$@"
  done
  wait || :
  for s in $surfaces; do [ -e "go/$what-$s" ] || give_up "$s: $what failed"; done
}
# For a surface that needs something from elsewhere: gets it, once, and prints why it cannot be had.
fetched() {
  local why
  why=$("$@" 2>&1 >/dev/null) || echo "${why:-it could not be had}"
}

work=$(mktemp -d "${DEMO_DIR:-/var/tmp}/proofkeep-demo.XXXXXX")
surfaces=
finish() {
  local status=$? s
  trap - EXIT INT TERM
  set +e
  end_jobs
  for s in $surfaces; do "${s}_stop" || status=1; done
  if [ -n "${DEMO_KEEP:-}" ]; then echo "kept: $work"; else rm -rf "$work"; fi
  exit $status
}
trap finish EXIT
trap 'exit 130' INT
trap 'exit 143' TERM
trap 'printf "demo: line %s failed: %s\n" "$LINENO" "$BASH_COMMAND" >&2' ERR
chmod 755 "$work" # the server's own user passes through
cd "$work"
export XDG_CACHE_HOME=$work/cache
mkdir go
wanted=${DEMO_SURFACES:-$all}
for s in $wanted; do
  [ -e "$here/surfaces/$s.sh" ] || give_up "there is no surface '$s'; there are: $all"
  . "$here/surfaces/$s.sh"
done

# Servers that are not installed are fetched before the clock starts.
for s in $wanted; do job "missing-$s" "${s}_missing"; done
for ((n = 0; n < 6000; n++)); do
  jobs_run || break
  [ $n != 30 ] || echo 'demo: getting servers, which takes minutes the first time, and is kept for the next' >&2
  sleep 0.1
done
end_jobs
left_out=()
for s in $wanted; do
  why=$(cat "go/missing-$s.out")
  [ -e "go/missing-$s" ] || why=${why:-it could not be had within ten minutes}
  if [ -z "$why" ]; then surfaces="$surfaces $s"; else left_out+=("$s: $why"); fi
done
case $surfaces in *\ artifacts*\ postgres*) ;; *) give_up "${left_out[*]}" ;; esac

started=$EPOCHREALTIME
say "1. A platform:$surfaces"
each start
for s in $surfaces; do
  printf '%-12s%s\n' "$s" "$("${s}_describe")"
done
for why in "${left_out[@]}"; do printf '%sleft out%s    %s\n' "$bold" "$plain" "$why"; done

# What stock tools say of it, before; the same is asked again after the restore.
facts() {
  mkdir -p "$1"
  each facts "$1"
}
facts "$work/before"

# Hooks of the set: programs of the platform's own.
for what in freeze resume; do
  {
    printf '#!/bin/bash\nset -e\n'
    for s in $surfaces; do
      "${s}_$what"
      echo
    done
  } >$what
done
cat >smoke <<SH
#!/bin/bash
# A platform's own check after a restore: proofkeep tells it on standard input where everything went.
python3 -c 'import json, os, sys; assert all(os.path.exists(t) for t in json.load(sys.stdin)["facts"]["targets"].values() if t.startswith("/"))'
SH
chmod 755 freeze resume smoke
{
  cat <<YAML
version: 1
platform: demonstration
secrets:
  repository-key: { file: $work/key/demo.key }
repositories:
  main:
    url: $work/repository
    encrypt: { key: repository-key, kind: key_file }
surfaces:
YAML
  for s in $surfaces; do
    echo "  $s:"
    "${s}_config"
  done
  cat <<YAML
sets:
  platform:
    surfaces: [$(echo $surfaces | tr ' ' ',')]
    rpo: 24h
    rto: 30m
    hooks:
      freeze: { run: [$work/freeze] }
      resume: { run: [$work/resume] }
      checks: { smoke: { run: [$work/smoke] } }
environments:
  demo:
    repository: main
    policy: { rpo: 24h, rto: 30m, verify: full }
YAML
} >proofkeep.yaml

say '2. Back up, as one set'
run init --repository main
pointed=$EPOCHREALTIME
run backup demo/platform

say '3. Wipe: all of it is gone'
lost=$EPOCHREALTIME
each wipe
for s in $surfaces; do cat "go/wipe-$s.out"; done

say '4. Restore, as one: a plan first, then the act'
into=
for s in $surfaces; do into="$into${into:+,}$s=$("${s}_target")"; done
wiped=$EPOCHREALTIME
run restore demo/platform@latest --into "$into" --dry-run | tee plan
run restore --plan "$(sed -n 's/.*Plan \(pls-[0-9a-f]*\).*/\1/p' plan | head -n 1)" | sed -u '/^Plan pls-/,/^  then /d' # it was shown already
restored=$EPOCHREALTIME

say '5. Ask the stores and the system whether it is all back'
facts "$work/after"

good=0 bad=0 skipped=0
: >evidence.tsv
# evidence STATUS SURFACE WHAT HOW FOUND: the status is the verdict, 0 is good
evidence() {
  local verdict=$1 word
  shift
  if [ "$verdict" = 0 ]; then good=$((good + 1)) word="${green}ok$plain"; else bad=$((bad + 1)) word="${red}FAILED$plain"; fi
  printf '  %-10s %-28s %-37s %-29s %s\n' "$1" "$2" "$3" "$4" "$word"
  printf '%s\t%s\t%s\t%s\t%s\n' "$1" "$2" "$3" "$4" "$([ "$verdict" = 0 ] && echo true || echo false)" >>evidence.tsv
}
# same FILE PREFIX: the facts in before/FILE whose names begin so are the same now, and there are some; prints the differing ones
same() {
  grep "^$2" "before/$1" >one || return 1
  grep "^$2" "after/$1" >two || :
  diff one two >&2
}
number() { grep -c "^$2" "after/$1" || :; }
value() { sed -n "s/^$2|\([^,]*\).*/\1/p" "after/$1"; }
no_evidence() {
  skipped=$((skipped + 1))
  printf '  %-10s %-28s %-37s SKIPPED: %s\n' "$1" "$2" "$3" "$4"
}
trap - ERR
set +e
for s in $surfaces; do "${s}_evidence"; done
recovery=$(since "$wiped" "$restored") loss=$(since "$pointed" "$lost")
awk -v t="$loss" 'BEGIN { exit !(t <= 24 * 3600) }'
evidence $? platform 'RPO: what would be lost' 'clock, target: 24 h at most' "the last $loss s"
awk -v t="$recovery" 'BEGIN { exit !(t <= 30 * 60) }'
evidence $? platform 'RTO: time to restore' 'clock, target: 30 min at most' "$recovery s"

say '6. Full verification: each backup restored into a scratch place and compared'
run verify demo/platform@latest --level full
evidence $? platform 'proofkeep verify' '--level full' 'exit status 0'
run status --check
evidence $? platform 'proofkeep status' '--check: RPO and proof' 'exit status 0'
run list
set -e

trap 'printf "demo: line %s failed: %s\n" "$LINENO" "$BASH_COMMAND" >&2' ERR
{
  for s in $surfaces; do printf '%s\t%s\n' "$s" "$("${s}_counts" | tr '\n' ' ')"; done
} >counts.tsv
printf '%s\n' "${left_out[@]}" >left_out
python3 - "$work" "$output" "$("$PROOFKEEP" --version)" "$loss" "$recovery" "$(since "$started")" "$good" "$bad" "$skipped" <<'PY'
import datetime, json, pathlib, sys

work, output, version, loss, recovery, total, good, bad, skipped = sys.argv[1:]
read = lambda name: pathlib.Path(work, name).read_text().splitlines()
checks = [line.split("\t") for line in read("evidence.tsv")]
document = {
    "timestamp": datetime.datetime.now(datetime.timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ"),
    "program": version,
    "steps": ["populate", "backup", "wipe", "restore", "verify"],
    "result": "passed" if bad == "0" else "failed",
    "services": {name: json.loads(counts) for name, counts in (line.split("\t") for line in read("counts.tsv"))},
    "left_out": [line for line in read("left_out") if line],
    "targets": {
        "rpo": {"target_seconds": 24 * 3600, "measured_seconds": float(loss), "met": float(loss) <= 24 * 3600},
        "rto": {"target_seconds": 30 * 60, "measured_seconds": float(recovery), "met": float(recovery) <= 30 * 60},
    },
    "restore_seconds": float(recovery),
    "total_seconds": float(total),
    "counts": {"passed": int(good), "failed": int(bad), "skipped": int(skipped)},
    "checks": [dict(zip(("surface", "what", "how", "found"), c[:4]), passed=c[4] == "true") for c in checks],
}
pathlib.Path(output).write_text(json.dumps(document, indent=2, ensure_ascii=False) + "\n")
PY
trap - ERR
say "$good good, $bad bad, $skipped skipped; RPO $loss s of 24 h, RTO $recovery s of 30 min; the counts are in ${output##*/}"
[ "$bad" = 0 ]
