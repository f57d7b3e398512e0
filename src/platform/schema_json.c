#include "base/seam.h"
#include "platform/schema.h"

#include <stdio.h>

#define NAME_PATTERN "^(?!all$)[a-z0-9][a-z0-9._-]{0,62}$"
#define DURATION "([0-9]+w)?([0-9]+d)?([0-9]+h)?([0-9]+m)?([0-9]+s)?"
#define DEFS "#/$defs/"

static int put_ref(json_t *o, const struct schema *s, struct error *err) {
    char ref[80] = DEFS;
    for (const char *p = s->name; *p && strlen(ref) + 1 < sizeof(ref); p++) ref[strlen(ref)] = *p == ' ' ? '_' : *p;
    return json_put_str(o, "$ref", ref, err);
}

static int put_string(json_t *o, const char *pattern, struct error *err) {
    int rc = json_put_str(o, "type", "string", err);
    if (rc < 0 || (pattern && !pattern[0])) return rc; /* "": any text, the empty one too */
    return pattern ? json_put_str(o, "pattern", pattern, err) : json_put_int(o, "minLength", 1, err);
}

static int put_list(json_t *o, const char *pattern, bool non_empty, bool unique, struct error *err) {
    int rc = json_put_str(o, "type", "array", err);
    if (rc == 0) rc = json_put(o, "items", json_object(), err);
    if (rc == 0) rc = put_string(json_object_get(o, "items"), pattern, err);
    if (rc == 0 && non_empty) rc = json_put_int(o, "minItems", 1, err);
    if (rc == 0 && unique) rc = json_put(o, "uniqueItems", json_true(), err);
    return rc;
}

static int put_values(json_t *o, const struct field *f, struct error *err) {
    int rc = json_put(o, "enum", json_array(), err);
    for (size_t i = 0; rc == 0 && f->values[i]; i++)
        rc = json_push(json_object_get(o, "enum"), json_string(f->values[i]), err);
    return rc;
}

static int put_objects(json_t *o, const struct field *f, struct error *err) {
    bool map = f->type == FIELD_MAP;
    int rc = json_put_str(o, "type", map ? "object" : "array", err);
    if (rc == 0 && map) rc = json_put(o, "propertyNames", json_object(), err);
    if (rc == 0 && map) rc = json_put_str(json_object_get(o, "propertyNames"), "pattern", NAME_PATTERN, err);
    const char *each = map ? "additionalProperties" : "items";
    if (rc == 0) rc = json_put(o, each, json_object(), err);
    if (rc == 0) rc = put_ref(json_object_get(o, each), f->object, err);
    if (rc == 0 && f->flags & FIELD_NON_EMPTY) rc = json_put_int(o, map ? "minProperties" : "minItems", 1, err);
    return rc;
}

static int put_type(json_t *o, const struct field *f, struct error *err) {
    bool some = f->flags & FIELD_NON_EMPTY;
    int rc;
    switch (f->type) {
    case FIELD_NAME:
    case FIELD_REF:
        return put_string(o, NAME_PATTERN, err);
    case FIELD_PATH:
        return put_string(o, "^/", err);
    case FIELD_URL:
        return put_string(o, "^((file://)?/[^{}?#]*|s3://[a-z0-9][^{}#]*)$", err);
    case FIELD_BOOL:
        return json_put_str(o, "type", "boolean", err);
    case FIELD_INT:
        rc = json_put_str(o, "type", "integer", err);
        if (rc == 0) rc = json_put_int(o, "minimum", f->min, err);
        return rc < 0 ? rc : json_put_int(o, "maximum", f->max, err);
    case FIELD_DURATION:
        return put_string(o, f->flags & FIELD_NONE_OK ? "^(none|(?=[0-9])" DURATION ")$" : "^(?=[0-9])" DURATION "$",
                          err);
    case FIELD_SIZE:
        return put_string(o, "^[0-9]", err);
    case FIELD_ENUM:
        return put_values(o, f, err);
    case FIELD_STRINGS:
        return put_list(o, NULL, some, false, err);
    case FIELD_PATHS:
        return put_list(o, "^/", some, false, err);
    case FIELD_COMMAND:
        return put_list(o, "", true, false, err);
    case FIELD_REFS:
        return put_list(o, NAME_PATTERN, some, true, err);
    case FIELD_OBJECT:
        return put_ref(o, f->object, err);
    case FIELD_LIST:
    case FIELD_MAP:
        return put_objects(o, f, err);
    default:
        return put_string(o, NULL, err);
    }
}

static int put_field(json_t *properties, const struct field *f, struct error *err) {
    char doc[600];
    snprintf(doc, sizeof(doc), "%s%s%s%s", f->doc, f->fallback ? " When unset: " : "", f->fallback ? f->fallback : "",
             f->fallback ? "." : "");
    int rc = json_put(properties, f->name, json_object(), err);
    if (rc < 0) return rc;
    json_t *o = json_object_get(properties, f->name);
    rc = json_put_str(o, "description", doc, err);
    return rc < 0 ? rc : put_type(o, f, err);
}

