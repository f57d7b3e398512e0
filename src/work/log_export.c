#include "work/log_export.h"

#include "base/seam.h"
#include "ledger/audit.h"
#include "ledger/tiles.h"
#include "repo/log_view.h"
#include "work/counted.h"
#include "work/log_proof.h"
#include "work/witness.h"
#include "work/witnesses.h"

#include <errno.h>
#include <stdio.h>

struct copying {
    struct store *to;
    struct log_exported *ret;
};

static int put(void *ctx, const char *key, struct bytes content, struct error *err) {
    struct copying *c = ctx;
    int rc = store_stage(c->to, key, &content, 1, err);
    if (rc == 0) c->ret->objects++;
    return rc;
}

static int put_entry(void *ctx, uint64_t seq, struct bytes envelope, struct error *err) {
    char key[32];
    snprintf(key, sizeof key, "log/%016llu", (unsigned long long)seq);
    return put(ctx, key, envelope, err);
}

static int target_check(const char *to, struct error *err) {
    int fd = seam_openat(AT_FDCWD, to, O_RDONLY | O_DIRECTORY | O_CLOEXEC, 0), rc = 0;
    if (fd < 0 && errno == ENOENT) return io_mkdirs(to, 0755, err);
    DIR *d = fd < 0 ? NULL : seam_fdopendir(fd);
    if (!d) {
        rc = error_set_errno(err, ERR_IO_READ, "list %s", to);
        io_close(&fd);
        return rc;
    }
    for (struct dirent *e; rc == 0 && (e = seam_readdir(d));)
        if (strcmp(e->d_name, ".") != 0 && strcmp(e->d_name, "..") != 0)
            rc = error_set(err, ERR_TARGET_NOT_EMPTY, "%s has something in it", to);
    seam_closedir(d);
    return rc;
}

static int put_keys(struct work *w, const struct checkpoint_parts *p, int dir, struct log_exported *ret,
                    struct error *err) {
    CLEANUP(buf_free) struct buf b = BUF_INIT(1u << 20);
    int rc = buf_append_str(
        &b, "# Verifier keys of the log, the admin's first: role, label, whether it was removed, key.\n", err);
    for (size_t i = 0; i < repo_key_count(w->repo) && rc == 0; i++) {
        const struct key_info *k = repo_key(w->repo, i);
        struct note_key v;
        struct error no = ERROR_INIT;
        char label[65];
        snprintf(label, sizeof label, "%s", k->label);
        for (char *c = label; *c; c++)
            if ((uint8_t)*c <= ' ' || *c == 127) *c = '_';
        if ((rc = repo_verifier(w->repo, k->public_key, &v, err)) < 0) break;
        rc = buf_printf(&b, err, "%s %s %s ", key_role_name(k->role), *label ? label : "-",
                        k->removed ? "removed" : "in-force");
        size_t at = b.len;
        if (rc == 0) rc = note_key_format(&v, &b, err);
        if (rc == 0 && !*ret->verifier && checkpoint_signed_by(p, &v, NULL, &no) == 0)
            snprintf(ret->verifier, sizeof ret->verifier, "%.*s", (int)(b.len - at), (char *)b.ptr + at);
        if (rc == 0) rc = buf_append_str(&b, "\n", err);
    }
    for (size_t i = 0; w->witnesses && i < w->witnesses->count && rc == 0; i++) {
        rc = buf_append_str(&b, "witness - in-force ", err);
        if (rc == 0) rc = note_key_format(&w->witnesses->each[i].key, &b, err);
        if (rc == 0) rc = buf_append_str(&b, "\n", err);
    }
    return rc < 0 ? rc : io_replace_file(dir, "keys.txt", buf_bytes(&b), 0644, err);
}

