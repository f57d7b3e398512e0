/* Credentials that may do little: what the driver makes of a server's refusals, and what an address says for policies.
 */
#include "store_test.h"

#include "base/time.h"
#include "harness/http_server.h"
#include "store/s3/s3_internal.h"
#include "store/s3/where.h"
#include "store/versions.h"

#define HEAD(status) "HTTP/1.1 " status "\r\nDate: Sat, 21 Nov 2026 04:00:00 GMT\r\n"
#define FAULT(status, code) HEAD(status) "Connection: close\r\n\r\n<Error><Code>" code "</Code></Error>"
#define DENIED                                                                                                         \
    { .bytes = FAULT("403 Forbidden", "AccessDenied"), .hang_up = true }
#define DENIED_HEAD                                                                                                    \
    { .bytes = HEAD("403 Forbidden") "Content-Length: 0\r\n\r\n" }
#define TAKEN                                                                                                          \
    { .bytes = FAULT("412 Precondition Failed", "PreconditionFailed"), .hang_up = true }
#define LIST(rows)                                                                                                     \
    {                                                                                                                  \
        .bytes = HEAD("200 OK") "Connection: close\r\n\r\n<ListBucketResult>" rows "</ListBucketResult>",              \
        .hang_up = true                                                                                                \
    }
#define ROW(key, size)                                                                                                 \
    "<Contents><Key>pre/" key "</Key><LastModified>2026-11-20T01:02:03.000Z</LastModified><Size>" size                 \
    "</Size></Contents>"

static struct store *open_at(const struct http_server *h) {
    char url[512];
    struct store *s = NULL;
    snprintf(url, sizeof url, "s3://bucket/pre?endpoint=%s&region=eu-west-1&connections=1", http_server_url(h));
    OK(store_open(url, false, &s, e));
    return s;
}

static int read_one(const struct http_answer *a, size_t n, struct error *err) {
    struct http_server *h = http_server_start(a, n);
    struct store *s = open_at(h);
    char p[4];
    size_t got;
    int rc = store_read(s, "log/7", 0, p, sizeof p, &got, err);
    assert_non_null(strstr(http_server_request(h, 1, NULL), "prefix=pre%2Flog%2F7"));
    assert_int_equal(http_server_requests(h), 2);
    store_close(s);
    http_server_stop(h);
    return rc;
}

static void what_is_denied_and_not_listed_is_missing(void **state) {
    (void)state;
    const struct http_answer missing[] = {DENIED, LIST("")}, longer[] = {DENIED, LIST(ROW("log/70", "3"))};
    FAILS(ERR_OBJECT_MISSING, "the object log/7 is not in s3://bucket/pre", read_one(missing, 2, e));
    FAILS(ERR_OBJECT_MISSING, "the object log/7 is not in s3://bucket/pre", read_one(longer, 2, e));
}

static void what_is_denied_and_listed_is_denied(void **state) {
    (void)state;
    const struct http_answer there[] = {DENIED, LIST(ROW("log/7", "3"))}, unknown[] = {DENIED, DENIED};
    FAILS(ERR_S3_DENIED, "cannot read the object log/7 in s3://bucket/pre", read_one(there, 2, e));
    FAILS(ERR_S3_DENIED, "cannot read the object log/7 in s3://bucket/pre", read_one(unknown, 2, e));
    struct error err = ERROR_INIT;
    assert_int_equal(read_one(there, 2, &err), -ERR_S3_DENIED);
    assert_non_null(strstr(err.next, "s3:GetObject"));
}

static void size_and_time_are_those_listed(void **state) {
    (void)state;
    const struct http_answer a[] = {DENIED_HEAD, DENIED, LIST(ROW("packs/x", "1234"))};
    struct http_server *h = http_server_start(a, 3);
    struct store *s = open_at(h);
    uint64_t bytes = 0;
    int64_t created_ns = 0;
    OK(store_stat(s, "packs/x", &bytes, &created_ns, e));
    assert_int_equal(bytes, 1234);
    assert_int_equal(created_ns / 1000000000, 1795136523);
    store_close(s);
    http_server_stop(h);
}

static int put_one(const struct http_answer *a, size_t n, struct error *err) {
    struct http_server *h = http_server_start(a, n);
    struct s3_store *s = (struct s3_store *)open_at(h);
    struct bytes one = text("one");
    int rc = s3_put(s, "packs/x", &one, 1, S3_PUT_SAME_IS_FINE, NULL, err);
    store_close(&s->base);
    http_server_stop(h);
    return rc;
}

