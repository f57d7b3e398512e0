#include "work/receipt.h"

#include "base/time.h"
#include "evidence/receipt.h"
#include "evidence/statement.h"
#include "work/any_copy.h"
#include "work/git.h"
#include "work/owed.h"

#include <stdio.h>
#include <unistd.h>

int job_begin(struct job *j, const char *prefix, struct error *err) {
    char id[BACKUP_ID_BYTES];
    *j = (struct job){.started_ns = time_now_ns(), .method = "snapshot"};
    int rc = receipt_backup_id(j->started_ns, id, err);
    /* ids of other jobs have the same form with their own first word */
    if (rc == 0) snprintf(j->id, sizeof j->id, "%s%s", prefix, id + strcspn(id, "-"));
    return rc;
}

/* `o` is what the receipt borrows from. What the configuration says of itself stands above what is found. */
static struct receipt base(struct work *w, const struct work_surface *s, const struct job *j, struct git_origin *o) {
    const struct config_git *g = w->config ? w->config->git : NULL;
    *o = (struct git_origin){0};
    if (w->config) git_origin_of(w->config->head.file, o);
    return (struct receipt){.backup_id = j->id,
                            .environment = s->environment,
                            .surface = s->receipt_surface,
                            .method = j->method,
                            .started_ns = j->started_ns,
                            .completed_ns = time_now_ns(),
                            .git_repo = g && g->repo ? g->repo : o->repo,
                            .git_sha = o->sha,
                            .change_ticket = j->ticket ? j->ticket
                                             : g       ? g->change_ticket
                                                       : NULL,
                            .initiated_by = isatty(STDIN_FILENO) ? INITIATED_BY_HUMAN : INITIATED_BY_AUTOMATION,
                            .principal = w->principal,
                            .notes = j->note};
}

int receipt_success(struct work *w, const struct work_surface *s, const struct job *j, struct writer *writer,
                    bool complete, const char *why, json_t **ret, struct error *err) {
    struct git_origin origin;
    struct redaction secrets = known_secrets_redaction(&w->known);
    struct receipt r = base(w, s, j, &origin);
    struct receipt_artifact a;
    char uri[128], notes[1024];
    json_t *repository = NULL, *extra = NULL;
    writer_artifact(writer, &a.sha256, &a.bytes, uri);
    a.uri = uri;
    r.artifacts = &a;
    r.artifact_count = 1;
    /* the document knows success and failure only, and what is partial is no success */
    r.status = complete ? RECEIPT_SUCCESS : RECEIPT_FAILURE;
    if (why) {
        snprintf(notes, sizeof notes, "%s%s%s", why, j->note ? "; " : "", j->note ? j->note : "");
        r.notes = notes;
    }
    int rc = writer_describe(writer, &repository, err);
    if (rc == 0) rc = json_put_str(repository, "kind", s->driver->kind, err);
    if (rc == 0) rc = json_put(repository, "complete", json_boolean(complete), err);
    if (rc == 0 && !(extra = json_pack("{s:O, s:O*, s:s*}", "repository", repository, "fallback", j->fallback,
                                       "before_restore", j->before_restore)))
        rc = error_set(err, ERR_NO_MEMORY, "no memory for a receipt");
    r.extra = extra;
    if (rc == 0) rc = receipt_statement(&r, &secrets, ret, err);
    json_decref(extra);
    json_decref(repository);
    return rc;
}

static int keep_for_later(struct work *w, const struct work_surface *s, json_t *statement, struct error *err) {
    const char *url;
    int rc = work_repo_url(w, strcmp(s->environment, ADHOC_ENVIRONMENT) == 0 ? NULL : s->environment, &url, err);
    return rc == 0 ? owed_keep(w, url, statement, err) : rc;
}

