#!/bin/bash
# `make install` with DESTDIR: what is put where, and that it works from there.
. "${SOURCE_ROOT:?the project}/test/e2e/lib/tap.sh"
build=$(dirname "$(realpath "$P")")
# Everything is built; a test builds nothing beside others.
make -s -C "$SOURCE_ROOT" install BUILD="$build" NINJA=true DESTDIR="$T/staged" >out 2>err
claim 'make install needs no more than a build and a DESTDIR'
prefix=$(find staged -type d -name bin | head -n 1) && prefix=${prefix%/bin}
[ "$(cd "$prefix" && find . -type f | LC_ALL=C sort | tr '\n' ' ')" = './bin/proofkeep ./share/bash-completion/completions/proofkeep.bash ./share/fish/vendor_completions.d/proofkeep.fish ./share/man/man1/proofkeep.1 ./share/zsh/site-functions/_proofkeep ' ]
claim 'it puts the program, its manual page and the completions of three shells there, and nothing else'
cmp "$prefix/share/man/man1/proofkeep.1" "$SOURCE_ROOT/doc/proofkeep.1" >out && "$P" --completions bash | cmp - "$prefix/share/bash-completion/completions/proofkeep.bash" >out
claim 'which are those of this version'
mkdir tree && echo kept >tree/file && P=$T/$prefix/bin/proofkeep && pk init -r "$T/repo" --key-file "$T/key" && pk backup -r "$T/repo" --key-file "$T/key" --files "$T/tree" && pk restore -r "$T/repo" --key-file "$T/key" local/files@latest --into "$T/back" && diff -r tree back
claim 'the program works from there'
[ "$(find staged -not -user "$(id -un)" -o -perm /022 -not -type l | wc -l)" = 0 ]
claim 'nothing of it may be written by others'
finish
