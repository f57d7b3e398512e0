/* Summaries of the log: beginning at one, making one, and holding them against the log. */
#include "ledger/tiles.h"
#include "repo/state_summary.h"

#define BUNDLE TREE_FANOUT

/* ---- beginning ---- */

static int load(void *ctx, const json_t *doc, uint64_t size, const int64_t *stored_ns, struct error *err) {
    struct repo *r = ctx;
    struct state s;
    int rc = state_read(doc, size, stored_ns, r->keys->admin_public, &s, err);
    if (rc < 0) return rc;
    state_free(&r->state);
    r->state = s;
    return 0;
}

static bool key(void *ctx, size_t i, uint8_t ret[SIGN_PUBLIC_BYTES]) {
    const struct repo *r = ctx;
    if (i >= r->state.key_count) return false;
    memcpy(ret, r->state.keys[i].public_key, SIGN_PUBLIC_BYTES);
    return true;
}

static void reset(void *ctx) {
    struct repo *r = ctx;
    state_free(&r->state);
}

void state_start_from_summaries(struct repo *r) {
    r->start = (struct ledger_start){.load = load, .key = key, .reset = reset};
    memcpy(r->start.signer, r->keys->admin_public, SIGN_PUBLIC_BYTES);
    ledger_start_from(r->ledger, &r->start);
}

/* ---- making ---- */

/* A repository that only folds. */
static void fold_begin(const struct repo *r, struct repo *fold) {
    *fold = (struct repo){.keys = r->keys, .store = r->store};
    memcpy(fold->id_hex, r->id_hex, sizeof fold->id_hex);
}

/* The state of the first `size` entries, from the log or from where this handle began. */
static int state_at(struct repo *r, uint64_t size, json_t **ret, struct error *err) {
    if (size == ledger_size(r->ledger)) return state_write(&r->state, ret, err);
    struct repo fold;
    uint64_t base = ledger_base(r->ledger);
    int rc = 0;
    fold_begin(r, &fold);
    if (base) {
        struct ledger_summary s;
        if ((rc = ledger_read_summary(r->ledger, base, &s, err)) < 0) return rc;
        if (memcmp(s.signer, r->keys->admin_public, SIGN_PUBLIC_BYTES) != 0)
            rc = error_set(err, ERR_LEDGER_BROKEN, "the summary that this run began at was replaced by another's");
        if (rc == 0) rc = load(&fold, s.state, base, NULL, err);
        ledger_summary_free(&s);
    }
    if (rc == 0) rc = ledger_replay(r->ledger, base, size, state_judge, &fold, err);
    if (rc == 0) rc = state_write(&fold.state, ret, err);
    state_free(&fold.state);
    return rc;
}

int state_publish(struct repo *r, struct error *err) {
    uint64_t size = ledger_size(r->ledger), there;
    size -= size % BUNDLE;
    if (r->keys->role != ROLE_ADMIN || size <= ledger_base(r->ledger) || size <= r->summed_up) return 0;
    int rc = ledger_find_summary(r->ledger, size, &there, err);
    if (rc < 0) return rc;
    if (there == size && ledger_refused_summary(r->ledger) != size) {
        r->summed_up = size;
        return 0;
    }
    json_t *doc = NULL;
    struct buf b = BUF_INIT(SUMMARY_STATE_MAX_BYTES);
    struct error e = ERROR_INIT;
    if ((rc = state_at(r, size, &doc, err)) < 0) return error_wrap(err, "summing up the log");
    bool fits = json_write(doc, &b, &e) == 0;
    buf_free(&b);
    if (fits) rc = ledger_publish_summary(r->ledger, secret_bytes(r->keys->sign_seed), size, doc, err);
    json_decref(doc);
    if (rc < 0) return rc;
    r->summed_up = size;
    if (fits) ledger_drop_summaries(r->ledger, size);
    return 0;
}

int state_mend_summary(struct repo *r, uint64_t size, struct error *err) {
    json_t *doc = NULL;
    if (size < ledger_base(r->ledger) || size > ledger_size(r->ledger))
        return error_set(err, ERR_LEDGER_BROKEN, "a summary of %llu entries cannot be made of this log",
                         (unsigned long long)size);
    int rc = state_at(r, size, &doc, err);
    if (rc == 0) rc = ledger_publish_summary(r->ledger, secret_bytes(r->keys->sign_seed), size, doc, err);
    json_decref(doc);
    return rc;
}

