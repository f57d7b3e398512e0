/* Throughput of the primitives on one core, in GB/s of CPU time: cutting, codecs, delta, hashes, AEAD.
 *
 *   bench_primitives [text-file [binary-file]]
 *
 * Without files, text is generated SQL and binary is this program itself. Each figure is the best of several runs; the
 * first line tells the clock that the core really had, for comparing machines and for spotting a busy one. */
#include "base/seam.h"
#include "crypto/crypto.h"
#include "crypto/sha256_x2.h"
#include "repo/codec.h"
#include "repo/cut.h"
#include <stdio.h>
#include <stdlib.h>

#define DATA_BYTES (32u << 20)
#define CHUNK_BYTES (128u << 10)
#define RUNS 5

struct data {
    const char *name;
    uint8_t *ptr;
    size_t len;
};

static void die(const struct error *err) {
    fprintf(stderr, "bench_primitives: %s\n", err->text);
    exit(EXIT_FAILURE);
}

static void *mem(size_t n) {
    struct error err = ERROR_INIT;
    void *p = NULL;
    if (mem_alloc(n, &p, &err) != 0) die(&err);
    return p;
}

static double cpu_seconds(void) {
    struct timespec t;
    if (seam_clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t) != 0) abort();
    return (double)t.tv_sec + (double)t.tv_nsec * 1e-9;
}

/* Run work() RUNS times over `bytes`; the best rate. */
typedef void work(void *arg);
static double rate(work *w, void *arg, size_t bytes) {
    double best = 0;
    for (int run = 0; run < RUNS; run++) {
        const double start = cpu_seconds();
        w(arg);
        const double gb_s = (double)bytes / (cpu_seconds() - start) / 1e9;
        if (gb_s > best) best = gb_s;
    }
    return best;
}

static void spin(void *arg) {
    uint64_t x = 1;
    for (size_t i = 0; i < *(size_t *)arg; i++) {
        x += i;
        __asm__ volatile("" : "+r"(x)); /* one dependent addition a cycle */
    }
}

static uint64_t rng_state = 0x9e3779b97f4a7c15u;
static uint64_t rng(void) {
    rng_state ^= rng_state << 13;
    rng_state ^= rng_state >> 7;
    rng_state ^= rng_state << 17;
    return rng_state;
}

static struct data data_new(const char *name) {
    return (struct data){name, mem(DATA_BYTES + 256), 0};
}

static void data_generate_text(struct data *d) {
    static const char *const words[] = {"invoice", "receipt",  "shipment", "refund",
                                        "account", "customer", "pending",  "settled"};
    for (unsigned row = 0; d->len < DATA_BYTES; row++) {
        const uint64_t r = rng();
        d->len +=
            (size_t)snprintf((char *)d->ptr + d->len, 256, "%u\t2026-%02u-%02u %02u:%02u:%02u\t%s %s\t%llu.%02u\t%s\n",
                             row, (unsigned)(r % 12) + 1, (unsigned)(r >> 8) % 28 + 1, (unsigned)(r >> 16) % 24,
                             (unsigned)(r >> 24) % 60, (unsigned)(r >> 32) % 60, words[r >> 40 & 7], words[r >> 43 & 7],
                             (unsigned long long)(r >> 46), (unsigned)(r >> 20) % 100, words[r >> 50 & 7]);
    }
    d->len = DATA_BYTES;
}

static void data_load(struct data *d, const char *path) {
    struct error err = ERROR_INIT;
    const int fd = seam_openat(AT_FDCWD, path, O_RDONLY | O_CLOEXEC, 0);
    if (fd < 0) {
        error_set_errno(&err, ERR_IO_READ, "opening '%s'", path);
        die(&err);
    }
    if (io_read_full(fd, d->ptr, DATA_BYTES, &d->len, path, &err) != 0) die(&err);
    seam_close(fd);
    if (d->len < CHUNK_BYTES) {
        error_set(&err, ERR_USAGE, "'%s' has less than %u bytes", path, CHUNK_BYTES);
        die(&err);
    }
}

struct cut_work {
    struct cutter cutter;
    struct cut_params params;
    struct data data;
    size_t chunks;
};
static void cut_run(void *arg) {
    struct cut_work *w = arg;
    w->chunks = 0;
    for (size_t at = 0; at < w->data.len; w->chunks++)
        at += cutter_next(&w->cutter, &w->params, BYTES_OF(w->data.ptr + at, w->data.len - at), true);
}

