/* The PostgreSQL driver restores: what it made is judged by the stock psql, pg_dump and pg_restore, never by the
 * driver's own measurement. */
#include "pg_stage.h"

#include "base/seam.h"
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

static void restored_beside_it_is_the_same_for_the_stock_tools(void **state) {
    (void)state;
    struct surface_context ctx = stage_context(stage.settings);
    struct error err = ERROR_INIT;
    struct restore_request q = stage_request();
    struct restore_result r;
    claim_ok(surface_postgres.restore(&ctx, &stage.shot.source, &q, &r, &err), err);
    const json_t *d = json_array_get(json_object_get(r.facts, "databases"), 0);
    const char *target = json_string_value(json_object_get(d, "target"));
    assert_int_equal(strncmp(target, "app_restored_", 13), 0);
    assert_true(json_integer_value(json_object_get(d, "invariants_compared")) > 15);
    stage_same("app_stock", target);
    static const char child[] = "SELECT string_agg(x || a || b || c, ',' ORDER BY x) FROM sales.child";
    assert_string_equal(pg_server_ask(&stage.server, target, child), pg_server_ask(&stage.server, "app", child));
    static const char properties[] =
        "SELECT pg_get_userbyid(datdba), datconnlimit, datcollate, datctype, pg_encoding_to_char(encoding), "
        "datacl::text,"
        " shobj_description(oid, 'pg_database'), (SELECT string_agg(setrole::text || setconfig::text, ';' ORDER BY "
        "setrole)"
        " FROM pg_db_role_setting WHERE setdatabase = d.oid) FROM pg_database d WHERE datname = current_database()";
    assert_string_equal(pg_server_ask(&stage.server, target, properties),
                        pg_server_ask(&stage.server, "app", properties));
    static const char objects[] =
        "SELECT string_agg(oid || md5(lo_get(oid)), ',' ORDER BY oid) FROM pg_largeobject_metadata";
    assert_string_equal(pg_server_ask(&stage.server, target, objects), pg_server_ask(&stage.server, "app", objects));
    assert_string_equal(pg_server_ask(&stage.server, target, "SELECT count(*), sum(total) FROM sales.totals"),
                        pg_server_ask(&stage.server, "app", "SELECT count(*), sum(total) FROM sales.totals"));
    assert_string_not_equal(
        pg_server_ask(&stage.server, target, "SELECT count(*) FROM pg_stats WHERE schemaname = 'sales'"), "0");
    assert_string_equal(stage.notes, "");
    char drop[256];
    snprintf(drop, sizeof drop, "DROP DATABASE \"%s\"", target);
    pg_server_sql(&stage.server, "postgres", drop);
    json_decref(r.facts);
}

static void an_existing_target_is_refused_and_untouched(void **state) {
    (void)state;
    struct surface_context ctx = stage_context(stage.settings);
    struct error err = ERROR_INIT;
    struct restore_request q = stage_request();
    struct restore_result r;
    q.target = "app-2";
    pg_server_sql(&stage.server, "app-2", "CREATE TABLE t AS SELECT 1 AS a");
    claim_fails(surface_postgres.restore(&ctx, &stage.shot.source, &q, &r, &err), err, ERR_PG_EXISTS, "app-2 already");
    assert_string_equal(pg_server_ask(&stage.server, "app-2", "SELECT count(*) FROM t"), "1");
}

static void a_difference_leaves_nothing_behind(void **state) {
    (void)state;
    struct surface_context ctx = stage_context(stage.settings);
    struct error err = ERROR_INIT;
    struct restore_request q = stage_request();
    struct restore_result r;
    json_t *other = json_deep_copy(stage.captured.invariants);
    json_object_set_new(json_object_get(json_object_get(other, "db/app/sales.orders"), "value"), "rows",
                        json_integer(2001));
    q.invariants = other;
    q.target = "app_wrong";
    claim_fails(surface_postgres.restore(&ctx, &stage.shot.source, &q, &r, &err), err, ERR_PG_INVARIANT,
                "db/app/sales.orders: 2000 rows instead of 2001");
    assert_false(stage_exists("app_wrong"));
    json_decref(other);
}

