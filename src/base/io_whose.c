#include "base/seam.h"
#include <errno.h>
#include <stdio.h>
#include <unistd.h>

#define PATH_BYTES 4096

int io_whose(const char *path, const char *deed, struct error *err) {
    struct stat st, last;
    char at[PATH_BYTES], whose[PATH_BYTES] = ".";
    const int saved = errno;
    const size_t n = strlen(path);
    const bool denied = err->sys_errno == EACCES || err->sys_errno == EPERM;
    if (!denied || n >= PATH_BYTES) return -(int)err->code;
    bool found = seam_fstatat(AT_FDCWD, whose, &last, 0) == 0, passed = true;
    for (size_t i = 0; i <= n; i++) {
        if (i < n && path[i] != '/') continue;
        snprintf(at, sizeof at, "%.*s", i ? (int)i : 1, path);
        if (seam_fstatat(AT_FDCWD, at, &st, 0) < 0) {
            passed = errno != EACCES;
            break;
        }
        last = st;
        memcpy(whose, at, sizeof whose);
        found = true;
    }
    if (found)
        error_wrap(err, "user %u may not %s '%.1000s', which belongs to %u:%u and has mode %04o", (unsigned)geteuid(),
                   passed ? deed : "pass through", whose, (unsigned)last.st_uid, (unsigned)last.st_gid,
                   (unsigned)(last.st_mode & 07777));
    errno = saved;
    return -(int)err->code;
}
