/* The repository: encrypted, deduplicated, append-only; commits through the log.
 *
 * Invariants
 *  1. A snapshot exists exactly when its receipt is an entry of the log; nothing else makes one.
 *  2. Write order: packs durable, then the index run and the pack list, then the log entry. Reading goes the other way.
 *  3. No object is ever changed once it has its name; what is derived can be rebuilt (index from pack directories).
 *  4. A snapshot's entry at n was built after every entry below n was read, and none of them deletes a pack it uses.
 *  5. Every frame was opened and decoded from the bytes handed to the store, and compared, before it counts as stored;
 *     one that is taken over from another pack as it is: opened, and compared with what that pack held.
 *  6. After a failed write the handle latches: every later write answers ERR_REPO_LATCHED.
 *
 * Threads: one thread opens, syncs, commits and closes; writer items, readers and checks use threads as their headers say.
 */
#ifndef PK_REPO_REPO_H
#define PK_REPO_REPO_H

#include "base/json.h"
#include "crypto/keyring.h"
#include "ledger/ledger.h"
#include "store/store.h"

#define SNAPSHOT_ID_MAX 64
#define PREDICATE_PREFIX "https://proofkeep.dev/"
/* Predicate types that the state understands; others are kept and ignored. */
#define PREDICATE_INIT PREDICATE_PREFIX "init/v1"
#define PREDICATE_KEY PREDICATE_PREFIX "key/v1"
#define PREDICATE_RECEIPT PREDICATE_PREFIX "backup-receipt/v1"
#define PREDICATE_VERIFICATION PREDICATE_PREFIX "verification/v1"
#define PREDICATE_FORGET PREDICATE_PREFIX "forget/v1"
#define PREDICATE_DELETE PREDICATE_PREFIX "delete/v1"
#define PREDICATE_HOLD PREDICATE_PREFIX "hold/v1"
#define PREDICATE_RESTORE PREDICATE_PREFIX "restore/v1"
#define PREDICATE_READ PREDICATE_PREFIX "read/v1"
#define PREDICATE_KEY_DRILL PREDICATE_PREFIX "key-drill/v1"
#define PREDICATE_REPAIR PREDICATE_PREFIX "repair/v1"
#define PREDICATE_COVERAGE PREDICATE_PREFIX "coverage/v1"
#define PREDICATE_COPY PREDICATE_PREFIX "copy/v1"
#define PREDICATE_WAL PREDICATE_PREFIX "wal/v1"
#define PREDICATE_WAL_GAP PREDICATE_PREFIX "wal-gap/v1"

/* The rungs of verification, as far as the state tells them apart; the texts are evidence's. */
enum verify_level { VERIFY_NONE = 0, VERIFY_PRESENT, VERIFY_CHECKSUM, VERIFY_DECODE, VERIFY_SPOT, VERIFY_FULL, VERIFY_REBUILD };

