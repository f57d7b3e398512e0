#!/bin/sh
# `make test-debian13`: builds on Debian 13 and runs the unit tests there, in a folder made by mmdebstrap (as root).
# DEBIAN13 names the folder; it is kept between runs. The mirror is the one that apt uses on this machine.
set -eu
here=$(cd "$(dirname "$0")/.." && pwd)
dir=${DEBIAN13:-/var/tmp/proofkeep-debian13}
[ "$(id -u)" = 0 ] || { echo "this needs root: mmdebstrap, chroot, mount" >&2; exit 1; }
command -v mmdebstrap >/dev/null || apt-get -q -o DPkg::Lock::Timeout=300 install -y mmdebstrap
if [ ! -e "$dir/etc/debian_version" ]; then
  mirror=$(apt-get indextargets --format '$(REPO_URI)' | grep -v security | grep -m1 debian)
  mmdebstrap --variant=minbase --include=ca-certificates,gcc,clang,make,meson,ninja-build,pkg-config,python3,libssl-dev,libsodium-dev,libzstd-dev,libpq-dev,libjansson-dev,libyaml-dev,libcmocka-dev,postgresql-17,postgresql-17-postgis-3,attr,acl,e2fsprogs,python3-cryptography,python3-zstandard,mandoc,git,procps,openssl \
    trixie "$dir.new" "$mirror"
  mv "$dir.new" "$dir"
fi
for m in proc dev; do mountpoint -q "$dir/$m" || mount --bind "/$m" "$dir/$m"; done
trap 'umount -l "$dir/dev" "$dir/proc" 2>/dev/null || :' EXIT
rm -rf "$dir/src/proofkeep"
mkdir -p "$dir/src/proofkeep"
(cd "$here" && git ls-files -z --cached --others --exclude-standard | tar -c --null --files-from=- ) | tar -x -C "$dir/src/proofkeep"
chroot "$dir" env -i PATH=/usr/sbin:/usr/bin:/sbin:/bin HOME=/tmp LC_ALL=C.UTF-8 JOBS="${JOBS:-2}" \
  sh -c 'cd /src/proofkeep && test/run --only plain'
