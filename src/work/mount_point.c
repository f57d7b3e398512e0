/* Environments, surfaces and points of a mount, and which points are open. */
#include "work/mount_internal.h"

#include "base/time.h"
#include "work/point.h"

#include <errno.h>
#include <stdio.h>
#include <unistd.h>

#define WARNINGS_MAX 200
#define COOKIE_LATEST (UINT64_C(1) << 40)

int mount_init(struct mount *m, struct work *w, struct error *err) {
    pthread_rwlockattr_t a;
    *m = (struct mount){.w = w, .uid = geteuid(), .gid = getegid(), .began_ns = time_now_ns()};
    pthread_rwlockattr_init(&a);
    /* or readers would keep new points out for ever */
    pthread_rwlockattr_setkind_np(&a, PTHREAD_RWLOCK_PREFER_WRITER_NONRECURSIVE_NP);
    pthread_rwlock_init(&m->repo_lock, &a);
    pthread_rwlockattr_destroy(&a);
    pthread_mutex_init(&m->lock, NULL);
    pthread_mutex_init(&m->node_lock, NULL);
    pthread_cond_init(&m->opened, NULL);
    int rc = pool_new(w->jobs, 64, &m->ahead, err);
    if (rc == 0) mount_sync(m);
    return rc;
}

void mount_end(struct mount *m) {
    pool_free(m->ahead);
    nodes_free(m);
    for (size_t i = 0; i < m->point_count; i++) {
        snapshot_close(m->points[i]->snapshot);
        seam_free(m->points[i]);
    }
    for (size_t i = 0; i < m->place_count; i++) seam_free(m->places[i].name);
    seam_free(m->points);
    seam_free(m->places);
    pthread_cond_destroy(&m->opened);
    pthread_mutex_destroy(&m->node_lock);
    pthread_mutex_destroy(&m->lock);
    pthread_rwlock_destroy(&m->repo_lock);
}

int mount_failed(struct mount *m, const struct error *err, const char *what) {
    const struct work_events *e = &m->w->options.events;
    if (err->code == ERR_NO_POINT) return ENOENT;
    if (err->code == ERR_INTERRUPTED || err->code == ERR_TERMINATED) return EINTR;
    pthread_mutex_lock(&m->lock);
    unsigned n = ++m->warned;
    pthread_mutex_unlock(&m->lock);
    if (e->warning && n <= WARNINGS_MAX) {
        char text[1800];
        snprintf(text, sizeof text, "%s: %s: %.1500s%s", what, error_info(err->code)->code, err->text,
                 n == WARNINGS_MAX ? " (no more warnings are printed)" : "");
        e->warning(e->ctx, NULL, text);
    }
    return err->code == ERR_NO_MEMORY ? ENOMEM : EIO;
}

/* ---- what the log says ---- */

/* A name of the log as one of a file system; whoever may write entries may try others. */
static bool name_fits(const char *s) {
    size_t n = strlen(s);
    return n > 0 && n < 200 && !strchr(s, '/') && strcmp(s, ".") != 0 && strcmp(s, "..") != 0;
}

static int place_get(struct mount *m, bool surface, uint32_t environment, const char *name, uint32_t *ret,
                     struct error *err) {
    for (uint32_t i = 0; i < m->place_count; i++) {
        const struct mount_place *p = &m->places[i];
        if (p->is_surface != surface || strcmp(p->name, name) != 0) continue;
        if (surface && p->environment != environment) continue;
        *ret = i;
        return 0;
    }
    int rc = mem_grow((void **)&m->places, &m->place_cap, m->place_count + 1, sizeof *m->places, err);
    if (rc < 0) return rc;
    struct mount_place *p = &m->places[m->place_count];
    *p = (struct mount_place){.environment = surface ? environment : (uint32_t)m->place_count, .is_surface = surface};
    if ((rc = mem_strdup(name, &p->name, err)) < 0) return rc;
    *ret = (uint32_t)m->place_count++;
    return 0;
}

