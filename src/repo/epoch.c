/* Epochs of the id, cut and index keys: beginning one, and coming by the keys of those that were begun. The object that
 * carries them (doc/format/index.md) lies among the index runs, and its entry makes it one of the live ones: a program
 * that knows nothing of epochs cannot load it as a run, and so refuses the repository from that entry on. */
#include "repo/repo_internal.h"
#include "repo/run.h"

#define ATTEMPTS 16
#define ROW_BYTES 36 /* key, length of its box; the box follows */
#define CHAIN_INFO "proofkeep/v1/older-index"
#define OBJECT_MAX (16u << 20)

static unsigned newest(const struct repo *r) {
    return (unsigned)r->state.epoch_count;
}

bool state_epoch_object(const struct state *s, const struct digest *run) {
    for (size_t i = 0; i < s->epoch_count; i++)
        if (digest_equal(&s->epochs[i].keys, run)) return true;
    return false;
}

unsigned repo_epoch(const struct repo *r) {
    return r->epoch;
}

static int lacks(const char *what, unsigned epoch, struct error *err) {
    return error_set(err, ERR_KEY_ROLE, "this key has not got the %s key of epoch %u", what, epoch);
}

int repo_id_key(const struct repo *r, unsigned epoch, struct bytes *ret, struct error *err) {
    const struct secret *k = epoch == r->own_epoch ? r->keys->id_key : epoch <= EPOCHS_MAX ? r->epochs[epoch].id : NULL;
    if (!k) return lacks("id", epoch, err);
    *ret = secret_bytes(k);
    return 0;
}

int repo_index_key(const struct repo *r, unsigned epoch, struct bytes *ret, struct error *err) {
    const struct secret *k = epoch == r->own_epoch ? r->keys->index_key
                             : epoch <= EPOCHS_MAX ? r->epochs[epoch].index
                                                   : NULL;
    if (!k) return lacks("index", epoch, err);
    *ret = secret_bytes(k);
    return 0;
}

void epochs_free(struct repo *r) {
    for (unsigned i = 0; i <= EPOCHS_MAX; i++) epoch_keys_clear(&r->epochs[i]);
    r->epoch = r->own_epoch = 0;
}

/* ---- the object ---- */

static int chain_aead(struct bytes index_key, const uint8_t header[RUN_HEADER_BYTES], struct aead **ret,
                      struct error *err) {
    uint8_t key[KEY_BYTES];
    int rc = hkdf_sha256(index_key, BYTES_OF(header + 32, 32), BYTES_STR(CHAIN_INFO), key, sizeof key, err);
    if (rc == 0) rc = aead_new(CIPHER_CHACHA20_POLY1305, BYTES_OF(key, sizeof key), ret, err);
    wipe(key, sizeof key);
    return rc;
}

static int box_append(struct buf *out, const uint8_t to[BOX_PUBLIC_BYTES], struct bytes plain, struct error *err) {
    int rc = buf_reserve(out, plain.len + SEAL_OVERHEAD_BYTES, err);
    if (rc == 0) rc = box_seal(to, plain, out->ptr + out->len, err);
    if (rc == 0) out->len += plain.len + SEAL_OVERHEAD_BYTES;
    return rc;
}

static bool superseded(const struct state *s, size_t i) {
    for (size_t k = i + 1; k < s->key_count; k++)
        if (memcmp(s->keys[k].public_key, s->keys[i].public_key, SIGN_PUBLIC_BYTES) == 0) return true;
    return false;
}

/* Whether a key is given its keys by a box of its own: readers have one box for all, the admin derives. */
static bool wants_row(const struct state *s, size_t i) {
    const struct key_info *k = &s->keys[i];
    return !k->removed && !superseded(s, i) && (k->role == ROLE_WRITER || k->role == ROLE_PRUNE);
}

