/* Keys of the repository as its log and its slots have them. */
#include "ledger/statement.h"
#include "repo/repo_internal.h"

/* A statement about a signing key, appended. `p` is taken over. */
static int say(struct repo *r, const char *type, const uint8_t pub[SIGN_PUBLIC_BYTES], json_t *p, struct error *err) {
    struct digest d;
    json_t *s = NULL;
    sha256(BYTES_OF(pub, SIGN_PUBLIC_BYTES), &d);
    if (!p) return error_set(err, ERR_NO_MEMORY, "no memory for a key entry");
    int rc = statement_make(type, "signing-key", &d, p, &s, err);
    if (rc == 0) rc = repo_append(r, s, NULL, NULL, err);
    json_decref(s);
    return rc;
}

struct addition {
    struct repo *r;
    json_t *statement;
};

/* The new bundle holds the keys of the epoch that was in force when it was made. */
static int build_addition(void *ctx, uint64_t seq, json_t **ret, struct error *err) {
    struct addition *a = ctx;
    (void)seq;
    if (a->r->state.epoch_count != a->r->epoch) {
        error_set(err, ERR_REPO_BUSY, "an epoch of ids began while the key was made");
        return error_state(err, "the key was not added");
    }
    *ret = json_copy_whole(a->statement);
    return *ret ? 0 : error_set(err, ERR_NO_MEMORY, "no memory for a key entry");
}

static int key_statement_add(struct repo *r, const struct keyring *bundle, const char *label, struct error *err) {
    char hex[65];
    struct digest d;
    struct addition a = {.r = r};
    hex_encode(bundle->sign_public, SIGN_PUBLIC_BYTES, hex);
    sha256(BYTES_OF(bundle->sign_public, SIGN_PUBLIC_BYTES), &d);
    json_t *p = json_pack("{s:s, s:s, s:s, s:s}", "action", "add", "key", hex, "role", key_role_name(bundle->role),
                          "label", label);
    if (!p) return error_set(err, ERR_NO_MEMORY, "no memory for a key entry");
    int rc = repo_writable(r, err);
    if (rc == 0 && r->epoch && bundle->role != ROLE_ADMIN) rc = json_put_int(p, "epoch", r->epoch, err);
    if (rc == 0)
        rc = statement_make(PREDICATE_KEY, "signing-key", &d, p, &a.statement, err);
    else
        json_decref(p);
    if (rc == 0) rc = ledger_append(r->ledger, secret_bytes(r->keys->sign_seed), build_addition, &a, NULL, NULL, err);
    json_decref(a.statement);
    return rc;
}

static int key_statement_remove(struct repo *r, const uint8_t pub[SIGN_PUBLIC_BYTES], enum key_role role,
                                const char *label, int64_t suspect_ns, struct error *err) {
    char hex[65];
    char since[32];
    hex_encode(pub, SIGN_PUBLIC_BYTES, hex);
    if (suspect_ns) time_format(suspect_ns, since);
    return say(r, PREDICATE_KEY, pub,
               json_pack("{s:s, s:s, s:s, s:s, s:s*}", "action", "remove", "key", hex, "role", key_role_name(role),
                         "label", label, "suspect_since", suspect_ns ? since : NULL),
               err);
}

static int admin_only(const struct repo *r, struct error *err) {
    if (r->keys->role == ROLE_ADMIN) return 0;
    return error_set(err, ERR_KEY_ROLE, "changing keys needs an admin key, and this one is a %s key",
                     key_role_name(r->keys->role));
}

int repo_slot_add(struct repo *r, const struct keyring *bundle, struct bytes slot, const char *label,
                  struct error *err) {
    int rc = admin_only(r, err);
    char key[96];
    bool known = false;
    for (size_t i = 0; i < r->state.key_count; i++)
        known |= !r->state.keys[i].removed &&
                 memcmp(r->state.keys[i].public_key, bundle->sign_public, SIGN_PUBLIC_BYTES) == 0;
    if (rc == 0 && !known) rc = key_statement_add(r, bundle, label, err);
    if (rc < 0) return rc;
    slot_key(slot, key);
    return store_create(r->store, key, slot, err);
}

