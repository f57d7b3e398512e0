/* Regular files on their way from the walk to the workers, in batches of one folder: to hand over a small file by
 * itself costs more than to write it. */
#include "surface/files/restore_internal.h"
#include <sched.h>

#define BATCH_FILES 32
#define BATCH_BYTES (256u << 10) /* of content; larger files go by themselves */
#define TEXT_BYTES_MAX (BATCH_FILES * (ATTR_BYTES_MAX + 65536ull))

struct rbatch {
    struct rdir *d; /* a reference, in use */
    int dir;
    unsigned n;
    uint64_t bytes;
    struct buf text; /* of each: name, 0, record */
    struct {
        struct source_head head; /* name and attr point into text once it is complete */
        size_t at, comp;
    } files[BATCH_FILES];
};

static void batch_free(struct restore *r, struct rbatch *b) {
    if (!b) return;
    dir_put(&r->dirs, &b->d->dir);
    dir_unref(&r->dirs, &b->d->dir);
    buf_free(&b->text);
    seam_free(b);
}

static int batch_begin(struct restore *r, struct rdir *d, struct bytes name, struct error *err) {
    void *p;
    int rc = mem_alloc(sizeof(struct rbatch), &p, err);
    if (rc) return rc;
    struct rbatch *b = p;
    b->dir = dir_get(&r->dirs, &d->dir);
    if (b->dir < 0) {
        seam_free(b);
        return restore_open_failed(r, name, err);
    }
    dir_ref(&d->dir);
    b->d = d;
    b->text = BUF_INIT(TEXT_BYTES_MAX);
    r->filling = b;
    return 0;
}

void restore_queue_flush(struct restore *r) {
    struct rbatch *b = r->filling;
    r->filling = NULL;
    if (!b) return;
    for (unsigned i = 0; i < b->n; i++) {
        struct source_head *h = &b->files[i].head;
        h->name.ptr = b->text.ptr + b->files[i].at;
        h->attr.ptr = h->name.ptr + h->name.len + 1;
    }
    if (!queue_push(r->queue, b)) batch_free(r, b);
}

int restore_queue(struct restore *r, struct rdir *d, const struct source_head *h, struct error *err) {
    struct rbatch *b = r->filling;
    if (b && (b->d != d || b->n == BATCH_FILES || b->bytes + h->bytes > BATCH_BYTES)) restore_queue_flush(r);
    int rc = r->filling ? 0 : batch_begin(r, d, h->name, err);
    if (rc) return rc;
    b = r->filling;
    const uint8_t *slash = memrchr(h->name.ptr, '/', h->name.len);
    size_t at = b->text.len;
    rc = buf_append(&b->text, h->name.ptr, h->name.len, err);
    if (rc == 0) rc = buf_append(&b->text, "", 1, err);
    if (rc == 0) rc = buf_append(&b->text, h->attr.ptr, h->attr.len, err);
    if (rc) {
        b->text.len = at;
        return rc;
    }
    b->files[b->n].head = *h;
    b->files[b->n].at = at;
    b->files[b->n++].comp = slash ? (size_t)(slash + 1 - h->name.ptr) : 0;
    b->bytes += h->bytes;
    return 0;
}

void restore_queue_end(struct restore *r) {
    batch_free(r, r->filling);
    r->filling = NULL;
    queue_free(r->queue);
}

/* In a private folder files may have their modes from the start, unless a umask takes bits away. It is the process's;
 * so a worker that may gets one of its own. Without, the mode is set afterwards. */
static void umask_own(const struct restore *r) {
    if (!r->in_place && unshare(CLONE_FS) == 0) umask(0);
}

void *restore_work(void *arg) {
    struct restore *r = arg;
    struct bounce bounce = {0};
    void *p;
    umask_own(r);
    while (queue_pop(r->queue, &p)) {
        struct rbatch *b = p;
        for (unsigned i = 0; i < b->n && !atomic_load(&r->failed); i++) {
            const struct source_head *h = &b->files[i].head;
            const char *comp = (const char *)h->name.ptr + b->files[i].comp;
            struct error err = ERROR_INIT;
            if (restore_file(r, b->dir, b->d, comp, h->name, h, &bounce, &err)) restore_fail(r, &err);
            restore_progress(r);
        }
        batch_free(r, b);
    }
    bounce_free(&bounce);
    return NULL;
}
