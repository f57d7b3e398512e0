/* Rows of the past against live rows on a real server: what differs is found and put back, byte for byte, and nothing
 * else is written. The past is a database beside of the same server, which stands for a scratch instance. */
#include "pg_stage.h"

#include "base/seam.h"
#include "surface/change_set.h"
#include "surface/rows.h"

#include <stdlib.h>
#include <unistd.h>

static char path[160];
static json_t
    *past; /* how the past is reached: the same server, in a database of the same name, as a second server has it */
static struct pg_server second;

static const char tables[] =
    "CREATE TYPE mood AS ENUM ('sad', 'ok'); CREATE DOMAIN short AS varchar(8) NOT NULL; CREATE TYPE pair AS (a int, b "
    "text);\n"
    "CREATE TABLE typed (id bigint PRIMARY KEY, b bool, i2 smallint, i4 int, r real, d double precision, n numeric, n2 "
    "numeric(9,3),"
    " t text, v varchar(20), c char(6), by bytea, ts timestamp, tz timestamptz, da date, ti time, iv interval, u uuid,"
    " ia int[], ta text[], j json, jb jsonb, x xml, p point, ne inet, ci cidr, ma macaddr, bi bit(4), vb bit varying, "
    "m mood,"
    " s short, pa pair, ra int4range, ts_v tsvector, mo money, oi oid);\n"
    "INSERT INTO typed VALUES (1, true, -32768, 2147483647, 'NaN', 'Infinity', 'NaN', 1.5, E'a\\tb\\\\n\\n\"\\r \\x01 "
    "\\u00e9\\U0001F600', '', 'ab',"
    " '\\x00ff0a5c', 'infinity', '-infinity', 'infinity', '24:00', '1 mon -3 days 04:05:06.7', "
    "'11111111-2222-3333-4444-555555555555',"
    " '{1,NULL,3}', ARRAY['a\"b', NULL, '', 'NULL', E'\\\\'], '{\"a\":  1, \"a\": 2}', '{\"k\": [1, 2.50]}', "
    "'<a>&amp;</a>', '(1.5,-2)',"
    " '10.0.0.1/8', '10.0.0.0/8', '08:00:2b:01:02:03', '1010', '1', 'ok', 'short', ROW(1, 'x,y\"z'), '[1,5)', 'a:1 "
    "b:2', 12.34, 42),\n"
    " (2, NULL, NULL, NULL, 1e-30, 0.1, 1e30, -0.001, NULL, NULL, NULL, '', '0001-01-01 BC', '2026-01-01 "
    "00:00:00.123456+00', '4713-01-01 BC',"
    " NULL, NULL, NULL, '{}', '{}', 'null', 'null', NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, '', NULL, 'empty', "
    "NULL, NULL, NULL),\n"
    " (3, false, 0, 0, 0, '-0', 0, 0, '\\N', '\\.', '', 'abc', now(), now(), now(), '12:00', '0', NULL, "
    "'{{1,2},{3,4}}', NULL, '[]', '{}',"
    " NULL, NULL, NULL, NULL, NULL, NULL, NULL, 'sad', 'x', ROW(NULL, NULL), '(,)', '', 0, 0);\n"
    "CREATE TABLE \"Odd \"\"name\"\"\" (\"Key,1\" text COLLATE \"C\", \"k'2\" numeric, \"SELECT\" text, PRIMARY KEY "
    "(\"Key,1\", \"k'2\"));\n"
    "INSERT INTO \"Odd \"\"name\"\"\" VALUES ('a', 1.0, 'x'), ('A', 1, 'y'), ('{\"', 2, NULL), (E'\\\\', 3, ''), ('', "
    "0, 'empty');\n"
    "CREATE TABLE parted (at date, id int, what text, PRIMARY KEY (at, id)) PARTITION BY RANGE (at);\n"
    "CREATE TABLE parted_1 PARTITION OF parted FOR VALUES FROM ('2026-01-01') TO ('2026-02-01');\n"
    "CREATE TABLE parted_2 PARTITION OF parted DEFAULT;\n"
    "INSERT INTO parted SELECT '2026-01-20'::date + i, i, 'r' || i FROM generate_series(1, 30) i;\n"
    "CREATE TABLE base (id int PRIMARY KEY, t text); CREATE TABLE heir (more int, PRIMARY KEY (id)) INHERITS (base);\n"
    "INSERT INTO base VALUES (1, 'b'), (2, 'b'); INSERT INTO heir VALUES (1, 'h', 1), (3, 'h', 3);\n"
    "CREATE TABLE ident (id int GENERATED ALWAYS AS IDENTITY PRIMARY KEY, n int, double int GENERATED ALWAYS AS (n * "
    "2) STORED);\n"
    "INSERT INTO ident (n) SELECT i FROM generate_series(1, 10) i;\n"
    "CREATE TABLE hen (id int PRIMARY KEY, egg int); CREATE TABLE egg (id int PRIMARY KEY, hen int REFERENCES hen);\n"
    "INSERT INTO hen VALUES (1, 1), (2, 2); INSERT INTO egg VALUES (1, 1), (2, 2); ALTER TABLE hen ADD FOREIGN KEY "
    "(egg) REFERENCES egg;\n"
    "CREATE TABLE tree (id int PRIMARY KEY, up int REFERENCES tree); INSERT INTO tree VALUES (1, NULL), (2, 1), (3, "
    "2), (4, 3);\n"
    "CREATE TABLE leaf (id int PRIMARY KEY, tree int REFERENCES tree ON DELETE CASCADE); INSERT INTO leaf VALUES (1, "
    "4);\n";

