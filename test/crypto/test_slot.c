#include "crypto/keyring_internal.h"
#include "crypto_test.h"
#include <errno.h>
#include <sys/mman.h>

static struct keyring *admin;
static uint8_t file_key[32], identity[32], recipient[32];

static struct unlock by(enum slot_kind kind) {
    struct unlock u = {.kind = kind, .argon_ops = 1, .argon_mem_bytes = 8192};
    u.secret = kind == SLOT_PASSPHRASE ? BYTES_STR("correct horse")
                                       : BYTES_OF(kind == SLOT_KEY_FILE ? file_key : identity, 32);
    memcpy(u.recipient, recipient, 32);
    return u;
}

static struct buf sealed(const struct keyring *k, enum slot_kind kind) {
    struct buf b = BUF_INIT(4096);
    struct unlock u = by(kind);
    OK(slot_seal(k, &u, "db-1", &b, e));
    return b;
}

static bool same_key(const struct secret *a, const struct secret *b) {
    return a == NULL || b == NULL ? a == b : bytes_equal(secret_bytes(a), secret_bytes(b));
}

static void every_role_comes_back_from_every_kind(void **state) {
    (void)state;
    for (enum key_role role = ROLE_ADMIN; role <= ROLE_PRUNE; role++) {
        struct keyring *k;
        OK(keyring_derive(admin, role, &k, e));
        for (enum slot_kind kind = SLOT_PASSPHRASE; kind <= SLOT_RECIPIENT; kind++) {
            struct buf b = sealed(k, kind);
            struct unlock u = by(kind);
            struct keyring *got;
            OK(slot_open(buf_bytes(&b), &u, &got, e));
            assert_int_equal(got->role, role);
            assert_memory_equal(got->repo_id, k->repo_id, 16);
            assert_true(same_key(got->master, k->master) && same_key(got->id_key, k->id_key));
            assert_true(same_key(got->cut_key, k->cut_key) && same_key(got->index_key, k->index_key));
            assert_true(same_key(got->read_secret, k->read_secret) && same_key(got->sign_seed, k->sign_seed));
            assert_memory_equal(got->read_public, k->read_public, 32);
            assert_memory_equal(got->sign_public, k->sign_public, 32);
            assert_memory_equal(got->admin_public, k->admin_public, 32);
            struct slot_info info;
            OK(slot_describe(buf_bytes(&b), &info, e));
            assert_true(info.kind == kind && info.role == role);
            assert_string_equal(info.label, "db-1");
            assert_memory_equal(info.sign_public, k->sign_public, 32);
            keyring_free(got), buf_free(&b);
        }
        keyring_free(k);
    }
}

static void a_wrong_secret_says_what_was_tried(void **state) {
    (void)state;
    static const char *const says[] = {
        [SLOT_PASSPHRASE] = "the passphrase that was tried does not open the slot 'db-1' (role admin)",
        [SLOT_KEY_FILE] = "the key file that was tried does not open the slot 'db-1' (role admin)",
        [SLOT_RECIPIENT] = "tried on a slot that is sealed to pkr1"};
    uint8_t other[32] = {0x55};
    struct keyring *k;
    for (enum slot_kind kind = SLOT_PASSPHRASE; kind <= SLOT_RECIPIENT; kind++) {
        struct buf b = sealed(admin, kind);
        struct unlock u = by(kind);
        u.secret = BYTES_OF(other, 32);
        FAILS(ERR_KEY_WRONG, says[kind], slot_open(buf_bytes(&b), &u, &k, e));
        u = by(kind % 3 + 1);
        FAILS(ERR_KEY_WRONG, "tried on a slot that wants a", slot_open(buf_bytes(&b), &u, &k, e));
        buf_free(&b);
    }
}

static void what_cannot_be_a_secret_is_refused(void **state) {
    (void)state;
    struct buf b = sealed(admin, SLOT_KEY_FILE);
    struct keyring *k;
    struct unlock u = {0};
    FAILS(ERR_KEY_NONE, "neither", slot_open(buf_bytes(&b), &u, &k, e));
    u = by(SLOT_KEY_FILE);
    u.secret.len = 31;
    FAILS(ERR_SECRET, "32 bytes of key, not 31", slot_open(buf_bytes(&b), &u, &k, e));
    u = by(SLOT_RECIPIENT);
    u.secret.len = 0;
    FAILS(ERR_SECRET, "32 bytes of key, not 0", slot_open(buf_bytes(&b), &u, &k, e));
    u = by(SLOT_PASSPHRASE);
    u.secret.len = 0;
    FAILS(ERR_SECRET, "passphrase is empty", slot_seal(admin, &u, "", &b, e));
    u = by(SLOT_PASSPHRASE);
    u.argon_mem_bytes = (UINT64_C(1) << 30) + 1024;
    FAILS(ERR_CRYPTO, "outside the limits", slot_seal(admin, &u, "", &b, e));
    char label[66];
    memset(label, 'x', 65);
    label[65] = 0;
    u = by(SLOT_KEY_FILE);
    FAILS(ERR_USAGE, "at most 64 bytes, not 65", slot_seal(admin, &u, label, &b, e));
    FAILS(ERR_USAGE, "control character", slot_seal(admin, &u, "\033[2J", &b, e));
    buf_clear(&b);
    OK(slot_seal(admin, &u, label + 1, &b, e)); /* 64 is fine */
    buf_free(&b);
}

