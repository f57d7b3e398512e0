/* As much of JSON Schema as backup-receipt.schema.json uses. A keyword it does not know is an error, so that nothing in
 * the schema goes unchecked. */
#ifndef PK_TEST_EVIDENCE_SCHEMA_H
#define PK_TEST_EVIDENCE_SCHEMA_H

#include "base/json.h"
#include <regex.h>
#include <stdio.h>

static inline bool schema_is_type(const json_t *v, const char *type) {
    return strcmp(type, "object") == 0    ? json_is_object(v)
           : strcmp(type, "array") == 0   ? json_is_array(v)
           : strcmp(type, "string") == 0  ? json_is_string(v)
           : strcmp(type, "integer") == 0 ? json_is_integer(v)
           : strcmp(type, "boolean") == 0 ? json_is_boolean(v)
           : strcmp(type, "null") == 0    ? json_is_null(v)
                                          : false;
}

static inline bool schema_type_fits(const json_t *v, const json_t *types) {
    size_t i;
    json_t *one;
    if (json_is_string(types)) return schema_is_type(v, json_string_value(types));
    json_array_foreach(types, i, one) if (schema_is_type(v, json_string_value(one))) return true;
    return false;
}

static inline bool schema_matches(const char *pattern, const char *text) {
    regex_t re;
    if (regcomp(&re, pattern, REG_EXTENDED | REG_NOSUB) != 0) return false;
    bool good = regexec(&re, text, 0, NULL, 0) == 0;
    regfree(&re);
    return good;
}

/* False with `why` filled. */
static inline bool schema_check(const json_t *schema, const json_t *v, const char *at, char why[256]) {
    const char *key;
    json_t *rule, *one, *sub;
    size_t i;
    json_object_foreach((json_t *)(uintptr_t)schema, key, rule) {
        bool good = true;
        if (strcmp(key, "type") == 0) {
            good = schema_type_fits(v, rule);
        } else if (strcmp(key, "required") == 0) {
            json_array_foreach(rule, i, one) good = good && json_object_get(v, json_string_value(one));
        } else if (strcmp(key, "const") == 0) {
            good = json_equal(v, rule);
        } else if (strcmp(key, "enum") == 0) {
            good = false;
            json_array_foreach(rule, i, one) good = good || json_equal(v, one);
        } else if (strcmp(key, "pattern") == 0) {
            good = !json_is_string(v) || schema_matches(json_string_value(rule), json_string_value(v));
        } else if (strcmp(key, "minimum") == 0) {
            good = !json_is_integer(v) || json_integer_value(v) >= json_integer_value(rule);
        } else if (strcmp(key, "properties") == 0) {
            const char *name;
            json_object_foreach(rule, name, sub) {
                const json_t *member = json_object_get(v, name);
                if (member && !schema_check(sub, member, name, why)) return false;
            }
        } else if (strcmp(key, "items") == 0) {
            json_array_foreach(v, i, one) if (!schema_check(rule, one, at, why)) return false;
        } else if (strcmp(key, "additionalProperties") == 0) {
            good = json_is_true(rule);
        } else {
            good = key[0] == '$' || strcmp(key, "title") == 0 || strcmp(key, "description") == 0;
        }
        if (!good) {
            snprintf(why, 256, "'%s' breaks \"%s\"", at, key);
            return false;
        }
    }
    return true;
}

#endif
