#include "platform_test.h"

#include "base/time.h"
#include "platform/policy.h"

static const char yaml[] = "version: 1\nplatform: a\n"
                           "defaults: { retention: { keep: { daily: 7, weekly: 5 }, min_copies: 2 } }\n"
                           "repositories: { m: { url: /b } }\n"
                           "surfaces:\n"
                           "  pg: { kind: postgres, class: runtime }\n"
                           "  raw: { kind: files, class: truth, paths: [/raw] }\n"
                           "environments:\n"
                           "  dev: { repository: m, surfaces: [raw] }\n"
                           "  prod:\n"
                           "    repository: m\n"
                           "    policy:\n"
                           "      rpo: 24h\n"
                           "      rto: 4h\n"
                           "      verify: decode\n"
                           "      retention: { min_copies: 3 }\n"
                           "      surface:\n"
                           "        pg: { rpo: none, retention: { keep: { hourly: 168 } }, verify: full }\n";

static void the_nearer_one_holds(void **state) {
    (void)state;
    CLEANUP(config_freep) struct config *c = parse_ok(yaml);
    const struct config_environment *dev = config_environment(c, "dev"), *prod = config_environment(c, "prod");
    struct policy p;
    struct retention_rules r;
    policy_of(c, prod, config_surface(c, "pg"), &p);
    assert_int_equal(p.rpo.state, CONFIG_NONE);
    assert_string_equal(p.rto.text, "4h");
    assert_int_equal(p.verify, CONFIG_LEVEL_FULL);
    policy_retention(&p, &r);
    assert_int_equal(r.hourly, 168);
    assert_int_equal(r.daily, 0); /* a nearer keep replaces a farther one as a whole */
    assert_int_equal(r.min_copies, 3);
    assert_int_equal(r.level_min, CONFIG_LEVEL_FULL);
    assert_int_equal(r.stale_after_ns, 48 * 3600 * NS_PER_S);
    policy_of(c, prod, config_surface(c, "raw"), &p);
    policy_retention(&p, &r);
    assert_int_equal(r.daily, 7);
    assert_int_equal(r.weekly, 5);
    assert_int_equal(r.stale_after_ns, 2 * 24 * 3600 * NS_PER_S);
    assert_int_equal(r.level_min, CONFIG_LEVEL_DECODE);
    policy_of(c, dev, config_surface(c, "raw"), &p);
    assert_int_equal(p.rpo.state, CONFIG_UNSET); /* never guessed */
    assert_int_equal(p.verify, CONFIG_LEVEL_UNSET);
    policy_retention(&p, &r);
    assert_int_equal(r.level_min, CONFIG_LEVEL_CHECKSUM);
}

/* K4: unset values show as unset, and are named. */
static void the_matrix_says_unset(void **state) {
    (void)state;
    struct error err = ERROR_INIT;
    CLEANUP(config_freep) struct config *c = parse_ok(yaml);
    json_t *rows;
    assert_ok(policy_matrix(c, &rows, &err), &err);
    assert_int_equal(json_array_size(rows), 3);
    CLEANUP(buf_free) struct buf b = BUF_INIT(1 << 20);
    assert_ok(json_write(json_array_get(rows, 0), &b, &err), &err);
    assert_ok(buf_terminate(&b, &err), &err);
    assert_string_equal(
        (char *)b.ptr,
        "{\"classification\":\"truth\",\"environment\":\"dev\",\"kind\":\"files\",\"min_copies\":2,"
        "\"protected\":false,\"repository\":\"m\",\"retention\":{\"daily\":7,\"weekly\":5},\"rpo\":\"unset\","
        "\"rto\":\"unset\",\"surface\":\"raw\",\"unset\":[\"rpo\",\"rto\",\"verify\"],\"verify\":\"unset\"}");
    buf_clear(&b);
    assert_ok(json_write(json_array_get(rows, 1), &b, &err), &err);
    assert_ok(buf_terminate(&b, &err), &err);
    assert_string_equal(
        (char *)b.ptr,
        "{\"classification\":\"runtime\",\"environment\":\"prod\",\"kind\":\"postgres\",\"min_copies\":3,"
        "\"protected\":false,\"repository\":\"m\",\"retention\":{\"hourly\":168},\"rpo\":\"none\","
        "\"rto\":\"4h\",\"surface\":\"pg\",\"unset\":[],\"verify\":\"full\"}");
    json_decref(rows);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_nearer_one_holds),
        cmocka_unit_test(the_matrix_says_unset),
    };
    return cmocka_run_group_tests_name("platform/policy", tests, NULL, NULL);
}