static const char *const all_tables[] = {
    "typed", "\"Odd \"\"name\"\"\"", "parted", "base", "heir", "ident", "hen", "egg", "tree", "leaf", NULL};

static void fill(struct pg_server *s) {
    pg_server_sql(s, "postgres", "CREATE DATABASE rows");
    pg_server_sql(s, "rows", tables);
    if (stage.have_postgis)
        pg_server_sql(
            s, "rows",
            "CREATE EXTENSION postgis; CREATE TABLE place (id int PRIMARY KEY, g geometry(Point, 4326), h geography);"
            "INSERT INTO place VALUES (1, 'SRID=4326;POINT(1.1 2.2)', 'POINT(3 4)'), (2, NULL, NULL)");
}

static char *said(const char *table) {
    char query[512];
    snprintf(query, sizeof query, "SELECT count(*), md5(string_agg(t::text, E'\\n' ORDER BY t::text)) FROM %s t",
             table);
    return strdup(pg_server_ask(&stage.server, "rows", query));
}

/* The table is as it was; frees what was said of it. */
static void claim_as_before(const char *table, char *before) {
    char *now = said(table);
    if (strcmp(before, now) != 0) fail_msg("%s: %s, not %s", table, now, before);
    free(now);
    free(before);
}

static int setup(void **state) {
    if (stage_setup(state) < 0) return -1;
    pg_server_find(&second);
    pg_server_start(&second);
    fill(&second);
    snprintf(path, sizeof path, "%s/changes", stage.scratch_dir);
    past = json_pack("{s:s, s:i, s:s, s:s}", "host", second.folder, "port", 5432, "user", "postgres", "dbname",
                     "postgres");
    if (second.root) json_object_set_new(past, "run_as", json_string("postgres"));
    /* now() is the only value that two fillings do not share */
    pg_server_shell(&stage.server, "%s/pg_dump -h %s -C rows | %s/psql -q -o /dev/null -d postgres", second.bin,
                    second.folder, second.bin);
    return 0;
}

static int teardown(void **state) {
    json_decref(past);
    unlink(path);
    pg_server_remove(&second);
    return stage_teardown(state);
}

static json_t *found; /* of the last diff */

static int diff(unsigned take, bool parents, const char *const *picks, struct error *err) {
    struct surface_context ctx = stage_context(stage.settings);
    struct rows_wish wish = {.database = "rows", .picks = picks, .take = take, .with_parents = parents};
    json_t *head = json_pack("{s:{s:s}}", "point", "id", "bkp-test");
    unlink(path);
    int fd = seam_openat(AT_FDCWD, path, O_RDWR | O_CREAT | O_EXCL, 0600);
    json_decref(found);
    found = NULL;
    int rc = surface_postgres.rows->diff(&ctx, past, &wish, head, fd, &found, err);
    io_close(&fd);
    json_decref(head);
    return rc;
}

