"""Every source file passes clang, with the warnings that the build has turned into errors: clang_test.py BUILD. Prints TAP."""

import json, os, shlex, shutil, subprocess, sys
from concurrent.futures import ThreadPoolExecutor

WITH_VALUE = {"-o", "-MF", "-MQ", "-MT"}


def command(entry):
    """Of the compilation, what a look at the file needs."""
    words, out, skip = shlex.split(entry["command"]), ["clang", "-fsyntax-only"], False
    for w in words[next(i for i, w in enumerate(words) if w.startswith("-")) :]:
        if not skip and w not in WITH_VALUE and w not in ("-MD", "-c"):
            out.append(w)
        skip = w in WITH_VALUE
    return out


def look(entry):
    r = subprocess.run(command(entry), cwd=entry["directory"], capture_output=True, text=True)
    return entry["file"], r.returncode, r.stderr


def main():
    if not shutil.which("clang"):
        print("1..0 # SKIP there is no clang")
        return 0
    with open(os.path.join(sys.argv[1], "compile_commands.json")) as f:
        once = {e["file"]: e for e in json.load(f) if e["file"].endswith(".c")}
    with ThreadPoolExecutor(int(os.environ.get("JOBS", os.cpu_count() or 1))) as pool:
        bad = [(file, err) for file, status, err in pool.map(look, once.values()) if status]
    for file, err in bad:
        print(f"# {file}")
        print(*(f"# {line}" for line in err.splitlines()[:20]), sep="\n")
    print(f"{'not ' if bad or not once else ''}ok 1 - clang has nothing against {len(once)} files")
    print("1..1")
    return 1 if bad or not once else 0


sys.exit(main())
