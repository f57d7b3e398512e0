#include "surface/files/tree.h"
#include "base/seam.h"
#include "surface/files/glob.h"
#include <stdio.h>
#include <stdlib.h>

bool name_beneath(struct bytes name, struct bytes folder) {
    if (folder.len == 0) return name.len > 0;
    return name.len > folder.len && name.ptr[folder.len] == '/' && memcmp(name.ptr, folder.ptr, folder.len) == 0;
}

const char *name_text(struct bytes name, char out[NAME_TEXT_BYTES]) {
    size_t n = 0, i = 0;
    for (; i < name.len && i < 200; i++) {
        uint8_t c = name.ptr[i];
        if (c > 0x20 && c < 0x7f && c != '%')
            out[n++] = (char)c;
        else if (c == ' ')
            out[n++] = ' ';
        else
            n += (size_t)snprintf(out + n, 4, "%%%02X", c);
    }
    snprintf(out + n, NAME_TEXT_BYTES - n, "%s", i < name.len ? "..." : "");
    return out;
}

static int root_compare(const void *a, const void *b) {
    const struct tree_root *x = a, *y = b;
    return name_compare(BYTES_STR(x->name), BYTES_STR(y->name));
}

static void roots_free(struct tree_root *r, size_t n) {
    for (size_t i = 0; i < n; i++) {
        seam_free(r[i].name);
        seam_free(r[i].path);
    }
    seam_free(r);
}

void tree_free(struct tree *t) {
    roots_free(t->roots, t->n_roots);
    roots_free(t->nested, t->n_nested);
    for (size_t i = 0; i < t->n_exclude; i++) seam_free(t->exclude[i]);
    seam_free(t->exclude);
    *t = (struct tree){0};
}

/* The item name of an absolute path: components without empty ones and ".". */
static int name_of_path(const char *path, char **ret, struct error *err) {
    if (path[0] != '/')
        return error_set(err, ERR_CONFIG_VALUE,
                         "paths: '%s' is not absolute; a path of a files surface starts with '/'", path);
    char *name = NULL;
    int rc = mem_strdup(path, &name, err);
    if (rc) return rc;
    size_t n = 0;
    for (const char *p = path; *p;) {
        size_t len = strcspn(p, "/");
        if (len == 2 && p[0] == '.' && p[1] == '.') {
            seam_free(name);
            return error_set(err, ERR_CONFIG_VALUE, "paths: '%s' has a '..' in it; write where it leads", path);
        }
        if (len > 0 && !(len == 1 && p[0] == '.')) {
            if (n > 0) name[n++] = '/';
            memcpy(name + n, p, len);
            n += len;
        }
        p += len;
        while (*p == '/') p++;
    }
    name[n] = 0;
    *ret = name;
    return 0;
}

static int path_of_name(const char *name, char **ret, struct error *err) {
    void *p;
    int rc = mem_alloc(strlen(name) + 2, &p, err);
    if (rc) return rc;
    snprintf(p, strlen(name) + 2, "/%s", name);
    *ret = p;
    return 0;
}

/* Sorts the roots and moves those beneath another to `nested`; drops doubles. */
static int roots_settle(struct tree *t, struct error *err) {
    void *p;
    int rc = mem_alloc(t->n_roots * sizeof *t->nested, &p, err);
    if (rc) return rc;
    t->nested = p;
    qsort(t->roots, t->n_roots, sizeof *t->roots, root_compare);
    size_t kept = 0;
    for (size_t i = 0; i < t->n_roots; i++) {
        struct tree_root r = t->roots[i], *top = kept ? &t->roots[kept - 1] : NULL;
        if (top && !strcmp(r.name, top->name)) {
            seam_free(r.name);
            seam_free(r.path);
        } else if (top && name_beneath(BYTES_STR(r.name), BYTES_STR(top->name))) {
            t->nested[t->n_nested++] = r;
        } else {
            t->roots[kept++] = r;
        }
    }
    t->n_roots = kept;
    return 0;
}

static int read_paths(const json_t *paths, struct tree *t, struct error *err) {
    size_t n = json_array_size(paths), i;
    if (n == 0) return error_set(err, ERR_CONFIG_VALUE, "paths: a files surface needs at least one path");
    void *p;
    int rc = mem_alloc(n * sizeof *t->roots, &p, err);
    if (rc) return rc;
    t->roots = p;
    const json_t *v;
    json_array_foreach((json_t *)paths, i, v) {
        const char *path = json_string_value(v);
        if (!path || strlen(path) != json_string_length(v))
            return error_set(err, ERR_CONFIG_VALUE, "paths: entry %zu is not a path", i + 1);
        struct tree_root *r = &t->roots[t->n_roots++];
        rc = name_of_path(path, &r->name, err);
        if (rc == 0) rc = path_of_name(r->name, &r->path, err);
        if (rc) return rc;
    }
    return roots_settle(t, err);
}

