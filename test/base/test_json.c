#include "base/json.h"
#include "base/seam.h"
#include "harness/claims.h"
#include "harness/fault.h"

static void refusals_name_line_column_and_cause(void **s) {
    (void)s;
    static const char *const rows[][2] = {
        {"{\"a\":1,\n \"a\":2}", "doc: line 2, column 4: duplicate object key"},
        {"{\"a\":1", "doc: line 1, column 6: '}' expected"},
        {"", "doc: line 1, column 0: '[' or '{' expected"},
        {"7", "doc: line 1, column 1: '[' or '{' expected"},
        {"{} x", "doc: line 1, column 4: end of file expected"},
        {"[\"\\u0000\"]", "doc: line 1, column 9: \\u0000 is not allowed"},
        {"[\"\xff\"]", "doc: line 1, column 2: unable to decode byte 0xff"},
        {"[18446744073709551616]", "too big integer"},
    };
    struct error e = ERROR_INIT;
    json_t *j = NULL;
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++)
        claim_fails(json_parse(BYTES_STR(rows[i][0]), 100, "doc", &j, &e), e, ERR_JSON, rows[i][1]);
    claim_fails(json_parse(BYTES_STR("[1,2,3]"), 6, "doc", &j, &e), e, ERR_JSON,
                "doc: 7 bytes, more than the 6 allowed");
    assert_null(j);
}

static void depth_ends_at_64(void **s) {
    (void)s;
    struct error e = ERROR_INIT;
    json_t *j = NULL;
    char text[200];
    memset(text, '[', 64);
    memset(text + 64, ']', 64);
    claim_ok(json_parse(BYTES_OF(text, 128), 1000, "doc", &j, &e), e);
    json_decref(j);
    memset(text, '[', 65);
    claim_fails(json_parse(BYTES_OF(text, 65), 1000, "doc", &j, &e), e, ERR_JSON,
                "line 1, column 65: nested deeper than 64");
    /* Brackets in strings are no depth, nor do escaped quotes end a string. */
    char string[200] = "[\"\\\"";
    memset(string + 4, '[', 100);
    strcpy(string + 104, "\"]");
    claim_ok(json_parse(BYTES_STR(string), 1000, "doc", &j, &e), e);
    json_decref(j);
}

static void written_form_is_canonical(void **s) {
    (void)s;
    struct error e = ERROR_INIT;
    struct buf b = BUF_INIT(1000);
    json_t *o = json_object(), *a = json_array();
    claim_ok(json_put_str(o, "z", "\xC3\xA4\n\"", &e), e);
    claim_ok(json_put_int(o, "a", INT64_MIN, &e), e);
    claim_ok(json_push(a, json_true(), &e), e);
    claim_ok(json_put(o, "m", a, &e), e);
    claim_ok(json_write(o, &b, &e), e);
    assert_true(
        bytes_equal(buf_bytes(&b), BYTES_STR("{\"a\":-9223372036854775808,\"m\":[true],\"z\":\"\\u00E4\\n\\\"\"}")));
    buf_clear(&b);
    claim_ok(json_write_pretty(o, &b, &e), e);
    claim_ok(buf_terminate(&b, &e), e);
    assert_string_equal(
        (char *)b.ptr,
        "{\n  \"z\": \"\xC3\xA4\\n\\\"\",\n  \"a\": -9223372036854775808,\n  \"m\": [\n    true\n  ]\n}");
    struct buf tiny = BUF_INIT(5);
    claim_fails(json_write(o, &tiny, &e), e, ERR_NO_MEMORY, "limit of 5 bytes");
    assert_int_equal(tiny.len, 0);
    claim_fails(json_put_str(o, "k", "\xff", &e), e, ERR_JSON, "'k': the text is not UTF-8");
    claim_fails(json_put(o, "k", NULL, &e), e, ERR_NO_MEMORY, "'k'");
    claim_fails(json_push(a, NULL, &e), e, ERR_NO_MEMORY, "array");
    json_decref(o);
    buf_free(&b);
    buf_free(&tiny);
}

