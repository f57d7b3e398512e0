#include "work/keys.h"

#include "base/seam.h"
#include "base/time.h"
#include "work/point.h"

#include <errno.h>
#include <stdio.h>

int key_place_check(const char *path, const char *url, struct error *err) {
    char folder[4096];
    if (!url || !work_local_folder(url, folder) || !work_path_within(path, folder)) return 0;
    error_set(err, ERR_POLICY, "the key %s would lie in the repository's own folder, %s", path, folder);
    error_state(err, "nothing was written");
    return error_next(err, "Choose a place that is lost or stolen at another time than the repository.");
}

int key_place_check_all(const char *path, const char *config_path, const char *repository, struct error *err) {
    struct config *c = NULL;
    int rc = config_load(config_path, &c, err);
    if (rc == -ERR_CONFIG_NONE && !config_path) {
        error_clear(err);
        rc = 0;
    }
    if (rc == 0 && repository && !(c && config_repository(c, repository))) rc = key_place_check(path, repository, err);
    for (size_t i = 0; c && i < c->repositories.count && rc == 0; i++)
        rc = key_place_check(path, c->repositories.items[i]->url, err);
    config_free(c);
    return rc;
}

bool key_same_device(const char *path, const char *url) {
    char folder[4096];
    struct stat a, b;
    return work_local_folder(url, folder) && seam_fstatat(AT_FDCWD, path, &a, 0) == 0 &&
           seam_fstatat(AT_FDCWD, folder, &b, 0) == 0 && a.st_dev == b.st_dev;
}

/* What was made durable is of use only when its name is, too. */
static int folder_sync(const char *folder, struct error *err) {
    CLEANUP(io_close) int fd = seam_openat(AT_FDCWD, folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC, 0);
    if (fd < 0) return error_set_errno(err, ERR_IO_WRITE, "%s", folder);
    return seam_fsync(fd) < 0 ? error_set_errno(err, ERR_IO_SYNC, "%s", folder) : 0;
}

int key_file_write(const char *path, const char *url, struct bytes text, struct error *err) {
    char folder[4096];
    int rc = key_place_check(path, url, err);
    if (rc < 0) return rc;
    if (snprintf(folder, sizeof folder, "%s", path) >= (int)sizeof folder)
        return error_set(err, ERR_USAGE, "the key file's name is too long");
    char *slash = strrchr(folder, '/');
    if (!slash)
        snprintf(folder, sizeof folder, ".");
    else
        slash[slash == folder] = '\0';
    if ((rc = io_mkdirs(folder, 0700, err)) < 0) return rc;
    int fd = seam_openat(AT_FDCWD, path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0600);
    if (fd < 0 && errno == EEXIST) {
        error_set(err, ERR_IO_EXISTS, "%s is there already", path);
        return error_state(err, "it was left as it is, and nothing was written");
    }
    if (fd < 0) return error_set_errno(err, ERR_IO_WRITE, "%s", path);
    rc = seam_fchmod(fd, 0600) < 0 ? error_set_errno(err, ERR_IO_WRITE, "%s", path) : 0;
    if (rc == 0) rc = io_write_full(fd, text.ptr, text.len, path, err);
    if (rc == 0 && seam_fsync(fd) < 0) rc = error_set_errno(err, ERR_IO_SYNC, "%s", path);
    if (seam_close(fd) < 0 && rc == 0) rc = error_set_errno(err, ERR_IO_WRITE, "%s", path);
    if (rc == 0) rc = folder_sync(folder, err);
    if (rc < 0) (void)seam_unlinkat(AT_FDCWD, path, 0);
    return rc;
}

static int random_key_file(const char *path, const char *url, uint8_t key[KEY_BYTES], bool identity,
                           struct error *err) {
    struct buf text = BUF_INIT(4096);
    int rc = buf_reserve(&text, 512, err);
    if (rc == 0) rc = random_bytes(key, KEY_BYTES, err);
    if (rc == 0)
        rc = identity ? key_identity_format(BYTES_OF(key, KEY_BYTES), &text, err)
                      : key_file_format(BYTES_OF(key, KEY_BYTES), &text, err);
    if (rc == 0) rc = key_file_write(path, url, buf_bytes(&text), err);
    if (text.ptr) wipe(text.ptr, text.cap);
    buf_free(&text);
    return rc;
}

int key_generate(const char *path, const char *url, char ret_public[RECIPIENT_TEXT_BYTES], struct error *err) {
    uint8_t key[KEY_BYTES], pub[BOX_PUBLIC_BYTES];
    int rc = random_key_file(path, url, key, true, err);
    if (rc == 0) rc = box_public(BYTES_OF(key, sizeof key), pub, err);
    if (rc == 0) key_recipient_format(pub, ret_public);
    wipe(key, sizeof key);
    return rc;
}

