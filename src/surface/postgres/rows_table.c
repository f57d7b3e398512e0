#include "surface/postgres/rows_diff.h"

#include "base/seam.h"

#define DESCRIPTION_BYTES_MAX (16u << 20)

/* One document a table. A column's "cast" is its base type without modifiers: a length would cut off in silence. The
 * keys are unique indexes of columns that are never null, the primary key first, each column with its equality by name,
 * because the search path is empty. */
static const char describe[] =
    "SELECT json_build_object('oid', c.oid::text, 'kind', c.relkind, 'rules', (SELECT coalesce(json_agg(r.rulename "
    "ORDER BY"
    " r.rulename), '[]') FROM pg_rewrite r WHERE r.ev_class = c.oid AND r.ev_type IN ('2', '3', '4')),"
    " 'hyper', EXISTS (SELECT 1 FROM pg_inherits h JOIN pg_class k ON k.oid = h.inhrelid JOIN pg_namespace kn ON "
    "kn.oid ="
    " k.relnamespace WHERE h.inhparent = c.oid AND kn.nspname = '_timescaledb_internal'),"
    " 'columns', (SELECT coalesce(json_agg(json_build_object('name', a.attname, 'type', format_type(b.t, b.m), 'cast',"
    " format_type(b.t, -1), 'not_null', a.attnotnull, 'generated', coalesce(to_jsonb(a)->>'attgenerated', '') <> '',"
    " 'identity', a.attidentity, 'default', a.atthasdef) ORDER BY a.attnum), '[]') FROM pg_attribute a CROSS JOIN "
    "LATERAL"
    " (WITH RECURSIVE base(t, m) AS (SELECT a.atttypid, a.atttypmod UNION ALL SELECT y.typbasetype, y.typtypmod FROM "
    "base"
    " JOIN pg_type y ON y.oid = base.t WHERE y.typtype = 'd') SELECT base.t, base.m FROM base JOIN pg_type y ON y.oid "
    "= base.t"
    " WHERE y.typtype <> 'd') b WHERE a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped),"
    " 'keys', (SELECT coalesce(json_agg(json_build_object('primary', i.indisprimary, 'columns', (SELECT json_agg("
    "json_build_object('column', a.attname, 'op', format('OPERATOR(%I.%s)', n.nspname, o.oprname)) ORDER BY x) FROM"
    " generate_series(0, i.indnkeyatts - 1) x JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum = i.indkey[x]"
    " JOIN pg_opclass f ON f.oid = i.indclass[x] JOIN pg_amop m ON m.amopfamily = f.opcfamily AND m.amoplefttype ="
    " f.opcintype AND m.amoprighttype = f.opcintype AND m.amopstrategy = 3 JOIN pg_operator o ON o.oid = m.amopopr"
    " JOIN pg_namespace n ON n.oid = o.oprnamespace)) ORDER BY i.indisprimary DESC, i.indnkeyatts, i.indexrelid), '[]')"
    " FROM pg_index i WHERE i.indrelid = c.oid AND i.indisunique AND i.indisvalid AND i.indpred IS NULL AND i.indexprs "
    "IS NULL"
    " AND NOT EXISTS (SELECT 1 FROM pg_attribute a WHERE a.attrelid = c.oid AND NOT a.attnotnull AND a.attnum = ANY"
    " (i.indkey::int2[]))),"
    " 'fks', (SELECT coalesce(json_agg(json_build_object('name', f.conname, 'schema', pn.nspname, 'table', p.relname, "
    "'columns',"
    " (SELECT json_agg(json_build_object('local', la.attname, 'remote', ra.attname, 'cast', format_type(bt.t, -1), "
    "'op',"
    " format('OPERATOR(%I.%s)', n.nspname, o.oprname)) ORDER BY x) FROM generate_series(1, array_length(f.conkey, 1)) x"
    " JOIN pg_attribute la ON la.attrelid = f.conrelid AND la.attnum = f.conkey[x] JOIN pg_attribute ra ON ra.attrelid "
    "="
    " f.confrelid AND ra.attnum = f.confkey[x] CROSS JOIN LATERAL (WITH RECURSIVE base(t) AS (SELECT la.atttypid UNION "
    "ALL"
    " SELECT y.typbasetype FROM base JOIN pg_type y ON y.oid = base.t WHERE y.typtype = 'd') SELECT base.t FROM base "
    "JOIN"
    " pg_type y ON y.oid = base.t WHERE y.typtype <> 'd') bt JOIN pg_operator o ON o.oid = f.conpfeqop[x] JOIN "
    "pg_namespace n"
    " ON n.oid = o.oprnamespace)) ORDER BY f.conname), '[]') FROM pg_constraint f JOIN pg_class p ON p.oid = "
    "f.confrelid"
    " JOIN pg_namespace pn ON pn.oid = p.relnamespace WHERE f.contype = 'f' AND f.conrelid = c.oid AND NOT EXISTS "
    "(SELECT 1"
    " FROM pg_constraint u WHERE u.oid = f.conparentid AND u.conrelid = f.conrelid)),"
    " 'referenced', (SELECT coalesce(json_agg(json_build_object('name', f.conname, 'schema', pn.nspname, 'table', "
    "p.relname,"
    " 'part', p.relispartition, 'on_delete', f.confdeltype, 'on_update', f.confupdtype, 'columns', (SELECT json_agg("
    "json_build_object('local', la.attname, 'remote', ra.attname, 'op', format('OPERATOR(%I.%s)', n.nspname, "
    "o.oprname))"
    " ORDER BY x) FROM generate_series(1, array_length(f.conkey, 1)) x JOIN pg_attribute la ON la.attrelid = "
    "f.confrelid"
    " AND la.attnum = f.confkey[x] JOIN pg_attribute ra ON ra.attrelid = f.conrelid AND ra.attnum = f.conkey[x] JOIN"
    " pg_operator o ON o.oid = f.conpfeqop[x] JOIN pg_namespace n ON n.oid = o.oprnamespace)) ORDER BY f.conname), "
    "'[]')"
    " FROM pg_constraint f JOIN pg_class p ON p.oid = f.conrelid JOIN pg_namespace pn ON pn.oid = p.relnamespace WHERE"
    " f.contype = 'f' AND f.confrelid = c.oid AND NOT EXISTS (SELECT 1 FROM pg_constraint u WHERE u.oid = "
    "f.conparentid AND"
    " u.confrelid = f.confrelid)),"
    " 'triggers', (SELECT coalesce(json_agg(json_build_object('name', g.tgname, 'enabled', g.tgenabled, 'part', "
    "g.tgrelid <>"
    " c.oid) ORDER BY g.tgname), '[]') FROM pg_trigger g WHERE g.tgrelid = c.oid AND NOT g.tgisinternal AND "
    "g.tgenabled IN"
    " ('O', 'A')),"
    " 'sequences', (SELECT coalesce(json_agg(json_build_object('column', a.attname, 'name', format('%I.%I', sn.nspname,"
    " s.relname), 'last', CASE WHEN has_sequence_privilege(s.oid, 'SELECT') THEN pg_sequence_last_value(s.oid) END) "
    "ORDER BY"
    " a.attnum), '[]') FROM pg_depend d JOIN pg_class s ON s.oid = d.objid AND s.relkind = 'S' JOIN pg_namespace sn ON "
    "sn.oid"
    " = s.relnamespace JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum = d.refobjsubid WHERE d.classid ="
    " 'pg_class'::regclass AND d.refclassid = 'pg_class'::regclass AND d.refobjid = c.oid AND d.deptype IN ('a', 'i')))"
    " FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace WHERE n.nspname = $1 AND c.relname = $2";

