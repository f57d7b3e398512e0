#!/bin/bash
# The redis surface from outside, against a real server: what comes back is judged by DEBUG DIGEST, redis-cli and redis-check-rdb.
. "${SOURCE_ROOT:?the project}/test/e2e/lib/tap.sh"
. "$SOURCE_ROOT/test/e2e/lib/redis.sh"
. "$SOURCE_ROOT/test/e2e/lib/browse.sh"
redis_needed
A=$T/a B=$T/b
trap 'for s in "$T"/*/pid; do redis_stop "$(dirname "$s")"; done' EXIT
secrets=("right: { file: $T/right }" "wrong: { file: $T/wrong }")
(umask 077 && echo 'keeper secret' >right && echo 'not the keeper secret' >wrong)
redis_config proofkeep.yaml "host: $A/s"
redis_start "$A" && redis_fill "$A"
case $REDIS_SERVER in */valkey-server)
  redis_in "$A" info server | grep -q '^valkey_version:'
  claim 'it is Valkey that runs'
  ;;
esac
# small as an RDB has them, and large as they are; and a large name, with what would be a command if it came before its length
redis_in "$A" eval "redis.call('set', 's:dense', string.rep('a', 300000)) redis.call('set', 'k\r\nset taken 1\r\n' .. string.rep('k', 600000), 'v')" 0 >/dev/null
was=$(redis_digest "$A")
pk init --repository main

# ---- capture ----
pk backup lab/cache --json
claim 'a server with every type in every encoding is backed up'
"$P" show lab/cache@latest --json >show 2>err && python3 - <<PY
import json, subprocess
shown = json.dumps(json.load(open("show")))
for word in '"consistency": "exact"', '"rdb_checksum": "verified"', '"method": "snapshot"':
    assert word in shown, (word, shown[:3000])
PY
claim 'it says that it is exact, and that the checksum was verified'
mkdir none
env "PATH=$T/none" "$P" verify lab/cache@latest --level full >out 2>err
[ $? = 1 ] && grep -q '^error PK-RDS-012: ' err && says 'neither redis-server nor valkey-server is installed here'
claim 'without a server to try it in it is not proved'
"$P" show lab/cache@latest >show 2>err && grep -q '^verified   never' show
claim 'and not said to be'
browse lab/cache
pk verify lab/cache@latest --level full
claim 'a scratch server with all of it has the same keys, types, times, functions and digest'
[ -z "$(pgrep -f "$T/cache.*redis-" || true)" ]
claim 'and is gone afterwards'

# ---- restores ----
restored() { # WORD...: a restore whose target is not empty, carried out by its plan
  pk restore lab/cache@latest "$@" --dry-run --json && pk restore --plan "$(result plan)"
}
redis_start "$B"
pk restore lab/cache@latest --into "unix:$B/s" && [ "$(redis_digest "$B")" = "$was" ]
claim 'restored into an empty server, DEBUG DIGEST is the same'
[ "$(redis_in "$B" fcall f 0)" = 1 ]
claim 'functions are there'
[ "$(redis_in "$B" pttl s:future)" -gt 0 ] && [ "$(redis_in "$B" -n 3 pttl other:2)" -gt 800000000 ]
claim 'and times to expire'
if redis_in "$A" hpttl times:small fields 1 a | grep -q '^[1-9]'; then
  [ "$(redis_in "$B" hpttl times:small fields 2 a b | tail -n 1)" = -1 ] && [ "$(redis_in "$B" hpttl times:small fields 1 a)" -gt 800000000 ] &&
    [ "$(redis_in "$B" hpttl times:large fields 1 field-600)" -gt 800000000 ]
  claim 'those of fields, too'
else
  skip 'those of fields, too' 'this server has none'
