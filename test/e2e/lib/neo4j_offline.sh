# What the end-to-end tests of the neo4j surface's offline method share. To be sourced.
config() { # HOME ADMIN [HOOK...]: a surface "graph"; hooks are NAME=PROGRAM. only: its databases
  local home=$1 admin=$2 h
  shift 2
  {
    config_head
    printf '%s\n' 'surfaces:' '  graph:' '    kind: neo4j' '    class: runtime' '    dbms:' '      method: offline' \
      "      home: $home" "      admin: $admin"
    [ -z "${only:-}" ] || echo "      databases: [$only]"
    [ $# = 0 ] || echo '    hooks:'
    for h in "$@"; do echo "      ${h%%=*}: { run: [${h#*=}] }"; done
    printf 'environments:\n  lab: { repository: main }\n'
  } >proofkeep.yaml
}
restored() { # WORD...: a restore that is carried out by its plan
  pk restore lab/graph@latest "$@" --dry-run --json && pk restore --plan "$(result plan)"
}
