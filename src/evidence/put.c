#include "evidence/evidence_internal.h"

#include "base/time.h"

int evidence_put_text(json_t *o, const char *key, const char *text, const struct redaction *s, struct error *err) {
    json_t *j = NULL;
    if (redact_string(text, s, &j, err) < 0) return -(int)err->code;
    return json_put(o, key, j, err);
}

int evidence_put_time(json_t *o, const char *key, int64_t ns, struct error *err) {
    char text[32];
    time_format(ns, text);
    return json_put_str(o, key, text, err);
}

int evidence_put_digest(json_t *o, const char *key, const struct digest *d, struct error *err) {
    char hex[2 * DIGEST_BYTES + 1];
    hex_encode(d->b, DIGEST_BYTES, hex);
    return json_put_str(o, key, hex, err);
}

int evidence_put_new(json_t *o, const char *key, json_t *empty, json_t **ret, struct error *err) {
    *ret = empty;
    return json_put(o, key, empty, err);
}

int evidence_put_extra(json_t *o, const json_t *extra, const struct redaction *s, struct error *err) {
    const char *key;
    json_t *value;
    if (!extra) return 0;
    json_auto_t *clean = NULL;
    if (redact_json(extra, s, &clean, err) < 0) return -(int)err->code;
    json_object_foreach(clean, key, value) {
        if (json_object_get(o, key) || strcmp(key, "ledger") == 0)
            return error_set(err, ERR_INTERNAL, "\"%s\" is not free for further members", key);
        if (json_put(o, key, json_incref(value), err) < 0) return -(int)err->code;
    }
    return 0;
}
