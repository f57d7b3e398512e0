#include "base/error.h"
#include "base/utf8.h"
#include <assert.h>
#include <errno.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>

static const struct error_info error_rows[ERR_COUNT] = {
#define ERROR_CODE(name, code, status, what, next) [ERR_##name] = {#name, code, status, what, next},
#include "base/error_table.def"
#undef ERROR_CODE
};

/* Texts end in terminals, logs and JSON: foreign bytes and control characters must not get there. `cut` says that the
 * text was longer, so that its last character may be torn. */
static void text_clean(char *s, size_t len, int cut) {
    uint8_t *p = (uint8_t *)s;
    for (size_t i = 0; i < len;) {
        size_t n = utf8_char_bytes(p + i, len - i);
        if (n == 0 && cut && len - i < 4) {
            size_t rest = i + 1;
            while (rest < len && (p[rest] & 0xC0) == 0x80) rest++;
            if (rest == len && p[i] >= 0xC0) {
                p[i] = 0;
                return;
            }
        }
        if (n == 0) {
            p[i] = '?';
            n = 1;
        } else if (n == 1 && (p[i] < 0x20 || p[i] == 0x7F)) {
            p[i] = p[i] == '\n' || p[i] == '\t' || p[i] == '\r' ? ' ' : '?';
        } else if (n == 2 && p[i] == 0xC2 && p[i + 1] < 0xA0) {
            p[i] = p[i + 1] = '?';
        }
        i += n;
    }
}

__attribute__((format(printf, 3, 0))) static size_t text_format(char *out, size_t cap, const char *fmt, va_list ap) {
    int n = vsnprintf(out, cap, fmt, ap);
    if (n < 0) {
        out[0] = 0;
        return 0;
    }
    text_clean(out, strlen(out), (size_t)n >= cap);
    return strlen(out);
}

/* Appends what fits of `tail` to the text in `out`. */
static void text_append(char *out, size_t cap, size_t len, const char *tail) {
    size_t n = strlen(tail), room = cap - 1 - len;
    int cut = n > room;
    memcpy(out + len, tail, cut ? room : n);
    out[len + (cut ? room : n)] = 0;
    text_clean(out + len, strlen(out + len), cut);
}

int error_set(struct error *err, enum error_code code, const char *fmt, ...) {
    assert(err && code > ERR_NONE && code < ERR_COUNT);
    int saved = errno;
    if (err->code == ERR_NONE) {
        va_list ap;
        va_start(ap, fmt);
        text_format(err->text, sizeof err->text, fmt, ap);
        va_end(ap);
        err->code = code;
        err->sys_errno = 0;
    }
    errno = saved;
    return -(int)err->code;
}

int error_set_errno(struct error *err, enum error_code code, const char *fmt, ...) {
    assert(err && code > ERR_NONE && code < ERR_COUNT);
    int saved = errno;
    if (err->code == ERR_NONE) {
        va_list ap;
        va_start(ap, fmt);
        /* The cause must survive a long path, so the text leaves it room. */
        size_t len = text_format(err->text, sizeof err->text - 128, fmt, ap);
        va_end(ap);
        char cause[128];
        const char *reason = strerrordesc_np(saved);
        if (reason)
            snprintf(cause, sizeof cause, ": %s", reason);
        else
            snprintf(cause, sizeof cause, ": error %d", saved);
        text_append(err->text, sizeof err->text, len, cause);
        const bool plain = code == ERR_IO_READ || code == ERR_IO_WRITE;
        const bool denied = plain && (saved == EACCES || saved == EPERM), cannot = plain && saved == EOPNOTSUPP;
        err->code = saved == ENOSPC || saved == EDQUOT ? ERR_IO_FULL
                    : saved == ENOMEM                  ? ERR_NO_MEMORY
                    : denied                           ? ERR_IO_DENIED
                    : cannot                           ? ERR_IO_UNSUPPORTED
                                                       : code;
        err->sys_errno = saved;
    }
    errno = saved;
    return -(int)err->code;
}

int error_wrap(struct error *err, const char *fmt, ...) {
    assert(err && err->code != ERR_NONE);
    int saved = errno;
    char context[sizeof err->text];
    size_t len = strlen(err->text);
    /* Only the context is ever cut: the cause stands at the end and matters most. */
    size_t room = sizeof err->text - 1 - len;
    if (room > 2) {
        va_list ap;
        va_start(ap, fmt);
        size_t n = text_format(context, room - 1, fmt, ap);
        va_end(ap);
        memcpy(context + n, ": ", 2);
        memmove(err->text + n + 2, err->text, len + 1);
        memcpy(err->text, context, n + 2);
    }
    errno = saved;
    return -(int)err->code;
}

int error_state(struct error *err, const char *fmt, ...) {
    int saved = errno;
    if (!err->state[0]) {
        va_list ap;
        va_start(ap, fmt);
        text_format(err->state, sizeof err->state, fmt, ap);
        va_end(ap);
    }
    errno = saved;
    return -(int)err->code;
}

int error_next(struct error *err, const char *fmt, ...) {
    int saved = errno;
    if (!err->next[0]) {
        va_list ap;
        va_start(ap, fmt);
        text_format(err->next, sizeof err->next, fmt, ap);
        va_end(ap);
    }
    errno = saved;
    return -(int)err->code;
}

void error_clear(struct error *err) {
    *err = ERROR_INIT;
}

const struct error_info *error_info(int code) {
    if (code < 0 && code > -(int)ERR_COUNT) code = -code;
    return &error_rows[code > 0 && code < (int)ERR_COUNT ? code : (int)ERR_INTERNAL];
}

const struct error_info *error_info_by_code(const char *code) {
    for (int i = 1; i < (int)ERR_COUNT; i++)
        if (!strcasecmp(error_rows[i].code, code)) return &error_rows[i];
    return NULL;
}