static int rows_append(const struct state *s, const struct epoch_keys *now, struct buf *out, uint64_t *ret_rows,
                       struct error *err) {
    uint8_t plain[3 * KEY_BYTES], row[ROW_BYTES], pub[BOX_PUBLIC_BYTES];
    int rc = 0;
    *ret_rows = 0;
    memcpy(plain, secret_bytes(now->index).ptr, KEY_BYTES);
    memcpy(plain + KEY_BYTES, secret_bytes(now->id).ptr, KEY_BYTES);
    memcpy(plain + 2 * KEY_BYTES, secret_bytes(now->cut).ptr, KEY_BYTES);
    for (size_t i = 0; i < s->key_count && rc == 0; i++) {
        struct error e = ERROR_INIT;
        if (!wants_row(s, i) || sign_box_public(s->keys[i].public_key, pub, &e) < 0)
            continue; /* what is no point of the group never signs anything either */
        size_t n = s->keys[i].role == ROLE_WRITER ? sizeof plain : KEY_BYTES;
        memcpy(row, s->keys[i].public_key, SIGN_PUBLIC_BYTES);
        put_u32(row + SIGN_PUBLIC_BYTES, (uint32_t)(n + SEAL_OVERHEAD_BYTES));
        rc = buf_append(out, row, sizeof row, err);
        if (rc == 0) rc = box_append(out, pub, BYTES_OF(plain, n), err);
        ++*ret_rows;
    }
    wipe(plain, sizeof plain);
    return rc;
}

/* Keys of epochs 0 to n, of which an admin has all. */
static int all_keys(const struct repo *r, unsigned n, bool index, uint8_t *out, struct error *err) {
    int rc = 0;
    for (unsigned i = 0; i <= n && rc == 0; i++) {
        struct bytes k;
        rc = index ? repo_index_key(r, i, &k, err) : repo_id_key(r, i, &k, err);
        if (rc == 0) memcpy(out + (size_t)i * KEY_BYTES, k.ptr, KEY_BYTES);
    }
    return rc;
}

int epoch_object_make(const struct repo *r, unsigned n, const struct epoch_keys *now, struct buf *out,
                      uint64_t *ret_rows, struct error *err) {
    uint8_t h[RUN_HEADER_BYTES] = {0}, nonce[AEAD_NONCE_BYTES] = {0}, plain[(EPOCHS_MAX + 3) * KEY_BYTES];
    struct buf rows = BUF_INIT(OBJECT_MAX);
    struct aead *a = NULL;
    memcpy(h, "PKINDEX1", 8);
    h[8] = FORMAT_VERSION;
    h[9] = CIPHER_CHACHA20_POLY1305;
    h[10] = RUN_TYPE_EPOCH;
    put_u16(h + RUN_EPOCH_AT, (uint16_t)n);
    memcpy(h + 64, r->id, 16);
    int rc = random_bytes(h + 32, 32, err);
    if (rc == 0) rc = rows_append(&r->state, now, &rows, ret_rows, err);
    put_u64(h + 16, rc == 0 ? *ret_rows : 0);
    if (rc == 0) rc = buf_append(out, h, sizeof h, err);
    size_t chain = (size_t)n * KEY_BYTES;
    if (rc == 0) rc = all_keys(r, n - 1, true, plain, err);
    if (rc == 0) rc = chain_aead(secret_bytes(now->index), h, &a, err);
    if (rc == 0) rc = buf_reserve(out, chain + AEAD_TAG_BYTES, err);
    if (rc == 0) rc = aead_seal(a, nonce, BYTES_OF(h, sizeof h), BYTES_OF(plain, chain), out->ptr + out->len, err);
    if (rc == 0) out->len += chain + AEAD_TAG_BYTES;
    memcpy(plain, secret_bytes(now->index).ptr, KEY_BYTES);
    memcpy(plain + KEY_BYTES, secret_bytes(now->cut).ptr, KEY_BYTES);
    if (rc == 0) rc = all_keys(r, n - 1, false, plain + 2 * KEY_BYTES, err);
    memcpy(plain + (n + 2) * KEY_BYTES, secret_bytes(now->id).ptr, KEY_BYTES);
    if (rc == 0) rc = box_append(out, r->keys->read_public, BYTES_OF(plain, (n + 3) * KEY_BYTES), err);
    if (rc == 0 && rows.len) rc = buf_append(out, rows.ptr, rows.len, err);
    wipe(plain, sizeof plain);
    aead_free(a);
    buf_free(&rows);
    return rc;
}

/* The object of an epoch, its parts borrowed from `raw`. */
struct object {
    struct buf raw;
    const uint8_t *header;
    struct bytes chain, readers, rows;
};

static int bad(const char *key, const char *what, struct error *err) {
    error_clear(err);
    return error_set(err, ERR_OBJECT_CORRUPT, "%s: %s", key, what);
}

static bool has_name(struct bytes b, const struct digest *name) {
    struct digest d;
    sha256(b, &d);
    return digest_equal(&d, name);
}

