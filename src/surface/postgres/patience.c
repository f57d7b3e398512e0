#include "surface/postgres/postgres_internal.h"

#include "base/seam.h"
#include "base/time.h"
#include <errno.h>
#include <poll.h>

#define TICK_MS 200
#define CANCEL_NS (5 * NS_PER_S) /* that a server which was told to give a query up may take */

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

/* Best effort: whoever closes the connection next leaves the server to find that out by itself. */
static void give_up(PGconn *c) {
    char text[256];
    PGcancel *cancel = PQgetCancel(c);
    if (cancel) (void)PQcancel(cancel, text, sizeof text);
    PQfreeCancel(cancel);
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
            give_up(c);
            until = time_monotonic_ns() + CANCEL_NS;
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
