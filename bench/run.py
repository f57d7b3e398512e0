#!/usr/bin/env python3
"""proofkeep beside its peers: the same data, the same disk, one run. Reports seconds, CPU seconds, peak memory and stored bytes,
ratios to the fastest (or smallest) peer, and how these stand to the targets. Never asserts.

  bench/run.py [--dir DIR] [--only tree|stream|delta|postgres|growth|scale|s3]... [--peers A,B,…] [--repeat N] [--quick]

--quick leaves out of growth what is over 2 GB and over 100,000 files, and of scale what would be over half a terabyte. Results are also written to DIR/results.json."""

import argparse, json, os, shutil, subprocess, sys
from pathlib import Path

sys.dont_write_bytecode = True
from cluster import Cluster, ROWS, UPDATES, has_postgres, user
from data import Text, mixed_append, small_files
from engines import HERE, KINDS, ProofkeepConfigured, run, stored
from s3 import arguments as s3_arguments, bench_s3
from scale import bench_scale
from tree import tree_make, warm


def cell(v):
    return "-" if v is None else f"{v / 1e6:.1f} MB" if not isinstance(v, dict) else \
        f"{v['wall']:.1f} s ({v['user']:.1f}+{v['sys']:.1f}) {v['peak']:.0f}M"


def number(v):
    return v["wall"] if isinstance(v, dict) else v


def ratio(rows, column, ours="proofkeep"):
    """The best peer's by ours; None when there is nothing to compare."""
    peers = [number(r[column]) for n, r in rows.items() if not n.startswith("proofkeep") and r.get(column) is not None]
    mine = rows.get(ours, {}).get(column)
    return min(peers) / number(mine) if peers and mine else None


def table(title, rows, columns):
    print(f"\n{title}\n{'':24}" + "".join(f"{c:>24}" for c in columns))
    for name, row in rows.items():
        print(f"{name:24}" + "".join(f"{cell(row.get(c)):>24}" for c in columns))
    for ours in (n for n in rows if n.startswith("proofkeep")):
        line = [ratio(rows, c, ours) for c in columns]
        if any(line):
            print(f"{'best peer / ' + ours:24}" + "".join(f"{f'{r:.2f} x' if r else '-':>24}" for r in line))
    sys.stdout.flush()


def floors(tree, place):
    """What this machine takes for parts of the work alone, so that a reader can tell the engine from the machine."""
    cores = os.cpu_count()
    every = f'find "{tree}" -type f -print0 | xargs -0'
    packed, copy = place / "floor.zst", place / "floor-out"
    out = {}
    for name, script in (("reading every file", f"{every} -n 256 -P {cores} cat >/dev/null"),
                         ("openssl sha256 of it", f"{every} cat | openssl dgst -sha256"),
                         (f"zstd -1 -T{cores} of it", f'{every} cat | zstd -q -1 -T{cores} -f -o "{packed}"'),
                         ("zstd -d of that", f'zstd -q -dc "{packed}" >/dev/null'),
                         (f"cp -a of it, {cores} at a time", f'mkdir "{copy}" && cd "{tree}" && ls -A | xargs -d "\\n" -n 1 -P {cores} cp -a -t "{copy}"'),
                         ("and sync", f'sync -f "{copy}"')):
        if "zstd" not in script or shutil.which("zstd"):
            out[name] = run(["sh", "-c", script])
    packed.unlink(missing_ok=True)
    shutil.rmtree(copy, ignore_errors=True)
    print("floors, one pass each:  " + "; ".join(f"{n} {r['wall']:.1f} s ({r['user']:.1f}+{r['sys']:.1f})" for n, r in out.items()))
    return out


def where_cpu_goes(e, tree):
    """Shares of the libraries in one first backup, sampled."""
    if not shutil.which("perf"):
        print("where CPU goes: perf is not installed, so it was not sampled")
        return None
    e.clear()
    e.init()
    log = e.cache / "perf"
    program, e.program = e.program, "perf"
    try:
        e.go("record", "-q", "-F", "499", "-o", log, "--", program, "backup", *e.at, "--files", tree)
    except SystemExit as failed:
        print(f"where CPU goes: perf could not sample ({str(failed).splitlines()[-1]})")
        return None
    finally:
        e.program = program
    out = subprocess.run(["perf", "report", "-i", str(log), "--stdio", "-q", "--sort", "dso"], capture_output=True, text=True).stdout
    shares = {f[1]: float(f[0].rstrip("%")) for f in (line.split() for line in out.splitlines()) if len(f) == 2 and f[0].endswith("%")}
    e.clear()
    print("where CPU goes, first backup: " + ", ".join(f"{n} {s:.0f} %" for n, s in shares.items() if s >= 1))
    return shares