int passphrase_read(const char *path, const char *url, struct secret **ret, struct error *err) {
    struct secret *all = NULL;
    int rc = key_place_check(path, url, err);
    if (rc == 0) rc = secret_read_file(path, &all, err);
    if (rc < 0) return rc;
    struct bytes b = secret_bytes(all);
    const uint8_t *end = memchr(b.ptr, '\n', b.len);
    size_t n = end ? (size_t)(end - b.ptr) : b.len;
    rc = n ? secret_new(BYTES_OF(b.ptr, n), ret, err)
           : error_set(err, ERR_SECRET, "the first line of %s is empty", path);
    secret_free(all);
    return rc;
}

/* What a new key is opened by. */
struct way {
    struct unlock unlock;
    struct secret *passphrase;
    uint8_t key[KEY_BYTES];
    const char *made; /* the key file that was written */
};

static int way_make(const struct work *w, const struct key_request *q, struct way *y, struct error *err) {
    *y = (struct way){0};
    if (!!q->recipient + !!q->key_file_out + !!q->passphrase_file_new != 1)
        return error_set(err, ERR_USAGE, "a new key is one of --recipient, --key-file-out and --passphrase-file-new");
    if (q->label && strlen(q->label) > 64) return error_set(err, ERR_USAGE, "a label has at most 64 bytes");
    int rc = 0;
    if (q->recipient) {
        y->unlock.kind = SLOT_RECIPIENT;
        if (!key_recipient_parse(q->recipient, y->unlock.recipient))
            rc = error_set(err, ERR_USAGE, "'%.80s' is no recipient's public key (pkr1...)", q->recipient);
    } else if (q->passphrase_file_new) {
        y->unlock.kind = SLOT_PASSPHRASE;
        rc = passphrase_read(q->passphrase_file_new, w->url, &y->passphrase, err);
        if (rc == 0) y->unlock.secret = secret_bytes(y->passphrase);
    } else {
        y->unlock.kind = SLOT_KEY_FILE;
        y->unlock.secret = BYTES_OF(y->key, sizeof y->key);
        rc = random_key_file(q->key_file_out, w->url, y->key, false, err);
        if (rc == 0) y->made = q->key_file_out;
    }
    return rc;
}

/* `useful`: a slot that it opens may be in the store, so a key file stays. */
static void way_end(struct way *y, bool useful, struct error *err) {
    if (!useful && y->made && seam_unlinkat(AT_FDCWD, y->made, 0) == 0)
        (void)!error_state(err, "the key file was removed again; it opens nothing");
    wipe(y->key, sizeof y->key);
    secret_free(y->passphrase);
}

int key_add(struct work *w, const struct key_request *q, char id[65], struct error *err) {
    struct keyring *bundle = NULL;
    struct way y = {0};
    int rc = repo_bundle_new(w->repo, q->role, &bundle, err);
    if (rc == 0) rc = way_make(w, q, &y, err);
    if (rc == 0) rc = repo_key_add(w->repo, bundle, &y.unlock, q->label ? q->label : "", err);
    if (rc == 0) hex_encode(bundle->sign_public, SIGN_PUBLIC_BYTES, id);
    way_end(&y, rc == 0, err);
    keyring_free(bundle);
    return rc;
}

/* What an id fits: keys in force by their own, slots by their objects'. */
struct fit {
    const char *id;
    size_t keys, slots;
    uint8_t pub[SIGN_PUBLIC_BYTES];
    const struct key_info *key; /* of keys: good until the log is read again */
    char slot[96], label[65];   /* of slots */
    enum key_role role;
    bool of_admin;
};

static int fit_slot(void *ctx, const char *name, const struct slot_info *info, struct error *err) {
    struct fit *f = ctx;
    const char *hex = strrchr(name, '/');
    (void)err;
    if (!hex || strncmp(hex + 1, f->id, strlen(f->id)) != 0) return 0;
    snprintf(f->slot, sizeof f->slot, "%s", name);
    memcpy(f->label, info->label, sizeof f->label);
    f->role = info->role;
    f->of_admin = info->role == ROLE_ADMIN;
    f->slots++;
    return 0;
}

