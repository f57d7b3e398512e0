#include "work/witness.h"

#include "base/seam.h"
#include "base/time.h"
#include "work/witness_internal.h"
#include <errno.h>
#include <stdio.h>
#include <unistd.h>

#define STATE_MAX_BYTES (64u << 10)
#define KEPT 2u /* of its own objects in a place */

void witness_object(const uint8_t pub[SIGN_PUBLIC_BYTES], uint64_t size, int64_t time_s, char *out) {
    char hex[2 * SIGN_PUBLIC_BYTES + 1];
    hex_encode(pub, SIGN_PUBLIC_BYTES, hex);
    snprintf(out, WITNESS_KEY_BYTES, WITNESS_PREFIX "%s/%016llu-%012llu", hex, (unsigned long long)size,
             (unsigned long long)time_s);
}

/* ---- making one ---- */

static int empty_check(const char *dir, struct error *err) {
    int fd = seam_openat(AT_FDCWD, dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC, 0);
    if (fd < 0) return error_set_errno(err, ERR_IO_READ, "open %s", dir);
    DIR *d = seam_fdopendir(fd);
    if (!d) {
        io_close(&fd);
        return error_set_errno(err, ERR_IO_READ, "list %s", dir);
    }
    int rc = 0;
    for (struct dirent *e; rc == 0 && (e = seam_readdir(d));)
        if (strcmp(e->d_name, ".") != 0 && strcmp(e->d_name, "..") != 0)
            rc = error_set(err, ERR_IO_EXISTS,
                           "%s has something in it already (%.100s); a witness wants a folder of its own", dir,
                           e->d_name);
    seam_closedir(d);
    return rc;
}

static int secret_make(const char *name, struct note_key *ret, struct buf *text, struct error *err) {
    struct secret *seed = NULL;
    uint8_t pub[SIGN_PUBLIC_BYTES];
    int rc = secret_random(SIGN_SEED_BYTES, &seed, err);
    if (rc == 0) rc = sign_public(secret_bytes(seed), pub, err);
    if (rc == 0) rc = note_key_make(name, NOTE_COSIGNATURE, pub, ret, err);
    if (rc == 0) rc = note_secret_format(ret, secret_bytes(seed), text, err);
    if (rc == 0) rc = buf_append_str(text, "\n", err);
    secret_free(seed);
    return rc;
}

static int setup_json(const struct witness_setup *s, struct buf *out, struct error *err) {
    json_auto_t *j = json_pack("{s:i, s:s, s:s}", "version", 1, "url", s->url, "log", s->log_key);
    if (!j) return error_set(err, ERR_NO_MEMORY, "no memory for the witness's settings");
    int rc = json_write_pretty(j, out, err);
    return rc < 0 ? rc : buf_append_str(out, "\n", err);
}

int witness_init(const struct witness_setup *s, struct buf *ret_verifier, struct error *err) {
    struct note_key log, key;
    char host[64] = "localhost", name[NOTE_NAME_BYTES];
    CLEANUP(buf_free) struct buf text = BUF_INIT(4096);
    CLEANUP(buf_free) struct buf settings = BUF_INIT(STATE_MAX_BYTES);
    int rc = crypto_init(err), fd = -1;
    if (rc == 0) rc = note_key_parse(s->log_key, &log, err);
    if (rc == 0 && log.kind != NOTE_ED25519)
        rc = error_set(err, ERR_USAGE, "'%.200s' is a witness's key, not a log's", s->log_key);
    if (rc == 0) rc = store_url_check(s->url, err);
    if (rc < 0) return rc;
    (void)gethostname(host, sizeof host - 1);
    snprintf(name, sizeof name, "witness/%s", host);
    if ((rc = secret_make(s->name ? s->name : name, &key, &text, err)) == 0) rc = setup_json(s, &settings, err);
    if (rc == 0) rc = io_mkdirs(s->dir, 0700, err);
    if (rc == 0) rc = empty_check(s->dir, err);
    if (rc == 0 && (fd = seam_openat(AT_FDCWD, s->dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC, 0)) < 0)
        rc = error_set_errno(err, ERR_IO_READ, "open %s", s->dir);
    if (rc == 0) rc = io_replace_file(fd, "witness.key", buf_bytes(&text), 0600, err);
    /* last, as this is what makes the folder a witness's */
    if (rc == 0) rc = io_replace_file(fd, "witness.json", buf_bytes(&settings), 0600, err);
    if (rc == 0) rc = note_key_format(&key, ret_verifier, err);
    io_close(&fd);
    wipe(text.ptr, text.cap);
    return rc < 0 ? error_wrap(err, "making a witness in %s", s->dir) : 0;
}