int pg_table_describe(PGconn *c, const char *schema, const char *table, json_t **ret, struct error *err) {
    CLEANUP(pg_clearp) PGresult *q = NULL;
    const char *params[] = {schema, table};
    int rc = pg_query(c, &q, err, describe, 2, params);
    if (rc < 0) return rc;
    if (PQntuples(q) == 0) {
        *ret = json_null();
        return 0;
    }
    return json_parse(BYTES_STR(pg_value(q, 0, 0)), DESCRIPTION_BYTES_MAX, "the server's catalogue", ret, err);
}

static const json_t *column_of(const json_t *description, const char *name) {
    const json_t *c;
    size_t i;
    json_array_foreach(json_object_get(description, "columns"), i,
                       c) if (!strcmp(json_string_value(json_object_get(c, "name")), name)) return c;
    return NULL;
}

/* ---- as live has it ---- */
static int refuse_kind(const struct pg_row_table *t, struct error *err) {
    const char *kind = json_string_value(json_object_get(t->live, "kind"));
    if (json_is_null(t->live)) {
        error_set(err, ERR_ROWS_TABLE, "live has no table %s", t->label);
        return error_next(err, "If all of the table is gone, restore it beside with --path and --into.");
    }
    if (strcmp(kind, "r") != 0 && strcmp(kind, "p") != 0)
        return error_set(err, ERR_ROWS_TABLE, "%s is no table that holds rows of its own", t->label);
    if (json_array_size(json_object_get(t->live, "rules")))
        return error_set(err, ERR_ROWS_TABLE, "%s has a rule that rewrites what is written to it", t->label);
    return 0;
}