static void a_damaged_item_stops_the_restore_and_leaves_nothing(void **state) {
    (void)state;
    struct surface_context ctx = stage_context(stage.settings);
    struct error err = ERROR_INIT;
    struct restore_request q = stage_request();
    struct restore_result r;
    struct snapshot_item *it = (struct snapshot_item *)snapshot_find(&stage.shot, "db/app/data/0000000003");
    q.target = "app_damaged";
    it->sha256.b[0] ^= 1;
    claim_fails(surface_postgres.restore(&ctx, &stage.shot.source, &q, &r, &err), err, ERR_RESTORE_DIFFERS,
                "data/0000000003");
    it->sha256.b[0] ^= 1;
    assert_false(stage_exists("app_damaged"));
    it->dropped = true;
    claim_fails(surface_postgres.restore(&ctx, &stage.shot.source, &q, &r, &err), err, ERR_RESTORE_DIFFERS,
                "not in the snapshot");
    it->dropped = false;
    assert_false(stage_exists("app_damaged"));
}

static void a_failing_pg_restore_leaves_nothing_behind(void **state) {
    (void)state;
    struct error err = ERROR_INIT;
    struct restore_result r;
    json_t *settings = stage_tools("exec $real \"$@\"");
    const char *dir = json_string_value(json_object_get(settings, "tools_dir"));
    assert_int_equal(pg_server_shell(&stage.server,
                                     "rm %s/pg_restore; printf \"#!/bin/sh\\necho the disk is full >&2; exit 1\\n\" >"
                                     " %s/pg_restore; chmod 755 %s/pg_restore",
                                     dir, dir, dir),
                     0);
    struct surface_context ctx = stage_context(settings);
    struct restore_request q = stage_request();
    q.target = "app_failed";
    claim_fails(surface_postgres.restore(&ctx, &stage.shot.source, &q, &r, &err), err, ERR_PROC_FAILED,
                "the disk is full");
    assert_false(stage_exists("app_failed"));
    json_decref(settings);
}

static void missing_roles_are_named_or_made(void **state) {
    (void)state;
    struct error err = ERROR_INIT;
    struct surface_context ctx = stage_context(stage.settings);
    struct restore_request q = stage_request();
    struct restore_result r;
    pg_server_sql(&stage.server, "postgres", "ALTER DATABASE app RENAME TO app_away; CREATE DATABASE app");
    q.include = (const char *const[]){"db/app", NULL};
    q.target = "app_roles";
    /* Another server, as it were: roles renamed away. */
    pg_server_sql(&stage.server, "postgres",
                  "ALTER ROLE app_owner RENAME TO o2; ALTER ROLE \"weird; role\" RENAME TO w2;"
                  " ALTER ROLE app_reader RENAME TO r2; ALTER ROLE pw RENAME TO p2");
    claim_fails(surface_postgres.restore(&ctx, &stage.shot.source, &q, &r, &err), err, ERR_PG_ROLES, "app_owner");
    assert_false(stage_exists("app_roles"));
    q.include = NULL;
    claim_ok(surface_postgres.restore(&ctx, &stage.shot.source, &q, &r, &err), err);
    assert_int_equal(json_array_size(json_object_get(r.facts, "roles_made")), 4);
    assert_non_null(strstr(stage.notes, "app_owner: the role was missing and has been made"));
    assert_string_equal(pg_server_ask(&stage.server, "postgres",
                                      "SELECT rolname FROM pg_auth_members m JOIN pg_roles r ON r.oid ="
                                      " m.roleid WHERE member = 'app_reader'::regrole"),
                        "weird; role");
    assert_string_equal(pg_server_ask(&stage.server, "postgres",
                                      "SELECT a.rolpassword = b.rolpassword FROM pg_authid a, pg_authid b"
                                      " WHERE a.rolname = 'pw' AND b.rolname = 'p2'"),
                        "t");
    assert_string_equal(pg_server_ask(&stage.server, "postgres",
                                      "SELECT shobj_description(oid, 'pg_authid') FROM pg_authid WHERE"
                                      " rolname = 'app_reader'"),
                        "reads; writes 'nothing'");
    json_decref(r.facts);
    pg_server_sql(&stage.server, "postgres",
                  "DROP DATABASE app_roles; DROP DATABASE app; ALTER DATABASE app_away RENAME TO app;"
                  "DROP ROLE app_owner, app_reader, \"weird; role\", pw;"
                  "ALTER ROLE o2 RENAME TO app_owner; ALTER ROLE w2 RENAME TO \"weird; role\"; ALTER ROLE r2 RENAME TO "
                  "app_reader;"
                  "ALTER ROLE p2 RENAME TO pw; ALTER ROLE pw PASSWORD 'pass:word\\with''marks'");
}

