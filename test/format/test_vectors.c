/* doc/format/{pack,index,snapshot}.md say the truth: what the program writes, given the same randomness, is byte for
 * byte what the pages have, and it reads what they have. */
#include "../harness/frame_decode.h"
#include "crypto/keyring_internal.h"
#include "crypto/parts.h"
#include "mem_store.h"
#include "repo/packlist.h"
#include "repo/repo_internal.h"
#include "repo/run.h"

#include <setjmp.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#define OK(call)                                                                                                       \
    do {                                                                                                               \
        struct error err_ = ERROR_INIT, *e = &err_;                                                                    \
        if ((call) != 0) fail_msg("%s: %s", #call, err_.text);                                                         \
    } while (0)
#define VECTORS_MAX 64

static struct vector {
    char name[64];
    uint8_t *p;
    size_t len;
} vectors[VECTORS_MAX];
static size_t vector_count;

static struct mem_store store;
static struct repo repo;

static void page_read(const char *name) {
    char path[4096];
    struct buf text = BUF_INIT(1u << 20);
    snprintf(path, sizeof path, "%s/format/%s.md", getenv("PK_DOC"), name);
    OK(io_read_file(AT_FDCWD, path, 1u << 20, &text, e));
    OK(buf_terminate(&text, e));
    char *at = strstr((char *)text.ptr, "```vectors\n");
    assert_non_null(at);
    at += strlen("```vectors\n");
    while (strncmp(at, "```", 3) != 0) {
        assert_true(vector_count < VECTORS_MAX);
        struct vector *v = &vectors[vector_count++];
        int used = 0;
        assert_int_equal(sscanf(at, "%63[a-z0-9_] = %n", v->name, &used), 1);
        assert_non_null(v->p = malloc(strlen(at)));
        char digits[2];
        size_t have = 0;
        for (at += used; !(at[0] == '\n' && at[1] != ' '); at++) {
            if (*at == ' ' || *at == '\n') continue;
            digits[have++] = *at;
            if (have < 2) continue;
            assert_true(hex_decode(digits, 2, &v->p[v->len++], 1));
            have = 0;
        }
        assert_int_equal(have, 0);
        at++;
    }
    buf_free(&text);
}

static struct bytes vector(const char *name) {
    for (size_t i = 0; i < vector_count; i++)
        if (strcmp(vectors[i].name, name) == 0) return BYTES_OF(vectors[i].p, vectors[i].len);
    fail_msg("the pages have no vector '%s'", name);
    return BYTES_OF(NULL, 0);
}

static void is_vector(const char *name, struct bytes got) {
    struct bytes want = vector(name);
    if (!bytes_equal(want, got))
        fail_msg("'%s' is not as documented (%zu bytes, %zu documented)", name, got.len, want.len);
}

static struct digest digest_of(const char *name) {
    struct digest d;
    struct bytes v = vector(name);
    assert_int_equal(v.len, sizeof d.b);
    memcpy(d.b, v.ptr, sizeof d.b);
    return d;
}

static struct bytes stored(const char *key) {
    const struct mem_object *o = mem_store_find(&store, key);
    assert_non_null(o);
    return BYTES_OF(o->bytes, o->len);
}

/* Randomness as the vectors had it, in the order in which it is asked for. */
static uint8_t queue[256];
static size_t queued, taken;
static ssize_t from_queue(void *p, size_t n) {
    assert_true(taken + n <= queued);
    memcpy(p, queue + taken, n);
    taken += n;
    return (ssize_t)n;
}
static void enqueue(const char *name) {
    struct bytes v = vector(name);
    assert_true(queued + v.len <= sizeof queue);
    memcpy(queue + queued, v.ptr, v.len);
    queued += v.len;
}
static struct seam fixed;
static void chance_begin(void) {
    fixed = seam_system;
    fixed.getrandom = from_queue;
    seam_table = &fixed;
}
static void chance_end(void) {
    seam_table = &seam_system;
    assert_int_equal(taken, queued);
    taken = queued = 0;
}

static struct digest id_of(enum chunk_kind kind, struct bytes plain) {
    struct digest sha, id;
    sha256(plain, &sha);
    chunk_id(secret_bytes(repo.keys->id_key), kind, &sha, &id);
    return id;
}

static void ids_are_as_documented(void **state) {
    (void)state;
    static const struct {
        const char *plain, *id;
        enum chunk_kind kind;
    } all[] = {{"first", "first_id", CHUNK_DATA},
               {"second", "second_id", CHUNK_DATA},
               {"third", "third_id", CHUNK_DATA},
               {"changed", "changed_id", CHUNK_DATA},
               {"list_chunk", "list_chunk_id", CHUNK_LIST},
               {"manifest", "manifest_id", CHUNK_MANIFEST},
               {"root", "root_id", CHUNK_ROOT}};
    for (size_t i = 0; i < sizeof all / sizeof *all; i++) {
        struct digest d = id_of(all[i].kind, vector(all[i].plain));
        is_vector(all[i].id, BYTES_OF(d.b, 32));
    }
}

static void frame_put(struct pack_out *p, enum codec_kind codec, const char *payload_name, const char *const *plain,
                      unsigned n, const struct digest *base) {
    struct member m[2];
    uint8_t payload[256], back[256];
    size_t len = 0;
    uint32_t plain_len = 0;
    for (unsigned i = 0; i < n; i++) {
        struct bytes v = vector(plain[i]);
        m[i] = (struct member){id_of(CHUNK_DATA, v), (uint32_t)v.len};
        if (!payload_name) {
            memcpy(payload + len, v.ptr, v.len);
            len += v.len;
        }
        plain_len += (uint32_t)v.len;
    }
    if (payload_name) {
        struct bytes v = vector(payload_name);
        memcpy(payload, v.ptr, len = v.len);
    }
    struct pack_slot slot;
    OK(pack_out_reserve(p, (uint32_t)len, plain_len, codec, CHUNK_DATA, base, m, n, &slot, e));
    OK(pack_out_seal(&slot, pack_out_record(&slot), BYTES_OF(payload, len), back, e));
    assert_memory_equal(back, payload, len);
}

static void packs_are_written_as_documented(void **state) {
    (void)state;
    struct session s = {{0}, NULL, {0}};
    struct pack_out *p = NULL;
    struct digest name, base = digest_of("first_id");
    uint64_t bytes;
    char key[96];
    enqueue("session_id"), enqueue("session_key"), enqueue("session_ephemeral"), enqueue("pack_salt");
    chance_begin();
    OK(session_new(&repo, &s, e));
    OK(pack_out_new(&repo, &s, false, &p, e));
    chance_end();
    frame_put(p, CODEC_RAW, NULL, (const char *const[]){"first", "second"}, 2, NULL);
    frame_put(p, CODEC_ZSTD, "third_payload", (const char *const[]){"third"}, 1, NULL);
    frame_put(p, CODEC_ZSTD_DELTA, "changed_payload", (const char *const[]){"changed"}, 1, &base);
    OK(pack_out_finish(&repo, p, &name, &bytes, e));
    pack_key(false, &name, key);
    is_vector("pack", stored(key));
    is_vector("pack_name", BYTES_OF(name.b, 32));
    assert_int_equal(bytes, vector("pack").len);

    /* the run over it */
    struct run_entry *entries = NULL;
    size_t n = 0, cap = 0;
    uint8_t row[RUN_PACK_BYTES];
    OK(pack_out_entries(p, 0, &entries, &n, &cap, e));
    memcpy(row, name.b, 32);
    put_u64(row + 32, bytes);
    enqueue("run_salt");
    chance_begin();
    OK(run_write(&repo, entries, n, row, 1, &name, e));
    chance_end();
    run_key(&name, key);
    is_vector("run", stored(key));
    is_vector("run_name", BYTES_OF(name.b, 32));

    struct digest names[3] = {digest_of("pack_name"), {{0}}, digest_of("pack_name")};
    for (unsigned i = 0; i < 32; i++) names[1].b[i] = (uint8_t)i;
    enqueue("list_salt");
    chance_begin();
    OK(packlist_write(&repo, names, 3, &name, &bytes, e));
    chance_end();
    run_key(&name, key);
    is_vector("list", stored(key));
    is_vector("list_name", BYTES_OF(name.b, 32));
    seam_free(entries);
    pack_out_free(p);
    session_clear(&s);
}

static void packs_are_read_as_documented(void **state) {
    (void)state;
    struct digest name = digest_of("pack_name");
    struct pack_in *in = NULL;
    struct codec *codec = NULL;
    char key[96];
    pack_key(false, &name, key);
    mem_store_put(&store, key, vector("pack"));
    OK(pack_in_open(&repo, false, &name, &in, e));
    OK(codec_new(&codec, e));
    assert_int_equal(pack_in_frames(in), 3);
    static const char *const plain[][2] = {{"first", "second"}, {"third", NULL}, {"changed", NULL}};
    for (uint32_t i = 0; i < 3; i++) {
        const struct frame *f = pack_in_frame(in, i);
        uint8_t out[256];
        assert_int_equal(f->codec, i);
        assert_int_equal(f->member_count, plain[i][1] ? 2 : 1);
        if (i == 2) is_vector("first_id", BYTES_OF(f->base.b, 32));
        OK(frame_decode(&repo, in, i, codec, BYTES_OF(NULL, 0), i == 2 ? vector("first") : BYTES_OF(NULL, 0), out, e));
        size_t at = 0;
        for (unsigned m = 0; m < f->member_count; m++) {
            is_vector(plain[i][m], BYTES_OF(out + at, frame_member(f, m).len));
            at += frame_member(f, m).len;
        }
    }
    codec_free(codec);
    pack_in_free(in);
}

struct found {
    struct digest *names;
    size_t n;
};

static int name_found(void *ctx, const struct digest *name, struct error *err) {
    struct found *f = ctx;
    (void)err;
    if (f->n < 3) f->names[f->n++] = *name;
    return 0;
}

static void runs_are_read_as_documented(void **state) {
    (void)state;
    struct digest run = digest_of("run_name"), list = digest_of("list_name"), *packs = NULL, pack;
    struct index x = {0};
    struct location l;
    size_t n;
    char key[96];
    run_key(&run, key);
    mem_store_put(&store, key, vector("run"));
    run_key(&list, key);
    mem_store_put(&store, key, vector("list"));
    OK(index_add(&repo, &x, &run, e));
    assert_true(index_find(&x, vector("changed_id").ptr, &l));
    assert_true(l.delta && l.frame == 2 && l.kind == CHUNK_DATA && l.plain_len == vector("changed").len);
    assert_memory_equal(l.base, vector("first_id").ptr, ID_PREFIX_BYTES);
    index_pack(&x, &l, &pack, NULL, NULL);
    is_vector("pack_name", BYTES_OF(pack.b, 32));
    assert_true(index_find(&x, vector("second_id").ptr, &l));
    assert_true(!l.delta && l.frame == 0);
    assert_false(index_find(&x, vector("list_chunk_id").ptr, &l));
    index_free(&x);
    OK(packlist_read(&repo, &list, &packs, &n, e));
    assert_int_equal(n, 2);
    is_vector("list_body", BYTES_OF(packs, n * sizeof *packs));
    seam_free(packs);
    struct digest parts = digest_of("parts_name");
    struct digest found[3];
    struct found f = {found, 0};
    run_key(&parts, key);
    mem_store_put(&store, key, vector("parts"));
    OK(packlist_each(&repo, &parts, name_found, &f, e));
    assert_int_equal(f.n, 2);
    is_vector("pack_name", BYTES_OF(found[0].b, 32)); /* its own come first */
    assert_memory_equal(found[1].b, vector("list_body").ptr, 32);
}

static void epochs_are_as_documented(void **state) {
    (void)state;
    struct key_info writer = {.role = ROLE_WRITER};
    struct epoch_keys now = {0};
    struct buf object = BUF_INIT(4096);
    struct secret *own = NULL;
    uint8_t pub[BOX_PUBLIC_BYTES], plain[3 * KEY_BYTES];
    struct digest name;
    uint64_t rows;
    OK(epoch_keys_derive(repo.keys, 1, &now, e));
    is_vector("id_key_1", secret_bytes(now.id));
    is_vector("cut_key_1", secret_bytes(now.cut));
    is_vector("index_key_1", secret_bytes(now.index));
    OK(sign_public(vector("writer_seed"), writer.public_key, e));
    is_vector("writer_public", BYTES_OF(writer.public_key, 32));
    OK(sign_box_public(writer.public_key, pub, e));
    is_vector("writer_box_public", BYTES_OF(pub, 32));
    OK(sign_box_secret(vector("writer_seed"), &own, e));
    OK(box_public(secret_bytes(own), pub, e));
    is_vector("writer_box_public", BYTES_OF(pub, 32));
    repo.state.keys = &writer;
    repo.state.key_count = 1;
    enqueue("epoch_salt");
    enqueue("epoch_row_ephemeral");
    enqueue("epoch_readers_ephemeral");
    chance_begin();
    OK(epoch_object_make(&repo, 1, &now, &object, &rows, e));
    chance_end();
    repo.state.keys = NULL;
    repo.state.key_count = 0;
    assert_int_equal(rows, 1);
    is_vector("epoch_object", buf_bytes(&object));
    sha256(buf_bytes(&object), &name);
    is_vector("epoch_object_name", BYTES_OF(name.b, 32));
    size_t box = sizeof plain + SEAL_OVERHEAD_BYTES;
    OK(box_open(secret_bytes(own), BYTES_OF(object.ptr + object.len - box, box), plain, e));
    is_vector("index_key_1", BYTES_OF(plain, 32));
    is_vector("id_key_1", BYTES_OF(plain + 32, 32));
    is_vector("cut_key_1", BYTES_OF(plain + 64, 32));
    secret_free(own);
    epoch_keys_clear(&now);
    buf_free(&object);
}

static void record_put(struct buf *b, unsigned shared, const char *rest, enum content_kind kind, const char *attr,
                       uint64_t bytes, const struct digest *sha, struct bytes refs) {
    OK(buf_append_varint(b, shared, e));
    OK(buf_append_varint(b, strlen(rest), e));
    OK(buf_append_str(b, rest, e));
    OK(manifest_body(b, kind, BYTES_STR(attr), bytes, sha, 1, refs, e));
}

static void manifests_are_written_as_documented(void **state) {
    (void)state;
    struct buf list = BUF_INIT(4096), refs = BUF_INIT(4096), manifest = BUF_INIT(4096), content = BUF_INIT(8192);
    static const uint8_t zeros[4096];
    struct bytes first = vector("first"), second = vector("second"), third = vector("third");
    struct digest sha;
    struct ref all[] = {{REF_CHUNK, first.len, digest_of("first_id"), get_u64(vector("first_anchor").ptr)},
                        {REF_HOLE, 4096, {{0}}, 0},
                        {REF_CHUNK, second.len, digest_of("second_id"), get_u64(vector("second_anchor").ptr)}};
    for (size_t i = 0; i < 3; i++) OK(ref_append(&list, &all[i], e));
    is_vector("list_chunk", buf_bytes(&list));
    OK(buf_append(&content, first.ptr, first.len, e));
    OK(buf_append(&content, zeros, sizeof zeros, e));
    OK(buf_append(&content, second.ptr, second.len, e));
    record_put(&manifest, 0, "a", CONTENT_NONE, "attr", 0, NULL, BYTES_OF(NULL, 0));
    struct ref one = {REF_CHUNK, third.len, digest_of("third_id"), 0};
    OK(ref_append(&refs, &one, e));
    sha256(third, &sha);
    record_put(&manifest, 1, "/one", CONTENT_FILE, "", third.len, &sha, buf_bytes(&refs));
    buf_clear(&refs);
    struct sha256_state *parts = NULL;
    struct digest by_parts;
    OK(sha256_new(&parts, e));
    parts_update(parts, third, NULL); /* of one part */
    sha256_finish(parts, &by_parts);
    sha256_free(parts);
    struct ref two = {REF_LIST, content.len, digest_of("list_chunk_id"), 0};
    OK(ref_append(&refs, &two, e));
    sha256(buf_bytes(&content), &sha);
    record_put(&manifest, 2, "two", CONTENT_RECORDS, "", content.len, &sha, buf_bytes(&refs));
    buf_clear(&refs);
    OK(ref_append(&refs, &one, e));
    record_put(&manifest, 0, "parts", CONTENT_PARTS, "", third.len, &by_parts, buf_bytes(&refs));
    is_vector("manifest", buf_bytes(&manifest));
    struct buf *bufs[] = {&list, &refs, &manifest, &content};
    for (size_t i = 0; i < 4; i++) buf_free(bufs[i]);
}

static void snapshots_are_read_as_documented(void **state) {
    (void)state;
    struct buf raw = BUF_INIT(4096);
    struct bytes root = vector("root");
    struct root_doc d;
    struct manifest_parser p;
    struct manifest_item it;
    bool end = false;
    OK(buf_append(&raw, root.ptr, root.len, e));
    OK(root_parse(raw, &d, e));
    assert_int_equal(d.items, 4);
    assert_int_equal(d.bytes, 64 + 96 + 4096 + 10 + 64);
    assert_int_equal(d.chunk_count, 1);
    is_vector("manifest_id", BYTES_OF(d.chunks[0].id.b, 32));
    assert_int_equal(d.chunks[0].plain_len, vector("manifest").len);
    assert_true(bytes_equal(d.chunks[0].first_name, BYTES_STR("a")));
    root_free(&d);
    manifest_parser_init(&p, vector("manifest"));
    static const char *const names[] = {"a", "a/one", "a/two", "parts"};
    for (unsigned i = 0; i < 4; i++) {
        OK(manifest_next(&p, &it, &end, e));
        assert_false(end);
        assert_true(bytes_equal(it.name, BYTES_STR(names[i])));
        assert_int_equal(it.kind, i < 3 ? i : CONTENT_PARTS);
    }
    OK(manifest_next(&p, &it, &end, e));
    assert_true(end);
    manifest_parser_free(&p);
}

static void sizes_are_padded_as_documented(void **state) {
    (void)state;
    static const uint64_t pairs[][2] = {
        {9, 10}, {777, 800}, {1000, 1024}, {1 << 20, 1 << 20}, {(1 << 20) + 1, 1081344}, {9999999, 10223616}};
    for (size_t i = 0; i < sizeof pairs / sizeof *pairs; i++) assert_int_equal(padme(pairs[i][0]), pairs[i][1]);
    assert_int_equal(vector("pack").len, padme(vector("pack").len));
}

static int begin(void **state) {
    (void)state;
    uint8_t master[32];
    OK(crypto_init(e));
    assert_non_null(getenv("PK_DOC"));
    page_read("pack"), page_read("index"), page_read("snapshot");
    mem_store_init(&store, NULL);
    repo = (struct repo){
        .store = &store.base, .cipher = CIPHER_AES_256_GCM, .data_pack_bytes = 1 << 20, .meta_pack_bytes = 1 << 20};
    pthread_mutex_init(&repo.lock, NULL);
    for (int i = 0; i < 16; i++) repo.id[i] = (uint8_t)i;
    for (int i = 0; i < 32; i++) master[i] = (uint8_t)(0x40 + i);
    OK(keyring_from_master(repo.id, BYTES_OF(master, 32), &repo.keys, e));
    return 0;
}

static int end(void **state) {
    (void)state;
    for (size_t i = 0; i < repo.session_count; i++) secret_free(repo.sessions[i].key);
    seam_free(repo.sessions);
    keyring_free(repo.keys);
    pthread_mutex_destroy(&repo.lock);
    mem_store_free(&store);
    for (size_t i = 0; i < vector_count; i++) free(vectors[i].p);
    return 0;
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(ids_are_as_documented),
        cmocka_unit_test(packs_are_written_as_documented),
        cmocka_unit_test(packs_are_read_as_documented),
        cmocka_unit_test(runs_are_read_as_documented),
        cmocka_unit_test(epochs_are_as_documented),
        cmocka_unit_test(manifests_are_written_as_documented),
        cmocka_unit_test(snapshots_are_read_as_documented),
        cmocka_unit_test(sizes_are_padded_as_documented),
    };
    return cmocka_run_group_tests(tests, begin, end);
}
