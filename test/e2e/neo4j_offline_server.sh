#!/bin/bash
# The neo4j surface's offline method against a real server, whose own neo4j-admin says what came back.
. "${SOURCE_ROOT:?the project}/test/e2e/lib/tap.sh"
. "$SOURCE_ROOT/test/e2e/lib/neo4j_offline.sh"
. "$SOURCE_ROOT/tools/servers/neo4j.sh"
if ! neo4j_install; then
  echo "1..0 # skip $NEO4J_WHY"
  exit 0
fi
H=$T/h
trap neo4j_stop EXIT
A=$NEO4J_INSTALL/bin/neo4j-admin
hooks=("stop=env, NEO4J_HOME=$H, $NEO4J_INSTALL/bin/neo4j, stop" "start=env, NEO4J_HOME=$H, $NEO4J_INSTALL/bin/neo4j, start")
graph() { # FOLDER: what a graph is, in a few lines
  neo4j_ask "$1" 'CALL db.awaitIndexes(300)' >/dev/null && neo4j_ask "$1" 'MATCH (n) RETURN labels(n), count(*), sum(n.id) ORDER BY labels(n)' &&
    neo4j_ask "$1" 'MATCH ()-[r]->() RETURN type(r), count(*), sum(r.w)' &&
    neo4j_ask "$1" 'MATCH (n:Odd) RETURN n.t, n.p, n.l' && neo4j_ask "$1" 'SHOW CONSTRAINTS YIELD name, type RETURN name, type' &&
    neo4j_ask "$1" 'SHOW INDEXES YIELD name, type, state RETURN name, type, state ORDER BY name'
}
neo4j_start "$H" internal.server.bolt.thread_pool_shutdown_wait_time=0s || echo "# $NEO4J_WHY"
neo4j_ask "$H" 'UNWIND range(1,40000) AS i CREATE (:P {id: i, name: "n" + i, text: toString(i * 7919) + randomUUID()})' >/dev/null
neo4j_ask "$H" 'CREATE CONSTRAINT pid FOR (n:P) REQUIRE n.id IS UNIQUE' >/dev/null
neo4j_ask "$H" 'CREATE FULLTEXT INDEX words FOR (n:P) ON EACH [n.name]' >/dev/null
neo4j_ask "$H" 'MATCH (a:P),(b:P {id: a.id + 1}) CREATE (a)-[:NEXT {w: a.id}]->(b)' >/dev/null
neo4j_ask "$H" 'CREATE (:Odd {id: 1, t: datetime("2026-02-16T07:00:00Z"), p: point({x: 1, y: 2}), l: [1, 2, 3]})' >/dev/null
NEO4J_DATABASE=system neo4j_ask "$H" "CREATE USER keeper SET PASSWORD 'keeper secret'" >/dev/null
graph "$H" >was && [ -s was ]
claim 'a server has a graph, and a user'
config "$H" "$A"
pk init --repository main
fails 5 PK-NEO-021 backup lab/graph && says 'hooks' && neo4j_ask "$H" 'RETURN 1' >/dev/null
claim 'a dump of a running server is refused, with what to do, and the server runs on'
pk doctor --json
grep -q 'PK-NEO-021' out
claim 'doctor knows before'
config "$H" "$A" "${hooks[@]}"
pk backup lab/graph --json && neo4j_wait "$H" && graph "$H" >now && cmp was now
claim 'with hooks it is stopped, dumped and started again'
first=$(result surfaces.0.stored_bytes) old=$(result surfaces.0.backup_id)
"$P" show lab/graph@latest --json >show 2>err && python3 - <<PY
import json
text = json.dumps(json.load(open("show")))
for word in '"method": "offline"', '"taken_apart": true', '"name": "system"', '"consistency": "exact"', '"neo4j_version": "5.26', 'last_committed_transaction':
    assert word in text, word
PY
claim 'system is with it; the container was understood'
neo4j_ask "$H" 'MATCH (n:P) WHERE n.id % 1000 = 0 SET n.name = "changed" + n.id' >/dev/null
neo4j_stop "$H"
only=neo4j # from here on, for the time that system takes
config "$H" "$A"
pk backup lab/graph --json
claim 'a server that is stopped is dumped without hooks'
second=$(result surfaces.0.stored_bytes) dump=$(NEO4J_HOME=$H "$A" database dump --to-stdout neo4j 2>/dev/null | wc -c)
echo "# stored first $first, second $second; a dump has $dump"
[ "$second" -lt $((dump / 3)) ]
claim 'after a small change, little is stored'
R=$T/restored
pk restore "lab/graph@$old" --into "$R" && NEO4J_HOME=$R NEO4J_CONF=$R/conf "$A" database check neo4j >check 2>&1
claim 'an older point is restored into a new home, and is consistent'
neo4j_start "$R" "server.http.listen_address=127.0.0.1:$(server_port)" "server.bolt.listen_address=127.0.0.1:$(server_port)" \
  dbms.security.auth_enabled=false internal.server.bolt.thread_pool_shutdown_wait_time=0s server.memory.heap.max_size=512m && graph "$R" >now && cmp was now
claim 'a server starts from it with the same nodes, relationships, values, constraints and indexes'
NEO4J_DATABASE=system neo4j_ask "$R" 'SHOW USERS YIELD user RETURN user' | grep -q keeper
claim 'and the users of its system database'
neo4j_stop "$R"
fails 5 PK-RST-001 restore lab/graph@latest --into "$R"
claim 'a home that is not empty is refused'
fails 2 PK-USE-001 restore lab/graph@latest --path nosuch --into "$T/none"
claim 'so is a database that the snapshot does not have'
pk restore "lab/graph@$old" --path system --into "$T/one" && [ -d one/data/databases/system ] && [ ! -e one/data/databases/neo4j ]
claim 'one database is restored alone'
pk export lab/graph@latest --to "$T/export" && "$A" database load --info --from-path="$T/export/data" neo4j >info 2>&1 && grep -q 'ZSTD' info
claim 'an export has dumps that stock neo4j-admin reads'
pk verify "lab/graph@$old" --level full
claim 'a scratch server with it, system and all, has what was measured'
[ -z "$(pgrep -f "$T.*neo4j-[0-9a-f]{16}" || true)" ]
claim 'and is gone afterwards'

neo4j_start "$H"
graph "$H" >was
neo4j_ask "$H" 'MATCH (n) DETACH DELETE n' >/dev/null
config "$H" "$A" "${hooks[@]}"
restored --in-place && neo4j_wait "$H" && graph "$H" >now && cmp was now
claim 'a graph that was wiped is restored in place, and the server runs again'
ls -d h.before-*/neo4j.dump >/dev/null && [ -z "$(ls -d h.proofkeep-partial-* 2>/dev/null)" ]
claim 'what was replaced is kept as dumps'
finish
