#!/usr/bin/env python3
"""Users' code that does what nobody wants, in jobs on clusters of real processes: each job fails with a clear error, or gives the exact
answer; nothing is left behind, and nobody else waits.  jobs_hostile.py SYNOD [--long]"""
import re
import sys
import threading
import time

sys.dont_write_bytecode = True  # the source tree stays as it is
from harness import Err, expect, main, scenario
from jobkit import SPIN, Jobs, as_commands, as_rows, documents, forgotten, load, nothing_left, word_counts

COUNT_ALL = "function map(k, v, emit) emit('all', 1) end\n"
FIRST = "function reduce(k, vs, emit) emit(k, vs()) end\n"
ONE = ("CPU", 1000, "MEMORY", "16m")

HOSTILE = (  # what it is called, the source of map, what the error says
    ("endless", "function map() while true do end end", ("used more than 1000 ms of CPU time",)),
    ("endless source", "while true do end", ("used more than 1000 ms of CPU time",)),
    ("memory", "function map() local t = {} for i = 1, 1e9 do t[i] = i .. 'x' end end", ("not enough memory", "LIMITS MEMORY")),
    ("one string", "function map() local s = string.rep('x', 1e9) end", ("not enough memory",)),
    ("rep bomb", "function map() return (('x'):rep(1e6)):rep(1e6) end", ("not enough memory", "string", "string length overflow")),
    ("recursion", "function map() local function f() return 1 + f() end f() end", ("stack overflow",)),
    ("pattern", "function map() return (('a'):rep(200000)):find(('a*'):rep(30) .. 'b') end", ("CPU time", "pattern")),
    ("output", "function map(k, v, emit) while true do emit('k', ('x'):rep(60000)) end end", ("would be spilled", "more than")),
    ("files", "function map() io.open('/etc/passwd') end", ("'io'",)),
    ("processes", "function map() os.execute('true') end", ("os", "execute")),
    ("no map", "function mop() end", ("the source defines no function map",)),
    ("syntax", "function map( end", ("the source failed: map:1:",)),
    ("a table", "function map(k, v, emit) emit(k, {}) end", ("emit was given a table",)),
    ("long key", "function map(k, v, emit) emit(('x'):rep(70000), 1) end", ("key",)),
    ("no string", "function map() error({}) end", ("an error that is not a string",)),
)


def hostile(jobs, name, source, says):
    jobs.submit(name, "MAP", "LUA", source, "REDUCE", "COUNT", "MATCH", "doc:1", "LIMITS", *ONE, "SPILL", "8m")
    error = jobs.failed(name, seconds=60)
    expect(any(s in error for s in says), f"{name} failed with '{error}', nothing of", says)
    expect(error.startswith(("map failed", "the source failed", "the task", "more than")) or "map" in error, f"{name}: whose fault is", error)
    return error


@scenario(limit=120, backends=("epoll",))
def hostile_maps_fail_with_a_clear_error(env):
    """Some at a time, while others' commands and a good job go on beside them."""
    c = env.cluster(groups=4).up()
    jobs = Jobs(c)
    docs = documents(50)
    load(c, as_commands(docs))
    faults, worst, stop = [], [0.0], threading.Event()

    def beside():
        with c.nodes[0].conn(30) as conn:
            while not stop.is_set():
                began = time.monotonic()
                if conn.do("SET", "other", "v") != b"OK":
                    faults.append("a SET was refused")
                worst[0] = max(worst[0], time.monotonic() - began)
                time.sleep(0.005)

    def some(part):
        for name, source, says in part:
            try:
                hostile(jobs, name, source, says)
            except Exception as error:
                faults.append(f"{name}: {error}")
    threads = [threading.Thread(target=some, args=(HOSTILE[i::4],)) for i in range(4)]
    witness = threading.Thread(target=beside)
    for t in [*threads, witness]:
        t.start()
    jobs.submit("good", "MAP", "LUA", COUNT_ALL, "COMBINE", "SUM", "REDUCE", "SUM", "MATCH", "doc:*")
    jobs.done("good", seconds=90)
    for t in threads:
        t.join()
    stop.set()
    witness.join()
    print(f"# the longest wait beside them: {worst[0]:.2f} s", flush=True)
    expect(not faults, *faults)
    expect(jobs.result("good").dict() == {b"all": b"50"}, "a good job beside them")
    expect(all(n.alive() for n in c.nodes))
    got = jobs.do("RESULT", "endless")
    expect(isinstance(got, Err) and got.startswith("JOBFAILED") and "CPU time" in got, "RESULT of a failed job", got)
    nothing_left(c)
    forgotten(c)


