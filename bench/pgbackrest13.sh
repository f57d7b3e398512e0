#!/bin/sh
# pgBackRest of Debian 13, which has block incremental: prints the program, for physical.py --pgbackrest. Its package is taken from that
# release's mirror and lies in the folder $1; loader and libraries are those of the folder of test/debian13.sh (DEBIAN13).
set -eu
dir=$1 from=${DEBIAN13:-/var/tmp/proofkeep-debian13}
[ -e "$from/etc/debian_version" ] || { echo "there is no Debian 13 in $from (make test-debian13 makes that folder)" >&2; exit 77; }
libraries=$from/usr/lib/x86_64-linux-gnu program=$dir/pgbackrest13/pgbackrest
if [ ! -x "$program" ]; then
  mkdir -p "$dir/pgbackrest13"
  chroot "$from" sh -c 'cd /var/tmp && rm -f pgbackrest_*.deb && apt-get -qq download pgbackrest' >&2
  dpkg-deb -x "$from"/var/tmp/pgbackrest_*.deb "$dir/pgbackrest13"
  rm -f "$from"/var/tmp/pgbackrest_*.deb
  printf '%s\n' '#!/bin/sh' \
    "exec $from/usr/lib64/ld-linux-x86-64.so.2 --library-path $libraries --argv0 $program $dir/pgbackrest13/usr/bin/pgbackrest \"\$@\"" >"$program.new"
  chmod 755 "$program.new"
  "$program.new" version >&2
  mv "$program.new" "$program"
fi
echo "$program"
