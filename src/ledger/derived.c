#include "ledger/derived.h"

#include "base/seam.h"
#include "ledger/ledger_internal.h"
#include "ledger/statement.h"
#include "ledger/tiles.h"
#include <inttypes.h>
#include <stdio.h>

/* ---- tiles and bundles ---- */

/* 0, or why the object is wrong: ERR_OBJECT_MISSING, ERR_OBJECT_CORRUPT; other codes are failures. */
static int tile_judge(struct ledger *l, int level, uint64_t index, unsigned width, struct error *err) {
    struct digest there[TREE_FANOUT + 1];
    char path[TILE_PATH_MAX];
    size_t got;
    tile_path(level, index, width, path);
    if (store_read(l->store, path, 0, there, width * sizeof *there + 1, &got, err) < 0) return -(int)err->code;
    if (got != width * sizeof *there ||
        memcmp(there, tree_hashes(l->tree, (unsigned)level, index * TREE_FANOUT), got) != 0)
        return error_set(err, ERR_OBJECT_CORRUPT, "it is not what the log's entries give");
    return 0;
}

static int bundle_judge(struct ledger *l, uint64_t index, unsigned width, struct error *err) {
    CLEANUP(buf_free) struct buf b = BUF_INIT(BUNDLE_BYTES_MAX + 1);
    char path[TILE_PATH_MAX];
    struct bytes one;
    tile_path(TILE_ENTRIES, index, width, path);
    if (store_read_all(l->store, path, BUNDLE_BYTES_MAX, &b, err) < 0) return -(int)err->code;
    struct bytes rest = buf_bytes(&b);
    for (unsigned i = 0; i < width; i++) {
        struct error e = ERROR_INIT;
        struct digest leaf;
        if (bundle_next(&rest, &one, &e) < 0) return error_set(err, ERR_OBJECT_CORRUPT, "%s", e.text);
        merkle_leaf(one, &leaf);
        if (!digest_equal(&leaf, tree_hashes(l->tree, 0, index * TREE_FANOUT + i)))
            return error_set(err, ERR_OBJECT_CORRUPT, "entry %" PRIu64 " in it is not the log's",
                             index * TREE_FANOUT + i);
    }
    return rest.len ? error_set(err, ERR_OBJECT_CORRUPT, "it has more than its entries") : 0;
}

struct walk {
    struct ledger *l;
    uint64_t size; /* of the published checkpoint */
    uint64_t *objects;
    derived_found found;
    void *ctx;
    uint64_t *mended; /* NULL: only look */
};

static int object_mend(struct walk *w, int level, uint64_t index, unsigned width, struct error *err) {
    CLEANUP(buf_free) struct buf bundle = BUF_INIT(BUNDLE_BYTES_MAX);
    char path[TILE_PATH_MAX];
    struct bytes content;
    if (derived_content(w->l, level, index, width, &bundle, &content, err) < 0) return -(int)err->code;
    tile_path(level, index, width, path);
    if (store_replace(w->l->store, path, content, err) < 0) return error_wrap(err, "%s", path);
    ++*w->mended;
    return 0;
}

/* A partial tile goes when the next publisher has written its successor. */
static bool superseded(struct walk *w, unsigned width) {
    struct checkpoint now;
    struct error e = ERROR_INIT;
    bool found;
    return width < TREE_FANOUT && ledger_published(w->l, &found, &now, &e) == 0 && found && now.size != w->size;
}

static int object_see(void *ctx, int level, uint64_t index, unsigned width, struct error *err) {
    struct walk *w = ctx;
    struct error e = ERROR_INIT;
    char path[TILE_PATH_MAX];
    ++*w->objects;
    int rc = level == TILE_ENTRIES ? bundle_judge(w->l, index, width, &e) : tile_judge(w->l, level, index, width, &e);
    if (rc == 0 || (rc == -ERR_OBJECT_MISSING && superseded(w, width))) return 0;
    if (rc != -ERR_OBJECT_MISSING && rc != -ERR_OBJECT_CORRUPT) {
        *err = e;
        return rc;
    }
    if (w->mended) return object_mend(w, level, index, width, err);
    tile_path(level, index, width, path);
    return w->found(w->ctx, path, rc, rc == -ERR_OBJECT_MISSING ? "the object is not there" : e.text, err);
}

static int all_see(struct walk *w, uint64_t old, struct error *err) {
    int rc = 0;
    for (int level = TILE_ENTRIES; level < (int)TREE_LEVELS && rc == 0; level++)
        rc = tile_each(level, old, w->size, object_see, w, err);
    return rc;
}

