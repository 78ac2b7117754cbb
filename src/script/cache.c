/* Code that was met, found by a hash of its bytes (an evaluation has the code) and by its SHA1
 * (EVALSHA). The latest ones are kept, compiled once they have run. */
#include "base/hash.h"
#include "base/mem.h"
#include "script/internal.h"

#define ERR_COMPILING "ERR Error compiling %s: %s"

void chunks_init(struct script_engine *e)
{
    list_init(&e->chunks);
}

static uint64_t sha_hash(const char *sha)
{
    return hash64(bytes_of(sha, SHA1_HEX), 0);
}

static void chunk_drop(struct script_engine *e, struct chunk *c)
{
    if (map_get(&e->by_hash, c->hash) == c) (void)map_remove(&e->by_hash, c->hash);
    if (map_get(&e->by_sha, sha_hash(c->sha)) == c) (void)map_remove(&e->by_sha, sha_hash(c->sha));
    if (e->lua && c->ref != LUA_NOREF) luaL_unref(e->lua, LUA_REGISTRYINDEX, c->ref);
    list_remove(&c->used);
    e->chunk_count--;
    e->chunk_bytes -= c->code.size;
    mem_free((void *)c->code.data);
    mem_free(c);
}

void chunks_clear(struct script_engine *e)
{
    while (!list_empty(&e->chunks)) chunk_drop(e, LIST_OF(e->chunks.next, struct chunk, used));
}

static void make_room(struct script_engine *e, size_t size)
{
    while (e->chunk_count && (e->chunk_count >= e->limits.cache_count ||
                              e->chunk_bytes + size > e->limits.cache_bytes))
        chunk_drop(e, LIST_OF(e->chunks.prev, struct chunk, used));
}

static struct chunk *chunk_add(struct script_engine *e, enum chunk_kind kind, struct bytes code,
                               uint64_t hash)
{
    struct chunk *c = mem_zalloc(sizeof *c);
    make_room(e, code.size);
    c->hash = hash;
    c->kind = (uint8_t)kind;
    c->ref = LUA_NOREF;
    c->code = bytes_of(mem_dup(code.data, code.size), code.size);
    sha1_hex(code, c->sha);
    list_push_front(&e->chunks, &c->used);
    e->chunk_count++;
    e->chunk_bytes += code.size;
    map_put(&e->by_hash, hash, c);
    if (kind == CHUNK_SCRIPT) map_put(&e->by_sha, sha_hash(c->sha), c);
    return c;
}

struct chunk *chunk_of(struct script_engine *e, enum chunk_kind kind, struct bytes code)
{
    uint64_t hash = hash64(code, kind + 1u);
    struct chunk *c = map_get(&e->by_hash, hash);
    if (c && c->kind == kind && bytes_equal(c->code, code)) {
        list_remove(&c->used);
        list_push_front(&e->chunks, &c->used);
        return c;
    }
    if (c) chunk_drop(e, c);
    return chunk_add(e, kind, code, hash);
}

static bool push_text(lua_State *L, struct buf *text)
{
    lua_pushlstring(L, (const char *)text->data, text->size);
    buf_clear(text);
    return false;
}

/* Its first line is what it says of itself, not Lua; errors name lines as they are in the whole. */
static bool split_head(struct script_engine *e, lua_State *L, struct chunk *c,
                       struct script_head *head)
{
    buf_clear(&e->text);
    bool fine = c->kind == CHUNK_SCRIPT ? script_head_of_script(c->code, head, &e->text)
                                        : script_head_of_library(c->code, head, &e->text);
    return fine || push_text(L, &e->text);
}

bool chunk_push(struct script_engine *e, lua_State *L, struct chunk *c)
{
    static const char *const name[] = {"@user_script", "@user_function"};
    static const char *const what[] = {"script (new function)", "function"};
    struct script_head head;
    if (c->ref != LUA_NOREF) {
        lua_rawgeti(L, LUA_REGISTRYINDEX, c->ref);
    } else {
        if (!split_head(e, L, c, &head)) {
            chunk_drop(e, c);
            return false;
        }
        if (luaL_loadbufferx(L, (const char *)head.body.data, head.body.size, name[c->kind], "t")) {
            lua_pushfstring(L, ERR_COMPILING, what[c->kind], lua_tostring(L, -1));
            lua_remove(L, -2);
            chunk_drop(e, c); /* what does not compile is not known */
            return false;
        }
        c->flags = head.flags;
        c->declared = head.there;
        lua_pushvalue(L, -1);
        c->ref = luaL_ref(L, LUA_REGISTRYINDEX);
    }
    lua_rawgeti(L, LUA_REGISTRYINDEX, e->sandbox);
    (void)lua_setfenv(L, -2);
    return true;
}

void script_engine_keep(struct script_engine *e, struct bytes body)
{
    if (body.size <= SCRIPT_CODE_MAX) (void)chunk_of(e, CHUNK_SCRIPT, body);
}

void script_engine_note_abroad(struct script_engine *e, struct bytes body, bool abroad)
{
    if (body.size <= SCRIPT_CODE_MAX) chunk_of(e, CHUNK_SCRIPT, body)->abroad = abroad;
}

bool script_engine_is_abroad(struct script_engine *e, struct bytes body)
{
    const struct chunk *c = map_get(&e->by_hash, hash64(body, CHUNK_SCRIPT + 1u));
    return c && c->abroad && bytes_equal(c->code, body);
}

static bool lower_sha(struct bytes sha, char out[SHA1_HEX])
{
    for (size_t i = 0; i < sha.size && sha.size == SHA1_HEX; i++) {
        uint8_t c = sha.data[i];
        out[i] = (char)(c >= 'A' && c <= 'F' ? c + 32 : c);
    }
    return sha.size == SHA1_HEX;
}

bool script_engine_body(struct script_engine *e, struct bytes sha, struct bytes *body)
{
    char name[SHA1_HEX];
    if (!lower_sha(sha, name)) return false;
    struct chunk *c = map_get(&e->by_sha, sha_hash(name));
    if (!c || memcmp(c->sha, name, SHA1_HEX) != 0) return false;
    list_remove(&c->used);
    list_push_front(&e->chunks, &c->used);
    *body = c->code;
    return true;
}

void script_engine_forget(struct script_engine *e)
{
    chunks_clear(e);
}

uint32_t script_engine_count(const struct script_engine *e)
{
    return e->chunk_count;
}
