/* What is read ahead when copies have to give what the repository cannot: as few requests as of a repository that is
 * well, and nothing that nobody wants. Stores in folders stand for far ones: each read is counted as a request. */
#include "copy_kit.h"
#include "repo/ahead.h"
#include "repo/alternate.h"
#include "repo/expected.h"
#include "repo/repo_internal.h"

#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define TABLES 12
#define SIZE (4u << 20)
#define SMALL 64
#define CACHE (4u << 20) /* twice that is read ahead of the repository */
#define PLACES 3

/* A store in a folder that says that reads cost, and counts them; and that may be out of reach. */
struct far {
    struct store_ops ops;
    const struct store_ops *was;
    struct store *store;
    atomic_uint reads; /* of packs */
    atomic_ullong bytes;
    atomic_bool away;
    atomic_uint together; /* reads of packs that each wait for the others to be asked for */
};
static struct far places[PLACES];
static struct repo *watched; /* whose readers have a bound */
static atomic_size_t most_sealed, most_decoded;

static void most(atomic_size_t *m, size_t now) {
    for (size_t was = *m; was < now && !atomic_compare_exchange_weak(m, &was, now);) continue;
}

static struct far *far_of(struct store *s) {
    for (int i = 0; i < PLACES; i++)
        if (places[i].store == s) return &places[i];
    fail();
    return NULL;
}

static int far_read(struct store *s, const char *key, uint64_t at, void *p, size_t len, size_t *ret_n,
                    struct error *err) {
    struct far *f = far_of(s);
    if (f->away) return error_set(err, ERR_NET_REFUSED, "nobody listens there");
    int rc = f->was->read(s, key, at, p, len, ret_n, err);
    if (strncmp(key, "packs/", 6) != 0) return rc;
    if (watched) {
        most(&most_sealed, watched->sealed.used);
        most(&most_decoded, watched->decoded.used);
    }
    f->reads++;
    if (rc == 0) f->bytes += *ret_n;
    for (int i = 0; f->reads < f->together && i < 10000; i++) usleep(1000);
    return rc;
}

static void far_get_many(struct store *s, struct store_get *gets, size_t n) {
    for (size_t i = 0; i < n; i++) {
        gets[i].created_ns = 0;
        (void)!far_read(s, gets[i].key, gets[i].at, gets[i].p, gets[i].len, &gets[i].n, &gets[i].err);
    }
}

static void far_begin(struct kit *k, unsigned place, bool far) {
    struct far *f = &places[place];
    *f = (struct far){.ops = *k->store->ops, .was = k->store->ops, .store = k->store};
    f->ops.read = far_read;
    if (far) f->ops.get_many = far_get_many;
    k->store->ops = &f->ops;
}

static void far_count(void) {
    for (int i = 0; i < PLACES; i++) {
        places[i].reads = 0;
        places[i].bytes = 0;
    }
}

struct world {
    struct kit kit[PLACES]; /* the repository, and its copies */
    uint8_t *data;
    struct kit_item items[TABLES + SMALL];
    char names[TABLES + SMALL][32];
    size_t tables, n;
    uint64_t seq;
};

static void world_sized(struct world *w, size_t tables) {
    memset(w, 0, sizeof *w);
    w->tables = tables;
    w->n = tables + SMALL;
    w->data = malloc(tables * SIZE + SMALL * 4000);
    kit_random(w->data, tables * SIZE + SMALL * 4000, 7);
    for (size_t i = 0; i < w->n; i++) {
        const bool table = i < tables;
        snprintf(w->names[i], sizeof w->names[i], "%s%02zu", table ? "a" : "b", i);
        w->items[i] = (struct kit_item){w->names[i], table ? CONTENT_PAGES : CONTENT_FILE,
                                        table ? w->data + i * SIZE : w->data + tables * SIZE + (i - tables) * 4000,
                                        table ? SIZE : 4000};
    }
    kit_begin(&w->kit[0]);
    w->seq = kit_backup(&w->kit[0], "s", w->items, w->n, false, NULL);
    for (int i = 1; i < PLACES; i++) {
        kit_dest_begin(&w->kit[0], &w->kit[i], 1u << 20);
        kit_copy(&w->kit[0], w->seq, &w->kit[i], NULL);
    }
    for (int i = 0; i < PLACES; i++) kit_reopen(&w->kit[i], false);
}

