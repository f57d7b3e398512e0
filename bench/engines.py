"""proofkeep and its peers as the benchmark drives them: init, backup, rescan, restore, check, each one command of the engine.

Every engine encrypts; compression is zstd 1 (bupstash, borg), zstd-fastest (kopia), the default (restic, rustic, proofkeep)."""

import json, os, shutil, subprocess, sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
ENV = {"PATH": os.environ["PATH"], "HOME": os.environ.get("HOME", "/"), "LANG": "C.UTF-8"}


# What a process had at its peak before it became another program counts as that one's on Linux, and the benchmark itself holds
# much. So whatever is measured is started by a small process of its own.
STARTER = """
import json, os, subprocess, sys, time
for line in sys.stdin:
    argv, env, cwd = json.loads(line)
    began = time.monotonic()
    p = subprocess.Popen(argv, env=env, cwd=cwd, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    out = p.stdout.read()[-2000:].decode(errors="replace")
    _, status, use = os.wait4(p.pid, 0)
    p.returncode = os.waitstatus_to_exitcode(status)
    print(json.dumps([p.returncode, out, {"wall": time.monotonic() - began, "user": use.ru_utime, "sys": use.ru_stime,
                                          "peak": use.ru_maxrss / 1024}]), flush=True)
"""
starter = subprocess.Popen([sys.executable, "-ISc", STARTER], stdin=subprocess.PIPE, stdout=subprocess.PIPE)


def run(argv, env=None, cwd=None):
    """Wall seconds, CPU seconds (user, system), peak MiB of one command; its output only when it fails."""
    request = [[str(a) for a in argv], {**ENV, **(env or {})}, str(cwd) if cwd else None]
    starter.stdin.write(json.dumps(request).encode() + b"\n")
    starter.stdin.flush()
    status, out, use = json.loads(starter.stdout.readline())
    if status:
        sys.exit(f"{' '.join(map(str, argv))}\nended with {status}\n{out}")
    return use


def stored(path):
    return sum(f.stat().st_size for f in Path(path).rglob("*") if f.is_file() and not f.is_symlink())


class Engine:
    def __init__(self, name, program, place):
        self.name, self.program, self.place = name, program, place
        self.repo, self.cache = place / name, place / f"{name}-cache"
        self.secret = place / f"{name}.key"
        self.clear()

    def clear(self):
        for p in (self.repo, self.cache):
            shutil.rmtree(p, ignore_errors=True)
        self.secret.unlink(missing_ok=True)
        self.cache.mkdir(parents=True)
        self.env = {"XDG_CACHE_HOME": str(self.cache), "HOME": str(self.cache)}

    def go(self, *argv, **kw):
        return run([self.program, *argv], env=self.env, **kw)


class Proofkeep(Engine):
    def init(self):
        self.at = ["-r", self.repo, "--key-file", self.secret, "--cache-dir", self.cache]
        self.go("init", *self.at, "--config", self.cache / "proofkeep.yaml")

    def backup(self, tree): return self.go("backup", *self.at, "--files", tree)
    def rescan(self, tree): return self.go("backup", *self.at, "--full-read", "--files", tree)
    def restore(self, out): return self.go("restore", *self.at, "local/files", "--into", out)
    def check(self): return self.go("verify", *self.at, "--all", "--level", "decode")


class ProofkeepConfigured(Engine):
    """Everything from a configuration, as in production; `surface` is its text."""

    def configure(self, surface):
        config = self.cache / "proofkeep.yaml"
        config.write_text(f"""version: 1
platform: bench
secrets: {{ repository-key: {{ file: {self.secret} }} }}
repositories: {{ main: {{ url: {self.repo}, encrypt: {{ key: repository-key, kind: key_file }} }} }}
surfaces: {{ it: {surface} }}
environments: {{ bench: {{ repository: main, policy: {{ rpo: none, rto: none, verify: decode, retention: {{ keep: {{ last: 1 }} }} }} }} }}
""")
        self.at = ["--config", config, "--cache-dir", self.cache]
        self.go("init", *self.at, "--repository", "main")

    def backup(self, _=None): return self.go("backup", *self.at, "bench/it")
    def restore(self, out): return self.go("restore", *self.at, "bench/it@latest", "--into", out)
    def check(self): return self.go("verify", *self.at, "bench/it@latest", "--level", "decode")
    def prune(self): return self.go("prune", *self.at, "bench/it", "--grace", "0s")


