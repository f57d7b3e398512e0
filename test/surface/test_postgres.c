/* The PostgreSQL driver captures a real server: counts are judged by the stock psql, and what must not become a
 * snapshot does not. */
#include "pg_stage.h"

#include "base/seam.h"
#include <stdlib.h>
#include <unistd.h>

static void a_probe_tells_versions_and_no_problems(void **state) {
    (void)state;
    struct surface_context ctx = stage_context(stage.settings);
    struct error err = ERROR_INIT;
    json_t *facts = NULL;
    claim_ok(surface_postgres.probe(&ctx, &facts, &err), err);
    assert_int_equal(json_array_size(json_object_get(facts, "problems")), 0);
    assert_string_equal(json_string_value(json_object_get(facts, "server_version")),
                        pg_server_ask(&stage.server, "postgres", "SHOW server_version"));
    assert_string_equal(json_string_value(json_object_get(facts, "system_identifier")),
                        pg_server_ask(&stage.server, "postgres", "SELECT system_identifier FROM pg_control_system()"));
    json_decref(facts);
}

static void a_capture_has_an_item_a_table_and_psqls_counts(void **state) {
    (void)state;
    assert_string_equal(stage.captured.method, "logical_dump");
    assert_string_equal(stage.captured.consistency, "exact");
    const json_t *app = json_array_get(json_object_get(stage.captured.facts, "databases"), 0);
    assert_true(json_is_true(json_object_get(app, "exported_snapshot"))); /* facts and dump are of one moment */
    assert_non_null(snapshot_find(&stage.shot, "db/app/contents"));
    assert_non_null(snapshot_find(&stage.shot, "db/app/data/0000000001"));
    assert_non_null(snapshot_find(&stage.shot, "globals/roles.sql"));
    static const char *const tables[][2] = {{"sales.customers", "sales.customers"},
                                            {"sales.orders", "sales.orders"},
                                            {"sales.notes", "sales.notes"},
                                            {"sales.empty", "sales.empty"},
                                            {"sales.no_columns", "sales.no_columns"},
                                            {"sales.cache", "sales.cache"},
                                            {"sales.events_2025", "sales.events_2025"},
                                            {"sales.events_2026", "sales.events_2026"},
                                            {"sales.parent", "ONLY sales.parent"},
                                            {"sales.child", "sales.child"},
                                            {"sales.only_generated", "sales.only_generated"},
                                            {"public.\"We\"\"ird, T(b)l\"", "public.\"We\"\"ird, T(b)l\""},
                                            {"\"Odd.Schema\".t", "\"Odd.Schema\".t"}};
    for (size_t i = 0; i < sizeof tables / sizeof *tables; i++) {
        char key[128], query[128];
        snprintf(key, sizeof key, "db/app/%s", tables[i][0]);
        snprintf(query, sizeof query, "SELECT count(*) FROM %s", tables[i][1]);
        assert_int_equal(stage_rows(stage.captured.invariants, key), atoll(pg_server_ask(&stage.server, "app", query)));
    }
    assert_int_equal(stage_rows(stage.captured.invariants, "db/app/large_objects"), 4);
    assert_null(json_object_get(stage.captured.invariants, "db/app/sales.events"));
    if (stage.have_postgis) assert_int_equal(stage_rows(stage.captured.invariants, "db/app/public.spatial_ref_sys"), 1);
    const json_t *seq =
        json_object_get(json_object_get(stage.captured.invariants, "db/app/public.\"odd, 'seq\""), "value");
    assert_int_equal(json_integer_value(json_object_get(seq, "last_value")), 5);
    assert_true(json_is_false(json_object_get(seq, "is_called")));
    seq = json_object_get(json_object_get(stage.captured.invariants, "db/app/public.down"), "value");
    assert_int_equal(json_integer_value(json_object_get(seq, "last_value")), -1);
    assert_true(json_is_true(json_object_get(seq, "is_called")));
}

