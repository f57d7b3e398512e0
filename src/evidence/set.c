#include "evidence/set.h"

#include "evidence/evidence_internal.h"
#include "ledger/statement.h"

static int put_clean(json_t *p, const char *key, const json_t *value, const struct redaction *secrets,
                     struct error *err) {
    json_t *clean = NULL;
    if (!value) return json_put(p, key, json_null(), err);
    int rc = redact_json(value, secrets, &clean, err);
    return rc < 0 ? rc : json_put(p, key, clean, err);
}

/* Of a set without members, the digest of nothing. */
static int subject_of(const json_t *members, struct digest *ret, struct error *err) {
    struct sha256_state *sum = NULL;
    const json_t *m;
    struct digest d;
    size_t i;
    int rc = sha256_new(&sum, err);
    if (rc < 0) return rc;
    json_array_foreach(members, i, m) {
        const char *hex = json_string_value(json_object_get(m, "receipt"));
        if (rc == 0 && (!hex || !hex_decode(hex, strlen(hex), d.b, sizeof d.b)))
            rc = error_set(err, ERR_INTERNAL, "a member of a set has no receipt");
        if (rc == 0) sha256_update(sum, BYTES_OF(d.b, DIGEST_BYTES));
    }
    sha256_finish(sum, ret);
    sha256_free(sum);
    return rc;
}

static int wrap(const char *type, json_t *p, const char *name, const struct digest *d, json_t **ret,
                struct error *err) {
    json_auto_t *st = NULL;
    int rc = statement_new(type, json_incref(p), &st, err);
    if (rc == 0) rc = statement_add_subject(st, name, d, err);
    if (rc == 0) *ret = json_incref(st);
    return rc;
}

int evidence_set(const struct set_record *r, const struct redaction *secrets, json_t **ret, struct error *err) {
    json_auto_t *p = json_object();
    struct digest d;
    if (!p) return error_set(err, ERR_NO_MEMORY, "the receipt of set %s", r->id);
    if (json_array_size(r->members) + json_array_size(r->missing) > SET_MEMBERS_MAX)
        return error_set(err, ERR_INTERNAL, "the set %s has more than %d surfaces", r->id, SET_MEMBERS_MAX);
    const char *status = r->complete ? "success" : json_array_size(r->members) ? "partial" : "failure";
    if (json_put_str(p, "set_id", r->id, err) < 0 || json_put_str(p, "environment", r->environment, err) < 0 ||
        json_put_str(p, "set", r->name, err) < 0 || json_put_str(p, "status", status, err) < 0 ||
        evidence_put_time(p, "started_at", r->started_ns, err) < 0 ||
        evidence_put_time(p, "completed_at", r->completed_ns, err) < 0 ||
        json_put_str(p, "consistency", r->consistency, err) < 0 ||
        put_clean(p, "freeze", r->freeze, secrets, err) < 0 || put_clean(p, "members", r->members, secrets, err) < 0 ||
        put_clean(p, "missing", r->missing, secrets, err) < 0 ||
        evidence_put_text(p, "principal", r->principal, secrets, err) < 0 ||
        evidence_put_text(p, "notes", r->notes, secrets, err) < 0 ||
        evidence_put_text(p, "change_ticket", r->ticket, secrets, err) < 0 || subject_of(r->members, &d, err) < 0 ||
        wrap(PREDICATE_SET, p, r->id, &d, ret, err) < 0)
        return error_wrap(err, "the receipt of set %s", r->id);
    return 0;
}

int evidence_set_copied(const struct set_copied *c, const struct redaction *secrets, json_t **ret, struct error *err) {
    json_auto_t *p = json_copy_whole(c->source);
    struct digest d;
    json_t *o;
    if (!p) return error_set(err, ERR_NO_MEMORY, "the receipt of set %s", c->set_id);
    if (evidence_put_new(p, "copy", json_object(), &o, err) < 0 ||
        json_put_str(o, "repository", c->source_repository, err) < 0 ||
        json_put_int(o, "seq", (int64_t)c->source_seq, err) < 0 ||
        evidence_put_digest(o, "receipt", &c->source_entry, err) < 0 ||
        evidence_put_time(o, "copied_at", c->copied_ns, err) < 0 ||
        evidence_put_text(o, "principal", c->principal, secrets, err) < 0 ||
        subject_of(json_object_get(p, "members"), &d, err) < 0 || wrap(PREDICATE_SET, p, c->set_id, &d, ret, err) < 0)
        return error_wrap(err, "the receipt of set %s", c->set_id);
    return 0;
}

int evidence_set_restore(const struct set_restore_record *r, const struct redaction *secrets, json_t **ret,
                         struct error *err) {
    json_auto_t *p = json_object();
    if (!p) return error_set(err, ERR_NO_MEMORY, "the receipt of a restore of set %s", r->set->id);
    if (json_put_str(p, "set_id", r->set->id, err) < 0 || json_put_int(p, "seq", (int64_t)r->set->seq, err) < 0 ||
        evidence_put_digest(p, "entry", &r->set->entry, err) < 0 ||
        json_put_str(p, "environment", r->set->environment, err) < 0 || json_put_str(p, "set", r->set->name, err) < 0 ||
        json_put_str(p, "status", r->succeeded ? "success" : "failure", err) < 0 ||
        json_put_str(p, "plan_sha256", r->plan_sha256, err) < 0 ||
        evidence_put_time(p, "started_at", r->started_ns, err) < 0 ||
        evidence_put_time(p, "completed_at", r->completed_ns, err) < 0 ||
        json_put_int(p, "duration_ms", r->took_ns / 1000000 + 1, err) < 0 ||
        put_clean(p, "members", r->members, secrets, err) < 0 || put_clean(p, "checks", r->checks, secrets, err) < 0 ||
        evidence_put_text(p, "principal", r->principal, secrets, err) < 0 ||
        evidence_put_text(p, "notes", r->notes, secrets, err) < 0 ||
        wrap(PREDICATE_SET_RESTORE, p, r->set->id, &r->set->entry, ret, err) < 0)
        return error_wrap(err, "the receipt of a restore of set %s", r->set->id);
    return 0;
}
