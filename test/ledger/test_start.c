/* Beginning at a summary and by bundles (ledger.h, "Beginning at a summary"): what is read, that it comes to the same
 * as the whole log, and that whatever is wrong with what is derived is refused, named and read around. */
#include "counting.h"
#include "fixture.h"
#include "harness/fault.h"
#include "ledger/ledger_internal.h"
#include "ledger/proof.h"
#include "ledger/tiles.h"

/* A state that depends on every entry and their order. */
struct fold {
    uint64_t count;
    struct digest chain;
    struct ledger_start start;
    bool refuse;
};

static int fold_judge(void *ctx, const struct ledger_entry *e, struct error *err) {
    struct fold *f = ctx;
    struct digest pair[2] = {f->chain, e->digest};
    uint8_t pub[SIGN_PUBLIC_BYTES];
    EXPECT_OK(sign_public(test_key, pub, err), *err);
    if (memcmp(pub, e->signer, sizeof(pub)) != 0) return error_set(err, ERR_KEY_ROLE, "this key may not write");
    assert_int_equal(e->seq, f->count);
    sha256(BYTES_OF(pair, sizeof(pair)), &f->chain);
    f->count++;
    return 0;
}

static json_t *fold_state(const struct fold *f) {
    char hex[65];
    hex_encode(f->chain.b, 32, hex);
    return json_pack("{s:I, s:s}", "count", (json_int_t)f->count, "chain", hex);
}

static int fold_load(void *ctx, const json_t *state, uint64_t size, const int64_t *stored_ns, struct error *err) {
    struct fold *f = ctx;
    const char *hex = json_string_value(json_object_get(state, "chain"));
    if (f->refuse || !hex || !hex_decode(hex, strlen(hex), f->chain.b, 32))
        return error_set(err, ERR_LEDGER_BROKEN, "the state is malformed");
    for (uint64_t i = 0; i < size; i++) assert_true(stored_ns[i] > 0);
    f->count = (uint64_t)json_integer_value(json_object_get(state, "count"));
    return 0;
}

static bool fold_key(void *ctx, size_t i, uint8_t ret[SIGN_PUBLIC_BYTES]) {
    struct error err;
    (void)ctx;
    EXPECT_OK(sign_public(test_key, ret, &err), err);
    return i == 0;
}

static void fold_reset(void *ctx) {
    struct fold *f = ctx;
    f->count = 0;
    f->chain = (struct digest){{0}};
}

static struct ledger *open_fold(struct store *s, const char *cache, bool may_start, struct fold *f) {
    struct error err;
    struct ledger *l = NULL;
    *f = (struct fold){.start = {.load = fold_load, .key = fold_key, .reset = fold_reset}};
    EXPECT_OK(sign_public(test_key, f->start.signer, &err), err);
    EXPECT_OK(ledger_open(s, TEST_ORIGIN, cache, fold_judge, f, &l, &err), err);
    if (may_start) ledger_start_from(l, &f->start);
    return l;
}

static void sum_up(struct fixture *f, uint64_t size) {
    struct fold all, part = {0};
    struct error err;
    struct ledger *l = open_fold(f->store, NULL, false, &all);
    EXPECT_OK(ledger_sync(l, &err), err);
    EXPECT_OK(ledger_publish(l, test_key, &err), err);
    EXPECT_OK(ledger_replay(l, 0, size, fold_judge, &part, &err), err);
    json_t *state = fold_state(&part);
    EXPECT_OK(ledger_publish_summary(l, test_key, size, state, &err), err);
    json_decref(state);
    ledger_close(l);
}

