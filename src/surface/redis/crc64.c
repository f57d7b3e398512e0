#include "surface/redis/crc64.h"

#include <pthread.h>

#define POLYNOMIAL UINT64_C(0x95ac9329ac4bc9b5) /* its bits reversed */

static uint64_t table[16][256];
static pthread_once_t made = PTHREAD_ONCE_INIT;

static void make(void) {
    for (unsigned i = 0; i < 256; i++) {
        uint64_t c = i;
        for (unsigned k = 0; k < 8; k++) c = c & 1 ? c >> 1 ^ POLYNOMIAL : c >> 1;
        table[0][i] = c;
    }
    for (unsigned t = 1; t < 16; t++)
        for (unsigned i = 0; i < 256; i++) table[t][i] = table[t - 1][i] >> 8 ^ table[0][table[t - 1][i] & 255];
}

/* Sixteen bytes at a time: their look-ups do not wait for each other. */
uint64_t redis_crc64(uint64_t crc, struct bytes more) {
    const uint8_t *p = more.ptr;
    size_t n = more.len;
    pthread_once(&made, make);
    for (; n >= 16; p += 16, n -= 16) {
        uint64_t x = crc ^ get_u64(p), y = get_u64(p + 8);
        crc = table[15][x & 255] ^ table[14][x >> 8 & 255] ^ table[13][x >> 16 & 255] ^ table[12][x >> 24 & 255] ^
              table[11][x >> 32 & 255] ^ table[10][x >> 40 & 255] ^ table[9][x >> 48 & 255] ^ table[8][x >> 56] ^
              table[7][y & 255] ^ table[6][y >> 8 & 255] ^ table[5][y >> 16 & 255] ^ table[4][y >> 24 & 255] ^
              table[3][y >> 32 & 255] ^ table[2][y >> 40 & 255] ^ table[1][y >> 48 & 255] ^ table[0][y >> 56];
    }
    for (; n; p++, n--) crc = table[0][(crc ^ *p) & 255] ^ crc >> 8;
    return crc;
}
