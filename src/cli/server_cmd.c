/* synod server: options in, a node runs. */
#include "cli/commands.h"
#include "cli/server.h"

int cmd_server(int argc, char **argv)
{
    struct server_options options;
    struct options_text text = {0};
    int status = server_options_parse(&options, &text, argc, argv);
    if (status == EXIT_DONE) status = server_run(&options);
    options_text_free(&text);
    return status;
}
