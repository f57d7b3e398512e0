#!/usr/bin/env python3
"""An independent reader of change sets (doc/format/change-set.md): checks digest, shape and counts, and prints for each table
how many rows of each kind there are. Standard library only."""
import base64
import hashlib
import json
import sys


def fail(why):
    sys.exit(f"change set: {why}")


def check_value(value):
    if value is None or isinstance(value, str):
        return
    if not (isinstance(value, dict) and list(value) == ["base64"]):
        fail(f"no value: {value!r}")
    base64.b64decode(value["base64"], validate=True)


def main(path):
    digest, tables, counts, rows, ended = hashlib.sha256(), [], {}, 0, False
    with open(path, "rb") as f:
        for number, line in enumerate(f, 1):
            if ended or not line.endswith(b"\n"):
                fail(f"line {number} stands behind the end, or is cut off")
            j = json.loads(line)
            if number == 1:
                if (j["line"], j["format"], j["version"]) != ("head", "proofkeep change set", 1):
                    fail("no head")
            elif j["line"] == "table":
                assert rows == 0 and set(j["key"]) <= {c["name"] for c in j["columns"]}, "a table"
                tables.append(j)
            elif j["line"] == "row":
                t, kind = tables[j["table"]], j["is"]
                assert kind in ("deleted", "changed", "added"), kind
                assert (j["then"] is None) == (kind == "added") and (j["now"] is None) == (kind == "deleted")
                names = [c["name"] for c in t["columns"]]
                for values in filter(None, (j["then"], j["now"])):
                    assert len(values) == len(names), "too few values"
                    for v in values:
                        check_value(v)
                known = j["then"] or j["now"]
                assert sorted(map(str, j["key"])) == sorted(str(known[names.index(k)]) for k in t["key"]), "a key"
                counts[t["table"], kind] = counts.get((t["table"], kind), 0) + 1
                rows += 1
            elif j["line"] == "end":
                ended = True
                if j["sha256"] != digest.hexdigest() or j["rows"] != rows:
                    fail("it is not what its end says")
            else:
                fail(f"line {number} is unknown")
            digest.update(line)
    if not ended:
        fail("it has no end")
    for (table, kind), n in counts.items():
        print(table, kind, n)


main(sys.argv[1])