/* ---- opening one ---- */

static int settings_read(struct witness *w, const char *url, struct error *err) {
    CLEANUP(buf_free) struct buf b = BUF_INIT(STATE_MAX_BYTES + 1);
    json_auto_t *j = NULL;
    const char *place, *log;
    int64_t version;
    int rc = io_read_file(w->fd, "witness.json", STATE_MAX_BYTES, &b, err);
    if (rc == 0) rc = json_parse(buf_bytes(&b), STATE_MAX_BYTES, "witness.json", &j, err);
    if (rc == 0) rc = json_need_int(j, "version", "witness.json", &version, err);
    if (rc == 0) rc = json_need_str(j, "url", "witness.json", &place, err);
    if (rc == 0) rc = json_need_str(j, "log", "witness.json", &log, err);
    if (rc == 0 && version != 1)
        rc = error_set(err, ERR_FORMAT_VERSION, "witness.json is of version %lld", (long long)version);
    if (rc == 0) rc = note_key_parse(log, &w->log, err);
    if (rc == 0) rc = mem_strdup(url ? url : place, &w->url, err);
    return rc;
}

static int secret_read(struct witness *w, struct error *err) {
    CLEANUP(buf_free) struct buf b = BUF_INIT(4096);
    struct stat st;
    if (seam_fstatat(w->fd, "witness.key", &st, AT_SYMLINK_NOFOLLOW) < 0)
        return error_set_errno(err, ERR_IO_NOT_FOUND, "witness.key");
    if (!S_ISREG(st.st_mode) || (st.st_mode & 077))
        return error_set(err, ERR_SECRET, "witness.key is open to others than its owner");
    int rc = buf_reserve(&b, 2048, err);
    if (rc == 0) rc = io_read_file(w->fd, "witness.key", 2000, &b, err);
    if (rc == 0) rc = note_secret_parse(buf_bytes(&b), &w->key, &w->seed, err);
    if (rc == 0 && w->key.kind != NOTE_COSIGNATURE) rc = error_set(err, ERR_SECRET, "it is no witness's key");
    wipe(b.ptr, b.cap);
    return rc < 0 ? error_wrap(err, "witness.key") : 0;
}

/* What it signed itself; whoever altered that altered its memory. */
static int cosigned_read(struct witness *w, struct error *err) {
    struct checkpoint_parts p;
    struct error none = ERROR_INIT;
    int rc = io_read_file(w->fd, "cosigned", CHECKPOINT_MAX_BYTES, &w->cosigned, &none);
    if (rc == -ERR_IO_NOT_FOUND) return 0;
    if (rc < 0) {
        *err = none;
        return rc;
    }
    if ((rc = checkpoint_split(buf_bytes(&w->cosigned), w->log.name, &p, err)) == 0)
        rc = checkpoint_signed_by(&p, &w->key, NULL, err);
    if (rc < 0) return error_wrap(err, "cosigned");
    w->seen = (struct witness_seen){p.head.size, p.head.root};
    return 0;
}

int witness_open(const char *dir, const char *url, struct witness **ret, struct error *err) {
    void *p;
    int rc = crypto_init(err);
    if (rc == 0) rc = mem_alloc(sizeof(struct witness), &p, err);
    if (rc < 0) return rc;
    struct witness *w = p;
    w->fd = w->lock = -1;
    w->cosigned = BUF_INIT(CHECKPOINT_MAX_BYTES + 1);
    if ((size_t)snprintf(w->dir, sizeof w->dir, "%s", dir) >= sizeof w->dir - 128) {
        rc = error_set(err, ERR_USAGE, "the folder's name is too long");
        goto fail;
    }
    w->fd = seam_openat(AT_FDCWD, dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC, 0);
    if (w->fd < 0) {
        rc = error_set_errno(err, errno == ENOENT ? ERR_IO_NOT_FOUND : ERR_IO_READ, "open %s", dir);
        error_next(err, "Make a witness there with 'proofkeep ledger witness --init'.");
        goto fail;
    }
    w->lock = seam_openat(AT_FDCWD, dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC, 0);
    if (w->lock < 0 || seam_flock(w->lock, LOCK_EX | LOCK_NB) < 0) {
        rc = w->lock >= 0 && errno == EWOULDBLOCK ? error_set(err, ERR_REPO_BUSY, "another run has the folder %s", dir)
                                                  : error_set_errno(err, ERR_IO_READ, "lock %s", dir);
        goto fail;
    }
    if ((rc = settings_read(w, url, err)) < 0 || (rc = secret_read(w, err)) < 0 || (rc = cosigned_read(w, err)) < 0)
        goto fail;
    *ret = w;
    return 0;
fail:
    witness_close(w);
    return error_wrap(err, "the witness in %s", dir);
}

