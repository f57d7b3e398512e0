#include "base/seam.h"
#include "base/time.h"
#include "platform/config_internal.h"
#include "store/store.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>

#define PATH_TEXT 320 /* "environments.prod.policy.surface.postgres.retention.keep" and the like */
#define TEXT_BYTES_MAX 4096
#define STATEMENT_BYTES_MAX 65536
#define SUGGEST_MAX 64
#define ELEMENTS_MAX 4096 /* of one list or mapping; names are looked up one by one */

int config_refuse(const struct config_reader *r, enum error_code code, uint32_t line, uint32_t column,
                  struct error *err, const char *fmt, ...) {
    char what[900];
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(what, sizeof(what), fmt, ap);
    va_end(ap);
    return error_set(err, code, "%s:%u:%u: %s", r->file, (unsigned)line, (unsigned)column, what);
}

/* " (did you mean 'x'?)", or nothing. */
static void hint(char *out, size_t size, const char *word, const char *const *candidates, size_t n) {
    const char *best = schema_suggest(word, candidates, n);
    out[0] = '\0';
    if (best) snprintf(out, size, " (did you mean '%s'?)", best);
}

#define REFUSE_VALUE(r, n, err, ...) config_refuse(r, ERR_CONFIG_VALUE, (n)->line, (n)->column, err, __VA_ARGS__)

/* A path and the dot after it, unless it is the top's: for "%s%s%s". */
#define DOT(path) (path), (path)[0] ? "." : ""

/* Scalars are shown in messages by at most 60 bytes, and not at all where a secret or a URL's password might stand. */
#define SHOWN "%.60s"

static int read_scalar(struct config_reader *r, const struct field *f, const struct yaml_node *n, const char *path,
                       const char *wants, struct error *err) {
    if (n->kind != YAML_NODE_SCALAR)
        return REFUSE_VALUE(r, n, err, "%s%s%s wants %s, not a %s", DOT(path), f->name, wants,
                            n->kind == YAML_NODE_MAPPING ? "mapping" : "list");
    if (n->text[0] == '\0' && !(n->quoted && f->type == FIELD_COMMAND))
        return REFUSE_VALUE(r, n, err, "%s%s%s has no value; it wants %s", DOT(path), f->name, wants);
    return 0;
}

static bool text_ok(const char *s, bool many_lines) {
    size_t n = 0;
    for (; s[n]; n++) {
        unsigned char c = (unsigned char)s[n];
        if (c == 0x7f || (c < 0x20 && !(many_lines && (c == '\n' || c == '\t')))) return false;
    }
    return n <= (many_lines ? STATEMENT_BYTES_MAX : TEXT_BYTES_MAX);
}

static int read_text(struct config_reader *r, const struct field *f, const struct yaml_node *n, const char *path,
                     const char **ret, struct error *err) {
    static const char *const wants[FIELD_TYPE_COUNT] = {
        [FIELD_STRING] = "text",  [FIELD_TEXT] = "text",   [FIELD_NAME] = "a name",  [FIELD_PATH] = "a path",
        [FIELD_URL] = "a URL",    [FIELD_REF] = "a name",  [FIELD_STRINGS] = "text", [FIELD_PATHS] = "a path",
        [FIELD_COMMAND] = "text", [FIELD_REFS] = "a name",
    };
    int rc = read_scalar(r, f, n, path, wants[f->type], err);
    if (rc < 0) return rc;
    if (!text_ok(n->text, f->type == FIELD_TEXT || f->type == FIELD_COMMAND))
        return REFUSE_VALUE(r, n, err, "%s%s%s has control characters or is too long", DOT(path), f->name);
    switch (f->type) {
    case FIELD_NAME:
        if (!schema_name_ok(n->text))
            return REFUSE_VALUE(r, n, err,
                                "%s%s%s: '" SHOWN
                                "' is no name; names are up to 63 of a-z 0-9 . _ -, begin with a letter "
                                "or digit, and are not 'all'",
                                DOT(path), f->name, n->text);
        break;
    case FIELD_PATH:
    case FIELD_PATHS:
        if (n->text[0] != '/')
            return REFUSE_VALUE(r, n, err, "%s%s%s wants an absolute path, one that begins with '/'", DOT(path),
                                f->name);
        break;
    case FIELD_URL:
        if (strncmp(n->text, "s3://", 5) == 0) {
            struct error e = ERROR_INIT;
            if (store_url_check(n->text, &e) == 0) break;
            return REFUSE_VALUE(r, n, err, "%s%s%s: %s", DOT(path), f->name, e.text);
        }
        if (n->text[0] != '/' && strncmp(n->text, "file:///", 8) != 0)
            return REFUSE_VALUE(r, n, err,
                                "%s%s%s: '%.*s' is not a kind of place that this version knows; it wants "
                                "file:///absolute/path, an absolute path or s3://bucket/prefix",
                                DOT(path), f->name, (int)strcspn(n->text, ":/") % 16, n->text);
        if (strpbrk(n->text, "{}?#"))
            return REFUSE_VALUE(r, n, err, "%s%s%s may not contain any of { } ? #", DOT(path), f->name);
        break;
    default:
        break;
    }
    return config_copy(r->config, n->text, ret, err);
}

