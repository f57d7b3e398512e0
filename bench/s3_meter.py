#!/usr/bin/env python3
"""A proxy before an S3 server that counts what passes and makes it late, the same for whoever asks. It listens on 127.0.0.1 and
prints its port. Each line of its standard input is an order, answered by a line; it ends with its input.
  s3_meter.py HOST:PORT [LOG]

With LOG every request is a line there: seconds, method, path, range. Orders:
  late MS   from now on a connection takes MS to be made, and each request MS to come through
  count     what passed since the last count: requests by kind, bytes up and down, PUTs of log entries once more (`entries`), as JSON"""

import json, socket, sys, threading, time

PIECE = 1 << 18
late, lock, log = 0.0, threading.Lock(), None
counts = {"up": 0, "down": 0}


def add(kind, n):
    with lock:
        counts[kind] = counts.get(kind, 0) + n


def header(head, name):
    at = head.lower().find(b"\r\n" + name + b":")
    return head[at + len(name) + 3: head.index(b"\r\n", at + 2)].strip() if at >= 0 else None


def kind(line):
    method, target = line.split(b" ")[:2]
    _, _, query = target.partition(b"?")
    names = {q.partition(b"=")[0] for q in query.split(b"&")}
    return "LIST" if method == b"GET" and (b"prefix" in names or b"list-type" in names or b"uploads" in names) else method.decode()


class Up:
    """Requests, one after the other, as they come from a client."""

    def __init__(self, client, server):
        self.client, self.server, self.rest = client, server, b""

    def more(self):
        part = self.client.recv(PIECE)
        if not part:
            raise EOFError
        return part

    def head(self):
        while (end := self.rest.find(b"\r\n\r\n")) < 0:
            self.rest += self.more()
        head, self.rest = self.rest[:end + 4], self.rest[end + 4:]
        return head

    def body(self, n):
        while n > 0:
            part = self.rest or self.more()
            self.rest, part = part[n:], part[:n]
            n -= len(part)
            self.send(part)

    def chunked(self):
        while True:
            while b"\r\n" not in self.rest:
                self.rest += self.more()
            line, _, self.rest = self.rest.partition(b"\r\n")
            self.send(line + b"\r\n")
            n = int(line.split(b";")[0], 16)
            self.body(n + 2)
            if n == 0:
                return

    def send(self, part):
        self.server.sendall(part)
        add("up", len(part))

    def run(self):
        while True:
            head = self.head()
            line = head[:head.index(b"\r\n")]
            add(kind(line), 1)
            if line.startswith(b"PUT ") and b"/log/" in line:
                add("entries", 1)
            if log:
                print(f"{time.monotonic():.3f} {line[:-9].decode()} {(header(head, b'range') or b'').decode()}", file=log, flush=True)
            if late:
                time.sleep(late)
            self.send(head)
            if (header(head, b"transfer-encoding") or b"").lower() == b"chunked":
                self.chunked()
            else:
                self.body(int(header(head, b"content-length") or 0))


def end(*socks):
    for s in socks:
        try:
            s.shutdown(socket.SHUT_RDWR)
        except OSError:
            pass


def down(client, server):
    buf = bytearray(PIECE)
    try:
        while n := server.recv_into(buf):
            client.sendall(memoryview(buf)[:n])
            add("down", n)
    except OSError:
        pass
    end(client, server)


def serve(client, target):
    if late:
        time.sleep(late)
    try:
        with client, socket.create_connection(target) as server:
            add("connections", 1)
            for s in (client, server):
                s.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            back = threading.Thread(target=down, args=(client, server), daemon=True)
            back.start()
            try:
                Up(client, server).run()
            except (OSError, EOFError):
                end(client, server)
            back.join()
    except OSError:
        client.close()


def accept(listener, target):
    while True:
        sock, _ = listener.accept()
        threading.Thread(target=serve, args=(sock, target), daemon=True).start()


def main():
    global late, counts, log
    log = open(sys.argv[2], "a") if len(sys.argv) > 2 else None
    sys.setswitchinterval(0.0005)
    host, _, port = sys.argv[1].partition(":")
    listener = socket.create_server(("127.0.0.1", 0), backlog=256)
    print(listener.getsockname()[1], flush=True)
    threading.Thread(target=accept, args=(listener, (host, int(port))), daemon=True).start()
    for line in sys.stdin:
        order, _, value = line.strip().partition(" ")
        answer = {}
        if order == "late":
            late = float(value) / 1000
        elif order == "count":
            with lock:
                answer, counts = counts, {"up": 0, "down": 0}
        print(json.dumps(answer), flush=True)


main()
