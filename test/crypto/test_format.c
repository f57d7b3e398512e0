/* doc/format/keys.md says the truth: the program and the document's vectors agree byte for byte. */
#include "crypto/keyring_internal.h"
#include "crypto_test.h"

static char *doc;

static struct bytes vector(const char *name) {
    char want[80];
    snprintf(want, sizeof want, "\n%s = ", name);
    const char *block = strstr(doc, "```vectors");
    const char *at = block != NULL ? strstr(block, want) : NULL;
    if (at == NULL) fail_msg("the document has no vector '%s'", name);
    char digits[2048];
    size_t n = 0;
    for (at += strlen(want); *at != 0 && !(at[0] == '\n' && at[1] != ' '); at++)
        if (*at != ' ' && *at != '\n' && n < sizeof digits - 1) digits[n++] = *at;
    digits[n] = 0;
    return hex(digits);
}

static void is_vector(const char *name, const void *p, size_t n) {
    struct bytes v = vector(name);
    if (v.len != n || memcmp(v.ptr, p, n) != 0) fail_msg("'%s' is not as documented", name);
    unhex(v);
}

static void is_secret(const char *name, const struct secret *s) {
    is_vector(name, secret_bytes(s).ptr, secret_bytes(s).len);
}

static struct keyring *documented(void) {
    struct bytes id = vector("repo_id"), master = vector("master");
    struct keyring *k;
    OK(keyring_from_master(id.ptr, master, &k, e));
    unhex(id), unhex(master);
    return k;
}

static void keys_follow_from_the_master_key(void **state) {
    (void)state;
    struct keyring *k = documented();
    is_secret("id_key", k->id_key);
    is_secret("cut_key", k->cut_key);
    is_secret("index_key", k->index_key);
    is_secret("read_key", k->read_secret);
    is_secret("admin_sign_key", k->sign_seed);
    is_vector("read_public", k->read_public, 32);
    is_vector("admin_public", k->admin_public, 32);
    uint8_t b[BUNDLE_BYTES_MAX];
    bundle_encode(k, b);
    is_vector("admin_bundle", b, bundle_bytes(k));
    keyring_free(k);
}

static void slot_keys_follow_from_the_kek(void **state) {
    (void)state;
    static const char *const keks[][3] = {{"file_key", "file_slot_key", "file_slot_commitment"},
                                          {"passphrase_kek", "passphrase_slot_key", "passphrase_slot_commitment"},
                                          {"recipient_kek", "recipient_slot_key", "recipient_slot_commitment"}};
    struct bytes id = vector("repo_id"), salt = vector("slot_salt");
    uint8_t both[48], out[32];
    memcpy(both, id.ptr, 16);
    memcpy(both + 16, salt.ptr, 32);
    for (size_t i = 0; i < 3; i++) {
        struct bytes kek = vector(keks[i][0]);
        OK(hkdf_sha256(kek, BYTES_OF(both, 48), BYTES_STR("proofkeep/v1/slot"), out, 32, e));
        is_vector(keks[i][1], out, 32);
        OK(hkdf_sha256(kek, BYTES_OF(both, 48), BYTES_STR("proofkeep/v1/slot-commit"), out, 32, e));
        is_vector(keks[i][2], out, 32);
        unhex(kek);
    }
    struct bytes pass = vector("passphrase"), argon_salt = vector("argon_salt");
    OK(argon2id(pass, argon_salt.ptr, 2, 1 << 20, out, 32, e));
    is_vector("passphrase_kek", out, 32);
    unhex(pass), unhex(argon_salt), unhex(id), unhex(salt);
}

/* Randomness as the vectors had it, in the order in which it is asked for. */
static uint8_t queue[128];
static size_t queued, taken;
static ssize_t from_queue(void *p, size_t n) {
    assert_true(taken + n <= queued);
    memcpy(p, queue + taken, n);
    taken += n;
    return (ssize_t)n;
}
static void enqueue(const char *name) {
    struct bytes v = vector(name);
    assert_true(queued + v.len <= sizeof queue);
    memcpy(queue + queued, v.ptr, v.len);
    queued += v.len;
    unhex(v);
}

static void slot_is(enum slot_kind kind, const char *secret, const char *slot) {
    struct keyring *k = documented(), *got;
    struct bytes with = vector(secret), want = vector(slot);
    struct unlock u = {.kind = kind, .secret = with, .argon_ops = 2, .argon_mem_bytes = 1 << 20};
    struct bytes pub = vector("recipient_public");
    memcpy(u.recipient, pub.ptr, 32);
    OK(slot_open(want, &u, &got, e));
    is_secret("master", got->master);
    keyring_free(got);

    struct seam t = seam_system;
    t.getrandom = from_queue;
    seam_table = &t;
    struct buf b = BUF_INIT(4096);
    OK(slot_seal(k, &u, "vector", &b, e));
    seam_table = &seam_system;
    assert_int_equal(taken, queued);
    is_vector(slot, b.ptr, b.len);
    taken = queued = 0;
    buf_free(&b), keyring_free(k), unhex(with), unhex(want), unhex(pub);
}

static void slots_are_as_documented(void **state) {
    (void)state;
    enqueue("slot_salt");
    slot_is(SLOT_KEY_FILE, "file_key", "file_slot");
    enqueue("slot_salt"), enqueue("argon_salt");
    slot_is(SLOT_PASSPHRASE, "passphrase", "passphrase_slot");
    enqueue("slot_salt"), enqueue("recipient_kek"), enqueue("recipient_ephemeral_secret");
    slot_is(SLOT_RECIPIENT, "recipient_secret", "recipient_slot");
}

static void boxes_and_key_files_are_as_documented(void **state) {
    (void)state;
    struct bytes secret = vector("recipient_secret"), box = vector("recipient_box"), text = vector("file_key_text");
    uint8_t out[32];
    OK(box_public(secret, out, e));
    is_vector("recipient_public", out, 32);
    OK(box_open(secret, box, out, e));
    is_vector("recipient_kek", out, 32);
    struct secret *key;
    enum slot_kind kind;
    OK(key_file_parse(text, &key, &kind, e));
    is_secret("file_key", key);
    struct buf b = BUF_INIT(256);
    OK(key_file_format(secret_bytes(key), &b, e));
    is_vector("file_key_text", b.ptr, b.len);
    buf_free(&b), secret_free(key), unhex(secret), unhex(box), unhex(text);
}

static int setup(void **state) {
    if (init_crypto(state) != 0) return -1;
    const char *folder = getenv("PK_DOC");
    char path[4096];
    snprintf(path, sizeof path, "%s/format/keys.md", folder != NULL ? folder : "doc");
    struct buf b = BUF_INIT(1 << 20);
    struct error err = ERROR_INIT;
    if (io_read_file(AT_FDCWD, path, 1 << 19, &b, &err) < 0 || buf_terminate(&b, &err) < 0) {
        fprintf(stderr, "%s\n", err.text);
        return -1;
    }
    doc = (char *)b.ptr;
    return 0;
}

static int teardown(void **state) {
    (void)state;
    seam_free(doc);
    return 0;
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(keys_follow_from_the_master_key),
        cmocka_unit_test(slot_keys_follow_from_the_kek),
        cmocka_unit_test(slots_are_as_documented),
        cmocka_unit_test(boxes_and_key_files_are_as_documented),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
