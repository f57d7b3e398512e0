/* base/http against a server that does what it is told to. */
#include "harness/claims.h"
#include "harness/fault.h"
#include "harness/http_server.h"

#include "base/http.h"
#include "base/seam.h"
#include "base/thread.h"
#include "base/time.h"
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#define OK_HEAD "HTTP/1.1 200 OK\r\nDate: Sun, 06 Nov 1994 08:49:37 GMT\r\n"

static struct http *client(struct http_options o) {
    struct error err = ERROR_INIT;
    struct http *h = NULL;
    o.no_proxy = true;
    claim_ok(http_new(&o, &h, &err), err);
    return h;
}

static char url[256];
static struct http_request to(const struct http_server *s, const char *method, const char *path) {
    snprintf(url, sizeof url, "%s%s", http_server_url(s), path);
    return (struct http_request){.method = method, .url = url};
}

static void a_body_goes_out_and_comes_back(void **state) {
    (void)state;
    const struct http_answer a[] = {{.bytes = OK_HEAD "X-Thing:  of note\r\nContent-Length: 5\r\n\r\nhello"}};
    struct http_server *s = http_server_start(a, 1);
    struct http *h = client((struct http_options){0});
    struct error err = ERROR_INIT;
    struct bytes parts[] = {BYTES_STR("one "), BYTES_STR(""), BYTES_STR("two")};
    const char *const headers[] = {"x-mine: 1"};
    char into[16];
    struct http_request q = to(s, "PUT", "/a/../b%2Fc?x=y");
    q.body = parts, q.body_count = 3, q.headers = headers, q.header_count = 1, q.into = into,
    q.into_bytes = sizeof into;
    struct http_response r;
    claim_ok(http_send(h, &q, &r, &err), err);
    assert_int_equal(r.status, 200);
    assert_int_equal(r.body_bytes, 5);
    assert_memory_equal(into, "hello", 5);
    assert_string_equal(http_header(&r, "x-thing"), "of note");
    assert_null(http_header(&r, "x-thin"));
    assert_int_equal(r.date_ns, INT64_C(784111777) * NS_PER_S);
    const char *asked = http_server_request(s, 0, NULL);
    assert_non_null(strstr(asked, "PUT /a/../b%2Fc?x=y HTTP/1.1\r\n")); /* as it was given: it is signed */
    assert_non_null(strstr(asked, "x-mine: 1\r\n"));
    assert_non_null(strstr(asked, "Content-Length: 7\r\n"));
    assert_non_null(strstr(asked, "\r\n\r\none two"));
    assert_null(strstr(asked, "Expect:"));
    http_response_free(&r);
    http_free(h);
    http_server_stop(s);
}

static void connections_are_used_again(void **state) {
    (void)state;
    const struct http_answer a[] = {{.bytes = OK_HEAD "Content-Length: 2\r\n\r\nok"}};
    struct http_server *s = http_server_start(a, 1);
    struct http *h = client((struct http_options){0});
    struct error err = ERROR_INIT;
    static const char *const methods[] = {"GET", "PUT", "DELETE", "POST", "GET"};
    struct buf text = BUF_INIT(100);
    for (size_t i = 0; i < 5; i++) {
        struct http_request q = to(s, methods[i], "/");
        q.text = &text;
        struct http_response r;
        claim_ok(http_send(h, &q, &r, &err), err);
        assert_true(bytes_equal(buf_bytes(&text), BYTES_STR("ok")));
        assert_int_equal(strncmp(http_server_request(s, i, NULL), methods[i], strlen(methods[i])), 0);
        http_response_free(&r);
    }
    assert_int_equal(http_server_connections(s), 1);
    buf_free(&text);
    http_free(h);
    http_server_stop(s);
}

static void connections_come(struct http_server *s, size_t least) {
    for (int i = 0; http_server_connections(s) < least; i++) { /* accepted by a thread of its own */
        assert_true(i < 2000);
        (void)seam_poll(NULL, 0, 5);
    }
}

