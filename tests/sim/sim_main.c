/* The simulator alone, for tools/canary and for those who work on it: `synod_sim --seed 1` is
 * `synod sim --seed 1`. */
#include "cli/commands.h"
#include "cli/options.h"

int main(int argc, char **argv)
{
    int status = cmd_sim(argc, argv);
    return status == OPTIONS_HELPED ? EXIT_DONE : status;
}
