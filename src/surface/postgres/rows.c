#include "surface/postgres/rows.h"

#include <stdio.h>

static inline void add(struct pg_rows *s, struct hash128 row) {
    hash128_add(&s->sum, row);
    s->rows++;
}

void pg_rows_init(struct pg_rows *s) {
    memset(s, 0, sizeof *s);
}

void pg_rows_row(struct pg_rows *s, struct bytes row) {
    add(s, mix_bytes(row));
}

void pg_rows_begin(struct pg_rows *s) {
    mix_begin(&s->row);
    s->open = true;
}

void pg_rows_part(struct pg_rows *s, struct bytes part) {
    mix_part(&s->row, part);
}

void pg_rows_end(struct pg_rows *s) {
    add(s, mix_end(&s->row));
    s->open = false;
}

static int after_end(struct bytes text, struct error *err) {
    for (size_t i = 0; i < text.len; i++)
        if (text.ptr[i] != '\n') return error_set(err, ERR_PG_ARCHIVE, "a table's data goes on after its end mark");
    return 0;
}

int pg_rows_text(struct pg_rows *s, struct bytes text, struct error *err) {
    if (text.len == 0) return 0;
    const uint8_t *p = text.ptr, *end = text.ptr + text.len;
    if (s->ended) return after_end(text, err);
    if (s->open) { /* a row that began in the piece before */
        const uint8_t *nl = memchr(p, '\n', text.len);
        pg_rows_part(s, BYTES_OF(p, (size_t)((nl ? nl : end) - p)));
        if (!nl) return 0;
        p = nl + 1;
        if (s->row.len == 2 && memcmp(s->row.tail, "\\.", 2) == 0) {
            s->ended = true;
            s->open = false;
            return after_end(BYTES_OF(p, (size_t)(end - p)), err);
        }
        pg_rows_end(s);
    }
    while (p < end) {
        const uint8_t *nl = memchr(p, '\n', (size_t)(end - p));
        if (!nl) {
            pg_rows_begin(s);
            pg_rows_part(s, BYTES_OF(p, (size_t)(end - p)));
            break;
        }
        if (nl - p == 2 && p[0] == '\\' && p[1] == '.') {
            s->ended = true;
            return after_end(BYTES_OF(nl + 1, (size_t)(end - nl - 1)), err);
        }
        pg_rows_row(s, BYTES_OF(p, (size_t)(nl - p)));
        p = nl + 1;
    }
    return 0;
}

int pg_rows_finish(struct pg_rows *s, struct error *err) {
    if (s->ended) return 0;
    return error_set(err, ERR_SOURCE_TRUNCATED, "a table's data ends without its end mark, after %llu rows",
                     (unsigned long long)s->rows);
}

void pg_rows_digest(const struct pg_rows *s, char out[33]) {
    hash128_hex(s->sum, out);
}
