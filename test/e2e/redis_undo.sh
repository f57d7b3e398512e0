#!/bin/bash
# Redis: a live restore that fails is undone, one may be swapped in, another server has its own login, and a capture
# outlives what drops replicas, and holds no value. Judged by redis-cli.
. "${SOURCE_ROOT:?the project}/test/e2e/lib/tap.sh"
. "$SOURCE_ROOT/test/e2e/lib/redis.sh"
redis_needed
A=$T/a B=$T/b
job=
trap '[ -z "$job" ] || kill -9 $job 2>/dev/null; for s in "$T"/*/pid; do redis_stop "$(dirname "$s")"; done' EXIT
secrets=("theirs: { file: $T/theirs }" "ours: { file: $T/ours }")
(umask 077 && echo 'theirs only' >theirs && echo 'ours only' >ours)
redis_start "$A" && redis_fill "$A"
redis_in "$A" eval "for i = 1, 40000 do redis.call('hset', 'many:' .. i, 'f', i) end" 0 >/dev/null
redis_in "$A" acl setuser keeper on '>ours only' allkeys +@all >/dev/null
login=("user: keeper" "password: ours")
redis_config proofkeep.yaml "host: $A/s" "${login[@]}"
was=$(redis_digest "$A") n0=$(redis_in "$A" dbsize)
pk init --repository main && pk backup lab/cache
claim 'a server is backed up'
empty() { [ "$(redis_in "$B" info keyspace | grep -c '^db')" = 0 ] && [ -z "$(redis_in "$B" function list)" ]; }
planned() { # WORD...: a restore whose target is not empty, carried out by its plan
  pk restore lab/cache@latest "$@" --dry-run --json && plan=$(result plan) && pk restore --plan "$plan"
}

# ---- another server's own login ----
redis_start "$B" --requirepass 'theirs only'
export REDISCLI_AUTH='theirs only'
fails 7 PK-RDS-001 restore lab/cache@latest --into "unix:$B/s" && says 'NOAUTH' && [ -z "$(redis_in "$B" acl log)" ]
claim 'another server is not sent the password of the first'
redis_config proofkeep.yaml "host: $A/s" "${login[@]}" 'targets:' "  - { host: $B/s, password: ours }"
fails 7 PK-RDS-001 restore lab/cache@latest --into "unix:$B/s" && says 'server.targets'
claim 'a login of its own that is wrong is told from all else'
redis_config proofkeep.yaml "host: $A/s" "${login[@]}" 'targets:' '  - { host: elsewhere }' "  - { host: $B/s, password: theirs }"
pk restore lab/cache@latest --into "unix:$B/s" && [ "$(redis_digest "$B")" = "$was" ]
claim 'with a login of its own it is restored into'
! grep -rqa -e 'theirs only' -e 'ours only' "$XDG_CACHE_HOME" "$T/repo" "$B/log"
claim 'and no password is on a disk'
unset REDISCLI_AUTH
redis_stop "$B"
redis_start "$B"
conf() { redis_config proofkeep.yaml "host: $A/s" "${login[@]}" "$@"; }
conf

# ---- restores that fail are undone ----
full() { # memory for a part of it only
  local used
  used=$(redis_in "$B" info memory | sed -n 's/^used_memory:\([0-9]*\).*/\1/p')
  redis_in "$B" config set maxmemory-policy noeviction >/dev/null
  redis_in "$B" config set maxmemory $((used + 1500000)) >/dev/null
}
full
fails 1 PK-RDS-003 restore lab/cache@latest --into "unix:$B/s" && says 'OOM' && says 'all is as it was: the [1-9][0-9]* keys' && empty
claim 'a server whose memory is full is left as it was, functions too'
redis_in "$B" config set maxmemory 0 >/dev/null
redis_in "$B" mset other:key stays s:text mine >/dev/null
full
conf 'conflicts: skip'
planned --into "unix:$B/s"
[ $? = 1 ] && says 'keys that had been restored were removed again' &&
  [ "$(redis_in "$B" mget other:key s:text)" = "$(printf 'stays\nmine')" ] && [ "$(redis_in "$B" dbsize)" = 2 ]