static void hashes_are_kept_apart_from_roles(void **state) {
    (void)state;
    const struct snapshot_item *roles = snapshot_find(&stage.shot, "globals/roles.sql");
    const struct snapshot_item *hashes = snapshot_find(&stage.shot, "globals/passwords.sql");
    assert_non_null(hashes);
    assert_non_null(memmem(roles->content.ptr, roles->content.len, "CREATE ROLE pw", 14));
    assert_null(memmem(roles->content.ptr, roles->content.len, "SCRAM-SHA-256", 13));
    assert_null(memmem(roles->content.ptr, roles->content.len, "restrict", 8));
    assert_non_null(memmem(hashes->content.ptr, hashes->content.len, "ALTER ROLE \"pw\" PASSWORD 'SCRAM-SHA-256", 39));
}

static void the_same_database_gives_the_same_bytes(void **state) {
    (void)state;
    struct surface_context ctx = stage_context(stage.settings);
    struct error err = ERROR_INIT;
    struct snapshot again;
    struct capture_result r;
    snapshot_init(&again);
    claim_ok(surface_postgres.capture(&ctx, &again.sink, &r, &err), err);
    assert_int_equal(again.count, stage.shot.count);
    for (size_t i = 0; i < again.count; i++) {
        assert_string_equal(again.items[i].name, stage.shot.items[i].name);
        if (strstr(again.items[i].name, "/contents")) continue; /* has the time in its head */
        assert_true(digest_equal(&again.items[i].sha256, &stage.shot.items[i].sha256));
    }
    assert_true(json_equal(r.invariants, stage.captured.invariants));
    stage_drop(&r);
    snapshot_free(&again);
}

static void a_measurement_of_the_live_server_agrees(void **state) {
    (void)state;
    struct surface_context ctx = stage_context(stage.settings);
    struct error err = ERROR_INIT;
    json_t *live = NULL;
    claim_ok(surface_postgres.measure(&ctx, NULL, stage.captured.facts, &live, &err), err);
    assert_true(json_equal(live, stage.captured.invariants));
    pg_server_sql(&stage.server, "app", "UPDATE sales.notes SET doc = '2' WHERE id = 5");
    json_t *after = NULL;
    claim_ok(surface_postgres.measure(&ctx, NULL, stage.captured.facts, &after, &err), err);
    assert_false(json_equal(json_object_get(after, "db/app/sales.notes"), json_object_get(live, "db/app/sales.notes")));
    assert_int_equal(stage_rows(after, "db/app/sales.notes"), stage_rows(live, "db/app/sales.notes"));
    pg_server_sql(&stage.server, "app",
                  "ALTER TABLE sales.notes DISABLE TRIGGER ALL; UPDATE sales.notes SET doc = NULL, body ="
                  " NULL WHERE id = 5; ALTER TABLE sales.notes ENABLE TRIGGER ALL");
    json_decref(live);
    json_decref(after);
}

static void several_databases_make_one_sorted_snapshot(void **state) {
    (void)state;
    json_t *settings = stage_settings("postgres", "\"all\"");
    struct surface_context ctx = stage_context(settings);
    struct error err = ERROR_INIT;
    struct snapshot all;
    struct capture_result r;
    snapshot_init(&all);
    claim_ok(surface_postgres.capture(&ctx, &all.sink, &r, &err), err);
    assert_int_equal(json_array_size(json_object_get(r.facts, "databases")), 5);
    assert_non_null(snapshot_find(&all, "db/app-2/contents"));
    assert_non_null(snapshot_find(&all, "db/postgres/contents"));
    assert_non_null(snapshot_find(&all, "db/we%2Fird \"db%25/contents"));
    assert_int_equal(stage_rows(r.invariants, "db/we%2Fird \"db%25/public.\"caf%E9\""), 2);
    /* LATIN1 in, LATIN1 out. */
    struct restore_request q = {.facts = r.facts,
                                .invariants = r.invariants,
                                .include = (const char *const[]){"db/we%2Fird \"db%25", NULL},
                                .target = "weird copy"};
    struct restore_result done;
    claim_ok(surface_postgres.restore(&ctx, &all.source, &q, &done, &err), err);
    assert_string_equal(
        pg_server_ask(&stage.server, "weird copy", "SELECT string_agg(a, ',' ORDER BY a) FROM caf\xc3\xa9"),
        "na\xc3\xafve,\xc3\xa9t\xc3\xa9");
    assert_string_equal(pg_server_ask(&stage.server, "weird copy", "SHOW server_encoding"), "LATIN1");
    json_decref(done.facts);
    pg_server_sql(&stage.server, "postgres", "DROP DATABASE \"weird copy\"");
    stage_drop(&r);
    snapshot_free(&all);
    json_decref(settings);
}

