#!/bin/sh
# Looking after a repository from outside: init, doctor, status, list, show, diff, hold, prune and key, with their exit
# statuses and the words of their errors.
set -u
P=${PROOFKEEP:?the program to test}
T=${TMPDIR:-/tmp}
export HOME="$T/home" XDG_CACHE_HOME="$T/cache" XDG_CONFIG_HOME="$T/xdg"
mkdir -p "$HOME" "$T/work" "$T/src/sub" && cd "$T/work" || exit 1
n=0
ok() { n=$((n + 1)); echo "ok $n - $1"; }
not_ok() { n=$((n + 1)); echo "not ok $n - $1"; sed 's/^/# out: /' "$T/out"; sed 's/^/# err: /' "$T/err"; }
claim() { if [ "$?" = 0 ]; then ok "$1"; else not_ok "$1"; fi; }
status() { "$@" >"$T/out" 2>"$T/err"; echo $?; }
# said STATUS TEXT COMMAND...: it ends with that status and its error says that
said() {
  want=$1 text=$2; shift 2
  [ "$(status "$@")" = "$want" ] && grep -q -- "$text" "$T/err"
}
# field FILE EXPRESSION: of a JSON document d
field() { python3 -c 'import json,sys; d=json.load(open(sys.argv[1])); print(eval(sys.argv[2]))' "$1" "$2"; }
last() { tail -n 1 "$T/out" >"$T/last"; field "$T/last" "$1"; }

echo one >"$T/src/a"; echo two >"$T/src/sub/b"; : >"$T/src/$(printf 'bad\377name')"

# ---- init
said 2 "needs the option '--repository'" "$P" init
claim 'init wants a repository'
said 5 "the repository's own folder" "$P" init -r "$T/repo" --key-file "$T/repo/key" && [ ! -e "$T/repo" ] && [ ! -e proofkeep.yaml ]
claim 'a key inside the repository is refused before anything is made'
mkdir "$T/repo.d" && ln -s "$T/repo.d" "$T/alias"
said 5 'PK-POL-001' "$P" init -r "$T/repo.d" --key-file "$T/alias/deep/key"
claim 'so is one that a link leads there'
[ "$(status "$P" init -r "$T/repo" --key-file "$T/keys/admin")" = 0 ] && grep -q 'Recovery kit' "$T/out" && grep -q 'next: proofkeep doctor' "$T/out"
claim 'init makes a repository and reminds of the recovery kit'
[ "$(stat -c %a "$T/keys/admin")" = 600 ] && [ "$(stat -c %a proofkeep.yaml)" = 600 ]
claim 'key and configuration are for their owner alone'
said 5 'holds a repository already' "$P" init -r "$T/repo" --key-file "$T/keys/other" && [ ! -e "$T/keys/other" ]
claim 'a repository is not made twice, and no key is left over'
[ "$(status "$P" init -r "$T/second" --json)" = 0 ] && [ "$(last 'd["exit"]')" = 0 ] && [ -s "$(last 'd["key_file"]')" ]
claim 'without --key-file the key goes to the usual place'
rm -r "$T/second" "$(last 'd["key_file"]')"

cat >proofkeep.yaml <<EOF
version: 1
platform: "test"
secrets:
  repository-key: { file: "$T/keys/admin" }
repositories:
  main: { url: "$T/repo", encrypt: { key: repository-key, kind: key_file } }
surfaces:
  files: { kind: files, class: truth, paths: ["$T/src"] }
  gone: { kind: files, class: cache, paths: ["$T/not-there"] }
environments:
  dev:
    repository: main
    surfaces: [files]
    policy: { rpo: 24h, rto: none, verify: checksum, retention: { keep: { last: 2 }, min_copies: 1 } }
  prod:
    protected: true
    repository: main
    surfaces: [files, gone]
    policy: { rpo: 24h, rto: none, verify: checksum, retention: { keep: { last: 1 }, min_copies: 1 } }
EOF

