#!/usr/bin/env python3
"""What spark-redis, Flink's Bahir sink and cluster clients send, one by one, and the replies they expect (docs/CONNECT.md).  spark.py SYNOD"""
import os
import re
import sys
import time

from redis.crc import key_slot

sys.dont_write_bytecode = True  # the source tree stays as it is
from harness import Err, expect, main, scenario, until

SLOTS = 16384
PAGE = os.path.join(os.path.dirname(os.path.abspath(__file__)), "../../docs/CONNECT.md")
# Each command beyond the connection's that these send, with arguments that would do.
WANTED = {
    "GET": ("k",), "SET": ("k", "v"), "SETEX": ("k", 9, "v"), "EXPIRE": ("k", 9), "TYPE": ("k",), "SCAN": (0,),
    "HGETALL": ("h",), "HMGET": ("h", "f"), "HSET": ("h", "f", "v"), "HMSET": ("h", "f", "v"),
    "LRANGE": ("l", 0, -1), "RPUSH": ("l", "v"), "LPUSH": ("l", "v"), "LTRIM": ("l", 0, 1), "BLPOP": ("l", 1),
    "SMEMBERS": ("s",), "SADD": ("s", "v"), "ZADD": ("z", 1, "v"), "ZREM": ("z", "v"), "ZRANGE": ("z", 0, -1, "WITHSCORES"),
    "ZRANGEBYSCORE": ("z", 0, 1, "WITHSCORES"), "XGROUP": ("CREATE", "x", "g", "$"), "XREADGROUP": ("GROUP", "g", "c", "STREAMS", "x", ">"),
    "XACK": ("x", "g", "1-1"), "XINFO": ("STREAM", "x"), "PFADD": ("p", "v"), "PUBLISH": ("c", "v"),
}


def exact(conn, wanted, *args):
    """The reply, to the byte (of a longer one its beginning): its type is what clients go by."""
    conn.send(*args)
    exact_next(conn, wanted, *args)


def exact_next(conn, wanted, *args):
    got = conn.take(len(wanted))
    expect(got == wanted, " ".join(map(str, args)), "answered", got, "not", wanted)


def ranges(conn):
    """[(first, last, host, port of its master)] of CLUSTER SLOTS."""
    return [(lo, hi, master[0].decode(), master[1]) for lo, hi, master, *_ in conn.do("CLUSTER", "SLOTS")]


def covered(spans):
    """Every slot once."""
    slots = [s for lo, hi in spans for s in range(lo, hi + 1)]
    return len(slots) == SLOTS and set(slots) == set(range(SLOTS))


def scan_all(conn, pattern, count=100):
    found, cursor = [], b"0"
    while True:
        cursor, keys = conn.do("SCAN", cursor, "MATCH", pattern, "COUNT", count)
        found += keys
        if cursor == b"0":
            return found


def spark_keys(c, spans, pattern):
    """What its RDD of keys has: of each range of slots, what its master scans and that is in it."""
    found = []
    for lo, hi, _, port in spans:
        with next(n for n in c.nodes if n.port == port).conn() as conn:
            found += [k for k in scan_all(conn, pattern) if lo <= key_slot(k) <= hi]
    return found


def load(c, count):
    with c.nodes[0].conn() as conn:
        expect(set(conn.pipeline([("SET", f"spark:{i}", i) for i in range(count)])) == {b"OK"})
        expect(conn.do("SET", "else", 1) == b"OK")
    return {b"spark:%d" % i for i in range(count)}


