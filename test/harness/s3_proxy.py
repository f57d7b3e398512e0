#!/usr/bin/env python3
"""A proxy that harms HTTP on its way, by seed. It listens on 127.0.0.1, prints its port, and runs until its standard input
ends. It understands just enough HTTP to know where a request and an answer end.

  s3_proxy.py HOST:PORT [--seed N] [--rate PERCENT] [--stall SECONDS] [--latency MS] [--victim FILE]

Faults, each drawn with the request's number from the seed:
  refuse     the connection is reset before anything is passed on
  half       the request is passed on in part, then the connection is reset
  lost       the request is carried out and its answer is thrown away
  cut        the answer's body ends early
  storm      this and the next few requests are answered 503 SlowDown
  error      500, and the request is not passed on
  stall      nothing is sent for --stall seconds, then the connection is closed
  silent     half-open: the request is carried out, its answer does not come, or ends anywhere, and the connection stays open
  late       the answer comes after a while
Besides, with a percentage of their own,
  flip       one bit of the request's body, or else of the range of an object that is answered, is another
PUT /.proxy/SEED/PERCENT[/PERCENT of flips] begins anew; GET /.proxy answers how many faults there were.

PUT /.kill/N/HOW counts requests anew; at the Nth (0: none) the process whose id --victim holds is killed: `before` the request is
passed on, with `half` of its body passed on, or `after` it was carried out. GET /.kill answers how many requests there were.

PUT /.gate/N/TEXT closes a gate: GETs whose path has TEXT wait before it until N of them do, and then it stays open; one that waited ten
seconds goes on alone. GET /.gate answers how many waited at once at most, so that it says whether requests overlap, however fast they are."""
import argparse
import hashlib
import os
import random
import signal
import socket
import struct
import sys
import threading
import time

KINDS = ["refuse", "half", "lost", "cut", "storm", "error", "stall", "silent", "late"]


class State:
    def __init__(self, seed, rate):
        self.lock = threading.Lock()
        self.begin(seed, rate)
        self.count, self.kill_at, self.how = 0, 0, ""
        self.gate, self.gate_text, self.waiting, self.most = 0, b"", 0, 0
        self.opened = threading.Condition(self.lock)

    def pass_gate(self, path):
        with self.lock:
            if not self.gate or self.gate_text not in path:
                return
            self.waiting += 1
            self.most = max(self.most, self.waiting)
            if self.waiting >= self.gate:
                self.gate = 0
                self.opened.notify_all()
            self.opened.wait_for(lambda: not self.gate, timeout=10)
            self.waiting -= 1

    def kill_now(self):
        with self.lock:
            self.count += 1
            return self.how if self.count == self.kill_at else ""

    def begin(self, seed, rate, flips=0):
        self.seed, self.rate, self.flips, self.number, self.storm, self.faults = seed, rate, flips, 0, 0, 0

    def harmed(self):
        with self.lock:
            self.faults += 1

    def draw(self):
        with self.lock:
            self.number += 1
            dice = random.Random(int.from_bytes(hashlib.sha256(f"{self.seed}/{self.number}".encode()).digest()[:8], "big"))
            if self.storm > 0:
                self.storm -= 1
                self.faults += 1
                return "error503", dice
            if dice.uniform(0, 100) < self.flips:
                return "flip", dice
            if dice.uniform(0, 100) >= self.rate:
                return None, dice
            kind = dice.choice(KINDS)
            self.faults += 1
            if kind == "storm":
                self.storm = dice.randint(1, 4)
                return "error503", dice
            return kind, dice


class Ended(Exception):
    pass


class Stream:
    def __init__(self, sock):
        self.sock, self.rest = sock, b""

    def fill(self):
        more = self.sock.recv(1 << 16)
        if not more:
            raise Ended
        self.rest += more

    def head(self):
        while b"\r\n\r\n" not in self.rest:
            self.fill()
        head, _, self.rest = self.rest.partition(b"\r\n\r\n")
        return head + b"\r\n\r\n"

    def body(self, n):
        while n > 0:
            if not self.rest:
                self.fill()
            part, self.rest = self.rest[:n], self.rest[n:]
            n -= len(part)
            yield part

    def chunked(self):
        while True:
            while b"\r\n" not in self.rest:
                self.fill()
            line, _, self.rest = self.rest.partition(b"\r\n")
            yield line + b"\r\n"
            n = int(line.split(b";")[0], 16) + 2
            yield from self.body(n)
            if n == 2:
                return


def header(head, name):
    for line in head.split(b"\r\n")[1:]:
        key, _, value = line.partition(b":")
        if key.strip().lower() == name:
            return value.strip()
    return None


def reset(sock):
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    sock.close()


def hold(sock):
    """Until it is closed or reset at the other end."""
    while sock.recv(1 << 16):
        pass
    return False


def gone(sock, first):
    first()
    reset(sock)


def flipped(parts, at):
    for part in parts:
        if 0 <= at < len(part):
            part = part[:at] + bytes([part[at] ^ 1]) + part[at + 1 :]
        at -= len(part)
        yield part


def answer(sock, status, code):
    body = f"<?xml version='1.0'?><Error><Code>{code}</Code><Message>by the proxy</Message></Error>".encode()
    sock.sendall(f"HTTP/1.1 {status}\r\nContent-Type: application/xml\r\nContent-Length: {len(body)}\r\n\r\n".encode() + body)


