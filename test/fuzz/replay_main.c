/* Runs a fuzz target over every file of a folder and prints TAP: the corpus as an ordinary test. */
#include "base/seam.h"

#include <stdio.h>
#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define INPUT_BYTES_MAX (16u << 20)

static int replay(int folder_fd, const char *name, unsigned number, struct error *err) {
    CLEANUP(buf_free) struct buf b = BUF_INIT(INPUT_BYTES_MAX);
    int rc = io_read_file(folder_fd, name, INPUT_BYTES_MAX, &b, err);
    if (rc < 0) return rc;
    /* An exact copy on the heap, so that the sanitiser sees a byte read too far. */
    void *copy = NULL;
    rc = mem_dup(b.ptr, b.len, &copy, err);
    if (rc < 0) return rc;
    LLVMFuzzerTestOneInput(copy, b.len);
    seam_free(copy);
    printf("ok %u - %s\n", number, name);
    return 0;
}

int main(int argc, char **argv) {
    struct error err = ERROR_INIT;
    unsigned count = 0;
    if (argc != 2) {
        fprintf(stderr, "usage: %s FOLDER\n", argv[0]);
        return 2;
    }
    int fd = seam_openat(AT_FDCWD, argv[1], O_RDONLY | O_DIRECTORY | O_CLOEXEC, 0);
    DIR *d = fd < 0 ? NULL : seam_fdopendir(fd);
    if (!d) {
        printf("Bail out! cannot read %s\n", argv[1]);
        return 1;
    }
    setvbuf(stdout, NULL, _IOLBF, 0); /* what ran before a crash is seen */
    for (const struct dirent *e; (e = seam_readdir(d));) {
        if (e->d_name[0] == '.') continue;
        if (replay(fd, e->d_name, ++count, &err) < 0) {
            printf("not ok %u - %s: %s\n", count, e->d_name, err.text);
            return 1;
        }
    }
    printf("1..%u\n", count);
    (void)seam_closedir(d);
    return count > 0 ? 0 : 1; /* an empty corpus proves nothing */
}
