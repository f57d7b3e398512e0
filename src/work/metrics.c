#include "work/metrics.h"

#include <math.h>
#include <stdio.h>

const struct metric_info metric_table[METRIC_COUNT] = {
#define METRIC(id, name, type, unit, labels, help) [METRIC_##id] = {name, type, unit, labels, help},
#include "work/metrics_table.def"
#undef METRIC
};

#define LABEL_COUNT 7
static const char *const label_names[LABEL_COUNT] = {"env", "surface", "repo", "level", "version", "copy", "within"};

static const char *label_value(const struct metric_sample *s, size_t label) {
    const char *const values[LABEL_COUNT] = {s->env, s->surface, s->repo, s->level, s->version, s->copy, s->within};
    return values[label];
}

static bool label_wanted(const struct metric_info *info, const char *label) {
    size_t len = strlen(label);
    for (const char *at = info->labels; *at; at += at[strcspn(at, " ")] ? strcspn(at, " ") + 1 : strcspn(at, " "))
        if (strcspn(at, " ") == len && memcmp(at, label, len) == 0) return true;
    return false;
}

static bool same_text(const char *a, const char *b) {
    return a == b || (a && b && strcmp(a, b) == 0);
}

static bool same_series(const struct metric_sample *a, const struct metric_sample *b) {
    if (a->metric != b->metric) return false;
    for (size_t i = 0; i < LABEL_COUNT; i++)
        if (!same_text(label_value(a, i), label_value(b, i))) return false;
    return true;
}

static int samples_check(const struct metric_sample *samples, size_t n, struct error *err) {
    for (size_t i = 0; i < n; i++) {
        const struct metric_info *info = &metric_table[samples[i].metric];
        for (size_t k = 0; k < LABEL_COUNT; k++)
            if (label_wanted(info, label_names[k]) != (label_value(&samples[i], k) != NULL))
                return error_set(err, ERR_INTERNAL, "label %s of metric %s is missing or too many", label_names[k],
                                 info->name);
        for (size_t k = 0; k < i; k++)
            if (same_series(&samples[i], &samples[k]))
                return error_set(err, ERR_INTERNAL, "metric %s has one series twice", info->name);
    }
    return 0;
}

static int label_write(struct buf *out, const char *name, const char *value, const char *before, struct error *err) {
    int r = buf_printf(out, err, "%s%s=\"", before, name);
    for (; *value && r == 0; value++) {
        if (*value == '\n')
            r = buf_append_str(out, "\\n", err);
        else if (*value == '\\' || *value == '"')
            r = buf_printf(out, err, "\\%c", *value);
        else
            r = buf_append(out, value, 1, err);
    }
    return r == 0 ? buf_append_str(out, "\"", err) : r;
}

static int value_write(struct buf *out, double v, struct error *err) {
    if (isnan(v)) return buf_append_str(out, " NaN\n", err);
    if (isinf(v)) return buf_append_str(out, v > 0 ? " +Inf\n" : " -Inf\n", err);
    /* Whole numbers in full: exponents are legal, but people read this as well. */
    if (fabs(v) < 9e15 && v == (double)(int64_t)v) return buf_printf(out, err, " %lld\n", (long long)v);
    return buf_printf(out, err, " %.17g\n", v);
}

static int sample_write(struct buf *out, const struct metric_sample *s, struct error *err) {
    int r = buf_append_str(out, metric_table[s->metric].name, err);
    const char *before = "{";
    for (size_t i = 0; i < LABEL_COUNT && r == 0; i++) {
        if (!label_value(s, i)) continue;
        r = label_write(out, label_names[i], label_value(s, i), before, err);
        before = ",";
    }
    if (r == 0 && *before == ',') r = buf_append_str(out, "}", err);
    return r == 0 ? value_write(out, s->value, err) : r;
}

static int metric_write(enum metric m, const struct metric_sample *samples, size_t n, struct buf *out,
                        struct error *err) {
    const struct metric_info *info = &metric_table[m];
    bool begun = false;
    int r = 0;
    for (size_t i = 0; i < n && r == 0; i++) {
        if (samples[i].metric != m) continue;
        if (!begun)
            r = buf_printf(out, err, "# HELP %s %s\n# TYPE %s %s\n", info->name, info->help, info->name, info->type);
        begun = true;
        if (r == 0) r = sample_write(out, &samples[i], err);
    }
    return r;
}

int metrics_write(const struct metric_sample *samples, size_t n, struct buf *out, struct error *err) {
    size_t before = out->len;
    int r = samples_check(samples, n, err);
    for (int m = 0; m < METRIC_COUNT && r == 0; m++) r = metric_write((enum metric)m, samples, n, out, err);
    if (r < 0) out->len = before;
    return r;
}
