/* Packs: their bytes those of their names, every frame decoding to the chunks it names. */
#include "crypto/sha256_x2.h"
#include "repo/check_internal.h"

static void damage_add(struct checking *c, const struct damage *d) {
    struct error e = ERROR_INIT;
    pthread_mutex_lock(&c->lock);
    if (mem_grow((void **)&c->damage, &c->damage_cap, c->damage_count + 1, sizeof *c->damage, &e) == 0)
        c->damage[c->damage_count++] = *d;
    else if (!c->has_failed) {
        c->failed = e;
        c->has_failed = true;
    }
    pthread_mutex_unlock(&c->lock);
}

void check_pack_damaged(struct checking *c, const struct pack_fact *f, enum check_result result, const char *text) {
    struct damage d = {.pack = f->name, .meta = f->meta, .frame = FRAME_ALL, .result = result};
    snprintf(d.text, sizeof d.text, "%s", text);
    damage_add(c, &d);
}

/* Packs in an archive are not damaged; nothing is known of what is in them. */
static void pack_archived(struct checking *c, const struct pack_fact *f) {
    struct error e = ERROR_INIT;
    pthread_mutex_lock(&c->lock);
    if (nameset_add(&c->archived, f->name.b, &e) < 0 && !c->has_failed) {
        c->failed = e;
        c->has_failed = true;
    }
    c->totals.packs_archived++;
    c->totals.bytes_archived += f->bytes;
    c->totals.objects--;
    c->totals.bytes -= f->bytes;
    pthread_mutex_unlock(&c->lock);
}

static void progress(struct checking *c, uint64_t bytes) {
    pthread_mutex_lock(&c->lock);
    c->done += bytes;
    c->totals.objects++;
    c->totals.bytes += bytes;
    if (c->o->progress) c->o->progress(c->o->ctx, c->done, c->total);
    pthread_mutex_unlock(&c->lock);
}

enum check_result check_result_of(int rc) {
    return rc == -ERR_OBJECT_MISSING                  ? CHECK_MISSING
           : error_info(rc)->status == EXIT_INTEGRITY ? CHECK_CORRUPT
                                                      : CHECK_UNREADABLE;
}

#define NAME_DIFFERS "the pack's bytes do not match its name (SHA-256)"

/* What a task works with, kept for the next one: fresh memory costs the system more than the decoding of a small frame.
 */
#define FRAMES_AT_ONCE 64
#define PLAIN_BYTES ((size_t)12 << 20)    /* decoded, before their chunks are held against their ids at once */
#define PLAIN_BYTES_FAR ((size_t)4 << 20) /* where more packs are in memory */
#define PLAIN_BYTES_FEW ((size_t)2 << 20) /* where few chunks are hashed at once: it is still in the cache then */
struct desk {
    struct desk *next;
    struct codec *codec;
    uint8_t *plain, *pack[CHECK_PACKS_AT_ONCE];
    size_t plain_cap, pack_cap[CHECK_PACKS_AT_ONCE];
};

static struct desk *desk_take(struct checking *c, struct error *err) {
    void *mem;
    pthread_mutex_lock(&c->lock);
    struct desk *d = c->desks;
    if (d) c->desks = d->next;
    pthread_mutex_unlock(&c->lock);
    if (d || mem_alloc(sizeof *d, &mem, err) < 0) return d;
    d = mem;
    if (codec_new(&d->codec, err) == 0) return d;
    seam_free(d);
    return NULL;
}

static void desk_put(struct checking *c, struct desk *d) {
    pthread_mutex_lock(&c->lock);
    d->next = c->desks;
    c->desks = d;
    pthread_mutex_unlock(&c->lock);
}

void check_packs_end(struct checking *c) {
    while (c->desks) {
        struct desk *d = c->desks;
        c->desks = d->next;
        for (unsigned i = 0; i < CHECK_PACKS_AT_ONCE; i++) seam_free(d->pack[i]);
        seam_free(d->plain);
        codec_free(d->codec);
        seam_free(d);
    }
}

/* A pack whose frames are looked at. */
struct look {
    struct checking *c;
    const struct pack_fact *f;
    bool named; /* its bytes are those of its name */
    struct pack_in *in;
    struct desk *desk;
    uint32_t frames[FRAMES_AT_ONCE]; /* decoded, and not proved yet */
    uint8_t *plain[FRAMES_AT_ONCE];
    unsigned n;
    size_t used, bad;
};

static void frame_bad(struct look *l, uint32_t frame, int rc, const char *text) {
    struct damage d = {.pack = l->f->name, .meta = l->f->meta, .frame = frame, .result = check_result_of(rc)};
    d.if_used = pack_in_frame(l->in, frame)->codec == CODEC_ZSTD_DELTA && rc == -ERR_OBJECT_MISSING;
    snprintf(d.text, sizeof d.text, "%s%.190s", l->named ? "" : NAME_DIFFERS ": ", text);
    damage_add(l->c, &d);
    l->bad++;
}

