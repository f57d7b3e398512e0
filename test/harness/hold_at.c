/* To be preloaded into a program that is to be stopped or killed at a point, rather than after a while: right after it
 * has written a line to standard output that holds the text in $HOLD_AT, it stops itself with SIGSTOP, once. Whoever
 * waits for it sees its state T in /proc, and sends what it means to send. test/e2e/lib/hold.sh. */
#include <dlfcn.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

typedef ssize_t (*write_fn)(int, const void *, size_t);
static write_fn system_write;
static const char *text;
static atomic_bool held;

__attribute__((constructor)) static void hold_begin(void) {
    void *symbol = dlsym(RTLD_NEXT, "write");
    if (!symbol) abort();
    memcpy(&system_write, &symbol, sizeof symbol);
    text = getenv("HOLD_AT");
    if (text && !*text) text = NULL;
}

ssize_t write(int fd, const void *p, size_t n) {
    ssize_t r = system_write(fd, p, n);
    if (fd == STDOUT_FILENO && r > 0 && text && memmem(p, (size_t)r, text, strlen(text)) &&
        !atomic_exchange(&held, true))
        kill(getpid(), SIGSTOP);
    return r;
}
