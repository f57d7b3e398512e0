#include "base/crc32c.h"

#include <pthread.h>

#define POLYNOMIAL UINT32_C(0x82f63b78) /* the lowest bit is the highest power */

static uint32_t table[8][256]; /* [k]: of a byte that k bytes follow */
static pthread_once_t made = PTHREAD_ONCE_INIT;

static void make(void) {
    for (uint32_t i = 0; i < 256; i++) {
        uint32_t c = i;
        for (int bit = 0; bit < 8; bit++) c = c & 1 ? c >> 1 ^ POLYNOMIAL : c >> 1;
        table[0][i] = c;
    }
    for (uint32_t i = 0; i < 256; i++)
        for (int k = 1; k < 8; k++) table[k][i] = table[k - 1][i] >> 8 ^ table[0][table[k - 1][i] & 255];
}

uint32_t crc32c_plain(uint32_t before, struct bytes in) {
    uint32_t c = ~before;
    const uint8_t *p = in.ptr;
    size_t n = in.len;
    pthread_once(&made, make);
    for (; n >= 8; n -= 8, p += 8) {
        const uint64_t v = get_u64(p) ^ c;
        c = 0;
        for (int k = 0; k < 8; k++) c ^= table[7 - k][v >> 8 * k & 255];
    }
    for (; n > 0; n--, p++) c = c >> 8 ^ table[0][(c ^ *p) & 255];
    return ~c;
}

#if defined(__x86_64__)
#include <nmmintrin.h>

#define RUN_BYTES 16384u
#define BEHIND_RUN UINT32_C(0xbf455269) /* x to the power of 8 * RUN_BYTES, modulo the polynomial */

/* The product of two remainders. */
static uint32_t times(uint32_t a, uint32_t b) {
    uint32_t r = 0;
    for (uint32_t bit = UINT32_C(1) << 31; bit; bit >>= 1) {
        if (a & bit) r ^= b;
        b = b & 1 ? b >> 1 ^ POLYNOMIAL : b >> 1;
    }
    return r;
}

/* The instruction takes three cycles and can be begun in each: three runs of bytes go side by side. */
__attribute__((target("sse4.2"))) static uint32_t by_instruction(uint32_t before, struct bytes in) {
    uint64_t c = (uint32_t)~before;
    const uint8_t *p = in.ptr;
    size_t n = in.len;
    for (; n >= 3 * RUN_BYTES; n -= 3 * RUN_BYTES, p += 3 * RUN_BYTES) {
        uint64_t d = 0, e = 0;
        for (size_t i = 0; i < RUN_BYTES; i += 8) {
            c = _mm_crc32_u64(c, get_u64(p + i));
            d = _mm_crc32_u64(d, get_u64(p + RUN_BYTES + i));
            e = _mm_crc32_u64(e, get_u64(p + 2 * RUN_BYTES + i));
        }
        c = times(BEHIND_RUN, times(BEHIND_RUN, (uint32_t)c) ^ (uint32_t)d) ^ e;
    }
    for (; n >= 8; n -= 8, p += 8) c = _mm_crc32_u64(c, get_u64(p));
    uint32_t last = (uint32_t)c;
    for (; n > 0; n--, p++) last = _mm_crc32_u8(last, *p);
    return ~last;
}

uint32_t crc32c(uint32_t before, struct bytes in) {
    return __builtin_cpu_supports("sse4.2") ? by_instruction(before, in) : crc32c_plain(before, in);
}
#else
uint32_t crc32c(uint32_t before, struct bytes in) {
    return crc32c_plain(before, in);
}
#endif
