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
want = {i["name"]: i["sha256"] for i in shown["items"] if i.get("sha256") and i.get("type") not in ("folder", "tablespace")}
found = {}
for folder, _, names in os.walk(root):
    for name in names:
        path = os.path.join(folder, name)
        if os.path.isfile(path) and not os.path.islink(path):
            found[os.path.relpath(path, root)] = hashlib.sha256(open(path, "rb").read()).hexdigest()
print(len(found), "files,", len(want), "items with a digest, of", shown["count"])
assert want and found == want, sorted(set(found.items()) ^ set(want.items()))[:10]
PY
  truth=$?
  fusermount3 -u "$dir" 2>/dev/null || kill "$server" 2>/dev/null
  wait "$server" && [ $truth = 0 ] && ! [ -s "$T/browse.out" ]
  claim "$label is looked into through a mount: each item is a file with the bytes of its digest"
}
