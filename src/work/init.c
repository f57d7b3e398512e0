#include "base/seam.h"
#include "platform/open_store.h"
#include "work/keys.h"
#include "work/store_check.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#define STARTER_PATH "/etc" /* there everywhere, small, and worth having */

struct init {
    struct init_request q;
    struct config *config; /* NULL: none yet */
    struct unlock unlock;
    struct secret *key, *passphrase;
    struct init_result *r;
};

static int config_find(struct init *i, struct error *err) {
    int rc = config_load(i->q.config_path, &i->config, err);
    if (rc == 0) snprintf(i->r->config_kept, sizeof i->r->config_kept, "%s", i->config->head.file);
    if (rc != -ERR_CONFIG_NONE) return rc;
    error_clear(err);
    return 0;
}

static int url_find(struct init *i, struct error *err) {
    const struct config_repository *c = i->config ? config_repository(i->config, i->q.repository) : NULL;
    const char *given = c ? c->url : i->q.repository;
    char folder[4096];
    /* what is written into a configuration must mean the same from every folder */
    const char *url = !strstr(given, "://") && work_local_folder(given, folder) ? folder : given;
    const struct config_secret *key = c && c->encrypt ? config_secret(i->config, c->encrypt->key) : NULL;
    bool said = i->q.key_file || i->q.passphrase_file;
    if (key && key->file && !said && c->encrypt->kind == CONFIG_KEY_KEY_FILE)
        i->q.key_file = key->file;
    else if (key && key->file && !said)
        i->q.passphrase_file = key->file;
    if (snprintf(i->r->url, sizeof i->r->url, "%s", url) >= (int)sizeof i->r->url)
        return error_set(err, ERR_USAGE, "the repository's name is too long");
    return 0;
}

/* /etc/proofkeep for root, else the user's configuration folder; named after the repository's folder. */
static int key_default(struct init *i, struct error *err) {
    const char *xdg = getenv("XDG_CONFIG_HOME"), *home = getenv("HOME");
    char name[128], place[sizeof i->r->url];
    int n;
    snprintf(place, sizeof place, "%.*s", (int)strcspn(i->r->url, "?"), i->r->url);
    const char *base = strrchr(place, '/');
    snprintf(name, sizeof name, "%.100s", base && base[1] ? base + 1 : "repository");
    if (geteuid() == 0)
        n = snprintf(i->r->key_file, sizeof i->r->key_file, "/etc/proofkeep/%s.key", name);
    else if (xdg && *xdg == '/')
        n = snprintf(i->r->key_file, sizeof i->r->key_file, "%s/proofkeep/%s.key", xdg, name);
    else if (home && *home == '/')
        n = snprintf(i->r->key_file, sizeof i->r->key_file, "%s/.config/proofkeep/%s.key", home, name);
    else
        return error_set(err, ERR_KEY_NONE, "nothing says where the key is to be kept");
    return n < (int)sizeof i->r->key_file ? 0 : error_set(err, ERR_USAGE, "the key file's name is too long");
}

static int key_read(struct init *i, struct error *err) {
    struct secret *text = NULL;
    int rc = secret_read_file(i->r->key_file, &text, err);
    if (rc < 0) return rc;
    rc = key_file_parse(secret_bytes(text), &i->key, &i->unlock.kind, err);
    secret_free(text);
    if (rc < 0) return error_wrap(err, "%s", i->r->key_file);
    i->unlock.secret = secret_bytes(i->key);
    return i->unlock.kind == SLOT_RECIPIENT ? box_public(i->unlock.secret, i->unlock.recipient, err) : 0;
}

