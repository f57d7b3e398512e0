#include "surface/redis/rdb_pack.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#define END 0xff

static int bad(struct rdb_pack *p, struct error *err) {
    static const char *const names[] = {"listpack", "ziplist", "intset", "zipmap"};
    return rdb_bad(p->s.in, err, "a %s is damaged", names[p->form]);
}

static int more(struct rdb_pack *p, struct error *err) {
    if (p->piece.len) return 0;
    int r = rdb_str_next(&p->s, &p->piece, err);
    return r == 0 && p->piece.len == 0 ? bad(p, err) : r;
}

static int take(struct rdb_pack *p, uint8_t *out, size_t n, struct error *err) {
    if (p->piece.len >= n) {
        memcpy(out, p->piece.ptr, n);
        p->piece = BYTES_OF(p->piece.ptr + n, p->piece.len - n);
        return 0;
    }
    for (size_t i = 0; i < n; i++) {
        int r = more(p, err);
        if (r < 0) return r;
        out[i] = *p->piece.ptr;
        p->piece = BYTES_OF(p->piece.ptr + 1, p->piece.len - 1);
    }
    return 0;
}

static int text_piece(struct rdb_pack *p, uint64_t max, struct bytes *ret, struct error *err) {
    int r = more(p, err);
    if (r < 0) return r;
    size_t n = p->piece.len < max ? p->piece.len : (size_t)max;
    *ret = BYTES_OF(p->piece.ptr, n);
    p->piece = BYTES_OF(p->piece.ptr + n, p->piece.len - n);
    return 0;
}

static int skip(struct rdb_pack *p, uint64_t n, struct error *err) {
    struct bytes piece;
    int r = 0;
    for (; r == 0 && n; n -= piece.len)
        if ((r = text_piece(p, n, &piece, err)) < 0) break;
    return r;
}

int pack_open(struct rdb_in *in, enum pack_form form, struct rdb_pack *p, struct error *err) {
    uint8_t head[10];
    *p = (struct rdb_pack){.form = form};
    int r = rdb_str_open(in, &p->s, err);
    if (r < 0) return r;
    size_t n = form == PACK_LISTPACK ? 6 : form == PACK_ZIPLIST ? 10 : form == PACK_INTSET ? 8 : 1;
    if (p->s.len < n) return bad(p, err);
    if ((r = take(p, head, n, err)) < 0) return r;
    if ((form == PACK_LISTPACK || form == PACK_ZIPLIST) && get_u32(head) != p->s.len) return bad(p, err);
    if (form != PACK_INTSET) return 0;
    p->width = get_u32(head);
    p->left = get_u32(head + 4);
    if ((p->width != 2 && p->width != 4 && p->width != 8) || p->s.len != 8 + p->left * p->width) return bad(p, err);
    return 0;
}

static int64_t little(const uint8_t *b, size_t n) {
    uint64_t v = 0;
    for (size_t i = n; i-- > 0;) v = v << 8 | b[i];
    return (int64_t)(v << (64 - 8 * n)) >> (64 - 8 * n);
}

static int number(struct rdb_pack *p, size_t n, struct pack_element *e, struct error *err) {
    uint8_t b[8];
    int r = take(p, b, n, err);
    e->number = true;
    if (r == 0) e->v = little(b, n);
    return r;
}

static int at_end(struct rdb_pack *p, struct pack_element *e, struct error *err) {
    struct bytes rest = p->piece;
    int r = rest.len ? 0 : rdb_str_next(&p->s, &rest, err);
    if (r == 0 && rest.len) r = bad(p, err);
    e->end = true;
    return r;
}

/* How many bytes the length at an element's back takes. */
static size_t back_bytes(uint64_t n) {
    return n <= 127 ? 1 : n < 16383 ? 2 : n < 2097151 ? 3 : n < 268435455 ? 4 : 5;
}

static int listpack_next(struct rdb_pack *p, struct pack_element *e, struct error *err) {
    static const uint8_t widths[] = {2, 3, 4, 8};
    uint8_t b[8], first;
    int r = p->entry ? take(p, b, back_bytes(p->entry), err) : 0;
    if (r == 0) r = take(p, &first, 1, err);
    if (r < 0) return r;
    if (first == END) return at_end(p, e, err);
    size_t head = 1;
    if (first < 0x80) {
        e->number = true;
        e->v = first;
    } else if (first < 0xc0) {
        e->len = first & 63;
    } else if (first < 0xe0) {
        e->number = true;
        head = 2;
        r = take(p, b, 1, err);
        e->v = (int64_t)((first & 31) << 8 | b[0]);
        if (e->v >= 1 << 12) e->v -= 1 << 13;
    } else if (first < 0xf0) {
        head = 2;
        r = take(p, b, 1, err);
        e->len = (uint64_t)(first & 15) << 8 | b[0];
    } else if (first == 0xf0) {
        head = 5;
        r = take(p, b, 4, err);
        e->len = get_u32(b);
    } else if (first <= 0xf4) {
        head = 1 + (size_t)widths[first - 0xf1];
        r = number(p, head - 1, e, err);
    } else {
        r = bad(p, err);
    }
    p->entry = head + e->len;
    return r;
}

