#include "surface/plan.h"

#include "crypto/crypto.h"

#define PRINT_MAX (8u << 20) /* a line an index or a database */

int plan_begin(struct plan_parts *p, struct error *err) {
    *p = (struct plan_parts){.steps = json_array(), .warnings = json_array(), .print = BUF_INIT(PRINT_MAX)};
    return p->steps && p->warnings ? 0 : error_set(err, ERR_NO_MEMORY, "no memory");
}

void plan_end(struct plan_parts *p) {
    json_decref(p->steps);
    json_decref(p->warnings);
    buf_free(&p->print);
    p->steps = p->warnings = NULL;
}

int plan_say(json_t *list, struct error *err, const char *fmt, ...) {
    va_list ap;
    va_start(ap, fmt);
    json_t *text = json_vsprintf(fmt, ap);
    va_end(ap);
    return json_push(list, text, err);
}

int plan_put(const struct plan_parts *p, bool exists, bool empty, uint64_t space_bytes, json_t *out,
             struct error *err) {
    struct digest digest;
    char hex[2 * DIGEST_BYTES + 1];
    sha256(buf_bytes(&p->print), &digest);
    hex_encode(digest.b, sizeof digest.b, hex);
    int r = json_put_str(out, "fingerprint", hex, err);
    if (r == 0) r = json_put(out, "exists", json_boolean(exists), err);
    if (r == 0) r = json_put(out, "empty", json_boolean(empty), err);
    if (r == 0) r = json_put(out, "overwrites", json_boolean(p->overwrites), err);
    if (r == 0) r = json_put_int(out, "space_bytes", (int64_t)space_bytes, err);
    if (r == 0) r = json_put(out, "steps", json_incref(p->steps), err);
    return r == 0 ? json_put(out, "warnings", json_incref(p->warnings), err) : r;
}
