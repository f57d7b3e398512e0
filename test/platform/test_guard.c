#include "platform_test.h"

#include "platform/guard.h"

static struct config *sample(void) {
    return parse_ok(HEAD_YAML "environments:\n"
                              "  dev: { repository: main, accepts_from: { prod: {}, staging: {} } }\n"
                              "  staging: { repository: main, accepts_from: { prod: {} } }\n"
                              "  prod: { repository: main, protected: true }\n");
}

static void asks_nothing_where_nothing_is_protected(void **state) {
    (void)state;
    struct error err = ERROR_INIT;
    CLEANUP(config_freep) struct config *c = sample();
    assert_ok(guard_confirm(config_environment(c, "dev"), GUARD_RESTORE, "files", "2026-02-16T09:58:00Z", NULL, &err),
              &err);
    assert_ok(guard_confirm(config_environment(c, "dev"), GUARD_PRUNE, "files", NULL, NULL, &err), &err);
}

static void wants_the_phrase_byte_for_byte(void **state) {
    (void)state;
    static const char phrase[] = "restore prod/files to 2026-02-16T09:58:00Z";
    CLEANUP(config_freep) struct config *c = sample();
    const struct config_environment *prod = config_environment(c, "prod");
    struct error err = ERROR_INIT;
    assert_ok(guard_confirm(prod, GUARD_RESTORE, "files", "2026-02-16T09:58:00Z", phrase, &err), &err);
    assert_int_equal(guard_confirm(prod, GUARD_RESTORE, "files", "2026-02-16T09:58:00Z", NULL, &err), -ERR_CONFIRM);
    assert_string_equal(err.text, "the environment 'prod' is protected, and the phrase is missing; it is: "
                                  "restore prod/files to 2026-02-16T09:58:00Z");
    assert_string_equal(err.state, "nothing was touched");
    assert_string_equal(err.next, "--confirm 'restore prod/files to 2026-02-16T09:58:00Z'");
    static const char *const wrong[] = {
        "",
        "yes",
        "restore prod/files to 2026-02-16T09:58:01Z",
        "Restore prod/files to 2026-02-16T09:58:00Z",
        "restore prod/files to 2026-02-16T09:58:00Z ",
        "restore dev/files to 2026-02-16T09:58:00Z",
        "prune prod/files",
    };
    for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++) {
        error_clear(&err);
        assert_int_equal(guard_confirm(prod, GUARD_RESTORE, "files", "2026-02-16T09:58:00Z", wrong[i], &err),
                         -ERR_CONFIRM);
        assert_string_equal(err.text,
                            "the environment 'prod' is protected, and the phrase that was given is another; it is: "
                            "restore prod/files to 2026-02-16T09:58:00Z");
    }
    error_clear(&err);
    assert_ok(guard_confirm(prod, GUARD_PRUNE, "files,pg", NULL, "prune prod/files,pg", &err), &err);
    assert_int_equal(guard_confirm(prod, GUARD_PRUNE, "files,pg", NULL, "prune prod/files", &err), -ERR_CONFIRM);
}

static void a_phrase_never_says_latest(void **state) {
    (void)state;
    struct error err = ERROR_INIT;
    char out[GUARD_PHRASE_BYTES];
    assert_int_equal(guard_phrase(GUARD_RESTORE, "prod", "files", "latest", out, &err), -ERR_USAGE);
    assert_string_equal(err.text, "a phrase names the time or the backup that 'latest' stands for, not the word");
    error_clear(&err);
    char many[GUARD_PHRASE_BYTES + 1];
    memset(many, 'a', sizeof(many) - 1);
    many[sizeof(many) - 1] = '\0';
    assert_int_equal(guard_phrase(GUARD_PRUNE, "prod", many, NULL, out, &err), -ERR_USAGE);
}

/* S15 */
static void data_crosses_only_where_it_may(void **state) {
    (void)state;
    struct error err = ERROR_INIT;
    CLEANUP(config_freep) struct config *c = sample();
    const struct config_environment *dev = config_environment(c, "dev"), *staging = config_environment(c, "staging"),
                                    *prod = config_environment(c, "prod");
    assert_ok(guard_cross(c, "prod", prod, false, &err), &err);
    assert_ok(guard_cross(c, "prod", staging, false, &err), &err);
    assert_ok(guard_cross(c, "staging", dev, false, &err), &err);
    assert_ok(guard_cross(c, "prod", dev, true, &err), &err);
    assert_int_equal(guard_cross(c, "prod", dev, false, &err), -ERR_CROSS_ENV);
    assert_string_equal(err.text, "data of the protected environment 'prod' enters 'dev' only sanitised");
    error_clear(&err);
    assert_int_equal(guard_cross(c, "dev", prod, true, &err), -ERR_CROSS_ENV);
    assert_string_equal(err.text,
                        "data of 'dev' may not enter 'prod': environments.prod.accepts_from does not name 'dev'");
    assert_string_equal(err.state, "nothing was touched");
    error_clear(&err);
    assert_int_equal(guard_cross(c, "gone", staging, false, &err), -ERR_CROSS_ENV);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(asks_nothing_where_nothing_is_protected),
        cmocka_unit_test(wants_the_phrase_byte_for_byte),
        cmocka_unit_test(a_phrase_never_says_latest),
        cmocka_unit_test(data_crosses_only_where_it_may),
    };
    return cmocka_run_group_tests_name("platform/guard", tests, NULL, NULL);
}
