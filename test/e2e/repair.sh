#!/bin/bash
# Damage of every kind, on real repositories: scrub sees it without a key, verify says whom it harms, repair mends it or names
# what is lost, and what comes back is judged by diff.
. "${SOURCE_ROOT:?the project}/test/e2e/lib/tap.sh"

R=$T/repo K=$T/key
repo=(--repository "$R" --key-file "$K")
# Everything anew: two recovery points of one tree, the second with something changed and something grown.
fresh() {
  rm -rf "$R" "$K" "$T/cache" "$T/tree" "$T/tree.1" "$T/copy" "$T/back"*
  mkdir -p "$T/tree/sub"
  seq 300000 >"$T/tree/numbers"
  head -c 20000000 /dev/urandom >"$T/tree/random"
  for i in 1 2 3 4 5 6 7 8; do head -c $((i * 70000)) /dev/urandom >"$T/tree/sub/f$i"; done
  pk init "${repo[@]}" && pk backup "${repo[@]}" --files "$T/tree" || return 1
  cp -a "$T/tree" "$T/tree.1"
  head -c 300000 /dev/urandom >"$T/tree/sub/later"
  pk backup "${repo[@]}" --files "$T/tree"
}
largest() { find "$R/$1" -type f -printf '%s %P\n' | sort -rn | head -n 1 | cut -d ' ' -f 2; }
chop() { chmod u+w "$1" && truncate -s $(($(stat -c %s "$1") / 2)) "$1"; }
same() { # POINT TREE
  rm -rf "$T/back"
  pk restore "${repo[@]}" "local/files@$1" --into "$T/back" && diff -r --no-dereference "$2" "$T/back" >"$T/diff"
}
points() { "$P" list "${repo[@]}" local/files --json 2>/dev/null | python3 -c 'import json,sys; print(*[p["id"] for p in json.load(sys.stdin)["points"]])'; }
names() { (cd "$R" && find packs index keys log format -type f | sort); }
sums() { (cd "$R" && find packs index keys log format -type f -print0 | sort -z | xargs -0 sha256sum); }
# Nothing that had a name before has other bytes now.
unchanged() { sums >"$T/sums.now" && python3 - "$T/sums.before" "$T/sums.now" <<'PY'
import sys
a, b = ({l[66:]: l[:64] for l in open(p)} for p in sys.argv[1:])
sys.exit(any(b.get(k, v) != v for k, v in a.items()))
PY
}

fresh
claim 'a repository with two recovery points'
read -r one two <<<"$(points)"
before=$(sums | sha256sum)
pk scrub --repository "$R" && says 'WHOLE .* log of 3 entries'
claim 'scrub finds it whole without a key'
pk scrub --repository "$R" --json && [ "$(result result)" = PASSED ] && [ "$(result entries)" = "$(ls "$R/log" | wc -l)" ] &&
  [ "$(result packs)" = "$(find "$R/packs" -type f | wc -l)" ]
claim 'and counts what the store itself counts'
[ "$(sums | sha256sum)" = "$before" ]
claim 'it has written nothing there'
pk repair "${repo[@]}" && grep -q 'nothing to repair' "$T/out" && [ "$(sums | sha256sum)" = "$before" ]
claim 'repair of what is whole does nothing'
fails 2 PK-USE-001 scrub --repository "$R" --key-file "$K"
claim 'scrub takes no key'

