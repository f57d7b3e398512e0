#include "repo/objects.h"

#include "repo/packlist.h"
#include "repo/run.h"

#include <inttypes.h>
#include <stdio.h>

static int add(struct live_objects *o, enum live_kind kind, const char *key, uint64_t seq, struct error *err) {
    int rc = mem_grow((void **)&o->items, &o->cap, o->count + 1, sizeof *o->items, err);
    if (rc < 0) return rc;
    struct live_object *n = &o->items[o->count++];
    *n = (struct live_object){.kind = kind, .seq = seq};
    snprintf(n->key, sizeof n->key, "%s", key);
    return 0;
}

static int add_index(struct live_objects *o, const struct digest *name, struct error *err) {
    char key[96];
    run_key(name, key);
    return add(o, LIVE_INDEX, key, 0, err);
}

static int add_slot(void *ctx, const struct store_object *s, struct error *err) {
    return strlen(s->key) < 96 ? add(ctx, LIVE_SLOT, s->key, 0, err) : 0;
}

struct live_packs {
    struct live_objects *o;
    struct nameset names;
    uint8_t *seen; /* a bit each */
    size_t left;
};

static int add_pack(struct live_packs *l, const struct pack_fact *f, struct error *err) {
    char key[96];
    if (!bit_take(l->seen, nameset_find(&l->names, f->name.b))) return 0;
    l->left--;
    pack_key(f->meta, &f->name, key);
    return add(l->o, LIVE_PACK, key, 0, err);
}

/* The index knows of which sort a pack is; what it does not have, the lists still name. */
static int add_packs(struct repo *r, struct live_objects *o, struct error *err) {
    struct live_packs l = {.o = o};
    const struct state *st = &r->state;
    void *mem;
    int rc = packlist_union(r, NULL, NULL, NULL, &l.names, err);
    if (rc == 0 && (rc = mem_alloc(l.names.count / 8 + 1, &mem, err)) == 0) l.seen = mem;
    l.left = l.names.count;
    for (size_t i = 0; i < r->index.count && rc == 0; i++) {
        struct run_view v;
        if ((rc = index_scan(&r->index, i, false, &v, err)) < 0) break;
        for (uint32_t k = 0; k < v.pack_count && rc == 0; k++) {
            struct pack_fact f;
            pack_fact_row(v.packs + (size_t)k * RUN_PACK_BYTES, &f);
            rc = add_pack(&l, &f, err);
        }
        index_scan_end(&v);
    }
    for (size_t i = 0; i < st->snapshot_count && rc == 0 && l.left; i++) {
        struct digests packs;
        if (st->snapshots[i].forgotten) continue;
        if ((rc = snapshot_packs(r, &st->snapshots[i], &packs, err)) < 0) break;
        for (size_t k = 0; k < packs.n && rc == 0; k++) rc = add_pack(&l, &(struct pack_fact){.name = packs.d[k]}, err);
        digests_free(&packs);
    }
    nameset_free(&l.names);
    seam_free(l.seen);
    return rc;
}

/* Parts of pack lists are objects too, which no entry names. */
static int add_parts(struct repo *r, struct live_objects *o, struct error *err) {
    struct digests parts = {0};
    int rc = packlist_live_parts(r, &parts, err);
    for (size_t i = 0; i < parts.n && rc == 0; i++) rc = add_index(o, &parts.d[i], err);
    digests_free(&parts);
    return rc;
}

static int add_wal(struct repo *r, struct live_objects *o, struct error *err) {
    struct wal_mended *mended = NULL;
    size_t mended_n = 0;
    int rc = wal_log_mended(r, &mended, &mended_n, err);
    for (size_t i = 0; i < r->state.wal_count && rc == 0; i++) {
        struct wal_row *rows = NULL;
        size_t n = 0;
        rc = wal_log_rows(r, &r->state.wal[i], &rows, &n, err);
        for (size_t k = 0; k < n && rc == 0; k++) {
            if (state_wal_gone(&r->state, rows[k].key) ||
                !wal_row_counts(mended, mended_n, rows[k].key, r->state.wal[i].seq))
                continue;
            rc = add(o, LIVE_WAL, rows[k].key, 0, err);
            if (rc == 0) o->items[o->count - 1].digest = rows[k].digest;
        }
        seam_free(rows);
    }
    seam_free(mended);
    return rc;
}

/* A piece gives way to its whole segment, and may be removed then. */
static bool gave_way(const struct live_objects *o, const struct live_object *x) {
    const char *pieces = x->kind == LIVE_WAL ? strstr(x->key, ".pieces/") : NULL;
    char whole[sizeof x->key];
    if (!pieces) return false;
    snprintf(whole, sizeof whole, "%.*s", (int)(pieces - x->key), x->key);
    return live_object_find(o, whole) != NULL;
}

static int order(const void *a, const void *b) {
    return strcmp(((const struct live_object *)a)->key, ((const struct live_object *)b)->key);
}

