#include "work_kit.h"

#include "work/set_restore.h"

static void surfaces_share_threads_and_memory(void **state) {
    unsigned n, t;
    (void)state;
    for (size_t surfaces = 1; surfaces < 20; surfaces++)
        for (unsigned jobs = 1; jobs < 70; jobs++) {
            set_share(surfaces, jobs, &n, &t);
            assert_true(n >= 1 && n <= surfaces && n <= jobs && t >= 1 && n * t <= jobs);
            if (surfaces == 1) assert_int_equal(t, jobs);
        }
    set_share(3, 1, &n, &t);
    assert_true(n == 1 && t == 1);
    set_share(3, 2, &n, &t);
    assert_true(n == 2 && t == 1);
    set_share(10, 64, &n, &t);
    assert_true(n == 2 && t == 2);
}

static void targets_are_told_apart(void **state) {
    static const struct {
        const char *into, *surface, *want;
    } cases[] = {
        {"pg=shop,files=/x", "pg", "shop"},
        {"pg=shop,files=/x", "files", "/x"},
        {"cache=0=5,1=6,pg=a", "cache", "0=5,1=6"}, /* a target's own commas */
        {"cache=0=5,1=6,pg=a", "pg", "a"},
        {"pg=swap", "pg", "swap"},
        {"pg=shop", "files", NULL},
        {"/some/folder", "pg", NULL},
        {"xpg=shop", "pg", NULL},
        {"", "pg", NULL},
    };
    json_t *members = json_pack("[{s:s}, {s:s}, {s:s}]", "surface", "pg", "surface", "files", "surface", "cache");
    char out[64];
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        bool said = set_into(cases[i].into, cases[i].surface, members, out, sizeof out);
        assert_int_equal(said, cases[i].want != NULL);
        if (said) assert_string_equal(out, cases[i].want);
    }
    json_decref(members);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(surfaces_share_threads_and_memory),
        cmocka_unit_test(targets_are_told_apart),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
