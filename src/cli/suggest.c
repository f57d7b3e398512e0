#include "cli/options.h"

#include <string.h>

#define WORD_BYTES_MAX 48

static unsigned min3(unsigned a, unsigned b, unsigned c) {
    unsigned m = a < b ? a : b;
    return m < c ? m : c;
}

/* Optimal string alignment: insertions, deletions, replacements and swaps of neighbours cost one each. */
static unsigned edit_distance(const char *a, const char *b) {
    size_t n = strlen(a), m = strlen(b);
    unsigned row[3][WORD_BYTES_MAX + 1];
    if (n > WORD_BYTES_MAX || m > WORD_BYTES_MAX) return UINT_MAX;
    for (size_t j = 0; j <= m; j++) row[0][j] = (unsigned)j;
    for (size_t i = 1; i <= n; i++) {
        unsigned *now = row[i % 3], *last = row[(i - 1) % 3], *before = row[(i + 1) % 3];
        now[0] = (unsigned)i;
        for (size_t j = 1; j <= m; j++) {
            unsigned differs = a[i - 1] != b[j - 1];
            now[j] = min3(last[j] + 1, now[j - 1] + 1, last[j - 1] + differs);
            if (i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1] && before[j - 2] + 1 < now[j])
                now[j] = before[j - 2] + 1;
        }
    }
    return row[n % 3][m];
}

const char *options_suggest(const char *word, const char *const *words) {
    size_t len = strlen(word);
    const char *best = NULL;
    unsigned best_distance = UINT_MAX;
    for (; *words; words++) {
        unsigned d = edit_distance(word, *words);
        size_t longer = strlen(*words) > len ? strlen(*words) : len;
        /* An abbreviation is refused, but it says well enough what was meant. */
        if (len >= 2 && strncmp(word, *words, len) == 0) d = 1;
        if (d <= 1 + longer / 4 && d < longer && d < best_distance) {
            best = *words;
            best_distance = d;
        }
    }
    return best;
}