/* Asks twice, the second time when there are `least` connections; answers which one brought the second, and asserts how
 * many there were in the end. */
static size_t second_by(const struct http_answer *a, bool ahead, size_t least, size_t all) {
    struct http_server *s = http_server_start(a, 1);
    struct http *h = client((struct http_options){.ahead = ahead});
    struct error err = ERROR_INIT;
    struct buf text = BUF_INIT(100);
    for (size_t i = 0; i < 2; i++) {
        struct http_request q = to(s, i % 2 ? "PUT" : "GET", "/");
        struct http_response r;
        q.text = &text;
        claim_ok(http_send(h, &q, &r, &err), err);
        assert_true(bytes_equal(buf_bytes(&text), BYTES_STR("ok")));
        http_response_free(&r);
        if (i == 0) connections_come(s, least);
    }
    connections_come(s, all);
    assert_int_equal(http_server_connections(s), all);
    assert_int_equal(http_server_requests(s), 2);
    const size_t by = http_server_connection_of(s, 1);
    buf_free(&text);
    http_free(h);
    http_server_stop(s);
    return by;
}

static void connections_are_begun_ahead_and_more_where_answers_close_them(void **state) {
    (void)state;
    const struct http_answer closes = {.bytes = OK_HEAD "Connection: close\r\nContent-Length: 2\r\n\r\nok",
                                       .hang_up = true};
    const struct http_answer keeps = {.bytes = OK_HEAD "Content-Length: 2\r\n\r\nok"};
    /* the first, and eight that were begun then: one brings the second, and another is begun in its stead */
    const size_t by = second_by(&closes, true, 9, 10);
    assert_true(by >= 1 && by <= 8);
    assert_int_equal(second_by(&closes, false, 1, 2), 1);
    /* of those that stay open four more, once, for when several things are asked at the same time */
    assert_int_equal(second_by(&keeps, true, 5, 5), 0);
    assert_int_equal(second_by(&keeps, false, 1, 1), 0);
}

static void a_connection_begun_ahead_may_be_dead(void **state) {
    (void)state;
    /* The server goes: those that were begun are found to be of no use, and no request is put on one. */
    const struct http_answer a = {.bytes = OK_HEAD "Connection: close\r\nContent-Length: 2\r\n\r\nok", .hang_up = true};
    struct http_server *s = http_server_start(&a, 1);
    struct http *h = client((struct http_options){.ahead = true});
    struct error err = ERROR_INIT;
    struct http_response r;
    struct http_request q = to(s, "GET", "/");
    claim_ok(http_send(h, &q, &r, &err), err);
    http_response_free(&r);
    connections_come(s, 9);
    http_server_stop(s);
    error_clear(&err);
    assert_int_equal(http_send(h, &q, &r, &err), -ERR_NET_REFUSED);
    http_response_free(&r);
    error_clear(&err);
    s = http_server_start(&a, 1);
    q = to(s, "GET", "/"); /* another place */
    claim_ok(http_send(h, &q, &r, &err), err);
    http_response_free(&r);
    http_free(h);
    http_server_stop(s);
}

