#!/usr/bin/env python3
"""Fills a search cluster for tests. Usage: search_fill.py URL"""
import base64
import json
import random
import sys
import urllib.request

U = sys.argv[1]


def ask(method, path, body=None, lines=False):
    if body is not None and not isinstance(body, str):
        body = json.dumps(body)
    kind = "application/x-ndjson" if lines else "application/json"
    q = urllib.request.Request(U + path, data=body.encode() if body is not None else None, method=method, headers={"content-type": kind})
    return json.load(urllib.request.urlopen(q, timeout=120))


def bulk(index, docs):
    out = []
    for i, d, *r in docs:
        out.append(json.dumps({"index": {"_id": i, **({"routing": r[0]} if r else {})}}, ensure_ascii=False))
        out.append(d if isinstance(d, str) else json.dumps(d))
    a = ask("POST", f"/{index}/_bulk?refresh=true", "\n".join(out) + "\n", True)
    assert not a["errors"], json.dumps(a)[:800]


ask("PUT", "/_ingest/pipeline/stamp", {"description": "d", "processors": []})
ask("PUT", "/_component_template/base", {"template": {"settings": {"number_of_shards": 1}}})
ask("PUT", "/_index_template/logs", {"index_patterns": ["logs-*"], "composed_of": ["base"], "priority": 500,
                                     "template": {"aliases": {"all-logs": {}}}})
ask("PUT", "/_template/old", {"index_patterns": ["old-*"], "order": 1, "settings": {"number_of_shards": 1}})
properties = {"n": {"type": "integer"}, "t": {"type": "text"}, "status": {"type": "keyword"}, "price": {"type": "double"}}
ask("PUT", "/orders", {"settings": {"number_of_shards": 2, "number_of_replicas": 0, "refresh_interval": "7s"},
                       "mappings": {"dynamic": "strict", "properties": properties},
                       "aliases": {"orders-live": {}, "orders-paid": {"filter": {"term": {"status": "paid"}}}}})
bulk("orders", [(f"o-{i}", '{"n": %d, "t":"hello doc %d", "status":"%s","price":%d.10}' % (i, i, ["new", "paid", "sent"][i % 3], i))
                for i in range(3000)])
# As it was typed: line breaks, numbers in forms of their own, quotes and brackets in text.
ask("PUT", "/orders/_doc/pretty?refresh=true", '{\n  "n" : 7,\r\n  "price" : 1.00e2,\n  "t" : "line\\nbreak \\"quoted\\" {[}"\n}')
bulk("orders", [("schl\u00fcssel/ \" \\", {"n": 1})])
ask("PUT", "/logs-a", {"settings": {"number_of_shards": 1, "default_pipeline": "stamp"},
                       "mappings": {"properties": {"big": {"type": "object", "enabled": False}}}})
bulk("logs-a", [(f"{i}", {"msg": "x" * (i % 50), "big": 12345678901234567890 if i == 3 else 1}) for i in range(700)])
ask("PUT", "/family", {"settings": {"number_of_shards": 3}, "mappings": {"_routing": {"required": True}}})
bulk("family", [("p1", {"v": 0}, "k1"), ("c1", {"v": 5}, "k \"1"), ("same", {"v": 1}, "a"), ("same", {"v": 2}, "b"), ("same", {"v": 3}, "f")])
ask("PUT", "/empty", {})
random.seed(7)
ask("PUT", "/wide", {"settings": {"number_of_shards": 2, "number_of_replicas": 0}, "mappings": {"enabled": False}})
for k in range(4):
    bulk("wide", [(f"w{k * 50 + i}", {"t": base64.b64encode(random.randbytes(70000)).decode()}) for i in range(50)])
ask("PUT", "/wide/_doc/huge?refresh=true", {"t": base64.b64encode(random.randbytes(3 << 20)).decode()})
