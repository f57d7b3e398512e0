#!/usr/bin/env python3
"""A small S3 client of the tests' own, by the standard library only, to make buckets and to look at what the program stored
without the program. Endpoint and keys are in S3_ENDPOINT, S3_ACCESS, S3_SECRET and S3_REGION.

  s3_client.py mb BUCKET [lock]          make a bucket, with object lock
  s3_client.py ls BUCKET [PREFIX]        keys and sizes
  s3_client.py versions BUCKET [PREFIX]  keys, ids and whether they are delete markers
  s3_client.py uploads BUCKET            keys and ids of unfinished uploads
  s3_client.py get BUCKET KEY            to standard output
  s3_client.py put BUCKET KEY            from standard input
  s3_client.py head BUCKET KEY           status and headers
  s3_client.py rm BUCKET KEY
  s3_client.py undo BUCKET PREFIX        of every key, erase what came after its first version
  s3_client.py begin BUCKET KEY          begin an upload in parts, print its id
  s3_client.py versioning BUCKET         switch versions on
  s3_client.py erase BUCKET KEY ID       one version of it, for good; prints the status
  s3_client.py steal BUCKET PREFIX HOW   as a thief with every right: HOW is delete (a marker over every key), overwrite (every
                                         key by other bytes) or erase (every version, bypassing governance); prints how many
                                         were and were not let through
  s3_client.py lifecycle BUCKET DAYS DAYS    expire objects, and versions below the newest
  s3_client.py archive BUCKET PREFIX     move what begins so to GLACIER, by a rule
  s3_client.py hold BUCKET KEY ON|OFF    legal hold
  s3_client.py retention BUCKET KEY      mode and end
  s3_client.py policy BUCKET             bucket policy from standard input
  s3_client.py session -                 temporary credentials, as lines of three variables for a shell
"""
import base64
import datetime
import hashlib
import hmac
import http.client
import os
import re
import sys
import urllib.parse


def sign(key, text):
    return hmac.new(key, text.encode(), hashlib.sha256).digest()


def ask(method, bucket, key="", query=None, body=b"", headers=None, service="s3"):
    place = urllib.parse.urlparse(os.environ["S3_ENDPOINT"])
    access, secret, region = (os.environ["S3_" + n] for n in ("ACCESS", "SECRET", "REGION"))
    path = "/" + bucket + ("/" + urllib.parse.quote(key, safe="/-_.~") if key else "")
    text = "&".join(f"{urllib.parse.quote(k, safe='-_.~')}={urllib.parse.quote(v, safe='-_.~')}" for k, v in sorted((query or {}).items()))
    now = datetime.datetime.now(datetime.timezone.utc).strftime("%Y%m%dT%H%M%SZ")
    digest = hashlib.sha256(body).hexdigest()
    h = {"host": place.netloc, "x-amz-date": now, "x-amz-content-sha256": digest, **(headers or {})}
    names = ";".join(sorted(h))
    canonical = "\n".join([method, path, text, "".join(f"{n}:{h[n]}\n" for n in sorted(h)), names, digest])
    scope = f"{now[:8]}/{region}/{service}/aws4_request"
    to_sign = "\n".join(["AWS4-HMAC-SHA256", now, scope, hashlib.sha256(canonical.encode()).hexdigest()])
    k = ("AWS4" + secret).encode()
    for part in (now[:8], region, service, "aws4_request"):
        k = sign(k, part)
    signature = hmac.new(k, to_sign.encode(), hashlib.sha256).hexdigest()
    h["authorization"] = f"AWS4-HMAC-SHA256 Credential={access}/{scope},SignedHeaders={names},Signature={signature}"
    c = http.client.HTTPConnection(place.hostname, place.port, timeout=60)
    c.request(method, path + ("?" + text if text else ""), body=body, headers=h)
    r = c.getresponse()
    return r.status, dict((n.lower(), v) for n, v in r.getheaders()), r.read()


def need(answer, *good):
    status, headers, body = answer
    if status // 100 != 2 and status not in good:
        sys.exit(f"s3_client: {status} {body.decode(errors='replace')[:400]}")
    return answer


def set_to(bucket, key, what, body):
    md5 = base64.b64encode(hashlib.md5(body).digest()).decode()
    need(ask("PUT", bucket, key, query={what: ""}, body=body, headers={"content-md5": md5}))


def fields(xml, element, *names):
    for part in re.findall(rf"<{element}>(.*?)</{element}>", xml, re.S):
        yield [(re.search(rf"<{n}>(.*?)</{n}>", part, re.S) or [None, ""])[1] for n in names]


def pages(bucket, query, marks):
    while True:
        xml = need(ask("GET", bucket, query=query))[2].decode()
        yield xml
        if "<IsTruncated>true</IsTruncated>" not in xml:
            return
        for name, element in marks.items():
            found = re.search(rf"<{element}>(.*?)</{element}>", xml)
            if found:
                query[name] = found[1]


def versions(bucket, prefix):
    """Key, id, "version" or "marker", and when it was stored."""
    marks = {"key-marker": "NextKeyMarker", "version-id-marker": "NextVersionIdMarker"}
    for xml in pages(bucket, {"versions": "", "prefix": prefix}, marks):
        for element, word in (("Version", "version"), ("DeleteMarker", "marker")):
            for key, version, stored in fields(xml, element, "Key", "VersionId", "LastModified"):
                yield key, version, word, stored