static void what_is_too_much_is_cut_or_refused(void **state) {
    (void)state;
    static char much[HTTP_HEADERS_BYTES_MAX * 2], many[HTTP_HEADERS_BYTES_MAX];
    size_t n = (size_t)snprintf(much, sizeof much, OK_HEAD "Content-Length: 0\r\n");
    while (n < HTTP_HEADERS_BYTES_MAX * 3 / 2) n += (size_t)snprintf(much + n, sizeof much - n, "x-%0500zu: y\r\n", n);
    snprintf(much + n, sizeof much - n, "\r\n");
    n = (size_t)snprintf(many, sizeof many, OK_HEAD "Content-Length: 0\r\n");
    for (int i = 0; i < 6000; i++) n += (size_t)snprintf(many + n, sizeof many - n, "x: y\r\n");
    snprintf(many + n, sizeof many - n, "\r\n");
    const struct http_answer a[] = {
        {.bytes = OK_HEAD "Content-Length: 10\r\n\r\n0123456789"},
        {.bytes = "HTTP/1.1 404 No\r\nContent-Length: 10\r\n\r\n0123456789"},
        {.bytes = much},
        {.bytes = many},
    };
    struct http_server *s = http_server_start(a, 4);
    struct http *h = client((struct http_options){0});
    struct error err = ERROR_INIT;
    char into[4];
    struct http_request q = to(s, "GET", "/");
    q.into = into, q.into_bytes = sizeof into;
    struct http_response r;
    claim_ok(http_send(h, &q, &r, &err), err);
    assert_true(r.cut);
    assert_int_equal(r.body_bytes, 4);
    http_response_free(&r);
    struct buf text = BUF_INIT(9);
    q.text = &text; /* the body of what is no success never goes where data is wanted */
    claim_fails(http_send(h, &q, &r, &err), err, ERR_NET_ANSWER, "more than the 9 bytes");
    http_response_free(&r);
    claim_fails(http_send(h, &q, &r, &err), err, ERR_NET_ANSWER, "64 KiB of headers");
    http_response_free(&r);
    int rc = http_send(h, &q, &r, &err); /* libcurl takes 5000 lines, since it counts them */
    assert_true(rc == 0 || rc == -ERR_NET_ANSWER);
    http_response_free(&r);
    buf_free(&text);
    http_free(h);
    http_server_stop(s);
}

static int taken(void *ctx, struct bytes piece, struct error *err) {
    struct buf *b = ctx;
    return b->len ? error_set(err, ERR_JSON, "enough") : buf_append(b, piece.ptr, piece.len, err);
}

static void a_body_is_taken_as_it_comes(void **state) {
    (void)state;
    const struct http_answer a[] = {
        {.bytes = OK_HEAD "Content-Length: 5\r\n\r\nhello"},
        {.bytes = "HTTP/1.1 404 No\r\nContent-Length: 2\r\n\r\nno"},
        {.bytes = OK_HEAD "Content-Length: 5\r\n\r\nagain"},
    };
    struct http_server *s = http_server_start(a, 3);
    struct http *h = client((struct http_options){0});
    struct error err = ERROR_INIT;
    struct buf text = BUF_INIT(100), into = BUF_INIT(100);
    struct bytes body = BYTES_STR("{}");
    struct http_response r;
    struct http_request q = to(s, "DELETE", "/");
    q.take = taken, q.take_ctx = &into, q.text = &text, q.body = &body, q.body_count = 1;
    claim_ok(http_send(h, &q, &r, &err), err);
    assert_true(bytes_equal(buf_bytes(&into), BYTES_STR("hello")));
    assert_int_equal(r.body_bytes, 5);
    assert_int_equal(text.len, 0);
    http_response_free(&r);
    assert_non_null(strstr(http_server_request(s, 0, NULL), "DELETE "));
    assert_non_null(strstr(http_server_request(s, 0, NULL), "\r\n\r\n{}"));
    claim_ok(http_send(h, &q, &r, &err), err);
    assert_int_equal(r.status, 404);
    assert_true(bytes_equal(buf_bytes(&text), BYTES_STR("no")));
    http_response_free(&r);
    claim_fails(http_send(h, &q, &r, &err), err, ERR_JSON, "enough");
    http_response_free(&r);
    buf_free(&text);
    buf_free(&into);
    http_free(h);
    http_server_stop(s);
}

