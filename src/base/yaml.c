#include "base/yaml.h"
#include "base/seam.h"
#include <stdlib.h>
#include <yaml.h>

#define YAML_MAX_BYTES (1u << 20)
#define YAML_MAX_DEPTH 32
#define BLOCK_BYTES 32768

/* Nodes and texts live in blocks that are freed together. */
struct block {
    struct block *next;
    size_t used, cap;
    _Alignas(16) uint8_t data[];
};

struct yaml_doc {
    struct block *blocks;
    char *name;
    struct yaml_node *root;
};

/* A collection that is being read. */
struct frame {
    struct yaml_node *node;
    struct yaml_node **items;
    size_t cap;
    const char *key; /* read, its value not yet */
    uint32_t key_line, key_column;
};

struct reader {
    struct yaml_doc *doc;
    struct error *err;
    yaml_parser_t parser;
    struct frame frames[YAML_MAX_DEPTH];
    size_t depth;
};

__attribute__((format(printf, 4, 5))) static int refuse(struct reader *r, enum error_code code, yaml_mark_t at,
                                                        const char *fmt, ...) {
    char text[512];
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(text, sizeof text, fmt, ap);
    va_end(ap);
    return error_set(r->err, code, "%s:%zu:%zu: %s", r->doc->name, at.line + 1, at.column + 1, text);
}

static void *doc_alloc(struct reader *r, size_t n) {
    struct yaml_doc *d = r->doc;
    n = (n + 15) & ~(size_t)15;
    if (!d->blocks || d->blocks->cap - d->blocks->used < n) {
        size_t cap = n > BLOCK_BYTES ? n : BLOCK_BYTES;
        void *p = NULL;
        if (mem_alloc(sizeof(struct block) + cap, &p, r->err)) {
            error_wrap(r->err, "read %s", d->name);
            return NULL;
        }
        struct block *b = p;
        b->cap = cap;
        b->next = d->blocks;
        d->blocks = b;
    }
    void *p = d->blocks->data + d->blocks->used;
    d->blocks->used += n;
    return p;
}

static int order_by_key(const void *a, const void *b) {
    const struct yaml_node *x = *(struct yaml_node *const *)a, *y = *(struct yaml_node *const *)b;
    int c = strcmp(x->key, y->key);
    if (c) return c;
    if (x->key_line != y->key_line) return x->key_line < y->key_line ? -1 : 1;
    return x->key_column < y->key_column ? -1 : x->key_column > y->key_column;
}

/* Sorting finds duplicates in a hostile mapping of 250,000 keys as fast as in a decent one. */
static int duplicates_refuse(struct reader *r, const struct frame *f) {
    size_t n = f->node->item_count;
    if (n < 2) return 0;
    void *p = NULL;
    int rc = mem_dup(f->items, n * sizeof f->items[0], &p, r->err);
    if (rc) return rc;
    struct yaml_node **sorted = p;
    qsort(sorted, n, sizeof sorted[0], order_by_key);
    const struct yaml_node *first = NULL, *again = NULL;
    for (size_t i = 1; i < n; i++) {
        struct yaml_node *x = sorted[i];
        if (strcmp(sorted[i - 1]->key, x->key)) continue;
        if (again &&
            (x->key_line > again->key_line || (x->key_line == again->key_line && x->key_column > again->key_column)))
            continue;
        first = sorted[i - 1];
        again = x;
    }
    seam_free(sorted);
    if (!again) return 0;
    yaml_mark_t at = {.line = again->key_line - 1, .column = again->key_column - 1};
    return refuse(r, ERR_CONFIG_KEY, at, "duplicate key '%.100s', first seen on line %u", again->key, first->key_line);
}

static char *text_copy(struct reader *r, const yaml_event_t *e) {
    size_t n = e->data.scalar.length;
    if (memchr(e->data.scalar.value, 0, n)) {
        refuse(r, ERR_CONFIG_SYNTAX, e->start_mark, "a text contains a NUL byte");
        return NULL;
    }
    char *s = doc_alloc(r, n + 1);
    if (s) memcpy(s, e->data.scalar.value, n);
    return s;
}

/* Puts a node where it belongs: under the pending key, at the end of the sequence, or at the root. */
static int node_place(struct reader *r, struct yaml_node *n) {
    if (r->depth == 0) {
        r->doc->root = n;
        return 0;
    }
    struct frame *f = &r->frames[r->depth - 1];
    void *items = f->items;
    int rc = mem_grow(&items, &f->cap, f->node->item_count + 1, sizeof f->items[0], r->err);
    f->items = items;
    if (rc) return rc;
    if (f->node->kind == YAML_NODE_MAPPING) {
        n->key = f->key;
        n->key_line = f->key_line;
        n->key_column = f->key_column;
        f->key = NULL;
    }
    f->items[f->node->item_count++] = n;
    return 0;
}

