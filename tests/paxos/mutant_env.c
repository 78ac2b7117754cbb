/* Plants the bug that SYNOD_MUTANT names, before the tests of this program run. */
#include "base/mutant.h"

#include <stdlib.h>

int mutant_active;

__attribute__((constructor)) static void plant(void)
{
    const char *number = getenv("SYNOD_MUTANT");
    mutant_active = number ? atoi(number) : 0;
}
