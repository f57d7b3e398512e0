/* The state in its canonical form, and what the repository does with summaries of its log. Who may sign one, and why it may
 * be believed, stands in ledger/ledger.h; the form in doc/format/log.md. Inside src/repo only, and for its tests. */
#ifndef PK_REPO_STATE_SUMMARY_H
#define PK_REPO_STATE_SUMMARY_H

#include "ledger/summary.h"
#include "repo/repo_internal.h"

/* Changes whenever the fold of the log does: a reader that folds otherwise must not begin at such a summary. */
#define STATE_VERSION 8
/* While no epoch has begun, no WAL was registered, there is no set and nothing was copied or stored as a fallback: the
 * same without what tells of that. */
#define STATE_VERSION_PLAIN 3
/* As STATE_VERSION, with an entry read/v1 that counts for nothing: to readers from before that word it does not. */
#define STATE_VERSION_READ 9
/* As STATE_VERSION, such entries counted, with snapshots that were taken before a restore. */
#define STATE_VERSION_BEFORE 10

/* The same state gives the same bytes, whoever writes it (json_write sorts members). */
int state_write(const struct state *s, json_t **ret, struct error *err) PK_CHECK;
/* The state of the first `size` entries. stored_ns (may be NULL) has the store's clock for each. ERR_LEDGER_BROKEN for
 * whatever state_write would not have written, and for a state that does not begin with this admin key. */
int state_read(const json_t *doc, uint64_t size, const int64_t *stored_ns, const uint8_t admin[SIGN_PUBLIC_BYTES],
               struct state *ret, struct error *err) PK_CHECK;

/* Let the ledger of this repository begin at summaries. Before its first sync. */
void state_start_from_summaries(struct repo *r);
/* Sum up the log to the end of its newest full bundle, where nobody did yet. Does nothing without an admin key, nor for a
 * state above SUMMARY_STATE_MAX_BYTES. Older summaries but one are removed. */
int state_publish(struct repo *r, struct error *err) PK_CHECK;

/* Sum up again at a size at which there is a summary that nobody can believe. ERR_LEDGER_BROKEN for one that a key signed and that
 * says otherwise than the entries: that is no damage, and stays as evidence. Admin only. */
int state_mend_summary(struct repo *r, uint64_t size, struct error *err) PK_CHECK;

/* Holding summaries and bundles against a whole reading of the log, as `verify` does: the ledger is opened with
 * summaries_judge and the struct as its ctx, synced, and then asked. */
struct summaries_check {
    struct repo fold; /* keys, id and a state of its own */
    struct {
        uint64_t size;
        struct digest state; /* of the canonical bytes */
        bool reached;
    } * at;
    size_t count;
    struct digest *leaves; /* of every entry */
    size_t leaf_count, leaf_cap;
};
typedef int (*summaries_found)(void *ctx, const char *object, int code, const char *text, struct error *err);
int summaries_check_begin(struct repo *r, struct summaries_check *ret, struct error *err) PK_CHECK;
int summaries_judge(void *ctx, const struct ledger_entry *e, struct error *err) PK_CHECK;
/* Tell of every summary and bundle that is not what the entries give, and of a state of `r` that is not. *ret_objects
 * counts what was looked at. */
int summaries_check_end(struct summaries_check *c, const struct repo *r, struct ledger *l, uint64_t *ret_objects, summaries_found found,
                        void *ctx, struct error *err) PK_CHECK;
/* Of the summaries alone. */
int summaries_check_summaries(struct summaries_check *c, struct ledger *l, uint64_t *ret_objects, summaries_found found, void *ctx,
                              struct error *err) PK_CHECK;
void summaries_check_free(struct summaries_check *c);

#endif
