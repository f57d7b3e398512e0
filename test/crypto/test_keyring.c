#include "crypto/keyring_internal.h"
#include "crypto_test.h"

static const uint8_t repo_id[16] = {1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16};

static struct keyring *admin_of(const uint8_t id[16]) {
    struct keyring *k = NULL;
    OK(keyring_create(id, &k, e));
    return k;
}

static struct keyring *role_of(const struct keyring *admin, enum key_role role) {
    struct keyring *k = NULL;
    OK(keyring_derive(admin, role, &k, e));
    assert_int_equal(k->role, role);
    assert_memory_equal(k->repo_id, admin->repo_id, 16);
    assert_memory_equal(k->admin_public, admin->sign_public, 32);
    assert_memory_equal(k->read_public, admin->read_public, 32);
    return k;
}

/* The bundle holds none of these 32 bytes at any place. */
static bool bundle_holds(const struct keyring *k, const struct secret *s) {
    uint8_t b[BUNDLE_BYTES_MAX];
    bundle_encode(k, b);
    return memmem(b, bundle_bytes(k), secret_bytes(s).ptr, secret_bytes(s).len) != NULL;
}

static void roles_have_names(void **state) {
    (void)state;
    enum key_role r;
    assert_true(key_role_parse("writer", &r) && r == ROLE_WRITER);
    assert_true(key_role_parse("prune", &r) && r == ROLE_PRUNE);
    assert_false(key_role_parse("Writer", &r) || key_role_parse("", &r) || key_role_parse("unknown", &r));
    assert_string_equal(key_role_name(ROLE_ADMIN), "admin");
    assert_string_equal(key_role_name((enum key_role)77), "unknown");
}

static void keys_depend_on_master_and_repository(void **state) {
    (void)state;
    const uint8_t other_id[16] = {9};
    struct keyring *a = admin_of(repo_id), *same, *moved;
    OK(keyring_from_master(repo_id, secret_bytes(a->master), &same, e));
    OK(keyring_from_master(other_id, secret_bytes(a->master), &moved, e));
    assert_true(bytes_equal(secret_bytes(a->id_key), secret_bytes(same->id_key)));
    assert_false(bytes_equal(secret_bytes(a->id_key), secret_bytes(moved->id_key)));
    assert_memory_equal(a->sign_public, same->sign_public, 32);
    assert_memory_equal(a->sign_public, a->admin_public, 32);
    const struct secret *keys[] = {a->master, a->id_key, a->cut_key, a->index_key, a->read_secret, a->sign_seed};
    for (size_t i = 0; i < 6; i++)
        for (size_t j = i + 1; j < 6; j++) assert_false(bytes_equal(secret_bytes(keys[i]), secret_bytes(keys[j])));
    keyring_free(a), keyring_free(same), keyring_free(moved);
}

static void a_writer_cannot_read(void **state) {
    (void)state;
    struct keyring *a = admin_of(repo_id), *w = role_of(a, ROLE_WRITER);
    assert_true(w->master == NULL && w->read_secret == NULL);
    assert_true(w->id_key != NULL && w->cut_key != NULL && w->index_key != NULL);
    assert_false(bundle_holds(w, a->master) || bundle_holds(w, a->read_secret) || bundle_holds(w, a->sign_seed));
    uint8_t box[48 + 4], out[4];
    OK(box_seal(w->read_public, BYTES_STR("data"), box, e));
    FAILS(ERR_KEY_WRONG, "does not open", box_open(secret_bytes(w->sign_seed), BYTES_OF(box, sizeof box), out, e));
    OK(box_open(secret_bytes(a->read_secret), BYTES_OF(box, sizeof box), out, e));
    keyring_free(a), keyring_free(w);
}

static void a_restorer_reads_and_cannot_act_as_another(void **state) {
    (void)state;
    struct keyring *a = admin_of(repo_id), *r = role_of(a, ROLE_RESTORE);
    assert_null(r->master);
    assert_true(bytes_equal(secret_bytes(r->read_secret), secret_bytes(a->read_secret)));
    assert_false(bundle_holds(r, a->master) || bundle_holds(r, a->sign_seed));
    keyring_free(a), keyring_free(r);
}

static void a_pruner_knows_the_index_alone(void **state) {
    (void)state;
    struct keyring *a = admin_of(repo_id), *p = role_of(a, ROLE_PRUNE);
    assert_true(p->master == NULL && p->id_key == NULL && p->cut_key == NULL && p->read_secret == NULL);
    assert_true(bytes_equal(secret_bytes(p->index_key), secret_bytes(a->index_key)));
    assert_false(bundle_holds(p, a->master) || bundle_holds(p, a->id_key) || bundle_holds(p, a->cut_key) ||
                 bundle_holds(p, a->read_secret) || bundle_holds(p, a->sign_seed));
    keyring_free(a), keyring_free(p);
}

