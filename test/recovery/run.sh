# Running test/recovery/instants.py as the user that a server may run as. To be sourced after test/e2e/lib/tap.sh (or with $T and $P) and
# tools/demo/cluster.sh.
#   instants FOLDER ARGUMENT...     a run in a new folder; its TAP is forwarded as claims, each with FOLDER's name before it
#   as_server FOLDER ARGUMENT...    the program with that run's configuration; streams are in $T/out and $T/err
_instants_user() { # FOLDER COMMAND...
  local folder=$1
  shift
  if [ "$(id -u)" = 0 ]; then (cd "$folder" && exec runuser -u postgres -- env TMPDIR="$folder" "$@"); else (cd "$folder" && exec env TMPDIR="$folder" "$@"); fi
}

instants() {
  local name=$1 folder=$T/$1 line status
  shift
  chmod 755 "$T"
  mkdir "$folder" || return 1
  # Where they lie, the server's user may not reach them.
  cp "$P" "$folder/proofkeep" && cp "$SOURCE_ROOT/test/recovery/instants.py" "$folder/instants.py" && chmod 755 "$folder/proofkeep"
  [ "$(id -u)" != 0 ] || chown postgres "$folder"
  _instants_user "$folder" python3 "$folder/instants.py" --program "$folder/proofkeep" --bin "$PG_BIN" --dir "$folder" "$@" >"$folder.tap" 2>"$T/err" </dev/null
  status=$?
  : >"$T/out"
  while IFS= read -r line; do
    case $line in
      'ok '* | 'not ok '*) [ "${line%% *}" = ok ]; claim "$name: ${line#*- }" ;;
      1..*) ;;
      *) echo "$line" ;;
    esac
  done <"$folder.tap"
  [ $status = 0 ] && grep -q '^1\.\.[1-9]' "$folder.tap"
  claim "$name: the run came to its end"
}

as_server() {
  local folder=$T/$1
  shift
  tap_last="proofkeep $*"
  _instants_user "$folder" env HOME="$folder" XDG_CACHE_HOME="$folder/cache" "$folder/proofkeep" "$@" --config "${CONFIG:-$folder/proofkeep.yaml}" >"$T/out" 2>"$T/err" </dev/null
}
