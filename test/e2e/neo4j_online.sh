#!/bin/bash
# The online method of the neo4j surface against real servers: what comes back is judged by the server's own HTTP interface.
. "${SOURCE_ROOT:?the project}/test/e2e/lib/tap.sh"
. "$SOURCE_ROOT/tools/servers/neo4j.sh"
. "$SOURCE_ROOT/test/e2e/lib/browse.sh"
if ! neo4j_install; then
  echo "1..0 # skip Neo4j cannot be had: $NEO4J_WHY"
  exit 0
fi
trap 'neo4j_stop' EXIT
A=$T/a B=$T/b
config() { # FILE [DBMS-KEY...]
  local file=$1
  shift
  {
    config_head "right: { file: $T/right }" "wrong: { file: $T/wrong }"
    printf '%s\n' 'surfaces:' '  graph:' '    kind: neo4j' '    class: truth' '    dbms:'
    printf '      %s\n' "$@"
    printf 'environments:\n  lab: { repository: main }\n'
  } >"$file"
}
# Every node with its labels and properties and the type of each, every relationship with those and with both its nodes, and the
# schema, in order: what two servers with the same graph say alike.
picture() { # FOLDER
  neo4j_ask "$1" 'CALL db.awaitIndexes(300)' >/dev/null
  neo4j_ask "$1" "MATCH (n) RETURN labels(n), [k IN keys(n) | [k, valueType(n[k])]], properties(n)" | order
  neo4j_ask "$1" "MATCH (a)-[r]->(b) RETURN type(r), [k IN keys(r) | [k, valueType(r[k])]], properties(r), labels(a), properties(a), labels(b), properties(b)" | order
  neo4j_ask "$1" "SHOW CONSTRAINTS YIELD createStatement RETURN createStatement ORDER BY createStatement"
  neo4j_ask "$1" "SHOW INDEXES YIELD createStatement, state RETURN createStatement, state ORDER BY createStatement"
}
order() {
  python3 -c '
import json, sys
def plain(v):
    if isinstance(v, dict): return {k: plain(v[k]) for k in sorted(v)}
    if isinstance(v, list):
        v = [plain(x) for x in v]
        return sorted(v, key=json.dumps) if v and all(isinstance(x, list) and len(x) == 2 for x in v) else v
    return v
print("\n".join(sorted(json.dumps(plain(json.loads(l)), sort_keys=True) for l in sys.stdin if l.strip())))'
}
fill() { # FOLDER
  local f=$1
  neo4j_ask "$f" 'CREATE CONSTRAINT person_id FOR (n:Person) REQUIRE n.id IS UNIQUE' >/dev/null &&
    neo4j_ask "$f" 'CREATE INDEX person_name FOR (n:Person) ON (n.name)' >/dev/null &&
    neo4j_ask "$f" 'CREATE FULLTEXT INDEX words FOR (n:Person|Note) ON EACH [n.name, n.text]' >/dev/null &&
    neo4j_ask "$f" 'CREATE POINT INDEX places FOR (n:Thing) ON (n.point)' >/dev/null &&
    neo4j_ask "$f" 'CREATE INDEX since FOR ()-[r:KNOWS]-() ON (r.since)' >/dev/null &&
    neo4j_ask "$f" 'CREATE TEXT INDEX note_text FOR (n:Note) ON (n.text)' >/dev/null &&
    neo4j_ask "$f" 'CREATE VECTOR INDEX near FOR (n:Thing) ON (n.floats) OPTIONS {indexConfig: {`vector.dimensions`: 2, `vector.similarity_function`: "cosine"}}' >/dev/null &&
    neo4j_ask "$f" 'CREATE INDEX both FOR (n:Person) ON (n.name, n.score)' >/dev/null &&
    neo4j_ask "$f" 'CREATE FULLTEXT INDEX how FOR ()-[r:KNOWS]-() ON EACH [r.how]' >/dev/null &&
    neo4j_ask "$f" 'CREATE CONSTRAINT odd_one FOR ()-[r:`odd ``type`]-() REQUIRE r.k IS UNIQUE' >/dev/null &&
    neo4j_ask "$f" "UNWIND range(1, 3000) AS i CREATE (:Person {id: i, name: 'name ' + i, score: i * 0.5, even: i % 2 = 0, tags: ['a', 't' + i % 7]})" >/dev/null &&
    neo4j_ask "$f" "MATCH (a:Person), (b:Person {id: a.id % 3000 + 1}) CREATE (a)-[:KNOWS {since: date('2020-01-01') + duration({days: a.id % 100})}]->(b)" >/dev/null &&
    neo4j_ask "$f" "CREATE (t:Thing:\`odd \`\`label\` {yes: true, no: false, zero: 0, small: -16, byte: -129, short: 32768, int: 2147483648,
      max: 9223372036854775807, min: -9223372036854775808, half: 0.5, minus: -0.0, huge: 1.5e300, inf: 1.0 / 0.0, nan: 0.0 / 0.0, empty: '', text: 'ünï ☃ 𝄞',
      \`odd \`\`key\`: 1, nothing: [], ints: [1, 2, 3], floats: [1.5, 2.5], texts: ['a', ''], bools: [true, false], date: date('1999-12-31'),
      lt: localtime('12:34:56.123456789'), time: time('12:34:56.5+02:00'), ldt: localdatetime('2020-02-29T01:02:03.000000004'),
      dt: datetime('2020-02-29T01:02:03.4+05:30'), dtz: datetime('2020-07-29T01:02:03[Europe/Berlin]'), old: datetime('0001-01-01T00:00:00Z'),
      dur: duration('P1Y2M3DT4H5M6.789S'), minusdur: duration({months: -1, days: -2, seconds: -3, nanoseconds: -4}),
      point: point({x: 1.5, y: -2.5}), p3: point({x: 1, y: 2, z: 3}), w: point({longitude: 12.5, latitude: -33.25}),
      w3: point({longitude: 1, latitude: 2, height: 3}), dates: [date('2000-01-01')], points: [point({x: 1, y: 1})], durs: [duration('P1D')],
      zoned: [datetime('2020-07-29T01:02:03[Europe/Berlin]')]})
      CREATE (t)-[:SELF {k: 1}]->(t) CREATE (t)-[:SELF {k: 1}]->(t) CREATE (t)-[:\`odd \`\`type\`]->(:Note {text: 'hello'})
      CREATE (), ({only: 'properties'})" >/dev/null
}
# bolt HOST:PORT STATEMENT [BYTES]: with $b, which are hexadecimal digits, as neither Cypher nor JSON has a word for an array of bytes;
# prints the digits of what is answered
bolt() {
  python3 - "$@" <<'PY'
import socket, sys
host, port = sys.argv[1].rsplit(":", 1)
c = socket.create_connection((host, int(port)), 60)
def take(n):
    got = b""
    while len(got) < n: got += c.recv(n - len(got)) or sys.exit("cut off")
    return got
def text(t): return b"\xd1" + len(t.encode()).to_bytes(2, "big") + t.encode()
def say(tag, *fields):
    m, got = bytes([0xb0 + len(fields), tag]) + b"".join(fields), b""
    c.sendall(len(m).to_bytes(2, "big") + m + b"\0\0")
    while True:
        m = b""
        while n := int.from_bytes(take(2), "big"): m += take(n)
        got += m
        if m[1:2] == b"\x70": return got
        if m[1:2] == b"\x7f": sys.exit(repr(m))
c.sendall(bytes.fromhex("6060b017" + "00000005" + 3 * "00000000"))
assert take(4) == b"\0\0\0\5"
b = bytes.fromhex((sys.argv + [""])[3])
say(0x01, b"\xa1" + text("user_agent") + text("test/1"))
say(0x10, text(sys.argv[2]), b"\xa1" + text("b") + b"\xcc" + bytes([len(b)]) + b, b"\xa0")
print(say(0x3f, b"\xa1" + text("n") + b"\xff").hex())
PY
}
count() { neo4j_ask "$1" 'MATCH (n) RETURN count(n)' | tr -dc 0-9; }

neo4j_start "$A" && bolt_a=$NEO4J_BOLT && neo4j_start "$B" && bolt_b=$NEO4J_BOLT || exit 1
port_a="port: ${bolt_a##*:}" port_b="port: ${bolt_b##*:}"
config proofkeep.yaml "$port_a" "home: $A" "admin: $NEO4J_INSTALL/bin/neo4j-admin"
fill "$A" && bolt "$bolt_a" 'MATCH (t:Thing) SET t.bytes = $b' 00ff7f80 >/dev/null || exit 1
picture "$A" >was
[ "$(wc -l <was)" -gt 6000 ] || exit 1
pk init --repository main

# ---- backup ----
pk backup lab/graph --json
claim 'a graph with every type of property is backed up while its server runs'
"$P" show lab/graph@latest --json >show 2>err && python3 - <<PY
import json
shown = json.dumps(json.load(open("show")))
for word in '"consistency": "fuzzy"', '"commits_meanwhile": "none"', '"counts_changed": false', '"edition": "community"', '"method": "logical_dump"':
    assert word in shown, (word, shown[:3000])
PY
claim 'it says that it is fuzzy, and that nothing was committed meanwhile'
pk verify lab/graph@latest --level checksum
claim 'what is stored is whole'
browse lab/graph
python=
for p in python3 /usr/bin/python3; do
  "$p" -c 'import cryptography, zstandard' 2>/dev/null && python=$p && break
done
reader() { PYTHONDONTWRITEBYTECODE=1 "$python" "$SOURCE_ROOT/test/format/reader.py" --key key repo "$@" 2>>err; }
if [ -n "$python" ]; then
  seq=$(reader list | awk '$2 == "lab/graph" { print $1 }')
  for i in nodes relationships schema; do reader cat "$seq" "graph/$i" >"item-$i"; done
  "$python" "$SOURCE_ROOT/test/format/graph.py" item-nodes item-relationships item-schema >counted 2>>err && python3 - <<'PY'
import json
def find(v):
    if isinstance(v, dict):
        if "nodes/digest" in v: return v
        v = list(v.values())
    return next((f for f in map(find, v) if f), None) if isinstance(v, list) else None
said = {k: v["value"] for k, v in find(json.load(open("show"))).items()}
counted = json.load(open("counted"))
assert said == counted, sorted(set(said.items()) ^ set(counted.items()))
PY
  claim 'a reader that was written from the document alone finds the same counts and digests'
else
  skip 'a reader that was written from the document alone finds the same counts and digests' 'python lacks cryptography or zstandard'
fi
pk verify lab/graph@latest --level full
claim 'a scratch server, into which it is imported, has the same counts and digests'

# ---- restores ----
restored() { # WORD...: a restore whose target is not empty, carried out by its plan
  pk restore lab/graph@latest "$@" --dry-run --json && pk restore --plan "$(result plan)" --json
}
pk restore lab/graph@latest --into "bolt://$bolt_b" --json && grep -q '"already_there": *false' out
claim 'it is restored into an empty server, and compared with the backup'
picture "$B" >is && cmp -s was is
claim 'which has every label, property, type, relationship, constraint and index'
bolt "$bolt_b" 'MATCH (t:Thing) RETURN t.bytes' | grep -q cc0400ff7f80
claim 'an array of bytes is one again, and no list of numbers'
[ "$(neo4j_ask "$B" "CALL db.labels() YIELD label WHERE label STARTS WITH 'Proofkeep' RETURN count(*)" | tr -dc 0-9)" = 0 ]
claim 'and nothing of what the import needed'
restored --into "bolt://$bolt_b" && grep -q '"already_there": *true' out && picture "$B" >is && cmp -s was is
claim 'restored once more, the graph is the same'
neo4j_ask "$B" 'CREATE (:Other)' >/dev/null
restored --into "bolt://$bolt_b"
[ $? = 5 ] && grep -q '"code":"PK-NEO-008"' out
claim 'a database with another graph is refused'
[ "$(count "$B")" = 3005 ]
claim 'before anything was written'
fails 5 PK-POL-001 restore lab/graph@latest --into "bolt://$bolt_a"
claim 'and so is the live one, without --in-place'
neo4j_ask "$A" 'MATCH (n) WHERE n.id > 100 DETACH DELETE n' >/dev/null
neo4j_ask "$A" 'DROP CONSTRAINT person_id' >/dev/null
restored --in-place && picture "$A" >is && cmp -s was is
claim 'in place, what was lost is back, and what was there is replaced'
before=$(result before) && pk restore "lab/graph@$before" --in-place --dry-run --json && pk restore --plan "$(result plan)" --json &&
  [ "$(neo4j_ask "$A" 'MATCH (n) WHERE n.id > 100 RETURN count(n)' | tr -dc 0-9)" = 0 ] && [ "$(neo4j_ask "$A" "SHOW CONSTRAINTS YIELD name WHERE name = 'person_id' RETURN count(*)" | tr -dc 0-9)" = 0 ] &&
  restored --in-place && picture "$A" >is && cmp -s was is
claim '... which was backed up before, and is had back from that'
restored --in-place && picture "$A" >is && cmp -s was is
claim 'twice is once'
fails 2 PK-USE-001 restore lab/graph@latest && says 'bolt://host:port/database'
claim 'a restore that names no target is told of both ways'
fails 2 PK-USE-001 restore lab/graph@latest --path graph/nodes --into "bolt://$bolt_b"
claim 'half of a graph is not restored'

# ---- without this program's own server ----
pk export lab/graph@latest --to "$T/export" && [ "$(wc -l <export/data/nodes.jsonl)" = 3004 ] && [ "$(wc -l <export/data/relationships.jsonl)" = 3003 ]
claim 'an export is lines of JSON'
# the same values from the server, in the types of its Query API, where it has that; else as texts of Cypher
python3 - "$(neo4j_ask "$A" "MATCH (t:Thing) RETURN toString(t.date), toString(t.lt), toString(t.time), toString(t.ldt), toString(t.dt), toString(t.old), toString(t.max), toString(t.min), t.text")" <<'PY'
import json, sys
want = json.loads(sys.argv[1])
thing = next(n for n in map(json.loads, open("export/data/nodes.jsonl")) if "Thing" in n["labels"])["properties"]
got = [thing[k]["_value"] for k in ("date", "lt", "time", "ldt", "dt", "old", "max", "min", "text")]
trim = lambda s: __import__("re").sub(r"(\.\d*?)0+(?=\D|$)", r"\1", s) if isinstance(s, str) else s
assert [trim(x) for x in got] == [trim(x) for x in want], (got, want)
assert thing["point"]["_value"].startswith("SRID=7203;POINT (1.5 -2.5"), thing["point"]
assert thing["minusdur"]["_value"] == "P-1M-2DT-3.000000004S", thing["minusdur"]
assert thing["nan"]["_value"] == "NaN" and thing["inf"]["_value"] == "Infinity"
PY
claim 'whose values are those that the server says'
sed 's/;$//' export/data/schema.cypher >statements
refused=0
while read -r s; do # B has the same already
  neo4j_ask "$B" "$s" 2>&1 | grep -q AlreadyExists || refused=1
done <statements
[ "$(wc -l <statements)" = 12 ] && [ $refused = 0 ]
claim 'and whose schema is statements that a server takes'

# ---- a graph that is written to meanwhile ----
neo4j_ask "$B" 'MATCH (n) DETACH DELETE n' >/dev/null
touch noisy
(while [ -e "$T/noisy" ]; do neo4j_ask "$A" 'CREATE (:Noise)-[:MORE]->(:Noise)' >/dev/null 2>&1; done) &
noise=$!
for _ in $(seq 20); do # a small graph may be read between two commits
  "$P" backup lab/graph >out 2>err </dev/null && status=0 || status=$?
  "$P" show lab/graph@latest --json >show 2>>err
  [ $status = 0 ] && ! grep -Eq '"commits_meanwhile": *"some"' show || break
done
rm noisy
wait $noise
[ $status = 0 ] && grep -Eq '"commits_meanwhile": *"some"' show
claim 'what is committed while a graph is read is said'
pk restore lab/graph@latest --into "bolt://$bolt_b"
claim 'such a backup is whole in itself: what is restored is what it says'
neo4j_ask "$A" 'MATCH (n:Noise) DETACH DELETE n' >/dev/null

# ---- imports that are held in their middle: another transaction has not told yet whether it takes the last node's id ----
neo4j_ask "$A" "UNWIND range(10001, 40000) AS i CREATE (:Bulk {id: i, text: 'some text ' + i})" >/dev/null
neo4j_ask "$A" 'CREATE (:Person {id: 99999})' >/dev/null
pk backup lab/graph
picture "$A" >was2
held() { # a restore that waits for that transaction; its process is $job
  neo4j_ask "$B" 'MATCH (n) DETACH DELETE n' >/dev/null
  rm -f taken "$T/let-go"
  python3 - "$(neo4j_setting "$B" server.http.listen_address)" "$T/let-go" >taken <<'PY' &
import http.client, json, os, sys, time
c = http.client.HTTPConnection(sys.argv[1], timeout=600)
def ask(method, path, *statements):
    c.request(method, path, json.dumps({"statements": [{"statement": s} for s in statements]}), {"Content-Type": "application/json"})
    r = c.getresponse()
    got = json.loads(r.read())
    assert not got["errors"], got
    return r
path = ask("POST", "/db/neo4j/tx", "CREATE (:Person {id: 99999})").getheader("Location").split(sys.argv[1])[1]
print("taken", flush=True)
while not os.path.exists(sys.argv[2]):
    time.sleep(0.5)
    ask("POST", path)  # else it ends by itself
ask("DELETE", path)
PY
  holder=$!
  await 60 test -s taken
  "$P" restore lab/graph@latest --into "bolt://$bolt_b" >out 2>err </dev/null &
  job=$!
  await 300 blocked
}
blocked() { [ "$(neo4j_ask "$B" "SHOW TRANSACTIONS YIELD status WHERE status STARTS WITH 'Blocked' RETURN count(*)" | tr -dc 0-9)" = 1 ]; }
let_go() { touch "$T/let-go" && wait "$holder"; }

held
claim 'a restore waits'
neo4j_ask "$B" 'CREATE (:Uninvited)' >/dev/null && let_go
wait $job
[ $? = 4 ] && grep -q '^error PK-NEO-010: ' err && says ' in the snapshot and ' && says 'the graph was imported, and differs'
claim 'somebody writes to its target meanwhile, and it does not say that it succeeded'
restored --into "bolt://$bolt_b"
[ $? = 5 ] && grep -q '"code":"PK-NEO-008"' out
claim 'the same restore again is refused, as the database has another graph'
config half.yaml "$port_b"
pk restore lab/graph@latest --in-place --config half.yaml --dry-run --json && pk restore --plan "$(result plan)" --config half.yaml --json && picture "$B" >is && cmp -s was2 is
claim 'in place, as the message advises, the graph is what was backed up'

held
kill -KILL $job 2>/dev/null
wait $job 2>/dev/null
let_go
[ "$(neo4j_ask "$B" 'MATCH (s:ProofkeepImportState) RETURN count(s)' | tr -dc 0-9)" = 1 ]
claim 'a restore is killed in its middle'
fails 5 PK-NEO-009 --config half.yaml backup lab/graph
claim 'half of a graph is not backed up'
restored --into "bolt://$bolt_b" && grep -q '"resumed": *true' out && picture "$B" >is && cmp -s was2 is
claim 'the same restore goes on, and the graph is whole'

# ---- a little changed ----
pk backup lab/graph --json && first=$(result surfaces.0.stored_bytes 2>/dev/null || echo 0)
neo4j_ask "$A" 'MATCH (p:Person) WHERE p.id IN [17, 1700] SET p.score = -1' >/dev/null
neo4j_ask "$A" 'MATCH (a:Person {id: 5}), (b:Person {id: 500}) CREATE (a)-[:KNOWS]->(b)' >/dev/null
pk backup lab/graph --json && python3 - <<'PY'
import json
surface = json.loads(open("out").read().strip().split("\n")[-1])
text = json.dumps(surface)
stored = [int(x) for x in __import__("re").findall(r'"(?:stored_bytes|bytes_stored|new_bytes|added_bytes)": (\d+)', text)]
assert stored and min(stored) < 200000, text[:2000]
PY
claim 'after a small change a backup stores little'

# ---- selections ----
config labels.yaml "$port_a" 'labels: [Thing, Note]'
neo4j_ask "$B" 'MATCH (n) DETACH DELETE n' >/dev/null
neo4j_ask "$B" 'DROP CONSTRAINT person_id' >/dev/null
neo4j_ask "$B" 'DROP CONSTRAINT odd_one' >/dev/null
for i in person_name words places since note_text near both how; do neo4j_ask "$B" "DROP INDEX $i" >/dev/null; done
pk --config labels.yaml backup lab/graph && pk --config labels.yaml restore lab/graph@latest --into "bolt://$bolt_b" &&
  [ "$(count "$B")" = 2 ] && [ "$(neo4j_ask "$B" 'MATCH ()-[r]->() RETURN count(r)' | tr -dc 0-9)" = 3 ]
claim 'nodes of some labels come alone, with the relationships between them'
[ "$(neo4j_ask "$B" 'SHOW INDEXES YIELD name, type WHERE type <> "LOOKUP" RETURN name ORDER BY name' | tr -dc 'a-z_\n' | tr '\n' ' ')" = 'near note_text odd_one places ' ]
claim 'and with the indexes that are of those labels'
config query.yaml "$port_a" "query: 'MATCH p = (a:Person)-[:KNOWS]->(:Person) WHERE a.id <= 10 RETURN p'"
pk --config query.yaml backup lab/graph
neo4j_ask "$B" 'MATCH (n) DETACH DELETE n' >/dev/null
neo4j_ask "$B" 'DROP CONSTRAINT odd_one' >/dev/null
for i in near note_text; do neo4j_ask "$B" "DROP INDEX $i" >/dev/null; done
fails 5 PK-NEO-008 --config query.yaml restore lab/graph@latest --into "bolt://$bolt_b" && says 'places'
claim 'a database that has an index of its own is not taken for an empty one'
neo4j_ask "$B" 'DROP INDEX places' >/dev/null
pk --config query.yaml restore lab/graph@latest --into "bolt://$bolt_b" && [ "$(count "$B")" -ge 11 ] && [ "$(count "$B")" -lt 13 ] &&
  [ "$(neo4j_ask "$B" 'MATCH ()-[r:KNOWS]->() RETURN count(r)' | tr -dc 0-9)" = 11 ]
claim 'what a query returns comes alone, paths too'
config evil.yaml "$port_a" "query: 'MATCH (n) DETACH DELETE n RETURN n'"
fails 1 PK-NEO-003 --config evil.yaml backup lab/graph && says 'AccessMode' && [ "$(count "$A")" = 33005 ]
claim 'a query that writes is refused by the server, as we ask for'

# ---- what goes wrong ----
config http.yaml "port: ${NEO4J_HTTP##*:}"
fails 1 PK-NEO-004 --config http.yaml backup lab/graph && says 'speaks HTTP'
claim 'the port of HTTP is told from that of Bolt'
config none.yaml 'port: 1'
fails 7 PK-NET-002 --config none.yaml backup lab/graph
claim 'no server is said to be none'
config nope.yaml "$port_a" 'database: nope'
fails 1 PK-NEO-005 --config nope.yaml backup lab/graph
claim 'a database that is not there is named'
neo4j_stop "$B"
(umask 077 && echo 'keeper secret' >right && echo 'not the keeper secret' >wrong)
mkdir -p tls && openssl req -x509 -newkey rsa:2048 -nodes -keyout tls/private.key -out tls/public.crt -days 2 -subj /CN=localhost \
  -addext subjectAltName=DNS:localhost,IP:127.0.0.1 >/dev/null 2>&1
NEO4J_PASSWORD='keeper secret' neo4j_start "$T/c" server.bolt.tls_level=REQUIRED dbms.ssl.policy.bolt.enabled=true \
  dbms.ssl.policy.bolt.base_directory="$T/tls" dbms.ssl.policy.bolt.client_auth=NONE && port_c="port: ${NEO4J_BOLT##*:}"
config right.yaml "$port_c" 'user: neo4j' 'password: right' 'tls: true' "ca: $T/tls/public.crt"
pk --config right.yaml backup lab/graph
claim 'a user logs in, over TLS'
config other.yaml "$port_c" 'user: neo4j' 'password: right' 'tls: true'
fails 7 PK-NET-003 --config other.yaml backup lab/graph
claim 'a certificate that nobody vouches for is refused'
config wrong.yaml "$port_c" 'user: neo4j' 'password: wrong' 'tls: true' "ca: $T/tls/public.crt"
fails 7 PK-NEO-001 --config wrong.yaml backup lab/graph && ! says 'keeper secret'
claim 'a wrong password is told from all else, and not shown'
! grep -rqa 'keeper secret' "$XDG_CACHE_HOME" "$T/repo"
claim 'the password is nowhere on disk'
finish
