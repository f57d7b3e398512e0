#!/usr/bin/env python3
"""proofkeep beside restic, rustic and kopia on one S3 server after the other, direct and late: seconds, requests, bytes. Requests
are counted by a proxy before the server (s3_meter.py), the same for all, which also makes it late. Without lateness everything
is done twice: for the seconds without the proxy, which is itself slow, and for the requests with it. Every engine begins its restore, its check and its
prune with empty caches, as on another machine. What is restored is then written to the disk, which proofkeep does before it
ends and the others leave to the kernel: the time with that stands below each table, as does the CPU time of both sides, and what
merely putting and getting as many bytes takes curl (the floor). Never asserts.

  bench/s3.py [--dir DIR] [--servers minio,versitygw] [--late 0,20] [--peers A,B,…] [--mb 1000]

Also in DIR/s3.json. What is pruned are files of
every other folder, which the last backup has no more."""

import argparse, json, os, shutil, subprocess, sys
from pathlib import Path

sys.dont_write_bytecode = True
import engines
from engines import HERE, run, stored
from tree import tree_make, warm

ACCESS, SECRET = "testkey", "testsecret123"
KEYS = {"AWS_ACCESS_KEY_ID": ACCESS, "AWS_SECRET_ACCESS_KEY": SECRET, "AWS_REGION": "us-east-1"}
STEPS = ["first", "unchanged", "restore", "check", "second", "prune"]


