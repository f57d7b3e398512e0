#include "work_kit.h"

#include "work/set_restore_internal.h"

static void surfaces_share_threads_and_memory(void **state) {
    unsigned n, t;
    (void)state;
    for (size_t surfaces = 1; surfaces < 20; surfaces++)
        for (unsigned jobs = 1; jobs < 70; jobs++) {
            set_share(surfaces, jobs, jobs % 2, &n, &t);
            assert_true(n >= 1 && n <= surfaces && n <= jobs && t >= 1 && n * t <= jobs);
            if (surfaces == 1) assert_int_equal(t, jobs);
        }
    set_share(3, 1, false, &n, &t);
    assert_true(n == 1 && t == 1);
    set_share(3, 2, true, &n, &t);
    assert_true(n == 2 && t == 1);
    set_share(10, 64, false, &n, &t);
    assert_true(n == 2 && t == 2);
    set_share(10, 64, true, &n, &t);
    assert_true(n == 2 && t == 1);
}

static void restores_share_memory(void **state) {
    unsigned n, t;
    size_t cache;
    (void)state;
    for (size_t wide = 1; wide < 20; wide++)
        for (unsigned jobs = 1; jobs < 70; jobs++)
            for (int far = 0; far < 2; far++) {
                set_restore_share(wide, jobs, far, &n, &t, &cache);
                assert_true(n >= 1 && n <= wide && n <= jobs && n <= 8 && t >= 1 && t <= jobs);
                /* what was measured: 24 MiB of the program; of a restore its caches, 26 MiB, and 6 a thread; and from a
                 * bucket what is read ahead with what is kept of it, which is some of the caches' */
                const uint64_t each =
                    (26u << 20) + cache + (far ? (68u << 20) - cache / 3 : 0) + surface_writers(t) * (6u << 20);
                if (n > 1) assert_true((24u << 20) + n * each <= SET_MEMORY_BYTES);
                if (n == 1) assert_true(t == jobs && cache == 0);
            }
    set_restore_share(5, 1, false, &n, &t, &cache);
    assert_true(n == 1);
    set_restore_share(2, 2, false, &n, &t, &cache);
    assert_true(n == 2 && t == 2);
    set_restore_share(3, 4, true, &n, &t, &cache);
    assert_true(n == 2 && t == 1);
    set_restore_share(0, 4, false, &n, &t, &cache);
    assert_true(n == 1 && t == 4);
}

static void members_wait_for_what_they_touch(void **state) {
    static const struct {
        const char *kind, *depends_on, *target, *system;
        const char *waits_for; /* of those before it */
    } rows[] = {
        {"files", "", "/srv/a", "", ""},
        {"files", "", "/srv/ab", "", ""},
        {"files", "", "/srv/a/in/it", "", "0"},
        {"files", "", "/srv", "", "012"},
        {"postgres", "", "shop", "1", ""},
        {"postgres", "", "shop2", "1", "4"},
        {"postgres", "", "shop", "2", "4"}, /* the same words: it may be the same, started anew */
        {"postgres", "", "other", "2", "6"},
        {"postgres-physical", "", "/data", "", "4567"},
        {"redis", "0", "localhost port 6379", "x", "0"},
        {"redis", "", "localhost port 6380", "y", ""},
        {"search", "", "in place", "", ""},
        {"search", "", "*-copy", "", "b"},
    };
    enum { N = sizeof rows / sizeof *rows };
    struct restore_plan to[N] = {0};
    json_t *members = json_array();
    (void)state;
    for (size_t i = 0; i < N; i++) {
        char name[2] = {(char)(i < 10 ? '0' + i : 'a' + i - 10)};
        json_array_append_new(members, json_pack("{s:s, s:s, s:[s]}", "surface", name, "kind", rows[i].kind,
                                                 "depends_on", rows[i].depends_on));
        to[i].doc = json_pack("{s:{s:s, s:s}}", "target", "target", rows[i].target, "system", rows[i].system);
        assert_non_null(to[i].doc);
        for (size_t d = 0; d < i; d++) {
            const char *other = json_string_value(json_object_get(json_array_get(members, d), "surface"));
            bool want = strstr(rows[i].waits_for, other) != NULL;
            if (set_restore_waits(members, to, i, d) != want) fail_msg("%zu waits for %zu: %d", i, d, !want);
        }
    }
    json_decref(to[0].doc);
    to[0].doc = NULL; /* what an earlier run restored is waited for by nobody who does not depend on it */
    assert_false(set_restore_waits(members, to, 2, 0));
    assert_true(set_restore_waits(members, to, 9, 0));
    for (size_t i = 0; i < N; i++) json_decref(to[i].doc);
    json_decref(members);
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
        cmocka_unit_test(restores_share_memory),
        cmocka_unit_test(members_wait_for_what_they_touch),
        cmocka_unit_test(targets_are_told_apart),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
