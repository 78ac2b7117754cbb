/* TEST(name_is_a_sentence) { ... } on top of cmocka: every TEST of the file runs, in file order,
 * when the file is linked with test_main (at its foot: TEST_MAIN). Checks are cmocka's
 * (assert_int_equal, assert_true, ...); EXPECT_* here add what cmocka lacks. */
#ifndef SYNOD_TEST_H
#define SYNOD_TEST_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "base/bytes.h"

#define TESTS_MAX 512

extern struct CMUnitTest test_list[TESTS_MAX];
extern size_t test_count;

#define TEST(test_name)                                                                            \
    static void test_name(void **state_);                                                          \
    __attribute__((constructor)) static void test_name##_register(void)                            \
    {                                                                                              \
        if (test_count == TESTS_MAX) abort();                                                      \
        test_list[test_count++] = (struct CMUnitTest){#test_name, test_name, NULL, NULL, NULL};    \
    }                                                                                              \
    static void test_name(void **state_ __attribute__((unused)))

/* Once in each test program. */
#define TEST_MAIN                                                                                  \
    struct CMUnitTest test_list[TESTS_MAX];                                                        \
    size_t test_count;                                                                             \
    int main(void)                                                                                 \
    {                                                                                              \
        return _cmocka_run_group_tests(__FILE__, test_list, test_count, NULL, NULL);               \
    }

#define EXPECT_BYTES(actual, text)                                                                 \
    do {                                                                                           \
        struct bytes actual_ = (actual), expected_ = bytes_str(text);                              \
        if (!bytes_equal(actual_, expected_))                                                      \
            fail_msg("%s is '%.*s', expected '%s'", #actual, (int)actual_.size,                    \
                     (const char *)actual_.data, text);                                            \
    } while (0)

#endif
