#!/bin/sh
# The test runner's own judgement: what is not plainly a pass or a skip is a failure. What it says at the end of a run that failed
# names the claim, its place and its cause, and is short. Few end-to-end tests that failed are asked again, and no others.
exec python3 - "${SOURCE_ROOT:?the project}/test/run" <<'PY'
import contextlib
import io
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
BRIEFS = [
    # what was printed, standard error, exit status, why it was ended, what is to be said of it
    ("1..2\nok 1 - a\nnot ok 2 - b\n# 0x1 != 0x2\n# x.c:7: error: Failure!\n", "", 1, None, ["not ok 2 - b", "  0x1 != 0x2", "  x.c:7: error: Failure!"]),
    ("not ok 1 - c\n# t.sh:9\n# out: o\n" + "".join(f"# err: {n}\n" for n in range(9)) + "1..1\n", "", 1, None, ["not ok 1 - c", "  t.sh:9", "  err: 6", "  err: 7", "  err: 8"]),
    ("1..1\nnot ok 1 - d\n", "ERROR: said\nmore\n", 1, None, ["not ok 1 - d", "ERROR: said", "more"]),
    ("1..2\nok 1 - a\n", "==7==ERROR: AddressSanitizer: of f\n  #0 f\nSUMMARY: f\n", -6, "died of SIGABRT",
     ["died of SIGABRT", "==7==ERROR: AddressSanitizer: of f", "  #0 f", "SUMMARY: f", "  last printed: ok 1 - a"]),
    ("ok 1 - a\n", "x\ny\n", -9, "timed out after 9 s", ["timed out after 9 s", "  last printed: ok 1 - a", "  x", "  y"]),
    ("1..1\nok 1 - a # SKIP why\nnot ok 2 # SKIP\n", "", 0, None, ["planned 1 tests, ran 2", "  last printed: not ok 2 # SKIP"]),
]
print(f"1..{len(CASES) + len(BRIEFS) + 7}")
for i, (text, status, why, expected) in enumerate(CASES, 1):
    c = run.read_tap(text, status, why)
    got = (c.passed, c.failed, c.skipped)
    said = repr(text).replace("#", "(hash)")  # or this line would be taken for a skipped test itself
    print(f"{'ok' if got == expected else 'not ok'} {i} - {said} and {status} are {expected}" + ("" if got == expected else f", not {got}"))
for i, (text, errors, status, why, expected) in enumerate(BRIEFS, len(CASES) + 1):
    c = run.read_tap(text, status, why)
    got = run.brief_of(c, text, errors)
    print(f"{'ok' if got == expected else 'not ok'} {i} - what is told of case {i - len(CASES)}" + ("" if got == expected else f" is {got}"))
failed = []
for n in range(12):
    failed.append((f"e2e/{n}", run.Counts()))
    failed[-1][1].brief = [f"not ok {k} - " + "é" * 300 for k in range(40)]
with contextlib.redirect_stdout(io.StringIO()) as shown:
    run.print_brief(failed)
lines = shown.getvalue().splitlines()
good = len(lines) <= 30 and len(shown.getvalue().encode()) <= 2300 and all(any(l.startswith(f"FAILED e2e/{n}:") for l in lines) for n in range(12))
print(f"{'ok' if good else 'not ok'} {len(CASES) + len(BRIEFS) + 1} - the last lines of a run name all that failed, and are few")
def asked_again(names, good, crashed=False, then="1..1\nok 1\n"):
    """What is asked again of these that failed, and what is found unsteady, when those in `good` say `then` the second time."""
    asked = []
    def ask(test):
        asked.append(test[0])
        return test[0], run.read_tap(then if test[0] in good else "1..1\nnot ok 1\n", 0, None)
    failed = [(name, run.read_tap("1..1\nnot ok 1\n", 1, None)) for name in names]
    for _, c in failed:
        c.crashed = crashed
    found = run.unsteady_among(failed, [(name,) for name in names], ask)
    return asked, [name for name, _, _ in found]
AGAIN = [
    ("one that passes then is unsteady, one that does not has failed", ["plain x", "e2e/a", "e2e/b"], ["e2e/b"], (["e2e/a", "e2e/b"], ["e2e/b"])),
    ("a unit test is not asked again", ["plain x"], ["plain x"], ([], [])),
    ("when many fail, none is asked again", ["e2e/a", "e2e/b", "e2e/c"], ["e2e/a"], ([], [])),
    ("one that crashed is not asked again", ["e2e/a"], ["e2e/a"], ([], []), True),
    ("one that skips then has failed", ["e2e/a"], ["e2e/a"], (["e2e/a"], []), False, "1..0 # skip no server\n"),
]
for i, (what, names, good, expected, *how) in enumerate(AGAIN, len(CASES) + len(BRIEFS) + 2):
    print(f"{'ok' if asked_again(names, good, *how) == expected else 'not ok'} {i} - {what}")
# Lines of real crashes, as the shell, the C library and the sanitizers write them.
SAID = ["x.sh: line 3: 77 Segmentation fault      \"$P\"", "# err: ==7==ERROR: AddressSanitizer: of f", "p: a.c:1: f: Assertion `x' failed.", "a.c:1:2: runtime error: x"]
good = all(run.CRASH.search(l) for l in SAID) and not run.CRASH.search("x.sh: line 3: 77 Killed   the transaction was aborted")
print(f"{'ok' if good else 'not ok'} {len(CASES) + len(BRIEFS) + len(AGAIN) + 2} - a crash is known by what is said of it")
PY