class Server:
    """`with Server(kind, folder) as s`: a real one on 127.0.0.1, and a meter before it. Its address is the meter's, or, where
    `direct` is set, its own."""

    def __init__(self, kind, folder):
        self.kind, self.folder, self.direct = kind, folder, False

    @property
    def host(self):
        return self.real.partition("//")[2] if self.direct else self.metered

    def __enter__(self):
        shutil.rmtree(self.folder, ignore_errors=True)
        self.folder.mkdir()
        script = f'. "{HERE.parent}/test/harness/s3_server.sh"; trap s3_stop EXIT; s3_start {self.kind} "$1" && echo "$S3_ENDPOINT ${{S3_PIDS[0]}}" && read -r _' \
                 ' || echo "! $S3_WHY"'
        self.shell = subprocess.Popen(["bash", "-c", script, "bench", self.folder], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self.real, _, self.pid = self.shell.stdout.readline().strip().partition(" ")
        if not self.real.startswith("http"):
            self.shell.wait()
            raise LookupError(self.pid or "it did not start")
        self.meter = subprocess.Popen([sys.executable, HERE / "s3_meter.py", self.real.partition("//")[2]], stdin=subprocess.PIPE,
                                      stdout=subprocess.PIPE, text=True)
        self.metered = f"127.0.0.1:{self.meter.stdout.readline().strip()}"
        return self

    def __exit__(self, *_):
        for p in (self.meter, self.shell):
            p.stdin.close()
            p.wait()
        shutil.rmtree(self.folder, ignore_errors=True)

    def order(self, line):
        self.meter.stdin.write(line + "\n")
        self.meter.stdin.flush()
        return json.loads(self.meter.stdout.readline())

    def client(self, *argv):
        env = {**os.environ, "S3_ENDPOINT": self.real, "S3_ACCESS": ACCESS, "S3_SECRET": SECRET, "S3_REGION": "us-east-1"}
        return subprocess.run([sys.executable, HERE.parent / "test/harness/s3_client.py", *argv], env=env, check=True, capture_output=True, text=True).stdout

    def cpu(self):
        """Seconds that the server has computed so far."""
        user, system = Path(f"/proc/{self.pid}/stat").read_text().rpartition(")")[2].split()[11:13]
        return (int(user) + int(system)) / os.sysconf("SC_CLK_TCK")

    def stored(self, bucket):
        return sum(int(line.split()[1]) for line in self.client("ls", bucket).splitlines())


class OnS3:
    """What differs from an engine on a folder."""

    def prove(self):
        """What must come before anything is pruned."""

    def begin(self, server, bucket):
        self.clear()
        self.env |= KEYS
        self.server, self.bucket = server, bucket
        self.init()

    def cold(self):
        shutil.rmtree(self.cache, ignore_errors=True)
        self.cache.mkdir(parents=True)


class Proofkeep(OnS3, engines.ProofkeepConfigured):
    def init(self):
        self.config = self.place / f"{self.name}.yaml"
        self.config.write_text(f"""version: 1
platform: bench
secrets: {{ repository-key: {{ file: {self.secret} }} }}
repositories: {{ main: {{ url: "s3://{self.bucket}/p?endpoint=http://{self.server.host}", encrypt: {{ key: repository-key, kind: key_file }} }} }}
surfaces: {{ it: {{ kind: files, class: truth, paths: [{self.tree}] }} }}
environments: {{ bench: {{ repository: main, policy: {{ rpo: none, rto: none, verify: decode, retention: {{ keep: {{ last: 1 }} }} }} }} }}
""")
        self.at = ["--config", self.config, "--cache-dir", self.cache]
        self.go("init", *self.at, "--repository", "main")

    def prove(self): self.check()


class Restic(OnS3, engines.Restic):
    def init(self):
        self.secret.write_text("bench")
        self.at = ["-r", f"s3:http://{self.server.host}/{self.bucket}", "--password-file", self.secret, "-q"]
        self.go("init", *self.at)

    def prune(self): return self.go("forget", *self.at, "--keep-last", "1", "--prune")


class Rustic(OnS3, engines.Rustic):
    def init(self):
        self.secret.write_text("bench")
        profile = self.place / "rustic-s3.toml"
        profile.write_text(f"""[repository]
repository = "opendal:s3"
password-file = "{self.secret}"
[repository.options]
bucket = "{self.bucket}"
root = "/r"
region = "us-east-1"
endpoint = "http://{self.server.host}"
access_key_id = "{ACCESS}"
secret_access_key = "{SECRET}"
""")
        self.at = ["-P", profile.with_suffix(""), "--no-progress"]
        self.go(*self.at, "init")

    def prune(self): return self.go(*self.at, "forget", "--keep-last", "1", "--prune", "--instant-delete", "--keep-delete", "0s", "--max-repack", "unlimited")


class Kopia(OnS3, engines.Kopia):
    def init(self):
        self.env |= {"KOPIA_PASSWORD": "bench", "KOPIA_CONFIG_PATH": str(self.place / "kopia.config"), "KOPIA_CHECK_FOR_UPDATES": "false"}
        self.go("repository", "create", "s3", "--endpoint", self.server.host, "--disable-tls", "--bucket", self.bucket, "--access-key", ACCESS,
                "--secret-access-key", SECRET, "--cache-directory", self.cache / "c")
        self.go("policy", "set", "--global", "--compression", "zstd-fastest")

    def prune(self):
        s = subprocess.run([self.program, "snapshot", "list", "--json"], env={**engines.ENV, **self.env}, capture_output=True, check=True)
        deleted = self.go("snapshot", "delete", *(one["id"] for one in json.loads(s.stdout)[:-1]), "--delete")
        collected = self.go("maintenance", "run", "--full", "--safety=none")
        return {k: max(deleted[k], collected[k]) if k == "peak" else deleted[k] + collected[k] for k in deleted}


KINDS = {"proofkeep": Proofkeep, "restic": Restic, "rustic": Rustic, "kopia": Kopia}


def part_of(tree, place, size):
    """The first folders of the tree, in order, until there are so many bytes."""
    part, have = place / "s3-tree", 0
    shutil.rmtree(part, ignore_errors=True)
    part.mkdir()
    for parent, folders, _ in os.walk(tree):
        folders.sort()
        files = [f for f in sorted(Path(parent).iterdir()) if f.is_file() and not f.is_symlink() and f.stat().st_size < size // 8]
        if not files:
            continue
        to = part / Path(parent).relative_to(tree)
        to.mkdir(parents=True, exist_ok=True)
        for f in files:
            shutil.copy2(f, to / f.name)
            have += f.stat().st_size
        if have >= size:
            break
    return part


def halve(tree, aside):
    """Every other folder's files go aside, to just under a half of all bytes (below, a retention may hold a prune for it);
    `back` brings them again."""
    moved, left = [], stored(tree) * 45 // 100
    for i, (parent, folders, files) in enumerate(os.walk(tree)):
        folders.sort()
        for f in files if i % 2 else []:
            here, to = Path(parent) / f, aside / Path(parent).relative_to(tree) / f
            if here.is_symlink() or (left := left - here.stat().st_size) < 0:
                return moved
            to.parent.mkdir(parents=True, exist_ok=True)
            here.rename(to)
            moved.append((to, here))
    return moved


def back(moved):
    for there, here in moved:
        there.rename(here)


def step(e, server, what, *argv):
    server.order("count")
    before = server.cpu()
    use = getattr(e, what)(*argv)
    use["served"] = server.cpu() - before
    n = server.order("count")
    n.pop("entries", 0) # PUTs all the same
    up, down = n.pop("up"), n.pop("down")
    use |= {"connections": n.pop("connections", 0), "requests": sum(n.values()), "kinds": n, "up": up, "down": down}
    return use


def floor(server, bucket, place, size):
    """What it takes curl to put so many bytes there, in objects of 24 MiB and eight at once, and to get them again."""
    folder, each = place / "s3-floor", 24 << 20
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    names = [str(n) for n in range(max(1, size // each))]
    for name in names:
        (folder / name).write_bytes(os.urandom(min(each, size)))
    server.client("mb", bucket)
    url = f"http://{server.host}/{bucket}"
    common = ["curl", "-sSf", "-Z", "--parallel-immediate", "--parallel-max", "8", "--aws-sigv4", "aws:amz:us-east-1:s3", "-u", f"{ACCESS}:{SECRET}",
              "-H", "x-amz-content-sha256: UNSIGNED-PAYLOAD"]
    rows = {}
    for what, more in (("put", ["-T", f"{folder}/{{{','.join(names)}}}", url + "/"]),
                       ("get", [f"{url}/{{{','.join(names)}}}", "-o", "/dev/null"])):
        before = server.cpu()
        rows[what] = run([*common, *more])
        rows[what]["served"] = server.cpu() - before
    shutil.rmtree(folder)
    return rows


def measure_both(e, server, bucket, tree, o, late):
    """Late: in one pass. Else the seconds of a pass without the meter, and the requests of one with it."""
    if late:
        return measure(e, server, bucket, tree, o)
    server.direct = True
    row = measure(e, server, bucket + "-direct", tree, o)
    server.direct = False
    e.clear()
    counted = measure(e, server, bucket, tree, o)
    for s in STEPS:
        row[s] |= {k: counted[s][k] for k in ("connections", "requests", "kinds", "up", "down")}
    return row


def emptied(out):
    """What was restored gives its space back. Its files go when all is measured: ext4 without a journal passes over inodes that
    were freed lately one by one, for a minute and longer, and whoever restores next would pay for it."""
    for f in out.rglob("*"):
        if f.is_file() and not f.is_symlink():
            os.truncate(f, 0)


def measure(e, server, bucket, tree, o):
    out, aside = o.dir / "s3-out" / f"{e.name}-{server.kind}-{bucket}", o.dir / "s3-aside"
    out.parent.mkdir(exist_ok=True)
    shutil.rmtree(aside, ignore_errors=True)
    e.tree = tree
    server.client("mb", bucket)
    e.begin(server, bucket)
    row = {"first": step(e, server, "backup", tree)}
    row["stored"] = server.stored(bucket)
    row["unchanged"] = step(e, server, "backup", tree)
    os.sync()
    e.cold()
    row["restore"] = step(e, server, "restore", out)
    row["on disk"] = row["restore"]["wall"] + run(["sync", "-f", out])["wall"]
    emptied(out)
    e.cold()
    row["check"] = step(e, server, "check")
    moved = halve(tree, aside)
    row["second"] = step(e, server, "backup", tree)
    back(moved)
    e.prove()
    e.cold()
    row["prune"] = step(e, server, "prune")
    row["left"] = server.stored(bucket)
    return row


def show(rows, title, least):
    print(f"\n{title}\n{'':12}" + "".join(f"{s:>26}" for s in STEPS) + f"{'stored, left MB':>20}")
    for name, row in rows.items():
        print(f"{name:12}" + "".join(f"{row[s]['wall']:>8.2f} s {row[s]['requests']:>6} rq {row[s]['peak']:>4.0f}M" for s in STEPS)
              + f"{row['stored'] / 1e6:>12.0f} {row['left'] / 1e6:>7.0f}")
    if "proofkeep" in rows and len(rows) > 1:
        others = [n for n in rows if n != "proofkeep"]
        for what in ("wall", "requests"):
            line = [min(rows[n][s][what] for n in others) / rows["proofkeep"][s][what] for s in STEPS]
            print(f"{'best, ' + what:12}"[:12] + "".join(f"{f'{x:.2f} x':>26}" for x in line))
        print(f"  a restore until all is on the disk: {min(rows[n]['on disk'] for n in others) / rows['proofkeep']['on disk']:.2f} x")
    print("  restored and on the disk: " + ", ".join(f"{name} {row['on disk']:.2f} s" for name, row in rows.items()))
    for name, row in rows.items():
        print(f"  {name:10} " + "; ".join(f"{s} " + " ".join(f"{k} {n}" for k, n in sorted(row[s]["kinds"].items()))
                                          + f" ↑{row[s]['up'] / 1e6:.0f} ↓{row[s]['down'] / 1e6:.0f} MB" for s in STEPS))
    cpu = lambda use: f"{use['user'] + use['sys']:.2f}+{use['served']:.2f}"
    print("  CPU seconds, its own and the server's: " + "; ".join(
        f"{name} " + " ".join(f"{s} {cpu(row[s])}" for s in STEPS) for name, row in rows.items()))
    print("  as many bytes as the first of these stores, by curl: " + ", ".join(f"{what} {use['wall']:.2f} s, CPU {cpu(use)}" for what, use in least.items()))
    sys.stdout.flush()


def bench_s3(programs, o):
    """programs: of each engine by name; o: dir, servers, late, mb."""
    shutil.rmtree(o.dir / "s3-out", ignore_errors=True)
    tree = part_of(tree_make(o.dir), o.dir, o.mb * 1_000_000)
    size, results = stored(tree), {}
    warm(tree)
    for kind in o.servers.split(","):
        try:
            with Server(kind, o.dir / "s3-server") as server:
                for late in map(float, o.late.split(",")):
                    rows = {}
                    server.order(f"late {late}")
                    for name, program in programs.items():
                        if name not in KINDS:
                            continue
                        e = KINDS[name](name, program, o.dir)
                        bucket = f"{name}-{late:g}".replace(".", "-")
                        rows[name] = measure_both(e, server, bucket, tree, o, late)
                        e.clear()
                        print(f"{kind}, {late:g} ms: {name}: done", file=sys.stderr)
                    server.direct = not late
                    least = floor(server, f"floor-{late:g}".replace(".", "-"), o.dir, next(iter(rows.values()))["stored"])
                    server.direct = False
                    show(rows, f"{kind}, {late:g} ms late: {size / 1e6:.0f} MB in {sum(1 for p in tree.rglob('*') if p.is_file())} files", least)
                    results[f"{kind}-{late:g}"] = {**rows, "floor": least}
                    (o.dir / "s3.json").write_text(json.dumps(results, indent=1))
        except LookupError as why:
            print(f"{kind} is left out: {why}", file=sys.stderr)
    shutil.rmtree(tree)
    shutil.rmtree(o.dir / "s3-out", ignore_errors=True)
    return results


def arguments(a):
    a.add_argument("--servers", default="minio,versitygw")
    a.add_argument("--late", default="0,20")
    a.add_argument("--mb", type=int, default=1000)


def main():
    a = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    a.add_argument("--dir", type=Path, default=Path(os.environ.get("BENCH_DIR", "/var/tmp/proofkeep-bench")))
    a.add_argument("--program", type=Path, default=HERE.parent / "build" / "proofkeep")
    a.add_argument("--peers", default="restic,rustic,kopia")
    arguments(a)
    o = a.parse_args()
    os.umask(0o077)
    o.dir.mkdir(parents=True, exist_ok=True)
    o.dir = o.dir.resolve()
    names = ["proofkeep", *filter(None, o.peers.split(","))]
    programs = {n: o.program.resolve() if n == "proofkeep" else o.dir / "peers/bin" / n for n in names}
    print(f"{os.cpu_count()} cores, load {os.getloadavg()[0]:.1f} at the start")
    bench_s3({n: p for n, p in programs.items() if p.exists()}, o)


if __name__ == "__main__":
    main()
