#include "surface/pgphys/commits.h"

#include "base/time.h"
#include <stdlib.h>
#include <string.h>

static struct bytes skip(struct bytes b, size_t n) {
    return n < b.len ? BYTES_OF(b.ptr + n, b.len - n) : BYTES_OF(NULL, 0);
}

static bool starts(struct bytes b, const char *text) {
    size_t n = strlen(text);
    return b.len >= n && memcmp(b.ptr, text, n) == 0;
}

/* What stands behind the first `text`; empty when it is not there. */
static struct bytes behind(struct bytes b, const char *text) {
    size_t n = strlen(text);
    const uint8_t *at = b.len >= n ? memmem(b.ptr, b.len, text, n) : NULL;
    return at ? skip(b, (size_t)(at - b.ptr) + n) : BYTES_OF(NULL, 0);
}

static bool number(struct bytes *b, uint32_t *ret) {
    uint64_t v = 0;
    size_t n = 0;
    while (b->len && *b->ptr == ' ') *b = skip(*b, 1);
    for (; n < b->len && n < 10 && b->ptr[n] >= '0' && b->ptr[n] <= '9'; n++) v = v * 10 + (b->ptr[n] - '0');
    if (n == 0 || v > UINT32_MAX) return false;
    *b = skip(*b, n);
    *ret = (uint32_t)v;
    return true;
}

static bool lsn_of(struct bytes b, uint64_t *ret) {
    char text[24];
    size_t n = 0;
    for (; n < b.len && n + 1 < sizeof text && b.ptr[n] != ',' && b.ptr[n] != ' '; n++) text[n] = (char)b.ptr[n];
    text[n] = 0;
    return wal_lsn_parse(text, ret);
}

/* "2026-11-21 13:10:52.446358 UTC" */
static bool time_of(struct bytes b, int64_t *ret) {
    char text[32];
    if (b.len < 26) return false;
    memcpy(text, b.ptr, 26);
    text[10] = 'T';
    text[26] = 'Z';
    text[27] = 0;
    return time_parse(text, ret);
}

static bool commit_of(struct bytes desc, bool prepared, struct waldump_record *r) {
    if (prepared && (!number(&desc, &r->xid) || !starts(desc, ": "))) return false;
    if (prepared) desc = skip(desc, 2);
    if (!time_of(desc, &r->time_ns)) return false;
    r->ddl = behind(desc, "; rels:").len || behind(desc, "; inval msgs:").len;
    r->subxacts = behind(desc, "; subxacts:");
    return true;
}

bool waldump_line(struct bytes line, struct waldump_record *ret) {
    struct waldump_record r = {0};
    struct bytes desc = behind(line, ", desc: "), xid = behind(line, ", tx:");
    if (!starts(line, "rmgr: ") || !desc.len || !number(&xid, &r.xid) || !lsn_of(behind(line, ", lsn: "), &r.lsn))
        return false;
    struct bytes rmgr = skip(line, 6);
    if (starts(rmgr, "Heap")) {
        r.kind = WALDUMP_HEAP;
        r.deletes = starts(desc, "DELETE");
        r.updates = starts(desc, "UPDATE") || starts(desc, "HOT_UPDATE");
        r.blocks = behind(desc, "blkref #");
    } else if (starts(rmgr, "Transaction ")) {
        bool prepared = starts(desc, "COMMIT_PREPARED ") || starts(desc, "ABORT_PREPARED ");
        struct bytes rest = behind(desc, " ");
        r.kind = starts(desc, "COMMIT") ? WALDUMP_COMMIT : starts(desc, "ABORT") ? WALDUMP_ABORT : WALDUMP_OTHER;
        if (r.kind == WALDUMP_OTHER || !commit_of(rest, prepared, &r)) return false;
    } else if (starts(rmgr, "XLOG ") && starts(desc, "RESTORE_POINT ")) {
        r.kind = WALDUMP_POINT;
        r.name = behind(desc, " ");
    } else
        return false;
    *ret = r;
    return true;
}

bool waldump_touches(const struct waldump_record *r, uint32_t database, const uint32_t *files, size_t n) {
    for (struct bytes at = behind(r->blocks, "rel "); at.len; at = behind(at, "rel ")) {
        uint32_t space, base, file;
        struct bytes b = at;
        if (!number(&b, &space) || !starts(b, "/")) continue;
        b = skip(b, 1);
        if (!number(&b, &base) || !starts(b, "/") || base != database) continue;
        b = skip(b, 1);
        if (!number(&b, &file)) continue;
        for (size_t i = 0; i < n; i++)
            if (files[i] == file) return true;
    }
    return false;
}
