#include "surface/redis/live.h"

#include "base/seam.h"
#include "base/thread.h"
#include <stdio.h>

#define AT_ONCE 1024u

/* ---- what is not ours ---- */
int live_not_ours(struct live *l, const struct live_pending *p, struct error *err) {
    struct live_done *d = &l->done[l->n_done - 1];
    struct live_span *last = d->n_spans ? &d->spans[d->n_spans - 1] : NULL;
    if (d->overwrites) return 0;
    if (last && !last->batch && !p->batch && last->last + 1 == p->first) {
        last->last = p->last;
        return 0;
    }
    if (d->n_spans == LIVE_SPANS_MAX) {
        d->overwrites = true;
        return 0;
    }
    int r = mem_grow((void **)&d->spans, &d->cap_spans, d->n_spans + 1, sizeof *d->spans, err);
    if (r == 0) d->spans[d->n_spans++] = (struct live_span){p->first, p->last, p->batch};
    return r;
}

/* Spans of one kind stand in order and apart; asked for ascending keys. */
static bool ours(const struct live_done *d, size_t at[2], uint64_t nth, bool batch) {
    size_t i = at[batch];
    while (i < d->n_spans && (d->spans[i].batch != batch || d->spans[i].last < nth)) i++;
    at[batch] = i;
    return i == d->n_spans || nth < d->spans[i].first;
}

/* What was not sent when it failed, and what the server never answered: where others' keys are, that is not removed. */
static int leave_out(struct live *l, struct error *err) {
    struct live_done *d = &l->done[l->n_done - 1];
    int r = 0;
    for (size_t i = 0; r == 0 && i < l->waiting; i++) {
        const struct live_pending *p = live_pending_at(l, i);
        d->unknown += p->keys;
        if (d->before) r = live_not_ours(l, p, err);
    }
    struct live_pending unsent = {.first = l->batch_first, .last = l->batch_last, .batch = true};
    if (r == 0 && l->batched) r = live_not_ours(l, &unsent, err);
    unsent = (struct live_pending){.first = d->taken - 1, .last = d->taken - 1, .batch = l->unsent_batch};
    return r == 0 && l->unsent ? live_not_ours(l, &unsent, err) : r;
}

/* ---- keys by name ---- */
static int sum_answers(struct live *l, const char *word, unsigned n, uint64_t *sum, struct error *err) {
    struct resp_reply h;
    int r = resp_flush(&l->c, err);
    for (; r == 0 && n; n--) {
        r = resp_next(&l->c, &h, err);
        if (r == 0 && h.kind == RESP_ERROR) r = resp_refused(&l->c, h.text, word, err);
        if (r == 0 && h.kind != RESP_INTEGER)
            r = error_set(err, ERR_REDIS_PROTOCOL, "%s answered %s with what is no answer", l->c.where, word);
        if (r == 0) *sum += (uint64_t)h.number;
    }
    return r;
}

int live_ask_keys(struct live *l, const char *word, const struct redis_items *of, const struct live_done *only,
                  uint64_t *ret_sum, struct error *err) {
    struct rdb_key k;
    uint64_t bytes;
    bool end = false;
    unsigned asked = 0;
    size_t at[2] = {0};
    *ret_sum = 0;
    int r = redis_records_open(l->src, of, &l->rec, err);
    for (uint64_t nth = 0; r == 0 && !end;) {
        if (only && nth == only->taken)
            end = true; /* what comes after may be what could not be read */
        else
            r = redis_records_next(&l->rec, &k, &bytes, &end, err);
        if (r == 0 && !end && redis_takes_key(l->q->include, of->database, k.name)) {
            struct bytes args[] = {BYTES_STR(word), k.name};
            if (!only || ours(only, at, nth, live_batches(l, &k, bytes))) {
                r = resp_command(&l->c, 2, args, err);
                asked++;
            }
            nth++;
        }
        if (r < 0 || asked == 0 || (asked < AT_ONCE && !end)) continue;
        r = sum_answers(l, word, asked, ret_sum, err);
        if (r == 0) asked = 0;
        if (!only && *ret_sum) break;
    }
    if (r < 0 && asked) l->c.broken = true; /* answers would come that are for nobody */
    redis_records_close(&l->rec);
    return r;
}

/* ---- undoing ---- */
struct saying { /* error.state has 256 bytes */
    char text[256];
    size_t n;
};

