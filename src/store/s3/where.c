#include "store/s3/where.h"
#include "store/s3/s3_internal.h"

static bool is_aws(const char *endpoint) {
    static const char *const ends[] = {".amazonaws.com", ".amazonaws.com.cn"};
    const char *host = strstr(endpoint, "://");
    if (!host) return true;
    host += 3;
    size_t n = strcspn(host, ":");
    for (size_t i = 0; i < sizeof ends / sizeof *ends; i++) {
        size_t m = strlen(ends[i]);
        if (n > m && strncasecmp(host + n - m, ends[i], m) == 0) return true;
    }
    return false;
}

int s3_where(const char *url, struct s3_where *ret, struct error *err) {
    struct s3_place p;
    int rc = s3_place_parse(url, &p, err);
    if (rc < 0) return rc;
    *ret = (struct s3_where){.aws = is_aws(p.endpoint)};
    snprintf(ret->bucket, sizeof ret->bucket, "%s", p.bucket);
    snprintf(ret->prefix, sizeof ret->prefix, "%s", p.prefix);
    snprintf(ret->region, sizeof ret->region, "%s", p.region);
    snprintf(ret->kms_key, sizeof ret->kms_key, "%s", p.kms_key);
    return 0;
}