/* ---- checking ---- */

int summaries_check_begin(struct repo *r, struct summaries_check *ret, struct error *err) {
    uint64_t *sizes;
    void *p;
    *ret = (struct summaries_check){0};
    fold_begin(r, &ret->fold);
    int rc = ledger_list_summaries(r->ledger, &sizes, &ret->count, err);
    if (rc < 0) return rc;
    rc = mem_alloc((ret->count + 1) * sizeof *ret->at, &p, err);
    if (rc == 0) ret->at = p;
    for (size_t i = 0; i < ret->count && rc == 0; i++) ret->at[i].size = sizes[i];
    seam_free(sizes);
    return rc;
}

static int print(const json_t *doc, struct digest *ret, struct error *err) {
    struct buf b = BUF_INIT((size_t)1 << 30);
    int rc = json_write(doc, &b, err);
    if (rc == 0) sha256(buf_bytes(&b), ret);
    buf_free(&b);
    return rc;
}

int summaries_judge(void *ctx, const struct ledger_entry *e, struct error *err) {
    struct summaries_check *c = ctx;
    int rc = state_judge(&c->fold, e, err);
    if (rc == 0) rc = mem_grow((void **)&c->leaves, &c->leaf_cap, c->leaf_count + 1, sizeof *c->leaves, err);
    if (rc < 0) return rc;
    merkle_leaf(e->envelope, &c->leaves[c->leaf_count++]);
    for (size_t i = 0; i < c->count; i++) {
        if (c->at[i].size != e->seq + 1) continue;
        json_t *doc = NULL;
        if ((rc = state_write(&c->fold.state, &doc, err)) == 0) rc = print(doc, &c->at[i].state, err);
        json_decref(doc);
        if (rc < 0) return rc;
        c->at[i].reached = true;
    }
    return 0;
}

static int summary_judge_one(struct summaries_check *c, struct ledger *l, size_t i, struct error *err) {
    struct ledger_summary s;
    struct digest d;
    char signer[65];
    int rc = ledger_read_summary(l, c->at[i].size, &s, err);
    if (rc < 0) return rc;
    hex_encode(s.signer, SIGN_PUBLIC_BYTES, signer);
    if (memcmp(s.signer, c->fold.keys->admin_public, SIGN_PUBLIC_BYTES) != 0)
        rc = error_set(err, ERR_LEDGER_BROKEN, "it is signed by %s, who may not sum up this log", signer);
    else if (!c->at[i].reached)
        rc = error_set(err, ERR_LEDGER_ROLLBACK, "signed by %s, it sums up more entries than the log has", signer);
    else if ((rc = print(s.state, &d, err)) == 0 && !digest_equal(&d, &c->at[i].state))
        rc = error_set(err, ERR_LEDGER_BROKEN, "signed by %s, it does not say what the log's first %llu entries do",
                       signer, (unsigned long long)c->at[i].size);
    ledger_summary_free(&s);
    return rc;
}

struct bundles {
    struct summaries_check *c;
    struct store *store;
    const struct ledger *ledger;
    uint64_t *objects;
    summaries_found found;
    void *ctx;
};

/* "tile/entries/x001/x234/067" or with ".p/<width>". */
static bool bundle_name(const char *name, uint64_t *ret_index, unsigned *ret_width) {
    char again[TILE_PATH_MAX];
    uint64_t index = 0;
    unsigned width = BUNDLE, n = 0;
    const char *p = name + strlen("tile/entries/");
    for (; *p && *p != '.'; p++) {
        if (*p == 'x' || *p == '/') continue;
        if (*p < '0' || *p > '9' || ++n > 18) return false;
        index = index * 10 + (uint64_t)(*p - '0');
    }
    if (*p && sscanf(p, ".p/%3u", &width) != 1) return false;
    if (width < 1 || width > BUNDLE) return false;
    tile_path(TILE_ENTRIES, index, width, again);
    *ret_index = index;
    *ret_width = width;
    return strcmp(again, name) == 0;
}

