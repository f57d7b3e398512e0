/* From a chunk to a sealed frame: known or new, gathered with its neighbours, compressed, sealed, opened again,
 * compared. */
#include "repo/writer_internal.h"

void chunk_id(struct bytes id_key, enum chunk_kind kind, const struct digest *sha, struct digest *ret) {
    uint8_t in[1 + DIGEST_BYTES];
    in[0] = (uint8_t)kind;
    memcpy(in + 1, sha->b, DIGEST_BYTES);
    hmac_sha256(id_key, BYTES_OF(in, sizeof in), ret);
}

int writer_fail(struct writer *w, const struct error *err) {
    pthread_mutex_lock(&w->fail_lock);
    if (!w->has_failed) {
        w->failed = *err;
        w->has_failed = true;
    }
    pthread_mutex_unlock(&w->fail_lock);
    return -(int)err->code;
}

bool writer_failed(const struct writer *w) {
    return atomic_load(&w->has_failed);
}

int writer_alive(struct writer *w, struct error *err) {
    if (!atomic_load_explicit(&w->has_failed, memory_order_relaxed)) return 0;
    pthread_mutex_lock(&w->fail_lock);
    *err = w->failed;
    pthread_mutex_unlock(&w->fail_lock);
    return -(int)err->code;
}

/* ---- free lists ---- */

uint8_t *block_take(struct writer *w) {
    uint8_t *b = NULL;
    pthread_mutex_lock(&w->free_lock);
    if (w->free_block_count) b = w->free_blocks[--w->free_block_count];
    pthread_mutex_unlock(&w->free_lock);
    return b ? b : seam_alloc_aligned(4096, BLOCK_BYTES);
}

void block_give(struct writer *w, uint8_t *b) {
    if (!b) return;
    pthread_mutex_lock(&w->free_lock);
    if (w->free_block_count < sizeof w->free_blocks / sizeof *w->free_blocks) {
        w->free_blocks[w->free_block_count++] = b;
        b = NULL;
    }
    pthread_mutex_unlock(&w->free_lock);
    seam_free(b);
}

static void group_free(struct group *g) {
    if (!g) return;
    seam_free(g->plain);
    seam_free(g->members);
    seam_free(g->bases);
    seam_free(g);
}

static struct group **spares_of(struct writer *w, size_t cap) {
    return cap == w->group_max ? &w->free_groups[0] : cap == w->group_long ? &w->free_groups[1] : NULL;
}

static struct group *group_take(struct writer *w, size_t cap, enum chunk_kind kind, struct error *err) {
    struct group *g = NULL;
    if (cap < w->group_max) cap = w->group_max;
    struct group **spare = spares_of(w, cap);
    pthread_mutex_lock(&w->free_lock);
    if (spare && *spare) {
        g = *spare;
        *spare = g->next;
    }
    pthread_mutex_unlock(&w->free_lock);
    if (!g) {
        void *p;
        if (mem_alloc(sizeof *g, &p, err) < 0) return NULL;
        g = p;
        g->cap = cap;
        g->plain = seam_alloc_aligned(4096, cap); /* as a block is, with which it may change places */
        if (!g->plain) {
            error_set(err, ERR_NO_MEMORY, "no memory for a group of %zu bytes", cap);
            group_free(g);
            return NULL;
        }
    }
    g->w = w;
    g->len = 0;
    g->count = 0;
    g->kind = kind;
    g->deltas = false;
    g->page_bytes = 0;
    return g;
}

static void group_give(struct writer *w, struct group *g) {
    struct group **spare = spares_of(w, g->cap);
    if (!spare) {
        group_free(g);
        return;
    }
    pthread_mutex_lock(&w->free_lock);
    g->next = *spare;
    *spare = g;
    pthread_mutex_unlock(&w->free_lock);
}

static void seat_free(struct bench_seat *s) {
    if (!s) return;
    codec_free(s->codec);
    seam_free(s->out);
    seam_free(s->back);
    seam_free(s->plain);
    seam_free(s);
}

