/* Makes repositories through the library, for readers that know only the format documents.
 *
 *   make_repo init DIR                       DIR/repo, its key file DIR/key
 *   make_repo put DIR SURFACE SET GENERATION one snapshot of made-up items (content.h); prints what a reader must find
 *   make_repo capture DIR SURFACE TREE       one snapshot of a folder by the files driver; prints its place in the log
 *   make_repo vouch DIR SEQ                  a verification, a hold, and a job that failed
 *   make_repo forget DIR SEQ...
 *   make_repo collect DIR SHARE              removes what nobody needs, rewrites packs less alive than SHARE
 *   make_repo reindex DIR
 *   make_repo keys DIR                       DIR/writer.key, DIR/identity.key and the passphrase "golden" open it too
 *   make_repo epoch DIR [NAME ROLE]          begins one; then, with a name, adds the key DIR/NAME
 *   make_repo wal DIR NAME FILE              stores the file as the object wal/1/NAME, and registers it unless NAME
 * ends in "x" make_repo publish DIR                    tiles and checkpoint
 *
 * PK_WRITER set: put opens with DIR/writer.key; PK_KEY: any verb opens with that file of DIR. PK_PARITY: packs get so
 * many percent of it. PK_PART_NAMES: packs in a part of a list. What put prints: a line "snapshot SEQ
 * ENVIRONMENT/SURFACE KIND ITEMS", then for each item "item SEQ NAME KIND BYTES SHA256 ATTR", NAME in hex, ATTR the
 * SHA-256 of its attribute record. */
#include "base/seam.h"
#include "base/time.h"
#include "content.h"
#include "crypto/keyring.h"
#include "repo/maintain.h"
#include "repo/repo_internal.h"
#include "surface/surface.h"

#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#define ENVIRONMENT "prod"
static const char *dir;
static struct store *store;
static struct repo *repo;

static void ok(int rc, const struct error *err) {
    if (rc >= 0) return;
    fprintf(stderr, "make_repo: %s %s\n", error_info(rc)->code, err->text);
    exit(1);
}

static const char *place(const char *name) {
    static char path[4][4096];
    static unsigned at;
    char *p = path[at++ % 4];
    snprintf(p, sizeof path[0], "%s/%s", dir, name);
    return p;
}

static void key_read(const char *name, uint8_t key[32]) {
    struct error err = ERROR_INIT;
    struct buf text = BUF_INIT(4096);
    struct secret *s = NULL;
    enum slot_kind kind;
    ok(io_read_file(AT_FDCWD, place(name), 4096, &text, &err), &err);
    ok(key_file_parse(buf_bytes(&text), &s, &kind, &err), &err);
    memcpy(key, secret_bytes(s).ptr, 32);
    secret_free(s);
    buf_free(&text);
}

static void key_write(const char *name, const uint8_t key[32], bool identity) {
    struct error err = ERROR_INIT;
    struct buf text = BUF_INIT(4096);
    ok((identity ? key_identity_format : key_file_format)(BYTES_OF(key, 32), &text, &err), &err);
    ok(io_replace_file(AT_FDCWD, place(name), buf_bytes(&text), 0644, &err), &err);
    buf_free(&text);
}

static void repo_begin(const char *key_name) {
    struct error err = ERROR_INIT;
    uint8_t key[32];
    key_read(key_name, key);
    struct unlock u = {.kind = SLOT_KEY_FILE, .secret = BYTES_OF(key, 32)};
    ok(store_local_open(place("repo"), false, &store, &err), &err);
    ok(repo_open(store, &u, place("cache"), &repo, &err), &err);
    const char *percent = getenv("PK_PARITY");
    if (percent) repo_parity_set(repo, (unsigned)atoi(percent));
    const char *parts = getenv("PK_PART_NAMES");
    if (parts) repo->part_names = strtoul(parts, NULL, 10);
}

static void init(void) {
    struct error err = ERROR_INIT;
    struct repo_params p = {.data_pack_bytes = 1 << 20, .meta_pack_bytes = 1 << 20};
    struct keyring *keys = NULL;
    uint8_t key[32];
    ok(random_bytes(key, sizeof key, &err), &err);
    struct unlock u = {.kind = SLOT_KEY_FILE, .secret = BYTES_OF(key, 32)};
    ok(io_mkdirs(dir, 0755, &err), &err);
    ok(store_local_open(place("repo"), true, &store, &err), &err);
    ok(repo_create(store, &p, &u, "the first key", &keys, &err), &err);
    key_write("key", key, false);
    keyring_free(keys);
}

