/* What a cluster answers when it refuses, has no room, or says what nobody understands: each is its own error, none is
 * a success, and none blames what we keep. Clusters that really do so are in test/e2e/search.sh. */
#include "base/time.h"
#include "harness/claims.h"
#include "harness/http_server.h"
#include "surface/fake_sink.h"
#include "surface/search/snapshot.h"

#include <stdlib.h>

#define DOCUMENTS "index/a"
static const char two[] =
    "{\"index\":{\"_id\":\"1\"}}\n{\"secret\":\"one\"}\n{\"index\":{\"_id\":\"2\"}}\n{\"secret\":\"two\"}\n";

/* A cluster that gives these answers, and a client of it. */
struct bed {
    struct http_server *server;
    char url[64], texts[8][512];
    struct http_answer answers[8];
    size_t n;
    struct surface_context ctx;
    struct search_settings settings;
    struct search_client client;
};

static void answer(struct bed *b, const char *status, const char *body) {
    snprintf(b->texts[b->n], sizeof b->texts[0],
             "HTTP/1.1 %s\r\ncontent-type: application/json\r\ncontent-length: %zu\r\n\r\n%s", status, strlen(body),
             body);
    b->answers[b->n] = (struct http_answer){.bytes = b->texts[b->n]};
    b->n++;
}

static void begin(struct bed *b) {
    struct error err = ERROR_INIT;
    b->server = http_server_start(b->answers, b->n);
    snprintf(b->url, sizeof b->url, "%s", http_server_url(b->server));
    b->ctx.jobs = 1;
    b->settings.ctx = &b->ctx;
    b->settings.url = b->url;
    b->client.s = &b->settings;
    claim_ok(http_new(&(struct http_options){.no_proxy = true}, &b->client.http, &err), err);
}

static void end(struct bed *b) {
    search_close(&b->client);
    http_server_stop(b->server);
    memset(b, 0, sizeof *b);
}

static const char refusal[] =
    "{\"error\":{\"root_cause\":[{\"type\":\"some_exception\",\"reason\":\"for some reason\"}]}}";

static void each_refusal_is_its_own_error(void **state) {
    static const struct {
        const char *status, *body, *why;
        enum error_code code;
    } cases[] = {
        {"401 Unauthorized", refusal, "answered 401, some_exception: for some reason", ERR_SEARCH_AUTH},
        {"403 Forbidden", refusal, "answered 403, some_exception: for some reason", ERR_SEARCH_DENIED},
        {"403 Forbidden", "<html>", "answered 403", ERR_SEARCH_DENIED},
        {"429 Too Many Requests", refusal, "answered 429, some_exception: for some reason", ERR_SEARCH_BUSY},
        {"503 Service Unavailable", "", "answered 503", ERR_SEARCH_BUSY},
        {"500 Internal Server Error", "{\"error\":\"plain words\"}", "answered 500: plain words", ERR_SEARCH_REPLY},
        {"404 Not Found", refusal, "answered 404", ERR_SEARCH_REPLY},
        {"200 OK", "{\"a\":", "try: line 1", ERR_SEARCH_PROTOCOL},
        {"200 OK", "<html>", "try: line 1", ERR_SEARCH_PROTOCOL},
    };
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct bed b = {0};
        struct error err = ERROR_INIT;
        json_t *got = NULL;
        answer(&b, cases[i].status, cases[i].body);
        begin(&b);
        claim_fails(search_ask(&b.client, "PUT", "/x", NULL, &got, NULL, "try", &err), err, cases[i].code,
                    cases[i].why);
        assert_null(got);
        assert_int_equal(http_server_requests(b.server), 1);
        end(&b);
    }
}

static void a_question_is_asked_again_and_an_order_is_not(void **state) {
    struct bed b = {0};
    struct error err = ERROR_INIT;
    json_t *got = NULL;
    (void)state;
    answer(&b, "429 Too Many Requests", refusal);
    answer(&b, "429 Too Many Requests", refusal);
    answer(&b, "200 OK", "{\"a\":1}");
    begin(&b);
    claim_ok(search_ask(&b.client, "GET", "/x", NULL, &got, NULL, "try", &err), err);
    assert_int_equal(json_integer_value(json_object_get(got, "a")), 1);
    assert_int_equal(http_server_requests(b.server), 3);
    json_decref(got);
    end(&b);
}

