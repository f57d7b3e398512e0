/* pg_control: ControlFileData of PostgreSQL's catalog/pg_control.h, as a 64-bit little-endian server writes it. To 17
 * the fields read here have one layout; 18 put one more before the checksum. */
#include "surface/pgphys/pgphys.h"

#define VERSION_15 1300 /* and 16 */
#define VERSION_17 1700
#define VERSION_18 1800
enum place {
    AT_SYSTEM = 0,
    AT_VERSION = 8,
    AT_CATALOG = 12,
    AT_STATE = 16,
    AT_CHECKPOINT = 32,
    AT_REDO = 40,
    AT_TIMELINE = 48,
    AT_MIN_RECOVERY = 136,
    AT_MIN_RECOVERY_TIMELINE = 144,
    AT_MAX_CONNECTIONS = 180,
    AT_MAX_WORKER_PROCESSES = 184,
    AT_MAX_WAL_SENDERS = 188,
    AT_MAX_PREPARED_XACTS = 192,
    AT_MAX_LOCKS_PER_XACT = 196,
    AT_BLOCK_BYTES = 216,
    AT_SEGMENT_BLOCKS = 220,
    AT_WAL_BLOCK_BYTES = 224,
    AT_WAL_SEGMENT_BYTES = 228,
    AT_CHECKSUM_VERSION = 252,
    AT_CRC_15 = 288,
    AT_CRC_18 = 292,
};

/* Castagnoli's polynomial, reflected; RFC 3720, appendix B.4. Read once a backup, so a bit at a time will do. */
static uint32_t crc32c(const uint8_t *p, size_t n) {
    uint32_t crc = UINT32_MAX;
    for (size_t i = 0; i < n; i++) {
        crc ^= p[i];
        for (int k = 0; k < 8; k++) crc = crc >> 1 ^ (crc & 1 ? 0x82F63B78u : 0);
    }
    return ~crc;
}

static bool power_of_two(uint32_t v, uint32_t min, uint32_t max) {
    return v >= min && v <= max && (v & (v - 1)) == 0;
}

int pgphys_control_read(struct bytes file, struct pgphys_control *ret, struct error *err) {
    const uint8_t *p = file.ptr;
    if (file.len < AT_CRC_18 + 4) return error_set(err, ERR_PG_CONTROL, "pg_control has only %zu bytes", file.len);
    const uint32_t version = get_u32(p + AT_VERSION);
    if (version != VERSION_15 && version != VERSION_17 && version != VERSION_18)
        return error_set(err, ERR_PG_CONTROL, "pg_control is of version %u, and this program knows %d, %d and %d",
                         version, VERSION_15, VERSION_17, VERSION_18);
    const size_t crc_at = version == VERSION_18 ? AT_CRC_18 : AT_CRC_15;
    const uint32_t is = crc32c(p, crc_at), says = get_u32(p + crc_at);
    if (is != says)
        return error_set(err, ERR_PG_CONTROL, "pg_control has the checksum %08x and says that it is %08x", is, says);
    struct pgphys_control c = {
        .system = get_u64(p + AT_SYSTEM),
        .version = version,
        .catalog = get_u32(p + AT_CATALOG),
        .state = get_u32(p + AT_STATE),
        .checkpoint = get_u64(p + AT_CHECKPOINT),
        .redo = get_u64(p + AT_REDO),
        .min_recovery = get_u64(p + AT_MIN_RECOVERY),
        .timeline = get_u32(p + AT_TIMELINE),
        .min_recovery_timeline = get_u32(p + AT_MIN_RECOVERY_TIMELINE),
        .block_bytes = get_u32(p + AT_BLOCK_BYTES),
        .segment_blocks = get_u32(p + AT_SEGMENT_BLOCKS),
        .wal_block_bytes = get_u32(p + AT_WAL_BLOCK_BYTES),
        .wal_segment_bytes = get_u32(p + AT_WAL_SEGMENT_BYTES),
        .checksum_version = get_u32(p + AT_CHECKSUM_VERSION),
        .max_connections = (int32_t)get_u32(p + AT_MAX_CONNECTIONS),
        .max_worker_processes = (int32_t)get_u32(p + AT_MAX_WORKER_PROCESSES),
        .max_wal_senders = (int32_t)get_u32(p + AT_MAX_WAL_SENDERS),
        .max_prepared_xacts = (int32_t)get_u32(p + AT_MAX_PREPARED_XACTS),
        .max_locks_per_xact = (int32_t)get_u32(p + AT_MAX_LOCKS_PER_XACT),
    };
    if (!power_of_two(c.block_bytes, 1u << 10, 32u << 10) || !power_of_two(c.wal_block_bytes, 1u << 10, 64u << 10) ||
        !power_of_two(c.wal_segment_bytes, WAL_SEGMENT_MIN, WAL_SEGMENT_MAX) || c.segment_blocks == 0)
        return error_set(err, ERR_PG_CONTROL,
                         "pg_control has impossible sizes: blocks of %u bytes, segments of %u blocks, WAL blocks of %u "
                         "bytes, WAL segments of %u",
                         c.block_bytes, c.segment_blocks, c.wal_block_bytes, c.wal_segment_bytes);
    *ret = c;
    return 0;
}