static void each_way_to_break_has_its_own_error(void **state) {
    (void)state;
    const struct http_answer a[] = {
        {.bytes = OK_HEAD "Content-Length: 100\r\n\r\nonly this", .hang_up = true},
        {.bytes = OK_HEAD "Content-Length: 100\r\n\r\nonly this", .reset = true},
        {.bytes = "SSH-2.0-OpenSSH\r\n", .hang_up = true},
        {.bytes = NULL, .hang_up = true},
        {.bytes = NULL, .hang_up = true}, /* libcurl may have asked again on a fresh connection */
        {.bytes = OK_HEAD "Content-Length: 0\r\n\r\n", .stall_ms = 5000, .hang_up = true},
    };
    struct http *h = client((struct http_options){.stall_ms = 1200, .connect_timeout_ms = 2000});
    struct error err = ERROR_INIT;
    struct http_response r;
    struct buf text = BUF_INIT(1000);
    static const struct {
        size_t answer;
        enum error_code code;
        const char *says;
    } cases[] = {{0, ERR_NET_BROKEN, "127.0.0.1"},
                 {1, ERR_NET_BROKEN, "127.0.0.1"},
                 {2, ERR_NET_ANSWER, "HTTP/0.9"},
                 {3, ERR_NET_BROKEN, "Empty reply"},
                 {5, ERR_NET_STALL, "nothing was sent or received for 1.2 s"}};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct http_server *s = http_server_start(a + cases[i].answer, 1);
        struct http_request q = to(s, "GET", "/secret?path=1");
        q.text = &text;
        int rc = http_send(h, &q, &r, &err);
        assert_null(strstr(err.text, "secret"));
        claim_fails(rc, err, cases[i].code, cases[i].says);
        assert_int_equal(error_info(cases[i].code)->status, EXIT_UNREACHABLE);
        http_response_free(&r);
        http_server_stop(s);
        if (cases[i].code == ERR_NET_STALL) continue;
        q.text = NULL; /* and nobody is there now */
        claim_fails(http_send(h, &q, &r, &err), err, ERR_NET_REFUSED, "127.0.0.1");
        http_response_free(&r);
    }
    struct http_request q = {.method = "GET", .url = "http://no-such-host.invalid/"};
    claim_fails(http_send(h, &q, &r, &err), err, ERR_NET_DNS, "no-such-host.invalid");
    http_response_free(&r);
    q.url = "ftp://127.0.0.1/";
    claim_fails(http_send(h, &q, &r, &err), err, ERR_USAGE, "ftp");
    http_response_free(&r);
    buf_free(&text);
    http_free(h);
}

static void an_overall_time_holds_against_a_trickle(void **state) {
    (void)state;
    const struct http_answer a[] = {{.bytes = OK_HEAD "Content-Length: 0\r\n\r\n", .stall_ms = 3000, .hang_up = true}};
    struct http_server *s = http_server_start(a, 1);
    struct http *h = client((struct http_options){0});
    struct error err = ERROR_INIT;
    struct http_request q = to(s, "GET", "/");
    q.timeout_ms = 300;
    struct http_response r;
    claim_fails(http_send(h, &q, &r, &err), err, ERR_NET_STALL, "timed out");
    http_response_free(&r);
    http_free(h);
    http_server_stop(s);
}

static atomic_bool cancel;
static void *later(void *how) {
    (void)seam_poll(NULL, 0, 300);
    if (how)
        atomic_store(&stop_signal, 15);
    else
        atomic_store(&cancel, true);
    return NULL;
}