int repo_key_add(struct repo *r, const struct keyring *bundle, const struct unlock *u, const char *label,
                 struct error *err) {
    struct buf slot = BUF_INIT(64 << 10);
    int rc = admin_only(r, err);
    if (rc == 0) rc = slot_seal(bundle, u, label, &slot, err);
    if (rc == 0) rc = repo_slot_add(r, bundle, buf_bytes(&slot), label, err);
    buf_free(&slot);
    return rc;
}

struct slots { /* of one key */
    const uint8_t *pub;
    char (*names)[96];
    size_t n, cap;
};

static int see_slot(void *ctx, const char *name, const struct slot_info *info, struct error *err) {
    struct slots *s = ctx;
    if (memcmp(info->sign_public, s->pub, SIGN_PUBLIC_BYTES) != 0) return 0;
    int rc = mem_grow((void **)&s->names, &s->cap, s->n + 1, sizeof *s->names, err);
    if (rc == 0) snprintf(s->names[s->n++], sizeof *s->names, "%s", name);
    return rc;
}

static int refuse_last(struct error *err) {
    error_set(err, ERR_KEY_ROLE,
              "the last slot of the admin key cannot be removed: nobody could read the repository afterwards");
    error_state(err, "nothing was removed");
    return error_next(err, "add another admin key first: proofkeep key add --role admin");
}

static int refuse_admin(size_t slots, struct error *err) {
    if (slots < 2) return refuse_last(err);
    error_set(err, ERR_KEY_ROLE, "the admin key has %zu slots, and all the repository's keys come from it", slots);
    error_state(err, "nothing was removed");
    return error_next(err, "name the one slot to remove, as 'proofkeep key list' shows it");
}

static int key_end(struct repo *r, const uint8_t pub[SIGN_PUBLIC_BYTES], int64_t suspect_ns, struct error *err) {
    struct slots s = {.pub = pub};
    const struct key_info *k = NULL;
    int rc = admin_only(r, err);
    if (rc == 0) rc = repo_slots(r, see_slot, &s, err);
    if (rc == 0 && memcmp(pub, r->keys->admin_public, SIGN_PUBLIC_BYTES) == 0) rc = refuse_admin(s.n, err);
    for (size_t i = 0; i < r->state.key_count && rc == 0; i++)
        if ((suspect_ns || !r->state.keys[i].removed) &&
            memcmp(r->state.keys[i].public_key, pub, SIGN_PUBLIC_BYTES) == 0)
            k = &r->state.keys[i];
    if (rc == 0 && !k) rc = error_set(err, ERR_NO_POINT, "no such key is in force");
    if (rc == 0) rc = key_statement_remove(r, pub, k->role, k->label, suspect_ns, err);
    for (size_t i = 0; i < s.n && rc == 0; i++) rc = store_remove(r->store, s.names[i], err);
    seam_free(s.names);
    return rc;
}

int repo_key_remove(struct repo *r, const uint8_t pub[SIGN_PUBLIC_BYTES], struct error *err) {
    return key_end(r, pub, 0, err);
}

int repo_key_revoke(struct repo *r, const uint8_t pub[SIGN_PUBLIC_BYTES], int64_t since_ns, struct error *err) {
    return key_end(r, pub, since_ns > NS_PER_S ? since_ns : NS_PER_S,
                   err); /* entries have whole seconds, and 0 is none */
}

struct slot_look {
    const char *name;
    bool found;
    struct slot_info info;
};

static int find_slot(void *ctx, const char *name, const struct slot_info *info, struct error *err) {
    struct slot_look *l = ctx;
    (void)err;
    if (strcmp(name, l->name) != 0) return 0;
    l->found = true;
    l->info = *info;
    return 0;
}

int repo_slot_remove(struct repo *r, const char *name, struct error *err) {
    struct slot_look l = {.name = name};
    int rc = admin_only(r, err);
    if (rc == 0) rc = repo_slots(r, find_slot, &l, err);
    if (rc < 0) return rc;
    if (!l.found) return error_set(err, ERR_NO_POINT, "there is no slot %s", name);
    struct slots s = {.pub = l.info.sign_public};
    rc = repo_slots(r, see_slot, &s, err);
    seam_free(s.names);
    if (rc < 0) return rc;
    bool admin = memcmp(l.info.sign_public, r->keys->admin_public, SIGN_PUBLIC_BYTES) == 0;
    if (admin && s.n < 2) return refuse_last(err);
    if (strcmp(name, r->slot) == 0) {
        error_set(err, ERR_KEY_ROLE, "this slot is the one that the repository was opened with just now");
        error_state(err, "nothing was removed");
        return error_next(
            err, "open the repository with another admin key, which proves that it works, and remove this one then");
    }
    if (!admin && s.n < 2) {
        error_set(err, ERR_KEY_ROLE,
                  "the last slot of a key goes with the key itself, as whoever copied it may still sign");
        error_state(err, "nothing was removed");
        return error_next(err, "remove the key by its id, as 'proofkeep key list' shows it");
    }
    return store_remove(r->store, name, err);
}