/* Where a copied snapshot came from; what its signer in this repository says. */
struct copy_source {
    uint8_t repository[16];
    uint64_t seq;         /* there */
    struct digest entry;  /* of its receipt's envelope there */
    struct digest kept;   /* index object that holds this envelope */
};
/* A snapshot as the log's fold knows it. Strings and arrays are owned by the repository until the next sync. */
struct snapshot_info {
    uint64_t seq;
    struct digest entry;           /* of the receipt's envelope */
    char id[SNAPSHOT_ID_MAX];      /* backup_id */
    char *environment, *surface;   /* "prod", "artifacts" */
    char *kind;                    /* driver */
    char *receipt_surface;         /* as the receipt calls it */
    int64_t started_ns, completed_ns; /* the writer's claim */
    int64_t stored_ns;             /* the store's clock; retention uses this, falling back on the log's order */
    int64_t claimed_ns;            /* the entry's own time: the signer's claim */
    bool complete;                 /* false: partial */
    bool before_restore;           /* of what a restore was about to write over: what there was, and never the newest */
    struct digest *root;           /* chunk ids of the root's pieces */
    size_t root_count;
    struct digest packs;           /* digest of the pack list object */
    uint64_t packs_seq;            /* the entry that names it: its own, or a repair's */
    uint64_t items, bytes, stored_bytes;
    uint8_t writer[SIGN_PUBLIC_BYTES];
    enum verify_level verified;    /* highest rung passed by a verification whose receipt is in the log */
    int64_t verified_ns;           /* when that rung was last passed */
    int64_t level_ns[VERIFY_REBUILD + 1]; /* when each rung was last passed itself; 0: never */
    bool verify_failed;            /* the newest verification of it failed */
    int64_t restore_ns;            /* how long the newest recorded restore of it took; 0: none */
    int64_t restored_ns;           /* last restore of it that was proven: a full verification or rebuild; 0: none */
    int64_t restore_took_ns;       /* how long that took */
    unsigned holds;                /* in force */
    bool is_copy;
    struct copy_source source;     /* when is_copy */
    char *fallback;                /* the repository that was out of reach, so that this one took the backup first (its name
                                    * in the configuration); NULL: none was */
    bool forgotten;
    uint64_t forgotten_seq;        /* the entry that forgot it */
};
/* A hold, in the order of the log; its reason stands in its entry. A release ends every hold of its snapshot. */
struct hold_info {
    uint64_t seq, snapshot; /* its own entry, and the snapshot's */
    int64_t time_ns;
    uint8_t signer[SIGN_PUBLIC_BYTES];
    bool released;
};
/* A job that failed, or any other receipt without data. */
struct job_info {
    uint64_t seq;
    char id[SNAPSHOT_ID_MAX];
    char *environment, *surface;
    int64_t completed_ns;
};
struct key_info {
    uint8_t public_key[SIGN_PUBLIC_BYTES];
    enum key_role role;
    char label[65];
    bool removed;
    uint64_t seq;
    unsigned epoch;     /* whose keys its bundle holds */
    unsigned last_epoch; /* removed: the newest whose keys it was given */
    int64_t suspect_ns; /* removed as compromised: what it signed from then on is suspect; 0: not */
};
/* What was last said of a copy of this repository. */
struct copy_info {
    uint8_t repository[16]; /* its id */
    char label[65];         /* where it is, for people */
    uint64_t seq;           /* the entry that says so; 0 is never one */
    uint64_t newest;        /* place in this log of the newest snapshot that it has; 0: none */
    uint64_t *missing;      /* places of older snapshots that it did not have */
    size_t missing_count;
    int64_t time_ns;
    int64_t first_ns;       /* when it was first heard of */
    int64_t reread_ns;      /* when all of it was last read again; 0: never */
    bool reread_failed;     /* and was not what it should be */
    uint64_t wal_newest;    /* all WAL that entries up to this one register was there, but for: */
    uint64_t wal_missing;   /* so many objects; both 0 as long as nothing was said of WAL */
};
/* The newest proof that a recovery kit opens the repository. */
struct drill_info {
    uint64_t seq; /* 0: there was none */
    int64_t time_ns;
    enum key_role role; /* of the kit's key */
    uint8_t signer[SIGN_PUBLIC_BYTES];
};

struct repo;
struct repo_params {
    enum cipher cipher;         /* 0: cipher_best() */
    uint32_t data_pack_bytes;   /* 0: 16 MiB; 24 MiB where each request costs */
    uint32_t meta_pack_bytes;   /* 0: 4 MiB */
    const struct repo *copy_of; /* share its content keys and pack sizes, to take copies of its snapshots; NULL: keys of its own.
                                 * When it has begun epochs, repo_epoch_follow is next, and takes a key that reads it.
                                 * ERR_KEY_ROLE when it is open with a key that has none. Borrowed. */
    const char *cache_dir;      /* as of repo_open: the next handle on this machine knows what was made here; may be NULL */
};
/* Make a repository in an empty store: format, first slot, entry 0. `k` (ROLE_ADMIN) is made here and owned by the caller.
 * ERR_REPO_EXISTS when the store has one. `slot` seals the admin bundle. Durable when it returns. */
int repo_create(struct store *s, const struct repo_params *p, const struct unlock *slot, const char *label, struct keyring **ret, struct error *err) PK_CHECK;
/* Open with whatever slot `u` opens. `s` is borrowed. cache_dir may be NULL (then: no pins, no local index). Syncs the log. */
int repo_open(struct store *s, const struct unlock *u, const char *cache_dir, struct repo **ret, struct error *err) PK_CHECK;
/* The same without the index, for what only reads and writes the log and WAL (wal_object.h): whatever looks up a chunk is refused. */
int repo_open_log(struct store *s, const struct unlock *u, const char *cache_dir, struct repo **ret, struct error *err) PK_CHECK;
void repo_close(struct repo *r);
/* Packs that are written from now on carry so much parity of their bytes (parity.h); 0, which is how it begins, is none.
 * At most PARITY_PERCENT_MAX. */
