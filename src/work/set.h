/* Sets: several surfaces of one environment backed up in one run, with one receipt for the whole besides each one's
 * own. */
#ifndef PK_WORK_SET_H
#define PK_WORK_SET_H

#include "platform/set.h"
#include "repo/set.h"
#include "work/backup.h"

/* ---- backup ---- */
struct set_member {
    const struct config_surface *surface; /* of the spec */
    struct backup_result result;
    struct error failure; /* ERR_NONE: it was stored, whole or partial */
    bool tried;
};
struct set_backup_options {
    struct backup_options backup;
    const char *timestamp; /* of exported names; NULL: that of the set's beginning */
};
struct set_result {
    char id[SNAPSHOT_ID_MAX], consistency[16];
    struct set_member *members; /* as in the spec; owned */
    size_t count;
    unsigned done, partial, failed, elsewhere; /* elsewhere: of those done or partial, stored in a fallback */
    uint64_t seq; /* of the set's own receipt; 0: it could not be written, or there is none for one surface */
    int64_t duration_ns, frozen_ns; /* frozen_ns: how long writes were frozen; 0: they were not */
    bool held;                      /* for all captures */
};
/* Called for each surface that ended, one at a time, from any thread. */
typedef void (*set_member_cb)(void *ctx, const struct set_member *m);
/* As many surfaces at a time as threads and memory allow (set_share), each by a handle of the repository of its own.
 * Hooks that freeze are run before the first capture and undone after the last, whatever happens. 0 when it ran,
 * however many surfaces failed: see ret. ERR_INTERRUPTED, ERR_TERMINATED after a stop, with ret filled. Its receipt is
 * written for those too, unless the repository cannot be had. A spec of one surface that is no configured set gets no
 * receipt of a set. */
int set_backup(struct work *w, const struct set_spec *spec, const struct set_backup_options *o, set_member_cb cb,
               void *ctx, struct set_result *ret, struct error *err) PK_CHECK;
void set_result_free(struct set_result *r);

#define SET_MEMORY_BYTES (UINT64_C(256) << 20)
/* How many of n surfaces may be captured at once by `jobs` threads within SET_MEMORY_BYTES, and the threads of each.
 * far: into a store where a request costs more than what it brings, whose packs are larger. */
void set_share(size_t n, unsigned jobs, bool far, unsigned *ret_at_once, unsigned *ret_threads);

/* Write the stored members of a set below `dir` as their stores' own files, "<surface>_<timestamp>" each, and
 * backup-manifest.json, which names them in the form that 002's scripts read. */
int set_export(struct work *w, const struct set_spec *spec, const struct set_result *r, const char *dir,
               const char *timestamp, struct error *err) PK_CHECK;

/* ---- finding ---- */
/* The set that an address means in the open repository: its name, and the point (latest whole, id, time). *ret NULL and
 * 0 when the address names a single surface and no set. ERR_NO_POINT. Opens the repository when need be. */
int set_find(struct work *w, const char *address, const struct set_info **ret, struct error *err) PK_CHECK;
/* The same of an address that was read, in the repository that is open; `what` stands for it in messages. */
int set_find_parsed(struct work *w, const struct address *a, const char *what, const struct set_info **ret,
                    struct error *err) PK_CHECK;
/* When it was taken: a set is no younger than what it is of, of which the store says when it came (point_time). */
int64_t set_time(const struct work *w, const struct set_info *s);
/* Members whose recovery points are still there. */
size_t set_members_left(const struct work *w, const struct set_info *s);
/* The document of doc/reference/json.md, "set". */
int set_json(const struct work *w, const struct set_info *s, json_t **ret, struct error *err) PK_CHECK;
/* The predicate of its receipt; owned by the caller. */
int set_predicate(struct work *w, const struct set_info *s, json_t **ret, struct error *err) PK_CHECK;

#endif
