#include "surface/postgres/postgres_internal.h"

#include "base/seam.h"
#include <stdarg.h>
#include <stdio.h>
#include <sys/syscall.h>
#include <unistd.h>

void pg_finishp(PGconn **c) {
    if (*c) PQfinish(*c);
    *c = NULL;
}

void pg_clearp(PGresult **r) {
    PQclear(*r);
    *r = NULL;
}

static void quiet(void *ctx, const PGresult *r) {
    (void)ctx;
    (void)r;
}

void pg_one_line(const char *message, char *out, size_t n) {
    size_t at = 0;
    for (; *message && at + 3 < n; message++) {
        if (*message != '\n')
            out[at++] = *message;
        else if (message[1])
            out[at++] = ';', out[at++] = ' ';
    }
    out[at] = 0;
}

static const char *sqlstate(const PGresult *r) {
    const char *s = r ? PQresultErrorField(r, PG_DIAG_SQLSTATE) : NULL;
    return s ? s : "";
}

int pg_result_error(PGconn *c, const PGresult *r, struct error *err, const char *what) {
    char text[512];
    /* The primary message alone: DETAIL may quote rows. */
    const char *primary = r ? PQresultErrorField(r, PG_DIAG_MESSAGE_PRIMARY) : NULL;
    pg_one_line(primary ? primary : PQerrorMessage(c), text, sizeof text);
    enum error_code code = ERR_PG_QUERY;
    if (PQstatus(c) == CONNECTION_BAD || !strncmp(sqlstate(r), "57P", 3))
        code = ERR_PG_CONNECT;
    else if (!strcmp(sqlstate(r), "42501"))
        code = ERR_PG_PRIVILEGE;
    return error_set(err, code, "%s in database %s: %s", what, PQdb(c) ? PQdb(c) : "?", text);
}

int pg_query(PGconn *c, PGresult **ret, struct error *err, const char *sql, int n, const char *const *params) {
    PGresult *r;
    int rc = pg_exec(c, sql, n, params, &r, err);
    if (rc < 0) return rc;
    if (PQresultStatus(r) != PGRES_TUPLES_OK) {
        int code = pg_result_error(c, r, err, "query");
        PQclear(r);
        return code;
    }
    *ret = r;
    return 0;
}

int pg_command(PGconn *c, struct error *err, const char *fmt, ...) {
    CLEANUP(buf_free) struct buf sql = BUF_INIT(1u << 20);
    va_list ap, again;
    va_start(ap, fmt);
    va_copy(again, ap);
    int n = vsnprintf(NULL, 0, fmt, ap);
    int rc =
        n < 0 ? error_set(err, ERR_INTERNAL, "a statement could not be made") : buf_reserve(&sql, (size_t)n + 1, err);
    if (rc == 0) vsnprintf((char *)sql.ptr, (size_t)n + 1, fmt, again);
    va_end(ap);
    va_end(again);
    if (rc < 0) return rc;
    PGresult *r = PQexec(c, (const char *)sql.ptr);
    ExecStatusType st = PQresultStatus(r);
    if (st != PGRES_COMMAND_OK && st != PGRES_TUPLES_OK && st != PGRES_EMPTY_QUERY) {
        char what[64]; /* the first words of the statement; never its values */
        snprintf(what, sizeof what, "%.*s", (int)strcspn((const char *)sql.ptr, "'\"("), (const char *)sql.ptr);
        rc = pg_result_error(c, r, err, what);
    }
    PQclear(r);
    return rc;
}

const char *pg_value(const PGresult *r, int row, int col) {
    return PQgetisnull(r, row, col) ? "" : PQgetvalue(r, row, col);
}

bool pg_true(const PGresult *r, int row, int col) {
    return pg_value(r, row, col)[0] == 't';
}

/* Peer authentication asks for the connecting thread's user. The raw calls change this thread only, and are undone. */
static PGconn *connect_as(const struct pg_settings *s, const char *const *keys, const char *const *values) {
    bool changed = s->become && syscall(SYS_setresuid, -1, (long)s->uid, -1) == 0; /* seam: this thread only */
    PGconn *c = PQconnectdbParams(keys, values, 0);
    if (changed && syscall(SYS_setresuid, -1, 0L, -1) != 0) { /* seam: this thread only */
        PQfinish(c); /* cannot happen to a thread whose real user is root; without it nothing else may be done */
        return NULL;
    }
    return c;
}

