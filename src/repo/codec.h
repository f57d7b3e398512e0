/* Codecs of a frame: raw, zstd, zstd with a prefix (delta against a base).
 * A codec context belongs to one thread. Source: zstd 1.5 manual (ZSTD_CCtx_refPrefix).
 */
#ifndef PK_REPO_CODEC_H
#define PK_REPO_CODEC_H

#include "base/bytes.h"
#include "base/error.h"

enum codec_kind { CODEC_RAW = 0, CODEC_ZSTD = 1, CODEC_ZSTD_DELTA = 2 };

struct codec;
int codec_new(struct codec **ret, struct error *err) PK_CHECK;
void codec_free(struct codec *c);
/* `n` bytes that stay with the codec, for what is about to be decoded: fresh memory for each frame costs the system
 * more than to open a small one. Valid until the next call or codec_free; NULL without memory. */
uint8_t *codec_room(struct codec *c, size_t n);
void codec_room_limit(struct codec *c, size_t most); /* a larger one is given back */
/* What the next frames are made of, until said otherwise: how far level 1 looks for repeats. Any content at first. No
 * matter for decoding. */
enum codec_content { CODEC_ANY, CODEC_PAGES, CODEC_WAL };
void codec_expect(struct codec *c, enum codec_content what);
/* Whether it is words, in any encoding that writes ASCII as itself: few bytes are control characters, which a tenth of
 * evenly spread ones are, and more of programs. Looks at 4 KiB of it. */
bool codec_is_text(struct bytes in);
/* Worst-case size of an encoded frame. */
size_t codec_bound(size_t plain_bytes);
/* Encode `in` at zstd `level`; out has codec_bound(in.len) bytes. Answers CODEC_RAW with *ret_len = in.len and nothing written to
 * out when compression does not save 3 %: found out cheaply (byte histogram and a sample of the input) before the whole is
 * compressed, so that incompressible data costs little. */
int codec_encode(struct codec *c, struct bytes in, int level, uint8_t *out, size_t *ret_len, enum codec_kind *ret_kind, struct error *err) PK_CHECK;
/* Encode against a base. Answers false in *ret_worth (nothing usable in out) when the result exceeds half of in.len.
 * in and base must not overlap in memory: zstd does not find matches across memory that it takes for overwritten. */
int codec_encode_delta(struct codec *c, struct bytes in, struct bytes base, int level, uint8_t *out, size_t *ret_len, bool *ret_worth, struct error *err) PK_CHECK;
/* Decode exactly plain_len bytes into out. base is only for CODEC_ZSTD_DELTA. ERR_OBJECT_CORRUPT on anything but a perfect frame
 * of exactly that size; never writes past plain_len; window size capped at 8 MiB.
 * A frame does not name its base: with a wrong one it is refused or decodes to other bytes, so check the chunk's id. */
int codec_decode(struct codec *c, enum codec_kind kind, struct bytes in, struct bytes base, uint8_t *out, size_t plain_len, struct error *err) PK_CHECK;
/* A frame of CODEC_ZSTD in steps: codec_steps begins, `in` stays the caller's and where it is until the last step, and
 * nothing else is decoded meanwhile. codec_step goes on until the first `upto` of the plain_len bytes are in `out`, the
 * same at each step: perhaps more, *ret_have of them, and it writes to none that were there. Errors as of codec_decode,
 * after which there is no further step; damage behind what was asked for is found by the step that comes to it. */
int codec_steps(struct codec *c, struct bytes in, size_t plain_len, struct error *err) PK_CHECK;
int codec_step(struct codec *c, uint8_t *out, size_t upto, size_t *ret_have, struct error *err) PK_CHECK;

#endif
