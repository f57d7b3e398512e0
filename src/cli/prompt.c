#include "cli/prompt.h"
#include "base/seam.h"
#include "base/thread.h"

#include <errno.h>
#include <termios.h>
#include <unistd.h>

#define WAIT_MS 200

static struct termios saved_mode;
static atomic_int saved_fd = -1;

void prompt_restore_terminal(void) {
    int fd = atomic_exchange(&saved_fd, -1);
    if (fd >= 0) tcsetattr(fd, TCSANOW, &saved_mode);
}

static int echo_off(int fd, struct error *err) {
    struct termios mode;
    if (tcgetattr(fd, &mode) < 0) return error_set_errno(err, ERR_IO_READ, "the terminal's mode");
    saved_mode = mode;
    atomic_store(&saved_fd, fd);
    mode.c_lflag &= ~(tcflag_t)ECHO;
    mode.c_lflag |= ECHONL;
    if (tcsetattr(fd, TCSAFLUSH, &mode) < 0) {
        int r = error_set_errno(err, ERR_IO_WRITE, "the terminal's mode");
        atomic_store(&saved_fd, -1);
        return r;
    }
    return 0;
}

/* Waits in short steps, because the seam's calls do not come back when a signal does. */
static int read_byte(int fd, const struct prompt *p, uint8_t *ret, struct error *err) {
    struct pollfd pfd = {fd, POLLIN, 0};
    for (;;) {
        int r = stop_check(err);
        if (r < 0) return r;
        r = seam_poll(&pfd, 1, WAIT_MS);
        if (r < 0) return error_set_errno(err, ERR_IO_READ, "the terminal");
        if (r == 0) continue;
        ssize_t n = seam_read(fd, ret, 1);
        if (n < 0 && errno == EAGAIN) continue;
        if (n < 0) return error_set_errno(err, ERR_IO_READ, "the terminal");
        if (n == 0) return error_set(err, p->refusal, "no answer was given to '%s'", p->question);
        return 0;
    }
}

static int read_line(int fd, const struct prompt *p, struct buf *answer, struct error *err) {
    uint8_t c;
    int r;
    while ((r = read_byte(fd, p, &c, err)) == 0 && c != '\n')
        if ((r = buf_append(answer, &c, 1, err)) < 0) return r;
    return r == 0 ? buf_terminate(answer, err) : r;
}

static int ask(const struct cli *c, const struct prompt *p, bool secret, struct buf *answer, struct error *err) {
    int fd = -1, r;
    bool may = !options_flag(c->options, OPT_NO_INPUT) && !output_is_json(c->output) && isatty(STDIN_FILENO) == 1;
    if (may) fd = seam_openat(AT_FDCWD, "/dev/tty", O_RDWR | O_CLOEXEC | O_NOCTTY, 0);
    if (fd < 0) {
        (void)!error_next(err, "pass %s", p->instead);
        return error_set(err, p->refusal, "'%s' cannot be asked here, and %s is not given", p->question, p->instead);
    }
    r = secret ? echo_off(fd, err) : 0;
    if (r == 0) r = io_write_full(fd, p->question, strlen(p->question), "the terminal", err);
    if (r == 0) r = io_write_full(fd, ": ", 2, "the terminal", err);
    if (r == 0) r = read_line(fd, p, answer, err);
    prompt_restore_terminal();
    io_close(&fd);
    return r;
}

int prompt_line(const struct cli *c, const struct prompt *p, struct buf *answer, struct error *err) {
    return ask(c, p, false, answer, err);
}

int prompt_secret(const struct cli *c, const struct prompt *p, struct buf *answer, struct error *err) {
    return ask(c, p, true, answer, err);
}

int prompt_phrase(const struct cli *c, const char *phrase, struct buf *typed, const char **ret, struct error *err) {
    *ret = options_text(c->options, OPT_CONFIRM);
    if (*ret || !phrase) return 0;
    char question[700], instead[600];
    snprintf(question, sizeof question, "This environment is protected. Type '%s' to go on", phrase);
    snprintf(instead, sizeof instead, "--confirm '%s'", phrase);
    const struct prompt q = {question, instead, ERR_CONFIRM};
    int rc = prompt_line(c, &q, typed, err);
    if (rc == 0) *ret = (const char *)typed->ptr;
    return rc;
}