static void world_begin(struct world *w) {
    world_sized(w, TABLES);
}

static void world_end(struct world *w) {
    for (int i = 0; i < PLACES; i++) kit_end(&w->kit[i]);
    free(w->data);
}

static int copy_open(void *ctx, size_t i, struct repo **ret, struct error *err) {
    (void)err;
    *ret = ((struct world *)ctx)->kit[1 + i].repo;
    return 0;
}

/* With both copies for when it is needed, and stores that count from now on. */
static void far_world(struct world *w, bool repository_too) {
    static const char *const labels[] = {"near", "off site"};
    struct error err = ERROR_INIT;
    for (int i = 0; i < PLACES; i++) {
        kit_reopen(&w->kit[i], false);
        far_begin(&w->kit[i], (unsigned)i, i > 0 || repository_too);
    }
    kit_ok(repo_alternates_set(w->kit[0].repo, labels, 2, copy_open, w, &err), &err);
}

struct reading {
    struct world *w;
    struct snapshot *s;
    int rc;
    struct error err;
    size_t at, away_at[PLACES]; /* the item before which a place goes away; 0: at none, 1: before the first */
};

static int told(void *ctx, const struct item_head *h, struct error *err) {
    (void)err;
    snapshot_expect(((struct reading *)ctx)->s, h);
    return 0;
}

static int item_read(void *ctx, const struct item_head *h, struct error *err) {
    struct reading *r = ctx;
    const struct kit_item *want = &r->w->items[r->at++];
    struct ritem *it;
    struct bytes piece;
    size_t at = 0;
    for (int i = 0; i < PLACES; i++)
        if (r->away_at[i] == r->at) places[i].away = true;
    assert_true(bytes_equal(h->name, BYTES_STR(want->name)));
    int rc = ritem_open(r->s, h, &it, err);
    if (rc < 0) return rc;
    while ((rc = ritem_next(it, &piece, err)) == 0 && piece.len) {
        assert_true(at + piece.len <= want->len && memcmp(want->data + at, piece.ptr, piece.len) == 0);
        at += piece.len;
    }
    ritem_close(it);
    if (rc == 0) assert_int_equal(at, want->len);
    return rc;
}

/* All of the point, as drivers read it: all is told of, then one item after the other is read. */
static void read_all(struct reading *r) {
    struct error err = ERROR_INIT;
    far_count();
    r->at = 0;
    kit_ok(snapshot_open_sized(r->w->kit[0].repo, kit_snapshot(&r->w->kit[0], r->w->seq), CACHE, &r->s, &err), &err);
    kit_ok(snapshot_walk(r->s, BYTES_OF(NULL, 0), told, r, &err), &err);
    kit_ok(snapshot_walk(r->s, BYTES_OF(NULL, 0), item_read, r, &err), &err);
    assert_int_equal(r->at, r->w->n);
    snapshot_close(r->s);
}

#define ROOM 6 /* requests more: what was read when it happened, and a first look at a pack or two */

static int pack_count(void *ctx, const struct store_object *o, struct error *err) {
    (void)o, (void)err;
    ++*(unsigned *)ctx;
    return 0;
}

static unsigned packs(struct world *w, int place) {
    struct error err = ERROR_INIT;
    unsigned n = 0;
    kit_ok(store_list(w->kit[place].store, "packs/", pack_count, &n, &err), &err);
    return n;
}

static void a_copy_is_asked_no_more_than_the_repository_would_be(void **state) {
    struct world w;
    (void)state;
    world_begin(&w);
    struct reading well = {.w = &w};
    far_world(&w, true);
    read_all(&well);
    assert_in_range(places[0].reads, packs(&w, 0), packs(&w, 0) + ROOM);
    assert_int_equal(places[1].reads + places[2].reads, 0);
    for (int far = 0; far < 2; far++) {
        struct reading r = {.w = &w, .away_at = {1}};
        far_world(&w, far);
        read_all(&r);
        assert_in_range(places[1].reads, packs(&w, 1) - ROOM, packs(&w, 1) + ROOM);
        assert_int_equal(places[2].reads, 0);
    }
    world_end(&w);
}

