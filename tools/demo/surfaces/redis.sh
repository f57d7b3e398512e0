# A Redis with two databases, every type, functions and keys that expire.
redis_server=$(command -v redis-server || command -v valkey-server || command -v redis-check-rdb || :)
redis_cli=$(command -v redis-cli || command -v valkey-cli || :)
if [ -n "$redis_server" ] && ! command -v redis-server >/dev/null; then # Debian's redis-tools has it under another name
  mkdir "$work/redis-bin" && ln -s "$redis_server" "$work/redis-bin/redis-server"
  PATH=$PATH:$work/redis-bin # where verify, too, finds one to start
fi
redis() { "$redis_cli" -s "$work/redis/socket" --no-auth-warning "$@"; }

redis_missing() { [ -n "$redis_server" ] && [ -n "$redis_cli" ] || echo "no Redis server is installed; install it with 'make deps'"; }
redis_start() {
  local i
  mkdir -p "$work/redis"
  redis-server --port 0 --unixsocket "$work/redis/socket" --dir "$work/redis" --daemonize yes --pidfile "$work/redis/pid" \
    --logfile "$work/redis/log" --save '' --enable-debug-command local --repl-diskless-sync-delay 0 >/dev/null
  for i in $(seq 100); do [ "$(redis ping 2>/dev/null)" = PONG ] && break || sleep 0.05; done
  redis function load "#!lua name=atlas
redis.register_function('total', function(keys) return #redis.call('SMEMBERS', keys[1]) end)" >/dev/null || give_up 'Redis would not start'
  python3 - <<'PY' | redis --pipe >/dev/null
import sys
def say(*words):
    sys.stdout.write(f"*{len(words)}\r\n" + "".join(f"${len(str(w).encode())}\r\n{w}\r\n" for w in words))
say("SELECT", 0)
for i in range(20000):
    say("SET", f"session:{i}", f"user {i % 977} logged in from 10.0.{i % 256}.{i % 251}", "EX", 86400 + i)
for i in range(2000):
    say("HSET", f"cart:{i}", "customer", i, "total", f"{i * 1.5:.2f}", "item", f"place {i % 97}")
    say("SADD", f"tags:{i % 50}", f"tag {i}")
    say("ZADD", "ranking", i * 0.25, f"customer {i}")
    say("XADD", "events", f"{i + 1}-0", "kind", "order", "n", i)
say("SELECT", 1)
for i in range(3000):
    say("RPUSH", f"queue:{i % 7}", f"job {i}")
say("SET", "blob", "x" * 2_000_000)
PY
}
redis_describe() { printf '%s keys in database 0, %s in database 1, %s\n' "$(redis dbsize)" "$(redis -n 1 dbsize)" "$(redis info memory | sed -n 's/^used_memory_human:\([^\r]*\).*/\1/p')"; }
redis_config() {
  cat <<YAML
    kind: redis
    class: cache
    server: { host: $work/redis/socket }
YAML
}
redis_target() { echo in-place; }
redis_freeze() { printf '%q ' "$redis_cli" -s "$work/redis/socket" client pause 60000 write; }
redis_resume() { printf '%q ' "$redis_cli" -s "$work/redis/socket" client unpause; }
redis_facts() {
  redis debug digest >"$1/redis"
  for n in 0 1; do printf 'database %s: %s keys\n' $n "$(redis -n $n dbsize)"; done >>"$1/redis"
  redis function list withcode >>"$1/redis"
  printf 'expires at %s\n' "$(redis expiretime session:7)" "$(redis fcall total 1 tags:7)" >>"$1/redis"
}
redis_wipe() {
  redis flushall >/dev/null
  redis function flush >/dev/null
  echo '$ redis-cli dbsize'
  redis dbsize
}
redis_evidence() {
  cmp <(sed -n 1p before/redis) <(sed -n 1p after/redis)
  evidence $? redis 'every key, type and value' 'redis-cli: DEBUG DIGEST' "$(redis dbsize) + $(redis -n 1 dbsize) keys"
  diff before/redis after/redis >&2
  evidence $? redis 'functions, expiries' 'redis-cli: FUNCTION LIST, FCALL' 'to the second'
}
redis_counts() { printf '{"keys": {"0": %s, "1": %s}}\n' "$(redis dbsize)" "$(redis -n 1 dbsize)"; }
redis_stop() {
  local pid i
  pid=$(cat "$work/redis/pid" 2>/dev/null) || return 0
  kill "$pid" 2>/dev/null || return 0
  for i in $(seq 100); do kill -0 "$pid" 2>/dev/null || return 0; sleep 0.05; done
}
