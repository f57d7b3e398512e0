#include "base/seam.h"
#include "store/local/local_internal.h"

/* Descriptors are scarce and objects are not: past this many, an object is fsynced as soon as it is staged. */
#define STAGED_OPEN_MAX 128

static int keep(struct local_store *s, struct staged *g, struct error *err) {
    pthread_mutex_lock(&s->lock);
    void *grown = s->staged;
    int rc = mem_grow(&grown, &s->staged_cap, s->staged_len + 1, sizeof *s->staged, err);
    s->staged = grown;
    if (rc == 0) s->staged[s->staged_len++] = *g;
    if (rc == 0 && g->fd >= 0) s->staged_open++;
    pthread_mutex_unlock(&s->lock);
    return rc;
}

int local_stage(struct store *st, const char *key, const struct bytes *parts, size_t n, struct error *err) {
    struct local_store *s = (struct local_store *)st;
    int rc = local_check_latch(s, err);
    if (rc < 0) return rc;
    struct staged g = {.fd = -1};
    rc = mem_strdup(key, &g.key, err);
    if (rc < 0) return rc;
    rc = local_write_tmp(s, parts, n, 0400, g.tmp, &g.fd, err);
    if (rc < 0) {
        seam_free(g.key);
        return error_wrap(err, "storing %s", key);
    }
    pthread_mutex_lock(&s->lock);
    bool crowded = s->staged_open >= STAGED_OPEN_MAX;
    pthread_mutex_unlock(&s->lock);
    if (crowded) {
        rc = local_sync(s, g.fd, key, err);
        io_close(&g.fd);
    }
    if (rc == 0) rc = keep(s, &g, err);
    if (rc == 0) return 0;
    io_close(&g.fd);
    local_drop_tmp(s, g.tmp);
    seam_free(g.key);
    return rc;
}