/* A handle that may begin short knows exactly what one that reads everything knows. Says how it began. */
static uint64_t comes_to_the_same(struct fixture *f, const char *cache, char refused[512], struct counting *ret) {
    struct fold whole, quick;
    struct error err;
    struct digest a, b;
    struct counting c;
    counting_init(&c, f->store);
    struct ledger *l = open_fold(f->store, NULL, false, &whole), *q = open_fold(&c.base, cache, true, &quick);
    EXPECT_OK(ledger_sync(l, &err), err);
    EXPECT_OK(ledger_sync(q, &err), err);
    if (ret) *ret = c;
    ledger_root(l, &a);
    ledger_root(q, &b);
    assert_int_equal(ledger_size(l), ledger_size(q));
    assert_int_equal(whole.count, quick.count);
    assert_true(digest_equal(&whole.chain, &quick.chain));
    assert_true(digest_equal(&a, &b));
    uint64_t base = ledger_base(q);
    if (refused) snprintf(refused, 512, "%s", ledger_start_refused(q));
    /* and it goes on like any */
    EXPECT_OK(ledger_sync(q, &err), err);
    ledger_close(l);
    ledger_close(q);
    return base;
}

#define REFUSED(text, fragment)                                                                                        \
    do {                                                                                                               \
        if (!strstr((text), (fragment))) fail_msg("'%s' is not in '%s'", (fragment), (text));                          \
    } while (0)

static void every_cut_comes_to_the_same(void **state) {
    (void)state;
    struct fixture f;
    uint32_t random = 12345;
    char refused[512];
    fixture_begin(&f);
    for (unsigned size = 0; size < 1200;) {
        struct error err;
        unsigned more = 1 + (random = random * 1664525u + 1013904223u) / 16777216u;
        fixture_fill(&f, true, size, more);
        size += more;
        unsigned cut = 1 + (random >> 3) % size;
        sum_up(&f, cut);
        assert_int_equal(comes_to_the_same(&f, NULL, refused, NULL), cut);
        assert_string_equal(refused, "");
        char key[SUMMARY_KEY_BYTES];
        summary_key(cut, key);
        EXPECT_OK(store_remove(f.store, key, &err), err);
        assert_int_equal(comes_to_the_same(&f, NULL, refused, NULL), 0);
        assert_string_equal(refused, "");
    }
    fixture_end(&f);
}

static void five_thousand_entries_cost_a_handful_of_reads(void **state) {
    (void)state;
    struct fixture f;
    struct counting c;
    fixture_begin(&f);
    fixture_fill(&f, true, 0, 5000);
    sum_up(&f, 4864);
    assert_int_equal(comes_to_the_same(&f, NULL, NULL, &c), 4864);
    print_message("# cold: %u summary, %u bundles, %u entries, %u checkpoints, %u stats, %u lists\n", c.summary_reads,
                  c.bundle_reads, c.log_reads, c.checkpoint_reads, c.stats, c.lists);
    assert_int_equal(c.summary_reads, 1);
    assert_true(c.bundle_reads <= 2);
    assert_true(c.log_reads <= 4);
    assert_true(c.checkpoint_reads <= 3);
    assert_true(c.stats <= 4);
    /* entries since the checkpoint are read by themselves */
    fixture_fill(&f, true, 5000, 100);
    assert_int_equal(comes_to_the_same(&f, NULL, NULL, &c), 4864);
    assert_true(c.summary_reads == 1 && c.bundle_reads <= 2 && c.log_reads <= 104);
    /* a machine that began so begins from its own cache afterwards */
    assert_int_equal(comes_to_the_same(&f, f.cache, NULL, &c), 0); /* the writer's cache has all */
    assert_true(c.summary_reads == 0 && c.bundle_reads == 0 && c.log_reads <= 3);
    char cache[128];
    snprintf(cache, sizeof(cache), "%s/other", f.dir);
    assert_int_equal(comes_to_the_same(&f, cache, NULL, &c), 4864);
    assert_int_equal(c.summary_reads, 1);
    assert_int_equal(comes_to_the_same(&f, cache, NULL, &c), 4864);
    assert_true(c.summary_reads == 0 && c.bundle_reads == 0 && c.log_reads <= 3);
    /* without a summary bundles alone do */
    struct error err;
    EXPECT_OK(store_remove(f.store, "summary/0000000000004864", &err), err);
    assert_int_equal(comes_to_the_same(&f, NULL, NULL, &c), 0);
    assert_true(c.summary_reads == 0 && c.bundle_reads <= 20 && c.log_reads <= 104);
    /* and without bundles every entry */
    char path[192];
    fixture_path(&f, "tile", path);
    EXPECT_OK(io_remove_tree(AT_FDCWD, path, &err), err);
    EXPECT_OK(store_remove(f.store, "checkpoint", &err), err);
    assert_int_equal(comes_to_the_same(&f, NULL, NULL, &c), 0);
    assert_true(c.log_reads >= 5100);
    fixture_end(&f);
}

