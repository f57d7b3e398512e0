#include "work/owed.h"

#include "base/seam.h"
#include "base/time.h"
#include "ledger/ledger.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#define OWED_BYTES_MAX (256u << 10)
#define NAME_BYTES 48

/* How a place is reached may change while something is owed to it: of the parameters only the endpoint names the place.
 */
static void folder_of(const struct work *w, const char *url, char ret[4200]) {
    struct digest d;
    char hex[65], place[2048];
    const char *query = strchr(url, '?'), *end = query ? strstr(query, "endpoint=") : NULL;
    snprintf(place, sizeof place, "%.*s %.*s", (int)(query ? (size_t)(query - url) : strlen(url)), url,
             (int)(end ? strcspn(end, "&") : 0), end ? end : "");
    sha256(BYTES_STR(place), &d);
    hex_encode(d.b, sizeof d.b, hex);
    snprintf(ret, 4200, "%.4000s/owed/%.16s", w->cache_dir, hex);
}

static bool is_owed(const char *name) {
    size_t n = strlen(name);
    return n > 5 && n < NAME_BYTES && !strcmp(name + n - 5, ".json") && name[0] != '.';
}

struct names {
    char (*list)[NAME_BYTES];
    unsigned n;
};

static int by_name(const void *a, const void *b) {
    return strcmp(a, b);
}

/* Names begin with the time in a fixed width, so their order is that of the jobs. */
static int names_read(const char *folder, struct names *ret, struct error *err) {
    *ret = (struct names){0};
    int fd = seam_openat(AT_FDCWD, folder, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC, 0);
    if (fd < 0) return errno == ENOENT ? 0 : error_set_errno(err, ERR_IO_READ, "open %s", folder);
    DIR *d = seam_fdopendir(fd);
    if (!d) {
        error_set_errno(err, ERR_IO_READ, "read %s", folder);
        io_close(&fd);
        return -(int)err->code;
    }
    void *m = NULL;
    int rc = mem_alloc((size_t)OWED_MAX * NAME_BYTES, &m, err);
    ret->list = m;
    for (struct dirent *e; rc == 0 && ret->n < OWED_MAX && (e = seam_readdir(d));)
        if (is_owed(e->d_name)) snprintf(ret->list[ret->n++], NAME_BYTES, "%.*s", NAME_BYTES - 1, e->d_name);
    seam_closedir(d);
    if (rc == 0) qsort(ret->list, ret->n, NAME_BYTES, by_name);
    return rc;
}

unsigned owed_count(const struct work *w, const char *url, char folder[4200]) {
    char own[4200];
    struct names names;
    struct error e = ERROR_INIT;
    if (!folder) folder = own;
    folder_of(w, url, folder);
    int rc = names_read(folder, &names, &e);
    seam_free(names.list);
    return rc == 0 ? names.n : 0;
}

static int store(struct work *w, const char *url, const json_t *doc, struct error *err) {
    CLEANUP(buf_free) struct buf b = BUF_INIT(OWED_BYTES_MAX);
    char folder[4200], path[4300], hex[17];
    uint8_t random[8];
    if (owed_count(w, url, folder) >= OWED_MAX)
        return error_set(err, ERR_IO_FULL, "%d statements are owed to the log of %s already", OWED_MAX, url);
    int rc = random_bytes(random, sizeof random, err);
    if (rc == 0) rc = io_mkdirs(folder, 0700, err);
    if (rc == 0) rc = json_write(doc, &b, err);
    if (rc < 0) return rc;
    hex_encode(random, sizeof random, hex);
    snprintf(path, sizeof path, "%s/%020lld-%s.json", folder, (long long)time_now_ns(), hex);
    return io_replace_file(AT_FDCWD, path, buf_bytes(&b), 0600, err);
}

static bool is_failure(const json_t *statement) {
    const char *type = json_string_value(json_object_get(statement, "predicateType"));
    const char *status = json_string_value(json_object_get(json_object_get(statement, "predicate"), "status"));
    return type && !strcmp(type, PREDICATE_RECEIPT) && status && !strcmp(status, "failure");
}

int owed_keep(struct work *w, const char *url, json_t *statement, struct error *err) {
    if (!is_failure(statement))
        return error_set(err, ERR_INTERNAL, "what says that something went well wants a signature");
    json_auto_t *doc = json_pack("{s:i, s:O}", "v", 1, "statement", statement);
    return doc ? store(w, url, doc, err) : error_set(err, ERR_NO_MEMORY, "no memory for a receipt");
}

static int keep_signed(struct work *w, json_t *statement, struct error *err) {
    CLEANUP(buf_free) struct buf text = BUF_INIT(OWED_BYTES_MAX);
    CLEANUP(buf_free) struct buf envelope = BUF_INIT(OWED_BYTES_MAX);
    json_t *inner = NULL;
    int rc = json_write(statement, &text, err);
    if (rc == 0) rc = dsse_sign(secret_bytes(repo_keys(w->repo)->sign_seed), buf_bytes(&text), &envelope, err);
    if (rc == 0) rc = json_parse(buf_bytes(&envelope), OWED_BYTES_MAX, "envelope", &inner, err);
    if (rc < 0) return rc;
    json_auto_t *doc = json_pack("{s:i, s:s, s:o}", "v", 1, "repository", repo_id_hex(w->repo), "envelope", inner);
    return doc ? store(w, w->url, doc, err) : error_set(err, ERR_NO_MEMORY, "no memory for a receipt");
}

