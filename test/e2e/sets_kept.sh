#!/bin/bash
# A set is one thing to prune, hold, verify and copy: its recovery points stay or go together, and a copy has it whole or not at all.
# The judges are the listings, diff, and the independent reader of the log.
. "${SOURCE_ROOT:?the project}/test/e2e/lib/tap.sh"
python3 -c 'import cryptography' 2>/dev/null || { echo "1..0 # SKIP python's module cryptography is not installed"; exit 0; }
export PYTHONDONTWRITEBYTECODE=1
mkdir -p a b c
head -c 100000 /dev/urandom >a/one && head -c 100000 /dev/urandom >b/two && echo three >c/three
{
  config_head
  cat <<YAML
  second: { url: $T/second, encrypt: { key: k2, kind: key_file } }
surfaces:
  a: { kind: files, class: truth, paths: [$T/a] }
  b: { kind: files, class: truth, paths: [$T/b], depends_on: [a] }
  c: { kind: files, class: truth, paths: [$T/c] }
sets:
  pair: { surfaces: [a, b] }
  guarded: { surfaces: [a, c], hooks: { standby: { run: [$T/hook.sh, standby] }, live: { run: [$T/hook.sh, live] } } }
environments:
  lab: { repository: main, policy: { verify: checksum, retention: { keep: { last: 1 }, min_copies: 1 } } }
YAML
} | sed "s|^  k: .*|&\n  k2: { file: $T/key2 }|" >proofkeep.yaml
pk init --repository main || exit 1
# A hook says that it ran, and kills the program whose id it is given.
cat >hook.sh <<HOOK
#!/bin/bash
cat >/dev/null
echo "\$1" >>$T/ran
[ ! -e $T/kill.\$1 ] || { while [ ! -s $T/pid ]; do sleep 0.05; done; kill -KILL \$(cat $T/pid); sleep 0.3; }
HOOK
chmod +x hook.sh
sets() { "$P" list "$@" --json 2>/dev/null | python3 -c 'import json, sys; print(" ".join(s["id"] for s in json.load(sys.stdin)["sets"]))'; }
points() { "$P" list "$@" --json 2>/dev/null | python3 -c 'import json, sys; print(len(json.load(sys.stdin)["points"]))'; }
taken() { pk backup "lab/$1" --json && result sets.0.set_id; } # SET
proven() { pk verify "lab/$1@latest" --level checksum; }
# What a plan decides of a set's recovery point, and the reason behind a bar.
decided() { # SET-ID SURFACE
  python3 - "$@" <<'PY'
import json, sys
plan = [json.loads(l) for l in open("out")]
plan = [r for r in plan if r["type"] == "plan"][0]
for s in plan["plan"]:
    for p in s["points"]:
        if s["surface"] == sys.argv[2] and p.get("set") == sys.argv[1]:
            print(p["decision"] + "|" + p["reason"])
PY
}

# ---- prune ----
s1=$(taken pair) && proven pair && s2=$(taken pair) && proven pair && [ -n "$s1" ] && [ -n "$s2" ]
claim 'two sets of two surfaces, both proven'
pk prune lab/all --dry-run --json && [ "$(decided "$s1" a)" = 'forget|no rule keeps it' ] && [[ $(decided "$s1" b) = forget\|* ]] && [[ $(decided "$s2" a) = keep\|* ]]
claim 'of the older one all goes'
# b alone has newer recovery points: what its own rule keeps is none of a set
pk backup lab/b && proven b && pk backup lab/b && proven b
pk prune lab/all --dry-run --json && [[ $(decided "$s2" b) = "keep|of $s2, the newest proven one" ]] && [[ $(decided "$s1" a) = forget\|* ]]
claim 'the newest proven set stays, although the rule of one surface would let its part of it go'
pk backup lab/a && proven a
pk prune lab/all --dry-run --json && [[ $(decided "$s2" a) = "keep|of $s2, the newest proven one" ]] && [[ $(decided "$s2" b) = "keep|of $s2, the newest proven one" ]]
claim 'or the rules of all'
pk prune lab/b --dry-run --json && [[ $(decided "$s1" b) = "keep|of $s1, and a is not pruned here" ]]
claim 'a prune of one surface leaves sets whole'
pk prune lab/all --dry-run && grep -q "of $s2, the newest proven one" out
claim 'which the plan says to people, too'
s3=$(taken pair)
pk prune lab/all --dry-run --json
[ $? = 5 ] && [ "$(points lab)" = 9 ]
claim 'a set that is not proven holds the run, as its recovery points do'
proven pair && pk prune lab/all --grace 0s && [ "$(sets lab)" = "$s3" ] && [ "$(points lab)" = 2 ]
claim 'sets that no rule keeps go as a whole'