/* Connects and no more; with `replication` for its protocol (libpq's setting of that name), else as a client. */
static int open_as(const struct pg_settings *s, const char *dbname, const char *replication, const char *application,
                   PGconn **ret, struct error *err) {
    CLEANUP(secret_freep) struct secret *password = NULL;
    if (s->password) {
        /* libpq wants a terminated string. */
        struct bytes b = secret_bytes(s->password);
        uint8_t text[1024];
        if (b.len >= sizeof text || memchr(b.ptr, 0, b.len))
            return error_set(err, ERR_SECRET, "the password for PostgreSQL is too long or has a NUL");
        memcpy(text, b.ptr, b.len);
        text[b.len] = 0;
        int r = secret_new(BYTES_OF(text, b.len + 1), &password, err);
        wipe(text, sizeof text);
        if (r < 0) return r;
    }
    const char *keys[] = {"dbname",
                          "host",
                          "port",
                          "user",
                          "password",
                          "sslmode",
                          "sslrootcert",
                          "connect_timeout",
                          "application_name",
                          "tcp_user_timeout",
                          "keepalives_idle",
                          "replication",
                          "options",
                          NULL};
    const char *values[] = {dbname,
                            s->host,
                            s->port,
                            s->user,
                            password ? (const char *)secret_bytes(password).ptr : NULL,
                            s->sslmode,
                            s->sslrootcert,
                            "15",
                            application,
                            "60000",
                            "30",
                            replication,
                            replication ? "-c statement_timeout=0 -c idle_session_timeout=0" : NULL,
                            NULL};
    PGconn *c = connect_as(s, keys, values);
    if (!c || PQstatus(c) != CONNECTION_OK) {
        char text[512];
        pg_one_line(c ? PQerrorMessage(c) : "no memory", text, sizeof text);
        PQfinish(c);
        return error_set(err, ERR_PG_CONNECT, replication ? "connect for replication: %s%s" : "connect to database %s: %s",
                         replication ? "" : dbname, text);
    }
    PQsetNoticeReceiver(c, quiet, NULL);
    *ret = c;
    return 0;
}

int pg_connect_replication(const struct pg_settings *s, const char *application, PGconn **ret, struct error *err) {
    PGconn *c;
    int r = open_as(s, s->dbname, "true", application, &c, err);
    if (r == 0) *ret = c;
    return r;
}

int pg_connect(const struct pg_settings *s, const char *dbname, PGconn **ret, struct error *err) {
    PGconn *c;
    bool maintenance = !dbname; /* names in facts and requests are UTF-8 */
    if (maintenance) dbname = s->dbname;
    int r = open_as(s, dbname, NULL, "proofkeep", &c, err);
    if (r < 0) return r;
    r = pg_command(c, err,
                   "SET standard_conforming_strings = on; SET datestyle = ISO; SET intervalstyle = postgres;"
                   "SET timezone = 'UTC'; SET extra_float_digits = 3; SET bytea_output = hex;"
                   "SET statement_timeout = 0; SET lock_timeout = 0; SET idle_in_transaction_session_timeout = 0;"
                   "SET row_security = off; SET synchronize_seqscans = off; SET search_path = '';"
                   "SET default_transaction_read_only = off");
    const char *encoding = maintenance ? "UTF8" : PQparameterStatus(c, "server_encoding");
    if (r == 0 && encoding && PQsetClientEncoding(c, encoding) != 0)
        r = error_set(err, ERR_PG_QUERY, "use the encoding %s of database %s: %s", encoding, dbname, PQerrorMessage(c));
    if (r == 0 && PQserverVersion(c) < 100000)
        r = error_set(err, ERR_PG_VERSION, "the server is PostgreSQL %s; 10 is the oldest that is supported",
                      PQparameterStatus(c, "server_version"));
    if (r < 0) {
        PQfinish(c);
        return r;
    }
    *ret = c;
    return 0;
}

int pg_connect_admin(const struct pg_settings *s, const char *avoid, PGconn **ret, struct error *err) {
    static const char *const others[] = {"postgres", "template1", NULL};
    bool unfit = avoid && !strcmp(avoid, s->dbname);
    int r = unfit ? 0 : pg_connect(s, NULL, ret, err);
    for (size_t i = 0; (unfit || r == -ERR_PG_CONNECT) && others[i]; i++) {
        struct pg_settings other = *s;
        struct error ignored = ERROR_INIT;
        char name[PG_NAME_MAX + 1];
        snprintf(name, sizeof name, "%s", others[i]);
        other.dbname = name;
        if (strcmp(name, s->dbname) != 0 && pg_connect(&other, NULL, ret, &ignored) == 0) {
            error_clear(err);
            return 0;
        }
    }
    return unfit ? pg_connect(s, NULL, ret, err) : r;
}
