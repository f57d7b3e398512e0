#include "surface/postgres/rows_diff.h"

#include "base/seam.h"
#include "base/thread.h"

#define FIRST_SHOWN 10
#define WANTED_MAX 500000 /* rows that are referred to and must be brought: kept in memory until they are found */
#define BATCH 500

/* One foreign key, and the rows that it is about. */
struct link {
    size_t table;     /* that refers */
    const json_t *fk; /* borrowed from its description */
    size_t parent;    /* place among the tables, or their number */
    json_t *wanted;   /* {tuple as an array's text: [texts]}: to be brought */
    json_t *seen;     /* {tuple: true}: was wanted before */
    json_t *first;    /* [[texts]] of those that stay missing */
    uint64_t missing;
};
struct pg_parents {
    struct link *links;
    size_t count, cap;
    size_t wanted;
    json_t *taken; /* [{key as an array's text: true}], one a table */
};

int pg_parents_new(struct pg_parents **ret, struct error *err) {
    struct pg_parents *p;
    int rc = mem_alloc(sizeof *p, (void **)&p, err);
    if (rc < 0) return rc;
    p->taken = json_array();
    if (!p->taken) {
        seam_free(p);
        return error_set(err, ERR_NO_MEMORY, "no memory");
    }
    *ret = p;
    return 0;
}

void pg_parents_free(struct pg_parents *p) {
    if (!p) return;
    for (size_t i = 0; i < p->count; i++) {
        json_decref(p->links[i].wanted);
        json_decref(p->links[i].seen);
        json_decref(p->links[i].first);
    }
    json_decref(p->taken);
    seam_free(p->links);
    seam_free(p);
}

static size_t table_named(const struct pg_rows_side *s, const json_t *fk) {
    const char *schema = json_string_value(json_object_get(fk, "schema")),
               *name = json_string_value(json_object_get(fk, "table"));
    size_t i = 0;
    while (i < s->table_count &&
           (strcmp(s->tables[i].pick.schema, schema) != 0 || strcmp(s->tables[i].pick.table, name) != 0))
        i++;
    return i;
}

static int link_of(struct pg_parents *p, const struct pg_rows_side *s, size_t table, const json_t *fk, size_t *ret,
                   struct error *err) {
    for (*ret = 0; *ret < p->count; ++*ret)
        if (p->links[*ret].fk == fk) return 0;
    int rc = mem_grow((void **)&p->links, &p->cap, p->count + 1, sizeof *p->links, err);
    if (rc < 0) return rc;
    struct link l = {.table = table,
                     .fk = fk,
                     .parent = table_named(s, fk),
                     .wanted = json_object(),
                     .seen = json_object(),
                     .first = json_array()};
    p->links[p->count++] = l;
    return l.wanted && l.seen && l.first ? 0 : error_set(err, ERR_NO_MEMORY, "no memory");
}

/* ---- tuples as parameters ---- */
struct tuples {
    struct buf arrays[PG_PICK_COLUMNS_MAX];
    const char *params[PG_PICK_COLUMNS_MAX];
    size_t width, count;
};

static int tuples_begin(struct tuples *t, size_t width, struct error *err) {
    *t = (struct tuples){.width = width};
    if (width > PG_PICK_COLUMNS_MAX) return error_set(err, ERR_ROWS_TABLE, "a foreign key of %zu columns", width);
    for (size_t i = 0; i < width; i++) {
        t->arrays[i] = BUF_INIT(CHANGE_LINE_BYTES_MAX);
        int rc = buf_append(&t->arrays[i], "{", 1, err);
        if (rc < 0) return rc;
    }
    return 0;
}

static void tuples_free(struct tuples *t) {
    for (size_t i = 0; i < t->width && i < PG_PICK_COLUMNS_MAX; i++) buf_free(&t->arrays[i]);
}

static int tuples_push(struct tuples *t, const struct change_value *v, struct error *err) {
    int rc = 0;
    for (size_t i = 0; rc == 0 && i < t->width; i++) rc = pg_array_push(&t->arrays[i], v[i].text, v[i].len, err);
    t->count++;
    return rc;
}