/* Sign whatever predicate with whatever key, under any name. */
static void forge(struct fixture *f, uint64_t name, const uint8_t seed[SIGN_SEED_BYTES],
                  void (*change)(json_t *predicate)) {
    CLEANUP(buf_free) struct buf envelope = BUF_INIT(1 << 20), payload = BUF_INIT(1 << 20);
    uint8_t pub[SIGN_PUBLIC_BYTES], sig[SIGN_BYTES];
    char key[SUMMARY_KEY_BYTES];
    json_t *statement;
    struct error err;
    EXPECT_OK(store_read_all(f->store, "summary/0000000000000512", (1 << 20) - 1, &envelope, &err), err);
    EXPECT_OK(dsse_decode(buf_bytes(&envelope), &payload, pub, sig, &err), err);
    EXPECT_OK(json_parse(buf_bytes(&payload), 1 << 20, "summary", &statement, &err), err);
    if (change) change(json_object_get(statement, "predicate"));
    buf_clear(&payload);
    buf_clear(&envelope);
    EXPECT_OK(json_write(statement, &payload, &err), err);
    json_decref(statement);
    EXPECT_OK(dsse_sign(BYTES_OF(seed, SIGN_SEED_BYTES), buf_bytes(&payload), &envelope, &err), err);
    summary_key(name, key);
    EXPECT_OK(store_replace(f->store, key, buf_bytes(&envelope), &err), err);
}

static void other_root(json_t *p) {
    json_object_set_new(p, "root", json_string("00000000000000000000000000000000000000000000000000000000000000ff"));
}
static void other_edge(json_t *p) {
    json_array_set_new(json_object_get(p, "edge"), 0,
                       json_string("00000000000000000000000000000000000000000000000000000000000000ff"));
}
static void short_edge(json_t *p) {
    json_array_clear(json_object_get(p, "edge"));
}
static void other_last(json_t *p) {
    json_object_set_new(p, "last", json_string("00000000000000000000000000000000000000000000000000000000000000ff"));
}
static void other_origin(json_t *p) {
    json_object_set_new(p, "origin", json_string("proofkeep/ff"));
}
static void other_state(json_t *p) {
    json_object_set_new(p, "state", json_object());
}

