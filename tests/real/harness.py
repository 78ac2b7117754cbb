"""What the tests with real processes share: scenarios, nodes, a RESP client that keeps nothing from its user, and load.

A scenario is a function whose name is a sentence. Each runs once on every I/O backend, within a time limit, in a directory of its
own, and prints one line: "ok name (backend)", "not ok name (backend)" or "skip name (backend): reason". Whatever it started is gone
when it ends. The exit status is 0 if nothing failed, and 77 (skipped, for Meson) if nothing ran.
"""
import argparse
import ctypes
import inspect
import json
import os
import random
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
import traceback

SKIPPED = 77
BACKENDS = ("uring", "epoll")
PR_SET_PDEATHSIG = 1
LIBC = ctypes.CDLL(None, use_errno=True)


class Skip(Exception):
    """The machine lacks what the scenario needs; the text says what."""


class Late(BaseException):
    """The scenario's time is over. Not an Exception, so that no handler for a client's troubles swallows it."""


def expect(good, *what):
    if not good:
        raise AssertionError(" ".join(str(w) for w in what))


def until(seconds, what, check, pause=0.05):
    """Waits for check() to be true (an exception counts as false) and returns what it returned."""
    end = time.monotonic() + seconds
    last = None
    while True:
        try:
            value = check()
            if value:
                return value
        except (OSError, AssertionError, ValueError, KeyError) as error:
            last = error
        if time.monotonic() > end:
            raise AssertionError(f"not within {seconds} s: {what}" + (f" ({last!r})" if last else ""))
        time.sleep(pause)


# ---- the RESP client ----

class Err(str):
    """An error reply, as a value: tests look at errors more often than they trip over them."""

    def __repr__(self):
        return f"-{self!s}"


class Closed(ConnectionError):
    """The server ended the connection."""


class Conn:
    """One connection, RESP2. Replies are bytes, int, None, list or Err."""

    def __init__(self, address, timeout=15.0):
        self.sock = socket.create_connection(address, timeout=timeout)
        self.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.buffer = bytearray()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def close(self):
        self.sock.close()

    def raw(self, data):
        self.sock.sendall(data)

    def send(self, *args):
        self.raw(encode(args))

    def do(self, *args):
        self.send(*args)
        return self.reply()

    def pipeline(self, commands):
        self.raw(b"".join(encode(c) for c in commands))
        return [self.reply() for _ in commands]

    def _more(self):
        data = self.sock.recv(1 << 18)
        if not data:
            raise Closed("the server closed the connection")
        self.buffer += data

    def _line(self):
        while (end := self.buffer.find(b"\r\n")) < 0:
            self._more()
        line = bytes(self.buffer[:end])
        del self.buffer[:end + 2]
        return line

    def take(self, size):
        """So many bytes of what comes, whatever they are."""
        while len(self.buffer) < size:
            self._more()
        data = bytes(self.buffer[:size])
        del self.buffer[:size]
        return data

    def reply(self):
        line = self._line()
        kind, text = line[:1], line[1:]
        if kind == b"+":
            return text
        if kind == b"-":
            return Err(text.decode("utf-8", "replace"))
        if kind == b":":
            return int(text)
        if kind == b"$":
            if int(text) < 0:
                return None
            return self.take(int(text) + 2)[:-2]
        if kind == b"*":
            return None if int(text) < 0 else [self.reply() for _ in range(int(text))]
        raise AssertionError(f"not RESP: {line[:80]!r}")

    def rest(self):
        """All that comes until the server closes."""
        data = bytes(self.buffer)
        self.buffer.clear()
        while part := self.sock.recv(1 << 18):
            data += part
        return data


def encode(args):
    out = [b"*%d\r\n" % len(args)]
    for a in args:
        a = a if isinstance(a, bytes) else str(a).encode()
        out.append(b"$%d\r\n%s\r\n" % (len(a), a))
    return b"".join(out)


NOT_DONE = ("TRYAGAIN", "CLUSTERDOWN", "OOM", "MOVED", "ERR", "WRONGTYPE")


def outcome(reply):
    """'done', 'not done' or 'unknown': what docs/GUARANTEES.md says a reply (or an exception) tells of a write."""
    if isinstance(reply, Err):
        return "not done" if reply.startswith(NOT_DONE) else "unknown"
    return "unknown" if isinstance(reply, BaseException) else "done"


