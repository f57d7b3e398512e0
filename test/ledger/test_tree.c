/* Merkle tree, proofs, checkpoints and tile names, against a second, naive reckoning and the vectors of other programs.
 */
#include "fixture.h"
#include "ledger/note.h"
#include "ledger/proof.h"
#include "ledger/tiles.h"
#include "ledger/tree.h"

static void leaf_of(uint64_t i, struct digest *ret) {
    char text[32];
    snprintf(text, sizeof(text), "entry-%" PRIu64, i);
    merkle_leaf(BYTES_STR(text), ret);
}

/* RFC 6962 §2.1, word for word, sharing nothing with tree.c but the hash of a node. */
static void naive_root(uint64_t begin, uint64_t end, struct digest *ret) {
    if (end == begin) {
        sha256(BYTES_OF(NULL, 0), ret);
    } else if (end - begin == 1) {
        leaf_of(begin, ret);
    } else {
        uint64_t k = 1;
        while (k * 2 < end - begin) k *= 2;
        struct digest left, right;
        naive_root(begin, begin + k, &left);
        naive_root(begin + k, end, &right);
        merkle_node(&left, &right, ret);
    }
}

static struct tree *tree_of(uint64_t n) {
    struct tree *t;
    struct error err;
    EXPECT_OK(hash_tree_new(&t, &err), err);
    for (uint64_t i = 0; i < n; i++) {
        struct digest leaf;
        leaf_of(i, &leaf);
        EXPECT_OK(tree_reserve(t, 1, &err), err);
        tree_add(t, &leaf);
    }
    return t;
}

static void expect_hex(const struct digest *d, const char *hex) {
    char got[2 * DIGEST_BYTES + 1];
    hex_encode(d->b, DIGEST_BYTES, got);
    assert_string_equal(got, hex);
}

