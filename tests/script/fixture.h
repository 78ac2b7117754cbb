/* A world with scripts (redis/world.h: each command is evaluated twice, with and without misses).
 */
#ifndef SYNOD_TESTS_SCRIPT_FIXTURE_H
#define SYNOD_TESTS_SCRIPT_FIXTURE_H

#include "redis/world.h"
#include "base/prng.h"
#include "base/sha1.h"
#include "script/engine.h"

struct fixture {
    struct world w;
    struct script_engine *e;
};

static inline void fixture_init(struct fixture *f)
{
    world_init(&f->w);
    f->e = script_engine_new(&(struct script_host){0});
    f->w.scripts = script_engine_runner(f->e);
}

static inline void fixture_deinit(struct fixture *f)
{
    world_deinit(&f->w);
    script_engine_free(f->e);
}

/* EVAL code 1 k v -> the reply as text (world_run). */
static inline const char *fixture_eval(struct fixture *f, const char *code)
{
    struct bytes v[] = {BYTES("EVAL"), bytes_str(code), BYTES("1"), BYTES("k"), BYTES("v")};
    return world_run_args(&f->w, v, 5);
}

#define EXPECT_EVAL(f, code, expected) assert_string_equal(fixture_eval((f), (code)), (expected))

/* It answers an error in which this is found. */
static inline void expect_error(struct fixture *f, const char *code, const char *text)
{
    const char *reply = fixture_eval(f, code);
    if (strncmp(reply, "ERR ", 4) != 0 || !strstr(reply, text))
        fail_msg("%s\n  answers %.300s\n  and not an error with '%s'", code, reply, text);
}

#endif
