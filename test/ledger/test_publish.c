/* Tiles, checkpoint and summaries: derived from the entries, never two roots for one size. */
#include "counting.h"
#include "fixture.h"
#include "ledger/note.h"
#include "ledger/proof.h"
#include "ledger/summary.h"
#include "ledger/tiles.h"

static struct ledger *publish(struct fixture *f, struct seen *seen) {
    struct error err;
    struct ledger *l = fixture_open(f, true, seen);
    EXPECT_OK(ledger_sync(l, &err), err);
    EXPECT_OK(ledger_publish(l, test_key, &err), err);
    return l;
}

static void read_checkpoint(struct fixture *f, struct checkpoint *ret) {
    CLEANUP(buf_free) struct buf note = BUF_INIT(CHECKPOINT_MAX_BYTES);
    uint8_t pub[SIGN_PUBLIC_BYTES];
    struct error err;
    EXPECT_OK(sign_public(test_key, pub, &err), err);
    EXPECT_OK(store_read_all(f->store, CHECKPOINT_KEY, CHECKPOINT_MAX_BYTES - 1, &note, &err), err);
    EXPECT_OK(checkpoint_verify(buf_bytes(&note), TEST_ORIGIN, pub, ret, &err), err);
}

static void load(struct fixture *f, int level, uint64_t index, unsigned width, struct buf *ret) {
    char path[TILE_PATH_MAX];
    struct error err;
    tile_path(level, index, width, path);
    buf_clear(ret);
    EXPECT_OK(store_read_all(f->store, path, ret->max_bytes - 1, ret, &err), err);
}

/* As a stranger would: only tiles, bundles and checkpoint, by their names, with the plain definitions. */
static void check_as_stranger(struct fixture *f, uint64_t size) {
    CLEANUP(buf_free) struct buf tile = BUF_INIT(16384), bundle = BUF_INIT(16u << 20), upper = BUF_INIT(16384);
    struct checkpoint c;
    struct merkle *m;
    struct error err;
    struct digest root;
    read_checkpoint(f, &c);
    assert_int_equal(c.size, size);
    EXPECT_OK(merkle_new(&m, &err), err);
    if (size >= 256) load(f, 1, 0, (unsigned)(size / 256), &upper);
    for (uint64_t index = 0; index * 256 < size; index++) {
        unsigned width = size - index * 256 < 256 ? (unsigned)(size - index * 256) : 256;
        struct merkle *own;
        EXPECT_OK(merkle_new(&own, &err), err);
        load(f, 0, index, width, &tile);
        load(f, TILE_ENTRIES, index, width, &bundle);
        assert_int_equal(tile.len, width * 32);
        struct bytes rest = buf_bytes(&bundle), entry;
        for (unsigned i = 0; i < width; i++) {
            struct digest leaf;
            EXPECT_OK(bundle_next(&rest, &entry, &err), err);
            merkle_leaf(entry, &leaf);
            assert_memory_equal(tile.ptr + i * 32, leaf.b, 32);
            EXPECT_OK(merkle_add(m, &leaf, &err), err);
            EXPECT_OK(merkle_add(own, &leaf, &err), err);
        }
        assert_int_equal(rest.len, 0);
        merkle_root(own, &root);
        if (width == 256) assert_memory_equal(upper.ptr + index * 32, root.b, 32);
        merkle_free(own);
    }
    merkle_root(m, &root);
    assert_true(digest_equal(&root, &c.root));
    merkle_free(m);
}

static void published_tiles_give_the_signed_root(void **state) {
    (void)state;
    const unsigned sizes[] = {1, 255, 256, 257, 300};
    struct fixture f;
    unsigned have = 0;
    fixture_begin(&f);
    for (size_t i = 0; i < sizeof(sizes) / sizeof(*sizes); i++) {
        struct seen seen;
        fixture_fill(&f, true, have, sizes[i] - have);
        have = sizes[i];
        ledger_close(publish(&f, &seen));
        check_as_stranger(&f, have);
    }
    fixture_end(&f);
}