static void an_object_that_may_not_be_read_is_ours_when_we_may_have_sent_it(void **state) {
    (void)state;
#define LOST                                                                                                           \
    { .bytes = HEAD("500 Internal Server Error") "Content-Length: 0\r\nConnection: close\r\n\r\n", .hang_up = true }
#define LOOK(size) DENIED_HEAD, DENIED, LIST(ROW("packs/x", size))
    const struct http_answer ours[] = {LOST, TAKEN, LOOK("3"), DENIED, LIST(ROW("packs/x", "3"))};
    const struct http_answer other[] = {LOST, TAKEN, LOOK("4")};
    const struct http_answer never_sent[] = {TAKEN, LOOK("3"), DENIED, LIST(ROW("packs/x", "3"))};
    OK(put_one(ours, sizeof ours / sizeof *ours, e));
    FAILS(ERR_OBJECT_EXISTS, "packs/x exists already", put_one(other, sizeof other / sizeof *other, e));
    FAILS(ERR_S3_DENIED, "cannot read the object packs/x",
          put_one(never_sent, sizeof never_sent / sizeof *never_sent, e));
}

static int count_one(void *ctx, const struct store_object *o, struct error *err) {
    (void)o, (void)err;
    ++*(unsigned *)ctx;
    return 0;
}

/* Who may not list versions has not been told that there are none. */
static void versions_that_may_not_be_listed_may_be_there(void **state) {
    (void)state;
    const struct http_answer a[] = {DENIED,
                                    LIST(ROW("log/7", "3")),
                                    LIST(ROW("log/7", "3")),
                                    {.bytes = HEAD("200 OK") "Connection: close\r\n\r\n<VersioningConfiguration>"
                                                             "<Status>Enabled</Status></VersioningConfiguration>",
                                     .hang_up = true}};
    struct http_server *h = http_server_start(a, 4);
    struct store *s = open_at(h);
    unsigned n = 0;
    bool kept = false;
    OK(store_list_kept(s, "log/", count_one, &n, e));
    OK(store_list_kept(s, "log/", count_one, &n, e));
    assert_int_equal(n, 2);
    assert_int_equal(http_server_requests(h), 3);
    assert_false(store_lists_no_versions(s));
    OK(store_keeps_versions(s, &kept, e));
    assert_true(kept);
    store_close(s);
    http_server_stop(h);
}

/* Versions that were switched on after the list was taken are noticed by what is stored. */
static void what_is_stored_tells_of_versions(void **state) {
    (void)state;
#define ONE_VERSION                                                                                                    \
    "<ListVersionsResult><Version><Key>pre/log/7</Key><VersionId>null</VersionId><IsLatest>true</IsLatest>"            \
    "<LastModified>2026-11-20T01:02:03.000Z</LastModified><Size>3</Size></Version></ListVersionsResult>"
    const struct http_answer a[] = {
        {.bytes = HEAD("200 OK") "Connection: close\r\n\r\n" ONE_VERSION, .hang_up = true},
        {.bytes = HEAD("200 OK") "x-amz-version-id: null\r\nContent-Length: 0\r\n\r\n"},
        {.bytes = HEAD("200 OK") "x-amz-version-id: 3sL4kqtJlcpXroDTDmJ\r\nContent-Length: 0\r\n\r\n"}};
    struct http_server *h = http_server_start(a, 3);
    struct store *s = open_at(h);
    unsigned n = 0;
    OK(store_list_kept(s, "log/", count_one, &n, e));
    assert_int_equal(n, 1);
    OK(store_create(s, "log/8", text("one"), e));
    assert_true(store_lists_no_versions(s));
    OK(store_create(s, "log/9", text("one"), e));
    assert_false(store_lists_no_versions(s));
    store_close(s);
    http_server_stop(h);
}

static void a_port_that_wants_tls_says_so(void **state) {
    (void)state;
    const struct http_answer a = {.bytes = HEAD("400 Bad Request") "Connection: close\r\n\r\nClient sent an HTTP "
                                                                   "request to an HTTPS server.\n",
                                  .hang_up = true};
    struct http_server *h = http_server_start(&a, 1);
    struct store *s = open_at(h);
    struct error err = ERROR_INIT;
    char p[4];
    size_t got;
    assert_int_equal(store_read(s, "x", 0, p, sizeof p, &got, &err), -ERR_NET_TLS);
    assert_non_null(strstr(err.text, "it wants TLS on that port"));
    assert_string_equal(err.next, "Say https:// in the endpoint.");
    store_close(s);
    http_server_stop(h);
}

static void an_address_says_where_a_policy_holds(void **state) {
    (void)state;
    static const struct {
        const char *url, *prefix, *region;
        bool aws;
    } cases[] = {
        {"s3://bucket", "", "", true},
        {"s3://bucket/a/b/?region=cn-north-1", "a/b/", "cn-north-1", true},
        {"s3://bucket/a?endpoint=https://s3.eu-west-1.amazonaws.com", "a/", "", true},
        {"s3://bucket/a?endpoint=https://s3.cn-north-1.amazonaws.com.cn:443", "a/", "", true},
        {"s3://bucket/a?endpoint=https://amazonaws.com.example.org", "a/", "", false},
        {"s3://bucket/a?endpoint=https://notamazonaws.com", "a/", "", false},
        {"s3://bucket/a?endpoint=http://127.0.0.1:9000", "a/", "", false},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct s3_where w;
        OK(s3_where(cases[i].url, &w, e));
        assert_string_equal(w.bucket, "bucket");
        assert_string_equal(w.prefix, cases[i].prefix);
        assert_string_equal(w.region, cases[i].region);
        if (w.aws != cases[i].aws) fail_msg("%s", cases[i].url);
    }
    struct s3_where w;
    FAILS(ERR_USAGE, "bucket's name", s3_where("s3://x", &w, e));
}