/* ---- snapshots ---- */

struct receipt {
    struct writer *w;
    const char *surface, *kind;
};

/* No more than readers of the format rely on; the program's own receipts say much more. */
static int receipt_build(void *ctx, uint64_t seq, json_t **ret, struct error *err) {
    struct receipt *r = ctx;
    json_t *repository = NULL;
    struct digest d;
    uint64_t bytes;
    char uri[128], hex[65], id[64], now[32];
    int rc = writer_describe(r->w, &repository, err);
    if (rc < 0) return rc;
    json_object_set_new(repository, "kind", json_string(r->kind));
    json_object_set_new(repository, "complete", json_true());
    writer_artifact(r->w, &d, &bytes, uri);
    hex_encode(d.b, 32, hex);
    time_format(time_now_ns(), now);
    snprintf(id, sizeof id, "bkp-" ENVIRONMENT "-%s-%llu", r->surface, (unsigned long long)seq);
    *ret = json_pack("{s:s, s:[{s:s, s:{s:s}}], s:s, s:{s:s, s:s, s:s, s:s, s:s, s:s, s:o}}", "_type", STATEMENT_TYPE,
                     "subject", "name", uri, "digest", "sha256", hex, "predicateType", PREDICATE_RECEIPT, "predicate",
                     "backup_id", id, "environment", ENVIRONMENT, "surface", r->surface, "started_at", now,
                     "completed_at", now, "status", "success", "repository", repository);
    return *ret ? 0 : error_set(err, ERR_NO_MEMORY, "no memory for a receipt");
}

static struct writer *writer_begin(const char *surface) {
    struct error err = ERROR_INIT;
    struct writer_options o = {.environment = ENVIRONMENT, .surface = surface, .threads = 2};
    struct writer *w = NULL;
    ok(writer_open(repo, &o, &w, &err), &err);
    return w;
}

static uint64_t writer_end(struct writer *w, const char *surface, const char *kind, const json_t *facts) {
    struct error err = ERROR_INIT;
    uint64_t seq = 0;
    ok(writer_finish(w, facts, &err), &err);
    struct receipt r = {w, surface, kind};
    ok(writer_commit(w, receipt_build, &r, &seq, NULL, &err), &err);
    writer_free(w);
    return seq;
}

static void piece_put(struct witem *it, const uint8_t *p, size_t n) {
    struct error err = ERROR_INIT;
    for (size_t at = 0; at < n;) {
        uint8_t *to;
        size_t room;
        ok(witem_space(it, &to, &room, &err), &err);
        size_t part = n - at < room ? n - at : room;
        memcpy(to, p + at, part);
        ok(witem_advance(it, part, &err), &err);
        at += part;
    }
}

/* The bytes so far of the part that is being gathered, and the digest by parts of those before. */
struct digesting {
    bool parts;
    size_t have;
    struct sha256_state *all, *part;
};

static void part_end(struct digesting *d) {
    struct digest one;
    if (d->have == 0) return;
    sha256_finish(d->part, &one);
    sha256_update(d->all, BYTES_OF(one.b, sizeof one.b));
    d->have = 0;
}

static void digest_add(struct digesting *d, struct bytes in) {
    if (!d->parts) sha256_update(d->all, in);
    while (d->parts && in.len) {
        const size_t left = 131072 - d->have, n = in.len < left ? in.len : left;
        sha256_update(d->part, BYTES_OF(in.ptr, n));
        d->have += n;
        if (d->have == 131072) part_end(d);
        in = BYTES_OF(in.ptr + n, in.len - n);
    }
}

