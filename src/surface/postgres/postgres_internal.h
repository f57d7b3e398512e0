/* The PostgreSQL driver's parts: settings, connections, tools, names, facts, archives in folders.
 *
 * Invariants of the driver
 *  1. Nothing here changes the source's server: captures and measurements run in one read-only transaction.
 *  2. A snapshot's items come from one pg_dump, whose archive was read to its good end and whose exit status was 0.
 *  3. A restore writes only into databases that it made itself; on failure they are dropped. Rows are put back into a live one
 *     (apply_rows.c) by a change set alone, in one transaction.
 *  4. The live database is renamed, never dropped, and both renames of a swap are one transaction.
 *  5. A password is in this process's memory or in a nameless file that the client tool inherits; nowhere else.
 */
#ifndef PK_SURFACE_POSTGRES_INTERNAL_H
#define PK_SURFACE_POSTGRES_INTERNAL_H

#include "base/proc.h"
#include "surface/item_out.h"
#include "surface/postgres/archive.h"
#include "surface/postgres/fleet.h"
#include "surface/surface.h"
#include <libpq-fe.h>

#define PG_NAME_MAX 63 /* bytes of an identifier */
#define PG_GLOBALS_BYTES_MAX (64u << 20)

/* ---- settings.c: where the server is, from the settings or from a scratch instance ---- */
struct pg_settings {
    const struct surface_context *ctx;
    char *host, *port, *user, *dbname, *sslmode, *sslrootcert; /* NULL: libpq's own default; dbname is never NULL */
    char *tools_dir, *run_as;                                  /* may be NULL */
    const json_t *databases;                                   /* array or "all"; NULL means dbname; borrowed */
    struct secret *password;                                   /* may be NULL */
    bool become;                                               /* run_as is another user and we are root */
    unsigned uid, gid;                                         /* of run_as, when become */
    bool scratch;
};
int pg_settings_load(const struct surface_context *ctx, const json_t *scratch, struct pg_settings **ret,
                     struct error *err) PK_CHECK;
int pg_settings_user(struct pg_settings *s, struct error *err) PK_CHECK; /* looks run_as up */
void pg_settings_free(struct pg_settings *s);
void pg_settings_freep(struct pg_settings **s);
/* A folder of the scratch folder that run_as may enter; made when missing, given to run_as when `own`. The path has
 * room for PATH_MAX. */
int pg_scratch_folder(const struct pg_settings *s, const char *name, bool own, char *path, struct error *err) PK_CHECK;

/* ---- connect.c ---- */
/* A connection with the output settings of a dump (ISO dates, UTC, full floats, empty search path, the database's own
 * encoding). dbname NULL: the maintenance database, in UTF-8. ERR_PG_CONNECT. Freed with PQfinish. */
int pg_connect(const struct pg_settings *s, const char *dbname, PGconn **ret, struct error *err) PK_CHECK;
/* For the replication protocol, physical: no SQL but SHOW. ERR_PG_CONNECT. */
int pg_connect_replication(const struct pg_settings *s, const char *application, PGconn **ret, struct error *err) PK_CHECK;
/* For a restore: to connect.dbname, unless that is lost or is `avoid` (may be NULL), else to postgres or template1. The
 * error is that of connect.dbname. */
int pg_connect_admin(const struct pg_settings *s, const char *avoid, PGconn **ret, struct error *err) PK_CHECK;
void pg_finishp(PGconn **c);
void pg_clearp(PGresult **r);
/* A statement with text parameters; *ret is freed with PQclear and has tuples. ERR_PG_QUERY, ERR_PG_PRIVILEGE (42501),
 * ERR_PG_CONNECT when the server is gone. */
int pg_query(PGconn *c, PGresult **ret, struct error *err, const char *sql, int n, const char *const *params) PK_CHECK;
/* patience.c */
/* From now on pg_query, in this thread, waits no longer than until a stop (stop_check), or until *in_vain (NULL:
 * never): the server is told to give the query up, and the answer is ERR_INTERRUPTED or ERR_TERMINATED. Not limited:
 * however long it takes. */
