#!/usr/bin/env python3
"""Cluster clients while the cluster changes: redis-cli, redis-benchmark, redis-py, ioredis and node-redis go on through a join, a split, a
drain, a removal and a kill -9, with servers that forward and with servers that redirect.  elastic_clients.py SYNOD [--node-modules DIR]"""
import json
import logging
import signal
import subprocess
import sys
import threading
import time

import redis
from redis.cluster import ClusterNode, RedisCluster

sys.dont_write_bytecode = True  # the source tree stays as it is
from harness import die_with_parent, expect, main, run, scenario, until
from programs import npm_folder, tool

# What clients may meet, and do not all try again, when a node dies.
KILLED = {"UNKNOWN", "CLUSTERDOWN", "TRYAGAIN"}

# And the words of npm's clients for a connection that died with its node, at most twice for each of the four workers of writer.js: on the
# connection, and once more of what was queued for the node (node-redis drops that when the slots name the node no more).
CONNECTION = {"Error: read ECONNRESET", "Error: write ECONNRESET", "Error: Socket closed unexpectedly", "Error: Disconnects client"}
CONNECTION_MAX = 8


class Script:
    """A program of tests/clients/writer.js."""

    def __init__(self, library, where, nodes):
        self.name, self.count, self.last = library, 0, ""
        self.process = subprocess.Popen(["node", "writer.js", library, *(str(n.port) for n in nodes)], cwd=where, text=True,
                                        stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, preexec_fn=die_with_parent)
        self.thread = threading.Thread(target=self._read, daemon=True)
        self.thread.start()

    def _read(self):
        for line in self.process.stdout:
            if line.startswith("count "):
                self.count = int(line.split()[1])
            elif line.strip():
                self.last = line.strip()

    def stop(self):
        self.process.stdin.write("stop\n")
        self.process.stdin.flush()
        self.process.wait(40)
        self.thread.join(5)
        said = json.loads(self.last)
        expect(not said["lost"], f"{self.name} lost", said["lost"][:3])
        return said["errors"]

    def kill(self):
        self.process.kill()
        self.process.wait()


class Python:
    """Threads with redis-py's cluster client. (The one of redis-py 4.3, Debian's, cannot copy its own settings when it loses a node: that is
    met with a new client, and only then.)"""
    name = "redis-py"

    def __init__(self, nodes):
        self.nodes, self.count, self.errors = nodes, 0, {}
        self.acked, self.sent = {}, {}
        self.stopping = threading.Event()
        self.thread = threading.Thread(target=self._run, daemon=True)
        self.thread.start()

    def _client(self):
        return RedisCluster(startup_nodes=[ClusterNode("127.0.0.1", n.port) for n in self.nodes], socket_timeout=20)

    def _run(self):
        client, i = None, 0
        while not self.stopping.is_set():
            i += 1
            key = f"py:{i % 50}"
            self.sent[key] = i
            try:
                client = client or self._client()
                if client.set(key, i):
                    self.acked[key] = i
                    self.count += 1
                time.sleep(0.002)
            except Exception as error:  # whatever it trips over is to be seen
                word = str(error).split(" ", maxsplit=1)[0] if isinstance(error, redis.ResponseError) else type(error).__name__
                self.errors[word] = self.errors.get(word, 0) + 1
                client = None
                time.sleep(0.05)

    def stop(self):
        self.stopping.set()
        self.thread.join(40)
        expect(not self.thread.is_alive(), "redis-py never got its answer")
        client = until(20, "redis-py finds the cluster", self._client)
        for key, value in self.acked.items():
            got = int(client.get(key) or 0)
            expect(value <= got <= self.sent[key], f"redis-py: {key} reads {got}; {value} was acknowledged, {self.sent[key]} sent")
        return self.errors

    def kill(self):
        self.stopping.set()


class Benchmark:
    """redis-benchmark --cluster, again and again. It ends at the first error but one: sent by a MOVED to a node that joined after it began, it
    gives up by itself, as against any cluster; it is begun again."""
    name = "redis-benchmark"

    def __init__(self, nodes):
        self.nodes, self.count, self.faults, self.process = nodes, 0, [], None
        self.stopping = threading.Event()
        self.thread = threading.Thread(target=self._run, daemon=True)
        self.thread.start()

    def _run(self):
        while not self.stopping.is_set():
            self.process = subprocess.Popen(["redis-benchmark", "-p", str(self.nodes[0].port), "--cluster", "-t", "set", "-n", "400", "-c", "3",
                                             "-r", "1000", "-q"], text=True, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                                            stderr=subprocess.STDOUT, preexec_fn=die_with_parent)
            said = self.process.communicate()[0].replace("Could not fetch server CONFIG", "")
            if self.stopping.is_set():
                return
            if "could not find node with ID" in said:
                continue
            if self.process.returncode or "rror" in said:
                self.faults.append(said[-300:])
                return
            self.count += 400

    def stop(self):
        self.kill()
        self.thread.join(10)
        expect(not self.faults, "redis-benchmark --cluster ended with", self.faults)
        return {}

    def kill(self):
        self.stopping.set()
        if self.process:
            self.process.send_signal(signal.SIGKILL)


