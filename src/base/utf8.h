/* UTF-8 as RFC 3629 has it: no surrogates, no overlong forms, nothing above U+10FFFF. */
#ifndef PK_BASE_UTF8_H
#define PK_BASE_UTF8_H

#include <stddef.h>
#include <stdint.h>

/* Bytes of the valid character at p (1 to 4), or 0 when p does not start one within its n bytes. */
size_t utf8_char_bytes(const uint8_t *p, size_t n);

#endif
