#include "surface/redis/sorter.h"

#include "base/seam.h"
#include "base/thread.h"
#include "surface/redis/sorter_internal.h"
#include <stdio.h>

#define RUNS_AT_ONCE 48
#define AHEAD 8 /* entries that are fetched before they are needed */

/* ---- entries as they lie in memory and in runs ---- */
size_t entry_bytes(const struct entry *e) {
    return sizeof *e + e->name_bytes + (e->large ? sizeof(struct spill_run) : (size_t)e->value_bytes);
}
const uint8_t *entry_name(const struct entry *e) {
    return (const uint8_t *)(e + 1);
}

int entry_compare(const struct entry *a, const struct entry *b) {
    size_t n = a->name_bytes < b->name_bytes ? a->name_bytes : b->name_bytes;
    int c = memcmp(entry_name(a), entry_name(b), n);
    if (c) return c;
    if (a->name_bytes != b->name_bytes) return a->name_bytes < b->name_bytes ? -1 : 1;
    return a->number < b->number ? -1 : a->number > b->number;
}

int sorter_new(const char *scratch_dir, size_t memory_bytes, struct sorter **ret, struct error *err) {
    struct sorter *s;
    int r = mem_alloc(sizeof *s, (void **)&s, err);
    if (r < 0) return r;
    s->spill.fd = s->large_spill.fd = -1;
    s->dir = scratch_dir;
    s->memory = memory_bytes;
    *ret = s;
    return 0;
}

static void readers_free(struct sorter *s) {
    for (size_t i = 0; i < s->n_readers; i++) {
        spill_read_end(&s->readers[i].r);
        if (!s->readers[i].memory) seam_free(s->readers[i].e);
    }
    seam_free(s->readers);
    seam_free(s->order);
    s->readers = NULL;
    s->order = NULL;
    s->n_readers = s->n_order = 0;
}

void sorter_free(struct sorter *s) {
    if (!s) return;
    if (s->behind.running) (void)pthread_join(s->behind.thread, NULL);
    readers_free(s);
    spill_read_end(&s->large_read);
    spill_drop(&s->large);
    spill_drop(&s->writer);
    spill_close(&s->spill);
    spill_close(&s->large_spill);
    seam_free(s->behind.arena);
    seam_free(s->behind.slots);
    seam_free(s->arena);
    seam_free(s->slots);
    seam_free(s->runs);
    seam_free(s);
}

static int need_spill(const struct sorter *s, struct spill *spill, struct error *err) {
    return spill->fd >= 0 ? 0 : spill_open(spill, s->dir, err);
}

/* ---- in ---- */
static int push_run(struct sorter *s, struct spill_run run, unsigned level, struct error *err) {
    int r = mem_grow((void **)&s->runs, &s->cap_runs, s->n_runs + 1, sizeof *s->runs, err);
    if (r == 0) s->runs[s->n_runs++] = (struct sorter_run){run, level};
    return r;
}

static int merge_tail(struct sorter *s, size_t n, struct error *err);

static void *write_behind(void *arg) {
    struct sorter *s = arg;
    struct sorter_behind *b = &s->behind;
    b->r = sorter_order(b->slots, b->n_slots, &b->err);
    if (b->r == 0) b->r = spill_begin(&s->spill, &s->writer, &b->err);
    for (size_t i = 0; b->r == 0 && i < b->n_slots; i++)
        b->r = spill_put(&s->writer, b->slots[i].e, entry_bytes(b->slots[i].e), &b->err);
    if (b->r == 0) b->r = spill_end(&s->writer, &b->run, &b->err);
    return NULL;
}

/* The run that was being written is one of all. */
static int end_behind(struct sorter *s, struct error *err) {
    struct sorter_behind *b = &s->behind;
    if (!b->running) return 0;
    (void)pthread_join(b->thread, NULL);
    b->running = false;
    if (b->r < 0) {
        *err = b->err;
        return b->r;
    }
    int r = push_run(s, b->run, 0, err);
    while (r == 0 && s->n_runs >= RUNS_AT_ONCE &&
           s->runs[s->n_runs - RUNS_AT_ONCE].level == s->runs[s->n_runs - 1].level)
        r = merge_tail(s, RUNS_AT_ONCE, err);
    return r;
}

