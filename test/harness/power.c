#include "base/seam.h"
#include "power_internal.h"
#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#define NONE SIZE_MAX

struct power_journal power_journal;

static struct {
    pthread_mutex_t lock;
    dev_t dev;
    ino_t *inodes; /* of object i; an inode number that comes again belongs to the newest */
    size_t cap;
} power = {.lock = PTHREAD_MUTEX_INITIALIZER};

_Noreturn void power_abort(const char *what, const char *path) {
    fprintf(stderr, "power harness: %s: %s: %s\n", what, path ? path : "-", strerror(errno));
    abort();
}

void *power_memory(void *p, size_t n) {
    void *q = realloc(p, n ? n : 1);
    if (!q) power_abort("memory", NULL);
    return q;
}

static char *copy_str(const char *s) {
    char *c = power_memory(NULL, strlen(s) + 1);
    return strcpy(c, s);
}

static struct power_op *record(enum power_kind kind) {
    struct power_journal *j = &power_journal;
    if (j->count == j->cap) {
        j->cap = j->cap ? j->cap * 2 : 64;
        j->ops = power_memory(j->ops, j->cap * sizeof *j->ops);
    }
    struct power_op *op = &j->ops[j->count++];
    *op = (struct power_op){.kind = kind, .object = NONE, .dir = NONE, .dir2 = NONE};
    return op;
}

static void record_data(struct power_op *op, const void *p, size_t n) {
    op->data = power_memory(NULL, n);
    if (n) memcpy(op->data, p, n);
    op->len = n;
}

static size_t object_new(ino_t ino) {
    size_t id = power_journal.objects++;
    if (id >= power.cap) {
        power.cap = power.cap ? power.cap * 2 : 64;
        power.inodes = power_memory(power.inodes, power.cap * sizeof *power.inodes);
    }
    power.inodes[id] = ino;
    return id;
}

static size_t object_of(const struct stat *st) {
    if (st->st_dev != power.dev) return NONE;
    for (size_t i = power_journal.objects; i-- > 0;)
        if (power.inodes[i] == st->st_ino) return i;
    return NONE;
}

static size_t object_of_fd(int fd) {
    struct stat st;
    return fstat(fd, &st) == 0 ? object_of(&st) : NONE;
}

/* The object of the folder that path stands in, and its last name. NONE when that is not below the root. */
static size_t parent_of(int dirfd, const char *path, char name[256]) {
    char folder[4096];
    size_t n = strlen(path);
    while (n > 1 && path[n - 1] == '/') n--;
    size_t start = n;
    while (start > 0 && path[start - 1] != '/') start--;
    if (n == 0 || n - start > 255 || start >= sizeof folder) return NONE;
    memcpy(name, path + start, n - start);
    name[n - start] = 0;
    memcpy(folder, path, start);
    folder[start] = 0;
    struct stat st;
    return fstatat(dirfd, start ? folder : ".", &st, 0) == 0 ? object_of(&st) : NONE;
}

static void record_create(size_t dir, const char *name, const struct stat *st, const char *target) {
    size_t id = object_new(st->st_ino);
    struct power_op *op = record(POWER_CREATE);
    op->object = id;
    op->mode = st->st_mode;
    op->dir = dir;
    op->name = name ? copy_str(name) : NULL;
    if (target) record_data(op, target, strlen(target) + 1);
}

/* What an open that worked has changed. `existed` is how it was before. */
static void record_open(int fd, int dirfd, const char *path, int flags, bool existed) {
    struct stat st;
    char name[256];
    if (fstat(fd, &st) < 0) power_abort("look at an opened file", path);
    if ((flags & O_TMPFILE) == O_TMPFILE) {
        if (st.st_dev == power.dev && fstatat(dirfd, path, &(struct stat){0}, 0) == 0)
            record_create(NONE, NULL, &st, NULL);
        return;
    }
    if (!existed && (flags & O_CREAT)) {
        size_t dir = parent_of(dirfd, path, name);
        if (dir != NONE) record_create(dir, name, &st, NULL);
        /* Outside the root, an inode number of ours may come again. */
        else if (object_of(&st) != NONE)
            power.inodes[object_of(&st)] = 0;
        return;
    }
    size_t id = object_of(&st);
    if (id == NONE && (flags & O_ACCMODE) != O_RDONLY && parent_of(dirfd, path, name) != NONE)
        power_abort("a file was created behind the harness's back", path);
    if (id != NONE && (flags & O_TRUNC)) {
        struct power_op *op = record(POWER_TRUNC);
        op->object = id;
    }
}

