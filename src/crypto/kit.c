#include "crypto/kit.h"

#include "base/seam.h"
#include "crypto/keyring.h"

#include <stdio.h>
#include <strings.h>

#define DATA 26 /* characters of a line that are not its check */
#define CHECK 3
#define ORDER 31 /* of the multiplicative group of GF(32) */
#define HEAD 2   /* letter and number, which are part of the codeword and not typed again */
#define SLOT_HEAD 192

static const char alphabet[] = "0123456789ABCDEFGHJKMNPQRSTVWXYZ";

/* GF(32) by x^5 + x^2 + 1; 2 generates it. */
struct field {
    uint8_t power[ORDER * 2], log[32];
};

static struct field field_make(void) {
    struct field f = {0};
    unsigned v = 1;
    for (unsigned i = 0; i < ORDER; i++) {
        f.power[i] = f.power[i + ORDER] = (uint8_t)v;
        f.log[v] = (uint8_t)i;
        v <<= 1;
        if (v & 32) v ^= 0x25;
    }
    return f;
}

static uint8_t times(const struct field *f, uint8_t a, uint8_t b) {
    return a && b ? f->power[f->log[a] + f->log[b]] : 0;
}

static void syndromes(const struct field *f, const uint8_t word[ORDER], uint8_t s[CHECK]) {
    for (unsigned j = 0; j < CHECK; j++) {
        s[j] = 0;
        for (unsigned i = 0; i < ORDER; i++) s[j] = times(f, s[j], f->power[j]) ^ word[i];
    }
}

static bool is_word(const struct field *f, const uint8_t word[ORDER]) {
    uint8_t s[CHECK];
    syndromes(f, word, s);
    return !(s[0] | s[1] | s[2]);
}

/* The remainder by (x - 1)(x - 2)(x - 4), whose roots the syndromes are taken at. */
static void check_fill(const struct field *f, uint8_t word[ORDER]) {
    const uint8_t g[CHECK] = {0x1 ^ 0x2 ^ 0x4, (uint8_t)(0x2 ^ 0x4 ^ times(f, 2, 4)), times(f, 2, 4)};
    uint8_t r[CHECK] = {0};
    for (unsigned i = 0; i < ORDER - CHECK; i++) {
        uint8_t lead = r[0] ^ word[i];
        r[0] = r[1] ^ times(f, lead, g[0]);
        r[1] = r[2] ^ times(f, lead, g[1]);
        r[2] = times(f, lead, g[2]);
    }
    memcpy(word + ORDER - CHECK, r, CHECK);
}

static char letter(enum kit_part part) {
    return part == KIT_KEY ? 'K' : 'S';
}

/* Five bits from `at`; what lies past the end is zero. */
static uint8_t bits_at(struct bytes data, size_t at) {
    unsigned v = 0;
    for (size_t i = at; i < at + 5; i++) {
        unsigned bit = i / 8 < data.len ? data.ptr[i / 8] >> (7 - i % 8) & 1u : 0;
        v = v << 1 | bit;
    }
    return (uint8_t)v;
}

int kit_write(enum kit_part part, struct bytes data, struct buf *ret, struct error *err) {
    struct field f = field_make();
    unsigned lines = (unsigned)((data.len * 8 + DATA * 5 - 1) / (DATA * 5));
    if (data.len > KIT_BYTES_MAX || lines > KIT_LINES_MAX)
        return error_set(err, ERR_KIT, "a recovery kit has no room for %zu bytes", data.len);
    uint8_t word[ORDER];
    char text[KIT_LINE_CHARS + 8];
    int rc = 0;
    for (unsigned n = 0; n < lines && rc == 0; n++) {
        size_t at = 0;
        word[0] = (uint8_t)part;
        word[1] = (uint8_t)(n + 1);
        for (unsigned i = 0; i < DATA; i++) word[HEAD + i] = bits_at(data, (n * DATA + i) * (size_t)5);
        check_fill(&f, word);
        for (unsigned i = 0; i < KIT_LINE_CHARS; i++) {
            if (i && i % 5 == 0) text[at++] = ' ';
            text[at++] = alphabet[word[HEAD + i]];
        }
        text[at] = '\0';
        rc = buf_printf(ret, err, "%c%-3u %s\n", letter(part), n + 1, text);
    }
    wipe(word, sizeof word);
    wipe(text, sizeof text);
    return rc;
}