static json_t *done; /* of the last apply */

static int apply(struct error *err) {
    struct surface_context ctx = stage_context(stage.settings);
    struct rows_apply a = {.database = "rows"};
    int fd = seam_openat(AT_FDCWD, path, O_RDONLY, 0);
    json_decref(done);
    done = NULL;
    int rc = surface_postgres.rows->apply(&ctx, fd, &a, &done, err);
    io_close(&fd);
    return rc;
}

static int64_t number(const json_t *of, size_t table, const char *key) {
    return json_integer_value(json_object_get(json_array_get(json_object_get(of, "tables"), table), key));
}

#define PICKS(...) ((const char *const[]){__VA_ARGS__, NULL})

static void put_back(const char *damage, unsigned take, const char *const *picks, int64_t rows) {
    struct error err = ERROR_INIT;
    char *before[16];
    for (size_t i = 0; all_tables[i]; i++) before[i] = said(all_tables[i]);
    pg_server_sql(&stage.server, "rows", damage);
    claim_ok(diff(take, false, picks, &err), err);
    assert_int_equal(json_integer_value(json_object_get(found, "rows")), rows);
    claim_ok(apply(&err), err);
    for (size_t i = 0; all_tables[i]; i++) claim_as_before(all_tables[i], before[i]);
}

static void values_of_all_types_come_back(void **state) {
    (void)state;
    put_back("DELETE FROM typed", ROWS_DELETED, PICKS("typed"), 3);
    put_back("UPDATE typed SET b = NULL, n = 1, t = 'other', by = 'x', tz = NULL, j = '{\"a\": 1}', ia = NULL, c = "
             "'zz', p = NULL,"
             " n2 = 7, s = 'y' WHERE id < 3",
             ROWS_CHANGED, PICKS("typed"), 2);
}

static void equal_is_what_looks_the_same(void **state) {
    (void)state;
    struct error err = ERROR_INIT;
    claim_ok(diff(ROWS_DELETED | ROWS_CHANGED | ROWS_ADDED, false, all_tables, &err), err);
    assert_int_equal(json_integer_value(json_object_get(found, "rows")), 0);
    assert_int_equal(number(found, 0, "same"), 3);
    /* json has no equality of its own, and here only blanks differ */
    put_back("UPDATE typed SET j = '{\"a\": 1, \"a\": 2}' WHERE id = 1", ROWS_CHANGED, PICKS("typed"), 1);
    put_back("UPDATE typed SET n = 0.00, d = 0 WHERE id = 3", ROWS_CHANGED, PICKS("typed"), 1);
}

static void names_and_composite_keys_are_what_they_are(void **state) {
    (void)state;
    const char *odd = "\"Odd \"\"name\"\"\"";
    put_back("DELETE FROM \"Odd \"\"name\"\"\" WHERE \"k'2\" > 1; UPDATE \"Odd \"\"name\"\"\" SET \"SELECT\" = 'z' "
             "WHERE \"Key,1\" = 'a'",
             ROWS_DELETED | ROWS_CHANGED, PICKS(odd), 3);
    /* 1 and 1.00 are one key, but not one text */
    put_back(
        "DELETE FROM \"Odd \"\"name\"\"\"; INSERT INTO \"Odd \"\"name\"\"\" VALUES ('a', 1.0, 'q'), ('new', 9, NULL)",
        ROWS_DELETED | ROWS_CHANGED | ROWS_ADDED, PICKS(odd), 6);
}

static void partitions_and_heirs_hold_their_own_rows(void **state) {
    (void)state;
    put_back("DELETE FROM parted WHERE id % 3 = 0; UPDATE parted SET what = NULL WHERE id = 1; INSERT INTO parted "
             "VALUES ('2030-01-01', 1, 'n')",
             ROWS_DELETED | ROWS_CHANGED | ROWS_ADDED, PICKS("parted"), 12);
    put_back("DELETE FROM parted_1", ROWS_DELETED, PICKS("parted_1"), 11);
    put_back("DELETE FROM ONLY base WHERE id = 1", ROWS_DELETED, PICKS("base"), 1);
    put_back("DELETE FROM heir", ROWS_DELETED, PICKS("heir"), 2);
}

