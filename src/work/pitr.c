#include "work/pitr.h"

#include "base/seam.h"
#include "base/time.h"
#include "work/any_copy.h"
#include "work/past_recovery.h"
#include "work/point.h"
#include "work/wal.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

/* A word for the shell that the server runs the command with; a percent sign is the server's. */
static int word(struct buf *b, const char *text, struct error *err) {
    static const char plain[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_-./:@=,+";
    if (*text && text[strspn(text, plain)] == 0) return buf_printf(b, err, "%s%s", b->len ? " " : "", text);
    int rc = buf_append_str(b, b->len ? " '" : "'", err);
    for (const char *p = text; rc == 0 && *p; p++) {
        if (*p == '\'')
            rc = buf_append_str(b, "'\\''", err);
        else if (*p == '%')
            rc = buf_append_str(b, "%%", err);
        else
            rc = buf_append(b, p, 1, err);
    }
    return rc == 0 ? buf_append_str(b, "'", err) : rc;
}

static int option(struct buf *b, const char *name, const char *path, bool file, struct error *err) {
    if (!path) return 0;
    char *real = file ? realpath(path, NULL) : NULL;
    int rc = word(b, name, err);
    if (rc == 0) rc = word(b, real ? real : path, err);
    free(real); /* seam: allocated by realpath */
    return rc;
}

/* The server runs it again and again, long after this run. */
static int own_program(char out[4096], struct error *err) {
    static const char gone[] = " (deleted)";
    struct stat st;
    ssize_t n = seam_readlinkat(AT_FDCWD, "/proc/self/exe", out, 4095);
    if (n <= 0) return error_set_errno(err, ERR_IO_READ, "find this program's own file");
    out[n] = 0;
    /* An upgrade put another in its place while this one runs: that one serves as well. */
    size_t stem = (size_t)n > sizeof gone - 1 ? (size_t)n - (sizeof gone - 1) : 0;
    bool replaced = stem && strcmp(out + stem, gone) == 0 && seam_fstatat(AT_FDCWD, out, &st, 0) < 0;
    if (replaced) out[stem] = 0;
    if (seam_fstatat(AT_FDCWD, out, &st, 0) == 0 && S_ISREG(st.st_mode) && (st.st_mode & 0111)) return 0;
    error_set(err, ERR_IO_NOT_FOUND,
              "this program's own file %s is not there any more, and the server would have to run it", out);
    return error_next(err, "Run the same command with the program that is installed now.");
}

static int command(struct work *w, const struct snapshot_info *info, json_t *recovery, struct error *err) {
    CLEANUP(buf_free) struct buf b = BUF_INIT(64 << 10);
    const struct work_options *o = &w->options;
    char self[4096], label[260];
    int rc = own_program(self, err);
    if (rc < 0) return rc;
    work_label(info, label);
    rc = word(&b, self, err);
    if (rc == 0 && w->config) rc = option(&b, "--config", w->config->head.file, true, err);
    if (rc == 0) rc = option(&b, "--repository", o->repository, false, err);
    if (rc == 0) rc = option(&b, "--key-file", o->key_file, true, err);
    if (rc == 0) rc = option(&b, "--passphrase-file", o->passphrase_file, true, err);
    /* the copy that the plan was made from, be it because the repository is out of reach */
    if (rc == 0) rc = option(&b, "--from", any_copy_read_from(w), false, err);
    if (rc == 0) rc = buf_append_str(&b, " wal get", err);
    if (rc == 0) rc = word(&b, label, err);
    if (rc == 0) rc = buf_append_str(&b, " %f %p", err);
    if (rc == 0) rc = buf_terminate(&b, err);
    return rc == 0 ? json_put_str(recovery, "restore_command", (const char *)b.ptr, err) : rc;
}

bool pitr_has_instant(const struct restore_options *o) {
    return o->target_time || o->target_lsn || o->target_xid || o->target_name;
}

/* An old cluster's own folder, whose server goes on to archive: it must do that as a timeline of its own. */
static bool takes_over(const struct restore_options *o, bool physical) {
    return physical && o->in_place && !o->standby;
}

static bool asks(const struct restore_options *o) {
    return o->target || o->target_time || o->target_lsn || o->target_xid || o->target_name || o->target_timeline ||
           o->target_action || o->target_exclusive || o->standby;
}

static int put(json_t *o, const char *key, const char *value, struct error *err) {
    return value ? json_put_str(o, key, value, err) : 0;
}

int pitr_refuse_logical(struct work *w, const struct snapshot_info *info, const char *time, struct error *err) {
    const struct snapshot_info *before = NULL, *physical = NULL;
    char when[40], own[320] = "";
    int64_t ns;
    bool is_time = time && time_parse(time, &ns);
    for (size_t i = 0; i < repo_snapshot_count(w->repo); i++) {
        const struct snapshot_info *s = repo_snapshot(w->repo, i);
        if (s->forgotten || !s->complete || strcmp(s->environment, info->environment) != 0) continue;
        if (is_time && point_time(s) > ns) continue;
        if (strcmp(s->kind, PAST_PHYSICAL) == 0 && (!physical || point_time(s) > point_time(physical))) physical = s;
        if (is_time && strcmp(s->surface, info->surface) == 0 && (!before || point_time(s) > point_time(before)))
            before = s;
    }
    error_set(err, ERR_USAGE,
              "%s is no physical backup: what it holds is of one instant, and there is no WAL that leads from it to "
              "another",
              info->id);
    if (before) {
        time_format(point_time(before), when);
        snprintf(own, sizeof own, "; the newest that %.60s has of its own before that is %s, of %s", info->surface,
                 before->id, when);
    }
    if (physical)
        return error_next(err, "Recover from %s/%s, which has physical backups, the nearest %s%s.",
                          physical->environment, physical->surface, physical->id, own);
    return error_next(err, "An instant takes physical backups and WAL (method: physical, and wal: of the surface)%s.",
                      own);
}

int pitr_document(struct work *w, const struct snapshot_info *info, const struct restore_options *o, json_t *doc,
                  struct error *err) {
    bool physical = strcmp(info->kind, "postgres-physical") == 0;
    bool own_timeline = takes_over(o, physical) && !asks(o);
    bool immediate = own_timeline || (o->target && strcmp(o->target, "immediate") == 0);
    bool recovers = asks(o) || own_timeline;
    json_t *spaces = json_array(), *recovery = json_object();
    int rc = spaces && recovery ? 0 : error_set(err, ERR_NO_MEMORY, "no memory for a plan");
    if (rc == 0 && asks(o) && !physical) rc = pitr_refuse_logical(w, info, o->target_time, err);
    if (rc == 0 && (o->delta || (o->tablespaces && *o->tablespaces)) && !physical)
        rc = error_set(err, ERR_USAGE, "--delta and --tablespace are for physical backups, and %s is none", info->id);
    if (rc == 0 && o->target && (o->target_time || o->target_lsn || o->target_xid || o->target_name || o->standby))
        rc = error_set(err, ERR_USAGE, "recovery has one target: --target is one, and another was given as well");
    for (const char *const *p = o->tablespaces; rc == 0 && p && *p; p++) {
        const char *equals = strchr(*p, '=');
        if (**p != '/' || !equals || equals[1] != '/')
            rc = error_set(err, ERR_USAGE, "--tablespace wants two absolute paths, OLD=NEW, not '%.200s'", *p);
        if (rc == 0) rc = json_push(spaces, json_string(*p), err);
    }
    if (rc == 0) rc = put(recovery, "time", o->target_time, err);
    if (rc == 0) rc = put(recovery, "lsn", o->target_lsn, err);
    if (rc == 0) rc = put(recovery, "xid", o->target_xid, err);
    if (rc == 0) rc = put(recovery, "name", o->target_name, err);
    if (rc == 0) rc = put(recovery, "timeline", o->target_timeline, err);
    if (rc == 0) rc = put(recovery, "action", o->target_action, err);
    if (rc == 0) rc = json_put(recovery, "immediate", json_boolean(immediate), err);
    if (rc == 0) rc = json_put(recovery, "exclusive", json_boolean(o->target_exclusive), err);
    if (rc == 0) rc = json_put(recovery, "standby", json_boolean(o->standby), err);
    if (rc == 0 && takes_over(o, physical)) rc = json_put(recovery, "own_timeline", json_true(), err);
    if (rc == 0 && recovers && !immediate) rc = command(w, info, recovery, err);
    if (rc == 0) rc = json_put(doc, "recovery", recovers ? json_incref(recovery) : json_null(), err);
    if (rc == 0) rc = json_put(doc, "tablespaces", json_incref(spaces), err);
    if (rc == 0) rc = json_put(doc, "delta", json_boolean(o->delta), err);
    json_decref(spaces);
    json_decref(recovery);
    return rc;
}

static const char *text(const json_t *o, const char *key) {
    return json_string_value(json_object_get(o, key));
}

bool pitr_request(const json_t *doc, struct restore_recovery *ret) {
    const json_t *r = json_object_get(doc, "recovery");
    if (!json_is_object(r)) return false;
    *ret = (struct restore_recovery){.time = text(r, "time"),
                                     .lsn = text(r, "lsn"),
                                     .xid = text(r, "xid"),
                                     .name = text(r, "name"),
                                     .timeline = text(r, "timeline"),
                                     .action = text(r, "action"),
                                     .restore_command = text(r, "restore_command"),
                                     .immediate = json_is_true(json_object_get(r, "immediate")),
                                     .exclusive = json_is_true(json_object_get(r, "exclusive")),
                                     .standby = json_is_true(json_object_get(r, "standby")),
                                     .own_timeline = json_is_true(json_object_get(r, "own_timeline")),
                                     .histories = json_object_get(r, "histories")};
    return true;
}

static int history_add(struct work_wal *h, uint64_t system, uint32_t timeline, json_t *list, struct error *err) {
    struct wal_name n = {.kind = WAL_HISTORY, .timeline = timeline};
    struct buf b = BUF_INIT(WAL_HISTORY_BYTES_MAX);
    char name[WAL_NAME_BYTES];
    struct wal_source *s = work_wal_source(h);
    wal_name_format(&n, name);
    int rc = s->ops->get(s, system, &n, &b, err);
    if (rc == 0) rc = json_put(list, name, json_stringn((const char *)b.ptr, b.len), err);
    buf_free(&b);
    return rc;
}

int pitr_histories(struct work *w, const struct snapshot_info *info, const json_t *facts, json_t *doc,
                   struct error *err) {
    json_t *recovery = json_object_get(doc, "recovery"), *list;
    const char *said = text(facts, "system_identifier");
    json_int_t timeline = json_integer_value(json_object_get(facts, "timeline"));
    struct work_wal *h = NULL;
    uint64_t system;
    if (!json_is_true(json_object_get(recovery, "own_timeline")) || !said || !wal_system_parse(said, &system) ||
        timeline < 1)
        return 0;
    if (!(list = json_object())) return error_set(err, ERR_NO_MEMORY, "no memory for a plan");
    int rc = work_wal_open_all(w, info->environment, info->surface, &h, err);
    for (uint32_t next = (uint32_t)timeline + 1; rc == 0; next++) rc = history_add(h, system, next, list, err);
    work_wal_close(h);
    if (rc == -ERR_WAL_ABSENT) {
        error_clear(err);
        rc = 0;
    }
    if (rc == 0) rc = json_put(recovery, "histories", json_incref(list), err);
    json_decref(list);
    return rc < 0 ? error_wrap(err, "looking which timelines there are") : 0;
}

/* The instant that is recovered to; 0: no time is known. */
static int64_t instant(const struct restore_recovery *q, const char *base_end, const json_t *reach) {
    const char *said = q->time ? q->time : q->immediate ? base_end : text(reach, "newest");
    int64_t ns;
    return !q->lsn && !q->xid && !q->name && said && time_parse(said, &ns) ? ns : 0;
}

/* When what was found in the WAL ended; 0: that was not told. */
static int64_t found_instant(const json_t *recovery) {
    const char *said = text(json_object_get(recovery, "found"), "time");
    int64_t ns;
    return said && time_parse(said, &ns) ? ns : 0;
}

static void name_point(const struct restore_recovery *q, int64_t ns, char out[600]) {
    char when[32];
    if (q->lsn)
        snprintf(out, 600, "%.40s", q->lsn);
    else if (q->xid)
        snprintf(out, 600, "transaction %.40s", q->xid);
    else if (q->name)
        snprintf(out, 600, "restore point '%.500s'", q->name);
    else if (!ns)
        snprintf(out, 600, "the end of the WAL");
    else {
        time_format(ns, when);
        if (ns % NS_PER_S)
            snprintf(out, 600, "%.19s.%06dZ", when, (int)(ns % NS_PER_S / 1000));
        else
            snprintf(out, 600, "%s", when);
    }
}

static int warn(json_t *doc, const char *missing_from, struct error *err) {
    char line[320];
    snprintf(line, sizeof line,
             "WAL is missing from %s on: recovery leads to there at most. If it was stored once, the server stops "
             "there with an error "
             "until it is brought back, or acknowledged as lost ('proofkeep wal acknowledge')",
             missing_from);
    return json_push(json_object_get(doc, "warnings"), json_string(line), err);
}

/* The backup's cluster: the surface may be another one by the time that the server asks. */
static int name_system(const json_t *facts, json_t *recovery, struct error *err) {
    const char *command = text(recovery, "restore_command"), *system = text(facts, "system_identifier");
    uint64_t number;
    if (!command || !system || !wal_system_parse(system, &number)) return 0;
    return json_put(recovery, "restore_command", json_sprintf("%s --system %" PRIu64, command, number), err);
}

/* The newest when the plan was made: one that a server begins later is not what was planned. Of the backup's own no
 * history need be there for "current". */
static int pin_timeline(const json_t *facts, const json_t *reach, json_t *recovery, struct error *err) {
    const char *asked = text(recovery, "timeline");
    json_int_t found = json_integer_value(json_object_get(reach, "timeline"));
    if (!found || (asked && strcmp(asked, "latest") != 0)) return 0;
    return json_put(recovery, "timeline",
                    found == json_integer_value(json_object_get(facts, "timeline"))
                        ? json_string("current")
                        : json_sprintf("%" JSON_INTEGER_FORMAT, found),
                    err);
}

int pitr_tell(const json_t *facts, const json_t *reach, json_t *doc, struct error *err) {
    struct restore_recovery q;
    char point[600];
    int rc = name_system(facts, json_object_get(doc, "recovery"), err);
    if (rc == 0) rc = pin_timeline(facts, reach, json_object_get(doc, "recovery"), err);
    if (rc < 0 || !pitr_request(doc, &q) || q.standby) return rc;
    json_t *recovery = json_object_get(doc, "recovery"), *seconds = json_object_get(doc, "estimated_seconds");
    const char *base_end = text(facts, "stop_time"), *missing = text(reach, "missing_from");
    int64_t ns = instant(&q, base_end, reach);
    name_point(&q, ns, point);
    if (!ns) ns = found_instant(recovery);
    int64_t loss = ns ? (time_now_ns() - ns) / NS_PER_S : -1;
    rc = json_put_str(doc, "point", point, err);
    if (rc == 0)
        rc = json_put(doc, "loss_seconds", ns ? json_integer((json_int_t)(loss > 0 ? loss : 0)) : json_null(), err);
    if (rc == 0) rc = json_put(recovery, "base_end", base_end ? json_string(base_end) : json_null(), err);
    if (rc == 0) rc = json_put(recovery, "wal", reach ? json_copy((json_t *)reach) : json_null(), err);
    if (rc == 0 && json_is_integer(seconds))
        rc = json_put_int(doc, "estimated_seconds",
                          json_integer_value(seconds) + json_integer_value(json_object_get(reach, "replay_seconds")),
                          err);
    return rc == 0 && missing ? warn(doc, missing, err) : rc;
}
