#!/bin/bash
# A cluster that lets nobody in without a certificate: Elasticsearch's own TLS, which any licence has. What came back is counted by
# Python's HTTP, with the same certificate.
. "${SOURCE_ROOT:?the project}/test/e2e/lib/tap.sh"
. "$SOURCE_ROOT/test/e2e/lib/search.sh"
W=$T/server
trap 'search_stop "$W"' EXIT
command -v openssl >/dev/null || { echo '1..0 # SKIP openssl is not installed'; exit 0; }
search_wanted ${SEARCH_SERVERS:-elasticsearch:8.19.21}
chmod a+x "$T"

# made NAME AUTHORITY: NAME.crt and NAME.key, for this host and whoever we are
made() {
  openssl req -newkey rsa:2048 -nodes -keyout "$1.key" -out "$1.csr" -subj "/CN=$1" -addext subjectAltName=DNS:localhost,IP:127.0.0.1 &&
    openssl x509 -req -in "$1.csr" -CA "$2.crt" -CAkey "$2.key" -CAcreateserial -copy_extensions copy -days 2 -out "$1.crt"
} >/dev/null 2>&1
for i in authority stranger; do openssl req -x509 -newkey rsa:2048 -nodes -keyout "$i.key" -out "$i.crt" -days 2 -subj "/CN=$i" >/dev/null 2>&1; done
made server authority && made keeper authority && made thief stranger && openssl rsa -aes128 -passout pass:keeper-phrase -in keeper.key -out locked.key 2>/dev/null &&
  cat keeper.crt keeper.key >keeper.pem && chmod 600 ./*.key ./*.pem
claim 'certificates are made'
s=${wanted# } && s=${s%% *}
# The server reads nothing but what is in its own folder. Whoever shows a certificate may do all.
SEARCH_SECURITY=true SEARCH_PEM=$T/keeper.pem SEARCH_YML="xpack.security.http.ssl: { enabled: true, client_authentication: required, key: server.key, certificate: server.crt, certificate_authorities: [ authority.crt ] }
xpack.security.authc.anonymous: { username: whoever, roles: superuser }" SEARCH_FILES="server.key server.crt authority.crt" search_start "${s%:*}" "${s#*:}" "$W" || { echo "# $SEARCH_WHY"; false; }
claim "$s starts, and asks for certificates"
asked() { # METHOD PATH [BODY]
  python3 - "$SEARCH_URL" "$T/keeper.pem" "$@" <<'PY'
import ssl, sys, urllib.request
url, pem, method, path, *body = sys.argv[1:]
tls = ssl._create_unverified_context()
tls.load_cert_chain(pem)
q = urllib.request.Request(url + path, data=body[0].encode() if body else None, method=method, headers={"content-type": "application/json"})
print(urllib.request.urlopen(q, timeout=60, context=tls).read().decode())
PY
}
for i in 1 2 3 4 5; do asked PUT "/orders/_doc/o-$i?refresh=true" "{\"n\":$i}" >/dev/null || break; done
asked GET /orders/_count | grep -q '"count":5,'
claim 'and has five documents, for who shows one'
config() { # FILE CLUSTER-LINE...
  local file=$1
  shift
  {
    config_head "keeper: { file: $T/keeper.key }" "thief: { file: $T/thief.key }" "locked: { file: $T/locked.key }"
    printf '%s\n' 'surfaces:' '  s:' '    kind: search' '    class: runtime' '    cluster:' "      url: $SEARCH_URL" "      ca: $T/authority.crt" '      indices: [orders]'
    [ $# = 0 ] || printf '      %s\n' "$@"
    printf 'environments:\n  lab: { repository: main }\n'
  } >"$file"
}
config proofkeep.yaml "certificate: $T/keeper.crt" 'key: keeper'
pk init --repository main && pk backup lab/s && pk restore lab/s@latest --into 'back-*' && asked GET /back-orders/_count | grep -q '"count":5,'
claim 'with a certificate it is backed up and restored'
pk doctor lab
grep -q ' search, ready to be backed up' "$T/out"
claim 'and doctor finds nothing wrong'
config none.yaml
fails 7 PK-NET-003 --config none.yaml backup lab/s && says 'does not take clients without a certificate' && grep -q '^  next:  *Name a certificate' "$T/err"
claim 'without one it is refused, and what is missing is said'
config thief.yaml "certificate: $T/thief.crt" 'key: thief'
fails 7 PK-NET-003 --config thief.yaml backup lab/s && says 'does not take our certificate' && grep -q '^  next:  *Name a certificate' "$T/err"
claim 'so is one of another authority'
config other.yaml "certificate: $T/keeper.crt" 'key: thief'
fails 7 PK-NET-003 --config other.yaml backup lab/s
claim 'a key that is not the certificate'"'"'s is refused'
config locked.yaml "certificate: $T/keeper.crt" 'key: locked'
fails 7 PK-NET-003 --config locked.yaml backup lab/s
claim 'so is one with a passphrase, which nobody is asked for'
config gone.yaml "certificate: $T/nobody.crt" 'key: keeper'
fails 7 PK-NET-003 --config gone.yaml backup lab/s && says nobody.crt
claim 'and a certificate that is not there'
for i in "certificate: $T/keeper.crt" 'key: keeper'; do
  config half.yaml "$i"
  fails 2 PK-CFG-003 --config half.yaml backup lab/s && says 'certificate and key go together'
  claim "${i%%:*} alone is a mistake"
done
chmod 644 keeper.key
fails 2 PK-CFG-005 backup lab/s && says 'mode 0644'
claim 'a key that others may read is refused'
chmod 600 keeper.key
line=$(sed -n 3p keeper.key)
[ ${#line} = 64 ] && ! grep -rqF "$line" "$T/repo" "$XDG_CACHE_HOME" && ! grep -qF "$line" "$T/out" "$T/err"
claim 'the key is nowhere else on disk'
finish
