#include "crypto_test.h"
#include <errno.h>
#include <sys/mman.h>
#include <sys/prctl.h>

static void a_secret_keeps_a_copy(void **state) {
    (void)state;
    uint8_t from[5] = "four";
    struct secret *s;
    OK(secret_new(BYTES_OF(from, 5), &s, e));
    wipe(from, sizeof from);
    assert_int_equal(from[0], 0);
    assert_int_equal(secret_bytes(s).len, 5);
    assert_memory_equal(secret_bytes(s).ptr, "four", 5);
    secret_freep(&s);
    assert_null(s);
    secret_free(NULL);
}

static void random_secrets_differ(void **state) {
    (void)state;
    struct secret *a, *b;
    OK(secret_random(32, &a, e));
    OK(secret_random(32, &b, e));
    assert_false(bytes_equal(secret_bytes(a), secret_bytes(b)));
    secret_free(a);
    secret_free(b);
}

static void sizes_have_limits(void **state) {
    (void)state;
    struct secret *s;
    OK(secret_random(4096, &s, e));
    secret_free(s);
    FAILS(ERR_SECRET, "4097 bytes", secret_random(4097, &s, e));
    FAILS(ERR_SECRET, "0 bytes", secret_new(BYTES_OF("", 0), &s, e));
}

static void the_process_leaves_no_core(void **state) {
    (void)state;
    assert_int_equal(prctl(PR_GET_DUMPABLE), 0);
}

static size_t seen_n;
static const uint8_t *seen;
static bool all_zero;
static int watch_munmap(void *p, size_t n) {
    seen = p;
    seen_n = n;
    all_zero = true;
    for (size_t i = 0; i < n; i++) all_zero = all_zero && seen[i] == 0;
    return seam_system.munmap(p, n);
}

static void freeing_wipes(void **state) {
    (void)state;
    struct seam t = seam_system;
    t.munmap = watch_munmap;
    seam_table = &t;
    struct secret *s;
    OK(secret_random(64, &s, e));
    secret_free(s);
    seam_table = &seam_system;
    assert_int_equal(seen_n, 4096);
    assert_true(all_zero);
}

static void *no_mmap(size_t n, int prot, int flags, int fd, off_t at) {
    (void)n, (void)prot, (void)flags, (void)fd, (void)at;
    errno = ENOMEM;
    return MAP_FAILED;
}
static ssize_t no_random(void *p, size_t n) {
    (void)p, (void)n;
    errno = ENOSYS;
    return -1;
}
static ssize_t stingy_random(void *p, size_t n) {
    return seam_system.getrandom(p, n < 3 ? n : 3);
}

static void want_of_memory_and_randomness_is_reported(void **state) {
    (void)state;
    struct secret *s;
    struct seam t = seam_system;
    seam_table = &t;
    t.mmap = no_mmap;
    FAILS(ERR_NO_MEMORY, "memory for a secret", secret_random(32, &s, e));
    t = seam_system;
    t.getrandom = no_random;
    FAILS(ERR_CRYPTO, "no random bytes", secret_random(32, &s, e));
    t.getrandom = stingy_random;
    uint8_t r[64] = {0}, zero[8] = {0};
    OK(random_bytes(r, sizeof r, e));
    for (size_t i = 0; i < sizeof r; i += 8) assert_memory_not_equal(r + i, zero, 8);
    seam_table = &seam_system;
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_secret_keeps_a_copy), cmocka_unit_test(random_secrets_differ),
        cmocka_unit_test(sizes_have_limits),     cmocka_unit_test(the_process_leaves_no_core),
        cmocka_unit_test(freeing_wipes),         cmocka_unit_test(want_of_memory_and_randomness_is_reported),
    };
    return cmocka_run_group_tests(tests, init_crypto, NULL);
}
