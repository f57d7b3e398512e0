#!/bin/bash
# SIGKILL in every phase of a backup, a prune, a repair and a copy in a bucket of a real server. A proxy kills the program at the
# n-th request of a run: before the request is passed on, with half of its body passed on, or after it was carried out. After each
# kill: what lies under a final name is whole, as sha256sum says; the same command again finishes the work; everything verifies;
# every point that was there is restored as it was, as diff says. A few kills for each command here; TORTURE=full is every request
# (test/torture.sh kill-s3), of which TORTURE_PART=K/N takes every N-th from the K-th on.
. "${SOURCE_ROOT:?the project}/test/e2e/lib/tap.sh"
. "$SOURCE_ROOT/test/e2e/lib/s3.sh"
KILLS=${KILLS:-4} # of each command
s3_needed "${S3_KIND:-versitygw}"
s3 mb backups && s3_proxy "$T/server" --victim "$T/victim" || { echo 'Bail out! no bucket or no proxy' && exit 1; }
s3_login
cat >proofkeep.yaml <<YAML
version: 1
platform: test
secrets:
  k: { file: $T/key }
repositories:
  main:
    url: s3://backups/a
    s3: { endpoint: $S3_PROXY, region: $S3_REGION, connections: 4, timeout: 5s }
    parity: 5
    encrypt: { key: k, kind: key_file }
surfaces:
  tree: { kind: files, class: truth, paths: [$T/tree] }
environments:
  lab:
    repository: main
    policy: { rpo: 24h, rto: 1h, verify: checksum, retention: { keep: { last: 1 }, min_copies: 1 } }
YAML
B="s3://backups/b?endpoint=$S3_PROXY&region=$S3_REGION&connections=4"

