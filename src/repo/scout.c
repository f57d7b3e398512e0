#include "repo/scout.h"
#include "base/seam.h"
#include "base/thread.h"

#define STEP_BYTES (256u << 10) /* that a reader comes on before the scout is told */
#define RUN_BYTES (1u << 20)    /* that one thread takes: about a frame */
#define RUN_CHUNKS 64

struct scout {
    struct snapshot *s;
    uint64_t window;
    pthread_t threads[SCOUT_THREADS_MAX];
    unsigned n;
    pthread_mutex_t lock;
    pthread_cond_t wake;
    uint64_t told; /* the reader's own: what it said last */
    atomic_bool over;
    /* under the lock */
    struct ritem *it;       /* what is not yet taken */
    uint64_t at;            /* of the reader */
    uint64_t taken, opened; /* of the item; of frames for that */
};

/* The next chunks that are worth it, when the reader has come near enough; 0 at the end. */
static unsigned run_take(struct scout *c, struct digest *ids) {
    struct error none = ERROR_INIT;
    struct ritem_extent x;
    unsigned n = 0;
    uint64_t bytes = 0;
    pthread_mutex_lock(&c->lock);
    /* Of frames that hold little of the item there would soon be more than the cache has room for. */
    if (c->opened > 2 * c->taken + c->window) c->over = true;
    while (!c->over && n < RUN_CHUNKS && bytes < RUN_BYTES) {
        if (atomic_load(&stop_signal) || ritem_peek(c->it, &x, &none) < 0) {
            c->over = true;
        } else if (!x.len) {
            break;
        } else if (n == 0 && x.at > c->at && x.at + x.len - c->at > c->window) {
            pthread_cond_wait(&c->wake, &c->lock);
        } else {
            ritem_skip(c->it);
            if (x.hole || x.at < c->at) continue;
            ids[n++] = x.id;
            bytes += x.len;
        }
    }
    c->taken += bytes;
    pthread_mutex_unlock(&c->lock);
    return n;
}

static void over_say(struct scout *c) {
    pthread_mutex_lock(&c->lock);
    c->over = true;
    pthread_cond_broadcast(&c->wake);
    pthread_mutex_unlock(&c->lock);
}

static bool run_decode(struct scout *c, const struct digest *ids, unsigned n) {
    struct error none = ERROR_INIT;
    size_t bytes = 0, opened = 0;
    bool good = true;
    for (unsigned i = 0; i < n && good; i++) {
        good = !c->over && !atomic_load(&stop_signal) && snapshot_ahead(c->s, &ids[i], &bytes, &none) == 0;
        opened += good ? bytes : 0;
    }
    pthread_mutex_lock(&c->lock);
    c->opened += opened;
    pthread_mutex_unlock(&c->lock);
    return good;
}

static void *scout_run(void *arg) {
    struct scout *c = arg;
    struct digest ids[RUN_CHUNKS];
    unsigned n;
    while ((n = run_take(c, ids)) > 0)
        if (!run_decode(c, ids, n)) over_say(c);
    return NULL;
}

struct scout *scout_start(struct snapshot *s, const struct item_head *h, unsigned threads, uint64_t window,
                          uint64_t at) {
    struct error none = ERROR_INIT;
    void *mem;
    if (mem_alloc(sizeof(struct scout), &mem, &none) < 0) return NULL;
    struct scout *c = mem;
    c->s = s;
    c->window = window;
    c->at = c->told = at;
    pthread_mutex_init(&c->lock, NULL);
    pthread_cond_init(&c->wake, NULL);
    int rc = ritem_open(s, h, &c->it, &none);
    if (rc == 0) rc = ritem_seek(c->it, at, &none);
    while (rc == 0 && c->n < threads && c->n < SCOUT_THREADS_MAX &&
           (rc = thread_start(&c->threads[c->n], scout_run, c, &none)) == 0)
        c->n++;
    if (c->n) return c;
    scout_end(c);
    return NULL;
}

void scout_follow(struct scout *c, uint64_t at) {
    if (at - c->told < STEP_BYTES || pthread_mutex_trylock(&c->lock) != 0) return; /* a list is being read */
    c->told = at;
    c->at = at;
    pthread_cond_broadcast(&c->wake);
    pthread_mutex_unlock(&c->lock);
}

void scout_end(struct scout *c) {
    if (!c) return;
    over_say(c);
    for (unsigned i = 0; i < c->n; i++) pthread_join(c->threads[i], NULL);
    ritem_close(c->it);
    pthread_cond_destroy(&c->wake);
    pthread_mutex_destroy(&c->lock);
    seam_free(c);
}
