"""What the tests of jobs share: JOB commands as clients send them, data with its twin in Python, the processes of workers, and a look at
what a job may leave behind: nothing."""
import os
import random
import re
import signal
import threading
import time

from harness import Err, expect, until

HERE = os.path.dirname(os.path.abspath(__file__))
ROOT = os.path.dirname(os.path.dirname(HERE))
ENDED = ("done", "failed", "cancelled")
PASSING = ("TRYAGAIN", "CLUSTERDOWN", "UNKNOWN")

# Some milliseconds a record, however fast the machine: for jobs that must be met while they run.
SPIN = "local function spin(ms) local t = os.clock() while (os.clock() - t) * 1000 < ms do end end\n"


def example(name):
    with open(os.path.join(ROOT, "examples", "jobs", name + ".lua"), encoding="utf-8") as f:
        return f.read()


def pairs(flat):
    return dict(zip(flat[::2], flat[1::2]))


def text(value):
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else value


class Result:
    def __init__(self, reply):
        whole = pairs(reply)
        expect(set(whole) == {b"rows", b"notes"}, "a result is a map of rows and notes, not", repr(reply)[:200])
        self.rows = [tuple(r) for r in whole[b"rows"]]
        self.notes = pairs(whole[b"notes"])

    def dict(self):
        expect(len({r[0] for r in self.rows}) == len(self.rows), "a key is there twice")
        return dict(self.rows)


class Jobs:
    """The JOB commands of a cluster: through any node that runs, again while the answer is to try again."""

    def __init__(self, c):
        self.c, self.away = c, None  # away: a node that is paused, and not asked

    def any(self):
        return next(n for n in self.c.nodes if n.alive() and n is not self.away)

    def pause(self, n):
        n.pause()
        self.away = n

    def resume(self):
        self.away.resume()
        self.away = None

    def do(self, *words, node=None, seconds=30):
        def attempt():
            reply = (node or self.any()).do("JOB", *words, timeout=max(15.0, seconds))
            return None if isinstance(reply, Err) and reply.startswith(PASSING) else [reply]
        return until(seconds, "JOB " + " ".join(str(w)[:40] for w in words), attempt, pause=0.02)[0]

    def submit(self, name, *words, node=None):
        got = self.do("SUBMIT", name, *words, node=node)
        expect(isinstance(got, bytes) and re.fullmatch(rb"[0-9a-f]{16}", got), f"JOB SUBMIT {name} was answered", repr(got))
        return got

    def status(self, name, node=None):
        got = self.do("STATUS", name, node=node)
        expect(isinstance(got, list), f"JOB STATUS {name} was answered", repr(got))
        return {text(k): text(v) for k, v in pairs(got).items()}

    def state(self, name):
        return self.status(name)["state"]

    def log(self, name):
        return [text(line) for line in self.do("LOG", name)]

    def explain(self, name):
        return f"{self.status(name)}; " + " | ".join(self.log(name)[-12:])

    def ended(self, name, seconds=60):
        """Until it is; how."""
        def look():
            state = self.state(name)
            return state if state in ENDED else None
        try:
            return until(seconds, f"job {name} ends", look)
        except AssertionError as late:
            raise AssertionError(f"{late}: {self.explain(name)}") from None

    def done(self, name, seconds=60):
        state = self.ended(name, seconds)
        expect(state == "done", f"job {name} is {state}, not done:", self.explain(name))
        return self

    def failed(self, name, *says, seconds=60):
        state = self.ended(name, seconds)
        expect(state == "failed", f"job {name} is {state}, not failed:", self.explain(name))
        error = self.status(name)["error"]
        expect(all(s in error for s in says), f"job {name} failed with '{error}', nothing of", says)
        return error

    def result(self, name):
        got = self.do("RESULT", name)
        expect(isinstance(got, list), f"JOB RESULT {name} was answered", repr(got))
        return Result(got)

    def run(self, *query, node=None):
        got = self.do("RUN", *query, node=node, seconds=60)
        expect(isinstance(got, list), f"JOB RUN {' '.join(map(str, query))} was answered", repr(got))
        return Result(got)

    def caught(self, name, *states, seconds=30):
        """Until it is in one of these states, as soon as it can be seen. An ending instead: None."""
        def look():
            state = self.state(name)
            return state if state in states or state in ENDED else None
        state = until(seconds, f"job {name} is in {states}", look, pause=0.001)
        return state if state in states else None

    def forget(self, *names):
        for name in names:
            expect(self.do("FORGET", name) == b"OK", f"{name} is not forgotten")

    def owner(self):
        """The node that leads group 0."""
        def known():
            return next(g["leader"] for g in self.any().status()["groups"] if g["id"] == 0)
        return self.c.by_id(until(15, "a leader of group 0 is known", known))