/* The digest is taken here, from what was put in, and not from what the library says of it. */
static uint64_t content_put(struct writer *w, uint64_t seq, const struct content *c, struct digest *ret) {
    static const uint8_t zeros[65536];
    struct error err = ERROR_INIT;
    struct witem *it;
    struct digesting sha = {.parts = c->kind == CONTENT_PARTS};
    struct known_item known;
    uint64_t bytes = 0;
    ok(sha256_new(&sha.all, &err), &err);
    ok(sha256_new(&sha.part, &err), &err);
    (void)!writer_known(w, c->name, &known); /* a look back is what finds the bases of deltas */
    ok(writer_item_open(w, seq, c->name, c->kind, &it, &err), &err);
    size_t piece = c->hole ? c->piece : c->data.len;
    for (size_t at = 0; at < c->data.len; at += piece) {
        size_t n = c->data.len - at < piece ? c->data.len - at : piece;
        piece_put(it, c->data.ptr + at, n);
        digest_add(&sha, BYTES_OF(c->data.ptr + at, n));
        bytes += n + c->hole;
        if (c->hole) ok(witem_hole(it, c->hole, &err), &err);
        for (uint64_t left = c->hole; left > 0;) {
            size_t z = left < sizeof zeros ? (size_t)left : sizeof zeros;
            digest_add(&sha, BYTES_OF(zeros, z));
            left -= z;
        }
    }
    ok(witem_close(it, c->attr, NULL, &err), &err);
    part_end(&sha);
    sha256_finish(sha.all, ret);
    sha256_free(sha.all);
    sha256_free(sha.part);
    return bytes;
}

static void put(const char *surface, const char *set, unsigned generation) {
    struct contents c;
    const char *kind = strcmp(set, "tree") == 0 ? "files" : "test";
    contents_make(set, generation, &c);
    struct writer *w = writer_begin(surface);
    struct digest *sha = calloc(c.count, sizeof *sha);
    uint64_t *bytes = calloc(c.count, sizeof *bytes);
    if (!sha || !bytes) abort();
    for (size_t i = 0; i < c.count; i++) bytes[i] = content_put(w, i, &c.items[i], &sha[i]);
    unsigned long long seq = writer_end(w, surface, kind, c.facts);
    printf("snapshot %llu %s/%s %s %zu\n", seq, ENVIRONMENT, surface, kind, c.count);
    for (size_t i = 0; i < c.count; i++) {
        const struct content *it = &c.items[i];
        struct digest attr;
        char name[2 * 256 + 1], hex[65], attr_hex[65];
        hex_encode(it->name.ptr, it->name.len, name);
        hex_encode(sha[i].b, 32, hex);
        sha256(it->attr, &attr);
        hex_encode(attr.b, 32, attr_hex);
        printf("item %llu %s %d %llu %s %s\n", seq, name, (int)it->kind, (unsigned long long)bytes[i],
               it->kind == CONTENT_NONE ? "-" : hex, attr_hex);
    }
    free(sha);
    free(bytes);
    contents_free(&c);
}

/* ---- the files driver's sink ---- */

struct repo_sink {
    struct sink base;
    struct writer *w;
};
static struct writer *of(struct sink *s) {
    return ((struct repo_sink *)s)->w;
}
static bool sink_known(struct sink *s, struct bytes name, struct item_known *ret) {
    struct known_item k;
    if (!writer_known(of(s), name, &k)) return false;
    *ret = (struct item_known){k.attr, (enum item_kind)k.kind, k.bytes, k.sha256};
    return true;
}
static int sink_keep(struct sink *s, uint64_t seq, struct bytes name, struct bytes attr, struct error *err) {
    return writer_keep(of(s), seq, name, attr, err);
}
static int sink_open(struct sink *s, uint64_t seq, struct bytes name, enum item_kind kind, struct sink_item **ret,
                     struct error *err) {
    return writer_item_open(of(s), seq, name, (enum content_kind)kind, (struct witem **)ret, err);
}
static int sink_space(struct sink_item *it, uint8_t **ret, size_t *n, struct error *err) {
    return witem_space((struct witem *)it, ret, n, err);
}
static int sink_advance(struct sink_item *it, size_t n, struct error *err) {
    return witem_advance((struct witem *)it, n, err);
}
static int sink_hole(struct sink_item *it, uint64_t n, struct error *err) {
    return witem_hole((struct witem *)it, n, err);
}
static int sink_restart(struct sink_item *it, struct error *err) {
    return witem_restart((struct witem *)it, err);
}
static int sink_close(struct sink_item *it, struct bytes attr, struct digest *ret, struct error *err) {
    return witem_close((struct witem *)it, attr, ret, err);
}
static void sink_drop(struct sink_item *it) {
    witem_drop((struct witem *)it);
}

