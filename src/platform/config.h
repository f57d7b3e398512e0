/* The configuration: one YAML file, with conf.d/ beside it, read once into typed structs that never change afterwards.
 *
 * Everything reachable from a struct config is owned by it and borrowed until config_free; strings are NUL-terminated
 * UTF-8. Any number of threads may read it. The keys, their types and their meaning are rows of schema_table.c.
 */
#ifndef PK_PLATFORM_CONFIG_H
#define PK_PLATFORM_CONFIG_H

#include "base/bytes.h"
#include "base/error.h"
#include "base/json.h"
#include <stdbool.h>
#include <stdint.h>

#define CONFIG_FILE_BYTES_MAX (1u << 20)
#define CONFIG_FILES_MAX 64

/* Where an object stands, and its name when it is a map's entry. First member of every configured struct. */
struct config_head {
    const char *name; /* NULL in lists and single objects */
    const char *file;
    uint32_t line, column;
};
enum config_state { CONFIG_UNSET = 0, CONFIG_NONE, CONFIG_SET };
struct config_duration {
    enum config_state state; /* CONFIG_NONE: explicitly "none" */
    int64_t ns;              /* of CONFIG_SET, above zero */
    const char *text;        /* as written; NULL when unset */
};
struct config_int {
    bool set;
    int64_t value;
};
struct config_size {
    bool set;
    uint64_t bytes;
    const char *text;
};
struct config_strings {
    const char **items; /* NULL-terminated; NULL when unset */
    size_t count;
};
#define CONFIG_LIST(type)                                                                                              \
    struct {                                                                                                           \
        struct type **items;                                                                                           \
        size_t count;                                                                                                  \
    }

struct config_keep {
    struct config_head head;
    struct config_int last, hourly, daily, weekly, monthly, yearly;
};
struct config_retention {
    struct config_head head;
    struct config_keep *keep;
    struct config_int min_copies;
};
struct config_defaults {
    struct config_head head;
    struct config_retention *retention;
};

/* How a secret is had. Exactly one of credential, file, command and env is set. */
struct config_secret {
    struct config_head head;
    const char *credential, *file, *env;
    struct config_strings command;
    struct config_secret *dev; /* used instead in the environment "dev" */
};

enum config_key_kind { CONFIG_KEY_UNSET, CONFIG_KEY_PASSPHRASE, CONFIG_KEY_KEY_FILE };
struct config_encrypt {
    struct config_head head;
    const char *key; /* name of a secret */
    int kind;        /* enum config_key_kind; unset means passphrase */
};
enum config_s3_style { CONFIG_S3_STYLE_UNSET, CONFIG_S3_STYLE_PATH, CONFIG_S3_STYLE_VIRTUAL };
struct config_s3 {
    struct config_head head;
    const char *endpoint, *region, *ca_file, *profile, *credentials_file, *kms_key, *storage_class, *data_storage_class;
    const char *credentials; /* name of a secret */
    int style, sse, payload_digests;
    struct config_size bandwidth;
    struct config_duration timeout;
    struct config_int connections;
};
struct config_witness {
    struct config_head head;
    struct config_strings keys; /* verifier keys */
    const char *from;           /* NULL: the repository itself */
    struct config_strings ask;  /* addresses of witnesses that are offered checkpoints */
    struct config_int quorum;
    struct config_duration silent_after;
};
enum config_lock { CONFIG_LOCK_UNSET, CONFIG_LOCK_GOVERNANCE, CONFIG_LOCK_COMPLIANCE };
struct config_immutability { /* how long objects of each class are locked; unset: see config_locks */
    struct config_head head;
    int mode; /* enum config_lock */
    struct config_duration log, keys, packs, index, wal;
};
struct config_repository {
    struct config_head head;
    const char *url;      /* with what `s3` says as its parameters */
    struct config_s3 *s3; /* NULL when not configured */
    struct config_immutability *immutability; /* NULL: nothing is locked */
    struct config_encrypt *encrypt; /* NULL when not configured; the key then comes from the command line */
    struct config_int jobs, parity;
    struct config_witness *witness; /* NULL when not configured */
    const char *fallback;           /* name of the repository that takes backups while this one is out of reach */
    struct config_strings copies;   /* names of repositories that hold copies of what this one has */
    bool offline;                   /* its medium is attached at times only */
    struct config_duration reread;  /* of offline: how often all of it is to be read */
};

