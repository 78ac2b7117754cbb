/* The command table: its rows are sound, every name is found, COMMAND and HELP say what the rows
 * say. */
#include "redis/world.h"
#include "redis/docs.h"
#include "redis/types.h"

typedef void row_each(const struct command *c);

static void each_row(row_each *each)
{
    for (size_t t = 0; t < COMMAND_ROWS; t++)
        for (size_t i = 0; i < *command_table[t].count; i++) each(&command_table[t].row[i]);
}

static const struct command *find(const char *name, const char *sub, bool *container)
{
    struct bytes v[] = {bytes_str(name), bytes_str(sub ? sub : "")};
    return command_find(&(struct cmd_args){v, sub ? 2 : 1}, container);
}

TEST(rows_stand_in_the_order_that_the_search_needs)
{
    for (size_t t = 0; t < COMMAND_ROWS; t++) {
        char before[COMMAND_NAME_MAX] = "", name[COMMAND_NAME_MAX];
        for (size_t i = 0; i < *command_table[t].count; i++) {
            command_full_name(&command_table[t].row[i], name);
            if (strcmp(before, name) >= 0) fail_msg("'%s' stands before '%s'", before, name);
            strcpy(before, name);
        }
    }
}

static void expect_found(const struct command *c)
{
    char name[COMMAND_NAME_MAX];
    const char *first = c->parent ? c->parent : c->name, *second = c->parent ? c->name : NULL;

    command_full_name(c, name);
    assert_true(strlen(name) < 32);
    assert_ptr_equal(command_named(name), c); /* and so no name stands twice */
    assert_ptr_equal(find(first, second, NULL), c);
    for (char *p = name; *p; p++) *p = (char)(*p >= 'a' && *p <= 'z' ? *p - 32 : *p);
    if (!c->parent) assert_ptr_equal(find(name, NULL, NULL), c);
    name[strlen(name) - 1] = '~';
    assert_null(command_named(name));
}

TEST(every_row_is_found_by_its_name_in_any_case)
{
    each_row(expect_found);
}

static void expect_sound(const struct command *c)
{
    static const char *groups[] = {"string",  "hash",         "generic",   "connection", "server",
                                   "cluster", "transactions", "scripting", "snapshots",  "jobs"};
    bool known = false, container = c->flags & CMD_CONTAINER;
    char name[COMMAND_NAME_MAX];

    command_full_name(c, name);
    for (size_t i = 0; i < sizeof groups / sizeof *groups; i++)
        known |= strcmp(c->group, groups[i]) == 0;
    if (!known) fail_msg("%s: group %s", name, c->group);
    if (!c->since || !c->complexity || !c->summary || !c->syntax || !c->summary[0])
        fail_msg("%s: a text is missing", name);
    if (!docs_syntax_ok(c)) fail_msg("%s: the syntax '%s' is not understood", name, c->syntax);
    if (c->arity == 0 || (c->parent && c->arity > 0 && c->arity < 2)) fail_msg("%s: arity", name);
    if ((c->fn != NULL) == (container || (c->flags & CMD_LOCAL)))
        fail_msg("%s: a function, or none", name);
    if ((c->flags & CMD_WRITE) && (c->flags & CMD_READONLY))
        fail_msg("%s: writes and only reads", name);
    if (c->fn && !(c->flags & (CMD_WRITE | CMD_READONLY)))
        fail_msg("%s: neither writes nor reads", name);
    if ((c->first > 0) != (c->step > 0)) fail_msg("%s: keys", name);
    if (c->parent && !(command_named(c->parent)->flags & CMD_CONTAINER))
        fail_msg("%s: its parent is no container", name);
    if (strcmp(c->complexity, "") == 0) fail_msg("%s: complexity", name);
}

TEST(every_row_is_sound)
{
    each_row(expect_sound);
}