static void a_password_is_enough_and_is_seen_nowhere(void **state) {
    (void)state;
    json_t *settings = stage_tools(
        "tr \"\\0\" \"\\n\" < /proc/self/environ | grep -q pass:word && { echo in the environment >&2; exit 9; }\n"
        "case \"$*\" in *pass:word*) echo in the arguments >&2; exit 9;; esac\n"
        "grep -q '^[*]:[*]:[*]:[*]:pass.:word' \"$PGPASSFILE\" || { echo no password file >&2; exit 9; }\n"
        "exec $real \"$@\"");
    json_t *connect = json_object_get(settings, "connect");
    json_object_del(settings, "run_as");
    json_object_set_new(settings, "databases", json_pack("[s]", "app-2"));
    json_object_set_new(connect, "user", json_string("pw"));
    json_object_set_new(connect, "password", json_string("pg"));
    struct surface_context ctx = stage_context(settings);
    struct error err = ERROR_INIT;
    struct snapshot s;
    struct capture_result r;
    snapshot_init(&s);
    claim_ok(surface_postgres.capture(&ctx, &s.sink, &r, &err), err);
    stage_drop(&r);
    snapshot_free(&s);
    json_object_set_new(json_object_get(settings, "connect"), "password", json_string("other"));
    claim_fails(surface_postgres.capture(&ctx, &s.sink, &r, &err), err, ERR_SECRET, "there is no secret other");
    json_decref(settings);
}

static void refused(const json_t *settings, enum error_code code, const char *text) {
    struct surface_context ctx = stage_context(settings);
    struct error err = ERROR_INIT;
    struct snapshot s;
    struct capture_result r;
    snapshot_init(&s);
    claim_fails(surface_postgres.capture(&ctx, &s.sink, &r, &err), err, code, text);
    snapshot_free(&s);
}

static void what_the_role_may_not_read_is_named_before_the_dump(void **state) {
    (void)state;
    json_t *settings = stage_settings("nobody_special", "[\"app\"]");
    refused(settings, ERR_PG_PRIVILEGE, "may not use schema");
    pg_server_sql(&stage.server, "app", "GRANT USAGE ON SCHEMA sales, \"Odd.Schema\" TO nobody_special");
    refused(settings, ERR_PG_PRIVILEGE, "may not read");
    pg_server_sql(&stage.server, "app", "REVOKE USAGE ON SCHEMA sales, \"Odd.Schema\" FROM nobody_special");
    json_decref(settings);
    settings = stage_settings("dumper", "[\"app\"]");
    refused(settings, ERR_PG_PRIVILEGE, "may not read large object");
    pg_server_sql(&stage.server, "app", "ALTER TABLE sales.notes ENABLE ROW LEVEL SECURITY");
    refused(settings, ERR_PG_PRIVILEGE, "sees only some rows (row security) of sales.notes");
    struct surface_context ctx = stage_context(settings);
    struct error err = ERROR_INIT;
    json_t *facts = NULL;
    claim_ok(surface_postgres.probe(&ctx, &facts, &err), err);
    const json_t *problem = json_array_get(json_object_get(facts, "problems"), 0);
    assert_string_equal(json_string_value(json_object_get(problem, "code")), "PK-PG-003");
    json_decref(facts);
    pg_server_sql(&stage.server, "app", "ALTER TABLE sales.notes DISABLE ROW LEVEL SECURITY");
    json_decref(settings);
}

static void a_role_that_may_just_read_is_enough(void **state) {
    (void)state;
    json_t *settings = stage_settings("dumper", "[\"app-2\"]");
    struct surface_context ctx = stage_context(settings);
    struct error err = ERROR_INIT;
    struct snapshot s;
    struct capture_result r;
    snapshot_init(&s);
    pg_server_sql(&stage.server, "app-2", "CREATE TABLE t AS SELECT 1 AS a");
    claim_ok(surface_postgres.capture(&ctx, &s.sink, &r, &err), err);
    assert_int_equal(stage_rows(r.invariants, "db/app-2/public.t"), 1);
    stage_drop(&r);
    snapshot_free(&s);
    json_decref(settings);
}