def check(c, at_rest=True):
    """`redis-cli --cluster check`: all slots are covered at every moment; at rest nodes also agree on who has which."""
    def look():
        for n in [n for n in c.nodes if n.alive()]:
            done = run(["redis-cli", "--cluster", "check", f"127.0.0.1:{n.port}"])
            expect("All 16384 slots covered" in done.stdout, f"through node {n.number}:", done.stdout[-500:], done.stderr[-200:])
            expect(not at_rest or (done.returncode == 0 and "ERR" not in done.stdout and "WARN" not in done.stdout), done.stdout[-700:])
        return True
    until(30 if at_rest else 10, "redis-cli --cluster check is content", look, pause=0.5)


def all_write(writers, by=30):
    before = [w.count for w in writers]
    for w, b in zip(writers, before):
        until(40, f"{w.name} goes on writing ({w.count}; {getattr(w, 'errors', '')} {getattr(w, 'faults', '')})", lambda w=w, b=b: w.count >= b + by)


def changes(env, redirect):
    for name in ("redis-cli", "redis-benchmark"):
        tool(name)
    where = npm_folder(env)
    logging.disable()  # redis-py logs whole tracebacks of what we expect, and its destructors stumble
    sys.unraisablehook = lambda _: None
    c = env.cluster(spares=1)
    for n in c.nodes:
        n.extra = ["--redirect", redirect]
    c.up()
    check(c)
    writers = [Script("ioredis", where, c.nodes), Script("node-redis", where, c.nodes), Python(list(c.nodes))]
    bench = Benchmark(c.nodes)
    env.cleanup(lambda: [w.kill() for w in (*writers, bench)])
    all_write([*writers, bench])

    n = c.newcomer()
    n.extra = ["--redirect", redirect]
    n.start()
    c.joined(n)
    check(c, at_rest=False)
    c.settled({i: (9, 14) for i in (1, 2, 3, 4)})
    check(c)
    all_write([*writers, bench])

    for group in (0, 5):
        expect(isinstance(c.ask("SYNOD", "GROUP", "SPLIT", group), int), "SPLIT")
        check(c, at_rest=False)
    c.settled({i: (10, 16) for i in (1, 2, 3, 4)})
    check(c)
    all_write([*writers, bench])

    leaver = c.nodes[1]
    expect(c.ask("SYNOD", "NODE", "DRAIN", 2) == b"OK", "DRAIN")
    c.settled({1: (18, 18), 3: (18, 18), 4: (18, 18)})
    check(c)
    all_write([*writers, bench])
    bench.stop()  # it ends when it loses a connection
    errors = {"node-redis": writers.pop(1).stop(), "redis-py": writers[1].errors}
    left = errors["node-redis"].pop("Error: Disconnects client", 0)  # node-redis says so of what it has asked a node that it leaves
    expect(not any(errors.values()) and left < 10, "before any connection was lost, clients met", errors, left)
    expect(c.ask("SYNOD", "NODE", "REMOVE", 2, node=c.nodes[0]) == b"OK", "REMOVE")
    leaver.ended(20)
    all_write(writers)
    check(c)

    # node-redis keeps its commands for a node that is gone until it is back, unless a MOVED tells it to look around; so a new one here.
    stays = Script("node-redis", where, [n for n in c.nodes if n.alive()])
    env.cleanup(stays.kill)
    all_write([stays])
    victim = c.nodes[2]
    victim.kill()
    check(c, at_rest=False)
    all_write(writers)
    victim.start()
    writers.append(stays)
    c.wait_ready([m for m in c.nodes if m.alive()])
    all_write(writers)
    errors = {w.name: w.stop() for w in writers}
    print(f"# writes: {', '.join(f'{w.name} {w.count}' for w in (*writers, bench))}; errors that clients showed: {errors}", flush=True)
    dead = CONNECTION | {f"Error: connect ECONNREFUSED 127.0.0.1:{victim.port}"}  # the one that was killed, until it was back
    for name in ("ioredis", "node-redis"):
        lost = sum(count for error, count in errors[name].items() if error in dead)
        expect(set(errors[name]) <= KILLED | dead and lost <= CONNECTION_MAX, name, "met", errors[name])
    check(c)
    c.expect_equal_digests()


@scenario(limit=150)
def cluster_clients_go_on_through_changes_of_servers_that_forward(env):
    changes(env, "forward")


@scenario(limit=150)
def cluster_clients_go_on_through_changes_of_servers_that_redirect(env):
    changes(env, "moved")


if __name__ == "__main__":
    sys.exit(main())
