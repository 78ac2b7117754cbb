/* Runs requests from standard input in a world (world.h), misses, checks and all, and writes the
 * raw replies to standard output. HELLO 2 and HELLO 3 change the version of RESP; the clock is the
 * machine's. differential.py holds it against redis-server. */
#include "redis/world.h"
#include "script/engine.h"

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

/* What a node does before a command is evaluated (node/script.c). */
static void resolve_function(struct world *w, struct bytes *name)
{
    static struct buf text;
    struct script_library l;
    struct script_function f;
    struct buf head = {0};
    script_row_key(&head, 'f', (struct bytes){0});
    for (size_t i = 0; i < w->count; i++) {
        struct bytes key = buf_bytes(&w->rows[i].key);
        if (key.size < head.size || memcmp(key.data, head.data, head.size) != 0) continue;
        if (!script_library_get(buf_bytes(&w->rows[i].value), &l)) continue;
        struct reader r = reader_of(l.functions);
        for (uint64_t n = reader_varint(&r); n && script_function_get(&r, &f); n--) {
            if (!bytes_equal(f.name, *name)) continue;
            buf_clear(&text);
            script_put_function(&text, f.name, l.code);
            *name = buf_bytes(&text);
            break;
        }
    }
    buf_deinit(&head);
}

static void resolve(struct world *w, struct script_engine *e, struct resp_args *args)
{
    struct bytes body, *v = args->v;
    if (args->count < 2) return;
    bool reads = bytes_equal_nocase(v[0], "evalsha_ro");
    if ((reads || bytes_equal_nocase(v[0], "evalsha")) && script_engine_body(e, v[1], &body)) {
        v[0] = reads ? BYTES("EVAL_RO") : BYTES("EVAL");
        v[1] = body;
    }
    if (bytes_equal_nocase(v[0], "fcall") || bytes_equal_nocase(v[0], "fcall_ro"))
        resolve_function(w, &v[1]);
    if (!bytes_equal_nocase(v[0], "script")) return;
    bool known =
        args->count == 2 || bytes_equal_nocase(v[2], "sync") || bytes_equal_nocase(v[2], "async");
    if (bytes_equal_nocase(v[1], "flush") && known) script_engine_forget(e);
    for (uint32_t i = 2; i < args->count && bytes_equal_nocase(v[1], "exists"); i++)
        v[i] = script_engine_body(e, v[i], &body) ? BYTES("+") : BYTES("-");
}

static struct bytes run(struct world *w, struct script_engine *e, struct resp_args *args)
{
    if (args->count == 2 && bytes_equal_nocase(args->v[0], "hello")) {
        w->version = (uint8_t)(args->v[1].data[0] - '0');
        return BYTES("+OK\r\n");
    }
    resolve(w, e, args);
    return world_run_raw(w, args->v, args->count);
}

/* Runs every whole request in `in` and drops it. */
static bool run_all(struct world *w, struct script_engine *e, struct resp_args *args,
                    struct buf *in)
{
    int64_t size;
    while ((size = resp_parse(args, buf_bytes(in))) > 0) {
        w->now_ms = wall_ms();
        if (args->count && !write_all(run(w, e, args))) return false;
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
    struct script_engine *e = script_engine_new(&(struct script_host){0});
    w.scripts = script_engine_runner(e);
    while (sound && (n = read(STDIN_FILENO, buf_reserve(&in, 65536), 65536)) > 0) {
        in.size += (size_t)n;
        sound = run_all(&w, e, &args, &in);
    }
    buf_deinit(&in);
    resp_args_deinit(&args);
    world_deinit(&w);
    script_engine_free(e);
    return 0;
}
