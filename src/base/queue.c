#include "base/seam.h"
#include "base/thread.h"

struct queue {
    pthread_mutex_t lock;
    pthread_cond_t room, item;
    size_t slots, first, count;
    bool closed;
    void *ring[];
};

int queue_new(size_t slots, struct queue **ret, struct error *err) {
    struct queue *q;
    void *p = NULL;
    if (slots == 0 || slots > (SIZE_MAX - sizeof *q) / sizeof q->ring[0])
        return error_set(err, ERR_INTERNAL, "a queue of %zu slots", slots);
    int rc = mem_alloc(sizeof *q + slots * sizeof q->ring[0], &p, err);
    if (rc) return rc;
    q = p;
    q->slots = slots;
    pthread_mutex_init(&q->lock, NULL);
    pthread_cond_init(&q->room, NULL);
    pthread_cond_init(&q->item, NULL);
    *ret = q;
    return 0;
}

void queue_free(struct queue *q) {
    if (!q) return;
    pthread_cond_destroy(&q->item);
    pthread_cond_destroy(&q->room);
    pthread_mutex_destroy(&q->lock);
    seam_free(q);
}

bool queue_push(struct queue *q, void *p) {
    pthread_mutex_lock(&q->lock);
    while (q->count == q->slots && !q->closed) pthread_cond_wait(&q->room, &q->lock);
    bool open = !q->closed;
    if (open) {
        q->ring[(q->first + q->count++) % q->slots] = p;
        pthread_cond_signal(&q->item);
    }
    pthread_mutex_unlock(&q->lock);
    return open;
}

static bool pop(struct queue *q, bool wait, void **ret_p) {
    pthread_mutex_lock(&q->lock);
    while (wait && q->count == 0 && !q->closed) pthread_cond_wait(&q->item, &q->lock);
    bool got = q->count > 0;
    if (got) {
        *ret_p = q->ring[q->first];
        q->first = (q->first + 1) % q->slots;
        q->count--;
        pthread_cond_signal(&q->room);
    }
    pthread_mutex_unlock(&q->lock);
    return got;
}

bool queue_pop(struct queue *q, void **ret_p) {
    return pop(q, true, ret_p);
}

bool queue_try_pop(struct queue *q, void **ret_p) {
    return pop(q, false, ret_p);
}

void queue_close(struct queue *q) {
    pthread_mutex_lock(&q->lock);
    q->closed = true;
    pthread_cond_broadcast(&q->room);
    pthread_cond_broadcast(&q->item);
    pthread_mutex_unlock(&q->lock);
}
