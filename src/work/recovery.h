/* The recovery kit: a key on paper that opens a repository when every host is lost. Making it, opening with it, and the
 * drill that shows that it still does. */
#ifndef PK_WORK_RECOVERY_H
#define PK_WORK_RECOVERY_H

#include "crypto/kit.h"
#include "work/context.h"

struct kit_request {
    enum key_role role;    /* ROLE_ADMIN or ROLE_RESTORE; ERR_USAGE for others */
    const char *out;       /* a new file, mode 0600; NULL: the caller prints kit_made.text */
    int out_fd;            /* where the caller will print it (`out` is NULL): looked at only */
    bool allow_same_disk;  /* the kit may lie on the repository's own file system, for a moment */
};
struct kit_made {
    struct secret *text;   /* the kit as it is printed, 80 columns */
    char id[65];           /* of the signing key */
    char slot[96];         /* the object that the kit opens */
    char word[KIT_WORD_BYTES], made_at[32];
};
/* Let a new key on paper open the open repository: a slot of its own, so that it can be taken away alone, and a copy of
 * that slot in the kit, for when the store has lost it. ERR_POLICY for a place inside of the repository, and without
 * allow_same_disk for one on its file system; nothing was changed then. ERR_KEY_ROLE without an admin key. */
int recovery_kit_make(struct work *w, const struct kit_request *q, struct kit_made *ret, struct error *err) PK_CHECK;
void recovery_kit_free(struct kit_made *k); /* wipes the text */

/* The kit of work_options.recovery_kit, read once ("-" is standard input): ret borrows from w->kit. */
int recovery_kit_unlock(struct work *w, struct unlock *ret, struct error *err) PK_CHECK;

struct recovery_test {
    enum key_role role;
    char key[65], point[SNAPSHOT_ID_MAX], label[260];
    uint64_t decoded_bytes, seq; /* seq: of the entry that records the drill */
    bool slot_stored; /* false: the store has lost the slot, and the kit's own copy opened it */
    bool has_slot, has_word; /* what was typed of the kit */
    int64_t previous_ns;     /* the drill before; 0: none */
};
/* Prove that the kit which opened the open repository (work_options.recovery_kit) still recovers: decode of the newest
 * point as much as one chunk, and record it in the log. ERR_KEY_NONE when something else opened the repository,
 * ERR_UNVERIFIABLE when there is nothing to decode. */
int recovery_test(struct work *w, struct recovery_test *ret, struct error *err) PK_CHECK;

#define RECOVERY_DRILL_DUE_NS (INT64_C(180) * 24 * 3600 * 1000000000) /* older than this, doctor warns */

#endif