static int name_it(struct pg_row_table *t, struct error *err) {
    CLEANUP(buf_free) struct buf b = BUF_INIT(4096);
    struct bytes schema = BYTES_STR(t->pick.schema), table = BYTES_STR(t->pick.table);
    int rc = pg_qualified(&b, schema, table, err);
    if (rc == 0) rc = buf_terminate(&b, err);
    return rc < 0 ? rc : mem_strdup((const char *)b.ptr, &t->label, err);
}

/* A table that others inherit from holds its own rows; one that is made of parts holds theirs. */
static int sql_of(struct pg_row_table *t, struct error *err) {
    CLEANUP(buf_free) struct buf b = BUF_INIT(4096);
    bool parts = !strcmp(json_string_value(json_object_get(t->live, "kind")), "p") ||
                 json_is_true(json_object_get(t->live, "hyper"));
    int rc = buf_append_str(&b, parts ? "" : "ONLY ", err);
    if (rc == 0) rc = pg_ident(&b, BYTES_STR(t->pick.schema), err);
    if (rc == 0) rc = buf_append_str(&b, ".", err);
    if (rc == 0) rc = pg_ident(&b, BYTES_STR(t->pick.table), err);
    if (rc == 0) rc = buf_terminate(&b, err);
    return rc < 0 ? rc : mem_strdup((const char *)b.ptr, &t->sql, err);
}

static int open_table(PGconn *live, struct pg_row_table *t, struct error *err) {
    int rc = name_it(t, err);
    if (rc == 0) rc = pg_table_describe(live, t->pick.schema, t->pick.table, &t->live, err);
    if (rc == 0) rc = refuse_kind(t, err);
    if (rc == 0) rc = sql_of(t, err);
    return rc == 0 ? pg_row_table_match(t, NULL, err) : rc;
}

int pg_row_table_open(PGconn *live, struct pg_pick *pick, bool picked, struct pg_row_table *ret, struct error *err) {
    struct pg_row_table t = {.pick = *pick, .picked = picked};
    *pick = (struct pg_pick){0};
    int rc = open_table(live, &t, err);
    if (rc < 0) {
        pg_row_table_free(&t);
        return rc;
    }
    *ret = t;
    return 0;
}

void pg_row_table_free(struct pg_row_table *t) {
    pg_pick_free(&t->pick);
    seam_free(t->label);
    seam_free(t->sql);
    seam_free(t->columns);
    seam_free(t->key);
    json_decref(t->live);
    json_decref(t->then);
    json_decref(t->gone);
    json_decref(t->fresh);
    *t = (struct pg_row_table){0};
}

/* ---- columns and key ---- */
static size_t sequence_of(const json_t *description, const char *column) {
    const json_t *s;
    size_t i;
    json_array_foreach(json_object_get(description, "sequences"), i,
                       s) if (!strcmp(json_string_value(json_object_get(s, "column")), column)) return i +
        1;
    return 0;
}

static int choose_columns(struct pg_row_table *t, const json_t *then, struct error *err) {
    const json_t *list = json_object_get(t->live, "columns"), *c;
    size_t i;
    int rc = mem_alloc((json_array_size(list) + 1) * sizeof *t->columns, (void **)&t->columns, err);
    if (rc == 0) t->gone = json_array();
    if (rc == 0) t->fresh = json_array();
    if (rc == 0 && (!t->gone || !t->fresh)) rc = error_set(err, ERR_NO_MEMORY, "no memory");
    json_array_foreach(list, i, c) {
        const char *name = json_string_value(json_object_get(c, "name"));
        if (rc < 0) break;
        if (json_is_true(json_object_get(c, "generated"))) continue;
        if (!column_of(then, name)) {
            rc = json_push(t->fresh, json_string(name), err);
            continue;
        }
        t->columns[t->column_count++] = (struct pg_row_column){
            .name = name,
            .cast = json_string_value(json_object_get(c, "cast")),
            .always = !strcmp(json_string_value(json_object_get(c, "identity")), "a"),
            .sequence = sequence_of(t->live, name),
        };
    }
    json_array_foreach(json_object_get(then, "columns"), i, c) {
        const char *name = json_string_value(json_object_get(c, "name"));
        if (rc == 0 && !column_of(t->live, name)) rc = json_push(t->gone, json_string(name), err);
    }
    return rc;
}

static int add_key(struct pg_row_table *t, const char *name, const char *op, struct error *err) {
    for (size_t i = 0; i < t->column_count; i++) {
        if (strcmp(t->columns[i].name, name) != 0) continue;
        t->columns[i].op = op;
        t->key[t->key_count++] = i;
        return 0;
    }
    return error_set(err, ERR_ROWS_KEY, "%s: the column %s of its key is not in both, or is computed", t->label, name);
}

