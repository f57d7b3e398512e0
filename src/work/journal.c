#include "work/journal.h"

#include "base/seam.h"
#include "base/time.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#define JOURNAL_BYTES_MAX (1u << 20)
#define WHAT "the journal"

static const char *const names[] = {"pending", "begun", "done", "failed"};

const char *step_state_name(enum step_state s) {
    return names[s];
}

static int damaged(const struct journal *j, const char *what, struct error *err) {
    return error_set(err, ERR_JOURNAL, "%s %s", j->path, what);
}

/* ---- the file ---- */

/* Changes are made to a copy, which takes the document's place when it is on disk. */
static int change_begin(const struct journal *j, json_t **ret, struct error *err) {
    *ret = json_copy_whole(j->doc);
    return *ret ? 0 : error_set(err, ERR_NO_MEMORY, "no memory for a journal");
}

/* rc: how the change went so far. Owns the copy. */
static int change_end(struct journal *j, json_t *copy, int rc, struct error *err) {
    CLEANUP(buf_free) struct buf b = BUF_INIT(JOURNAL_BYTES_MAX);
    if (rc == 0) rc = json_write_pretty(copy, &b, err);
    if (rc == 0) rc = io_replace_file(AT_FDCWD, j->path, buf_bytes(&b), 0600, err);
    if (rc < 0) {
        json_decref(copy);
        return rc;
    }
    json_decref(j->doc);
    j->doc = copy;
    return 0;
}

