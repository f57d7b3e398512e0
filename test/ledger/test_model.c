/* The protocol of the log, searched exhaustively in a small world: two writers, two collectors, forgets, crashes.
 *
 * The rules (repo.h invariant 4):
 *  R1 a SNAP at n is appended only by a writer that has read every entry below n;
 *  R2 what a DELETE below n names, the writer does not use but uploads anew;
 *  R3 names never recur;
 *  R4 a collector marks from the live SNAPs below n, appends DELETE at n, and only then removes objects.
 * The claim: no reachable state has a live snapshot one of whose packs was removed. Each rule is then left out in turn,
 * and the search must find the loss: a search that cannot fail proves nothing.
 */
#include "fixture.h"

#define PACKS 5
#define ENTRIES 5
#define USES 2 /* packs a snapshot needs */

enum entry_kind { SNAP = 1, FORGET, DELETE };
enum phase { IDLE, WORKING, READ, LISTED, SWEEPING };

struct state {
    uint16_t log[ENTRIES]; /* kind << 8 | packs or number of the forgotten entry */
    uint8_t entries, present, names, forgets;
    struct {
        uint8_t phase, read, packs, left;
    } writer[2];
    struct {
        uint8_t phase, read, live, set, left;
    } collector[2];
};

struct rules {
    bool writer_reads_all;     /* R1 */
    bool writer_heeds_deletes; /* R2 */
    bool names_never_recur;    /* R3 */
    bool delete_is_logged;     /* R4 */
};

struct node {
    struct state s;
    uint32_t parent;
    uint16_t depth;
};

struct search {
    struct rules rules;
    struct node *nodes;
    size_t count, cap;
    uint32_t *slots; /* index + 1 into nodes; open addressing */
    size_t slot_count;
    uint32_t at;   /* being expanded */
    uint32_t lost; /* first node with a loss, 0 for none */
};

static uint64_t hash(const struct state *s) {
    const uint8_t *p = (const uint8_t *)s;
    uint64_t h = UINT64_C(0xcbf29ce484222325);
    for (size_t i = 0; i < sizeof(*s); i++) h = (h ^ p[i]) * UINT64_C(0x100000001b3);
    return h ^ h >> 29;
}

static void place(struct search *x, uint32_t index) {
    size_t i = hash(&x->nodes[index].s) & (x->slot_count - 1);
    while (x->slots[i]) i = (i + 1) & (x->slot_count - 1);
    x->slots[i] = index + 1;
}

static void grow(struct search *x) {
    struct error err;
    void *p = NULL;
    seam_free(x->slots);
    x->slot_count = x->slot_count ? x->slot_count * 2 : 1u << 16;
    EXPECT_OK(mem_alloc(x->slot_count * sizeof(*x->slots), &p, &err), err);
    x->slots = p;
    for (uint32_t i = 0; i < x->count; i++) place(x, i);
}

/* Packs named by DELETE entries in [from, to). */
static uint8_t deleted(const struct state *s, unsigned from, unsigned to) {
    uint8_t m = 0;
    for (unsigned i = from; i < to; i++)
        if (s->log[i] >> 8 == DELETE) m |= (uint8_t)s->log[i];
    return m;
}

static bool forgotten(const struct state *s, unsigned entry, unsigned to) {
    for (unsigned i = entry + 1; i < to; i++)
        if (s->log[i] >> 8 == FORGET && (uint8_t)s->log[i] == entry) return true;
    return false;
}

static uint8_t live(const struct state *s, unsigned to) {
    uint8_t m = 0;
    for (unsigned i = 0; i < to; i++)
        if (s->log[i] >> 8 == SNAP && !forgotten(s, i, to)) m |= (uint8_t)s->log[i];
    return m;
}

/* Packs that the first `to` entries name as used; what a writer's index knows. */
static uint8_t indexed(const struct state *s, unsigned to) {
    uint8_t m = 0;
    for (unsigned i = 0; i < to; i++)
        if (s->log[i] >> 8 == SNAP) m |= (uint8_t)s->log[i];
    return m;
}

static void reach(struct search *x, const struct state *s) {
    if (x->lost) return;
    if ((x->count + 1) * 2 > x->slot_count) grow(x);
    size_t i = hash(s) & (x->slot_count - 1);
    for (; x->slots[i]; i = (i + 1) & (x->slot_count - 1))
        if (memcmp(&x->nodes[x->slots[i] - 1].s, s, sizeof(*s)) == 0) return;
    void *p = x->nodes;
    struct error err;
    EXPECT_OK(mem_grow(&p, &x->cap, x->count + 1, sizeof(*x->nodes), &err), err);
    x->nodes = p;
    x->nodes[x->count] = (struct node){.s = *s, .parent = x->at, .depth = x->count ? x->nodes[x->at].depth + 1 : 0};
    x->slots[i] = (uint32_t)++x->count;
    if (live(s, s->entries) & ~s->present) x->lost = (uint32_t)x->count - 1;
}