def both(a, b):
    """One after the other. Peers end while what they wrote is still in memory."""
    return {k: max(a[k], b[k]) if k == "peak" else a[k] + b[k] for k in a}


def measure(e, tree, out, repeat, whole):
    """What is restored stays until every engine is done: the next to make files would pay for the removal (ext4 passes over
    inodes that were freed a moment ago), and for what is still to be written (hence sync)."""
    shutil.rmtree(out, ignore_errors=True)
    e.init()
    os.sync()
    row = {"first": e.backup(tree), "stored": stored(e.repo)}
    if whole:
        row["unchanged"] = min((e.backup(tree) for _ in range(repeat)), key=number)
    row["rescan"] = min((e.rescan(tree) for _ in range(repeat)), key=number)
    os.sync()
    row["restore"] = e.restore(out)
    row["restore, and on disk"] = both(row["restore"], run(["sync", "-f", out]))
    if e.check and whole:
        row["check"] = e.check()
    shutil.rmtree(e.repo, ignore_errors=True)
    print(f"{e.name}: done", file=sys.stderr)
    return row


def side_by_side(engines, tree, title, columns, o, whole):
    warm(tree)
    size = stored(tree)
    rows = {name: measure(e, tree, o.dir / f"{name}-out", o.repeat, whole) for name, e in engines.items()}
    for name in engines:
        shutil.rmtree(o.dir / f"{name}-out", ignore_errors=True)
    table(title, rows, columns)
    for what, r in rows.get("proofkeep", {}).items():
        if isinstance(r, dict) and what != "unchanged":
            print(f"proofkeep {what}: {(r['user'] + r['sys']) / size * 1e9:.2f} CPU seconds a GB")
    result = dict(rows, floors=floors(tree, o.dir))
    if "proofkeep" in engines:
        result["cpu"] = where_cpu_goes(engines["proofkeep"], tree)
    return result


def bench_tree(engines, o):
    tree = tree_make(o.dir)
    title = f"A tree: {stored(tree) / 1e9:.2f} GB in {sum(1 for p in tree.rglob('*') if p.is_file())} files"
    return side_by_side(engines, tree, title, ["first", "rescan", "unchanged", "restore", "restore, and on disk", "check", "stored"], o, True)


def bench_stream(engines, o):
    d = o.dir / "stream"
    if not d.exists():
        d.mkdir()
        mixed_append(d / "stream.bin", Text(2, 64_000_000), 4_000_000_000)
    return side_by_side(engines, d, f"One stream of {stored(d) / 1e9:.2f} GB", ["first", "rescan", "restore", "restore, and on disk", "stored"], o, False)


def pair(engines, o, folder, change):
    """First and second backup of a folder, with change() between; rows a table wants."""
    rows, before = {}, {}
    for name, e in engines.items():
        e.clear()
        e.init()
        rows[name] = {"first": e.backup(folder), "stored": stored(e.repo)}
        before[name] = rows[name]["stored"]
    change()
    for name, e in engines.items():
        rows[name]["second"] = e.backup(folder)
        rows[name]["increment"] = stored(e.repo) - before[name]
        shutil.rmtree(e.repo, ignore_errors=True)
        print(f"{name}: done", file=sys.stderr)
    return rows


PAIR = ["first", "stored", "second", "increment"]


def bench_delta(engines, o):
    """A dump-like file after scattered updates: what the second backup adds."""
    d = o.dir / "delta"
    shutil.rmtree(d, ignore_errors=True)
    d.mkdir()
    text = Text(3)
    lines = [b"%d\t%s\n" % (i, text.row(300, 1200)) for i in range(400_000)]
    (d / "dump").write_bytes(b"".join(lines))

    def change():
        for i in text.rng.sample(range(len(lines)), 15_000):
            lines[i] = b"%d\t%s\n" % (i, text.row(300, 1200))
        (d / "dump").write_bytes(b"".join(lines))

    rows = pair(engines, o, d, change)
    table(f"A file of {stored(d) / 1e6:.0f} MB, before and after 15,000 of its 400,000 rows were replaced where they stood", rows, PAIR)
    shutil.rmtree(d)
    return rows


