#!/usr/bin/env python3
"""What credentials may do in a repository's bucket, found out by doing it, without the program. Endpoint and keys as for
s3_client.py.

  s3_calls.py matrix BUCKET PREFIX   a line a kind of object: which of get, list, put and delete are let through, as glpd
  s3_calls.py thief BUCKET PREFIX    every call that could harm the repository, and what the server says; see thief()
  s3_calls.py shorten BUCKET KEY     a line a way to end an object's lock sooner, or to weaken it, and what the server says
  s3_calls.py erase BUCKET KEY       the same, of ways to erase its versions
  s3_calls.py unlock BUCKET PREFIX   the same, of what the owner of a bucket with object lock can change in it
"""
import base64
import datetime
import hashlib
import os
import re
import sys

import s3_client
from s3_client import ask

PLACES = ["format", "checkpoint", "keys/", "log/", "tile/", "summary/", "index/", "sess/", "packs/d/", "packs/m/", "probe/", "other/"]


def said(answer):
    """Status, and the server's code."""
    status, _, body = answer
    code = re.search(rb"<Code>(.*?)</Code>", body)
    return f"{status}{' ' + code[1].decode() if code else ''}"


def allowed(answer):
    """Let through, whatever came of it."""
    return answer[0] not in (401, 403)


def listed(bucket, prefix):
    status, _, body = ask("GET", bucket, query={"list-type": "2", "prefix": prefix})
    return re.findall(r"<Key>(.*?)</Key>", body.decode()) if status == 200 else None


def matrix(bucket, prefix):
    for place in PLACES:
        name = prefix + place if not place.endswith("/") else prefix + place + "calls-" + os.urandom(4).hex()
        there = listed(bucket, prefix + place)
        letters = ""
        # Only what is there tells: some servers say 403 for what is not.
        target = (there or [name])[0]
        if there or not place.endswith("/"):
            letters += "g" if allowed(ask("GET", bucket, target)) else ""
        else:
            letters += "?"
        letters += "l" if there is not None else ""
        body = ask("GET", bucket, name)[2] if not place.endswith("/") else b"calls"
        letters += "p" if allowed(ask("PUT", bucket, name, body=body)) else ""
        letters += "d" if allowed(ask("DELETE", bucket, name)) else ""
        print(place.rstrip("/"), letters or "-")


def md5(body):
    return {"content-md5": base64.b64encode(hashlib.md5(body).digest()).decode()}