static bool exists(int dirfd, const char *path) {
    struct stat st;
    return fstatat(dirfd, path, &st, 0) == 0;
}

#define LOCKED __attribute__((cleanup(unlock), unused)) int locked = lock();
static int lock(void) {
    return pthread_mutex_lock(&power.lock);
}
static void unlock(int *locked) {
    int saved = errno;
    if (*locked == 0) pthread_mutex_unlock(&power.lock);
    errno = saved;
}

static int power_openat(int dirfd, const char *path, int flags, mode_t mode) {
    LOCKED
    bool existed = exists(dirfd, path);
    int fd = seam_system.openat(dirfd, path, flags, mode);
    if (fd >= 0) record_open(fd, dirfd, path, flags, existed);
    return fd;
}

static int power_openat2(int dirfd, const char *path, const struct open_how *how) {
    LOCKED
    bool existed = exists(dirfd, path);
    int fd = seam_system.openat2(dirfd, path, how);
    if (fd >= 0) record_open(fd, dirfd, path, (int)how->flags, existed);
    return fd;
}

static void record_write(int fd, const void *p, size_t n, off_t at) {
    size_t id = object_of_fd(fd);
    if (id == NONE) return;
    struct power_op *op = record(POWER_WRITE);
    op->object = id;
    op->at = (uint64_t)at;
    record_data(op, p, n);
}

static ssize_t power_write(int fd, const void *p, size_t n) {
    LOCKED
    ssize_t r = seam_system.write(fd, p, n);
    if (r > 0 && object_of_fd(fd) != NONE) record_write(fd, p, (size_t)r, lseek(fd, 0, SEEK_CUR) - r);
    return r;
}

static ssize_t power_pwrite(int fd, const void *p, size_t n, off_t at) {
    LOCKED
    ssize_t r = seam_system.pwrite(fd, p, n, at);
    if (r > 0) record_write(fd, p, (size_t)r, at);
    return r;
}

static int record_sync(int fd, int r) {
    size_t id = r == 0 ? object_of_fd(fd) : NONE;
    if (id != NONE) record(POWER_SYNC)->object = id;
    return r;
}

static int power_fsync(int fd) {
    LOCKED
    return record_sync(fd, seam_system.fsync(fd));
}

static int power_fdatasync(int fd) {
    LOCKED
    return record_sync(fd, seam_system.fdatasync(fd));
}

/* Of all that is below the root, one after the other. */
static int power_syncfs(int fd) {
    LOCKED
    const int r = seam_system.syncfs(fd);
    if (r == 0 && object_of_fd(fd) != NONE)
        for (size_t id = 0; id < power_journal.objects; id++) record(POWER_SYNC)->object = id;
    return r;
}

static int power_ftruncate(int fd, off_t n) {
    LOCKED
    int r = seam_system.ftruncate(fd, n);
    size_t id = r == 0 ? object_of_fd(fd) : NONE;
    if (id != NONE) {
        struct power_op *op = record(POWER_TRUNC);
        op->object = id;
        op->at = (uint64_t)n;
    }
    return r;
}

static int power_fallocate(int fd, int mode, off_t at, off_t n) {
    LOCKED
    size_t id = object_of_fd(fd);
    if (id != NONE && mode & ~FALLOC_FL_KEEP_SIZE) {
        errno = EOPNOTSUPP;
        return -1;
    }
    int r = seam_system.fallocate(fd, mode, at, n);
    if (r == 0 && id != NONE && mode == 0) {
        struct power_op *op = record(POWER_EXTEND);
        op->object = id;
        op->at = (uint64_t)(at + n);
    }
    return r;
}

