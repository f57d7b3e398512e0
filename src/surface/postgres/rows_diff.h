/* Rows of the past against live rows: what the files pick.c, rows_table.c, rows_parents.c, diff_rows.c, apply_rows*.c
 * and ask_rows.c share. The interface is surface/rows.h.
 */
#ifndef PK_SURFACE_POSTGRES_ROWS_DIFF_H
#define PK_SURFACE_POSTGRES_ROWS_DIFF_H

#include "surface/change_set.h"
#include "surface/postgres/postgres_internal.h"
#include "surface/rows.h"

extern const struct rows_driver pg_rows_driver;

/* ---- pick.c: a pick, taken apart ---- */
#define PG_PICK_COLUMNS_MAX 64
#define PG_PICK_VALUES_MAX 10000
struct pg_pick {
    char *schema, *table;
    json_t *columns; /* names; NULL: the primary key */
    json_t *values;  /* keys as texts; NULL: none were given */
    char *where;     /* NULL: all rows */
};
int pg_pick_parse(const char *text, struct pg_pick *ret, struct error *err) PK_CHECK; /* ERR_USAGE */
void pg_pick_free(struct pg_pick *p);
int pg_rows_scope(const char *database, const char *pick, struct buf *ret, struct error *err) PK_CHECK;

/* ---- rows_table.c: a table as live and past have it ---- */
/* {"oid", "kind", "hyper", "rules", "columns": […], "keys": […], "fks": […], "referenced": […], "triggers",
 * "sequences"}; see the query. json null when there is no such table. */
int pg_table_describe(PGconn *c, const char *schema, const char *table, json_t **ret, struct error *err) PK_CHECK;

struct pg_row_column { /* borrowed from the description of live */
    const char *name;
    const char *cast; /* base type without its modifiers, for values that come as text */
    const char *op;   /* equality, of a column of the key; else NULL */
    bool always;      /* an identity that takes no value of ours in an update */
    size_t sequence;  /* place + 1 in the description's sequences; 0: none */
};
struct pg_row_table {
    struct pg_pick pick;
    bool picked;                   /* else it is only here for rows that others refer to */
    char *label;                   /* "public.orders", as people write it */
    char *sql;                     /* ONLY "public"."orders", or without ONLY where it has parts */
    json_t *live, *then;           /* descriptions, owned; then may be NULL */
    struct pg_row_column *columns; /* those that both have and that hold values of their own */
    size_t column_count;
    size_t *key; /* places among the columns */
    size_t key_count;
    bool key_unique;      /* an index says so */
    json_t *gone, *fresh; /* names of columns: dropped since, and added since */
};
/* Of what live says; `pick` is taken over. ERR_ROWS_TABLE, ERR_ROWS_KEY. */
int pg_row_table_open(PGconn *live, struct pg_pick *pick, bool picked, struct pg_row_table *ret,
                      struct error *err) PK_CHECK;
/* Chooses columns and key, once the past is there as well (then_description is taken over; NULL: as live). */
int pg_row_table_match(struct pg_row_table *t, json_t *then_description, struct error *err) PK_CHECK;
void pg_row_table_free(struct pg_row_table *t);
/* `t."a", t."b"` with the given alias; alias NULL: without. */
int pg_row_columns_sql(const struct pg_row_table *t, const char *alias, struct buf *out, struct error *err) PK_CHECK;
/* The pick's condition on alias t, or "true". */
int pg_row_where_sql(const struct pg_row_table *t, struct buf *out, struct error *err) PK_CHECK;
/* ` AND t."a" = k.k1::bigint` for each column of the key, without the first AND. */
int pg_row_join_sql(const struct pg_row_table *t, struct buf *out, struct error *err) PK_CHECK;

/* ---- rows_sql.c ---- */
/* A connection for rows: UTF-8 where the database has an encoding, in a transaction that begins with `begin`. */
int pg_rows_connect(const struct pg_settings *s, const char *database, const char *begin, PGconn **ret,
                    struct error *err) PK_CHECK;
