/* Every call to the system fails in turn, and power fails after every change: never a false success, never a harmed
 * log. */
#include "fixture.h"
#include "harness/fault.h"
#include "harness/power.h"
#include "ledger/note.h"

static uint64_t clean_size(struct fixture *f, bool cached) {
    struct seen seen;
    struct error err;
    struct ledger *l = fixture_open(f, cached, &seen);
    EXPECT_OK(ledger_sync(l, &err), err);
    uint64_t size = ledger_size(l);
    ledger_close(l);
    return size;
}

/* Open the store and the log and append, as one command does. */
static int append_once(struct fixture *f, const char *text, struct error *err) {
    struct store *s = NULL;
    struct ledger *l = NULL;
    struct seen seen = {0};
    int rc = store_local_open(f->repo, false, &s, err);
    if (rc == 0) rc = ledger_open(s, TEST_ORIGIN, f->cache, test_judge, &seen, &l, err);
    if (rc == 0) rc = ledger_append(l, test_key, test_build, (void *)(uintptr_t)text, NULL, NULL, err);
    ledger_close(l);
    store_close(s);
    return rc;
}

/* Two entries again, nothing that was left unfinished, and a cache that knows them, so that every run makes the same
 * calls. */
static void go_back(struct fixture *f) {
    struct error err;
    char tmp[192];
    fixture_path(f, "tmp", tmp);
    EXPECT_OK(store_remove(f->store, "log/0000000000000002", &err), err);
    EXPECT_OK(io_remove_tree(AT_FDCWD, tmp, &err), err);
    EXPECT_OK(io_remove_tree(AT_FDCWD, f->cache, &err), err);
    assert_int_equal(clean_size(f, true), 2);
}

static void append_with_failing_calls(bool from_then_on) {
    struct fixture f;
    uint64_t failed = 0, n = 1;
    fixture_begin(&f);
    fixture_fill(&f, true, 0, 2);
    for (;; n++) {
        struct error err = ERROR_INIT;
        fault_install();
        fault_fail(n, 0, from_then_on);
        int rc = append_once(&f, "under a fault", &err);
        uint64_t hits = fault_hits();
        fault_remove();
        if (rc < 0 && (err.code == ERR_NONE || !*err.text)) fail_msg("call %" PRIu64 " failed and nothing says why", n);
        if (rc < 0 && err.code == ERR_INTERNAL) fail_msg("call %" PRIu64 " was taken for a bug: %s", n, err.text);
        /* with the cache as the fault left it, and without */
        uint64_t now = clean_size(&f, true);
        assert_int_equal(clean_size(&f, false), now);
        if (now != 2 && now != 3) fail_msg("call %" PRIu64 ": 2 entries became %" PRIu64, n, now);
        if (rc == 0 && now != 3) fail_msg("call %" PRIu64 " failed, and success was reported falsely", n);
        go_back(&f);
        failed += rc < 0;
        if (hits == 0) break;
    }
    print_message("# %" PRIu64 " calls failed, %" PRIu64 " of them the append\n", n - 1, failed);
    assert_true(failed > 20);
    fixture_end(&f);
}

static void an_append_survives_every_failing_call(void **state) {
    (void)state;
    append_with_failing_calls(false);
}

static void an_append_survives_calls_that_fail_from_then_on(void **state) {
    (void)state;
    append_with_failing_calls(true);
}

