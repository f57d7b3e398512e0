#include "surface/redis/live.h"

#include "base/seam.h"
#include <stdio.h>
#include <stdlib.h>

#define LOOKED_AT 1024u

static bool wanted(const struct restore_request *q, uint64_t database) {
    const json_t *d;
    size_t i;
    json_array_foreach(json_object_get(q->facts, "databases"), i, d) {
        if ((uint64_t)json_integer_value(d) == database) return true;
    }
    return false;
}

/* Whether it is there; and then, how many keys it has. */
static int look(struct resp *c, uint64_t database, bool *ret_there, uint64_t *ret_keys, struct error *err) {
    CLEANUP(buf_free) struct buf size = BUF_INIT(64);
    struct resp_reply h;
    char text[24];
    snprintf(text, sizeof text, "%llu", (unsigned long long)database);
    int r = resp_words(c, err, "SELECT", text, NULL);
    if (r == 0) r = resp_flush(c, err);
    if (r == 0) r = resp_next(c, &h, err);
    *ret_there = r == 0 && h.kind == RESP_STATUS;
    if (r < 0 || !*ret_there) return r;
    r = resp_ask(c, &size, err, "DBSIZE", NULL);
    if (r == 0) r = buf_terminate(&size, err);
    if (r == 0) *ret_keys = strtoull((const char *)size.ptr, NULL, 10);
    return r;
}

static int too_few(const struct resp *c, uint64_t from, struct error *err) {
    return error_set(
        err, ERR_POLICY,
        "%s has no empty database in which database %llu could be restored before it is swapped in; a cluster has "
        "only one at all. Restore into a folder, or --in-place",
        c->where, (unsigned long long)from);
}

int live_spares(struct resp *c, const struct restore_request *q, struct redis_target *map, struct error *err) {
    const json_t *d;
    size_t i;
    uint64_t next = 0, keys = 0;
    json_array_foreach(json_object_get(q->facts, "databases"), i, d) {
        uint64_t from = (uint64_t)json_integer_value(d);
        bool there = true, found = false;
        if (!redis_takes_database(q->include, from)) continue;
        if (!redis_takes_whole(q->include, from))
            return error_set(
                err, ERR_USAGE,
                "--swap puts a whole database in the place of another: a pattern of keys would lose the rest");
        if (map->n_map == sizeof map->map / sizeof *map->map) return too_few(c, from, err);
        for (; there && !found && next < LOOKED_AT; next++) {
            if (wanted(q, next)) continue;
            int r = look(c, next, &there, &keys, err);
            if (r < 0) return r;
            found = there && keys == 0;
            if (found) map->map[map->n_map].to = next;
        }
        if (!found) return too_few(c, from, err);
        map->map[map->n_map++].from = from;
    }
    return 0;
}

int live_swap(struct live *l, struct error *err) {
    struct resp_reply h;
    char a[24], b[24];
    bool refused = false;
    int r = resp_words(&l->c, err, "MULTI", NULL);
    for (size_t i = 0; r == 0 && i < l->n_done; i++) {
        snprintf(a, sizeof a, "%llu", (unsigned long long)l->done[i].of->database);
        snprintf(b, sizeof b, "%llu", (unsigned long long)l->done[i].to);
        r = resp_words(&l->c, err, "SWAPDB", a, b, NULL);
    }
    if (r == 0) r = resp_words(&l->c, err, "EXEC", NULL);
    l->swapped = true; /* for all that is known, until it answers */
    if (r == 0) r = resp_flush(&l->c, err);
    for (size_t i = 0; r == 0 && i < l->n_done + 1; i++) { /* MULTI, and what it queues */
        r = resp_next(&l->c, &h, err);
        if (r == 0 && h.kind == RESP_ERROR && !refused) {
            refused = true;
            (void)!resp_refused(&l->c, h.text, "SWAPDB", err);
        }
    }
    struct error aborted = ERROR_INIT;
    if (r == 0) r = resp_next(&l->c, &h, refused ? &aborted : err);
    if (r == 0 && !refused && h.kind == RESP_LIST && h.number == (int64_t)l->n_done) {
        for (size_t i = 0; r == 0 && i < l->n_done; i++) r = resp_next(&l->c, &h, err);
        if (r == 0) return 0;
    }
    if (r == 0) {
        l->swapped = false; /* EXEC was refused: nothing of it was done */
        if (!refused && h.kind == RESP_ERROR) return resp_refused(&l->c, h.text, "EXEC", err);
        return refused ? -(int)err->code
                       : error_set(err, ERR_REDIS_PROTOCOL, "%s answered EXEC with what is no answer", l->c.where);
    }
    if (refused) return -(int)err->code;
    return error_state(
        err,
        "all was restored into the spare databases, from %llu on; whether they were swapped in is not known: look "
        "before anything is removed",
        (unsigned long long)l->done[0].to);
}