int derived_check_tiles(struct ledger *l, uint64_t old, uint64_t size, uint64_t *objects, derived_found found,
                        void *ctx, struct error *err) {
    struct walk w = {l, size, objects, found, ctx, NULL};
    int rc = past_complete(l, err);
    return rc < 0 ? rc : all_see(&w, old, err);
}

static int see_any(void *ctx, const struct store_object *o, struct error *err) {
    (void)o;
    (void)err;
    *(bool *)ctx = true;
    return 0;
}

/* *ret_why says what is wrong with the checkpoint; 0: nothing, or there never was one. */
static int checkpoint_judge(struct ledger *l, bool *ret_found, struct checkpoint *ret, int *ret_why,
                            struct error *err) {
    uint64_t bytes;
    bool tiles = false;
    *ret_why = 0;
    if (ledger_published(l, ret_found, ret, err) < 0) return -(int)err->code;
    if (*ret_found) return 0;
    struct error e = ERROR_INIT;
    if (store_stat(l->store, CHECKPOINT_KEY, &bytes, NULL, &e) == 0) {
        *ret_why = -ERR_OBJECT_CORRUPT;
        return 0;
    }
    if (e.code != ERR_OBJECT_MISSING) {
        *err = e;
        return -(int)err->code;
    }
    if (store_list(l->store, "tile/", see_any, &tiles, err) < 0) return -(int)err->code;
    if (tiles) *ret_why = -ERR_OBJECT_MISSING;
    return 0;
}

int derived_check(struct ledger *l, uint64_t *objects, derived_found found, void *ctx, struct error *err) {
    struct checkpoint c;
    bool published;
    int why;
    if (past_complete(l, err) < 0 || checkpoint_judge(l, &published, &c, &why, err) < 0)
        return error_wrap(err, "what is derived from the log");
    ++*objects;
    if (why)
        return found(ctx, CHECKPOINT_KEY, why,
                     why == -ERR_OBJECT_MISSING ? "the object is not there" : "no key of the log has signed it", err);
    if (!published) return 0;
    struct walk w = {l, c.size, objects, found, ctx, NULL};
    return all_see(&w, 0, err);
}

int ledger_mend_derived(struct ledger *l, struct bytes sign_seed, uint64_t *ret_mended, struct error *err) {
    struct checkpoint c;
    bool published;
    uint64_t looked = 0;
    int why;
    *ret_mended = 0;
    if (past_complete(l, err) < 0 || checkpoint_judge(l, &published, &c, &why, err) < 0)
        return error_wrap(err, "what is derived from the log");
    /* without a checkpoint everything is derived for the present size, and then counted by a new one */
    struct walk w = {l, published ? c.size : ledger_size(l), &looked, NULL, NULL, ret_mended};
    if ((published || why) && all_see(&w, 0, err) < 0) return error_wrap(err, "deriving from the log again");
    int rc = ledger_publish(l, sign_seed, err);
    if (rc == 0 && why) ++*ret_mended;
    return rc;
}

/* ---- entries that are missing ---- */

struct numbers {
    uint64_t *at;
    size_t n, cap;
};

static int see_number(void *ctx, const struct store_object *o, struct error *err) {
    struct numbers *s = ctx;
    uint64_t seq;
    void *p = s->at;
    if (!entry_number(o->key, &seq)) return 0;
    if (mem_grow(&p, &s->cap, s->n + 1, sizeof *s->at, err) < 0) return -(int)err->code;
    s->at = p;
    s->at[s->n++] = seq;
    return 0;
}

static int number_order(const void *a, const void *b) {
    uint64_t x, y;
    memcpy(&x, a, sizeof x);
    memcpy(&y, b, sizeof y);
    return (x > y) - (x < y);
}

struct bundles {
    uint64_t want; /* the entry */
    char path[TILE_PATH_MAX];
};

/* The widest bundle that has it: a full one, or what is left of a partial one. */
static int see_bundle(void *ctx, const struct store_object *o, struct error *err) {
    struct bundles *b = ctx;
    char full[TILE_PATH_MAX];
    (void)err;
    tile_path(TILE_ENTRIES, b->want / TREE_FANOUT, TREE_FANOUT, full);
    size_t n = strlen(full);
    if (strncmp(o->key, full, n) != 0 || strlen(o->key) >= sizeof b->path) return 0;
    unsigned width = TREE_FANOUT;
    if (o->key[n] && sscanf(o->key + n, ".p/%3u", &width) != 1) return 0;
    if (width > b->want % TREE_FANOUT) snprintf(b->path, sizeof b->path, "%s", o->key);
    return 0;
}

