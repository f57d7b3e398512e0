#!/bin/bash
# What the program asks of a server: how often, counted by a proxy that shares nothing with it (bench/s3_meter.py), and that
# what is fetched ahead is held to account like anything else.
. "${SOURCE_ROOT:?the project}/test/e2e/lib/tap.sh"
. "$SOURCE_ROOT/test/e2e/lib/s3.sh"
s3_needed "${S3_KIND:-versitygw}"
coproc METER { exec python3 "$SOURCE_ROOT/bench/s3_meter.py" "${S3_ENDPOINT#http://}"; }
S3_PIDS+=("$METER_PID")
read -r port <&"${METER[0]}" && s3 mb backups || { echo 'Bail out! no bucket or no proxy' && exit 1; }
meter() { # ORDER: its answer
  echo "$1" >&"${METER[1]}"
  local line
  read -r line <&"${METER[0]}"
  echo "$line"
}
metered() { # FIELD of the last count
  python3 -c 'import json, sys; print(json.loads(sys.argv[1]).get(sys.argv[2], 0))' "$counted" "$1"
}
s3_login
export AWS_REGION=$S3_REGION
cat >c.yaml <<YAML
version: 1
platform: test
secrets: { k: { file: $T/key } }
repositories: { main: { url: "s3://backups/a?endpoint=http://127.0.0.1:$port", encrypt: { key: k, kind: key_file } } }
surfaces: { it: { kind: files, class: truth, paths: [$T/tree] } }
environments: { lab: { repository: main, policy: { rpo: 24h, rto: 1h, retention: { keep: { last: 1 }, min_copies: 1 } } } }
YAML
counted='{}'
same() { diff -r tree "$1" >"$T/diff"; }
run() { # VERB ARGUMENT…: from an empty cache
  rm -rf "$XDG_CACHE_HOME"
  again "$@"
}
again() { # VERB ARGUMENT…: on a host that has been here before
  meter count >/dev/null
  pk "$@" --config c.yaml --json
  local status=$?
  counted=$(meter count)
  return $status
}
python3 - <<'PY'
import os, random
r = random.Random(1)
for d in range(40):
    os.makedirs(f"tree/{d:02}")
    for f in range(30):
        with open(f"tree/{d:02}/{f:02}", "wb") as out:
            out.write(r.randbytes(r.choice((500, 5_000, 150_000))))
with open("tree/large", "wb") as out:
    out.write(r.randbytes(20_000_000))
PY

run init --repository main && run backup lab/it && [ "$(result requests.PUT)" = "$(metered PUT)" ] &&
  [ "$(result requests.GET)" = "$(metered GET)" ] && [ "$(result requests.LIST)" = "$(metered LIST)" ]
claim 'the result says how many requests of each kind there were, as a proxy counts them'
packs=$(s3 ls backups a/packs/ | wc -l)
[ "$packs" -ge 5 ] && [ "$(metered PUT)" -le $((packs + 6)) ] && [ $(($(metered GET) + $(metered HEAD) + $(metered LIST))) -le 16 ]
claim "a first backup puts its $packs packs, an index, a list, an entry, two tiles and a checkpoint, and asks little else"
run restore lab/it@latest --into "$T/back" && same back
claim 'what is fetched ahead is restored as it was'
[ "$(metered GET)" -le $((packs + 22)) ]
claim "a restore from an empty cache asks about once for each of $packs packs"
run verify lab/it@latest --level decode && [ "$(metered GET)" -le $((packs + 30)) ]
claim 'and so does a verification that decodes everything'
run restore lab/it@latest --path 07/03 --into "$T/one"
cmp tree/07/03 "$(find one -type f | head -n 1)" && [ "$(find one -type f | wc -l)" = 1 ] && [ "$(metered down)" -lt 6000000 ]
claim 'one file of many takes a part of what there is'
meter 'late 60' >/dev/null
run restore lab/it@latest --into "$T/late" && [ $(($(metered GET) + $(metered LIST))) -le $((packs + 26)) ]
claim 'nor are there more requests when each takes long'
meter 'late 0' >/dev/null

victim=$(s3 ls backups a/packs/d/ | awk '{ print $1 }' | head -n 1)
s3 get backups "$victim" >whole && cp whole harmed && flip harmed $(($(stat -c %s whole) / 3))
s3 rm backups "$victim" && s3 put backups "$victim" <harmed
run restore lab/it@latest --into "$T/harmed-out"
[ $? = 4 ] && grep -q "${victim#a/}" "$T/out" && [ ! -e harmed-out ]
claim 'one bit that is other than it was ends a restore, with the name of the pack'
s3 rm backups "$victim" && { run restore lab/it@latest --into "$T/lost-out"; [ $? = 4 ]; } && grep -q "${victim#a/}" "$T/out"
claim 'so does a pack that is not there'
head -c 100000 whole | s3 put backups "$victim"
run restore lab/it@latest --into "$T/short-out"
[ $? = 4 ] && grep -q "${victim#a/}" "$T/out" && ! run verify lab/it@latest --level decode && grep -q 'does not have the size' "$T/out"
claim 'and one that is shorter than it was'
s3 rm backups "$victim" && s3 put backups "$victim" <whole