static void frames_prove(struct look *l) {
    struct error e = ERROR_INIT;
    bool good[FRAMES_AT_ONCE] = {false};
    int rc = frames_hold(l->c->r, l->in, l->frames, l->plain, l->n, good, &e);
    for (unsigned i = 0; i < l->n; i++) {
        char text[128];
        if (rc == 0 && good[i]) continue;
        snprintf(text, sizeof text, "%s: a chunk of frame %u is not what its id says", pack_in_key(l->in),
                 l->frames[i]);
        frame_bad(l, l->frames[i], rc < 0 ? rc : -ERR_OBJECT_CORRUPT, rc < 0 ? e.text : text);
    }
    l->n = 0;
    l->used = 0;
}

/* Room for what a frame decodes to; what lies there is proved first when there is none left. */
static int plain_room(struct look *l, size_t len, struct error *err) {
    struct desk *d = l->desk;
    const size_t usual = sha256_many_lanes() <= 2 ? PLAIN_BYTES_FEW
                         : l->c->far              ? PLAIN_BYTES_FAR
                                                  : PLAIN_BYTES,
                 want = len > usual ? len : usual;
    if (l->n == FRAMES_AT_ONCE || d->plain_cap - l->used < len) frames_prove(l);
    if (d->plain_cap - l->used >= len && d->plain) return 0;
    seam_free(d->plain);
    d->plain_cap = 0;
    if (!(d->plain = seam_alloc(want))) return error_set(err, ERR_NO_MEMORY, "no memory for a frame of %zu bytes", len);
    d->plain_cap = want;
    return 0;
}

static int frame_look(struct look *l, uint32_t i, struct bytes bytes, struct error *err) {
    const struct frame *fr = pack_in_frame(l->in, i);
    struct fetched base = {0};
    int rc = plain_room(l, fr->plain_len, err);
    uint8_t *at = rc == 0 ? l->desk->plain + l->used : NULL;
    if (rc == 0 && fr->codec == CODEC_ZSTD_DELTA) rc = fetch_base(l->c->fetcher, fr->base.b, &fr->base, &base, err);
    if (rc == 0)
        rc = frame_open(l->c->r, l->in, i, l->desk->codec, BYTES_OF(bytes.ptr + fr->at, fr->stored_len), base.data, at,
                        err);
    if (base.hold) fetch_release(l->c->fetcher, &base);
    if (rc < 0) return rc;
    l->frames[l->n] = i;
    l->plain[l->n++] = at;
    l->used += fr->plain_len;
    return 0;
}

/* Every frame of a pack that is in memory, whose bytes are those of its name or not (`named`). Answers how many are
 * bad. */
static size_t frames_check(struct checking *c, const struct pack_fact *f, struct bytes bytes, bool named,
                           struct desk *desk) {
    struct error err = ERROR_INIT;
    struct look l = {.c = c, .f = f, .named = named, .desk = desk};
    int rc = pack_in_open_from(c->r, f->meta, &f->name, 0, bytes, &l.in, &err);
    if (rc < 0) {
        char text[256];
        snprintf(text, sizeof text, "%s%.190s", named ? "" : NAME_DIFFERS ": ", err.text);
        check_pack_damaged(c, f, check_result_of(rc), text);
        l.bad = 1;
    }
    for (uint32_t i = 0; rc == 0 && i < pack_in_frames(l.in); i++) {
        struct error e = ERROR_INIT;
        const int one = frame_look(&l, i, bytes, &e);
        if (one == -ERR_S3_ARCHIVED) { /* its base lies in one */
            pack_archived(c, f);
            break;
        }
        if (one < 0) frame_bad(&l, i, one, e.text);
    }
    if (l.n) frames_prove(&l);
    pack_in_free(l.in);
    return l.bad;
}

static uint8_t *pack_unread(struct checking *c, const struct pack_fact *f, int rc, const struct error *err) {
    if (rc == -ERR_S3_ARCHIVED) {
        pack_archived(c, f);
        return NULL;
    }
    check_pack_damaged(c, f, check_result_of(rc), rc == -ERR_OBJECT_MISSING ? "the object is not there" : err->text);
    return NULL;
}

static uint8_t *pack_resized(struct checking *c, const struct pack_fact *f) {
    check_pack_damaged(c, f, CHECK_CORRUPT, "the object does not have the size that the index records");
    return NULL;
}

/* The whole object, in the desk's i-th room, or what is wrong with it is noted and nothing answered. Only looked at
 * below level checksum. */
