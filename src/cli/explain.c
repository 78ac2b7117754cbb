/* synod explain [--at HOST:PORT] [--text] command ...: runs one command with TRACE and draws its
 * way through the cluster. */
#include "cli/client.h"
#include "cli/commands.h"
#include "cli/options.h"
#include "cli/trace_picture.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const char usage[] =
    "usage: synod explain [--at HOST:PORT] [--text] command [argument ...]\n"
    "  Runs the command and draws its path with times: of one group, Accept, on disk, chosen; "
    "over\n"
    "  groups (MSET a 1 b 2), locks, Prepared at each, the decision, and its end at each. \"* on "
    "disk:\n"
    "  1,3\" is an entry of a group's log that is on the disks of these nodes, and so chosen; its "
    "time\n"
    "  and that of all that happens at other nodes than the first is a guess, for each has its "
    "own\n"
    "  clock.\n"
    "  --text prints the lines as the node says them, with more figures.\n";

static void print_reply(const struct client_reply *r, int depth)
{
    switch (r->type) {
    case CLIENT_INTEGER: printf("(integer) %lld\n", (long long)r->integer); break;
    case CLIENT_NIL: puts("(nil)"); break;
    case CLIENT_ARRAY:
        if (r->count == 0) puts("(empty)");
        for (size_t i = 0; i < r->count; i++) {
            printf("%*s%zu) ", depth * 3, "", i + 1);
            print_reply(&r->items[i], depth + 1);
        }
        break;
    default:
        printf("%s%.*s\n", r->type == CLIENT_ERROR ? "(error) " : "", (int)r->text.size,
               (const char *)r->text.data);
    }
}

static void print_path(const struct client_reply *r, const char *name, bool as_text)
{
    struct buf picture = {0};
    if (!as_text && trace_picture(r, name, &picture))
        fwrite(picture.data, 1, picture.size, stdout);
    else
        for (size_t i = 0; i + 1 < r->count; i++)
            printf("%.*s\n", (int)r->items[i].text.size, (const char *)r->items[i].text.data);
    buf_deinit(&picture);
}

static int explain(struct client *c, bool as_text, int argc, char **argv)
{
    struct bytes words[64] = {BYTES("TRACE")};
    size_t count = 1;
    for (int i = 0; i < argc && count < 64; i++) words[count++] = bytes_str(argv[i]);
    client_append(c, count, words);
    const struct client_reply *r = client_wait(c);
    if (!r) return cli_fail("%s", client_error(c));
    if (r->type != CLIENT_ARRAY || r->count == 0) {
        print_reply(r, 0);
        return r->type == CLIENT_ERROR ? EXIT_FAILED : EXIT_DONE;
    }
    print_path(r, argv[0], as_text);
    printf("reply: ");
    print_reply(&r->items[r->count - 1], 0);
    return EXIT_DONE;
}

int cmd_explain(int argc, char **argv)
{
    char error[256];
    const char *at = NULL;
    int first = 1;
    bool as_text = false;
    for (; first < argc && argv[first][0] == '-'; first++) {
        if (first + 1 < argc && strcmp(argv[first], "--at") == 0)
            at = argv[++first];
        else if (strcmp(argv[first], "--text") == 0)
            as_text = true;
        else
            break;
    }
    if (first >= argc || argv[first][0] == '-') {
        bool asked = first < argc && (bytes_equal(bytes_str(argv[first]), BYTES("--help")) ||
                                      bytes_equal(bytes_str(argv[first]), BYTES("-h")));
        fputs(usage, asked ? stdout : stderr);
        return asked ? EXIT_DONE : EXIT_USAGE;
    }
    struct client *c = client_connect(at ? at : "127.0.0.1:7001", 15000, error, sizeof error);
    if (!c && !at) c = client_connect("127.0.0.1:6379", 15000, error, sizeof error);
    if (!c) return cli_fail("%s", error);
    int status = explain(c, as_text, argc - first, argv + first);
    client_free(c);
    return status;
}