static void a_server_that_is_not_there_is_said(void **state) {
    (void)state;
    json_t *settings = stage_settings("postgres", "[\"app\"]");
    json_object_set_new(json_object_get(settings, "connect"), "port", json_integer(5433));
    refused(settings, ERR_PG_CONNECT, "5433");
    json_decref(settings);
    settings = stage_settings("postgres", "[\"no such\"]");
    refused(settings, ERR_PG_CONNECT, "no such");
    json_decref(settings);
}

static void a_stream_that_ends_early_is_no_snapshot_whatever_the_status(void **state) {
    (void)state;
    json_t *settings = stage_tools("$real \"$@\" | head -c 60000; exit 0");
    refused(settings, ERR_SOURCE_TRUNCATED, "the dump ends inside");
    json_decref(settings);
    settings = stage_tools("$real \"$@\" --exclude-table-data=sales.notes | cat; exit 0");
    struct surface_context ctx = stage_context(settings);
    struct error err = ERROR_INIT;
    struct snapshot s;
    struct capture_result r;
    snapshot_init(&s);
    claim_ok(surface_postgres.capture(&ctx, &s.sink, &r, &err), err); /* the control: such a wrapper as such is fine */
    stage_drop(&r);
    snapshot_free(&s);
    json_decref(settings);
}

static void a_whole_stream_with_a_bad_status_is_no_snapshot(void **state) {
    (void)state;
    json_t *settings = stage_tools("$real \"$@\"; echo something went wrong >&2; exit 3");
    refused(settings, ERR_PROC_FAILED, "something went wrong");
    json_decref(settings);
}

static void a_dump_killed_midway_is_no_snapshot(void **state) {
    (void)state;
    json_t *settings = stage_tools("$real \"$@\" | head -c 60000; kill -9 $$");
    refused(settings, ERR_PROC_FAILED, "signal 9");
    json_decref(settings);
}

static void an_archive_of_the_future_is_kept_whole(void **state) {
    (void)state;
    json_t *settings = stage_tools("set -o pipefail; $real \"$@\" | { head -c 6; printf \"\\x7f\"; tail -c +2; }");
    /* head reads no more than it writes only of a file; so by dd, a byte at a time. */
    json_decref(settings);
    settings = stage_tools("set -o pipefail; $real \"$@\" | { dd bs=1 count=6 2>/dev/null; dd bs=1 count=1 2>/dev/null"
                           " >/dev/null; printf \"\\x7f\"; cat; }");
    struct surface_context ctx = stage_context(settings);
    struct error err = ERROR_INIT;
    struct snapshot s;
    struct capture_result r;
    snapshot_init(&s);
    claim_ok(surface_postgres.capture(&ctx, &s.sink, &r, &err), err);
    const struct snapshot_item *it = snapshot_find(&s, "db/app/archive");
    assert_non_null(it);
    assert_int_equal(it->kind, ITEM_OPAQUE);
    assert_memory_equal(it->content.ptr, "PGDMP\x01\x7f", 7);
    assert_non_null(strstr(stage.notes, "kept whole"));
    /* Put right again, it restores from the one file. */
    struct snapshot_item *mend = (struct snapshot_item *)it;
    mend->content.ptr[6] = 14;
    sha256(buf_bytes(&mend->content), &mend->sha256);
    struct restore_request q = {.facts = r.facts, .invariants = r.invariants, .target = "app_opaque"};
    struct restore_result done;
    if (stage.server.bin[strlen("/usr/lib/postgresql/1")] == '5') {
        claim_ok(surface_postgres.restore(&ctx, &s.source, &q, &done, &err), err);
        assert_string_equal(pg_server_ask(&stage.server, "app_opaque", "SELECT count(*) FROM sales.customers"), "500");
        json_decref(done.facts);
        pg_server_sql(&stage.server, "postgres", "DROP DATABASE app_opaque");
    }
    stage_drop(&r);
    snapshot_free(&s);
    json_decref(settings);
}

