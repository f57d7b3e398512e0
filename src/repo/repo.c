#include "ledger/statement.h"
#include "repo/alternate_internal.h"
#include "repo/moving.h"
#include "repo/repair.h"
#include "repo/run.h"
#include "repo/state_summary.h"

json_t *json_digest(const struct digest *d) {
    char hex[65];
    hex_encode(d->b, sizeof d->b, hex);
    return json_string(hex);
}

bool json_get_digest(const json_t *j, struct digest *ret) {
    const char *s = json_string_value(j);
    return s && hex_decode(s, strlen(s), ret->b, sizeof ret->b);
}

int statement_make(const char *type, const char *subject, const struct digest *digest, json_t *predicate, json_t **ret,
                   struct error *err) {
    json_t *s = NULL;
    int rc = statement_new(type, predicate, &s, err);
    if (rc == 0) rc = statement_add_subject(s, subject, digest, err);
    if (rc < 0)
        json_decref(s);
    else
        *ret = s;
    return rc;
}

struct built {
    json_t *statement;
};

static int build_copy(void *ctx, uint64_t seq, json_t **ret, struct error *err) {
    (void)seq;
    struct built *b = ctx;
    *ret = json_copy_whole(b->statement);
    return *ret ? 0 : error_set(err, ERR_NO_MEMORY, "no memory for a statement");
}

int repo_writable(struct repo *r, struct error *err) {
    if (r->latched)
        return error_set(err, ERR_REPO_LATCHED, "an earlier write to this repository failed; nothing more is written");
    return 0;
}

int repo_needs_read(const struct repo *r, const char *what, struct error *err) {
    if (r->keys->read_secret) return 0;
    return error_set(err, ERR_KEY_ROLE, "%s needs a restore or admin key, and this one is a %s key", what,
                     key_role_name(r->keys->role));
}

int repo_append(struct repo *r, json_t *statement, uint64_t *ret_seq, struct digest *ret, struct error *err) {
    int rc = repo_writable(r, err);
    const char *type = json_string_value(json_object_get(statement, "predicateType"));
    if (rc == 0) rc = state_may(r, type ? type : "", err);
    if (rc < 0) return rc;
    struct built b = {statement};
    return ledger_append(r->ledger, secret_bytes(r->keys->sign_seed), build_copy, &b, ret_seq, ret, err);
}

void repo_origin(const struct repo *r, char out[64]) {
    snprintf(out, 64, "proofkeep/%s", r->id_hex);
}

#define FRESH_NS (INT64_C(5) * NS_PER_S)
#define FORMAT_BYTES_MAX (64u << 10)

static int format_write(const struct repo *r, struct buf *out, struct error *err) {
    char admin[65], now[32];
    hex_encode(r->keys->admin_public, SIGN_PUBLIC_BYTES, admin);
    time_format(time_now_ns(), now);
    /* its administrator's slot is one that a program without copies takes for damaged, and its copies for backups */
    json_t *read = r->keys->shared_content ? json_pack("[s]", FEATURE_SHARED_CONTENT) : json_array();
    json_t *j = json_pack("{s:s, s:i, s:s, s:s, s:s, s:s, s:i, s:i, s:{s:o, s:[], s:[]}}", "magic",
                          "proofkeep repository", "version", FORMAT_VERSION, "id", r->id_hex, "cipher",
                          r->cipher == CIPHER_AES_256_GCM ? "aes-256-gcm" : "chacha20-poly1305", "admin", admin,
                          "created", now, "data_pack_bytes", (int)r->data_pack_bytes, "meta_pack_bytes",
                          (int)r->meta_pack_bytes, "features", "read", read, "write", "gc");
    if (!j) return error_set(err, ERR_NO_MEMORY, "no memory for the format object");
    int rc = json_write_pretty(j, out, err);
    json_decref(j);
    return rc < 0 ? rc : buf_append_str(out, "\n", err);
}

static bool features_known(const json_t *list) {
    for (size_t i = 0; i < json_array_size(list); i++) {
        const char *word = json_string_value(json_array_get(list, i));
        if (!word || strcmp(word, FEATURE_SHARED_CONTENT) != 0) return false;
    }
    return true;
}