def thief(bucket, prefix):
    """A line a call: its name, a tab, status and code. What he reads goes to no output."""

    def tell(name, answer):
        print(f"{name}\t{said(answer)}", flush=True)
        return answer

    def first(place):
        names = listed(bucket, prefix + place)
        return names[-1] if names else prefix + place + "x"

    pack, entry, index, slot = first("packs/d/"), first("log/"), first("index/"), first("keys/")
    xmlns = "xmlns='http://s3.amazonaws.com/doc/2006-03-01/'"
    for what, key in (("pack", pack), ("entry", entry), ("index", index), ("slot", slot), ("format", prefix + "format")):
        tell(f"delete {what}", ask("DELETE", bucket, key))
    tell("get pack", ask("GET", bucket, pack))
    tell("head pack", ask("HEAD", bucket, pack))
    versions = tell("list versions", ask("GET", bucket, query={"versions": "", "prefix": prefix}))[2].decode()
    version = (re.findall(r"<VersionId>(.*?)</VersionId>", versions) or [os.environ.get("VERSION", "null")])[0]
    tell("delete version", ask("DELETE", bucket, pack, query={"versionId": version}))
    tell("delete version, bypass", ask("DELETE", bucket, pack, query={"versionId": version}, headers={"x-amz-bypass-governance-retention": "true"}))
    tell("get version", ask("GET", bucket, pack, query={"versionId": version}))
    body = f"<Delete {xmlns}><Object><Key>{pack}</Key></Object><Object><Key>{entry}</Key></Object></Delete>".encode()
    answer = ask("POST", bucket, query={"delete": ""}, body=body, headers=md5(body))
    # Some answer 200, and name in the body what they refused.
    print(f"batch delete\t{'200 deleted' if b'<Deleted>' in answer[2] else '403 refused' if answer[0] == 200 else said(answer)}", flush=True)
    for what, body, query in (
        ("acl", f"<AccessControlPolicy {xmlns}><Owner><ID>x</ID></Owner><AccessControlList></AccessControlList></AccessControlPolicy>", {"acl": ""}),
        ("policy", '{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Principal":"*","Action":["s3:*"],"Resource":["arn:aws:s3:::%s/*"]}]}' % bucket, {"policy": ""}),
        ("lifecycle", f"<LifecycleConfiguration {xmlns}><Rule><ID>x</ID><Status>Enabled</Status><Filter><Prefix></Prefix></Filter><Expiration><Days>1</Days></Expiration></Rule></LifecycleConfiguration>", {"lifecycle": ""}),
        ("versioning", f"<VersioningConfiguration {xmlns}><Status>Suspended</Status></VersioningConfiguration>", {"versioning": ""}),
        ("object lock", f"<ObjectLockConfiguration {xmlns}><ObjectLockEnabled>Enabled</ObjectLockEnabled></ObjectLockConfiguration>", {"object-lock": ""}),
        ("encryption", f"<ServerSideEncryptionConfiguration {xmlns}><Rule><ApplyServerSideEncryptionByDefault><SSEAlgorithm>AES256</SSEAlgorithm></ApplyServerSideEncryptionByDefault></Rule></ServerSideEncryptionConfiguration>", {"encryption": ""}),
        ("tagging", f"<Tagging {xmlns}><TagSet><Tag><Key>a</Key><Value>b</Value></Tag></TagSet></Tagging>", {"tagging": ""}),
    ):
        tell(f"put bucket {what}", ask("PUT", bucket, query=query, body=body.encode(), headers=md5(body.encode())))
    tell("delete bucket policy", ask("DELETE", bucket, query={"policy": ""}))
    tell("delete bucket", ask("DELETE", bucket))
    tell("get bucket policy", ask("GET", bucket, query={"policy": ""}))
    past = (datetime.datetime.now(datetime.timezone.utc) + datetime.timedelta(seconds=5)).strftime("%Y-%m-%dT%H:%M:%SZ")
    for what, query, body in (
        ("retention", {"retention": ""}, f"<Retention {xmlns}><Mode>GOVERNANCE</Mode><RetainUntilDate>{past}</RetainUntilDate></Retention>"),
        ("legal hold", {"legal-hold": ""}, f"<LegalHold {xmlns}><Status>OFF</Status></LegalHold>"),
        ("tags", {"tagging": ""}, f"<Tagging {xmlns}><TagSet><Tag><Key>a</Key><Value>b</Value></Tag></TagSet></Tagging>"),
    ):
        headers = {**md5(body.encode()), "x-amz-bypass-governance-retention": "true"}
        tell(f"put object {what}", ask("PUT", bucket, pack, query=query, body=body.encode(), headers=headers))
    for what, key in (("slot", slot), ("format", prefix + "format")):
        tell(f"overwrite {what}", ask("PUT", bucket, key, body=b"thief"))
    tell("store elsewhere", ask("PUT", bucket, "elsewhere/x", body=b"thief"))
    tell("list elsewhere", ask("GET", bucket, query={"list-type": "2", "prefix": ""}))
    tell("copy a pack to where he reads", ask("PUT", bucket, prefix + "sess/copy", headers={"x-amz-copy-source": f"/{bucket}/{pack}"}))
    uploads = tell("list uploads", ask("GET", bucket, query={"uploads": ""}))[2].decode()
    tell("begin an upload over a slot", ask("POST", bucket, slot, query={"uploads": ""}))
    theirs = os.environ.get("UPLOAD") or (re.findall(r"<UploadId>(.*?)</UploadId>", uploads) or ["x"])[0]
    tell("abort another's upload", ask("DELETE", bucket, os.environ.get("UPLOAD_KEY", pack), query={"uploadId": theirs}))
    # What a policy can refuse on AWS alone; elsewhere it becomes a version over the one that was there.
    tell("overwrite pack", ask("PUT", bucket, pack, body=b"thief" * 100))
    tell("overwrite index", ask("PUT", bucket, index, body=b"thief" * 100))
    tell("overwrite entry", ask("PUT", bucket, entry, body=b"thief" * 100))
    tell("overwrite checkpoint", ask("PUT", bucket, prefix + "checkpoint", body=b"thief"))
    tell("copy over a pack", ask("PUT", bucket, first("packs/m/"), headers={"x-amz-copy-source": f"/{bucket}/{prefix}format"}))


