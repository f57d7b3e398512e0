#!/usr/bin/env python3
"""The demonstration's graph, by Neo4j's own HTTP interface.
graph.py fill URL     makes it
graph.py facts URL    what the server itself says of it: one line a fact, "name|value"
graph.py counts URL   a JSON object
"""
import hashlib
import http.client
import json
import sys

FILL = [
    "CREATE CONSTRAINT surveyor_id FOR (n:Surveyor) REQUIRE n.id IS UNIQUE",
    "CREATE CONSTRAINT sheet_number FOR (n:Sheet) REQUIRE n.number IS UNIQUE",
    "CREATE INDEX sheet_year FOR (n:Sheet) ON (n.year)",
    "CREATE POINT INDEX sheet_place FOR (n:Sheet) ON (n.at)",
    "CREATE FULLTEXT INDEX words FOR (n:Sheet|Surveyor) ON EACH [n.title, n.name]",
    "CREATE INDEX drawn_on FOR ()-[r:DREW]-() ON (r.on)",
    "UNWIND range(1, 300) AS i CREATE (:Surveyor {id: i, name: 'Surveyor ' + i, languages: ['Łódź', '東京', 'lang ' + i % 9], active: i % 3 = 0})",
    """UNWIND range(1, 2000) AS i CREATE (n:Sheet {number: i, title: 'Sheet ' + i + ' of the river', year: 1800 + i % 150, scale: 1.0 / (i + 1),
       at: point({longitude: i % 360 - 180.0, latitude: i % 170 - 85.0}), survey: date('1801-02-03') + duration({days: i}),
       scanned: datetime('2024-03-31T01:59:59.123456789[Europe/Berlin]') + duration({hours: i}), took: duration({months: i % 5, days: i % 31, seconds: i})})
       WITH n, i WHERE i % 10 = 0 SET n:Revised""",
    "MATCH (a:Surveyor), (s:Sheet) WHERE s.number % 300 = a.id - 1 CREATE (a)-[:DREW {on: date('1801-02-03') + duration({days: s.number}), fee: s.number * 0.25}]->(s)",
    "MATCH (s:Sheet), (t:Sheet {number: s.number % 2000 + 1}) CREATE (s)-[:BORDERS {side: 'east'}]->(t)",
    "MATCH (s:Sheet), (t:Sheet {number: s.number * 7 % 2000 + 1}) WHERE s.number % 4 = 0 CREATE (s)-[:CITES]->(t)",
    """CREATE (:`odd ``label` {`odd ``key`: 1, max: 9223372036854775807, min: -9223372036854775808, minus: -0.0, huge: 1.5e300, text: 'ünï ☃ 𝄞',
       nothing: [], floats: [1.5, 2.5], bools: [true, false], lt: localtime('12:34:56.123456789'), time: time('12:34:56.5+02:00'),
       ldt: localdatetime('2020-02-29T01:02:03.000000004'), p3: point({x: 1, y: 2, z: 3})})-[:`odd ``type`]->()""",
    "CALL db.awaitIndexes(60)",
]


def main():
    verb, url = sys.argv[1:]
    connection = http.client.HTTPConnection(url.removeprefix("http://"), timeout=100)

    def ask(statement):
        connection.request("POST", "/db/neo4j/tx/commit", json.dumps({"statements": [{"statement": statement}]}), {"Content-Type": "application/json"})
        answer = json.loads(connection.getresponse().read())
        if answer["errors"]:
            sys.exit(f"Neo4j: {answer['errors'][0]['message']}")
        return [row["row"] for row in answer["results"][0]["data"]]

    def fact(name, statement):
        rows = sorted(json.dumps(row, sort_keys=True, ensure_ascii=False) for row in ask(statement))
        print(f"{name}|{len(rows)}, sha256 {hashlib.sha256(chr(10).join(rows).encode()).hexdigest()}")

    if verb == "fill":
        for statement in FILL:
            ask(statement)
    elif verb == "facts":
        for label, n in ask("MATCH (n) UNWIND CASE WHEN labels(n) = [] THEN [''] ELSE labels(n) END AS l RETURN l, count(*) ORDER BY l"):
            print(f"label {label}|{n}")
        for kind, n in ask("MATCH ()-[r]->() RETURN type(r) AS t, count(*) ORDER BY t"):
            print(f"type {kind}|{n}")
        # The type of each value and its text in Cypher, for JSON alone would take a date for a text. A list has no text.
        of = "[k IN keys({0}) | [k, valueType({0}[k]), CASE WHEN valueType({0}[k]) STARTS WITH 'LIST' THEN [x IN {0}[k] | toString(x)] ELSE toStringOrNull({0}[k]) END, {0}[k]]]"
        each = "COLLECT {{ UNWIND " + of + " AS p RETURN p ORDER BY p[0] }}"
        fact("nodes", f"MATCH (n) RETURN labels(n), {each.format('n')}")
        fact("relationships", f"MATCH (a)-[r]->(b) RETURN type(r), {each.format('r')}, labels(a), properties(a), labels(b), properties(b)")
        for (statement,) in ask("SHOW CONSTRAINTS YIELD createStatement RETURN createStatement ORDER BY createStatement"):
            print(f"constraint {statement}|there")
        for statement, state in ask("SHOW INDEXES YIELD createStatement, state RETURN createStatement, state ORDER BY createStatement"):
            print(f"index {statement}|{state}")
        fact("found 'river'", "CALL db.index.fulltext.queryNodes('words', 'river') YIELD node RETURN node.number")
        fact("paths", "MATCH (a:Surveyor {id: 7})-[:DREW]->(:Sheet)-[:BORDERS*1..2]->(s:Sheet) RETURN s.number")
    else:
        print(json.dumps({"nodes": ask("MATCH (n) RETURN count(n)")[0][0], "relationships": ask("MATCH ()-[r]->() RETURN count(r)")[0][0],
                          "labels": dict(ask("MATCH (n) UNWIND labels(n) AS l RETURN l, count(*) ORDER BY l"))}, ensure_ascii=False))


main()
