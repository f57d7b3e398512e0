#include "surface/postgres/postgres_internal.h"

#include "base/seam.h"
#include <stdlib.h>

/* Names and texts as they are. What is not UTF-8 (only an SQL_ASCII database has such) is kept readable, with %XX. */
static json_t *text_of(const char *s) {
    json_t *j = json_string(s);
    return j ? j : json_name(BYTES_STR(s));
}

/* A query that only some servers or roles allow: an empty text instead of an error. */
static int optional(PGconn *c, const char *sql, json_t *facts, const char *key, struct error *err) {
    CLEANUP(pg_clearp) PGresult *r = PQexec(c, sql);
    if (PQresultStatus(r) != PGRES_TUPLES_OK) return PQstatus(c) == CONNECTION_OK ? 0 : pg_result_error(c, r, err, key);
    return PQntuples(r) == 1 ? pg_json_put(facts, BYTES_STR(key), text_of(pg_value(r, 0, 0)), err) : 0;
}

int pg_server_facts(PGconn *c, json_t *facts, struct error *err) {
    CLEANUP(pg_clearp) PGresult *r = NULL;
    int rc = pg_query(c, &r, err,
                      "SELECT current_user, rolsuper, rolsuper OR rolbypassrls, pg_is_in_recovery(),"
                      " (SELECT rolname FROM pg_catalog.pg_roles WHERE oid = 10)"
                      " FROM pg_catalog.pg_roles WHERE rolname = current_user",
                      0, NULL);
    if (rc < 0) return rc;
    if (PQntuples(r) != 1) return error_set(err, ERR_PG_QUERY, "the server does not know the role that is connected");
    if ((rc = json_put_str(facts, "server_version", PQparameterStatus(c, "server_version"), err)) < 0 ||
        (rc = json_put_int(facts, "server_version_num", PQserverVersion(c), err)) < 0 ||
        (rc = pg_json_put(facts, BYTES_STR("role"), text_of(pg_value(r, 0, 0)), err)) < 0 ||
        (rc = json_put(facts, "superuser", json_boolean(pg_true(r, 0, 1)), err)) < 0 ||
        (rc = json_put(facts, "in_recovery", json_boolean(pg_true(r, 0, 3)), err)) < 0 ||
        (rc = pg_json_put(facts, BYTES_STR("bootstrap_role"), text_of(pg_value(r, 0, 4)), err)) < 0)
        return rc;
    return optional(c, "SELECT system_identifier FROM pg_catalog.pg_control_system()", facts, "system_identifier", err);
}

static int by_item_name(const void *a, const void *b) {
    const json_t *x = *(json_t *const *)a, *y = *(json_t *const *)b;
    return name_compare(BYTES_STR(json_string_value(x)), BYTES_STR(json_string_value(y)));
}

/* Sorted by the names as items have them; duplicates removed. */
static int sort_names(json_t **names, struct error *err) {
    size_t n = json_array_size(*names), kept = 0;
    CLEANUP(buf_free) struct buf text = BUF_INIT(4096);
    json_t **parts = NULL, *out = json_array();
    int r = out ? mem_alloc((n + 1) * sizeof *parts, (void **)&parts, err) : error_set(err, ERR_NO_MEMORY, "no memory");
    for (size_t i = 0; r == 0 && i < n; i++) {
        buf_clear(&text);
        r = pg_part_encode(&text, BYTES_STR(json_string_value(json_array_get(*names, i))), err);
        if (r == 0 && !(parts[kept] = json_stringn((const char *)text.ptr, text.len)))
            r = error_set(err, ERR_CONFIG_VALUE, "postgres: a database's name is not UTF-8");
        if (r == 0) kept++;
    }
    if (r == 0) qsort(parts, kept, sizeof *parts, by_item_name);
    for (size_t i = 0; r == 0 && i < kept; i++) {
        if (i && json_equal(parts[i], parts[i - 1])) continue;
        buf_clear(&text);
        r = pg_part_decode(&text, BYTES_STR(json_string_value(parts[i])), err);
        if (r == 0) r = json_push(out, json_stringn((const char *)text.ptr, text.len), err);
    }
    for (size_t i = 0; i < kept; i++) json_decref(parts[i]);
    seam_free(parts);
    json_decref(*names);
    *names = out;
    return r;
}

