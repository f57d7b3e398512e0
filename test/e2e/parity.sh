#!/bin/bash
# Reed-Solomon parity inside packs, at its limit: as many damaged blocks as a pack has parity for are read through and repaired, one
# more is refused by name. What is damaged is chosen by the document of the format, not by the program.
. "${SOURCE_ROOT:?the project}/test/e2e/lib/tap.sh"
{ config_head; printf '    parity: 5\nsurfaces:\n  one: { kind: files, class: truth, paths: [%s/one] }\nenvironments:\n  lab: { repository: main }\n' "$T"; } >proofkeep.yaml
mkdir one && head -c 3000000 /dev/urandom >one/noise && seq 200000 >one/text
pk init --repository main --key-file "$T/key" && pk backup lab/one
claim 'packs have 5 % of parity'
blocks() { # PACK MORE: as many blocks of it as there is parity, and MORE, each have one bit turned; prints how many of how many that were
  chmod u+w "$1" && python3 - "$@" <<'PY'
import hashlib, struct, sys
path, more = sys.argv[1], int(sys.argv[2])
data = bytearray(open(path, "rb").read())
for at in range(len(data)):
    at = data.index(b"PKPARITY", at)
    version, k, m, zero, size, zero4, begin = struct.unpack_from("<HHHHIIQ", data, at + 8)
    block = 32 + 16 * (k + m)
    if begin == at and hashlib.sha256(data[at:at + block]).digest() == bytes(data[at + block:at + block + 32]):
        break
block += 32
protected = len(data) - 2 * block - m * size  # bytes before the parity, and the footer
lost = m + more
for n in range(lost):
    shard = n * (k + m) // lost
    if shard < k:
        at = shard * size + n * 37 % min(size, protected - shard * size)
        at += len(data) - protected if at >= begin else 0  # the footer's
    else:
        at = begin + block + (shard - k) * size + n * 37 % size
    data[at] ^= 1 << n % 8
open(path, "wb").write(data)
print(lost, "of", k + m)
PY
}
cp -a repo whole
again() { rm -rf repo && cp -a whole repo; }
packs=$(find repo/packs -type f | sort)
for pack in $packs; do blocks "$pack" 0 || break; done >damaged
[ "$(wc -l <damaged)" = "$(wc -l <<<"$packs")" ] && [ "$(awk '$1 >= 2 && $3 > $1' damaged | wc -l)" = "$(wc -l <damaged)" ]
claim "of every pack, as many blocks are damaged as its parity covers: $(paste -sd, damaged)"
pk restore lab/one@latest --into "$T/read" && diff -r one read >diff.out
claim 'a restore reads all of it'
fails 4 PK-VER-001 verify lab/one@latest --level checksum && [ "$(grep -c 'packs/[dm]/.*' "$T/out")" -ge "$(wc -l <<<"$packs")" ]
claim 'which a verification does not call whole'
pk repair --repository main --json && [ "$(result chunks_lost)" = 0 ] && [ "$(result packs_retired)" = "$(wc -l <<<"$packs")" ] && pk verify lab/one@latest --level decode
claim 'a repair stores anew what was in each of them, and loses nothing'
pk restore lab/one@latest --into "$T/repaired" && diff -r one repaired >diff.out
claim 'and what it stored is the same'

again
pack=$(find repo/packs/d -type f -printf '%s %P\n' | sort -rn | awk 'NR == 1 { print $2 }')
said=$(blocks "repo/packs/d/$pack" 1)
rm -rf cache
pk restore lab/one@latest --into "$T/more"
[ $? = 4 ] && says "packs/d/$pack" && [ ! -e more ]
claim 'one block more, and a restore is refused, by the name of the pack'
fails 4 PK-REP-010 repair --repository main && grep -q "packs/d/$pack" "$T/out"
claim 'a repair names it too'
fails 4 PK-VER-001 verify lab/one@latest --level decode
claim "and does not make it whole: ${said/of/damaged of} blocks"
finish