static void what_is_wrong_with_a_summary_is_refused_and_read_around(void **state) {
    (void)state;
    static const uint8_t thief[SIGN_SEED_BYTES] = {7};
    static const struct {
        const uint8_t *seed;
        void (*change)(json_t *);
        uint64_t name;
        const char *why;
    } cases[] = {
        {thief, NULL, 600, "who may not sum up this log"},
        {test_seed, NULL, 600, "its size or root is not what its name says"}, /* an old one under a new name */
        {test_seed, other_root, 512, "its edge does not give its root"},
        {test_seed, other_edge, 512, "its edge does not give its root"},
        {test_seed, short_edge, 512, "its edge has 0 hashes, not 2"},
        {test_seed, other_last, 512, "entry 511 of the log is not the one that it names"},
        {test_seed, other_origin, 512, "it is of another log (proofkeep/ff)"},
        {test_seed, other_state, 512, "the state is malformed"},
    };
    struct fixture f;
    char refused[512];
    struct error err;
    fixture_begin(&f);
    fixture_fill(&f, true, 0, 620);
    sum_up(&f, 300);
    sum_up(&f, 512);
    CLEANUP(buf_free) struct buf good = BUF_INIT(1 << 20);
    EXPECT_OK(store_read_all(f.store, "summary/0000000000000512", (1 << 20) - 1, &good, &err), err);
    for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
        char key[SUMMARY_KEY_BYTES];
        struct ledger_summary s;
        forge(&f, cases[i].name, cases[i].seed, cases[i].change);
        summary_key(cases[i].name, key);
        /* the next older good one is used */
        assert_int_equal(comes_to_the_same(&f, NULL, refused, NULL), cases[i].name == 600 ? 512 : 300);
        REFUSED(refused, cases[i].why);
        REFUSED(refused, key);
        /* by itself it has a code; what only the log can tell needs the log */
        struct fold fold;
        struct ledger *l = open_fold(f.store, NULL, false, &fold);
        if (cases[i].change != other_last && cases[i].change != other_state && cases[i].seed != thief)
            EXPECT_FAIL(ledger_read_summary(l, cases[i].name, &s, &err), err, LEDGER_BROKEN, cases[i].why);
        ledger_close(l);
        if (cases[i].name == 600) EXPECT_OK(store_remove(f.store, key, &err), err);
        EXPECT_OK(store_replace(f.store, "summary/0000000000000512", buf_bytes(&good), &err), err);
    }
    /* damage of any kind, of every one of them: the log itself is left */
    char path[192];
    good.ptr[good.len / 2] ^= 1;
    EXPECT_OK(store_replace(f.store, "summary/0000000000000512", buf_bytes(&good), &err), err);
    EXPECT_OK(store_replace(f.store, "summary/0000000000000300", BYTES_STR("rubbish"), &err), err);
    fixture_path(&f, "tile/entries", path);
    EXPECT_OK(io_remove_tree(AT_FDCWD, path, &err), err);
    assert_int_equal(comes_to_the_same(&f, NULL, refused, NULL), 0);
    REFUSED(refused, "summary/0000000000000512: ");
    fixture_end(&f);
}

static void a_summary_needs_a_checkpoint_that_reaches_it(void **state) {
    (void)state;
    struct fixture f;
    struct error err;
    char refused[512];
    CLEANUP(buf_free) struct buf old = BUF_INIT(4096);
    fixture_begin(&f);
    fixture_fill(&f, true, 0, 270);
    sum_up(&f, 256);
    EXPECT_OK(store_read_all(f.store, "checkpoint", 4095, &old, &err), err);
    EXPECT_OK(store_remove(f.store, "checkpoint", &err), err);
    assert_int_equal(comes_to_the_same(&f, NULL, refused, NULL), 0);
    REFUSED(refused, "no checkpoint signed by a key of the log reaches so far");
    fixture_fill(&f, true, 270, 30);
    sum_up(&f, 290);
    EXPECT_OK(store_replace(f.store, "checkpoint", buf_bytes(&old), &err), err);
    assert_int_equal(comes_to_the_same(&f, NULL, refused, NULL), 256);
    REFUSED(refused, "summary/0000000000000290: no checkpoint");
    fixture_end(&f);
}

static void a_summary_of_more_than_the_log_has_is_a_rollback(void **state) {
    (void)state;
    struct fixture f;
    struct fold fold;
    struct error err;
    fixture_begin(&f);
    fixture_fill(&f, false, 0, 300);
    sum_up(&f, 290);
    for (unsigned i = 280; i < 300; i++) {
        char key[ENTRY_KEY_BYTES];
        entry_key(i, key);
        EXPECT_OK(store_remove(f.store, key, &err), err);
    }
    EXPECT_OK(store_remove(f.store, "checkpoint", &err), err);
    struct ledger *l = open_fold(f.store, NULL, true, &fold);
    EXPECT_FAIL(ledger_sync(l, &err), err, LEDGER_ROLLBACK, "has 280 entries, but a signed summary speaks of 290");
    EXPECT_FAIL(ledger_sync(l, &err), err, LEDGER_ROLLBACK, "has 280 entries, but a signed summary speaks of 290");
    ledger_close(l);
    /* of somebody else it is nothing */
    static const uint8_t thief[SIGN_SEED_BYTES] = {9};
    json_t *empty = json_object();
    struct fold whole;
    l = open_fold(f.store, NULL, false, &whole);
    EXPECT_OK(ledger_sync(l, &err), err);
    EXPECT_OK(store_remove(f.store, "summary/0000000000000290", &err), err);
    EXPECT_OK(ledger_publish_summary(l, BYTES_OF(thief, 32), 280, empty, &err), err);
    ledger_close(l);
    json_decref(empty);
    EXPECT_OK(store_remove(f.store, "log/0000000000000279", &err), err);
    char refused[512];
    assert_int_equal(comes_to_the_same(&f, NULL, refused, NULL), 0);
    REFUSED(refused, "who may not sum up this log");
    fixture_end(&f);
}

