# A Neo4j graph with every type of property, constraints and indexes, read and restored while the server runs.
neo4j() { "$servers/neo4j.sh" "$@"; }
neo4j_graph() { python3 "$here/graph.py" "$1" "$(cat "$work/neo4j.url")"; }

neo4j_missing() { fetched "$servers/neo4j.sh" install; }
neo4j_start() {
  neo4j start "$work/neo4j" >"$work/neo4j.start" || give_up 'Neo4j would not start'
  cut -d ' ' -f 1 "$work/neo4j.start" >"$work/neo4j.url"
  neo4j_graph fill
}
neo4j_describe() { neo4j_graph counts | python3 -c 'import json, sys; c = json.load(sys.stdin); print(c["nodes"], "nodes,", c["relationships"], "relationships,", len(c["labels"]), "labels")'; }
neo4j_config() {
  cat <<YAML
    kind: neo4j
    class: truth
    dbms:
      port: $(sed -n 's|.* bolt://[^ ]*:\([0-9]*\) .*|\1|p' "$work/neo4j.start")
      home: $work/neo4j
      admin: $(. "$servers/neo4j.sh" && neo4j_install && echo "$NEO4J_INSTALL")/bin/neo4j-admin
YAML
}
neo4j_target() { echo in-place; }
# Nobody but the demonstration writes to it, and Community has no switch for that.
neo4j_freeze() { :; }
neo4j_resume() { :; }
neo4j_facts() { neo4j_graph facts >"$1/graph"; }
neo4j_wipe() {
  neo4j ask "$work/neo4j" 'MATCH (n) DETACH DELETE n'
  neo4j ask "$work/neo4j" 'DROP CONSTRAINT sheet_number'
  neo4j ask "$work/neo4j" 'DROP INDEX words'
  echo '$ cypher: MATCH (n) RETURN count(n)'
  neo4j ask "$work/neo4j" 'MATCH (n) RETURN count(n)' | tr -d '[]'
}
neo4j_evidence() {
  same graph 'nodes' && same graph 'label '
  evidence $? neo4j 'nodes, labels, properties' 'Cypher over HTTP, sha256 of all' "$(value graph nodes) nodes, $(number graph 'label ') labels"
  same graph 'relationships' && same graph 'type '
  evidence $? neo4j 'relationships, their ends' 'Cypher over HTTP, sha256 of all' "$(value graph relationships), $(number graph 'type ') types"
  same graph 'constraint ' && same graph 'index '
  evidence $? neo4j 'constraints and indexes' 'SHOW CONSTRAINTS, SHOW INDEXES' "$(number graph 'constraint ') and $(number graph 'index ')"
  same graph 'found ' && same graph 'paths'
  evidence $? neo4j 'full text, paths' 'db.index.fulltext, MATCH' "$(value graph "found 'river'") found, $(value graph paths) paths"
}
neo4j_counts() { neo4j_graph counts; }
neo4j_stop() { [ ! -d "$work/neo4j/conf" ] || neo4j stop "$work/neo4j"; }