void pg_patience(bool limited, const atomic_bool *in_vain);
/* *ret is what PQexecParams would give, NULL when it cannot be sent. After a query was given up nothing more is asked
 * over the connection: the server may be told of it late. */
int pg_exec(PGconn *c, const char *sql, int n, const char *const *params, PGresult **ret, struct error *err) PK_CHECK;
int pg_command(PGconn *c, struct error *err, const char *fmt, ...) PK_CHECK PK_PRINTF(3, 4);
int pg_result_error(PGconn *c, const PGresult *r, struct error *err, const char *what) PK_CHECK;
const char *pg_value(const PGresult *r, int row, int col); /* "" for null */
bool pg_true(const PGresult *r, int row, int col);

/* ---- tools.c: client programs by version ---- */
struct pg_tools {
    char dir[4096];
    int major;
    char version[64]; /* "15.20" */
};
/* The programs nearest to `major` and not older. With server: initdb, pg_ctl and postgres too, ERR_PG_SCRATCH when
 * there are none; else ERR_PG_VERSION. Both name what was found. */
int pg_tools_find(const struct pg_settings *s, int major, bool server, struct pg_tools *ret,
                  struct error *err) PK_CHECK;
/* A client program connected to dbname: arguments after the program's name, environment made here (password file by
 * inherited descriptor, pgoptions may be NULL). cwd NULL is "/". */
struct pg_child {
    struct proc *proc;
    int passfile;
};
int pg_child_start(const struct pg_settings *s, const struct pg_tools *t, const char *program, const char *const *args,
                   const char *pgoptions, const char *cwd, bool pipe_out, struct pg_child *ret,
                   struct error *err) PK_CHECK;
void pg_child_free(struct pg_child *c);
/* "dbname='x' host='y' …" for --dbname, without secrets; NULL on want of memory. Freed with seam_free. */
int pg_conninfo(const struct pg_settings *s, const char *dbname, char **ret, struct error *err) PK_CHECK;
/* The same and collects stdout. */
int pg_child_run(const struct pg_settings *s, const struct pg_tools *t, const char *program, const char *const *args,
                 const char *pgoptions, const char *cwd, struct buf *out, struct error *err) PK_CHECK;

/* ---- hypertables.c: TimescaleDB ---- */
/* {"schema.table": {"chunks": in its catalogue, "attached": as tables}}; NULL where the extension is not installed. */
int pg_hypertables(PGconn *c, json_t **ret, struct error *err) PK_CHECK;
/* The same as an invariant; nothing without the extension. A chunk's rows are counted as any table's. */
int pg_hypertables_put(PGconn *c, const char *database, json_t *invariants, struct error *err) PK_CHECK;
/* ERR_PG_RESTORING when some database of the server is in the mode that timescaledb_pre_restore sets. */
int pg_restoring_check(PGconn *c, struct error *err) PK_CHECK;

/* ---- names.c ---- */
int pg_ident(struct buf *out, struct bytes name, struct error *err) PK_CHECK;       /* always quoted */
int pg_ident_plain(struct buf *out, struct bytes name, struct error *err) PK_CHECK; /* quoted only where it must be */
int pg_literal(struct buf *out, struct bytes text, struct error *err) PK_CHECK;
/* A database's name as a part of item names: '/', '%', control bytes and a leading '.' as %XX. */
int pg_part_encode(struct buf *out, struct bytes name, struct error *err) PK_CHECK;
int pg_part_decode(struct buf *out, struct bytes part, struct error *err) PK_CHECK;
/* "<name>_<what>_<stamp>", the name cut so that all fits an identifier. out has PG_NAME_MAX + 1 bytes. */
void pg_sibling_name(const char *name, const char *what, const char *stamp, char *out);
/* "schema.table", identifiers quoted where they must be. */
int pg_qualified(struct buf *out, struct bytes schema, struct bytes name, struct error *err) PK_CHECK;
/* The columns of an entry's COPY statement: the list between its parentheses as SQL (empty when there is none), and the
 * names as an array of strings (may be NULL). ERR_PG_ARCHIVE when it is not a COPY statement. */
