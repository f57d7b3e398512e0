#include "platform_test.h"

#include "base/time.h"
#include "platform/address.h"

static void reads_the_forms(void **state) {
    (void)state;
    struct error err = ERROR_INIT;
    static struct address a;
    assert_ok(address_parse("prod/postgres", &a, &err), &err);
    assert_string_equal(a.environment, "prod");
    assert_int_equal(a.surface_count, 1);
    assert_string_equal(a.surfaces[0], "postgres");
    assert_int_equal(a.point.kind, POINT_UNSAID);
    assert_ok(address_parse("prod/all@latest", &a, &err), &err);
    assert_true(a.all);
    assert_int_equal(a.surface_count, 0);
    assert_int_equal(a.point.kind, POINT_LATEST);
    assert_ok(address_parse("prod/a,b,c@bkp-20260216-07", &a, &err), &err);
    assert_int_equal(a.surface_count, 3);
    assert_string_equal(a.surfaces[2], "c");
    assert_int_equal(a.point.kind, POINT_ID);
    assert_string_equal(a.point.id, "bkp-20260216-07");
    assert_ok(address_parse("prod/a@2026-02-16T09:58:00Z", &a, &err), &err);
    assert_int_equal(a.point.kind, POINT_TIME);
    char text[32];
    time_format(a.point.time_ns, text);
    assert_string_equal(text, "2026-02-16T09:58:00Z");
    assert_ok(address_parse("prod/@truth", &a, &err), &err);
    assert_int_equal(a.class, CONFIG_CLASS_TRUTH);
    assert_false(a.all);
}

static void refuses_other_forms(void **state) {
    (void)state;
    static const struct {
        const char *text, *message;
    } bad[] = {
        {"prod", "'prod' is no address; one is env/surface[@point], such as prod/postgres@latest or prod/all"},
        {"", "'' is no address; one is env/surface[@point], such as prod/postgres@latest or prod/all"},
        {"/a", "'/a' has no valid environment; an address is env/surface[@point], such as prod/postgres@latest"},
        {"all/a", "'all/a' has no valid environment; an address is env/surface[@point], such as prod/postgres@latest"},
        {"prod/", "'prod/' has no valid surface; an address is env/surface[@point], such as prod/postgres@latest"},
        {"prod/a,", "'prod/a,' has no valid surface; an address is env/surface[@point], such as prod/postgres@latest"},
        {"prod/a,all",
         "'prod/a,all' has no valid surface; an address is env/surface[@point], such as prod/postgres@latest"},
        {"prod/a,a", "'prod/a,a' names the surface 'a' twice"},
        {"prod/@lies", "'prod/@lies' has no valid class; one is truth, runtime, cache or config"},
        {"prod/a@", "'' is no recovery point; one is 'latest', a backup id or the beginning of one, or a time such as "
                    "2026-02-16T09:58:00Z"},
        {"prod/a@b/c",
         "'b/c' is no recovery point; one is 'latest', a backup id or the beginning of one, or a time such as "
         "2026-02-16T09:58:00Z"},
    };
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        struct error err = ERROR_INIT;
        static struct address a;
        assert_int_equal(address_parse(bad[i].text, &a, &err), -ERR_USAGE);
        assert_string_equal(err.text, bad[i].message);
    }
}

static struct config *sample(void) {
    return parse_ok("version: 1\nplatform: a\nrepositories: { m: { url: /b } }\nsurfaces:\n"
                    "  pg: { kind: postgres, class: runtime }\n"
                    "  raw: { kind: files, class: truth, paths: [/raw] }\n"
                    "  cooked: { kind: files, class: truth, paths: [/cooked] }\n"
                    "environments:\n  prod: { repository: m }\n  dev: { repository: m, surfaces: [raw] }\n");
}

static void resolves_in_a_configuration(void **state) {
    (void)state;
    struct error err = ERROR_INIT;
    CLEANUP(config_freep) struct config *c = sample();
    static struct address a;
    struct address_target t;
    assert_ok(address_parse("prod/all", &a, &err), &err);
    assert_ok(address_resolve(c, &a, &t, &err), &err);
    assert_int_equal(t.surface_count, 3);
    assert_string_equal(t.surfaces[0]->head.name, "pg");
    assert_ok(address_parse("prod/@truth", &a, &err), &err);
    assert_ok(address_resolve(c, &a, &t, &err), &err);
    assert_int_equal(t.surface_count, 2);
    assert_string_equal(t.surfaces[1]->head.name, "cooked");
    assert_ok(address_parse("prod/cooked,pg", &a, &err), &err);
    assert_ok(address_resolve(c, &a, &t, &err), &err);
    assert_string_equal(t.surfaces[0]->head.name, "cooked"); /* as named */
    assert_ok(address_parse("dev/all", &a, &err), &err);
    assert_ok(address_resolve(c, &a, &t, &err), &err);
    assert_int_equal(t.surface_count, 1);

    assert_ok(address_parse("dev/pg", &a, &err), &err);
    assert_int_equal(address_resolve(c, &a, &t, &err), -ERR_NO_POINT);
    assert_string_equal(err.text, "there is no surface in dev called 'pg'; there is raw");
    error_clear(&err);
    assert_ok(address_parse("prd/pg", &a, &err), &err);
    assert_int_equal(address_resolve(c, &a, &t, &err), -ERR_NO_POINT);
    assert_string_equal(err.text, "there is no environment 'prd'; there is prod, dev (did you mean 'prod'?)");
    error_clear(&err);
    assert_ok(address_parse("dev/@cache", &a, &err), &err);
    assert_int_equal(address_resolve(c, &a, &t, &err), -ERR_NO_POINT);
    assert_string_equal(err.text, "dev has no surface of that class");
}

