/* Planted faults: the words of host_options.fault. */
#include "host/internal.h"

#include <stdio.h>

static bool fault_set(struct fault *f, struct bytes name, uint64_t value)
{
    if (bytes_equal(name, BYTES("write-eio-after"))) return f->write_eio_after = value, true;
    if (bytes_equal(name, BYTES("enospc-room"))) return f->room_max = value, true;
    if (bytes_equal(name, BYTES("dsync-delay-ms")))
        return f->dsync_delay_ns = value * 1000000, true;
    return false;
}

bool fault_parse(struct fault *f, const char *text, char *error, size_t error_size)
{
    f->write_eio_after = UINT64_MAX;
    f->room_max = INT64_MAX;
    f->dsync_delay_ns = 0;
    atomic_init(&f->writes, 0);

    while (text && *text) {
        size_t size = strcspn(text, ","), name = strcspn(text, "=,");
        int64_t value = -1;
        bool known = name < size &&
                     bytes_to_i64(bytes_of(text + name + 1, size - name - 1), &value) &&
                     value >= 0 && value <= INT64_MAX / 1000000 &&
                     fault_set(f, bytes_of(text, name), (uint64_t)value);
        if (!known) {
            (void)snprintf(error, error_size,
                           "unknown fault '%.*s'; there are write-eio-after=N, enospc-room=BYTES, "
                           "dsync-delay-ms=N",
                           (int)(size < 100 ? size : 100), text);
            return false;
        }
        text += size + (text[size] == ',');
    }
    return true;
}

bool fault_write_fails(struct fault *f)
{
    if (f->write_eio_after == UINT64_MAX) return false;
    return atomic_fetch_add(&f->writes, 1) >= f->write_eio_after;
}
