# What the end-to-end tests of archive classes share. To be sourced after s3.sh.
#   looks N          an object is back after so many looks (moto's, which knows no hours)
#   planned FIELD    of the plan that the last run printed with --json
moto() { # BODY: after how many looks an object is back
  python3 - "$S3_ENDPOINT" "$1" <<'PY'
import sys, urllib.request
r = urllib.request.Request(sys.argv[1] + "/moto-api/state-manager/set-transition", data=sys.argv[2].encode(),
                           headers={"Content-Type": "application/json"}, method="POST")
urllib.request.urlopen(r).read()
PY
}
looks() { moto "{\"model_name\": \"s3::keyrestore\", \"transition\": {\"progression\": \"manual\", \"times\": $1}}"; }
planned() { # FIELD…: of the plan of a run with --json
  python3 - "$T/out" "$1" <<'PY'
import json, sys
for line in open(sys.argv[1]):
    v = json.loads(line)
    if v["type"] == "plan":
        for k in sys.argv[2].split("."):
            v = v[k]
        print(v)
PY
}
