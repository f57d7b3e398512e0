#include "surface/redis/rdb.h"
#include "surface/redis/rdb_pack.h"

#include <math.h>

const char *const rdb_class_names[RDB_CLASSES] = {"string", "list", "set", "zset", "hash", "stream", "module"};

enum {
    T_STRING,
    T_LIST,
    T_SET,
    T_ZSET,
    T_HASH,
    T_ZSET_2,
    T_MODULE_OLD,
    T_MODULE_2,
    T_HASH_ZIPMAP = 9,
    T_LIST_ZIPLIST,
    T_SET_INTSET,
    T_ZSET_ZIPLIST,
    T_HASH_ZIPLIST,
    T_LIST_QUICKLIST,
    T_STREAM,
    T_HASH_LISTPACK,
    T_ZSET_LISTPACK,
    T_LIST_QUICKLIST_2,
    T_STREAM_2,
    T_SET_LISTPACK,
    T_STREAM_3,
    T_HASH_TTL_EARLY,
    T_HASH_LISTPACK_TTL_EARLY,
    T_HASH_TTL,
    T_HASH_LISTPACK_TTL
};

static uint64_t score_bits(double v) {
    uint64_t bits;
    if (v == 0) v = 0; /* there is one zero for a client */
    memcpy(&bits, &v, sizeof bits);
    return bits;
}

/* The hash of a few numbers as one run. */
static struct hash128 numbers_hash(const uint64_t *v, size_t n) {
    uint8_t p[6 * 8];
    for (size_t i = 0; i < n; i++) put_u64(p + 8 * i, v[i]);
    return mix_bytes(BYTES_OF(p, 8 * n));
}

static struct hash128 pair_hash(struct hash128 a, struct hash128 b, int64_t expires_ms) {
    const uint64_t v[] = {a.lo, a.hi, b.lo, b.hi, (uint64_t)expires_ms};
    return numbers_hash(v, expires_ms >= 0 ? 5 : 4);
}

static struct hash128 member_hash(struct hash128 member, double score) {
    const uint64_t v[] = {member.lo, member.hi, score_bits(score)};
    return numbers_hash(v, 3);
}

/* ---- containers of strings ---- */
static int list(struct rdb_in *in, struct mix *m, struct error *err) {
    uint64_t n;
    struct hash128 h;
    int r = rdb_plain_length(in, &n, err);
    for (; r == 0 && n; n--) {
        r = rdb_string_hash(in, &h, err);
        if (r == 0) mix_hash(m, h);
    }
    return r;
}

static int set(struct rdb_in *in, struct hash128 *sum, struct error *err) {
    uint64_t n;
    struct hash128 h;
    int r = rdb_plain_length(in, &n, err);
    for (; r == 0 && n; n--) {
        r = rdb_string_hash(in, &h, err);
        if (r == 0) hash128_add(sum, h);
    }
    return r;
}

static int old_score(struct rdb_in *in, double *ret, struct error *err) {
    uint8_t n;
    char text[256];
    int r = rdb_take(in, &n, 1, err);
    if (r < 0) return r;
    if (n >= 253) {
        *ret = n == 253 ? NAN : n == 254 ? INFINITY : -INFINITY;
        return n == 253 ? rdb_bad(in, err, "a score is no number") : 0;
    }
    if ((r = rdb_take(in, text, n, err)) < 0) return r;
    text[n] = 0;
    return rdb_score(in, text, ret, err);
}

static int zset(struct rdb_in *in, bool binary, struct hash128 *sum, struct error *err) {
    uint64_t n;
    int r = rdb_plain_length(in, &n, err);
    for (; r == 0 && n; n--) {
        struct hash128 h;
        uint8_t b[8];
        double v = 0;
        r = rdb_string_hash(in, &h, err);
        if (r == 0) r = binary ? rdb_take(in, b, 8, err) : old_score(in, &v, err);
        if (r < 0) break;
        if (binary) {
            uint64_t bits = get_u64(b);
            memcpy(&v, &bits, 8);
        }
        hash128_add(sum, member_hash(h, v));
    }
    return r;
}

static int hash(struct rdb_in *in, bool timed, struct hash128 *sum, struct error *err) {
    uint8_t b[8];
    uint64_t n, least = 0;
    int r = timed ? rdb_take(in, b, 8, err) : 0;
    if (r == 0 && timed) least = get_u64(b);
    if (r == 0) r = rdb_plain_length(in, &n, err);
    for (; r == 0 && n; n--) {
        struct hash128 field, value;
        uint64_t ttl = 0;
        if (timed) r = rdb_plain_length(in, &ttl, err);
        if (r == 0) r = rdb_string_hash(in, &field, err);
        if (r == 0) r = rdb_string_hash(in, &value, err);
        if (r == 0) hash128_add(sum, pair_hash(field, value, ttl ? (int64_t)(least + ttl - 1) : -1));
    }
    return r;
}

