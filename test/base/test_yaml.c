#include "base/seam.h"
#include "base/yaml.h"
#include "harness/claims.h"
#include "harness/fault.h"
#include <stdlib.h>

static struct yaml_doc *parsed(const char *text) {
    struct error e = ERROR_INIT;
    struct yaml_doc *d = NULL;
    claim_ok(yaml_parse(BYTES_STR(text), "x.yml", &d, &e), e);
    return d;
}

static void nodes_know_where_they_stand(void **s) {
    (void)s;
    struct yaml_doc *d = parsed("# about\nname: shop\nlist:\n  - a\n  - \"b\"\nmap: {k: 'v w'}\nempty:\n");
    const struct yaml_node *r = yaml_root(d), *n;
    assert_string_equal(yaml_name(d), "x.yml");
    assert_int_equal(r->kind, YAML_NODE_MAPPING);
    assert_int_equal(r->item_count, 4);
    n = yaml_get(r, "name");
    assert_string_equal(n->text, "shop");
    assert_string_equal(n->key, "name");
    assert_true(n->line == 2 && n->column == 7 && n->key_line == 2 && n->key_column == 1 && !n->quoted);
    n = yaml_get(r, "list");
    assert_true(n->kind == YAML_NODE_SEQUENCE && n->item_count == 2);
    assert_string_equal(n->items[0]->text, "a");
    assert_null(n->items[0]->key);
    assert_true(n->items[1]->quoted && n->items[1]->line == 5 && n->items[1]->column == 5);
    n = yaml_get(yaml_get(r, "map"), "k");
    assert_string_equal(n->text, "v w");
    assert_true(n->quoted && n->line == 6 && n->column == 10);
    assert_string_equal(yaml_get(r, "empty")->text, "");
    assert_null(yaml_get(r, "none"));
    assert_null(yaml_get(n, "none"));
    yaml_doc_free(d);
    yaml_doc_free(NULL);
}

static void empty_documents_have_no_root(void **s) {
    (void)s;
    const char *const rows[] = {"", "\n", "# only this\n", "---\n", "\xEF\xBB\xBF# mark\n"};
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        struct yaml_doc *d = parsed(rows[i]);
        assert_null(yaml_root(d));
        yaml_doc_free(d);
    }
    struct yaml_doc *d = parsed("\xEF\xBB\xBF"
                                "a: 1");
    assert_int_equal(yaml_get(yaml_root(d), "a")->column, 4);
    yaml_doc_free(d);
}

static void refusals_say_where_and_why(void **s) {
    (void)s;
    const struct {
        const char *in;
        enum error_code code;
        const char *text;
    } rows[] = {
        {"a: 1\nb: 2\na: 3\n", ERR_CONFIG_KEY, "x.yml:3:1: duplicate key 'a', first seen on line 1"},
        {"o:\n  k: 1\n  \"k\": 2\n", ERR_CONFIG_KEY, "x.yml:3:3: duplicate key 'k', first seen on line 2"},
        {"{b: 1, a: 1, b: 2, a: 2, a: 3}", ERR_CONFIG_KEY, "x.yml:1:14: duplicate key 'b'"},
        {"a: &x 1\nb: *x\n", ERR_CONFIG_SYNTAX, "x.yml:1:4: anchors are not allowed"},
        {"a: &x {b: 1}\n", ERR_CONFIG_SYNTAX, "x.yml:1:4: anchors are not allowed"},
        {"a: &x [b]\n", ERR_CONFIG_SYNTAX, "x.yml:1:4: anchors are not allowed"},
        {"b: *x\n", ERR_CONFIG_SYNTAX, "x.yml:1:4: aliases are not allowed"},
        {"a: !!int 1\n", ERR_CONFIG_SYNTAX, "x.yml:1:4: tags are not allowed"},
        {"a: !x [1]\n", ERR_CONFIG_SYNTAX, "x.yml:1:4: tags are not allowed"},
        {"a: !x {}\n", ERR_CONFIG_SYNTAX, "x.yml:1:4: tags are not allowed"},
        {"%TAG ! tag:x,2000:\n---\na: 1\n", ERR_CONFIG_SYNTAX, "x.yml:1:1: tags are not allowed"},
        {"a: 1\n---\nb: 2\n", ERR_CONFIG_SYNTAX, "x.yml:2:1: a second document starts here"},
        {"[a]: 1\n", ERR_CONFIG_SYNTAX, "x.yml:1:1: a key must be a plain text"},
        {"? {a: 1}\n: 2\n", ERR_CONFIG_SYNTAX, "x.yml:1:3: a key must be a plain text"},
        {"\"\": 1\n", ERR_CONFIG_SYNTAX, "x.yml:1:1: a key is empty"},
        {"a: \"x\\0y\"\n", ERR_CONFIG_SYNTAX, "x.yml:1:4: a text contains a NUL byte"},
        {"a: [1, 2\nb: 3\n", ERR_CONFIG_SYNTAX, "x.yml:2:"},
        {"a:\n\tb: 1\n", ERR_CONFIG_SYNTAX, "x.yml:2:1: found character that cannot start any token"},
        {"a: 1\n b: 2\n", ERR_CONFIG_SYNTAX, "x.yml:2:3: mapping values are not allowed in this context"},
        {"a: \"unterminated\n", ERR_CONFIG_SYNTAX, "x.yml:2:1: found unexpected end of stream"},
        {"a: 1\nbc: \xC3\xA4\xff\n", ERR_CONFIG_SYNTAX, "x.yml:2:6: "},
        {"a: \x01\n", ERR_CONFIG_SYNTAX, "x.yml:1:4: control characters are not allowed"},
        {"\xff\xfe"
         "a\0:\0",
         ERR_CONFIG_SYNTAX, "x.yml:1:1: "},
    };
    struct error e = ERROR_INIT;
    struct yaml_doc *d = NULL;
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++)
        claim_fails(yaml_parse(BYTES_STR(rows[i].in), "x.yml", &d, &e), e, rows[i].code, rows[i].text);
    assert_null(d);
}