static int format_parse(struct repo *r, struct bytes b, struct error *err) {
    json_t *j = NULL;
    int rc = json_parse(b, FORMAT_BYTES_MAX, "format", &j, err);
    const char *magic, *id, *cipher;
    int64_t version, data, meta;
    if (rc == 0 && (rc = json_need_str(j, "magic", "format", &magic, err)) == 0 &&
        (rc = json_need_int(j, "version", "format", &version, err)) == 0 &&
        (rc = json_need_str(j, "id", "format", &id, err)) == 0 &&
        (rc = json_need_str(j, "cipher", "format", &cipher, err)) == 0 &&
        (rc = json_need_int(j, "data_pack_bytes", "format", &data, err)) == 0 &&
        (rc = json_need_int(j, "meta_pack_bytes", "format", &meta, err)) == 0) {
        const json_t *f = json_object_get(j, "features");
        if (strcmp(magic, "proofkeep repository") != 0 || !hex_decode(id, strlen(id), r->id, sizeof r->id))
            rc = error_set(err, ERR_REPO_NONE, "the object 'format' is not proofkeep's");
        else if (version != FORMAT_VERSION || !features_known(json_object_get(f, "read")))
            rc = error_set(err, ERR_FORMAT_VERSION, "the repository's format is %lld or has features unknown here",
                           (long long)version);
        else if (data < (1 << 20) || data > (256 << 20) || meta < (1 << 20) || meta > (256 << 20))
            rc = error_set(err, ERR_OBJECT_CORRUPT, "the pack sizes in 'format' are out of range");
        else {
            r->cipher = strcmp(cipher, "aes-256-gcm") == 0         ? CIPHER_AES_256_GCM
                        : strcmp(cipher, "chacha20-poly1305") == 0 ? CIPHER_CHACHA20_POLY1305
                                                                   : 0;
            if (!r->cipher) rc = error_set(err, ERR_FORMAT_VERSION, "the cipher '%s' is unknown here", cipher);
            r->data_pack_bytes = (uint32_t)data;
            r->meta_pack_bytes = (uint32_t)meta;
            hex_encode(r->id, sizeof r->id, r->id_hex);
        }
    }
    json_decref(j);
    return rc;
}

/* Nothing vouches for it before it opened a key, so what makes no sense is read once more: bytes that change on their
 * way are no newer version's. */
static int format_read(struct repo *r, struct digest *ret, struct error *err) {
    struct buf b = BUF_INIT(FORMAT_BYTES_MAX), again = BUF_INIT(FORMAT_BYTES_MAX);
    int rc = store_read_all(r->store, "format", b.max_bytes, &b, err);
    if (rc == -ERR_OBJECT_MISSING) {
        error_clear(err);
        rc = error_set(err, ERR_REPO_NONE, "there is no object 'format' there");
    }
    struct error e = ERROR_INIT;
    if (rc == 0 && (rc = format_parse(r, buf_bytes(&b), err)) < 0 &&
        store_read_all(r->store, "format", again.max_bytes, &again, &e) == 0 &&
        !bytes_equal(buf_bytes(&b), buf_bytes(&again))) {
        buf_free(&b);
        b = again;
        again = BUF_INIT(0);
        error_clear(err);
        rc = format_parse(r, buf_bytes(&b), &e) == 0
                 ? 0
                 : error_set(err, ERR_OBJECT_CORRUPT,
                             "the object 'format' was read twice and differed: its bytes are damaged on their way");
    }
    if (rc == 0) sha256(buf_bytes(&b), ret);
    buf_free(&b);
    buf_free(&again);
    return rc;
}

int repo_id_read(struct store *s, char ret_hex[33], struct error *err) {
    struct digest d;
    void *p;
    int rc = mem_alloc(sizeof(struct repo), &p, err);
    if (rc < 0) return rc;
    struct repo *bare = p;
    bare->store = s;
    (void)store_pin_first_version(s, "format");
    if ((rc = format_read(bare, &d, err)) == 0) memcpy(ret_hex, bare->id_hex, 33);
    seam_free(bare);
    return rc;
}

void slot_key(struct bytes slot, char out[96]) {
    struct digest d;
    char hex[65];
    sha256(slot, &d);
    hex_encode(d.b, sizeof d.b, hex);
    snprintf(out, 96, "keys/%s", hex);
}

