#!/usr/bin/env python3
"""OpenSearch: a backup and a restore against elasticdump (npm) doing the same, second backups, memory.

bench/search.py --proofkeep BUILD/proofkeep [--documents N] [--dumped N] [--work FOLDER]
The server is its own, on the loopback address. elasticdump may be given fewer documents (--dumped), as it takes long; rates are
compared. What is timed is whole processes; peers run with 1,000 documents a request.
"""
import argparse
import json
import os
import pathlib
import random
import shutil
import subprocess
import sys
import tempfile
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


def timed(command, **how):
    """Wall seconds and the peak of memory in MiB."""
    start = time.monotonic()
    p = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, **how)
    out = p.stdout.read()
    _, status, usage = os.wait4(p.pid, 0)
    if status:
        sys.exit(f"{command}: {out[-2000:]}")
    return time.monotonic() - start, usage.ru_maxrss / 1024, out


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


def main():
    a = argparse.ArgumentParser()
    a.add_argument("--proofkeep", required=True)
    a.add_argument("--documents", type=int, default=1000000)
    a.add_argument("--dumped", type=int)
    a.add_argument("--work")
    o = a.parse_args()
    dumped = o.dumped or o.documents
    work = pathlib.Path(tempfile.mkdtemp(dir=o.work))
    work.chmod(0o755)
    servers = HERE / "tools/servers/search.sh"
    dump = CACHE / "elasticdump/node_modules/.bin/elasticdump"
    if not dump.exists():
        dump.parent.parent.parent.mkdir(parents=True, exist_ok=True)
        run(["npm", "install", "--silent", "--no-audit", "--no-fund", "elasticdump"], cwd=CACHE / "elasticdump")
    _, url = run([servers, "start", "opensearch", "2.19.6", work / "server"], env={**os.environ, "SEARCH_HEAP": "1500m"})
    url = url.strip().splitlines()[-1]
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
        def pk(*words):
            return timed([o.proofkeep, "--config", str(work / "proofkeep.yaml"), *words], env={**os.environ, "XDG_CACHE_HOME": str(work / "cache")})
        pk("init", "--repository", "main")
        wall, peak, _ = pk("backup", "lab/s")
        ours = o.documents / wall
        print(f"backup: {o.documents} documents in {wall:.1f} s, {ours:,.0f}/s, {peak:.0f} MiB")
        wall, peak, out = pk("backup", "lab/s")
        print(f"second backup: {wall:.1f} s, {out.strip().splitlines()[-1]}")
        wall, peak, _ = timed([dump, f"--input={url}/small", f"--output={work}/dump.ndjson", "--type=data", "--limit=1000", "--quiet"])
        theirs = dumped / wall
        print(f"elasticdump out: {dumped} documents in {wall:.1f} s, {theirs:,.0f}/s, {peak:.0f} MiB; backup is {ours / theirs:.1f} times as fast")
        wall, peak, _ = pk("restore", "lab/s@latest")
        ours = o.documents / wall
        print(f"restore, compared at its end: {wall:.1f} s, {ours:,.0f}/s, {peak:.0f} MiB")
        make(url, "back")
        wall, peak, _ = timed([dump, f"--input={work}/dump.ndjson", f"--output={url}/back", "--type=data", "--limit=1000", "--quiet"])
        theirs = dumped / wall
        print(f"elasticdump in: {dumped} documents in {wall:.1f} s, {theirs:,.0f}/s; restore is {ours / theirs:.1f} times as fast")
    finally:
        run([servers, "stop", work / "server"])
        shutil.rmtree(work, ignore_errors=True)


main()