static int read_exclude(const json_t *globs, struct tree *t, struct error *err) {
    size_t n = json_array_size(globs), i;
    if (globs && !json_is_array(globs)) return error_set(err, ERR_CONFIG_VALUE, "exclude: is not a list of patterns");
    void *p;
    int rc = mem_alloc(n * sizeof *t->exclude, &p, err);
    if (rc) return rc;
    t->exclude = p;
    const json_t *v;
    json_array_foreach((json_t *)globs, i, v) {
        const char *glob = json_string_value(v);
        size_t len = glob ? strlen(glob) : 0;
        if (len == 0 || len > GLOB_BYTES_MAX || !strcmp(glob, "/"))
            return error_set(err, ERR_CONFIG_VALUE, "exclude: entry %zu is not a pattern of 1 to %d bytes", i + 1,
                             GLOB_BYTES_MAX);
        rc = mem_strdup(glob, &t->exclude[t->n_exclude], err);
        if (rc) return rc;
        t->n_exclude++;
    }
    return 0;
}

int tree_read_settings(const json_t *settings, struct tree *ret, struct error *err) {
    struct tree t = {0};
    const json_t *paths = json_object_get(settings, "paths");
    if (!json_is_array(paths)) return error_set(err, ERR_CONFIG_VALUE, "paths: a files surface needs a list of paths");
    int rc = read_paths(paths, &t, err);
    if (rc == 0) rc = read_exclude(json_object_get(settings, "exclude"), &t, err);
    t.one_file_system = json_is_true(json_object_get(settings, "one_file_system"));
    if (rc)
        tree_free(&t);
    else
        *ret = t;
    return rc;
}

int tree_facts_roots(const json_t *facts, json_t **ret, struct error *err) {
    json_t *roots = NULL, *v;
    size_t i;
    int rc = json_need_array((json_t *)facts, "roots", "the snapshot's facts", &roots, err);
    if (rc) return rc;
    if (json_array_size(roots) == 0) return error_set(err, ERR_JSON, "the snapshot's facts name no roots");
    json_array_foreach(roots, i, v) {
        const char *path = json_string_value(json_object_get(v, "path"));
        if (!path || path[0] != '/') return error_set(err, ERR_JSON, "the snapshot's facts name a root without a path");
    }
    *ret = roots;
    return 0;
}

const char *tree_single_root(const json_t *facts) {
    const json_t *roots = json_object_get(facts, "roots"), *r = json_array_get(roots, 0);
    const char *type = json_string_value(json_object_get(r, "type"));
    if (json_array_size(roots) != 1 || !type || strcmp(type, "folder") != 0) return NULL;
    return json_string_value(json_object_get(r, "path"));
}

int tree_of_copy(const json_t *facts, const char *base, struct tree *ret, struct error *err) {
    struct tree t = {0};
    json_t *roots, *v;
    size_t i;
    int rc = tree_facts_roots(facts, &roots, err);
    if (rc) return rc;
    void *p;
    rc = mem_alloc(json_array_size(roots) * sizeof *t.roots, &p, err);
    if (rc) return rc;
    t.roots = p;
    bool single = tree_single_root(facts) != NULL;
    json_array_foreach(roots, i, v) {
        struct tree_root *r = &t.roots[t.n_roots++];
        rc = name_of_path(json_string_value(json_object_get(v, "path")), &r->name, err);
        if (rc == 0) rc = mem_alloc(strlen(base) + strlen(r->name) + 2, &p, err);
        if (rc) break;
        r->path = p;
        sprintf(r->path, single ? "%s" : "%s/%s", base, r->name);
    }
    if (rc == 0) qsort(t.roots, t.n_roots, sizeof *t.roots, root_compare);
    if (rc)
        tree_free(&t);
    else
        *ret = t;
    return rc;
}

bool tree_excludes(const struct tree *t, const struct tree_root *root, struct bytes name, bool folder) {
    if (t->n_exclude == 0) return false;
    const uint8_t *slash = memrchr(name.ptr, '/', name.len);
    struct bytes last = slash ? BYTES_OF(slash + 1, name.len - (size_t)(slash + 1 - name.ptr)) : name;
    size_t skip = strlen(root->name);
    struct bytes below = skip && name.len > skip ? BYTES_OF(name.ptr + skip + 1, name.len - skip - 1) : name;
    for (size_t i = 0; i < t->n_exclude; i++) {
        struct bytes g = BYTES_STR(t->exclude[i]);
        if (g.ptr[g.len - 1] == '/') {
            if (!folder) continue;
            g.len--;
        }
        bool absolute = g.ptr[0] == '/';
        if (absolute) g = BYTES_OF(g.ptr + 1, g.len - 1);
        bool path = absolute || memchr(g.ptr, '/', g.len);
        if (glob_match(g, absolute ? name : path ? below : last)) return true;
    }
    return false;
}

enum tree_way tree_way_of(const struct tree *t, struct bytes name) {
    for (size_t i = 0; i < t->n_nested; i++) {
        struct bytes n = BYTES_STR(t->nested[i].name);
        if (bytes_equal(n, name)) return WAY_IS_ROOT;
    }
    for (size_t i = 0; i < t->n_nested; i++)
        if (name_beneath(BYTES_STR(t->nested[i].name), name)) return WAY_TO_ROOT;
    return WAY_NONE;
}
