#!/bin/bash
# verify --level full of physical points, good and bad. What a stock program says is said by itself, but for one that harms the
# restored copy first, so that there is something to be found.
. "${SOURCE_ROOT:?the project}/test/e2e/lib/tap.sh"
. "$SOURCE_ROOT/test/e2e/lib/pg.sh"
pg_needed
chmod 755 "$T"
owned "$C" "$C/socket"
server() { if as_root; then (cd / && runuser -u postgres -- "$@"); else "$@"; fi; }
server "$PG_BIN/initdb" -D "$C/data" -U postgres -A trust -E UTF8 --locale=C.UTF-8 --data-checksums --no-sync >out 2>&1 || exit 1
printf '%s\n' "listen_addresses = ''" "unix_socket_directories = '$C/socket'" 'fsync = off' 'autovacuum = off' | server tee -a "$C/data/postgresql.conf" >/dev/null
cluster_start "$C" || exit 1
sql -c 'CREATE DATABASE shop' || exit 1
sql -d shop -c "CREATE TABLE item AS SELECT i AS id, repeat(md5(i::text), 6) AS note FROM generate_series(1, 20000) i" \
  -c 'CREATE UNLOGGED TABLE cache AS SELECT 1 AS id' -c 'VACUUM (FREEZE) item' || exit 1