static void capture(const char *surface, const char *tree) {
    static const struct sink_ops ops = {sink_known, sink_keep,    sink_open,  sink_space, sink_advance,
                                        sink_hole,  sink_restart, sink_close, sink_drop};
    struct error err = ERROR_INIT;
    struct capture_result r = {0};
    json_t *settings = json_pack("{s:[s]}", "paths", tree), *facts = json_object();
    struct surface_context ctx = {
        .environment = ENVIRONMENT, .name = surface, .settings = settings, .jobs = 2, .scratch_dir = dir};
    struct repo_sink sink = {{&ops}, writer_begin(surface)};
    ok(surface_files.capture(&ctx, &sink.base, &r, &err), &err);
    json_object_set_new(facts, "facts", r.facts);
    json_object_set_new(facts, "invariants", r.invariants);
    printf("%llu\n", (unsigned long long)writer_end(sink.w, surface, "files", facts));
    json_decref(facts);
    json_decref(settings);
}

/* ---- what else a log holds ---- */

static void say(const char *type, const char *subject, json_t *predicate) {
    struct error err = ERROR_INIT;
    struct digest d;
    json_t *s = NULL;
    sha256(BYTES_STR(subject), &d);
    char hex[65];
    hex_encode(d.b, 32, hex);
    s = json_pack("{s:s, s:[{s:s, s:{s:s}}], s:s, s:o}", "_type", STATEMENT_TYPE, "subject", "name", subject, "digest",
                  "sha256", hex, "predicateType", type, "predicate", predicate);
    if (!s) abort();
    ok(repo_append(repo, s, NULL, NULL, &err), &err);
    json_decref(s);
}

static void vouch(uint64_t seq) {
    char entry[65] = "";
    for (size_t i = 0; i < repo_snapshot_count(repo); i++)
        if (repo_snapshot(repo, i)->seq == seq) hex_encode(repo_snapshot(repo, i)->entry.b, 32, entry);
    say(PREDICATE_VERIFICATION, "receipt",
        json_pack("{s:I, s:s, s:s, s:s}", "seq", (json_int_t)seq, "receipt", entry, "level", "decode", "result",
                  "PASSED"));
    say(PREDICATE_HOLD, "snapshot",
        json_pack("{s:I, s:s, s:s}", "seq", (json_int_t)seq, "action", "place", "reason", "an audit"));
    say(PREDICATE_READ, "log", json_pack("{s:s, s:s, s:s}", "verb", "mount", "status", "begun", "target", "/mnt"));
    say(PREDICATE_RECEIPT, "job",
        json_pack("{s:s, s:s, s:s, s:s, s:s}", "backup_id", "bkp-that-failed", "environment", ENVIRONMENT, "surface",
                  "tree", "completed_at", "2026-01-01T00:00:00Z", "status", "failed"));
}

static void forget(char **seqs, int n) {
    struct error err = ERROR_INIT;
    uint64_t list[64];
    for (int i = 0; i < n && i < 64; i++) list[i] = strtoull(seqs[i], NULL, 10);
    ok(repo_forget(repo, list, (size_t)n, "a test", &err), &err);
}

static void collect(double share) {
    struct error err = ERROR_INIT;
    struct gc_plan plan;
    struct gc_options o = {.now_ns = INT64_MAX / 2, .repack_below = share};
    ok(gc_run(repo, &o, &plan, &err), &err);
    printf("removed %llu packs, rewrote %llu\n", (unsigned long long)plan.dead_packs,
           (unsigned long long)plan.repack_packs);
    gc_plan_free(&plan);
}

static void epoch(const char *name, const char *role_name) {
    struct error err = ERROR_INIT;
    struct keyring *k = NULL;
    enum key_role role = ROLE_WRITER;
    uint64_t boxes;
    unsigned n;
    uint8_t key[32];
    ok(repo_epoch_begin(repo, &n, &boxes, &err), &err);
    printf("epoch %u, %llu boxes\n", n, (unsigned long long)boxes);
    if (!name) return;
    if (!key_role_parse(role_name, &role)) abort();
    ok(random_bytes(key, 32, &err), &err);
    struct unlock u = {.kind = SLOT_KEY_FILE, .secret = BYTES_OF(key, 32)};
    ok(repo_bundle_new(repo, role, &k, &err), &err);
    ok(repo_key_add(repo, k, &u, name, &err), &err);
    key_write(name, key, false);
    keyring_free(k);
}

