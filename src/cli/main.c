#include "base/seam.h"
#include "base/thread.h"
#include "cli/cli.h"
#include "cli/prompt.h"
#include "crypto/crypto.h"

#include <locale.h>
#include <signal.h>
#include <unistd.h>

/* The first signal asks, the second does not. */
static void on_signal(int number) {
    if (atomic_exchange(&stop_signal, number) == 0) return;
    prompt_restore_terminal();
    _exit(128 + number);
}

/* Without this a file opened later could get the number of a standard stream and be written to by accident. Opened the
 * wrong way round on purpose: what is printed must fail, not vanish. */
static int streams_open(void) {
    for (int fd = 0; fd <= 2; fd++) {
        if (fcntl(fd, F_GETFD) >= 0) continue;
        int got = seam_openat(AT_FDCWD, "/dev/null", fd == 0 ? O_WRONLY : O_RDONLY, 0);
        if (got != fd) return -1;
    }
    return 0;
}

static int signals_install(void) {
    struct sigaction stop = {.sa_handler = on_signal}, ignore = {.sa_handler = SIG_IGN};
    sigemptyset(&stop.sa_mask);
    sigemptyset(&ignore.sa_mask);
    if (sigaction(SIGINT, &stop, NULL) < 0 || sigaction(SIGTERM, &stop, NULL) < 0) return -1;
    /* A closed pipe is then an error of write(2), which is reported like any other. */
    return sigaction(SIGPIPE, &ignore, NULL);
}

/* For what goes wrong where there is no output yet, or no longer. */
static enum exit_status refuse(const struct error *err) {
    struct error lost = ERROR_INIT;
    struct buf text = BUF_INIT(65536);
    if (error_describe(err, false, &text, &lost) == 0)
        (void)!io_write_full(STDERR_FILENO, text.ptr, text.len, "standard error", &lost);
    buf_free(&text);
    return error_info(err->code)->status;
}

int main(int argc, char **argv) {
    if (streams_open() < 0 || signals_install() < 0) return cli_status(argc, argv, EXIT_FAILED, ERR_INTERNAL);
    umask(077);
    mem_init();
    /* For the width of characters alone; words and numbers do not follow the locale. */
    setlocale(LC_CTYPE, "C.UTF-8");
    struct error err = ERROR_INIT;
    if (crypto_init(&err) < 0) return cli_status(argc, argv, refuse(&err), err.code);
    enum exit_status status = cli_run(argc, argv, STDOUT_FILENO, STDERR_FILENO);
    /* Some file systems tell of a full disk only here. */
    if (seam_close(STDOUT_FILENO) < 0 && status == EXIT_OK) {
        (void)!error_set_errno(&err, ERR_IO_WRITE, "standard output");
        return cli_status(argc, argv, refuse(&err), err.code);
    }
    return status;
}
