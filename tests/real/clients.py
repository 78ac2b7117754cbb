#!/usr/bin/env python3
"""The clients that people use, against three nodes: redis-cli, redis-benchmark, redis-py, hiredis, ioredis, node-redis.
clients.py SYNOD [--hiredis PROGRAM] [--node-modules DIR]"""
import logging
import random
import re
import sys

import redis
from redis.cluster import ClusterNode, RedisCluster
from redis.exceptions import RedisClusterException

sys.dont_write_bytecode = True  # the source tree stays as it is
from harness import Skip, encode, expect, main, run, scenario, until
from programs import npm_folder, tool


def cli(node, *words, **more):
    return run(["redis-cli", "-p", str(node.port), *words], **more).stdout.rstrip("\n")


@scenario()
def redis_cli_is_at_home(env):
    tool("redis-cli")
    c = env.cluster().up()
    a, b, d = c.nodes
    expect(cli(a, "set", "a", "1") == "OK" and cli(d, "get", "a") == "1", "set here, get there")
    expect(cli(b, "hset", "h", "f", "1", "g", "2") == "2" and cli(a, "hgetall", "h").split() == ["f", "1", "g", "2"])
    expect(cli(a, "--no-raw", "get", "none") == "(nil)")
    expect("ERR wrong number of arguments for 'get' command" in cli(a, "get"))
    expect("WRONGTYPE" in cli(a, "incr", "h"))
    lines = cli(a, input="set x 1\nincr x\nget x\n").splitlines()
    expect(lines == ["OK", "2", "2"], "commands from a pipe", lines)
    expect(cli(a, "-3", "hello").splitlines()[0] == "server" or "server" in cli(a, "-3", "hello"), "RESP3")
    expect(cli(a, "-3", "hgetall", "h").split() == ["f", "1", "g", "2"])
    expect(cli(a, "-c", "get", "a") == "1", "redis-cli -c")
    expect("cluster_state:ok" in cli(a, "cluster", "info"))
    expect(len(cli(b, "cluster", "nodes").splitlines()) == 3)
    expect("redis_version" in cli(a, "info", "server"))


@scenario()
def redis_cli_pipes_scans_and_measures(env):
    tool("redis-cli")
    c = env.cluster().up()
    count = 20000
    feed = b"".join(encode(("SET", f"pipe:{i}", f"value {i}")) for i in range(count))
    path = f"{env.dir}/feed"
    with open(path, "wb") as f:
        f.write(feed)
    with open(path, "rb") as f:
        said = cli(c.nodes[0], "--pipe", stdin=f)
    expect(f"errors: 0, replies: {count}" in said, "--pipe said", said)
    keys = cli(c.nodes[1], "--scan", "--pattern", "pipe:*").splitlines()
    expect(len(keys) == count and len(set(keys)) == count, f"--scan lists {len(keys)}, {len(set(keys))} different")
    expect(cli(c.nodes[2], "dbsize") == str(count))
    big = random.Random(1).randbytes(5 << 20)
    with open(path, "wb") as f:
        f.write(big)
    with open(path, "rb") as f:
        expect(cli(c.nodes[0], "-x", "set", "pipe:big", stdin=f) == "OK", "-x")
    expect(cli(c.nodes[1], "strlen", "pipe:big") == str(len(big)))
    for words, text in ((["--bigkeys"], "pipe:big"), (["--memkeys"], "pipe:big")):
        done = run(["redis-cli", "-p", str(c.nodes[2].port), *words], timeout=40)
        expect(done.returncode == 0 and text in done.stdout and "WRONG" not in done.stdout, words, done.stdout[-400:], done.stderr[-400:])


@scenario()
def redis_benchmark_runs_its_tests(env):
    tool("redis-benchmark")
    c = env.cluster().up()
    port = str(c.nodes[0].port)
    for words in (["-t", "ping,set,get,incr,hset", "-n", "5000"], ["-t", "set,get", "-n", "20000", "-P", "16", "-r", "1000"],
                  ["-t", "set,get", "-n", "5000", "-d", "4096", "--cluster"], ["-t", "get,set", "-n", "5000", "-3"],
                  ["-n", "3000", "-r", "1000", "hset", "h:__rand_int__", "f", "v"]):
        done = run(["redis-benchmark", "-p", port, "-q", *words], timeout=50)
        text = re.sub(r"[^\n]*\r", "", done.stdout)
        expect(done.returncode == 0, words, done.stdout[-400:], done.stderr[-400:])
        expect("rror" not in text + done.stderr.replace("Could not fetch server CONFIG", ""), words, text[-400:], done.stderr[-400:])
        expect("requests per second" in text, words, text[-300:])
    c.expect_equal_digests()