# ---- at once ----

def at_once(calls):
    """All of them from threads of their own; their answers."""
    answers = [None] * len(calls)
    gate = threading.Barrier(len(calls))

    def one(i):
        gate.wait()
        answers[i] = calls[i]()
    threads = [threading.Thread(target=one, args=(i,)) for i in range(len(calls))]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    return answers


# ---- what is left ----

def children(pid):
    found = []
    try:
        for task in os.listdir(f"/proc/{pid}/task"):
            with open(f"/proc/{pid}/task/{task}/children", encoding="ascii") as f:
                found += [int(p) for p in f.read().split()]
    except OSError:
        pass
    return found


def named(pids, name):
    """Those of the processes whose name it is; ended ones that nobody waited for among them."""
    found = []
    for pid in pids:
        try:
            with open(f"/proc/{pid}/comm", encoding="ascii") as f:
                if f.read() == name + "\n":
                    found.append(pid)
        except OSError:
            pass
    return found


def workers(node):
    """The worker processes of a node, by pid."""
    return named(children(node.process.pid), "job-worker")


def unnamed_files(node):
    """Files without a name (O_TMPFILE) below its directory that the node's process has open: spill files and outputs of maps."""
    found = []
    for fd in os.listdir(f"/proc/{node.process.pid}/fd"):
        try:
            to = os.readlink(f"/proc/{node.process.pid}/fd/{fd}")
        except OSError:
            continue
        if re.fullmatch(re.escape(node.dir) + r"/#\d+ \(deleted\)", to):
            found.append(to)
    return found


def tasks(node):
    """Of its attempts: how many run, how many wait, bytes of outputs."""
    info = dict(line.split(":") for line in text(node.do("INFO", "jobs")).split() if ":" in line)
    return [int(info[name]) for name in ("job_tasks_running", "job_tasks_waiting", "job_output_bytes")]


def nothing_left(c, seconds=30):
    """No job, no worker, no file of one, no snapshot, anywhere. Jobs that have ended may still be in the history."""
    jobs = Jobs(c)

    def clean():
        for n in [n for n in c.nodes if n.alive()]:
            expect(jobs.do("LIST", node=n) == [], f"JOB LIST through node {n.number} shows", jobs.do("LIST", node=n))
            expect(n.do("SNAPSHOT", "LIST") == [], f"SNAPSHOT LIST through node {n.number} shows", n.do("SNAPSHOT", "LIST"))
            kept = children(n.process.pid)  # but for the one that workers are forked from
            expect(kept == named(kept, "job-nursery")[:1], f"node {n.number} has children", kept)
            expect(unnamed_files(n) == [], f"node {n.number} has open", unnamed_files(n))
            expect(not any(tasks(n)), f"node {n.number} has tasks running, waiting, bytes of outputs:", tasks(n))
        return True
    until(seconds, "nothing of the jobs is left", clean, pause=0.1)


def forgotten(c):
    """All ended jobs go from the history, so that the rows of group 0 are seen to go too."""
    jobs = Jobs(c)
    jobs.forget(*[pairs(job)[b"name"] for job in jobs.do("HISTORY")])
    expect(jobs.do("HISTORY") == [], "the history of jobs is empty")


# ---- data ----

def load(c, commands, node=None):
    """In pipelines of 500, each command again while it was refused."""
    commands = list(commands)
    with (node or c.any()).conn(30) as conn:
        for at in range(0, len(commands), 500):
            left = commands[at:at + 500]
            for _ in range(100):
                left = [c for c, r in zip(left, conn.pipeline(left)) if isinstance(r, Err)]
                if not left:
                    break
                time.sleep(0.05)
            expect(not left, "a command is refused for ever:", repr(left[:1])[:200])


WORDS = [a + b + c for a in ("ba", "do", "ki") for b in ("lu", "me", "ra") for c in ("so", "tu", "xi", "wo")]


def documents(count, seed=7, words=20, prefix="doc:"):
    """{key: text}, all ASCII."""
    choose = random.Random(seed)
    return {f"{prefix}{i}".encode(): ", ".join(choose.choices(WORDS, k=words)).encode() for i in range(count)}


def packages():
    """The sample that comes with synod: {key: {field: value}}."""
    found = {}
    with open(os.path.join(ROOT, "examples", "data", "packages.sample"), "rb") as f:
        for paragraph in f.read().split(b"\n\n"):
            fields = {}
            for line in re.sub(rb"\n[ \t]", b" ", paragraph).splitlines():
                name, colon, value = line.partition(b":")
                if colon:
                    fields[name] = value.strip()
            if b"Package" in fields:
                found[b"pkg:" + fields[b"Package"]] = fields
    return found


