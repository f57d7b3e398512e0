#!/usr/bin/env python3
"""PostgreSQL, physically: proofkeep beside pgBackRest and pg_basebackup on one cluster of text and pgbench tables. Seconds, CPU seconds
(the program's and, of its own processes that serve it, the server's), peak memory, stored bytes; then ratios. Never asserts.

  bench/physical.py [--program BUILD/proofkeep] [--dir DIR] [--gigabytes N] [--segments N] [--only base|load|wal]... [--pgbackrest PROGRAM]

base: a first backup, another after one percent of scattered updates, a restore, and a restore over a copy of which one page in a hundred
was changed. load: what a running pgbench loses by a first backup. wal (physical_wal.py): archiving, fetching and replaying. Every program
reads the files as the server's user, with two processes or threads; ours is also measured over the replication protocol."""

import argparse, json, os, random, shutil, subprocess, sys, time
from pathlib import Path

sys.dont_write_bytecode = True
from cluster import Cluster, user
from engines import run, stored
from physical_wal import bench_wal

HERE = Path(__file__).resolve().parent
OURS, REST, PLAIN = "proofkeep", "pgbackrest", "pg_basebackup"


def as_user(*argv):
    return ["runuser", "-u", user(), "--", *argv] if user() else list(argv)


def own(*folders):
    for f in folders:
        f.mkdir(parents=True, exist_ok=True)
        if user():
            shutil.chown(f, user())


def server_cpu(c):
    """Of the server's processes that have ended, seconds: a backup's sender is one by the time that it is asked for."""
    pid = (c.folder / "data/postmaster.pid").read_text().split()[0]
    fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    return (int(fields[13]) + int(fields[14])) / os.sysconf("SC_CLK_TCK")


def measured(c, argv, env=None):
    c.sql("postgres", "CHECKPOINT")
    os.sync()
    before = server_cpu(c)
    use = run(as_user(*argv), env={"HOME": str(c.folder), **(env or {})}, cwd=c.folder)
    return {**use, "server": server_cpu(c) - before}


class Engine:
    def drop(self): shutil.rmtree(self.place, ignore_errors=True)


class Proofkeep(Engine):
    """One repository; `through` is host or replication."""

    def __init__(self, c, program, place, through="host"):
        self.c, self.place = c, c.folder / place
        self.program = c.folder / "proofkeep"
        if not self.program.exists():
            shutil.copy(program, self.program)
            self.program.chmod(0o755)
        own(self.place)
        config, key = self.place / "proofkeep.yaml", self.place / "key"
        config.write_text(f"""version: 1
platform: bench
secrets: {{ key: {{ file: {key} }} }}
repositories: {{ main: {{ url: {self.place}/repo, encrypt: {{ key: key, kind: key_file }} }} }}
surfaces:
  base: {{ kind: postgres, class: truth, method: physical, through: {through}, connect: {{ host: {c.socket}, user: postgres }} }}
  wal: {{ kind: postgres, class: runtime, wal: {{ mode: archive }} }}
environments: {{ bench: {{ repository: main }} }}
""")
        config.chmod(0o644)
        self.at = ["--config", config, "--cache-dir", self.place / "cache"]
        run(as_user(self.program, "init", *self.at, "--repository", "main"), env={"HOME": str(c.folder)}, cwd=c.folder)

    def stored(self): return stored(self.place / "repo")
    def full(self): return measured(self.c, [self.program, "backup", "bench/base", *self.at])
    again = full
    def restore(self, into): return measured(self.c, [self.program, "restore", "bench/base", "--into", into, *self.at])
    def delta(self, into):
        """What is not empty is written over by a plan only; making it is part of the price."""
        began = time.monotonic()
        p = subprocess.run(list(map(str, as_user(self.program, "restore", "bench/base", "--into", into, "--delta", "--dry-run", "--json", *self.at))),
                           capture_output=True, text=True, cwd=self.c.folder, env={**os.environ, "HOME": str(self.c.folder)}, check=True)
        spent = time.monotonic() - began
        use = measured(self.c, [self.program, "restore", "--plan", json.loads(p.stdout.splitlines()[-1])["plan"], *self.at])
        return {**use, "wall": use["wall"] + spent}
    def push(self, path): return [self.program, "wal", "push", "bench/wal", path, *self.at]
    def get(self, name, path): return [self.program, "wal", "get", "bench/wal", name, path, *self.at]
    def restore_command(self, _): return self.get("%f", "%p")
    def segments(self): return sum(1 for f in (self.place / "repo/wal").rglob("*") if f.is_file() and len(f.name) == 24)


class BaseBackup(Engine):
    def __init__(self, c): self.c, self.place = c, c.folder / "plain"
    def stored(self): return stored(self.place) if self.place.exists() else 0
    def full(self):
        shutil.rmtree(self.place, ignore_errors=True)
        return measured(self.c, ["pg_basebackup", "-h", self.c.socket, "-U", "postgres", "-D", self.place, "-c", "fast", "-X", "fetch",
                                 "--manifest-checksums=SHA256", "--no-sync"])


