#!/bin/bash
# `make demo` with the surfaces whose servers come from Debian's packages: every line of its evidence is good.
. "${SOURCE_ROOT:?the project}/test/e2e/lib/tap.sh"
cd "$T" || exit 1

DEMO_SURFACES='artifacts postgres redis' PROOFKEEP=$P "$SOURCE_ROOT/tools/demo/demo.sh" >out 2>err
[ $? = 0 ] && grep -q '^[1-9][0-9]* good, 0 bad, 0 skipped' out
claim 'the demonstration backs up, wipes, restores and verifies, and all of it is good'
! grep -q 'NOT VERIFIED' out err && python3 -c '
import json
d = json.load(open("synthetic-validation.json"))
assert d and "FAILED" not in json.dumps(d)'
claim 'its counts are in synthetic-validation.json'
finish
