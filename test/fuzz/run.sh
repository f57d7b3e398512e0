#!/bin/sh
# `make fuzz`: every parser under libFuzzer with ASan, FUZZ_SECONDS each (60), starting from its corpus. What is found is left in
# build-fuzz/found; new inputs go to build-fuzz/corpus, not into the project.
set -eu
cd "$(dirname "$0")/../.."
[ -e build-fuzz/build.ninja ] || CC=clang meson setup -Dfuzz=true -Db_lundef=false -Db_sanitize=address,undefined build-fuzz
ninja -j "${JOBS:-2}" -C build-fuzz
mkdir -p build-fuzz/found
failed=0
for target in build-fuzz/test/fuzz/fuzz_*; do
  [ -x "$target" ] && [ -f "$target" ] || continue
  name=${target##*/fuzz_}
  mkdir -p "build-fuzz/corpus/$name"
  echo "fuzz $name"
  "$target" -max_total_time="${FUZZ_SECONDS:-60}" -rss_limit_mb=2048 -print_final_stats=1 -artifact_prefix=build-fuzz/found/ \
    "build-fuzz/corpus/$name" "test/fuzz/corpus/$name" >"build-fuzz/found/$name.log" 2>&1 || { failed=1; tail -20 "build-fuzz/found/$name.log"; }
  grep -E 'number_of_executed_units' "build-fuzz/found/$name.log" || :
done
exit $failed
