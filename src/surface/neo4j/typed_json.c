#include "surface/neo4j/graph_internal.h"

#include <math.h>
#include <stdio.h>

#define OFFSET_MAX 86400

/* Values as Neo4j's Query API writes them: {"$type": …, "_value": …}, numbers and times as texts. */

static int put_text(struct bytes text, struct buf *out, struct error *err) {
    int r = buf_append_str(out, "\"", err);
    for (size_t i = 0; r == 0 && i < text.len; i++) {
        uint8_t c = text.ptr[i];
        if (c == '"' || c == '\\')
            r = buf_printf(out, err, "\\%c", c);
        else if (c < 0x20)
            r = buf_printf(out, err, "\\u%04x", c);
        else
            r = buf_append(out, &c, 1, err);
    }
    return r == 0 ? buf_append_str(out, "\"", err) : r;
}

/* Days since 1970 to a day of the proleptic Gregorian calendar. */
static int put_date(int64_t days, struct buf *out, struct error *err) {
    if (days < -400000000000 || days > 400000000000) return error_set(err, ERR_NEO4J_VALUE, "a date is no date");
    int64_t z = days + 719468, era = (z >= 0 ? z : z - 146096) / 146097, of_era = z - era * 146097;
    int64_t year_of_era = (of_era - of_era / 1460 + of_era / 36524 - of_era / 146096) / 365;
    int64_t day_of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    int64_t part = (5 * day_of_year + 2) / 153, month = part < 10 ? part + 3 : part - 9;
    int64_t year = year_of_era + era * 400 + (month <= 2);
    int64_t day = day_of_year - (153 * part + 2) / 5 + 1;
    const char *sign = year > 9999 ? "+" : year < 0 ? "-" : "";
    return buf_printf(out, err, "%s%04lld-%02d-%02d", sign, (long long)(year < 0 ? -year : year), (int)month, (int)day);
}

static int put_clock(int64_t seconds, int64_t ns, struct buf *out, struct error *err) {
    int r =
        buf_printf(out, err, "%02d:%02d:%02d", (int)(seconds / 3600), (int)(seconds / 60 % 60), (int)(seconds % 60));
    return r == 0 && ns ? buf_printf(out, err, ".%09d", (int)ns) : r;
}

static int put_offset(int64_t offset, struct buf *out, struct error *err) {
    if (offset < -OFFSET_MAX || offset > OFFSET_MAX) return error_set(err, ERR_NEO4J_VALUE, "a time is none");
    int s = (int)(offset < 0 ? -offset : offset);
    if (offset == 0) return buf_append_str(out, "Z", err);
    int r = buf_printf(out, err, "%c%02d:%02d", offset < 0 ? '-' : '+', s / 3600, s / 60 % 60);
    return r == 0 && s % 60 ? buf_printf(out, err, ":%02d", s % 60) : r;
}

static int put_instant(int64_t seconds, int64_t ns, struct buf *out, struct error *err) {
    int64_t day = seconds / 86400, rest = seconds % 86400;
    if (rest < 0) {
        rest += 86400;
        day--;
    }
    int r = put_date(day, out, err);
    if (r == 0) r = buf_append_str(out, "T", err);
    return r == 0 ? put_clock(rest, ns, out, err) : r;
}

static int put_duration(const int64_t *n, struct buf *out, struct error *err) {
    /* one sign for seconds and their fraction */
    int64_t s = n[2], ns = n[3];
    bool minus = s < 0 && ns > 0;
    if (minus) {
        s++;
        ns = 1000000000 - ns;
    }
    int r = buf_printf(out, err, "P%lldM%lldDT%s%lld", (long long)n[0], (long long)n[1], minus && s == 0 ? "-" : "",
                       (long long)s);
    if (r == 0 && ns) r = buf_printf(out, err, ".%09d", (int)ns);
    return r == 0 ? buf_append_str(out, "S", err) : r;
}

static double real(uint64_t bits) {
    double d;
    memcpy(&d, &bits, sizeof d);
    return d;
}

static int put_real(double d, struct buf *out, struct error *err) {
    if (isnan(d)) return buf_append_str(out, "NaN", err);
    if (isinf(d)) return buf_append_str(out, d < 0 ? "-Infinity" : "Infinity", err);
    return buf_printf(out, err, "%.17g", d);
}

static int put_times(uint8_t tag, const int64_t *n, struct bytes zone, struct buf *out, struct error *err) {
    static const int64_t second = 1000000000;
    int64_t local;
    int r = 0;
    switch (tag) {
    case TAG_DATE:
        return put_date(n[0], out, err);
    case TAG_LOCAL_TIME:
        return put_clock(n[0] / second, n[0] % second, out, err);
    case TAG_TIME:
        r = put_clock(n[0] / second, n[0] % second, out, err);
        return r == 0 ? put_offset(n[1], out, err) : r;
    case TAG_LOCAL_DATE_TIME:
        return put_instant(n[0], n[1], out, err);
    case TAG_DATE_TIME:
        if (__builtin_add_overflow(n[0], n[2], &local)) return error_set(err, ERR_NEO4J_VALUE, "a time is none");
        r = put_instant(local, n[1], out, err);
        return r == 0 ? put_offset(n[2], out, err) : r;
    case TAG_DATE_TIME_ZONE:
        r = put_instant(n[0], n[1], out, err);
        if (r == 0) r = buf_append_str(out, "Z[", err);
        if (r == 0) r = buf_append(out, zone.ptr, zone.len, err);
        return r == 0 ? buf_append_str(out, "]", err) : r;
    case TAG_DURATION:
        return put_duration(n, out, err);
    }
    return error_set(err, ERR_NEO4J_VALUE, "a structure of unknown kind %02x", tag);
}

