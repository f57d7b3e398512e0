#include "surface/wal.h"

#include "base/seam.h"

#include <inttypes.h>
#include <stdio.h>

#define SHORT_HEADER_BYTES 24
#define INFO_CONTINUES 0x0001u
#define INFO_LONG_HEADER 0x0002u
#define INFO_OVERWRITES 0x0008u
#define INFO_ALL 0x000Fu

static const struct {
    uint16_t magic;
    unsigned major;
} versions[] = {{0xD110, 15}, {0xD113, 16}, {0xD116, 17}, {0xD118, 18}};

/* PostgreSQL writes upper case only; other spellings would be second names of one file. */
static bool take_hex(const char **at, uint32_t *ret) {
    uint32_t v = 0;
    for (int i = 0; i < 8; i++) {
        char c = (*at)[i];
        if (c >= '0' && c <= '9')
            v = v << 4 | (uint32_t)(c - '0');
        else if (c >= 'A' && c <= 'F')
            v = v << 4 | (uint32_t)(c - 'A' + 10);
        else
            return false;
    }
    *at += 8;
    *ret = v;
    return true;
}

static bool parse(const char *at, struct wal_name *n) {
    if (!take_hex(&at, &n->timeline) || n->timeline == 0) return false;
    n->kind = WAL_HISTORY;
    if (strcmp(at, ".history") == 0) return true;
    if (!take_hex(&at, &n->log) || !take_hex(&at, &n->seg) || n->seg >= UINT32_C(0x1000)) return false;
    n->kind = WAL_SEGMENT;
    if (!*at) return true;
    n->kind = WAL_PARTIAL;
    if (strcmp(at, ".partial") == 0) return true;
    n->kind = WAL_BACKUP;
    if (*at++ != '.' || !take_hex(&at, &n->offset)) return false;
    return strcmp(at, ".backup") == 0;
}

int wal_name_parse(const char *text, struct wal_name *ret, struct error *err) {
    struct wal_name n = {0};
    if (!parse(text, &n)) return error_set(err, ERR_PG_WAL_NAME, "'%.64s' is no name of a WAL file", text);
    *ret = n;
    return 0;
}

void wal_name_format(const struct wal_name *n, char out[WAL_NAME_BYTES]) {
    int at = snprintf(out, WAL_NAME_BYTES, "%08" PRIX32, n->timeline);
    char *rest = out + at;
    size_t room = WAL_NAME_BYTES - (size_t)at;
    switch (n->kind) {
    case WAL_HISTORY:
        snprintf(rest, room, ".history");
        break;
    case WAL_SEGMENT:
        snprintf(rest, room, "%08" PRIX32 "%08" PRIX32, n->log, n->seg);
        break;
    case WAL_PARTIAL:
        snprintf(rest, room, "%08" PRIX32 "%08" PRIX32 ".partial", n->log, n->seg);
        break;
    case WAL_BACKUP:
        snprintf(rest, room, "%08" PRIX32 "%08" PRIX32 ".%08" PRIX32 ".backup", n->log, n->seg, n->offset);
    }
}

uint64_t wal_name_lsn(const struct wal_name *n, uint32_t segment_bytes) {
    return ((uint64_t)n->log << 32) + (uint64_t)n->seg * segment_bytes;
}

struct wal_name wal_name_at(uint32_t timeline, uint64_t lsn, uint32_t segment_bytes) {
    return (struct wal_name){
        .kind = WAL_SEGMENT, .timeline = timeline, .log = (uint32_t)(lsn >> 32), .seg = (uint32_t)lsn / segment_bytes};
}

static bool take_half(const char **at, uint64_t *ret) {
    uint64_t v = 0;
    int digits = 0;
    for (;; (*at)++, digits++) {
        char c = **at;
        unsigned d = c >= '0' && c <= '9'   ? (unsigned)(c - '0')
                     : c >= 'A' && c <= 'F' ? (unsigned)(c - 'A' + 10)
                     : c >= 'a' && c <= 'f' ? (unsigned)(c - 'a' + 10)
                                            : 16;
        if (d == 16) break;
        if (digits == 8) return false;
        v = v << 4 | d;
    }
    *ret = v;
    return digits > 0;
}

bool wal_lsn_parse(const char *text, uint64_t *ret) {
    uint64_t high, low;
    if (!take_half(&text, &high) || *text++ != '/' || !take_half(&text, &low) || *text) return false;
    *ret = high << 32 | low;
    return true;
}

void wal_lsn_format(uint64_t lsn, char out[24]) {
    snprintf(out, 24, "%" PRIX32 "/%" PRIX32, (uint32_t)(lsn >> 32), (uint32_t)lsn);
}

static bool magic_known(uint16_t magic) {
    for (size_t i = 0; i < sizeof versions / sizeof *versions; i++)
        if (versions[i].magic == magic) return true;
    return false;
}