static void a_stop_or_a_cancel_ends_it(void **state) {
    (void)state;
    const struct http_answer a[] = {{.bytes = OK_HEAD "Content-Length: 0\r\n\r\n", .stall_ms = 8000, .hang_up = true},
                                    {.bytes = OK_HEAD "Content-Length: 0\r\n\r\n", .stall_ms = 8000, .hang_up = true},
                                    {.bytes = OK_HEAD "Content-Length: 0\r\n\r\n"}};
    struct http_server *s = http_server_start(a, 3);
    struct http *h = client((struct http_options){0});
    struct error err = ERROR_INIT;
    struct http_request q = to(s, "GET", "/");
    q.cancel = &cancel;
    struct http_response r;
    pthread_t t;
    int64_t begun = time_monotonic_ns();
    claim_ok(thread_start(&t, later, NULL, &err), err);
    claim_fails(http_send(h, &q, &r, &err), err, ERR_INTERRUPTED, "called off");
    http_response_free(&r);
    pthread_join(t, NULL);
    atomic_store(&cancel, false);
    claim_ok(thread_start(&t, later, &t, &err), err);
    claim_fails(http_send(h, &q, &r, &err), err, ERR_TERMINATED, "");
    http_response_free(&r);
    pthread_join(t, NULL);
    /* What begins after the stop is let through, to clean up. */
    claim_ok(http_send(h, &q, &r, &err), err);
    http_response_free(&r);
    assert_true(time_monotonic_ns() - begun < 6 * NS_PER_S);
    atomic_store(&stop_signal, 0);
    http_free(h);
    http_server_stop(s);
}

static void bandwidth_is_kept_by_all_together(void **state) {
    (void)state;
    const struct http_answer a[] = {{.bytes = OK_HEAD "Content-Length: 0\r\n\r\n"}};
    struct http_server *s = http_server_start(a, 1);
    struct http *h = client((struct http_options){.upload_bytes_per_s = 400000});
    struct error err = ERROR_INIT;
    static uint8_t big[300000];
    struct bytes part = BYTES_OF(big, sizeof big);
    int64_t begun = time_monotonic_ns();
    for (int i = 0; i < 2; i++) {
        struct http_request q = to(s, "PUT", "/");
        q.body = &part, q.body_count = 1;
        struct http_response r;
        claim_ok(http_send(h, &q, &r, &err), err);
        http_response_free(&r);
    }
    int64_t took = time_monotonic_ns() - begun;
    assert_true(took > NS_PER_S && took < 6 * NS_PER_S); /* 1.5 s by the book */
    http_free(h);
    http_server_stop(s);
}

#define THREADS 6
#define EACH 30
static struct http *shared;
static void *ask_often(void *arg) {
    for (int i = 0; i < EACH; i++) {
        char into[64];
        struct http_request q = {.method = "GET", .url = url, .into = into, .into_bytes = sizeof into};
        struct http_response r;
        struct error err = ERROR_INIT;
        if (http_send(shared, &q, &r, &err) == 0 && r.body_bytes == 2) ++*(int *)arg;
        http_response_free(&r);
    }
    return NULL;
}

static void threads_share_the_connections(void **state) {
    (void)state;
    const struct http_answer a[] = {{.bytes = OK_HEAD "Content-Length: 2\r\n\r\nok"}};
    struct http_server *s = http_server_start(a, 1);
    struct error err = ERROR_INIT;
    int good[THREADS] = {0};
    pthread_t t[THREADS];
    shared = client((struct http_options){0});
    (void)to(s, "GET", "/");
    for (int i = 0; i < THREADS; i++) claim_ok(thread_start(&t[i], ask_often, &good[i], &err), err);
    for (int i = 0; i < THREADS; i++) pthread_join(t[i], NULL);
    for (int i = 0; i < THREADS; i++) assert_int_equal(good[i], EACH);
    assert_true(http_server_connections(s) <= THREADS);
    http_free(shared);
    http_server_stop(s);
}

static int run_openssl(const char *command) {
    return system(command); /* the test's own */
}

