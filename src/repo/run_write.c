/* Index runs and pack lists as objects. Layout (doc/format/index.md): a clear header, then the body in sealed blocks of
 * 64 KiB under a key derived from the index key and the header's salt; the header is associated data of every block. */
#include "repo/run.h"

int digest_order(const void *a, const void *b) {
    return memcmp(a, b, DIGEST_BYTES);
}

bool digest_in(const struct digest *sorted, size_t n, const struct digest *d) {
    return n > 0 && bsearch(d, sorted, n, sizeof *d, digest_order) != NULL;
}

size_t digest_sort_unique(struct digest *d, size_t n) {
    if (n == 0) return 0;
    qsort(d, n, sizeof *d, digest_order);
    size_t w = 1;
    for (size_t i = 1; i < n; i++)
        if (!digest_equal(&d[i], &d[w - 1])) d[w++] = d[i];
    return w;
}

static int entry_order(const void *a, const void *b) {
    const struct run_entry *x = a, *y = b;
    int c = memcmp(x->id, y->id, ID_PREFIX_BYTES);
    return c ? c : (x->pack > y->pack) - (x->pack < y->pack);
}

/* Sorts in place by the first byte, and each such part by qsort, whose own memory is then a part's and not the whole's:
 * ids are keyed digests, so the parts are about even. */
static void entries_sort(struct run_entry *e, size_t n) {
    size_t count[256] = {0}, at[256], end[256], sum = 0;
    for (size_t i = 0; i < n; i++) count[e[i].id[0]]++;
    for (size_t b = 0; b < 256; b++) {
        at[b] = sum;
        end[b] = sum += count[b];
    }
    for (size_t b = 0; b < 256; b++)
        while (at[b] < end[b]) {
            const size_t to = e[at[b]].id[0];
            if (to == b) {
                at[b]++;
                continue;
            }
            const struct run_entry moved = e[at[b]];
            e[at[b]] = e[at[to]];
            e[at[to]++] = moved;
        }
    for (size_t b = 0; b < 256; b++) qsort(e + end[b] - count[b], count[b], sizeof *e, entry_order);
}

int run_aead(struct repo *r, const uint8_t header[RUN_HEADER_BYTES], struct aead **ret, struct error *err) {
    uint8_t key[KEY_BYTES];
    struct bytes index;
    int rc = repo_index_key(r, get_u16(header + RUN_EPOCH_AT), &index, err);
    if (rc < 0) return rc;
    rc = hkdf_sha256(index, BYTES_OF(header + 32, 32), BYTES_STR("proofkeep/v1/run"), key, sizeof key, err);
    if (rc == 0) rc = aead_new(header[9], BYTES_OF(key, sizeof key), ret, err);
    wipe(key, sizeof key);
    return rc;
}

int run_write_body(struct repo *r, uint8_t type, uint64_t entries, uint32_t packs, struct bytes body,
                   struct digest *ret, uint64_t *ret_bytes, struct error *err) {
    uint8_t h[RUN_HEADER_BYTES] = {0};
    memcpy(h, "PKINDEX1", 8);
    h[8] = FORMAT_VERSION;
    h[9] = (uint8_t)r->cipher;
    h[10] = type;
    put_u16(h + RUN_EPOCH_AT, (uint16_t)r->epoch);
    put_u64(h + 16, entries);
    put_u32(h + 24, packs);
    int rc = random_bytes(h + 32, 32, err);
    if (rc < 0) return rc;
    memcpy(h + 64, r->id, 16);
    size_t blocks = (body.len + RUN_BLOCK_BYTES - 1) / RUN_BLOCK_BYTES;
    struct buf out = BUF_INIT(SIZE_MAX / 2);
    struct aead *a = NULL;
    rc = buf_reserve(&out, RUN_HEADER_BYTES + body.len + blocks * AEAD_TAG_BYTES, err);
    if (rc == 0) rc = buf_append(&out, h, sizeof h, err);
    if (rc == 0) rc = run_aead(r, h, &a, err);
    for (size_t i = 0; i < blocks && rc == 0; i++) {
        uint8_t nonce[AEAD_NONCE_BYTES] = {0};
        put_u64(nonce, i);
        size_t at = i * RUN_BLOCK_BYTES, n = body.len - at < RUN_BLOCK_BYTES ? body.len - at : RUN_BLOCK_BYTES;
        rc = aead_seal(a, nonce, BYTES_OF(h, sizeof h), BYTES_OF(body.ptr + at, n), out.ptr + out.len, err);
        out.len += n + AEAD_TAG_BYTES;
    }
    aead_free(a);
    if (rc == 0) {
        char key[96];
        struct bytes part = buf_bytes(&out);
        sha256(part, ret);
        run_key(ret, key);
        if (ret_bytes) *ret_bytes = part.len;
        rc = store_stage(r->store, key, &part, 1, err);
    }
    buf_free(&out);
    return rc;
}