/* ---- containers in one string ---- */
static int packed_list(struct rdb_in *in, enum pack_form form, struct mix *m, struct error *err) {
    struct rdb_pack p;
    struct pack_element e;
    struct hash128 h;
    int r = pack_open(in, form, &p, err);
    while (r == 0 && (r = pack_next(&p, &e, err)) == 0 && !e.end) {
        r = pack_hash(&p, &e, &h, err);
        if (r == 0) mix_hash(m, h);
    }
    return r;
}

static int packed_set(struct rdb_in *in, enum pack_form form, struct hash128 *sum, struct error *err) {
    struct rdb_pack p;
    struct pack_element e;
    struct hash128 h;
    int r = pack_open(in, form, &p, err);
    while (r == 0 && (r = pack_next(&p, &e, err)) == 0 && !e.end) {
        r = pack_hash(&p, &e, &h, err);
        if (r == 0) hash128_add(sum, h);
    }
    return r;
}

static int packed_zset(struct rdb_in *in, enum pack_form form, struct hash128 *sum, struct error *err) {
    struct rdb_pack p;
    struct pack_element e;
    struct hash128 h;
    double v;
    int r = pack_open(in, form, &p, err);
    while (r == 0 && (r = pack_next(&p, &e, err)) == 0 && !e.end) {
        r = pack_hash(&p, &e, &h, err);
        if (r == 0) r = pack_need(&p, &e, err);
        if (r == 0) r = pack_double(&p, &e, &v, err);
        if (r == 0) hash128_add(sum, member_hash(h, v));
    }
    return r;
}

static int packed_hash(struct rdb_in *in, enum pack_form form, bool timed, struct hash128 *sum, struct error *err) {
    struct rdb_pack p;
    struct pack_element e;
    struct hash128 field, value;
    uint8_t least[8]; /* said again with each field */
    int r = timed ? rdb_take(in, least, 8, err) : 0;
    if (r == 0) r = pack_open(in, form, &p, err);
    while (r == 0 && (r = pack_next(&p, &e, err)) == 0 && !e.end) {
        int64_t expires = -1;
        r = pack_hash(&p, &e, &field, err);
        if (r == 0) r = pack_need(&p, &e, err);
        if (r == 0) r = pack_hash(&p, &e, &value, err);
        if (r == 0 && timed) {
            r = pack_need(&p, &e, err);
            if (r == 0 && !e.number) r = rdb_bad(in, err, "a field's time is no number");
            if (r == 0 && e.v) expires = e.v;
        }
        if (r == 0) hash128_add(sum, pair_hash(field, value, expires));
    }
    return r;
}

static int quicklist(struct rdb_in *in, bool second, struct mix *m, struct error *err) {
    uint64_t n, container = 2;
    int r = rdb_plain_length(in, &n, err);
    for (; r == 0 && n; n--) {
        struct hash128 h;
        if (second) r = rdb_plain_length(in, &container, err);
        if (r < 0) break;
        if (container == 1) {
            r = rdb_string_hash(in, &h, err);
            if (r == 0) mix_hash(m, h);
        } else if (container == 2) {
            r = packed_list(in, second ? PACK_LISTPACK : PACK_ZIPLIST, m, err);
        } else {
            r = rdb_bad(in, err, "a list has a node of the unknown container %llu", (unsigned long long)container);
        }
    }
    return r;
}

/* ---- modules ---- */
int rdb_module_parts(struct rdb_in *in, struct mix *m, struct error *err) {
    enum { END, SINT, UINT, FLOAT, DOUBLE, TEXT };
    for (;;) {
        uint64_t opcode, v;
        uint8_t b[8];
        struct hash128 h;
        int r = rdb_plain_length(in, &opcode, err);
        if (r < 0 || opcode == END) return r;
        mix_u64(m, opcode);
        switch (opcode) {
        case SINT:
        case UINT:
            r = rdb_plain_length(in, &v, err);
            if (r == 0) mix_u64(m, v);
            break;
        case FLOAT:
        case DOUBLE:
            r = rdb_take(in, b, opcode == FLOAT ? 4 : 8, err);
            if (r == 0) mix_part(m, BYTES_OF(b, opcode == FLOAT ? 4 : 8));
            break;
        case TEXT:
            r = rdb_string_hash(in, &h, err);
            if (r == 0) mix_hash(m, h);
            break;
        default:
            r = rdb_bad(in, err, "a module's value has a part of the unknown kind %llu", (unsigned long long)opcode);
        }
        if (r < 0) return r;
    }
}

static int module(struct rdb_in *in, struct mix *m, struct error *err) {
    uint64_t id;
    int r = rdb_plain_length(in, &id, err);
    if (r < 0) return r;
    mix_u64(m, id >> 10); /* the name; the rest is the version of its encoding */
    return rdb_module_parts(in, m, err);
}

