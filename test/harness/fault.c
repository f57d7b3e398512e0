#include "fault.h"
#include <errno.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

static struct {
    atomic_ulong total, per_op[SEAM_OP_COUNT], hits;
    atomic_ulong fail_at, kill_at, exit_at; /* 0 means never */
    atomic_uint hit;                        /* op + 1 */
    int sys_errno, exit_status;
    bool from_then_on, short_io;
    enum seam_op only;
    char count_file[4096];
} fault = {.only = SEAM_OP_COUNT};

static const char *const op_names[] = {
#define SEAM_OP(result, name, params, args) #name,
    SEAM_OPS
#undef SEAM_OP
};

const char *fault_op_name(enum seam_op op) {
    return op_names[op];
}

static int natural_errno(enum seam_op op) {
    switch (op) {
    case SEAM_alloc:
    case SEAM_realloc:
    case SEAM_alloc_aligned:
    case SEAM_mmap:
        return ENOMEM;
    case SEAM_write:
    case SEAM_pwrite:
    case SEAM_fallocate:
        return ENOSPC;
    case SEAM_fork:
        return EAGAIN;
    default:
        return EIO;
    }
}

/* Counts the call; true when it is to fail, with errno set. */
static bool fault_strikes(enum seam_op op) {
    if (fault.only != SEAM_OP_COUNT && fault.only != op) return false;
    atomic_fetch_add(&fault.per_op[op], 1);
    uint64_t n = atomic_fetch_add(&fault.total, 1) + 1;
    if (n == fault.kill_at) {
        kill(getpid(), SIGKILL);
        for (;;) pause();
    }
    if (n == fault.exit_at) _exit(fault.exit_status);
    if (!fault.fail_at || (fault.from_then_on ? n < fault.fail_at : n != fault.fail_at)) return false;
    if (atomic_fetch_add(&fault.hits, 1) == 0) atomic_store(&fault.hit, (unsigned)op + 1);
    errno = fault.sys_errno ? fault.sys_errno : natural_errno(op);
    return true;
}

static intptr_t failed_value(enum seam_op op) {
    switch (op) {
    case SEAM_alloc:
    case SEAM_realloc:
    case SEAM_alloc_aligned:
    case SEAM_fdopendir:
    case SEAM_readdir:
        return 0;
    default:
        return -1;
    }
}

static size_t cut(size_t n) {
    return fault.short_io && n > 1 ? n / 2 : n;
}

static int real_close(int fd) {
    return seam_system.close(fd);
}

/* Each op's call to the system; the four that can move less, and the three that let go even when they fail, are their
 * own. */
