#include "platform/schema.h"

#define SCHEMAS_MAX 64

static const char head[] =
    "# Configuration reference\n"
    "\n"
    "<!-- Made from the schema's table by the build's schema_gen; a test keeps it true. Do not edit. -->\n"
    "\n"
    "`./proofkeep.yaml`, else `/etc/proofkeep/proofkeep.yaml`, else the file that `--config` names. Every `*.yaml` in "
    "a folder\n"
    "`conf.d` beside that file adds to it, in the order of their names: entries of `secrets`, `repositories`, "
    "`surfaces` and\n"
    "`environments` are joined, and whatever stands twice is refused.\n"
    "\n"
    "Unknown and duplicate keys, YAML's anchors, aliases and tags, and values of the wrong type are refused with file, "
    "line and\n"
    "column. A value's type is the field's, never guessed from its look. Editors can check a file against\n"
    "[proofkeep.schema.json](proofkeep.schema.json). Where a key says that it takes `{env}`, that is replaced by the\n"
    "environment's name. Names are up to 63 of `a-z 0-9 . _ -`, begin with a letter or digit, and are not `all`.\n";

static const char *type_text(const struct field *f) {
    static const char *const texts[FIELD_TYPE_COUNT] = {
        [FIELD_STRING] = "text",
        [FIELD_TEXT] = "text, of several lines if need be",
        [FIELD_NAME] = "name",
        [FIELD_PATH] = "absolute path",
        [FIELD_URL] = "URL",
        [FIELD_BOOL] = "`true` or `false`",
        [FIELD_DURATION] = "duration (`90s`, `5m`, `24h`, `30d`, `1h30m`)",
        [FIELD_SIZE] = "size (`64MiB`)",
        [FIELD_STRINGS] = "list of text",
        [FIELD_PATHS] = "list of absolute paths",
        [FIELD_COMMAND] = "list: a program and its arguments",
    };
    return texts[f->type];
}

static int write_type(struct buf *out, const struct field *f, struct error *err) {
    switch (f->type) {
    case FIELD_INT:
        if (f->min == f->max) return buf_printf(out, err, "`%lld`", (long long)f->min);
        return buf_printf(out, err, "whole number, %lld to %lld", (long long)f->min, (long long)f->max);
    case FIELD_ENUM: {
        int rc = 0;
        for (size_t i = 0; rc == 0 && f->values[i]; i++)
            rc = buf_printf(out, err, "%s`%s`", i ? ", " : "", f->values[i]);
        return rc;
    }
    case FIELD_REF:
        return buf_printf(out, err, "a name from `%s`", f->refers);
    case FIELD_REFS:
        return buf_printf(out, err, "list of names from `%s`", f->refers);
    case FIELD_OBJECT:
        return buf_printf(out, err, "%s", f->object->name);
    case FIELD_LIST:
        return buf_printf(out, err, "list of: %s", f->object->name);
    case FIELD_MAP:
        return buf_printf(out, err, "mapping of %s%s%s to: %s", f->refers ? "names from `" : "names",
                          f->refers ? f->refers : "", f->refers ? "`" : "", f->object->name);
    default:
        return buf_printf(out, err, "%s%s", type_text(f), f->flags & FIELD_NONE_OK ? ", or `none`" : "");
    }
}

static int write_field(struct buf *out, const struct field *f, struct error *err) {
    int rc = buf_printf(out, err, "- **`%s`** (", f->name);
    if (rc == 0) rc = write_type(out, f, err);
    if (rc == 0 && f->flags & FIELD_REQUIRED) rc = buf_append_str(out, "; required", err);
    if (rc == 0 && f->only) rc = buf_printf(out, err, "; kind `%s` only", f->only);
    if (rc == 0 && f->flags & FIELD_ENV) rc = buf_append_str(out, "; takes `{env}`", err);
    if (rc == 0) rc = buf_printf(out, err, "): %s", f->doc);
    if (rc == 0 && f->fallback) rc = buf_printf(out, err, " When unset: %s.", f->fallback);
    return rc < 0 ? rc : buf_append_str(out, "\n", err);
}

static int write_schema(struct buf *out, const struct schema *s, struct error *err) {
    int rc = buf_printf(out, err, "\n## %s\n\n%s\n\n", s->name, s->doc);
    for (size_t i = 0; rc == 0 && i < s->field_count; i++) rc = write_field(out, &s->fields[i], err);
    return rc;
}

/* Each schema once, outer ones before inner ones. */
static size_t collect(const struct schema *s, const struct schema **all, size_t n) {
    for (size_t i = 0; i < n; i++)
        if (all[i] == s) return n;
    if (n == SCHEMAS_MAX) return n;
    all[n++] = s;
    for (size_t i = 0; i < s->field_count; i++)
        if (s->fields[i].object) n = collect(s->fields[i].object, all, n);
    return n;
}

int schema_write_markdown(struct buf *out, struct error *err) {
    const struct schema *all[SCHEMAS_MAX];
    size_t n = collect(&schema_root, all, 0);
    int rc = buf_append_str(out, head, err);
    for (size_t i = 0; rc == 0 && i < n; i++)
        if (all[i]->field_count) rc = write_schema(out, all[i], err);
    return rc;
}
