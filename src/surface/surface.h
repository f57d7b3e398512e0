/* Surfaces: drivers that turn a store into named items and back. A driver never sees the repository: it writes to a `sink`
 * and reads from a `source`; both are small tables, so that drivers are tested against plain folders.
 *
 * The unit is the ITEM: a name, an attribute record that only the driver understands, and optionally content. A snapshot is
 * a sorted list of items. For `files` an item is a path; for `postgres` it is the table of contents or one table's data.
 */
#ifndef PK_SURFACE_SURFACE_H
#define PK_SURFACE_SURFACE_H

#include "base/bytes.h"
#include "base/error.h"
#include "base/json.h"
#include "crypto/crypto.h"
#include "surface/bucket.h"
#include "surface/claims.h"

/* What kind of bytes an item's content is; picks how it is cut and where a delta's base is sought. */
enum item_kind {
    ITEM_NONE = 0,    /* no content (folders, links, facts that fit the attribute record) */
    ITEM_FILE = 1,    /* a file of a tree: small ones whole, larger ones cut by content */
    ITEM_RECORDS = 2, /* a long stream that shifts (dumps): cut by content, delta by anchor */
    ITEM_PAGES = 3,   /* page-aligned and updated in place: fixed cuts, delta by place */
    ITEM_OPAQUE = 4,  /* anything else: cut by content */
    ITEM_PARTS = 5,   /* as pages, of many megabytes perhaps: what is called its SHA-256 below is its digest by parts
                         (crypto/parts.h), which costs no second pass. Its holes are stored as zeros */
};

/* ---- where a driver writes ---- */
struct sink;
struct sink_item;
struct item_known { /* an item as the previous snapshot of this surface has it */
    struct bytes attr;          /* borrowed until the next sink_known call */
    enum item_kind kind;
    uint64_t bytes;
    struct digest sha256;
};
/* The seq of an item that comes in any order of names. A capture gives it to all of its items or to none; keep is not for
 * such a capture, and nothing waits for another item. A name that comes twice fails the backup at its end. */
#define SINK_ANY_ORDER UINT64_MAX
struct sink_ops {
    /* Look up a name in the previous snapshot. One thread, names in ascending name_compare order (a lookup below an earlier
     * one answers "not known"). false when unknown, or when the previous snapshot's data for it is gone. */
    bool (*known)(struct sink *, struct bytes name, struct item_known *ret);
    /* Record `name` with new attributes and the content that `known` just answered for this name. Same thread as known. */
    int (*keep)(struct sink *, uint64_t seq, struct bytes name, struct bytes attr, struct error *);
    /* Begin an item. seq numbers are 0,1,2,… in the order of names; each is used exactly once (open or keep). Many items may
     * be open at once, each used by one thread. Waits while seq is too far ahead of the oldest unfinished one. */
    int (*open)(struct sink *, uint64_t seq, struct bytes name, enum item_kind kind, struct sink_item **ret, struct error *);
    /* Where the next content bytes go: at least 64 KiB of room, page-aligned when fresh. Valid until the next call. */
    int (*space)(struct sink_item *, uint8_t **ret, size_t *ret_len, struct error *);
    int (*advance)(struct sink_item *, size_t n, struct error *); /* n bytes were put there */
    int (*hole)(struct sink_item *, uint64_t len, struct error *); /* len bytes of hole: read as zeros, restored as a hole */
    /* Forget the content so far (the file changed while it was read); the item stays open. */
    int (*restart)(struct sink_item *, struct error *);
    /* End it with its attributes; ret_sha256 may be NULL (else: of the plain bytes, holes as zeros). Frees the item. */
    int (*close)(struct sink_item *, struct bytes attr, struct digest *ret_sha256, struct error *);
    /* Drop it: the seq is used up and leaves nothing in the snapshot. Frees the item. NULL is fine. */
    void (*drop)(struct sink_item *);
    /* Optional, both or neither. Begin an item that has, perhaps, the content that `known` just answered for this name. Same
     * thread as known; then it is used like one that was opened. It ends with confirm, when the driver has read all of the
     * content and found its size and SHA-256 to be those answered; or it goes on with restart, when they are not. */
    int (*hold)(struct sink *, uint64_t seq, struct bytes name, struct sink_item **ret, struct error *);
    int (*confirm)(struct sink_item *, struct bytes attr, struct error *); /* frees the item */
    /* Optional, both or neither. Begin an item of SINK_ANY_ORDER whose content in the previous snapshot `was` reads while the item is
     * open: n bytes from `at` on, no more than there are. *ret is NULL when there is none that can be read, or that is cheap to
     * read. It ends with confirm, or goes on with restart, as one that is held. ret_known has no attr. */
    int (*again)(struct sink *, struct bytes name, struct item_known *ret_known, struct sink_item **ret, struct error *);
    int (*was)(struct sink_item *, uint64_t at, uint8_t *out, size_t n, struct error *);
};
struct sink { const struct sink_ops *ops; };
int sink_write(const struct sink *s, struct sink_item *it, struct bytes data, struct error *err) PK_CHECK; /* copies in */

