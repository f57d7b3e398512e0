/* Archive classes of a bucket, against a server that does what it is told to: what moto, which test/e2e/thaw.sh starts,
 * cannot be brought to say. */
#include "store_test.h"

#include "harness/http_server.h"

#include "base/time.h"
#include "store/s3/s3_internal.h"
#include <unistd.h>

#define HEAD(status) "HTTP/1.1 " status "\r\nDate: Sat, 21 Nov 2026 04:00:00 GMT\r\n"
#define FAULT(status, code)                                                                                            \
    HEAD(status) "Connection: close\r\n\r\n<Error><Code>" code "</Code><Message>no</Message></Error>"
#define OBJECT(headers)                                                                                                \
    HEAD("200 OK") "Content-Length: 5\r\nLast-Modified: Sat, 21 Nov 2026 03:00:00 GMT\r\n" headers "\r\n"
#define EMPTY(status) HEAD(status) "Content-Length: 0\r\n\r\n"

static struct store *open_at(const struct http_server *h, const char *more) {
    char url[1000];
    struct store *s = NULL;
    setenv("AWS_ACCESS_KEY_ID", "AKIAIOSFODNN7EXAMPLE", 1);
    setenv("AWS_SECRET_ACCESS_KEY", "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY", 1);
    setenv("no_proxy", "*", 1);
    unsetenv("AWS_PROFILE");
    snprintf(url, sizeof url, "s3://bucket/pre?endpoint=%s&region=eu-west-1&connections=1%s", http_server_url(h), more);
    OK(store_open(url, false, &s, e));
    return s;
}

static void head_says_where_an_object_lies(void **state) {
    (void)state;
    static const struct {
        const char *answer, *name;
        enum store_depth depth;
        enum store_thaw thaw;
        bool frozen, moves;
        const char *until;
    } cases[] = {
        {OBJECT(""), "STANDARD", STORE_DEPTH_NONE, STORE_THAW_NONE, false, false, NULL},
        {OBJECT("x-amz-storage-class: GLACIER_IR\r\n"), "GLACIER_IR", STORE_DEPTH_NONE, STORE_THAW_NONE, false, false,
         NULL},
        {OBJECT("x-amz-storage-class: GLACIER\r\n"), "GLACIER", STORE_DEPTH_COLD, STORE_THAW_NONE, true, false, NULL},
        {OBJECT("x-amz-storage-class: DEEP_ARCHIVE\r\nx-amz-restore: ongoing-request=\"true\"\r\n"), "DEEP_ARCHIVE",
         STORE_DEPTH_DEEP, STORE_THAW_ASKED, true, false, NULL},
        {OBJECT(
             "x-amz-storage-class: GLACIER\r\nx-amz-restore: ongoing-request=\"false\", expiry-date=\"Sun, 22 Nov 2026 "
             "00:00:00 GMT\"\r\n"),
         "GLACIER", STORE_DEPTH_COLD, STORE_THAW_DONE, false, false, "2026-11-22T00:00:00Z"},
        {OBJECT("x-amz-storage-class: INTELLIGENT_TIERING\r\nx-amz-archive-status: DEEP_ARCHIVE_ACCESS\r\n"),
         "INTELLIGENT_TIERING", STORE_DEPTH_DEEP, STORE_THAW_NONE, true, true, NULL},
        {OBJECT("x-amz-storage-class: INTELLIGENT_TIERING\r\n"), "INTELLIGENT_TIERING", STORE_DEPTH_NONE,
         STORE_THAW_NONE, false, false, NULL},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        const struct http_answer a = {.bytes = cases[i].answer};
        struct http_server *h = http_server_start(&a, 1);
        struct store *s = open_at(h, "");
        struct store_coldness c;
        int64_t until = 0;
        OK(store_look_cold(s, "packs/d/x", &c, e));
        assert_string_equal(c.name, cases[i].name);
        assert_int_equal(c.depth, cases[i].depth);
        assert_int_equal(c.thaw, cases[i].thaw);
        assert_int_equal(c.moves, cases[i].moves);
        assert_int_equal(store_is_frozen(&c), cases[i].frozen);
        if (cases[i].until) assert_true(time_parse(cases[i].until, &until));
        assert_true(c.until_ns == until);
        store_close(s);
        http_server_stop(h);
    }
}

static const struct store_coldness cold = {.name = "GLACIER", .depth = STORE_DEPTH_COLD};

