/* What every use case starts from: the configuration (there may be none), the repository of an environment, opened with the
 * right key, and the meaning of an address. One thread at a time uses a context. */
#ifndef PK_WORK_CONTEXT_H
#define PK_WORK_CONTEXT_H

#include "crypto/kit.h"
#include "platform/address.h"
#include "platform/config.h"
#include "platform/secret_ref.h"
#include "repo/maintain.h"
#include "repo/reader.h"
#include "repo/writer.h"
#include "surface/surface.h"
#include "work/known_secrets.h"
#include <stdatomic.h>

#define ADHOC_ENVIRONMENT "local" /* of surfaces backed up without a configuration */

/* What the caller (a front end) is told while a job runs. Any thread; quick. All may be NULL. */
struct work_events {
    void *ctx;
    /* total and stored 0: unknown */
    void (*progress)(void *ctx, const char *surface, const char *phase, uint64_t bytes, uint64_t total, uint64_t stored, uint64_t items);
    void (*warning)(void *ctx, const char *surface, const char *text);
    /* A receipt was committed: its predicate (borrowed), its place in the log, the digest of its envelope. */
    void (*receipt)(void *ctx, const char *surface, const json_t *predicate, uint64_t seq, const struct digest *entry);
    /* The repository behind a server was closed: what was asked of it in all. */
    void (*requests)(void *ctx, const struct store_requests *r);
};

struct work_options {
    const char *config_path;     /* NULL: the usual places; having none is fine as long as nothing needs it */
    const char *repository;      /* URL, folder or a name of the configuration; NULL: the environment's */
    const char *key_file, *passphrase_file; /* stand above the configuration */
    const char *from;            /* read from this copy of the repository instead (any_copy.h); NULL: from it */
    const char *recovery_kit;    /* stands above these; "-": on standard input */
    const char *cache_dir;       /* NULL: $XDG_CACHE_HOME/proofkeep, else ~/.cache/proofkeep, else /var/cache/proofkeep */
    unsigned jobs;               /* 0: one a CPU */
    /* Ask a person for the passphrase; NULL when that is not allowed. */
    int (*ask_passphrase)(void *ctx, struct buf *ret, struct error *err);
    void *ask_ctx;
    struct work_events events;
};

struct work {
    struct work_options options; /* strings are borrowed from the caller */
    struct config *config;       /* NULL without one */
    char cache_dir[4096], scratch_dir[4096]; /* scratch: private, 0700, removed by work_close */
    unsigned jobs;
    bool shared;                 /* other handles of this process are at work beside it: memory is shared with them */
    struct store *store;         /* of the open repository, NULL before */
    struct repo *repo;
    uint64_t size_opened;        /* of its log when it was opened */
    struct work_witnesses *witnesses; /* what they say of its log (witnesses.h); NULL when none are configured */
    char url[4096];
    char principal[128];         /* "root@host", for receipts */
    struct secret *typed;        /* the passphrase that a person gave last; NULL: none */
    size_t cache_bytes;          /* of each point that is read; 0: as reader.h has it */
    struct paper_kit kit;              /* of options.recovery_kit, once it was read */
    struct known_secrets known;  /* all that this run was told: cleaned out of what drivers and tools say */
    bool log_only;               /* repositories are opened by repo_open_log: for WAL */
    struct work_fallback *fallback; /* that this run went over to (fallback.h); NULL: none */
    bool forwarded;              /* whether anything is to be forwarded was looked at in this run */
    bool any_copy;               /* recovery points are read with the help of copies (any_copy.h) */
    struct work_copies *copies;  /* of the open repository, with any_copy; NULL: none */
    struct store_requests others; /* of handles that worked for this one and are closed */
    bool collecting;              /* repositories are opened by repo_open_collecting: for a prune */
    bool mending;                /* repositories are opened by repo_open_damaged: for repairs */
    int scratch_fd;              /* holds the lock that says that scratch_dir is in use */
    unsigned scratch_removed;    /* scratch folders of killed runs that work_open removed */
};
int work_open(const struct work_options *o, struct work **ret, struct error *err) PK_CHECK;
/* The cache folder as work_options has it, made when it is missing. */
int work_cache_folder(const char *given, char out[4096], struct error *err) PK_CHECK;
void work_close(struct work *w); /* NULL is fine */
/* The configuration or ERR_CONFIG_NONE. */
int work_need_config(struct work *w, const struct config **ret, struct error *err) PK_CHECK;

