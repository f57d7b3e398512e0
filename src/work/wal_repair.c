#include "work/wal_repair.h"

#include "base/seam.h"
#include "base/thread.h"
#include "store/versions.h"
#include "work/beside.h"
#include "work/wal_internal.h"
#include "work/wal_receive.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#define OTHERS_MAX 8
#define OBJECT_BYTES_MAX ((size_t)WAL_SEGMENT_MAX + WAL_SEGMENT_MAX / 8)
#define READ_BYTES ((size_t)4 << 20)

struct mending {
    struct work *w, *other;
    struct work *at[OTHERS_MAX]; /* copies and fallback; NULL: could not be opened */
    const char *names[OTHERS_MAX];
    size_t count;
    bool opened;
};

/* ---- where else it may be ---- */

static void others_open(struct mending *m, const char *environment) {
    const struct config_repository *own = beside_config(m->w, environment);
    if (m->opened) return;
    m->opened = true;
    for (size_t i = 0; own && i < own->copies.count + 1 && m->count < OTHERS_MAX; i++) {
        const char *name = i < own->copies.count ? own->copies.items[i] : own->fallback;
        struct error e = ERROR_INIT;
        if (!name) continue;
        m->names[m->count] = name;
        if (beside_open(m->w, name, environment, &m->at[m->count], &e) == 0)
            m->count++;
        else
            beside_warn(m->w, name, "WAL is not looked for in it: %.600s", e.text);
    }
}

static void others_close(struct mending *m) {
    for (size_t i = 0; i < m->count; i++) work_close(m->at[i]);
}

static bool place_of(const struct wal_hurt *h, struct wal_place *ret) {
    const char *p = strchr(h->row.key + 4, '/');
    *ret = (struct wal_place){0};
    return p && wal_place_read(p + 1, ret);
}

/* By its own header and length; and by the keyed id, where the damage left that. */
static bool is_it(const struct mending *m, const struct wal_hurt *h, struct bytes plain) {
    struct wal_place p;
    struct error e = ERROR_INIT;
    uint32_t segment;
    bool same = false;
    if (!place_of(h, &p)) return false;
    if (p.piece ? plain.len != p.to - p.from : wal_check_whole(&p.name, plain, h->system, &segment, &e) < 0)
        return false;
    int rc = wal_object_matches(m->w->repo, h->row.key, plain, &same, &e);
    return rc == 0 ? same : rc == -ERR_OBJECT_MISSING || rc == -ERR_OBJECT_CORRUPT;
}

struct version_find {
    const char *key;
    char (*ids)[STORE_VERSION_BYTES];
    size_t n, cap;
};

static int see_version(void *ctx, const struct store_version *v, struct error *err) {
    struct version_find *f = ctx;
    if (v->marker || strcmp(v->key, f->key) != 0) return 0;
    int rc = mem_grow((void **)&f->ids, &f->cap, f->n + 1, sizeof *f->ids, err);
    if (rc == 0) snprintf(f->ids[f->n++], sizeof *f->ids, "%s", v->id);
    return rc;
}

static bool version_is(struct store *s, const struct wal_hurt *h, const char *id) {
    struct buf b = BUF_INIT(OBJECT_BYTES_MAX);
    struct error e = ERROR_INIT;
    struct digest d;
    size_t got = READ_BYTES;
    int rc = 0;
    while (rc == 0 && got == READ_BYTES) {
        rc = buf_reserve(&b, READ_BYTES, &e);
        if (rc == 0) rc = store_read_version(s, h->row.key, id, b.len, b.ptr + b.len, READ_BYTES, &got, &e);
        if (rc == 0) b.len += got;
    }
    if (rc == 0) sha256(buf_bytes(&b), &d);
    buf_free(&b);
    return rc == 0 && digest_equal(&d, &h->row.digest);
}

/* Whether a version is what the log has; with `put` it is put on top again. */
static bool by_version(struct mending *m, const struct wal_hurt *h, bool put, struct error *err) {
    struct version_find f = {.key = h->row.key};
    bool kept = false, found = false;
    struct error e = ERROR_INIT;
    if (store_keeps_versions(m->w->store, &kept, &e) < 0 || !kept) return false;
    if (store_list_versions(m->w->store, h->row.key, see_version, &f, &e) == 0)
        for (size_t i = f.n; i-- > 0 && !found;) {
            found = version_is(m->w->store, h, f.ids[i]);
            if (found && put) found = store_restore_version(m->w->store, h->row.key, f.ids[i], err) == 0;
        }
    seam_free(f.ids);
    return found;
}

static bool by_repository(struct work *at, const struct wal_hurt *h, struct buf *plain) {
    struct error e = ERROR_INIT;
    buf_clear(plain);
    return at && at->repo && wal_object_get(at->repo, h->row.key, plain, &e) == 0;
}

static bool by_spool(const struct mending *m, const struct wal_hurt *h, struct buf *plain) {
    struct wal_place p;
    struct error e = ERROR_INIT;
    buf_clear(plain);
    return place_of(h, &p) && !p.piece && p.name.kind == WAL_SEGMENT &&
           wal_fetched_read(m->w, h->environment, h->surface, h->system, &p.name, plain, &e) == 0 &&
           is_it(m, h, buf_bytes(plain));
}

