#include "surface/postgres/postgres_internal.h"

#include "base/seam.h"
#include "base/thread.h"

/* Which items a restore of a part reads. The contents say it all, where they can be read. Where they lie in an archive
 * themselves, a table that is named in full is known by its item's attributes; whatever else is named (a view, a
 * schema, a partitioned table) takes all of the database, as only the contents would say less. */
struct wants {
    struct source *src;
    const struct restore_request *q;
    int (*cb)(void *, const struct source_head *, struct error *);
    void *ctx;
    struct buf prefix; /* of the database's items */
    bool *named;       /* a pattern each: some item of the database is what it names */
    bool all, telling;
};

static int wants_one(void *ctx, const struct source_head *h, struct error *err) {
    struct wants *w = ctx;
    return w->cb(w->ctx, h, err);
}

static bool is_item(const struct wants *w, const struct source_head *h, const char *rest) {
    const size_t n = w->prefix.len;
    return h->name.len > n && bytes_equal(BYTES_OF(h->name.ptr + n, h->name.len - n), BYTES_STR(rest));
}

static int by_name(void *ctx, const struct source_head *h, struct error *err) {
    struct wants *w = ctx;
    CLEANUP(buf_free) struct buf name = BUF_INIT(4096);
    json_auto_t *attr = NULL;
    bool taken = w->all || is_item(w, h, "contents") || is_item(w, h, "archive");
    int rc = stop_check(err);
    if (rc == 0 && !taken) rc = json_parse(h->attr, JSON_MAX_BYTES, "an item's attributes", &attr, err);
    if (rc == 0) rc = buf_append(&name, h->name.ptr, h->name.len, err);
    if (rc == 0) rc = buf_terminate(&name, err);
    for (size_t i = 0; rc == 0 && !taken && w->q->include[i]; i++) {
        const enum pg_naming says = pg_select_naming(w->q->include[i], buf_bytes(&w->prefix), (const char *)name.ptr,
                                                     json_text(attr, "schema", ""), json_text(attr, "table", ""));
        w->named[i] |= says == PG_NAMES_IT || says == PG_NAMES_OTHERS;
        taken |= says == PG_NAMES_IT && w->telling;
    }
    return rc == 0 && taken && w->telling ? w->cb(w->ctx, h, err) : rc;
}

static int of_archived(struct wants *w, const char *database, struct error *err) {
    const char *const *include = w->q->include;
    size_t n = 0;
    while (include[n]) n++;
    int rc = mem_alloc((n + 1) * sizeof(bool), (void **)&w->named, err);
    w->all = w->telling = false;
    if (rc == 0) rc = w->src->ops->walk(w->src, buf_bytes(&w->prefix), by_name, w, err);
    for (size_t i = 0; rc == 0 && i < n; i++) {
        const char *const alone[] = {include[i], NULL};
        if (pg_selects_database(alone, database)) w->all |= !w->named[i];
    }
    w->telling = true;
    if (rc == 0) rc = w->src->ops->walk(w->src, buf_bytes(&w->prefix), by_name, w, err);
    seam_free(w->named);
    w->named = NULL;
    return rc;
}

/* The contents, and the data of what is taken. */
static int of_folder(struct wants *w, const struct pg_folder *f, struct error *err) {
    CLEANUP(buf_free) struct buf name = BUF_INIT(4096);
    int rc = buf_append(&name, w->prefix.ptr, w->prefix.len, err);
    if (rc == 0) rc = buf_append_str(&name, "contents", err);
    if (rc == 0 && f->toc) rc = w->src->ops->walk(w->src, buf_bytes(&name), wants_one, w, err);
    for (size_t i = 0; rc == 0 && i < f->item_count; i++) {
        const struct pg_entry *e = f->items[i].entry;
        if (!e || f->all || f->take[e - f->toc->entries]) rc = w->cb(w->ctx, &f->items[i].head, err);
    }
    return rc;
}

static int of_database(struct wants *w, const char *database, struct error *err) {
    struct pg_folder f = {0};
    int rc = pg_item_name(&w->prefix, BYTES_STR(database), "", err);
    if (rc < 0) return rc;
    rc = pg_folder_open(NULL, w->src, database, w->q->include, &f, err);
    if (rc == -ERR_S3_ARCHIVED) {
        error_clear(err);
        return of_archived(w, database, err);
    }
    if (rc == 0) rc = of_folder(w, &f, err);
    pg_folder_free(&f);
    return rc;
}

int pg_wants(const struct surface_context *ctx, struct source *src, const struct restore_request *q,
             int (*cb)(void *, const struct source_head *, struct error *), void *cb_ctx, struct error *err) {
    struct wants w = {.src = src, .q = q, .cb = cb, .ctx = cb_ctx, .prefix = BUF_INIT(4096)};
    const json_t *d;
    size_t i;
    int rc = 0;
    (void)ctx;
    if (pg_selects_globals(q->include)) rc = src->ops->walk(src, BYTES_STR("globals/"), wants_one, &w, err);
    if (rc == 0 && pg_bulk_is(q->facts)) rc = src->ops->walk(src, BYTES_STR(PG_BULK_ITEM), wants_one, &w, err);
    json_array_foreach(json_object_get(q->facts, "databases"), i, d) {
        const char *name = json_text(d, "name", "");
        if (rc == 0 && pg_selects_database(q->include, name)) rc = of_database(&w, name, err);
    }
    buf_free(&w.prefix);
    return rc;
}
