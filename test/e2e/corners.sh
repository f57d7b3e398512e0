#!/bin/bash
# Corners that the other tests pass by: rehearsals of a backup, verifications by keys that may not vouch, of nothing and of
# several surfaces at once, and what the program prints of itself.
. "${SOURCE_ROOT:?the project}/test/e2e/lib/tap.sh"
mkdir -p one two bare && echo 1 >one/a && echo 2 >two/b
cat >proofkeep.yaml <<YAML
$(config_head)
surfaces:
  one: { kind: files, class: truth, paths: [$T/one] }
  two: { kind: files, class: truth, paths: [$T/two] }
  gone: { kind: files, class: truth, paths: [$T/gone] }
  bare: { kind: files, class: truth, paths: [$T/bare] }
environments:
  lab: { repository: main, surfaces: [one, two] }
  sick: { repository: main, surfaces: [gone] }
  empty: { repository: main, surfaces: [bare] }
YAML
entries() { find repo/log -type f | wc -l; }
pk init --repository main
claim 'there is a repository'

# ---- rehearsals
n=$(entries)
pk backup lab/all --dry-run && grep -q 'lab/one would be backed up' out && grep -q 'lab/two would be backed up' out && [ "$(entries)" = "$n" ] && [ -z "$(find repo/packs -type f 2>/dev/null)" ]
claim 'a dry run of a backup says what would be done, and stores nothing'
fails 1 PK-SRC-004 backup sick/gone --dry-run && says "$T/gone" && [ "$(entries)" = "$n" ]
claim 'a source that is not there fails it'
fails 1 PK-SRC-004 backup sick/gone && says 'state:' && [ "$(entries)" = $((n + 1)) ]
claim 'and a real one too, which leaves a receipt of its failure'

# ---- verifications
fails 2 PK-USE-002 verify --all && says 'no recovery point'
claim 'a repository without a recovery point has nothing to verify, which is not success'
pk backup lab/all && pk verify lab/all && says 'VERIFIED.*: 2 recovery points' && [ "$("$P" list --json | grep -c '"verified": *"decode"')" = 2 ]
claim 'several surfaces are verified at once'
pk key add --role writer --key-file-out "$T/writer" && pk key add --role prune --key-file-out "$T/pruner"
claim 'there are keys of lesser roles'
pk backup lab/one && n=$(entries) && pk verify lab/one@latest --level checksum --key-file "$T/pruner"
[ $? = 0 ] && says 'a prune key may not vouch for a backup' && [ "$(entries)" = "$n" ]
claim 'a key that may not vouch for backups records no verification'
"$P" list lab/one --json >out 2>err && [ "$(python3 -c 'import json; print(json.load(open("out"))["points"][-1]["verified"])')" = none ]
claim 'and so the backup stays unverified'

# ---- parity
head -c 3000000 /dev/urandom >one/noise
{ config_head; printf '    parity: 5\nsurfaces:\n  one: { kind: files, class: truth, paths: [%s/one] }\nenvironments:\n  lab: { repository: main }\n' "$T"; } >parity.yaml
sed -i "s|$T/repo|$T/parity|" parity.yaml
fails 2 PK-CFG-003 backup lab/one --config <(sed 's/parity: 5/parity: 26/' parity.yaml) && says 'from 1 to 25'
claim 'there is a most of parity'
pk init --repository main --config parity.yaml --key-file "$T/parity.key" && sed -i "s|$T/key|$T/parity.key|" parity.yaml && pk backup lab/one --config parity.yaml
claim 'packs may have parity'
python3 - parity/packs <<'PY'
import os, sys
for folder, _, names in os.walk(sys.argv[1]):
    for name in names:
        path = os.path.join(folder, name)
        os.chmod(path, 0o600)
        with open(path, "r+b") as f:
            f.seek(200)
            f.write(os.urandom(500))
PY
pk restore lab/one@latest --config parity.yaml --into "$T/mended" && cmp one/noise mended/noise
claim 'a restore mends what it reads, of packs that are damaged every one'
fails 4 PK-VER-001 verify lab/one --config parity.yaml --level checksum && grep -q 'packs/d/' out
claim 'verify still says that they are'
pk repair --repository main --config parity.yaml --json && [ "$(result chunks_lost)" = 0 ] && [ "$(result packs_retired)" -ge 2 ] && pk verify lab/one --config parity.yaml --level decode
claim 'and a repair stores all of it anew'