static bool by_server(const struct mending *m, const struct wal_hurt *h, struct buf *plain, struct error *why) {
    struct wal_place p;
    buf_clear(plain);
    return place_of(h, &p) && !p.piece && (p.name.kind == WAL_SEGMENT || p.name.kind == WAL_HISTORY) &&
           work_wal_server_read(m->w, h->environment, h->surface, h->system, &p.name, plain, why) == 0 &&
           is_it(m, h, buf_bytes(plain));
}

/* From the surest to the least sure; its plain bytes, where it is to be stored anew. */
static void find(struct mending *m, struct wal_hurt *h, struct buf *plain) {
    struct error e = ERROR_INIT;
    h->remedy = WAL_REMEDY_NONE;
    if (h->result == CHECK_CORRUPT && by_repository(m->w, h, plain)) {
        h->remedy = WAL_REMEDY_HERE;
        return;
    }
    if (by_version(m, h, false, &e)) {
        h->remedy = WAL_REMEDY_VERSION;
        return;
    }
    if (by_repository(m->other, h, plain)) {
        h->remedy = WAL_REMEDY_COPY;
        snprintf(h->label, sizeof h->label, "the other repository");
        return;
    }
    others_open(m, h->environment);
    for (size_t i = 0; i < m->count && !h->remedy; i++)
        if (by_repository(m->at[i], h, plain)) {
            h->remedy = WAL_REMEDY_COPY;
            snprintf(h->label, sizeof h->label, "%s", m->names[i]);
        }
    if (!h->remedy && by_spool(m, h, plain)) h->remedy = WAL_REMEDY_SPOOL;
    if (h->remedy) return;
    error_clear(&e);
    if (by_server(m, h, plain, &e))
        h->remedy = WAL_REMEDY_SERVER;
    else if (e.code != ERR_NONE)
        snprintf(h->why, sizeof h->why, "%.190s", e.text);
}

/* ---- what is damaged ---- */

static int look_row(struct work *w, const struct wal_batch *b, const struct wal_row *row, struct wal_repair *r,
                    size_t *cap, struct error *err) {
    struct error e = ERROR_INIT;
    int rc = wal_object_check(w->repo, row, &e);
    r->objects++;
    r->bytes += row->object_bytes;
    if (rc == 0) return 0;
    if (rc != -ERR_OBJECT_MISSING && rc != -ERR_OBJECT_CORRUPT) {
        *err = e; /* not known to be damaged: the look itself failed */
        return rc;
    }
    if (rc == -ERR_OBJECT_MISSING && wal_piece_gave_way(w->store, row->key)) return 0;
    if ((rc = mem_grow((void **)&r->items, cap, r->count + 1, sizeof *r->items, err)) < 0) return rc;
    struct wal_hurt *h = &r->items[r->count++];
    *h = (struct wal_hurt){.row = *row,
                           .system = b->system,
                           .time_ns = b->time_ns,
                           .result = e.code == ERR_OBJECT_MISSING ? CHECK_MISSING : CHECK_CORRUPT};
    snprintf(h->environment, sizeof h->environment, "%.127s", b->environment);
    snprintf(h->surface, sizeof h->surface, "%.127s", b->surface);
    return 0;
}

static int by_key(const void *a, const void *b) {
    return strcmp(((const struct wal_hurt *)a)->row.key, ((const struct wal_hurt *)b)->row.key);
}

static int look(struct work *w, struct wal_repair *r, struct error *err) {
    struct wal_mended *mended = NULL;
    size_t mended_n = 0, cap = 0, kept = 0;
    int rc = wal_log_mended(w->repo, &mended, &mended_n, err);
    for (size_t i = 0; i < wal_log_count(w->repo) && rc == 0; i++) {
        const struct wal_batch *b = wal_log_batch(w->repo, i);
        struct wal_row *rows = NULL;
        size_t n = 0;
        rc = wal_log_rows(w->repo, b, &rows, &n, err);
        for (size_t k = 0; k < n && rc == 0; k++) {
            if (wal_log_gone(w->repo, rows[k].key) || !wal_row_counts(mended, mended_n, rows[k].key, b->seq)) continue;
            rc = look_row(w, b, &rows[k], r, &cap, err);
            if (rc == 0) rc = stop_check(err);
        }
        seam_free(rows);
    }
    seam_free(mended);
    if (rc < 0) return error_wrap(err, "looking at the WAL");
    if (r->count) qsort(r->items, r->count, sizeof *r->items, by_key);
    for (size_t i = 0; i < r->count; i++)
        if (kept == 0 || by_key(&r->items[i], &r->items[kept - 1]) != 0) r->items[kept++] = r->items[i];
    r->count = kept;
    return 0;
}

