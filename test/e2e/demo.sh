#!/bin/bash
# `make demo` where only Debian's packages can be had, and says what it left out; with PROOFKEEP_TEST_ALL=1 all of it besides. Every line of
# its evidence is good.
. "${SOURCE_ROOT:?the project}/test/e2e/lib/tap.sh"
cd "$T" || exit 1

mkdir stub && printf '#!/bin/sh\necho "no way out" >&2\nexit 1\n' >stub/mvn && chmod +x stub/mvn
PATH=$T/stub:$PATH PROOFKEEP_TEST_CACHE=$T/none PROOFKEEP=$P "$SOURCE_ROOT/tools/demo/demo.sh" >out 2>err
[ $? = 0 ] && grep -q '^[1-9][0-9]* good, 0 bad, 0 skipped' out
claim 'the demonstration backs up, wipes, restores and verifies, and all of it is good'
! grep -q 'NOT VERIFIED' out err && python3 -c '
import json
d = json.load(open("synthetic-validation.json"))
assert d and "FAILED" not in json.dumps(d)'
claim 'its counts are in synthetic-validation.json'
grep -q '^left out *neo4j: .' out && grep -q '^left out *opensearch: .' out && python3 -c '
import json
d = json.load(open("synthetic-validation.json"))
assert set(d["services"]) == {"artifacts", "postgres", "redis"} and len(d["left_out"]) == 2, d
for name, target in (("rpo", 86400), ("rto", 1800)):
    t = d["targets"][name]
    assert t["met"] and t["target_seconds"] == target and 0 < t["measured_seconds"] < target, t'
claim 'it says what it left out, and holds what it measured against the targets'
if [ -n "${PROOFKEEP_TEST_ALL:-}" ]; then
  PROOFKEEP=$P "$SOURCE_ROOT/tools/demo/demo.sh" >out 2>err && python3 -c '
import json
d = json.load(open("synthetic-validation.json"))
assert len(d["services"]) == 5 and not d["left_out"] and d["result"] == "passed", d'
  claim 'all of it, where all can be had'
fi
finish
