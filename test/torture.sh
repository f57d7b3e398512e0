#!/bin/sh
# Everything that `make test` samples, whole, under AddressSanitizer and UndefinedBehaviorSanitizer: each call failed in five
# ways, a kill at each call and at each request to a bucket, 500 seeds of a network that harms, a power loss behind each change in four modes, minutes of
# racing; and, where there is clang, the fuzzers. It takes hours. test/torture.sh [faults|kill|kill-s3|seeds-s3|power|race|fuzz ...] runs only those.
#   TORTURE_PART     K/N: of the calls and changes of faults, kill and power every N-th, from the K-th on, and of the seeds the
#                    K-th N-th; so N machines, or N evenings, share one sweep
#   TORTURE_MINUTES  of racing (10) and of each fuzzer (10); a race with several seeds would tell nothing else
#   TORTURE_SEEDS    of seeds-s3, on each server (500)
#   TORTURE_FOLDER   where the logs go (a temporary folder)
# The last line is "N passed, N failed, N skipped".
set -eu
cd "$(dirname "$0")/.."
root=$PWD
minutes=${TORTURE_MINUTES:-10}
build=${BUILD_ASAN:-build-asan}
logs=${TORTURE_FOLDER:-$(mktemp -d)}
mkdir -p "$logs"
parts=${*:-faults kill kill-s3 seeds-s3 power race fuzz}
[ -f "$build/build.ninja" ] || meson setup -Db_sanitize=address,undefined -Db_lundef=false "$build"
build=$(cd "$build" && pwd)
export ASAN_OPTIONS="detect_leaks=1:strict_string_checks=1" UBSAN_OPTIONS="halt_on_error=1:print_stacktrace=1"
export CMOCKA_MESSAGE_OUTPUT=STDOUT
passed=0 failed=0 skipped=0

run() {
    name=$1
    shift
    begun=$(date +%s)
    if "$@" > "$logs/$name.log" 2>&1 < /dev/null; then
        if grep -q '^1\.\.0 # SKIP' "$logs/$name.log"; then
            echo "skipped $name: $(sed -n 's/^1\.\.0 # SKIP //p' "$logs/$name.log")"
            skipped=$((skipped + 1))
            return
        fi
        echo "ok     $name, $(($(date +%s) - begun)) s: $(grep '^# ' "$logs/$name.log" | tail -n 1)"
        passed=$((passed + 1))
    else
        echo "FAILED $name: $logs/$name.log"
        tail -n 40 "$logs/$name.log" | sed 's/^/  | /'
        failed=$((failed + 1))
    fi
}

for part in $parts; do
    case $part in
    faults | kill | power)
        ninja -j "${JOBS:-2}" -C "$build" "test/repo/test_repo_$part" > /dev/null
        run "$part" env TORTURE=full "$build/test/repo/test_repo_$part"
        ;;
    kill-s3)
        ninja -j "${JOBS:-2}" -C "$build" proofkeep > /dev/null
        scratch=$(mktemp -d)
        run kill-s3 env TORTURE=full "PROOFKEEP=$build/proofkeep" "SOURCE_ROOT=$root" "TMPDIR=$scratch" "$root/test/e2e/kill_s3.sh"
        rm -rf "$scratch"
        ;;
    seeds-s3)
        ninja -j "${JOBS:-2}" -C "$build" proofkeep test/store/test_store_s3_server > /dev/null
        share=${TORTURE_PART:-1/1}
        S3_SEED=$(((${share%/*} - 1) * ${TORTURE_SEEDS:-500} / ${share#*/} + 1))
        S3_SEEDS=$((${share%/*} * ${TORTURE_SEEDS:-500} / ${share#*/} - S3_SEED + 1))
        export S3_SEEDS S3_SEED
        for kind in versitygw minio; do
            scratch=$(mktemp -d)
            run "seeds-store-$kind" env "SOURCE_ROOT=$root" "TMPDIR=$scratch" "$root/test/store/s3.sh" $kind "$build/test/store/test_store_s3_server"
            run "seeds-$kind" env S3_KIND=$kind "PROOFKEEP=$build/proofkeep" "SOURCE_ROOT=$root" "TMPDIR=$scratch" "$root/test/e2e/s3.sh"
            rm -rf "$scratch"
        done
        unset S3_SEEDS S3_SEED
        ;;
    race)
        ninja -j "${JOBS:-2}" -C "$build" test/repo/test_repo_race > /dev/null
        run race env TORTURE=full "TORTURE_SECONDS=$((minutes * 60))" "$build/test/repo/test_repo_race"
        ;;
    fuzz)
        if command -v clang > /dev/null && [ -x "$root/test/fuzz/run.sh" ]; then
            run fuzz env "FUZZ_SECONDS=$((minutes * 60))" "$root/test/fuzz/run.sh"
        else
            echo "skipped fuzz: there is no clang"
            skipped=$((skipped + 1))
        fi
        ;;
    *)
        echo "no part is called $part" >&2
        exit 2
        ;;
    esac
done
echo "$passed passed, $failed failed, $skipped skipped"
[ "$failed" -eq 0 ] && [ "$passed" -gt 0 ]
