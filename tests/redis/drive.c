/* Runs requests from standard input in a world (world.h), misses, checks and all, and writes the
 * raw replies to standard output. HELLO 2 and HELLO 3 change the version of RESP; the clock is the
 * machine's. differential.py holds it against redis-server. */
#include "redis/world.h"

#include <time.h>
#include <unistd.h>

static int64_t wall_ms(void)
{
    struct timespec t;
    (void)clock_gettime(CLOCK_REALTIME, &t);
    return (int64_t)t.tv_sec * 1000 + t.tv_nsec / 1000000;
}

static bool write_all(struct bytes s)
{
    while (s.size > 0) {
        ssize_t n = write(STDOUT_FILENO, s.data, s.size);
        if (n <= 0) return false;
        s.data += n;
        s.size -= (size_t)n;
    }
    return true;
}

static struct bytes run(struct world *w, struct resp_args *args)
{
    if (args->count == 2 && bytes_equal_nocase(args->v[0], "hello")) {
        w->version = (uint8_t)(args->v[1].data[0] - '0');
        return BYTES("+OK\r\n");
    }
    return world_run_raw(w, args->v, args->count);
}

/* Runs every whole request in `in` and drops it. */
static bool run_all(struct world *w, struct resp_args *args, struct buf *in)
{
    int64_t size;
    while ((size = resp_parse(args, buf_bytes(in))) > 0) {
        w->now_ms = wall_ms();
        if (args->count && !write_all(run(w, args))) return false;
        buf_drop_front(in, (size_t)size);
    }
    if (size == 0) return true;
    struct buf error = {0};
    buf_printf(&error, "-ERR %s\r\n", args->error);
    (void)write_all(buf_bytes(&error));
    buf_deinit(&error);
    return false;
}

int main(void)
{
    struct world w;
    struct resp_args args = {0};
    struct buf in = {0};
    ssize_t n;
    bool sound = true;

    world_init(&w);
    while (sound && (n = read(STDIN_FILENO, buf_reserve(&in, 65536), 65536)) > 0) {
        in.size += (size_t)n;
        sound = run_all(&w, &args, &in);
    }
    buf_deinit(&in);
    resp_args_deinit(&args);
    world_deinit(&w);
    return 0;
}
