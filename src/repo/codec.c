#include "repo/codec.h"
#include "base/seam.h"
#include "repo/page_delta.h"
#include <zstd_errors.h>

#define WINDOW_LOG_MIN 10
#define WINDOW_LOG_MAX 23 /* 8 MiB, the cap that the decoder enforces */

/* The test for incompressible input looks at four slices spread over it, together a sixteenth of it and at most 16 KiB.
 * Below this size it costs more than it saves. */
#define TRIAL_FROM_BYTES (64u << 10)
#define TRIAL_SLICE_BYTES_MAX 4096u
#define TRIAL_BYTES_MAX (4 * TRIAL_SLICE_BYTES_MAX)

/* How far level 1 looks for repeats. Database pages: matches of 7 bytes in a table of 16 Ki entries; matches of 5 in 32
 * Ki take a quarter more time, decoding too, to make tables of text 4 % smaller. Programs need the short ones: matches
 * of 7 are 6 % larger, of 5 2 % smaller at nine tenths of the speed of 6. Text has longer ones, which a large table
 * finds at a greater distance: prose 8 % smaller than with matches of 5 in 32 Ki, 13 % where 4 MiB go together, sources
 * 8 % there, at 0.95 of the speed. WAL of small transactions needs the short matches (a sixth smaller), but not the
 * large table, which costs a tenth of the time for 2 %. Zero is the level's own. */
struct reach {
    int min_match, hash_log;
};
enum { TEXT = CODEC_WAL + 1 };
static const struct reach reach_of[] = {
    [CODEC_ANY] = {6, 15}, [CODEC_PAGES] = {7, 14}, [CODEC_WAL] = {5, 13}, [TEXT] = {7, 17}};

struct codec {
    ZSTD_CCtx *plain, *delta, *pages, *trial;
    ZSTD_DCtx *decoder;
    enum codec_content expected;
    int plain_content; /* or TEXT */
    int plain_level, plain_window_log;
    int delta_level, delta_window_log;
    ZSTD_Sequence sequences[PAGE_DELTA_SEQUENCES_MAX];
    uint8_t sample[TRIAL_BYTES_MAX];
    uint8_t scratch[ZSTD_COMPRESSBOUND(TRIAL_BYTES_MAX)];
    uint8_t *room;
    size_t room_cap;
    struct {
        struct bytes in; /* what is left of it */
        size_t plain_len, have;
    } steps;
};

static int set(ZSTD_CCtx *z, ZSTD_cParameter p, int value, struct error *err) {
    const size_t r = ZSTD_CCtx_setParameter(z, p, value);
    if (ZSTD_isError(r))
        return error_set(err, ERR_INTERNAL, "zstd refuses parameter %d = %d: %s", (int)p, value, ZSTD_getErrorName(r));
    return 0;
}

static int encoder_new(ZSTD_CCtx **ret, struct error *err) {
    *ret = ZSTD_createCCtx();
    if (*ret == NULL) return error_set(err, ERR_NO_MEMORY, "no memory for a zstd context");
    /* The pack's directory has the size and the AEAD has the integrity: neither is stored twice. */
    int rc = set(*ret, ZSTD_c_contentSizeFlag, 0, err);
    if (rc == 0) rc = set(*ret, ZSTD_c_checksumFlag, 0, err);
    if (rc == 0) rc = set(*ret, ZSTD_c_dictIDFlag, 0, err);
    return rc;
}

int codec_new(struct codec **ret, struct error *err) {
    struct codec *c = NULL;
    int rc = mem_alloc(sizeof *c, (void **)&c, err);
    if (rc != 0) return rc;
    rc = encoder_new(&c->plain, err);
    if (rc == 0) rc = encoder_new(&c->delta, err);
    if (rc == 0) rc = encoder_new(&c->trial, err);
    /* Changed data is long runs of the old with something new between. A fast level alone meets repetitive rows with
     * the nearest similar row; seeking repeats of 128 bytes and more first finds the runs. Measured: a tenth of the
     * size on pgbench's tables, 1 % less on prose, at half the speed of the fast level alone, which is that of
     * compressing afresh. */
    if (rc == 0) rc = set(c->delta, ZSTD_c_enableLongDistanceMatching, 1, err);
    if (rc == 0) rc = set(c->delta, ZSTD_c_ldmMinMatch, 128, err);
    if (rc == 0) rc = set(c->delta, ZSTD_c_ldmHashRateLog, 7, err);
    if (rc == 0) rc = encoder_new(&c->pages, err);
    if (rc == 0) rc = set(c->pages, ZSTD_c_compressionLevel, 1, err);
    if (rc == 0) rc = set(c->pages, ZSTD_c_blockDelimiters, ZSTD_sf_explicitBlockDelimiters, err);
    if (rc == 0) rc = set(c->pages, ZSTD_c_minMatch, 4, err);
    if (rc == 0) rc = set(c->pages, ZSTD_c_hashLog, ZSTD_HASHLOG_MIN, err); /* it searches nothing itself */
    /* A negative level looks for repeats only; the histogram has already answered for single bytes. */
    if (rc == 0) rc = set(c->trial, ZSTD_c_compressionLevel, -1, err);
    if (rc == 0 && (c->decoder = ZSTD_createDCtx()) == NULL)
        rc = error_set(err, ERR_NO_MEMORY, "no memory for a zstd context");
    if (rc != 0) {
        codec_free(c);
        return rc;
    }
    *ret = c;
    return 0;
}