static void tools_older_than_the_server_are_refused(void **state) {
    (void)state;
    json_t *settings = stage_tools("exit 1");
    char path[512];
    snprintf(path, sizeof path, "%s/pg_dump", json_string_value(json_object_get(settings, "tools_dir")));
    FILE *f = fopen(path, "w");
    assert_true(f && fputs("#!/bin/sh\necho 'pg_dump (PostgreSQL) 11.22'\n", f) >= 0 && fclose(f) == 0);
    refused(settings, ERR_PG_VERSION, "11.22 in ");
    json_decref(settings);
}

static void stop_server(void *ctx) {
    (void)ctx;
    pg_server_stop(&stage.server, "immediate");
}

static void a_server_that_stops_midway_is_no_snapshot(void **state) {
    (void)state;
    struct surface_context ctx = stage_context(stage.settings);
    struct error err = ERROR_INIT;
    struct snapshot s;
    struct capture_result r;
    snapshot_init(&s);
    pg_server_sql(&stage.server, "app",
                  "CREATE TABLE sales.aaa_big AS SELECT i, repeat('x', 1000) AS t FROM generate_series(1, 30000) i");
    s.at = 4 << 20;
    s.at_bytes = stop_server;
    claim_fails(surface_postgres.capture(&ctx, &s.sink, &r, &err), err, ERR_PROC_FAILED, "pg_dump");
    pg_server_run(&stage.server);
    pg_server_sql(&stage.server, "app",
                  "DROP TABLE sales.aaa_big; INSERT INTO sales.cache VALUES ('k', 'v')"); /* unlogged: lost */
    pg_server_sql(&stage.server, "app_stock", "INSERT INTO sales.cache VALUES ('k', 'v')");
    snapshot_free(&s);
}

static void a_full_store_ends_the_dump(void **state) {
    (void)state;
    struct surface_context ctx = stage_context(stage.settings);
    struct error err = ERROR_INIT;
    struct snapshot s;
    struct capture_result r;
    snapshot_init(&s);
    s.fail_at = 100000;
    claim_fails(surface_postgres.capture(&ctx, &s.sink, &r, &err), err, ERR_IO_FULL, "the store is full");
    snapshot_free(&s);
}

static void an_item_describes_itself(void **state) {
    (void)state;
    struct error err = ERROR_INIT;
    json_t *j = NULL;
    const struct snapshot_item *it = snapshot_find(&stage.shot, "db/app/data/0000000001");
    claim_ok(surface_postgres.describe(BYTES_STR(it->name), buf_bytes(&it->attr), &j, &err), err);
    assert_string_equal(json_string_value(json_object_get(j, "type")), "table_data");
    assert_non_null(json_object_get(j, "columns"));
    assert_non_null(json_object_get(j, "digest"));
    json_decref(j);
}

int main(void) {
    if (stage_skip()) return 0;
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_probe_tells_versions_and_no_problems),
        cmocka_unit_test(a_capture_has_an_item_a_table_and_psqls_counts),
        cmocka_unit_test(hashes_are_kept_apart_from_roles),
        cmocka_unit_test(the_same_database_gives_the_same_bytes),
        cmocka_unit_test(a_measurement_of_the_live_server_agrees),
        cmocka_unit_test(several_databases_make_one_sorted_snapshot),
        cmocka_unit_test(a_password_is_enough_and_is_seen_nowhere),
        cmocka_unit_test(what_the_role_may_not_read_is_named_before_the_dump),
        cmocka_unit_test(a_role_that_may_just_read_is_enough),
        cmocka_unit_test(a_server_that_is_not_there_is_said),
        cmocka_unit_test(a_stream_that_ends_early_is_no_snapshot_whatever_the_status),
        cmocka_unit_test(a_whole_stream_with_a_bad_status_is_no_snapshot),
        cmocka_unit_test(a_dump_killed_midway_is_no_snapshot),
        cmocka_unit_test(an_archive_of_the_future_is_kept_whole),
        cmocka_unit_test(tools_older_than_the_server_are_refused),
        cmocka_unit_test(a_server_that_stops_midway_is_no_snapshot),
        cmocka_unit_test(a_full_store_ends_the_dump),
        cmocka_unit_test(an_item_describes_itself),
    };
    return cmocka_run_group_tests(tests, stage_setup, stage_teardown);
}