# ---- a clock that was ahead
if command -v cc >/dev/null; then
  cat >clock.c <<'C'
#define _GNU_SOURCE
#include <dlfcn.h>
#include <time.h>
int clock_gettime(clockid_t id, struct timespec *ts) {
    static int (*real)(clockid_t, struct timespec *);
    if (!real) real = (int (*)(clockid_t, struct timespec *))dlsym(RTLD_NEXT, "clock_gettime");
    int rc = real(id, ts);
    if (rc == 0 && id == CLOCK_REALTIME) ts->tv_sec += 864000;
    return rc;
}
C
  cc -shared -fPIC -o clock.so clock.c -ldl 2>err && LD_PRELOAD=$T/clock.so:${LD_PRELOAD:-} pk backup lab/one &&
    pk list lab/one --json && cp out listed && pk restore lab/one@latest --into "$T/early" --dry-run --json && python3 - <<'PY'
import json
plan = next(e for e in map(json.loads, open("out")) if e["type"] == "plan")
point = json.load(open("listed"))["points"][-1]
assert plan["snapshot"] == point["id"] and plan["point"] == point["time"] < point["started_at"], (plan, point)
assert 0 <= plan["loss_seconds"] < 3600, plan
PY
  claim 'a backup of a host whose clock was ahead is planned by when it was stored, and loses no negative time'
  at=$(date -u +%Y-%m-%dT%H:%M:%SZ -d '+1 second') && LD_PRELOAD=$T/clock.so:${LD_PRELOAD:-} pk backup lab/all && sleep 1 &&
    pk restore lab/one@"$(date -u +%Y-%m-%dT%H:%M:%SZ -d '+1 second')" --into "$T/early" --dry-run --json && pk restore lab/all@latest --into "$T/both" --dry-run --json && cp out planned && pk list lab/all --json && python3 - "$at" <<'PY'
import json
plan = next(e for e in map(json.loads, open("planned")) if e["type"] == "plan")
listed = json.load(open("out"))
assert 0 <= plan["loss_seconds"] < 3600, plan
assert any(s["id"] == plan["set_id"] and s["started_at"] == plan["point"] for s in listed["sets"]), (plan, listed)
PY
  claim 'nor does a set of its; and an instant finds what was stored before it'
else
  skip 'a clock that was ahead' 'no compiler is installed'
fi

# ---- an empty folder
pk backup empty/bare && pk restore empty/bare@latest --into "$T/nothing" && grep -q '^  size      0 B in 1 item$' out && [ -d nothing ] && [ -z "$(ls -A nothing)" ]
claim 'an empty folder comes back as one, planned as 1 item'

# ---- a key that two environments have
cat >twice.yaml <<YAML
version: 1
platform: test
secrets: { k: { file: $T/twice.key } }
repositories:
  play: { url: $T/play, encrypt: { key: k, kind: key_file } }
  live: { url: $T/live, encrypt: { key: k, kind: key_file } }
surfaces: { two: { kind: files, class: truth, paths: [$T/two] } }
environments: { dev: { repository: play }, prod: { repository: live, protected: true } }
YAML
pk init --repository live --config twice.yaml --key-file "$T/twice.key" && pk backup prod/two --config twice.yaml &&
  pk verify --all -r live --config twice.yaml && pk list prod/two --config twice.yaml
claim "production's own repository is opened by its name, whichever environment stands first"
pk init --repository "$T/play" --config none.yaml --key-file "$T/play.key"
fails 5 PK-POL-001 list dev/two --config twice.yaml && says "'prod'" && says "never serve in 'dev'"
claim 'its key does not serve in dev'

# ---- of itself
pk --version --json && python3 -c 'import json; v = json.load(open("out"))["version"]; assert v[0].isdigit(), v' 2>err
claim 'the version can be had as JSON'
read=
for shell in bash zsh fish; do
  pk --completions $shell && grep -q 'full-read' out && [ ! -s err ] && { ! command -v $shell >/dev/null || $shell -n out 2>err; } && read+=" $shell"
done
[ "$read" = ' bash zsh fish' ]
claim 'the completions of each shell are printed, and are what that shell can read'
fails 2 PK-USE-001 --completions tcsh && says 'bash' && says tcsh
claim 'those of another are refused'
finish
