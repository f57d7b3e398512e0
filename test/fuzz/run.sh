#!/bin/sh
# `make fuzz`: every parser under libFuzzer with ASan and UBSan, FUZZ_SECONDS each (60), starting from its corpus.
# test/fuzz/run.sh [NAME ...] runs only those. What is found is left in build-fuzz/found, named after its target; new inputs go
# to build-fuzz/corpus, not into the project; test/fuzz/choose.py takes over the few of them that reach code which the project's
# do not. The last line is "N passed, N failed, N skipped".
set -eu
cd "$(dirname "$0")/../.."
[ -e build-fuzz/build.ninja ] || CC=clang meson setup -Dfuzz=true -Db_lundef=false -Db_sanitize=address,undefined build-fuzz
ninja -j "${JOBS:-2}" -C build-fuzz fuzzers
mkdir -p build-fuzz/found
export ASAN_OPTIONS="detect_leaks=1:strict_string_checks=1" UBSAN_OPTIONS="halt_on_error=1:print_stacktrace=1"
passed=0 failed=0
for target in build-fuzz/test/fuzz/fuzz_*; do
  { [ -x "$target" ] && [ -f "$target" ]; } || continue
  name=${target##*/fuzz_}
  case " ${*:-$name} " in *" $name "*) ;; *) continue ;; esac
  log=build-fuzz/found/$name.log
  mkdir -p "build-fuzz/corpus/$name"
  "$target" -max_total_time="${FUZZ_SECONDS:-60}" -timeout=30 -rss_limit_mb=2048 -print_final_stats=1 \
    -artifact_prefix="build-fuzz/found/$name-" "build-fuzz/corpus/$name" "test/fuzz/corpus/$name" >"$log" 2>&1 && truth=0 || truth=$?
  if [ "$truth" = 0 ]; then
    passed=$((passed + 1))
    echo "ok     fuzz $name: $(sed -n 's/^stat::number_of_executed_units: *//p' "$log") runs, $(sed -n 's/.* cov: \([0-9]*\) .*/\1/p' "$log" | tail -n 1) edges, $(find "test/fuzz/corpus/$name" -type f | wc -l) inputs in the project"
  else
    failed=$((failed + 1))
    echo "FAILED fuzz $name: $log"
    tail -n 30 "$log" | sed 's/^/  | /'
  fi
done
echo "$passed passed, $failed failed, 0 skipped"
[ "$failed" -eq 0 ] && [ "$passed" -gt 0 ]
