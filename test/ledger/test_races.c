/* Many handles append to one log at once: all succeed, and there is one order. */
#include "base/thread.h"
#include "fixture.h"

#define RIVALS 8
#define EACH 12

struct rival {
    struct fixture *f;
    unsigned number;
    bool cached;
    pthread_t thread;
    uint64_t seqs[EACH];
    struct digest digests[EACH];
    struct error err;
    bool failed;
};

static int accept_all(void *ctx, const struct ledger_entry *e, struct error *err) {
    (void)err;
    uint64_t *count = ctx;
    if (e->seq != *count) return error_set(err, ERR_INTERNAL, "entry %" PRIu64 " came after %" PRIu64, e->seq, *count);
    ++*count;
    return 0;
}

static void *run(void *arg) {
    struct rival *r = arg;
    struct ledger *l = NULL;
    uint64_t count = 0;
    r->failed =
        ledger_open(r->f->store, TEST_ORIGIN, r->cached ? r->f->cache : NULL, accept_all, &count, &l, &r->err) < 0;
    for (unsigned i = 0; i < EACH && !r->failed; i++) {
        char text[32];
        snprintf(text, sizeof(text), "rival %u, entry %u", r->number, i);
        r->failed = ledger_append(l, test_key, test_build, text, &r->seqs[i], &r->digests[i], &r->err) < 0;
    }
    ledger_close(l);
    return NULL;
}

static void race(bool cached) {
    struct fixture f;
    struct rival rivals[RIVALS] = {0};
    struct seen seen;
    struct error err;
    bool taken[RIVALS * EACH] = {false};
    fixture_begin(&f);
    for (unsigned i = 0; i < RIVALS; i++) {
        rivals[i] = (struct rival){.f = &f, .number = i, .cached = cached};
        EXPECT_OK(thread_start(&rivals[i].thread, run, &rivals[i], &err), err);
    }
    for (unsigned i = 0; i < RIVALS; i++) pthread_join(rivals[i].thread, NULL);
    struct ledger *l = fixture_open(&f, cached, &seen);
    EXPECT_OK(ledger_sync(l, &err), err);
    assert_int_equal(ledger_size(l), RIVALS * EACH);
    for (unsigned i = 0; i < RIVALS; i++) {
        if (rivals[i].failed) fail_msg("rival %u failed: %s", i, rivals[i].err.text);
        for (unsigned k = 0; k < EACH; k++) {
            CLEANUP(buf_free) struct buf envelope = BUF_INIT(LEDGER_ENTRY_MAX_BYTES + 1);
            struct digest d;
            assert_true(rivals[i].seqs[k] < RIVALS * EACH);
            assert_false(taken[rivals[i].seqs[k]]);
            taken[rivals[i].seqs[k]] = true;
            if (k) assert_true(rivals[i].seqs[k] > rivals[i].seqs[k - 1]);
            EXPECT_OK(ledger_read(l, rivals[i].seqs[k], &envelope, &err), err);
            sha256(buf_bytes(&envelope), &d);
            assert_true(digest_equal(&d, &rivals[i].digests[k]));
        }
    }
    ledger_close(l);
    fixture_end(&f);
}

static void eight_handles_append_at_once(void **state) {
    (void)state;
    race(false);
}

static void eight_handles_share_one_cache(void **state) {
    (void)state;
    race(true);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(eight_handles_append_at_once),
        cmocka_unit_test(eight_handles_share_one_cache),
    };
    return cmocka_run_group_tests(tests, crypto_setup, NULL);
}
