#include "ledger/statement.h"

int statement_new(const char *predicate_type, json_t *predicate, json_t **ret, struct error *err) {
    json_auto_t *owned = predicate;
    json_auto_t *st = json_object();
    if (!st) return error_set(err, ERR_NO_MEMORY, "statement");
    json_t *body = owned;
    owned = NULL; /* json_put owns it from here, also when it fails */
    if (json_put(st, "predicate", body, err) < 0 || json_put_str(st, "_type", STATEMENT_TYPE, err) < 0 ||
        json_put_str(st, "predicateType", predicate_type, err) < 0 || json_put(st, "subject", json_array(), err) < 0)
        return error_wrap(err, "statement");
    *ret = st;
    st = NULL;
    return 0;
}

int statement_add_subject(json_t *statement, const char *name, const struct digest *sha256, struct error *err) {
    char hex[2 * DIGEST_BYTES + 1];
    hex_encode(sha256->b, DIGEST_BYTES, hex);
    json_auto_t *one = json_object();
    json_auto_t *digest = json_object();
    json_t *list = NULL;
    if (!one || !digest) return error_set(err, ERR_NO_MEMORY, "statement");
    if (json_need_array(statement, "subject", "statement", &list, err) < 0 ||
        json_put_str(digest, "sha256", hex, err) < 0 || json_put_str(one, "name", name, err) < 0)
        return error_wrap(err, "statement");
    json_t *moved = digest;
    digest = NULL;
    if (json_put(one, "digest", moved, err) < 0) return error_wrap(err, "statement");
    moved = one;
    one = NULL;
    if (json_push(list, moved, err) < 0) return error_wrap(err, "statement");
    return 0;
}

int statement_check(const json_t *statement, struct error *err) {
    const char *type, *predicate_type;
    json_t *subjects, *predicate;
    if (json_need_str(statement, "_type", "statement", &type, err) < 0 ||
        json_need_str(statement, "predicateType", "statement", &predicate_type, err) < 0 ||
        json_need_array(statement, "subject", "statement", &subjects, err) < 0 ||
        json_need_object(statement, "predicate", "statement", &predicate, err) < 0)
        return -(int)err->code;
    if (strcmp(type, STATEMENT_TYPE) != 0)
        return error_set(err, ERR_JSON, "statement: \"_type\" is not %s", STATEMENT_TYPE);
    if (json_array_size(subjects) == 0) return error_set(err, ERR_JSON, "statement: there is no subject");
    size_t i;
    json_t *one;
    json_array_foreach(subjects, i, one) {
        const json_t *digest = json_object_get(one, "digest");
        if (!json_is_object(digest) || json_object_size(digest) == 0)
            return error_set(err, ERR_JSON, "statement: subject %zu has no digest", i);
    }
    return 0;
}

const char *statement_type(const json_t *statement) {
    return json_string_value(json_object_get(statement, "predicateType"));
}

json_t *statement_predicate(const json_t *statement) {
    return json_object_get(statement, "predicate");
}

int statement_subject(const json_t *statement, size_t i, const char **ret_name, struct digest *ret, struct error *err) {
    const json_t *one = json_array_get(json_object_get(statement, "subject"), i);
    const char *hex = json_string_value(json_object_get(json_object_get(one, "digest"), "sha256"));
    struct digest d;
    if (!hex || !hex_decode(hex, strlen(hex), d.b, DIGEST_BYTES))
        return error_set(err, ERR_JSON, "statement: subject %zu has no SHA-256", i);
    *ret_name = json_string_value(json_object_get(one, "name"));
    *ret = d;
    return 0;
}