/* ---- what a driver reads ---- */
struct source;
struct source_item; /* a cursor's current item, or one opened for reading */
struct source_head {
    struct bytes name, attr;    /* borrowed until the cursor moves */
    enum item_kind kind;
    uint64_t bytes;             /* size of the content, holes included */
    struct digest sha256;
    uint64_t ordinal;           /* position in the snapshot, for open() */
};
struct extent { uint64_t at, len; bool hole; };
struct source_ops {
    /* Walk items in name order: calls cb for each whose name starts with `prefix` (empty: all). cb may open() the item. */
    int (*walk)(struct source *, struct bytes prefix, int (*cb)(void *ctx, const struct source_head *, struct error *), void *ctx, struct error *);
    /* Open the item of a head for reading, from any thread. The handle does not depend on the cursor. */
    int (*open)(struct source *, const struct source_head *, struct source_item **ret, struct error *);
    /* The next piece of content: data with ret->ptr set, or a hole with ptr NULL and len set; len 0 at the end, and only
     * after the content's SHA-256 was checked against the item's (ERR_RESTORE_DIFFERS). Valid until the next call. */
    int (*next)(struct source_item *, struct bytes *ret, struct error *);
    void (*close)(struct source_item *);
    /* Optional, from the walk's cb: the item will be opened, in about this order. Told of all before the first is opened, a
     * source that is far away can fetch them in few pieces. */
    void (*expect)(struct source *, const struct source_head *);
    /* Optional, both or neither, for who may have some of the content already. What next() would give: `at` in the
     * content, and how much; len 0 at the end. */
    int (*peek)(struct source_item *, struct extent *ret, struct error *);
    /* After a peek of data, with as many bytes: whether they are the same. Then they count as given by next(), for the
     * check at the end too, and nothing is fetched. An item that is read so is not trusted before next() has said that
     * it ends. Of an item that is judged apart, more bytes may be given, which are those that the next call begins
     * with: two pieces are then looked at for less than twice the price. */
    int (*match)(struct source_item *, struct bytes have, bool *ret, struct error *);
    /* Optional, after open(), for who can write what it was given once more: pieces are not judged one by one before
     * next() gives them, the whole is when it ends. On ERR_RESTORE_DIFFERS the item is opened again without, where
     * another copy may be had of what was not right. */
    void (*late)(struct source_item *);
    /* Optional, after open(), for who has much of it already: each piece is judged by itself, and of the whole, at the
     * end, no more than its size. */
    void (*apart)(struct source_item *);
    /* Optional, after apart(): what next() gives begins at byte `at`; peek() tells the piece in which that lies. So
     * threads with an item each read one content in parts. */
    int (*seek)(struct source_item *, uint64_t at, struct error *);
};
struct source { const struct source_ops *ops; };

/* ---- the driver ---- */
/* Events of a running capture or restore, for progress and receipts. Called from any thread; must be quick. */
enum note_kind { NOTE_SKIPPED, NOTE_CHANGED, NOTE_UNREADABLE, NOTE_VANISHED, NOTE_WARNING };
struct surface_events {
    void *ctx;
    void (*progress)(void *ctx, const char *phase, uint64_t bytes_done, uint64_t bytes_total, uint64_t items_done); /* total 0: unknown */
    void (*note)(void *ctx, enum note_kind kind, struct bytes name, const char *text); /* text: plain words, no payload */
};

/* A file by what it is, whatever its names are. */
struct file_identity { uint64_t dev, ino; };