/* Its epoch 0 has the source's ids of then. Nothing is ever cut in it once it follows into a later one. */
static int keys_of_copy(const uint8_t id[16], const struct repo *source, struct keyring **ret, struct error *err) {
    struct bytes key;
    if (!source->epoch || !source->keys->cut_key) return keyring_create_sharing(id, source->keys, ret, err);
    int rc = repo_id_key(source, 0, &key, err);
    return rc < 0 ? rc : keyring_create_with(id, key, secret_bytes(source->keys->cut_key), ret, err);
}

/* The folder of this repository in the cache, which may not be there yet. */
static int cache_place(struct repo *r, const char *cache_dir, struct error *err) {
    struct buf path = BUF_INIT(1 << 16);
    int rc = buf_printf(&path, err, "%s/%s", cache_dir, r->id_hex);
    if (rc == 0) rc = buf_terminate(&path, err);
    if (rc == 0) rc = mem_strdup((char *)path.ptr, &r->cache_dir, err);
    buf_free(&path);
    return rc;
}

static void cache_begin(struct repo *r, const char *cache_dir) {
    struct error e = ERROR_INIT;
    if (!cache_dir || !store_reads_many(r->store)) return;
    if (cache_place(r, cache_dir, &e) == 0 && io_mkdirs(r->cache_dir, 0700, &e) == 0) return;
    seam_free(r->cache_dir);
    r->cache_dir = NULL;
}

/* Only after the repository is whole, and a help only: the first checkpoint. */
static void made_publish(struct repo *r) {
    struct error e = ERROR_INIT;
    if (store_reads_many(r->store)) (void)!ledger_publish(r->ledger, secret_bytes(r->keys->sign_seed), &e);
}

int repo_create(struct store *s, const struct repo_params *p, const struct unlock *u, const char *label,
                struct keyring **ret, struct error *err) {
    struct repo r = {.store = s};
    struct buf format = BUF_INIT(64 << 10), slot = BUF_INIT(64 << 10);
    struct keyring *keys = NULL;
    json_t *statement = NULL, *predicate = NULL;
    struct digest fd;
    int rc = random_bytes(r.id, sizeof r.id, err);
    if (rc < 0) return rc;
    hex_encode(r.id, sizeof r.id, r.id_hex);
    const struct repo *source = p ? p->copy_of : NULL;
    r.cipher = p && p->cipher ? p->cipher : cipher_best();
    const uint32_t usual = store_reads_many(s) ? DATA_PACK_BYTES_FAR : DATA_PACK_BYTES;
    r.data_pack_bytes = p && p->data_pack_bytes ? p->data_pack_bytes : source ? source->data_pack_bytes : usual;
    r.meta_pack_bytes = p && p->meta_pack_bytes ? p->meta_pack_bytes : source ? source->meta_pack_bytes : 4u << 20;
    uint64_t size;
    rc = store_stat(s, "format", &size, NULL, err);
    if (rc == 0) return error_set(err, ERR_REPO_EXISTS, "the place holds a repository already; nothing was changed");
    if (rc != -ERR_OBJECT_MISSING) return rc;
    error_clear(err);
    rc = source ? keys_of_copy(r.id, source, &keys, err) : keyring_create(r.id, &keys, err);
    if (rc < 0) goto out;
    r.keys = keys;
    if ((rc = format_write(&r, &format, err)) < 0) goto out;
    sha256(buf_bytes(&format), &fd);
    if ((rc = slot_seal(keys, u, label, &slot, err)) < 0) goto out;
    char key[96];
    slot_key(buf_bytes(&slot), key);
    if ((rc = store_create(s, key, buf_bytes(&slot), err)) < 0) goto out;
    char origin[64], admin[65];
    hex_encode(keys->admin_public, SIGN_PUBLIC_BYTES, admin);
    predicate = json_pack("{s:s, s:o, s:s, s:s*}", "repository", r.id_hex, "format", json_digest(&fd), "admin", admin,
                          "copy_of", source ? source->id_hex : NULL);
    if (!predicate) {
        rc = error_set(err, ERR_NO_MEMORY, "no memory for the first log entry");
        goto out;
    }
    if ((rc = statement_make(PREDICATE_INIT, "format", &fd, predicate, &statement, err)) < 0) goto out;
    repo_origin(&r, origin);
    cache_begin(&r, p ? p->cache_dir : NULL);
    if ((rc = ledger_open(s, origin, r.cache_dir, state_judge, &r, &r.ledger, err)) < 0) goto out;
    struct built b = {statement};
    if ((rc = ledger_append(r.ledger, secret_bytes(keys->sign_seed), build_copy, &b, NULL, NULL, err)) < 0) goto out;
    /* `format` is what readers look for first, so it comes last: an interrupted init leaves no repository. */
    rc = store_create(s, "format", buf_bytes(&format), err);
    if (rc == 0) made_publish(&r);
out:
    json_decref(statement);
    ledger_close(r.ledger);
    seam_free(r.cache_dir);
    state_free(&r.state);
    buf_free(&format);
    buf_free(&slot);
    if (rc < 0)
        keyring_free(keys);
    else
        *ret = keys;
    return rc < 0 ? error_wrap(err, "making the repository") : 0;
}

