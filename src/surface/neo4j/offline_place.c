#include "surface/neo4j/offline_place.h"

#include "base/seam.h"
#include "base/time.h"
#include <errno.h>
#include <stdio.h>

static int look(struct neo4j_place *p, struct error *err) {
    p->empty = true;
    int fd = seam_openat(AT_FDCWD, p->path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC, 0);
    if (fd < 0 && errno == ENOENT) return 0;
    p->exists = true;
    DIR *d = fd >= 0 ? seam_fdopendir(fd) : NULL;
    if (!d) {
        int r = error_set_errno(err, ERR_TARGET_NOT_EMPTY, "%s", p->path);
        io_close(&fd);
        return r;
    }
    errno = 0;
    for (struct dirent *e; p->empty && (e = seam_readdir(d));)
        p->empty = !strcmp(e->d_name, ".") || !strcmp(e->d_name, "..");
    int r = errno ? error_set_errno(err, ERR_IO_READ, "list %s", p->path) : 0;
    seam_closedir(d);
    if (r == 0 && !p->empty) r = error_set(err, ERR_TARGET_NOT_EMPTY, "%s is not empty", p->path);
    return r;
}

int neo4j_place_decide(const struct neo4j_offline *o, const struct restore_request *q, struct neo4j_place *ret,
                       struct error *err) {
    char stamp[24], own[9];
    uint8_t random[4];
    int n, r = random_bytes(random, sizeof random, err);
    if (r < 0) return r;
    hex_encode(random, sizeof random, own);
    *ret = (struct neo4j_place){.in_place = q->in_place};
    time_format_compact(time_now_ns(), stamp);
    if (q->swap || q->delta)
        return error_set(err, ERR_USAGE,
                         "an offline dump of Neo4j is loaded as a whole, into a new folder or in place");
    if (q->in_place && q->target)
        return error_set(err, ERR_USAGE, "in place is the home %s: --into names another", o->home);
    if (q->as_scratch)
        n = snprintf(ret->path, sizeof ret->path, "%s", json_string_value(json_object_get(q->scratch, "home")));
    else if (q->in_place)
        n = snprintf(ret->path, sizeof ret->path, "%s", o->home);
    else if (q->target)
        n = snprintf(ret->path, sizeof ret->path, "%s", q->target);
    else
        n = snprintf(ret->path, sizeof ret->path, "%s.restored-%s", o->home, stamp);
    while (n > 1 && n < PATH_MAX && ret->path[n - 1] == '/') ret->path[--n] = 0;
    if (n >= PATH_MAX - 300 || ret->path[0] != '/' || !ret->path[1] || strstr(ret->path, "/../"))
        return error_set(err, ERR_USAGE, "the target '%.200s' is no absolute path of a folder", ret->path);
    snprintf(ret->beside, sizeof ret->beside, "%.*s" NEO4J_PARTIAL "%s", n, ret->path, own);
    if (q->as_scratch) return 0;
    if (!q->in_place) return look(ret, err);
    ret->exists = true;
    return 0;
}

static bool named(const char *word, const char *name) {
    if (!strncmp(word, "db/", 3)) word += 3;
    return !strcmp(word, name);
}

int neo4j_place_takes(const struct restore_request *q, const json_t *all, json_t **ret, struct error *err) {
    json_t *out = json_array();
    const json_t *d;
    size_t i;
    int r = out ? 0 : error_set(err, ERR_NO_MEMORY, "no memory");
    json_array_foreach(all, i, d) {
        const char *name = json_string_value(d);
        bool take = !q->include;
        for (const char *const *p = q->include; p && *p && !take; p++) take = named(*p, name);
        if (r == 0 && take) r = json_push(out, json_string(name), err);
    }
    for (const char *const *p = q->include; r == 0 && p && *p; p++) {
        bool found = false;
        json_array_foreach(all, i, d) found = found || named(*p, json_string_value(d));
        if (!found)
            r = error_set(err, ERR_USAGE,
                          "the snapshot has no database '%.80s'; of an offline dump, whole databases can be named", *p);
    }
    if (r < 0)
        json_decref(out);
    else
        *ret = out;
    return r;
}