static bool append(struct state *s, enum entry_kind kind, uint8_t arg) {
    if (s->entries == ENTRIES) return false;
    s->log[s->entries++] = (uint16_t)(kind << 8 | arg);
    return true;
}

static void writer_steps(struct search *x, const struct state *from, unsigned w) {
    struct state s = *from;
    if (s.writer[w].phase == IDLE) {
        if (s.writer[w].left == 0) return;
        s.writer[w].phase = WORKING;
        s.writer[w].read = s.entries;
        reach(x, &s);
        return;
    }
    /* give up: what was uploaded stays as an orphan */
    s.writer[w].phase = IDLE;
    s.writer[w].packs = s.writer[w].read = 0;
    s.writer[w].left--;
    reach(x, &s);
    if (from->writer[w].read < from->entries) {
        s = *from;
        if (x->rules.writer_heeds_deletes) s.writer[w].packs &= (uint8_t)~deleted(&s, s.writer[w].read, s.entries);
        s.writer[w].read = s.entries;
        reach(x, &s);
    }
    if (__builtin_popcount(from->writer[w].packs) < USES) {
        uint8_t gone = x->rules.writer_heeds_deletes ? deleted(from, 0, from->writer[w].read) : 0;
        uint8_t known = indexed(from, from->writer[w].read) & (uint8_t)~gone & (uint8_t)~from->writer[w].packs;
        for (unsigned p = 0; p < PACKS; p++) {
            if (!(known >> p & 1)) continue;
            s = *from;
            s.writer[w].packs |= (uint8_t)(1u << p);
            reach(x, &s);
        }
        s = *from;
        unsigned name = s.names;
        if (!x->rules.names_never_recur) name = (unsigned)__builtin_ctz(~s.present);
        if (name >= PACKS) return;
        if (name == s.names) s.names++;
        s.present |= (uint8_t)(1u << name);
        s.writer[w].packs |= (uint8_t)(1u << name);
        reach(x, &s);
        return;
    }
    s = *from;
    if (x->rules.writer_reads_all && s.writer[w].read != s.entries) return; /* the name is taken: read on first */
    if (!append(&s, SNAP, s.writer[w].packs)) return;
    s.writer[w].phase = IDLE;
    s.writer[w].packs = s.writer[w].read = 0;
    s.writer[w].left--;
    reach(x, &s);
}

static void collector_ends(struct state *s, unsigned c) {
    uint8_t left = s->collector[c].left;
    memset(&s->collector[c], 0, sizeof(s->collector[c]));
    s->collector[c].left = (uint8_t)(left - 1);
}

static void collector_steps(struct search *x, const struct state *from, unsigned c) {
    struct state s = *from;
    if (s.collector[c].left == 0) return;
    switch (s.collector[c].phase) {
    case IDLE:
        s.collector[c].phase = READ;
        s.collector[c].read = s.entries;
        s.collector[c].live = live(&s, s.entries);
        reach(x, &s);
        return;
    case READ: /* the listing may be much later than the reading */
        s.collector[c].set = s.present & (uint8_t)~s.collector[c].live;
        if (s.collector[c].set == 0)
            collector_ends(&s, c);
        else
            s.collector[c].phase = LISTED;
        reach(x, &s);
        return;
    case LISTED:
        if (x->rules.delete_is_logged) {
            if (s.collector[c].read != s.entries) { /* the name is taken: mark again */
                uint8_t left = s.collector[c].left;
                memset(&s.collector[c], 0, sizeof(s.collector[c]));
                s.collector[c].left = left;
                reach(x, &s);
                return;
            }
            if (!append(&s, DELETE, s.collector[c].set)) return;
        }
        s.collector[c].phase = SWEEPING;
        s.collector[c].read = s.collector[c].live = 0;
        reach(x, &s);
        return;
    default: /* remove one, in any order, or crash in between */
        for (unsigned p = 0; p < PACKS; p++) {
            if (!(from->collector[c].set >> p & 1)) continue;
            s = *from;
            s.present &= (uint8_t) ~(1u << p);
            s.collector[c].set &= (uint8_t) ~(1u << p);
            if (s.collector[c].set == 0) collector_ends(&s, c);
            reach(x, &s);
        }
        s = *from;
        collector_ends(&s, c);
        reach(x, &s);
    }
}

