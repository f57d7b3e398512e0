#include "work/wal_homes.h"

#include "platform/open_store.h"
#include "work/beside.h"

#include <stdio.h>

static struct wal_homes *of_sink(struct wal_sink *s) {
    return (struct wal_homes *)((char *)s - offsetof(struct wal_homes, sink));
}

/* ---- which they are ---- */

int wal_home_look(struct wal_homes *h, struct work *w, struct wal_spool *ret, struct error *err) {
    struct store *s = NULL;
    const struct config_environment *e = w->config ? config_environment(w->config, h->environment) : NULL;
    const char *url;
    char id[33];
    int rc = work_repo_url(w, h->environment, &url, err);
    if (rc == 0) rc = config_open_store(w->config, e, url, false, &s, err);
    if (rc == 0) rc = repo_id_read(s, id, err);
    store_close(s);
    if (rc < 0) return rc == -ERR_USAGE || !url ? rc : error_wrap(err, "the repository %s", url);
    return wal_spool_open(h->w, id, h->environment, h->surface, ret, err);
}

static int home_add(struct wal_homes *h, const char *name, struct error *err) {
    struct wal_home *home = &h->list[h->count];
    struct work_options o = h->w->options;
    if (h->count == WAL_HOMES_MAX)
        return error_set(err, ERR_USAGE, "the WAL of a surface goes into %d repositories at most", WAL_HOMES_MAX);
    snprintf(home->label, sizeof home->label, "%s", name);
    o.repository = name;
    o.from = NULL;
    o.key_file = o.passphrase_file = o.recovery_kit = NULL;
    int rc = work_open(&o, &home->work, err);
    if (rc < 0) return rc;
    home->work->log_only = true;
    h->count++;
    return 0;
}

int wal_homes_look(struct work *w, const char *environment, const char *surface, bool brief, struct wal_homes *ret,
                   struct error *err) {
    const struct config_surface *s = w->config ? config_surface(w->config, surface) : NULL;
    const struct config_repository *own = beside_config(w, environment);
    int rc = 0;
    memset(ret, 0, sizeof *ret);
    pthread_mutex_init(&ret->lock, NULL);
    ret->w = w;
    ret->brief = brief;
    snprintf(ret->environment, sizeof ret->environment, "%s", environment);
    snprintf(ret->surface, sizeof ret->surface, "%s", surface);
    ret->list[0].work = w;
    snprintf(ret->list[0].label, sizeof ret->list[0].label, "%s", own ? own->head.name : "the repository");
    ret->count = 1;
    for (size_t i = 0; s && s->wal && i < s->wal->also.count && rc == 0; i++) {
        const char *name = s->wal->also.items[i];
        bool there = own && strcmp(own->head.name, name) == 0;
        for (size_t k = 1; k < ret->count; k++) there |= strcmp(ret->list[k].label, name) == 0;
        if (!there) rc = home_add(ret, name, err);
    }
    for (size_t i = 0; i < ret->count && rc == 0; i++) {
        struct wal_home *home = &ret->list[i];
        if (brief && wal_home_away(ret, home)) continue;
        if (wal_home_look(ret, home->work, &home->spool, &home->failed) == 0) error_clear(&home->failed);
    }
    return rc;
}

void wal_homes_close(struct wal_homes *h) {
    for (size_t i = 0; i < h->count; i++) {
        wal_stand_close(&h->list[i]);
        work_wal_close(h->list[i].wal);
        if (i > 0) work_close(h->list[i].work);
    }
    h->count = 0;
    pthread_mutex_destroy(&h->lock);
}

/* ---- what they have ---- */

bool wal_homes_marked(struct wal_homes *h, const struct wal_name *n, const struct stat *st) {
    unsigned had = 0;
    for (size_t i = 0; i < h->count; i++) {
        const struct wal_spool *spool;
        (void)wal_home_at(h, &h->list[i], &spool);
        if (h->list[i].failed.code != ERR_NONE) continue;
        if (!wal_mark_holds(spool, n, st)) return false;
        had++;
    }
    return had > 0;
}

static void name_add(char out[200], const char *name) {
    size_t at = strlen(out);
    snprintf(out + at, 200 - at, "%s%s", at ? ", " : "", name);
}

int wal_homes_lacking(const struct wal_homes *h, const char *what, const bool *has, const struct error *why,
                      struct error *err) {
    char had[200] = "", lacks[200] = "";
    *err = *why;
    if (h->count == 1) return -(int)err->code;
    for (size_t i = 0; i < h->count; i++) name_add(has[i] ? had : lacks, h->list[i].label);
    if (*had) return error_wrap(err, "%s is stored in %s, and not in %s, which must have it too", what, had, lacks);
    return error_wrap(err, "%s is stored in none of the repositories that must have it (%s)", what, lacks);
}

bool wal_homes_system(struct wal_homes *h, uint64_t *ret) {
    const struct wal_spool *spool;
    for (size_t i = 0; i < h->count; i++) {
        struct work_wal *wal = wal_home_at(h, &h->list[i], &spool);
        if (wal && work_wal_system(wal, ret)) return true;
    }
    return false;
}

