/* The PostgreSQL driver with names that invite mistakes, and with a server that dies. */
#include "pg_stage.h"

#include <stdlib.h>
#include <unistd.h>

/* Names of databases that a shell, a connection string or an option parser would read otherwise, as JSON and as SQL. */
static const struct {
    const char *name, *target;
} odd[] = {
    {"--help", "--jobs=9"},
    {"-d", "-U nobody"},
    {" lead", "trail "},
    {"UPPER lower", "upper lower"},
    {"dbname=postgres", "host=nowhere"},
    {"postgresql://nowhere/x", "postgres:///y"},
    {"it's \"quoted\" \\ $HOME;", "\" ; DROP DATABASE app; --"},
    {"\xc3\x9cn\xc3\xaf\xe2\x82\xac", "\xd0\xb1\xd0\xb0\xd0\xb7\xd0\xb0"},
    {"../up", "."},
    {"%41%2F", "%s%n"},
};
#define ODD (sizeof odd / sizeof *odd)

static const char tables[] =
    "CREATE SCHEMA \"--clean\"; CREATE SCHEMA \"S p.a'c\"\"e\"; CREATE SCHEMA nothing_in_it;\n"
    "CREATE TABLE \"--clean\".\"-t\" AS SELECT generate_series(1, 3) AS \"--a\";\n"
    "CREATE TABLE \"S p.a'c\"\"e\".\" T\t\n%41\" (\"c;1\" text, \"C)\" integer DEFAULT 7);\n"
    "INSERT INTO \"S p.a'c\"\"e\".\" T\t\n%41\" VALUES (E'\\\\.', 1), (NULL, 2);\n"
    "CREATE TABLE \"\xce\xa4\xce\xb1\" (a integer); INSERT INTO \"\xce\xa4\xce\xb1\" VALUES (1);\n"
    "CREATE TABLE \"SELECT\" (a integer); CREATE TABLE \"select\" (a integer);\n"
    "INSERT INTO \"SELECT\" VALUES (1), (2);\n"
    "CREATE SEQUENCE \"--clean\".\"-s\" START 9;\n"
    "CREATE VIEW \"--clean\".\"-v\" AS SELECT * FROM \"SELECT\";\n";

static void command(const char *what, const char *name) {
    char sql[512] = "";
    size_t n = (size_t)snprintf(sql, sizeof sql, "%s \"", what);
    for (; *name; name++) {
        if (*name == '"') sql[n++] = '"';
        sql[n++] = *name;
    }
    snprintf(sql + n, sizeof sql - n, "\"");
    pg_server_sql(&stage.server, "postgres", sql);
}

static json_t *odd_settings(void) {
    json_t *settings = stage_settings("postgres", NULL), *names = json_array();
    for (size_t i = 0; i < ODD; i++) json_array_append_new(names, json_string(odd[i].name));
    json_object_set_new(settings, "databases", names);
    return settings;
}

static void odd_names_come_back_for_the_stock_tools(void **state) {
    (void)state;
    struct error err = ERROR_INIT;
    struct snapshot s;
    struct capture_result c;
    for (size_t i = 0; i < ODD; i++) {
        command("CREATE DATABASE", odd[i].name);
        pg_server_sql(&stage.server, odd[i].name, tables);
    }
    json_t *settings = odd_settings();
    struct surface_context ctx = stage_context(settings);
    snapshot_init(&s);
    claim_ok(surface_postgres.capture(&ctx, &s.sink, &c, &err), err);
    assert_true(snapshot_whole(&s));
    for (size_t i = 0; i < ODD; i++) {
        struct buf item = BUF_INIT(4096);
        for (const char *p = odd[i].name; *p; p++) { /* the names' own rule, said again */
            bool plain = *p != '/' && *p != '%' && !(*p == '.' && p == odd[i].name);
            assert_int_equal(plain ? buf_append(&item, p, 1, &err) : buf_printf(&item, &err, "%%%02X", (unsigned)*p),
                             0);
        }
        char include[256];
        struct restore_result r;
        snprintf(include, sizeof include, "db/%.*s", (int)item.len, (const char *)item.ptr);
        struct restore_request q = {.facts = c.facts,
                                    .invariants = c.invariants,
                                    .target = odd[i].target,
                                    .include = (const char *const[]){include, NULL}};
        claim_ok(surface_postgres.restore(&ctx, &s.source, &q, &r, &err), err);
        stage_same(odd[i].name, odd[i].target);
        json_decref(r.facts);
        command("DROP DATABASE", odd[i].target);
        buf_free(&item);
    }
    stage_drop(&c);
    snapshot_free(&s);
    json_decref(settings);
}