static void tell(struct work *w, const struct wal_hurt *h, wal_repair_finding finding, void *ctx) {
    static const char *const where[] = {"",
                                        "what is there is whole, and the log does not say so yet",
                                        "an older version of it is whole",
                                        "it is whole in ",
                                        "it is in the spool folder of this host",
                                        "the live server still has it"};
    char text[700], harm[WAL_HARM_BYTES];
    wal_harm(w->repo, h->environment, h->surface, h->row.key, h->time_ns, harm);
    int n =
        snprintf(text, sizeof text, "%s",
                 h->result == CHECK_MISSING ? "the log names it, and it is not there" : "it is not what the log says");
    if (h->remedy)
        snprintf(text + n, sizeof text - (size_t)n, "; %s%s", where[h->remedy], h->label);
    else
        snprintf(text + n, sizeof text - (size_t)n, "; it is nowhere else%s%s%s%s%s", *h->why ? " (the server: " : "",
                 h->why, *h->why ? ")" : "", *harm ? "; " : "", harm);
    finding(ctx, h->row.key, h->result, text, h->remedy != WAL_REMEDY_NONE);
}

int wal_repair_look(struct work *w, struct work *other, wal_repair_finding finding, void *ctx, struct wal_repair *ret,
                    struct error *err) {
    struct mending m = {.w = w, .other = other};
    struct buf plain = BUF_INIT(WAL_SEGMENT_MAX);
    struct wal_repair r = {0};
    int rc = look(w, &r, err);
    for (size_t i = 0; i < r.count && rc == 0; i++) {
        find(&m, &r.items[i], &plain);
        r.mendable += r.items[i].remedy != WAL_REMEDY_NONE;
        if (finding) tell(w, &r.items[i], finding, ctx);
        rc = stop_check(err);
    }
    buf_free(&plain);
    others_close(&m);
    if (rc < 0)
        wal_repair_free(&r);
    else
        *ret = r;
    return rc;
}

/* ---- bringing it back ---- */

static int row_of_stored(struct work *w, const char *key, struct wal_row *ret, struct error *err) {
    struct buf b = BUF_INIT(OBJECT_BYTES_MAX);
    int rc = store_read_all(w->store, key, b.max_bytes, &b, err);
    if (rc == 0) sha256(buf_bytes(&b), &ret->digest);
    ret->object_bytes = b.len;
    buf_free(&b);
    return rc;
}

static uint32_t segment_bytes_of(const struct wal_hurt *h, struct bytes plain) {
    struct wal_place p;
    struct wal_header header;
    struct error e = ERROR_INIT;
    bool has = place_of(h, &p) && wal_in_pieces(&p.name) && (!p.piece || p.from == 0);
    return has && wal_header_read(plain, &header, &e) == 0 ? header.segment_bytes : 0;
}

/* *ret_row is what the log is to be told; its key stays empty when it need not be. */
static int mend(struct mending *m, struct wal_repair *r, struct wal_hurt *h, struct buf *plain, struct wal_row *ret_row,
                struct error *err) {
    struct wal_object_stored s;
    int64_t until_ns = 0;
    int rc = 0;
    find(m, h, plain);
    if (h->remedy == WAL_REMEDY_NONE) return 0;
    if (h->remedy == WAL_REMEDY_VERSION) {
        if (!by_version(m, h, true, err)) return err->code == ERR_NONE ? 0 : -(int)err->code;
        r->mended++;
        return 0;
    }
    if (h->remedy == WAL_REMEDY_HERE) {
        rc = row_of_stored(m->w, h->row.key, ret_row, err);
    } else {
        /* the bytes that take its place are at hand, and were checked */
        if (h->result == CHECK_CORRUPT) rc = store_reclaim(m->w->store, h->row.key, &until_ns, err);
        if (rc == 0 && until_ns) {
            r->locked++;
            return 0;
        }
        if (rc == 0)
            rc = wal_object_put(m->w->repo, h->row.key, buf_bytes(plain), segment_bytes_of(h, buf_bytes(plain)), &s,
                                err);
        if (rc == 0) *ret_row = (struct wal_row){.digest = s.digest, .object_bytes = s.object_bytes};
    }
    if (rc < 0) return error_wrap(err, "bringing back %s", h->row.key);
    memcpy(ret_row->key, h->row.key, sizeof ret_row->key);
    r->mended++;
    return 0;
}

int wal_repair_run(struct work *w, struct work *other, struct wal_repair *r, struct error *err) {
    struct mending m = {.w = w, .other = other};
    struct buf plain = BUF_INIT(WAL_SEGMENT_MAX);
    int rc = 0;
    for (size_t i = 0; i < r->count && rc == 0; i++) {
        struct wal_hurt *h = &r->items[i];
        struct wal_row row = {0};
        if (h->remedy == WAL_REMEDY_NONE) continue;
        rc = mend(&m, r, h, &plain, &row, err);
        if (rc == 0 && *row.key) rc = wal_log_mend(w->repo, h->environment, h->surface, h->system, &row, 1, err);
        if (rc == 0) rc = stop_check(err);
    }
    buf_free(&plain);
    others_close(&m);
    return rc < 0 ? error_wrap(err, "mending WAL") : 0;
}

void wal_repair_free(struct wal_repair *r) {
    seam_free(r->items);
    *r = (struct wal_repair){0};
}
