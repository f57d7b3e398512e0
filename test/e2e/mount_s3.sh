#!/bin/bash
# A mount of a repository in a bucket: a file that is read in order has its packs on their way side by side. That is seen at a gate
# in the way, which opens for two requests at once and not for one after the other.
. "${SOURCE_ROOT:?the project}/test/e2e/lib/tap.sh"
. "$SOURCE_ROOT/test/e2e/lib/s3.sh"
if ! [ -e /dev/fuse ] || ! : 2>/dev/null <>/dev/fuse || ! command -v fusermount3 >/dev/null; then
  echo '1..0 # skip /dev/fuse or fusermount3 is not there'
  exit 0
fi
M=$T/mnt server=
ended() {
  [ -z "$server" ] || kill -KILL "$server" 2>/dev/null
  mountpoint -q "$M" && fusermount3 -u -z "$M"
  s3_stop
}
trap ended EXIT
s3_needed "${S3_KIND:-versitygw}"
s3 mb backups && s3_proxy "$T/server" || { echo 'Bail out! no bucket or no proxy' && exit 1; }
s3_login
export AWS_REGION=$S3_REGION
repo=(-r "s3://backups/a?endpoint=$S3_PROXY" --key-file "$T/key")
mkdir "$M" tree && head -c 150000000 /dev/urandom >tree/large && head -c 30000000 /dev/urandom >tree/other
pk init --repository "s3://backups/a?endpoint=$S3_PROXY" --key-file "$T/key" && pk backup "${repo[@]}" --files "$T/tree" --name tree
claim 'a file of several packs is in a bucket'
packs=$(s3 ls backups a/packs/d/ | wc -l)
[ "$packs" -ge 6 ]
claim "which are $packs"
"$P" mount "$M" "${repo[@]}" >mount.out 2>mount.err </dev/null &
server=$!
await 120 eval 'mountpoint -q "$M" || ! kill -0 $server 2>/dev/null' && mountpoint -q "$M"
claim 'it is mounted'
S=$M/local/tree/latest/${T#/}/tree
python3 - "$S/large" "$S3_PROXY" >out 2>err <<'PY'
import hashlib, sys, urllib.request
def gate(path, method="GET"):
    return int(urllib.request.urlopen(urllib.request.Request(sys.argv[2] + path, method=method), timeout=60).read())
sha, at = hashlib.sha256(), 0
with open(sys.argv[1], "rb", buffering=0) as f:
    while piece := f.read(1 << 20):
        sha.update(piece)
        if at < 16 << 20 <= at + len(piece):
            gate("/.gate/2/packs/d/", "PUT")
        at += len(piece)
print(sha.hexdigest(), gate("/.gate"))
PY
[ "$(cut -d ' ' -f 1 out)" = "$(sha256sum tree/large | cut -d ' ' -f 1)" ]
claim 'read in order through the mount it is the same'
[ "$(cut -d ' ' -f 2 out)" -ge 2 ]
claim 'and packs were asked for before those ahead of them had come'
cmp tree/other "$S/other" && cmp -i 70000000 -n 20000000 tree/large "$S/large" && cmp tree/large "$S/large"
claim 'so is what is read after it, in another order, and all of it once more'
[ "$(awk '/VmHWM/ { print $2 }' "/proc/$server/status")" -lt 262144 ] || [ -n "${ASAN_OPTIONS:-}${TSAN_OPTIONS:-}" ]
claim 'in less than 256 MiB of memory'
kill -TERM "$server" && wait "$server" && server= && ! grep -q PK- mount.err
claim 'and it ends without a word'
finish