static void identities_and_computed_columns_are_kept(void **state) {
    (void)state;
    put_back("DELETE FROM ident WHERE id IN (3, 10); UPDATE ident SET n = 100 WHERE id = 4",
             ROWS_DELETED | ROWS_CHANGED, PICKS("ident"), 3);
}

static void foreign_keys_order_the_rows(void **state) {
    (void)state;
    put_back("ALTER TABLE hen DROP CONSTRAINT hen_egg_fkey; DELETE FROM egg; DELETE FROM hen;"
             "ALTER TABLE hen ADD FOREIGN KEY (egg) REFERENCES egg",
             ROWS_DELETED, PICKS("egg", "hen"), 4);
    put_back("DELETE FROM tree", ROWS_DELETED, PICKS("leaf", "tree"), 5);
    put_back("INSERT INTO tree VALUES (9, 1), (10, 9); INSERT INTO leaf VALUES (9, 10)", ROWS_ADDED,
             PICKS("tree", "leaf"), 3);
}

static void missing_parents_are_named_or_brought(void **state) {
    (void)state;
    struct error err = ERROR_INIT;
    char *tree = said("tree"), *leaf = said("leaf");
    pg_server_sql(&stage.server, "rows", "DELETE FROM tree WHERE id > 1");
    claim_ok(diff(ROWS_DELETED, false, PICKS("leaf"), &err), err);
    const json_t *m = json_array_get(json_object_get(found, "missing_parents"), 0);
    assert_string_equal(json_string_value(json_object_get(m, "parent")), "public.tree");
    assert_string_equal(json_string_value(json_object_get(m, "constraint")), "leaf_tree_fkey");
    assert_int_equal(json_integer_value(json_object_get(m, "rows")), 1);
    claim_fails(apply(&err), err, ERR_ROWS_PARENTS, "rows of public.tree that taken ones refer to are missing");
    claim_ok(diff(ROWS_DELETED, true, PICKS("leaf"), &err), err);
    assert_int_equal(number(found, 1, "parents"), 3);
    claim_ok(apply(&err), err);
    claim_as_before("tree", tree);
    /* a table that is picked, and whose deleted rows are not asked for, gives none */
    tree = said("tree");
    pg_server_sql(&stage.server, "rows", "UPDATE leaf SET tree = 1; DELETE FROM tree WHERE id > 1");
    claim_ok(diff(ROWS_CHANGED, false, PICKS("leaf", "tree"), &err), err);
    m = json_array_get(json_object_get(found, "missing_parents"), 0);
    assert_int_equal(json_integer_value(json_object_get(m, "rows")), 1);
    claim_ok(diff(ROWS_CHANGED, true, PICKS("leaf", "tree"), &err), err);
    claim_ok(apply(&err), err);
    claim_as_before("tree", tree);
    claim_as_before("leaf", leaf);
}

static void more_than_the_change_set_is_never_written(void **state) {
    (void)state;
    struct error err = ERROR_INIT;
    pg_server_sql(&stage.server, "rows", "INSERT INTO tree VALUES (9, 1); INSERT INTO leaf VALUES (9, 9)");
    claim_ok(diff(ROWS_ADDED, false, PICKS("tree"), &err), err);
    claim_fails(apply(&err), err, ERR_ROWS_WIDER, "the foreign key leaf_tree_fkey would write rows of leaf as well");
    assert_string_equal(pg_server_ask(&stage.server, "rows", "SELECT count(*) FROM leaf"), "2");
    pg_server_sql(&stage.server, "rows", "DELETE FROM tree WHERE id = 9");
}