#define HOUR (3600 * NS_PER_S)
static const struct point_entry points[] = {
    {"bkp-20260101-000000Z-aaaa", 10 * HOUR, true},
    {"bkp-20260101-010000Z-aabb", 20 * HOUR, true},
    {"bkp-20260102-000000Z-cccc", 30 * HOUR, false},
    {"bkp-20260103-000000Z-dddd", 15 * HOUR, true},
};
#define COUNT (sizeof(points) / sizeof(points[0]))

static size_t find_ok(const char *spec, size_t n) {
    struct error err = ERROR_INIT;
    struct point_spec p;
    size_t at;
    assert_ok(point_parse(spec, &p, &err), &err);
    assert_ok(point_find(&p, points, n, "prod/pg", &at, &err), &err);
    return at;
}
static void find_fails(const char *spec, size_t n, const char *message) {
    struct error err = ERROR_INIT;
    struct point_spec p;
    size_t at;
    assert_ok(point_parse(spec, &p, &err), &err);
    assert_int_equal(point_find(&p, points, n, "prod/pg", &at, &err), -ERR_NO_POINT);
    assert_string_equal(err.text, message);
}

static void finds_points(void **state) {
    (void)state;
    assert_int_equal(find_ok("latest", COUNT), 3); /* newest in log order, whatever its clock says */
    assert_int_equal(find_ok("latest", 3), 1);     /* the newest that is whole */
    assert_int_equal(find_ok("1970-01-01T21:00:00Z", COUNT), 1);
    assert_int_equal(find_ok("1970-01-01T16:00:00Z", COUNT), 3);
    assert_int_equal(find_ok("1970-01-01T10:00:00Z", COUNT), 0); /* exactly then */
    assert_int_equal(find_ok("1970-01-03", COUNT), 1);           /* not the one that is not whole */
    assert_int_equal(find_ok("bkp-20260102", COUNT), 2);
    assert_int_equal(find_ok("20260103", COUNT), 3);
    assert_int_equal(find_ok("bkp-20260101-000000Z-aaaa", COUNT), 0);
    find_fails("bkp-20260101", COUNT,
               "prod/pg has 2 backups whose ids begin with 'bkp-20260101': bkp-20260101-000000Z-aaaa, "
               "bkp-20260101-010000Z-aabb");
    find_fails("bkp-2027", COUNT, "prod/pg has no backup whose id begins with 'bkp-2027'");
    find_fails("1970-01-01T09:00:00Z", COUNT,
               "prod/pg has no backup as old as 1970-01-01T09:00:00Z; its oldest is of 1970-01-01T10:00:00Z");
    find_fails("latest", 0, "prod/pg has no whole backup");
    struct point_spec latest;
    struct error err = ERROR_INIT;
    size_t at;
    const struct point_entry partial[] = {{"bkp-a", 100, false}, {"bkp-b", 200, false}};
    assert_ok(point_parse("latest", &latest, &err), &err);
    assert_int_equal(point_find(&latest, partial, 2, "prod/pg", &at, &err), -ERR_NO_POINT);
    assert_string_equal(err.text,
                        "prod/pg has no whole backup: all of its recovery points are partial, the newest being bkp-b");
    assert_string_equal(err.next,
                        "See with 'proofkeep show prod/pg@bkp-b' what it lacks; named so, what it has is restored. "
                        "Mend the cause and back up again.");
    err = ERROR_INIT;
    assert_int_equal(point_find(&latest, partial, 1, "prod/pg", &at, &err), -ERR_NO_POINT);
    assert_non_null(strstr(err.text, "its only recovery point is partial"));
    /* what restores wrote over is meant by its id alone */
    const struct point_entry aside[] = {{"bkp-c", 100, true, true}, {"bkp-d", 200, true}, {"bkp-e", 300, true, true}};
    assert_ok(point_find(&latest, aside, 3, "prod/pg", &at, &err), &err);
    assert_int_equal(at, 1);
    latest = (struct point_spec){.kind = POINT_TIME, .time_ns = 400};
    assert_ok(point_find(&latest, aside, 3, "prod/pg", &at, &err), &err);
    assert_int_equal(at, 1);
    assert_ok(point_parse("bkp-e", &latest, &err), &err);
    assert_ok(point_find(&latest, aside, 3, "prod/pg", &at, &err), &err);
    assert_int_equal(at, 2);
    assert_ok(point_parse("latest", &latest, &err), &err);
    err = ERROR_INIT;
    assert_int_equal(point_find(&latest, aside, 1, "prod/pg", &at, &err), -ERR_NO_POINT);
    assert_string_equal(err.text,
                        "prod/pg has no whole backup but of what restores wrote over, the newest being bkp-c");
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(reads_the_forms),
        cmocka_unit_test(refuses_other_forms),
        cmocka_unit_test(resolves_in_a_configuration),
        cmocka_unit_test(finds_points),
    };
    return cmocka_run_group_tests_name("platform/address", tests, NULL, NULL);
}