fi
restored --into "unix:$B/s"
[ $? = 5 ] && says '^error PK-RDS-009: ' && says 'nothing was changed'
claim 'a second restore is refused, because keys are there'
redis_in "$B" set s:text changed >/dev/null
redis_in "$B" del l:small >/dev/null
[ "$(redis_in "$B" get s:text)" = changed ] && [ "$(redis_in "$B" exists l:small)" = 0 ]
claim 'before any key was written'
redis_config proofkeep.yaml "host: $A/s" 'conflicts: skip'
restored --into "unix:$B/s" && [ "$(redis_in "$B" get s:text)" = changed ] && [ "$(redis_in "$B" exists l:small)" = 1 ]
claim 'with skip, what is there stays and what is missing comes'
redis_config proofkeep.yaml "host: $A/s" 'conflicts: replace'
restored --into "unix:$B/s" && [ "$(redis_digest "$B")" = "$was" ]
claim 'with replace, all is as it was'
redis_in "$B" flushall >/dev/null
restored --path 'db/0/h:*' --path db/3 --into "unix:$B/s" && [ "$(redis_in "$B" dbsize)" = 2 ] && [ "$(redis_in "$B" -n 3 dbsize)" = 2 ]
claim 'a pattern of keys and a database come alone'
redis_in "$B" flushall >/dev/null
restored --path db/3 --into "unix:$B/s?3=7" && [ "$(redis_in "$B" -n 7 get other:1)" = database-three ]
claim 'a database goes into another'
restored --path db/3 --into 3=9 && [ "$(redis_in "$A" -n 9 get other:1)" = database-three ] && redis_in "$A" -n 9 flushdb >/dev/null
claim 'also of the same server, beside the live one'
fails 5 PK-POL-001 restore lab/cache@latest --into 0=0,3=3
claim 'but never into the live one by accident'
redis_in "$A" flushall >/dev/null
redis_in "$A" function flush >/dev/null
restored --in-place && [ "$(redis_digest "$A")" = "$was" ]
claim 'a server that was wiped has it all again, in place'
fails 2 PK-USE-001 restore lab/cache@latest --path 'nonsense/x' --into "$T/none"
claim 'a name that is nothing of a snapshot is refused'

redis_in "$B" flushall >/dev/null
redis_in "$B" config set proto-max-bulk-len 1mb >/dev/null
fails 5 PK-RDS-010 restore lab/cache@latest --path db/0 --into "unix:$B/s" && says 'nothing was changed' && [ "$(redis_in "$B" dbsize)" = 0 ]
claim 'a value that the target does not take in one command is found before anything is written'
redis_in "$B" config set proto-max-bulk-len 512mb >/dev/null
redis_in "$B" config set maxmemory-policy allkeys-random >/dev/null
used=$(redis_in "$B" info memory | sed -n 's/^used_memory:\([0-9]*\).*/\1/p')
redis_in "$B" config set maxmemory $((used + 150000)) >/dev/null
fails 4 PK-RDS-011 restore lab/cache@latest --path 'db/0/key:*' --into "unix:$B/s"
claim 'a target that evicts what it was given is found out'
redis_in "$B" config set maxmemory 0 >/dev/null
redis_in "$B" flushall >/dev/null

# ---- offline ----
pk restore lab/cache@latest --into "$T/folder" && "$REDIS_CHECK" folder/dump.rdb >check && grep -q 'RDB looks OK' check
claim 'a folder has an RDB that the stock check accepts'
cp -r folder c && redis_start "$T/c" --appendonly yes && [ "$(redis_digest "$T/c")" = "$was" ]
claim 'a server with appendonly yes starts from it with all data'
redis_stop "$T/c"
mkdir d && cp folder/dump.rdb d && redis_start "$T/d" && [ "$(redis_digest "$T/d")" = "$was" ]
claim 'and one without'
redis_stop "$T/d"
mkdir trap && cp folder/dump.rdb trap && redis_start "$T/trap" --appendonly yes && [ "$(redis_in "$T/trap" dbsize)" = 0 ]
claim 'where an RDB alone leaves a server with appendonly yes empty'
redis_stop "$T/trap"
grep -q '^user default ' folder/users.acl
claim 'users are in the folder'
pk export lab/cache@latest --to "$T/export" && "$REDIS_CHECK" export/data/dump.rdb | grep -q 'RDB looks OK' && [ -s export/data/users.acl ]
claim 'an export is an RDB too'