static void keys(void) {
    struct error err = ERROR_INIT;
    struct keyring *admin = NULL, *writer = NULL;
    uint8_t key[32], identity[32];
    ok(random_bytes(key, 32, &err), &err);
    ok(random_bytes(identity, 32, &err), &err);
    ok(keyring_derive(repo_keys(repo), ROLE_ADMIN, &admin, &err), &err);
    ok(keyring_derive(repo_keys(repo), ROLE_WRITER, &writer, &err), &err);
    struct unlock u = {.kind = SLOT_KEY_FILE, .secret = BYTES_OF(key, 32)};
    ok(repo_key_add(repo, writer, &u, "a host that only writes", &err), &err);
    u = (struct unlock){
        .kind = SLOT_PASSPHRASE, .secret = BYTES_STR("golden"), .argon_ops = 1, .argon_mem_bytes = 8192};
    ok(repo_key_add(repo, admin, &u, "a passphrase", &err), &err);
    u = (struct unlock){.kind = SLOT_RECIPIENT};
    ok(box_public(BYTES_OF(identity, 32), u.recipient, &err), &err);
    ok(repo_key_add(repo, admin, &u, "a recipient", &err), &err);
    key_write("writer.key", key, false);
    key_write("identity.key", identity, true);
    keyring_free(admin);
    keyring_free(writer);
}

static void wal(const char *name, const char *file) {
    struct error err = ERROR_INIT;
    struct buf b = BUF_INIT(64u << 20);
    struct wal_object_stored s;
    struct wal_row row;
    ok(io_read_file(AT_FDCWD, file, b.max_bytes, &b, &err), &err);
    snprintf(row.key, sizeof row.key, "wal/1/%.80s", name);
    ok(wal_object_put(repo, row.key, buf_bytes(&b), 16u << 20, &s, &err), &err);
    row.digest = s.digest;
    row.object_bytes = s.object_bytes;
    if (name[strlen(name) - 1] != 'x') ok(wal_log_append(repo, ENVIRONMENT, "db", 1, &row, 1, &err), &err);
    buf_free(&b);
}

int main(int argc, char **argv) {
    struct error err = ERROR_INIT;
    const char *verb = argc > 2 ? argv[1] : "";
    dir = argc > 2 ? argv[2] : "";
    ok(crypto_init(&err), &err);
    if (strcmp(verb, "init") == 0)
        init();
    else if (*dir)
        repo_begin(getenv("PK_KEY") ? getenv("PK_KEY") : getenv("PK_WRITER") ? "writer.key" : "key");
    if (strcmp(verb, "put") == 0 && argc == 6)
        put(argv[3], argv[4], (unsigned)atoi(argv[5]));
    else if (strcmp(verb, "capture") == 0 && argc == 5)
        capture(argv[3], argv[4]);
    else if (strcmp(verb, "vouch") == 0 && argc == 4)
        vouch(strtoull(argv[3], NULL, 10));
    else if (strcmp(verb, "forget") == 0)
        forget(argv + 3, argc - 3);
    else if (strcmp(verb, "collect") == 0 && argc == 4)
        collect(atof(argv[3]));
    else if (strcmp(verb, "reindex") == 0)
        ok(repo_reindex(repo, &err), &err);
    else if (strcmp(verb, "keys") == 0)
        keys();
    else if (strcmp(verb, "epoch") == 0 && (argc == 3 || argc == 5))
        epoch(argc == 5 ? argv[3] : NULL, argc == 5 ? argv[4] : NULL);
    else if (strcmp(verb, "wal") == 0 && argc == 5)
        wal(argv[3], argv[4]);
    else if (strcmp(verb, "publish") == 0)
        ok(repo_publish(repo, &err), &err);
    else if (strcmp(verb, "init") != 0) {
        fprintf(stderr, "make_repo: what '%s' means is in its source\n", verb);
        return 2;
    }
    repo_close(repo);
    store_close(store);
    return 0;
}
