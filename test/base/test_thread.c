#include "base/seam.h"
#include "base/thread.h"
#include "harness/claims.h"
#include "harness/fault.h"
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#define ITEMS 20000

struct traffic {
    struct queue *q;
    atomic_ulong sum, count;
};

static void *produce(void *arg) {
    struct traffic *t = arg;
    for (uintptr_t i = 1; i <= ITEMS; i++)
        if (!queue_push(t->q, (void *)i)) return arg;
    return NULL;
}

static void *consume(void *arg) {
    struct traffic *t = arg;
    void *p;
    while (queue_pop(t->q, &p)) {
        atomic_fetch_add(&t->sum, (uintptr_t)p);
        atomic_fetch_add(&t->count, 1);
    }
    return NULL;
}

static void every_item_passes_once(void **s) {
    (void)s;
    struct error e = ERROR_INIT;
    struct traffic t = {0};
    pthread_t p[3], c[3];
    void *refused = NULL;
    claim_ok(queue_new(7, &t.q, &e), e);
    for (int i = 0; i < 3; i++) {
        claim_ok(thread_start(&c[i], consume, &t, &e), e);
        claim_ok(thread_start(&p[i], produce, &t, &e), e);
    }
    for (int i = 0; i < 3; i++) {
        pthread_join(p[i], &refused);
        assert_null(refused);
    }
    queue_close(t.q);
    for (int i = 0; i < 3; i++) pthread_join(c[i], NULL);
    assert_true(t.count == 3 * ITEMS && t.sum == 3ul * ITEMS * (ITEMS + 1) / 2);
    queue_free(t.q);
    queue_free(NULL);
}

static void order_is_kept_and_close_is_final(void **s) {
    (void)s;
    struct error e = ERROR_INIT;
    struct queue *q = NULL;
    claim_fails(queue_new(0, &q, &e), e, ERR_INTERNAL, "0 slots");
    claim_ok(queue_new(3, &q, &e), e);
    for (uintptr_t round = 0; round < 5; round++) {
        void *p = NULL;
        for (uintptr_t i = 1; i <= 3; i++) assert_true(queue_push(q, (void *)(round * 10 + i)));
        for (uintptr_t i = 1; i <= 3; i++) {
            assert_true(queue_pop(q, &p));
            assert_int_equal((uintptr_t)p, round * 10 + i);
        }
    }
    void *p = NULL;
    assert_true(queue_push(q, (void *)1));
    queue_close(q);
    assert_false(queue_push(q, (void *)2));
    assert_true(queue_pop(q, &p));
    assert_false(queue_pop(q, &p));
    queue_free(q);
}

static void *push_to_full(void *arg) {
    return queue_push(arg, arg) ? arg : NULL;
}

static void close_wakes_who_waits_for_room(void **s) {
    (void)s;
    struct error e = ERROR_INIT;
    struct queue *q = NULL;
    pthread_t t;
    void *pushed = q;
    claim_ok(queue_new(1, &q, &e), e);
    assert_true(queue_push(q, q));
    claim_ok(thread_start(&t, push_to_full, q, &e), e);
    usleep(20000);
    queue_close(q);
    pthread_join(t, &pushed);
    assert_null(pushed);
    queue_free(q);
}

static int session_nice(void) {
    char text[64] = "";
    FILE *f = fopen("/proc/self/autogroup", "r");
    if (!f) return -100;
    const char *at = fgets(text, sizeof text, f) ? strstr(text, " nice ") : NULL;
    fclose(f);
    return at ? atoi(at + 6) : -100;
}

/* In a child, whose session is its own. */
static void session_gives_way_until_the_last_takes_it_back(void **state) {
    (void)state;
    int status;
    pid_t pid = fork();
    assert_true(pid >= 0);
    if (pid == 0) {
        (void)setsid();
        const int before = session_nice();
        if (before != 0) _exit(77); /* none, or not the usual one */
        session_give_way();
        session_give_way();
        const int during = session_nice();
        session_take_back();
        const int still = session_nice();
        session_take_back();
        if (during == 10 && still == 10 && session_nice() == 0) _exit(0);
        _exit(geteuid() == 0 ? 1 : 77); /* others are let change it ten times a second, all together */
    }
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_true(WIFEXITED(status));
    if (WEXITSTATUS(status) == 77) skip();
    assert_int_equal(WEXITSTATUS(status), 0);
}

struct work {
    atomic_ulong done, here; /* here: run by the submitting thread */
    pthread_t submitter;
    struct pool *pool;
    unsigned slow_us;
};