@scenario()
def a_connection_and_its_pipelines_answer_as_redis_does(env):
    c = env.cluster(groups=8).up()
    for n in c.nodes:
        with n.conn(5) as conn:
            info = dict(line.split(b":", 1) for line in conn.do("INFO").splitlines() if b":" in line)
            expect(int(info[b"redis_version"].split(b".")[0]) >= 3 and info[b"cluster_enabled"] == b"1" and info[b"loading"] == b"0", info)
            expect(b"cluster_enabled:1\r\n" in conn.do("INFO", "cluster"), "it takes any 1 in INFO cluster for a cluster")
            exact(conn, b"+PONG\r\n", "PING")
            exact(conn, b"+OK\r\n", "SELECT", 0)
            expect(conn.do("SELECT", 1).startswith("ERR "), "there is no database 1")
            expect("without any password configured" in conn.do("AUTH", "secret"), "AUTH where there is no password")
            k, h = f"k{n.number}", f"h{n.number}"
            commands = [(b"+OK\r\n", "SET", k, "v"), (b"$1\r\nv\r\n", "GET", k), (b"$-1\r\n", "GET", "none"), (b"+OK\r\n", "SETEX", k, 100, "w"),
                        (b":1\r\n", "EXPIRE", k, 50), (b":0\r\n", "EXPIRE", "none", 50), (b":2\r\n", "HSET", h, "f", 1, "g", "x"),
                        (b"+OK\r\n", "HMSET", h, "g", "y"), (b"*4\r\n$1\r\nf\r\n$1\r\n1\r\n$1\r\ng\r\n$1\r\ny\r\n", "HGETALL", h), (b"*0\r\n", "HGETALL", "none"),
                        (b"*2\r\n$1\r\ny\r\n$-1\r\n", "HMGET", h, "g", "none"), (b"+string\r\n", "TYPE", k), (b"+hash\r\n", "TYPE", h), (b"+none\r\n", "TYPE", "none")]
            for _, *args in commands:  # all sent, then all read
                conn.send(*args)
            for wanted, *args in commands:
                exact_next(conn, wanted, *args)
            exact(conn, b"+OK\r\n", "QUIT")
            expect(conn.rest() == b"", "QUIT ends it, and nothing more was said")


@scenario()
def the_map_has_all_slots_and_a_scan_by_it_each_key_once(env):
    """A node's SCAN gives all keys, wherever they are led; which of them are a range's the client sorts out, so it has each once."""
    c = env.cluster(groups=8).up()
    keys = load(c, 3000)
    for n in c.nodes:
        def right(n=n):
            with n.conn(5) as conn:
                spans = ranges(conn)
                leads = {tuple(g["slots"][0]): c.by_id(g["leader"]).port for g in n.status()["groups"]}
                (lo, hi, host, port), replicas = spans[0], len(c.nodes)
                exact(conn, b"*%d\r\n*%d\r\n:%d\r\n:%d\r\n*4\r\n$9\r\n127.0.0.1\r\n:%d\r\n$40\r\n" % (len(spans), 2 + replicas, lo, hi, port), "CLUSTER", "SLOTS")
            expect(covered([s[:2] for s in spans]) and {s[2] for s in spans} == {"127.0.0.1"}, spans)
            expect({s[:2]: s[3] for s in spans} == leads, "the first node of a range leads it", spans, leads)
            return spans
        found = spark_keys(c, until(10, "the map is right", right), "spark:*")
        expect(len(found) == len(keys) and set(found) == keys, f"{len(found)} keys, {len(set(found))} different, of {len(keys)}")
        with n.conn() as conn:
            found = scan_all(conn, "spark:*")
            expect(len(found) == len(keys) and set(found) == keys, f"one node's SCAN: {len(found)} keys")


@scenario()
def what_was_connected_goes_on_when_leaders_move(env):
    c = env.cluster(groups=8).up()
    keys = load(c, 1000)
    with c.nodes[0].conn() as conn:
        spans = ranges(conn)
        mine = next(n for n in c.nodes if n.port == spans[0][3])
        lost = [s for s in spans if s[3] == mine.port]
        own = [k for k in sorted(keys) if any(lo <= key_slot(k) <= hi for lo, hi, *_ in lost)]
        expect(own, "the node leads something")
        with mine.conn() as old:
            other = c.others(mine)[0]
            for g in [g["id"] for g in mine.status()["groups"] if g["leader"] == mine.id]:
                c.ask("SYNOD", "GROUP", "TRANSFER", g, other.id)
            until(20, "it leads nothing of what it led", lambda: not {s[:2] for s in ranges(conn) if s[3] == mine.port} & {s[:2] for s in lost})
            replies = old.pipeline([("SET", k, "new") for k in own] + [("GET", k) for k in own])
            expect(replies == [b"OK"] * len(own) + [b"new"] * len(own), "the old connection", {r for r in replies if r not in (b"OK", b"new")})
        found = spark_keys(c, spans, "spark:*")
        expect(len(found) == len(keys) and set(found) == keys, f"by the old map: {len(found)} keys")


