/* The pictures that `synod explain` and the demo draw, from replies as a node gives them. */
#include "test.h"

#include "cli/trace_picture.h"

#define LINES_MAX 40

/* Draws the picture of these lines and this reply. */
static void expect_picture(const char *name, const char *const *lines, const char *own,
                           const char *picture)
{
    struct client_reply items[LINES_MAX];
    struct client_reply r = {.type = CLIENT_ARRAY, .items = items};
    struct buf out = {0};
    for (; lines[r.count]; r.count++)
        items[r.count] =
            (struct client_reply){.type = CLIENT_BULK, .text = bytes_str(lines[r.count])};
    items[r.count++] = (struct client_reply){.type = CLIENT_STATUS, .text = bytes_str(own)};
    assert_true(trace_picture(&r, name, &out));
    buf_u8(&out, 0);
    assert_string_equal((const char *)out.data, picture);
    buf_deinit(&out);
}

TEST(a_transaction_over_two_groups)
{
    static const char *const lines[] = {
        "transaction over 2 groups, coordinated by node 2, tries: 1",
        "group 15: slots 15360-16383, leader node 3",
        "group 3: slots 3072-4095, leader node 1",
        "  asked us  answered us  phase     where: what came of it",
        "       1.0            -  TRY       node 2: 1, as transaction 2.1.9",
        "      10.4        260.0  LOCK      group 15 at node 3: locked",
        "      12.0        130.0  LOCK      group 3 at node 1: locked",
        "     261.0        264.0  EVALUATE  node 2: all commands are done",
        "     280.0       2700.0  PREPARE   group 15 at node 3: prepared",
        "                           entry 7: on disk at node 1 +2300.0 us, on disk at node 3 "
        "+2000.0 us, chosen +2310.0 us",
        "     281.0       1780.0  PREPARE   group 3 at node 1: prepared",
        "    2710.0       3600.0  DECIDE    group 15 at node 3: committed: this group is the "
        "anchor",
        "    3601.0            -  ANSWER    node 2: the client's reply is known",
        "    3620.0       5020.0  FINISH    group 3 at node 1: applied",
        "total at node 2: 3601.0 us to the answer, 5021.9 us until all was over",
        NULL};
    expect_picture(
        "MSET", lines, "OK",
        "        ms  client         node 2                   group 15                   group 3\n"
        "                         coordinator              node 3 leads              node 1 leads\n"
        "      0.00     |-- MSET ----->|                         |                         |\n"
        "      0.01     |              |-- LOCK ---------------->|                         |\n"
        "      0.01     |              |-- LOCK ------------------------------------------>|\n"
        "      0.13     |              |<---------------------------------------- locked --|\n"
        "      0.26     |              |<-------------- locked --|                         |\n"
        "      0.26     |              | evaluates               |                         |\n"
        "      0.28     |              |-- PREPARE ------------->|                         |\n"
        "      0.28     |              |-- PREPARE --------------------------------------->|\n"
        "      1.78     |              |<-------------------------------------- prepared --|\n"
        "      2.65     |              |                         | * on disk: 1,3          |\n"
        "      2.70     |              |<------------ prepared --|                         |\n"
        "      2.71     |              |-- DECIDE -------------->|                         |\n"
        "      3.60     |              |<----------- committed --|                         |\n"
        "      3.60     |<------- OK --|                         |                         |\n"
        "      3.62     |              |-- FINISH ---------------------------------------->|\n"
        "      5.02     |              |<--------------------------------------- applied --|\n"
        "answered after 3.60 ms; all was over after 5.02 ms\n"
        "(* on disk: nodes whose disks have this entry of the group's log)\n");
}

TEST(a_second_try_and_what_is_not_answered)
{
    static const char *const lines[] = {
        "transaction over 1 group, coordinated by node 1, tries: 2",
        "group 0: slots 0-4095, leader node 1",
        "       1.0            -  TRY       node 1: 1, as transaction 1.1.1",
        "      10.0         20.0  LOCK      group 0 at node 1: locked",
        "      20.0         20.0  EVALUATE  node 1: all commands are done",
        "      30.0         90.0  PREPARE   group 0 at node 1: TXNLOST the transaction holds no "
        "locks",
        "      91.0            -  TRY       node 1: 2, as transaction 1.1.2",
        "      92.0            -  FINISH    group 0 at node 1: not answered yet",
        "... and 3 more steps",
        "total at node 1: 50.0 us to the answer, 70.0 us until the rest was not waited for",
        NULL};
    expect_picture("RENAME", lines, "OK",
                   "        ms  client         node 1                    group 0\n"
                   "                         coordinator              node 1 leads\n"
                   "      0.00     |-- RENAME --->|                         |\n"
                   "      0.01     |              |-- LOCK ---------------->|\n"
                   "      0.02     |              |<-------------- locked --|\n"
                   "      0.02     |              | evaluates               |\n"
                   "      0.03     |              |-- PREPARE ------------->|\n"
                   "      0.09     |              |<------------- TXNLOST --|\n"
                   "      0.09     === try 2, as transaction 1.1.2 ==========\n"
                   "      0.09     |              |-- FINISH -------------->|\n"
                   "... and 3 more steps\n"
                   "answered after 0.05 ms; the rest was not waited for after 0.07 ms\n");
}

