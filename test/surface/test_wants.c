/* Which items a restore of a part is said to read: no fewer than it does, so that nothing is missing when only those
 * were brought back from an archive, and no more than can be told. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "fake_sink.h"
#include "surface/files/attr.h"
#include "surface/surface.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static struct fake *begin(void) {
    struct error err = ERROR_INIT;
    struct fake *f = fake_new();
    (void)fake_sink(f);
    assert_int_equal(fake_seal(f, &err), 0);
    return f;
}

static void item(struct fake *f, const char *name, const char *attr) {
    fake_add(f, name, BYTES_STR(attr), ITEM_RECORDS, BYTES_STR("content"));
}

static int told(void *ctx, const struct source_head *h, struct error *err) {
    char *said = ctx;
    size_t n = strlen(said);
    (void)err;
    snprintf(said + n, 4096 - n, "%.*s ", (int)h->name.len, (const char *)h->name.ptr);
    return 0;
}

static int archived(struct source *s, const struct source_head *h, struct source_item **ret, struct error *err) {
    (void)s, (void)h, (void)ret;
    return error_set(err, ERR_S3_ARCHIVED, "it lies in an archive");
}

/* `want` is every name with a blank behind it. Nothing can be read. */
static void takes(const struct surface_driver *d, struct fake *f, const json_t *facts, bool in_place, const char *want,
                  const char *const *include) {
    char said[4096] = "";
    struct error err = ERROR_INIT;
    struct source *src = fake_source(f);
    const struct source_ops *was = src->ops;
    struct source_ops cold = *was;
    cold.open = archived;
    src->ops = &cold;
    const struct surface_context ctx = {.name = "it"};
    const struct restore_request q = {.include = include, .facts = facts, .in_place = in_place};
    int rc = d->wants(&ctx, src, &q, told, said, &err);
    src->ops = was;
    if (rc < 0) fail_msg("%s", err.text);
    assert_string_equal(said, want);
}
#define TAKES(d, f, facts, in_place, want, ...)                                                                        \
    takes(d, f, facts, in_place, want, (const char *const[]){__VA_ARGS__, NULL})

static json_t *json(const char *text) {
    json_t *j = json_loads(text, 0, NULL);
    assert_non_null(j);
    return j;
}

static void of_redis_a_database_is_the_least(void **state) {
    struct fake *f = begin();
    const struct surface_driver *d = &surface_redis;
    (void)state;
    static const char *const names[] = {"acl",        "db/0/access", "db/0/keys",  "db/1/keys",
                                        "db/10/keys", "functions",   "module_aux", "module_aux_after"};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) item(f, names[i], "{}");
    TAKES(d, f, NULL, false, "db/0/access db/0/keys ", "db/0");
    TAKES(d, f, NULL, false, "db/1/keys ", "db/1/session:*");
    TAKES(d, f, NULL, false, "acl db/10/keys functions ", "db/10", "acl", "functions");
    fake_free(f);
}

static void of_search_the_named_indices(void **state) {
    struct fake *f = begin();
    const struct surface_driver *d = &surface_search;
    json_t *facts = json("{\"indices\": [{\"name\": \"a\", \"id\": \"ID-a\"}, {\"name\": \"ab\", \"id\": \"ID-ab\"}]}");
    (void)state;
    item(f, "cluster/data_streams", "{\"type\": \"data_streams\"}");
    item(f, "cluster/pipelines", "{\"type\": \"pipelines\"}");
    item(f, "index/.ds-logs-1/documents", "{\"type\": \"documents\", \"index\": \".ds-logs-1\"}");
    item(f, "index/.ds-logs-1/meta", "{\"type\": \"index\", \"index\": \".ds-logs-1\", \"data_stream\": \"logs\"}");
    item(f, "index/a/documents", "{\"type\": \"documents\", \"index\": \"a\"}");
    item(f, "index/a/meta", "{\"type\": \"index\", \"index\": \"a\"}");
    item(f, "index/ab/documents", "{\"type\": \"documents\", \"index\": \"ab\"}");
    item(f, "index/ab/meta", "{\"type\": \"index\", \"index\": \"ab\"}");
    item(f, "snapshot/Y1/indices/ID-ab/0/snap", "{\"type\": \"repository_file\"}");
    item(f, "snapshot/index-3", "{\"type\": \"repository_file\"}");
    item(f, "snapshot/indices/ID-a/0/__x", "{\"type\": \"repository_file\"}");
    TAKES(d, f, facts, false, "index/a/documents index/a/meta snapshot/index-3 snapshot/indices/ID-a/0/__x ", "a");
    TAKES(d, f, facts, false, "index/ab/documents index/ab/meta snapshot/Y1/indices/ID-ab/0/snap snapshot/index-3 ",
          "index/ab");
    TAKES(d, f, facts, false, "index/.ds-logs-1/documents index/.ds-logs-1/meta snapshot/index-3 ", "logs");
    TAKES(d, f, facts, false, "cluster/pipelines snapshot/index-3 ", "cluster/pipelines");
    TAKES(d, f, facts, true,
          "index/.ds-logs-1/meta cluster/data_streams index/a/documents index/a/meta snapshot/index-3 "
          "snapshot/indices/ID-a/0/__x ",
          "a");
    json_decref(facts);
    fake_free(f);
}

static void of_neo4j_the_named_dumps(void **state) {
    struct fake *f = begin();
    json_t *facts = json("{\"method\": \"offline\"}");
    (void)state;
    static const char *const names[] = {"db/neo4j/frame", "db/neo4j/store/a", "db/other/dump", "db/system/frame"};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) item(f, names[i], "{}");
    TAKES(&surface_neo4j, f, facts, false, "db/neo4j/frame db/neo4j/store/a ", "neo4j");
    TAKES(&surface_neo4j, f, facts, false, "db/other/dump db/system/frame ", "db/system", "other");
    json_decref(facts);
    fake_free(f);
}

