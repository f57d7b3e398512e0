#include "surface/files/capture_internal.h"

int links_init(struct capture *c, struct error *err) {
    void *p;
    int rc = mem_alloc(LINK_BUCKETS * sizeof *c->links, &p, err);
    if (rc == 0) c->links = p;
    return rc;
}

static void group_free(struct link_group *g) {
    seam_free((void *)g->first_name.ptr);
    seam_free(g);
}

void links_end(struct capture *c) {
    for (size_t i = 0; c->links && i < LINK_BUCKETS; i++) {
        for (struct link_group *g = c->links[i], *next; g; g = next) {
            next = g->next;
            group_free(g);
        }
    }
    seam_free(c->links);
    c->links = NULL;
}

static struct link_group **bucket_of(struct capture *c, uint64_t dev, uint64_t ino) {
    uint64_t h = (ino ^ dev * 0x9e3779b97f4a7c15u) * 0x9e3779b97f4a7c15u;
    return &c->links[h >> 52];
}

/* The name becomes the group's first; the lock is held. */
static int group_begin(struct link_group *g, struct bytes name, struct error *err) {
    void *p;
    int rc = mem_dup(name.ptr, name.len, &p, err);
    if (rc) return rc;
    seam_free((void *)g->first_name.ptr);
    g->first_name = BYTES_OF(p, name.len);
    g->state = GROUP_PENDING;
    return 0;
}

int link_meet(struct capture *c, const struct lite *l, struct bytes name, struct link_group **ret,
              enum link_role *ret_role, struct error *err) {
    struct link_group **at = bucket_of(c, l->dev, l->ino), *g;
    int rc = 0;
    pthread_mutex_lock(&c->links_lock);
    for (g = *at; g && (g->ino != l->ino || g->dev != l->dev); g = g->next) {}
    if (!g) {
        void *p;
        rc = mem_alloc(sizeof *g, &p, err);
        if (rc == 0) {
            g = p;
            *g = (struct link_group){.next = *at, .dev = l->dev, .ino = l->ino, .nlink = l->nlink, .state = GROUP_LOST};
            *at = g;
        }
    }
    if (rc == 0) {
        g->seen++;
        *ret_role = g->state == GROUP_GOOD ? LINK_FOLLOWS : g->state == GROUP_PENDING ? LINK_WAITS : LINK_FIRST;
        if (*ret_role == LINK_FIRST) rc = group_begin(g, name, err);
        *ret = g;
    }
    pthread_mutex_unlock(&c->links_lock);
    return rc;
}

int link_join(struct capture *c, struct task *t, enum link_role *ret, struct error *err) {
    struct link_group *g = t->group;
    int rc = 0;
    pthread_mutex_lock(&c->links_lock);
    if (g->state == GROUP_GOOD) {
        *ret = LINK_FOLLOWS;
    } else if (g->state == GROUP_LOST) {
        *ret = LINK_FIRST;
        rc = group_begin(g, t->slot.name, err);
    } else {
        *ret = LINK_WAITS;
        t->next = NULL;
        if (g->waiting)
            g->waiting_last->next = t;
        else
            g->waiting = t;
        g->waiting_last = t;
    }
    pthread_mutex_unlock(&c->links_lock);
    return rc;
}

struct task *link_good(struct capture *c, struct link_group *g) {
    pthread_mutex_lock(&c->links_lock);
    g->state = GROUP_GOOD;
    struct task *waiting = g->waiting;
    g->waiting = g->waiting_last = NULL;
    pthread_mutex_unlock(&c->links_lock);
    return waiting;
}

struct task *link_lost(struct capture *c, struct link_group *g) {
    struct error err = ERROR_INIT;
    pthread_mutex_lock(&c->links_lock);
    struct task *t = g->waiting;
    bool all = t && (atomic_load(&c->failed) || group_begin(g, t->slot.name, &err) != 0);
    if (!t || all) {
        g->state = GROUP_LOST;
        g->waiting = g->waiting_last = NULL;
    } else {
        g->waiting = t->next;
        t->next = NULL;
    }
    pthread_mutex_unlock(&c->links_lock);
    if (err.code) capture_fail(c, &err);
    return t;
}

struct bytes link_first(struct link_group *g) {
    return g->first_name;
}

void link_hold(struct capture *c, struct link_group *g) {
    pthread_mutex_lock(&c->links_lock);
    g->holds++;
    pthread_mutex_unlock(&c->links_lock);
}

void link_release(struct capture *c, struct link_group *g) {
    pthread_mutex_lock(&c->links_lock);
    g->holds--;
    pthread_mutex_unlock(&c->links_lock);
}

void link_forget(struct capture *c, struct link_group *g) {
    struct link_group **at = bucket_of(c, g->dev, g->ino);
    pthread_mutex_lock(&c->links_lock);
    bool done = g->state == GROUP_GOOD && g->holds == 0 && g->seen >= g->nlink;
    if (done) {
        while (*at != g) at = &(*at)->next;
        *at = g->next;
    }
    pthread_mutex_unlock(&c->links_lock);
    if (done) group_free(g);
}
