#include "surface/postgres/postgres_internal.h"

#include "base/seam.h"
#include <fnmatch.h>

/* What a restore of some tables takes: the tables, what they stand on (schemas, types, extensions, functions), and what
 * belongs to them alone (data, defaults, keys, indexes, triggers, privileges). A foreign key to a table that is not
 * taken is left out. */

static bool listed(const struct pg_toc *t, const struct pg_entry *e, const char *const *list) {
    for (; *list; list++)
        if (pg_text_is(t, e->desc, *list)) return true;
    return false;
}

static const char *const relations[] = {"TABLE", "VIEW", "MATERIALIZED VIEW", "FOREIGN TABLE", "SEQUENCE", NULL};
static const char *const views[] = {"VIEW", "MATERIALIZED VIEW", NULL};
static const char *const always[] = {"ENCODING", "STDSTRINGS", "SEARCHPATH", NULL};
static const char *const belongings[] = {"TABLE DATA",
                                         "DEFAULT",
                                         "CONSTRAINT",
                                         "CHECK CONSTRAINT",
                                         "FK CONSTRAINT",
                                         "INDEX",
                                         "INDEX ATTACH",
                                         "TABLE ATTACH",
                                         "TRIGGER",
                                         "RULE",
                                         "POLICY",
                                         "ROW SECURITY",
                                         "ACL",
                                         "COMMENT",
                                         "SECURITY LABEL",
                                         "SEQUENCE",
                                         "SEQUENCE OWNED BY",
                                         "SEQUENCE SET",
                                         "STATISTICS",
                                         "STATISTICS DATA",
                                         "MATERIALIZED VIEW DATA",
                                         NULL};

enum { NOT_TAKEN, SUPPORT, ROOT }; /* SUPPORT: taken because something stands on it */

static bool matches(const char *pattern, const char *name) {
    size_t n = strlen(pattern);
    while (n > 1 && pattern[n - 1] == '/') n--;
    if (fnmatch(pattern, name, 0) == 0) return true;
    return !strncmp(pattern, name, n) && (name[n] == '/' || name[n] == 0);
}

static bool item_matches(const char *const *include, const char *name) {
    for (; *include; include++)
        if (strchr(*include, '/') && matches(*include, name)) return true;
    return false;
}

bool pg_selects_globals(const char *const *include) {
    return !include || item_matches(include, "globals/roles.sql");
}

bool pg_selects_all(const char *const *include, const char *database) {
    CLEANUP(buf_free) struct buf name = BUF_INIT(4096);
    struct error ignored = ERROR_INIT;
    if (!include) return true;
    if (pg_item_name(&name, BYTES_STR(database), "contents", &ignored) == 0 &&
        item_matches(include, (const char *)name.ptr))
        return true;
    return pg_item_name(&name, BYTES_STR(database), "archive", &ignored) == 0 &&
           item_matches(include, (const char *)name.ptr);
}

bool pg_selects_database(const char *const *include, const char *database) {
    CLEANUP(buf_free) struct buf name = BUF_INIT(4096);
    struct error ignored = ERROR_INIT;
    if (pg_selects_all(include, database)) return true;
    if (pg_item_name(&name, BYTES_STR(database), "", &ignored) < 0) return false;
    for (; *include; include++) {
        if (!strchr(*include, '/')) return true;
        size_t fixed = strcspn(*include, "*?[");
        if (!strncmp(*include, (const char *)name.ptr, fixed < name.len ? fixed : name.len)) return true;
    }
    return false;
}

/* "schema" takes a schema, "schema.table" a relation, of every database or after "db/<database>/" of that one; all may
 * be patterns. NULL for what names an item. */
static const char *relation_pattern(const char *include, struct bytes prefix) {
    if (!strncmp(include, (const char *)prefix.ptr, prefix.len)) include += prefix.len;
    return strchr(include, '/') ? NULL : include;
}

enum pg_naming pg_select_naming(const char *pattern, struct bytes prefix, const char *item, const char *schema,
                                const char *table) {
    const char *relation = relation_pattern(pattern, prefix);
    if (!relation) return matches(pattern, item) ? PG_NAMES_IT : PG_NAMES_OTHERS;
    const char *dot = strchr(relation, '.');
    if (!dot || strpbrk(relation, "*?[\\\"")) return PG_NAMES_UNSAID;
    const size_t n = strlen(schema);
    if (!strncmp(relation, schema, n) && relation[n] == '.' && !strcmp(relation + n + 1, table)) return PG_NAMES_IT;
    return PG_NAMES_ONE;
}

