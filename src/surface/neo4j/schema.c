#include "surface/neo4j/graph_internal.h"

#include "base/seam.h"
#include <stdlib.h>

static const char constraints_query[] =
    "SHOW CONSTRAINTS YIELD name, type, entityType, labelsOrTypes, createStatement RETURN name, type, entityType, "
    "labelsOrTypes, createStatement ORDER BY name";
static const char indexes_query[] =
    "SHOW INDEXES YIELD name, type, entityType, labelsOrTypes, createStatement, owningConstraint WHERE "
    "owningConstraint "
    "IS NULL RETURN name, type, entityType, labelsOrTypes, createStatement ORDER BY name";

static json_t *text_of(const struct ps_value *v) {
    return json_stringn((const char *)v->text.ptr, v->text.len);
}

static int read_row(struct ps_in *in, json_t *list, struct error *err) {
    static const char *const keys[] = {"name", "kind", "entity", "of", "statement"};
    json_t *row = json_object(), *of = json_array();
    struct ps_value v, name;
    int r = row && of ? 0 : error_set(err, ERR_NO_MEMORY, "no memory");
    for (size_t i = 0; r == 0 && i < sizeof keys / sizeof *keys; i++) {
        r = ps_next(in, &v, err);
        if (r < 0) break;
        if (i == 3) {
            for (uint32_t k = 0; r == 0 && k < v.count; k++) {
                r = ps_need(in, PACK_TEXT, "a label of the schema", &name, err);
                if (r == 0) r = json_push(of, text_of(&name), err);
            }
            if (r == 0) r = json_put(row, keys[i], json_incref(of), err);
        } else if (v.kind != PACK_TEXT) {
            r = error_set(err, ERR_NEO4J_PROTOCOL, "%s of a constraint or an index is no text", keys[i]);
        } else {
            r = json_put(row, keys[i], text_of(&v), err);
        }
    }
    json_decref(of);
    const char *own = json_string_value(json_object_get(row, "name"));
    if (r < 0 || (own && !strcmp(own, IMPORT_CONSTRAINT)))
        json_decref(row);
    else
        r = json_push(list, row, err);
    return r;
}

static int read_list(struct bolt *b, const char *database, const char *query, const char *key, json_t *schema,
                     struct error *err) {
    struct bolt_rows q;
    struct ps_in in;
    uint32_t n = 0;
    bool end = false;
    json_t *list = json_array();
    int r = list ? bolt_query(b, database, BOLT_READ, query, BYTES_OF(NULL, 0), 1000, &q, err)
                 : error_set(err, ERR_NO_MEMORY, "no memory");
    while (r == 0 && !end) {
        r = bolt_row(&q, &in, &n, &end, err);
        if (r == 0 && !end && n == 5) r = read_row(&in, list, err);
    }
    if (r < 0) {
        json_decref(list);
        return error_wrap(err, "%s", key);
    }
    return json_put(schema, key, list, err);
}

int schema_read(struct bolt *b, const char *database, json_t **ret, struct error *err) {
    json_t *schema = json_object();
    int r = schema ? read_list(b, database, constraints_query, "constraints", schema, err)
                   : error_set(err, ERR_NO_MEMORY, "no memory");
    if (r == 0) r = read_list(b, database, indexes_query, "indexes", schema, err);
    if (r < 0)
        json_decref(schema);
    else
        *ret = schema;
    return r;
}

static bool counted(const json_t *row, const struct graph_count *c) {
    const char *entity = json_string_value(json_object_get(row, "entity"));
    const json_t *of = json_object_get(row, "of"), *name;
    const struct sums *t = entity && !strcmp(entity, "NODE") ? &c->labels : &c->types;
    size_t i;
    json_array_foreach(
        of, i, name) if (!sums_has(t, BYTES_OF(json_string_value(name), json_string_length(name)))) return false;
    return json_array_size(of) > 0;
}

int schema_narrow(json_t *schema, const struct graph_count *c, struct error *err) {
    static const char *const keys[] = {"constraints", "indexes"};
    for (size_t k = 0; k < 2; k++) {
        json_t *list = json_object_get(schema, keys[k]);
        for (size_t i = json_array_size(list); i-- > 0;)
            if (!counted(json_array_get(list, i), c) && json_array_remove(list, i) < 0)
                return error_set(err, ERR_INTERNAL, "a row of the schema could not be taken out");
    }
    return 0;
}

static bool is_lookup(const json_t *row) {
    const char *kind = json_string_value(json_object_get(row, "kind"));
    return kind && !strcmp(kind, "LOOKUP");
}