/* Whether an index has just the declared columns, in any order. */
static bool covers(const json_t *index, const json_t *declared) {
    const json_t *columns = json_object_get(index, "columns"), *c, *d;
    size_t i, k, hits = 0;
    json_array_foreach(columns, i, c) json_array_foreach(declared, k, d) hits +=
        !strcmp(json_string_value(json_object_get(c, "column")), json_string_value(d));
    return hits == json_array_size(declared) && hits == json_array_size(columns);
}

static int choose_key(struct pg_row_table *t, struct error *err) {
    const json_t *keys = json_object_get(t->live, "keys"), *chosen = NULL, *c;
    const json_t *declared = t->pick.columns;
    size_t i;
    if (!declared)
        chosen = json_array_get(keys, 0);
    else
        json_array_foreach(keys, i, c) if (!chosen && covers(c, declared)) chosen = c;
    if (!chosen && !declared) {
        error_set(err, ERR_ROWS_KEY, "%s has neither a primary key nor a unique index of columns that are never null",
                  t->label);
        return error_next(err, "Name columns that tell its rows apart: '%.100s(column,…)'.", t->label);
    }
    const json_t *list = chosen ? json_object_get(chosen, "columns") : declared;
    int rc = mem_alloc((json_array_size(list) + 1) * sizeof *t->key, (void **)&t->key, err);
    t->key_unique = chosen != NULL;
    json_array_foreach(list, i, c) {
        if (rc < 0) break;
        rc = chosen ? add_key(t, json_string_value(json_object_get(c, "column")),
                              json_string_value(json_object_get(c, "op")), err)
                    : add_key(t, json_string_value(c), "OPERATOR(pg_catalog.=)", err);
    }
    if (rc == 0 && t->pick.values && t->key_count != 1)
        rc = error_set(err, ERR_USAGE, "%s is keyed by %zu columns; choose its rows with ':where PREDICATE'", t->label,
                       t->key_count);
    return rc;
}

int pg_row_table_match(struct pg_row_table *t, json_t *then, struct error *err) {
    seam_free(t->columns);
    seam_free(t->key);
    json_decref(t->gone);
    json_decref(t->fresh);
    t->columns = NULL;
    t->key = NULL;
    t->gone = t->fresh = NULL;
    t->column_count = t->key_count = 0;
    if (then) {
        json_decref(t->then);
        t->then = then;
    }
    if (json_is_null(t->then)) return error_set(err, ERR_ROWS_TABLE, "the recovery point has no table %s", t->label);
    int rc = choose_columns(t, t->then ? t->then : t->live, err);
    return rc == 0 ? choose_key(t, err) : rc;
}

/* ---- as SQL ---- */
static int put_column(const struct pg_row_table *t, size_t i, const char *alias, struct buf *out, struct error *err) {
    int rc = alias ? buf_printf(out, err, "%s.", alias) : 0;
    return rc == 0 ? pg_ident(out, BYTES_STR(t->columns[i].name), err) : rc;
}

int pg_row_columns_sql(const struct pg_row_table *t, const char *alias, struct buf *out, struct error *err) {
    int rc = 0;
    for (size_t i = 0; rc == 0 && i < t->column_count; i++) {
        if (i) rc = buf_append_str(out, ", ", err);
        if (rc == 0) rc = put_column(t, i, alias, out, err);
    }
    return rc;
}

int pg_row_where_sql(const struct pg_row_table *t, struct buf *out, struct error *err) {
    const json_t *v;
    size_t i;
    /* The newline ends a comment that the predicate may end with. */
    if (t->pick.where) return buf_printf(out, err, "(%s\n)", t->pick.where);
    if (!t->pick.values) return buf_append_str(out, "true", err);
    int rc = buf_append_str(out, "(", err);
    json_array_foreach(t->pick.values, i, v) {
        const struct pg_row_column *k = &t->columns[t->key[0]];
        if (rc == 0 && i) rc = buf_append_str(out, " OR ", err);
        if (rc == 0) rc = put_column(t, t->key[0], "t", out, err);
        if (rc == 0) rc = buf_printf(out, err, " %s ", k->op);
        if (rc == 0) rc = pg_literal(out, BYTES_STR(json_string_value(v)), err);
        if (rc == 0) rc = buf_printf(out, err, "::%s", k->cast);
    }
    return rc == 0 ? buf_append_str(out, ")", err) : rc;
}

int pg_row_join_sql(const struct pg_row_table *t, struct buf *out, struct error *err) {
    int rc = 0;
    for (size_t i = 0; rc == 0 && i < t->key_count; i++) {
        const struct pg_row_column *k = &t->columns[t->key[i]];
        if (i) rc = buf_append_str(out, " AND ", err);
        if (rc == 0) rc = put_column(t, t->key[i], "t", out, err);
        if (rc == 0) rc = buf_printf(out, err, " %s k.k%zu::%s", k->op, i + 1, k->cast);
    }
    return rc;
}
