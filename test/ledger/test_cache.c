/* What a machine remembers: it saves reading, it pins, and it is never believed on its own word. */
#include "fixture.h"
#include <glob.h>

static void cache_file(struct fixture *f, const char *ending, char ret[192]) {
    char pattern[192];
    glob_t g;
    snprintf(pattern, sizeof(pattern), "%s/ledger-*.%s", f->cache, ending);
    assert_int_equal(glob(pattern, 0, NULL, &g), 0);
    assert_int_equal(g.gl_pathc, 1);
    snprintf(ret, 192, "%s", g.gl_pathv[0]);
    globfree(&g);
}

static void expect_readable(struct fixture *f, uint64_t size) {
    struct seen seen;
    struct error err;
    struct ledger *l = fixture_open(f, true, &seen);
    EXPECT_OK(ledger_sync(l, &err), err);
    assert_int_equal(ledger_size(l), size);
    assert_int_equal(seen.count, size);
    assert_true(size == 0 || seen.newest_stored_ns > 0);
    ledger_close(l);
}

/* A store whose reads below log/ are counted and can be forbidden. */
struct counting {
    struct store store;
    struct store *under;
    unsigned log_reads;
};
static int counting_read(struct store *s, const char *key, uint64_t at, void *p, size_t len, size_t *ret_n,
                         struct error *err) {
    struct counting *c = (struct counting *)s;
    if (strncmp(key, "log/", 4) == 0 && at == 0) c->log_reads++;
    return store_read(c->under, key, at, p, len, ret_n, err);
}
static int counting_stat(struct store *s, const char *key, uint64_t *bytes, int64_t *ns, struct error *err) {
    return store_stat(((struct counting *)s)->under, key, bytes, ns, err);
}
static int counting_list(struct store *s, const char *prefix, store_list_cb cb, void *ctx, struct error *err) {
    return store_list(((struct counting *)s)->under, prefix, cb, ctx, err);
}

static void cached_entries_are_not_read_again(void **state) {
    (void)state;
    struct fixture f;
    struct seen seen = {0};
    struct error err;
    fixture_begin(&f);
    fixture_fill(&f, true, 0, 20);
    const struct store_ops ops = {
        .name = "counting", .read = counting_read, .stat = counting_stat, .list = counting_list};
    struct counting c = {.store = {&ops}, .under = f.store};
    struct ledger *l;
    EXPECT_OK(ledger_open(&c.store, TEST_ORIGIN, f.cache, test_judge, &seen, &l, &err), err);
    EXPECT_OK(ledger_sync(l, &err), err);
    assert_int_equal(seen.count, 20);
    assert_int_equal(c.log_reads, 2); /* the newest known, and the first unknown */
    ledger_close(l);
    fixture_end(&f);
}

static void a_damaged_cache_is_discarded_and_the_log_read_anew(void **state) {
    (void)state;
    struct fixture f;
    char path[192];
    CLEANUP(buf_free) struct buf entries = BUF_INIT(1u << 20), pin = BUF_INIT(8192);
    fixture_begin(&f);
    fixture_fill(&f, true, 0, 3);
    cache_file(&f, "entries", path);
    file_load(path, &entries);
    for (size_t bit = 0; bit < entries.len * 8; bit += 101) {
        entries.ptr[bit / 8] ^= (uint8_t)(1u << bit % 8);
        file_store(path, buf_bytes(&entries));
        expect_readable(&f, 3);
        entries.ptr[bit / 8] ^= (uint8_t)(1u << bit % 8);
    }
    for (size_t len = 0; len < entries.len; len += 97) {
        file_store(path, BYTES_OF(entries.ptr, len));
        expect_readable(&f, 3);
    }
    file_load(path, &entries);
    cache_file(&f, "pin", path);
    file_load(path, &pin);
    for (size_t bit = 0; bit < pin.len * 8; bit++) {
        pin.ptr[bit / 8] ^= (uint8_t)(1u << bit % 8);
        file_store(path, buf_bytes(&pin));
        expect_readable(&f, 3);
        pin.ptr[bit / 8] ^= (uint8_t)(1u << bit % 8);
    }
    file_store(path, BYTES_OF(NULL, 0));
    expect_readable(&f, 3);
    CLEANUP(buf_free) struct buf again = BUF_INIT(8192);
    file_load(path, &again); /* and is made anew */
    assert_true(bytes_equal(buf_bytes(&again), buf_bytes(&pin)));
    fixture_end(&f);
}