static bool key_due(const struct reader *r) {
    return r->depth > 0 && r->frames[r->depth - 1].node->kind == YAML_NODE_MAPPING && !r->frames[r->depth - 1].key;
}

static struct yaml_node *node_new(struct reader *r, enum yaml_kind kind, const yaml_event_t *e) {
    struct yaml_node *n = doc_alloc(r, sizeof *n);
    if (!n) return NULL;
    n->kind = kind;
    n->line = (uint32_t)e->start_mark.line + 1;
    n->column = (uint32_t)e->start_mark.column + 1;
    return n;
}

static int scalar_read(struct reader *r, const yaml_event_t *e) {
    if (e->data.scalar.anchor) return refuse(r, ERR_CONFIG_SYNTAX, e->start_mark, "anchors are not allowed");
    if (e->data.scalar.tag) return refuse(r, ERR_CONFIG_SYNTAX, e->start_mark, "tags are not allowed");
    if (key_due(r) && e->data.scalar.length == 0) return refuse(r, ERR_CONFIG_SYNTAX, e->start_mark, "a key is empty");
    char *text = text_copy(r, e);
    if (!text) return -(int)r->err->code;
    if (key_due(r)) {
        struct frame *f = &r->frames[r->depth - 1];
        f->key = text;
        f->key_line = (uint32_t)e->start_mark.line + 1;
        f->key_column = (uint32_t)e->start_mark.column + 1;
        return 0;
    }
    struct yaml_node *n = node_new(r, YAML_NODE_SCALAR, e);
    if (!n) return -(int)r->err->code;
    n->text = text;
    n->quoted = e->data.scalar.style != YAML_PLAIN_SCALAR_STYLE;
    return node_place(r, n);
}

static int collection_start(struct reader *r, const yaml_event_t *e) {
    bool mapping = e->type == YAML_MAPPING_START_EVENT;
    if (mapping ? e->data.mapping_start.anchor : e->data.sequence_start.anchor)
        return refuse(r, ERR_CONFIG_SYNTAX, e->start_mark, "anchors are not allowed");
    if (mapping ? e->data.mapping_start.tag : e->data.sequence_start.tag)
        return refuse(r, ERR_CONFIG_SYNTAX, e->start_mark, "tags are not allowed");
    if (key_due(r)) return refuse(r, ERR_CONFIG_SYNTAX, e->start_mark, "a key must be a plain text");
    if (r->depth == YAML_MAX_DEPTH)
        return refuse(r, ERR_CONFIG_SYNTAX, e->start_mark, "nested deeper than %d levels", YAML_MAX_DEPTH);
    struct yaml_node *n = node_new(r, mapping ? YAML_NODE_MAPPING : YAML_NODE_SEQUENCE, e);
    if (!n) return -(int)r->err->code;
    int rc = node_place(r, n);
    if (rc == 0) r->frames[r->depth++] = (struct frame){.node = n};
    return rc;
}

static int collection_end(struct reader *r) {
    struct frame *f = &r->frames[r->depth - 1];
    if (f->node->kind == YAML_NODE_MAPPING) {
        int rc = duplicates_refuse(r, f);
        if (rc) return rc;
    }
    size_t bytes = f->node->item_count * sizeof f->items[0];
    if (bytes > 0) {
        f->node->items = doc_alloc(r, bytes);
        if (!f->node->items) return -(int)r->err->code;
        memcpy(f->node->items, f->items, bytes);
    }
    seam_free(f->items);
    r->depth--;
    return 0;
}

static int parser_refused(struct reader *r, struct bytes in) {
    yaml_parser_t *p = &r->parser;
    const char *problem = p->problem ? p->problem : "not YAML";
    if (p->error == YAML_MEMORY_ERROR) return error_set(r->err, ERR_NO_MEMORY, "read %s", r->doc->name);
    yaml_mark_t at = p->problem_mark;
    if (p->error == YAML_READER_ERROR) {
        /* The reader knows an offset only. Columns count characters, as elsewhere. */
        at = (yaml_mark_t){0};
        for (size_t i = 0; i < p->problem_offset && i < in.len; i++) {
            if (in.ptr[i] == '\n')
                at.line++, at.column = 0;
            else if ((in.ptr[i] & 0xC0) != 0x80)
                at.column++;
        }
    }
    if (p->context && p->error != YAML_READER_ERROR)
        return refuse(r, ERR_CONFIG_SYNTAX, at, "%s %s", problem, p->context);
    return refuse(r, ERR_CONFIG_SYNTAX, at, "%s", problem);
}

