"""How a repository of many terabytes is handled: its log, index, pack lists and snapshots are real, its packs are not there
(scale.c). Seconds are of CPU; peaks are each process's own."""

import json, shutil, subprocess, sys

from engines import stored

LIMIT_MIB = 512
# process, what it measures, what is printed of it
ROWS = [("open", "open", "cold"), ("open", "open", "warm"), ("find", "find present", ""), ("find", "find absent", ""),
        ("totals", "totals (status)", ""), ("backup", "known chunks", ""), ("backup", "finish and commit", ""),
        ("forget", "forget half", ""), ("plan", "plan collection", ""), ("collect", "collect", ""), ("check", "check, present", "")]


def scale(program, *argv):
    """Started by a shell: what a process had at its peak before it became another program would count as that one's."""
    p = subprocess.run(["sh", "-c", '"$0" "$@"; exit $?', str(program), *map(str, argv)], stdout=subprocess.PIPE, text=True, check=False)
    if p.returncode:
        sys.exit(f"{program} {' '.join(map(str, argv))} ended with {p.returncode}")
    return {line["what"]: line for line in map(json.loads, p.stdout.splitlines())}


def index_and_log(place):
    return stored(place / "repo" / "index") + stored(place / "repo" / "log")


def measured(program, place, terabytes, snapshots):
    shutil.rmtree(place, ignore_errors=True)
    row = {"make": scale(program, "make", place, terabytes, snapshots)["make"], "index and log": index_and_log(place)}
    shutil.rmtree(place / "cache")
    done = {}
    for process, what, name in ROWS:
        if process not in done or process == "open":
            done[process] = scale(program, process, place)
        row[f"{what} {name}".strip()] = done[process][what]
        if name == "cold":
            row["cache"] = stored(place / "cache")
    row["left of index and log"] = index_and_log(place)
    shutil.rmtree(place)
    return row


def cell(v):
    if not isinstance(v, dict):
        return f"{v / 1e6:.0f} MB"
    rate = f" {v['count'] / v['cpu'] / 1000:.0f} k/s" if v["unit"] == "ids" and v["cpu"] else ""
    return f"{v['cpu']:.2f} s{rate} {v['peak']:.0f}M"


def bench_scale(engines, o):
    program = o.program.parent / "bench" / "bench_scale"
    if not program.exists():
        print(f"scale is left out: there is no {program}", file=sys.stderr)
        return {}
    sizes = (0.05, 0.5) if o.quick else (1, 10, 100)
    rows = {f"{t} TB": measured(program, o.dir / "scale", t, 30 if o.quick else 300) for t in sizes}
    print("\nRepositories that would hold so much, in chunks of 1 MiB: CPU seconds and peak memory\n" + " " * 24
          + "".join(f"{k:>24}" for k in rows))
    for name in next(iter(rows.values())):
        print(f"{name:24}" + "".join(f"{cell(r[name]):>24}" for r in rows.values()))
    peak = max(v["peak"] for r in rows.values() for v in r.values() if isinstance(v, dict))
    print(f"highest peak {peak:.0f} MiB, at most {LIMIT_MIB} wanted{'' if peak <= LIMIT_MIB else ': missed'}")
    return rows
