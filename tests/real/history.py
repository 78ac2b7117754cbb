#!/usr/bin/env python3
"""Histories of real clients through real faults, judged for linearizability.  history.py SYNOD --check SYNOD_CHECK [--long]

Threads with redis-py work on a few keys: registers, counters, fields of hashes. What each asked and was told is written down with the
times (the text format of src/sim/check_linear.h) and judged by synod-check. An operation whose outcome nobody can know (a lost
connection, a timeout, -UNKNOWN) may have been done at any time or never; one that was refused (-TRYAGAIN, -CLUSTERDOWN, -OOM) must not
have been done, so it is left out: if it was, the judge finds a value that nobody wrote.

Partitions are in network namespaces (network.py)."""
import os
import random
import shutil
import sys
import threading
import time

import redis

sys.dont_write_bytecode = True  # the source tree stays as it is
from harness import Crew, Err, Skip, expect, main, options_parse, outcome, run, scenario, until
from network import Network, move_into_a_namespace

CLIENTS = 8
TIMEOUT = 2.0  # a client's patience, seconds


# ---- operations: kind of the judge, command, and how a reply reads there ----

def one_or_zero(reply):
    return "1" if reply else "0"


def word(value):
    """A value in the text format; what is written here is letters, digits and dots, or a number."""
    if value is None:
        return "nil"
    return value.decode() if isinstance(value, bytes) else str(value)


def register_op(r, key, fresh, seen):
    kind = r.choice(("read", "read", "read", "write", "write", "create", "swap", "cas", "cas", "delete", "take"))
    commands = {
        "read": (("GET", key), word), "write": (("SET", key, fresh), lambda _: "ok"),
        "create": (("SET", key, fresh, "NX"), one_or_zero), "swap": (("GETSET", key, fresh), word),
        "cas": (("SET", key, fresh, "IFEQ", seen), one_or_zero), "delete": (("DEL", key), one_or_zero),
        "take": (("GETDEL", key), word)}
    arguments = {"write": [fresh], "create": [fresh], "swap": [fresh], "cas": [fresh, seen]}.get(kind, [])
    return kind, key, arguments, *commands[kind]


def counter_op(r, key, _fresh, _seen):
    kind = r.choice(("read", "add", "add", "add", "delete" if r.random() < 0.1 else "add"))
    by = str(r.randint(1, 9))
    commands = {"read": (("GET", key), word), "add": (("INCRBY", key, by), word), "delete": (("DEL", key), one_or_zero)}
    return kind, key, [by] if kind == "add" else [], *commands[kind]


def field_op(r, key, fresh, _seen):
    field = r.choice(("a", "b"))
    kind = r.choice(("read", "read", "put", "put", "create", "delete"))
    commands = {"read": (("HGET", key, field), word), "put": (("HSET", key, field, fresh), one_or_zero),
                "create": (("HSETNX", key, field, fresh), one_or_zero), "delete": (("HDEL", key, field), one_or_zero)}
    return kind, f"{key}.{field}", [fresh] if kind in ("put", "create") else [], *commands[kind]


NO_CONNECTION = Err("ERR no connection, so nothing was asked")

KEYS = [(f"r{i}", register_op) for i in range(6)] + [(f"c{i}", counter_op) for i in range(4)] + [(f"h{i}", field_op) for i in range(4)]