static void bench_cut(struct data random) {
    static const char *const names[] = {"scalar", "avx2", "avx512"};
    static const struct cut_params params[] = {{16384, 65536, 262144}, {65536, 262144, 1 << 20}, {64, 65536, 1 << 20}};
    struct error err = ERROR_INIT;
    struct cut_work *w = mem(sizeof *w);
    static const uint8_t key[KEY_BYTES];
    w->data = random;
    if (cutter_init(&w->cutter, BYTES_OF(key, sizeof key), &err) != 0) die(&err);
    printf("# cut: kernel picked is %s\n", names[w->cutter.kernel]);
    for (size_t p = 0; p < 3; p++)
        for (int k = CUT_SCALAR; k <= CUT_AVX512; k++) {
            if (!cutter_has((enum cut_kernel)k)) continue;
            cutter_use(&w->cutter, (enum cut_kernel)k);
            w->params = params[p];
            const double gb_s = rate(cut_run, w, w->data.len);
            printf("cut %-7s %6u/%6u/%7u  %7.2f GB/s  %zu chunks\n", names[k], params[p].min_bytes, params[p].avg_bytes,
                   params[p].max_bytes, gb_s, w->chunks);
        }
    seam_free(w);
}

struct codec_work {
    struct codec *codec;
    struct data in, base;
    uint8_t *out, *back;
    size_t *len;
    enum codec_kind *kind;
    int level;
    size_t chunks, stored, bad;
};

static struct bytes chunk_of(const struct data *d, size_t i) {
    return BYTES_OF(d->ptr + i * CHUNK_BYTES, CHUNK_BYTES);
}

static void encode_run(void *arg) {
    struct codec_work *w = arg;
    struct error err = ERROR_INIT;
    w->stored = 0;
    for (size_t i = 0; i < w->chunks; i++) {
        uint8_t *out = w->out + i * codec_bound(CHUNK_BYTES);
        if (w->base.ptr == NULL) {
            if (codec_encode(w->codec, chunk_of(&w->in, i), w->level, out, &w->len[i], &w->kind[i], &err) != 0)
                die(&err);
        } else {
            bool worth = false;
            if (codec_encode_delta(w->codec, chunk_of(&w->in, i), chunk_of(&w->base, i), w->level, out, &w->len[i],
                                   &worth, &err) != 0)
                die(&err);
            w->kind[i] = worth ? CODEC_ZSTD_DELTA : CODEC_RAW;
            if (!worth) w->len[i] = CHUNK_BYTES;
        }
        w->stored += w->len[i];
    }
}
static void decode_run(void *arg) {
    struct codec_work *w = arg;
    struct error err = ERROR_INIT;
    for (size_t i = 0; i < w->chunks; i++) {
        const struct bytes in = chunk_of(&w->in, i),
                           base = w->base.ptr != NULL ? chunk_of(&w->base, i) : BYTES_OF(NULL, 0);
        const struct bytes frame =
            w->kind[i] == CODEC_RAW ? in : BYTES_OF(w->out + i * codec_bound(CHUNK_BYTES), w->len[i]);
        if (codec_decode(w->codec, w->kind[i], frame, base, w->back, CHUNK_BYTES, &err) != 0) die(&err);
        w->bad += memcmp(w->back, in.ptr, CHUNK_BYTES) != 0;
    }
}

static void bench_codec(struct data in, struct data base, const char *name) {
    struct error err = ERROR_INIT;
    struct codec_work w = {.in = in, .base = base, .chunks = in.len / CHUNK_BYTES};
    w.out = mem(w.chunks * codec_bound(CHUNK_BYTES));
    w.back = mem(CHUNK_BYTES);
    w.len = mem(w.chunks * sizeof *w.len);
    w.kind = mem(w.chunks * sizeof *w.kind);
    if (codec_new(&w.codec, &err) != 0) die(&err);
    for (w.level = 1; w.level <= 3; w.level += 2) {
        const double enc = rate(encode_run, &w, w.chunks * CHUNK_BYTES),
                     dec = rate(decode_run, &w, w.chunks * CHUNK_BYTES);
        printf("%-6s %-7s level %d  encode %6.2f GB/s  decode %6.2f GB/s  stored %6.2f %%\n", name, in.name, w.level,
               enc, dec, 100.0 * (double)w.stored / (double)(w.chunks * CHUNK_BYTES));
    }
    if (w.bad != 0) abort();
    codec_free(w.codec);
    seam_free(w.out);
    seam_free(w.back);
    seam_free(w.len);
    seam_free(w.kind);
}

/* A third of the 8 KiB pages with one row rewritten and a header changed. */
static struct data data_edited(const struct data *from) {
    struct data d = data_new(from->name);
    d.len = from->len;
    memcpy(d.ptr, from->ptr, d.len);
    for (size_t page = 0; page + 8192 <= d.len; page += 8192) {
        if (rng() % 3 != 0) continue;
        memcpy(d.ptr + page + rng() % 7700, from->ptr + rng() % (d.len - 500), 300 + rng() % 150);
        put_u64(d.ptr + page, rng());
    }
    return d;
}

static void sha256_run(void *arg) {
    const struct data *d = arg;
    struct digest digest;
    for (size_t i = 0; i < d->len / CHUNK_BYTES; i++) sha256(chunk_of(d, i), &digest);
}

