#!/usr/bin/env python3
"""Redis: a capture against `redis-cli --rdb`, a live restore against `redis-cli --pipe` of the same keys, second backups.

bench/redis.py --proofkeep BUILD/proofkeep [--keys N] [--work FOLDER]
Servers are its own, on unix sockets. What is timed is whole processes; CPU seconds are those of the client's side alone.
"""
import argparse
import os
import pathlib
import resource
import shutil
import signal
import subprocess
import sys
import tempfile
import time


def run(command, **how):
    """Wall seconds, CPU seconds and the peak of memory in MiB of one program."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    start = time.monotonic()
    done = subprocess.run(["/usr/bin/env", "time", "-f", "%M", *command] if shutil.which("time") else command,
                          stdout=subprocess.PIPE, stderr=subprocess.PIPE, **how)
    wall = time.monotonic() - start
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    if done.returncode:
        sys.exit(f"{command}: {done.stdout.decode()}{done.stderr.decode()}")
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    peak = int(done.stderr.split()[-1]) / 1024 if shutil.which("time") else float("nan")
    return wall, cpu, peak, done.stderr.decode()


class Server:
    def __init__(self, folder, rdb=None):
        self.folder = folder
        folder.mkdir()
        if rdb:
            shutil.copy(rdb, folder / "dump.rdb")
        self.socket = folder / "s"
        self.process = subprocess.Popen(
            ["redis-server", "--port", "0", "--unixsocket", str(self.socket), "--dir", str(folder), "--save", "",
             "--logfile", str(folder / "log"), "--enable-debug-command", "local", "--repl-diskless-sync-delay", "0"])
        while "PONG" not in subprocess.run(["redis-cli", "-s", str(self.socket), "ping"], capture_output=True,
                                           text=True).stdout:
            time.sleep(0.05)

    def cli(self, *words):
        return subprocess.run(["redis-cli", "-s", str(self.socket), *words], check=True, capture_output=True,
                              text=True).stdout.strip()

    def cpu(self):
        """Seconds of CPU of the server and of the children that it has waited for."""
        info = dict(line.split(":", 1) for line in self.cli("info", "cpu").splitlines() if ":" in line)
        return sum(float(info["used_cpu_" + k]) for k in ("sys", "user", "sys_children", "user_children"))

    def stop(self):
        self.process.send_signal(signal.SIGTERM)
        self.process.wait()


def resp(*words):
    out = [b"*%d\r\n" % len(words)]
    for w in words:
        out.append(b"$%d\r\n%s\r\n" % (len(w), w))
    return b"".join(out)


def commands(n):
    """Keys as a stock client would load them: short strings, half of them; hashes, lists and sets the other."""
    for i in range(n):
        key = b"user:%09d" % i
        kind = i % 8
        if kind < 4:
            yield resp(b"SET", b"s:" + key, b"value of %d, %x" % (i, i * 2654435761 % 2**32))
        elif kind < 6:
            words = [b"HSET", b"h:" + key]
            for f in range(6):
                words += [b"field%d" % f, b"%x" % (i * (f + 7) * 40503 % 2**32)]
            yield resp(*words)
        elif kind == 6:
            yield resp(b"RPUSH", b"l:" + key, *[b"item %d" % (i * k) for k in range(8)])
        else:
            yield resp(b"SADD", b"t:" + key, *[b"tag%d" % (i * k % 97) for k in range(8)])


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--proofkeep", required=True, type=pathlib.Path)
    parser.add_argument("--keys", type=int, default=1_000_000)
    parser.add_argument("--work", type=pathlib.Path)
    args = parser.parse_args()
    program = str(args.proofkeep.resolve())
    work = pathlib.Path(tempfile.mkdtemp(prefix="bench-redis-", dir=args.work))
    servers = []
    try:
        os.chdir(work)
        os.environ.update(HOME=str(work), XDG_CACHE_HOME=str(work / "cache"))
        servers.append(Server(work / "a"))
        a = servers[0]
        load = work / "load"
        with open(load, "wb") as f:
            for one in commands(args.keys):
                f.write(one)
        os.umask(0o077)
        (work / "proofkeep.yaml").write_text(f"""version: 1
platform: bench
secrets: {{ k: {{ file: {work}/key }} }}
repositories: {{ main: {{ url: {work}/repo, encrypt: {{ key: k, kind: key_file }} }} }}
surfaces:
  cache: {{ kind: redis, class: runtime, server: {{ host: {a.socket}, conflicts: replace }} }}
environments: {{ lab: {{ repository: main }} }}
""")
        rows = []

        def timed(name, server, command, **how):
            before = server.cpu() if server else 0
            wall, cpu, peak, out = run(command, **how)
            time.sleep(0.3)  # until the server has waited for its child
            rows.append((name, wall, cpu, server.cpu() - before if server else 0, peak))
            said = [line for line in out.split("\n") if ": OK" in line]
            if said:
                print(f"{name}: {said[0]}")

        def pipe(name, server):
            with open(load, "rb") as f:
                timed(name, server, ["redis-cli", "-s", str(server.socket), "--pipe"], stdin=f)

        backup = [program, "backup", "lab/cache"]
        pipe("redis-cli --pipe", a)
        run([program, "init", "--repository", "main"])
        timed("redis-cli --rdb", a, ["redis-cli", "-s", str(a.socket), "--rdb", str(work / "dump.rdb")])
        timed("backup", a, backup)
        timed("backup, nothing changed", a, backup)
        for change in ("redis.call('set', string.format('s:user:%09d', i * 800), 'changed ' .. i)",
                       "redis.call('hset', string.format('h:user:%09d', i * 800 + 4), 'field0', 'changed ' .. i)"):
            a.cli("eval", f"for i = 0, tonumber(ARGV[1]) - 1 do {change} end", "0", str(args.keys // 800))
        timed("backup, 0.25 % changed", a, backup)
        digest = a.cli("debug", "digest")
        servers.append(Server(work / "b"))
        for again in range(2):
            servers[1].cli("flushall")
            timed("restore into a server", servers[1], [program, "restore", "lab/cache@latest", "--into", f"unix:{servers[1].socket}"])
            if servers[1].cli("debug", "digest") != digest:
                sys.exit("what was restored differs")
            servers[1].cli("flushall")
            pipe("redis-cli --pipe", servers[1])
        timed("restore into a folder", None, [program, "restore", "lab/cache@latest", "--into", str(work / "c")])
        servers.append(Server(work / "d", work / "c/dump.rdb"))
        config = work / "proofkeep.yaml"
        config.write_text(config.read_text().replace(str(a.socket), str(servers[2].socket)))
        timed("backup, server started anew", servers[2], backup)
        print(f"{args.keys} keys, RDB of {os.path.getsize(work / 'dump.rdb') / 2**20:.0f} MiB")
        for name, wall, cpu, server, peak in rows:
            print(f"{name:28} {wall:7.2f} s wall {cpu:7.2f} s CPU {server:7.2f} s CPU of the server {peak:6.0f} MiB")
    finally:
        for s in servers:
            s.stop()
        shutil.rmtree(work, ignore_errors=True)


if __name__ == "__main__":
    main()