enum config_kind {
    CONFIG_KIND_UNSET, CONFIG_KIND_FILES, CONFIG_KIND_POSTGRES, CONFIG_KIND_REDIS, CONFIG_KIND_SEARCH, CONFIG_KIND_NEO4J
};
enum config_method { CONFIG_METHOD_UNSET, CONFIG_METHOD_LOGICAL, CONFIG_METHOD_PHYSICAL };
enum config_through { CONFIG_THROUGH_UNSET, CONFIG_THROUGH_REPLICATION, CONFIG_THROUGH_HOST };
enum config_priority { CONFIG_PRIORITY_UNSET, CONFIG_BACKGROUND, CONFIG_NORMAL };
enum config_class {
    CONFIG_CLASS_UNSET,
    CONFIG_CLASS_TRUTH,
    CONFIG_CLASS_RUNTIME,
    CONFIG_CLASS_CACHE,
    CONFIG_CLASS_CONFIG
};
enum config_expect { CONFIG_EXPECT_UNSET, CONFIG_EXPECT_EQUAL, CONFIG_EXPECT_NOT_SHRUNK };
struct config_connect {
    struct config_head head;
    const char *host, *user, *dbname;
    const char *password; /* name of a secret */
    const char *sslrootcert;
    struct config_int port;
    int sslmode;
};
struct config_invariant {
    struct config_head head;
    const char *name, *sql, *database;
    int expect; /* enum config_expect */
};
struct config_query { /* asked of a server that is to take over */
    struct config_head head;
    const char *name, *sql, *database, *value;
    bool live;
};
struct config_consistent { /* two databases that belong together */
    struct config_head head;
    const char *name, *database, *sql, *other, *other_sql;
};
enum config_wal_mode { CONFIG_WAL_UNSET, CONFIG_WAL_NONE, CONFIG_WAL_ARCHIVE, CONFIG_WAL_STREAM };
struct config_wal { /* how a server's write-ahead log gets into the repository */
    struct config_head head;
    int mode; /* enum config_wal_mode */
    const char *slot, *system, *spool;
    struct config_duration every;
    struct config_strings also; /* names of repositories */
};
struct config_incremental { /* of a physical backup: what the server knows to have changed */
    struct config_head head;
    struct config_duration full_every;
};
struct config_login { /* redis: of a server that is restored into */
    struct config_head head;
    const char *host, *user, *ca;
    const char *password; /* name of a secret */
    struct config_int port;
    bool tls;
};
struct config_server { /* redis */
    struct config_head head;
    const char *host, *user;
    const char *password; /* name of a secret */
    struct config_int port;
    bool tls;
    const char *ca;
    struct config_strings databases;
    CONFIG_LIST(config_login) targets;
    int method, conflicts;
};
struct config_hook { /* a program of the user's, in a list of them with its name */
    struct config_head head;
    struct config_strings run;
    struct config_duration timeout;
};
struct config_hooks { /* each NULL when not configured */
    struct config_head head;
    struct config_hook *freeze, *resume, *stop, *start, *standby, *live, *switch_over, *health;
    CONFIG_LIST(config_hook) checks;
};
struct config_facet { /* search */
    struct config_head head;
    const char *name, *index, *query;
};
struct config_register { /* search: a snapshot repository that is registered when there is none */
    struct config_head head;
    int type;
    const char *location, *bucket, *base_path, *client;
};
struct config_engine_snapshot { /* search: of method snapshot */
    struct config_head head;
    const char *repository, *folder, *bucket, *staging;
    struct config_register *registration;
    bool carry;
};
struct config_cluster { /* search */
    struct config_head head;
    int method;
    struct config_engine_snapshot *snapshot;
    const char *url, *user, *ca, *certificate;
    const char *password, *api_key, *key; /* names of secrets */
    struct config_strings indices, exclude;
    CONFIG_LIST(config_facet) facets;
    const char *distribution, *java_home, *run_as;
};
struct config_dbms { /* neo4j */
    struct config_head head;
    const char *host, *user, *ca, *database, *query;
    const char *password; /* name of a secret */
    struct config_int port;
    bool tls;
    int method;
    struct config_strings labels, databases;
    const char *home, *conf, *admin, *run_as;
};
struct config_surface {
    struct config_head head;
    int kind;  /* enum config_kind */
    int class; /* enum config_class */
    const char *receipt_surface;
    struct config_strings paths, exclude; /* files */
    bool one_file_system;
    struct config_connect *connect; /* postgres */
    int method;                     /* enum config_method */
    int through;                    /* enum config_through */
    const char *data_directory;
    struct config_strings databases;
    const char *tools_dir, *run_as;
    struct config_wal *wal;
    struct config_incremental *incremental;
    int priority; /* enum config_priority */
    struct config_size bandwidth;
    CONFIG_LIST(config_invariant) invariants;
    CONFIG_LIST(config_query) checks;
    CONFIG_LIST(config_consistent) consistent;
    struct config_server *server; /* redis */
    struct config_cluster *cluster; /* search */
    struct config_dbms *dbms;     /* neo4j */
    struct config_hooks *hooks;   /* NULL when there are none */
    struct config_strings depends_on; /* surfaces that are restored before it */
    struct config_strings rebuilt_from; /* surfaces of class truth that it can be made anew from */
};
struct config_set { /* surfaces that are backed up and restored as one */
    struct config_head head;
    struct config_strings surfaces;
    struct config_duration rpo, rto;
    struct config_duration freeze_max; /* the longest that its writes stay frozen */
    struct config_hooks *hooks;        /* of the whole, NULL when there are none */
};

