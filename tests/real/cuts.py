#!/usr/bin/env python3
"""Snapshots of the whole database while it works and while nodes die: the accounts' sum is right in each.  cuts.py SYNOD [--long]

Transfers between accounts of all groups go on; a snapshot is made again and again, and read by its splits from the nodes that are named
for them. How long replies were held is printed, not judged."""
import sys
import threading
import time

sys.dont_write_bytecode = True  # the source tree stays as it is
from harness import Closed, Crew, expect, main, scenario, until
from snapshot_read import ask, read

ACCOUNTS, EACH, TELLERS = 64, 100, 6


class Transfers(Crew):
    """Until it is left."""

    def __init__(self, c):
        self.c, self.done, self.stopping, self.fault = c, 0, threading.Event(), None
        self.threads = [threading.Thread(target=self.run, args=(i,), daemon=True) for i in range(TELLERS)]

    def run(self, i):
        conn, at = None, i
        while not self.stopping.is_set():
            try:
                conn = conn or self.c.nodes[at % len(self.c.nodes)].conn()
                source, target = f"acct:{at % ACCOUNTS}", f"acct:{(at * 7 + i) % ACCOUNTS}"
                at += 1
                *_, last = conn.pipeline([("MULTI",), ("DECRBY", source, 3), ("INCRBY", target, 3), ("EXEC",)])
                self.done += isinstance(last, list)
            except (OSError, Closed):
                conn, at = None, at + 1
                time.sleep(0.05)


def total(found):
    values = [int(v) for k, (kind, v) in found.items() if k.startswith(b"acct:")]
    expect(len(values) == ACCOUNTS, f"all accounts are there: {len(values)}")
    return sum(values)


def made(c):
    for i in range(ACCOUNTS):
        expect(c.ask("SET", f"acct:{i}", EACH) == b"OK")
    return c


def cut(c):
    name = ask(c, "SNAPSHOT", "CREATE", "TTL", 60)
    expect(total(read(c, name)) == ACCOUNTS * EACH, "the sum is what it was")
    info = ask(c, "SNAPSHOT", "INFO", name)
    fields = dict(zip(info[::2], info[1::2]))
    expect(ask(c, "SNAPSHOT", "DROP", name) == 1)
    return fields[b"hold-us"] / 1000, fields[b"transactions"]


@scenario(limit=120)
def a_snapshot_of_a_working_database_is_consistent(env):
    c = made(env.cluster(groups=8).up())
    expect(c.ask("HSET", "h", "f", "v", "g", "w") == 2)
    with Transfers(c) as t:
        held, pending = zip(*(cut(c) for _ in range(env.seconds(20, 200))))
        name = ask(c, "SNAPSHOT", "CREATE")
        before = read(c, name)
        done = t.done
        until(20, "transfers go on", lambda: t.done > done + 100)
        expect(before[b"h"] == (b"hash", [b"f", b"v", b"g", b"w"]), "a collection is a flat array", before[b"h"])
        expect(read(c, name, 40) == before, "and it stays as it was")
    print(f"# {t.done} transfers; replies were held for {sorted(held)[len(held) // 2]:.1f} ms, {max(held):.1f} at most; "
          f"{sum(pending)} transactions were pending in the cuts", flush=True)


@scenario(limit=180, backends=("epoll",))
def snapshots_are_made_and_read_while_nodes_die(env):
    c = made(env.cluster(groups=8).up())
    with Transfers(c) as t:
        for n in c.nodes:
            name = ask(c, "SNAPSHOT", "CREATE")
            n.kill()
            c.wait_ready(c.others(n))
            expect(total(read(c, name)) == ACCOUNTS * EACH, "the others have it")
            cut(c)
            n.start()
            c.wait_ready()
            cut(c)
    expect(t.done > 100, f"{t.done} transfers")


if __name__ == "__main__":
    sys.exit(main())
