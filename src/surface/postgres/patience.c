#include "surface/postgres/postgres_internal.h"

#include "base/seam.h"
#include "base/thread.h"
#include "base/time.h"
#include <errno.h>
#include <fcntl.h>
#include <poll.h>

#define TICK_MS 200
#define CANCEL_S 5 /* that a server which is told to give a query up may take */

static _Thread_local bool limited;
static _Thread_local const atomic_bool *needless;

void pg_patience(bool is_limited, const atomic_bool *in_vain) {
    limited = is_limited;
    needless = in_vain;
}

static int over(struct error *why) {
    int rc = stop_check(why);
    if (rc == 0 && needless && *needless)
        rc = error_set(why, ERR_INTERRUPTED, "a query was given up, as its answer is not needed any more");
    return rc;
}

struct cancelling {
    PGcancel *cancel;
    int end; /* of a pipe: closed when the server has been told */
};

static void *cancel_run(void *arg) {
    struct cancelling *x = arg;
    char text[256];
    (void)PQcancel(x->cancel, text, sizeof text);
    PQfreeCancel(x->cancel);
    io_close(&x->end);
    seam_free(x);
    return NULL;
}

/* Best effort: whoever closes the connection next leaves the server to find that out by itself. It is told over a
 * connection of its own, which libpq waits for without a limit: that is left to a thread, and the thread to itself. */
static void give_up(PGconn *c) {
    struct error none = ERROR_INIT;
    struct cancelling *x = NULL;
    int end[2] = {-1, -1};
    pthread_t thread;
    if (mem_alloc(sizeof *x, (void **)&x, &none) < 0) return;
    *x = (struct cancelling){.cancel = PQgetCancel(c)};
    if (x->cancel && seam_pipe2(end, O_CLOEXEC) == 0) {
        x->end = end[1];
        if (thread_start(&thread, cancel_run, x, &none) == 0) {
            struct pollfd p = {.fd = end[0], .events = POLLIN};
            pthread_detach(thread);
            (void)seam_poll(&p, 1, CANCEL_S * 1000);
            io_close(&end[0]);
            return;
        }
        io_close(&end[0]);
        io_close(&end[1]);
    }
    PQfreeCancel(x->cancel);
    seam_free(x);
}

int pg_exec(PGconn *c, const char *sql, int n, const char *const *params, PGresult **ret, struct error *err) {
    struct error why = ERROR_INIT;
    int64_t until = 0;
    *ret = NULL;
    if (!limited) {
        *ret = PQexecParams(c, sql, n, NULL, params, NULL, NULL, 0);
        return 0;
    }
    if (PQsendQueryParams(c, sql, n, NULL, params, NULL, NULL, 0) != 1) return 0;
    while (PQisBusy(c)) {
        struct pollfd p = {.fd = PQsocket(c), .events = POLLIN};
        int got = seam_poll(&p, 1, TICK_MS);
        if ((got < 0 && errno != EINTR) || !PQconsumeInput(c)) break; /* TLS may have what the socket has not */
        if (!until && over(&why) < 0) {
            until = time_monotonic_ns() + CANCEL_S * NS_PER_S;
            give_up(c);
        }
        if (until && time_monotonic_ns() > until) break;
    }
    /* Of a server that does not answer, nothing is waited for. */
    for (PGresult *r; !(until && PQisBusy(c)) && (r = PQgetResult(c));) {
        PQclear(*ret);
        *ret = r;
    }
    if (!until) return 0;
    PQclear(*ret);
    *ret = NULL;
    *err = why;
    return -(int)why.code;
}