# ---- a pack with a flipped bit: most of it can still be had
pack=packs/d/$(largest packs/d)
flip "$R/$pack" 5000000
sums >"$T/sums.before"
fails 4 PK-VER-001 scrub --repository "$R" && grep -q "DAMAGE  corrupt  $pack" "$T/out"
claim 'scrub names a pack with one flipped bit'
fails 4 PK-VER-001 verify "${repo[@]}" --all --level checksum && grep -q "$pack" "$T/out" && grep -q 'harms path ' "$T/out"
claim 'verify names it with the paths that it harms'
[ "$(grep -c 'harms snapshot ' "$T/out")" = 2 ] && [ -z "$(grep 'harms path ' "$T/out" | sort | uniq -d)" ]
claim 'each path once, though both recovery points have it'
sums >"$T/sums.before"
fails 4 PK-REP-010 repair "${repo[@]}" --dry-run && grep -q '1 damaged pack' "$T/out" && grep -q 'lost path ' "$T/out"
claim 'the plan says what would be lost'
plan=$(sed -n 's/^plan //p' "$T/out")
unchanged && [ "$(names | wc -l)" = "$(wc -l <"$T/sums.before")" ]
claim 'and has changed nothing'
fails 5 PK-RST-002 repair "${repo[@]}" --plan rep-000000000000
claim 'another plan is stale'
pk repair "${repo[@]}" --plan "$plan" --json
[ $? = 4 ] && [ "$(result chunks_lost)" -lt 20 ] && [ "$(result chunks_salvaged)" -gt 50 ]
claim 'the repair loses one frame of all that were in the pack'
unchanged && ! [ -e "$R/$pack" ]
claim 'it changed no object, and removed what is left of the pack'
pk scrub --repository "$R"
claim 'scrub finds the store whole again'
pk list "${repo[@]}" && fails 4 PK-VER-001 verify "${repo[@]}" --all --level checksum && grep -q 'chunks that this snapshot needs are in no pack' "$T/out"
claim 'verify still says that the points are damaged, at any level'
pk backup "${repo[@]}" --files "$T/tree" --full-read --json && [ "$(result surfaces.0.new_bytes)" -gt 0 ]
claim 'a backup that reads everything stores the lost chunk again'
pk verify "${repo[@]}" --all --level decode
claim 'which heals every recovery point'
same "$one" "$T/tree.1" && same "$two" "$T/tree"
claim 'they restore to what they were'
pk repair "${repo[@]}" && grep -q 'nothing to repair' "$T/out"
claim 'and nothing is left to repair'

# ---- the same damage, with an older copy at hand
fresh
read -r one two <<<"$(points)"
cp -a "$R" "$T/copy"
pack=packs/d/$(largest packs/d)
rm -f "$R/$pack"
fails 4 PK-VER-001 verify "${repo[@]}" --all --level present && grep -q "missing  $pack" "$T/out"
claim 'a pack that is missing is named'
pk repair "${repo[@]}" --from "$T/copy" --json && [ "$(result chunks_lost)" = 0 ] && [ "$(result chunks_rescued)" -gt 10 ]
claim 'what it held is taken from another copy'
pk verify "${repo[@]}" --all --level decode && same "$one" "$T/tree.1" && same "$two" "$T/tree"
claim 'and everything is whole'
pk repair "${repo[@]}" --dry-run && grep -q 'nothing to repair' "$T/out"
claim 'repair agrees'
chop "$R/packs/m/$(largest packs/m)"
pk repair "${repo[@]}" --from "$T/copy"
claim 'a truncated pack of metadata is mended from the copy as well'
pk verify "${repo[@]}" --all --level decode && same "$one" "$T/tree.1" && same "$two" "$T/tree"
claim 'and everything is whole again'

# ---- the index
for how in rm chop flip; do
  fresh
  read -r one two <<<"$(points)"
  run=$(find "$R/index" -type f -printf '%s %p\n' | sort -rn | head -n 1 | cut -d ' ' -f 2)
  case $how in rm) rm -f "$run" ;; chop) chop "$run" ;; *) flip "$run" 100 ;; esac
  rm -rf "$T/cache"
  fails 4 PK-VER-001 scrub --repository "$R" && grep -q "index/$(basename "$run")" "$T/out"
  claim "index run ($how): scrub names it"
  pk repair "${repo[@]}" --json && [ "$(result runs_rebuilt)" = 1 ]
  claim "index run ($how): it is rebuilt from the packs"
  rm -rf "$T/cache"
  pk verify "${repo[@]}" --all --level decode && same "$one" "$T/tree.1" && same "$two" "$T/tree"
  claim "index run ($how): everything is whole"
  pk backup "${repo[@]}" --files "$T/tree" --full-read --json && [ "$(result surfaces.0.new_bytes)" = 0 ]
  claim "index run ($how): and known, so that nothing is stored twice"
  pk prune "${repo[@]}" local --collect-only --grace 0s && pk verify "${repo[@]}" --all --level checksum
  claim "index run ($how): a collection goes on from there"
done