static int tuples_end(struct tuples *t, struct error *err) {
    int rc = 0;
    for (size_t i = 0; rc == 0 && i < t->width; i++) {
        rc = buf_append(&t->arrays[i], "}", 1, err);
        if (rc == 0) rc = buf_terminate(&t->arrays[i], err);
        t->params[i] = (const char *)t->arrays[i].ptr;
    }
    return rc;
}

/* FROM unnest(…) k, and the condition that a parent row (alias t) is the one that tuple k means. */
static int from_sql(size_t width, struct buf *out, struct error *err) {
    int rc = buf_append_str(out, " FROM unnest(", err);
    for (size_t i = 1; rc == 0 && i <= width; i++) rc = buf_printf(out, err, "%s$%zu::text[]", i > 1 ? ", " : "", i);
    if (rc == 0) rc = buf_append_str(out, ") WITH ORDINALITY AS k(", err);
    for (size_t i = 1; rc == 0 && i <= width; i++) rc = buf_printf(out, err, "k%zu, ", i);
    return rc == 0 ? buf_append_str(out, "ord)", err) : rc;
}

static int meant_sql(const struct link *l, struct buf *out, struct error *err) {
    const json_t *c;
    size_t i;
    int rc = 0;
    json_array_foreach(json_object_get(l->fk, "columns"), i, c) {
        if (rc == 0) rc = buf_append_str(out, i ? " AND t." : "t.", err);
        if (rc == 0) rc = pg_ident(out, BYTES_STR(json_string_value(json_object_get(c, "remote"))), err);
        if (rc == 0)
            rc = buf_printf(out, err, " %s k.k%zu::%s", json_string_value(json_object_get(c, "op")), i + 1,
                            json_string_value(json_object_get(c, "cast")));
    }
    return rc;
}

static int parent_sql(const struct pg_rows_side *s, const struct link *l, struct buf *out, struct error *err) {
    if (l->parent < s->table_count) return buf_append_str(out, s->tables[l->parent].sql, err);
    int rc = pg_ident(out, BYTES_STR(json_string_value(json_object_get(l->fk, "schema"))), err);
    if (rc == 0) rc = buf_append_str(out, ".", err);
    return rc == 0 ? pg_ident(out, BYTES_STR(json_string_value(json_object_get(l->fk, "table"))), err) : rc;
}

/* Which tuples have no parent row (live), or have one that the pick takes (past). */
static int ask_exists(PGconn *c, const struct pg_rows_side *s, const struct link *l, bool picked,
                      const struct tuples *t, PGresult **ret, struct error *err) {
    CLEANUP(buf_free) struct buf sql = BUF_INIT(1 << 20);
    int rc = buf_append_str(&sql, "SELECT k.ord", err);
    if (rc == 0) rc = from_sql(t->width, &sql, err);
    if (rc == 0) rc = buf_printf(&sql, err, " WHERE %sEXISTS (SELECT 1 FROM ", picked ? "" : "NOT ");
    if (rc == 0) rc = parent_sql(s, l, &sql, err);
    if (rc == 0) rc = buf_append_str(&sql, " t WHERE ", err);
    if (rc == 0) rc = meant_sql(l, &sql, err);
    if (rc == 0 && picked) rc = buf_append_str(&sql, " AND ", err);
    if (rc == 0 && picked) rc = pg_row_where_sql(&s->tables[l->parent], &sql, err);
    if (rc == 0) rc = buf_append_str(&sql, ") ORDER BY k.ord", err);
    if (rc == 0) rc = buf_terminate(&sql, err);
    return rc < 0 ? rc : pg_rows_run(c, &sql, (int)t->width, t->params, ret, err);
}

/* ---- checking ---- */
static json_t *tuple_json(const struct change_value *v, size_t width) {
    json_t *list = json_array();
    for (size_t i = 0; list && i < width; i++)
        if (json_array_append_new(list, json_stringn_nocheck(v[i].text, v[i].len)) < 0) {
            json_decref(list);
            return NULL;
        }
    return list;
}

