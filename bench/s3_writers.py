#!/usr/bin/env python3
"""Writers and a collector against one bucket: from one to eight hosts back up at the same time, over and over, while another one
prunes; then everything is decoded. Reports what the writers got through together and to what ratio of one writer, the CPU seconds of
all runs and per GB, runs that failed or gave up to others, how often a commit lost the race for an entry of the log and was tried
again, and whether everything decodes and comes back as it was. Never asserts.

  bench/s3_writers.py [--dir DIR] [--servers versitygw,minio] [--late 0] [--writers 1,2,4,8] [--rounds 4] [--mb 24]"""

import argparse, json, os, resource, shutil, subprocess, sys, time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

sys.dont_write_bytecode = True
from data import Text
from engines import ENV, HERE
from s3 import KEYS, Server


class Fleet:
    def __init__(self, program, place, server, bucket, writers):
        self.program, self.place, self.server, self.bucket, self.writers = program, place, server, bucket, writers
        self.secret = place / "writers.key"
        self.secret.unlink(missing_ok=True)

    def config(self, host):
        """A host has a cache of its own, and a folder that it backs up as a surface of its own."""
        (self.place / host / "data").mkdir(parents=True)
        surfaces = "\n".join(f"  s{i}: {{ kind: files, class: truth, paths: [{self.place / f'host{i}' / 'data'}] }}" for i in range(self.writers))
        (self.place / host / "proofkeep.yaml").write_text(f"""version: 1
platform: fleet
secrets: {{ repository-key: {{ file: {self.secret} }} }}
repositories: {{ main: {{ url: "s3://{self.bucket}/f?endpoint=http://{self.server.host}", encrypt: {{ key: repository-key, kind: key_file }} }} }}
surfaces:
{surfaces}
environments: {{ bench: {{ repository: main, policy: {{ rpo: none, rto: none, verify: decode, retention: {{ keep: {{ last: 1 }} }} }} }} }}
""")

    def run(self, host, verb, *argv):
        """Exit status, what the result line says, and everything that was printed."""
        home = self.place / host
        p = subprocess.run([self.program, verb, "--config", home / "proofkeep.yaml", "--cache-dir", home / "cache", "--json", *argv],
                           env={**ENV, **KEYS, "HOME": str(home)}, capture_output=True, text=True)
        lines = [json.loads(line) for line in p.stdout.splitlines() if line.startswith("{")]
        return p.returncode, lines[-1] if lines else {}, p.stdout + p.stderr


def work(fleet, i, o):
    """One writer: each round changes a third of its data and backs up."""
    host, text, stored, failures = f"host{i}", Text(100 + i, 4_000_000), 0, []
    data = fleet.place / host / "data"
    for n in range(o.rounds):
        for part in range(3):
            if n == 0 or part == n % 3:
                (data / f"{part}").write_bytes(text.block(o.mb * 166_000) + os.urandom(o.mb * 166_000))
        status, result, said = fleet.run(host, "backup", f"bench/s{i}")
        if status:
            failures.append(said[-600:])
        stored += sum(f.stat().st_size for f in data.iterdir()) if n == 0 else (data / str(n % 3)).stat().st_size
        status, _, said = fleet.run(host, "verify", f"bench/s{i}@latest", "--level", "present")
        if status:
            failures.append(said[-600:])
    return stored, failures


