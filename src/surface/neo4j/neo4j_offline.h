/* The offline method of the Neo4j driver: dumps and loads by the server's own neo4j-admin, while no server runs.
 *
 * Invariants
 *  1. Whoever stops the service starts it again, whatever fails in between. A file in the server's home says that it
 * was stopped, from before it is until after it runs again, so that a job that was killed is found out by the next one
 * and by doctor.
 *  2. A dump is kept when neo4j-admin exited with 0, and its stream is whole: its own end, its own checksum, its own
 * counts.
 *  3. No database of a server's home is replaced before the same bytes were loaded beside it and found consistent, and
 * before what it replaces has been dumped. From then until all of them are whole again, the file in the home says where
 * those dumps are: no backup takes what may be half loaded, and the next restore in place goes on from them.
 *  4. The live configuration is read by neo4j-admin alone; copies have one of their own, by which nothing of theirs
 * lies in the live folders.
 *
 * Items: db/NAME/frame and db/NAME/store/FILE… of a dump that was understood (container.h), db/NAME/dump of another.
 */
#ifndef PK_SURFACE_NEO4J_OFFLINE_H
#define PK_SURFACE_NEO4J_OFFLINE_H

#include "base/proc.h"
#include "surface/neo4j/container.h"
#include "surface/surface.h"
#include <limits.h>
#include <sys/types.h>

#define NEO4J_DATABASES_MAX 4096
#define NEO4J_NAME_MAX 80
#define NEO4J_JOURNAL ".proofkeep-stopped"

/* ---- offline.c: settings, and neo4j-admin ---- */
struct neo4j_offline {
    const struct surface_context *ctx;
    char admin[PATH_MAX], home[PATH_MAX], conf[PATH_MAX];
    const char *run_as; /* NULL: as we are; borrowed from the settings */
    bool become;        /* run_as is another user, uid and gid are known */
    uid_t uid;
    gid_t gid;
    const json_t *databases; /* names; NULL: all; borrowed */
};
/* From dbms: admin, home, conf, run_as, databases. ERR_CONFIG_VALUE. */
int neo4j_offline_load(const struct surface_context *ctx, struct neo4j_offline *ret, struct error *err) PK_CHECK;
bool neo4j_offline_has(const struct neo4j_offline *o, const char *database);
/* Starts neo4j-admin with a configuration folder (NULL: the server's own). */
int neo4j_admin_start(const struct neo4j_offline *o, const char *conf, const char *const *args, bool pipe_in,
                      bool pipe_out, struct proc **ret, struct error *err) PK_CHECK;
/* Its end, its own words picked from the lines of progress. `doing`: "dump the database neo4j". ERR_NEO4J_IN_USE,
 * ERR_NEO4J_ADMIN. */
int neo4j_admin_wait(struct proc *p, const char *doing, struct error *err) PK_CHECK;
int neo4j_admin_run(const struct neo4j_offline *o, const char *conf, const char *const *args, const char *doing,
                    struct buf *out, struct error *err) PK_CHECK; /* out may be NULL */
int neo4j_admin_version(const struct neo4j_offline *o, char out[64], struct error *err) PK_CHECK;
/* What `database info` says: an array of {"name","store_format","last_committed","in_use","needs_recovery"}; the
 * caller's. */
int neo4j_admin_info(const struct neo4j_offline *o, const char *conf, json_t **ret, struct error *err) PK_CHECK;
/* Whether it can be a database's name; then it is also a file's, and no option. */
bool neo4j_name_holds(const char *name);
const json_t *neo4j_info_of(const json_t *info, const char *database); /* NULL when it is not there */

/* ---- service.c: stopping and starting ---- */
/* ERR_CONFIG_VALUE when there is a hook "stop" and none "start". */
int neo4j_service_check(const struct neo4j_offline *o, struct error *err) PK_CHECK;
/* By the hook "stop", after the journal is on disk. *ret_stopped false when there is no hook: then nothing was done.
 * After a failure the service has been started again. */
int neo4j_service_stop(const struct neo4j_offline *o, const char *action, bool *ret_stopped,
                       struct error *err) PK_CHECK;
/* By the hook "start", when it was stopped; then the journal goes. `r` is what the job has come to: that stays the
 * answer unless it is 0. ERR_NEO4J_STOPPED when the service could not be started. */
int neo4j_service_start(const struct neo4j_offline *o, const char *action, bool stopped, int r,
                        struct error *err) PK_CHECK;
/* From here on databases (names) are replaced, what they were is in the folder `before`. */
int neo4j_service_replacing(const struct neo4j_offline *o, const char *before, const json_t *databases,
                            struct error *err) PK_CHECK;