/* What the store gives back must open before anything is taken away. */
static int slot_prove(struct repo *r, const char *name, const struct unlock *u, const struct keyring *bundle,
                      struct error *err) {
    struct buf b = BUF_INIT(64 << 10);
    struct keyring *k = NULL;
    int rc = store_read_all(r->store, name, b.max_bytes, &b, err);
    if (rc == 0) rc = slot_open(buf_bytes(&b), u, &k, err);
    if (rc == 0 && memcmp(k->sign_public, bundle->sign_public, SIGN_PUBLIC_BYTES) != 0)
        rc = error_set(err, ERR_OBJECT_CORRUPT, "the new slot %s holds another key", name);
    keyring_free(k);
    buf_free(&b);
    return rc < 0 ? error_wrap(err, "opening the new slot") : 0;
}

int repo_slot_replace(struct repo *r, const char *name, const struct keyring *bundle, const struct unlock *u,
                      const char *label, struct error *err) {
    struct slot_look l = {.name = name};
    struct buf slot = BUF_INIT(64 << 10);
    char fresh[96];
    int rc = admin_only(r, err);
    if (rc == 0) rc = repo_slots(r, find_slot, &l, err);
    if (rc < 0) return rc;
    if (!l.found || memcmp(l.info.sign_public, bundle->sign_public, SIGN_PUBLIC_BYTES) != 0)
        return error_set(err, ERR_NO_POINT, "there is no slot %s of that key", name);
    if (u->kind == SLOT_RECIPIENT && strcmp(name, r->slot) == 0) {
        error_set(err, ERR_KEY_ROLE,
                  "the slot in use cannot give way to one for a recipient: only he could show that it opens");
        error_state(err, "nothing was changed");
        return error_next(err, "add the recipient's slot first, and let its owner remove this one: proofkeep key add");
    }
    rc = slot_seal(bundle, u, label, &slot, err);
    if (rc == 0) rc = repo_slot_add(r, bundle, buf_bytes(&slot), label, err);
    if (rc == 0) slot_key(buf_bytes(&slot), fresh);
    if (rc == 0 && u->kind != SLOT_RECIPIENT) rc = slot_prove(r, fresh, u, bundle, err);
    buf_free(&slot);
    if (rc < 0) return rc;
    rc = store_remove(r->store, name, err);
    if (rc < 0) return error_state(err, "the new slot is in place, and the old one, %s, is too", name);
    if (strcmp(name, r->slot) == 0) memcpy(r->slot, fresh, sizeof fresh);
    return 0;
}

int repo_key_drill_add(struct repo *r, const struct snapshot_info *point, uint64_t bytes, const char *principal,
                       struct error *err) {
    const uint8_t *pub = r->keys->sign_public;
    char hex[65];
    int rc = state_may(r, PREDICATE_KEY_DRILL, err);
    for (size_t i = r->state.key_count; i-- > 0 && rc == 0;) {
        if (memcmp(r->state.keys[i].public_key, pub, SIGN_PUBLIC_BYTES) != 0) continue;
        if (r->state.keys[i].removed)
            rc = error_set(err, ERR_KEY_ROLE,
                           "the kit's key was removed from the repository: what it signs counts for nothing");
        break;
    }
    if (rc < 0) return rc;
    hex_encode(pub, SIGN_PUBLIC_BYTES, hex);
    return say(r, PREDICATE_KEY_DRILL, pub,
               json_pack("{s:s, s:s, s:s, s:I, s:o, s:I, s:b, s:s}", "key", hex, "role", key_role_name(r->keys->role),
                         "backup_id", point->id, "seq", (json_int_t)point->seq, "receipt", json_digest(&point->entry),
                         "decoded_bytes", (json_int_t)bytes, "slot_stored", repo_slot_stored(r), "principal",
                         principal),
               err);
}
