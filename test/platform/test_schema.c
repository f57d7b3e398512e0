#include "platform_test.h"

#include "platform/schema.h"

/* The files are what the table makes of them; PK_SOURCE_ROOT is set by the build. */
static void compare(const char *name, int (*write)(struct buf *, struct error *)) {
    struct error err = ERROR_INIT;
    const char *root = getenv("PK_SOURCE_ROOT");
    assert_non_null(root);
    char path[4096];
    snprintf(path, sizeof(path), "%s/doc/reference/%s", root, name);
    CLEANUP(buf_free) struct buf kept = BUF_INIT(1 << 20), made = BUF_INIT(1 << 20);
    assert_ok(io_read_file(AT_FDCWD, path, 1 << 20, &kept, &err), &err);
    assert_ok(write(&made, &err), &err);
    if (!bytes_equal(buf_bytes(&kept), buf_bytes(&made)))
        fail_msg("doc/reference/%s is not what schema_gen prints: run it again", name);
}
static void published_schema_is_true(void **state) {
    (void)state;
    compare("proofkeep.schema.json", schema_write_json);
}
static void reference_page_is_true(void **state) {
    (void)state;
    compare("configuration.md", schema_write_markdown);
}

static void check_rows(const struct schema *s, unsigned depth) {
    assert_true(depth < 10);
    assert_true(s->doc && s->doc[0] && s->doc[strlen(s->doc) - 1] == '.');
    assert_true(s->bytes >= sizeof(struct config_head));
    for (size_t i = 0; i < s->field_count; i++) {
        const struct field *f = &s->fields[i];
        assert_true(f->doc && f->doc[strlen(f->doc) - 1] == '.');
        assert_true(f->offset < s->bytes);
        assert_true(f->type < FIELD_TYPE_COUNT);
        assert_true((f->type == FIELD_ENUM) == (f->values != NULL));
        assert_true((f->type == FIELD_OBJECT || f->type == FIELD_LIST || f->type == FIELD_MAP) == (f->object != NULL));
        if (f->type == FIELD_REF || f->type == FIELD_REFS) assert_non_null(f->refers);
        if (f->refers) assert_int_equal(schema_find(&schema_root, f->refers)->type, FIELD_MAP);
        if (f->type == FIELD_INT) assert_true(f->min <= f->max);
        if (f->only) assert_non_null(s->kind);
        for (size_t j = 0; j < i; j++) assert_string_not_equal(f->name, s->fields[j].name);
        if (f->object) check_rows(f->object, depth + 1);
    }
}
static void every_row_is_whole(void **state) {
    (void)state;
    check_rows(&schema_root, 0);
}

static void no_key_is_a_word_of_yaml_1_1(void **state) {
    (void)state;
    static const char *const words[] = {"on", "off", "yes", "no", "y", "n", "true", "false", "null"};
    CLEANUP(buf_free) struct buf b = BUF_INIT(1 << 20);
    struct error err = ERROR_INIT;
    assert_ok(schema_write_markdown(&b, &err), &err);
    assert_ok(buf_terminate(&b, &err), &err);
    for (size_t i = 0; i < sizeof(words) / sizeof(words[0]); i++) {
        char row[32];
        snprintf(row, sizeof(row), "- **`%s`**", words[i]);
        assert_null(strstr((char *)b.ptr, row));
    }
}

static void suggests_what_is_near(void **state) {
    (void)state;
    static const char *const words[] = {"environments", "surfaces", "secrets", "rpo", "rto", NULL};
    const size_t n = sizeof(words) / sizeof(words[0]);
    assert_string_equal(schema_suggest("enviroments", words, n), "environments");
    assert_string_equal(schema_suggest("surfcaes", words, n), "surfaces"); /* a swap is one edit */
    assert_string_equal(schema_suggest("secrtes", words, n), "secrets");
    assert_string_equal(schema_suggest("rop", words, n), "rpo");
    assert_string_equal(schema_suggest("rto", words, n), "rto");
    assert_null(schema_suggest("schedule", words, n));
    assert_null(schema_suggest("x", words, n));
    assert_null(schema_suggest("", words, n));
    char huge[300];
    memset(huge, 'a', sizeof(huge) - 1);
    huge[sizeof(huge) - 1] = '\0';
    assert_null(schema_suggest(huge, words, n));
}

static void knows_names(void **state) {
    (void)state;
    char longest[65];
    memset(longest, 'a', 64);
    longest[64] = '\0';
    assert_false(schema_name_ok(longest));
    longest[63] = '\0';
    assert_true(schema_name_ok(longest));
    assert_true(schema_name_ok("pg-main_1.2"));
    assert_true(schema_name_ok("0"));
    static const char *const bad[] = {"", "all", "A", "-a", ".a", "_a", "a/b", "a@b", "a,b", "a b", "é"};
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) assert_false(schema_name_ok(bad[i]));
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(published_schema_is_true), cmocka_unit_test(reference_page_is_true),
        cmocka_unit_test(every_row_is_whole),       cmocka_unit_test(no_key_is_a_word_of_yaml_1_1),
        cmocka_unit_test(suggests_what_is_near),    cmocka_unit_test(knows_names),
    };
    return cmocka_run_group_tests_name("platform/schema", tests, NULL, NULL);
}