int repo_live_objects(struct repo *r, struct live_objects *ret, struct error *err) {
    struct live_objects o = {0};
    const struct state *st = &r->state;
    int rc = add(&o, LIVE_FORMAT, "format", 0, err);
    if (rc == 0) rc = store_list(r->store, "keys/", add_slot, &o, err);
    for (uint64_t seq = 0; seq < ledger_size(r->ledger) && rc == 0; seq++) {
        char key[32];
        snprintf(key, sizeof key, "log/%016" PRIu64, seq);
        rc = add(&o, LIVE_ENTRY, key, seq, err);
    }
    for (size_t i = 0; i < st->run_count && rc == 0; i++) rc = add_index(&o, &st->runs[i], err);
    for (size_t i = 0; i < st->snapshot_count && rc == 0; i++)
        if (!st->snapshots[i].forgotten) {
            rc = add_index(&o, &st->snapshots[i].packs, err);
            if (rc == 0 && st->snapshots[i].is_copy) rc = add_index(&o, &st->snapshots[i].source.kept, err);
        }
    for (size_t i = 0; i < st->delete_count && rc == 0; i++) {
        const struct delete_info *d = &st->deletes[i];
        if (d->has_packs) rc = add_index(&o, &d->packs, err);
        if (rc == 0 && d->has_replacement) rc = add_index(&o, &d->replaced_by, err);
        if (rc == 0 && d->has_swept) rc = add_index(&o, &d->swept, err);
    }
    if (rc == 0) rc = add_parts(r, &o, err);
    if (rc == 0) rc = add_packs(r, &o, err);
    if (rc == 0) rc = add_wal(r, &o, err);
    if (rc < 0) {
        live_objects_free(&o);
        return error_wrap(err, "listing what is in use");
    }
    qsort(o.items, o.count, sizeof *o.items, order);
    size_t w = 0;
    for (size_t i = 0; i < o.count; i++)
        if (w == 0 || strcmp(o.items[i].key, o.items[w - 1].key) != 0) o.items[w++] = o.items[i];
    o.count = w;
    w = 0;
    /* what moves down leaves the order as it is, so that what was not looked at yet is still found */
    for (size_t i = 0; i < o.count; i++) {
        struct live_object x = o.items[i];
        if (!gave_way(&o, &x)) o.items[w++] = x;
    }
    o.count = w;
    *ret = o;
    return 0;
}

void live_objects_free(struct live_objects *o) {
    seam_free(o->items);
    *o = (struct live_objects){0};
}

const struct live_object *live_object_find(const struct live_objects *o, const char *key) {
    struct live_object want;
    if (strlen(key) >= sizeof want.key || o->count == 0) return NULL;
    snprintf(want.key, sizeof want.key, "%s", key);
    return bsearch(&want, o->items, o->count, sizeof *o->items, order);
}

int live_object_is(struct repo *r, const struct live_object *o, struct bytes content, bool *ret, struct error *err) {
    struct digest d;
    char hex[65];
    const char *name = strrchr(o->key, '/');
    if (o->kind == LIVE_ENTRY) return ledger_knows(r->ledger, o->seq, content, ret, err);
    sha256(content, &d);
    if (o->kind == LIVE_WAL) {
        *ret = digest_equal(&d, &o->digest);
        return 0;
    }
    hex_encode(d.b, DIGEST_BYTES, hex);
    *ret = o->kind == LIVE_FORMAT ? digest_equal(&d, &r->state.format) : name && strcmp(name + 1, hex) == 0;
    return 0;
}

struct publics {
    uint8_t (*keys)[SIGN_PUBLIC_BYTES];
    size_t n, cap;
};

static int see_public(void *ctx, const char *name, const struct slot_info *info, struct error *err) {
    struct publics *p = ctx;
    (void)name;
    int rc = mem_grow((void **)&p->keys, &p->cap, p->n + 1, sizeof *p->keys, err);
    if (rc == 0) memcpy(p->keys[p->n++], info->sign_public, SIGN_PUBLIC_BYTES);
    return rc;
}

static bool has_public(const struct publics *p, const uint8_t *key) {
    for (size_t i = 0; i < p->n; i++)
        if (memcmp(p->keys[i], key, SIGN_PUBLIC_BYTES) == 0) return true;
    return false;
}

static bool in_force(const struct repo *r, const uint8_t *key) {
    for (size_t i = 0; i < r->state.key_count; i++)
        if (!r->state.keys[i].removed && memcmp(r->state.keys[i].public_key, key, SIGN_PUBLIC_BYTES) == 0) return true;
    return false;
}

int repo_slots_lost(struct repo *r, const char (*hidden)[96], size_t n, bool *keep, struct error *err) {
    struct publics seen = {0};
    struct buf b = BUF_INIT(64 << 10);
    struct error unread = ERROR_INIT;
    int rc = repo_slots(r, see_public, &seen, &unread); /* a damaged slot in sight is no reason to lose the others */
    if (rc < 0 && error_info(rc)->status != EXIT_INTEGRITY)
        *err = unread;
    else
        rc = 0;
    for (size_t i = 0; i < n && rc == 0; i++) {
        struct slot_info info;
        struct error e = ERROR_INIT;
        keep[i] = false;
        buf_clear(&b);
        if (store_read_all(r->store, hidden[i], b.max_bytes, &b, &e) < 0 ||
            slot_describe(buf_bytes(&b), &info, &e) < 0 || !in_force(r, info.sign_public) ||
            has_public(&seen, info.sign_public))
            continue;
        keep[i] = true;
        rc = see_public(&seen, hidden[i], &info, err);
    }
    buf_free(&b);
    seam_free(seen.keys);
    return rc;
}
