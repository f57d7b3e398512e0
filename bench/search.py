#!/usr/bin/env python3
"""OpenSearch: a backup and a restore against elasticdump (npm) doing the same, second backups, memory.

bench/search.py --proofkeep BUILD/proofkeep [--documents N] [--dumped N] [--rounds N] [--most SECONDS] [--work FOLDER]
The server is its own, on the loopback address, with the JVM's own compilers and a heap of 1500 MiB. elasticdump runs as it is, and as
its manual tunes it (--limit=10000, --noRefresh), with a heap of 1 GiB; as it is it is given fewer documents (--dumped, by default a
tenth), as it takes long: rates are compared. What is not done after so many seconds (--most) is ended, and its rate is of what it had
done by then. Rounds are interleaved. What is timed is whole processes; CPU seconds are of the program and of the server while it ran.
"""
import argparse
import json
import os
import pathlib
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
import urllib.request

HERE = pathlib.Path(__file__).resolve().parent.parent
CACHE = pathlib.Path(os.environ.get("PROOFKEEP_TEST_CACHE", f"/var/tmp/proofkeep-test-{os.getuid()}"))


def run(command, **how):
    start = time.monotonic()
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, **how)
    if done.returncode:
        sys.exit(f"{command}: {done.stdout[-2000:]}")
    return time.monotonic() - start, done.stdout


def server_cpu(work):
    fields = pathlib.Path(f"/proc/{(work / 'server/pid').read_text().strip()}/stat").read_text().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def timed(what, n, work, command, most=None, so_far=None, **how):
    """Documents a second; says wall and CPU seconds and the peak of memory in MiB. so_far(): how many there are when it is ended."""
    before, start = server_cpu(work), time.monotonic()
    with open(work / "said", "w+") as said:
        p = subprocess.Popen(command, stdout=said, stderr=subprocess.STDOUT, text=True, **how)
        ended = threading.Timer(most, p.kill) if so_far else None
        if ended:
            ended.start()
        _, status, usage = os.wait4(p.pid, 0)
        wall = time.monotonic() - start
        if ended:
            ended.cancel()
        said.seek(0)
        out = said.read()
    if status == signal.SIGKILL and so_far and wall >= most:
        n, what = so_far(), what + f", ended after {most} s"
    elif status:
        sys.exit(f"{command}: {out[-2000:]}")
    own, theirs = usage.ru_utime + usage.ru_stime, server_cpu(work) - before
    print(f"{what}: {n} documents in {wall:.1f} s, {n / wall:,.0f}/s; CPU {own:.1f} s, the server {theirs:.1f} s; "
          f"{usage.ru_maxrss / 1024:.0f} MiB", flush=True)
    return n / wall, out


def fill(url, index, n):
    random.seed(5)
    words = [f"word{i}" for i in range(2000)]
    for at in range(0, n, 5000):
        lines = []
        for i in range(at, min(n, at + 5000)):
            lines.append(json.dumps({"index": {"_id": f"doc-{i:08d}"}}))
            lines.append(json.dumps({"n": i, "title": " ".join(random.choices(words, k=6)), "body": " ".join(random.choices(words, k=30)),
                                     "tags": random.choices(words, k=3), "price": random.random() * 100}))
        q = urllib.request.Request(f"{url}/{index}/_bulk", data=("\n".join(lines) + "\n").encode(), headers={"content-type": "application/x-ndjson"})
        assert not json.load(urllib.request.urlopen(q, timeout=300))["errors"]
    urllib.request.urlopen(urllib.request.Request(f"{url}/{index}/_refresh", method="POST"))


def make(url, index):
    body = {"settings": {"number_of_shards": 1, "number_of_replicas": 0},
            "mappings": {"properties": {"n": {"type": "integer"}, "price": {"type": "double"}, "tags": {"type": "keyword"}}}}
    q = urllib.request.Request(f"{url}/{index}", data=json.dumps(body).encode(), method="PUT", headers={"content-type": "application/json"})
    urllib.request.urlopen(q)


def count(url, index):
    urllib.request.urlopen(urllib.request.Request(f"{url}/{index}/_refresh", method="POST"), timeout=300)
    return json.load(urllib.request.urlopen(f"{url}/{index}/_count", timeout=300))["count"]


