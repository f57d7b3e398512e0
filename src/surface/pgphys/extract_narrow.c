/* A pattern of pg_dump is a regular expression but for what stands in double quotes ("Patterns" in the manual of psql),
 * so the tables of a schema fit into a few. The dump keeps all definitions: which of them a table stands on is what a
 * restore finds out in them. */
#include "surface/pgphys/extract.h"

#include "surface/pgphys/pgphys_internal.h"
#include "surface/spool.h"

#define PATTERN_BYTES 4096 /* longer expressions are more than the server compiles */
#define PATTERNS_MAX 200   /* what is beyond is dumped in vain */

/* A name as it is, in a pattern. */
static int quoted(struct buf *b, struct bytes name, struct error *err) {
    int rc = buf_append_str(b, "\"", err);
    for (size_t i = 0; rc == 0 && i < name.len; i++) {
        if (name.ptr[i] == '"') rc = buf_append_str(b, "\"", err);
        if (rc == 0) rc = buf_append(b, name.ptr + i, 1, err);
    }
    return rc == 0 ? buf_append_str(b, "\"", err) : rc;
}

static bool is_text(struct bytes name) {
    json_t *v = json_stringn((const char *)name.ptr, name.len);
    json_decref(v);
    return v != NULL;
}

struct patterns {
    json_t *list;
    struct buf open; /* the last, without its end */
    struct bytes schema;
};

static int pattern_end(struct patterns *p, struct error *err) {
    if (p->open.len == 0) return 0;
    int rc = buf_append_str(&p->open, ")", err);
    if (rc == 0) rc = json_push(p->list, json_stringn((const char *)p->open.ptr, p->open.len), err);
    buf_clear(&p->open);
    return rc;
}

static int pattern_add(struct patterns *p, struct bytes schema, struct bytes name, struct error *err) {
    int rc = 0;
    if (!is_text(schema) || !is_text(name)) return 0;
    if (p->open.len > PATTERN_BYTES || !bytes_equal(p->schema, schema)) rc = pattern_end(p, err);
    if (rc < 0 || json_array_size(p->list) >= PATTERNS_MAX) return rc;
    if (p->open.len == 0) {
        p->schema = schema;
        rc = buf_append_str(&p->open, "--exclude-table-data=", err);
        if (rc == 0) rc = quoted(&p->open, schema, err);
        if (rc == 0) rc = buf_append_str(&p->open, ".(", err);
    } else
        rc = buf_append_str(&p->open, "|", err);
    return rc == 0 ? quoted(&p->open, name, err) : rc;
}

/* All that is asked for of the database must be what definitions name. */
static bool all_hit(const struct pg_folder *f, const char *database, const char *const *include) {
    for (size_t i = 0; include[i]; i++) {
        const char *const alone[] = {include[i], NULL};
        if (pg_selects_database(alone, database) && !pg_select_hit(f, database, include, i)) return false;
    }
    return true;
}

static int exclude(const struct pg_folder *f, json_t *list, struct error *err) {
    struct patterns p = {.list = list, .open = BUF_INIT(64 << 10)};
    const struct pg_toc *t = f->toc;
    int rc = json_push(list, json_string("--no-blobs"), err);
    for (size_t i = 0; rc == 0 && i < t->entry_count; i++)
        if (pg_text_is(t, t->entries[i].desc, "TABLE") && !pg_select_is_root(f, &t->entries[i]))
            rc = pattern_add(&p, pg_toc_text(t, t->entries[i].schema), pg_toc_text(t, t->entries[i].tag), err);
    if (rc == 0) rc = pattern_end(&p, err);
    buf_free(&p.open);
    return rc;
}

static int of_database(const struct pg_settings *s, struct source *src, const json_t *facts, const char *const *include,
                       json_t *more, struct error *err) {
    const char *name = json_string_value(json_object_get(facts, "name"));
    struct pg_folder f = {0};
    /* Parts of a hypertable are tables that nothing in the definitions ties to it. */
    if (!name || pg_selects_all(include, name) || json_object_get(facts, "hypertables") ||
        json_is_true(json_object_get(facts, "opaque")))
        return 0;
    json_t *list = json_array();
    int rc = list ? pg_folder_open(s, src, name, include, &f, err) : error_set(err, ERR_NO_MEMORY, "no memory");
    if (rc == 0 && all_hit(&f, name, include)) rc = exclude(&f, list, err);
    if (rc == 0) rc = json_put(more, name, json_incref(list), err);
    json_decref(list);
    pg_folder_free(&f);
    return rc;
}

/* The same settings, for definitions alone; nothing that was declared is measured for these. */
static int definitions_only(const json_t *settings, json_t **ret, struct error *err) {
    json_t *s = json_deep_copy(settings), *more = json_object();
    const json_t *name;
    size_t i;
    int rc = s && more ? 0 : error_set(err, ERR_NO_MEMORY, "no memory");
    json_array_foreach(json_object_get(settings, "databases"), i, name) if (rc == 0) rc =
        json_put(more, json_string_value(name), json_pack("[s]", "--schema-only"), err);
    if (rc == 0) rc = json_put(s, PG_DUMP_MORE, json_incref(more), err);
    if (rc == 0) (void)json_object_del(s, "invariants");
    json_decref(more);
    if (rc < 0)
        json_decref(s);
    else
        *ret = s;
    return rc;
}

int pgphys_extract_narrow(const struct surface_context *ctx, const struct restore_request *q, const char *path,
                          json_t *settings, struct error *err) {
    CLEANUP(pg_settings_freep) struct pg_settings *s = NULL;
    struct surface_context there = *ctx;
    struct capture_result captured = {0};
    struct spool *spool = NULL;
    json_t *only = NULL, *more = json_object();
    const json_t *d;
    size_t i;
    int rc = more ? definitions_only(settings, &only, err) : error_set(err, ERR_NO_MEMORY, "no memory");
    there.settings = only;
    if (rc == 0) rc = pg_settings_load(&there, NULL, &s, err);
    if (rc == 0) rc = spool_new(path, &spool, err);
    if (rc == 0) rc = pg_capture(&there, spool_sink(spool), &captured, err);
    json_array_foreach(json_object_get(captured.facts, "databases"), i, d) if (rc == 0) rc =
        of_database(s, spool_source(spool), d, q->include, more, err);
    if (rc == 0) rc = json_put(settings, PG_DUMP_MORE, json_incref(more), err);
    spool_free(spool);
    json_decref(captured.facts);
    json_decref(captured.invariants);
    json_decref(only);
    json_decref(more);
    return rc < 0 ? error_wrap(err, "finding out what is to be dumped") : 0;
}
