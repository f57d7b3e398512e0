#include "base/seam.h"
#include "base/time.h"
#include "store/s3/s3_internal.h"
#include <ctype.h>
#include <stdlib.h>

#define VALUE_BYTES_MAX ((size_t)1024)

static int bad_url(const char *what, struct error *err, const char *url) {
    size_t shown = strchr(url, '@') ? strlen("s3://") : strcspn(url, "?");
    return error_set(err, ERR_USAGE, "the address '%.*s' %s", (int)(shown < 200 ? shown : 200), url, what);
}

static bool bucket_ok(const char *b) {
    size_t n = strlen(b);
    if (n < 3 || n > 63 || !isalnum((unsigned char)b[0]) || !isalnum((unsigned char)b[n - 1]) || strstr(b, ".."))
        return false;
    for (; *b; b++)
        if (!islower((unsigned char)*b) && !isdigit((unsigned char)*b) && *b != '-' && *b != '.') return false;
    return true;
}

/* "https://host[:port]", no more. A trailing '/' is dropped. */
static bool endpoint_ok(char *e) {
    const char *host = strncmp(e, "https://", 8) == 0 ? e + 8 : strncmp(e, "http://", 7) == 0 ? e + 7 : NULL;
    if (!host) return false;
    size_t n = strlen(e);
    if (n > 0 && e[n - 1] == '/') e[--n] = 0;
    bool in_brackets = host[0] == '[';
    for (const char *p = host; *p; p++)
        if (!isalnum((unsigned char)*p) && !strchr(in_brackets ? ".-:[]" : ".-:", *p)) return false;
    return *host && *host != ':';
}

static bool words_ok(const char *v, const char *also) {
    for (const char *p = v; *p; p++)
        if (!isalnum((unsigned char)*p) && !strchr(also, *p)) return false;
    return *v != 0;
}

static bool text_into(char *to, size_t cap, const char *v) {
    if (to[0] || strlen(v) >= cap) return false;
    memcpy(to, v, strlen(v) + 1);
    return true;
}

/* What a parameter wants, NULL when it has it. */
static const char *take(struct s3_place *p, const char *name, char *v, bool *ret_known) {
    *ret_known = true;
    if (strcmp(name, "endpoint") == 0)
        return endpoint_ok(v) && text_into(p->endpoint, sizeof p->endpoint, v) ? NULL
                                                                               : "https://host[:port] or http://…";
    if (strcmp(name, "region") == 0)
        return words_ok(v, "-_") && text_into(p->region, sizeof p->region, v) ? NULL : "a region's name";
    if (strcmp(name, "style") == 0) {
        bool path = strcmp(v, "path") == 0, virtual = strcmp(v, "virtual") == 0;
        p->style_given = true;
        p->path_style = path;
        return path || virtual ? NULL : "path or virtual";
    }
    if (strcmp(name, "ca_file") == 0)
        return v[0] == '/' && text_into(p->ca_file, sizeof p->ca_file, v) ? NULL : "an absolute path";
    if (strcmp(name, "credentials_file") == 0)
        return v[0] == '/' && text_into(p->credentials_file, sizeof p->credentials_file, v) ? NULL : "an absolute path";
    if (strcmp(name, "profile") == 0)
        return words_ok(v, "-_.+=,@/ ") && text_into(p->profile, sizeof p->profile, v) ? NULL : "a profile's name";
    if (strcmp(name, "sse") == 0)
        return (strcmp(v, "AES256") == 0 || strcmp(v, "aws:kms") == 0) && text_into(p->sse, sizeof p->sse, v)
                   ? NULL
                   : "AES256 or aws:kms";
    if (strcmp(name, "kms_key") == 0)
        return words_ok(v, "-_:/") && text_into(p->kms_key, sizeof p->kms_key, v) ? NULL : "a key's id, alias or ARN";
    if (strcmp(name, "storage_class") == 0)
        return s3_class_depth(v) == STORE_DEPTH_NONE && words_ok(v, "_-") &&
                       text_into(p->storage_class, sizeof p->storage_class, v)
                   ? NULL
                   : "a storage class that is read at once (data_storage_class, of packs only, may be an archive)";
    if (strcmp(name, "data_storage_class") == 0)
        return words_ok(v, "_-") && text_into(p->data_class, sizeof p->data_class, v) ? NULL : "a storage class";
    if (strcmp(name, "payload_digests") == 0) {
        p->digests = strcmp(v, "signed") == 0;
        return p->digests || strcmp(v, "unsigned") == 0 ? NULL : "signed or unsigned";
    }
    if (strcmp(name, "bandwidth") == 0)
        return size_parse(v, &p->bytes_per_s) && p->bytes_per_s >= 1024 ? NULL : "bytes a second, at least 1KiB";
    if (strcmp(name, "timeout") == 0)
        return duration_parse(v, &p->timeout_ns) && p->timeout_ns >= NS_PER_S && p->timeout_ns <= 3600 * NS_PER_S
                   ? NULL
                   : "a duration from 1s to 1h";
    if (strcmp(name, "connections") == 0) {
        p->connections = (unsigned)(strlen(v) <= 3 && strspn(v, "0123456789") == strlen(v) ? strtoul(v, NULL, 10) : 0);
        return p->connections >= 1 && p->connections <= 64 ? NULL : "1 to 64";
    }
    *ret_known = false;
    return NULL;
}