/* They are whole; the service may still be stopped. */
int neo4j_service_replaced(const struct neo4j_offline *o, bool stopped, struct error *err) PK_CHECK;
/* Whether an earlier job never came to say that; *ret_databases is the caller's. */
bool neo4j_service_half(const struct neo4j_offline *o, char before[PATH_MAX], json_t **ret_databases);
/* Since when an earlier job has left it stopped, as text; false when none has. */
bool neo4j_service_left(const struct neo4j_offline *o, char *out, size_t n);

/* ---- dump.c: one database into items ---- */
struct neo4j_dumped {
    bool apart; /* taken apart, or else kept as it came */
    uint64_t files, bytes, dump_bytes, items;
};
int neo4j_dump_items(const struct neo4j_offline *o, const char *database, struct sink *sink, struct neo4j_dumped *ret,
                     struct error *err) PK_CHECK;

/* ---- rebuild.c: and back ---- */
/* The databases of a snapshot, in the order of their names: an array of texts; the caller's. */
int neo4j_items_databases(struct source *src, json_t **ret, struct error *err) PK_CHECK;
/* One database's dump, as neo4j-admin loads it, into fd. Its last block is written when all was found to be what was
 * backed up. */
int neo4j_rebuild(struct source *src, const char *database, int fd, const char *what, uint64_t *ret_items,
                  uint64_t *ret_bytes, struct error *err) PK_CHECK;

/* ---- home.c: folders that a server could start from ---- */
/* Makes the folder and those in it, private, as the user that neo4j-admin runs as. */
int neo4j_home_make(const struct neo4j_offline *o, const char *path, struct error *err) PK_CHECK;
/* Writes its conf/neo4j.conf, as of a home at `as`. more: NULL, or further lines. */
int neo4j_home_configure(const struct neo4j_offline *o, const char *path, const char *as, const char *more,
                         struct error *err) PK_CHECK;
/* The first password of the user neo4j: it holds for a home that has no database `system` when a server first starts
 * from it. What is written is its salted hash, in the form of `neo4j-admin dbms set-initial-password`, which would take
 * it as an argument. */
int neo4j_home_password(const struct neo4j_offline *o, const char *path, struct bytes password,
                        struct error *err) PK_CHECK;
/* Loads a database from the source over what conf's home (NULL: the server's own) has of that name. */
int neo4j_home_load(const struct neo4j_offline *o, const char *conf, struct source *src, const char *database,
                    struct restore_result *ret, struct error *err) PK_CHECK;
/* ERR_NEO4J_CHECK. reports: a folder for what it writes. */
int neo4j_home_check(const struct neo4j_offline *o, const char *conf, const char *database, const char *reports,
                     struct error *err) PK_CHECK;
/* Into out, for each of these databases (names): database/NAME/last_committed_transaction and
 * database/NAME/store_format. */
int neo4j_home_invariants(const json_t *databases, const json_t *info, json_t *out, struct error *err) PK_CHECK;

/* ---- the method's functions; the shapes are surface.h's ---- */
int neo4j_offline_probe(const struct surface_context *, json_t **ret, struct error *) PK_CHECK;
int neo4j_offline_capture(const struct surface_context *, struct sink *, struct capture_result *,
                          struct error *) PK_CHECK;
int neo4j_offline_plan(const struct surface_context *, const struct restore_request *, json_t **,
                       struct error *) PK_CHECK;
int neo4j_offline_restore(const struct surface_context *, struct source *, const struct restore_request *,
                          struct restore_result *, struct error *) PK_CHECK;
int neo4j_offline_measure(const struct surface_context *, const json_t *scratch, const json_t *facts, json_t **,
                          struct error *) PK_CHECK;
/* Dumps of all databases, NAME.dump, into dirfd, durable. */
int neo4j_offline_export(struct source *, int dirfd, struct error *) PK_CHECK;

/* ---- scratch.c ---- */
int neo4j_scratch_start(const struct surface_context *, const json_t *facts, json_t **ret, struct error *) PK_CHECK;
void neo4j_scratch_stop(const struct surface_context *, json_t *scratch);
/* Starts the server of a scratch home and adds "host" and "port" to its facts. It listens on 127.0.0.1, for a password
 * that is random and in this process's memory alone. A restored database `system`, which has users and passwords of its
 * own, is first started from with no way in, and then removed. */
int neo4j_scratch_serve(const struct surface_context *, json_t *scratch, struct error *) PK_CHECK;
/* A copy of that password; *ret stays NULL for what is not served here. */
int neo4j_scratch_password(const json_t *scratch, struct secret **ret, struct error *) PK_CHECK;

#endif
