#!/bin/bash
# A witness that is asked over HTTP (C2SP tlog-witness, add-checkpoint): every status code that the specification has, by curl with
# requests written as its text says; our client, which asks after each job; and, where there is go, a log of Tessera that publishes
# nothing that this witness has not cosigned.
. "${SOURCE_ROOT:?the project}/test/e2e/lib/tap.sh"
command -v curl >/dev/null || { echo '1..0 # SKIP curl is not installed' && exit 0; }
W=
trap '[ -z "$W" ] || kill "$W" 2>/dev/null' EXIT
export no_proxy='*'
# listen STATE: sets $url and $W
listen() {
  : >"$T/witness.log"
  "$P" ledger witness --state "$1" --listen "${2:-0}" >"$T/witness.log" 2>"$T/witness.err" </dev/null &
  W=$!
  await 60 grep -q '^listening at ' "$T/witness.log" && url=$(sed -n 's/^listening at \(http[^,]*\),.*/\1/p' "$T/witness.log")
}
silence() { kill "$W" && wait "$W" 2>/dev/null; W=; }
# asks FILE: the status; the answer is in $T/answer, its type in $T/type
asks() {
  curl -s -o "$T/answer" -w '%{http_code} %{content_type}' --data-binary "@$1" "$url/add-checkpoint" >"$T/asked"
  cut -d ' ' -f 2- "$T/asked" >"$T/type"
  cut -d ' ' -f 1 "$T/asked"
}
request() { # OLD CHECKPOINT [HASH...]
  printf 'old %s\n' "$1"
  [ $# -le 2 ] || printf '%s\n' "${@:3}"
  printf '\n' && cat "$2"
}
# proof FOLDER OLD: the lines of the consistency proof to the newest entry, from the entries themselves, by RFC 9162
proof() {
  python3 - "$1" "$2" <<'PY'
import base64, hashlib, os, sys
folder, old = sys.argv[1], int(sys.argv[2])
names = sorted(os.listdir(folder + "/log"))
size = int(open(folder + "/checkpoint").read().split("\n")[1])
leaves = [hashlib.sha256(b"\0" + open(f"{folder}/log/{n}", "rb").read()).digest() for n in names[:size]]
def mth(d):
    if len(d) == 1:
        return d[0]
    k = 1
    while k * 2 < len(d):
        k *= 2
    return hashlib.sha256(b"\1" + mth(d[:k]) + mth(d[k:])).digest()
def sub(m, d, whole):
    if m == len(d):
        return [] if whole else [mth(d)]
    k = 1
    while k * 2 < len(d):
        k *= 2
    if m <= k:
        return sub(m, d[:k], whole) + [mth(d[k:])]
    return sub(m - k, d[k:], False) + [mth(d[:k])]
print(*[base64.b64encode(h).decode() for h in sub(old, leaves, True)], sep="\n")
PY
}
sizes() { sed -n 2p "$1"; }

R=$T/repo K=(--key-file "$T/k" -r "$T/repo")
mkdir src && echo x >src/f
pk init "${K[@]}" --config none.yaml && pk backup "${K[@]}" --files src --name data && cp -r repo one && pk backup "${K[@]}" --files src --name data &&
  pk backup "${K[@]}" --files src --name data && cp -r repo two
claim 'there is a log'
log=$("$P" ledger verifier "${K[@]}")
pk ledger witness --init --state "$T/w" --repository "$R" --log-key "$log" --name witness.example/w1 && witness=$(cat "$T/out") && listen "$T/w"
claim 'and a witness that listens'
case $url in http://127.0.0.1:*) true ;; *) false ;; esac
claim 'on this host alone, as nothing else was said'
fails 11 PK-REP-003 ledger witness --state "$T/w" --listen 0
claim 'a second run does not get its folder'

# ---- what the specification says, in its order
request 0 one/checkpoint >ask && [ "$(asks ask)" = 200 ] && cat one/checkpoint answer >cosigned && grep -q '^— witness.example/w1 ' answer && [ "$(wc -l <answer)" = 1 ]
claim '200: the first checkpoint is vouched for with one signature line'
pk ledger proof 0 "${K[@]}" --out p >/dev/null 2>&1
python3 - "$witness" cosigned <<'PY'
import base64, struct, sys
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
name, _, key = sys.argv[1].split("+", 2)
key = base64.b64decode(key)
assert key[0] == 4
text, _, lines = open(sys.argv[2]).read().partition("\n\n")
sig = base64.b64decode(lines.strip().split("\n")[-1].split(" ")[2])
time, = struct.unpack(">Q", sig[4:12])
Ed25519PublicKey.from_public_bytes(key[1:]).verify(sig[12:], f"cosignature/v1\ntime {time}\n{text}\n".encode())
PY
claim 'which holds by another implementation'
request 0 one/checkpoint >ask && [ "$(asks ask)" = 409 ] && [ "$(cat type)" = text/x.tlog.size ] && printf '%s\n' "$(sizes one/checkpoint)" | cmp -s - answer
claim '409: another old size than the one vouched for last is answered with that one, as text/x.tlog.size'
request "$(sizes one/checkpoint)" one/checkpoint >ask && [ "$(asks ask)" = 200 ]
claim '200: the same checkpoint is vouched for again, with the size it has and no proof'
mapfile -t hashes < <(proof two "$(sizes one/checkpoint)")
request "$(sizes one/checkpoint)" two/checkpoint >ask && [ "$(asks ask)" = 422 ]
claim '422: growth without a proof'
bad=("${hashes[@]}") && bad[0]=$(printf 'x%.0s' $(seq 32) | base64) && request "$(sizes one/checkpoint)" two/checkpoint "${bad[@]}" >ask && [ "$(asks ask)" = 422 ]
claim '422: a proof that proves nothing'
request "$(sizes one/checkpoint)" two/checkpoint "${hashes[@]}" >ask && sed -i 's/^— .*$/— somebody.else AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=/' ask && [ "$(asks ask)" = 403 ]
claim '403: no signature by a key of the log'
sed -e 's/^\(— .\{60\}\)A/\1B/' -e t -e 's/^\(— .\{60\}\)./\1A/' two/checkpoint >forged && request "$(sizes one/checkpoint)" forged "${hashes[@]}" >ask && [ "$(asks ask)" = 403 ]
claim '403: one that does not hold'
sed '1s/.*/example.com\/another/' two/checkpoint >other && request 0 other >ask && [ "$(asks ask)" = 404 ]
claim '404: a log that it does not know'
request $(($(sizes one/checkpoint) + 1)) one/checkpoint >ask && [ "$(asks ask)" = 400 ]
claim '400: an old size above that of the checkpoint'
n=0
for text in '' 'old\n\n' 'old 01\n\n' 'old -1\n\n' 'new 1\n\n' 'old 1\nnothing\n\n' 'old 1' 'old 18446744073709551616\n\n'; do
  { printf "$text" && cat two/checkpoint; } >ask
  [ "$(asks ask)" = 400 ] || echo "# not 400 but $(cat asked): $text"
  [ "$(cut -d ' ' -f 1 asked)" = 400 ] && n=$((n + 1))
done
{ printf 'old 1\n' && for _ in $(seq 64); do printf 'AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=\n'; done && printf '\n' && cat two/checkpoint; } >ask
[ "$(asks ask)" = 400 ] && printf 'old 0\n\nno checkpoint\n' >ask && [ "$(asks ask)" = 400 ] && [ $n = 8 ]
claim '400: what is no request, 64 hashes and no checkpoint among it'
head -c 200000 /dev/zero >ask && asks ask >long && [ "$(cat long)" = 413 ] && [ "$(curl -s -o /dev/null -w '%{http_code}' "$url/add-checkpoint")" = 405 ] &&
  [ "$(curl -s -o /dev/null -w '%{http_code}' -d x "$url/else")" = 404 ]
claim '413: too long; 405: not by POST; 404: another path'
[ "$(sizes w/cosigned)" = "$(sizes one/checkpoint)" ]
claim 'none of these moved what it remembers'
request "$(sizes one/checkpoint)" two/checkpoint "${hashes[@]}" >ask && [ "$(asks ask)" = 200 ] && [ "$(sizes w/cosigned)" = "$(sizes two/checkpoint)" ]
claim '200: growth with its proof, and it is durable'
request "$(sizes one/checkpoint)" two/checkpoint "${hashes[@]}" >ask && [ "$(asks ask)" = 409 ] && [ "$(cat answer)" = "$(sizes two/checkpoint)" ]
claim '409: the same request a second time'
silence && listen "$T/w" && request 0 one/checkpoint >ask && [ "$(asks ask)" = 409 ] && [ "$(cat answer)" = "$(sizes two/checkpoint)" ]
claim 'another run remembers what this one vouched for'

# ---- a fork: what was there is put back, and grows another way
rm -rf repo cache && cp -r one repo && echo y >src/f && pk backup "${K[@]}" --files src --name data && pk backup "${K[@]}" --files src --name data
[ "$(sizes repo/checkpoint)" = "$(sizes two/checkpoint)" ] && request "$(sizes two/checkpoint)" repo/checkpoint >ask && [ "$(asks ask)" = 409 ] && [ "$(cat type)" != text/x.tlog.size ] &&
  [ -s "$(echo w/evidence/*-fork/found.checkpoint)" ] && [ -s "$(echo w/evidence/*-fork/seen.checkpoint)" ]
claim '409: another log of the same size; both checkpoints, which the same key signed, are kept as evidence'
rm -rf repo cache && cp -r two repo

# ---- our client: what a job adds is offered when it is over
config() { # ASK [MORE of witness]
  cat >proofkeep.yaml <<YAML
version: 1
platform: test
secrets: { k: { file: $T/k } }
repositories:
  main:
    url: $R
    encrypt: { key: k, kind: key_file }
    witness: { keys: ["$witness"], ask: ["$1"]${2:-} }
surfaces: { data: { kind: files, class: truth, paths: [$T/src] } }
environments: { lab: { repository: main, policy: { rpo: none } } }
YAML
}
words() { find "${1:-repo/witness}" -type f 2>/dev/null | wc -l; }
config "$url"
pk backup lab/data && [ "$(words)" = 1 ] && [ "$(sizes w/cosigned)" = "$(sizes repo/checkpoint)" ] && ! says warning
claim 'a backup leaves the word of the witness behind, though the client did not know where that stood'
pk backup lab/data && pk verify lab/data --level checksum && [ "$(words)" = 3 ] && [ "$(sizes w/cosigned)" = "$(sizes repo/checkpoint)" ]
claim 'so does every job that adds to the log'
pk list && pk status && says 'main: 1 of 1 witnesses vouch for the log' && [ "$(words)" = 3 ]
claim 'one that adds nothing asks nobody; status says that it was vouched for'
config "$url/" ", from: $T/words"
mkdir words && pk backup lab/data && [ "$(words words/witness)" = 1 ]
claim 'it is stored where the configuration has the clients look'
pk key add "${K[@]}" --role writer --key-file-out "$T/writer" && pk backup lab/data --key-file "$T/writer" && [ "$(sizes w/cosigned)" = "$(sizes repo/checkpoint)" ] && ! says 'did not vouch'
claim 'a checkpoint that a key signed which the log has in force is vouched for as well'
silence
pk backup lab/data && says "warning: repository: the witness at $url/ did not vouch for the log's [0-9]* entries: .*connect"
claim 'with the witness gone the backup is good, and a warning says so'
listen "$T/w" && config "$url" && pk backup lab/data && [ "$(sizes w/cosigned)" = "$(sizes repo/checkpoint)" ]
claim 'the next one catches up'
rm -rf cache && cp -r repo three && rm -rf repo && cp -r two repo && pk backup lab/data --config proofkeep.yaml && says 'it has vouched for .* entries, and this log has .*rolled back'
claim 'a log that was rolled back is told of by the witness, to a host that has lost its cache'
rm -rf repo cache && cp -r three repo
config "https://127.0.0.1:${url##*:}" && pk backup lab/data && says 'did not vouch' && config ftp://x && pk backup lab/data && says 'begin with https:// or http://'
claim 'addresses that are none are told'
silence
fails 2 PK-USE-001 ledger witness --state "$T/w" --listen nowhere:x && fails 2 PK-USE-001 ledger witness --state "$T/w" --listen 0 --every 5m
claim 'so are places to listen at that are none, and options of the other kind of witness'
listen "$T/w" "0.0.0.0:0" && await 60 grep -q 'others than this host can reach it, without TLS' witness.err
claim 'one that others can reach says so'
port=${url##*:}
fails 1 PK-NET-007 ledger witness --state "$T/none" --listen "$port" || { pk ledger witness --init --state "$T/w2" --repository "$R" --log-key "$log" --name w2 && fails 1 PK-NET-007 ledger witness --state "$T/w2" --listen "0.0.0.0:$port"; }
claim 'a port that is taken is told'
kill -TERM "$W" && wait "$W"
[ $? = 143 ]
claim 'it ends when it is told to'
W=

# ---- a stock client
. "$SOURCE_ROOT/tools/servers/lib.sh"
if ! command -v go >/dev/null; then
  skip "Tessera's client is content with it" 'go is not installed'
elif ! server_cache; then
  skip "Tessera's client is content with it" "$SERVER_WHY"
else
  cp -R "$SOURCE_ROOT/test/interop/witness" "$T/stock"
  (
    flock 9
    cd "$T/stock" && GOPATH=$SERVER_CACHE/go GOCACHE=$SERVER_CACHE/go-build GOFLAGS='-buildvcs=false -trimpath -p=2' nice -n 10 go build -o "$T/check" .
  ) 9>"$SERVER_CACHE/go.lock" >"$T/out" 2>"$T/err"
  if [ ! -x "$T/check" ]; then
    skip "Tessera's client is content with it" 'github.com/transparency-dev/tessera could not be had'
  else
    { read -r signer && read -r verifier; } < <("$T/check" key example.com/log)
    pk ledger witness --init --state "$T/w3" --repository "$R" --log-key "$verifier" --name witness.example/w3 && third=$(cat "$T/out") && listen "$T/w3"
    "$T/check" grow "$T/tessera" "$signer" "$third" "$url" 3 >published 2>"$T/err" && [ "$(sizes published)" = 3 ] && [ "$(sizes w3/cosigned)" = 3 ]
    claim 'a log of Tessera is published with its cosignature'
    "$T/check" grow "$T/tessera" "$signer" "$third" "$url" 6 >published 2>"$T/err" && [ "$(sizes published)" = 9 ] && [ "$(sizes w3/cosigned)" = 9 ]
    claim 'and grows over proofs that Tessera makes'
    silence
    timeout 8 "$T/check" grow "$T/tessera" "$signer" "$third" "$url" 1 >published 2>"$T/err"
    [ $? != 0 ] && [ "$(sizes "$T/tessera/checkpoint")" = 9 ]
    claim 'without it nothing is published'
  fi
fi
finish