claim 'beside keys of others, with skip, only what was restored is removed'
conf 'conflicts: replace'
pk restore lab/cache@latest --into "unix:$B/s" --dry-run
grep -q 'could not be undone' out
claim 'a plan that replaces keys says that it cannot be undone'
planned --into "unix:$B/s"
[ $? = 1 ] && says 'some in place of others, and keeps them' && [ "$(redis_in "$B" get other:key)" = stays ]
claim 'and such a restore that failed says which keys there are'
redis_in "$B" config set maxmemory 0 >/dev/null
planned --into "unix:$B/s" && redis_in "$B" del other:key >/dev/null && [ "$(redis_digest "$B")" = "$was" ]
claim 'until it is run again'
conf

# ---- one that is stopped ----
pauser() { # pauses writes as soon as there is a key; it is ready when the file is there
  python3 - "$B/s" "$T/ready" <<'PY'
import pathlib, socket, sys, time
c = socket.socket(socket.AF_UNIX)
c.connect(sys.argv[1])
pathlib.Path(sys.argv[2]).touch()
until = time.monotonic() + 60
empty = b":0\r\n"
while empty == b":0\r\n" and time.monotonic() < until:
    c.sendall(b"DBSIZE\r\n")
    empty = c.recv(100)
c.sendall(b"CLIENT PAUSE 600000 WRITE\r\n")
assert c.recv(100) == b"+OK\r\n"
PY
}
held() { # a restore that waits in the server, in the middle of its keys
  local i other
  redis_in "$B" config set maxmemory-policy noeviction >/dev/null
  for i in $(seq 20); do
    redis_in "$B" flushall >/dev/null
    redis_in "$B" function flush >/dev/null
    rm -f ready
    pauser &
    other=$!
    until [ -e ready ] || ! kill -0 $other 2>/dev/null; do sleep 0.05; done
    "$P" restore lab/cache@latest --path db/0 --into "unix:$B/s" >out 2>err </dev/null &
    job=$!
    wait $other
    [ "$(redis_in "$B" dbsize)" -lt "$n0" ] && kill -0 $job && return 0
    redis_in "$B" client unpause >/dev/null
    wait $job
  done
  return 1
}
held && kill -INT $job && redis_in "$B" client unpause >/dev/null
wait $job
[ $? = 130 ] && says 'all is as it was' && empty
claim 'a restore that is interrupted is undone'
held && redis_in "$B" client kill type normal skipme yes >/dev/null && redis_in "$B" client unpause >/dev/null
wait $job
[ $? != 0 ] && says 'PK-NET-005' && says 'all is as it was' && empty
claim 'and one whose connection was cut'
held && kill -9 "$(cat "$B/pid")"
wait $job
[ $? != 0 ] && says 'could not be removed again'
claim 'where the server is gone, it says that it could not be'
redis_start "$B"
held
kill -9 $job
wait $job 2>/dev/null
job=
redis_in "$B" client unpause >/dev/null
conf 'conflicts: skip'
planned --into "unix:$B/s" && [ "$(redis_in "$B" dbsize)" = "$n0" ] && [ "$(redis_digest "$B")" = "$was" ]
claim 'one that was killed is completed by the same restore with skip'
conf

# ---- swapped in ----
redis_in "$A" set s:text changed >/dev/null
redis_in "$A" set since then >/dev/null
fails 2 PK-USE-001 restore lab/cache@latest --swap --path 'db/0/s:*'
claim 'a part of a database is not swapped in'
pk restore lab/cache@latest --swap --path db/0 --dry-run --json && plan=$(result plan) && grep -q 'into the empty database 1' out
claim 'a plan says where a database is restored before it is swapped in'
pk restore --plan "$plan" && [ "$(redis_in "$A" get s:text)" = hello ] && [ "$(redis_in "$A" exists since)" = 0 ] &&
  [ "$(redis_in "$A" -n 1 get since)" = then ]
claim 'what was restored is in its place, and the former database beside it'
redis_in "$A" -n 1 flushdb >/dev/null
[ "$(redis_digest "$A")" = "$was" ]
claim 'and all is there'
used=$(redis_in "$A" info memory | sed -n 's/^used_memory:\([0-9]*\).*/\1/p')
redis_in "$A" set since then >/dev/null
redis_in "$A" config set maxmemory $((used + 1500000)) >/dev/null
planned --swap
[ $? = 1 ] && says 'removed again' && redis_in "$A" config set maxmemory 0 >/dev/null &&
  [ "$(redis_in "$A" get since)" = then ] && redis_in "$A" del since >/dev/null && [ "$(redis_digest "$A")" = "$was" ]
