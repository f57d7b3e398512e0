/* What every unit test includes: cmocka with what it needs before it, and claims about our errors. */
#ifndef PK_TEST_HARNESS_CLAIMS_H
#define PK_TEST_HARNESS_CLAIMS_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/error.h"
#include <stdio.h>
#include <string.h>

/* The call succeeds; else its error is shown. `err` is the record that it was given. */
#define claim_ok(call, err)                                                                                            \
    do {                                                                                                               \
        int claim_rc = (call);                                                                                         \
        if (claim_rc) fail_msg("%s: %s: %s", #call, error_info(claim_rc)->code, (err).text);                           \
        assert_int_equal((err).code, ERR_NONE);                                                                        \
    } while (0)

/* The call fails with this code, and its text contains this. The record is cleared for the next claim. */
#define claim_fails(call, err, want, part)                                                                             \
    do {                                                                                                               \
        int claim_rc = (call);                                                                                         \
        if (claim_rc != -(int)(want) || (err).code != (want))                                                          \
            fail_msg("%s: got %s, wanted %s: %s", #call, claim_rc ? error_info(claim_rc)->name : "success",            \
                     error_info(want)->name, (err).text);                                                              \
        if (!strstr((err).text, part)) fail_msg("%s: '%s' does not contain '%s'", #call, (err).text, part);            \
        error_clear(&(err));                                                                                           \
    } while (0)

#endif