static struct bench_seat *seat_take(struct writer *w, size_t plain, struct error *err) {
    pthread_mutex_lock(&w->free_lock);
    struct bench_seat *s = w->seats;
    if (s) w->seats = s->next;
    pthread_mutex_unlock(&w->free_lock);
    void *p;
    if (!s) {
        if (mem_alloc(sizeof *s, &p, err) < 0) return NULL;
        s = p;
        if (codec_new(&s->codec, err) < 0) goto fail;
    }
    if (s->cap < plain) {
        size_t cap = plain < w->group_max ? w->group_max : plain;
        seam_free(s->out);
        seam_free(s->back);
        seam_free(s->plain);
        s->out = seam_alloc(codec_bound(cap));
        s->back = seam_alloc(codec_bound(cap));
        s->plain = seam_alloc(cap);
        s->cap = cap;
        if (!s->out || !s->back || !s->plain) {
            error_set(err, ERR_NO_MEMORY, "no memory for compression buffers");
            goto fail;
        }
    }
    return s;
fail:
    seat_free(s);
    return NULL;
}

static void seat_give(struct writer *w, struct bench_seat *s) {
    pthread_mutex_lock(&w->free_lock);
    s->next = w->seats;
    w->seats = s;
    pthread_mutex_unlock(&w->free_lock);
}

/* ---- packs ---- */

static int pack_finish(struct writer *w, struct open_pack *o, struct error *err) {
    pthread_mutex_lock(&w->pack_lock);
    while (o->pending) pthread_cond_wait(&w->pack_cond, &w->pack_lock);
    pthread_mutex_unlock(&w->pack_lock);
    int rc = o->spoiled ? writer_alive(w, err) : 0;
    if (rc == 0 && !pack_out_empty(o->pack)) {
        struct digest name;
        uint64_t bytes;
        rc = pack_out_finish(w->repo, o->pack, &name, &bytes, err);
        if (rc == 0) {
            pthread_mutex_lock(&w->done_lock);
            rc = mem_grow((void **)&w->packs, &w->pack_cap, w->pack_count + 1, RUN_PACK_BYTES, err);
            if (rc == 0 && w->moving)
                rc = mem_grow((void **)&w->own_packs, &w->own_cap, w->own_count + 1, sizeof *w->own_packs, err);
            if (rc == 0) {
                uint8_t *p = w->packs + (size_t)w->pack_count * RUN_PACK_BYTES;
                memcpy(p, name.b, DIGEST_BYTES);
                put_u64(p + DIGEST_BYTES, bytes | (pack_out_is_meta(o->pack) ? RUN_PACK_META : 0));
                rc = pack_out_entries(o->pack, w->pack_count, &w->entries, &w->entry_count, &w->entry_cap, err);
                if (w->entry_count >= ENTRIES_MAX) w->run_due = true;
                if (rc == 0) {
                    w->pack_count++;
                    if (w->moving) w->own_packs[w->own_count++] = name;
                }
            }
            pthread_mutex_unlock(&w->done_lock);
            w->stored_bytes += bytes;
            w->since_checkpoint += bytes;
            w->pack_total++;
        }
    }
    pack_out_free(o->pack);
    seam_free(o);
    return rc;
}

static struct open_pack *pack_begin(struct writer *w, bool meta, struct error *err) {
    void *p;
    if (mem_alloc(sizeof(struct open_pack), &p, err) < 0) return NULL;
    struct open_pack *o = p;
    if (pack_out_new(w->repo, &w->session, meta, &o->pack, err) < 0) {
        seam_free(o);
        return NULL;
    }
    return o;
}

/* The pack that a frame was put in, and the one that had no room for it. */
struct placed {
    struct open_pack *in, *full;
};