static int write_run(struct sorter *s, struct error *err) {
    int r = end_behind(s, err);
    if (r == 0) r = need_spill(s, &s->spill, err);
    if (r < 0) return r;
    struct sorter_behind was = s->behind;
    s->behind = (struct sorter_behind){
        .arena = s->arena, .cap = s->cap, .slots = s->slots, .n_slots = s->n_slots, .cap_slots = s->cap_slots};
    s->arena = was.arena;
    s->cap = was.cap;
    s->slots = was.slots;
    s->cap_slots = was.cap_slots;
    s->n_slots = s->used = 0;
    r = thread_start(&s->behind.thread, write_behind, s, err);
    s->behind.running = r == 0;
    return r;
}

static int room(struct sorter *s, size_t n, struct error *err) {
    size_t want = s->used + n;
    if (want <= s->cap) return 0;
    size_t cap = s->cap ? s->cap : 1 << 20;
    while (cap < want) cap *= 2;
    uint8_t *p = seam_realloc(s->arena, cap);
    if (!p) return error_set_errno(err, ERR_NO_MEMORY, "hold %zu bytes of keys", cap);
    if (p != s->arena) /* what points into it moves with it */
        for (size_t i = 0; i < s->n_slots; i++)
            s->slots[i].e = (struct entry *)(p + ((uint8_t *)s->slots[i].e - s->arena));
    s->arena = p;
    s->cap = cap;
    return 0;
}

static struct entry *current(struct sorter *s) {
    return (struct entry *)(s->arena + s->used);
}

int sorter_begin(struct sorter *s, const struct rdb_key *k, struct error *err) {
    if (s->prefix_bytes == 0 || s->prefix_of != k->database)
        s->prefix_bytes = (size_t)snprintf(s->prefix, sizeof s->prefix, "%llu", (unsigned long long)k->database) + 1;
    s->prefix_of = k->database;
    size_t n = s->prefix_bytes;
    size_t all = sizeof(struct entry) + n + k->name.len;
    int r = 0;
    if (s->n_slots && s->used + all + s->n_slots * sizeof *s->slots + SORTER_VALUE_MAX > s->memory / 2)
        r = write_run(s, err);
    if (r == 0) r = room(s, all + sizeof(struct spill_run) + SORTER_VALUE_MAX, err);
    if (r < 0) return r;
    struct entry *e = current(s);
    *e = (struct entry){.number = s->next_number++,
                        .name_bytes = (uint32_t)(n + k->name.len),
                        .prefix_bytes = (uint8_t)n,
                        .type = k->type,
                        .access = (uint8_t)k->access,
                        .since = k->since,
                        .expires_ms = k->expires_ms};
    memcpy(e + 1, s->prefix, n);
    if (k->name.len) memcpy((uint8_t *)(e + 1) + n, k->name.ptr, k->name.len);
    s->open_bytes = all;
    return 0;
}

int sorter_value(struct sorter *s, struct bytes more, struct error *err) {
    struct entry *e = current(s);
    int r = 0;
    if (!e->large && e->value_bytes + more.len > SORTER_VALUE_MAX) {
        r = need_spill(s, &s->large_spill, err);
        if (r == 0) r = spill_begin(&s->large_spill, &s->large, err);
        if (r == 0) r = spill_put(&s->large, s->arena + s->used + s->open_bytes, (size_t)e->value_bytes, err);
        if (r < 0) return r;
        e->large = true;
    }
    if (e->large)
        r = spill_put(&s->large, more.ptr, more.len, err);
    else
        memcpy(s->arena + s->used + s->open_bytes + e->value_bytes, more.ptr, more.len);
    e->value_bytes += more.len;
    return r;
}

uint8_t *sorter_held(struct sorter *s, size_t *ret_bytes) {
    struct entry *e = current(s);
    if (e->large) return NULL;
    *ret_bytes = (size_t)e->value_bytes;
    return s->arena + s->used + s->open_bytes;
}

int sorter_end(struct sorter *s, enum rdb_class c, struct hash128 hash, struct error *err) {
    struct entry *e = current(s);
    struct spill_run run;
    e->class = (uint8_t)c;
    e->hash = hash;
    int r = e->large ? spill_end(&s->large, &run, err) : 0;
    if (r == 0 && e->large) memcpy(s->arena + s->used + s->open_bytes, &run, sizeof run);
    if (r == 0) r = mem_grow((void **)&s->slots, &s->cap_slots, s->n_slots + 1, sizeof *s->slots, err);
    if (r < 0) return r;
    s->slots[s->n_slots++] = (struct slot){0, e};
    s->used += (entry_bytes(e) + 7) & ~(size_t)7;
    return 0;
}

