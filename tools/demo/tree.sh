# Fills the folder $1 with files as real trees have them. To be sourced by bash; the folder must be there and be empty.
# Sets TREE_XATTR to "yes", or to "no" where the file system refuses extended attributes, and TREE_ACL likewise.
tree_make() {
  local t=$1 i
  mkdir -p "$t"/{raw/scans,processed/tiles,catalog/notes,empty/"very empty","odd names"} || return 1

  # Three thousand small files that do not compress, and some larger ones that do.
  head -c 12M /dev/urandom | (cd "$t/raw/scans" && split -b 4096 -a 4 -d - scan-) || return 1
  seq 1 400000 >"$t/processed/points.csv"
  seq 1 40000 | (cd "$t/processed/tiles" && split -l 100 -a 3 -d --additional-suffix=.tsv - tile-) || return 1
  head -c 5000000 /dev/urandom >"$t/processed/model.bin"
  for i in {1..200}; do printf '{"sheet": %d, "title": "Survey of the river, sheet %d", "year": %d}\n' "$i" "$i" $((1800 + i)) >"$t/catalog/sheet-$i.json"; done
  : >"$t/catalog/empty file"

  # Hard links, symbolic links (one leads nowhere), a pipe, modes and old times.
  ln "$t/processed/points.csv" "$t/catalog/points (the same file).csv"
  ln "$t/processed/points.csv" "$t/processed/tiles/points.csv"
  ln "$t/raw/scans/scan-0007" "$t/raw/scan seven"
  ln -s ../processed/points.csv "$t/catalog/latest"
  ln -s /nowhere/at/all "$t/catalog/dangling"
  mkfifo "$t/catalog/pipe"
  chmod 0400 "$t/catalog/sheet-1.json"
  chmod 2750 "$t/processed"
  touch -d '1994-05-06 07:08:09.123456789Z' "$t/catalog/sheet-2.json" "$t/empty"

  # 256 MiB in which three places hold something; the rest is a hole.
  truncate -s 256M "$t/processed/sparse.img"
  for i in 0 100 255; do dd if="$t/processed/model.bin" of="$t/processed/sparse.img" bs=64K count=1 seek=$((i * 16)) conv=notrunc status=none; done

  # Names that scripts trip over: a newline, a byte that is not UTF-8, a leading dash, quotes, blanks, a backslash.
  printf 'newline\n' >"$t/odd names/two"$'\n'"lines"
  printf 'latin-1\n' >"$t/odd names/caf"$'\xe9'
  printf 'dash\n' >"$t/odd names/-rf"
  printf 'quotes\n' >"$t/odd names/it's \"quoted\" \$(true) *"
  printf 'blanks\n' >"$t/odd names/ blanks  "
  printf 'backslash\n' >"$t/odd names/back\\slash"
  printf 'unicode\n' >"$t/odd names/Карта 東京 🗺"
  printf 'long\n' >"$t/odd names/$(printf 'x%.0s' {1..240})"

  TREE_XATTR=no TREE_ACL=no
  if setfattr -n user.origin -v 'scanner 3' "$t/raw/scans/scan-0001" 2>/dev/null; then
    setfattr -n user.checksum -v 0x00ff10 "$t/catalog"
    setfattr -n user.origin -v 'hand' "$t/odd names/caf"$'\xe9'
    TREE_XATTR=yes
  fi
  if setfacl -m u:daemon:r "$t/catalog/sheet-3.json" 2>/dev/null; then
    setfacl -d -m g:daemon:rx "$t/raw"
    TREE_ACL=yes
  fi
  if [ "$(id -u)" = 0 ]; then chown daemon:daemon "$t/catalog/sheet-4.json" && chown -h daemon "$t/catalog/latest"; fi
}

# What stock tools say of the tree $1, in one file each in the folder $2.
tree_facts() {
  local t=$1 out
  mkdir -p "$2" && out=$(realpath "$2") || return 1
  (
    cd "$t" || exit 1
    find . -type f -print0 | LC_ALL=C sort -z | xargs -0 sha256sum >"$out/sha256"
    find . -print0 | LC_ALL=C sort -z >"$out/names"
    # Type, mode, owner, size, time to the nanosecond, target of a link. A folder's size is the file system's affair.
    find . -type d -printf '%p %y %m %U %G %T@\0' -o -printf '%p %y %m %U %G %s %T@ %l\0' | LC_ALL=C sort -z >"$out/metadata"
    find . ! -type d -links +1 -printf '%n %p\0' | LC_ALL=C sort -z >"$out/link counts"
    # Which names are one file: the groups, without the numbers that name them.
    find . ! -type d -links +1 -printf '%i %p\n' | LC_ALL=C sort | awk '{ i = $1; sub(/^[0-9]+ /, ""); g[i] = g[i] "|" $0 } END { for (i in g) print g[i] }' |
      LC_ALL=C sort >"$out/link groups"
    xargs -0 getfattr -h -d -m '^user\.' -e hex -- <"$out/names" 2>/dev/null >"$out/xattrs" || :
    find . ! -type l -print0 | LC_ALL=C sort -z | xargs -0 getfacl -n -- 2>/dev/null >"$out/acls" || :
    stat -c '%b' processed/sparse.img >"$out/sparse blocks"
  )
}
