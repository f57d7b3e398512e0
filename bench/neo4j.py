#!/usr/bin/env python3
"""Neo4j: an online export against the stock Python driver reading the same graph, and a second backup after a small change.

bench/neo4j.py --proofkeep BUILD/proofkeep --server HOST:PORT [--nodes N] [--python PYTHON-WITH-NEO4J] [--work FOLDER]
The server is one without passwords (tools/servers/neo4j.sh start FOLDER); what it has is used, or made when it is empty. What is
timed is whole processes; CPU seconds are those of the client's side alone.
"""
import argparse
import json
import pathlib
import resource
import subprocess
import sys
import tempfile
import time

FILL = r"""
import sys, neo4j
d = neo4j.GraphDatabase.driver("bolt://" + sys.argv[1]); n = int(sys.argv[2]); step = 20000
ask = lambda text, **with_: d.execute_query(text, with_).records
if ask("MATCH (n) RETURN count(n)")[0][0] == 0:
    ask("CREATE CONSTRAINT p FOR (n:P) REQUIRE n.id IS UNIQUE")
    for a in range(0, n, step):
        ask("UNWIND range($a, $b) AS i CREATE (:P {id: i, name: 'name ' + i, score: i * 0.5, even: i % 2 = 0, tags: ['a', 'b' + i % 7]})", a=a, b=min(a + step, n) - 1)
    for a in range(0, n, step):
        ask("UNWIND range($a, $b) AS i MATCH (x:P {id: i}) MATCH (y:P {id: (i * 7919 + 1) % $n}) MATCH (z:P {id: (i + 1) % $n}) "
            "CREATE (x)-[:KNOWS {since: date('2020-01-01')}]->(y), (x)-[:NEXT {weight: i}]->(z)", a=a, b=min(a + step, n) - 1, n=n)
"""
READ = r"""
import sys, neo4j
d = neo4j.GraphDatabase.driver("bolt://" + sys.argv[1])
with d.session(fetch_size=10000, default_access_mode="READ") as s, open(sys.argv[2], "w") as out:
    for r in s.run("MATCH (n) RETURN n"):
        out.write(repr((r[0].element_id, sorted(r[0].labels), dict(r[0]))) + "\n")
    for r in s.run("MATCH ()-[r]->() RETURN r"):
        x = r[0]
        out.write(repr((x.element_id, x.start_node.element_id, x.end_node.element_id, x.type, dict(x))) + "\n")
"""


def run(command, **how):
    """Wall and CPU seconds of one program, and what it wrote."""
    before, start = resource.getrusage(resource.RUSAGE_CHILDREN), time.monotonic()
    done = subprocess.run([str(c) for c in command], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, **how)
    wall, after = time.monotonic() - start, resource.getrusage(resource.RUSAGE_CHILDREN)
    if done.returncode:
        sys.exit(f"{command}: {done.stdout}{done.stderr}")
    return wall, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime, done.stdout


def main():
    a = argparse.ArgumentParser()
    a.add_argument("--proofkeep", type=pathlib.Path, required=True)
    a.add_argument("--server", required=True)
    a.add_argument("--nodes", type=int, default=300000)
    a.add_argument("--python", default=sys.executable)
    a.add_argument("--work")
    a = a.parse_args()
    work = pathlib.Path(tempfile.mkdtemp(dir=a.work, prefix="bench-neo4j-"))
    run([a.python, "-c", FILL, a.server, a.nodes])
    host, port = a.server.rsplit(":", 1)
    (work / "proofkeep.yaml").write_text(f"""version: 1
platform: bench
secrets: {{ k: {{ file: {work}/key }} }}
repositories: {{ main: {{ url: {work}/repo, encrypt: {{ key: k, kind: key_file }} }} }}
surfaces: {{ graph: {{ kind: neo4j, class: truth, dbms: {{ host: {host}, port: {port} }} }} }}
environments: {{ lab: {{ repository: main }} }}
""")
    pk = [a.proofkeep.resolve(), "--config", work / "proofkeep.yaml"]
    run([*pk, "init", "--repository", "main"])
    size = lambda: sum(f.stat().st_size for f in (work / "repo").rglob("*") if f.is_file())
    read = run([a.python, "-c", READ, a.server, work / "read"])[:2]
    first = run([*pk, "backup", "lab/graph"])[:2]
    stored = size()
    run([a.python, "-c", "import sys, neo4j; neo4j.GraphDatabase.driver('bolt://' + sys.argv[1]).execute_query("
         "'MATCH (n:P) WHERE n.id % 1000 = 7 SET n.score = n.score + 1')", a.server])
    second = run([*pk, "backup", "lab/graph"])[:2]
    print(json.dumps({"nodes": a.nodes, "python_driver_s": read[0], "python_driver_cpu_s": read[1], "backup_s": first[0],
                      "backup_cpu_s": first[1], "times_faster": read[0] / first[0], "stored_bytes": stored,
                      "second_backup_s": second[0], "second_backup_stored_bytes": size() - stored}, indent=2))


if __name__ == "__main__":
    main()