static void publishing_without_a_cache_gives_the_same(void **state) {
    (void)state;
    struct fixture f;
    struct seen seen;
    struct error err;
    fixture_begin(&f);
    fixture_fill(&f, false, 0, 9);
    struct ledger *l = fixture_open(&f, false, &seen);
    EXPECT_OK(ledger_sync(l, &err), err);
    EXPECT_OK(ledger_publish(l, test_key, &err), err);
    EXPECT_OK(ledger_publish(l, test_key, &err), err);
    ledger_close(l);
    check_as_stranger(&f, 9);
    fixture_end(&f);
}

static void an_empty_log_publishes_nothing(void **state) {
    (void)state;
    struct fixture f;
    struct seen seen;
    struct error err;
    uint64_t bytes;
    int64_t ns;
    fixture_begin(&f);
    ledger_close(publish(&f, &seen));
    EXPECT_FAIL(store_stat(f.store, CHECKPOINT_KEY, &bytes, &ns, &err), err, OBJECT_MISSING, "checkpoint");
    fixture_end(&f);
}

static void a_checkpoint_never_goes_back(void **state) {
    (void)state;
    struct fixture f;
    struct seen seen;
    struct error err;
    struct checkpoint c;
    fixture_begin(&f);
    fixture_fill(&f, true, 0, 3);
    struct ledger *late = fixture_open(&f, false, &seen);
    EXPECT_OK(ledger_sync(late, &err), err);
    fixture_fill(&f, true, 3, 3);
    struct seen other;
    ledger_close(publish(&f, &other));
    EXPECT_OK(ledger_publish(late, test_key, &err), err); /* has seen 3 only */
    ledger_close(late);
    read_checkpoint(&f, &c);
    assert_int_equal(c.size, 6);
    fixture_end(&f);
}

static void no_second_root_is_signed_for_a_size(void **state) {
    (void)state;
    struct fixture f;
    struct seen seen;
    struct error err;
    CLEANUP(buf_free) struct buf note = BUF_INIT(4096);
    struct checkpoint c = {.size = 3, .root = {{1}}};
    fixture_begin(&f);
    fixture_fill(&f, true, 0, 3);
    struct ledger *l = fixture_open(&f, true, &seen);
    EXPECT_OK(ledger_sync(l, &err), err);
    EXPECT_OK(checkpoint_sign(TEST_ORIGIN, &c, test_key, &note, &err), err);
    EXPECT_OK(store_replace(f.store, CHECKPOINT_KEY, buf_bytes(&note), &err), err);
    EXPECT_FAIL(ledger_publish(l, test_key, &err), err, LEDGER_BROKEN,
                "has another root than the log's first 3 entries");
    assert_string_equal(err.state, "No second root was signed.");
    ledger_close(l);
    /* nor does a reader believe such a log */
    l = fixture_open(&f, false, &seen);
    EXPECT_FAIL(ledger_sync(l, &err), err, LEDGER_BROKEN, "has another root than the log's first 3 entries");
    ledger_close(l);
    fixture_end(&f);
}

/* Even who never saw the log before: the entries are there before the checkpoint that counts them. */
static void a_log_shorter_than_its_checkpoint_is_a_rollback(void **state) {
    (void)state;
    struct fixture f;
    struct seen seen;
    struct error err;
    fixture_begin(&f);
    fixture_fill(&f, true, 0, 5);
    ledger_close(publish(&f, &seen));
    EXPECT_OK(store_remove(f.store, "log/0000000000000004", &err), err);
    struct ledger *l = fixture_open(&f, false, &seen);
    EXPECT_FAIL(ledger_sync(l, &err), err, LEDGER_ROLLBACK, "has 4 entries, but its signed checkpoint speaks of 5");
    ledger_close(l);
    fixture_end(&f);
}

static void a_checkpoint_of_nobody_known_is_replaced(void **state) {
    (void)state;
    struct fixture f;
    struct seen seen;
    struct error err;
    uint8_t seed[SIGN_SEED_BYTES] = {5};
    CLEANUP(buf_free) struct buf note = BUF_INIT(4096);
    struct checkpoint c = {.size = 300, .root = {{1}}};
    fixture_begin(&f);
    fixture_fill(&f, true, 0, 3);
    EXPECT_OK(checkpoint_sign(TEST_ORIGIN, &c, BYTES_OF(seed, sizeof(seed)), &note, &err), err);
    EXPECT_OK(store_replace(f.store, CHECKPOINT_KEY, buf_bytes(&note), &err), err);
    ledger_close(publish(&f, &seen));
    check_as_stranger(&f, 3);
    EXPECT_OK(store_replace(f.store, CHECKPOINT_KEY, BYTES_STR("rubbish"), &err), err);
    ledger_close(publish(&f, &seen));
    check_as_stranger(&f, 3);
    fixture_end(&f);
}

