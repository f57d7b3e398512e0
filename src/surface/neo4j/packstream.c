#include "surface/neo4j/packstream.h"

static int garbled(struct error *err, const char *what) {
    return error_set(err, ERR_NEO4J_PROTOCOL, "%s", what);
}

static size_t left(const struct ps_in *in) {
    return (size_t)(in->end - in->at);
}

/* n big-endian bytes. */
static int take(struct ps_in *in, unsigned n, uint64_t *ret, struct error *err) {
    uint64_t v = 0;
    if (left(in) < n) return garbled(err, "a packed value ends early");
    for (unsigned i = 0; i < n; i++) v = v << 8 | in->at[i];
    in->at += n;
    *ret = v;
    return 0;
}

static int take_text(struct ps_in *in, uint64_t n, struct ps_value *ret, struct error *err) {
    if (left(in) < n) return garbled(err, "a packed text is longer than what holds it");
    ret->text = BYTES_OF(in->at, (size_t)n);
    in->at += n;
    return 0;
}

static int counted(struct ps_in *in, uint64_t n, unsigned each, struct ps_value *ret, struct error *err) {
    if (n > left(in) / each) return garbled(err, "a packed list is longer than what holds it");
    ret->count = (uint32_t)n;
    return 0;
}

static int take_int(struct ps_in *in, unsigned n, struct ps_value *ret, struct error *err) {
    uint64_t v = 0;
    int r = take(in, n, &v, err);
    unsigned up = 64 - 8 * n;
    ret->kind = PACK_INT;
    ret->number = (int64_t)(v << up) >> up;
    return r;
}

static int take_struct(struct ps_in *in, unsigned n, struct ps_value *ret, struct error *err) {
    uint64_t tag = 0;
    int r = take(in, 1, &tag, err);
    ret->kind = PACK_STRUCT;
    ret->tag = (uint8_t)tag;
    return r == 0 ? counted(in, n, 1, ret, err) : r;
}

/* A kind whose length stands in 1, 2 or 4 bytes. */
static int sized(struct ps_in *in, enum ps_kind kind, unsigned width, struct ps_value *ret, struct error *err) {
    uint64_t n = 0;
    int r = take(in, width, &n, err);
    ret->kind = kind;
    if (r < 0) return r;
    if (kind == PACK_LIST) return counted(in, n, 1, ret, err);
    return kind == PACK_MAP ? counted(in, n, 2, ret, err) : take_text(in, n, ret, err);
}

int ps_next(struct ps_in *in, struct ps_value *ret, struct error *err) {
    if (in->at == in->end) return garbled(err, "a packed value is missing");
    uint8_t m = *in->at++;
    *ret = (struct ps_value){.kind = PACK_INT, .number = (int8_t)m};
    if (m < 0x80 || m >= 0xF0) return 0;
    switch (m & 0xF0) {
    case 0x80:
        ret->kind = PACK_TEXT;
        return take_text(in, m & 0x0F, ret, err);
    case 0x90:
        ret->kind = PACK_LIST;
        return counted(in, m & 0x0F, 1, ret, err);
    case 0xA0:
        ret->kind = PACK_MAP;
        return counted(in, m & 0x0F, 2, ret, err);
    case 0xB0:
        return take_struct(in, m & 0x0F, ret, err);
    }
    switch (m) {
    case 0xC0:
        ret->kind = PACK_NULL;
        return 0;
    case 0xC1:
        ret->kind = PACK_FLOAT;
        return take(in, 8, &ret->bits, err);
    case 0xC2:
    case 0xC3:
        ret->kind = PACK_BOOL;
        ret->flag = m == 0xC3;
        return 0;
    case 0xC8:
    case 0xC9:
    case 0xCA:
    case 0xCB:
        return take_int(in, 1u << (m - 0xC8), ret, err);
    case 0xCC:
    case 0xCD:
    case 0xCE:
        return sized(in, PACK_BYTES, 1u << (m - 0xCC), ret, err);
    case 0xD0:
    case 0xD1:
    case 0xD2:
        return sized(in, PACK_TEXT, 1u << (m - 0xD0), ret, err);
    case 0xD4:
    case 0xD5:
    case 0xD6:
        return sized(in, PACK_LIST, 1u << (m - 0xD4), ret, err);
    case 0xD8:
    case 0xD9:
    case 0xDA:
        return sized(in, PACK_MAP, 1u << (m - 0xD8), ret, err);
    }
    return error_set(err, ERR_NEO4J_PROTOCOL, "no packed value begins with byte %02x", m);
}

int ps_need(struct ps_in *in, enum ps_kind kind, const char *what, struct ps_value *ret, struct error *err) {
    int r = ps_next(in, ret, err);
    if (r < 0) return error_wrap(err, "%s", what);
    return ret->kind == kind ? 0 : error_set(err, ERR_NEO4J_PROTOCOL, "%s is of another kind than expected", what);
}

/* Members still to come are counted a level, so that nothing recurses. */
int ps_skip(struct ps_in *in, struct bytes *ret, struct error *err) {
    uint64_t open[PACK_DEPTH_MAX];
    const uint8_t *from = in->at;
    unsigned depth = 0;
    for (;;) {
        struct ps_value v;
        int r = ps_next(in, &v, err);
        if (r < 0) return r;
        uint64_t members = v.kind == PACK_MAP ? 2 * (uint64_t)v.count : v.count;
        if (members) {
            if (depth == PACK_DEPTH_MAX) return garbled(err, "a packed value is nested too deep");
            open[depth++] = members;
            continue;
        }
        while (depth && --open[depth - 1] == 0) depth--;
        if (depth == 0) break;
    }
    if (ret) *ret = BYTES_OF(from, (size_t)(in->at - from));
    return 0;
}

int ps_find(struct bytes map, const char *key, struct ps_in *ret, bool *ret_found, struct error *err) {
    struct ps_in in = ps_of(map);
    struct ps_value v;
    *ret_found = false;
    int r = ps_next(&in, &v, err);
    if (r < 0 || v.kind != PACK_MAP) return r;
    for (uint32_t n = v.count; n; n--) {
        struct ps_value k;
        if ((r = ps_need(&in, PACK_TEXT, "a key", &k, err)) < 0) return r;
        if (bytes_equal(k.text, BYTES_STR(key))) {
            *ret = in;
            *ret_found = true;
            return 0;
        }
        if ((r = ps_skip(&in, NULL, err)) < 0) return r;
    }
    return 0;
}