TEST(unknown_names_are_not_found_and_containers_say_so)
{
    bool container = true;
    assert_null(find("nosuch", NULL, &container));
    assert_false(container);
    assert_null(find("", NULL, &container));
    assert_null(find("client|id", NULL, &container));
    assert_false(container);
    assert_null(find("client", "nosuch", &container));
    assert_true(container);
    assert_null(find("client", "id|id", &container));
    assert_non_null(find("client", NULL, &container));
    assert_null(
        find("aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa",
             NULL, &container));
    assert_null(find("client",
                     "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa",
                     &container));
    assert_null(find("xadd", NULL, NULL)); /* unknown until it is true */
}

TEST(errors_before_a_command_runs_are_worded_as_redis_words_them)
{
    struct world w;
    world_init(&w);
    EXPECT_RUN(&w, "nosuch a b",
               "ERR unknown command 'nosuch', with args beginning with: 'a' 'b' ");
    EXPECT_RUN(&w, "nosuch", "ERR unknown command 'nosuch', with args beginning with: ");
    EXPECT_RUN(&w, "CLIENT nosuch", "ERR unknown subcommand 'nosuch'. Try CLIENT HELP.");
    EXPECT_RUN(&w, "get", "ERR wrong number of arguments for 'get' command");
    EXPECT_RUN(&w, "get a b", "ERR wrong number of arguments for 'get' command");
    EXPECT_RUN(&w, "client", "ERR wrong number of arguments for 'client' command");
    EXPECT_RUN(&w, "client setname", "ERR wrong number of arguments for 'client|setname' command");
    world_deinit(&w);
}

TEST(a_key_over_64_kib_is_refused)
{
    struct world w;
    struct buf key = {0};
    world_init(&w);
    memset(buf_reserve(&key, COMMAND_KEY_MAX + 1), 'k', COMMAND_KEY_MAX + 1);
    key.size = COMMAND_KEY_MAX;
    struct bytes set[] = {BYTES("set"), buf_bytes(&key), BYTES("v")};
    assert_string_equal(world_run_args(&w, set, 3), "OK");
    struct bytes get[] = {BYTES("get"), buf_bytes(&key)};
    assert_string_equal(world_run_args(&w, get, 2), "'v'");
    key.size++;
    struct bytes mset[] = {BYTES("mset"), BYTES("a"), BYTES("1"), buf_bytes(&key), BYTES("2")};
    assert_string_equal(world_run_args(&w, mset, 5),
                        "ERR key is too long (the limit is 64 KiB in synod)");
    EXPECT_RUN(&w, "get a", "nil");
    buf_deinit(&key);
    world_deinit(&w);
}

static void one_key(void *ctx, struct bytes key)
{
    buf_append_bytes(ctx, key);
    buf_u8(ctx, ' ');
}

TEST(keys_are_found_from_their_positions_or_from_their_number)
{
    struct buf keys = {0};
    struct bytes v[] = {BYTES("mset"), BYTES("a"), BYTES("1"), BYTES("b"), BYTES("2")};
    assert_true(command_keys(command_named("mset"), &(struct cmd_args){v, 5}, one_key, &keys));
    EXPECT_BYTES(buf_bytes(&keys), "a b ");

    static const struct command counted = {"counted", NULL, -3, CMD_NUMKEYS, 1, 0, 0};
    struct bytes n[] = {BYTES("counted"), BYTES("2"), BYTES("x"), BYTES("y"), BYTES("z")};
    buf_clear(&keys);
    assert_true(command_keys(&counted, &(struct cmd_args){n, 5}, one_key, &keys));
    EXPECT_BYTES(buf_bytes(&keys), "x y ");

    static const char *bad[] = {"0", "-1", "4", "x", "9223372036854775807"};
    buf_clear(&keys);
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        n[1] = bytes_str(bad[i]);
        assert_false(command_keys(&counted, &(struct cmd_args){n, 5}, one_key, &keys));
    }
    assert_int_equal(keys.size, 0);
    buf_deinit(&keys);
}

