#include "base/seam.h"
#include "base/time.h"
#include "store/local/local_internal.h"
#include <errno.h>
#include <stdio.h>

#define ALIGN_BYTES ((size_t)4096)
#define STALE_NS (INT64_C(24) * 3600 * NS_PER_S) /* a younger file may be another process's work in hand */
#define DIRECT_BYTES_MIN ((uint64_t)1 << 20)
#define BOUNCE_BYTES ((size_t)256 << 10)
/* Less than this is not worth a write of its own. */
#define DIRECT_RUN_BYTES_MIN ((size_t)64 << 10)
#define WRITE_BYTES_MAX ((size_t)1 << 30)

int local_check_latch(struct local_store *s, struct error *err) {
    if (!atomic_load(&s->latched)) return 0;
    pthread_mutex_lock(&s->lock);
    error_set(err, ERR_REPO_LATCHED,
              "the repository at %s takes no more writes in this run, as data could not be made durable: %s", s->path,
              s->why);
    pthread_mutex_unlock(&s->lock);
    return -ERR_REPO_LATCHED;
}

int local_latch(struct local_store *s, const char *what, struct error *err) {
    int saved = errno;
    pthread_mutex_lock(&s->lock);
    if (!atomic_load(&s->latched)) snprintf(s->why, sizeof s->why, "%s: %s", what, strerror(saved));
    atomic_store(&s->latched, true);
    pthread_mutex_unlock(&s->lock);
    errno = saved;
    error_set_errno(err, ERR_IO_SYNC, "cannot make %s in %s durable", what, s->path);
    return error_state(err, "It may or may not survive a crash; nothing that was stored before is touched.");
}

int local_sync(struct local_store *s, int fd, const char *what, struct error *err) {
    return seam_fsync(fd) == 0 ? 0 : local_latch(s, what, err);
}

void local_drop_tmp(struct local_store *s, const char *tmp) {
    (void)seam_unlinkat(s->root, tmp, 0);
}

int local_whose(const struct local_store *s, const char *key, const char *deed, struct error *err) {
    char path[4096];
    snprintf(path, sizeof path, "%s/%s", s->path, key);
    return io_whose(path, deed, err);
}

static int refused(struct local_store *s, const char *what, struct error *err) {
    error_set_errno(err, ERR_IO_WRITE, "cannot make %s %s/tmp", what, s->path);
    return local_whose(s, "tmp", "write into", err);
}

static bool is_tmp_name(const char *name) {
    return strlen(name) == 32 && strspn(name, "0123456789abcdef") == 32;
}

void local_tidy(struct store *st) {
    struct local_store *s = (struct local_store *)st;
    int fd = seam_openat(s->root, "tmp", O_RDONLY | O_DIRECTORY | O_CLOEXEC, 0);
    DIR *d = fd < 0 ? NULL : seam_fdopendir(fd);
    if (d == NULL) {
        io_close(&fd);
        return;
    }
    struct stat is;
    /* By the clock that dates the files, which need not be this host's. */
    const bool dated = seam_utimensat(s->root, "tmp", NULL, 0) == 0 && seam_fstat(fd, &is) == 0;
    const int64_t oldest = dated ? is.st_mtim.tv_sec * NS_PER_S + is.st_mtim.tv_nsec - STALE_NS : INT64_MIN;
    struct dirent *e;
    while (dated && (e = seam_readdir(d)) != NULL) {
        if (!is_tmp_name(e->d_name) || seam_fstatat(fd, e->d_name, &is, AT_SYMLINK_NOFOLLOW) < 0) continue;
        if (S_ISREG(is.st_mode) && is.st_mtim.tv_sec * NS_PER_S + is.st_mtim.tv_nsec < oldest)
            (void)seam_unlinkat(fd, e->d_name, 0);
    }
    (void)seam_closedir(d);
}

/* What a killed run left there is removed before anything is added to it. */
static int make_tmp_folder(struct local_store *s, struct error *err) {
    if (atomic_load(&s->tmp_made)) return 0;
    const bool made = seam_mkdirat(s->root, "tmp", 0700) == 0;
    if (!made && errno != EEXIST) return refused(s, "the folder", err);
    if (!atomic_exchange(&s->tmp_made, true) && !made) local_tidy(&s->base);
    return 0;
}

static int name_tmp(char tmp[TMP_NAME_BYTES], struct error *err) {
    uint8_t r[16];
    for (size_t got = 0; got < sizeof r;) {
        ssize_t n = seam_getrandom(r + got, sizeof r - got);
        if (n <= 0) return error_set_errno(err, ERR_CRYPTO, "the system gave no random bytes");
        got += (size_t)n;
    }
    memcpy(tmp, "tmp/", 4);
    hex_encode(r, sizeof r, tmp + 4);
    return 0;
}

static int write_buffered(struct local_store *s, int fd, const struct bytes *parts, size_t n, struct error *err) {
    for (size_t i = 0; i < n; i++) {
        int rc = io_write_full(fd, parts[i].ptr, parts[i].len, s->path, err);
        if (rc < 0) return rc;
    }
    return 0;
}

/* A file written past the page cache: every write is of whole blocks, from aligned memory, at an aligned offset. */
struct direct {
    int fd;
    uint64_t at;
    uint8_t *bounce;
    size_t fill;
    bool refused; /* the very first write was, so nothing is lost by starting over without */
};