static int point_add(struct mount *m, const struct snapshot_info *s, struct error *err) {
    uint32_t environment, surface;
    void *mem;
    if (m->point_count >= SLOT_MAX || s->items >> ORDINAL_BITS)
        return error_set(err, ERR_MOUNT, "recovery point %s is beyond what can be numbered", s->id);
    int rc = place_get(m, false, 0, s->environment, &environment, err);
    if (rc == 0) rc = place_get(m, true, environment, s->surface, &surface, err);
    if (rc == 0) rc = mem_grow((void **)&m->points, &m->point_cap, m->point_count + 1, sizeof *m->points, err);
    if (rc == 0) rc = mem_alloc(sizeof(struct mount_point), &mem, err);
    if (rc < 0) return rc;
    struct mount_point *p = mem;
    p->seq = s->seq;
    p->place = surface;
    p->time_ns = point_time(s);
    p->driver = surface_find(s->kind);
    snprintf(p->id, sizeof p->id, "%s", s->id);
    m->points[m->point_count++] = p;
    return 0;
}

/* Both are in log order, and new points come at the end. */
static int points_take(struct mount *m, struct error *err) {
    const struct repo *r = m->w->repo;
    size_t at = 0;
    int rc = 0;
    for (size_t i = 0; i < repo_snapshot_count(r) && rc == 0; i++) {
        const struct snapshot_info *s = repo_snapshot(r, i);
        while (at < m->point_count && m->points[at]->seq < s->seq) at++;
        if (at == m->point_count) {
            if (s->forgotten || !name_fits(s->id) || !name_fits(s->environment) || !name_fits(s->surface)) continue;
            if ((rc = point_add(m, s, err)) < 0) break;
        }
        struct mount_point *p = m->points[at];
        if (p->seq != s->seq) continue;
        p->complete = s->complete;
        p->aside = s->before_restore;
        p->damaged = s->verify_failed;
        p->gone = s->forgotten;
    }
    for (size_t i = 0; i < m->place_count; i++) m->places[i].latest = 0;
    for (size_t i = 0; i < m->point_count; i++) {
        const struct mount_point *p = m->points[i];
        struct mount_place *surface = &m->places[p->place];
        if (p->gone) continue;
        if (p->complete && !p->aside) surface->latest = (uint32_t)i + 1;
        surface->time_ns = m->places[surface->environment].time_ns = p->time_ns;
    }
    return rc;
}

void mount_sync(struct mount *m) {
    struct error err = ERROR_INIT;
    int64_t now = time_monotonic_ns();
    pthread_mutex_lock(&m->lock);
    bool due = !m->syncing && (!m->synced_ns || now - m->synced_ns >= MOUNT_SYNC_S * NS_PER_S);
    bool first = !m->synced_ns;
    if (due) {
        m->syncing = true;
        m->synced_ns = now;
    }
    pthread_mutex_unlock(&m->lock);
    if (!due) return;
    pthread_rwlock_wrlock(&m->repo_lock);
    int rc = first ? 0 : repo_sync(m->w->repo, &err); /* it was just opened */
    pthread_mutex_lock(&m->lock);
    if (rc == 0) rc = points_take(m, &err);
    m->syncing = false;
    pthread_mutex_unlock(&m->lock);
    pthread_rwlock_unlock(&m->repo_lock);
    if (rc < 0) (void)!mount_failed(m, &err, "reading the log again");
}

/* ---- open points ---- */

static struct mount_point *point_at(struct mount *m, uint32_t slot) {
    return slot > 0 && slot <= m->point_count ? m->points[slot - 1] : NULL;
}

const struct mount_point *mount_point_of(struct mount *m, uint32_t slot) {
    pthread_mutex_lock(&m->lock);
    const struct mount_point *p = point_at(m, slot);
    pthread_mutex_unlock(&m->lock);
    return p;
}

/* The one used longest ago that nobody holds, closed by the caller. Under the lock. */
static struct snapshot *spare_take(struct mount *m) {
    struct mount_point *oldest = NULL;
    if (m->points_open <= MOUNT_POINTS_OPEN) return NULL;
    for (size_t i = 0; i < m->point_count; i++) {
        struct mount_point *p = m->points[i];
        if (p->snapshot && !p->holds && (!oldest || p->used < oldest->used)) oldest = p;
    }
    if (!oldest) return NULL;
    struct snapshot *s = oldest->snapshot;
    oldest->snapshot = NULL;
    m->points_open--;
    return s;
}