/* Exactly one of what fits. `removed`: keys that are no longer in force fit as well. */
static int fit_one(struct work *w, const char *id, bool removed, struct fit *f, struct error *err) {
    char hex[65];
    *f = (struct fit){.id = id};
    if (strlen(id) < 8) return error_set(err, ERR_USAGE, "'%s' is too short: at least 8 digits of the key's id", id);
    for (size_t i = 0; i < repo_key_count(w->repo); i++) {
        const struct key_info *k = repo_key(w->repo, i);
        hex_encode(k->public_key, sizeof k->public_key, hex);
        if ((k->removed && !removed) || strncmp(hex, id, strlen(id)) != 0) continue;
        f->key = k;
        memcpy(f->pub, k->public_key, sizeof f->pub);
        f->keys++;
    }
    int rc = repo_slots(w->repo, fit_slot, f, err);
    if (rc < 0) return rc;
    if (f->keys + f->slots == 1) return 0;
    error_set(err, ERR_NO_POINT,
              f->keys + f->slots ? "several keys or slots have an id that begins with '%.64s'"
                                 : "no key in force and no slot has the id '%.64s'",
              id);
    return error_next(err, "proofkeep key list");
}

int key_remove(struct work *w, const char *id, char removed[65], bool *ret_slot, struct error *err) {
    struct fit f;
    int rc = fit_one(w, id, false, &f, err);
    if (rc < 0) return rc;
    *ret_slot = f.slots == 1;
    if (f.slots) {
        snprintf(removed, 65, "%s", strrchr(f.slot, '/') + 1);
        return repo_slot_remove(w->repo, f.slot, err);
    }
    hex_encode(f.pub, sizeof f.pub, removed);
    return repo_key_remove(w->repo, f.pub, err);
}

static int only_slot(void *ctx, const char *name, const struct slot_info *info, struct error *err) {
    struct fit *f = ctx;
    (void)err;
    if (memcmp(info->sign_public, f->pub, sizeof f->pub) != 0) return 0;
    snprintf(f->slot, sizeof f->slot, "%s", name);
    memcpy(f->label, info->label, sizeof f->label);
    f->slots++;
    return 0;
}

/* The admin key stays what it is, as every other comes from it; only its slot is new. */
static int rotate_slot(struct work *w, struct fit *f, const struct key_request *q, struct error *err) {
    struct keyring *bundle = NULL;
    struct way y = {0};
    bool named = f->slots == 1;
    memcpy(f->pub, repo_keys(w->repo)->admin_public, sizeof f->pub);
    if (!named) {
        int rc = repo_slots(w->repo, only_slot, f, err);
        if (rc < 0) return rc;
        if (f->slots != 1) {
            error_set(err, ERR_KEY_ROLE, "the admin key has %zu slots, and each is rotated by itself", f->slots);
            error_state(err, "nothing was changed");
            return error_next(err, "name the slot, as 'proofkeep key list' shows it");
        }
    } else if (!f->of_admin) {
        error_set(err, ERR_KEY_ROLE, "this slot is of a %s key, which is rotated as a whole", key_role_name(f->role));
        error_state(err, "nothing was changed");
        return error_next(err, "name the key by its id, as 'proofkeep key list' shows it");
    }
    int rc = keyring_derive(repo_keys(w->repo), ROLE_ADMIN, &bundle, err);
    if (rc == 0) rc = way_make(w, q, &y, err);
    if (rc == 0) rc = repo_slot_replace(w->repo, f->slot, bundle, &y.unlock, q->label ? q->label : f->label, err);
    /* once the new slot may be in the store, its key file is worth keeping */
    way_end(&y, rc == 0 || error_info(rc)->status != EXIT_REFUSED, err);
    keyring_free(bundle);
    return rc;
}

int key_rotate(struct work *w, const char *named, const struct key_request *q, char id[65], enum key_role *ret_role,
               struct error *err) {
    struct fit f;
    enum key_role mine = repo_keys(w->repo)->role;
    int rc = fit_one(w, named, false, &f, err);
    if (rc < 0) return rc;
    if (mine != ROLE_ADMIN)
        return error_set(err, ERR_KEY_ROLE, "rotating keys needs an admin key, and this one is a %s key",
                         key_role_name(mine));
    if (f.slots || memcmp(f.pub, repo_keys(w->repo)->admin_public, sizeof f.pub) == 0) {
        *ret_role = ROLE_ADMIN;
        hex_encode(repo_keys(w->repo)->admin_public, SIGN_PUBLIC_BYTES, id);
        return rotate_slot(w, &f, q, err);
    }
    struct key_request fresh = *q;
    char label[65];
    memcpy(label, f.key->label, sizeof label);
    fresh.role = *ret_role = f.key->role;
    if (!fresh.label) fresh.label = label;
    if ((rc = key_add(w, &fresh, id, err)) < 0) return rc;
    if ((rc = repo_key_remove(w->repo, f.pub, err)) < 0)
        return error_state(err,
                           "the new key is in force, and the old one is too: remove it with 'proofkeep key remove'");
    return 0;
}