static void an_entry_missing_below_a_summary_breaks_the_log(void **state) {
    (void)state;
    struct fixture f;
    struct fold fold;
    struct error err;
    fixture_begin(&f);
    fixture_fill(&f, false, 0, 520);
    sum_up(&f, 512);
    EXPECT_OK(store_remove(f.store, "log/0000000000000100", &err), err);
    struct ledger *l = open_fold(f.store, NULL, true, &fold);
    EXPECT_FAIL(ledger_sync(l, &err), err, LEDGER_BROKEN, "entry 100 of the log is missing");
    ledger_close(l);
    fixture_end(&f);
}

static void what_is_wrong_with_a_bundle_is_refused_and_read_around(void **state) {
    (void)state;
    struct fixture f;
    struct error err;
    char refused[512];
    CLEANUP(buf_free) struct buf good = BUF_INIT(16u << 20), bad = BUF_INIT(16u << 20);
    const char *first = "tile/entries/000", *second = "tile/entries/001";
    fixture_begin(&f);
    fixture_fill(&f, false, 0, 530);
    sum_up(&f, 200);
    EXPECT_OK(store_remove(f.store, "summary/0000000000000200", &err), err);
    EXPECT_OK(store_read_all(f.store, first, good.max_bytes - 1, &good, &err), err);
    EXPECT_OK(store_replace(f.store, first, BYTES_OF(good.ptr, good.len - 5), &err), err);
    assert_int_equal(comes_to_the_same(&f, NULL, refused, NULL), 0);
    REFUSED(refused, "tile/entries/000: an entry bundle is cut short");
    EXPECT_OK(buf_append(&bad, good.ptr, good.len, &err), err);
    EXPECT_OK(buf_append_str(&bad, "more", &err), err);
    EXPECT_OK(store_replace(f.store, first, buf_bytes(&bad), &err), err);
    comes_to_the_same(&f, NULL, refused, NULL);
    REFUSED(refused, "it has more than its 256 entries");
    buf_clear(&bad);
    EXPECT_OK(buf_append(&bad, good.ptr, good.len, &err), err);
    bad.ptr[good.len / 2] ^= 4;
    EXPECT_OK(store_replace(f.store, first, buf_bytes(&bad), &err), err);
    comes_to_the_same(&f, NULL, refused, NULL);
    REFUSED(refused, "tile/entries/000: entry ");
    EXPECT_OK(store_replace(f.store, second, buf_bytes(&good), &err), err);
    EXPECT_OK(store_replace(f.store, first, buf_bytes(&good), &err), err);
    comes_to_the_same(&f, NULL, refused, NULL);
    REFUSED(refused, "tile/entries/001: entry 256: it says that it is entry 0");
    EXPECT_OK(store_remove(f.store, second, &err), err);
    comes_to_the_same(&f, NULL, refused, NULL);
    assert_string_equal(refused, "");
    fixture_end(&f);
}