struct names {
    char (*keys)[96];
    size_t n, cap;
};

static int collect_name(void *ctx, const struct store_object *o, struct error *err) {
    struct names *n = ctx;
    if (strlen(o->key) >= 96) return 0;
    int rc = mem_grow((void **)&n->keys, &n->cap, n->n + 1, sizeof *n->keys, err);
    if (rc == 0) snprintf(n->keys[n->n++], 96, "%s", o->key);
    return rc;
}

int repo_slots(struct repo *r, int (*cb)(void *, const char *, const struct slot_info *, struct error *), void *ctx,
               struct error *err) {
    struct names names = {0};
    struct buf b = BUF_INIT(64 << 10);
    int rc = store_list(r->store, "keys/", collect_name, &names, err);
    for (size_t i = 0; i < names.n && rc == 0; i++) {
        struct slot_info info;
        buf_clear(&b);
        if ((rc = store_read_all(r->store, names.keys[i], b.max_bytes, &b, err)) < 0) break;
        if ((rc = slot_describe(buf_bytes(&b), &info, err)) < 0) break;
        rc = cb(ctx, names.keys[i], &info, err);
    }
    buf_free(&b);
    seam_free(names.keys);
    return rc;
}

int slot_fetch(struct repo *r, const char *name, struct buf *ret, struct error *err) {
    for (bool again = false;; again = true) {
        struct error e = ERROR_INIT;
        char is[96];
        buf_clear(ret);
        int rc = store_read_all(r->store, name, ret->max_bytes, ret, &e);
        if (rc == 0) slot_key(buf_bytes(ret), is);
        bool doubtful = rc == 0 ? strcmp(is, name) != 0 : rc == -ERR_OBJECT_CORRUPT;
        if (doubtful && !again && store_pin_first_version(r->store, name)) continue;
        if (rc < 0) *err = e;
        return rc;
    }
}

static bool has_name(const struct names *n, const char *key) {
    for (size_t i = 0; i < n->n; i++)
        if (strcmp(n->keys[i], key) == 0) return true;
    return false;
}

static int see_public(void *ctx, const char *name, const struct slot_info *info, struct error *err) {
    struct {
        const uint8_t *pub;
        bool found;
    } *look = ctx;
    (void)name, (void)err;
    look->found |= memcmp(info->sign_public, look->pub, SIGN_PUBLIC_BYTES) == 0;
    return 0;
}

/* A slot that a delete marker hides may be one that its owner gave up, for another: only where its key has none that
 * can be seen is it a thief's doing. Nobody knows yet whether the key itself was removed; see hidden_slot_ok. */
static int hidden_slots_open(struct repo *r, const struct unlock *u, const struct names *visible, struct buf *b,
                             struct error *err) {
    struct names all = {0};
    int rc = store_list_kept(r->store, "keys/", collect_name, &all, err);
    for (size_t i = 0; i < all.n && rc == 0 && !r->keys; i++) {
        struct slot_info info;
        struct error e = ERROR_INIT;
        if (has_name(visible, all.keys[i]) || slot_fetch(r, all.keys[i], b, &e) < 0 ||
            slot_describe(buf_bytes(b), &info, &e) < 0 || info.kind != u->kind)
            continue;
        struct {
            const uint8_t *pub;
            bool found;
        } look = {info.sign_public, false};
        if (repo_slots(r, see_public, &look, &e) < 0 || look.found) continue;
        buf_clear(b);
        if (slot_fetch(r, all.keys[i], b, &e) == 0 && slot_open(buf_bytes(b), u, &r->keys, &e) == 0) {
            snprintf(r->slot, sizeof r->slot, "%s", all.keys[i]);
            r->slot_hidden = true;
        }
    }
    seam_free(all.keys);
    return rc;
}

