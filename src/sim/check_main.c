/* synod-check [--budget STEPS] FILE...: are these histories (in the text format of check_linear.h;
 * - is the standard input) linearizable?
 *
 * Exit status: 0 all are, 1 one is not (the shortest part that shows it is printed), 2 wrong usage
 * or a malformed file, 3 no verdict within the budget. */
#include "sim/check_linear.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

enum { EXIT_USAGE = 2, EXIT_TOO_HARD = 3 };

static int usage(void)
{
    fprintf(stderr, "usage: synod-check [--budget STEPS] FILE...\n");
    return EXIT_USAGE;
}

static bool read_all(const char *path, struct buf *out)
{
    FILE *f = strcmp(path, "-") == 0 ? stdin : fopen(path, "rb");
    size_t got;
    if (!f) return false;
    while ((got = fread(buf_reserve(out, 65536), 1, 65536, f)) > 0) out->size += got;
    bool ok = !ferror(f);
    if (f != stdin) fclose(f);
    return ok;
}

static int judge_file(const char *path, uint64_t budget)
{
    struct buf text = {0}, message = {0};
    struct check_history *h = check_new();
    int status = EXIT_USAGE;

    if (!read_all(path, &text)) {
        fprintf(stderr, "synod-check: %s: %s\n", path, strerror(errno));
    } else if (!check_read(h, buf_bytes(&text), &message)) {
        fprintf(stderr, "synod-check: %s: %.*s\n", path, (int)message.size,
                (const char *)message.data);
    } else {
        static const int statuses[] = {EXIT_SUCCESS, EXIT_FAILURE, EXIT_TOO_HARD};
        static const char *const words[] = {"linearizable", "NOT LINEARIZABLE", "no verdict"};
        enum check_verdict verdict = check_linearizable(h, budget, &message);
        printf("%s: %s (%zu operations)\n", path, words[verdict], check_count(h));
        if (message.size) printf("%.*s", (int)message.size, (const char *)message.data);
        status = statuses[verdict];
    }
    check_free(h);
    buf_deinit(&text);
    buf_deinit(&message);
    return status;
}

/* One file's fault outweighs another's doubt. */
static int worse(int a, int b)
{
    static const int rank[] = {0, 3, 2, 1}; /* by exit status */
    return rank[a] > rank[b] ? a : b;
}

int main(int argc, char **argv)
{
    uint64_t budget = CHECK_BUDGET;
    int at = 1, status = EXIT_SUCCESS;
    int64_t n;

    if (at + 1 < argc && strcmp(argv[at], "--budget") == 0) {
        if (!bytes_to_i64(bytes_str(argv[at + 1]), &n) || n < 1) return usage();
        budget = (uint64_t)n;
        at += 2;
    }
    if (at == argc || (argv[at][0] == '-' && argv[at][1])) return usage();
    for (; at < argc; at++) status = worse(status, judge_file(argv[at], budget));
    return status;
}