arm() { # N HOW: what was counted so far is answered
  curl -s -X PUT "$S3_PROXY/.kill/$1/$2"
}
requests() { curl -s "$S3_PROXY/.kill"; }
# killed N HOW ARGUMENT…: the run is killed at its n-th request (0: never); true when it was
killed() {
  local at=$1 how=$2 status
  shift 2
  tap_last="proofkeep $* (killed at request $at, $how)"
  arm 0 none >/dev/null
  rm -f "$T/go" "$T/victim"
  ( until [ -e "$T/go" ]; do sleep 0.01; done; exec "$P" "$@" >"$T/out" 2>"$T/err" </dev/null ) &
  echo $! >"$T/victim"
  arm "$at" "$how" >/dev/null
  touch "$T/go"
  wait $! 2>/dev/null
  status=$?
  [ $status = 137 ] && return 0
  [ $status = 0 ] || echo "# it ended with $status by itself: $(head -c 300 "$T/err" | tr '\n' ' ')"
  return 1
}
# Every object that is named by a digest has the bytes of its name. The server keeps objects as files.
whole() {
  (cd "$T/server/data/backups" && find a b -path '*/packs/*' -type f -o -path '*/index/*' -type f -o -path '*/keys/*' -type f) 2>/dev/null |
    grep -v -F -f damaged | while read -r o; do echo "$(basename "$o")  $T/server/data/backups/$o"; done >"$T/named"
  [ -s "$T/named" ] && sha256sum --check --status --strict "$T/named"
}
same() { # POINT TREE [repository options]
  rm -rf "$T/back"
  pk restore "$1" --into "$T/back" "${@:3}" && diff -r --no-dereference "$2" "$T/back" >"$T/diff"
}
grow() { # something new, something moved, something gone
  head -c 5000000 /dev/urandom >"tree/new.$1"
  seq "$1" $((20000 + $1)) >tree/changed
  [ "$1" -gt 3 ] && rm -f "tree/new.$(($1 - 2))"
  return 0
}
ways=(before half after)
n=0
# sweep NAME PREPARE AFTERWARDS ARGUMENT…: prepare, count the requests of a whole run, then kill at points of it
sweep() {
  local name=$1 prepare=$2 afterwards=$3 total at kills=0 wrong=0 from=1 step i=0
  shift 3
  $prepare || { false; claim "$name: it can be prepared"; return; }
  killed 0 none "$@"
  total=$(requests)
  $afterwards && [ "$total" -gt 5 ]
  claim "$name: a whole run takes $total requests" || return
  step=$(((total + KILLS - 1) / KILLS))
  [ "${TORTURE:-}" = full ] && step=1
  case ${TORTURE_PART:-} in */*) step=${TORTURE_PART#*/} from=${TORTURE_PART%/*} ;; esac
  for ((at = from; at <= total; at += step)); do
    n=$((n + 1)) i=$((i + 1))
    $prepare || { echo "# it cannot be prepared at $at" && wrong=$((wrong + 1)); continue; }
    killed "$at" "${ways[$((n % 3))]}" "$@" && kills=$((kills + 1))
    arm 0 none >/dev/null
    whole || { echo "# after $tap_last something is half-done: $(sha256sum --check --quiet "$T/named" 2>&1 | head -n 2 | tr '\n' ' ')" && wrong=$((wrong + 1)); }
    tap_again="proofkeep $* again, after request $at, ${ways[$((n % 3))]}"
    pk "$@" && $afterwards || { echo "# wrong: $tap_again: last: $tap_last: $(head -c 400 "$T/err" | tr '\n' ' ') $(head -c 200 "$T/diff" 2>/dev/null)" && wrong=$((wrong + 1)); }
  done
  [ $wrong = 0 ] && [ $((kills * 4)) -ge $((i * 3)) ] # a run need not have quite as many requests as the one that was counted
  claim "$name: $kills of $i runs were killed, the next run works, nothing is lost, nothing is half-done"
}

echo none >damaged
mkdir tree && head -c 9000000 /dev/urandom >tree/kept && for i in 1 2 3 4 5 6 7 8; do seq $((i * 1000)) >"tree/f$i"; done
pk init --repository main --key-file "$T/key" && pk backup lab/tree && pk verify lab/tree --level checksum && cp -a tree first
claim 'a repository in a bucket, with a point'
first=$(point lab/tree)
pk hold add "lab/tree@$first" --reason 'the one that must survive'
claim 'which is held'
turn=0

prepare_backup() { turn=$((turn + 1)) && grow $turn; }
after_backup() {
  pk verify --all --level decode && same lab/tree@latest tree && same "lab/tree@$first" first
}
sweep backup prepare_backup after_backup backup lab/tree

# What the points in between had is garbage; with no grace all of it goes.
prepare_prune() {
  turn=$((turn + 1)) && grow $turn && pk backup lab/tree && turn=$((turn + 1)) && grow $turn && pk backup lab/tree && pk verify lab/tree --level checksum
}
after_prune() {
  pk verify --all --level decode && same lab/tree@latest tree && same "lab/tree@$first" first && [ "$("$P" list lab/tree --json 2>/dev/null | python3 -c '
import json, sys
print(len(json.load(sys.stdin)["points"]))')" = 2 ]
}
sweep prune prepare_prune after_prune prune lab/tree --grace 0s

# An index run gone, a tile gone, a pack with a byte of another value: all of it can be mended, the pack from its parity.
prepare_repair() {
  turn=$((turn + 1)) && grow $turn && pk backup lab/tree || return 1
  local run pack tile
  run=$(s3 ls backups a/index/ | sort -k2 -n | tail -n 1 | awk '{ print $1 }')
  tile=$(s3 ls backups a/tile/ | awk 'NR == 1 { print $1 }')
  pack=$(s3 ls backups a/packs/d/ | sort -k2 -n | tail -n 1 | awk '{ print $1 }')
  s3 rm backups "$run" >/dev/null
  s3 rm backups "$tile" >/dev/null
  s3 get backups "$pack" >pack && flip pack $((RANDOM * 20)) && s3 put backups "$pack" <pack >/dev/null
  basename "$pack" >damaged
  rm -rf "$T/cache"
}
after_repair() {
  echo none >damaged
  whole && pk scrub --repository main && pk verify --all --level decode && same lab/tree@latest tree && same "lab/tree@$first" first
}
sweep repair prepare_repair after_repair repair lab

# ---- copies
pk init -r "$B" --key-file "$T/b.key" --copy-of main --from-key-file "$T/key"
claim 'a repository that takes copies, in the same server'
pk copy lab/tree --to "$B" --to-key-file "$T/b.key"
claim 'it has what there is so far'
prepare_copy() { turn=$((turn + 1)) && grow $turn && pk backup lab/tree; }
after_copy() { # the other repository is read with its own key, by an address of its own surface
  pk verify -r "$B" --key-file "$T/b.key" --all --level decode && same lab/tree@latest tree -r "$B" --key-file "$T/b.key" && pk verify lab/tree@latest --level decode
}
sweep copy prepare_copy after_copy copy lab/tree --to "$B" --to-key-file "$T/b.key"

# ---- uploads in parts that nobody will end
new=$(s3 begin backups a/packs/d/00/new) && old=$(s3 begin backups a/packs/d/00/old) && [ "$(s3 uploads backups | wc -l)" = 2 ] &&
  find "$T/server/data/backups" -path "*$old*" -exec touch -d '3 days ago' {} +
turn=$((turn + 1)) && grow $turn && pk backup lab/tree && pk prune lab --collect-only --grace 1h && s3 uploads backups >uploads && grep -q -F "$new" uploads && ! grep -q -F "$old" uploads
claim 'one that a killed run left three days ago is aborted by the next collection, and one of today is left alone'
finish