void repo_parity_set(struct repo *r, unsigned percent);
/* Read the log's newcomers and the index runs they name. */
int repo_sync(struct repo *r, struct error *err) PK_CHECK;
/* The same, but a handle that was opened or synced in the last seconds does not ask again where each request costs: for
 * whoever commits afterwards, as every entry below is read before that. */
int repo_sync_lately(struct repo *r, struct error *err) PK_CHECK;

const struct keyring *repo_keys(const struct repo *r);
struct store *repo_store(const struct repo *r);
struct ledger *repo_ledger(const struct repo *r);
const char *repo_id_hex(const struct repo *r);
/* Which repository a store holds, without opening it and without any key. ERR_REPO_NONE: none. */
int repo_id_read(struct store *s, char ret_hex[33], struct error *err) PK_CHECK;
/* The name of the log and of every key that signs its checkpoints; out has at least 64 bytes. */
void repo_origin(const struct repo *r, char out[64]);
const char *repo_cache_dir(const struct repo *r); /* NULL without */

size_t repo_snapshot_count(const struct repo *r);
const struct snapshot_info *repo_snapshot(const struct repo *r, size_t i); /* in log order, forgotten ones included */
const struct snapshot_info *repo_snapshot_at(const struct repo *r, uint64_t seq); /* of that entry; NULL: there is none */
const struct snapshot_info *repo_latest(const struct repo *r, const char *environment, const char *surface); /* NULL: none */
size_t repo_job_count(const struct repo *r); /* failed jobs */
const struct job_info *repo_job(const struct repo *r, size_t i);
size_t repo_hold_count(const struct repo *r); /* released ones included */
const struct hold_info *repo_hold(const struct repo *r, size_t i);
size_t repo_key_count(const struct repo *r);
const struct key_info *repo_key(const struct repo *r, size_t i);
const struct drill_info *repo_key_drill(const struct repo *r); /* NULL: never drilled */
size_t repo_copy_count(const struct repo *r); /* of copies of this repository */
const struct copy_info *repo_copy(const struct repo *r, size_t i); /* until the next sync */
/* Snapshots that are live, not suspect, and not at that copy by what was last said of it; *ret_waiting_ns (may be NULL) is since when the
 * oldest of them is in the log, 0 without any. */
size_t repo_copy_lag(const struct repo *r, const struct copy_info *c, int64_t *ret_waiting_ns);
/* The same of objects of WAL that the log has registered since, or that the copy lacked then. */
uint64_t repo_copy_wal_lag(const struct repo *r, const struct copy_info *c, int64_t *ret_waiting_ns);
/* Whether an error says that a repository cannot be reached at all: what answers and refuses can be. */
bool repo_out_of_reach(int rc);
/* Whether one says that what a repository has cannot be had whole from it, so that another copy may have it. */
bool repo_unreadable(int rc);
/* Whether chunks of both are known to have the same ids, or to have others: neither, when the keys at hand cannot tell. */
bool repo_shares_content(const struct repo *a, const struct repo *b);
bool repo_content_differs(const struct repo *a, const struct repo *b);
/* Whether a snapshot's writer was revoked as compromised at or before it was stored. What counts is the log's order: once
 * any snapshot was stored at or after that instant, all later ones of that writer are suspect, whatever clock they claim. */
bool repo_snapshot_suspect(const struct repo *r, const struct snapshot_info *s);

/* Entries of the log that count for nothing, as their signers may not say what they say; ret_why (borrowed) is about the
 * newest of them. Anything above zero wants a person's attention. */
size_t repo_void_entries(const struct repo *r, const char **ret_why);

/* What was refused of the log's summaries and bundles while it was opened, with the signer where there is one; "" when
 * nothing was. What is derived from the log was tampered with or is damaged; the log itself was read instead. */
const char *repo_summary_refused(const struct repo *r);