static int hidden_slot_ok(const struct repo *r, struct error *err) {
    for (size_t i = 0; r->slot_hidden && i < r->state.key_count; i++)
        if (r->state.keys[i].removed &&
            memcmp(r->state.keys[i].public_key, r->keys->sign_public, SIGN_PUBLIC_BYTES) == 0)
            return error_set(err, ERR_KEY_WRONG, "the key that it opens with was removed");
    return 0;
}

/* Every slot of the unlocking kind is tried; a damaged one must not lock out the others. */
static int slots_open(struct repo *r, const struct unlock *u, struct error *err) {
    struct names names = {0};
    struct buf b = BUF_INIT(64 << 10);
    struct error unread = ERROR_INIT; /* the first slot that the system would not give */
    unsigned tried = 0, damaged = 0;
    int rc = store_list(r->store, "keys/", collect_name, &names, err);
    if (rc == 0 && names.n) store_expect(r->store, names.keys[0], b.max_bytes + 1, 1);
    if (rc == 0) ledger_expect_next(r->ledger);
    for (size_t i = 0; i < names.n && rc == 0 && !r->keys; i++) {
        struct slot_info info;
        struct error e = ERROR_INIT;
        int got = slot_fetch(r, names.keys[i], &b, &e);
        if (got == 0) got = slot_describe(buf_bytes(&b), &info, &e);
        if (got < 0) {
            damaged++;
            if (unread.code == ERR_NONE && error_info(got)->status != EXIT_INTEGRITY) unread = e;
            continue;
        }
        if (info.kind != u->kind) continue;
        tried++;
        got = slot_open(buf_bytes(&b), u, &r->keys, &e);
        if (got == 0) {
            char is[96];
            slot_key(buf_bytes(&b), is);
            snprintf(r->slot, sizeof r->slot, "%s", names.keys[i]);
            r->slot_read = strcmp(is, r->slot) == 0;
        }
        if (got < 0 && got != -ERR_KEY_WRONG) damaged++;
        if (got < 0 && unread.code == ERR_NONE && got != -ERR_KEY_WRONG && error_info(got)->status != EXIT_INTEGRITY)
            unread = e;
    }
    if (rc == 0 && !r->keys && u->slot.len > 0) {
        struct error e = ERROR_INIT;
        if (slot_open(u->slot, u, &r->keys, &e) == 0) {
            slot_key(u->slot, r->slot);
            r->slot_lost = true;
        }
    }
    if (rc == 0 && !r->keys) rc = hidden_slots_open(r, u, &names, &b, err);
    if (rc == 0 && !r->keys && unread.code != ERR_NONE) {
        *err = unread; /* whether the key is wrong is not known */
        rc = error_wrap(err, "reading the key slots");
    } else if (rc == 0 && !r->keys)
        rc = error_set(err, ERR_KEY_WRONG,
                       "none of the repository's %zu key slots opens with what was given (%u of that kind, %u damaged)",
                       names.n, tried, damaged);
    buf_free(&b);
    r->slots = names.keys;
    r->slot_count = names.n;
    return rc;
}

