/* What the witnesses of a repository's log, as the configuration names them, say of it. */
#ifndef PK_WORK_WITNESSES_H
#define PK_WORK_WITNESSES_H

#include "ledger/cosign.h"
#include "work/context.h"

#define WITNESS_SILENT_AFTER_NS (48 * 3600 * INT64_C(1000000000))

struct witness_word { /* the newest that one of them said */
    struct note_key key;
    uint64_t size;  /* 0: nothing was found */
    int64_t time_s; /* its own clock */
    struct buf note;
};
struct work_witnesses {
    struct witness_word *each;
    size_t count, found;
    unsigned quorum; /* how many must be heard; 0: none need be */
    int64_t silent_after_ns;
    int64_t last_s;    /* when as many as the quorum wants (at least one) had last vouched; 0: never */
    bool silent;       /* that is longer ago than silent_after */
    char refused[300]; /* about objects that are not what they should be; "" when there were none */
};
/* Hold the log of the repository that is open against what its witnesses have vouched for. NULL, and 0, when none are
 * configured for its URL. ERR_LEDGER_ROLLBACK when the log is shorter than, or differs from, what one of them cosigned;
 * ERR_LEDGER_WITNESS when fewer than the quorum were heard at all. */
int witnesses_ask(struct work *w, struct work_witnesses **ret, struct error *err) PK_CHECK;
void witnesses_free(struct work_witnesses *s); /* NULL is fine */
/* "2 of 3 witnesses vouch for it, last 5 m ago" or what is wrong; out has at least 200 bytes. */
void witnesses_sentence(const struct work_witnesses *s, int64_t now_ns, char out[200]);

#endif
