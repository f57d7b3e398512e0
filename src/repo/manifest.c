/* Records of items, references to content, and the root (doc/format/snapshot.md). */
#include "repo/repo_internal.h"

int ref_append(struct buf *b, const struct ref *ref, struct error *err) {
    bool anchored = ref->type == REF_CHUNK && ref->anchor;
    int rc = buf_append_varint(b, ref->len << 2 | (anchored ? REF_ANCHORED : ref->type), err);
    if (rc == 0 && ref->type != REF_HOLE) rc = buf_append(b, ref->id.b, DIGEST_BYTES, err);
    if (rc == 0 && anchored) rc = buf_append_u64(b, ref->anchor, err);
    return rc;
}

bool ref_take(struct cursor *c, struct ref *ret) {
    if (c->len == 0 || c->bad) return false;
    uint64_t v = cursor_varint(c);
    *ret = (struct ref){.type = v & 3, .len = v >> 2};
    bool anchored = ret->type == REF_ANCHORED;
    if (anchored) ret->type = REF_CHUNK;
    if (ret->type != REF_HOLE) {
        struct bytes id = cursor_take(c, DIGEST_BYTES);
        if (!c->bad) memcpy(ret->id.b, id.ptr, DIGEST_BYTES);
    }
    if (anchored) ret->anchor = cursor_u64(c);
    return !c->bad;
}

int manifest_body(struct buf *b, enum content_kind kind, struct bytes attr, uint64_t bytes, const struct digest *sha,
                  uint64_t ref_count, struct bytes refs, struct error *err) {
    uint8_t k = (uint8_t)kind;
    int rc = buf_append(b, &k, 1, err);
    if (rc == 0) rc = buf_append_varint(b, attr.len, err);
    if (rc == 0) rc = buf_append(b, attr.ptr, attr.len, err);
    if (rc < 0 || kind == CONTENT_NONE) return rc;
    rc = buf_append_varint(b, bytes, err);
    if (rc == 0) rc = buf_append(b, sha->b, DIGEST_BYTES, err);
    if (rc == 0) rc = buf_append_varint(b, ref_count, err);
    if (rc == 0) rc = buf_append_varint(b, refs.len, err);
    if (rc == 0) rc = buf_append(b, refs.ptr, refs.len, err);
    return rc;
}

void manifest_parser_init(struct manifest_parser *p, struct bytes chunk) {
    p->c = cursor_of(chunk);
    p->name = BUF_INIT(1u << 20);
}

void manifest_parser_free(struct manifest_parser *p) {
    buf_free(&p->name);
}

int manifest_next(struct manifest_parser *p, struct manifest_item *ret, bool *ret_end, struct error *err) {
    struct cursor *c = &p->c;
    *ret_end = c->len == 0;
    if (*ret_end) return 0;
    uint64_t shared = cursor_varint(c);
    struct bytes rest = cursor_take(c, cursor_varint(c));
    if (c->bad || shared > p->name.len) goto bad;
    p->name.len = shared;
    int rc = buf_append(&p->name, rest.ptr, rest.len, err);
    if (rc < 0) return rc;
    *ret = (struct manifest_item){.name = buf_bytes(&p->name)};
    ret->kind = cursor_u8(c);
    ret->attr = cursor_take(c, cursor_varint(c));
    if (ret->kind > CONTENT_PARTS) goto bad;
    if (ret->kind != CONTENT_NONE) {
        ret->bytes = cursor_varint(c);
        struct bytes sha = cursor_take(c, DIGEST_BYTES);
        ret->ref_count = cursor_varint(c);
        ret->refs = cursor_take(c, cursor_varint(c));
        if (!c->bad) memcpy(ret->sha256.b, sha.ptr, DIGEST_BYTES);
    }
    if (c->bad || ret->name.len == 0) goto bad;
    return 0;
bad:
    return error_set(err, ERR_OBJECT_CORRUPT, "a record of a snapshot's manifest is malformed");
}

int root_parse(struct buf raw, struct root_doc *ret, struct error *err) {
    struct root_doc d = {.raw = raw};
    struct cursor c = cursor_of(buf_bytes(&d.raw));
    struct bytes magic = cursor_take(&c, 8);
    struct bytes facts = cursor_take(&c, cursor_u32(&c));
    d.items = cursor_u64(&c);
    d.bytes = cursor_u64(&c);
    uint32_t n = cursor_u32(&c);
    int rc = 0;
    if (c.bad || memcmp(magic.ptr, "PKROOT01", 8) != 0 || n > c.len / 41)
        rc = error_set(err, ERR_OBJECT_CORRUPT, "a snapshot's root is malformed");
    if (rc == 0) rc = json_parse(facts, 16u << 20, "a snapshot's facts", &d.facts, err);
    void *mem = NULL;
    if (rc == 0) rc = mem_alloc((size_t)n * sizeof *d.chunks + 1, &mem, err);
    d.chunks = mem;
    uint64_t ordinal = 0;
    for (uint32_t i = 0; i < n && rc == 0; i++) {
        struct root_chunk *k = &d.chunks[i];
        struct bytes id = cursor_take(&c, DIGEST_BYTES);
        k->plain_len = cursor_u32(&c);
        k->items = cursor_u32(&c);
        k->first_name = cursor_take(&c, cursor_varint(&c));
        k->first_ordinal = ordinal;
        ordinal += k->items;
        if (c.bad || k->plain_len > CHUNK_PLAIN_MAX)
            rc = error_set(err, ERR_OBJECT_CORRUPT, "a snapshot's root is malformed");
        else
            memcpy(k->id.b, id.ptr, DIGEST_BYTES);
        d.chunk_count++;
    }
    if (rc == 0 && (c.len != 0 || ordinal != d.items))
        rc = error_set(err, ERR_OBJECT_CORRUPT, "a snapshot's root does not add up");
    if (rc < 0)
        root_free(&d);
    else
        *ret = d;
    return rc;
}

int root_read(struct fetcher *f, const struct snapshot_info *info, struct root_doc *ret, struct error *err) {
    struct buf raw = BUF_INIT(256u << 20);
    int rc = 0;
    for (size_t i = 0; i < info->root_count && rc == 0; i++) {
        struct fetched c;
        if ((rc = fetch_chunk(f, info->root[i].b, &info->root[i], CHUNK_ROOT, &c, err)) < 0) break;
        rc = buf_append(&raw, c.data.ptr, c.data.len, err);
        fetch_release(f, &c);
    }
    if (rc == 0) return root_parse(raw, ret, err);
    buf_free(&raw);
    return rc;
}

void root_free(struct root_doc *d) {
    json_decref(d->facts);
    seam_free(d->chunks);
    buf_free(&d->raw);
    *d = (struct root_doc){0};
}