int receipt_failure(struct work *w, const struct work_surface *s, const struct job *j, const struct error *cause,
                    struct error *err) {
    struct git_origin origin;
    struct redaction secrets = known_secrets_redaction(&w->known);
    struct receipt r = base(w, s, j, &origin);
    char notes[2048];
    snprintf(notes, sizeof notes, "%s: %s", error_info(cause->code)->code, cause->text);
    r.status = RECEIPT_FAILURE;
    r.notes = notes;
    json_t *statement = NULL, *extra = json_pack("{s:{s:s, s:s}, s:O*}", "repository", "surface", s->name, "kind",
                                                 s->driver->kind, "fallback", j->fallback);
    if (!extra) return error_set(err, ERR_NO_MEMORY, "no memory for a receipt");
    r.extra = extra;
    int rc = receipt_statement(&r, &secrets, &statement, err);
    uint64_t seq;
    struct digest entry;
    char label[260];
    snprintf(label, sizeof label, "%s/%s", s->environment, s->name);
    if (rc == 0 && !w->repo) {
        rc = keep_for_later(w, s, statement, err);
    } else if (rc == 0 && (rc = owed_append(w, label, statement, &seq, &entry, err)) == 0) {
        const struct work_events *e = &w->options.events;
        if (e->receipt) e->receipt(e->ctx, label, json_object_get(statement, "predicate"), seq, &entry);
    }
    json_decref(statement);
    json_decref(extra);
    return rc;
}

static struct about about_of(const struct snapshot_info *info) {
    return (struct about){info->id, info->seq, info->entry};
}

uint64_t receipt_not_made(const json_t *checks) {
    const json_t *one;
    uint64_t n = 0;
    size_t i;
    json_array_foreach(checks, i, one) n += !strcmp(json_text(one, "result", ""), "NOT_CHECKED");
    return n;
}

int receipt_verification(struct work *w, const struct snapshot_info *info, enum verify_level level, bool passed,
                         int64_t started_ns, const json_t *detail, const json_t *checks, struct error *err) {
    struct about a = about_of(info);
    char label[260];
    struct redaction secrets = known_secrets_redaction(&w->known);
    struct verification_result v = {.result = passed ? CHECK_VERIFIED : CHECK_CORRUPT,
                                    .level = level,
                                    .started_ns = started_ns,
                                    .completed_ns = time_now_ns(),
                                    .items = info->items,
                                    .bytes = info->bytes,
                                    .findings = passed ? 0 : 1,
                                    .warnings = receipt_not_made(checks)};
    /* times of entries are whole seconds */
    json_t *statement = NULL,
           *extra = json_pack("{s:I}", "duration_ms", (json_int_t)((v.completed_ns - started_ns) / 1000000 + 1));
    size_t n = json_array_size(detail);
    if (n) {
        /* an entry is bounded: the first differences stand for the rest */
        json_t *some = json_array();
        for (size_t i = 0; i < n && i < 20; i++) json_array_append(some, json_array_get(detail, i));
        json_object_set_new(extra, "differences", some);
        json_object_set_new(extra, "differences_total", json_integer((json_int_t)n));
    }
    if (json_array_size(checks)) json_object_set(extra, "checks", (json_t *)checks);
    int rc = evidence_verification(&a, &v, w->principal, extra, &secrets, &statement, err);
    work_label(info, label);
    if (rc == 0) rc = owed_append(w, label, statement, NULL, NULL, err);
    json_decref(statement);
    json_decref(extra);
    return rc;
}

/* What came from copies, as members of a statement. */
static int put_copies(struct work *w, json_t *extra, struct error *err) {
    json_auto_t *copies = NULL;
    int rc = extra ? any_copy_json(w, &copies, err) : error_set(err, ERR_NO_MEMORY, "no memory for a receipt");
    if (rc == 0 && json_array_size(copies)) rc = json_put(extra, "copies", json_incref(copies), err);
    const char *from = any_copy_read_from(w);
    return rc == 0 && from ? json_put_str(extra, "read_from", from, err) : rc;
}