static int tuple_text(const struct change_value *v, size_t width, struct buf *out, struct error *err) {
    buf_clear(out);
    int rc = buf_append(out, "{", 1, err);
    for (size_t i = 0; rc == 0 && i < width; i++) rc = pg_array_push(out, v[i].text, v[i].len, err);
    return rc == 0 ? buf_terminate(out, err) : rc;
}

static int stay_missing(struct link *l, json_t *tuple, struct error *err) {
    l->missing++;
    if (!tuple) return error_set(err, ERR_NO_MEMORY, "no memory");
    if (json_array_size(l->first) < FIRST_SHOWN) return json_push(l->first, tuple, err);
    json_decref(tuple);
    return 0;
}

static int want(struct pg_parents *p, struct link *l, const struct change_value *v, size_t width, struct error *err) {
    CLEANUP(buf_free) struct buf key = BUF_INIT(CHANGE_LINE_BYTES_MAX);
    int rc = tuple_text(v, width, &key, err);
    if (rc < 0 || json_object_get(l->seen, (const char *)key.ptr)) return rc;
    if (++p->wanted > WANTED_MAX) {
        error_set(err, ERR_ROWS_PARENTS, "more than %d rows of %s would have to come along", WANTED_MAX,
                  json_string_value(json_object_get(l->fk, "table")));
        return error_next(err, "Name that table with --rows as well.");
    }
    if (json_object_set_new_nocheck(l->seen, (const char *)key.ptr, json_true()) < 0 ||
        json_object_set_new_nocheck(l->wanted, (const char *)key.ptr, tuple_json(v, width)) < 0)
        return error_set(err, ERR_NO_MEMORY, "no memory");
    return 0;
}

static int check_batch(struct pg_parents *p, struct pg_rows_side *s, struct link *l, struct change_value *tuples,
                       size_t width, size_t n, struct error *err) {
    CLEANUP(pg_clearp) PGresult *lacking = NULL;
    CLEANUP(pg_clearp) PGresult *taken = NULL;
    struct tuples t;
    int rc = tuples_begin(&t, width, err);
    for (size_t i = 0; rc == 0 && i < n; i++) rc = tuples_push(&t, tuples + i * width, err);
    if (rc == 0) rc = tuples_end(&t, err);
    if (rc == 0) rc = ask_exists(s->live, s, l, false, &t, &lacking, err);
    bool picked = s->takes_deleted && l->parent < s->table_count && s->tables[l->parent].picked;
    if (rc == 0 && picked && PQntuples(lacking)) rc = ask_exists(s->then, s, l, true, &t, &taken, err);
    tuples_free(&t);
    for (int i = 0, k = 0; rc == 0 && i < PQntuples(lacking); i++) {
        unsigned long ord = strtoul(pg_value(lacking, i, 0), NULL, 10);
        bool comes = false;
        /* Both come in the order of the tuples. */
        for (; taken && k < PQntuples(taken) && strtoul(pg_value(taken, k, 0), NULL, 10) <= ord; k++)
            comes = strtoul(pg_value(taken, k, 0), NULL, 10) == ord;
        if (comes || ord == 0 || ord > n) continue;
        const struct change_value *v = tuples + (ord - 1) * width;
        bool brought = s->with_parents && l->parent < s->table_count;
        rc = brought ? want(p, l, v, width, err) : stay_missing(l, tuple_json(v, width), err);
    }
    return rc;
}

/* Where the foreign key's columns are among the table's; false when one of them is not there at all. */
static bool places_of(const struct pg_row_table *t, const json_t *fk, size_t *places) {
    const json_t *c;
    size_t i, k;
    json_array_foreach(json_object_get(fk, "columns"), i, c) {
        const char *local = json_string_value(json_object_get(c, "local"));
        for (k = 0; k < t->column_count && strcmp(t->columns[k].name, local) != 0;) k++;
        if (k == t->column_count || i >= PG_PICK_COLUMNS_MAX) return false;
        places[i] = k;
    }
    return true;
}