static void no_bit_of_a_slot_can_change(void **state) {
    (void)state;
    for (enum slot_kind kind = SLOT_PASSPHRASE; kind <= SLOT_RECIPIENT; kind++) {
        struct buf b = sealed(admin, kind);
        struct unlock u = by(kind);
        struct keyring *k = NULL;
        for (size_t bit = 0; bit < b.len * 8; bit++) {
            b.ptr[bit / 8] ^= (uint8_t)(1 << bit % 8);
            struct error err = ERROR_INIT;
            int rc = slot_open(buf_bytes(&b), &u, &k, &err);
            if (rc != -ERR_KEY_WRONG && rc != -ERR_OBJECT_CORRUPT)
                fail_msg("kind %d, bit %zu: %d %s", (int)kind, bit, rc, err.text);
            assert_null(k);
            b.ptr[bit / 8] ^= (uint8_t)(1 << bit % 8);
        }
        for (size_t n = 0; n < b.len; n++)
            FAILS(ERR_OBJECT_CORRUPT, "malformed", slot_open(BYTES_OF(b.ptr, n), &u, &k, e));
        OK(slot_open(buf_bytes(&b), &u, &k, e));
        keyring_free(k), buf_free(&b);
    }
}

static void the_right_key_tells_damage_from_a_wrong_key(void **state) {
    (void)state;
    struct buf b = sealed(admin, SLOT_KEY_FILE);
    struct unlock u = by(SLOT_KEY_FILE);
    struct keyring *k;
    b.ptr[b.len - 1] ^= 1;
    FAILS(ERR_OBJECT_CORRUPT, "the key file is the right one, but the slot 'db-1' was altered",
          slot_open(buf_bytes(&b), &u, &k, e));
    b.ptr[b.len - 1] ^= 1;
    b.ptr[64] = 'x';
    FAILS(ERR_OBJECT_CORRUPT, "was altered", slot_open(buf_bytes(&b), &u, &k, e));
    buf_free(&b);
}

static void hostile_parameters_are_not_used(void **state) {
    (void)state;
    struct buf b = sealed(admin, SLOT_PASSPHRASE);
    struct unlock u = by(SLOT_PASSPHRASE);
    struct keyring *k;
    const struct {
        uint64_t ops, mem_bytes;
    } bad[] = {
        {0, 8192},      {17, 8192}, {UINT64_MAX, 8192}, {1, 0}, {1, 8191}, {1, 9000}, {1, (UINT64_C(1) << 30) + 1024},
        {1, UINT64_MAX}};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        put_u64(b.ptr + 192, bad[i].ops);
        put_u64(b.ptr + 200, bad[i].mem_bytes);
        FAILS(ERR_OBJECT_CORRUPT, "outside the limits, and were not used", slot_open(buf_bytes(&b), &u, &k, e));
    }
    buf_free(&b);
}

/* Fail the nth call, and from then on every one, to memory or randomness. */
static int left;
static bool due(void) {
    return --left < 0;
}
static void *alloc_or_not(size_t n) {
    return due() ? (errno = ENOMEM, NULL) : seam_system.alloc(n);
}
static void *realloc_or_not(void *p, size_t n) {
    return due() ? (errno = ENOMEM, NULL) : seam_system.realloc(p, n);
}
static void *mmap_or_not(size_t n, int prot, int flags, int fd, off_t at) {
    return due() ? (errno = ENOMEM, MAP_FAILED) : seam_system.mmap(n, prot, flags, fd, at);
}
static ssize_t random_or_not(void *p, size_t n) {
    return due() ? (errno = EIO, -1) : seam_system.getrandom(p, n);
}

static void every_want_is_reported_and_leaks_nothing(void **state) {
    (void)state;
    struct seam t = seam_system;
    t.alloc = alloc_or_not, t.realloc = realloc_or_not, t.mmap = mmap_or_not, t.getrandom = random_or_not;
    seam_table = &t;
    int failures = 0;
    for (enum slot_kind kind = SLOT_PASSPHRASE; kind <= SLOT_RECIPIENT; kind++) {
        struct unlock u = by(kind);
        for (int n = 0;; n++) {
            struct error err = ERROR_INIT;
            struct buf b = BUF_INIT(4096);
            struct keyring *fresh = NULL, *w = NULL, *got = NULL;
            left = n;
            int rc = keyring_create(admin->repo_id, &fresh, &err);
            if (rc == 0) rc = keyring_derive(fresh, ROLE_RESTORE, &w, &err);
            if (rc == 0) rc = slot_seal(w, &u, "", &b, &err);
            if (rc == 0) rc = slot_open(buf_bytes(&b), &u, &got, &err);
            keyring_free(fresh), keyring_free(w), keyring_free(got), buf_free(&b);
            if (rc == 0) break;
            assert_true(rc == -ERR_NO_MEMORY || rc == -ERR_CRYPTO);
            assert_true(err.text[0] != 0);
            failures++;
        }
    }
    seam_table = &seam_system;
    assert_true(failures > 60);
}

static int setup(void **state) {
    if (init_crypto(state) != 0) return -1;
    const uint8_t repo_id[16] = "a repository id";
    struct error err = ERROR_INIT;
    memset(file_key, 0x11, 32);
    memset(identity, 0x22, 32);
    return box_public(BYTES_OF(identity, 32), recipient, &err) < 0 ? -1 : keyring_create(repo_id, &admin, &err);
}

static int teardown(void **state) {
    (void)state;
    keyring_free(admin);
    return 0;
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_role_comes_back_from_every_kind),
        cmocka_unit_test(a_wrong_secret_says_what_was_tried),
        cmocka_unit_test(what_cannot_be_a_secret_is_refused),
        cmocka_unit_test(no_bit_of_a_slot_can_change),
        cmocka_unit_test(the_right_key_tells_damage_from_a_wrong_key),
        cmocka_unit_test(hostile_parameters_are_not_used),
        cmocka_unit_test(every_want_is_reported_and_leaks_nothing),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
