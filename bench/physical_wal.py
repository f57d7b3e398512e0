"""WAL: archived as a server would ask for it, alone and beside a busy pgbench; fetched one after the other; replayed by a server that
fetches it so, beside one that copies plain files. Part of physical.py."""

import json, os, shutil, subprocess, time
from pathlib import Path

from engines import run

HERE = Path(__file__).resolve().parent
SEGMENT = 16 << 20
# Text and small changes, as a busy server would mix them.
LOAD = r"""\set a random(1, {rows} - 100)
UPDATE document SET seen = seen + 1 WHERE id BETWEEN :a AND :a + 99;
"""


def ready(c):
    return sorted(f.name[:-6] for f in (c.folder / "data/pg_wal/archive_status").glob("*.ready") if len(f.name) == 30)


def make_wal(c, segments, rows):
    """So many full segments that wait for the archive; archive_command is empty, so they stay."""
    script = c.folder / "load.sql"
    script.write_text(LOAD.format(rows=rows))
    script.chmod(0o644)
    first = len(ready(c))
    while len(ready(c)) < first + segments:
        c.bench("documents", "-f", script, "-c", 2, "-t", 100)
        c.bench("pgbench", "-c", 2, "-t", 1000)
    return ready(c)[first:first + segments]


def batch(c, as_user, commands):
    """A process of its own waits for what the commands leave in the background, too."""
    text = c.folder / "batch.json"
    text.write_text(json.dumps([[str(a) for a in argv] for argv in commands]))
    text.chmod(0o644)
    program = c.folder / "batch.py"
    shutil.copy(HERE / "batch.py", program)
    program.chmod(0o755)
    p = subprocess.run(as_user("python3", "-ISc", f"import sys; sys.argv[1:] = ['{text}']; exec(open('{program}').read())"),
                       cwd=c.folder, capture_output=True, text=True, env={"PATH": os.environ["PATH"], "HOME": str(c.folder), "LANG": "C.UTF-8"})
    if p.returncode:
        raise SystemExit(p.stdout + p.stderr)
    return json.loads(p.stdout)


def rate(use, bytes_):
    return {**use, "bytes": bytes_, "rate": bytes_ / use["wall"], "cpu": (use["user"] + use["sys"]) / bytes_ * (1 << 30)}


def lsn(c):
    high, low = c.sql("postgres", "SELECT pg_current_wal_lsn()").split("/")
    return (int(high, 16) << 32) + int(low, 16)


def pushed(c, engines, as_user, names, loaded):
    rows = {}
    for name, e in engines.items():
        load = c.start_bench("pgbench") if loaded else None
        began, at, before = time.monotonic(), lsn(c), e.segments()
        use = batch(c, as_user, [e.push(c.folder / "data/pg_wal" / n) for n in names])
        rows[name] = rate(use, (e.segments() - before) * SEGMENT)
        rows[name]["written"] = (lsn(c) - at) / (time.monotonic() - began)
        if load:
            c.stop_bench(load)
    return rows


def replayed(c, commands, as_user, own):
    """Seconds until a server that starts from an old base is promoted, by each way of getting the WAL."""
    seconds = {}
    for name, command in commands.items():
        place = c.folder / "replay"
        own(place, place / "socket")
        run(as_user("cp", "-a", c.folder / "base", place / "data"), cwd=c.folder)
        with open(place / "data/postgresql.auto.conf", "a") as f:
            f.write(f"restore_command = '{command}'\nunix_socket_directories = '{place}/socket'\narchive_mode = off\n")
        (place / "data/recovery.signal").touch()
        own(place / "data")
        if (place / "data/recovery.signal").owner() != (place / "data").owner():
            shutil.chown(place / "data/recovery.signal", (place / "data").owner())
        began = time.monotonic()
        c.sh('cluster_start "$1"', place)
        while c.sh('cluster_psql "$1" -d postgres -c "SELECT pg_is_in_recovery()"', place, stdout=subprocess.PIPE).stdout.strip() != b"f":
            time.sleep(0.05)
        seconds[name] = time.monotonic() - began
        c.sh('cluster_stop "$1"', place)
        shutil.rmtree(place)
    return seconds


def bench_wal(c, engines, rows_of_text, segments, as_user, own):
    c.sql("postgres", "CHECKPOINT")
    run(as_user("pg_basebackup", "-h", c.socket, "-U", "postgres", "-D", c.folder / "base", "-c", "fast", "-X", "fetch", "--no-sync"), cwd=c.folder)
    c.sql("postgres", "SELECT pg_switch_wal()")
    all_first = ready(c)
    names = make_wal(c, segments, rows_of_text)
    rows = {"push": pushed(c, engines, as_user, all_first + names, False)}
    later = make_wal(c, segments, rows_of_text)
    rows["push under pgbench"] = pushed(c, engines, as_user, later, True)
    place = c.folder / "got"
    own(place)
    rows["get"] = {}
    for name, e in engines.items():
        use = batch(c, as_user, [e.get(n, place / "RECOVERYXLOG") for n in names])
        rows["get"][name] = rate(use, len(names) * SEGMENT)
    def command(argv):
        return " ".join(str(a) for a in argv)
    ways = {"cp": f"cp {c.folder}/data/pg_wal/%f %p"} | {name: command(e.restore_command(c.folder / "replay/data")) for name, e in engines.items()}
    rows["replay"] = replayed(c, ways, as_user, own)
    print(f"\n{'WAL':20}{'':14}{'MiB/s':>8}{'CPU s/GiB':>11}{'slowest s':>11}{'peak MiB':>10}{'written MiB/s':>15}")
    for what in ("push", "push under pgbench", "get"):
        for name, r in rows[what].items():
            print(f"{what:20}{name:14}{r['rate'] / (1 << 20):>8.0f}{r['cpu']:>11.2f}{r['slowest']:>11.2f}{r['peak']:>10.0f}"
                  f"{r.get('written', 0) / (1 << 20):>15.0f}")
        if len(rows[what]) == 2:
            ours, theirs = rows[what].values()
            print(f"{'':34}{ours['rate'] / theirs['rate']:>8.2f}{theirs['cpu'] / ours['cpu']:>11.2f} times")
            if what == "push under pgbench":
                print(f"{'':34}{ours['rate'] / ours['written']:>8.1f} times what pgbench wrote (aim 3)")
    print("replay, seconds: " + ", ".join(f"{name} {s:.1f}" for name, s in rows["replay"].items()))
    return rows