BYPASS = {"x-amz-bypass-governance-retention": "true"}


def shorten(bucket, key):
    soon = (datetime.datetime.now(datetime.timezone.utc) + datetime.timedelta(seconds=2)).strftime("%Y-%m-%dT%H:%M:%SZ")
    for mode in ("GOVERNANCE", "COMPLIANCE"):
        for name, extra in (("", {}), (", bypass", BYPASS)):
            body = f"<Retention xmlns='http://s3.amazonaws.com/doc/2006-03-01/'><Mode>{mode}</Mode><RetainUntilDate>{soon}</RetainUntilDate></Retention>".encode()
            print(f"{mode.lower()}{name}\t{said(ask('PUT', bucket, key, query={'retention': ''}, body=body, headers={**md5(body), **extra}))}")
    body = b"<Retention xmlns='http://s3.amazonaws.com/doc/2006-03-01/'></Retention>"
    print(f"none, bypass\t{said(ask('PUT', bucket, key, query={'retention': ''}, body=body, headers={**md5(body), **BYPASS}))}")


def erase(bucket, key):
    for _, version, _, _ in list(s3_client.versions(bucket, key)):
        for name, extra in (("erase", {}), ("erase, bypass", BYPASS)):
            print(f"{name}\t{said(ask('DELETE', bucket, key, query={'versionId': version}, headers=extra))}")


def unlock(bucket, prefix):
    xmlns = "xmlns='http://s3.amazonaws.com/doc/2006-03-01/'"
    for name, query, body in (
        ("suspend versioning", "versioning", f"<VersioningConfiguration {xmlns}><Status>Suspended</Status></VersioningConfiguration>"),
        ("disable lock", "object-lock", f"<ObjectLockConfiguration {xmlns}><ObjectLockEnabled>Disabled</ObjectLockEnabled></ObjectLockConfiguration>"),
        ("default lock", "object-lock", f"<ObjectLockConfiguration {xmlns}><ObjectLockEnabled>Enabled</ObjectLockEnabled></ObjectLockConfiguration>"),
        ("expire", "lifecycle", f"<LifecycleConfiguration {xmlns}><Rule><ID>x</ID><Status>Enabled</Status><Filter><Prefix>{prefix}</Prefix></Filter><Expiration><Days>1</Days></Expiration><NoncurrentVersionExpiration><NoncurrentDays>1</NoncurrentDays></NoncurrentVersionExpiration></Rule></LifecycleConfiguration>"),
    ):
        print(f"{name}\t{said(ask('PUT', bucket, query={query: ''}, body=body.encode(), headers=md5(body.encode())))}")
    print(f"delete bucket\t{said(ask('DELETE', bucket))}")
    print(f"force delete bucket\t{said(ask('DELETE', bucket, headers={'x-minio-force-delete': 'true'}))}")


if __name__ == "__main__":
    verbs = {"matrix": matrix, "thief": thief, "shorten": shorten, "erase": erase, "unlock": unlock}
    if len(sys.argv) != 4 or sys.argv[1] not in verbs:
        sys.exit(__doc__)
    verbs[sys.argv[1]](sys.argv[2], sys.argv[3])