/* From the local cache, where it lies as the store has it, or from the store. */
static int object_get(const struct repo *r, const struct digest *name, const char *key, struct buf *ret,
                      struct error *err) {
    char path[4200] = "", hex[65];
    struct error e = ERROR_INIT;
    hex_encode(name->b, sizeof name->b, hex);
    if (r->cache_dir) {
        snprintf(path, sizeof path, "%s/epoch-%s", r->cache_dir, hex);
        if (io_read_file(AT_FDCWD, path, OBJECT_MAX, ret, &e) == 0 && has_name(buf_bytes(ret), name)) return 0;
        buf_clear(ret);
    }
    int rc = store_read_all(r->store, key, OBJECT_MAX, ret, err);
    if (rc < 0) return rc;
    if (!has_name(buf_bytes(ret), name)) return bad(key, "its bytes are not those of its name", err);
    error_clear(&e); /* a cache that cannot be written only costs time */
    if (r->cache_dir) (void)!io_replace_file(AT_FDCWD, path, buf_bytes(ret), 0600, &e);
    return 0;
}

static int object_read(const struct repo *r, unsigned epoch, struct object *ret, struct error *err) {
    const struct digest *name = &r->state.epochs[epoch - 1].keys;
    char key[96];
    run_key(name, key);
    *ret = (struct object){.raw = BUF_INIT(OBJECT_MAX)};
    int rc = object_get(r, name, key, &ret->raw, err);
    struct cursor c = cursor_of(buf_bytes(&ret->raw));
    struct bytes h = cursor_take(&c, RUN_HEADER_BYTES);
    if (rc == 0 && (c.bad || memcmp(h.ptr, "PKINDEX1", 8) != 0 || h.ptr[8] != FORMAT_VERSION ||
                    h.ptr[9] != CIPHER_CHACHA20_POLY1305 || h.ptr[10] != RUN_TYPE_EPOCH ||
                    get_u16(h.ptr + RUN_EPOCH_AT) != epoch || memcmp(h.ptr + 64, r->id, 16) != 0))
        rc = bad(key, "it does not hold the keys of the epoch that the log names it for", err);
    if (rc == 0) {
        ret->header = h.ptr;
        ret->chain = cursor_take(&c, (size_t)epoch * KEY_BYTES + AEAD_TAG_BYTES);
        ret->readers = cursor_take(&c, ((size_t)epoch + 3) * KEY_BYTES + SEAL_OVERHEAD_BYTES);
        ret->rows = BYTES_OF(c.ptr, c.len);
        if (c.bad) rc = bad(key, "it ends too early", err);
    }
    if (rc < 0) buf_free(&ret->raw);
    return rc;
}

int epoch_check(const struct repo *r, unsigned epoch, struct error *err) {
    struct repo plain = {.store = r->store, .state = r->state}; /* not what the cache has */
    struct object o;
    memcpy(plain.id, r->id, sizeof plain.id);
    int rc = object_read(&plain, epoch, &o, err);
    if (rc == 0) buf_free(&o.raw);
    return rc;
}

static struct bytes row_find(const struct object *o, const uint8_t pub[SIGN_PUBLIC_BYTES]) {
    struct cursor c = cursor_of(o->rows);
    while (c.len && !c.bad) {
        struct bytes key = cursor_take(&c, SIGN_PUBLIC_BYTES);
        struct bytes box = cursor_take(&c, cursor_u32(&c));
        if (!c.bad && memcmp(key.ptr, pub, SIGN_PUBLIC_BYTES) == 0) return box;
    }
    return BYTES_OF(NULL, 0);
}

/* ---- taking keys from it ---- */

static int keep(struct secret **to, const uint8_t *key, struct error *err) {
    return *to ? 0 : secret_new(BYTES_OF(key, KEY_BYTES), to, err);
}