static int bundle_take(struct store *s, uint64_t seq, struct buf *ret, bool *ret_found, struct error *err) {
    CLEANUP(buf_free) struct buf content = BUF_INIT(BUNDLE_BYTES_MAX + 1);
    struct bundles b = {.want = seq};
    struct bytes one;
    *ret_found = false;
    if (store_list(s, "tile/entries/", see_bundle, &b, err) < 0) return -(int)err->code;
    if (!*b.path) return 0;
    struct error e = ERROR_INIT;
    if (store_read_all(s, b.path, BUNDLE_BYTES_MAX, &content, &e) < 0) {
        if (e.code == ERR_OBJECT_MISSING || e.code == ERR_OBJECT_CORRUPT) return 0;
        *err = e;
        return -(int)err->code;
    }
    struct bytes rest = buf_bytes(&content);
    for (uint64_t i = seq / TREE_FANOUT * TREE_FANOUT; i <= seq; i++)
        if (bundle_next(&rest, &one, &e) < 0) return 0;
    *ret_found = true;
    return buf_append(ret, one.ptr, one.len, err);
}

/* The digest that the entry after `seq` names as that of the one before it; false when there is none to be had. */
static bool named_by_next(struct bytes next, struct digest *ret) {
    CLEANUP(buf_free) struct buf payload = BUF_INIT(LEDGER_ENTRY_MAX_BYTES);
    json_auto_t *statement = NULL;
    struct error e = ERROR_INIT;
    uint8_t pub[SIGN_PUBLIC_BYTES], sig[SIGN_BYTES];
    if (dsse_decode(next, &payload, pub, sig, &e) < 0 ||
        json_parse(buf_bytes(&payload), LEDGER_ENTRY_MAX_BYTES, "statement", &statement, &e) < 0)
        return false;
    const json_t *place = json_object_get(json_object_get(statement, "predicate"), "ledger");
    const char *prev = json_string_value(json_object_get(place, "prev"));
    return prev && hex_decode(prev, strlen(prev), ret->b, DIGEST_BYTES);
}

static int entry_recover(struct store *s, uint64_t seq, bool write, bool *ret_good, struct error *err) {
    CLEANUP(buf_free) struct buf entry = BUF_INIT(LEDGER_ENTRY_MAX_BYTES + 1);
    CLEANUP(buf_free) struct buf next = BUF_INIT(LEDGER_ENTRY_MAX_BYTES + 1);
    struct error e = ERROR_INIT;
    struct digest is, want;
    char key[ENTRY_KEY_BYTES];
    bool found, have_next = true;
    *ret_good = false;
    if (bundle_take(s, seq, &entry, &found, err) < 0) return -(int)err->code;
    if (!found) return 0;
    entry_key(seq + 1, key);
    if (store_read_all(s, key, LEDGER_ENTRY_MAX_BYTES, &next, &e) < 0) {
        if (error_info(e.code)->status != EXIT_INTEGRITY) {
            *err = e;
            return -(int)err->code;
        }
        if (bundle_take(s, seq + 1, &next, &have_next, err) < 0) return -(int)err->code;
    }
    sha256(buf_bytes(&entry), &is);
    /* one that nothing follows is judged like any other when the log is read: by signature and place */
    if (have_next && (!named_by_next(buf_bytes(&next), &want) || !digest_equal(&is, &want))) return 0;
    *ret_good = true;
    if (!write) return 0;
    entry_key(seq, key);
    if (store_create(s, key, buf_bytes(&entry), &e) < 0 && e.code != ERR_OBJECT_EXISTS) {
        *err = e;
        return -(int)err->code;
    }
    return 0;
}

/* One past the last entry that is known of: listed, or in the last bundle. */
static uint64_t end_of(const struct numbers *s) {
    return s->n ? s->at[s->n - 1] + 1 : 0;
}

int ledger_recover_entries(struct store *s, bool write, derived_found recovered, void *ctx, uint64_t *ret_lost,
                           struct error *err) {
    struct numbers have = {0};
    int rc = store_list(s, "log/", see_number, &have, err);
    *ret_lost = 0;
    if (rc == 0 && have.n) qsort(have.at, have.n, sizeof *have.at, number_order);
    uint64_t seq = 0, end = end_of(&have);
    size_t i = 0;
    bool good = true;
    for (; rc == 0 && (seq < end || good); seq++) {
        if (i < have.n && have.at[i] == seq) {
            i++;
            continue;
        }
        char key[ENTRY_KEY_BYTES];
        entry_key(seq, key);
        if ((rc = entry_recover(s, seq, write, &good, err)) < 0) break;
        if (good)
            rc = recovered(ctx, key, -ERR_OBJECT_MISSING, "it is missing, and a bundle of entries has it", err);
        else if (seq < end)
            ++*ret_lost;
    }
    seam_free(have.at);
    return rc < 0 ? error_wrap(err, "looking for lost entries of the log") : 0;
}
