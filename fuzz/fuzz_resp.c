/* libFuzzer: the RESP request and reply parsers. Whatever the bytes, a request parsed whole and the
 * same one parsed in two pieces (the first byte says where it is cut), moved between them, must
 * agree; sizes stay within the input. */
#include "base/assert.h"
#include "base/mem.h"
#include "redis/resp.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* What a parse said, with what its slices held, for the input may be gone when it is compared. */
struct said {
    int64_t size;
    uint32_t count;
    struct buf args;
};

static struct said say(struct resp_args *a, struct bytes in)
{
    struct said s = {.size = resp_parse(a, in)};
    ASSERT(s.size >= -1 && s.size <= (int64_t)in.size);
    ASSERT((s.size == -1) == (a->error != NULL));
    ASSERT(s.size != 0 || a->want > in.size);
    if (s.size > 0) s.count = a->count;
    for (uint32_t i = 0; i < s.count; i++) buf_blob(&s.args, a->v[i]);
    return s;
}

/* In a copy of its own, so that the sanitizer sees a read past the end or of what was freed. */
static struct said say_copy(struct resp_args *a, struct bytes in)
{
    void *copy = mem_dup(in.data, in.size);
    struct said s = say(a, bytes_of(copy, in.size));
    mem_free(copy);
    return s;
}

static void check_request(struct bytes in, size_t cut)
{
    struct resp_args whole = {0}, pieces = {0};
    struct said a = say_copy(&whole, in), first = say_copy(&pieces, bytes_of(in.data, cut)),
                b = first;

    if (first.size == 0) b = say_copy(&pieces, in);
    ASSERT(a.size == b.size && a.count == b.count);
    ASSERT(bytes_equal(buf_bytes(&a.args), buf_bytes(&b.args)));
    buf_deinit(&a.args);
    buf_deinit(&b.args);
    resp_args_deinit(&whole);
    resp_args_deinit(&pieces);
}

static void check_reply(struct bytes in)
{
    void *copy = mem_dup(in.data, in.size);
    int64_t size = resp_reply_size(bytes_of(copy, in.size));
    ASSERT(size >= -1 && size <= (int64_t)in.size);
    if (size > 0) ASSERT(resp_reply_size(bytes_of(copy, (size_t)size)) == size);
    if (size > 1) ASSERT(resp_reply_size(bytes_of(copy, (size_t)size - 1)) == 0);
    mem_free(copy);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size == 0) return 0;
    struct bytes in = bytes_of(data + 1, size - 1);
    check_request(in, (size_t)data[0] % (in.size + 1));
    check_reply(in);
    return 0;
}
