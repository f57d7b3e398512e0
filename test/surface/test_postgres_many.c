/* The PostgreSQL driver with several databases at once: what comes out does not depend on how many at a time, and one
 * that fails ends them all. */
#include "pg_stage.h"

#include <stdlib.h>
#include <unistd.h>

static const char list[] = "[\"app\", \"app-2\", \"we/ird \\\"db%\"]";

/* The databases of `list` with a pg_dump of ours. */
static json_t *scripted(const char *script) {
    json_t *settings = stage_tools(script), *names = json_loads(list, 0, NULL);
    assert_non_null(names);
    json_object_set_new(settings, "databases", names);
    return settings;
}

static const json_t *timeless(const json_t *facts) {
    json_t *list_of = json_object_get(facts, "databases"), *d;
    size_t i;
    json_array_foreach(list_of, i, d) json_object_del(d, "snapshot_time");
    return list_of;
}

/* Each dump waits for two others to have begun, which never happens when they come one after the other. */
static void as_many_as_there_are_jobs_are_dumped_at_once(void **state) {
    (void)state;
    struct error err = ERROR_INIT;
    struct snapshot one, many;
    struct capture_result a, b;
    json_t *settings =
        scripted("d=$(dirname $0); touch $d/begun-$$\n"
                 "for i in $(seq 300); do [ $(ls $d | grep -c begun-) -ge 3 ] && break; sleep 0.1; done\n"
                 "[ $(ls $d | grep -c begun-) -ge 3 ] || { echo alone >&2; exit 9; }\nexec $real \"$@\"");
    struct surface_context ctx = stage_context(settings);
    ctx.jobs = 3;
    snapshot_init(&many);
    claim_ok(surface_postgres.capture(&ctx, &many.sink, &b, &err), err);
    assert_true(snapshot_whole(&many));
    json_decref(settings);
    settings = stage_settings("postgres", list);
    ctx = stage_context(settings);
    ctx.jobs = 1;
    snapshot_init(&one);
    claim_ok(surface_postgres.capture(&ctx, &one.sink, &a, &err), err);
    assert_int_equal(one.open_most, 1);
    assert_int_equal(one.count, many.count);
    for (size_t i = 0; i < one.count; i++) {
        assert_string_equal(one.items[i].name, many.items[i].name);
        if (strstr(one.items[i].name, "/contents")) continue; /* has the time in its head */
        assert_true(digest_equal(&one.items[i].sha256, &many.items[i].sha256));
        assert_true(bytes_equal(buf_bytes(&one.items[i].attr), buf_bytes(&many.items[i].attr)));
    }
    assert_true(json_equal(a.invariants, b.invariants));
    assert_true(json_equal(timeless(a.facts), timeless(b.facts)));
    assert_int_equal(a.items, b.items);
    json_t *live = NULL;
    ctx.jobs = 3;
    claim_ok(surface_postgres.measure(&ctx, NULL, b.facts, &live, &err), err);
    assert_true(json_equal(live, b.invariants));
    json_decref(live);
    stage_drop(&a);
    stage_drop(&b);
    snapshot_free(&one);
    snapshot_free(&many);
    json_decref(settings);
}

static void fails(json_t *settings, enum error_code code, const char *text) {
    struct surface_context ctx = stage_context(settings);
    struct error err = ERROR_INIT;
    struct snapshot s;
    struct capture_result r;
    ctx.jobs = 3;
    snapshot_init(&s);
    claim_fails(surface_postgres.capture(&ctx, &s.sink, &r, &err), err, code, text);
    assert_true(snapshot_whole(&s)); /* nobody would have waited for a number */
    snapshot_free(&s);
    json_decref(settings);
}

static void one_that_fails_midway_fails_the_capture(void **state) {
    (void)state;
    fails(scripted("case \"$*\" in *app-2*) $real \"$@\" | head -c 1500; echo gone wrong >&2; exit 3;; esac\nexec "
                   "$real \"$@\""),
          ERR_PROC_FAILED, "gone wrong");
    fails(
        scripted(
            "case \"$*\" in *dbname=?app?\\ *) $real \"$@\" | head -c 60000; echo first gone >&2; exit 3;; esac\nexec "
            "$real \"$@\""),
        ERR_PROC_FAILED, "first gone");
}

static void one_that_cannot_be_reached_is_named(void **state) {
    (void)state;
    json_t *settings = stage_settings("postgres", "[\"app\", \"no such\", \"postgres\"]");
    fails(settings, ERR_PG_CONNECT, "database no such");
}

/* A dump that waits for a lock is not waited for when another has failed. */
static void a_failure_ends_a_dump_that_waits_for_a_lock(void **state) {
    (void)state;
    assert_int_equal(pg_server_shell(&stage.server,
                                     "%s/psql -q -d app -c \"BEGIN; LOCK TABLE sales.cache; SELECT pg_sleep(60)\" "
                                     ">/dev/null 2>&1 & sleep 0.5",
                                     stage.server.bin),
                     0);
    time_t before = time(NULL);
    fails(scripted("case \"$*\" in *app-2*) sleep 1; echo gone wrong >&2; exit 3;; esac\nexec $real \"$@\""),
          ERR_PROC_FAILED, "gone wrong");
    assert_true(time(NULL) - before < 20);
    pg_server_sql(&stage.server, "postgres",
                  "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE query LIKE '%pg_sleep(60)%' AND pid <> "
                  "pg_backend_pid()");
}