/* A server of another make, with a certificate for localhost that only our own authority vouches for. */
static void certificates_are_checked(void **state) {
    (void)state;
    char folder[] = "/tmp/pk-http-XXXXXX", command[2048], ca[64], other[64], address[64];
    if (run_openssl("command -v openssl >/dev/null") != 0) skip();
    assert_non_null(mkdtemp(folder));
    snprintf(
        command, sizeof command,
        "cd %s && openssl req -x509 -newkey rsa:2048 -nodes -keyout key.pem -out cert.pem -days 2 -subj /CN=localhost "
        "-addext subjectAltName=DNS:localhost >/dev/null 2>&1 && openssl req -x509 -newkey rsa:2048 -nodes -keyout k2 "
        "-out other.pem -days 2 -subj /CN=other >/dev/null 2>&1",
        folder);
    assert_int_equal(run_openssl(command), 0);
    snprintf(ca, sizeof ca, "%s/cert.pem", folder);
    snprintf(other, sizeof other, "%s/other.pem", folder);
    /* A port that was free a moment ago. */
    int fd = socket(AF_INET, SOCK_STREAM, 0);
    struct sockaddr_in a = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t len = sizeof a;
    assert_true(bind(fd, (struct sockaddr *)&a, len) == 0 && getsockname(fd, (struct sockaddr *)&a, &len) == 0);
    close(fd);
    pid_t pid = fork();
    if (pid == 0) {
        snprintf(command, sizeof command,
                 "exec openssl s_server -accept 127.0.0.1:%d -cert %s -key %s/key.pem -www -quiet "
                 ">/dev/null 2>&1",
                 ntohs(a.sin_port), ca, folder);
        execl("/bin/sh", "sh", "-c", command, (char *)NULL);
        _exit(127);
    }
    struct error err = ERROR_INIT;
    struct http_response r;
    struct buf text = BUF_INIT(1 << 20);
    struct http *h = client((struct http_options){.ca_file = ca});
    snprintf(address, sizeof address, "https://localhost:%d/", ntohs(a.sin_port));
    struct http_request q = {.method = "GET", .url = address, .text = &text};
    int rc = -1;
    for (int i = 0; i < 100 && rc != 0; i++) {
        err = ERROR_INIT;
        rc = http_send(h, &q, &r, &err);
        http_response_free(&r);
        if (rc != 0) (void)seam_poll(NULL, 0, 50);
    }
    claim_ok(rc, err);
    assert_int_equal(r.status, 200);
    char by_number[64];
    snprintf(by_number, sizeof by_number, "https://127.0.0.1:%d/", ntohs(a.sin_port));
    q.url = by_number; /* vouched for, under another name */
    claim_fails(http_send(h, &q, &r, &err), err, ERR_NET_TLS, "127.0.0.1");
    http_response_free(&r);
    http_free(h);
    q.url = address;
    h = client((struct http_options){.ca_file = other});
    claim_fails(http_send(h, &q, &r, &err), err, ERR_NET_TLS, "certificate");
    http_response_free(&r);
    http_free(h);
    h = client((struct http_options){.ca_file = "/nowhere/ca.pem"});
    claim_fails(http_send(h, &q, &r, &err), err, ERR_NET_TLS, "/nowhere/ca.pem");
    http_response_free(&r);
    http_free(h);
    h = client((struct http_options){0}); /* the system's authorities know nothing of it */
    claim_fails(http_send(h, &q, &r, &err), err, ERR_NET_TLS, "certificate");
    http_response_free(&r);
    http_free(h);
    kill(pid, SIGTERM);
    waitpid(pid, NULL, 0);
    buf_free(&text);
    struct error ignored = ERROR_INIT;
    assert_int_equal(io_remove_tree(AT_FDCWD, folder, &ignored), 0);
}

static struct http_server *faulty_server;
static void fault_round(void *arg, uint64_t n) {
    (void)n;
    struct error err = ERROR_INIT;
    struct http *h = NULL;
    char into[64];
    struct bytes part = BYTES_STR("body");
    if (http_new(&(struct http_options){.no_proxy = true}, &h, &err) == 0) {
        struct http_request q = to(faulty_server, "PUT", "/");
        q.body = &part, q.body_count = 1, q.into = into, q.into_bytes = sizeof into;
        struct http_response r;
        if (http_send(h, &q, &r, &err) == 0) assert_int_equal(r.status, 200);
        http_response_free(&r);
    }
    http_free(h);
    if (err.code == ERR_NONE) return;
    ++*(int *)arg;
    assert_true(strlen(err.text) > 5);
    if (err.code != ERR_NO_MEMORY && err.code != ERR_NET_BROKEN && err.code != ERR_NET_REFUSED &&
        err.code != ERR_NET_DNS && err.code != ERR_NET_STALL && err.code != ERR_USAGE)
        fail_msg("%s: %s", error_info((int)err.code)->name, err.text);
}

