#!/usr/bin/env python3
"""Redis: a capture against `redis-cli --rdb`, a live restore against `redis-cli --pipe` of the same keys, second backups.

bench/redis.py --proofkeep BUILD/proofkeep [--keys N] [--rounds N] [--work FOLDER]
Servers are its own, on unix sockets. What is timed is whole processes; CPU seconds are those of the client's side alone.
Rows that begin with "floor" are no client's: what the server needs by itself, which no client can undercut. "sent to nobody" is its
RDB received and dropped; "its own loader" is what the server's log says of loading the RDB; the others are streams of commands from
a file, with replies off: what a restore sends, and what --pipe sends.
"""
import argparse
import os
import pathlib
import resource
import shutil
import re
import signal
import socket
import subprocess
import sys
import tempfile
import threading
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


def connected(path):
    c = socket.socket(socket.AF_UNIX)
    c.connect(str(path))
    return c


def drop_rdb(server):
    """A full synchronisation whose bytes go nowhere; how many there were."""
    c = connected(server.socket)
    for option, value in ((b"rdb-only", b"1"), (b"capa", b"eof")):
        c.sendall(resp(b"REPLCONF", option, value))
        if c.recv(64) != b"+OK\r\n":
            sys.exit("the server took no replica")
    c.sendall(resp(b"PSYNC", b"?", b"-1"))
    head = b""
    while not (mark := re.search(rb"\$EOF:(.{40})\r\n", head)):
        if not (piece := c.recv(65536)):
            sys.exit(f"the server began no synchronisation: {head[:200]}")
        head += piece
    room, tail, n = memoryview(bytearray(1 << 20)), head[mark.end():], 0
    while tail[-40:] != mark[1]:
        if not (got := c.recv_into(room)):
            sys.exit("the server ended a synchronisation early")
        tail, n = (tail + bytes(room[max(0, got - 80):got]))[-80:], n + got
    c.close()
    return n


def record(server, front, into):
    """Stands at `front` before the server for one connection after the other, and keeps what clients send."""
    def pass_on(source, target, keep):
        while piece := source.recv(1 << 16):
            if keep:
                keep.write(piece)
            target.sendall(piece)
        target.shutdown(socket.SHUT_WR)

    def serve():
        with open(into, "wb") as keep:
            while True:
                try:
                    client, _ = listener.accept()
                except OSError:
                    return
                back = connected(server.socket)
                other = threading.Thread(target=pass_on, args=(back, client, None))
                other.start()
                pass_on(client, back, keep)
                other.join()

    listener = socket.socket(socket.AF_UNIX)
    listener.bind(str(front))
    listener.listen()
    thread = threading.Thread(target=serve)
    thread.start()

    def end():
        listener.shutdown(socket.SHUT_RDWR)
        thread.join()
    return end


def replay(server, stream):
    """All of it without an answer, but for one at the end."""
    c = connected(server.socket)
    c.sendall(resp(b"CLIENT", b"REPLY", b"OFF"))
    with open(stream, "rb") as f:
        c.sendfile(f)
    c.sendall(resp(b"CLIENT", b"REPLY", b"ON"))
    if c.recv(64) != b"+OK\r\n":
        sys.exit(f"{stream}: the server answered where it should not")
    c.close()


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--proofkeep", required=True, type=pathlib.Path)
    parser.add_argument("--keys", type=int, default=1_000_000)
    parser.add_argument("--rounds", type=int, default=2)
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

        def floor(name, server, do, *words):
            before, start = server.cpu(), time.monotonic()
            do(server, *words)
            wall = time.monotonic() - start
            time.sleep(0.3)
            rows.append((f"floor: {name}", wall, float("nan"), server.cpu() - before, float("nan")))

        def pipe(name, server):
            with open(load, "rb") as f:
                timed(name, server, ["redis-cli", "-s", str(server.socket), "--pipe"], stdin=f)

        backup = [program, "backup", "lab/cache"]
        pipe("redis-cli --pipe", a)
        for again in range(args.rounds):
            timed("redis-cli --rdb", a, ["redis-cli", "-s", str(a.socket), "--rdb", str(work / "dump.rdb")])
            if again:
                shutil.rmtree(work / "repo")
                shutil.rmtree(work / "cache")
                (work / "key").unlink()
            run([program, "init", "--repository", "main"])
            timed("backup", a, backup)
            floor("sent to nobody", a, drop_rdb)
        timed("backup, nothing changed", a, backup)
        for change in ("redis.call('set', string.format('s:user:%09d', i * 800), 'changed ' .. i)",
                       "redis.call('hset', string.format('h:user:%09d', i * 800 + 4), 'field0', 'changed ' .. i)"):
            a.cli("eval", f"for i = 0, tonumber(ARGV[1]) - 1 do {change} end", "0", str(args.keys // 800))
        timed("backup, 0.25 % changed", a, backup)
        digest = a.cli("debug", "digest")
        servers.append(Server(work / "b"))
        for again in range(args.rounds):
            servers[1].cli("flushall")
            timed("restore into a server", servers[1], [program, "restore", "lab/cache@latest", "--into", f"unix:{servers[1].socket}"])
            if servers[1].cli("debug", "digest") != digest:
                sys.exit("what was restored differs")
            servers[1].cli("flushall")
            pipe("redis-cli --pipe", servers[1])
        timed("restore into a folder", None, [program, "restore", "lab/cache@latest", "--into", str(work / "c")])
        servers[1].cli("flushall")
        end = record(servers[1], work / "front", work / "sent")
        run([program, "restore", "lab/cache@latest", "--into", f"unix:{work}/front"])
        end()
        for name, stream in (("what a restore sends", work / "sent"), ("what --pipe sends", load)):
            servers[1].cli("flushall")
            floor(name, servers[1], replay, stream)
        servers.append(Server(work / "d", work / "c/dump.rdb"))
        loading = float(re.search(r"DB loaded from disk: ([0-9.]+) seconds", (work / "d/log").read_text())[1])
        rows.append(("floor: its own loader", loading, float("nan"), servers[2].cpu(), float("nan")))
        config = work / "proofkeep.yaml"
        config.write_text(config.read_text().replace(str(a.socket), str(servers[2].socket)))
        timed("backup, server started anew", servers[2], backup)
        print(f"{args.keys} keys, RDB of {os.path.getsize(work / 'dump.rdb') / 2**20:.0f} MiB")
        for name, wall, cpu, server, peak in rows:
            print(f"{name:30} {wall:7.2f} s wall {cpu:7.2f} s CPU {server:7.2f} s CPU of the server {peak:6.0f} MiB")
        best = {}
        for name, wall, *_ in rows:
            best[name] = min(wall, best.get(name, wall))
        for ours, theirs in (("backup", "redis-cli --rdb"), ("floor: sent to nobody", "redis-cli --rdb"),
                             ("restore into a server", "redis-cli --pipe"), ("floor: what a restore sends", "redis-cli --pipe"),
                             ("floor: its own loader", "redis-cli --pipe")):
            print(f"{ours}: {best[theirs] / best[ours]:.2f} times as fast as {theirs}")
    finally:
        for s in servers:
            s.stop()
        shutil.rmtree(work, ignore_errors=True)


if __name__ == "__main__":
    main()