void kit_word(struct bytes key32, char out[KIT_WORD_BYTES]) {
    static const char label[] = "proofkeep/v1/kit-word";
    static const char consonant[] = "bdfghjklmnprstvz", vowel[] = "aiou";
    uint8_t in[sizeof label - 1 + KEY_BYTES] = {0};
    struct digest d;
    memcpy(in, label, sizeof label - 1);
    memcpy(in + sizeof label - 1, key32.ptr, key32.len < KEY_BYTES ? key32.len : KEY_BYTES);
    sha256(BYTES_OF(in, sizeof in), &d);
    wipe(in, sizeof in);
    for (unsigned half = 0; half < 2; half++) {
        unsigned v = (unsigned)d.b[2 * half] << 8 | d.b[2 * half + 1];
        char *p = out + 6 * half;
        p[0] = consonant[v >> 12];
        p[1] = vowel[v >> 10 & 3];
        p[2] = consonant[v >> 6 & 15];
        p[3] = vowel[v >> 4 & 3];
        p[4] = consonant[v & 15];
        p[5] = half ? '\0' : '-';
    }
    wipe(&d, sizeof d);
}

/* ---- reading ---- */

struct part_read {
    uint8_t words[KIT_LINES_MAX][ORDER];
    bool there[KIT_LINES_MAX];
    unsigned last; /* number of the highest line */
};
struct read {
    struct field f;
    struct part_read parts[2];
    char word[KIT_WORD_BYTES];
    bool has_word, has_id;
    uint8_t id[16];
};

static int value_of(char c) {
    if (c >= 'a' && c <= 'z') c = (char)(c - 'a' + 'A');
    if (c == 'O') c = '0';
    if (c == 'I' || c == 'L') c = '1';
    const char *at = c ? strchr(alphabet, c) : NULL;
    return at ? (int)(at - alphabet) : -1;
}

static bool blank(char c) {
    return c == ' ' || c == '\t' || c == '-' || c == '\r';
}

/* "character 12 (number 2 of group 3)" */
static void place(unsigned i, char out[64]) {
    snprintf(out, 64, "character %u (number %u of group %u)", i + 1, i % 5 + 1, i / 5 + 1);
}

static int wrong_character(enum kit_part part, unsigned n, unsigned i, const char *what, struct error *err) {
    char where[64];
    place(i, where);
    return error_set(err, ERR_KIT, "line %c%u of the recovery kit: %s %s", letter(part), n, where, what);
}

/* Where the fault most likely lies. What would be right is not said: it is part of a key. */
static int diagnose(const struct field *f, enum kit_part part, unsigned n, uint8_t word[ORDER], struct error *err) {
    uint8_t s[CHECK];
    unsigned swaps = 0, at = 0;
    char one[64], two[64];
    syndromes(f, word, s);
    if (s[0] && s[1] && s[2] && times(f, s[1], s[1]) == times(f, s[0], s[2])) {
        unsigned i = ORDER - 1 - (unsigned)(f->log[s[1]] + ORDER - f->log[s[0]]) % ORDER;
        if (i >= HEAD) return wrong_character(part, n, i - HEAD, "is mistyped, most likely", err);
        unsigned other = i == 1 ? word[1] ^ s[0] : n;
        if (i == 1 && other)
            return error_set(err, ERR_KIT,
                             "what stands in line %c%u of the recovery kit belongs to line %c%u, most likely",
                             letter(part), n, letter(part), other);
    }
    for (unsigned i = HEAD; i + 1 < ORDER; i++) {
        uint8_t a = word[i], b = word[i + 1];
        if (a == b) continue;
        word[i] = b;
        word[i + 1] = a;
        if (is_word(f, word)) {
            swaps++;
            at = i - HEAD;
        }
        word[i] = a;
        word[i + 1] = b;
    }
    place(at, one);
    place(at + 1, two);
    if (swaps == 1)
        return error_set(err, ERR_KIT, "line %c%u of the recovery kit: %s and %s are swapped, most likely",
                         letter(part), n, one, two);
    return error_set(err, ERR_KIT, "line %c%u of the recovery kit is wrong in more than one character", letter(part),
                     n);
}