static void a_tile_that_says_otherwise_is_named(void **state) {
    (void)state;
    struct fixture f;
    struct seen seen;
    struct error err;
    fixture_begin(&f);
    fixture_fill(&f, true, 0, 3);
    EXPECT_OK(store_create(f.store, "tile/0/000.p/3", BYTES_STR("rubbish"), &err), err);
    struct ledger *l = fixture_open(&f, true, &seen);
    EXPECT_OK(ledger_sync(l, &err), err);
    EXPECT_FAIL(ledger_publish(l, test_key, &err), err, LEDGER_BROKEN, "tile/0/000.p/3 in the store is not what");
    assert_non_null(strstr(err.next, "Remove that object"));
    ledger_close(l);
    fixture_end(&f);
}

static void partial_tiles_of_the_former_checkpoint_are_dropped(void **state) {
    (void)state;
    struct fixture f;
    struct seen seen;
    struct error err;
    uint64_t bytes;
    int64_t ns;
    fixture_begin(&f);
    fixture_fill(&f, true, 0, 3);
    ledger_close(publish(&f, &seen));
    EXPECT_OK(store_stat(f.store, "tile/entries/000.p/3", &bytes, &ns, &err), err);
    fixture_fill(&f, true, 3, 2);
    ledger_close(publish(&f, &seen));
    EXPECT_FAIL(store_stat(f.store, "tile/entries/000.p/3", &bytes, &ns, &err), err, OBJECT_MISSING, "000.p/3");
    EXPECT_OK(store_stat(f.store, "tile/entries/000.p/5", &bytes, &ns, &err), err);
    fixture_end(&f);
}

static void a_ledger_proves_what_it_has_seen(void **state) {
    (void)state;
    struct fixture f;
    struct seen seen;
    struct error err;
    struct proof p;
    struct checkpoint old, now;
    struct digest leaf;
    CLEANUP(buf_free) struct buf entry = BUF_INIT(65536);
    fixture_begin(&f);
    fixture_fill(&f, true, 0, 11);
    ledger_close(publish(&f, &seen));
    read_checkpoint(&f, &old);
    fixture_fill(&f, true, 11, 9);
    struct ledger *l = publish(&f, &seen);
    read_checkpoint(&f, &now);
    EXPECT_OK(ledger_prove_consistency(l, old.size, now.size, &p, &err), err);
    EXPECT_OK(proof_check_consistency(old.size, &old.root, now.size, &now.root, &p, &err), err);
    EXPECT_OK(ledger_prove_inclusion(l, 4, now.size, &p, &err), err);
    EXPECT_OK(ledger_read(l, 4, &entry, &err), err);
    merkle_leaf(buf_bytes(&entry), &leaf);
    EXPECT_OK(proof_check_inclusion(&leaf, 4, now.size, &now.root, &p, &err), err);
    EXPECT_FAIL(ledger_prove_inclusion(l, 4, 21, &p, &err), err, NO_POINT, "but the log has 20");
    EXPECT_FAIL(ledger_prove_inclusion(l, 5, 5, &p, &err), err, NO_POINT, "not among the first 5");
    EXPECT_FAIL(ledger_prove_consistency(l, 4, 21, &p, &err), err, NO_POINT, "but the log has 20");
    EXPECT_FAIL(ledger_prove_consistency(l, 9, 8, &p, &err), err, NO_POINT, "cannot begin with 9");
    ledger_close(l);
    fixture_end(&f);
}