# What each verb asks in all, and no more: whoever adds a request to one of them says so here. Packs come on top; three more are
# for packs that a reader asks for again when it is slow.
asked() { # of the last run: GET HEAD LIST POST DELETE PUT
  local kind n=0
  for kind in GET HEAD LIST POST DELETE PUT; do n=$((n + $(metered $kind))); done
  echo $n
}
at_most() { # PACKS MORE VERB: how many there were at most
  [ "$(asked)" -le $(($1 + $2)) ] || { echo "# $3: $(asked) requests with $1 packs: $counted" && false; }
}
sed "s|backups/a?|backups/b?|; s|$T/key|$T/second.key|" c.yaml >b.yaml
cp c.yaml first.yaml && cp b.yaml c.yaml
made() { s3 ls backups b/packs/ | wc -l; }
run init --repository main && again backup lab/it && packs=$(made) && at_most "$packs" 13 first
claim 'a first backup after init asks twelve times beside its packs, and once more when it takes long'
again backup lab/it && at_most $(($(made) - packs)) 13 unchanged
claim 'one of an unchanged tree as often'
packs=$(made)
run restore lab/it@latest --into "$T/counted" && same counted && at_most "$packs" $((15 + 3)) restore
claim 'a restore from an empty cache fourteen times beside its packs, and once more when it takes long'
run verify lab/it@latest --level decode && at_most "$packs" $((21 + 3)) check
claim 'a verification that decodes everything twenty times, and once more'
rm -rf tree/*[13579] && again backup lab/it && again verify lab/it@latest --level decode && before=$(made) && run prune lab/it --grace 0s &&
  at_most $((before + $(made))) $((28 + 3)) prune
claim 'a prune that rewrites packs 28 times beside what it reads and writes of them'
run verify lab/it@latest --level decode && run restore lab/it@latest --into "$T/pruned" && same pruned
claim 'and all of it is right'
cp first.yaml c.yaml

rm -rf tree/*[02468] && run backup lab/it && run verify lab/it@latest --level decode && before=$(s3 ls backups a/packs/ | awk '{ n += $2 } END { print n }') &&
  run prune lab/it --grace 0s && after=$(s3 ls backups a/packs/ | awk '{ n += $2 } END { print n }') && [ $((after * 10)) -lt $((before * 8)) ]
claim "a prune frees what only the older point had ($before bytes before, $after after)"
[ "$(metered POST)" -ge 1 ] && [ "$(metered DELETE)" -le 4 ] && [ "$(metered GET)" -le $((packs + 40)) ]
claim 'and asks little'
run verify --all --level decode && run restore lab/it@latest --into "$T/after" && same after
claim 'what it left is whole'

# The same files at both ends of more than is held at once: what was fetched for the first serves the last.
rm -rf tree && mkdir -p tree/a tree/b && python3 - <<'PY'
import random, shutil
r = random.Random(2)
for f in range(20):
    open(f"tree/a/{f:02}", "wb").write(r.randbytes(300_000))
for f in range(6):
    open(f"tree/b/{f}", "wb").write(r.randbytes(20_000_000))
shutil.copytree("tree/a", "tree/c")
PY
packs=$(s3 ls backups a/packs/ | wc -l)
run backup lab/it && packs=$(($(s3 ls backups a/packs/ | wc -l) - packs)) && run restore lab/it@latest --into "$T/again" && same again
claim 'files that are twice in a large tree come back'
[ "$packs" -ge 7 ] && [ "$(metered GET)" -le $((packs + 20)) ]
claim "and their bytes were asked for once: $(metered GET) reads for $packs packs"
rm -rf again tree && mkdir -p tree/a && head -c 3000000 /dev/urandom >tree/a/b

# What comes ahead is damaged: it is asked for again, and mended by the pack's own parity.
sed -e "s|backups/a?|backups/p?|" -e "s|$T/key|$T/parity.key|" -e 's|kind: key_file }|&, parity: 5|' c.yaml >p.yaml
mv p.yaml c.yaml
run init --repository main && run backup lab/it && victim=$(s3 ls backups p/packs/d/ | awk '{ print $1 }' | head -n 1) && s3 get backups "$victim" >whole
claim 'packs may have parity in a bucket too'
bytes=$(stat -c %s whole)
for place in $((bytes / 3)) $((bytes - 20)); do # a frame; what finds the directory
  cp whole harmed && flip harmed "$place"
  s3 rm backups "$victim" && s3 put backups "$victim" <harmed && rm -rf mended &&
    run restore lab/it@latest --into "$T/mended" && same mended
  claim "what is damaged at byte $place of $bytes comes mended"
done
finish