static int point_open(struct mount *m, const struct mount_point *p, struct snapshot **ret, struct error *err) {
    for (size_t i = 0; i < repo_snapshot_count(m->w->repo); i++) {
        const struct snapshot_info *s = repo_snapshot(m->w->repo, i);
        if (s->seq == p->seq) return snapshot_open_sized(m->w->repo, s, MOUNT_POINT_CACHE, ret, err);
    }
    return error_set(err, ERR_NO_POINT, "recovery point %s is not in the log", p->id);
}

int mount_hold(struct mount *m, uint32_t slot, struct snapshot **ret, struct error *err) {
    pthread_mutex_lock(&m->lock);
    struct mount_point *p = point_at(m, slot);
    while (p && p->opening) pthread_cond_wait(&m->opened, &m->lock);
    if (!p) {
        pthread_mutex_unlock(&m->lock);
        return error_set(err, ERR_NO_POINT, "there is no such recovery point");
    }
    struct snapshot *spare = NULL;
    int rc = 0;
    if (!p->snapshot) {
        struct snapshot *s = NULL;
        p->opening = true;
        pthread_mutex_unlock(&m->lock);
        rc = point_open(m, p, &s, err);
        pthread_mutex_lock(&m->lock);
        p->opening = false;
        p->snapshot = s;
        m->points_open += s != NULL;
        pthread_cond_broadcast(&m->opened);
    }
    if (rc == 0) {
        p->holds++;
        p->used = ++m->clock;
        *ret = p->snapshot;
        spare = spare_take(m);
    }
    pthread_mutex_unlock(&m->lock);
    snapshot_close(spare);
    return rc;
}

void mount_hold_again(struct mount *m, uint32_t slot) {
    pthread_mutex_lock(&m->lock);
    point_at(m, slot)->holds++;
    pthread_mutex_unlock(&m->lock);
}

void mount_release(struct mount *m, uint32_t slot) {
    pthread_mutex_lock(&m->lock);
    struct mount_point *p = point_at(m, slot);
    if (--p->holds == 0) snapshot_forget(p->snapshot);
    struct snapshot *spare = spare_take(m);
    pthread_mutex_unlock(&m->lock);
    snapshot_close(spare);
}

bool mount_lead(struct mount *m, int more) {
    pthread_mutex_lock(&m->lock);
    const bool can = more < 0 || m->leaders < MOUNT_LEADERS;
    if (can) m->leaders += (unsigned)more;
    pthread_mutex_unlock(&m->lock);
    return can;
}

bool mount_crowded(struct mount *m) {
    pthread_mutex_lock(&m->lock);
    bool crowded = m->points_open > MOUNT_POINTS_OPEN;
    pthread_mutex_unlock(&m->lock);
    return crowded;
}

/* ---- as a file system ---- */

static void point_name(const struct mount_point *p, char *out) {
    snprintf(out, SNAPSHOT_ID_MAX + 16, "%s%s", p->id, p->damaged ? ".damaged" : p->complete ? "" : ".partial");
}

static void fill(const struct mount *m, uint64_t id, mode_t mode, int64_t time_ns, struct mount_entry *ret) {
    *ret = (struct mount_entry){.id = id};
    ret->st.st_ino = id;
    ret->st.st_mode = mode;
    ret->st.st_nlink = 1; /* of a folder: "do not count on it" */
    ret->st.st_uid = m->uid;
    ret->st.st_gid = m->gid;
    ret->st.st_blksize = 4096;
    ret->st.st_mtim = (struct timespec){time_ns / NS_PER_S, time_ns % NS_PER_S};
    ret->st.st_atim = ret->st.st_ctim = ret->st.st_mtim;
}

