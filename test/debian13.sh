#!/bin/sh
# `make test-debian13`: builds on Debian 13 and runs the unit tests and the end-to-end tests there, in a folder made by
# mmdebstrap (as root). DEBIAN13 names the folder; it is kept between runs, and gets what tools/install-deps.sh finds missing.
# The mirror is the one that apt uses on this machine. Arguments, such as `--only plain`, go to test/run. The last line is
# "N passed, N failed, N skipped".
set -eu
[ $# -gt 0 ] || set -- --only plain --only e2e
here=$(cd "$(dirname "$0")/.." && pwd)
dir=${DEBIAN13:-/var/tmp/proofkeep-debian13}
[ "$(id -u)" = 0 ] || { echo "this needs root: mmdebstrap, chroot, mount" >&2; exit 1; }
command -v mmdebstrap >/dev/null || apt-get -q -o DPkg::Lock::Timeout=300 install -y mmdebstrap
if [ ! -e "$dir/etc/debian_version" ]; then
  mirror=$(apt-get indextargets --format '$(REPO_URI)' | grep -v security | grep -m1 debian)
  mmdebstrap --variant=minbase --include=ca-certificates,gcc,clang,make,git,procps,openssl,acl,attr,postgresql-17-timescaledb,prometheus \
    trixie "$dir.new" "$mirror"
  mv "$dir.new" "$dir"
fi
# The folder is mounted on itself, since a test makes the mounts of its root private.
mountpoint -q "$dir" || mount --bind "$dir" "$dir"
trap 'umount -R -l "$dir" 2>/dev/null || :' EXIT
for m in proc dev dev/pts dev/shm; do mountpoint -q "$dir/$m" || mount --bind "/$m" "$dir/$m"; done
rm -rf "$dir/src/proofkeep"
mkdir -p "$dir/src/proofkeep"
(cd "$here" && git ls-files -z --cached --others --exclude-standard | tar -c --null --files-from=- ) | tar -x -C "$dir/src/proofkeep"
chroot "$dir" env -i PATH=/usr/sbin:/usr/bin:/sbin:/bin HOME=/tmp LC_ALL=C.UTF-8 JOBS="${JOBS:-2}" \
  sh -c 'cd /src/proofkeep && tools/install-deps.sh && test/run "$@"' sh "$@"