/* The log has two backups. */
static bool in_log(void *ctx, const char *job) {
    (void)ctx;
    return !strcmp(job, "bkp-1") || !strcmp(job, "bkp-2");
}

static json_t *former(void *ctx) {
    (void)ctx;
    return json_pack("{s:{s:s}}", "snapshot", "name", "proofkeep-old");
}

static void a_snapshot_that_another_backup_copies_stays(void **state) {
    static const char list[] = "{\"snapshots\":["
#define ONE(name, rest)                                                                                                \
    "{\"snapshot\":\"proofkeep-" name "\",\"state\":\"SUCCESS\",\"start_time_in_millis\":%llu,"                        \
    "\"metadata\":{\"proofkeep\":{\"surface\":\"lab/it\",\"carried\":true" rest "}}}"
        ONE("stored", ",\"job\":\"bkp-1\"") "," ONE("copied", ",\"job\":\"bkp-9\"") "," ONE("old", "") "," ONE(
            "unsaid", "") "," ONE("mine", ",\"job\":\"bkp-2\"") "]}";
    (void)state;
    for (int aged = 0; aged < 2; aged++) {
        struct bed b = {0};
        struct error err = ERROR_INIT;
        char body[4096], head[8192];
        const unsigned long long at = aged ? 1 : (unsigned long long)(time_now_ns() / 1000000);
        const struct surface_claims claims = {.job = "bkp-2", .stored = in_log};
        uint64_t removed = 0;
        snprintf(body, sizeof body, list, at, at, at, at, at);
        snprintf(head, sizeof head,
                 "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: %zu\r\n\r\n%s", strlen(body),
                 body);
        b.answers[b.n++] = (struct http_answer){.bytes = head};
        answer(&b, "200 OK", "{\"acknowledged\":true}");
        begin(&b);
        b.ctx.environment = "lab";
        b.ctx.name = "it";
        b.ctx.claims = &claims;
        b.ctx.former_facts = former;
        claim_ok(engine_snapshot_tidy(&b.client, "r", "proofkeep-mine", &removed, &err), err);
        const size_t n = http_server_requests(b.server);
        assert_int_equal(removed, aged ? 4 : 2);
        assert_int_equal(n, removed + 1);
        static const char *const gone[2][4] = {{"stored", "old"}, {"stored", "copied", "old", "unsaid"}};
        for (size_t i = 1; i < n; i++) {
            char line[80];
            snprintf(line, sizeof line, "DELETE /_snapshot/r/proofkeep-%s ", gone[aged][i - 1]);
            size_t len;
            assert_non_null(strstr(http_server_request(b.server, i, &len), line));
        }
        end(&b);
    }
}

static void only_what_is_not_there_is_missing(void **state) {
    static const struct {
        const char *status, *method;
        bool missing;
    } cases[] = {
        {"404 Not Found", "GET", true},       {"405 Method Not Allowed", "GET", true},
        {"400 Bad Request", "GET", true},     {"400 Bad Request", "PUT", false},
        {"403 Forbidden", "GET", false},      {"401 Unauthorized", "GET", false},
        {"500 Internal Error", "GET", false}, {"503 Unavailable", "GET", false},
    };
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct bed b = {0};
        struct error err = ERROR_INIT;
        json_t *got = NULL;
        bool missing = false;
        answer(&b, cases[i].status, refusal);
        begin(&b);
        int r = search_ask(&b.client, cases[i].method, "/x", NULL, &got, &missing, "try", &err);
        assert_int_equal(missing, cases[i].missing);
        assert_int_equal(r == 0, cases[i].missing);
        assert_null(got);
        end(&b);
    }
}