static int record_made(int r, int dirfd, const char *path, const char *target) {
    char name[256];
    size_t dir = r == 0 ? parent_of(dirfd, path, name) : NONE;
    if (dir == NONE) return r;
    struct stat st;
    if (fstatat(dirfd, path, &st, AT_SYMLINK_NOFOLLOW) < 0) power_abort("look at what was made", path);
    record_create(dir, name, &st, target);
    return r;
}

static int power_mkdirat(int dirfd, const char *path, mode_t mode) {
    LOCKED
    return record_made(seam_system.mkdirat(dirfd, path, mode), dirfd, path, NULL);
}

static int power_symlinkat(const char *to, int dirfd, const char *path) {
    LOCKED
    return record_made(seam_system.symlinkat(to, dirfd, path), dirfd, path, to);
}

static int power_mknodat(int dirfd, const char *path, mode_t mode, dev_t dev) {
    LOCKED
    return record_made(seam_system.mknodat(dirfd, path, mode, dev), dirfd, path, NULL);
}

static int power_unlinkat(int dirfd, const char *path, int flags) {
    LOCKED
    char name[256];
    size_t dir = parent_of(dirfd, path, name);
    int r = seam_system.unlinkat(dirfd, path, flags);
    if (r == 0 && dir != NONE) {
        struct power_op *op = record(POWER_UNLINK);
        op->dir = dir;
        op->name = copy_str(name);
    }
    return r;
}

static int power_renameat2(int ofd, const char *o, int nfd, const char *n, unsigned flags) {
    LOCKED
    char from[256], to[256];
    size_t dir = parent_of(ofd, o, from), dir2 = parent_of(nfd, n, to);
    if (dir == NONE && dir2 != NONE) {
        errno = EXDEV;
        power_abort("something moves in from outside the root", o);
    }
    int r = seam_system.renameat2(ofd, o, nfd, n, flags);
    if (r == 0 && dir != NONE) {
        struct power_op *op = record(dir2 == NONE ? POWER_UNLINK : POWER_RENAME);
        op->dir = dir;
        op->name = copy_str(from);
        op->dir2 = dir2;
        op->name2 = copy_str(to);
        op->exchange = (flags & RENAME_EXCHANGE) != 0;
    }
    return r;
}

static int power_linkat(int ofd, const char *o, int nfd, const char *n, int flags) {
    LOCKED
    char name[256];
    struct stat st;
    int how = (flags & AT_SYMLINK_FOLLOW ? 0 : AT_SYMLINK_NOFOLLOW) | (flags & AT_EMPTY_PATH);
    size_t id = fstatat(ofd, o, &st, how) == 0 ? object_of(&st) : NONE;
    size_t dir = parent_of(nfd, n, name);
    if (dir != NONE && id == NONE && fstatat(ofd, o, &st, how) == 0)
        power_abort("something is linked in from outside the root", o);
    int r = seam_system.linkat(ofd, o, nfd, n, flags);
    if (r == 0 && dir != NONE) {
        struct power_op *op = record(POWER_LINK);
        op->object = id;
        op->dir = dir;
        op->name = copy_str(name);
    }
    return r;
}

static void record_mode(const struct stat *st) {
    size_t id = object_of(st);
    if (id == NONE) return;
    struct power_op *op = record(POWER_MODE);
    op->object = id;
    op->mode = st->st_mode;
}

static int power_fchmod(int fd, mode_t mode) {
    LOCKED
    struct stat st;
    int r = seam_system.fchmod(fd, mode);
    if (r == 0 && fstat(fd, &st) == 0) record_mode(&st);
    return r;
}

static int power_fchmodat(int dirfd, const char *path, mode_t mode, int flags) {
    LOCKED
    struct stat st;
    int r = seam_system.fchmodat(dirfd, path, mode, flags);
    if (r == 0 && fstatat(dirfd, path, &st, flags & AT_SYMLINK_NOFOLLOW) == 0) record_mode(&st);
    return r;
}