static void what_was_read_before_is_not_asked_of_it(void **state) {
    struct world w;
    (void)state;
    world_begin(&w);
    for (int far = 0; far < 2; far++) {
        struct reading r = {.w = &w, .away_at = {1 + TABLES / 2}};
        far_world(&w, far);
        read_all(&r);
        assert_in_range(places[1].reads, packs(&w, 1) / 2 - 2 * (CACHE >> 20) - ROOM, packs(&w, 1) / 2 + ROOM);
        assert_in_range(places[1].bytes, 1, TABLES * SIZE / 2 + ROOM * (1u << 20));
    }
    world_end(&w);
}

/* What the first had read ahead by then may be all but a sixth of it. */
static void when_that_goes_away_too_the_next_is_told(void **state) {
    struct world w;
    struct reading r = {.w = &w, .away_at = {1, 2}};
    (void)state;
    world_begin(&w);
    far_world(&w, true);
    read_all(&r);
    assert_in_range(places[1].reads, packs(&w, 1) / TABLES, packs(&w, 1));
    assert_in_range(places[2].reads, packs(&w, 2) / 6 - ROOM, packs(&w, 2) + ROOM);
    world_end(&w);
}

static int pack_note(void *ctx, const struct store_object *o, struct error *err) {
    (void)err;
    char(*list)[96] = ctx;
    size_t n = 0;
    while (list[n][0]) n++;
    snprintf(list[n], sizeof *list, "%s", o->key);
    return 0;
}

static void what_lies_in_packs_that_are_gone_comes_as_packs(void **state) {
    struct world w;
    static char keys[256][96];
    struct error err = ERROR_INIT;
    struct reading r = {.w = &w};
    unsigned lost = 0;
    (void)state;
    world_begin(&w);
    memset(keys, 0, sizeof keys);
    kit_ok(store_list(w.kit[0].store, "packs/d/", pack_note, keys, &err), &err);
    for (size_t i = 0; keys[i][0]; i += 2, lost++) kit_ok(store_remove(w.kit[0].store, keys[i], &err), &err);
    assert_true(lost > 10);
    for (int far = 0; far < 2; far++) {
        far_world(&w, far);
        read_all(&r);
        /* where a pack of the one is in two of the other, half of that is asked for whole, or in a range */
        assert_in_range(places[1].reads, lost, 3 * lost + ROOM);
        assert_int_equal(places[2].reads, 0);
    }
    world_end(&w);
}

/* ---- several readers ---- */

#define READERS 6
#define DECODED (6u << 20)

static void *reader(void *arg) {
    struct reading *r = arg;
    r->rc = snapshot_walk(r->s, BYTES_OF(NULL, 0), item_read, r, &r->err);
    return NULL;
}

static void readers_of_one_handle_share_a_bound(void **state) {
    struct world w;
    struct error err = ERROR_INIT;
    struct reading r[READERS];
    pthread_t threads[READERS];
    struct snapshot *s;
    (void)state;
    world_sized(&w, 4);
    for (int bound = 0; bound < 2; bound++) {
        far_world(&w, true);
        far_count();
        most_sealed = most_decoded = 0;
        watched = w.kit[0].repo;
        if (bound) repo_readers_bound(watched, DECODED);
        for (int i = 0; i < READERS; i++) {
            r[i] = (struct reading){.w = &w};
            kit_ok(snapshot_open_sized(watched, kit_snapshot(&w.kit[0], w.seq), 24u << 20, &s, &err), &err);
            r[i].s = s;
            snapshot_reader(s);
            kit_ok(snapshot_walk(s, BYTES_OF(NULL, 0), told, &r[i], &err), &err);
        }
        for (int i = 0; i < READERS; i++) assert_int_equal(pthread_create(&threads[i], NULL, reader, &r[i]), 0);
        for (int i = 0; i < READERS; i++) {
            pthread_join(threads[i], NULL);
            kit_ok(r[i].rc, &r[i].err);
            assert_int_equal(r[i].at, w.n);
        }
        if (bound) {
            assert_in_range(most_sealed, 1, watched->sealed.max);
            assert_in_range(most_decoded, 1, DECODED + READERS * (5u << 20)); /* 4 each, and a frame in its hands */
        } else
            assert_true(most_sealed + most_decoded > DECODED + READERS * (5u << 20) + (6u << 20));
        for (int i = 0; i < READERS; i++) snapshot_close(r[i].s);
        assert_int_equal(watched->sealed.used + watched->decoded.used, 0);
        watched = NULL;
    }
    world_end(&w);
}