/* p..end is "name=value". */
static int take_parameter(struct s3_place *place, const char *p, size_t n, uint32_t *seen, struct error *err) {
    static const char *const names[] = {"endpoint",  "region",  "style",       "ca_file",           "credentials_file",
                                        "profile",   "sse",     "kms_key",     "storage_class",     "payload_digests",
                                        "bandwidth", "timeout", "connections", "data_storage_class"};
    const char *equals = memchr(p, '=', n);
    if (!equals || equals == p || equals - p > 32)
        return error_set(err, ERR_USAGE, "'%.*s' in the address is not name=value", (int)(n < 60 ? n : 60), p);
    char name[40];
    snprintf(name, sizeof name, "%.*s", (int)(equals - p), p);
    CLEANUP(buf_free) struct buf v = BUF_INIT(VALUE_BYTES_MAX);
    struct bytes raw = BYTES_OF(equals + 1, n - (size_t)(equals + 1 - p));
    struct error e = ERROR_INIT;
    if (!http_unescape(raw, &v, &e) || buf_terminate(&v, &e) < 0 || v.len == 0 ||
        strcspn((char *)v.ptr, "\r\n") < v.len)
        return error_set(err, ERR_USAGE, "the value of %s in the address cannot be one", name);
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        if (strcmp(names[i], name) != 0) continue;
        if (*seen & 1u << i) return error_set(err, ERR_USAGE, "the address says %s twice", name);
        *seen |= 1u << i;
    }
    bool known;
    const char *wants = take(place, name, (char *)v.ptr, &known);
    if (!known)
        return error_set(
            err, ERR_USAGE,
            "the address says %s, which is none of endpoint, region, style, ca_file, credentials_file, profile, "
            "sse, kms_key, storage_class, data_storage_class, payload_digests, bandwidth, timeout and connections",
            name);
    if (wants) return error_set(err, ERR_USAGE, "%s in the address wants %s, not '%.60s'", name, wants, (char *)v.ptr);
    return 0;
}

static int take_path(const char *url, const char *p, size_t n, struct s3_place *place, struct error *err) {
    const char *slash = memchr(p, '/', n);
    size_t bucket = slash ? (size_t)(slash - p) : n;
    snprintf(place->bucket, sizeof place->bucket, "%.*s", (int)(bucket < 64 ? bucket : 0), p);
    if (!bucket_ok(place->bucket))
        return bad_url("does not begin with a bucket's name (3 to 63 of a-z 0-9 . -)", err, url);
    const char *prefix = slash ? slash + 1 : p + n;
    size_t prefix_len = (size_t)(p + n - prefix);
    if (prefix_len > 0 && prefix[prefix_len - 1] == '/') prefix_len--;
    if (prefix_len == 0) return 0;
    if (prefix_len > S3_PREFIX_BYTES_MAX) return bad_url("has too long a prefix", err, url);
    memcpy(place->prefix, prefix, prefix_len);
    if (!store_key_valid(place->prefix))
        return bad_url("has a prefix with others than [A-Za-z0-9._-] between its slashes", err, url);
    place->prefix[prefix_len] = '/';
    return 0;
}

int s3_place_parse(const char *url, struct s3_place *ret, struct error *err) {
    struct s3_place p = {.digests = true, .connections = 8};
    if (strncmp(url, "s3://", 5) != 0) return bad_url("does not begin with s3://", err, url);
    const char *rest = url + 5, *question = strchr(rest, '?');
    size_t path = question ? (size_t)(question - rest) : strlen(rest);
    if (memchr(rest, '@', path)) {
        bad_url("has a user in it; credentials never stand in an address", err, url);
        return error_next(err, "Use a profile, a credentials_file or the environment's variables.");
    }
    if (strchr(rest, '#')) return bad_url("has a '#' in it", err, url);
    int rc = take_path(url, rest, path, &p, err);
    uint32_t seen = 0;
    for (const char *q = question ? question + 1 : NULL; q && rc == 0;) {
        size_t n = strcspn(q, "&");
        rc = take_parameter(&p, q, n, &seen, err);
        q = q[n] ? q + n + 1 : NULL;
    }
    if (rc < 0) return rc;
    if (p.kms_key[0] && strcmp(p.sse, "aws:kms") != 0)
        return error_set(err, ERR_USAGE, "kms_key in the address wants sse=aws:kms beside it");
    /* Other servers than AWS's seldom have a name a bucket. A bucket with a dot fits no certificate of AWS's. */
    if (!p.style_given) p.path_style = p.endpoint[0] || strchr(p.bucket, '.');
    *ret = p;
    return 0;
}
