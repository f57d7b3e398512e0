/* RDB files of versions 1 to 12 (Redis to 7.4, Valkey 8), read as they arrive, and what they hold told apart. Nothing
 * is kept here: a value passes by as its own bytes while its content is digested.
 *
 * Invariants
 *  1. Every byte is accounted for: a type, opcode or encoding that is not known ends the reading, by its number.
 *  2. Memory does not depend on the stream, but for a key or a library, which are at most 64 MiB.
 *  3. A digest is of what a client can see: two encodings of the same value have the same.
 */
#ifndef PK_SURFACE_REDIS_RDB_H
#define PK_SURFACE_REDIS_RDB_H

#include "surface/redis/rdb_in.h"

#define RDB_VERSION_MAX 12
#define RDB_TEXT_BYTES_MAX (64u << 20)

/* What `TYPE` answers, but for vague modules. */
enum rdb_class { RDB_STRING, RDB_LIST, RDB_SET, RDB_ZSET, RDB_HASH, RDB_STREAM, RDB_MODULE, RDB_CLASSES };
extern const char *const rdb_class_names[RDB_CLASSES];

enum rdb_access { ACCESS_NONE, ACCESS_IDLE, ACCESS_FREQ };
struct rdb_key {
    uint64_t database;
    struct bytes name;  /* borrowed until the next key */
    uint8_t type;       /* as the stream has it */
    int64_t expires_ms; /* -1: never */
    enum rdb_access access;
    uint64_t since; /* idle seconds, or the frequency */
};

struct rdb_events {
    void *ctx;
    int (*aux)(void *, struct bytes name, struct bytes value, struct error *);   /* value may be cut at 4 KiB */
    int (*library)(void *, struct bytes raw, struct bytes code, struct error *); /* raw: the opcode and what follows */
    int (*module_aux)(void *, struct bytes raw, struct error *);                 /* in pieces; empty: one is whole */
    int (*database)(void *, uint64_t number, uint64_t keys, uint64_t expires, struct error *); /* a hint */
    int (*key)(void *, const struct rdb_key *, struct error *);                                /* before its value */
    int (*value)(void *, struct bytes raw, struct error *); /* in pieces, without the type */
    int (*key_end)(void *, enum rdb_class, struct hash128 content, struct error *);
};
struct rdb_facts {
    unsigned version;
    bool checksum; /* false: the producer wrote none */
    uint64_t bytes, keys;
};
/* From the magic to the checksum, and not a byte further. ERR_REDIS_RDB, ERR_SOURCE_TRUNCATED. */
int rdb_walk(struct rdb_in *in, const struct rdb_events *ev, struct rdb_facts *ret, struct error *err) PK_CHECK;

/* One value of a type, digested. */
int rdb_value(struct rdb_in *in, uint8_t type, enum rdb_class *ret_class, struct hash128 *ret,
              struct error *err) PK_CHECK;
int rdb_stream(struct rdb_in *in, uint8_t type, struct hash128 *ret, struct error *err) PK_CHECK; /* rdb_stream.c */
/* Typed parts of a module's value up to their end mark. */
int rdb_module_parts(struct rdb_in *in, struct mix *m, struct error *err) PK_CHECK;
/* A key with its time and content, for the sum that tells a database from another. */
struct hash128 rdb_key_hash(struct bytes name, enum rdb_class c, int64_t expires_ms, struct hash128 content);

#endif
