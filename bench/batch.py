#!/usr/bin/env python3
"""Commands one after the other, as one measured thing: seconds until the last has ended, CPU seconds and peak MiB of all of them and of
what they left running in the background, which is waited for. One line of JSON. Linux only.

  batch.py COMMANDS.json     a list of lists of words"""

import ctypes, json, os, resource, subprocess, sys, time

PR_SET_CHILD_SUBREAPER = 36


def main():
    commands = json.load(open(sys.argv[1]))
    ctypes.CDLL(None).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    slowest, began = 0, time.monotonic()
    for argv in commands:
        start = time.monotonic()
        p = subprocess.run(argv, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
        slowest = max(slowest, time.monotonic() - start)
        if p.returncode:
            sys.exit(f"{' '.join(argv)}\nended with {p.returncode}\n{p.stderr.decode(errors='replace')[-2000:]}")
    wall = time.monotonic() - began
    while True:
        try:
            os.wait()
        except ChildProcessError:
            break
    use = resource.getrusage(resource.RUSAGE_CHILDREN)
    print(json.dumps({"wall": wall, "slowest": slowest, "user": use.ru_utime, "sys": use.ru_stime, "peak": use.ru_maxrss / 1024}))


main()
