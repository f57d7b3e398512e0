/* A log in a fresh folder, for the tests of this layer. */
#ifndef PK_TEST_LEDGER_FIXTURE_H
#define PK_TEST_LEDGER_FIXTURE_H

#include "base/seam.h"
#include "ledger/ledger.h"
#include "ledger/statement.h"
#include <inttypes.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#define TEST_ORIGIN "proofkeep/000102030405060708090a0b0c0d0e0f"
#define TEST_TYPE "https://proofkeep.dev/test/v1"

static const uint8_t test_seed[SIGN_SEED_BYTES] = {0,  1,  2,  3,  4,  5,  6,  7,  8,  9,  10, 11, 12, 13, 14, 15,
                                                   16, 17, 18, 19, 20, 21, 22, 23, 24, 25, 26, 27, 28, 29, 30, 31};
static const struct bytes test_key = {test_seed, sizeof(test_seed)};

#define EXPECT_OK(call, err)                                                                                           \
    do {                                                                                                               \
        (err) = ERROR_INIT;                                                                                            \
        if ((call) != 0) fail_msg("%s: %s", #call, (err).text);                                                        \
    } while (0)
#define EXPECT_FAIL(call, err, want, fragment)                                                                         \
    do {                                                                                                               \
        (err) = ERROR_INIT;                                                                                            \
        assert_int_equal((call), -ERR_##want);                                                                         \
        assert_int_equal((err).code, ERR_##want);                                                                      \
        if (!strstr((err).text, fragment)) fail_msg("'%s' is not in '%s'", fragment, (err).text);                      \
    } while (0)

/* What a judge saw. */
struct seen {
    uint64_t count, refuse_at; /* refuse_at 0: never */
    struct digest last;
    int64_t newest_stored_ns;
};

static inline int test_judge(void *ctx, const struct ledger_entry *e, struct error *err) {
    struct seen *s = ctx;
    uint8_t pub[SIGN_PUBLIC_BYTES];
    if (sign_public(test_key, pub, err) < 0) return -(int)err->code;
    if (memcmp(pub, e->signer, sizeof(pub)) != 0) return error_set(err, ERR_KEY_ROLE, "this key may not write");
    if (s->refuse_at && e->seq == s->refuse_at) return error_set(err, ERR_KEY_ROLE, "refused by the test");
    assert_int_equal(e->seq, s->count);
    s->count++;
    s->last = e->digest;
    s->newest_stored_ns = e->stored_ns;
    return 0;
}

/* Builds a statement about `text`. */
static inline int test_build(void *ctx, uint64_t seq, json_t **ret, struct error *err) {
    const char *text = ctx;
    (void)seq;
    struct digest d;
    sha256(BYTES_STR(text), &d);
    json_t *predicate = json_object();
    if (json_put_str(predicate, "text", text, err) < 0) {
        json_decref(predicate);
        return -(int)err->code;
    }
    if (statement_new(TEST_TYPE, predicate, ret, err) < 0) return -(int)err->code;
    return statement_add_subject(*ret, text, &d, err);
}

struct fixture {
    char dir[64], repo[96], cache[96];
    struct store *store;
};

static inline void fixture_begin(struct fixture *f) {
    struct error err = ERROR_INIT;
    /* memory, where there is any: these tests sync thousands of times */
    struct stat st;
    const char *base = getenv("TMPDIR") ? getenv("TMPDIR") : stat("/dev/shm", &st) == 0 ? "/dev/shm" : "/tmp";
    snprintf(f->dir, sizeof(f->dir), "%.40s/pk-ledger-XXXXXX", base);
    assert_non_null(mkdtemp(f->dir));
    snprintf(f->repo, sizeof(f->repo), "%s/repo", f->dir);
    snprintf(f->cache, sizeof(f->cache), "%s/cache", f->dir);
    EXPECT_OK(store_local_open(f->repo, true, &f->store, &err), err);
}

static inline void fixture_end(struct fixture *f) {
    struct error err = ERROR_INIT;
    store_close(f->store);
    EXPECT_OK(io_remove_tree(AT_FDCWD, f->dir, &err), err);
}

static inline struct ledger *fixture_open(struct fixture *f, bool cached, struct seen *seen) {
    struct error err = ERROR_INIT;
    struct ledger *l = NULL;
    *seen = (struct seen){0};
    EXPECT_OK(ledger_open(f->store, TEST_ORIGIN, cached ? f->cache : NULL, test_judge, seen, &l, &err), err);
    return l;
}

/* Append `n` entries through a handle of their own; they are numbered from `from`. */
static inline void fixture_fill(struct fixture *f, bool cached, unsigned from, unsigned n) {
    struct seen seen;
    struct error err = ERROR_INIT;
    struct ledger *l = fixture_open(f, cached, &seen);
    for (unsigned i = 0; i < n; i++) {
        char text[32];
        snprintf(text, sizeof(text), "entry %u", from + i);
        EXPECT_OK(ledger_append(l, test_key, test_build, text, NULL, NULL, &err), err);
    }
    ledger_close(l);
}

/* The stored object, to be damaged. */
static inline void fixture_path(struct fixture *f, const char *key, char ret[192]) {
    snprintf(ret, 192, "%s/%s", f->repo, key);
}

static inline void file_load(const char *path, struct buf *ret) {
    struct error err = ERROR_INIT;
    buf_clear(ret);
    EXPECT_OK(io_read_file(AT_FDCWD, path, ret->max_bytes - 1, ret, &err), err);
}

static inline void file_store(const char *path, struct bytes content) {
    struct error err = ERROR_INIT;
    EXPECT_OK(io_replace_file(AT_FDCWD, path, content, 0600, &err), err);
}

static inline int crypto_setup(void **state) {
    struct error err = ERROR_INIT;
    (void)state;
    EXPECT_OK(crypto_init(&err), err);
    return 0;
}

#endif
