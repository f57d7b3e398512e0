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
        int r = look(c, from, &there, &keys, err); /* else it could not be swapped */
        for (; r == 0 && there && !found && next < LOOKED_AT; next++) {
            if (wanted(q, next)) continue;
            r = look(c, next, &there, &keys, err);
            found = r == 0 && there && keys == 0;
            if (found) map->map[map->n_map].to = next;
        }
        if (r < 0) return r;
        if (!found) return too_few(c, from, err);
        map->map[map->n_map++].from = from;
    }
    return 0;
}

/* What EXEC says: nothing was done, all was, or (l->swapped) that is not known. */
static int executed(struct live *l, struct error *err) {
    struct resp_reply h;
    size_t done = 0;
    int r = resp_flush(&l->c, err);
    if (r == 0) r = resp_next(&l->c, &h, err);
    if (r < 0) return r;
    if (h.kind == RESP_ERROR) {
        l->swapped = false;
        return resp_refused(&l->c, h.text, "EXEC", err);
    }
    if (h.kind != RESP_LIST || h.number != (int64_t)l->n_done)
        return error_set(err, ERR_REDIS_PROTOCOL, "%s answered EXEC with what is no answer", l->c.where);
    for (size_t i = 0; i < l->n_done; i++) {
        struct error lost = ERROR_INIT;
        if (resp_next(&l->c, &h, &lost) < 0) return -(int)(*err = lost).code;
        if (h.kind == RESP_STATUS)
            done++;
        else if (r == 0)
            r = h.kind == RESP_ERROR
                    ? resp_refused(&l->c, h.text, "SWAPDB", err)
                    : error_set(err, ERR_REDIS_PROTOCOL, "%s answered SWAPDB with what is no answer", l->c.where);
    }
    if (done == 0) l->swapped = false;
    return r;
}

int live_swap(struct live *l, struct error *err) {
    char a[24], b[24];
    /* First and alone: where it is refused, each SWAPDB behind it would be done at once. */
    int r = resp_ask(&l->c, NULL, err, "MULTI", NULL);
    for (size_t i = 0; r == 0 && i < l->n_done; i++) {
        snprintf(a, sizeof a, "%llu", (unsigned long long)l->done[i].of->database);
        snprintf(b, sizeof b, "%llu", (unsigned long long)l->done[i].to);
        r = resp_ask(&l->c, NULL, err, "SWAPDB", a, b, NULL);
    }
    if (r == 0) r = resp_words(&l->c, err, "EXEC", NULL);
    if (r == 0) {
        l->swapped = true; /* for all that is known, until it answers */
        r = executed(l, err);
    }
    if (r == 0) return 0;
    if (!l->swapped) {
        l->c.broken = true; /* it may still be queueing commands */
        return r;
    }
    return error_state(
        err,
        "all was restored into the spare databases, from %llu on; whether they were swapped in is not known: look "
        "before anything is removed",
        (unsigned long long)l->done[0].to);
}