# ---- doctor
[ "$(status "$P" doctor dev)" = 0 ] && grep -q '^0 problems' "$T/out" && grep -q 'opened with an admin key' "$T/out"
claim 'doctor finds nothing wrong with dev'
said 1 'PK-DOC-001' "$P" doctor && grep -q '^problem .*prod/gone.*PK-SRC-004' "$T/out"
claim 'doctor fails for a surface that is not there, and says which'
[ "$(status "$P" doctor --json)" = 1 ] && sed -i '$d' "$T/out" && [ "$(field "$T/out" 'd["ok"], d["problems"], [f["subject"] for f in d["findings"] if f["level"]=="problem"]')" = "(False, 1, ['prod/gone'])" ]
claim 'doctor says the same as JSON'
said 2 "no environment 'stage'" "$P" doctor stage
claim 'an environment that is not there is a mistake'
cp "$T/keys/admin" "$T/repo/admin.key"
[ "$(status "$P" doctor dev --key-file "$T/repo/admin.key")" = 1 ] && grep -q "^problem  key .*the repository's own folder" "$T/out"
claim 'doctor finds a key in the repository'
rm "$T/repo/admin.key"
sed "s|paths: \[\"$T/src\"\]|paths: [\"$T\"]|" proofkeep.yaml >around.yaml
[ "$(status "$P" doctor dev --config around.yaml)" = 0 ] && grep -q "^warning  surface .*$T holds the repository $T/repo, which would be backed up into itself" "$T/out"
claim 'and a repository in what is backed up into it'
mv "$T/repo" "$T/repo.away"
[ "$(status "$P" doctor dev)" = 1 ] && grep -q 'problem  repository .*PK-REP-001' "$T/out"
claim 'doctor finds a repository that is not there'
said 10 'PK-REP-001' "$P" list
claim 'other verbs end with 10 then'
said 10 'PK-REP-001' "$P" status dev && grep -q '^dev/files  *unknown' "$T/out"
claim 'the status is then unknown, not good'
mv "$T/repo.away" "$T/repo"
"$P" key generate --key-file-out "$T/keys/stranger" >/dev/null 2>&1
said 12 'PK-KEY-001' "$P" list --key-file "$T/keys/stranger"
claim 'a wrong key ends with 12'
chmod 644 "$T/keys/stranger"
said 2 'PK-CFG-005' "$P" list --key-file "$T/keys/stranger"
claim 'a key that others may read is refused'
said 12 'PK-KEY-003' "$P" list -r "$T/repo" --no-input
claim 'no key at all ends with 12 as well'

# ---- status
[ "$(status "$P" status dev)" = 0 ] && grep -q '^dev/files  *breached .*there is no whole backup' "$T/out"
claim 'without a backup a target is breached'
said 6 'dev/files is breached' "$P" status dev --check
claim 'a check ends with 6 then'
"$P" backup dev/files -q >"$T/out" 2>"$T/err"
claim 'a backup is made'
said 6 'dev/files is unproven' "$P" status dev --check
claim 'a backup alone proves nothing'
"$P" verify dev/files --level checksum -q >"$T/out" 2>"$T/err" && [ "$(status "$P" status dev --check)" = 0 ]
claim 'a verified one passes the check'
[ "$(status "$P" status --json)" = 0 ] && [ "$(field "$T/out" '[(r["environment"], r["surface"], r["state"]) for r in d["surfaces"]][-1], d["ok"]')" = "(('dev', 'files', 'good'), False)" ]
claim 'the status as JSON has the worst first'
[ "$(status "$P" status dev --metrics)" = 0 ] && grep -q '^proofkeep_policy_rpo_seconds{env="dev",surface="files"} 86400$' "$T/out" && ! grep -q 'prod' "$T/out"
claim 'the metrics are of what was asked for'
if command -v promtool >/dev/null; then
  promtool check metrics <"$T/out" >"$T/prom" 2>&1
  claim 'promtool accepts the metrics'
else
  n=$((n + 1)); echo "ok $n - promtool accepts the metrics # SKIP no promtool"
fi
"$P" backup prod/gone -q >"$T/out" 2>"$T/err"
[ "$("$P" status prod --json | python3 -c 'import json,sys; print([r["last_attempt"]["failed"] for r in json.load(sys.stdin)["surfaces"] if r["surface"]=="gone"])')" = '[True]' ]
claim 'a backup that failed is the last attempt'

