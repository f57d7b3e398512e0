#include "base/seam.h"
#include "platform/config_internal.h"

int config_expand(const char *text, const char *environment, struct buf *out, struct error *err) {
    static const char mark[] = "{env}";
    const char *at;
    int rc = 0;
    while (rc == 0 && environment && (at = strstr(text, mark))) {
        rc = buf_append(out, text, (size_t)(at - text), err);
        if (rc == 0) rc = buf_append_str(out, environment, err);
        text = at + sizeof(mark) - 1;
    }
    if (rc == 0) rc = buf_append_str(out, text, err);
    return rc < 0 ? rc : buf_terminate(out, err);
}

static int text_json(const struct field *f, const char *text, const char *environment, json_t **ret,
                     struct error *err) {
    CLEANUP(buf_free) struct buf b = BUF_INIT(1 << 20);
    int rc = config_expand(text, f->flags & FIELD_ENV ? environment : NULL, &b, err);
    if (rc < 0) return rc;
    *ret = json_stringn((const char *)b.ptr, b.len);
    return *ret ? 0 : error_set(err, ERR_NO_MEMORY, "no memory for the key %s", f->name);
}

static int strings_json(const struct field *f, const struct config_strings *list, const char *environment, json_t **ret,
                        struct error *err) {
    json_auto_t *array = json_array();
    if (!array) return error_set(err, ERR_NO_MEMORY, "no memory for the key %s", f->name);
    for (size_t i = 0; i < list->count; i++) {
        json_t *item;
        bool hidden = f->flags & FIELD_WITHHELD && i > 0;
        int rc = text_json(f, hidden ? "…" : list->items[i], environment, &item, err);
        if (rc == 0) rc = json_push(array, item, err);
        if (rc < 0) return rc;
        if (hidden) break;
    }
    *ret = json_incref(array);
    return 0;
}

static int list_json(const struct field *f, const struct config_list *list, const char *environment, json_t **ret,
                     struct error *err) {
    bool map = f->type == FIELD_MAP;
    json_auto_t *all = map ? json_object() : json_array();
    if (!all) return error_set(err, ERR_NO_MEMORY, "no memory for the key %s", f->name);
    for (size_t i = 0; i < list->count; i++) {
        json_t *item;
        struct config_head head;
        memcpy(&head, list->items[i], sizeof(head));
        int rc = schema_dump(f->object, list->items[i], environment, NULL, &item, err);
        if (rc == 0) rc = map ? json_put(all, head.name, item, err) : json_push(all, item, err);
        if (rc < 0) return rc;
    }
    *ret = json_incref(all);
    return 0;
}

/* *ret is NULL for an unset field. */
static int field_json(const struct field *f, const char *at, const char *environment, json_t **ret, struct error *err) {
    *ret = NULL;
    json_t *made = NULL;
    switch (f->type) {
    case FIELD_BOOL: {
        bool v;
        memcpy(&v, at, sizeof(v));
        made = json_boolean(v);
        break;
    }
    case FIELD_INT: {
        struct config_int v;
        memcpy(&v, at, sizeof(v));
        if (!v.set) return 0;
        made = json_integer(v.value);
        break;
    }
    case FIELD_ENUM: {
        int v;
        memcpy(&v, at, sizeof(v));
        if (v == 0) return 0;
        made = json_string(schema_enum_name(f, v));
        break;
    }
    case FIELD_DURATION: {
        struct config_duration v;
        memcpy(&v, at, sizeof(v));
        if (v.state == CONFIG_UNSET) return 0;
        made = json_string(v.text);
        break;
    }
    case FIELD_SIZE: {
        struct config_size v;
        memcpy(&v, at, sizeof(v));
        if (!v.set) return 0;
        made = json_string(v.text);
        break;
    }
    case FIELD_STRINGS:
    case FIELD_PATHS:
    case FIELD_COMMAND:
    case FIELD_REFS: {
        struct config_strings v;
        memcpy(&v, at, sizeof(v));
        return v.items ? strings_json(f, &v, environment, ret, err) : 0;
    }
    case FIELD_LIST:
    case FIELD_MAP: {
        struct config_list v;
        memcpy(&v, at, sizeof(v));
        return v.items ? list_json(f, &v, environment, ret, err) : 0;
    }
    case FIELD_OBJECT: {
        const void *v;
        memcpy(&v, at, sizeof(v));
        return v ? schema_dump(f->object, v, environment, NULL, ret, err) : 0;
    }
    default: {
        const char *v;
        memcpy(&v, at, sizeof(v));
        return v ? text_json(f, v, environment, ret, err) : 0;
    }
    }
    *ret = made;
    return made ? 0 : error_set(err, ERR_NO_MEMORY, "no memory for the key %s", f->name);
}

int schema_dump(const struct schema *s, const void *object, const char *environment, const char *kind, json_t **ret,
                struct error *err) {
    json_auto_t *all = json_object();
    if (!all) return error_set(err, ERR_NO_MEMORY, "no memory for %s as JSON", s->name);
    for (size_t i = 0; i < s->field_count; i++) {
        const struct field *f = &s->fields[i];
        if (kind && (!f->only || strcmp(f->only, kind) != 0)) continue;
        json_t *value;
        int rc = field_json(f, (const char *)object + f->offset, environment, &value, err);
        if (rc == 0 && value) rc = json_put(all, f->name, value, err);
        if (rc < 0) return rc;
    }
    *ret = json_incref(all);
    return 0;
}