# ---- pack lists
fresh
read -r one two <<<"$(points)"
pk prune "${repo[@]}" local --collect-only --grace 0s
find "$R/index" -type f -delete
rm -rf "$T/cache"
fails 4 PK-REP-004 restore "${repo[@]}" "local/files@$one" --into "$T/back.x"
claim 'without anything under index/ nothing is restored'
pk repair "${repo[@]}" --json && [ "$(result lists_rebuilt)" = 2 ] && [ "$(result runs_rebuilt)" -ge 1 ]
claim 'repair writes all of it anew'
pk verify "${repo[@]}" --all --level decode && same "$one" "$T/tree.1" && same "$two" "$T/tree" && pk scrub --repository "$R"
claim 'and everything is whole'
pk prune "${repo[@]}" local --collect-only --grace 0s && pk verify "${repo[@]}" --all --level decode
claim 'also after a collection that goes by the new lists'

# ---- killed at any time, a repair leaves things no worse, and the next one ends it
fresh
read -r one two <<<"$(points)"
cp -a "$R" "$T/copy"
for p in $(cd "$R" && find packs/d -type f | sort | head -n 2); do flip "$R/$p" 3000; done
rm -f "$(find "$R/index" -type f -printf '%s %p\n' | sort -rn | head -n 1 | cut -d ' ' -f 2)"
killed=0
for ms in 010 030 050 080 110 140 170 200 230 260 300; do
  timeout -s KILL "0.$ms" "$P" repair "${repo[@]}" --from "$T/copy" >"$T/out" 2>"$T/err" </dev/null
  [ $? != 137 ] || killed=$((killed + 1))
done
rm -rf "$T/cache"
[ $killed -ge 2 ] && pk repair "${repo[@]}" --from "$T/copy" && pk repair "${repo[@]}" && grep -q 'nothing to repair' "$T/out"
claim 'a repair that was killed again and again is ended by the next'
pk verify "${repo[@]}" --all --level decode && same "$one" "$T/tree.1" && same "$two" "$T/tree"
claim 'and everything is whole'

# ---- what is derived from the log
fresh
read -r one two <<<"$(points)"
for object in tile/0 tile/entries checkpoint; do
  for how in rm chop; do
    file=$(find "$R/$object" -type f | head -n 1)
    case $how in rm) rm -f "$file" ;; chop) chop "$file" ;; esac
    fails 4 PK-VER-001 scrub --repository "$R" && grep -q "${file#"$R/"}" "$T/out"
    claim "$object ($how): scrub names it"
    pk repair "${repo[@]}" && pk scrub --repository "$R"
    claim "$object ($how): it is derived again"
  done
done
same "$two" "$T/tree"
claim 'nothing else has changed'

# ---- the log itself
entry=$R/log/0000000000000001
rm -f "$entry" && rm -rf "$T/cache"
fails 4 PK-VER-001 scrub --repository "$R" && grep -q 'entry 1' "$T/out"
claim 'an entry of the log that is missing is named'
fails 4 PK-LOG-001 list "${repo[@]}"
claim 'and nothing else works'
fails 4 PK-LOG-001 repair "${repo[@]}" --dry-run && says 'bundles have them' && ! [ -e "$entry" ]
claim 'the plan says that a bundle has it'
pk repair "${repo[@]}" && [ -e "$entry" ] && pk scrub --repository "$R"
claim 'repair puts it back'
same "$two" "$T/tree"
claim 'and everything works again'
flip "$entry" 200 && rm -rf "$T/cache"
fails 4 PK-VER-001 scrub --repository "$R" && grep -q 'entry 1' "$T/out"
claim 'an entry that was altered is named'
fails 4 PK-LOG-001 repair "${repo[@]}"
claim 'and never overwritten'
rm -f "$entry" && pk repair "${repo[@]}" && pk scrub --repository "$R"
claim 'once it was removed, the true one is put back'

# ---- what no repair can make again
cp -a "$R/format" "$T/format"
flip "$R/format" 40
fails 4 PK-VER-001 scrub --repository "$R" && grep -q 'DAMAGE  corrupt  format' "$T/out"
claim 'format: scrub names it'
rm -f "$R/format" && cp -a "$T/format" "$R/format"
pk key add "${repo[@]}" --role restore --key-file-out "$T/second" --label second
slot=$(ls -t "$R/keys" | head -n 1)
flip "$R/keys/$slot" 60
fails 4 PK-VER-001 scrub --repository "$R" && grep -q "keys/$slot" "$T/out"
claim 'key slot: scrub names it'
fails 4 PK-REP-010 repair "${repo[@]}" && grep -q 'nothing can be done about this one' "$T/out"
claim 'key slot: repair says that it cannot be made again'
fails 12 PK-KEY-001 repair --repository "$R" --key-file "$T/second" && says '2 of that kind, 1 damaged'
claim 'and the key that it held does not open'