static void tables_with_odd_names_can_be_chosen(void **state) {
    (void)state;
    struct error err = ERROR_INIT;
    struct snapshot s;
    struct capture_result c;
    struct restore_result r;
    json_t *settings = stage_settings("postgres", "[\"--help\"]");
    struct surface_context ctx = stage_context(settings);
    snapshot_init(&s);
    claim_ok(surface_postgres.capture(&ctx, &s.sink, &c, &err), err);
    struct restore_request q = {.facts = c.facts,
                                .invariants = c.invariants,
                                .target = "--chosen",
                                .include = (const char *const[]){"\"--clean\".\"-t\"", "public.\"SELECT\"",
                                                                 "\"S p.a'c\"\"e\".\" T\t\n%41\"", NULL}};
    claim_ok(surface_postgres.restore(&ctx, &s.source, &q, &r, &err), err);
    assert_string_equal(
        pg_server_ask(&stage.server, "--chosen",
                      "SELECT string_agg(relname, ',' ORDER BY relname COLLATE \"C\") FROM pg_class WHERE"
                      " relkind = 'r' AND relnamespace::regnamespace::text !~ '^(pg_|information)'"),
        " T\t\n%41,-t,SELECT");
    assert_string_equal(pg_server_ask(&stage.server, "--chosen", "SELECT count(*) FROM \"SELECT\""), "2");
    json_decref(r.facts);
    command("DROP DATABASE", "--chosen");
    q.include = (const char *const[]){"public.\"SELECT\"", "public.Select", NULL};
    claim_fails(surface_postgres.restore(&ctx, &s.source, &q, &r, &err), err, ERR_NO_POINT,
                "nothing in the snapshot is called, or matches, 'public.Select'");
    assert_false(stage_exists("--chosen"));
    stage_drop(&c);
    snapshot_free(&s);
    json_decref(settings);
}

static void a_database_of_schemas_only_comes_back(void **state) {
    (void)state;
    struct error err = ERROR_INIT;
    struct snapshot s;
    struct capture_result c;
    struct restore_result r;
    pg_server_sql(&stage.server, "postgres", "CREATE DATABASE bones");
    pg_server_sql(&stage.server, "bones",
                  "CREATE SCHEMA a; CREATE TYPE a.t AS ENUM ('x'); CREATE VIEW a.v AS SELECT 1");
    json_t *settings = stage_settings("postgres", "[\"bones\"]");
    struct surface_context ctx = stage_context(settings);
    snapshot_init(&s);
    claim_ok(surface_postgres.capture(&ctx, &s.sink, &c, &err), err);
    assert_null(snapshot_find(&s, "db/bones/data/0000000001"));
    struct restore_request q = {.facts = c.facts, .invariants = c.invariants, .target = "bones2"};
    claim_ok(surface_postgres.restore(&ctx, &s.source, &q, &r, &err), err);
    stage_same("bones", "bones2");
    json_decref(r.facts);
    stage_drop(&c);
    snapshot_free(&s);
    json_decref(settings);
}

static void a_table_that_may_not_be_read_is_named(void **state) {
    (void)state;
    struct error err = ERROR_INIT;
    struct snapshot s;
    struct capture_result c;
    pg_server_sql(&stage.server, "bones",
                  "CREATE TABLE open (a integer); GRANT SELECT ON open TO nobody_special; CREATE TABLE \"Shut, up\" (a "
                  "integer)");
    json_t *settings = stage_settings("nobody_special", "[\"bones\"]");
    pg_server_sql(&stage.server, "bones",
                  "GRANT USAGE ON SCHEMA a TO nobody_special; GRANT SELECT ON a.v TO nobody_special");
    struct surface_context ctx = stage_context(settings);
    snapshot_init(&s);
    claim_fails(surface_postgres.capture(&ctx, &s.sink, &c, &err), err, ERR_PG_PRIVILEGE, "public.\"Shut, up\"");
    assert_int_equal(s.count, 0);
    snapshot_free(&s);
    json_decref(settings);
}

