/* The ladder of verification, and what a verification found. Each rung includes those below it:
 *   present   every object is there and has its size
 *   checksum  every object's bytes have the digest in its name
 *   decode    every chunk opens, decodes and has its id
 *   spot      a sample was restored and compared
 *   full      everything was restored into a scratch place and compared
 *   rebuild   a runtime store was rebuilt from restored artifacts and compared
 */
#ifndef PK_EVIDENCE_LEVELS_H
#define PK_EVIDENCE_LEVELS_H

#include "repo/maintain.h"

const char *level_name(enum verify_level l); /* "none" for VERIFY_NONE */
/* What receipts call it: "checksum", "spot_restore" or "full_restore_test". NULL for none and present, which validate
 * nothing. */
const char *level_method(enum verify_level l);

/* What a verification that ran found. Only VERIFIED is success; a zeroed result says that nothing was checked. */
struct verification_result {
    enum check_result result;
    enum verify_level level; /* the rung that was asked for */
    int64_t started_ns, completed_ns;
    uint64_t items, bytes; /* what was checked */
    uint64_t findings;     /* damaged or differing things */
    uint64_t warnings;     /* remarks that harm nothing, e.g. damaged padding */
};
/* "NOT_CHECKED", "VERIFIED", "MISSING", "CORRUPT", "UNREADABLE": as written in statements, forever. */
const char *verification_word(enum check_result r);
/* in-toto's test-result words. VERIFIED is "PASSED", or "WARNED" when there were warnings; everything else, NOT_CHECKED
 * included, is "FAILED": unknown means no. */
const char *verification_outcome(const struct verification_result *v);
/* Whether a receipt may say `validated`: VERIFIED, without findings, at a rung that has a method. */
bool verification_validates(const struct verification_result *v);

#endif