static enum rdb_class class_of(uint8_t type) {
    static const uint8_t classes[] = {
        [T_STRING] = RDB_STRING,
        [T_LIST] = RDB_LIST,
        [T_SET] = RDB_SET,
        [T_ZSET] = RDB_ZSET,
        [T_HASH] = RDB_HASH,
        [T_ZSET_2] = RDB_ZSET,
        [T_MODULE_OLD] = RDB_CLASSES,
        [T_MODULE_2] = RDB_MODULE,
        [8] = RDB_CLASSES,
        [T_HASH_ZIPMAP] = RDB_HASH,
        [T_LIST_ZIPLIST] = RDB_LIST,
        [T_SET_INTSET] = RDB_SET,
        [T_ZSET_ZIPLIST] = RDB_ZSET,
        [T_HASH_ZIPLIST] = RDB_HASH,
        [T_LIST_QUICKLIST] = RDB_LIST,
        [T_STREAM] = RDB_STREAM,
        [T_HASH_LISTPACK] = RDB_HASH,
        [T_ZSET_LISTPACK] = RDB_ZSET,
        [T_LIST_QUICKLIST_2] = RDB_LIST,
        [T_STREAM_2] = RDB_STREAM,
        [T_SET_LISTPACK] = RDB_SET,
        [T_STREAM_3] = RDB_STREAM,
        [T_HASH_TTL_EARLY] = RDB_CLASSES,
        [T_HASH_LISTPACK_TTL_EARLY] = RDB_CLASSES,
        [T_HASH_TTL] = RDB_HASH,
        [T_HASH_LISTPACK_TTL] = RDB_HASH,
    };
    return type < sizeof classes ? (enum rdb_class)classes[type] : RDB_CLASSES;
}

static int unknown(struct rdb_in *in, uint8_t type, struct error *err) {
    if (type == T_MODULE_OLD) return rdb_bad(in, err, "a value is of type 6, a module's of before Redis 4");
    if (type == T_HASH_TTL_EARLY || type == T_HASH_LISTPACK_TTL_EARLY)
        return rdb_bad(in, err,
                       "a value is of type %u: a hash with times as a server that was no release wrote it, or Valkey 9",
                       type);
    return rdb_bad(in, err, "a value is of type %u, which is not known here", type);
}

static int digest(struct rdb_in *in, uint8_t type, struct mix *m, struct hash128 *sum, struct error *err) {
    switch (type) {
    case T_STRING:
        return rdb_string_mix(in, m, err);
    case T_LIST:
        return list(in, m, err);
    case T_SET:
        return set(in, sum, err);
    case T_ZSET:
        return zset(in, false, sum, err);
    case T_ZSET_2:
        return zset(in, true, sum, err);
    case T_HASH:
        return hash(in, false, sum, err);
    case T_HASH_TTL:
        return hash(in, true, sum, err);
    case T_MODULE_2:
        return module(in, m, err);
    case T_HASH_ZIPMAP:
        return packed_hash(in, PACK_ZIPMAP, false, sum, err);
    case T_HASH_ZIPLIST:
        return packed_hash(in, PACK_ZIPLIST, false, sum, err);
    case T_HASH_LISTPACK:
        return packed_hash(in, PACK_LISTPACK, false, sum, err);
    case T_HASH_LISTPACK_TTL:
        return packed_hash(in, PACK_LISTPACK, true, sum, err);
    case T_LIST_ZIPLIST:
        return packed_list(in, PACK_ZIPLIST, m, err);
    case T_LIST_QUICKLIST:
        return quicklist(in, false, m, err);
    case T_LIST_QUICKLIST_2:
        return quicklist(in, true, m, err);
    case T_SET_INTSET:
        return packed_set(in, PACK_INTSET, sum, err);
    case T_SET_LISTPACK:
        return packed_set(in, PACK_LISTPACK, sum, err);
    case T_ZSET_ZIPLIST:
        return packed_zset(in, PACK_ZIPLIST, sum, err);
    case T_ZSET_LISTPACK:
        return packed_zset(in, PACK_LISTPACK, sum, err);
    default:
        return unknown(in, type, err);
    }
}

int rdb_value(struct rdb_in *in, uint8_t type, enum rdb_class *ret_class, struct hash128 *ret, struct error *err) {
    struct mix m;
    struct hash128 sum = {0};
    enum rdb_class c = class_of(type);
    *ret_class = c;
    if (c == RDB_STREAM) return rdb_stream(in, type, ret, err);
    mix_begin(&m);
    int r = digest(in, type, &m, &sum, err);
    if (r < 0) return r;
    *ret = c == RDB_SET || c == RDB_ZSET || c == RDB_HASH ? sum : mix_end(&m);
    return 0;
}

struct hash128 rdb_key_hash(struct bytes name, enum rdb_class c, int64_t expires_ms, struct hash128 content) {
    const struct hash128 n = mix_bytes(name);
    const uint64_t v[] = {n.lo, n.hi, (uint64_t)c, (uint64_t)expires_ms, content.lo, content.hi};
    return numbers_hash(v, 6);
}
