#!/usr/bin/env python3
"""Recovers a busy server to random instants, and holds each copy against a journal that was kept outside of the server.

One session commits numbered transactions, each between two readings of the clock, while base backups are taken, segments are
switched, the server, what stores its WAL and a backup are killed and started again, and it is promoted to new timelines: once in its own
folder, once as a standby, of which a backup was taken, while the old primary still wrote and stored what is on no later timeline. Then, for each of N instants, a copy is restored to
that time, started with the stock server, and asked: every transaction that had returned by then must be there, none that began
later may be, none of the lost branch may be, and what transactions never change (a sum over accounts) must be as it always is. Of every
K-th, the server's own tools that are there judge the base, the tables and the pages; of each life, some of the WAL that is stored.

  instants.py --program PROOFKEEP --bin FOLDER-OF-THE-SERVER --dir EMPTY [--instants 20] [--seconds 25] [--through replication|host]
              [--wal archive|stream] [--seed N] [--tools K]

It runs as whoever the server is to run as, never root. Speaks TAP."""

import argparse, collections, datetime, os, random, signal, subprocess, sys, threading, time
from pathlib import Path

ACCOUNTS, EACH = 1000, 1000
LOST = 1000000  # from here on: journal of the branch that is lost


def text(seconds):
    return datetime.datetime.fromtimestamp(seconds, datetime.timezone.utc).strftime("%Y-%m-%dT%H:%M:%S.%fZ")


class Tap:
    n = failed = 0

    def claim(self, good, what, why=""):
        self.n += 1
        self.failed += not good
        print(f"{'ok' if good else 'not ok'} {self.n} - {what}", flush=True)
        for line in [] if good else str(why).splitlines()[-40:]:
            print(f"# {line}", flush=True)
        return good


class Server:
    """A cluster in a folder; its own programs start, ask and stop it. Killed ones are killed by the process id in its folder."""

    def __init__(self, o, data):
        self.bin, self.data, self.socket = o.bin, data, o.dir / "s"
        self.port = Server.port = getattr(Server, "port", 5600) + 1
        self.log = data.parent / f"{data.name}.log"

    def pg(self, program, *argv, **kw):
        return subprocess.run([self.bin / program, *map(str, argv)], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                              text=True, env={**os.environ, "PGHOST": str(self.socket), "PGPORT": str(self.port), "PGUSER": "postgres"}, **kw)

    def init(self, *lines):
        done = self.pg("initdb", "-D", self.data, "-U", "postgres", "-A", "trust", "-E", "UTF8", "--locale=C.UTF-8", "--no-sync", "--data-checksums")
        if done.returncode:
            sys.exit(done.stdout)
        with open(self.data / "postgresql.conf", "a") as conf:
            conf.write("\n".join(["listen_addresses = ''", f"unix_socket_directories = '{self.socket}'", "fsync = off", "timezone = UTC",
                                  "max_wal_size = 512MB", "checkpoint_timeout = 30s", *lines]) + "\n")

    def start(self, wait=60, *settings):
        options = " ".join(f"-c {s}" for s in [f"port={self.port}", *settings])
        return self.pg("pg_ctl", "-D", self.data, "-l", self.log, "-w", "-t", wait, "-s", "-o", options, "start")

    def stop(self):
        return self.pg("pg_ctl", "-D", self.data, "-w", "-t", 60, "-s", "-m", "fast", "stop")

    def kill(self):
        pid = int((self.data / "postmaster.pid").read_text().split()[0])
        os.kill(pid, signal.SIGKILL)
        time.sleep(1)  # what it left dies when it sees that its parent is gone
        (self.data / "postmaster.pid").unlink(missing_ok=True)

    def ask(self, sql, database="postgres"):
        done = self.pg("psql", "-X", "-q", "-A", "-t", "-v", "ON_ERROR_STOP=1", "-d", database, "-c", sql)
        if done.returncode:
            raise RuntimeError(done.stdout)
        return done.stdout.strip()