# ---- roles
fresh
pk key add "${repo[@]}" --role restore --key-file-out "$T/reader" --label reader
fails 5 PK-KEY-002 repair --repository "$R" --key-file "$T/reader" && says 'needs an admin key, and this one is a restore key'
claim 'a key that may only restore may not repair'

# ---- a budget
pk scrub --repository "$R" --budget 1KiB --json && [ "$(result result)" = INCOMPLETE ] && left=$(result packs_left) && [ "$left" -gt 0 ]
claim 'a scrub with a budget stops, and says that it has'
pk scrub --repository "$R" --budget 1KiB --json && [ "$(result packs_left)" = "$left" ]
for _ in 1 2 3 4 5 6; do pk scrub --repository "$R" --budget 1KiB --json; done
[ "$(result oldest)" != None ]
claim 'run after run it comes round to every pack'
fails 2 PK-USE-001 scrub --repository "$R" --budget soon
claim 'a budget is a time or a size'

fresh
read -r one two <<<"$(points)"
rung() { "$P" list "${repo[@]}" local/files --json 2>/dev/null | python3 -c 'import json,sys; print(*[str(p["verified"]) for p in json.load(sys.stdin)["points"]])'; }
pk verify "${repo[@]}" --all --budget 1KiB --level checksum --json && [ "$(result result)" = INCOMPLETE ] && [ "$(result vouched)" = 0 ] && rung >"$T/rung.before"
claim 'a verification with a budget checks some, and vouches for nothing'
pk verify "${repo[@]}" --all --budget 1KiB --level checksum
grep -q '^coverage at level checksum: .* %' "$T/out" && ! grep -q VERIFIED "$T/err"
claim 'it says what is covered, and never VERIFIED'
total=$(find "$R/packs" -type f | wc -l)

for _ in $(seq "$total"); do
  pk verify "${repo[@]}" --all --budget 1KiB --level checksum --json
  [ "$(result coverage)" = 1.0 ] && break
done
[ "$(result coverage)" = 1.0 ] && [ "$(result oldest)" != None ] && [ "$(rung)" = 'checksum checksum' ]
claim 'run after run it covers everything, and then the points are vouched for'
[ "$(cat "$T/rung.before")" = "none none" ]
claim 'which the log keeps'
rm -rf "$T/cache"
pk verify "${repo[@]}" --all --budget 1KiB --level checksum --json && [ "$(result coverage)" != 1.0 ]
claim 'what was stored minutes ago is not taken from the log without the cache'
find "$R/packs" -type f -exec touch -d '2 hours ago' {} +
rm -rf "$T/cache"
pk verify "${repo[@]}" --all --budget 1KiB --level checksum --json && [ "$(result coverage)" = 1.0 ]
claim 'what was there then is: another host goes on where this one stopped'
pack=packs/d/$(largest packs/d)
flip "$R/$pack" 1000
fails 4 PK-VER-001 verify "${repo[@]}" --all --budget 1h --level decode && grep -q "$pack" "$T/out"
claim 'damage within the budget is named'
fails 2 PK-USE-001 verify "${repo[@]}" --all --budget 1h --level full
claim 'a restore has no budget'

# ---- a backup that reads only what changed heals as well
fresh
read -r one two <<<"$(points)"
flip "$R/packs/d/$(largest packs/d)" 5000000
fails 4 PK-REP-010 repair "${repo[@]}"
claim 'another repair that loses something'
pk list "${repo[@]}" local/files
pk backup "${repo[@]}" --files "$T/tree" && pk verify "${repo[@]}" --all --level decode && same "$one" "$T/tree.1"
claim 'an ordinary backup reads the files again that lack something'
pk prune "${repo[@]}" local --collect-only --grace 0s && pk verify "${repo[@]}" --all --level decode && same "$one" "$T/tree.1"
claim 'collecting goes on, and takes nothing of it'
finish