static int key_make(struct init *i, struct error *err) {
    struct buf text = BUF_INIT(4096);
    int rc = secret_random(KEY_BYTES, &i->key, err);
    if (rc == 0) rc = buf_reserve(&text, 512, err);
    if (rc == 0) rc = key_file_format(secret_bytes(i->key), &text, err);
    if (rc == 0) rc = key_file_write(i->r->key_file, i->r->url, buf_bytes(&text), err);
    if (text.ptr) wipe(text.ptr, text.cap);
    buf_free(&text);
    if (rc < 0) return rc;
    i->r->key_made = true;
    i->unlock.kind = SLOT_KEY_FILE;
    i->unlock.secret = secret_bytes(i->key);
    return 0;
}

static int keys_get(struct init *i, struct error *err) {
    struct stat st;
    int rc = 0;
    if (i->q.passphrase_file) rc = passphrase_read(i->q.passphrase_file, i->r->url, &i->passphrase, err);
    if (rc < 0 || (i->q.passphrase_file && !i->q.key_file)) {
        if (rc == 0) i->unlock = (struct unlock){.kind = SLOT_PASSPHRASE, .secret = secret_bytes(i->passphrase)};
        return rc;
    }
    char absolute[4096];
    if (!i->q.key_file)
        rc = key_default(i, err);
    else if (!work_local_folder(i->q.key_file, absolute))
        rc = error_set(err, ERR_USAGE, "the key file's name is too long");
    else
        snprintf(i->r->key_file, sizeof i->r->key_file, "%s", absolute);
    if (rc == 0) rc = key_place_check(i->r->key_file, i->r->url, err);
    if (rc < 0) return rc;
    if (seam_fstatat(AT_FDCWD, i->r->key_file, &st, 0) == 0) return key_read(i, err);
    return errno == ENOENT ? key_make(i, err) : error_set_errno(err, ERR_IO_READ, "%s", i->r->key_file);
}

/* Before a key is made for it: a place that is taken is the likeliest mistake. */
static int place_check(struct init *i, const char *url, struct error *err) {
    struct store *s = NULL;
    struct error e = ERROR_INIT;
    uint64_t bytes;
    int rc = config_open_store(i->config, NULL, url, false, &s, &e);
    if (rc == -ERR_REPO_NONE) return 0;
    if (rc == 0) rc = store_stat(s, "format", &bytes, NULL, &e);
    if (rc == 0)
        rc = error_set(err, ERR_REPO_EXISTS, "%s holds a repository already; nothing was changed", url);
    else if (rc == -ERR_OBJECT_MISSING)
        rc = 0;
    else
        *err = e;
    store_close(s);
    return rc;
}

/* A copy of a repository that has begun epochs begins with them. */
static int follow_source(struct init *i, struct store *s, struct error *err) {
    struct repo *r = NULL;
    unsigned begun;
    int rc = repo_open(s, &i->unlock, NULL, &r, err);
    if (rc == 0) rc = repo_epoch_follow(r, i->q.source->repo, &begun, err);
    repo_close(r);
    return rc;
}

/* A second slot, when both a key file and a passphrase are to open it. */
static int second_slot(struct init *i, struct store *s, const struct keyring *admin, struct error *err) {
    struct unlock u = {.kind = SLOT_PASSPHRASE, .secret = secret_bytes(i->passphrase)};
    struct repo *r = NULL;
    int rc = repo_open(s, &i->unlock, NULL, &r, err);
    if (rc == 0) rc = repo_key_add(r, admin, &u, "passphrase", err);
    repo_close(r);
    return rc;
}

/* A folder is known; of a server nobody can say what it does but by trying. */
static int promises_check(struct store *s, const char *url, struct error *err) {
    char folder[4096];
    struct store_facts facts;
    if (work_local_folder(url, folder)) return 0;
    int rc = store_probe(s, &facts, err);
    return rc < 0 ? rc : store_facts_required(&facts, err);
}

