#!/usr/bin/env python3
"""A whole cluster captured over the replication protocol, beside pg_basebackup and pgBackRest: seconds, CPU seconds (the program's, and
the server's for it), peak memory, stored bytes; then once more after one percent of scattered updates. Never asserts.

  bench/physical.py --program BUILD/bench/bench_physical [--dir DIR] [--scale N]

--scale is pgbench's: 64 is about a gigabyte. pgBackRest is left out where it is not installed."""

import argparse, json, os, shutil, subprocess, sys
from pathlib import Path

sys.dont_write_bytecode = True
from cluster import Cluster
from engines import run, stored

PROGRAM = "proofkeep (stream)"


def server_cpu(c):
    """Of the server's processes that have ended, seconds: a backup's sender is one by the time that it is asked for."""
    pid = (c.folder / "data/postmaster.pid").read_text().split()[0]
    fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    return (int(fields[13]) + int(fields[14])) / os.sysconf("SC_CLK_TCK")


def measured(c, argv, **kw):
    c.sql("postgres", "CHECKPOINT")
    os.sync()
    before = server_cpu(c)
    use = run(argv, **kw)
    return {**use, "server": server_cpu(c) - before}


def as_user(*argv):
    return ["runuser", "-u", "postgres", "--", *argv] if os.geteuid() == 0 else list(argv)


class Proofkeep:
    def __init__(self, c, program): self.c, self.program, self.place = c, program, c.folder / "ours"
    def backup(self, again): return measured(self.c, [self.program, self.place, self.c.socket])


class BaseBackup:
    def __init__(self, c): self.c, self.place = c, c.folder / "plain"
    def backup(self, again):
        shutil.rmtree(self.place, ignore_errors=True)
        return measured(self.c, as_user("pg_basebackup", "-h", self.c.socket, "-U", "postgres", "-D", self.place, "-c", "fast", "-X", "fetch",
                                        "--manifest-checksums=SHA256", "--no-sync"))


class BackRest:
    """Reads the files itself, with two processes; zstd 1, bundles, encryption, block incremental where this version has it."""

    def __init__(self, c):
        self.c, self.place = c, c.folder / "rest"
        c.sh('mkdir -p "$f/rest" "$f/rest-log"; [ "$(id -u)" != 0 ] || chown postgres "$f/rest" "$f/rest-log"')
        text = subprocess.run(["pgbackrest", "version"], capture_output=True, text=True).stdout.split()
        block = "\nrepo1-block=y" if text and tuple(map(int, text[-1].split(".")[:2])) >= (2, 46) else ""
        config = c.folder / "rest.conf"
        config.write_text(f"""[global]
repo1-path={self.place}
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
log-path={c.folder}/rest-log
lock-path={c.folder}/rest-log
log-level-console=warn
[bench]
pg1-path={c.folder}/data
pg1-socket-path={c.socket}
""")
        config.chmod(0o644)
        self.at = ["pgbackrest", f"--config={config}", "--stanza=bench"]
        subprocess.run(as_user(*self.at, "--no-online", "stanza-create"), check=True)

    def backup(self, again): return measured(self.c, as_user(*self.at, f"--type={'incr' if again else 'full'}", "backup"))


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--program", type=Path, required=True)
    p.add_argument("--dir", type=Path, default=Path("/var/tmp/proofkeep-bench"))
    p.add_argument("--scale", type=int, default=64)
    o = p.parse_args()
    o.dir.mkdir(parents=True, exist_ok=True)
    rows = {}
    with Cluster(o.dir) as c:
        c.sql("postgres", "CREATE DATABASE pgbench")
        c.bench("pgbench", "-i", "-q", "-s", o.scale)
        engines = {PROGRAM: Proofkeep(c, o.program.resolve()), "pg_basebackup": BaseBackup(c)}
        if shutil.which("pgbackrest"):
            engines["pgbackrest"] = BackRest(c)
        size = stored(c.folder / "data") - stored(c.folder / "data/pg_wal")
        for column in ("full", "again"):
            for name, e in engines.items():
                before = stored(e.place) if e.place.exists() and name != "pg_basebackup" else 0
                row = e.backup(column == "again")
                rows.setdefault(name, {})[column] = {**row, "stored": stored(e.place) - before}
            c.bench("pgbench", "-c", 2, "-t", o.scale * 100_000 // 100 // 2, "--random-seed=1") if column == "full" else None
    print(f"\ncluster of {size / 1e6:.0f} MB, pgbench scale {o.scale}\n{'':24}{'':8}{'wall':>10}{'CPU s':>10}{'server s':>10}{'CPU s/GB':>10}{'peak MiB':>10}{'stored MB':>12}")
    for name, row in rows.items():
        for column, r in row.items():
            cpu = r["user"] + r["sys"]
            print(f"{name:24}{column:8}{r['wall']:>10.1f}{cpu:>10.2f}{r['server']:>10.2f}{(cpu + r['server']) / size * 1e9:>10.2f}{r['peak']:>10.0f}"
                  f"{r['stored'] / 1e6:>12.1f}")
    (o.dir / "physical.json").write_text(json.dumps({"bytes": size, "rows": rows}))


if __name__ == "__main__":
    main()