static int event_read(struct reader *r, const yaml_event_t *e, bool *ret_end, unsigned *documents) {
    switch (e->type) {
    case YAML_DOCUMENT_START_EVENT:
        if ((*documents)++)
            return refuse(r, ERR_CONFIG_SYNTAX, e->start_mark, "a second document starts here; one is allowed");
        if (e->data.document_start.tag_directives.start != e->data.document_start.tag_directives.end)
            return refuse(r, ERR_CONFIG_SYNTAX, e->start_mark, "tags are not allowed");
        return 0;
    case YAML_ALIAS_EVENT:
        return refuse(r, ERR_CONFIG_SYNTAX, e->start_mark, "aliases are not allowed");
    case YAML_SCALAR_EVENT:
        return scalar_read(r, e);
    case YAML_SEQUENCE_START_EVENT:
    case YAML_MAPPING_START_EVENT:
        return collection_start(r, e);
    case YAML_SEQUENCE_END_EVENT:
    case YAML_MAPPING_END_EVENT:
        return collection_end(r);
    case YAML_STREAM_END_EVENT:
        *ret_end = true;
        return 0;
    default:
        return 0;
    }
}

static int events_read(struct reader *r, struct bytes in) {
    unsigned documents = 0;
    bool end = false;
    int rc = 0;
    while (rc == 0 && !end) {
        yaml_event_t e;
        if (!yaml_parser_parse(&r->parser, &e)) return parser_refused(r, in);
        rc = event_read(r, &e, &end, &documents);
        yaml_event_delete(&e);
    }
    return rc;
}

int yaml_parse(struct bytes in, const char *name, struct yaml_doc **ret, struct error *err) {
    if (in.len > YAML_MAX_BYTES)
        return error_set(err, ERR_CONFIG_SYNTAX, "%s: %zu bytes, more than the %u allowed", name, in.len,
                         YAML_MAX_BYTES);
    /* A byte order mark says nothing here, and shifted columns would only confuse. */
    if (in.len >= 3 && !memcmp(in.ptr, "\xEF\xBB\xBF", 3)) in = BYTES_OF(in.ptr + 3, in.len - 3);
    void *d = NULL, *p = NULL;
    int rc = mem_alloc(sizeof(struct yaml_doc), &d, err);
    if (rc) return rc;
    struct yaml_doc *doc = d;
    rc = mem_strdup(name, &doc->name, err);
    if (rc == 0) rc = mem_alloc(sizeof(struct reader), &p, err);
    struct reader *r = p;
    if (rc == 0) {
        r->doc = doc;
        r->err = err;
        if (!yaml_parser_initialize(&r->parser)) {
            rc = error_set(err, ERR_NO_MEMORY, "read %s", name);
        } else {
            yaml_parser_set_encoding(&r->parser, YAML_UTF8_ENCODING);
            yaml_parser_set_input_string(&r->parser, in.len ? in.ptr : (const uint8_t *)"", in.len);
            rc = events_read(r, in);
            yaml_parser_delete(&r->parser);
        }
        while (r->depth > 0) seam_free(r->frames[--r->depth].items);
    }
    seam_free(r);
    if (rc) {
        yaml_doc_free(doc);
        return rc;
    }
    /* "---" with nothing behind it is an empty document too. */
    struct yaml_node *root = doc->root;
    if (root && root->kind == YAML_NODE_SCALAR && !root->quoted && !root->text[0]) doc->root = NULL;
    *ret = doc;
    return 0;
}

const struct yaml_node *yaml_root(const struct yaml_doc *d) {
    return d->root;
}
const char *yaml_name(const struct yaml_doc *d) {
    return d->name;
}

void yaml_doc_free(struct yaml_doc *d) {
    if (!d) return;
    while (d->blocks) {
        struct block *next = d->blocks->next;
        seam_free(d->blocks);
        d->blocks = next;
    }
    seam_free(d->name);
    seam_free(d);
}

const struct yaml_node *yaml_get(const struct yaml_node *mapping, const char *key) {
    if (mapping->kind != YAML_NODE_MAPPING) return NULL;
    for (size_t i = 0; i < mapping->item_count; i++)
        if (!strcmp(mapping->items[i]->key, key)) return mapping->items[i];
    return NULL;
}