static void seven_leaves_have_the_root_that_others_compute(void **state) {
    (void)state;
    CLEANUP(hash_tree_freep) struct tree *t = tree_of(7);
    struct digest root;
    tree_root(t, 7, &root);
    expect_hex(&root, "9139601cc1ca8ab2a7a0c2c134c04845f2b1ba549a83d6c845cfcda439cc585d");
    tree_root(t, 0, &root);
    expect_hex(&root, "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
}

static void both_trees_agree_with_the_definition_at_every_size(void **state) {
    (void)state;
    CLEANUP(hash_tree_freep) struct tree *t = tree_of(600);
    struct merkle *m;
    struct error err;
    EXPECT_OK(merkle_new(&m, &err), err);
    for (uint64_t n = 0; n <= 600; n++) {
        struct digest want, compact, full, leaf;
        naive_root(0, n, &want);
        merkle_root(m, &compact);
        tree_root(t, n, &full);
        assert_int_equal(merkle_size(m), n);
        assert_memory_equal(&compact, &want, sizeof(want));
        assert_memory_equal(&full, &want, sizeof(want));
        leaf_of(n, &leaf);
        EXPECT_OK(merkle_add(m, &leaf, &err), err);
    }
    merkle_free(m);
}

static void every_inclusion_is_proved_and_no_altered_proof_is_taken(void **state) {
    (void)state;
    CLEANUP(hash_tree_freep) struct tree *t = tree_of(130);
    uint64_t proofs = 0;
    for (uint64_t size = 1; size <= 130; size++)
        for (uint64_t i = 0; i < size; i++) {
            struct proof p;
            struct digest root, leaf, other;
            struct error err;
            tree_root(t, size, &root);
            leaf_of(i, &leaf);
            leaf_of(i + 1, &other);
            tree_prove_inclusion(t, i, size, &p);
            EXPECT_OK(proof_check_inclusion(&leaf, i, size, &root, &p, &err), err);
            EXPECT_FAIL(proof_check_inclusion(&other, i, size, &root, &p, &err), err, LEDGER_BROKEN, "does not show");
            for (size_t h = 0; h < p.count; h++) {
                p.hashes[h].b[(i + h) % DIGEST_BYTES] ^= 0x10;
                EXPECT_FAIL(proof_check_inclusion(&leaf, i, size, &root, &p, &err), err, LEDGER_BROKEN,
                            "does not show");
                p.hashes[h].b[(i + h) % DIGEST_BYTES] ^= 0x10;
            }
            p.count++; /* a hash too many */
            p.hashes[p.count - 1] = root;
            EXPECT_FAIL(proof_check_inclusion(&leaf, i, size, &root, &p, &err), err, LEDGER_BROKEN, "does not show");
            proofs++;
        }
    assert_int_equal(proofs, 130 * 131 / 2);
}

static void every_consistency_is_proved_and_no_altered_proof_is_taken(void **state) {
    (void)state;
    CLEANUP(hash_tree_freep) struct tree *t = tree_of(130);
    for (uint64_t size = 0; size <= 130; size++)
        for (uint64_t old = 0; old <= size; old++) {
            struct proof p;
            struct digest root, before, wrong;
            struct error err;
            tree_root(t, size, &root);
            tree_root(t, old, &before);
            wrong = before;
            wrong.b[31] ^= 1;
            tree_prove_consistency(t, old, size, &p);
            EXPECT_OK(proof_check_consistency(old, &before, size, &root, &p, &err), err);
            EXPECT_FAIL(proof_check_consistency(old, &wrong, size, &root, &p, &err), err, LEDGER_BROKEN,
                        "does not show");
            EXPECT_FAIL(proof_check_consistency(size + 1, &before, size, &root, &p, &err), err, LEDGER_BROKEN,
                        "does not show");
            for (size_t h = 0; h < p.count; h++) {
                p.hashes[h].b[(old + h) % DIGEST_BYTES] ^= 1;
                EXPECT_FAIL(proof_check_consistency(old, &before, size, &root, &p, &err), err, LEDGER_BROKEN,
                            "does not show");
                p.hashes[h].b[(old + h) % DIGEST_BYTES] ^= 1;
            }
            if (p.count) {
                p.count--;
                EXPECT_FAIL(proof_check_consistency(old, &before, size, &root, &p, &err), err, LEDGER_BROKEN,
                            "does not show");
            }
        }
}

/* The hashes of every tile, level by level, from the definition in tlog-tiles. */
static void tiles_hold_the_roots_of_full_subtrees(void **state) {
    (void)state;
    CLEANUP(hash_tree_freep) struct tree *t = tree_of(70000);
    const uint64_t sizes[] = {1, 255, 256, 257, 300, 70000};
    const uint64_t want[][3] = {{1, 0, 0}, {255, 0, 0}, {256, 1, 0}, {257, 1, 0}, {300, 1, 0}, {70000, 273, 1}};
    for (size_t s = 0; s < sizeof(sizes) / sizeof(*sizes); s++)
        for (unsigned level = 0; level < 3; level++) assert_int_equal(tile_hashes(sizes[s], level), want[s][level]);
    for (unsigned level = 0; level < 3; level++) {
        uint64_t count, span = UINT64_C(1) << 8 * level;
        const struct digest *h = tree_level(t, level, &count);
        assert_int_equal(count, tile_hashes(70000, level));
        for (uint64_t i = 0; i < count; i += level == 0 ? 997 : 1) {
            struct digest root;
            naive_root(i * span, (i + 1) * span, &root);
            assert_memory_equal(&h[i], &root, sizeof(root));
        }
    }
    struct digest root, naive;
    tree_root(t, 70000, &root);
    naive_root(0, 70000, &naive);
    assert_memory_equal(&root, &naive, sizeof(root));
    const uint64_t at[] = {0, 255, 256, 65535, 65536, 69999};
    for (size_t i = 0; i < sizeof(at) / sizeof(*at); i++) {
        struct proof p;
        struct digest leaf;
        struct error err;
        leaf_of(at[i], &leaf);
        tree_prove_inclusion(t, at[i], 70000, &p);
        EXPECT_OK(proof_check_inclusion(&leaf, at[i], 70000, &root, &p, &err), err);
    }
}

static void expect_path(int level, uint64_t index, unsigned width, const char *want) {
    char got[TILE_PATH_MAX];
    tile_path(level, index, width, got);
    assert_string_equal(got, want);
}

static void tiles_have_the_names_of_the_specification(void **state) {
    (void)state;
    expect_path(0, 0, 256, "tile/0/000");
    expect_path(0, 1234067, 256, "tile/0/x001/x234/067");
    expect_path(TILE_ENTRIES, 1234067, 256, "tile/entries/x001/x234/067");
    expect_path(0, 273, 112, "tile/0/273.p/112");
    expect_path(1, 1, 17, "tile/1/001.p/17");
    expect_path(2, 0, 1, "tile/2/000.p/1");
    expect_path(TILE_ENTRIES, 1000, 255, "tile/entries/x001/000.p/255");
    expect_path(0, UINT64_MAX, 256, "tile/0/x018/x446/x744/x073/x709/x551/615");
}

static void bundles_give_back_their_entries(void **state) {
    (void)state;
    CLEANUP(buf_free) struct buf bundle = BUF_INIT(1u << 20), big = BUF_INIT(1u << 17);
    struct error err;
    struct bytes rest, entry;
    EXPECT_OK(buf_reserve(&big, 65536, &err), err);
    memset(big.ptr, 'b', 65536);
    EXPECT_OK(bundle_append(&bundle, BYTES_STR("one"), &err), err);
    EXPECT_OK(bundle_append(&bundle, BYTES_OF(NULL, 0), &err), err);
    EXPECT_OK(bundle_append(&bundle, BYTES_OF(big.ptr, 65535), &err), err);
    EXPECT_FAIL(bundle_append(&bundle, BYTES_OF(big.ptr, 65536), &err), err, LEDGER_TOO_BIG, "65536 bytes");
    assert_memory_equal(bundle.ptr, "\0\3one\0\0\xff\xff", 9);
    rest = buf_bytes(&bundle);
    EXPECT_OK(bundle_next(&rest, &entry, &err), err);
    assert_true(bytes_equal(entry, BYTES_STR("one")));
    EXPECT_OK(bundle_next(&rest, &entry, &err), err);
    assert_int_equal(entry.len, 0);
    EXPECT_OK(bundle_next(&rest, &entry, &err), err);
    assert_int_equal(entry.len, 65535);
    assert_int_equal(rest.len, 0);
    EXPECT_FAIL(bundle_next(&rest, &entry, &err), err, LEDGER_BROKEN, "cut short");
    rest = BYTES_OF(bundle.ptr, 4);
    EXPECT_FAIL(bundle_next(&rest, &entry, &err), err, LEDGER_BROKEN, "cut short");
}

#define NOTE_ORIGIN "kfm.example/ledger/prod"
#define NOTE_SIG "7kHp6j/J7PryvuQa+9W76JXyflyYkZYU7tFQObTi1k4QSkuBnQEKQXQ3kYSqlhgTQTPieEn0XkjPFCun8olahiQJCwc="

static void sample_note(struct buf *note, struct checkpoint *c, uint8_t pub[SIGN_PUBLIC_BYTES]) {
    struct error err;
    CLEANUP(hash_tree_freep) struct tree *t = tree_of(7);
    c->size = 7;
    tree_root(t, 7, &c->root);
    EXPECT_OK(checkpoint_sign(NOTE_ORIGIN, c, test_key, note, &err), err);
    EXPECT_OK(sign_public(test_key, pub, &err), err);
}

static void the_checkpoint_is_the_one_that_others_sign(void **state) {
    (void)state;
    CLEANUP(buf_free) struct buf note = BUF_INIT(4096), vkey = BUF_INIT(256);
    struct checkpoint c, got;
    uint8_t pub[SIGN_PUBLIC_BYTES];
    struct error err;
    sample_note(&note, &c, pub);
    const char want[] =
        NOTE_ORIGIN "\n7\nkTlgHMHKirKnoMLBNMBIRfKxulSag9bIRc/NpDnMWF0=\n\n\xe2\x80\x94 " NOTE_ORIGIN " " NOTE_SIG "\n";
    assert_true(bytes_equal(buf_bytes(&note), BYTES_STR(want)));
    EXPECT_OK(note_verifier(NOTE_ORIGIN, pub, &vkey, &err), err);
    assert_true(
        bytes_equal(buf_bytes(&vkey), BYTES_STR(NOTE_ORIGIN "+ee41e9ea+AQOhB7/zzhC+HXDdGOdLwJln5NYwm6UNXx3chmQSVTG4")));
    EXPECT_OK(checkpoint_verify(buf_bytes(&note), NOTE_ORIGIN, pub, &got, &err), err);
    assert_int_equal(got.size, 7);
    assert_true(digest_equal(&got.root, &c.root));
}

static void every_flipped_bit_of_a_checkpoint_is_refused(void **state) {
    (void)state;
    CLEANUP(buf_free) struct buf note = BUF_INIT(4096);
    struct checkpoint c, got;
    uint8_t pub[SIGN_PUBLIC_BYTES];
    sample_note(&note, &c, pub);
    for (size_t bit = 0; bit < note.len * 8; bit++) {
        struct error err = ERROR_INIT;
        note.ptr[bit / 8] ^= (uint8_t)(1u << bit % 8);
        if (checkpoint_verify(buf_bytes(&note), NOTE_ORIGIN, pub, &got, &err) != -ERR_LEDGER_BROKEN)
            fail_msg("bit %zu of the checkpoint was flipped, and it was taken", bit);
        note.ptr[bit / 8] ^= (uint8_t)(1u << bit % 8);
    }
}

static void lines_of_witnesses_are_passed_over(void **state) {
    (void)state;
    CLEANUP(buf_free) struct buf note = BUF_INIT(4096), only = BUF_INIT(4096);
    struct checkpoint c, got;
    uint8_t pub[SIGN_PUBLIC_BYTES], other[SIGN_PUBLIC_BYTES] = {1};
    struct error err;
    sample_note(&note, &c, pub);
    EXPECT_OK(buf_append_str(&note, "\xe2\x80\x94 witness.example/w AAAAAAAA\n", &err), err);
    EXPECT_OK(checkpoint_verify(buf_bytes(&note), NOTE_ORIGIN, pub, &got, &err), err);
    EXPECT_FAIL(checkpoint_verify(buf_bytes(&note), NOTE_ORIGIN, other, &got, &err), err, LEDGER_BROKEN,
                "not signed by the key expected");
    EXPECT_FAIL(checkpoint_verify(buf_bytes(&note), "kfm.example/ledger/dev", pub, &got, &err), err, LEDGER_BROKEN,
                "malformed");
    EXPECT_FAIL(checkpoint_sign("two words", &c, test_key, &only, &err), err, INTERNAL, "two words");
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(seven_leaves_have_the_root_that_others_compute),
        cmocka_unit_test(both_trees_agree_with_the_definition_at_every_size),
        cmocka_unit_test(every_inclusion_is_proved_and_no_altered_proof_is_taken),
        cmocka_unit_test(every_consistency_is_proved_and_no_altered_proof_is_taken),
        cmocka_unit_test(tiles_hold_the_roots_of_full_subtrees),
        cmocka_unit_test(tiles_have_the_names_of_the_specification),
        cmocka_unit_test(bundles_give_back_their_entries),
        cmocka_unit_test(the_checkpoint_is_the_one_that_others_sign),
        cmocka_unit_test(every_flipped_bit_of_a_checkpoint_is_refused),
        cmocka_unit_test(lines_of_witnesses_are_passed_over),
    };
    return cmocka_run_group_tests(tests, crypto_setup, NULL);
}