/* Seals a frame. Its pack is not finished before frame_settle, which follows whatever this answers. */
static int frame_store(struct writer *w, const struct group *g, enum codec_kind codec, const struct digest *base,
                       struct bytes payload, uint8_t *back, struct placed *ret, struct error *err) {
    bool meta = chunk_is_meta(g->kind);
    struct open_pack *full = NULL, *o;
    struct pack_slot slot = {0};
    struct buf record = BUF_INIT(4u << 20);
    uint8_t pick = 0;
    int rc = meta ? 0 : random_bytes(&pick, 1, err);
    if (rc < 0) return rc;
    pthread_mutex_lock(&w->pack_lock);
    const unsigned one = w->moving && pick >= UINT8_MAX / 4 ? w->elder : pick % DATA_PACKS_OPEN;
    struct open_pack **at = meta ? &w->meta : &w->data[one];
    if (*at && !pack_out_fits((*at)->pack, payload.len, g->count)) {
        full = *at;
        *at = NULL;
        if (!meta && one == w->elder) w->elder = (one + 1) % DATA_PACKS_OPEN;
    }
    if (!*at) *at = pack_begin(w, meta, err);
    o = *at;
    if (!o) rc = -(int)err->code;
    if (rc == 0 && !pack_out_fits(o->pack, payload.len, g->count))
        rc = error_set(err, ERR_INTERNAL, "a frame of %zu bytes fits no pack", payload.len);
    if (rc == 0)
        rc = pack_out_reserve(o->pack, (uint32_t)payload.len, (uint32_t)g->len, codec, g->kind, base, g->members,
                              g->count, &slot, err);
    if (rc == 0) {
        struct bytes rec = pack_out_record(&slot);
        o->pending++;
        ret->in = o;
        rc = buf_append(&record, rec.ptr, rec.len, err);
    }
    pthread_mutex_unlock(&w->pack_lock);
    ret->full = full;
    if (o && rc == 0) rc = pack_out_seal(&slot, buf_bytes(&record), payload, back, err);
    buf_free(&record);
    return rc;
}

/* The frame was verified, or not: then its pack is spoiled, and the writer latched before anyone could store the pack.
 */
static int frame_settle(struct writer *w, const struct placed *at, int rc, struct error *err) {
    if (rc < 0) writer_fail(w, err);
    if (at->in) {
        pthread_mutex_lock(&w->pack_lock);
        if (rc < 0) at->in->spoiled = true;
        at->in->pending--;
        pthread_cond_broadcast(&w->pack_cond);
        pthread_mutex_unlock(&w->pack_lock);
    }
    if (at->full) {
        struct error e = ERROR_INIT;
        int rc2 = pack_finish(w, at->full, &e);
        if (rc == 0 && rc2 < 0) {
            *err = e;
            rc = rc2;
        }
    }
    return rc;
}

int packs_close(struct writer *w, struct error *err) {
    struct open_pack *all[DATA_PACKS_OPEN + 1];
    pthread_mutex_lock(&w->pack_lock);
    for (int i = 0; i < DATA_PACKS_OPEN; i++) {
        all[i] = w->data[i];
        w->data[i] = NULL;
    }
    all[DATA_PACKS_OPEN] = w->meta;
    w->meta = NULL;
    pthread_mutex_unlock(&w->pack_lock);
    int rc = 0;
    for (int i = 0; i <= DATA_PACKS_OPEN; i++) {
        if (!all[i]) continue;
        struct error e = ERROR_INIT;
        int one = pack_finish(w, all[i], &e);
        if (rc == 0 && one < 0) {
            *err = e;
            rc = one;
        }
    }
    return rc;
}

/* ---- sealing ---- */

static void pack_use(struct writer *w, const struct location *l) {
    __atomic_store_n(&w->used[l->run][l->pack], 1, __ATOMIC_RELAXED);
}

bool base_use(struct writer *w, const uint8_t *id) {
    struct location l;
    if (!index_find_plain(&w->repo->index, id, &l)) return false;
    pack_use(w, &l);
    return true;
}

/* The bytes that will be stored are opened and decoded again before they count (repo.h, invariant 5). `base_prefix` may
 * be NULL. */