# ---- what expires meanwhile, and what deduplicates ----
redis_in "$A" set brief gone PX 6000 >/dev/null # time enough for a backup on a busy machine
pk backup lab/cache --json && await 60 eval '[ "$(redis_in "$A" exists brief)" = 0 ]'
redis_in "$B" flushall >/dev/null
redis_in "$B" function flush >/dev/null
pk restore lab/cache@latest --into "unix:$B/s" --json
[ "$(redis_in "$B" exists brief)" = 0 ] && grep -q '"expired_meanwhile": *1' out
claim 'a key that expired since the backup is counted, and not stored'
pk verify lab/cache@latest --level full
claim 'and a verification still proves it was backed up'
redis_stop "$A"
redis_start "$A" --dbfilename from.rdb && redis_stop "$A" && cp folder/dump.rdb "$A/from.rdb" && redis_start "$A" --dbfilename from.rdb
fails 5 PK-POL-001 restore lab/cache@latest --into "unix:$A/s?0=0,3=3"
claim 'a server that was started again is still the live one, however it is named'
pk backup lab/cache --json && pk backup lab/cache --json
claim 'a server that was started again is backed up'

# ---- users, TLS ----
redis_in "$A" acl setuser keeper on '>keeper secret' resetkeys -@all +psync +replconf +info '+acl|list' '+config|get' '+acl|whoami' >/dev/null
redis_config keeper.yaml "host: $A/s" 'user: keeper' 'password: right'
pk --config keeper.yaml backup lab/cache
claim 'a user who may do little more than replicate is enough'
redis_config wrong.yaml "host: $A/s" 'user: keeper' 'password: wrong'
fails 7 PK-RDS-001 --config wrong.yaml backup lab/cache && ! says 'not the keeper secret'
claim 'a wrong password is told from all else, and not shown'
redis_in "$A" acl setuser keeper -psync >/dev/null
fails 1 PK-RDS-007 --config keeper.yaml backup lab/cache && says 'method: scan'
claim 'a user who may not replicate is told of the other way'
! grep -rqa 'keeper secret' "$XDG_CACHE_HOME" "$T/repo" "$A/log"
claim 'the password is nowhere on disk'
if redis_in "$A" config get tls-port >/dev/null 2>&1 && [ -n "$(redis_in "$A" config get tls-port)" ]; then
  openssl req -x509 -newkey rsa:2048 -nodes -keyout tls.key -out tls.crt -days 2 -subj /CN=localhost \
    -addext subjectAltName=DNS:localhost,IP:127.0.0.1 >/dev/null 2>&1
  port=$((20000 + $$ % 20000))
  redis_start "$T/tls" --tls-port $port --bind 127.0.0.1 --tls-cert-file "$T/tls.crt" --tls-key-file "$T/tls.key" --tls-auth-clients no
  redis_in "$T/tls" set over tls >/dev/null
  redis_config tls.yaml 'host: localhost' "port: $port" 'tls: true' "ca: $T/tls.crt"
  pk --config tls.yaml backup lab/cache
  claim 'a capture over TLS'
  redis_config tls.yaml 'host: localhost' "port: $port" 'tls: true'
  fails 7 PK-NET-003 --config tls.yaml backup lab/cache
  claim 'a certificate that nobody vouches for is refused'
  redis_stop "$T/tls"
else
  skip 'a capture over TLS' 'this server has no TLS'
fi

# ---- without replication ----
redis_config scan.yaml "host: $A/s" 'method: scan' 'conflicts: replace'
redis_in "$A" function flush >/dev/null
was=$(redis_digest "$A")
pk --config scan.yaml backup lab/cache --json && "$P" show lab/cache@latest --json | grep -q '"consistency": *"fuzzy"'
claim 'by SCAN and DUMP a backup is labelled fuzzy'
redis_in "$B" flushall >/dev/null
redis_in "$B" function flush >/dev/null
pk restore lab/cache@latest --into "unix:$B/s" && [ "$(redis_digest "$B")" = "$was" ]
claim 'and is all there when nothing changed meanwhile'