class BackRest(Engine):
    """zstd 1, bundles, encryption, two processes, asynchronous archiving; block incremental where this version has it."""

    def __init__(self, c, program, place):
        self.c, self.program, self.place = c, program, c.folder / place
        own(self.place, self.place / "repo", self.place / "spool", self.place / "log")
        block = "\nrepo1-block=y" if tuple(map(int, self.version_of(program).split(".")[:2])) >= (2, 46) else ""
        config = self.place / "conf"
        config.write_text(f"""[global]
repo1-path={self.place}/repo
repo1-bundle=y{block}
repo1-cipher-type=aes-256-cbc
repo1-cipher-pass=bench
repo1-retention-full=9
compress-type=zst
compress-level=1
process-max=2
start-fast=y
archive-check=n
archive-mode-check=n
archive-async=y
spool-path={self.place}/spool
log-path={self.place}/log
lock-path={self.place}/log
log-level-console=warn
log-level-file=off
[bench]
pg1-path={c.folder}/data
pg1-socket-path={c.socket}
""")
        config.chmod(0o644)
        self.at = [program, f"--config={config}", "--stanza=bench"]
        run(as_user(*self.at, "--no-online", "stanza-create"), cwd=c.folder)

    @staticmethod
    def version_of(program): return subprocess.run([program, "version"], capture_output=True, text=True).stdout.split()[-1]
    def stored(self): return stored(self.place / "repo/backup")
    def full(self): return measured(self.c, [*self.at, "--type=full", "backup"])
    def again(self): return measured(self.c, [*self.at, "--type=incr", "backup"])
    def restore(self, into):
        own(into)
        into.chmod(0o700)
        return measured(self.c, [*self.at, f"--pg1-path={into}", "--type=none", "restore"])
    def delta(self, into): return measured(self.c, [*self.at, f"--pg1-path={into}", "--type=none", "--delta", "restore"])
    def push(self, path): return [*self.at, "archive-push", path]
    def get(self, name, path): return [*self.at, "archive-get", name, path]
    def restore_command(self, data): return [*self.get("%f", "%p"), f"--pg1-path={data}"]
    def segments(self): return sum(1 for f in (self.place / "repo/archive").rglob("*") if len(f.name.split("-")[0]) == 24)


