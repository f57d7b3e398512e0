#include "evidence/copy.h"

#include "base/seam.h"
#include "evidence/evidence_internal.h"
#include "ledger/statement.h"

static int put_repository(json_t *p, const struct copied *c, struct error *err) {
    const json_t *was = json_object_get(c->source, "repository");
    json_t *r = json_copy_whole(c->repository), *kind = json_object_get(was, "kind"),
           *complete = json_object_get(was, "complete");
    if (!r) return error_set(err, ERR_NO_MEMORY, "receipt of a copy");
    if (!json_is_string(kind) || !json_is_boolean(complete)) {
        json_decref(r);
        return error_set(err, ERR_LEDGER_BROKEN, "the source's receipt is not one of a snapshot");
    }
    if (json_put(p, "repository", r, err) < 0 || json_put(r, "kind", json_incref(kind), err) < 0 ||
        json_put(r, "complete", json_incref(complete), err) < 0)
        return -(int)err->code;
    return 0;
}

static int put_copy(json_t *p, const struct copied *c, const struct redaction *s, struct error *err) {
    json_t *o;
    if (evidence_put_new(p, "copy", json_object(), &o, err) < 0 ||
        json_put_str(o, "repository", c->source_repository, err) < 0 ||
        json_put_int(o, "seq", (int64_t)c->source_seq, err) < 0 ||
        evidence_put_digest(o, "receipt", &c->source_entry, err) < 0 ||
        evidence_put_digest(o, "envelope", &c->kept, err) < 0 ||
        evidence_put_time(o, "copied_at", c->copied_ns, err) < 0 ||
        evidence_put_text(o, "principal", c->principal, s, err) < 0)
        return -(int)err->code;
    return 0;
}

static int put_artifact(json_t *p, const struct receipt_artifact *a, const struct redaction *s, struct error *err) {
    json_t *list, *one = json_object();
    if (evidence_put_new(p, "artifacts", json_array(), &list, err) < 0) {
        json_decref(one);
        return -(int)err->code;
    }
    if (json_push(list, one, err) < 0 || evidence_put_text(one, "uri", a->uri, s, err) < 0 ||
        evidence_put_digest(one, "sha256", &a->sha256, err) < 0 ||
        json_put_int(one, "bytes", (int64_t)a->bytes, err) < 0)
        return -(int)err->code;
    return 0;
}

/* As of a backup that was just taken: see receipt.h. */
static int put_integrity(json_t *p, struct error *err) {
    return json_put(p, "integrity",
                    json_pack("{s:b, s:s, s:n}", "validated", 0, "validation_method", "checksum", "validated_at"), err);
}

int evidence_copied(const struct copied *c, const struct redaction *secrets, json_t **ret, struct error *err) {
    static const char *const theirs[] = {"ledger", "repository", "artifacts", "integrity", "verification", "copy"};
    json_auto_t *p = json_copy_whole(c->source);
    json_auto_t *st = NULL;
    if (!p) return error_set(err, ERR_NO_MEMORY, "receipt of a copy");
    for (size_t i = 0; i < sizeof theirs / sizeof *theirs; i++) json_object_del(p, theirs[i]);
    if (put_repository(p, c, err) < 0 || put_artifact(p, c->artifact, secrets, err) < 0 || put_integrity(p, err) < 0 ||
        put_copy(p, c, secrets, err) < 0 || statement_new(PREDICATE_RECEIPT, json_incref(p), &st, err) < 0 ||
        statement_add_subject(st, c->artifact->uri, &c->artifact->sha256, err) < 0)
        return error_wrap(err, "receipt of a copy");
    *ret = json_incref(st);
    return 0;
}
