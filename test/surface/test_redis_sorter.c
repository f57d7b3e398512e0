/* Keys come out in the order of their names whatever came in: from memory, from the spill, with values larger than is
 * held. */
#include "harness/claims.h"
#include "surface/redis/redis_internal.h"

#include <stdlib.h>
#include <unistd.h>

static char folder[64];

static int setup(void **state) {
    (void)state;
    struct error err = ERROR_INIT;
    snprintf(folder, sizeof folder, "/tmp/pk-sorter-XXXXXX");
    return mkdtemp(folder) && crypto_init(&err) == 0 ? 0 : -1;
}
static int teardown(void **state) {
    (void)state;
    return rmdir(folder); /* it must be empty: nothing is ever left in it */
}

static void add(struct sorter *s, uint64_t database, const char *name, struct bytes value, uint64_t mark) {
    struct error err = ERROR_INIT;
    struct rdb_key k = {.database = database, .name = BYTES_STR(name), .expires_ms = -1, .since = mark};
    claim_ok(sorter_begin(s, &k, &err), err);
    for (size_t at = 0; at < value.len; at += 100000)
        claim_ok(sorter_value(s, BYTES_OF(value.ptr + at, value.len - at < 100000 ? value.len - at : 100000), &err),
                 err);
    claim_ok(sorter_end(s, RDB_STRING, (struct hash128){mark, 0}, &err), err);
}

static uint8_t *big(size_t n, unsigned seed) {
    uint8_t *p = malloc(n);
    for (size_t i = 0; i < n; i++) {
        seed = seed * 1103515245 + 12345;
        p[i] = (uint8_t)(seed >> 16);
    }
    return p;
}

static void many(size_t memory, unsigned n) {
    struct error err = ERROR_INIT;
    struct sorter *s = NULL;
    struct sorted e;
    bool end = false;
    char name[64], before[64] = "";
    claim_ok(sorter_new(folder, memory, &s, &err), err);
    uint8_t *large = big(700001, 7);
    for (unsigned i = 0; i < n; i++) {
        unsigned k = (unsigned)((uint64_t)i * 7919 % n);
        snprintf(name, sizeof name, "a/common/beginning/of/names/%07u", k);
        add(s, 10, name, k % 500 == 3 ? BYTES_OF(large, 700001) : BYTES_OF(large + k, 20 + k % 300), k);
    }
    add(s, 2, "last", BYTES_STR("x"), 0);
    add(s, 1, "first", BYTES_STR("x"), 0);
    claim_ok(sorter_sort(s, &err), err);
    claim_ok(sorter_next(s, &e, &end, &err), err);
    assert_int_equal(e.key.database, 1);
    for (unsigned k = 0; k < n; k++) {
        claim_ok(sorter_next(s, &e, &end, &err), err);
        assert_false(end);
        assert_int_equal(e.key.database, 10); /* "10" comes before "2", as items' names do */
        snprintf(name, sizeof name, "%.*s", (int)e.key.name.len, (const char *)e.key.name.ptr);
        assert_true(strcmp(before, name) < 0);
        memcpy(before, name, sizeof name);
        assert_int_equal(e.key.since, k);
        assert_true(e.hash.lo == k);
        assert_int_equal(e.bytes, k % 500 == 3 ? 700001 : 20 + k % 300);
        assert_int_equal(e.held, k % 500 != 3);
        if (e.held) assert_memory_equal(e.value.ptr, large + k, e.bytes);
        for (size_t at = 0; !e.held && at < e.bytes;) {
            struct bytes piece;
            claim_ok(sorter_piece(s, &piece, &err), err);
            assert_true(piece.len > 0);
            assert_memory_equal(piece.ptr, large + at, piece.len);
            at += piece.len;
        }
    }
    claim_ok(sorter_next(s, &e, &end, &err), err);
    assert_int_equal(e.key.database, 2);
    claim_ok(sorter_next(s, &e, &end, &err), err);
    assert_true(end);
    sorter_free(s);
    free(large);
}

static void from_memory(void **state) {
    (void)state;
    many(48u << 20, 3000);
}
static void from_runs_that_are_merged_in_levels(void **state) {
    (void)state;
    many(600u << 10, 30000);
}

static void from_a_few_runs_and_memory(void **state) {
    (void)state;
    for (unsigned n = 1000; n < 4000; n += 100) many(1u << 20, n);
}

static void of_two_of_one_name_the_last_stays(void **state) {
    (void)state;
    for (size_t memory = 1; memory <= 48u << 20; memory += (48u << 20) - 1) { /* a run each, and all in memory */
        struct error err = ERROR_INIT;
        struct sorter *s = NULL;
        struct sorted e;
        bool end = false;
        claim_ok(sorter_new(folder, memory, &s, &err), err);
        add(s, 0, "twice", BYTES_STR("old"), 1);
        add(s, 0, "once", BYTES_STR("only"), 2);
        add(s, 0, "twice", BYTES_STR("new"), 3);
        claim_ok(sorter_sort(s, &err), err);
        claim_ok(sorter_next(s, &e, &end, &err), err);
        assert_int_equal(e.key.since, 2);
        claim_ok(sorter_next(s, &e, &end, &err), err);
        assert_int_equal(e.key.since, 3);
        assert_memory_equal(e.value.ptr, "new", 3);
        claim_ok(sorter_next(s, &e, &end, &err), err);
        assert_true(end);
        sorter_free(s);
    }
}

static void names_that_defeat_a_sort_are_sorted(void **state) {
    (void)state;
    struct error err = ERROR_INIT;
    struct sorter *s = NULL;
    struct sorted e;
    bool end = false;
    char *name = malloc(20001);
    memset(name, 'x', 20000);
    claim_ok(sorter_new(folder, 48u << 20, &s, &err), err);
    for (unsigned i = 0; i < 100; i++) { /* the same for 20,000 bytes, and beginnings of one another */
        name[19000 + i * 10] = 0;
        add(s, 0, name, BYTES_STR("v"), i);
        name[19000 + i * 10] = 'x';
    }
    claim_ok(sorter_sort(s, &err), err);
    for (unsigned i = 0; i < 100; i++) {
        claim_ok(sorter_next(s, &e, &end, &err), err);
        assert_int_equal(e.key.since, i);
    }
    sorter_free(s);
    free(name);
}

static void a_glob_is_as_redis_means_it(void **state) {
    (void)state;
    static const struct {
        const char *pattern, *text;
        bool matches;
    } cases[] = {{"*", "", true},
                 {"a*c", "abbbc", true},
                 {"a*c", "abbb", false},
                 {"h?llo", "hello", true},
                 {"h[ae]llo", "hallo", true},
                 {"h[^e]llo", "hello", false},
                 {"h[a-c]llo", "hbllo", true},
                 {"h[c-a]llo", "hbllo", true},
                 {"a\\*b", "a*b", true},
                 {"a\\*b", "axb", false},
                 {"user:*:name", "user:1/2:name", true},
                 {"[", "[", false},
                 {"*a*b*c", "xxaxxbxxc", true},
                 {"abc", "abcd", false}};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
        if (redis_glob(BYTES_STR(cases[i].pattern), BYTES_STR(cases[i].text)) != cases[i].matches)
            fail_msg("%s and %s", cases[i].pattern, cases[i].text);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(from_memory),
        cmocka_unit_test(from_a_few_runs_and_memory),
        cmocka_unit_test(from_runs_that_are_merged_in_levels),
        cmocka_unit_test(of_two_of_one_name_the_last_stays),
        cmocka_unit_test(names_that_defeat_a_sort_are_sorted),
        cmocka_unit_test(a_glob_is_as_redis_means_it),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