static void without_owners_no_role_is_needed(void **state) {
    (void)state;
    struct error err = ERROR_INIT;
    struct surface_context ctx = stage_context(stage.settings);
    struct restore_request q = stage_request();
    struct restore_result r;
    q.target = "app_plain";
    q.no_owner = true;
    claim_ok(surface_postgres.restore(&ctx, &stage.shot.source, &q, &r, &err), err);
    assert_string_equal(
        pg_server_ask(&stage.server, "app_plain", "SELECT tableowner FROM pg_tables WHERE tablename = 'customers'"),
        "postgres");
    pg_server_sql(&stage.server, "postgres", "DROP DATABASE app_plain");
    json_decref(r.facts);
}

static void an_extension_that_is_not_there_is_named(void **state) {
    (void)state;
    struct error err = ERROR_INIT;
    struct surface_context ctx = stage_context(stage.settings);
    struct restore_request q = stage_request();
    struct restore_result r;
    json_t *facts = json_deep_copy(stage.captured.facts);
    json_object_set_new(json_object_get(json_array_get(json_object_get(facts, "databases"), 0), "extensions"),
                        "nonesuch", json_string("1.0"));
    q.facts = facts;
    q.target = "app_ext";
    claim_fails(surface_postgres.restore(&ctx, &stage.shot.source, &q, &r, &err), err, ERR_PG_EXTENSION,
                "nonesuch 1.0");
    json_object_set_new(facts, "server_version_num", json_integer(990000));
    claim_fails(surface_postgres.restore(&ctx, &stage.shot.source, &q, &r, &err), err, ERR_PG_VERSION, "the older");
    json_decref(facts);
}