/* Where the table of contents cannot be read either. */
static void of_postgres_what_the_names_tell(void **state) {
    struct fake *f = begin();
    const struct surface_driver *d = &surface_postgres;
    json_t *facts =
        json("{\"databases\": [{\"name\": \"crm\"}, {\"name\": \"shop\"}], \"invariants_item\": \"invariants\"}");
    (void)state;
    item(f, "db/crm/contents", "{\"type\": \"contents\"}");
    item(f, "db/crm/data/0000000001",
         "{\"type\": \"table_data\", \"dump_id\": 1, \"schema\": \"public\", \"table\": \"lead\"}");
    item(f, "db/shop/contents", "{\"type\": \"contents\"}");
    item(f, "db/shop/data/0000000001",
         "{\"type\": \"table_data\", \"dump_id\": 1, \"schema\": \"public\", \"table\": \"orders\"}");
    item(f, "db/shop/data/0000000002",
         "{\"type\": \"table_data\", \"dump_id\": 2, \"schema\": \"public\", \"table\": \"order\"}");
    item(f, "db/shop/data/0000000003", "{\"type\": \"large_objects\", \"dump_id\": 3}");
    item(f, "globals/roles.sql", "{}");
    item(f, "invariants", "{}");
#define SHOP "db/shop/contents db/shop/data/0000000001 db/shop/data/0000000002 db/shop/data/0000000003 "
    TAKES(d, f, facts, false, "invariants db/shop/contents db/shop/data/0000000001 ", "db/shop/public.orders");
    TAKES(d, f, facts, false, "invariants db/shop/contents db/shop/data/0000000001 db/shop/data/0000000002 ",
          "db/shop/public.orders", "db/shop/public.order");
    TAKES(d, f, facts, false, "invariants db/shop/contents db/shop/data/0000000003 ", "db/shop/data/*3");
    /* a view, a pattern, a schema, a quoted name: the contents alone would say what they stand on */
    TAKES(d, f, facts, false, "invariants " SHOP, "db/shop/public.orders", "db/shop/public.some_view");
    TAKES(d, f, facts, false, "invariants " SHOP, "db/shop/public.order*");
    TAKES(d, f, facts, false, "invariants " SHOP, "db/shop/public");
    TAKES(d, f, facts, false, "invariants " SHOP, "db/shop/public.\"orders\"");
    TAKES(d, f, facts, false, "invariants " SHOP, "db/shop");
    /* without its database, of every one: where no table is called so, a view may be */
    TAKES(d, f, facts, false,
          "invariants db/crm/contents db/crm/data/0000000001 db/shop/contents db/shop/data/0000000001 ",
          "public.orders");
    TAKES(d, f, facts, false, "globals/roles.sql invariants ", "globals/roles.sql");
    json_decref(facts);
    fake_free(f);
}

/* More first names than are kept at a time. */
static int counted(void *ctx, const struct source_head *h, struct error *err) {
    unsigned *n = ctx;
    (void)err;
    assert_true(h->name.len > 1 && h->name.ptr[0] == 'a');
    ++*n;
    return 0;
}

static void of_files_the_first_names_of_links_however_many(void **state) {
    enum { LINKS = 3000, LONG = 1000 };
    struct fake *f = begin();
    struct error err = ERROR_INIT;
    struct buf regular = BUF_INIT(4096), link = BUF_INIT(8192);
    const struct attr one = {.type = FILE_REGULAR, .mode = 0644, .nlink = 2};
    char first[LONG + 8], name[32];
    unsigned n = 0;
    (void)state;
    assert_int_equal(attr_encode(&one, &regular, &err), 0);
    memset(first, 'x', sizeof first);
    for (int pass = 0; pass < 2; pass++)
        for (int i = 0; i < LINKS; i++) {
            snprintf(first, 6, "a%04u", (unsigned)i % 10000u);
            first[5] = '/';
            first[LONG] = 0;
            snprintf(name, sizeof name, "b/%04u", (unsigned)i % 10000u);
            const struct attr other = {.type = FILE_HARDLINK, .mode = 0644, .nlink = 2, .target = BYTES_STR(first)};
            buf_clear(&link);
            assert_int_equal(attr_encode(&other, &link, &err), 0);
            if (pass == 0)
                fake_add(f, first, buf_bytes(&regular), ITEM_FILE, BYTES_STR("content"));
            else
                fake_add(f, name, buf_bytes(&link), ITEM_NONE, BYTES_OF(NULL, 0));
        }
    const struct surface_context ctx = {.name = "it"};
    json_t *facts = json("{\"roots\": [{\"path\": \"/a\"}, {\"path\": \"/b\"}]}");
    const struct restore_request q = {.include = (const char *const[]){"b", NULL}, .facts = facts};
    int rc = surface_files.wants(&ctx, fake_source(f), &q, counted, &n, &err);
    if (rc < 0) fail_msg("%s", err.text);
    assert_int_equal(n, LINKS);
    json_decref(facts);
    buf_free(&regular);
    buf_free(&link);
    fake_free(f);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(of_files_the_first_names_of_links_however_many),
        cmocka_unit_test(of_redis_a_database_is_the_least),
        cmocka_unit_test(of_search_the_named_indices),
        cmocka_unit_test(of_neo4j_the_named_dumps),
        cmocka_unit_test(of_postgres_what_the_names_tell),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