# ---- hold ----
pk hold add lab/pair@latest --reason 'case 7' --json && [ "$(result points)" = 2 ] && [ "$(result point)" = "$s3" ]
claim 'a hold on a set holds all of it'
pk hold list && [ "$(grep -c 'case 7' out)" = 1 ] && grep -q "lab/pair@$s3 .*case 7" out && pk hold list lab/b --json && grep -q '"set": "pair"' out && grep -q '"points": 2' out
claim 'and is one line'
s4=$(taken pair) && proven pair && s5=$(taken pair) && proven pair && pk prune lab/all --grace 0s && [ "$(sets lab)" = "$s3 $s5" ] && [ "$(points lab)" = 4 ] && [ -n "$s4" ]
claim 'what is held stays, whole'
a=$("$P" list lab/a --json | python3 -c 'import json, sys; print(json.load(sys.stdin)["points"][0]["id"])')
pk hold release "lab/pair@$s3" --reason over --json && [ "$(result points)" = 2 ] && [ "$(result ended)" = 2 ] && pk hold list && says 'Nothing is on hold'
claim 'a release lets all of it go'
fails 2 PK-USE-002 hold release "lab/pair@$s3" --reason over && says 'no recovery point of .* is on hold'
claim 'once'
pk hold add "lab/a@$a" --reason one && pk prune lab/all --dry-run --json && [[ $(decided "$s3" b) = "keep|of $s3, of which a stays" ]] && pk hold release "lab/a@$a" --reason over
claim 'a hold on one of its recovery points keeps the others with it'

# ---- copies ----
pk init --repository second --key-file "$T/key2" --copy-of main --from-key-file "$T/key" || exit 1
copies=(--repository main --to second)
pk copy "lab/pair@$s3" "${copies[@]}" --json && [ "$(result copied)" = 2 ] && [ "$(result sets)" = 1 ] && [ "$(sets lab -r second)" = "$s3" ]
claim 'a set is copied by its point, with its receipt'
pk copy lab/a "${copies[@]}" --json && [ "$(result sets)" = 0 ] && [ "$(sets lab -r second)" = "$s3" ]
claim 'while a part of one makes no set'
pk copy --all "${copies[@]}" --json && [ "$(result sets)" = 1 ] && [ "$(sets lab -r second)" = "$s3 $s5" ] && pk copy --all "${copies[@]}" --json && [ "$(result sets)" = 0 ]
claim 'the rest of it does, once'
pk show "lab/pair@$s5" -r second --json && python3 - "$s5" <<'PY'
import json, sys
d = json.load(open("out"))
r = d["receipt"]
assert r["set_id"] == sys.argv[1] and r["status"] == "success" and len(r["copy"]["receipt"]) == 64, r
assert [m["seq"] for m in r["members"]] == [m["seq"] for m in d["set"]["members"]], d
PY
claim 'its receipt names those of the copy, and what it is a copy of'
pk verify lab/pair@latest -r second --level full && mv repo away && pk restore lab/pair@latest -r second --into "$T/back" && diff -r a back/a && diff -r b back/b && mv away repo
claim 'where it is verified and restored without the source'
python3 "$SOURCE_ROOT/test/format/log_check.py" folder "$T/second" "$("$P" ledger verifier -r second 2>/dev/null)" >out 2>err
claim 'the independent reader takes the log of the copy'
s6=$(taken pair) && proven pair || exit 1
a6=$("$P" list lab/a --json | python3 -c 'import json, sys; print(json.load(sys.stdin)["points"][-1]["id"])')
# cut off between its two recovery points, as a copy of the first alone leaves it
pk copy "lab/a@$a6" "${copies[@]}" && [ "$(sets lab -r second)" = "$s3 $s5" ] && pk copy --all "${copies[@]}" --json && [ "$(result sets)" = 1 ] && [ "$(sets lab -r second)" = "$s3 $s5 $s6" ]
claim 'a copy that was cut off shows no set that lacks a recovery point, and the next one makes it whole'

# ---- a set that is not whole any more ----
# What a thief of the prune key can do, or a program that knew no sets.
b6=$("$P" list lab/b --json | python3 -c 'import json, sys; print(json.load(sys.stdin)["points"][-1]["log_seq"])')
python3 "$SOURCE_ROOT/test/e2e/lib/forge.py" "$T/repo" "$T/key" append forget/v1 "{\"seqs\": [$b6], \"reason\": \"x\"}" >/dev/null || exit 1
fails 4 PK-VER-001 verify "lab/pair@$s6" && says "the set lab/pair@$s6 is not whole: .* of b was forgotten" && grep -q 'MISSING  b of the set' out && ! grep -q '^VERIFIED' err && ! grep -q '"result":"PASSED"' out
claim 'verify says that a recovery point of the set was forgotten, and does not pass'
fails 4 PK-VER-001 verify "lab/pair@$s6" --budget 1h --level checksum && says 'is not whole'
claim 'nor with a budget'
fails 2 PK-USE-002 hold add "lab/pair@$s6" --reason x && says 'has 1 of its 2 recovery points left' && fails 2 PK-USE-002 restore "lab/pair@$s6" --into "$T/no" && [ ! -e no ] &&
  fails 2 PK-USE-002 copy "lab/pair@$s6" "${copies[@]}" && says 'is not whole any more'
