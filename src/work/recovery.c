#include "work/recovery.h"

#include "base/seam.h"
#include "base/time.h"
#include "work/counted.h"
#include "work/keys.h"
#include "work/point.h"

#include <errno.h>
#include <stdio.h>
#include <unistd.h>

#define TEXT_MAX 4096 /* of a kit; that of a restore key has some 3 KB */

static void text_free(struct buf *b) {
    if (b->ptr) wipe(b->ptr, b->cap);
    buf_free(b);
}

/* ---- where it may be written ---- */

static int same_disk(const char *where, const char *folder, struct error *err) {
    error_set(err, ERR_POLICY, "%s lies on the file system of the repository %s: one failed disk would take both",
              where, folder);
    error_state(err, "no kit was made");
    return error_next(err, "Print it (pipe it to a printer), choose another device, or say --allow-same-disk.");
}

/* The folder that a new file would lie in, as far as it is there. */
static bool device_of(const char *path, dev_t *ret) {
    char folder[4096];
    struct stat st;
    if (!work_local_folder(path, folder)) return false;
    for (;;) {
        if (seam_fstatat(AT_FDCWD, folder, &st, 0) == 0) break;
        char *slash = strrchr(folder, '/');
        if (!slash) return false;
        slash[slash == folder] = '\0';
    }
    *ret = st.st_dev;
    return true;
}

static int place_check(const struct work *w, const struct kit_request *q, struct error *err) {
    char folder[4096], link[64], path[4096];
    struct stat st, repo;
    dev_t device;
    int rc = q->out ? key_place_check(q->out, w->url, err) : 0;
    if (rc < 0 || !work_local_folder(w->url, folder) || seam_fstatat(AT_FDCWD, folder, &repo, 0) < 0) return rc;
    if (q->out) {
        bool same = device_of(q->out, &device) && device == repo.st_dev;
        return same && !q->allow_same_disk ? same_disk(q->out, folder, err) : 0;
    }
    /* a printer, a terminal and a pipe keep nothing; a file that standard output was led into does */
    if (seam_fstat(q->out_fd, &st) < 0 || !S_ISREG(st.st_mode)) return 0;
    snprintf(link, sizeof link, "/proc/self/fd/%d", q->out_fd);
    ssize_t n = seam_readlinkat(AT_FDCWD, link, path, sizeof path - 1);
    if (n > 0) {
        path[n] = '\0';
        if ((rc = key_place_check(path, w->url, err)) < 0) return rc;
    }
    return st.st_dev == repo.st_dev && !q->allow_same_disk ? same_disk("standard output", folder, err) : 0;
}

/* ---- making it ---- */

static int text_head(const struct work *w, const struct kit_request *q, const struct kit_made *k, struct buf *b,
                     struct error *err) {
    char admin[65];
    hex_encode(repo_keys(w->repo)->admin_public, SIGN_PUBLIC_BYTES, admin);
    return buf_printf(b, err,
                      "PROOFKEEP RECOVERY KIT 1            keep on paper only, away from the repository\n"
                      "\n"
                      "repository:  %s\n"
                      "at:          %.300s\n"
                      "its admin:   %s\n"
                      "key:         %.16s (%s)\n"
                      "made:        %s\n"
                      "\n"
                      "Whoever holds this page and can reach the repository %s.\n"
                      "Keep it in a safe, and never where the repository or its hosts are.\n"
                      "\n",
                      repo_id_hex(w->repo), w->url, admin, k->id, key_role_name(q->role), k->made_at,
                      q->role == ROLE_ADMIN ? "can do anything with it" : "can read all of it");
}

static int text_steps(const struct kit_made *k, struct buf *b, struct error *err) {
    return buf_printf(
        b, err, "check word:  %s\n\nOnly if the repository has lost its folder keys/, type these too:\n\n", k->word);
}

static int text_tail(struct buf *b, struct error *err) {
    return buf_append_str(b,
                          "\nTo recover, with any proofkeep of version 1 or later:\n"
                          " 1. Type the K lines and the check word into a file kit.txt, mode 0600. Letter\n"
                          "    case, blanks and hyphens do not matter; each line has its own check.\n"
                          " 2. proofkeep list -r WHERE --recovery-kit kit.txt      WHERE: see 'at' above\n"
                          " 3. proofkeep restore -r WHERE --recovery-kit kit.txt ADDRESS --into FOLDER\n"
                          "To drill it: proofkeep key test-recovery -r WHERE --recovery-kit kit.txt\n"
                          "(the address of a recovery point is what 'list' shows)\n",
                          err);
}

