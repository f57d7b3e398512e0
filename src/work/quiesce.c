#include "work/quiesce.h"

#include "base/seam.h"
#include "base/time.h"
#include "work/cutover.h"
#include "work/hook.h"

#include <errno.h>
#include <stdio.h>
#include <unistd.h>

#define JOURNAL_BYTES_MAX (1u << 20)

static int journal_path(struct work *w, const char *environment, const char *down, char out[4200], struct error *err) {
    char dir[4100];
    snprintf(dir, sizeof dir, "%.4000s/hooks", w->cache_dir);
    snprintf(out, 4200, "%.4090s/%.64s.%.16s", dir, environment, down);
    return io_mkdirs(dir, 0700, err);
}

static int hook_call(struct quiesce *q, const struct config_hooks *hooks, const char *surface, const char *name,
                     struct error *err) {
    const struct config_hook *h = hook_find(hooks, name);
    if (!h) return 1;
    json_auto_t *facts = json_pack("{s:s}", "set", q->spec->name);
    const struct hook_event event = {.hook = name, .surface = surface, .action = q->action, .facts = facts};
    return hook_run(q->work, q->spec->environment, h, &event, NULL, err);
}

static void tell(struct quiesce *q, const char *text) {
    const struct work_events *e = &q->work->options.events;
    char label[260];
    snprintf(label, sizeof label, "%.120s/%.130s", q->spec->environment->head.name, q->spec->name);
    if (e->warning) e->warning(e->ctx, label, text);
}

static const struct config_hooks *own(const struct set_spec *s) {
    return s->config ? s->config->hooks : NULL;
}

/* Every one is run; the first that failed is answered. */
static int undo(struct quiesce *q, struct error *err) {
    int rc = 0;
    for (size_t i = q->spec->count + 1; i-- > 0;) {
        struct error one = ERROR_INIT;
        const struct config_surface *s = i ? q->spec->members[i - 1] : NULL;
        if (hook_call(q, s ? s->hooks : own(q->spec), s ? s->head.name : NULL, q->up, &one) >= 0) continue;
        if (rc < 0) {
            tell(q, one.text);
            continue;
        }
        *err = one;
        rc = -(int)one.code;
    }
    return rc;
}

/* A journal without a durable name would not outlive what it is for. */
static int name_sync(const struct quiesce *q, struct error *err) {
    char folder[4200];
    snprintf(folder, sizeof folder, "%.*s", (int)(strrchr(q->path, '/') - q->path), q->path);
    int fd = seam_openat(AT_FDCWD, folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC, 0);
    int rc = fd < 0 || seam_fsync(fd) < 0 ? error_set_errno(err, ERR_IO_SYNC, "%s", folder) : 0;
    io_close(&fd);
    return rc;
}

/* The names of the set's surfaces too: what a killed job has run may be another set's. */
static int journal_write(struct quiesce *q, struct error *err) {
    CLEANUP(buf_free) struct buf b = BUF_INIT(JOURNAL_BYTES_MAX);
    char when[32];
    json_auto_t *list = json_array();
    int rc = list ? 0 : error_set(err, ERR_NO_MEMORY, "no memory for a journal");
    for (size_t i = 0; i < q->spec->count && rc == 0; i++)
        rc = json_push(list, json_string(q->spec->members[i]->head.name), err);
    time_format(time_now_ns(), when);
    json_auto_t *doc = json_pack("{s:s, s:s, s:s, s:s, s:I, s:O}", "hook", q->down, "set", q->spec->name, "at", when,
                                 "by", q->work->principal, "pid", (json_int_t)getpid(), "surfaces", list);
    if (rc == 0 && !doc) rc = error_set(err, ERR_NO_MEMORY, "no memory for a journal");
    if (rc == 0) rc = json_write(doc, &b, err);
    if (rc == 0) rc = io_write_full(q->fd, b.ptr, b.len, q->path, err);
    if (rc == 0 && seam_fsync(q->fd) < 0) rc = error_set_errno(err, ERR_IO_SYNC, "%s", q->path);
    return rc == 0 ? name_sync(q, err) : rc;
}