enum config_level {
    CONFIG_LEVEL_UNSET,
    CONFIG_LEVEL_PRESENT,
    CONFIG_LEVEL_CHECKSUM,
    CONFIG_LEVEL_DECODE,
    CONFIG_LEVEL_SPOT,
    CONFIG_LEVEL_FULL,
    CONFIG_LEVEL_REBUILD
};
struct config_targets { /* of one surface in one environment */
    struct config_head head;
    struct config_duration rpo, rto;
    struct config_retention *retention;
    int verify; /* enum config_level */
};
struct config_policy {
    struct config_head head;
    struct config_duration rpo, rto;
    struct config_retention *retention;
    int verify;
    CONFIG_LIST(config_targets) surface;
};
struct config_accept {
    struct config_head head;
};
struct config_environment {
    struct config_head head;
    bool protected;
    const char *repository;
    struct config_strings surfaces; /* unset: all */
    struct config_policy *policy;
    CONFIG_LIST(config_set) sets; /* they stand above those of the root */
    CONFIG_LIST(config_accept) accepts_from;
};
struct config_git {
    struct config_head head;
    const char *repo, *change_ticket;
};
struct config_runbooks {
    struct config_head head;
    const char *base;
};

struct config {
    struct config_head head; /* file: the main file */
    struct config_int version;
    const char *platform;
    struct config_defaults *defaults;
    CONFIG_LIST(config_secret) secrets;
    CONFIG_LIST(config_repository) repositories;
    CONFIG_LIST(config_surface) surfaces;
    CONFIG_LIST(config_environment) environments;
    CONFIG_LIST(config_set) sets;
    struct config_git *git;
    struct config_runbooks *runbooks;
    struct config_block *blocks; /* what it owns; private */
};

/* Read and check. `path` NULL means ./proofkeep.yaml, else /etc/proofkeep/proofkeep.yaml. Then every conf.d/<name>.yaml
 * in the folder of that file, in bytewise order, adds to it: entries of secrets, repositories, surfaces and
 * environments are joined, and whatever stands twice is refused with both places. Errors read "file:line:column: what
 * (did you mean 'x'?)": ERR_CONFIG_NONE, ERR_CONFIG_SYNTAX, ERR_CONFIG_KEY, ERR_CONFIG_VALUE, or an I/O code. Nothing
 * but these files is touched: no secret is resolved and no path is looked at. */
