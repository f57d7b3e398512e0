#!/bin/bash
# The log by stock tools alone: fsck of Tessera derives the exported log's root over HTTP; golang.org/x/mod/sumdb opens the
# checkpoint and walks tiles and proofs; the cosignature holds by transparency-dev/formats. Skipped, and counted, without go.
. "${SOURCE_ROOT:?the project}/test/e2e/lib/tap.sh"
export PYTHONDONTWRITEBYTECODE=1
. "$SOURCE_ROOT/tools/servers/lib.sh"
C=$SERVER_CACHE
skip_all() { echo "1..0 # SKIP $1"; exit 0; }
command -v go >/dev/null || skip_all 'go is not installed'
python3 -c 'import cryptography' 2>/dev/null || skip_all "python's module cryptography is not installed"
# Tools are built once; HOME is a test's own.
umask 077
export GOPATH=$C/go GOCACHE=$C/go-build GOFLAGS='-buildvcs=false -trimpath -p=2'
fsck_build() { GOBIN=$C/new nice -n 10 go install -ldflags='-s -w' github.com/transparency-dev/tessera/cmd/fsck@v1.0.4 && mkdir -p "$C/bin" && mv "$C/new/fsck" "$C/bin/fsck"; }
server_fetch go 'fsck of github.com/transparency-dev/tessera' "$C/bin/fsck" fsck_build || skip_all "$SERVER_WHY"
cp -R "$SOURCE_ROOT/test/interop/tlog" "$T/tlog" && (cd "$T/tlog" && nice -n 10 go build -o "$T/check" .) >"$T/out" 2>"$T/err" || skip_all 'golang.org/x/mod and formats could not be had'
stock() { "$T/check" "$@" >"$T/out" 2>"$T/err"; }
server=
trap '[ -z "$server" ] || kill "$server"' EXIT
# serve FOLDER: over HTTP, at $url
serve() {
  [ -z "$server" ] || { kill "$server"; wait "$server" 2>/dev/null; }
  rm -f "$T/port" # or the former server's would be taken for it
  python3 - "$1" >"$T/port" 2>/dev/null <<'PY' &
import functools, http.server, sys
handler = functools.partial(http.server.SimpleHTTPRequestHandler, directory=sys.argv[1])
with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as s:
    print(s.server_address[1], flush=True)
    s.serve_forever()
PY
  server=$!
  await 60 test -s "$T/port"
  url=http://127.0.0.1:$(cat "$T/port")/
}
# Its exit status is 0 whatever it found, and it may hang on what is wrong: what it says counts.
fsck() {
  timeout 60 "$C/bin/fsck" --ui=false --N=4 --storage_url="$url" --origin="${log%%+*}" --public_key="$T/vkey" >"$T/out" 2>&1
  grep -q "Successfully fsck'd log with size $1 " "$T/out"
}

R=$T/repo
admin=(-r "$R" --key-file "$T/admin.key")
mkdir "$T/src" && echo x >"$T/src/f" && pk init -r "$R" --key-file "$T/admin.key" && pk backup "${admin[@]}" --files "$T/src" --name data
log=$("$P" ledger verifier "${admin[@]}" 2>/dev/null) && echo "$log" >"$T/vkey"
# grow TO: entries, signed with the admin's key
grow() {
  python3 "$SOURCE_ROOT/test/e2e/lib/forge.py" "$R" "$T/admin.key" append note/v1 '{"text": "to fill the log"}' $(($1 - $(find "$R/log" -type f | wc -l) - 1)) >/dev/null &&
    pk backup "${admin[@]}" --files "$T/src" --name data
}
for size in 3 255 256 257 700; do
  grow $size && rm -rf "$T/copy" && pk ledger export "${admin[@]}" --to "$T/copy" && serve "$T/copy" && fsck $size
  claim "Tessera's fsck derives the root of an export of $size entries"
  stock tiles "$T/copy" "$log" && grep -q "^$size entries" "$T/out"
  claim "sumdb opens its checkpoint, and proves every entry and growth by its tiles"
done
serve "$R" && fsck 700
claim 'fsck takes the repository as it stands, too'
for seq in 0 1 255 256 511 512 699; do
  pk ledger proof $seq "${admin[@]}" --out "$T/p$seq" && stock proof "$T/p$seq.tlog-proof" "$T/p$seq.dsse.json" "$log" && grep -q "^entry $seq of 700" "$T/out"
  claim "sumdb takes the proof of entry $seq"
done
! stock proof "$T/p1.tlog-proof" "$T/p0.dsse.json" "$log"
claim 'and not that of another entry'
witness=$("$P" ledger witness --init --state "$T/w" -r "$T/copy" --log-key "$log" --name witness.example/w1 2>/dev/null)
pk ledger witness --state "$T/w" --out "$T/cosigned" && stock cosigned "$T/cosigned" "$log" "$witness" && grep -q '^700 entries, cosigned by witness.example/w1 at [0-9]\{10\}$' "$T/out"
claim 'a cosignature holds by transparency-dev/formats'
pk ledger proof 42 "${admin[@]}" --out "$T/p42" --json && ! stock cosigned "$T/copy/checkpoint" "$log" "$witness"
claim 'and is missed where there is none'
# what must not pass: the same tools find it
flip "$T/copy/tile/0/001" 77
serve "$T/copy" && ! fsck 700 && ! stock tiles "$T/copy" "$log"
claim 'one bit of a tile that is flipped is found by both'
finish