static int frame_encode(struct writer *w, const struct group *g, const uint8_t *base_prefix, struct bench_seat *s,
                        struct error *err) {
    enum codec_kind codec = CODEC_RAW;
    struct bytes plain = BYTES_OF(g->plain, g->len), payload = plain, base_bytes = BYTES_OF(NULL, 0);
    struct fetched base = {0};
    struct placed at = {0};
    bool delta = false;
    size_t len;
    int rc = 0;
    codec_expect(s->codec, g->page_bytes > g->len / 2 ? CODEC_PAGES : CODEC_ANY);
    if (base_prefix) {
        struct error e = ERROR_INIT;
        /* A base that cannot be read is no base: the chunk is stored plain, and a check will name the damage. It is
         * held against its id, a sixth of all that a second backup of pages costs: else what is stored from now on
         * would decode with the damage only. */
        if (fetch_base(w->fetcher, base_prefix, NULL, &base, &e) == 0) {
            rc = codec_encode_delta(s->codec, plain, base.data, w->level, s->out, &len, &delta, err);
            if (rc < 0) goto out;
        }
    }
    if (delta) {
        codec = CODEC_ZSTD_DELTA;
        base_bytes = base.data;
        payload = BYTES_OF(s->out, len);
        pthread_rwlock_rdlock(&w->index_lock);
        bool there = base_use(w, base.id.b);
        pthread_rwlock_unlock(&w->index_lock);
        if (!there) {
            rc = repo_index_whole(w->repo, err);
            if (rc == 0) rc = error_set(err, ERR_INTERNAL, "a delta's base is not in the index");
            goto out;
        }
        w->delta_chunks++;
        w->delta_bytes += g->len;
        w->delta_stored += len;
    } else {
        int level = chunk_is_meta(g->kind) ? 3 : w->level;
        if ((rc = codec_encode(s->codec, plain, level, s->out, &len, &codec, err)) < 0) goto out;
        if (codec != CODEC_RAW) payload = BYTES_OF(s->out, len);
    }
    rc = frame_store(w, g, codec, delta ? &base.id : NULL, payload, s->back, &at, err);
    if (rc == 0 && codec == CODEC_RAW) {
        if (memcmp(s->back, g->plain, g->len) != 0)
            rc = error_set(err, ERR_INTERNAL, "a stored frame differs from its source");
    } else if (rc == 0) {
        rc = codec_decode(s->codec, codec, BYTES_OF(s->back, payload.len), base_bytes, s->plain, g->len, err);
        if (rc == 0 && memcmp(s->plain, g->plain, g->len) != 0)
            rc = error_set(err, ERR_INTERNAL, "a stored frame decodes to something else than its source");
    }
    rc = frame_settle(w, &at, rc, err);
out:
    if (base.hold) fetch_release(w->fetcher, &base);
    return rc;
}

static int group_encode(struct writer *w, const struct group *g, struct bench_seat *s, struct error *err) {
    int rc = 0;
    if (!g->deltas) return frame_encode(w, g, NULL, s, err);
    uint8_t *plain = g->plain;
    for (unsigned i = 0; i < g->count && rc == 0; plain += g->members[i++].len) {
        const struct group one = {.plain = plain,
                                  .len = g->members[i].len,
                                  .members = &g->members[i],
                                  .count = 1,
                                  .kind = g->kind,
                                  .page_bytes = g->page_bytes ? g->members[i].len : 0};
        rc = frame_encode(w, &one, g->bases[i], s, err);
    }
    return rc;
}

int frame_put(struct writer *w, const struct frame *f, const struct member *members, struct bytes payload,
              uint8_t *back, struct error *err) {
    const struct group g = {
        .len = f->plain_len, .members = (struct member *)members, .count = f->member_count, .kind = f->kind};
    struct placed at = {0};
    int rc = frame_store(w, &g, f->codec, &f->base, payload, back, &at, err);
    if (rc == 0 && memcmp(back, payload.ptr, payload.len) != 0)
        rc = error_set(err, ERR_INTERNAL, "a stored frame differs from its source");
    return frame_settle(w, &at, rc, err);
}