class History(Crew):
    """Clients at work, and what they saw."""

    def __init__(self, env, nodes):
        self.env, self.nodes = env, nodes
        self.lines, self.counts, self.slowest = [], {"done": 0, "not done": 0, "unknown": 0}, 0.0
        self.errors = {}
        self.stopping = threading.Event()
        self.lock = threading.Lock()
        self.threads = [threading.Thread(target=self._run, args=(i,), daemon=True) for i in range(CLIENTS)]

    def stop(self):
        expect(self.ended(), "a client never got an answer, its own time limit notwithstanding")

    def _client(self, node):
        return redis.Redis(host=node.host, port=node.port, socket_timeout=TIMEOUT, socket_connect_timeout=TIMEOUT, retry_on_timeout=False)

    def _run(self, number):
        r = random.Random(self.env.options.seed * 100 + number)
        # Two clients hold on to each node, whatever happens to it; the others change when they lose one.
        home = self.nodes[number % len(self.nodes)] if number < 2 * len(self.nodes) else None
        client, count, seen = None, 0, {}
        while not self.stopping.is_set():
            if client is None:
                client = self._client(home or r.choice(self.nodes))
            count += 1
            key, make = r.choice(KEYS)
            op = make(r, key, f"v{number}.{count}", seen.get(key, "v0.0"))
            value, fate = self._do(number, client, op)
            if fate == "done" and op[0] == "read" and isinstance(value, bytes):
                seen[key] = value.decode()
            if fate == "done":
                continue
            if isinstance(value, Exception) or value == NO_CONNECTION:
                client.close()
                client = None
            time.sleep(0.02)

    def _do(self, number, client, op):
        kind, key, arguments, command, as_word = op
        call = time.monotonic_ns()
        try:
            # No callback of redis-py's for replies: the words of the protocol, no booleans.
            value = self._exchange(client, command)
        except (redis.RedisError, OSError) as error:
            value = error
        ret = time.monotonic_ns()
        fate = outcome(value)
        if fate == "done":
            line = f"{call} {ret} {number} {kind} {key} {' '.join(arguments)} -> {as_word(value)}"
        else:
            line = f"{call} - {number} {kind} {key} {' '.join(arguments)} -> ?"
        with self.lock:
            self.counts[fate] += 1
            self.slowest = max(self.slowest, (ret - call) / 1e9)
            if fate != "done":
                name = value.split(" ")[0] if isinstance(value, Err) else type(value).__name__
                self.errors[name] = self.errors.get(name, 0) + 1
            if fate == "done" or (fate == "unknown" and kind != "read"):
                self.lines.append(line)
        return value, fate

    @staticmethod
    def _exchange(client, command):
        pool = client.connection_pool
        try:
            connection = pool.get_connection(command[0])
        except (redis.RedisError, OSError):
            return NO_CONNECTION
        try:
            connection.send_command(*command)
            reply = connection.read_response()
        except redis.ResponseError as error:
            # redis-py strips the prefix off errors that it knows and makes classes of them.
            return Err(f"{type(error).__name__[:-5].upper()} {error}" if type(error) is not redis.ResponseError else str(error))
        except BaseException:
            connection.disconnect()
            raise
        finally:
            pool.release(connection)
        return reply

    def done(self):
        return self.counts["done"]

    def progress(self, by, seconds, what):
        before = self.done()
        until(seconds, f"{by} operations are done {what} ({self.counts}, {self.errors})", lambda: self.done() >= before + by)

    def final_reads(self):
        """What every node says of every key in the end belongs to the history too."""
        for node in self.nodes:
            client = self._client(node)
            for key, make in KEYS:
                fields = ("a", "b") if make is field_op else (None,)
                for field in fields:
                    command = ("HGET", key, field) if field else ("GET", key)
                    op = ("read", f"{key}.{field}" if field else key, [], command, word)
                    until(20, f"{key} is read through node {node.number}",
                          lambda op=op: self._do(CLIENTS + node.number, client, op)[1] == "done")

    def judge(self, cluster, at_least):
        self.stop()
        cluster.wait_ready(seconds=30)
        self.final_reads()
        cluster.expect_equal_digests()
        print(f"# {self.counts} {self.errors} slowest answer {self.slowest:.1f} s", flush=True)
        path = os.path.join(self.env.dir, "history")
        with open(path, "w", encoding="ascii") as f:
            f.write("\n".join(self.lines) + "\n")
        expect(self.done() >= at_least, f"only {self.done()} operations were done: {self.counts}, {self.errors}")
        expect(set(self.errors) <= {"TRYAGAIN", "UNKNOWN", "CLUSTERDOWN", "ERR", "ConnectionError", "TimeoutError"}, "errors", self.errors)
        if not self.env.options.check:
            raise Skip("no synod-check to judge it (--check)")
        done = run([self.env.options.check, path], timeout=60)
        if done.returncode == 3:  # no verdict: neither a proof nor a fault
            print("# " + done.stdout.strip())
            return
        if done.returncode != 0:
            kept = shutil.copy(path, os.path.join(os.environ.get("TMPDIR", "/tmp"), f"synod-history-{self.env.options.seed}"))
            raise AssertionError(f"synod-check ended with {done.returncode} (history kept as {kept}): {(done.stdout + done.stderr)[-3000:]}")