static int put_readme(int dir, const struct log_exported *e, const char *origin, struct error *err) {
    CLEANUP(buf_free) struct buf b = BUF_INIT(1u << 16);
    int rc = buf_printf(
        &b, err,
        "# The log of %s\n\n"
        "A copy of %s, of which the signed `checkpoint` counts %llu. Nothing here is secret, and nothing needs the "
        "repository,\n"
        "one of its keys, or the program that made it.\n\n"
        "| file | what |\n|---|---|\n"
        "| `log/<n>` | entry n: a DSSE envelope (Ed25519) around an in-toto statement; each names the SHA-256 of the "
        "one before |\n"
        "| `tile/…` | Merkle tree and bundles of the entries, as C2SP tlog-tiles has them |\n"
        "| `checkpoint` | size and root, a C2SP signed note; of keys named `%s` |\n"
        "| `witness/<key>/…` | the same, cosigned by witnesses (C2SP cosignature/v1) |\n"
        "| `keys.txt` | verifier keys. Have the first one confirmed by a way of your own: everything rests on it |\n\n"
        "## With stock tools\n\n"
        "Serve this folder with any web server, and let fsck of github.com/transparency-dev/tessera derive the root "
        "anew:\n\n"
        "    python3 -m http.server 8000 &\n"
        "    fsck --ui=false --storage_url=http://127.0.0.1:8000/ --N=4 --origin='%s' \\\n"
        "      --public_key=<(echo '%s')\n\n"
        "It must end with `Successfully fsck'd`; its exit status says nothing. Signatures of entries: take `payload` "
        "and `sig`\n"
        "out of an entry, decode both from base64, and check with `openssl pkeyutl -verify -rawin` that the signature "
        "is of\n"
        "`DSSEv1 28 application/vnd.in-toto+json <bytes of payload> <payload>`.\n\n"
        "## With proofkeep\n\n"
        "    proofkeep ledger witness --init --state NEW-FOLDER --log-key KEY --repository THIS-FOLDER\n"
        "    proofkeep ledger witness --state NEW-FOLDER --all\n\n"
        "reads every entry, its signature and its place, and every tile, and needs no key either.\n",
        origin, COUNTED(e->entries, "entry"), (unsigned long long)e->size, origin, origin, e->verifier);
    return rc < 0 ? rc : io_replace_file(dir, "README.md", buf_bytes(&b), 0644, err);
}

static int put_witnesses(struct work *w, struct copying *c, struct error *err) {
    int rc = 0;
    for (size_t i = 0; w->witnesses && i < w->witnesses->count && rc == 0; i++) {
        const struct witness_word *x = &w->witnesses->each[i];
        char name[WITNESS_KEY_BYTES];
        if (x->size == 0) continue;
        witness_object(x->key.pub, x->size, x->time_s, name);
        rc = put(c, name, buf_bytes(&x->note), err);
    }
    return rc;
}

int log_export(struct work *w, const char *to, struct log_exported *ret, struct error *err) {
    CLEANUP(buf_free) struct buf note = BUF_INIT(CHECKPOINT_MAX_BYTES + 1);
    struct ledger *l = repo_ledger(w->repo);
    struct checkpoint_parts p;
    struct log_exported e = {.entries = ledger_size(l)};
    struct copying c = {NULL, &e};
    char origin[64];
    bool there;
    int fd = -1, rc = target_check(to, err);
    repo_origin(w->repo, origin);
    if (rc == 0) rc = ledger_note(l, &note, &there, err);
    if (rc == 0 && !there) {
        rc = repo_publish(w->repo, err);
        if (rc == 0) rc = ledger_note(l, &note, &there, err);
        if (rc == 0 && !there) rc = error_set(err, ERR_LEDGER_BROKEN, "the log has no checkpoint");
    }
    if (rc == 0) rc = checkpoint_split(buf_bytes(&note), origin, &p, err);
    if (rc == 0 && p.head.size > e.entries)
        rc = error_set(err, ERR_REPO_BUSY, "entries were added meanwhile; export again");
    if (rc == 0) rc = log_note_sign(w, &note, err);
    if (rc == 0) rc = checkpoint_split(buf_bytes(&note), origin, &p, err);
    if (rc == 0) rc = store_local_open(to, true, &c.to, err);
    if (rc == 0) rc = ledger_walk_raw(l, 0, e.entries, put_entry, &c, err);
    if (rc == 0) rc = ledger_derive(l, 0, p.head.size, put, &c, err);
    if (rc == 0) rc = put_witnesses(w, &c, err);
    if (rc == 0) rc = put(&c, CHECKPOINT_KEY, buf_bytes(&note), err);
    if (rc == 0) rc = store_commit(c.to, err);
    e.size = p.head.size;
    if (rc == 0 && (fd = seam_openat(AT_FDCWD, to, O_RDONLY | O_DIRECTORY | O_CLOEXEC, 0)) < 0)
        rc = error_set_errno(err, ERR_IO_WRITE, "open %s", to);
    if (rc == 0) rc = put_keys(w, &p, fd, &e, err);
    if (rc == 0 && !*e.verifier)
        rc = error_set(err, ERR_LEDGER_BROKEN, "the checkpoint is signed by no key of the log");
    if (rc == 0) rc = put_readme(fd, &e, origin, err);
    store_close(c.to);
    if (fd >= 0) (void)!seam_unlinkat(fd, "tmp", AT_REMOVEDIR); /* the store's, empty by now */
    io_close(&fd);
    if (rc == 0) *ret = e;
    return rc < 0 ? error_wrap(err, "copying the log to %s", to) : 0;
}
