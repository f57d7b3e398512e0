#!/bin/sh
# Made v2/, once, as make.sh made v1/: make2.sh MAKE_REPO FOLDER. A repository of two epochs.
set -eu
make_repo=$1 out=$2
[ ! -e "$out" ] || { echo "make2.sh: $out is there already" >&2; exit 1; }
"$make_repo" init "$out"
"$make_repo" keys "$out"
"$make_repo" put "$out" tree tree 1 >"$out/expected"
PK_WRITER=1 "$make_repo" put "$out" log log 1 >>"$out/expected"
"$make_repo" epoch "$out"
"$make_repo" put "$out" tree tree 2 >>"$out/expected"
PK_WRITER=1 "$make_repo" put "$out" log log 2 >>"$out/expected"
"$make_repo" publish "$out"
rm -rf "$out/cache" "$out/repo/tmp"
