# A throw-away Redis for the end-to-end tests, in one folder, on a unix socket only. To be sourced.
#   redis_start FOLDER [ARGUMENT...]   redis-server with these arguments besides
#   redis_stop FOLDER                  by the process id in its folder; fine when it does not run
#   redis_in FOLDER [REDIS-CLI...]     its own redis-cli
#   redis_needed                       ends the test, as skipped, where there is no server or no client
#   redis_config FILE [SERVER-KEY...]  a surface "cache" with these keys of its server; its secrets are those of the array `secrets`
#   redis_fill FOLDER                  every type in every encoding, in two databases, with functions; fields that expire where the server has them
# Debian's redis-tools has the server under another name, and starts none when it is installed.
if ! command -v redis-server >/dev/null && ! command -v valkey-server >/dev/null && command -v redis-check-rdb >/dev/null; then
  mkdir -p "$T/redis-bin" && ln -sf "$(command -v redis-check-rdb)" "$T/redis-bin/redis-server" && PATH=$PATH:$T/redis-bin
fi
REDIS_SERVER=${REDIS_SERVER:-$(command -v redis-server || command -v valkey-server || true)}
REDIS_CLI=${REDIS_CLI:-$(command -v redis-cli || command -v valkey-cli || true)}
REDIS_CHECK=${REDIS_CHECK:-$(command -v redis-check-rdb || command -v valkey-check-rdb || true)}

redis_needed() {
  [ -z "$REDIS_SERVER" ] || [ -z "$REDIS_CLI" ] || return 0
  echo '1..0 # skip no Redis server is installed'
  exit 0
}
redis_config() {
  local file=$1
  shift
  {
    config_head "${secrets[@]}"
    printf '%s\n' 'surfaces:' '  cache:' '    kind: redis' '    class: runtime' '    server:'
    printf '      %s\n' "$@"
    printf 'environments:\n  lab: { repository: main }\n'
  } >"$file"
}
redis_start() {
  local folder=$1 i
  shift
  mkdir -p "$folder"
  "$REDIS_SERVER" --port 0 --unixsocket "$folder/s" --dir "$folder" --daemonize yes --pidfile "$folder/pid" --logfile "$folder/log" \
    --save '' --enable-debug-command local --repl-diskless-sync-delay 0 "$@" >/dev/null || return 1
  for i in $(seq 600); do
    [ "$("$REDIS_CLI" -s "$folder/s" --no-auth-warning ping 2>/dev/null | grep -c -e PONG -e NOAUTH)" = 1 ] && return 0
    sleep 0.1
  done
  cat "$folder/log"
  return 1
}
redis_stop() {
  local pid i
  pid=$(cat "$1/pid" 2>/dev/null) || return 0
  kill "$pid" 2>/dev/null
  for i in $(seq 600); do
    kill -0 "$pid" 2>/dev/null || break
    sleep 0.1
  done
  rm -f "$1/pid"
}
redis_in() {
  local folder=$1
  shift
  "$REDIS_CLI" -s "$folder/s" "$@"
}

# Small and large containers take other encodings; long equal text is compressed, short numbers are stored as such.
redis_fill() {
  local f=$1 cli="$REDIS_CLI -s $1/s"
  $cli >/dev/null <<'CMD'
set s:int8 7
set s:int16 -300
set s:int32 100000
set s:int64 9223372036854775807
set s:text hello
set s:empty ""
set s:future later EX 100000
set s:binary "\x00\xff\r\n"
rpush l:small a b 1 -5 70000 9000000000
sadd set:int 1 2 3 70000 9000000000
sadd set:text a b c
zadd z:small 1 a 2.5 b -inf c +inf d 3.1400000000000001 e
hset h:small a 1 b two c 3
pexpire h:small 900000000
hset times:small a 1 b two
hpexpire times:small 900000000 fields 1 a
xadd stream 1-1 a 1 b 2
xadd stream 1-2 a 2 b 3
xadd stream 2-1 other field
xdel stream 1-2
xgroup create stream readers 0
xreadgroup group readers one count 1 streams stream >
xgroup createconsumer stream readers idle
pfadd hll a b c d
setbit bits 1000 1
geoadd places 13.361389 38.115556 palermo
function load "#!lua name=lib\nredis.register_function('f', function() return 1 end)"
select 3
set other:1 database-three
set other:2 x PX 900000000
CMD
  python3 - "$f/fill" <<'PY'
import sys
with open(sys.argv[1], "w") as o:
    for i in range(3000):
        o.write(f"set key:{i:05d} value-{i}\n")
    for i in range(700):
        o.write(f"hset h:large field-{i} value-{i * 7}\n")
        o.write(f"sadd set:large member-{i}\n")
        o.write(f"zadd z:large {i * 0.37} member-{i}\n")
        o.write(f"rpush l:large element-{i} {i}\n")
        o.write(f"xadd stream:large {i + 1}-0 n {i}\n")
    for i in range(1200):
        o.write(f"sadd set:intlarge {i * i}\n")
    for i in range(700):
        o.write(f"hset times:large field-{i} {i}\n")
    o.write("hpexpire times:large 900000000 fields 2 field-7 field-600\n")
    o.write("set s:long " + "abcdefgh" * 4000 + "\n")
    o.write("rpush l:plain " + "q" * 20000 + " " + "r" * 9000 + "\n")
    o.write("eval \"redis.call('set', 's:large', string.rep('0123456789', 300000))\" 0\n")
PY
  $cli <"$f/fill" >/dev/null
  head -c 1500000 /dev/urandom | base64 -w 0 | $cli -x set s:random >/dev/null # larger than a capture holds, or a small server takes at once
}
# What DEBUG DIGEST says of each database; its whole-server form covers all of them.
redis_digest() { redis_in "$1" debug digest; }
