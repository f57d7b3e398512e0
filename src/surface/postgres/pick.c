#include "surface/postgres/rows_diff.h"

#include "base/seam.h"

#include <strings.h>

struct text { /* what is left of a pick */
    const char *whole, *at;
};

static int bad(const struct text *t, struct error *err, const char *what) {
    error_set(err, ERR_USAGE, "'%.80s': %s", t->whole, what);
    return error_next(err, "Write 'schema.table', 'schema.table:KEY,KEY' or 'schema.table:where PREDICATE'.");
}

static bool bare(char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_' || c == '$' ||
           (unsigned char)c >= 0x80;
}

/* As SQL has them: quoted as it stands, else folded. */
static int identifier(struct text *t, struct buf *out, struct error *err) {
    int rc = 0;
    buf_clear(out);
    if (*t->at == '"') {
        for (t->at++; rc == 0 && *t->at && (*t->at != '"' || t->at[1] == '"'); t->at++) {
            if (*t->at == '"') t->at++;
            rc = buf_append(out, t->at, 1, err);
        }
        if (rc == 0 && *t->at != '"') return bad(t, err, "a quoted name has no end");
        t->at++;
    } else {
        for (; rc == 0 && bare(*t->at); t->at++) {
            char c = *t->at >= 'A' && *t->at <= 'Z' ? (char)(*t->at + 32) : *t->at;
            rc = buf_append(out, &c, 1, err);
        }
    }
    if (rc == 0 && out->len == 0)
        return bad(t, err, "a name is missing; other than plain names stand in double quotes");
    return rc < 0 ? rc : buf_terminate(out, err);
}

static int table_name(struct text *t, struct pg_pick *p, struct error *err) {
    CLEANUP(buf_free) struct buf name = BUF_INIT(4096);
    int rc = identifier(t, &name, err);
    if (rc == 0) rc = mem_strdup((const char *)name.ptr, &p->table, err);
    if (rc < 0) return rc;
    if (*t->at != '.') return mem_strdup("public", &p->schema, err);
    t->at++;
    p->schema = p->table;
    p->table = NULL;
    rc = identifier(t, &name, err);
    return rc < 0 ? rc : mem_strdup((const char *)name.ptr, &p->table, err);
}

static int key_columns(struct text *t, struct pg_pick *p, struct error *err) {
    CLEANUP(buf_free) struct buf name = BUF_INIT(4096);
    if (!(p->columns = json_array())) return error_set(err, ERR_NO_MEMORY, "no memory");
    do {
        t->at++;
        while (*t->at == ' ') t->at++;
        int rc = identifier(t, &name, err);
        if (rc == 0) rc = json_push(p->columns, json_string((const char *)name.ptr), err);
        if (rc < 0) return rc;
        while (*t->at == ' ') t->at++;
    } while (*t->at == ',');
    if (*t->at++ != ')') return bad(t, err, "the list of the key's columns has no end");
    return json_array_size(p->columns) <= PG_PICK_COLUMNS_MAX ? 0 : bad(t, err, "too many columns");
}

static int key_values(struct text *t, struct pg_pick *p, struct error *err) {
    if (!(p->values = json_array())) return error_set(err, ERR_NO_MEMORY, "no memory");
    for (;;) {
        size_t n = strcspn(t->at, ",");
        if (n == 0) return bad(t, err, "a key is empty");
        int rc = json_push(p->values, json_stringn(t->at, n), err);
        if (rc < 0) return rc;
        t->at += n;
        if (!*t->at) break;
        t->at++;
    }
    return json_array_size(p->values) <= PG_PICK_VALUES_MAX ? 0 : bad(t, err, "too many keys; use a predicate");
}

static int parse(const char *text, struct pg_pick *p, struct error *err) {
    struct text t = {text, text};
    int rc = table_name(&t, p, err);
    if (rc == 0 && *t.at == '(') rc = key_columns(&t, p, err);
    if (rc < 0 || !*t.at) return rc;
    if (*t.at++ != ':') return bad(&t, err, "nobody knows what stands behind the table's name");
    if (strncasecmp(t.at, "where", 5) != 0 || bare(t.at[5])) return key_values(&t, p, err);
    t.at += 5;
    while (*t.at == ' ' || *t.at == '\n') t.at++;
    if (!*t.at) return bad(&t, err, "the predicate is empty");
    return mem_strdup(t.at, &p->where, err);
}

int pg_pick_parse(const char *text, struct pg_pick *ret, struct error *err) {
    struct pg_pick p = {0};
    int rc = parse(text, &p, err);
    if (rc < 0) {
        pg_pick_free(&p);
        return rc;
    }
    *ret = p;
    return 0;
}

void pg_pick_free(struct pg_pick *p) {
    seam_free(p->schema);
    seam_free(p->table);
    seam_free(p->where);
    json_decref(p->columns);
    json_decref(p->values);
    *p = (struct pg_pick){0};
}

/* ---- what a restore includes ---- */
static int glob(struct buf *out, const char *name, struct error *err) {
    int rc = 0;
    for (; rc == 0 && *name; name++) {
        if (strchr("*?[\\", *name)) rc = buf_append(out, "\\", 1, err);
        if (rc == 0) rc = buf_append(out, name, 1, err);
    }
    return rc;
}

int pg_rows_scope(const char *database, const char *pick, struct buf *ret, struct error *err) {
    struct pg_pick p;
    int rc = pg_pick_parse(pick, &p, err);
    if (rc < 0) return rc;
    /* A slash in a name would be one of an item's; then all of the database comes. */
    if (strchr(p.schema, '/') || strchr(p.table, '/')) {
        rc = pg_item_name(ret, BYTES_STR(database), "contents", err);
    } else {
        rc = pg_item_name(ret, BYTES_STR(database), "", err);
        if (rc == 0) rc = glob(ret, p.schema, err);
        if (rc == 0) rc = buf_append(ret, ".", 1, err);
        if (rc == 0) rc = glob(ret, p.table, err);
        if (rc == 0) rc = buf_terminate(ret, err);
    }
    pg_pick_free(&p);
    return rc;
}
