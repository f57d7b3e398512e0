#!/bin/sh
# The test runner's own judgement: what is not plainly a pass or a skip is a failure.
exec python3 - "${SOURCE_ROOT:?the project}/test/run" <<'PY'
import sys
from importlib.machinery import SourceFileLoader
from importlib.util import module_from_spec, spec_from_loader

sys.dont_write_bytecode = True
loader = SourceFileLoader("run", sys.argv[1])
run = module_from_spec(spec_from_loader("run", loader))
loader.exec_module(run)

CASES = [
    # what was printed, exit status, why it was ended, (passed, failed, skipped)
    ("1..2\nok 1 - a\nok 2 - b\n", 0, None, (2, 0, 0)),
    ("ok 1 - a\nok 2 - b\n1..2\n", 0, None, (2, 0, 0)),
    ("1..2\nok 1 - a\nnot ok 2 - b\n", 1, None, (1, 1, 0)),
    ("1..2\nok 1 - a\nnot ok 2 - b\n", 0, None, (1, 1, 0)),
    ("1..2\nok 1 - a\nok 2 # SKIP no zsh\n", 0, None, (1, 0, 1)),
    ("1..2\nok 1 - a\nnot ok 2 # SKIP\n", 0, None, (1, 0, 1)),
    ("1..0 # skip no server\n", 0, None, (0, 0, 1)),
    ("1..3\nok 1 - a\nok 2 - b\n", 0, None, (2, 1, 0)),
    ("1..1\nok 1 - a\nok 2 - b\n", 0, None, (2, 1, 0)),
    ("ok 1 - a\n", 0, None, (1, 1, 0)),
    ("", 0, None, (0, 1, 0)),
    ("1..1\nok 1 - a\n", 3, None, (1, 1, 0)),
    ("1..2\nok 1 - a\n", -11, "died of SIGSEGV", (1, 1, 0)),
    ("1..1\nok 1 - a\n# ok - tests\nokay then\n", 0, None, (1, 0, 0)),
    ("1..1\nBail out! no disk\n", 1, None, (0, 2, 0)),
]
print(f"1..{len(CASES)}")
for i, (text, status, why, expected) in enumerate(CASES, 1):
    c = run.read_tap(text, status, why)
    got = (c.passed, c.failed, c.skipped)
    said = repr(text).replace("#", "(hash)")  # or this line would be taken for a skipped test itself
    print(f"{'ok' if got == expected else 'not ok'} {i} - {said} and {status} are {expected}" + ("" if got == expected else f", not {got}"))
PY