/* Two chunks at a time. */
static void sha256_two_run(void *arg) {
    const struct data *d = arg;
    struct digest ret[2];
    for (size_t i = 0; i + 2 <= d->len / CHUNK_BYTES; i += 2)
        sha256_many((const struct bytes[]){chunk_of(d, i), chunk_of(d, i + 1)}, ret, 2);
}

/* Sixteen chunks at a time, as different in size as those of files are; and by two of them at once. */
static void sha256_many_run(void *arg) {
    const struct data *d = arg;
    struct bytes in[64];
    struct digest ret[64];
    for (size_t at = 0; at < d->len;) {
        size_t n = 0;
        for (uint64_t size = 997; n < 64 && at < d->len; n++, size = size * 7 % 131071) {
            in[n] = BYTES_OF(d->ptr + at, size < d->len - at ? size : d->len - at);
            at += in[n].len;
        }
        sha256_many(in, ret, n);
    }
}

/* The stream and its chunks, which start at odd places as content-defined ones do. */
static void sha256_pair_run(void *arg) {
    const struct data *d = arg;
    struct error err = ERROR_INIT;
    struct sha256_pair *p = NULL;
    struct digest digest;
    if (sha256_pair_new(&p, &err) != 0) die(&err);
    for (size_t at = 0; at < d->len;) {
        const size_t left = d->len - at, n = left < CHUNK_BYTES - 37 ? left : CHUNK_BYTES - 37;
        sha256_pair_update(p, BYTES_OF(d->ptr + at, n));
        sha256_pair_chunk_finish(p, &digest);
        at += n;
    }
    sha256_pair_stream_finish(p, &digest);
    sha256_pair_free(p);
}

struct aead_work {
    struct aead *aead;
    struct data data;
    uint8_t *out;
};
static void aead_run(void *arg) {
    struct aead_work *w = arg;
    struct error err = ERROR_INIT;
    uint8_t nonce[AEAD_NONCE_BYTES] = {0};
    for (size_t i = 0; i < w->data.len / CHUNK_BYTES; i++) {
        put_u64(nonce, i);
        if (aead_seal(w->aead, nonce, BYTES_STR("bench"), chunk_of(&w->data, i), w->out, &err) != 0) die(&err);
    }
}
static void bench_aead(struct data d, enum cipher cipher, const char *name) {
    static const uint8_t key[KEY_BYTES];
    struct error err = ERROR_INIT;
    struct aead_work w = {.data = d, .out = mem(CHUNK_BYTES + AEAD_TAG_BYTES)};
    if (aead_new(cipher, BYTES_OF(key, sizeof key), &w.aead, &err) != 0) die(&err);
    printf("aead %-18s seal %6.2f GB/s\n", name, rate(aead_run, &w, d.len));
    aead_free(w.aead);
    seam_free(w.out);
}

int main(int argc, char **argv) {
    struct error err = ERROR_INIT;
    if (argc > 3) {
        fprintf(stderr, "usage: bench_primitives [text-file [binary-file]]\n");
        return EXIT_USAGE;
    }
    if (crypto_init(&err) != 0) die(&err);
    struct data text = data_new("text"), binary = data_new("binary"), random = data_new("random");
    if (argc > 1)
        data_load(&text, argv[1]);
    else
        data_generate_text(&text);
    data_load(&binary, argc > 2 ? argv[2] : "/proc/self/exe");
    for (random.len = 0; random.len < DATA_BYTES; random.len += 8) put_u64(random.ptr + random.len, rng());

    size_t spins = 100u << 20;
    printf("# clock %.2f GHz; chunks of %u KiB; best of %d\n", rate(spin, &spins, spins), CHUNK_BYTES >> 10, RUNS);
    bench_cut(random);
    const struct data none = {NULL, NULL, 0}, all[] = {text, binary, random};
    for (size_t i = 0; i < 3; i++) bench_codec(all[i], none, "zstd");
    for (size_t i = 0; i < 3; i++) {
        struct data edited = data_edited(&all[i]);
        bench_codec(edited, all[i], "delta");
        seam_free(edited.ptr);
    }
    printf("sha256 one              %6.2f GB/s\n", rate(sha256_run, &random, random.len));
    printf("sha256 two chunks       %6.2f GB/s\n", rate(sha256_two_run, &random, random.len));
    sha256_lanes_allow(2);
    printf("sha256 many, by two     %6.2f GB/s\n", rate(sha256_many_run, &random, random.len));
    sha256_lanes_allow(16);
    printf("sha256 many, by sixteen %6.2f GB/s\n", rate(sha256_many_run, &random, random.len));
    sha256_lanes_allow(0);
    printf("sha256 stream and chunk %6.2f GB/s of stream\n", rate(sha256_pair_run, &random, random.len));
    bench_aead(random, CIPHER_AES_256_GCM, "aes-256-gcm");
    bench_aead(random, CIPHER_CHACHA20_POLY1305, "chacha20-poly1305");
    for (size_t i = 0; i < 3; i++) seam_free(all[i].ptr);
    return EXIT_OK;
}
