#include "work/store_check.h"

int store_facts_required(const struct store_facts *f, struct error *err) {
    static const char *const lost[] = {
        "a name that is taken is given again: of two backups that end at once one would be lost unseen",
        "what was written is not read back at once: a backup would not see the one before it",
        "what was written is not listed at once: a backup would not see the one before it",
    };
    const enum store_fact needed[] = {f->conditional_create, f->read_after_write, f->list_after_write};
    for (size_t i = 0; i < sizeof needed / sizeof *needed; i++) {
        if (needed[i] == STORE_FACT_YES) continue;
        if (needed[i] == STORE_FACT_NO) return error_set(err, ERR_STORE_PROMISE, "%s", lost[i]);
        return error_set(err, ERR_STORE_PROMISE, "whether it keeps what a repository needs could not be found out: %s",
                         f->why[0] ? f->why : "no reason was given");
    }
    return 0;
}

struct sentence {
    enum store_fact fact;
    const char *yes, *no, *next; /* NULL: nothing is said */
    enum store_risk yes_risk;
};

bool store_facts_sentence(const struct store_facts *f, unsigned i, enum store_risk *ret, const char **ret_text,
                          const char **ret_next) {
    const bool lock = f->lock_enabled == STORE_FACT_YES;
    const struct sentence all[] = {
        {f->conditional_parts, NULL, "a taken name is given again to an object that is stored in parts; packs are not",
         "Nothing need be done; the log and the packs go in one piece.", STORE_RISK_NONE},
        {f->conditional_replace, NULL,
         "no object is replaced on the condition that it is the one that was read: of two jobs that end at once the "
         "slower one can put an older checkpoint of the log in place of a newer one",
         "No backup is lost: the log itself does not stand on it, and the next job puts the newest there. Witnesses and "
         "whoever else goes by the published checkpoint may see it go back until then.",
         STORE_RISK_NONE},
        {f->delete_refused, "these credentials cannot remove an object",
         "these credentials can remove objects: who steals them can remove backups",
         "Give hosts that only back up a credential without delete; keep versions, or object lock.", STORE_RISK_TOLD},
        {f->versioned, "what is removed or replaced stays as a version",
         "no versions are kept: what is removed is gone", "Turn versioning on in the bucket.", STORE_RISK_TOLD},
        {f->lock_enabled, "object lock is on",
         "object lock is off: whoever has the bucket's admin credential can destroy every backup",
         "Make the bucket anew with object lock; it cannot be turned on everywhere later.", STORE_RISK_TOLD},
        {lock ? f->lock_enforced : STORE_FACT_NONE, "what is retained cannot be erased",
         "object lock is on, and yet what is retained was erased", "Do not rely on this store's lock.",
         STORE_RISK_TOLD},
    };
    if (i >= sizeof all / sizeof *all) return false;
    const struct sentence *s = &all[i];
    *ret_text = s->fact == STORE_FACT_YES ? s->yes : s->fact == STORE_FACT_NO ? s->no : NULL;
    *ret_next = s->fact == STORE_FACT_NO ? s->next : NULL;
    *ret = !*ret_text ? STORE_RISK_NONE : s->fact == STORE_FACT_NO ? STORE_RISK_WARNED : s->yes_risk;
    return true;
}