# The server's programs by another folder: harm does what its file says before and after pg_verifybackup.
B=$T/bin
mkdir "$B" && for program in "$PG_BIN"/*; do ln -s "$program" "$B/"; done && rm "$B/pg_verifybackup"
printf '%s\n' '#!/bin/sh' "[ \"\$1\" = --version ] && exec '$PG_BIN/pg_verifybackup' --version" 'for data in "$@"; do :; done' 'mode=$(cat '"'$T/harm'"')' \
  '[ "$mode" != file ] || echo >>"$data/PG_VERSION"' "'$PG_BIN/pg_verifybackup' \"\$@\" || exit" \
  '[ "$mode" != wal ] || for f in "$data"/pg_wal/0*; do truncate -s 0 "$f" && truncate -s 16M "$f"; done' >"$B/pg_verifybackup"
chmod 755 "$B" "$B/pg_verifybackup"
harm() { echo "$1" >harm && chmod 644 harm; }
harm no
config() { # FILE [LINE...]
  local file=$1 line
  shift
  { config_head; printf '%s\n' 'surfaces:' '  pg:' '    kind: postgres' '    class: truth' '    method: physical' '    through: host' "    connect: { host: $C/socket, user: postgres }"; } >"$file"
  ! as_root || echo '    run_as: postgres' >>"$file"
  for line in "$@"; do printf '    %s\n' "$line" >>"$file"; done
  printf 'environments:\n  lab: { repository: main }\n' >>"$file"
}
config proofkeep.yaml
config other.yaml "tools_dir: $B"
pk init --repository main
# last CHECK=RESULT...: what the newest verification's entry says of others' programs
last() {
  "$P" ledger list --json 2>/dev/null >entries && seq=$(python3 -c 'import json; print([e["seq"] for e in json.load(open("entries"))["entries"] if e["type"] == "verification/v1"][-1])') &&
    "$P" ledger show "$seq" --json >entry 2>/dev/null
  python3 - "$@" <<'PY'
import json, sys
def find(v):
    if isinstance(v, dict):
        if "failedTests" in v:
            return v
        v = list(v.values())
    for x in v if isinstance(v, list) else []:
        p = find(x)
        if p:
            return p
p = find(json.load(open("entry")))
want = dict(x.split("=") for x in sys.argv[1:])
assert p["result"] == want.pop("is"), p
made = {c["check"]: c["result"] for c in p.get("checks", [])}
assert made == want, (made, want)
assert all(c["result"] == "NOT_CHECKED" or c["version"] for c in p.get("checks", [])), p
assert p["warnings"] == list(want.values()).count("NOT_CHECKED"), p
PY
}
level() { pk list lab/pg --json && grep -q "\"id\":\"$good\".*\"verified\":\"$1\"\|\"verified\":\"$1\".*\"id\":\"$good\"" out; }

pk backup lab/pg && good=$(point lab/pg)
claim 'a physical backup is taken'
pk verify "lab/pg@$good" --level full && grep -q "^PASSED *lab/pg@$good: pg_verifybackup of PostgreSQL [0-9.]*$" out && grep -q "^PASSED *lab/pg@$good: recovery of PostgreSQL" out && grep -q "^PASSED *lab/pg@$good: pg_amcheck of PostgreSQL" out
claim 'a full verification tells which programs of the server judged it, and their version'
last is=PASSED pg_verifybackup=PASSED recovery=PASSED pg_amcheck=PASSED 2>err
claim '... and so does its entry in the log'

# ---- programs that are not there ----
rm "$B/pg_amcheck"
pk --config other.yaml verify "lab/pg@$good" --level full && grep -q "^NOT CHECKED *lab/pg@$good: pg_amcheck: it is not among the server's programs" out && grep -q '^PASSED .*: pg_verifybackup' out && says VERIFIED
claim 'that pg_amcheck is not there is told'
last is=WARNED pg_verifybackup=PASSED recovery=PASSED pg_amcheck=NOT_CHECKED 2>err && level full
claim '... also in the log, where it is a warning and no plain pass'
mv "$B/pg_verifybackup" kept-program && printf '#!/bin/sh\nexit 127\n' >"$B/pg_verifybackup" && chmod 755 "$B/pg_verifybackup"
pk --config other.yaml verify "lab/pg@$good" --level full --json && [ "$(result checks_not_made)" = 2 ] && [ "$(result checks.0.check) $(result checks.0.result) $(result checks.0.why)" = 'pg_verifybackup NOT_CHECKED it does not run' ] &&
  [ "$(result checks.1.check) $(result checks.1.result) $(result checks.1.surface)" = 'recovery PASSED lab/pg' ] && [ "$(result result)" = PASSED ]
claim 'a pg_verifybackup that does not run is no damage, and no check that was made'
last is=WARNED pg_verifybackup=NOT_CHECKED recovery=PASSED pg_amcheck=NOT_CHECKED 2>err
claim '... and the log has both'
mv kept-program "$B/pg_verifybackup" && ln -s "$PG_BIN/pg_amcheck" "$B/"

# ---- what they find ----
harm file
fails 4 PK-VER-001 --config other.yaml verify "lab/pg@$good" --level full && grep -q '^FAILED .*: pg_verifybackup of PostgreSQL' out && grep -q '^DIFFERS  restore: pg_verifybackup: .*PG_VERSION' out
claim 'a file that pg_verifybackup finds other than it was is damage'
last is=FAILED pg_verifybackup=FAILED 2>err && ! level full
claim '... and the point is not proven any more'
harm wal
fails 1 PK-PG-017 --config other.yaml verify "lab/pg@$good" --level full && says 'NOT VERIFIED' && says 'the restored server did not come up'
claim 'a copy that cannot replay its WAL is not verified'
last is=FAILED pg_verifybackup=FAILED 2>err
claim '... and has no result that says anything else'
harm no
pk --config other.yaml verify "lab/pg@$good" --level full && level full
claim 'unharmed it passes again'

# ---- what is not as it was ----
config differs.yaml 'invariants: [{ name: cached, database: shop, sql: "SELECT count(*) FROM public.cache", expect: equal }]'
pk --config differs.yaml backup lab/pg && fails 4 PK-VER-001 --config differs.yaml verify "lab/pg@$(point lab/pg)" --level full && grep -q '^DIFFERS  db/shop/declared/cached' out
claim 'a declared query that answers otherwise in the copy is a difference'
last is=FAILED pg_verifybackup=PASSED recovery=PASSED pg_amcheck=PASSED 2>err
claim '... whatever the programs say'

# ---- a page that was rotten when it was captured ----
rel=$(sql -d shop -c "SELECT pg_relation_filepath('item')")
sql -c CHECKPOINT
printf rot | server dd of="$C/data/$rel" bs=1 seek=$((8192 * 7 + 4000)) conv=notrunc 2>/dev/null
pk backup lab/pg
[ $? = 3 ] && rotten=$(point lab/pg) && fails 4 PK-VER-001 verify "lab/pg@$rotten" --level full && grep -q '^DIFFERS  restore: pg_amcheck: ' out && grep -q "^FAILED *lab/pg@$rotten: pg_amcheck of PostgreSQL" out
claim 'pg_amcheck finds the page'
config reads.yaml 'invariants: [{ name: items, database: shop, sql: "SELECT count(*) FROM public.item", expect: equal }]'
pk --config reads.yaml backup lab/pg
[ $? = 3 ] && fails 4 PK-VER-001 --config reads.yaml verify "lab/pg@$(point lab/pg)" --level full && grep -q '^DIFFERS  restore: pg_amcheck: ' out
claim '... also where a declared query cannot be answered because of it'

# ---- bytes that are lost ----
sql -d shop -c 'UPDATE item SET note = reverse(note) WHERE id > 12000' -c CHECKPOINT
find repo/packs -type f | sort >packs.before
pk backup lab/pg
find repo/packs -type f | sort >packs.after
mkdir away && comm -13 packs.before packs.after | xargs -I{} mv {} away/ && [ -n "$(ls away)" ] && fails 4 PK-VER-001 verify "lab/pg@$(point lab/pg)" --level full && grep -q '^DAMAGE  missing' out
claim 'a point of which packs are gone is damaged, and no server is asked'
finish