static int journal_clear(struct quiesce *q, struct error *err) {
    if (seam_ftruncate(q->fd, 0) < 0 || seam_lseek(q->fd, 0, SEEK_SET) < 0)
        return error_set_errno(err, ERR_IO_WRITE, "%s", q->path);
    return seam_fsync(q->fd) < 0 ? error_set_errno(err, ERR_IO_SYNC, "%s", q->path) : 0;
}

static bool journal_read(const char *path, const char *environment, json_t **ret, char *out, size_t n) {
    CLEANUP(buf_free) struct buf b = BUF_INIT(JOURNAL_BYTES_MAX);
    struct error e = ERROR_INIT;
    json_t *doc = NULL;
    if (io_read_file(AT_FDCWD, path, JOURNAL_BYTES_MAX, &b, &e) < 0 || b.len == 0) return false;
    bool whole = json_parse(buf_bytes(&b), JOURNAL_BYTES_MAX, "journal", &doc, &e) == 0;
    const char *set = json_string_value(json_object_get(doc, "set")),
               *at = json_string_value(json_object_get(doc, "at")),
               *hook = json_string_value(json_object_get(doc, "hook"));
    snprintf(out, n, "a job that ran '%s' of %s/%s at %s was killed or failed before that was undone",
             whole && hook ? hook : "?", environment, whole && set ? set : "?", whole && at ? at : "an unknown time");
    if (ret)
        *ret = doc;
    else
        json_decref(doc);
    return true;
}

/* What is undone is what the killed job had, which may be another set than ours. */
static int left_undo(struct quiesce *q, const json_t *doc, struct error *err) {
    const struct config *c = q->work->config;
    const struct config_environment *e = q->spec->environment;
    const char *set = json_string_value(json_object_get(doc, "set"));
    struct set_spec theirs = {.environment = e, .config = set ? config_set(c, e, set) : NULL};
    const json_t *name;
    size_t i;
    snprintf(theirs.name, sizeof theirs.name, "%s", set ? set : "?");
    json_array_foreach(json_object_get(doc, "surfaces"), i, name) {
        const struct config_surface *s = json_is_string(name) ? config_surface(c, json_string_value(name)) : NULL;
        if (s && theirs.count < ADDRESS_SURFACES_MAX) theirs.members[theirs.count++] = s;
        if (s) continue;
        char line[300];
        snprintf(line, sizeof line, "the configuration does not have the surface %.100s any more: its '%s' is not run",
                 json_is_string(name) ? json_string_value(name) : "?", q->up);
        tell(q, line);
    }
    struct quiesce past = *q;
    /* what cannot be read names nobody: then ours at least */
    past.spec = json_is_array(json_object_get(doc, "surfaces")) ? &theirs : q->spec;
    return undo(&past, err);
}