static void chosen_tables_come_with_what_they_stand_on(void **state) {
    (void)state;
    struct error err = ERROR_INIT;
    struct surface_context ctx = stage_context(stage.settings);
    struct restore_request q = stage_request();
    struct restore_result r;
    static const char tables[] =
        "SELECT string_agg(relname, ',' ORDER BY relname) FROM pg_class WHERE relkind IN ('r', 'p', 'm',"
        " 'v') AND relnamespace::regnamespace::text IN ('sales', 'public', '\"Odd.Schema\"')"
        " AND relname NOT IN ('spatial_ref_sys', 'geometry_columns', 'geography_columns')";
    q.target = "app_some";
    q.include = (const char *const[]){"sales.orders", "sales.events", "public.places", "sales.notes", NULL};
    claim_ok(surface_postgres.restore(&ctx, &stage.shot.source, &q, &r, &err), err);
    assert_string_equal(pg_server_ask(&stage.server, "app_some", tables),
                        stage.have_postgis ? "events,events_2025,events_2026,notes,orders,places"
                                           : "events,events_2025,events_2026,notes,orders");
    assert_string_equal(pg_server_ask(&stage.server, "app_some", "SELECT count(*) FROM sales.events"), "400");
    assert_string_equal(pg_server_ask(&stage.server, "app_some", "SELECT count(*) FROM sales.orders"), "2000");
    assert_string_equal(pg_server_ask(&stage.server, "app_some",
                                      "SELECT count(*) FROM pg_constraint WHERE conrelid = "
                                      "'sales.orders'::regclass AND contype = 'p'"),
                        "1");
    assert_string_equal(
        pg_server_ask(&stage.server, "app_some", "SELECT count(*) FROM pg_constraint WHERE contype = 'f'"), "0");
    assert_string_equal(pg_server_ask(&stage.server, "app_some",
                                      "SELECT count(*) FROM pg_trigger WHERE tgrelid = "
                                      "'sales.notes'::regclass"),
                        "1");
    assert_string_equal(
        pg_server_ask(&stage.server, "app_some", "SELECT nextval(pg_get_serial_sequence('sales.orders', 'id'))"),
        "2001");
    pg_server_sql(&stage.server, "postgres", "DROP DATABASE app_some");
    json_decref(r.facts);

    q.include = (const char *const[]){"sales.customers", "sales.orders", NULL};
    claim_ok(surface_postgres.restore(&ctx, &stage.shot.source, &q, &r, &err), err);
    assert_string_equal(
        pg_server_ask(&stage.server, "app_some", "SELECT count(*) FROM pg_constraint WHERE contype = 'f'"), "1");
    pg_server_sql(&stage.server, "app_some", "INSERT INTO sales.customers (name) VALUES ('next')");
    pg_server_sql(&stage.server, "postgres", "DROP DATABASE app_some");
    json_decref(r.facts);

    q.include = (const char *const[]){"sales.rich", NULL}; /* a view brings what it looks at */
    claim_ok(surface_postgres.restore(&ctx, &stage.shot.source, &q, &r, &err), err);
    assert_string_equal(pg_server_ask(&stage.server, "app_some", "SELECT count(*) FROM sales.rich"),
                        pg_server_ask(&stage.server, "app", "SELECT count(*) FROM sales.rich"));
    pg_server_sql(&stage.server, "postgres", "DROP DATABASE app_some");
    json_decref(r.facts);

    q.include = (const char *const[]){"Odd.Schema", NULL}; /* has a dot, so it is read as schema.table */
    claim_fails(surface_postgres.restore(&ctx, &stage.shot.source, &q, &r, &err), err, ERR_NO_POINT,
                "no table of the snapshot");
    q.include = (const char *const[]){"sales", NULL};
    claim_ok(surface_postgres.restore(&ctx, &stage.shot.source, &q, &r, &err), err);
    assert_null(strstr(pg_server_ask(&stage.server, "app_some", tables), "ird"));
    assert_string_equal(pg_server_ask(&stage.server, "app_some", "SELECT sum(total) FROM sales.totals"),
                        pg_server_ask(&stage.server, "app", "SELECT sum(total) FROM sales.totals"));
    pg_server_sql(&stage.server, "postgres", "DROP DATABASE app_some");
    json_decref(r.facts);
    assert_false(stage_exists("app_some"));
}

static void one_item_can_be_asked_for_by_its_name(void **state) {
    (void)state;
    struct error err = ERROR_INIT;
    struct surface_context ctx = stage_context(stage.settings);
    struct restore_request q = stage_request();
    struct restore_result r;
    const char *name = NULL;
    for (size_t i = 0; i < stage.shot.count; i++)
        if (memmem(stage.shot.items[i].attr.ptr, stage.shot.items[i].attr.len, "\"customers\"", 11))
            name = stage.shot.items[i].name;
    assert_non_null(name);
    q.include = (const char *const[]){name, NULL};
    q.target = "app_item";
    claim_ok(surface_postgres.restore(&ctx, &stage.shot.source, &q, &r, &err), err);
    assert_string_equal(pg_server_ask(&stage.server, "app_item",
                                      "SELECT string_agg(relname, ',') FROM pg_class WHERE relkind = 'r' AND"
                                      " relnamespace = 'sales'::regnamespace"),
                        "customers");
    pg_server_sql(&stage.server, "postgres", "DROP DATABASE app_item");
    json_decref(r.facts);
}