int pg_copy_columns(struct bytes copy, struct bytes *ret_list, json_t **ret_names, struct error *err) PK_CHECK;
/* Last value and whether it was called, of a SEQUENCE SET entry's definition. */
int pg_sequence_set(struct bytes defn, int64_t *ret_last, bool *ret_called, struct error *err) PK_CHECK;
/* A message of libpq, which ends in a newline and runs over several lines, as one line; cut to n bytes, which end in 0.
 */
void pg_one_line(const char *message, char *out, size_t n);
/* Sets key (bytes, any encoding) in an object; owns value. */
int pg_json_put(json_t *object, struct bytes key, json_t *value, struct error *err) PK_CHECK;
/* Sets "db/<database>/<rest>", an invariant's key; rest in any encoding, as json_name has it. Owns value. */
int pg_key_put(json_t *object, const char *database, struct bytes rest, json_t *value, struct error *err) PK_CHECK;
/* "db/<database>/<rest>" in out, terminated. */
int pg_item_name(struct buf *out, struct bytes database, const char *rest, struct error *err) PK_CHECK;

/* ---- facts.c, preflight.c: of one server and one database ---- */
int pg_server_facts(PGconn *c, json_t *facts, struct error *err) PK_CHECK;
/* Names to work on, sorted by name_compare of their encoded form. Array of strings. */
int pg_database_list(const struct pg_settings *s, PGconn *c, json_t **ret, struct error *err) PK_CHECK;
/* Properties to make the database again: encoding, locale, owner, settings, privileges, extensions, roles. */
int pg_database_facts(PGconn *c, json_t **ret, struct error *err) PK_CHECK;
/* {"name": "version", …} */
int pg_extensions(PGconn *c, json_t **ret, struct error *err) PK_CHECK;
/* ERR_PG_PRIVILEGE naming the first of what the role may not read in full. */
int pg_preflight(PGconn *c, const char *dbname, struct error *err) PK_CHECK;

/* In the settings of a capture that is no surface's own: {database: [more arguments of pg_dump]}. No configuration may
 * have it. */
#define PG_DUMP_MORE "dump_more"

/* ---- capture_archive.c ---- */
struct pg_capture { /* of one database, or of what belongs to none */
    const struct pg_settings *s;
    struct sink *sink;
    struct pg_fleet *fleet;
    size_t place; /* in the fleet */
    uint64_t seq, seq_end; /* numbers that are this one's to use, all of them whatever comes */
    uint64_t items, bytes;
    json_t *invariants;
};
struct pg_captured { /* of one database */
    unsigned major, minor;
    uint64_t entries, tables, bytes;
    bool opaque;
    json_t *columns; /* of tables that inherit: {"schema.table": "list"} */
};
/* Takes the archive that comes from fd apart into items and invariants, when its turn in the fleet has come. inherits:
 * names of tables whose columns may come back in another order. */
int pg_capture_archive(struct pg_capture *c, const char *database, int fd, json_t *item_facts, const json_t *inherits,
                       struct pg_captured *ret, struct error *err) PK_CHECK;
/* ---- bulk.c: invariants that the snapshot's root has no room for ---- */
#define PG_BULK_KEY "objects"            /* "db/<database>/objects": {"count","sha256"} of the lines; a table's has a dot */
#define PG_BULK_ITEM "invariants"
#define PG_BULK_FACT "invariants_item"   /* the fact that names the item, where there is one */
bool pg_bulk_wanted(const json_t *invariants);
bool pg_bulk_is(const json_t *facts); /* the snapshot has the item */
/* Takes tables and sequences out of `invariants`, a line each to out (may be NULL), and puts their summaries in. */
int pg_bulk_fold(json_t *invariants, struct item_out *out, struct error *err) PK_CHECK;
/* Writes the item when it is wanted, as the last of the snapshot, and names it in the facts. */
int pg_bulk_put(struct pg_capture *c, json_t *invariants, json_t *facts, struct error *err) PK_CHECK;
/* The invariants with those of one database as they were before. Owned by the caller. */
int pg_bulk_expand(struct source *src, const json_t *facts, const json_t *invariants, const char *database,
                   json_t **ret, struct error *err) PK_CHECK;

