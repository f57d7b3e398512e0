#!/usr/bin/env python3
"""A proxy before a search cluster that harms what passes, as the file RULE says at each request.

Usage: search_proxy.py HOST:PORT RULE [CERTIFICATE KEY]    prints its own port; ends when its standard input does. With a certificate
(PEM files) it is asked over TLS.

Rules, one a file; N counts pages of documents, or bulk requests, since the rule was written:
  page N timed_out | shards | error | cut | lose | twice | write INDEX   harms the N-th page
  page N busy                                the N-th page finds no room in the cluster's heap
  page N gone INDEX                          an index is deleted before the N-th page is asked for
  page N forget                              all that the cluster keeps frozen is dropped before it
  freeze write INDEX                         a document is written to INDEX before each point in time or scroll is opened
  pit shards                                 a point in time is opened on all shards but one
  bulk N later | busy | refuse | drop        half of the items, or the whole, is put off; one is refused; one is lost in silence
  auth HEADER                                what does not come with this Authorization gets 401
  fake PATH JSON                             this path is answered so
  hold METHOD TEXT                           a request whose path has TEXT makes RULE.held, and waits there until the rule is another; of the dead it goes no further
  policies INDEX                             ISM's and ILM's policies are kept here, by the rules of their interfaces; ISM has INDEX in hand
  count                                      nothing is harmed; requests are counted in RULE.count
"""
import http.client
import http.server
import json
import os
import select
import ssl
import sys
import threading
import time

host, rule_file = sys.argv[1], sys.argv[2]
state = {"rule": None, "pages": 0, "bulks": 0, "open": 0, "most": 0}
lock = threading.Lock()


def rule():
    try:
        text = open(rule_file).read().strip()
        mark = (text, os.stat(rule_file).st_mtime_ns)
    except OSError:
        text, mark = "", None
    with lock:
        if state["rule"] != mark:
            state.update(rule=mark, pages=0, bulks=0)
    return text.split(" ") if text else [""]


def ask(method, path, body, headers):
    c = http.client.HTTPConnection(host, timeout=300)
    c.request(method, path, body, headers)
    r = c.getresponse()
    return r.status, r.read(), r.getheaders()


def write_to(index):
    ask("POST", f"/{index}/_doc?refresh=true", b'{"late":"x"}', {"content-type": "application/json"})


def harm_page(what, status, answer):
    if what == "busy":
        return 429, b'{"error":{"root_cause":[{"type":"circuit_breaking_exception","reason":"[parent] Data too large"}]},"status":429}'
    if what == "error":
        return 500, b'{"error":{"type":"exception","reason":"harmed"},"status":500}'
    j = json.loads(answer)
    if what == "timed_out":
        j["timed_out"] = True
    elif what == "shards":
        j["_shards"]["failed"] += 1
    elif what == "lose" and j["hits"]["hits"]:
        del j["hits"]["hits"][0]
    elif what == "twice" and len(j["hits"]["hits"]) > 1:
        j["hits"]["hits"][0] = dict(j["hits"]["hits"][1])
    return status, json.dumps(j).encode()