# ---- a managed service: what such ones block is not needed ----
blocked=()
for i in SYNC PSYNC REPLCONF CONFIG SAVE BGSAVE BGREWRITEAOF MIGRATE REPLICAOF SHUTDOWN; do blocked+=(--rename-command $i ''); done
redis_start "$T/managed" "${blocked[@]}" && redis_fill "$T/managed" && redis_in "$T/managed" function flush >/dev/null
was=$(redis_digest "$T/managed")
redis_config managed.yaml "host: $T/managed/s" 'conflicts: replace'
fails 1 PK-RDS-007 --config managed.yaml backup lab/cache && says 'method: scan'
claim 'a service that has no replication is told of the other way'
redis_config managed.yaml "host: $T/managed/s" 'method: scan' 'conflicts: replace'
pk --config managed.yaml backup lab/cache && redis_in "$T/managed" flushall >/dev/null && pk --config managed.yaml restore lab/cache@latest --in-place --dry-run --json &&
  pk --config managed.yaml restore --plan "$(result plan)" && [ "$(redis_digest "$T/managed")" = "$was" ]
claim 'which backs it up, and it is restored into without what is blocked there'
redis_stop "$T/managed"

# ---- a stream without a checksum; what a server evicts first ----
redis_start "$T/lru" --rdbchecksum no --maxmemory-policy allkeys-lru
redis_in "$T/lru" eval "redis.call('set', 'k', 'v') redis.call('restore', 'idle', 0, redis.call('dump', 'k'), 'IDLETIME', 5000)" 0 >/dev/null
redis_config lru.yaml "host: $T/lru/s"
into() { # what was backed up last, into an empty B
  redis_in "$B" flushall >/dev/null
  redis_in "$B" function flush >/dev/null
  pk --config lru.yaml restore lab/cache@latest --into "unix:$B/s"
}
pk --config lru.yaml backup lab/cache && says 'its stream is unchecked' && "$P" show lab/cache@latest --json | grep -q '"rdb_checksum": *"unchecked"'
claim 'where the server writes no checksum, it is said that there was none to verify'
redis_in "$B" config set maxmemory-policy allkeys-lru >/dev/null
into && [ "$(redis_in "$B" object idletime idle)" -ge 5000 ] && [ "$(redis_in "$B" object idletime k)" -lt 5000 ]
claim 'for how long a key was idle comes with it'
for i in "$T/lru" "$B"; do redis_in "$i" config set maxmemory-policy allkeys-lfu >/dev/null; done
redis_in "$T/lru" eval "redis.call('restore', 'often', 0, redis.call('dump', 'k'), 'FREQ', 200)" 0 >/dev/null
pk --config lru.yaml backup lab/cache && into && i=$(redis_in "$B" object freq often) && [ "$i" -gt 150 ] && [ "$i" -le 200 ]
claim 'or how often it was asked for'
redis_in "$B" config set maxmemory-policy noeviction >/dev/null
redis_stop "$T/lru"

# ---- what must not become a snapshot ----
points() { "$P" list lab/cache --json | python3 -c 'import json, sys; print(len(json.load(sys.stdin)["points"]))'; }
before=$(points)
redis_in "$A" debug populate 300000 big 200 >/dev/null
redis_in "$A" config set rdb-key-save-delay 200 >/dev/null
pk backup lab/cache &
job=$!
sleep 1.5
kill -9 "$(cat "$A/pid")"
wait $job
[ $? != 0 ] && [ "$(points)" = "$before" ]
claim 'a server that is killed in the middle leaves no recovery point'
fails 7 PK-NET-002 backup lab/cache
claim 'a server that is down is unreachable, not empty'
finish