/* What the box for our own key holds. */
static int row_take(struct repo *r, const struct object *o, unsigned epoch, struct error *err) {
    struct bytes box = row_find(o, r->keys->sign_public);
    struct secret *own = NULL;
    uint8_t plain[3 * KEY_BYTES];
    size_t want = (r->keys->role == ROLE_WRITER ? 3 : 1) * KEY_BYTES + SEAL_OVERHEAD_BYTES;
    if (!box.len) {
        error_set(err, ERR_KEY_ROLE, "this %s key was not given the keys of epoch %u", key_role_name(r->keys->role),
                  epoch);
        error_state(err, "it was removed before that epoch began, or is not in the log");
        return error_next(err, "Use a key that is in force: 'proofkeep key list' with the admin key shows them.");
    }
    if (box.len != want)
        return error_set(err, ERR_OBJECT_CORRUPT, "the box of this key for epoch %u is malformed", epoch);
    struct epoch_keys *k = &r->epochs[epoch];
    int rc = sign_box_secret(secret_bytes(r->keys->sign_seed), &own, err);
    if (rc == 0) rc = box_open(secret_bytes(own), box, plain, err);
    if (rc == 0) rc = keep(&k->index, plain, err);
    if (rc == 0 && want > KEY_BYTES + SEAL_OVERHEAD_BYTES) rc = keep(&k->id, plain + KEY_BYTES, err);
    if (rc == 0 && want > KEY_BYTES + SEAL_OVERHEAD_BYTES) rc = keep(&k->cut, plain + 2 * KEY_BYTES, err);
    wipe(plain, sizeof plain);
    secret_free(own);
    return rc;
}

static int readers_take(struct repo *r, const struct object *o, unsigned epoch, struct error *err) {
    uint8_t plain[(EPOCHS_MAX + 3) * KEY_BYTES];
    int rc = box_open(secret_bytes(r->keys->read_secret), o->readers, plain, err);
    if (rc == 0) rc = keep(&r->epochs[epoch].index, plain, err);
    if (rc == 0) rc = keep(&r->epochs[epoch].cut, plain + KEY_BYTES, err);
    for (unsigned i = 0; i <= epoch && rc == 0; i++)
        rc = keep(&r->epochs[i].id, plain + (size_t)(i + 2) * KEY_BYTES, err);
    wipe(plain, sizeof plain);
    return rc;
}

static int chain_take(struct repo *r, const struct object *o, unsigned epoch, struct error *err) {
    uint8_t plain[EPOCHS_MAX * KEY_BYTES], nonce[AEAD_NONCE_BYTES] = {0};
    struct aead *a = NULL;
    struct bytes index;
    int rc = repo_index_key(r, epoch, &index, err);
    if (rc == 0) rc = chain_aead(index, o->header, &a, err);
    if (rc == 0) rc = aead_open(a, nonce, BYTES_OF(o->header, RUN_HEADER_BYTES), o->chain, plain, err);
    for (unsigned i = 0; i < epoch && rc == 0; i++) rc = keep(&r->epochs[i].index, plain + (size_t)i * KEY_BYTES, err);
    wipe(plain, sizeof plain);
    aead_free(a);
    return rc;
}

static unsigned epoch_of_bundle(const struct repo *r) {
    for (size_t i = r->state.key_count; i-- > 0;)
        if (memcmp(r->state.keys[i].public_key, r->keys->sign_public, SIGN_PUBLIC_BYTES) == 0)
            return r->keys->role == ROLE_ADMIN ? 0 : r->state.keys[i].epoch;
    return 0;
}

static int fetch_keys(struct repo *r, unsigned n, struct error *err) {
    struct object o;
    int rc = object_read(r, n, &o, err);
    if (rc < 0) return rc;
    if (r->keys->read_secret)
        rc = readers_take(r, &o, n, err);
    else if (r->own_epoch != n)
        rc = row_take(r, &o, n, err);
    if (rc == 0) rc = chain_take(r, &o, n, err);
    buf_free(&o.raw);
    /* The id keys between serve the local memory of earlier backups: without them files are read again. */
    for (unsigned i = r->own_epoch + 1; i < n && rc == 0 && r->keys->role == ROLE_WRITER; i++) {
        struct error e = ERROR_INIT;
        if (object_read(r, i, &o, &e) < 0) continue;
        (void)!row_take(r, &o, i, &e);
        buf_free(&o.raw);
    }
    return rc;
}

int epochs_load(struct repo *r, struct error *err) {
    unsigned n = newest(r);
    int rc = 0;
    if (n == r->epoch && (n == 0 || r->epochs_known)) return 0;
    r->own_epoch = epoch_of_bundle(r);
    /* the content keys of a copy are its source's: what it was given lies in the box for readers */
    if (r->keys->role == ROLE_ADMIN && !r->keys->shared_content)
        for (unsigned i = 1; i <= n && rc == 0; i++)
            rc = r->epochs[i].id ? 0 : epoch_keys_derive(r->keys, i, &r->epochs[i], err);
    else if (n)
        rc = fetch_keys(r, n, err);
    if ((rc == -ERR_OBJECT_MISSING || rc == -ERR_OBJECT_CORRUPT) && r->keys->shared_content)
        (void)!error_next(err, "It is a copy: make a new one of its source, with proofkeep init --copy-of");
    else if (rc == -ERR_OBJECT_MISSING || rc == -ERR_OBJECT_CORRUPT)
        (void)!error_next(err,
                          "Begin another epoch with an admin key, which needs none of it: proofkeep key rotate-ids");
    if (rc < 0) return error_wrap(err, "the keys of epoch %u", n);
    const struct secret *cut = n == r->own_epoch ? r->keys->cut_key : r->epochs[n].cut;
    if (cut && (rc = cutter_init(&r->cutter, secret_bytes(cut), err)) < 0) return rc;
    r->epoch = n;
    r->epochs_known = true;
    return 0;
}

