/* What the tests of crypto/ share. */
#ifndef PK_TEST_CRYPTO_TEST_H
#define PK_TEST_CRYPTO_TEST_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#include "base/seam.h"
#include "crypto/crypto.h"

#define OK(call)                                                                                                       \
    do {                                                                                                               \
        struct error err_ = ERROR_INIT, *e = &err_;                                                                    \
        if ((call) != 0) fail_msg("%s: %s", #call, err_.text);                                                         \
    } while (0)

/* The call fails with this code, and the text says this. */
#define FAILS(want, says, call)                                                                                        \
    do {                                                                                                               \
        struct error err_ = ERROR_INIT, *e = &err_;                                                                    \
        assert_int_equal((call), -(want));                                                                             \
        assert_int_equal(err_.code, (want));                                                                           \
        if (strstr(err_.text, (says)) == NULL) fail_msg("'%s' does not say '%s'", err_.text, (says));                  \
    } while (0)

/* Bytes of a hex string; the caller frees. */
static inline struct bytes hex(const char *s) {
    size_t n = strlen(s) / 2;
    uint8_t *p = malloc(n + 1);
    assert_true(p != NULL && hex_decode(s, strlen(s), p, n));
    return BYTES_OF(p, n);
}
static inline void unhex(struct bytes b) {
    free((void *)(uintptr_t)b.ptr);
}

static inline void is_hex(const void *p, size_t n, const char *want) {
    char *got = malloc(2 * n + 1);
    assert_non_null(got);
    hex_encode(p, n, got);
    assert_string_equal(got, want);
    free(got);
}

static inline int init_crypto(void **state) {
    (void)state;
    struct error err = ERROR_INIT;
    return crypto_init(&err);
}

#endif
