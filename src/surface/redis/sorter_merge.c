#include "surface/redis/sorter_internal.h"

#include "base/seam.h"
#include "base/thread.h"

#define AHEAD_BYTES 512 /* that are fetched before they are needed: of so many blocks no cache guesses what is next */
#define NOBODY UINT32_MAX
#define STOP_CHECK_EVERY 65536

/* ---- inputs ---- */
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

static int from_run(struct merge_input *in, struct error *err) {
    uint64_t code, pad;
    struct entry head;
    bool end = false;
    int r = get(&in->run, &code, sizeof code, &end, err);
    in->e = NULL;
    if (r < 0 || end) return r;
    if ((r = get(&in->run, &head, sizeof head, NULL, err)) < 0) return r;
    const unsigned turn = in->turn ^= 1;
    const size_t n = entry_bytes(&head), room = n + ENTRY_SLACK;
    if (room > in->cap[turn]) {
        void *p = seam_realloc(in->room[turn], room + room / 2);
        if (!p) return error_set_errno(err, ERR_NO_MEMORY, "hold %zu bytes of a key", room);
        in->room[turn] = p;
        in->cap[turn] = room + room / 2;
    }
    struct entry *e = in->room[turn];
    *e = head;
    r = get(&in->run, e + 1, n - sizeof *e, NULL, err);
    if (r == 0) r = get(&in->run, &pad, entry_room(e) - sizeof code - n, NULL, err);
    if (r < 0) return r;
    in->e = e;
    in->code = code;
    return 0;
}

static void from_block(struct merge_input *in) {
    const uint8_t *p = in->block->p + in->at;
    in->e = NULL;
    if (in->at == in->block->bytes) return;
    __builtin_prefetch(p + AHEAD_BYTES);
    __builtin_prefetch(p + AHEAD_BYTES + 64);
    memcpy(&in->code, p, sizeof in->code);
    in->e = (const struct entry *)(p + sizeof in->code);
    in->at += entry_room(in->e);
}

static int step(struct merge_input *in, struct error *err) {
    if (!in->block) return from_run(in, err);
    from_block(in);
    return 0;
}

/* ---- the tournament ---- */
/* Whether a goes before b, both coded after the same one. Who goes later is coded after the other then. */
static bool before(struct merge *m, uint32_t a, uint32_t b) {
    struct merge_input *x = &m->in[a], *y = &m->in[b];
    if (!x->e || !y->e) return y->e ? false : x->e ? true : a < b;
    if (x->code != y->code) return x->code < y->code;
    if (x->code == CODE_SAME) return a < b;
    uint64_t later;
    int c = entry_compare_coded(x->e, y->e, x->code, &later);
    const bool sooner = c < 0 || (c == 0 && a < b);
    *(sooner ? &y->code : &x->code) = later;
    return sooner;
}

static int start(struct merge *m, struct error *err) {
    for (size_t i = 0; i < m->n; i++) m->losers[i] = NOBODY;
    for (uint32_t i = 0; i < m->n; i++) {
        int r = step(&m->in[i], err);
        if (r < 0) return r;
    }
    for (uint32_t i = 0; i < m->n; i++) {
        uint32_t winner = i;
        for (size_t node = (i + m->n) / 2; node > 0 && winner != NOBODY; node /= 2) {
            uint32_t other = m->losers[node];
            if (other == NOBODY || before(m, other, winner)) {
                m->losers[node] = winner;
                winner = other;
            }
        }
        if (winner != NOBODY) m->losers[0] = winner;
    }
    return 0;
}

int merge_open(struct merge *m, struct spill *spill, const struct sorter_run *runs, size_t n_runs, const struct heap *h,
               struct error *err) {
    size_t n = n_runs + (h ? h->n : 0);
    void *p;
    int r = mem_alloc((n + 1) * sizeof *m->in, &p, err);
    if (r < 0) return r;
    m->in = p;
    r = mem_alloc((n + 1) * sizeof *m->losers, &p, err);
    if (r < 0) return r;
    m->losers = p;
    for (m->n = 0; r == 0 && m->n < n_runs; m->n++) r = spill_read(spill, runs[m->n].run, &m->in[m->n].run, err);
    for (size_t i = 0; r == 0 && h && i < h->n; i++) m->in[m->n++].block = &h->of[i];
    return r == 0 ? start(m, err) : r;
}

static const struct merge_input *first(const struct merge *m) {
    return m->n ? &m->in[m->losers[0]] : NULL;
}

bool merge_again(const struct merge *m) {
    const struct merge_input *in = first(m);
    return in && in->e && in->code == CODE_SAME;
}

int merge_next(struct merge *m, const struct entry **ret, uint64_t *ret_code, struct error *err) {
    *ret = first(m) ? first(m)->e : NULL;
    if (!*ret) return 0;
    *ret_code = first(m)->code;
    uint32_t winner = m->losers[0];
    int r = step(&m->in[winner], err);
    if (r < 0) return r;
    for (size_t node = (winner + m->n) / 2; node > 0; node /= 2) {
        uint32_t other = m->losers[node];
        if (!before(m, other, winner)) continue;
        m->losers[node] = winner;
        winner = other;
    }
    m->losers[0] = winner;
    return 0;
}

int merge_write(struct merge *m, struct spill *spill, struct spill_writer *w, struct spill_run *ret,
                struct error *err) {
    const struct entry *e;
    uint64_t code;
    int r = spill_begin(spill, w, err);
    for (uint64_t n = 0; r == 0; n++) {
        r = n % STOP_CHECK_EVERY == 0 ? stop_check(err) : 0;
        if (r == 0) r = merge_next(m, &e, &code, err);
        if (r < 0 || !e) break;
        static const uint8_t zeros[8];
        const size_t bytes = entry_bytes(e);
        r = spill_put(w, &code, sizeof code, err);
        if (r == 0) r = spill_put(w, e, bytes, err);
        if (r == 0) r = spill_put(w, zeros, entry_room(e) - sizeof code - bytes, err);
    }
    return r == 0 ? spill_end(w, ret, err) : r;
}

void merge_close(struct merge *m) {
    for (size_t i = 0; m->in && i < m->n; i++) {
        spill_read_end(&m->in[i].run);
        seam_free(m->in[i].room[0]);
        seam_free(m->in[i].room[1]);
    }
    seam_free(m->in);
    seam_free(m->losers);
    *m = (struct merge){0};
}