static void kill_server(void *ctx) {
    (void)ctx;
    pg_server_kill(&stage.server);
}

static void a_server_killed_during_a_dump_is_no_snapshot(void **state) {
    (void)state;
    struct surface_context ctx = stage_context(stage.settings);
    struct error err = ERROR_INIT;
    struct snapshot s;
    struct capture_result r;
    snapshot_init(&s);
    pg_server_sql(&stage.server, "app",
                  "CREATE TABLE sales.aaa_big AS SELECT i, repeat('x', 1000) AS t FROM generate_series(1, 30000) i");
    s.at = 4 << 20;
    s.at_bytes = kill_server;
    claim_fails(surface_postgres.capture(&ctx, &s.sink, &r, &err), err, ERR_PROC_FAILED, "pg_dump");
    assert_true(snapshot_whole(&s));
    json_t *live = NULL;
    claim_fails(surface_postgres.measure(&ctx, NULL, stage.captured.facts, &live, &err), err, ERR_PG_CONNECT, "app");
    pg_server_run(&stage.server);
    pg_server_sql(&stage.server, "app", "DROP TABLE sales.aaa_big");
    snapshot_free(&s);
}

static void a_server_killed_during_a_restore_is_said_with_what_it_leaves(void **state) {
    (void)state;
    struct error err = ERROR_INIT;
    struct restore_result r;
    char oid[32];
    snprintf(oid, sizeof oid, "%s",
             pg_server_ask(&stage.server, "postgres", "SELECT oid FROM pg_database WHERE datname = 'app'"));
    json_t *settings = stage_tools("exec $real \"$@\"");
    const char *dir = json_string_value(json_object_get(settings, "tools_dir"));
    assert_int_equal(
        pg_server_shell(&stage.server,
                        "rm %s/pg_restore; printf \"#!/bin/sh\\ncase \\\"\\$*\\\" in *--version*) exec %s/pg_restore "
                        "\\\"\\$@\\\";; esac\\nsleep 0.3\\np=\\$(head -n 1 %s/data/postmaster.pid)\\nkill -9 \\$p "
                        "\\$(ps -o pid= --ppid \\$p)\\nexec %s/pg_restore \\\"\\$@\\\"\\n\" > %s/pg_restore; chmod 755 "
                        "%s/pg_restore",
                        dir, stage.server.bin, stage.server.folder, stage.server.bin, dir, dir),
        0);
    struct surface_context ctx = stage_context(settings);
    struct restore_request q = stage_request();
    q.target = "app_crashed";
    q.swap = false;
    assert_int_equal(surface_postgres.restore(&ctx, &stage.shot.source, &q, &r, &err), -ERR_PROC_FAILED);
    assert_non_null(strstr(err.text, "pg_restore"));
    assert_non_null(strstr(err.state, "the live database is as it was"));
    assert_non_null(strstr(err.state, "could not be dropped: database app_crashed"));
    error_clear(&err);
    assert_non_null(strstr(stage.notes, "app_crashed: the half-restored database could not be dropped"));
    pg_server_gone(&stage.server);
    pg_server_run(&stage.server);
    assert_string_equal(pg_server_ask(&stage.server, "postgres", "SELECT oid FROM pg_database WHERE datname = 'app'"),
                        oid);
    pg_server_sql(&stage.server, "postgres", "DROP DATABASE IF EXISTS app_crashed");
    json_decref(settings);
    /* and then it works */
    ctx = stage_context(stage.settings);
    claim_ok(surface_postgres.restore(&ctx, &stage.shot.source, &q, &r, &err), err);
    json_decref(r.facts);
    pg_server_sql(&stage.server, "postgres", "DROP DATABASE app_crashed");
}

int main(void) {
    if (stage_skip()) return 0;
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(odd_names_come_back_for_the_stock_tools),
        cmocka_unit_test(tables_with_odd_names_can_be_chosen),
        cmocka_unit_test(a_database_of_schemas_only_comes_back),
        cmocka_unit_test(a_table_that_may_not_be_read_is_named),
        cmocka_unit_test(a_server_killed_during_a_dump_is_no_snapshot),
        cmocka_unit_test(a_server_killed_during_a_restore_is_said_with_what_it_leaves),
    };
    return cmocka_run_group_tests(tests, stage_setup, stage_teardown);
}
