/* Replays the journal into objects that know both what is and what would outlive a crash, and writes one view out. */
#include "power_internal.h"
#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define SECTOR 512

struct content {
    uint8_t *p;
    size_t n;
};

struct names {
    struct power_name {
        const char *name; /* the journal's */
        size_t object;
    } * v;
    size_t n;
};

struct object {
    mode_t mode;
    const char *target;
    struct content data, synced_data;
    struct names names, synced_names;
    char *made_at; /* where it was written out first, for hard links */
};

static void content_resize(struct content *c, size_t n) {
    c->p = power_memory(c->p, n);
    if (n > c->n) memset(c->p + c->n, 0, n - c->n);
    c->n = n;
}

static void content_copy(struct content *to, const struct content *from) {
    to->p = power_memory(to->p, from->n);
    if (from->n) memcpy(to->p, from->p, from->n);
    to->n = from->n;
}

static void name_put(struct names *d, const char *name, size_t object) {
    for (size_t i = 0; i < d->n; i++) {
        if (strcmp(d->v[i].name, name)) continue;
        d->v[i].object = object;
        return;
    }
    d->v = power_memory(d->v, (d->n + 1) * sizeof *d->v);
    d->v[d->n++] = (struct power_name){name, object};
}

static size_t name_take(struct names *d, const char *name) {
    for (size_t i = 0; i < d->n; i++) {
        if (strcmp(d->v[i].name, name)) continue;
        size_t object = d->v[i].object;
        d->v[i] = d->v[--d->n];
        return object;
    }
    errno = ENOENT;
    power_abort("replay a name that the journal never made", name);
}

static void names_copy(struct names *to, const struct names *from) {
    to->v = power_memory(to->v, from->n * sizeof *to->v);
    if (from->n) memcpy(to->v, from->v, from->n * sizeof *to->v);
    to->n = from->n;
}

static void apply_write(struct object *o, const struct power_op *op, bool torn) {
    size_t end = op->at + op->len, take = op->len;
    if (torn) {
        size_t first = op->at / SECTOR, sectors = (end - 1) / SECTOR - first + 1;
        size_t until = sectors > 1 ? (first + sectors / 2) * SECTOR : op->at;
        take = until - op->at;
    }
    if (end > o->data.n) content_resize(&o->data, end);
    if (take) memcpy(o->data.p + op->at, op->data, take);
}

static void apply(struct object *objects, const struct power_op *op, bool torn) {
    struct object *o = op->object < power_journal.objects ? &objects[op->object] : NULL;
    struct object *dir = op->dir < power_journal.objects ? &objects[op->dir] : NULL;
    switch (op->kind) {
    case POWER_CREATE:
        o->mode = op->mode;
        o->target = (const char *)op->data;
        if (dir) name_put(&dir->names, op->name, op->object);
        break;
    case POWER_WRITE:
        if (op->len) apply_write(o, op, torn);
        break;
    case POWER_TRUNC:
        content_resize(&o->data, op->at);
        break;
    case POWER_EXTEND:
        if (op->at > o->data.n) content_resize(&o->data, op->at);
        break;
    case POWER_MODE:
        o->mode = op->mode;
        break;
    case POWER_SYNC:
        if (S_ISDIR(o->mode))
            names_copy(&o->synced_names, &o->names);
        else
            content_copy(&o->synced_data, &o->data);
        break;
    case POWER_LINK:
        name_put(&dir->names, op->name, op->object);
        break;
    case POWER_UNLINK:
        name_take(&dir->names, op->name);
        break;
    case POWER_RENAME: {
        size_t moved = name_take(&dir->names, op->name);
        if (op->exchange) name_put(&dir->names, op->name, name_take(&objects[op->dir2].names, op->name2));
        name_put(&objects[op->dir2].names, op->name2, moved);
        break;
    }
    }
}

static void file_make(const char *path, const struct object *o, const struct content *c) {
    int fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
    if (fd < 0) power_abort("create", path);
    for (size_t done = 0; done < c->n;) {
        ssize_t n = write(fd, c->p + done, c->n - done);
        if (n < 0) power_abort("write", path);
        done += (size_t)n;
    }
    if (fchmod(fd, o->mode & 07777) < 0 || close(fd) < 0) power_abort("finish", path);
}

static void object_make(const char *path, struct object *objects, size_t id, enum power_mode mode) {
    struct object *o = &objects[id];
    if (o->made_at) {
        if (linkat(AT_FDCWD, o->made_at, AT_FDCWD, path, 0) < 0) power_abort("link", path);
        return;
    }
    if (S_ISREG(o->mode)) {
        bool synced = mode == POWER_DROP_UNSYNCED || mode == POWER_NAMES_FIRST;
        file_make(path, o, synced ? &o->synced_data : &o->data);
        o->made_at = strcpy(power_memory(NULL, strlen(path) + 1), path);
    } else if (S_ISLNK(o->mode)) {
        if (symlink(o->target, path) < 0) power_abort("link", path);
    } else if (!S_ISDIR(o->mode)) {
        if (mknod(path, o->mode, 0) < 0) power_abort("make a special file", path);
    } else {
        if (mkdir(path, 0700) < 0) power_abort("create the folder", path);
        const struct names *d = mode == POWER_DROP_UNSYNCED ? &o->synced_names : &o->names;
        for (size_t i = 0; i < d->n; i++) {
            char below[4096];
            if (snprintf(below, sizeof below, "%s/%s", path, d->v[i].name) >= (int)sizeof below)
                power_abort("name", path);
            object_make(below, objects, d->v[i].object, mode);
        }
        if (chmod(path, o->mode & 07777) < 0) power_abort("set the mode of", path);
    }
}

/* The last write up to `end` that no sync of its file follows; SIZE_MAX when there is none. */
static size_t unsynced_write(size_t end) {
    const struct power_journal *j = &power_journal;
    for (size_t w = end; w-- > j->baseline;) {
        if (j->ops[w].kind != POWER_WRITE) continue;
        bool synced = false;
        for (size_t s = w + 1; s < end; s++)
            synced |= j->ops[s].kind == POWER_SYNC && j->ops[s].object == j->ops[w].object;
        if (!synced) return w;
    }
    return SIZE_MAX;
}

void power_materialise(const char *into, uint64_t n, enum power_mode mode) {
    const struct power_journal *j = &power_journal;
    assert(mode < POWER_MODE_COUNT && n <= power_ops());
    size_t end = j->baseline + n, torn = mode == POWER_TORN_WRITE ? unsynced_write(end) : SIZE_MAX;
    struct object *objects = power_memory(NULL, j->objects * sizeof *objects);
    memset(objects, 0, j->objects * sizeof *objects);
    for (size_t i = 0; i < end; i++) apply(objects, &j->ops[i], i == torn);
    object_make(into, objects, 0, mode);
    for (size_t i = 0; i < j->objects; i++) {
        free(objects[i].data.p);
        free(objects[i].synced_data.p);
        free(objects[i].names.v);
        free(objects[i].synced_names.v);
        free(objects[i].made_at);
    }
    free(objects);
}