int config_load(const char *path, struct config **ret, struct error *err) PK_CHECK;
/* The same from one text; `name` stands in messages. */
int config_parse(struct bytes text, const char *name, struct config **ret, struct error *err) PK_CHECK;
void config_free(struct config *c);   /* NULL is fine */
void config_freep(struct config **c); /* for CLEANUP() */

/* The repository that is configured at a URL; NULL when there is none. */
const struct config_repository *config_repository_at(const struct config *c, const char *url);
/* By name; NULL when there is none. */
const struct config_environment *config_environment(const struct config *c, const char *name);
const struct config_surface *config_surface(const struct config *c, const char *name);
const struct config_repository *config_repository(const struct config *c, const char *name);
const struct config_secret *config_secret(const struct config *c, const char *name);
/* By name; ERR_NO_POINT with what there is, and the nearest name. */
int config_need_environment(const struct config *c, const char *name, const struct config_environment **ret,
                            struct error *err) PK_CHECK;
int config_need_surface(const struct config *c, const struct config_environment *e, const char *name,
                        const struct config_surface **ret, struct error *err) PK_CHECK;
bool config_environment_has(const struct config_environment *e, const struct config_surface *s);
/* Whether the repository is the environment's own, under any name, or what stands in for that, or one of its copies. */
bool config_environment_reaches(const struct config *c, const struct config_environment *e,
                                const struct config_repository *r);
bool config_is_dev(const struct config_environment *e); /* the one named "dev": the only one that may read variables */

/* The text with "{env}" replaced, appended to out and NUL-terminated; environment NULL leaves it. */
int config_expand(const char *text, const char *environment, struct buf *out, struct error *err) PK_CHECK;

const char *config_kind_name(const struct config_surface *s);  /* "files" */
/* The kind of its snapshots and driver: "postgres-physical" of a postgres surface by that method, else the surface's. */
const char *config_driver_name(const struct config_surface *s);
const char *config_class_name(const struct config_surface *s); /* "truth" */
const char *config_level_name(enum config_level level);        /* "decode"; "unset" */

/* A surface's settings as its driver wants them (surface_context.settings): the keys of its kind, "{env}" replaced.
 * Secrets are names. In the environment "dev" the variables POSTGRES_HOST, _PORT, _DB, _USER and _PASSWORD, where set
 * and not empty, stand above the file: the password's name is then "env:POSTGRES_PASSWORD", which secret_resolve knows.
 */
int config_surface_settings(const struct config *c, const struct config_environment *e, const struct config_surface *s,
                            json_t **ret, struct error *err) PK_CHECK;
/* The name of the secret that opens an environment's repository and how it opens it; ERR_KEY_NONE when none is
 * configured. In "dev", BACKUP_ENCRYPTION_KEY, where set and not empty, is a passphrase that stands above the file. */
int config_repository_key(const struct config *c, const struct config_environment *e, const char **ret_secret,
                          enum config_key_kind *ret_kind, struct error *err) PK_CHECK;

/* The effective configuration as JSON, policy resolved per environment and surface, with "unset" where nothing is set.
 * Secrets appear as references only, commands as their program only. */
int config_dump(const struct config *c, json_t **ret, struct error *err) PK_CHECK;

/* A commented starter configuration, which config_parse accepts. Texts are quoted as needed. */
struct config_starter {
    const char *platform;    /* free text */
    const char *environment; /* a name; NULL means "dev" */
    bool protected;
    const char *repository_url; /* file:///… or an absolute path */
    const char *key_file;       /* absolute path of the repository's key; NULL writes no encrypt: */
    enum config_key_kind key_kind;
    const char *const *paths; /* NULL-terminated absolute paths; NULL or empty writes no files surface */
    bool postgres;            /* writes a postgres surface from what follows; each may be NULL */
    const char *pg_host, *pg_user, *pg_dbname, *pg_password_file;
    int pg_port;           /* 0: not written */
    const char *rpo, *rto; /* durations or "none"; NULL leaves them unset, with a comment */
};
int config_write_starter(struct buf *out, const struct config_starter *p, struct error *err) PK_CHECK;

#endif