def one(client, client_sock, state, args):
    """One request and its answer. False when the connection is of no more use."""
    head = client.head()
    words = head.split(b"\r\n")[0].split(b" ")
    method, path = words[0], words[1]
    length = int(header(head, b"content-length") or 0)
    if path.startswith(b"/.proxy"):
        with state.lock:
            parts = path.decode().split("/")
            if len(parts) > 3:
                state.begin(int(parts[2]), *map(float, parts[3:]))
            text = str(state.faults).encode()
        client_sock.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s" % (len(text), text))
        return True
    if path.startswith(b"/.kill"):
        with state.lock:
            parts = path.decode().split("/")
            text = str(state.count).encode()
            if len(parts) > 3:
                state.count, state.kill_at, state.how = 0, int(parts[2]), parts[3]
        client_sock.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s" % (len(text), text))
        return True
    if path.startswith(b"/.gate"):
        with state.lock:
            parts = path.decode().split("/", 3)
            if len(parts) > 3:
                state.gate, state.gate_text, state.most = int(parts[2]), parts[3].encode(), 0
            text = str(state.most).encode()
        client_sock.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s" % (len(text), text))
        return True
    if method == b"GET":
        state.pass_gate(path)
    fault, dice = state.draw()
    how = state.kill_now()
    if how:
        fault = {"before": "refuse", "half": "half" if length else "refuse", "after": "lost"}[how]
    if not how:
        return passed(client, client_sock, state, args, head, method, path, length, fault, dice)
    # Its connections stay open until it is dead, so that it learns nothing.
    return passed(client, client_sock, state, args, head, method, path, length, fault, dice, lambda: victim_kill(args))


def victim_kill(args):
    with open(args.victim) as f:
        os.kill(int(f.read()), signal.SIGKILL)


def passed(client, client_sock, state, args, head, method, path, length, fault, dice, first=lambda: None):
    if args.latency:
        time.sleep(args.latency / 1000)
    if fault == "refuse":
        return gone(client_sock, first)
    if fault in ("error503", "error"):
        for _ in client.body(length):
            pass
        if fault == "error":
            answer(client_sock, "500 Internal Server Error", "InternalError")
        else:
            answer(client_sock, "503 Slow Down", "SlowDown")
        return True
    if fault == "stall":
        time.sleep(args.stall)
        return gone(client_sock, first)
    server_sock = socket.create_connection(args.target, timeout=60)
    try:
        server = Stream(server_sock)
        # One request a connection to the server: what is left half done there dies with it.
        lines = [l for l in head[:-4].split(b"\r\n") if not l.lower().startswith(b"connection:")]
        server_sock.sendall(b"\r\n".join(lines) + b"\r\nConnection: close\r\n\r\n")
        sent, most = 0, dice.randint(0, max(length - 1, 0))
        body = client.body(length)
        if fault == "flip" and length:
            state.harmed()
        for part in flipped(body, most) if fault == "flip" and length else body:
            if fault == "half" and sent + len(part) > most:
                server_sock.sendall(part[: most - sent])
                return gone(client_sock, first)
            server_sock.sendall(part)
            sent += len(part)
        if fault == "half":
            return gone(client_sock, first)
        reply = server.head()
        if fault == "late":
            time.sleep(dice.uniform(0.05, 0.4))
        status = int(reply.split(b" ")[1])
        bare = method == b"HEAD" or status in (204, 304)
        size = header(reply, b"content-length")
        if bare:
            parts = iter(())
        elif size is not None:
            parts = server.body(int(size))
        elif (header(reply, b"transfer-encoding") or b"").lower() == b"chunked":
            parts = server.chunked()
        else:
            parts = None
        if fault == "flip" and not length and parts is not None and header(head, b"range") and status == 206:
            state.harmed()
            parts = flipped(parts, dice.randint(0, max(int(size or 1) - 1, 0)))
        if fault == "lost":
            for _ in parts or ():
                pass
            return gone(client_sock, first)
        if fault == "silent" and (bare or size == b"0" or dice.random() < 0.5):
            return hold(client_sock)
        lines = [l for l in reply[:-4].split(b"\r\n") if not l.lower().startswith(b"connection:")]
        client_sock.sendall(b"\r\n".join(lines) + (b"\r\nConnection: close\r\n\r\n" if parts is None else b"\r\n\r\n"))
        left = dice.randint(0, max(int(size or 64) - 1, 0))
        try:
            while parts is None:
                server.fill()
                client_sock.sendall(server.rest)
                server.rest = b""
        except Ended:
            return False
        for part in parts:
            if fault in ("cut", "silent") and len(part) > left:
                client_sock.sendall(part[:left])
                return hold(client_sock) if fault == "silent" else False
            left -= len(part)
            client_sock.sendall(part)
        return fault != "cut"
    finally:
        server_sock.close()


def serve(sock, state, args):
    client = Stream(sock)
    try:
        while one(client, sock, state, args):
            pass
    except (OSError, Ended, ValueError):
        pass
    try:
        sock.close()
    except OSError:
        pass


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("target")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--rate", type=float, default=0)
    parser.add_argument("--stall", type=float, default=3)
    parser.add_argument("--latency", type=float, default=0)
    parser.add_argument("--victim")
    args = parser.parse_args()
    host, _, port = args.target.partition(":")
    args.target = (host, int(port))
    state = State(args.seed, args.rate)
    listener = socket.socket()
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    listener.bind(("127.0.0.1", 0))
    listener.listen(128)
    print(listener.getsockname()[1], flush=True)

    def accept():
        while True:
            sock, _ = listener.accept()
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            threading.Thread(target=serve, args=(sock, state, args), daemon=True).start()

    threading.Thread(target=accept, daemon=True).start()
    sys.stdin.read()


if __name__ == "__main__":
    main()
