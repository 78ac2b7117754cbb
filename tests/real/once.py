#!/usr/bin/env python3
"""Exactly-once requests while nodes die: clients INCR, and EXEC over groups, with tokens, and ask again whatever fails, here and there, until they
are answered.  once.py SYNOD [--long]

A client knows every answer beforehand: after n of its requests that were answered its counters are n, not more and not less."""
import itertools
import random
import subprocess
import sys
import threading
import time

sys.dont_write_bytecode = True  # the source tree stays as it is
from harness import Crew, Err, expect, main, scenario, until

CLIENTS = 6
PATIENCE = 2.0  # then it is asked again elsewhere, while the first copy may be on its way
AGAIN = ("UNKNOWN", "TRYAGAIN", "CLUSTERDOWN", "TXNABORT", "OOM")


class Askers(Crew):
    """Runs until it is left; then each counter must be what was answered."""

    def __init__(self, c):
        self.c, self.fault, self.stopping = c, None, threading.Event()
        self.done, self.again, self.unknown = [0] * CLIENTS, 0, 0
        self.keys = [self.two_groups(i) for i in range(CLIENTS)]
        self.threads = [threading.Thread(target=self.run, args=(i,), daemon=True) for i in range(CLIENTS)]

    def two_groups(self, i):
        """Two keys of different groups."""
        first = f"one:{i}"
        return first, next(k for k in (f"two:{i}:{n}" for n in itertools.count()) if self.c.group_of(k) != self.c.group_of(first))

    def __exit__(self, kind, *_):
        ended = self.ended()
        expect(kind or self.fault is None, self.fault)
        expect(kind or ended, "a client still asks")

    def run(self, i):
        try:
            self.client(i, random.Random(i))
        except Exception as error:  # a fault is told by whoever looks
            self.fault = self.fault or f"{type(error).__name__}: {error}"

    def client(self, i, rng):
        count = [0, 0]
        for n in itertools.count():
            if self.stopping.is_set() or self.fault:
                return
            token, several = f"{i}:{n}", rng.random() < 0.4
            if several:
                commands = [("MULTI",), *[("INCR", k) for k in self.keys[i]], ("IDEMPOTENT", token, "EXEC")]
                count = [count[0] + 1, count[1] + 1]
                wanted = count
            else:
                commands = [("IDEMPOTENT", token, "INCR", self.keys[i][0])]
                count = [count[0] + 1, count[1]]
                wanted = count[0]
            for _ in range(1 + (rng.random() < 0.1)):  # also what was answered is asked again
                answer = self.until_answered(rng, commands)
                expect(answer == wanted, f"{commands} was answered", answer, "not", wanted)
            self.done[i] += 1

    def until_answered(self, rng, commands):
        while True:
            try:
                with rng.choice(self.c.nodes).conn(timeout=rng.choice((0.05, PATIENCE))) as k:
                    answer = k.pipeline(commands)[-1]
            except OSError:
                answer = Err("UNKNOWN")
            if not isinstance(answer, Err):
                return answer
            expect(answer.startswith((*AGAIN, "EXECABORT")), answer)
            self.again += 1
            self.unknown += answer.startswith("UNKNOWN the")
            time.sleep(0.01)

    def grows(self, by=30):
        before = sum(self.done)
        until(30, f"{by} more requests are answered", lambda: self.fault or sum(self.done) >= before + by)
        expect(self.fault is None, self.fault)

    def figures(self):
        return f"{sum(self.done)} requests answered, {self.again} asked again, {self.unknown} times told UNKNOWN"


@scenario(limit=120)
def each_request_is_done_once_while_leaders_die(env):
    c = env.cluster(groups=8).up()
    with Askers(c) as askers:
        askers.grows(100)
        for _ in range(env.seconds(4, 40)):
            leader = c.leader_of(askers.keys[0][0])
            leader.kill()
            askers.grows()
            leader.start()
            c.wait_ready()
            askers.grows()
        n = env.rng.choice(c.nodes)
        n.pause()
        askers.grows(10)
        n.resume()
        c.restart_all()
        c.wait_ready()
        askers.grows()
    c.expect_equal_digests(seconds=40)
    print(f"# {askers.figures()}", flush=True)


@scenario(limit=60, backends=("epoll",))
def by_hand_a_token_gives_the_first_answer(env):
    c = env.cluster(groups=4).up()

    def say(n, *words):
        return subprocess.run(["redis-cli", "-p", str(n.port), *words], capture_output=True, text=True, timeout=20, check=True).stdout.strip()
    for n in c.nodes * 2:
        expect(say(n, "idempotent", "t1", "incr", "a") == "1")
        expect(say(n, "idempotent", "t2", "mset", "b", "1", "c", "2") == "OK")
        expect(say(n, "dbsize") == "3")
    c.restart_all()
    c.wait_ready()
    for n in c.nodes:
        expect(say(n, "idempotent", "t1", "incr", "a") == "1")
    expect(say(c.nodes[0], "incr", "a") == "2")


if __name__ == "__main__":
    sys.exit(main())
