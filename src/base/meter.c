#include "base/meter.h"
#include "base/seam.h"
#include "base/thread.h"
#include "base/time.h"

#define SLICE_NS (NS_PER_S / 4) /* a stop is heard within */

void meter_init(struct meter *m, uint64_t bytes_per_s) {
    pthread_mutex_init(&m->lock, NULL);
    m->bytes_per_s = bytes_per_s;
    m->free_ns = 0;
}

void meter_free(struct meter *m) {
    pthread_mutex_destroy(&m->lock);
}

size_t meter_grant(const struct meter *m, size_t n) {
    if (m->bytes_per_s == 0) return n;
    uint64_t most = m->bytes_per_s / 8 + 1;
    return n < most ? n : (size_t)most;
}

void meter_wait(struct meter *m, size_t n) {
    if (m->bytes_per_s == 0 || n == 0) return;
    int64_t now = time_monotonic_ns();
    pthread_mutex_lock(&m->lock);
    if (m->free_ns < now) m->free_ns = now;
    m->free_ns += (int64_t)((double)n / (double)m->bytes_per_s * (double)NS_PER_S);
    int64_t until = m->free_ns;
    pthread_mutex_unlock(&m->lock);
    for (; until > now && atomic_load_explicit(&stop_signal, memory_order_relaxed) == 0; now = time_monotonic_ns())
        (void)seam_poll(NULL, 0, (int)((until - now < SLICE_NS ? until - now : SLICE_NS) / 1000000 + 1));
}
