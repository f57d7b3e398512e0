/* Verifier keys, cosignatures and proofs: what is refused, and that no bit of what is signed can be flipped unnoticed.
 */
#include "fixture.h"
#include "ledger/add_checkpoint.h"
#include "ledger/cosign.h"
#include "ledger/tlog_proof.h"

static int setup(void **state) {
    struct error err;
    (void)state;
    EXPECT_OK(crypto_init(&err), err);
    return 0;
}

static struct note_key key_of(const char *name, enum note_kind_of_key kind) {
    struct note_key k;
    struct error err;
    uint8_t pub[SIGN_PUBLIC_BYTES];
    EXPECT_OK(sign_public(test_key, pub, &err), err);
    EXPECT_OK(note_key_make(name, kind, pub, &k, &err), err);
    return k;
}

static void verifier_keys_come_back_as_they_went(void **state) {
    (void)state;
    for (unsigned i = 0; i < 2; i++) {
        struct note_key k = key_of("w.example/1", i ? NOTE_COSIGNATURE : NOTE_ED25519), again;
        CLEANUP(buf_free) struct buf text = BUF_INIT(4096), secret = BUF_INIT(4096);
        struct secret *seed = NULL;
        struct error err;
        EXPECT_OK(note_key_format(&k, &text, &err), err);
        EXPECT_OK(buf_terminate(&text, &err), err);
        EXPECT_OK(note_key_parse((char *)text.ptr, &again, &err), err);
        assert_memory_equal(&k, &again, sizeof(k));
        EXPECT_OK(note_secret_format(&k, test_key, &secret, &err), err);
        EXPECT_OK(buf_append_str(&secret, "\r\n", &err), err);
        EXPECT_OK(note_secret_parse(buf_bytes(&secret), &again, &seed, &err), err);
        assert_memory_equal(&k, &again, sizeof(k));
        assert_true(bytes_equal(secret_bytes(seed), test_key));
        secret_free(seed);
        /* any other character in it makes another key, or none */
        for (size_t at = 0; at < text.len; at++) {
            uint8_t was = text.ptr[at];
            text.ptr[at] = was == 'b' ? 'c' : 'b';
            err = ERROR_INIT;
            assert_int_equal(note_key_parse((char *)text.ptr, &again, &err), -ERR_USAGE);
            text.ptr[at] = was;
        }
    }
}

static void what_is_no_verifier_key_is_refused(void **state) {
    (void)state;
    static const char *const bad[] = {"",
                                      "+",
                                      "++",
                                      "a+b+c",
                                      "name",
                                      "w+00000000+AQ==",
                                      "kfm.example/ledger/prod+ee41e9ea+",
                                      "a b+ee41e9ea+AQOhB7/zzhC+HXDdGOdLwJln5NYwm6UNXx3chmQSVTG4"};
    struct note_key k;
    struct error err;
    for (size_t i = 0; i < sizeof(bad) / sizeof(*bad); i++)
        EXPECT_FAIL(note_key_parse(bad[i], &k, &err), err, USAGE, "is no verifier key");
    EXPECT_OK(note_key_parse("kfm.example/ledger/prod+ee41e9ea+AQOhB7/zzhC+HXDdGOdLwJln5NYwm6UNXx3chmQSVTG4", &k, &err),
              err);
    EXPECT_FAIL(
        note_key_parse("kfm.example/ledger/prod+ee41e9eb+AQOhB7/zzhC+HXDdGOdLwJln5NYwm6UNXx3chmQSVTG4", &k, &err), err,
        USAGE, "mistyped");
    char name[NOTE_NAME_BYTES + 8];
    memset(name, 'x', sizeof(name) - 1);
    name[sizeof(name) - 1] = 0;
    EXPECT_FAIL(note_key_make(name, NOTE_ED25519, k.pub, &k, &err), err, USAGE, "cannot be the name of a key");
    struct secret *seed = NULL;
    EXPECT_FAIL(note_secret_parse(BYTES_STR("PROOFKEEP-KEY-1 AAAA"), &k, &seed, &err), err, SECRET, "PRIVATE+KEY+");
    EXPECT_FAIL(note_secret_parse(BYTES_STR("PRIVATE+KEY+w+00000000+BAABAgMEBQYHCAkKCwwNDg8QERITFBUWFxgZGhscHR4f"), &k,
                                  &seed, &err),
                err, SECRET, "do not belong together");
}

/* A checkpoint over 7 with the log's line and a cosignature. */
static void cosigned(struct buf *note, struct note_key *log, struct note_key *witness) {
    struct error err;
    struct checkpoint c = {.size = 7};
    struct checkpoint_parts p;
    CLEANUP(buf_free) struct buf line = BUF_INIT(4096);
    memset(c.root.b, 7, sizeof(c.root.b));
    *log = key_of(TEST_ORIGIN, NOTE_ED25519);
    *witness = key_of("w.example/1", NOTE_COSIGNATURE);
    EXPECT_OK(checkpoint_sign(TEST_ORIGIN, &c, test_key, note, &err), err);
    EXPECT_OK(checkpoint_split(buf_bytes(note), TEST_ORIGIN, &p, &err), err);
    EXPECT_OK(checkpoint_line(p.text, witness, test_key, 1771225200, &line, &err), err);
    EXPECT_OK(buf_append(note, line.ptr, line.len, &err), err);
}

