#!/bin/bash
# What goes wrong on the way to a bucket, and what the program says of it: each cause has its own code, its own exit status,
# its own text and its own next step. Real servers wherever they can be brought to it; what only AWS says, says s3_says.py.
. "${SOURCE_ROOT:?the project}/test/e2e/lib/tap.sh"
. "$SOURCE_ROOT/test/e2e/lib/s3.sh"
python3 -c 'import cryptography' 2>/dev/null || { echo "1..0 # SKIP python's module cryptography is not installed"; exit 0; }
command -v openssl >/dev/null || { echo '1..0 # SKIP openssl is not installed'; exit 0; }
export PYTHONDONTWRITEBYTECODE=1
s3_needed minio
s3 mb backups && s3 mb small || { echo 'Bail out! no buckets' && exit 1; }
credentials() { (umask 077 && printf '[default]\naws_access_key_id = %s\naws_secret_access_key = %s\n%s\n' "$2" "$3" "${4:+aws_session_token = $4}" >"$T/$1.aws"); }
at() { echo "s3://$1/a?endpoint=${3:-$S3_ENDPOINT}&credentials_file=$T/$2.aws&timeout=2s"; }
reads() { fails "$1" "$2" list -r "$3" --key-file "$T/key" --cache-dir "$T/cache-1"; }
next() { grep -q -e "^  next: .*$1" "$T/err"; }
says_server() { # what s3_says.py takes; sets SAYS
  rm -f "$T/says"
  sleep 100000 > >(exec python3 "$S3_HARNESS/s3_says.py" "$@" >"$T/says") &
  S3_PIDS+=($!)
  await 60 test -s "$T/says"
  SAYS=$(cat "$T/says")
}
credentials good $S3_ACCESS $S3_SECRET
mkdir src && head -c 300000 /dev/urandom >src/f
pk init -r "$(at backups good)" --key-file "$T/key" --config "$T/none.yaml" && pk backup -r "$(at backups good)" --key-file "$T/key" --files "$T/src"
claim 'all is well at first'

# ---- credentials
credentials bad $S3_ACCESS not-the-secret
reads 7 PK-S3-001 "$(at backups bad)" && says SignatureDoesNotMatch && next 'secret key' && ! says not-the-secret
claim 'a wrong secret key'
credentials bad nobody not-the-secret
reads 7 PK-S3-001 "$(at backups bad)" && says InvalidAccessKeyId && next 'access key'
claim 'an access key that nobody has'
eval "$(s3 session -)"
credentials bad "$S3_SESSION_KEY" "$S3_SESSION_SECRET" "${S3_SESSION_TOKEN}x"
reads 7 PK-S3-001 "$(at backups bad)" && ! says "$S3_SESSION_TOKEN"
claim 'a session token that is none, which is not repeated'
credentials session "$S3_SESSION_KEY" "$S3_SESSION_SECRET" "$S3_SESSION_TOKEN"
pk list -r "$(at backups session)" --key-file "$T/key"
claim 'where the right one works'
says_server 400 ExpiredToken 'The provided token has expired.'
reads 7 PK-S3-003 "$(at backups session http://127.0.0.1:$SAYS)" && says ExpiredToken && next 'session token' && ! says "$S3_SESSION_TOKEN"
claim 'a token that has expired'
says_server 200 - "{\"AccessKeyId\": \"$S3_SESSION_KEY\", \"SecretAccessKey\": \"$S3_SESSION_SECRET\", \"Token\": \"$S3_SESSION_TOKEN\", \"Expiration\": \"$(date -u -d '+10 minutes' +%Y-%m-%dT%H:%M:%SZ)\"}"
container=http://127.0.0.1:$SAYS/role
AWS_CONTAINER_CREDENTIALS_FULL_URI=$container pk list -r "s3://backups/a?endpoint=$S3_ENDPOINT" --key-file "$T/key" --cache-dir "$T/cache-1"
claim 'where those that a container is given serve'
says_server 200 - "{\"AccessKeyId\": \"$S3_SESSION_KEY\", \"SecretAccessKey\": \"another\", \"Token\": \"$S3_SESSION_TOKEN\"}"
AWS_CONTAINER_CREDENTIALS_FULL_URI=${container%:*}:$SAYS/role fails 7 PK-S3-001 list -r "s3://backups/a?endpoint=$S3_ENDPOINT" --key-file "$T/key" --cache-dir "$T/cache-1" && ! says "$S3_SESSION_TOKEN"
claim 'and wrong ones do not'
says_server 403 - 'not you'
AWS_CONTAINER_CREDENTIALS_FULL_URI=${container%:*}:$SAYS/role fails 2 PK-S3-002 list -r "s3://backups/a?endpoint=$S3_ENDPOINT" --key-file "$T/key" --cache-dir "$T/cache-1" && says "127.0.0.1:$SAYS/role answers 403"
claim 'who gets none from there is told what it answered'
fails 2 PK-S3-002 list -r "s3://backups/a?endpoint=$S3_ENDPOINT" --key-file "$T/key" && says 'AWS_ACCESS_KEY_ID is not set' && next AWS_PROFILE
claim 'none at all'
chmod 644 "$T/bad.aws"
reads 2 PK-CFG-005 "$(at backups bad)" && says 'mode 0644'
claim 'a file of them that others may read'