/* ---- beginning one ---- */

struct beginning {
    struct repo *r;
    unsigned epoch;
    size_t keys; /* of the log when the boxes were made */
    size_t removed;
    json_t *statement;
};

static size_t removed_keys(const struct state *s) {
    size_t n = 0;
    for (size_t i = 0; i < s->key_count; i++) n += s->keys[i].removed;
    return n;
}

/* A key that came meanwhile would have no box; one that went would have one. */
static int build(void *ctx, uint64_t seq, json_t **ret, struct error *err) {
    struct beginning *b = ctx;
    const struct state *s = &b->r->state;
    (void)seq;
    if (s->epoch_count + 1 != b->epoch || s->key_count != b->keys || removed_keys(s) != b->removed)
        return error_set(err, ERR_REPO_COMMIT_LOST, "the keys of the repository changed meanwhile");
    *ret = json_copy_whole(b->statement);
    return *ret ? 0 : error_set(err, ERR_NO_MEMORY, "no memory for a log entry");
}

static int begin_with(struct repo *r, const struct epoch_keys *now, uint64_t *ret_rows, struct error *err) {
    struct beginning b = {
        .r = r, .epoch = newest(r) + 1, .keys = r->state.key_count, .removed = removed_keys(&r->state)};
    struct buf object = BUF_INIT(OBJECT_MAX);
    struct digest d;
    char key[96];
    int rc = epoch_object_make(r, b.epoch, now, &object, ret_rows, err);
    if (rc == 0) {
        sha256(buf_bytes(&object), &d);
        run_key(&d, key);
        rc = store_create(r->store, key, buf_bytes(&object), err);
    }
    buf_free(&object);
    if (rc < 0) return rc;
    json_t *p = json_pack("{s:i, s:o, s:[o], s:[]}", "epoch", (int)b.epoch, "epoch_keys", json_digest(&d),
                          "index_added", json_digest(&d), "index_removed");
    if (!p) return error_set(err, ERR_NO_MEMORY, "no memory for a log entry");
    rc = statement_make(PREDICATE_DELETE, "epoch", &d, p, &b.statement, err);
    if (rc == 0) rc = ledger_append(r->ledger, secret_bytes(r->keys->sign_seed), build, &b, NULL, NULL, err);
    json_decref(b.statement);
    return rc;
}

/* The keys of source's epoch n as the box of that epoch holds them, as a handle keeps only those that it works with. */
static int source_keys(const struct repo *source, unsigned n, uint8_t id[KEY_BYTES], uint8_t cut[KEY_BYTES],
                       struct error *err) {
    uint8_t plain[(EPOCHS_MAX + 3) * KEY_BYTES];
    struct object o;
    int rc = object_read(source, n, &o, err);
    if (rc < 0) return rc;
    rc = box_open(secret_bytes(source->keys->read_secret), o.readers, plain, err);
    if (rc == 0) {
        memcpy(cut, plain + KEY_BYTES, KEY_BYTES);
        memcpy(id, plain + (size_t)(n + 2) * KEY_BYTES, KEY_BYTES);
    }
    wipe(plain, sizeof plain);
    buf_free(&o.raw);
    return rc;
}

static int keys_of(const struct repo *r, const struct repo *source, unsigned n, struct epoch_keys *ret,
                   struct error *err) {
    uint8_t id[KEY_BYTES], cut[KEY_BYTES];
    if (!source) return epoch_keys_derive(r->keys, n, ret, err);
    int rc = source_keys(source, n, id, cut, err);
    if (rc == 0) rc = epoch_keys_follow(r->keys, n, BYTES_OF(id, sizeof id), BYTES_OF(cut, sizeof cut), ret, err);
    wipe(id, sizeof id);
    wipe(cut, sizeof cut);
    return rc;
}

