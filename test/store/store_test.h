/* What the tests of store/ share. */
#ifndef PK_TEST_STORE_TEST_H
#define PK_TEST_STORE_TEST_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#include "base/seam.h"
#include "store/store.h"

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

/* Bytes that differ from place to place and from seed to seed. */
static inline void fill(uint8_t *p, size_t n, uint64_t seed) {
    uint64_t x = seed * 0x9e3779b97f4a7c15u + 1;
    for (size_t i = 0; i < n; i++) {
        x ^= x << 13, x ^= x >> 7, x ^= x << 17;
        p[i] = (uint8_t)(x >> 32);
    }
}

static inline struct bytes text(const char *s) {
    return BYTES_STR(s);
}

/* A fresh handle on the same store each time, which is empty when a program starts. */
typedef int (*store_opener)(void *ctx, struct store **ret, struct error *err);
/* Holds a driver to store.h and to the promises it makes. Returns the number of claims that did not hold. */
int conformance_run(store_opener open, void *ctx);

#endif