static int relation_matches(struct pg_folder *f, const struct pg_entry *e, const char *const *include,
                            struct bytes prefix, bool *ret, struct error *err) {
    const struct pg_toc *t = f->toc;
    CLEANUP(buf_free) struct buf plain = BUF_INIT(4096);
    CLEANUP(buf_free) struct buf quoted = BUF_INIT(4096);
    struct bytes schema = pg_toc_text(t, e->schema), tag = pg_toc_text(t, e->tag);
    int r = buf_printf(&plain, err, "%.*s", (int)schema.len, (const char *)schema.ptr);
    if (r == 0) r = buf_append(&plain, "\0", 1, err);
    size_t full = plain.len;
    if (r == 0)
        r = buf_printf(&plain, err, "%.*s.%.*s", (int)schema.len, (const char *)schema.ptr, (int)tag.len,
                       (const char *)tag.ptr);
    if (r == 0) r = buf_terminate(&plain, err);
    if (r == 0) r = pg_qualified(&quoted, schema, tag, err);
    if (r == 0) r = buf_terminate(&quoted, err);
    *ret = false;
    for (size_t i = 0; r == 0 && include[i]; i++) {
        const char *pattern = relation_pattern(include[i], prefix);
        if (!pattern) continue;
        bool hit = !strchr(pattern, '.') ? fnmatch(pattern, (const char *)plain.ptr, 0) == 0
                                         : fnmatch(pattern, (const char *)plain.ptr + full, 0) == 0 ||
                                               fnmatch(pattern, (const char *)quoted.ptr, 0) == 0;
        if (hit) *ret = f->hit[i] = true;
    }
    return r;
}

static const struct pg_entry *entry_of_table(const struct pg_toc *t, const struct pg_entry *data) {
    for (uint32_t i = 0; i < data->deps_len; i++) {
        const struct pg_entry *e = pg_toc_find(t, t->deps[data->deps_at + i]);
        if (e && listed(t, e, relations)) return e;
    }
    return NULL;
}

static int take_roots(struct pg_folder *f, const char *database, const char *const *include, struct error *err) {
    CLEANUP(buf_free) struct buf prefix = BUF_INIT(4096);
    const struct pg_toc *t = f->toc;
    int rc = pg_item_name(&prefix, BYTES_STR(database), "", err);
    if (rc < 0) return rc;
    struct bytes of = BYTES_STR((const char *)prefix.ptr);
    for (size_t i = 0; i < t->entry_count; i++) {
        const struct pg_entry *e = &t->entries[i];
        bool match = false;
        int r = listed(t, e, relations) ? relation_matches(f, e, include, of, &match, err) : 0;
        if (r < 0) return r;
        if (match)
            f->take[i] = ROOT;
        else if (listed(t, e, always))
            f->take[i] = SUPPORT;
    }
    for (size_t i = 0; i < f->item_count; i++) {
        const struct pg_entry *e = f->items[i].entry;
        bool match = false;
        for (size_t k = 0; include[k]; k++)
            if (strchr(include[k], '/') && matches(include[k], f->items[i].name)) match = f->hit[k] = true;
        if (!match) continue;
        const struct pg_entry *table = entry_of_table(t, e);
        f->take[(table ? table : e) - t->entries] = ROOT;
    }
    return 0;
}

static bool take(struct pg_folder *f, const struct pg_entry *e, uint8_t how) {
    uint8_t *at = &f->take[e - f->toc->entries];
    if (*at >= how) return false;
    *at = how;
    return true;
}

/* What a taken entry stands on. A view's tables come with their rows, or it would be restored over nothing. */
static bool take_support(struct pg_folder *f, size_t i) {
    const struct pg_toc *t = f->toc;
    const struct pg_entry *e = &t->entries[i];
    bool more = false, view = f->take[i] == ROOT && listed(t, e, views);
    for (uint32_t d = 0; d < e->deps_len; d++) {
        const struct pg_entry *on = pg_toc_find(t, t->deps[e->deps_at + d]);
        if (on && on->section == PG_SECTION_PRE_DATA)
            more |= take(f, on, view && listed(t, on, relations) ? ROOT : SUPPORT);
    }
    return more;
}