static void it_is_asked_for_as_the_documentation_says(void **state) {
    (void)state;
    const struct http_answer a[] = {{.bytes = EMPTY("202 Accepted")}, {.bytes = EMPTY("200 OK")}};
    const struct store_coldness moves = {.name = "INTELLIGENT_TIERING", .depth = STORE_DEPTH_COLD, .moves = true};
    struct http_server *h = http_server_start(a, 2);
    struct store *s = open_at(h, "");
    OK(store_thaw(s, "packs/d/x", &cold, STORE_TIER_BULK, 7, e));
    OK(store_thaw(s, "packs/d/x", &moves, STORE_TIER_STANDARD, 7, e));
    const char *q = http_server_request(h, 0, NULL);
    assert_non_null(strstr(q, "POST /bucket/pre/packs/d/x?restore= HTTP/1.1"));
    assert_non_null(strcasestr(q, "\r\nx-amz-checksum-sha256: "));
    assert_non_null(strstr(q, "<RestoreRequest xmlns=\"http://s3.amazonaws.com/doc/2006-03-01/\"><Days>7</Days>"
                              "<GlacierJobParameters><Tier>Bulk</Tier></GlacierJobParameters></RestoreRequest>"));
    q = http_server_request(h, 1, NULL);
    assert_null(strstr(q, "<Days>")); /* which AWS refuses of that class */
    assert_non_null(strstr(q, "<Tier>Standard</Tier>"));
    store_close(s);
    http_server_stop(h);
}

static void asking_again_is_fine_and_other_refusals_are_not(void **state) {
    (void)state;
    const struct http_answer twice = {.bytes = FAULT("409 Conflict", "RestoreAlreadyInProgress"), .hang_up = true},
                             other = {.bytes = FAULT("409 Conflict", "InvalidBucketState"), .hang_up = true},
                             full = {.bytes = FAULT("503 Service Unavailable", "GlacierExpeditedRetrievalNotAvailable"),
                                     .hang_up = true},
                             denied = {.bytes = FAULT("403 Forbidden", "AccessDenied"), .hang_up = true};
    const struct http_answer storm[] = {{.bytes = FAULT("503 Slow Down", "SlowDown"), .hang_up = true},
                                        {.bytes = FAULT("503 Slow Down", "SlowDown"), .hang_up = true},
                                        {.bytes = EMPTY("202 Accepted")}};
    struct http_server *h = http_server_start(&twice, 1);
    struct store *s = open_at(h, "");
    OK(store_thaw(s, "x", &cold, STORE_TIER_STANDARD, 1, e));
    assert_int_equal(http_server_requests(h), 1);
    store_close(s);
    http_server_stop(h);

    h = http_server_start(&other, 1);
    s = open_at(h, "");
    FAILS(ERR_S3_REFUSED, "InvalidBucketState", store_thaw(s, "x", &cold, STORE_TIER_STANDARD, 1, e));
    store_close(s);
    http_server_stop(h);

    h = http_server_start(&full, 1);
    s = open_at(h, "");
    FAILS(ERR_S3_TIER, "no capacity for the tier expedited", store_thaw(s, "x", &cold, STORE_TIER_EXPEDITED, 1, e));
    assert_int_equal(http_server_requests(h), 1);
    store_close(s);
    http_server_stop(h);

    h = http_server_start(&denied, 1);
    s = open_at(h, "");
    struct error err = ERROR_INIT;
    assert_int_equal(store_thaw(s, "x", &cold, STORE_TIER_STANDARD, 1, &err), -ERR_S3_DENIED);
    assert_non_null(strstr(err.next, "Grant s3:RestoreObject"));
    store_close(s);
    http_server_stop(h);

    h = http_server_start(storm, 3);
    s = open_at(h, "");
    OK(store_thaw(s, "x", &cold, STORE_TIER_STANDARD, 1, e));
    assert_int_equal(http_server_requests(h), 3);
    const struct store_coldness deep = {.name = "DEEP_ARCHIVE", .depth = STORE_DEPTH_DEEP};
    FAILS(ERR_S3_TIER, "not brought back in the tier expedited", store_thaw(s, "x", &deep, STORE_TIER_EXPEDITED, 1, e));
    assert_int_equal(http_server_requests(h), 3); /* nothing was asked */
    store_close(s);
    http_server_stop(h);
}