/* ---- documents ---- */
static int bulk(struct bed *b, bool create_only, uint64_t *ret_documents, struct error *err) {
    struct fake *fake = fake_new();
    struct error seal = ERROR_INIT;
    uint64_t bytes = 0;
    begin(b);
    (void)fake_sink(fake);
    claim_ok(fake_seal(fake, &seal), seal);
    fake_add(fake, DOCUMENTS, BYTES_STR("{}"), ITEM_RECORDS, BYTES_STR(two));
    int r = search_bulk(&b->client, fake_source(fake), DOCUMENTS, "a", create_only, ret_documents, &bytes, err);
    fake_free(fake);
    return r;
}

static void a_bulk_counts_only_when_each_document_was_taken(void **state) {
    static const struct {
        const char *status, *body, *why;
        enum error_code code;
    } cases[] = {
        {"200 OK", "{\"errors\":false,\"items\":[{\"index\":{\"status\":201}}]}", "the answer is of 1",
         ERR_SEARCH_PROTOCOL},
        {"200 OK", "{\"errors\":false}", "the answer is of 0", ERR_SEARCH_PROTOCOL},
        {"200 OK", "{\"errors\":false,\"items\":[{\"index\":{\"status\":201}},{\"index\":{}}]}", "1 of 2 documents",
         ERR_SEARCH_BULK},
        {"200 OK",
         "{\"errors\":true,\"items\":[{\"index\":{\"status\":201}},{\"index\":{\"status\":400,\"error\":{"
         "\"type\":\"odd\"}}}]}",
         "1 of 2 documents sent to the index a were refused: odd", ERR_SEARCH_BULK},
        {"200 OK", "{\"errors\":false,\"items\":[{\"index\":{\"status\":201}},{\"index\":{\"status\":409}}]}",
         "1 of 2 documents", ERR_SEARCH_BULK},
        {"200 OK", "{\"errors\":false,\"items\":[{\"index\":{\"status\":201}},{\"index\":", "the answer to _bulk",
         ERR_SEARCH_PROTOCOL},
        {"200 OK", "", "the answer to _bulk", ERR_SEARCH_PROTOCOL},
        {"403 Forbidden", "{\"error\":{\"type\":\"some_exception\",\"reason\":\"of secret one\"}}",
         "answered 403, some_exception", ERR_SEARCH_DENIED},
    };
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct bed b = {0};
        struct error err = ERROR_INIT;
        uint64_t n = 9;
        answer(&b, cases[i].status, cases[i].body);
        int r = bulk(&b, false, &n, &err);
        assert_null(strstr(err.text, "secret"));
        claim_fails(r, err, cases[i].code, cases[i].why);
        assert_int_equal(n, 0);
        end(&b);
    }
}

static void what_was_put_off_is_sent_again_and_nothing_else(void **state) {
    struct bed b = {0};
    struct error err = ERROR_INIT;
    uint64_t n = 0;
    size_t len;
    (void)state;
    answer(&b, "200 OK", "{\"errors\":true,\"items\":[{\"index\":{\"status\":201}},{\"index\":{\"status\":429}}]}");
    answer(&b, "503 Service Unavailable", refusal);
    answer(&b, "200 OK", "{\"errors\":false,\"items\":[{\"index\":{\"status\":200}}]}");
    claim_ok(bulk(&b, false, &n, &err), err);
    assert_int_equal(n, 2);
    assert_int_equal(http_server_requests(b.server), 3);
    for (size_t i = 0; i < 3; i++) {
        const char *q = http_server_request(b.server, i, &len);
        assert_true((strstr(q, "\"one\"") != NULL) == (i == 0));
        assert_non_null(strstr(q, "\"two\""));
    }
    end(&b);
}

static const char full_heap[] =
    "{\"error\":{\"root_cause\":[{\"type\":\"circuit_breaking_exception\",\"reason\":\"[parent] "
    "Data too large, data for [<http_request>] would be [2/2b]\"}]},\"status\":429}";
static const char one_taken[] = "{\"errors\":false,\"items\":[{\"index\":{\"status\":201}}]}";