void witness_close(struct witness *w) {
    if (!w) return;
    witness_log_close(w->watch);
    store_close(w->store);
    secret_free(w->seed);
    buf_free(&w->cosigned);
    io_close(&w->lock);
    io_close(&w->fd);
    seam_free(w->url);
    seam_free(w);
}

const struct note_key *witness_key(const struct witness *w) {
    return &w->key;
}
const char *witness_url(const struct witness *w) {
    return w->url;
}

/* ---- a look ---- */

static int evidence_file(int dir, const char *name, struct bytes content, struct error *err) {
    return content.len ? io_replace_file(dir, name, content, 0600, err) : 0;
}

/* Both sides, as they were signed; what is shown to others must not depend on the store any more. */
static int evidence_keep(struct witness *w, const struct witness_view *v, const struct error *why, char *out, size_t n,
                         struct error *err) {
    CLEANUP(buf_free) struct buf was = BUF_INIT(LEDGER_ENTRY_MAX_BYTES + 1);
    CLEANUP(buf_free) struct buf is = BUF_INIT(LEDGER_ENTRY_MAX_BYTES + 1);
    CLEANUP(buf_free) struct buf text = BUF_INIT(1u << 16);
    char path[4200], when[32], name[64];
    uint64_t seq = 0;
    bool differs = false;
    int64_t now = time_now_ns();
    time_format_compact(now, when);
    snprintf(path, sizeof path, "%s/evidence/%s-%09lld", w->dir, when, (long long)(now % NS_PER_S));
    int rc = io_mkdirs(path, 0700, err), fd = -1;
    if (rc == 0 && (fd = seam_openat(AT_FDCWD, path, O_RDONLY | O_DIRECTORY | O_CLOEXEC, 0)) < 0)
        rc = error_set_errno(err, ERR_IO_WRITE, "open %s", path);
    if (rc == 0) rc = evidence_file(fd, "seen.checkpoint", buf_bytes(&w->cosigned), err);
    if (rc == 0) rc = evidence_file(fd, "found.checkpoint", buf_bytes(&v->note), err);
    if (rc == 0) rc = witness_log_difference(w->watch, &differs, &seq, &was, &is, err);
    if (rc == 0 && differs) {
        snprintf(name, sizeof name, "entry-%016llu.seen.json", (unsigned long long)seq);
        rc = evidence_file(fd, name, buf_bytes(&was), err);
        snprintf(name, sizeof name, "entry-%016llu.found.json", (unsigned long long)seq);
        if (rc == 0) rc = evidence_file(fd, name, buf_bytes(&is), err);
    }
    if (rc == 0) rc = buf_printf(&text, err, "%s %s\n%s\n", when, w->url, why->text);
    if (rc == 0 && differs)
        rc = buf_printf(&text, err, "entry %llu is the first that is %s\n", (unsigned long long)seq,
                        is.len ? "another than the one seen" : "missing");
    if (rc == 0) rc = evidence_file(fd, "why.txt", buf_bytes(&text), err);
    io_close(&fd);
    if (rc == 0) snprintf(out, n, "%s", path);
    return rc;
}

int witness_vouch(struct witness *w, struct bytes note, const struct checkpoint_parts *p, int64_t time_s,
                  struct buf *ret_note, size_t *ret_line, struct error *err) {
    int rc = buf_append(ret_note, note.ptr, note.len, err);
    *ret_line = ret_note->len;
    if (rc == 0) rc = checkpoint_line(p->text, &w->key, secret_bytes(w->seed), time_s, ret_note, err);
    if (rc == 0) rc = io_replace_file(w->fd, "cosigned", buf_bytes(ret_note), 0600, err);
    if (rc < 0) return error_wrap(err, "vouching for the checkpoint");
    w->seen = (struct witness_seen){p->head.size, p->head.root};
    buf_clear(&w->cosigned);
    return buf_append(&w->cosigned, ret_note->ptr, ret_note->len, err);
}

