/* synod log dump|check DIR: reads a node's log for people, without changing it. The node must not
 * be running. */
#include "cli/commands.h"
#include "cli/options.h"
#include "host/host.h"
#include "store/log.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

static void print_line(void *ctx, const char *text)
{
    (void)ctx;
    puts(text);
}

int cmd_log(int argc, char **argv)
{
    char error[512];
    bool dump = argc == 3 && strcmp(argv[1], "dump") == 0;
    if (argc != 3 || (!dump && strcmp(argv[1], "check") != 0)) {
        fprintf(stderr, "synod log: say 'synod log dump DIR' (one line a record) or 'synod log "
                        "check DIR' (damage only)\n");
        return EXIT_USAGE;
    }
    if (access(argv[2], R_OK | X_OK) != 0)
        return cli_fail("cannot read directory '%s': %s", argv[2], strerror(errno));
    struct host *host = host_new(&(struct host_options){.data_dir = argv[2], .backend = HOST_EPOLL},
                                 error, sizeof error);
    if (!host) return cli_fail("%s", error);
    int damage = log_print(host_io(host), dump, print_line, NULL);
    host_free(host);
    return damage == 2 ? EXIT_FAILED : EXIT_DONE;
}