/* Another log of the same signer, which only its bundles tell of: every signature and link in them holds. */
static void a_forked_bundle_does_not_outweigh_the_entries(void **state) {
    (void)state;
    static const unsigned sizes[] = {256, 300};
    for (unsigned i = 0; i < 2; i++) {
        struct fixture f, other;
        struct error err;
        struct fold fold;
        char refused[512];
        CLEANUP(buf_free) struct buf forged = BUF_INIT(16u << 20);
        fixture_begin(&f);
        fixture_begin(&other);
        fixture_fill(&f, false, 0, sizes[i]);
        fixture_fill(&other, false, 1000, sizes[i]);
        struct ledger *l = open_fold(other.store, NULL, false, &fold);
        EXPECT_OK(ledger_sync(l, &err), err);
        EXPECT_OK(ledger_publish(l, test_key, &err), err);
        ledger_close(l);
        EXPECT_OK(store_read_all(other.store, "tile/entries/000", forged.max_bytes - 1, &forged, &err), err);
        EXPECT_OK(store_create(f.store, "tile/entries/000", buf_bytes(&forged), &err), err);
        assert_int_equal(comes_to_the_same(&f, NULL, refused, NULL), 0);
        assert_true(refused[0] != 0);
        fixture_end(&other);
        fixture_end(&f);
    }
}

static void a_pin_older_than_every_summary_leaves_them_unused(void **state) {
    (void)state;
    struct fixture f;
    struct error err;
    char refused[512], path[256];
    fixture_begin(&f);
    fixture_fill(&f, true, 0, 10);
    fixture_fill(&f, false, 10, 300);
    sum_up(&f, 256);
    DIR *d = opendir(f.cache);
    for (struct dirent *e; (e = readdir(d));)
        if (strstr(e->d_name, ".entries")) {
            snprintf(path, sizeof(path), "%s/%.100s", f.cache, e->d_name);
            assert_int_equal(unlink(path), 0);
        }
    closedir(d);
    assert_int_equal(comes_to_the_same(&f, f.cache, refused, NULL), 0);
    assert_string_equal(refused, "");
    /* and a log that is not the pinned one is told from it, summary or not */
    EXPECT_OK(store_remove(f.store, "log/0000000000000309", &err), err);
    struct fold fold;
    struct ledger *l = open_fold(f.store, f.cache, true, &fold);
    EXPECT_FAIL(ledger_sync(l, &err), err, LEDGER_ROLLBACK, "this machine has already seen 310");
    ledger_close(l);
    fixture_end(&f);
}

static void a_handle_that_began_late_reads_and_publishes_all_the_same(void **state) {
    (void)state;
    for (unsigned tiles = 0; tiles < 2; tiles++) {
        struct fixture f;
        struct fold fold;
        struct error err;
        struct counting c;
        struct proof proof;
        CLEANUP(buf_free) struct buf one = BUF_INIT(65536), again = BUF_INIT(65536);
        fixture_begin(&f);
        fixture_fill(&f, false, 0, 700);
        sum_up(&f, 512);
        if (!tiles) {
            char path[192];
            fixture_path(&f, "tile", path);
            EXPECT_OK(io_remove_tree(AT_FDCWD, path, &err), err);
        }
        counting_init(&c, f.store);
        struct ledger *l = open_fold(&c.base, NULL, true, &fold);
        EXPECT_OK(ledger_sync(l, &err), err);
        assert_int_equal(ledger_base(l), 512);
        unsigned before = c.log_reads;
        struct digest leaf, old, now;
        if (tiles) {
            /* proofs of what lies below come from tiles, and cost no entry */
            ledger_root(l, &now);
            EXPECT_OK(ledger_prove_inclusion(l, 77, 700, &proof, &err), err);
            EXPECT_OK(past_leaf(l, 77, &leaf, &err), err);
            EXPECT_OK(proof_check_inclusion(&leaf, 77, 700, &now, &proof, &err), err);
            EXPECT_OK(ledger_root_at(l, 301, &old, &err), err);
            EXPECT_OK(ledger_prove_consistency(l, 301, 700, &proof, &err), err);
            EXPECT_OK(proof_check_consistency(301, &old, 700, &now, &proof, &err), err);
            assert_int_equal(c.log_reads, before);
            assert_int_equal(ledger_base(l), 512);
        }
        EXPECT_OK(ledger_read(l, 77, &one, &err), err);
        EXPECT_OK(store_read_all(f.store, "log/0000000000000077", 65535, &again, &err), err);
        assert_true(bytes_equal(buf_bytes(&one), buf_bytes(&again)));
        if (tiles) assert_int_equal(c.log_reads, before + 1);
        assert_int_equal(ledger_base(l), tiles ? 512 : 0);
        /* an entry that was changed under a summary is found when it is read */
        again.ptr[30] = again.ptr[30] == 'A' ? 'B' : 'A';
        char path[192];
        fixture_path(&f, "log/0000000000000078", path);
        file_store(path, buf_bytes(&again));
        EXPECT_FAIL(ledger_read(l, 78, &one, &err), err, LEDGER_BROKEN, "not the one that was read before");
        if (tiles) {
            char text[] = "another";
            EXPECT_OK(ledger_append(l, test_key, test_build, text, NULL, NULL, &err), err);
            EXPECT_OK(ledger_publish(l, test_key, &err), err);
            uint64_t bytes;
            EXPECT_OK(store_stat(f.store, "tile/entries/002.p/189", &bytes, NULL, &err), err);
            EXPECT_OK(store_stat(f.store, "tile/0/002.p/189", &bytes, NULL, &err), err);
        }
        ledger_close(l);
        fixture_end(&f);
    }
}

