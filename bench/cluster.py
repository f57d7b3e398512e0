"""A throw-away PostgreSQL for the benchmark: unix socket only, never root, gone with its folder."""

import os, shutil, subprocess, tempfile, time
from pathlib import Path

from data import Text

SHELL = Path(__file__).resolve().parent.parent / "tools/demo/cluster.sh"
ROWS, UPDATES = 500_000, 20_000
TABLE = """CREATE TABLE document (id bigint PRIMARY KEY, name text NOT NULL, state text NOT NULL, seen int NOT NULL,
  changed timestamptz NOT NULL, body text NOT NULL); CREATE INDEX ON document (name);"""
# Each transaction changes two rows anywhere: a counter and a time in one, the end of the text in the other.
SCATTER = r"""\set a random(1, {rows})
\set b random(1, {rows})
UPDATE document SET seen = seen + 1, changed = now() WHERE id = :a;
UPDATE document SET state = 'revised', body = left(body, 200 + :a % 100) || md5(body) WHERE id = :b;
"""
INSERTS = """INSERT INTO pgbench_accounts SELECT 4000000 + i, 1 + i % 40, i, '' FROM generate_series(1, 15000) i;"""


class Cluster:
    """`with Cluster(place) as c`: started on entry, stopped and removed on exit."""

    def __init__(self, place, *settings):
        self.settings = settings
        place.chmod(0o711)  # the server's own user passes through
        self.folder = Path(tempfile.mkdtemp(prefix="pg.", dir=place))
        self.folder.chmod(0o755)
        self.socket = self.folder / "socket"

    def sh(self, script, *args, **kw):
        """Bash with the functions of cluster.sh; $1 is the folder, then args."""
        return subprocess.run(["bash", "-c", f'umask 022; . "{SHELL}"; f=$1; shift; {script}', "bench", str(self.folder), *map(str, args)],
                              check=True, **kw)

    def __enter__(self):
        try:
            self.sh('cluster_start "$f" "$@"', *self.settings)
        except BaseException:
            shutil.rmtree(self.folder, ignore_errors=True)
            raise
        return self

    def __exit__(self, *_):
        self.sh('cluster_stop "$f"')
        shutil.rmtree(self.folder, ignore_errors=True)

    def sql(self, database, text):
        return self.sh('cluster_psql "$f" -d "$1"', database, input=text.encode(), stdout=subprocess.PIPE).stdout.decode().strip()

    def bench(self, database, *args):
        self.sh('d=$1; shift; cluster_as "$f" "$PG_BIN/pgbench" -n "$@" "$d"', database, *args, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)

    def start_bench(self, database):
        """A pgbench that goes on until stop_bench."""
        p = subprocess.Popen(["bash", "-c", f'. "{SHELL}"; cluster_as "$1" "$PG_BIN/pgbench" -n -c 2 -T 100000 "$2"', "bench", str(self.folder), database],
                             stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True)
        time.sleep(2)
        return p

    def stop_bench(self, p):
        self.sql("postgres", "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity WHERE application_name = 'pgbench'")
        p.wait()

    def dump(self, database, path):
        with open(path, "wb") as out:
            self.sh('cluster_as "$f" "$PG_BIN/pg_dump" -Fc -Z0 "$1"', database, stdout=out)

    def make_documents(self, rows=ROWS):
        """(a) Half a million rows of text with two indexes."""
        self.sql("postgres", "CREATE DATABASE documents")
        self.sql("documents", TABLE)
        text = Text(5)
        p = subprocess.Popen(["bash", "-c", f'. "{SHELL}"; cluster_psql "$1" -d documents -c "COPY document FROM STDIN"', "bench", str(self.folder)],
                             stdin=subprocess.PIPE)
        states = [b"draft", b"reviewed", b"published", b"withdrawn"]
        for i in range(1, rows + 1):
            r = text.rng.getrandbits(40)
            p.stdin.write(b"%d\t%s-%d\t%s\t%d\t2026-%02d-%02d %02d:%02d:%02d+00\t%s\n" % (
                i, text.phrases[r % 1000].replace(b" ", b"-"), r % 100_000, states[r & 3], r >> 28, 1 + i * 12 // (rows + 1),
                1 + i % 28, r % 24, r % 60, r % 59, text.row(300, 1200)))
        p.stdin.close()
        if p.wait():
            raise SystemExit("the rows could not be loaded into PostgreSQL")
        self.sql("documents", "VACUUM ANALYZE")

    def change_documents(self, rows=ROWS, updates=UPDATES):
        script = self.folder / "scatter.sql"
        script.write_text(SCATTER.format(rows=rows))
        script.chmod(0o644)
        self.bench("documents", "-f", script, "-c", 2, "-t", updates // 4, "--random-seed=1")

    def make_pgbench(self):
        """(b) pgbench's own tables, four million accounts."""
        self.sql("postgres", "CREATE DATABASE pgbench")
        self.bench("pgbench", "-i", "-q", "-s", 40)

    def change_pgbench(self):
        self.bench("pgbench", "-c", 2, "-t", 10_000, "--random-seed=1")
        self.sql("pgbench", INSERTS)


def has_postgres():
    return subprocess.run(["bash", "-c", f'. "{SHELL}"; [ -n "$PG_BIN" ]']).returncode == 0


def user():
    return "postgres" if os.geteuid() == 0 else None