@scenario(limit=90)
def one_bad_record_of_many_is_named(env):
    c = env.cluster(groups=8).up()
    jobs = Jobs(c)
    load(c, as_commands(documents(2000)))
    jobs.submit("bad", "MAP", "LUA", "function map(key, value, emit)\n  if key == 'doc:777' then\n    error('I do not like it')\n  end\n"
                "  emit('n', 1)\nend", "COMBINE", "SUM", "REDUCE", "SUM", "MATCH", "doc:*", "INTO", "out:")
    error = jobs.failed("bad", "map failed at key 'doc:777'", "map:3:", "I do not like it", "attempt", "task")
    attempts = [line for line in jobs.log("bad") if "on node" in line and "I do not like it" in line]
    expect(len(attempts) == 5, f"{len(attempts)} attempts, not five:", attempts)
    expect(len({re.search(r"on node (\d+)", line).group(1) for line in attempts}) >= 2, "all attempts were on one node:", attempts)
    expect(c.nodes[1].do("EXISTS", "out:n") == 0, "a failed job wrote", error)
    jobs.submit("bad reduce", "MAP", "LUA", COUNT_ALL + "function reduce(key, values, emit)\n local v = nil + 1 end", "MATCH", "doc:*")
    jobs.failed("bad reduce", "reduce failed at key 'all'", "map:3:", "arithmetic")
    jobs.submit("bad combine", "MAP", "LUA", COUNT_ALL + FIRST + "function combine(key, values, emit) error('not so') end", "MATCH", "doc:*")
    jobs.failed("bad combine", "combine failed", "not so")
    jobs.submit("no reduce", "MAP", "LUA", COUNT_ALL, "MATCH", "doc:5")
    jobs.failed("no reduce", "the source defines no function reduce, and there is no REDUCE clause")
    nothing_left(c)
    forgotten(c)


GIANT = """
function map(k, v, emit) for i = 1, 100 do emit('all', ('%s,%d;'):format(k, i) .. ('x'):rep(2000)) end emit(k, 1) end
function reduce(k, values, emit)
  local n, size = 0, 0
  for v in values do n = n + 1 if k == 'all' then size = size + #v end end
  emit(k, n) if k == 'all' then emit('size', size) end
end
"""


@scenario(limit=90, backends=("epoll",))
def a_key_with_more_values_than_memory_is_reduced(env):
    c = env.cluster(groups=4).up()
    jobs = Jobs(c)
    docs = documents(400, words=1)
    load(c, as_commands(docs))
    jobs.submit("giant", "MAP", "LUA", GIANT, "MATCH", "doc:*", "LIMITS", "MEMORY", "16m")
    jobs.done("giant", seconds=60)
    twin = {k: b"1" for k in docs}
    twin[b"all"] = b"40000"
    twin[b"size"] = b"%d" % sum(len(b"%s,%d;" % (k, i)) + 2000 for k in docs for i in range(1, 101))
    expect(int(twin[b"size"]) > 4 * (16 << 20), "it is more than memory")
    expect(jobs.result("giant").dict() == twin, "giant key")
    jobs.submit("keeps", "MAP", "LUA", GIANT.replace("local n, size = 0, 0", "local n, size, kept = 0, 0, {}")
                .replace("n = n + 1", "n = n + 1 kept[n] = v"), "MATCH", "doc:*", "LIMITS", "MEMORY", "16m")
    jobs.failed("keeps", "reduce failed at key 'all'", "not enough memory")
    jobs.submit("spill", "MAP", "LUA", GIANT, "MATCH", "doc:*", "LIMITS", "MEMORY", "16m", "SPILL", "1m")
    jobs.failed("spill", "more than 1048576 bytes")
    nothing_left(c)
    forgotten(c)


