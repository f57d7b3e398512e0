#!/usr/bin/env python3
"""proofkeep beside its peers: the same tree, the same disk, one run. Reports seconds, CPU seconds, peak memory and stored bytes,
and ratios to the fastest (or smallest) peer. Never asserts.

  bench/run.py [--dir DIR] [--only tree|stream|growth|delta] [--peers A,B,…] [--repeat N]

Every engine encrypts; compression is zstd 1 (bupstash, borg), zstd-fastest (kopia), the default (restic, rustic, proofkeep)."""

import argparse, hashlib, json, os, random, shutil, subprocess, sys, time
from pathlib import Path

HERE = Path(__file__).resolve().parent
ENV = {"PATH": os.environ["PATH"], "HOME": os.environ.get("HOME", "/"), "LANG": "C.UTF-8"}


def run(argv, env=None, stdin=None, cwd=None):
    """Wall seconds, CPU seconds (user, system), peak MiB of one command; its output only when it fails."""
    began = time.monotonic()
    with open(os.devnull) as null:
        p = subprocess.Popen([str(a) for a in argv], env={**ENV, **(env or {})}, stdin=stdin or null,
                             stdout=subprocess.PIPE, stderr=subprocess.STDOUT, cwd=cwd)
        out = p.stdout.read()
        _, status, use = os.wait4(p.pid, 0)
        p.returncode = os.waitstatus_to_exitcode(status)
    wall = time.monotonic() - began
    if p.returncode:
        sys.exit(f"{' '.join(map(str, argv))}\nended with {p.returncode}\n{out.decode(errors='replace')[-2000:]}")
    return {"wall": wall, "user": use.ru_utime, "sys": use.ru_stime, "peak": use.ru_maxrss / 1024}


def stored(path):
    return sum(f.stat().st_size for f in Path(path).rglob("*") if f.is_file() and not f.is_symlink())


class Engine:
    def __init__(self, name, program, place):
        self.name, self.program, self.place = name, program, place
        self.repo, self.cache = place / name, place / f"{name}-cache"
        for p in (self.repo, self.cache):
            shutil.rmtree(p, ignore_errors=True)
        self.cache.mkdir(parents=True)
        self.env = {"XDG_CACHE_HOME": str(self.cache), "HOME": str(self.cache)}
        self.secret = place / f"{name}.key"
        self.secret.unlink(missing_ok=True)

    def go(self, *argv, **kw):
        return run([self.program, *argv], env=self.env, **kw)


class Proofkeep(Engine):
    def init(self):
        self.at = ["-r", self.repo, "--key-file", self.secret, "--cache-dir", self.cache]
        self.go("init", *self.at, "--config", self.cache / "proofkeep.yaml")

    def backup(self, tree): return self.go("backup", *self.at, "--files", tree)
    def rescan(self, tree): return self.go("backup", *self.at, "--full-read", "--files", tree)
    def restore(self, out): return self.go("restore", *self.at, "local/files", "--into", out)
    def check(self): return self.go("verify", *self.at, "--all", "--level", "decode")


class Bupstash(Engine):
    def init(self):
        self.env |= {"BUPSTASH_REPOSITORY": str(self.repo), "BUPSTASH_KEY": str(self.secret)}
        self.go("init", "-r", self.repo)
        self.go("new-key", "-o", self.secret)

    def backup(self, tree): return self.go("put", "-q", "--compression", "zstd:1", "--send-log", self.cache / "log", "--exclude", "/nothing", "name=t", tree)
    def rescan(self, tree):
        (self.cache / "log").unlink()
        return self.go("put", "-q", "--compression", "zstd:1", "--no-stat-caching", "name=t", tree)

    def restore(self, out):
        ids = subprocess.run([self.program, "list", "--format", "jsonl1"], env={**ENV, **self.env}, capture_output=True, check=True)
        last = json.loads(ids.stdout.splitlines()[-1])
        out.mkdir()
        return self.go("restore", "-q", "--into", out, "id=" + last["id"])

    check = None