int wal_header_read(struct bytes page, struct wal_header *ret, struct error *err) {
    if (page.len < WAL_LONG_HEADER_BYTES)
        return error_set(err, ERR_PG_WAL, "%zu bytes are too few for the header of a WAL segment", page.len);
    struct wal_header h = {.magic = get_u16(page.ptr),
                           .timeline = get_u32(page.ptr + 4),
                           .lsn = get_u64(page.ptr + 8),
                           .system = get_u64(page.ptr + SHORT_HEADER_BYTES),
                           .segment_bytes = get_u32(page.ptr + SHORT_HEADER_BYTES + 8),
                           .block_bytes = get_u32(page.ptr + SHORT_HEADER_BYTES + 12)};
    if (!magic_known(h.magic))
        return error_set(err, ERR_PG_WAL,
                         "the first page has the magic 0x%04X, which is not WAL of PostgreSQL 15 to 18", h.magic);
    if (!(get_u16(page.ptr + 2) & INFO_LONG_HEADER))
        return error_set(err, ERR_PG_WAL, "the first page has not the long header that begins a segment");
    uint32_t s = h.segment_bytes, b = h.block_bytes;
    if (s < WAL_SEGMENT_MIN || s > WAL_SEGMENT_MAX || (s & (s - 1)))
        return error_set(err, ERR_PG_WAL, "the first page says that segments have %" PRIu32 " bytes", s);
    if (b < 1024 || b > 65536 || (b & (b - 1)))
        return error_set(err, ERR_PG_WAL, "the first page says that pages have %" PRIu32 " bytes", b);
    if (h.timeline == 0 || h.lsn % s)
        return error_set(err, ERR_PG_WAL, "the first page names a timeline or a place that no segment begins at");
    *ret = h;
    return 0;
}

int wal_segment_check(const struct wal_name *name, struct bytes segment, uint64_t system, struct error *err) {
    char text[WAL_NAME_BYTES], is[24], should[24];
    struct wal_header h;
    wal_name_format(name, text);
    int rc = wal_header_read(segment, &h, err);
    if (rc < 0) return error_wrap(err, "%s", text);
    uint64_t lsn = wal_name_lsn(name, h.segment_bytes);
    if (system && h.system != system)
        return error_set(err, ERR_PG_WAL, "%s is of the cluster with the system identifier %" PRIu64 ", not %" PRIu64,
                         text, h.system, system);
    if ((uint64_t)name->seg * h.segment_bytes > UINT32_MAX)
        return error_set(err, ERR_PG_WAL, "%s is no name of a segment of %" PRIu32 " bytes", text, h.segment_bytes);
    if (h.lsn != lsn) {
        wal_lsn_format(h.lsn, is);
        wal_lsn_format(lsn, should);
        return error_set(err, ERR_PG_WAL, "%s begins at %s by its first page, and at %s by its name", text, is, should);
    }
    if (h.timeline > name->timeline)
        return error_set(err, ERR_PG_WAL,
                         "%s is of timeline %" PRIu32 " by its first page, and of %" PRIu32 " by its name", text,
                         h.timeline, name->timeline);
    if (segment.len > h.segment_bytes)
        return error_set(err, ERR_PG_WAL, "%s has %zu bytes, and segments of its cluster have %" PRIu32, text,
                         segment.len, h.segment_bytes);
    return 0;
}

void wal_pages_begin(struct wal_pages *w, const struct wal_name *name, uint32_t segment_bytes) {
    *w = (struct wal_pages){.name = *name, .segment_bytes = segment_bytes};
}

static bool head_zero(const uint8_t *p) {
    static const uint8_t zeros[SHORT_HEADER_BYTES];
    return memcmp(p, zeros, sizeof zeros) == 0;
}

/* xlogreader.c, XLogReaderValidatePageHeader; and what a page says of the record that it begins with. */
static const char *page_fault(struct wal_pages *w, uint64_t lsn) {
    const uint8_t *p = w->head;
    const uint16_t magic = get_u16(p), info = get_u16(p + 2);
    const uint32_t timeline = get_u32(p + 4), left = get_u32(p + 16), was = w->left;
    const bool first = w->at == 0;
    const uint32_t room = w->block_bytes - (first ? WAL_LONG_HEADER_BYTES : SHORT_HEADER_BYTES);
    if (first ? !magic_known(magic) : magic != w->magic) return "it has not the mark of a page";
    if (info & ~INFO_ALL) return "it has flags that no page has";
    if (!(info & INFO_LONG_HEADER) != !first) return "it has the other kind of header";
    if (get_u64(p + 8) != lsn) return "it is of another place";
    if (timeline > w->name.timeline || timeline < w->timeline) return "it is of another timeline";
    if (!(info & INFO_CONTINUES) != !left) return "it does not tell whether it goes on with a record";
    if (was && left != was && !(info & INFO_OVERWRITES)) return "it does not go on with the record before it";
    w->magic = magic;
    w->timeline = timeline;
    w->left = left > room ? left - room : 0;
    return NULL;
}

static void page_look(struct wal_pages *w) {
    const uint64_t lsn = wal_name_lsn(&w->name, w->segment_bytes) + w->at;
    if (w->fault) return;
    if (w->at && !w->left && head_zero(w->head)) {
        if (!w->zeros) w->zeros_lsn = lsn;
        w->zeros = true;
        return;
    }
    w->fault = w->zeros ? "it is behind pages of zeros" : page_fault(w, lsn);
    w->fault_lsn = lsn;
}