static void a_missing_checkpoint_is_made_anew_from_the_entries(void **state) {
    (void)state;
    struct fixture f;
    struct fold fold;
    struct error err;
    uint64_t bytes;
    fixture_begin(&f);
    fixture_fill(&f, false, 0, 600);
    sum_up(&f, 512);
    struct ledger *l = open_fold(f.store, NULL, true, &fold);
    EXPECT_OK(ledger_sync(l, &err), err);
    assert_int_equal(ledger_base(l), 512);
    EXPECT_OK(store_remove(f.store, "checkpoint", &err), err);
    EXPECT_OK(store_remove(f.store, "tile/entries/000", &err), err);
    EXPECT_OK(store_remove(f.store, "tile/0/001", &err), err);
    EXPECT_OK(ledger_publish(l, test_key, &err), err);
    EXPECT_OK(store_stat(f.store, "tile/entries/000", &bytes, NULL, &err), err);
    EXPECT_OK(store_stat(f.store, "tile/0/001", &bytes, NULL, &err), err);
    assert_int_equal(ledger_base(l), 0);
    ledger_close(l);
    fixture_end(&f);
}

static void a_summary_is_published_once_and_argued_with_by_name(void **state) {
    (void)state;
    static const uint8_t thief[SIGN_SEED_BYTES] = {7};
    struct fixture f;
    struct fold fold;
    struct error err;
    uint8_t pub[SIGN_PUBLIC_BYTES];
    char hex[65];
    struct ledger_summary s;
    fixture_begin(&f);
    fixture_fill(&f, false, 0, 520);
    sum_up(&f, 512);
    sum_up(&f, 512);
    struct ledger *l = open_fold(f.store, NULL, false, &fold);
    EXPECT_OK(ledger_sync(l, &err), err);
    json_t *lie = json_pack("{s:i}", "count", 3);
    EXPECT_OK(sign_public(BYTES_OF(thief, 32), pub, &err), err);
    hex_encode(pub, 32, hex);
    /* who lies, with whatever key, is named; a true one of somebody else's, and rubbish, make room */
    EXPECT_OK(store_remove(f.store, "summary/0000000000000512", &err), err);
    EXPECT_OK(ledger_publish_summary(l, BYTES_OF(thief, 32), 512, lie, &err), err);
    json_t *other = json_object();
    EXPECT_FAIL(ledger_publish_summary(l, test_key, 512, other, &err), err, LEDGER_BROKEN, hex);
    EXPECT_FAIL(ledger_publish_summary(l, test_key, 512, other, &err), err, LEDGER_BROKEN, "says otherwise");
    EXPECT_OK(ledger_publish_summary(l, test_key, 512, lie, &err), err);
    EXPECT_OK(ledger_read_summary(l, 512, &s, &err), err);
    EXPECT_OK(sign_public(test_key, pub, &err), err);
    assert_memory_equal(s.signer, pub, 32);
    ledger_summary_free(&s);
    EXPECT_OK(store_replace(f.store, "summary/0000000000000512", BYTES_STR("rubbish"), &err), err);
    EXPECT_OK(ledger_publish_summary(l, test_key, 512, other, &err), err);
    EXPECT_OK(ledger_publish_summary(l, test_key, 100, other, &err), err);
    EXPECT_OK(ledger_publish_summary(l, test_key, 200, other, &err), err);
    ledger_drop_summaries(l, 512);
    uint64_t *sizes;
    size_t n;
    EXPECT_OK(ledger_list_summaries(l, &sizes, &n, &err), err);
    assert_int_equal(n, 2);
    assert_true(sizes[0] == 200 && sizes[1] == 512);
    seam_free(sizes);
    json_decref(lie);
    json_decref(other);
    ledger_close(l);
    fixture_end(&f);
}

