#!/bin/bash
# The documented envelopes, summary and checkpoint verify with openssl alone, and not once a byte is altered. Prints TAP.
# usage: dsse_openssl.sh doc/format/log.md
set -u
doc=$1
dir=$(mktemp -d) || exit 99
trap 'rm -rf "$dir"' EXIT
n=0 bad=0

value() { sed -n "s/^$1 = //p" "$doc" | head -n 1; }
raw() { sed 's/../\\x&/g' | xargs -0 printf '%b'; } # hex to bytes
say() { # result, claim
    n=$((n + 1))
    if [ "$1" = 0 ]; then echo "ok $n - $2"; else echo "not ok $n - $2"; bad=1; fi
}
verify() { openssl pkeyutl -verify -rawin -pubin -inkey "$dir/key.pem" -sigfile "$1" -in "$2" >/dev/null 2>&1; }

echo 1..8
# SubjectPublicKeyInfo of an Ed25519 key (RFC 8410): a fixed head and the 32 bytes
printf '302a300506032b6570032100%s' "$(value key.public)" | tr -d '\n' | raw >"$dir/key.der"
openssl pkey -pubin -inform DER -in "$dir/key.der" -out "$dir/key.pem" 2>/dev/null
say $? 'the public key is one that openssl reads'

for name in entry0.envelope entry1.envelope log.summary; do
    envelope=$(value "$name")
    sed -n 's/.*"payload":"\([^"]*\)".*/\1/p' <<<"$envelope" | base64 -d >"$dir/payload"
    sed -n 's/.*"sig":"\([^"]*\)".*/\1/p' <<<"$envelope" | base64 -d >"$dir/sig"
    type=$(sed -n 's/.*"payloadType":"\([^"]*\)".*/\1/p' <<<"$envelope")
    { printf 'DSSEv1 %d %s %d ' "${#type}" "$type" "$(stat -c %s "$dir/payload")"; cat "$dir/payload"; } >"$dir/pae"
    verify "$dir/sig" "$dir/pae"
    say $? "openssl verifies $name"
    sed 's/"predicate"/"Predicate"/' "$dir/pae" >"$dir/altered"
    ! cmp -s "$dir/pae" "$dir/altered" && ! verify "$dir/sig" "$dir/altered"
    say $? "openssl refuses $name once it is altered"
done

# the checkpoint: the signature is over the text up to the blank line; it stands behind the four bytes of the key's id
printf '%b' "$(value log.checkpoint)" >"$dir/note"
sed '/^$/,$d' "$dir/note" >"$dir/text"
sed -n 's/^— [^ ]* //p' "$dir/note" | base64 -d | tail -c +5 >"$dir/sig"
verify "$dir/sig" "$dir/text"
say $? 'openssl verifies the checkpoint'
exit $bad
