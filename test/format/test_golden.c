/* test/golden/v1, which an old program wrote, and test/golden/v2 with two epochs (GOLDEN says which): it opens by every
 * key, restores to the digests kept beside it, and no bit of it can change unnoticed.
 *
 * Each of its bits is flipped alone, in memory, and the part of the engine that must notice is asked directly, which is
 * the same as asking the whole: opening reads entries in order and stops at the first that entry_check refuses; runs
 * and pack lists are only ever read by run_read_body; frames only by frame_open and frames_hold, and what is around them by
 * pack_in_open. The padding of packs is read by nobody: a check holds the whole pack against its name. One flip in
 * STRIDE also goes the whole way: open, check at level decode, restore, compare. PK_FLIP_STRIDE=1 sends all of them
 * (most of an hour). Under a sanitiser one bit of each byte is flipped. */
#include "../harness/frame_decode.h"
#include "crypto/keyring.h"
#include "ledger/ledger_internal.h"
#include "mem_store.h"
#include "repo/maintain.h"
#include "repo/repo_internal.h"
#include "repo/run.h"

#include <setjmp.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#if defined __SANITIZE_ADDRESS__
#define SANITIZED 1
#elif defined __has_feature
#if __has_feature(address_sanitizer) || __has_feature(thread_sanitizer)
#define SANITIZED 1
#endif
#endif
#ifndef SANITIZED
#define SANITIZED 0
#endif
#define STRIDE 257
#ifndef GOLDEN
#define GOLDEN "v1"
#endif
#define ARGON_BYTES_MAX (64u << 20) /* of memory that a flipped slot may ask for here */

static struct mem_store store;
static struct repo *repo; /* of the unflipped store */
static struct buf expected;
static uint8_t admin_key[32], writer_key[32], identity[32];
static struct unlock by_file = {.kind = SLOT_KEY_FILE}, by_writer = {.kind = SLOT_KEY_FILE},
                     by_passphrase = {.kind = SLOT_PASSPHRASE}, by_identity = {.kind = SLOT_RECIPIENT};

