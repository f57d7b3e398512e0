# A tree of files with everything that a file system can say of one: the truth that the stores could be rebuilt from.
. "$here/tree.sh"
tree=$work/artifacts

artifacts_missing() { :; }
artifacts_start() {
  tree_make "$tree"
  echo "TREE_XATTR=$TREE_XATTR TREE_ACL=$TREE_ACL" >"$work/tree.has"
}
artifacts_describe() {
  . "$work/tree.has"
  printf '%s files in %s folders, %s; xattrs: %s, ACLs: %s\n' "$(find "$tree" ! -type d -print0 | tr -cd '\0' | wc -c)" \
    "$(find "$tree" -type d -print0 | tr -cd '\0' | wc -c)" "$(du -sh "$tree" | cut -f1)" $TREE_XATTR $TREE_ACL
}
artifacts_config() {
  cat <<YAML
    kind: files
    class: truth
    paths: [$tree]
YAML
}
artifacts_target() { echo "$tree"; }
artifacts_freeze() { :; }
artifacts_resume() { :; }
artifacts_facts() { tree_facts "$tree" "$1/tree"; }
artifacts_wipe() {
  rm -rf "$tree"
  [ ! -e "$tree" ] || give_up 'the tree was not wiped'
  echo "$ ls ${tree#"$work"/}"
  ls "$tree" 2>&1 | sed "s|$work/||" || :
}
artifacts_evidence() {
  . "$work/tree.has"
  (cd "$tree" && sha256sum --quiet --strict -c "$work/before/tree/sha256")
  evidence $? artifacts 'contents of every file' 'sha256sum -c' "$(wc -l <before/tree/sha256) files"
  cmp before/tree/names after/tree/names
  evidence $? artifacts 'names, nothing more or less' 'find -print0, cmp' "$(tr -cd '\0' <after/tree/names | wc -c) names"
  cmp before/tree/metadata after/tree/metadata
  evidence $? artifacts 'types, modes, owners, times' 'find -printf, cmp' 'to the nanosecond'
  cmp 'before/tree/link counts' 'after/tree/link counts' && cmp 'before/tree/link groups' 'after/tree/link groups'
  evidence $? artifacts 'hard links' 'find -links, stat' "$(wc -l <'after/tree/link groups') groups of names"
  [ "$(cat 'after/tree/sparse blocks')" -le "$(cat 'before/tree/sparse blocks')" ]
  evidence $? artifacts 'sparse file' 'stat: blocks of 256 MiB' "$(cat 'before/tree/sparse blocks') before, $(cat 'after/tree/sparse blocks') after"
  if [ $TREE_XATTR = yes ]; then
    [ -s before/tree/xattrs ] && diff before/tree/xattrs after/tree/xattrs
    evidence $? artifacts 'extended attributes' 'getfattr, diff' "$(grep -c '^user' after/tree/xattrs) attributes"
  else no_evidence artifacts 'extended attributes' 'getfattr, diff' 'this file system has none'; fi
  if [ $TREE_ACL = yes ]; then
    grep -q '^user:1:r' before/tree/acls && diff before/tree/acls after/tree/acls
    evidence $? artifacts 'access control lists' 'getfacl, diff' 'all'
  else no_evidence artifacts 'access control lists' 'getfacl, diff' 'this file system has none'; fi
}
artifacts_counts() {
  printf '{"entries": %s, "files": %s}\n' "$(tr -cd '\0' <after/tree/metadata | wc -c)" "$(wc -l <after/tree/sha256)"
}
artifacts_stop() { :; }