claim 'a swap that fails before its end has changed nothing'

kept() { # WORD...: such a swap fails for want of a right, with the live keys where they are and nothing in the spare database
  redis_in "$A" acl setuser keeper "$@" >/dev/null && redis_in "$A" set since then >/dev/null
  planned --swap
  [ $? = 1 ] && says NOPERM && says 'removed again' && redis_in "$A" acl setuser keeper +@all >/dev/null &&
    [ "$(redis_in "$A" get since)" = then ] && redis_in "$A" del since >/dev/null && [ "$(redis_digest "$A")" = "$was" ]
}
kept -multi && kept -swapdb && kept -exec
claim 'nor has one whose user may not do a part of the swap'

# ---- what drops replicas ----
redis_in "$A" config set client-output-buffer-limit 'replica 64kb 64kb 1' >/dev/null
redis_in "$A" config set rdb-key-save-delay 100 >/dev/null
"$P" backup lab/cache --json >out 2>err </dev/null &
job=$!
until redis_in "$A" info persistence | grep -q 'rdb_bgsave_in_progress:1' || ! kill -0 $job 2>/dev/null; do sleep 0.1; done
for i in 1 2 3 4 5 6; do redis_in "$A" setrange noise 0 "$(head -c 30000 /dev/zero | tr '\0' x)" >/dev/null; done
redis_in "$A" info persistence | grep -q 'rdb_bgsave_in_progress:1' && redis_in "$A" config set rdb-key-save-delay 0 >/dev/null
wait $job
[ $? = 0 ]
claim 'writes beyond the buffer of a replica do not end a capture'
redis_in "$A" del noise >/dev/null
redis_in "$B" flushall >/dev/null
redis_in "$B" function flush >/dev/null
pk restore lab/cache@latest --into "unix:$B/s" && [ "$(redis_digest "$B")" = "$was" ]
claim 'which is of the moment at which it began'
redis_in "$A" config set rdb-key-save-delay 200 >/dev/null
points=$(point lab/cache)
"$P" backup lab/cache >out 2>err </dev/null &
job=$!
for i in $(seq 600); do
  redis_in "$A" client kill type replica | grep -qv '^0$' && break
  kill -0 $job 2>/dev/null || break
  sleep 0.1
done
wait $job
[ $? != 0 ] && [ "$(point lab/cache)" = "$points" ]
claim 'a replica that is dropped in the middle leaves no recovery point'
job=

# ---- a value that nobody holds ----
peak() { # ARGUMENT...: the program, and the most memory that it had is less than 150 MiB
  python3 - "$P" "$@" <<'PY'
import resource, subprocess, sys
done = subprocess.run(sys.argv[1:], stdin=subprocess.DEVNULL, stdout=open("out", "w"), stderr=open("err", "w"))
most = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss >> 10
print("#", most, "MiB")
sys.exit(done.returncode or most >= 150)
PY
}
redis_in "$A" config set rdb-key-save-delay 0 >/dev/null
redis_in "$A" config set rdbcompression no >/dev/null
redis_in "$A" flushall >/dev/null
redis_in "$A" eval "redis.call('set', 'large', string.rep('0123456789abcdef', 6 * 1024 * 1024))" 0 >/dev/null
peak backup lab/cache
claim 'a value of 96 MiB is backed up in less memory'
redis_in "$B" flushall >/dev/null
redis_in "$B" function flush >/dev/null
peak restore lab/cache@latest --into "unix:$B/s" && [ "$(redis_in "$B" strlen large)" = 100663296 ] &&
  [ "$(redis_in "$B" debug digest)" = "$(redis_in "$A" debug digest)" ]
claim 'and restored in less'
for i in "$A" "$B"; do redis_in "$i" flushall >/dev/null && redis_in "$i" function flush >/dev/null; done
redis_in "$A" debug populate 1000000 key 10 >/dev/null
peak backup lab/cache && peak restore lab/cache@latest --into "unix:$B/s" && [ "$(redis_in "$B" dbsize)" = 1000000 ] &&
  [ "$(redis_in "$B" debug digest)" = "$(redis_in "$A" debug digest)" ]
claim 'so are a million small keys'
finish
