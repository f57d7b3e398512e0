#include "surface/redis/redis_internal.h"

/* One class "[…]" at p (after the bracket); *ret_p is after it. */
static bool class_has(const uint8_t *p, const uint8_t *end, uint8_t c, const uint8_t **ret_p) {
    bool not = p < end && *p == '^', hit = false;
    if (not ) p++;
    for (; p < end && *p != ']'; p++) {
        if (*p == '\\' && end - p >= 2) {
            p++;
            hit |= *p == c;
        } else if (end - p >= 3 && p[1] == '-') {
            uint8_t a = p[0] < p[2] ? p[0] : p[2], b = p[0] < p[2] ? p[2] : p[0];
            hit |= c >= a && c <= b;
            p += 2;
        } else {
            hit |= *p == c;
        }
    }
    *ret_p = p < end ? p + 1 : p;
    return hit != not ;
}

static bool one_matches(const uint8_t *p, const uint8_t *end, uint8_t c, const uint8_t **ret_p) {
    if (*p == '?') {
        *ret_p = p + 1;
        return true;
    }
    if (*p == '[') return class_has(p + 1, end, c, ret_p);
    if (*p == '\\' && end - p >= 2) p++;
    *ret_p = p + 1;
    return *p == c;
}

/* Goes back to the last star only: linear in the text for each star, whatever the pattern. */
bool redis_glob(struct bytes pattern, struct bytes text) {
    const uint8_t *p = pattern.ptr, *pe = p + pattern.len, *t = text.ptr, *te = t + text.len;
    const uint8_t *star = NULL, *again = NULL, *next;
    while (t < te) {
        if (p < pe && *p == '*') {
            star = ++p;
            again = t;
        } else if (p < pe && one_matches(p, pe, *t, &next)) {
            p = next;
            t++;
        } else if (star) {
            p = star;
            t = ++again;
        } else {
            return false;
        }
    }
    while (p < pe && *p == '*') p++;
    return p == pe;
}