class Bupstash(Engine):
    def init(self):
        self.env |= {"BUPSTASH_REPOSITORY": str(self.repo), "BUPSTASH_KEY": str(self.secret)}
        self.go("init", "-r", self.repo)
        self.go("new-key", "-o", self.secret)

    def backup(self, tree): return self.go("put", "-q", "--compression", "zstd:1", "--send-log", self.cache / "log", "--exclude", "/nothing", "name=t", tree)
    def rescan(self, tree):
        (self.cache / "log").unlink(missing_ok=True)
        return self.go("put", "-q", "--compression", "zstd:1", "--no-stat-caching", "name=t", tree)

    def restore(self, out):
        ids = subprocess.run([self.program, "list", "--format", "jsonl1"], env={**ENV, **self.env}, capture_output=True, check=True)
        last = json.loads(ids.stdout.splitlines()[-1])
        out.mkdir()
        return self.go("restore", "-q", "--into", out, "id=" + last["id"])

    check = None


class Restic(Engine):
    def init(self):
        self.secret.write_text("bench")
        self.at = ["-r", self.repo, "--password-file", self.secret, "-q"]
        self.go("init", *self.at)

    def backup(self, tree): return self.go("backup", *self.at, tree)
    def rescan(self, tree): return self.go("backup", *self.at, "--force", tree)
    def restore(self, out): return self.go("restore", *self.at, "latest", "--target", out)
    def check(self): return self.go("check", *self.at, "--read-data")


class Rustic(Engine):
    def init(self):
        self.secret.write_text("bench")
        self.at = ["-r", self.repo, "--password-file", self.secret, "--no-progress"]
        self.go(*self.at, "init")

    def backup(self, tree): return self.go(*self.at, "backup", tree)
    def rescan(self, tree): return self.go(*self.at, "backup", "--force", tree)
    def restore(self, out): return self.go(*self.at, "restore", "latest", out)
    def check(self): return self.go(*self.at, "check", "--read-data")


class Kopia(Engine):
    def init(self):
        self.env |= {"KOPIA_PASSWORD": "bench", "KOPIA_CONFIG_PATH": str(self.cache / "config"), "KOPIA_CHECK_FOR_UPDATES": "false"}
        self.go("repository", "create", "filesystem", "--path", self.repo, "--cache-directory", self.cache / "c")
        self.go("policy", "set", "--global", "--compression", "zstd-fastest")

    def backup(self, tree): return self.go("snapshot", "create", "--no-progress", tree)
    def rescan(self, tree): return self.go("snapshot", "create", "--no-progress", "--force-hash=100", tree)

    def restore(self, out):
        s = subprocess.run([self.program, "snapshot", "list", "--json"], env={**ENV, **self.env}, capture_output=True, check=True)
        return self.go("snapshot", "restore", "--no-progress", json.loads(s.stdout)[-1]["id"], out)

    def check(self): return self.go("snapshot", "verify", "--verify-files-percent=100", "--no-progress")


class Borg(Engine):
    def init(self):
        self.env |= {"BORG_PASSPHRASE": "bench", "BORG_BASE_DIR": str(self.cache), "BORG_REPO": str(self.repo), "BORG_UNKNOWN_UNENCRYPTED_REPO_ACCESS_IS_OK": "yes"}
        self.n = 0
        self.go("init", "-e", "repokey-blake2")

    def backup(self, tree, *more):
        self.n += 1
        return self.go("create", "-C", "zstd,1", *more, f"::{self.n}", tree)

    def rescan(self, tree): return self.backup(tree, "--files-cache", "disabled")

    def restore(self, out):
        out.mkdir()
        return self.go("extract", f"::{self.n}", cwd=out)

    def check(self): return self.go("check", "--verify-data")


KINDS = {"proofkeep": Proofkeep, "bupstash": Bupstash, "restic": Restic, "rustic": Rustic, "kopia": Kopia, "borg": Borg}
