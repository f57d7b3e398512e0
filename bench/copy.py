#!/usr/bin/env python3
"""Copies one repository into another with proofkeep and with restic, side by side: time, CPU, memory, and a second run that
finds nothing new.

  copy.py PROOFKEEP RESTIC FOLDER [MIB]      FOLDER, empty, takes everything; MIB of data, half text, half random (1600)"""
import os
import random
import subprocess
import sys
import time

proofkeep, restic, top = (os.path.abspath(p) for p in sys.argv[1:4])
mib = int(sys.argv[4]) if len(sys.argv) > 4 else 1600
os.makedirs(top + "/source")
os.chdir(top)
env = dict(os.environ, XDG_CACHE_HOME=top + "/cache", RESTIC_PASSWORD="bench", RESTIC_FROM_PASSWORD="bench")


def run(*command):
    """Seconds, CPU seconds, MiB of memory."""
    begun = time.monotonic()
    child = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env=env)
    _, status, used = os.wait4(child.pid, 0)
    if status:
        sys.exit(f"copy.py: {' '.join(command)} failed")
    return time.monotonic() - begun, used.ru_utime + used.ru_stime, used.ru_maxrss // 1024


random.seed(3)
words = ["%x" % random.getrandbits(40) for _ in range(30000)]
with open("source/text", "w") as f:
    while f.tell() < mib << 19:
        f.write(" ".join(random.choices(words, k=20000)) + "\n")
with open("source/random", "wb") as f:
    for _ in range(mib // 2):
        f.write(random.randbytes(1 << 20))
run(proofkeep, "init", "-r", "pk", "--key-file", "pk.key", "--config", "none.yaml")
run(proofkeep, "backup", "-r", "pk", "--key-file", "pk.key", "--files", "source")
run(restic, "init", "-r", "rs")
run(restic, "backup", "-r", "rs", "source")
for turn in range(3):
    run(proofkeep, "init", "-r", f"pk{turn}", "--key-file", f"pk{turn}.key", "--copy-of", "pk", "--from-key-file", "pk.key")
    run(restic, "init", "-r", f"rs{turn}", "--from-repo", "rs", "--copy-chunker-params")
    ways = {
        "proofkeep": (proofkeep, "copy", "--all", "-r", "pk", "--key-file", "pk.key", "--to", f"pk{turn}", "--to-key-file", f"pk{turn}.key"),
        "restic": (restic, "copy", "-r", f"rs{turn}", "--from-repo", "rs"),
    }
    for name, command in ways.items():
        first, again = run(*command), run(*command)
        print(f"{name:9}  first {first[0]:6.2f} s, {first[1]:6.2f} s CPU, {first[2]:4} MiB   again {again[0]:5.2f} s", flush=True)
    subprocess.run(["rm", "-rf", f"pk{turn}", f"rs{turn}"], check=True)
