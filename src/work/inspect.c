#include "work/inspect.h"

#include "base/seam.h"
#include "base/thread.h"
#include "ledger/statement.h"
#include "repo/copy.h"
#include "work/point.h"

int inspect_receipt(struct work *w, const struct snapshot_info *info, struct buf *ret, struct error *err) {
    struct digest got;
    size_t before = ret->len;
    int rc = ledger_read(repo_ledger(w->repo), info->seq, ret, err);
    if (rc < 0) return rc;
    sha256(BYTES_OF(ret->ptr + before, ret->len - before), &got);
    if (digest_equal(&got, &info->entry)) return 0;
    return error_set(err, ERR_LEDGER_BROKEN, "log entry %llu is not the receipt that was read before",
                     (unsigned long long)info->seq);
}

static int receipt_predicate_of(struct work *w, const struct snapshot_info *info, json_t **ret, struct error *err) {
    struct buf envelope = BUF_INIT(LEDGER_ENTRY_MAX_BYTES + 1), payload = BUF_INIT(LEDGER_ENTRY_MAX_BYTES + 1);
    json_t *statement = NULL;
    int rc = inspect_receipt(w, info, &envelope, err);
    if (rc == 0) rc = dsse_verify(buf_bytes(&envelope), info->writer, &payload, err);
    if (rc == 0) rc = json_parse(buf_bytes(&payload), payload.max_bytes, "a receipt", &statement, err);
    if (rc == 0) *ret = json_incref(statement_predicate(statement));
    json_decref(statement);
    buf_free(&payload);
    buf_free(&envelope);
    return rc;
}

int inspect_source_receipt(struct work *w, const struct snapshot_info *info, struct buf *ret, struct error *err) {
    return copy_source_read(w->repo, info, ret, NULL, err);
}

/* What is wrong with it is for the one who looks to see, not a reason to show nothing. */
static json_t *source_facts(struct work *w, const struct snapshot_info *info) {
    struct buf envelope = BUF_INIT(LEDGER_ENTRY_MAX_BYTES + 1);
    struct error e = ERROR_INIT;
    uint8_t signer[SIGN_PUBLIC_BYTES];
    char hex[65];
    json_t *j;
    if (!info->is_copy) return json_null();
    if (copy_source_read(w->repo, info, &envelope, signer, &e) == 0) {
        hex_encode(signer, sizeof signer, hex);
        j = json_pack("{s:s, s:s, s:n}", "signature", "VERIFIED", "signer", hex, "why");
    } else
        j = json_pack("{s:s, s:n, s:s}", "signature", "FAILED", "signer", "why", e.text);
    buf_free(&envelope);
    return j;
}

int inspect_facts(struct work *w, const struct snapshot_info *info, json_t **ret, struct error *err) {
    json_t *point = NULL, *receipt = NULL;
    struct snapshot *s = NULL;
    int rc = point_json(info, &point, err);
    if (rc == 0) rc = receipt_predicate_of(w, info, &receipt, err);
    if (rc == 0 && repo_keys(w->repo)->read_secret) rc = snapshot_open(w->repo, info, &s, err);
    if (rc == 0) {
        *ret = json_pack("{s:O, s:O, s:o, s:o}", "point", point, "receipt", receipt, "source", source_facts(w, info),
                         "snapshot", s ? json_incref((json_t *)snapshot_root(s)) : json_null());
        if (!*ret) rc = error_set(err, ERR_NO_MEMORY, "no memory for the facts");
    }
    snapshot_close(s);
    json_decref(receipt);
    json_decref(point);
    return rc;
}

int inspect_item_json(const struct surface_driver *d, const struct item_head *h, json_t **ret, struct error *err) {
    json_t *j = NULL;
    char hex[65];
    int rc = d->describe(h->name, h->attr, &j, err);
    if (rc < 0) return rc;
    rc = json_put(j, "name", json_name(h->name), err);
    if (rc == 0 && h->kind != CONTENT_NONE) {
        hex_encode(h->sha256.b, sizeof h->sha256.b, hex);
        rc = json_put_int(j, "bytes", (int64_t)h->bytes, err);
        if (rc == 0) rc = json_put_str(j, h->kind == CONTENT_PARTS ? "sha256_by_parts" : "sha256", hex, err);
    }
    if (rc < 0)
        json_decref(j);
    else
        *ret = j;
    return rc;
}

static int driver_of(const struct snapshot_info *info, const struct surface_driver **ret, struct error *err) {
    *ret = surface_find(info->kind);
    if (*ret) return 0;
    return error_set(err, ERR_FORMAT_VERSION, "snapshot %s is of kind '%s', which this version does not know", info->id,
                     info->kind);
}

struct below {
    const struct surface_driver *driver;
    struct bytes path;
    inspect_cb cb;
    void *ctx;
    uint64_t found;
};

static int item_below(void *ctx, const struct item_head *h, struct error *err) {
    struct below *b = ctx;
    int rc = stop_check(err);
    /* the walk's prefix also fits "ab" for "a" */
    if (rc < 0 || (b->path.len && h->name.len > b->path.len && h->name.ptr[b->path.len] != '/')) return rc;
    b->found++;
    return b->cb(b->ctx, b->driver, h, err);
}

int inspect_items(struct work *w, const struct snapshot_info *info, const char *const *paths, inspect_cb cb, void *ctx,
                  struct error *err) {
    static const char *const all[] = {"", NULL};
    struct below b = {.cb = cb, .ctx = ctx};
    struct snapshot *s = NULL;
    int rc = driver_of(info, &b.driver, err);
    if (rc == 0) rc = snapshot_open(w->repo, info, &s, err);
    for (const char *const *p = paths && *paths ? paths : all; rc == 0 && *p; p++) {
        b.path = BYTES_STR(*p);
        b.found = 0;
        while (b.path.len && b.path.ptr[0] == '/') b.path = BYTES_OF(b.path.ptr + 1, b.path.len - 1);
        while (b.path.len && b.path.ptr[b.path.len - 1] == '/') b.path.len--;
        rc = snapshot_walk(s, b.path, item_below, &b, err);
        if (rc == 0 && !b.found && b.path.len) {
            rc = error_set(err, ERR_NO_POINT, "%s holds nothing at '%.500s'", info->id, *p);
            (void)!error_next(err, "proofkeep show %s/%s@%s /", info->environment, info->surface, info->id);
        }
    }
    snapshot_close(s);
    return rc;
}