/* Partitions go with their root. */
static bool take_partition(struct pg_folder *f, const struct pg_entry *attach) {
    const struct pg_toc *t = f->toc;
    const struct pg_entry *child = NULL;
    bool parent = false;
    for (uint32_t d = 0; d < attach->deps_len; d++) {
        const struct pg_entry *on = pg_toc_find(t, t->deps[attach->deps_at + d]);
        if (!on || !listed(t, on, relations)) continue;
        if (bytes_equal(pg_toc_text(t, on->tag), pg_toc_text(t, attach->tag)) &&
            bytes_equal(pg_toc_text(t, on->schema), pg_toc_text(t, attach->schema)))
            child = on;
        else if (f->take[on - t->entries] == ROOT)
            parent = true;
    }
    return parent && child && take(f, child, ROOT);
}

static bool take_belonging(struct pg_folder *f, size_t i) {
    const struct pg_toc *t = f->toc;
    const struct pg_entry *e = &t->entries[i];
    bool of_root = false;
    for (uint32_t d = 0; d < e->deps_len; d++) {
        const struct pg_entry *on = pg_toc_find(t, t->deps[e->deps_at + d]);
        if (!on) continue;
        uint8_t how = f->take[on - t->entries];
        of_root |= how == ROOT;
        bool must_be_there = on->section != PG_SECTION_PRE_DATA || listed(t, on, relations);
        if (must_be_there && how == NOT_TAKEN) return false;
    }
    return of_root && take(f, e, ROOT);
}

static bool take_schemas(struct pg_folder *f) {
    const struct pg_toc *t = f->toc;
    bool more = false;
    for (size_t k = 0; k < t->entry_count; k++) {
        if (f->take[k] != NOT_TAKEN || !pg_text_is(t, t->entries[k].desc, "SCHEMA")) continue;
        struct bytes name = pg_toc_text(t, t->entries[k].tag);
        for (size_t i = 0; i < t->entry_count && f->take[k] == NOT_TAKEN; i++)
            if (f->take[i] != NOT_TAKEN && bytes_equal(pg_toc_text(t, t->entries[i].schema), name))
                more |= take(f, &t->entries[k], SUPPORT);
    }
    return more;
}

static void take_closure(struct pg_folder *f) {
    const struct pg_toc *t = f->toc;
    for (bool more = true; more;) {
        more = false;
        for (size_t i = 0; i < t->entry_count; i++) {
            if (f->take[i] == NOT_TAKEN) {
                if (pg_text_is(t, t->entries[i].desc, "TABLE ATTACH")) more |= take_partition(f, &t->entries[i]);
                if (listed(t, &t->entries[i], belongings)) more |= take_belonging(f, i);
            }
            if (f->take[i] != NOT_TAKEN) more |= take_support(f, i);
        }
        if (!more) more = take_schemas(f);
    }
}

int pg_select(struct pg_folder *f, const char *database, const char *const *include, struct error *err) {
    const struct pg_toc *t = f->toc;
    size_t n = 0;
    while (include[n]) n++;
    int r = mem_alloc(t->entry_count + 1, (void **)&f->take, err);
    if (r == 0) r = mem_alloc(n + 1, (void **)&f->hit, err);
    if (r == 0) r = take_roots(f, database, include, err);
    if (r < 0) return r;
    take_closure(f);
    for (size_t i = 0; i < t->entry_count; i++)
        f->taken += f->take[i] == ROOT && (listed(t, &t->entries[i], relations) || t->entries[i].has_data);
    return 0;
}

bool pg_select_is_root(const struct pg_folder *f, const struct pg_entry *e) {
    return f->take[e - f->toc->entries] == ROOT && listed(f->toc, e, relations);
}

/* "table name" is the tag of what is a table's own. */
static bool is_of_root(const struct pg_folder *f, const struct pg_entry *e) {
    const struct pg_toc *t = f->toc;
    struct bytes tag = pg_toc_text(t, e->tag), schema = pg_toc_text(t, e->schema);
    for (uint32_t d = 0; d < e->deps_len; d++) {
        const struct pg_entry *on = pg_toc_find(t, t->deps[e->deps_at + d]);
        struct bytes name = on && pg_select_is_root(f, on) ? pg_toc_text(t, on->tag) : BYTES_OF(NULL, 0);
        if (name.len && tag.len > name.len && memcmp(tag.ptr, name.ptr, name.len) == 0 && tag.ptr[name.len] == ' ' &&
            bytes_equal(pg_toc_text(t, on->schema), schema))
            return true;
    }
    return false;
}

