#include "work/any_copy.h"

#include "base/seam.h"
#include "base/time.h"
#include "work/beside.h"
#include "work/counted.h"

#include <stdio.h>

bool any_copy_due(int rc) {
    return repo_out_of_reach(rc) || rc == -ERR_REPO_NONE || rc == -ERR_S3_BUCKET;
}

void any_copy_free(struct work_copies *c) {
    if (!c) return;
    for (size_t i = 0; i < ALTERNATES_MAX; i++) work_close(c->at[i]);
    work_close(c->shell);
    seam_free(c);
}

static void name_add(struct work_copies *c, const char *name) {
    if (!name || c->count == ALTERNATES_MAX) return;
    for (size_t i = 0; i < c->count; i++)
        if (strcmp(c->names[i], name) == 0) return;
    snprintf(c->names[c->count++], sizeof c->names[0], "%s", name);
}

static int copies_new(struct work *w, const char *environment, struct work_copies **ret, struct error *err) {
    const struct config_repository *own = beside_config(w, environment);
    void *mem;
    *ret = NULL;
    if (!own || (!own->copies.count && !own->fallback && !w->options.from)) return 0;
    int rc = mem_alloc(sizeof(struct work_copies), &mem, err);
    if (rc < 0) return rc;
    struct work_copies *c = mem;
    c->w = w;
    snprintf(c->environment, sizeof c->environment, "%s", environment ? environment : "");
    snprintf(c->url, sizeof c->url, "%s", own->url);
    name_add(c, own->fallback); /* near, and it has the newest */
    for (size_t i = 0; i < own->copies.count; i++) name_add(c, own->copies.items[i]);
    *ret = c;
    return 0;
}

static int open_at(struct work_copies *c, size_t i, struct error *err) {
    if (c->at[i]) return 0;
    return beside_open(c->w, c->names[i], *c->environment ? c->environment : NULL, &c->at[i], err);
}

int any_copy_open(struct work_copies *c, size_t i, struct work **ret, struct error *err) {
    int rc = open_at(c, i, err);
    if (rc == 0) *ret = c->at[i];
    return rc;
}

static int on_open(void *ctx, size_t i, struct repo **ret, struct error *err) {
    struct work_copies *c = ctx;
    int rc = open_at(c, i, err);
    if (rc == 0) *ret = c->at[i]->repo;
    return rc;
}

static int alternates_set(struct work_copies *c, struct error *err) {
    const char *labels[ALTERNATES_MAX];
    for (size_t i = 0; i < c->count; i++) labels[i] = c->names[i];
    return repo_alternates_set(c->w->repo, labels, c->count, on_open, c, err);
}

int any_copy_attach(struct work *w, const char *environment, struct error *err) {
    struct work_copies *c;
    int rc = copies_new(w, environment, &c, err);
    if (rc < 0 || !c) return rc;
    w->copies = c;
    return alternates_set(c, err);
}

static int64_t newest_of(const struct repo *r, const char *environment, const struct snapshot_info **ret) {
    int64_t newest = 0;
    for (size_t i = 0; i < repo_snapshot_count(r); i++) {
        const struct snapshot_info *s = repo_snapshot(r, i);
        if (s->forgotten || !s->complete || (*environment && strcmp(s->environment, environment) != 0)) continue;
        if (s->started_ns < newest) continue;
        newest = s->started_ns;
        *ret = s;
    }
    return newest;
}

/* Its handles become ours; what they lean on stays with it. */
static void take_over(struct work *w, struct work_copies *c, size_t i) {
    struct work *from = c->at[i];
    w->repo = from->repo;
    w->store = from->store;
    w->witnesses = from->witnesses;
    snprintf(w->url, sizeof w->url, "%s", from->url);
    snprintf(c->instead, sizeof c->instead, "%s", c->names[i]);
    from->repo = NULL;
    from->store = NULL;
    from->witnesses = NULL;
    c->shell = from;
    c->count--;
    for (size_t k = i; k < c->count; k++) {
        memcpy(c->names[k], c->names[k + 1], sizeof c->names[k]);
        c->at[k] = c->at[k + 1];
    }
    c->at[c->count] = NULL;
}