def remove(url, pattern):
    found = json.load(urllib.request.urlopen(f"{url}/{pattern}/_settings"))
    for index in found:
        urllib.request.urlopen(urllib.request.Request(f"{url}/{index}", method="DELETE"))


def main():
    a = argparse.ArgumentParser()
    a.add_argument("--proofkeep", required=True)
    a.add_argument("--documents", type=int, default=1000000)
    a.add_argument("--dumped", type=int)
    a.add_argument("--rounds", type=int, default=1)
    a.add_argument("--most", type=int, default=240)
    a.add_argument("--work")
    o = a.parse_args()
    dumped = o.dumped or max(1, o.documents // 10)
    work = pathlib.Path(tempfile.mkdtemp(dir=o.work))
    work.chmod(0o755)
    servers = HERE / "tools/servers/search.sh"
    dump = CACHE / "elasticdump/node_modules/.bin/elasticdump"
    if not dump.exists():
        dump.parent.parent.parent.mkdir(parents=True, exist_ok=True)
        run(["npm", "install", "--silent", "--no-audit", "--no-fund", "elasticdump"], cwd=CACHE / "elasticdump")
    _, url = run([servers, "start", "opensearch", "2.19.6", work / "server"], env={**os.environ, "SEARCH_HEAP": "1500m", "SEARCH_JIT": "full"})
    url = url.strip().splitlines()[-1]
    rates = {}
    try:
        make(url, "big")
        fill(url, "big", o.documents)
        make(url, "small")
        fill(url, "small", dumped)
        (work / "proofkeep.yaml").write_text(f"""version: 1
platform: bench
secrets:
  k: {{ file: {work}/key }}
repositories:
  main: {{ url: {work}/repo, encrypt: {{ key: k, kind: key_file }} }}
surfaces:
  s: {{ kind: search, class: runtime, cluster: {{ url: '{url}', indices: [big] }} }}
environments:
  lab: {{ repository: main }}
""")
        def pk(what, *words):
            rate, out = timed(what, o.documents, work, [o.proofkeep, "--config", str(work / "proofkeep.yaml"), *words],
                              env={**os.environ, "XDG_CACHE_HOME": str(work / "cache")})
            rates.setdefault(what, []).append(rate)
            return out
        def ed(what, n, so_far, *words):
            rates.setdefault(what, []).append(timed(what, n, work, [dump, "--type=data", "--quiet", *words], o.most, so_far,
                                                    env={**os.environ, "NODE_OPTIONS": "--max-old-space-size=1024"})[0])
        def lines(path):
            with open(path, "rb") as f:
                return sum(piece.count(b"\n") for piece in iter(lambda: f.read(1 << 20), b""))
        ways = {"elasticdump": (dumped, "small", []), "elasticdump --limit=10000": (o.documents, "big", ["--limit=10000"])}
        for _ in range(o.rounds):
            for folder in ("repo", "cache"):
                shutil.rmtree(work / folder, ignore_errors=True)
            (work / "key").unlink(missing_ok=True)
            run([o.proofkeep, "--config", str(work / "proofkeep.yaml"), "init", "--repository", "main"],
                env={**os.environ, "XDG_CACHE_HOME": str(work / "cache")})
            pk("backup", "backup", "lab/s")
            for name, (n, index, flags) in ways.items():
                (work / index).unlink(missing_ok=True)
                ed(f"{name} out", n, lambda: lines(work / index), f"--input={url}/{index}", f"--output={work / index}", *flags)
            print(pk("second backup", "backup", "lab/s").strip().splitlines()[-1])
            pk("restore, compared at its end", "restore", "lab/s@latest")
            for name, (n, index, flags) in ways.items():
                make(url, "back")
                n = lines(work / index)
                ed(f"{name} in", n, lambda: count(url, "back"), f"--input={work / index}", f"--output={url}/back", *flags, *(["--noRefresh"] if flags else []))
                remove(url, "back")
            remove(url, "big-restored-*")
        best = {k: max(v) for k, v in rates.items()}
        for ours, way in (("backup", "out"), ("restore, compared at its end", "in")):
            for name in ways:
                print(f"{ours}: {best[ours] / best[f'{name} {way}']:.1f} times as fast as {name}")
    finally:
        run([servers, "stop", work / "server"])
        shutil.rmtree(work, ignore_errors=True)


main()