int pg_database_list(const struct pg_settings *s, PGconn *c, json_t **ret, struct error *err) {
    const json_t *want = s->databases, *v;
    json_t *names = json_array();
    size_t i;
    int r = names ? 0 : error_set(err, ERR_NO_MEMORY, "no memory");
    if (r == 0 && json_is_string(want) && !strcmp(json_string_value(want), "all")) {
        CLEANUP(pg_clearp) PGresult *q = NULL;
        r = pg_query(c, &q, err, "SELECT datname FROM pg_catalog.pg_database WHERE datallowconn AND NOT datistemplate",
                     0, NULL);
        for (int row = 0; r == 0 && row < PQntuples(q); row++) {
            json_t *name = json_string(pg_value(q, row, 0));
            r = name ? json_push(names, name, err)
                     : error_set(err, ERR_PG_QUERY, "a database's name is not UTF-8; name the databases one by one");
        }
    } else if (r == 0 && json_is_array(want)) {
        json_array_foreach(want, i, v) {
            if (r == 0 && !json_is_string(v)) r = error_set(err, ERR_CONFIG_VALUE, "postgres: databases wants names");
            if (r == 0) r = json_push(names, json_string(json_string_value(v)), err);
        }
    } else if (r == 0 && !want) {
        r = json_push(names, json_string(s->dbname), err);
    } else if (r == 0) {
        r = json_push(names, json_string(json_string_value(want)), err);
    }
    if (r == 0) r = sort_names(&names, err);
    if (r == 0 && json_array_size(names) == 0)
        r = error_set(err, ERR_SOURCE_MISSING, "postgres: there is no database to capture");
    if (r < 0)
        json_decref(names);
    else
        *ret = names;
    return r;
}

int pg_extensions(PGconn *c, json_t **ret, struct error *err) {
    CLEANUP(pg_clearp) PGresult *r = NULL;
    int rc = pg_query(c, &r, err, "SELECT extname, extversion FROM pg_catalog.pg_extension ORDER BY extname", 0, NULL);
    json_t *out = rc == 0 ? json_object() : NULL;
    if (rc == 0 && !out) rc = error_set(err, ERR_NO_MEMORY, "no memory");
    for (int i = 0; rc == 0 && i < PQntuples(r); i++)
        rc = pg_json_put(out, BYTES_STR(pg_value(r, i, 0)), json_name(BYTES_STR(pg_value(r, i, 1))), err);
    if (rc < 0)
        json_decref(out);
    else
        *ret = out;
    return rc;
}

/* Rows of texts: an array of strings (one column) or of arrays (more). */
static int put_rows(PGconn *c, const char *sql, json_t *facts, const char *key, struct error *err) {
    CLEANUP(pg_clearp) PGresult *r = NULL;
    int rc = pg_query(c, &r, err, sql, 0, NULL);
    if (rc < 0) return rc;
    json_t *list = json_array();
    if (!list) return error_set(err, ERR_NO_MEMORY, "no memory");
    for (int i = 0; rc == 0 && i < PQntuples(r); i++) {
        json_t *row = PQnfields(r) == 1 ? text_of(pg_value(r, i, 0)) : json_array();
        for (int f = 0; rc == 0 && row && PQnfields(r) > 1 && f < PQnfields(r); f++)
            rc = json_push(row, PQgetisnull(r, i, f) ? json_null() : text_of(pg_value(r, i, f)), err);
        if (rc == 0)
            rc = json_push(list, row, err);
        else
            json_decref(row);
    }
    if (rc < 0) {
        json_decref(list);
        return rc;
    }
    return json_put(facts, key, list, err);
}

/* Tables whose columns inheritance may put in another order when they are made again: as invariants name them. */
static int put_inherits(PGconn *c, json_t *facts, struct error *err) {
    CLEANUP(pg_clearp) PGresult *r = NULL;
    CLEANUP(buf_free) struct buf name = BUF_INIT(4096);
    json_t *set = json_object();
    int rc = set ? json_put(facts, "inherits", json_incref(set), err) : error_set(err, ERR_NO_MEMORY, "no memory");
    if (rc == 0)
        rc = pg_query(
            c, &r, err,
            "SELECT n.nspname, c.relname FROM pg_catalog.pg_inherits i JOIN pg_catalog.pg_class c ON c.oid = i.inhrelid"
            " JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace"
            " WHERE c.relkind = 'r' AND NOT c.relispartition GROUP BY 1, 2",
            0, NULL);
    for (int i = 0; rc == 0 && i < PQntuples(r); i++) {
        buf_clear(&name);
        rc = pg_qualified(&name, BYTES_STR(pg_value(r, i, 0)), BYTES_STR(pg_value(r, i, 1)), err);
        if (rc == 0) rc = pg_json_put(set, buf_bytes(&name), json_true(), err);
    }
    json_decref(set);
    return rc;
}

