#include "base/seam.h"
#include "base/thread.h"

struct task {
    pool_task run;
    void *arg;
};

struct pool {
    pthread_mutex_t lock;
    pthread_cond_t item, idle; /* idle: the last task ended, or one was queued that a drainer may help with */
    size_t slots, first, count;
    size_t unfinished; /* queued and running */
    bool ending;
    unsigned threads; /* started */
    pthread_t *ids;
    struct task *ring;
};

/* Takes the oldest task out; the lock is held and there is one. */
static struct task task_take(struct pool *p) {
    struct task t = p->ring[p->first];
    p->first = (p->first + 1) % p->slots;
    p->count--;
    return t;
}

/* Runs t without the lock, which is held on entry and on return. */
static void task_run(struct pool *p, struct task t) {
    pthread_mutex_unlock(&p->lock);
    t.run(t.arg);
    pthread_mutex_lock(&p->lock);
    if (--p->unfinished == 0) pthread_cond_broadcast(&p->idle);
}

static void *pool_worker(void *arg) {
    struct pool *p = arg;
    pthread_mutex_lock(&p->lock);
    for (;;) {
        while (p->count == 0 && !p->ending) pthread_cond_wait(&p->item, &p->lock);
        if (p->count == 0) break;
        task_run(p, task_take(p));
    }
    pthread_mutex_unlock(&p->lock);
    return NULL;
}

int pool_new(unsigned threads, size_t slots, struct pool **ret, struct error *err) {
    void *m = NULL, *ids = NULL, *ring = NULL;
    if (slots == 0 || slots > SIZE_MAX / sizeof(struct task))
        return error_set(err, ERR_INTERNAL, "a pool of %zu slots", slots);
    int rc = mem_alloc(sizeof(struct pool), &m, err);
    if (rc) return rc;
    struct pool *p = m;
    pthread_mutex_init(&p->lock, NULL);
    pthread_cond_init(&p->item, NULL);
    pthread_cond_init(&p->idle, NULL);
    p->slots = slots;
    rc = mem_alloc(threads * sizeof(pthread_t), &ids, err);
    p->ids = ids;
    if (rc == 0) rc = mem_alloc(slots * sizeof(struct task), &ring, err);
    p->ring = ring;
    while (rc == 0 && p->threads < threads) {
        rc = thread_start(&p->ids[p->threads], pool_worker, p, err);
        if (rc == 0) p->threads++;
    }
    if (rc)
        pool_free(p);
    else
        *ret = p;
    return rc;
}

void pool_submit(struct pool *p, pool_task run, void *arg) {
    pthread_mutex_lock(&p->lock);
    while (p->count == p->slots) task_run(p, task_take(p));
    p->ring[(p->first + p->count++) % p->slots] = (struct task){run, arg};
    p->unfinished++;
    pthread_cond_signal(&p->item);
    /* A drainer that waits may help; without workers it is the only one to. */
    pthread_cond_broadcast(&p->idle);
    pthread_mutex_unlock(&p->lock);
}

void pool_drain(struct pool *p) {
    pthread_mutex_lock(&p->lock);
    while (p->unfinished > 0) {
        if (p->count > 0)
            task_run(p, task_take(p));
        else
            pthread_cond_wait(&p->idle, &p->lock);
    }
    pthread_mutex_unlock(&p->lock);
}

void pool_free(struct pool *p) {
    if (!p) return;
    pool_drain(p);
    pthread_mutex_lock(&p->lock);
    p->ending = true;
    pthread_cond_broadcast(&p->item);
    pthread_mutex_unlock(&p->lock);
    for (unsigned i = 0; i < p->threads; i++) pthread_join(p->ids[i], NULL);
    pthread_cond_destroy(&p->idle);
    pthread_cond_destroy(&p->item);
    pthread_mutex_destroy(&p->lock);
    seam_free(p->ids);
    seam_free(p->ring);
    seam_free(p);
}