int owed_append(struct work *w, const char *label, json_t *statement, uint64_t *ret_seq, struct digest *ret,
                struct error *err) {
    json_auto_t *copy = json_deep_copy(statement);
    if (!copy) return error_set(err, ERR_NO_MEMORY, "no memory for a receipt");
    int rc = repo_append(w->repo, statement, ret_seq, ret, err);
    if (rc == 0) owed_pay(w, label);
    if (!repo_out_of_reach(rc)) return rc;
    struct error lost = ERROR_INIT;
    if (keep_signed(w, copy, &lost) < 0)
        return error_state(err, "the statement could not be kept for later either: %.160s", lost.text);
    return error_state(err, "the statement is kept in the cache folder, and the next job puts it into the log");
}

/* The statement of a file of this repository; *ret NULL: it is of another, or of another key, and waits for that. */
static int statement_read(const struct work *w, const json_t *doc, json_t **ret, struct error *err) {
    const char *of = json_string_value(json_object_get(doc, "repository"));
    json_t *envelope = json_object_get(doc, "envelope"), *plain = json_object_get(doc, "statement");
    *ret = NULL;
    if (plain)
        return is_failure(plain)
                   ? (*ret = json_incref(plain), 0)
                   : error_set(err, ERR_LEDGER_BROKEN, "it is not signed, and not the receipt of a failure");
    if (!envelope || !of) return error_set(err, ERR_JSON, "it is neither a statement nor an envelope");
    if (strcmp(of, repo_id_hex(w->repo)) != 0) return 0;
    CLEANUP(buf_free) struct buf text = BUF_INIT(OWED_BYTES_MAX);
    CLEANUP(buf_free) struct buf payload = BUF_INIT(OWED_BYTES_MAX);
    uint8_t key[SIGN_PUBLIC_BYTES], signature[SIGN_BYTES];
    int rc = json_write(envelope, &text, err);
    if (rc == 0) rc = dsse_decode(buf_bytes(&text), &payload, key, signature, err);
    if (rc < 0 || memcmp(key, repo_keys(w->repo)->sign_public, sizeof key) != 0) return rc;
    payload.len = 0;
    rc = dsse_verify(buf_bytes(&text), key, &payload, err);
    if (rc == 0) rc = json_parse(buf_bytes(&payload), OWED_BYTES_MAX, "statement", ret, err);
    /* The log is public: what our key once said there must not be said again, with the time of now. */
    if (rc == 0 && json_object_get(json_object_get(*ret, "predicate"), "ledger")) {
        json_decref(*ret);
        *ret = NULL;
        rc = error_set(err, ERR_LEDGER_BROKEN, "it is an entry of a log already");
    }
    return rc;
}

/* 1: paid; 0: not ours to pay. */
static int pay_one(struct work *w, const char *path, struct error *err) {
    CLEANUP(buf_free) struct buf b = BUF_INIT(OWED_BYTES_MAX);
    json_t *doc = NULL, *statement = NULL;
    int rc = io_read_file(AT_FDCWD, path, OWED_BYTES_MAX, &b, err);
    if (rc == 0) rc = json_parse(buf_bytes(&b), OWED_BYTES_MAX, path, &doc, err);
    if (rc == 0) rc = statement_read(w, doc, &statement, err);
    bool ours = rc == 0 && statement;
    if (ours) rc = repo_append(w->repo, statement, NULL, NULL, err);
    json_decref(statement);
    json_decref(doc);
    return rc < 0 ? rc : ours;
}

static void tell(const struct work *w, const char *label, const char *text) {
    const struct work_events *e = &w->options.events;
    if (e->warning) e->warning(e->ctx, label, text);
}

/* What the log will never take is put aside, so that it does not stand in the way of the rest, or come up for ever. */
static void put_aside(const struct work *w, const char *label, const char *path, const struct error *why) {
    char aside[4310], line[1600];
    snprintf(aside, sizeof aside, "%s.refused", path);
    bool moved = seam_renameat2(AT_FDCWD, path, AT_FDCWD, aside, 0) == 0;
    snprintf(line, sizeof line, "a statement that was owed to the log is refused: %.700s; it is in %.600s", why->text,
             moved ? aside : path);
    tell(w, label, line);
}

void owed_pay(struct work *w, const char *label) {
    char folder[4200], path[4300], line[200];
    struct names names;
    struct error err = ERROR_INIT;
    unsigned paid = 0;
    if (owed_count(w, w->url, folder) == 0) return;
    int lock = seam_openat(AT_FDCWD, folder, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC, 0);
    if (lock < 0 || io_lock(lock) != 0) { /* another run pays */
        io_close(&lock);
        return;
    }
    int rc = names_read(folder, &names, &err);
    for (unsigned i = 0; rc == 0 && i < names.n; i++) {
        struct error why = ERROR_INIT;
        snprintf(path, sizeof path, "%s/%s", folder, names.list[i]);
        int one = pay_one(w, path, &why);
        if (one == 1 && ++paid && seam_unlinkat(AT_FDCWD, path, 0) < 0)
            rc = error_set_errno(&err, ERR_IO_WRITE, "remove %s", path);
        if (one >= 0) continue;
        bool for_ever = one == -ERR_LEDGER_BROKEN || one == -ERR_JSON || one == -ERR_LEDGER_TOO_BIG;
        if (for_ever)
            put_aside(w, label, path, &why);
        else if (one != -ERR_KEY_ROLE) /* else it waits for a key that may say it */
            rc = one, err = why;
    }
    seam_free(names.list);
    io_close(&lock);
    if (paid) {
        snprintf(line, sizeof line, "%u statement%s of earlier jobs, which found the log out of reach, %s in it now",
                 paid, paid == 1 ? "" : "s", paid == 1 ? "is" : "are");
        tell(w, label, line);
    }
    if (rc < 0) tell(w, label, err.text);
}