static int ziplist_next(struct rdb_pack *p, struct pack_element *e, struct error *err) {
    uint8_t b[4], first;
    int r = take(p, &first, 1, err);
    if (r < 0) return r;
    if (first == END) return at_end(p, e, err);
    if (first == 0xfe) r = take(p, b, 4, err);
    if (r == 0) r = take(p, &first, 1, err);
    if (r < 0) return r;
    if (first < 0x40) {
        e->len = first;
    } else if (first < 0x80) {
        r = take(p, b, 1, err);
        e->len = (uint64_t)(first & 63) << 8 | b[0];
    } else if (first < 0xc0) {
        r = take(p, b, 4, err);
        e->len = (uint64_t)b[0] << 24 | (uint64_t)b[1] << 16 | (uint64_t)b[2] << 8 | b[3];
    } else if (first == 0xc0) {
        r = number(p, 2, e, err);
    } else if (first == 0xd0) {
        r = number(p, 4, e, err);
    } else if (first == 0xe0) {
        r = number(p, 8, e, err);
    } else if (first == 0xf0) {
        r = number(p, 3, e, err);
    } else if (first == 0xfe) {
        r = number(p, 1, e, err);
    } else if (first >= 0xf1 && first <= 0xfd) {
        e->number = true;
        e->v = (first & 15) - 1;
    } else {
        r = bad(p, err);
    }
    return r;
}

static int zipmap_next(struct rdb_pack *p, struct pack_element *e, struct error *err) {
    uint8_t b[4], first;
    int r = p->spare ? skip(p, p->spare, err) : 0;
    p->spare = 0;
    if (r == 0) r = take(p, &first, 1, err);
    if (r < 0) return r;
    if (first == END) return p->value ? bad(p, err) : at_end(p, e, err);
    e->len = first;
    if (first == 0xfe) {
        r = take(p, b, 4, err);
        e->len = get_u32(b);
    }
    if (r == 0 && p->value) r = take(p, &p->spare, 1, err);
    p->value = !p->value;
    return r;
}

int pack_next(struct rdb_pack *p, struct pack_element *e, struct error *err) {
    *e = (struct pack_element){0};
    switch (p->form) {
    case PACK_LISTPACK:
        return listpack_next(p, e, err);
    case PACK_ZIPLIST:
        return ziplist_next(p, e, err);
    case PACK_ZIPMAP:
        return zipmap_next(p, e, err);
    case PACK_INTSET:
        break;
    }
    if (p->left == 0) return at_end(p, e, err);
    p->left--;
    return number(p, p->width, e, err);
}

int pack_need(struct rdb_pack *p, struct pack_element *e, struct error *err) {
    int r = pack_next(p, e, err);
    return r == 0 && e->end ? bad(p, err) : r;
}

int pack_mix(struct rdb_pack *p, const struct pack_element *e, struct mix *m, struct error *err) {
    char text[24];
    if (e->number) {
        mix_part(m, BYTES_OF(text, (size_t)snprintf(text, sizeof text, "%lld", (long long)e->v)));
        return 0;
    }
    for (uint64_t left = e->len; left;) {
        struct bytes piece;
        int r = text_piece(p, left, &piece, err);
        if (r < 0) return r;
        mix_part(m, piece);
        left -= piece.len;
    }
    return 0;
}

int pack_hash(struct rdb_pack *p, const struct pack_element *e, struct hash128 *ret, struct error *err) {
    struct mix m;
    if (!e->number && p->piece.len >= e->len) { /* it has come whole */
        *ret = mix_bytes(BYTES_OF(p->piece.ptr, (size_t)e->len));
        p->piece = BYTES_OF(p->piece.ptr + e->len, p->piece.len - e->len);
        return 0;
    }
    mix_begin(&m);
    int r = pack_mix(p, e, &m, err);
    if (r == 0) *ret = mix_end(&m);
    return r;
}

int rdb_score(const struct rdb_in *in, const char *text, double *ret, struct error *err) {
    char *end;
    *ret = strtod(text, &end);
    if (end == text || *end || isnan(*ret)) return rdb_bad(in, err, "a score is no number");
    return 0;
}

int pack_double(struct rdb_pack *p, const struct pack_element *e, double *ret, struct error *err) {
    char text[128];
    if (e->number) {
        *ret = (double)e->v;
        return 0;
    }
    if (e->len >= sizeof text) return bad(p, err);
    for (size_t at = 0; at < e->len;) {
        struct bytes piece;
        int r = text_piece(p, e->len - at, &piece, err);
        if (r < 0) return r;
        memcpy(text + at, piece.ptr, piece.len);
        at += piece.len;
    }
    text[e->len] = 0;
    return rdb_score(p->s.in, text, ret, err);
}