/* ---- globals.c ---- */
/* roles is pg_dumpall's text; passwords stays empty, with *ret_passwords false, when the role may not read them. */
int pg_globals_dump(const struct pg_settings *s, const struct pg_tools *t, PGconn *c, struct buf *roles,
                    struct buf *passwords, bool *ret_passwords, struct error *err) PK_CHECK;
/* Makes the roles that the server lacks, with their memberships; hashes only for those. made: array of names. */
int pg_globals_apply(PGconn *c, struct bytes roles, struct bytes passwords, json_t *made, struct error *err) PK_CHECK;
int pg_globals_read(struct source *src, struct buf *roles, struct buf *passwords, struct error *err) PK_CHECK;

/* ---- folder.c: a snapshot's database as a directory archive ---- */
struct pg_data_item { /* an item with a block of the dump */
    char *name;
    struct source_head head; /* name and attr are not kept here */
    const struct pg_entry *entry;
};
struct pg_folder {
    struct pg_toc *toc; /* NULL for an opaque archive */
    struct pg_data_item *items;
    size_t item_count;
    bool all;      /* every entry is taken */
    uint8_t *take; /* one byte an entry, when not all */
    bool *hit;     /* one a pattern of the request, when not all: it named something here */
    size_t taken;  /* tables taken */
    uint64_t bytes, items_written;
};
/* Reads the contents and the list of items and decides what to take. include NULL means all.
 * ERR_NO_POINT when the snapshot has no such database, ERR_RESTORE_DIFFERS when items are missing. */
int pg_folder_open(const struct pg_settings *s, struct source *src, const char *database, const char *const *include,
                   struct pg_folder *ret, struct error *err) PK_CHECK;
/* Writes toc.dat, list.txt when not all is taken, and the data files (or "archive.dump" of an opaque archive) into
 * dirfd with ctx->jobs threads. The files belong to run_as. durable: fsynced. */
int pg_folder_write(const struct pg_settings *s, struct source *src, struct pg_folder *f, int dirfd, bool durable,
                    struct error *err) PK_CHECK;
void pg_folder_free(struct pg_folder *f);
/* Opens path as a folder; the descriptor or an error. */
int pg_open_dir(const char *path, struct error *err) PK_CHECK;

/* ---- select.c: which entries a restore takes ---- */
int pg_select(struct pg_folder *f, const char *database, const char *const *include, struct error *err) PK_CHECK;
/* Whether pattern i of the request names something in the opened database. */
bool pg_select_hit(const struct pg_folder *f, const char *database, const char *const *include, size_t i);
bool pg_selects_all(const char *const *include, const char *database);
/* Of a relation that is taken for itself. */
bool pg_select_is_root(const struct pg_folder *f, const struct pg_entry *e);
/* Names of what belongs to taken tables and was left out, since what else it needs was not taken: "FK CONSTRAINT
 * schema.table name". */
int pg_select_left(const struct pg_folder *f, json_t **ret, struct error *err) PK_CHECK;
/* Tables that inherit from one that is taken and are not taken themselves, by their names: a query of that one shows
 * their rows, and its restore has none of them. */
int pg_select_heirs(const struct pg_folder *f, json_t **ret, struct error *err) PK_CHECK;
/* What a database's facts know of it before its contents are read: how many tables inherit from any, and are not named
 * by a request for a part; and the first, borrowed. */
int pg_select_heirs_known(const char *const *include, const char *database, const json_t *facts, size_t *ret_n,
                          const char **ret_first, struct error *err) PK_CHECK;
bool pg_selects_database(const char *const *include, const char *database); /* may hold something selected */
bool pg_selects_globals(const char *const *include);
/* What one pattern of a request says of an item of data and its table, without the table of contents. `prefix` is that
 * of the database's items, ended by a NUL. */
