/* Queries that are given up, of a server that is a script: it takes the cancel request, or answers nothing at all. Real
 * ones are in test/e2e/pg_stop.sh. */
#include "harness/claims.h"
#include "surface/postgres/postgres_internal.h"

#include "base/bytes.h"
#include <arpa/inet.h>
#include <netinet/in.h>
#include <poll.h>
#include <pthread.h>
#include <sys/socket.h>
#include <unistd.h>

#define PID 4711u
#define KEY 0x00c0ffeeu

static struct error err;

struct server {
    int listener;
    uint16_t port;
    pthread_t thread;
    bool silent;    /* the cancel request is never taken from the backlog */
    bool cancelled; /* it came, with the right key */
};

static uint32_t big(const uint8_t *p) {
    return (uint32_t)p[0] << 24 | (uint32_t)p[1] << 16 | (uint32_t)p[2] << 8 | p[3];
}

static void take(int fd, uint8_t *out, size_t n) {
    while (n) {
        ssize_t got = read(fd, out, n);
        if (got <= 0) return;
        out += got;
        n -= (size_t)got;
    }
}

static void put(int fd, const void *p, size_t n) {
    (void)!write(fd, p, n);
}

/* One client, whose query is not answered unless it is cancelled. */
static void *serve(void *arg) {
    static const uint8_t welcome[] = "R\0\0\0\x08\0\0\0\0"
                                     "K\0\0\0\x0c\0\0\x12\x67\0\xc0\xff\xee"
                                     "Z\0\0\0\x05I";
    static const uint8_t over[] = "E\0\0\0\x17SERROR\0C57014\0Mgone\0\0"
                                  "Z\0\0\0\x05I";
    struct server *s = arg;
    uint8_t in[1024] = {0};
    int fd = accept(s->listener, NULL, NULL);
    take(fd, in, 4);
    take(fd, in, big(in) - 4 < sizeof in ? big(in) - 4 : 0);
    put(fd, welcome, sizeof welcome - 1);
    if (!s->silent) {
        int asker = accept(s->listener, NULL, NULL);
        take(asker, in, 16);
        s->cancelled = big(in) == 16 && big(in + 4) == 80877102 && big(in + 8) == PID && big(in + 12) == KEY;
        close(asker);
        put(fd, over, sizeof over - 1);
    }
    while (read(fd, in, sizeof in) > 0) continue; /* until the client has closed it */
    close(fd);
    return NULL;
}

static void server_start(struct server *s) {
    struct sockaddr_in at = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t n = sizeof at;
    s->listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_true(s->listener >= 0);
    assert_int_equal(bind(s->listener, (struct sockaddr *)&at, n), 0);
    assert_int_equal(getsockname(s->listener, (struct sockaddr *)&at, &n), 0);
    assert_int_equal(listen(s->listener, 8), 0);
    s->port = ntohs(at.sin_port);
    assert_int_equal(pthread_create(&s->thread, NULL, serve, s), 0);
}

static void given_up(struct server *s) {
    const atomic_bool needless = true;
    PGresult *r = NULL;
    char where[128];
    server_start(s);
    snprintf(where, sizeof where, "host=127.0.0.1 port=%u user=u dbname=d sslmode=disable gssencmode=disable", s->port);
    PGconn *c = PQconnectdb(where);
    if (PQstatus(c) != CONNECTION_OK) fail_msg("%s", PQerrorMessage(c));
    pg_patience(true, &needless);
    claim_fails(pg_exec(c, "SELECT 1", 0, NULL, &r, &err), err, ERR_INTERRUPTED, "a query was given up");
    pg_patience(false, NULL);
    assert_null(r);
    PQfinish(c);
    pthread_join(s->thread, NULL);
    close(s->listener);
}

static void a_server_is_told_to_give_a_query_up(void **state) {
    struct server s = {0};
    (void)state;
    given_up(&s);
    assert_true(s.cancelled);
}

static void one_that_does_not_answer_is_not_waited_for(void **state) {
    struct server s = {.silent = true};
    (void)state;
    given_up(&s);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_server_is_told_to_give_a_query_up),
        cmocka_unit_test(one_that_does_not_answer_is_not_waited_for),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