/* One statement with parameters; *ret (may be NULL) is freed with PQclear. */
int pg_rows_run(PGconn *c, const struct buf *sql, int n, const char *const *params, PGresult **ret,
                struct error *err) PK_CHECK;
/* Appends a value to an array literal that begins with '{'. */
int pg_array_push(struct buf *array, const char *text, size_t len, struct error *err) PK_CHECK;

/* ---- rows_parents.c: what rows refer to ---- */
struct pg_parents;    /* the tuples that were found missing, and the tables that they are of */
struct pg_rows_side { /* both ends of a comparison */
    PGconn *live, *then;
    struct pg_row_table *tables; /* picked ones, then parents */
    size_t table_count;
    struct change_set *out;
    uint64_t *parents_taken; /* one a table */
    bool with_parents, takes_deleted;
};
int pg_parents_new(struct pg_parents **ret, struct error *err) PK_CHECK;
void pg_parents_free(struct pg_parents *p);
/* n rows of the table are to be there again: which of the rows that they refer to are neither live nor picked? */
int pg_parents_check(struct pg_parents *p, struct pg_rows_side *s, size_t table, size_t n,
                     const struct change_value *const *rows, struct error *err) PK_CHECK;
/* Takes them from the past into the change set, and theirs. Nothing without with_parents. */
int pg_parents_take(struct pg_parents *p, struct pg_rows_side *s, struct error *err) PK_CHECK;
/* [{"table","constraint","parent","rows","first": [[…]]}] of those that stay missing; without payload where `payload`
 * is false. */
int pg_parents_missing(const struct pg_parents *p, bool payload, json_t **ret, struct error *err) PK_CHECK;

/* ---- apply_stage.c: a change set as temporary tables of the transaction that applies it ---- */
struct pg_staged {
    struct pg_row_table table;
    uint64_t rows[3]; /* by enum change_row */
    uint64_t inserted, updated, deleted;
    bool done;   /* its deleted rows are back */
    size_t turn; /* in the order by dependency */
};
struct pg_apply {
    const struct rows_apply *wish;
    PGconn *c;
    struct pg_staged
        *tables; /* pg_temp.proofkeep_rows_<n>: n, kind (d, c, a), k1… of the key, t1… as they were, n1… as they are */
    size_t count, cap;
    size_t copying; /* number of the table that takes rows now, or count */
    struct buf line;
    uint64_t n;
    json_t *warnings;
};
/* Makes and fills them, in the open transaction. ERR_CHANGE_SET, and ERR_ROWS_CHANGED when server or tables are not
 * those of the change set any more. */
int pg_apply_stage(struct pg_apply *a, int fd, struct error *err) PK_CHECK;
/* `x1, x2, …` of the staged table, each with "k." before. */
int pg_staged_columns_sql(const struct pg_staged *t, char prefix, struct buf *out, struct error *err) PK_CHECK;

/* ---- apply_check.c: refusals, before anything is written ---- */
int pg_apply_check(struct pg_apply *a, struct error *err) PK_CHECK;

/* ---- the driver's functions ---- */
int pg_rows_look(const struct surface_context *ctx, const struct rows_wish *wish, json_t **ret,
                 struct error *err) PK_CHECK;
int pg_rows_diff(const struct surface_context *ctx, const json_t *past, const struct rows_wish *wish,
                 const json_t *head, int fd, json_t **ret, struct error *err) PK_CHECK;
int pg_rows_apply(const struct surface_context *ctx, int fd, const struct rows_apply *a, json_t **ret,
                  struct error *err) PK_CHECK;
int pg_rows_ask(const struct surface_context *ctx, const json_t *past, const char *database, const char *sql,
                json_t **ret, struct error *err) PK_CHECK;
int pg_rows_count(const struct surface_context *ctx, const json_t *past, const char *database, const char *pick,
                  uint64_t *ret, struct error *err) PK_CHECK;
/* Tables of the wish as live has them: picks first, then, with_parents, all that they refer to. Freed by the caller,
 * each with pg_row_table_free, then seam_free. */
int pg_rows_tables(PGconn *live, const struct rows_wish *wish, struct pg_row_table **ret, size_t *ret_n,
                   struct error *err) PK_CHECK;

#endif
