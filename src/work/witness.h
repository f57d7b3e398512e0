/* A witness on a host that holds no key of any repository: its folder, its key, and one look at the log after the
 * other.
 *
 * The folder (0700) holds: `witness.json` (what it watches), `witness.key` (its secret), `cosigned` (the newest
 * checkpoint that it vouched for, with its signature), what ledger/cache.h remembers of the entries, and `evidence/`. A
 * lock on the folder keeps two runs apart. What is vouched for is durable in `cosigned` before anybody is given the
 * signature. */
#ifndef PK_WORK_WITNESS_H
#define PK_WORK_WITNESS_H

#include "repo/witness.h"

#define WITNESS_PREFIX "witness/"
#define WITNESS_KEY_BYTES 128

struct witness_setup {
    const char *dir;     /* its folder */
    const char *url;     /* of the repository or of an export of its log; read access is enough */
    const char *log_key; /* the log's verifier key */
    const char *name;    /* of the witness's own key; NULL: "witness/" and the host's name */
};
/* Make the folder and a key in it. ERR_IO_EXISTS when it is a witness's already, or has other things in it; ERR_USAGE
 * for a log key that is none. ret has the verifier key that repositories are given; appended. */
int witness_init(const struct witness_setup *s, struct buf *ret_verifier, struct error *err) PK_CHECK;

struct witness;
/* ERR_IO_NOT_FOUND when the folder is not a witness's, ERR_REPO_BUSY when another run has it. `url` NULL: that of
 * witness_init. */
int witness_open(const char *dir, const char *url, struct witness **ret, struct error *err) PK_CHECK;
void witness_close(struct witness *w); /* NULL is fine */
const struct note_key *witness_key(const struct witness *w);
const char *witness_url(const struct witness *w);

struct witnessed {
    struct buf note; /* the cosigned checkpoint; owned: buf_free */
    uint64_t former, size, entries, objects;
    struct digest root;
    int64_t time_s;
    char signer[65];     /* of the checkpoint */
    char evidence[4200]; /* where it was put when the look failed for the log's fault; "" otherwise */
};
/* One look; errors as witness_log_look has them. `whole`: at every tile. */
int witness_look(struct witness *w, bool whole, struct witnessed *ret, struct error *err) PK_CHECK;
/* Store the cosigned checkpoint in the place `url` (NULL: the repository itself), as a new object. */
int witness_publish(struct witness *w, const char *url, const struct witnessed *v, struct error *err) PK_CHECK;

/* "witness/<public key>/<size>-<time>"; out has WITNESS_KEY_BYTES. */
void witness_object(const uint8_t pub[SIGN_PUBLIC_BYTES], uint64_t size, int64_t time_s, char *out);

#endif