static void each_bundle_signs_with_a_seed_of_its_own(void **state) {
    (void)state;
    struct keyring *a = admin_of(repo_id), *w = role_of(a, ROLE_WRITER), *v = role_of(a, ROLE_WRITER),
                   *same = role_of(a, ROLE_ADMIN);
    assert_memory_not_equal(w->sign_public, v->sign_public, 32);
    assert_memory_not_equal(w->sign_public, a->sign_public, 32);
    assert_memory_equal(same->sign_public, a->sign_public, 32);
    keyring_free(a), keyring_free(w), keyring_free(v), keyring_free(same);
}

static void only_an_admin_makes_bundles(void **state) {
    (void)state;
    struct keyring *a = admin_of(repo_id), *w = role_of(a, ROLE_WRITER), *k;
    FAILS(ERR_KEY_ROLE, "a writer key cannot make other keys (of role restore)", keyring_derive(w, ROLE_RESTORE, &k, e));
    FAILS(ERR_KEY_ROLE, "no key role of number 5", keyring_derive(a, (enum key_role)5, &k, e));
    keyring_free(a), keyring_free(w), keyring_free(NULL);
}

static void bundles_that_contradict_themselves_are_refused(void **state) {
    (void)state;
    struct keyring *a = admin_of(repo_id), *r = role_of(a, ROLE_RESTORE), *k;
    uint8_t b[BUNDLE_BYTES_MAX];
    bundle_encode(a, b);
    OK(bundle_decode(BYTES_OF(b, bundle_bytes(a)), &k, e));
    keyring_free(k);
    FAILS(ERR_OBJECT_CORRUPT, "not one of a known role", bundle_decode(BYTES_OF(b, 113), &k, e));
    FAILS(ERR_OBJECT_CORRUPT, "not one of a known role", bundle_decode(BYTES_OF(b, bundle_bytes(a) - 1), &k, e));
    b[1] = BUNDLE_MASTER | BUNDLE_READ;
    FAILS(ERR_OBJECT_CORRUPT, "not one of a known role", bundle_decode(BYTES_OF(b, bundle_bytes(a)), &k, e));
    b[1] = BUNDLE_MASTER;
    for (size_t at = 2; at < bundle_bytes(a); at++) { /* id, seed, publics and master have to agree */
        b[at] ^= 8;
        FAILS(ERR_OBJECT_CORRUPT, "do not follow from its master key",
              bundle_decode(BYTES_OF(b, bundle_bytes(a)), &k, e));
        b[at] ^= 8;
    }
    bundle_encode(r, b);
    b[50] ^= 8;
    FAILS(ERR_OBJECT_CORRUPT, "not the pair", bundle_decode(BYTES_OF(b, bundle_bytes(r)), &k, e));
    keyring_free(a), keyring_free(r);
}

/* The administrator of a copy has the content keys of another repository in his bundle; what he derives has them too.
 */
static void a_copy_shares_content_keys_and_nothing_else(void **state) {
    (void)state;
    static const uint8_t other_id[16] = {9};
    struct keyring *a = admin_of(repo_id), *r = role_of(a, ROLE_RESTORE), *p = role_of(a, ROLE_PRUNE), *c, *again, *w,
                   *k;
    FAILS(ERR_KEY_ROLE, "which a prune key does not have", keyring_create_sharing(other_id, p, &c, e));
    OK(keyring_create_sharing(other_id, r, &c, e));
    assert_true(keyring_shares_content(c, a) && keyring_shares_content(a, r));
    assert_false(keyring_shares_content(a, p));
    assert_memory_not_equal(secret_bytes(c->index_key).ptr, secret_bytes(a->index_key).ptr, KEY_BYTES);
    assert_memory_not_equal(c->read_public, a->read_public, BOX_PUBLIC_BYTES);
    assert_memory_not_equal(c->admin_public, a->admin_public, SIGN_PUBLIC_BYTES);
    uint8_t b[BUNDLE_BYTES_MAX];
    bundle_encode(c, b);
    assert_int_equal(b[1], BUNDLE_MASTER | BUNDLE_ID | BUNDLE_CUT);
    assert_int_equal(bundle_bytes(c), BUNDLE_FIXED_BYTES + 3 * KEY_BYTES);
    OK(bundle_decode(BYTES_OF(b, bundle_bytes(c)), &again, e));
    assert_true(again->shared_content && keyring_shares_content(again, a));
    keyring_free(again);
    OK(keyring_derive(c, ROLE_ADMIN, &again, e));
    assert_true(again->shared_content && keyring_shares_content(again, a));
    w = role_of(c, ROLE_WRITER);
    assert_true(keyring_shares_content(w, a) && !w->shared_content);
    b[1] = BUNDLE_MASTER;
    FAILS(ERR_OBJECT_CORRUPT, "not one of a known role", bundle_decode(BYTES_OF(b, bundle_bytes(c)), &k, e));
    b[1] = BUNDLE_MASTER | BUNDLE_ID;
    FAILS(ERR_OBJECT_CORRUPT, "not one of a known role",
          bundle_decode(BYTES_OF(b, bundle_bytes(c) - KEY_BYTES), &k, e));
    b[1] = BUNDLE_MASTER | BUNDLE_ID | BUNDLE_CUT;
    b[50] ^= 1;
    FAILS(ERR_OBJECT_CORRUPT, "do not follow from its master key", bundle_decode(BYTES_OF(b, bundle_bytes(c)), &k, e));
    keyring_free(a), keyring_free(r), keyring_free(p), keyring_free(c), keyring_free(again), keyring_free(w);
}