/* ---- out ---- */
static int get(struct spill_reader *r, void *to, size_t n, bool *ret_end, struct error *err) {
    uint8_t *p = to;
    for (size_t at = 0; at < n;) {
        struct bytes piece;
        int rc = spill_next(r, n - at, &piece, err);
        if (rc < 0) return rc;
        if (piece.len == 0 && at == 0 && ret_end) {
            *ret_end = true;
            return 0;
        }
        if (piece.len == 0) return error_set(err, ERR_INTERNAL, "a run of the scratch folder ends early");
        memcpy(p + at, piece.ptr, piece.len);
        at += piece.len;
    }
    return 0;
}

/* Slots' entries lie in the order of coming: each is far from the one before. */
static void fetch_ahead(const struct sorter *s) {
    if (s->at + AHEAD >= s->n_slots) return;
    const char *soon = (const char *)s->slots[s->at + AHEAD].e;
    __builtin_prefetch(soon);
    __builtin_prefetch(soon + 64);
    __builtin_prefetch(soon + 128);
}

static int reader_next(struct sorter *s, struct sorter_reader *r, struct error *err) {
    struct entry head;
    if (r->memory) {
        fetch_ahead(s);
        r->end = s->at == s->n_slots;
        r->e = r->end ? NULL : s->slots[s->at++].e;
        return 0;
    }
    int rc = get(&r->r, &head, sizeof head, &r->end, err);
    if (rc < 0 || r->end) return rc;
    size_t n = entry_bytes(&head);
    if (n > r->cap) {
        void *p = seam_realloc(r->e, n + n / 2);
        if (!p) return error_set_errno(err, ERR_NO_MEMORY, "hold %zu bytes of a key", n);
        r->e = p;
        r->cap = n + n / 2;
    }
    *r->e = head;
    return get(&r->r, r->e + 1, n - sizeof head, NULL, err);
}

/* Among those that stand in order from the second on, the first finds its place. */
static void place(struct sorter *s) {
    struct sorter_reader *one = s->order[0];
    size_t lo = 1, hi = s->n_order;
    if (one->end) {
        s->n_order--;
        memmove(s->order, s->order + 1, s->n_order * sizeof *s->order);
        return;
    }
    while (lo < hi) {
        size_t mid = (lo + hi) / 2;
        if (entry_compare(s->order[mid]->e, one->e) < 0)
            lo = mid + 1;
        else
            hi = mid;
    }
    memmove(s->order, s->order + 1, (lo - 1) * sizeof *s->order);
    s->order[lo - 1] = one;
}

static int advance(struct sorter *s, struct error *err) {
    int r = reader_next(s, s->order[0], err);
    if (r == 0) place(s);
    return r;
}

static int reader_join(struct sorter *s, struct sorter_reader *one, struct error *err) {
    int r = reader_next(s, one, err);
    if (r < 0) return r;
    memmove(s->order + 1, s->order, s->n_order++ * sizeof *s->order);
    s->order[0] = one;
    place(s);
    return 0;
}

/* Those of the runs from `first` on and, with `memory`, of the slots that are in order. */
static int readers_open(struct sorter *s, size_t first, bool memory, struct error *err) {
    size_t n = s->n_runs - first;
    int r = mem_alloc((n + 1) * sizeof *s->readers, (void **)&s->readers, err);
    if (r == 0) s->n_readers = n + memory;
    if (r == 0) r = mem_alloc((n + 1) * sizeof *s->order, (void **)&s->order, err);
    for (size_t i = n; r == 0 && i-- > 0;) {
        r = spill_read(&s->spill, s->runs[first + i].run, &s->readers[i].r, err);
        if (r == 0) r = reader_join(s, &s->readers[i], err);
    }
    if (r < 0 || !memory) return r;
    s->readers[n].memory = true;
    return reader_join(s, &s->readers[n], err);
}

