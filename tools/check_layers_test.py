#!/usr/bin/env python3
"""check_layers.py refuses each kind of breach, and only those. Prints TAP."""
import pathlib
import subprocess
import sys
import tempfile

CHECK = pathlib.Path(__file__).with_name("check_layers.py")
GOOD = {
    "src/base/b.h": '#ifndef B_H\n#define B_H\n#include <stddef.h>\nvoid *b_get(size_t n);\n#endif\n',
    "src/base/b.c": '#include "base/b.h"\n#include <stdlib.h>\nvoid *b_get(size_t n) { return malloc(n); }\n',
    "src/surface/s.h": "#ifndef S_H\n#define S_H\n#endif\n",
    "src/surface/one/one.h": '#ifndef ONE_H\n#define ONE_H\n#include "surface/s.h"\n#include "base/b.h"\n#endif\n',
    "src/surface/two/two.h": "#ifndef TWO_H\n#define TWO_H\n#endif\n",
    "src/work/w.c": '#include "surface/one/one.h"\n#include "base/b.h"\n/* malloc(1) and #include "cli/c.h" */\n'
                    'const char *w = "free(x) // open(y)";\nvoid w_do(void) { b_get(1); /* read(1) */ }\n',
}
CASES = [
    ("a clean tree passes", {}, None),
    ("a later layer", {"src/base/x.c": '#include "work/w.h"\n'}, "src/base/x.c:1: base includes \"work/w.h\", and work comes"),
    ("the store in a surface", {"src/surface/one/x.c": '\n#include "store/store.h"\n'},
     "src/surface/one/x.c:2: surface includes \"store/store.h\", and may know nothing of store"),
    ("another driver", {"src/surface/one/x.c": '#include "surface/two/two.h"\n'}, "the driver surface/one includes"),
    ("an unknown layer", {"src/odd/x.c": ""}, "'odd' is no layer"),
    ("climbing out", {"src/work/x.c": '#include "../base/b.h"\n'}, "climbs out of its folder"),
    ("a header that leans on others", {"src/work/x.h": "size_t x_get(void);\n"}, "src/work/x.h:1: does not compile alone"),
    ("malloc past the seam", {"src/work/x.c": "\nvoid *p(void) { return malloc (1); }\n"},
     "src/work/x.c:2: malloc() goes past the I/O seam"),
    ("free as a clean-up", {"src/work/x.c": "CLEANUP(free) char *p;\n"}, "free() goes past"),
    ("fopen behind a comment", {"src/cli/x.c": "/* two\nlines */ f = fopen(a, b);\n"}, "src/cli/x.c:2: fopen() goes past"),
    ("a stated exception", {"src/work/x.c": "int p(void) { return fork(); } /* seam: the supervisor's own */\n"}, None),
    ("an exception without a reason", {"src/work/x.c": "int p(void) { return fork(); } /* seam: */\n"}, "fork() goes past"),
    ("members and longer names", {"src/work/x.c": "int p(void) { t->read(1); t.open(2); seam_read(3); my_free(4); }\n"}, None),
]


def run(extra):
    with tempfile.TemporaryDirectory() as folder:
        root = pathlib.Path(folder)
        for name, text in {**GOOD, **extra}.items():
            path = root / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text, encoding="utf-8")
        done = subprocess.run([sys.executable, str(CHECK), "--root", folder, "--flag=-Wall", "--flag=-Werror"],
                              capture_output=True, text=True)
        return done.returncode, done.stderr


def main():
    print(f"1..{len(CASES)}")
    failed = 0
    for number, (claim, extra, want) in enumerate(CASES, 1):
        status, said = run(extra)
        good = status == 0 and not said if want is None else status == 1 and want in said and "1 broken rules" in said
        failed += not good
        print(f"{'ok' if good else 'not ok'} {number} - {claim}")
        if not good:
            print("".join(f"# {line}\n" for line in said.splitlines()), end="")
    sys.exit(1 if failed else 0)


if __name__ == "__main__":
    main()
