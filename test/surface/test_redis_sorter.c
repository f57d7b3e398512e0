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
    many(900u << 10, 30000);
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

/* ---- against another sort ---- */
struct name {
    uint8_t *p;
    size_t n;
    unsigned mark;
};

static int by_name(const void *a, const void *b) {
    const struct name *x = a, *y = b;
    int c = memcmp(x->p, y->p, x->n < y->n ? x->n : y->n);
    return c ? c : x->n != y->n ? (x->n < y->n ? -1 : 1) : x->mark < y->mark ? -1 : 1;
}

/* Names of few different bytes, zeros among them, after beginnings of many lengths: some are the same, and many begin
 * one another, so that they differ in any place of a symbol, and by nothing but zeros at their ends. */
static void against_another_sort(size_t memory, unsigned n, size_t most, unsigned seed) {
    static const uint8_t bytes[] = {0, 0, 0, 1, 0xff};
    struct error err = ERROR_INIT;
    struct sorter *s = NULL;
    struct sorted e;
    bool end = false;
    struct name *names = calloc(n, sizeof *names);
    uint8_t *beginning = big(most, seed), *value = big(2000, seed);
    srand(seed);
    claim_ok(sorter_new(folder, memory, &s, &err), err);
    for (unsigned i = 0; i < n; i++) {
        const size_t first = (size_t)rand() % 4 ? most - (size_t)rand() % (most / 8 + 1) : (size_t)rand() % most;
        const size_t more = (size_t)rand() % 9;
        names[i] = (struct name){malloc(first + more + 1), first + more, i + 1};
        memcpy(names[i].p, beginning, first);
        for (size_t k = 0; k < more; k++) names[i].p[first + k] = bytes[rand() % 5];
        struct rdb_key key = {.name = BYTES_OF(names[i].p, names[i].n),
                              .expires_ms = i % 3 ? -1 : (int64_t)i,
                              .access = i % 5 ? ACCESS_NONE : ACCESS_IDLE,
                              .since = i % 5 ? 0 : i};
        claim_ok(sorter_begin(s, &key, &err), err);
        claim_ok(sorter_value(s, BYTES_OF(value, i % 2000), &err), err);
        claim_ok(sorter_end(s, RDB_HASH, (struct hash128){i + 1, i % 2}, &err), err);
    }
    qsort(names, n, sizeof *names, by_name);
    claim_ok(sorter_sort(s, &err), err);
    for (unsigned i = 0; i < n; i++) {
        if (i + 1 < n && names[i].n == names[i + 1].n && !memcmp(names[i].p, names[i + 1].p, names[i].n)) continue;
        claim_ok(sorter_next(s, &e, &end, &err), err);
        assert_false(end);
        const unsigned k = names[i].mark - 1;
        assert_int_equal(e.hash.lo, k + 1);
        assert_int_equal(e.hash.hi, k % 2);
        assert_int_equal(e.key.name.len, names[i].n);
        assert_memory_equal(e.key.name.ptr, names[i].p, names[i].n);
        assert_int_equal(e.bytes, k % 2000);
        assert_memory_equal(e.value.ptr, value, e.bytes);
        assert_true(e.class == RDB_HASH && e.key.expires_ms == (k % 3 ? -1 : (int64_t)k));
        assert_true(e.key.access == (k % 5 ? ACCESS_NONE : ACCESS_IDLE) && e.key.since == (k % 5 ? 0 : k));
    }
    claim_ok(sorter_next(s, &e, &end, &err), err);
    assert_true(end);
    sorter_free(s);
    for (unsigned i = 0; i < n; i++) free(names[i].p);
    free(names);
    free(beginning);
    free(value);
}

static void names_of_every_shape_are_ordered_as_by_another_sort(void **state) {
    (void)state;
    for (unsigned seed = 1; seed < 13; seed++) {
        against_another_sort(48u << 20, 4000, 3 * seed, seed); /* from memory */
        against_another_sort(1200u << 10, 4000, 3 * seed, seed);
    }
}

static void and_names_longer_than_codes_tell(void **state) {
    (void)state;
    against_another_sort(8u << 20, 40, 420000, 5);
    against_another_sort(48u << 20, 40, 420000, 6);
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
        cmocka_unit_test(names_of_every_shape_are_ordered_as_by_another_sort),
        cmocka_unit_test(and_names_longer_than_codes_tell),
        cmocka_unit_test(a_glob_is_as_redis_means_it),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
