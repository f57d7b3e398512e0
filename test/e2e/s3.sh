#!/bin/bash
# A repository in a bucket, from outside: a real server, a network that harms by seed, and judges of another make: diff for
# what comes back, tests/harness/s3_client.py for what lies in the bucket.
. "${SOURCE_ROOT:?the project}/test/e2e/lib/tap.sh"
. "$SOURCE_ROOT/test/e2e/lib/s3.sh"
KIND=${S3_KIND:-versitygw}
s3_needed "$KIND"
s3 mb backups && s3_proxy "$T/server" --stall 30 || { echo 'Bail out! no bucket or no proxy' && exit 1; }
U="s3://backups/team/a?endpoint=$S3_ENDPOINT"

config() { # FILE BUCKET/PREFIX ENDPOINT
  cat >"$1" <<YAML
version: 1
platform: test
secrets:
  k: { file: $T/key }
  bucket: { file: $T/credentials }
repositories:
  main:
    url: s3://$2
    s3:
      endpoint: $3
      region: $S3_REGION
      credentials: bucket
      timeout: 2s
      connections: 4
    encrypt: { key: k, kind: key_file }
surfaces:
  artifacts:
    kind: files
    class: truth
    paths: [$T/tree]
environments:
  lab:
    repository: main
    policy: { rpo: 24h, rto: 1h, retention: { keep: { last: 1 }, min_copies: 1 } }
YAML
}
credentials() {
  rm -f "$T/credentials"
  (umask 077 && printf '[default]\naws_access_key_id = %s\naws_secret_access_key = %s\n' "$1" "$2" >"$T/credentials")
}

# ---- what is wrong, each in its own words
fails 2 PK-S3-002 init --repository "$U" --key-file "$T/nokey" --config none.yaml && says 'AWS_ACCESS_KEY_ID is not set'
claim 'without credentials, the places that were looked at are named'
[ ! -e "$T/nokey" ]
claim 'and no key is left behind'
export AWS_ACCESS_KEY_ID=$S3_ACCESS AWS_SECRET_ACCESS_KEY=not-the-secret
fails 7 PK-S3-001 init --repository "$U" --key-file "$T/nokey" --config none.yaml && says SignatureDoesNotMatch && ! says not-the-secret
claim 'a wrong secret key is said to be wrong, and not said'
export AWS_SECRET_ACCESS_KEY=$S3_SECRET
fails 10 PK-S3-006 init --repository "s3://no-such/x?endpoint=$S3_ENDPOINT" --key-file "$T/nokey" --config none.yaml && says NoSuchBucket
claim 'a bucket that is missing is said to be missing'
if [ "$KIND" = versitygw ]; then # the others take any
  fails 7 PK-S3-004 init --repository "$U&region=mars-north-1" --key-file "$T/nokey" --config none.yaml && says mars-north-1
  claim 'a wrong region is said to be wrong'
fi
fails 7 PK-NET-002 init --repository "s3://backups?endpoint=http://127.0.0.1:1" --key-file "$T/nokey" --config none.yaml && says 127.0.0.1:1
claim 'a server that is not there is out of reach'
fails 7 PK-NET-001 init --repository "s3://backups?endpoint=https://no-such-host.invalid" --key-file "$T/nokey" --config none.yaml
claim 'a name that is none is out of reach'
if command -v openssl >/dev/null; then
  openssl req -x509 -newkey rsa:2048 -nodes -keyout "$T/tls.key" -out "$T/tls.pem" -days 2 -subj /CN=localhost \
    -addext subjectAltName=DNS:localhost >/dev/null 2>&1
  tls=$(server_port)
  openssl s_server -accept "127.0.0.1:$tls" -cert "$T/tls.pem" -key "$T/tls.key" -www -quiet >/dev/null 2>&1 &
  S3_PIDS+=($!)
  await 60 eval '(: </dev/tcp/127.0.0.1/$tls) 2>/dev/null'
  fails 7 PK-NET-003 init --repository "s3://backups?endpoint=https://localhost:$tls" --key-file "$T/nokey" --config none.yaml
  claim 'a certificate that nobody vouches for is refused'
  pk init --repository "s3://backups?endpoint=https://localhost:$tls&ca_file=$T/tls.pem" --key-file "$T/nokey" --config none.yaml
  [ $? != 0 ] && ! says PK-NET-003
  claim 'one that ca_file vouches for is not'
else
  skip 'certificates are checked' 'openssl is not installed'
fi
fails 2 PK-USE-001 init --repository "s3://AKIA:hush@backups/x" --key-file "$T/nokey" --config none.yaml && ! says hush
claim 'credentials in an address are refused and not repeated'
fails 2 PK-USE-001 init --repository "$U&regoin=x" --key-file "$T/nokey" --config none.yaml && says regoin
claim 'a parameter that is none is refused'
[ ! -e "$T/nokey" ] && [ -z "$(s3 ls backups)" ]
claim 'none of these left a key or an object'

