/* Rows of tables: what of them was deleted or changed since an instant, and how it is put back. A driver whose stores
 * have tables offers this (surface_driver.rows).
 *
 * The past is handed in as the connection facts of a scratch instance that has the tables as they were: how it came to
 * be (a point that was restored, a cluster that was recovered to an instant) is the caller's business. Live is what the
 * context's settings say. Nothing but `apply` writes anywhere but into the change set.
 *
 * A pick names a table and perhaps some of its rows: "schema.table", or "table" in the schema public; identifiers as
 * SQL has them, folded to lower case unless quoted; then "(column,…)" for what tells its rows apart when that is not
 * the primary key; then ":KEY,KEY…" for rows by a key of one column, or ":where PREDICATE" in SQL.
 */
#ifndef PK_SURFACE_ROWS_H
#define PK_SURFACE_ROWS_H

#include "surface/surface.h"

enum rows_take { ROWS_DELETED = 1 << 0, ROWS_CHANGED = 1 << 1, ROWS_ADDED = 1 << 2 };
struct rows_wish {
    const char *database;
    const char *const *picks; /* NULL-terminated */
    unsigned take;            /* enum rows_take: what goes into the change set */
    bool with_parents;        /* also rows that taken ones refer to and that live lacks, and what those refer to */
};
struct rows_apply {
    const char *database;
    bool no_triggers; /* switch the tables' own triggers off while it is applied */
};
struct rows_driver {
    /* What a restore has to include so that the pick's table is in the past ("db/shop/public.orders"); from the text
     * alone. */
    int (*scope)(const char *database, const char *pick, struct buf *ret, struct error *err);
    /* Asks live: {"include": […], "database", "system_identifier", "server_version_num"}. include is the scope of all
     * picks and, with_parents, of every table that they refer to, directly or not. ERR_ROWS_TABLE, ERR_ROWS_KEY. */
    int (*look)(const struct surface_context *, const struct rows_wish *, json_t **ret, struct error *err);
    /* Compares past and live, live in one repeatable-read, read-only snapshot, and writes the change set (change_set.h)
     * into fd, an empty file. Streams: memory goes with the widest rows, not with their number. head (borrowed) is what
     * the caller wants to stand at the change set's beginning. *ret: {"tables": [{"table", "deleted", "changed",
     * "added", "same", "taken", "parents"}], "missing_parents": [{"table", "constraint", "parent", "rows"}],
     * "triggers", "warnings", "rows", "bytes", "sha256"}: no payload. "added" is null where it was not asked for. */
    int (*diff)(const struct surface_context *, const json_t *past, const struct rows_wish *, const json_t *head,
                int fd, json_t **ret, struct error *err);
    /* Puts the rows of the change set back in one transaction: deleted ones are inserted, changed ones updated, added
     * ones deleted. Refused, with nothing done, when a row is not any more what the change set says of live
     * (ERR_ROWS_CHANGED names its line), when rows that are referred to are missing (ERR_ROWS_PARENTS), or when more
     * than these rows would be touched (ERR_ROWS_WIDER). *ret: {"tables": [{"table", "inserted", "updated",
     * "deleted"}], "inserted", "updated", "deleted", "written_by_triggers", "warnings"}. */
    int (*apply)(const struct surface_context *, int fd, const struct rows_apply *, json_t **ret, struct error *err);
    /* One value: a text, or null. In a read-only transaction. ERR_PG_QUERY when it is not one value. */
    int (*ask)(const struct surface_context *, const json_t *past, const char *database, const char *sql, json_t **ret,
               struct error *err);
    /* How many rows of the past the pick has. ERR_ROWS_TABLE when there is no such table. */
    int (*count)(const struct surface_context *, const json_t *past, const char *database, const char *pick,
                 uint64_t *ret, struct error *err);
};

#endif