static int read_line(struct read *r, enum kit_part part, unsigned n, const char *text, const char *end,
                     struct error *err) {
    struct part_read *p = &r->parts[part - 1];
    uint8_t word[ORDER] = {(uint8_t)part, (uint8_t)n};
    unsigned count = 0;
    int rc = 0;
    if (n > (part == KIT_KEY ? 2u : (unsigned)KIT_LINES_MAX))
        return error_set(err, ERR_KIT, "a recovery kit has no line %c%u", letter(part), n);
    for (; text < end && rc == 0; text++) {
        int v = blank(*text) ? 0 : value_of(*text);
        if (blank(*text)) continue;
        if (v < 0)
            rc = wrong_character(part, n, count, "is none that a kit has: 0 to 9 and A to Z but I, L, O and U", err);
        else if (count < KIT_LINE_CHARS)
            word[HEAD + count] = (uint8_t)v;
        count++;
    }
    if (rc == 0 && count != KIT_LINE_CHARS)
        rc = error_set(err, ERR_KIT, "line %c%u of the recovery kit has %u characters where %d belong", letter(part), n,
                       count, KIT_LINE_CHARS);
    if (rc == 0 && !is_word(&r->f, word)) rc = diagnose(&r->f, part, n, word, err);
    if (rc == 0 && p->there[n - 1] && memcmp(p->words[n - 1], word, sizeof word) != 0)
        rc = error_set(err, ERR_KIT, "line %c%u stands there twice, and differs: these are two kits", letter(part), n);
    if (rc == 0) {
        memcpy(p->words[n - 1], word, sizeof word);
        p->there[n - 1] = true;
        if (n > p->last) p->last = n;
    }
    wipe(word, sizeof word);
    return rc;
}

/* What follows "<name>" and blanks or colons; NULL when the line begins otherwise. */
static const char *after(const char *line, const char *end, const char *name) {
    size_t n = strlen(name);
    if ((size_t)(end - line) <= n || strncasecmp(line, name, n) != 0) return NULL;
    const char *at = line + n;
    if (*at != ' ' && *at != '\t' && *at != ':') return NULL;
    while (at < end && (*at == ' ' || *at == '\t' || *at == ':')) at++;
    return at;
}

static int read_any(struct read *r, const char *line, const char *end, struct error *err) {
    while (line < end && (*line == ' ' || *line == '\t')) line++;
    while (end > line && (end[-1] == ' ' || end[-1] == '\t' || end[-1] == '\r')) end--;
    if (end - line >= 2 && strchr("KkSs", *line) && line[1] >= '0' && line[1] <= '9') {
        enum kit_part part = *line == 'K' || *line == 'k' ? KIT_KEY : KIT_SLOT;
        unsigned n = 0;
        const char *at = line + 1;
        while (at < end && *at >= '0' && *at <= '9' && n < 100) n = n * 10 + (unsigned)(*at++ - '0');
        while (at < end && strchr(":.)", *at)) at++;
        if (n && at < end && blank(*at)) return read_line(r, part, n, at, end, err);
        return 0;
    }
    const char *at = after(line, end, "check word");
    if (at && end > at) {
        size_t n = 0;
        r->has_word = true;
        memset(r->word, 0, sizeof r->word);
        for (; at < end; at++) {
            if (blank(*at)) continue;
            if (n == 5) r->word[n++] = '-';
            if (n + 1 < sizeof r->word) r->word[n] = (char)(*at >= 'A' && *at <= 'Z' ? *at - 'A' + 'a' : *at);
            n++;
        }
        if (n != sizeof r->word - 1) *r->word = '\0'; /* no word is empty, so it will not fit */
    }
    at = after(line, end, "repository");
    if (at && hex_decode(at, (size_t)(end - at), r->id, sizeof r->id)) r->has_id = true;
    return 0;
}