/* ---- ranges of one pack ---- */

/* A place in each frame of the first pack of data that has three of them. */
static size_t frames_find(const struct index *x, struct location *at, size_t max) {
    struct error err = ERROR_INIT;
    size_t n = 0;
    for (size_t run = 0; run < x->count && n < 3; run++) {
        struct run_view v;
        kit_ok(index_scan(x, run, true, &v, &err), &err);
        for (uint32_t p = 0; p < v.pack_count && n < 3; p++) {
            n = 0;
            if (get_u64(v.packs + (size_t)p * RUN_PACK_BYTES + DIGEST_BYTES) & RUN_PACK_META) continue;
            for (uint64_t i = 0; i < v.entry_count; i++) {
                const uint8_t *e = v.entries + i * RUN_ENTRY_BYTES;
                const uint32_t frame = get_u32(e + 20);
                if (get_u32(e + 16) != p || frame >= max) continue;
                at[frame] = (struct location){.run = run, .entry = i, .pack = p, .frame = frame};
                if (frame >= n) n = frame + 1;
            }
        }
        index_scan_end(&v);
    }
    return n;
}

struct ranging { /* over one pack, in a repository that is far away */
    struct kit k;
    struct location at[64]; /* of its frames */
    size_t n;
    struct pack_in *in;
    struct ahead *a;
};

/* Of one item of random bytes. */
static void ranging_begin(struct ranging *r, uint32_t pack_bytes, enum content_kind kind, size_t bytes) {
    struct error err = ERROR_INIT;
    uint8_t *data = malloc(bytes);
    struct digest pack;
    bool meta;
    kit_random(data, bytes, 5);
    kit_begin_packs(&r->k, pack_bytes);
    kit_backup(&r->k, "s", &(struct kit_item){"a", kind, data, bytes}, 1, false, NULL);
    free(data);
    r->n = frames_find(&r->k.repo->index, r->at, 64);
    assert_in_range(r->n, 3, 64);
    assert_true(index_pack(&r->k.repo->index, &r->at[0], &pack, NULL, &meta));
    kit_ok(pack_in_open(r->k.repo, meta, &pack, &r->in, &err), &err);
    far_begin(&r->k, 0, true);
    kit_ok(ahead_new(r->k.repo, &r->k.repo->index, 32u << 20, &r->a, &err), &err);
}

static void ranging_end(struct ranging *r) {
    ahead_free(r->a);
    pack_in_free(r->in);
    kit_end(&r->k);
}

static void what_one_range_has_is_in_no_other(void **state) {
    struct ranging r;
    struct ahead_hold late, first;
    (void)state;
    ranging_begin(&r, 1u << 20, CONTENT_PAGES, SIZE);
    for (size_t i = 0; i < r.n; i++) ahead_expect(r.a, &r.at[i]);
    far_count();
    /* who comes later in the pack is there first */
    assert_true(ahead_range(r.a, &r.at[r.n / 2], r.in, &late));
    assert_true(ahead_range(r.a, &r.at[0], r.in, &first));
    const struct frame *middle = pack_in_frame(r.in, (uint32_t)r.n / 2), *last = pack_in_frame(r.in, (uint32_t)r.n - 1);
    assert_int_equal(first.at + first.bytes.len, middle->at);
    assert_int_equal(late.at, middle->at);
    assert_int_equal(places[0].bytes, last->at + last->stored_len - first.at);
    assert_int_equal(places[0].reads, 2);
    ahead_release(r.a, &r.at[r.n / 2], 0, 0, &late);
    ahead_release(r.a, &r.at[0], 0, 0, &first);
    ranging_end(&r);
}