static pid_t hold_connection(const char *database) {
    pid_t pid = fork();
    if (pid == 0) {
        char line[512], psql[160];
        snprintf(psql, sizeof psql, "%s/psql", stage.server.bin);
        (void)!freopen("/dev/null", "w", stderr); /* it says loudly that it was ended, as it should be */
        snprintf(line, sizeof line, "host=%s dbname=%s user=nobody_special", stage.server.folder, database);
        execl("/usr/bin/env", "env", "PGAPPNAME=holder", psql, "-X", line, "-qc", "SELECT pg_sleep(60)", (char *)NULL);
        _exit(127);
    }
    for (int i = 0; i < 100; i++) {
        if (atoi(pg_server_ask(&stage.server, "postgres",
                               "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'holder'")))
            return pid;
        usleep(50000);
    }
    fail_msg("no connection came");
    return pid;
}

static void a_swap_waits_for_nobody_and_ends_connections_only_when_told(void **state) {
    (void)state;
    struct error err = ERROR_INIT;
    struct surface_context ctx = stage_context(stage.settings);
    struct restore_request q = stage_request();
    struct restore_result r;
    char *oid = strdup(pg_server_ask(&stage.server, "postgres", "SELECT oid FROM pg_database WHERE datname = 'app'"));
    pg_server_sql(&stage.server, "app", "CREATE TABLE public.since (a integer)");
    pid_t holder = hold_connection("app");
    q.swap = true;
    claim_fails(surface_postgres.restore(&ctx, &stage.shot.source, &q, &r, &err), err, ERR_PG_IN_USE,
                "others are connected to database app, 1 of them: nobody_special (holder) 1");
    assert_string_equal(pg_server_ask(&stage.server, "postgres", "SELECT oid FROM pg_database WHERE datname = 'app'"),
                        oid);
    assert_false(stage_exists("app\\_restored%"));
    json_t *plan = NULL;
    claim_ok(surface_postgres.plan(&ctx, &q, &plan, &err), err);
    assert_non_null(
        strstr(json_string_value(json_array_get(json_object_get(plan, "warnings"), 0)), "the swap would be refused"));
    char *print = strdup(json_string_value(json_object_get(plan, "fingerprint")));
    json_decref(plan);
    q.terminate_connections = true;
    claim_ok(surface_postgres.plan(&ctx, &q, &plan, &err), err);
    assert_string_equal(json_string_value(json_object_get(plan, "fingerprint")), print);
    json_decref(plan);
    claim_ok(surface_postgres.restore(&ctx, &stage.shot.source, &q, &r, &err), err);
    int status;
    assert_int_equal(waitpid(holder, &status, 0), holder);
    assert_true(WIFEXITED(status) && WEXITSTATUS(status) != 0);
    const json_t *d = json_array_get(json_object_get(r.facts, "databases"), 0);
    const char *kept = json_string_value(json_object_get(d, "kept"));
    assert_string_equal(json_string_value(json_object_get(d, "target")), "app");
    assert_int_equal(strncmp(kept, "app_before_", 11), 0);
    assert_string_equal(pg_server_ask(&stage.server, "app", "SELECT to_regclass('public.since') IS NULL"), "t");
    assert_string_equal(pg_server_ask(&stage.server, kept, "SELECT to_regclass('public.since') IS NOT NULL"), "t");
    char query[256];
    snprintf(query, sizeof query, "SELECT oid FROM pg_database WHERE datname = '%s' AND datallowconn", kept);
    assert_string_equal(pg_server_ask(&stage.server, "postgres", query), oid);
    claim_ok(surface_postgres.plan(&ctx, &q, &plan, &err), err);
    assert_string_not_equal(json_string_value(json_object_get(plan, "fingerprint")), print);
    json_decref(plan);
    stage_same("app_stock", "app");
    pg_server_sql(&stage.server, kept, "DROP TABLE public.since");
    snprintf(query, sizeof query, "DROP DATABASE app; ALTER DATABASE \"%s\" RENAME TO app", kept);
    pg_server_sql(&stage.server, "postgres", query);
    free(oid);
    free(print);
    json_decref(r.facts);
}