/* As many documents at once are too many for a heap that is full, or for who stands before the cluster. */
static void what_finds_no_room_is_sent_in_parts_and_each_document_once(void **state) {
    static const char *const full[] = {"429 Too Many Requests", "413 Request Entity Too Large"};
    (void)state;
    for (size_t k = 0; k < 2; k++) {
        struct bed b = {0};
        struct error err = ERROR_INIT;
        uint64_t n = 0;
        size_t len;
        answer(&b, full[k], k ? refusal : full_heap);
        answer(&b, "200 OK", one_taken);
        answer(&b, "200 OK", "{\"errors\":true,\"items\":[{\"index\":{\"status\":429}}]}");
        answer(&b, "200 OK", one_taken);
        claim_ok(bulk(&b, false, &n, &err), err);
        assert_int_equal(n, 2);
        assert_int_equal(http_server_requests(b.server), 4);
        for (size_t i = 0; i < 4; i++) {
            const char *q = http_server_request(b.server, i, &len);
            assert_true((strstr(q, "\"one\"") != NULL) == (i < 2));
            assert_true((strstr(q, "\"two\"") != NULL) == (i != 1));
        }
        end(&b);
    }
}

static void one_document_that_is_too_large_is_refused(void **state) {
    struct bed b = {0};
    struct error err = ERROR_INIT;
    uint64_t n = 0;
    (void)state;
    answer(&b, "413 Request Entity Too Large", refusal);
    answer(&b, "413 Request Entity Too Large", refusal);
    claim_fails(bulk(&b, false, &n, &err), err, ERR_SEARCH_REPLY, "answered 413");
    assert_int_equal(http_server_requests(b.server), 2);
    end(&b);
}

/* A data stream takes no document twice: that it has one says that it was taken only when it may have been sent before.
 */
static void what_a_stream_has_already_counts_only_after_a_lost_answer(void **state) {
    static const char there[] =
        "{\"errors\":true,\"items\":[{\"create\":{\"status\":201}},{\"create\":{\"status\":409}}]}";
    struct bed b = {0};
    struct error err = ERROR_INIT;
    uint64_t n = 0;
    (void)state;
    answer(&b, "200 OK", there);
    claim_fails(bulk(&b, true, &n, &err), err, ERR_SEARCH_BULK, "1 of 2 documents");
    end(&b);
    answer(&b, "503 Service Unavailable", refusal);
    answer(&b, "200 OK", there);
    claim_ok(bulk(&b, true, &n, &err), err);
    assert_int_equal(n, 2);
    end(&b);
}

/* ---- pages ---- */
static const char sizes[] = "{\"_all\":{\"primaries\":{\"docs\":{\"count\":2},\"store\":{\"size_in_bytes\":200}}}}";
static const char one_page[] = "{\"timed_out\":false,\"_shards\":{\"total\":1,\"successful\":1,\"failed\":0},\"pit_"
                               "id\":\"p\",\"hits\":{\"total\":{"
                               "\"value\":2,\"relation\":\"eq\"},\"hits\":[{\"_id\":\"1\",\"_source\":{\"n\":1},"
                               "\"sort\":[0]},{\"_id\":\"2\",\"_source\":{"
                               "\"n\":2},\"sort\":[1]}]}}";

static unsigned asked_for(struct bed *b, size_t request) {
    size_t len;
    unsigned n = 0;
    const char *at = strstr(http_server_request(b->server, request, &len), "{\"size\":");
    assert_non_null(at);
    assert_int_equal(sscanf(at, "{\"size\":%u", &n), 1);
    return n;
}

/* What is read at one point in time is asked for again, in smaller pages, when the heap was too full: the cluster did
 * not even look at it. */
static void a_page_that_found_no_room_is_asked_for_again_and_smaller(void **state) {
    struct bed b = {0};
    struct error err = ERROR_INIT;
    struct search_tally t;
    (void)state;
    answer(&b, "200 OK", sizes);
    answer(&b, "429 Too Many Requests", full_heap);
    answer(&b, "200 OK", "{\"pit_id\":\"p\",\"_shards\":{\"failed\":0}}");
    answer(&b, "429 Too Many Requests", full_heap);
    answer(&b, "429 Too Many Requests", full_heap);
    answer(&b, "200 OK", one_page);
    answer(&b, "429 Too Many Requests", full_heap); /* to the end of the point in time, which is asked for once */
    begin(&b);
    b.client.opensearch = true;
    b.client.major = 2;
    b.client.minor = 19;
    claim_ok(search_tally_run(&b.client, "a", 1, &t, &err), err);
    assert_int_equal(t.documents, 2);
    assert_int_equal(http_server_requests(b.server), 7);
    assert_true(asked_for(&b, 4) == asked_for(&b, 3) / 2 && asked_for(&b, 5) == asked_for(&b, 4) / 2);
    end(&b);
}

