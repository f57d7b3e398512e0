#include "surface/redis/sorter.h"

#include "base/seam.h"
#include "base/thread.h"
#include "surface/redis/sorter_internal.h"
#include <stdio.h>

#define RUNS_AT_ONCE 48
#define ARENA_BYTES (1u << 20) /* it, and what sorting it takes, fit into a cache */

/* What was full is merged and written by a thread of its own, while the next is filled. */
struct behind {
    pthread_t thread;
    bool running;
    struct heap heap;
    struct merge merge;
    struct spill_run run;
    int r;
    struct error err;
};
struct sorter {
    const char *dir;
    size_t memory;
    char prefix[24]; /* of the database that came last */
    size_t prefix_bytes;
    uint64_t prefix_of;
    uint8_t *arena;
    size_t cap, used;
    struct slot *slots;
    size_t n_slots, cap_slots;
    struct entry *e; /* that is being added */
    struct heap heap;
    uint64_t value_bytes, since;
    int64_t expires_ms;
    struct behind behind;
    bool spilled;
    struct spill spill, large_spill; /* runs; and large values, which come while a run is written */
    struct spill_writer writer, large;
    struct spill_reader large_read;
    struct sorter_run *runs;
    size_t n_runs, cap_runs;
    struct merge merge; /* of all */
};

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

static void heap_free(struct heap *h) {
    for (size_t i = 0; i < h->n; i++) seam_free(h->of[i].p);
    seam_free(h->of);
    *h = (struct heap){0};
}

