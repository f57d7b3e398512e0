#include "surface/files/glob.h"

bool glob_is_plain(struct bytes p) {
    for (size_t i = 0; i < p.len; i++)
        if (memchr("*?[\\", p.ptr[i], 4)) return false;
    return true;
}

/* Matches one byte against the set that opens at p[at]; 0 when it is not a set, else the index after it. */
static size_t set_match(struct bytes p, size_t at, uint8_t c, bool *ret_hit) {
    size_t i = at + 1;
    bool negated = i < p.len && (p.ptr[i] == '!' || p.ptr[i] == '^'), hit = false;
    if (negated) i++;
    for (size_t first = i; i < p.len && (p.ptr[i] != ']' || i == first);) {
        if (p.ptr[i] == '\\' && i + 1 < p.len) i++;
        uint8_t low = p.ptr[i++], high = low;
        if (i + 1 < p.len && p.ptr[i] == '-' && p.ptr[i + 1] != ']') {
            i++;
            if (p.ptr[i] == '\\' && i + 1 < p.len) i++;
            high = p.ptr[i++];
        }
        if (c >= low && c <= high) hit = true;
    }
    if (i >= p.len) return 0;
    *ret_hit = hit != negated && c != '/';
    return i + 1;
}

/* Matches one byte of the name against the element at p[at], which is no star; 0 when it does not fit, else the index
 * after the element. */
static size_t element_match(struct bytes p, size_t at, uint8_t c) {
    uint8_t e = p.ptr[at];
    bool hit = false;
    if (e == '?') return c != '/' ? at + 1 : 0;
    if (e == '[') {
        size_t next = set_match(p, at, c, &hit);
        if (next) return hit ? next : 0;
    }
    if (e == '\\' && at + 1 < p.len) return p.ptr[at + 1] == c ? at + 2 : 0;
    return e == c ? at + 1 : 0;
}

bool glob_match(struct bytes p, struct bytes name) {
    /* To go back to the latest star of each kind is enough: what stands before it already matched as early as it can,
     * and a later end could not help what follows. A '*' that would have to cross a '/' gives way to the '**' before
     * it. */
    size_t pi = 0, ni = 0, one_p = SIZE_MAX, one_n = 0, two_p = SIZE_MAX, two_n = 0;
    for (;;) {
        if (pi < p.len && p.ptr[pi] == '*') {
            if (pi + 1 < p.len && p.ptr[pi + 1] == '*') {
                while (pi < p.len && p.ptr[pi] == '*') pi++;
                two_p = pi;
                two_n = ni;
                one_p = SIZE_MAX;
                /* a "**" that is a whole component may stand for no component at all, its '/' included */
                bool starts = pi == 2 || p.ptr[pi - 3] == '/';
                if (starts && pi < p.len && p.ptr[pi] == '/' && (ni == 0 || name.ptr[ni - 1] == '/')) pi++;
            } else {
                one_p = ++pi;
                one_n = ni;
            }
            continue;
        }
        if (ni == name.len) {
            if (pi == p.len) return true;
        } else if (pi < p.len) {
            size_t next = element_match(p, pi, name.ptr[ni]);
            if (next) {
                pi = next;
                ni++;
                continue;
            }
        }
        if (one_p != SIZE_MAX && one_n < name.len && name.ptr[one_n] != '/') {
            pi = one_p;
            ni = ++one_n;
        } else if (two_p != SIZE_MAX && two_n < name.len) {
            pi = two_p;
            ni = ++two_n;
            one_p = SIZE_MAX;
        } else {
            return false;
        }
    }
}
