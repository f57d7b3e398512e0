#include "surface/files/filter.h"
#include "base/seam.h"
#include "surface/files/glob.h"

static struct bytes trimmed(const char *s) {
    struct bytes b = BYTES_STR(s);
    while (b.len && b.ptr[0] == '/') b = BYTES_OF(b.ptr + 1, b.len - 1);
    while (b.len && b.ptr[b.len - 1] == '/') b.len--;
    return b;
}

int filter_init(struct filter *f, const char *const *include, const json_t *facts, struct error *err) {
    *f = (struct filter){0};
    json_t *roots, *v;
    int rc = tree_facts_roots(facts, &roots, err);
    if (rc) return rc;
    size_t n = 0, i;
    while (include && include[n]) n++;
    void *p;
    rc = mem_alloc(n * sizeof *f->patterns, &p, err);
    if (rc == 0) {
        f->patterns = p;
        rc = mem_alloc(n * sizeof *f->hit, &p, err);
    }
    if (rc == 0) {
        f->hit = p;
        rc = mem_alloc(json_array_size(roots) * sizeof *f->roots, &p, err);
    }
    if (rc) {
        filter_free(f);
        return rc;
    }
    f->roots = p;
    json_array_foreach(roots, i, v) f->roots[f->n_roots++] = trimmed(json_string_value(json_object_get(v, "path")));
    f->single = tree_single_root(facts) != NULL;
    for (; f->n < n; f->n++) {
        f->patterns[f->n] = trimmed(include[f->n]);
        if (f->patterns[f->n].len > GLOB_BYTES_MAX && !glob_is_plain(f->patterns[f->n])) {
            filter_free(f);
            return error_set(err, ERR_USAGE, "a pattern of more than %d bytes", GLOB_BYTES_MAX);
        }
    }
    return 0;
}

void filter_free(struct filter *f) {
    seam_free(f->patterns);
    seam_free(f->hit);
    seam_free(f->roots);
    *f = (struct filter){0};
}

static struct bytes root_of(const struct filter *f, struct bytes name) {
    for (size_t i = 0; i < f->n_roots; i++)
        if (bytes_equal(f->roots[i], name) || name_beneath(name, f->roots[i])) return f->roots[i];
    return (struct bytes){0};
}

static struct bytes below(struct bytes name, struct bytes root) {
    if (root.len == 0) return name;
    if (name.len == root.len) return (struct bytes){0};
    return BYTES_OF(name.ptr + root.len + 1, name.len - root.len - 1);
}

static bool pattern_fits(struct bytes p, struct bytes name) {
    return bytes_equal(p, name) || glob_match(p, name);
}

bool filter_names(struct filter *f, struct bytes name) {
    if (f->n == 0) return true;
    struct bytes rest = below(name, root_of(f, name));
    bool any = false;
    for (size_t i = 0; i < f->n; i++) {
        struct bytes p = f->patterns[i];
        bool fits = p.len == 0 || pattern_fits(p, name) || (rest.len > 0 && pattern_fits(p, rest));
        if (fits) f->hit[i] = true;
        any |= fits;
    }
    return any;
}

bool filter_selects(struct filter *f, struct bytes name) {
    for (size_t n = name.len; n > 0; n--)
        if ((n == name.len || name.ptr[n] == '/') && filter_names(f, BYTES_OF(name.ptr, n))) return true;
    return false;
}

bool filter_is_root(const struct filter *f, struct bytes name) {
    for (size_t i = 0; i < f->n_roots; i++)
        if (bytes_equal(f->roots[i], name)) return true;
    return false;
}

struct bytes filter_target_path(const struct filter *f, struct bytes name) {
    return f->single ? below(name, f->roots[0]) : name;
}

int filter_check_hits(const struct filter *f, struct error *err) {
    char text[NAME_TEXT_BYTES], root[NAME_TEXT_BYTES];
    for (size_t i = 0; i < f->n; i++)
        if (!f->hit[i]) {
            error_set(err, ERR_NO_POINT,
                      "nothing in the snapshot is called, or matches, '%s'; names are those in '/%s'%s",
                      name_text(f->patterns[i], text), name_text(f->roots[0], root),
                      f->single        ? ", with or without that"
                      : f->n_roots > 1 ? " and others"
                                       : "");
            return error_next(err, "'proofkeep show' with the point and a folder lists what is below it; '**/NAME' is "
                                   "NAME in any folder.");
        }
    return 0;
}
