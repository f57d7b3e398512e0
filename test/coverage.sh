#!/bin/sh
# `make coverage`: every test against a build that counts lines, then the share of the lines of src/ that ran: of the files
# below COVERAGE_LOW percent (70), of each layer, and in all. COVERAGE_NAMES are parts of names, for some of the tests only; the
# lines run by earlier runs count too. The last line is the figure of all; every file's is in build-cov/coverage.csv.
set -eu
cd "$(dirname "$0")/.."
[ -n "${COVERAGE_NAMES:-}" ] || find build-cov -name '*.gcda' -delete 2>/dev/null || :
failed=0
# shellcheck disable=SC2086
test/run --only coverage ${COVERAGE_NAMES:-} || failed=1
gcovr -r . --filter src/ --object-directory build-cov --gcov-ignore-parse-errors --csv build-cov/coverage.csv build-cov
python3 - "${COVERAGE_LOW:-70}" build-cov/coverage.csv <<'PY'
import csv
import sys
from collections import defaultdict

low, layers = float(sys.argv[1]), defaultdict(lambda: [0, 0])
with open(sys.argv[2], newline="") as f:
    rows = [(r["filename"], int(r["line_covered"]), int(r["line_total"])) for r in csv.DictReader(f)]
for name, covered, lines in rows:
    if lines and 100 * covered < low * lines:
        print(f"{100 * covered / lines:5.1f} %  {covered:6} of {lines:6}  {name}")
    for of in (name.split("/")[1], ""):
        layers[of][0] += covered
        layers[of][1] += lines
total = layers.pop("")
for layer, (covered, lines) in layers.items():
    print(f"{100 * covered / lines:5.1f} %  {covered:6} of {lines:6}  src/{layer}/")
print(f"{100 * total[0] / total[1]:5.1f} %  {total[0]:6} of {total[1]:6}  lines in all")
PY
exit $failed