#define SEAM_OP(result, name, params, args)                                                                            \
    static result faulty_##name params {                                                                               \
        if (fault_strikes(SEAM_##name)) return (result)failed_value(SEAM_##name);                                      \
        return seam_system.name args;                                                                                  \
    }
#define faulty_read plain_read
#define faulty_pread plain_pread
#define faulty_write plain_write
#define faulty_pwrite plain_pwrite
#define faulty_close plain_close
#define faulty_closedir plain_closedir
#define faulty_munmap plain_munmap
SEAM_OPS
#undef SEAM_OP
#undef faulty_read
#undef faulty_pread
#undef faulty_write
#undef faulty_pwrite
#undef faulty_close
#undef faulty_closedir
#undef faulty_munmap

static ssize_t faulty_read(int fd, void *p, size_t n) {
    return plain_read(fd, p, cut(n));
}
static ssize_t faulty_pread(int fd, void *p, size_t n, off_t at) {
    return plain_pread(fd, p, cut(n), at);
}
static ssize_t faulty_write(int fd, const void *p, size_t n) {
    return plain_write(fd, p, cut(n));
}
/* Whole blocks are cut to whole blocks, as they may go past the page cache, where the system never tears one. */
static ssize_t faulty_pwrite(int fd, const void *p, size_t n, off_t at) {
    size_t part = cut(n);
    if (n % 4096 == 0 && part % 4096 != 0) part = part < 4096 ? n : part & ~(size_t)4095;
    return plain_pwrite(fd, p, part, at);
}

static int faulty_close(int fd) {
    int r = plain_close(fd), saved = errno;
    if (r < 0 && saved != EINTR) real_close(fd);
    errno = saved;
    return r;
}

static int faulty_closedir(DIR *d) {
    int r = plain_closedir(d), saved = errno;
    if (r < 0 && saved != EINTR) seam_system.closedir(d);
    errno = saved;
    return r;
}

/* What stays mapped would be a process's last failure, after the thousands that a sweep has in one. */
static int faulty_munmap(void *p, size_t n) {
    int r = plain_munmap(p, n), saved = errno;
    if (r < 0) seam_system.munmap(p, n);
    errno = saved;
    return r;
}

static const struct seam seam_faulty = {
#define SEAM_OP(result, name, params, args) .name = faulty_##name,
    SEAM_OPS
#undef SEAM_OP
};

void fault_install(void) {
    fault.total = fault.hits = fault.fail_at = fault.kill_at = fault.exit_at = 0;
    for (int i = 0; i < SEAM_OP_COUNT; i++) fault.per_op[i] = 0;
    fault.hit = 0;
    fault.short_io = fault.from_then_on = false;
    fault.only = SEAM_OP_COUNT;
    seam_table = &seam_faulty;
}

void fault_remove(void) {
    seam_table = &seam_system;
}

void fault_fail(uint64_t n, int sys_errno, bool from_then_on) {
    fault.sys_errno = sys_errno;
    fault.from_then_on = from_then_on;
    fault.fail_at = n;
}

void fault_kill(uint64_t n) {
    fault.kill_at = n;
}

void fault_exit(uint64_t n, int status) {
    fault.exit_status = status;
    fault.exit_at = n;
}

void fault_short(bool on) {
    fault.short_io = on;
}
void fault_only(enum seam_op op) {
    fault.only = op;
}
uint64_t fault_calls(void) {
    return fault.total;
}
uint64_t fault_op_calls(enum seam_op op) {
    return fault.per_op[op];
}
uint64_t fault_hits(void) {
    return fault.hits;
}

const char *fault_hit(void) {
    const unsigned op = fault.hit;
    return op ? op_names[op - 1] : "none";
}

uint64_t fault_each(bool from_then_on, fault_run run, void *arg) {
    uint64_t n = 0;
    do {
        fault_install();
        fault_fail(++n, 0, from_then_on);
        run(arg, n);
    } while (fault_hits() > 0);
    fault_remove();
    return n - 1;
}

static _Noreturn void spec_refused(const char *spec) {
    fprintf(stderr, "PROOFKEEP_TEST_FAULT: '%s' is none of count:FILE, fail:N:ERRNO[:on], kill:N, short\n", spec);
    _exit(97);
}

static void counts_write(void) {
    FILE *f = fopen(fault.count_file, "w");
    if (!f) abort();
    for (int i = 0; i < SEAM_OP_COUNT; i++)
        if (fault.per_op[i]) fprintf(f, "%s %lu\n", op_names[i], fault.per_op[i]);
    fprintf(f, "total %lu\n", fault.total);
    if (fclose(f)) abort();
}

/* "ENOSPC", "28" or "0"; -1 for neither. */
static int errno_parse(const char *s, size_t n) {
    char text[32], *end;
    if (n == 0 || n >= sizeof text) return -1;
    memcpy(text, s, n);
    text[n] = 0;
    for (int e = 1; e < 256; e++)
        if (strerrorname_np(e) && !strcmp(strerrorname_np(e), text)) return e;
    long v = strtol(text, &end, 10);
    return *end || v < 0 || v > 255 ? -1 : (int)v;
}

__attribute__((constructor)) static void fault_from_environment(void) {
    const char *spec = getenv("PROOFKEEP_TEST_FAULT");
    if (!spec || !*spec) return;
    fault_install();
    char *end;
    if (!strncmp(spec, "count:", 6)) {
        if (!spec[6] || strlen(spec + 6) >= sizeof fault.count_file) spec_refused(spec);
        memcpy(fault.count_file, spec + 6, strlen(spec + 6) + 1);
        if (atexit(counts_write)) abort();
    } else if (!strncmp(spec, "fail:", 5)) {
        unsigned long n = strtoul(spec + 5, &end, 10);
        if (n == 0 || *end != ':') spec_refused(spec);
        const char *name = end + 1, *colon = strchr(name, ':');
        int e = errno_parse(name, colon ? (size_t)(colon - name) : strlen(name));
        if (e < 0 || (colon && strcmp(colon, ":on"))) spec_refused(spec);
        fault_fail(n, e, colon != NULL);
    } else if (!strncmp(spec, "kill:", 5)) {
        unsigned long n = strtoul(spec + 5, &end, 10);
        if (n == 0 || *end) spec_refused(spec);
        fault_kill(n);
    } else if (!strcmp(spec, "short")) {
        fault_short(true);
    } else {
        spec_refused(spec);
    }
}
