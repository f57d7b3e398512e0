/* The fallback of a repository that is out of reach takes WAL in its place, as it takes backups (fallback.h). */
#include "base/time.h"
#include "work/beside.h"
#include "work/wal_homes.h"

#include <inttypes.h>
#include <stdio.h>

#define RETRY_NS (60 * NS_PER_S)

struct work_wal *wal_home_at(struct wal_homes *h, const struct wal_home *home, const struct wal_spool **ret_spool) {
    pthread_mutex_lock(&h->lock);
    bool stands = home->stand.used;
    struct work_wal *at = stands ? home->stand.wal : home->wal;
    *ret_spool = stands ? &home->stand.spool : &home->spool;
    pthread_mutex_unlock(&h->lock);
    return at;
}

void wal_stand_close(struct wal_home *home) {
    struct wal_stand *s = &home->stand;
    struct error e = ERROR_INIT;
    /* The next run may not come to this spool folder again: what is noted there belongs into the log now. */
    if (s->wal) (void)!work_wal_register(s->wal, true, &e);
    work_wal_close(s->wal);
    work_close(s->work);
    *s = (struct wal_stand){0};
}

const char *wal_home_fallback(const struct wal_homes *h, const struct wal_home *home) {
    const struct config_repository *c =
        home == &h->list[0] ? beside_config(h->w, h->environment) : config_repository(h->w->config, home->label);
    const char *name = c ? c->fallback : NULL;
    for (size_t i = 0; name && i < h->count; i++) {
        const struct wal_home *other = &h->list[i];
        if (strcmp(other->label, name) == 0) return NULL;
        if (other != home && other->stand.used && strcmp(other->stand.work->options.repository, name) == 0) return NULL;
    }
    return name;
}

static int open_stand(struct wal_homes *h, const char *name, const char *of, struct wal_stand *s, struct error *err) {
    char why[1100];
    struct work_wal *wal;
    bool was = h->w->log_only;
    h->w->log_only = true;
    int rc = beside_open(h->w, name, h->environment, &s->work, err);
    h->w->log_only = was;
    if (rc == 0) rc = wal_home_look(h, s->work, &s->spool, err);
    if (rc == 0) rc = work_wal_open(s->work, h->environment, h->surface, &wal, err);
    if (rc < 0) return rc;
    s->wal = wal;
    known_secrets_clean(&h->w->known, s->why.text, why, sizeof why);
    wal->instead = json_pack("{s:s, s:s, s:s}", "of", of, "code", error_info((int)s->why.code)->code, "why", why);
    return wal->instead ? 0 : error_set(err, ERR_NO_MEMORY, "no memory for an entry of the log");
}

/* ---- word for the next run ---- */

#define AWAY "away"

static int away_path(struct wal_homes *h, struct wal_home *home, char out[WAL_SPOOL_BYTES + 8], struct error *err) {
    struct wal_spool spool; /* by its URL: which repository it is cannot be asked */
    const char *url;
    int rc = work_repo_url(home->work, h->environment, &url, err);
    if (rc == 0) rc = wal_spool_open(h->w, url, h->environment, h->surface, &spool, err);
    if (rc == 0) snprintf(out, WAL_SPOOL_BYTES + 8, "%s/" AWAY, spool.path);
    return rc;
}

/* Help only: without it the next run finds out by itself. */
static void away_note(struct wal_homes *h, struct wal_home *home, const struct error *why) {
    char path[WAL_SPOOL_BYTES + 8], text[1200], clean[1100];
    struct error e = ERROR_INIT;
    known_secrets_clean(&h->w->known, why->text, clean, sizeof clean);
    snprintf(text, sizeof text, "%" PRId64 " %d %s", time_now_ns(), (int)why->code, clean);
    if (away_path(h, home, path, &e) == 0) (void)!io_replace_file(AT_FDCWD, path, BYTES_STR(text), 0600, &e);
}

static void away_forget(struct wal_homes *h, struct wal_home *home) {
    char path[WAL_SPOOL_BYTES + 8];
    struct error e = ERROR_INIT;
    if (away_path(h, home, path, &e) == 0) (void)!seam_unlinkat(AT_FDCWD, path, 0);
}

bool wal_home_away(struct wal_homes *h, struct wal_home *home) {
    CLEANUP(buf_free) struct buf text = BUF_INIT(2048);
    char path[WAL_SPOOL_BYTES + 8];
    struct error e = ERROR_INIT;
    int64_t at = 0, now = time_now_ns();
    int code = 0, n = 0;
    if (!h->w->config || !wal_home_fallback(h, home) || away_path(h, home, path, &e) < 0 ||
        io_read_file(AT_FDCWD, path, text.max_bytes - 1, &text, &e) < 0 || buf_terminate(&text, &e) < 0 ||
        sscanf((const char *)text.ptr, "%" SCNd64 " %d %n", &at, &code, &n) != 2)
        return false;
    if (now < at || now - at >= RETRY_NS || !repo_out_of_reach(-code)) return false;
    error_set(&home->failed, (enum error_code)code, "%.1000s", (const char *)text.ptr + n);
    return home->noted = true;
}