/* Which of those that can be opened; what they say that cannot is appended to `said`. */
static size_t choose(struct work_copies *c, char *said, size_t cap) {
    size_t best = c->count, n = 0;
    int64_t newest = -1;
    for (size_t i = 0; i < c->count; i++) {
        struct error e = ERROR_INIT;
        const struct snapshot_info *info;
        if (open_at(c, i, &e) < 0) {
            if (n < cap) n += (size_t)snprintf(said + n, cap - n, "%s%.40s: %.90s", n ? "; " : "", c->names[i], e.text);
            continue;
        }
        int64_t at = newest_of(c->at[i]->repo, c->environment, &info);
        if (at <= newest) continue;
        newest = at;
        best = i;
    }
    return best;
}

static void warn_instead(struct work *w, const struct work_copies *c, const struct error *why) {
    const struct snapshot_info *s = NULL;
    char when[40] = "no time at all";
    if (newest_of(w->repo, c->environment, &s)) time_format(s->started_ns, when);
    beside_warn(
        w, c->instead,
        "it is read in the place of the repository, which is out of reach; its newest recovery point is of %s, and the "
        "repository may have newer ones: %.400s",
        when, why->text);
}

static int instead_of(struct work *w, struct work_copies *c, const char *own, const struct error *why,
                      struct error *err) {
    char said[240] = "";
    size_t best = c->count;
    int rc = 0;
    if (!why) {
        for (size_t i = 0; i < c->count; i++)
            if (strcmp(c->names[i], w->options.from) == 0) best = i;
        if (best == c->count)
            return error_set(err, ERR_USAGE,
                             "'%s' is no copy of the repository %s: its 'copies' and 'fallback' in the "
                             "configuration do not name it",
                             w->options.from, own);
        rc = open_at(c, best, err);
    } else {
        best = choose(c, said, sizeof said);
        if (best == c->count) {
            *err = *why;
            (void)!error_state(err, "none of its copies can be used either: %s", said);
            return -(int)why->code;
        }
    }
    if (rc < 0) return rc;
    take_over(w, c, best);
    if (why)
        warn_instead(w, c, why);
    else
        name_add(c, own);
    return alternates_set(c, err);
}

int any_copy_instead(struct work *w, const char *environment, const struct error *why, struct error *err) {
    const struct config_repository *own = beside_config(w, environment);
    struct work_copies *c = NULL;
    struct error first = why ? *why : ERROR_INIT;
    error_clear(err);
    int rc = copies_new(w, environment, &c, err);
    if (rc == 0 && !c && why) {
        *err = first;
        return -(int)first.code;
    }
    if (rc == 0 && !c)
        rc = error_set(err, ERR_USAGE, "'--from' wants a repository that the configuration has, and copies of it");
    if (rc < 0) return rc;
    w->copies = c;
    return instead_of(w, c, own->head.name, why ? &first : NULL, err);
}

const char *any_copy_read_from(const struct work *w) {
    return w->copies && *w->copies->instead ? w->copies->instead : NULL;
}

bool any_copy_sentence(const struct work *w, char *out, size_t cap) {
    size_t n = 0;
    for (size_t i = 0; w->repo && i < repo_alternates(w->repo); i++) {
        struct alternate_stats s;
        char size[32];
        repo_alternate_stats(w->repo, i, &s);
        size_format(s.bytes, size);
        if (s.chunks && n < cap)
            n += (size_t)snprintf(out + n, cap - n, "%s%s (%s) came from %s", n ? ", " : "", COUNTED(s.chunks, "chunk"),
                                  size, s.label);
    }
    return n > 0;
}

int any_copy_json(const struct work *w, json_t **ret, struct error *err) {
    json_auto_t *list = json_array();
    int rc = list ? 0 : error_set(err, ERR_NO_MEMORY, "no memory for a result");
    for (size_t i = 0; w->repo && i < repo_alternates(w->repo) && rc == 0; i++) {
        struct alternate_stats s;
        repo_alternate_stats(w->repo, i, &s);
        if (s.chunks)
            rc = json_push(list,
                           json_pack("{s:s, s:I, s:I}", "label", s.label, "chunks", (json_int_t)s.chunks, "bytes",
                                     (json_int_t)s.bytes),
                           err);
    }
    if (rc == 0) *ret = json_incref(list);
    return rc;
}