# ---- nodes ----

def die_with_parent():
    LIBC.prctl(PR_SET_PDEATHSIG, signal.SIGKILL)


class Node:
    """One `synod server` process, its directory, and its output."""

    def __init__(self, cluster, number, address, peer):
        self.cluster, self.number = cluster, number
        self.host, self.port = address
        self.peer = peer
        self.dir = os.path.join(cluster.dir, f"node{number}")
        self.log_path = os.path.join(cluster.dir, f"node{number}.log")
        self.id = number  # of a founder; of one that joins, what the cluster gave it (Cluster.joined)
        self.process = None
        self.prefix = []  # words before the command: ip netns exec ...
        self.how = None  # words for founding or joining, if not those of a founder
        self.extra = []

    @property
    def address(self):
        return (self.host, self.port)

    def command(self, extra=()):
        how = self.cluster.founding if self.how is None else self.how
        return [*self.prefix, self.cluster.synod, "server", "--data", self.dir, "--listen", f"{self.host}:{self.port}",
                "--peer", self.peer, *how, "--io", self.cluster.io, *self.extra, *extra]

    def start(self, *extra):
        expect(not self.alive(), f"node {self.number} already runs")
        with open(self.log_path, "ab") as log:
            self.process = subprocess.Popen(self.command(extra), stdout=log, stderr=log, stdin=subprocess.DEVNULL,
                                            preexec_fn=die_with_parent)
        self.cluster.processes.append(self.process)
        return self

    def alive(self):
        return self.process is not None and self.process.poll() is None

    def signal(self, number):
        self.process.send_signal(number)

    def kill(self):
        """As by power loss of the process: nothing of it runs any more when this returns."""
        self.process.kill()
        self.process.wait()

    def pause(self):
        self.signal(signal.SIGSTOP)

    def resume(self):
        self.signal(signal.SIGCONT)

    def ended(self, seconds=15):
        """Waits for the process to end by itself; its exit status."""
        try:
            return self.process.wait(seconds)
        except subprocess.TimeoutExpired:
            raise AssertionError(f"node {self.number} still runs after {seconds} s; it said: {self.said()[-400:]}") from None

    def said(self):
        try:
            with open(self.log_path, encoding="utf-8", errors="replace") as log:
                return log.read()
        except FileNotFoundError:
            return ""

    def conn(self, timeout=15.0):
        return Conn(self.address, timeout)

    def do(self, *args, timeout=15.0):
        with self.conn(timeout) as c:
            return c.do(*args)

    def status(self):
        return json.loads(self.do("SYNOD", "STATUS", timeout=5))

    def memory(self):
        """Resident bytes of the process."""
        with open(f"/proc/{self.process.pid}/statm", encoding="ascii") as f:
            return int(f.read().split()[1]) * os.sysconf("SC_PAGESIZE")

    def digests(self):
        """{group: (position, digest, keys)} of the replicas here."""
        rows = [line.split() for line in self.do("SYNOD", "DIGEST").decode().splitlines()]
        return {int(r[0]): (int(r[1]), r[2], int(r[3])) for r in rows}


def ports_free(ports):
    for port in ports:
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                return False
    return True


def free_ports(count):
    """A first port of `count` in a row that are free, with their peers at + 10000; all below the system's own range."""
    low, high = (int(p) for p in os.environ.get("SYNOD_TEST_PORTS", "7400-9390").split("-"))
    firsts = list(range(low, high + 1 - count, count))
    random.shuffle(firsts)
    for first in firsts:
        span = range(first, first + count)
        if ports_free([*span, *(p + 10000 for p in span)]):
            return first
    raise Skip(f"no {count} free ports in a row between {low} and {high}")


