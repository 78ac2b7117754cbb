#!/usr/bin/env python3
"""Puts new traces into a test: TRACE_REWRITE=1 ./test_trace 2>&1 | tests/paxos/rewrite.py tests/paxos/test_trace.c

Read the diff before committing it: each changed line is a change of behaviour that somebody must be able to explain."""
import re
import sys

blocks = {}
for at, text in re.findall(r'@@ \S+ (\d+)\n(.*?)@@\n', sys.stdin.read(), re.S):
    blocks[int(at)] = text
path = sys.argv[1]
lines = open(path).read().split('\n')
out, i = [], 0
while i < len(lines):
    begin = i
    if 'EXPECT_TRACE(' in lines[i]:
        while not lines[i].endswith(');'):
            i += 1
        hit = [n for n in range(begin + 1, i + 2) if n in blocks]
        if hit:
            head = lines[begin].split('EXPECT_TRACE(')[0]
            name = lines[begin].split('EXPECT_TRACE(')[1].split(',')[0]
            text = blocks[hit[0]].split('\n')[:-1]
            pad = ' ' * (len(head) + len('EXPECT_TRACE('))
            quoted = [f'"{t}\\n"' for t in text] or ['""']
            out += [f'{head}EXPECT_TRACE({name}, {quoted[0]}'] + [pad + q for q in quoted[1:]]
            out[-1] += ');'
            i += 1
            continue
    out += lines[begin:i + 1]
    i += 1
open(path, 'w').write('\n'.join(out))
