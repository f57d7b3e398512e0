#!/bin/bash
# Parts of what is not files out of an archive class: of a database, only the packs that the chosen tables or keys lie in come back.
# The archive is emulated, as in thaw.sh; the judges are psql and redis-cli.
. "${SOURCE_ROOT:?the project}/test/e2e/lib/tap.sh"
. "$SOURCE_ROOT/test/e2e/lib/s3.sh"
. "$SOURCE_ROOT/test/e2e/lib/pg.sh"
. "$SOURCE_ROOT/test/e2e/lib/redis.sh"
. "$SOURCE_ROOT/test/e2e/lib/thaw.sh"
pg_needed
redis_needed
s3_needed moto
trap 's3_stop; cluster_stop "$C"; redis_stop "$T/redis"' EXIT
cluster_start "$C" && redis_start "$T/redis" && s3 mb backups || { echo 'Bail out! no servers' && exit 1; }
s3_login
cat >proofkeep.yaml <<YAML
version: 1
platform: test
secrets:
  k: { file: $T/key }
repositories:
  main:
    url: s3://backups/a
    s3: { endpoint: $S3_ENDPOINT, region: $S3_REGION, data_storage_class: GLACIER }
    encrypt: { key: k, kind: key_file }
surfaces:
  pg:
    kind: postgres
    class: runtime
    connect: { host: $C/socket, user: postgres }
    databases: [shop]
$(! as_root || echo '    run_as: postgres')
  cache: { kind: redis, class: runtime, server: { host: $T/redis/s } }
environments:
  lab: { repository: main }
YAML
looks 1
data() { s3 ls backups a/packs/d/ | awk '{ print $1 }' | sort; }
thawed() { grep -o 'POST /backups/a/packs/d/.*?restore' "$T/server/log" | sed 's|POST /backups/||; s|?restore||' | sort -u; }
table() { sql -d shop -c "CREATE TABLE $1 AS SELECT i AS id, md5('$1' || i) AS note FROM generate_series(1, $2) i"; }
sum() { sql -d "$1" -c "SELECT count(*), md5(string_agg(note, '' ORDER BY id)) FROM $2"; }

# ---- two backups, so that each table has packs of its own
sql -c 'CREATE DATABASE shop' && table one 60000 && pk init --repository main --key-file "$T/key" && pk backup lab/pg
claim 'a table is backed up into GLACIER'
data >of.first
table two 30000 && sql -d shop -c 'CREATE VIEW seen AS SELECT id, note FROM one' -c 'CREATE TABLE heir () INHERITS (two)' -c "INSERT INTO heir VALUES (0, 'of two')" && pk backup lab/pg
claim 'a second backup adds a table'
data | grep -vxFf of.first >of.second
n=$(wc -l <of.second)
pk restore lab/pg@latest --path db/shop/public.two --into part --dry-run --json && [ "$(planned thaw.frozen_packs)" = "$n" ]
claim 'the plan of one table counts the packs that it lies in, while not even the table of contents can be read'
fails 1 PK-S3-012 restore lab/pg@latest --path db/shop/public.seen --into part && says "$(data | wc -l) packs\? of"
claim 'of a view, as only the contents say what it stands on, all packs of the database are needed'
pk restore lab/pg@latest --path db/shop/public.two --into part --thaw standard && [ "$(sum part two)" = "$(sum shop 'ONLY two')" ] && thawed >of.thawed && cmp of.thawed of.second
claim 'and it is restored when they, and no others, are back'
grep -hq 'shop has 1 table that inherits and is not named, such as public.heir' "$T/out" "$T/err" && grep -hq 'public.heir.*inherits from a table that was taken, and was not named: its rows were not restored' "$T/out" "$T/err"
claim 'that it comes without the rows of a table that inherits from it is said, before and after'
pk restore lab/pg@latest --path db/shop/public.two --into again --dry-run --json && ! planned thaw >/dev/null 2>&1
claim 'which are not needed a second time'
pk restore lab/pg@latest --path db/shop/public.seen --into viewed --dry-run --json &&
  [ "$(planned thaw.frozen_packs)" = "$(wc -l <of.first)" ] && part=$(($(planned estimated_seconds) - $(planned thaw.seconds)))
claim 'now the contents tell what the view stands on'
pk restore lab/pg@latest --into whole --dry-run --json && all=$(($(planned estimated_seconds) - $(planned thaw.seconds))) && [ 0 -lt "$part" ] && [ "$part" -le "$all" ]
claim 'the estimate is of what is restored, and has the wait in it'
pk restore lab/pg@latest --path db/shop/public.seen --into viewed --thaw bulk && [ "$(sum viewed seen)" = "$(sum shop one)" ]
claim 'which comes with its rows'

# ---- keys
redis_in "$T/redis" eval 'for i = 1, 20000 do redis.call("set", "a:" .. i, redis.sha1hex("a" .. i)) end' 0 >/dev/null && data >of.before && pk backup lab/cache && data | grep -vxFf of.before >of.zero
claim 'a database of Redis is backed up'
redis_in "$T/redis" -n 1 eval 'for i = 1, 20000 do redis.call("set", "b:" .. i, redis.sha1hex("b" .. i)) end' 0 >/dev/null && data >of.before && pk backup lab/cache && data | grep -vxFf of.before >of.one
claim 'and another one'
pk restore lab/cache@latest --path 'db/1/b:7*' --into "$T/keys" --dry-run --json && [ "$(planned thaw.frozen_packs)" = "$(wc -l <of.one)" ]
claim 'the plan of some keys counts the packs of their database'
thawed >of.before
pk restore lab/cache@latest --path 'db/1/b:7*' --into "$T/keys" --thaw standard && [ -s keys/dump.rdb ] && thawed | grep -vxFf of.before >of.thawed && cmp of.thawed of.one
claim 'and only those come back'
finish