static int put_columns(PGconn *c, json_t *facts, struct error *err) {
    int v = PQserverVersion(c);
    CLEANUP(buf_free) struct buf sql = BUF_INIT(4096);
    int rc = buf_printf(
        &sql, err,
        "SELECT d.oid, pg_catalog.pg_encoding_to_char(d.encoding), d.datcollate, d.datctype, %s, %s, %s, %s,"
        " pg_catalog.pg_get_userbyid(d.datdba), d.datconnlimit, pg_catalog.pg_database_size(d.oid),"
        " pg_catalog.shobj_description(d.oid, 'pg_database'), current_setting('lc_monetary'),"
        " pg_catalog.to_char(transaction_timestamp() AT TIME ZONE 'UTC', 'YYYY-MM-DD\"T\"HH24:MI:SS\"Z\"'),"
        " (SELECT spcname FROM pg_catalog.pg_tablespace t WHERE t.oid = d.dattablespace AND spcname <> 'pg_default')"
        " FROM pg_catalog.pg_database d WHERE d.datname = current_database()",
        v >= 150000 ? "d.datlocprovider" : "'c'",
        v >= 170000   ? "d.datlocale"
        : v >= 150000 ? "d.daticulocale"
                      : "NULL",
        v >= 160000 ? "d.daticurules" : "NULL", v >= 150000 ? "d.datcollversion" : "NULL");
    if (rc == 0) rc = buf_terminate(&sql, err);
    CLEANUP(pg_clearp) PGresult *r = NULL;
    if (rc == 0) rc = pg_query(c, &r, err, (const char *)sql.ptr, 0, NULL);
    static const char *const keys[] = {"oid",    "encoding",  "collate",           "ctype",         "locale_provider",
                                       "locale", "icu_rules", "collation_version", "owner",         "connection_limit",
                                       "bytes",  "comment",   "lc_monetary",       "snapshot_time", "tablespace"};
    for (int f = 0; rc == 0 && f < PQnfields(r); f++) {
        if (PQgetisnull(r, 0, f)) continue;
        const char *text = pg_value(r, 0, f);
        bool number = !strcmp(keys[f], "oid") || !strcmp(keys[f], "bytes") || !strcmp(keys[f], "connection_limit");
        rc =
            pg_json_put(facts, BYTES_STR(keys[f]), number ? json_integer(strtoll(text, NULL, 10)) : text_of(text), err);
    }
    return rc;
}

int pg_database_facts(PGconn *c, json_t **ret, struct error *err) {
    json_t *facts = json_object(), *extensions = NULL, *hypertables = NULL;
    int rc = facts ? pg_json_put(facts, BYTES_STR("name"), text_of(PQdb(c)), err)
                   : error_set(err, ERR_NO_MEMORY, "no memory");
    if (rc == 0) rc = put_inherits(c, facts, err);
    if (rc == 0 && PQsetClientEncoding(c, "UTF8") != 0)
        rc = error_set(err, ERR_PG_QUERY, "read the facts of %s as UTF-8: %s", PQdb(c), PQerrorMessage(c));
    if (rc == 0) rc = put_columns(c, facts, err);
    if (rc == 0)
        rc = put_rows(
            c,
            "SELECT CASE WHEN s.setrole = 0 THEN NULL ELSE pg_catalog.pg_get_userbyid(s.setrole) END, u.v"
            " FROM pg_catalog.pg_db_role_setting s, unnest(s.setconfig) WITH ORDINALITY u (v, n)"
            " WHERE s.setdatabase = (SELECT oid FROM pg_catalog.pg_database WHERE datname = current_database())"
            " ORDER BY 1 NULLS FIRST, u.n",
            facts, "settings", err);
    if (rc == 0)
        rc = put_rows(
            c,
            "SELECT CASE WHEN a.grantee = 0 THEN NULL ELSE pg_catalog.pg_get_userbyid(a.grantee) END,"
            " a.privilege_type, a.is_grantable FROM pg_catalog.pg_database d, pg_catalog.aclexplode(d.datacl) a"
            " WHERE d.datname = current_database() AND a.grantee <> d.datdba ORDER BY 1 NULLS FIRST, 2",
            facts, "privileges", err);
    if (rc == 0) /* whether privileges were ever changed: the default ones are not in the catalogue */
        rc = put_rows(c, "SELECT datacl IS NOT NULL FROM pg_catalog.pg_database WHERE datname = current_database()",
                      facts, "privileges_set", err);
    if (rc == 0)
        rc = put_rows(c,
                      "SELECT DISTINCT pg_catalog.pg_get_userbyid(refobjid) FROM pg_catalog.pg_shdepend"
                      " WHERE refclassid = 'pg_catalog.pg_authid'::pg_catalog.regclass AND dbid ="
                      " (SELECT oid FROM pg_catalog.pg_database WHERE datname = current_database()) ORDER BY 1",
                      facts, "roles", err);
    if (rc == 0) rc = pg_extensions(c, &extensions, err);
    if (rc == 0) rc = json_put(facts, "extensions", extensions, err);
    if (rc == 0) rc = pg_hypertables(c, &hypertables, err);
    if (rc == 0 && hypertables) rc = json_put(facts, "hypertables", hypertables, err);
    if (rc == 0 && PQsetClientEncoding(c, PQparameterStatus(c, "server_encoding")) != 0)
        rc = error_set(err, ERR_PG_QUERY, "go back to the encoding of %s: %s", PQdb(c), PQerrorMessage(c));
    if (rc < 0)
        json_decref(facts);
    else
        *ret = facts;
    return rc;
}
