/* The log as people read it: every entry with who signed it and whether it counts; and the whole of it held against all
 * that is derived from it. */
#ifndef PK_REPO_LOG_VIEW_H
#define PK_REPO_LOG_VIEW_H

#include "ledger/cosign.h"
#include "repo/repo.h"

/* One entry, borrowed for the call. */
struct log_entry_view {
    uint64_t seq;
    int64_t time_ns;     /* the signer's claim */
    const char *type;    /* "backup-receipt/v1", or a whole URI that is not ours */
    const char *subject; /* its first subject; "" when it has no name */
    struct digest subject_digest, entry;
    uint8_t signer[SIGN_PUBLIC_BYTES];
    const struct key_info *key; /* as the entries below say; NULL: unknown to them */
    const char *void_why;       /* NULL when it counts */
    const json_t *statement;
    struct bytes envelope;
};
typedef int (*log_entry_view_cb)(void *ctx, const struct log_entry_view *e, struct error *err); /* non-zero stops */
/* All entries that `r` has seen, in order, judged from entry 0 on. */
int repo_log_each(struct repo *r, log_entry_view_cb cb, void *ctx, struct error *err) PK_CHECK;

/* The verifier key that others are given of a key of the log. */
int repo_verifier(const struct repo *r, const uint8_t pub[SIGN_PUBLIC_BYTES], struct note_key *ret,
                  struct error *err) PK_CHECK;
/* Which key of the log signed a checkpoint; one in force before a removed one. NULL when none did. */
int repo_checkpoint_signer(const struct repo *r, const struct checkpoint_parts *p, const struct key_info **ret,
                           struct error *err) PK_CHECK;

struct log_audit {
    uint64_t entries, voids, objects, problems;
    struct digest root;
    uint64_t checkpoint_size; /* 0: none is published */
    const struct key_info *checkpoint_signer;
    uint64_t pinned; /* entries that this run had seen before it began */
};
typedef int (*log_audit_found)(void *ctx, const char *object, int code, const char *text, struct error *err);
/* Read the log anew from entry 0, from no cache and no summary, and recompute from it tiles, bundles, summaries and the
 * checkpoint's root. `found` is told of each object that differs, and why. Negative when the log itself is broken,
 * forked or shorter than `r` has seen it, or could not be read. */
int repo_log_audit(struct repo *r, log_audit_found found, void *ctx, struct log_audit *ret, struct error *err) PK_CHECK;

#endif
