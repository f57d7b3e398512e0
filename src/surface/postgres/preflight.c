#include "surface/postgres/postgres_internal.h"

#include "base/seam.h"

/* What pg_dump will read: every table's rows and every sequence's state, except of objects that an extension brings. */
#define DUMPED                                                                                                         \
    " n.nspname NOT LIKE 'pg\\_%' AND n.nspname <> 'information_schema' AND c.relpersistence <> 't'"                   \
    " AND (NOT EXISTS (SELECT 1 FROM pg_catalog.pg_depend d WHERE d.classid = "                                        \
    "'pg_catalog.pg_class'::pg_catalog.regclass"                                                                       \
    " AND d.objid = c.oid AND d.deptype = 'e') OR EXISTS (SELECT 1 FROM pg_catalog.pg_extension e"                     \
    " WHERE c.oid = ANY (e.extconfig)))"

/* From 18 on the server answers for large objects itself. */
static const char large_objects_18[] = "SELECT m.oid FROM pg_catalog.pg_largeobject_metadata m"
                                       " WHERE NOT pg_catalog.has_largeobject_privilege(m.oid, 'SELECT') ORDER BY 1";

static const struct check {
    const char *what, *grant, *sql, *sql_18;
} checks[] = {
    {"may not use schema", "grant pg_read_all_data to the role, or USAGE on the schemas",
     "SELECT pg_catalog.quote_ident(n.nspname) FROM pg_catalog.pg_namespace n"
     " WHERE n.nspname NOT LIKE 'pg\\_%' AND n.nspname <> 'information_schema'"
     " AND NOT pg_catalog.has_schema_privilege(n.oid, 'USAGE') AND EXISTS (SELECT 1 FROM pg_catalog.pg_class c"
     " WHERE c.relnamespace = n.oid AND c.relkind IN ('r', 'p', 'S')) ORDER BY 1"},
    {"may not read", "grant pg_read_all_data to the role, or SELECT on the tables and sequences",
     "SELECT pg_catalog.format('%I.%I', n.nspname, c.relname) FROM pg_catalog.pg_class c"
     " JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace WHERE c.relkind IN ('r', 'p', 'S') AND" DUMPED
     " AND pg_catalog.has_schema_privilege(n.oid, 'USAGE') AND NOT CASE WHEN c.relkind = 'S'"
     " THEN pg_catalog.has_sequence_privilege(c.oid, 'SELECT') ELSE pg_catalog.has_table_privilege(c.oid, 'SELECT') END"
     " ORDER BY 1"},
    {"sees only some rows (row security) of", "give the role BYPASSRLS",
     "SELECT pg_catalog.format('%I.%I', n.nspname, c.relname) FROM pg_catalog.pg_class c"
     " JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace WHERE c.relkind IN ('r', 'p') AND" DUMPED
     " AND c.relrowsecurity AND pg_catalog.row_security_active(c.oid) ORDER BY 1"},
    {"may not read large object", "grant SELECT on the large objects; pg_read_all_data does not cover them",
     "SELECT m.oid FROM pg_catalog.pg_largeobject_metadata m WHERE current_setting('lo_compat_privileges') = 'off'"
     " AND NOT pg_catalog.pg_has_role(m.lomowner, 'USAGE')"
     " AND NOT EXISTS (SELECT 1 FROM pg_catalog.aclexplode(m.lomacl) a WHERE a.privilege_type = 'SELECT'"
     " AND (a.grantee = 0 OR pg_catalog.pg_has_role(a.grantee, 'USAGE'))) ORDER BY 1",
     large_objects_18},
};

int pg_preflight(PGconn *c, const char *dbname, struct error *err) {
    for (size_t i = 0; i < sizeof checks / sizeof *checks; i++) {
        CLEANUP(pg_clearp) PGresult *r = NULL;
        CLEANUP(buf_free) struct buf names = BUF_INIT(4096);
        int rc = pg_query(c, &r, err,
                          checks[i].sql_18 && PQserverVersion(c) >= 180000 ? checks[i].sql_18 : checks[i].sql, 0, NULL);
        if (rc < 0) return error_wrap(err, "check privileges");
        int n = PQntuples(r);
        if (n == 0) continue;
        for (int k = 0; rc == 0 && k < n && k < 3; k++)
            rc = buf_printf(&names, err, "%s%s", k ? ", " : "", pg_value(r, k, 0));
        if (rc == 0) rc = buf_terminate(&names, err);
        if (rc < 0) return rc;
        error_set(err, ERR_PG_PRIVILEGE, "in database %s the role %s %s %s", dbname, PQuser(c), checks[i].what,
                  (const char *)names.ptr);
        if (n > 3) error_wrap(err, "%d objects cannot be read in full, the first three are named", n);
        error_state(err, "nothing was read; nothing was kept as a snapshot");
        return error_next(err, "%s", checks[i].grant);
    }
    return 0;
}