static void a_database_that_is_lost_is_put_back_by_a_swap(void **state) {
    (void)state;
    struct error err = ERROR_INIT;
    struct surface_context ctx = stage_context(stage.settings);
    struct restore_request q = stage_request();
    struct restore_result r;
    pg_server_sql(&stage.server, "postgres", "ALTER DATABASE app RENAME TO app_away");
    q.swap = true;
    claim_ok(surface_postgres.restore(&ctx, &stage.shot.source, &q, &r, &err), err);
    assert_null(json_object_get(json_array_get(json_object_get(r.facts, "databases"), 0), "kept"));
    stage_same("app_stock", "app");
    pg_server_sql(&stage.server, "postgres", "DROP DATABASE app; ALTER DATABASE app_away RENAME TO app");
    json_decref(r.facts);
}

static void hypertables_come_back_with_their_chunks(void **state) {
    (void)state;
    struct error err = ERROR_INIT;
    struct snapshot s;
    struct capture_result c;
    struct restore_result r;
    if (!strstr(pg_server_ask(&stage.server, "postgres", "SHOW shared_preload_libraries"), "timescaledb")) skip();
    pg_server_sql(&stage.server, "postgres", "CREATE DATABASE metrics");
    pg_server_sql(
        &stage.server, "metrics",
        "SET client_min_messages = error; CREATE EXTENSION timescaledb; CREATE TABLE m (ts timestamptz NOT NULL, v"
        " float); SELECT create_hypertable('m', 'ts'); INSERT INTO m SELECT '2026-01-01'::timestamptz + i *"
        " interval '1 minute', i FROM generate_series(1, 50000) i; CREATE TABLE plain (a integer)");
    json_t *settings = stage_settings("postgres", "[\"metrics\"]");
    struct surface_context ctx = stage_context(settings);
    snapshot_init(&s);
    claim_ok(surface_postgres.capture(&ctx, &s.sink, &c, &err), err);
    struct restore_request q = {.facts = c.facts, .invariants = c.invariants, .target = "metrics_copy"};
    claim_ok(surface_postgres.restore(&ctx, &s.source, &q, &r, &err), err);
    static const char rows[] = "SELECT count(*), sum(v), (SELECT count(*) FROM show_chunks('m')) FROM m";
    assert_string_equal(pg_server_ask(&stage.server, "metrics_copy", rows),
                        pg_server_ask(&stage.server, "metrics", rows));
    assert_string_equal(pg_server_ask(&stage.server, "metrics_copy", "SHOW timescaledb.restoring"), "off");
    pg_server_sql(&stage.server, "metrics_copy", "INSERT INTO m VALUES ('2027-01-01', 1)"); /* makes a chunk */
    pg_server_sql(&stage.server, "postgres", "DROP DATABASE metrics_copy; DROP DATABASE metrics");
    json_decref(r.facts);
    stage_drop(&c);
    snapshot_free(&s);
    json_decref(settings);
}

static void a_scratch_instance_proves_the_snapshot_and_goes(void **state) {
    (void)state;
    struct error err = ERROR_INIT;
    struct surface_context ctx = stage_context(stage.settings);
    struct restore_request q = stage_request();
    struct restore_result r;
    json_t *scratch = NULL, *measured = NULL;
    claim_ok(surface_postgres.scratch_start(&ctx, stage.captured.facts, &scratch, &err), err);
    q.as_scratch = true;
    q.scratch = scratch;
    claim_ok(surface_postgres.restore(&ctx, &stage.shot.source, &q, &r, &err), err);
    claim_ok(surface_postgres.measure(&ctx, scratch, stage.captured.facts, &measured, &err), err);
    assert_true(json_equal(measured, stage.captured.invariants));
    char pid_file[512];
    snprintf(pid_file, sizeof pid_file, "%s/postmaster.pid", json_string_value(json_object_get(scratch, "data")));
    FILE *f = fopen(pid_file, "r");
    int pid = 0;
    assert_true(f && fscanf(f, "%d", &pid) == 1 && kill(pid, 0) == 0);
    fclose(f);
    surface_postgres.scratch_stop(&ctx, scratch);
    char exe[64], program[512]; /* a process that is dead and not yet reaped has no program */
    snprintf(exe, sizeof exe, "/proc/%d/exe", pid);
    assert_int_equal(readlink(exe, program, sizeof program), -1);
    assert_int_equal(access(json_string_value(json_object_get(scratch, "folder")), F_OK), -1);
    json_decref(scratch);
    json_decref(measured);
    json_decref(r.facts);
}

