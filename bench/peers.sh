#!/bin/sh
# Installs the peers into $1 from their registries: bupstash and rustic by cargo, restic and kopia by go, borg by pip.
# A peer that cannot be had is left out, with a word; the benchmark then says so.
set -u
dir=$1
mkdir -p "$dir/bin"
say() { echo "peers: $*" >&2; }
[ -x "$dir/bin/bupstash" ] || cargo install bupstash --version 0.12.0 --locked --root "$dir" >"$dir/bupstash.log" 2>&1 || say "bupstash could not be built: $dir/bupstash.log"
[ -x "$dir/bin/rustic" ] || cargo install rustic-rs --version 0.11.4 --locked --root "$dir" >"$dir/rustic.log" 2>&1 || say "rustic could not be built: $dir/rustic.log"
go_build() { # name module@version package
    [ -x "$dir/bin/$1" ] && return
    src=$(go mod download -json "$2" 2>"$dir/$1.log" | sed -n 's/^\t"Dir": "\(.*\)",$/\1/p')
    [ -n "$src" ] || { say "$1 could not be had: $dir/$1.log"; return; }
    rm -rf "$dir/$1-src"; cp -r "$src" "$dir/$1-src"; chmod -R u+w "$dir/$1-src"
    (cd "$dir/$1-src" && go build -o "$dir/bin/$1" "$3") >>"$dir/$1.log" 2>&1 || say "$1 could not be built: $dir/$1.log"
}
go_build restic github.com/restic/restic@v0.18.1 ./cmd/restic
go_build kopia github.com/kopia/kopia@v0.22.3 .
[ -x "$dir/borg/bin/borg" ] || { /usr/bin/python3 -m venv "$dir/borg" && "$dir/borg/bin/pip" -q install borgbackup==1.4.5; } >"$dir/borg.log" 2>&1 || say "borg could not be installed (it needs libacl1-dev liblz4-dev libxxhash-dev python3-dev): $dir/borg.log"