claim 'it is not held, restored or copied as a set'
pk list lab && grep -q "lab/pair@$s6 .*1 of 2 left" out && "$P" list lab/pair@latest --json | grep -q "$s5"
claim 'it is listed as what it is, and the latest set is another'
pk verify "lab/pair@$s6" -r second --level checksum
claim 'while the copy has it whole'

# ---- what must not keep others for ever ----
once=$(taken b,c) && proven b,c && pk prune lab/all --dry-run --json && [[ $(decided "$once" b) = keep\|* ]] && all=$(taken all) && proven all && pk backup lab/b && proven b && pk backup lab/c && proven c
pk prune lab/all --dry-run --json && [[ $(decided "$once" b) = forget\|* ]] && [[ $(decided "$all" b) = "keep|of $all, the newest proven one" ]]
claim 'a list of surfaces that was backed up once is kept until a later set has all of them'
cp proofkeep.yaml whole.yaml && sed -i '/^  c: {/d; /^  guarded: {/d' proofkeep.yaml
less=$(taken all) && proven all && pk prune lab/all --dry-run --json && [[ $(decided "$all" c) = 'keep|no retention rule is set' ]] && [[ $(decided "$all" a) = forget\|* ]] && [[ $(decided "$all" b) = forget\|* ]] && [[ $(decided "$less" a) = keep\|* ]]
claim 'a surface that was taken out of the configuration does not keep the rest of its sets'
cp whole.yaml proofkeep.yaml

# ---- a surface whose backups have stopped ----
sed 's/keep: { last: 1 }/keep: { last: 2 }/' whole.yaml >proofkeep.yaml
e1=$(taken pair) && proven pair && e2=$(taken pair) && proven pair && e3=$(taken pair) && proven pair && pk prune lab/all --grace 0s && [[ $(sets lab) != *$e1* ]] || exit 1
for i in 1 2; do pk backup lab/a && proven a; done
pk prune lab/all --dry-run --json && [[ $(decided "$e2" a) = "keep|of $e2, of which b stays" ]] && python3 - <<'PY'
import json
plan = [r for r in map(json.loads, open("out")) if r["type"] == "plan"][0]
keeps = {s["surface"]: s["keeps"] for s in plan["plan"] if "keeps" in s}
assert set(keeps) == {"b"} and keeps["b"]["points"] == 1 and keeps["b"]["bytes"] == 100000, keeps
assert [h["hold"] for s in plan["plan"] if s["surface"] == "b" for h in s["holds"]] == ["stopped"], plan
PY
claim 'a surface whose backups have stopped keeps its sets, and the plan says how much of others that is'
pk prune lab/all --dry-run && grep -q '^keeps: 1 recovery point of other surfaces (.*) stays only because of sets with its own, and its backups have stopped. Back it up again; or' out
claim 'and what to do about it'
sed -i '/^  b: {/d; /^  pair: {/d' proofkeep.yaml && pk prune lab/all --dry-run --json && [ "$(decided "$e2" a)" = 'forget|no rule keeps it' ] && [ "$(decided "$e2" b)" = 'keep|no retention rule is set' ] && ! grep -q '"keeps"' out
claim 'which is true'
cp whole.yaml proofkeep.yaml

# ---- a restore that was killed with the platform in standby ----
pk backup lab/guarded && pk restore lab/guarded@latest --into "$T/side" --dry-run --json && p=$(result plan) && touch kill.standby && : >ran
"$P" restore --plan "$p" >out 2>err </dev/null &
job=$!
echo $job >pid.new && mv pid.new pid
wait $job 2>/dev/null
[ $? = 137 ] && [ "$(cat ran)" = standby ] && rm kill.standby && pk restore --plan "$p" --abort --json && [ "$(result undone)" = 1 ] && [ "$(tr '\n' ' ' <ran)" = 'standby live ' ] && [ ! -e side ]
claim 'killed in standby, it is put back into service by --abort'
: >ran
pk restore --plan "$p" --abort && grep -q 'nothing was left' out && [ ! -s ran ] && pk restore --plan "$p" && diff -r c side/c && [ "$(tr '\n' ' ' <ran)" = 'standby live ' ]
claim 'once, and the plan can be carried out later'
finish