class Work(threading.Thread):
    """Numbered transactions, one after the other, and when each was begun and had returned."""

    def __init__(self, server, rng):
        super().__init__(daemon=True)
        self.server, self.rng, self.done, self.open = server, rng, [], None
        self.ending = self.paused = self.idle = False
        self.start()

    def session(self):
        return subprocess.Popen([self.server.bin / "psql", "-X", "-q", "-A", "-t", "-v", "ON_ERROR_STOP=1", "-d", "postgres"], stdin=subprocess.PIPE,
                                stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, bufsize=1,
                                env={**os.environ, "PGHOST": str(self.server.socket), "PGPORT": str(self.server.port), "PGUSER": "postgres"})

    def run(self):
        psql, n = None, 0
        while not self.ending:
            if self.paused:
                if psql:
                    psql.stdin.close()
                    psql.wait()
                    psql = None
                self.idle = True
                time.sleep(0.02)
                continue
            self.idle = False
            if not psql:
                psql = self.session()
            n += 1
            a, b, x = self.rng.randrange(ACCOUNTS), self.rng.randrange(ACCOUNTS), self.rng.randrange(100)
            big = self.rng.random() < 0.1
            begun = time.time()
            try:
                psql.stdin.write(f"BEGIN; INSERT INTO journal VALUES ({n}, repeat(md5({n}::text), {300 if big else 3}));"
                                 f"UPDATE account SET has = has - {x} WHERE id = {a}; UPDATE account SET has = has + {x} WHERE id = {b};"
                                 + (f"INSERT INTO load SELECT g, md5(g::text || {n}) FROM generate_series(1, 3000) g; DELETE FROM load WHERE id % 3 = {n % 3};" if big else "")
                                 + f"COMMIT; SELECT 'done {n}';\n")
                psql.stdin.flush()
                good = psql.stdout.readline().strip() == f"done {n}"
            except OSError:
                good = False
            if good:
                self.done.append((n, begun, time.time()))
                time.sleep(self.rng.random() * 0.01)
                continue
            psql.kill()
            psql.wait()
            psql = None
            n = self.settle(n, begun)

    def settle(self, n, begun):
        """The connection was lost in the middle: whether that transaction was committed, the server knows when it is back."""
        while not self.ending:
            try:
                if self.server.ask(f"SELECT count(*) FROM journal WHERE id = {n}") == "1":
                    self.done.append((n, begun, time.time()))
                    return n
                return n - 1
            except RuntimeError:
                time.sleep(0.1)
        return n

    def pause(self):
        self.paused = True
        while not self.idle:
            time.sleep(0.02)

    def go_on(self):
        self.idle, self.paused = False, False


