"""A bank with accounts in every group: transactions over several groups, and what clients are told of them. (transfers.py, partitions.py)

Tellers move money, auditors read all accounts with one MGET, a token is renamed from group to group. What they are told is judged by the
simplest of the rules of sim/bank_judge.h, which names them B1 to B5. How long an answer takes is printed, not judged; only a client that waits
far too long is a fault."""
import math
import random
import re
import threading
import time

import redis
from harness import Crew, Err, expect, until

TELLERS, AUDITORS, PLACES = 8, 3, 5
STALL = 9.0  # seconds until all is answered again; an election takes a tenth of that
PATIENCE = 20.0  # ... of a client whose node may be stopped meanwhile
NOT_DONE = (redis.exceptions.TryAgainError, redis.exceptions.ClusterDownError)
OVER = ("TRYAGAIN", "CLUSTERDOWN", "TXNABORT")  # not done: again


def ask(r, *words):
    """What is answered, also if it is an error."""
    try:
        return r.execute_command(*words)
    except redis.ResponseError as error:
        return str(error).encode()


class Teller:
    """What one of them sent and was told. Its n-th transfer that was done has one serial number, and no other (B3)."""

    def __init__(self, number):
        self.counter, self.last = f"counter:{number}", f"last:{number}"
        self.sent = self.done = self.unknown = self.refused = 0
        self.nth, self.serials = {}, {}
        self.retry = []  # for BEGIN

    def told(self, nth, serial):
        expect(self.nth.setdefault(nth, serial) == serial, f"{self.counter}: the transfer {nth} is {self.nth[nth]}, and {serial}")
        expect(self.serials.setdefault(serial, nth) == nth, f"{self.counter}: {serial} was done as {self.serials[serial]}, and as {nth}")

    def answered(self, serial, nth, before):
        self.done += 1
        expect(self.done <= nth <= self.sent - self.refused, f"{self.counter}: {self.done} were acknowledged, of {self.sent}; the counter is {nth}")
        self.told(nth, serial)
        self.told(nth - 1, int(before or 0))