static void say(struct saying *s, const char *fmt, ...) PK_PRINTF(2, 3);
static void say(struct saying *s, const char *fmt, ...) {
    va_list ap;
    va_start(ap, fmt);
    int n = vsnprintf(s->text + s->n, sizeof s->text - s->n, fmt, ap);
    va_end(ap);
    s->n = s->n + (size_t)n < sizeof s->text ? s->n + (size_t)n : sizeof s->text - 1;
}

/* The connection that failed may have a part of a command on it; what the server has of it must be done before we ask.
 */
static int connect_again(struct live *l, struct error *err) {
    struct error ignored = ERROR_INIT;
    resp_close(&l->c);
    int r = redis_connect(l->s, l->t->host[0] ? l->t->host : NULL, l->t->port, &l->c, err);
    if (r < 0) return r;
    l->lingers = !l->client[0] || resp_ask(&l->c, NULL, &ignored, "CLIENT", "KILL", "ID", l->client, NULL) < 0;
    return l->c.broken ? -(int)(*err = ignored).code : 0;
}

static int undo_database(struct live *l, const struct live_done *d, uint64_t *ret_removed, struct error *err) {
    char text[24];
    snprintf(text, sizeof text, "%llu", (unsigned long long)d->to);
    int r = resp_ask(&l->c, NULL, err, "SELECT", text, NULL);
    return r == 0 ? live_ask_keys(l, "UNLINK", d->of, d, ret_removed, err) : r;
}

static void undo_all(struct live *l, struct saying *s, struct error *why) {
    uint64_t removed = 0, all = 0;
    int r = 0;
    for (size_t i = l->n_done; i-- > 0;) {
        const struct live_done *d = &l->done[i];
        unsigned long long to = d->to, stored = d->stored, unknown = d->before || l->lingers ? d->unknown : 0;
        removed = 0;
        if (d->overwrites && (d->stored || d->unknown))
            say(s, "%sdatabase %llu has %llu to %llu of the keys, some in place of others, and keeps them",
                s->n ? "; " : "", to, stored, stored + (unsigned long long)d->unknown);
        if (d->overwrites) continue;
        if (r == 0) r = undo_database(l, d, &removed, why);
        all += removed;
        if (r < 0)
            say(s, "%sdatabase %llu has up to %llu of the keys: not all could be removed again", s->n ? "; " : "", to,
                stored + (unsigned long long)d->unknown);
        else if (unknown)
            say(s, "%sdatabase %llu may have %llu of the keys, whose answers never came", s->n ? "; " : "", to,
                unknown);
    }
    if (l->functions_changed && (r < 0 || live_functions_undo(l, why) < 0))
        say(s, "%sthe libraries of functions stay as they were restored", s->n ? "; " : "");
    if (s->n == 0 && all == 0)
        say(s, "nothing was changed");
    else if (s->n == 0)
        say(s, "all is as it was: the %llu keys that had been restored were removed again", (unsigned long long)all);
    else if (all)
        say(s, "; %llu keys were removed again", (unsigned long long)all);
}

void live_undo(struct live *l, struct error *err) {
    struct saying s = {0};
    struct error why = ERROR_INIT;
    bool any = l->functions_changed;
    int r = 0;
    if (l->q->as_scratch || l->swapped || l->c.fd < 0) return;
    for (size_t i = 0; i < l->n_done; i++) any |= l->done[i].taken > 0;
    if (!any) {
        error_state(err, "nothing was changed");
        return;
    }
    stop_hold(true);
    if (!l->c.broken && live_settle(l, &why) < 0) {
        l->c.broken = true;
        error_clear(&why);
    }
    if (l->n_done) r = leave_out(l, &why);
    if (r == 0 && l->c.broken) r = connect_again(l, &why);
    if (r == 0) undo_all(l, &s, &why);
    if (r < 0) {
        uint64_t stored = 0, unknown = 0;
        for (size_t i = 0; i < l->n_done; i++) stored += l->done[i].stored;
        for (size_t i = 0; i < l->n_done; i++) unknown += l->done[i].unknown;
        say(&s, "%llu keys had been restored by then (and perhaps %llu more) and could not be removed again",
            (unsigned long long)stored, (unsigned long long)unknown);
    }
    if (why.code) error_wrap(err, "undoing it failed, too (%.300s)", why.text);
    error_state(err, "%s", s.text);
    stop_hold(false);
}