def main(verb, bucket, *rest):
    if verb == "mb":
        headers = {"x-amz-bucket-object-lock-enabled": "true"} if rest else {}
        need(ask("PUT", bucket, headers=headers))
    elif verb == "ls":
        for xml in pages(bucket, {"list-type": "2", "prefix": rest[0] if rest else ""}, {"continuation-token": "NextContinuationToken"}):
            for row in fields(xml, "Contents", "Key", "Size"):
                print(*row)
    elif verb == "versions":
        for key, version, word, _ in versions(bucket, rest[0] if rest else ""):
            print(key, version, word)
    elif verb == "uploads":
        for row in fields(need(ask("GET", bucket, query={"uploads": ""}))[2].decode(), "Upload", "Key", "UploadId"):
            print(*row)
    elif verb == "get":
        sys.stdout.buffer.write(need(ask("GET", bucket, rest[0]))[2])
    elif verb == "put":
        need(ask("PUT", bucket, rest[0], body=sys.stdin.buffer.read()))
    elif verb == "head":
        status, headers, _ = ask("HEAD", bucket, rest[0])
        print(status)
        for n, v in sorted(headers.items()):
            print(f"{n}: {v}")
    elif verb == "undo":
        kept = {}
        for line in versions(bucket, rest[0]):
            kept.setdefault(line[0], []).append(line)
        for key, all in kept.items():
            for _, version, _, _ in sorted(reversed(all), key=lambda v: v[3])[1:]:  # listed newest first
                need(ask("DELETE", bucket, key, query={"versionId": version}))
    elif verb == "rm":
        need(ask("DELETE", bucket, rest[0]), 404)
    elif verb == "begin":
        xml = need(ask("POST", bucket, rest[0], query={"uploads": ""}))[2].decode()
        print(re.search(r"<UploadId>(.*?)</UploadId>", xml)[1])
    elif verb == "versioning":
        body = b"<VersioningConfiguration xmlns='http://s3.amazonaws.com/doc/2006-03-01/'><Status>Enabled</Status></VersioningConfiguration>"
        need(ask("PUT", bucket, query={"versioning": ""}, body=body))
    elif verb == "erase":
        print(ask("DELETE", bucket, rest[0], query={"versionId": rest[1]})[0])
    elif verb == "steal":
        marks = {"key-marker": "NextKeyMarker", "version-id-marker": "NextVersionIdMarker"}
        rows = [(k, v, element == "DeleteMarker") for xml in pages(bucket, {"versions": "", "prefix": rest[0]}, marks)
                for element in ("Version", "DeleteMarker") for k, v in fields(xml, element, "Key", "VersionId")]
        done = refused = 0
        acts = [(k, {"versionId": v}) for k, v, _ in rows] if rest[1] == "erase" else [(k, {}) for k in sorted({r[0] for r in rows})]
        for key, query in acts:
            if rest[1] == "overwrite":
                status = ask("PUT", bucket, key, body=b"stolen " * 9)[0]
            else:
                headers = {"x-amz-bypass-governance-retention": "true"} if query else {}
                status = ask("DELETE", bucket, key, query=query, headers=headers)[0]
            done, refused = done + (status // 100 == 2), refused + (status // 100 != 2)
        print(done, refused)
    elif verb == "lifecycle":
        body = (f"<LifecycleConfiguration xmlns='http://s3.amazonaws.com/doc/2006-03-01/'><Rule><ID>x</ID><Filter><Prefix></Prefix></Filter>"
                f"<Status>Enabled</Status><Expiration><Days>{rest[0]}</Days></Expiration><NoncurrentVersionExpiration><NoncurrentDays>"
                f"{rest[1]}</NoncurrentDays></NoncurrentVersionExpiration></Rule></LifecycleConfiguration>").encode()
        set_to(bucket, "", "lifecycle", body)
    elif verb == "archive":
        set_to(bucket, "", "lifecycle", (f"<LifecycleConfiguration xmlns='http://s3.amazonaws.com/doc/2006-03-01/'><Rule><ID>x</ID><Filter><Prefix>{rest[0]}</Prefix>"
                f"</Filter><Status>Enabled</Status><Transition><Days>30</Days><StorageClass>GLACIER</StorageClass></Transition></Rule></LifecycleConfiguration>").encode())
    elif verb == "hold":
        set_to(bucket, rest[0], "legal-hold", f"<LegalHold xmlns='http://s3.amazonaws.com/doc/2006-03-01/'><Status>{rest[1]}</Status></LegalHold>".encode())
    elif verb == "retention":
        xml = need(ask("GET", bucket, rest[0], query={"retention": ""}))[2].decode()
        print(*(re.search(rf"<{n}>(.*?)</{n}>", xml)[1] for n in ("Mode", "RetainUntilDate")))
    elif verb == "policy":
        need(ask("PUT", bucket, query={"policy": ""}, body=sys.stdin.buffer.read()))
    elif verb == "session":
        body = b"Action=AssumeRole&Version=2011-06-15&DurationSeconds=900"
        headers = {"content-type": "application/x-www-form-urlencoded"}
        xml = need(ask("POST", "", body=body, headers=headers, service="sts"))[2].decode()
        names = ("AccessKeyId", "SecretAccessKey", "SessionToken")
        for name, value in zip(("KEY", "SECRET", "TOKEN"), next(fields(xml, "Credentials", *names))):
            print(f"S3_SESSION_{name}='{value}'")
    else:
        sys.exit(__doc__)


if __name__ == "__main__":
    if len(sys.argv) < 3:
        sys.exit(__doc__)
    try:
        main(*sys.argv[1:])
        sys.stdout.flush()
    except BrokenPipeError:  # the reader has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
