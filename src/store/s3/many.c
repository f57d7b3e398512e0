#include "store/s3/s3_internal.h"

/* Many requests at once: one thread each, up to as many as there are connections. */
struct many {
    struct s3_store *s;
    pthread_mutex_t lock;
    pthread_cond_t ended;
    size_t left;
};
struct task {
    struct many *m;
    struct store_get *get; /* NULL: remove */
    const char *key;
    struct error err;
};

static void run(void *arg) {
    struct task *t = arg;
    struct many *m = t->m;
    if (t->get) {
        t->get->err = ERROR_INIT;
        (void)!s3_get(m->s, t->get->key, t->get->at, t->get->p, t->get->len, &t->get->n, &t->get->created_ns,
                      &t->get->err);
    } else {
        (void)!s3_remove(&m->s->base, t->key, &t->err);
    }
    pthread_mutex_lock(&m->lock);
    if (--m->left == 0) pthread_cond_broadcast(&m->ended);
    pthread_mutex_unlock(&m->lock);
}

/* NULL when there can be none: then everything is done one after the other. */
struct pool *s3_readers(struct s3_store *s) {
    struct error e = ERROR_INIT;
    pthread_mutex_lock(&s->lock);
    if (!s->readers && pool_new(s->place.connections, 2 * s->place.connections, &s->readers, &e) < 0) s->readers = NULL;
    struct pool *p = s->readers;
    pthread_mutex_unlock(&s->lock);
    return p;
}

static void run_all(struct many *m, struct task *tasks, size_t n) {
    struct pool *p = n > 1 ? s3_readers(m->s) : NULL;
    pthread_mutex_init(&m->lock, NULL);
    pthread_cond_init(&m->ended, NULL);
    m->left = n;
    for (size_t i = 1; i < n && p; i++) pool_submit(p, run, &tasks[i]);
    const size_t here = p ? 1 : n;
    for (size_t i = 0; i < here; i++) run(&tasks[i]);
    pthread_mutex_lock(&m->lock);
    while (m->left > 0) pthread_cond_wait(&m->ended, &m->lock);
    pthread_mutex_unlock(&m->lock);
    pthread_cond_destroy(&m->ended);
    pthread_mutex_destroy(&m->lock);
}

#define AT_ONCE 64

void s3_get_many(struct store *st, struct store_get *gets, size_t n) {
    for (size_t at = 0; at < n; at += AT_ONCE) {
        struct many m = {.s = (struct s3_store *)st};
        struct task tasks[AT_ONCE];
        size_t some = n - at < AT_ONCE ? n - at : AT_ONCE;
        for (size_t i = 0; i < some; i++) tasks[i] = (struct task){.m = &m, .get = &gets[at + i]};
        run_all(&m, tasks, some);
    }
}

int s3_remove_each(struct s3_store *s, const char *const *keys, size_t n, struct error *err) {
    for (size_t at = 0; at < n; at += AT_ONCE) {
        struct many m = {.s = s};
        struct task tasks[AT_ONCE];
        size_t some = n - at < AT_ONCE ? n - at : AT_ONCE;
        for (size_t i = 0; i < some; i++) tasks[i] = (struct task){.m = &m, .key = keys[at + i], .err = ERROR_INIT};
        run_all(&m, tasks, some);
        for (size_t i = 0; i < some; i++)
            if (tasks[i].err.code) {
                *err = tasks[i].err;
                return -(int)err->code;
            }
    }
    return 0;
}