class Cluster:
    def __init__(self, env, nodes=3, groups=16, directory=None, addresses=None, spares=0, replicas=None):
        """spares: addresses kept for nodes that join later (newcomer)."""
        self.synod, self.io, self.groups = env.synod, env.io, groups
        self.dir = directory or os.path.join(env.dir, f"cluster{len(env.clusters)}")
        os.makedirs(self.dir, exist_ok=True)
        self.processes = []
        if addresses is None:
            first = free_ports(nodes + spares)
            addresses = [("127.0.0.1", first + i) for i in range(nodes + spares)]
        self.nodes = []
        self.spares = addresses
        for _ in range(len(addresses) - spares):
            self._add()
        self.founding = ["--found", ",".join(n.peer for n in self.nodes), "--groups", str(groups)]
        self.founding += ["--replicas", str(replicas)] if replicas else []
        env.clusters.append(self)

    def _add(self):
        host, port = self.spares.pop(0)
        self.nodes.append(Node(self, len(self.nodes) + 1, (host, port), f"{host}:{port + 10000}"))
        return self.nodes[-1]

    def newcomer(self, via=None):
        """A node that, once started, joins through `via` (default: any that runs)."""
        via = via or self.any()
        n = self._add()
        n.how = ["--join", via.peer]
        return n

    def joined(self, n, seconds=30):
        """Until the node is part of the cluster and knows its leaders."""
        until(seconds, f"node {n.number} joins; it said: {n.said()[-300:]}", lambda: n.status()["cluster"]["state"] != "joining")
        n.id = n.status()["cluster"]["self"]
        self.wait_ready([n])
        return n

    def up(self, seconds=20):
        for n in self.nodes:
            n.start()
        return self.wait_ready(seconds=seconds)

    def wait_ready(self, nodes=None, seconds=20):
        """Until each of these nodes (default: all) knows a leader of every group."""
        for n in nodes or self.nodes:
            def ready(n=n):
                if not n.alive():
                    return "ended"
                groups = n.status()["groups"]
                return groups and all(g["leader"] for g in groups)
            how = until(seconds, f"node {n.number} knows a leader of every group", ready)
            expect(how is True, f"node {n.number} ended: {n.said()[-400:]}")
        return self

    def kill_all(self):
        """All at once."""
        for n in self.nodes:
            n.process.kill()
        for n in self.nodes:
            n.process.wait()

    def restart_all(self):
        self.kill_all()
        for n in self.nodes:
            n.start()
        self.wait_ready()

    def others(self, *nodes):
        return [n for n in self.nodes if n not in nodes]

    def group_of(self, key):
        slot = self.any().do("CLUSTER", "KEYSLOT", key)
        return slot * self.groups // 16384 if self.groups in (1, 16) else self._group_of_slot(slot)

    def _group_of_slot(self, slot):
        for g in self.any().status()["groups"]:
            if any(lo <= slot <= hi for lo, hi in g["slots"]):
                return g["id"]
        raise AssertionError(f"no group has slot {slot}")

    def leader_of(self, key, asked=None):
        """The node that leads the key's group, as `asked` (default: any that runs) sees it."""
        group = self.group_of(key)

        def known():
            rows = (asked or self.any()).status()["groups"]
            return next(g["leader"] for g in rows if g["id"] == group)
        return self.by_id(until(15, f"a leader of group {group} is known", known))

    def by_id(self, node_id):
        return next(n for n in reversed(self.nodes) if n.id == node_id)

    def any(self):
        return next(n for n in self.nodes if n.alive())

    def expect_equal_digests(self, seconds=20):
        """All replicas of each group come to the same position, and wherever two are at one position their data is the same."""
        def agree():
            seen = [n.digests() for n in self.nodes if n.alive()]
            same = True
            for group in {g for s in seen for g in s}:
                rows = {s[group] for s in seen if group in s}
                if len(rows) > 1:
                    same = False
                    if len({r[0] for r in rows}) < len(rows):
                        raise Diverged(f"group {group}: replicas at one position differ: {sorted(rows)}")
            return same
        until(seconds, "replicas come to equal positions and digests", agree, pause=0.1)

    def ask(self, *command, seconds=30, node=None):
        """One of the operator's commands, again while the answer is to try again; the answer that is none of these."""
        def attempt():
            reply = (node or self.any()).do(*command)
            return None if isinstance(reply, Err) and reply.startswith(("TRYAGAIN", "CLUSTERDOWN", "UNKNOWN")) else [reply]
        return until(seconds, " ".join(map(str, command)), attempt, pause=0.1)[0]

    def holders(self):
        """{node id: groups that it has a replica of}, as the leader of each group sees it, for the others may lag; and what is under way:
        moves, splits, learners."""
        held, under_way = {}, {}
        for n in [n for n in self.nodes if n.alive()]:
            for g in n.status()["groups"]:
                here = {r["node"]: r["role"] for r in g["replicas"]}
                if "target" in g or "splits_at" in g or "learner" in here.values():
                    under_way[g["id"]] = {"here": here, **{w: g[w] for w in ("target", "splits_at") if w in g}}
                if g["leader"] == n.id:
                    for node in here:
                        held.setdefault(node, set()).add(g["id"])
        return held, under_way

    def settled(self, shares, replicas=3, seconds=60):
        """Until nothing is under way, every group has its replicas, and each node (by id) has as many groups as `shares` says: (least, most)."""
        last = {}

        def look():
            held, under_way = self.holders()
            groups = set().union(*held.values()) if held else set()
            last.update(held={n: len(g) for n, g in held.items()}, under_way=under_way)
            whole = all(sum(g in h for h in held.values()) == replicas for g in groups)
            return not under_way and whole and len(groups) == len(self.any().status()["groups"]) and all(
                least <= len(held.get(n, ())) <= most for n, (least, most) in shares.items())
        try:
            until(seconds, f"nodes have their shares {shares} of the groups and all is quiet", look, pause=0.2)
        except AssertionError as error:
            raise AssertionError(f"{error}; at last {last}") from None

    def down(self):
        """Orderly: SIGTERM to all; each must end by itself with status 0."""
        running = [n for n in self.nodes if n.alive()]
        for n in running:
            n.signal(signal.SIGTERM)
        for n in running:
            status = n.ended(15)
            expect(status == 0, f"node {n.number} ended with {status}: {n.said()[-400:]}")

    def destroy(self):
        for p in self.processes:
            if p.poll() is None:
                p.kill()
        for p in self.processes:
            p.wait()


