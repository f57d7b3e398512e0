"""The tree that the benchmarks back up."""

import subprocess
from pathlib import Path

from data import Text, mixed_append
from engines import stored


def tree_make(place):
    """At least 3 GB in at least 80,000 files, copied from this machine's /usr; what is short is made up of text and noise."""
    tree = place / "tree"
    if tree.exists():
        return tree
    tree.mkdir(parents=True)
    size = 0
    for part in ["lib", "share", "include", "bin", "local"]:
        for entry in sorted(Path("/usr", part).iterdir()):
            if entry.is_symlink() or not entry.is_dir() or size > 3_600_000_000:
                continue
            copy = tree / f"{part}-{entry.name}"
            subprocess.run(["cp", "-a", str(entry), str(copy)], check=False, stderr=subprocess.DEVNULL)
            size += stored(copy)
    text, files = Text(1, 64_000_000), sum(1 for p in tree.rglob("*") if p.is_file())
    for n in range(max(0, 80_000 - files)):
        d = tree / "made" / str(n // 500)
        d.mkdir(parents=True, exist_ok=True)
        (d / f"{n}.txt").write_bytes(text.row(300, 9000))
    if (short := 3_000_000_000 - stored(tree)) > 0:
        mixed_append(tree / "big", text, short, 0.5)
    return tree


def warm(tree):
    subprocess.run(f"find {tree} -type f -print0 | xargs -0 cat >/dev/null", shell=True, check=True)
