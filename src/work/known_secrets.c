#include "work/known_secrets.h"

#include "base/seam.h"

#include <ctype.h>
#include <stdio.h>

#define SHORTEST 4

int known_secrets_begin(struct known_secrets *k, struct error *err) {
    void *mem;
    int rc = mem_alloc(sizeof *k->lock, &mem, err);
    if (rc < 0) return rc;
    k->lock = mem;
    pthread_mutex_init(k->lock, NULL);
    return 0;
}

static int add_one(struct known_secrets *k, struct bytes s, struct error *err) {
    while (s.len && isspace(s.ptr[0])) s = BYTES_OF(s.ptr + 1, s.len - 1);
    while (s.len && isspace(s.ptr[s.len - 1])) s.len--;
    if (s.len < SHORTEST) return 0;
    for (size_t i = 0; i < k->count; i++)
        if (bytes_equal(k->bytes[i], s)) return 0;
    if (k->count == KNOWN_SECRETS_MAX)
        return error_set(err, ERR_SECRET, "more than %d secrets in one run", KNOWN_SECRETS_MAX);
    int rc = secret_new(s, &k->list[k->count], err);
    if (rc < 0) return rc;
    k->bytes[k->count] = secret_bytes(k->list[k->count]);
    k->count++;
    return 0;
}

int known_secrets_add(struct known_secrets *k, struct bytes s, struct error *err) {
    pthread_mutex_lock(k->lock);
    int rc = add_one(k, s, err);
    /* tools quote line by line */
    while (rc == 0 && s.len) {
        const uint8_t *nl = memchr(s.ptr, '\n', s.len);
        size_t n = nl ? (size_t)(nl - s.ptr) : s.len;
        rc = add_one(k, BYTES_OF(s.ptr, n), err);
        n += nl ? 1 : 0;
        s = BYTES_OF(s.ptr + n, s.len - n);
    }
    pthread_mutex_unlock(k->lock);
    return rc;
}

struct redaction known_secrets_redaction(struct known_secrets *k) {
    return (struct redaction){k->bytes, k->count};
}

void known_secrets_clean(struct known_secrets *k, const char *text, char *out, size_t n) {
    struct buf clean = BUF_INIT(4u << 20);
    struct error lost = ERROR_INIT;
    pthread_mutex_lock(k->lock);
    struct redaction r = known_secrets_redaction(k);
    int rc = redact_known(text, &r, &clean, &lost);
    pthread_mutex_unlock(k->lock);
    snprintf(out, n, "%s", rc < 0 ? REDACTED : (const char *)clean.ptr);
    buf_free(&clean);
}

int known_secrets_error(struct known_secrets *k, int rc, struct error *err) {
    char text[sizeof err->text];
    char *const parts[] = {err->text, err->state, err->next};
    const size_t sizes[] = {sizeof err->text, sizeof err->state, sizeof err->next};
    for (size_t i = 0; rc < 0 && i < 3; i++) {
        if (!*parts[i]) continue;
        known_secrets_clean(k, parts[i], text, sizes[i]);
        snprintf(parts[i], sizes[i], "%s", text);
    }
    return rc;
}

void known_secrets_free(struct known_secrets *k) {
    for (size_t i = 0; i < k->count; i++) secret_free(k->list[i]);
    if (k->lock) pthread_mutex_destroy(k->lock);
    seam_free(k->lock);
    *k = (struct known_secrets){0};
}