class Bank(Crew):
    """Runs until it is left; then what is there must be what was acknowledged."""

    def __init__(self, c, nodes=None):
        self.c, self.nodes = c, nodes or c.nodes
        self.accounts = accounts_of(c, 2)
        self.step = math.lcm(*range(1, len(self.accounts)))  # any distance divides it
        self.places = [f"place:{i}" for i in range(PLACES)]
        self.tellers = [Teller(i) for i in range(TELLERS)]
        self.keys = [*self.accounts, *(t.counter for t in self.tellers), *self.places]
        self.views, self.renames, self.longest, self.fault = [], 0, 0.0, None
        self.least = [0] * TELLERS  # of each counter: what anybody was told
        self.stopping, self.lock = threading.Event(), threading.Lock()
        work = [(self.teller, t) for t in range(TELLERS)] + [(self.auditor, a) for a in range(AUDITORS)] + [(self.mover, 0)]
        self.threads = [threading.Thread(target=self.run, args=w, daemon=True) for w in work]
        expect(c.ask("SET", self.places[0], "token") == b"OK")

    def __exit__(self, kind, *_):
        ended = self.ended(2 * PATIENCE)
        self.fault = self.fault or (None if ended else "a client still waits for its answer")
        expect(kind or self.fault is None, self.fault)

    def run(self, work, number):
        try:
            work(number, random.Random(number))
        except Exception as error:  # a fault is told by whoever looks
            self.fault = self.fault or f"{type(error).__name__}: {error}"

    def client(self, rng):
        """One that is connected; None: all is over."""
        while not self.stopping.is_set() and not self.fault:
            try:
                r = self.connect(rng.choice(self.nodes))
                r.ping()
                return r
            except redis.ConnectionError:
                time.sleep(0.02)
        return None

    @staticmethod
    def connect(node):
        return redis.Redis(host=node.host, port=node.port, socket_timeout=PATIENCE, single_connection_client=True)

    def each(self, rng, do):
        """do(client) again and again, through this node and that; yields 'done', or what the answer, or none, says otherwise."""
        r = self.client(rng)
        while r and not self.stopping.is_set() and not self.fault:
            began, how = time.monotonic(), "done"
            try:
                do(r)
            except redis.ConnectionError:
                how = "unknown"
            except redis.TimeoutError:
                raise AssertionError(f"no answer within {PATIENCE} s") from None
            except NOT_DONE:
                how = "refused"
            except redis.ResponseError as error:
                expect(str(error).startswith((*OVER, "UNKNOWN")), error)
                how = "unknown" if str(error).startswith("UNKNOWN") else "refused"
            self.longest = max(self.longest, time.monotonic() - began)
            yield how
            if how == "unknown" or rng.random() < 0.05:
                r.close()
                r = self.client(rng)

    def at_once(self, r, me, source, to, amount):
        with r.pipeline(transaction=True) as p:
            p.decrby(source, amount).incrby(to, amount)
            _, _, nth, before = p.incr(me.counter).set(me.last, me.sent, get=True).execute()
        return nth, before

    def step_by_step(self, r, me, source, to, amount):
        """What is written is reckoned here, from what was read; one that had to give way is as old when it is tried again."""
        try:
            r.execute_command("BEGIN", *me.retry)
            r.set(source, int(r.get(source) or 0) - amount)
            r.set(to, int(r.get(to) or 0) + amount)
            nth, before = r.incr(me.counter), r.get(me.last)
            r.set(me.last, me.sent)
            r.execute_command("COMMIT")
        except redis.ResponseError as error:
            number = re.search(r"BEGIN RETRY (\d+)", str(error))
            me.retry = ["RETRY", number[1]] if number else []
            left = ask(r, "ROLLBACK")
            expect(left == b"OK" or b"without BEGIN" in left, left)
            raise
        me.retry = []
        return nth, before

    def teller(self, number, rng):
        """Even ones move an amount to an account of a higher number, odd ones to a lower (B2)."""
        me = self.tellers[number]

        def transfer(r):
            low, high = sorted(rng.sample(range(len(self.accounts)), 2))
            source, to = (low, high) if number % 2 == 0 else (high, low)
            me.sent += 1
            way = self.step_by_step if rng.random() < 0.3 else self.at_once
            nth, before = way(r, me, self.accounts[source], self.accounts[to], self.step // (high - low))
            me.answered(me.sent, nth, before)
            with self.lock:
                self.least[number] = max(self.least[number], nth)
        for how in self.each(rng, transfer):
            me.refused += how == "refused"
            me.unknown += how == "unknown"

    def auditor(self, _, rng):
        for _ in self.each(rng, self.audit):
            pass

    def audit(self, r):
        with self.lock:
            least = [*self.least]
        self.judge(least, r.mget(self.keys))

    def judge(self, least, values):
        n = len(self.accounts)
        accounts = [int(v or 0) for v in values[:n]]
        counters = [int(v or 0) for v in values[n:n + TELLERS]]
        moved = sum(counters[::2]) - sum(counters[1::2])
        expect(sum(accounts) == 0, "B1: the sum is", sum(accounts), accounts)
        expect(sum(i * v for i, v in enumerate(accounts)) == self.step * moved, "B2: these are not the transfers of", counters, accounts)
        expect(all(a <= b for a, b in zip(least, counters)), "B4: counters went back from", least, "to", counters)
        expect([v for v in values[n + TELLERS:] if v] == [b"token"], "the token is at", values[n + TELLERS:])
        with self.lock:
            self.least = [max(a, b) for a, b in zip(self.least, counters)]
            self.views.append((counters, accounts))

    def mover(self, _, rng):
        def move(r):
            at = next(i for i, v in enumerate(r.mget(self.places)) if v)
            to = rng.choice([i for i in range(PLACES) if i != at])
            try:
                self.renames += r.renamenx(self.places[at], self.places[to])
            except redis.ResponseError as error:  # one whose outcome was unknown was done just now
                if "no such key" not in str(error):
                    raise
        for _ in self.each(rng, move):
            pass

    def done(self):
        return sum(t.done for t in self.tellers)

    def grows(self, by=30, seconds=30):
        before = self.done()
        until(seconds, f"{by} more transfers are done", lambda: self.fault or self.done() >= before + by)
        expect(self.fault is None, self.fault)

    def rate(self, seconds):
        """Acknowledged transfers a second, over the next seconds."""
        before, began = self.done(), time.monotonic()
        time.sleep(seconds)
        return (self.done() - before) / (time.monotonic() - began)

    def check(self):
        """At the end, through every node: nothing is locked, nothing is lost, no key too many (`waited` has written a neighbour of each account)."""
        for n in self.c.nodes:
            until(20, "a transaction of all accounts is done", lambda n=n: isinstance(n.conn().pipeline(
                [("MULTI",), *[("INCRBY", a, 0) for a in self.accounts], ("EXEC",)])[-1], list))
            self.audit(self.connect(n))
        for t, count in zip(self.tellers, self.views[-1][0]):
            expect(t.done <= count <= t.done + t.unknown, f"{t.counter} is {count}; {t.done} were acknowledged, {t.unknown} unknown")
        in_order = sorted(self.views, key=lambda view: sum(view[0]))
        for (one, accounts), (next_one, next_accounts) in zip(in_order, in_order[1:]):
            expect(all(a <= b for a, b in zip(one, next_one)), "B5: of two audits none is the earlier one:", one, next_one)
            expect(one != next_one or accounts == next_accounts, "B5: two audits with the same counters", one, accounts, next_accounts)
        written = [*self.accounts, *self.accounts, "token", *(t for t, count in zip(self.tellers * 2, self.views[-1][0] * 2) if count)]
        keys = self.c.any().do("DBSIZE")
        expect(keys == len(written), f"there are {keys} keys, not {len(written)}")
        until(10, "nothing is left of any transaction", lambda: not any(n.do("TXN", "LIST") for n in self.c.nodes))
        self.c.expect_equal_digests(seconds=40)

    def figures(self):
        done, unknown, refused = (sum(getattr(t, what) for t in self.tellers) for what in ("done", "unknown", "refused"))
        return (f"{done} transfers acknowledged, {unknown} unknown, {refused} refused; {len(self.views)} audits, {self.renames} renames; "
                f"longest answer {self.longest:.2f} s")


def accounts_of(c, each):
    """Names of accounts, as many in each group."""
    found, i = {}, 0
    while len(found) < c.groups or min(map(len, found.values())) < each:
        found.setdefault(c.group_of(f"account:{i}"), []).append(f"account:{i}")
        i += 1
    return [name for names in found.values() for name in names[:each]]


def waited(bank, nodes):
    """Seconds until each of these nodes has answered a SET of a neighbour of each account, and an MGET of all of them."""
    began, took = time.monotonic(), []

    def good(n):
        with n.conn() as k:
            replies = k.pipeline([*[("SET", f"{{{a}}}n", 1) for a in bank.accounts], ("MGET", *bank.accounts)])
        return not any(isinstance(r, Err) for r in replies)

    def ask(n):
        until(STALL, f"node {n.number} answers again", lambda: good(n), pause=0.01)
        took.append(time.monotonic() - began)
    threads = [threading.Thread(target=ask, args=(n,)) for n in nodes]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    expect(len(took) == len(nodes) and max(took) < STALL, "a node did not answer for so long:", took)
    return max(took)


def certain(nodes, seconds=10):
    """Seconds until none of these nodes, all of which answer, has a transaction in doubt in a group that it leads."""
    began = time.monotonic()

    def doubts():
        return [t for n in nodes for g in n.status()["groups"] for t in g.get("transactions", ()) if t["state"] == "in doubt"]
    until(seconds, "no transaction is in doubt", lambda: not doubts())
    return time.monotonic() - began