void codec_free(struct codec *c) {
    if (c == NULL) return;
    ZSTD_freeCCtx(c->plain);
    ZSTD_freeCCtx(c->delta);
    ZSTD_freeCCtx(c->pages);
    ZSTD_freeCCtx(c->trial);
    ZSTD_freeDCtx(c->decoder);
    seam_free(c->room);
    seam_free(c);
}

void codec_room_limit(struct codec *c, size_t most) {
    if (c->room_cap <= most) return;
    seam_free(c->room);
    c->room = NULL;
    c->room_cap = 0;
}

uint8_t *codec_room(struct codec *c, size_t n) {
    if (c->room_cap >= n && c->room) return c->room;
    seam_free(c->room);
    c->room = seam_alloc(n);
    c->room_cap = c->room ? n : 0;
    return c->room;
}

void codec_expect(struct codec *c, enum codec_content what) {
    c->expected = what;
}

size_t codec_bound(size_t plain_bytes) {
    return ZSTD_compressBound(plain_bytes);
}

static int window_log_of(size_t bytes) {
    int log = WINDOW_LOG_MIN;
    while (log < WINDOW_LOG_MAX && ((size_t)1 << log) < bytes) log++;
    return log;
}

/* Whether bytes are spread so evenly that coding them one by one saves less than 2 %. The sum of squared counts of n
 * even bytes is about n*n/256 + n; a collision entropy (so a Shannon entropy, which is never less) above 7.86 bits
 * stays under 1.1 times that. */
static bool bytes_are_even(const uint8_t *p, size_t n) {
    uint32_t count[4][256] = {{0}};
    for (size_t i = 0; i + 4 <= n; i += 4)
        for (size_t k = 0; k < 4; k++) count[k][p[i + k]]++;
    uint64_t squares = 0;
    for (size_t b = 0; b < 256; b++) {
        const uint64_t sum = (uint64_t)count[0][b] + count[1][b] + count[2][b] + count[3][b];
        squares += sum * sum;
    }
    return squares * 10 <= ((uint64_t)n * n / 256 + n) * 11;
}

/* Whether compressing the whole can be spared. Even bytes may still repeat, hence the trial. */
static bool seems_incompressible(struct codec *c, struct bytes in) {
    if (in.len < TRIAL_FROM_BYTES) return false;
    const size_t share = in.len / 64 < TRIAL_SLICE_BYTES_MAX ? in.len / 64 : TRIAL_SLICE_BYTES_MAX;
    const size_t slice = share & ~(size_t)3, whole = 4 * slice;
    for (size_t i = 0; i < 4; i++) memcpy(c->sample + i * slice, in.ptr + (in.len - slice) / 3 * i, slice);
    if (!bytes_are_even(c->sample, whole)) return false;
    const size_t n = ZSTD_compress2(c->trial, c->scratch, sizeof c->scratch, c->sample, whole);
    return !ZSTD_isError(n) && n >= whole - whole / 100;
}

bool codec_is_text(struct bytes in) {
    unsigned control = 0, looked_at = 0;
    const size_t step = in.len / 16 > 256 ? in.len / 16 : 256;
    for (size_t at = 0; at < in.len; at += step)
        for (size_t i = at; i < at + 256 && i < in.len; i++, looked_at++)
            control += in.ptr[i] == 127 || (in.ptr[i] < 32 && (in.ptr[i] < 9 || in.ptr[i] > 13));
    return control <= looked_at / 64;
}

static int zstd_failed(size_t r, struct error *err) {
    const enum error_code code = ZSTD_getErrorCode(r) == ZSTD_error_memory_allocation ? ERR_NO_MEMORY : ERR_INTERNAL;
    return error_set(err, code, "zstd could not compress a chunk: %s", ZSTD_getErrorName(r));
}