static void only_what_is_cold_goes_to_the_archive(void **state) {
    (void)state;
    const struct http_answer a = {.bytes = EMPTY("200 OK")};
    struct http_server *h = http_server_start(&a, 1);
    struct store *s = open_at(h, "&storage_class=STANDARD_IA&data_storage_class=DEEP_ARCHIVE");
    struct bytes body = BYTES_STR("bytes");
    OK(store_create(s, "packs/d/before", body, e)); /* nobody said yet what is cold */
    assert_int_equal(store_cold_depth(s), STORE_DEPTH_NONE);
    store_set_cold(s, "packs/d/");
    assert_int_equal(store_cold_depth(s), STORE_DEPTH_DEEP);
    OK(store_create(s, "packs/d/x", body, e));
    OK(store_create(s, "packs/m/x", body, e));
    OK(store_stage(s, "packs/d/y", &body, 1, e));
    OK(store_commit(s, e));
    static const char *const want[] = {"STANDARD_IA", "DEEP_ARCHIVE", "STANDARD_IA"};
    for (size_t i = 0; i < 3; i++) {
        char line[80];
        snprintf(line, sizeof line, "\r\nx-amz-storage-class: %s\r\n", want[i]);
        assert_non_null(strcasestr(http_server_request(h, i, NULL), line));
    }
    bool staged = false;
    for (size_t i = 3; i < http_server_requests(h); i++)
        staged |= strstr(http_server_request(h, i, NULL), "/packs/d/y") &&
                  strcasestr(http_server_request(h, i, NULL), "x-amz-storage-class: DEEP_ARCHIVE\r\n");
    assert_true(staged);
    store_close(s);
    http_server_stop(h);
    struct error err = ERROR_INIT;
    assert_int_equal(store_url_check("s3://bucket?storage_class=GLACIER", &err), -ERR_USAGE);
    assert_non_null(strstr(err.text, "storage_class in the address wants a storage class that is read at once "
                                     "(data_storage_class, of packs only, may be an archive), not 'GLACIER'"));
}

static int see(void *ctx, const struct store_object *o, struct error *err) {
    (void)err;
    strcat(ctx, o->archived ? "A" : "-");
    return 0;
}

#define ROW(key, class)                                                                                                \
    "<Contents><Key>pre/" key                                                                                          \
    "</Key><Size>1</Size><LastModified>2026-11-21T00:00:00Z</LastModified>" class "</Contents>"

static void a_list_says_what_is_archived(void **state) {
    (void)state;
    const struct http_answer a = {
        .bytes = HEAD("200 OK") "Connection: close\r\n\r\n<ListBucketResult><IsTruncated>false</IsTruncated>" ROW(
            "a", "<StorageClass>GLACIER</StorageClass>") ROW("b", "")
            ROW("c", "<StorageClass>DEEP_ARCHIVE</StorageClass>")
                ROW("d", "<StorageClass>STANDARD</StorageClass>") "</ListBucketResult>",
        .hang_up = true};
    struct http_server *h = http_server_start(&a, 1);
    struct store *s = open_at(h, "");
    char seen[16] = "";
    OK(store_list(s, "", see, seen, e));
    assert_string_equal(seen, "A-A-");
    store_close(s);
    http_server_stop(h);
}

static void a_folder_has_no_archive(void **state) {
    (void)state;
    char folder[] = "/tmp/proofkeep-archive-XXXXXX";
    struct store *s = NULL;
    struct store_coldness c;
    assert_non_null(mkdtemp(folder));
    OK(store_open(folder, true, &s, e));
    OK(store_create(s, "x", BYTES_STR("y"), e));
    store_set_cold(s, "x");
    assert_false(store_has_archive(s));
    assert_int_equal(store_cold_depth(s), STORE_DEPTH_NONE);
    OK(store_look_cold(s, "x", &c, e));
    assert_false(store_is_frozen(&c));
    OK(store_thaw(s, "x", &c, STORE_TIER_STANDARD, 1, e));
    FAILS(ERR_OBJECT_MISSING, "no", store_look_cold(s, "none", &c, e));
    OK(store_remove(s, "x", e));
    store_close(s);
    rmdir(folder);
}

static void times_are_the_documented_ones(void **state) {
    (void)state;
    static const int64_t minutes[][STORE_TIERS] = {{0, 0, 0}, {5, 300, 720}, {0, 720, 2880}};
    for (int d = 0; d < 3; d++)
        for (int t = 0; t < STORE_TIERS; t++)
            assert_true(store_thaw_ns((enum store_depth)d, (enum store_tier)t) == minutes[d][t] * 60 * NS_PER_S);
    assert_string_equal(store_tier_name(STORE_TIER_EXPEDITED), "expedited");
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(head_says_where_an_object_lies),
        cmocka_unit_test(it_is_asked_for_as_the_documentation_says),
        cmocka_unit_test(asking_again_is_fine_and_other_refusals_are_not),
        cmocka_unit_test(only_what_is_cold_goes_to_the_archive),
        cmocka_unit_test(a_list_says_what_is_archived),
        cmocka_unit_test(a_folder_has_no_archive),
        cmocka_unit_test(times_are_the_documented_ones),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