static int lock(struct journal *j, struct error *err) {
    char path[4300];
    snprintf(path, sizeof path, "%s.lock", j->path);
    j->lock = seam_openat(AT_FDCWD, path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
    if (j->lock < 0) return error_set_errno(err, ERR_IO_WRITE, "open %s", path);
    if (io_lock(j->lock) == 0) return 0;
    if (errno != EWOULDBLOCK) return error_set_errno(err, ERR_IO_WRITE, "lock %s", path);
    return error_set(err, ERR_JOURNAL_BUSY, "%s is held by another process", path);
}

static json_t *fresh(const char *subject, const char *const *steps) {
    json_t *list = json_array();
    for (; list && *steps; steps++)
        if (json_array_append_new(
                list, json_pack("{s:s, s:s, s:i}", "name", *steps, "state", names[STEP_PENDING], "runs", 0)) < 0) {
            json_decref(list);
            list = NULL;
        }
    return list ? json_pack("{s:i, s:s, s:s, s:{}, s:o}", "v", 1, "subject", subject, "state", "new", "kept", "steps",
                            list)
                : NULL;
}

static bool state_known(const json_t *step) {
    const char *said = json_string_value(json_object_get(step, "state"));
    for (size_t i = 0; said && i < sizeof names / sizeof *names; i++)
        if (!strcmp(said, names[i])) return true;
    return false;
}

static int judge(const struct journal *j, const char *subject, const char *const *steps, struct error *err) {
    const char *whose = json_string_value(json_object_get(j->doc, "subject"));
    size_t n = 0;
    if (json_integer_value(json_object_get(j->doc, "v")) != 1 || !whose ||
        !json_is_string(json_object_get(j->doc, "state")) || !json_is_object(json_object_get(j->doc, "kept")))
        return damaged(j, "is no journal of this version", err);
    if (strcmp(whose, subject) != 0) return damaged(j, "belongs to something else", err);
    for (; steps[n]; n++) {
        const char *name = journal_name(j, n);
        if (!name || strcmp(name, steps[n]) != 0 || !state_known(json_array_get(json_object_get(j->doc, "steps"), n)))
            return damaged(j, "has other steps", err);
    }
    return journal_steps(j) == n ? 0 : damaged(j, "has other steps", err);
}

int journal_open(const char *path, const char *subject, const char *const *steps, struct journal *ret,
                 struct error *err) {
    CLEANUP(buf_free) struct buf b = BUF_INIT(JOURNAL_BYTES_MAX);
    *ret = (struct journal){.lock = -1};
    snprintf(ret->path, sizeof ret->path, "%s", path);
    int rc = lock(ret, err);
    if (rc < 0) return rc;
    rc = io_read_file(AT_FDCWD, path, JOURNAL_BYTES_MAX, &b, err);
    if (rc == -ERR_IO_NOT_FOUND) {
        error_clear(err);
        json_t *doc = fresh(subject, steps);
        return doc ? change_end(ret, doc, 0, err) : error_set(err, ERR_NO_MEMORY, "no memory for a journal");
    }
    if (rc == 0 && json_parse(buf_bytes(&b), JOURNAL_BYTES_MAX, WHAT, &ret->doc, err) < 0) {
        error_clear(err);
        rc = damaged(ret, "is damaged", err);
    }
    return rc == 0 ? judge(ret, subject, steps, err) : rc;
}

void journal_close(struct journal *j) {
    json_decref(j->doc);
    io_close(&j->lock);
    *j = (struct journal){.lock = -1};
}

/* ---- steps ---- */

static json_t *step_of(const json_t *doc, size_t i) {
    return json_array_get(json_object_get(doc, "steps"), i);
}

size_t journal_steps(const struct journal *j) {
    return json_array_size(json_object_get(j->doc, "steps"));
}

const char *journal_name(const struct journal *j, size_t step) {
    return json_string_value(json_object_get(step_of(j->doc, step), "name"));
}

enum step_state journal_state(const struct journal *j, size_t step) {
    const char *said = json_string_value(json_object_get(step_of(j->doc, step), "state"));
    enum step_state s = STEP_PENDING;
    for (size_t i = 0; said && i < sizeof names / sizeof *names; i++)
        if (!strcmp(said, names[i])) s = (enum step_state)i;
    return s;
}

enum step_state journal_state_of(const struct journal *j, const char *name) {
    for (size_t i = 0; i < journal_steps(j); i++)
        if (!strcmp(journal_name(j, i), name)) return journal_state(j, i);
    return STEP_PENDING;
}

int journal_begin(struct journal *j, size_t step, struct error *err) {
    json_t *doc;
    char now[32];
    int rc = change_begin(j, &doc, err);
    if (rc < 0) return rc;
    json_t *s = step_of(doc, step);
    int64_t runs = json_integer_value(json_object_get(s, "runs"));
    time_format(time_now_ns(), now);
    json_object_del(s, "error");
    json_object_del(s, "detail");
    rc = json_put_str(s, "state", names[STEP_BEGUN], err);
    if (rc == 0) rc = json_put_int(s, "runs", runs + 1, err);
    if (rc == 0) rc = json_put_str(s, "began", now, err);
    rc = change_end(j, doc, rc, err);
    if (rc == 0) j->begun_ns = time_monotonic_ns();
    return rc;
}

static int end(struct journal *j, size_t step, json_t *detail, const struct error *why, struct error *err) {
    json_t *doc = NULL;
    int rc = change_begin(j, &doc, err);
    json_t *s = step_of(doc, step);
    if (rc == 0) rc = json_put_str(s, "state", names[why ? STEP_FAILED : STEP_DONE], err);
    if (rc == 0) rc = json_put_int(s, "ms", (time_monotonic_ns() - j->begun_ns) / 1000000, err);
    if (rc == 0 && detail) rc = json_put(s, "detail", json_incref(detail), err);
    if (rc == 0 && why)
        rc = json_put(s, "error", json_sprintf("%s: %s", error_info((int)why->code)->code, why->text), err);
    json_decref(detail);
    return doc ? change_end(j, doc, rc, err) : rc;
}

int journal_done(struct journal *j, size_t step, json_t *detail, struct error *err) {
    return end(j, step, detail, NULL, err);
}

int journal_failed(struct journal *j, size_t step, json_t *detail, const struct error *why, struct error *err) {
    return end(j, step, detail, why, err);
}

int journal_again(struct journal *j, const char *const *again, struct error *err) {
    json_t *doc;
    int rc = change_begin(j, &doc, err);
    if (rc < 0) return rc;
    for (size_t i = 0; rc == 0 && i < journal_steps(j); i++)
        for (const char *const *n = again; rc == 0 && *n; n++)
            if (!strcmp(*n, journal_name(j, i))) rc = json_put_str(step_of(doc, i), "state", names[STEP_PENDING], err);
    return change_end(j, doc, rc, err);
}

int journal_keep(struct journal *j, const char *name, json_t *value, struct error *err) {
    json_t *doc = NULL;
    int rc = change_begin(j, &doc, err);
    if (rc == 0)
        rc = json_put(json_object_get(doc, "kept"), name, value, err);
    else
        json_decref(value);
    return doc ? change_end(j, doc, rc, err) : rc;
}

const json_t *journal_kept(const struct journal *j, const char *name) {
    return json_object_get(json_object_get(j->doc, "kept"), name);
}

int journal_set(struct journal *j, const char *state, struct error *err) {
    json_t *doc;
    int rc = change_begin(j, &doc, err);
    return rc < 0 ? rc : change_end(j, doc, json_put_str(doc, "state", state, err), err);
}

const char *journal_is(const struct journal *j) {
    const char *s = json_string_value(json_object_get(j->doc, "state"));
    return s ? s : "";
}
