/* Which trees a surface of kind `files` consists of: its settings, read and checked. */
#ifndef PK_SURFACE_FILES_TREE_H
#define PK_SURFACE_FILES_TREE_H

#include "base/bytes.h"
#include "base/json.h"

struct tree_root {
    char *name; /* item name: the path without its leading '/'; empty for "/" */
    char *path; /* where it lies on disk; differs from the name when a restored copy is measured */
};
struct tree {
    struct tree_root *roots; /* in name order; none lies beneath another */
    size_t n_roots;
    struct tree_root *nested; /* named, but beneath a root: they only matter to exclude and one_file_system */
    size_t n_nested;
    char **exclude;
    size_t n_exclude;
    bool one_file_system;
};

/* Settings are {"paths": ["/abs", …], "exclude": ["glob", …], "one_file_system": bool}; only paths is needed. Paths are
 * absolute, without ".."; doubled and trailing slashes go. ERR_CONFIG_VALUE says what is wrong. Free with tree_free. */
int tree_read_settings(const json_t *settings, struct tree *ret, struct error *err) PK_CHECK;
/* The trees of a restored copy: `roots` as capture's facts name them, on disk below `base` as restore lays them out. */
int tree_of_copy(const json_t *facts, const char *base, struct tree *ret, struct error *err) PK_CHECK;
void tree_free(struct tree *t); /* safe on zeroed; leaves it empty */

/* Whether a pattern leaves the item out. A pattern that starts with '/' is matched against the absolute path; one with
 * a '/' further on against the path below its root; others against the last component. One that ends in '/' means
 * folders only. What lies in an excluded folder is never reached. */
bool tree_excludes(const struct tree *t, const struct tree_root *root, struct bytes name, bool folder);

/* How an item stands to the roots that are named beneath it. */
enum tree_way { WAY_NONE, WAY_IS_ROOT, WAY_TO_ROOT };
enum tree_way tree_way_of(const struct tree *t, struct bytes name);

/* The one root of the facts, when there is only one and it is a folder: then the target of a restore *is* that root.
 * NULL else. */
const char *tree_single_root(const json_t *facts);
/* facts.roots as captured, an array of {"path", "type"}. ERR_JSON when it is not there. */
int tree_facts_roots(const json_t *facts, json_t **ret, struct error *err) PK_CHECK; /* borrowed */

/* Whether `name` lies beneath `folder` (and is not it). Everything lies beneath the empty name. */
bool name_beneath(struct bytes name, struct bytes folder);
/* A name for messages: at most 200 bytes of it, what is not plain text as %XX. */
#define NAME_TEXT_BYTES 640
const char *name_text(struct bytes name, char out[NAME_TEXT_BYTES]);

#endif