static int mention(struct config_reader *r, const struct yaml_node *n, bool key, const char *map, const char *name,
                   struct error *err) {
    void *p = r->mentions;
    int rc = mem_grow(&p, &r->mention_cap, r->mention_count + 1, sizeof(*r->mentions), err);
    if (rc < 0) return rc;
    r->mentions = p;
    r->mentions[r->mention_count++] =
        (struct config_mention){r->file, key ? n->key_line : n->line, key ? n->key_column : n->column, map, name};
    return 0;
}

static int read_bool(struct config_reader *r, const struct field *f, const struct yaml_node *n, const char *path,
                     bool *ret, struct error *err) {
    int rc = read_scalar(r, f, n, path, "true or false", err);
    if (rc < 0) return rc;
    bool yes = strcmp(n->text, "true") == 0;
    if (n->quoted || (!yes && strcmp(n->text, "false") != 0))
        return REFUSE_VALUE(r, n, err, "%s%s%s wants true or false%s, not '" SHOWN "'", DOT(path), f->name,
                            n->quoted ? " without quotes" : "", n->text);
    *ret = yes;
    return 0;
}

static int read_int(struct config_reader *r, const struct field *f, const struct yaml_node *n, const char *path,
                    struct config_int *ret, struct error *err) {
    char wants[80];
    if (f->min == f->max)
        snprintf(wants, sizeof(wants), "%lld", (long long)f->min);
    else
        snprintf(wants, sizeof(wants), "a whole number from %lld to %lld", (long long)f->min, (long long)f->max);
    int rc = read_scalar(r, f, n, path, wants, err);
    if (rc < 0) return rc;
    size_t digits = strspn(n->text, "0123456789");
    bool form = !n->quoted && digits > 0 && n->text[digits] == '\0' && (digits == 1 || n->text[0] != '0');
    errno = 0;
    long long v = form ? strtoll(n->text, NULL, 10) : 0;
    if (!form || errno != 0 || v < f->min || v > f->max)
        return REFUSE_VALUE(r, n, err, "%s%s%s wants %s%s, not '" SHOWN "'", DOT(path), f->name, wants,
                            n->quoted ? " without quotes" : "", n->text);
    *ret = (struct config_int){true, v};
    return 0;
}

static int read_duration(struct config_reader *r, const struct field *f, const struct yaml_node *n, const char *path,
                         struct config_duration *ret, struct error *err) {
    const char *wants =
        f->flags & FIELD_NONE_OK ? "a duration such as 5m, 24h or 30d, or none" : "a duration such as 5m, 24h or 30d";
    int rc = read_scalar(r, f, n, path, wants, err);
    if (rc < 0) return rc;
    struct config_duration d = {CONFIG_SET, 0, NULL};
    if (f->flags & FIELD_NONE_OK && strcmp(n->text, "none") == 0)
        d.state = CONFIG_NONE;
    else if (!duration_parse(n->text, &d.ns) || d.ns <= 0)
        return REFUSE_VALUE(r, n, err, "%s%s%s wants %s, not '" SHOWN "'", DOT(path), f->name, wants, n->text);
    rc = config_copy(r->config, n->text, &d.text, err);
    if (rc == 0) *ret = d;
    return rc;
}

static int read_size(struct config_reader *r, const struct field *f, const struct yaml_node *n, const char *path,
                     struct config_size *ret, struct error *err) {
    static const char wants[] = "a size such as 64MiB";
    int rc = read_scalar(r, f, n, path, wants, err);
    if (rc < 0) return rc;
    struct config_size s = {true, 0, NULL};
    if (!size_parse(n->text, &s.bytes))
        return REFUSE_VALUE(r, n, err, "%s%s%s wants %s, not '" SHOWN "'", DOT(path), f->name, wants, n->text);
    rc = config_copy(r->config, n->text, &s.text, err);
    if (rc == 0) *ret = s;
    return rc;
}