def spoil(folder, share=100):
    """Of every relation of more than a megabyte, one page in `share` gets other bytes."""
    rng = random.Random(3)
    for f in sorted((folder / "base").rglob("*")):
        pages = f.stat().st_size // 8192 if f.is_file() else 0
        if pages < 128:
            continue
        with open(f, "r+b") as out:
            for at in rng.sample(range(pages), max(1, pages // share)):
                out.seek(at * 8192 + 4096)
                out.write(rng.randbytes(16))


def empty(folder):
    """Not removed: ext4 passes over inodes that were freed in the last minutes, one by one, and the next restore would pay for it."""
    for f in folder.rglob("*"):
        if f.is_file() and not f.is_symlink():
            os.truncate(f, 0)


def bench_base(c, engines, o):
    """What an engine made is dropped as soon as nothing more is asked of it: with 12 GB the disk holds three times that at most."""
    rows = {}
    def one(name, column, what):
        before = engines[name].stored() if name in engines else 0
        row = what(engines[name])
        rows.setdefault(name, {})[column] = {**row, "stored": engines[name].stored() - before}
    for name, e in engines.items():
        one(name, "full", lambda e: e.full())
        if not hasattr(e, "again"):
            e.drop()
    c.bench("pgbench", "-c", 2, "-t", o.accounts // 200, "--random-seed=1")
    c.change_documents(o.rows, o.rows // 50)
    for name, e in engines.items():
        if hasattr(e, "again"):
            one(name, "again", lambda e: e.again())
        if name not in (OURS, REST):
            e.drop()
    for name in (OURS, REST):
        if name in engines:
            place = c.folder / f"restored-{name}"
            own(place)
            one(name, "restore", lambda e: e.restore(place / "data"))
            spoil(place / "data")
            one(name, "delta", lambda e: e.delta(place / "data"))
            empty(place)
            engines[name].drop()
    return rows


def transactions(c):
    return int(c.sql("pgbench", "SELECT pg_current_xact_id()"))


def bench_load(c, engines, o):
    """Transactions of a pgbench that runs for ever, in the time that a first backup takes, and in as long without one."""
    rows = {}
    load = c.start_bench("pgbench")
    try:
        for name, e in engines.items():
            began, first = time.monotonic(), transactions(c)
            use = e.full()
            wall, during = time.monotonic() - began, transactions(c) - first
            began, first = time.monotonic(), transactions(c)
            time.sleep(max(5, wall))
            alone = (transactions(c) - first) / (time.monotonic() - began)
            e.drop()
            rows[name] = {"wall": use["wall"], "tps": during / wall, "alone": alone, "lost": alone * wall - during}
    finally:
        c.stop_bench(load)
    return rows


def ratio(rows, column, what=lambda r: r["wall"]):
    if OURS in rows and REST in rows and column in rows[OURS] and column in rows[REST]:
        return what(rows[REST][column]) / max(1e-9, what(rows[OURS][column]))


def all_cpu(r):
    return r["user"] + r["sys"] + r["server"]


def show_base(rows, size):
    print(f"\n{'':24}{'':9}{'wall':>8}{'CPU s':>8}{'server':>8}{'CPU s/GB':>10}{'peak MiB':>10}{'stored MB':>11}")
    for name, row in rows.items():
        for column, r in row.items():
            print(f"{name:24}{column:9}{r['wall']:>8.1f}{r['user'] + r['sys']:>8.2f}{r['server']:>8.2f}{all_cpu(r) / size * 1e9:>10.2f}{r['peak']:>10.0f}"
                  f"{r['stored'] / 1e6:>11.1f}")
    aims = [("full", None, 1.5), ("full", "CPU", 1), ("again", None, 2), ("again", "stored", 10), ("restore", None, 1.5), ("delta", None, 2)]
    for column, what, aim in aims:
        r = ratio(rows, column, {None: lambda r: r["wall"], "CPU": all_cpu, "stored": lambda r: r["stored"]}[what])
        if r:
            print(f"{REST} / {OURS}, {column}{', ' + what if what else ', seconds'}: {r:.2f} (aim {aim})")


def show_load(rows):
    print(f"\n{'first backup under pgbench':33}{'wall':>8}{'tps':>8}{'alone':>8}{'transactions lost':>20}")
    for name, r in rows.items():
        print(f"{name:33}{r['wall']:>8.1f}{r['tps']:>8.0f}{r['alone']:>8.0f}{r['lost']:>20.0f}")


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--program", type=Path, default=HERE.parent / "build/proofkeep")
    p.add_argument("--dir", type=Path, default=Path("/var/tmp/proofkeep-bench"))
    p.add_argument("--gigabytes", type=float, default=1.2)
    p.add_argument("--segments", type=int, default=32)
    p.add_argument("--only", choices=("base", "load", "wal"), action="append")
    p.add_argument("--pgbackrest", default="pgbackrest")
    o = p.parse_args()
    o.dir.mkdir(parents=True, exist_ok=True)
    wanted = o.only or ["base", "load", "wal"]
    scale, o.rows = max(1, round(o.gigabytes * 32)), round(o.gigabytes * 420_000)
    o.accounts = scale * 100_000
    results = {}
    print(f"{os.cpu_count()} cores, load {os.getloadavg()[0]:.1f} at the start: where it is not small, take CPU seconds, not seconds")
    # Before WAL is looked at, none is kept that nobody needs.
    with Cluster(o.dir, "wal_level = replica", "full_page_writes = on", "archive_mode = on", "archive_command = 'true'", "max_wal_senders = 4") as c:
        c.sql("postgres", "CREATE DATABASE pgbench")
        c.bench("pgbench", "-i", "-q", "-s", scale)
        c.make_documents(o.rows)
        size = stored(c.folder / "data") - stored(c.folder / "data/pg_wal")
        has_rest = bool(shutil.which(o.pgbackrest))
        print(f"a cluster of {size / 1e6:.0f} MB")
        if "base" in wanted:
            engines = {OURS: Proofkeep(c, o.program, "ours"), OURS + " (replication)": Proofkeep(c, o.program, "ours2", "replication")}
            if has_rest:
                engines[REST] = BackRest(c, o.pgbackrest, "rest")
            engines[PLAIN] = BaseBackup(c)
            results["base"] = bench_base(c, engines, o)
            show_base(results["base"], size)
        def fresh(n):
            rest = {REST: BackRest(c, o.pgbackrest, f"rest{n}")} if has_rest else {}
            return {OURS: Proofkeep(c, o.program, f"ours{n}"), **rest}
        if has_rest:
            print(f"({REST} is {BackRest.version_of(o.pgbackrest)})")
        if "load" in wanted:
            results["load"] = bench_load(c, {**fresh(3), OURS + " (replication)": Proofkeep(c, o.program, "ours4", "replication")}, o)
            show_load(results["load"])
        if "wal" in wanted:
            c.sql("postgres", "ALTER SYSTEM SET archive_command = ''")
            c.sql("postgres", "SELECT pg_reload_conf()")
            results["wal"] = bench_wal(c, fresh(5), o.rows, o.segments, as_user, own)
    (o.dir / "physical.json").write_text(json.dumps({"bytes": size, "rows": results}))


if __name__ == "__main__":
    main()
