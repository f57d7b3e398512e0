#include "base/seam.h"
#include "base/thread.h"
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

/* sched(7), "The autogroup feature": nice values count within a session only; between sessions this file's does. */
#define FILE_NAME "/proc/self/autogroup"
#define GIVE_WAY_NICE 10
#define TRIES 8 /* who is not root is let change it ten times a second, all of them together */
#define PAUSE_MS 40

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static unsigned holders;
static bool changed;

static bool nice_read(int *ret) {
    char text[64];
    struct error e = ERROR_INIT;
    size_t n = 0;
    int fd = seam_openat(AT_FDCWD, FILE_NAME, O_RDONLY | O_CLOEXEC, 0);
    if (fd < 0) return false;
    int rc = io_read_full(fd, text, sizeof text - 1, &n, FILE_NAME, &e);
    io_close(&fd);
    text[n] = 0;
    const char *at = strstr(text, " nice ");
    if (rc < 0 || !at) return false;
    *ret = (int)strtol(at + 6, NULL, 10);
    return true;
}

static bool nice_write(int value) {
    char text[16];
    int n = snprintf(text, sizeof text, "%d", value);
    int fd = seam_openat(AT_FDCWD, FILE_NAME, O_WRONLY | O_CLOEXEC, 0);
    if (fd < 0) return false;
    ssize_t got = seam_write(fd, text, (size_t)n);
    for (int i = 1; got < 0 && errno == EAGAIN && i < TRIES; i++) {
        (void)!seam_poll(NULL, 0, PAUSE_MS);
        got = seam_write(fd, text, (size_t)n);
    }
    io_close(&fd);
    return got == n;
}

/* Whoever sits before a terminal has their shell in this session, too. */
static bool has_terminal(void) {
    int fd = seam_openat(AT_FDCWD, "/dev/tty", O_RDONLY | O_NOCTTY | O_CLOEXEC, 0);
    if (fd < 0) return false;
    io_close(&fd);
    return true;
}

void session_give_way(void) {
    int is;
    pthread_mutex_lock(&lock);
    /* Another value than the usual is somebody's will. */
    if (holders++ == 0) changed = !has_terminal() && nice_read(&is) && is == 0 && nice_write(GIVE_WAY_NICE);
    pthread_mutex_unlock(&lock);
}

void session_take_back(void) {
    int is;
    pthread_mutex_lock(&lock);
    if (--holders == 0 && changed && nice_read(&is) && is == GIVE_WAY_NICE) (void)nice_write(0);
    pthread_mutex_unlock(&lock);
}