static void no_bit_of_a_cosigned_checkpoint_flips_unnoticed(void **state) {
    (void)state;
    CLEANUP(buf_free) struct buf note = BUF_INIT(65536);
    struct note_key log, witness;
    struct checkpoint_parts p;
    struct error err;
    int64_t time_s;
    cosigned(&note, &log, &witness);
    for (size_t bit = 0; bit < note.len * 8; bit++) {
        note.ptr[bit / 8] ^= (uint8_t)(1u << bit % 8);
        err = ERROR_INIT;
        bool good = checkpoint_split(buf_bytes(&note), TEST_ORIGIN, &p, &err) == 0 &&
                    checkpoint_signed_by(&p, &log, NULL, &err) == 0 &&
                    checkpoint_signed_by(&p, &witness, &time_s, &err) == 0;
        /* the URL-safe alphabet is another spelling of the same signature */
        if (good) assert_non_null(strchr("-_", note.ptr[bit / 8]));
        note.ptr[bit / 8] ^= (uint8_t)(1u << bit % 8);
    }
    EXPECT_OK(checkpoint_split(buf_bytes(&note), TEST_ORIGIN, &p, &err), err);
    EXPECT_OK(checkpoint_signed_by(&p, &witness, &time_s, &err), err);
    assert_int_equal(time_s, 1771225200);
    assert_int_equal(p.head.size, 7);
    EXPECT_FAIL(checkpoint_split(buf_bytes(&note), "proofkeep/00", &p, &err), err, LEDGER_BROKEN, "of another log");
}

static void signatures_of_others_do_not_count(void **state) {
    (void)state;
    CLEANUP(buf_free) struct buf note = BUF_INIT(65536);
    struct note_key log, witness, other;
    struct checkpoint_parts p;
    struct error err;
    cosigned(&note, &log, &witness);
    EXPECT_OK(checkpoint_split(buf_bytes(&note), NULL, &p, &err), err);
    other = key_of("w.example/2", NOTE_COSIGNATURE);
    EXPECT_FAIL(checkpoint_signed_by(&p, &other, NULL, &err), err, LEDGER_BROKEN, "has no signature of w.example/2");
    other = key_of("w.example/1", NOTE_ED25519);
    EXPECT_FAIL(checkpoint_signed_by(&p, &other, NULL, &err), err, LEDGER_BROKEN, "has no signature of w.example/1");
    /* a line that names the key and does not hold is no silence */
    other = witness;
    other.pub[0] ^= 1;
    EXPECT_FAIL(checkpoint_signed_by(&p, &other, NULL, &err), err, LEDGER_BROKEN, "does not hold");
}

static void what_is_no_checkpoint_is_refused(void **state) {
    (void)state;
    static const char *const bad[] = {"",
                                      "\n",
                                      "\n\n",
                                      "a\n1\n",
                                      "a\n1\nAAAA\n\n",
                                      "a\n01\n47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=\n\n",
                                      "a\n1\n47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=\n\nx"};
    struct checkpoint_parts p;
    struct error err;
    for (size_t i = 0; i < sizeof(bad) / sizeof(*bad); i++)
        EXPECT_FAIL(checkpoint_split(BYTES_STR(bad[i]), NULL, &p, &err), err, LEDGER_BROKEN, "malformed");
}

static void what_is_no_proof_is_refused(void **state) {
    (void)state;
    static const struct {
        const char *text, *why;
    } bad[] = {
        {"", "first line"},
        {"c2sp.org/tlog-proof@v2\n", "first line"},
        {"c2sp.org/tlog-proof@v1\n", "ends early"},
        {"c2sp.org/tlog-proof@v1\nextra AAAA\n", "ends early"},
        {"c2sp.org/tlog-proof@v1\nindex\n", "no index"},
        {"c2sp.org/tlog-proof@v1\nindex 01\n\n", "no index"},
        {"c2sp.org/tlog-proof@v1\nindex 1\nAAAA\n\n", "a hash is malformed"},
        {"c2sp.org/tlog-proof@v1\nindex 1\n", "no checkpoint"},
    };
    struct tlog_proof p;
    struct error err;
    for (size_t i = 0; i < sizeof(bad) / sizeof(*bad); i++)
        EXPECT_FAIL(tlog_proof_parse(BYTES_STR(bad[i].text), &p, &err), err, LEDGER_BROKEN, bad[i].why);
    CLEANUP(buf_free) struct buf many = BUF_INIT(1 << 16);
    EXPECT_OK(buf_append_str(&many, "c2sp.org/tlog-proof@v1\nextra AAAA\nindex 1\n", &err), err);
    for (unsigned i = 0; i <= PROOF_MAX; i++)
        EXPECT_OK(buf_append_str(&many, "47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=\n", &err), err);
    EXPECT_FAIL(tlog_proof_parse(buf_bytes(&many), &p, &err), err, LEDGER_BROKEN, "more hashes than a tree can");
}

