#!/usr/bin/env python3
"""MULTI, EXEC, DISCARD, WATCH: beside a real redis-server, and under load while leaders die.  transactions.py SYNOD [--long]"""
import random
import signal
import subprocess
import sys
import tempfile
import threading
import time

sys.dont_write_bytecode = True  # the source tree stays as it is
import redis
from harness import Conn, die_with_parent, expect, free_ports, main, scenario, until
from programs import tool

KEYS = [f"{{t}}k{i}" for i in range(4)]
SHOWN = 12  # of a failing dialogue


class Peer:
    """A redis-server of our own."""

    def __init__(self, env):
        tool("redis-server")
        self.port = free_ports(1)
        self.directory = tempfile.TemporaryDirectory(prefix="synod-real-")
        self.process = subprocess.Popen(["redis-server", "--port", str(self.port), "--bind", "127.0.0.1", "--save", "", "--dir", self.directory.name],
                                        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, preexec_fn=die_with_parent)
        env.cleanup(self.stop)
        until(10, "redis-server answers", self.answers)

    def answers(self):
        try:
            with self.conn() as k:
                return k.do("PING") == b"PONG"
        except OSError:
            return False

    def conn(self):
        return Conn(("127.0.0.1", self.port))

    def stop(self):
        self.process.send_signal(signal.SIGKILL)
        self.process.wait()
        self.directory.cleanup()


def a_command(rng):
    """One that synod and Redis answer alike, right or wrong."""
    key, other = rng.choice(KEYS), rng.choice(KEYS)
    return rng.choice([
        ("SET", key, rng.randrange(5)), ("GET", key), ("INCR", key), ("INCRBY", key, "x"), ("DEL", key), ("EXISTS", key, other),
        ("HSET", key, "f", rng.randrange(5)), ("HGETALL", key), ("APPEND", key, "z"), ("MSET", key, 1, other, 2), ("MGET", key, other), ("PING",),
        ("ECHO", "hello"), ("TYPE", key), ("GETSET", key, 7), ("SETNX", key, 1), ("EXPIRE", key, 100), ("PERSIST", key), ("RENAME", key, other),
        ("NOSUCH", key), ("GET",), ("STRLEN", key), ("SELECT", 0), ("TIME", "x")])


def a_step(rng, inside):
    """What one of two connections says next."""
    dice = rng.random()
    if dice < (0.16 if inside else 0.3):
        return rng.choice([("EXEC",)] * 3 + [("DISCARD",)]) if inside else rng.choice([("MULTI",), ("WATCH", rng.choice(KEYS)), ("WATCH", *KEYS)])
    if dice < 0.4:
        return rng.choice([("MULTI",), ("EXEC",), ("DISCARD",), ("WATCH", rng.choice(KEYS)), ("UNWATCH",), ("EXEC", "x"), ("MULTI", "x"), ("WATCH",),
                           ("RESET",)])
    return a_command(rng)


def dialogue(env, peer, c, seed, steps):
    """Two connections to each say the same and hear the same. False: the leader changed in the midst, which ends what was watched."""
    def ballot():
        return next(g["ballot"] for g in c.leader_of("{t}").status()["groups"] if g["id"] == c.group_of("{t}"))
    rng = random.Random(env.rng.random())
    theirs = [peer.conn(), peer.conn()]
    ours = [c.nodes[seed % 3].conn(), c.nodes[(seed + 1) % 3].conn()]
    inside, said, led_by = [False, False], [], ballot()
    for side in (theirs, ours):
        side[0].do("DEL", *KEYS)
    for _ in range(steps):
        who = rng.randrange(2)
        words = a_step(rng, inside[who])
        want, got = theirs[who].do(*words), ours[who].do(*words)
        said.append((who, words, want, got))
        if words == ("MULTI",) and want == b"OK":
            inside[who] = True
        if words[0] in ("EXEC", "DISCARD", "RESET") and len(words) == 1:
            inside[who] = False
        if words == ("EXEC",) and got is None and want is not None and ballot() != led_by:
            return False
        expect(want == got, "after", *said[-SHOWN:])
    for k in theirs + ours:
        k.close()
    return True


