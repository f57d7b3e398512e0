#include "scratch.h"
#include <fcntl.h>
#include <ftw.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static _Noreturn void give_up(const char *what) {
    perror(what);
    abort();
}

void scratch_make(struct scratch *s) {
    const char *base = getenv("TMPDIR");
    int n = snprintf(s->path, sizeof s->path, "%s/proofkeep-test-XXXXXX", base && *base ? base : "/tmp");
    if (n >= (int)sizeof s->path || !mkdtemp(s->path)) give_up("scratch folder");
}

static int remove_one(const char *path, const struct stat *st, int type, struct FTW *at) {
    (void)st, (void)type, (void)at;
    return remove(path);
}

static int open_up(const char *path, const struct stat *st, int type, struct FTW *at) {
    (void)at;
    return type == FTW_D || type == FTW_DNR ? chmod(path, (st->st_mode & 07777) | 0700) : 0;
}

void scratch_remove(struct scratch *s) {
    nftw(s->path, open_up, 16, FTW_PHYS);
    if (nftw(s->path, remove_one, 16, FTW_PHYS | FTW_DEPTH)) give_up(s->path);
}

const char *scratch_path(const struct scratch *s, const char *name) {
    static _Thread_local char paths[8][SCRATCH_PATH_MAX + 256];
    static _Thread_local unsigned next;
    char *p = paths[next++ % 8];
    snprintf(p, sizeof paths[0], "%s/%s", s->path, name);
    return p;
}

void scratch_write(const struct scratch *s, const char *name, const void *p, size_t n) {
    int fd = open(scratch_path(s, name), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
    if (fd < 0 || write(fd, p, n) != (ssize_t)n || close(fd) < 0) give_up(name);
}

long scratch_read(const struct scratch *s, const char *name, void *p, size_t cap) {
    int fd = open(scratch_path(s, name), O_RDONLY | O_CLOEXEC);
    if (fd < 0) return -1;
    ssize_t n = read(fd, p, cap - 1);
    if (n < 0) give_up(name);
    ((char *)p)[n] = 0;
    close(fd);
    return n;
}
