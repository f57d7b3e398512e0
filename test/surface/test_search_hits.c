/* The answer to a search, read in pieces of every size: documents keep their bytes, the rest is JSON, and what no
 * server says is refused. */
#include "harness/claims.h"
#include "surface/search/search_internal.h"

#include <stdlib.h>

struct seen {
    struct buf text; /* "id|routing|document\n" of each hit */
};
static int begin(void *ctx, const struct hit *h, struct error *err) {
    struct seen *s = ctx;
    return buf_printf(&s->text, err, "%.*s|%.*s|", (int)h->id.len, (const char *)h->id.ptr, (int)h->routing.len,
                      (const char *)h->routing.ptr);
}
static int document(void *ctx, struct bytes piece, struct error *err) {
    return buf_append(&((struct seen *)ctx)->text, piece.ptr, piece.len, err);
}
static int end(void *ctx, struct error *err) {
    return buf_append(&((struct seen *)ctx)->text, "\n", 1, err);
}

static int feed(const char *answer, size_t piece, struct seen *s, json_t **rest, char *sort, struct error *err) {
    struct hits_events ev = {.ctx = s, .begin = begin, .document = document, .end = end};
    struct hits h;
    size_t n = strlen(answer);
    int r = 0;
    hits_open(&h, &ev);
    buf_clear(&s->text);
    for (size_t at = 0; at < n && r == 0; at += piece)
        r = hits_feed(&h, BYTES_OF(answer + at, n - at < piece ? n - at : piece), err);
    if (r == 0) r = hits_close(&h, rest, err);
    if (r == 0 && sort) snprintf(sort, 200, "%.*s", (int)h.sort.len, (const char *)h.sort.ptr);
    hits_free(&h);
    return r;
}

static const char page[] =
    "{\"_scroll_id\":\"abc\",\"took\":1,\"timed_out\":false,\"_shards\":{\"total\":2,\"failed\":0,\"failures\":[{"
    "\"hits\":1}]},"
    "\"hits\":{\"total\":{\"value\":3,\"relation\":\"eq\"},\"max_score\":null,\"hits\":["
    "{\"_index\":\"i\",\"_type\":\"_doc\",\"_id\":\"a\\\"\\\\\",\"_score\":null,\"_ignored\":[\"x\",{\"}\":1}],\"_"
    "routing\":\"r\","
    "\"_source\":{\"n\":1.00e2,\"t\":\"}]{\\\\\\\"\",\n\"o\":{\"p\":[{},[]]},\r\"big\":12345678901234567890},\"sort\":["
    "9007199254740993,\"s]\"]},"
    "{\"_id\":\"b\",\"_source\":{},\"fields\":{\"_source\":[1]},\"sort\":[18446744073709551615]} ,\n"
    "{\"_id\":\"c\",\"_source\":{ \"\\u007b\" : \"\\\\\" } }"
    "]},\"pit_id\":\"p\",\"aggregations\":{\"hits\":{\"hits\":[]}}}";
static const char documents[] =
    "a\\\"\\\\|r|{\"n\":1.00e2,\"t\":\"}]{\\\\\\\"\", \"o\":{\"p\":[{},[]]}, \"big\":12345678901234567890}\n"
    "b||{}\nc||{ \"\\u007b\" : \"\\\\\" }\n";

static void pieces_of_every_size(void **state) {
    struct error err = ERROR_INIT;
    struct seen s = {BUF_INIT(1 << 20)};
    (void)state;
    for (size_t piece = 1; piece < sizeof page + 1; piece++) {
        json_t *rest = NULL;
        char sort[200];
        claim_ok(feed(page, piece, &s, &rest, sort, &err), err);
        assert_int_equal(s.text.len, sizeof documents - 1);
        assert_memory_equal(s.text.ptr, documents, sizeof documents - 1);
        assert_string_equal(sort, "[18446744073709551615]");
        assert_string_equal(json_string_value(json_object_get(rest, "pit_id")), "p");
        assert_int_equal(json_array_size(json_object_get(json_object_get(rest, "hits"), "hits")), 0);
        assert_int_equal(
            json_integer_value(json_object_get(json_object_get(json_object_get(rest, "hits"), "total"), "value")), 3);
        json_decref(rest);
    }
    buf_free(&s.text);
}