static int bundle_compare(struct bundles *b, const char *name, uint64_t index, unsigned width, struct error *err) {
    struct buf content = BUF_INIT((size_t)BUNDLE * (2 + LEDGER_ENTRY_MAX_BYTES) + 1);
    struct bytes one;
    int rc = store_read_all(b->store, name, content.max_bytes - 1, &content, err);
    struct bytes rest = buf_bytes(&content);
    for (uint64_t seq = index * BUNDLE; seq < index * BUNDLE + width && rc == 0; seq++) {
        struct digest leaf;
        if ((rc = bundle_next(&rest, &one, err)) < 0) break;
        merkle_leaf(one, &leaf);
        if (seq >= b->c->leaf_count || !digest_equal(&leaf, &b->c->leaves[seq]))
            rc = error_set(err, ERR_LEDGER_BROKEN, "entry %llu in it is not the log's", (unsigned long long)seq);
    }
    if (rc == 0 && rest.len) rc = error_set(err, ERR_LEDGER_BROKEN, "it has more than its entries");
    buf_free(&content);
    return rc;
}

static int bundle_see(void *ctx, const struct store_object *o, struct error *err) {
    struct bundles *b = ctx;
    struct error e = ERROR_INIT;
    uint64_t index;
    unsigned width;
    if (strlen(o->key) >= TILE_PATH_MAX || !bundle_name(o->key, &index, &width)) return 0;
    if (index * BUNDLE + width > b->c->leaf_count)
        return 0; /* of entries that came since, or of none: no one begins there */
    ++*b->objects;
    if (ledger_took_bundle(b->ledger, index, width)) return 0;
    int rc = bundle_compare(b, o->key, index, width, &e);
    if (rc < 0 && rc != -ERR_OBJECT_MISSING && store_pin_first_version(b->store, o->key)) {
        error_clear(&e);
        rc = bundle_compare(b, o->key, index, width, &e);
    }
    if (rc == -ERR_OBJECT_MISSING) return 0; /* a partial one that was just replaced */
    return rc < 0 ? b->found(b->ctx, o->key, rc, e.text, err) : 0;
}

/* What this handle believes may come from a summary that is not there any more. */
static int belief_compare(const struct summaries_check *c, const struct repo *r, struct error *err) {
    json_t *ours = NULL, *theirs = NULL;
    if (ledger_size(r->ledger) != c->leaf_count) return 0;
    int rc = state_write(&r->state, &ours, err);
    if (rc == 0) rc = state_write(&c->fold.state, &theirs, err);
    if (rc == 0 && !json_equal(ours, theirs))
        rc = error_set(err, ERR_LEDGER_BROKEN,
                       "what this run believes of the log, from a summary signed by the admin key, is not what the log "
                       "says");
    json_decref(ours);
    json_decref(theirs);
    return rc;
}

int summaries_check_summaries(struct summaries_check *c, struct ledger *l, uint64_t *ret_objects, summaries_found found,
                              void *ctx, struct error *err) {
    for (size_t i = 0; i < c->count; i++) {
        struct error e = ERROR_INIT;
        char name[64];
        int rc = summary_judge_one(c, l, i, &e);
        if (rc == -ERR_OBJECT_MISSING) continue; /* replaced by a newer one meanwhile */
        ++*ret_objects;
        snprintf(name, sizeof name, "summary/%016llu", (unsigned long long)c->at[i].size);
        if (rc < 0 && (rc = found(ctx, name, rc, e.text, err)) < 0) return rc;
    }
    return 0;
}

int summaries_check_end(struct summaries_check *c, const struct repo *r, struct ledger *l, uint64_t *ret_objects,
                        summaries_found found, void *ctx, struct error *err) {
    struct bundles b = {c, c->fold.store, l, ret_objects, found, ctx};
    struct error differs = ERROR_INIT;
    int rc = belief_compare(c, r, &differs);
    if (rc < 0) rc = found(ctx, "log/", rc, differs.text, err);
    if (rc == 0) rc = summaries_check_summaries(c, l, ret_objects, found, ctx, err);
    return rc < 0 ? rc : store_list(b.store, "tile/entries/", bundle_see, &b, err);
}

void summaries_check_free(struct summaries_check *c) {
    state_free(&c->fold.state);
    seam_free(c->at);
    seam_free(c->leaves);
    *c = (struct summaries_check){0};
}