# ---- list and show
[ "$(status "$P" list --json)" = 0 ] && [ "$(field "$T/out" 'len(d["points"]), d["points"][0]["verified"], d["points"][0]["complete"]')" = "(1, 'checksum', True)" ]
claim 'the point is listed with what is proven of it'
first=$(field "$T/out" 'd["points"][0]["id"]'); entry=$(field "$T/out" 'd["points"][0]["entry"]')
[ "$(status "$P" list prod)" = 0 ] && [ ! -s "$T/out" ] && grep -q 'no recovery points' "$T/err"
claim 'where there is nothing, nothing is listed'
[ "$(status "$P" show "dev/files@$first")" = 0 ] && grep -q '^verified   checksum at ' "$T/out" && grep -q 'tree_sha256' "$T/out"
claim 'show tells facts and invariants'
"$P" show dev/files --receipt >"$T/out" 2>"$T/err" && [ "$(sha256sum <"$T/out" | cut -d' ' -f1)" = "$entry" ]
claim 'the receipt is printed byte for byte: its SHA-256 is the entry'
[ "$(status "$P" show dev/files "$T/src/sub/")" = 0 ] && [ "$(wc -l <"$T/out")" = 2 ] && grep -q 'sub/b$' "$T/out"
claim 'show lists what is below a path'
[ "$(status "$P" show dev/files / --json)" = 0 ] && [ "$(field "$T/out" 'd["count"], [i["name"].rsplit("/",1)[1] for i in d["items"] if "bad" in i["name"]]')" = "(5, ['bad%FFname'])" ]
claim 'a name that is not UTF-8 is escaped in JSON'
said 2 "holds nothing at '/nowhere'" "$P" show dev/files /nowhere
claim 'a path that is not there is a mistake'
said 2 "has no backup whose id begins with 'feed'" "$P" show dev/files@feed
claim 'so is a point that is not there'

# ---- diff
echo three >"$T/src/c"; echo ONE >"$T/src/a"; rm "$T/src/sub/b"; chmod 700 "$T/src/sub"
"$P" backup dev/files -q >"$T/out" 2>"$T/err" && "$P" verify dev/files -q --level checksum >"$T/out" 2>"$T/err"
[ "$(status "$P" diff "dev/files@$first" dev/files@latest)" = 0 ] && grep -q '^M .*/src/a$' "$T/out" && grep -q '^+ .*/src/c$' "$T/out" && grep -q '^- .*/sub/b$' "$T/out" && grep -q '^a .*/src/sub$' "$T/out" && grep -q '^1 added' "$T/err"
claim 'diff marks what was changed, added, removed and given other attributes'
[ "$(status "$P" diff "dev/files@$first" dev/files@latest --json)" = 0 ] && [ "$(field "$T/out" 'd["added"], d["removed"], sorted(c["change"] for c in d["changes"] if c["name"].endswith(("/c","/b")))')" = "(1, 1, ['added', 'removed'])" ]
claim 'diff says the same as JSON'
[ "$(status "$P" diff dev/files dev/files)" = 0 ] && [ ! -s "$T/out" ]
claim 'a point does not differ from itself'

# ---- hold
said 2 "needs the option '--reason'" "$P" hold add "dev/files@$first"
claim 'a hold wants a reason'
[ "$(status "$P" hold add "dev/files@$first" --reason 'case 4711')" = 0 ] && [ "$(status "$P" hold list)" = 0 ] && grep -q "$first .*case 4711" "$T/out"
claim 'a hold is listed with its reason'
said 2 'is not on hold' "$P" hold release dev/files@latest --reason x
claim 'what is not held cannot be released'

# ---- prune
for i in 1 2 3; do
  echo "$i" >"$T/src/c"
  "$P" backup dev/files -q >/dev/null 2>&1; "$P" verify dev/files -q --level checksum >/dev/null 2>&1
done
said 2 'needs an operand' "$P" prune
claim 'prune wants an environment'
[ "$(status "$P" prune dev --dry-run --json)" = 0 ] && [ "$(last 'd["forgotten"], d["dry_run"]')" = '(0, True)' ] && plan=$(last 'd["plan"]') && [ "$("$P" list --json | grep -c bkp-)" = 5 ]
claim 'a dry run plans and removes nothing'
head -n 1 "$T/out" >"$T/plan" && [ "$(field "$T/plan" '[p["decision"] for p in d["plan"][0]["points"]]')" = "['keep', 'forget', 'forget', 'keep', 'keep']" ]
claim 'the plan keeps what is held and the last two'
[ "$(status "$P" prune --plan "$plan")" = 0 ] && [ "$("$P" list --json | grep -c bkp-)" = 3 ] && [ "$("$P" list --all --json | grep -c bkp-)" = 5 ]
claim 'the plan is carried out'
said 5 'PK-RST-002' "$P" prune --plan "$plan"
claim 'a plan is carried out once'
[ "$(status "$P" hold release "dev/files@$first" --reason closed)" = 0 ] && said 5 'no whole backup since the last prune' "$P" prune dev && grep -q '^defer' "$T/out"
claim 'without a new backup pruning is held'
"$P" backup dev/files -q >/dev/null 2>&1
said 5 'is not verified' "$P" prune dev
claim 'an unverified newest backup holds it too'
"$P" verify dev/files -q --level checksum >/dev/null 2>&1
"$P" prune dev --dry-run >"$T/out" 2>&1; plan=$(sed -n 's/.*--plan \(pln-[0-9a-f]*\).*/\1/p' "$T/out")
"$P" backup dev/files -q >/dev/null 2>&1; "$P" verify dev/files -q --level checksum >/dev/null 2>&1
said 5 'does not hold any more' "$P" prune --plan "$plan"
claim 'a plan from before another backup is stale'
sleep 1.1
[ "$(status "$P" prune dev --grace 1s --json)" = 0 ] && [ "$(last 'd["forgotten"] > 0 and d["freed_bytes"] > 0')" = True ]
claim 'one command plans, prints and frees where nothing is protected'
"$P" verify --all --level decode -q >"$T/out" 2>"$T/err"
claim 'what stayed is whole'