/* Not io_pwrite_full, which after a short write would go on from an unaligned place. */
static int direct_write(struct direct *d, const uint8_t *p, size_t n, const char *what, struct error *err) {
    while (n > 0) {
        size_t ask = n < WRITE_BYTES_MAX ? n : WRITE_BYTES_MAX;
        ssize_t got = seam_pwrite(d->fd, p, ask, (off_t)d->at);
        if (got < 0 && errno == EINVAL && d->at == 0) d->refused = true;
        if (got < 0) return error_set_errno(err, ERR_IO_WRITE, "cannot write to %s", what);
        size_t whole = (size_t)got & ~(ALIGN_BYTES - 1);
        if (whole == 0) {
            /* Less than a block was taken: only a full device does that, and asking again would tell nothing else. */
            errno = ENOSPC;
            return error_set_errno(err, ERR_IO_FULL, "cannot write to %s", what);
        }
        p += whole;
        n -= whole;
        d->at += whole;
    }
    return 0;
}

static int direct_flush(struct direct *d, const char *what, struct error *err) {
    int rc = direct_write(d, d->bounce, d->fill, what, err);
    d->fill = 0;
    return rc;
}

static bool aligned(const void *p) {
    return ((uintptr_t)p & (ALIGN_BYTES - 1)) == 0;
}

static int direct_part(struct direct *d, struct bytes part, const char *what, struct error *err) {
    while (part.len > 0) {
        size_t n;
        int rc = 0;
        if (d->fill % ALIGN_BYTES == 0 && aligned(part.ptr) && part.len >= DIRECT_RUN_BYTES_MIN) {
            rc = direct_flush(d, what, err);
            if (rc < 0) return rc;
            n = part.len & ~(ALIGN_BYTES - 1);
            rc = direct_write(d, part.ptr, n, what, err);
        } else {
            size_t to_block = ALIGN_BYTES - d->fill % ALIGN_BYTES;
            bool run_follows = part.len > to_block + DIRECT_RUN_BYTES_MIN && aligned(part.ptr + to_block);
            size_t room = run_follows ? to_block : BOUNCE_BYTES - d->fill;
            n = part.len < room ? part.len : room;
            memcpy(d->bounce + d->fill, part.ptr, n);
            d->fill += n;
            if (d->fill == BOUNCE_BYTES) rc = direct_flush(d, what, err);
        }
        if (rc < 0) return rc;
        part = BYTES_OF(part.ptr + n, part.len - n);
    }
    return 0;
}

static int write_direct(struct local_store *s, struct direct *d, const struct bytes *parts, size_t n, uint64_t total,
                        struct error *err) {
    uint64_t blocks = (total + ALIGN_BYTES - 1) & ~(uint64_t)(ALIGN_BYTES - 1);
    /* Reserving finds a full disk before any byte is written, and keeps the file in one piece; where it is not offered,
     * the writes do both. */
    if (seam_fallocate(d->fd, 0, 0, (off_t)blocks) < 0 && (errno == ENOSPC || errno == EDQUOT))
        return error_set_errno(err, ERR_IO_FULL, "cannot reserve %llu bytes in %s", (unsigned long long)blocks,
                               s->path);
    for (size_t i = 0; i < n; i++) {
        int rc = direct_part(d, parts[i], s->path, err);
        if (rc < 0) return rc;
    }
    size_t tail = (d->fill + ALIGN_BYTES - 1) & ~(ALIGN_BYTES - 1);
    memset(d->bounce + d->fill, 0, tail - d->fill);
    d->fill = tail;
    int rc = direct_flush(d, s->path, err);
    if (rc < 0) return rc;
    if (blocks != total && seam_ftruncate(d->fd, (off_t)total) < 0)
        return error_set_errno(err, ERR_IO_WRITE, "cannot cut a file in %s to its size", s->path);
    return 0;
}

/* 1 when this file system does not take O_DIRECT; then there is no file. */
static int try_direct(struct local_store *s, const char *tmp, mode_t mode, const struct bytes *parts, size_t n,
                      uint64_t total, int *ret_fd, struct error *err) {
    struct direct d = {.fd = seam_openat(s->root, tmp, O_WRONLY | O_CREAT | O_EXCL | O_DIRECT | O_CLOEXEC, mode)};
    if (d.fd < 0 && errno == EINVAL) {
        local_drop_tmp(s, tmp); /* some systems make the file before they refuse it */
        return 1;
    }
    if (d.fd < 0) return refused(s, "a file in", err);
    d.bounce = seam_alloc_aligned(ALIGN_BYTES, BOUNCE_BYTES);
    int rc = d.bounce != NULL ? write_direct(s, &d, parts, n, total, err)
                              : error_set_errno(err, ERR_NO_MEMORY, "cannot have memory to write an object");
    seam_free(d.bounce);
    if (rc == 0) {
        *ret_fd = d.fd;
        return 0;
    }
    io_close(&d.fd);
    local_drop_tmp(s, tmp);
    if (!d.refused) return rc;
    error_clear(err);
    return 1;
}

int local_write_tmp(struct local_store *s, const struct bytes *parts, size_t n, mode_t mode, char tmp[TMP_NAME_BYTES],
                    int *ret_fd, struct error *err) {
    int rc = make_tmp_folder(s, err);
    if (rc < 0) return rc;
    rc = name_tmp(tmp, err);
    if (rc < 0) return rc;
    uint64_t total = 0;
    for (size_t i = 0; i < n; i++) total += parts[i].len;
    if (total >= DIRECT_BYTES_MIN && !atomic_load(&s->direct_refused)) {
        rc = try_direct(s, tmp, mode, parts, n, total, ret_fd, err);
        if (rc <= 0) return rc;
        atomic_store(&s->direct_refused, true);
    }
    int fd = seam_openat(s->root, tmp, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, mode);
    if (fd < 0) return refused(s, "a file in", err);
    rc = write_buffered(s, fd, parts, n, err);
    if (rc < 0) {
        io_close(&fd);
        local_drop_tmp(s, tmp);
        return rc;
    }
    *ret_fd = fd;
    return 0;
}
