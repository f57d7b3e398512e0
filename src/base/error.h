/* Errors: one table, one caller-owned record that is wrapped on its way up and never replaced.
 *
 * A fallible function returns 0 or a negative `enum error_code`, is declared PK_CHECK, and takes a `struct error *` last.
 * The record keeps the innermost code; outer layers add context in front with error_wrap(). `err` may never be NULL.
 * Any thread may use its own record; a record is not shared between threads without a lock.
 */
#ifndef PK_BASE_ERROR_H
#define PK_BASE_ERROR_H

#include <stdarg.h>
#include <stddef.h>

#define PK_CHECK __attribute__((warn_unused_result))
#define PK_PRINTF(f, a) __attribute__((format(printf, f, a)))

/* Exit statuses of the program; numbers never change meaning. */
enum exit_status {
#define EXIT_STATUS(name, number, text) EXIT_##name = (number),
#include "base/exit_table.def"
#undef EXIT_STATUS
};

/* Error codes. 0 is success, so the enum starts at 1; functions return the negative. */
enum error_code {
    ERR_NONE = 0,
#define ERROR_CODE(name, code, status, what, next) ERR_##name,
#include "base/error_table.def"
#undef ERROR_CODE
    ERR_COUNT
};

/* One row of the table. */
struct error_info {
    const char *name;        /* "IO_READ" */
    const char *code;        /* "PK-IO-001", stable forever; also the runbook anchor, lower-cased */
    enum exit_status status; /* what the program exits with */
    const char *what;        /* one sentence, present tense */
    const char *next;        /* what the operator does next; may name a command */
};

struct error {
    enum error_code code; /* innermost; ERR_NONE when unset */
    int sys_errno;        /* errno at the innermost failure, 0 if none */
    char text[1536];      /* what happened, outermost context first, UTF-8, no secrets, no payload */
    char state[256];      /* what state the data is in; empty when the layer below could not know */
    char next[256];       /* the next command; empty means the table's */
};

#define ERROR_INIT ((struct error){0})

/* Record a failure and return the negative code. Truncates long text at a character boundary. Calling it on a record that
 * already holds a failure keeps the first (a bug in the caller, never a loss of the cause). Preserves errno. */
int error_set(struct error *err, enum error_code code, const char *fmt, ...) PK_PRINTF(3, 4);
/* The same for a failed system call: appends ": <strerror(errno)>" and keeps errno. ENOSPC/EDQUOT become ERR_IO_FULL,
 * ENOMEM becomes ERR_NO_MEMORY, whatever `code` says; EACCES and EPERM make ERR_IO_DENIED of ERR_IO_READ and
 * ERR_IO_WRITE, as permission is not mended at the disk, and EOPNOTSUPP makes ERR_IO_UNSUPPORTED of them. */
int error_set_errno(struct error *err, enum error_code code, const char *fmt, ...) PK_PRINTF(3, 4);
/* Put "<context>: " in front of the text. Returns -err->code, so `return error_wrap(err, …)` reads well. */
int error_wrap(struct error *err, const char *fmt, ...) PK_PRINTF(2, 3);
/* Say what state the data is in, or what to do next; the first caller wins, as it stands nearest. Return -err->code. */
int error_state(struct error *err, const char *fmt, ...) PK_PRINTF(2, 3);
int error_next(struct error *err, const char *fmt, ...) PK_PRINTF(2, 3);
void error_clear(struct error *err);

/* The table's row; never NULL (unknown codes answer the row of ERR_INTERNAL). Accepts the positive or the negative code. */
const struct error_info *error_info(int code);
/* By "PK-IO-001", any case; NULL when there is none. */
const struct error_info *error_info_by_code(const char *code);

#endif
