#include "work/wal_internal.h"

#include "base/time.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <unistd.h>

#define PENDING "pending"
#define TAKEN "pending.taken"
#define DONE "pending.done" /* how much of TAKEN is registered */
#define LOCK "pending.lock"
#define READ_BYTES (4u << 20)
#define DUE_ROWS 64
#define ADD_TRIES 16
#define DUE_NS (600 * NS_PER_S)

static int spool_base(struct work *w, const char *environment, const char *surface, char out[4096], struct error *err) {
    const struct config_environment *e = w->config ? config_environment(w->config, environment) : NULL;
    const struct config_surface *s = w->config ? config_surface(w->config, surface) : NULL;
    json_t *settings = NULL;
    int rc = e && s ? config_surface_settings(w->config, e, s, &settings, err) : 0;
    const char *given = json_string_value(json_object_get(json_object_get(settings, "wal"), "spool"));
    if (rc == 0 && given)
        snprintf(out, 4096, "%.4000s", given);
    else
        snprintf(out, 4096, "%.4000s/wal", w->cache_dir);
    json_decref(settings);
    return rc;
}

int wal_spool_open(struct work *w, const char *whose, const char *environment, const char *surface,
                   struct wal_spool *ret, struct error *err) {
    char base[4096], hex[2 * DIGEST_BYTES + 1], ok[WAL_SPOOL_BYTES + 8];
    struct buf b = BUF_INIT(1u << 16);
    struct digest d;
    int rc = spool_base(w, environment, surface, base, err);
    if (rc == 0) rc = buf_printf(&b, err, "%s\n%s\n%s", whose, environment, surface);
    if (rc == 0) sha256(buf_bytes(&b), &d);
    buf_free(&b);
    if (rc < 0) return rc;
    hex_encode(d.b, sizeof d.b, hex);
    snprintf(ret->path, sizeof ret->path, "%s/%.16s", base, hex);
    snprintf(ok, sizeof ok, "%s/ok", ret->path);
    rc = io_mkdirs(ok, 0700, err);
    return rc < 0 ? error_wrap(err, "the spool folder") : 0;
}

/* ---- marks ---- */

static void mark_path(const struct wal_spool *s, const struct wal_name *n, char out[WAL_SPOOL_BYTES + 80]) {
    char name[WAL_NAME_BYTES];
    wal_name_format(n, name);
    snprintf(out, WAL_SPOOL_BYTES + 80, "%s/ok/%s", s->path, name);
}

/* A segment is recycled by giving it another name and writing over it: same inode, another time. */
static void mark_text(const struct stat *st, char out[160]) {
    snprintf(out, 160, "%ju %ju %jd %jd.%09ld\n", (uintmax_t)st->st_dev, (uintmax_t)st->st_ino, (intmax_t)st->st_size,
             (intmax_t)st->st_mtim.tv_sec, st->st_mtim.tv_nsec);
}

int wal_mark_set(const struct wal_spool *s, const struct wal_name *n, const struct stat *st, struct error *err) {
    char path[WAL_SPOOL_BYTES + 80], text[160];
    mark_path(s, n, path);
    mark_text(st, text);
    return io_replace_file(AT_FDCWD, path, BYTES_STR(text), 0600, err);
}

bool wal_mark_holds(const struct wal_spool *s, const struct wal_name *n, const struct stat *st) {
    char path[WAL_SPOOL_BYTES + 80], text[160];
    struct buf b = BUF_INIT(256);
    struct error e = ERROR_INIT;
    mark_path(s, n, path);
    mark_text(st, text);
    bool holds = io_read_file(AT_FDCWD, path, b.max_bytes, &b, &e) == 0 && bytes_equal(buf_bytes(&b), BYTES_STR(text));
    buf_free(&b);
    return holds;
}

void wal_mark_drop(const struct wal_spool *s, const struct wal_name *n) {
    char path[WAL_SPOOL_BYTES + 80];
    mark_path(s, n, path);
    (void)!seam_unlinkat(AT_FDCWD, path, 0);
}

/* ---- what waits for the log ---- */

static void in_spool(const struct wal_spool *s, const char *name, char out[WAL_SPOOL_BYTES + 80]) {
    snprintf(out, WAL_SPOOL_BYTES + 80, "%s/%s", s->path, name);
}

