#include "base/seam.h"
#include "store/local/local_internal.h"

static int compare(const char *a, const char *b, size_t b_len) {
    int c = strncmp(a, b, b_len);
    return c != 0 ? c : a[b_len] != 0;
}

/* Where s stands, or would. */
static size_t find(const struct names *n, const char *s, size_t s_len, bool *ret_there) {
    size_t low = 0, high = n->len;
    while (low < high) {
        size_t mid = low + (high - low) / 2;
        if (compare(n->at[mid], s, s_len) < 0)
            low = mid + 1;
        else
            high = mid;
    }
    *ret_there = low < n->len && compare(n->at[low], s, s_len) == 0;
    return low;
}

bool names_has(const struct names *n, const char *s, size_t s_len) {
    bool there;
    (void)find(n, s, s_len, &there);
    return there;
}

int names_add(struct names *n, const char *s, size_t s_len, struct error *err) {
    bool there;
    size_t at = find(n, s, s_len, &there);
    if (there) return 0;
    void *grown = n->at, *copy;
    int rc = mem_grow(&grown, &n->cap, n->len + 1, sizeof *n->at, err);
    if (rc < 0) return rc;
    n->at = grown;
    rc = mem_alloc(s_len + 1, &copy, err);
    if (rc < 0) return rc;
    memcpy(copy, s, s_len);
    memmove(n->at + at + 1, n->at + at, (n->len - at) * sizeof *n->at);
    n->at[at] = copy;
    n->len++;
    return 0;
}

void names_free(struct names *n) {
    for (size_t i = 0; i < n->len; i++) seam_free(n->at[i]);
    seam_free(n->at);
    *n = (struct names){0};
}