static int text_make(const struct work *w, const struct kit_request *q, struct bytes key, struct bytes slot,
                     struct kit_made *k, struct error *err) {
    CLEANUP(text_free) struct buf b = BUF_INIT(TEXT_MAX);
    int rc = buf_reserve(&b, TEXT_MAX, err);
    if (rc == 0) rc = text_head(w, q, k, &b, err);
    if (rc == 0) rc = kit_write(KIT_KEY, key, &b, err);
    if (rc == 0) rc = text_steps(k, &b, err);
    if (rc == 0) rc = kit_write(KIT_SLOT, slot, &b, err);
    if (rc == 0) rc = text_tail(&b, err);
    return rc < 0 ? rc : secret_new(buf_bytes(&b), &k->text, err);
}

/* What was made must read back as what it is before anybody relies on it. */
static int text_prove(const struct kit_made *k, struct bytes key, struct bytes slot, struct error *err) {
    struct paper_kit got;
    int rc = kit_read(secret_bytes(k->text), &got, err);
    if (rc < 0) return error_wrap(err, "reading the new kit back");
    struct bytes b = secret_bytes(got.secret);
    struct unlock u = {.kind = SLOT_KEY_FILE, .secret = BYTES_OF(b.ptr, KEY_BYTES)};
    struct keyring *opened = NULL;
    if (!got.has_word || !bytes_equal(u.secret, key) || !bytes_equal(BYTES_OF(b.ptr + KEY_BYTES, got.slot_bytes), slot))
        rc = error_set(err, ERR_INTERNAL, "the new kit does not read back as it was made");
    if (rc == 0) rc = slot_open(slot, &u, &opened, err);
    keyring_free(opened);
    secret_free(got.secret);
    return rc;
}

static int make(struct work *w, const struct kit_request *q, struct bytes key, struct kit_made *k, struct error *err) {
    struct keyring *bundle = NULL;
    struct buf slot = BUF_INIT(64 << 10);
    struct unlock u = {.kind = SLOT_KEY_FILE, .secret = key};
    struct digest d;
    char label[65], hex[65];
    bool written = false;
    int rc = repo_bundle_new(w->repo, q->role, &bundle, err);
    if (rc < 0) return rc;
    time_format(time_now_ns(), k->made_at);
    snprintf(label, sizeof label, "recovery kit %.10s", k->made_at);
    hex_encode(bundle->sign_public, SIGN_PUBLIC_BYTES, k->id);
    kit_word(key, k->word);
    rc = slot_seal(bundle, &u, label, &slot, err);
    if (rc == 0) {
        sha256(buf_bytes(&slot), &d);
        hex_encode(d.b, sizeof d.b, hex);
        snprintf(k->slot, sizeof k->slot, "keys/%s", hex);
        rc = text_make(w, q, key, buf_bytes(&slot), k, err);
    }
    if (rc == 0) rc = text_prove(k, key, buf_bytes(&slot), err);
    if (rc == 0 && q->out) {
        rc = key_file_write(q->out, w->url, secret_bytes(k->text), err);
        written = rc == 0;
    }
    if (rc == 0) rc = repo_slot_add(w->repo, bundle, buf_bytes(&slot), label, err);
    if (rc < 0 && written && seam_unlinkat(AT_FDCWD, q->out, 0) == 0)
        (void)!error_state(err, "the kit was removed again; it opens nothing");
    buf_free(&slot);
    keyring_free(bundle);
    return rc;
}

int recovery_kit_make(struct work *w, const struct kit_request *q, struct kit_made *ret, struct error *err) {
    uint8_t key[KEY_BYTES];
    *ret = (struct kit_made){0};
    if (q->role != ROLE_ADMIN && q->role != ROLE_RESTORE)
        return error_set(err, ERR_USAGE, "a recovery kit is of an admin or a restore key: a %s key recovers nothing",
                         key_role_name(q->role));
    int rc = place_check(w, q, err);
    if (rc == 0) rc = random_bytes(key, sizeof key, err);
    if (rc < 0) return rc;
    rc = make(w, q, BYTES_OF(key, sizeof key), ret, err);
    wipe(key, sizeof key);
    if (rc < 0) recovery_kit_free(ret);
    return rc;
}

void recovery_kit_free(struct kit_made *k) {
    secret_free(k->text);
    *k = (struct kit_made){0};
}

/* ---- opening with it ---- */

static int read_input(struct secret **ret, struct error *err) {
    CLEANUP(text_free) struct buf b = BUF_INIT(TEXT_MAX + 1);
    int rc = buf_reserve(&b, TEXT_MAX + 1, err);
    if (rc == 0)
        rc = io_read_full(STDIN_FILENO, b.ptr, TEXT_MAX + 1, &b.len, "the recovery kit on standard input", err);
    if (rc < 0) return rc;
    if (b.len == 0) return error_set(err, ERR_KIT, "standard input has no recovery kit");
    if (b.len > TEXT_MAX)
        return error_set(err, ERR_KIT, "standard input has more than %d bytes, which is no recovery kit", TEXT_MAX);
    return secret_new(buf_bytes(&b), ret, err);
}

