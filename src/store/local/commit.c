#include "base/seam.h"
#include "store/local/local_internal.h"

#define COMPARE_BYTES ((size_t)128 << 10)

/* Others go on staging meanwhile, which may move the list, so it is only touched under the lock; the entries below the
 * length seen at the start are the committer's alone. */
static struct staged copy_at(struct local_store *s, size_t i) {
    pthread_mutex_lock(&s->lock);
    struct staged g = s->staged[i];
    pthread_mutex_unlock(&s->lock);
    return g;
}

static void mark_synced(struct local_store *s, size_t i) {
    pthread_mutex_lock(&s->lock);
    io_close(&s->staged[i].fd);
    s->staged_open--;
    pthread_mutex_unlock(&s->lock);
}

static size_t length(struct local_store *s) {
    pthread_mutex_lock(&s->lock);
    size_t n = s->staged_len;
    pthread_mutex_unlock(&s->lock);
    return n;
}

static void drop_first(struct local_store *s, size_t n) {
    if (n == 0) return;
    pthread_mutex_lock(&s->lock);
    for (size_t i = 0; i < n; i++) seam_free(s->staged[i].key);
    s->staged_len -= n;
    memmove(s->staged, s->staged + n, s->staged_len * sizeof *s->staged);
    pthread_mutex_unlock(&s->lock);
}

static int sync_files(struct local_store *s, size_t len, struct error *err) {
    for (size_t i = 0; i < len; i++) {
        struct staged g = copy_at(s, i);
        if (g.fd < 0) continue;
        int rc = local_sync(s, g.fd, g.key, err);
        if (rc < 0) return rc;
        mark_synced(s, i);
    }
    return 0;
}

static int read_both(int a, int b, uint8_t *p, uint64_t at, const char *key, bool *ret_same, bool *ret_end,
                     struct error *err) {
    size_t na, nb;
    int rc = io_pread_full(a, p, COMPARE_BYTES, at, &na, key, err);
    if (rc < 0) return rc;
    rc = io_pread_full(b, p + COMPARE_BYTES, COMPARE_BYTES, at, &nb, key, err);
    if (rc < 0) return rc;
    *ret_same = na == nb && memcmp(p, p + COMPARE_BYTES, na) == 0;
    *ret_end = na < COMPARE_BYTES;
    return 0;
}

static int is_same(struct local_store *s, const char *tmp, const char *key, bool *ret_same, struct error *err) {
    int a = seam_openat(s->root, tmp, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC, 0);
    int b = a < 0 ? -1 : seam_openat(s->root, key, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC, 0);
    void *p = NULL;
    int rc = b < 0 ? error_set_errno(err, ERR_IO_READ, "cannot compare the object %s in %s", key, s->path)
                   : mem_alloc(2 * COMPARE_BYTES, &p, err);
    bool same = true, end = false;
    for (uint64_t at = 0; rc == 0 && p != NULL && same && !end; at += COMPARE_BYTES)
        rc = read_both(a, b, p, at, key, &same, &end, err);
    /* The other's bytes become our promise, so they have to be durable too. */
    if (rc == 0 && same) rc = local_sync(s, b, key, err);
    seam_free(p);
    io_close(&a);
    io_close(&b);
    *ret_same = same;
    return rc;
}

static int place_one(struct local_store *s, const struct staged *g, struct names *touched, bool *ret_gone,
                     struct error *err) {
    int rc = local_place(s, g->tmp, g->key, false, touched, err);
    *ret_gone = rc == 0;
    if (rc != -ERR_OBJECT_EXISTS) return rc;
    struct error why = ERROR_INIT;
    bool same;
    rc = is_same(s, g->tmp, g->key, &same, &why);
    if (rc < 0) {
        *err = why;
        return rc;
    }
    *ret_gone = true;
    local_drop_tmp(s, g->tmp);
    if (same) {
        error_clear(err);
        return 0;
    }
    error_clear(err);
    return error_set(err, ERR_OBJECT_EXISTS, "the object %s exists already in %s, with other bytes", g->key, s->path);
}

static int place_all(struct local_store *s, size_t len, struct error *err) {
    CLEANUP(names_free) struct names touched = {0};
    int rc = 0;
    size_t done = 0;
    while (rc == 0 && done < len) {
        struct staged g = copy_at(s, done);
        bool gone = false;
        rc = place_one(s, &g, &touched, &gone, err);
        done += gone;
    }
    drop_first(s, done);
    /* The names that were given are visible, whatever stopped the rest, so they are made durable all the same. */
    struct error also = ERROR_INIT;
    int synced = local_sync_folders(s, &touched, rc == 0 ? err : &also);
    return rc < 0 ? rc : synced;
}

int local_commit(struct store *st, struct error *err) {
    struct local_store *s = (struct local_store *)st;
    int rc = local_check_latch(s, err);
    if (rc < 0) return rc;
    pthread_mutex_lock(&s->committing);
    size_t len = length(s);
    rc = sync_files(s, len, err);
    if (rc == 0) rc = place_all(s, len, err);
    pthread_mutex_unlock(&s->committing);
    return rc;
}