int receipt_restore(struct work *w, const struct snapshot_info *info, const char *plan_sha256, const char *before,
                    const char *first, const char *target, bool success, int64_t started_ns, uint64_t bytes,
                    uint64_t items, struct error *err) {
    struct about a = about_of(info);
    char label[260];
    struct redaction secrets = known_secrets_redaction(&w->known);
    struct digest plan;
    bool has_plan = plan_sha256 && hex_decode(plan_sha256, strlen(plan_sha256), plan.b, sizeof plan.b);
    int64_t now = time_now_ns();
    json_t *statement = NULL,
           *extra = json_pack("{s:I}", "duration_ms", (json_int_t)((now - started_ns) / 1000000 + 1));
    int rc = put_copies(w, extra, err);
    if (rc == 0 && *before) rc = json_put_str(extra, "before", before, err);
    if (rc == 0 && *first) rc = json_put_str(extra, "before_first", first, err);
    struct restore_record r = {.environment = info->environment,
                               .surface = info->surface,
                               .target = target,
                               .started_ns = started_ns,
                               .completed_ns = now,
                               .succeeded = success,
                               .items = items,
                               .bytes = bytes,
                               .plan = has_plan ? &plan : NULL,
                               .principal = w->principal,
                               .extra = extra};
    if (rc == 0) rc = evidence_restore(&a, &r, &secrets, &statement, err);
    work_label(info, label);
    if (rc == 0) rc = owed_append(w, label, statement, NULL, NULL, err);
    json_decref(statement);
    json_decref(extra);
    return rc;
}

void receipt_lost(struct work *w, const char *label, const char *what, const struct error *why) {
    char line[1300];
    if (!w->options.events.warning) return;
    snprintf(line, sizeof line, "%s: %.900s%s%.255s", what, why->text, why->state[0] ? "; " : "", why->state);
    w->options.events.warning(w->options.events.ctx, label, line);
}

static void record(struct work *w, struct read_record *r, const char *label, json_t *extra) {
    struct redaction secrets = known_secrets_redaction(&w->known);
    struct error lost = ERROR_INIT;
    json_auto_t *statement = NULL;
    r->principal = w->principal;
    r->extra = extra;
    int rc = put_copies(w, extra, &lost);
    if (rc == 0) rc = evidence_read(r, &secrets, &statement, &lost);
    if (rc == 0) rc = owed_append(w, label, statement, NULL, NULL, &lost);
    const bool recorded = rc == 0;
    if (rc == 0) rc = repo_publish(w->repo, &lost);
    if (rc < 0) {
        char what[100];
        snprintf(what, sizeof what, "the %s %s", r->verb,
                 recorded ? "is recorded in the log, which could not be published" : "is not recorded in the log");
        receipt_lost(w, label, what, &lost);
    }
}

void receipt_export(struct work *w, uint64_t seq, const char *target, bool success, int64_t started_ns, uint64_t files,
                    uint64_t bytes) {
    const struct snapshot_info *info = repo_snapshot_at(w->repo, seq);
    char label[260];
    if (!info) {
        if (w->options.events.warning)
            w->options.events.warning(w->options.events.ctx, NULL,
                                      "the export is not recorded in the log: its point is gone from it");
        return;
    }
    struct about a = about_of(info);
    struct read_record r = {.verb = "export",
                            .point = &a,
                            .environment = info->environment,
                            .surface = info->surface,
                            .target = target,
                            .started_ns = started_ns,
                            .completed_ns = time_now_ns(),
                            .succeeded = success,
                            .files = files,
                            .bytes = bytes};
    json_auto_t *extra = json_object();
    work_label(info, label);
    record(w, &r, label, extra);
}

void receipt_mount(struct work *w, size_t points, const char *target, bool allow_other) {
    struct read_record r = {.verb = "mount",
                            .log_size = ledger_size(repo_ledger(w->repo)),
                            .points = points,
                            .target = target,
                            .started_ns = time_now_ns()};
    json_auto_t *extra = json_pack("{s:b}", "allow_other", (int)allow_other);
    ledger_root(repo_ledger(w->repo), &r.log_root);
    record(w, &r, NULL, extra);
}