static const char *type_of(uint8_t tag) {
    switch (tag) {
    case TAG_DATE:
        return "Date";
    case TAG_TIME:
        return "Time";
    case TAG_LOCAL_TIME:
        return "LocalTime";
    case TAG_DATE_TIME:
        return "OffsetDateTime";
    case TAG_DATE_TIME_ZONE:
        return "ZonedDateTime";
    case TAG_LOCAL_DATE_TIME:
        return "LocalDateTime";
    case TAG_DURATION:
        return "Duration";
    case TAG_POINT_2D:
    case TAG_POINT_3D:
        return "Point";
    }
    return "Unsupported";
}

static int put_struct(struct ps_in *in, const struct ps_value *v, struct buf *out, struct error *err) {
    int64_t n[4] = {0};
    double at[4] = {0};
    struct bytes zone = {0};
    struct ps_value m;
    int r = v->count <= 4 ? 0 : error_set(err, ERR_NEO4J_VALUE, "a structure of unknown kind %02x", v->tag);
    for (uint32_t i = 0; r == 0 && i < v->count; i++) {
        r = ps_next(in, &m, err);
        n[i] = m.number;
        at[i] = real(m.bits);
        if (m.kind == PACK_TEXT) zone = m.text;
    }
    if (r == 0) r = buf_printf(out, err, "{\"$type\":\"%s\",\"_value\":\"", type_of(v->tag));
    if (r == 0 && (v->tag == TAG_POINT_2D || v->tag == TAG_POINT_3D)) {
        r = buf_printf(out, err, "SRID=%lld;POINT %s(", (long long)n[0], v->count == 4 ? "Z " : "");
        for (uint32_t i = 1; r == 0 && i < v->count; i++) {
            if (i > 1) r = buf_append_str(out, " ", err);
            if (r == 0) r = put_real(at[i], out, err);
        }
        if (r == 0) r = buf_append_str(out, ")", err);
    } else if (r == 0) {
        r = put_times(v->tag, n, zone, out, err);
    }
    return r == 0 ? buf_append_str(out, "\"}", err) : r;
}

static int put_value(struct ps_in *in, bool in_list, struct buf *out, struct error *err) {
    struct ps_value v;
    int r = ps_next(in, &v, err);
    if (r < 0) return r;
    switch (v.kind) {
    case PACK_NULL:
        return buf_append_str(out, "{\"$type\":\"Null\",\"_value\":null}", err);
    case PACK_BOOL:
        return buf_printf(out, err, "{\"$type\":\"Boolean\",\"_value\":%s}", v.flag ? "true" : "false");
    case PACK_INT:
        return buf_printf(out, err, "{\"$type\":\"Integer\",\"_value\":\"%lld\"}", (long long)v.number);
    case PACK_FLOAT:
        r = buf_append_str(out, "{\"$type\":\"Float\",\"_value\":\"", err);
        if (r == 0) r = put_real(real(v.bits), out, err);
        return r == 0 ? buf_append_str(out, "\"}", err) : r;
    case PACK_BYTES:
        r = buf_append_str(out, "{\"$type\":\"Base64\",\"_value\":\"", err);
        if (r == 0) r = base64_encode(out, v.text, err);
        return r == 0 ? buf_append_str(out, "\"}", err) : r;
    case PACK_TEXT:
        r = buf_append_str(out, "{\"$type\":\"String\",\"_value\":", err);
        if (r == 0) r = put_text(v.text, out, err);
        return r == 0 ? buf_append_str(out, "}", err) : r;
    case PACK_STRUCT:
        return put_struct(in, &v, out, err);
    case PACK_LIST:
    case PACK_MAP:
        break;
    }
    if (v.kind == PACK_MAP || in_list) return error_set(err, ERR_NEO4J_VALUE, "a property is a map or a list of lists");
    r = buf_append_str(out, "{\"$type\":\"List\",\"_value\":[", err);
    for (uint32_t i = 0; r == 0 && i < v.count; i++) {
        if (i) r = buf_append_str(out, ",", err);
        if (r == 0) r = put_value(in, true, out, err);
    }
    return r == 0 ? buf_append_str(out, "]}", err) : r;
}

int value_put_json(struct ps_in *in, struct buf *out, struct error *err) {
    return put_value(in, false, out, err);
}

int value_put_json_text(struct bytes text, struct buf *out, struct error *err) {
    return put_text(text, out, err);
}
