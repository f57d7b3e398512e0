/* YAML by libyaml, as a tree of nodes that know where they stand. Scalars are text; their type is the reading field's
 * business. Duplicate keys, aliases, anchors, tags, several documents, depth over 32 and files over 1 MiB are refused. */
#ifndef PK_BASE_YAML_H
#define PK_BASE_YAML_H

#include "base/bytes.h"
#include "base/error.h"
#include <stdbool.h>
#include <stdint.h>

enum yaml_kind { YAML_NODE_SCALAR, YAML_NODE_SEQUENCE, YAML_NODE_MAPPING };

struct yaml_node {
    enum yaml_kind kind;
    bool quoted;             /* a scalar that was quoted */
    uint32_t line, column;   /* 1-based */
    const char *key;         /* of a mapping's member, else NULL */
    uint32_t key_line, key_column;
    const char *text;        /* scalar text, NUL-terminated; contains no NUL */
    struct yaml_node **items; /* sequence elements or mapping values, in order */
    size_t item_count;
};

struct yaml_doc;
/* `name` is used in messages as "name:line:column: …" and copied. ERR_CONFIG_SYNTAX or ERR_CONFIG_KEY (duplicate). */
int yaml_parse(struct bytes in, const char *name, struct yaml_doc **ret, struct error *err) PK_CHECK;
const struct yaml_node *yaml_root(const struct yaml_doc *d); /* borrowed until yaml_doc_free; NULL for an empty document */
const char *yaml_name(const struct yaml_doc *d);
void yaml_doc_free(struct yaml_doc *d); /* not yaml_free: libyaml exports that name, and ours would take its place */
const struct yaml_node *yaml_get(const struct yaml_node *mapping, const char *key); /* NULL when absent */

#endif