static void what_is_cut_short_is_refused(void **state) {
    struct error err = ERROR_INIT;
    struct seen s = {BUF_INIT(1 << 20)};
    char text[sizeof page];
    (void)state;
    for (size_t n = 1; n < sizeof page - 1; n++) {
        json_t *rest = NULL;
        memcpy(text, page, n);
        text[n] = 0;
        assert_true(feed(text, 7, &s, &rest, NULL, &err) < 0);
        assert_int_equal(err.code, ERR_SEARCH_PROTOCOL);
        assert_null(rest);
        error_clear(&err);
    }
    buf_free(&s.text);
}

static void what_no_server_says(void **state) {
    static const struct {
        const char *answer, *why;
        enum error_code code;
    } cases[] = {
        {"[]", "no object", ERR_SEARCH_PROTOCOL},
        {"{} x", "goes on after its end", ERR_SEARCH_PROTOCOL},
        {"{\"a\":[}", "brackets", ERR_SEARCH_PROTOCOL},
        {"{\"hits\":{\"hits\":[1]}}", "no object", ERR_SEARCH_PROTOCOL},
        {"{\"hits\":{\"hits\":[{\"_source\":{}}]}}", "before its id", ERR_SEARCH_PROTOCOL},
        {"{\"hits\":{\"hits\":[{\"_id\":\"a\"}]}}", "without its document", ERR_SEARCH_NO_SOURCE},
        {"{\"hits\":{\"hits\":[{\"_id\":\"a\",\"_source\":null}]}}", "no object", ERR_SEARCH_NO_SOURCE},
        {"{\"hits\":{\"hits\":[{\"_id\":\"a\",\"_source\":{},\"_routing\":\"r\"}]}}", "after its document",
         ERR_SEARCH_PROTOCOL},
        {"{\"hits\":{\"hits\":[{\"_id\":7,\"_source\":{}}]}}", "no text", ERR_SEARCH_PROTOCOL},
        {"{\"hits\":{\"hits\":[{\"_id\":\"a\",\"_source\":{\"t\":\"x\ny\"}}]}}", "line break within",
         ERR_SEARCH_PROTOCOL},
        {"{\"hits\":{\"hits\":[{\"_id\":\"a\nb\",\"_source\":{}}]}}", "line break within", ERR_SEARCH_PROTOCOL},
        {"{\"hits\":{\"hits\":[{7:1}]}}", "names and values", ERR_SEARCH_PROTOCOL},
        {"{\"a\":tru,\"hits\":{\"hits\":[]}}", "invalid token", ERR_SEARCH_PROTOCOL},
    };
    struct error err = ERROR_INIT;
    struct seen s = {BUF_INIT(1 << 20)};
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        json_t *rest = NULL;
        claim_fails(feed(cases[i].answer, 3, &s, &rest, NULL, &err), err, cases[i].code, cases[i].why);
    }
    buf_free(&s.text);
}

static void a_document_is_never_held(void **state) {
    struct error err = ERROR_INIT;
    struct seen s = {BUF_INIT(64u << 20)};
    struct hits_events ev = {.ctx = &s, .begin = begin, .document = document, .end = end};
    struct hits h;
    const size_t n = 20u << 20;
    char *text = malloc(n);
    json_t *rest = NULL;
    (void)state;
    memset(text, 'x', n);
    hits_open(&h, &ev);
    claim_ok(hits_feed(&h, BYTES_STR("{\"hits\":{\"hits\":[{\"_id\":\"1\",\"_source\":{\"t\":\""), &err), err);
    claim_ok(hits_feed(&h, BYTES_OF(text, n), &err), err);
    claim_ok(hits_feed(&h, BYTES_STR("\"}}]}}"), &err), err);
    claim_ok(hits_close(&h, &rest, &err), err);
    assert_true(h.rest.cap + h.value.cap + h.key.cap + h.id.cap + h.sort.cap < 16384);
    assert_int_equal(s.text.len, n + strlen("1||{\"t\":\"\"}\n"));
    json_decref(rest);
    hits_free(&h);
    buf_free(&s.text);
    free(text);
}

static void names_and_patterns(void **state) {
    (void)state;
    assert_true(search_like("*", ""));
    assert_true(search_like("logs-*-x*", "logs-a-b-xyz"));
    assert_false(search_like("logs-*-x", "logs-a-b-xyz"));
    assert_true(search_like("a*b*c", "abbbcc"));
    assert_false(search_like("a", "ab"));
    const char *one[] = {"index/log*", NULL}, *section[] = {"cluster/pipe*", NULL};
    assert_true(search_takes_index(one, "logs"));
    assert_false(search_takes_section(one, "pipelines", true));
    assert_true(search_takes_section(section, "pipelines", false));
    assert_false(search_takes_index(section, "pipelines"));
    assert_true(search_takes_index(NULL, "x"));
}