static void depth_ends_at_32(void **s) {
    (void)s;
    struct error e = ERROR_INIT;
    struct yaml_doc *d = NULL;
    char text[100];
    memset(text, '[', 32);
    memset(text + 32, ']', 32);
    claim_ok(yaml_parse(BYTES_OF(text, 64), "x.yml", &d, &e), e);
    yaml_doc_free(d);
    memset(text, '[', 33);
    claim_fails(yaml_parse(BYTES_OF(text, 33), "x.yml", &d, &e), e, ERR_CONFIG_SYNTAX,
                "x.yml:1:33: nested deeper than 32");
}

static void size_ends_at_1_mib(void **s) {
    (void)s;
    struct error e = ERROR_INIT;
    struct yaml_doc *d = NULL;
    size_t n = (1 << 20) + 1;
    char *text = malloc(n);
    memset(text, '\n', n);
    memcpy(text, "a: 1", 4);
    claim_ok(yaml_parse(BYTES_OF(text, n - 1), "x.yml", &d, &e), e);
    yaml_doc_free(d);
    claim_fails(yaml_parse(BYTES_OF(text, n), "x.yml", &d, &e), e, ERR_CONFIG_SYNTAX, "x.yml: 1048577 bytes");
    free(text);
}

static void many_keys_are_no_burden(void **s) {
    (void)s;
    struct error e = ERROR_INIT;
    struct yaml_doc *d = NULL;
    struct buf b = BUF_INIT(1 << 20);
    for (int i = 0; i < 80000; i++) claim_ok(buf_printf(&b, &e, "k%d: v\n", i), e);
    claim_ok(yaml_parse(buf_bytes(&b), "x.yml", &d, &e), e);
    assert_int_equal(yaml_root(d)->item_count, 80000);
    assert_string_equal(yaml_root(d)->items[79999]->key, "k79999");
    yaml_doc_free(d);
    buf_free(&b);
}

static void parse_once(void *arg, uint64_t n) {
    (void)arg, (void)n;
    struct error e = ERROR_INIT;
    struct yaml_doc *d = NULL;
    int rc = yaml_parse(BYTES_STR("a: [1, 2, {b: c}]\nd: {e: f, g: h}\n"), "x.yml", &d, &e);
    if (fault_hits() > 0)
        assert_true(rc == -ERR_NO_MEMORY && e.text[0]);
    else
        claim_ok(rc, e);
    yaml_doc_free(d);
}

static void refused_memory_is_an_error(void **s) {
    (void)s;
    assert_true(fault_each(false, parse_once, NULL) > 5);
    assert_true(fault_each(true, parse_once, NULL) > 5);
}

static void property_mangled_input_never_harms(void **s) {
    (void)s;
    static const char seed[] = "a: [1, \"x\", {b: c}]\nd:\n  - e: |\n      f\n    g: 'h'\n? i\n: j\n--- &k !l\n*m\n";
    srand(5);
    for (int round = 0; round < 20000; round++) {
        char text[sizeof seed];
        size_t n = (size_t)rand() % sizeof seed;
        memcpy(text, seed, sizeof seed);
        for (int k = rand() % 6; k-- > 0;) text[(size_t)rand() % sizeof seed] = seed[(size_t)rand() % sizeof seed];
        struct error e = ERROR_INIT;
        struct yaml_doc *d = NULL;
        int rc = yaml_parse(BYTES_OF(text, n), "x.yml", &d, &e);
        assert_true(rc == 0 ? d != NULL : rc == -ERR_CONFIG_SYNTAX || rc == -ERR_CONFIG_KEY);
        if (rc) assert_true(!strncmp(e.text, "x.yml:", 6) && e.text[6] >= '1' && e.text[6] <= '9');
        yaml_doc_free(d);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(nodes_know_where_they_stand), cmocka_unit_test(empty_documents_have_no_root),
        cmocka_unit_test(refusals_say_where_and_why),  cmocka_unit_test(depth_ends_at_32),
        cmocka_unit_test(size_ends_at_1_mib),          cmocka_unit_test(many_keys_are_no_burden),
        cmocka_unit_test(refused_memory_is_an_error),  cmocka_unit_test(property_mangled_input_never_harms),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