TEST(command_describes_itself_to_clients)
{
    struct world w;
    world_init(&w);
    EXPECT_RUN(
        &w, "command info get nosuch",
        "[['get', 2, [readonly, fast], 1, 1, 1, [@read, @string, @fast], [], [['flags', [RO, "
        "access], 'begin_search', ['type', 'index', "
        "'spec', ['index', 1]], 'find_keys', ['type', 'range', 'spec', ['lastkey', 0, 'keystep', "
        "1, 'limit', 0]]]], []], nil-array]");
    EXPECT_RUN(&w, "command getkeys mset a 1 b 2", "['a', 'b']");
    EXPECT_RUN(&w, "command getkeys memory usage k", "['k']");
    EXPECT_RUN(&w, "command getkeysandflags get a", "[['a', [RO, access]]]");
    EXPECT_RUN(&w, "command getkeys ping", "ERR The command has no key arguments");
    EXPECT_RUN(&w, "command getkeys get a b",
               "ERR Invalid number of arguments specified for command");
    EXPECT_RUN(&w, "command getkeys nosuch a", "ERR Invalid command specified");
    EXPECT_RUN(&w, "command list filterby pattern getd*", "['getdel']");
    EXPECT_RUN(&w, "command list filterby nosuch x", "ERR syntax error");
    EXPECT_RUN(&w, "command list filterby module json", "[]");
    assert_true(atoi(world_run(&w, "command count")) > 80);
    world_deinit(&w);
}

TEST(docs_are_maps_in_version_3_with_arguments_parsed_out_of_the_syntax)
{
    struct world w;
    world_init(&w);
    EXPECT_RUN(&w, "command docs get",
               "['get', ['summary', 'Get the value of a key', 'since', '1.0.0', 'group', 'string', "
               "'complexity', 'O(1)', 'arguments', "
               "[['name', 'key', 'type', 'key', 'display_text', 'key', 'key_spec_index', 0]]]]");
    w.version = 3;
    EXPECT_RUN(
        &w, "command docs delex nosuch",
        "{'delex': {'summary': 'Delete a key if its string value is, or is not, equal to the "
        "given one', 'since': '8.4.0', 'group': "
        "'string', 'complexity': 'O(1)', 'arguments': [{'name': 'key', 'type': 'key', "
        "'display_text': 'key', 'key_spec_index': 0}, "
        "{'name': 'choice', 'type': 'oneof', 'flags': [optional], 'arguments': ["
        "{'name': 'value', 'type': 'string', 'display_text': 'value', 'token': 'IFEQ'}, "
        "{'name': 'value', 'type': 'string', 'display_text': 'value', 'token': 'IFNE'}]}]}}");
    EXPECT_RUN(
        &w, "command docs mset",
        "{'mset': {'summary': 'Set multiple keys to multiple values', 'since': '1.0.1', 'group': "
        "'string', 'complexity': "
        "'O(N) where N is the number of keys', 'arguments': [{'name': 'data', 'type': 'block', "
        "'flags': [multiple], 'arguments': "
        "[{'name': 'key', 'type': 'key', 'display_text': 'key', 'key_spec_index': 0}, "
        "{'name': 'value', 'type': 'string', 'display_text': 'value'}]}]}}");
    assert_non_null(strstr(world_run(&w, "command docs client"),
                           "'subcommands': {'client|getname': {'summary': "));
    (void)world_run(&w, "command docs"); /* well formed: the world checks the size of every reply */
    (void)world_run(&w, "command");
    w.version = 2;
    (void)world_run(&w, "command docs");
    (void)world_run(&w, "command");
    world_deinit(&w);
}

TEST(help_lists_the_subcommands_and_itself_last)
{
    struct world w;
    world_init(&w);
    assert_non_null(strstr(
        world_run(&w, "command help"),
        "[COMMAND <subcommand> [<arg> [value] [opt] ...]. Subcommands are:, COUNT,     Get total "
        "number of commands., "));
    const char *end = "HELP,     Print this help.]", *text = world_run(&w, "command help");
    assert_string_equal(text + strlen(text) - strlen(end), end);
    world_deinit(&w);
}

TEST_MAIN