@scenario(limit=90, backends=("uring",))
def outputs_are_bounded_and_large_results_refused(env):
    c = env.cluster(groups=4).up()
    jobs = Jobs(c)
    load(c, as_commands(documents(100)))
    jobs.submit("much", "TASKS", 2, "LUA", "function task(i, n, emit) emit('a', i) end\n"
                "function reduce(k, vs, emit) while true do emit(k, ('x'):rep(1000)) end end", "LIMITS", "OUTPUT", "1m", "CPU", 5000)
    jobs.failed("much", "1048576")
    many = "function task(i, n, emit) for k = 1, 2600 do emit(i .. ':' .. k, k) end end\n" + FIRST
    jobs.submit("keys", "TASKS", 4, "LUA", many, "INTO", "many:")
    jobs.failed("keys", "more than 10000 keys", "RETURN")
    expect(read_none(c, "many:"), "a publication that was refused wrote")
    jobs.submit("rows", "TASKS", 4, "LUA", many)
    jobs.done("rows")
    twin = {f"{i}:{k}".encode(): str(k).encode() for i in range(4) for k in range(1, 2601)}
    expect(jobs.result("rows").dict() == twin, "as rows they are all there")
    fits = many.replace("2600", "2400")
    jobs.submit("fits", "TASKS", 4, "LUA", fits, "INTO", "fits:")
    jobs.done("fits")
    with c.nodes[2].conn() as conn:
        got = conn.pipeline([("GET", f"fits:{i}:{k}") for i in range(4) for k in range(1, 2401)])
    expect(got == [str(k).encode() for _ in range(4) for k in range(1, 2401)], "9600 keys are published")
    nothing_left(c)
    forgotten(c)


def read_none(c, prefix):
    cursor, keys = b"0", []
    while True:
        cursor, some = c.nodes[0].do("SCAN", cursor, "MATCH", prefix + "*", "COUNT", 1000)
        keys += some
        if cursor == b"0":
            return not keys


@scenario(limit=90, backends=("uring",))
def time_is_up_and_jobs_queue(env):
    """More jobs than slots take turns; a job whose TIME is over ends, whatever its code is at."""
    c = env.cluster(groups=4).up()
    jobs = Jobs(c)
    docs = documents(60)
    load(c, as_commands(docs))
    jobs.submit("late", "MAP", "LUA", SPIN + "function map(k, v, emit) spin(3000) emit(k, 1) end", "REDUCE", "SUM", "MATCH", "doc:*",
                "LIMITS", "TIME", 3000)
    jobs.failed("late", "LIMITS TIME", seconds=20)
    twin = as_rows(word_counts(docs.values()))
    source = SPIN + "function map(k, v, emit) spin(2) for w in v:gmatch('%a+') do emit(w, 1) end end"
    names = [f"j{i}" for i in range(12)]
    for i, name in enumerate(names):
        jobs.submit(name, "MAP", "LUA", source, "COMBINE", "SUM", "REDUCE", "SUM", "MATCH", "doc:*", node=c.nodes[i % 3])
    for name in names:
        jobs.done(name, seconds=80)
        expect(jobs.result(name).dict() == twin, name)
    nothing_left(c)
    forgotten(c)


@scenario(limit=60, backends=("epoll",))
def there_are_only_so_many_live_jobs(env):
    c = env.cluster(groups=4).up()
    jobs = Jobs(c)
    task = "function task(i, n, emit) while true do end end\n" + FIRST
    quick = "function task(i, n, emit) emit('a', n) end\n" + FIRST
    for i in range(16):
        jobs.submit(f"j{i}", "TASKS", 1, "LUA", task)
    got = jobs.do("SUBMIT", "one more", "TASKS", 1, "LUA", task)
    expect(isinstance(got, Err) and "16" in got, "the 17th", got)
    for i in range(16):
        expect(jobs.do("CANCEL", f"j{i}") == b"OK")
    for i in range(16):
        expect(jobs.ended(f"j{i}") == "cancelled")
    jobs.submit("one more", "TASKS", 1, "LUA", quick)
    jobs.done("one more")
    nothing_left(c)
    for turn in range(70):  # and so many that have ended
        jobs.submit(f"h{turn}", "TASKS", 1, "LUA", quick)
        jobs.done(f"h{turn}")
    have = len(jobs.do("HISTORY"))
    expect(have <= 65, f"{have} ended jobs are kept")
    forgotten(c)


if __name__ == "__main__":
    sys.exit(main())