class Diverged(Exception):
    """Two replicas applied the same entries and have different data: never to be retried away."""


# ---- load ----

class Crew:
    """`self.threads`, which run until the `with` is left: `self.stopping` tells them."""

    def __enter__(self):
        for t in self.threads:
            t.start()
        return self

    def __exit__(self, *_):
        self.stop()

    def ended(self, patience=30):
        """Tells them to end. Do they?"""
        self.stopping.set()
        for t in self.threads:
            t.join(patience)
        return not any(t.is_alive() for t in self.threads)

    stop = ended


class Load(Crew):
    """Threads that write, each its own keys, through nodes taken at random, and remember what was acknowledged.

    Every thread has keys that it writes once, and a register of its own that it overwrites with 1, 2, 3, ...: what is read later may not be
    less than the last acknowledged value, nor more than the last one sent. `check` reads all of it back."""

    def __init__(self, nodes, threads=4, value=b"x" * 100, tag="w", pause=0.0):
        self.nodes, self.value, self.tag, self.pause = nodes, value, tag, pause
        self.stopping = threading.Event()
        self.acknowledged = [[] for _ in range(threads)]
        self.floor, self.sent = [0] * threads, [0] * threads
        self.replies = {}
        self.stall, self.fault = 0.0, None  # stall: the longest time that one thread was without an acknowledged write
        self.lock = threading.Lock()
        self.threads = [threading.Thread(target=self._run, args=(t,), daemon=True) for t in range(threads)]

    def stop(self):
        if not self.ended():
            self.fault = "a client still waits for an answer after 30 s"

    def count(self):
        return sum(len(a) for a in self.acknowledged)

    def rate(self, seconds):
        """Acknowledged pairs of writes a second, over the next seconds."""
        before, began = self.count(), time.monotonic()
        time.sleep(seconds)
        return (self.count() - before) / (time.monotonic() - began)

    def grows(self, by=20, seconds=20):
        """Waits until that many more writes were acknowledged."""
        before = self.count()
        until(seconds, f"{by} more writes are acknowledged", lambda: self.count() >= before + by)

    def key(self, t, i):
        return f"{self.tag}:{t}:{i}"

    def _note(self, reply):
        with self.lock:
            word = reply.split(" ")[0] if isinstance(reply, Err) else type(reply).__name__
            self.replies[word] = self.replies.get(word, 0) + 1

    def _run(self, t):
        conn, i = None, 0
        choose = random.Random(t)
        began = time.monotonic()
        while not self.stopping.is_set():
            try:
                if conn is None:
                    conn = Conn(choose.choice(self.nodes).address, timeout=25)
                i += 1
                self.sent[t] = i
                replies = conn.pipeline([("SET", self.key(t, i), self.value), ("SET", f"{self.tag}:r{t}", i)])
                if replies[0] == b"OK":
                    self.acknowledged[t].append(i)
                    self.stall, began = max(self.stall, time.monotonic() - began), time.monotonic()
                if replies[1] == b"OK":
                    self.floor[t] = i
                for r in replies:
                    if r != b"OK":
                        self._note(r)
            except socket.timeout:
                self.fault = f"no answer within 25 s from {conn.sock.getpeername() if conn else '?'}"
                conn = None
            except OSError as error:
                self._note(error)
                if conn:
                    conn.close()
                conn = None
                time.sleep(0.02)
            if self.pause:
                time.sleep(self.pause)
        self.stall = max(self.stall, time.monotonic() - began)
        if conn:
            conn.close()

    def check(self, node, at_least=1):
        expect(self.fault is None, self.fault)
        expect(self.count() >= at_least, f"only {self.count()} writes were acknowledged: {self.replies}")
        with node.conn(30) as c:
            for t, done in enumerate(self.acknowledged):
                for at in range(0, len(done), 500):
                    part = done[at:at + 500]
                    got = c.pipeline([("GET", self.key(t, i)) for i in part])
                    for i, value in zip(part, got):
                        for _ in range(20):  # a leadership may move just now; the answer then says so
                            if not (isinstance(value, Err) and value.startswith("TRYAGAIN")):
                                break
                            time.sleep(0.1)
                            value = c.do("GET", self.key(t, i))
                        expect(value == self.value, f"acknowledged {self.key(t, i)} reads", repr(value)[:80])
                value = c.do("GET", f"{self.tag}:r{t}")
                expect(not isinstance(value, Err), value)
                value = int(value or 0)
                expect(self.floor[t] <= value <= self.sent[t],
                       f"register of thread {t} reads {value}; {self.floor[t]} was acknowledged, {self.sent[t]} sent")