/* Append a statement that is not a snapshot (failed receipt, verification, hold, restore, key…). Owns nothing of it. */
int repo_append(struct repo *r, json_t *statement, uint64_t *ret_seq, struct digest *ret, struct error *err) PK_CHECK;
/* Add a slot object for `bundle`, and (for a new signing key) its KEY entry. Admin only. */
int repo_key_add(struct repo *r, const struct keyring *bundle, const struct unlock *slot, const char *label, struct error *err) PK_CHECK;
/* The same with the bytes of a slot that slot_seal made. */
int repo_slot_add(struct repo *r, const struct keyring *bundle, struct bytes slot, const char *label, struct error *err) PK_CHECK;
/* Seal `bundle` anew and remove the slot `name`, which is one of the same key. The new slot is read back and opened with
 * `slot` before the old one goes; one for a recipient cannot be, and then the slot that opened `r` stays (ERR_KEY_ROLE,
 * nothing was changed). Admin only. */
int repo_slot_replace(struct repo *r, const char *name, const struct keyring *bundle, const struct unlock *slot, const char *label, struct error *err) PK_CHECK;
/* Record that a recovery kit was tried: `r` was opened with it, and `bytes` of `point` were decoded. ERR_KEY_ROLE for a
 * key that may not say so or was removed. */
int repo_key_drill_add(struct repo *r, const struct snapshot_info *point, uint64_t bytes, const char *principal, struct error *err) PK_CHECK;
/* Whether the slot that opened `r` is the store's; false: it came with the unlock, and the store has lost it. */
bool repo_slot_stored(const struct repo *r);
/* Remove a signing key (KEY entry) and every slot that holds it. Admin only. The admin key stays (ERR_KEY_ROLE): all others
 * come from it, and what may go is one of its slots. */
int repo_key_remove(struct repo *r, const uint8_t pub[SIGN_PUBLIC_BYTES], struct error *err) PK_CHECK;
/* The same for a key that others may have used: what it signed from since_ns on is suspect, 0 for all of it.
 * A key that was removed before is taken as well. */
int repo_key_revoke(struct repo *r, const uint8_t pub[SIGN_PUBLIC_BYTES], int64_t since_ns, struct error *err) PK_CHECK;
/* Remove one slot, by its object key "keys/<hex>". Admin only. ERR_KEY_ROLE for the last slot of a key and for the one that
 * opened `r`; ERR_NO_POINT when there is none of that name. */
int repo_slot_remove(struct repo *r, const char *name, struct error *err) PK_CHECK;
/* Begin an epoch: from here on chunks have ids, streams are cut and the index is sealed with keys that no one has who was removed
 * before. Every key in force is given them, and needs nothing but the log to find them. ret_keys counts boxes made for writers
 * and prune keys. Admin only. ERR_POLICY after EPOCHS_MAX of them, and for a copy, which
 * has the ids of its source. What is stored stays as it is. Durable when it returns. */
int repo_epoch_begin(struct repo *r, unsigned *ret_epoch, uint64_t *ret_keys, struct error *err) PK_CHECK;
/* The same of a copy whose source is gone for good: from here on it has ids of its own. */
int repo_epoch_leave(struct repo *r, unsigned *ret_epoch, uint64_t *ret_keys, struct error *err) PK_CHECK;
unsigned repo_epoch(const struct repo *r); /* 0: none was begun */
/* Of a copy: begin the epochs that its source has begun since, with the source's id and cut keys, so that ids agree again. Takes the
 * admin key of the copy and a key that reads the source. ERR_COPY_FOREIGN when they did not agree before. */
int repo_epoch_follow(struct repo *copy, const struct repo *source, unsigned *ret_begun, struct error *err) PK_CHECK;
/* A new bundle of `role` with the keys of the epoch in force. ERR_KEY_ROLE without an admin key. */
int repo_bundle_new(const struct repo *r, enum key_role role, struct keyring **ret, struct error *err) PK_CHECK;
/* Slots as objects, for 'key list'. */
int repo_slots(struct repo *r, int (*cb)(void *ctx, const char *name, const struct slot_info *info, struct error *err), void *ctx, struct error *err) PK_CHECK;

/* Totals of the index: distinct packs and stored bytes of live packs. */
int repo_totals(struct repo *r, uint64_t *ret_packs, uint64_t *ret_bytes, struct error *err) PK_CHECK;
/* Write tiles, bundles and checkpoint, and with an admin key a summary at the end of a bundle. Failure harms nothing. */
int repo_publish(struct repo *r, struct error *err) PK_CHECK;

#endif
