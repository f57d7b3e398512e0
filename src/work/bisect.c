#include "work/bisect.h"

static int try_one(struct bisect_search *s, size_t i, struct error *err) {
    return s->answers[i] == BISECT_UNTRIED ? s->try(s->ctx, i, &s->answers[i], err) : 0;
}

/* The untried candidate nearest to the middle of (from, to); false when there is none. */
static bool middle(const struct bisect_search *s, size_t from, size_t to, size_t *ret) {
    size_t mid = from + (to - from) / 2;
    for (size_t step = 0; step <= to - from; step++) {
        if (mid + step > from && mid + step < to && s->answers[mid + step] == BISECT_UNTRIED) {
            *ret = mid + step;
            return true;
        }
        if (step < mid && mid - step > from && mid - step < to && s->answers[mid - step] == BISECT_UNTRIED) {
            *ret = mid - step;
            return true;
        }
    }
    return false;
}

/* From a clean one to a later one that is not, until nothing untried is left between them. */
static int halve(struct bisect_search *s, size_t clean, size_t not_clean, size_t *ret_clean, size_t *ret_not,
                 struct error *err) {
    size_t at;
    int rc = 0;
    while (rc == 0 && middle(s, clean, not_clean, &at)) {
        if ((rc = try_one(s, at, err)) < 0) break;
        if (s->answers[at] == BISECT_CLEAN) clean = at;
        if (s->answers[at] == BISECT_NOT) not_clean = at;
    }
    *ret_clean = clean;
    *ret_not = not_clean;
    return rc;
}

/* Any clean one, newest first and in growing steps, then whatever is left. */
static int hunt(struct bisect_search *s, size_t *ret, bool *ret_has, struct error *err) {
    int rc = 0;
    *ret_has = false;
    for (size_t pass = 0; rc == 0 && pass < 2 && !*ret_has; pass++) {
        for (size_t back = 1; rc == 0 && back < s->count && !*ret_has; back = pass ? back + 1 : back * 2) {
            size_t i = s->count - 1 - back;
            rc = try_one(s, i, err);
            *ret = i;
            *ret_has = rc == 0 && s->answers[i] == BISECT_CLEAN;
        }
    }
    return rc;
}

static int try_ends(struct bisect_search *s, struct error *err) {
    int rc = 0;
    for (size_t i = s->count; rc == 0 && i-- > 0;) {
        rc = try_one(s, i, err);
        if (rc == 0 && !s->every && s->answers[i] != BISECT_UNKNOWN) break;
    }
    for (size_t i = 0; rc == 0 && i < s->count; i++) {
        rc = try_one(s, i, err);
        if (rc == 0 && s->answers[i] != BISECT_UNKNOWN) break;
    }
    return rc;
}

static bool newest(const struct bisect_search *s, enum bisect_answer a, size_t *ret) {
    for (size_t i = s->count; i-- > 0;)
        if (s->answers[i] == a) {
            *ret = i;
            return true;
        }
    return false;
}

static void sum_up(const struct bisect_search *s, struct bisect_found *f) {
    bool not_yet = false;
    f->monotonic = true;
    f->has_clean = newest(s, BISECT_CLEAN, &f->last_clean);
    f->has_not = false;
    for (size_t i = 0; i < s->count; i++) {
        if (s->answers[i] == BISECT_NOT) not_yet = true;
        if (s->answers[i] == BISECT_CLEAN && not_yet) f->monotonic = false;
        if (f->has_not || s->answers[i] != BISECT_NOT || (f->has_clean && i < f->last_clean)) continue;
        f->has_not = true;
        f->first_not = i;
    }
}

int bisect_run(struct bisect_search *s, struct bisect_found *ret, struct error *err) {
    size_t clean = 0, end, last_not, at;
    int rc = try_ends(s, err);
    bool has = newest(s, BISECT_CLEAN, &clean);
    if (rc == 0 && !has && newest(s, BISECT_NOT, &end)) rc = hunt(s, &clean, &has, err);
    while (rc == 0 && has && newest(s, BISECT_NOT, &end) && clean < end) {
        rc = halve(s, clean, end, &clean, &last_not, err);
        /* Behind it all should be as bad as its end. */
        if (rc < 0 || !middle(s, last_not, end, &at)) break;
        if ((rc = try_one(s, at, err)) < 0 || s->answers[at] != BISECT_CLEAN) break;
        clean = at;
    }
    /* And before it as good. */
    size_t oldest = 0;
    while (oldest < s->count && (s->answers[oldest] == BISECT_UNTRIED || s->answers[oldest] == BISECT_UNKNOWN))
        oldest++;
    if (rc == 0 && has && oldest < clean && middle(s, oldest, clean, &at)) rc = try_one(s, at, err);
    sum_up(s, ret);
    return rc;
}