def bench_postgres(engines, o):
    """What a second backup of a changed database adds: of `pg_dump -Fc -Z0` as a file by everybody, and of the database itself by us."""
    if not has_postgres():
        print("\npostgres is left out: no PostgreSQL server is installed", file=sys.stderr)
        return {}
    d, results = o.dir / "postgres", {}
    shutil.rmtree(d, ignore_errors=True)
    d.mkdir()
    live = ProofkeepConfigured("proofkeep-live", o.program, o.dir) if "proofkeep" in engines else None
    with Cluster(o.dir) as c:
        for database, make, change, title in (
                ("documents", c.make_documents, c.change_documents, f"{ROWS:,} rows of text, before and after {UPDATES:,} scattered updates"),
                ("pgbench", c.make_pgbench, c.change_pgbench, "pgbench, scale 40, before and after 20,000 transactions and 15,000 inserts")):
            make()
            c.dump(database, d / "dump")
            first_size = (d / "dump").stat().st_size
            mine = {}
            if live:
                live.clear()
                live.configure(f"{{ kind: postgres, class: runtime, connect: {{ host: {c.socket}, user: postgres, dbname: {database} }},"
                               f" databases: [{database}]{f', run_as: {user()}' if user() else ''} }}")
                mine = {"first": live.backup(), "stored": stored(live.repo)}

            def then():
                change()
                # the very next dump of the same state: peers get it as a file
                c.dump(database, d / "dump")
                if live:
                    mine["second"] = live.backup()
                    mine["increment"] = stored(live.repo) - mine["stored"]
                    shutil.rmtree(live.repo, ignore_errors=True)

            rows = pair(engines, o, d, then)
            if live:
                rows["proofkeep, database"] = mine
            table(f"PostgreSQL: {title}; dumps of {first_size / 1e6:.0f} and {(d / 'dump').stat().st_size / 1e6:.0f} MB", rows, PAIR)
            results[database] = rows
            c.sql("postgres", f"DROP DATABASE {database}")
    shutil.rmtree(d)
    return results


def grown(e, d, out, label, again):
    """Every verb over what lies in d, from an empty repository."""
    e.clear()
    e.configure(f"{{ kind: files, class: truth, paths: [{d}] }}")
    row = {"backup": e.backup(), "unchanged": e.backup()}
    shutil.rmtree(out, ignore_errors=True)
    row["restore"] = e.restore(out)
    again()
    row["changed"] = e.backup()
    row["verify"] = e.check()
    row["prune"] = e.prune()
    shutil.rmtree(e.repo, ignore_errors=True)
    print(f"  {label:<22}" + "".join(f"{row[k]['wall']:>9.1f} s {row[k]['peak']:>4.0f}M" for k in GROWN), flush=True)
    return row


GROWN = ["backup", "unchanged", "restore", "changed", "verify", "prune"]