@scenario()
def redis_py_works_plain_and_pipelined(env):
    c = env.cluster().up()
    a, b = (redis.Redis(port=n.port, socket_timeout=15) for n in c.nodes[:2])
    expect(a.set("k", "v") is True and b.get("k") == b"v")
    expect(a.set("k", "w", nx=True) is None and a.set("k", "w", xx=True, get=True) == b"v")
    expect(b.hset("h", mapping={"a": 1, "b": "x"}) == 2 and a.hgetall("h") == {b"a": b"1", b"b": b"x"})
    expect(a.hincrbyfloat("h", "a", 0.5) == 1.5)
    expect(a.expire("h", 100) and 90 < b.ttl("h") <= 100)
    for wrong in (lambda: a.incr("k"), lambda: a.hget("k", "f")):
        try:
            wrong()
            raise AssertionError("an error reply raised nothing")
        except redis.ResponseError:
            pass
    with a.pipeline(transaction=False) as p:
        for i in range(1000):
            p.incr("n")
        expect(p.execute() == list(range(1, 1001)), "replies of a pipeline are in order")
    with b.pipeline(transaction=False) as p:
        for i in range(500):
            p.set(f"scan:{i}", i)
        p.execute()
    expect(len(set(a.scan_iter("scan:*", count=37))) == 500)
    expect(len(dict(b.hscan_iter("h"))) == 2)
    expect(a.info()["redis_mode"] == "cluster" or "redis_version" in a.info())
    expect(a.client_setname("me") and a.client_getname() in ("me", b"me") and a.client_id() > 0)
    expect(a.object("encoding", "k") is not None and a.memory_usage("k") > 0)
    with a.pipeline(transaction=True) as p:
        expect(p.set("{t}a", 1).incr("{t}a").hset("{t}h", "f", "v").hgetall("{t}h").execute() == [True, 2, 1, {b"f": b"v"}])
    with a.pipeline() as p:  # somebody else was faster
        p.watch("{t}a")
        b.set("{t}a", 7)
        p.multi()
        p.incr("{t}a")
        try:
            p.execute()
            raise AssertionError("what was watched has changed, and EXEC was done")
        except redis.WatchError:
            pass
    expect(a.transaction(lambda p: (p.get("{t}a"), p.multi(), p.incr("{t}a")), "{t}a") == [8] and b.get("{t}a") == b"8")
    a.set("foo", 1)
    with b.pipeline(transaction=True) as p:  # keys of any groups
        expect(p.incr("foo").hset("bar", "f", "v").set("baz", "x", ex=100).hgetall("bar").execute() == [2, 1, True, {b"f": b"v"}])
    expect(a.mget("foo", "bar", "baz") == [b"2", None, b"x"] and a.exists("foo", "bar", "baz", "none") == 3)
    expect(b.rename("baz", "qux") and 90 < a.ttl("qux") <= 100 and a.msetnx({"foo": 1, "baz": 1}) is False)
    expect(a.transaction(lambda p: (p.get("foo"), p.multi(), p.incr("foo"), p.delete("bar", "qux")), "foo", "bar") == [3, 2])
    with a.pipeline() as p:
        p.watch("foo", "bar")
        b.hset("bar", "f", "w")
        p.multi()
        p.incr("foo")
        try:
            p.execute()
            raise AssertionError("what was watched in two groups has changed, and EXEC was done")
        except redis.WatchError:
            pass


@scenario()
def the_cluster_client_of_redis_py_follows_the_leaders(env):
    """With servers that redirect instead of forwarding, so that the client must find the leaders, and again when one is gone. (A new client
    then: the one of redis-py 4.3, Debian's, cannot copy its own settings when it loses a node.)"""
    c = env.cluster()
    for n in c.nodes:
        n.extra = ["--redirect", "moved"]
    c.up()
    nodes = [ClusterNode("127.0.0.1", n.port) for n in c.nodes]
    r = RedisCluster(startup_nodes=nodes, socket_timeout=15)
    for i in range(300):
        r.set(f"c:{i}", i)
    expect([r.get(f"c:{i}") for i in range(300)] == [b"%d" % i for i in range(300)])
    expect(len(r.get_nodes()) == 3, r.get_nodes())
    expect(r.cluster_keyslot("c:1") == r.keyslot("c:1"))
    expect(r.mget_nonatomic(["c:1", "c:2", "c:3"]) == [b"1", b"2", b"3"])
    p = r.pipeline()
    for i in range(300):
        p.incr(f"c:{i}")
    expect(p.execute() == [i + 1 for i in range(300)], "a pipeline over all nodes")
    expect(sum(1 for _ in r.scan_iter("c:*")) >= 300)
    r.close()
    c.nodes[0].kill()

    def all_again():
        try:
            r = RedisCluster(startup_nodes=nodes[1:], socket_timeout=15)
            return [r.get(f"c:{i}") for i in range(300)] == [b"%d" % (i + 1) for i in range(300)]
        except (redis.RedisError, RedisClusterException):
            return False
    logging.disable()  # it logs whole tracebacks of what we expect, and its destructors stumble
    sys.unraisablehook = lambda _: None
    until(20, "it finds the new leaders after one node was killed", all_again)


def program_passes(command, **words):
    done = run(command, timeout=50, **words)
    sys.stdout.write("".join(f"# {line}\n" for line in done.stdout.splitlines() if not line.startswith("ok ")))
    expect(done.returncode == 0 and "\nok " in "\n" + done.stdout and "not ok" not in done.stdout, done.stdout[-3000:], done.stderr[-1500:])


def ports(cluster):
    return [str(n.port) for n in cluster.nodes]


@scenario()
def hiredis_works_plain_pipelined_and_asynchronous(env):
    if not env.options.hiredis:
        raise Skip("the client program was not built: libhiredis is missing (--hiredis)")
    c = env.cluster().up()
    program_passes([env.options.hiredis, *ports(c)])


@scenario(limit=90)
def ioredis_works_plain_pipelined_and_clustered(env):
    where = npm_folder(env)
    program_passes(["node", "ioredis.js", *ports(env.cluster().up())], cwd=where)


@scenario(limit=90)
def node_redis_works_in_resp2_and_resp3_and_clustered(env):
    where = npm_folder(env)
    program_passes(["node", "node-redis.js", *ports(env.cluster().up())], cwd=where)


if __name__ == "__main__":
    sys.exit(main())
