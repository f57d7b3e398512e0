#include "base/crc32c.h"
#include "harness/claims.h"
#include <stdlib.h>

static uint32_t by_bits(const uint8_t *p, size_t n) {
    uint32_t c = UINT32_MAX;
    for (size_t i = 0; i < n; i++) {
        c ^= p[i];
        for (int bit = 0; bit < 8; bit++) c = c & 1 ? c >> 1 ^ UINT32_C(0x82f63b78) : c >> 1;
    }
    return ~c;
}

static void known_ones_come_out(void **s) {
    (void)s;
    uint8_t p[48];
    static uint32_t (*const ways[])(uint32_t, struct bytes) = {crc32c, crc32c_plain};
    for (size_t i = 0; i < 2; i++) {
        assert_int_equal(ways[i](0, BYTES_OF(NULL, 0)), 0);
        assert_int_equal(ways[i](0, BYTES_STR("123456789")), 0xe3069283); /* the catalogue's check value */
        /* RFC 3720, appendix B.4 */
        memset(p, 0, 32);
        assert_int_equal(ways[i](0, BYTES_OF(p, 32)), 0x8a9136aa);
        memset(p, 0xff, 32);
        assert_int_equal(ways[i](0, BYTES_OF(p, 32)), 0x62a8ab43);
        for (unsigned k = 0; k < 32; k++) p[k] = (uint8_t)k;
        assert_int_equal(ways[i](0, BYTES_OF(p, 32)), 0x46dd794e);
    }
}

/* Lengths about those at which three runs are taken at once, and pieces that begin anywhere. */
static void both_ways_agree_in_any_pieces(void **s) {
    (void)s;
    enum { ALL = 3 * 16384 * 3 + 77 };
    uint8_t *data = malloc(ALL);
    assert_non_null(data);
    uint32_t x = 1;
    for (size_t i = 0; i < ALL; i++) data[i] = (uint8_t)((x = x * 1103515245u + 12345u) >> 16);
    const uint32_t whole = by_bits(data, ALL);
    static const size_t cuts[] = {0, 1, 7, 8, 4096, 3 * 16384 - 1, 3 * 16384, 3 * 16384 + 9, 2 * 3 * 16384 + 5, ALL};
    for (size_t i = 0; i < sizeof cuts / sizeof *cuts; i++) {
        const struct bytes a = BYTES_OF(data, cuts[i]), b = BYTES_OF(data + cuts[i], ALL - cuts[i]);
        assert_int_equal(crc32c(0, a), by_bits(data, cuts[i]));
        assert_int_equal(crc32c_plain(0, a), crc32c(0, a));
        assert_int_equal(crc32c(crc32c(0, a), b), whole);
        assert_int_equal(crc32c_plain(crc32c_plain(0, a), b), whole);
    }
    free(data);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(known_ones_come_out),
        cmocka_unit_test(both_ways_agree_in_any_pieces),
    };
    return cmocka_run_group_tests_name("crc32c", tests, NULL, NULL);
}