/* Settings of one surface as the configuration gave them, typed by the driver's schema, secrets resolved elsewhere. */
struct surface_context {
    const char *environment, *name;      /* "prod", "artifacts" */
    const json_t *settings;              /* the driver's own keys */
    int (*secret)(void *ctx, const char *ref, struct secret **ret, struct error *err); /* resolve a secret by its name */
    void *secret_ctx;
    /* Run the surface's hook of that name ("stop") for an action ("backup"); 1 when none is configured, ERR_HOOK when
     * it failed, ERR_HOOK_TIME when it was stopped by its timeout. `facts`, what the hook is told, may be NULL. The
     * function is NULL where no hooks can be run. */
    int (*hook)(void *ctx, const char *name, const char *action, const json_t *facts, struct error *err);
    void *hook_ctx;
    unsigned jobs;                       /* threads the driver may compute with; see surface_writers */
    bool alone;                          /* no other surface is captured beside it: more memory may be held */
    uint64_t bandwidth; /* bytes a second that a capture reads at most, of drivers that heed it; 0: as it can */
    bool full_read;                      /* do not trust unchanged metadata: read everything */
    json_t *(*former_facts)(void *ctx);  /* of this surface's previous snapshot, for the caller; NULL when they cannot be had. NULL: never */
    void *former_ctx;
    /* Open a bucket that a server writes (bucket.h); the caller closes it. NULL: never. */
    int (*bucket)(void *ctx, const char *url, struct surface_bucket **ret, struct error *err);
    void *bucket_ctx;
    /* Regular files that a capture of a tree leaves out, as skipped: keys of the repository that it goes into. */
    const struct file_identity *keys;
    size_t key_count;
    const struct surface_claims *claims; /* of a capture, for what it makes outside (claims.h). NULL: there are none */
    const char *scratch_dir;             /* private, 0700, for sockets, password files and scratch instances */
    /* An array of the caller's. A restore into a scratch instance, and measuring there, append what others than this
     * program said of it: {"check", "result": "PASSED" | "FAILED" | "NOT_CHECKED", "version", "why", "duration_ms"},
     * the last three where there are any. NULL: nobody asks. */
    json_t *checks;
    struct surface_events events;
};
/* Threads with which such a driver writes files: one computes while another waits for the disk. One is one. */
static inline unsigned surface_writers(unsigned jobs) {
    const unsigned twice = jobs < 8 ? 2 * jobs : 16;
    return jobs <= 1 ? 1 : twice > jobs ? twice : jobs;
}

