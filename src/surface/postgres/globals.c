#include "surface/postgres/postgres_internal.h"

#include "base/seam.h"
#include <ctype.h>

/* From the minor releases of August 2025 on, plain dumps carry a random token in \restrict lines for psql. We never
 * hand them to psql, and without them the same roles give the same bytes. */
static void drop_meta_lines(struct buf *b) {
    size_t out = 0;
    for (size_t at = 0; at < b->len;) {
        const uint8_t *nl = memchr(b->ptr + at, '\n', b->len - at);
        size_t n = nl ? (size_t)(nl - (b->ptr + at)) + 1 : b->len - at;
        bool meta =
            (n > 9 && !memcmp(b->ptr + at, "\\restrict", 9)) || (n > 11 && !memcmp(b->ptr + at, "\\unrestrict", 11));
        if (!meta) {
            memmove(b->ptr + out, b->ptr + at, n);
            out += n;
        }
        at += n;
    }
    b->len = out;
}

static int dump_passwords(PGconn *c, struct buf *out, bool *ret, struct error *err) {
    CLEANUP(pg_clearp) PGresult *may = NULL;
    CLEANUP(pg_clearp) PGresult *r = NULL;
    int rc = pg_query(c, &may, err, "SELECT pg_catalog.has_table_privilege('pg_catalog.pg_authid', 'SELECT')", 0, NULL);
    *ret = rc == 0 && pg_true(may, 0, 0);
    if (rc < 0 || !*ret) return rc;
    rc =
        pg_query(c, &r, err,
                 "SELECT rolname, rolpassword FROM pg_catalog.pg_authid WHERE rolpassword IS NOT NULL ORDER BY rolname",
                 0, NULL);
    for (int i = 0; rc == 0 && i < PQntuples(r); i++) {
        rc = buf_append_str(out, "ALTER ROLE ", err);
        if (rc == 0) rc = pg_ident(out, BYTES_STR(pg_value(r, i, 0)), err);
        if (rc == 0) rc = buf_append_str(out, " PASSWORD ", err);
        if (rc == 0) rc = pg_literal(out, BYTES_STR(pg_value(r, i, 1)), err);
        if (rc == 0) rc = buf_append_str(out, ";\n", err);
    }
    return rc;
}

int pg_globals_dump(const struct pg_settings *s, const struct pg_tools *t, PGconn *c, struct buf *roles,
                    struct buf *passwords, bool *ret_passwords, struct error *err) {
    char *conninfo = NULL;
    int r = pg_conninfo(s, s->dbname, &conninfo, err);
    if (r < 0) return r;
    const char *args[] = {"--globals-only", "--no-role-passwords", "--no-password", "--dbname", conninfo, NULL};
    r = pg_child_run(s, t, "pg_dumpall", args, NULL, NULL, roles, err);
    seam_free(conninfo);
    /* Its own end mark, because a text that stops early is still a text. */
    if (r == 0 && !memmem(roles->ptr, roles->len, "database cluster dump complete", 30))
        r = error_set(err, ERR_SOURCE_TRUNCATED, "the dump of the roles lacks its end mark");
    if (r == 0) {
        drop_meta_lines(roles);
        r = dump_passwords(c, passwords, ret_passwords, err);
    }
    return r < 0 ? error_wrap(err, "roles and tablespaces") : 0;
}

/* ---- reading them back ---- */
static int read_item(struct source *src, const struct source_head *h, struct buf *out, struct error *err) {
    struct source_item *it;
    struct bytes piece;
    int r = src->ops->open(src, h, &it, err);
    if (r < 0) return r;
    while ((r = src->ops->next(it, &piece, err)) == 0 && piece.len > 0) {
        r = piece.ptr ? buf_append(out, piece.ptr, piece.len, err)
                      : error_set(err, ERR_RESTORE_DIFFERS, "the roles' text has a hole");
        if (r < 0) break;
    }
    src->ops->close(it);
    return r;
}

struct globals_walk {
    struct source *src;
    struct buf *roles, *passwords;
};
static int globals_item(void *ctx, const struct source_head *h, struct error *err) {
    struct globals_walk *w = ctx;
    if (bytes_equal(h->name, BYTES_STR("globals/roles.sql"))) return read_item(w->src, h, w->roles, err);
    if (bytes_equal(h->name, BYTES_STR("globals/passwords.sql"))) return read_item(w->src, h, w->passwords, err);
    return 0;
}

int pg_globals_read(struct source *src, struct buf *roles, struct buf *passwords, struct error *err) {
    struct globals_walk w = {src, roles, passwords};
    return src->ops->walk(src, BYTES_STR("globals/"), globals_item, &w, err);
}

/* The next statement of pg_dumpall's text: up to its semicolon, without what stands before it. Lines for psql are not
 * SQL and never run. */