static void each_call_failing_is_an_error(void **state) {
    (void)state;
    const struct http_answer a[] = {{.bytes = OK_HEAD "Content-Length: 2\r\n\r\nok"}};
    faulty_server = http_server_start(a, 1);
    int failures = 0;
    for (int lasting = 0; lasting < 2; lasting++) assert_true(fault_each(lasting, fault_round, &failures) > 20);
    assert_true(failures > 20);
    http_server_stop(faulty_server);
}

static void names_go_into_urls_and_back(void **state) {
    (void)state;
    struct error err = ERROR_INIT;
    struct buf b = BUF_INIT(100), back = BUF_INIT(100);
    claim_ok(http_escape(&b, BYTES_STR("a/b c~+\xc3\xa9%"), true, &err), err);
    assert_true(bytes_equal(buf_bytes(&b), BYTES_STR("a/b%20c~%2B%C3%A9%25")));
    assert_true(http_unescape(buf_bytes(&b), &back, &err));
    assert_true(bytes_equal(buf_bytes(&back), BYTES_STR("a/b c~+\xc3\xa9%")));
    buf_clear(&b);
    claim_ok(http_escape(&b, BYTES_STR("a/b"), false, &err), err);
    assert_true(bytes_equal(buf_bytes(&b), BYTES_STR("a%2Fb")));
    static const char *const bad[] = {"%", "%2", "a%zz", "%00"};
    for (size_t i = 0; i < 4; i++) assert_false(http_unescape(BYTES_STR(bad[i]), &back, &err));
    buf_free(&b), buf_free(&back);
    int64_t ns;
    assert_false(http_date_parse("soon", &ns));
}

static void waits_are_random_and_bounded(void **state) {
    (void)state;
    struct error err = ERROR_INIT;
    int64_t begun = time_monotonic_ns();
    for (unsigned i = 1; i < 40; i++) claim_ok(http_wait(i, 1, 8, 0, NULL, &err), err);
    assert_true(time_monotonic_ns() - begun < NS_PER_S);
    begun = time_monotonic_ns();
    claim_ok(http_wait(1, 1, 8, 120, NULL, &err), err); /* as long as the server asks for */
    assert_true(time_monotonic_ns() - begun >= 110 * INT64_C(1000000));
    atomic_bool on = true;
    claim_fails(http_wait(1, 1, 8, 5000, &on, &err), err, ERR_INTERRUPTED, "called off");
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_body_goes_out_and_comes_back),
        cmocka_unit_test(connections_are_used_again),
        cmocka_unit_test(connections_are_begun_ahead_and_more_where_answers_close_them),
        cmocka_unit_test(a_connection_begun_ahead_may_be_dead),
        cmocka_unit_test(what_is_too_much_is_cut_or_refused),
        cmocka_unit_test(a_body_is_taken_as_it_comes),
        cmocka_unit_test(each_way_to_break_has_its_own_error),
        cmocka_unit_test(an_overall_time_holds_against_a_trickle),
        cmocka_unit_test(a_stop_or_a_cancel_ends_it),
        cmocka_unit_test(bandwidth_is_kept_by_all_together),
        cmocka_unit_test(threads_share_the_connections),
        cmocka_unit_test(certificates_are_checked),
        cmocka_unit_test(each_call_failing_is_an_error),
        cmocka_unit_test(names_go_into_urls_and_back),
        cmocka_unit_test(waits_are_random_and_bounded),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
