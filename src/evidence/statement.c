#include "evidence/statement.h"

#include "evidence/evidence_internal.h"
#include "ledger/statement.h"

static int put_about(json_t *p, const struct about *a, struct error *err) {
    if (json_put_str(p, "snapshot", a->id, err) < 0 || json_put_int(p, "seq", (int64_t)a->seq, err) < 0 ||
        evidence_put_digest(p, "receipt", &a->entry, err) < 0)
        return -(int)err->code;
    return 0;
}

static int wrap(const char *type, json_t *p, const struct about *a, json_t **ret, struct error *err) {
    json_auto_t *st = NULL;
    if (statement_new(type, json_incref(p), &st, err) < 0 || statement_add_subject(st, a->id, &a->entry, err) < 0)
        return -(int)err->code;
    *ret = json_incref(st);
    return 0;
}

/* Every rung up to the one asked for, under the heading that the outcome gives; a failure is charged to the highest
 * only, for which of those below it failed is in the findings. */
static int put_tests(json_t *p, const struct verification_result *v, struct error *err) {
    const char *outcome = verification_outcome(v);
    json_t *passed, *warned, *failed;
    if (evidence_put_new(p, "passedTests", json_array(), &passed, err) < 0 ||
        evidence_put_new(p, "warnedTests", json_array(), &warned, err) < 0 ||
        evidence_put_new(p, "failedTests", json_array(), &failed, err) < 0)
        return -(int)err->code;
    if (strcmp(outcome, "FAILED") == 0) return json_push(failed, json_string(level_name(v->level)), err);
    for (enum verify_level l = VERIFY_PRESENT; l <= v->level; l++) {
        json_t *list = l == v->level && strcmp(outcome, "WARNED") == 0 ? warned : passed;
        if (json_push(list, json_string(level_name(l)), err) < 0) return -(int)err->code;
    }
    return 0;
}

static int put_configuration(json_t *p, const struct verification_result *v, struct error *err) {
    json_t *list, *one = json_object();
    if (evidence_put_new(p, "configuration", json_array(), &list, err) < 0) {
        json_decref(one);
        return -(int)err->code;
    }
    return json_push(list, one, err) < 0 ? -(int)err->code : json_put_str(one, "name", level_name(v->level), err);
}

int evidence_verification(const struct about *a, const struct verification_result *v, const char *principal,
                          const json_t *extra, const struct redaction *secrets, json_t **ret, struct error *err) {
    if (v->result == CHECK_NOT_CHECKED || v->level == VERIFY_NONE) {
        error_set(err, ERR_UNVERIFIABLE, "nothing of %s was checked, so there is no result to record", a->id);
        return error_state(err, "The snapshot is neither vouched for nor found damaged.");
    }
    json_auto_t *p = json_object();
    if (!p) return error_set(err, ERR_NO_MEMORY, "verification of %s", a->id);
    if (put_about(p, a, err) < 0 || json_put_str(p, "result", verification_outcome(v), err) < 0 ||
        json_put_str(p, "level", level_name(v->level), err) < 0 ||
        json_put_str(p, "check", verification_word(v->result), err) < 0 ||
        evidence_put_time(p, "started_at", v->started_ns, err) < 0 ||
        evidence_put_time(p, "completed_at", v->completed_ns, err) < 0 ||
        json_put_int(p, "items", (int64_t)v->items, err) < 0 || json_put_int(p, "bytes", (int64_t)v->bytes, err) < 0 ||
        json_put_int(p, "findings", (int64_t)v->findings, err) < 0 ||
        json_put_int(p, "warnings", (int64_t)v->warnings, err) < 0 || put_tests(p, v, err) < 0 ||
        put_configuration(p, v, err) < 0 || evidence_put_text(p, "principal", principal, secrets, err) < 0 ||
        evidence_put_extra(p, extra, secrets, err) < 0 || wrap(PREDICATE_VERIFICATION, p, a, ret, err) < 0)
        return error_wrap(err, "verification of %s", a->id);
    return 0;
}

int evidence_hold(const struct about *a, enum hold_action action, const char *set, const char *reason,
                  const char *principal, const struct redaction *secrets, json_t **ret, struct error *err) {
    json_auto_t *p = json_object();
    if (!p) return error_set(err, ERR_NO_MEMORY, "hold on %s", a->id);
    if (put_about(p, a, err) < 0 || json_put_str(p, "action", action == HOLD_RELEASE ? "release" : "place", err) < 0 ||
        (set && json_put_str(p, "set", set, err) < 0) || evidence_put_text(p, "reason", reason, secrets, err) < 0 ||
        evidence_put_text(p, "principal", principal, secrets, err) < 0 || wrap(PREDICATE_HOLD, p, a, ret, err) < 0)
        return error_wrap(err, "hold on %s", a->id);
    return 0;
}