void sorter_free(struct sorter *s) {
    if (!s) return;
    if (s->behind.running) (void)pthread_join(s->behind.thread, NULL);
    merge_close(&s->behind.merge);
    merge_close(&s->merge);
    spill_read_end(&s->large_read);
    spill_drop(&s->large);
    spill_drop(&s->writer);
    spill_close(&s->spill);
    spill_close(&s->large_spill);
    heap_free(&s->behind.heap);
    heap_free(&s->heap);
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

static int merge_tail(struct sorter *s, size_t n, struct error *err) {
    size_t from = s->n_runs - n;
    struct spill_run run;
    struct merge m = {0};
    unsigned level = s->runs[from].level + 1;
    int r = merge_open(&m, &s->spill, s->runs + from, n, NULL, err);
    if (r == 0) r = merge_write(&m, &s->spill, &s->writer, &run, err);
    merge_close(&m);
    if (r < 0) return r;
    for (size_t i = from; i < s->n_runs; i++) spill_forget(&s->spill, s->runs[i].run);
    s->n_runs = from;
    return push_run(s, run, level, err);
}

static void *write_behind(void *arg) {
    struct sorter *s = arg;
    struct behind *b = &s->behind;
    b->r = merge_open(&b->merge, NULL, NULL, 0, &b->heap, &b->err);
    if (b->r == 0) b->r = merge_write(&b->merge, &s->spill, &s->writer, &b->run, &b->err);
    merge_close(&b->merge);
    heap_free(&b->heap);
    return NULL;
}

/* The run that was being written is one of all. */
static int end_behind(struct sorter *s, struct error *err) {
    struct behind *b = &s->behind;
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

/* What was filled becomes a block. */
static int set_down(struct sorter *s, struct error *err) {
    size_t bytes = 0;
    int r = s->n_slots ? sorter_order(s->slots, s->n_slots, err) : 0;
    if (r < 0 || s->n_slots == 0) return r;
    for (size_t i = 0; i < s->n_slots; i++) bytes += entry_room(s->slots[i].e);
    r = mem_grow((void **)&s->heap.of, &s->heap.cap, s->heap.n + 1, sizeof *s->heap.of, err);
    if (r < 0) return r;
    uint8_t *p = seam_alloc(bytes + ENTRY_SLACK), *at = p;
    if (!p) return error_set_errno(err, ERR_NO_MEMORY, "hold %zu bytes of keys", bytes);
    for (size_t i = 0; i < s->n_slots; i++) {
        const struct entry *e = s->slots[i].e;
        memcpy(at, &s->slots[i].ahead, sizeof s->slots[i].ahead);
        memcpy(at + sizeof s->slots[i].ahead, e, entry_bytes(e));
        at += entry_room(e);
    }
    s->heap.of[s->heap.n++] = (struct block){p, bytes};
    s->heap.bytes += bytes;
    s->n_slots = s->used = 0;
    return 0;
}

static int write_run(struct sorter *s, struct error *err) {
    int r = end_behind(s, err);
    if (r == 0) r = need_spill(s, &s->spill, err);
    if (r < 0) return r;
    s->spilled = true;
    s->behind.heap = s->heap;
    s->heap = (struct heap){0};
    r = thread_start(&s->behind.thread, write_behind, s, err);
    s->behind.running = r == 0;
    return r;
}

/* The first run is as large as can be, so that what fits into that is never written; with it, a half of it may fill. */
static bool is_full(const struct sorter *s, size_t more) {
    const size_t all = s->heap.bytes + s->used + s->n_slots * sizeof *s->slots + more;
    return all > (s->spilled ? s->memory / 3 : s->memory / 3 * 2);
}

/* Room for an entry whose value is not known yet. */
static int room(struct sorter *s, size_t n, struct error *err) {
    int r = 0;
    if (s->n_slots && (s->used + n > s->cap || is_full(s, n))) r = set_down(s, err);
    if (r == 0 && s->heap.n && is_full(s, n)) r = write_run(s, err);
    const size_t cap = n > ARENA_BYTES ? n : ARENA_BYTES;
    if (r < 0 || s->used || s->cap == cap) return r;
    seam_free(s->arena); /* nothing is in it: what one long name needed is given back */
    s->cap = 0;
    if (!(s->arena = seam_alloc(cap))) return error_set_errno(err, ERR_NO_MEMORY, "hold %zu bytes of keys", cap);
    s->cap = cap;
    return 0;
}

static uint8_t *value_of(const struct entry *e) {
    return (uint8_t *)(e + 1) + e->name_bytes;
}

int sorter_begin(struct sorter *s, const struct rdb_key *k, struct error *err) {
    if (s->prefix_bytes == 0 || s->prefix_of != k->database)
        s->prefix_bytes = (size_t)snprintf(s->prefix, sizeof s->prefix, "%llu", (unsigned long long)k->database) + 1;
    s->prefix_of = k->database;
    const size_t n = s->prefix_bytes, name = n + k->name.len;
    int r = room(s, sizeof(struct entry) + name + SORTER_VALUE_MAX + ENTRY_NUMBERS_MAX + ENTRY_SLACK, err);
    if (r < 0) return r;
    struct entry *e = s->e = (struct entry *)(s->arena + s->used);
    *e = (struct entry){.name_bytes = (uint32_t)name,
                        .prefix_bytes = (uint8_t)n,
                        .type = k->type,
                        .has = (uint8_t)((k->expires_ms >= 0 ? HAS_EXPIRY : 0) | (k->since ? HAS_SINCE : 0) |
                                         k->access << HAS_ACCESS_SHIFT)};
    memcpy(e + 1, s->prefix, n);
    if (k->name.len) memcpy((uint8_t *)(e + 1) + n, k->name.ptr, k->name.len);
    s->value_bytes = 0;
    s->expires_ms = k->expires_ms;
    s->since = k->since;
    return 0;
}

int sorter_value(struct sorter *s, struct bytes more, struct error *err) {
    struct entry *e = s->e;
    int r = 0;
    if (!(e->has & HAS_LARGE) && s->value_bytes + more.len > SORTER_VALUE_MAX) {
        r = need_spill(s, &s->large_spill, err);
        if (r == 0) r = spill_begin(&s->large_spill, &s->large, err);
        if (r == 0) r = spill_put(&s->large, value_of(e), (size_t)s->value_bytes, err);
        if (r < 0) return r;
        e->has |= HAS_LARGE;
    }
    if (e->has & HAS_LARGE)
        r = spill_put(&s->large, more.ptr, more.len, err);
    else if (more.len)
        memcpy(value_of(e) + s->value_bytes, more.ptr, more.len);
    s->value_bytes += more.len;
    return r;
}

uint8_t *sorter_held(struct sorter *s, size_t *ret_bytes) {
    if (s->e->has & HAS_LARGE) return NULL;
    *ret_bytes = (size_t)s->value_bytes;
    return value_of(s->e);
}

static uint8_t *put(uint8_t *at, const void *p, size_t n) {
    memcpy(at, p, n);
    return at + n;
}

int sorter_end(struct sorter *s, enum rdb_class c, struct hash128 hash, struct error *err) {
    struct entry *e = s->e;
    struct spill_run run;
    const bool large = e->has & HAS_LARGE;
    int r = large ? spill_end(&s->large, &run, err) : 0;
    if (r == 0) r = mem_grow((void **)&s->slots, &s->cap_slots, s->n_slots + 1, sizeof *s->slots, err);
    if (r < 0) return r;
    e->class = (uint8_t)c;
    e->value_bytes = (uint32_t)(large ? sizeof run : s->value_bytes);
    e->has |= hash.lo || hash.hi ? HAS_HASH : 0;
    if (large) memcpy(value_of(e), &run, sizeof run);
    uint8_t *at = value_of(e) + e->value_bytes;
    if (e->has & HAS_EXPIRY) at = put(at, &s->expires_ms, sizeof s->expires_ms);
    if (e->has & HAS_SINCE) at = put(at, &s->since, sizeof s->since);
    if (e->has & HAS_HASH) put(at, &hash, sizeof hash);
    s->slots[s->n_slots++] = (struct slot){0, e};
    s->used += (entry_bytes(e) + 3) & ~(size_t)3;
    return 0;
}

/* ---- out ---- */
/* What was filled last is not written only to be read again, but where many runs are to be read besides. */
int sorter_sort(struct sorter *s, struct error *err) {
    int r = set_down(s, err);
    if (r == 0 && s->n_runs >= RUNS_AT_ONCE / 2 && s->heap.n) r = write_run(s, err);
    if (r == 0) r = end_behind(s, err);
    while (r == 0 && s->n_runs > 2 * RUNS_AT_ONCE) r = merge_tail(s, RUNS_AT_ONCE, err);
    return r == 0 ? merge_open(&s->merge, &s->spill, s->runs, s->n_runs, &s->heap, err) : r;
}

static const uint8_t *take(const uint8_t *at, void *p, size_t n) {
    memcpy(p, at, n);
    return at + n;
}

static void describe(const struct entry *e, struct sorted *ret) {
    const uint8_t *name = entry_name(e), *at = value_of(e) + e->value_bytes;
    uint64_t database = 0;
    for (size_t i = 0; i + 1 < e->prefix_bytes; i++) database = database * 10 + (uint64_t)(name[i] - '0');
    *ret = (struct sorted){.key = {.database = database,
                                   .name = BYTES_OF(name + e->prefix_bytes, e->name_bytes - e->prefix_bytes),
                                   .type = e->type,
                                   .expires_ms = -1,
                                   .access = (enum rdb_access)(e->has >> HAS_ACCESS_SHIFT)},
                           .class = (enum rdb_class)e->class,
                           .bytes = e->value_bytes,
                           .value = BYTES_OF(value_of(e), e->value_bytes),
                           .held = !(e->has & HAS_LARGE)};
    if (e->has & HAS_EXPIRY) at = take(at, &ret->key.expires_ms, sizeof ret->key.expires_ms);
    if (e->has & HAS_SINCE) at = take(at, &ret->key.since, sizeof ret->key.since);
    if (e->has & HAS_HASH) take(at, &ret->hash, sizeof ret->hash);
}

/* An entry is the last of its key: SCAN may answer a key more than once. */
int sorter_next(struct sorter *s, struct sorted *ret, bool *ret_end, struct error *err) {
    const struct entry *e;
    uint64_t code;
    spill_read_end(&s->large_read);
    int r;
    do r = merge_next(&s->merge, &e, &code, err);
    while (r == 0 && merge_again(&s->merge));
    if (r < 0) return r;
    *ret_end = e == NULL;
    if (!e) return 0;
    describe(e, ret);
    if (ret->held) return 0;
    struct spill_run run;
    memcpy(&run, ret->value.ptr, sizeof run);
    ret->value = BYTES_OF(NULL, 0);
    ret->bytes = run.bytes;
    return spill_read(&s->large_spill, run, &s->large_read, err);
}

int sorter_piece(struct sorter *s, struct bytes *ret, struct error *err) {
    return spill_next(&s->large_read, SPILL_BLOCK, ret, err);
}