def bench_growth(engines, o):
    """How time and memory grow, in every verb that reads or writes much. `changed`: after a tenth of the data changed."""
    if "proofkeep" not in engines:
        return {}
    e, rows = ProofkeepConfigured("proofkeep-growth", o.program, o.dir), {}
    d, out = o.dir / "growth", o.dir / "growth-out"
    print("\nHow time and peak memory grow (proofkeep)\n" + " " * 24 + "".join(f"{k:>17}" for k in GROWN))
    shutil.rmtree(d, ignore_errors=True)
    d.mkdir()
    text = Text(4, 64_000_000)
    for gb in (1, 2) if o.quick else (1, 2, 4, 8):
        mixed_append(d / "f", text, gb * 1_000_000_000, 0.5)

        def rewrite():
            with open(d / "f", "r+b") as f:
                for at in range(0, gb * 1_000_000_000, 10_000_000):
                    f.seek(at)
                    f.write(os.urandom(1_000_000))

        rows[f"{gb} GB"] = grown(e, d, out, f"{gb} GB in one file", rewrite)
        shutil.rmtree(out)
    shutil.rmtree(d)
    have = 0
    for n in (10_000, 100_000) if o.quick else (10_000, 100_000, 1_000_000):
        small_files(d, have, n)
        have = n

        def rewrite():
            for i in range(0, n, 10):
                (d / str(i // 1000) / str(i)).write_bytes(b"%d again" % i)

        # what was restored stays until the end: see measure()
        rows[f"{n} files"] = grown(e, d, out / str(n), f"{n:,} files", rewrite)
    shutil.rmtree(d)
    shutil.rmtree(out)
    return rows


TARGETS = [("tree", "first", 2, "first backup"), ("tree", "rescan", 3, "forced rescan"), ("tree", "unchanged", 1.5, "unchanged"),
           ("tree", "restore", 2, "restore"), ("tree", "check", 2, "reading check"), ("stream", "first", 2, "first backup, stream"),
           ("stream", "rescan", 3, "forced rescan, stream"), ("stream", "restore", 2, "restore, stream"),
           ("delta", "increment", 8, "increment, file"), ("documents", "increment", 8, "increment, dump of documents"),
           ("pgbench", "increment", 8, "increment, dump of pgbench")]


def peaks(at):
    """Every peak of ours, with its name."""
    for key, v in at.items():
        if key == "scale":
            continue  # has a limit of its own
        if isinstance(v, dict) and "peak" in v:
            yield v["peak"], key
        elif isinstance(v, dict) and key not in KINDS.keys() - {"proofkeep"} and key not in ("floors", "cpu"):
            for peak, name in peaks(v):
                yield peak, f"{key}, {name}"


def summary(results):
    """Targets beside what was reached."""
    flat = {**results, **results.get("postgres", {})}
    print(f"\n{'Target':34}{'wanted':>12}{'reached':>12}")

    def line(name, wanted, reached, good):
        print(f"{name:34}{wanted:>12}{reached:>12}{'' if good else '   missed'}")

    for bench, column, wanted, name in TARGETS:
        r = ratio(flat.get(bench, {}), column)
        if r:
            line(name, f">= {wanted} x", f"{r:.2f} x", r >= wanted)
        if bench in ("documents", "pgbench") and (r := ratio(flat.get(bench, {}), column, "proofkeep, database")):
            line(name.replace("dump of ", "database "), f">= {wanted} x", f"{r:.2f} x", r >= wanted)
    for bench in ("tree", "stream"):
        if r := ratio(flat.get(bench, {}), "stored"):
            line(f"stored, by the smallest peer's, {bench}", "<= 1", f"{1 / r:.3f}", r >= 1)
    if all_peaks := list(peaks(results)):
        peak, name = max(all_peaks)
        line("highest peak of memory", "<= 256 MiB", f"{peak:.0f} MiB", peak <= 256)
        print(f"  that is {name}")


BENCHES = {"tree": bench_tree, "stream": bench_stream, "delta": bench_delta, "postgres": bench_postgres, "growth": bench_growth, "scale": bench_scale,
           "s3": lambda engines, o: bench_s3({name: e.program for name, e in engines.items()}, o)}


def main():
    a = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    a.add_argument("--dir", type=Path, default=Path(os.environ.get("BENCH_DIR", "/var/tmp/proofkeep-bench")))
    a.add_argument("--program", type=Path, default=HERE.parent / "build" / "proofkeep")
    a.add_argument("--only", choices=BENCHES, action="append")
    a.add_argument("--peers", default="bupstash,restic,rustic,kopia,borg")
    a.add_argument("--repeat", type=int, default=2)
    a.add_argument("--quick", action="store_true")
    s3_arguments(a)
    o = a.parse_args()
    os.umask(0o077)
    o.dir.mkdir(parents=True, exist_ok=True)
    o.dir, o.program = o.dir.resolve(), o.program.resolve()
    peers, wanted = o.dir / "peers", o.only or list(BENCHES)
    if o.peers and not set(wanted) <= {"growth", "scale"}:
        subprocess.run(["sh", str(HERE / "peers.sh"), str(peers)], check=False)
    engines = {}
    for name in ["proofkeep", *filter(None, o.peers.split(","))]:
        program = o.program if name == "proofkeep" else peers / "borg/bin/borg" if name == "borg" else peers / "bin" / name
        if program.exists():
            engines[name] = KINDS[name](name, program, o.dir)
        else:
            print(f"{name} is left out: there is no {program}", file=sys.stderr)
    load = os.getloadavg()[0]
    print(f"{os.cpu_count()} cores, load {load:.1f} at the start" + (": the machine is busy, so take seconds with care" if load > 0.5 else ""))
    results = {}
    for b in wanted:
        for e in engines.values():
            e.clear()
        results[b] = BENCHES[b](engines, o)
        (o.dir / "results.json").write_text(json.dumps(results, indent=1, default=str))
    summary(results)


main()
