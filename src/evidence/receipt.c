#include "evidence/receipt.h"

#include "base/seam.h"
#include "base/time.h"
#include "evidence/evidence_internal.h"
#include "ledger/statement.h"
#include <stdio.h>

#define PREDICATE_MAX_BYTES ((size_t)4 << 20)

int receipt_backup_id(int64_t started_ns, char ret[BACKUP_ID_BYTES], struct error *err) {
    uint8_t r[4];
    char when[24], hex[2 * sizeof(r) + 1];
    if (random_bytes(r, sizeof(r), err) < 0) return error_wrap(err, "backup id");
    time_format_compact(started_ns, when);
    hex_encode(r, sizeof(r), hex);
    snprintf(ret, BACKUP_ID_BYTES, "bkp-%s-%s", when, hex);
    return 0;
}

static bool method_known(const char *m) {
    static const char *const methods[] = {"snapshot", "logical_dump", "physical_basebackup", "rebuild_only"};
    for (size_t i = 0; m && i < sizeof(methods) / sizeof(*methods); i++)
        if (strcmp(m, methods[i]) == 0) return true;
    return false;
}

static int check(const struct receipt *r, struct error *err) {
    const char *wrong = NULL;
    if (!r->backup_id || strncmp(r->backup_id, "bkp-", 4) != 0)
        wrong = "its backup id is malformed";
    else if (!r->environment || !*r->environment || !r->surface || !*r->surface)
        wrong = "it names no environment or surface";
    else if (!method_known(r->method))
        wrong = "its method is unknown";
    else if (r->completed_ns < r->started_ns)
        wrong = "it ends before it begins";
    else if (r->status == RECEIPT_SUCCESS && r->artifact_count == 0)
        wrong = "it is a success without an artifact";
    else if (r->extra && !json_is_object(r->extra))
        wrong = "its further members are no object";
    return wrong ? error_set(err, ERR_INTERNAL, "a receipt cannot be made: %s", wrong) : 0;
}

static int put_artifacts(json_t *p, const struct receipt *r, const struct redaction *s, struct error *err) {
    json_t *list, *one;
    if (evidence_put_new(p, "artifacts", json_array(), &list, err) < 0) return -(int)err->code;
    for (size_t i = 0; i < r->artifact_count; i++) {
        one = json_object();
        if (json_push(list, one, err) < 0 || evidence_put_text(one, "uri", r->artifacts[i].uri, s, err) < 0 ||
            evidence_put_digest(one, "sha256", &r->artifacts[i].sha256, err) < 0 ||
            json_put_int(one, "bytes", (int64_t)r->artifacts[i].bytes, err) < 0)
            return -(int)err->code;
    }
    return 0;
}

static int put_integrity(json_t *p, const struct verification_result *v, struct error *err) {
    json_t *o;
    bool ran = v && v->result != CHECK_NOT_CHECKED;
    const char *method = ran ? level_method(v->level) : NULL;
    if (evidence_put_new(p, "integrity", json_object(), &o, err) < 0 ||
        json_put(o, "validated", json_boolean(ran && verification_validates(v)), err) < 0 ||
        json_put_str(o, "validation_method", method ? method : "checksum", err) < 0)
        return -(int)err->code;
    return method ? evidence_put_time(o, "validated_at", v->completed_ns, err)
                  : json_put(o, "validated_at", json_null(), err);
}

/* The same thing in our own words, which the document's schema has no place for. */
static int put_verification(json_t *p, const struct verification_result *v, struct error *err) {
    json_t *o;
    if (!v || v->result == CHECK_NOT_CHECKED) return 0;
    if (evidence_put_new(p, "verification", json_object(), &o, err) < 0 ||
        json_put_str(o, "level", level_name(v->level), err) < 0 ||
        json_put_str(o, "check", verification_word(v->result), err) < 0 ||
        json_put_str(o, "result", verification_outcome(v), err) < 0 ||
        evidence_put_time(o, "completed_at", v->completed_ns, err) < 0)
        return -(int)err->code;
    return 0;
}