# ---- the whole way, by a configuration
credentials $S3_ACCESS $S3_SECRET
unset AWS_ACCESS_KEY_ID AWS_SECRET_ACCESS_KEY
config proofkeep.yaml backups/team/a "$S3_ENDPOINT"
mkdir -p tree/deep
seq 200000 >tree/numbers
head -c 30000000 /dev/urandom >tree/random
ln -s numbers tree/deep/link
pk init --repository main --key-file "$T/key"
claim 'a repository is made in the bucket'
s3 ls backups | grep -q '^team/a/format '
claim 'under its prefix'
fails 5 PK-REP-002 init --repository main --key-file "$T/key"
claim 'and is not made twice'
pk doctor && grep -q 'object lock is off: whoever has' "$T/out" && grep -q 'can remove objects: who steals them' "$T/out"
claim 'doctor tries the bucket and tells what it does not guard against'
pk backup lab/all --json && [ "$(result status)" != '' ]
claim 'a backup goes there'
s3 ls backups team/a/packs/ | grep -q packs
claim 'its packs are there'
trees() { diff -r --no-dereference "$@" >"$T/diff"; }
bytes() { s3 ls backups "${1:-}" | awk '{ n += $2 } END { print n + 0 }'; }
pk restore lab/artifacts@latest --into "$T/back" && trees tree back
claim 'what is restored is what was backed up'
before=$(bytes)
pk backup lab/all --json && [ "$(result surfaces.0.new_bytes)" = 0 ] && [ $(($(bytes) - before)) -lt 100000 ]
claim 'a second backup stores next to nothing'
XDG_CACHE_HOME=$T/other-host pk verify lab/artifacts@latest --level decode
claim 'another host verifies it to the last byte'
head -c 20000000 /dev/urandom >tree/random
pk backup lab/all && pk verify lab/artifacts@latest --level decode && pk verify --all --level checksum
claim 'a changed tree is backed up and verified'
before=$(bytes)
sleep 1.1
pk prune lab --grace 1s && [ $((before - $(bytes))) -gt 25000000 ]
claim 'pruning frees what only the forgotten ones used'
pk verify --all --level decode && XDG_CACHE_HOME=$T/third-host pk restore lab/artifacts@latest --into "$T/pruned" && trees tree pruned
claim 'and what is left restores on a host that knows nothing'

# ---- secrets
printf '[default]\naws_access_key_id = x\naws_secret_access_key = y\n' >"$T/credentials" && chmod 644 "$T/credentials"
fails 2 PK-CFG-005 list lab/all && says 'mode 0644'
claim 'a file of credentials that others may read is refused'
credentials $S3_ACCESS $S3_SECRET
head -c 60000000 /dev/urandom >tree/large
config slow.yaml backups/team/a "$S3_ENDPOINT"
sed -i 's/timeout: 2s/bandwidth: 6MiB/' slow.yaml
"$P" backup lab/all --config slow.yaml >"$T/out" 2>"$T/err" </dev/null &
pid=$! seen=0 leaked=0
for _ in $(seq 300); do
  kill -0 $pid 2>/dev/null || break
  for p in $pid $(pgrep -P $pid); do
    grep -qa "$S3_SECRET" "/proc/$p/cmdline" "/proc/$p/environ" 2>/dev/null && leaked=1
    seen=1
  done
  sleep 0.1
done
wait $pid && [ $seen = 1 ] && [ $leaked = 0 ] && ! grep -rqa "$S3_SECRET" "$T/cache" "$T/out" "$T/err"
claim 'the secret key is in no argument, environment, cache or message'
for _ in $(seq 20); do s3 ls backups; done >/dev/null
for key in $(s3 ls backups | awk '$2 < 100000 { print $1 }' | head -n 60); do s3 get backups "$key"; done >"$T/objects"
[ -s "$T/objects" ] && ! grep -qa "$S3_SECRET" "$T/objects"
claim 'nor in what is stored'

# ---- over TLS: another gateway to the same buckets
if [ "$KIND" = versitygw ] && [ -s "$T/tls.pem" ]; then
  tls=$(server_port)
  ROOT_ACCESS_KEY=$S3_ACCESS ROOT_SECRET_KEY=$S3_SECRET "$S3_CACHE/bin/versitygw" --port "127.0.0.1:$tls" --cert "$T/tls.pem" --key "$T/tls.key" \
    --iam-dir "$T/server/users" posix --versioning-dir "$T/server/versions" "$T/server/data" >"$T/tls.log" 2>&1 &
  S3_PIDS+=($!)
  await 60 eval '(: </dev/tcp/127.0.0.1/$tls) 2>/dev/null'
  config tls.yaml backups/team/a "https://localhost:$tls"
  fails 7 PK-NET-003 backup lab/all --config tls.yaml
  claim 'TLS of an authority that nobody knows carries nothing'
  sed -i "s|^      endpoint: .*|&\n      ca_file: $T/tls.pem|" tls.yaml
  head -c 30000000 /dev/urandom >tree/random
  pk backup lab/all --config tls.yaml && rm -rf "$T/by-tls" && XDG_CACHE_HOME=$T/fourth-host pk restore lab/artifacts@latest --into "$T/by-tls" --config tls.yaml && trees tree by-tls
  claim 'with ca_file a backup and a restore go over it'
  sed -i 's|^      endpoint: .*|&\n      payload_digests: unsigned|' tls.yaml
  head -c 30000000 /dev/urandom >tree/random
  pk backup lab/all --config tls.yaml && XDG_CACHE_HOME=$T/fifth-host pk verify lab/artifacts@latest --level decode
  claim 'and with payloads that are not digested, as TLS does it, too'
