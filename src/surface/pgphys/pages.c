/* PostgreSQL's page checksum, from the description at the head of its storage/checksum_impl.h: 32 FNV-1a sums side by
 * side, each with a last look at the bits that multiplication loses, folded into 16 bits that are never 0. */
#include "base/time.h"
#include "surface/pgphys/pgphys_internal.h"

#define LANES 32
#define ROW_BYTES (LANES * sizeof(uint32_t))
#define PRIME 16777619u
#define PAGE_LSN_AT 0
#define PAGE_CHECKSUM_AT 8
#define PAGE_UPPER_AT 14
#define POSITION_LOOKS 2
#define POSITION_PAUSE_MS 2
#define FAR_BYTES (UINT64_C(4) << 30)
#define FAR_NS (NS_PER_S / 10)

typedef uint32_t lane8 __attribute__((vector_size(32)));

static const uint32_t seeds[LANES] = {
    0x5B1F36E9, 0xB8525960, 0x02AB50AA, 0x1DE66D2A, 0x79FF467A, 0x9BB9F8A3, 0x217E7CD2, 0x83E13D2C,
    0xF8D4474F, 0xE39EB970, 0x42C6AE16, 0x993216FA, 0x7B093B5D, 0x98DAFF3C, 0xF718902A, 0x0B1C9CDB,
    0xE58F764B, 0x187636BC, 0x5D7B3BB1, 0xE73DE7DE, 0x92BEC979, 0xCCA6C0B2, 0x304A0979, 0x85AA43D4,
    0x783125BB, 0x6CA8EAA2, 0xE407EAC6, 0x4B5CFC3E, 0x9FBF8C76, 0x15CA20BE, 0xF2CA9FD3, 0x959BD756,
};

#define MIX(s, v)                                                                                                      \
    do {                                                                                                               \
        (s) ^= (v);                                                                                                    \
        (s) = (s)*PRIME ^ (s) >> 17;                                                                                   \
    } while (0)

/* Four sums of eight lanes stay in registers. */
static inline __attribute__((always_inline)) uint32_t sum_of(const uint8_t *page, uint32_t n) {
    uint8_t first[ROW_BYTES];
    lane8 s[4], v[4];
    memcpy(first, page, sizeof first);
    first[PAGE_CHECKSUM_AT] = first[PAGE_CHECKSUM_AT + 1] = 0;
    memcpy(s, seeds, sizeof s);
    for (uint32_t at = 0; at < n; at += ROW_BYTES) {
        memcpy(v, at ? page + at : first, sizeof v);
        MIX(s[0], v[0]);
        MIX(s[1], v[1]);
        MIX(s[2], v[2]);
        MIX(s[3], v[3]);
    }
    for (unsigned i = 0; i < 2; i++)
        for (unsigned k = 0; k < 4; k++) MIX(s[k], (lane8){0});
    lane8 all = s[0] ^ s[1] ^ s[2] ^ s[3];
    uint32_t sum = 0;
    for (unsigned i = 0; i < 8; i++) sum ^= all[i];
    return sum;
}

static uint32_t sum_plain(const uint8_t *page, uint32_t n) {
    return sum_of(page, n);
}

#ifdef __x86_64__
__attribute__((target("avx2"))) static uint32_t sum_avx2(const uint8_t *page, uint32_t n) {
    return sum_of(page, n);
}
static uint32_t sum(const uint8_t *page, uint32_t n) {
    return __builtin_cpu_supports("avx2") ? sum_avx2(page, n) : sum_plain(page, n);
}
#else
static uint32_t sum(const uint8_t *page, uint32_t n) {
    return sum_plain(page, n);
}
#endif

uint16_t pgphys_page_checksum(const uint8_t *page, uint32_t block_bytes, uint32_t block) {
    return (uint16_t)((sum(page, block_bytes) ^ block) % 65535 + 1);
}

static bool all_zero(const uint8_t *p, size_t n) {
    return p[0] == 0 && memcmp(p, p + 1, n - 1) == 0;
}

void pgphys_pages_check(struct pgphys_pages *p, uint32_t at, struct bytes data) {
    for (; data.len >= p->block_bytes; data = BYTES_OF(data.ptr + p->block_bytes, data.len - p->block_bytes), at++) {
        const uint8_t *page = data.ptr;
        const uint64_t lsn = (uint64_t)get_u32(page + PAGE_LSN_AT) << 32 | get_u32(page + PAGE_LSN_AT + 4);
        const uint32_t block = p->first_block + at;
        if (get_u16(page + PAGE_UPPER_AT) == 0 && all_zero(page, p->block_bytes)) {
            p->skipped++;
            continue;
        }
        const bool right = pgphys_page_checksum(page, p->block_bytes, block) == get_u16(page + PAGE_CHECKSUM_AT);
        if (!right && lsn >= p->start_lsn && (!p->position || pgphys_position_reaches(p->position, lsn))) {
            p->skipped++;
            continue;
        }
        p->checked++;
        if (right) continue;
        if (p->bad_count < sizeof p->bad / sizeof *p->bad) p->bad[p->bad_count] = block;
        p->bad_count++;
    }
}

void pgphys_position_init(struct pgphys_position *p, PGconn *c) {
    *p = (struct pgphys_position){.c = c};
    pthread_mutex_init(&p->lock, NULL);
}

void pgphys_position_free(struct pgphys_position *p) {
    if (p->c) pthread_mutex_destroy(&p->lock);
    p->c = NULL;
}

int pgphys_position_told(struct pgphys_position *p, struct error *err) {
    pthread_mutex_lock(&p->lock);
    if (p->err.code) *err = p->err;
    pthread_mutex_unlock(&p->lock);
    return err->code ? -(int)err->code : 0;
}

/* A standby tells of a record when all of it is replayed, and its page may be on disk by then. */
bool pgphys_position_reaches(struct pgphys_position *p, uint64_t lsn) {
    pthread_mutex_lock(&p->lock);
    for (int i = 0; i < POSITION_LOOKS && p->at < lsn && !p->err.code; i++) {
        /* so far that no server writes it meanwhile: of many such pages each would be a question */
        if (lsn - p->at > FAR_BYTES && time_monotonic_ns() - p->asked_ns < FAR_NS) break;
        if (i) pgphys_pause(POSITION_PAUSE_MS);
        (void)!pgphys_wal_position(p->c, &p->at, &p->err);
        p->asked_ns = time_monotonic_ns();
    }
    const bool is = p->at >= lsn || p->err.code;
    pthread_mutex_unlock(&p->lock);
    return is;
}