int frame_carry(struct writer *w, struct pack_in *in, uint32_t ordinal, uint8_t *sealed, bool prove,
                frame_claim_cb claim, void *ctx, bool *ret_moved, struct error *err) {
    const struct frame *fr = pack_in_frame(in, ordinal);
    const struct bytes payload = BYTES_OF(sealed, fr->stored_len - AEAD_TAG_BYTES);
    struct bench_seat *s = NULL;
    void *mem = NULL;
    *ret_moved = false;
    if (payload.len > codec_bound(fr->plain_len)) return 0; /* longer than any of ours */
    int rc = mem_alloc((fr->member_count + 1u) * sizeof(struct member), &mem, err);
    struct member *members = mem;
    for (unsigned i = 0; i < fr->member_count && rc == 0; i++) members[i] = frame_member(fr, i);
    if (rc == 0) rc = (s = seat_take(w, fr->plain_len, err)) ? 0 : -(int)err->code;
    if (rc == 0) rc = pack_in_unseal(in, ordinal, sealed, sealed, err);
    if (rc == 0 && prove) rc = frame_verify(w->repo, in, ordinal, s->codec, payload, BYTES_OF(NULL, 0), s->plain, err);
    if (rc == 0) rc = claim(ctx, fr, ret_moved, err);
    if (rc == 0 && *ret_moved) {
        w->new_chunks += fr->member_count;
        if (fr->kind == CHUNK_DATA) w->new_bytes += fr->plain_len;
        rc = frame_put(w, fr, members, payload, s->back, err);
    }
    if (s) seat_give(w, s);
    seam_free(mem);
    return rc;
}

static void group_seal(void *arg) {
    struct group *g = arg;
    struct writer *w = g->w;
    struct error err = ERROR_INIT;
    if (writer_alive(w, &err) == 0) {
        struct bench_seat *s = seat_take(w, g->len, &err);
        int rc = s ? group_encode(w, g, s, &err) : -(int)err.code;
        if (s) seat_give(w, s);
        if (rc < 0) writer_fail(w, &err);
    }
    group_give(w, g);
}

static struct stripe *stripe_of(struct writer *w) {
    static _Thread_local unsigned mine;
    static atomic_uint next;
    if (!mine) mine = 1 + next++ % STRIPES;
    return &w->stripes[mine - 1];
}

static int group_append(struct group *g, struct bytes data, bool pages, const struct digest *id, struct error *err) {
    size_t cap = g->members_cap;
    int rc = mem_grow((void **)&g->members, &cap, g->count + 1u, sizeof *g->members, err);
    g->members_cap = (unsigned)cap;
    if (rc < 0) return rc;
    if (data.ptr != g->plain + g->len) memcpy(g->plain + g->len, data.ptr, data.len);
    g->len += data.len;
    g->page_bytes += pages ? data.len : 0;
    g->members[g->count].id = *id;
    g->members[g->count++].len = (uint32_t)data.len;
    return 0;
}

bool chunk_use(struct writer *w, const uint8_t *id) {
    struct location l;
    if (!index_find(&w->repo->index, id, &l)) {
        pthread_mutex_lock(&w->set_lock);
        bool mine = idset_has(&w->set, id);
        pthread_mutex_unlock(&w->set_lock);
        return mine;
    }
    if (l.delta && !base_use(w, l.base)) return false;
    pack_use(w, &l);
    return true;
}

/* Before the chunk whose base it is. */
static int base_append(struct group *g, const uint8_t *prefix, struct error *err) {
    size_t cap = g->bases_cap;
    int rc = mem_grow((void **)&g->bases, &cap, g->count + 1u, sizeof *g->bases, err);
    g->bases_cap = (unsigned)cap;
    if (rc == 0) memcpy(g->bases[g->count], prefix, ID_PREFIX_BYTES);
    g->deltas = true;
    return rc;
}

/* What is to become of a chunk. */
struct fate {
    bool fresh, has_base;
    uint8_t base[ID_PREFIX_BYTES];
};