static int read_enum(struct config_reader *r, const struct field *f, const struct yaml_node *n, const char *path,
                     int *ret, struct error *err) {
    char all[256] = "", did[100];
    size_t count = 0;
    for (; f->values[count]; count++)
        snprintf(all + strlen(all), sizeof(all) - strlen(all), "%s%s", count ? ", " : "", f->values[count]);
    char wants[300];
    snprintf(wants, sizeof(wants), "one of %s", all);
    int rc = read_scalar(r, f, n, path, wants, err);
    if (rc < 0) return rc;
    for (size_t i = 0; i < count; i++)
        if (strcmp(f->values[i], n->text) == 0) {
            *ret = (int)i + 1;
            return 0;
        }
    hint(did, sizeof(did), n->text, f->values, count);
    return REFUSE_VALUE(r, n, err, "%s%s%s: '" SHOWN "' is not known to this version; it wants %s%s", DOT(path),
                        f->name, n->text, wants, did);
}

static int read_strings(struct config_reader *r, const struct field *f, const struct yaml_node *n, const char *path,
                        struct config_strings *ret, struct error *err) {
    if (n->kind != YAML_NODE_SEQUENCE)
        return REFUSE_VALUE(r, n, err, "%s%s%s wants a list, [like, this]", DOT(path), f->name);
    if (n->item_count == 0 && (f->flags & FIELD_NON_EMPTY || f->type == FIELD_COMMAND))
        return REFUSE_VALUE(r, n, err, "%s%s%s is empty; it wants at least one element", DOT(path), f->name);
    if (n->item_count > ELEMENTS_MAX)
        return REFUSE_VALUE(r, n, err, "%s%s%s has more than %d elements", DOT(path), f->name, ELEMENTS_MAX);
    void *p;
    int rc = config_alloc(r->config, (n->item_count + 1) * sizeof(char *), &p, err);
    if (rc < 0) return rc;
    struct config_strings list = {p, 0};
    for (size_t i = 0; i < n->item_count; i++) {
        const struct yaml_node *item = n->items[i];
        rc = read_text(r, f, item, path, &list.items[i], err);
        if (rc < 0) return rc;
        if (f->type == FIELD_REFS) {
            for (size_t j = 0; j < i; j++)
                if (strcmp(list.items[j], list.items[i]) == 0)
                    return REFUSE_VALUE(r, item, err, "%s%s%s names '%s' twice", DOT(path), f->name, item->text);
            rc = mention(r, item, false, f->refers, list.items[i], err);
            if (rc < 0) return rc;
        }
        list.count++;
    }
    *ret = list;
    return 0;
}

static int new_object(struct config_reader *r, const struct schema *s, const struct yaml_node *n, void **ret,
                      struct error *err) {
    int rc = config_alloc(r->config, s->bytes, ret, err);
    if (rc < 0) return rc;
    struct config_head head = {NULL, r->file, n->line, n->column};
    memcpy(*ret, &head, sizeof(head));
    return 0;
}

static int read_object_new(struct config_reader *r, const struct field *f, const struct yaml_node *n, const char *path,
                           void **ret, struct error *err) {
    int rc = new_object(r, f->object, n, ret, err);
    return rc < 0 ? rc : config_read_object(r, f->object, n, path, *ret, err);
}