static bool place_entry(struct mount *m, uint64_t id, struct mount_entry *ret) {
    uint32_t slot = id_slot(id);
    if (slot) {
        const struct mount_point *p = point_at(m, slot);
        if (!p || p->gone) return false;
        fill(m, id, S_IFDIR | 0755, p->time_ns, ret);
        return true;
    }
    if (id == ID_ROOT) {
        fill(m, id, S_IFDIR | 0755, m->began_ns, ret);
        return true;
    }
    uint64_t i = (id - 2) / 2;
    if (id < 2 || i >= m->place_count) return false;
    const struct mount_place *p = &m->places[i];
    if (id % 2 == 0) {
        fill(m, id, S_IFDIR | 0755, p->time_ns, ret);
        return true;
    }
    if (!p->is_surface || !p->latest) return false;
    char name[SNAPSHOT_ID_MAX + 16];
    const struct mount_point *to = m->points[p->latest - 1];
    point_name(to, name);
    fill(m, id, S_IFLNK | 0777, to->time_ns, ret);
    ret->st.st_size = (off_t)strlen(name);
    return true;
}

bool mount_place_entry(struct mount *m, uint64_t id, struct mount_entry *ret) {
    pthread_mutex_lock(&m->lock);
    bool found = place_entry(m, id, ret);
    pthread_mutex_unlock(&m->lock);
    return found;
}

bool mount_latest(struct mount *m, uint64_t id, char out[SNAPSHOT_ID_MAX + 16]) {
    struct mount_entry e;
    pthread_mutex_lock(&m->lock);
    bool found = id_is_place(id) && id % 2 == 1 && id != ID_ROOT && place_entry(m, id, &e);
    if (found) point_name(m->points[m->places[(id - 2) / 2].latest - 1], out);
    pthread_mutex_unlock(&m->lock);
    return found;
}

/* The next child of a folder behind a cookie: environments of the root, surfaces of an environment, points of a
 * surface. Under the lock. */
static bool place_next(struct mount *m, uint64_t folder, uint64_t *cookie, char *name, struct mount_entry *ret) {
    uint64_t parent = (folder - 2) / 2;
    bool root = folder == ID_ROOT;
    if (!root && (folder % 2 || parent >= m->place_count)) return false;
    if (root || !m->places[parent].is_surface) {
        for (uint64_t i = *cookie - LISTING_BEGIN; i < m->place_count; i++) {
            const struct mount_place *p = &m->places[i];
            if (p->is_surface == root || (!root && p->environment != parent)) continue;
            *cookie = LISTING_BEGIN + i + 1;
            snprintf(name, 256, "%s", p->name);
            return place_entry(m, 2 + 2 * i, ret);
        }
        return false;
    }
    if (*cookie >= COOKIE_LATEST) return false;
    for (uint64_t i = *cookie - LISTING_BEGIN; i < m->point_count; i++) {
        const struct mount_point *p = m->points[i];
        if (p->gone || p->place != parent) continue;
        *cookie = LISTING_BEGIN + i + 1;
        point_name(p, name);
        return place_entry(m, id_of(i + 1, DEPTH_POINT, 0), ret);
    }
    *cookie = COOKIE_LATEST;
    snprintf(name, 256, "latest");
    return place_entry(m, folder + 1, ret);
}

bool mount_place_next(struct mount *m, uint64_t folder, uint64_t *cookie, char *name, struct mount_entry *ret) {
    pthread_mutex_lock(&m->lock);
    bool found = place_next(m, folder, cookie, name, ret);
    pthread_mutex_unlock(&m->lock);
    return found;
}

bool mount_place_child(struct mount *m, uint64_t parent, struct bytes name, struct mount_entry *ret) {
    char known[256];
    uint64_t cookie = LISTING_BEGIN;
    bool found = false;
    pthread_mutex_lock(&m->lock);
    while (!found && place_next(m, parent, &cookie, known, ret)) {
        uint32_t slot = id_slot(ret->id);
        found = bytes_equal(name, BYTES_STR(known)) || (slot && bytes_equal(name, BYTES_STR(m->points[slot - 1]->id)));
    }
    pthread_mutex_unlock(&m->lock);
    return found;
}
