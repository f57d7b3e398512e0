#!/bin/sh
# Made v1/, once: make.sh MAKE_REPO FOLDER. What is committed is never made again, as it stands for what an old program
# wrote; a new version of the format gets a folder of its own.
set -eu
make_repo=$1 out=$2
[ ! -e "$out" ] || { echo "make.sh: $out is there already" >&2; exit 1; }
"$make_repo" init "$out"
"$make_repo" keys "$out"
"$make_repo" put "$out" tree tree 1 >/dev/null
PK_WRITER=1 "$make_repo" put "$out" log log 1 >"$out/expected"
"$make_repo" put "$out" tree tree 2 >>"$out/expected"
"$make_repo" put "$out" log log 2 >>"$out/expected"
"$make_repo" forget "$out" 2
"$make_repo" collect "$out" 1
"$make_repo" put "$out" tree tree 3 >>"$out/expected"
"$make_repo" vouch "$out" 4
"$make_repo" publish "$out"
rm -rf "$out/cache" "$out/repo/tmp"