def harm_bulk(what, path, body, headers):
    lines = body.decode().split("\n")[:-1]
    docs = [lines[i:i + 2] for i in range(0, len(lines), 2)]
    verb = next(iter(json.loads(docs[0][0])))
    if what == "busy":
        return 429, b'{"error":{"type":"es_rejected_execution_exception","reason":"full"},"status":429}', []
    sent = docs[: len(docs) // 2] if what == "later" else docs[1:]
    # A request may be of one document, and none is none to send.
    status, answer, h = 200, b'{"errors":false,"items":[]}', [("content-type", "application/json")]
    if sent:
        status, answer, h = ask("POST", path, ("\n".join("\n".join(d) for d in sent) + "\n").encode(), headers)
    j = json.loads(answer)
    if what == "later":
        j["errors"] = True
        j["items"] += [{verb: {"status": 429, "error": {"type": "es_rejected_execution_exception"}}}] * (len(docs) - len(sent))
    elif what == "refuse":
        j["errors"] = True
        j["items"].insert(0, {verb: {"status": 400, "error": {"type": "mapper_parsing_exception", "reason": "private payload"}}})
    else:
        j["items"].insert(0, {verb: {"status": 201}})
    return status, json.dumps(j).encode(), h


def policies(method, path, query, body, managed):
    """An answer for what is about policies, or None: as the plug-ins answer, which the small distributions do not have."""
    kept = state.setdefault("policies", {})
    name = path.rsplit("/", 1)[1]
    if path == "/_plugins/_ism/explain":
        return 200, {managed: {"index.plugins.index_state_management.policy_id": "roll"}, "total_managed_indices": 1}
    ism, ilm = path.startswith("/_plugins/_ism/policies"), path.startswith("/_ilm/policy")
    if not ism and not ilm:
        return None
    def shown(n):
        seq, p = kept[n]
        if ilm:
            return {"version": seq, "modified_date": "2026-01-01T00:00:00.000Z", "policy": p, "in_use_by": {"indices": []}}
        p = {**p, "policy_id": n, "last_updated_time": 1700000000000 + seq, "schema_version": 21}
        for t in p.get("ism_template") or []:
            t["last_updated_time"] = 1700000000000 + seq
        return {"_id": n, "_seq_no": seq, "_primary_term": 1, "policy": p}
    if method == "GET" and name in ("policies", "policy"):
        return 200, {"policies": [shown(n) for n in kept], "total_policies": len(kept)} if ism else {n: shown(n) for n in kept}
    if name not in kept and method == "GET":
        return 404, {"error": {"type": "status_exception", "reason": "Policy not found"}, "status": 404}
    if method == "GET":
        return 200, shown(name) if ism else {name: shown(name)}
    if ism and name in kept and query != f"if_seq_no={kept[name][0]}&if_primary_term=1":
        return 409, {"error": {"type": "version_conflict_engine_exception", "reason": "document already exists"}, "status": 409}
    kept[name] = kept.get(name, [0])[0] + 1, json.loads(body)["policy"]
    return 200, {"acknowledged": True}


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *a):
        pass

    def give(self, status, answer, headers=()):
        self.send_response_only(status)
        for k, v in headers:
            if k.lower() in ("content-type", "x-elastic-product"):
                self.send_header(k, v)
        self.send_header("content-length", str(len(answer)))
        self.end_headers()
        self.wfile.write(answer)

    def handle_any(self):
        body = self.rfile.read(int(self.headers.get("content-length", 0)))
        headers = {k: v for k, v in self.headers.items() if k.lower() in ("content-type", "authorization")}
        r = rule()
        path = self.path.split("?")[0]
        page = self.command == "POST" and (path.endswith("/_search/scroll") or (path.endswith("/_search") and b'"sort"' in body))
        bulk = path.endswith("/_bulk")
        freeze = path.endswith("/_pit") or path.endswith("/_search/point_in_time") or "scroll=" in self.path
        with lock:
            state["pages"] += page
            state["bulks"] += bulk
            pages, bulks = state["pages"], state["bulks"]
        if r[0] == "auth" and self.headers.get("authorization") != " ".join(r[1:]):
            return self.give(401, b'{"error":{"type":"security_exception","reason":"no"},"status":401}')
        if r[0] == "count":
            open(rule_file + ".count", "a").write(f"{self.command} {path} {len(body)}\n")
        if r[0] == "fake" and path == r[1]:
            return self.give(200, " ".join(r[2:]).encode(), [("content-type", "application/json")])
        if r[0] == "hold" and self.command == r[1] and r[2] in self.path:
            open(rule_file + ".held", "w").close()
            while rule() == r:
                time.sleep(0.05)
            if select.select([self.connection], [], [], 0)[0]:  # whoever asked is dead: it is as if it had never come
                self.close_connection = True
                return None
        if r[0] == "policies":
            answer = policies(self.command, path, (self.path + "?").split("?")[1], body, r[1])
            if answer:
                return self.give(answer[0], json.dumps(answer[1]).encode(), [("content-type", "application/json")])
        if r[0] == "freeze" and freeze and self.command == "POST":
            write_to(r[2])
        if r[0] == "bulk" and bulk and bulks == int(r[1]):
            return self.give(*harm_bulk(r[2], self.path, body, headers))
        if r[0] == "page" and page and pages == int(r[1]) and r[2] == "write":
            write_to(r[3])
        if r[0] == "page" and page and pages == int(r[1]) and r[2] == "gone":
            ask("DELETE", f"/{r[3]}", None, {})
        if r[0] == "page" and page and pages == int(r[1]) and r[2] == "forget":
            ask("DELETE", "/_search/point_in_time/_all", None, {})
            ask("DELETE", "/_search/scroll/_all", None, {})
        status, answer, h = ask(self.command, self.path, body, headers)
        if r[0] == "pit" and freeze and self.command == "POST" and "_search/point_in_time" in path:
            answer = answer.replace(b'"failed":0', b'"failed":1')
        if r[0] == "page" and page and pages == int(r[1]) and r[2] not in ("write", "gone", "forget"):
            if r[2] == "cut":
                self.send_response_only(status)
                self.send_header("content-length", str(len(answer)))
                self.end_headers()
                self.wfile.write(answer[: len(answer) // 2])
                self.close_connection = True
                return None
            status, answer = harm_page(r[2], status, answer)
        return self.give(status, answer, h)

    do_GET = do_POST = do_PUT = do_DELETE = do_HEAD = handle_any


class Server(http.server.ThreadingHTTPServer):
    daemon_threads = True


s = Server(("127.0.0.1", 0), Handler)
if len(sys.argv) > 3:
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    tls.load_cert_chain(sys.argv[3], sys.argv[4])
    s.socket = tls.wrap_socket(s.socket, server_side=True)
print(s.server_port, flush=True)
threading.Thread(target=s.serve_forever, daemon=True).start()
sys.stdin.read()