static void targets(void **state) {
    struct error err = ERROR_INIT;
    struct search_target t;
    char name[256], longer[260];
    json_t *facts = json_pack("{s:s}", "stamp", "20261121-130000z");
    struct restore_request q = {.facts = facts};
    (void)state;
    claim_ok(search_target_decide(&q, &t, &err), err);
    claim_ok(search_target_name(&t, "orders", name, &err), err);
    assert_string_equal(name, "orders-restored-20261121-130000z");
    claim_ok(search_target_name(&t, ".ds-logs-1", name, &err), err);
    assert_string_equal(name, "ds-logs-1-restored-20261121-130000z");
    memset(longer, 'n', 255);
    longer[255] = 0;
    claim_fails(search_target_name(&t, longer, name, &err), err, ERR_USAGE, "longer than 255 bytes");
    q.target = "https://other:9200/copy-*";
    claim_ok(search_target_decide(&q, &t, &err), err);
    assert_string_equal(t.url, "https://other:9200");
    assert_string_equal(t.pattern, "copy-*");
    search_target_free(&t);
    q.target = "https://other:9200";
    claim_ok(search_target_decide(&q, &t, &err), err);
    assert_string_equal(t.pattern, "*");
    search_target_free(&t);
    static const char *const none[] = {"Capital", "a b", "-a", "a*b*", "a/b", "_x", ".x", ""};
    for (size_t i = 0; i < sizeof none / sizeof *none; i++) {
        q.target = none[i];
        claim_fails(search_target_decide(&q, &t, &err), err, ERR_USAGE, "is none");
    }
    q.target = "x";
    q.in_place = true;
    claim_fails(search_target_decide(&q, &t, &err), err, ERR_USAGE, "in place has no other target");
    json_decref(facts);
}

static void settings_of_an_index(void **state) {
    struct error err = ERROR_INIT;
    json_t *now = NULL, *later = NULL;
    json_t *d = json_pack("{s:{s:s, s:s, s:s, s:s, s:s, s:s, s:s, s:s, s:s}}", "settings", "index.uuid", "u",
                          "index.creation_date", "1", "index.version.created", "7", "index.number_of_shards", "3",
                          "index.number_of_replicas", "2", "index.default_pipeline", "p", "index.lifecycle.name", "old",
                          "index.blocks.write", "true", "index.analysis.analyzer.a.type", "custom");
    (void)state;
    claim_ok(search_plan_settings(d, false, &now, &later, &err), err);
    assert_null(json_object_get(now, "index.uuid"));
    assert_null(json_object_get(now, "index.creation_date"));
    assert_null(json_object_get(now, "index.version.created"));
    assert_null(json_object_get(now, "index.lifecycle.name"));
    assert_null(json_object_get(later, "index.lifecycle.name"));
    assert_string_equal(json_string_value(json_object_get(now, "index.number_of_shards")), "3");
    assert_string_equal(json_string_value(json_object_get(now, "index.number_of_replicas")), "0");
    assert_string_equal(json_string_value(json_object_get(now, "index.default_pipeline")), "_none");
    assert_string_equal(json_string_value(json_object_get(now, "index.refresh_interval")), "-1");
    assert_string_equal(json_string_value(json_object_get(now, "index.analysis.analyzer.a.type")), "custom");
    assert_null(json_object_get(now, "index.blocks.write"));
    assert_string_equal(json_string_value(json_object_get(later, "index.blocks.write")), "true");
    assert_string_equal(json_string_value(json_object_get(later, "index.number_of_replicas")), "2");
    assert_true(json_is_null(json_object_get(later, "index.refresh_interval")));
    json_decref(now);
    json_decref(later);
    claim_ok(search_plan_settings(d, true, &now, &later, &err), err);
    assert_string_equal(json_string_value(json_object_get(later, "index.lifecycle.name")), "old");
    json_decref(now);
    json_decref(later);
    json_decref(d);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(pieces_of_every_size), cmocka_unit_test(what_is_cut_short_is_refused),
        cmocka_unit_test(what_no_server_says),  cmocka_unit_test(a_document_is_never_held),
        cmocka_unit_test(names_and_patterns),   cmocka_unit_test(targets),
        cmocka_unit_test(settings_of_an_index),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