/* Sequences of objects, and mappings of named ones, which are joined to what earlier files gave. */
static int read_list(struct config_reader *r, const struct field *f, const struct yaml_node *n, const char *path,
                     struct config_list *list, struct error *err) {
    bool map = f->type == FIELD_MAP;
    if (n->kind != (map ? YAML_NODE_MAPPING : YAML_NODE_SEQUENCE))
        return REFUSE_VALUE(r, n, err, "%s%s%s wants a %s", DOT(path), f->name,
                            map ? "mapping of names ({} for none)" : "list of mappings");
    if (n->item_count == 0 && f->flags & FIELD_NON_EMPTY)
        return REFUSE_VALUE(r, n, err, "%s%s%s is empty; it wants at least one entry", DOT(path), f->name);
    if (n->item_count > ELEMENTS_MAX)
        return REFUSE_VALUE(r, n, err, "%s%s%s has more than %d entries", DOT(path), f->name, ELEMENTS_MAX);
    void *p;
    int rc = config_alloc(r->config, (list->count + n->item_count) * sizeof(void *), &p, err);
    if (rc < 0) return rc;
    if (list->count) memcpy(p, list->items, list->count * sizeof(void *));
    struct config_list joined = {p, list->count};
    for (size_t i = 0; i < n->item_count; i++) {
        const struct yaml_node *item = n->items[i];
        char inner[PATH_TEXT];
        if (map)
            snprintf(inner, sizeof(inner), "%s%s%s.%.63s", DOT(path), f->name, item->key);
        else
            snprintf(inner, sizeof(inner), "%s%s%s[%zu]", DOT(path), f->name, i);
        const char *name = NULL;
        if (map) {
            if (!schema_name_ok(item->key))
                return config_refuse(r, ERR_CONFIG_VALUE, item->key_line, item->key_column, err,
                                     "'" SHOWN
                                     "' is no name under %s%s%s; names are up to 63 of a-z 0-9 . _ -, begin with a "
                                     "letter or digit, and are not 'all'",
                                     item->key, DOT(path), f->name);
            for (size_t j = 0; j < list->count; j++) {
                struct config_head other;
                memcpy(&other, joined.items[j], sizeof(other));
                if (strcmp(other.name, item->key) == 0)
                    return config_refuse(r, ERR_CONFIG_KEY, item->key_line, item->key_column, err,
                                         "%s stands at %s:%u already; an entry stands in one file only", inner,
                                         other.file, (unsigned)other.line);
            }
            rc = config_copy(r->config, item->key, &name, err);
            if (rc == 0 && f->refers) rc = mention(r, item, true, f->refers, name, err);
            if (rc < 0) return rc;
        }
        void *object;
        rc = read_object_new(r, f, item, inner, &object, err);
        if (rc < 0) return rc;
        struct config_head head = {name, r->file, map ? item->key_line : item->line,
                                   map ? item->key_column : item->column};
        memcpy(object, &head, sizeof(head));
        joined.items[joined.count++] = object;
    }
    *list = joined;
    return 0;
}

int config_read_value(struct config_reader *r, const struct field *f, const struct yaml_node *n, const char *path,
                      void *object, struct error *err) {
    char *at = (char *)object + f->offset;
    char inner[PATH_TEXT];
    int rc;
    switch (f->type) {
    case FIELD_BOOL:
        return read_bool(r, f, n, path, (bool *)(void *)at, err);
    case FIELD_INT:
        return read_int(r, f, n, path, (void *)at, err);
    case FIELD_DURATION:
        return read_duration(r, f, n, path, (void *)at, err);
    case FIELD_SIZE:
        return read_size(r, f, n, path, (void *)at, err);
    case FIELD_ENUM:
        return read_enum(r, f, n, path, (void *)at, err);
    case FIELD_STRINGS:
    case FIELD_PATHS:
    case FIELD_COMMAND:
    case FIELD_REFS:
        return read_strings(r, f, n, path, (void *)at, err);
    case FIELD_OBJECT: {
        void *made;
        snprintf(inner, sizeof(inner), "%s%s%s", DOT(path), f->name);
        rc = read_object_new(r, f, n, inner, &made, err);
        /* Pointers to structs of different types are copied as bytes, since they may not alias. */
        if (rc == 0) memcpy(at, &made, sizeof(made));
        return rc;
    }
    case FIELD_LIST:
    case FIELD_MAP: {
        struct config_list list;
        memcpy(&list, at, sizeof(list));
        rc = read_list(r, f, n, path, &list, err);
        if (rc == 0) memcpy(at, &list, sizeof(list));
        return rc;
    }
    default: {
        const char *text;
        rc = read_text(r, f, n, path, &text, err);
        if (rc == 0 && f->type == FIELD_REF) rc = mention(r, n, false, f->refers, text, err);
        if (rc == 0) memcpy(at, &text, sizeof(text));
        return rc;
    }
    }
}

static int refuse_unknown(const struct config_reader *r, const struct schema *s, const struct yaml_node *n,
                          const char *path, struct error *err) {
    const char *names[SUGGEST_MAX];
    char did[100];
    size_t count = 0;
    for (; count < s->field_count && count < SUGGEST_MAX; count++) names[count] = s->fields[count].name;
    hint(did, sizeof(did), n->key, names, count);
    return config_refuse(r, ERR_CONFIG_KEY, n->key_line, n->key_column, err,
                         "the key '" SHOWN "' is not known to this version of proofkeep under %s%s", n->key, path, did);
}

