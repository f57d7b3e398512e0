#!/bin/bash
# Populate, back up, wipe, restore, verify: a platform of a PostgreSQL database and a tree of files, and the proof that all
# of it came back, by the tools of PostgreSQL and of the system rather than by proofkeep's own word.
#
#   tools/demo/demo.sh          prints the evidence, and writes ./synthetic-validation.json
#
# PROOFKEEP  the program           (build/proofkeep)
# DEMO_DIR   where to work         (/var/tmp); a folder of its own is made there and removed again
# DEMO_KEEP  set: do not remove it, and say where it is
# Exits with 0 only if every line of the evidence is good.
set -Eeuo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
started=$EPOCHREALTIME
output=$PWD/synthetic-validation.json
PROOFKEEP=$(realpath "${PROOFKEEP:-$here/../../build/proofkeep}")
. "$here/cluster.sh"
. "$here/tree.sh"

bold= plain= green= red=
if [ -t 1 ] && [ -z "${NO_COLOR:-}" ]; then bold=$'\e[1m' plain=$'\e[0m' green=$'\e[32m' red=$'\e[31m'; fi
since() { LC_ALL=C awk -v a="${2:-$EPOCHREALTIME}" -v b="$1" 'BEGIN { printf "%.1f", a - b }'; }
say() { printf '\n%s%s%s  (at %s s)\n' "$bold" "$*" "$plain" "$(since "$started")"; }
give_up() { printf 'demo: %s\n' "$*" >&2; exit 1; }
# What is run is shown, without the folder that it all is in.
run() {
  local shown="proofkeep $*"
  printf '$ %s\n' "${shown//$work\//}"
  "$PROOFKEEP" "$@"
}

rm -f "$output"
[ -x "$PROOFKEEP" ] || give_up "there is no program $PROOFKEEP; build it with 'make'"
[ -n "$PG_BIN" ] || give_up "no PostgreSQL server is installed; install it with 'make deps'"
for tool in setfattr setfacl python3 sha256sum; do command -v $tool >/dev/null || give_up "$tool is not installed; install it with 'make deps'"; done

work=$(mktemp -d "${DEMO_DIR:-/var/tmp}/proofkeep-demo.XXXXXX")
finish() {
  local status=$?
  trap - EXIT INT TERM
  set +e
  cluster_stop "$work/pg" || status=1
  if [ -n "${DEMO_KEEP:-}" ]; then echo "kept: $work"; else rm -rf "$work"; fi
  exit $status
}
trap finish EXIT
trap 'exit 130' INT
trap 'exit 143' TERM
trap 'printf "demo: line %s failed: %s\n" "$LINENO" "$BASH_COMMAND" >&2' ERR
chmod 755 "$work" # the server's own user passes through
cd "$work"
export XDG_CACHE_HOME=$work/cache
tree=$work/artifacts
postgres() { cluster_psql "$work/pg" "$@"; }

