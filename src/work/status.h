/* Where every surface stands against its targets. */
#ifndef PK_WORK_STATUS_H
#define PK_WORK_STATUS_H

#include "repo/check_budget.h"
#include "repo/copy.h"
#include "work/drift.h"
#include "work/metrics.h"
#include "work/select.h"
#include "work/set.h"
#include "work/wal_window.h"

#define STATUS_WINDOWS_MAX 8

/* Worst first. Down to STATUS_UNPROVEN a row fails a check. */
enum status_state {
    STATUS_UNKNOWN = 0, /* the repository could not be opened, or what is stored is older than the RPO and the server
                         * could not be asked whether there is anything newer: unknown means no */
    STATUS_BREACHED,    /* the newest whole point is older than the RPO, or a restore took longer than the RTO */
    STATUS_NO_BACKUP,   /* there is no whole point, and the policy does not say that this is fine (rpo: none) */
    STATUS_DAMAGED,     /* the newest whole point failed its last verification */
    STATUS_UNPROVEN,    /* no point within the RPO is verified as far as the policy wants, or an RTO was never tried */
    STATUS_FAILED,      /* within targets, but the last attempt failed or was partial */
    STATUS_NO_TARGET,   /* no RPO is set, or the configuration does not have the surface */
    STATUS_GOOD,
};
const char *status_state_name(enum status_state s); /* "breached" */
bool status_fails(enum status_state s);

/* What the server says of the newest WAL that is stored. */
enum status_server {
    STATUS_SERVER_NOT_ASKED = 0, /* no need: the newest WAL is young, or does not reach from a backup */
    STATUS_SERVER_SILENT,        /* it could not be asked, or is a standby, which cannot tell */
    STATUS_SERVER_OTHER,         /* it is not, or not any more, the one that this WAL is of */
    STATUS_SERVER_AHEAD,         /* it has written more, of any age */
    STATUS_SERVER_SOON,          /* what it has written besides is as young as its archive_timeout makes it */
    STATUS_SERVER_SAME,          /* it has written nothing that is not stored */
};
const char *status_server_name(enum status_server s); /* "ahead" */