static void a_deep_scratch_folder_still_has_a_socket(void **state) {
    (void)state;
    struct error err = ERROR_INIT;
    struct surface_context ctx = stage_context(stage.settings);
    char deep[256];
    json_t *scratch = NULL;
    snprintf(deep, sizeof deep, "%s/%090d", stage.scratch_dir, 0);
    claim_ok(io_mkdirs(deep, 0711, &err), err);
    if (stage.server.root) assert_int_equal(chmod(stage.scratch_dir, 0711), 0);
    ctx.scratch_dir = deep;
    claim_ok(surface_postgres.scratch_start(&ctx, stage.captured.facts, &scratch, &err), err);
    const char *sockets = json_string_value(json_object_get(scratch, "host"));
    assert_int_equal(strncmp(sockets, "/tmp/", 5), 0);
    surface_postgres.scratch_stop(&ctx, scratch);
    assert_int_equal(access(sockets, F_OK), -1);
    json_decref(scratch);
    claim_ok(io_remove_tree(AT_FDCWD, deep, &err), err);
}

static void an_export_is_read_by_the_stock_pg_restore(void **state) {
    (void)state;
    struct error err = ERROR_INIT;
    struct surface_context ctx = stage_context(stage.settings);
    char dir[256];
    snprintf(dir, sizeof dir, "%s/export", stage.scratch_dir);
    claim_ok(io_mkdirs(dir, 0700, &err), err);
    int fd = seam_openat(AT_FDCWD, dir, O_RDONLY | O_DIRECTORY, 0);
    claim_ok(surface_postgres.export_tree(&ctx, &stage.shot.source, fd, &err), err);
    io_close(&fd);
    char line[1024];
    snprintf(line, sizeof line, "chmod -R a+rX %s %s", stage.scratch_dir, dir);
    assert_int_equal(system(line), 0);
    assert_int_equal(
        pg_server_shell(&stage.server,
                        "%s/createdb -T template0 exported && %s/pg_restore -j2 --exit-on-error -d exported"
                        " %s/db/app",
                        stage.server.bin, stage.server.bin, dir),
        0);
    stage_same("app_stock", "exported");
    pg_server_sql(&stage.server, "postgres", "DROP DATABASE exported");
    claim_ok(io_remove_tree(AT_FDCWD, dir, &err), err);
}

int main(void) {
    if (stage_skip()) return 0;
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(restored_beside_it_is_the_same_for_the_stock_tools),
        cmocka_unit_test(an_existing_target_is_refused_and_untouched),
        cmocka_unit_test(a_difference_leaves_nothing_behind),
        cmocka_unit_test(a_damaged_item_stops_the_restore_and_leaves_nothing),
        cmocka_unit_test(a_failing_pg_restore_leaves_nothing_behind),
        cmocka_unit_test(missing_roles_are_named_or_made),
        cmocka_unit_test(without_owners_no_role_is_needed),
        cmocka_unit_test(an_extension_that_is_not_there_is_named),
        cmocka_unit_test(chosen_tables_come_with_what_they_stand_on),
        cmocka_unit_test(one_item_can_be_asked_for_by_its_name),
        cmocka_unit_test(a_swap_waits_for_nobody_and_ends_connections_only_when_told),
        cmocka_unit_test(a_database_that_is_lost_is_put_back_by_a_swap),
        cmocka_unit_test(hypertables_come_back_with_their_chunks),
        cmocka_unit_test(a_scratch_instance_proves_the_snapshot_and_goes),
        cmocka_unit_test(a_deep_scratch_folder_still_has_a_socket),
        cmocka_unit_test(an_export_is_read_by_the_stock_pg_restore),
    };
    return cmocka_run_group_tests(tests, stage_setup, stage_teardown);
}