TEST(more_groups_than_fit)
{
    static const char *const lines[] = {
        "transaction over 7 groups, coordinated by node 1, tries: 1",
        "group 0: slots 0-4, leader node 1",
        "group 1: slots 0-4, leader node 1",
        "group 2: slots 0-4, leader node 0",
        "group 3: slots 0-4, leader node 1",
        "group 4: slots 0-4, leader node 1",
        "group 5: slots 0-4, leader node 1",
        "group 6: slots 0-4, leader node 1",
        "10.0 20.0 HOLDS group 4 at node 1: all is still locked",
        "11.0 12.0 HOLDS group 6 at node 1: all is still locked",
        "12.0 2100.0 HOLDS group 0 at node 1: all is still locked",
        NULL};
    expect_picture(
        "MGET", lines, "OK",
        "        ms  client         node 1       group 0      group 1      group 2      group 3\n"
        "                         coordinator node 1 leads node 1 leads   no leader  node 1 leads\n"
        "      0.00     |-- MGET ----->|            |            |            |            |\n"
        "      0.01     |              |-- HOLDS -->|            |            |            |\n"
        "      2.10     |              |<--- held --|            |            |            |\n"
        "3 more groups are not drawn\n");
}

TEST(a_set_that_is_forwarded)
{
    static const char *const lines[] = {
        "hash: slot 15495, group 15 (slots 15360-16383)",
        "route: asked node 2, leader node 1, forwarded",
        "    +3.0 us  leader: node 1 evaluates the command on its view of group 15",
        "    +5.0 us  leader: proposes the effects as the entry at position 22, ballot 1.1",
        "    +6.0 us  Accept sent to node 2",
        "    +6.0 us  Accept sent to node 3",
        "  +700.0 us  on disk at node 1 (the leader itself)",
        "  +650.0 us  Accepted by node 3: it has it on disk",
        "  +701.0 us  chosen (on disk at a majority) and applied at the leader",
        "  +720.0 us  reply released",
        "total at node 2: 820.0 us",
        NULL};
    expect_picture(
        "SET", lines, "OK",
        "        ms  client         node 2                    node 1                    node 3\n"
        "                          was asked              leads group 15                replica\n"
        "      0.00     |-- SET ------>|                         |                         |\n"
        "      0.00     |              |-- forwarded ----------->|                         |\n"
        "      0.05     |              |                         | evaluates               |\n"
        "      0.06     |              |                         | proposes 22             |\n"
        "      0.06     |              |<-------------- Accept --|                         |\n"
        "      0.06     |              |                         |-- Accept -------------->|\n"
        "      0.70     |              |                         |<------------- on disk --|\n"
        "      0.75     |              |                         | * on disk               |\n"
        "      0.75     |              |                         | * chosen, applied       |\n"
        "      0.77     |              |<------------------ OK --|                         |\n"
        "      0.82     |<------- OK --|                         |                         |\n"
        "answered after 0.82 ms\n");
}

TEST(what_is_no_trace_is_not_drawn)
{
    struct client_reply items[3] = {{.type = CLIENT_BULK, .text = BYTES("transaction over")},
                                    {.type = CLIENT_BULK, .text = BYTES("hash: slot")},
                                    {.type = CLIENT_NIL}};
    struct client_reply r = {.type = CLIENT_ARRAY, .items = items, .count = 3};
    struct buf out = {0};
    assert_false(trace_picture(&r, "GET", &out));
    r = (struct client_reply){.type = CLIENT_ERROR, .text = BYTES("ERR no")};
    assert_false(trace_picture(&r, "GET", &out));
    assert_int_equal(out.size, 0);
}

TEST_MAIN
