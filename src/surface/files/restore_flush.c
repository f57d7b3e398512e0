#include "surface/files/restore_internal.h"
#include <errno.h>

/* Written while others are made, so that little is left to wait for at the end; not by the kernel's own rule, which
 * begins at a tenth of the memory. */
#define FLUSH_BYTES ((uint64_t)256 << 20)

struct flush {
    int fd, why; /* why: errno; an error is told once, so it must not be lost here */
    pthread_t thread;
    pthread_mutex_t lock;
    pthread_cond_t wake;
    bool due, last, over;       /* over: whatever was made is given up */
    atomic_uint_fast64_t asked; /* bytes made when a flush was last asked for */
};

static void *flush_run(void *arg) {
    struct flush *f = arg;
    pthread_mutex_lock(&f->lock);
    for (bool last = false; !last;) {
        while (!f->due && !f->last && !f->over) pthread_cond_wait(&f->wake, &f->lock);
        if (f->over) break;
        last = f->last;
        f->due = false;
        pthread_mutex_unlock(&f->lock);
        const int why = seam_syncfs(f->fd) < 0 ? errno : 0;
        pthread_mutex_lock(&f->lock);
        if (!f->why) f->why = why;
    }
    pthread_mutex_unlock(&f->lock);
    return NULL;
}

static void flush_free(struct flush *f) {
    pthread_cond_destroy(&f->wake);
    pthread_mutex_destroy(&f->lock);
    seam_free(f);
}

void flush_begin(struct restore *r) {
    struct error ignored = ERROR_INIT;
    void *p;
    if (mem_alloc(sizeof(struct flush), &p, &ignored)) return;
    struct flush *f = p;
    f->fd = r->base->dir.fd;
    pthread_mutex_init(&f->lock, NULL);
    pthread_cond_init(&f->wake, NULL);
    r->flush = f;
    if (thread_start(&f->thread, flush_run, f, &ignored) == 0) return;
    flush_free(f);
    r->flush = NULL;
}

static void wake(struct flush *f, bool *flag) {
    pthread_mutex_lock(&f->lock);
    *flag = true;
    pthread_cond_signal(&f->wake);
    pthread_mutex_unlock(&f->lock);
}

void flush_ask(struct restore *r) {
    struct flush *f = r->flush;
    if (!f) return;
    const uint_fast64_t made = atomic_load(&r->bytes);
    uint_fast64_t asked = atomic_load(&f->asked);
    if (made - asked < FLUSH_BYTES || !atomic_compare_exchange_strong(&f->asked, &asked, made)) return;
    wake(f, &f->due);
}

void flush_last(struct restore *r) {
    if (r->flush) wake(r->flush, &r->flush->last);
}

int flush_end(struct restore *r, struct error *err) {
    struct flush *f = r->flush;
    if (!f) return 0;
    if (!f->last) wake(f, &f->over);
    pthread_join(f->thread, NULL);
    const int why = f->why;
    flush_free(f);
    r->flush = NULL;
    if (!why) return 0;
    errno = why;
    return error_set_errno(err, ERR_IO_SYNC, "make the restored contents durable");
}