/* What a fallback took waits there, and prune leaves it alone, only when its log says so. */
static int stand_unsaid(const struct wal_home *home, const struct error *why, struct error *err) {
    *err = *why;
    return error_wrap(err, "%s, in the place of %s", home->stand.work->options.repository, home->label);
}

int wal_homes_register(struct wal_homes *h, bool now, struct error *err) {
    int rc = 0;
    for (size_t i = 0; i < h->count; i++) {
        const struct wal_spool *spool;
        struct work_wal *wal = wal_home_at(h, &h->list[i], &spool);
        struct error e = ERROR_INIT;
        struct wal_stand *stood = &h->list[i].stand;
        if (stood->wal && work_wal_register(stood->wal, true, &e) < 0) {
            if (stood->used && rc == 0)
                rc = stand_unsaid(&h->list[i], &e, err);
            else
                beside_warn(h->w, stood->work->options.repository, "%s", e.text);
            error_clear(&e);
        }
        if (stood->used) continue;
        bool first = wal && !wal->registered; /* the entry that says whose WAL the surface takes */
        if (!wal || work_wal_register(wal, now, &e) == 0) continue;
        if (first && !wal->registered && rc == 0) {
            *err = e;
            rc = h->count > 1 ? error_wrap(err, "%s", h->list[i].label) : -(int)e.code;
        } else if (h->w->options.events.warning)
            h->w->options.events.warning(h->w->options.events.ctx, h->surface, e.text);
    }
    return rc;
}

/* ---- the sink over all ---- */

/* A retry goes only to those that lack it. */
static int put_all(struct wal_homes *h, const struct wal_part *p, struct error *err) {
    struct error first = ERROR_INIT;
    bool has[WAL_HOMES_MAX] = {false};
    char key[WAL_OBJECT_KEY_BYTES], what[WAL_NAME_BYTES];
    if (p->whole)
        wal_object_name(p->system, p->name, key);
    else
        wal_piece_name(p->system, p->name, p->from, p->from + (uint32_t)p->bytes.len, key);
    for (size_t i = 0; i < h->count; i++) {
        struct wal_home *home = &h->list[i];
        struct error e = ERROR_INIT;
        has[i] = strcmp(home->last, key) == 0 || wal_home_put(h, home, p, &e) == 0;
        if (has[i])
            memcpy(home->last, key, sizeof key);
        else if (first.code == ERR_NONE)
            first = e;
    }
    wal_name_format(p->name, what);
    if (first.code != ERR_NONE) return wal_homes_lacking(h, what, has, &first, err);
    for (size_t i = 0; i < h->count; i++) h->list[i].last[0] = 0;
    return 0;
}

static int put(struct wal_sink *s, uint64_t system, const struct wal_name *n, struct bytes file, struct error *err) {
    struct wal_part p = {system, n, 0, file, true};
    return put_all(of_sink(s), &p, err);
}

static int put_piece(struct wal_sink *s, uint64_t system, const struct wal_name *n, uint32_t from, struct bytes piece,
                     struct error *err) {
    struct wal_part p = {system, n, from, piece, false};
    return put_all(of_sink(s), &p, err);
}

/* From where the one goes on that is furthest behind. One that has nothing yet begins with a whole segment. */
static int resume(struct wal_sink *s, uint64_t system, uint32_t *ret_timeline, uint64_t *ret_lsn,
                  uint32_t *ret_segment_bytes, struct error *err) {
    struct wal_homes *h = of_sink(s);
    bool empty = false;
    *ret_timeline = *ret_segment_bytes = 0;
    *ret_lsn = 0;
    for (size_t i = 0; i < h->count; i++) {
        uint32_t timeline, bytes;
        uint64_t lsn;
        const struct wal_spool *spool;
        struct wal_sink *inner = work_wal_sink(wal_home_at(h, &h->list[i], &spool));
        if (h->list[i].stand.used) { /* what the repository has cannot be seen: all that the slot does not hold */
            *ret_timeline = *ret_segment_bytes = 0;
            *ret_lsn = 0;
            return 0;
        }
        int rc = inner->ops->resume(inner, system, &timeline, &lsn, &bytes, err);
        if (rc < 0) return h->count > 1 ? error_wrap(err, "%s", h->list[i].label) : rc;
        empty |= lsn == 0;
        if (bytes) *ret_segment_bytes = bytes;
        if (lsn && (!*ret_lsn || timeline < *ret_timeline || (timeline == *ret_timeline && lsn < *ret_lsn))) {
            *ret_timeline = timeline;
            *ret_lsn = lsn;
        }
    }
    if (empty && *ret_lsn && *ret_segment_bytes) *ret_lsn -= *ret_lsn % *ret_segment_bytes;
    return 0;
}

static const struct wal_sink_ops ops = {put, put_piece, resume};

void wal_homes_open(struct wal_homes *h) {
    h->sink.ops = &ops;
    for (size_t i = 0; i < h->count; i++) {
        struct wal_home *home = &h->list[i];
        if (home->failed.code != ERR_NONE || home->wal || home->stand.used) continue;
        home->work->log_only = true;
        if (work_wal_open(home->work, h->environment, h->surface, &home->wal, &home->failed) == 0)
            error_clear(&home->failed);
        else
            home->wal = NULL;
    }
    wal_homes_stand_in(h);
}
