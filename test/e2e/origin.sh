#!/bin/bash
# What receipts say of the commit that the configuration is from.
. "${SOURCE_ROOT:?the project}/test/e2e/lib/tap.sh"
if ! git --version >/dev/null 2>&1; then
  echo '1..0 # skip git is not installed'
  exit 0
fi
git_() { git -c user.name=t -c user.email=t@example.org -c init.defaultBranch=main -c commit.gpgsign=false "$@" >/dev/null 2>&1; }
mkdir -p src tree/conf && echo one >src/a
cat >tree/conf/proofkeep.yaml <<EOF
$(config_head)
surfaces:
  files: { kind: files, class: truth, paths: [$T/src] }
environments:
  lab: { repository: main, surfaces: [files] }
EOF
# origin CONFIG: sha and repository of the receipt of a backup with that configuration
origin() {
  pk backup lab/files --config "$1" --json && grep '"type":"receipt"' out | tail -n 1 | python3 -c '
import json, sys
def find(v):
    if isinstance(v, dict):
        if "git" in v: return v["git"]
        v = list(v.values())
    if isinstance(v, list):
        for x in v:
            if (g := find(x)): return g
g = find(json.load(sys.stdin))
print("%s|%s" % (g["sha"], g["repo"]))'
}
pk init --repository main --config tree/conf/proofkeep.yaml
[ "$(origin tree/conf/proofkeep.yaml)" = '|' ]
claim 'outside of a work tree both are empty'
git_ -C tree init
[ "$(origin tree/conf/proofkeep.yaml)" = "|$T/tree" ]
claim 'before the first commit there is none to name'
git_ -C tree add . && git_ -C tree commit -m one && sha=$(git -C tree rev-parse HEAD)
[ "$(origin tree/conf/proofkeep.yaml)" = "$sha|$T/tree" ]
claim 'the commit is named, and the folder where there is no remote'
git_ -C tree remote add origin https://user:hunter22@git.example.org/conf.git
git_ -C tree commit --allow-empty -m two && git_ -C tree pack-refs --all && sha=$(git -C tree rev-parse HEAD) && [ ! -e tree/.git/refs/heads/main ]
got=$(origin tree/conf/proofkeep.yaml)
[ "${got%%|*}" = "$sha" ] && [ "${got#*|}" = 'https://[redacted]@git.example.org/conf.git' ] && ! grep -q hunter22 out err
claim 'packed refs are read, and credentials of a remote are left out'
git_ -C tree worktree add -b side "$T/linked" && git_ -C linked commit --allow-empty -m three && sha=$(git -C linked rev-parse HEAD)
got=$(origin linked/conf/proofkeep.yaml) && [ "${got%%|*}" = "$sha" ]
claim 'a linked work tree has a commit of its own'
git_ -C tree checkout --detach HEAD~1 && sha=$(git -C tree rev-parse HEAD)
got=$(origin tree/conf/proofkeep.yaml) && [ "${got%%|*}" = "$sha" ]
claim 'so has a detached one'
printf 'git: { repo: "ssh://here/conf" }\n' >>tree/conf/proofkeep.yaml
got=$(origin tree/conf/proofkeep.yaml) && [ "${got#*|}" = 'ssh://here/conf' ]
claim 'what the configuration says of itself stands above that'
printf 'ref: ../../../key\n' >tree/.git/HEAD && rm -f tree/.git/config && head -c 4000 /dev/urandom >tree/.git/packed-refs
got=$(origin tree/conf/proofkeep.yaml) && [ "${got%%|*}" = '' ]
claim 'damaged files of git never fail a backup'
finish
