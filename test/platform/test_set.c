#include "platform_test.h"

#include "platform/set.h"

#define HEAD                                                                                                           \
    "version: 1\nplatform: t\nrepositories: { main: { url: 'file:///r' } }\n"                                          \
    "surfaces:\n"                                                                                                      \
    "  cache: { kind: redis, class: cache }\n"                                                                         \
    "  web: { kind: files, class: runtime, paths: [/w], depends_on: [db] }\n"                                          \
    "  db: { kind: postgres, class: runtime }\n"                                                                       \
    "  art: { kind: files, class: truth, paths: [/a] }\n"                                                              \
    "  conf: { kind: files, class: config, paths: [/c], depends_on: [art] }\n"
#define ENVIRONMENTS                                                                                                   \
    "environments:\n  prod:\n    repository: main\n    sets: { dr: { surfaces: [db, art] } }\n"                        \
    "  dev: { repository: main, surfaces: [db, art] }\n"
#define SETS "sets: { dr: { surfaces: [db, cache, web], rto: 10m }, small: { surfaces: [db] } }\n"

static struct set_spec resolve(const struct config *c, const char *const *texts, size_t n) {
    struct error err = ERROR_INIT;
    static struct address a[4];
    struct set_spec s;
    for (size_t i = 0; i < n; i++) assert_ok(address_parse(texts[i], &a[i], &err), &err);
    assert_ok(set_resolve(c, a, n, &s, &err), &err);
    return s;
}

static void assert_members(const struct set_spec *s, const char *const *want) {
    size_t n = 0;
    for (; want[n]; n++) {
        assert_true(n < s->count);
        assert_string_equal(s->members[n]->head.name, want[n]);
    }
    assert_int_equal(s->count, n);
}

static void members_come_in_the_order_of_restoring(void **state) {
    (void)state;
    CLEANUP(config_freep) struct config *c = parse_ok(HEAD SETS ENVIRONMENTS);
    struct set_spec s = resolve(c, (const char *const[]){"prod/all"}, 1);
    assert_string_equal(s.name, "all");
    assert_null(s.config);
    /* what conf depends on is before it, although configuration comes first; web is after db */
    assert_members(&s, (const char *const[]){"art", "conf", "db", "web", "cache", NULL});
    s = resolve(c, (const char *const[]){"prod/@runtime"}, 1);
    assert_string_equal(s.name, "@runtime");
    assert_members(&s, (const char *const[]){"db", "web", NULL});
}

static void what_lies_between_two_need_not_be_in_the_set(void **state) {
    (void)state;
    CLEANUP(config_freep)
    struct config *c =
        parse_ok(HEAD "  site: { kind: files, class: config, paths: [/s], depends_on: [web] }\n" SETS ENVIRONMENTS);
    struct set_spec s = resolve(c, (const char *const[]){"prod/site,db,art"}, 1);
    /* site waits for web, which is not among them, and web for db */
    assert_members(&s, (const char *const[]){"art", "db", "site", NULL});
    json_t *on = set_depends_json(c, s.members[2], s.members, s.count);
    assert_int_equal(json_array_size(on), 2);
    assert_string_equal(json_string_value(json_array_get(on, 0)), "web");
    assert_string_equal(json_string_value(json_array_get(on, 1)), "db");
    json_decref(on);
    on = set_depends_json(c, s.members[1], s.members, s.count);
    assert_int_equal(json_array_size(on), 0);
    json_decref(on);
    assert_false(set_depends(c, s.members[1], s.members[2]));
}

static void lists_have_one_name_however_they_are_named(void **state) {
    (void)state;
    CLEANUP(config_freep) struct config *c = parse_ok(HEAD SETS ENVIRONMENTS);
    struct set_spec one = resolve(c, (const char *const[]){"prod/web,db"}, 1),
                    two = resolve(c, (const char *const[]){"prod/db", "prod/web,db"}, 2);
    assert_string_equal(one.name, "db,web");
    assert_string_equal(two.name, "db,web");
    assert_members(&two, (const char *const[]){"db", "web", NULL});
}

static void an_environments_set_stands_above_the_roots(void **state) {
    (void)state;
    CLEANUP(config_freep) struct config *c = parse_ok(HEAD SETS ENVIRONMENTS);
    struct set_spec s = resolve(c, (const char *const[]){"prod/dr"}, 1);
    assert_ptr_equal(s.config, config_environment(c, "prod")->sets.items[0]);
    assert_members(&s, (const char *const[]){"art", "db", NULL});
    s = resolve(c, (const char *const[]){"dev/small"}, 1);
    assert_string_equal(s.name, "small");
    assert_members(&s, (const char *const[]){"db", NULL});
    struct error err = ERROR_INIT;
    struct address a;
    assert_ok(address_parse("dev/dr", &a, &err), &err);
    assert_int_equal(set_resolve(c, &a, 1, &s, &err), -ERR_NO_POINT);
    assert_non_null(strstr(err.text, "the set 'dr': "));
}