static void a_summary_comes_back_and_fits_the_log(void **state) {
    (void)state;
    struct fixture f;
    struct seen seen;
    struct error err;
    struct ledger_summary s;
    struct digest root;
    uint64_t found;
    uint8_t pub[SIGN_PUBLIC_BYTES];
    json_t *state_json = json_pack("{s:[s,s],s:i}", "live", "a", "b", "holds", 2);
    fixture_begin(&f);
    fixture_fill(&f, true, 0, 6);
    struct ledger *l = fixture_open(&f, true, &seen);
    EXPECT_OK(ledger_sync(l, &err), err);
    EXPECT_OK(ledger_find_summary(l, UINT64_MAX, &found, &err), err);
    assert_int_equal(found, 0);
    EXPECT_FAIL(ledger_read_summary(l, 4, &s, &err), err, OBJECT_MISSING, "summary");
    EXPECT_OK(ledger_publish_summary(l, test_key, 6, state_json, &err), err);
    EXPECT_OK(ledger_publish_summary(l, test_key, 4, state_json, &err), err);
    EXPECT_OK(ledger_publish_summary(l, test_key, 4, state_json, &err), err); /* somebody was first and says the same */
    EXPECT_OK(ledger_find_summary(l, UINT64_MAX, &found, &err), err);
    assert_int_equal(found, 6);
    EXPECT_OK(ledger_find_summary(l, 5, &found, &err), err);
    assert_int_equal(found, 4);
    EXPECT_OK(ledger_read_summary(l, 6, &s, &err), err);
    EXPECT_OK(sign_public(test_key, pub, &err), err);
    ledger_root(l, &root);
    assert_int_equal(s.size, 6);
    assert_int_equal(s.root_status, SUMMARY_ROOT_MATCHES);
    assert_true(digest_equal(&s.root, &root));
    assert_memory_equal(s.signer, pub, sizeof(pub));
    assert_true(json_equal(s.state, state_json));
    ledger_summary_free(&s);
    json_object_set_new(state_json, "holds", json_integer(3));
    EXPECT_FAIL(ledger_publish_summary(l, test_key, 4, state_json, &err), err, LEDGER_BROKEN, "says otherwise");
    EXPECT_FAIL(ledger_publish_summary(l, test_key, 7, state_json, &err), err, INTERNAL, "summary of 7 entries");
    ledger_close(l);
    /* who has not read the log has only the signer's word for the root */
    l = fixture_open(&f, false, &seen);
    EXPECT_OK(ledger_read_summary(l, 6, &s, &err), err);
    assert_int_equal(s.root_status, SUMMARY_ROOT_CLAIMED);
    ledger_summary_free(&s);
    ledger_close(l);
    json_decref(state_json);
    fixture_end(&f);
}

static void a_summary_that_does_not_fit_is_refused(void **state) {
    (void)state;
    struct fixture f, other;
    struct seen seen;
    struct error err;
    struct ledger_summary s;
    char from[192], to[192];
    CLEANUP(buf_free) struct buf content = BUF_INIT(65536);
    json_t *empty = json_object();
    fixture_begin(&f);
    fixture_begin(&other);
    fixture_fill(&f, false, 0, 4);
    fixture_fill(&other, false, 100, 4);
    struct ledger *l = fixture_open(&other, false, &seen);
    EXPECT_OK(ledger_sync(l, &err), err);
    EXPECT_OK(ledger_publish_summary(l, test_key, 4, empty, &err), err);
    ledger_close(l);
    l = fixture_open(&f, false, &seen);
    EXPECT_OK(ledger_sync(l, &err), err);
    EXPECT_OK(ledger_publish_summary(l, test_key, 3, empty, &err), err);
    fixture_path(&other, "summary/0000000000000004", from);
    fixture_path(&f, "summary/0000000000000004", to);
    file_load(from, &content);
    file_store(to, buf_bytes(&content));
    EXPECT_FAIL(ledger_read_summary(l, 4, &s, &err), err, LEDGER_BROKEN, "root is not that of the log's first 4");
    fixture_path(&f, "summary/0000000000000003", from);
    file_load(from, &content);
    file_store(to, buf_bytes(&content));
    EXPECT_FAIL(ledger_read_summary(l, 4, &s, &err), err, LEDGER_BROKEN, "size or root is not what its name says");
    content.ptr[20] = content.ptr[20] == 'A' ? 'B' : 'A';
    file_store(to, buf_bytes(&content));
    EXPECT_FAIL(ledger_read_summary(l, 4, &s, &err), err, LEDGER_BROKEN, "signature does not hold");
    ledger_close(l);
    json_decref(empty);
    fixture_end(&other);
    fixture_end(&f);
}

