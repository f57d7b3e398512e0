/* JSON by jansson, with our limits: documents of at most 1 MiB unless said, depth 64, duplicate keys refused. */
#ifndef PK_BASE_JSON_H
#define PK_BASE_JSON_H

#include "base/bytes.h"
#include "base/error.h"
#include <jansson.h>

#define JSON_MAX_BYTES (1u << 20)

/* Parse; *ret is owned by the caller (json_decref). ERR_JSON names line, column and cause, prefixed by `what`. */
int json_parse(struct bytes in, size_t max_bytes, const char *what, json_t **ret, struct error *err) PK_CHECK;
/* Compact, keys sorted, ASCII-safe, no newline at the end. */
int json_write(const json_t *j, struct buf *out, struct error *err) PK_CHECK;
/* The same for people: two spaces, keys in the order they were set. */
int json_write_pretty(const json_t *j, struct buf *out, struct error *err) PK_CHECK;
/* Setters that own `value` in every case and report memory failure. */
int json_put(json_t *object, const char *key, json_t *value, struct error *err) PK_CHECK;
int json_put_str(json_t *object, const char *key, const char *value, struct error *err) PK_CHECK;
int json_put_int(json_t *object, const char *key, int64_t value, struct error *err) PK_CHECK;
int json_push(json_t *array, json_t *value, struct error *err) PK_CHECK;
/* Getters that refuse the wrong type: ERR_JSON naming `what` and the key. Strings are borrowed from the document. */
int json_need_str(const json_t *o, const char *key, const char *what, const char **ret, struct error *err) PK_CHECK;
int json_need_int(const json_t *o, const char *key, const char *what, int64_t *ret, struct error *err) PK_CHECK;
int json_need_object(const json_t *o, const char *key, const char *what, json_t **ret, struct error *err) PK_CHECK;
int json_need_array(const json_t *o, const char *key, const char *what, json_t **ret, struct error *err) PK_CHECK;
/* The text of a key, borrowed; `otherwise` when there is none. */
const char *json_text(const json_t *o, const char *key, const char *otherwise);
/* A deep copy, or NULL when there was no memory for all of it: jansson's own leaves out what it could not copy. */
json_t *json_copy_whole(const json_t *in);
/* Names that may not be UTF-8 (paths): valid UTF-8 without '%' and control characters stays; everything else as %XX. */
json_t *json_name(struct bytes name);

#endif