/* The value of the field that `only` looks at; 0 when it is not there (which the required check says). */
static int read_kind(struct config_reader *r, const struct schema *s, const struct yaml_node *n, const char *path,
                     const char **ret, struct error *err) {
    *ret = NULL;
    const struct yaml_node *node = s->kind ? yaml_get(n, s->kind) : NULL;
    if (!node) return 0;
    const struct field *f = schema_find(s, s->kind);
    int value = 0;
    int rc = read_enum(r, f, node, path, &value, err);
    if (rc == 0) *ret = schema_enum_name(f, value);
    return rc;
}

static int check_required(const struct config_reader *r, const struct schema *s, const struct yaml_node *n,
                          const char *path, const char *kind, struct error *err) {
    size_t chosen = 0, choices = 0;
    char which[160] = "";
    for (size_t i = 0; i < s->field_count; i++) {
        const struct field *f = &s->fields[i];
        bool present = yaml_get(n, f->name) != NULL;
        if (f->flags & FIELD_REQUIRED && !present && (!f->only || (kind && strcmp(f->only, kind) == 0)))
            return config_refuse(r, ERR_CONFIG_KEY, n->key ? n->key_line : n->line, n->key ? n->key_column : n->column,
                                 err, "%s lacks the key '%s'", path, f->name);
        if (f->flags & FIELD_ONE_OF) {
            snprintf(which + strlen(which), sizeof(which) - strlen(which), "%s%s", choices++ ? ", " : "", f->name);
            chosen += present;
        }
    }
    if (choices > 0 && chosen != 1)
        return config_refuse(r, ERR_CONFIG_KEY, n->key ? n->key_line : n->line, n->key ? n->key_column : n->column, err,
                             "%s wants exactly one of the keys %s, and has %zu", path, which, chosen);
    return 0;
}

int config_read_object(struct config_reader *r, const struct schema *s, const struct yaml_node *n, const char *path,
                       void *object, struct error *err) {
    if (n->kind != YAML_NODE_MAPPING) return REFUSE_VALUE(r, n, err, "%s wants a mapping ({} for an empty one)", path);
    const char *kind;
    int rc = read_kind(r, s, n, path, &kind, err);
    if (rc < 0) return rc;
    for (size_t i = 0; i < n->item_count; i++) {
        const struct yaml_node *item = n->items[i];
        const struct field *f = schema_find(s, item->key);
        if (!f) return refuse_unknown(r, s, item, path, err);
        if (f->only && kind && strcmp(f->only, kind) != 0)
            return config_refuse(r, ERR_CONFIG_KEY, item->key_line, item->key_column, err,
                                 "the key '%s' belongs to surfaces of kind %s, and %s is of kind %s", f->name, f->only,
                                 path, kind);
        rc = config_read_value(r, f, item, path, object, err);
        if (rc < 0) return rc;
    }
    return check_required(r, s, n, path, kind, err);
}

int config_read(struct config_reader *r, const struct yaml_doc *doc, struct error *err) {
    const struct yaml_node *root = yaml_root(doc);
    int rc = config_copy(r->config, yaml_name(doc), &r->file, err);
    if (rc < 0) return rc;
    if (!root) return config_refuse(r, ERR_CONFIG_KEY, 1, 1, err, "the file is empty");
    if (root->kind != YAML_NODE_MAPPING)
        return REFUSE_VALUE(r, root, err, "the file wants a mapping at its top, such as \"version: 1\"");
    assert(schema_root.field_count <= sizeof(r->seen) / sizeof(r->seen[0]));
    for (size_t i = 0; i < root->item_count; i++) {
        const struct yaml_node *item = root->items[i];
        const struct field *f = schema_find(&schema_root, item->key);
        if (!f) return refuse_unknown(r, &schema_root, item, "the top level", err);
        struct config_head *seen = &r->seen[f - schema_root.fields];
        if (seen->file && f->type != FIELD_MAP)
            return config_refuse(r, ERR_CONFIG_KEY, item->key_line, item->key_column, err,
                                 "the key '%s' stands at %s:%u already; it stands in one file only", f->name,
                                 seen->file, (unsigned)seen->line);
        *seen = (struct config_head){f->name, r->file, item->key_line, item->key_column};
        rc = config_read_value(r, f, item, "", r->config, err);
        if (rc < 0) return rc;
    }
    return 0;
}