/* The lines' data as bytes; what the last line has beyond them is zero, or the lines are not of one kit. */
static bool join(const struct part_read *p, unsigned lines, uint8_t *out, size_t n) {
    uint8_t rest = 0;
    memset(out, 0, n);
    for (size_t bit = 0; bit < (size_t)lines * DATA * 5; bit++) {
        uint8_t v = p->words[bit / (DATA * 5)][HEAD + bit / 5 % DATA] >> (4 - bit % 5) & 1;
        if (bit / 8 < n)
            out[bit / 8] |= (uint8_t)(v << (7 - bit % 8));
        else
            rest |= v;
    }
    return !rest;
}

static int missing(enum kit_part part, unsigned n, struct error *err) {
    return error_set(err, ERR_KIT, "line %c%u of the recovery kit is missing", letter(part), n);
}

static int read_slot(const struct part_read *p, uint8_t *out, size_t *ret_n, struct error *err) {
    *ret_n = 0;
    for (unsigned i = 0; i < p->last; i++)
        if (!p->there[i]) return missing(KIT_SLOT, i + 1, err);
    if (p->last == 0) return 0;
    (void)join(p, p->last, out, KIT_BYTES_MAX);
    size_t n = SLOT_HEAD + (size_t)get_u16(out + 12) + get_u16(out + 14);
    if (n > (size_t)p->last * DATA * 5 / 8 && n <= KIT_BYTES_MAX) return missing(KIT_SLOT, p->last + 1, err);
    if (n > KIT_BYTES_MAX || (n * 8 + DATA * 5 - 1) / (DATA * 5) != p->last || !join(p, p->last, out, n))
        return error_set(err, ERR_KIT, "the S lines of the recovery kit are each right, but are not of one kit");
    *ret_n = n;
    return 0;
}

static int finish(const struct read *r, struct paper_kit *ret, struct error *err) {
    uint8_t all[KEY_BYTES + KIT_BYTES_MAX] = {0};
    struct paper_kit k = {.has_word = r->has_word, .has_repo_id = r->has_id};
    char word[KIT_WORD_BYTES];
    int rc = 0;
    for (unsigned i = 0; i < 2 && rc == 0; i++)
        if (!r->parts[0].there[i]) rc = missing(KIT_KEY, i + 1, err);
    if (rc == 0 && !join(&r->parts[0], 2, all, KEY_BYTES))
        rc = error_set(err, ERR_KIT, "lines K1 and K2 are each right, but are not of one kit");
    kit_word(BYTES_OF(all, KEY_BYTES), word);
    if (rc == 0 && r->has_word && strcmp(word, r->word) != 0) {
        error_set(err, ERR_KIT, "the check word is not that of lines K1 and K2, which are each right by themselves");
        rc = error_next(err, "See whether K1 and K2 are of one kit, and type the check word again.");
    }
    if (rc == 0) rc = read_slot(&r->parts[1], all + KEY_BYTES, &k.slot_bytes, err);
    memcpy(k.repo_id, r->id, sizeof k.repo_id);
    if (rc == 0) rc = secret_new(BYTES_OF(all, KEY_BYTES + k.slot_bytes), &k.secret, err);
    if (rc == 0) *ret = k;
    wipe(all, sizeof all);
    wipe(word, sizeof word);
    return rc;
}

int kit_read(struct bytes text, struct paper_kit *ret, struct error *err) {
    struct read r = {.f = field_make()};
    const char *at = (const char *)text.ptr, *end = at + text.len;
    int rc = 0;
    while (at < end && rc == 0) {
        const char *nl = memchr(at, '\n', (size_t)(end - at));
        rc = read_any(&r, at, nl ? nl : end, err);
        at = nl ? nl + 1 : end;
    }
    if (rc == 0) rc = finish(&r, ret, err);
    wipe(&r, sizeof r);
    return rc;
}