static void ranges_that_are_read_in_order_are_asked_for_together(void **state) {
    struct ranging r;
    struct ahead_hold h;
    (void)state;
    ranging_begin(&r, 8u << 20, CONTENT_FILE, 3 * SIZE); /* frames of which two are larger than a gap that is read over */
    assert_in_range(r.n, 4, 64);
    assert_true(pack_in_frame(r.in, 3)->at - pack_in_frame(r.in, 1)->at > 1u << 20);
    ahead_share(r.a, 2);
    ahead_expect(r.a, &r.at[0]);
    ahead_expect(r.a, &r.at[3]);
    far_count();
    places[0].together = 2; /* the first does not come before the other was asked for */
    for (size_t i = 0; i < 4; i += 3) {
        const struct frame *f = pack_in_frame(r.in, (uint32_t)i);
        assert_true(ahead_range(r.a, &r.at[i], r.in, &h));
        assert_int_equal(places[0].reads, 2);
        assert_int_equal(h.at, f->at);
        assert_int_equal(h.bytes.len, f->stored_len);
        ahead_release(r.a, &r.at[i], f->at, f->stored_len, &h);
    }
    assert_int_equal(r.k.repo->sealed.used, 0);
    ranging_end(&r);
}

/* A place in each frame of data there is, pack by pack. */
static size_t all_frames(const struct index *x, struct location *at, size_t max) {
    struct error err = ERROR_INIT;
    size_t n = 0;
    for (size_t run = 0; run < x->count; run++) {
        struct run_view v;
        kit_ok(index_scan(x, run, true, &v, &err), &err);
        for (uint32_t p = 0; p < v.pack_count; p++) {
            if (get_u64(v.packs + (size_t)p * RUN_PACK_BYTES + DIGEST_BYTES) & RUN_PACK_META) continue;
            for (uint32_t frame = 0, found = 1; found; frame++) {
                found = 0;
                for (uint64_t i = 0; i < v.entry_count && !found && n < max; i++) {
                    const uint8_t *e = v.entries + i * RUN_ENTRY_BYTES;
                    if (get_u32(e + 16) != p || get_u32(e + 20) != frame) continue;
                    at[n++] = (struct location){.run = run, .entry = i, .pack = p, .frame = frame};
                    found = 1;
                }
            }
        }
        index_scan_end(&v);
    }
    return n;
}

static void take(struct kit *k, struct ahead *a, const struct location *at) {
    struct error err = ERROR_INIT;
    struct ahead_hold h = {0};
    struct pack_in *in;
    struct digest pack;
    bool meta;
    assert_true(index_pack(&k->repo->index, at, &pack, NULL, &meta));
    assert_true(ahead_whole(a, at, &h));
    kit_ok(pack_in_open_from(k->repo, meta, &pack, h.bytes.len, h.bytes, &in, &err), &err);
    const struct frame *f = pack_in_frame(in, at->frame);
    ahead_release(a, at, f->at, f->stored_len, &h);
    pack_in_free(in);
}

static void a_frame_stays_for_who_comes_much_later_alone(void **state) {
    struct kit k;
    struct error err = ERROR_INIT;
    struct location at[64];
    struct ahead *a;
    struct ahead_hold h;
    struct pack_in *in;
    struct digest pack;
    bool meta;
    uint8_t *data = malloc(2 * SIZE);
    (void)state;
    kit_random(data, 2 * SIZE, 5);
    kit_begin(&k);
    kit_backup(&k, "s", &(struct kit_item){"a", CONTENT_PAGES, data, 2 * SIZE}, 1, false, NULL);
    const size_t n = all_frames(&k.repo->index, at, 64);
    assert_in_range(n, 16, 64);
    assert_true(index_pack(&k.repo->index, &at[2], &pack, NULL, &meta));
    kit_ok(pack_in_open(k.repo, meta, &pack, &in, &err), &err);
    far_begin(&k, 0, true);
    kit_ok(ahead_new(k.repo, &k.repo->index, 96u << 20, &a, &err), &err);
    far_count();
    /* files beside each other lie by turns in frames that were filled together; one lies where another did long before
     */
    for (int turn = 0; turn < 3; turn++)
        for (size_t i = 0; i < 2; i++) ahead_expect(a, &at[i]);
    for (size_t i = 2; i < n; i++) ahead_expect(a, &at[i]);
    ahead_expect(a, &at[2]);
    for (size_t i = 0; i < n; i++) take(&k, a, &at[i]);
    const unsigned reads = places[0].reads;
    const struct frame *f = pack_in_frame(in, at[2].frame);
    assert_int_equal(k.repo->sealed.used, f->stored_len);
    assert_true(ahead_range(a, &at[2], in, &h));
    assert_int_equal(h.at, f->at);
    ahead_release(a, &at[2], f->at, f->stored_len, &h);
    assert_int_equal(places[0].reads, reads);
    ahead_free(a);
    assert_int_equal(k.repo->sealed.used, 0);
    pack_in_free(in);
    kit_end(&k);
    free(data);
}