int recovery_kit_unlock(struct work *w, struct unlock *ret, struct error *err) {
    const char *path = w->options.recovery_kit;
    struct secret *text = NULL;
    if (!w->kit.secret) {
        int rc = strcmp(path, "-") == 0 ? read_input(&text, err) : secret_read_file(path, &text, err);
        if (rc == 0) rc = kit_read(secret_bytes(text), &w->kit, err);
        secret_free(text);
        if (rc < 0) return rc;
    }
    struct bytes b = secret_bytes(w->kit.secret);
    *ret = (struct unlock){.kind = SLOT_KEY_FILE,
                           .secret = BYTES_OF(b.ptr, KEY_BYTES),
                           .slot = BYTES_OF(b.ptr + KEY_BYTES, w->kit.slot_bytes)};
    return 0;
}

/* ---- the drill ---- */

struct look {
    struct snapshot *snapshot;
    uint64_t bytes;
    bool done;
};

static int look_at_item(void *ctx, const struct item_head *h, struct error *err) {
    struct look *l = ctx;
    struct ritem *it = NULL;
    struct bytes piece = {0};
    if (h->bytes == 0) return 0;
    int rc = ritem_open(l->snapshot, h, &it, err);
    /* holes were never stored: what follows them was */
    do
        if (rc == 0) rc = ritem_next(it, &piece, err);
    while (rc == 0 && !piece.ptr && piece.len > 0);
    ritem_close(it);
    if (rc < 0) return rc;
    l->bytes = piece.ptr ? piece.len : 0;
    l->done = l->bytes > 0;
    return l->done;
}

/* Checked against its id after decoding, so what came out is what went in. */
static int decode(struct work *w, const struct snapshot_info *point, uint64_t *ret, struct error *err) {
    struct look l = {0};
    int rc = snapshot_open(w->repo, point, &l.snapshot, err);
    if (rc == 0) rc = snapshot_walk(l.snapshot, BYTES_OF(NULL, 0), look_at_item, &l, err);
    snapshot_close(l.snapshot);
    if (rc < 0) return rc;
    *ret = l.bytes;
    return 0;
}

int recovery_test(struct work *w, struct recovery_test *ret, struct error *err) {
    const struct snapshot_info *point = NULL;
    const struct drill_info *last = repo_key_drill(w->repo);
    int rc = 0;
    *ret = (struct recovery_test){.role = repo_keys(w->repo)->role,
                                  .slot_stored = repo_slot_stored(w->repo),
                                  .has_slot = w->kit.slot_bytes > 0,
                                  .has_word = w->kit.has_word,
                                  .previous_ns = last ? last->time_ns : 0};
    if (!w->kit.secret) return error_set(err, ERR_KEY_NONE, "no recovery kit opened the repository");
    if (w->kit.slot_bytes) {
        struct unlock u;
        struct keyring *k = NULL;
        if ((rc = recovery_kit_unlock(w, &u, err)) == 0) rc = slot_open(u.slot, &u, &k, err);
        keyring_free(k);
        if (rc < 0) return error_wrap(err, "the S lines of the kit");
    }
    for (size_t i = repo_snapshot_count(w->repo); i-- > 0 && !point;)
        if (!repo_snapshot(w->repo, i)->forgotten) point = repo_snapshot(w->repo, i);
    if (!point) {
        error_set(err, ERR_UNVERIFIABLE, "the kit opens the repository, but there is no recovery point to decode");
        return error_next(err, "Take a backup, then run the same command again.");
    }
    if ((rc = decode(w, point, &ret->decoded_bytes, err)) < 0) return error_wrap(err, "decoding %s", point->id);
    hex_encode(repo_keys(w->repo)->sign_public, SIGN_PUBLIC_BYTES, ret->key);
    snprintf(ret->point, sizeof ret->point, "%s", point->id);
    work_label(point, ret->label);
    if ((rc = repo_key_drill_add(w->repo, point, ret->decoded_bytes, w->principal, err)) < 0)
        return error_wrap(err, "recording the drill");
    if (!(last = repo_key_drill(w->repo)))
        return error_set(err, ERR_INTERNAL, "the drill was recorded, and the log does not have it");
    ret->seq = last->seq;
    struct error lost = ERROR_INIT;
    if (repo_publish(w->repo, &lost) < 0 && w->options.events.warning)
        w->options.events.warning(w->options.events.ctx, ret->label, lost.text);
    return 0;
}
