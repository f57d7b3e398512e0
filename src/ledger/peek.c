#include "ledger/ledger_internal.h"

#include "base/seam.h"

#define PEEK_BYTES (LEDGER_ENTRY_MAX_BYTES + 1) /* one that has them all is too long, and is left to the usual way */

void ledger_peeks_drop(struct ledger *l) {
    l->peeks.count = 0;
}

void ledger_peek(struct ledger *l, uint64_t from, unsigned n) {
    struct peeks *p = &l->peeks;
    struct store_get get[PEEKS_MAX];
    char keys[PEEKS_MAX][ENTRY_KEY_BYTES];
    ledger_peeks_drop(l);
    if (n == 0 || !store_reads_many(l->store)) return;
    if (n > PEEKS_MAX) n = PEEKS_MAX;
    if (!p->mem && !(p->mem = seam_alloc((size_t)PEEKS_MAX * PEEK_BYTES))) return;
    for (unsigned i = 0; i < n; i++) {
        entry_key(from + i, keys[i]);
        get[i] = (struct store_get){.key = keys[i], .p = p->mem + (size_t)i * PEEK_BYTES, .len = PEEK_BYTES};
    }
    store_get_many(l->store, get, n);
    p->from = from;
    for (; p->count < n; p->count++) {
        const struct store_get *g = &get[p->count];
        const bool missing = g->err.code == ERR_OBJECT_MISSING;
        if ((g->err.code && !missing) || (!missing && g->n == PEEK_BYTES)) break;
        p->at[p->count].used = false;
        p->at[p->count].found = !missing;
        p->at[p->count].len = g->n;
        p->at[p->count].stored_ns = g->created_ns;
    }
}

bool ledger_peek_has(const struct ledger *l, uint64_t seq) {
    const struct peeks *p = &l->peeks;
    return seq >= p->from && seq - p->from < p->count && !p->at[seq - p->from].used;
}

bool ledger_peeked(struct ledger *l, uint64_t seq, bool *ret_found, struct bytes *ret, int64_t *ret_stored_ns) {
    struct peeks *p = &l->peeks;
    if (!ledger_peek_has(l, seq)) return false;
    const unsigned i = (unsigned)(seq - p->from);
    p->at[i].used = true;
    *ret_found = p->at[i].found;
    *ret = p->at[i].found ? BYTES_OF(p->mem + (size_t)i * PEEK_BYTES, p->at[i].len) : BYTES_OF(NULL, 0);
    *ret_stored_ns = p->at[i].found ? p->at[i].stored_ns : 0;
    if (!p->at[i].found) p->count = i; /* what lies behind a gap is looked at anew */
    return true;
}
