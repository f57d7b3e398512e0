#!/usr/bin/env python3
"""A server on 127.0.0.1 that gives every request one answer, for what real servers here cannot be brought to say. It prints
its port and runs until its standard input ends.

  s3_says.py STATUS CODE [MESSAGE] [--header NAME=VALUE]... [--tls CERTIFICATE KEY]

CODE and MESSAGE are put into S3's XML; with CODE '-', MESSAGE is the whole body, as text."""
import argparse
import http.server
import os
import ssl
import sys
import threading

p = argparse.ArgumentParser()
p.add_argument("status", type=int)
p.add_argument("code")
p.add_argument("message", nargs="?", default="")
p.add_argument("--header", action="append", default=[])
p.add_argument("--tls", nargs=2)
a = p.parse_args()
xml = f"<?xml version='1.0' encoding='UTF-8'?><Error><Code>{a.code}</Code><Message>{a.message}</Message></Error>"
body = (a.message if a.code == "-" else xml).encode()


class Answer(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def answer(self):
        self.rfile.read(int(self.headers.get("content-length", 0)))
        given = dict(h.split("=", 1) for h in a.header)
        self.send_response_only(a.status)
        for name, value in {"Date": self.date_time_string(), **given}.items():
            self.send_header(name, value)
        self.send_header("Content-Type", "text/plain" if a.code == "-" else "application/xml")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    do_GET = do_PUT = do_HEAD = do_POST = do_DELETE = answer

    def log_message(self, *_):
        pass


server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Answer)
if a.tls:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(*a.tls)
    server.socket = context.wrap_socket(server.socket, server_side=True)
print(server.server_port, flush=True)
threading.Thread(target=server.serve_forever, daemon=True).start()
sys.stdin.read()
os._exit(0)
