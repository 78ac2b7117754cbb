"""A snapshot of synod, read by its splits from whichever node has them (docs/SNAPSHOTS.md). Nothing here knows of Dask."""
import functools
import itertools
import time

import redis
from redis.exceptions import ClusterDownError, TryAgainError

PATIENCE_S = 30  # for which all nodes that could answer may fail to
TTL_S = 3600  # after which a snapshot goes, should nobody be left to drop it
PASSING = ("NOSNAPSHOT", "TRYAGAIN", "CLUSTERDOWN", "UNKNOWN", "IOERR")  # of one node, or for now: another one may do better


class Trouble(Exception):
    """What the user is to be told, in a sentence."""


@functools.lru_cache(maxsize=None)
def client(address):
    """One a process and node; it reconnects by itself."""
    host, _, port = address.rpartition(":")
    return redis.Redis(host.strip("[]"), int(port), socket_timeout=15, socket_connect_timeout=3)


def passes(error):
    return not isinstance(error, redis.ResponseError) or isinstance(error, (TryAgainError, ClusterDownError)) or str(error).startswith(PASSING)


def ask(addresses, *words, patience=PATIENCE_S):
    """(answer, who gave it) of the first of these nodes that has one, again and again until patience is over."""
    end = time.monotonic() + patience
    for turn, address in enumerate(itertools.cycle(addresses), 1):
        try:
            return client(address).execute_command(*words), address
        except redis.RedisError as error:
            if not passes(error):
                raise Trouble(f"{address} refuses {' '.join(map(str, words[:2]))}: {error}") from None
            if time.monotonic() > end:
                raise Trouble(f"no answer to {' '.join(map(str, words[:2]))} from {', '.join(addresses)}: {error}") from None
        if turn % len(addresses) == 0:
            time.sleep(0.1)


class Snapshot:
    """Made here, and dropped when the `with` is left; or one that there is already, and stays."""

    def __init__(self, at, name=None):
        self.known, self.made_here = [at], name is None
        self.name = name or ask(self.known, "SNAPSHOT", "CREATE", "TTL", TTL_S, patience=0)[0].decode()

    def __enter__(self):
        return self

    def __exit__(self, kind, *_):
        try:
            if self.made_here:
                ask(self.known, "SNAPSHOT", "DROP", self.name)
        except Trouble:
            if kind is None:  # else what went wrong first is what to tell
                raise

    def splits(self, count):
        """[(range of slots, [address, ...])]; whoever has some part of the snapshot can drop it, too."""
        rows, _ = ask(self.known, "SNAPSHOT", "SPLITS", self.name, count)
        found = [(split.decode(), [a.decode() for a in addresses]) for split, addresses in rows]
        self.known = list(dict.fromkeys(itertools.chain(self.known, *(addresses for _, addresses in found))))
        return found


def records(name, split, addresses, match="*", count=100):
    """Yields ([(key, type, value), ...], who gave them). The cursor is a place in the snapshot, the same at each node: where one fails, the
    next goes on, and no key is seen twice."""
    cursor, nodes = b"0", list(addresses)
    while True:
        (cursor, flat), who = ask(nodes, "SNAPSHOT", "SCAN", name, split, cursor, "MATCH", match, "COUNT", count, "WITHVALUES")
        nodes = nodes[nodes.index(who):] + nodes[:nodes.index(who)]  # it is asked first from now on
        yield list(zip(flat[::3], flat[1::3], flat[2::3])), who
        if cursor == b"0":
            return