/* {"required": […]} of the fields that `flag` marks, those of one kind only (NULL: of all kinds). */
static int put_required(json_t *o, const struct schema *s, const char *kind, struct error *err) {
    for (size_t i = 0; i < s->field_count; i++) {
        const struct field *f = &s->fields[i];
        if (!(f->flags & FIELD_REQUIRED) || (f->only != kind && (!f->only || !kind || strcmp(f->only, kind) != 0)))
            continue;
        int rc = 0;
        if (!json_object_get(o, "required")) rc = json_put(o, "required", json_array(), err);
        if (rc == 0) rc = json_push(json_object_get(o, "required"), json_string(f->name), err);
        if (rc < 0) return rc;
    }
    return 0;
}

static int put_one_of(json_t *o, const struct schema *s, struct error *err) {
    for (size_t i = 0; i < s->field_count; i++) {
        if (!(s->fields[i].flags & FIELD_ONE_OF)) continue;
        int rc = 0;
        if (!json_object_get(o, "oneOf")) rc = json_put(o, "oneOf", json_array(), err);
        if (rc == 0)
            rc = json_push(json_object_get(o, "oneOf"), json_pack("{s[s]}", "required", s->fields[i].name), err);
        if (rc < 0) return rc;
    }
    return 0;
}

/* For each kind: what it requires, and that it has no key of another kind. */
static int put_kinds(json_t *o, const struct schema *s, struct error *err) {
    const struct field *kinds = schema_find(s, s->kind);
    int rc = json_put(o, "allOf", json_array(), err);
    for (size_t k = 0; rc == 0 && kinds->values[k]; k++) {
        rc = json_push(json_object_get(o, "allOf"),
                       json_pack("{s{s{s{ss}}s[s]}s{s{}}}", "if", "properties", s->kind, "const", kinds->values[k],
                                 "required", s->kind, "then", "properties"),
                       err);
        if (rc < 0) return rc;
        json_t *then = json_object_get(json_array_get(json_object_get(o, "allOf"), k), "then");
        rc = put_required(then, s, kinds->values[k], err);
        for (size_t i = 0; rc == 0 && i < s->field_count; i++)
            if (s->fields[i].only && strcmp(s->fields[i].only, kinds->values[k]) != 0)
                rc = json_put(json_object_get(then, "properties"), s->fields[i].name, json_false(), err);
    }
    return rc;
}

static int put_schema(json_t *o, const struct schema *s, struct error *err) {
    int rc = json_put_str(o, "description", s->doc, err);
    if (rc == 0) rc = json_put_str(o, "type", "object", err);
    if (rc == 0) rc = json_put(o, "additionalProperties", json_false(), err);
    if (rc == 0) rc = put_required(o, s, NULL, err);
    if (rc == 0) rc = put_one_of(o, s, err);
    if (rc == 0 && s->field_count) rc = json_put(o, "properties", json_object(), err);
    for (size_t i = 0; rc == 0 && i < s->field_count; i++)
        rc = put_field(json_object_get(o, "properties"), &s->fields[i], err);
    if (rc == 0 && s->kind) rc = put_kinds(o, s, err);
    return rc;
}

/* Each schema below s once, by its name. */
static int put_defs(json_t *defs, const struct schema *s, struct error *err) {
    for (size_t i = 0; i < s->field_count; i++) {
        const struct schema *inner = s->fields[i].object;
        if (!inner) continue;
        CLEANUP(buf_free) struct buf key = BUF_INIT(200);
        int rc = buf_append_str(&key, inner->name, err);
        if (rc == 0) rc = buf_terminate(&key, err);
        if (rc < 0) return rc;
        for (size_t j = 0; j < key.len; j++)
            if (key.ptr[j] == ' ') key.ptr[j] = '_';
        if (json_object_get(defs, (const char *)key.ptr)) continue;
        rc = json_put(defs, (const char *)key.ptr, json_object(), err);
        if (rc == 0) rc = put_schema(json_object_get(defs, (const char *)key.ptr), inner, err);
        if (rc == 0) rc = put_defs(defs, inner, err);
        if (rc < 0) return rc;
    }
    return 0;
}

int schema_write_json(struct buf *out, struct error *err) {
    json_auto_t *o = json_object();
    if (!o) return error_set(err, ERR_NO_MEMORY, "no memory for the JSON Schema");
    int rc = json_put_str(o, "$schema", "https://json-schema.org/draft/2020-12/schema", err);
    if (rc == 0) rc = json_put_str(o, "$id", "urn:proofkeep:configuration:1", err);
    if (rc == 0) rc = json_put_str(o, "title", "proofkeep.yaml", err);
    if (rc == 0) rc = put_schema(o, &schema_root, err);
    if (rc == 0) rc = json_put(o, "$defs", json_object(), err);
    if (rc == 0) rc = put_defs(json_object_get(o, "$defs"), &schema_root, err);
    if (rc == 0) rc = json_write_pretty(o, out, err);
    return rc < 0 ? rc : buf_append_str(out, "\n", err);
}