void run_key(const struct digest *name, char out[96]) {
    char hex[65];
    hex_encode(name->b, sizeof name->b, hex);
    snprintf(out, 96, "index/%s", hex);
}

int run_write(struct repo *r, struct run_entry *entries, size_t n, const uint8_t *packs, uint32_t pack_count,
              struct digest *ret, struct error *err) {
    entries_sort(entries, n);
    struct buf body = BUF_INIT(SIZE_MAX / 2);
    uint64_t rows = 0;
    int rc = buf_reserve(&body, (size_t)pack_count * RUN_PACK_BYTES + n * RUN_ENTRY_BYTES, err);
    if (rc == 0) rc = buf_append(&body, packs, (size_t)pack_count * RUN_PACK_BYTES, err);
    for (size_t i = 0; i < n && rc == 0; i++) {
        if (i > 0 && entry_order(&entries[i], &entries[i - 1]) == 0)
            continue; /* twice in one pack: any one serves. In two packs, one may be collected without the other */
        uint8_t e[2 * RUN_ENTRY_BYTES];
        memcpy(e, entries[i].id, ID_PREFIX_BYTES);
        put_u32(e + 16, entries[i].pack);
        put_u32(e + 20, entries[i].frame);
        put_u32(e + 24, entries[i].plain_len);
        put_u32(e + 28, entries[i].flags);
        size_t len = RUN_ENTRY_BYTES;
        if (entries[i].flags & ENTRY_DELTA) {
            memcpy(e + RUN_ENTRY_BYTES, entries[i].id, ID_PREFIX_BYTES);
            memcpy(e + RUN_ENTRY_BYTES + 16, entries[i].base, ID_PREFIX_BYTES);
            len += RUN_ENTRY_BYTES;
        }
        rc = buf_append(&body, e, len, err);
        rows += len / RUN_ENTRY_BYTES;
    }
    if (rc == 0) rc = run_write_body(r, RUN_TYPE_INDEX, rows, pack_count, buf_bytes(&body), ret, NULL, err);
    if (rc == 0 && store_reads_many(r->store)) {
        pthread_mutex_lock(&r->lock);
        unsigned i = r->own_next++ % OWN_RUNS;
        seam_free(r->own_runs[i].body);
        r->own_runs[i].name = *ret;
        r->own_runs[i].entries = rows;
        r->own_runs[i].packs = pack_count;
        r->own_runs[i].body = body.ptr;
        pthread_mutex_unlock(&r->lock);
        return 0;
    }
    buf_free(&body);
    return rc;
}

bool run_own_take(struct repo *r, const struct digest *name, uint64_t *ret_entries, uint32_t *ret_packs,
                  uint8_t **ret) {
    bool ours = false;
    pthread_mutex_lock(&r->lock);
    for (unsigned i = 0; i < OWN_RUNS && !ours; i++) {
        ours = r->own_runs[i].body && digest_equal(&r->own_runs[i].name, name);
        if (!ours) continue;
        *ret_entries = r->own_runs[i].entries;
        *ret_packs = r->own_runs[i].packs;
        *ret = r->own_runs[i].body;
        r->own_runs[i].body = NULL;
    }
    pthread_mutex_unlock(&r->lock);
    return ours;
}

void run_own_drop(struct repo *r) {
    for (unsigned i = 0; i < OWN_RUNS; i++) {
        seam_free(r->own_runs[i].body);
        r->own_runs[i].body = NULL;
    }
}

int packlist_write(struct repo *r, struct digest *names, size_t n, struct digest *ret, uint64_t *ret_bytes,
                   struct error *err) {
    n = digest_sort_unique(names, n);
    return run_write_body(r, RUN_TYPE_PACKLIST, n, 0, BYTES_OF(names, n * sizeof *names), ret, ret_bytes, err);
}

int kept_write(struct repo *r, struct bytes envelope, struct digest *ret, struct error *err) {
    return run_write_body(r, RUN_TYPE_KEPT, envelope.len, 0, envelope, ret, NULL, err);
}
