#!/bin/bash
# What a run leaves that was killed: named by doctor, removed by the next run, and never taken from the living.
. "${SOURCE_ROOT:?the project}/test/e2e/lib/tap.sh"
mkdir -p src scratch back
python3 - <<'PY'
import random
random.seed(7)
for i in range(3000):
    with open(f"src/{i:04d}", "wb") as f:
        f.write(random.randbytes(20000))
PY
cat >proofkeep.yaml <<EOF
$(config_head)
surfaces:
  files: { kind: files, class: truth, paths: [$T/src] }
environments:
  lab: { repository: main, surfaces: [files] }
EOF
pk init --repository main && pk backup lab/files
claim 'a backup to begin with'
export TMPDIR=$T/scratch
partials() { find back -maxdepth 1 -name '*.proofkeep-partial-*'; }
scratch() { find scratch -maxdepth 1 -name 'proofkeep-*'; }

"$P" restore lab/files@latest --into "$T/back/here" >killed.out 2>killed.err </dev/null &
pid=$!
in_use() { [ -n "$(find back -mindepth 2 -path '*.proofkeep-partial-*' -print -quit)" ]; }
halted $pid in_use && [ -n "$(partials)" ] && [ ! -e back/here ]
claim 'a restore is held in the middle'
[ "$(scratch | wc -l)" = 1 ]
claim 'it has a scratch folder'
pk doctor && ! grep -q partial out err && [ "$(partials | wc -l)" = 1 ] && [ "$(scratch | wc -l)" = 1 ]
claim 'doctor leaves what the living are making'
pk restore lab/files@latest --into "$T/back/here" --dry-run && ! says 'is left of a run' && [ "$(partials | wc -l)" = 1 ]
claim 'and so does a plan for the same target'
kill -KILL $pid && wait $pid 2>/dev/null
[ $? = 137 ] && [ "$(partials | wc -l)" = 1 ] && [ "$(scratch | wc -l)" = 1 ]
claim 'killed, it leaves both folders'
left=$T/$(partials)
pk doctor && grep -q "$left: it is left of a run that was killed" out && grep -qF "rm -rf -- '$left'" out && [ -d "$left" ]
claim 'doctor names the half-made folder and the command that removes it'
grep -q 'removed 1 scratch folder of runs that were killed' out && [ -z "$(scratch)" ]
claim 'and has removed the scratch folder'
mkdir "back/here.proofkeep-partial-mine" back/other.proofkeep-partial-0123456789abcdef scratch/proofkeep-x
pk restore lab/files@latest --into "$T/back/here" --dry-run && says "$left is left of a run that was killed; carrying this out removes it" && [ -d "$left" ]
claim 'a plan for the same target says that it is there, and changes nothing'
pk restore lab/files@latest --into "$T/back/here" && says "removed $left, which a run that was killed had left" && [ ! -e "$left" ]
claim 'a restore to the same target removes it'
diff -r src "$(find back/here -type d -name src -print -quit | grep . || echo back/here)" >out
claim 'and is whole'
[ -d back/here.proofkeep-partial-mine ] && [ -d back/other.proofkeep-partial-0123456789abcdef ] && [ -d scratch/proofkeep-x ] && [ "$(scratch | wc -l)" = 1 ]
claim 'what only looks alike, or is for another target, stays'
rmdir back/*.proofkeep-partial-* scratch/proofkeep-x

# An export that is killed.
rm -rf back/bag
"$P" export lab/files@latest --to "$T/back/bag" >/dev/null 2>&1 </dev/null &
pid=$!
halfway() { [ -n "$(partials)" ]; }
halted $pid halfway && kill -KILL $pid
wait $pid 2>/dev/null
[ "$(partials | wc -l)" = 1 ] && pk export lab/files@latest --to "$T/back/bag" && says 'which a run that was killed had left' && [ -z "$(partials)" ] &&
  (cd back/bag && sha256sum --quiet --strict -c CHECKSUMS) >out 2>&1
claim 'an export to the same place removes what a killed one left'
[ -z "$(scratch)" ]
claim 'no scratch folder is left'
finish