class Trial:
    def __init__(self, o):
        self.o, self.rng, self.tap = o, random.Random(o.seed), Tap()
        self.config = o.dir / "proofkeep.yaml"
        (o.dir / "s").mkdir()
        self.server = Server(o, o.dir / "live")
        self.receiver, self.killed = None, collections.Counter()
        self.judged = collections.Counter()
        self.archive = "archive_mode=" + ("on" if o.wal == "archive" else "off")

    def go(self, *argv, check=True):
        done = subprocess.run([self.o.program, *map(str, argv), "--config", self.config], cwd=self.o.dir, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                              stderr=subprocess.STDOUT, text=True)
        if check and done.returncode:
            raise RuntimeError(f"proofkeep {' '.join(map(str, argv))} ended with {done.returncode}\n{done.stdout}")
        return done

    def receive(self, *options):
        if self.o.wal == "stream":
            self.receiver = subprocess.Popen([self.o.program, "wal", "receive", "lab/pg", *options, "--config",
                                              self.config], cwd=self.o.dir, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
                                             stderr=open(self.o.dir / "receive.log", "a"))

    def configure(self, server):
        """Where the surface is from now on. Pushes may be reading it."""
        o, new = self.o, self.config.with_suffix(".new")
        new.write_text(f"""version: 1
platform: test
secrets: {{ k: {{ file: {o.dir}/key }} }}
repositories: {{ main: {{ url: "{o.dir}/repo", encrypt: {{ key: k, kind: key_file }} }} }}
surfaces:
  pg: {{ kind: postgres, class: runtime, method: physical, through: {o.through}, tools_dir: {o.bin}, connect: {{ host: {o.dir}/s, port: {server.port}, user: postgres }},
         wal: {{ mode: {o.wal} }} }}
environments: {{ lab: {{ repository: main }} }}
""")
        new.rename(self.config)

    def prepare(self):
        o = self.o
        self.configure(self.server)
        push = f"archive_command = '{o.program} wal push lab/pg %p --config {self.config}'"
        self.server.init("wal_level = replica", "max_wal_senders = 8", "max_replication_slots = 8", "wal_keep_size = 512MB",
                         *(["archive_mode = on", push, "archive_timeout = 5s"] if o.wal == "archive" else []))
        self.go("init", "--repository", "main")
        started = self.server.start()
        if started.returncode:
            sys.exit(started.stdout + self.server.log.read_text())
        self.server.ask("CREATE TABLE journal (id bigint PRIMARY KEY, t text); CREATE TABLE load (id int, t text);"
                        f"CREATE TABLE account (id int PRIMARY KEY, has bigint); INSERT INTO account SELECT g, {EACH} FROM generate_series(0, {ACCOUNTS - 1}) g")
        self.amcheck = (o.bin / "pg_amcheck").exists() and self.server.ask("SELECT count(*) FROM pg_available_extensions WHERE name = 'amcheck'") == "1"
        self.receive("--create-slot")

    def disturb(self, work, what):
        if what == "standby":
            self.follow()
        if what in ("backup", "standby"):
            for _ in range(60):  # the session of one that was killed ends when the server looks after it
                done = self.go("backup", "lab/pg", check=False)
                if "another physical backup of this server is running" not in done.stdout:
                    break
                time.sleep(0.5)
            if done.returncode:
                raise RuntimeError(done.stdout)
            self.configure(self.server)
        elif what == "switch":
            self.server.ask("SELECT pg_switch_wal()")
        elif what == "receiver" and self.receiver:
            self.receiver.kill()
            self.receiver.wait()
            self.receive()
            self.killed["receiver"] += 1
        elif what == "receiver":
            self.kill_push()
        elif what == "cut":
            wait = self.rng.random() * 0.5
            while True:
                backup = subprocess.Popen([self.o.program, "backup", "lab/pg", "--config", self.config], cwd=self.o.dir, stdin=subprocess.DEVNULL,
                                          stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
                time.sleep(wait)
                backup.kill()
                if backup.wait() == -signal.SIGKILL:
                    break
                wait /= 2
            self.killed["backup"] += 1
        elif what == "kill":
            self.server.kill()
            self.killed["server"] += 1
            self.restart()
        elif what == "promote":
            work.pause()
            self.server.stop()
            (self.server.data / "standby.signal").touch()
            self.restart()
            self.promote(self.server)
            work.go_on()
        elif what == "failover":
            self.failover(work)

    def promote(self, server):
        done = server.pg("pg_ctl", "-D", server.data, "-w", "-t", 60, "-s", "promote")
        if done.returncode:
            raise RuntimeError(done.stdout + server.log.read_text()[-3000:])

    def follow(self):
        """A standby out of the repository, which is backed up next in the place of its primary."""
        self.standby = Server(self.o, self.o.dir / "standby")
        self.go("restore", "lab/pg", "--standby", "--into", self.standby.data)
        with open(self.standby.data / "postgresql.auto.conf", "a") as conf:
            conf.write(f"primary_conninfo = 'host={self.standby.socket} port={self.server.port} user=postgres'\n")
        done = self.standby.start(60, self.archive)
        if done.returncode:
            raise RuntimeError(done.stdout + self.standby.log.read_text()[-3000:])
        self.caught_up()
        self.configure(self.standby)

    def caught_up(self):
        lsn = self.server.ask("SELECT pg_current_wal_flush_lsn()")
        for _ in range(600):
            if self.standby.ask(f"SELECT pg_last_wal_replay_lsn() >= '{lsn}'") == "t":
                return
            time.sleep(0.1)
        raise RuntimeError(f"the standby never came to {lsn}\n" + self.standby.log.read_text()[-3000:])

    def failover(self, work):
        """The standby leads, and the old primary does not know: what it commits now, and stores, is lost."""
        work.pause()
        self.caught_up()
        self.promote(self.standby)
        for i in range(LOST, LOST + 20):
            self.server.ask(f"INSERT INTO journal VALUES ({i}, 'lost'); UPDATE account SET has = has + 1")
        lost = self.server.ask("SELECT pg_walfile_name(pg_switch_wal())")
        self.server.ask("UPDATE account SET has = has + 1")
        self.stored(lost)
        self.server.kill()
        self.server = work.server = self.standby
        self.configure(self.server)
        if self.receiver:
            self.receiver.kill()
            self.receiver.wait()
            self.go("wal", "receive", "lab/pg", "--once", "--create-slot")  # another server, which has no slot of ours yet
            self.receive()
        work.go_on()

    def kill_push(self):
        """One that the server starts meanwhile, as soon as it is seen."""
        for _ in range(60):
            self.server.ask("SELECT pg_switch_wal()")
            until = time.time() + 0.3
            while time.time() < until:
                for line in Path("/proc").glob("[0-9]*/cmdline"):
                    try:
                        argv = line.read_bytes().split(b"\0")
                        if argv[:3] == [str(self.o.program).encode(), b"wal", b"push"]:
                            os.kill(int(line.parent.name), signal.SIGKILL)
                            self.killed["push"] += 1
                            return
                    except OSError:
                        pass  # it has ended

    def restart(self):
        for _ in range(3):
            done = self.server.start(60, self.archive)
            if done.returncode == 0:
                return
            time.sleep(1)
        raise RuntimeError(done.stdout + self.server.log.read_text()[-3000:])

    def workload(self):
        self.go("backup", "lab/pg")
        time.sleep(1.1)  # a backup's end is told in whole seconds, rounded up
        work, begun = Work(self.server, self.rng), time.time()
        plan = ["switch", "cut", "backup", "kill", "receiver", "promote", "switch", "cut", "standby", "receiver", "kill", "failover", "receiver"]
        for i, what in enumerate(plan):
            until = begun + self.o.seconds * (i + 1) / (len(plan) + 1)
            time.sleep(max(0.2, until - time.time()))
            self.disturb(work, what)
        time.sleep(max(1, begun + self.o.seconds - time.time()))
        work.ending = True
        work.join()
        self.done = work.done
        self.end()
        return begun

    def stored(self, segment):
        for _ in range(600):
            if self.go("wal", "get", "lab/pg", segment, self.o.dir / "last", check=False).returncode == 0:
                return
            time.sleep(0.2)
        said = self.o.dir / "receive.log" if self.receiver else self.server.log
        raise RuntimeError(f"{segment} was never stored\n" + said.read_text()[-2000:])

    def end(self):
        """All that was committed is to be stored before anything is asked of it."""
        last = self.server.ask("SELECT pg_walfile_name(pg_current_wal_lsn())")
        self.server.ask("CREATE TABLE after_all (); SELECT pg_switch_wal(); CREATE TABLE after_that (); SELECT pg_switch_wal()")
        self.stored(last)
        if self.receiver:
            self.receiver.terminate()
            self.receiver.wait()
        self.server.stop()

    def tool(self, server, program, *argv):
        """What a tool of the server's own says against it; nothing, where it is not there."""
        if not (self.o.bin / program).exists():
            return ""
        self.judged[program] += 1
        done = server.pg(program, *argv)
        return f"{program} ended with {done.returncode}\n{done.stdout}" if done.returncode else ""

    def waldump(self):
        if not (self.o.bin / "pg_waldump").exists():
            return self.tap.claim(True, "what is stored of the WAL is read by pg_waldump # SKIP it is not there")
        names = []
        for timeline in (self.o.dir / "repo/wal").glob("*/*"):
            names += sorted(p.name.removesuffix(".pieces") for p in timeline.iterdir() if len(p.name.removesuffix(".pieces")) == 24)[:-1]  # the last ends where its timeline does
        bad = ""
        for name in self.rng.sample(names, min(8, len(names))):
            self.go("wal", "get", "lab/pg", name, self.o.dir / name)
            bad += self.tool(self.server, "pg_waldump", "--quiet", self.o.dir / name)
            (self.o.dir / name).unlink()
        self.tap.claim(names and not bad, "what is stored of the WAL is read by pg_waldump", bad)

    def instant(self, at, tools):
        into = self.o.dir / "copy" / "data"
        into.parent.mkdir(exist_ok=True)
        what = f"{text(at)} is as it was"
        copy = Server(self.o, into)
        try:
            self.go("restore", "lab/pg", "--target-time", text(at), "--into", into)
            said = self.tool(copy, "pg_verifybackup", "--quiet", into) if tools else ""
            done = copy.start(120, "archive_mode=off", "wal_receiver_timeout=0")
            if done.returncode:
                return self.tap.claim(False, what, done.stdout + copy.log.read_text()[-3000:])
            for _ in range(600):
                if copy.ask("SELECT pg_is_in_recovery()") == "f":
                    break
                time.sleep(0.1)
            there = {int(i) for i in copy.ask("SELECT id FROM journal").split()}
            total = int(copy.ask("SELECT sum(has) FROM account"))
            timeline = copy.ask("SELECT timeline_id FROM pg_control_checkpoint()")
            lost = [n for n, _, returned in self.done if returned <= at and n not in there]
            early = [n for n, begun, _ in self.done if begun > at and n in there]
            if tools:
                said += self.tool(copy, "pg_amcheck", "-d", "postgres", "--install-missing") if self.amcheck else ""
                copy.stop()
                said += self.tool(copy, "pg_checksums", "--check", "-D", into)
            good = not lost and not early and total == ACCOUNTS * EACH and there == set(range(1, len(there) + 1)) and not said
            return self.tap.claim(good, f"{what} ({len(there)} transactions, then timeline {timeline})",
                                  f"lost {lost[:20]}, early {early[:20]}, sum {total}, not of the journal {sorted(there - set(range(1, LOST)))[:5]}\n{said}")
        except RuntimeError as e:
            return self.tap.claim(False, what, str(e) + (copy.log.read_text()[-2000:] if copy.log.exists() else ""))
        finally:
            if (into / "postmaster.pid").exists():
                copy.stop()
            subprocess.run(["rm", "-rf", into.parent], check=True)

    def run(self):
        self.prepare()
        try:
            begun = self.workload()
        except RuntimeError as e:
            if (self.server.data / "postmaster.pid").exists():
                self.server.stop()
            if self.receiver:
                self.receiver.kill()
            print(f"Bail out! {str(e)[-3000:]}".replace("\n", "\n# "))
            return 1
        self.tap.claim(len(self.done) > 100, f"{len(self.done)} transactions were committed in {self.o.seconds} s, over kills and promotions")
        kinds = ("backup", "server", "receiver" if self.o.wal == "stream" else "push")
        self.tap.claim(all(self.killed[k] for k in kinds), "killed: " + ", ".join(f"{k} {self.killed[k]}" for k in kinds))
        done = self.go("wal", "verify", "lab/pg", check=False)
        self.tap.claim(done.returncode == 0, "nothing is missing between the first of the WAL and the last", done.stdout)
        self.waldump()
        first, last = self.done[0][1], self.done[-1][2]
        for i in range(self.o.instants):
            self.instant(first + (last - first) * (i + self.rng.random()) / self.o.instants - 0.001, i % self.o.tools == 0)
        print("# " + ", ".join(f"{k}: {n} times" for k, n in self.judged.items()))
        print(f"1..{self.tap.n}")
        return 1 if self.tap.failed else 0


def main():
    a = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    a.add_argument("--program", type=Path, required=True)
    a.add_argument("--bin", type=Path, required=True)
    a.add_argument("--dir", type=Path, required=True)
    a.add_argument("--instants", type=int, default=20)
    a.add_argument("--seconds", type=float, default=25)
    a.add_argument("--through", default="replication")
    a.add_argument("--wal", default="archive")
    a.add_argument("--tools", type=int, default=1)
    a.add_argument("--seed", type=int, default=int(time.time()))
    o = a.parse_args()
    os.environ.update(HOME=str(o.dir), XDG_CACHE_HOME=str(o.dir / "cache"), LC_ALL="C.UTF-8")
    os.umask(0o077)
    print(f"# seed {o.seed}")
    sys.exit(Trial(o).run())


if __name__ == "__main__":
    main()