/* `source` NULL: with keys of its own. */
static int begin(struct repo *r, const struct repo *source, uint64_t *ret_keys, struct error *err) {
    int rc = repo_writable(r, err);
    if (rc < 0) return rc;
    if (r->keys->role != ROLE_ADMIN)
        return error_set(err, ERR_KEY_ROLE, "an epoch is begun with an admin key, and this one is a %s key",
                         key_role_name(r->keys->role));
    for (int i = 1;; i++) {
        struct epoch_keys now = {0};
        if ((rc = repo_sync(r, err)) < 0) break;
        if (newest(r) >= EPOCHS_MAX) {
            rc = error_set(err, ERR_POLICY, "the repository has had %u epochs, and more there cannot be", newest(r));
            break;
        }
        if (source && newest(r) >= newest(source)) return 0; /* another was first */
        rc = keys_of(r, source, newest(r) + 1, &now, err);
        if (rc == 0) rc = begin_with(r, &now, ret_keys, err);
        epoch_keys_clear(&now);
        if (rc != -ERR_REPO_COMMIT_LOST || i == ATTEMPTS) break;
        error_clear(err);
    }
    return rc;
}

int repo_epoch_follow(struct repo *copy, const struct repo *source, unsigned *ret_begun, struct error *err) {
    uint64_t keys;
    int rc = repo_needs_read(source, "following the epochs of a repository", err);
    *ret_begun = 0;
    if (rc == 0 && !repo_shares_content(copy, source))
        rc = error_set(err, ERR_COPY_FOREIGN, "repository %s does not share the content keys of repository %s",
                       copy->id_hex, source->id_hex);
    while (rc == 0 && newest(copy) < newest(source)) {
        rc = begin(copy, source, &keys, err);
        if (rc == 0) rc = repo_sync(copy, err);
        if (rc == 0) ++*ret_begun;
    }
    return rc < 0 ? error_wrap(err, "following into epoch %u of repository %s", newest(source), source->id_hex) : 0;
}

/* By the newest epoch of which both handles have the ids: 1 they agree, 0 they do not, -1 there is none. */
static int compare(const struct repo *a, const struct repo *b) {
    for (unsigned e = (a->epoch < b->epoch ? a->epoch : b->epoch) + 1; e-- > 0;) {
        struct error lacks_it = ERROR_INIT;
        struct bytes x, y;
        if (repo_id_key(a, e, &x, &lacks_it) == 0 && repo_id_key(b, e, &y, &lacks_it) == 0) return epoch_key_same(x, y);
    }
    return -1;
}

bool repo_shares_content(const struct repo *a, const struct repo *b) {
    return compare(a, b) == 1;
}

bool repo_content_differs(const struct repo *a, const struct repo *b) {
    return compare(a, b) == 0;
}

int repo_epoch_begin(struct repo *r, unsigned *ret_epoch, uint64_t *ret_keys, struct error *err) {
    if (r->keys->role == ROLE_ADMIN && r->keys->shared_content) {
        error_set(err, ERR_POLICY, "this repository is a copy, which has the ids of its source");
        (void)!error_state(err, "nothing was changed");
        return error_next(
            err, "Rotate the source's (key rotate-ids -r SOURCE); the next copy follows. When the source is gone "
                 "for good: key rotate-ids --leave-source");
    }
    return repo_epoch_leave(r, ret_epoch, ret_keys, err);
}

int repo_epoch_leave(struct repo *r, unsigned *ret_epoch, uint64_t *ret_keys, struct error *err) {
    int rc = begin(r, NULL, ret_keys, err);
    if (rc < 0) return error_wrap(err, "beginning an epoch");
    rc = repo_sync(r, err);
    if (rc < 0) return error_state(err, "the epoch has begun; it is entered by whoever opens the repository next");
    *ret_epoch = r->epoch;
    return 0;
}

int repo_bundle_new(const struct repo *r, enum key_role role, struct keyring **ret, struct error *err) {
    struct keyring *k = NULL;
    int rc = keyring_derive(r->keys, role, &k, err);
    if (rc == 0 && r->epoch && r->keys->shared_content)
        rc = keyring_enter_epoch_keys(k, &r->epochs[r->epoch], err);
    else if (rc == 0)
        rc = keyring_enter_epoch(k, r->keys, r->epoch, err);
    if (rc < 0)
        keyring_free(k);
    else
        *ret = k;
    return rc;
}