/* ---- the rows themselves ---- */

struct passed {
    unsigned n;
    uint64_t sum;
};

static void on_passed(void *ctx, const uint8_t *id) {
    struct passed *p = ctx;
    p->n++;
    p->sum += get_u64(id);
}

static const uint8_t *id_of(uint64_t i) {
    static uint8_t id[ID_PREFIX_BYTES];
    put_u64(id, i);
    put_u64(id + 8, 1);
    return id;
}

static struct passed passed_on(struct expected *x, const struct location *pack) {
    struct passed p = {0};
    expected_pass(x, pack, on_passed, &p);
    return p;
}

static void what_is_expected_is_kept_until_it_is_had(void **state) {
    struct expected x = {0};
    struct location at = {.run = 1, .pack = 5};
    const uint8_t *ids[4];
    (void)state;
    for (uint64_t i = 0; i < 5000; i++) {
        at.pack = i % 2 ? 5 : 6;
        at.frame = (uint32_t)i;
        expected_add(&x, id_of(i), &at, false);
        expected_add(&x, id_of(100000 + i), &at, false); /* its neighbour in the frame */
    }
    expected_add(&x, id_of(7), NULL, false);
    for (uint64_t i = 0; i < 4000; i++) expected_take(&x, id_of(i));
    for (uint64_t i = 0; i < 4000; i++) expected_take(&x, id_of(100000 + i));
    assert_int_equal(x.live, 1001);
    assert_int_equal(expected_sample(&x, NULL, ids, 4), 4);
    at.pack = 5;
    struct passed p = passed_on(&x, &at);
    assert_int_equal(p.n, 501); /* 7 is wanted at another place */
    assert_int_equal(passed_on(&x, &at).n, 0);
    assert_int_equal(passed_on(&x, NULL).n, 500);
    expected_again(&x);
    assert_int_equal(passed_on(&x, NULL).n, 1001);
    expected_take(&x, id_of(7));
    for (uint64_t i = 4000; i < 5000; i++) expected_take(&x, id_of(i));
    expected_again(&x);
    assert_true(x.live == 0 && x.count == 0 && passed_on(&x, NULL).n == 0);
    expected_clear(&x);
}

static void there_are_no_more_rows_than_there_may_be(void **state) {
    struct expected x = {0};
    (void)state;
    for (uint64_t i = 0; i < EXPECTED_MAX; i++) expected_add(&x, id_of(i), NULL, false);
    assert_false(x.more);
    expected_add(&x, id_of(EXPECTED_MAX), NULL, false);
    assert_true(x.more && x.count == EXPECTED_MAX);
    assert_true(x.cap * sizeof *x.rows + x.slot_count * sizeof *x.slots <= 16u << 20);
    assert_int_equal(passed_on(&x, NULL).n, EXPECTED_MAX);
    for (uint64_t i = 0; i <= EXPECTED_MAX; i++) expected_take(&x, id_of(i));
    assert_true(x.live == 0 && x.more);
    expected_add(&x, id_of(1), NULL, false);
    assert_int_equal(passed_on(&x, NULL).n, 1);
    expected_clear(&x);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_copy_is_asked_no_more_than_the_repository_would_be),
        cmocka_unit_test(what_was_read_before_is_not_asked_of_it),
        cmocka_unit_test(when_that_goes_away_too_the_next_is_told),
        cmocka_unit_test(what_lies_in_packs_that_are_gone_comes_as_packs),
        cmocka_unit_test(readers_of_one_handle_share_a_bound),
        cmocka_unit_test(what_one_range_has_is_in_no_other),
        cmocka_unit_test(ranges_that_are_read_in_order_are_asked_for_together),
        cmocka_unit_test(a_frame_stays_for_who_comes_much_later_alone),
        cmocka_unit_test(what_is_expected_is_kept_until_it_is_had),
        cmocka_unit_test(there_are_no_more_rows_than_there_may_be),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