static int check_link(struct pg_parents *p, struct pg_rows_side *s, size_t table, const json_t *fk, size_t n,
                      const struct change_value *const *rows, struct error *err) {
    size_t places[PG_PICK_COLUMNS_MAX], at, count = 0, width = json_array_size(json_object_get(fk, "columns"));
    struct change_value *tuples;
    if (!places_of(&s->tables[table], fk, places)) return 0;
    int rc = link_of(p, s, table, fk, &at, err);
    if (rc == 0) rc = mem_alloc((n * width + 1) * sizeof *tuples, (void **)&tuples, err);
    if (rc < 0) return rc;
    for (size_t i = 0; i < n; i++) {
        bool null = false;
        for (size_t k = 0; k < width; k++) {
            tuples[count * width + k] = rows[i][places[k]];
            null |= !rows[i][places[k]].text;
        }
        count += !null; /* what is null refers to nothing */
    }
    if (count) rc = check_batch(p, s, &p->links[at], tuples, width, count, err);
    seam_free(tuples);
    return rc;
}

int pg_parents_check(struct pg_parents *p, struct pg_rows_side *s, size_t table, size_t n,
                     const struct change_value *const *rows, struct error *err) {
    const json_t *fk;
    size_t i;
    int rc = 0;
    json_array_foreach(json_object_get(s->tables[table].live, "fks"), i, fk) if (rc == 0) rc =
        check_link(p, s, table, fk, n, rows, err);
    return rc;
}

/* ---- taking ---- */
static int ask_rows(const struct pg_rows_side *s, const struct link *l, const struct tuples *t, PGresult **ret,
                    struct error *err) {
    CLEANUP(buf_free) struct buf sql = BUF_INIT(1 << 20);
    int rc = buf_append_str(&sql, "SELECT k.ord, ", err);
    if (rc == 0) rc = pg_row_columns_sql(&s->tables[l->parent], "t", &sql, err);
    if (rc == 0) rc = from_sql(t->width, &sql, err);
    if (rc == 0) rc = buf_append_str(&sql, " JOIN ", err);
    if (rc == 0) rc = parent_sql(s, l, &sql, err);
    if (rc == 0) rc = buf_append_str(&sql, " t ON ", err);
    if (rc == 0) rc = meant_sql(l, &sql, err);
    if (rc == 0) rc = buf_append_str(&sql, " ORDER BY k.ord", err);
    if (rc == 0) rc = buf_terminate(&sql, err);
    return rc < 0 ? rc : pg_rows_run(s->then, &sql, (int)t->width, t->params, ret, err);
}

/* Each row once, whichever foreign key asks for it. */
static int take_row(struct pg_parents *p, struct pg_rows_side *s, size_t table, const struct change_value *row,
                    struct error *err) {
    const struct pg_row_table *t = &s->tables[table];
    CLEANUP(buf_free) struct buf text = BUF_INIT(CHANGE_LINE_BYTES_MAX);
    struct change_value key[PG_PICK_COLUMNS_MAX];
    int rc = 0;
    while (rc == 0 && json_array_size(p->taken) <= table) rc = json_push(p->taken, json_object(), err);
    for (size_t i = 0; i < t->key_count && i < PG_PICK_COLUMNS_MAX; i++) key[i] = row[t->key[i]];
    if (rc == 0) rc = tuple_text(key, t->key_count, &text, err);
    json_t *taken = json_array_get(p->taken, table);
    if (rc < 0 || json_object_get(taken, (const char *)text.ptr)) return rc;
    if (json_object_set_new_nocheck(taken, (const char *)text.ptr, json_true()) < 0)
        return error_set(err, ERR_NO_MEMORY, "no memory");
    rc = change_set_row(s->out, table, CHANGE_ROW_DELETED, true, t->column_count, t->key, t->key_count, row, NULL, err);
    s->parents_taken[table]++;
    return rc == 0 ? pg_parents_check(p, s, table, 1, &row, err) : rc;
}

static int take_rows(struct pg_parents *p, struct pg_rows_side *s, size_t table, const PGresult *q, struct error *err) {
    size_t width = s->tables[table].column_count;
    struct change_value *row = NULL;
    int rc = mem_alloc((width + 1) * sizeof *row, (void **)&row, err);
    for (int i = 0; rc == 0 && i < PQntuples(q); i++) {
        for (size_t k = 0; k < width; k++) {
            bool null = PQgetisnull(q, i, (int)k + 1);
            row[k] = (struct change_value){null ? NULL : PQgetvalue(q, i, (int)k + 1),
                                           (size_t)PQgetlength(q, i, (int)k + 1)};
        }
        rc = take_row(p, s, table, row, err);
    }
    seam_free(row);
    return rc;
}