def as_commands(data):
    for key, value in data.items():
        if isinstance(value, dict):
            yield ("HSET", key, *[w for field in value.items() for w in field])
        else:
            yield ("SET", key, value)


def word_counts(texts):
    count = {}
    for t in texts:
        for w in re.findall(rb"[A-Za-z]+", t):
            count[w.lower()] = count.get(w.lower(), 0) + 1
    return count


def as_rows(counts):
    return {k: str(v).encode() for k, v in counts.items()}


def read_prefix(node, prefix):
    """{the rest of the key: value} of all string keys that begin so."""
    keys, cursor = [], b"0"
    with node.conn(30) as conn:
        while True:
            cursor, some = conn.do("SCAN", cursor, "MATCH", prefix + "*", "COUNT", 1000)
            keys += some
            if cursor == b"0":
                break
        keys = sorted(set(keys))
        values = []
        for at in range(0, len(keys), 500):
            values += conn.pipeline([("GET", k) for k in keys[at:at + 500]])
    return {k[len(prefix):]: v for k, v in zip(keys, values)}


def kill_worker(pid):
    try:
        os.kill(pid, signal.SIGKILL)
        return True
    except ProcessLookupError:
        return False


# ---- jobs that are met while they run ----

DOCS = documents(300)
COUNTS = as_rows(word_counts(DOCS.values()))


def begun(env):
    """A cluster that has DOCS, and jobs there."""
    c = env.cluster(groups=8).up()
    jobs = Jobs(c)
    load(c, as_commands(DOCS))
    return c, jobs
WORDS = SPIN + """
function map(k, v, emit) spin(%d) for w in v:gmatch('%%a+') do emit(w, 1) end end
function reduce(w, counts, emit)
  local n = 0
  for c in counts do n = n + c end
  spin(%d)
  emit(w, n)
end
"""
PUBLISHES = "function task(i, n, emit) for k = 1, 2000 do emit(i .. ':' .. k, ('x'):rep(1500) .. k) end end\n" \
    "function reduce(k, vs, emit) emit(k, vs()) end"
PUBLISHED = {f"{i}:{k}".encode(): b"x" * 1500 + str(k).encode() for i in range(4) for k in range(1, 2001)}


def slow(jobs, name, state):
    """Submits a job that can be met in this state. Returns what the keys `name:` are to be."""
    if state == "committing":
        jobs.submit(name, "TASKS", 4, "LUA", PUBLISHES, "INTO", f"{name}:")
        return PUBLISHED
    ms = {"cut": (0, 0), "map": (15, 0), "reduce": (0, 60)}[state]
    jobs.submit(name, "MAP", "LUA", WORDS % ms, "MATCH", "doc:*", "PARTITIONS", 6, "INTO", f"{name}:")
    return COUNTS


def met(c, jobs, state, paused=None):
    """Starts jobs until one was met in this state: its name, and what it is to give. With a node paused, no cut can end."""
    for turn in range(20):
        name = f"{state}{turn}"
        if state == "cut":
            jobs.pause(paused)
        twin = slow(jobs, name, state)
        if jobs.caught(name, state):
            return name, twin
        if state == "cut":
            jobs.resume()
        jobs.done(name)
        jobs.forget(name)
    raise AssertionError(f"no job was ever seen in {state}")


def exact(c, jobs, name, twin, seconds=60):
    jobs.done(name, seconds)
    got = read_prefix(c.any(), f"{name}:")
    expect(got == twin, f"{name}: {len(got)} keys, not {len(twin)}; or others:", [(k, v[:40], twin.get(k, b"")[:40]) for k, v in got.items()
                                                                                      if twin.get(k) != v][:3], jobs.log(name)[-8:])
    for n in c.nodes:  # a second publication would undo it
        if n.alive():
            expect(n.do("SET", f"{name}:{next(iter(twin)).decode()}", "mine") == b"OK")
            break


def still_mine(c, name, twin):
    key = f"{name}:{next(iter(twin)).decode()}"
    expect(c.any().do("GET", key) == b"mine", f"{key} was written again after the job was done")


def failed_cleanly(c, jobs, name):
    """For want of a snapshot, and nothing was written. False: it is done."""
    if jobs.ended(name) == "done":
        return False
    jobs.failed(name, "snapshot")
    expect(read_prefix(c.any(), f"{name}:") == {}, f"{name} failed, and it wrote")
    return True