static int make(struct init *i, struct error *err) {
    struct store *s = NULL;
    struct keyring *admin = NULL;
    int rc = config_open_store(i->config, NULL, i->r->url, true, &s, err);
    if (rc == 0) rc = promises_check(s, i->r->url, err);
    char cache[4096];
    struct error none = ERROR_INIT; /* without a cache the next run asks more */
    const struct repo_params p = {.copy_of = i->q.source ? i->q.source->repo : NULL,
                                  .cache_dir = work_cache_folder(i->q.cache_dir, cache, &none) == 0 ? cache : NULL};
    if (rc == 0) rc = repo_create(s, &p, &i->unlock, "admin", &admin, err);
    if (rc == 0) {
        hex_encode(admin->repo_id, sizeof admin->repo_id, i->r->id);
        if (p.copy_of && repo_epoch(p.copy_of)) rc = follow_source(i, s, err);
        if (rc == 0 && i->passphrase && i->key) rc = second_slot(i, s, admin, err);
        if (rc < 0) (void)!error_state(err, "the repository is made, and %s opens it", i->r->key_file);
    } else if (i->r->key_made && seam_unlinkat(AT_FDCWD, i->r->key_file, 0) == 0) {
        (void)!error_state(err, "no repository was made, and the key file was removed again");
    }
    keyring_free(admin);
    store_close(s);
    return rc;
}

static int config_make(struct init *i, struct error *err) {
    static const char *const paths[] = {STARTER_PATH, NULL};
    struct buf text = BUF_INIT(CONFIG_FILE_BYTES_MAX);
    char passphrase[4096];
    const char *key = *i->r->key_file ? i->r->key_file : NULL;
    if (!key && work_local_folder(i->q.passphrase_file, passphrase)) key = passphrase;
    struct config_starter p = {
        .platform = "my platform",
        .repository_url = i->r->url,
        .key_file = key,
        .key_kind = *i->r->key_file ? CONFIG_KEY_KEY_FILE : CONFIG_KEY_PASSPHRASE,
        .paths = paths,
    };
    const char *to = i->q.config_path ? i->q.config_path : "./proofkeep.yaml";
    int rc = config_write_starter(&text, &p, err);
    if (rc == 0) rc = io_replace_file(AT_FDCWD, to, buf_bytes(&text), 0600, err);
    if (rc == 0) snprintf(i->r->config, sizeof i->r->config, "%s", to);
    buf_free(&text);
    if (rc < 0) (void)!error_state(err, "the repository is made; only the configuration is missing");
    return rc;
}

/* Before a key is made. */
static int source_open(struct work *source, struct error *err) {
    int rc = work_open_repo(source, NULL, err);
    if (rc < 0) return rc;
    if (repo_epoch(source->repo) && !repo_keys(source->repo)->read_secret)
        return error_set(err, ERR_KEY_ROLE,
                         "a copy of a repository that has begun epochs of ids takes a restore or admin key of it, and "
                         "this one is a %s key",
                         key_role_name(repo_keys(source->repo)->role));
    if (repo_keys(source->repo)->id_key) return rc;
    return error_set(err, ERR_KEY_ROLE, "a copy shares the content keys of its source, which a %s key does not have",
                     key_role_name(repo_keys(source->repo)->role));
}

int work_init(const struct init_request *q, struct init_result *ret, struct error *err) {
    struct init i = {.q = *q, .r = ret};
    *ret = (struct init_result){0};
    int rc = config_find(&i, err);
    if (rc == 0) rc = url_find(&i, err);
    if (rc == 0) rc = place_check(&i, ret->url, err);
    if (rc == 0 && q->source) rc = source_open(q->source, err);
    if (rc == 0) rc = keys_get(&i, err);
    if (rc == 0) rc = make(&i, err);
    if (rc == 0) ret->same_device = *ret->key_file && key_same_device(ret->key_file, ret->url);
    /* a copy is not what a starter would back up into */
    if (rc == 0 && !i.config && !q->source) rc = config_make(&i, err);
    secret_free(i.key);
    secret_free(i.passphrase);
    config_free(i.config);
    return rc;
}