static int lacking_in_past(struct link *l, const PGresult *q, json_t *batch, struct error *err) {
    int rc = 0, k = 0;
    const json_t *tuple;
    size_t i;
    json_array_foreach(batch, i, tuple) {
        bool found = false;
        for (; k < PQntuples(q) && strtoul(pg_value(q, k, 0), NULL, 10) <= i + 1; k++) found = true;
        if (rc == 0 && !found) rc = stay_missing(l, json_incref((json_t *)tuple), err);
    }
    return rc;
}

/* `at` and not a pointer: taking rows may add links, which moves them. */
static int take_link(struct pg_parents *p, struct pg_rows_side *s, size_t at, struct error *err) {
    CLEANUP(pg_clearp) PGresult *q = NULL;
    size_t width = json_array_size(json_object_get(p->links[at].fk, "columns"));
    struct tuples t;
    json_t *batch = json_array(), *tuple;
    const char *key;
    void *next;
    int rc = batch ? tuples_begin(&t, width, err) : error_set(err, ERR_NO_MEMORY, "no memory");
    if (!batch) return rc;
    json_object_foreach_safe(p->links[at].wanted, next, key, tuple) {
        struct change_value v[PG_PICK_COLUMNS_MAX];
        if (rc < 0 || json_array_size(batch) == BATCH) break;
        for (size_t i = 0; i < width; i++) {
            const json_t *one = json_array_get(tuple, i);
            v[i] = (struct change_value){json_string_value(one), json_string_length(one)};
        }
        rc = tuples_push(&t, v, err);
        if (rc == 0) rc = json_push(batch, json_incref(tuple), err);
        json_object_del(p->links[at].wanted, key);
    }
    if (rc == 0) rc = tuples_end(&t, err);
    if (rc == 0) rc = ask_rows(s, &p->links[at], &t, &q, err);
    if (rc == 0) rc = lacking_in_past(&p->links[at], q, batch, err);
    if (rc == 0) rc = take_rows(p, s, p->links[at].parent, q, err);
    tuples_free(&t);
    json_decref(batch);
    return rc;
}

int pg_parents_take(struct pg_parents *p, struct pg_rows_side *s, struct error *err) {
    int rc = 0;
    for (bool more = s->with_parents; rc == 0 && more;) {
        more = false;
        for (size_t i = 0; rc == 0 && i < p->count; i++) {
            if (json_object_size(p->links[i].wanted) == 0) continue;
            more = true;
            rc = stop_check(err);
            if (rc == 0) rc = take_link(p, s, i, err);
        }
    }
    return rc;
}

int pg_parents_missing(const struct pg_parents *p, bool payload, json_t **ret, struct error *err) {
    json_t *list = json_array();
    int rc = list ? 0 : error_set(err, ERR_NO_MEMORY, "no memory");
    for (size_t i = 0; rc == 0 && i < p->count; i++) {
        const struct link *l = &p->links[i];
        CLEANUP(buf_free) struct buf parent = BUF_INIT(4096);
        if (!l->missing) continue;
        rc = pg_qualified(&parent, BYTES_STR(json_string_value(json_object_get(l->fk, "schema"))),
                          BYTES_STR(json_string_value(json_object_get(l->fk, "table"))), err);
        if (rc == 0) rc = buf_terminate(&parent, err);
        if (rc < 0) break;
        json_t *one = json_pack("{s:i, s:s, s:s, s:I}", "referring", (int)l->table, "constraint",
                                json_string_value(json_object_get(l->fk, "name")), "parent", (const char *)parent.ptr,
                                "rows", (json_int_t)l->missing);
        if (one && payload && json_object_set(one, "first", l->first) < 0)
            rc = error_set(err, ERR_NO_MEMORY, "no memory");
        if (rc == 0) rc = json_push(list, one, err);
    }
    if (rc < 0)
        json_decref(list);
    else
        *ret = list;
    return rc;
}