enum pg_naming {
    PG_NAMES_OTHERS, /* items by their names, and not this one */
    PG_NAMES_IT,
    PG_NAMES_ONE,    /* one relation, and not this one's table */
    PG_NAMES_UNSAID, /* relations that only the contents tell */
};
enum pg_naming pg_select_naming(const char *pattern, struct bytes prefix, const char *item, const char *schema,
                                const char *table);

/* ---- database.c ---- */
int pg_database_exists(PGconn *c, const char *name, bool *ret, struct error *err) PK_CHECK;
/* Closed to all, unless planned_ns is 0, until pg_database_mark. In the server's default tablespace when that is NULL.
 */
int pg_database_create(PGconn *c, const char *name, const json_t *facts, const char *tablespace, int64_t planned_ns,
                       struct error *err) PK_CHECK;
/* No other run carries out the plan of that instant for as long as the connection is there: what a run that lives is filling is no
 * other one's to drop. ERR_JOURNAL_BUSY. */
int pg_plan_take(PGconn *c, int64_t planned_ns, struct error *err) PK_CHECK;
/* Its comment says that the restore which was planned at that instant is filling it, until pg_database_finish gives it its own: so
 * what a killed run left is known for what it is. An instant of 0 marks nothing. */
int pg_database_mark(PGconn *c, const char *name, int64_t planned_ns, struct error *err) PK_CHECK;
/* *ret: it is there, and that one's half. */
int pg_database_half(PGconn *c, const char *name, int64_t planned_ns, bool *ret, struct error *err) PK_CHECK;
int pg_database_finish(PGconn *c, const char *name, const json_t *facts, int64_t planned_ns, struct error *err) PK_CHECK;
/* Owner, settings, privileges, connection limit. */
int pg_database_dress(PGconn *c, const char *name, const json_t *facts, bool no_owner, struct error *err) PK_CHECK;
/* Drops a database that this run made; best effort: false, and a note, when it is still there. */
bool pg_database_discard(const struct pg_settings *s, const char *name);
/* How many others are connected, and who, as text. */
int pg_connections(PGconn *c, const char *name, unsigned *ret, struct buf *who, struct error *err) PK_CHECK;

/* ---- swap.c ---- */
struct pg_swap {
    const char *live, *fresh;
    char before[PG_NAME_MAX + 1];
    bool live_exists;
};
int pg_swap_check(PGconn *c, const struct pg_swap *swaps, size_t n, bool terminate, struct error *err) PK_CHECK;
/* All of them or none. */
int pg_swap_run(PGconn *c, struct pg_swap *swaps, size_t n, bool terminate, struct error *err) PK_CHECK;

/* ---- measure.c ---- */
/* Adds the invariants of the database that c is connected to, under the key name. facts: of that database at capture,
 * or NULL. */
int pg_measure_database(const struct pg_settings *s, PGconn *c, const char *key_name, const json_t *facts,
                        struct pg_fleet *fleet, json_t *out, struct error *err) PK_CHECK;
/* ---- compare.c ---- */
/* ERR_PG_INVARIANT naming the first differences between what was captured of a database and what was restored of it.
 * *ret_count is the number of invariants compared. Another version of an extension is a note, not a difference. */
int pg_compare(const struct pg_settings *s, const char *database, const json_t *expected, const json_t *measured,
               const struct pg_folder *restored, unsigned *ret_count, struct error *err) PK_CHECK;

/* ---- targets.c: what a restore does to which database ---- */
struct pg_restore_job {
    const char *name; /* as captured; borrowed from the facts */
    const json_t *facts;
    char target[256]; /* made by the restore */
    char live[256];   /* renamed away in a swap */
    char before[PG_NAME_MAX + 1];
    bool live_exists, made;
    bool half; /* a killed run of the same plan left the target */
    struct pg_folder folder;
    unsigned compared;
};
/* The databases of facts that the request takes, with their targets. ERR_NO_POINT when it takes none. Freed with
 * pg_jobs_free. */
int pg_jobs_make(const struct restore_request *q, struct pg_restore_job **ret, size_t *ret_n,
                 struct error *err) PK_CHECK;
