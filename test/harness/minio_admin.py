#!/usr/bin/env python3
"""MinIO's own users, policies and quotas, through its admin API; needs python's module cryptography. Endpoint and root's keys
are in S3_ENDPOINT, S3_ACCESS, S3_SECRET and S3_REGION, as for s3_client.py.

  minio_admin.py user NAME SECRET    make a user who may nothing
  minio_admin.py policy NAME         the user's own policy, from standard input, in place of the one before
  minio_admin.py quota BUCKET BYTES  a hard quota; 0 takes it away
"""
import hashlib
import json
import os
import sys

from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from s3_client import ask, need

FRAGMENT = 1 << 14


def seal(text):
    """How secrets are sent: a key from root's secret, and the text in fragments under it."""
    salt, nonce = os.urandom(32), os.urandom(8)
    key = AESGCM(hashlib.pbkdf2_hmac("sha256", os.environ["S3_SECRET"].encode(), salt, 8192, 32))

    def numbered(i):
        return nonce + i.to_bytes(4, "little")

    mark = key.encrypt(numbered(0), b"", b"")
    out, at, i = salt + b"\x02" + nonce, 0, 1
    while True:
        last = at + FRAGMENT >= len(text)
        out += key.encrypt(numbered(i), text[at : at + FRAGMENT], (b"\x80" if last else b"\x00") + mark)
        at, i = at + FRAGMENT, i + 1
        if last:
            return out


def admin(method, verb, query, body):
    return need(ask(method, "minio/admin/v3/" + verb, query=query, body=body))


def main(verb, name, *rest):
    if verb == "user":
        body = seal(json.dumps({"secretKey": rest[0], "status": "enabled"}).encode())
        admin("PUT", "add-user", {"accessKey": name}, body)
    elif verb == "policy":
        admin("PUT", "add-canned-policy", {"name": name}, sys.stdin.buffer.read())
        admin("PUT", "set-user-or-group-policy", {"policyName": name, "userOrGroup": name, "isGroup": "false"}, b"")
    elif verb == "quota":
        body = json.dumps({"quota": int(rest[0]), "quotatype": "hard"}).encode()
        admin("PUT", "set-bucket-quota", {"bucket": name}, body)
    else:
        sys.exit(__doc__)


if __name__ == "__main__":
    if len(sys.argv) < 3:
        sys.exit(__doc__)
    main(*sys.argv[1:])