static void publishing_can_be_repeated_after_every_failing_call(void **state) {
    (void)state;
    struct fixture f;
    struct seen seen;
    struct error err;
    struct digest root;
    uint8_t pub[SIGN_PUBLIC_BYTES];
    fixture_begin(&f);
    fixture_fill(&f, true, 0, 3);
    struct ledger *l = fixture_open(&f, true, &seen);
    EXPECT_OK(ledger_sync(l, &err), err);
    EXPECT_OK(sign_public(test_key, pub, &err), err);
    ledger_root(l, &root);
    ledger_close(l);
    for (uint64_t n = 1;; n++) {
        CLEANUP(buf_free) struct buf note = BUF_INIT(CHECKPOINT_MAX_BYTES);
        struct checkpoint c;
        char path[192];
        struct store *s;
        fixture_path(&f, "tile", path);
        EXPECT_OK(io_remove_tree(AT_FDCWD, path, &err), err);
        fixture_path(&f, "checkpoint", path);
        EXPECT_OK(io_remove_tree(AT_FDCWD, path, &err), err);
        EXPECT_OK(store_local_open(f.repo, false, &s, &err), err);
        seen = (struct seen){0};
        EXPECT_OK(ledger_open(s, TEST_ORIGIN, f.cache, test_judge, &seen, &l, &err), err);
        EXPECT_OK(ledger_sync(l, &err), err);
        err = ERROR_INIT;
        fault_install();
        fault_fail(n, 0, false);
        int rc = ledger_publish(l, test_key, &err);
        uint64_t hits = fault_hits();
        fault_remove();
        ledger_close(l);
        store_close(s);
        if (rc == 0) /* then it is there */
            EXPECT_OK(store_read_all(f.store, CHECKPOINT_KEY, CHECKPOINT_MAX_BYTES - 1, &note, &err), err);
        EXPECT_OK(store_local_open(f.repo, false, &s, &err), err);
        seen = (struct seen){0};
        EXPECT_OK(ledger_open(s, TEST_ORIGIN, f.cache, test_judge, &seen, &l, &err), err);
        EXPECT_OK(ledger_sync(l, &err), err);
        EXPECT_OK(ledger_publish(l, test_key, &err), err);
        ledger_close(l);
        store_close(s);
        buf_clear(&note);
        EXPECT_OK(store_read_all(f.store, CHECKPOINT_KEY, CHECKPOINT_MAX_BYTES - 1, &note, &err), err);
        EXPECT_OK(checkpoint_verify(buf_bytes(&note), TEST_ORIGIN, pub, &c, &err), err);
        assert_int_equal(c.size, 3);
        assert_true(digest_equal(&c.root, &root));
        if (hits == 0) break;
    }
    fixture_end(&f);
}

#define APPENDS 3

/* Log and cache are on the disk that loses power: what was acknowledged is there, and the pin is never ahead of the
 * log. */
static void what_was_acknowledged_survives_power_loss(void **state) {
    (void)state;
    struct fixture f;
    struct error err;
    uint64_t acked[APPENDS], checked = 0;
    fixture_begin(&f);
    EXPECT_OK(io_mkdirs(f.cache, 0700, &err), err);
    power_begin(f.dir);
    for (unsigned i = 0; i < APPENDS; i++) {
        char text[16];
        struct seen seen;
        struct store *s;
        struct ledger *l;
        snprintf(text, sizeof(text), "power %u", i);
        EXPECT_OK(append_once(&f, text, &err), err);
        acked[i] = power_ops();
        EXPECT_OK(store_local_open(f.repo, false, &s, &err), err);
        seen = (struct seen){0};
        EXPECT_OK(ledger_open(s, TEST_ORIGIN, f.cache, test_judge, &seen, &l, &err), err);
        EXPECT_OK(ledger_sync(l, &err), err);
        EXPECT_OK(ledger_publish(l, test_key, &err), err);
        ledger_close(l);
        store_close(s);
    }
    power_end();
    for (uint64_t n = 0; n <= power_ops(); n++)
        for (int mode = 0; mode < POWER_MODE_COUNT; mode++) {
            struct fixture after;
            uint64_t want = 0;
            struct seen seen;
            while (want < APPENDS && acked[want] <= n) want++;
            snprintf(after.dir, sizeof(after.dir), "%.50s-after", f.dir);
            snprintf(after.repo, sizeof(after.repo), "%s/repo", after.dir);
            snprintf(after.cache, sizeof(after.cache), "%s/cache", after.dir);
            power_materialise(after.dir, n, (enum power_mode)mode);
            EXPECT_OK(store_local_open(after.repo, true, &after.store, &err), err);
            struct ledger *l = fixture_open(&after, true, &seen);
            err = ERROR_INIT;
            if (ledger_sync(l, &err) < 0) fail_msg("after change %" PRIu64 ", mode %d: %s", n, mode, err.text);
            if (ledger_size(l) < want)
                fail_msg("after change %" PRIu64 ", mode %d: %" PRIu64 " entries were acknowledged, %" PRIu64
                         " are left",
                         n, mode, want, ledger_size(l));
            EXPECT_OK(ledger_append(l, test_key, test_build, (char[]){'z', 0}, NULL, NULL, &err), err);
            EXPECT_OK(ledger_publish(l, test_key, &err), err);
            ledger_close(l);
            fixture_end(&after);
            checked++;
        }
    print_message("# %" PRIu64 " crashed states\n", checked);
    power_forget();
    fixture_end(&f);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(an_append_survives_every_failing_call),
        cmocka_unit_test(an_append_survives_calls_that_fail_from_then_on),
        cmocka_unit_test(publishing_can_be_repeated_after_every_failing_call),
        cmocka_unit_test(what_was_acknowledged_survives_power_loss),
    };
    return cmocka_run_group_tests(tests, crypto_setup, NULL);
}