static void getters_refuse_wrong_types(void **s) {
    (void)s;
    struct error e = ERROR_INIT;
    json_t *j = NULL, *v = NULL;
    const char *str = NULL;
    int64_t n = 0;
    claim_ok(json_parse(BYTES_STR("{\"s\":\"x\",\"n\":5,\"o\":{},\"a\":[],\"r\":1.5}"), JSON_MAX_BYTES, "doc", &j, &e),
             e);
    claim_ok(json_need_str(j, "s", "doc", &str, &e), e);
    assert_string_equal(str, "x");
    claim_ok(json_need_int(j, "n", "doc", &n, &e), e);
    assert_int_equal(n, 5);
    claim_ok(json_need_object(j, "o", "doc", &v, &e), e);
    claim_ok(json_need_array(j, "a", "doc", &v, &e), e);
    claim_fails(json_need_str(j, "n", "doc", &str, &e), e, ERR_JSON, "doc: 'n' is not a string");
    claim_fails(json_need_int(j, "r", "doc", &n, &e), e, ERR_JSON, "doc: 'r' is not an integer");
    claim_fails(json_need_object(j, "a", "doc", &v, &e), e, ERR_JSON, "doc: 'a' is not an object");
    claim_fails(json_need_array(j, "none", "doc", &v, &e), e, ERR_JSON, "doc: 'none' is missing");
    claim_fails(json_need_int(v, "k", "doc", &n, &e), e, ERR_JSON, "doc: not an object");
    assert_int_equal(n, 5);
    json_decref(j);
}

static void names_are_escaped_only_where_needed(void **s) {
    (void)s;
    const struct {
        struct bytes in;
        const char *out;
    } rows[] = {{BYTES_STR("a b/\xC3\xA4.txt"), "a b/\xC3\xA4.txt"},
                {BYTES_STR("100%"), "100%25"},
                {BYTES_STR("a\nb\x7f"), "a%0Ab%7F"},
                {BYTES_STR("\xff\xC3"), "%FF%C3"},
                {BYTES_STR("\xC0\x80"), "%C0%80"},               /* overlong */
                {BYTES_STR("\xED\xA0\x80"), "%ED%A0%80"},        /* surrogate */
                {BYTES_STR("\xF4\x90\x80\x80"), "%F4%90%80%80"}, /* past U+10FFFF */
                {BYTES_STR("\xF0\x9F\x92\xBE"), "\xF0\x9F\x92\xBE"},
                {BYTES_STR("\xC2\x9B"), "%C2%9B"}, /* a C1 control */
                {BYTES_OF("a\0b", 3), "a%00b"},
                {BYTES_STR(""), ""}};
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        json_t *j = json_name(rows[i].in);
        assert_non_null(j);
        assert_string_equal(json_string_value(j), rows[i].out);
        json_decref(j);
    }
}

static void parse_once(void *arg, uint64_t n) {
    (void)arg, (void)n;
    struct error e = ERROR_INIT;
    json_t *j = NULL;
    struct buf b = BUF_INIT(1000);
    int rc = json_parse(BYTES_STR("{\"a\":[1,{\"b\":\"c\"}],\"d\":null}"), 100, "doc", &j, &e);
    if (rc == 0) rc = json_put_str(j, "k", "v", &e);
    if (rc == 0) rc = json_write(j, &b, &e);
    /* Refused memory is an error and said so; nothing leaks and nothing crashes. */
    if (fault_hits() > 0)
        assert_true(rc == -ERR_NO_MEMORY && e.text[0]);
    else
        claim_ok(rc, e);
    json_decref(j);
    buf_free(&b);
}

static void refused_memory_is_an_error(void **s) {
    (void)s;
    assert_true(fault_each(false, parse_once, NULL) > 5);
    assert_true(fault_each(true, parse_once, NULL) > 5);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(refusals_name_line_column_and_cause), cmocka_unit_test(depth_ends_at_64),
        cmocka_unit_test(written_form_is_canonical),           cmocka_unit_test(getters_refuse_wrong_types),
        cmocka_unit_test(names_are_escaped_only_where_needed), cmocka_unit_test(refused_memory_is_an_error),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