void pg_jobs_free(struct pg_restore_job *jobs, size_t n);

/* ---- the driver's functions ---- */
int pg_probe(const struct surface_context *, json_t **ret, struct error *) PK_CHECK;
int pg_undo(const struct surface_context *, const struct restore_request *, unsigned *ret_removed,
            struct error *) PK_CHECK;
int pg_capture(const struct surface_context *, struct sink *, struct capture_result *, struct error *) PK_CHECK;
int pg_plan(const struct surface_context *, const struct restore_request *, json_t **, struct error *) PK_CHECK;
int pg_restore(const struct surface_context *, struct source *, const struct restore_request *, struct restore_result *,
               struct error *) PK_CHECK;
int pg_wants(const struct surface_context *, struct source *, const struct restore_request *,
             int (*cb)(void *ctx, const struct source_head *, struct error *), void *ctx, struct error *) PK_CHECK;
int pg_scratch_start(const struct surface_context *, const json_t *facts, json_t **ret, struct error *) PK_CHECK;
/* The same, with the server's folders chosen but neither made into a cluster nor started; "data" is not there yet. */
int pg_scratch_prepare(const struct surface_context *, const json_t *facts, json_t **ret, struct error *) PK_CHECK;
void pg_scratch_stop(const struct surface_context *, json_t *scratch);
/* Stops the server alone. */
int pg_scratch_rest(const struct surface_context *, const json_t *scratch, struct error *) PK_CHECK;
int pg_measure(const struct surface_context *, const json_t *scratch, const json_t *facts, json_t **,
               struct error *) PK_CHECK;
int pg_describe(struct bytes name, struct bytes attr, json_t **ret, struct error *) PK_CHECK;
int pg_export_tree(const struct surface_context *, struct source *, int dirfd, struct error *) PK_CHECK;

/* Adds to the progress, tells of it now and then, and says whether to go on. */
int pg_report(const struct pg_settings *s, struct pg_fleet *fleet, const char *phase, uint64_t bytes, struct error *err) PK_CHECK;

static inline void pg_note(const struct pg_settings *s, enum note_kind kind, struct bytes name, const char *text) {
    if (s->ctx->events.note) s->ctx->events.note(s->ctx->events.ctx, kind, name, text);
}

/* ---- declared.c: invariants from the configuration ---- */
/* Those of one database: [{"name","sql","expect"}], owned by the caller. Without a "database" they are of the only one. */
int pg_declared_choose(const struct pg_settings *s, const char *database, bool only_one, json_t **ret, struct error *err) PK_CHECK;
/* One query's one value. ERR_PG_QUERY. */
int pg_declared_ask(PGconn *c, const char *name, const char *sql, json_t **ret, struct error *err) PK_CHECK;
/* Ask each within the connection's transaction; values go into `out` as "db/<database>/declared/<name>". ERR_PG_QUERY names the
 * one that failed or did not answer one value. */
int pg_declared_measure(PGconn *c, const char *key_name, const json_t *declared, json_t *out, struct error *err) PK_CHECK;

/* ---- consistent.c: pairs of databases that belong together ---- */
struct pg_pair { /* borrowed from the JSON */
    const char *name, *database[2], *sql[2];
};
int pg_pair_read(const json_t *check, struct pg_pair *ret, struct error *err) PK_CHECK;
/* What both say, owned by the caller; c[0] and c[1] are connected to the pair's databases. */
int pg_pair_ask(const struct pg_pair *p, PGconn *const c[2], json_t *ret_value[2], struct error *err) PK_CHECK;
/* The invariant "consistent/<name>": {"here", "there"}. */
int pg_pair_put(const char *name, json_t *const value[2], json_t *out, struct error *err) PK_CHECK;
/* How many of such invariants say that a pair does not agree. */
unsigned pg_pairs_differ(const json_t *invariants);
/* The invariants of all, of the server that the settings lead to. */
int pg_pairs_measure(const struct pg_settings *s, const json_t *checks, json_t *out, struct error *err) PK_CHECK;

#endif
