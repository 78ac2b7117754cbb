/* The program that the tests start as a nursery of workers. */
#include "job/nursery.h"

int main(void)
{
    return nursery_main();
}
