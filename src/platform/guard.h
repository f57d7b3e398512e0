/* Guards: rules that refuse, whoever asks. They know names and policy, not how anything is done, and hold in the
 * program that acts, never only in a front end. */
#ifndef PK_PLATFORM_GUARD_H
#define PK_PLATFORM_GUARD_H

#include "platform/config.h"

enum guard_act { GUARD_RESTORE, GUARD_PRUNE };
#define GUARD_PHRASE_BYTES 512

/* The phrase to type: "restore <env>/<surfaces> to <point>" or "prune <env>/<surfaces>". `surfaces` is one name or
 * several joined by commas; `point` is a time or a backup id as the plan resolved it, never the word "latest"
 * (ERR_USAGE: what it means may change between reading and typing); NULL for GUARD_PRUNE. ERR_USAGE too when it would
 * not fit. */
int guard_phrase(enum guard_act act, const char *environment, const char *surfaces, const char *point,
                 char out[GUARD_PHRASE_BYTES], struct error *err) PK_CHECK;

/* 0 when the environment is not protected, or when `typed` is the phrase, byte for byte. Else ERR_CONFIRM, which names
 * the phrase. `typed` may be NULL. */
int guard_confirm(const struct config_environment *e, enum guard_act act, const char *surfaces, const char *point,
                  const char *typed, struct error *err) PK_CHECK;

/* Whether data of environment `from` may enter `to`: the same environment always; another only where to's accepts_from
 * names it; and data of a protected environment enters "dev" only sanitised, whatever accepts_from says. ERR_CROSS_ENV
 * says which rule refused. `from` may name an environment that the configuration does not have (an old snapshot's). */
int guard_cross(const struct config *c, const char *from, const struct config_environment *to, bool sanitised,
                struct error *err) PK_CHECK;

#endif
