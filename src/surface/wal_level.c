#include "surface/wal.h"

#include "base/crc32c.h"

#define SHORT_HEADER_BYTES 24
#define INFO_CONTINUES 0x0001u
#define INFO_LONG_HEADER 0x0002u
#define RECORD_HEADER_BYTES 24
#define CRC_AT 20
#define DATA_BYTES 28 /* of a parameter change, behind the two bytes that say so */
#define LEVEL_AT 46

static uint64_t aligned(uint64_t n) {
    return (n + 7) & ~UINT64_C(7);
}

/* A record of a parameter change (rmgr XLOG, info 0x60), and no other that is as long. */
static void judge(const struct wal_levels *w, wal_level_told told, void *ctx) {
    const uint8_t *p = w->record;
    if ((p[16] & 0xF0) != 0x60 || p[17] != 0 || p[24] != 0xFF || p[25] != DATA_BYTES) return;
    uint32_t crc = crc32c(0, BYTES_OF(p + RECORD_HEADER_BYTES, sizeof w->record - RECORD_HEADER_BYTES));
    if (crc32c(crc, BYTES_OF(p, CRC_AT)) == get_u32(p + CRC_AT)) told(ctx, w->at, get_u32(p + LEVEL_AT) == 0);
}

/* Records that begin in the page, from `at` on. False: no WAL lies behind them. */
static bool records_read(struct wal_levels *w, uint64_t lsn, struct bytes page, uint64_t at, wal_level_told told,
                         void *ctx) {
    for (uint32_t len; at < page.len; at += aligned(len)) {
        const size_t left = page.len - (size_t)at;
        len = get_u32(page.ptr + at);
        if (len < RECORD_HEADER_BYTES) return false;
        if (len == sizeof w->record) {
            w->have = left < len ? left : len;
            w->at = lsn + at;
            w->next = lsn + page.len;
            memcpy(w->record, page.ptr + at, w->have);
            if (w->have == len) judge(w, told, ctx);
        }
        if (len > left) break;
        w->have = 0;
    }
    return true;
}

void wal_levels_read(struct wal_levels *w, uint64_t lsn, uint32_t page_bytes, struct bytes in, wal_level_told told,
                     void *ctx) {
    const uint64_t skip = (page_bytes - lsn % page_bytes) % page_bytes;
    if (skip > in.len) return;
    in = BYTES_OF(in.ptr + skip, in.len - (size_t)skip);
    for (lsn += skip; in.len >= page_bytes; lsn += page_bytes) {
        const struct bytes page = BYTES_OF(in.ptr, page_bytes);
        const uint16_t info = get_u16(page.ptr + 2);
        const size_t header = info & INFO_LONG_HEADER ? WAL_LONG_HEADER_BYTES : SHORT_HEADER_BYTES;
        const uint32_t rest = info & INFO_CONTINUES ? get_u32(page.ptr + 16) : 0;
        const size_t have = w->have;
        in = BYTES_OF(in.ptr + page_bytes, in.len - page_bytes);
        w->have = 0;
        if (get_u64(page.ptr + 8) != lsn) return; /* of what lay there before */
        if (have && w->next == lsn && rest == sizeof w->record - have) {
            memcpy(w->record + have, page.ptr + header, rest);
            judge(w, told, ctx);
        }
        if (!records_read(w, lsn, page, header + aligned(rest), told, ctx)) return;
    }
}