struct capture_result {
    json_t *facts; /* owned by the caller: versions, sizes, times, options; no secrets. "outside", a text, when data
                    * that a restore needs is not among the items, says where it is; it stands in the receipt */
    json_t *invariants;  /* owned: {"name": {"value": …, "expect": "equal"|"not_shrunk"}, …} measured from what was captured */
    uint64_t items, bytes, unreadable, changed, skipped;
    const char *method;  /* "snapshot" | "logical_dump" | "physical_basebackup" */
    const char *consistency; /* "exact" | "fuzzy" */
};
/* Where a physical copy's recovery ends. Texts are borrowed; NULL means not set. At most one of the targets. */
struct restore_recovery {
    const char *time, *lsn, *xid, *name; /* as PostgreSQL reads them; time with its zone */
    bool immediate;                      /* as soon as it is consistent */
    bool exclusive;                      /* just before the target */
    const char *timeline;                /* a number, "current" or "latest" */
    const char *action;                  /* "pause" | "promote" | "shutdown" */
    bool standby;                        /* it goes on recovering, as a standby */
    const char *restore_command;         /* how WAL is had; NULL: only what the backup itself has */
    bool own_timeline;                   /* it takes the old cluster's place, and goes on as a timeline that nobody has had yet: */
    const json_t *histories;             /* {"00000002.history": text} of those that were; NULL: none is known of */
};
struct restore_request {
    const char *target;          /* driver's own: a folder, a database name; NULL means the driver's default beside the live one */
    const char *const *include;  /* item names or globs; NULL-terminated, NULL means all */
    bool in_place, swap, terminate_connections, as_scratch;
    bool no_owner;               /* do not restore owners (also when not root) */
    bool delta;                  /* into what an earlier state of it left: what is the same stays */
    const char *const *tablespaces;          /* "OLD=NEW" folders; NULL-terminated, may be NULL */
    const struct restore_recovery *recovery; /* NULL: none is asked for */
    const json_t *scratch;       /* connection facts of a scratch instance, for as_scratch */
    int64_t planned_ns;          /* when its plan was made, for names that the driver makes of the time; 0: now */
    const json_t *facts;         /* the snapshot's facts, as captured */
    const json_t *invariants;    /* as captured; the driver compares what it can before a swap */
};
struct restore_result {
    json_t *facts;               /* owned by the caller: where it went, counts, what was kept of the old */
    uint64_t items, bytes, skipped;
};
/* What a file system would say of an item; slices are borrowed from its attributes. */
struct item_stat {
    uint32_t mode; /* type and permissions, as st_mode has them */
    uint32_t uid, gid, rdev_major, rdev_minor;
    uint64_t nlink;
    int64_t mtime_s, ctime_s;
    uint32_t mtime_ns, ctime_ns;
    bool sparse;
    struct bytes target;  /* of a symbolic link */
    struct bytes same_as; /* the item that this one is another name of */
    struct bytes xattrs;  /* a run for xattr_next */
};
/* A setting that says what of the store is taken: settings[object][key], or settings[key] without an object. */
struct surface_selection {
    const char *object, *key;
};
struct surface_driver {
    const char *kind;            /* "files" */
    const char *receipt_surface; /* what the receipt's document calls such a surface when the configuration does not say */
    /* Facts: versions, sizes, privileges; "problems": [{"code","text"}] for what would make a capture fail. */
    int (*probe)(const struct surface_context *, json_t **ret_facts, struct error *);
    int (*capture)(const struct surface_context *, struct sink *, struct capture_result *ret, struct error *);
    /* What a restore would do, for the plan: target, whether it exists or is empty, space needed, steps, and
     * "fingerprint", a string that changes when the target does; "target", a path where it goes into a folder;
     * "system", what a server calls itself whatever it is reached by, where it does; and "overwrites", true when what
     * the surface has now is written over and nothing keeps it: whoever carries the plan out has it backed up first. */
    int (*plan)(const struct surface_context *, const struct restore_request *, json_t **ret, struct error *);
    int (*restore)(const struct surface_context *, struct source *, const struct restore_request *, struct restore_result *ret, struct error *);
    /* A disposable instance of the right version under scratch_dir; ret is the connection facts for restore_request.scratch. */
    int (*scratch_start)(const struct surface_context *, const json_t *facts, json_t **ret, struct error *);
    void (*scratch_stop)(const struct surface_context *, json_t *scratch);
    /* Optional: stops what runs in a scratch instance and keeps its files, for another restore over them (as_scratch
     * and delta). Negative: nothing may be restored over it, and scratch_stop is due. */
    int (*scratch_rest)(const struct surface_context *, const json_t *scratch, struct error *);
    /* Invariants of the live instance (scratch NULL) or of a scratch one, in the shape of capture_result.invariants.
     * For a scratch tree, and what was restored into a folder ({"path"}) of files or redis, the driver re-reads it from
     * disk; for a database it asks the server. A database of the facts may have "at", the name that it is under now. */
    int (*measure)(const struct surface_context *, const json_t *scratch, const json_t *facts, json_t **ret, struct error *);
    /* One line for 'list' and 'show' about an item: its type and metadata as JSON. */
    int (*describe)(struct bytes name, struct bytes attr, json_t **ret, struct error *);
    /* Optional (NULL: restored into a folder, the items are the store's own files): write them as such under dirfd,
     * readable by stock tools, durable when it returns. postgres: db/<database>/ is a directory archive for pg_restore. */
    int (*export_tree)(const struct surface_context *, struct source *, int dirfd, struct error *);
    /* Optional: for surfaces whose items are files, and their names paths. ERR_OBJECT_CORRUPT. xattr_next, NULL where
     * they have none, takes the next extended attribute out of a run; false at its end. */
    int (*stat)(struct bytes attr, struct item_stat *ret, struct error *);
    bool (*xattr_next)(struct bytes *run, struct bytes *ret_key, struct bytes *ret_value);
    /* Optional (NULL: any item may be read): tells of each item whose content a restore of that request, which names
     * what it takes, reads. It reads no content itself. */
    int (*wants)(const struct surface_context *, struct source *, const struct restore_request *,
                 int (*cb)(void *ctx, const struct source_head *, struct error *), void *ctx, struct error *);
    /* Optional: of a snapshot whose data are not among its items, but where its facts say: asks there whether they are.
     * *ret is false when all of it is in the items. ERR_ENGINE_GONE and ERR_ENGINE_PARTIAL when they are not; else it
     * could not be found out. */
    int (*outside)(const struct surface_context *, const json_t *facts, bool *ret, struct error *);
    /* Optional: for surfaces that have tables (rows.h). */
    const struct rows_driver *rows;
    /* Optional: remove what a killed run of exactly this request left, and is known to be its by more than a name; *ret_removed is how
     * much. Folders beside a target are found by whoever calls. */
    int (*undo)(const struct surface_context *, const struct restore_request *, unsigned *ret_removed, struct error *);
    /* Optional: for surfaces whose restored instance can take the place of the live one (cutover.h). */
    const struct cutover_driver *cutover;
    /* Settings that select, ended by a row without a key; NULL: there are none. What is overwritten is captured by
     * those of the point that is restored, or without any where overwrites_all. */
    const struct surface_selection *selection;
    bool overwrites_all; /* what a restore in place removes is not only what the point has */
};
extern const struct surface_driver surface_files;
extern const struct surface_driver surface_postgres;
extern const struct surface_driver surface_postgres_physical; /* kind "postgres-physical" */
extern const struct surface_driver surface_redis;
extern const struct surface_driver surface_search; /* OpenSearch and Elasticsearch */
extern const struct surface_driver surface_neo4j;
const struct surface_driver *surface_find(const char *kind); /* NULL when unknown */

#endif