#define FOUND                                                                                                          \
    { .bytes = HEAD("200 OK") "Content-Length: 3\r\nx-amz-version-id: v1\r\n\r\n" }
#define SAYS(status, body)                                                                                             \
    { .bytes = HEAD(status) "Connection: close\r\n\r\n" body, .hang_up = true }
#define UNTIL(mode, date)                                                                                              \
    SAYS("200 OK", "<Retention><Mode>" mode "</Mode><RetainUntilDate>" date "</RetainUntilDate></Retention>")
#define NO_LOCKS /* as Ceph has it */                                                                                  \
    SAYS("400 Bad Request",                                                                                            \
         "<Error><Code>InvalidRequest</Code><Message>bucket object lock not configured</Message></Error>")

static void a_lock_that_is_not_told_is_asked_for(void **state) {
    (void)state;
    static const struct store_locks locks = {
        .mode = STORE_LOCK_COMPLIANCE, .rules = {{"packs/", 3600 * NS_PER_S}}, .count = 1};
    static const struct {
        struct http_answer says[4];
        unsigned n;
        int code;
        enum store_lock mode;
        bool held;
    } t[] = {
        {{FOUND, UNTIL("COMPLIANCE", "2099-01-01T00:00:00Z")}, 2, 0, STORE_LOCK_COMPLIANCE, false},
        {{FOUND, DENIED, DENIED},
         3,
         ERR_S3_DENIED,
         STORE_LOCK_NONE,
         false}, /* it may read objects, and not their locks */
        {{DENIED_HEAD, DENIED, UNTIL("GOVERNANCE", "2099-01-01T00:00:00Z")}, 3, 0, STORE_LOCK_GOVERNANCE, false},
        {{DENIED_HEAD, DENIED, UNTIL("GOVERNANCE", "2020-01-01T00:00:00Z"),
          SAYS("200 OK", "<LegalHold><Status>ON</Status></LegalHold>")},
         4,
         0,
         STORE_LOCK_GOVERNANCE,
         true},
        {{DENIED_HEAD, DENIED, NO_LOCKS, NO_LOCKS}, 4, 0, STORE_LOCK_NONE, false},
        {{DENIED_HEAD, DENIED, DENIED}, 3, ERR_S3_DENIED, STORE_LOCK_NONE, false},
    };
    for (size_t i = 0; i < sizeof t / sizeof *t; i++) {
        struct http_server *h = http_server_start(t[i].says, t[i].n);
        struct store *s = open_at(h);
        struct store_retention r = {0};
        struct error err = ERROR_INIT;
        store_set_locks(s, &locks);
        int rc = store_retention(s, "packs/x", &r, &err);
        if (rc != -t[i].code) print_error("%zu: %s\n", i, err.text);
        assert_int_equal(rc, -t[i].code);
        assert_int_equal(http_server_requests(h), t[i].n);
        if (rc == 0) assert_int_equal(r.mode, t[i].mode);
        if (rc == 0) assert_int_equal(r.held, t[i].held);
        store_close(s);
        http_server_stop(h);
    }
}

int main(void) {
    struct error err = ERROR_INIT;
    if (crypto_init(&err) < 0) return 1;
    setenv("AWS_EC2_METADATA_DISABLED", "true", 1);
    setenv("no_proxy", "*", 1);
    setenv("AWS_ACCESS_KEY_ID", "AKIAIOSFODNN7EXAMPLE", 1);
    setenv("AWS_SECRET_ACCESS_KEY", "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY", 1);
    unsetenv("AWS_SESSION_TOKEN");
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_is_denied_and_not_listed_is_missing),
        cmocka_unit_test(what_is_denied_and_listed_is_denied),
        cmocka_unit_test(size_and_time_are_those_listed),
        cmocka_unit_test(an_object_that_may_not_be_read_is_ours_when_we_may_have_sent_it),
        cmocka_unit_test(versions_that_may_not_be_listed_may_be_there),
        cmocka_unit_test(what_is_stored_tells_of_versions),
        cmocka_unit_test(a_port_that_wants_tls_says_so),
        cmocka_unit_test(a_lock_that_is_not_told_is_asked_for),
        cmocka_unit_test(an_address_says_where_a_policy_holds),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