static void a_full_store_ends_all_dumps(void **state) {
    (void)state;
    json_t *settings = stage_settings("postgres", list);
    struct surface_context ctx = stage_context(settings);
    struct error err = ERROR_INIT;
    struct snapshot s;
    struct capture_result r;
    ctx.jobs = 3;
    snapshot_init(&s);
    s.fail_at = 100000;
    claim_fails(surface_postgres.capture(&ctx, &s.sink, &r, &err), err, ERR_IO_FULL, "the store is full");
    assert_true(snapshot_whole(&s));
    snapshot_free(&s);
    json_decref(settings);
}

/* More tables than the snapshot's root has room for: their invariants are an item, and are compared all the same. */
static void very_many_tables_are_captured_measured_and_restored(void **state) {
    (void)state;
    struct error err = ERROR_INIT;
    struct snapshot s;
    struct capture_result r;
    struct restore_result done;
    pg_server_sql(&stage.server, "app-2",
                  "DO $$ BEGIN FOR i IN 1..3000 LOOP EXECUTE format('CREATE TABLE table_number_%s (a integer)', i);"
                  " EXECUTE format('INSERT INTO table_number_%s SELECT generate_series(1, %s)', i, i % 5);"
                  " IF i % 500 = 0 THEN COMMIT; END IF; END LOOP; END $$; CREATE SEQUENCE counter;");
    json_t *settings = stage_settings("postgres", "[\"app-2\", \"we/ird \\\"db%\"]"), *live = NULL;
    struct surface_context ctx = stage_context(settings);
    snapshot_init(&s);
    claim_ok(surface_postgres.capture(&ctx, &s.sink, &r, &err), err);
    assert_true(json_object_size(r.invariants) < 20);
    const json_t *all = json_object_get(json_object_get(r.invariants, "db/app-2/objects"), "value");
    assert_int_equal(json_integer_value(json_object_get(all, "count")), 3001);
    const struct snapshot_item *it = snapshot_find(&s, "invariants");
    assert_non_null(it);
    assert_ptr_equal(it, &s.items[s.count - 1]);
    static const char line[] = "{\"db/app-2/public.table_number_4\":{\"expect\":\"equal\",\"value\":{\"digest\":";
    assert_non_null(memmem(it->content.ptr, it->content.len, line, strlen(line)));
    claim_ok(surface_postgres.measure(&ctx, NULL, r.facts, &live, &err), err);
    assert_true(json_equal(live, r.invariants));
    json_decref(live);
    pg_server_sql(&stage.server, "app-2", "UPDATE table_number_4 SET a = 7 WHERE a = 1");
    claim_ok(surface_postgres.measure(&ctx, NULL, r.facts, &live, &err), err);
    assert_false(
        json_equal(json_object_get(live, "db/app-2/objects"), json_object_get(r.invariants, "db/app-2/objects")));
    json_decref(live);
    struct restore_request q = {.facts = r.facts,
                                .invariants = r.invariants,
                                .target = "many",
                                .include = (const char *const[]){"db/app-2", NULL}};
    claim_ok(surface_postgres.restore(&ctx, &s.source, &q, &done, &err), err);
    assert_true(json_integer_value(json_object_get(json_array_get(json_object_get(done.facts, "databases"), 0),
                                                   "invariants_compared")) >= 3001);
    assert_string_equal(
        pg_server_ask(&stage.server, "many", "SELECT count(*) FROM pg_tables WHERE schemaname = 'public'"),
        pg_server_ask(&stage.server, "app-2", "SELECT count(*) FROM pg_tables WHERE schemaname = 'public'"));
    json_decref(done.facts);
    pg_server_sql(&stage.server, "postgres", "DROP DATABASE many");
    /* The lines are what is compared with. */
    struct snapshot_item *mend = (struct snapshot_item *)it;
    uint8_t *at = memmem(mend->content.ptr, mend->content.len, line, strlen(line));
    at = memmem(at, 300, "\"rows\":4", 8);
    assert_non_null(at);
    at[7] = '3';
    sha256(buf_bytes(&mend->content), &mend->sha256);
    claim_fails(surface_postgres.restore(&ctx, &s.source, &q, &done, &err), err, ERR_PG_INVARIANT,
                "db/app-2/public.table_number_4: 4 rows instead of 3");
    mend->dropped = true;
    claim_fails(surface_postgres.restore(&ctx, &s.source, &q, &done, &err), err, ERR_RESTORE_DIFFERS,
                "is not in the snapshot");
    assert_false(stage_exists("many"));
    stage_drop(&r);
    snapshot_free(&s);
    json_decref(settings);
}

int main(void) {
    if (stage_skip()) return 0;
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(as_many_as_there_are_jobs_are_dumped_at_once),
        cmocka_unit_test(one_that_fails_midway_fails_the_capture),
        cmocka_unit_test(one_that_cannot_be_reached_is_named),
        cmocka_unit_test(a_failure_ends_a_dump_that_waits_for_a_lock),
        cmocka_unit_test(a_full_store_ends_all_dumps),
        cmocka_unit_test(very_many_tables_are_captured_measured_and_restored),
    };
    return cmocka_run_group_tests(tests, stage_setup, stage_teardown);
}
