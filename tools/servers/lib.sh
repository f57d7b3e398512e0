# What the scripts that start servers for tests and the demonstration share. To be sourced by bash.
#   server_port                       prints a port of 127.0.0.1 at which nobody listens
#   server_cache                      sees that SERVER_CACHE is there and ours; else 77 or 1, with the reason in SERVER_WHY
#   server_fetch NAME WHAT FILE COMMAND...
#                                     sees that FILE is there, by COMMAND if it is not, one such at a time by NAME: tests run side by side.
#                                     77, with the reason in SERVER_WHY, when WHAT cannot be had; what COMMAND said is in NAME.log
# What is fetched and built is kept in SERVER_CACHE: PROOFKEEP_TEST_CACHE, by default a folder of our own in /var/tmp.
SERVER_CACHE=${PROOFKEEP_TEST_CACHE:-/var/tmp/proofkeep-test-$(id -u)}
SERVER_WHY=

# Below the ports that the system gives to whoever calls out: a server comes to it seconds later, or comes back to it.
server_port() {
  python3 -c '
import random, socket
for _ in range(1000):
    with socket.socket() as s:
        try:
            s.bind(("127.0.0.1", random.randrange(12000, 32000)))
        except OSError:
            continue
        print(s.getsockname()[1])
        break'
}

# Servers run as other users, and have to come by.
server_cache() {
  (umask 077 && mkdir -p "$SERVER_CACHE") || return 1
  [ -O "$SERVER_CACHE" ] && chmod 711 "$SERVER_CACHE" && return 0
  SERVER_WHY="$SERVER_CACHE belongs to another"
  return 77
}

server_fetch() {
  local name=$1 what=$2 file=$3
  shift 3
  [ -e "$file" ] && return 0
  server_cache || return
  (
    flock 9
    [ -e "$file" ] || "$@" >"$SERVER_CACHE/$name.log" 2>&1
  ) 9>"$SERVER_CACHE/$name.lock" && return 0
  SERVER_WHY="$what could not be had; see $SERVER_CACHE/$name.log"
  return 77
}
