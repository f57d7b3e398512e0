#include "platform/schema.h"

#include <stdlib.h>

bool schema_name_ok(const char *name) {
    static const char allowed[] = "abcdefghijklmnopqrstuvwxyz0123456789._-";
    size_t n = strlen(name);
    return n > 0 && n < SCHEMA_NAME_BYTES && strspn(name, allowed) == n && !strchr("._-", name[0]) &&
           strcmp(name, "all") != 0;
}

const struct field *schema_find(const struct schema *s, const char *name) {
    for (size_t i = 0; i < s->field_count; i++)
        if (strcmp(s->fields[i].name, name) == 0) return &s->fields[i];
    return NULL;
}

const char *schema_enum_name(const struct field *f, int value) {
    return value > 0 ? f->values[value - 1] : NULL;
}

/* Words longer than this are nobody's misspelling. */
#define WORD_MAX 64

static size_t edit_distance(const char *a, size_t n, const char *b, size_t m) {
    size_t rows[3][WORD_MAX + 1];
    size_t *before = rows[0], *last = rows[1], *now = rows[2];
    for (size_t j = 0; j <= m; j++) last[j] = j;
    for (size_t i = 1; i <= n; i++) {
        now[0] = i;
        for (size_t j = 1; j <= m; j++) {
            size_t best = last[j - 1] + (a[i - 1] != b[j - 1]);
            if (last[j] + 1 < best) best = last[j] + 1;
            if (now[j - 1] + 1 < best) best = now[j - 1] + 1;
            if (i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1] && before[j - 2] + 1 < best)
                best = before[j - 2] + 1;
            now[j] = best;
        }
        size_t *spare = before;
        before = last;
        last = now;
        now = spare;
    }
    return last[m];
}

const char *schema_suggest(const char *word, const char *const *candidates, size_t n) {
    size_t len = strlen(word);
    if (len == 0 || len > WORD_MAX) return NULL;
    size_t limit = len <= 3 ? 1 : len <= 7 ? 2 : 3;
    const char *best = NULL;
    for (size_t i = 0; i < n; i++) {
        size_t m = candidates[i] ? strlen(candidates[i]) : 0;
        if (m == 0 || m > WORD_MAX) continue;
        size_t d = edit_distance(word, len, candidates[i], m);
        /* A word that shares nothing with the candidate is no misspelling, however short both are. */
        if (d > limit || d >= len || d >= m) continue;
        best = candidates[i];
        if (d == 0) return best;
        limit = d - 1; /* only a closer one replaces it */
    }
    return best;
}
