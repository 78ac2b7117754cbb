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
from harness import Conn, Err, die_with_parent, expect, free_ports, main, run, scenario, until
from programs import tool

TAGGED = [f"{{t}}k{i}" for i in range(4)]
SHOWN = 12  # of a failing dialogue
FAR = 4102444800000  # a moment in 2100, ms


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


def a_command(rng, keys):
    """One that synod and Redis answer alike, right or wrong."""
    key, other, third = (rng.choice(keys) for _ in range(3))
    return rng.choice([
        ("SET", key, rng.randrange(5)), ("GET", key), ("INCR", key), ("INCRBY", key, "x"), ("DEL", key), ("EXISTS", key, other),
        ("HSET", key, "f", rng.randrange(5)), ("HGETALL", key), ("APPEND", key, "z"), ("MSET", key, 1, other, 2), ("MGET", key, other), ("PING",),
        ("ECHO", "hello"), ("TYPE", key), ("GETSET", key, 7), ("SETNX", key, 1), ("PERSIST", key), ("RENAME", key, other),
        ("EXPIREAT", key, FAR // 1000), ("NOSUCH", key), ("GET",), ("STRLEN", key), ("SELECT", 0), ("TIME", "x"),
        ("MSETNX", key, 3, other, 4), ("MSET", key, 1, other), ("RENAMENX", key, other), ("COPY", key, other), ("COPY", key, other, "REPLACE"),
        ("COPY", key, other, "DB", 0), ("MGET", key, other, "none", third, key), ("DEL", key, other, key), ("UNLINK", key, other, third),
        ("TOUCH", key, key, other, third), ("EXISTS", key, key, other, "none"), ("PEXPIREAT", key, FAR + rng.randrange(5)), ("PEXPIREAT", key, 1),
        ("RENAME", key), ("RENAME", "none", key), ("HSET", key, "f", "x", "g", ""), ("PEXPIRETIME", key), ("APPEND", key, ""),
        ("GETEX", key, "EXAT", FAR // 1000), ("GETEX", key, "PERSIST"), ("SETRANGE", key, 1, ""), ("SET", key, 1, "KEEPTTL"), ("HDEL", key, "g", "q")])


def a_step(rng, inside, keys):
    """What one of two connections says next."""
    dice = rng.random()
    if dice < (0.16 if inside else 0.3):
        return rng.choice([("EXEC",)] * 3 + [("DISCARD",)]) if inside else rng.choice([("MULTI",), ("WATCH", rng.choice(keys)), ("WATCH", *keys)])
    if dice < 0.4:
        return rng.choice([("MULTI",), ("EXEC",), ("DISCARD",), ("WATCH", rng.choice(keys)), ("UNWATCH",), ("EXEC", "x"), ("MULTI", "x"), ("WATCH",),
                           ("RESET",)])
    return a_command(rng, keys)


def ballots(c, keys):
    groups = {c.group_of(key) for key in keys}
    return [(g["id"], g["ballot"]) for n in c.nodes for g in n.status()["groups"] if g["id"] in groups and g["leader"] == n.id]


def dialogue(env, peer, c, seed, steps, keys, coarse):
    """Two connections to each say the same and hear the same. Returns how often an EXEC was nil and that of Redis was not: a leader has changed,
    which ends what was watched, or WATCH is coarse: what one entry was about counts as written by it, if it wrote anything (docs/TXN.md)."""
    rng = random.Random(env.rng.random())
    theirs = [peer.conn() for _ in range(3)]
    ours = [c.nodes[(seed + i) % 3].conn() for i in range(3)]
    inside, said, nil = [False, False], [], 0
    led_by = []
    for _ in range(steps):
        if not led_by:
            expect(theirs[2].do("DEL", *keys) is not None and isinstance(ours[2].do("DEL", *keys), int), "all is the same again")
            led_by = ballots(c, keys)
        who = rng.randrange(2)
        words = a_step(rng, inside[who], keys)
        want, got = theirs[who].do(*words), ours[who].do(*words)
        said.append((who, words, want, got))
        if words == ("MULTI",) and want == b"OK":
            inside[who] = True
        if words[0] in ("EXEC", "DISCARD", "RESET") and len(words) == 1:
            inside[who] = False
        if words == ("EXEC",) and got is None and want is not None and (coarse or ballots(c, keys) != led_by):
            nil, led_by = nil + 1, []
        else:
            expect(want == got, "after", *said[-SHOWN:])
    for k in theirs + ours:
        k.close()
    return nil


def dialogues(env, keys_of, coarse):
    peer, c = Peer(env), env.cluster().up()
    steps, keys = env.seconds(4000, 40000), keys_of(c)
    nil = sum(dialogue(env, peer, c, seed, steps // 3, keys, coarse) for seed in range(3))
    print(f"# {steps} steps of two connections; {nil} times EXEC was nil where that of Redis was not", flush=True)
    expect(nil * 100 < steps)
    c.expect_equal_digests()


def spread(c, count=4):
    """Keys of as many groups."""
    of = {c.group_of(f"k{i}"): f"k{i}" for i in range(100)}
    return sorted(of.values())[:count]


@scenario(limit=120)
def transactions_answer_as_redis_does(env):
    dialogues(env, lambda c: TAGGED, coarse=True)


@scenario(limit=120)
def transactions_over_groups_answer_as_redis_does(env):
    dialogues(env, spread, coarse=False)


@scenario(limit=60)
def values_and_their_ttl_move_between_groups_also_large_and_expired_ones(env):
    peer, c = Peer(env), env.cluster().up()
    a, b, d, gone = spread(c)
    sides = [peer.conn(), c.nodes[0].conn()]

    def do(*words, order=lambda reply: reply):
        want, got = (order(k.do(*words)) for k in sides)
        expect(want == got, words[:3], "is answered", repr(got)[:200], "and by Redis", repr(want)[:200])
        return got

    def look(key):
        value = do("GET", key) if do("TYPE", key) == b"string" else do("HGETALL", key, order=lambda r: sorted(zip(r[::2], r[1::2])))
        return [do("PEXPIRETIME", key), value]
    do("SET", a, "x" * 3000000, "PXAT", FAR)
    for first in range(0, 30000, 2000):  # more than a leader hands out at once
        do("HSET", b, *[w for i in range(first, first + 2000) for w in (f"field {i}", f"value {i} " + "y" * 60)])
    do("PEXPIREAT", b, FAR + 1)
    large = [look(a), look(b)]
    for words in (("RENAMENX", a, b), ("COPY", a, b), ("RENAME", a, d), ("COPY", b, a), ("COPY", d, b, "REPLACE"), ("RENAME", a, d)):
        do(*words)
        do("EXISTS", a, b, d)
    expect([look(b), look(d)] == large, "both have changed places")
    do("COPY", d, a)
    do("HSET", a, "new", 1)
    do("HDEL", d, "field 7")
    expect((len(look(a)[1]), len(look(d)[1])) == (30001, 29999), "a copy shares nothing with what it is of")
    do("PERSIST", b), do("RENAME", b, d), look(d)
    for words in (("DEL", gone, gone, a), ("EXISTS", gone, gone, d), ("UNLINK", gone, gone), ("TOUCH", gone, d, d), ("RENAME", gone, d),
                  ("RENAMENX", d, gone), ("COPY", gone, d, "REPLACE"),
                  ("COPY", d, gone), ("MSETNX", gone, 1, a, 2), ("MSET", gone, 1, a, 2), ("MGET", gone, d, a, "none")):
        do("DEL", gone, a, b, d)
        do("HSET", gone, "f", "v"), do("SET", b, "it stays"), do("SET", d, "it goes", "PXAT", FAR)
        do("PEXPIRE", gone, 15)
        for k in sides:
            until(5, "it has expired", lambda k=k: k.do("PTTL", gone) == -2, pause=0.005)
        do(*words)
        for key in (gone, b, a, d):
            look(key)
        do("DBSIZE")
        do("MULTI"), do("SET", a, 1), do("GET", gone), do("TYPE", d), do("EXEC")
    c.expect_equal_digests()


@scenario(limit=60)
def what_is_too_large_for_a_transaction_changes_nothing(env):
    c = env.cluster().up()
    a, b, d, _ = spread(c)
    k = c.nodes[1].conn()
    expect(k.do("SET", a, bytes(8 << 20)) == b"OK" and k.do("MSET", b, 1, d, 2) == b"OK")
    for what, words in (("a reply of 72 MiB", [("GET", a)] * 9), ("56 MiB in one group", [("COPY", a, f"{{{b}}}{i}") for i in range(7)])):
        replies = k.pipeline([("MULTI",), ("INCR", b), ("INCR", d), *words, ("EXEC",)])
        expect(isinstance(replies[-1], Err) and replies[-1].startswith("ERR"), what, "is answered", repr(replies[-1])[:200])
        expect(k.do("MGET", b, d) == [b"1", b"2"] and k.do("DBSIZE") == 3, "something was done of", what)
    expect(k.pipeline([("MULTI",), ("INCR", b), ("INCR", d), ("STRLEN", a), ("EXEC",)])[-1] == [2, 3, 8 << 20], "others go on")
    c.expect_equal_digests(seconds=40)


@scenario(limit=60)
def the_way_of_a_transaction_is_told_and_drawn(env):
    c = env.cluster().up()
    keys, n = spread(c, 3), c.nodes[1]
    words = ["MSET", *(w for key in keys for w in (key, "1"))]
    lines = run(["redis-cli", "-p", str(n.port), "TRACE", *words]).stdout.strip().splitlines()
    expect(lines[0] == "transaction over 3 groups, coordinated by node 2, tries: 1" and lines[-1] == "OK", *lines)
    for phase, count in (("LOCK", 3), ("PREPARE", 3), ("DECIDE", 1), ("FINISH", 2)):
        expect(sum(f"  {phase} " in line and "not answered" not in line for line in lines) == count, phase, *lines)
    picture = run([c.synod, "explain", "--at", f"{n.host}:{n.port}", *words]).stdout
    expect(picture.count("-- PREPARE -") == 3 and picture.count("prepared --|") == 3 and "-- DECIDE -" in picture and "applied --|" in picture, picture)
    expect(picture.endswith("reply: OK\n") and max(map(len, picture.splitlines())) <= 100, picture)
    k = n.conn()
    told = k.pipeline([("MULTI",), ("INCR", keys[0]), ("INCR", keys[1]), ("TRACE", "EXEC")])[-1]
    expect(told[-1] == [2, 2] and told[0].startswith(b"transaction over 2 groups"), told)


@scenario(limit=60, backends=("epoll",))
def a_pipeline_of_everything_waits_for_itself_never(env):
    """Commands of one group, of several and of all, sent at once, while leaders are stopped: some are sent again then, and those behind them wait,
    but not both for each other. That ended with -CLUSTERDOWN and -TXNABORT after 10 s, and there is a leader after a tenth of that."""
    c = env.cluster().up()
    keys, stop = spread(c, 10), threading.Event()

    def pause():
        while not stop.wait(0.5):
            n = env.rng.choice(c.nodes[1:])
            n.pause()
            stop.wait(env.rng.choice([0.3, 0.6, 1.0]))
            n.resume()
    env.cleanup(stop.set)
    pauser = threading.Thread(target=pause, daemon=True)
    pauser.start()
    said, end = {}, time.monotonic() + env.seconds(8, 60)
    with c.nodes[0].conn(30) as k:
        while time.monotonic() < end:
            words = []
            for _ in range(400):
                a, b = env.rng.sample(keys, 2)
                words += [("MULTI",), ("INCR", a), ("INCR", b), ("EXEC",), ("GET", a), env.rng.choice([("MGET", *keys), ("DBSIZE",), ("EXISTS", a)])]
            for r in k.pipeline(words):
                what = r.split(" ")[0] if isinstance(r, Err) else "good"
                said[what] = said.get(what, 0) + 1
    stop.set()
    pauser.join()
    print(f"# {said}", flush=True)
    expect(not {"CLUSTERDOWN", "TXNABORT"} & set(said), said)


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


def counters_that_watch(env, c, keys):
    """redis-py as people write it: WATCH, GET, MULTI, SET, EXEC, and again if it was not done. All counters have the same value."""
    done, unknown, aborted, errors, stop = [0], [0], [0], [], threading.Event()
    lock = threading.Lock()

    def increment(p):
        p.watch(*keys)
        values = [int(p.get(key) or 0) for key in keys]
        p.multi()
        for key, value in zip(keys, values):
            p.set(key, value + 1)
        p.execute()
        if len(set(values)) > 1:
            errors.append(f"EXEC was done after WATCH, and then {values}")

    def note(what):
        with lock:
            what[0] += 1

    def count(i):
        r = redis.Redis(port=c.nodes[i % 3].port, socket_timeout=15)
        while not stop.is_set():
            try:
                with r.pipeline(transaction=True) as p:
                    increment(p)
                note(done)
            except redis.WatchError:
                note(aborted)
            except (redis.ConnectionError, redis.TimeoutError):
                note(unknown)
                time.sleep(0.05)
            except (redis.exceptions.TryAgainError, redis.exceptions.ClusterDownError):
                pass
            except redis.ResponseError as error:
                if str(error).startswith("UNKNOWN"):
                    note(unknown)
                elif not str(error).startswith("TXNABORT"):
                    errors.append(repr(error))

    threads = in_threads(6, count)
    threading.Timer(env.seconds(5, 60), stop.set).start()
    died = leaders_die(c, stop, 1.2)
    for t in threads:
        t.join()
    expect(not errors, errors[:3])
    c.wait_ready()
    values = [int(v) for v in c.ask("MGET", *keys)]
    expect(len(set(values)) == 1 and done[0] <= values[0] <= done[0] + unknown[0],
           f"{done[0]} increments were acknowledged, {unknown[0]} unknown, counters are {values}")
    expect(done[0] > 50 and aborted[0] > 0, f"{done[0]} done, {aborted[0]} aborted")
    print(f"# {done[0]} increments, {aborted[0]} aborted, {unknown[0]} unknown, while {died} nodes died; counters are {values}", flush=True)


@scenario(limit=120)
def counters_that_watch_lose_no_increment(env):
    counters_that_watch(env, env.cluster(groups=4).up(), ["{t}counter"])


@scenario(limit=120)
def counters_of_two_groups_that_watch_are_equal(env):
    c = env.cluster(groups=4).up()
    counters_that_watch(env, c, spread(c, 2))


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
    threading.Timer(env.seconds(5, 60), stop.set).start()
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
