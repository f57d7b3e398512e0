/* The pack that was mended last, whole, as what is read from a damaged pack comes in pieces. */
#include "repo/parity.h"
#include "repo/repo_internal.h"

static int load(struct repo *r, bool meta, const struct digest *name, struct error *err) {
    struct mended *m = &r->mended;
    struct buf b = BUF_INIT(PACK_BYTES_MAX);
    char key[96];
    seam_free(m->bytes);
    m->bytes = NULL;
    m->len = 0;
    pack_key(meta, name, key);
    int rc = store_read_all(r->store, key, b.max_bytes, &b, err);
    if (rc == 0) rc = parity_mend(buf_bytes(&b), name, &m->bytes, &m->len, NULL, err);
    buf_free(&b);
    m->known = rc == 0 || rc == -ERR_OBJECT_CORRUPT;
    m->name = *name;
    return rc < 0 ? error_wrap(err, "%s", key) : 0;
}

int mended_read(struct repo *r, bool meta, const struct digest *name, uint64_t at, void *p, size_t n,
                uint64_t *ret_size, struct error *err) {
    struct mended *m = &r->mended;
    pthread_mutex_lock(&m->lock);
    int rc = m->known && digest_equal(&m->name, name) ? 0 : load(r, meta, name, err);
    if (rc == 0 && !m->bytes) rc = error_set(err, ERR_OBJECT_CORRUPT, "it cannot be mended");
    if (rc == 0 && (at > m->len || n > m->len - at))
        rc = error_set(err, ERR_OBJECT_CORRUPT, "it is shorter than it says");
    if (rc == 0) memcpy(p, m->bytes + at, n);
    if (rc == 0 && ret_size) *ret_size = m->len;
    pthread_mutex_unlock(&m->lock);
    return rc;
}

void mended_free(struct repo *r) {
    seam_free(r->mended.bytes);
    pthread_mutex_destroy(&r->mended.lock);
}