/* C2SP tlog-witness, its example of a request, with the hashes of three of its lines. */
static void requests_come_back_as_they_went(void **state) {
    (void)state;
    static const char text[] = "old 20852014\n"
                               "PlRNCrwHpqhGrupue0L7gxbjbMiKA9temvuZZDDpkaw=\n"
                               "jrJZDmY8Y7SyJE0MWLpLozkIVMSMZcD5kvuKxPC3swk=\n"
                               "5+pKlUdi2LeF/BcMHBn+Ku6yhPGNCswZZD1X/6QgPd8=\n"
                               "\n"
                               "example.com/behind-the-sofa\n20852163\n";
    struct add_checkpoint a;
    struct error err;
    CLEANUP(buf_free) struct buf out = BUF_INIT(ADD_CHECKPOINT_BYTES_MAX);
    EXPECT_OK(add_checkpoint_parse(BYTES_STR(text), &a, &err), err);
    assert_int_equal(a.old_size, 20852014);
    assert_int_equal(a.proof.count, 3);
    assert_int_equal(a.proof.hashes[2].b[0], 0xe7);
    EXPECT_OK(add_checkpoint_format(&a, &out, &err), err);
    assert_true(bytes_equal(buf_bytes(&out), BYTES_STR(text)));
}

static void what_is_no_request_is_refused(void **state) {
    (void)state;
    static const struct {
        const char *text, *says;
    } bad[] = {
        {"", "does not begin with an old size"},
        {"old 1", "does not begin with an old size"},
        {"old \n\n", "does not begin with an old size"},
        {"old 01\n\n", "does not begin with an old size"},
        {"old +1\n\n", "does not begin with an old size"},
        {"old 18446744073709551616\n\n", "does not begin with an old size"},
        {"Old 1\n\n", "does not begin with an old size"},
        {"old 1\n", "does not end with an empty line"},
        {"old 1\nPlRNCrwHpqhGrupue0L7gxbjbMiKA9temvuZZDDpkaw=\n", "does not end with an empty line"},
        {"old 1\nPlRNCrwHpqhGrupue0L7gxbjbMiKA9temvuZZDDpkaw\n\n", "line 1 of the request's proof is no hash"},
        {"old 1\nAAAA\n\n", "line 1 of the request's proof is no hash"},
    };
    struct add_checkpoint a;
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        struct error err = ERROR_INIT;
        assert_int_equal(add_checkpoint_parse(BYTES_STR(bad[i].text), &a, &err), -ERR_LEDGER_BROKEN);
        if (!strstr(err.text, bad[i].says)) fail_msg("%zu: %s", i, err.text);
    }
    CLEANUP(buf_free) struct buf many = BUF_INIT(8192);
    struct error err = ERROR_INIT;
    EXPECT_OK(buf_append_str(&many, "old 1\n", &err), err);
    for (unsigned i = 0; i <= ADD_CHECKPOINT_PROOF_MAX; i++)
        EXPECT_OK(buf_append_str(&many, "PlRNCrwHpqhGrupue0L7gxbjbMiKA9temvuZZDDpkaw=\n", &err), err);
    EXPECT_OK(buf_append_str(&many, "\n", &err), err);
    assert_int_equal(add_checkpoint_parse(buf_bytes(&many), &a, &err), -ERR_LEDGER_BROKEN);
    assert_non_null(strstr(err.text, "more than 63 hashes"));
    uint64_t size = 0;
    assert_true(add_checkpoint_size(BYTES_STR("42\n"), &size));
    assert_int_equal(size, 42);
    static const char *const none[] = {"", "42", "042\n", "42\n\n", "-1\n", "x\n"};
    for (size_t i = 0; i < sizeof none / sizeof *none; i++)
        assert_false(add_checkpoint_size(BYTES_STR(none[i]), &size));
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(verifier_keys_come_back_as_they_went),
        cmocka_unit_test(what_is_no_verifier_key_is_refused),
        cmocka_unit_test(no_bit_of_a_cosigned_checkpoint_flips_unnoticed),
        cmocka_unit_test(signatures_of_others_do_not_count),
        cmocka_unit_test(what_is_no_checkpoint_is_refused),
        cmocka_unit_test(what_is_no_proof_is_refused),
        cmocka_unit_test(requests_come_back_as_they_went),
        cmocka_unit_test(what_is_no_request_is_refused),
    };
    return cmocka_run_group_tests(tests, setup, NULL);
}