/* Whether a scroll went on without us nobody knows. */
static void a_page_of_a_scroll_is_never_asked_for_again(void **state) {
    struct bed b = {0};
    struct error err = ERROR_INIT;
    struct search_tally t;
    (void)state;
    answer(&b, "200 OK", sizes);
    answer(&b, "429 Too Many Requests", full_heap);
    begin(&b);
    b.client.opensearch = true;
    b.client.major = 2;
    b.client.minor = 3;
    claim_fails(search_tally_run(&b.client, "a", 1, &t, &err), err, ERR_SEARCH_BUSY, "read a page of documents");
    assert_int_equal(http_server_requests(b.server), 2);
    end(&b);
}

static void an_order_is_given_again_when_nobody_looked_at_it(void **state) {
    struct bed b = {0};
    struct error err = ERROR_INIT;
    (void)state;
    answer(&b, "429 Too Many Requests", full_heap);
    answer(&b, "200 OK", "{}");
    begin(&b);
    claim_ok(search_ask(&b.client, "PUT", "/x", NULL, NULL, NULL, "try", &err), err);
    assert_int_equal(http_server_requests(b.server), 2);
    end(&b);
}

/* ---- an index that does not come up ---- */
static void an_index_that_is_not_ready_is_said_to_be(void **state) {
    static const struct {
        const char *status, *body, *why;
        enum error_code code;
    } cases[] = {
        {"200 OK", "{\"status\":\"red\",\"timed_out\":false}", "the index a is red", ERR_SEARCH_HEALTH},
        {"200 OK", "{\"status\":\"green\",\"timed_out\":true}", "the index a is green", ERR_SEARCH_HEALTH},
        {"200 OK", "{}", "the index a is not there", ERR_SEARCH_HEALTH},
        {"404 Not Found", "{}", "the index a is not there", ERR_SEARCH_HEALTH},
        {"408 Request Timeout", "{\"status\":\"red\",\"timed_out\":true}", "not ready within 60 s", ERR_SEARCH_HEALTH},
        {"403 Forbidden", refusal, "answered 403", ERR_SEARCH_DENIED},
    };
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct bed b = {0};
        struct error err = ERROR_INIT;
        answer(&b, cases[i].status, cases[i].body);
        begin(&b);
        claim_fails(search_wait_healthy(&b.client, "a", &err), err, cases[i].code, cases[i].why);
        end(&b);
    }
    struct bed b = {0};
    struct error err = ERROR_INIT;
    answer(&b, "200 OK", "{\"status\":\"yellow\",\"timed_out\":false}");
    begin(&b);
    claim_ok(search_wait_healthy(&b.client, "a", &err), err);
    end(&b);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(each_refusal_is_its_own_error),
        cmocka_unit_test(a_question_is_asked_again_and_an_order_is_not),
        cmocka_unit_test(a_snapshot_that_another_backup_copies_stays),
        cmocka_unit_test(only_what_is_not_there_is_missing),
        cmocka_unit_test(a_bulk_counts_only_when_each_document_was_taken),
        cmocka_unit_test(what_was_put_off_is_sent_again_and_nothing_else),
        cmocka_unit_test(what_finds_no_room_is_sent_in_parts_and_each_document_once),
        cmocka_unit_test(one_document_that_is_too_large_is_refused),
        cmocka_unit_test(what_a_stream_has_already_counts_only_after_a_lost_answer),
        cmocka_unit_test(a_page_that_found_no_room_is_asked_for_again_and_smaller),
        cmocka_unit_test(a_page_of_a_scroll_is_never_asked_for_again),
        cmocka_unit_test(an_order_is_given_again_when_nobody_looked_at_it),
        cmocka_unit_test(an_index_that_is_not_ready_is_said_to_be),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