int key_revoke(struct work *w, const char *named, int64_t since_ns, char id[65], enum key_role *ret_role, json_t **ret,
               struct error *err) {
    struct fit f;
    json_auto_t *list = json_array();
    int rc = fit_one(w, named, true, &f, err);
    if (rc == 0 && f.slots) {
        error_set(err, ERR_USAGE, "'%.64s' is a slot: what is revoked is a key, with all its slots", named);
        rc = error_next(err, "proofkeep key list");
    }
    if (rc == 0 && !list) rc = error_set(err, ERR_NO_MEMORY, "no memory for a list of recovery points");
    if (rc == 0) hex_encode(f.pub, sizeof f.pub, id);
    if (rc == 0) *ret_role = f.key->role;
    if (rc == 0) rc = repo_key_revoke(w->repo, f.pub, since_ns, err);
    for (size_t i = 0; rc == 0 && i < repo_snapshot_count(w->repo); i++) {
        const struct snapshot_info *s = repo_snapshot(w->repo, i);
        if (s->forgotten || memcmp(s->writer, f.pub, sizeof f.pub) != 0 || !repo_snapshot_suspect(w->repo, s)) continue;
        rc = json_push(list,
                       json_pack("{s:s, s:s, s:s, s:I, s:o}", "id", s->id, "environment", s->environment, "surface",
                                 s->surface, "log_seq", (json_int_t)s->seq, "stored_at", point_time_json(s->stored_ns)),
                       err);
    }
    if (rc == 0) *ret = json_incref(list);
    return rc;
}

static const char *slot_kind_name(enum slot_kind k) {
    return k == SLOT_PASSPHRASE ? "passphrase" : k == SLOT_KEY_FILE ? "key_file" : "recipient";
}

static int slot_line(void *ctx, const char *name, const struct slot_info *info, struct error *err) {
    json_t *keys = ctx, *key;
    size_t i;
    char hex[65];
    hex_encode(info->sign_public, sizeof info->sign_public, hex);
    json_array_foreach(keys, i, key) {
        if (strcmp(json_string_value(json_object_get(key, "id")), hex) != 0) continue;
        json_t *slot = json_pack("{s:s, s:s, s:o}", "object", name, "kind", slot_kind_name(info->kind), "label",
                                 json_name(BYTES_STR(info->label)));
        return json_push(json_object_get(key, "slots"), slot, err);
    }
    /* a slot whose key the log does not know opens nothing that counts, and is shown all the same */
    json_t *slot = json_pack("{s:s, s:s, s:b, s:b, s:o, s:[{s:s, s:s}]}", "id", hex, "role", key_role_name(info->role),
                             "known", 0, "removed", 0, "label", json_name(BYTES_STR(info->label)), "slots", "object",
                             name, "kind", slot_kind_name(info->kind));
    return json_push(keys, slot, err);
}

int key_list(struct work *w, json_t **ret, struct error *err) {
    json_auto_t *keys = json_array();
    int rc = 0;
    if (!keys) return error_set(err, ERR_NO_MEMORY, "no memory for a list of keys");
    for (size_t i = 0; i < repo_key_count(w->repo) && rc == 0; i++) {
        const struct key_info *k = repo_key(w->repo, i);
        char hex[65];
        hex_encode(k->public_key, sizeof k->public_key, hex);
        bool current = memcmp(k->public_key, repo_keys(w->repo)->sign_public, sizeof k->public_key) == 0;
        rc = json_push(keys,
                       json_pack("{s:s, s:s, s:b, s:b, s:o, s:b, s:o, s:I, s:[]}", "id", hex, "role",
                                 key_role_name(k->role), "known", 1, "removed", k->removed, "suspect_since",
                                 k->suspect_ns ? point_time_json(k->suspect_ns) : json_null(), "current", current,
                                 "label", json_name(BYTES_STR(k->label)), "log_seq", (json_int_t)k->seq, "slots"),
                       err);
    }
    if (rc == 0) rc = repo_slots(w->repo, slot_line, keys, err);
    if (rc < 0) return rc;
    *ret = json_pack("{s:O, s:I}", "keys", keys, "epoch", (json_int_t)repo_epoch(w->repo));
    return *ret ? 0 : error_set(err, ERR_NO_MEMORY, "no memory for a list of keys");
}