static bool next_statement(struct bytes *left, struct bytes *ret) {
    const uint8_t *p = left->ptr, *end = p + left->len;
    for (;;) {
        while (p < end && isspace(*p)) p++;
        if (p == end) return false;
        if (*p != '\\' && !(end - p > 1 && p[0] == '-' && p[1] == '-')) break;
        while (p < end && *p != '\n') p++;
    }
    const uint8_t *start = p;
    for (; p < end && *p != ';'; p++) {
        if (*p != '\'' && *p != '"') continue;
        uint8_t mark = *p;
        bool escapes = mark == '\'' && p > start && (p[-1] == 'E' || p[-1] == 'e');
        for (p++; p < end && *p != mark; p++)
            if (escapes && *p == '\\') p++;
        if (p >= end) break;
    }
    if (p >= end) return false;
    *ret = BYTES_OF(start, (size_t)(p - start));
    left->ptr = p + 1;
    left->len = (size_t)(end - p - 1);
    return true;
}

static bool word(struct bytes *s, const char *want) {
    size_t n = strlen(want);
    if (s->len <= n || memcmp(s->ptr, want, n) != 0 || s->ptr[n] != ' ') return false;
    s->ptr += n + 1;
    s->len -= n + 1;
    return true;
}

static int ident(struct bytes *s, struct buf *out, struct error *err) {
    size_t i = 0;
    int r = 0;
    buf_clear(out);
    if (s->len && s->ptr[0] == '"') {
        for (i = 1; r == 0 && i < s->len; i++) {
            if (s->ptr[i] == '"' && (i + 1 == s->len || s->ptr[i + 1] != '"')) break;
            if (s->ptr[i] == '"') i++;
            r = buf_append(out, s->ptr + i, 1, err);
        }
        i++;
    } else {
        while (i < s->len && s->ptr[i] != ' ') i++;
        r = buf_append(out, s->ptr, i, err);
    }
    if (i < s->len) i++; /* the space after it */
    if (i > s->len) i = s->len;
    s->ptr += i;
    s->len -= i;
    return r == 0 ? buf_terminate(out, err) : r;
}

static bool among(const json_t *names, const struct buf *name) {
    const json_t *v;
    size_t i;
    json_array_foreach(names, i, v) {
        if (bytes_equal(BYTES_STR(json_string_value(v)), buf_bytes(name))) return true;
    }
    return false;
}

static int role_exists(PGconn *c, const struct buf *name, bool *ret, struct error *err) {
    const char *params[] = {(const char *)name->ptr};
    CLEANUP(pg_clearp) PGresult *r = NULL;
    int rc = pg_query(c, &r, err, "SELECT 1 FROM pg_catalog.pg_roles WHERE rolname = $1", 1, params);
    if (rc == 0) *ret = PQntuples(r) > 0;
    return rc;
}

/* Whether a statement is about a role that this restore makes. */
static int concerns(PGconn *c, struct bytes sql, json_t *made, bool *ret, struct error *err) {
    CLEANUP(buf_free) struct buf name = BUF_INIT(4096);
    CLEANUP(buf_free) struct buf other = BUF_INIT(4096);
    bool exists = false;
    int r = 0;
    *ret = false;
    if (word(&sql, "CREATE ROLE")) {
        r = ident(&sql, &name, err);
        if (r == 0) r = role_exists(c, &name, &exists, err);
        if (r == 0 && !exists) {
            *ret = true;
            r = json_push(made, json_stringn((const char *)name.ptr, name.len), err);
        }
    } else if (word(&sql, "ALTER ROLE") || word(&sql, "COMMENT ON ROLE")) {
        r = ident(&sql, &name, err);
        *ret = r == 0 && among(made, &name);
    } else if (word(&sql, "GRANT")) {
        r = ident(&sql, &name, err);
        if (r == 0 && word(&sql, "TO")) {
            r = ident(&sql, &other, err);
            *ret = r == 0 && (among(made, &name) || among(made, &other));
        }
    }
    return r;
}

static int apply(PGconn *c, struct bytes text, json_t *made, struct error *err) {
    struct bytes sql;
    while (next_statement(&text, &sql)) {
        bool run;
        int r = concerns(c, sql, made, &run, err);
        if (r == 0 && run) r = pg_command(c, err, "%.*s", (int)sql.len, (const char *)sql.ptr);
        if (r < 0) return error_wrap(err, "make the roles that are missing");
    }
    return 0;
}

int pg_globals_apply(PGconn *c, struct bytes roles, struct bytes passwords, json_t *made, struct error *err) {
    int r = pg_command(c, err, "BEGIN");
    if (r == 0) r = apply(c, roles, made, err);
    if (r == 0) r = apply(c, passwords, made, err);
    struct error ignored = ERROR_INIT;
    if (r == 0) return pg_command(c, err, "COMMIT");
    (void)!pg_command(c, &ignored, "ROLLBACK"); /* a dead connection has rolled back */
    json_array_clear(made);
    return r;
}