static uint8_t *pack_bytes(struct checking *c, const struct pack_fact *f, struct desk *desk, unsigned i,
                           size_t *ret_got) {
    struct error err = ERROR_INIT;
    char key[96];
    uint64_t size;
    pack_key(f->meta, &f->name, key);
    /* Where a request takes long the size is seen by reading one byte more than there should be. */
    const bool read = c->o->level >= VERIFY_CHECKSUM, ask = !read || !c->far;
    int rc = ask ? store_stat(c->r->store, key, &size, NULL, &err) : 0;
    if (rc < 0) return pack_unread(c, f, rc, &err);
    if (ask && size != f->bytes && store_pin_first_version(c->r->store, key))
        rc = store_stat(c->r->store, key, &size, NULL, &err);
    if (ask && (rc < 0 || size != f->bytes)) return pack_resized(c, f);
    if (!read) return NULL;
    size = f->bytes + !ask;
    if (desk->pack_cap[i] < size) {
        seam_free(desk->pack[i]);
        desk->pack_cap[i] = (size + 4095) & ~(size_t)4095;
        desk->pack[i] = seam_alloc_aligned(4096, desk->pack_cap[i]);
    }
    uint8_t *const bytes = desk->pack[i];
    if (!bytes) {
        desk->pack_cap[i] = 0;
        rc = error_set(&err, ERR_NO_MEMORY, "no memory to read a pack of %llu bytes", (unsigned long long)size);
    }
    if (rc == 0) rc = store_read(c->r->store, key, 0, bytes, size, ret_got, &err);
    if (rc == 0 && !ask && *ret_got != f->bytes && store_pin_first_version(c->r->store, key))
        rc = store_read(c->r->store, key, 0, bytes, size, ret_got, &err);
    if (rc == 0 && (ask || *ret_got == f->bytes)) return bytes;
    if (rc == 0) return pack_resized(c, f);
    if (!ask || rc == -ERR_S3_ARCHIVED) return pack_unread(c, f, rc, &err);
    check_pack_damaged(c, f, CHECK_UNREADABLE, err.text);
    return NULL;
}

static void pack_judge(struct checking *c, const struct pack_fact *f, struct bytes in, const struct digest *d,
                       struct desk *desk) {
    bool whole = in.len == f->bytes && digest_equal(d, &f->name);
    if (!whole && !c->fetcher) {
        check_pack_damaged(c, f, CHECK_CORRUPT, NAME_DIFFERS);
    } else if (!whole || c->o->level >= VERIFY_DECODE) {
        /* with the read key the damage can be narrowed down to frames */
        size_t bad = frames_check(c, f, in, whole, desk);
        if (!whole && bad == 0) {
            struct damage n = {
                .pack = f->name, .meta = f->meta, .frame = FRAME_ALL, .result = CHECK_CORRUPT, .harmless = true};
            snprintf(n.text, sizeof n.text, NAME_DIFFERS "; every chunk in it is whole");
            damage_add(c, &n);
        }
    }
}

/* What lies over a pack is not the pack: its first version is looked at instead. */
static void see_past(struct checking *c, const struct pack_fact *f, struct desk *desk, unsigned i, struct bytes *in,
                     struct digest *d) {
    char key[96];
    size_t got = 0;
    pack_key(f->meta, &f->name, key);
    if (!store_pin_first_version(c->r->store, key)) return;
    const uint8_t *bytes = pack_bytes(c, f, desk, i, &got);
    *in = BYTES_OF(bytes, bytes ? got : 0);
    sha256(*in, d);
}

/* What lies in metadata is walked afterwards, by a reader that may keep it. */
static void pack_offer(struct checking *c, const struct pack_fact *f, struct desk *desk, unsigned i, struct bytes in) {
    if (!f->meta || !c->lost.f || c->o->level < VERIFY_DECODE || !fetch_offer(c->lost.f, &f->name, in)) return;
    desk->pack[i] = NULL;
    desk->pack_cap[i] = 0;
}

static void packs_look(struct check_task *t, struct desk *desk) {
    struct bytes in[CHECK_PACKS_AT_ONCE];
    struct digest d[CHECK_PACKS_AT_ONCE];
    for (unsigned i = 0; i < t->count; i++) {
        size_t got = 0;
        const uint8_t *bytes = pack_bytes(t->c, &t->facts[i], desk, i, &got);
        in[i] = BYTES_OF(bytes, bytes ? got : 0);
    }
    sha256_many(in, d, t->count);
    for (unsigned i = 0; i < t->count; i++) {
        if (in[i].ptr && !digest_equal(&d[i], &t->facts[i].name)) see_past(t->c, &t->facts[i], desk, i, &in[i], &d[i]);
        if (in[i].ptr) pack_judge(t->c, &t->facts[i], in[i], &d[i], desk);
        if (in[i].ptr) pack_offer(t->c, &t->facts[i], desk, i, in[i]);
        progress(t->c, t->facts[i].bytes);
    }
}

void check_packs(void *task) {
    struct check_task *t = task;
    struct error err = ERROR_INIT;
    struct desk *desk = desk_take(t->c, &err);
    if (desk) {
        packs_look(t, desk);
        desk_put(t->c, desk);
    }
    for (unsigned i = 0; i < t->count && !desk; i++) check_pack_damaged(t->c, &t->facts[i], CHECK_UNREADABLE, err.text);
    seam_free(t);
}