def measure(program, server, writers, o, base):
    place, bucket = o.dir / "writers", f"writers-{writers}"
    shutil.rmtree(place, ignore_errors=True)
    place.mkdir()
    server.client("mb", bucket)
    fleet = Fleet(program, place, server, bucket, writers)
    for i in range(writers):
        fleet.config(f"host{i}")
    fleet.config("collector")
    status, _, said = fleet.run("host0", "init", "--repository", "main")
    if status:
        sys.exit(said)
    server.order("count")
    entries = len(server.client("ls", bucket, "f/log/").splitlines())
    done, prunes = False, {"runs": 0, "busy": 0, "held": 0, "failed": []}

    def collect():
        while not done:
            for i in range(writers):
                status, _, said = fleet.run("collector", "prune", f"bench/s{i}", "--grace", "0s")
                prunes["runs"] += 1
                prunes["held"] += status == 5
                prunes["busy"] += status == 11
                if status not in (0, 5, 10, 11):
                    prunes["failed"].append(said[-600:])
            time.sleep(0.05)

    def cpu():
        u = resource.getrusage(resource.RUSAGE_CHILDREN)
        return u.ru_utime + u.ru_stime

    began, used = time.monotonic(), cpu()
    with ThreadPoolExecutor(writers + 1) as pool:
        collector = pool.submit(collect)
        results = [f.result() for f in [pool.submit(work, fleet, i, o) for i in range(writers)]]
        seconds = time.monotonic() - began
        done = True
        collector.result()
    requests, used = server.order("count"), cpu() - used
    races = requests.get("entries", 0) - (len(server.client("ls", bucket, "f/log/").splitlines()) - entries)
    shutil.rmtree(place / "collector" / "cache", ignore_errors=True)
    status, result, said = fleet.run("collector", "verify", "--all", "--level", "decode")
    wrong = 0
    for i in range(writers):
        out = place / f"out{i}"
        code, _, why = fleet.run("collector", "restore", f"bench/s{i}@latest", "--into", str(out))
        data = place / f"host{i}" / "data"
        there = [p for p in out.rglob("0") if p.is_file()] if code == 0 else []
        wrong += not there or any((data / str(n)).read_bytes() != (there[0].parent / str(n)).read_bytes() for n in range(3))
    puts = {k: requests.get(k, 0) for k in ("GET", "HEAD", "LIST", "PUT", "POST", "DELETE")}
    failures = [f for _, fs in results for f in fs] + prunes["failed"]
    mb = sum(n for n, _ in results) / 1e6
    before = base or mb / seconds
    print(f"{writers:>8}{seconds:>9.1f} s{mb / seconds:>12.1f} MB/s{mb / seconds / before:>7.2f}{used:>8.1f} s{used / mb * 1000:>7.1f}{races:>7}{len([f for _, fs in results for f in fs]):>10}{prunes['runs']:>9}"
          f"{prunes['busy']:>7}{len(prunes['failed']):>8}{'yes' if status == 0 else 'NO':>9}{writers - wrong:>6} of {writers}  " +
          " ".join(f"{k} {n}" for k, n in puts.items()), flush=True)
    for f in failures[:3]:
        print(f"    {f}")
    if status:
        print(said[-1500:])
    shutil.rmtree(place)
    return {"seconds": seconds, "mb_per_s": mb / seconds, "failures": len(failures), "prunes": prunes["runs"], "busy": prunes["busy"],
            "cpu_s": used, "lost_races": races, "verified": status == 0, "restored": writers - wrong, "requests": puts}


def main():
    a = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    a.add_argument("--dir", type=Path, default=Path(os.environ.get("BENCH_DIR", "/var/tmp/proofkeep-bench")))
    a.add_argument("--program", type=Path, default=HERE.parent / "build" / "proofkeep")
    a.add_argument("--servers", default="versitygw,minio")
    a.add_argument("--late", type=float, default=0)
    a.add_argument("--writers", default="1,2,4,8")
    a.add_argument("--rounds", type=int, default=4)
    a.add_argument("--mb", type=int, default=24)
    o = a.parse_args()
    os.umask(0o077)
    o.dir.mkdir(parents=True, exist_ok=True)
    o.dir, results = o.dir.resolve(), {}
    for kind in o.servers.split(","):
        try:
            with Server(kind, o.dir / "s3-server") as server:
                server.order(f"late {o.late}")
                print(f"\n{kind}, {o.late:g} ms late; load {os.getloadavg()[0]:.1f}\n{'writers':>8}{'time':>11}{'together':>17}{'ratio':>7}{'CPU':>10}{'s/GB':>7}{'races':>7}{'failed':>10}"
                      f"{'prunes':>9}{'busy':>7}{'failed':>8}{'decodes':>9}  restored")
                results[kind] = {}
                for n in map(int, o.writers.split(",")):
                    first = next(iter(results[kind].values()), None)
                    results[kind][n] = measure(o.program.resolve(), server, n, o, first and first["mb_per_s"])
        except LookupError as why:
            print(f"{kind} is left out: {why}", file=sys.stderr)
    (o.dir / "s3_writers.json").write_text(json.dumps(results, indent=1))


if __name__ == "__main__":
    main()