else
  skip 'backups over TLS' 'this server is asked without, or openssl is not installed'
fi

# ---- a network that harms
harm() { python3 -c 'import sys, urllib.request as u; u.urlopen(u.Request(sys.argv[1], method="PUT"), timeout=10)' "$S3_PROXY/.proxy/$1/$2"; }
harm 0 0
config harmed.yaml backups/team/b "$S3_PROXY"
config direct.yaml backups/team/b "$S3_ENDPOINT"
rm tree/large
pk init --config harmed.yaml --repository main --key-file "$T/key"
claim 'a repository is made through the proxy'
good=1 gave_up=0 harmed=0
seeds=$(seq "${S3_SEED:-1}" $((${S3_SEED:-1} + ${S3_SEEDS:-4} - 1)))
seed_count=$(echo "$seeds" | wc -w)
faults() { python3 -c 'import sys, urllib.request as u; print(u.urlopen(sys.argv[1]).read().decode())' "$S3_PROXY/.proxy"; }
for seed in $seeds; do
  head -c 3000000 /dev/urandom >tree/new
  harm "$seed" 12
  for _ in 1 2 3; do
    pk backup lab/all --config harmed.yaml
    status=$?
    [ $status = 7 ] || break
    gave_up=$((gave_up + 1))
  done
  if [ $status != 0 ]; then
    good=0
    echo "# seed $seed: backup ended with $status"
    sed 's/^/# /' "$T/err"
    break
  fi
  rm -rf "$T/harmed"
  pk restore lab/artifacts@latest --into "$T/harmed" --config harmed.yaml
  status=$?
  if [ $status = 7 ]; then
    gave_up=$((gave_up + 1))
    rm -rf "$T/harmed"
    harm 0 0
    pk restore lab/artifacts@latest --into "$T/harmed" --config harmed.yaml
    status=$?
  fi
  harmed=$((harmed + $(faults)))
  if [ $status != 0 ] || ! trees tree harmed; then
    good=0
    echo "# seed $seed: restore ended with $status"
    sed 's/^/# /' "$T/err" "$T/diff" | head -n 20
    break
  fi
done
echo "# $harmed requests were harmed, $gave_up runs gave up"
[ $good = 1 ] && [ $harmed -gt 10 ]
claim 'through resets, lost answers, cut bodies, 503 storms, stalls and half-open connections, what is backed up is what is restored'
pk verify --all --level decode --config direct.yaml
claim 'and the repository is whole'

# Wrong bytes on the way up are found by the server, wrong bytes on the way down by us.
good=1 refused=0 harmed=0
for seed in $seeds; do
  head -c 3000000 /dev/urandom >tree/wrong
  harm "$seed" 0/20
  pk backup lab/all --config harmed.yaml
  status=$?
  [ $status = 0 ] || refused=$((refused + 1))
  case $status in 0 | 1 | 4 | 7 | 10 | 12) ;; *) good=0 && echo "# seed $seed: backup: $status" && sed 's/^/# /' "$T/err" ;; esac
  rm -rf "$T/wrong" "$T/asked"
  pk restore lab/artifacts@latest --into "$T/wrong" --config harmed.yaml
  status=$?
  harmed=$((harmed + $(faults)))
  harm 0 0
  if [ $status = 0 ]; then
    pk restore lab/artifacts@latest --into "$T/asked" --config direct.yaml && trees asked wrong || good=0
  else
    refused=$((refused + 1))
    # damaged; out of reach; what says that it is a repository, or opens it, was damaged
    case $status in 4 | 7 | 10 | 12) ;; *) good=0 && echo "# seed $seed: $status" && sed 's/^/# /' "$T/err" ;; esac
  fi
done
echo "# $harmed bodies were harmed, $refused runs were refused for what they read or wrote"
[ $good = 1 ] && [ $harmed -gt 10 ] && { [ $refused -lt $((2 * seed_count)) ] || [ $seed_count -lt 4 ]; } && pk verify --all --level decode --config direct.yaml
claim 'flipped bits are never stored and never restored'

# ---- killed and cut off
killed=0
for after in 0.2 0.5 0.9 1.4; do
  head -c 25000000 /dev/urandom >tree/killed
  "$P" backup lab/all --config slow.yaml >"$T/out" 2>"$T/err" </dev/null &
  pid=$!
  sleep $after
  kill -9 $pid 2>/dev/null && killed=$((killed + 1))
  wait $pid 2>/dev/null
done
[ $killed -ge 2 ] && pk verify --all --level decode && pk backup lab/all && rm -rf "$T/after" &&
  pk restore lab/artifacts@latest --into "$T/after" && trees tree after
claim 'after runs that were killed, the repository is whole and the next backup works'
s3_stop
fails 7 PK-NET-002 backup lab/all
claim 'a server that went away is out of reach'
finish