enum opening { OPEN_WHOLE, OPEN_MENDING, OPEN_LOG, OPEN_COLLECTING };
static int open_once(struct store *s, const struct unlock *u, const char *cache_dir, enum opening how,
                     struct repo **ret, struct error *err) {
    void *p;
    int rc = mem_alloc(sizeof(struct repo), &p, err);
    if (rc < 0) return rc;
    struct repo *r = p;
    r->store = s;
    store_set_cold(s, PACKS_COLD);
    r->mending = how == OPEN_MENDING;
    r->no_index = how == OPEN_LOG;
    pthread_mutex_init(&r->lock, NULL);
    pthread_mutex_init(&r->mended.lock, NULL);
    struct digest fd;
    char origin[64];
    /* each of these would else be asked for when the one before it has come */
    store_expect(s, "format", FORMAT_BYTES_MAX + 1, 1);
    store_expect_list(s, "keys/", false, 1);
    ledger_expect_first(s);
    if ((rc = format_read(r, &fd, err)) < 0) goto fail;
    if (cache_dir && (rc = cache_place(r, cache_dir, err)) < 0) goto fail;
    if (r->cache_dir && (rc = io_mkdirs(r->cache_dir, 0700, err)) < 0) goto fail;
    repo_origin(r, origin);
    if ((rc = ledger_open(s, origin, r->cache_dir, state_judge, r, &r->ledger, err)) < 0) goto fail;
    if ((rc = slots_open(r, u, err)) < 0) goto fail;
    if (memcmp(r->keys->repo_id, r->id, sizeof r->id) != 0) {
        rc = error_set(err, ERR_KEY_WRONG, "the key slot belongs to another repository");
        goto fail;
    }
    if (r->keys->cut_key && (rc = cutter_init(&r->cutter, secret_bytes(r->keys->cut_key), err)) < 0) goto fail;
    state_start_from_summaries(r);
    rc = ledger_sync(r->ledger, err);
    store_expect_end(s);
    if (rc == 0 && how == OPEN_COLLECTING) collect_expect(r); /* comes with the index */
    if (rc == 0) rc = repo_follow(r, err);
    if (rc < 0) goto fail;
    if (!r->state.initialised) {
        rc = error_set(err, ERR_LEDGER_BROKEN, "the log is empty: its first entry is missing");
        goto fail;
    }
    if ((rc = hidden_slot_ok(r, err)) < 0) goto fail;
    if (!digest_equal(&r->state.format, &fd)) {
        rc = error_set(err, ERR_OBJECT_CORRUPT, "the object 'format' is not the one that the log's first entry names");
        goto fail;
    }
    r->fresh_ns = time_monotonic_ns();
    *ret = r;
    return 0;
fail:
    store_expect_end(s);
    repo_close(r);
    return error_wrap(err, "opening the repository");
}

/* `format` never had another version, and the log's first entry names it, so what was put over it shows. */
static int open_with(struct store *s, const struct unlock *u, const char *cache_dir, enum opening how,
                     struct repo **ret, struct error *err) {
    struct error e = ERROR_INIT;
    int rc = open_once(s, u, cache_dir, how, ret, &e);
    const bool doubtful = rc < 0 && (error_info(rc)->status == EXIT_INTEGRITY || rc == -ERR_REPO_NONE ||
                                     rc == -ERR_KEY_WRONG || rc == -ERR_FORMAT_VERSION);
    if (doubtful && store_pin_first_version(s, "format")) return open_once(s, u, cache_dir, how, ret, err);
    if (rc < 0) *err = e;
    return rc;
}

void repo_parity_set(struct repo *r, unsigned percent) {
    r->parity_percent = percent;
}

int repo_open(struct store *s, const struct unlock *u, const char *cache_dir, struct repo **ret, struct error *err) {
    return open_with(s, u, cache_dir, OPEN_WHOLE, ret, err);
}

int repo_open_damaged(struct store *s, const struct unlock *u, const char *cache_dir, struct repo **ret,
                      struct error *err) {
    return open_with(s, u, cache_dir, OPEN_MENDING, ret, err);
}

int repo_open_collecting(struct store *s, const struct unlock *u, const char *cache_dir, struct repo **ret,
                         struct error *err) {
    return open_with(s, u, cache_dir, OPEN_COLLECTING, ret, err);
}

int repo_open_log(struct store *s, const struct unlock *u, const char *cache_dir, struct repo **ret,
                  struct error *err) {
    return open_with(s, u, cache_dir, OPEN_LOG, ret, err);
}

bool repo_log_moved(struct repo *r) {
    struct error e = ERROR_INIT;
    uint64_t before = ledger_size(r->ledger);
    return ledger_sync(r->ledger, &e) == 0 && ledger_size(r->ledger) > before;
}

int repo_index_whole(const struct repo *r, struct error *err) {
    if (!r->index_behind) return 0;
    return error_set(err, ERR_IO_READ, "the index could not be loaded in full earlier in this run");
}

int repo_sync(struct repo *r, struct error *err) {
    r->fresh_ns = 0;
    int rc = ledger_sync(r->ledger, err);
    if (rc == 0) rc = repo_follow(r, err);
    if (rc == 0) r->fresh_ns = time_monotonic_ns();
    return rc;
}

int repo_sync_lately(struct repo *r, struct error *err) {
    const bool fresh = store_reads_many(r->store) && r->fresh_ns && time_monotonic_ns() - r->fresh_ns < FRESH_NS;
    return fresh ? repo_follow(r, err) : repo_sync(r, err);
}

