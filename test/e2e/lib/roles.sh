# Roles on the bucket `backups`, each with a user of its own. To be sourced after s3.sh, with a running server.
#   role_make S3-OPTIONS NAME...   the users, and $T/NAME.yaml with these options of the bucket besides, whose keys are $T/NAME.key
#   as ROLE ARGUMENT...            the program on that role's host
#   denied ACTION ROLE ARGUMENT... the same with the administrator's key is refused this action
#   one_policy <POLICIES           the statements of several, as one policy
#   packed                         bytes of the packs that there are
#   strangers                      puts objects where no role has any, for may
#   may ROLE                       whether its user may get (g), list (l), put (p) and delete (d) just what it should
export PYTHONDONTWRITEBYTECODE=1
role_make() {
  local options=$1 name
  shift
  for name in "$@"; do
    s3_user "$name" "$name-secret" "$T/server" || { echo 'Bail out! no users' && exit 1; }
    (umask 077 && printf '[default]\naws_access_key_id = %s\naws_secret_access_key = %s-secret\n' "$name" "$name" >"$T/$name.aws")
    cat >"$T/$name.yaml" <<YAML
version: 1
platform: test
secrets:
  k: { file: $T/$name.key }
repositories:
  main:
    url: s3://backups/team/a
    s3: { endpoint: $S3_ENDPOINT, credentials_file: $T/$name.aws, $options }
    encrypt: { key: k, kind: key_file }
surfaces:
  artifacts: { kind: files, class: truth, paths: [$T/tree] }
environments:
  lab:
    repository: main
    policy: { rpo: 24h, rto: 1h, retention: { keep: { last: 1 }, min_copies: 1 } }
YAML
  done
}
as() {
  local role=$1
  shift
  pk "$@" --config "$T/$role.yaml" --cache-dir "$T/cache-$role"
}
denied() {
  local action=$1 role=$2
  shift 2
  fails 1 PK-S3-007 "$@" --config "$T/$role.yaml" --key-file "$T/admin.key" --cache-dir "$T/cache-x$role" && says "$action"
}
one_policy() {
  python3 -c '
import json, sys
d, text, all = json.JSONDecoder(), sys.stdin.read().strip(), []
while text:
    one, at = d.raw_decode(text)
    all += one["Statement"]
    text = text[at:].strip()
print(json.dumps({"Version": "2012-10-17", "Statement": all}))'
}
packed() { s3 ls backups team/a/packs/ | awk '{ n += $2 } END { print n }'; }
strangers() {
  local place
  for place in summary sess probe other; do echo x | s3 put backups team/a/$place/x; done
}
may() {
  case $1 in
  writer)
    printf '%s\n' 'format gl' 'checkpoint glp' 'keys gl' 'log glp' 'tile glp' 'summary gl' \
      'index glp' 'sess glp' 'packs/d lp' 'packs/m lp' 'probe l' 'other l'
    ;;
  restore)
    printf '%s\n' 'format gl' 'checkpoint gl' 'keys gl' 'log glp' 'tile gl' 'summary gl' \
      'index gl' 'sess l' 'packs/d gl' 'packs/m gl' 'probe l' 'other l'
    ;;
  prune)
    printf '%s\n' 'format gl' 'checkpoint glp' 'keys gl' 'log glp' 'tile glpd' 'summary gl' \
      'index glpd' 'sess ld' 'packs/d ld' 'packs/m ld' 'probe l' 'other l'
    ;;
  admin)
    printf '%s\n' 'format glp' 'checkpoint glp' 'keys glpd' 'log glp' 'tile glpd' 'summary glpd' \
      'index glpd' 'sess glpd' 'packs/d glpd' 'packs/m glpd' 'probe glpd' 'other l'
    ;;
  esac >"$T/wanted"
  S3_ACCESS=$1 S3_SECRET=$1-secret s3_calls matrix backups team/a/ >"$T/calls"
  diff "$T/wanted" "$T/calls" >"$T/err"
}