@scenario(backends=("epoll",))
def what_there_is_not_is_refused_and_the_page_says_which(env):
    c = env.cluster(groups=4).up()
    with c.nodes[0].conn() as conn:
        known = dict(zip(WANTED, conn.do("COMMAND", "INFO", *WANTED)))
        missing = [name for name, info in known.items() if info is None]
        with open(PAGE, encoding="utf-8") as f:
            said = re.search(r"^Not there: (.*)$", f.read(), re.M).group(1)
        expect(sorted(re.findall(r"`(\w+)`", said)) == sorted(missing), "the page says", said, "but missing are", missing)
        for name in missing:
            before, reply, after = conn.pipeline([("SET", "a", name), (name, *WANTED[name]), ("GET", "a")])
            expect(isinstance(reply, Err) and reply.startswith(f"ERR unknown command '{name}'"), name, reply)
            expect((before, after) == (b"OK", name.encode()), "what is before and after it in a pipeline is done", before, after)
        for name in [n for n in WANTED if n not in missing]:
            expect(not isinstance(conn.do(name, *WANTED[name]), Err), name)


def led(c):
    """Who leads what, as each node knows it; None while one does not know it of a group. In the first second after founding it changes."""
    leaders = [[g["leader"] for g in n.status()["groups"]] for n in c.nodes]
    return leaders if all(all(l) for l in leaders) else None


def at_rest(c):
    before = led(c)
    time.sleep(0.5)
    return before and before == led(c)


@scenario()
def cluster_clients_start_up(env):
    c = env.cluster(groups=8).up()
    until(20, "leaderships have gone home", lambda: at_rest(c))
    for n in c.nodes:
        with n.conn(5) as conn:  # Lettuce, redis-rb, Jedis, go-redis: all that any of them sends
            for words in (("CLIENT", "SETINFO", "LIB-NAME", "test"), ("CLIENT", "SETINFO", "LIB-VER", "1.0"), ("CLIENT", "SETNAME", "me"), ("READONLY",), ("READWRITE",), ("ASKING",)):
                exact(conn, b"+OK\r\n", *words)
            expect(isinstance(conn.do("CLIENT", "ID"), int))
            expect(b"cluster_state:ok\r\n" in conn.do("CLUSTER", "INFO"))
            commands = conn.do("COMMAND")
            expect(all(isinstance(i, list) and len(i) >= 6 and isinstance(i[1], int) for i in commands) and {i[0] for i in commands} >= {b"get", b"set", b"hset"})
            lines = [line.split() for line in conn.do("CLUSTER", "NODES").decode().splitlines()]
            expect(all(re.fullmatch(r"[0-9a-f]{40}", line[0]) and re.fullmatch(r"127\.0\.0\.1:\d+@\d+", line[1]) and line[7] == "connected" for line in lines), lines)
            expect({line[1].split("@")[0] for line in lines} == {f"127.0.0.1:{m.port}" for m in c.nodes}, lines)
            expect([line[1].split("@")[0] for line in lines if "myself" in line[2]] == [f"127.0.0.1:{n.port}"], lines)
            expect(covered([(int(s.split("-")[0]), int(s.split("-")[-1])) for line in lines for s in line[8:]]), lines)
            shards = [dict(zip(s[::2], s[1::2])) for s in conn.do("CLUSTER", "SHARDS")]
            expect(covered([pair for s in shards for pair in zip(s[b"slots"][::2], s[b"slots"][1::2])]), shards)
            nodes = [dict(zip(m[::2], m[1::2])) for s in shards for m in s[b"nodes"]]
            expect(all(m[b"ip"] == m[b"endpoint"] == b"127.0.0.1" and m[b"role"] == b"master" and m[b"health"] == b"online" for m in nodes), nodes)
            expect({m[b"port"] for m in nodes} == {m.port for m in c.nodes} and {m[b"id"].decode() for m in nodes} == {line[0] for line in lines}, nodes)
        with n.conn(5) as conn:
            exact(conn, b"%7\r\n$6\r\nserver\r\n$5\r\nredis\r\n$7\r\nversion\r\n", "HELLO", 3)


if __name__ == "__main__":
    sys.exit(main())
