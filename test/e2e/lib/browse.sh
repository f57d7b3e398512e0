# Recovery points of any kind, looked into through a mount. To be sourced after tap.sh.
#   browse ENV/SURFACE [ARGUMENT...]   claims that each item of its newest point is a file of a mount with the bytes of its digest, and that
#                                      there are no others; the arguments go to mount and show. Skipped where nothing can be mounted.
browse() {
  local label=$1 dir=$T/browsed server truth
  shift
  if ! [ -e /dev/fuse ] || ! : 2>/dev/null <>/dev/fuse || ! command -v fusermount3 >/dev/null; then
    skip "$label through a mount" '/dev/fuse or fusermount3 is not there'
    return
  fi
  mkdir -p "$dir"
  "$P" mount "$dir" "$@" >"$T/browse.out" 2>"$T/browse.err" </dev/null &
  server=$!
  await 120 eval 'mountpoint -q "$dir" || ! kill -0 $server 2>/dev/null' && mountpoint -q "$dir" &&
    python3 - "$P" "$dir/$label/latest" "$label@latest" "$@" >"$T/out" 2>"$T/err" <<'PY'
import hashlib, json, os, subprocess, sys
program, root, address, more = sys.argv[1], sys.argv[2], sys.argv[3], sys.argv[4:]
tops = sorted(os.listdir(root))
shown = json.loads(subprocess.run([program, "show", address, *tops, "--json", *more], capture_output=True, check=True).stdout)
def by_parts(data): # doc/format/snapshot.md
    parts = (hashlib.sha256(data[at:at + 131072]).digest() for at in range(0, len(data), 131072))
    return hashlib.sha256(b"".join(parts)).hexdigest()
items = [i for i in shown["items"] if i.get("type") not in ("folder", "tablespace")]
want = {i["name"]: i[k] for i in items for k in ("sha256", "sha256_by_parts") if k in i}
parts = {i["name"] for i in items if "sha256_by_parts" in i}
found = {}
for folder, _, names in os.walk(root):
    for name in names:
        path = os.path.join(folder, name)
        if os.path.isfile(path) and not os.path.islink(path):
            rel, data = os.path.relpath(path, root), open(path, "rb").read()
            found[rel] = by_parts(data) if rel in parts else hashlib.sha256(data).hexdigest()
print(len(found), "files,", len(want), "items with a digest, of", shown["count"])
assert want and found == want, sorted(set(found.items()) ^ set(want.items()))[:10]
PY
  truth=$?
  fusermount3 -u "$dir" 2>/dev/null || kill "$server" 2>/dev/null
  wait "$server" && [ $truth = 0 ] && ! [ -s "$T/browse.out" ]
  claim "$label is looked into through a mount: each item is a file with the bytes of its digest"
}