/* A chunk that is fresh is to be gathered: nobody else will. */
static int decide(struct writer *w, enum chunk_kind kind, size_t len, const struct digest *sha,
                  const struct digest *base, struct digest *ret_id, struct fate *ret, struct error *err) {
    struct bytes id_key;
    *ret = (struct fate){0};
    int rc = writer_alive(w, err);
    if (rc == 0) rc = repo_id_key(w->repo, w->session.epoch, &id_key, err);
    if (rc < 0) return rc;
    chunk_id(id_key, kind, sha, ret_id);
    pthread_rwlock_rdlock(&w->index_lock);
    bool known = !w->moving && chunk_use(w, ret_id->b);
    struct location l;
    if (!known && base && w->fetcher && len >= 4096 && index_find(&w->repo->index, base->b, &l) &&
        l.kind == CHUNK_DATA) {
        memcpy(ret->base, l.delta ? l.base : base->b, ID_PREFIX_BYTES);
        ret->has_base = true;
    }
    pthread_rwlock_unlock(&w->index_lock);
    if (known) {
        if (kind == CHUNK_DATA) w->dup_bytes += len;
        return 0;
    }
    pthread_mutex_lock(&w->set_lock);
    bool twice = idset_has(&w->set, ret_id->b);
    rc = twice ? 0 : idset_add(&w->set, ret_id->b, err);
    pthread_mutex_unlock(&w->set_lock);
    if (rc < 0) return writer_fail(w, err);
    if (twice) {
        if (kind == CHUNK_DATA) w->dup_bytes += len;
        return 0;
    }
    ret->fresh = true;
    w->new_chunks++;
    if (kind == CHUNK_DATA) w->new_bytes += len;
    return 0;
}

static int gather(struct writer *w, enum chunk_kind kind, enum chunk_part part, struct bytes data,
                  const struct fate *fate, const struct digest *id, struct error *err) {
    const bool pages = part == PART_PAGES, long_text = part == PART_LONG && !fate->has_base && codec_is_text(data);
    const size_t cap = long_text ? w->group_long : w->group_max;
    int rc = 0;
    if (chunk_is_meta(kind) || data.len >= cap) {
        struct group *g = group_take(w, data.len, kind, err);
        if (!g || (fate->has_base && base_append(g, fate->base, err) < 0) ||
            group_append(g, data, pages, id, err) < 0) {
            group_free(g);
            return writer_fail(w, err);
        }
        pool_submit(w->pool, group_seal, g);
        return 0;
    }
    struct stripe *s = stripe_of(w);
    struct group *full = NULL;
    pthread_mutex_lock(&s->lock);
    struct group **at = fate->has_base ? &s->deltas : long_text ? &s->long_text : &s->group, *g = *at;
    /* of one kind, as far as pages are concerned, if they are deltas: what is in them is not the same for zstd */
    if (g && (g->len + data.len > cap || g->count == 4096 || (fate->has_base && pages != (g->page_bytes > 0)))) {
        full = g;
        *at = g = NULL;
    }
    if (!g) *at = g = group_take(w, cap, kind, err);
    rc = g ? 0 : -(int)err->code;
    if (rc == 0 && fate->has_base) rc = base_append(g, fate->base, err);
    if (rc == 0) rc = group_append(g, data, pages, id, err);
    pthread_mutex_unlock(&s->lock);
    if (full) pool_submit(w->pool, group_seal, full);
    return rc < 0 ? writer_fail(w, err) : 0;
}

static int put(struct writer *w, enum chunk_kind kind, enum chunk_part part, struct bytes data,
               const struct digest *sha, const struct digest *base, struct digest *ret_id, struct error *err) {
    struct fate fate;
    int rc = decide(w, kind, data.len, sha, base, ret_id, &fate, err);
    return rc == 0 && fate.fresh ? gather(w, kind, part, data, &fate, ret_id, err) : rc;
}

