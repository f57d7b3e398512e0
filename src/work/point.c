#include "work/point.h"

#include "base/time.h"

const char *point_level(enum verify_level level) {
    return level == VERIFY_NONE ? "none" : config_level_name((enum config_level)level);
}

int64_t point_time(const struct snapshot_info *i) {
    return i->stored_ns && i->stored_ns < i->started_ns ? i->stored_ns : i->started_ns;
}

json_t *point_time_json(int64_t ns) {
    char text[32];
    if (ns == 0) return json_null();
    time_format(ns, text);
    return json_string(text);
}

static json_t *source_json(const struct snapshot_info *i) {
    char repository[33], entry[65];
    if (!i->is_copy) return json_null();
    hex_encode(i->source.repository, sizeof i->source.repository, repository);
    hex_encode(i->source.entry.b, sizeof i->source.entry.b, entry);
    return json_pack("{s:s, s:I, s:s}", "repository", repository, "log_seq", (json_int_t)i->source.seq, "entry", entry);
}

int point_json(const struct snapshot_info *i, json_t **ret, struct error *err) {
    char entry[65], writer[65];
    hex_encode(i->entry.b, sizeof i->entry.b, entry);
    hex_encode(i->writer, sizeof i->writer, writer);
    json_t *j =
        json_pack("{s:s, s:s, s:s, s:s, s:s, s:b, s:o, s:o, s:o, s:o, s:I, s:I, s:I, s:s, s:o, s:b, s:i, s:b, "
                  "s:I, s:s, s:s, s:o, s:s?, s:b}",
                  "id", i->id, "environment", i->environment, "surface", i->surface, "kind", i->kind, "receipt_surface",
                  i->receipt_surface, "complete", i->complete, "time", point_time_json(point_time(i)), "started_at",
                  point_time_json(i->started_ns), "completed_at", point_time_json(i->completed_ns), "stored_at",
                  point_time_json(i->stored_ns), "items", (json_int_t)i->items, "bytes", (json_int_t)i->bytes,
                  "stored_bytes", (json_int_t)i->stored_bytes, "verified", point_level(i->verified), "verified_at",
                  point_time_json(i->verified_ns), "damaged", i->verify_failed, "holds", (int)i->holds, "forgotten",
                  i->forgotten, "log_seq", (json_int_t)i->seq, "entry", entry, "writer", writer, "copy_of",
                  source_json(i), "fallback_of", i->fallback, "before_restore", i->before_restore);
    if (!j) return error_set(err, ERR_NO_MEMORY, "no memory for a recovery point");
    *ret = j;
    return 0;
}
