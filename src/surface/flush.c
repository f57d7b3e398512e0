#include "surface/flush.h"
#include "base/seam.h"
#include "base/thread.h"
#include <errno.h>

#define FLUSH_BYTES (128u << 20) /* of content in the page cache; eight times as much did nearly as well */

static void *flush_run(void *arg) {
    struct flush *f = arg;
    pthread_mutex_lock(&f->lock);
    while (!f->ending || f->asked) {
        if (!f->asked) {
            pthread_cond_wait(&f->wake, &f->lock);
            continue;
        }
        f->asked = false;
        pthread_mutex_unlock(&f->lock);
        int why = seam_syncfs(f->fd) < 0 ? errno : 0;
        pthread_mutex_lock(&f->lock);
        if (!f->why) f->why = why;
    }
    pthread_mutex_unlock(&f->lock);
    return NULL;
}

void flush_start(struct flush *f, int fd) {
    struct error ignored = ERROR_INIT;
    f->fd = fd;
    pthread_mutex_init(&f->lock, NULL);
    pthread_cond_init(&f->wake, NULL);
    f->started = thread_start(&f->thread, flush_run, f, &ignored) == 0;
}

void flush_ask(struct flush *f) {
    if (!f->started) return;
    pthread_mutex_lock(&f->lock);
    f->asked = true;
    pthread_cond_signal(&f->wake);
    pthread_mutex_unlock(&f->lock);
}

void flush_count(struct flush *f, uint64_t bytes) {
    if (atomic_fetch_add_explicit(&f->cached, bytes, memory_order_relaxed) % FLUSH_BYTES + bytes >= FLUSH_BYTES)
        flush_ask(f);
}

int flush_end(struct flush *f, bool wanted) {
    if (f->started) {
        pthread_mutex_lock(&f->lock);
        f->ending = true;
        f->asked &= wanted;
        pthread_cond_signal(&f->wake);
        pthread_mutex_unlock(&f->lock);
        pthread_join(f->thread, NULL);
        f->started = false;
    }
    pthread_cond_destroy(&f->wake);
    pthread_mutex_destroy(&f->lock);
    return f->why;
}
