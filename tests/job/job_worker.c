/* The program that the tests start as a worker. */
#include "job/worker.h"

int main(void)
{
    return worker_main();
}
