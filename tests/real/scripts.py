#!/usr/bin/env python3
"""Scripts and functions on real processes, as clients use them: redis-py's register_script and pipelines, FCALL through any node, hostile
scripts beside others' commands, libraries that go to a redis-server and come back.  scripts.py SYNOD [--long]"""
import shutil
import subprocess
import sys
import tempfile
import threading
import time

sys.dont_write_bytecode = True  # the source tree stays as it is
from harness import Err, Skip, expect, free_ports, main, scenario, until

TRANSFER = """
local from, to, amount = 'account:' .. ARGV[1], 'account:' .. ARGV[2], tonumber(ARGV[3])
local has = tonumber(redis.call('GET', from) or 0)
if has < amount then return redis.error_reply('POOR not enough') end
redis.call('DECRBY', from, amount)
redis.call('INCRBY', to, amount)
return has - amount
"""


def redis_py(n):
    try:
        import redis
    except ImportError:
        raise Skip("python3-redis is not installed (tools/deps --test)") from None
    host, port = n.address
    return redis.Redis(host=host, port=int(port), socket_timeout=15, decode_responses=True)


@scenario(limit=90)
def redis_py_registers_scripts(env):
    c = env.cluster(groups=8).up()
    clients = [redis_py(n) for n in c.nodes]
    incr = clients[0].register_script("return redis.call('INCRBY', KEYS[1], ARGV[1])")
    expect(incr(keys=["a"], args=[5]) == 5)
    for k in clients:  # the others never saw it; redis-py loads it where it is told NOSCRIPT
        expect(incr(keys=["b"], args=[1], client=k) >= 1)
    expect(clients[1].script_exists(incr.sha, "f" * 40) == [True, False])
    with clients[2].pipeline() as pipe:
        incr(keys=["a"], args=[1], client=pipe)
        incr(keys=["b"], args=[1], client=pipe)
        expect(pipe.execute() == [6, 4])
    transfer = clients[0].register_script(TRANSFER)
    clients[0].mset({f"account:{i}": 100 for i in range(10)})
    for i in range(30):
        transfer(args=[i % 10, (i + 1) % 10, 7], client=clients[i % 3])
    expect(sum(int(v) for v in clients[1].mget(f"account:{i}" for i in range(10))) == 1000)
    try:
        transfer(args=[1, 2, 10000])
        expect(False, "a transfer of what is not there")
    except Exception as error:
        expect("POOR" in str(error) or "not enough" in str(error), error)
    c.restart_all()
    c.wait_ready()
    expect(redis_py(c.nodes[1]).evalsha(incr.sha, 1, "a", 1) == 7, "what was loaded is there after a restart")


@scenario(limit=90)
def functions_are_called_through_any_node_while_leaders_die(env):
    c = env.cluster(groups=8).up()
    code = "#!lua name=bank\nredis.register_function('transfer', function(keys, ARGV)" + TRANSFER + "end)"
    expect(c.nodes[0].do("FUNCTION", "LOAD", code) == b"bank")
    c.nodes[0].do("MSET", *[w for i in range(8) for w in (f"account:{i}", 100)])
    for _ in range(env.seconds(2, 20)):
        for i in range(20):
            answer = c.nodes[i % 3].do("FCALL", "transfer", 0, i % 8, (i + 3) % 8, 1)
            expect(not isinstance(answer, Err) or answer.startswith("POOR"), answer)
        leader = c.leader_of("account:1")
        leader.kill()
        time.sleep(0.2)
        leader.start()
        c.wait_ready()
        until(20, "all accounts are there", lambda: not isinstance(c.nodes[0].do("MGET", *[f"account:{i}" for i in range(8)]), Err))
        have = c.nodes[1].do("MGET", *[f"account:{i}" for i in range(8)])
        expect(sum(int(v) for v in have) == 800, have)
    expect(c.nodes[2].do("FUNCTION", "DELETE", "bank") == b"OK")
    expect(c.nodes[2].do("FCALL", "transfer", 0, 1, 2, 1).startswith("ERR Function not found"))


@scenario(limit=90)
def scripts_that_do_not_end_disturb_nobody_for_long(env):
    c = env.cluster(groups=4).up()
    leader = c.leader_of("k")
    asks = {n: n.do("INFO", "stats") for n in c.nodes}
    expect(all(asks.values()))
    ended, worst = [], [0.0]

    def hostile():
        with leader.conn(timeout=60) as k:
            for code in ("while true do end", "while true do pcall(error) end", "local s = 'x' while true do s = s .. s end",
                         "return string.find(('a'):rep(5000), ('a*'):rep(20) .. 'b')",
                         "local t = {} for i = 1, 60 do t = {t, t} end return cjson.encode(t)"):
                ended.append(k.do("EVAL", "redis.call('SET', KEYS[1], 'harm') " + code, 1, "k"))
    thread = threading.Thread(target=hostile)
    thread.start()
    while thread.is_alive():
        began = time.monotonic()
        expect(leader.do("SET", "other", "v", timeout=30) == b"OK")
        worst[0] = max(worst[0], time.monotonic() - began)
    thread.join()
    expect(len(ended) == 5 and all(isinstance(e, Err) for e in ended), ended)
    expect(leader.do("GET", "k") is None, "nothing of them is there")
    print(f"# the longest wait beside them: {worst[0]:.2f} s", flush=True)
    expect(c.nodes[0].do("CONFIG", "SET", "lua-time-limit", 50) == b"OK")
    answer = c.nodes[0].do("EVAL", "while true do end", 0)
    expect("more than 50 ms" in answer or "instructions" in answer, answer)


@scenario(limit=60, backends=("epoll",))
def libraries_move_to_redis_and_back(env):
    if not shutil.which("redis-server"):
        raise Skip("redis-server is not installed (tools/deps --test)")
    c = env.cluster(nodes=1, groups=2).up()
    port = free_ports(1)
    with tempfile.TemporaryDirectory() as directory:
        server = subprocess.Popen(["redis-server", "--port", str(port), "--save", "", "--dir", directory], stdout=subprocess.DEVNULL)
        try:
            r = redis_py(type("At", (), {"address": ("127.0.0.1", port)}))
            r.connection_pool.connection_kwargs["decode_responses"] = False
            until(10, "redis-server answers", lambda: answers(r))
            code = b"#!lua name=lib\nredis.register_function('f', function() return '" + b"x" * 5000 + b"' end)"
            expect(c.nodes[0].do("FUNCTION", "LOAD", code) == b"lib")
            expect(r.execute_command("FUNCTION", "RESTORE", c.nodes[0].do("FUNCTION", "DUMP")) == b"OK")
            expect(len(r.execute_command("FCALL", "f", 0)) == 5000)
            theirs = r.execute_command("FUNCTION", "DUMP")
            expect(len(theirs) < 1000, "theirs is compressed")
            expect(c.nodes[0].do("FUNCTION", "RESTORE", theirs, "FLUSH") == b"OK")
            expect(len(c.nodes[0].do("FCALL", "f", 0)) == 5000)
        finally:
            server.terminate()
            server.wait()


def answers(r):
    try:
        return r.ping()
    except Exception:
        return False


if __name__ == "__main__":
    sys.exit(main())