static int put_restored(json_t *p, const struct restore_record *r, struct error *err) {
    const struct verification_result *v = r->verification;
    if (r->plan && evidence_put_digest(p, "plan_sha256", r->plan, err) < 0) return -(int)err->code;
    if (!v || v->result == CHECK_NOT_CHECKED)
        return json_put_str(p, "check", verification_word(CHECK_NOT_CHECKED), err);
    if (json_put_str(p, "check", verification_word(v->result), err) < 0 ||
        json_put_str(p, "level", level_name(v->level), err) < 0 ||
        json_put_str(p, "result", verification_outcome(v), err) < 0)
        return -(int)err->code;
    return 0;
}

int evidence_restore(const struct about *a, const struct restore_record *r, const struct redaction *secrets,
                     json_t **ret, struct error *err) {
    json_auto_t *p = json_object();
    if (!p) return error_set(err, ERR_NO_MEMORY, "restore of %s", a->id);
    if (put_about(p, a, err) < 0 || evidence_put_text(p, "environment", r->environment, secrets, err) < 0 ||
        evidence_put_text(p, "surface", r->surface, secrets, err) < 0 ||
        evidence_put_text(p, "target", r->target, secrets, err) < 0 ||
        json_put_str(p, "status", r->succeeded ? "success" : "failure", err) < 0 ||
        evidence_put_time(p, "started_at", r->started_ns, err) < 0 ||
        evidence_put_time(p, "completed_at", r->completed_ns, err) < 0 ||
        json_put_int(p, "items", (int64_t)r->items, err) < 0 || json_put_int(p, "bytes", (int64_t)r->bytes, err) < 0 ||
        put_restored(p, r, err) < 0 || evidence_put_text(p, "principal", r->principal, secrets, err) < 0 ||
        evidence_put_text(p, "notes", r->notes, secrets, err) < 0 ||
        evidence_put_extra(p, r->extra, secrets, err) < 0 || wrap(PREDICATE_RESTORE, p, a, ret, err) < 0)
        return error_wrap(err, "restore of %s", a->id);
    return 0;
}

static int put_what(json_t *p, const struct read_record *r, const struct redaction *secrets, struct error *err) {
    if (!r->point) {
        int rc = json_put_int(p, "log_size", (int64_t)r->log_size, err);
        return rc == 0 ? json_put_int(p, "points", (int64_t)r->points, err) : rc;
    }
    int rc = put_about(p, r->point, err);
    if (rc == 0) rc = evidence_put_text(p, "environment", r->environment, secrets, err);
    return rc == 0 ? evidence_put_text(p, "surface", r->surface, secrets, err) : rc;
}

static int put_how_far(json_t *p, const struct read_record *r, struct error *err) {
    if (!r->completed_ns) return json_put_str(p, "status", "begun", err);
    int rc = json_put_str(p, "status", r->succeeded ? "success" : "failure", err);
    if (rc == 0) rc = evidence_put_time(p, "completed_at", r->completed_ns, err);
    if (rc == 0 && r->succeeded) rc = json_put_int(p, "files", (int64_t)r->files, err);
    return rc == 0 && r->succeeded ? json_put_int(p, "bytes", (int64_t)r->bytes, err) : rc;
}

int evidence_read(const struct read_record *r, const struct redaction *secrets, json_t **ret, struct error *err) {
    const struct about log = {.id = "log", .entry = r->log_root};
    json_auto_t *p = json_object();
    if (!p) return error_set(err, ERR_NO_MEMORY, "a record of %s", r->verb);
    if (json_put_str(p, "verb", r->verb, err) < 0 || put_what(p, r, secrets, err) < 0 ||
        evidence_put_text(p, "target", r->target, secrets, err) < 0 ||
        evidence_put_time(p, "started_at", r->started_ns, err) < 0 || put_how_far(p, r, err) < 0 ||
        evidence_put_text(p, "principal", r->principal, secrets, err) < 0 ||
        evidence_put_extra(p, r->extra, secrets, err) < 0 ||
        wrap(PREDICATE_READ, p, r->point ? r->point : &log, ret, err) < 0)
        return error_wrap(err, "a record of %s", r->verb);
    return 0;
}
