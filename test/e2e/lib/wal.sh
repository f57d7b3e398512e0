# WAL by hand, for tests without a server. To be sourced after tap.sh.
# segment FILE TIMELINE NUMBER [FILL] [SYSTEM]: 1 MiB, as a server of version 15 has them
segment() {
  python3 - "$@" <<'PY'
import random, struct, sys
path, timeline, number = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
fill = int(sys.argv[4]) if len(sys.argv) > 4 else 7
system = int(sys.argv[5]) if len(sys.argv) > 5 else 7351234567890123456
size = 1 << 20
b = bytearray(random.Random(timeline << 40 | number << 8 | fill).randbytes(4096) * 256)
struct.pack_into("<HHIQIIQII", b, 0, 0xD110, 2, timeline, number * size, 0, 0, system, size, 8192)
open(path, "wb").write(b)
PY
}
name() { printf '%08X%08X%08X' "$1" 0 "$2"; }