static void a_set_is_of_one_environment(void **state) {
    (void)state;
    CLEANUP(config_freep) struct config *c = parse_ok(HEAD SETS ENVIRONMENTS);
    struct error err = ERROR_INIT;
    struct address a[2];
    struct set_spec s;
    assert_ok(address_parse("prod/db", &a[0], &err), &err);
    assert_ok(address_parse("dev/db", &a[1], &err), &err);
    assert_int_equal(set_resolve(c, a, 2, &s, &err), -ERR_USAGE);
    assert_string_equal(err.text, "a set is of one environment, and these are of prod and dev");
}

static void what_cannot_be_is_refused(void **state) {
    (void)state;
    parse_fails(HEAD "sets: { db: { surfaces: [art] } }\n" ENVIRONMENTS, ERR_CONFIG_VALUE,
                "t.yaml:10:9: the set 'db' has the name of a surface; an address could not tell them apart");
    parse_fails(HEAD "  x: { kind: files, class: truth, paths: [/x], depends_on: [x] }\n" ENVIRONMENTS,
                ERR_CONFIG_VALUE, "t.yaml:10:3: surfaces.x depends on itself, by way of its 'depends_on'");
    parse_fails(HEAD "  x: { kind: files, class: truth, paths: [/x], rebuilt_from: [art] }\n" ENVIRONMENTS,
                ERR_CONFIG_VALUE,
                "t.yaml:10:3: surfaces.x is of class truth, which others are rebuilt from; take 'rebuilt_from' out");
    parse_fails(HEAD "  x: { kind: files, class: cache, paths: [/x], rebuilt_from: [art, web] }\n" ENVIRONMENTS,
                ERR_CONFIG_VALUE,
                "t.yaml:10:3: surfaces.x is rebuilt from web, which is of class runtime: only what is truth will do");
    parse_fails(HEAD "  x: { kind: files, class: cache, paths: [/x], rebuilt_from: [arts] }\n" ENVIRONMENTS,
                ERR_CONFIG_VALUE, "t.yaml:10:63: there is no surface 'arts' (did you mean 'art'?)");
    parse_fails(HEAD
                "environments:\n  dev: { repository: main, surfaces: [db], sets: { s: { surfaces: [db, art] } } }\n",
                ERR_CONFIG_VALUE, "t.yaml:11:52: the set 's' names 'art', which the environment 'dev' does not have");
    parse_fails(HEAD "sets: { s: { surfaces: [dp] } }\n" ENVIRONMENTS, ERR_CONFIG_VALUE,
                "t.yaml:10:25: there is no surface 'dp' (did you mean 'db'?)");
    parse_fails(HEAD "sets: { s: { surfaces: [db], hooks: { freeze: { run: [/f] } } } }\n" ENVIRONMENTS,
                ERR_CONFIG_VALUE, "t.yaml:10:47: sets.s has hooks.freeze without hooks.resume, which undoes it");
    parse_fails(HEAD
                "  x: { kind: files, class: truth, paths: [/x], hooks: { standby: { run: [/s] } } }\n" ENVIRONMENTS,
                ERR_CONFIG_VALUE, "t.yaml:10:66: surfaces.x has hooks.standby without hooks.live, which undoes it");
}

static void a_class_may_have_a_point(void **state) {
    (void)state;
    struct error err = ERROR_INIT;
    struct address a;
    assert_ok(address_parse("prod/@truth@latest", &a, &err), &err);
    assert_int_equal(a.class, CONFIG_CLASS_TRUTH);
    assert_int_equal(a.point.kind, POINT_LATEST);
    assert_string_equal(address_class_name(a.class), "truth");
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(members_come_in_the_order_of_restoring),
        cmocka_unit_test(what_lies_between_two_need_not_be_in_the_set),
        cmocka_unit_test(lists_have_one_name_however_they_are_named),
        cmocka_unit_test(an_environments_set_stands_above_the_roots),
        cmocka_unit_test(a_set_is_of_one_environment),
        cmocka_unit_test(what_cannot_be_is_refused),
        cmocka_unit_test(a_class_may_have_a_point),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
