#include "base/utf8.h"
#include "cli/output.h"

#include <wchar.h>

static bool is_control(const uint8_t *p, size_t n) {
    return (n == 1 && (*p < 0x20 || *p == 0x7f)) || (n == 2 && p[0] == 0xc2 && p[1] < 0xa0);
}

/* Characters that turn the direction of what follows can make a name read as another. */
static bool is_direction(const uint8_t *p, size_t n) {
    return n == 3 && p[0] == 0xe2 &&
           ((p[1] == 0x80 && p[2] >= 0xaa && p[2] <= 0xae) || (p[1] == 0x81 && p[2] >= 0xa6 && p[2] <= 0xa9));
}

int text_escape(struct buf *out, struct bytes text, bool keep_lines, struct error *err) {
    int r = 0;
    for (size_t i = 0; i < text.len && r == 0;) {
        const uint8_t *p = text.ptr + i;
        size_t n = utf8_char_bytes(p, text.len - i);
        bool kept = keep_lines && n == 1 && (*p == '\n' || *p == '\t');
        if (n > 0 && (kept || !(is_control(p, n) || is_direction(p, n)))) {
            r = buf_append(out, p, n, err);
        } else {
            n = n ? n : 1;
            for (size_t k = 0; k < n && r == 0; k++) r = buf_printf(out, err, "\\x%02x", p[k]);
        }
        i += n;
    }
    return r;
}

static uint32_t decode(const uint8_t *p, size_t n) {
    if (n == 1) return *p;
    uint32_t c = *p & (0x7fu >> n);
    for (size_t i = 1; i < n; i++) c = c << 6 | (p[i] & 0x3fu);
    return c;
}

size_t text_columns(struct bytes text) {
    size_t columns = 0;
    for (size_t i = 0; i < text.len;) {
        size_t n = utf8_char_bytes(text.ptr + i, text.len - i);
        int width = n > 1 ? wcwidth((wchar_t)decode(text.ptr + i, n)) : 1;
        /* wcwidth knows only the locale's characters; in the C locale each counts as one. */
        columns += width < 0 ? 1 : (size_t)width;
        i += n ? n : 1;
    }
    return columns;
}