# ---- scenarios ----

@scenario(limit=75)
def histories_through_kills_and_pauses_are_linearizable(env):
    c = env.cluster().up()
    end = time.monotonic() + env.seconds(9, 60)
    with History(env, c.nodes) as h:
        h.progress(200, 10, "before any fault")
        while time.monotonic() < end:
            victim = c.leader_of(env.rng.choice(KEYS)[0]) if env.rng.random() < 0.7 else env.rng.choice(c.nodes)
            if env.rng.random() < 0.5:
                victim.kill()
                h.progress(50, 15, f"after kill -9 of node {victim.number}")
                time.sleep(env.rng.random() * 0.5)
                victim.start()
            else:
                victim.pause()
                time.sleep(0.3 + env.rng.random())
                victim.resume()
            h.progress(50, 15, f"with node {victim.number} back")
            c.wait_ready()
        h.judge(c, at_least=2000)


@scenario(limit=75)
def histories_through_the_death_of_all_are_linearizable(env):
    c = env.cluster().up()
    with History(env, c.nodes) as h:
        for _ in range(env.seconds(2, 12)):
            h.progress(300, 20, "before power fails")
            c.kill_all()
            time.sleep(env.rng.random() * 0.3)
            for n in c.nodes:
                n.start()
            c.wait_ready()
        h.progress(300, 20, "after power came back")
        h.judge(c, at_least=900)


@scenario(limit=90)
def histories_through_partitions_are_linearizable(env):
    """Leaders cut off from both others (and not from clients), one-way cuts, a node cut off, all cut apart; each heals."""
    net = Network(env)
    c = env.cluster(addresses=[(net.address(i), 7001) for i in (1, 2, 3)])
    for n in c.nodes:
        n.prefix = net.prefix(n.number)
    c.up()
    end = time.monotonic() + env.seconds(14, 90)
    faults = env.rng.sample(CUTS, len(CUTS))
    with History(env, c.nodes) as h:
        h.progress(200, 10, "before any fault")
        while faults or time.monotonic() < end:
            cut = faults.pop() if faults else env.rng.choice(CUTS)
            leader = c.leader_of(env.rng.choice(KEYS)[0], env.rng.choice(c.nodes))
            others = c.others(leader)
            env.rng.shuffle(others)
            began = time.monotonic()
            net.cut(cut(leader.number, *(n.number for n in others)))
            if cut is not all_apart:
                h.progress(30, 15, f"in spite of {cut.__name__} around node {leader.number}")
            served = time.monotonic()
            time.sleep(0.7 + env.rng.random())
            net.heal()
            healed = time.monotonic()
            h.progress(50, 20, f"after {cut.__name__} around node {leader.number} healed")
            print(f"# {cut.__name__}: served again after {served - began:.1f} s, healed for {time.monotonic() - healed:.1f} s", flush=True)
        h.judge(c, at_least=1000)


def leader_alone(leader, a, b):
    return [(leader, a), (a, leader), (leader, b), (b, leader)]


def leader_is_not_heard(leader, a, b):
    return [(leader, a), (leader, b)]


def leader_hears_nothing(leader, a, b):
    return [(a, leader), (b, leader)]


def one_way_between_followers_and_leader(leader, a, _b):
    return [(a, leader)]


def leader_loses_one_follower(leader, a, _b):
    return [(leader, a), (a, leader)]


def all_apart(leader, a, b):
    return leader_alone(leader, a, b) + [(a, b), (b, a)]


CUTS = [leader_alone, leader_is_not_heard, leader_hears_nothing, one_way_between_followers_and_leader, leader_loses_one_follower, all_apart]


if __name__ == "__main__":
    options_parse(__doc__)  # wrong arguments are told before anything moves
    move_into_a_namespace()
    sys.exit(main())
