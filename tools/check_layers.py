#!/usr/bin/env python3
"""Check the rules between the layers under src/, and fail the build when one is broken.

1. A file includes only headers of its own layer and of layers before it; `surface` includes neither store, ledger, repo nor
   evidence; a driver below surface/ includes no header of another driver, but for DRIVER_USES.
2. Every header compiles alone.
3. Outside src/base no libc function is called that the I/O seam covers. An exception is stated on its line, with its reason,
   as  /* seam: reason */  or  // seam: reason

Usage: check_layers.py --root DIR [--cc COMMAND…] [--flag=FLAG…] [--pkg NAME…] [--stamp FILE] [--depfile FILE]
"""
import argparse
import concurrent.futures
import os
import pathlib
import re
import shlex
import subprocess
import sys

LAYERS = ["base", "crypto", "store", "ledger", "repo", "evidence", "surface", "platform", "work", "serve", "cli"]
FORBIDDEN = {"surface": {"store", "ledger", "repo", "evidence"}}
DRIVER_LAYERS = {"surface"}
DRIVER_USES = {"pgphys": ("postgres",), "search": ("redis",)}  # one way to connect to a kind of server; the sorter

SEAMED = """
malloc calloc realloc reallocarray free strdup strndup asprintf vasprintf posix_memalign aligned_alloc memalign
open openat open64 openat2 creat close read write pread pwrite readv writev preadv pwritev lseek fsync fdatasync sync syncfs
ftruncate truncate fallocate posix_fallocate copy_file_range sendfile splice
stat fstat lstat fstatat statx access faccessat mkdir mkdirat unlink unlinkat rmdir remove rename renameat renameat2 link
linkat symlink symlinkat readlink readlinkat mknod mknodat mkfifo chmod fchmod fchmodat chown fchown lchown fchownat
utimensat futimens utime utimes listxattr llistxattr flistxattr getxattr lgetxattr fgetxattr setxattr lsetxattr fsetxattr
opendir fdopendir readdir closedir scandir ftw nftw mmap mmap64 munmap mremap pipe pipe2 poll ppoll select pselect
fork vfork execve execv execvp execvpe execl execlp execle fexecve posix_spawn posix_spawnp waitpid wait wait3 wait4 waitid
time gettimeofday clock_gettime getrandom getentropy rand random popen pclose system syscall
fopen fdopen freopen fclose fread fwrite fgets getline getdelim tmpfile mkstemp mkostemp mkdtemp
""".split()
CALL = re.compile(r"(?<![\w.])(?<!->)(" + "|".join(SEAMED) + r")\s*\(")
CLEANUP = re.compile(r"\b(?:CLEANUP|cleanup)\s*\(\s*(free|close|fclose|closedir)\s*\)")
INCLUDE = re.compile(r'^\s*#\s*include\s+"([^"]+)"', re.M)
EXCEPTION = re.compile(r"(?:/\*|//)\s*seam:\s*[^\s*]")
TOKEN = re.compile(r"//[^\n]*|/\*.*?\*/|\"(?:\\.|[^\"\\\n])*\"|'(?:\\.|[^'\\\n])*'", re.S)


def blank(match):
    """A comment or string as spaces, its lines kept."""
    return "".join(c if c == "\n" else " " for c in match.group())


def comments_blanked(text):
    return TOKEN.sub(lambda m: blank(m) if m.group()[0] == "/" else m.group(), text)


def line_of(text, at):
    return text.count("\n", 0, at) + 1


def check_includes(src, path, text):
    parts = path.relative_to(src).parts
    layer = parts[0]
    if layer not in LAYERS:
        yield 1, f"'{layer}' is no layer; the layers are {' '.join(LAYERS)}"
        return
    for m in INCLUDE.finditer(comments_blanked(text)):
        line, target = line_of(text, m.start(1)), m.group(1)
        where = target.split("/")
        if ".." in where:
            yield line, f'"{target}" climbs out of its folder; name it from src/'
            continue
        if len(where) == 1 or where[0] not in LAYERS:
            if not (src / target).exists() and (path.parent / target).exists():
                continue  # beside the file itself
            if (src / target).exists():
                yield line, f'"{target}" is in no layer'
            continue
        other = where[0]
        if LAYERS.index(other) > LAYERS.index(layer):
            yield line, f'{layer} includes "{target}", and {other} comes after it'
        elif other in FORBIDDEN.get(layer, ()):
            yield line, f'{layer} includes "{target}", and may know nothing of {other}'
        elif other == layer in DRIVER_LAYERS and len(parts) > 2 and len(where) > 2 and where[1] != parts[1] \
                and where[1] not in DRIVER_USES.get(parts[1], ()):
            yield line, f'the driver {layer}/{parts[1]} includes "{target}" of another driver'


def check_calls(path, text):
    code = TOKEN.sub(blank, text)
    lines = text.split("\n")
    for pattern in (CALL, CLEANUP):
        for m in pattern.finditer(code):
            line = line_of(code, m.start(1))
            if not EXCEPTION.search(lines[line - 1]):
                yield line, f"{m.group(1)}() goes past the I/O seam; use base/seam.h, or say why: /* seam: reason */"


def compile_alone(header, cc, flags):
    command = cc + ["-fsyntax-only", "-x", "c"] + flags + ["-Wno-unused-function", str(header)]
    done = subprocess.run(command, capture_output=True, text=True)
    return None if done.returncode == 0 else f"does not compile alone:\n{done.stderr.rstrip()}"


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--root", required=True, type=pathlib.Path)
    parser.add_argument("--cc", default="gcc", help="compiler command; several words are split as by a shell")
    parser.add_argument("--flag", action="append", default=[], help="a compiler flag, as --flag=-std=gnu11")
    parser.add_argument("--pkg", action="append", default=[], help="a pkg-config module whose flags are used")
    parser.add_argument("--stamp", type=pathlib.Path)
    parser.add_argument("--depfile", type=pathlib.Path)
    args = parser.parse_args()
    root = args.root.resolve()
    src = root / "src"
    files = sorted(p for p in src.rglob("*") if p.suffix in (".c", ".h"))
    if not files:
        sys.exit(f"check_layers: there are no sources under {src}")

    problems = []
    for path in files:
        text = path.read_text(encoding="utf-8")
        found = list(check_includes(src, path, text))
        if path.relative_to(src).parts[0] != "base":
            found += check_calls(path, text)
        problems += [f"{path.relative_to(root)}:{line}: {what}" for line, what in found]

    flags = ["-I" + str(src)] + args.flag
    if args.pkg:
        flags += shlex.split(subprocess.run(["pkg-config", "--cflags"] + args.pkg, check=True, capture_output=True,
                                            text=True).stdout)
    headers = [p for p in files if p.suffix == ".h"]
    with concurrent.futures.ThreadPoolExecutor(max_workers=os.cpu_count()) as pool:
        results = pool.map(lambda h: compile_alone(h, shlex.split(args.cc), flags), headers)
        problems += [f"{h.relative_to(root)}:1: {what}" for h, what in zip(headers, results) if what]

    if problems:
        print("\n".join(problems), file=sys.stderr)
        sys.exit(f"check_layers: {len(problems)} broken rules in {len(files)} files")
    if args.depfile:
        # The folders too, so that a new file is seen.
        watched = files + sorted({p.parent for p in files})
        names = " ".join(str(p).replace(" ", "\\ ") for p in watched)
        args.depfile.write_text(f"{args.stamp}: {names}\n", encoding="utf-8")
    if args.stamp:
        args.stamp.write_text(f"{len(files)} files\n", encoding="utf-8")


if __name__ == "__main__":
    main()