static void forget_steps(struct search *x, const struct state *from) {
    if (from->forgets == 0) return;
    for (unsigned i = 0; i < from->entries; i++) {
        struct state s = *from;
        if (s.log[i] >> 8 != SNAP || forgotten(&s, i, s.entries) || !append(&s, FORGET, (uint8_t)i)) continue;
        s.forgets--;
        reach(x, &s);
    }
}

static const char *step_of(const struct state *a, const struct state *b) {
    static char text[96];
    for (unsigned i = 0; i < 2; i++) {
        if (memcmp(&a->writer[i], &b->writer[i], sizeof(a->writer[i])) != 0) {
            snprintf(text, sizeof(text), "writer %u: phase %u, read %u, packs %02x, log %u", i, b->writer[i].phase,
                     b->writer[i].read, b->writer[i].packs, b->entries);
            return text;
        }
        if (memcmp(&a->collector[i], &b->collector[i], sizeof(a->collector[i])) != 0) {
            snprintf(text, sizeof(text), "collector %u: phase %u, set %02x, present %02x, log %u", i,
                     b->collector[i].phase, b->collector[i].set, b->present, b->entries);
            return text;
        }
    }
    return "forget";
}

static void run(struct search *x, struct rules rules, const char *name) {
    struct state begin;
    memset(&begin, 0, sizeof(begin)); /* padding too: states are compared as bytes */
    *x = (struct search){.rules = rules};
    begin.forgets = 1;
    begin.writer[0].left = begin.writer[1].left = 1;
    begin.collector[0].left = begin.collector[1].left = 1;
    reach(x, &begin);
    for (x->at = 0; x->at < x->count && !x->lost; x->at++) {
        struct state s = x->nodes[x->at].s;
        for (unsigned i = 0; i < 2; i++) {
            writer_steps(x, &s, i);
            collector_steps(x, &s, i);
        }
        forget_steps(x, &s);
    }
    print_message("# %s: %zu states, %s\n", name, x->count, x->lost ? "a live snapshot lost a pack" : "no loss");
    if (!x->lost) return;
    uint32_t path[256], n = 0;
    for (uint32_t at = x->lost; at; at = x->nodes[at].parent) path[n++] = at;
    print_message("# the shortest way there has %u steps:\n", n);
    while (n--) print_message("#   %s\n", step_of(&x->nodes[x->nodes[path[n]].parent].s, &x->nodes[path[n]].s));
}

static void end(struct search *x) {
    seam_free(x->nodes);
    seam_free(x->slots);
}

static const struct rules all = {true, true, true, true};

static void with_all_rules_no_live_snapshot_loses_a_pack(void **state) {
    (void)state;
    struct search x;
    run(&x, all, "all rules");
    assert_int_equal(x.lost, 0);
    assert_true(x.count > 500000);
    /* the world is large enough to mean something: snapshots, forgets and deletes did happen, and packs were removed */
    unsigned kinds = 0;
    bool removed = false, reused = false;
    for (size_t i = 0; i < x.count; i++) {
        const struct state *s = &x.nodes[i].s;
        uint8_t used = 0;
        for (unsigned e = 0; e < s->entries; e++) {
            kinds |= 1u << (s->log[e] >> 8);
            if (s->log[e] >> 8 != SNAP) continue;
            reused = reused || (used & (uint8_t)s->log[e]);
            used |= (uint8_t)s->log[e];
        }
        removed = removed || s->present != (1u << s->names) - 1;
    }
    assert_int_equal(kinds, 1u << SNAP | 1u << FORGET | 1u << DELETE);
    assert_true(removed && reused);
    end(&x);
}

static void expect_loss(struct rules rules, const char *name) {
    struct search x;
    run(&x, rules, name);
    assert_true(x.lost > 0);
    end(&x);
}

static void mark_then_sweep_without_the_log_is_caught(void **state) {
    (void)state;
    struct rules r = all;
    r.delete_is_logged = false;
    expect_loss(r, "deletes not logged");
}

static void a_writer_that_does_not_read_on_is_caught(void **state) {
    (void)state;
    struct rules r = all;
    r.writer_reads_all = false;
    expect_loss(r, "writer commits unread");
}

static void a_writer_that_ignores_deletes_is_caught(void **state) {
    (void)state;
    struct rules r = all;
    r.writer_heeds_deletes = false;
    expect_loss(r, "deletes ignored");
}

static void names_that_recur_are_caught(void **state) {
    (void)state;
    struct rules r = all;
    r.names_never_recur = false;
    expect_loss(r, "names recur");
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(with_all_rules_no_live_snapshot_loses_a_pack),
        cmocka_unit_test(mark_then_sweep_without_the_log_is_caught),
        cmocka_unit_test(a_writer_that_does_not_read_on_is_caught),
        cmocka_unit_test(a_writer_that_ignores_deletes_is_caught),
        cmocka_unit_test(names_that_recur_are_caught),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
