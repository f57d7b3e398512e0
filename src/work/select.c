#include "work/select.h"

#include "base/seam.h"
#include "platform/set.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

int selection_parse(const char *text, bool points, struct selection *ret, struct error *err) {
    *ret = (struct selection){.everything = text == NULL};
    if (!text) return 0;
    if (!strchr(text, '/')) {
        if (!schema_name_ok(text))
            return error_set(err, ERR_USAGE, "'%.200s' is no environment, and no address such as prod/postgres", text);
        snprintf(ret->address.environment, sizeof ret->address.environment, "%s", text);
        ret->address.all = true;
        return 0;
    }
    int rc = address_parse(text, &ret->address, err);
    if (rc == 0 && !points && ret->address.point.kind != POINT_UNSAID)
        rc = error_set(err, ERR_USAGE, "'%.200s' names a recovery point, where surfaces are wanted", text);
    return rc;
}

bool selection_environment(const struct selection *s, const char *environment) {
    return s->everything || strcmp(s->address.environment, environment) == 0;
}

bool selection_has(const struct selection *s, const struct config *c, const char *environment, const char *surface) {
    if (s->everything) return true;
    if (!selection_environment(s, environment)) return false;
    if (s->address.all) return true;
    const struct config_set *set = c && s->address.surface_count == 1
                                       ? config_set(c, config_environment(c, environment), s->address.surfaces[0])
                                       : NULL;
    for (size_t i = 0; set && i < set->surfaces.count; i++)
        if (strcmp(set->surfaces.items[i], surface) == 0) return true;
    for (size_t i = 0; i < s->address.surface_count; i++)
        if (strcmp(s->address.surfaces[i], surface) == 0) return true;
    const struct config_surface *cs = c ? config_surface(c, surface) : NULL;
    return s->address.class != CONFIG_CLASS_UNSET && cs && cs->class == (int)s->address.class;
}

int selection_check(const struct selection *s, const struct work *w, struct error *err) {
    struct address_target t;
    if (s->everything || !w->config) return 0;
    return address_resolve(w->config, &s->address, &t, err);
}

static int visit(struct work *w, const char *environment, each_repository_cb cb, void *ctx, struct error *err) {
    struct error failed = ERROR_INIT;
    const char *url;
    int rc = work_repo_url(w, environment, &url, err);
    if (rc < 0) return rc;
    rc = work_open_repo(w, environment, &failed);
    return cb(ctx, url, rc < 0 ? &failed : NULL, err);
}

int work_each_repository(struct work *w, const struct selection *s, each_repository_cb cb, void *ctx,
                         struct error *err) {
    const char *named = s->everything ? NULL : s->address.environment;
    if (named || w->options.repository || !w->config) return visit(w, named, cb, ctx, err);
    const struct config *c = w->config;
    for (size_t i = 0; i < c->environments.count; i++) {
        const char *url, *other;
        bool seen = false;
        int rc = work_repo_url(w, c->environments.items[i]->head.name, &url, err);
        for (size_t k = 0; k < i && rc == 0 && !seen; k++) {
            rc = work_repo_url(w, c->environments.items[k]->head.name, &other, err);
            seen = rc == 0 && strcmp(url, other) == 0;
        }
        if (rc == 0 && !seen) rc = visit(w, c->environments.items[i]->head.name, cb, ctx, err);
        if (rc != 0) return rc;
    }
    return 0;
}

bool work_local_folder(const char *url, char out[4096]) {
    const char *path = strncmp(url, "file://", 7) == 0 ? url + 7 : url;
    if (path == url && strstr(url, "://")) return false;
    char cwd[2048];
    int n;
    if (*path == '/')
        n = snprintf(out, 4096, "%s", path);
    else if (getcwd(cwd, sizeof cwd))
        n = snprintf(out, 4096, "%s/%s", cwd, path);
    else
        return false;
    return n > 0 && n < 4096;
}

/* The path as it is on disk, as far down as it is there; what is not there yet is kept as named. */
static bool resolve(const char *path, char out[4096]) {
    char head[4096], tail[4096] = "";
    if (!work_local_folder(path, head)) return false;
    for (;;) {
        char *real = realpath(head, NULL);
        if (real) {
            int n = snprintf(out, 4096, "%s%s", strcmp(real, "/") == 0 && *tail ? "" : real, tail);
            free(real); /* seam: allocated by the C library */
            return n > 0 && n < 4096;
        }
        char *slash = strrchr(head, '/'), rest[4096];
        if (errno != ENOENT || !slash) return false;
        if (slash[1]) {
            snprintf(rest, sizeof rest, "%s%s", slash, tail);
            snprintf(tail, sizeof tail, "%s", rest);
        }
        if (slash == head)
            head[1] = '\0';
        else
            *slash = '\0';
    }
}

bool work_path_within(const char *path, const char *folder) {
    char a[4096], b[4096];
    if (!resolve(path, a) || !resolve(folder, b)) return false;
    size_t n = strlen(b);
    if (strcmp(b, "/") == 0) return true;
    return strncmp(a, b, n) == 0 && (a[n] == '\0' || a[n] == '/');
}

int work_apart_check(const char *path, const char *url, struct error *err) {
    char folder[4096];
    if (!work_local_folder(url, folder) || !work_path_within(path, folder)) return 0;
    error_set(err, ERR_POLICY, "%s lies in the repository's own folder, %s, and would be there in the clear", path,
              folder);
    error_state(err, "nothing was written");
    return error_next(err, "Choose another folder.");
}