/* The block becomes a group, whose memory is the next block. */
static int block_submit(struct writer *w, uint8_t **block, const struct page_chunk *c, const struct fate *fate,
                        struct error *err) {
    struct group *g = group_take(w, 0, CHUNK_DATA, err);
    if (!g) return writer_fail(w, err);
    uint8_t *was = g->plain;
    int rc = 0;
    g->plain = *block;
    *block = was;
    for (unsigned i = 0; i < BLOCK_CHUNKS && rc == 0; i++) {
        if (fate[i].has_base) rc = base_append(g, fate[i].base, err);
        if (rc == 0) rc = group_append(g, BYTES_OF(g->plain + i * PAGE_CHUNK, PAGE_CHUNK), true, &c[i].id, err);
    }
    if (rc < 0) {
        group_free(g);
        return writer_fail(w, err);
    }
    pool_submit(w->pool, group_seal, g);
    return 0;
}

int chunk_put_block(struct writer *w, uint8_t **block, struct page_chunk c[BLOCK_CHUNKS], struct error *err) {
    struct fate fate[BLOCK_CHUNKS];
    unsigned fresh = 0, based = 0;
    int rc = 0;
    for (unsigned i = 0; i < BLOCK_CHUNKS && rc == 0; i++) {
        rc = decide(w, CHUNK_DATA, PAGE_CHUNK, &c[i].sha, c[i].base, &c[i].id, &fate[i], err);
        fresh += fate[i].fresh;
        based += fate[i].fresh && fate[i].has_base;
    }
    if (rc < 0) return writer_fail(w, err); /* some are taken for stored by now */
    if (fresh == BLOCK_CHUNKS && w->group_max == BLOCK_BYTES && (based == 0 || based == BLOCK_CHUNKS))
        return block_submit(w, block, c, fate, err);
    for (unsigned i = 0; i < BLOCK_CHUNKS && rc == 0; i++)
        if (fate[i].fresh)
            rc = gather(w, CHUNK_DATA, PART_PAGES, BYTES_OF(*block + i * PAGE_CHUNK, PAGE_CHUNK), &fate[i], &c[i].id,
                        err);
    return rc;
}

int chunk_put(struct writer *w, enum chunk_kind kind, struct bytes data, const struct digest *sha,
              const struct digest *base, struct digest *ret_id, struct error *err) {
    return put(w, kind, PART_ANY, data, sha, base, ret_id, err);
}

int chunk_put_part(struct writer *w, enum chunk_part part, struct bytes data, const struct digest *sha,
                   const struct digest *base, struct digest *ret_id, struct error *err) {
    return put(w, CHUNK_DATA, part, data, sha, base, ret_id, err);
}

int groups_flush(struct writer *w, struct error *err) {
    for (int i = 0; i < STRIPES; i++) {
        pthread_mutex_lock(&w->stripes[i].lock);
        struct group *g[] = {w->stripes[i].group, w->stripes[i].long_text, w->stripes[i].deltas};
        w->stripes[i].group = w->stripes[i].long_text = w->stripes[i].deltas = NULL;
        pthread_mutex_unlock(&w->stripes[i].lock);
        for (int k = 0; k < 3; k++)
            if (g[k]) pool_submit(w->pool, group_seal, g[k]);
    }
    return writer_alive(w, err);
}

void groups_free(struct writer *w) {
    for (int i = 0; i < STRIPES; i++) {
        group_free(w->stripes[i].group);
        group_free(w->stripes[i].long_text);
        group_free(w->stripes[i].deltas);
    }
    for (int i = 0; i < 2; i++)
        while (w->free_groups[i]) {
            struct group *g = w->free_groups[i];
            w->free_groups[i] = g->next;
            group_free(g);
        }
    while (w->seats) {
        struct bench_seat *s = w->seats;
        w->seats = s->next;
        seat_free(s);
    }
    while (w->free_block_count) seam_free(w->free_blocks[--w->free_block_count]);
    for (int i = 0; i <= DATA_PACKS_OPEN; i++) {
        struct open_pack *o = i < DATA_PACKS_OPEN ? w->data[i] : w->meta;
        if (!o) continue;
        pack_out_free(o->pack);
        seam_free(o);
    }
}