#define OK(call)                                                                                                       \
    do {                                                                                                               \
        struct error err_ = ERROR_INIT, *e = &err_;                                                                    \
        if ((call) != 0) fail_msg("%s: %s", #call, err_.text);                                                         \
    } while (0)

static void key_of(const char *folder, const char *name, uint8_t key[32], struct unlock *u) {
    char path[4096];
    struct buf text = BUF_INIT(4096);
    struct secret *s = NULL;
    enum slot_kind kind;
    snprintf(path, sizeof path, "%s/" GOLDEN "/%s", folder, name);
    OK(io_read_file(AT_FDCWD, path, 4096, &text, e));
    OK(key_file_parse(buf_bytes(&text), &s, &kind, e));
    assert_int_equal(kind, u->kind);
    memcpy(key, secret_bytes(s).ptr, 32);
    u->secret = BYTES_OF(key, 32);
    secret_free(s);
    buf_free(&text);
}

/* ---- what a repository restores to, in the form of the file `expected` ---- */

struct restoring {
    struct snapshot *s;
    uint64_t seq;
    struct buf *out;
};

static int restore_item(void *ctx, const struct item_head *h, struct error *err) {
    struct restoring *r = ctx;
    char name[2 * 256 + 1], sha_hex[65] = "-", attr_hex[65];
    struct digest d;
    if (h->name.len > 256) return error_set(err, ERR_RESTORE_DIFFERS, "a long name");
    hex_encode(h->name.ptr, h->name.len, name);
    if (h->kind != CONTENT_NONE) {
        static const uint8_t zeros[4096];
        struct ritem *it = NULL;
        struct sha256_state *sha = NULL;
        struct bytes piece;
        int rc = ritem_open(r->s, h, &it, err);
        if (rc == 0) rc = sha256_new(&sha, err);
        while (rc == 0 && (rc = ritem_next(it, &piece, err)) == 0 && piece.len) {
            if (piece.ptr) sha256_update(sha, piece);
            for (size_t left = piece.ptr ? 0 : piece.len; left > 0;) {
                size_t n = left < sizeof zeros ? left : sizeof zeros;
                sha256_update(sha, BYTES_OF(zeros, n));
                left -= n;
            }
        }
        if (rc == 0) sha256_finish(sha, &d);
        sha256_free(sha);
        ritem_close(it);
        if (rc < 0) return rc;
        hex_encode(d.b, 32, sha_hex);
    }
    sha256(h->attr, &d);
    hex_encode(d.b, 32, attr_hex);
    return buf_printf(r->out, err, "item %llu %s %d %llu %s %s\n", (unsigned long long)r->seq, name, (int)h->kind,
                      (unsigned long long)h->bytes, sha_hex, attr_hex);
}

static int restore_all(struct repo *r, struct buf *out, struct error *err) {
    int rc = 0;
    for (size_t i = 0; i < repo_snapshot_count(r) && rc == 0; i++) {
        const struct snapshot_info *info = repo_snapshot(r, i);
        if (info->forgotten) continue;
        struct restoring x = {.seq = info->seq, .out = out};
        if ((rc = snapshot_open(r, info, &x.s, err)) < 0) break;
        rc = buf_printf(out, err, "snapshot %llu %s/%s %s %llu\n", (unsigned long long)info->seq, info->environment,
                        info->surface, info->kind, (unsigned long long)snapshot_items(x.s));
        if (rc == 0) rc = snapshot_walk(x.s, BYTES_OF(NULL, 0), restore_item, &x, err);
        snapshot_close(x.s);
    }
    return rc;
}

/* ---- the whole way ---- */

enum outcome { NOTICED, ACCEPTED, LIED }; /* LIED: called whole, and restored to something else */

static enum outcome whole_way(void) {
    struct error err = ERROR_INIT;
    struct repo *r = NULL;
    struct check_options o = {.level = VERIFY_DECODE, .threads = 1};
    struct check_totals totals = {0};
    struct buf got = BUF_INIT(1u << 20);
    enum outcome result = NOTICED;
    if (repo_open(&store.base, &by_file, NULL, &r, &err) < 0) return NOTICED;
    if (repo_check(r, &o, &totals, &err) == 0 && totals.result == CHECK_VERIFIED)
        result =
            restore_all(r, &got, &err) == 0 && bytes_equal(buf_bytes(&got), buf_bytes(&expected)) ? ACCEPTED : LIED;
    buf_free(&got);
    repo_close(r);
    return result;
}

/* ---- flipping ---- */

typedef bool (*noticer)(struct mem_object *o, size_t at, void *ctx); /* whether the flip that stands is noticed */
static uint64_t flips, whole;

static void flip_each(struct mem_object *o, bool derived, noticer notices, void *ctx) {
    const char *text = getenv("PK_FLIP_STRIDE");
    uint64_t stride = text ? strtoull(text, NULL, 10) : STRIDE;
    for (size_t at = 0; at < o->len; at++)
        for (unsigned bit = 0; bit < 8; bit++) {
            if (SANITIZED && !text && bit != at % 8) continue;
            o->bytes[at] ^= (uint8_t)(1u << bit);
            if (notices && !notices(o, at, ctx)) fail_msg("%s, byte %zu, bit %u: not noticed", o->key, at, bit);
            if (flips++ % stride == 0) {
                enum outcome got = whole_way();
                whole++;
                if (got == LIED)
                    fail_msg("%s, byte %zu, bit %u: called whole and restored to something else", o->key, at, bit);
                if (got == ACCEPTED && !derived) fail_msg("%s, byte %zu, bit %u: accepted", o->key, at, bit);
            }
            o->bytes[at] ^= (uint8_t)(1u << bit);
        }
}

static void flip_all(const char *prefix, bool derived, noticer notices, void *ctx) {
    size_t n = 0;
    flips = whole = 0;
    for (size_t i = 0; i < store.count; i++) {
        if (strncmp(store.objects[i].key, prefix, strlen(prefix)) != 0) continue;
        flip_each(&store.objects[i], derived, notices, ctx);
        n++;
    }
    assert_true(n > 0 && whole > 0);
    printf("# %s: %zu objects, %llu flips, %llu of them the whole way\n", prefix, n, (unsigned long long)flips,
           (unsigned long long)whole);
    assert_int_equal(whole_way(), ACCEPTED); /* all is as it was */
}

static bool name_is_held(const struct mem_object *o) {
    struct digest d;
    char hex[65];
    sha256(BYTES_OF(o->bytes, o->len), &d);
    hex_encode(d.b, 32, hex);
    return strcmp(strrchr(o->key, '/') + 1, hex) == 0;
}

static struct digest name_of(const struct mem_object *o) {
    struct digest d;
    const char *hex = strrchr(o->key, '/') + 1;
    assert_true(hex_decode(hex, strlen(hex), d.b, 32));
    return d;
}

/* ---- claims ---- */

static void every_key_opens_it(void **state) {
    (void)state;
    const struct unlock *all[] = {&by_file, &by_writer, &by_passphrase, &by_identity};
    const enum key_role roles[] = {ROLE_ADMIN, ROLE_WRITER, ROLE_ADMIN, ROLE_ADMIN};
    for (size_t i = 0; i < 4; i++) {
        struct repo *r = NULL;
        OK(repo_open(&store.base, all[i], NULL, &r, e));
        assert_int_equal(repo_keys(r)->role, roles[i]);
        repo_close(r);
    }
}

static void it_restores_to_what_was_stored(void **state) {
    (void)state;
    struct buf got = BUF_INIT(1u << 20);
    OK(restore_all(repo, &got, e));
    assert_int_equal(got.len, expected.len);
    assert_memory_equal(got.ptr, expected.ptr, got.len);
    buf_free(&got);
    assert_int_equal(whole_way(), ACCEPTED);
}

/* v2 has the same twice, in two epochs, and less of the rest. */
static void it_has_two_epochs(void) {
    unsigned packs[2] = {0}, runs[2] = {0};
    for (size_t i = 0; i < store.count; i++) {
        const struct mem_object *o = &store.objects[i];
        if (strncmp(o->key, "packs/", 6) == 0) packs[get_u16(o->bytes + PACK_EPOCH_AT)]++;
        if (strncmp(o->key, "index/", 6) == 0 && o->bytes[10] != RUN_TYPE_EPOCH)
            runs[get_u16(o->bytes + RUN_EPOCH_AT)]++;
    }
    assert_true(packs[0] && packs[1] && runs[0] && runs[1]);
    assert_int_equal(repo->state.epoch_count, 1);
    assert_int_equal(repo_key_count(repo), 2);
    assert_int_equal(repo_snapshot_count(repo), 4);
}

static void it_has_what_the_format_has(void **state) {
    (void)state;
    if (strcmp(GOLDEN, "v2") == 0) {
        it_has_two_epochs();
        return;
    }
    bool codecs[3] = {false};
    unsigned replaced = 0;
    for (size_t i = 0; i < store.count; i++) {
        if (strncmp(store.objects[i].key, "packs/", 6) != 0) continue;
        struct digest name = name_of(&store.objects[i]);
        struct pack_in *in = NULL;
        OK(pack_in_open(repo, store.objects[i].key[6] == 'm', &name, &in, e));
        for (uint32_t f = 0; f < pack_in_frames(in); f++) codecs[pack_in_frame(in, f)->codec] = true;
        pack_in_free(in);
    }
    assert_true(codecs[0] && codecs[1] && codecs[2]);
    for (size_t i = 0; i < repo->state.delete_count; i++) replaced += repo->state.deletes[i].has_replacement;
    assert_int_equal(replaced, 1);
    assert_int_equal(repo_job_count(repo), 1);
    assert_int_equal(repo_key_count(repo), 2);
    const struct snapshot_info *s = repo_snapshot(repo, 2);
    assert_int_equal(s->seq, 4);
    assert_int_equal(s->holds, 1);
    assert_int_equal(s->verified, VERIFY_DECODE);
    assert_true(repo_snapshot(repo, 0)->forgotten);
}

static bool format_is_noticed(struct mem_object *o, size_t at, void *ctx) {
    (void)o, (void)at, (void)ctx;
    struct repo *r = NULL;
    struct error err = ERROR_INIT;
    int rc = repo_open(&store.base, &by_file, NULL, &r, &err);
    if (rc == 0) repo_close(r);
    return rc < 0;
}

static void flips_of_format_are_noticed(void **state) {
    (void)state;
    flip_all("format", false, format_is_noticed, NULL);
}

/* As a wire without digests may damage it: `format` comes with one letter of its cipher changed, as often as `harms`.
 */
static const struct store_ops *harmed_ops;
static int harms, readings;
static int harmed_read(struct store *s, const char *key, uint64_t at, void *p, size_t len, size_t *ret_n,
                       struct error *err) {
    int rc = harmed_ops->read(s, key, at, p, len, ret_n, err);
    char *cipher = rc == 0 && strcmp(key, "format") == 0 ? memmem(p, *ret_n, "aes-256-gcm", 11) : NULL;
    if (cipher && readings++ < harms) cipher[4 + readings] ^= 1;
    return rc;
}

static void damage_on_the_way_is_no_newer_version(void **state) {
    (void)state;
    harmed_ops = store.base.ops;
    struct store_ops ops = *harmed_ops;
    ops.read = harmed_read;
    ops.get_many = NULL;
    store.base.ops = &ops;
    for (harms = 0; harms < 3; harms++) {
        struct repo *r = NULL;
        struct error err = ERROR_INIT;
        readings = 0;
        assert_int_equal(repo_open(&store.base, &by_file, NULL, &r, &err), harms < 2 ? 0 : -ERR_OBJECT_CORRUPT);
        assert_int_equal(readings, harms ? 2 : 1);
        if (harms < 2) repo_close(r);
        error_clear(&err);
    }
    store.base.ops = harmed_ops;
}

static bool slot_is_noticed(struct mem_object *o, size_t at, void *ctx) {
    (void)ctx;
    static const char *const labels[] = {"the first key", "a host that only writes", "a passphrase", "a recipient"};
    struct unlock *const with[] = {&by_file, &by_writer, &by_passphrase, &by_identity};
    struct error err = ERROR_INIT;
    struct keyring *k = NULL;
    if (name_is_held(o)) return false;
    for (size_t i = 0; i < 4; i++) {
        /* the label tells whose slot it is; where it is flipped itself, all are tried */
        bool its = memcmp(o->bytes + 64, labels[i], strlen(labels[i])) == 0 || (at >= 64 && at < 128);
        if (!its || (o->bytes[8] == SLOT_PASSPHRASE && get_u64(o->bytes + 200) > ARGON_BYTES_MAX)) continue;
        int rc = slot_open(BYTES_OF(o->bytes, o->len), with[i], &k, &err);
        if (rc == 0) keyring_free(k);
        if (rc == 0) return false;
        error_clear(&err);
    }
    return true;
}

static void flips_of_key_slots_are_noticed(void **state) {
    (void)state;
    flip_all("keys/", false, slot_is_noticed, NULL);
}

static bool entry_is_noticed(struct mem_object *o, size_t at, void *ctx) {
    (void)at;
    const struct digest *before = ctx;
    struct error err = ERROR_INIT;
    struct entry got = {0};
    uint64_t seq = strtoull(o->key + 4, NULL, 10);
    int rc = entry_check(BYTES_OF(o->bytes, o->len), seq, &before[seq], false, &got, &err);
    if (rc == 0) entry_free(&got);
    return rc == -ERR_LEDGER_BROKEN;
}

static void flips_of_the_log_are_noticed(void **state) {
    (void)state;
    struct digest before[65] = {0}; /* of entry n-1, at n */
    for (size_t i = 0; i < store.count; i++) {
        const struct mem_object *o = &store.objects[i];
        if (strncmp(o->key, "log/", 4) == 0)
            sha256(BYTES_OF(o->bytes, o->len), &before[1 + strtoull(o->key + 4, NULL, 10)]);
    }
    flip_all("log/", false, entry_is_noticed, before);
}

static bool run_is_noticed(struct mem_object *o, size_t at, void *ctx) {
    (void)at, (void)ctx;
    for (uint8_t type = RUN_TYPE_INDEX; type <= RUN_TYPE_PACKLIST; type++) {
        struct error err = ERROR_INIT;
        struct digest name = name_of(o);
        uint64_t n;
        uint32_t packs;
        uint8_t *body = NULL;
        size_t len;
        int rc = run_read_body(repo, &name, type, &n, &packs, &body, &len, &err);
        seam_free(body);
        if (rc != -ERR_OBJECT_CORRUPT) return false;
    }
    return true;
}

static void flips_of_runs_and_pack_lists_are_noticed(void **state) {
    (void)state;
    flip_all("index/", false, run_is_noticed, NULL);
}

struct pack_flips {
    struct mem_object *of;
    struct pack_in *in;
    struct codec *codec;
    uint8_t *plain;
    uint64_t frames_end;
    size_t first_padding, last_padding; /* bytes that opening does not read */
};

static void pack_flips_end(struct pack_flips *p) {
    if (!p->of) return;
    if (p->last_padding) assert_int_equal(p->last_padding, p->of->len - PACK_FOOTER_BYTES - 1);
    pack_in_free(p->in);
    p->in = NULL;
}

/* Opens the pack as it was, whatever bit is flipped now. */
static void pack_flips_begin(struct pack_flips *p, struct mem_object *o, size_t at) {
    pack_flips_end(p);
    struct digest name = name_of(o);
    uint8_t now = o->bytes[at];
    for (unsigned bit = 0; bit < 8; bit++) {
        o->bytes[at] = (uint8_t)(now ^ 1u << bit);
        if (name_is_held(o)) break;
    }
    OK(pack_in_open(repo, o->key[6] == 'm', &name, &p->in, e));
    o->bytes[at] = now;
    p->of = o;
    p->first_padding = p->last_padding = 0;
    const struct frame *last = pack_in_frame(p->in, pack_in_frames(p->in) - 1);
    p->frames_end = last->at + last->stored_len;
}

static bool pack_is_noticed(struct mem_object *o, size_t at, void *ctx) {
    struct pack_flips *p = ctx;
    struct error err = ERROR_INIT;
    if (p->of != o) pack_flips_begin(p, o, at);
    if (name_is_held(o)) return false;
    if (at >= PACK_HEADER_BYTES && at < p->frames_end) {
        for (uint32_t i = 0; i < pack_in_frames(p->in); i++) {
            const struct frame *f = pack_in_frame(p->in, i);
            if (at < f->at || at >= f->at + f->stored_len) continue;
            return frame_decode(repo, p->in, i, p->codec, BYTES_OF(o->bytes + f->at, f->stored_len), BYTES_OF(NULL, 0),
                                p->plain, &err) == -ERR_OBJECT_CORRUPT;
        }
        return false;
    }
    struct digest name = name_of(o);
    struct pack_in *in = NULL;
    int rc = pack_in_open(repo, o->key[6] == 'm', &name, &in, &err);
    if (rc < 0) return rc == -ERR_OBJECT_CORRUPT;
    pack_in_free(in);
    /* one run of bytes, which ends where the footer begins */
    if (p->last_padding && at > p->last_padding + 1) return false;
    if (!p->last_padding) p->first_padding = at;
    p->last_padding = at;
    return p->first_padding > p->frames_end + AEAD_TAG_BYTES;
}

static void flips_of_packs_are_noticed(void **state) {
    (void)state;
    struct pack_flips p = {0};
    OK(codec_new(&p.codec, e));
    assert_non_null(p.plain = malloc(CHUNK_PLAIN_MAX));
    flip_all("packs/", false, pack_is_noticed, &p);
    pack_flips_end(&p);
    codec_free(p.codec);
    free(p.plain);
}

static bool checkpoint_is_noticed(struct mem_object *o, size_t at, void *ctx) {
    (void)at, (void)ctx;
    struct error err = ERROR_INIT;
    struct checkpoint got;
    char origin[64];
    snprintf(origin, sizeof origin, "proofkeep/%s", repo_id_hex(repo));
    return checkpoint_verify(BYTES_OF(o->bytes, o->len), origin, repo_keys(repo)->admin_public, &got, &err) ==
           -ERR_LEDGER_BROKEN;
}

/* What is derived from the log is not needed, so damage to it harms nothing; but it must not pass for whole. */
static void flips_of_what_is_derived_harm_nothing(void **state) {
    (void)state;
    flip_all("checkpoint", true, checkpoint_is_noticed, NULL);
    flip_all("tile/", true, NULL, NULL);
}

static int begin(void **state) {
    (void)state;
    const char *folder = getenv("PK_GOLDEN");
    char path[4096];
    assert_non_null(folder);
    OK(crypto_init(e));
    key_of(folder, "key", admin_key, &by_file);
    key_of(folder, "writer.key", writer_key, &by_writer);
    key_of(folder, "identity.key", identity, &by_identity);
    by_passphrase.secret = BYTES_STR("golden");
    snprintf(path, sizeof path, "%s/" GOLDEN "/repo", folder);
    mem_store_init(&store, path);
    snprintf(path, sizeof path, "%s/" GOLDEN "/expected", folder);
    expected = BUF_INIT(1u << 20);
    OK(io_read_file(AT_FDCWD, path, 1u << 20, &expected, e));
    OK(repo_open(&store.base, &by_file, NULL, &repo, e));
    return 0;
}

static int end(void **state) {
    (void)state;
    repo_close(repo);
    mem_store_free(&store);
    buf_free(&expected);
    return 0;
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_key_opens_it),
        cmocka_unit_test(it_restores_to_what_was_stored),
        cmocka_unit_test(it_has_what_the_format_has),
        cmocka_unit_test(flips_of_format_are_noticed),
        cmocka_unit_test(damage_on_the_way_is_no_newer_version),
        cmocka_unit_test(flips_of_key_slots_are_noticed),
        cmocka_unit_test(flips_of_the_log_are_noticed),
        cmocka_unit_test(flips_of_runs_and_pack_lists_are_noticed),
        cmocka_unit_test(flips_of_packs_are_noticed),
        cmocka_unit_test(flips_of_what_is_derived_harm_nothing),
    };
    return cmocka_run_group_tests(tests, begin, end);
}