int repo_follow(struct repo *r, struct error *err) {
    for (int tries = 0;; tries++) {
        struct error e = ERROR_INIT;
        int rc = epochs_load(r, &e);
        if (rc == 0 && !r->no_index) rc = index_follow(r, &r->index, &e);
        r->index_behind = rc < 0 || r->no_index;
        if (rc == 0) return 0;
        /* a run that was live when the log was read may be gone when it is loaded: then the log has more to say */
        if (rc == -ERR_OBJECT_MISSING && tries < 64 && repo_log_moved(r)) continue;
        *err = e;
        return rc;
    }
}

void repo_close(struct repo *r) {
    if (!r) return;
    alternates_free(r);
    ledger_close(r->ledger);
    state_free(&r->state);
    index_free(&r->index);
    epochs_free(r);
    run_own_drop(r);
    run_read_drop(r);
    buf_free(&r->root.raw);
    seam_free(r->left.bytes);
    packs_listed_drop(r);
    for (size_t i = 0; i < r->session_count; i++) secret_free(r->sessions[i].key);
    seam_free(r->sessions);
    keyring_free(r->keys);
    seam_free(r->slots);
    seam_free(r->cache_dir);
    pthread_mutex_destroy(&r->lock);
    mended_free(r);
    seam_free(r);
}

const struct keyring *repo_keys(const struct repo *r) {
    return r->keys;
}
struct store *repo_store(const struct repo *r) {
    return r->store;
}
struct ledger *repo_ledger(const struct repo *r) {
    return r->ledger;
}
const char *repo_id_hex(const struct repo *r) {
    return r->id_hex;
}
const char *repo_cache_dir(const struct repo *r) {
    return r->cache_dir;
}
size_t repo_snapshot_count(const struct repo *r) {
    return r->state.snapshot_count;
}
const struct snapshot_info *repo_snapshot(const struct repo *r, size_t i) {
    return &r->state.snapshots[i];
}
const struct snapshot_info *repo_snapshot_at(const struct repo *r, uint64_t seq) {
    return state_snapshot_at(&r->state, seq);
}
size_t repo_job_count(const struct repo *r) {
    return r->state.job_count;
}
const struct job_info *repo_job(const struct repo *r, size_t i) {
    return &r->state.jobs[i];
}
size_t repo_hold_count(const struct repo *r) {
    return r->state.hold_count;
}
const struct hold_info *repo_hold(const struct repo *r, size_t i) {
    return &r->state.holds[i];
}
size_t repo_void_entries(const struct repo *r, const char **ret_why) {
    *ret_why = r->state.void_text;
    return r->state.void_count;
}

const char *repo_summary_refused(const struct repo *r) {
    return ledger_start_refused(r->ledger);
}

size_t repo_key_count(const struct repo *r) {
    return r->state.key_count;
}
const struct key_info *repo_key(const struct repo *r, size_t i) {
    return &r->state.keys[i];
}

const struct drill_info *repo_key_drill(const struct repo *r) {
    return r->state.drill.seq ? &r->state.drill : NULL;
}

size_t repo_copy_count(const struct repo *r) {
    return r->state.copy_count;
}
const struct copy_info *repo_copy(const struct repo *r, size_t i) {
    return &r->state.copies[i];
}

size_t repo_copy_lag(const struct repo *r, const struct copy_info *c, int64_t *ret_waiting_ns) {
    size_t n = 0;
    int64_t since = 0;
    for (size_t i = 0; i < r->state.snapshot_count; i++) {
        const struct snapshot_info *s = &r->state.snapshots[i];
        bool there = s->seq <= c->newest;
        for (size_t k = 0; k < c->missing_count && there; k++) there = c->missing[k] != s->seq;
        if (there || s->forgotten || repo_snapshot_suspect(r, s)) continue;
        if (!n++ || s->stored_ns < since) since = s->stored_ns;
    }
    if (ret_waiting_ns) *ret_waiting_ns = since;
    return n;
}

uint64_t repo_copy_wal_lag(const struct repo *r, const struct copy_info *c, int64_t *ret_waiting_ns) {
    uint64_t n = c->wal_missing;
    int64_t since = n ? c->time_ns : 0;
    for (size_t i = 0; i < r->state.wal_count; i++) {
        const struct wal_batch *b = &r->state.wal[i];
        if (b->seq <= c->wal_newest) continue;
        n += b->objects;
        if (!since || b->time_ns < since) since = b->time_ns;
    }
    if (ret_waiting_ns) *ret_waiting_ns = since;
    return n;
}