int pg_select_left(const struct pg_folder *f, json_t **ret, struct error *err) {
    const struct pg_toc *t = f->toc;
    json_t *list = json_array();
    int r = list ? 0 : error_set(err, ERR_NO_MEMORY, "no memory");
    for (size_t i = 0; r == 0 && t && f->take && i < t->entry_count; i++) {
        const struct pg_entry *e = &t->entries[i];
        if (f->take[i] != NOT_TAKEN || !listed(t, e, belongings) || !is_of_root(f, e)) continue;
        CLEANUP(buf_free) struct buf name = BUF_INIT(8192);
        struct bytes desc = pg_toc_text(t, e->desc), schema = pg_toc_text(t, e->schema), tag = pg_toc_text(t, e->tag);
        r = buf_printf(&name, err, "%.*s %.*s.%.*s", (int)desc.len, (const char *)desc.ptr, (int)schema.len,
                       (const char *)schema.ptr, (int)tag.len, (const char *)tag.ptr);
        if (r == 0) r = json_push(list, json_name(buf_bytes(&name)), err);
    }
    if (r < 0)
        json_decref(list);
    else
        *ret = list;
    return r;
}

/* A partition says nothing of that kind: it is attached, and goes with its root. */
static bool inherits(const struct pg_toc *t, const struct pg_entry *e) {
    static const char word[] = "INHERITS (";
    struct bytes defn = pg_toc_text(t, e->defn);
    return pg_text_is(t, e->desc, "TABLE") && memmem(defn.ptr, defn.len, word, sizeof word - 1);
}

static bool is_heir(const struct pg_folder *f, const bool *heirs, const struct pg_entry *e) {
    const struct pg_toc *t = f->toc;
    for (uint32_t d = 0; d < e->deps_len; d++) {
        const struct pg_entry *on = pg_toc_find(t, t->deps[e->deps_at + d]);
        if (on && pg_text_is(t, on->desc, "TABLE") && (f->take[on - t->entries] == ROOT || heirs[on - t->entries]))
            return true;
    }
    return false;
}

static int heirs_find(const struct pg_folder *f, bool *heirs, json_t *list, struct error *err) {
    const struct pg_toc *t = f->toc;
    int r = 0;
    for (bool more = true; more && r == 0;) {
        more = false;
        for (size_t i = 0; r == 0 && i < t->entry_count; i++) {
            const struct pg_entry *e = &t->entries[i];
            if (f->take[i] == ROOT || heirs[i] || !inherits(t, e) || !is_heir(f, heirs, e)) continue;
            CLEANUP(buf_free) struct buf name = BUF_INIT(8192);
            heirs[i] = more = true;
            r = pg_qualified(&name, pg_toc_text(t, e->schema), pg_toc_text(t, e->tag), err);
            if (r == 0) r = json_push(list, json_name(buf_bytes(&name)), err);
        }
    }
    return r;
}

int pg_select_heirs(const struct pg_folder *f, json_t **ret, struct error *err) {
    void *heirs = NULL;
    json_t *list = json_array();
    int r = list ? 0 : error_set(err, ERR_NO_MEMORY, "no memory");
    if (r == 0 && f->toc && f->take) {
        r = mem_alloc((f->toc->entry_count + 1) * sizeof(bool), &heirs, err);
        if (r == 0) r = heirs_find(f, heirs, list, err);
    }
    seam_free(heirs);
    if (r < 0)
        json_decref(list);
    else
        *ret = list;
    return r;
}

int pg_select_heirs_known(const char *const *include, const char *database, const json_t *facts, size_t *ret_n,
                          const char **ret_first, struct error *err) {
    CLEANUP(buf_free) struct buf prefix = BUF_INIT(4096);
    const char *name;
    json_t *v;
    *ret_n = 0;
    *ret_first = NULL;
    if (pg_selects_all(include, database)) return 0;
    int r = pg_item_name(&prefix, BYTES_STR(database), "", err);
    if (r < 0) return r;
    json_object_foreach(json_object_get(facts, "columns"), name, v) {
        const size_t schema = strcspn(name, ".");
        bool named = false;
        for (size_t i = 0; include[i] && !named; i++) {
            const char *p = relation_pattern(include[i], buf_bytes(&prefix));
            named = p && (strchr(p, '.') ? fnmatch(p, name, 0) == 0 : strlen(p) == schema && !strncmp(p, name, schema));
        }
        if (!named && !(*ret_n)++) *ret_first = name;
    }
    return 0;
}

bool pg_select_hit(const struct pg_folder *f, const char *database, const char *const *include, size_t i) {
    const char *const alone[] = {include[i], NULL};
    return f->hit ? f->hit[i] : pg_selects_database(alone, database);
}