/* Any call may fail: then the sync says so, and the next one knows the truth. */
struct failing {
    struct fixture *f;
    struct fold *want;
    char cache[160];
    unsigned bad;
};

static void begin_with_a_failure(void *arg, uint64_t n) {
    struct failing *w = arg;
    struct fold got = {.start = {.load = fold_load, .key = fold_key, .reset = fold_reset}};
    struct error err = ERROR_INIT;
    struct ledger *l = NULL;
    char cache[192];
    snprintf(cache, sizeof(cache), "%s/%u", w->cache, (unsigned)(n % 7));
    if (sign_public(test_key, got.start.signer, &err) < 0) return;
    if (ledger_open(w->f->store, TEST_ORIGIN, cache, fold_judge, &got, &l, &err) < 0) return;
    ledger_start_from(l, &got.start);
    unsigned failed = 0;
    for (unsigned i = 0; i < 3; i++) {
        error_clear(&err);
        failed += ledger_sync(l, &err) < 0;
        if (err.code == ERR_NONE && (got.count != w->want->count || !digest_equal(&got.chain, &w->want->chain)))
            w->bad++;
    }
    if (failed > 1) w->bad++; /* only one call failed */
    ledger_close(l);
}

static void a_failure_while_beginning_is_told_and_mended(void **state) {
    (void)state;
    struct fixture f;
    struct fold whole;
    struct error err;
    struct failing w = {.f = &f, .want = &whole};
    fixture_begin(&f);
    fixture_fill(&f, false, 0, 270);
    sum_up(&f, 256);
    snprintf(w.cache, sizeof(w.cache), "%s/caches", f.dir);
    struct ledger *l = open_fold(f.store, NULL, false, &whole);
    EXPECT_OK(ledger_sync(l, &err), err);
    ledger_close(l);
    uint64_t hits = fault_each(false, begin_with_a_failure, &w);
    print_message("# %u calls failed\n", (unsigned)hits);
    assert_true(hits > 100);
    assert_int_equal(w.bad, 0);
    fixture_end(&f);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_cut_comes_to_the_same),
        cmocka_unit_test(five_thousand_entries_cost_a_handful_of_reads),
        cmocka_unit_test(what_is_wrong_with_a_summary_is_refused_and_read_around),
        cmocka_unit_test(a_summary_needs_a_checkpoint_that_reaches_it),
        cmocka_unit_test(a_summary_of_more_than_the_log_has_is_a_rollback),
        cmocka_unit_test(an_entry_missing_below_a_summary_breaks_the_log),
        cmocka_unit_test(what_is_wrong_with_a_bundle_is_refused_and_read_around),
        cmocka_unit_test(a_forked_bundle_does_not_outweigh_the_entries),
        cmocka_unit_test(a_pin_older_than_every_summary_leaves_them_unused),
        cmocka_unit_test(a_handle_that_began_late_reads_and_publishes_all_the_same),
        cmocka_unit_test(a_missing_checkpoint_is_made_anew_from_the_entries),
        cmocka_unit_test(a_summary_is_published_once_and_argued_with_by_name),
        cmocka_unit_test(a_failure_while_beginning_is_told_and_mended),
    };
    return cmocka_run_group_tests(tests, crypto_setup, NULL);
}