class Restic(Engine):
    def init(self):
        self.secret.write_text("bench")
        self.at = ["-r", self.repo, "--password-file", self.secret, "-q"]
        self.go("init", *self.at)

    def backup(self, tree): return self.go("backup", *self.at, tree)
    def rescan(self, tree): return self.go("backup", *self.at, "--force", tree)
    def restore(self, out): return self.go("restore", *self.at, "latest", "--target", out)
    def check(self): return self.go("check", *self.at, "--read-data")


class Rustic(Engine):
    def init(self):
        self.secret.write_text("bench")
        self.at = ["-r", self.repo, "--password-file", self.secret, "--no-progress"]
        self.go(*self.at, "init")

    def backup(self, tree): return self.go(*self.at, "backup", tree)
    def rescan(self, tree): return self.go(*self.at, "backup", "--force", tree)
    def restore(self, out): return self.go(*self.at, "restore", "latest", out)
    def check(self): return self.go(*self.at, "check", "--read-data")


class Kopia(Engine):
    def init(self):
        self.env |= {"KOPIA_PASSWORD": "bench", "KOPIA_CONFIG_PATH": str(self.cache / "config"), "KOPIA_CHECK_FOR_UPDATES": "false"}
        self.go("repository", "create", "filesystem", "--path", self.repo, "--cache-directory", self.cache / "c")
        self.go("policy", "set", "--global", "--compression", "zstd-fastest")

    def backup(self, tree): return self.go("snapshot", "create", "--no-progress", tree)
    def rescan(self, tree): return self.go("snapshot", "create", "--no-progress", "--force-hash=100", tree)

    def restore(self, out):
        s = subprocess.run([self.program, "snapshot", "list", "--json"], env={**ENV, **self.env}, capture_output=True, check=True)
        return self.go("snapshot", "restore", "--no-progress", json.loads(s.stdout)[-1]["id"], out)

    def check(self): return self.go("snapshot", "verify", "--verify-files-percent=100", "--no-progress")


class Borg(Engine):
    def init(self):
        self.env |= {"BORG_PASSPHRASE": "bench", "BORG_BASE_DIR": str(self.cache), "BORG_REPO": str(self.repo), "BORG_UNKNOWN_UNENCRYPTED_REPO_ACCESS_IS_OK": "yes"}
        self.n = 0
        self.go("init", "-e", "repokey-blake2")

    def backup(self, tree, *more):
        self.n += 1
        return self.go("create", "-C", "zstd,1", *more, f"::{self.n}", tree)

    def rescan(self, tree): return self.backup(tree, "--files-cache", "disabled")

    def restore(self, out):
        out.mkdir()
        return self.go("extract", f"::{self.n}", cwd=out)

    def check(self): return self.go("check", "--verify-data")


KINDS = {"proofkeep": Proofkeep, "bupstash": Bupstash, "restic": Restic, "rustic": Rustic, "kopia": Kopia, "borg": Borg}