/* Open the repository: --repository, else that of `environment` (may be NULL), else the only one configured. A second call
 * for the same place keeps the handle; for another place it is opened instead. */
int work_open_repo(struct work *w, const char *environment, struct error *err) PK_CHECK;
/* Its URL without opening it, and how it is unlocked (`ret_secret` owns what `ret->secret` points to). */
int work_repo_url(struct work *w, const char *environment, const char **ret, struct error *err) PK_CHECK;
int work_unlock(struct work *w, const char *environment, struct unlock *ret, struct secret **ret_secret, struct error *err) PK_CHECK;

/* One surface of one environment, ready for its driver. */
struct work_surface {
    char environment[128], name[128];
    const struct surface_driver *driver;
    const struct config_environment *config_environment; /* NULL without configuration */
    const struct config_surface *config_surface;
    struct secret_context secrets;
    json_t *settings; /* owned */
    const char *receipt_surface; /* what receipts call it */
    bool protected;
};
/* From the configuration. */
int work_surface_open(struct work *w, const struct config_environment *e, const struct config_surface *s, struct work_surface *ret, struct error *err) PK_CHECK;
/* Of a snapshot: from the configuration where it has it, else from the driver's kind alone with empty settings. */
int work_surface_of(struct work *w, const struct snapshot_info *info, struct work_surface *ret, struct error *err) PK_CHECK;
void work_surface_close(struct work_surface *s);
/* The driver's context; events of the driver go to the work's events as `label` ("prod/postgres"). `bridge` outlives it. */
struct work_bridge {
    struct work *work;
    const struct work_surface *surface; /* outlives the bridge */
    char label[260];
    json_t *notes;       /* owned: [{"kind","name","text"}], at most 1000 */
    uint64_t counts[8];  /* by enum note_kind */
    pthread_mutex_t lock;
    struct writer *writer; /* for stored bytes in progress; may be NULL */
};
int work_bridge_open(struct work *w, const struct work_surface *s, struct work_bridge *b, struct surface_context *ret, struct error *err) PK_CHECK;
void work_bridge_close(struct work_bridge *b);

/* The recovery points of a surface, live ones in log order, but that one which was copied stands before those that began later; `ret` is an array of borrowed pointers, owned by the caller (seam_free). */
int work_points(struct work *w, const char *environment, const char *surface, const struct snapshot_info ***ret, size_t *ret_n, struct error *err) PK_CHECK;
/* The one an address means (exactly one surface). ERR_NO_POINT. Opens the repository when need be. */
int work_find_point(struct work *w, const char *address, const struct snapshot_info **ret, struct error *err) PK_CHECK;
int work_point_of(struct work *w, const char *environment, const char *surface, const struct point_spec *spec, const struct snapshot_info **ret, struct error *err) PK_CHECK;
/* "prod/artifacts" of a snapshot; out has at least 260 bytes. */
void work_label(const struct snapshot_info *info, char out[260]);

/* Entries of the open repository's log that count for nothing, as a sentence; false: there are none. */
bool work_void_entries(const struct work *w, char *out, size_t n);

/* What the open store was seen through, as a sentence: objects hidden or covered since; false: none so far. */
bool work_sights(const struct work *w, char *out, size_t n);

/* Sink over a writer, source over a snapshot. `ctx` outlives it. */
struct work_sink { struct sink sink; struct writer *writer; };
void work_sink_init(struct work_sink *s, struct writer *w);
struct work_source { struct source source; struct snapshot *snapshot; atomic_bool told; /* what to expect */ };
void work_source_init(struct work_source *s, struct snapshot *snapshot);

#endif