static void key_files_come_back(void **state) {
    (void)state;
    struct buf b = BUF_INIT(1024);
    struct secret *key, *got;
    enum slot_kind kind;
    OK(secret_random(32, &key, e));
    OK(buf_append_str(&b, "# made for db-1\n\n", e));
    OK(key_file_format(secret_bytes(key), &b, e));
    OK(key_file_parse(buf_bytes(&b), &got, &kind, e));
    assert_int_equal(kind, SLOT_KEY_FILE);
    assert_true(bytes_equal(secret_bytes(key), secret_bytes(got)));
    secret_free(got);
    OK(key_file_format(secret_bytes(key), &b, e));
    FAILS(ERR_SECRET, "line 4 of the key file is one too many", key_file_parse(buf_bytes(&b), &got, &kind, e));
    buf_clear(&b);
    OK(key_identity_format(secret_bytes(key), &b, e));
    b.len--; /* a missing newline is no harm */
    OK(key_file_parse(buf_bytes(&b), &got, &kind, e));
    assert_int_equal(kind, SLOT_RECIPIENT);
    assert_true(bytes_equal(secret_bytes(key), secret_bytes(got)));
    secret_free(key), secret_free(got), buf_free(&b);
}

static void refused(const char *text, const char *says) {
    struct secret *s;
    enum slot_kind kind;
    FAILS(ERR_SECRET, says, key_file_parse(BYTES_STR(text), &s, &kind, e));
}

static void key_files_that_are_none_are_refused(void **state) {
    (void)state;
    refused("", "holds no key");
    refused("# nothing\n\n", "holds no key");
    refused("hunter2\n", "line 1 of the key file does not begin with");
    refused("PROOFKEEP-KEY-1 AAAA\n", "does not hold 32 bytes in base64");
    refused("PROOFKEEP-KEY-1 \n", "does not begin with");
    refused("PROOFKEEP-KEY-1 wMHCw8TFxsfIycrLzM3Oz9DR0tPU1dbX2Nna29zd3t8*\n", "does not hold 32 bytes");
    refused("PROOFKEEP-KEY-1 wMHCw8TFxsfIycrLzM3Oz9DR0tPU1dbX2Nna29zd3t8= more\n", "does not hold 32 bytes");
    struct secret *s;
    enum slot_kind kind;
    struct error err = ERROR_INIT; /* what was taken for a key is not told on */
    assert_int_equal(key_file_parse(BYTES_STR("PROOFKEEP-KEY-1 s3cr3t*\n"), &s, &kind, &err), -ERR_SECRET);
    assert_null(strstr(err.text, "s3cr3t"));
    struct buf b = BUF_INIT(64);
    FAILS(ERR_SECRET, "32 bytes of key, not 3", key_file_format(BYTES_STR("abc"), &b, e));
    buf_free(&b);
}

static void recipients_are_words(void **state) {
    (void)state;
    uint8_t pub[32], back[32];
    char text[RECIPIENT_TEXT_BYTES];
    for (int i = 0; i < 32; i++) pub[i] = (uint8_t)(i * 7);
    key_recipient_format(pub, text);
    assert_int_equal(strlen(text), 68);
    assert_memory_equal(text, "pkr1", 4);
    assert_true(key_recipient_parse(text, back));
    assert_memory_equal(pub, back, 32);
    text[67] = 0;
    assert_false(key_recipient_parse(text, back) || key_recipient_parse("pkr1", back) || key_recipient_parse("", back));
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(roles_have_names),
        cmocka_unit_test(keys_depend_on_master_and_repository),
        cmocka_unit_test(a_writer_cannot_read),
        cmocka_unit_test(a_restorer_reads_and_cannot_act_as_another),
        cmocka_unit_test(a_pruner_knows_the_index_alone),
        cmocka_unit_test(each_bundle_signs_with_a_seed_of_its_own),
        cmocka_unit_test(only_an_admin_makes_bundles),
        cmocka_unit_test(bundles_that_contradict_themselves_are_refused),
        cmocka_unit_test(a_copy_shares_content_keys_and_nothing_else),
        cmocka_unit_test(key_files_come_back),
        cmocka_unit_test(key_files_that_are_none_are_refused),
        cmocka_unit_test(recipients_are_words),
    };
    return cmocka_run_group_tests(tests, init_crypto, NULL);
}