int codec_encode(struct codec *c, struct bytes in, int level, uint8_t *out, size_t *ret_len, enum codec_kind *ret_kind,
                 struct error *err) {
    const int window_log = window_log_of(in.len);
    const int content = c->expected == CODEC_ANY && codec_is_text(in) ? TEXT : (int)c->expected;
    int rc = 0;
    if (c->plain_level != level || c->plain_window_log != window_log || c->plain_content != content) {
        c->plain_window_log = 0; /* nothing is known to be set, until all is */
        rc = set(c->plain, ZSTD_c_compressionLevel, level, err);
        if (rc == 0) rc = set(c->plain, ZSTD_c_windowLog, window_log, err);
        const struct reach reach = level == 1 ? reach_of[content] : (struct reach){0, 0};
        if (rc == 0) rc = set(c->plain, ZSTD_c_minMatch, reach.min_match, err);
        if (rc == 0) rc = set(c->plain, ZSTD_c_hashLog, reach.hash_log, err);
        if (rc != 0) return rc;
        c->plain_content = content;
        c->plain_level = level;
        c->plain_window_log = window_log;
    }
    size_t n = in.len;
    const size_t most = in.len - in.len * 3 / 100;
    if (in.len != 0 && !seems_incompressible(c, in)) {
        n = ZSTD_compress2(c->plain, out, most, in.ptr, in.len);
        if (ZSTD_isError(n)) {
            (void)ZSTD_CCtx_reset(c->plain, ZSTD_reset_session_only); /* or the next call's parameters are refused */
            if (ZSTD_getErrorCode(n) != ZSTD_error_dstSize_tooSmall) return zstd_failed(n, err);
            n = in.len;
        }
    }
    *ret_kind = n < in.len && n <= most ? CODEC_ZSTD : CODEC_RAW;
    *ret_len = n;
    return 0;
}

/* What is decoded stays within the window, so all of the base is in reach (RFC 8878, 5). An error is no reason to fail:
 * the other way has no part in it. */
static bool encode_pages(struct codec *c, struct bytes in, struct bytes base, uint8_t *out, size_t *ret_len) {
    const size_t count = page_delta_find(in, base, c->sequences);
    if (count == 0) return false;
    (void)ZSTD_CCtx_reset(c->pages, ZSTD_reset_session_only); /* the call before left it in the midst of a frame */
    size_t n = ZSTD_CCtx_setParameter(c->pages, ZSTD_c_windowLog, window_log_of(in.len));
    if (!ZSTD_isError(n)) n = ZSTD_compressSequences(c->pages, out, in.len / 2, c->sequences, count, in.ptr, in.len);
    if (ZSTD_isError(n)) return false;
    *ret_len = n;
    return true;
}

int codec_encode_delta(struct codec *c, struct bytes in, struct bytes base, int level, uint8_t *out, size_t *ret_len,
                       bool *ret_worth, struct error *err) {
    if (in.len < 2 || base.len == 0) {
        *ret_worth = false;
        return 0;
    }
    const bool fast = level >= 1 && level <= 3; /* who pays for a slow level gets its search */
    if (fast && c->expected == CODEC_PAGES && encode_pages(c, in, base, out, ret_len)) {
        *ret_worth = true;
        return 0;
    }
    /* Matches reach back over the input into the base, so the window covers both (the last 8 MiB of them, if longer).
     */
    const int window_log = window_log_of(in.len + base.len);
    int rc = 0;
    if (c->delta_level != level || c->delta_window_log != window_log) {
        /* The fast levels have too small a table to remember their bases. One entry for every two bytes of the window,
         * up to 4 MiB of table, costs no time that could be measured and makes deltas 3 to 10 % smaller at 128 KiB;
         * above 1 MiB it is what finds the base at all. Zero is the level's own. */
        const int hash_log = !fast ? 0 : window_log - 1 > 20 ? 20 : window_log - 1;
        c->delta_window_log = 0;
        rc = set(c->delta, ZSTD_c_compressionLevel, level, err);
        if (rc == 0) rc = set(c->delta, ZSTD_c_windowLog, window_log, err);
        if (rc == 0) rc = set(c->delta, ZSTD_c_hashLog, hash_log, err);
        if (rc != 0) return rc;
        c->delta_level = level;
        c->delta_window_log = window_log;
    }
    size_t n = ZSTD_CCtx_refPrefix(c->delta, base.ptr, base.len);
    if (!ZSTD_isError(n)) n = ZSTD_compress2(c->delta, out, in.len / 2, in.ptr, in.len);
    if (ZSTD_isError(n)) {
        (void)ZSTD_CCtx_reset(c->delta, ZSTD_reset_session_only);
        (void)ZSTD_CCtx_refPrefix(c->delta, NULL, 0); /* the base is the caller's: keep no pointer to it */
        if (ZSTD_getErrorCode(n) != ZSTD_error_dstSize_tooSmall) return zstd_failed(n, err);
        *ret_worth = false;
        return 0;
    }
    *ret_worth = true;
    *ret_len = n;
    return 0;
}