static int journal_take(struct quiesce *q, bool undo_left, struct error *err) {
    char line[1500];
    json_auto_t *doc = NULL;
    int rc = journal_path(q->work, q->spec->environment->head.name, q->down, q->path, err);
    if (rc < 0) return rc;
    q->fd = seam_openat(AT_FDCWD, q->path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    if (q->fd < 0) return error_set_errno(err, ERR_IO_WRITE, "%s", q->path);
    if (io_lock(q->fd) < 0)
        return error_set(err, ERR_SET_BUSY, "another job has run '%s' in %s and has not undone it yet", q->down,
                         q->spec->environment->head.name);
    if (!journal_read(q->path, q->spec->environment->head.name, &doc, line, sizeof line)) return 0;
    /* Whoever goes on with the same set undoes it at his end; of another set he would not. */
    const char *whose = json_string_value(json_object_get(doc, "set"));
    undo_left |= !whose || strcmp(whose, q->spec->name) != 0;
    if (undo_left) {
        size_t n = strlen(line);
        snprintf(line + n, sizeof line - n, "; '%s' is run now", q->up);
    }
    tell(q, line);
    if (undo_left) rc = left_undo(q, doc, err);
    return rc < 0 ? rc : journal_clear(q, err);
}

static bool configured(const struct set_spec *s, const char *name, bool *ret_all) {
    bool any = hook_find(own(s), name) != NULL, every = s->count > 0;
    *ret_all = any;
    for (size_t i = 0; i < s->count; i++) {
        bool has = hook_find(s->members[i]->hooks, name) != NULL;
        any |= has;
        every &= has;
    }
    *ret_all |= every;
    return any;
}

int quiesce_begin(struct quiesce *q, struct work *w, const struct set_spec *spec, const char *down, const char *up,
                  const char *action, bool undo_left, struct error *err) {
    *q = (struct quiesce){.work = w, .spec = spec, .down = down, .up = up, .action = action, .fd = -1};
    if (!spec->environment) return 0; /* no configuration, no hooks */
    if (!configured(spec, down, &q->all)) {
        char line[1500];
        if (quiesce_left(w, spec->environment->head.name, down, line, sizeof line)) tell(q, line);
        return 0;
    }
    char plan[PLAN_ID_BYTES];
    if (cutover_under_way(w, spec->environment->head.name, plan)) {
        error_set(
            err, ERR_SET_BUSY,
            "plan %s takes the place of a server of %s and has not come to its end: what it froze must stay frozen",
            plan, spec->environment->head.name);
        return error_next(err, "proofkeep restore --plan %s, or the same with --abort", plan);
    }
    int rc = journal_take(q, undo_left, err);
    if (rc == 0) rc = journal_write(q, err);
    if (rc < 0) {
        io_close(&q->fd);
        return rc;
    }
    rc = hook_call(q, own(spec), NULL, down, err);
    for (size_t i = 0; i < spec->count && rc >= 0; i++)
        rc = hook_call(q, spec->members[i]->hooks, spec->members[i]->head.name, down, err);
    if (rc >= 0) {
        q->down_ns = time_now_ns();
        return 0;
    }
    struct error lost = ERROR_INIT;
    if (quiesce_end(q, &lost) < 0) {
        tell(q, lost.text);
        error_state(err, "'%s' failed as well: what '%s' did is not undone", up, down);
    } else
        error_state(err, "'%s' was run; nothing else was begun", up);
    return rc;
}

int quiesce_end(struct quiesce *q, struct error *err) {
    if (q->fd < 0) return 0;
    q->up_ns = time_now_ns();
    int rc = undo(q, err);
    if (rc == 0) rc = journal_clear(q, err);
    io_close(&q->fd);
    return rc;
}

int quiesce_undo_left(struct work *w, const struct set_spec *spec, const char *down, const char *up, const char *action,
                      bool *ret, struct error *err) {
    struct quiesce q = {.work = w, .spec = spec, .down = down, .up = up, .action = action, .fd = -1};
    char line[1500];
    json_auto_t *doc = NULL;
    *ret = false;
    if (!spec->environment) return 0;
    int rc = journal_path(w, spec->environment->head.name, down, q.path, err);
    if (rc < 0) return rc;
    q.fd = seam_openat(AT_FDCWD, q.path, O_RDWR | O_CLOEXEC, 0600);
    if (q.fd < 0 && errno == ENOENT) return 0;
    if (q.fd < 0) return error_set_errno(err, ERR_IO_WRITE, "%s", q.path);
    if (io_lock(q.fd) < 0)
        rc = error_set(err, ERR_SET_BUSY, "a job has run '%s' in %s and has not undone it yet", down,
                       spec->environment->head.name);
    else if (journal_read(q.path, spec->environment->head.name, &doc, line, sizeof line) &&
             strcmp(json_text(doc, "set", ""), spec->name) == 0) {
        *ret = true;
        rc = left_undo(&q, doc, err);
        if (rc == 0) rc = journal_clear(&q, err);
    }
    io_close(&q.fd);
    return rc;
}

bool quiesce_left(struct work *w, const char *environment, const char *down, char *out, size_t n) {
    char path[4200];
    struct error e = ERROR_INIT;
    if (journal_path(w, environment, down, path, &e) < 0) return false;
    int fd = seam_openat(AT_FDCWD, path, O_RDONLY | O_CLOEXEC, 0);
    if (fd < 0) return false;
    bool left = io_lock(fd) == 0 && journal_read(path, environment, NULL, out, n);
    io_close(&fd);
    return left;
}