/* Look-up indexes are there of themselves, and a server may name them anew. */
int schema_count(const json_t *schema, struct graph_count *c, struct error *err) {
    const json_t *row;
    size_t i;
    (void)err;
    json_array_foreach(json_object_get(schema, "constraints"), i, row) {
        const json_t *s = json_object_get(row, "statement");
        c->constraints++;
        hash128_add(&c->schema_sum, mix_bytes(BYTES_OF(json_string_value(s), json_string_length(s))));
    }
    json_array_foreach(json_object_get(schema, "indexes"), i, row) {
        const json_t *s = json_object_get(row, "statement");
        if (is_lookup(row)) continue;
        c->indexes++;
        hash128_add(&c->schema_sum, mix_bytes(BYTES_OF(json_string_value(s), json_string_length(s))));
    }
    return 0;
}

/* ---- into a target ---- */
/* Whether the target has it: by name and statement, or for a look-up index one of the same entity. */
static int is_there(const json_t *row, const json_t *list, bool *ret, struct error *err) {
    const json_t *other;
    size_t i;
    *ret = false;
    json_array_foreach(list, i, other) {
        if (is_lookup(row) && is_lookup(other))
            *ret |= json_equal(json_object_get(row, "entity"), json_object_get(other, "entity"));
        if (!json_equal(json_object_get(row, "name"), json_object_get(other, "name"))) continue;
        *ret = json_equal(json_object_get(row, "statement"), json_object_get(other, "statement"));
        if (*ret || is_lookup(row)) break;
        return error_set(err, ERR_NEO4J_NOT_EMPTY, "the target has another constraint or index of the name %s",
                         json_string_value(json_object_get(row, "name")));
    }
    return 0;
}

int schema_make(struct bolt *b, const char *database, const json_t *wanted, const char *which, struct error *err) {
    json_t *have = NULL;
    const json_t *row;
    size_t i;
    int r = schema_read(b, database, &have, err);
    json_array_foreach(json_object_get(wanted, which), i, row) {
        bool there = false;
        const char *statement = json_string_value(json_object_get(row, "statement"));
        if (r == 0) r = is_there(row, json_object_get(have, which), &there, err);
        if (r == 0 && !there && statement) r = bolt_do(b, database, statement, BYTES_OF(NULL, 0), err);
        if (r < 0) break;
    }
    json_decref(have);
    return r < 0 ? error_wrap(err, "%s", which) : 0;
}

int schema_only(struct bolt *b, const char *database, const json_t *wanted, struct error *err) {
    static const char *const keys[] = {"constraints", "indexes"};
    json_t *have = NULL;
    const json_t *row;
    size_t i;
    int r = schema_read(b, database, &have, err);
    for (size_t k = 0; r == 0 && k < 2; k++) json_array_foreach(json_object_get(have, keys[k]), i, row) {
            bool there = false;
            if (r < 0 || is_lookup(row)) continue;
            r = is_there(row, json_object_get(wanted, keys[k]), &there, err);
            if (r == 0 && !there)
                r = error_set(err, ERR_NEO4J_NOT_EMPTY,
                              "%s: database %s has a constraint or index %s, which the snapshot has not", bolt_where(b),
                              database, json_string_value(json_object_get(row, "name")));
        }
    json_decref(have);
    return r;
}

int schema_await(struct bolt *b, const char *database, struct error *err) {
    int r = bolt_do(b, database, "CALL db.awaitIndexes(86000)", BYTES_OF(NULL, 0), err);
    return r < 0 ? error_wrap(err, "wait for the indexes") : 0;
}

static int drop(struct bolt *b, const char *database, const char *what, const json_t *row, struct error *err) {
    CLEANUP(buf_free) struct buf text = BUF_INIT(1u << 20);
    const json_t *name = json_object_get(row, "name");
    int r = buf_printf(&text, err, "DROP %s ", what);
    if (r == 0) r = value_put_cypher_name(BYTES_OF(json_string_value(name), json_string_length(name)), &text, err);
    if (r == 0) r = buf_append_str(&text, " IF EXISTS", err);
    if (r == 0) r = buf_terminate(&text, err);
    return r == 0 ? bolt_do(b, database, (const char *)text.ptr, BYTES_OF(NULL, 0), err) : r;
}

int schema_drop(struct bolt *b, const char *database, struct error *err) {
    json_t *have = NULL;
    const json_t *row;
    size_t i;
    int r = schema_read(b, database, &have, err);
    json_array_foreach(json_object_get(have, "constraints"), i, row) if (r == 0) r =
        drop(b, database, "CONSTRAINT", row, err);
    json_array_foreach(json_object_get(have, "indexes"), i, row) if (r == 0 && !is_lookup(row)) r =
        drop(b, database, "INDEX", row, err);
    if (r == 0) r = bolt_do(b, database, "DROP CONSTRAINT " IMPORT_CONSTRAINT " IF EXISTS", BYTES_OF(NULL, 0), err);
    json_decref(have);
    return r;
}
