/* synod explain [--at HOST:PORT] command ...: runs one command with TRACE and prints its way
 * through the cluster. */
#include "cli/client.h"
#include "cli/commands.h"
#include "cli/options.h"

#include <stdio.h>
#include <stdlib.h>

static const char usage[] = "usage: synod explain [--at HOST:PORT] command [argument ...]\n"
                            "  Runs the command and prints its path with times: slot, group, "
                            "leader, Accept, on disk, chosen, reply.\n";

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

static int explain(struct client *c, int argc, char **argv)
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
    for (size_t i = 0; i + 1 < r->count; i++)
        printf("%.*s\n", (int)r->items[i].text.size, (const char *)r->items[i].text.data);
    printf("reply: ");
    print_reply(&r->items[r->count - 1], 0);
    return EXIT_DONE;
}

int cmd_explain(int argc, char **argv)
{
    char error[256];
    const char *at = NULL;
    int first = 1;
    if (argc > 2 && bytes_equal(bytes_str(argv[1]), BYTES("--at"))) at = argv[2], first = 3;
    if (first >= argc || argv[first][0] == '-') {
        bool asked = first < argc && (bytes_equal(bytes_str(argv[first]), BYTES("--help")) ||
                                      bytes_equal(bytes_str(argv[first]), BYTES("-h")));
        fputs(usage, asked ? stdout : stderr);
        return asked ? EXIT_DONE : EXIT_USAGE;
    }
    struct client *c = client_connect(at ? at : "127.0.0.1:7001", 15000, error, sizeof error);
    if (!c && !at) c = client_connect("127.0.0.1:6379", 15000, error, sizeof error);
    if (!c) return cli_fail("%s", error);
    int status = explain(c, argc - first, argv + first);
    client_free(c);
    return status;
}