static void columns_that_came_or_went_are_said(void **state) {
    (void)state;
    struct error err = ERROR_INIT;
    pg_server_sql(&stage.server, "rows",
                  "DELETE FROM ident WHERE id = 5; ALTER TABLE ident ADD extra text DEFAULT 'e', DROP double");
    claim_ok(diff(ROWS_DELETED, false, PICKS("ident"), &err), err);
    char *text = json_dumps(json_object_get(found, "warnings"), 0);
    assert_non_null(strstr(text, "column double was dropped since"));
    assert_non_null(strstr(text, "column extra was added since; rows that are put back get its default"));
    free(text);
    pg_server_sql(&stage.server, "rows", "ALTER TABLE ident ALTER n TYPE bigint");
    claim_fails(apply(&err), err, ERR_ROWS_CHANGED,
                "public.ident: its columns have changed since the change set was made");
    pg_server_sql(&stage.server, "rows", "ALTER TABLE ident ALTER n TYPE int");
    claim_ok(apply(&err), err);
    assert_string_equal(pg_server_ask(&stage.server, "rows", "SELECT n, extra FROM ident WHERE id = 5"), "5|e");
}

static void sequences_that_would_collide_are_said(void **state) {
    (void)state;
    struct error err = ERROR_INIT;
    pg_server_sql(
        &stage.server, "rows",
        "DELETE FROM ident WHERE id = 10; ALTER TABLE ident ALTER id RESTART WITH 7; INSERT INTO tree VALUES (50)");
    claim_ok(diff(ROWS_DELETED, false, PICKS("ident"), &err), err);
    char *text = json_dumps(json_object_get(found, "warnings"), 0);
    assert_non_null(strstr(text, "sequence public.ident_id_seq stands below values that come back"));
    free(text);
    claim_ok(apply(&err), err);
    pg_server_sql(&stage.server, "rows", "DELETE FROM tree WHERE id = 50");
}

static void geometries_come_back(void **state) {
    (void)state;
    struct error err = ERROR_INIT;
    if (!stage.have_postgis) skip();
    char *before = said("place");
    pg_server_sql(&stage.server, "rows", "DELETE FROM place WHERE id = 1");
    claim_ok(diff(ROWS_DELETED, false, PICKS("place"), &err), err);
    claim_ok(apply(&err), err);
    claim_as_before("place", before);
}

static void bad_picks_are_refused(void **state) {
    (void)state;
    struct error err = ERROR_INIT;
    const struct {
        const char *pick;
        enum error_code code;
        const char *text;
    } bad[] = {
        {"", ERR_USAGE, "a name is missing"},
        {"a b", ERR_USAGE, "nobody knows what stands behind the table's name"},
        {"\"open", ERR_USAGE, "a quoted name has no end"},
        {"typed:", ERR_USAGE, "a key is empty"},
        {"typed:1,,2", ERR_USAGE, "a key is empty"},
        {"typed:where ", ERR_USAGE, "the predicate is empty"},
        {"typed(id", ERR_USAGE, "the list of the key's columns has no end"},
        {"Typed.x", ERR_ROWS_TABLE, "live has no table typed.x"},
        {"parted:1", ERR_USAGE, "is keyed by 2 columns"},
        {"typed(nothing)", ERR_ROWS_KEY, "the column nothing of its key is not in both"},
        {"typed(b)", ERR_ROWS_KEY, "a column of the key is null"},
        {"parted(at)", ERR_NONE, ""},
        {"heir(t)", ERR_ROWS_KEY, "two rows have the same key"},
        {"typed:x", ERR_PG_QUERY, "invalid input syntax for type bigint"},
        {"typed:where id = 1; SELECT 1", ERR_PG_QUERY, "syntax error"},
        {"typed:where pg_advisory_lock(1) IS NULL OR id = 99 --", ERR_NONE, ""},
    };
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        const char *const picks[] = {bad[i].pick, NULL};
        if (bad[i].code == ERR_NONE)
            claim_ok(diff(ROWS_DELETED, false, picks, &err), err);
        else
            claim_fails(diff(ROWS_DELETED, false, picks, &err), err, bad[i].code, bad[i].text);
    }
    pg_server_sql(&stage.server, "rows", "CREATE VIEW seen AS SELECT 1 AS one; CREATE TABLE bare (a int)");
    claim_fails(diff(ROWS_DELETED, false, PICKS("seen"), &err), err, ERR_ROWS_TABLE,
                "public.seen is no table that holds rows of its own");
    claim_fails(diff(ROWS_DELETED, false, PICKS("bare"), &err), err, ERR_ROWS_KEY,
                "neither a primary key nor a unique index");
    claim_fails(diff(ROWS_DELETED, false, PICKS("typed", "public.typed"), &err), err, ERR_USAGE,
                "the table is named twice");
}