# ---- scenarios ----

SCENARIOS = []


def scenario(limit=60, backends=BACKENDS, needs_server=True):
    """limit: seconds after which it has hung. A scenario without a server runs once."""
    def register(fn):
        SCENARIOS.append((fn, limit, backends if needs_server else ("",)))
        return fn
    return register


class Env:
    """What a scenario gets: the binary, the backend, a directory of its own."""

    def __init__(self, options, io):
        self.synod, self.io, self.long, self.options = options.synod, io, options.long, options
        self.dir = tempfile.mkdtemp(prefix="synod-real-")
        self.clusters, self.cleanups = [], []
        self.rng = random.Random(options.seed)

    def cluster(self, **words):
        return Cluster(self, **words)

    def seconds(self, short, long):
        return long if self.long else short

    def cleanup(self, fn):
        self.cleanups.append(fn)

    def close(self, keep):
        for c in self.clusters:
            c.destroy()
        for fn in reversed(self.cleanups):
            try:
                fn()
            except Exception as error:  # the others must still be undone
                print(f"# cleaning up: {error!r}")
        if not keep:
            shutil.rmtree(self.dir, ignore_errors=True)


def run(command, timeout=60, check=False, **words):
    """A program to its end, with its output as text."""
    done = subprocess.run(command, capture_output=True, text=True, errors="replace", timeout=timeout, check=False,
                          stdin=words.pop("stdin", subprocess.DEVNULL if "input" not in words else None), **words)
    if check:
        expect(done.returncode == 0, f"{' '.join(map(str, command))[:200]} ended with {done.returncode}: {(done.stderr or done.stdout)[-600:]}")
    return done


def refused(words, *texts, status=1):
    """The program ends by itself, at once, with this status, and says these texts in one line."""
    done = run(words, timeout=15)
    said = done.stderr.strip()
    expect(done.returncode == status, f"{' '.join(words[1:])[:200]} ended with {done.returncode}, not {status}: {said[-300:]}")
    expect(all(t in said for t in texts), f"{' '.join(words[1:])[:120]} said '{said[-300:]}', nothing of", texts)
    expect(len(said.splitlines()) == 1, "not one line:", said)