static int merge_tail(struct sorter *s, size_t n, struct error *err) {
    size_t first = s->n_runs - n;
    struct spill_run run;
    unsigned level = s->runs[first].level + 1;
    int r = readers_open(s, first, false, err);
    if (r == 0) r = spill_begin(&s->spill, &s->writer, err);
    while (r == 0 && s->n_order) {
        r = spill_put(&s->writer, s->order[0]->e, entry_bytes(s->order[0]->e), err);
        if (r == 0) r = advance(s, err);
    }
    if (r == 0) r = spill_end(&s->writer, &run, err);
    readers_free(s);
    if (r < 0) return r;
    for (size_t i = first; i < s->n_runs; i++) spill_forget(&s->spill, s->runs[i].run);
    s->n_runs = first;
    return push_run(s, run, level, err);
}

/* What was filled last is not written only to be read again, but where many runs are to be read besides. */
int sorter_sort(struct sorter *s, struct error *err) {
    int r = 0;
    s->at = 0;
    if (s->n_runs == 0 && !s->behind.running) return sorter_order(s->slots, s->n_slots, err);
    const bool memory = s->n_runs < RUNS_AT_ONCE / 2;
    if (memory)
        r = sorter_order(s->slots, s->n_slots, err);
    else if (s->n_slots)
        r = write_run(s, err);
    if (r == 0) r = end_behind(s, err);
    if (r < 0) return r;
    seam_free(s->behind.arena);
    seam_free(s->behind.slots);
    s->behind = (struct sorter_behind){0};
    if (!memory) {
        seam_free(s->arena);
        seam_free(s->slots);
        s->arena = NULL;
        s->slots = NULL;
        s->cap = s->cap_slots = s->n_slots = s->used = 0;
    }
    while (r == 0 && s->n_runs > 2 * RUNS_AT_ONCE) r = merge_tail(s, RUNS_AT_ONCE, err);
    return r == 0 ? readers_open(s, 0, memory, err) : r;
}

static bool same_name(const struct entry *a, const struct entry *b) {
    return a->name_bytes == b->name_bytes && memcmp(entry_name(a), entry_name(b), a->name_bytes) == 0;
}

/* The current entry is the last of its key: SCAN may answer a key more than once. */
static int next_in_memory(struct sorter *s, const struct entry **ret) {
    fetch_ahead(s);
    *ret = s->at < s->n_slots ? s->slots[s->at++].e : NULL;
    while (*ret && s->at < s->n_slots && same_name(*ret, s->slots[s->at].e)) *ret = s->slots[s->at++].e;
    return 0;
}

static int next_of_runs(struct sorter *s, const struct entry **ret, struct error *err) {
    int r = s->given ? advance(s, err) : 0;
    while (r == 0 && s->n_order > 1 && same_name(s->order[0]->e, s->order[1]->e)) r = advance(s, err);
    s->given = true;
    *ret = r == 0 && s->n_order ? s->order[0]->e : NULL;
    if (!*ret) s->given = false;
    return r;
}

int sorter_next(struct sorter *s, struct sorted *ret, bool *ret_end, struct error *err) {
    const struct entry *e = NULL;
    spill_read_end(&s->large_read);
    int r = s->n_runs ? next_of_runs(s, &e, err) : next_in_memory(s, &e);
    if (r < 0) return r;
    *ret_end = e == NULL;
    if (!e) return 0;
    const uint8_t *name = entry_name(e), *value = name + e->name_bytes;
    uint64_t database = 0;
    for (size_t i = 0; i + 1 < e->prefix_bytes; i++) database = database * 10 + (uint64_t)(name[i] - '0');
    *ret = (struct sorted){.key = {.database = database,
                                   .name = BYTES_OF(name + e->prefix_bytes, e->name_bytes - e->prefix_bytes),
                                   .type = e->type,
                                   .expires_ms = e->expires_ms,
                                   .access = (enum rdb_access)e->access,
                                   .since = e->since},
                           .class = (enum rdb_class)e->class,
                           .hash = e->hash,
                           .bytes = e->value_bytes,
                           .held = !e->large};
    if (!e->large) {
        ret->value = BYTES_OF(value, (size_t)e->value_bytes);
        return 0;
    }
    struct spill_run run;
    memcpy(&run, value, sizeof run);
    return spill_read(&s->large_spill, run, &s->large_read, err);
}

int sorter_piece(struct sorter *s, struct bytes *ret, struct error *err) {
    return spill_next(&s->large_read, SPILL_BLOCK, ret, err);
}