static void a_damaged_change_set_is_refused(void **state) {
    (void)state;
    struct error err = ERROR_INIT;
    CLEANUP(buf_free) struct buf whole = BUF_INIT(1 << 20);
    static const struct change_set_reader nothing;
    pg_server_sql(&stage.server, "rows", "DELETE FROM ident WHERE id IN (1, 2)");
    claim_ok(diff(ROWS_DELETED, false, PICKS("ident"), &err), err);
    claim_ok(io_read_file(AT_FDCWD, path, 1 << 20, &whole, &err), err);
    for (size_t at = 0; at < whole.len; at += 7) {
        uint8_t kept = whole.ptr[at];
        int fd = seam_openat(AT_FDCWD, path, O_RDWR | O_TRUNC, 0600);
        whole.ptr[at] = (uint8_t)(kept ^ 1);
        claim_ok(io_write_full(fd, whole.ptr, whole.len, path, &err), err);
        int rc = change_set_read(fd, &nothing, NULL, &err);
        /* what stands in the last line beside its digest is under the plan's digest only */
        if (rc != -ERR_CHANGE_SET && memchr(whole.ptr + at, '\n', whole.len - at - 1))
            fail_msg("a turned bit at %zu", at);
        error_clear(&err);
        whole.ptr[at] = kept;
        assert_int_equal(seam_ftruncate(fd, (off_t)at), 0);
        assert_int_equal(change_set_read(fd, &nothing, NULL, &err), -ERR_CHANGE_SET);
        error_clear(&err);
        io_close(&fd);
    }
    claim_fails(apply(&err), err, ERR_CHANGE_SET, "the change set");
    assert_string_equal(pg_server_ask(&stage.server, "rows", "SELECT count(*) FROM ident WHERE id < 3"), "0");
}

static void values_and_rows_are_asked(void **state) {
    (void)state;
    struct error err = ERROR_INIT;
    struct surface_context ctx = stage_context(stage.settings);
    const struct rows_driver *r = surface_postgres.rows;
    json_t *v = NULL;
    uint64_t n = 9;
    claim_ok(r->ask(&ctx, past, "rows", "SELECT count(*) FROM public.typed", &v, &err), err);
    assert_string_equal(json_string_value(v), "3");
    json_decref(v);
    claim_fails(r->ask(&ctx, past, "rows", "SELECT 1, 2", &v, &err), err, ERR_PG_QUERY,
                "answered 1 rows of 2 columns, not one value");
    claim_fails(r->ask(&ctx, past, "rows", "DELETE FROM public.typed RETURNING 1", &v, &err), err, ERR_PG_QUERY,
                "read-only transaction");
    claim_ok(r->count(&ctx, past, "rows", "typed:2", &n, &err), err);
    assert_int_equal(n, 1);
    claim_ok(r->count(&ctx, past, "rows", "parted:where id > 28", &n, &err), err);
    assert_int_equal(n, 2);
    claim_fails(r->count(&ctx, past, "rows", "nothing:1", &n, &err), err, ERR_ROWS_TABLE, "no table public.nothing");
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(equal_is_what_looks_the_same),
        cmocka_unit_test(values_of_all_types_come_back),
        cmocka_unit_test(names_and_composite_keys_are_what_they_are),
        cmocka_unit_test(partitions_and_heirs_hold_their_own_rows),
        cmocka_unit_test(identities_and_computed_columns_are_kept),
        cmocka_unit_test(foreign_keys_order_the_rows),
        cmocka_unit_test(missing_parents_are_named_or_brought),
        cmocka_unit_test(more_than_the_change_set_is_never_written),
        cmocka_unit_test(geometries_come_back),
        cmocka_unit_test(bad_picks_are_refused),
        cmocka_unit_test(values_and_rows_are_asked),
        cmocka_unit_test(columns_that_came_or_went_are_said),
        cmocka_unit_test(sequences_that_would_collide_are_said),
        cmocka_unit_test(a_damaged_change_set_is_refused),
    };
    if (stage_skip()) return 0;
    return cmocka_run_group_tests(tests, setup, teardown);
}