/* The pin alone still knows how long the log was. */
static void a_pin_without_entries_still_notices_a_rollback(void **state) {
    (void)state;
    struct fixture f;
    struct seen seen;
    struct error err;
    char path[192];
    fixture_begin(&f);
    fixture_fill(&f, true, 0, 5);
    cache_file(&f, "entries", path);
    file_store(path, BYTES_OF(NULL, 0));
    EXPECT_OK(store_remove(f.store, "log/0000000000000004", &err), err);
    struct ledger *l = fixture_open(&f, true, &seen);
    EXPECT_FAIL(ledger_sync(l, &err), err, LEDGER_ROLLBACK, "has 4 entries, but this machine has already seen 5");
    ledger_close(l);
    fixture_end(&f);
}

/* Somebody who may write the cache but not sign: a whole, well-formed cache of another history. */
static void a_cache_of_another_history_is_not_believed(void **state) {
    (void)state;
    struct fixture f, other;
    struct seen seen;
    struct error err;
    char from[192], to[192];
    CLEANUP(buf_free) struct buf content = BUF_INIT(1u << 20);
    const char *const endings[] = {"pin", "entries"};
    fixture_begin(&f);
    fixture_begin(&other);
    fixture_fill(&f, true, 0, 4);
    fixture_fill(&other, true, 100, 4);
    for (unsigned i = 0; i < 2; i++) {
        cache_file(&other, endings[i], from);
        cache_file(&f, endings[i], to);
        file_load(from, &content);
        file_store(to, buf_bytes(&content));
    }
    struct ledger *l = fixture_open(&f, true, &seen);
    EXPECT_FAIL(ledger_sync(l, &err), err, LEDGER_ROLLBACK, "entry 3 of the log");
    assert_int_equal(seen.count, 0);
    ledger_close(l);
    fixture_end(&other);
    fixture_end(&f);
}

static void logs_with_other_origins_share_a_folder_in_peace(void **state) {
    (void)state;
    struct fixture f, other;
    struct seen seen = {0};
    struct error err;
    struct ledger *l;
    fixture_begin(&f);
    fixture_begin(&other);
    fixture_fill(&f, true, 0, 4);
    EXPECT_OK(ledger_open(other.store, "proofkeep/other", f.cache, test_judge, &seen, &l, &err), err);
    EXPECT_OK(ledger_sync(l, &err), err);
    assert_int_equal(ledger_size(l), 0);
    EXPECT_OK(ledger_append(l, test_key, test_build, (char[]){'a', 0}, NULL, NULL, &err), err);
    ledger_close(l);
    expect_readable(&f, 4);
    fixture_end(&other);
    fixture_end(&f);
}

static void a_cache_that_cannot_be_made_is_an_error(void **state) {
    (void)state;
    struct fixture f;
    struct seen seen = {0};
    struct error err;
    struct ledger *l;
    char path[192];
    fixture_begin(&f);
    snprintf(path, sizeof(path), "%s/file", f.dir);
    file_store(path, BYTES_STR("x"));
    err = ERROR_INIT;
    assert_true(ledger_open(f.store, TEST_ORIGIN, path, test_judge, &seen, &l, &err) < 0);
    assert_non_null(strstr(err.text, "cache of the log"));
    fixture_end(&f);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(cached_entries_are_not_read_again),
        cmocka_unit_test(a_damaged_cache_is_discarded_and_the_log_read_anew),
        cmocka_unit_test(a_pin_without_entries_still_notices_a_rollback),
        cmocka_unit_test(a_cache_of_another_history_is_not_believed),
        cmocka_unit_test(logs_with_other_origins_share_a_folder_in_peace),
        cmocka_unit_test(a_cache_that_cannot_be_made_is_an_error),
    };
    return cmocka_run_group_tests(tests, crypto_setup, NULL);
}
