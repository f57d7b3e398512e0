#!/bin/sh
# Builds with ThreadSanitizer and runs what has threads: the base, the store, the log's races, the repository with its race, its
# copies and WAL, and the drivers of files, physical PostgreSQL and Redis. A report of a race fails its test. BUILD_TSAN names the
# folder, TORTURE_SECONDS how long the race takes.
set -eu
cd "$(dirname "$0")/.."
root=$PWD
build=${BUILD_TSAN:-build-tsan}
[ -f "$build/build.ninja" ] || meson setup -Db_sanitize=thread -Db_lundef=false -Dbuildtype=debugoptimized "$build"
build=$(cd "$build" && pwd)
listed=$(meson introspect --tests "$build" | python3 -c '
import json, sys
want = ("base/thread", "base/http", "store/", "ledger/races", "repo/repo", "repo/race", "repo/copy", "repo/wal", "surface/files", "surface/flush",
        "surface/pgphys_host", "surface/pgphys_stream", "surface/receive", "surface/redis", "work/past_feed", "work/wal")
skip = ("store/faults",)  # one thread, a thousand times
for t in json.load(sys.stdin):
    if t["name"].startswith(want) and not t["name"].startswith(skip):
        print(t["name"], t["cmd"][0])
')
# A script that starts a server is no program of ours.
tests=$(echo "$listed" | grep " $build/")
others=$(echo "$listed" | grep -v " $build/" || :)
[ -n "$tests" ] || { echo "no tests found" >&2; exit 1; }
# shellcheck disable=SC2046
ninja -j "${JOBS:-2}" -C "$build" $(echo "$tests" | while read -r _ cmd; do realpath --relative-to="$build" "$cmd"; done)

# A kernel that spreads addresses too far for the sanitizer's map would stop it before main.
still=
if command -v setarch > /dev/null && setarch -R true 2> /dev/null; then still="setarch -R"; fi
export TSAN_OPTIONS="halt_on_error=0 exitcode=66 second_deadlock_stack=1 suppressions=$root/test/tsan.supp ${TSAN_OPTIONS:-}"
scratch=$(mktemp -d)
chmod 755 "$scratch" # some tests lay root down
trap 'rm -rf "$scratch"' EXIT
passed=0 failed=0 skipped=0
for name in $(echo "$others" | cut -d ' ' -f 1); do
    echo "skipped $name: it is started by a script"
    skipped=$((skipped + 1))
done
while read -r name cmd; do
    if TMPDIR=$scratch SOURCE_ROOT=$root CMOCKA_MESSAGE_OUTPUT=TAP $still "$cmd" < /dev/null > "$scratch/out" 2>&1; then
        echo "ok     $name"
        passed=$((passed + 1))
    else
        echo "FAILED $name"
        sed 's/^/  | /' "$scratch/out" | tail -n 200
        failed=$((failed + 1))
    fi
done << LIST
$tests
LIST
echo "$passed passed, $failed failed, $skipped skipped"
[ "$failed" -eq 0 ] && [ "$passed" -gt 0 ]