static int cosign(struct witness *w, const struct witness_view *v, struct witnessed *ret, struct error *err) {
    int64_t now = time_now_ns() / NS_PER_S;
    size_t line;
    ret->former = w->seen.size;
    int rc = witness_vouch(w, buf_bytes(&v->note), &v->parts, now, &ret->note, &line, err);
    if (rc < 0) return rc;
    ret->size = v->parts.head.size;
    ret->root = v->parts.head.root;
    ret->entries = v->entries;
    ret->objects = v->objects;
    ret->time_s = now;
    snprintf(ret->signer, sizeof ret->signer, "%s", v->signer);
    return 0;
}

void witness_unwatch(struct witness *w) {
    witness_log_close(w->watch);
    store_close(w->store);
    w->watch = NULL;
    w->store = NULL;
}

int witness_watch(struct witness *w, struct error *err) {
    int rc = w->store ? 0 : store_open(w->url, false, &w->store, err);
    return rc < 0 || w->watch ? rc : witness_log_open(w->store, &w->log, w->dir, &w->watch, err);
}

int witness_look(struct witness *w, bool whole, struct witnessed *ret, struct error *err) {
    struct witness_view v = {.note = BUF_INIT(1)};
    *ret = (struct witnessed){.note = BUF_INIT(CHECKPOINT_MAX_BYTES + 1)};
    int rc = witness_watch(w, err);
    if (rc == 0) rc = witness_log_look(w->watch, &w->seen, whole, &v, err);
    if (rc == 0) rc = cosign(w, &v, ret, err);
    if (rc < 0 && error_info(rc)->status == EXIT_INTEGRITY && w->watch) {
        struct error lost = ERROR_INIT;
        int kept = evidence_keep(w, &v, err, ret->evidence, sizeof ret->evidence, &lost);
        *err->state = '\0'; /* what lies below knows nothing of vouching */
        if (kept < 0)
            error_state(err, "Nothing was vouched for; the evidence could not be kept: %.120s", lost.text);
        else
            error_state(err, "Nothing was vouched for; what was seen and what was found is in %.150s", ret->evidence);
    }
    buf_free(&v.note);
    if (rc < 0) witness_unwatch(w);
    return rc < 0 ? error_wrap(err, "the log of %s", w->url) : 0;
}

/* ---- telling others ---- */

struct own {
    char (*keys)[WITNESS_KEY_BYTES];
    size_t n, cap;
};

static int own_see(void *ctx, const struct store_object *o, struct error *err) {
    struct own *own = ctx;
    if (strlen(o->key) >= WITNESS_KEY_BYTES) return 0;
    int rc = mem_grow((void **)&own->keys, &own->cap, own->n + 1, sizeof *own->keys, err);
    if (rc == 0) snprintf(own->keys[own->n++], WITNESS_KEY_BYTES, "%s", o->key);
    return rc;
}

/* Older ones of its own go where that is allowed; who keeps them does no harm. */
static void drop_older(struct store *s, const char *newest) {
    struct own own = {0};
    struct error e = ERROR_INIT;
    char prefix[WITNESS_KEY_BYTES];
    snprintf(prefix, sizeof prefix, "%.*s", (int)(strrchr(newest, '/') + 1 - newest), newest);
    if (store_list(s, prefix, own_see, &own, &e) == 0)
        for (size_t i = 0; i < own.n; i++) {
            unsigned above = 0;
            for (size_t k = 0; k < own.n; k++) above += strcmp(own.keys[k], own.keys[i]) > 0;
            struct error lost = ERROR_INIT;
            if (above >= KEPT && strcmp(own.keys[i], newest) < 0) (void)!store_remove(s, own.keys[i], &lost);
        }
    seam_free(own.keys);
}

int witness_publish(struct witness *w, const char *url, const struct witnessed *v, struct error *err) {
    struct store *s = NULL;
    char name[WITNESS_KEY_BYTES];
    witness_object(w->key.pub, v->size, v->time_s, name);
    int rc = store_open(url ? url : w->url, url != NULL, &s, err);
    if (rc == 0) {
        struct error e = ERROR_INIT;
        rc = store_create(s, name, buf_bytes(&v->note), &e);
        if (rc == -ERR_OBJECT_EXISTS) rc = 0; /* of the same second: an earlier look at the same checkpoint */
        if (rc < 0) *err = e;
    }
    if (rc == 0) drop_older(s, name);
    store_close(s);
    return rc < 0 ? error_wrap(err, "storing the cosigned checkpoint in %s", url ? url : w->url) : 0;
}
