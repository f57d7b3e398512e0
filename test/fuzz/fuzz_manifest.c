/* Manifests, lists of references and roots: an error, or values that lie within the input. First byte: 0 manifest
 * chunk, 1 references, 2 root. */
#include "repo_fixture.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static bool within(struct bytes part, struct bytes whole) {
    return part.len == 0 ||
           (part.ptr >= whole.ptr && part.len <= whole.len && part.ptr <= whole.ptr + whole.len - part.len);
}

/* What was read is written again and read once more: the same. */
static void references(struct bytes in) {
    struct cursor c = cursor_of(in);
    struct ref ref, again;
    while (ref_take(&c, &ref)) {
        struct error err = ERROR_INIT;
        struct buf b = BUF_INIT(64);
        need(ref.type <= REF_LIST && ref.len <= UINT64_MAX >> 2);
        need(ref_append(&b, &ref, &err) == 0);
        struct cursor back = cursor_of(buf_bytes(&b));
        need(ref_take(&back, &again) && back.len == 0);
        need(again.type == ref.type && again.len == ref.len && digest_equal(&again.id, &ref.id) &&
             again.anchor == ref.anchor);
        buf_free(&b);
    }
}

static void manifest(struct bytes in) {
    struct manifest_parser p;
    struct manifest_item it;
    struct error err = ERROR_INIT;
    bool end = false;
    int rc;
    manifest_parser_init(&p, in);
    while ((rc = manifest_next(&p, &it, &end, &err)) == 0 && !end) {
        need(it.name.len > 0 && within(it.attr, in) && within(it.refs, in) && it.kind <= CONTENT_PARTS);
        references(it.refs);
    }
    need(rc == 0 || rc == -ERR_OBJECT_CORRUPT || rc == -ERR_NO_MEMORY); /* names longer than names can be */
    manifest_parser_free(&p);
}

static void root(struct bytes in) {
    struct root_doc d;
    struct error err = ERROR_INIT;
    struct buf raw = BUF_INIT(in.len + 1);
    need(buf_append(&raw, in.ptr, in.len, &err) == 0);
    int rc = root_parse(raw, &d, &err);
    need(rc == 0 || rc == -ERR_OBJECT_CORRUPT || rc == -ERR_JSON);
    if (rc < 0) return;
    uint64_t items = 0;
    for (size_t i = 0; i < d.chunk_count; i++) {
        need(within(d.chunks[i].first_name, buf_bytes(&d.raw)) && d.chunks[i].first_ordinal == items);
        items += d.chunks[i].items;
    }
    need(items == d.items);
    root_free(&d);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    if (size < 1) return 0;
    struct bytes in = BYTES_OF(data + 1, size - 1);
    if (data[0] == 0)
        manifest(in);
    else if (data[0] == 1)
        references(in);
    else
        root(in);
    return 0;
}
