#include "surface/postgres/rows_diff.h"

#include "base/seam.h"

#include <stdio.h>

int pg_rows_connect(const struct pg_settings *s, const char *database, const char *begin, PGconn **ret,
                    struct error *err) {
    PGconn *c = NULL;
    int rc = pg_connect(s, database, &c, err);
    if (rc < 0) return rc;
    /* A database without an encoding has bytes, which nobody can translate. */
    const char *encoding = PQparameterStatus(c, "server_encoding");
    if (encoding && strcmp(encoding, "SQL_ASCII") != 0 && PQsetClientEncoding(c, "UTF8") != 0)
        rc = error_set(err, ERR_PG_QUERY, "read database %s as UTF-8: %s", database, PQerrorMessage(c));
    if (rc == 0) rc = pg_command(c, err, "%s", begin);
    if (rc < 0) {
        PQfinish(c);
        return rc;
    }
    *ret = c;
    return 0;
}

int pg_rows_run(PGconn *c, const struct buf *sql, int n, const char *const *params, PGresult **ret, struct error *err) {
    PGresult *r = PQexecParams(c, (const char *)sql->ptr, n, NULL, params, NULL, NULL, 0);
    ExecStatusType st = PQresultStatus(r);
    if (st != PGRES_TUPLES_OK && st != PGRES_COMMAND_OK) {
        char what[16]; /* the verb; never what follows it */
        snprintf(what, sizeof what, "%.*s", (int)strcspn((const char *)sql->ptr, " \n"), (const char *)sql->ptr);
        int rc = pg_result_error(c, r, err, what);
        PQclear(r);
        return rc;
    }
    if (ret)
        *ret = r;
    else
        PQclear(r);
    return 0;
}

int pg_array_push(struct buf *array, const char *text, size_t len, struct error *err) {
    int rc = array->len > 1 ? buf_append(array, ",", 1, err) : 0;
    if (rc < 0) return rc;
    if (!text) return buf_append_str(array, "NULL", err);
    rc = buf_append(array, "\"", 1, err);
    for (size_t at = 0; rc == 0 && at < len;) {
        size_t n = at;
        while (n < len && text[n] != '"' && text[n] != '\\') n++;
        rc = buf_append(array, text + at, n - at, err);
        if (rc == 0 && n < len) {
            const char escaped[2] = {'\\', text[n]};
            rc = buf_append(array, escaped, 2, err);
            n++;
        }
        at = n;
    }
    return rc == 0 ? buf_append(array, "\"", 1, err) : rc;
}