@scenario(limit=120)
def transactions_answer_as_redis_does(env):
    peer, c = Peer(env), env.cluster().up()
    steps, tries = env.seconds(4000, 40000), 0
    for seed in range(3):
        tries += 1
        while not dialogue(env, peer, c, seed, steps // 3):
            tries += 1
            expect(tries < 10, "a leader changed in each of them")
    print(f"# {steps} steps of two connections, in {tries} dialogues", flush=True)
    c.expect_equal_digests()


def leaders_die(c, stop, every):
    """kill -9 of one node after another, which come back."""
    number = 0
    while not stop.wait(every):
        n = c.nodes[number % len(c.nodes)]
        number += 1
        n.kill()
        time.sleep(0.4)
        n.start()
        c.wait_ready()
    return number


def in_threads(count, work):
    threads = [threading.Thread(target=work, args=(i,)) for i in range(count)]
    for t in threads:
        t.start()
    return threads


@scenario(limit=120)
def counters_that_watch_lose_no_increment(env):
    """redis-py as people write it: WATCH, GET, MULTI, SET, EXEC, and again if it was not done."""
    c = env.cluster(groups=4).up()
    done, unknown, aborted, errors, stop = [0], [0], [0], [], threading.Event()
    lock = threading.Lock()

    def count(i):
        r = redis.Redis(port=c.nodes[i % 3].port, socket_timeout=15)
        while not stop.is_set():
            try:
                with r.pipeline(transaction=True) as p:
                    p.watch("{t}counter")
                    value = int(p.get("{t}counter") or 0)
                    p.multi()
                    p.set("{t}counter", value + 1)
                    p.execute()
                with lock:
                    done[0] += 1
            except redis.WatchError:
                aborted[0] += 1
            except (redis.ConnectionError, redis.TimeoutError) as error:
                with lock:
                    unknown[0] += 1
                time.sleep(0.05)
            except (redis.exceptions.TryAgainError, redis.exceptions.ClusterDownError):
                pass
            except redis.ResponseError as error:
                with lock:
                    if str(error).startswith("UNKNOWN"):
                        unknown[0] += 1
                    else:
                        errors.append(repr(error))

    threads = in_threads(6, count)
    killer = threading.Timer(env.seconds(8, 60), stop.set)
    killer.start()
    died = leaders_die(c, stop, 1.2)
    for t in threads:
        t.join()
    expect(not errors, errors[:3])
    c.wait_ready()
    value = int(c.any().do("GET", "{t}counter"))
    expect(done[0] <= value <= done[0] + unknown[0], f"{done[0]} increments were acknowledged, {unknown[0]} unknown, the counter is {value}")
    expect(done[0] > 50 and aborted[0] > 0, f"{done[0]} done, {aborted[0]} aborted")
    print(f"# {done[0]} increments, {aborted[0]} aborted, {unknown[0]} unknown, while {died} nodes died; the counter is {value}", flush=True)


@scenario(limit=120)
def transfers_keep_the_sum_while_leaders_die_and_groups_split(env):
    c = env.cluster(groups=2).up()
    accounts = [f"{{bank}}{i}" for i in range(10)]
    total = 1000 * len(accounts)
    c.any().do("MSET", *[w for a in accounts for w in (a, 1000)])
    stop, wrong, moved, looked = threading.Event(), [], [0], [0]

    def conn_of(i):
        while not stop.is_set():
            try:
                return c.nodes[i % 3].conn()
            except OSError:
                time.sleep(0.05)
        return None

    def work(i):
        rng, k = random.Random(i), conn_of(i)
        while not stop.is_set() and k:
            try:
                if i % 3 == 0:
                    replies = k.pipeline([("MULTI",), *[("GET", a) for a in accounts], ("EXEC",)])
                    if isinstance(replies[-1], list):
                        looked[0] += 1
                        if sum(map(int, replies[-1])) != total:
                            wrong.append(replies[-1])
                else:
                    a, b = rng.sample(accounts, 2)
                    x = rng.randrange(1, 100)
                    replies = k.pipeline([("MULTI",), ("DECRBY", a, x), ("INCRBY", b, x), ("EXEC",)])
                    moved[0] += isinstance(replies[-1], list)
            except OSError:
                k.close()
                k = conn_of(i)

    threads = in_threads(6, work)
    threading.Timer(env.seconds(8, 60), stop.set).start()
    time.sleep(1)
    group = c.group_of("{bank}0")
    c.ask("SYNOD", "GROUP", "SPLIT", group)
    died = leaders_die(c, stop, 1.5)
    for t in threads:
        t.join()
    c.wait_ready()
    expect(not wrong, "sums that were read:", [sum(map(int, w)) for w in wrong[:5]])
    end = c.any().do("MGET", *accounts)
    expect(sum(map(int, end)) == total, "the sum at the end is", sum(map(int, end)))
    expect(moved[0] > 100 and looked[0] > 50, f"{moved[0]} transfers, {looked[0]} looks")
    c.expect_equal_digests()
    print(f"# {moved[0]} transfers, {looked[0]} sums that were right, while {died} nodes died and a group split", flush=True)


if __name__ == "__main__":
    sys.exit(main())