def tree_make(place):
    """At least 3 GB in at least 80,000 files, copied from this machine's /usr; what is short is made up of text and noise."""
    tree = place / "tree"
    if tree.exists():
        return tree
    tree.mkdir(parents=True)
    for part in ["lib", "share", "include", "bin", "local"]:
        for entry in sorted(Path("/usr", part).iterdir()):
            if entry.is_symlink() or not entry.is_dir() or stored(tree) > 3_600_000_000:
                continue
            subprocess.run(["cp", "-a", str(entry), str(tree / f"{part}-{entry.name}")], check=False, stderr=subprocess.DEVNULL)
    words = Path("/usr/share/dict/words").read_text().split() if Path("/usr/share/dict/words").exists() else "the quick brown fox proves what it keeps".split()
    rng, files = random.Random(1), sum(1 for p in tree.rglob("*") if p.is_file())
    for n in range(max(0, 80_000 - files)):
        d = tree / "made" / str(n // 500)
        d.mkdir(parents=True, exist_ok=True)
        (d / f"{n}.txt").write_text(" ".join(rng.choices(words, k=rng.randint(50, 1500))))
    n = 0
    while stored(tree) < 3_000_000_000:
        (tree / f"big-{n}").write_bytes(rng.randbytes(20_000_000) + " ".join(rng.choices(words, k=6_000_000)).encode())
        n += 1
    return tree


def warm(tree):
    subprocess.run(f"find {tree} -type f -print0 | xargs -0 cat >/dev/null", shell=True, check=True)


def table(title, rows, columns, low="wall"):
    print(f"\n{title}\n{'':22}" + "".join(f"{c:>24}" for c in columns))
    for name, row in rows.items():
        cells = []
        for c in columns:
            v = row.get(c)
            cells.append("-" if v is None else f"{v / 1e6:.0f} MB" if not isinstance(v, dict) else f"{v['wall']:.1f} s ({v['user']:.1f}+{v['sys']:.1f}) {v['peak']:.0f}M")
        print(f"{name:22}" + "".join(f"{c:>24}" for c in cells))
    ours = rows.get("proofkeep")
    if not ours:
        return
    line = []
    for c in columns:
        peers = [r[c]["wall"] if isinstance(r[c], dict) else r[c] for n, r in rows.items() if n != "proofkeep" and r.get(c) is not None]
        mine = ours.get(c)
        line.append("-" if mine is None or not peers else f"{min(peers) / (mine['wall'] if isinstance(mine, dict) else mine):.2f} x")
    print(f"{'best peer / proofkeep':22}" + "".join(f"{c:>24}" for c in line))


def bench_tree(engines, place, repeat):
    tree = tree_make(place)
    files, size = sum(1 for p in tree.rglob("*") if p.is_file()), stored(tree)
    warm(tree)
    rows = {}
    for name, e in engines.items():
        e.init()
        row = rows[name] = {}
        row["first"] = e.backup(tree)
        row["stored"] = stored(e.repo)
        row["unchanged"] = min((e.backup(tree) for _ in range(repeat)), key=lambda r: r["wall"])
        row["rescan"] = min((e.rescan(tree) for _ in range(repeat)), key=lambda r: r["wall"])
        out = place / f"{name}-out"
        shutil.rmtree(out, ignore_errors=True)
        row["restore"] = e.restore(out)
        shutil.rmtree(out, ignore_errors=True)
        if e.check:
            row["check"] = e.check()
        shutil.rmtree(e.repo, ignore_errors=True)
        print(f"{name}: done", file=sys.stderr)
    table(f"A tree: {size / 1e9:.2f} GB in {files} files", rows, ["first", "rescan", "unchanged", "restore", "check", "stored"])
    if "proofkeep" in rows:
        for what in ("first", "rescan", "restore", "check"):
            r = rows["proofkeep"][what]
            print(f"proofkeep {what}: {(r['user'] + r['sys']) / size * 1e9:.2f} CPU seconds a GB")
    return rows


def text_block(rng, n):
    words = [hashlib.sha256(str(i).encode()).hexdigest()[: 2 + i % 9] for i in range(4000)]
    return " ".join(rng.choices(words, k=n // 6)).encode()[:n]


def bench_stream(engines, place, repeat):
    d = place / "stream"
    if not d.exists():
        d.mkdir()
        rng = random.Random(2)
        with open(d / "stream.bin", "wb") as f:
            for _ in range(64):
                f.write(text_block(rng, 44_000_000))
                f.write(rng.randbytes(20_000_000))
    warm(d)
    rows = {}
    for name, e in engines.items():
        e.init()
        row = rows[name] = {"first": e.backup(d), "stored": stored(e.repo)}
        row["rescan"] = e.rescan(d)
        out = place / f"{name}-out"
        shutil.rmtree(out, ignore_errors=True)
        row["restore"] = e.restore(out)
        shutil.rmtree(out, ignore_errors=True)
        shutil.rmtree(e.repo, ignore_errors=True)
    table(f"One stream of {stored(d) / 1e9:.2f} GB", rows, ["first", "rescan", "restore", "stored"])
    return rows


def bench_delta(engines, place, repeat):
    """A dump-like file after scattered updates: what the second backup adds."""
    d = place / "delta"
    shutil.rmtree(d, ignore_errors=True)
    d.mkdir()
    rng = random.Random(3)
    lines = [f"{i}\t".encode() + text_block(rng, rng.randint(300, 1200)) + b"\n" for i in range(400_000)]
    rows = {}
    (d / "dump").write_bytes(b"".join(lines))
    for name, e in engines.items():
        e.init()
        e.backup(d)
        rows[name] = {"before": stored(e.repo)}
    for _ in range(15_000):
        i = rng.randrange(len(lines))
        lines[i] = f"{i}\t".encode() + text_block(rng, rng.randint(300, 1200)) + b"\n"
    (d / "dump").write_bytes(b"".join(lines))
    for name, e in engines.items():
        rows[name]["second"] = e.backup(d)
        rows[name]["increment"] = stored(e.repo) - rows[name]["before"]
        shutil.rmtree(e.repo, ignore_errors=True)
    table(f"The second backup of a {stored(d) / 1e6:.0f} MB dump after 15,000 of 400,000 rows changed", rows, ["before", "second", "increment"])
    return rows


def bench_growth(engines, place, repeat):
    e = engines.get("proofkeep")
    if not e:
        return {}
    rows = {}
    rng = random.Random(4)
    print("\nHow time and memory grow (proofkeep)")
    d = place / "growth"
    for gb in (1, 2, 4, 8):
        shutil.rmtree(d, ignore_errors=True)
        d.mkdir()
        with open(d / "f", "wb") as f:
            for _ in range(gb * 16):
                f.write(text_block(rng, 32_000_000) + rng.randbytes(30_500_000))
        shutil.rmtree(e.repo, ignore_errors=True)
        e.secret.unlink(missing_ok=True)
        e.init()
        rows[f"{gb} GB"] = r = e.backup(d)
        print(f"  {gb:>8} GB in one file    {r['wall']:7.1f} s {r['user'] + r['sys']:7.1f} CPU s {r['peak']:6.0f} MiB")
    for n in (10_000, 100_000, 1_000_000):
        shutil.rmtree(d, ignore_errors=True)
        for i in range(n):
            if i % 1000 == 0:
                (d / str(i // 1000)).mkdir(parents=True)
            (d / str(i // 1000) / str(i)).write_bytes(b"%d" % (i * 7919))
        shutil.rmtree(e.repo, ignore_errors=True)
        e.secret.unlink(missing_ok=True)
        e.init()
        first, again = e.backup(d), e.backup(d)
        rows[f"{n} files"] = {"first": first, "unchanged": again}
        print(f"  {n:>8} files             {first['wall']:7.1f} s {first['peak']:6.0f} MiB, unchanged {again['wall']:6.2f} s {again['peak']:6.0f} MiB")
    shutil.rmtree(d, ignore_errors=True)
    return rows


BENCHES = {"tree": bench_tree, "stream": bench_stream, "delta": bench_delta, "growth": bench_growth}


def main():
    a = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    a.add_argument("--dir", type=Path, default=Path(os.environ.get("BENCH_DIR", "/var/tmp/proofkeep-bench")))
    a.add_argument("--program", type=Path, default=HERE.parent / "build" / "proofkeep")
    a.add_argument("--only", choices=BENCHES, action="append")
    a.add_argument("--peers", default="bupstash,restic,rustic,kopia,borg")
    a.add_argument("--repeat", type=int, default=2)
    o = a.parse_args()
    os.umask(0o077)
    o.dir.mkdir(parents=True, exist_ok=True)
    peers = o.dir / "peers"
    if o.peers:
        subprocess.run(["sh", str(HERE / "peers.sh"), str(peers)], check=False)
    results = {}
    for b in o.only or BENCHES:
        engines = {}
        for name in ["proofkeep", *filter(None, o.peers.split(","))]:
            program = o.program if name == "proofkeep" else peers / "borg/bin/borg" if name == "borg" else peers / "bin" / name
            if program.exists():
                engines[name] = KINDS[name](name, program, o.dir)
            else:
                print(f"{name} is left out: there is no {program}", file=sys.stderr)
        results[b] = BENCHES[b](engines, o.dir, o.repeat)
    (o.dir / "results.json").write_text(json.dumps(results, indent=1, default=str))


main()
