#!/bin/bash
# Data in an archive class of a bucket: what goes there, what a restore says of it, asks for and waits for, and what checks make
# of what they cannot read. Archives are EMULATED here, by moto: no server that can be started keeps any. It brings
# objects back after as many looks as it is told, not after hours, and knows no tiers; what it gets wrong is tested with canned
# answers in test/store/test_s3_archive.c.
. "${SOURCE_ROOT:?the project}/test/e2e/lib/tap.sh"
. "$SOURCE_ROOT/test/e2e/lib/s3.sh"
. "$SOURCE_ROOT/test/e2e/lib/thaw.sh"
s3_needed moto
s3 mb backups || { echo 'Bail out! no bucket' && exit 1; }
s3_login

config() { # CLASS of data
  cat >proofkeep.yaml <<YAML
version: 1
platform: test
secrets:
  k: { file: $T/key }
repositories:
  main:
    url: s3://backups/a
    s3: { endpoint: $S3_ENDPOINT, region: $S3_REGION, data_storage_class: $1 }
    encrypt: { key: k, kind: key_file }
surfaces:
  artifacts: { kind: files, class: truth, paths: [$T/tree] }
environments:
  lab:
    repository: main
    policy: { rpo: 24h, rto: 1h, retention: { keep: { last: 1 }, min_copies: 1 } }
YAML
}
class() { s3 head backups "$1" | sed -n 's/^x-amz-storage-class: //p'; }
classes() { # PREFIX: how many objects of each class
  s3 ls backups "$1" | while read -r key _; do echo "$(class "$key")"; done | sort | uniq -c | awk '{ print $1, $2 }'
}
asked() { s3 ls backups a/packs/d/ | while read -r key _; do s3 head backups "$key"; done | grep -c 'x-amz-restore'; }
signal() { python3 -c '
import json, sys
d = json.JSONDecoder().raw_decode(open(sys.argv[1]).read())[0]
print(next(s["state"] for s in d["signals"] if s["signal"] == sys.argv[2]))' "$T/out" "$1"; }
plan() { tail -n 1 "$T/out" | python3 -c 'import json, sys; print(json.load(sys.stdin)["plan"])'; }
fails 2 PK-USE-001 init --repository "s3://backups/x?endpoint=$S3_ENDPOINT&storage_class=DEEP_ARCHIVE" --key-file nokey --config none.yaml &&
  says 'data_storage_class, of packs only, may be an archive'
claim 'an archive class for everything is refused, with what to say instead'
config GLACIER
mkdir tree && seq 100000 >tree/numbers && head -c 20000000 /dev/urandom >tree/random
pk init --repository main --key-file "$T/key" && pk backup lab/all --json
claim 'a backup goes into a bucket whose data lies in GLACIER'
[ "$(class a/format)$(classes a/log/)$(classes a/packs/m/)$(classes a/index/)$(classes a/keys/)" = "$(printf '%s' \
  "$(s3 ls backups a/log/ | wc -l) $(s3 ls backups a/packs/m/ | wc -l) $(s3 ls backups a/index/ | wc -l) $(s3 ls backups a/keys/ | wc -l) ")" ] &&
  [ "$(classes a/packs/d/)" = "$(s3 ls backups a/packs/d/ | wc -l) GLACIER" ]
claim 'just its packs of data do; log, keys, index and metadata stay readable at once'
pk backup lab/all --json && [ "$(result surfaces.0.new_bytes)" = 0 ]
claim 'the next backup reads nothing of it and stores nothing twice'

# ---- plan
looks 3
pk restore lab/artifacts@latest --into "$T/back" --dry-run --json && packs=$(s3 ls backups a/packs/d/ | wc -l) &&
  [ "$(planned thaw.class)/$(planned thaw.frozen_packs)/$(planned thaw.tiers)" = "GLACIER/$packs/{'bulk': 43200, 'expedited': 300, 'standard': 18000}" ] &&
  [ "$(planned thaw.seconds)" = 18000 ]
claim 'a plan says how many packs must come out of the archive, and how long each tier takes'
[ "$(planned thaw.frozen_bytes)" = "$(s3 ls backups a/packs/d/ | awk '{ n += $2 } END { print n }')" ]
claim 'and of how many bytes the store must be asked'
pk restore lab/artifacts@latest --into "$T/back" --dry-run --thaw bulk && grep -q 'up to 12 h before it begins' "$T/out" && [ "$(asked)" = 0 ]
claim 'with a tier the wait is in the estimate, and a dry run asks for nothing'
fails 1 PK-S3-012 restore lab/artifacts@latest --into "$T/back" && says "$packs packs" && says '[-]-thaw standard' && [ ! -e back ] && [ "$(asked)" = 0 ]
claim 'a restore without --thaw is refused before it begins, and asks for nothing'
fails 2 PK-USE-001 restore lab/artifacts@latest --into "$T/back" --no-wait && fails 2 PK-USE-001 restore lab/artifacts@latest --thaw bulk --thaw-days 4000
claim '--no-wait wants --thaw, and days have an end'

# ---- checks of what cannot be read
fails 1 PK-VER-002 verify lab/artifacts@latest --level decode && says "$packs packs could not be read" && ! grep -q DAMAGE "$T/out" &&
  pk list lab/artifacts && ! grep -qi fail "$T/out"
claim 'a verification of what lies there neither passes nor says damage'
pk verify lab/artifacts@latest --level present
claim 'that it is there can be verified'
pk verify --all --level checksum --budget 1GiB --json && [ "$(result packs_left)" = "$packs" ] && [ "$(result findings)" = 0 ]
claim 'a check with a budget leaves it for later'
pk scrub --json --repository main && [ "$(result result)/$(result packs_archived)/$(result findings)" = "INCOMPLETE/$packs/0" ]
claim 'so does a scrub'
pk repair --dry-run && grep -q "not looked at: $packs packs that lie in an archive" "$T/out"
claim 'a repair leaves it alone'
s3 rm backups "$(s3 ls backups a/packs/d/ | awk 'NR == 1 { print $1 }')" >/dev/null && fails 4 PK-VER-001 verify lab/artifacts@latest --level checksum && grep -q missing "$T/out"
claim 'what is gone is still found'
rm -rf cache && pk backup lab/all --full-read >/dev/null 2>&1
pk repair >/dev/null 2>&1; pk backup lab/all --full-read --json && pk verify lab/artifacts@latest --level present
claim 'and stored again by a repair and a backup'

# ---- thaw
packs=$(s3 ls backups a/packs/d/ | wc -l)
fails 11 PK-S3-013 restore lab/artifacts@latest --into "$T/back" --thaw standard --thaw-days 3 --no-wait && says 'takes up to 5 h, so until about 20' &&
  says 'proofkeep restore --plan pln-' && [ ! -e back ]
claim '--no-wait asks, says when to come back and by which plan, and ends with its own status'
p=$(sed -n 's/.*restore --plan \(pln-[0-9a-f]*\).*/\1/p' "$T/err")
n=$(grep -c 'POST /backups/a/packs/d/.*?restore' "$T/server/log")
pk restore --plan "$p" --thaw standard && diff -r tree back >diff.out
claim 'that plan waits for what was asked for, and restores it whole'
[ "$(grep -c 'POST /backups/a/packs/d/.*?restore' "$T/server/log")" = "$n" ] && [ "$n" -le "$packs" ]
claim 'no pack was asked for twice'
[ "$(s3 ls backups a/packs/ | wc -l)" -gt "$n" ] && ! grep -q 'POST /backups/a/packs/m/.*?restore' "$T/server/log"
claim 'and none that could be read anyway'
pk restore lab/artifacts@latest --into "$T/again" && diff -r tree again >diff.out && ! grep -q thaw "$T/out"
claim 'while it stays readable, a restore needs nothing more'
pk verify lab/artifacts@latest --level decode
claim 'and a verification passes'

# ---- rules of the bucket
s3 archive backups a/packs/d/ && pk store drift --json && [ "$(signal archive)" = ok ]
claim 'a rule of the bucket that moves packs of data to the archive is no drift'
s3 archive backups a/logs/ && pk store drift --json && [ "$(signal archive)" = ok ] && s3 archive backups b/ && pk store drift --json && [ "$(signal archive)" = ok ]
claim 'nor is one for what is not of the repository'
s3 archive backups a/l && fails 6 PK-IMM-001 store drift && grep -q '^breached archive ' "$T/out"
claim 'one for what only begins like a name of it is'
s3 archive backups a/ && fails 6 PK-IMM-001 store drift && grep -q '^breached archive .*the repository will be unreadable' "$T/out" && grep -q 'prefix packs/d/' "$T/out"
claim 'one that moves everything is'

# ---- the deepest class, with a wait
config DEEP_ARCHIVE
sed -i 's|s3://backups/a|s3://backups/deep|' proofkeep.yaml
rm -f key && pk init --repository main --key-file "$T/key" && pk backup lab/all
claim 'data goes to DEEP_ARCHIVE too'
fails 1 PK-S3-014 restore lab/artifacts@latest --into "$T/deep" --thaw expedited && says 'no tier expedited' && [ ! -e deep ] &&
  ! grep -q 'POST /backups/deep/packs/d/.*?restore' "$T/server/log"
claim 'which has no tier expedited: nothing is asked for'
pk restore lab/artifacts@latest --into "$T/deep" --thaw bulk && grep -q 'takes up to 2 d' "$T/out" && diff -r tree deep >diff.out && grep -q thaw "$T/err"
claim 'a restore asks, waits and restores in one go'

# ---- a part of a point: two backups, so that each file has packs of its own
config GLACIER
sed -i 's|s3://backups/a|s3://backups/part|' proofkeep.yaml
rm -rf key tree && mkdir -p tree/one tree/two && head -c 20000000 /dev/urandom >tree/one/first
pk init --repository main --key-file "$T/key" && pk backup lab/all
data() { s3 ls backups part/packs/d/ | awk '{ print $1 }' | sort; }
data >of.first
head -c 9000000 /dev/urandom >tree/two/second && ln tree/two/second tree/two/third && pk backup lab/all
claim 'a second backup adds a file with another name'
data | grep -vxFf of.first >of.second
looks 1
pk restore lab/artifacts@latest --path two/second --into "$T/part" --dry-run --json &&
  [ "$(planned thaw.frozen_packs)/$(planned thaw.packs)" = "$(wc -l <of.second)/$(wc -l <of.second)" ] &&
  [ "$(planned thaw.frozen_bytes)" = "$(s3 ls backups part/packs/d/ | grep -F -f of.second | awk '{ n += $2 } END { print n }')" ]
claim 'the plan of one file counts the packs that it lies in, and no others'
fails 1 PK-S3-012 restore lab/artifacts@latest --path two/second --into "$T/part" && says "$(wc -l <of.second) pack"
claim 'nor does it refuse for others'
thawed() { grep -o 'POST /backups/part/packs/d/.*?restore' "$T/server/log" | sed 's|POST /backups/||; s|?restore||' | sort -u; }
pk restore lab/artifacts@latest --path 'two/th*' --into "$T/part" --thaw standard && [ "$(find part -type f -printf '%f\n')" = third ] && cmp tree/two/third "$(find part -type f)"
claim 'a glob takes another name of the file, and it is restored once its packs are back'
thawed >of.thawed && cmp of.thawed of.second
claim 'which alone the store was asked for'
fails 1 PK-S3-012 restore lab/artifacts@latest --into "$T/all" && says "$(wc -l <of.first) packs\? of" && [ ! -e all ]
claim 'all of the point still needs the rest'
pk restore lab/artifacts@latest --into "$T/all" --thaw bulk && diff -r tree all >diff.out && thawed >of.thawed && [ "$(wc -l <of.thawed)" = "$(data | wc -l)" ]
claim 'and is restored when that was asked for too'
finish