static void *power_mmap(size_t n, int prot, int flags, int fd, off_t at) {
    LOCKED
    if ((prot & PROT_WRITE) && (flags & MAP_SHARED) && fd >= 0 && object_of_fd(fd) != NONE) {
        errno = ENODEV;
        return MAP_FAILED;
    }
    return seam_system.mmap(n, prot, flags, fd, at);
}

static struct seam seam_power;

/* What stands there becomes the journal's beginning. */
static void baseline_add(int folder, size_t dir) {
    DIR *d = fdopendir(folder);
    if (!d) power_abort("read the root", NULL);
    for (struct dirent *e; (e = readdir(d));) {
        struct stat st;
        if (!strcmp(e->d_name, ".") || !strcmp(e->d_name, "..")) continue;
        if (fstatat(folder, e->d_name, &st, AT_SYMLINK_NOFOLLOW) < 0) power_abort("look at", e->d_name);
        size_t known = S_ISREG(st.st_mode) && st.st_nlink > 1 ? object_of(&st) : NONE;
        if (known != NONE) {
            struct power_op *op = record(POWER_LINK);
            op->object = known;
            op->dir = dir;
            op->name = copy_str(e->d_name);
            continue;
        }
        char target[4096] = "";
        if (S_ISLNK(st.st_mode) && readlinkat(folder, e->d_name, target, sizeof target - 1) < 0)
            power_abort("read a link", e->d_name);
        size_t id = power_journal.objects;
        record_create(dir, e->d_name, &st, S_ISLNK(st.st_mode) ? target : NULL);
        if (!S_ISREG(st.st_mode) && !S_ISDIR(st.st_mode)) continue;
        int fd = openat(folder, e->d_name, O_RDONLY | O_NOFOLLOW | O_CLOEXEC);
        if (fd < 0) power_abort("open", e->d_name);
        if (S_ISDIR(st.st_mode)) {
            baseline_add(fd, id);
            continue;
        }
        struct power_op *op = record(POWER_WRITE);
        op->object = id;
        op->len = (size_t)st.st_size;
        op->data = power_memory(NULL, op->len);
        if (pread(fd, op->data, op->len, 0) != st.st_size) power_abort("read", e->d_name);
        close(fd);
    }
    closedir(d);
}

void power_begin(const char *root) {
    power_forget();
    int fd = open(root, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    struct stat st;
    if (fd < 0 || fstat(fd, &st) < 0) power_abort("open the root", root);
    power.dev = st.st_dev;
    record_create(NONE, NULL, &st, NULL);
    baseline_add(fd, 0);
    for (size_t i = 0; i < power_journal.objects; i++) record(POWER_SYNC)->object = i;
    power_journal.baseline = power_journal.count;

    seam_power = seam_system;
    seam_power.openat = power_openat;
    seam_power.openat2 = power_openat2;
    seam_power.write = power_write;
    seam_power.pwrite = power_pwrite;
    seam_power.fsync = power_fsync;
    seam_power.fdatasync = power_fdatasync;
    seam_power.syncfs = power_syncfs;
    seam_power.ftruncate = power_ftruncate;
    seam_power.fallocate = power_fallocate;
    seam_power.mkdirat = power_mkdirat;
    seam_power.symlinkat = power_symlinkat;
    seam_power.mknodat = power_mknodat;
    seam_power.unlinkat = power_unlinkat;
    seam_power.renameat2 = power_renameat2;
    seam_power.linkat = power_linkat;
    seam_power.fchmod = power_fchmod;
    seam_power.fchmodat = power_fchmodat;
    seam_power.mmap = power_mmap;
    seam_table = &seam_power;
}

void power_end(void) {
    seam_table = &seam_system;
}

uint64_t power_ops(void) {
    return power_journal.count - power_journal.baseline;
}

void power_forget(void) {
    struct power_journal *j = &power_journal;
    for (size_t i = 0; i < j->count; i++) {
        free(j->ops[i].name);
        free(j->ops[i].name2);
        free(j->ops[i].data);
    }
    free(j->ops);
    free(power.inodes);
    *j = (struct power_journal){0};
    power.inodes = NULL;
    power.cap = 0;
}