/* Who takes the lines gives the file another name first: what was written into it after that he may not have read. */
static int append_line(const char *path, const char *line, size_t n, bool *ret_taken, struct error *err) {
    struct stat own, now;
    int fd = seam_openat(AT_FDCWD, path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
    if (fd < 0) return error_set_errno(err, ERR_IO_WRITE, "cannot open %s", path);
    int rc = io_write_full(fd, line, n, path, err); /* one write: lines of several processes do not mix */
    if (rc == 0 && seam_fstat(fd, &own) < 0) rc = error_set_errno(err, ERR_IO_READ, "cannot look at %s", path);
    *ret_taken = rc == 0 && (seam_fstatat(AT_FDCWD, path, &now, 0) < 0 || now.st_ino != own.st_ino);
    io_close(&fd); /* not before: its number might be another's by then */
    return rc;
}

int wal_pending_add(const struct wal_spool *s, const struct wal_row *row, struct error *err) {
    char path[WAL_SPOOL_BYTES + 80], hex[2 * DIGEST_BYTES + 1], line[512];
    in_spool(s, PENDING, path);
    hex_encode(row->digest.b, DIGEST_BYTES, hex);
    int n = snprintf(line, sizeof line, "\n%" PRId64 " %s %s %020" PRIu64 "\n", time_now_ns(), row->key, hex,
                     row->object_bytes);
    bool taken = true;
    int rc = 0;
    for (int i = 0; i < ADD_TRIES && taken && rc == 0; i++) /* a line that comes twice does no harm */
        rc = append_line(path, line, (size_t)n, &taken, err);
    return rc;
}

static bool take_word(struct bytes *line, char *out, size_t room) {
    size_t n = 0;
    while (n < line->len && line->ptr[n] != ' ') n++;
    if (n == 0 || n >= room) return false;
    memcpy(out, line->ptr, n);
    out[n] = 0;
    line->ptr += n + (n < line->len);
    line->len -= n + (n < line->len);
    return true;
}

static bool take_number(struct bytes *line, uint64_t *ret) {
    char word[24];
    uint64_t v = 0;
    if (!take_word(line, word, sizeof word)) return false;
    for (const char *p = word; *p; p++) {
        if (*p < '0' || *p > '9') return false;
        v = v * 10 + (uint64_t)(*p - '0');
    }
    *ret = v;
    return true;
}

/* With zeros in front it has 20 digits, or was cut off. Earlier versions wrote none. */
static bool take_size(struct bytes *line, uint64_t *ret) {
    const bool zeros = line->len > 1 && *line->ptr == '0';
    const size_t had = line->len;
    return take_number(line, ret) && (!zeros || had - line->len == 20);
}

/* A line that a crash cut off is passed over: its object is found by listing. */
static int rows_parse(struct bytes text, struct wal_row **ret, size_t *ret_n, uint64_t *ret_since, size_t *ret_used,
                      struct error *err) {
    struct wal_row *rows = NULL;
    size_t n = 0, cap = 0;
    *ret_since = 0;
    *ret_used = 0;
    while (text.len) {
        const uint8_t *end = memchr(text.ptr, '\n', text.len);
        if (!end) break;
        struct bytes line = BYTES_OF(text.ptr, (size_t)(end - text.ptr));
        text.ptr += line.len + 1;
        text.len -= line.len + 1;
        *ret_used += line.len + 1;
        struct wal_row row;
        uint64_t since;
        char hex[2 * DIGEST_BYTES + 1];
        if (!take_number(&line, &since) || !take_word(&line, row.key, sizeof row.key) ||
            !take_word(&line, hex, sizeof hex) || !hex_decode(hex, strlen(hex), row.digest.b, DIGEST_BYTES) ||
            !take_size(&line, &row.object_bytes))
            continue;
        if (!*ret_since) *ret_since = since;
        int rc = mem_grow((void **)&rows, &cap, n + 1, sizeof *rows, err);
        if (rc < 0) {
            seam_free(rows);
            return rc;
        }
        rows[n++] = row;
    }
    *ret = rows;
    *ret_n = n;
    return 0;
}

static int lock_spool(const struct wal_spool *s, int *ret, struct error *err) {
    char path[WAL_SPOOL_BYTES + 80];
    in_spool(s, LOCK, path);
    int fd = seam_openat(AT_FDCWD, path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    if (fd < 0) return error_set_errno(err, ERR_IO_WRITE, "cannot open %s", path);
    if (io_lock(fd) < 0) io_close(&fd);
    *ret = fd;
    return 0;
}

/* Where the rows begin that were taken and are not registered. */
static uint64_t done_read(const struct wal_spool *s) {
    char path[WAL_SPOOL_BYTES + 80];
    struct buf b = BUF_INIT(64);
    struct error e = ERROR_INIT;
    uint64_t at = 0;
    in_spool(s, DONE, path);
    struct bytes line = BYTES_OF(NULL, 0);
    if (io_read_file(AT_FDCWD, path, b.max_bytes, &b, &e) == 0) line = buf_bytes(&b);
    if (!line.len || !take_number(&line, &at)) at = 0;
    buf_free(&b);
    return at;
}

/* Rows from a place on, as many as one reading brings: an archive whose log was out of reach for long leaves many. */
static int read_rows(const char *path, uint64_t at, struct wal_row **ret, size_t *ret_n, uint64_t *ret_since,
                     uint64_t *ret_end, struct error *err) {
    struct buf b = BUF_INIT(READ_BYTES);
    size_t n = 0, used = 0;
    *ret = NULL;
    *ret_n = 0;
    *ret_since = 0;
    *ret_end = at;
    int fd = seam_openat(AT_FDCWD, path, O_RDONLY | O_CLOEXEC, 0);
    if (fd < 0 && errno == ENOENT) return 0;
    if (fd < 0) return error_set_errno(err, ERR_IO_READ, "cannot open %s", path);
    int rc = buf_reserve(&b, READ_BYTES, err);
    if (rc == 0 && seam_lseek(fd, (off_t)at, SEEK_SET) < 0)
        rc = error_set_errno(err, ERR_IO_READ, "cannot read %s", path);
    if (rc == 0) rc = io_read_full(fd, b.ptr, READ_BYTES, &n, path, err);
    if (rc == 0) rc = rows_parse(BYTES_OF(b.ptr, n), ret, ret_n, ret_since, &used, err);
    *ret_end = at + used;
    io_close(&fd);
    buf_free(&b);
    return rc;
}

int wal_pending_take(const struct wal_spool *s, bool now, struct wal_row **ret, size_t *ret_n, int *ret_lock,
                     struct error *err) {
    char pending[WAL_SPOOL_BYTES + 80], taken[WAL_SPOOL_BYTES + 80];
    uint64_t since, end, at;
    *ret_n = 0;
    *ret = NULL;
    int rc = lock_spool(s, ret_lock, err);
    if (rc < 0 || *ret_lock < 0) return rc;
    in_spool(s, PENDING, pending);
    in_spool(s, TAKEN, taken);
    /* what a run took and could not register comes first */
    at = done_read(s);
    rc = read_rows(taken, at, ret, ret_n, &since, &end, err);
    if (rc == 0 && *ret_n == 0) {
        rc = read_rows(pending, 0, ret, ret_n, &since, &end, err);
        bool due = now || *ret_n >= DUE_ROWS || (int64_t)since + DUE_NS < time_now_ns();
        seam_free(*ret);
        *ret = NULL;
        if (rc == 0 && *ret_n && due) {
            in_spool(s, DONE, taken);
            (void)!seam_unlinkat(AT_FDCWD, taken, 0);
            in_spool(s, TAKEN, taken);
            if (seam_renameat2(AT_FDCWD, pending, AT_FDCWD, taken, 0) < 0)
                rc = error_set_errno(err, ERR_IO_WRITE, "cannot rename %s", pending);
            else
                rc = read_rows(taken, 0, ret, ret_n, &since, &end, err);
        } else
            *ret_n = 0;
    }
    if (rc < 0 || *ret_n == 0) io_close(ret_lock);
    return rc;
}

/* Rows that were registered and not noted so are registered again, which does no harm. */
int wal_pending_done(const struct wal_spool *s, bool registered, bool *ret_more, int *lock, struct error *err) {
    char taken[WAL_SPOOL_BYTES + 80], done[WAL_SPOOL_BYTES + 80], text[32];
    struct wal_row *rows = NULL;
    uint64_t since, end, next;
    size_t n = 0;
    int rc = 0;
    *ret_more = false;
    in_spool(s, TAKEN, taken);
    in_spool(s, DONE, done);
    if (registered) {
        rc = read_rows(taken, done_read(s), &rows, &n, &since, &end, err);
        seam_free(rows);
        if (rc == 0) rc = read_rows(taken, end, &rows, &n, &since, &next, err);
        seam_free(rc == 0 ? rows : NULL);
        *ret_more = rc == 0 && n > 0;
        snprintf(text, sizeof text, "%" PRIu64 " ", end);
        if (*ret_more)
            rc = io_replace_file(AT_FDCWD, done, BYTES_STR(text), 0600, err);
        else if (rc == 0) {
            (void)!seam_unlinkat(AT_FDCWD, taken, 0);
            (void)!seam_unlinkat(AT_FDCWD, done, 0);
        }
    }
    io_close(lock);
    return rc;
}