# ---- the bucket
reads 10 PK-S3-006 "$(at no-such good)" && says NoSuchBucket && next 'does not make buckets'
claim 'no such bucket'
says_server 301 PermanentRedirect 'must be addressed using the specified endpoint' --header x-amz-bucket-region=eu-west-1
reads 7 PK-S3-004 "$(at backups good http://127.0.0.1:$SAYS)" && says 'in eu-west-1' && next 'region=eu-west-1'
claim 'a bucket in another region, which is named'
s3_user reader reader-secret "$T/server" && credentials reader reader reader-secret
s3_minio policy reader <<<'{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":["s3:GetObject","s3:ListBucket"],"Resource":["arn:aws:s3:::backups","arn:aws:s3:::backups/*"]}]}'
pk list -r "$(at backups reader)" --key-file "$T/key" && fails 1 PK-S3-007 backup -r "$(at backups reader)" --key-file "$T/key" --files "$T/src" && says AccessDenied && next s3:PutObject
claim 'a user that may only read lists, and backs nothing up'
fails 1 PK-S3-007 hold add local/files@latest --reason x -r "$(at backups reader)" --key-file "$T/key" && next s3:PutObject
claim 'and holds nothing'
pk init -r "$(at small good)" --key-file "$T/key2" --config "$T/none2.yaml" && s3_minio quota small 3000000 && head -c 30000000 /dev/urandom >src/large
fails 1 PK-S3-008 backup -r "$(at small good)" --key-file "$T/key2" --files "$T/src" && says BucketQuotaExceeded && next 'quota'
claim 'a bucket that is full'
s3_minio quota small 0 && pk backup -r "$(at small good)" --key-file "$T/key2" --files "$T/src" && pk verify --all --level decode -r "$(at small good)" --key-file "$T/key2"
claim 'once it has room the same command succeeds'

# ---- the clock
if command -v cc >/dev/null; then
  cat >clock.c <<'C'
#define _GNU_SOURCE
#include <dlfcn.h>
#include <time.h>
int clock_gettime(clockid_t id, struct timespec *ts) {
    static int (*real)(clockid_t, struct timespec *);
    if (!real) real = (int (*)(clockid_t, struct timespec *))dlsym(RTLD_NEXT, "clock_gettime");
    int rc = real(id, ts);
    if (rc == 0 && id == CLOCK_REALTIME) ts->tv_sec -= 7200;
    return rc;
}
C
  cc -shared -fPIC -o clock.so clock.c -ldl 2>"$T/err" && LD_PRELOAD=$T/clock.so:${LD_PRELOAD:-} fails 7 PK-S3-005 list -r "$(at backups good)" --key-file "$T/key" &&
    says "this host's clock is \(2 h\|1 h 59 m\).* behind the server's" && next NTP
  claim 'a clock that is two hours behind, and by how much'
else
  skip 'a clock that is off' 'no compiler is installed'
fi

# ---- the way there
reads 7 PK-NET-001 "$(at backups good https://no-such-host.invalid)" && says no-such-host.invalid && next resolver
claim 'a name that is none'
reads 7 PK-NET-002 "$(at backups good http://127.0.0.1:1)" && says 127.0.0.1:1 && next firewall
claim 'a port where nobody listens'
openssl req -x509 -newkey rsa:2048 -nodes -keyout "$T/tls.key" -out "$T/tls.pem" -days 2 -subj /CN=localhost -addext subjectAltName=DNS:localhost >/dev/null 2>&1
says_server 404 NoSuchKey 'not there' --tls "$T/tls.pem" "$T/tls.key"
reads 7 PK-NET-003 "$(at backups good https://localhost:$SAYS)" && says 'certificate' && next ca_file
claim 'a certificate that nobody vouches for'
reads 7 PK-NET-003 "$(at backups good https://127.0.0.1:$SAYS)&ca_file=$T/tls.pem" && says "127.0.0.1'" && next "endpoint's name"
claim "one of another host's name"
reads 7 PK-NET-003 "$(at backups good https://localhost:$SAYS)&ca_file=$T/none.pem" && says none.pem
claim 'a file of authorities that is not there'
reads 10 PK-REP-001 "$(at backups good https://localhost:$SAYS)&ca_file=$T/tls.pem"
claim 'where the right one leads to the server'
reads 7 PK-NET-00[56] "$(at backups good http://localhost:$SAYS)" && next https://
claim 'plain HTTP where TLS is spoken'
reads 7 PK-NET-003 "$(at backups good "${S3_ENDPOINT/http:/https:}")" && says 'does not speak TLS' && next http://
claim 'TLS where plain HTTP is spoken'
says_server 400 - 'Client sent an HTTP request to an HTTPS server.'
reads 7 PK-NET-003 "$(at backups good http://127.0.0.1:$SAYS)" && says 'it wants TLS on that port' && next https://
claim 'and where the server says so'
says_server 503 SlowDown 'Please reduce your request rate.' --header Retry-After=0
reads 7 PK-S3-009 "$(at backups good http://127.0.0.1:$SAYS)" && says 'given up after' && says SlowDown && next 'later'
claim 'a server that is overloaded for good'
says_server 403 InvalidObjectState "The operation is not valid for the object's storage class"
reads 1 PK-S3-012 "$(at backups good http://127.0.0.1:$SAYS)" && next restore
claim 'an object in an archive'
pk list -r "$(at backups good)" --key-file "$T/key" && [ "$(grep -c local/ "$T/out")" = 1 ]
claim 'none of it left anything'
if s3_start versitygw "$T/other"; then
  s3 mb backups
  reads 7 PK-S3-004 "$(at backups good)&region=mars-north-1" && says mars-north-1 && next region
  claim 'a region that is not that of the server'
else
  skip 'a region that is not that of the server' "$S3_WHY"
fi
finish
