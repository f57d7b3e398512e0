#include "surface/search/search_internal.h"

#include "base/seam.h"
#include <stdio.h>

/* Of an alias that another index may have by now only its own is taken away. */
int search_alias_add(json_t *actions, const char *index, const char *alias, const json_t *as, struct error *err) {
    json_t *add = json_copy((json_t *)as);
    int r = add ? json_put_str(add, "index", index, err) : error_set(err, ERR_NO_MEMORY, "no memory");
    if (r == 0) r = json_put_str(add, "alias", alias, err);
    if (r == 0) r = json_push(actions, json_pack("{s:O}", "add", add), err);
    json_decref(add);
    return r;
}

int search_swap_aliases(const struct search_client *c, const char *built, const char *live, const json_t *definition,
                        struct error *err) {
    const json_t *aliases = json_object_get(definition, "aliases");
    json_t *now = NULL, *actions = json_array(), *body, *value;
    const char *key;
    bool missing = false;
    if (json_object_size(aliases) == 0) {
        json_decref(actions);
        return error_set(err, ERR_USAGE,
                         "the index %s has no alias in the backup that could be swapped; use --in-place", live);
    }
    int r = actions ? search_index_get(c, live, &now, &missing, err) : error_set(err, ERR_NO_MEMORY, "no memory");
    json_object_foreach((json_t *)aliases, key, value) {
        if (r == 0 && json_object_get(json_object_get(now, "aliases"), key))
            r = json_push(actions, json_pack("{s:{s:s, s:s}}", "remove", "index", live, "alias", key), err);
        if (r == 0) r = search_alias_add(actions, built, key, value, err);
    }
    body = json_pack("{s:O}", "actions", actions);
    if (r == 0)
        r = body ? search_ask(c, "POST", "/_aliases", body, NULL, NULL, "swap aliases", err)
                 : error_set(err, ERR_NO_MEMORY, "no memory");
    json_decref(body);
    json_decref(now);
    json_decref(actions);
    return r;
}

static int block_writes(const struct search_client *c, const char *index, bool block, struct error *err) {
    CLEANUP(buf_free) struct buf path = BUF_INIT(8192);
    json_t *body = json_pack("{s:o}", "index.blocks.write", block ? json_true() : json_null());
    int r = body ? search_path(&path, "/", index, "/_settings", err) : error_set(err, ERR_NO_MEMORY, "no memory");
    if (r == 0)
        r = search_ask(c, "PUT", (const char *)path.ptr, body, NULL, NULL, "close or open an index to writes", err);
    json_decref(body);
    return r;
}

static int remove_live(const struct search_client *c, const char *live, struct error *err) {
    CLEANUP(buf_free) struct buf path = BUF_INIT(8192);
    json_t *there = NULL;
    bool missing = false;
    int r = search_path(&path, "/", live, "", err);
    if (r == 0) r = search_ask(c, "GET", (const char *)path.ptr, NULL, &there, &missing, "look at an index", err);
    if (r == 0 && !missing && !json_object_get(there, live)) /* an alias answers with what is behind it */
        r = error_set(err, ERR_SEARCH_EXISTS, "%s is an alias now, and no index that could be replaced", live);
    else if (r == 0 && !missing)
        r = search_ask(c, "DELETE", (const char *)path.ptr, NULL, NULL, NULL, "remove an index", err);
    json_decref(there);
    return r;
}

/* A clone shares the files of what it is a clone of; so there is never a moment without the documents. */
static int clone(const struct search_client *c, const char *built, const char *live, const json_t *definition,
                 struct error *err) {
    CLEANUP(buf_free) struct buf path = BUF_INIT(8192), to = BUF_INIT(8192);
    json_t *aliases = json_object_get(definition, "aliases");
    json_t *body = json_pack("{s:O*}", "aliases", aliases);
    int r = body ? search_path(&to, "/_clone/", live, "", err) : error_set(err, ERR_NO_MEMORY, "no memory");
    if (r == 0) r = search_path(&path, "/", built, (const char *)to.ptr, err);
    if (r == 0) r = search_ask(c, "PUT", (const char *)path.ptr, body, NULL, NULL, "put an index in place", err);
    json_decref(body);
    return r;
}

int search_put_in_place(const struct search_client *c, const char *built, const char *live, const json_t *definition,
                        struct error *err) {
    int r = block_writes(c, built, true, err);
    if (r == 0) r = remove_live(c, live, err);
    if (r < 0) return error_state(err, "what is live was not changed; %s has the restored documents", built);
    r = clone(c, built, live, definition, err);
    if (r == 0) r = search_wait_healthy(c, live, err);
    /* Not with the clone: there, what is unset would be told as set to nothing for ever. */
    if (r == 0) r = block_writes(c, live, false, err);
    return r < 0 ? error_state(err,
                               "%s was removed; %s has the restored documents, and the same command goes on from there",
                               live, built)
                 : 0;
}