bool wal_stand_begin(struct wal_homes *h, struct wal_home *home, const struct error *why) {
    const char *name = h->w->config ? wal_home_fallback(h, home) : NULL;
    struct wal_stand s = {.why = *why};
    struct error e = ERROR_INIT;
    if (!name || !repo_out_of_reach(-(int)why->code)) {
        if (home->noted) away_forget(h, home); /* the next run asks the repository itself, also below */
        return false;
    }
    if (home->stand.wal) { /* not for the first time */
        home->stand.used = true;
        home->stand.retry_ns = time_monotonic_ns() + RETRY_NS;
        error_clear(&home->failed);
        beside_warn(h->w, home->label, "it is out of reach again, and WAL goes to its fallback %s: %.600s", name,
                    why->text);
        return true;
    }
    if (open_stand(h, name, home->label, &s, &e) < 0) {
        work_wal_close(s.wal);
        work_close(s.work);
        if (home->noted) away_forget(h, home);
        (void)!error_state(&home->failed, "its fallback %s cannot be used either: %.400s", name, e.text);
        return false;
    }
    s.used = true;
    s.retry_ns = time_monotonic_ns() + RETRY_NS;
    home->stand = s;
    error_clear(&home->failed);
    if (h->brief && !home->noted) away_note(h, home, why);
    beside_warn(h->w, home->label, "it is out of reach, and WAL goes to its fallback %s: %.600s", name, s.why.text);
    return true;
}

void wal_homes_stand_in(struct wal_homes *h) {
    for (size_t i = 0; i < h->count; i++) {
        struct error why = h->list[i].failed;
        if (why.code == ERR_NONE || h->list[i].stand.used) continue;
        pthread_mutex_lock(&h->lock);
        (void)wal_stand_begin(h, &h->list[i], &why);
        pthread_mutex_unlock(&h->lock);
    }
}

static int put(struct work_wal *wal, const struct wal_part *p, struct error *err) {
    struct wal_sink *s = work_wal_sink(wal);
    return p->whole ? s->ops->put(s, p->system, p->name, p->bytes, err)
                    : s->ops->put_piece(s, p->system, p->name, p->from, p->bytes, err);
}

/* The repository can be reached again: what it lacks is forwarded by whoever may read the fallback. That stays open, as
 * another thread may be putting into it. */
static void come_back(struct wal_homes *h, struct wal_home *home) {
    pthread_mutex_lock(&h->lock);
    const char *name = home->stand.work->options.repository;
    bool was = home->stand.used;
    home->stand.used = false;
    pthread_mutex_unlock(&h->lock);
    if (!was) return;
    beside_warn(h->w, home->label,
                "it can be reached again, and WAL goes there; what its fallback %s has waits to be forwarded: "
                "proofkeep copy --forward -r %s",
                name, home->label);
}

/* Whether the repository itself is worth a try while its fallback stands in. */
static bool try_again(struct wal_homes *h, struct wal_home *home) {
    struct error e = ERROR_INIT;
    int64_t now = time_monotonic_ns();
    pthread_mutex_lock(&h->lock);
    bool due = home->stand.used && now >= home->stand.retry_ns;
    if (due) home->stand.retry_ns = now + RETRY_NS;
    pthread_mutex_unlock(&h->lock);
    if (!due || home->wal) return due;
    home->work->log_only = true;
    if (!*home->spool.path && wal_home_look(h, home->work, &home->spool, &e) < 0) return false;
    if (work_wal_open(home->work, h->environment, h->surface, &home->wal, &e) == 0) return true;
    home->wal = NULL;
    return false;
}

int wal_home_put(struct wal_homes *h, struct wal_home *home, const struct wal_part *p, struct error *err) {
    struct error why = ERROR_INIT;
    if (try_again(h, home)) {
        int rc = put(home->wal, p, &why);
        if (rc == 0) come_back(h, home);
        if (rc == 0 || !repo_out_of_reach(rc)) {
            *err = why;
            return rc;
        }
        error_clear(&why);
    }
    pthread_mutex_lock(&h->lock);
    bool stands = home->stand.used;
    struct work_wal *at = stands ? home->stand.wal : home->wal;
    pthread_mutex_unlock(&h->lock);
    if (!at) {
        *err = home->failed;
        return -(int)err->code;
    }
    int rc = put(at, p, &why);
    if (rc < 0 && !stands && repo_out_of_reach(rc)) {
        pthread_mutex_lock(&h->lock);
        if (!home->stand.used) home->failed = why;
        stands = home->stand.used || wal_stand_begin(h, home, &why);
        at = home->stand.wal;
        if (!stands) why = home->failed;
        error_clear(&home->failed);
        pthread_mutex_unlock(&h->lock);
        if (stands) error_clear(&why);
        if (stands) rc = put(at, p, &why);
    }
    if (rc < 0 && stands && home->noted) away_forget(h, home);
    if (rc < 0) *err = why;
    return rc;
}
