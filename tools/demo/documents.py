#!/usr/bin/env python3
"""The demonstration's documents, by the search engine's own REST interface.
documents.py fill URL     makes them
documents.py facts URL    what the server itself says of them: one line a fact, "name|value"
documents.py counts URL   a JSON object
documents.py wipe URL     takes them away, with all that describes them
"""
import hashlib
import json
import sys
import urllib.error
import urllib.request

INDICES = ("letters", "visits-2025-01", "visits-2025-02")
DEFINITIONS = ("_ingest/pipeline/stamp", "_component_template/visits", "_index_template/visits", "_template/old")
# How an index came to be, and not what it is: an index that was put in the place of another is a clone. 1 is what a partition size is anyway.
MADE = ("index.uuid", "index.creation_date", "index.provided_name", "index.version.", "index.resize.", "index.routing.allocation.initial_recovery.",
        "index.routing_partition_size")
WORDS = "river survey sheet county ridge plate harbour northern edition boundary Straße façade Łódź 東京".split()


def main():
    verb, url = sys.argv[1:]

    def ask(method, path, body=None, kind="application/json"):
        if body is not None and not isinstance(body, str):
            body = json.dumps(body)
        data = body.encode() if body is not None else None
        request = urllib.request.Request(f"{url}/{path}", data=data, method=method, headers={"content-type": kind})
        # Numbers stay as they are written: 1.10 is not 1.1 here.
        return json.loads(urllib.request.urlopen(request, timeout=60).read(), parse_float=str)

    def fill(index, lines):
        answer = ask("POST", f"{index}/_bulk?refresh=true", "".join(line + "\n" for line in lines), "application/x-ndjson")
        assert not answer["errors"], str(answer)[:500]

    def documents(index):
        answer = ask("POST", f"{index}/_search?scroll=1m", {"size": 2000, "sort": ["_doc"]})
        while answer["hits"]["hits"]:
            for hit in answer["hits"]["hits"]:
                yield json.dumps([hit["_id"], hit.get("_routing"), hit["_source"]], ensure_ascii=False)
            answer = ask("POST", "_search/scroll", {"scroll": "1m", "scroll_id": answer["_scroll_id"]})
        ask("DELETE", "_search/scroll", {"scroll_id": answer["_scroll_id"]})

    def said(what):
        return json.dumps(what, sort_keys=True, ensure_ascii=False)

    if verb == "fill":
        ask("PUT", "_ingest/pipeline/stamp", {"description": "the archive's", "processors": []})
        ask("PUT", "_component_template/visits", {"template": {"settings": {"number_of_shards": 1, "number_of_replicas": 0}}})
        ask("PUT", "_index_template/visits", {"index_patterns": ["visits-*"], "composed_of": ["visits"], "priority": 500, "template": {
            "aliases": {"visits": {}}, "mappings": {"properties": {"at": {"type": "date"}, "page": {"type": "keyword"}, "ms": {"type": "integer"}}}}})
        ask("PUT", "_template/old", {"index_patterns": ["old-*"], "order": 1, "settings": {"number_of_shards": 1}})
        properties = {"title": {"type": "text"}, "status": {"type": "keyword"}, "price": {"type": "double"}, "at": {"type": "geo_point"}, "n": {"type": "integer"}}
        ask("PUT", "letters", {"settings": {"number_of_shards": 2, "number_of_replicas": 0, "refresh_interval": "7s"},
                               "mappings": {"dynamic": "strict", "properties": properties},
                               "aliases": {"catalogue": {}, "catalogue-paid": {"filter": {"term": {"status": "paid"}}}}})
        fill("letters", (line for i in range(6000) for line in (
            json.dumps({"index": {"_id": f"letter {i}", **({"routing": f"box {i % 7}"} if i % 5 == 0 else {})}}),
            '{"n": %d, "title": "%s", "status": "%s", "price": %d.10, "at": {"lat": %d, "lon": %d}}' % (
                i, " ".join(WORDS[(i * 5 + k * k) % len(WORDS)] for k in range(9)), ("new", "paid", "sent")[i % 3], i, i % 90, i % 180))))
        for month in (1, 2):
            fill(f"visits-2025-0{month}", (line for i in range(4000) for line in (
                json.dumps({"index": {"_id": str(i)}}),
                json.dumps({"at": f"2025-0{month}-{1 + i % 28:02}T12:00:00Z", "page": f"/sheet/{i % 400}", "ms": i * 31 % 997}))))
    elif verb == "facts":
        for index in INDICES:
            try:
                ask("POST", f"{index}/_refresh")
            except urllib.error.HTTPError as e:
                print(f"documents {index}|{e.code}")
                continue
            rows = sorted(documents(index))
            print(f"documents {index}|{ask('GET', f'{index}/_count')['count']}, sha256 {hashlib.sha256(chr(10).join(rows).encode()).hexdigest()}")
            settings = ask("GET", f"{index}/_settings?flat_settings=true")[index]["settings"]
            print(f"settings {index}|" + said({k: v for k, v in settings.items() if v is not None and not k.startswith(MADE)}))
            print(f"mapping {index}|" + said({k: v for k, v in ask("GET", f"{index}/_mapping")[index]["mappings"].items() if v != {}}))
            print(f"aliases {index}|" + said(ask("GET", f"{index}/_alias")[index]["aliases"]))
        for path in DEFINITIONS:
            try:
                print(f"definition {path}|" + said(ask("GET", path)))
            except urllib.error.HTTPError as e:
                print(f"definition {path}|{e.code}")
        facet = {"size": 0, "track_total_hits": True, "query": {"match": {"title": "harbour"}}, "aggs": {
            "by": {"terms": {"field": "status"}, "aggs": {"sum": {"sum": {"field": "price"}}}}}}
        answer = ask("POST", "catalogue/_search", facet)
        print(f"search harbour|{answer['hits']['total']['value']} letters found, " + said(answer["aggregations"]))
        answer = ask("POST", "visits/_search", {"size": 0, "track_total_hits": True, "aggs": {"by": {"date_histogram": {"field": "at", "calendar_interval": "day"}}}})
        print(f"search visits by day|{answer['hits']['total']['value']} visits, " + said(answer["aggregations"]))
    elif verb == "counts":
        found = {index: ask("GET", f"{index}/_count")["count"] for index in INDICES}
        print(json.dumps({"indices": found, "documents": sum(found.values())}))
    else:
        for path in (",".join(INDICES), "_index_template/visits", "_component_template/visits", "_template/old", "_ingest/pipeline/stamp"):
            ask("DELETE", path)


main()