/* ---- a place that replaces by tags, or says that it does ---- */

static int tag_answer; /* 0: "it is not that any more", whatever there is; else the error */
static unsigned tag_asked;

static int tagged_read(struct store *s, const char *key, void *p, size_t len, size_t *ret_n, char tag[STORE_TAG_BYTES],
                       struct error *err) {
    int rc = counting_read(s, key, 0, p, len, ret_n, err);
    if (rc == 0) snprintf(tag, STORE_TAG_BYTES, "\"of what is there\"");
    return rc;
}

static int tagged_replace(struct store *s, const char *key, struct bytes content, char tag[STORE_TAG_BYTES],
                          bool *ret_done, struct error *err) {
    (void)s, (void)key, (void)content, (void)tag;
    *ret_done = false;
    tag_asked++;
    return tag_answer ? error_set(err, tag_answer, "no conditions here") : 0;
}

/* However a place takes the condition, the checkpoint gets there, unless it cannot be written at all. */
static void a_checkpoint_gets_where_no_condition_is_met(void **state) {
    (void)state;
    struct store_ops ops = counting_ops;
    ops.read_tagged = tagged_read;
    ops.replace_if = tagged_replace;
    const struct {
        int answer;
        unsigned asked, again; /* and after another entry */
    } cases[] = {{0, 1, 1}, {ERR_S3_REFUSED, 1, 1}, {ERR_S3_DENIED, 1, 1}};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
        for (unsigned before = 0; before < 2; before++) { /* the first checkpoint, and one over another */
            struct fixture f;
            struct counting c;
            struct seen seen;
            struct error err;
            char more[] = "one more";
            fixture_begin(&f);
            if (before) {
                fixture_fill(&f, false, 0, 2);
                ledger_close(publish(&f, &seen));
            }
            fixture_fill(&f, false, 2 * before, 3);
            struct store *place = f.store;
            counting_init(&c, place);
            c.base.ops = &ops;
            f.store = &c.base;
            tag_answer = cases[i].answer;
            tag_asked = 0;
            struct ledger *l = publish(&f, &seen);
            assert_int_equal(tag_asked, cases[i].asked);
            assert_false(ledger_published_last(l));
            EXPECT_OK(ledger_append(l, test_key, test_build, more, NULL, NULL, &err), err);
            EXPECT_OK(ledger_publish(l, test_key, &err), err);
            assert_int_equal(tag_asked, cases[i].again);
            ledger_close(l);
            l = publish(&f, &seen);
            tag_answer = ERR_NET_BROKEN;
            EXPECT_OK(ledger_append(l, test_key, test_build, more, NULL, NULL, &err), err);
            EXPECT_FAIL(ledger_publish(l, test_key, &err), err, NET_BROKEN, "checkpoint of the log");
            ledger_close(l);
            f.store = place;
            check_as_stranger(&f, 4 + 2 * before);
            fixture_end(&f);
        }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(published_tiles_give_the_signed_root),
        cmocka_unit_test(publishing_without_a_cache_gives_the_same),
        cmocka_unit_test(an_empty_log_publishes_nothing),
        cmocka_unit_test(a_checkpoint_never_goes_back),
        cmocka_unit_test(no_second_root_is_signed_for_a_size),
        cmocka_unit_test(a_log_shorter_than_its_checkpoint_is_a_rollback),
        cmocka_unit_test(a_checkpoint_of_nobody_known_is_replaced),
        cmocka_unit_test(a_checkpoint_gets_where_no_condition_is_met),
        cmocka_unit_test(a_tile_that_says_otherwise_is_named),
        cmocka_unit_test(partial_tiles_of_the_former_checkpoint_are_dropped),
        cmocka_unit_test(a_ledger_proves_what_it_has_seen),
        cmocka_unit_test(a_summary_comes_back_and_fits_the_log),
        cmocka_unit_test(a_summary_that_does_not_fit_is_refused),
    };
    return cmocka_run_group_tests(tests, crypto_setup, NULL);
}
