/* The secrets that a run was told, so that they can be taken out of what it says. Any thread may use them. */
#ifndef PK_WORK_KNOWN_SECRETS_H
#define PK_WORK_KNOWN_SECRETS_H

#include "crypto/crypto.h"
#include "evidence/redact.h"
#include <pthread.h>

#define KNOWN_SECRETS_MAX 256 /* a TLS key has some 30 to 50 lines */

struct known_secrets { /* zeroed to begin */
    struct secret *list[KNOWN_SECRETS_MAX];
    struct bytes bytes[KNOWN_SECRETS_MAX];
    size_t count;
    pthread_mutex_t *lock; /* made with the first */
};
int known_secrets_begin(struct known_secrets *k, struct error *err) PK_CHECK;
/* Copies it, without white space at its ends and each of its lines when it has several. Those under 4 bytes are passed over:
 * taking "a" out of every message would say more about it than leaving it. ERR_SECRET beyond KNOWN_SECRETS_MAX. */
int known_secrets_add(struct known_secrets *k, struct bytes s, struct error *err) PK_CHECK;
/* What evidence's builders take; borrowed until the next addition. */
struct redaction known_secrets_redaction(struct known_secrets *k);
/* The text without them; all of it is left out when there is no memory to clean it. */
void known_secrets_clean(struct known_secrets *k, const char *text, char *out, size_t n);
/* The same for the texts of an error; answers rc, for "rc = known_secrets_error(k, call(…), err)". */
int known_secrets_error(struct known_secrets *k, int rc, struct error *err);
void known_secrets_free(struct known_secrets *k);

#endif