def uring_works(synod):
    """Not everywhere: containers often forbid io_uring. The server says so itself."""
    with tempfile.TemporaryDirectory(prefix="synod-real-") as d:
        port = free_ports(1)
        p = subprocess.Popen([synod, "server", "--data", d, "--listen", f"127.0.0.1:{port}", "--io", "uring"], stdout=subprocess.PIPE,
                             stderr=subprocess.STDOUT, text=True, preexec_fn=die_with_parent)
        try:
            line = p.stdout.readline()
        finally:
            p.kill()
            p.wait()
        return "serves clients" in line, line.strip()


def options_parse(description):
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("synod", help="the synod binary")
    parser.add_argument("--check", help="the synod-check binary, which judges histories")
    parser.add_argument("--clock", help="the library that moves a process's clock (clock.c)")
    parser.add_argument("--hiredis", help="the client program with hiredis (tests/clients)")
    parser.add_argument("--node-modules", help="where ioredis and redis of npm are installed; default: they are, for this run")
    parser.add_argument("--io", choices=[*BACKENDS, "both"], default="both")
    parser.add_argument("--long", action="store_true", help="longer versions, for make soak")
    parser.add_argument("--only", help="scenarios whose name contains this")
    parser.add_argument("--keep", action="store_true", help="keep the directory of what failed")
    parser.add_argument("--seed", type=int, default=int(time.time()))
    options = parser.parse_args()
    options.synod = os.path.abspath(options.synod)
    return options


def on_alarm(*_):
    raise Late()


def run_scenario(fn, limit, options, io):
    """'ok', 'not ok' or 'skip', after printing the line."""
    name = f"{fn.__name__} ({io})" if io else fn.__name__
    try:
        env = Env(options, io)
    except Skip as reason:
        print(f"skip {name}: {reason}", flush=True)
        return "skip"
    began, result, why = time.monotonic(), "ok", ""
    signal.alarm(limit * (5 if options.long else 1))
    try:
        fn(env)
    except Skip as reason:
        result, why = "skip", f": {reason}"
    except Late:
        result = "not ok"
        why = f"\n    not over after {limit} s\n" + traceback.format_exc(limit=-6, chain=False)
    except Exception as error:
        result = "not ok"
        why = f"\n    {error}\n" + (traceback.format_exc(limit=-6, chain=False) if not isinstance(error, AssertionError) else where(error))
    finally:
        signal.alarm(0)
    print(f"{result} {name}{why}", flush=True)
    print(f"# {time.monotonic() - began:.1f} s", flush=True)
    if result == "not ok":
        print(f"    seed {options.seed}" + (f", kept in {env.dir}" if options.keep else ""))
        for cluster in env.clusters:
            for n in cluster.nodes:
                state = "runs" if n.alive() else f"ended with {n.process.returncode}" if n.process else "never ran"
                print(f"    node {n.number} {state}; it said: " + " | ".join(n.said().splitlines()[-6:]))
    env.close(options.keep and result == "not ok")
    sys.stdout.flush()
    return result


def where(error):
    frames = [f for f in traceback.extract_tb(error.__traceback__) if f.name not in ("expect", "until")]
    return "".join(f"      {os.path.basename(f.filename)}:{f.lineno} {f.line}\n" for f in frames[-3:])


def main(description=None):
    options = options_parse(description or inspect.getmodule(inspect.stack()[1][0]).__doc__)
    signal.signal(signal.SIGALRM, on_alarm)
    backends = BACKENDS if options.io == "both" else (options.io,)
    forbidden = None
    if "uring" in backends:
        good, said = uring_works(options.synod)
        forbidden = None if good else said
    results = []
    for fn, limit, wanted in SCENARIOS:
        if options.only and options.only not in fn.__name__:
            continue
        for io in wanted:
            if io and io not in backends:
                continue
            if io == "uring" and forbidden:
                print(f"skip {fn.__name__} (uring): io_uring does not work here: {forbidden}")
                results.append("skip")
                continue
            results.append(run_scenario(fn, limit, options, io))
    if "not ok" in results:
        return 1
    return 0 if "ok" in results else SKIPPED