/* One surface of one environment. Strings are the configuration's or the status's own. */
struct status_row {
    char environment[128], surface[128], kind[32], repository[128]; /* its configured name, else its id */
    bool configured, protected;
    enum status_state state;
    char why[400];
    /* the newest whole recovery point; time 0: none */
    char good_id[SNAPSHOT_ID_MAX];
    int64_t good_time_ns, good_started_ns, good_completed_ns;
    uint64_t good_bytes, good_stored_bytes, good_seq;
    /* the newest one that is verified as far as the policy wants; time 0: none */
    char proven_id[SNAPSHOT_ID_MAX];
    int64_t proven_time_ns, proven_at_ns;
    enum verify_level proven_level, level_wanted;
    /* the last restore that was proven, and how long it took; 0: none */
    int64_t restored_ns, restore_took_ns;
    /* the last attempt; 0: none */
    int64_t attempt_ns;
    bool attempt_failed;
    int64_t level_ns[VERIFY_REBUILD + 1]; /* when any point was last verified at this rung or a higher one */
    struct config_duration rpo, rto;
    unsigned held; /* points on hold */
    struct {
        bool any;           /* the log has WAL of it */
        bool reaches;       /* from a backup on, without a gap; needs a key that reads */
        bool broken;        /* WAL after the newest physical backup is missing: [from, to) */
        char from[24], to[24];
        int64_t first_ns;   /* when the first backup ended after which none is missing; 0: there is none, or this key cannot tell */
        int64_t newest_ns;  /* when the newest WAL was stored; 0: none is there */
        enum status_server server;
        char server_why[200]; /* as a clause; "" when it was not asked */
        int64_t sure_ns;      /* all that the server had written then is stored; 0: that cannot be told */
        struct wal_window windows[STATUS_WINDOWS_MAX]; /* what can be recovered to: the newest */
        size_t window_count;
        struct wal_gap known[STATUS_WINDOWS_MAX]; /* gaps that were acknowledged: the newest */
        size_t known_count;
    } wal;
};
struct status_repository { /* one that could be opened, or whose log is not consistent */
    char name[128];
    bool inconsistent; /* the log is broken, was rolled back or forked, or its witnesses are missing: nothing else is known */
    bool witnessed;    /* witnesses are configured */
    bool silent;       /* and too few of them spoke lately */
    int64_t witness_ns; /* when enough of them last vouched; 0: never */
    char witness[200];  /* the same as a sentence */
    uint64_t entries, bytes;
    int64_t drilled_ns; /* when a recovery kit last proved that it opens it; 0: never */
    enum key_role drill_role;
    int64_t drift_ns; /* when its store's drift was last measured by this machine; 0: never */
    struct drift_totals drift;
    struct coverage_sum coverage; /* by checks with a budget; `any` false: there were none */
};
struct status_copy { /* of one of these */
    char repository[128], label[65], id[33];
    size_t behind;       /* recovery points that it lacks by what the log was told last */
    uint64_t wal_behind; /* objects of WAL, the same */
    int64_t waiting_ns;  /* since when the oldest of them waits; 0: there is none */
    int64_t told_ns;     /* when the log was told; 0: never, and nothing was copied to it */
    bool offline;        /* its medium is attached at times only; then also: */
    int64_t reread_ns;   /* when all of it was last read again, and was whole; 0: never */
    bool reread_failed;  /* and what was found last was not */
    int64_t due_ns;      /* when that is due next */
    bool overdue;        /* or it was never written, or failed: fails a check */
};
struct status_fallback { /* of a repository that has one */
    char repository[65], name[65];
    size_t waiting;   /* recovery points that it took and that were not forwarded */
    uint64_t wal;     /* objects of WAL, likewise */
    int64_t since_ns; /* the oldest of them */
    char why[400];    /* it could not be looked at: why; else empty */
};
/* A set: those of the configuration, and those that the log has besides, which have no targets. */
struct status_set {
    char environment[128], set[SET_NAME_BYTES], repository[128];
    bool configured;
    enum status_state state; /* breached, no backup, unproven (an RTO that was never tried), failed, no target, good */
    char why[400];
    char good_id[SNAPSHOT_ID_MAX]; /* the newest that is whole, and whose recovery points are all there */
    int64_t good_time_ns;          /* 0: there is none */
    char consistency[16];
    size_t surfaces;
    int64_t restored_ns, restore_took_ns; /* the last restore of the whole with every check passed; 0: none */
    struct config_duration rpo, rto;
};
bool status_fallback_fails(const struct status_fallback *f);
struct status {
    struct status_row *rows; /* worst first */
    size_t row_count;
    struct status_repository *repositories;
    size_t repository_count;
    struct status_copy *copies;
    size_t copy_count;
    struct status_fallback *fallbacks;
    size_t fallback_count;
    struct status_set *sets; /* worst first */
    size_t set_count;
    int64_t now_ns;
    struct error unreachable; /* the first repository that could not be opened; ERR_NONE when all could */
    /* private */
    size_t row_cap, repository_cap, copy_cap, fallback_cap, set_cap;
};
/* Of the repository that is open, called `name`; of one that need not be. */
int status_copies_add(struct status *st, struct work *w, const char *name, struct error *err) PK_CHECK;
/* What a server that has written so far, as it said at `asked_ns`, says of the WAL that had been looked at before:
 * fills `server`, `server_why` and `sure_ns`. */
struct wal_written;
void status_wal_server(struct status_row *r, const struct wal_view *v, const struct wal_written *w, int64_t asked_ns);
/* Up to when all is stored, by backups and WAL. 0: there is none. */
int64_t status_stored_ns(const struct status_row *r);
/* What there is of a row's WAL. Of the repository that is open. The server is asked, where the newest is not young. */
int status_wal_look(struct work *w, struct status_row *r, struct error *err) PK_CHECK;
int status_fallback_add(struct status *st, struct work *w, const struct config_repository *c, struct error *err) PK_CHECK;
/* Sets that are selected, of the repository that is open, called `name`; warns of freezes that a killed job left. */
int status_sets_add(struct status *st, struct work *w, const struct selection *s, const char *name,
                    struct error *err) PK_CHECK;
int status_sets_json(const struct status *st, json_t **ret, struct error *err) PK_CHECK;
/* Surfaces of the configuration, and those that the repositories have besides. 0 also when repositories could not be
 * opened: their rows are STATUS_UNKNOWN and ret->unreachable says why. */
int work_status(struct work *w, const struct selection *s, struct status *ret, struct error *err) PK_CHECK;
void status_free(struct status *s);
/* 0 when no row fails, nothing waits to be forwarded and no offline copy is overdue; ERR_TARGET_BREACHED names what does. */
int status_check(const struct status *s, struct error *err) PK_CHECK;
/* The document of doc/reference/json.md, "status". */
int status_json(const struct status *s, json_t **ret, struct error *err) PK_CHECK;
/* The metrics of doc/reference/metrics.md, appended to out. */
int status_metrics(const struct status *s, const char *version, struct buf *out, struct error *err) PK_CHECK;

#endif
