#!/usr/bin/env python3
"""An independent reader of an online export of Neo4j, written from doc/format/neo4j.md: graph.py NODES RELATIONSHIPS SCHEMA, the
contents of the three items. Refuses what is not in its one form, and prints the invariants as JSON. Standard library only."""
import json
import struct
import sys

U64 = (1 << 64) - 1
K = [0x243f6a8885a308d3, 0x13198a2e03707344, 0xa4093822299f31d0, 0x082efa98ec4e6c89, 0x452821e638d01377, 0xbe5466cf34e90c6c,
     0xc0ac29b7c97c50dd, 0x3f84d5b5b5470917]
MEMBERS = {"D": "i", "T": "ii", "t": "i", "I": "iii", "i": "iit", "d": "ii", "E": "iiii", "X": "iff", "Y": "ifff"}


def need(holds, why):
    if not holds:
        sys.exit(f"graph: {why}")


def fold(x, y):
    m = x * y
    return (m & U64) ^ (m >> 64)


def mix(data):
    a, b = K[0], K[1]
    padded = data + b"\0" * (-len(data) % 16)
    for x, y in struct.iter_unpack("<QQ", padded):
        a, b = fold(a ^ x, y ^ K[2]), fold(b ^ y, x ^ K[3])
    return fold(a ^ len(data) ^ K[4], b ^ K[5]), fold(a ^ K[6], b ^ len(data) ^ K[7])


class Sum:
    def __init__(self):
        self.count = self.sum = 0

    def add(self, h):
        self.count += 1
        self.sum = (self.sum + (h[1] << 64 | h[0])) & ((1 << 128) - 1)

    def into(self, out, name):
        out[name], out[name + "/digest"] = self.count, f"{self.sum:032x}"


class Values:
    """PackStream, in the shortest form only."""

    def __init__(self, data):
        self.data, self.at = data, 0

    def take(self, n):
        need(self.at + n <= len(self.data), "a value ends early")
        self.at += n
        return self.data[self.at - n:self.at]

    def sized(self, m, tiny, wide, what):
        if tiny and m & 0xf0 == tiny:
            return m & 15
        width = {wide: 1, wide + 1: 2, wide + 2: 4}.get(m)
        need(width, f"no {what} begins with {m:02x}")
        n = int.from_bytes(self.take(width), "big")
        need(n >= {1: 16 if tiny else 0, 2: 256, 4: 65536}[width], f"the length of a {what} could be shorter")
        return n

    def integer(self):
        m = self.take(1)[0]
        if m < 0x80 or m >= 0xf0:
            return m if m < 0x80 else m - 256
        need(0xc8 <= m <= 0xcb, f"no integer begins with {m:02x}")
        width = 1 << m - 0xc8
        v = int.from_bytes(self.take(width), "big", signed=True)
        need(not -(1 << 4 * width - 1 if width > 1 else 1 << 4) <= v < (1 << 4 * width - 1 if width > 1 else 1 << 7),
             f"the integer {v} could be shorter")
        return v

    def text(self):
        return self.take(self.sized(self.take(1)[0], 0x80, 0xd0, "text")).decode()

    def float(self):
        need(self.take(1) == b"\xc1", "a float is none")
        return struct.unpack(">d", self.take(8))[0]

    def property(self, in_list=False):
        m = self.data[self.at]
        if m in (0xc2, 0xc3):
            return self.take(1) == b"\xc3"
        if m == 0xc1:
            return self.float()
        if m < 0x80 or m >= 0xf0 or 0xc8 <= m <= 0xcb:
            return self.integer()
        if m & 0xf0 == 0x80 or 0xd0 <= m <= 0xd2:
            return self.text()
        if 0xcc <= m <= 0xce:
            return self.take(self.sized(self.take(1)[0], 0, 0xcc, "run of bytes"))
        if m & 0xf0 == 0xb0:
            tag = chr(self.take(2)[1])
            need(MEMBERS.get(tag) is not None and len(MEMBERS[tag]) == m & 15, f"a structure {tag} with {m & 15} members")
            return (tag, *({"i": self.integer, "f": self.float, "t": self.text}[k]() for k in MEMBERS[tag]))
        need(not in_list, "a list of lists")
        return [self.property(True) for _ in range(self.sized(self.take(1)[0], 0x90, 0xd4, "list"))]

    def names(self):
        names = [self.text() for _ in range(self.sized(self.take(1)[0], 0x90, 0xd4, "list"))]
        need(names == sorted(set(names), key=str.encode), f"labels out of order: {names}")
        return names

    def properties(self):
        n = self.sized(self.take(1)[0], 0xa0, 0xd8, "map")
        out = {}
        for _ in range(n):
            key = self.text()
            out[key] = self.property()
        need(len(out) == n and list(out) == sorted(out, key=str.encode), f"keys out of order: {list(out)}")
        return out


def records(path):
    data, at = open(path, "rb").read(), 0
    while at < len(data):
        n = shift = 0
        while True:
            n |= (data[at] & 0x7f) << shift
            shift += 7
            at += 1
            if data[at - 1] < 0x80:
                break
        need(at + n <= len(data), "a record ends early")
        yield Values(data[at:at + n])
        at += n


def shown(name):
    return "".join(f"%{b:02X}" if b < 0x20 or b in b"%\x7f" else chr(b) for b in name.encode()) if name.isascii() else name


def main():
    out, nodes, relationships, stands = {"unlabelled": 0}, Sum(), Sum(), {}
    labels, types = {}, {}
    for r in records(sys.argv[1]):
        number, from_ = r.integer(), r.at
        names = r.names()
        r.properties()
        need(r.at == len(r.data) and number not in stands, f"node {number}")
        h = mix(r.data[from_:])
        stands[number] = h[0] or 1
        nodes.add(h)
        out["unlabelled"] += not names
        for name in names:
            labels.setdefault(name, Sum()).add(h)
    for r in records(sys.argv[2]):
        r.integer()
        start, end = r.integer(), r.integer()
        need(start in stands and end in stands, "a relationship of a node that is not there")
        from_ = r.at
        kind = r.text()
        r.properties()
        need(r.at == len(r.data), "a relationship goes on")
        h = mix(struct.pack("<QQ", stands[start], stands[end]) + r.data[from_:])
        relationships.add(h)
        types.setdefault(kind, Sum()).add(h)
    nodes.into(out, "nodes")
    relationships.into(out, "relationships")
    for kind, sums in (("label", labels), ("type", types)):
        for name, s in sums.items():
            s.into(out, f"{kind}/{shown(name)}")
    schema = json.load(open(sys.argv[3]))
    of = [s for s in schema["constraints"] + schema["indexes"] if s["kind"] != "LOOKUP"]
    total = Sum()
    for s in of:
        total.add(mix(s["statement"].encode()))
    out["schema/constraints"], out["schema/indexes"] = len(schema["constraints"]), total.count - len(schema["constraints"])
    out["schema/digest"] = f"{total.sum:032x}"
    print(json.dumps(out))


if __name__ == "__main__":
    main()