static void work_run(void *arg) {
    struct work *w = arg;
    if (w->slow_us) usleep(w->slow_us);
    if (pthread_equal(pthread_self(), w->submitter)) atomic_fetch_add(&w->here, 1);
    atomic_fetch_add(&w->done, 1);
}

static void drain_means_done(void **s) {
    (void)s;
    struct error e = ERROR_INIT;
    for (unsigned threads = 0; threads <= 4; threads++) {
        struct work w = {.submitter = pthread_self()};
        claim_ok(pool_new(threads, 5, &w.pool, &e), e);
        for (unsigned long round = 1; round <= 3; round++) {
            for (int i = 0; i < 3000; i++) pool_submit(w.pool, work_run, &w);
            pool_drain(w.pool);
            assert_int_equal(w.done, round * 3000);
        }
        if (threads == 0) assert_int_equal(w.here, 9000);
        pool_submit(w.pool, work_run, &w);
        pool_free(w.pool);
        assert_int_equal(w.done, 9001);
    }
    pool_free(NULL);
}

static void who_waits_for_room_helps(void **s) {
    (void)s;
    struct error e = ERROR_INIT;
    struct work w = {.submitter = pthread_self(), .slow_us = 2000};
    claim_ok(pool_new(1, 2, &w.pool, &e), e);
    for (int i = 0; i < 40; i++) pool_submit(w.pool, work_run, &w);
    pool_drain(w.pool);
    assert_int_equal(w.done, 40);
    assert_true(w.here >= 5);
    pool_free(w.pool);
}

static void work_submits_work(void *arg) {
    struct work *w = arg;
    if (atomic_fetch_add(&w->done, 1) < 500) {
        pool_submit(w->pool, work_submits_work, w);
        pool_submit(w->pool, work_run, w);
    }
}

static void tasks_may_submit_tasks(void **s) {
    (void)s;
    struct error e = ERROR_INIT;
    struct work w = {.submitter = pthread_self()};
    claim_ok(pool_new(2, 3, &w.pool, &e), e);
    pool_submit(w.pool, work_submits_work, &w);
    pool_drain(w.pool);
    assert_true(w.done >= 501);
    pool_free(w.pool);
}

static void *signals_blocked(void *arg) {
    sigset_t set;
    pthread_sigmask(SIG_SETMASK, NULL, &set);
    return sigismember(&set, SIGINT) && sigismember(&set, SIGTERM) ? arg : NULL;
}

static void threads_leave_signals_to_the_first(void **s) {
    (void)s;
    struct error e = ERROR_INIT;
    pthread_t t;
    void *ret = NULL;
    sigset_t set;
    claim_ok(thread_start(&t, signals_blocked, &e, &e), e);
    pthread_join(t, &ret);
    assert_non_null(ret);
    pthread_sigmask(SIG_SETMASK, NULL, &set);
    assert_false(sigismember(&set, SIGINT));
    assert_true(thread_cpus() >= 1);
}

static void stops_are_errors(void **s) {
    (void)s;
    struct error e = ERROR_INIT;
    claim_ok(stop_check(&e), e);
    stop_signal = SIGINT;
    claim_fails(stop_check(&e), e, ERR_INTERRUPTED, "interrupted by SIGINT");
    stop_signal = SIGTERM;
    claim_fails(stop_check(&e), e, ERR_TERMINATED, "stop by signal 15");
    stop_signal = 0;
}

static void pool_once(void *arg, uint64_t n) {
    (void)arg, (void)n;
    struct error e = ERROR_INIT;
    struct pool *p = NULL;
    int rc = pool_new(2, 4, &p, &e);
    if (fault_hits() > 0)
        assert_true(rc == -ERR_NO_MEMORY && e.text[0]);
    else
        claim_ok(rc, e);
    pool_free(p);
}

static void refused_memory_is_an_error(void **s) {
    (void)s;
    assert_int_equal(fault_each(false, pool_once, NULL), 3);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_item_passes_once),
        cmocka_unit_test(order_is_kept_and_close_is_final),
        cmocka_unit_test(close_wakes_who_waits_for_room),
        cmocka_unit_test(session_gives_way_until_the_last_takes_it_back),
        cmocka_unit_test(drain_means_done),
        cmocka_unit_test(who_waits_for_room_helps),
        cmocka_unit_test(tasks_may_submit_tasks),
        cmocka_unit_test(threads_leave_signals_to_the_first),
        cmocka_unit_test(stops_are_errors),
        cmocka_unit_test(refused_memory_is_an_error),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