"$P" backup prod/files -q >/dev/null 2>&1; "$P" backup prod/files -q >/dev/null 2>&1; "$P" verify prod/files@latest -q --level checksum >/dev/null 2>&1
said 5 "prune prod/files" "$P" prune prod/files && grep -q 'PK-RST-003' "$T/err" && [ "$("$P" list prod --json | grep -c bkp-)" = 2 ]
claim 'a protected environment wants the phrase'
said 5 'is another' "$P" prune prod/files --confirm 'prune prod'
claim 'and no other'
[ "$(status "$P" prune prod/files --confirm 'prune prod/files')" = 0 ] && [ "$("$P" list prod --json | grep -c bkp-)" = 1 ]
claim 'with the phrase it goes'
[ "$(status "$P" prune prod --collect-only --confirm 'prune prod/all' --json)" = 0 ] && [ "$(last 'd["forgotten"]')" = 0 ]
claim '--collect-only forgets nothing'

# ---- key
said 5 "the repository's own folder" "$P" key add --role writer --key-file-out "$T/repo/w"
claim 'no key is written into the repository'
[ "$(status "$P" key add --role writer --key-file-out "$T/keys/writer" --label host1)" = 0 ] && [ "$(stat -c %a "$T/keys/writer")" = 600 ]
claim 'a writer key is made'
said 1 'is there already' "$P" key add --role writer --key-file-out "$T/keys/writer"
claim 'a file that is there is not replaced'
"$P" backup dev/files -q --key-file "$T/keys/writer" >"$T/out" 2>"$T/err"
claim 'it can add a backup'
said 5 'this one is a writer key' "$P" show dev/files / --key-file "$T/keys/writer"
claim 'it cannot look into one'
said 5 'this one is a writer key' "$P" hold add dev/files --reason x --key-file "$T/keys/writer"
claim 'it cannot hold one'
said 5 'PK-KEY-002' "$P" prune dev --collect-only --key-file "$T/keys/writer"
claim 'it cannot prune'
said 5 'PK-KEY-002' "$P" key add --role admin --key-file-out "$T/keys/evil" --key-file "$T/keys/writer" && [ ! -e "$T/keys/evil" ]
claim 'it cannot make itself more'
"$P" key generate --key-file-out "$T/keys/identity" >"$T/pub" 2>/dev/null && [ "$(status "$P" key add --role restore --recipient "$(cat "$T/pub")" --label dr)" = 0 ] && [ "$(status "$P" show dev/files / --key-file "$T/keys/identity")" = 0 ]
claim 'a recipient opens what was sealed to it'
[ "$(status "$P" key list)" = 0 ] && grep -q '^[0-9a-f]\{16\}  admin .*this one' "$T/out" && id=$(sed -n 's/^\([0-9a-f]*\)  writer.*/\1/p' "$T/out") && [ "$(status "$P" key remove "$id")" = 0 ] && said 12 'PK-KEY-001' "$P" list --key-file "$T/keys/writer"
claim 'a key that was removed opens nothing'
[ "$(status "$P" verify --all --level checksum -q)" = 0 ]
claim 'what it had added stays good'
said 2 'no key in force' "$P" key remove "$id"
claim 'a key is removed once'
[ "$(status "$P" key list --json)" = 0 ] && [ "$(field "$T/out" '[(k["role"], k["removed"]) for k in d["keys"]]')" = "[('admin', False), ('writer', True), ('restore', False)]" ]
claim 'keys are listed as JSON'
echo "1..$n"
