/* The entry of a collection. It is made for the log that was marked. When others were first, what they appended is
 * looked at, and the entry comes behind them if nothing of theirs needs what goes; else it is ERR_REPO_COMMIT_LOST, and
 * the caller marks anew.
 *
 * Invariants, from the entry on
 *  1. The list of a live snapshot names a pack that goes only if others take its place, and if each chunk of the
 * snapshot that lies in such a pack is in one of those.
 *  2. No live run names a pack that goes, as a writer that reads the log from here on looks up nothing else.
 *  3. What is swept is no live run, no keys of an epoch, and no list, part of a list or envelope of a live snapshot.
 * That nothing appended later breaks them is for its writer to see to (writer.c, commit_build). What else comes in
 * between, as a hold or something forgotten, needs nothing.
 */
#include "repo/packlist.h"

/* ---- what came in between ---- */

static int lost(struct error *err) {
    return error_set(err, ERR_REPO_COMMIT_LOST, "the log moved on while a collection was marking");
}

static size_t lists_named(const struct state *s) {
    size_t n = 0;
    for (size_t i = 0; i < s->delete_count; i++)
        n += (size_t)s->deletes[i].has_packs + s->deletes[i].has_replacement + s->deletes[i].has_swept;
    return n;
}

int marked_begin(struct repo *r, struct marked *ret, struct error *err) {
    const struct state *s = &r->state;
    int rc = 0;
    *ret = (struct marked){
        .at = ledger_size(r->ledger), .deletes = s->delete_count, .lists = lists_named(s), .epochs = s->epoch_count};
    for (size_t i = 0; i < s->run_count && rc == 0; i++) rc = digests_add(&ret->runs, &s->runs[i], err);
    ret->runs.n = digest_sort_unique(ret->runs.d, ret->runs.n);
    return rc;
}

struct look {
    struct repo *r;
    const struct marked *m;
    const struct digests *added;
    struct index moved; /* runs over what takes the place of packs that go; loaded when asked for */
    bool named;
};

static int name_look(void *ctx, const struct digest *d, struct error *err) {
    struct look *l = ctx;
    (void)err;
    l->named |= digest_in(l->m->packs->d, l->m->packs->n, d);
    return 0;
}

/* Any copy in a pack that goes will do to ask for one that was moved, which is never a delta; so nobody need tell which
 * copy would be read. */
static int chunk_look(void *ctx, const uint8_t *id, struct error *err) {
    struct look *l = ctx;
    struct copies at = {0};
    struct location c, there;
    bool found = false;
    while (index_copy(&l->r->index, id, &at, &c)) {
        struct digest pack;
        found = true;
        if (!index_pack(&l->r->index, &c, &pack, NULL, NULL)) return lost(err);
        if (digest_in(l->m->packs->d, l->m->packs->n, &pack))
            return index_find_plain(&l->moved, id, &there) ? 0 : lost(err);
    }
    return found ? 0 : lost(err);
}

static int snapshot_look(struct look *l, const struct snapshot_info *s, struct error *err) {
    const struct digests *swept = l->m->swept;
    struct packlist list;
    int rc = packlist_open(l->r, &s->packs, &list, err);
    if (rc < 0) return rc;
    bool gone =
        digest_in(swept->d, swept->n, &s->packs) || (s->is_copy && digest_in(swept->d, swept->n, &s->source.kept));
    for (size_t i = 0; i < list.part_count; i++) gone |= digest_in(swept->d, swept->n, &list.parts[i].name);
    packlist_close(&list);
    if (gone) return lost(err);
    l->named = false;
    rc = packlist_each(l->r, &s->packs, name_look, l, err);
    if (rc < 0 || !l->named) return rc;
    if (!l->m->moves) return lost(err);
    for (size_t i = 0; i < l->m->moved && rc == 0; i++) rc = index_add(l->r, &l->moved, &l->added->d[i], err);
    if (rc == 0) rc = snapshot_chunk_ids(l->r, s, chunk_look, l, err);
    return rc < 0 ? rc : repo_index_whole(l->r, err); /* else there may be copies that were not seen */
}

static bool among(const struct digest *d, size_t n, const struct digest *name) {
    for (size_t i = 0; i < n; i++)
        if (digest_equal(&d[i], name)) return true;
    return false;
}

/* What runs were merged into meanwhile names what they named; so does what a writer merged that had not seen an earlier
 * merge. */
static int runs_again(struct repo *r, const struct marked *m, struct digests *added, struct digests *removed,
                      struct error *err) {
    bool again = false;
    int rc = 0;
    for (size_t i = 0; i < r->index.count && !again && rc == 0; i++)
        if (!digest_in(m->runs.d, m->runs.n, &r->index.names[i])) rc = run_names(r, i, m->packs, &again, err);
    if (rc < 0 || !again) return rc;
    added->n = m->moved;
    removed->n = 0;
    rc = runs_without(r, m->packs, added, removed, err);
    return rc < 0 ? rc : store_commit(r->store, err);
}