/* Refuse what the one-shot decoder would take and our encoder never writes: skippable frames, several frames, bytes
 * after the frame, a window over the cap (RFC 8878, 3.1.1.1). */
static const char *frame_fault(struct bytes in, size_t plain_len) {
    if (in.len < 6 || get_u32(in.ptr) != ZSTD_MAGICNUMBER) return "it does not start as a zstd frame";
    const bool single_segment = (in.ptr[4] & 0x20) != 0;
    if (!single_segment) {
        const unsigned exponent = in.ptr[5] >> 3, mantissa = in.ptr[5] & 7;
        if (exponent + 10 > WINDOW_LOG_MAX || (exponent + 10 == WINDOW_LOG_MAX && mantissa != 0))
            return "its window is larger than 8 MiB";
    }
    const unsigned long long claimed = ZSTD_getFrameContentSize(in.ptr, in.len);
    if (claimed == ZSTD_CONTENTSIZE_ERROR) return "its header is malformed";
    if (claimed != ZSTD_CONTENTSIZE_UNKNOWN && claimed != plain_len) return "it claims another size";
    const size_t n = ZSTD_findFrameCompressedSize(in.ptr, in.len);
    if (ZSTD_isError(n)) return "it is truncated or malformed";
    return n == in.len ? NULL : "bytes follow the frame";
}

static int corrupt(struct bytes in, size_t plain_len, const char *why, struct error *err) {
    return error_set(err, ERR_OBJECT_CORRUPT, "a stored chunk of %zu bytes, %zu when decoded, is damaged: %s", in.len,
                     plain_len, why);
}

static int undecodable(struct bytes in, size_t plain_len, size_t r, struct error *err) {
    if (ZSTD_getErrorCode(r) == ZSTD_error_memory_allocation)
        return error_set(err, ERR_NO_MEMORY, "no memory to decode a chunk");
    return corrupt(in, plain_len, ZSTD_getErrorName(r), err);
}

int codec_decode(struct codec *c, enum codec_kind kind, struct bytes in, struct bytes base, uint8_t *out,
                 size_t plain_len, struct error *err) {
    if (kind == CODEC_RAW) {
        if (in.len != plain_len) return corrupt(in, plain_len, "raw bytes of another size", err);
        if (plain_len != 0) memcpy(out, in.ptr, plain_len);
        return 0;
    }
    if (kind != CODEC_ZSTD && kind != CODEC_ZSTD_DELTA) return corrupt(in, plain_len, "an unknown codec", err);
    const char *fault = frame_fault(in, plain_len);
    if (fault != NULL) return corrupt(in, plain_len, fault, err);
    /* Also clears a prefix left by a call that failed before it was used up. */
    const bool delta = kind == CODEC_ZSTD_DELTA;
    size_t n = ZSTD_DCtx_refPrefix(c->decoder, delta ? base.ptr : NULL, delta ? base.len : 0);
    if (!ZSTD_isError(n)) n = ZSTD_decompressDCtx(c->decoder, out, plain_len, in.ptr, in.len);
    (void)ZSTD_DCtx_refPrefix(c->decoder, NULL, 0);
    if (ZSTD_isError(n)) return undecodable(in, plain_len, n, err);
    if (n != plain_len) return corrupt(in, plain_len, "it decodes to fewer bytes", err);
    return 0;
}

int codec_steps(struct codec *c, struct bytes in, size_t plain_len, struct error *err) {
    const char *fault = frame_fault(in, plain_len);
    if (fault != NULL) return corrupt(in, plain_len, fault, err);
    const size_t n = ZSTD_decompressBegin(c->decoder);
    if (ZSTD_isError(n)) return undecodable(in, plain_len, n, err);
    c->steps.in = in;
    c->steps.plain_len = plain_len;
    c->steps.have = 0;
    return 0;
}

int codec_step(struct codec *c, uint8_t *out, size_t upto, size_t *ret_have, struct error *err) {
    const size_t plain_len = c->steps.plain_len;
    struct bytes *in = &c->steps.in;
    for (;;) {
        const size_t need = ZSTD_nextSrcSizeToDecompress(c->decoder);
        if (c->steps.have >= upto && (c->steps.have < plain_len || need == 0)) break;
        if (need == 0) return corrupt(*in, plain_len, "it decodes to fewer bytes", err);
        if (need > in->len) return corrupt(*in, plain_len, "it is truncated", err);
        const size_t n =
            ZSTD_decompressContinue(c->decoder, out + c->steps.have, plain_len - c->steps.have, in->ptr, need);
        if (ZSTD_isError(n)) return undecodable(*in, plain_len, n, err);
        *in = BYTES_OF(in->ptr + need, in->len - need);
        c->steps.have += n;
    }
    *ret_have = c->steps.have;
    return 0;
}
