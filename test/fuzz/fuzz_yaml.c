/* The YAML reader: whatever the bytes, a tree that keeps its promises or an error with its place. */
#include "base/yaml.h"

#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void need(int holds) {
    if (!holds) abort();
}

static void check(const struct yaml_node *n, const struct yaml_node *parent, unsigned depth) {
    need(depth <= 32);
    need(n->line > 0 && n->column > 0);
    need((n->key != NULL) == (parent && parent->kind == YAML_NODE_MAPPING));
    if (n->kind == YAML_NODE_SCALAR) {
        need(n->text != NULL && n->item_count == 0);
        return;
    }
    for (size_t i = 0; i < n->item_count; i++) {
        check(n->items[i], n, depth + 1);
        if (n->kind == YAML_NODE_MAPPING) need(yaml_get(n, n->items[i]->key) == n->items[i]); /* no key twice */
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    struct error err = ERROR_INIT;
    struct yaml_doc *doc = NULL;
    int rc = yaml_parse(BYTES_OF(data, size), "fuzz", &doc, &err);
    if (rc < 0) {
        need(rc == -(int)err.code && err.text[0] != '\0' && doc == NULL);
        return 0;
    }
    if (yaml_root(doc)) check(yaml_root(doc), NULL, 0);
    yaml_doc_free(doc);
    return 0;
}