static int put_rest(json_t *p, const struct receipt *r, const struct redaction *s, struct error *err) {
    json_t *git, *who;
    if (evidence_put_new(p, "git", json_object(), &git, err) < 0 ||
        evidence_put_text(git, "repo", r->git_repo, s, err) < 0 ||
        evidence_put_text(git, "sha", r->git_sha, s, err) < 0 ||
        evidence_put_text(git, "change_ticket", r->change_ticket, s, err) < 0 ||
        evidence_put_new(p, "operator", json_object(), &who, err) < 0 ||
        json_put_str(who, "initiated_by", r->initiated_by == INITIATED_BY_HUMAN ? "human" : "automation", err) < 0 ||
        evidence_put_text(who, "principal", r->principal, s, err) < 0 ||
        evidence_put_text(p, "notes", r->notes, s, err) < 0)
        return -(int)err->code;
    return 0;
}

int receipt_predicate(const struct receipt *r, const struct redaction *secrets, json_t **ret, struct error *err) {
    if (check(r, err) < 0) return -(int)err->code;
    json_auto_t *p = json_object();
    if (!p) return error_set(err, ERR_NO_MEMORY, "receipt");
    if (json_put_str(p, "schema", RECEIPT_SCHEMA, err) < 0 || json_put_str(p, "backup_id", r->backup_id, err) < 0 ||
        json_put_str(p, "environment", r->environment, err) < 0 || json_put_str(p, "surface", r->surface, err) < 0 ||
        json_put_str(p, "method", r->method, err) < 0 || evidence_put_time(p, "started_at", r->started_ns, err) < 0 ||
        evidence_put_time(p, "completed_at", r->completed_ns, err) < 0 ||
        json_put_str(p, "status", r->status == RECEIPT_SUCCESS ? "success" : "failure", err) < 0 ||
        put_artifacts(p, r, secrets, err) < 0 || put_integrity(p, r->verification, err) < 0 ||
        put_rest(p, r, secrets, err) < 0 || put_verification(p, r->verification, err) < 0 ||
        evidence_put_extra(p, r->extra, secrets, err) < 0)
        return error_wrap(err, "receipt of %s", r->backup_id);
    *ret = json_incref(p);
    return 0;
}

static int add_job(json_t *statement, const struct receipt *r, struct error *err) {
    CLEANUP(buf_free) struct buf text = BUF_INIT(PREDICATE_MAX_BYTES);
    CLEANUP(buf_free) struct buf name = BUF_INIT(256);
    struct digest d;
    if (json_write(statement_predicate(statement), &text, err) < 0 ||
        buf_printf(&name, err, "job/%s", r->backup_id) < 0 || buf_terminate(&name, err) < 0)
        return -(int)err->code;
    sha256(buf_bytes(&text), &d);
    return statement_add_subject(statement, (const char *)name.ptr, &d, err);
}

int receipt_statement(const struct receipt *r, const struct redaction *secrets, json_t **ret, struct error *err) {
    json_t *p = NULL;
    json_auto_t *st = NULL;
    if (receipt_predicate(r, secrets, &p, err) < 0 || statement_new(PREDICATE_RECEIPT, p, &st, err) < 0)
        return -(int)err->code;
    if (r->status != RECEIPT_SUCCESS && add_job(st, r, err) < 0) return error_wrap(err, "receipt of %s", r->backup_id);
    const json_t *list = json_object_get(p, "artifacts");
    for (size_t i = 0; r->status == RECEIPT_SUCCESS && i < r->artifact_count; i++) {
        /* the cleaned name, not the caller's */
        const char *uri = json_string_value(json_object_get(json_array_get(list, i), "uri"));
        if (statement_add_subject(st, uri, &r->artifacts[i].sha256, err) < 0)
            return error_wrap(err, "receipt of %s", r->backup_id);
    }
    *ret = json_incref(st);
    return 0;
}