/* The log has `seq` entries now, which the state has all. */
static int overtaken(struct repo *r, uint64_t seq, struct marked *m, struct digests *added, struct digests *removed,
                     struct error *err) {
    const struct state *s = &r->state;
    struct look l = {.r = r, .m = m, .added = added};
    struct error e = ERROR_INIT;
    if (s->delete_count != m->deletes || lists_named(s) != m->lists || s->epoch_count != m->epochs) return lost(err);
    int rc = index_follow(r, &r->index, &e);
    r->index_behind |= rc < 0;
    if (rc == 0) rc = runs_again(r, m, added, removed, &e);
    for (size_t i = 0; i < s->run_count && rc == 0; i++) /* what the entry takes out is swept as well */
        if (digest_in(m->swept->d, m->swept->n, &s->runs[i]) && !among(removed->d, removed->n, &s->runs[i]))
            rc = lost(&e);
    for (size_t i = 0; i < s->snapshot_count && rc == 0; i++)
        if (s->snapshots[i].packs_seq >= m->at && !s->snapshots[i].forgotten)
            rc = snapshot_look(&l, &s->snapshots[i], &e);
    index_free(&l.moved);
    if (is_damage(rc)) return lost(err); /* removed by entries that come yet, or truly damaged: marking will tell */
    if (rc < 0) *err = e;
    if (rc == 0) m->at = seq;
    return rc;
}

/* ---- the entry ---- */

struct build_at {
    uint64_t at;
    json_t *statement;
};

static int build_at(void *ctx, uint64_t seq, json_t **ret, struct error *err) {
    struct build_at *b = ctx;
    if (seq != b->at) return lost(err);
    *ret = json_copy_whole(b->statement);
    return *ret ? 0 : error_set(err, ERR_NO_MEMORY, "no memory for a log entry");
}

int statement_append_at(struct repo *r, uint64_t at, json_t *statement, struct error *err) {
    struct build_at b = {at, statement};
    return ledger_append(r->ledger, secret_bytes(r->keys->sign_seed), build_at, &b, NULL, NULL, err);
}

static int put_digests(json_t *o, const char *key, const struct digests *d, struct error *err) {
    json_t *a = json_array();
    int rc = json_put(o, key, a, err);
    for (size_t i = 0; i < d->n && rc == 0; i++) rc = json_push(a, json_digest(&d->d[i]), err);
    return rc;
}

struct deleting {
    struct repo *r;
    uint64_t at;
    const json_t *predicate; /* but for the runs */
    const struct digest *subject;
    struct digests *added, *removed;
    struct marked *marked;
};

static int build(void *ctx, uint64_t seq, json_t **ret, struct error *err) {
    struct deleting *d = ctx;
    int rc = 0;
    if (seq != d->at) rc = d->marked ? overtaken(d->r, seq, d->marked, d->added, d->removed, err) : lost(err);
    if (rc < 0) return rc;
    d->at = seq;
    json_t *p = json_copy_whole(d->predicate);
    if (!p) return error_set(err, ERR_NO_MEMORY, "no memory for a log entry");
    rc = put_digests(p, "index_added", d->added, err);
    if (rc == 0) rc = put_digests(p, "index_removed", d->removed, err);
    if (rc == 0) return statement_make(PREDICATE_DELETE, "packs", d->subject, p, ret, err);
    json_decref(p);
    return rc;
}

int delete_append(struct repo *r, uint64_t at, const struct digests *packs, const struct digests *replaced_by,
                  struct digests *runs_added, struct digests *runs_removed, const struct digests *swept, uint64_t bytes,
                  struct marked *marked, struct error *err) {
    struct digest list, instead, index;
    json_t *p = json_object();
    int rc = repo_writable(r, err);
    if (rc == 0) ledger_expect_append(r->ledger);
    if (rc == 0) rc = packlist_write(r, packs->d, packs->n, &list, NULL, err);
    if (rc == 0 && replaced_by) rc = packlist_write(r, replaced_by->d, replaced_by->n, &instead, NULL, err);
    if (rc == 0 && swept->n) rc = packlist_write(r, swept->d, swept->n, &index, NULL, err);
    if (rc == 0) rc = store_commit(r->store, err);
    if (rc == 0) rc = json_put(p, "packs", json_digest(&list), err);
    if (rc == 0 && replaced_by) rc = json_put(p, "replaced_by", json_digest(&instead), err);
    if (rc == 0 && swept->n) rc = json_put(p, "swept", json_digest(&index), err);
    if (rc == 0) rc = json_put_int(p, "count", (int64_t)packs->n, err);
    if (rc == 0) rc = json_put_int(p, "bytes", (int64_t)bytes, err);
    struct deleting d = {r, at, p, &list, runs_added, runs_removed, marked};
    const size_t before = r->state.delete_count;
    if (rc == 0) rc = ledger_append(r->ledger, secret_bytes(r->keys->sign_seed), build, &d, NULL, NULL, err);
    json_decref(p);
    if (rc < 0 || r->state.delete_count > before) return rc;
    error_set(err, ERR_KEY_ROLE, "nobody heeds this collection: %s", r->state.void_text);
    return error_state(err, "nothing was removed");
}
