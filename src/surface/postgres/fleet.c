#include "surface/postgres/fleet.h"

static void fail(struct pg_fleet *f, const struct error *err) {
    pthread_mutex_lock(&f->lock);
    if (!atomic_load(&f->failed)) {
        f->err = *err;
        atomic_store(&f->failed, true);
    }
    pthread_cond_broadcast(&f->moved);
    pthread_mutex_unlock(&f->lock);
}

static void *member_run(void *arg) {
    struct pg_fleet *f = arg;
    for (size_t i; !atomic_load(&f->failed) && (i = atomic_fetch_add(&f->begun, 1)) < f->n;) {
        struct error err = ERROR_INIT;
        if (f->work(f->ctx, i, &err) < 0) fail(f, &err);
    }
    return NULL;
}

int pg_fleet_run(struct pg_fleet *f, unsigned jobs, size_t n, int (*work)(void *, size_t, struct error *), void *ctx,
                 struct error *err) {
    pthread_t threads[PG_FLEET_MAX];
    unsigned started = 0;
    *f = (struct pg_fleet){.n = n, .work = work, .ctx = ctx};
    f->at_once = jobs > PG_FLEET_MAX ? PG_FLEET_MAX : jobs ? jobs : 1;
    if (f->at_once > n) f->at_once = n ? (unsigned)n : 1;
    pthread_mutex_init(&f->lock, NULL);
    pthread_cond_init(&f->moved, NULL);
    for (struct error e = ERROR_INIT; started + 1 < f->at_once; started++)
        if (thread_start(&threads[started], member_run, f, &e) < 0) {
            fail(f, &e);
            break;
        }
    member_run(f);
    while (started > 0) pthread_join(threads[--started], NULL);
    pthread_cond_destroy(&f->moved);
    pthread_mutex_destroy(&f->lock);
    if (!atomic_load(&f->failed)) return 0;
    *err = f->err;
    return -(int)err->code;
}

int pg_fleet_turn(struct pg_fleet *f, size_t i, uint64_t count, uint64_t *ret_first, struct error *err) {
    pthread_mutex_lock(&f->lock);
    while (f->turn != i && !atomic_load(&f->failed)) pthread_cond_wait(&f->moved, &f->lock);
    bool mine = f->turn == i;
    if (mine) {
        *ret_first = f->next_seq;
        f->next_seq += count;
        f->turn++;
        pthread_cond_broadcast(&f->moved);
    }
    pthread_mutex_unlock(&f->lock);
    return mine ? 0 : pg_fleet_check(f, err);
}

int pg_fleet_check(const struct pg_fleet *f, struct error *err) {
    /* Never the fleet's own error: that is there already. */
    if (atomic_load(&f->failed)) return error_set(err, ERR_INTERRUPTED, "another database has failed");
    return stop_check(err);
}