bool repo_slot_stored(const struct repo *r) {
    return !r->slot_lost;
}

static bool suspect_by(const struct repo *r, const struct snapshot_info *s, int64_t since_ns) {
    for (size_t i = 0; i < r->state.snapshot_count && r->state.snapshots[i].seq <= s->seq; i++)
        if (r->state.snapshots[i].stored_ns >= since_ns) return true;
    return false;
}

bool repo_snapshot_suspect(const struct repo *r, const struct snapshot_info *s) {
    for (size_t i = 0; i < r->state.key_count; i++) {
        const struct key_info *k = &r->state.keys[i];
        if (k->suspect_ns && memcmp(k->public_key, s->writer, sizeof s->writer) == 0 && suspect_by(r, s, k->suspect_ns))
            return true;
    }
    return false;
}

const struct snapshot_info *repo_latest(const struct repo *r, const char *environment, const char *surface) {
    for (size_t i = r->state.snapshot_count; i-- > 0;) {
        const struct snapshot_info *s = &r->state.snapshots[i];
        if (!s->forgotten && strcmp(s->environment, environment) == 0 && strcmp(s->surface, surface) == 0) return s;
    }
    return NULL;
}

/* Of two that publish at once the one with fewer entries may come last, and leave an older checkpoint than was there: to a
 * witness that is what a thief does who plays an old one. Whoever may have done so has the other's entry in the log, and puts
 * it right, by a look of its own, as what the caller holds of the state must stay. */
static int publish_again(struct repo *r, struct error *err) {
    struct repo *v;
    char next[32];
    struct error e = ERROR_INIT;
    if (ledger_published_last(r->ledger)) return 0;
    snprintf(next, sizeof next, "log/%016llu", (unsigned long long)ledger_size(r->ledger));
    int rc = store_stat(r->store, next, NULL, NULL, &e);
    if (rc == -ERR_OBJECT_MISSING) return 0;
    if (rc < 0) {
        *err = e;
        return rc;
    }
    if ((rc = repo_view_open(r, &v, err)) < 0) return rc;
    rc = ledger_publish(v->ledger, secret_bytes(r->keys->sign_seed), err);
    repo_view_close(v);
    return rc;
}

int repo_publish(struct repo *r, struct error *err) {
    const uint64_t size = ledger_size(r->ledger);
    if (r->published == size && store_reads_many(r->store)) return 0;
    int rc = ledger_publish(r->ledger, secret_bytes(r->keys->sign_seed), err);
    if (rc == 0) rc = publish_again(r, err);
    if (rc == 0) rc = state_publish(r, err);
    if (rc == 0) r->published = size;
    /* A credential for restores may be let at the log alone; whoever writes next publishes what is derived from it. */
    if (rc != -ERR_S3_DENIED || r->keys->role != ROLE_RESTORE) return rc;
    error_clear(err);
    return 0;
}

int repo_session_key(struct repo *r, const uint8_t id[16], const uint8_t *sealed, const struct secret **ret,
                     struct error *err) {
    int rc = 0;
    pthread_mutex_lock(&r->lock);
    for (size_t i = 0; i < r->session_count; i++)
        if (memcmp(r->sessions[i].id, id, 16) == 0) {
            *ret = r->sessions[i].key;
            pthread_mutex_unlock(&r->lock);
            return 0;
        }
    uint8_t key[KEY_BYTES];
    struct session_key sk;
    memcpy(sk.id, id, 16);
    rc = repo_needs_read(r, "reading a pack", err);
    if (rc == 0) rc = box_open(secret_bytes(r->keys->read_secret), BYTES_OF(sealed, SEALED_KEY_BYTES), key, err);
    if (rc == 0) rc = secret_new(BYTES_OF(key, sizeof key), &sk.key, err);
    wipe(key, sizeof key);
    if (rc == 0) {
        rc = mem_grow((void **)&r->sessions, &r->session_cap, r->session_count + 1, sizeof *r->sessions, err);
        if (rc == 0) {
            r->sessions[r->session_count++] = sk;
            *ret = sk.key;
        } else
            secret_free(sk.key);
    }
    pthread_mutex_unlock(&r->lock);
    return rc;
}
