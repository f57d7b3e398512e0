#include "surface/files/bounce.h"
#include "base/seam.h"
#include "base/thread.h"
#include <errno.h>

bool bounce_ready(struct bounce *b) {
    if (!b->p) b->p = seam_alloc_aligned(BOUNCE_ALIGN, BOUNCE_BYTES);
    return b->p;
}

static int write_now(struct bounce_file *f, const uint8_t *p, size_t n, uint64_t at, struct error *err) {
    struct error first = ERROR_INIT;
    int rc = io_pwrite_full(f->fd, p, n, at, f->text, &first);
    if (rc && first.sys_errno == EINVAL) {
        /* A device with coarser blocks than ours: go on through the page cache. */
        int fd = seam_openat(f->dir, f->comp, O_WRONLY | O_NOFOLLOW, 0);
        if (fd < 0) return error_set_errno(err, ERR_IO_WRITE, "open again '%s'", f->text);
        io_close(&f->fd);
        f->fd = fd;
        return io_pwrite_full(f->fd, p, n, at, f->text, err);
    }
    if (rc) *err = first;
    return rc;
}

static void *behind_run(void *arg) {
    struct bounce *b = arg;
    pthread_mutex_lock(&b->lock);
    for (;;) {
        while (!b->busy && !b->ending) pthread_cond_wait(&b->cond, &b->lock);
        if (!b->busy) break;
        pthread_mutex_unlock(&b->lock);
        int rc = write_now(b->file, b->other, b->n, b->at, &b->err);
        pthread_mutex_lock(&b->lock);
        b->rc = rc;
        b->busy = false;
        pthread_cond_broadcast(&b->cond);
    }
    pthread_mutex_unlock(&b->lock);
    return NULL;
}

/* Whether there is a second thread, with a buffer for it. */
static bool behind_start(struct bounce *b) {
    struct error none = ERROR_INIT;
    if (b->started) return true;
    if (!b->other && !(b->other = seam_alloc_aligned(BOUNCE_ALIGN, BOUNCE_BYTES))) return false;
    pthread_mutex_init(&b->lock, NULL);
    pthread_cond_init(&b->cond, NULL);
    b->started = thread_start(&b->thread, behind_run, b, &none) == 0;
    if (!b->started) {
        pthread_cond_destroy(&b->cond);
        pthread_mutex_destroy(&b->lock);
    }
    return b->started;
}

int bounce_wait(struct bounce *b, struct error *err) {
    if (!b->started) return 0;
    pthread_mutex_lock(&b->lock);
    while (b->busy) pthread_cond_wait(&b->cond, &b->lock);
    const int rc = b->rc;
    b->rc = 0;
    pthread_mutex_unlock(&b->lock);
    if (rc) *err = b->err;
    return rc;
}

int bounce_write(struct bounce *b, struct bounce_file *f, size_t n, uint64_t at, bool behind, struct error *err) {
    if (n == 0) return 0;
    int rc = bounce_wait(b, err);
    if (rc) return rc;
    if (!behind || !behind_start(b)) return write_now(f, b->p, n, at, err);
    uint8_t *full = b->p;
    pthread_mutex_lock(&b->lock);
    b->p = b->other;
    b->other = full;
    b->file = f;
    b->n = n;
    b->at = at;
    error_clear(&b->err);
    b->busy = true;
    pthread_cond_broadcast(&b->cond);
    pthread_mutex_unlock(&b->lock);
    return 0;
}

void bounce_rest(struct bounce *b) {
    if (b->started) {
        pthread_mutex_lock(&b->lock);
        b->ending = true;
        pthread_cond_broadcast(&b->cond);
        pthread_mutex_unlock(&b->lock);
        pthread_join(b->thread, NULL);
        pthread_cond_destroy(&b->cond);
        pthread_mutex_destroy(&b->lock);
    }
    seam_free(b->other);
    *b = (struct bounce){.p = b->p};
}

void bounce_free(struct bounce *b) {
    bounce_rest(b);
    seam_free(b->p);
    b->p = NULL;
}
