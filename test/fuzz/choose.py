#!/usr/bin/env python3
"""After `make fuzz`: takes over into the project's corpora those inputs of build-fuzz/corpus that reach most code which the
project's do not, at most MAX a target and none for fewer than GAIN edges: choose.py [NAME...]."""

import hashlib
import subprocess
import sys
import tempfile
from pathlib import Path

MAX, GAIN, BYTES_MAX = 12, 2, 4096
ROOT = Path(__file__).resolve().parents[2]
BUILT = ROOT / "build-fuzz"


def edges(target, folders):
    """The edges that each input reaches, by libFuzzer's own record of a merge."""
    with tempfile.TemporaryDirectory() as nowhere:
        record = Path(nowhere, "record")
        Path(nowhere, "merged").mkdir()
        subprocess.run([target, "-set_cover_merge=1", f"-merge_control_file={record}", f"{nowhere}/merged", *folders], check=True, capture_output=True)
        lines = record.read_text().splitlines()
    names = lines[2 : 2 + int(lines[0])]
    reached = {name: set() for name in names}
    for line in lines[2 + len(names) :]:
        kind, number, *rest = line.split()
        if kind == "FT":  # a feature is an edge and one of eight ranges of how often it was passed
            reached[names[int(number)]].update(int(f) // 8 for f in rest)
    return reached


for target in sorted((BUILT / "test/fuzz").glob("fuzz_*")):
    name = target.name.removeprefix("fuzz_")
    if not target.is_file() or (sys.argv[1:] and name not in sys.argv[1:]):
        continue
    ours, found = ROOT / "test/fuzz/corpus" / name, BUILT / "corpus" / name
    reached = edges(target, [ours, found])
    known = set().union(*(e for p, e in reached.items() if Path(p).parent == ours))
    before, taken = len(known), 0
    while taken < MAX:
        size = {p: Path(p).stat().st_size for p in reached}
        best = max((p for p in reached if size[p] <= BYTES_MAX), key=lambda p: (len(reached[p] - known), -size[p]))
        if len(reached[best] - known) < GAIN:
            break
        data = Path(best).read_bytes()
        (ours / f"found-{hashlib.sha256(data).hexdigest()[:12]}").write_bytes(data)
        known |= reached[best]
        taken += 1
    print(f"{name}: {taken} inputs taken, {before} edges before, {len(known)} now, {len(set().union(*reached.values()))} known")
