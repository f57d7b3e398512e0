#!/bin/bash
# What a killed backup leaves in the cluster when the snapshot is not carried: the next backup of that surface takes it away, and nothing
# else. The backup is held by the proxy where it is killed. Then what a verification does when the cluster is out of reach.
. "${SOURCE_ROOT:?the project}/test/e2e/lib/tap.sh"
. "$SOURCE_ROOT/test/e2e/lib/search.sh"
server=${SEARCH_SERVER:-opensearch:2.19.6}
kind=${server%:*} version=${server#*:}
proxy='' W=$T/server
trap '[ -z "$proxy" ] || kill "$proxy" 2>/dev/null; search_stop "$W"' EXIT
search_wanted "$server"
chmod a+x "$T"
SEARCH_HEAP=512m search_start "$kind" "$version" "$W" || { echo "# $SEARCH_WHY"; false; }
claim "a server starts"
U=$SEARCH_URL
sleep 100000 > >(exec python3 "$SOURCE_ROOT/test/harness/search_proxy.py" "${U#http://}" "$W/rule" >"$W/proxy" 2>"$W/proxy.log") &
proxy=$!
await 60 test -s "$W/proxy"
X=http://127.0.0.1:$(cat "$W/proxy")
web PUT /orders '{"settings":{"number_of_shards":1,"number_of_replicas":0}}' >/dev/null
for i in 1 2 3; do web PUT "/orders/_doc/$i?refresh=true" '{"x":1}' >/dev/null; done
snapshots() { # names, in their order
  web GET /_snapshot/mine/_all | python3 -c 'import json, sys; print(*sorted(x["snapshot"] for x in json.load(sys.stdin)["snapshots"]), sep="\n")'
}
foreign() { # NAME METADATA
  web PUT "/_snapshot/mine/$1?wait_for_completion=true" "{\"indices\":\"orders\",\"include_global_state\":false,\"metadata\":$2}" >/dev/null
}
notes() { find "$T/cache" -path '*/claims/*' -type f | wc -l; }
snapshot="repository: mine, register: { type: fs, location: $W/repo/mine }"
config proofkeep.yaml "$U" "indices: [orders]" 'method: snapshot' "snapshot: { $snapshot }"
config held.yaml "$X" "indices: [orders]" 'method: snapshot' "snapshot: { $snapshot }"
config carried.yaml "$X" "indices: [orders]" 'method: snapshot' "snapshot: { $snapshot, carry: true }"
# killed CONFIG METHOD TEXT: a backup that is killed when it asks for that; its snapshot's name is in $left
killed() {
  local was pid
  was=$(snapshots)
  rm -f "$W/rule.held"
  echo "hold $2 $3" >"$W/rule"
  "$P" --config "$1" backup lab/s >killed 2>&1 </dev/null &
  pid=$!
  await 60 test -e "$W/rule.held"
  kill -9 $pid
  wait $pid 2>/dev/null
  rm -f "$W/rule"
  left=$(comm -13 <(echo "$was") <(snapshots))
}
pk init --repository main && pk backup lab/s && first=$(snapshots) && [ "$(echo "$first" | wc -l)" = 1 ] && [ "$(notes)" = 0 ]
claim "a backup that is over leaves its snapshot, which it needs, and no note"
foreign proofkeep-lab-s-20200101-000000z-00000000 '{}'
foreign proofkeep-lab-other-20200101-000000z-00000000 '{"proofkeep":{"surface":"lab/other","carried":false}}'
foreign proofkeep-lab-s-20200101-000000z-11111111 '{"proofkeep":{"surface":"lab/s","carried":false}}'
others=$(snapshots)
killed held.yaml GET /_status && [ -n "$left" ] && [ "$(notes)" = 1 ]
claim "one that is killed when its snapshot is made leaves it in the cluster, and a note of it"
pk backup lab/s && says "$left: a backup that was cut off had left it in the cluster's repository mine: it was removed" && [ "$(notes)" = 0 ] &&
  [ "$(snapshots)" = "$({ echo "$others"; shown 'v["facts"]["snapshot"]["name"]'; } | sort)" ]
claim "the next takes that one away: what a recovery point needs stays, and what nobody noted, whatever it is called and says"
others=$(snapshots)
printf '{"v":1,"surface":"lab/s","job":"%s","name":"mine/%s"}' "$(point lab/s)" "$(shown 'v["facts"]["snapshot"]["name"]')" >"$(find "$T/cache" -type d -name claims)/0123456789abcdef.json"
pk backup lab/s && ! says 'cut off' && [ "$(notes)" = 0 ] && [ "$(comm -23 <(echo "$others") <(snapshots))" = '' ]
claim "a note of a backup that is in the log, which died before it let go of it, ends, and the snapshot stays"
killed held.yaml PUT /_snapshot/mine/proofkeep-lab-s && [ -z "$left" ] && [ "$(notes)" = 1 ] && pk backup lab/s && ! says 'cut off' && [ "$(notes)" = 0 ]
claim "killed before it was made: there is nothing to take away, and the note goes"
others=$(snapshots)
killed held.yaml GET /_status && echo "hold DELETE $left" >"$W/rule" && rm -f "$W/rule.held"
"$P" --config held.yaml backup lab/s >holding 2>&1 </dev/null &
holding=$!
await 60 test -e "$W/rule.held" && pk backup lab/s && ! says 'cut off'
claim "what one run is about is not touched by another"
rm -f "$W/rule"
wait $holding && grep -q "$left: a backup that was cut off" holding && ! snapshots | grep -x -e "$left" >/dev/null && [ "$(notes)" = 0 ]
claim "it goes on to its end"
echo 'hold GET /_snapshot/mine' >"$W/rule" && rm -f "$W/rule.held"
"$P" --config held.yaml backup lab/s >holding 2>&1 </dev/null &
holding=$!
await 60 test -e "$W/rule.held" && kill -STOP $holding && killed held.yaml GET /_status && kill -CONT $holding && wait $holding && [ -n "$left" ] &&
  ! grep 'cut off' holding && snapshots | grep -x -e "$left" >/dev/null && pk backup lab/s && says "$left: a backup that was cut off"
claim "what died after a run had read the log, and may stand in it by now, is left to the next"
killed held.yaml GET /_status && foreign_note=$(find "$T/cache" -path '*/claims/*' -type f) &&
  sed -i 's/proofkeep-lab-s-[0-9a-z-]*/proofkeep-lab-other-20200101-000000z-00000000/' "$foreign_note" && pk backup lab/s &&
  says 'is not this surface.s: it stays' && snapshots | grep -x proofkeep-lab-other-20200101-000000z-00000000 >/dev/null && [ "$(notes)" = 0 ]
claim "a note is not believed against what a snapshot says of itself"
web DELETE "/_snapshot/mine/$left" >/dev/null
killed carried.yaml GET /_status && pk --config carried.yaml backup lab/s && says "$left: a backup that was cut off" && ! snapshots | grep -x -e "$left" >/dev/null
claim "what is carried is taken away in the same way"

# ---- a restore that is killed: nothing of how an index is while it is filled outlives the next run ----
settings() { # INDEX
  web GET "/$1/_settings?flat_settings=true" | python3 -c '
import json, sys
own = ("index.uuid", "index.creation_date", "index.provided_name", "index.version.")
(one,) = json.load(sys.stdin).values()
print(*sorted(f"{k}={v}" for k, v in one["settings"].items() if not k.startswith(own)), sep="\n")'
}
web PUT /orders/_settings '{"index.refresh_interval":"7s","index.translog.durability":"request"}' >/dev/null
config documents.yaml "$U" "indices: [orders]"
config through.yaml "$X" "indices: [orders]"
pk --config documents.yaml backup lab/s && made=orders-restored-$(shown 'v["facts"]["stamp"]') && before=$(settings orders) && echo "$before" | grep -qx index.refresh_interval=7s
claim "there is a backup by documents"
for at in '/_bulk -1 async' '/_flush -1 async' '/_aliases 7s request'; do
  read -r path refresh durability <<<"$at"
  rm -f "$W/rule.held"
  echo "hold POST $path" >"$W/rule"
  "$P" --config through.yaml restore lab/s@latest >killed 2>&1 </dev/null &
  pid=$!
  await 60 test -e "$W/rule.held"
  kill -9 $pid
  wait $pid 2>/dev/null
  rm -f "$W/rule"
  settings "$made" >left && grep -qx "index.refresh_interval=$refresh" left && grep -qx "index.translog.durability=$durability" left &&
    web GET "/$made/_alias" | grep -q proofkeep-restoring
  claim "killed at $path, a restore leaves an index that is marked"
  pk --config documents.yaml restore lab/s@latest --dry-run --json && pk --config documents.yaml restore --plan "$(result plan)" && same orders "$made" &&
    [ "$(settings "$made")" = "$before" ] && ! web GET "/$made/_alias" | grep -q proofkeep
  claim "the next run makes it whole, with the settings of the backup and no mark"
  web DELETE "/$made" >/dev/null
done

mkdir -p files && echo one >files/one && sed "/^surfaces:/a\\  a: { kind: files, class: truth, paths: [$T/files] }\\n  z: { kind: files, class: truth, paths: [$T/files] }" proofkeep.yaml >both.yaml
rung() { "$P" list "lab/$1" --json 2>/dev/null | python3 -c 'import json, sys; print(json.load(sys.stdin)["points"][-1].get("verified"))'; }
pk backup lab/s && pk --config both.yaml backup lab/a && pk --config both.yaml backup lab/z && search_stop "$W"
claim "there are two more surfaces, and the cluster is stopped"
pk --config both.yaml verify lab/a,s,z --level checksum
[ $? = 3 ] && says '^error PK-VER-003: ' && says '1 recovery point could not be verified' && says 'lab/s: NOT VERIFIED: ' && says '2 other recovery points checked' && ! pk --config both.yaml verify lab/a,s,z --level checksum --json &&
  [ "$(result result) $(result snapshots) $(result unverified.0.surface) $(result unverified.0.code)" = 'INCOMPLETE 2 lab/s PK-NET-002' ]
claim "a verification goes on to the others, and names that one as not verified: status 3"
[ "$(rung a) $(rung z) $(rung s)" = 'checksum checksum None' ] || [ "$(rung a) $(rung z) $(rung s)" = 'checksum checksum none' ] || { echo "# $(rung a) $(rung z) $(rung s)"; false; }
claim "the others have their results in the log, and it has none"
fails 7 PK-NET-002 --config both.yaml verify lab/s@latest --level present
claim "where nothing could be verified, the reason is the error"
pack=$(find "$T/repo/packs/d" -type f -size +0 | xargs ls -t | head -n 1) && flip "$pack" 300
pk --config both.yaml verify --all --level checksum
[ $? = 4 ] && says '^error PK-VER-001: ' && says 'lab/s: NOT VERIFIED: '
claim "damage goes before that: status 4"
finish