say "1. A platform: PostgreSQL $PG_MAJOR with a database, and a tree of files"
cluster_start "$work/pg" || give_up "PostgreSQL would not start"
postgres -c 'CREATE DATABASE atlas'
postgres -d atlas <"$here/platform.sql"
tree_make "$tree"
printf 'postgres   %s rows in %s tables, %s large objects, %s\n' \
  $(postgres -d atlas -c 'VACUUM (ANALYZE)' -c "SELECT sum(n_live_tup), count(*), (SELECT count(*) FROM pg_largeobject_metadata),
    replace(pg_size_pretty(pg_database_size('atlas')), ' ', '') FROM pg_stat_user_tables WHERE schemaname IN ('shop', 'archive')" | tr '|' ' ')
printf 'artifacts  %s files in %s folders, %s; xattrs: %s, ACLs: %s\n' "$(find "$tree" ! -type d -print0 | tr -cd '\0' | wc -c)" \
  "$(find "$tree" -type d -print0 | tr -cd '\0' | wc -c)" "$(du -sh "$tree" | cut -f1)" $TREE_XATTR $TREE_ACL

# What stock tools say of it, before; the same is asked again after the restore. pg_dump's \restrict lines are random.
facts() {
  mkdir -p "$1"
  postgres -d atlas <"$here/facts.sql" >"$1/database"
  cluster_as "$work/pg" "$PG_BIN/pg_dump" --schema-only --create atlas | grep -v '^\\\(un\)\?restrict ' >"$1/schema"
  cluster_as "$work/pg" "$PG_BIN/pg_dumpall" --roles-only --no-role-passwords | grep -v '^\\\(un\)\?restrict ' >"$1/roles"
  tree_facts "$tree" "$1/tree"
}
facts "$work/before"

cat >proofkeep.yaml <<YAML
version: 1
platform: demonstration
secrets:
  repository-key: { file: $work/key/demo.key }
repositories:
  main:
    url: $work/repository
    encrypt: { key: repository-key, kind: key_file }
surfaces:
  artifacts:
    kind: files
    class: truth
    paths: [$tree]
  postgres:
    kind: postgres
    class: runtime
    connect: { host: $work/pg/socket, user: postgres, dbname: atlas }
    databases: [atlas]
$([ "$(id -u)" != 0 ] || echo "    run_as: postgres")
    invariants:
      - { name: customers, sql: SELECT count(*) FROM shop.customer, expect: equal }
      - { name: turnover, sql: SELECT sum(total) FROM shop.orders, expect: equal }
environments:
  demo:
    repository: main
    policy: { rpo: 24h, rto: 30m, verify: full }
YAML

say '2. Back up'
run init --repository main
run backup demo/all
backed_up=$EPOCHREALTIME

say '3. Wipe: the database, its roles, and the tree are gone'
postgres -c 'DROP DATABASE atlas' -c 'DROP ROLE atlas_app, atlas_reader'
rm -rf "$tree"
[ ! -e "$tree" ] && [ "$(postgres -c "SELECT count(*) FROM pg_database WHERE datname = 'atlas'")" = 0 ] || give_up 'the wipe did not wipe'
echo "$ ls ${tree#"$work"/}; psql atlas"
ls "$tree" 2>&1 | sed "s|$work/||" || :
postgres -d atlas 2>&1 </dev/null | sed 's/.*FATAL/psql: FATAL/' || :

say '4. Restore'
wiped=$EPOCHREALTIME
run restore demo/postgres@latest --into atlas
run restore demo/artifacts@latest --into "$tree"
restored=$EPOCHREALTIME

say '5. Ask PostgreSQL and the system whether it is all back'
facts "$work/after"

good=0 bad=0 skipped=0
: >evidence.tsv
# evidence STATUS SURFACE WHAT HOW FOUND: the status is the verdict, 0 is good
evidence() {
  local verdict=$1 word
  shift
  if [ "$verdict" = 0 ]; then good=$((good + 1)) word="${green}ok$plain"; else bad=$((bad + 1)) word="${red}FAILED$plain"; fi
  printf '  %-10s %-28s %-37s %-29s %s\n' "$1" "$2" "$3" "$4" "$word"
  printf '%s\t%s\t%s\t%s\t%s\n' "$1" "$2" "$3" "$4" "$([ "$verdict" = 0 ] && echo true || echo false)" >>evidence.tsv
}
no_evidence() {
  skipped=$((skipped + 1))
  printf '  %-10s %-28s %-37s %s\n' "$1" "$2" "$3" 'SKIPPED: this file system has none'
}
# The facts whose names begin with $1 are the same, and there are some; prints the differing ones.
same() {
  grep "^$1" before/database >one || return 1
  grep "^$1" after/database >two || :
  diff one two >&2
}
count() { grep -c "^$1" after/database || :; }
trap - ERR
set +e
same 'table '
evidence $? postgres 'rows of every table' 'psql: count, md5 of all rows' "$(awk -F'|' '/^table/ { n += $2; t++ } END { print n " rows, " t " tables" }' after/database)"
same 'sequence '
evidence $? postgres 'sequences' 'psql: last_value, is_called' "$(count 'sequence ') sequences"
same 'large object '
evidence $? postgres 'large objects' 'psql: length, md5(lo_get)' "$(count 'large object ') objects"
same 'partition '
evidence $? postgres 'partitions' 'psql: bounds' "$(count 'partition ') partitions"
same 'constraints' && same 'indexes' && same 'citations'
evidence $? postgres 'constraints and indexes' 'psql: pg_constraint, pg_index' "$(sed -n 's/^constraints|//p' after/database)"
same 'place'
evidence $? postgres 'PostGIS' 'psql: ST_Area, ST_AsEWKT, ST_DWithin' "$(sed -n 's/^places near 0,0|/near 0,0: /p' after/database) places"
same 'materialised view'
evidence $? postgres 'materialised view' 'psql: rows, relispopulated' "$(sed -n 's/^materialised view|//p' after/database)"
diff before/schema after/schema >&2
evidence $? postgres 'schema, owners, grants' 'pg_dump --schema-only, diff' "$(wc -l <after/schema) lines"
diff before/roles after/roles >&2 && same 'role '
evidence $? postgres 'roles, memberships' 'pg_dumpall --roles-only, diff' "$(grep -c '^CREATE ROLE' after/roles) roles"

(cd "$tree" && sha256sum --quiet --strict -c "$work/before/tree/sha256")
evidence $? artifacts 'contents of every file' 'sha256sum -c' "$(wc -l <before/tree/sha256) files"
cmp before/tree/names after/tree/names
evidence $? artifacts 'names, nothing more or less' 'find -print0, cmp' "$(tr -cd '\0' <after/tree/names | wc -c) names"
cmp before/tree/metadata after/tree/metadata
evidence $? artifacts 'types, modes, owners, times' 'find -printf, cmp' 'to the nanosecond'
cmp 'before/tree/link counts' 'after/tree/link counts' && cmp 'before/tree/link groups' 'after/tree/link groups'
evidence $? artifacts 'hard links' 'find -links, stat' "$(wc -l <'after/tree/link groups') groups of names"
[ "$(cat 'after/tree/sparse blocks')" -le "$(cat 'before/tree/sparse blocks')" ]
evidence $? artifacts 'sparse file' 'stat: blocks of 256 MiB' "$(cat 'before/tree/sparse blocks') before, $(cat 'after/tree/sparse blocks') after"
if [ $TREE_XATTR = yes ]; then
  [ -s before/tree/xattrs ] && diff before/tree/xattrs after/tree/xattrs
  evidence $? artifacts 'extended attributes' 'getfattr, diff' "$(grep -c '^user' after/tree/xattrs) attributes"
else no_evidence artifacts 'extended attributes' 'getfattr, diff'; fi
if [ $TREE_ACL = yes ]; then
  grep -q '^user:1:r' before/tree/acls && diff before/tree/acls after/tree/acls
  evidence $? artifacts 'access control lists' 'getfacl, diff' 'all'
else no_evidence artifacts 'access control lists' 'getfacl, diff'; fi
recovery=$(since "$wiped" "$restored") loss=$(since "$backed_up" "$wiped")
awk -v t="$recovery" 'BEGIN { exit !(t < 1800) }'
evidence $? platform 'time to restore' 'clock, against an RTO of 30m' "$recovery s"

say '6. Full verification: each backup restored into a scratch place and compared'
run verify demo/postgres@latest demo/artifacts@latest --level full
evidence $? platform 'proofkeep verify' '--level full' 'exit status 0'
run status --check
evidence $? platform 'proofkeep status' '--check: RPO and proof' 'exit status 0'
run list
set -e

trap 'printf "demo: line %s failed: %s\n" "$LINENO" "$BASH_COMMAND" >&2' ERR
python3 - "$work" "$output" "$("$PROOFKEEP" --version)" "$recovery" "$(since "$started")" "$good" "$bad" "$skipped" <<'PY'
import datetime, json, pathlib, sys

work, output, version, recovery, total, good, bad, skipped = sys.argv[1:]
after = pathlib.Path(work, "after")
tables, facts = {}, {}
for line in (after / "database").read_text().splitlines():
    name, _, value = line.rpartition("|")
    if name.startswith("table "):
        tables[name[6:]] = int(value.split()[0])
    else:
        facts[name] = value
names = (after / "tree/metadata").read_bytes().split(b"\0")[:-1]
checks = [line.split("\t") for line in pathlib.Path(work, "evidence.tsv").read_text().splitlines()]
document = {
    "timestamp": datetime.datetime.now(datetime.timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ"),
    "program": version,
    "steps": ["populate", "backup", "wipe", "restore", "verify"],
    "result": "passed" if bad == "0" else "failed",
    "services": {
        "postgres": {
            "tables": tables,
            "rows": sum(tables.values()),
            "sequences": sum(n.startswith("sequence ") for n in facts),
            "large_objects": sum(n.startswith("large object ") for n in facts),
        },
        "artifacts": {"entries": len(names), "files": len((after / "tree/sha256").read_bytes().splitlines())},
    },
    "restore_seconds": float(recovery),
    "total_seconds": float(total),
    "counts": {"passed": int(good), "failed": int(bad), "skipped": int(skipped)},
    "checks": [dict(zip(("surface", "what", "how", "found"), c[:4]), passed=c[4] == "true") for c in checks],
}
pathlib.Path(output).write_text(json.dumps(document, indent=2, ensure_ascii=False) + "\n")
PY
trap - ERR
say "$good good, $bad bad, $skipped skipped; restored in $recovery s; the counts are in ${output##*/}"
[ "$bad" = 0 ]