void wal_pages_feed(struct wal_pages *w, struct bytes piece) {
    while (piece.len && !w->fault) {
        const uint64_t in = w->block_bytes ? w->at % w->block_bytes : w->at;
        const size_t want = w->block_bytes ? SHORT_HEADER_BYTES : WAL_LONG_HEADER_BYTES;
        size_t n = in < want ? want - (size_t)in : w->block_bytes - (size_t)in;
        if (n > piece.len) n = piece.len;
        if (in < want) memcpy(w->head + in, piece.ptr, n);
        if (in < want && in + n == want) {
            const uint64_t at = w->at;
            if (!w->block_bytes) w->block_bytes = get_u32(w->head + SHORT_HEADER_BYTES + 12);
            if (w->block_bytes < 1024) w->block_bytes = 1024;
            w->at = at - in;
            page_look(w);
            w->at = at;
        }
        w->at += n;
        piece = BYTES_OF(piece.ptr + n, piece.len - n);
    }
}

int wal_pages_check(const struct wal_pages *w, uint64_t until, struct error *err) {
    const uint64_t begin = wal_name_lsn(&w->name, w->segment_bytes);
    char name[WAL_NAME_BYTES], at[24];
    const char *why = NULL;
    uint64_t lsn = 0;
    if (w->fault && w->fault_lsn < until) why = w->fault, lsn = w->fault_lsn;
    if (w->zeros && until < begin + w->segment_bytes && w->zeros_lsn < until) why = "it is zeros", lsn = w->zeros_lsn;
    if (!why) return 0;
    wal_name_format(&w->name, name);
    wal_lsn_format(lsn, at);
    return error_set(err, ERR_PG_WAL, "the page at %s of %s is no page of WAL: %s", at, name, why);
}

static int malformed(struct error *err, uint32_t timeline, size_t line, const char *what) {
    return error_set(err, ERR_PG_WAL, "line %zu of the history of timeline %" PRIu32 " %s", line, timeline, what);
}

/* "<timeline> <TAB> <place> <TAB> <reason>"; PostgreSQL itself passes over blank lines and comments. */
static int parse_switch(struct bytes line, struct wal_switch *ret) {
    char text[64];
    size_t at = 0, n = 0;
    uint64_t timeline = 0;
    for (; at < line.len && line.ptr[at] >= '0' && line.ptr[at] <= '9' && timeline <= UINT32_MAX; at++)
        timeline = timeline * 10 + (uint64_t)(line.ptr[at] - '0');
    if (at == 0 || timeline == 0 || timeline > UINT32_MAX) return -1;
    size_t blanks = at;
    while (at < line.len && (line.ptr[at] == '\t' || line.ptr[at] == ' ')) at++;
    if (at == blanks) return -1;
    while (at < line.len && line.ptr[at] > ' ' && n + 1 < sizeof text) text[n++] = (char)line.ptr[at++];
    text[n] = 0;
    if (at < line.len && line.ptr[at] > ' ') return -1;
    *ret = (struct wal_switch){.timeline = (uint32_t)timeline};
    return wal_lsn_parse(text, &ret->lsn) ? 0 : -1;
}

int wal_history_parse(struct bytes text, uint32_t timeline, struct wal_switch **ret, size_t *ret_n, struct error *err) {
    struct wal_switch *list = NULL;
    size_t n = 0, cap = 0, number = 0, at = 0;
    int rc = 0;
    if (text.len > WAL_HISTORY_BYTES_MAX)
        return error_set(err, ERR_PG_WAL, "a history of %zu bytes is no timeline's", text.len);
    while (at < text.len && rc == 0) {
        const uint8_t *end = memchr(text.ptr + at, '\n', text.len - at);
        struct bytes line = BYTES_OF(text.ptr + at, (end ? (size_t)(end - text.ptr) : text.len) - at);
        struct wal_switch s;
        at += line.len + 1;
        number++;
        while (line.len && (line.ptr[0] == ' ' || line.ptr[0] == '\t' || line.ptr[0] == '\r')) line.ptr++, line.len--;
        if (line.len == 0 || line.ptr[0] == '#') continue;
        if (parse_switch(line, &s) < 0)
            rc = malformed(err, timeline, number, "does not name a timeline and where it was left");
        else if (s.timeline >= timeline || (n && s.timeline <= list[n - 1].timeline))
            rc = malformed(err, timeline, number, "is out of order");
        else if ((rc = mem_grow((void **)&list, &cap, n + 1, sizeof *list, err)) == 0)
            list[n++] = s;
    }
    if (rc == 0 && n == 0 && timeline > 1)
        rc =
            error_set(err, ERR_PG_WAL, "the history of timeline %" PRIu32 " does not say where it came from", timeline);
    if (rc < 0) {
        seam_free(list);
        return rc;
    }
    *ret = list;
    *ret_n = n;
    return 0;
}
